"""The terminal: a sheet with the code on it, then one calm line while waiting.

What lasts (a code, an end) is written once and scrolls away like any output. Below it are the live lines: what
is going on and how long the code works. On a terminal they are written over in place; elsewhere each is written
when it changes. The cursor is never hidden, so nothing can leave it hidden.
"""

import os
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from device_auth.core.models import Monotonic, Seconds
from device_auth.core.states import STATES, TROUBLES, StateWord, Trouble
from device_auth.prompts.terminal_layout import TerminalStyle, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import CodePair, Refusal, View

Size = tuple[int, int]
"""Columns and rows."""

Line = tuple[str, str]
"""How a sentence is to look (SGR parameters), and the sentence."""

PLAIN: Final = ""
GOOD: Final = "1;32"
WARNING: Final = "33"
BAD: Final = "1;31"

CLEAR_LINE: Final = "\x1b[K"
CLEAR_BELOW: Final = "\x1b[J"

USUAL_SIZE: Final = (80, 24)
ENDLESS: Final = (80, 1_000_000)
"""The size of what is not a terminal."""

LEAST_ROWS_BESIDE: Final = 12
"""Rows of a terminal below which nothing is shown aside."""

ONGOING: Final = {StateWord.REQUESTING, StateWord.WAITING, StateWord.SAVING, StateWord.PROVING}


class Sidebar(Protocol):
    """Live lines that somebody else has to show on the same terminal, above ours."""

    @property
    def rows(self) -> int:
        """How many lines it takes at the most."""
        ...

    def lines(self, paper: TerminalStyle) -> list[str]:
        """Give them as they stand now, clean, each narrower than the paper."""
        ...

    def changes_at(self, now: Monotonic) -> Monotonic:
        """Return the moment at which they should be looked at again."""
        ...


def open_terminal(
    stream: TextIO, *, environ_no_color: bool, qr: bool, aside: Sidebar | None = None
) -> "TerminalPrompt":
    """Make the prompt for a stream, finding out what it can show.

    Where there is a file below the stream, it is written to past the stream's own buffer: a terminal that has
    been stopped (Ctrl-S) then holds up this prompt's thread alone, and not the flush of the stream at exit.

    Args:
        stream: standard error, as a rule.
        environ_no_color: the environment asks for no colours (https://no-color.org).
        qr: draw the QR code.
        aside: shown as well, if the stream is a terminal.
    """
    encoding = stream.encoding or "ascii"
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return TerminalPrompt(
            stream, size=lambda: ENDLESS, is_tty=False, colour=False, encoding=encoding, qr=qr
        )
    stream.flush()
    is_tty = os.isatty(number)
    return TerminalPrompt(
        open(number, "w", encoding=encoding, closefd=False),
        size=(lambda: _size_of(number)) if is_tty else (lambda: ENDLESS),
        is_tty=is_tty,
        colour=not environ_no_color,
        encoding=encoding,
        qr=qr,
        aside=aside if is_tty else None,
    )


def paper_of(stream: TextIO, *, colour: bool) -> TerminalStyle | None:
    """Return what there is to write on where a stream is a terminal; None where it is not.

    Args:
        stream: standard error, as a rule.
        colour: colours are welcome.
    """
    if not stream.isatty():
        return None
    return TerminalStyle(*_size_of(stream.fileno()), encoding=stream.encoding or "ascii", colour=colour)


def _size_of(number: int) -> Size:
    """Return the size of a terminal; a serial line does not know its own and says 0 × 0."""
    try:
        columns, rows = os.get_terminal_size(number)
    except OSError:
        return USUAL_SIZE
    return (columns, rows) if columns and rows else USUAL_SIZE


