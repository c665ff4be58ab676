"""Stands in for spidev 3.8: one bus whose bytes a chain of APA102 LEDs takes in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass
class Bench:
    """The device files that are there, what was sent, and what is to go wrong (an errno)."""

    devices: set[tuple[int, int]] = field(default_factory=lambda: {(0, 0), (0, 1)})
    sent: list[bytes] = field(default_factory=list)
    fails_to_open: int = 0
    fails_to_write: int = 0
    is_open: bool = False


bench = Bench()


class SpiDev:
    """One device file."""

    def __init__(self) -> None:
        self.max_speed_hz = 0
        self.mode = -1

    def open(self, bus: int, device: int) -> None:
        if bench.fails_to_open:
            raise OSError(bench.fails_to_open, os.strerror(bench.fails_to_open))
        if (bus, device) not in bench.devices:
            raise FileNotFoundError(2, os.strerror(2))
        bench.is_open = True

    def writebytes(self, values: list[int]) -> None:
        if bench.fails_to_write:
            raise OSError(bench.fails_to_write, os.strerror(bench.fails_to_write))
        bench.sent.append(bytes(values))

    def close(self) -> None:
        bench.is_open = False
