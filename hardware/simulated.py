"""Parts without hardware: a light that knows what it was told, a button for scripts and keys, a clock set by hand."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Final

from hardware.button import EDGES, GestureDetector
from hardware.led import OUT, Glow, Off, Pattern, glow_at, in_white, is_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hardware.button import Failed, Told
    from hardware.clock import Alarm, AlarmClock

KEY_RELEASED_AFTER: Final = 0.6
"""Seconds without a repeat after which a key counts as let go: terminals tell no release, and a key that is held
begins to repeat after half a second or less."""


@dataclass(frozen=True, slots=True)
class ShownPattern:
    """A pattern, and the moment it began."""

    pattern: Pattern
    since: float


class SimulatedLight:
    """A light that remembers what it was told and can say what it shows at any moment."""

    def __init__(self, clock: AlarmClock, *, brightness: float = 1.0, is_white: bool = False) -> None:
        self._clock = clock
        self._limit = brightness
        self._is_white = is_white
        self.told: list[ShownPattern] = [ShownPattern(Off(), clock.now())]

    def show(self, pattern: Pattern) -> None:
        """Play a pattern from now; one that is playing already goes on undisturbed."""
        now = self._clock.now()
        last = self.told[-1]
        if pattern != last.pattern or is_over(pattern, round((now - last.since) * 1000)):
            self.told.append(ShownPattern(pattern, now))

    def glow_at(self, at: float) -> Glow:
        """Return what could be seen at a moment."""
        showing = next((told for told in reversed(self.told) if told.since <= at), None)
        if showing is None:
            return OUT
        pattern = in_white(showing.pattern) if self._is_white else showing.pattern
        glow = glow_at(pattern, round((at - showing.since) * 1000))
        return Glow(glow.brightness * self._limit, glow.colour)

    def close(self) -> None:
        """Go dark."""
        self.show(Off())


class SimulatedButton:
    """A button that a script, a test or a key presses."""

    def __init__(self, clock: AlarmClock) -> None:
        self._clock = clock
        self._lock = RLock()
        self._key_up = clock.alarm(self.release)
        self._script = clock.alarm(self._next_of_script)
        self._left: list[tuple[float, bool]] = []
        self._is_pressed = False
        self._follower: GestureDetector | None = None

    def listen(self, told: Told, failed: Failed) -> None:  # noqa: ARG002 - nothing can fail here
        """Begin to follow what is pressed."""
        with self._lock:
            self._follower = GestureDetector(told, self._is_pressed, self._clock, EDGES)

    def close(self) -> None:
        """Follow no more."""
        with self._lock:
            self._left = []
            self._key_up.cancel()
            self._script.cancel()
            if self._follower is not None:
                self._follower.close()

    def press(self) -> None:
        """Press, and keep it pressed."""
        self._set(is_pressed=True)

    def release(self) -> None:
        """Let go."""
        self._set(is_pressed=False)

    def play(self, script: Iterable[tuple[float, bool]]) -> None:
        """Press and let go by a script: seconds from now, each with whether it is pressed from then on."""
        with self._lock:
            now = self._clock.now()
            self._left = [(now + after, is_pressed) for after, is_pressed in script]
            self._next_of_script()

    def hold(self, seconds: float) -> None:
        """Press now and let go so many seconds later; 0.2 is a tap."""
        self.play([(0, True), (seconds, False)])

    def strike_key(self) -> None:
        """Take one character of the key that stands for the button: press, or stay pressed while the key repeats."""
        with self._lock:
            self.press()
            self._key_up.set(self._clock.now() + KEY_RELEASED_AFTER)

    def _set(self, *, is_pressed: bool) -> None:
        with self._lock:
            self._is_pressed = is_pressed
            if self._follower is not None:
                self._follower.follow(is_pressed, self._clock.now())

    def _next_of_script(self) -> None:
        with self._lock:
            while self._left and self._left[0][0] <= self._clock.now():
                _, is_pressed = self._left.pop(0)
                self._set(is_pressed=is_pressed)
            if self._left:
                self._script.set(self._left[0][0])


class SimulatedClock:
    """A clock that stands still until it is told to go on; alarms ring on the way, in order, on the caller's thread."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._lock = RLock()
        self._due: dict[_SimulatedAlarm, float] = {}
        self.rung = 0

    def now(self) -> float:
        """Tell the moment it stands at."""
        return self._now

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """Make an alarm that is not yet set."""
        return _SimulatedAlarm(self, ring)

    def close(self) -> None:
        """Ring no more of what is set now."""
        with self._lock:
            self._due.clear()

    def pass_time(self, seconds: float) -> None:
        """Go on, and ring what falls due; ``rung`` counts it."""
        until = self._now + seconds
        while (alarm := self._next(until)) is not None:
            self.rung += 1
            alarm.ring()
        self._now = until

    def move(self, alarm: _SimulatedAlarm, at: float | None) -> None:
        """Set an alarm, or cancel it with None."""
        with self._lock:
            self._due.pop(alarm, None)
            if at is not None:
                self._due[alarm] = at

    def _next(self, until: float) -> _SimulatedAlarm | None:
        with self._lock:
            alarm, at = min(self._due.items(), key=lambda due: due[1], default=(None, until))
            if alarm is None or at > until:
                return None
            del self._due[alarm]
            self._now = max(self._now, at)
            return alarm


class _SimulatedAlarm:
    def __init__(self, clock: SimulatedClock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self.ring = ring

    def set(self, at: float) -> None:
        self._clock.move(self, at)

    def cancel(self) -> None:
        self._clock.move(self, None)
