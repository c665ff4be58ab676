"""What one station has to do with the database of all stations: rows go there, blocks of DSNs come from there.

The one idea: each transfer may break off anywhere and is then made again. A row has the same key in both places; one that
only states what happened is inserted or left alone, one that says what stands now is changed only by a later one.

One folder at a time is a station: at its first contact a process exchanges the token that the database knows for a new one, so
that of two folders with one name (a copied disk) the second is refused, before it gives a DSN twice.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Connection, Engine, Table, delete, func, insert, or_, select, update
from sqlalchemy.exc import DBAPIError

from device_auth import __version__
from device_auth.core.errors import ConfigError
from device_auth.core.models import Seconds, later
from device_auth.factory.station.records import ledger
from device_auth.factory.station.records.databases import (
    DatabaseAway,
    insert_new,
    insert_rows,
    reading,
    writing,
)
from device_auth.factory.station.records.ledger import DsnRow
from device_auth.factory.station.records.schema import check_revision
from device_auth.factory.station.records.tables import (
    BLOCKED,
    BURNT,
    attachment,
    dsn,
    dsn_block,
    identity_event,
    measurement,
    outbox,
    phase,
    product,
    run,
    station,
    unit,
)
from device_auth.factory.station.records.units import find_twin, keep_units, mark_scrapped
from device_auth.factory.station.run_record import UniqueValue
from device_auth.world.clock import BootClock

BATCH: Final = 1000
"""Entries of the outbox in one transaction."""

KEPT_IN_STOCK: Final = 50
"""Numbers below which a station takes another block, so that it can go on while the database is away."""

REST: Final = Seconds(10)
"""For so long a scan or a run does not ask a database that was away."""

_KEYS: Final[Mapping[str, Any]] = {
    unit.name: unit.c.board,
    run.name: run.c.run_uuid,
    identity_event.name: identity_event.c.event_uuid,
    dsn.name: dsn.c.dsn,
}

logger: Final = logging.getLogger(__name__)


class AllStations:
    """The database of all stations, as one station sees it.

    Args:
        file: the station's own database.
        database: of all stations.
        station_id: this station.
    """

    def __init__(self, file: Engine, database: Engine, station_id: str) -> None:
        self.database = database
        self._file = file
        self._station_id = station_id
        self._clock = BootClock()
        self._rests_until = self._clock.now()
        self._token = ""
        self._contact = Lock()

    # -----------------------------------------------------------------------------------------------------
    # DSNs

    def find(self, number: str) -> DsnRow | None:
        """Return what the database knows of a DSN."""
        with self._asking() as connection:
            return ledger.find(connection, number)

    def has(self, board: str) -> bool:
        """Return whether a board was given a DSN, perhaps at another station."""
        with self._asking() as connection:
            return ledger.find_of_board(connection, board) is not None

    def find_twin(self, value: UniqueValue) -> str:
        """Return the DSN of another unit that said this value last, at any station; empty if none did."""
        with self._asking() as connection:
            return find_twin(connection, value)

    def fetch(self, *, board: str = "", product: str = "", number: str = "") -> None:
        """Bring DSNs to this station's file.

        Args:
            board: bring the DSN that this board was given at another station.
            product: bring the next free block of this product.
            number: bring the block of this DSN instead, if no station has it.

        Raises:
            DatabaseAway: if the database cannot be asked.
        """
        self._check_awake()
        self._meet()
        with self._noticing(), writing(self.database) as connection:
            self._check_token(connection)
            if number:
                ledger.take_block_of(connection, number, self._station_id)
            elif product:
                ledger.take_block(connection, product, self._station_id)
        # Only now are they this station's: what follows may break off, and is then done by the next fetch.
        wanted = [dsn.c.board == board] if board else []
        wanted += [dsn.c.dsn == number] if number else []
        self._copy(or_(*wanted) if wanted else None)

    def keep_stock(self, product: str) -> None:
        """Take a block, if few numbers are left here and one is free."""
        with reading(self._file) as connection:
            left = connection.execute(
                select(func.count())
                .select_from(dsn)
                .where(dsn.c.product == product, dsn.c.station_id == self._station_id, dsn.c.state == BLOCKED)
            ).scalar_one()
        if left < KEPT_IN_STOCK:
            self.fetch(product=product)

    def _copy(self, wanted: Any = None) -> None:
        """Copy this station's blocks that its file does not have, and single numbers of others."""
        with reading(self._file) as connection:
            here = ledger.blocks_of(connection, self._station_id)
        with self._noticing(), reading(self.database) as connection:
            missing = ledger.blocks_of(connection, self._station_id) - here
            moved = (dsn.c.station_id == self._station_id) & (or_(dsn.c.moves > 0, dsn.c.state == BURNT))
            which = or_(dsn.c.block_uuid.in_(missing), moved, *([] if wanted is None else [wanted]))
            numbers = _rows(connection, dsn, which)
            blocks = _rows(
                connection,
                dsn_block,
                dsn_block.c.block_uuid.in_({row["block_uuid"] for row in numbers} | missing),
            )
            scrapped = _rows(connection, unit, unit.c.is_scrapped)
        with writing(self._file) as connection:
            insert_rows(connection, insert_new(connection, dsn_block), blocks)
            insert_rows(connection, ledger.put_ahead(connection), numbers)
            for row in scrapped:
                mark_scrapped(connection, row["board"], row["order_millis"])

    # -----------------------------------------------------------------------------------------------------
    # Records

    def push(self) -> int:
        """Push everything that the database has not got yet; return how many rows of the outbox are done.

        Raises:
            DatabaseAway: if it breaks off; what is pushed by then is pushed.
            ConfigError: if the database has other tables, or another folder is this station.
        """
        self._meet()
        done, after = 0, 0
        while entries := self._waiting(after):
            after = entries[-1][0]
            try:
                self._push(entries)
            except DBAPIError as error:
                # One row that the database does not take must not hold back the others.
                logger.warning("the database refused records: %s", type(error.orig).__name__)
                for entry in entries:
                    with suppress(DBAPIError):
                        self._push([entry])
            done += len(entries)
        self._copy()
        return done

    def _waiting(self, after: int) -> Sequence[tuple[int, str, str]]:
        with reading(self._file) as connection:
            found = connection.execute(
                select(outbox).where(outbox.c.number > after).order_by(outbox.c.number).limit(BATCH)
            ).all()
        return [(row.number, row.table_name, row.key) for row in found]

    def _push(self, entries: Sequence[tuple[int, str, str]]) -> None:
        keys: defaultdict[str, set[str]] = defaultdict(set)
        for _, table, key in entries:
            keys[table].add(key)
        # What changes here while this is under way is noted in the outbox behind these entries.
        with reading(self._file) as connection:
            rows = {table: _rows(connection, table, which) for table, which in _what(keys)}
            rows[product] = _rows(connection, product, _in(product.c.product_uuid, rows[run], "product_uuid"))
            rows[dsn_block] = _rows(
                connection, dsn_block, _in(dsn_block.c.block_uuid, rows[dsn], "block_uuid")
            )
        with self._noticing(), writing(self.database) as connection:
            self._check_token(connection)
            _put(connection, rows)
        with writing(self._file) as connection:
            # nothing else stands between: entries are read in their order, and later ones have later numbers
            connection.execute(delete(outbox).where(outbox.c.number.between(entries[0][0], entries[-1][0])))

    # -----------------------------------------------------------------------------------------------------
    # Who this station is

    def _meet(self) -> None:
        """Exchange the token, once in a process.

        Raises:
            ConfigError: if the database knows another token: another folder is this station.
        """
        with self._contact:
            if self._token:
                return
            with writing(self._file) as connection:
                known, following = connection.execute(select(station.c.token, station.c.next_token)).one()
                following = following or str(uuid4())
                connection.execute(update(station).values(next_token=following))
            with self._noticing(), writing(self.database) as connection:
                check_revision(connection)
                self._put_token(connection, known, following)
            with writing(self._file) as connection:
                connection.execute(update(station).values(token=following, next_token=""))
            self._token = following

    def _put_token(self, connection: Connection, known: str, following: str) -> None:
        mine = station.c.station_id == self._station_id
        row = {"token": following, "version": __version__, "seen_millis": round(self._clock.wall() * 1000)}
        connection.execute(insert_new(connection, station), {"station_id": self._station_id, **row})
        there = connection.execute(select(station.c.token).where(mine).with_for_update()).scalar_one()
        # the first of the two if the exchange broke off before the database had it, the second if after
        if there not in {known, following}:
            raise self._another_folder()
        connection.execute(update(station).where(mine).values(row))

    def _check_token(self, connection: Connection) -> None:
        mine = select(station.c.token).where(station.c.station_id == self._station_id)
        if connection.execute(mine.with_for_update(read=True)).scalar() != self._token:
            raise self._another_folder()

    def _another_folder(self) -> ConfigError:
        return ConfigError(
            f"another folder is the station {self._station_id} by now",
            hint="Give this one another name. If the other is lost: device-auth factory database adopt STATION.toml",
        )

    # -----------------------------------------------------------------------------------------------------

    def _check_awake(self) -> None:
        if self._clock.now() < self._rests_until:
            raise DatabaseAway("the database did not answer a moment ago")

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Notice that the database is away: then it is not asked for a while."""
        try:
            yield
        except DatabaseAway:
            self._rests_until = later(self._clock.now(), REST)
            raise

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """Open a transaction that only reads in the database, unless that was away a moment ago."""
        self._check_awake()
        with self._noticing(), reading(self.database) as connection:
            yield connection


def post(connection: Connection, table: Table, key: str) -> None:
    """Note in a station's file that the database of all stations does not have a row as it is now."""
    connection.execute(insert(outbox), {"table_name": table.name, "key": key})


def _what(keys: Mapping[str, set[str]]) -> Iterable[tuple[Table, Any]]:
    """Return which rows of which tables belong to entries of the outbox."""
    for name, key in _KEYS.items():
        yield key.table, key.in_(keys.get(name, ()))
    for table in (phase, measurement, attachment):
        yield table, table.c.run_uuid.in_(keys.get(run.name, ()))


def _rows(connection: Connection, table: Table, which: Any) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    # thousands of rows: their mappings would cost as much as all the rest
    return [dict(zip(names, row, strict=True)) for row in connection.execute(select(table).where(which))]


def _in(column: Any, rows: Iterable[Mapping[str, Any]], name: str) -> Any:
    return column.in_({row[name] for row in rows})


def _put(connection: Connection, rows: Mapping[Table, list[dict[str, Any]]]) -> None:
    """Put rows into the database, in the order in which they need each other."""
    statements = {dsn: ledger.put_ahead(connection)}
    keep_units(connection, rows[unit])
    for table in (product, run, phase, measurement, attachment, dsn_block, dsn, identity_event):
        insert_rows(connection, statements.get(table, insert_new(connection, table)), rows[table])
