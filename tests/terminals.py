"""A terminal on the other end of a line: it obeys as many sequences as the console panel sends, and refuses others."""

import fcntl
import os
import re
import struct
import termios
from types import TracebackType
from typing import Self

from PIL import Image

from hardware.board import open_panel
from hardware.console import ConsolePanel
from hardware.plans import read_panel

SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\[13\]|\x1b%G|([^\x1b])")
SYNC = "\x07"
DARK, LIT = 0, 1


class Terminal:
    """A pseudo-terminal of a given size, and what stands on its screen."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.cells: dict[tuple[int, int], tuple[str, int, int]] = {}
        self.ink, self.ground = LIT, DARK
        self.row = self.column = 1
        self.cursor_is_shown = True
        self.heard = b""
        self.writes = 0

    def __enter__(self) -> Self:
        self.far, self.near = os.openpty()
        size = struct.pack("HHHH", self.rows, self.columns, 0, 0)
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, size)
        self.name = os.ttyname(self.near)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self.near)
        os.close(self.far)

    def open(self, **settings: object) -> ConsolePanel:
        table = {"kind": "console", "device": self.name, "charset": "utf-8", **settings}
        panel = open_panel(read_panel(table))
        assert isinstance(panel, ConsolePanel)
        return panel

    def listen(self) -> bytes:
        """Obey everything that was written up to now, and give it."""
        os.write(self.near, SYNC.encode())
        heard = b""
        while not heard.endswith(SYNC.encode()):
            heard += os.read(self.far, 65536)
        heard = heard.removesuffix(SYNC.encode())
        self.writes += bool(heard)
        self.heard += heard
        self.obey(heard.decode())
        return heard

    def count_writes(self) -> int:
        """Count how often something new was found to have been written."""
        self.listen()
        return self.writes

    def obey(self, text: str) -> None:
        place = 0
        while place < len(text):
            found = SEQUENCE.match(text, place)
            assert found, f"not understood: {text[place : place + 10]!r}"
            place = found.end()
            if found[3]:
                assert self.row <= self.rows, "written below the screen"
                assert self.column <= self.columns, "written beyond the right edge"
                self.cells[self.row, self.column] = (found[3], self.ink, self.ground)
                self.column += 1
            elif found[2]:
                self.sequence(found[1], found[2])

    def sequence(self, arguments: str, final: str) -> None:
        match final, arguments:
            case "H", "":
                self.row = self.column = 1
            case "H", _:
                self.row, self.column = map(int, arguments.split(";"))
            case "J", "2":
                self.cells.clear()
            case "K", "":
                for column in range(self.column, self.columns + 1):
                    self.cells.pop((self.row, column), None)
            case "m", "0":
                self.ink, self.ground = LIT, DARK
            case "m", "30;47":
                self.ink, self.ground = DARK, LIT
            case "m", "40":
                self.ground = DARK
            case "h" | "l", "?25":
                self.cursor_is_shown = final == "h"
            case _:
                raise AssertionError(f"not understood: {arguments}{final}")

    def row_text(self, row: int) -> str:
        return "".join(
            self.cells.get((row, column), " ")[0] for column in range(1, self.columns + 1)
        ).rstrip()

    def picture(self, *, dots_across: int = 1) -> Image.Image:
        """What is lit: each character cell is two dots high and one wide, or two cells are a dot of ASCII."""
        self.listen()
        image = Image.new("1", (self.columns // dots_across, self.rows * (3 - dots_across)))
        for (row, column), (character, ink, ground) in self.cells.items():
            upper, lower = {
                " ": (ground, ground),
                "▀": (ink, ground),
                "▄": (ground, ink),
                "█": (ink, ink),
            }.get(character, (ord(character) & 1, ord(character) >> 1 & 1))
            if dots_across == 1:
                image.putpixel((column - 1, 2 * row - 2), upper)
                image.putpixel((column - 1, 2 * row - 1), lower)
            else:
                image.putpixel(((column - 1) // 2, row - 1), upper)
        return image
