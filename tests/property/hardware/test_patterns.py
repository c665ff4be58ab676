from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hardware.errors import BadSetting
from hardware.kernel_led import KernelLed
from hardware.led import (
    ORANGE,
    OUT,
    Blink,
    Breathe,
    Glow,
    Off,
    Once,
    Pattern,
    PlayedLight,
    Rhythm,
    Solid,
    changes_at,
    glow_at,
    in_white,
    without_fades,
)
from hardware.simulated import SimulatedClock
from tests.stand_ins.kernel_leds import KernelLedFiles

TIMES = st.integers(1, 700) | st.integers(1, 5000)
WATCHED_MS = 6000


@st.composite
def blinks(draw: st.DrawFn) -> Blink:
    count = draw(st.integers(1, 6))
    try:
        return Blink(draw(TIMES), draw(TIMES), ORANGE, count, draw(st.none() | TIMES))
    except BadSetting:
        assume(False)
        raise


@st.composite
def breaths(draw: st.DrawFn) -> Breathe:
    try:
        return Breathe(draw(TIMES), draw(TIMES), ORANGE)
    except BadSetting:
        assume(False)
        raise


RHYTHMS: st.SearchStrategy[Solid | Blink | Breathe] = st.just(Solid(ORANGE)) | blinks() | breaths()
PATTERNS: st.SearchStrategy[Pattern] = st.just(Off()) | RHYTHMS | st.builds(Once, RHYTHMS, TIMES)


def rises(brightness: list[tuple[int, float]]) -> list[int]:
    """When it began to get brighter."""
    starts = []
    is_rising = False
    for (_, before), (at, after) in itertools.pairwise(brightness):
        if after > before and not is_rising:
            starts.append(at)
        if after != before:
            is_rising = after > before
    return starts


def watched(pattern: Pattern) -> list[tuple[int, float]]:
    """Brightness at every change, from the dark before it."""
    seen = [(-1, 0.0)]
    at: int | None = 0
    while at is not None and at <= WATCHED_MS:
        seen.append((at, glow_at(pattern, at).brightness))
        at = changes_at(pattern, at)
    return seen


@given(PATTERNS)
def test_no_pattern_that_can_be_made_flashes_above_2_hz(pattern: Pattern) -> None:
    for played in (pattern, without_fades(pattern), in_white(pattern)):
        starts = rises(watched(played))

        assert all(later - earlier >= 500 for earlier, later in itertools.pairwise(starts))


@given(TIMES, TIMES, st.integers(1, 6), st.none() | TIMES)
def test_every_blink_of_2_hz_or_less_can_be_made(
    on_ms: int, off_ms: int, count: int, pause_ms: int | None
) -> None:
    last_ms = off_ms if pause_ms is None else pause_ms
    assume(on_ms + last_ms >= 500 and (count == 1 or on_ms + off_ms >= 500))

    assert Blink(on_ms, off_ms, ORANGE, count, pause_ms).last_off_ms == last_ms


@given(PATTERNS, st.integers(0, WATCHED_MS))
def test_nothing_changes_before_it_is_said_to_change(pattern: Pattern, at: int) -> None:
    change = changes_at(pattern, at)

    assert change is None or change > at
    for moment in range(at, min(at + 5000, change if change is not None else at + 5000), 7):
        assert glow_at(pattern, moment) == glow_at(pattern, at)


@given(PATTERNS, st.integers(0, WATCHED_MS))
def test_a_light_that_cannot_fade_is_only_ever_on_or_off(pattern: Pattern, at: int) -> None:
    assert glow_at(without_fades(pattern), at).brightness in (0.0, 1.0)


class RecordingLamp:
    def __init__(self, *, fades: bool) -> None:
        self.fades = fades
        self.now = OUT

    def glow(self, glow: Glow) -> None:
        self.now = glow

    def close(self) -> None:
        self.now = OUT


@given(PATTERNS, st.lists(st.integers(1, 900), max_size=12), st.booleans())
def test_a_played_light_always_shows_what_the_pattern_says(
    pattern: Pattern, waits: list[int], fades: bool
) -> None:
    clock = SimulatedClock(1000.0)
    lamp = RecordingLamp(fades=fades)
    light = PlayedLight(lamp, clock)
    light.show(pattern)
    played = pattern if fades else without_fades(pattern)
    at = 0
    for wait in waits:
        clock.pass_time(wait / 1000)
        at += wait

        # The sum of many waits may fall short of a change by less than the clock can tell.
        assert lamp.now in (glow_at(played, at), glow_at(played, at - 1))


@settings(max_examples=30)  # each makes a folder
@given(RHYTHMS, st.integers(1, 255), st.integers(0, WATCHED_MS))
def test_the_kernel_is_told_the_rhythm_that_is_meant(rhythm: Rhythm, most: int, at: int) -> None:
    with TemporaryDirectory() as folder:
        clock = SimulatedClock()
        files = KernelLedFiles(Path(folder), "status", clock.now, most=most)
        light = KernelLed("status", clock, root=files.root)
        light.show(rhythm)
        clock.pass_time(at / 1000)

        assert abs(files.brightness() - most * glow_at(rhythm, at).brightness) <= 1
