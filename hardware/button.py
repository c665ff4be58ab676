"""Buttons: a pure function from levels with their moments to gestures, and the detector that calls it.

A level counts once it has lasted as long as contacts can bounce, and it counts from the moment it first
appeared, so that bouncing does not change the length of a press.
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
    """An action with the button. ``HELD_*`` and ``STUCK`` come while it is held, the others at its release."""

    TAP = "tap"
    HELD_5S = "held-5s"
    HELD_10S = "held-10s"
    HOLD_5S = "hold-5s"
    HOLD_10S = "hold-10s"
    STUCK = "stuck"
    """Held for more than 30 s, which nobody does on purpose: nothing more is read from this press."""
    FREED = "freed"
    """A stuck button was released."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The shortest and the longest tap in seconds; they depend on how levels are read.

    Where ``is_sampled``, the level is read again and again anyway, so that samples alone settle it.
    """

    tap_from: float = 0.05
    tap_to: float = 1.5
    is_sampled: bool = False


SETTLES_IN_S: Final = 0.02
"""How long contacts bounce."""

EDGES: Final = Timing()
"""For levels stamped at the edge: taps of 50 ms to 1.5 s."""

SAMPLED: Final = Timing(tap_from=0.08, tap_to=1.56, is_sampled=True)
"""For levels sampled 20 times a second. Every press of 120 ms to 1.5 s is a tap: after 20 ms of bounce it shows in
two samples, and each of its ends is seen up to 50 ms too early or too late."""

HOLD_THRESHOLDS_S: Final = (5.0, 10.0, 30.0)
"""After so many seconds a press is a hold, a long hold, stuck."""

_WHILE_HELD: Final = (Gesture.HELD_5S, Gesture.HELD_10S, Gesture.STUCK)
_AT_RELEASE: Final = (None, Gesture.HOLD_5S, Gesture.HOLD_10S, Gesture.FREED)
_STUCK: Final = 3


@dataclass(frozen=True, slots=True)
class Press:
    """The state of a button.

    ``is_pressed`` since ``since`` is the settled level; ``raw`` since ``raw_since`` is that of the contacts. Until the
    two have agreed for long enough, ``left_at`` is the moment at which they first differed. ``thresholds`` counts the
    ``HOLD_THRESHOLDS_S`` that have passed; ``is_ignored`` marks the press that was there at power-up.
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
    """Return the state that begins with this level; a press that was there at power-up is ignored until its release.

    That the button is stuck is still reported, because that is a fault and not a gesture.
    """
    return Press(is_pressed=level, since=at, raw=level, raw_since=at, at=at, is_ignored=level)


def update(state: Press, level: bool, at: float, timing: Timing = EDGES) -> tuple[Press, tuple[Gesture, ...]]:
    """Return the state after a level at a moment, and the gestures that it completed.

    An unchanged level lets time pass. A moment before the last one counts as the last one.
    """
    at = max(at, state.at)
    state, gestures = _pass_time(state, at, timing)
    if level != state.raw:
        left_at = at if state.left_at is None else state.left_at
        state = replace(state, raw=level, raw_since=at, left_at=left_at)
    return state, gestures


def next_update_at(state: Press, timing: Timing = EDGES) -> float | None:
    """Return the moment of the next update if the level does not change; None if there is none."""
    if timing.is_sampled:
        return None
    if state.left_at is not None:
        return state.raw_since + SETTLES_IN_S
    if state.is_pressed and state.thresholds < len(HOLD_THRESHOLDS_S):
        return state.since + HOLD_THRESHOLDS_S[state.thresholds]
    return None


def _pass_time(state: Press, at: float, timing: Timing) -> tuple[Press, tuple[Gesture, ...]]:
    state, left_at = replace(state, at=at), state.left_at
    if left_at is None:
        return _reach(state, at)
    if at < state.raw_since + SETTLES_IN_S:
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
    """Return the state at a moment, and a gesture for each threshold that the press passed before it."""
    if not state.is_pressed:
        return state, ()
    thresholds = sum(until >= state.since + length for length in HOLD_THRESHOLDS_S)
    gestures = _WHILE_HELD[state.thresholds : thresholds]
    if state.is_ignored:
        gestures = tuple(gesture for gesture in gestures if gesture is Gesture.STUCK)
    return replace(state, thresholds=thresholds), gestures


def _meaning(state: Press, released_at: float, timing: Timing) -> Gesture | None:
    """Return the gesture of a press that is over; it is a hold exactly if a threshold was reported before."""
    if state.is_ignored and state.thresholds < _STUCK:
        return None
    if state.thresholds:
        return _AT_RELEASE[state.thresholds]
    length = released_at - state.since
    return Gesture.TAP if timing.tap_from <= length <= timing.tap_to else None


OnGesture = Callable[[Gesture], None]
OnFailure = Callable[["HardwareError"], None]


class Button(Protocol):
    """One button, watched from ``listen`` to ``close``."""

    def listen(self, on_gesture: OnGesture, on_failure: OnFailure) -> None:
        """Start watching; both callbacks run on the button's own thread and must not block.

        Args:
            on_gesture: called with every gesture.
            on_failure: called once, and last, if the button cannot be read any more.

        Raises:
            PartMissing: if the library or the line is missing, or permission is denied.
            PartBusy: if another program uses the line.
        """
        ...

    def close(self) -> None:
        """Stop watching and release the line; no callback runs after the return."""
        ...


class GestureDetector:
    """Detects gestures in the levels of a button, and those that time alone completes."""

    def __init__(self, on_gesture: OnGesture, level: bool, clock: AlarmClock, timing: Timing = EDGES) -> None:
        self._on_gesture = on_gesture
        self._clock = clock
        self._timing = timing
        self._lock = RLock()
        self._is_closed = False
        self._alarm = clock.alarm(self._let_time_pass)
        self._state = at_power_up(level, clock.now())

    def update(self, level: bool, at: float) -> None:
        """Take the level at a moment, and report the gestures that it completed."""
        with self._lock:
            if self._is_closed:
                return
            self._state, gestures = update(self._state, level, at, self._timing)
            next_at = next_update_at(self._state, self._timing)
            if next_at is None:
                self._alarm.cancel()
            else:
                self._alarm.set(next_at)
            for gesture in gestures:
                self._on_gesture(gesture)

    def close(self) -> None:
        """Stop; no callback runs after the return."""
        with self._lock:
            self._is_closed = True
            self._alarm.cancel()

    def _let_time_pass(self) -> None:
        """Let time pass up to the moment that the alarm was set for: it may ring late, and an earlier level come after it."""
        with self._lock:
            due_at = next_update_at(self._state, self._timing)
            if due_at is not None:
                self.update(self._state.raw, min(due_at, self._clock.now()))
