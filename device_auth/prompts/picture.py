"""The QR code: its modules, and how they are drawn.

Only the matrix of the qrcode library is used. All functions draw dark modules on a lit ground with the
full quiet zone, because many decoders do not read the reverse.
"""

import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from device_auth.core.errors import ConfigError, DeviceAuthError
from hardware.errors import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device_auth.core.models import CodePair, Monotonic, View

Matrix = tuple[tuple[bool, ...], ...]
"""Rows of modules from the top, true where dark, with the quiet zone."""

QUIET_ZONE: Final = 4
"""Light modules around the code. Source: ISO/IEC 18004, quiet zone of QR Code symbols."""

BLOCKS: Final = "█▀▄"
"""The characters of :func:`half_blocks`."""

WHITE_ON_BLACK: Final = "\x1b[37;97;40m"
"""A terminal without the bright white (97) keeps the plain one (37)."""

WHITE_ON_WHITE: Final = "\x1b[37;97;47;107m"
RESET: Final = "\x1b[0m"


def read_matrix(text: str, *, level: Literal["L", "M", "Q", "H"] = "M") -> Matrix:
    """Return the QR code of a text.

    Args:
        text: for a phone to read; at level M at most 2331 bytes of UTF-8.
        level: of error correction, from least to most.

    Raises:
        ConfigError: if the qrcode library is not installed.
        DeviceAuthError: if the text is too long for a QR code.
    """
    try:
        from qrcode import constants
        from qrcode.main import QRCode
    except ImportError as error:
        from device_auth.installation import how_to_install

        hint = how_to_install("qrcode")
        raise ConfigError("the Python package qrcode is missing", hint=hint) from error
    levels = {
        "L": constants.ERROR_CORRECT_L,
        "M": constants.ERROR_CORRECT_M,
        "Q": constants.ERROR_CORRECT_Q,
        "H": constants.ERROR_CORRECT_H,
    }
    code = QRCode(error_correction=levels[level], border=QUIET_ZONE)
    try:
        code.add_data(text)
        code.make(fit=True)
    except ValueError as error:
        raise DeviceAuthError(
            "the address is too long for a QR code", hint="Open it by hand and enter the code."
        ) from error
    return tuple(tuple(bool(module) for module in row) for row in code.get_matrix())


def half_blocks(matrix: Matrix, *, colour: bool) -> list[str]:
    """Draw with two modules in each character cell, one above the other.

    The ink draws the *light* modules. With colours the ink is white and the ground black, which is right on any
    terminal. Without colours it is right on the usual terminal, light on dark; on a dark-on-light one the code is
    reversed, which current phones read and older decoders do not. The other choice would be wrong on most terminals.

    Returns:
        As many lines as half the modules, rounded up; each as wide as the matrix.
    """
    light_row = (False,) * len(matrix[0])
    below = (*matrix[1::2], light_row)
    cells = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    lines = [
        "".join(cells[pair] for pair in zip(*rows, strict=True))
        for rows in zip(matrix[::2], below, strict=False)
    ]
    return [f"{WHITE_ON_BLACK}{line}{RESET}" for line in lines] if colour else lines


def ascii_blocks(matrix: Matrix, *, colour: bool) -> list[str]:
    """Draw with two characters for each module, for terminals that cannot show half blocks.

    ``##`` is the ink of the light modules, see :func:`half_blocks`. With colours its ground is white too; without
    colours a camera sees a grey ground, and must be held further away.
    """
    return ["".join(_ascii_run(dark, length, colour) for dark, _, length in _runs(row)) for row in matrix]


def _ascii_run(dark: bool, length: int, colour: bool) -> str:
    cells = ("  " if dark else "##") * length
    if not colour:
        return cells
    return f"{WHITE_ON_BLACK if dark else WHITE_ON_WHITE}{cells}{RESET}"


def _runs(row: tuple[bool, ...]) -> "Iterator[tuple[bool, int, int]]":
    """Yield each run of equal modules: whether it is dark, its start and its length."""
    x = 0
    for dark, run in groupby(row):
        length = len(tuple(run))
        yield dark, x, length
        x += length


