"""SQLite databases as bytes, changed in memory, so that the new content is known before anything is written.

The only importer of sqlite3. SQLite would apply a journal or a write-ahead log of the old database to the new one in
its place. So a database with unfinished work beside it is refused: its client finishes that work at its next start.

Source: SQLite "Database File Format" §1.3 (header) and §3 (rollback journal), "Write-Ahead Logging", "Atomic Commit
In SQLite" §4 (a journal is hot unless its header is zeroed).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from device_auth.core.errors import Busy, ConfigError, StoreError
from device_auth.core.models import Seconds
from device_auth.world.files import Folder

BESIDE: Final = ("-wal", "-shm", "-journal")
"""The endings of the files that SQLite keeps beside a database in use."""

MAGIC: Final = b"SQLite format 3\0"

LOCK_TIMEOUT: Final = Seconds(0.2)
"""How long to wait for a lock; a program that holds it longer is at work."""

_JOURNAL_MODE: Final = slice(18, 20)
"""The bytes of the header for the journal mode."""

_ROLLBACK: Final = b"\1\1"
"""The only mode of a database in memory."""

STOP_CLIENT: Final = "Stop the client first, then run this again."

END_PROPERLY: Final = "Start the client once and end it properly, then run this again."


class Column(NamedTuple):
    """A column by ``PRAGMA table_info``."""

    name: str
    type: str
    is_not_null: int
    place_in_key: int


class Table(NamedTuple):
    """A table of the client's.

    Attributes:
        create: its SQL statement.
        columns: exactly those that it must have.
    """

    name: str
    create: str
    columns: tuple[Column, ...]


Row = tuple[object, ...]


class Database:
    """A database in memory, open as a context.

    Args:
        content: the whole file; empty for a new one.
        path: of the file, for messages.

    Raises:
        ConfigError: if it is not a database.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        import sqlite3

        if content and not content.startswith(MAGIC):
            raise ConfigError(f"{path} is not an SQLite database", hint="Check the client's configuration.")
        self._error = sqlite3.Error
        self._path = path
        self._content = content
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            ConfigError: if it is damaged.
        """
        try:
            if self._content:
                start, rest = self._content[: _JOURNAL_MODE.start], self._content[_JOURNAL_MODE.stop :]
                self._connection.deserialize(start + _ROLLBACK + rest)
            self._run("PRAGMA secure_delete = ON")  # no old token stays in a page that is free
            self._check()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._connection.close()

    def rows_of(self, table: Table) -> list[Row] | None:
        """Return the rows of a table, or None if there is no such table.

        Raises:
            ConfigError: if it does not match the definition.
        """
        found = self._run("SELECT type, name FROM sqlite_master WHERE lower(name) = lower(?)", (table.name,))
        if not found:
            return None
        columns = self._run(_COLUMNS, (table.name,))
        if found != [("table", table.name)] or columns != list(table.columns):
            raise ConfigError(
                f"table {table.name} in {self._path} does not match the client's definition",
                hint="Check that this is the client's database. If it is: move it away; the client makes a new one.",
            )
        return self._run(f"SELECT * FROM {table.name}")

    def tables(self) -> frozenset[str]:
        """Return the names of all tables."""
        return frozenset(
            str(row[0]) for row in self._run("SELECT name FROM sqlite_master WHERE type = 'table'")
        )

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Replace the rows of a table; make the table if it is missing."""
        if self.rows_of(table) is None:
            self._run(table.create)
        marks = ", ".join("?" * len(table.columns))
        self._run(f"DELETE FROM {table.name}")
        for row in rows:
            self._run(f"INSERT INTO {table.name} VALUES ({marks})", row)

    def drop(self, table: Table) -> None:
        """Remove a table."""
        self._run(f"DROP TABLE {table.name}")

    def written(self) -> bytes:
        """Return the whole content for the disk."""
        self._check()
        content = self._connection.serialize()
        mode = self._content[_JOURNAL_MODE] or _ROLLBACK
        return content[: _JOURNAL_MODE.start] + mode + content[_JOURNAL_MODE.stop :]

    def _check(self) -> None:
        if self._run("PRAGMA integrity_check") != [("ok",)]:
            raise ConfigError(f"{self._path} is damaged", hint="Move it away; the client makes a new one.")

    def _run(self, statement: str, values: Row = ()) -> list[Row]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except self._error:
            # From None: the error may repeat the content of the database.
            raise ConfigError(
                f"{self._path} is damaged, or not the client's database",
                hint="Move it away; the client makes a new one.",
            ) from None


_COLUMNS: Final = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)'


def check_settled(path: Path) -> None:
    """Check that there is no unfinished work beside a database.

    Raises:
        Busy: if there is.
        OSError: if it cannot be read.
    """
    with Folder.open(path.parent) as folder:
        for ending, idle in (("-wal", b""), ("-journal", b"\0")):
            found = folder.read(f"{path.name}{ending}", 1)
            if found is not None and found[0] not in {b"", idle}:
                raise Busy(f"{path}{ending} holds unfinished work of the client", hint=END_PROPERLY)


def check_unlocked(path: Path, content: bytes) -> None:
    """Check that no process uses a database, and that its content is unchanged.

    Raises:
        Busy: if one does, or has changed it.
        StoreError: if it cannot be locked.
    """
    import sqlite3

    connection = None
    try:
        address = f"file:{quote(bytes(path))}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        found = connection.serialize()
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        if name in {"SQLITE_BUSY", "SQLITE_LOCKED"}:
            raise Busy(f"{path} is locked by another process", hint=STOP_CLIENT) from error
        raise StoreError(
            f"cannot lock {path} ({name})",
            hint="Check the owner of the file and of its folder, and that the disk is not full.",
        ) from error
    finally:
        if connection is not None:
            connection.close()
    if found != content:
        raise Busy(f"{path} was changed just now", hint=STOP_CLIENT)
