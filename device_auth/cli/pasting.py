"""What a person pastes, or a program pipes in: a line of standard input.

Read past the stream's own buffer, so that a thread may be left waiting for it when the command ends.
"""

import sys
from select import select
from typing import Final

LONGEST_WAIT: Final = 0.5
"""Seconds."""


def is_typed() -> bool:
    """Return whether somebody types it, and can be asked again."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_line(longest: int) -> str:
    """Wait for one line; give it with its end, at most so many bytes of it. Nothing: there is no more."""
    if sys.stdin is None:
        return ""
    try:
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stream:
            # Ctrl-C that comes just before the wait does not end it: it is heard when the wait is over.
            while not select([stream], [], [], LONGEST_WAIT)[0]:
                pass
            return stream.readline(longest).decode("utf-8", "replace")
    except OSError:
        return ""  # the terminal has gone away, or there never was a file


def ask_hidden(question: str) -> str:
    """Ask for a line that is not shown while it is typed."""
    from getpass import getpass

    try:
        return getpass(question, stream=sys.stderr)
    except EOFError:
        return ""
