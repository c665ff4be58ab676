"""Stands in for RPi.GPIO as rpi-lgpio 0.6 provides it: names, constants, checks and errors, on pins made of numbers.

``bench`` is the table the pins lie on: tests press and look there. What our code must never use (edge detection and
PWM) is here and says so loudly.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NoReturn

import lgpio

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = "0.7.2"
UNKNOWN = -1
BOARD = 10
BCM = 11
PUD_OFF = 20
PUD_DOWN = 21
PUD_UP = 22
OUT = 0
IN = 1
LOW = 0
HIGH = 1
RISING = 31
FALLING = 32
BOTH = 33
SERIAL = 40
SPI = 41
I2C = 42
HARD_PWM = 43


class Bench:
    """The pins, who has them, and what is to go wrong."""

    def __init__(self) -> None:
        self.mode = UNKNOWN
        self.are_warnings_on = True
        self.directions: dict[int, int] = {}
        self.pulls: dict[int, int] = {}
        self.driven: dict[int, int] = {}
        self.latches: dict[int, int] = {}
        self.written: list[tuple[int, ...]] = []
        self.reads = 0
        self.busy: set[int] = set()
        self.is_chip_closed = False
        self.broken: set[int] = set()

    def level(self, pin: int) -> int:
        """What a voltmeter would show."""
        if self.directions.get(pin) == OUT:
            return self.latches[pin]
        if pin in self.driven:
            return self.driven[pin]
        return HIGH if self.pulls.get(pin) == PUD_UP else LOW


bench = Bench()


def setmode(new_mode: int) -> None:
    if bench.mode not in (UNKNOWN, new_mode):
        raise ValueError("A different mode has already been set!")
    if new_mode not in (BOARD, BCM):
        raise ValueError("An invalid mode was passed to setmode()")
    if bench.is_chip_closed:
        raise lgpio.error("can not open gpiochip")
    bench.mode = new_mode


def getmode() -> int | None:
    return None if bench.mode == UNKNOWN else bench.mode


def setwarnings(value: bool) -> None:
    bench.are_warnings_on = bool(value)


def setup(
    chanlist: int | Iterable[int], direction: int, pull_up_down: int = PUD_OFF, initial: int | None = None
) -> None:
    if direction == OUT:
        if pull_up_down != PUD_OFF:
            raise ValueError("pull_up_down parameter is not valid for outputs")
    elif direction == IN:
        if initial is not None:
            raise ValueError("initial parameter is not valid for inputs")
        if pull_up_down not in (PUD_UP, PUD_DOWN, PUD_OFF):
            raise ValueError("Invalid value for pull_up_down - should be either PUD_OFF, PUD_UP or PUD_DOWN")
    else:
        raise ValueError("An invalid direction was passed to setup()")
    for pin in _pins(chanlist):
        if bench.are_warnings_on and pin in (2, 3) and pull_up_down in (PUD_UP, PUD_DOWN):
            warnings.warn("A physical pull up resistor is fitted on this channel!", stacklevel=2)
        if pin in bench.busy:
            raise lgpio.error("GPIO busy")
        if direction == OUT:
            bench.latches[pin] = int(bool(bench.level(pin) if initial is None else initial))
        else:
            bench.pulls[pin] = pull_up_down
        bench.directions[pin] = direction


def input(channel: int) -> int:  # noqa: A001 - RPi.GPIO's own name
    (pin,) = _pins(channel)
    if pin not in bench.directions:
        raise RuntimeError("You must setup() the GPIO channel first")
    if pin in bench.broken:
        raise lgpio.error("unknown handle")
    bench.reads += 1
    return bench.level(pin)


def output(channel: int | Iterable[int], value: int | Iterable[int]) -> None:
    pins = _pins(channel)
    values = (bool(value),) if isinstance(value, int) else tuple(bool(item) for item in value)
    if len(pins) != len(values):
        if len(pins) > 1 and len(values) == 1:
            values = values * len(pins)
        else:
            raise RuntimeError("Number of channels != number of values")
    for pin, level in zip(pins, values, strict=True):
        if bench.directions.get(pin) != OUT:
            raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
        if pin in bench.broken:
            raise lgpio.error("unknown handle")
        bench.latches[pin] = int(level)
    bench.written.append(tuple(int(level) for level in values))


def cleanup(chanlist: int | Iterable[int] | None = None) -> None:
    pins = tuple(bench.directions) if chanlist is None else _pins(chanlist)
    if not pins and bench.are_warnings_on:
        warnings.warn("No channels have been set up yet - nothing to clean up!", stacklevel=2)
    for pin in pins:
        bench.directions.pop(pin, None)
        bench.pulls.pop(pin, None)
    if chanlist is None:
        bench.mode = UNKNOWN


def add_event_detect(*_: object, **__: object) -> NoReturn:
    raise AssertionError("edge detection through RPi.GPIO is never to be used")


wait_for_edge = event_detected = add_event_callback = add_event_detect


class PWM:
    """Software PWM, never to be used."""

    def __init__(self, *_: object) -> None:
        raise AssertionError("PWM through RPi.GPIO is never to be used")


def _pins(chanlist: int | Iterable[int]) -> tuple[int, ...]:
    pins = (chanlist,) if isinstance(chanlist, int) else tuple(chanlist)
    if bench.mode == UNKNOWN:
        raise RuntimeError(
            "Please set pin numbering mode using GPIO.setmode(GPIO.BOARD) or GPIO.setmode(GPIO.BCM)"
        )
    if not all(0 <= pin < 54 for pin in pins):
        raise ValueError("The channel sent is invalid on a Raspberry Pi")
    return pins
