"""Settings: their schema, and each value with its origin.

An option is stronger than the environment, the environment than the files, a file than the default. Of the files the
unit's identity is the strongest, then the settings that were written on the unit, then the settings file. The client secret
may also lie in a file of its own: one that an option names, or, weaker than the files, a systemd credential.
``KEYS`` is the schema of the top of the file; the tables below it belong to their readers (``hardware.board``,
``service.page``), which use the same type.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from device_auth.core.errors import ConfigError, WrongUse
from device_auth.core.models import DialectName, Secret
from device_auth.core.values import dataclass
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from hardware.errors import HardwareError
from hardware.settings import SELECTOR, Key, ValueType, name_type, nearest

if TYPE_CHECKING:
    from argparse import _ActionsContainer

    from device_auth.wire.addresses import Proxy

_OWN_ENVIRONMENT: Final = os.environ  # noqa: TID251  the only reader; others get it as a default

ENVIRONMENT: Final[Mapping[str, str]] = _OWN_ENVIRONMENT
"""The environment this program was started with."""

LGPIO_FOLDER: Final = "LG_WD"
"""Names the folder in which the library below RPi.GPIO leaves its pipe. Source: lgpio's manual, LG_WD."""

PREFIX: Final = "DEVICE_AUTH_"

CONFIG_VARIABLE: Final = "DEVICE_AUTH_CONFIG"
"""Names the settings file; the only variable of ours that is not a setting."""

DEFAULT: Final = "default"
"""The origin of a value that nobody gave."""

IDENTITY: Final = "identity.toml"
"""The file in the state folder with what the factory wrote for this unit."""

SETTINGS: Final = "settings.toml"
"""The file in the state folder with what was set on this unit where the settings file cannot be written."""

UNIT_FILES: Final = (IDENTITY, SETTINGS)
"""The files in the state folder that belong to the unit and to no link: a wipe keeps them."""

HARDWARE: Final = "hardware"
PAGE: Final = "page"
TABLES: Final = (HARDWARE, PAGE)

AT_START: Final = (HARDWARE, PAGE, "locale", "metrics")
"""What the service reads at a start alone; the rest it reads anew at a reload too."""

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The folder in which systemd puts a unit's credentials, for that unit alone. Source: systemd.exec(5)."""

CREDENTIAL: Final = "device-auth.client-secret"

HIDDEN: Final = "set (hidden)"
"""Stands for a secret where settings are shown."""

SERVICE_GROUP: Final = "device-auth"
"""The group of the service's user, where the package or ``make install`` made it."""

LONGEST_SECRET: Final = 1024
"""Bytes of a file that holds a client secret. LWA's have 64."""

LARGEST_FILE: Final = 64 * 1024
"""Bytes of a settings file; more is some other file."""

LONGEST_LINE: Final = 1024
"""Characters of a line; tomllib takes minutes over a key of ten thousand dots."""

DEEPEST: Final = 8
"""Tables and arrays inside one another in a settings file; nothing of ours needs more."""

LARGEST_NUMBER: Final = 2**63 - 1
"""Source: TOML 1.0, "Integer": whole numbers of 64 bits."""

PLATFORM_VARIABLE: Final = (
    r"(NAME|(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?|ENV_\w+))"
)
"""How a variable continues that a container platform makes for a service named device-auth, or device-auth-SOMETHING. Source: Kubernetes, "Accessing the Service: Environment Variables"; Docker, "Legacy container links"."""

QUOTATION_MARKS: Final = ('""', "''", "``", "“”")
"""Pairs that stand around a text: in place of the quotation marks of TOML or a shell, or inside them."""

LONGEST_NAME: Final = 60
"""Characters of an unknown name that a message repeats."""

TOLD: Final = "told"
"""Of ``poll_every``: the interval that the provider tells."""

POLL_RANGE: Final = range(5, 61)
"""Seconds that ``poll_every`` may have."""

AUTO: Final = "auto"
"""Of ``key_provider``: the best one that is there."""

KEY_PROVIDERS: Final = ("systemd-credential", "rpi-fw-crypto", "key-file", "plain")
"""Holders of the key that the stored link is sealed under, the best first; the names stand in the stored file."""


