"""The clocks of this machine, and the only wait.

Deadlines count on CLOCK_BOOTTIME, which goes on in suspend and ignores steps of the wall clock.
A Raspberry Pi has no battery clock, so the wall clock is believed only when it looks set.
"""

import os
import time  # noqa: TID251 - the one file that reads a clock or waits
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, TypeVar

from device_auth.core.models import Monotonic, Seconds, UnixTime

T = TypeVar("T")

RELEASED_AT: Final = UnixTime(1_795_305_600)
"""2026-11-22: no speaker runs this code earlier, so an earlier wall clock is wrong. Moved on at each release."""

LONGEST_LIFE: Final = Seconds(20 * 365.25 * 86_400)
"""A wall clock later than this after the release is wrong too."""

LONGEST_WAIT: Final = Seconds(60)
"""No single sleep is longer: a sleep does not count suspend, so the deadline is checked in between."""

_YEAR: Final = 366 * 86_400
"""Seconds for which a timer is set whose end nobody waits for."""

_TFD_CLOEXEC: Final = 0o2000000
_TFD_NONBLOCK: Final = 0o4000
_ABSTIME_AND_CANCEL_ON_SET: Final = 3
"""Source: ``sys/timerfd.h``."""

_TIME_ERROR: Final = 5
"""Source: ``sys/timex.h``."""

_LARGEST_TIMEX: Final = 1024
"""Bytes: more than ``struct timex`` has on any machine. Zeros request nothing."""


class BootClock:
    """The clocks of this machine. Source: clock_gettime(2)."""

    def now(self) -> Monotonic:
        """Return the moment for deadlines: counts suspend, ignores steps of the wall clock."""
        return Monotonic(time.clock_gettime(time.CLOCK_BOOTTIME))

    def wall(self) -> UnixTime:
        """Return the wall clock, for people and for the disk."""
        return UnixTime(time.time())

    def awake(self) -> Monotonic:
        """Return the time since boot without what was spent in suspend; never more than ``now``."""
        return Monotonic(time.clock_gettime(time.CLOCK_MONOTONIC))

    def is_kept_right(self) -> bool | None:
        """Return whether a program synchronises the wall clock with the network; None if that is not known.

        Source: adjtimex(2): without a request, it returns ``TIME_ERROR`` while the clock is not synchronised.
        """
        import ctypes

        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_LARGEST_TIMEX))
        return None if state < 0 else state != _TIME_ERROR

    def looks_set(self, not_before: UnixTime = RELEASED_AT) -> bool:
        """Return whether the wall clock can be right.

        Args:
            not_before: a moment known to be past, such as the save of a stored link.
        """
        return max(not_before, RELEASED_AT) <= self.wall() <= RELEASED_AT + LONGEST_LIFE

    def take(self, inbox: SimpleQueue[T], until: Monotonic) -> T | None:
        """Wait for the next item; None when there is none by ``until``.

        An item that is there already is returned even after ``until``. A signal's handler runs at once when the main
        thread waits here, and an item it puts into the inbox ends the wait (``SimpleQueue.put`` is reentrant).
        """
        while True:
            left = until - self.now()
            try:
                return inbox.get(timeout=min(max(left, 0), LONGEST_WAIT))
            except Empty:
                if left <= 0:
                    return None


@contextmanager
def clock_steps(on_step: Callable[[], object]) -> Iterator[None]:
    """Have a function called, on another thread, each time the wall clock is set; in between nothing runs.

    Where the kernel cannot notify of it the function is never called. Python has timers as files from 3.13 on.

    Source: timerfd_create(2), ``TFD_TIMER_CANCEL_ON_SET``.
    """
    import select
    import struct

    from device_auth.world.c_library import call_c

    try:
        timer = call_c("timerfd_create", time.CLOCK_REALTIME, _TFD_CLOEXEC | _TFD_NONBLOCK)
    except OSError:
        timer = -1
    if timer < 0:
        yield
        return
    ending = os.eventfd(0, os.EFD_CLOEXEC)
    ready = select.poll()
    for number in (timer, ending):
        ready.register(number, select.POLLIN)

    def start() -> None:
        # struct itimerspec: no second time, and the first one as a time of day
        times = struct.pack("4l", 0, 0, int(time.time()) + _YEAR, 0)
        call_c("timerfd_settime", timer, _ABSTIME_AND_CANCEL_ON_SET, times, None)

    def watch() -> None:
        while (ending, select.POLLIN) not in ready.poll():
            try:
                os.read(timer, 8)
            except OSError:  # ECANCELED
                start()  # before the call: a step after it is another one
                on_step()
            else:
                start()  # a year has passed

    start()
    thread = Thread(target=watch, name="clock steps", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(ending, 1)
        thread.join()
        os.close(ending)
        os.close(timer)
