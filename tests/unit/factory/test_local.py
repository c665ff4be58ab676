import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_auth.core.models import NEVER, Monotonic
from device_auth.factory.station.local import LocalTransport
from device_auth.factory.station.transport import Halt, RunAborted, StationFailure, UnitGone, UnitSilent
from device_auth.world.clock import BootClock
from tests.waiting import wait_for

Reach = Callable[[str], LocalTransport]
PAST = Monotonic(0)


@pytest.fixture
def halt() -> Iterator[Halt]:
    halt = Halt()
    yield halt
    halt.close()


@pytest.fixture
def reach(tmp_path: Path, halt: Halt) -> Iterator[Reach]:
    made: list[LocalTransport] = []

    def make(program: str) -> LocalTransport:
        words = (sys.executable, "-c", program)
        unit = LocalTransport(words, tmp_path / "unit", "one", BootClock().now, halt)
        unit.open(NEVER)
        made.append(unit)
        return unit

    yield make
    for unit in made:
        unit.close()


ECHO = "import sys; print(sys.argv[1:]); print(input(), file=sys.stderr); sys.exit(7)"


def test_a_verb_is_a_process_with_folders_of_its_own(reach: Reach, tmp_path: Path) -> None:
    unit = reach(ECHO)
    unit.start(("factory", "facts"), NEVER)
    unit.write_line(b"the header", NEVER)

    line = unit.read_line(NEVER)
    assert line is not None
    assert eval(line) == [  # noqa: S307  it is the test's own
        "factory", "facts", "--simulate", "--state-dir", f"{tmp_path}/unit/state", "--runtime-dir", f"{tmp_path}/unit/run",
    ]  # fmt: skip
    assert unit.read_line(NEVER) is None
    assert unit.finish(NEVER) == 7
    assert b"the header" in unit.talk
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "unit").iterdir()} == {
        "state": 0o700,
        "run": 0o700,
    }


def test_each_run_meets_a_new_unit_and_each_attempt_the_same(
    reach: Reach, tmp_path: Path, halt: Halt
) -> None:
    unit = reach(ECHO)
    (tmp_path / "unit" / "state" / "identity.toml").touch()
    board = unit.open(NEVER).board
    assert (tmp_path / "unit" / "state" / "identity.toml").exists()

    other = LocalTransport(("x",), tmp_path / "unit", "one", BootClock().now, halt)
    assert other.open(NEVER).board != board
    assert not (tmp_path / "unit" / "state" / "identity.toml").exists()


def test_a_hanging_verb_is_killed_with_all_that_it_started(reach: Reach) -> None:
    unit = reach(
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(999)']);"
        "print(p.pid, flush=True); p.wait()"
    )
    unit.start((), NEVER)
    child = int(unit.read_line(NEVER) or 0)
    with pytest.raises(UnitSilent):
        unit.read_line(PAST)

    assert unit.finish(PAST) == -signal.SIGKILL
    wait_for(lambda: is_over(child), "a child of the verb lives on")


def is_over(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_verb_that_leaves_a_child_behind_has_ended(reach: Reach) -> None:
    unit = reach(
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(999)'],"
        " stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)"
    )
    unit.start((), NEVER)

    assert unit.read_line(NEVER) is None
    assert unit.finish(NEVER) == 0


def test_a_program_that_is_not_there_is_told(tmp_path: Path, halt: Halt) -> None:
    unit = LocalTransport(("/nowhere/program",), tmp_path / "unit", "one", BootClock().now, halt)
    unit.open(NEVER)

    with pytest.raises(StationFailure, match="/nowhere/program"):
        unit.start((), NEVER)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, halt: Halt) -> None:
    (tmp_path / "file").touch()
    unit = LocalTransport(("x",), tmp_path / "file" / "unit", "one", BootClock().now, halt)

    with pytest.raises(StationFailure, match="cannot make the unit's folder"):
        unit.open(NEVER)


def test_without_a_verb_there_is_nothing_to_read_or_write(reach: Reach) -> None:
    unit = reach(ECHO)

    assert unit.finish(NEVER) is None
    with pytest.raises(UnitGone):
        unit.read_line(NEVER)
    with pytest.raises(UnitGone):
        unit.write_line(b"", NEVER)


def test_a_halt_ends_the_wait_for_a_verb_and_the_verb(reach: Reach, halt: Halt) -> None:
    unit = reach("import time; print('here', flush=True); time.sleep(999)")
    unit.start((), NEVER)
    unit.read_line(NEVER)
    threading.Thread(target=halt.set).start()

    with pytest.raises(RunAborted):
        unit.read_line(NEVER)
    assert unit.finish(NEVER) == -signal.SIGKILL


def test_no_descriptor_is_left_open(reach: Reach) -> None:
    unit = reach("pass")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208  no path is wanted
    for _ in range(3):
        unit.start((), NEVER)
        unit.read_line(NEVER)
        unit.finish(NEVER)

    # a thread of an earlier test may close its own meanwhile
    assert not set(os.listdir("/proc/self/fd")) - before  # noqa: PTH208  no path is wanted
