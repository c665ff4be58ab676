from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from hardware.button import Gesture
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.rpi_gpio import PinOutputs, SampledButton
from hardware.simulated import SimulatedClock
from tests.stand_ins.fixtures import importable, not_installed

if TYPE_CHECKING:
    from pathlib import Path

    from hardware.button import Gesture as Told


@pytest.fixture
def gpio(stand_ins: None) -> Any:  # noqa: ARG001 - the stand-ins are to be there
    return import_module("RPi.GPIO")


def test_outputs_begin_dark_and_end_as_inputs(gpio: Any) -> None:
    outputs = PinOutputs([22, 23], is_active_low=True)

    assert [gpio.bench.latches[pin] for pin in (22, 23)] == [1, 1]

    outputs.write([True, False])

    assert [gpio.bench.latches[pin] for pin in (22, 23)] == [0, 1]

    outputs.close()

    assert gpio.bench.latches == {22: 1, 23: 1}
    assert gpio.bench.directions == {}


def test_closing_one_part_leaves_the_pins_of_the_others(gpio: Any) -> None:
    PinOutputs([22])
    PinOutputs([23]).close()

    assert list(gpio.bench.directions) == [22]
    assert gpio.bench.mode == gpio.BCM


@pytest.mark.parametrize(("pull", "constant"), [("up", "PUD_UP"), ("down", "PUD_DOWN"), ("off", "PUD_OFF")])
def test_the_button_gets_the_pull_that_is_asked_for(gpio: Any, pull: str, constant: str) -> None:
    SampledButton(17, pull=pull, is_active_low=True, clock=SimulatedClock())

    assert gpio.bench.pulls == {17: getattr(gpio, constant)}


def test_the_button_is_sampled_20_times_a_second(gpio: Any) -> None:
    clock = SimulatedClock()
    SampledButton(17, pull="up", is_active_low=True, clock=clock).listen(lambda _: None, lambda _: None)
    gpio.bench.reads = 0
    clock.pass_time(10.01)

    assert gpio.bench.reads == clock.rung == 200


def test_one_sample_alone_settles_nothing(gpio: Any) -> None:
    clock, told = SimulatedClock(), list[Gesture]()
    SampledButton(17, pull="up", is_active_low=True, clock=clock).listen(told.append, lambda _: None)
    clock.pass_time(0.03)
    gpio.bench.driven[17] = 0
    clock.pass_time(0.04)
    gpio.bench.driven[17] = 1
    clock.pass_time(1)

    assert told == []


def test_a_button_that_cannot_be_read_any_more_is_reported_once(gpio: Any) -> None:
    clock, told, failed = SimulatedClock(), list["Told"](), list[HardwareError]()
    SampledButton(17, pull="up", is_active_low=True, clock=clock).listen(told.append, failed.append)
    gpio.bench.broken.add(17)
    clock.pass_time(5)

    assert [str(error) for error in failed] == ["cannot use GPIO17: unknown handle"]
    assert told == []


def test_a_sample_that_comes_after_the_end_is_not_taken(gpio: Any) -> None:
    clock, failed = SimulatedClock(), list[HardwareError]()
    button = SampledButton(17, pull="up", is_active_low=True, clock=clock)
    button.listen(lambda _: None, failed.append)
    button.close()
    reads = gpio.bench.reads

    button._sample()

    assert gpio.bench.reads == reads
    assert failed == []


def test_a_pin_that_another_program_uses_is_busy(gpio: Any) -> None:
    gpio.bench.busy.add(27)
    with pytest.raises(PartBusy, match="GPIO27 is in use") as busy:
        PinOutputs([27])

    assert "gpioinfo" in busy.value.hint


def test_an_output_that_was_taken_from_us_is_reported(gpio: Any) -> None:
    outputs = PinOutputs([27])
    gpio.cleanup([27])
    with pytest.raises(HardwareError, match="cannot use GPIO27"):
        outputs.write([True])


def test_a_chip_that_this_user_may_not_open_names_the_group(gpio: Any) -> None:
    gpio.bench.is_chip_closed = True
    with pytest.raises(PartMissing, match="can not open gpiochip") as missing:
        PinOutputs([27])

    assert "group gpio" in missing.value.hint


def test_board_numbers_chosen_by_other_code_are_not_fought_over(gpio: Any) -> None:
    gpio.setmode(gpio.BOARD)
    with pytest.raises(PartBusy, match="their place on the board"):
        PinOutputs([27])


def test_warnings_of_the_library_are_off(gpio: Any) -> None:
    SampledButton(3, pull="up", is_active_low=True, clock=SimulatedClock())

    assert not gpio.bench.are_warnings_on


def test_without_the_library_both_ways_are_named() -> None:
    with not_installed(), pytest.raises(PartMissing, match=r"RPi\.GPIO is not installed") as missing:
        PinOutputs([27])

    assert (missing.value.library, missing.value.hint) == ("rpi-lgpio", 'Or set gpio = "gpiod".')


def test_without_a_revision_in_the_device_tree_both_ways_out_are_named() -> None:
    with (
        importable("not_a_pi"),
        pytest.raises(PartMissing, match="can only be run on a Raspberry Pi") as missing,
    ):
        PinOutputs([27])

    assert 'gpio = "gpiod"' in missing.value.hint
    assert "RPI_LGPIO_REVISION" in missing.value.hint


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import json as lgpio; lgpio.SET_BIAS_PULL_UP", "'json' has no attribute 'SET_BIAS_PULL_UP'"),
        ("int('a Pi', base=16)", "invalid literal for int() with base 16: 'a Pi'"),
        ("import lgpio_of_another_python", "No module named 'lgpio_of_another_python'"),
    ],
    ids=["pip's empty lgpio", "RPI_LGPIO_REVISION is no number", "no lgpio"],
)
def test_a_module_that_is_not_whole_is_a_part_that_is_missing(
    tmp_path: Path, program: str, reason: str
) -> None:
    (tmp_path / "RPi").mkdir()
    (tmp_path / "RPi" / "GPIO.py").write_text(program)
    with importable(str(tmp_path)), pytest.raises(PartMissing, match=re.escape(reason)) as missing:
        PinOutputs([27])

    assert 'gpio = "gpiod"' in missing.value.hint


def test_without_lgpio_the_errors_of_the_original_are_known_too() -> None:
    with importable("original"), pytest.raises(PartMissing, match="No access to /dev/mem"):
        PinOutputs([27])
