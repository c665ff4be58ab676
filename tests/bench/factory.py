"""The rate of a station: units an hour and the time of each step at 1 to 32 slots, its memory, and from a scan to the start.

Run: python -m tests.bench.factory [--slots N …] [--rounds N]. Every unit is a simulated one that runs the real verbs of the whole
line, with a real link to the station's simulated Amazon. Ends with 1 if a unit does not pass.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from device_auth.core.models import Seconds
from device_auth.factory.station.desk import ScanDesk
from device_auth.factory.station.plan import read_plan
from device_auth.factory.station.scanner import Scanner
from device_auth.factory.station.transport import Halt
from device_auth.world.clock import BootClock
from tests.bench.figures import ENVIRONMENT
from tests.factory.line import STEPS, add_dsns, ask_records, write_station

USUAL_SLOTS: Final = (1, 2, 4, 8, 16, 32)
SCANS: Final = 20
LOOKS_EVERY: Final = 0.2


class StationRate(NamedTuple):
    """What a station did with so many slots.

    Attributes:
        units_an_hour: of all slots together.
        cpu: seconds that one unit took of this machine's cores, the station's part included.
        p95: seconds of each step.
        memory: MiB of the station's own process at the most.
    """

    units_an_hour: float
    cpu: float
    p95: dict[str, float]
    memory: float


def measure(slots: int, rounds: int) -> StationRate:
    """Run a station until each slot has had so many units."""
    with tempfile.TemporaryDirectory(prefix="device-auth-bench-") as name:
        folder = Path(name)
        units = slots * rounds
        station = write_station(folder, [f"slot-{number:02}" for number in range(slots)], is_broken=False)
        add_dsns(station, units)
        words = ["factory", "run", str(station), "--units", str(units), "--json"]
        before = os.times()
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "device_auth", *words], stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
        ) as process:
            memory = [0.0]
            watching = threading.Thread(target=_watch_memory, args=(process, memory), daemon=True)
            watching.start()
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
        took = time.perf_counter() - began
        after = os.times()
        outcomes = [outcome for (outcome,) in ask_records(folder, "select outcome from run")]
        if process.returncode or outcomes != ["PASS"] * units:
            sys.exit(f"not every unit has passed: {lines}")
        steps: dict[str, list[float]] = {}
        for step, seconds in ask_records(folder, "select name, seconds from phase"):
            steps.setdefault(step, []).append(seconds)
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return StationRate(
        3600 * units / took, spent / units, {step: _p95(times) for step, times in steps.items()}, memory[0]
    )


def _watch_memory(process: "subprocess.Popen[str]", memory: list[float]) -> None:
    """Keep the most memory that a process has had, in MiB."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                memory[0] = int(line.split()[1]) / 1024
        time.sleep(LOOKS_EVERY)


def measure_scans() -> tuple[list[float], list[float]]:
    """Return the seconds from each label to what it leads to.

    Returns:
        From the last byte of a label to the start of the unit's run, which is then on the disk; and from a label that is
        unreadable, foreign or another unit's to the words for the operator.
    """
    with tempfile.TemporaryDirectory(prefix="device-auth-bench-") as name:
        station = write_station(Path(name), ["one"], is_broken=False)
        add_dsns(station, SCANS)
        plan = read_plan(station)
        records = plan.open_records()
        reads, writes = os.pipe()
        halt, clock = Halt(), BootClock()
        refused: SimpleQueue[tuple[float, str]] = SimpleQueue()
        with Scanner.of_stdin(reads) as scanner:
            desk = ScanDesk(
                scanner,
                ["one"],
                records=records,
                golden=None,
                tell=lambda words, *, is_good: None if is_good else refused.put((clock.now(), words)),
                halt=halt,
                clock=clock,
            )
            reading = threading.Thread(target=desk.read_labels, daemon=True)
            reading.start()
            took = []
            for number in range(1, SCANS + 1):
                sent: list[float] = []
                label = f"KS{number:06}\n".encode()
                scanning = threading.Timer(0.3, lambda label=label, sent=sent: _scan(writes, label, sent))
                scanning.start()
                unit = desk.next_unit("one")
                assert unit is not None
                start = records.begin(slot="one", product=plan.product)
                records.take_dsn(start, f"board-{number}", scanned=unit.scanned)
                took.append(clock.now() - sent[0])
            told = []
            for bad in (b"KS 00001\n", b"XX000001\n", b"KS000001\n") * (SCANS // 2):
                sent = []
                _scan(writes, bad, sent)
                at, _ = refused.get(timeout=60)
                told.append(at - sent[0])
            desk.close()
            reading.join(Seconds(10))
        records.close()
        halt.close()
        for number in (reads, writes):
            os.close(number)
    return took, told


def _scan(writes: int, label: bytes, sent: list[float]) -> None:
    sent.append(BootClock().now())
    os.write(writes, label)


def _p95(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.95))]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="*", default=USUAL_SLOTS)
    parser.add_argument("--rounds", type=int, default=3, help="units of each slot")
    args = parser.parse_args()
    for what, took in zip(("start", "refusal"), measure_scans(), strict=True):
        print(f"scan to {what}: {1000 * sorted(took)[len(took) // 2]:.0f} ms, p95 {1000 * _p95(took):.0f} ms")
    steps = ("reach", *STEPS)
    print(f"load {os.getloadavg()[0]:.1f}; seconds of each step are the p95")
    print("slots  units/h  CPU s/unit  station MiB  " + "  ".join(f"{step:>9}" for step in steps))
    for slots in args.slots:
        rate = measure(slots, args.rounds)
        told = "  ".join(f"{rate.p95[step]:9.2f}" for step in steps if step in rate.p95)
        print(
            f"{slots:5}  {rate.units_an_hour:7.0f}  {rate.cpu:10.2f}  {rate.memory:11.0f}  {told}", flush=True
        )


if __name__ == "__main__":
    main()
