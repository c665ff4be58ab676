"""The clock of the parts: one thread, started with the first alarm, that sleeps until the next one.

Moments are seconds on CLOCK_MONOTONIC, because the kernel stamps the edges of a GPIO line with it.
"""

import time  # noqa: TID251 - the one place in this package that reads a clock
from collections.abc import Callable
from threading import Condition, Thread, current_thread
from typing import Protocol


class AlarmClock(Protocol):
    """Provides parts with the time, and calls them at a moment."""

    def now(self) -> float:
        """Return the present moment in seconds."""
        ...

    def alarm(self, ring: Callable[[], None]) -> "Alarm":
        """Return an alarm that is not yet set; ``ring`` runs on the clock's thread and must not block."""
        ...

    def move(self, alarm: "Alarm", at: float | None) -> None:
        """Set an alarm, or cancel it (None)."""
        ...


class Alarm:
    """A call that is due at one moment; setting it again moves it."""

    def __init__(self, clock: AlarmClock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self.ring = ring

    def set(self, at: float) -> None:
        """Ring once, at this moment or as soon after it as possible."""
        self._clock.move(self, at)

    def cancel(self) -> None:
        """Do not ring; a call that has begun still finishes."""
        self._clock.move(self, None)


class PartsClock:
    """The real clock. All its alarms ring on one thread, in the order of their moments."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._due: dict[Alarm, float] = {}
        self._thread: Thread | None = None
        self._is_closed = False

    def now(self) -> float:
        """Return the present moment in seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """Return an alarm that is not yet set."""
        return Alarm(self, ring)

    def close(self) -> None:
        """Cancel every alarm and wait for the one that is ringing, unless called from within it."""
        with self._changed:
            self._is_closed = True
            self._due.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join()

    def move(self, alarm: Alarm, at: float | None) -> None:
        """Set an alarm, or cancel it (None)."""
        with self._changed:
            self._due.pop(alarm, None)
            if at is None or self._is_closed:
                return
            self._due[alarm] = at
            if self._thread is None:
                self._thread = Thread(target=self._run, name="parts-clock", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while (alarm := self._wait()) is not None:
            alarm.ring()

    def _wait(self) -> Alarm | None:
        with self._changed:
            while not self._is_closed:
                if not self._due:
                    self._changed.wait()
                    continue
                alarm, at = min(self._due.items(), key=lambda due: due[1])
                left = at - self.now()
                if left <= 0:
                    del self._due[alarm]
                    return alarm
                self._changed.wait(left)
            return None
