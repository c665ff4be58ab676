"""Read what rpi-sb-provisioner knows of each board: its database, or what the hook in deploy/factory has written.

A value that it made up where it could not read one is none: ``Unsupported Board: 0x0``, ``Unknown: 0x3``, a MAC address of
zeros (its issue 351). A board without a serial number cannot be told from others, and is left out.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from device_auth.core.errors import StoreError
from device_auth.factory.station.records.rows import Row, plain_text
from device_auth.factory.station.records.tables import PROVISIONED
from device_auth.world.explain import store_error
from device_auth.world.files import read_plain

LONGEST_HOOK: Final = 64 * 1024
"""Bytes of one board's file."""

HOOK_SUFFIX: Final = ".provisioned"

_SQLITE: Final = b"SQLite format 3\0"
_SERIAL: Final = re.compile(r"[0-9a-f]{8}|[0-9a-f]{16}")
_MADE_UP: Final = re.compile(r"|unknown\b.*|unsupported board\b.*|[0:-]+|(ff[:-]?)+|null", re.IGNORECASE)
"""What stands where nothing was read."""

_MAY_BE_ZERO: Final = frozenset({"secure", "jtag_locked"})
"""Columns that are 0 or 1."""


class ProvisionedBoards(NamedTuple):
    """What was read.

    Attributes:
        rows: of the table ``unit``, one a board; of several entries the last one.
        left_out: how many entries had no serial number.
    """

    rows: list[Row]
    left_out: int


def read_provisioned(path: Path) -> ProvisionedBoards:
    """Read rpi-sb-provisioner's database, a file of the hook, or a folder of such files.

    Raises:
        StoreError: if it cannot be read, or is none of them.
    """
    try:
        if path.is_dir():
            return _collect(_read_hook(each) for each in sorted(path.glob(f"*{HOOK_SUFFIX}")))
        start, _ = read_plain(path, len(_SQLITE))
        if start != _SQLITE:
            return _collect([_read_hook(path)])
        return _collect(_read_database(path))
    except OSError as error:
        raise store_error(f"cannot read {path}", error) from error
    except sqlite3.Error as error:
        raise StoreError(
            f"cannot read {path} as rpi-sb-provisioner's database: {error}",
            hint="Name its manufacturing.db (RPI_SB_PROVISIONER_MANUFACTURING_DB), or the folder of the hook.",
        ) from error


def _read_database(path: Path) -> Iterator[Mapping[str, object]]:
    # A database whose journal is elsewhere may be read where nothing may be written, not even SQLite's own files.
    has_journal = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if has_journal else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM devices ORDER BY id"):
            yield dict(row)
    finally:
        connection.close()


def _read_hook(path: Path) -> Mapping[str, object]:
    content, _ = read_plain(path, LONGEST_HOOK)
    lines = content.decode("utf-8", "replace").splitlines()
    return {name.lower(): value for name, is_set, value in (line.partition("=") for line in lines) if is_set}


def _collect(entries: Iterable[Mapping[str, object]]) -> ProvisionedBoards:
    rows: dict[str, Row] = {}
    left_out = 0
    for entry in entries:
        serial = str(entry.get("serial") or "").strip().lower().removeprefix("0x")
        if not _SERIAL.fullmatch(serial) or not serial.strip("0"):
            left_out += 1
            continue
        rows[serial] = {"board": serial, **{name: _read(name, entry.get(name)) for name in PROVISIONED}}
    return ProvisionedBoards(list(rows.values()), left_out)


def _read(name: str, value: object) -> str | None:
    """Return a value, or None where the provisioner could not read it."""
    text = plain_text("" if value is None else str(value)).strip()
    if name in _MAY_BE_ZERO and text == "0":
        return text
    return None if _MADE_UP.fullmatch(text) else text
