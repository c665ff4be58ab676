"""The exports to clients that send a client secret with each refresh: ReSpeaker's ``avs`` and AlexaPi.

========== ========================= ===========================================================================
respeaker  ``~/.avs.json``           a JSON object; a new one is enough. What it keeps of an access token is removed,
                                     so that it refreshes at once
alexapi    ``config.yaml``           four keys in the section ``alexa``; all other lines stay as they are
========== ========================= ===========================================================================

They serve links that were made with a client secret (``authorize``). The secret is not a part of a link: the client has it
already, or it is written for it from the settings. The lines of AlexaPi's file are changed one by one, as AlexaPi itself
does; a section in another form than its template's is refused.

Source: respeaker/avs, ``avs/config.py`` and ``avs/alexa.py``; alexa-pi/AlexaPi, ``src/config.template.yaml``,
``src/alexapi/config.py`` and ``src/main.py``; YAML 1.2 §7.3 (scalars).
"""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Link
from device_auth.tools import exports, json_files
from device_auth.tools.exports import MASK, Change, ExportPlan, Rewrite, Unit

TOKEN_ENDPOINT: Final = "https://api.amazon.com/auth/o2/token"
"""The only one of both clients."""

BAIDU: Final = "dueros-h2.baidu.com"
"""The ``host_url`` with which ReSpeaker's client speaks with another provider."""

OUTDATED: Final = ("access_token", "expiry")
"""The keys of an access token of ReSpeaker's; it uses one that it finds."""

SECTION: Final = "alexa"


class _Names(NamedTuple):
    """The keys of a client."""

    product_id: str
    client_id: str
    client_secret: str
    refresh_token: str


_RESPEAKER: Final = _Names("product_id", "client_id", "client_secret", "refresh_token")
_ALEXAPI: Final = _Names("Device_Type_ID", "Client_ID", "Client_Secret", "refresh_token")


def plan_respeaker(link: Link, unit: Unit, path: Path) -> ExportPlan:
    """Plan the changes of ReSpeaker's ``.avs.json``, or a new one.

    Raises:
        DeviceAuthError: if the file is unusable or cannot be written, or the link cannot be used there.
    """
    old = exports.look_at(path)
    config = json_files.read_object(old.content, old.path) if old.content else {}
    if json_files.text(config, "host_url", old.path) == BAIDU:
        raise ConfigError(
            f"host_url in {old.path} is Baidu's: that client does not speak with Amazon",
            hint="Remove host_url and client_id there, or name another file.",
        )
    present = {name: json_files.text(config, name, old.path) for name in _RESPEAKER}
    wanted = _wanted(present, _RESPEAKER, link, unit, old.path)
    after = {name: value for name, value in config.items() if name not in OUTDATED} | wanted
    removed = [Change(name, MASK, None) for name in OUTDATED if name in config]
    changes = (*_changes(present, wanted, _RESPEAKER), *removed)
    # in ASCII, as it is written by the client, which reads it in the encoding of its locale
    content = json.dumps(after, indent=4).encode() if changes else old.content or b""
    return _plan(old, content, changes, _warnings(wanted, _RESPEAKER, link, unit, old.path))


def plan_alexapi(link: Link, unit: Unit, path: Path) -> ExportPlan:
    """Plan the changes of AlexaPi's ``config.yaml``; its other lines stay.

    Raises:
        DeviceAuthError: if the file is unusable or cannot be written, or the link cannot be used there.
    """
    old = exports.look_at(path)
    if old.content is None:
        raise ConfigError(
            f"there is no file {old.path}", hint="Name AlexaPi's config.yaml with --to, or copy its template."
        )
    section = _Section(old.content, old.path)
    present = {name: section.value_of(name) for name in _ALEXAPI}
    wanted = _wanted(present, _ALEXAPI, link, unit, old.path)
    changes = tuple(_changes(present, wanted, _ALEXAPI))
    content = section.written(wanted) if changes else old.content
    return _plan(old, content, changes, _warnings(wanted, _ALEXAPI, link, unit, old.path))


def _plan(
    old: exports.FoundFile, content: bytes, changes: tuple[Change, ...], warnings: Iterator[str]
) -> ExportPlan:
    if old.content is not None:
        _check_readable(old.path)
    return ExportPlan(
        (Rewrite(old, content, changes),),
        tuple(warnings),
        "Start the client: it goes on with this link, and needs no login.",
    )


def _check_readable(path: Path) -> None:
    """Check that the client's user can read the new file too, which is for its owner alone.

    Raises:
        StoreError: if the file is root's, and others read it.
    """
    status = path.stat()
    if status.st_uid == 0 and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise StoreError(
            f"{path} belongs to root, so the client's user could not read the new file",
            hint=f"Give it to that user first: sudo chown USER {path} && sudo chmod 600 {path}",
        )


# ---------------------------------------------------------------------------------------------------------
# The values


