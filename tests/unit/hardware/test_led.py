from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from hardware.errors import BadSetting, HardwareError
from hardware.led import (
    CYAN,
    DIM_WHITE,
    ORANGE,
    OUT,
    PURPLE,
    RED,
    WHITE,
    YELLOW,
    Blink,
    Breathe,
    Colour,
    DigitalLamp,
    Glow,
    Lights,
    Off,
    Once,
    Pattern,
    PlayedLight,
    Solid,
    changes_at,
    channels_lit,
    glow_at,
    in_white,
    short_blinks,
    without_fades,
)
from hardware.simulated import SimulatedClock, SimulatedLight

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE: dict[str, Pattern] = {
    "starting": Blink(100, 2900, DIM_WHITE),
    "unlinked": Off(),
    "requesting": Blink(250, 250, CYAN),
    "waiting": Breathe(1000, 1000, ORANGE),
    "waiting, last minute": Breathe(500, 500, ORANGE),
    "linked just now": Once(Solid(CYAN), 5000),
    "no network": short_blinks(2, 2000, PURPLE),
    "denied": short_blinks(3, 2000, RED),
    "revoked": short_blinks(4, 3000, YELLOW),
    "misconfigured": short_blinks(5, 3000, RED),
    "held 5 s": Solid(ORANGE),
    "held 10 s": Blink(250, 250, RED),
}


class Lamp:
    def __init__(self, *, fades: bool = True) -> None:
        self.fades = fades
        self.glows: list[Glow] = []
        self.is_broken = False
        self.is_closed = False

    def glow(self, glow: Glow) -> None:
        if self.is_broken:
            raise HardwareError("the lamp fell off", hint="Pick it up.")
        self.glows.append(glow)

    def close(self) -> None:
        self.is_closed = True


class Pins:
    def __init__(self) -> None:
        self.lit: list[tuple[bool, ...]] = []

    def write(self, lit: Sequence[bool]) -> None:
        self.lit.append(tuple(lit))

    def close(self) -> None:
        self.lit.append(())


def changes(pattern: Pattern, until_ms: int) -> list[int]:
    found, at = [], changes_at(pattern, 0)
    while at is not None and at <= until_ms:
        found.append(at)
        at = changes_at(pattern, at)
    return found


def test_every_row_of_the_light_table_can_be_said() -> None:
    cycles = {name: changes(without_fades(pattern), 8000)[:12] for name, pattern in TABLE.items()}

    assert cycles["starting"] == [100, 3000, 3100, 6000, 6100]
    assert cycles["unlinked"] == cycles["held 5 s"] == []
    assert cycles["requesting"][:4] == cycles["held 10 s"][:4] == [250, 500, 750, 1000]
    assert cycles["waiting"][:3] == [1000, 2000, 3000]
    assert cycles["waiting, last minute"][:3] == [500, 1000, 1500]
    assert cycles["linked just now"] == [5000]
    assert cycles["no network"][:6] == [250, 500, 750, 2750, 3000, 3250]
    assert cycles["denied"][:7] == [250, 500, 750, 1000, 1250, 3250, 3500]
    assert cycles["revoked"][6:9] == [1750, 4750, 5000]
    assert cycles["misconfigured"][8:10] == [2250, 5250]


def test_breathing_goes_up_and_down_evenly_in_small_steps() -> None:
    breath = Breathe(1000, 1000, ORANGE)

    assert [glow_at(breath, at).brightness for at in (0, 250, 500, 1000, 1500, 2000)] == [
        0,
        0.25,
        0.5,
        1,
        0.5,
        0,
    ]
    assert changes(breath, 200) == [50, 100, 150, 200]
    assert glow_at(breath, 1250).colour == ORANGE


def test_what_is_shown_once_changes_no_more_after_its_end() -> None:
    once = Once(Blink(500, 500, RED), 800)

    assert changes(once, 10_000) == [500, 800]
    assert glow_at(once, 800) == OUT


@pytest.mark.parametrize(
    ("on_ms", "off_ms", "count", "pause_ms"), [(249, 250, 1, None), (250, 249, 3, 2000), (250, 250, 2, 249)]
)
def test_a_blink_above_2_hz_is_refused(on_ms: int, off_ms: int, count: int, pause_ms: int | None) -> None:
    with pytest.raises(BadSetting, match="flash every 499 ms") as refused:
        Blink(on_ms, off_ms, RED, count, pause_ms)

    assert "harm" in refused.value.hint


@pytest.mark.parametrize("time", [0, -1, 0.5, True, "1000"])
def test_a_time_that_is_no_whole_number_above_0_is_refused(time: object) -> None:
    with pytest.raises(BadSetting, match="neither a time nor a count"):
        Once(Solid(), time)  # type: ignore[arg-type] # settings may hold anything


def test_a_breath_above_2_hz_and_an_endless_group_are_refused() -> None:
    with pytest.raises(BadSetting, match="flash every 400 ms"):
        Breathe(200, 200)
    with pytest.raises(BadSetting, match="10 blinks"):
        short_blinks(10, 2000)


