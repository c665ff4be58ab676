"""Digital lines through libgpiod's Python bindings, version 2: edges wake us, nothing runs in between.

Source: the bindings' own documentation, https://libgpiod.readthedocs.io; Linux GPIO character device, version 2.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from errno import EBUSY
from select import POLLIN, poll
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any, Final

from hardware.button import EDGES, GestureDetector
from hardware.errors import HardwareError, PartBusy, PartMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hardware.button import Failed, Told
    from hardware.clock import AlarmClock

CONSUMER: Final = "device-auth"

DEBOUNCE: Final = timedelta(milliseconds=5)
"""How long the kernel wants a level to last; it keeps chatter from waking us. The rest of 20 ms is waited here,
because the kernel stamps an edge only after its own wait and a longer one would make presses look shorter."""

_NANO: Final = 1_000_000_000


class LineOutputs:
    """Digital outputs. Nothing runs between two writes.

    Args:
        lines: offsets or names.
        is_active_low: whether a low line is lit (the LED hangs on 3.3 V; a common anode).
        chip: the chip's device file.

    Raises:
        PartMissing: the library is not installed or too old, or the chip or a line is not there or is closed to us.
        PartBusy: somebody else has a line.
    """

    def __init__(self, lines: Sequence[int | str], *, is_active_low: bool, chip: str) -> None:
        gpiod = _library()
        from gpiod.line import Direction, Value

        self._values = (Value.INACTIVE, Value.ACTIVE)
        self._lines = tuple(lines)
        self._names = _names(chip, lines)
        settings = gpiod.LineSettings(direction=Direction.OUTPUT, active_low=is_active_low)
        with _named(self._names):
            self._request = gpiod.request_lines(chip, consumer=CONSUMER, config={self._lines: settings})

    def write(self, lit: Sequence[bool]) -> None:
        """Set every line."""
        values = {line: self._values[level] for line, level in zip(self._lines, lit, strict=True)}
        with _named(self._names):
            self._request.set_values(values)

    def close(self) -> None:
        """Set every line dark, then give them back."""
        try:
            self.write([False] * len(self._lines))
        finally:
            self._request.release()


class EdgeButton:
    """A button whose edges wake a thread of its own.

    Args:
        line: offset or name.
        pull: "up", "down" or "off".
        is_active_low: whether a low line means pressed.
        chip: the chip's device file.
        clock: tells the time; it must be CLOCK_MONOTONIC, as the kernel's stamps are.
    """

    def __init__(
        self, line: int | str, *, pull: str, is_active_low: bool, chip: str, clock: AlarmClock
    ) -> None:
        gpiod = _library()
        from gpiod.line import Bias, Direction, Edge, Value

        self._line = line
        self._clock = clock
        self._names = _names(chip, [line])
        self._pressed = Value.ACTIVE
        self._rising = gpiod.EdgeEvent.Type.RISING_EDGE
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            bias={"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "off": Bias.DISABLED}[pull],
            active_low=is_active_low,
            debounce_period=DEBOUNCE,
        )
        with _named(self._names):
            self._request = gpiod.request_lines(chip, consumer=CONSUMER, config={line: settings})
        self._stop = os.eventfd(0)
        self._follower: GestureDetector | None = None
        self._thread: Thread | None = None

    def listen(self, told: Told, failed: Failed) -> None:
        """Begin to wait for edges."""
        with _named(self._names):
            level = self._request.get_value(self._line) == self._pressed
        self._follower = GestureDetector(told, level, self._clock, EDGES)
        self._thread = Thread(target=self._watch, args=(self._follower, failed), name="button", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wake the thread, wait for its end, give the line back."""
        os.eventfd_write(self._stop, 1)
        if self._follower is not None:
            self._follower.close()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()
        self._request.release()
        os.close(self._stop)

    def _watch(self, follower: GestureDetector, failed: Failed) -> None:
        waiting = poll()
        waiting.register(self._stop, POLLIN)
        waiting.register(self._request.fd, POLLIN)
        while self._stop not in (ready for ready, _ in waiting.poll()):
            try:
                with _named(self._names):
                    edges = self._request.read_edge_events()
            except HardwareError as error:
                failed(error)
                return
            for edge in edges:
                follower.follow(edge.event_type == self._rising, edge.timestamp_ns / _NANO)


def _library() -> Any:
    try:
        import gpiod
    except ImportError as error:
        raise PartMissing("gpiod is not installed", hint="pip install 'device-auth[gpiod]'") from error
    if not hasattr(gpiod, "LineSettings"):
        raise PartMissing(
            "gpiod is there with the old API of version 1, as Debian bookworm has it; version 2.1 is needed",
            hint="pip install 'device-auth[gpiod]' into the program's own environment, or set gpio = \"rpi-gpio\".",
        )
    return gpiod


@contextmanager
def _named(names: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise PartMissing(
            f"there is no {names}", hint="gpiodetect lists the chips, gpioinfo their lines; set chip and pin."
        ) from error
    except PermissionError as error:
        raise PartMissing(
            f"{names} is closed to this user",
            hint="Join the group gpio: usermod -aG gpio USER, then log in again.",
        ) from error
    except OSError as error:
        if error.errno == EBUSY:
            raise PartBusy(
                f"{names} is in use", hint="gpioinfo shows which program has it; stop that."
            ) from error
        raise PartMissing(
            f"{names} cannot be used: {error.strerror}", hint="Check the chip's path."
        ) from error
    except ValueError as error:
        raise PartMissing(
            f"there is no {names}: {error}", hint="gpioinfo lists the lines of a chip."
        ) from error


def _names(chip: str, lines: Sequence[int | str]) -> str:
    return f"line {', '.join(str(line) for line in lines)} of {chip}"
