"""What a press means: a pure fold from stamped levels to gestures, and who asks it when.

A level counts once it has lasted as long as contacts can bounce, and it counts from the moment it first
appeared, so that bouncing does not change how long a press was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from hardware.clock import AlarmClock
    from hardware.errors import HardwareError


class Gesture(StrEnum):
    """What somebody did with the button. ``held`` is told while it is held, the rest when it is let go."""

    TAP = "tap"
    HELD_5S = "held-5s"
    HELD_10S = "held-10s"
    HOLD_5S = "hold-5s"
    HOLD_10S = "hold-10s"
    STUCK = "stuck"
    """Held for more than 30 s, told then: nobody does that, so nothing more is read from this press."""
    FREED = "freed"
    """A stuck button has been let go."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a tap begins and ends and how long contacts may bounce, in seconds; it depends on how levels are read.

    ``is_sampled`` says that the level is read again and again anyway, so that only samples settle it.
    """

    tap_from: float = 0.05
    tap_to: float = 1.5
    settles_in: float = 0.02
    is_sampled: bool = False


EDGES: Final = Timing()
"""For levels stamped at the edge: taps of 50 ms to 1.5 s."""

SAMPLED: Final = Timing(tap_from=0.08, tap_to=1.56, is_sampled=True)
"""For levels sampled 20 times a second. Every press of 120 ms to 1.5 s is a tap: after 20 ms of bounce it shows in
two samples, and samples place both its ends up to 50 ms too early or too late."""

HELD: Final = (5.0, 10.0, 30.0)
"""Seconds after which a press is a hold, a long hold, stuck."""

_TOLD_WHILE_HELD: Final = (Gesture.HELD_5S, Gesture.HELD_10S, Gesture.STUCK)
_TOLD_WHEN_LET_GO: Final = (None, Gesture.HOLD_5S, Gesture.HOLD_10S, Gesture.FREED)
_STUCK: Final = 3


@dataclass(frozen=True, slots=True)
class Press:
    """Where the button stands.

    ``is_pressed`` since ``since`` is what has settled; ``raw`` since ``raw_since`` is what the contacts say. While
    the two have not agreed for long enough, ``left_at`` is when they first differed. ``thresholds`` counts how many
    of ``HELD`` are behind; ``is_ignored`` marks the press that was there at power-up.
    """

    is_pressed: bool
    since: float
    raw: bool
    raw_since: float
    at: float
    left_at: float | None = None
    thresholds: int = 0
    is_ignored: bool = False


def at_power_up(level: bool, at: float) -> Press:
    """Begin with the level found; a press that was there before us is ignored until it is let go.

    That it is stuck is told all the same, because that is a fault and not a gesture.
    """
    return Press(is_pressed=level, since=at, raw=level, raw_since=at, at=at, is_ignored=level)


def fold(state: Press, level: bool, at: float, timing: Timing = EDGES) -> tuple[Press, tuple[Gesture, ...]]:
    """Take the level at a moment; give the new state and the gestures it completed.

    The same level again tells that time has passed. A moment before the last one counts as the last one.
    """
    at = max(at, state.at)
    state, gestures = _pass_time(state, at, timing)
    if level != state.raw:
        left_at = at if state.left_at is None else state.left_at
        state = replace(state, raw=level, raw_since=at, left_at=left_at)
    return state, gestures


def asks_at(state: Press, timing: Timing = EDGES) -> float | None:
    """Say when to fold the same level again if nothing changes before; None for never."""
    if timing.is_sampled:
        return None
    if state.left_at is not None:
        return state.raw_since + timing.settles_in
    if state.is_pressed and state.thresholds < len(HELD):
        return state.since + HELD[state.thresholds]
    return None


def _pass_time(state: Press, at: float, timing: Timing) -> tuple[Press, tuple[Gesture, ...]]:
    state, left_at = replace(state, at=at), state.left_at
    if left_at is None:
        return _reach(state, at)
    if at < state.raw_since + timing.settles_in:
        return _reach(state, left_at)
    if state.raw == state.is_pressed:
        return _reach(replace(state, left_at=None), at)
    if state.raw:
        pressed = Press(is_pressed=True, since=left_at, raw=True, raw_since=state.raw_since, at=at)
        return _reach(pressed, at)
    state, gestures = _reach(state, left_at)
    meaning = _meaning(state, left_at, timing)
    released = Press(is_pressed=False, since=at, raw=False, raw_since=state.raw_since, at=at)
    return released, gestures if meaning is None else (*gestures, meaning)


def _reach(state: Press, until: float) -> tuple[Press, tuple[Gesture, ...]]:
    """Tell the thresholds that a press has passed by a moment."""
    if not state.is_pressed:
        return state, ()
    thresholds = sum(until >= state.since + length for length in HELD)
    told = _TOLD_WHILE_HELD[state.thresholds : thresholds]
    if state.is_ignored:
        told = tuple(gesture for gesture in told if gesture is Gesture.STUCK)
    return replace(state, thresholds=thresholds), told


def _meaning(state: Press, let_go_at: float, timing: Timing) -> Gesture | None:
    """Judge a press that is over. It is a hold exactly when the hold was told before."""
    if state.is_ignored and state.thresholds < _STUCK:
        return None
    if state.thresholds:
        return _TOLD_WHEN_LET_GO[state.thresholds]
    length = let_go_at - state.since
    return Gesture.TAP if timing.tap_from <= length <= timing.tap_to else None


Told = Callable[[Gesture], None]
Failed = Callable[["HardwareError"], None]


class Button(Protocol):
    """One button. It watches from ``listen`` to ``close``."""

    def listen(self, told: Told, failed: Failed) -> None:
        """Begin to watch; both are called on the button's own thread and must not block.

        Args:
            told: called with every gesture.
            failed: called once if the button cannot be read any more; nothing is told after that.

        Raises:
            PartMissing: the library or the line is not there, or closed to this user.
            PartBusy: somebody else has the line.
        """
        ...

    def close(self) -> None:
        """Stop watching and let go of the line; nothing is told once this has returned."""
        ...


class GestureDetector:
    """Follows one press for a button that reads levels: folds them, and asks again when time alone completes a gesture."""

    def __init__(self, told: Told, level: bool, clock: AlarmClock, timing: Timing = EDGES) -> None:
        self._told = told
        self._clock = clock
        self._timing = timing
        self._lock = RLock()
        self._is_closed = False
        self._alarm = clock.alarm(self._ask)
        self._state = at_power_up(level, clock.now())

    def follow(self, level: bool, at: float) -> None:
        """Take the level at a moment, tell what it completed."""
        with self._lock:
            if self._is_closed:
                return
            self._state, gestures = fold(self._state, level, at, self._timing)
            next_at = asks_at(self._state, self._timing)
            if next_at is None:
                self._alarm.cancel()
            else:
                self._alarm.set(next_at)
            for gesture in gestures:
                self._told(gesture)

    def close(self) -> None:
        """Follow no more; nothing is told once this has returned."""
        with self._lock:
            self._is_closed = True
            self._alarm.cancel()

    def _ask(self) -> None:
        with self._lock:
            self.follow(self._state.raw, self._clock.now())
