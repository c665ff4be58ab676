import io
import logging
import os
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

import pytest

from device_auth.core.models import Monotonic, Seconds, UnixTime, View
from device_auth.core.ports import Prompt
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.fanout import LONGEST_WAIT, PromptFanout
from device_auth.prompts.terminal import TerminalPrompt
from tests.code_views import LINKED, REQUESTING, SAVING, waiting
from tests.values import seconds
from tests.waiting import LONG

T = TypeVar("T")


class StillClock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.moment = 0.0

    def now(self) -> Monotonic:
        return Monotonic(self.moment)

    def wall(self) -> UnixTime:
        return UnixTime(self.moment)

    def take(self, inbox: SimpleQueue[T], until: Monotonic) -> T | None:
        raise NotImplementedError(f"{inbox} until {until}: prompts have no inbox")


class Listening:
    """A prompt that notes what it is shown, and does what the test says."""

    def __init__(
        self, name: str = "listening", *, then: Callable[[View], Monotonic | None] | None = None
    ) -> None:
        self.name = name
        self.shown: SimpleQueue[View | str] = SimpleQueue()
        self._then = then

    def show(self, view: View, now: Monotonic) -> Monotonic | None:  # noqa: ARG002 - the door's shape
        self.shown.put(view)
        return self._then(view) if self._then else None

    def close(self) -> None:
        self.shown.put("closed")

    def next(self) -> View | str:
        return self.shown.get(timeout=LONG)


class Hall:
    """Everyone, with what a test needs to look on and to let go of all that hangs."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.release = threading.Event()
        self._made: list[PromptFanout] = []

    def gather(self, *prompts: Prompt) -> PromptFanout:
        everyone = PromptFanout(prompts, self.clock)
        self._made.append(everyone)
        return everyone

    def hang(self, view: View) -> None:  # noqa: ARG002 - whatever it is
        self.release.wait(LONG * 2)

    def empty(self) -> None:
        self.release.set()
        for everyone in self._made:
            everyone.close(Seconds(0))
        for thread in threading.enumerate():
            if thread.name.startswith("prompt "):
                thread.join(LONG)


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.empty()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prompt ")]


def test_everyone_is_told_the_same(hall: Hall) -> None:
    one, other = Listening("one"), Listening("other")
    everyone = hall.gather(one, other)

    everyone.tell(REQUESTING)

    assert one.next() is REQUESTING
    assert other.next() is REQUESTING


def test_nobody_to_tell_needs_no_thread(hall: Hall) -> None:
    before = set(threading.enumerate())
    everyone = hall.gather()

    everyone.tell(REQUESTING)
    everyone.close(Seconds(1))

    assert not set(threading.enumerate()) - before  # one of an earlier test may end meanwhile


def test_one_that_hangs_delays_neither_the_others_nor_the_caller(hall: Hall) -> None:
    stuck, well = Listening("stuck", then=hall.hang), Listening("well")
    everyone = hall.gather(stuck, well)

    everyone.tell(REQUESTING)
    assert stuck.next() is REQUESTING
    everyone.tell(SAVING)
    everyone.tell(LINKED)

    seen = [well.next()]
    while seen[-1] is not LINKED:
        seen.append(well.next())
    assert stuck.shown.empty()


def test_a_slow_one_misses_what_is_old_and_gets_the_newest(hall: Hall) -> None:
    slow = Listening("slow", then=lambda view: hall.hang(view) if view is REQUESTING else None)
    everyone = hall.gather(slow)
    everyone.tell(REQUESTING)
    assert slow.next() is REQUESTING

    for sequence in range(100):
        everyone.tell(waiting(sequence=sequence))
    everyone.tell(LINKED)
    hall.release.set()

    assert slow.next() is LINKED
    everyone.close(Seconds(LONG))
    assert slow.next() == "closed"


def test_the_same_view_is_no_news_until_it_is_to_be_told_anew(hall: Hall) -> None:
    prompt = Listening()
    everyone = hall.gather(prompt)
    everyone.tell(LINKED)
    assert prompt.next() == LINKED

    everyone.tell(replace(LINKED))
    everyone.tell(replace(LINKED, sequence=1))

    assert prompt.next() == replace(LINKED, sequence=1)


def test_one_that_fails_is_logged_without_the_code_and_goes_on(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(view: View) -> None:
        raise OSError(f"broken while showing {view.code_pair and view.code_pair.user_code}")

    prompt = Listening("broken", then=fail)
    everyone = hall.gather(prompt)

    with caplog.at_level(logging.DEBUG):
        everyone.tell(waiting())
        assert prompt.next() == waiting()
        everyone.tell(LINKED)
        assert prompt.next() == LINKED
        everyone.close(Seconds(LONG))

    assert caplog.messages == ["the broken does not work: OSError"] * 2
    assert "AAYJHL" not in caplog.text


def test_one_that_fails_at_closing_is_logged_too(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(Listening):
        def close(self) -> None:
            raise RuntimeError

    everyone = hall.gather(Sticky("sticky"))

    everyone.close(Seconds(LONG))

    assert caplog.messages == ["the sticky does not work: RuntimeError"]


def test_a_terminal_that_breaks_is_logged_and_linking_goes_on(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(len(text))

    terminal = TerminalPrompt(
        Gone(), size=lambda: (80, 24), is_tty=True, colour=True, encoding="utf-8", qr=True
    )
    well = Listening("well")
    everyone = hall.gather(terminal, well)

    everyone.tell(waiting())
    assert well.next() == waiting()
    everyone.tell(LINKED)
    assert well.next() == LINKED
    everyone.close(Seconds(LONG))

    assert set(caplog.messages) == {"the terminal does not work: BrokenPipeError"}


# -- countdowns -------------------------------------------------------------------------------------------


def test_one_that_counts_down_is_called_again_when_it_wants(hall: Hall) -> None:
    moments = iter([Monotonic(0.0), Monotonic(0.0), None])
    prompt = Listening(then=lambda view: next(moments) if view is REQUESTING else None)
    everyone = hall.gather(prompt)

    everyone.tell(REQUESTING)

    assert [prompt.next() for _ in range(3)] == [REQUESTING] * 3
    everyone.close(Seconds(LONG))
    assert prompt.next() == "closed"


def test_one_is_not_called_before_it_wants(hall: Hall) -> None:
    prompt = Listening(then=lambda view: Monotonic(3600.0) if view is REQUESTING else None)
    everyone = hall.gather(prompt)
    everyone.tell(REQUESTING)
    assert prompt.next() is REQUESTING

    everyone.close(Seconds(LONG))

    assert prompt.next() == "closed"


def test_a_wait_for_a_moment_is_cut_short_and_one_for_news_is_not(hall: Hall) -> None:
    thread = hall.gather(Listening())._threads[0]

    assert thread._until(Monotonic(3600)) == LONGEST_WAIT
    assert thread._until(Monotonic(7)) == seconds(7)
    assert thread._until(Monotonic(-7)) == seconds(0)
    assert thread._until(None) is None


# -- closing ----------------------------------------------------------------------------------------------


def test_who_waits_goes_on_once_the_newest_view_is_shown(hall: Hall) -> None:
    drawn: list[View] = []

    def draw(view: View) -> None:
        hall.release.wait(LONG)
        drawn.append(view)

    everyone = hall.gather(Listening("slow", then=draw))
    everyone.tell(REQUESTING)
    everyone.tell(LINKED)
    hall.release.set()

    everyone.wait(Seconds(LONG))

    assert drawn[-1] is LINKED


def test_who_waits_for_one_that_hangs_goes_on_all_the_same(hall: Hall) -> None:
    everyone = hall.gather(Listening("stuck", then=hall.hang))
    everyone.tell(LINKED)

    waiter = threading.Thread(target=everyone.wait, args=(Seconds(0.01),))
    waiter.start()
    waiter.join(LONG)

    assert not waiter.is_alive()


def test_the_last_view_is_told_before_closing(hall: Hall) -> None:
    slow = Listening("slow", then=lambda view: hall.hang(view) if view is REQUESTING else None)
    everyone = hall.gather(slow)
    everyone.tell(REQUESTING)
    assert slow.next() is REQUESTING
    everyone.tell(LINKED)

    closing = threading.Thread(target=everyone.close, args=(Seconds(LONG),))
    closing.start()
    hall.release.set()
    closing.join(LONG)

    assert [slow.next(), slow.next()] == [LINKED, "closed"]


def test_closing_waits_for_all_that_hang_together_no_longer_than_asked(hall: Hall) -> None:
    class Passing(StillClock):
        """A clock on which a second passes at each look."""

        def now(self) -> Monotonic:
            self.moment += 1
            return super().now()

    hall.clock = Passing()
    stuck = [Listening(f"stuck {number}", then=hall.hang) for number in range(20)]
    everyone = hall.gather(*stuck)
    everyone.tell(LINKED)
    for prompt in stuck:
        prompt.next()

    closing = threading.Thread(target=everyone.close, args=(Seconds(1),))
    closing.start()
    closing.join(LONG)

    assert not closing.is_alive()
    assert all(prompt.shown.empty() for prompt in stuck)


def test_a_process_ends_while_a_prompt_hangs() -> None:
    program = """