class TerminalPrompt:
    """Tells a person at a terminal, or whoever reads its lines later.

    Args:
        stream: takes all that is written; an error of it goes to the caller.
        size: looked at anew at each show, for a window may be resized.
        is_tty: lines can be written over; if not, no control character is written.
        colour: colours and bold letters are welcome; on a tty only.
        encoding: what the stream can carry.
        qr: draw the QR code.
        aside: shown above the live lines; on a tty only.
    """

    name: Final = "terminal"

    def __init__(
        self,
        stream: TextIO,
        *,
        size: "Callable[[], Size]",
        is_tty: bool,
        colour: bool,
        encoding: str,
        qr: bool,
        aside: Sidebar | None = None,
    ) -> None:
        self._stream = stream
        self._size = size
        self._is_tty = is_tty
        self._colour = colour and is_tty
        self._encoding = encoding
        self._qr = qr
        self._aside = aside
        self._view: View | None = None
        self._drawn: CodePair | None = None
        self._seen: Size | None = None
        self._written_for: Size | None = None
        self._live: list[str] = []

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Write what is new; on a terminal write the live lines again."""
        before, self._view = self._view, view
        size, last_seen = self._size(), self._seen
        self._seen = size
        is_resized = self._is_tty and self._written_for not in {None, size}
        if is_resized and size != last_seen and view == before:
            return self._next(view, now)  # perhaps still being dragged: look again in a second
        self._written_for = size
        paper = TerminalStyle(*size, encoding=self._encoding, colour=self._colour)
        aside = self._aside if paper.rows >= LEAST_ROWS_BESIDE else None
        sheet = paper if aside is None else replace(paper, rows=paper.rows - aside.rows)
        lasting = self._lasting(view, before, sheet, is_resized=is_resized)
        live = self._going_on(view, before, now)
        if self._is_tty:
            above = [] if aside is None else aside.lines(paper)
            self._write_over(lasting, above, live, paper, is_resized=is_resized)
        else:
            self._write_on(lasting, live, paper)
        moments = (self._next(view, now), None if aside is None else aside.changes_at(now))
        return min((moment for moment in moments if moment is not None), default=None)

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        if self._is_tty and self._live:
            self._live = []
            self._write("\n")

    # -----------------------------------------------------------------------------------------------------
    # What is to be said

    def _lasting(
        self, view: "View", before: "View | None", paper: TerminalStyle, *, is_resized: bool
    ) -> list[str]:
        again = before is None or view.telling != before.telling
        lines: list[str] = []
        if view.refusal is not None and (again or before is None or view.refusal != before.refusal):
            lines += paper.wrap(_refused(view.refusal, view.hint), style=BAD)
        if view.code_pair is not None and (again or is_resized or view.code_pair != self._drawn):
            is_renewed = self._drawn not in {None, view.code_pair}
            lines += lay_out(view.code_pair, paper, qr=self._qr, renewed=is_renewed)
            self._drawn = view.code_pair
        if view.state is StateWord.LINKED and (again or before is None or before.state is not view.state):
            lines += paper.wrap(_linked(view.account), style=GOOD)
        return lines

    def _going_on(self, view: "View", before: "View | None", now: Monotonic) -> list[Line]:
        lines: list[Line] = []
        if view.state is StateWord.WAITING and view.code_pair is not None:
            left = Seconds(view.code_pair.expires_at - now)
            lines.append((PLAIN, f"Waiting for your approval. Time left: {self._in_words(left)}"))
        elif view.state in ONGOING:
            lines.append((PLAIN, " ".join(STATES[view.state]).strip()))
        if view.trouble not in {Trouble.NONE, view.refusal.trouble if view.refusal else Trouble.NONE}:
            telling = TROUBLES[view.trouble]
            lines.append((WARNING, f"{telling.sentence} {view.hint or telling.next_step}"))
        elif self._has_cleared(view, before) and not self._is_tty:
            lines.append((PLAIN, TROUBLES[Trouble.NONE].sentence))
        return lines

    def _has_cleared(self, view: "View", before: "View | None") -> bool:
        had_trouble = before is not None and before.trouble is not Trouble.NONE and before.refusal is None
        return had_trouble and view.trouble is Trouble.NONE and view.state in ONGOING

    def _in_words(self, left: Seconds) -> str:
        seconds = max(0, ceil(round(left, 3)))
        minutes, rest = divmod(seconds, 60)
        if self._is_tty:
            return f"{minutes}:{rest:02}"
        if not minutes:
            return f"{rest} s"
        minutes += bool(rest)
        return f"{minutes} minute{'s' * (minutes > 1)}"

    def _next(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Return the moment at which the time left reads differently."""
        if view.state is not StateWord.WAITING or view.code_pair is None:
            return None
        unit = 1 if self._is_tty else 60
        units = ceil(round((view.code_pair.expires_at - now) / unit, 3)) - 1
        if units < (0 if self._is_tty else 1):
            return None
        return Monotonic(view.code_pair.expires_at - unit * units)

    # -----------------------------------------------------------------------------------------------------
    # Writing

    def _write_over(
        self,
        lasting: list[str],
        aside: list[str],
        live: list[Line],
        paper: TerminalStyle,
        *,
        is_resized: bool,
    ) -> None:
        """Put what lasts in place of the live lines, and those below it.

        All goes out at once, and a live line is overwritten before its rest is cleared, so nothing flickers. After
        a change of size nobody knows where the live lines went; they stay, and all begins below them.
        """
        lines = [
            line for style, text in live for line in paper.wrap(text, columns=paper.columns - 1, style=style)
        ]
        lines = [*aside, *lines][: max(1, paper.rows - 1)]
        if not (lasting or lines or self._live):
            return
        up = len(self._live) - 1
        start = "\n" if is_resized else "\r" + (f"\x1b[{up}A" if up > 0 else "")
        above = CLEAR_BELOW + "".join(f"{line}\n" for line in lasting) if lasting else ""
        self._live = lines
        self._write(start + above + "\n".join(line + CLEAR_LINE for line in lines) + CLEAR_BELOW)

    def _write_on(self, lasting: list[str], live: list[Line], paper: TerminalStyle) -> None:
        """Write what lasts, and each live sentence that was not said last time: one change, one line."""
        sentences = [sentence for _, sentence in live]
        fresh = [sentence for sentence in sentences if lasting or sentence not in self._live]
        self._live = sentences
        lines = [*lasting, *(" ".join(paper.clean(sentence).split()) for sentence in fresh)]
        if lines:
            self._write("".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _refused(refusal: "Refusal", hint: str) -> str:
    telling = TROUBLES[refusal.trouble]
    what = refusal.message.strip() or telling.sentence
    stop = "" if what.endswith((".", "!", "?")) else "."
    return f"{what[0].upper()}{what[1:]}{stop} {refusal.hint or hint or telling.next_step}"


def _linked(account: str | None) -> str:
    whose = f" The account is {account}." if account else ""
    return f"Linked.{whose} It stays linked, also when the speaker is unplugged."