# ---------------------------------------------------------------------------------------------------------
# The schema


def _read_proxy(given: str) -> "Proxy":
    from device_auth.wire.addresses import read_proxy

    return read_proxy(given)


def _read_client_secret(given: str) -> Secret:
    # RFC 6749 appendix A.2
    if given == KEY_OF["client_secret"].example or not (
        given.isascii() and given.isprintable() and given == given.strip()
    ):
        raise ValueError("is a placeholder, or has spaces around it or characters that no client secret has")
    return Secret(given)


def _read_label(given: str) -> str:
    if not given.isprintable() or len(given) > LONGEST_NAME:
        raise ValueError(f"must be printable and have at most {LONGEST_NAME} characters")
    return given


def _read_poll_every(given: object) -> str | int:
    if given == TOLD or (type(given) is int and given in POLL_RANGE):
        return given
    raise ValueError(f"must be {TOLD} or a whole number from {POLL_RANGE[0]} to {POLL_RANGE[-1]}")


_LWA: Final = (DialectName.LWA,)
_RFC8628: Final = (DialectName.RFC8628,)

KEYS: Final = (
    Key(
        "dialect",
        explanation="The provider's dialect: lwa (Login with Amazon) or rfc8628 (any other provider of the device flow).",
        example="lwa",
        default=DialectName.LWA,
        choices=tuple(DialectName),
        parse=DialectName,
    ),
    Key(
        "client_id",
        explanation="The client ID. For Login with Amazon it is in the developer console under Security Profile, Other Devices and"
        " Platforms. The ID at the top of the profile is a different one and does not work, except for the verb"
        " authorize, which needs that of its Web Settings.",
        example="amzn1.application-oa2-client.exampleexampleexampleexample0000",
        is_own=True,
    ),
    Key(
        "product_id",
        explanation="The Product ID in the developer console, Alexa Voice Service, Products.",
        example="EXAMPLE_SPEAKER",
        only=_LWA,
        is_own=True,
    ),
    Key(
        "dsn",
        explanation="This unit's serial number, a different one on each unit. A Raspberry Pi has one of its own, which is"
        " taken if none is set.",
        example="EXAMPLE_0001",
        only=_LWA,
        is_own=True,
    ),
    Key(
        "scope",
        explanation="The scope of the link: names separated by spaces. For rfc8628 the default is to ask for none.",
        example="alexa:all profile:user_id",
        default="alexa:all",
    ),
    Key(
        "locale",
        explanation="Language and country of the voice, the pages and the command line's sentences; of several the first counts.",
        example="de-DE",
        default="en-US",
    ),
    Key(
        "name",
        explanation="What people call this speaker, where several are; the host name if not set. Everyone near may read and hear it.",
        example="Kitchen",
        parse=_read_label,
        has_option=False,
    ),
    Key(
        "base_url",
        explanation="The address of Login with Amazon.",
        example="http://127.0.0.1:8100/auth/O2/",
        default="https://api.amazon.com/auth/O2/",
        only=_LWA,
    ),
    Key(
        "issuer",
        explanation="The provider's issuer address, whose metadata names the endpoints (RFC 8414).",
        example="https://accounts.example.com",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "device_endpoint",
        explanation="The device authorization endpoint, if the provider has no metadata; needs token_endpoint too.",
        example="https://accounts.example.com/device",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "token_endpoint",
        explanation="The token endpoint, if the provider has no metadata; needs device_endpoint too.",
        example="https://accounts.example.com/token",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "authorization_endpoint",
        explanation="The page where the owner approves in a browser; for the verb authorize alone.",
        example="http://127.0.0.1:8100/ap/oa",
        default="https://www.amazon.com/ap/oa",
        only=_LWA,
    ),
    Key(
        "redirect_uri",
        explanation="The address that the browser comes back to, for the verb authorize alone. It must stand in the developer"
        " console among the Allowed Return URLs of the security profile's Web Settings, letter by letter.",
        example="http://localhost:3000/authresponse",
        default="https://localhost:9745/authresponse",
        only=_LWA,
    ),
    Key(
        "ca_file",
        explanation="Certificates to trust instead of the system's, as PEM; the whole path.",
        example="/etc/device-auth/ca.pem",
    ),
    Key(
        "proxy",
        explanation="The proxy that requests to the provider go through, in place of the environment's; never used for this"
        " machine itself. It may hold a name and a password; then the file must be readable by its owner alone.",
        example="http://proxy.example:3128",
        default=None,
        parse=_read_proxy,
        has_option=False,
    ),
    Key(
        "renewals",
        ValueType.WHOLE,
        explanation="How many times an expired code is replaced by itself while someone is there.",
        example=2,
        default=2,
        within=range(101),
    ),
    Key(
        "poll_every",
        ValueType.ANY,
        explanation="Seconds between polls, 5 to 60, or told for the interval that the provider tells (Login with Amazon tells 30"
        " and answers polls every 5, as its own clients send them). After slow_down never less than told.",
        example=5,
        default="",
        parse=_read_poll_every,
        only=_LWA,
        has_option=False,
    ),
    Key(
        "key_provider",
        explanation="The holder of the key that the stored link is sealed under: systemd-credential, rpi-fw-crypto (in the"
        " Raspberry Pi's chip), key-file, or plain for no key. auto takes the first of these that is there.",
        example=AUTO,
        default=AUTO,
        choices=(AUTO, *KEY_PROVIDERS),
        has_option=False,
    ),
    Key(
        "key_file",
        explanation="The file with the key for key-file: 32 random bytes or more, readable by its owner alone; the whole path,"
        " best on another medium than the stored link.",
        example="/media/key/device-auth.key",
        has_option=False,
    ),
    Key(
        "metrics",
        ValueType.FLAG,
        explanation="Whether the service keeps a file metrics.prom in the runtime folder, with its state and its counters for"
        " Prometheus: node exporter's text-file collector reads it.",
        example=True,
        default=False,
        has_option=False,
    ),
    Key(
        "client_secret",
        explanation="The client's secret, for the verb authorize and the links it makes, and for rfc8628 where the provider gave the client"
        " one; Login with Amazon's code-based linking needs none. A file that holds it must be readable by its owner alone.",
        example="EXAMPLE_SECRET",
        default=None,
        parse=_read_client_secret,
        is_own=True,
        is_secret=True,
    ),
)
"""Every setting at the top of the file, in the order in which they are shown."""

