"""Digital pins through the module RPi.GPIO: that of rpi-lgpio, or the original.

Two functions of the module are never used: ``add_event_detect``, which fails on kernels from 6.6 with the original and
wakes 1,462 times a second with rpi-lgpio, and ``PWM``, which is a busy thread. The button is sampled instead.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hardware.button import SAMPLED, GestureDetector
from hardware.errors import HardwareError, PartBusy, PartMissing, explain, explain_import

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hardware.button import OnFailure, OnGesture
    from hardware.clock import AlarmClock

SAMPLE_PERIOD_S: Final = 0.05
"""From one sample to the next: 20 Hz. Two equal samples settle the button, as contacts bounce for less than a period."""

_LIBRARY: Final = "rpi-lgpio"
"""The package that provides the module wherever there is a kernel of today, the Pi 5 included."""

_OTHER_WAY: Final = 'Or set gpio = "gpiod".'

_REVISION: Final = (
    'Set gpio = "gpiod". The module needs the board\'s revision in the device tree (linux,revision), which the firmware of a'
    " Raspberry Pi writes there; without it rpi-lgpio takes it from the variable RPI_LGPIO_REVISION (a02082 is a Pi 3)."
    " The original is for a Raspberry Pi only."
)

_NOT_WHOLE: Final = 'Set gpio = "gpiod", or install the module again. rpi-lgpio needs a working directory, or LG_WD, that it may write to.'

_HINT: Final = (
    "Join the group gpio (sudo usermod -aG gpio USER), log in again, and check that /dev/gpiochip0 is there."
)


class PinOutputs:
    """Digital outputs. Nothing runs between two writes.

    Args:
        pins: BCM numbers.
        is_active_low: whether a low level lights (the LED hangs on 3.3 V; a common anode).

    Raises:
        PartMissing: if the library is not installed, or permission is denied.
        PartBusy: if another program uses a pin.
    """

    def __init__(self, pins: Sequence[int], *, is_active_low: bool = False) -> None:
        self._gpio = _library()
        self._pins = list(pins)
        self._is_active_low = is_active_low
        self._names = _names(pins)
        dark = self._gpio.HIGH if is_active_low else self._gpio.LOW
        with _named(self._names):
            self._gpio.setup(self._pins, self._gpio.OUT, initial=dark)

    def write(self, lit: Sequence[bool]) -> None:
        """Set every pin."""
        with _named(self._names):
            self._gpio.output(self._pins, [level != self._is_active_low for level in lit])

    def close(self) -> None:
        """Set every pin dark and release it as an input."""
        try:
            self.write([False] * len(self._pins))
        finally:
            with _named(self._names):
                self._gpio.cleanup(self._pins)


class SampledButton:
    """A button that is sampled 20 times a second.

    Args:
        pin: BCM number.
        pull: "up", "down" or "off".
        is_active_low: whether a low pin means pressed.
        clock: calls back for every sample.
    """

    def __init__(self, pin: int, *, pull: str, is_active_low: bool, clock: AlarmClock) -> None:
        self._gpio = _library()
        self._pin = pin
        self._is_active_low = is_active_low
        self._clock = clock
        self._names = _names([pin])
        pulls = {"up": self._gpio.PUD_UP, "down": self._gpio.PUD_DOWN, "off": self._gpio.PUD_OFF}
        with _named(self._names):
            self._gpio.setup(pin, self._gpio.IN, pull_up_down=pulls[pull])
        self._alarm = clock.alarm(self._sample)
        self._detector: GestureDetector | None = None
        self._on_failure: OnFailure | None = None

    def listen(self, on_gesture: OnGesture, on_failure: OnFailure) -> None:
        """Start sampling."""
        self._on_failure = on_failure
        self._detector = GestureDetector(on_gesture, self._read(), self._clock, SAMPLED)
        self._alarm.set(self._clock.now() + SAMPLE_PERIOD_S)

    def close(self) -> None:
        """Stop sampling and release the pin."""
        detector, self._detector = self._detector, None
        self._alarm.cancel()
        if detector is not None:
            detector.close()
        with _named(self._names):
            self._gpio.cleanup([self._pin])

    def _read(self) -> bool:
        with _named(self._names):
            return bool(self._gpio.input(self._pin)) != self._is_active_low

    def _sample(self) -> None:
        detector, on_failure = self._detector, self._on_failure
        if detector is None or on_failure is None:
            return
        now = self._clock.now()
        try:
            level = self._read()
        except HardwareError as error:
            if self._detector is not None:
                on_failure(error)
            return
        self._alarm.set(now + SAMPLE_PERIOD_S)
        detector.update(level, now)


def _library() -> Any:
    """Import RPi.GPIO and choose BCM numbers.

    Its warnings are off: they would go to stderr if a pin is still set from a run that was killed, and
    ``hardware.board`` has already refused a pin with two uses.
    """
    try:
        from RPi import GPIO  # noqa: TID251 - the only importer, and only where a part is on a pin
    except ImportError as error:
        raise PartMissing(explain_import("RPi.GPIO", error), hint=_OTHER_WAY, library=_LIBRARY) from error
    except _errors() as error:
        hint = _REVISION if isinstance(error, RuntimeError) else _NOT_WHOLE
        raise PartMissing(f"the module RPi.GPIO cannot start: {explain(error)}", hint=hint) from error
    except (
        AttributeError,
        ValueError,
    ) as error:  # an lgpio that pip found empty (0.0.0.2); no number as revision
        raise PartMissing(f"the module RPi.GPIO cannot start: {error}", hint=_NOT_WHOLE) from error
    GPIO.setwarnings(False)
    if GPIO.getmode() not in (None, GPIO.BCM):
        raise PartBusy(
            "another part of this program numbers pins by their place on the board",
            hint="Use BCM numbers everywhere.",
        )
    with _named("the GPIO chip"):
        GPIO.setmode(GPIO.BCM)
    return GPIO


def _errors() -> tuple[type[Exception], ...]:
    """Return the errors of RPi.GPIO: rpi-lgpio also raises that of lgpio, which is not a RuntimeError."""
    lgpio_error = getattr(sys.modules.get("lgpio"), "error", None)
    return (RuntimeError, OSError) if lgpio_error is None else (RuntimeError, OSError, lgpio_error)


@contextmanager
def _named(names: str) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        if "busy" in str(error).lower():
            raise PartBusy(
                f"{names} is in use", hint="Stop the program that uses it; gpioinfo names it."
            ) from error
        raise PartMissing(f"cannot use {names}: {explain(error)}", hint=_HINT) from error


def _names(pins: Sequence[int]) -> str:
    return ", ".join(f"GPIO{pin}" for pin in pins)
