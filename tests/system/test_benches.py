import os
import subprocess
import sys
from typing import Final

import pytest

from tests.bench.figures import ROOT, quartiles
from tests.bench.table import PARTS, find_namespace, tap
from tests.waiting import LONG

pytestmark = pytest.mark.slow


AS_BENCHED: Final = (
    "import runpy, sys; sys.modules['pytest'] = None;"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""Runs a module as the bench's environment does, which has nothing for tests."""


def run_bench(name: str, *words: str) -> str:
    return bench_of(name, *words).stdout


def bench_of(name: str, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", AS_BENCHED, f"tests.bench.{name}", *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )


def test_a_bench_tells_a_ratio() -> None:
    assert "ratio" in run_bench("save", "--rounds", "1")


def test_a_bench_tells_what_a_link_imports_beside_the_least() -> None:
    told = run_bench("link_imports", "--rounds", "1")

    assert "our own: " in told
    assert " ms  device_auth." in told


def rows_of(table: str) -> dict[str, list[str]]:
    """Return the other columns of each row, by the first; without those that count instructions, which takes long."""
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {what: others for what, *others in rows if not what.endswith(": instructions")}


@pytest.mark.skipif(find_namespace() is None, reason="no folder can be put into the places of the system's")
def test_the_table_has_the_rows_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text().partition("## Figures")[2].partition("\n## ")[0]

    told = rows_of(run_bench("table", "--quick", "--only", *(PARTS.keys() - {"instructions"})))

    assert {what: (beside, budget) for what, (beside, budget, *_) in told.items()} == {
        what: (beside, budget) for what, (beside, budget, *_) in rows_of(readme).items()
    }


def test_a_line_says_which_rows_are_left_out_where_no_namespace_is_to_be_had() -> None:
    done = bench_of("table", "--quick", "--only", "instructions", "daemon", "save", PATH="")

    assert done.stderr.startswith("left out: instructions, daemon: ")
    assert [*rows_of(done.stdout)] == ["What", "---", "save: grant → durable"]


def test_a_revision_has_a_column_of_its_own() -> None:
    told = rows_of(run_bench("table", "--quick", "--compare", "HEAD", "--only", "save"))

    assert told["What"] == ["Beside", "Budget", "HEAD", "Now", "Measured"]
    assert [len(row) for row in told.values()] == [5] * len(told)


def test_a_revision_that_is_none_is_named() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_bench("table", "--compare", "no-such-revision", "--only", "save")

    assert failed.value.stderr.startswith("no-such-revision is no commit in ")


def test_a_service_that_ends_before_its_light_answers_a_tap_is_not_waited_for() -> None:
    with (
        subprocess.Popen(["sh", "-c", "read tap"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ended,
        pytest.raises(SystemExit, match="the service has ended"),
    ):
        tap(ended)


def test_a_few_speakers_are_linked_at_once_without_a_complaint() -> None:
    told = run_bench("speakers", "--speakers", "4", "--interval", "1")

    assert "linked 4 " in told
    assert "complaints 0 " in told


def test_a_bench_tells_how_long_an_owner_waits_after_his_approval() -> None:
    told = run_bench("approval", "--links", "1", "--near")

    for way in ("LWA, every 5 s", "slow_down at the third poll", "RFC 8628"):
        assert way in told


def test_quartiles_stand_a_quarter_half_and_three_quarters_up() -> None:
    assert quartiles([5, 1, 4, 2, 3]) == (2, 3, 4)
    assert quartiles([7]) == (7, 7, 7)
