"""The verb ``config``: write an example settings file, show what holds, find what is wrong."""

import os
import textwrap
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from device_auth.assembly.checked_settings import check_settings
from device_auth.assembly.settings_draft import cannot_write, rights_of_new
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import DialectName
from device_auth.prompts.stderr import say
from device_auth.wire.addresses import stays_here
from device_auth.world.files import Folder
from device_auth.world.owners import ROOT as ROOT_ID
from device_auth.world.owners import as_owner
from device_auth.world.places import ROOT, Places, read_places
from device_auth.world.provider import provider_addresses, read_authorities, read_dsn_of_board
from device_auth.world.route import Trust, find_trust, proxy_variables
from device_auth.world.settings import (
    DEFAULT,
    ENVIRONMENT,
    HARDWARE,
    KEYS,
    OF_UNIT,
    PAGE,
    Settings,
    add_secret_option,
    option_of,
    read_settings,
    variable_of,
)
from device_auth.world.toml_lines import with_setting, write_value
from device_auth.world.unit import SERIAL_NUMBER
from hardware.settings import Key

WIDTH: Final = 80
"""Columns that every terminal has."""

OF_BOARD: Final = "board"
"""The origin of the serial number that the board itself has."""

HIDDEN: Final = "set (hidden)"
NOT_SET: Final = "not set"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
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
    """Carry out the verb and return the exit code.

    Raises:
        ConfigError: if the file cannot be written (init), or the settings cannot be read (show).
    """
    options = vars(args)
    places = read_places(options, environ, euid, root)
    as_json = bool(options.get("json"))
    match args.config_action:
        case "init":
            return _init(places, has_force=bool(options.get("force")))
        case "show":
            settings = read_settings(options, places.files, environ)
            trust = find_trust(Path(settings.ca_file) if settings.ca_file else None, environ)
            proxy = _find_proxy(settings, environ)
            of_service = read_places({}, {}, ROOT_ID, root).state_dir
            if options.get("state_dir") is None and of_service != places.state_dir and of_service.exists():
                say(
                    f"The service's identity and the settings made on this unit, in {of_service}, are not counted here:"
                    " sudo device-auth config show"
                )
            return _show(_with_dsn_in_force(settings, root), places, trust, proxy, as_json=as_json)
        case _:
            return _check(options, places, environ, as_json=as_json)


# ---------------------------------------------------------------------------------------------------------
# init


def example_text() -> str:
    """Return a settings file that explains every setting and sets none."""
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
        "\n# The library that drives the pins: gpiod, or rpi-gpio for the module RPi.GPIO.\n"
        '# gpio = "gpiod"\n'
        "\n# Patterns of the light in place of the usual ones, by state, trouble or notice:\n"
        '# "off", or a kind and a colour ("blue", "#0040ff"). Kinds: solid; blink with\n'
        "# on_ms, off_ms and perhaps count and pause_ms; breathe with brighter_ms and\n"
        "# darker_ms. Nothing faster than 2 Hz, and no trouble like another; to see them:\n"
        "# device-auth hardware test.\n"
        f"# [{HARDWARE}.patterns]\n"
        '# linked = { kind = "solid", colour = "#0040ff" }\n'
    )
    return head + "".join(_explained(key) for key in KEYS) + tail


def _new_text() -> str:
    """Return the example with the library of the pins that is installed here, if one is."""
    from device_auth.tools.parts_list import choose_back_end

    try:
        back_end, _ = choose_back_end(None)
    except ConfigError:
        return example_text()
    return with_setting(example_text(), (HARDWARE, "gpio"), back_end)


