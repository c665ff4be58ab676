"""Digital pins through the RPi.GPIO module, whoever provides it: rpi-lgpio, or the original.

Two ways of that module are never gone: ``add_event_detect`` fails on kernels from 6.6 with the original and wakes
1,462 times a second with rpi-lgpio; ``PWM`` is a busy thread. The button is sampled instead.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hardware.button import SAMPLED, GestureDetector
from hardware.errors import HardwareError, PartBusy, PartMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hardware.button import Failed, Told
    from hardware.clock import AlarmClock

PERIOD: Final = 0.05
"""Seconds from one sample to the next: 20 Hz. The button settles on two equal samples, as one period is longer than
contacts bounce."""

_OPEN_IT: Final = (
    "Join the group gpio (usermod -aG gpio USER), log in again, and check that /dev/gpiochip0 is there."
)


class PinOutputs:
    """Digital outputs. Nothing runs between two writes.

    Args:
        pins: BCM numbers.
        is_active_low: whether a low pin is lit (the LED hangs on 3.3 V; a common anode).

    Raises:
        PartMissing: the library is not installed, or the pins are closed to this user.
        PartBusy: somebody else has a pin.
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
        """Set every pin dark, then give them back as inputs."""
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
        clock: wakes for every sample.
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
        self._follower: GestureDetector | None = None
        self._failed: Failed | None = None

    def listen(self, told: Told, failed: Failed) -> None:
        """Begin to sample."""
        self._failed = failed
        self._follower = GestureDetector(told, self._read(), self._clock, SAMPLED)
        self._alarm.set(self._clock.now() + PERIOD)

    def close(self) -> None:
        """Sample no more and give the pin back."""
        follower, self._follower = self._follower, None
        self._alarm.cancel()
        if follower is not None:
            follower.close()
        with _named(self._names):
            self._gpio.cleanup([self._pin])

    def _read(self) -> bool:
        with _named(self._names):
            return bool(self._gpio.input(self._pin)) != self._is_active_low

    def _sample(self) -> None:
        follower, failed = self._follower, self._failed
        if follower is None or failed is None:
            return
        now = self._clock.now()
        try:
            level = self._read()
        except HardwareError as error:
            if self._follower is not None:
                failed(error)
            return
        self._alarm.set(now + PERIOD)
        follower.follow(level, now)


def _library() -> Any:
    """Import RPi.GPIO and choose BCM numbers.

    Its warnings are off: they would go to stderr when a pin is still set from a run that was killed, and whether a
    pin is ours to use has been checked by ``hardware.board`` already.
    """
    try:
        from RPi import GPIO  # noqa: TID251 - imported only where a part is on a pin; the only importer
    except ImportError as error:
        raise PartMissing(
            "the module RPi.GPIO is not installed",
            hint="pip install 'device-auth[rpi-lgpio]' (apt install python3-rpi-lgpio), or [rpi-gpio] before the Pi 5",
        ) from error
    except _errors() as error:
        raise PartMissing(
            f"the module RPi.GPIO cannot start: {error}",
            hint="It runs on a Raspberry Pi only; rpi-lgpio also wants a working directory, or LG_WD, it may write to.",
        ) from error
    GPIO.setwarnings(False)
    if GPIO.getmode() not in (None, GPIO.BCM):
        raise PartBusy(
            "another part of this program counts pins by board position", hint="Use BCM numbers everywhere."
        )
    with _named("the GPIO chip"):
        GPIO.setmode(GPIO.BCM)
    return GPIO


def _errors() -> tuple[type[Exception], ...]:
    """Name what RPi.GPIO raises: rpi-lgpio lets lgpio's own error through, which is no RuntimeError."""
    lgpio_error = getattr(sys.modules.get("lgpio"), "error", None)
    return (RuntimeError, OSError) if lgpio_error is None else (RuntimeError, OSError, lgpio_error)


@contextmanager
def _named(names: str) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        if "busy" in str(error).lower():
            raise PartBusy(
                f"{names} is in use", hint="gpioinfo shows which program has it; stop that."
            ) from error
        raise PartMissing(f"{names} cannot be used: {error}", hint=_OPEN_IT) from error


def _names(pins: Sequence[int]) -> str:
    return ", ".join(f"GPIO{pin}" for pin in pins)
