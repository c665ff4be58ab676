"""A panel of characters: the Linux console (``/dev/tty1``) or a terminal on a serial line (``/dev/ttyAMA0``).

The colours are set to black on white, so that the QR code is dark on a lit ground in a terminal of any colours.
Source of the sequences: console_codes(4).
"""

import os
import termios
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from re import fullmatch
from select import select
from typing import TYPE_CHECKING, Final

from hardware.errors import HardwareError, Hints, PartBusy, PartMissing, device_errors, explain
from hardware.panel import Matrix, Picture, Shown, count_down, is_drawable, split_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.plans import ConsolePlan

QUIET_MODULES: Final = 4
"""Lit ground on every side of a QR code. Source: ISO/IEC 18004."""

_GAP_COLUMNS: Final = 2
STALL_TIMEOUT_S: Final = 5.0
"""How long a line may take no text before it counts as stuck (flow control, a pulled cable)."""

_UNKNOWN_SIZE: Final = os.terminal_size((80, 24))
"""The size of a serial line, which does not report one: that of a VT100."""

_PLAIN: Final = "\x1b[0m"
_LIT: Final = "\x1b[30;47m"
_DARK: Final = "\x1b[40m"
_HALF_BLOCKS: Final = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}

_OPENING: Final = "\x1b[?25l\x1b[0m\x1b[2J"
_CLOSING: Final = "\x1b[0m\x1b[2J\x1b[H\x1b[?25h"
_WAKE: Final = "\x1b[13]\x1b%G"
"""On a Linux console: unblank the screen and read UTF-8."""


@dataclass(frozen=True, slots=True)
class Screen:
    """The size of a terminal, and its character set."""

    columns: int
    rows: int
    is_utf8: bool

    @property
    def last(self) -> int:
        """Return the last code point that its font has for certain."""
        return 0xFF if self.is_utf8 else 0x7F


@dataclass(frozen=True, slots=True)
class Drawing:
    """The rows of a screen with their escape sequences, and the parts of the picture that they show."""

    rows: tuple[str, ...]
    shown: Shown


def draw(picture: Picture, screen: Screen) -> Drawing:
    """Place the text beside the QR code, else below it, else alone."""
    if not is_drawable(picture.text, screen.last):
        return Drawing(
            (), Shown(text=False, qr=False, reason="the text has characters this console cannot show")
        )
    size = f"{screen.columns} × {screen.rows} characters"
    reason = ""
    if picture.qr is not None:
        code = _code_rows(picture.qr, screen)
        width = _code_width(len(picture.qr), screen)
        if width <= screen.columns and len(code) <= screen.rows:
            beside = _text_rows(picture, screen.columns - width - _GAP_COLUMNS, screen.rows, screen.last)
            if beside:
                return Drawing(_side_by_side(code, width, beside), Shown(text=True, qr=True))
            below = _text_rows(picture, screen.columns, screen.rows - len(code) - 1, screen.last)
            if below:
                return Drawing((*code, "", *below), Shown(text=True, qr=True))
        reason = f"the QR code and the text do not fit {size}"
    alone = _text_rows(picture, screen.columns, screen.rows, screen.last)
    if not alone:
        return Drawing((), Shown(text=False, qr=False, reason=f"the text does not fit {size}"))
    return Drawing(alone, Shown(text=True, qr=False, reason=reason))


def _text_rows(picture: Picture, columns: int, rows: int, last: int) -> tuple[str, ...]:
    """Return caption, text and countdown below each other; without the caption, or nothing, if they do not fit."""
    clock = count_down(picture.seconds_left)
    caption = picture.caption if is_drawable(picture.caption, last) else ""
    for parts in ((caption, picture.text, clock), (picture.text, clock)):
        written = _paragraphs([part for part in parts if part], max(1, columns))
        if columns >= max(1, len(clock)) and len(written) <= rows:
            return written
    return ()


def _code_width(side: int, screen: Screen) -> int:
    return (side + 2 * QUIET_MODULES) * (1 if screen.is_utf8 else 2)


def _code_rows(qr: Matrix, screen: Screen) -> tuple[str, ...]:
    """Return a QR code with its quiet zone: two modules to a character, or two blanks to a module in ASCII."""
    blank = (False,) * (len(qr) + 2 * QUIET_MODULES)
    sides = (False,) * QUIET_MODULES
    modules = [*[blank] * QUIET_MODULES, *((*sides, *row, *sides) for row in qr), *[blank] * QUIET_MODULES]
    if screen.is_utf8:
        pairs = zip_longest(modules[::2], modules[1::2], fillvalue=blank)
        return tuple(
            _LIT + "".join(_HALF_BLOCKS[pair] for pair in zip(*rows, strict=True)) + _PLAIN for rows in pairs
        )
    return tuple(
        "".join((_DARK if dark else _LIT) + "  " * len(list(run)) for dark, run in groupby(row)) + _PLAIN
        for row in modules
    )


