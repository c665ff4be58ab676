"""A station as its operator has it: labels by standard input, golden units, Ctrl-C."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factory.line import add_dsns, ask_records, processes_of, write_station
from tests.waiting import LONG, wait_for

GOLDEN = 'golden = { good = ["GOOD1"], bad = ["BAD01"] }\nsteps = ['


class Operator:
    """Somebody who scans labels and reads what the station says."""

    def __init__(self, station: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device_auth", "factory", "run", str(station), "--json", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._events = iter(self.process.stdout.readline, "")
        self._told = iter(self.process.stderr.readline, "")

    def scan(self, label: str) -> str:
        """Scan a label, and return what the station says of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{label}\n")
        self.process.stdin.flush()
        return next(self._told).strip()

    def read_run(self) -> dict[str, Any]:
        """Return the next run that has ended."""
        run: dict[str, Any] = json.loads(next(self._events))
        return run

    def finish(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code, and all that was printed and not read yet."""
        rest = [json.loads(line) for line in self._events]
        assert self.process.stdin is not None
        self.process.stdin.close()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return self.process.wait(LONG), rest


def shown(run: dict[str, Any]) -> str:
    return f"{run['slot']} {run['dut_id']} {run['outcome']}"


@pytest.fixture
def golden_station(tmp_path: Path) -> Iterator[Path]:
    station = write_station(tmp_path, ["good-1", "dead-led"], steps=("identity", "selftest"))
    station.write_text(station.read_text().replace("steps = [", GOLDEN))
    add_dsns(station, 10)
    yield station
    wait_for(lambda: not processes_of(tmp_path), "a process is left")


@pytest.mark.factory
@pytest.mark.factory_quick
def test_a_shift_from_the_golden_units_to_the_last_label(golden_station: Path) -> None:
    operator = Operator(golden_station, "--operator", "anna")

    assert "must wait: this shift no good golden unit has passed yet (GOOD1)" in operator.scan("KS000001")
    assert operator.scan("AT;good-1") == "the next unit goes to good-1"
    assert operator.scan("GOOD1") == "GOOD1 in good-1"
    assert shown(operator.read_run()) == "good-1 GOOD1 PASS"
    assert "no bad golden unit has failed yet" in operator.scan("KS000001")
    operator.scan("AT;dead-led")
    assert operator.scan("BAD01") == "BAD01 in dead-led"
    assert shown(operator.read_run()) == "dead-led BAD01 FAIL"

    operator.scan("AT;good-1")
    assert operator.scan("KS000001") == "KS000001 in good-1"
    assert shown(operator.read_run()) == "good-1 KS000001 PASS"
    assert operator.scan("KS999999") == "\aKS999999 is not in the ledger"
    assert operator.process.stdin is not None
    operator.process.stdin.close()
    code, (summary,) = operator.finish()
    assert (code, summary["runs"]) == (0, 3)
    golden = ask_records(golden_station.parent, "select dut_id, operator from run where is_golden order by 1")
    assert golden == [("BAD01", "anna"), ("GOOD1", "anna")]


@pytest.mark.factory
@pytest.mark.factory_quick
def test_ctrl_c_ends_each_run_with_its_record(tmp_path: Path) -> None:
    slots = ["hang-1", "hang-2", "hang-3"]
    station = write_station(tmp_path, slots, budget=600, steps=("identity", "link-test"))
    add_dsns(station, 10)
    operator = Operator(station, "--units", "9")
    folder = tmp_path / "station"
    wait_for(
        lambda: (
            len(processes_of(tmp_path)) > 3
            and all((folder / "units" / slot / "run").exists() for slot in slots)
        )
    )

    operator.process.send_signal(signal.SIGINT)

    code, events = operator.finish()
    assert code == 130
    assert [event["outcome"] for event in events[:-1]] == ["ABORTED"] * 3
    assert events[-1]["runs"] == 3
    assert [outcome for (outcome,) in ask_records(tmp_path, "select outcome from run")] == ["ABORTED"] * 3
    wait_for(lambda: not processes_of(tmp_path), "a process is left")
