"""Lights: patterns as data, pure functions from time to brightness and colour, and the players of patterns.

Rhythm carries the meaning and colour repeats it. The constructors refuse a pattern that flashes faster than twice a
second, because flashing light can harm people who are sensitive to it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from hardware.errors import BadSetting, HardwareError, call_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardware.clock import AlarmClock

_log = logging.getLogger(__name__)

LEAST_CYCLE_MS: Final = 500
"""Shortest time from one flash to the next: 2 Hz, below the three a second of WCAG 2.2, criterion 2.3.1."""

FRAME_MS: Final = 50
"""Length of one step of a fade; the kernel's pattern trigger uses steps of this length."""

MOST_BLINKS: Final = 9
"""Most blinks in a group: nobody counts further."""

_LEAST_SHARE: Final = 0.25
"""A channel this weak beside the strongest is left dark where channels are only on or off."""


@dataclass(frozen=True, slots=True)
class Colour:
    """Red, green and blue, each from 0 to 255."""

    red: int
    green: int
    blue: int


BLACK: Final = Colour(0, 0, 0)
WHITE: Final = Colour(255, 255, 255)
DIM_WHITE: Final = Colour(48, 48, 48)
CYAN: Final = Colour(0, 255, 255)
ORANGE: Final = Colour(255, 100, 0)
PURPLE: Final = Colour(160, 0, 255)
RED: Final = Colour(255, 0, 0)
YELLOW: Final = Colour(255, 200, 0)


@dataclass(frozen=True, slots=True)
class Glow:
    """The brightness, from 0 to 1, and the colour of a light at one moment."""

    brightness: float
    colour: Colour


OUT: Final = Glow(0.0, BLACK)


@dataclass(frozen=True, slots=True)
class Off:
    """Dark."""


@dataclass(frozen=True, slots=True)
class Solid:
    """Lit without a change."""

    colour: Colour = WHITE


@dataclass(frozen=True, slots=True)
class Blink:
    """Lit and dark in turn; with a ``count``, in groups of blinks, each followed by ``pause_ms`` of dark.

    Raises:
        BadSetting: if a time is not a whole number above 0, a group is too long to count, or two flashes would
            come within half a second.
    """

    on_ms: int
    off_ms: int
    colour: Colour = WHITE
    count: int = 1
    pause_ms: int | None = None

    def __post_init__(self) -> None:
        _check_times(self.on_ms, self.off_ms, self.count, self.last_off_ms)
        if self.count > MOST_BLINKS:
            raise BadSetting(f"a group has {self.count} blinks", hint=f"Use {MOST_BLINKS} at the most.")
        shortest = self.last_off_ms if self.count == 1 else min(self.off_ms, self.last_off_ms)
        _check_cycle(self.on_ms + shortest)

    @property
    def last_off_ms(self) -> int:
        """Return how long it is dark after the last blink of a group."""
        return self.off_ms if self.pause_ms is None else self.pause_ms


@dataclass(frozen=True, slots=True)
class Breathe:
    """Evenly brighter, then evenly darker; a light that cannot fade blinks in this rhythm.

    Raises:
        BadSetting: if a time is not a whole number above 0, or two flashes would come within half a second.
    """

    brighter_ms: int
    darker_ms: int
    colour: Colour = WHITE

    def __post_init__(self) -> None:
        _check_times(self.brighter_ms, self.darker_ms)
        _check_cycle(self.brighter_ms + self.darker_ms)


@dataclass(frozen=True, slots=True)
class Once:
    """A rhythm for a time, then dark.

    Raises:
        BadSetting: if the time is not a whole number above 0.
    """

    rhythm: Solid | Blink | Breathe
    lasts_ms: int

    def __post_init__(self) -> None:
        _check_times(self.lasts_ms)


Rhythm = Off | Solid | Blink | Breathe
Pattern = Rhythm | Once


