"""The verb ``config``: write an example settings file, show what holds, find what is wrong."""

import os
import sys
import textwrap
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from device_auth.cli.output import print_line
from device_auth.core.errors import ConfigError
from device_auth.world.explain import explain
from device_auth.world.places import ROOT, Places, read_places
from device_auth.world.provider import provider_problems, read_ca_file, warnings_about
from device_auth.world.settings import (
    ENVIRONMENT,
    HARDWARE,
    KEYS,
    PAGE,
    Key,
    Settings,
    add_secret_option,
    gather_settings,
    read_settings,
)

WIDTH: Final = 80
"""Columns that every terminal has."""

HIDDEN: Final = "set (hidden)"
NOT_SET: Final = "not set"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what this verb alone takes."""
    parser.add_argument(
        "config_action",
        metavar="init|show|check",
        choices=("init", "show", "check"),
        help="init: write a settings file with every setting explained; show: every value and where it comes from;"
        " check: find everything that is wrong",
    )
    parser.add_argument(
        "--force", action="store_true", default=SUPPRESS, help="init: write over the file that is there"
    )
    add_secret_option(parser)


def run(
    args: Namespace, *, environ: Mapping[str, str] = ENVIRONMENT, euid: int | None = None, root: Path = ROOT
) -> int:
    """Carry out the verb; gives the exit code.

    Raises:
        ConfigError: the file cannot be written (init), or the settings cannot be read (show).
    """
    options = vars(args)
    places = read_places(options, environ, euid, root)
    as_json = bool(options.get("json"))
    match args.config_action:
        case "init":
            return _init(places, has_force=bool(options.get("force")))
        case "show":
            return _show(read_settings(options, places.config_file, environ), places, as_json=as_json)
        case _:
            return _check(options, places, environ, as_json=as_json)


# ---------------------------------------------------------------------------------------------------------
# init


def example_text() -> str:
    """Return a settings file in which everything is explained and nothing is set."""
    head = (
        "# Settings of device-auth. Take the # away before a setting to make it count.\n"
        "# A variable of the environment is stronger than this file, an option than both.\n"
        "# After a change: device-auth config check\n"
    )
    tail = (
        "\n# The speaker's own page for phones near it, where the code is shown after a\n"
        "# press. It is on; this line switches it off. To say where it is served, write a\n"
        "# table [page] with listen and hosts instead.\n"
        '# page = "off"\n'
        "\n# The board of lights and buttons this speaker has: device-auth hardware list.\n"
        "# Every setting above must stay above this line.\n"
        f'[{HARDWARE}]\n# board = "none"\n'
        "\n# What the light shows in place of the usual, by state, trouble or moment:\n"
        '# "off", or a kind and a colour ("blue", "#0040ff"). Kinds: solid; blink with\n'
        "# on_ms, off_ms and perhaps count and pause_ms; breathe with brighter_ms and\n"
        "# darker_ms. Nothing faster than 2 Hz, and no trouble like another; to see them:\n"
        "# device-auth hardware test.\n"
        f"# [{HARDWARE}.patterns]\n"
        '# linked = { kind = "solid", colour = "#0040ff" }\n'
    )
    return head + "".join(_explained(key) for key in KEYS) + tail


def _explained(key: Key) -> str:
    default = f"Default: {key.default}." if key.default != "" else ""
    belongs = f"Only for the dialect {key.only}." if key.only else ""
    story = " ".join(part for part in (key.explanation, belongs, default) if part)
    comment = textwrap.fill(story, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    ways = ", ".join(way for way in (key.variable, key.option) if way)
    value = key.example if isinstance(key.default, int) else f'"{key.example}"'
    return f"\n{comment}\n# ({ways})\n# {key.name} = {value}\n"


def _init(places: Places, *, has_force: bool) -> int:
    path = places.new_config_file
    if not has_force and os.path.lexists(path):
        raise ConfigError(
            f"there is a settings file already: {path}",
            hint="Change that one, write another with --config, or write over it with --force.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, example_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(f"cannot write {path}", error),
            hint="Check the owner of its folder, or name another with --config.",
        ) from error
    _tell(f"Wrote {path}.")
    _tell("Fill in what your speaker needs, then run: device-auth config check")
    if places.config_file not in {None, path}:
        _tell(f"But {places.config_file} is read first; name the new one with --config, or change that one.")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, and that its owner alone may read."""
    import tempfile

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


