"""Stands in for gpiod 2.x: the same names, errors and files to poll, on lines made of numbers.

``bench`` is the table the lines lie on: tests drive them, and an edge makes the request's file readable as the
kernel does. Levels there are electrical; requests see logical ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from errno import EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM
from threading import Condition
from typing import TYPE_CHECKING

from gpiod import line
from gpiod.line import Bias, Clock, Direction, Drive, Edge, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

__version__ = "2.5.0"
api_version = "2.3"

Config = dict["Iterable[int | str] | int | str", "LineSettings | None"]


class ChipClosedError(Exception):
    """An already closed chip is used."""


class RequestReleasedError(Exception):
    """A released request is used."""

    def __init__(self) -> None:
        super().__init__("GPIO lines have been released")


@dataclass
class LineSettings:
    """How a line is to be."""

    direction: Direction = Direction.AS_IS
    edge_detection: Edge = Edge.NONE
    bias: Bias = Bias.AS_IS
    drive: Drive = Drive.PUSH_PULL
    active_low: bool = False
    debounce_period: timedelta = timedelta()
    event_clock: Clock = Clock.MONOTONIC
    output_value: Value = Value.INACTIVE


@dataclass(frozen=True)
class EdgeEvent:
    """One edge, stamped."""

    class Type(Enum):
        """Which way."""

        RISING_EDGE = 1
        FALLING_EDGE = 2

    event_type: Type
    timestamp_ns: int
    line_offset: int
    global_seqno: int = 0
    line_seqno: int = 0


@dataclass
class Bench:
    """The lines of one chip, who has them, and what is to go wrong; ``no_*`` is the number of the kernel's answer to who asks for that."""

    chip: str = "/dev/gpiochip0"
    lines: int = 54
    names: dict[str, int] = field(default_factory=lambda: {f"GPIO{offset}": offset for offset in range(54)})
    is_closed_to_us: bool = False
    is_unplugged: bool = False
    no_debounce: int = 0
    no_edges: int = 0
    busy: set[int] = field(default_factory=set)
    driven: dict[int, bool] = field(default_factory=dict)
    latches: dict[int, bool] = field(default_factory=dict)
    settings: dict[int, LineSettings] = field(default_factory=dict)
    edges: dict[int, list[EdgeEvent]] = field(default_factory=dict)
    wakers: dict[int, int] = field(default_factory=dict)
    consumers: dict[int, str | None] = field(default_factory=dict)
    taken: Condition = field(default_factory=Condition)

    def level(self, offset: int) -> bool:
        """What a voltmeter would show."""
        settings = self.settings.get(offset)
        if settings is not None and settings.direction is Direction.OUTPUT:
            return self.latches[offset]
        pulled_up = settings is not None and settings.bias is Bias.PULL_UP
        return self.driven.get(offset, pulled_up)

    def drive(self, offset: int, *, high: bool, at: float, waits: bool = True) -> None:
        """Drive a line from outside; ``waits`` until whoever waits for its edges has dealt with this one."""
        self.driven[offset] = high
        if offset not in self.edges:
            return
        # The second edge says nothing new. When it is taken, the one before it has been dealt with.
        for _ in range(2 if waits else 1):
            self._tell_edge(offset, high=high, at=at, waits=waits)

    def wake(self, offset: int) -> None:
        """Make the file of a request readable without an edge, as a chip that is unplugged does."""
        os.eventfd_write(self.wakers[offset], 1)

    def _tell_edge(self, offset: int, *, high: bool, at: float, waits: bool) -> None:
        is_active = high != self.settings[offset].active_low
        kind = EdgeEvent.Type.RISING_EDGE if is_active else EdgeEvent.Type.FALLING_EDGE
        with self.taken:
            self.edges[offset].append(EdgeEvent(kind, round(at * 1_000_000_000), offset))
            self.wake(offset)
            if waits and not self.taken.wait_for(lambda: not self.edges.get(offset), timeout=30):
                raise AssertionError(f"nobody took the edge of line {offset}")


