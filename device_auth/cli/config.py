"""The verb ``config``: write a settings file, show and change what it holds, find what is wrong."""

import os
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from device_auth.assembly.checked_settings import check_settings
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import ConfigError, WrongUse
from device_auth.core.models import DialectName
from device_auth.core.values import replace
from device_auth.prompts.stderr import say
from device_auth.wire.addresses import stays_here
from device_auth.world.owners import ROOT as ROOT_ID
from device_auth.world.places import ROOT, Places, read_places
from device_auth.world.provider import provider_addresses, read_authorities, read_dsn_of_board
from device_auth.world.route import Trust, find_trust, proxy_variables
from device_auth.world.settings import (
    DEFAULT,
    ENVIRONMENT,
    HARDWARE,
    HIDDEN,
    KEY_OF,
    KEYS,
    OF_UNIT,
    PAGE,
    Settings,
    add_secret_option,
    argument_of,
    option_of,
    path_of,
    read_settings,
)
from device_auth.world.toml_lines import value_at, write_plainly
from device_auth.world.unit import SERIAL_NUMBER
from hardware.settings import Key

ACTIONS: Final = ("init", "show", "check", "get", "set", "unset", "edit")

WIDTH: Final = 80
"""Columns that every terminal has."""

OF_BOARD: Final = "board"
"""The origin of the serial number that the board itself has."""

NOT_SET: Final = "not set"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "config_action",
        metavar="|".join(ACTIONS),
        choices=ACTIONS,
        help="init: write a settings file with every setting explained; show: every value and where it comes from;"
        " check: find everything that is wrong; get: print one value; set: change one value; unset: leave one out; edit: change the file with"
        " your editor",
    )
    parser.add_argument(
        "key", nargs="?", metavar="KEY", help="get, set, unset: the setting, as client_id or hardware.board"
    )
    parser.add_argument(
        "value",
        nargs="?",
        metavar="VALUE",
        help="set: its value; without it, and always for a secret, it is asked for or read from standard input",
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
        WrongUse: if an argument has no meaning for what is to be done.
        ConfigError: if the file cannot be written, or the settings cannot be read (show, get).
    """
    options = vars(args)
    _refuse_misplaced(options)
    places = read_places(options, environ, euid, root)
    as_json = bool(options.get("json"))
    if args.config_action in {"show", "get"}:
        settings = read_settings(options, places.files, environ)
        of_service = read_places({}, {}, ROOT_ID, root).state_dir
        if options.get("state_dir") is None and of_service != places.state_dir and of_service.exists():
            say(
                f"The service's identity and the settings made on this unit, in {of_service}, are not counted here:"
                f" sudo device-auth config {args.config_action}"
            )
        settings = _with_dsn_in_force(settings, root)
        if args.config_action == "get":
            return _get(settings, args.key, as_json=as_json)
        trust = find_trust(Path(settings.ca_file) if settings.ca_file else None, environ)
        proxy = _find_proxy(settings, environ)
        return _show(settings, places, trust, proxy, as_json=as_json)
    if args.config_action == "check":
        return _check(options, places, environ, as_json=as_json)
    from device_auth.cli.first_settings import init, new_text
    from device_auth.cli.settings_changes import Invocation, edit, set_value, unset

    call = Invocation(options, places, environ, root)
    if args.config_action == "init":
        is_root = (os.geteuid() if euid is None else euid) == ROOT_ID
        return init(call, has_force=bool(options.get("force")), is_root=is_root)
    if args.config_action == "unset":
        return unset(args, call)
    of_new_file = new_text() if places.files.config is None else ""
    return set_value(args, call, of_new_file) if args.config_action == "set" else edit(call, of_new_file)


def _refuse_misplaced(options: Mapping[str, object]) -> None:
    """Raise WrongUse for an argument of one action that is given to another, or one that is missing."""
    action = options["config_action"]
    names = {"get": ("key",), "set": ("key", "value", "config"), "unset": ("key",)}
    given = {name: options.get(name) is not None for name in ("key", "value")}
    wrong = [name.upper() for name in given if given[name] and name not in names.get(str(action), ())]
    without_meaning = [
        key for key in KEYS if action in {"set", "unset", "edit"} or (action == "init" and key.is_secret)
    ]
    wrong += [option_of(key) for key in without_meaning if argument_of(key, options) is not None]
    if action in {"init", "set", "unset", "edit"} and options.get("simulate") is not None:
        wrong.append("--simulate")
    if options.get("force") and action != "init":
        wrong.append("--force")
    if wrong:
        hint = (
            "A secret comes after it: device-auth config set client_secret < FILE" if action == "init" else ""
        )
        raise WrongUse(f"{wrong[0]} has no meaning for: config {action}", hint=hint)
    if action in names and not given["key"]:
        raise WrongUse(f"config {action} needs a KEY", hint="To list them: device-auth config show")


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


def _get(settings: Settings, name: str, *, as_json: bool) -> int:
    """Print one value.

    Raises:
        WrongUse: if there is no such setting.
        ConfigError: if it is not set.
    """
    path = path_of(name)
    key = KEY_OF.get(path[0])
    if key is not None:
        value: object = _value(settings, key)
        origins = [settings.origins[key.name], *settings.passed_over.get(key.name, ())]
    else:
        value = value_at({HARDWARE: settings.hardware, PAGE: settings.page}, path)
        holding = (
            file
            for file, table in settings.hardware_of.items()
            if value_at({HARDWARE: table}, path) is not None
        )
        origins = (
            [settings.origins.get(PAGE, DEFAULT)] if path[0] == PAGE else [f"file {file}" for file in holding]
        )
    if as_json:
        print_json(
            {
                "key": name,
                "value": _plain(value),
                "origin": origins[0] if origins else DEFAULT,
                "passed_over": origins[1:],
            }
        )
    elif value is not None:
        print_line(_seen(value))
    if value is None:
        raise ConfigError(f"{name} is not set", hint=f"Set it: device-auth config set {name} VALUE")
    return 0


def _with_dsn_in_force(settings: Settings, root: Path) -> Settings:
    """Return the settings with the DSN that a link is asked for with: where none is set, the board's serial number."""
    if settings.dsn or settings.dialect is not DialectName.LWA:
        return settings
    dsn = read_dsn_of_board(root / SERIAL_NUMBER.relative_to("/"))
    return replace(settings, dsn=dsn, origins={**settings.origins, "dsn": OF_BOARD}) if dsn else settings


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
    text = write_plainly(value)
    return text if text.isprintable() else ascii(text)


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
