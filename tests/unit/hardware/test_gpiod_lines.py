from __future__ import annotations

from errno import EINVAL, ENXIO, EOPNOTSUPP
from importlib import import_module
from os import strerror
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from hardware.button import Gesture
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.gpiod_lines import EdgeButton, LineOutputs
from hardware.simulated import SimulatedClock
from tests.stand_ins.fixtures import importable, not_installed
from tests.waiting import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

CHIP = "/dev/gpiochip0"


@pytest.fixture
def gpiod(stand_ins: None) -> Any:  # noqa: ARG001 - the stand-ins are to be there
    return import_module("gpiod")


@pytest.fixture
def button(gpiod: Any) -> Iterator[EdgeButton]:  # noqa: ARG001 - the stand-ins are to be there
    button = EdgeButton("GPIO17", pull="up", is_active_low=True, chip=CHIP, clock=SimulatedClock())
    yield button
    button.close()


def test_outputs_begin_dark_and_are_given_back(gpiod: Any) -> None:
    outputs = LineOutputs([22, "GPIO23"], is_active_low=True, chip=CHIP)

    assert gpiod.bench.latches == {22: True, 23: True}

    outputs.write([True, False])

    assert gpiod.bench.latches == {22: False, 23: True}

    outputs.close()

    assert gpiod.bench.latches == {22: True, 23: True}
    assert gpiod.bench.settings == {}


def test_the_line_is_asked_for_with_edges_pull_and_the_kernels_debounce(
    gpiod: Any, button: EdgeButton
) -> None:
    settings = gpiod.bench.settings[17]

    assert settings.edge_detection is gpiod.line.Edge.BOTH
    assert settings.bias is gpiod.line.Bias.PULL_UP
    assert settings.active_low
    assert settings.debounce_period.total_seconds() == 0.005
    assert settings.event_clock is gpiod.line.Clock.MONOTONIC
    assert gpiod.bench.consumers == {17: "device-auth"}
    assert button._thread is None


@pytest.mark.parametrize("answer", [EINVAL, EOPNOTSUPP])
def test_a_chip_that_cannot_debounce_is_asked_without_and_bounces_are_waited_out(
    gpiod: Any, answer: int
) -> None:
    # Seen with a CP2112: the kernel's own debounce has no thread to nest in that of an expander's interrupt.
    gpiod.bench.no_debounce = answer
    clock, told = SimulatedClock(), list[Gesture]()
    button = EdgeButton(17, pull="up", is_active_low=True, chip=CHIP, clock=clock)
    assert not gpiod.bench.settings[17].debounce_period
    button.listen(told.append, lambda _: None)
    for high, at in ((False, 1.0), (False, 1.2), (True, 1.4), (False, 2.0), (False, 4.0), (True, 8.0)):
        for bounce in range(9):  # of 2 ms, at the ends of a press and within it
            clock.pass_time(at + bounce / 500 - clock.now())
            gpiod.bench.drive(17, high=high != bool(bounce % 2), at=clock.now())
    clock.pass_time(1)
    button.close()

    assert told == [Gesture.TAP, Gesture.HELD_5S, Gesture.HOLD_5S]


@pytest.mark.parametrize("answer", [EINVAL, ENXIO, EOPNOTSUPP])
def test_a_line_that_reports_no_edges_is_told_as_what_it_is(gpiod: Any, answer: int) -> None:
    gpiod.bench.no_edges = answer
    with pytest.raises(PartMissing, match=f"cannot use line 17 of {CHIP}: {strerror(answer)}") as missing:
        EdgeButton(17, pull="up", is_active_low=True, chip=CHIP, clock=SimulatedClock())

    assert "gpiomon" in missing.value.hint


def test_nobody_is_woken_while_the_button_rests(gpiod: Any) -> None:
    clock = SimulatedClock()
    button = EdgeButton(17, pull="off", is_active_low=False, chip=CHIP, clock=clock)
    button.listen(lambda _: None, lambda _: None)
    clock.pass_time(86_400)
    button.close()

    assert clock.rung == 0
    assert gpiod.bench.settings == {}


