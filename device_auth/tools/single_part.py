"""One part by itself: opened and closed within a limit, in real time or, if it is simulated, in simulated time."""

import math
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from device_auth.core.models import Seconds
from device_auth.world.bounded import bounded
from hardware.board import BoardPlan, Parts, open_parts
from hardware.clock import PartsClock
from hardware.errors import PartBusy
from hardware.plans import PlannedPart
from hardware.simulated import SimulatedClock

T = TypeVar("T")

PART_LIMIT: Final = Seconds(30.0)
"""A part that has not finished by then hangs; a voice ends its programs after 20 s."""

_FRAME: Final = 0.05
"""Seconds of simulated time between two looks at an inbox."""


class RealTime:
    """The time of a real part."""

    def __init__(self) -> None:
        self.clock = PartsClock()

    def wait(self, inbox: SimpleQueue[T], seconds: float) -> T | None:
        """Return the next item, or None if there is none within ``seconds``."""
        try:
            return inbox.get(timeout=seconds)
        except Empty:
            return None

    def close(self) -> None:
        """Stop the clock."""
        self.clock.close()


class SimulatedTime:
    """The time of a simulated part, which passes without waiting."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()

    def wait(self, inbox: SimpleQueue[T], seconds: float) -> T | None:
        """Let time pass until there is an item; return None if there is none within ``seconds``."""
        for _ in range(math.ceil(seconds / _FRAME)):
            if not inbox.empty():
                break
            self.clock.pass_time(_FRAME)
        return None if inbox.empty() else inbox.get()

    def close(self) -> None:
        """Stop the clock."""
        self.clock.close()


PartTime = RealTime | SimulatedTime


def time_for(part: PlannedPart) -> PartTime:
    """Return the time of a part."""
    return SimulatedTime() if part.back_end == "simulated" else RealTime()


def open_single(plan: BoardPlan, part: PlannedPart, time: PartTime, limit: float = PART_LIMIT) -> Parts:
    """Open one part of a plan.

    Raises:
        HardwareError: if it is missing or busy, or hangs.
    """
    single = replace(plan, parts=(part,))
    opened = within(limit, lambda: open_parts(single, time.clock))
    for problem in opened.problems:
        raise problem.error
    return opened


def close_single(opened: Parts, time: PartTime, limit: float = PART_LIMIT) -> None:
    """Close a part and its time.

    Raises:
        HardwareError: if it fails or hangs.
    """

    def close() -> None:
        try:
            opened.close()
        finally:
            time.close()

    within(limit, close)


def within(seconds: float, action: Callable[[], T]) -> T:
    """Run an action of a part.

    Raises:
        PartBusy: if it does not finish in time. Its thread stays behind, because nothing can end it.
        HardwareError: if it fails.
    """
    try:
        return bounded(action, Seconds(seconds), name="part")
    except TimeoutError:
        raise PartBusy(
            f"the part hangs: no result within {seconds:g} s",
            hint="Check its wires, and which other program uses it.",
        ) from None
