"""Panels, and the layout of one: a QR code, a short text, a countdown.

The text is laid out first, because it must always be readable. The QR code comes beside it if both have room; else it
is left out, and the reason is returned.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final, Protocol

Matrix = tuple[tuple[bool, ...], ...]
"""The modules of a QR code, row by row and without the quiet zone; True is dark."""

MODULE_PIXELS: Final = 2
"""A side of one module: smaller ones are lost in the blur of a phone camera."""

LEAST_QUIET_PIXELS: Final = 3
"""Least lit ground above and below a QR code: 1.5 modules. tests/bench/panel_decode.py shows that decoders
find the code with it; ISO/IEC 18004 asks for 4 modules, which the two sides have."""

SMALLEST_QR_MODULES: Final = 21
"""A side of version 1. Source: ISO/IEC 18004."""

OLED_WIDTH_PIXELS: Final = 128

CELL_PIXELS: Final = 8
"""A side of one character at scale 1."""

_GAP_PIXELS: Final = 2
_LARGE_ROWS: Final = 2
"""Most rows of a text in large characters: people do not read more rows as one word."""
_SIDE_QUIET_PIXELS: Final = 4 * MODULE_PIXELS
_PIECE: Final = re.compile(r"[^-/ ]*[-/ ]|[^-/ ]+")


@dataclass(frozen=True, slots=True)
class Picture:
    """The content of a panel: the ``text``, and the rest if there is room.

    ``is_prose`` marks a text whose words are drawn smaller rather than broken in two; a code may be broken.
    """

    text: str = field(repr=False)
    qr: Matrix | None = field(default=None, repr=False)
    caption: str = ""
    seconds_left: int | None = None
    is_prose: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """The parts of a picture that can be seen, and the reason if one was left out."""

    text: bool
    qr: bool
    reason: str = ""


class Panel(Protocol):
    """A small display, which redraws only the parts that have changed."""

    @property
    def largest_qr(self) -> int:
        """Return the size of the largest QR code that fits, in modules a side; 0 if none fits."""
        ...

    def show(self, picture: Picture) -> Shown:
        """Show a picture, and return which parts of it can be seen."""
        ...

    def clear(self) -> None:
        """Show nothing."""
        ...

    def close(self) -> None:
        """Show nothing and release the device."""
        ...


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row of characters; ``x`` and ``y`` are its top left pixel, each character ``CELL_PIXELS * scale`` pixels a side."""

    x: int
    y: int
    scale: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class QrSquare:
    """A QR code on its lit ground, in pixels."""

    ground: tuple[int, int, int, int]
    x: int
    y: int
    modules: Matrix = field(repr=False)

    def dark(self) -> Iterator[tuple[int, int, int, int]]:
        """Return the left, top, right and bottom pixel of each dark module, all four inside it."""
        for row, modules in enumerate(self.modules):
            for column, is_dark in enumerate(modules):
                if is_dark:
                    left, top = self.x + column * MODULE_PIXELS, self.y + row * MODULE_PIXELS
                    yield left, top, left + MODULE_PIXELS - 1, top + MODULE_PIXELS - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The place of everything on a panel of pixels; equal layouts make equal frames."""

    lines: tuple[TextRow, ...]
    square: QrSquare | None
    shown: Shown


def lay_out(picture: Picture, width: int, height: int) -> Layout:
    """Return the layout of a picture on a panel of ``width`` × ``height`` pixels, one bit each."""
    if not is_drawable(picture.text, 0x7F):
        return Layout(
            (), None, Shown(text=False, qr=False, reason="the text has characters this panel cannot draw")
        )
    reason = ""
    if picture.qr is not None:
        side = len(picture.qr)
        if side > largest_qr(height):
            reason = f"a QR code of {side} modules does not fit {height} pixels"
        else:
            square = _square(picture.qr, height)
            left = square.ground[2] + 1 + _GAP_PIXELS
            # No caption here: the QR code has the address in it, and there is no room for a readable one.
            lines = _lines(replace(picture, caption=""), left, width - left, height)
            if lines:
                return Layout(lines, square, Shown(text=True, qr=True))
            reason = "the text does not fit beside the QR code"
    lines = _lines(picture, 0, width, height)
    if not lines:
        return Layout(
            (), None, Shown(text=False, qr=False, reason=f"the text does not fit {width} × {height} pixels")
        )
    return Layout(lines, None, Shown(text=True, qr=False, reason=reason))


def largest_qr(height: int) -> int:
    """Return the size of the largest QR code that fits in ``height`` pixels, in modules a side; 0 if none fits."""
    modules = (height - 2 * LEAST_QUIET_PIXELS) // MODULE_PIXELS
    return modules if modules >= SMALLEST_QR_MODULES else 0


def is_drawable(text: str, last: int) -> bool:
    """Return whether every character is printable and at most the code point ``last``."""
    return text.isprintable() and all(ord(character) <= last for character in text)


def split_rows(text: str, columns: int) -> tuple[str, ...]:
    """Return a text in rows of at most ``columns``, broken after ``-``, ``/`` and blanks, else into even parts."""
    rows: list[str] = []
    for piece in _PIECE.findall(text):
        word = piece.rstrip()
        if rows and len(rows[-1]) + len(word) <= columns:
            rows[-1] += piece
        elif word:
            size = ceil(len(word) / ceil(len(word) / columns))
            rows += [word[start : start + size] for start in range(0, len(word), size)]
            rows[-1] += piece[len(word) :]
    return tuple(row.strip() for row in rows if row.strip())


def count_down(seconds: int | None) -> str:
    """Return the time left as minutes and seconds, at least 0:00; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, seconds), 60)
    return f"{minutes}:{rest:02d}"


