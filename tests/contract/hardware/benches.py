"""Lights and buttons wired up on a bench, each back end the same way, so that one set of tests fits all.

Another set of benches (a machine with a real kernel's chip) is a module with the same three names, STAND_INS (then empty),
LIGHTS and BUTTONS, named by the environment variable DEVICE_AUTH_BENCHES. There ``pass_time`` waits; here it turns a clock.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from hardware.apa102 import PinLeds, SpiLeds
from hardware.gpiod_lines import EdgeButton, LineOutputs
from hardware.kernel_led import KernelLed
from hardware.led import DigitalLamp, Lights, PlayedLight
from hardware.rpi_gpio import PinOutputs, SampledButton
from hardware.simulated import SimulatedButton, SimulatedClock, SimulatedLight
from tests.stand_ins.kernel_leds import KernelLedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hardware.button import Button
    from hardware.led import Light

STAND_INS = ("modules",)
CHIP = "/dev/gpiochip0"


class LightBench(Protocol):
    """One light, and an eye on it."""

    light: Light

    def is_lit(self) -> bool:
        """Whether a person sees light now."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        ...


class ButtonBench(Protocol):
    """One button that is not pressed, and a finger on it."""

    button: Button

    def press(self) -> None:
        """Close the contacts."""
        ...

    def release(self) -> None:
        """Open the contacts."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        ...


class _Light:
    def __init__(self, clock: SimulatedClock, light: Light, look: Callable[[], bool]) -> None:
        self.light = light
        self.is_lit = look
        self.pass_time = clock.pass_time


class _Button:
    def __init__(self, clock: SimulatedClock, button: Button, touch: Callable[[bool], None]) -> None:
        self.button = button
        self._touch = touch
        self.pass_time = clock.pass_time

    def press(self) -> None:
        self._touch(True)

    def release(self) -> None:
        self._touch(False)


def _gpio() -> Any:
    return import_module("RPi.GPIO").bench


def _gpiod() -> Any:
    return import_module("gpiod").bench


def _spi() -> Any:
    return import_module("spidev").bench


def _simulated_light(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = SimulatedLight(clock)
    return _Light(clock, light, lambda: light.glow_at(clock.now()).brightness > 0)


def _rpi_led(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = PlayedLight(DigitalLamp(PinOutputs([27]), is_rgb=False), clock)
    return _Light(clock, light, lambda: _gpio().latches[27] == 1)


def _rpi_anode(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = PlayedLight(DigitalLamp(PinOutputs([22, 23, 24], is_active_low=True), is_rgb=True), clock)
    return _Light(clock, light, lambda: any(_gpio().latches[pin] == 0 for pin in (22, 23, 24)))


def _gpiod_led(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = PlayedLight(
        DigitalLamp(LineOutputs(["GPIO27"], is_active_low=False, chip=CHIP), is_rgb=False), clock
    )
    return _Light(clock, light, lambda: bool(_gpiod().latches[27]))


def _gpiod_anode(_: Path) -> LightBench:
    clock = SimulatedClock()
    outputs = LineOutputs([22, 23, 24], is_active_low=True, chip=CHIP)
    light = PlayedLight(DigitalLamp(outputs, is_rgb=True), clock)
    return _Light(clock, light, lambda: not all(_gpiod().latches[offset] for offset in (22, 23, 24)))


def _kernel(most: int) -> Callable[[Path], LightBench]:
    def build(folder: Path) -> LightBench:
        clock = SimulatedClock()
        files = KernelLedFiles(folder, "status", clock.now, most=most)
        return _Light(clock, KernelLed("status", clock, root=files.root), lambda: files.brightness() > 0)

    return build


def _spi_leds(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = PlayedLight(SpiLeds(0, 1, 3), clock)
    return _Light(clock, light, lambda: any(_spi().sent[-1][5:8]))


def _pin_leds(_: Path) -> LightBench:
    clock = SimulatedClock()
    light = PlayedLight(PinLeds(PinOutputs([5, 6]), 3), clock)
    return _Light(clock, light, lambda: any(clocked_in(_gpio().written)[-1][5:8]))


def _both(folder: Path) -> LightBench:
    one, other = _rpi_led(folder), _simulated_light(folder)

    def pass_time(seconds: float) -> None:
        one.pass_time(seconds)
        other.pass_time(seconds)

    bench = _Light(
        SimulatedClock(), Lights([one.light, other.light]), lambda: one.is_lit() and other.is_lit()
    )
    bench.pass_time = pass_time  # two clocks are turned together
    return bench


def clocked_in(written: list[tuple[int, ...]]) -> list[bytes]:
    """Read data and clock as a chain of 3 APA102 LEDs does: a bit at every rise of the clock, frames of 21 bytes."""
    bits = [
        data
        for (_, before), (data, after) in zip([(0, 0), *written], written, strict=False)
        if after and not before
    ]
    octets = bytes(int("".join(str(bit) for bit in bits[at : at + 8]), 2) for at in range(0, len(bits), 8))
    return [octets[at : at + 21] for at in range(0, len(octets), 21)]


def _simulated_button(_: Path) -> ButtonBench:
    clock = SimulatedClock()
    button = SimulatedButton(clock)
    return _Button(clock, button, lambda is_pressed: button.press() if is_pressed else button.release())


def _rpi_button(pull: str) -> Callable[[Path], ButtonBench]:
    def build(_: Path) -> ButtonBench:
        clock = SimulatedClock()
        button = SampledButton(17, pull=pull, is_active_low=pull == "up", clock=clock)
        return _Button(
            clock, button, lambda is_pressed: _gpio().driven.update({17: is_pressed == (pull == "down")})
        )

    return build


def _gpiod_button(pull: str) -> Callable[[Path], ButtonBench]:
    def build(_: Path) -> ButtonBench:
        clock = SimulatedClock()
        button = EdgeButton("GPIO17", pull=pull, is_active_low=pull == "up", chip=CHIP, clock=clock)

        def touch(is_pressed: bool) -> None:
            is_watched = button._thread is not None
            _gpiod().drive(17, high=is_pressed == (pull == "down"), at=clock.now(), waits=is_watched)

        return _Button(clock, button, touch)

    return build


LIGHTS: Mapping[str, Callable[[Path], LightBench]] = {
    "simulated": _simulated_light,
    "rpi-gpio-led": _rpi_led,
    "rpi-gpio-common-anode": _rpi_anode,
    "gpiod-led": _gpiod_led,
    "gpiod-common-anode": _gpiod_anode,
    "kernel-dimmable": _kernel(255),
    "kernel-on-off": _kernel(1),
    "apa102-spi": _spi_leds,
    "apa102-pins": _pin_leds,
    "two-at-once": _both,
}

BUTTONS: Mapping[str, Callable[[Path], ButtonBench]] = {
    "simulated": _simulated_button,
    "rpi-gpio-pull-up": _rpi_button("up"),
    "rpi-gpio-pull-down": _rpi_button("down"),
    "gpiod-pull-up": _gpiod_button("up"),
    "gpiod-pull-down": _gpiod_button("down"),
}