def svg(matrix: Matrix) -> str:
    """Draw as SVG: one unit a module, white ground, crisp edges."""
    size = len(matrix)
    path = "".join(
        f"M{x} {y}h{length}v1h-{length}z"
        for y, row in enumerate(matrix)
        for dark, x, length in _runs(row)
        if dark
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{8 * size}" height="{8 * size}"'
        ' shape-rendering="crispEdges">\n'
        f'<rect width="{size}" height="{size}" fill="#fff"/>\n'
        f'<path d="{path}" fill="#000"/>\n'
        "</svg>\n"
    )


def png(matrix: Matrix, scale: int = 8) -> bytes:
    """Draw as PNG: one bit a pixel, ``scale`` pixels a module.

    Source: PNG specification (third edition) §5, §7.2, §11.2; one bit of greyscale, rows without a filter.
    """
    import zlib

    size = len(matrix) * scale
    rows = []
    for row in matrix:
        bits = "".join(("0" if dark else "1") * scale for dark in row)
        padded = bits.ljust((size + 7) // 8 * 8, "0")
        rows.append((b"\0" + int(padded, 2).to_bytes(len(padded) // 8, "big")) * scale)
    header = size.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


# ---------------------------------------------------------------------------------------------------------
# The picture as a file

DRAWINGS: "Final[dict[str, Callable[[Matrix], bytes]]]" = {
    ".svg": lambda matrix: svg(matrix).encode(),
    ".png": png,
}
"""The drawing of each kind of file, by its suffix."""


class PictureFile(Protocol):
    """The door to the file of the picture; each method raises ``OSError`` if the system refuses."""

    path: Path

    def prove(self) -> None:
        """Raise OSError unless it could be written now."""
        ...

    def write(self, content: bytes) -> None:
        """Write it whole, readable by its owner alone, in the place of the one before."""
        ...

    def remove(self) -> None:
        """Remove it, if it is there."""
        ...


def check_picture(file: PictureFile) -> None:
    """Check that a picture can be written there, before a code is requested.

    Raises:
        ConfigError: if the suffix is neither ``.svg`` nor ``.png``, or no file can be made there.
    """
    _drawing_for(file.path)
    if os.path.isdir(file.path):  # noqa: PTH112  Path.is_dir raises in a closed folder
        raise ConfigError(f"cannot write the QR code to {file.path}: it is a folder", hint="Name a file.")
    try:
        file.prove()
    except OSError as error:
        raise _unwritable(file.path, error) from error


def write_picture(file: PictureFile, text: str) -> None:
    """Write the QR code of a text to a file, in the form that its suffix names.

    The file is its owner's alone, because a person who sees the code can link the speaker to another account before
    its owner does (RFC 8628 §5.5).

    Raises:
        DeviceAuthError: if the file cannot be written, or see :func:`read_matrix`.
    """
    picture = _drawing_for(file.path)(read_matrix(text))
    try:
        file.write(picture)
    except OSError as error:
        raise _unwritable(file.path, error) from error


def _drawing_for(path: Path) -> "Callable[[Matrix], bytes]":
    drawing = DRAWINGS.get(path.suffix.lower())
    if drawing is None:
        raise ConfigError(
            f"cannot write the QR code to {path}: unknown file type",
            hint="Name a file that ends in .svg or .png.",
        )
    return drawing


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot write the QR code to {path}: {explain(error)}",
        hint=getattr(error, "hint", "")
        or "Choose a folder that exists, that you may write to and that is not full.",
    )


class PicturePrompt:
    """Keeps a picture of the QR code in a file while the code can be used.

    Args:
        file: ends in ``.svg`` or ``.png``; an existing file is replaced.
    """

    name: Final = "picture"

    def __init__(self, file: PictureFile) -> None:
        self._file = file
        self._drawn: CodePair | None = None

    def show(self, view: "View", now: "Monotonic") -> None:  # noqa: ARG002  a picture has no countdown
        """Write the picture of a new code; remove the picture of a code that is over."""
        pair = view.code_pair
        if pair is None:
            self.close()
        elif pair != self._drawn:
            write_picture(self._file, pair.prefilled_uri or pair.verification_uri)
            self._drawn = pair

    def close(self) -> None:
        """Remove the picture, if one was written."""
        if self._drawn is not None:
            self._drawn = None
            self._file.remove()
