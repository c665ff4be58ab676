"""A station's records in tests: a folder, a wall clock that can be set, a database of all stations."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table, func, select

from device_auth.factory.station.records import ledger, schema
from device_auth.factory.station.records.databases import (
    DatabaseAddress,
    open_database,
    read_address,
    reading,
    writing,
)
from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.run_record import DsnRule, RunPhase, RunRecord, RunStart
from device_auth.factory.talk import RunOutcome
from tests.factory.station_process import PRODUCT, phases
from tests.waiting import LONG

RULE: Final = DsnRule(PRODUCT.name)
NUMBERS: Final = [f"SP{number:04d}" for number in range(240)]


class RecordWorld:
    """Stations around one database.

    Args:
        folder: for all of them.
        url: of the database; empty: a station alone.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.wall = 1_796_000_000.0
        self.address: DatabaseAddress | None = read_address(url) if url else None
        self.database: Engine | None = None
        if self.address is not None:
            self.database = open_database(self.address)
            schema.migrate(self.database)
            self.add(NUMBERS)

    def add(self, numbers: list[str], *, in_blocks_of: int = 60) -> None:
        assert self.database is not None
        with writing(self.database) as connection:
            for first in range(0, len(numbers), in_blocks_of):
                ledger.add_block(connection, PRODUCT.name, numbers[first : first + in_blocks_of])

    @contextmanager
    def station(self, name: str = "s1", **settings: Any) -> Iterator[StationRecords]:
        address = settings.pop("address", self.address)
        with StationRecords(
            self.folder / settings.pop("folder", name),
            settings.pop("station_id", name),
            settings.pop("rule", RULE),
            address,
            wall=lambda: self.wall,
            answer_time=settings.pop("answer_time", LONG),
            **settings,
        ) as records:
            yield records

    def copy(self, name: str, other: str) -> None:
        shutil.copytree(self.folder / name, self.folder / other)

    def rows(self, table: Table, engine: Engine | None = None) -> list[dict[str, Any]]:
        engine = engine or self.database
        assert engine is not None
        wanted = select(table).order_by(*table.primary_key.columns)
        with reading(engine) as connection:
            found = [dict(row) for row in connection.execute(wanted).mappings()]
        # a station that is closed does not do it again
        engine.dispose()
        return found

    def count(self, table: Table) -> int:
        assert self.database is not None
        with reading(self.database) as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()


def begin(records: StationRecords, *, is_golden: bool = False) -> RunStart:
    return records.begin(slot="1", product=PRODUCT, batch="B7", operator="op", is_golden=is_golden)


def ended(
    start: RunStart,
    dsn: str,
    board: str = "b1",
    outcome: RunOutcome = RunOutcome.PASS,
    *,
    unit: Mapping[str, str | None] | None = None,
    steps: tuple[RunPhase, ...] | None = None,
) -> RunRecord:
    return RunRecord(
        start,
        dsn,
        board,
        start.start_time_millis + 2500,
        2.5,
        outcome,
        unit=unit or {"eth_mac": "02:00:00:00:00:01"},
        phases=phases(1) if steps is None else steps,
    )


def run_unit(
    records: StationRecords, board: str, outcome: RunOutcome = RunOutcome.PASS, *, is_golden: bool = False
) -> str:
    """Run one unit from its beginning to its record; return its DSN."""
    start = begin(records, is_golden=is_golden)
    dsn = records.take_dsn(start, board)
    records.mark_written(dsn, start)
    if outcome is RunOutcome.PASS:
        records.mark_locked(dsn, start)
    records.save(ended(start, dsn, board, outcome))
    return dsn