KEY_OF: Final = {key.name: key for key in KEYS}

IDS: Final = ("dsn", "product_id", "client_id")
"""The settings that the unit's identity may have; the first it must have."""


IDENTITY_KEYS: Final = (
    *(KEY_OF[name] for name in IDS),
    Key("part", explanation="The part number.", parse=_read_label),
    Key("revision", explanation="The revision of the part.", parse=_read_label),
    Key("batch", explanation="The batch it was made in.", parse=_read_label),
)
"""Everything that the unit's identity may have."""

OF_UNIT: Final = "identity"
"""The kind of the origins that lie in the unit's identity."""

OF_ONE_VERB: Final = ("authorization_endpoint", "redirect_uri", "renewals")
"""The settings whose options only some verbs accept."""

PROVIDER_OPTIONS: Final = tuple(
    key.name for key in KEYS if key.has_option and not key.is_secret and key.name not in OF_ONE_VERB
)
"""The settings whose options every verb accepts."""


def option_of(key: Key) -> str:
    """Return a setting's option, or nothing if it has none; that of a secret names a file that holds it."""
    name = f"{key.name}_file" if key.is_secret else key.name
    return f"--{name.replace('_', '-')}" if key.has_option else ""


def variable_of(key: Key) -> str:
    """Return the name of a setting's environment variable; that of the speaker's name would be one that Docker makes."""
    return "" if key.name == "name" else PREFIX + key.name.upper()


def ways_of(key: Key) -> str:
    """Name every way to set a setting."""
    option = option_of(key)
    return f"{option}{', ' if option else ''}{variable_of(key)}, or {key.name} in the settings file"


def path_of(name: str) -> tuple[str, ...]:
    """Return the path of a setting: one at the top of the file, or, with dots, one in a table.

    Raises:
        WrongUse: if there is none of that name.
    """
    path = tuple(name.split("."))
    known = [*KEY_OF, *TABLES]
    if path[0] not in (known if len(path) == 1 else TABLES) or "" in path:
        raise WrongUse(f"there is no setting {name!a}", hint=nearest(path[0], known))
    return path


