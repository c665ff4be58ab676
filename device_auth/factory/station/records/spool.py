"""The records of one station: its own file first, the database of all stations when it is there.

The one idea: nothing is believed before it is on this station's disk, and nothing waits for the database. What the database
has not got yet is noted in the same transaction as the change itself (``outbox``), and forgotten after the database has
committed it; so a crash at any moment costs at most a push that changes nothing.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Final, Self
from uuid import uuid4

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from device_auth import __version__
from device_auth.core.errors import Busy, ConfigError, DeviceAuthError, StoreError
from device_auth.factory.station.records import ledger, schema
from device_auth.factory.station.records.databases import (
    DatabaseAddress,
    DatabaseAway,
    insert_new,
    open_database,
    open_station_file,
    reading,
    writing,
)
from device_auth.factory.station.records.ledger import DsnRow, LedgerEntry, NoDsnLeft
from device_auth.factory.station.records.push import AllStations, post
from device_auth.factory.station.records.rows import (
    end_row,
    phase_rows,
    plain_text,
    product_row,
    start_row,
    unit_row,
)
from device_auth.factory.station.records.tables import (
    BURNT,
    DSN_STATES,
    FREE,
    GIVEN,
    LOCKED,
    WRITTEN,
    attachment,
    dsn,
    identity_event,
    measurement,
    outbox,
    phase,
    product,
    run,
    station,
    unit,
)
from device_auth.factory.station.records.units import find_twin, is_scrapped, keep_units
from device_auth.factory.station.run_record import (
    UNKNOWN_DUT,
    DsnProblem,
    DsnRefused,
    DsnRule,
    Product,
    RunRecord,
    RunStart,
    UniqueValue,
)
from device_auth.factory.talk import RunOutcome
from device_auth.world.clock import BootClock
from device_auth.world.explain import store_error
from device_auth.world.files import make_folder

SPARE: Final = 64 * 1024 * 1024
"""Bytes that must be free for a new run, so that those which are under way can be saved."""

ANSWER_TIME: Final = 0.15
"""Seconds that a scan waits for the database of all stations."""

LOCK_FILE: Final = "station.lock"

logger: Final = logging.getLogger(__name__)


class StationRecords:
    """The records of one station; see ``RunRecords``.

    Attributes:
        folder: of the station.
        file: its own database.
        all_stations: the database of all stations; None if there is none.
    """

    def __init__(
        self,
        folder: Path,
        station_id: str,
        rule: DsnRule,
        database: DatabaseAddress | None = None,
        *,
        wall: Callable[[], float] | None = None,
        spare: int = SPARE,
        answer_time: float = ANSWER_TIME,
    ) -> None:
        """Open the records of a station; one process at a time.

        Args:
            folder: of the station; made if it is not there.
            station_id: its name.
            rule: of the DSNs that it gives.
            database: of all stations; None if this one is alone.
            wall: the wall clock, in seconds since 1970.
            spare: bytes that must be free for a new run.
            answer_time: seconds that a scan waits for the database of all stations.

        Raises:
            Busy: if another process has them open.
            StoreError: if the folder cannot be used.
            ConfigError: if they belong to another station, or were made by a newer program.
        """
        self.folder = folder
        self._station_id = station_id
        self._rule = rule
        self._wall = BootClock().wall if wall is None else wall
        self._spare = spare
        # SQLite's own queue of writers starves some of them for seconds
        self._turn = Lock()
        self._answer_time = answer_time
        self._is_asking = Lock()
        # of the runs under way, which have no record yet
        self._values: dict[tuple[str, str], UniqueValue] = {}
        self._of_values = Lock()
        self._lock = _lock_folder(folder)
        try:
            self.file = open_station_file(folder)
            schema.prepare(self.file)
            with writing(self.file) as connection:
                self._check_name(connection)
                self._last_order = _last_order(connection)
                self._end_what_was_cut_off(connection)
            self.all_stations = (
                None if database is None else AllStations(self.file, open_database(database), station_id)
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the station's folder."""
        with suppress(AttributeError):
            self.file.dispose()
            if self.all_stations is not None:
                self.all_stations.database.dispose()
        with suppress(OSError):
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -----------------------------------------------------------------------------------------------------
    # Runs

    def begin(
        self, *, slot: str, product: Product, batch: str = "", operator: str = "", is_golden: bool = False
    ) -> RunStart:
        """Begin a run; see ``RunRecords``."""
        self._check_room()
        with self._writing() as connection:
            start = RunStart(
                run_uuid=str(uuid4()),
                station_id=self._station_id,
                slot=slot,
                operator=operator,
                product=product,
                batch=batch,
                start_time_millis=self._millis(),
                order_millis=self._next_order(),
                is_golden=is_golden,
            )
            self._add_product(connection, product)
            connection.execute(insert(run), start_row(start, __version__))
        return start

    def save(self, record: RunRecord) -> None:
        """Save the record of a run; see ``RunRecords``."""
        uuid = record.start.run_uuid
        with self._writing() as connection:
            self._add_product(connection, record.start.product)
            connection.execute(insert_new(connection, run), start_row(record.start, __version__))
            ended = connection.execute(
                update(run).where(run.c.run_uuid == uuid, run.c.outcome.is_(None)).values(end_row(record))
            )
            if ended.rowcount:
                self._add_parts(connection, record)
        with self._of_values:
            self._values = {key: value for key, value in self._values.items() if key[0] != uuid}

    def _add_parts(self, connection: Connection, record: RunRecord) -> None:
        """Add what belongs to a run that has ended."""
        uuid = record.start.run_uuid
        for table, rows in zip((phase, measurement, attachment), phase_rows(record), strict=True):
            if rows:
                connection.execute(insert(table), rows)
        if record.board:
            keep_units(connection, [unit_row(record)])
            post(connection, unit, plain_text(record.board))
        self._burn_unbound(connection, dsn.c.run_uuid == uuid, "the run ended before it was written")
        post(connection, run, uuid)

    def find_twin(self, run: RunStart, value: UniqueValue) -> str:
        """Return the DSN of another unit with the same value; see ``RunRecords``."""
        value = value._replace(board=plain_text(value.board))
        with self._of_values:
            under_way = [
                other.dsn
                for (uuid, _), other in self._values.items()
                if uuid != run.run_uuid
                and (other.name, other.text) == (value.name, value.text)
                and other.dsn != value.dsn
                and (other.board != value.board or not other.board)
            ]
            self._values[run.run_uuid, value.name] = value
        if under_way:
            return under_way[0]
        with reading(self.file) as connection:
            twin = find_twin(connection, value)
        if not twin and self.all_stations is not None:
            with suppress(DatabaseAway):
                return self.all_stations.find_twin(value)
        return twin

    def golden_outcomes(self, since_millis: int) -> Mapping[str, RunOutcome]:
        """Return the last outcome of each golden unit; see ``RunRecords``."""
        found = (
            select(run.c.dut_id, run.c.outcome)
            .where(run.c.is_golden, run.c.outcome.is_not(None), run.c.start_time_millis >= since_millis)
            .order_by(run.c.order_millis)
        )
        with reading(self.file) as connection:
            return {row.dut_id: RunOutcome(row.outcome) for row in connection.execute(found)}

    def _add_product(self, connection: Connection, made: Product) -> None:
        connection.execute(insert_new(connection, product), product_row(made))

    def _end_what_was_cut_off(self, connection: Connection) -> None:
        """End the runs of a process that ended during them, and burn what nobody can know about."""
        cut_off = select(run.c.run_uuid, run.c.start_time_millis).where(run.c.outcome.is_(None))
        for uuid, started in connection.execute(cut_off).all():
            given = connection.execute(select(dsn.c.dsn, dsn.c.board).where(dsn.c.run_uuid == uuid)).first()
            connection.execute(
                update(run)
                .where(run.c.run_uuid == uuid)
                .values(
                    dut_id=UNKNOWN_DUT if given is None else given.dsn,
                    board="" if given is None else given.board,
                    end_time_millis=started,
                    seconds=0.0,
                    outcome=RunOutcome.ABORTED.value,
                    outcome_details="the station ended during this run",
                    is_judged=False,
                )
            )
            post(connection, run, uuid)
        self._burn_unbound(connection, dsn.c.run_uuid != "", "the station ended during its run")

    def _check_name(self, connection: Connection) -> None:
        """Raise ConfigError unless this folder is this station's; a new folder becomes it."""
        name = connection.execute(select(station.c.station_id)).scalar()
        if name is None:
            connection.execute(
                insert(station),
                {
                    "station_id": self._station_id,
                    "token": "",
                    "next_token": "",
                    "version": __version__,
                    "seen_millis": self._millis(),
                },
            )
        elif name != self._station_id:
            raise ConfigError(
                f"the records in {self.folder} are those of the station {name}, not of {self._station_id}",
                hint="Name another folder, or that station.",
            )

    def _check_room(self) -> None:
        try:
            found = os.statvfs(self.folder)
        except OSError as error:
            raise store_error(f"cannot use {self.folder}", error) from error
        if found.f_bavail * found.f_frsize < self._spare or (found.f_files and not found.f_favail):
            raise StoreError(
                f"no new run: the disk of {self.folder} is full",
                hint=f"Free {self._spare // 2**20} MiB (see: df -h, df -i). Runs that are under way are still saved.",
            )

    # -----------------------------------------------------------------------------------------------------
    # DSNs

    def take_dsn(self, run: RunStart, board: str, *, scanned: str = "") -> str:
        """Return the DSN for a unit; see ``RunRecords``."""
        board = plain_text(board)
        if scanned:
            self._refuse(scanned, ledger.problem_of_form(scanned, self._rule))
        if board and self.all_stations is not None and not self._has(board):
            # another station may have had this unit before
            with suppress(DatabaseAway):
                if self.all_stations.has(board):
                    self.all_stations.fetch(board=board)
        number = self._give(run, board, scanned)
        if number is None:
            try:
                self._stock(scanned)
            except DatabaseAway as error:
                self._refuse(scanned, DsnProblem.UNCLEAR if scanned else None)
                raise NoDsnLeft(
                    "no DSN is left at this station, and the database is away", hint=str(error)
                ) from error
            number = self._give(run, board, scanned)
        if number is None and scanned:
            self._refuse(scanned, DsnProblem.UNKNOWN)
        if number is None:
            raise NoDsnLeft(
                f"no free DSN is left for the product {self._rule.product}",
                hint="Add some: device-auth factory dsn add STATION.toml",
            )
        return number

    def _has(self, board: str) -> bool:
        with reading(self.file) as connection:
            return ledger.find_of_board(connection, board) is not None

    def _give(self, run: RunStart, board: str, scanned: str) -> str | None:
        """Assign a number that this station's file has; return None if it has none to give."""
        with self._writing() as connection:
            if board and is_scrapped(connection, board):
                raise DsnRefused(
                    DsnProblem.FOREIGN,
                    f"the unit {board} was scrapped",
                    hint="Its DSN was moved to another board. Take this one off the line.",
                )
            own = ledger.find_of_board(connection, board) if board else None
            if own is not None:
                if scanned and scanned != own.dsn:
                    raise DsnRefused(
                        DsnProblem.DOUBLE,
                        f"the label says {scanned}, but this unit was given {own.dsn}",
                        hint="Put the right label on it, or move the DSN with a reason: device-auth factory dsn rework",
                    )
                # a retest: what becomes of this unit, even where the station is killed, becomes of this run's
                mine = update(dsn).where(dsn.c.dsn == own.dsn).values(run_uuid=run.run_uuid)
                connection.execute(mine)
                return own.dsn
            if scanned:
                row = ledger.find(connection, scanned)
                if row is None or row.state == FREE:
                    return None
                self._refuse(
                    scanned, ledger.problem_of(row, self._rule, board=board, station_id=self._station_id)
                )
            else:
                row = ledger.next_blocked(connection, self._rule.product, self._station_id)
                if row is None:
                    return None
            self._change(connection, row, GIVEN, board, run)
            return row.dsn

    def _stock(self, scanned: str) -> None:
        """Take a block for this station: the next free one, or the one that a scanned number is in."""
        if self.all_stations is not None:
            self.all_stations.fetch(product=self._rule.product, number=scanned)
            return
        with self._writing() as connection:
            if scanned:
                ledger.take_block_of(connection, scanned, self._station_id)
            else:
                ledger.take_block(connection, self._rule.product, self._station_id)

    def check_dsn(self, scanned: str) -> DsnProblem | None:
        """Return why a scanned DSN could not be taken now; see ``RunRecords``."""
        problem = ledger.problem_of_form(scanned, self._rule)
        if problem is not None:
            return problem
        with reading(self.file) as connection:
            row = ledger.find(connection, scanned)
        if row is None and self.all_stations is not None:
            found = self._ask(self.all_stations, scanned)
            if found is None:
                return DsnProblem.UNCLEAR
            (row,) = found
        # a unit that did not pass comes back with its label: whether this is its board, the run will see
        board = "" if row is None or row.state == LOCKED else row.board
        return ledger.problem_of(row, self._rule, board=board, station_id=self._station_id)

    def _ask(self, all_stations: AllStations, number: str) -> tuple[DsnRow | None] | None:
        """Return what the database of all stations knows of a DSN, in a tuple; None if it does not say so in time."""
        answers: SimpleQueue[tuple[DsnRow | None] | None] = SimpleQueue()

        def ask() -> None:
            found = None
            with self._is_asking, suppress(DeviceAuthError, SQLAlchemyError):
                found = (all_stations.find(number),)
            answers.put(found)

        # One that hangs in a scan before is not asked again.
        if not self._is_asking.locked():
            Thread(target=ask, name="scan", daemon=True).start()
            with suppress(Empty):
                return answers.get(timeout=self._answer_time)
        return None

    def mark_written(self, dsn: str, run: RunStart) -> None:
        """Note that a unit has its DSN."""
        self._mark(dsn, WRITTEN, run)

    def mark_locked(self, dsn: str, run: RunStart) -> None:
        """Note that a unit has its DSN for good."""
        self._mark(dsn, LOCKED, run)

    def recognise_locked(self, dsn: str, locked_in: str, run: RunStart) -> str | None:
        """Note that a unit is locked which says so itself; see ``RunRecords``."""
        if self.all_stations is not None:
            # another station may have written it, and lost the unit's word
            with suppress(DatabaseAway):
                there = self.all_stations.find(dsn)
                if there is not None and there.board:
                    self.all_stations.fetch(board=there.board)
        with self._writing() as connection:
            row = ledger.find(connection, dsn)
            if row is None or row.state != WRITTEN or row.run_uuid != locked_in:
                return None
            self._change(
                connection,
                row,
                LOCKED,
                row.board,
                run,
                "its own status says so: the result of its lock was lost",
            )
            return row.board

    def mark_burnt(self, dsn: str, run: RunStart, reason: str) -> None:
        """Note that a DSN is never to be used (again)."""
        self._mark(dsn, BURNT, run, reason)

    def _mark(self, number: str, state: str, run: RunStart, reason: str = "") -> None:
        with self._writing() as connection:
            row = ledger.find(connection, number)
            if row is None:
                raise DsnRefused(DsnProblem.UNKNOWN, f"the DSN {number} is not in the ledger")
            if DSN_STATES.index(state) > DSN_STATES.index(row.state):
                self._change(connection, row, state, row.board, run, reason)

    def _burn_unbound(self, connection: Connection, which: object, reason: str) -> None:
        """Burn the numbers that were given to units of which nothing stays the same, and not read back."""
        lost = select(dsn).where(which, dsn.c.state == GIVEN, dsn.c.board == "", dsn.c.moves == 0)  # type: ignore[arg-type]  # a condition
        for row in connection.execute(lost).all():
            self._change(connection, DsnRow(*row), BURNT, "", None, reason)

    def _change(
        self,
        connection: Connection,
        row: DsnRow,
        state: str,
        board: str,
        run: RunStart | None,
        reason: str = "",
    ) -> None:
        entry = LedgerEntry(
            station_id=self._station_id,
            operator="" if run is None else plain_text(run.operator),
            time_millis=self._millis(),
            order_millis=self._next_order(),
            run_uuid=row.run_uuid if run is None else run.run_uuid,
            reason=plain_text(reason),
        )
        event = ledger.change(connection, row, state, board, entry)
        post(connection, identity_event, event)
        post(connection, dsn, row.dsn)

    def _refuse(self, scanned: str, problem: DsnProblem | None) -> None:
        if problem is not None:
            raise ledger.refusal(scanned, problem)

    # -----------------------------------------------------------------------------------------------------
    # The database of all stations

    def push(self) -> int:
        """Push what is not there yet to the database; see ``RunRecords``."""
        # the thread that pushes now and then must not end with one of these
        try:
            if self.all_stations is not None:
                self.all_stations.push()
                self.all_stations.keep_stock(self._rule.product)
        except DeviceAuthError as error:
            logger.warning("%s %s", error, error.hint)
        except SQLAlchemyError as error:
            logger.warning("the database took no records: %s", type(error).__name__)
        try:
            return self.waiting()
        except (DeviceAuthError, SQLAlchemyError) as error:
            logger.warning("cannot read what waits for the database: %s", type(error).__name__)
            return 0

    def waiting(self) -> int:
        """Return how many changes the database of all stations has not got yet."""
        with reading(self.file) as connection:
            return connection.execute(select(func.count()).select_from(outbox)).scalar_one()

    # -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn, writing(self.file) as connection:
            yield connection

    def _millis(self) -> int:
        return round(self._wall() * 1000)

    def _next_order(self) -> int:
        """Return the moment for the order of what happens here: the wall clock's, but never earlier than the last one."""
        self._last_order = max(self._millis(), self._last_order + 1)
        return self._last_order


def _last_order(connection: Connection) -> int:
    """Return the latest moment that this station has ordered by."""
    found = [
        connection.execute(select(func.max(table.c.order_millis))).scalar() for table in (run, identity_event)
    ]
    return max((each for each in found if each is not None), default=0)


def _lock_folder(folder: Path) -> int:
    try:
        make_folder(folder, 0o700)
        fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise store_error(f"cannot use the station's folder {folder}", error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Busy(
            f"another process runs the station in {folder}", hint="Stop it, or name another folder."
        ) from error
    return fd
