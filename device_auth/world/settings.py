"""Settings: what a person decided, and where it was said.

An option is stronger than the environment, the environment than the file, the file than the default; each value
remembers its origin. The client secret may also lie in a file of its own: one that an option names, or, weaker than
the settings file, a credential of systemd's. One table, ``KEYS``, drives the file, the environment, the options and the texts about them.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Secret
from device_auth.world.explain import explain

if TYPE_CHECKING:
    from argparse import _ActionsContainer

ENVIRONMENT: Final[Mapping[str, str]] = os.environ  # noqa: TID251  # the one place; handed on as a default
"""The environment this program was started with."""

LGPIO_FOLDER: Final = "LG_WD"
"""Tells the library below RPi.GPIO where to leave its pipe, else in the working directory. Source: lgpio's manual, LG_WD."""

PREFIX: Final = "DEVICE_AUTH_"
"""What the names of our environment variables begin with."""

CONFIG_VARIABLE: Final = "DEVICE_AUTH_CONFIG"
"""Names the settings file; the only variable of ours that is not a setting."""

DEFAULT: Final = "default"
"""The origin of a value that nobody gave."""

HARDWARE: Final = "hardware"
"""The table that belongs to the hardware package, which checks what is in it."""

PAGE: Final = "page"
"""The table of the speaker's own page, or "off"; the page checks it."""

TABLES: Final = (HARDWARE, PAGE)