def add_option(parser: "_ActionsContainer", name: str, *, is_shown: bool = True) -> None:
    """Add one setting's option to a parser or a group of one; it appears among the arguments only if it was given."""
    import argparse

    key = KEY_OF[name]
    explained = (
        "A file with the client's secret, readable by its owner alone." if key.is_secret else key.explanation
    )
    parser.add_argument(
        option_of(key),
        metavar=None if key.choices else option_of(key).rpartition("-")[2].upper(),
        choices=[str(choice) for choice in key.choices] or None,
        type=int if key.type is ValueType.WHOLE else str,
        default=argparse.SUPPRESS,
        help=explained if is_shown else argparse.SUPPRESS,
    )


def add_provider_options(parser: "_ActionsContainer", *, is_shown: bool = True) -> None:
    """Add the options that name the provider and the client; a help text may leave them out."""
    for name in PROVIDER_OPTIONS:
        add_option(parser, name, is_shown=is_shown)


def add_secret_option(parser: "_ActionsContainer") -> None:
    """Add the option that names the file with the client secret, for the verbs that may send it."""
    add_option(parser, "client_secret")


# ---------------------------------------------------------------------------------------------------------
# Reading them


class SettingsFiles(NamedTuple):
    """The files that settings are read from, the strongest first; None for one that is not there.

    Attributes:
        identity: the unit's, in the state folder.
        settings: what was set on the unit, in the state folder.
        config: the settings file.
    """

    identity: Path | None = None
    settings: Path | None = None
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, each from the strongest place that gave it; an empty text stands for "not set".

    Attributes:
        hardware: the table of that name, as the files have it together; the hardware package checks it.
        page: the table of that name, or another value; None if no file has one. The page checks it.
        origins: for each key, and for ``page`` where a file has it, ``default``, ``credential NAME``, ``file PATH`` (the settings file), ``settings PATH`` (set on
            the unit), ``identity PATH``, ``environment NAME`` or ``option --name``.
        passed_over: the weaker origins of a key that gave another value, the strongest first; only of keys that have any.
        identity: what else the unit's identity has: part, revision and batch.
        files: where they were looked for.
        unread: those of the files that could not be read, so that what they give is not known.
        hardware_of: the table of each file that has one, the strongest first.
        platform_variables: names in the environment that look like ours and are a container platform's.
    """

    dialect: DialectName
    client_id: str
    product_id: str
    dsn: str
    scope: str
    locale: str
    name: str
    base_url: str
    issuer: str
    device_endpoint: str
    token_endpoint: str
    authorization_endpoint: str
    redirect_uri: str
    ca_file: str
    proxy: "Proxy | None"
    renewals: int
    poll_every: str | int
    key_provider: str
    key_file: str
    metrics: bool
    client_secret: Secret | None
    hardware: Mapping[str, object]
    page: object
    origins: Mapping[str, str]
    passed_over: Mapping[str, tuple[str, ...]]
    identity: Mapping[str, str]
    files: SettingsFiles
    unread: tuple[Path, ...]
    hardware_of: Mapping[Path, Mapping[str, object]]
    platform_variables: tuple[str, ...] = ()

    def is_given(self, name: str) -> bool:
        """Return whether someone gave this value."""
        return self.origins[name] != DEFAULT


@dataclass(frozen=True, slots=True)
class _File:
    """A file of settings as it was found; ``kind`` is the word for it in an origin."""

    kind: str
    path: Path
    text: str
    table: Mapping[str, object]

    @property
    def origin(self) -> str:
        """Return the origin of its values."""
        return f"{self.kind} {self.path}"

    def place_of(self, name: str) -> str:
        """Return the file and, where that is plain to see, the line in which a key or a table stands."""
        found = re.search(rf"^[ \t]*\[*[ \t]*[\"']?{re.escape(name)}(?![\w-])", self.text, re.MULTILINE)
        line = f", line {self.text.count(chr(10), 0, found.start()) + 1}" if found else ""
        return f"{self.path}{line}"


def read_settings(
    options: Mapping[str, object], files: SettingsFiles | None, environ: Mapping[str, str] = ENVIRONMENT
) -> Settings:
    """Read every setting; ``provider.read_provider`` judges whether they are enough to link.

    Args:
        options: the command line's arguments by name (``vars(args)``); others than ours are ignored.
        files: from ``places.read_places``; None for no files at all.
        environ: the environment.

    Raises:
        ConfigError: if a place cannot be read, holds an unknown name, or a value of the wrong kind.
    """
    settings, problems = gather_settings(options, files, environ)
    if problems:
        raise problems[0]
    return settings


def gather_settings(
    options: Mapping[str, object], files: SettingsFiles | None, environ: Mapping[str, str] = ENVIRONMENT
) -> tuple[Settings, list[ConfigError]]:
    """Read every setting, and return all problems at once, first those of files that cannot be read.

    Where the unit's identity cannot be read, no weaker file gives the unit other IDs.
    """
    files = files or SettingsFiles()
    problems: list[ConfigError] = []
    read: list[_File] = []
    unread: list[Path] = []
    for kind, path in (("file", files.config), ("settings", files.settings), (OF_UNIT, files.identity)):
        try:
            read += [] if path is None else [_read_file(kind, path)]
        except ConfigError as unreadable:
            problems.append(unreadable)
            unread += [] if path is None else [path]
    for file in read:
        problems += [*_unknown_names(file), *_misplaced_keys(file)]
    problems += _unknown_variables(environ)
    values: dict[str, Any] = {key.name: key.default for key in KEYS}
    origins = dict.fromkeys(values, DEFAULT)
    passed_over: dict[str, tuple[str, ...]] = {}
    for key in KEYS:
        in_force = [] if files.identity in unread and key.name in IDS else read
        given: dict[str, object] = {}
        try:
            for origin, raw in _given(key, options, environ, in_force):
                try:
                    _refuse_marks(raw)
                    given[origin] = key.read(raw)
                except ValueError as fault:
                    place = next(
                        (f"{it.kind} {it.place_of(key.name)}" for it in read if it.origin == origin), origin
                    )
                    problems.append(wrong(key, place, str(fault.args[0])))
        except ConfigError as unreadable:
            problems.append(unreadable)
        if given:
            (origins[key.name], values[key.name]), *others = reversed(given.items())
            if differing := tuple(origin for origin, value in others if value != values[key.name]):
                passed_over[key.name] = differing
    if values["dialect"] is not DialectName.LWA and origins["scope"] == DEFAULT:
        values["scope"] = ""
    hardware_of = {
        file.path: table for file in reversed(read) if isinstance(table := file.table.get(HARDWARE), dict)
    }
    values[HARDWARE] = _laid_over(reversed(hardware_of.values())) or {}
    with_page = [file for file in read if PAGE in file.table]
    values[PAGE] = _laid_over(file.table[PAGE] for file in with_page)
    if with_page:
        origins[PAGE] = with_page[-1].origin
    identity = next((file.table for file in read if file.kind == OF_UNIT), {})
    settings = Settings(
        **values,
        origins=origins,
        passed_over=passed_over,
        identity={name: str(value) for name, value in identity.items() if name not in KEY_OF},
        files=files,
        unread=tuple(unread),
        hardware_of=hardware_of,
        platform_variables=tuple(filter(_is_of_a_platform, environ)),
    )
    return settings, problems


def _laid_over(values: Iterable[Any]) -> Any:
    """Return what several files have for one name together, given the weakest first: a table keeps what none above it changes.

    A table that names another ``kind`` stands alone, as it does above that of a board.
    """
    whole: Any = None
    for value in values:
        is_changed = isinstance(whole, dict) and isinstance(value, dict)
        if not is_changed or value.get(SELECTOR, whole.get(SELECTOR)) != whole.get(SELECTOR):
            whole = value
            continue
        whole = {**whole, **{name: _laid_over((whole.get(name), value[name])) for name in value}}
    return whole


def given_outside_file(
    options: Mapping[str, object], environ: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield each setting that the command line or the environment gives: its name, and the origin."""
    if options.get("config") is not None:
        yield "config", "option --config"
    for key in KEYS:
        if argument_of(key, options) is not None:
            yield key.name, f"option {option_of(key)}"
        elif environ.get(variable_of(key)):
            yield key.name, f"environment {variable_of(key)}"


