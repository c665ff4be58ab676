"""What every light does, whatever it is made of. Samples are taken well inside a phase: real lights are a little late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware.led import CYAN, ORANGE, RED, Blink, Breathe, Off, Once, Solid, short_blinks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.led import Pattern
    from tests.contract.hardware.benches import LightBench


@pytest.fixture
def bench(light_bench: LightBench) -> Iterator[LightBench]:
    yield light_bench
    light_bench.light.close()


def seen(bench: LightBench, pattern: Pattern, *moments: float) -> list[bool]:
    bench.light.show(pattern)
    now, lit = 0.0, []
    for moment in moments:
        bench.pass_time(moment - now)
        now = moment
        lit.append(bench.is_lit())
    return lit


def test_a_light_that_was_told_nothing_is_dark(bench: LightBench) -> None:
    assert not bench.is_lit()


def test_a_solid_light_is_lit_at_once_and_stays(bench: LightBench) -> None:
    assert seen(bench, Solid(CYAN), 0.1, 1, 4) == [True, True, True]


def test_a_blinking_light_is_lit_and_dark_in_turn(bench: LightBench) -> None:
    assert seen(bench, Blink(1000, 1000, RED), 0.5, 1.5, 2.5, 3.5) == [True, False, True, False]


def test_a_short_blink_with_a_long_pause_is_seen_each_time(bench: LightBench) -> None:
    assert seen(bench, Blink(300, 1700), 0.15, 0.6, 1.7, 2.15, 2.6) == [True, False, False, True, False]


def test_a_group_of_two_blinks_is_followed_by_its_pause(bench: LightBench) -> None:
    moments = (0.125, 0.375, 0.625, 0.875, 1.75, 2.625, 2.875, 3.125, 3.375)

    lit = seen(bench, short_blinks(2, 2000, RED), *moments)

    assert lit == [True, False, True, False, False, False, True, False, True]


def test_a_breathing_light_is_seen_in_every_breath(bench: LightBench) -> None:
    bench.light.show(Breathe(1000, 1000, ORANGE))
    breaths = []
    for _ in range(3):
        lit = []
        for _ in range(8):
            bench.pass_time(0.25)
            lit.append(bench.is_lit())
        breaths.append(set(lit))

    assert breaths == [{True, False}] * 3


def test_what_is_shown_once_ends_dark(bench: LightBench) -> None:
    assert seen(bench, Once(Solid(CYAN), 2000), 0.1, 1.8, 2.3, 5) == [True, True, False, False]


def test_a_blink_that_is_shown_once_ends_dark(bench: LightBench) -> None:
    assert seen(bench, Once(Blink(500, 500), 1750), 0.25, 0.75, 1.25, 2.25, 3.25) == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_what_was_shown_once_can_be_shown_again(bench: LightBench) -> None:
    seen(bench, Once(Solid(CYAN), 1000), 1.5)

    assert seen(bench, Once(Solid(CYAN), 1000), 0.5, 1.5) == [True, False]


def test_the_pattern_that_is_playing_goes_on_undisturbed(bench: LightBench) -> None:
    seen(bench, Blink(1000, 1000), 0.7)

    assert seen(bench, Blink(1000, 1000), 0.7) == [False]


def test_another_pattern_takes_its_place_at_once(bench: LightBench) -> None:
    seen(bench, Blink(1000, 1000), 1.5)

    assert seen(bench, Solid(RED), 0.1, 2.5) == [True, True]


def test_a_pattern_takes_the_place_of_one_that_was_to_end(bench: LightBench) -> None:
    seen(bench, Once(Solid(CYAN), 1000), 0.5)

    assert seen(bench, Solid(RED), 0.1, 1.5) == [True, True]


def test_off_is_dark_at_once_and_stays(bench: LightBench) -> None:
    seen(bench, Blink(1000, 1000), 0.5)

    assert seen(bench, Off(), 0.1, 1.5, 2.5) == [False, False, False]


def test_a_closed_light_is_dark(light_bench: LightBench) -> None:
    seen(light_bench, Solid(RED), 0.5)

    light_bench.light.close()

    assert not light_bench.is_lit()
    light_bench.pass_time(1)
    assert not light_bench.is_lit()
