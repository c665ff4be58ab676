"""A LED of the kernel's LED class: the kernel plays the pattern, nothing of ours runs while it blinks.

Whatever blinks or fades is one write to the ``pattern`` trigger, which begins it at its beginning. The ``timer`` trigger is
not used: its two times are two files, each of which starts it anew, so that blinking begins lit or dark as it
happens. What is shown goes on when this program dies.

Source: Documentation/leds/leds-class.rst; Documentation/ABI/testing/sysfs-class-led-trigger-pattern; drivers/leds/led-core.c.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from errno import EBUSY
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final

from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.led import Off, Once, Pattern, Rhythm, Solid, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.clock import AlarmClock

LEDS: Final = Path("/sys/class/leds")

_log = logging.getLogger(__name__)


class KernelLed:
    """A light of one colour whose pattern is played by the kernel.

    Args:
        name: the LED's name below ``root``.
        clock: wakes once at the end of a pattern that is shown once.
        root: the LED class directory.
        brightness: the most that is ever shown, above 0 to 1; a LED that is only on or off stays on.

    Raises:
        PartMissing: there is no such LED, the trigger is not loaded, or its files are closed to this user.
    """

    def __init__(self, name: str, clock: AlarmClock, *, root: Path = LEDS, brightness: float = 1.0) -> None:
        self._name = name
        self._files = root / name
        self._clock = clock
        self._lock = RLock()
        self._alarm = clock.alarm(self._end)
        self._asked: Pattern | None = None
        self._ends_at = 0.0
        self._check(root)
        with self._named():
            most = int((self._files / "max_brightness").read_text())
        self._level = max(1, round(most * brightness))
        self.show(Off())

    def show(self, pattern: Pattern) -> None:
        """Hand a pattern to the kernel; one that is playing already goes on undisturbed."""
        with self._lock:
            if pattern == self._asked and not self._is_over():
                return
            self._asked = None
            self._alarm.cancel()
            if isinstance(pattern, Once):
                self._play(pattern.rhythm)
                self._ends_at = self._clock.now() + pattern.lasts_ms / 1000
                self._alarm.set(self._ends_at)
            else:
                self._play(pattern)
            self._asked = pattern

    def close(self) -> None:
        """Go dark and take our trigger away."""
        with self._lock:
            self._asked = None
            self._alarm.cancel()
            self._play(Off())

    def _is_over(self) -> bool:
        return isinstance(self._asked, Once) and self._clock.now() >= self._ends_at

    def _end(self) -> None:
        with self._lock:
            if not self._is_over():
                return
            try:
                self._play(Off())
            except HardwareError as error:
                _log.warning("the light did not go out: %s", error)

    def _play(self, rhythm: Rhythm) -> None:
        with self._named():
            self._write("trigger", "none")  # this also puts the LED out
            match rhythm:
                case Off():
                    self._write("brightness", "0")
                case Solid():
                    self._write("brightness", str(self._level))
                case _:
                    self._write("trigger", "pattern")
                    self._write("pattern", pattern_text(rhythm, self._level))

    def _write(self, file: str, text: str) -> None:
        (self._files / file).write_text(text)

    def _check(self, root: Path) -> None:
        if not self._files.is_dir():
            known = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
            raise PartMissing(
                f"there is no kernel LED {self._name!r} in {root}",
                hint=f"There are: {', '.join(known) or 'none'}. A LED on a pin becomes one with dtoverlay=gpio-led.",
            )
        with self._named():
            triggers = (self._files / "trigger").read_text().replace("[", "").replace("]", "").split()
        if "pattern" not in triggers:
            raise PartMissing(
                "the kernel has not loaded the LED trigger 'pattern'",
                hint="Load it with: modprobe ledtrig-pattern. To keep it, name it in a file in /etc/modules-load.d.",
            )

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise PartMissing(
                f"the files of kernel LED {self._name!r} are closed to this user",
                hint="Let a udev rule give them to the group of this program.",
            ) from error
        except OSError as error:
            if error.errno == EBUSY:
                raise PartBusy(
                    f"kernel LED {self._name!r} is in use", hint="Stop the program that has it."
                ) from error
            raise PartMissing(
                f"kernel LED {self._name!r} does not do as it is told: {error.strerror}",
                hint="Look at its files below /sys/class/leds.",
            ) from error


def pattern_text(rhythm: Rhythm, level: int) -> str:
    """Write a rhythm for the ``pattern`` file: pairs of brightness and milliseconds.

    A pair fades to the next one's brightness; a step stays because the same brightness follows it for 0 ms.
    """
    pairs: list[int] = []
    for step in steps_of(rhythm):
        brightness = round(step.brightness * level)
        pairs += [brightness, step.lasts_ms] if step.fades else [brightness, step.lasts_ms, brightness, 0]
    return " ".join(str(number) for number in pairs)