def _explained(key: Key) -> str:
    default = f"Default: {_plainly(key.default)}." if key.default not in {"", None} else ""
    belongs = f"Only for the dialect {' or '.join(key.only)}." if key.only else ""
    story = " ".join(part for part in (key.explanation, belongs, default) if part)
    comment = textwrap.fill(story, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    ways = ", ".join(way for way in (variable_of(key), option_of(key)) if way)
    return f"\n{comment}\n# ({ways})\n# {key.example_line}\n"


def _init(places: Places, *, has_force: bool) -> int:
    path, content = places.new_config_file, _new_text().encode()
    try:
        as_owner(path, lambda _: _write_new(path, content, has_force=has_force))
    except StoreError as error:  # of the path, before anything was looked at
        raise ConfigError(f"cannot write {path}: {error}", hint=error.hint) from error
    say(f"Wrote {path}.")
    say("Fill in what your speaker needs, then run: device-auth config check")
    if places.files.config not in {None, path}:
        say(f"But {places.files.config} is read first; name the new one with --config, or change that one.")
    return 0


def _write_new(path: Path, content: bytes, *, has_force: bool) -> None:
    """Write the file."""
    if not has_force and os.path.lexists(path):
        raise ConfigError(
            f"there is a settings file already: {path}",
            hint="Change that one, write another with --config, or write over it with --force.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Folder.open_for_leader(path.parent) as folder:
            folder.owner, mode = rights_of_new(folder)
            folder.replace(path.name, content, mode, is_durable=True)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


# ---------------------------------------------------------------------------------------------------------
# show


def _show(
    settings: Settings, places: Places, trust: Trust, proxy: Mapping[str, str] | None, *, as_json: bool
) -> int:
    files = settings.files
    folders = {
        "identity_file": files.identity,
        "settings_file": files.settings,
        "config_file": files.config,
        "state_dir": places.state_dir,
        "runtime_dir": places.runtime_dir,
    }
    if as_json:
        shown = {
            **{name: path and str(path) for name, path in folders.items()},
            "authorities": trust._asdict(),
            "proxy": proxy,
            "settings": {
                key.name: {
                    "value": _value(settings, key),
                    "origin": settings.origins[key.name],
                    "passed_over": list(settings.passed_over.get(key.name, ())),
                }
                for key in KEYS
            },
            "identity": settings.identity,
            HARDWARE: settings.hardware,
            PAGE: settings.page,
        }
        print_json(_plain(shown))
        return 0
    titles = ("identity", "set on unit", "settings file", "state folder", "runtime folder")
    for title, path in zip(titles, folders.values(), strict=True):
        print_line(f"{title:<14}  {_seen(path or 'none')}")
    print_line(f"{'authorities':<14}  {_seen(f'{trust.origin}: {trust.place}')}")
    if proxy is not None:
        print_line(f"{'proxy':<14}  {_seen(': '.join(proxy.values()))}")
    print_line("")
    for key in KEYS:
        origins = [settings.origins[key.name], *settings.passed_over.get(key.name, ())]
        _print_row(key.name, _value(settings, key), " over ".join(map(_short, origins)))
    for name, value in settings.identity.items():
        _print_row(name, value, OF_UNIT)
    kind_of = {files.settings: "settings", files.config: "file"}
    for name, inner in settings.hardware.items():
        kinds = (kind_of[path] for path, table in settings.hardware_of.items() if name in table)
        _print_row(f"{HARDWARE}.{name}", inner, " over ".join(kinds))
    if settings.page is not None:
        _print_row(PAGE, _plain(settings.page), _short(settings.origins[PAGE]))
    return 0


def _with_dsn_in_force(settings: Settings, root: Path) -> Settings:
    """Return the settings with the DSN that a link is asked for with: where none is set, the board's serial number."""
    if settings.dsn or settings.dialect is not DialectName.LWA:
        return settings
    dsn = read_dsn_of_board(root / SERIAL_NUMBER.relative_to("/"))
    return settings._replace(dsn=dsn, origins={**settings.origins, "dsn": OF_BOARD}) if dsn else settings


def _short(origin: str) -> str:
    """Return an origin without the path of a file that is shown above."""
    kind, _, place = origin.partition(" ")
    return kind if kind in {"file", "settings", OF_UNIT, OF_BOARD, DEFAULT} else place


def _find_proxy(settings: Settings, environ: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return the origin and the address of the proxy to the provider, user and password masked; None if none is set."""
    from device_auth.world.transport import route_to

    for url in provider_addresses(settings):
        scheme = urlsplit(url).scheme
        variables = proxy_variables(scheme, environ)
        if stays_here(url) or not (settings.proxy or variables):
            continue
        route = route_to(url, read_authorities(settings, is_proved=False), settings.proxy)
        if route.problem is not None:
            return {"origin": variables[0] if variables else "proxy", "address": str(route.problem)}
        if route.proxy is None:
            excepted = next((name for name in ("no_proxy", "NO_PROXY") if environ.get(name)), "no_proxy")
            return {"origin": excepted, "address": f"none for {urlsplit(url).hostname}"}
        return {"origin": route.origin, "address": str(route.proxy)}
    return None


def _value(settings: Settings, key: Key) -> str | int | None:
    value = getattr(settings, key.name)
    if key.is_secret:
        return HIDDEN if value else None
    return value if isinstance(value, int | None) else str(value) or None


def _print_row(name: str, value: object, origin: str) -> None:
    """Print name, origin and value in columns; a long value has lines of its own."""
    left, text = f"{_seen(name):<15}  {origin:<27}  ", _seen(NOT_SET if value is None else value)
    if len(left) + len(text) <= WIDTH:
        print_line(left + text)
        return
    print_line(left.rstrip())
    for start in range(0, len(text), WIDTH - 4):
        print_line("    " + text[start : start + WIDTH - 4])


def _seen(value: object) -> str:
    """Return a value in printable characters."""
    text = _plainly(value)
    return text if text.isprintable() else ascii(text)


def _plainly(value: object) -> str:
    """Return a value as a settings file has it, a text without its marks."""
    return str(value) if isinstance(value, str | Path) else write_value(value)


def _plain(value: object) -> object:
    """Return a value without the dates, NaN and infinities that JSON lacks."""
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
    checked = check_settings(options, places.files, environ)
    warnings, problems = checked.warnings(), checked.every_problem()
    if as_json:
        told = [{"message": str(problem), "hint": problem.hint} for problem in problems]
        print_json({"problems": told, "warnings": warnings})
    for problem in problems:
        say(f"Wrong: {problem}")
        say(problem.hint, indent="       ")
    for warning in warnings:
        say(f"Note: {warning}")
    if problems:
        return ConfigError.exit_code
    say("The settings are complete.")
    return 0