FILE_OPTION: Final = "--client-secret-file"
"""Names a file that holds the client secret: a secret itself is never an argument."""

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The folder in which systemd puts a unit's credentials, for the unit's eyes only. Source: systemd.exec(5)."""

CREDENTIAL: Final = "device-auth.client-secret"

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

MOST_RENEWALS: Final = 100

AUTO: Final = "auto"
"""Of ``key_provider``: the best one that is there."""

KEY_PROVIDERS: Final = ("systemd-credential", "rpi-fw-crypto", "key-file", "plain")
"""Who may hold the key that the stored link is sealed under, the best first; the names stand in the stored file."""

LONGEST_NAME: Final = 60
"""Characters of an unknown name that a message repeats."""


# ---------------------------------------------------------------------------------------------------------
# The keys


class Key(NamedTuple):
    """One setting: all that any place needs to know of it.

    Attributes:
        metavar: the word for its value in ``--help``.
        explanation: what it is and where to get it, for a person.
        example: a value to show; refused as a value where ``is_own``.
        only: the dialect it belongs to, or None for both.
        is_own: each user has his own, so a placeholder is refused.
        is_secret: never shown, and never an option: arguments can be seen by every process.
        is_provider_option: it says whom to speak with; its option is accepted by every verb.
        has_option: it may be given on the command line at all.
    """

    name: str
    metavar: str
    explanation: str
    example: str
    default: str | int = ""
    choices: tuple[str, ...] = ()
    only: DialectName | None = None
    is_own: bool = False
    is_secret: bool = False
    is_provider_option: bool = True
    has_option: bool = True

    @property
    def option(self) -> str:
        """Return the command line option, or nothing if there is none."""
        return "" if self.is_secret or not self.has_option else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return PREFIX + self.name.upper()

    @property
    def ways(self) -> str:
        """Say every way to set it."""
        option = FILE_OPTION if self.is_secret else self.option
        return f"{option}, {self.variable}, or {self.name} in the settings file"


_LWA: Final = DialectName.LWA
_RFC8628: Final = DialectName.RFC8628

KEYS: Final = (
    Key(
        "dialect",
        "NAME",
        "How the provider speaks: lwa (Login with Amazon) or rfc8628 (any other provider of the device flow).",
        "lwa",
        default="lwa",
        choices=tuple(DialectName),
    ),
    Key(
        "client_id",
        "ID",
        "Who asks for the link. For Login with Amazon it is in the developer console under Security Profile,"
        " Other Devices and Platforms; the ID at the top of the profile is a different one and does not work, except"
        " for the verb authorize, which needs that of its Web Settings.",
        "amzn1.application-oa2-client.exampleexampleexampleexample0000",
        is_own=True,
    ),
    Key(
        "product_id",
        "ID",
        "Which product this is: the Product ID in the developer console, Alexa Voice Service, Products.",
        "EXAMPLE_SPEAKER",
        only=_LWA,
        is_own=True,
    ),
    Key(
        "dsn",
        "TEXT",
        "This unit's serial number, a different one on each unit. A Raspberry Pi has one of its own, which is"
        " taken if none is set.",
        "EXAMPLE_0001",
        only=_LWA,
        is_own=True,
    ),
    Key(
        "scope",
        "NAMES",
        "What the link is for, names separated by spaces. For rfc8628 the default is to ask for none.",
        "alexa:all profile:user_id",
        default="alexa:all",
    ),
    Key(
        "locale",
        "LOCALE",
        "Language and country of the page where the owner enters the code; of several the first counts.",
        "de-DE",
        default="en-US",
        only=_LWA,
    ),
    Key(
        "base_url",
        "URL",
        "Where Login with Amazon is asked.",
        "http://127.0.0.1:8100/auth/O2/",
        default="https://api.amazon.com/auth/O2/",
        only=_LWA,
    ),
    Key(
        "issuer",
        "URL",
        "The provider's issuer address, whose metadata names the endpoints (RFC 8414).",
        "https://accounts.example.com",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "device_endpoint",
        "URL",
        "Where codes come from, if the provider has no metadata; goes with token_endpoint.",
        "https://accounts.example.com/device",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "token_endpoint",
        "URL",
        "Where tokens come from, if the provider has no metadata; goes with device_endpoint.",
        "https://accounts.example.com/token",
        only=_RFC8628,
        is_own=True,
    ),
    Key(
        "authorization_endpoint",
        "URL",
        "The page where the owner approves in a browser; for the verb authorize alone.",
        "http://127.0.0.1:8100/ap/oa",
        default="https://www.amazon.com/ap/oa",
        only=_LWA,
        is_provider_option=False,
    ),
    Key(
        "redirect_uri",
        "URL",
        "Where the browser comes back to, for the verb authorize alone; must stand in the developer console among"
        " the Allowed Return URLs of the security profile's Web Settings, letter by letter.",
        "http://localhost:3000/authresponse",
        default="https://localhost:9745/authresponse",
        only=_LWA,
        is_provider_option=False,
    ),
    Key(
        "ca_file",
        "FILE",
        "Certificates to trust instead of the system's, as PEM; the whole path.",
        "/etc/device-auth/ca.pem",
    ),
    Key(
        "renewals",
        "N",
        "How many times a code that ran out is replaced by itself while someone is there.",
        "2",
        default=2,
        is_provider_option=False,
    ),
    Key(
        "key_provider",
        "NAME",
        "Who holds the key that the stored link is sealed under: systemd-credential, rpi-fw-crypto (in the"
        " Raspberry Pi's chip), key-file, or plain for no key. auto takes the first of these that is there.",
        "auto",
        default=AUTO,
        choices=(AUTO, *KEY_PROVIDERS),
        is_provider_option=False,
        has_option=False,
    ),
    Key(
        "key_file",
        "FILE",
        "The file with the key for key-file: 32 random bytes or more, which its owner alone may read; the whole"
        " path, best on another medium than the stored link.",
        "/media/key/device-auth.key",
        is_provider_option=False,
        has_option=False,
    ),
    Key(
        "client_secret",
        "TEXT",
        "The client's secret, for the verb authorize and the links it makes; code-based linking needs none. A file that"
        " holds it must be readable by its owner alone.",
        "EXAMPLE_SECRET",
        is_own=True,
        is_secret=True,
    ),
)
"""Every setting at the top of the file, in the order in which they are shown."""

_KEYS: Final = {key.name: key for key in KEYS}

PROVIDER_OPTIONS: Final = tuple(key.name for key in KEYS if key.is_provider_option and not key.is_secret)
"""The settings whose options every verb accepts."""


def add_option(parser: "_ActionsContainer", name: str) -> None:
    """Add one setting's option to a parser or a group of one; it appears among the arguments only if it was given."""
    import argparse

    key = _KEYS[name]
    parser.add_argument(
        key.option,
        dest=key.name,
        metavar=None if key.choices else key.metavar,
        choices=key.choices or None,
        type=int if isinstance(key.default, int) else str,
        default=argparse.SUPPRESS,
        help=key.explanation,
    )


def add_provider_options(parser: "_ActionsContainer") -> None:
    """Add the options that say whom to speak with."""
    for name in PROVIDER_OPTIONS:
        add_option(parser, name)


def add_secret_option(parser: "_ActionsContainer") -> None:
    """Add the option that names the file with the client secret, for the verbs that may send it."""
    import argparse

    parser.add_argument(
        FILE_OPTION,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="A file that holds the client's secret and that its owner alone can read.",
    )


# ---------------------------------------------------------------------------------------------------------
# Reading them


