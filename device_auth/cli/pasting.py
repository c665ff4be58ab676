"""Text on standard input, pasted by a person or piped in by a program.

It is read past the stream's own buffer, so that a thread may be left waiting for it when the command ends.
"""

import os
import sys
from contextlib import suppress
from select import select
from typing import Final

LONGEST_WAIT: Final = 0.5
"""Seconds."""

PAUSE: Final = 0.2
"""Seconds without another line after which a paste is over. A terminal hands over what is pasted line by line."""

PAUSE_OF_PROGRAM: Final = 1.0
"""The same for a program that leaves the pipe open; it may write in pieces."""

LARGEST_PIECE: Final = 4096
"""Bytes. Source: termios(3): a terminal hands over no longer line."""


def is_typed() -> bool:
    """Return whether a person types it, and can be asked again."""
    return sys.stdin is not None and sys.stdin.isatty()


def is_conversation() -> bool:
    """Return whether a person reads the questions and types the answers."""
    return is_typed() and sys.stderr.isatty()


def ask_line(question: str) -> str:
    """Ask at the terminal for one line, and return it without the blanks and the pairs of marks around it.

    Bytes that are not text stay in it as surrogates.

    Args:
        question: on stderr.

    Raises:
        Interrupted: if Ctrl-D ends the answers.
    """
    from device_auth.core.errors import Interrupted
    from device_auth.wire.pasted import trim

    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        line = sys.stdin.buffer.readline(LARGEST_PIECE)
    except OSError:  # the terminal has gone away
        line = b""
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
    if not line:
        sys.stderr.write("\n")
        raise Interrupted("nobody answers any more: standard input was closed")
    return trim(line.decode(sys.stdin.encoding, "surrogateescape"))


def read_paste(longest: int) -> bytes:
    """Wait for a line, and return it with all that comes right behind it; empty if there is no more.

    Args:
        longest: bytes of it, at most.
    """
    if sys.stdin is None:
        return b""
    content = b""
    try:
        number = sys.stdin.fileno()
        pause = PAUSE if os.isatty(number) else PAUSE_OF_PROGRAM
        while len(content) < longest:
            is_begun = b"\n" in content
            if select([number], [], [], pause if is_begun else LONGEST_WAIT)[0]:
                piece = os.read(number, min(LARGEST_PIECE, longest - len(content)))
                content += piece
                if not piece:
                    break
            elif is_begun:
                break
            # else a Ctrl-C just before the wait did not end it, and is noticed now
    except (OSError, ValueError):
        # The terminal has gone away, or there never was a file; or the command has ended before its thread began to
        # read, and the stream is closed already (ValueError).
        return b""
    return content


def ask_hidden(question: str, longest: int) -> bytes:
    """Ask at the terminal for a text that is not shown while it is pasted, and return it.

    Args:
        question: on stderr.
        longest: bytes of the text, at most.
    """
    import termios

    number = sys.stdin.fileno()
    former = termios.tcgetattr(number)
    hidden = [*former]
    hidden[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(number, termios.TCSAFLUSH, hidden)
        sys.stderr.write(question)
        sys.stderr.flush()
        return read_paste(longest)
    finally:
        with suppress(OSError, termios.error):  # the terminal has gone away
            # flushed: the rest of what is too long must not run as commands of the shell
            termios.tcsetattr(number, termios.TCSAFLUSH, former)
            sys.stderr.write("\n")
