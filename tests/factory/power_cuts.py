"""Stations killed at random moments, and the database stopped under them: nothing is lost, nothing doubled.

    python -m tests.factory.power_cuts [--seed N] [--runs N] [--numbers N] [--kills N]

First four stations record runs and push them to one PostgreSQL; then eight take DSNs. Each is killed (SIGKILL) and started again;
the database is stopped as by a power cut, twice in each part. At the end what each station acknowledged is compared with what
the database has.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Final

from sqlalchemy import Engine, func, select

from device_auth.factory.station.records import ledger, schema
from device_auth.factory.station.records.databases import (
    open_database,
    open_station_file,
    read_address,
    reading,
    writing,
)
from device_auth.factory.station.records.tables import (
    attachment,
    dsn,
    identity_event,
    measurement,
    outbox,
    phase,
    run,
)
from tests.factory.station_process import PRODUCT, TOLD, read_told
from tests.postgresql import Cluster, running_cluster

BLOCK: Final = 100
DONE_MEANWHILE: Final = 4000
"""Bytes that stations are to acknowledge while the database is stopped; without a block they cannot."""

AWAY_AT_MOST: Final = 15
"""Seconds that the database is stopped for."""


def _told(folder: Path) -> int:
    """Return how much a station has acknowledged, in bytes."""
    path = folder / TOLD
    return path.stat().st_size if path.exists() else 0


class KilledStations:
    """Station processes that are started again until they have done all.

    Args:
        kind: ``runs`` or ``numbers``.
        folders: one for each.
        url: of the database of all stations.
        count: of units at each.
    """

    def __init__(self, kind: str, folders: Sequence[Path], url: str, count: int) -> None:
        self._words = {
            folder: [
                sys.executable,
                "-m",
                "tests.factory.station_process",
                kind,
                str(folder),
                url,
                str(count),
            ]
            for folder in folders
        }
        self._running: dict[Path, subprocess.Popen[bytes]] = {}
        self._told_at_start: dict[Path, int] = {}
        self.kills = 0

    def start(self) -> None:
        for folder in self._words:
            self._start(folder)

    def _start(self, folder: Path) -> None:
        self._told_at_start[folder] = _told(folder)
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            self._running[folder] = subprocess.Popen(self._words[folder], stdout=log, stderr=log)

    def told(self) -> int:
        """Return how much all stations have acknowledged."""
        return sum(_told(folder) for folder in self._words)

    def kill_one(self, chance: random.Random) -> None:
        """Kill one that is at work, at a random moment of it, and start it again."""
        at_work = [
            folder
            for folder, station in self._running.items()
            if station.poll() is None and _told(folder) > self._told_at_start[folder]
        ]
        if not at_work:
            return
        folder = chance.choice(at_work)
        Event().wait(chance.uniform(0, 0.2))
        station = self._running[folder]
        station.kill()
        if station.wait() < 0:
            self.kills += 1
            self._start(folder)

    def are_over(self) -> bool:
        return all(station.poll() is not None for station in self._running.values())

    def check_ended_well(self) -> None:
        for folder, station in self._running.items():
            code = station.wait()
            assert code == 0, (folder.name, code, (folder.parent / f"{folder.name}.log").read_text()[-2000:])


def play(stations: KilledStations, cluster: Cluster, chance: random.Random, kills: int) -> None:
    """Kill stations and stop the database at random moments, until all is done."""
    stations.start()
    stops = sorted(chance.sample(range(2, max(kills - 2, 5)), 2))

    def stop_database() -> None:
        cluster.stop()
        before = stations.told()
        for _ in range(AWAY_AT_MOST):
            Event().wait(1)
            if stations.told() > before + DONE_MEANWHILE:
                break
        done.append(stations.told() - before)
        cluster.start()

    stopping: list[Thread] = []
    done: list[int] = []
    while not stations.are_over():
        Event().wait(chance.uniform(0.05, 0.5))
        if stations.kills < kills:
            stations.kill_one(chance)
        if stops and stations.kills >= stops[0] and not any(thread.is_alive() for thread in stopping):
            stops.pop(0)
            stopping.append(Thread(target=stop_database))
            stopping[-1].start()
    for thread in stopping:
        thread.join()
    stations.check_ended_well()
    print(
        f"  killed {stations.kills} times at work, the database stopped {len(stopping)} times, {done} bytes acknowledged meanwhile"
    )
    assert stations.kills >= kills, (
        "they were done before they were killed often enough: raise --runs or --numbers"
    )
    assert len(done) == 2


def compare_runs(database: Engine, folders: Sequence[Path]) -> None:
    with reading(database) as connection:
        there = {row.run_uuid: row for row in connection.execute(select(run))}
        parts = {
            table: Counter(connection.execute(select(table.c.run_uuid)).scalars())
            for table in (phase, measurement, attachment)
        }
    here: set[str] = set()
    for folder in folders:
        told = read_told(folder)
        begun = {words[1] for words in told if words[0] == "begun"}
        saved = {words[1] for words in told if words[0] == "saved"}
        engine = open_station_file(folder)
        with reading(engine) as connection:
            own = set(connection.execute(select(run.c.run_uuid)).scalars())
            assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 0
        engine.dispose()
        here |= own
        assert begun <= own, "a run that was begun is not in the station's file"
        for uuid in saved:
            assert there[uuid].outcome == "PASS", "an acknowledged run is lost"
            assert [parts[table][uuid] for table in parts] == [5, 20, 5]
        assert {there[uuid].outcome for uuid in own - saved} <= {"ABORTED", "PASS"}
    assert here == there.keys(), "the database has other runs than the stations"
    outcomes = Counter(row.outcome for row in there.values())
    print(f"  {len(there)} runs at the stations, the same {len(there)} in the database: {dict(outcomes)}")


def compare_numbers(database: Engine, folders: Sequence[Path]) -> None:
    """Compare what was given with the ledger: no number for two units, no unit with two numbers."""
    units: dict[str, set[str]] = {}
    numbers: dict[str, set[str]] = {}
    cut_off: set[str] = set()
    for folder in folders:
        told = read_told(folder)
        without_board = {words[1] for words in told if words[0] == "given" and words[2] == "-"}
        cut_off |= without_board - {words[1] for words in told if words[0] == "saved"}
        for words in told:
            if words[0] == "given":
                who = f"{folder.name} {words[3]} {words[1]}" if words[2] == "-" else words[2]
                units.setdefault(words[1], set()).add(who)
                numbers.setdefault(who, set()).add(words[1])
    doubled = {number: who for number, who in units.items() if len(who) > 1}
    changed = {who: many for who, many in numbers.items() if len(many) > 1}
    assert not doubled, f"given to two units: {doubled}"
    assert not changed, f"a unit was given two numbers: {changed}"
    with reading(database) as connection:
        events = connection.execute(
            select(identity_event.c.dsn)
            .where(identity_event.c.event == "given")
            .group_by(identity_event.c.dsn)
            .having(func.count() > 1)
        ).all()
        assert events == [], f"given twice by the ledger's own events: {events}"
        state_of = {row.dsn: row.state for row in connection.execute(select(dsn.c.dsn, dsn.c.state))}
        states = Counter(state_of.values())
        burnt = sorted(connection.execute(select(dsn.c.dsn).where(dsn.c.state == "burnt")).scalars())
        unknown = units.keys() - set(
            connection.execute(select(dsn.c.dsn).where(dsn.c.state.not_in(["free", "blocked"]))).scalars()
        )
    assert all(state_of[number] in {"burnt", "written"} for number in cut_off), (
        "a cut off number can be given again"
    )
    assert not unknown, f"given, and the ledger does not know: {unknown}"
    print(f"  {len(units)} DSNs acknowledged, none twice; the ledger: {dict(states)}")
    print(f"  burnt: {' '.join(burnt) or 'none'}")


def prepare(cluster: Cluster, name: str, numbers: int) -> tuple[str, Engine]:
    url = cluster.make_database(name)
    database = open_database(read_address(url))
    schema.migrate(database)
    with writing(database) as connection:
        for first in range(0, numbers, BLOCK):
            ledger.add_block(
                connection,
                PRODUCT.name,
                [f"SP{each:08d}" for each in range(first, min(first + BLOCK, numbers))],
            )
    return url, database


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--runs", type=int, default=1200, help="at four stations together")
    parser.add_argument("--numbers", type=int, default=10_000, help="for eight stations together")
    parser.add_argument("--kills", type=int, default=50)
    asked = parser.parse_args()
    seed = random.randrange(2**32) if asked.seed is None else asked.seed  # noqa: S311  a test's own chance
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)  # noqa: S311  to be repeated
    with tempfile.TemporaryDirectory() as scratch, running_cluster() as cluster:
        print(f"runs: 4 stations, {asked.runs} units", flush=True)
        folders = [Path(scratch, f"runs-{number}") for number in range(4)]
        url, database = prepare(cluster, "runs", 2 * asked.runs + 8 * BLOCK)
        play(KilledStations("runs", folders, url, asked.runs // 4), cluster, chance, asked.kills)
        compare_runs(database, folders)
        compare_numbers(database, folders)
        database.dispose()
        print(f"DSNs: 8 stations, {asked.numbers} numbers", flush=True)
        folders = [Path(scratch, f"numbers-{number}") for number in range(8)]
        url, database = prepare(cluster, "numbers", asked.numbers)
        play(KilledStations("numbers", folders, url, asked.numbers), cluster, chance, asked.kills)
        compare_numbers(database, folders)
        with reading(database) as connection:
            left = connection.execute(
                select(func.count()).select_from(dsn).where(dsn.c.state.in_(["free", "blocked"]))
            ).scalar()
        assert left == 0, f"{left} numbers were never given"
        database.dispose()
    print("nothing lost, nothing doubled")


if __name__ == "__main__":
    main()