class Settings(NamedTuple):
    """All settings, each from the strongest place that gave it; an empty text stands for "not set".

    Attributes:
        hardware: the table of that name as it stands in the file; the hardware package checks it.
        page: likewise, or another value; None if the file says nothing. The page checks it.
        origins: for each key ``default``, ``credential NAME``, ``file PATH``, ``environment NAME`` or
            ``option --name``.
        config_file: the file that was read, or None.
    """

    dialect: DialectName
    client_id: str
    product_id: str
    dsn: str
    scope: str
    locale: str
    base_url: str
    issuer: str
    device_endpoint: str
    token_endpoint: str
    authorization_endpoint: str
    redirect_uri: str
    ca_file: str
    renewals: int
    key_provider: str
    key_file: str
    client_secret: Secret | None
    hardware: Mapping[str, object]
    page: object
    origins: Mapping[str, str]
    config_file: Path | None

    def is_given(self, name: str) -> bool:
        """Return whether someone gave this value."""
        return self.origins[name] != DEFAULT


class _File(NamedTuple):
    """The settings file as it was found: its text, and what stands in it."""

    path: Path | None = None
    text: str = ""
    table: Mapping[str, object] = {}

    def line_of(self, name: str) -> str:
        """Say in which line a key or a table stands, where that is plain to see."""
        import re

        found = re.search(rf"^[ \t]*\[*[ \t]*[\"']?{re.escape(name)}(?![\w-])", self.text, re.MULTILINE)
        return f", line {self.text.count(chr(10), 0, found.start()) + 1}" if found else ""


def read_settings(
    options: Mapping[str, object], config_file: Path | None, environ: Mapping[str, str] = ENVIRONMENT
) -> Settings:
    """Read every setting.

    Whether they are enough to link is another question: see ``provider.read_provider``.

    Args:
        options: the command line's arguments by name (``vars(args)``); others than ours are passed over.
        config_file: from ``places.read_places``.
        environ: the environment.

    Raises:
        ConfigError: a place cannot be read, holds an unknown name, or a value of the wrong kind.
    """
    settings, problems = gather_settings(options, config_file, environ)
    if problems:
        raise problems[0]
    return settings


def gather_settings(
    options: Mapping[str, object], config_file: Path | None, environ: Mapping[str, str] = ENVIRONMENT
) -> tuple[Settings, list[ConfigError]]:
    """Read every setting and go on past what is wrong, to tell all of it at once.

    Raises:
        ConfigError: the settings file cannot be read at all.
    """
    file = _File() if config_file is None else _read_file(config_file)
    problems = [*_strangers_in_file(file), *_strangers_in_environment(environ)]
    values: dict[str, Any] = {key.name: None if key.is_secret else key.default for key in KEYS}
    origins = dict.fromkeys(values, DEFAULT)
    for key in KEYS:
        try:
            for origin, given in _given(key, options, environ, file):
                fault = _fault(key, given)
                if fault:
                    line = file.line_of(key.name) if origin.startswith("file ") else ""
                    problems.append(wrong(key, f"{origin}{line}", fault))
                else:
                    values[key.name] = _value(key, given)
                    origins[key.name] = origin
        except ConfigError as unreadable:
            problems.append(unreadable)
    values["dialect"] = DialectName(values["dialect"])
    if values["dialect"] is not DialectName.LWA and origins["scope"] == DEFAULT:
        values["scope"] = ""
    hardware = file.table.get(HARDWARE)
    values[HARDWARE] = hardware if isinstance(hardware, dict) else {}
    values[PAGE] = file.table.get(PAGE)
    return Settings(**values, origins=origins, config_file=config_file), problems


def wrong(key: Key, origin: str, fault: str) -> ConfigError:
    """Make the error that says what is wrong with a setting, and how to set it right; never shows its value."""
    return ConfigError(f"{key.name} ({origin}) {fault}", hint=f"Correct it: {key.ways}.")


def _given(
    key: Key, options: Mapping[str, object], environ: Mapping[str, str], file: _File
) -> Iterator[tuple[str, object]]:
    """Return what each place says of one key, the weakest first: origin and value.

    Raises:
        ConfigError: a file of its own cannot be read, or can be by others.
    """
    if key.is_secret:
        yield from _credential(environ)
    if key.name in file.table:
        yield f"file {file.path}", file.table[key.name]
    # an empty variable is how a unit or a shell takes one back
    if environ.get(key.variable):
        yield f"environment {key.variable}", environ[key.variable]
    if key.option and options.get(key.name) is not None:
        yield f"option {key.option}", options[key.name]
    if key.is_secret and options.get("client_secret_file") is not None:
        path = Path(str(options["client_secret_file"]))
        yield f"option {FILE_OPTION}", _read_secret(path, f"option {FILE_OPTION}")


