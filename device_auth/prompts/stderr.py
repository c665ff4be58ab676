"""One sentence for the person at the command line, on stderr."""

import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device_auth.prompts.wording import Wording

USUAL_COLUMNS: Final = 80
"""Of a terminal that does not know its own size, as a serial line."""

FIRST_VTE: Final = 5000
LINKING_VARIABLES: Final = {"WT_SESSION", "KONSOLE_VERSION", "KITTY_WINDOW_ID", "DOMTERM"}
LINKING_PROGRAMS: Final = {"iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper"}
LINKING_TERMS: Final = ("xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm")


def words_for(locale: str, stream: TextIO) -> "Wording | None":
    """Return the words of a person's language; None for English, which ``core.states`` has, with the commands to run.

    Args:
        locale: of the settings: of several the first counts.
        stream: English is written to one whose encoding has not the characters.
    """
    if locale.lower().startswith("en-"):
        return None
    from device_auth.prompts.wording import DEFAULT_LANGUAGE, find_language, read_wording

    language = find_language(locale)[0] or DEFAULT_LANGUAGE
    if language.startswith(DEFAULT_LANGUAGE):
        return None
    wording = read_wording(language)
    try:
        "".join(wording.states.values()).encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return None
    return wording


def shows_links(environ: "Mapping[str, str]") -> bool:
    """Return whether a terminal is known to make a link of an address (OSC 8); others may print the bytes of one.

    Source: gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda, "Hyperlinks in terminal emulators".
    """
    vte = environ.get("VTE_VERSION", "")
    return (
        (vte.isdecimal() and int(vte) >= FIRST_VTE)
        or bool(LINKING_VARIABLES & environ.keys())
        or environ.get("TERM_PROGRAM", "") in LINKING_PROGRAMS
        or environ.get("TERM", "").startswith(LINKING_TERMS)
    )


def minutes_of(seconds: int) -> str:
    """Return the time that is left as minutes and seconds, such as 9:05."""
    return f"{seconds // 60}:{seconds % 60:02}"


def linked(text: str, uri: str) -> str:
    """Return a text that leads to an address where it is clicked on."""
    return f"\x1b]8;;{uri}\x1b\\{text}\x1b]8;;\x1b\\"


class Stderr:
    """Standard error as it is at each write: while live lines stand on a terminal, others go above them."""

    def write(self, text: str) -> int:
        """Write whole lines, as sentences are written."""
        for line in text.splitlines():
            say(line)
        return len(text)

    def flush(self) -> None:
        """Have them seen."""
        sys.stderr.flush()

    def fileno(self) -> int:
        """Return the number of the open file."""
        return sys.stderr.fileno()


def say(text: str, indent: str = "") -> None:
    """Write a sentence; on a terminal, broken between words and never within an address or a path.

    A stderr that takes nothing, as on a full disk, is replaced: the exit code still tells how the command ended.
    """
    if sys.stderr.isatty():
        import textwrap

        text = textwrap.fill(
            text,
            width_of(sys.stderr),
            initial_indent=indent,
            subsequent_indent=indent or "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    else:
        text = indent + text
    try:
        sys.stderr.write(f"{text}\n")  # in one piece: several threads write
        sys.stderr.flush()
    except OSError:
        sys.stderr = null_stream()  # or the interpreter would fail once more when it flushes at exit


def say_problem(message: str, hint: str) -> None:
    """Write a problem, and below it the hint."""
    say(f"device-auth: {message}")
    if hint:
        say(hint, indent="  ")


def null_stream() -> TextIO:
    """Return a stream that discards all that is written."""
    return open(os.devnull, "w")  # noqa: PTH123  it lives as long as the process


def width_of(terminal: TextIO) -> int:
    """Return the columns of a terminal; a serial line does not know its own."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or USUAL_COLUMNS
    except OSError:
        return USUAL_COLUMNS
