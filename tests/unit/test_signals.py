import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from device_auth.world.signals import ServiceSignals, woken_by_signals
from tests.command import ROOT
from tests.waiting import LONG


@pytest.fixture
def _heard() -> Iterator[None]:
    former = signal.signal(signal.SIGUSR1, lambda _signal, _frame: None)
    yield
    signal.signal(signal.SIGUSR1, former)


@pytest.mark.usefixtures("_heard")
def test_a_signal_ends_a_wait_also_where_its_handler_leaves_nothing_in_the_inbox() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    with woken_by_signals(lambda: inbox.put("woken")):
        os.kill(os.getpid(), signal.SIGUSR1)

        assert inbox.get(timeout=LONG) == "woken"


@pytest.mark.usefixtures("_heard")
def test_afterwards_nothing_is_woken_and_whoever_was_before_is_again() -> None:
    inbox: SimpleQueue[str] = SimpleQueue()
    with woken_by_signals(lambda: inbox.put("outer")):
        with woken_by_signals(lambda: inbox.put("inner")):
            pass
        os.kill(os.getpid(), signal.SIGUSR1)

        assert inbox.get(timeout=LONG) == "outer"
    os.kill(os.getpid(), signal.SIGUSR1)

    assert inbox.empty()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anybody_can_answer_is_answered_later(number: signal.Signals) -> None:
    service, heard = ServiceSignals(), list[str]()
    with service.heard():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGHUP)

        service.answer_by(lambda: heard.append("stop"), lambda: heard.append("reload"))
        assert (heard, service.is_stopping) == (["stop", "reload"], True)
        os.kill(os.getpid(), signal.SIGHUP)
        assert heard == ["stop", "reload", "reload"]


LEFT = """
import os, signal
from device_auth.world.signals import ServiceSignals
service, heard = ServiceSignals(), []
with service.heard():
    service.answer_by(lambda: heard.append("stop"), lambda: heard.append("reload"))
    with service.left_to_successor():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        print(heard, signal.SIGTERM in signal.sigpending())
    print(sorted(heard))
"""


def test_signals_that_are_left_to_a_successor_are_heard_here_if_none_comes() -> None:
    # of its own: another thread of this process would be ended by them
    done = subprocess.run([sys.executable, "-c", LEFT], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["[] True", "['reload', 'stop']"]