def _credential(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return the client secret that systemd was told to hand over, if it was.

    Who may read it is systemd's affair: for another user than root it lets the mode look wider than it is (ACL).
    """
    folder = environ.get(CREDENTIALS)
    if folder and os.path.lexists(Path(folder, CREDENTIAL)):
        origin = f"credential {CREDENTIAL}"
        yield origin, _read_secret(Path(folder, CREDENTIAL), origin, is_guarded=True)


def _read_secret(path: Path, origin: str, *, is_guarded: bool = False) -> str:
    """Read the client secret from a file of its own; an end of line is not a part of it."""
    key = _KEYS["client_secret"]
    try:
        raw, mode = _read_plain(path, LONGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        raise wrong(key, origin, explain(f"cannot be read: {path}", error)) from error
    if not stat.S_ISREG(mode):
        raise wrong(key, origin, f"is not in a plain file: {path}")
    if not is_guarded and mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(
            f"{path} holds client_secret and can be read by others", hint=f"Run: chmod 600 {quoted(path)}"
        )
    if len(raw) > LONGEST_SECRET:
        raise wrong(key, origin, f"is too long: {path}")
    return raw.decode("latin-1").removesuffix("\n").removesuffix("\r")


def _fault(key: Key, given: object) -> str:
    """Return what is wrong with a value as such, or nothing; never shows it."""
    if isinstance(key.default, int):
        if isinstance(given, bool) or not isinstance(given, int | str):
            return f"must be a whole number, not {_kind(given)}"
        return "" if _number(given) is not None else f"must be a whole number, 0 to {MOST_RENEWALS}"
    if not isinstance(given, str):
        return f"must be text in quotation marks, not {_kind(given)}"
    if not given:
        return "is empty: give it a value or leave it out"
    if key.is_secret and (given == key.example or not _is_plain(given)):
        return "is a placeholder, or has spaces around it or characters that no client secret has"
    if key.choices and given not in key.choices:
        return f"must be {' or '.join(key.choices)}"
    return ""


def _is_plain(secret: str) -> bool:
    # RFC 6749 appendix A.2
    return secret.isascii() and secret.isprintable() and secret == secret.strip()


def _number(given: int | str) -> int | None:
    if isinstance(given, str):
        is_plain = given.isascii() and given.isdigit() and len(given) <= len(str(MOST_RENEWALS))
        given = int(given) if is_plain else -1
    return given if 0 <= given <= MOST_RENEWALS else None


def _value(key: Key, given: Any) -> str | int | Secret | None:
    if isinstance(key.default, int):
        return _number(given)
    return Secret(given) if key.is_secret else str(given)


def _kind(given: object) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(given), "a date or a time")


# ---------------------------------------------------------------------------------------------------------
# What other programs are given


def environment_for_others(environ: Mapping[str, str] = ENVIRONMENT) -> dict[str, str]:
    """Return the environment for a program that we start: ours, without the secrets that we were given in it."""
    secrets = {key.variable for key in KEYS if key.is_secret}
    return {name: value for name, value in environ.items() if name not in secrets}


# ---------------------------------------------------------------------------------------------------------
# Names nobody knows


def _strangers_in_file(file: _File) -> Iterator[ConfigError]:
    """Find what stands in the file and means nothing there."""
    for name in file.table:
        if name not in _KEYS and name not in TABLES:
            hint = _did_you_mean(name.lower().replace("-", "_"), [*_KEYS, *TABLES])
            yield ConfigError(f"unknown setting {_shown(name)} in {file.path}{file.line_of(name)}", hint=hint)
    yield from _keys_in_tables(file)


def _keys_in_tables(file: _File) -> Iterator[ConfigError]:
    """Find settings that slipped below the head of a table, and so belong to it."""
    hardware = file.table.get(HARDWARE, {})
    if not isinstance(hardware, dict):
        yield ConfigError(
            f"{HARDWARE} in {file.path}{file.line_of(HARDWARE)} must be a table, not {_kind(hardware)}",
            hint=f'Write a line [{HARDWARE}] and below it: board = "none"',
        )
        return
    for table in TABLES:
        inside = file.table.get(table, {})
        for name in (name for name in inside if name in _KEYS) if isinstance(inside, dict) else ():
            yield ConfigError(
                f"{name} in {file.path}{file.line_of(name)} stands in the table [{table}]",
                hint=f"Move it above the line [{table}]: what comes below belongs to the table.",
            )


def _strangers_in_environment(environ: Mapping[str, str]) -> Iterator[ConfigError]:
    """Find variables that look like ours and mean nothing to us."""
    known = [key.variable for key in KEYS] + [CONFIG_VARIABLE]
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            hint = _did_you_mean(name.upper(), known)
            yield ConfigError(f"unknown setting {_shown(name)} in the environment", hint=hint)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    import difflib

    nearest = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(known)}."


def _shown(name: str) -> str:
    """Return a name from outside so that it can do no harm to a terminal."""
    return ascii(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "...")


# ---------------------------------------------------------------------------------------------------------
# The file


def _read_file(path: Path) -> _File:
    """Read the settings file.

    Raises:
        ConfigError: it is not there, not a file, not ours to read, open to others, or not TOML.
    """
    raw, mode = _read_bytes(path)
    try:
        # some editors begin a file with a byte order mark
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        text, fault = "", f"{path} is not UTF-8 (line {line})"
    else:
        fault = ""
    # raised out here because that error carries the whole file, secrets and all
    if fault:
        raise ConfigError(fault, hint="Save it as UTF-8, or remove the odd characters.")
    file = _File(path, text, _parse(path, text))
    if "client_secret" in file.table and mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(
            f"{path} holds client_secret and can be read by others", hint=f"Run: chmod 600 {quoted(path)}"
        )
    return file


def _read_bytes(path: Path) -> tuple[bytes, int]:
    """Read at most one byte more than is allowed."""
    try:
        raw, mode = _read_plain(path, LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no settings file {path}",
            hint=f"Check its name, or write it: device-auth config init --config {quoted(path)}",
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder, not a settings file", hint="Name the file in it.") from error
    except PermissionError as error:
        raise ConfigError(
            explain(f"cannot read {path}", error),
            hint="Run this as its owner (sudo), or name another file with --config.",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(f"cannot read {path}", error), hint="Check the path, or name another file with --config."
        ) from error
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{path} is not a plain file", hint="Name a plain file with --config.")
    if len(raw) > LARGEST_FILE:
        raise ConfigError(
            f"{path} is too large for a settings file (over {LARGEST_FILE // 1024} KiB)",
            hint="Check that it is the right file.",
        )
    if mode & stat.S_IWOTH:
        # whoever may write it decides whom the speaker speaks with
        raise ConfigError(f"{path} can be changed by anyone", hint=f"Run: chmod o-w {quoted(path)}")
    return raw, mode


def _read_plain(path: Path, most: int) -> tuple[bytes, int]:
    """Read from a plain file, without waiting for a pipe's other end; give the mode too.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no path.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        mode = os.fstat(descriptor).st_mode
        return stream.read(most) if stat.S_ISREG(mode) else b"", mode


def _parse(path: Path, text: str) -> dict[str, object]:
    import tomllib

    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LONGEST_LINE:
            raise ConfigError(
                f"line {number} of {path} is longer than {LONGEST_LINE} characters",
                hint="Check that it is the right file.",
            )
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}",
            hint='Correct that line. Text stands in quotation marks: client_id = "..."',
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or brackets in brackets without end
        raise ConfigError(
            f"{path} cannot be read as TOML", hint="Look for a value without an end."
        ) from error
    fault = _fault_of_table(table)
    if fault:
        raise ConfigError(
            f"{path} {fault}",
            hint="Look for a digit too many, a misplaced bracket or dot, or a setting below a line like [x]: settings come first.",
        )
    return table


