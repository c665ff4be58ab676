"""The keyboard as a button: keys are heard one by one, unseen, while everything else stays as it is.

The terminal is given back as it was found on every way out: the end, an error, Ctrl-C, a kill, a stop (Ctrl-Z).
"""

import os
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any, Final

_LOCAL_FLAGS: Final = 3
_CONTROL_CHARACTERS: Final = 6
_SIGNALS: Final = (signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP)


def is_in_front(terminal: int) -> bool:
    """Return whether this is a terminal, and we are what its keyboard is for at this moment."""
    try:
        return os.isatty(terminal) and os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def keys_of(
    terminal: int, heard: Callable[[bytes], None], is_ours: Callable[[int], bool] = is_in_front
) -> Iterator[bool]:
    """Hear every key for as long as the context lasts; yields whether there is anything to hear.

    There is nothing where the file is no terminal, or belongs to another command at this moment (``command &``).

    Args:
        terminal: the file of standard input.
        heard: told what was typed, on a thread of its own; must not block.
        is_ours: says whether the terminal may be touched and read.
    """
    if not is_ours(terminal):
        yield False
        return
    found = termios.tcgetattr(terminal)
    ending, end = os.pipe()
    listener = Thread(target=_listen, args=(terminal, ending, heard, is_ours), name="keyboard", daemon=True)
    try:
        with _given_back_on_signals(terminal, found, is_ours):
            _hear_each_key(terminal, found)
            listener.start()
            yield True
    finally:
        _set(terminal, found)
        os.close(end)
        if listener.ident is not None:
            listener.join()
        os.close(ending)


def _listen(
    terminal: int, ending: int, heard: Callable[[bytes], None], is_ours: Callable[[int], bool]
) -> None:
    while True:
        ready, _, _ = select([terminal, ending], [], [])
        # reading from the background would stop the whole command (SIGTTIN)
        if ending in ready or not is_ours(terminal):
            return
        try:
            typed = os.read(terminal, 1024)
        except OSError:
            return
        if not typed:
            return
        heard(typed)


def _hear_each_key(terminal: int, found: list[Any]) -> None:
    """Switch off lines and echo; Ctrl-C and Ctrl-Z go on to be signals. Source: termios(3)."""
    wanted = [*found]
    wanted[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
    wanted[_CONTROL_CHARACTERS] = [*found[_CONTROL_CHARACTERS]]
    wanted[_CONTROL_CHARACTERS][termios.VMIN] = 1
    wanted[_CONTROL_CHARACTERS][termios.VTIME] = 0
    _set(terminal, wanted)


def _set(terminal: int, attributes: list[Any]) -> None:
    """Set at once: waiting for the output first would wait for ever while it is held (Ctrl-S)."""
    with suppress(termios.error):  # the terminal may have gone away
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)


@contextmanager
def _given_back_on_signals(terminal: int, found: list[Any], is_ours: Callable[[int], bool]) -> Iterator[None]:
    """Return the terminal back before a signal stops or ends us; once we go on, in the foreground, take it again.

    A signal that somebody else hears, or that is to be ignored (nohup), is left to them.
    """
    if current_thread() is not main_thread():
        yield
        return

    def give_back(number: int, _frame: FrameType | None) -> None:
        _set(terminal, found)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, give_back)  # here again after SIGCONT
        if is_ours(terminal):
            _hear_each_key(terminal, found)

    numbers = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, give_back)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
