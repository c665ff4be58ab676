"""An LED of the kernel's LED class: the kernel plays the pattern, and nothing of ours runs while it blinks.

A rhythm that blinks or fades is one write to the ``pattern`` trigger, which plays it from its start. The ``timer`` trigger
is not used: its two times are two files, and a write to either restarts it, so that blinking would begin lit or dark
by chance. A pattern goes on if this program dies.

The kernel makes the file ``pattern`` with the trigger, as root's, and reports a change; a rule of udev's then gives it to our
group. So the trigger stays from one pattern to the next, and a new file is tried again until it is ours.

Source: Documentation/leds/leds-class.rst; Documentation/ABI/testing/sysfs-class-led-trigger-pattern; drivers/leds/led-core.c.
"""

from __future__ import annotations

import logging
from threading import RLock
from typing import TYPE_CHECKING, Final

from hardware.errors import HardwareError, Hints, PartMissing, device_errors
from hardware.led import Off, Once, Pattern, Rhythm, Solid, steps_of

if TYPE_CHECKING:
    from pathlib import Path

    from hardware.clock import AlarmClock

_log = logging.getLogger(__name__)


_GRANTED_WITHIN: Final = 5.0
"""Seconds that udev may take until the file ``pattern`` is ours, on a slow speaker that is just starting."""

_TRIES_EVERY: Final = 0.1

_HINTS: Final = Hints(
    missing="Check that the LED is still there: ls /sys/class/leds.",
    denied="Write a udev rule that gives its files to the group of this program.",
    failed="Look at its files below /sys/class/leds.",
)


class KernelLed:
    """A light of one colour whose pattern is played by the kernel.

    Args:
        name: the LED's name below ``root``.
        clock: calls back at the end of a pattern that is shown once.
        root: the directory of the LED class.
        brightness: the limit, above 0 and up to 1; an LED that is only on or off has none.

    Raises:
        PartMissing: if there is no such LED, the trigger is not loaded, or permission is denied.
    """

    def __init__(self, name: str, clock: AlarmClock, *, root: Path, brightness: float = 1.0) -> None:
        self._name = name
        self._files = root / name
        self._clock = clock
        self._lock = RLock()
        self._alarm = clock.alarm(self._end)
        self._pattern: Pattern | None = None
        self._ends_at = 0.0
        self._next_try = clock.alarm(self._try_again)
        self._untried = ""
        self._tried_until = 0.0
        self._patience = _GRANTED_WITHIN
        self._check(root)
        with device_errors(f"kernel LED {self._name!r}", _HINTS):
            most = int((self._files / "max_brightness").read_text())
        self._level = max(1, round(most * brightness))
        self.show(Off())

    def show(self, pattern: Pattern) -> None:
        """Write a pattern for the kernel; a pattern that is already playing continues."""
        with self._lock:
            if pattern == self._pattern and not self._is_over():
                return
            self._pattern = None
            self._alarm.cancel()
            if isinstance(pattern, Once):
                self._play(pattern.rhythm)
                self._ends_at = self._clock.now() + pattern.lasts_ms / 1000
                self._alarm.set(self._ends_at)
            else:
                self._play(pattern)
            self._pattern = pattern

    def close(self) -> None:
        """Go dark and remove our trigger."""
        with self._lock:
            self._pattern = None
            self._alarm.cancel()
            self._play(Off())

    def _is_over(self) -> bool:
        return isinstance(self._pattern, Once) and self._clock.now() >= self._ends_at

    def _end(self) -> None:
        with self._lock:
            if not self._is_over():
                return
            try:
                self._play(Off())
            except HardwareError as error:
                _log.warning("cannot switch the light off: %s", error)

    def _play(self, rhythm: Rhythm) -> None:
        self._next_try.cancel()
        self._untried = ""
        with device_errors(f"kernel LED {self._name!r}", _HINTS):
            if isinstance(rhythm, Off | Solid):
                self._write("trigger", "none")  # this also makes the LED dark
                self._write("brightness", "0" if isinstance(rhythm, Off) else str(self._level))
                return
            if not (self._files / "pattern").exists():
                self._write("trigger", "pattern")
            self._untried = pattern_text(rhythm, self._level)
            self._tried_until = self._clock.now() + self._patience
            self._write_pattern()

    def _write_pattern(self) -> None:
        try:
            self._write("pattern", self._untried)
        except PermissionError:
            if self._clock.now() >= self._tried_until:
                raise
            self._next_try.set(self._clock.now() + _TRIES_EVERY)
        else:
            self._untried = ""
            self._patience = _GRANTED_WITHIN

    def _try_again(self) -> None:
        with self._lock:
            if not self._untried:
                return
            try:
                with device_errors(f"kernel LED {self._name!r}", _HINTS):
                    self._write_pattern()
            except HardwareError as error:
                self._pattern = None
                self._patience = 0.0  # the next pattern is not waited for, and fails before its caller
                _log.warning("the light stays dark: %s", error)

    def _write(self, file: str, text: str) -> None:
        (self._files / file).write_text(text)

    def _check(self, root: Path) -> None:
        if not self._files.is_dir():
            known = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
            raise PartMissing(
                f"there is no kernel LED {self._name!r} in {root}",
                hint=f"Known: {', '.join(known) or 'none'}. dtoverlay=gpio-led makes one of an LED on a pin.",
            )
        with device_errors(f"kernel LED {self._name!r}", _HINTS):
            triggers = (self._files / "trigger").read_text().replace("[", "").replace("]", "").split()
        if "pattern" not in triggers:
            raise PartMissing(
                "the kernel has not loaded the LED trigger 'pattern'",
                hint="Load it with: modprobe ledtrig-pattern. To keep it, name it in a file in /etc/modules-load.d.",
            )


def pattern_text(rhythm: Rhythm, level: int) -> str:
    """Return a rhythm for the ``pattern`` file: pairs of brightness and milliseconds.

    A pair fades to the brightness of the next one; for a step that stays, the next pair has its brightness and 0 ms.
    """
    pairs: list[int] = []
    for step in steps_of(rhythm):
        brightness = round(step.brightness * level)
        pairs += [brightness, step.lasts_ms] if step.fades else [brightness, step.lasts_ms, brightness, 0]
    return " ".join(str(number) for number in pairs)
