import os
import subprocess
import sys
from typing import Final

import pytest

from tests.bench.figures import ROOT, quartiles
from tests.waiting import LONG

pytestmark = pytest.mark.slow


AS_BENCHED: Final = (
    "import runpy, sys; sys.modules['pytest'] = None;"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""Runs a module as the bench's environment does, which has nothing for tests."""


def run_bench(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_BENCHED, f"tests.bench.{name}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("name", ["link", "save"])
def test_a_bench_tells_a_ratio(name: str) -> None:
    assert "ratio" in run_bench(name, "--rounds", "1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put folders into the places of the system's")
@pytest.mark.parametrize(
    ("parts", "revision", "rows"),
    [
        (["processes", "authorities", "socket", "save", "fleet"], ["--compare", "HEAD"], 15),
        (["daemon"], [], 8),
    ],
)
def test_the_table_has_a_row_for_each_budget(parts: list[str], revision: list[str], rows: int) -> None:
    told = run_bench("table", "--quick", *revision, "--only", *parts).splitlines()[2:]

    assert [len(row.split(" | ")) for row in told] == [5 + bool(revision)] * rows


def test_a_few_speakers_are_linked_at_once_without_a_complaint() -> None:
    told = run_bench("speakers", "--speakers", "4", "--interval", "1")

    assert "linked 4 " in told
    assert "complaints 0 " in told


def test_a_bench_tells_how_long_an_owner_waits_after_his_approval() -> None:
    told = run_bench("approval", "--links", "1", "--near")

    for way in ("LWA, every 5 s", "slow_down at the third poll", "RFC 8628"):
        assert way in told


def test_the_daemon_s_bench_tells_its_start_its_rest_and_its_tokens() -> None:
    told = run_bench("daemon", "--rounds", "1", "--seconds", "0.1")

    for figure in ("CPU, ms", "resident, MiB", "wake-ups", "socket, kept open", "file"):
        assert figure in told


def test_quartiles_stand_a_quarter_half_and_three_quarters_up() -> None:
    assert quartiles([5, 1, 4, 2, 3]) == (2, 3, 4)
    assert quartiles([7]) == (7, 7, 7)