class ConsolePanel:
    """The whole screen of a terminal; only rows that have changed are written again."""

    def __init__(
        self, terminal: int, screen: Screen, *, wake: str = "", timeout: float = STALL_TIMEOUT_S
    ) -> None:
        self._terminal = terminal
        self._screen = screen
        self._opening = wake + _OPENING
        self._timeout = timeout
        self._rows: tuple[str, ...] | None = None

    @property
    def largest_qr(self) -> int:
        """Return the size of the largest QR code that fits, in modules a side; 0 if none fits."""
        rows = self._screen.rows * (2 if self._screen.is_utf8 else 1)
        columns = self._screen.columns // (1 if self._screen.is_utf8 else 2)
        return max(0, min(rows, columns) - 2 * QUIET_MODULES)

    def show(self, picture: Picture) -> Shown:
        """Show a picture, and return which parts of it can be seen."""
        drawing = draw(picture, self._screen)
        written = "" if self._rows is not None else self._opening
        pairs = zip_longest(self._rows or (), drawing.rows, fillvalue="")
        for number, (old, new) in enumerate(pairs, start=1):
            if new != old:
                written += f"\x1b[{number};1H{new}\x1b[K"
        self._write(written)
        self._rows = drawing.rows
        return drawing.shown

    def clear(self) -> None:
        """Show nothing, with the cursor."""
        if self._rows is not None:
            self._write(_CLOSING)
            self._rows = None

    def close(self) -> None:
        """Show nothing and release the terminal."""
        try:
            self.clear()
        finally:
            os.close(self._terminal)

    def _write(self, text: str) -> None:
        left = text.encode()
        while left:
            with _line_errors():
                if not select([], [self._terminal], [], self._timeout)[1]:
                    raise PartBusy(
                        "cannot write to the console: it did not accept the text in time",
                        hint="Check the cable, the baud rate and the flow control.",
                    )
                left = left[os.write(self._terminal, left) :]


def open_console(plan: "ConsolePlan") -> ConsolePanel:
    """Open a terminal as a panel.

    Raises:
        HardwareError: if it is missing, permission is denied, it is not a terminal, or it does not answer.
    """
    is_linux_console = fullmatch(r"tty\d+", plan.device.name) is not None
    terminal = _open_terminal(plan.device, is_linux_console=is_linux_console)
    try:
        with _line_errors():
            if plan.baud:
                _set_baud(terminal, plan.baud)
            size = os.get_terminal_size(terminal)
    except HardwareError:
        os.close(terminal)
        raise
    screen = Screen(
        plan.columns or size.columns or _UNKNOWN_SIZE.columns,
        plan.rows or size.lines or _UNKNOWN_SIZE.lines,
        is_utf8=is_linux_console if plan.charset == "auto" else plan.charset == "utf-8",
    )
    return ConsolePanel(terminal, screen, wake=_WAKE if is_linux_console else "")


def _open_terminal(device: Path, *, is_linux_console: bool) -> int:
    group = "tty" if is_linux_console else "dialout"
    hints = Hints(
        missing="Use the name of a console that exists; a serial line needs enable_uart=1 in /boot/firmware/config.txt.",
        denied=f"Add the user to the group {group}: sudo usermod -aG {group} USER, then log in again.",
        failed=f"Find the program that uses it: fuser -v {device}.",
    )
    with device_errors(str(device), hints):
        # Without O_NONBLOCK the open of a serial line waits for a carrier, for ever.
        terminal = os.open(device, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not os.isatty(terminal):
        os.close(terminal)
        raise PartMissing(
            f"{device} is not a terminal", hint="Name a console such as /dev/tty1 or /dev/ttyAMA0."
        )
    return terminal


def _set_baud(terminal: int, baud: int) -> None:
    speed = getattr(termios, f"B{baud}")
    attributes = termios.tcgetattr(terminal)
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _paragraphs(parts: list[str], columns: int) -> tuple[str, ...]:
    rows = [row for part in parts for row in ("", *split_rows(part, columns))]
    return tuple(rows[1:])


def _side_by_side(code: tuple[str, ...], width: int, text: tuple[str, ...]) -> tuple[str, ...]:
    pairs = zip_longest(code, text, fillvalue="")
    return tuple(f"{left or ' ' * width}{' ' * _GAP_COLUMNS}{right}".rstrip() for left, right in pairs)


@contextmanager
def _line_errors() -> "Iterator[None]":
    try:
        yield
    except (OSError, termios.error) as failed:
        raise PartBusy(
            f"the console does not answer: {explain(failed)}", hint="Check that the device is still there."
        ) from failed
