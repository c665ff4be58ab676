"""The terminal: the code and the steps, then one line while waiting.

Lasting lines (a code, an end) are written once and scroll away like any output. Below them are the live lines:
the state, and how long the code works. On a terminal they are overwritten in place; elsewhere each is written
when it changes. The cursor is never hidden, so nothing can leave it hidden.
"""

import os
import sys
from contextlib import contextmanager
from math import ceil
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol, TextIO, cast

from device_auth.core.models import Monotonic, Seconds
from device_auth.core.states import STATES, TROUBLES, Phrase, StateWord, Trouble, phrase_of
from device_auth.core.values import replace
from device_auth.prompts.stderr import minutes_of
from device_auth.prompts.terminal_layout import TerminalStyle, lay_out
from device_auth.prompts.view_changes import is_asked_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device_auth.core.models import CodePair, Refusal, View
    from device_auth.prompts.wording import Wording

Size = tuple[int, int]
"""Columns and rows."""

LiveLine = tuple[str, str]
"""The look of a sentence (SGR parameters), and the sentence."""

PLAIN: Final = ""
GOOD: Final = "1;32"
WARNING: Final = "33"
BAD: Final = "1;31"

CLEAR_LINE: Final = "\x1b[K"
CLEAR_BELOW: Final = "\x1b[J"

USUAL_SIZE: Final = (80, 24)
A_MINUTE: Final = 60

ENDLESS: Final = (80, 1_000_000)
"""The size of any other output."""

LEAST_ROWS_WITH_SIDEBAR: Final = 12
"""With fewer rows the sidebar is not shown."""

ONGOING: Final = {StateWord.REQUESTING, StateWord.WAITING, StateWord.SAVING, StateWord.PROVING}


class Sidebar(Protocol):
    """Live lines of another source on the same terminal, above those of the prompt."""

    @property
    def rows(self) -> int:
        """Return the most lines that it has."""
        ...

    def lines(self, style: TerminalStyle) -> list[str]:
        """Return its lines at this moment, clean, each narrower than the terminal."""
        ...

    def changes_at(self, now: Monotonic) -> Monotonic:
        """Return the moment at which to draw them again."""
        ...


def open_terminal(
    stream: TextIO,
    *,
    environ_no_color: bool,
    qr: bool,
    is_dumb: bool = False,
    sidebar: Sidebar | None = None,
    speaker: str = "",
    words: "Wording | None" = None,
    has_links: bool = False,
) -> "TerminalPrompt":
    """Open the prompt for a stream, and find out what the stream can show.

    A stream with a file is written to without the stream's own buffer: a terminal that has been stopped (Ctrl-S)
    then blocks this prompt's thread alone, and not the flush of the stream at exit.

    Args:
        stream: standard error, as a rule.
        environ_no_color: whether the environment asks for no colours (https://no-color.org).
        qr: whether to draw the QR code.
        is_dumb: whether a terminal obeys no escape sequence; it is written to like a file.
        sidebar: shown as well, if the stream is a terminal.
        speaker: what people call it.
        words: of another language than English.
        has_links: whether a terminal makes links of addresses.
    """
    encoding = stream.encoding or "ascii"
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return TerminalPrompt(
            stream,
            size=lambda: ENDLESS,
            is_tty=False,
            colour=False,
            encoding=encoding,
            qr=qr,
            speaker=speaker,
            words=words,
        )
    stream.flush()
    is_tty = os.isatty(number)
    size = (lambda: _size_of(number)) if is_tty else (lambda: ENDLESS)
    is_tty = is_tty and not is_dumb
    return TerminalPrompt(
        open(number, "w", encoding=encoding, closefd=False),
        size=size,
        is_tty=is_tty,
        colour=not environ_no_color,
        encoding=encoding,
        qr=qr,
        sidebar=sidebar if is_tty else None,
        speaker=speaker,
        words=words,
        has_links=has_links,
    )


def style_of(stream: TextIO, *, colour: bool, is_dumb: bool) -> TerminalStyle | None:
    """Return what a stream can show if it is a terminal, or None.

    Args:
        stream: standard error, as a rule.
        colour: whether colours may be used.
        is_dumb: whether a terminal obeys no escape sequence.
    """
    if not stream.isatty():
        return None
    return TerminalStyle(
        *_size_of(stream.fileno()),
        encoding=stream.encoding or "ascii",
        colour=colour,
        has_black_and_white=not is_dumb,
    )


def _size_of(number: int) -> Size:
    """Return the size of a terminal; a serial line does not know its size and reports 0 × 0."""
    try:
        columns, rows = os.get_terminal_size(number)
    except OSError:
        return USUAL_SIZE
    return (columns, rows) if columns and rows else USUAL_SIZE


