"""The clocks and the wait. Nothing here sleeps: each wait has its end in its argument."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from device_auth.core.models import NEVER, Monotonic, Seconds, UnixTime, later
from device_auth.world import clock as clock_module
from device_auth.world.clock import LONGEST_LIFE, LONGEST_WAIT, RELEASED_AT, BootClock, clock_steps
from tests.clock_steps import step_clock
from tests.waiting import LONG

ROOT = Path(__file__).parents[2]


class SetClock(BootClock):
    """The machine's clock with its wall clock set by the test."""

    def __init__(self, wall: float) -> None:
        self._wall = UnixTime(wall)

    def wall(self) -> UnixTime:
        return self._wall


def test_deadlines_count_from_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)

    assert before <= BootClock().now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_the_time_awake_does_not_count_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)

    assert before <= BootClock().awake() <= BootClock().now()


def test_the_kernel_says_whether_the_wall_clock_is_kept_right() -> None:
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024))

    assert BootClock().is_kept_right() is {-1: None, 5: False}.get(state, True)


def test_the_wall_clock_is_the_machines() -> None:
    before = time.time()

    assert before <= BootClock().wall() <= time.time()


@pytest.mark.parametrize(
    ("wall", "looks_set"),
    [
        (0, False),  # a Pi that was never set
        (RELEASED_AT - 1, False),
        (RELEASED_AT, True),
        (RELEASED_AT + LONGEST_LIFE, True),
        (RELEASED_AT + LONGEST_LIFE + 1, False),
        (2**32, False),
    ],
)
def test_a_wall_clock_looks_set_from_the_release_on_for_twenty_years(wall: float, looks_set: bool) -> None:
    assert SetClock(wall).looks_set() is looks_set


def test_a_wall_clock_before_a_moment_that_is_known_to_be_past_does_not_look_set() -> None:
    saved_at = UnixTime(RELEASED_AT + 1000)

    assert not SetClock(saved_at - 1).looks_set(not_before=saved_at)
    assert SetClock(saved_at).looks_set(not_before=saved_at)


def test_a_known_past_before_the_release_does_not_make_an_older_clock_look_set() -> None:
    assert not SetClock(RELEASED_AT - 1).looks_set(not_before=UnixTime(0))


def test_the_release_is_not_in_the_future() -> None:
    assert time.time() >= RELEASED_AT


def test_the_release_date_was_moved_on_since_the_last_tag() -> None:
    query = [
        "git",
        "for-each-ref",
        "--sort=-creatordate",
        "--count=2",
        "--format=%(creatordate:unix)",
        "refs/tags",
    ]
    answer = subprocess.run(query, cwd=ROOT, capture_output=True, text=True, check=False)
    tagged = [int(line) for line in answer.stdout.split()]
    if len(tagged) < 2:
        pytest.skip("no release but perhaps this one is tagged here")

    # The newest tag may be this very release, made after the date was written.
    assert tagged[1] < RELEASED_AT


def test_what_is_there_is_taken_at_once() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    inbox.put("first")
    inbox.put("second")

    assert BootClock().take(inbox, NEVER) == "first"
    assert BootClock().take(inbox, NEVER) == "second"


def test_what_is_there_is_taken_even_after_the_moment() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    inbox.put("late")

    assert BootClock().take(inbox, Monotonic(0)) == "late"


@pytest.mark.parametrize("ahead", [-5, 0, 0.03])
def test_nothing_comes_by_the_moment(ahead: float) -> None:
    clock = BootClock()
    until = later(clock.now(), Seconds(ahead))

    assert clock.take(SimpleQueue(), until) is None
    assert clock.now() >= until


def test_what_another_thread_puts_ends_the_wait() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    sender = threading.Timer(0.02, inbox.put, ["pressed"])
    sender.start()

    assert BootClock().take(inbox, NEVER) == "pressed"

    sender.join()


class RecordingInbox(SimpleQueue[str]):
    """Returns nothing, and writes down how long it was asked to wait; the clock has moved on each time."""

    def __init__(self, clock: "SteppedClock") -> None:
        self.waits: list[float] = []
        self._clock = clock

    def get(self, block: bool = True, timeout: float | None = None) -> str:
        assert block
        assert timeout is not None
        self.waits.append(timeout)
        self._clock.moment += max(timeout, 1)
        return super().get(timeout=0)


class SteppedClock(BootClock):
    """A clock that the test moves."""

    moment = 0.0

    def now(self) -> Monotonic:
        return Monotonic(self.moment)


def test_no_single_sleep_is_longer_than_a_minute() -> None:
    clock = SteppedClock()
    inbox = RecordingInbox(clock)

    assert clock.take(inbox, Monotonic(150)) is None
    assert inbox.waits == [LONGEST_WAIT, LONGEST_WAIT, 30, 0]


def test_a_signal_is_answered_in_the_middle_of_a_wait() -> None:
    program = """
import queue, signal
from device_auth.core.models import NEVER
from device_auth.world.clock import BootClock

inbox = queue.SimpleQueue()
signal.signal(signal.SIGTERM, lambda number, frame: inbox.put("asked to end"))
signal.signal(signal.SIGALRM, lambda number, frame: print("waiting", flush=True))
signal.setitimer(signal.ITIMER_REAL, 0.05)
print(BootClock().take(inbox, NEVER), flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        # The first signal is handled without ending the wait; then it certainly waits, and the second ends it.
        assert child.stdout.readline() == "waiting\n"
        os.kill(child.pid, signal.SIGTERM)

        assert child.stdout.readline() == "asked to end\n"
        assert child.wait(LONG) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_clock_that_is_set_is_noticed_each_time_and_nothing_afterwards() -> None:
    steps: SimpleQueue[str] = SimpleQueue()
    with clock_steps(lambda: steps.put("set")):
        for _ in range(3):
            step_clock()
            assert steps.get(timeout=LONG) == "set"

    while not steps.empty():  # of a test beside this one
        steps.get()
    step_clock()

    assert steps.empty()
    assert "clock steps" not in [thread.name for thread in threading.enumerate()]


def test_a_clock_that_is_watched_leaves_no_file_open() -> None:
    def open_files() -> set[Path]:
        return set(Path("/proc/self/fd").iterdir())

    before = open_files()

    with clock_steps(lambda: None):
        pass

    assert not open_files() - before  # a thread of an earlier test may close its own meanwhile


def test_only_this_file_imports_time() -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "device_auth").rglob("*.py")
        if any(
            line.split()[:2] in (["import", "time"], ["from", "time"])
            for line in path.read_text().splitlines()
        )
    }

    assert importers == {
        Path(clock_module.__file__).relative_to(ROOT).as_posix(),
        "device_auth/client.py",  # for other programs: imports nothing of ours
        "device_auth/cli/quick_answers.py",  # imports next to nothing
    }
