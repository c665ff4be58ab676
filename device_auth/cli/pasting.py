"""A line of standard input, pasted by a person or piped in by a program.

It is read past the stream's own buffer, so that a thread may be left waiting for it when the command ends.
"""

import sys
from select import select
from typing import Final

LONGEST_WAIT: Final = 0.5
"""Seconds."""


def is_typed() -> bool:
    """Return whether a person types it, and can be asked again."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_line(longest: int) -> str:
    """Wait for one line, and return it with its end, or empty if there is no more.

    Args:
        longest: bytes of it, at most.
    """
    if sys.stdin is None:
        return ""
    try:
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stream:
            # A Ctrl-C just before the wait does not end it, and is noticed when the wait is over.
            while not select([stream], [], [], LONGEST_WAIT)[0]:
                pass
            return stream.readline(longest).decode("utf-8", "replace")
    except (OSError, ValueError):
        # The terminal has gone away, or there never was a file; or the command has ended before its thread began to
        # read, and the stream is closed already (ValueError).
        return ""


def ask_hidden(question: str) -> str:
    """Ask for a line that is not shown while it is typed, and return it."""
    from getpass import getpass

    try:
        return getpass(question, stream=sys.stderr)
    except EOFError:
        return ""
