import threading
from collections.abc import Iterator

import pytest

from device_auth.core.models import Seconds
from device_auth.world.bounded import bounded, cancelled_after
from tests.waiting import LONG


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    ended = threading.Event()
    yield ended
    ended.set()


def test_a_call_that_ends_in_time_gives_its_result() -> None:
    assert bounded(lambda: 7, Seconds(LONG)) == 7


def test_a_call_that_fails_raises_what_it_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        bounded(fail, Seconds(LONG))


def test_a_call_that_hangs_is_left_behind(hanging: threading.Event) -> None:
    with pytest.raises(TimeoutError):
        bounded(hanging.wait, Seconds(0.01))


def test_work_that_takes_too_long_is_cancelled() -> None:
    cancelled = threading.Event()

    with cancelled_after(Seconds(0.01), cancelled.set):
        assert cancelled.wait(Seconds(LONG))


def test_work_that_begins_after_the_time_is_up_is_cancelled_too() -> None:
    # a request was not under way yet when it was cancelled, as its library was still being loaded, and then went on for ever
    cancelled = threading.Semaphore(0)

    with cancelled_after(Seconds(0.01), cancelled.release):
        assert cancelled.acquire(timeout=LONG)
        assert cancelled.acquire(timeout=LONG)


def test_work_that_ends_in_time_is_not_cancelled() -> None:
    cancelled = threading.Event()

    with cancelled_after(Seconds(LONG), cancelled.set):
        pass

    assert not cancelled.is_set()