import threading
from device_auth.core.models import Monotonic, Seconds, View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.fanout import PromptFanout

shown = threading.Event()

class Stuck:
    name = "stuck"
    def show(self, view, now):
        shown.set()
        threading.Event().wait()
    def close(self):
        pass

class Clock:
    def now(self):
        return Monotonic(0.0)

everyone = PromptFanout([Stuck()], Clock())
everyone.tell(View(StateWord.LINKED, Trouble.NONE))
shown.wait()
everyone.close(Seconds(0.01))
print("over")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_process_ends_while_its_terminal_is_stopped() -> None:
    program = """
import sys
from device_auth.core.models import Monotonic, Seconds, View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.fanout import PromptFanout
from device_auth.prompts.terminal import open_terminal

class Clock:
    def now(self):
        return Monotonic(0.0)

terminal = open_terminal(sys.stderr, environ_no_color=False, qr=True)
everyone = PromptFanout([terminal], Clock())
everyone.tell(View(StateWord.LINKED, Trouble.NONE))
everyone.close(Seconds(0.2))
print("over")
"""
    master, slave = os.openpty()
    termios.tcflow(slave, termios.TCOOFF)  # what Ctrl-S does
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=slave,
            env=buffered,
            timeout=LONG,
            check=False,
        )
    finally:
        termios.tcflow(slave, termios.TCOON)
        os.close(slave)
        os.close(master)

    assert (ended.returncode, ended.stdout) == (0, b"over\n")


def test_no_prompt_is_told_after_closing(hall: Hall) -> None:
    prompt = Listening()
    everyone = hall.gather(prompt)
    everyone.close(Seconds(LONG))
    assert prompt.next() == "closed"

    everyone.tell(View(StateWord.UNLINKED, Trouble.NONE))

    assert prompt.shown.empty()
