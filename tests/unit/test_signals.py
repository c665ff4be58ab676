import os
import signal
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from device_auth.world.signals import woken_by_signals
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