def _wanted(present: Mapping[str, str], names: _Names, link: Link, unit: Unit, path: Path) -> dict[str, str]:
    """Return the values that the client needs: its own where they fit, else those of the link and the settings.

    Raises:
        ConfigError: if its own belong to another client, or one is unknown.
    """
    if present[names.client_id].strip() not in {"", link.client_id}:
        raise ConfigError(
            f"{names.client_id} in {path} is another client ID than the link's: its refresh token would be rejected",
            hint=f"If that client is to have this link, write there: {link.client_id}",
        )
    given = "" if unit.client_secret is None else unit.client_secret.reveal()
    secret = present[names.client_secret].strip() or given
    if not secret:
        raise ConfigError(
            f"{path} has no {names.client_secret}, and the settings have none either",
            hint="Write it there, or name a file that holds it: --client-secret-file FILE",
        )
    if given and secret != given:
        raise ConfigError(
            f"{names.client_secret} in {path} is another than that of the settings: a refresh would be rejected",
            hint="Correct it there, or remove it: then it is filled in.",
        )
    product_id = present[names.product_id].strip() or unit.product_id
    if not product_id:
        raise ConfigError(f"{path} has no {names.product_id}", hint="Write there the product ID.")
    values = (product_id, link.client_id, secret, link.refresh_token.reveal())
    return dict(zip(names, values, strict=True))


def _changes(present: Mapping[str, str], wanted: Mapping[str, str], names: _Names) -> Iterator[Change]:
    for name, value in wanted.items():
        old = present[name] or None
        is_hidden = name in {names.client_secret, names.refresh_token}
        if old != value:
            yield Change(name, MASK if old and is_hidden else old, MASK if is_hidden else value)


def _warnings(wanted: Mapping[str, str], names: _Names, link: Link, unit: Unit, path: Path) -> Iterator[str]:
    given = wanted[names.product_id]
    if unit.product_id and given != unit.product_id:
        yield f"{names.product_id} in {path} is {given}, but this speaker was linked as {unit.product_id}."
    # LWA is spelled both ways
    if link.token_endpoint.lower() != TOKEN_ENDPOINT:
        yield f"The client sends its requests to {TOKEN_ENDPOINT}, but the link belongs to {link.token_endpoint}."


# ---------------------------------------------------------------------------------------------------------
# AlexaPi's file

_HEAD: Final = re.compile(rf"{SECTION}:[ \t]*(#.*)?")
_ENTRY: Final = re.compile(r"( +)(\w+):(?:[ \t]+(.*))?")
_QUOTED: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')[ \t]*(?:[ \t]#.*)?""")
_PLAIN: Final = re.compile(r"([\w./~][^\s#:]*)?[ \t]*(?:(?:^|[ \t])#.*)?")
_NULL: Final = {"~", "null", "Null", "NULL"}


class _Section:
    """The section ``alexa`` of AlexaPi's file, line by line.

    Raises:
        ConfigError: if it is not there once, in the form of the template.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        self._path = path
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise self._unlike("it is not UTF-8") from None
        self._lines = text.split("\n")
        heads = [number for number, line in enumerate(self._lines) if _HEAD.fullmatch(_bare(line))]
        if len(heads) != 1:
            raise self._unlike(f"the line {SECTION}: stands there {len(heads)} times")
        self._head = heads[0]
        self._indent = "  "
        self._entries: dict[str, tuple[int, str]] = {}
        self._read_entries()

    def _read_entries(self) -> None:
        for number, line in enumerate(self._lines[self._head + 1 :], start=self._head + 1):
            bare = _bare(line)
            if not bare.strip() or bare.lstrip().startswith("#"):
                continue
            if not bare.startswith((" ", "\t")):
                return
            entry = _ENTRY.fullmatch(bare)
            if entry is None or (self._entries and entry[1] != self._indent):
                raise self._unlike(f"line {number + 1}")
            if entry[2] in self._entries:
                raise self._unlike(f"{entry[2]} stands there twice")
            self._indent = entry[1]
            self._entries[entry[2]] = number, entry[3] or ""

    def value_of(self, name: str) -> str:
        """Return the value of a key; an empty text if it has none."""
        number, given = self._entries.get(name, (0, ""))
        quoted, plain = _QUOTED.fullmatch(given), _PLAIN.fullmatch(given)
        if quoted is not None:
            return self._unquoted(quoted[1], number)
        if plain is None:
            raise self._unlike(f"line {number + 1}")
        value = plain[1] or ""
        return "" if value in _NULL else value

    def _unquoted(self, scalar: str, number: int) -> str:
        if scalar.startswith("'"):
            return scalar[1:-1].replace("''", "'")
        try:
            return str(json.loads(scalar))
        except ValueError:
            raise self._unlike(f"line {number + 1}") from None

    def written(self, wanted: Mapping[str, str]) -> bytes:
        """Return the whole file with other values."""
        lines, added = list(self._lines), []
        ending = "\r" if lines[self._head].endswith("\r") else ""
        for name, value in wanted.items():
            line = f"{self._indent}{name}: {json.dumps(value)}{ending}"
            if name in self._entries:
                lines[self._entries[name][0]] = line
            else:
                added.append(line)
        lines[self._head + 1 : self._head + 1] = added
        return "\n".join(lines).encode()

    def _unlike(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._path} is not in the form of AlexaPi's template: {what}",
            hint=f"Write the section {SECTION} as in config.template.yaml: one line a key, NAME: VALUE.",
        )


def _bare(line: str) -> str:
    return line.removesuffix("\r")
