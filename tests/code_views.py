"""Views with codes in them, and a window to see them in: a terminal emulator that this project did not write."""

import io
import re
from typing import Final

import pyte
from PIL import Image

from device_auth.core.models import CodePair, Monotonic, Refusal, Seconds, Secret, View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.terminal import Sidebar, TerminalPrompt
from device_auth.prompts.wording import Wording

PLAIN_URI: Final = "https://amazon.com/us/code"
REQUESTING: Final = View(StateWord.REQUESTING, Trouble.NONE)
SAVING: Final = View(StateWord.SAVING, Trouble.NONE)
PROVING: Final = View(StateWord.PROVING, Trouble.NONE)
LINKED: Final = View(StateWord.LINKED, Trouble.NONE)
EXPIRED: Final = Refusal(Trouble.EXPIRED, "expired_token", "the code ran out", "Ask for a new one.")

OWN_CONTROLS: Final = re.compile(r"\x1b\[[0-9;]*[mKJA]|\r|\n")


def code_pair(
    user_code: str = "AAYJHL",
    *,
    uri: str = PLAIN_URI,
    prefilled: str | None = f"{PLAIN_URI}?cbl-code=AAYJHL",
    expires_at: float = 600,
) -> CodePair:
    return CodePair(
        user_code, Secret("device"), uri, prefilled, Seconds(600), Monotonic(expires_at), Seconds(30)
    )


def waiting(
    pair: CodePair | None = None, trouble: Trouble = Trouble.NONE, *, hint: str = "", sequence: int = 0
) -> View:
    return View(StateWord.WAITING, trouble, hint=hint, code_pair=pair or code_pair(), sequence=sequence)


class Window:
    """A terminal prompt and what one sees of it."""

    def __init__(
        self,
        columns: int = 80,
        rows: int = 24,
        *,
        is_tty: bool = True,
        colour: bool = True,
        encoding: str = "utf-8",
        qr: bool = True,
        sidebar: Sidebar | None = None,
        words: Wording | None = None,
    ) -> None:
        self.out = io.StringIO()
        self.size = (columns, rows)
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self._fed = 0
        self.prompt = TerminalPrompt(
            self.out,
            size=lambda: self.size,
            is_tty=is_tty,
            colour=colour,
            encoding=encoding,
            qr=qr,
            sidebar=sidebar,
            words=words,
        )

    def show(self, view: View, now: float = 0) -> Monotonic | None:
        again = self.prompt.show(view, Monotonic(now))
        self.look()
        return again

    def look(self) -> None:
        """Bring to the screen what was written since the last look."""
        written = self.out.getvalue()
        # what the kernel's line discipline makes of a line feed
        self._stream.feed(written[self._fed :].replace("\n", "\r\n"))
        self._fed = len(written)

    def resize(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.screen.resize(rows, columns)

    @property
    def text(self) -> str:
        """All that stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def written(self) -> str:
        """All that was ever written, without our own controls but with the line ends."""
        return OWN_CONTROLS.sub(lambda match: "\n" if match[0] == "\n" else "", self.out.getvalue())


def photograph(screen: pyte.Screen, *, ink: int = 229, ground: int = 24) -> Image.Image:
    """Draw a screen cell by cell, ten pixels by twenty, as a terminal with these greys of its own does."""
    greys = {"default": None, "black": 0, "white": 170, "brightwhite": 255}
    picture = Image.new("L", (10 * screen.columns, 20 * screen.lines), ground)
    for y in range(screen.lines):
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            foreground, background = greys.get(cell.fg), greys.get(cell.bg)
            glyph = _glyph(cell.data, ink if foreground is None else foreground)
            picture.paste(
                ground if background is None else background, (10 * x, 20 * y, 10 * x + 10, 20 * y + 20)
            )
            for grey, box in glyph:
                left, top, right, bottom = box
                picture.paste(grey, (10 * x + left, 20 * y + top, 10 * x + right, 20 * y + bottom))
    return picture


def _glyph(character: str, ink: int) -> list[tuple[int, tuple[int, int, int, int]]]:
    strokes = {
        "█": [(0, 0, 10, 20)],
        "▀": [(0, 0, 10, 10)],
        "▄": [(0, 10, 10, 20)],
        "#": [(2, 3, 4, 17), (6, 3, 8, 17), (0, 6, 10, 8), (0, 12, 10, 14)],
        " ": [],
    }
    return [(ink, box) for box in strokes.get(character, [(2, 5, 8, 16)])]
