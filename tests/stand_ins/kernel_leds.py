"""A directory with a kernel LED's files that answers writes as the kernel does.

Source: drivers/leds/led-class.c, led-triggers.c, led-core.c and trigger/ledtrig-pattern.c. The files are real files in a real
directory; what is special is the path, whose ``write_text`` lets the kernel have its say.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRAME_MS = 50


class KernelLedFiles:
    """One LED: its files, and what it shows at any moment.

    Args:
        root: the LED class directory to make it in.
        now: tells the time in seconds.
        most: ``max_brightness``; 1 for an LED on a GPIO.
        triggers: those the kernel has loaded.
        granted_after: how long udev needs, from the trigger on, until its rule has given us the file ``pattern``.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        now: Callable[[], float],
        *,
        most: int = 255,
        triggers: Sequence[str] = ("none", "timer", "pattern"),
        granted_after: float = 0.0,
    ) -> None:
        self.directory = root / name
        self._now = now
        self.most = most
        self.triggers = list(triggers)
        self.writes: list[tuple[str, str]] = []
        self.fails_with = 0
        self.granted_after = granted_after
        self._trigger = "none"
        self._brightness = 0
        self._pairs: list[tuple[int, int]] = []
        self._since = 0.0
        self._made_at = 0.0
        self.directory.mkdir(parents=True)
        self._set("max_brightness", most)
        self._set("brightness", 0)
        self._show_triggers()

    @property
    def root(self) -> Path:
        """The LED class directory, as a path whose files are the kernel's."""
        return _KernelPath.to(self, self.directory.parent)

    def brightness(self) -> int:
        """What the ``brightness`` file would say now."""
        elapsed_ms = round((self._now() - self._since) * 1000)
        if self._trigger == "pattern" and self._pairs:
            return self._of_pattern(elapsed_ms)
        return self._brightness

    def write(self, name: str, text: str) -> None:
        """Take a write as the kernel would."""
        is_early = name == "pattern" and self._now() - self._made_at < self.granted_after
        if failure := EACCES if is_early else self.fails_with:
            raise OSError(failure, os.strerror(failure))
        self.writes.append((name, text))
        match name:
            case "trigger":
                self._start(text.strip())
            case "brightness":
                self._take_brightness(int(text))
            case "pattern":
                self._take_pattern([int(word) for word in text.split()])
            case _:
                raise OSError(EBUSY, os.strerror(EBUSY))

    def _start(self, trigger: str) -> None:
        if trigger not in self.triggers:
            raise OSError(EINVAL, os.strerror(EINVAL))
        for name in ("pattern", "repeat"):
            (self.directory / name).unlink(missing_ok=True)
        self._trigger, self._since, self._pairs = trigger, self._now(), []
        self._brightness = 0
        if trigger == "pattern":
            self._made_at = self._now()
            self._set("pattern", "")
            self._set("repeat", -1)
        self._show_triggers()

    def _take_brightness(self, level: int) -> None:
        level = min(level, self.most)
        if level == 0:
            self._start("none")
        self._brightness = level
        self._set("brightness", level)

    def _take_pattern(self, numbers: list[int]) -> None:
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if len(numbers) % 2 or len(pairs) < 2 or any(level > self.most for level, _ in pairs):
            self._pairs = []
            raise OSError(EINVAL, os.strerror(EINVAL))
        self._pairs, self._since = pairs, self._now()

    def _of_pattern(self, elapsed_ms: int) -> int:
        left_ms = elapsed_ms % sum(time for _, time in self._pairs)
        for place, (level, time) in enumerate(self._pairs):
            if left_ms < time:
                following = self._pairs[(place + 1) % len(self._pairs)][0]
                step = abs(following - level) * (left_ms // FRAME_MS * FRAME_MS) // time
                return level + step if following > level else level - step
            left_ms -= time
        raise AssertionError("a pattern without time")

    def _show_triggers(self) -> None:
        self._set(
            "trigger", " ".join(f"[{name}]" if name == self._trigger else name for name in self.triggers)
        )

    def _set(self, name: str, value: object) -> None:
        (self.directory / name).write_text(f"{value}\n")


class _KernelPath(type(Path())):  # type: ignore[misc] # pathlib chooses the class to derive from at run time
    """A path below the LED class directory whose writes go through the kernel."""

    led: KernelLedFiles

    @classmethod
    def to(cls, led: KernelLedFiles, path: Path) -> Path:
        """Make a path whose files, and those below it, are this LED's."""
        bound: type[Path] = type("KernelPath", (cls,), {"led": led})
        return bound(path)

    def write_text(self, data: str, *_: object, **__: object) -> int:
        """Open for writing, which fails for a file that is not there, then let the kernel take what is written."""
        with self.open("r+"):
            self.led.write(self.name, data)
        return len(data)
