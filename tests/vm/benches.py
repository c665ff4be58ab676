"""Lights and buttons on a real kernel: lines of a gpio-sim chip, and LEDs of the kernel's LED class that uleds makes.

Here time passes by itself, and what is seen is what the kernel shows. Source: Documentation/admin-guide/gpio/gpio-sim.rst,
Documentation/leds/uleds.rst.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from hardware.clock import PartsClock
from hardware.gpiod_lines import EdgeButton, LineOutputs
from hardware.kernel_led import KernelLed
from hardware.led import DigitalLamp, PlayedLight
from hardware.plans import KERNEL_LEDS
from hardware.rpi_gpio import PinOutputs, SampledButton

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hardware.button import Button
    from hardware.led import Light, Outputs
    from tests.contract.hardware.benches import ButtonBench, LightBench

STAND_INS = ()
CHIP = "/dev/gpiochip0"
CLOCK = PartsClock()
LINES = Path("/sys/devices/platform/gpio-sim.0/gpiochip0")
_SEEN = 0.2
"""The share of its brightness from which an LED is taken to be lit: while it fades it is all but dark for a moment only."""

_numbers = count()


def is_high(line: int) -> bool:
    """Measure a line."""
    return (LINES / f"sim_gpio{line}" / "value").read_text().strip() == "1"


def pull(line: int, *, up: bool) -> None:
    """Connect a line to 3.3 V or to ground through a resistor; an output is stronger."""
    (LINES / f"sim_gpio{line}" / "pull").write_text("pull-up" if up else "pull-down")


class MadeLed:
    """An LED of the kernel's LED class; what the kernel sends to it comes here.

    Args:
        most: ``max_brightness``.
    """

    def __init__(self, most: int) -> None:
        self.name = f"status{next(_numbers)}"
        self._file = os.open("/dev/uleds", os.O_RDWR | os.O_NONBLOCK)
        os.write(self._file, struct.pack("64si", self.name.encode(), most))
        self._brightness = 0

    def brightness(self) -> int:
        """Return the last brightness that was sent."""
        with suppress(BlockingIOError):  # nothing new
            (self._brightness,) = struct.unpack("i", os.read(self._file, 4))
        return self._brightness


class _Light:
    def __init__(self, light: Light, look: Callable[[], bool]) -> None:
        self.light = light
        self.is_lit = look
        self.pass_time = time.sleep


class _Button:
    def __init__(self, button: Button, line: int, *, is_active_low: bool) -> None:
        self.button = button
        self._line = line
        self._is_active_low = is_active_low
        self.pass_time = time.sleep

    def press(self) -> None:
        pull(self._line, up=not self._is_active_low)

    def release(self) -> None:
        pull(self._line, up=self._is_active_low)


def _led(
    open_outputs: Callable[[Sequence[int], bool], Outputs], *, lines: Sequence[int], is_active_low: bool
) -> Callable[[Path], LightBench]:
    def build(_: Path) -> LightBench:
        for line in lines:
            pull(line, up=is_active_low)  # through the LED
        lamp = DigitalLamp(open_outputs(lines, is_active_low), is_rgb=len(lines) > 1)
        return _Light(PlayedLight(lamp, CLOCK), lambda: any(is_high(line) != is_active_low for line in lines))

    return build


def _rpi(lines: Sequence[int], is_active_low: bool) -> Outputs:
    return PinOutputs(lines, is_active_low=is_active_low)


def _gpiod(lines: Sequence[int], is_active_low: bool) -> Outputs:
    return LineOutputs(lines, is_active_low=is_active_low, chip=CHIP)


def _kernel(most: int) -> Callable[[Path], LightBench]:
    def build(_: Path) -> LightBench:
        made = MadeLed(most)
        return _Light(KernelLed(made.name, CLOCK, root=KERNEL_LEDS), lambda: made.brightness() > most * _SEEN)

    return build


def _rpi_button(resistor: str) -> Callable[[Path], ButtonBench]:
    def build(_: Path) -> ButtonBench:
        is_active_low = resistor == "up"
        button = SampledButton(17, pull=resistor, is_active_low=is_active_low, clock=CLOCK)
        return _Button(button, 17, is_active_low=is_active_low)

    return build


def _gpiod_button(resistor: str) -> Callable[[Path], ButtonBench]:
    def build(_: Path) -> ButtonBench:
        is_active_low = resistor == "up"
        button = EdgeButton("GPIO17", pull=resistor, is_active_low=is_active_low, chip=CHIP, clock=CLOCK)
        return _Button(button, 17, is_active_low=is_active_low)

    return build


LIGHTS: Mapping[str, Callable[[Path], LightBench]] = {
    "rpi-lgpio-led": _led(_rpi, lines=[27], is_active_low=False),
    "rpi-lgpio-common-anode": _led(_rpi, lines=[22, 23, 24], is_active_low=True),
    "gpiod-led": _led(_gpiod, lines=[27], is_active_low=False),
    "gpiod-common-anode": _led(_gpiod, lines=[22, 23, 24], is_active_low=True),
    "kernel-dimmable": _kernel(255),
    "kernel-on-off": _kernel(1),
}

BUTTONS: Mapping[str, Callable[[Path], ButtonBench]] = {
    "rpi-lgpio-pull-up": _rpi_button("up"),
    "rpi-lgpio-pull-down": _rpi_button("down"),
    "gpiod-pull-up": _gpiod_button("up"),
    "gpiod-pull-down": _gpiod_button("down"),
}
