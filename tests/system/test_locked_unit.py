"""A locked unit: no way of the verbs' own runs, and the reset by hand does."""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ways_around_the_lock import IN_OTHER_PROCESSES, WAYS

ROOT: Final = Path(__file__).parent.parent.parent


@cache
def results(*words: str) -> dict[str, dict[str, Any]]:
    """Return what came of each way, by its name; they are tried once, in one process."""
    ran = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", "tests.ways_around_the_lock", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if "unshare" in ran.stderr and not ran.stdout:
        pytest.skip("no mount namespace is to be had here")
    assert ran.returncode == 0, ran.stderr
    return {line["way"]: line for line in map(json.loads, ran.stdout.splitlines())}


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can exchange the folders of the machine"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed"),
]


@pytest.mark.parametrize("way", [*WAYS, *IN_OTHER_PROCESSES])
def test_no_way_of_the_verbs_own_gets_around_the_lock(way: str) -> None:
    found = results()[way]

    assert (found["codes"], found["others"], found["is_as_it_was"]) == ([77], [], True)


def test_a_reset_by_hand_lets_them_run_until_the_unit_is_locked_again() -> None:
    assert results()["by hand"]["codes"] == [0, 0, 77]


def test_a_simulated_unit_of_a_user_who_may_not_look_at_the_lock_is_no_concern_of_it() -> None:
    found = results()["simulated by another user"]

    assert (found["codes"], found["is_as_it_was"]) == ([0], True)


@pytest.mark.slow
def test_a_simulated_button_resets_the_machines_speaker_and_opens_no_lock() -> None:
    found = results("--press")["a simulated button"]

    assert (found["codes"], found["is_as_it_was"]) == ([77], True)