def test_without_fades_breathing_blinks_in_its_rhythm_and_the_rest_stays() -> None:
    assert without_fades(Breathe(1000, 1000, ORANGE)) == Blink(1000, 1000, ORANGE)
    assert without_fades(Once(Breathe(500, 501, RED), 3000)) == Once(Blink(500, 501, RED), 3000)
    assert without_fades(Solid(RED)) == Solid(RED)


def test_in_white_only_the_rhythm_tells() -> None:
    assert in_white(short_blinks(3, 2000, RED)) == short_blinks(3, 2000, WHITE)
    assert in_white(Once(Solid(CYAN), 5000)) == Once(Solid(WHITE), 5000)
    assert in_white(Off()) == Off()


@pytest.mark.parametrize(
    ("colour", "channels"),
    [
        (RED, (True, False, False)),
        (CYAN, (False, True, True)),
        (ORANGE, (True, True, False)),
        (YELLOW, (True, True, False)),
        (PURPLE, (True, False, True)),
        (DIM_WHITE, (True, True, True)),
        (Colour(0, 0, 0), (False, False, False)),
    ],
)
def test_a_colour_becomes_a_mix_of_channels_that_are_on_or_off(
    colour: Colour, channels: tuple[bool, ...]
) -> None:
    assert channels_lit(Glow(0.3, colour)) == channels
    assert channels_lit(Glow(0.0, colour)) == (False, False, False)


def test_a_digital_lamp_lights_one_pin_or_three() -> None:
    one, three = Pins(), Pins()
    DigitalLamp(one, is_rgb=False).glow(Glow(0.1, RED))
    lamp = DigitalLamp(three, is_rgb=True)
    lamp.glow(Glow(1.0, CYAN))
    lamp.close()

    assert one.lit == [(True,)]
    assert three.lit == [(False, True, True), ()]


def test_a_played_light_is_woken_only_when_something_changes() -> None:
    clock, lamp = SimulatedClock(), Lamp()
    light = PlayedLight(lamp, clock)
    light.show(Solid(RED))
    clock.pass_time(3600)

    assert clock.rung == 0

    light.show(Blink(500, 500, RED))
    clock.pass_time(10)

    assert clock.rung == 20
    assert len(lamp.glows) == 22


def test_the_brightness_limit_holds_for_every_glow() -> None:
    clock, lamp = SimulatedClock(), Lamp()
    light = PlayedLight(lamp, clock, brightness=0.25)
    light.show(Breathe(1000, 1000, RED))
    clock.pass_time(4)

    assert max(glow.brightness for glow in lamp.glows) == 0.25


def test_a_white_light_shows_every_pattern_in_white() -> None:
    clock, lamp = SimulatedClock(), Lamp()
    PlayedLight(lamp, clock, is_white=True).show(Solid(RED))

    assert lamp.glows[-1] == Glow(1.0, WHITE)


def test_a_lamp_that_cannot_fade_is_not_woken_for_frames() -> None:
    clock, lamp = SimulatedClock(), Lamp(fades=False)
    PlayedLight(lamp, clock).show(Breathe(1000, 1000, RED))
    clock.pass_time(4)

    assert clock.rung == 4


def test_a_lamp_that_fails_is_reported_and_tried_again_with_the_next_show() -> None:
    clock, lamp = SimulatedClock(), Lamp()
    light = PlayedLight(lamp, clock)
    lamp.is_broken = True
    with pytest.raises(HardwareError, match="fell off"):
        light.show(Solid(RED))
    lamp.is_broken = False

    light.show(Solid(RED))

    assert lamp.glows[-1] == Glow(1.0, RED)


def test_a_lamp_that_fails_while_it_blinks_is_logged_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    clock, lamp = SimulatedClock(), Lamp()
    light = PlayedLight(lamp, clock)
    light.show(Blink(500, 500, RED))
    lamp.is_broken = True
    with caplog.at_level(logging.WARNING):
        clock.pass_time(60)

    assert clock.rung == 1
    assert "the light failed: the lamp fell off" in caplog.text


def test_a_lamp_that_fails_when_closed_is_let_go_all_the_same() -> None:
    lamp = Lamp()
    light = PlayedLight(lamp, SimulatedClock())
    lamp.is_broken = True
    with pytest.raises(HardwareError):
        light.close()

    assert lamp.is_closed


def test_an_alarm_that_rings_after_the_end_draws_nothing() -> None:
    clock, lamp = SimulatedClock(), Lamp()
    light = PlayedLight(lamp, clock)
    light.show(Blink(500, 500, RED))
    light.close()
    drawn = len(lamp.glows)

    light._wake()

    assert len(lamp.glows) == drawn


def test_one_of_several_lights_that_fails_does_not_keep_it_from_the_others() -> None:
    clock, broken = SimulatedClock(), Lamp()
    failing, working = PlayedLight(broken, clock), SimulatedLight(clock)
    both = Lights([failing, working])
    broken.is_broken = True
    with pytest.raises(HardwareError, match="fell off"):
        both.show(Solid(RED))

    assert working.glow_at(0) == Glow(1.0, RED)

    with pytest.raises(HardwareError, match="fell off"):
        both.close()

    assert working.glow_at(0) == OUT
