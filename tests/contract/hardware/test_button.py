"""What every button tells, however it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware.button import Gesture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hardware.errors import HardwareError
    from tests.contract.hardware.benches import ButtonBench

HELD_LONG = [Gesture.HELD_5S, Gesture.HELD_10S]
CHATTER = (0.003, 0.004, 0.001, 0.006, 0.002, 0.003)


class Finger:
    """Presses and hears what is told; taking time as a person does."""

    def __init__(self, bench: ButtonBench) -> None:
        self.bench = bench
        self.told: list[Gesture] = []
        self.failed: list[HardwareError] = []

    def listen(self) -> None:
        self.bench.button.listen(self.told.append, self.failed.append)

    def press_for(self, seconds: float) -> list[Gesture]:
        self.bench.press()
        self.bench.pass_time(seconds)
        return self.let_go()

    def let_go(self) -> list[Gesture]:
        self.bench.release()
        self.bench.pass_time(0.3)
        told, self.told[:] = list(self.told), []
        return told

    def chatter(self, first: Callable[[], None], then: Callable[[], None]) -> None:
        for place, seconds in enumerate(CHATTER):
            (then if place % 2 else first)()
            self.bench.pass_time(seconds)
        first()


@pytest.fixture
def finger(button_bench: ButtonBench) -> Iterator[Finger]:
    finger = Finger(button_bench)
    yield finger
    button_bench.button.close()
    assert finger.failed == []


@pytest.mark.parametrize("seconds", [0.13, 0.4, 1.4])
def test_a_short_press_is_a_tap(finger: Finger, seconds: float) -> None:
    finger.listen()

    assert finger.press_for(seconds) == [Gesture.TAP]


def test_each_press_is_a_tap_of_its_own(finger: Finger) -> None:
    finger.listen()

    assert finger.press_for(0.2) + finger.press_for(0.2) == [Gesture.TAP, Gesture.TAP]


def test_a_touch_of_15_ms_is_nothing(finger: Finger) -> None:
    finger.listen()

    assert finger.press_for(0.015) == []


@pytest.mark.parametrize("seconds", [1.7, 4.8])
def test_a_press_between_tap_and_hold_is_nothing(finger: Finger, seconds: float) -> None:
    finger.listen()

    assert finger.press_for(seconds) == []


def test_a_hold_of_5_seconds_is_told_while_held_and_again_when_let_go(finger: Finger) -> None:
    finger.listen()
    finger.bench.press()
    finger.bench.pass_time(5.3)

    assert finger.told == [Gesture.HELD_5S]
    assert finger.let_go() == [Gesture.HELD_5S, Gesture.HOLD_5S]


def test_a_hold_of_10_seconds_is_told_at_both_thresholds(finger: Finger) -> None:
    finger.listen()
    finger.bench.press()
    finger.bench.pass_time(10.3)

    assert finger.told == HELD_LONG
    assert finger.let_go() == [*HELD_LONG, Gesture.HOLD_10S]


def test_a_button_held_for_30_seconds_is_stuck_until_it_is_let_go(finger: Finger) -> None:
    finger.listen()
    finger.bench.press()
    finger.bench.pass_time(30.3)

    assert finger.told == [*HELD_LONG, Gesture.STUCK]
    assert finger.let_go() == [*HELD_LONG, Gesture.STUCK, Gesture.FREED]
    assert finger.press_for(0.3) == [Gesture.TAP]


def test_a_button_that_was_pressed_at_power_up_is_ignored_until_it_is_let_go(finger: Finger) -> None:
    finger.bench.press()
    finger.bench.pass_time(0.1)
    finger.listen()
    finger.bench.pass_time(12)

    assert finger.let_go() == []
    assert finger.press_for(0.3) == [Gesture.TAP]


def test_a_tap_whose_contacts_chatter_is_one_tap(finger: Finger) -> None:
    finger.listen()
    finger.chatter(finger.bench.press, finger.bench.release)
    finger.bench.pass_time(0.2)
    finger.chatter(finger.bench.release, finger.bench.press)

    assert finger.let_go() == [Gesture.TAP]


def test_a_hold_of_10_seconds_whose_contacts_chatter_is_one_hold(finger: Finger) -> None:
    finger.listen()
    finger.chatter(finger.bench.press, finger.bench.release)
    finger.bench.pass_time(7)
    finger.chatter(finger.bench.press, finger.bench.release)
    finger.bench.pass_time(3.3)
    finger.chatter(finger.bench.release, finger.bench.press)

    assert finger.let_go() == [*HELD_LONG, Gesture.HOLD_10S]


def test_a_closed_button_tells_nothing(button_bench: ButtonBench) -> None:
    finger = Finger(button_bench)
    finger.listen()
    button_bench.press()
    button_bench.pass_time(0.3)

    button_bench.button.close()

    assert finger.let_go() == []
    assert finger.failed == []


def test_a_button_nobody_listens_to_can_be_closed(button_bench: ButtonBench) -> None:
    button_bench.button.close()

    button_bench.press()
