"""Runs a script of this folder beside a real systemd, a user's manager in namespaces of its own: no machine is booted."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.packing import HERE
from tests.waiting import LONG

NO_MANAGER: Final = 77

needs_systemd: Final = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists() or shutil.which("unshare") is None,
    reason="root starts a manager of systemd's in namespaces of its own",
)


def run_beside_systemd(script: str) -> str:
    """Return what a script has printed; skip the test where no manager starts."""
    ran = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", HERE / script],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    if ran.returncode == NO_MANAGER or "unshare" in ran.stderr:
        pytest.skip("this machine makes no namespaces, or starts no manager in them")
    assert ran.stderr == ""
    return ran.stdout
