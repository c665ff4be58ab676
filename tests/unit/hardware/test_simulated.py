from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware.button import Gesture
from hardware.led import CYAN, OUT, RED, WHITE, Blink, Glow, Off, Once, Solid
from hardware.simulated import ShownPattern, SimulatedButton, SimulatedClock, SimulatedLight

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_simulated_light_keeps_its_patterns_and_their_moments() -> None:
    clock = SimulatedClock()
    light = SimulatedLight(clock)
    clock.pass_time(2)
    light.show(Once(Solid(CYAN), 5000))
    clock.pass_time(2)
    light.show(Once(Solid(CYAN), 5000))
    clock.pass_time(8)
    light.show(Once(Solid(CYAN), 5000))

    assert light.shown == [
        ShownPattern(Off(), 0),
        ShownPattern(Once(Solid(CYAN), 5000), 2),
        ShownPattern(Once(Solid(CYAN), 5000), 12),
    ]


def test_a_simulated_light_says_what_could_be_seen_at_any_moment() -> None:
    clock = SimulatedClock(10)
    light = SimulatedLight(clock, brightness=0.5)
    light.show(Blink(1000, 1000, RED))
    clock.pass_time(10)
    light.close()

    assert light.glow_at(9) == OUT
    assert light.glow_at(10.5) == Glow(0.5, RED)
    assert light.glow_at(11.5).brightness == 0
    assert light.glow_at(20) == OUT


def test_a_simulated_light_can_be_all_white() -> None:
    light = SimulatedLight(SimulatedClock(), is_white=True)
    light.show(Solid(RED))

    assert light.glow_at(0) == Glow(1.0, WHITE)


def test_a_script_presses_the_button() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.play([(0.5, True), (0.7, False), (2, True), (8, False)])
    clock.pass_time(10)

    assert told == [Gesture.TAP, Gesture.HELD_5S, Gesture.HOLD_5S]


def test_a_tap_after_a_hold_waits_for_its_end_as_a_hand_does() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.hold(5.2)
    button.hold(0.3)
    clock.pass_time(5.5)
    is_held = told[:]
    clock.pass_time(0.5)

    assert is_held == [Gesture.HELD_5S, Gesture.HOLD_5S]
    assert told == [*is_held, Gesture.TAP]


def test_a_key_while_a_script_holds_is_one_tap_after_it_however_long_it_repeats() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.hold(5.2)
    for _ in range(20):
        button.press_by_key()
        clock.pass_time(0.1)
    clock.pass_time(5)

    assert told == [Gesture.HELD_5S, Gesture.HOLD_5S, Gesture.TAP]


def test_a_script_ends_with_the_button() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.hold(6)
    clock.pass_time(1)
    button.close()
    clock.pass_time(10)

    assert told == []


def test_a_key_that_is_struck_once_is_a_tap() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.press_by_key()
    clock.pass_time(2)

    assert told == [Gesture.TAP]


def test_a_key_that_repeats_for_six_seconds_is_a_hold() -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    button.press_by_key()
    clock.pass_time(0.5)
    for _ in range(180):
        button.press_by_key()
        clock.pass_time(0.03)
    clock.pass_time(2)

    assert told == [Gesture.HELD_5S, Gesture.HOLD_5S]


@pytest.mark.parametrize(
    ("press", "gestures"),
    [
        (lambda button: button.hold(0.3), [Gesture.TAP]),
        (lambda button: button.hold(5.2), [Gesture.HELD_5S, Gesture.HOLD_5S]),
        (lambda button: button.press_by_key(), [Gesture.TAP]),
    ],
    ids=["a tap", "a hold", "a key"],
)
def test_a_press_is_as_long_as_it_was_meant_however_late_the_machine_comes_to_it(
    press: Callable[[SimulatedButton], object], gestures: list[Gesture]
) -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    button.listen(told.append, lambda _: None)
    press(button)
    clock._now += 12  # a busy machine: on it a tap was a hold, or nothing
    clock.pass_time(0)

    assert told == gestures


def test_nobody_is_woken_while_the_button_rests() -> None:
    clock = SimulatedClock()
    SimulatedButton(clock).listen(lambda _: None, lambda _: None)
    clock.pass_time(86_400)

    assert clock.rung == 0


def test_a_closed_clock_forgets_its_alarms() -> None:
    clock, rung = SimulatedClock(), list[str]()
    clock.alarm(lambda: rung.append("rung")).set(1)
    clock.close()
    clock.pass_time(2)

    assert rung == []