def wrong(key: Key, origin: str, fault: str) -> ConfigError:
    """Return the error of a setting and the ways to correct it; it never shows the value."""
    kind, _, place = origin.partition(" ")
    hint = f"Correct it in {place}." if kind in {"settings", OF_UNIT} else f"Correct it: {ways_of(key)}."
    return ConfigError(f"{key.name} ({origin}) {fault}", hint=hint)


@contextmanager
def as_config_error(table: str) -> Iterator[None]:
    """Raise ConfigError in place of a refusal of a table of the settings."""
    try:
        yield
    except HardwareError as error:
        fault = str(error).removeprefix(f"{table}: ")
        raise ConfigError(f"[{table}] {fault}", hint=error.hint) from error


def _given(
    key: Key, options: Mapping[str, object], environ: Mapping[str, str], files: Iterable[_File]
) -> Iterator[tuple[str, object]]:
    """Return what each place has for one key, the weakest first: origin and value.

    Raises:
        ConfigError: if a file of its own cannot be read, or can be read by others.
    """
    folder = environ.get(CREDENTIALS)
    if key.is_secret and folder and os.path.lexists(Path(folder, CREDENTIAL)):
        # systemd decides who may read it: for another user than root its mode looks wider than it is (ACL)
        yield _read_secret(key, Path(folder, CREDENTIAL), f"credential {CREDENTIAL}", is_guarded=True)
    for file in files:
        if key.name in file.table:
            yield file.origin, read_word(key, file.table[key.name])
    # an empty variable is how a unit or a shell takes one back
    if environ.get(variable_of(key)):
        yield f"environment {variable_of(key)}", read_word(key, environ[variable_of(key)])
    argument, origin = argument_of(key, options), f"option {option_of(key)}"
    if argument is not None and key.is_secret:
        yield _read_secret(key, Path(str(argument)), origin)
    elif argument is not None:
        yield origin, read_word(key, argument)