bench = Bench()


class LineRequest:
    """Lines that are ours."""

    def __init__(self, offsets: dict[int | str, int]) -> None:
        self._offsets = offsets
        self._is_released = False
        self._fd = os.eventfd(0)
        for offset in offsets.values():
            if bench.settings[offset].edge_detection is not Edge.NONE:
                bench.edges[offset] = []
                bench.wakers[offset] = self._fd

    @property
    def fd(self) -> int:
        self._check()
        return self._fd

    def get_value(self, line: int | str) -> Value:
        self._check()
        offset = self._offsets[line]
        return Value(int(bench.level(offset) != bench.settings[offset].active_low))

    def set_value(self, line: int | str, value: Value) -> None:
        self.set_values({line: value})

    def set_values(self, values: dict[int | str, Value]) -> None:
        self._check()
        for line_, value in values.items():
            offset = self._offsets[line_]
            bench.latches[offset] = bool(value) != bench.settings[offset].active_low

    def read_edge_events(self, max_events: int | None = None) -> list[EdgeEvent]:
        self._check()
        os.eventfd_read(self._fd)
        if bench.is_unplugged:
            raise OSError(ENODEV, os.strerror(ENODEV))
        events: list[EdgeEvent] = []
        with bench.taken:
            for offset in self._offsets.values():
                events += bench.edges[offset][:max_events]
                bench.edges[offset] = []
            bench.taken.notify_all()
        return events

    def release(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        for offset in self._offsets.values():
            bench.settings.pop(offset)
            bench.edges.pop(offset, None)
        os.close(self._fd)

    def _check(self) -> None:
        if self._is_released:
            raise RequestReleasedError


def request_lines(
    path: str,
    config: Config,
    consumer: str | None = None,
    event_buffer_size: int | None = None,  # noqa: ARG001 - gpiod's own signature
    output_values: dict[int | str, Value] | None = None,
) -> LineRequest:
    if path != bench.chip:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
    if bench.is_closed_to_us:
        raise PermissionError(EPERM, os.strerror(EPERM))
    wanted: dict[int | str, int] = {}
    for key, settings in config.items():
        for line_ in (key,) if isinstance(key, int | str) else key:
            offset = _offset(line_)
            if offset in wanted.values():
                raise ValueError(f"line must be configured exactly once - offset {offset} repeats")
            if offset in bench.busy or offset in bench.settings:
                raise OSError(EBUSY, os.strerror(EBUSY))
            wanted[line_] = offset
            bench.consumers[offset] = consumer
            _configure(offset, settings or LineSettings(), (output_values or {}).get(line_))
    return LineRequest(wanted)


def _error(number: int) -> Exception:
    """What the bindings make of the kernel's answer."""
    kind = {EINVAL: ValueError, EOPNOTSUPP: NotImplementedError}.get(number, OSError)
    return kind(number, os.strerror(number))


def _configure(offset: int, settings: LineSettings, value: Value | None) -> None:
    if bench.no_debounce and settings.debounce_period:
        raise _error(bench.no_debounce)
    if bench.no_edges and settings.edge_detection is not Edge.NONE:
        raise _error(bench.no_edges)
    bench.settings[offset] = settings
    if settings.direction is Direction.OUTPUT:
        bench.latches[offset] = bool(value or settings.output_value) != settings.active_low


def _offset(wanted: int | str) -> int:
    if isinstance(wanted, str):
        if wanted in bench.names:
            return bench.names[wanted]
        if not wanted.isdigit():
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
    offset = int(wanted)
    if offset >= bench.lines:
        raise ValueError("line offset of out range")
    return offset


__all__ = [
    "Bench",
    "ChipClosedError",
    "EdgeEvent",
    "LineRequest",
    "LineSettings",
    "RequestReleasedError",
    "api_version",
    "bench",
    "line",
    "request_lines",
]
