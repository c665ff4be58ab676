"""The two kinds of database: a station's own file (SQLite), and the database of all stations, which may be away.

The one idea: a transaction takes its place in the queue of writers when it begins. SQLite would otherwise begin late, and two
writers would lock each other out; a reader says that it only reads.

The password of a database lies in a file, closed to others: never in the address, which stands in logs and in `ps`.
"""

import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    URL,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from device_auth.core.errors import Busy, ConfigError, StoreError
from device_auth.core.models import Secret
from device_auth.world.explain import reason_of
from device_auth.world.files import read_plain

FILE: Final = "records.sqlite"
"""A station's own, in its folder."""

CONNECT_TIMEOUT: Final = 2
"""Seconds until the database counts as away."""

_BOUNDS: Final = {
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=60000 -c lock_timeout=10000",
}
"""A database whose machine is gone, or that answers nothing, is away too. Source: libpq's parameters; milliseconds from the fifth on."""

LOCK_TIMEOUT: Final = 30
"""Seconds that a writer waits for another process at the same file."""

LONGEST_PASSWORD: Final = 4096
"""Bytes."""

READS: Final = "device_auth_reads"
"""The execution option of a connection that only reads."""


class DatabaseAway(Busy):
    """The database of all stations cannot be reached now, or broke off."""


class DatabaseAddress(NamedTuple):
    """Where the database of all stations is.

    Attributes:
        url: without a password.
        password_file: has the password in its first line; None where the database asks for none.
    """

    url: str
    password_file: Path | None = None


def read_address(text: str, password_file: Path | None = None) -> DatabaseAddress:
    """Read the address of a database.

    Raises:
        ConfigError: if it is none, names another kind of database, or has a password in it.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(
            "the database's address is none",
            hint="For example: postgresql://rig@db.example/factory, or sqlite:////srv/factory/records.sqlite",
        ) from error
    if url.password is not None or {name.lower() for name in url.query} & {
        "password",
        "passfile",
        "sslpassword",
    }:
        raise ConfigError(
            "the database's address has a password in it",
            hint="Put the password alone into a file, close it to others (chmod 600), and name it: database_password_file",
        )
    if url.get_backend_name() not in {"postgresql", "sqlite"}:
        raise ConfigError(
            "the database's address is neither PostgreSQL's nor SQLite's",
            hint="For example: postgresql://rig@db.example/factory",
        )
    return DatabaseAddress(text, password_file)


def open_database(address: DatabaseAddress) -> Engine:
    """Open the database of all stations; nothing is asked of it yet.

    Raises:
        ConfigError: if its password cannot be read.
    """
    url = make_url(address.url)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url)
    asked: dict[str, Any] = {"application_name": "device-auth factory", **_BOUNDS}
    if address.password_file is not None:
        asked["password"] = read_password(address.password_file).reveal()
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=asked,
        pool_pre_ping=True,
        hide_parameters=True,
    )


def open_station_file(folder: Path) -> Engine:
    """Open a station's own file, which is made at the first transaction."""
    return _open_sqlite(URL.create("sqlite", database=str(folder / FILE)))


def read_password(path: Path) -> Secret:
    """Read the password of a database.

    Raises:
        ConfigError: if the file cannot be read, is empty, or others may read it.
    """
    try:
        content, status = read_plain(path, LONGEST_PASSWORD)
        password = content.decode().partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise ConfigError(f"cannot read the database's password in {path}: {reason_of(error)}") from error
    except ValueError as error:
        raise ConfigError(f"the database's password in {path} is not text in UTF-8") from error
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read the database's password in {path}", hint=f"Run: chmod 600 {path}")
    if not password:
        raise ConfigError(f"there is no database's password in {path}", hint="Put it into the first line.")
    return Secret(password)


