"""Stands in for the original RPi.GPIO 0.7.1 in the hands of a user who may not open the pins; lgpio is not there.

Source: RPi.GPIO 0.7.1, source/py_gpio.c and source/common.c.
"""

from typing import NoReturn

BCM = 11
OUT = 0
LOW = 0


def setwarnings(value: bool) -> None:
    """Take note of nothing."""


def getmode() -> None:
    """Return no mode: none is set."""


def setmode(mode: int) -> None:
    """Accept the mode; the pins are opened later."""


def setup(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("No access to /dev/mem.  Try running as root!")