def _fault_of_table(table: Mapping[str, object]) -> str:
    """Return what nobody means to write and few programs survive, or nothing."""
    level: list[object] = [table]
    for _ in range(DEEPEST + 1):
        if any(isinstance(value, int) and abs(value) > LARGEST_NUMBER for value in level):
            return "has a number beyond 64 bits"
        if any(
            isinstance(value, dict) and value is not table and "client_secret" in value for value in level
        ):
            # what stands in a table is shown to people
            return "has client_secret inside a table"
        lists = [value for value in level if isinstance(value, list)]
        lists += [list(value.values()) for value in level if isinstance(value, dict)]
        level = [value for values in lists for value in values]
    return f"has more than {DEEPEST} tables or lists inside one another" if level else ""


def quoted(path: Path) -> str:
    """Return a path so that a shell takes it as it is."""
    import shlex

    return shlex.quote(str(path))


@contextmanager
def folder_for_lgpio() -> Iterator[None]:
    """Give lgpio a folder of its own for a while, unless it has been given one: it litters wherever we are."""
    if ENVIRONMENT.get(LGPIO_FOLDER):
        yield
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="device-auth-") as folder:
        os.environ[LGPIO_FOLDER] = folder  # noqa: TID251  # the library reads the process's own
        try:
            yield
        finally:
            del os.environ[LGPIO_FOLDER]  # noqa: TID251  # as it was
