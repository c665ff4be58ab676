"""The page in a network of its own, beside a neighbour who takes all that he can get."""

import shutil
import subprocess
import sys

import pytest

from tests.command import ROOT
from tests.crowded_page import LOADS, MAKE_NETWORK
from tests.waiting import LONG

NAMESPACE = ["unshare", "--net", "--mount"]


def has_namespaces() -> bool:
    trying = [*NAMESPACE, "sh", "-c", MAKE_NETWORK]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(trying, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not has_namespaces(), reason="a network of its own is not allowed here")
def test_a_neighbour_with_four_addresses_leaves_the_owner_each_load_and_no_program_here_the_code() -> None:
    words = [*NAMESPACE, sys.executable, "-m", "tests.crowded_page"]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LONG)

    assert done.stdout.splitlines() == [
        "a program on the speaker that dials 127.0.0.1 reads the code: False",
        "a program on the speaker that dials 192.168.77.1 reads the code: False",
        "a program on the speaker that dials 192.168.77.1 reads the code: False",
        f"the owner's loads: {LOADS} of {LOADS}",
    ]