def short_blinks(count: int, pause_ms: int, colour: Colour = WHITE) -> Blink:
    """Return groups of short blinks (250 ms on, 250 ms off) with a pause after each group."""
    return Blink(250, 250, colour, count, pause_ms)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a rhythm: a brightness that stays, or fades to that of the next step; 0 ms means for ever."""

    brightness: float
    lasts_ms: int = 0
    fades: bool = False


def steps_of(rhythm: Rhythm) -> tuple[Step, ...]:
    """Return the steps of which a rhythm is the repetition."""
    match rhythm:
        case Off():
            return (Step(0.0),)
        case Solid():
            return (Step(1.0),)
        case Blink(on_ms=on_ms, off_ms=off_ms, count=count):
            short = (Step(1.0, on_ms), Step(0.0, off_ms))
            return (*short * (count - 1), Step(1.0, on_ms), Step(0.0, rhythm.last_off_ms))
        case Breathe(brighter_ms=brighter_ms, darker_ms=darker_ms):
            return (Step(0.0, brighter_ms, fades=True), Step(1.0, darker_ms, fades=True))
        case _:
            assert_never(rhythm)


def period_ms(rhythm: Rhythm) -> int:
    """Return the time from one beginning of a rhythm to the next; 0 for one that never changes."""
    return sum(step.lasts_ms for step in steps_of(rhythm))


def glow_at(pattern: Pattern, elapsed_ms: int) -> Glow:
    """Return the glow of a pattern at a number of milliseconds after its start."""
    if isinstance(pattern, Once):
        return OUT if is_over(pattern, elapsed_ms) else glow_at(pattern.rhythm, elapsed_ms)
    if isinstance(pattern, Off):
        return OUT
    steps = steps_of(pattern)
    index, into_ms = _find(steps, elapsed_ms)
    step, following = steps[index], steps[(index + 1) % len(steps)]
    if not step.fades:
        return Glow(step.brightness, pattern.colour)
    share = (into_ms - into_ms % FRAME_MS) / step.lasts_ms
    return Glow(step.brightness + (following.brightness - step.brightness) * share, pattern.colour)


def changes_at(pattern: Pattern, elapsed_ms: int) -> int | None:
    """Return the next change of a pattern after ``elapsed_ms``, in milliseconds from its start; None for never."""
    if isinstance(pattern, Once):
        if is_over(pattern, elapsed_ms):
            return None
        change = changes_at(pattern.rhythm, elapsed_ms)
        return pattern.lasts_ms if change is None else min(change, pattern.lasts_ms)
    steps = steps_of(pattern)
    index, into_ms = _find(steps, elapsed_ms)
    step = steps[index]
    if step.lasts_ms == 0:
        return None
    left_ms = step.lasts_ms - into_ms
    return elapsed_ms + (min(left_ms, FRAME_MS - into_ms % FRAME_MS) if step.fades else left_ms)


def is_over(pattern: Pattern, elapsed_ms: int) -> bool:
    """Return whether a pattern has ended; only ``Once`` ever ends."""
    return isinstance(pattern, Once) and elapsed_ms >= pattern.lasts_ms


def without_fades(pattern: Pattern) -> Pattern:
    """Return a pattern with breathing replaced by blinking, for lights that are only on or off."""
    match pattern:
        case Breathe():
            cycle_ms = pattern.brighter_ms + pattern.darker_ms
            return Blink(cycle_ms // 2, cycle_ms - cycle_ms // 2, pattern.colour)
        case Once(rhythm=Breathe() as rhythm):
            cycle_ms = rhythm.brighter_ms + rhythm.darker_ms
            return replace(pattern, rhythm=Blink(cycle_ms // 2, cycle_ms - cycle_ms // 2, rhythm.colour))
        case _:
            return pattern


def in_white(pattern: Pattern) -> Pattern:
    """Return a pattern in white, for people who cannot tell colours apart; its rhythm stays."""
    match pattern:
        case Off():
            return pattern
        case Once():
            return replace(pattern, rhythm=replace(pattern.rhythm, colour=WHITE))
        case _:
            return replace(pattern, colour=WHITE)


def channels_lit(glow: Glow) -> tuple[bool, bool, bool]:
    """Return whether red, green and blue are on, where each can only be on or off."""
    channels = (glow.colour.red, glow.colour.green, glow.colour.blue)
    least = max(1.0, max(channels) * _LEAST_SHARE)
    red, green, blue = (glow.brightness > 0 and channel >= least for channel in channels)
    return red, green, blue


class Light(Protocol):
    """A light that plays patterns by itself."""

    def show(self, pattern: Pattern) -> None:
        """Play a pattern from its start; a pattern that is already playing continues.

        Raises:
            HardwareError: if the light does not answer. A later call may succeed.
        """
        ...

    def close(self) -> None:
        """Go dark and release the part."""
        ...


class Lamp(Protocol):
    """One output that keeps its last glow."""

    @property
    def fades(self) -> bool:
        """Return whether the output shows a brightness between 0 and 1."""
        ...

    def glow(self, glow: Glow) -> None:
        """Show a glow from now on.

        Raises:
            HardwareError: if the output does not answer.
        """
        ...

    def close(self) -> None:
        """Release the output."""
        ...


class Outputs(Protocol):
    """A few digital pins, written together; True is lit, however they are wired."""

    def write(self, lit: Sequence[bool]) -> None:
        """Set every pin, in the order in which they were opened.

        Raises:
            HardwareError: if that fails.
        """
        ...

    def close(self) -> None:
        """Set every pin dark and release it."""
        ...


class DigitalLamp:
    """An LED on one digital pin, or an RGB LED on three (red, green, blue): on or off, never in between."""

    fades: Final = False

    def __init__(self, outputs: Outputs, *, is_rgb: bool) -> None:
        self._outputs = outputs
        self._is_rgb = is_rgb

    def glow(self, glow: Glow) -> None:
        """Light the pins whose part of the colour is strong enough to be seen."""
        self._outputs.write(channels_lit(glow) if self._is_rgb else (glow.brightness > 0,))

    def close(self) -> None:
        """Release the pins."""
        self._outputs.close()


class PlayedLight:
    """Plays patterns on a lamp: shows a glow, then sleeps until the pattern changes.

    Args:
        lamp: shows each glow.
        clock: keeps the time and calls back at each change.
        brightness: the limit, above 0 and up to 1; a lamp that is only on or off has none.
        is_white: whether every pattern is shown in white.
    """

    def __init__(
        self, lamp: Lamp, clock: AlarmClock, *, brightness: float = 1.0, is_white: bool = False
    ) -> None:
        self._lamp = lamp
        self._clock = clock
        self._limit = brightness
        self._is_white = is_white
        self._lock = RLock()
        self._alarm = clock.alarm(self._wake)
        self._pattern: Pattern | None = None
        self._played: Pattern = Off()
        self._since = clock.now()
        self._glow: Glow | None = None
        self.show(Off())

    def show(self, pattern: Pattern) -> None:
        """Play a pattern from its start; a pattern that is already playing continues."""
        with self._lock:
            if pattern == self._pattern and not is_over(pattern, self._elapsed_ms()):
                return
            played = in_white(pattern) if self._is_white else pattern
            self._pattern = pattern
            self._played = played if self._lamp.fades else without_fades(played)
            self._since = self._clock.now()
            self._draw()

    def close(self) -> None:
        """Go dark and release the lamp."""
        with self._lock:
            self._pattern = None
            self._alarm.cancel()
            try:
                self._lamp.glow(OUT)
            finally:
                self._lamp.close()

    def _elapsed_ms(self) -> int:
        return round((self._clock.now() - self._since) * 1000)

    def _wake(self) -> None:
        with self._lock:
            if self._pattern is None:
                return
            try:
                self._draw()
            except HardwareError as error:
                _log.warning("the light failed: %s", error)

    def _draw(self) -> None:
        elapsed_ms = self._elapsed_ms()
        glow = glow_at(self._played, elapsed_ms)
        if glow != self._glow:
            try:
                self._lamp.glow(replace(glow, brightness=glow.brightness * self._limit))
            except HardwareError:
                self._pattern = self._glow = None
                self._alarm.cancel()
                raise
            self._glow = glow
        change_ms = changes_at(self._played, elapsed_ms)
        if change_ms is None:
            self._alarm.cancel()
        else:
            self._alarm.set(self._since + change_ms / 1000)


class Lights:
    """Several lights that show one pattern; a failure of one does not keep it from the others."""

    def __init__(self, lights: Sequence[Light]) -> None:
        self._lights = tuple(lights)

    def show(self, pattern: Pattern) -> None:
        """Show a pattern on each; then raise the first failure, if there was one."""
        call_each(partial(light.show, pattern) for light in self._lights)

    def close(self) -> None:
        """Close each; then raise the first failure, if there was one."""
        call_each(light.close for light in self._lights)


def _find(steps: tuple[Step, ...], elapsed_ms: int) -> tuple[int, int]:
    """Return the index of the present step and the milliseconds since it began."""
    cycle_ms = sum(step.lasts_ms for step in steps)
    into_ms = elapsed_ms % cycle_ms if cycle_ms else 0
    for index, step in enumerate(steps):
        if into_ms < step.lasts_ms:
            return index, into_ms
        into_ms -= step.lasts_ms
    return 0, 0


def _check_times(*numbers: object) -> None:
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise BadSetting(
                f"{number!r} is neither a time nor a count",
                hint="Use whole numbers above 0; times in ms.",
            )


def _check_cycle(cycle_ms: int) -> None:
    if cycle_ms < LEAST_CYCLE_MS:
        raise BadSetting(
            f"the pattern would flash every {cycle_ms} ms",
            hint=f"Leave {LEAST_CYCLE_MS} ms or more from one flash to the next: faster flashing can harm people.",
        )
