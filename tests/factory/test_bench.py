import subprocess
import sys

import pytest

from tests.bench.figures import ROOT


@pytest.mark.factory
def test_the_stations_bench_tells_rate_memory_and_steps() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.factory", "--slots", "2", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    scan, _, _, head, row = ended.stdout.splitlines()
    assert scan.startswith("scan to start: ")
    assert head.split()[0] == "slots"
    assert len(row.split()) == 10
