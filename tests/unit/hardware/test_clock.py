from __future__ import annotations

import time
from threading import Event, current_thread
from threading import enumerate as threads
from typing import TYPE_CHECKING

import pytest

from hardware.clock import PartsClock
from tests.waiting import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> Iterator[PartsClock]:
    clock = PartsClock()
    yield clock
    clock.close()


def busy(clock: PartsClock) -> Event:
    """Keep the clock's thread in a ring until the event that is given back is set."""
    go_on = Event()

    def wait() -> None:
        go_on.wait(LONG)

    clock.alarm(wait).set(clock.now())
    return go_on


def test_alarms_ring_in_the_order_of_their_moments(clock: PartsClock) -> None:
    rung: list[str] = []
    last = Event()
    go_on = busy(clock)
    now = clock.now()
    clock.alarm(last.set).set(now + 0.03)
    clock.alarm(lambda: rung.append("second")).set(now + 0.02)
    clock.alarm(lambda: rung.append("first")).set(now + 0.01)
    go_on.set()

    assert last.wait(LONG)
    assert rung == ["first", "second"]


def test_an_alarm_never_rings_early_and_at_once_when_its_moment_has_passed(clock: PartsClock) -> None:
    rung: list[float] = []
    heard = Event()

    def ring() -> None:
        rung.append(clock.now())
        heard.set()

    at = clock.now() + 0.02
    clock.alarm(ring).set(at)
    assert heard.wait(LONG)
    assert rung[0] >= at

    heard.clear()
    clock.alarm(ring).set(at - 1000)
    assert heard.wait(LONG)


def test_an_alarm_can_be_moved_and_cancelled(clock: PartsClock) -> None:
    rung: list[str] = []
    last = Event()
    go_on = busy(clock)
    now = clock.now()
    cancelled, moved = (
        clock.alarm(lambda: rung.append("cancelled")),
        clock.alarm(lambda: rung.append("moved")),
    )
    moved.set(now + 1000)
    cancelled.set(now + 0.01)
    moved.set(now + 0.01)
    cancelled.cancel()
    clock.alarm(last.set).set(now + 0.03)
    go_on.set()

    assert last.wait(LONG)
    assert rung == ["moved"]


def test_a_clock_that_has_nothing_to_ring_has_no_thread_and_one_for_all_alarms(clock: PartsClock) -> None:
    before = set(threads())
    alarms = [clock.alarm(lambda: None) for _ in range(5)]

    assert not set(threads()) - before  # one of an earlier test may end meanwhile

    for alarm in alarms:
        alarm.set(clock.now() + 1000)

    assert [thread.name for thread in set(threads()) - before] == ["parts-clock"]


def test_a_closed_clock_rings_no_more(clock: PartsClock) -> None:
    rung: list[str] = []
    alarm = clock.alarm(lambda: rung.append("rung"))
    alarm.set(clock.now() + 1000)
    clock.close()

    alarm.set(clock.now())

    assert clock._thread is not None
    assert not clock._thread.is_alive()
    assert rung == []


def test_a_clock_can_be_closed_from_a_ring(clock: PartsClock) -> None:
    threads = []
    closed = Event()

    def ring() -> None:
        threads.append(current_thread())
        clock.close()
        closed.set()

    clock.alarm(ring).set(clock.now())

    assert closed.wait(LONG)
    threads[0].join(LONG)
    assert not threads[0].is_alive()


def test_the_clock_is_the_one_that_stamps_edges(clock: PartsClock) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)

    assert before <= clock.now() <= time.clock_gettime(time.CLOCK_MONOTONIC)
