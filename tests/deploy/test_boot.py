"""The lane that boots Debian: what counts as passed."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.boot import GUEST, MACHINES, SUITES, Machine, boot, problems_of, read_script
from tests.deploy.packing import ROOT
from tests.deploy.sabotage import FAULTS
from tests.waiting import wait_for

TEXT: Final = """\
# Shows something.
# boot: rw
# boot: ro
# machines: pc virt
# limit: 60
check one true
for row in a b; do
    same "row-$row" 1 1
done
"""
FIRST: Final = "system: running\nok one\nok row-a\nexit status: 0\n"
SECOND: Final = "exit status: 0\n"


def problems(tmp_path: Path, *reports: str) -> list[str]:
    (tmp_path / "shown.sh").write_text(TEXT)
    return problems_of(read_script(tmp_path / "shown.sh"), list(reports))


def test_a_script_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "shown.sh").write_text(TEXT)
    script = read_script(tmp_path / "shown.sh")

    assert (script.boots, script.suites, script.limit) == (("rw", "ro"), tuple(SUITES), 60)
    assert script.machines == ("pc", "virt")


@pytest.mark.skipif(os.geteuid() != 0, reason="the machine is ended by namespaces, which root makes")
@pytest.mark.parametrize(
    ("before", "times"), [("", 2), ("system: running", 1)], ids=["nothing-of-ours-ran", "something-ran"]
)
def test_a_kernel_that_panics_before_anything_ran_is_booted_once_more(
    tmp_path: Path, before: str, times: int
) -> None:
    emulator = tmp_path / "emulator"
    emulator.write_text(
        f"""#!/bin/sh
        cd {tmp_path}
        echo >> starts
        if test "$(wc -l < starts)" = 1; then
            echo '[ 1.8] Kernel panic - not syncing: Fatal exception in interrupt' > console
            printf '%s' '{before}' > report
        else
            echo 'exit status: 0' > report
        fi
        """
    )
    emulator.chmod(0o755)
    machine = Machine("amd64", str(emulator), "", "")

    report = boot(machine, tmp_path, tmp_path, words="", limit=60, prefix=[])
    assert (tmp_path / "starts").read_text().count("\n") == times
    assert report == (before or "exit status: 0\n")


def test_each_check_seen_in_one_of_the_boots_is_a_pass(tmp_path: Path) -> None:
    assert problems(tmp_path, FIRST, SECOND) == []


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ((FIRST, ""), "boot 2 gave no exit status"),
        ((FIRST, "exit status: 3\n"), "boot 2 ended with exit status 3"),
        ((FIRST + "FAILED two: exit 1\n", SECOND), "FAILED two: exit 1"),
        ((FIRST.replace("ok one", "ok ones"), SECOND), "no line says: ok one"),
        ((FIRST.replace("ok row-a", ""), SECOND), "no line says: ok row\\-.+"),
    ],
)
def test_what_is_missing_is_a_failure(tmp_path: Path, reports: tuple[str, str], problem: str) -> None:
    assert problems(tmp_path, *reports) == [problem]


def test_nothing_checked_is_a_failure(tmp_path: Path) -> None:
    assert "nothing was checked" in problems(tmp_path, SECOND, SECOND)


@pytest.mark.parametrize("path", sorted(GUEST.glob("*.sh")), ids=lambda path: path.stem)
def test_each_guest_script_checks_something_in_a_machine_that_there_is(path: Path) -> None:
    assert path.stem == "lib" or read_script(path).checks
    assert set(read_script(path).machines) <= MACHINES.keys()


def test_each_fault_is_for_a_check_of_the_script_that_boots_with_it() -> None:
    for name, sabotages in FAULTS.items():
        checks = read_script(GUEST / f"{name}.sh").checks
        assert [each.noticed_by for each in sabotages if re.escape(each.noticed_by) not in checks] == []


def is_free(lock: Path) -> bool:
    with lock.open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a machine")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_machine_ends_with_who_started_it(tmp_path: Path, how: signal.Signals) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f"#!/bin/sh\n: > {tmp_path}/started\nsleep 600 &\nwait\n")
    qemu.chmod(0o755)
    lock = tmp_path / "lock"  # held by each process from the prefix on
    program = f"""
from pathlib import Path
from tests.deploy.boot import MACHINES, boot
here = Path({str(tmp_path)!r})
boot(MACHINES["pc"], here, here, words="rw", limit=600, prefix=["flock", str(here / "lock")])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ) as booting:
        wait_for((tmp_path / "started").exists)
        assert not is_free(lock)

        booting.send_signal(how)

    wait_for(lambda: is_free(lock))