def _square(modules: Matrix, height: int) -> QrSquare:
    side = len(modules) * MODULE_PIXELS
    top = (height - side) // 2
    quiet = min(top, _SIDE_QUIET_PIXELS)
    ground = (0, top - quiet, side + 2 * _SIDE_QUIET_PIXELS - 1, top + side + quiet - 1)
    return QrSquare(ground, _SIDE_QUIET_PIXELS, top, modules)


_PREFERENCE: Final = (
    # scale of the text, with the caption, with the countdown
    (3, True, True),
    (2, True, True),
    (3, False, True),
    (2, False, True),
    (1, True, True),
    (1, False, True),
    (1, False, False),
)


def _lines(picture: Picture, left: int, width: int, height: int) -> tuple[TextRow, ...]:
    """Place text, caption and countdown in a column of pixels, as large as possible; nothing if the text does not fit."""
    caption = picture.caption if is_drawable(picture.caption, 0x7F) else ""
    clock = count_down(picture.seconds_left)
    columns = width // CELL_PIXELS
    longest = max(map(len, picture.text.split()), default=0) if picture.is_prose else 0
    for scale, with_caption, with_clock in _PREFERENCE:
        above = split_rows(caption, columns) if with_caption else ()
        below = (clock,) if clock and with_clock else ()
        middle = split_rows(picture.text, max(1, columns // scale))
        used = CELL_PIXELS * (len(above) + scale * len(middle) + len(below))
        if (
            used <= height
            and len(clock if below else "") <= columns
            and (scale == 1 or (len(middle) <= _LARGE_ROWS and longest * scale <= columns))
        ):
            return tuple(_stack(left, height - used, scale, above, middle, below))
    return ()


def _stack(
    left: int, spare: int, scale: int, above: tuple[str, ...], middle: tuple[str, ...], below: tuple[str, ...]
) -> Iterator[TextRow]:
    y = 0
    for text in above:
        yield TextRow(left, y, 1, text)
        y += CELL_PIXELS
    y += spare // 2
    for text in middle:
        yield TextRow(left, y, scale, text)
        y += CELL_PIXELS * scale
    y += spare - spare // 2
    for text in below:
        yield TextRow(left, y, 1, text)
