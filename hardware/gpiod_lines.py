"""Digital lines through libgpiod's Python bindings, version 2: nothing runs between two edges.

Source: the bindings' own documentation, https://libgpiod.readthedocs.io; Linux GPIO character device, version 2.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from errno import EINVAL, EOPNOTSUPP
from select import POLLIN, poll
from threading import Thread, current_thread
from typing import TYPE_CHECKING, Any, Final

from hardware.button import EDGES, GestureDetector
from hardware.errors import HardwareError, Hints, PartMissing, device_errors, explain_import

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hardware.button import OnFailure, OnGesture
    from hardware.clock import AlarmClock

CONSUMER: Final = "device-auth"

DEBOUNCE: Final = timedelta(milliseconds=5)
"""The kernel drops levels that last shorter, so that chatter wakes nobody. The rest of 20 ms is waited here, because
the kernel stamps an edge only after its own wait, and a longer one would make presses look shorter."""

_CANNOT_DEBOUNCE: Final = (EINVAL, EOPNOTSUPP)
"""Answers of a chip that has no debounce, or none so short. The kernel's own has no thread, which the interrupts of an
expander (USB, I2C) must have: request_irq refuses it. Source: Linux gpiolib-cdev.c, debounce_setup; irq/manage.c, __setup_irq."""

_NANOSECONDS: Final = 1_000_000_000

_OTHER_WAY: Final = 'Or set gpio = "rpi-gpio" and use the module RPi.GPIO, which rpi-lgpio provides.'

_HINTS: Final = Hints(
    missing="gpiodetect lists the chips, gpioinfo their lines; set chip and pin.",
    denied="Join the group gpio: sudo usermod -aG gpio USER, then log in again.",
    failed="gpiodetect lists the chips; set chip. A button needs a line that reports edges, which gpiomon shows.",
    busy="Stop the program that uses it; gpioinfo names it.",
)


class LineOutputs:
    """Digital outputs. Nothing runs between two writes.

    Args:
        lines: offsets or names.
        is_active_low: whether a low level lights (the LED hangs on 3.3 V; a common anode).
        chip: the device file of the chip.

    Raises:
        PartMissing: if the library is not installed or too old, the chip or a line is missing, or permission is denied.
        PartBusy: if another program uses a line.
    """

    def __init__(self, lines: Sequence[int | str], *, is_active_low: bool, chip: str) -> None:
        gpiod = load_library()
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
        """Set every line dark and release it."""
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
        chip: the device file of the chip.
        clock: gives CLOCK_MONOTONIC, as the kernel's stamps do.
    """

    def __init__(
        self, line: int | str, *, pull: str, is_active_low: bool, chip: str, clock: AlarmClock
    ) -> None:
        gpiod = load_library()
        from gpiod.line import Bias, Direction, Edge, Value

        self._line = line
        self._clock = clock
        self._names = _names(chip, [line])
        self._pressed = Value.ACTIVE
        self._rising = gpiod.EdgeEvent.Type.RISING_EDGE

        def request(debounce: timedelta) -> Any:
            settings = gpiod.LineSettings(
                direction=Direction.INPUT,
                edge_detection=Edge.BOTH,
                bias={"up": Bias.PULL_UP, "down": Bias.PULL_DOWN, "off": Bias.DISABLED}[pull],
                active_low=is_active_low,
                debounce_period=debounce,
            )
            with _os_errors():
                return gpiod.request_lines(chip, consumer=CONSUMER, config={line: settings})

        with _named(self._names):
            try:
                self._request = request(DEBOUNCE)
            except OSError as error:
                if error.errno not in _CANNOT_DEBOUNCE:
                    raise
                self._request = request(timedelta())  # the detector waits all of 20 ms anyway
        self._stop = os.eventfd(0)
        self._detector: GestureDetector | None = None
        self._thread: Thread | None = None

    def listen(self, on_gesture: OnGesture, on_failure: OnFailure) -> None:
        """Start waiting for edges."""
        with _named(self._names):
            level = self._request.get_value(self._line) == self._pressed
        self._detector = GestureDetector(on_gesture, level, self._clock, EDGES)
        self._thread = Thread(
            target=self._watch, args=(self._detector, on_failure), name="button", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Wake the thread, wait for its end, and release the line."""
        os.eventfd_write(self._stop, 1)
        if self._detector is not None:
            self._detector.close()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()
        self._request.release()
        os.close(self._stop)

    def _watch(self, detector: GestureDetector, on_failure: OnFailure) -> None:
        waiting = poll()
        waiting.register(self._stop, POLLIN)
        waiting.register(self._request.fd, POLLIN)
        while self._stop not in (ready for ready, _ in waiting.poll()):
            try:
                with _named(self._names):
                    edges = self._request.read_edge_events()
            except HardwareError as error:
                on_failure(error)
                return
            for edge in edges:
                detector.update(edge.event_type == self._rising, edge.timestamp_ns / _NANOSECONDS)


def load_library() -> Any:
    """Import gpiod; this opens no line.

    Raises:
        PartMissing: if it is not installed, or is version 1.
    """
    try:
        import gpiod
    except ImportError as error:
        raise PartMissing(explain_import("gpiod", error), hint=_OTHER_WAY, library="gpiod") from error
    if not hasattr(gpiod, "LineSettings"):
        raise PartMissing(
            "the module gpiod is version 1, as in Debian 12; version 2.1 or later is needed",
            hint=_OTHER_WAY,
            library="gpiod",
        )
    return gpiod


@contextmanager
def _named(names: str) -> Iterator[None]:
    try:
        with device_errors(names, _HINTS), _os_errors():
            yield
    except ValueError as error:
        raise PartMissing(
            f"there is no {names}: {error}", hint="gpioinfo lists the lines of a chip."
        ) from error


@contextmanager
def _os_errors() -> Iterator[None]:
    """Raise as OSError what the kernel answered: the bindings make ValueError of EINVAL, NotImplementedError of EOPNOTSUPP."""
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        if len(error.args) == 1:  # the bindings' own
            raise
        raise OSError(*error.args) from error


def _names(chip: str, lines: Sequence[int | str]) -> str:
    return f"line {', '.join(str(line) for line in lines)} of {chip}"