def test_the_kernels_stamps_count_and_not_when_we_were_woken(gpiod: Any) -> None:
    clock, told = SimulatedClock(100), list[Gesture]()
    button = EdgeButton(17, pull="up", is_active_low=True, chip=CHIP, clock=clock)
    button.listen(told.append, lambda _: None)
    gpiod.bench.drive(17, high=False, at=100.0)
    gpiod.bench.drive(17, high=True, at=106.0)
    gpiod.bench.drive(17, high=True, at=106.5)
    button.close()

    assert told == [Gesture.HELD_5S, Gesture.HOLD_5S]


def test_a_button_can_be_closed_from_its_own_thread(gpiod: Any) -> None:
    clock, closed = SimulatedClock(), Event()
    button = EdgeButton(17, pull="up", is_active_low=True, chip=CHIP, clock=clock)

    def close(_: Gesture) -> None:
        button.close()
        closed.set()

    button.listen(close, lambda _: None)
    thread = button._thread
    assert thread is not None
    for seconds, high in ((0, False), (0.2, True), (0.4, True)):
        gpiod.bench.drive(17, high=high, at=seconds, waits=False)

    assert closed.wait(LONG)
    thread.join(LONG)
    assert not thread.is_alive()


def test_a_chip_that_is_unplugged_is_reported_once(gpiod: Any, button: EdgeButton) -> None:
    failed, heard = list[HardwareError](), Event()

    def fail(error: HardwareError) -> None:
        failed.append(error)
        heard.set()

    button.listen(lambda _: None, fail)
    gpiod.bench.is_unplugged = True
    gpiod.bench.wake(17)

    assert heard.wait(LONG)
    assert "cannot use line GPIO17 of /dev/gpiochip0: No such device" in str(failed[0])


def test_a_line_that_another_program_uses_is_busy(gpiod: Any) -> None:
    gpiod.bench.busy.add(27)
    with pytest.raises(PartBusy, match="line 27 of /dev/gpiochip0 is in use") as busy:
        LineOutputs([27], is_active_low=False, chip=CHIP)

    assert "gpioinfo" in busy.value.hint


@pytest.mark.usefixtures("gpiod")
@pytest.mark.parametrize(
    ("line", "chip", "hint"),
    [("BUTTON", CHIP, "gpioinfo"), (99, CHIP, "gpioinfo"), (17, "/dev/gpiochip9", "gpiodetect")],
)
def test_a_chip_or_a_line_that_is_not_there_is_named(line: int | str, chip: str, hint: str) -> None:
    with pytest.raises(PartMissing, match=f"there is no line {line} of {chip}") as missing:
        LineOutputs([line], is_active_low=False, chip=chip)

    assert hint in missing.value.hint


def test_a_chip_that_this_user_may_not_open_names_the_group(gpiod: Any) -> None:
    gpiod.bench.is_closed_to_us = True
    with pytest.raises(PartMissing, match="no permission to open") as missing:
        LineOutputs([27], is_active_low=False, chip=CHIP)

    assert "group gpio" in missing.value.hint


def test_version_1_of_bookworm_is_refused_with_both_ways_named() -> None:
    with importable("gpiod_1"), pytest.raises(PartMissing, match="version 1") as missing:
        LineOutputs([27], is_active_low=False, chip=CHIP)

    assert missing.value.library == "gpiod"
    assert 'gpio = "rpi-gpio"' in missing.value.hint


def test_without_the_library_both_ways_are_named() -> None:
    with not_installed(), pytest.raises(PartMissing, match="gpiod is not installed") as missing:
        EdgeButton(17, pull="up", is_active_low=True, chip=CHIP, clock=SimulatedClock())

    assert missing.value.library == "gpiod"
    assert 'gpio = "rpi-gpio"' in missing.value.hint
