"""The station's records: what a run costs on the disk, the push of 1,000 runs, the report over 100,000.

    python -m tests.bench.factory_records [--runs N]

With PostgreSQL where its programs are (root), and with SQLite as the database of all stations.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, insert

from device_auth.factory.station.records import ledger, schema
from device_auth.factory.station.records.databases import open_database, read_address, writing
from device_auth.factory.station.records.reports import read_report
from device_auth.factory.station.records.rows import product_row
from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.records.tables import phase, product, run
from device_auth.factory.station.run_record import DsnRule, RunRecord
from device_auth.factory.talk import RunOutcome
from tests.factory.station_process import PRODUCT, phases
from tests.postgresql import programs, running_cluster

SPOOLED: Final = 1000
STEPS: Final = ("identity", "selftest", "link-test", "wipe", "lock")


def timed(what: str, act: Callable[[], object], budget: float | None = None) -> None:
    began, worked = time.monotonic(), time.process_time()
    act()
    asked = "" if budget is None else f"   (at most {budget:g} s)"
    took, of_it = time.monotonic() - began, time.process_time() - worked
    print(f"  {what:44} {took:7.2f} s, {of_it:6.2f} s of them this process's CPU{asked}", flush=True)


def spool(records: StationRecords) -> None:
    for number in range(SPOOLED):
        start = records.begin(slot="1", product=PRODUCT, batch="B7", operator="op")
        dsn = records.take_dsn(start, f"board-{number}")
        records.mark_written(dsn, start)
        records.mark_locked(dsn, start)
        records.save(
            RunRecord(start, dsn, f"board-{number}", 9000, 8.5, RunOutcome.PASS, phases=phases(number))
        )


def fill(engine: Engine, runs: int) -> None:
    """Put runs into a database: one in ten is a retest, one in eleven fails."""
    made = product_row(PRODUCT)
    with writing(engine) as connection:
        connection.execute(insert(product), made | {"product_uuid": "made"})
        for first in range(0, runs, 5000):
            rows = [_run(number) for number in range(first, min(first + 5000, runs))]
            connection.execute(insert(run), rows)
            connection.execute(insert(phase), [each for row in rows for each in _phases(row)])


def _run(number: int) -> dict[str, object]:
    return {
        "run_uuid": f"run-{number:08d}",
        "dut_id": f"SP{number - (number % 10 == 9):08d}",
        "board": "",
        "station_id": f"s{number % 4}",
        "station_version": "1",
        "slot": "1",
        "operator": "op",
        "product_uuid": "made",
        "batch": f"B{number // 10_000}",
        "is_golden": False,
        "start_time_millis": number,
        "end_time_millis": number,
        "order_millis": number,
        "seconds": 60.0,
        "outcome": "FAIL" if number % 11 == 0 else "PASS",
    }


def _phases(row: dict[str, object]) -> Iterator[dict[str, object]]:
    for number, name in enumerate(STEPS):
        yield {
            "run_uuid": row["run_uuid"],
            "phase": number,
            "name": name,
            "attempt": 1,
            "outcome": "PASS",
            "start_time_millis": 1,
            "end_time_millis": 2,
            "seconds": hash((row["run_uuid"], name)) % 1000 / 10,
            "details": "",
        }


def measure(scratch: Path, url: str, runs: int) -> None:
    address = read_address(url)
    database = open_database(address)
    schema.migrate(database)
    with writing(database) as connection:
        for first in range(0, SPOOLED, 100):
            ledger.add_block(connection, PRODUCT.name, [f"SP{first + each:08d}" for each in range(100)])
    folder = scratch / url.partition(":")[0]
    timed("a station opens", lambda: StationRecords(folder, "s1", DsnRule(PRODUCT.name), address).close())
    with StationRecords(folder, "s1", DsnRule(PRODUCT.name), address) as records:
        timed(f"{SPOOLED} runs onto the station's disk", lambda: spool(records))
        timed(f"{SPOOLED} spooled runs pushed", records.push, 5)
        assert records.waiting() == 0
    fill(database, runs)
    if database.dialect.name == "postgresql":
        with database.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
    timed(f"the report over {runs} runs", lambda: read_report(database), 3)
    database.dispose()


@contextmanager
def databases(scratch: Path) -> Iterator[list[tuple[str, str]]]:
    own = ("SQLite", f"sqlite:///{scratch}/all.sqlite")
    if programs() is None:
        yield [own]
        return
    with running_cluster() as cluster:
        yield [("PostgreSQL", cluster.make_database("bench")), own]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, databases(Path(scratch)) as found:
        for name, url in found:
            print(name, flush=True)
            measure(Path(scratch), url, asked.runs)


if __name__ == "__main__":
    main()