# ---------------------------------------------------------------------------------------------------------
# show


def _show(settings: Settings, places: Places, *, as_json: bool) -> int:
    rows = [(key.name, _value(settings, key), settings.origins[key.name]) for key in KEYS]
    if as_json:
        import json

        shown = {
            "config_file": _text(places.config_file),
            "state_dir": _text(places.state_dir),
            "runtime_dir": _text(places.runtime_dir),
            "settings": {name: {"value": value, "origin": origin} for name, value, origin in rows},
            HARDWARE: settings.hardware,
            PAGE: settings.page,
        }
        # TOML has dates and numbers that JSON lacks
        print_line(json.dumps(_plain(shown)))
        return 0
    print_line(f"settings file   {_seen(places.config_file or 'none')}")
    print_line(f"state folder    {_seen(places.state_dir)}")
    print_line(f"runtime folder  {_seen(places.runtime_dir or 'none')}")
    print_line("")
    for name, value, origin in rows:
        _print_row(name, value, origin.split(" ")[0] if origin.startswith("file ") else origin.split(" ")[-1])
    for name, inner in settings.hardware.items():
        _print_row(f"{HARDWARE}.{name}", inner, "file")
    if settings.page is not None:
        _print_row(PAGE, _plain(settings.page), "file")
    return 0


def _value(settings: Settings, key: Key) -> str | int | None:
    if key.is_secret:
        return HIDDEN if settings.client_secret else None
    value = getattr(settings, key.name)
    return value if isinstance(value, int) else str(value) or None


def _print_row(name: str, value: object, origin: str) -> None:
    """Print name, origin and value in columns; a long value gets lines of its own, so that none is cut."""
    left = f"{_seen(name):<15}  {origin:<27}  "
    text = _seen(value)
    if len(left) + len(text) <= WIDTH:
        print_line(left + text)
        return
    print_line(left.rstrip())
    for start in range(0, len(text), WIDTH - 4):
        print_line("    " + text[start : start + WIDTH - 4])


def _seen(value: object) -> str:
    """Return a value as a terminal can show it."""
    text = NOT_SET if value is None else str(value)
    return text if text.isprintable() else ascii(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    is_finite = not isinstance(value, float) or abs(value) < float("inf")
    return value if value is None or (isinstance(value, str | int | float) and is_finite) else str(value)


# ---------------------------------------------------------------------------------------------------------
# check


def _check(
    options: Mapping[str, object], places: Places, environ: Mapping[str, str], *, as_json: bool
) -> int:
    warnings: list[str] = []
    try:
        settings, problems = gather_settings(options, places.config_file, environ)
    except ConfigError as unreadable:
        problems = [unreadable]
    else:
        problems += provider_problems(settings)
        problems += _problems_of_ca_file(settings)
        problems += _problems_of_keys(settings, environ)
        problems += _problems_of_tables(settings)
        warnings = warnings_about(settings)
    if as_json:
        import json

        told = [{"message": str(problem), "hint": problem.hint} for problem in problems]
        print_line(json.dumps({"problems": told, "warnings": warnings}))
    for problem in problems:
        _tell(f"Wrong: {problem}")
        _tell(problem.hint, indent="       ")
    for warning in warnings:
        _tell(f"Note: {warning}")
    if problems:
        return ConfigError.exit_code
    _tell("The settings are complete.")
    return 0


def _problems_of_tables(settings: Settings) -> list[ConfigError]:
    """Have those who know the tables look at them; a part that is missing is no wrong setting."""
    from device_auth.assembly.hardware_parts import read_hardware
    from device_auth.service.page import read_page_settings

    problems = []
    for read in (lambda: read_hardware(settings.hardware), lambda: read_page_settings(settings.page)):
        try:
            read()
        except ConfigError as problem:
            problems.append(problem)
    return problems


def _problems_of_keys(settings: Settings, environ: Mapping[str, str]) -> list[ConfigError]:
    from device_auth.world.keys import find_keys

    found = find_keys(settings, environ).problems
    return [ConfigError(problem.message, hint=problem.hint) for problem in found if problem.is_setting]


def _problems_of_ca_file(settings: Settings) -> list[ConfigError]:
    try:
        read_ca_file(settings)
    except ConfigError as problem:
        return [problem]
    return []


def _tell(text: str, indent: str = "") -> None:
    # paths and commands stay whole, to be copied
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent or "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    sys.stderr.write("\n".join(lines) + "\n")