class TerminalPrompt:
    """Tells a person at a terminal, or the later reader of its lines.

    Args:
        stream: its errors go to the caller.
        size: called at each view, because a window may be resized.
        is_tty: whether lines can be overwritten; if not, no control character is written.
        colour: whether colours and bold letters may be used; on a terminal only.
        encoding: of the stream.
        qr: whether to draw the QR code.
        sidebar: shown above the live lines; on a terminal only.
        speaker: what people call it.
        words: of another language than English.
        has_links: whether addresses can be clicked on; on a terminal only.
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
        sidebar: Sidebar | None = None,
        speaker: str = "",
        words: "Wording | None" = None,
        has_links: bool = False,
    ) -> None:
        self._stream = stream
        self._size = size
        self._is_tty = is_tty
        self._colour = colour and is_tty
        self._encoding = encoding
        self._qr = qr
        self._sidebar = sidebar
        self._speaker = speaker
        self._words = words
        self._has_links = has_links and is_tty
        self._view: View | None = None
        self._drawn: CodePair | None = None
        self._seen: Size | None = None
        self._written_for: Size | None = None
        self._live: list[str] = []
        self._lock = RLock()

    @contextmanager
    def lines_go_above(self) -> "Iterator[None]":
        """Write what others write to standard error meanwhile, whole lines, above the live lines; on a terminal only."""
        if not self._is_tty:
            yield
            return
        former, sys.stderr = sys.stderr, cast("TextIO", _LinesAbove(self._write_above, sys.stderr))
        try:
            yield
        finally:
            sys.stderr = former

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Write the new lines; on a terminal write the live lines again."""
        with self._lock:
            return self._show(view, now)

    def _show(self, view: "View", now: Monotonic) -> Monotonic | None:
        before, self._view = self._view, view
        size, last_seen = self._size(), self._seen
        self._seen = size
        is_resized = self._is_tty and self._written_for not in {None, size}
        if is_resized and size != last_seen and view == before:
            return self._next(view, now)  # the window may still be changing: try again in a second
        self._written_for = size
        style = TerminalStyle(
            *size,
            encoding=self._encoding,
            colour=self._colour,
            has_black_and_white=self._is_tty,
            has_links=self._has_links,
        )
        sidebar = self._sidebar if style.rows >= LEAST_ROWS_WITH_SIDEBAR else None
        room = style if sidebar is None else replace(style, rows=style.rows - sidebar.rows)
        lasting = self._lasting(view, before, room, is_resized=is_resized)
        live = self._live_lines(view, before, now)
        if self._is_tty:
            above = [] if sidebar is None else sidebar.lines(style)
            self._overwrite(lasting, above, live, style, is_resized=is_resized)
        else:
            self._append(lasting, live, style)
        due = (self._next(view, now), None if sidebar is None else sidebar.changes_at(now))
        return min((moment for moment in due if moment is not None), default=None)

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        with self._lock:
            if self._is_tty and self._live:
                self._live = []
                self._write("\n")

    # -----------------------------------------------------------------------------------------------------
    # The lines of a view

    def _lasting(
        self, view: "View", before: "View | None", style: TerminalStyle, *, is_resized: bool
    ) -> list[str]:
        again = before is None or is_asked_for(before, view)
        lines: list[str] = []
        if view.notice is not None and (again or before is None or view.notice is not before.notice):
            from device_auth.prompts.wording import DEFAULT_LANGUAGE, notice_text, read_wording

            wording = self._words or read_wording(DEFAULT_LANGUAGE)
            lines += style.wrap(notice_text(wording, view.notice, self._speaker))
        if view.refusal is not None and (again or before is None or view.refusal != before.refusal):
            lines += style.wrap(self._refusal_text(view.refusal, view.hint), sgr=BAD)
        if view.code_pair is not None and (again or is_resized or view.code_pair != self._drawn):
            is_renewed = self._drawn not in {None, view.code_pair}
            lines += lay_out(view.code_pair, style, qr=self._qr, renewed=is_renewed, words=self._words)
            self._drawn = view.code_pair
        if view.state is StateWord.LINKED:
            self._drawn = None  # it was used up: the next code replaces none
        is_asked = again and view.notice is None
        if view.state is StateWord.LINKED and (is_asked or before is None or before.state is not view.state):
            lines += style.wrap(self._linked_text(view), sgr=GOOD)
            lines += style.wrap(view.doubt, sgr=WARNING) if view.doubt else []
        return lines

    def _live_lines(self, view: "View", before: "View | None", now: Monotonic) -> list[LiveLine]:
        lines: list[LiveLine] = []
        if view.state is StateWord.WAITING and view.code_pair is not None:
            left = Seconds(view.code_pair.expires_at - now)
            lines.append((PLAIN, self._waiting_text(left)))
        elif view.state in ONGOING:
            words = self._words
            lines.append((PLAIN, words.states[view.state] if words else " ".join(STATES[view.state]).strip()))
        if view.trouble not in {Trouble.NONE, view.refusal.trouble if view.refusal else Trouble.NONE}:
            lines.append((WARNING, " ".join(self._phrase_of(view)).strip()))
        elif self._has_cleared(view, before) and not self._is_tty and self._words is None:
            lines.append((PLAIN, TROUBLES[Trouble.NONE].sentence))
        return lines

    def _phrase_of(self, view: "View") -> Phrase:
        if self._words is None:
            phrase = phrase_of(view.state, view.trouble, is_checking=view.is_checking)
            return phrase._replace(next_step=view.hint or phrase.next_step)
        from device_auth.prompts.wording import written_phrase

        return written_phrase(self._words, view.state, view.trouble, view.hint, is_checking=view.is_checking)

    def _waiting_text(self, left: Seconds) -> str:
        seconds = max(0, ceil(round(left, 3)))
        if not self._is_tty and seconds > A_MINUTE:  # a file gets a line for each minute
            seconds += -seconds % A_MINUTE
        if self._words is None:
            return f"Waiting for your approval. Time left: {self._in_words(seconds)}"
        valid = self._words.page["valid"].format(time=minutes_of(seconds))
        return f"{self._words.states[StateWord.WAITING]} {valid}"

    def _refusal_text(self, refusal: "Refusal", hint: str) -> str:
        """Return what ended the attempt; in another language than English what only an administrator can mend stays as it is."""
        own = None if self._words is None else self._words.troubles.get(refusal.trouble)
        if own and refusal.trouble in {Trouble.DENIED, Trouble.EXPIRED}:
            return f"{own.sentence} {own.next_step}"
        phrase = TROUBLES[refusal.trouble]
        reason = refusal.message.strip() or phrase.sentence
        stop = "" if reason.endswith((".", "!", "?")) else "."
        text = f"{reason[0].upper()}{reason[1:]}{stop} {refusal.hint or hint or phrase.next_step}"
        return f"{own.sentence} {text}" if own else text

    def _linked_text(self, view: "View") -> str:
        if self._words is None:
            whose = f" The account is {view.account}." if view.account else ""
            promise = "" if view.doubt else " It stays linked, also when the speaker is unplugged."
            return f"Linked.{whose}{promise}"
        moments = self._words.moments
        text = moments["linked-to"].format(account=view.account) if view.account else moments["just-linked"]
        return f"{text} {moments['for-now']}" if view.doubt else text

    def _has_cleared(self, view: "View", before: "View | None") -> bool:
        had_trouble = before is not None and before.trouble is not Trouble.NONE and before.refusal is None
        return had_trouble and view.trouble is Trouble.NONE and view.state in ONGOING

    def _in_words(self, seconds: int) -> str:
        if self._is_tty:
            return minutes_of(seconds)
        minutes = seconds // A_MINUTE
        return f"{minutes} minute{'s' * (minutes > 1)}" if minutes else f"{seconds} s"

    def _next(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Return the moment at which the time left changes on the screen."""
        if view.state is not StateWord.WAITING or view.code_pair is None:
            return None
        unit = 1 if self._is_tty else A_MINUTE
        units = ceil(round((view.code_pair.expires_at - now) / unit, 3)) - 1
        if units < (0 if self._is_tty else 1):
            return None
        return Monotonic(view.code_pair.expires_at - unit * units)

    # -----------------------------------------------------------------------------------------------------
    # Writing

    def _overwrite(
        self,
        lasting: list[str],
        sidebar: list[str],
        live: list[LiveLine],
        style: TerminalStyle,
        *,
        is_resized: bool,
    ) -> None:
        """Write the lasting lines in place of the live lines, and the live lines below them.

        All is written at once, and a live line is overwritten before its rest is cleared, so nothing flickers. After
        a change of size the place of the live lines is unknown; they stay, and the new lines begin below them.
        """
        lines = [line for sgr, text in live for line in style.wrap(text, columns=style.columns - 1, sgr=sgr)]
        lines = [*sidebar, *lines][: max(1, style.rows - 1)]
        if not (lasting or lines or self._live):
            return
        start = "\n" if is_resized else self._to_first_live_line()
        above = CLEAR_BELOW + "".join(f"{line}\n" for line in lasting) if lasting else ""
        self._live = lines
        self._write(start + above + "\n".join(line + CLEAR_LINE for line in lines) + CLEAR_BELOW)

    def _to_first_live_line(self) -> str:
        up = len(self._live) - 1
        return "\r" + (f"\x1b[{up}A" if up > 0 else "")

    def _write_above(self, text: str) -> None:
        """Write whole lines in place of the live lines, and those below them again."""
        with self._lock:
            below = "\n".join(line + CLEAR_LINE for line in self._live)
            self._write((self._to_first_live_line() + CLEAR_BELOW if self._live else "") + text + below)

    def _append(self, lasting: list[str], live: list[LiveLine], style: TerminalStyle) -> None:
        """Write the lasting lines, and each live sentence that was not among the last ones: one change, one line."""
        sentences = [sentence for _, sentence in live]
        fresh = [sentence for sentence in sentences if lasting or sentence not in self._live]
        self._live = sentences
        lines = [*lasting, *(" ".join(style.clean(sentence).split()) for sentence in fresh)]
        if lines:
            self._write("".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _LinesAbove:
    """Standard error while live lines stand on it: each write is of whole lines, and goes above them."""

    def __init__(self, write_above: "Callable[[str], None]", stream: TextIO) -> None:
        self._write_above = write_above
        self._stream = stream

    def write(self, text: str) -> int:
        self._write_above(text)
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