def _open_sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT}, hide_parameters=True)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # without this the module begins transactions by itself, at the first change: too late for two writers
    connection.isolation_level = None
    for setting in ("journal_mode=wal", "synchronous=full", "foreign_keys=on"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    is_reader = connection.get_execution_options().get(READS, False)
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction; what was done in it is on the disk when this ends.

    Raises:
        StoreError: if a file refuses.
        DatabaseAway: if the database cannot be reached or breaks off; then it may be there or not.
    """
    with explained(engine), engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads; raises as ``writing``."""
    with explained(engine), engine.execution_options(**{READS: True}).begin() as connection:
        yield connection


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn the errors of a database into ours."""
    try:
        yield
    except SQLAlchemyError as error:
        ours = _explain(engine, error)
        if ours is None:
            raise
        raise ours from error


def _explain(engine: Engine, error: SQLAlchemyError) -> StoreError | DatabaseAway | None:
    """Return an error of a database as one of ours; None if it is another one."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return _explain_sqlite(Path(engine.url.database or ""), cause)
    is_away = isinstance(error, DBAPIError) and (error.connection_invalidated or _says_away(error))
    if not is_away:
        return None
    return DatabaseAway(
        f"cannot reach the database {engine.url.host}: {_first_line(cause)}",
        hint="The records of this station are kept, and pushed later.",
    )


def _says_away(error: DBAPIError) -> bool:
    # OperationalError and InterfaceError: no connection, shut down, refused, out of room
    return type(error).__name__ in {"OperationalError", "InterfaceError", "InternalError"}


def _first_line(cause: BaseException | None) -> str:
    """Return the first line of a driver's reason; the further ones repeat it for each address."""
    return (str(cause).strip().splitlines() or ["no reason"])[0][:200]


_SQLITE_REASONS: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space (see: df -h, df -i) and try again."),
    sqlite3.SQLITE_READONLY: (
        "the disk or the file is read-only",
        "Check the owner and the mode of the file.",
    ),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "Look at the kernel's log (dmesg)."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Check the owner and the mode of the folder."),
    sqlite3.SQLITE_NOTADB: ("it is not a database of SQLite", "Move it away, or name another folder."),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "Keep a copy, then try: sqlite3 FILE .recover"),
    sqlite3.SQLITE_PERM: ("permission denied", "Check the owner and the mode of the folder."),
    sqlite3.SQLITE_BUSY: ("another process holds it", "Try again, or look who has it open (fuser)."),
}


def _explain_sqlite(path: Path, cause: sqlite3.Error) -> StoreError | None:
    code = getattr(cause, "sqlite_errorcode", None)
    known = None if code is None else _SQLITE_REASONS.get(code & 0xFF)
    if known is None:
        return None
    return StoreError(f"cannot use {path}: {known[0]}", hint=known[1])


def insert_new(engine: Engine | Connection, table: Table) -> Any:
    """Return an INSERT that leaves a row alone which is there already."""
    return _insert(engine, table).on_conflict_do_nothing()


def _insert(engine: Engine | Connection, table: Table) -> Any:
    return (postgresql if engine.dialect.name == "postgresql" else sqlite).insert(table)


def insert_or_update(
    engine: Engine | Connection,
    table: Table,
    changed: Callable[[Any], Mapping[str, Any]],
    *,
    only_if: Callable[[Any], Any] | None = None,
) -> Any:
    """Return an INSERT that changes a row which is there already.

    Args:
        engine: says which dialect is spoken.
        table: what it inserts into.
        changed: takes the row that would have been inserted; returns the columns that change, and to what.
        only_if: takes that row too; returns the condition under which the other is changed.
    """
    statement = _insert(engine, table)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=changed(new),
        where=None if only_if is None else only_if(new),
    )


def insert_rows(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Carry out an INSERT of ours for rows, all with the same columns and each with a key of its own; none: nothing.

    PostgreSQL gets a list for each column, in one statement: row by row each would wait for the other between any two.
    """
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(statement, rows)
        return
    columns = [statement.table.c[name] for name in rows[0]]
    lists = [bindparam(column.name, type_=ARRAY(column.type)) for column in columns]
    given = func.unnest(*lists).table_valued(*rows[0]).render_derived()
    values = {name: [row[name] for row in rows] for name in rows[0]}
    connection.execute(statement.from_select(list(rows[0]), select(*given.columns)), values)
