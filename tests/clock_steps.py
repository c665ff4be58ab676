"""The wall clock of this machine set for real, and so little that nobody else can tell."""

import ctypes
import struct
from typing import Final

import pytest

ADJ_SETOFFSET: Final = 0x0100
ADJ_NANO: Final = 0x2000
"""Source: ``sys/timex.h``."""


def step_clock() -> None:
    """Set the wall clock forward by a nanosecond. Source: adjtimex(2)."""
    # modes, offset, freq, maxerror, esterror, status, constant, precision, tolerance, time
    asked = struct.pack("@I4li5l", ADJ_SETOFFSET | ADJ_NANO, *[0] * 9, 1)
    timex = ctypes.create_string_buffer(asked, 1024)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        pytest.skip("only root can set the clock")