def _refuse_marks(given: object) -> None:
    """Raise ValueError if a text has quotation marks around it: files of variables are not read as a shell reads them."""
    if isinstance(given, str) and len(given) > 1 and given[0] + given[-1] in QUOTATION_MARKS:
        raise ValueError("has quotation marks around it, which do not belong to it")


def argument_of(key: Key, options: Mapping[str, object]) -> object:
    """Return what the option of a setting was given; None if it was not."""
    return options.get(option_of(key).strip("-").replace("-", "_"))


def read_word(key: Key, given: object) -> object:
    """Return a number for its digits, and true or false for the word, which is how a shell has them."""
    if key.type is ValueType.FLAG and isinstance(given, str):
        return {"true": True, "false": False}.get(given, given)
    if key.type not in {ValueType.WHOLE, ValueType.ANY} or not isinstance(given, str):
        return given
    return int(given) if given.isascii() and given.isdigit() and len(given) <= LONGEST_NAME else given


def _read_secret(key: Key, path: Path, origin: str, *, is_guarded: bool = False) -> tuple[str, str]:
    """Read a secret from a file of its own, without the end of the line; return origin and secret."""
    from device_auth.wire.pasted import read_text

    try:
        raw, status = read_plain(path, LONGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        raise wrong(key, origin, explain(f"cannot be read: {path}", error)) from error
    if not is_guarded:
        _refuse_open(key, path, status)
    if len(raw) > LONGEST_SECRET:
        raise wrong(key, origin, f"is too long: {path}")
    text = read_text(raw)
    if text is None:
        raise wrong(key, origin, f"is not text: {path}")
    return origin, text.strip("\r\n")


def _refuse_open(key: Key, path: Path, status: os.stat_result) -> None:
    if not status.st_mode & (stat.S_IRGRP | stat.S_IROTH) or is_for_service(status):
        return
    is_roots = status.st_uid == 0 and service_group() is not None
    command = giving_to_root(path) if is_roots else f"chmod 600 {quoted(path)}"
    raise ConfigError(
        f"{path} holds {'' if key.is_secret else 'the password of '}{key.name} and can be read by others",
        hint=f"Run: {command}",
    )


def is_for_service(status: os.stat_result) -> bool:
    """Return whether a file is root's, and beside him only the service can read it."""
    is_narrow = not status.st_mode & (stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO)
    return status.st_uid == 0 and is_narrow and status.st_gid == service_group()


def giving_to_root(path: Path) -> str:
    """Return the command that gives a settings file to root, and lets the service read it."""
    shown = quoted(path)
    if service_group() is None:
        return f"chown root: {shown}"
    return f"chown root:{SERVICE_GROUP} {shown} && chmod 640 {shown}"


def service_group() -> int | None:
    """Return the group of the service's user, who reads the settings that belong to root; None if there is none."""
    import grp

    try:
        return grp.getgrnam(SERVICE_GROUP).gr_gid
    except KeyError:
        return None


# ---------------------------------------------------------------------------------------------------------
# Unknown names


def _unknown_names(file: _File) -> Iterator[ConfigError]:
    names = [key.name for key in IDENTITY_KEYS] if file.kind == OF_UNIT else [*KEY_OF, *TABLES]
    for name in file.table:
        if name not in names:
            yield _unknown(name, file.place_of(name), nearest(name, names))


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[ConfigError]:
    variables = [*map(variable_of, KEYS), CONFIG_VARIABLE]
    for name in environ:
        if name.startswith(PREFIX) and name not in variables and not _is_of_a_platform(name):
            yield _unknown(name, "the environment", nearest(name.upper(), variables))


def _is_of_a_platform(name: str) -> bool:
    # compiled only where there is a variable to look at
    return name.startswith(PREFIX) and re.fullmatch(PREFIX + PLATFORM_VARIABLE, name) is not None


def _unknown(name: str, place: str, hint: str) -> ConfigError:
    # ascii: a name from outside must not reach a terminal as it is
    shown = ascii(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "...")
    return ConfigError(f"unknown setting {shown} in {place}", hint=hint)


def _misplaced_keys(file: _File) -> Iterator[ConfigError]:
    """Find settings that stand below the head of a table, and so belong to it."""
    hardware = file.table.get(HARDWARE, {})
    if not isinstance(hardware, dict):
        yield ConfigError(
            f"{HARDWARE} in {file.place_of(HARDWARE)} must be a table, not {name_type(hardware)}",
            hint=f'Write a line [{HARDWARE}] and below it: board = "none"',
        )
    for table in TABLES:
        inside = file.table.get(table)
        for name in [name for name in KEY_OF if name in inside] if isinstance(inside, dict) else ():
            yield ConfigError(
                f"{name} in {file.place_of(name)} stands in the table [{table}]",
                hint=f"Move it above the line [{table}]: the lines below it belong to the table.",
            )


# ---------------------------------------------------------------------------------------------------------
# The file


def _read_file(kind: str, path: Path) -> _File:
    """Read a file of settings.

    Raises:
        ConfigError: if it cannot be read, can be changed by anyone, holds a secret that others can read, or is not TOML;
            if it is to be a unit's identity, and is none.
    """
    try:
        raw, status = read_plain(path, LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        other = ", or name another file with --config." if kind == "file" else "."
        hint = getattr(error, "hint", "") or f"Check the path{other}"
        if isinstance(error, FileNotFoundError) and kind == "file":
            hint = f"Check its name, or write it: device-auth config init --config {quoted(path)}"
        elif isinstance(error, PermissionError):
            hint = f"Run this as its owner (sudo){other}"
        raise ConfigError(explain(f"cannot read {path}", error), hint=hint) from error
    if status.st_mode & stat.S_IWOTH:
        # a person who may write it decides whom the speaker speaks with
        raise ConfigError(f"any user can change {path}", hint=f"Run: chmod o-w {quoted(path)}")
    # some editors begin a file with a byte order mark; a strict decoder's error would carry the whole file, secrets and all
    text = raw.decode("utf-8-sig", "surrogateescape")
    lines = text.split("\n")
    odd = next(
        (number for number, line in enumerate(lines, start=1) if re.search("[\udc80-\udcff]", line)), 0
    )
    long = next((number for number, line in enumerate(lines, start=1) if len(line) > LONGEST_LINE), 0)
    if len(raw) > LARGEST_FILE:
        raise _not_ours(path, f"is too large for a settings file (over {LARGEST_FILE // 1024} KiB)")
    if odd:
        raise ConfigError(
            f"{path} is not UTF-8 (line {odd})", hint="Save it as UTF-8, or remove the other characters."
        )
    if long:
        raise _not_ours(path, f"has more than {LONGEST_LINE} characters in line {long}")
    file = _File(kind, path, text, _parse(path, text))
    if kind == OF_UNIT:
        _check_identity(file)
    for key in filter(None, map(KEY_OF.get, file.table)):
        if holds_secret(key.name, file.table[key.name]):
            _refuse_open(key, path, status)
    return file


def _check_identity(file: _File) -> None:
    """Raise ConfigError unless a file is a unit's identity, whole: half of one would leave IDs to weaker files."""
    for problem in _unknown_names(file):
        raise problem
    for key, fault in faults_of_identity(file.table):
        raise wrong(key, f"{file.kind} {file.place_of(key.name)}", fault)
    if IDS[0] not in file.table:
        raise ConfigError(
            f"{file.path} has no {IDS[0]}, so it is not the identity of a unit",
            hint="Put back what was written when the unit was made. If this unit never had an identity, remove the file.",
        )


def faults_of_identity(table: Mapping[str, object]) -> Iterator[tuple[Key, str]]:
    """Yield each key of a unit's identity whose value it cannot have, and why."""
    for key in IDENTITY_KEYS:
        try:
            if key.name in table:
                _refuse_marks(table[key.name])
                key.read(table[key.name])
        except ValueError as fault:
            yield key, str(fault.args[0])


def holds_secret(name: str, value: object) -> bool:
    """Return whether a setting is a secret, or a proxy's address with a password in it."""
    return name == "client_secret" or (name == "proxy" and "@" in str(value))


def _not_ours(path: Path, fault: str) -> ConfigError:
    return ConfigError(f"{path} {fault}", hint="Check that it is the right file.")


def _parse(path: Path, text: str) -> dict[str, object]:
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}",
            hint='Correct that line. Text stands in quotation marks: client_id = "..."',
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or brackets nested too deeply
        raise ConfigError(f"cannot read {path} as TOML", hint="Look for a value without an end.") from error
    fault = _fault_of_table(table)
    if fault:
        raise ConfigError(
            f"{path} {fault}",
            hint="Look for an extra digit, a misplaced bracket or dot, or a setting below a line like [x]: settings come first.",
        )
    return table


def _fault_of_table(table: Mapping[str, object]) -> str:
    """Return what makes a table useless though it is TOML, or nothing."""
    level: list[object] = [*table.values()]
    for _ in range(DEEPEST):
        if any(isinstance(value, int) and abs(value) > LARGEST_NUMBER for value in level):
            return "has a number beyond 64 bits"
        # a table is shown to people
        for name, held in (
            (name, value[name]) for value in level if isinstance(value, dict) for name in value
        ):
            if holds_secret(name, held):
                return f"has {name} inside a table"
        inner = (
            value.values() if isinstance(value, dict) else value
            for value in level
            if isinstance(value, dict | list)
        )
        level = [value for values in inner for value in values]
    return f"has more than {DEEPEST} tables or lists inside one another" if level else ""


# ---------------------------------------------------------------------------------------------------------
# For other programs


def environment_for_others(environ: Mapping[str, str] = ENVIRONMENT) -> dict[str, str]:
    """Return the environment for a program that we start: ours, without the secrets in it."""
    secrets = {variable_of(KEY_OF[name]) for name in ("client_secret", "proxy")}
    return {name: value for name, value in environ.items() if name not in secrets}


def quoted(path: Path) -> str:
    """Return a path so that a shell takes it as it is."""
    import shlex

    return shlex.quote(str(path))


@contextmanager
def folder_for_lgpio() -> Iterator[None]:
    """Lend lgpio a folder of its own, unless it has one: it leaves a pipe in the working directory."""
    if ENVIRONMENT.get(LGPIO_FOLDER):
        yield
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="device-auth-") as folder:
        _OWN_ENVIRONMENT[LGPIO_FOLDER] = folder
        try:
            yield
        finally:
            del _OWN_ENVIRONMENT[LGPIO_FOLDER]
