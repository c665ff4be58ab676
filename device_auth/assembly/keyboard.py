"""The keyboard as a button: keys are read one by one, without echo.

The terminal is restored on every exit: the end, an error, Ctrl-C, a kill, a stop (Ctrl-Z).
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
    """Return whether this is a terminal, and its keyboard belongs to this process at this moment."""
    try:
        return os.isatty(terminal) and os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def keys_of(
    terminal: int, on_keys: Callable[[bytes], None], is_ours: Callable[[int], bool] = is_in_front
) -> Iterator[bool]:
    """Read every key for as long as the context lasts; yield whether keys can be read.

    They cannot where the file is not a terminal, or belongs to another command at this moment (``command &``).

    Args:
        terminal: the file of standard input.
        on_keys: called with the typed bytes on a thread of its own, with none when the terminal is gone; must not block.
        is_ours: returns whether the terminal may be read and changed.
    """
    if not is_ours(terminal):
        yield False
        return
    original = termios.tcgetattr(terminal)
    ending, end = os.pipe()
    reader = Thread(
        target=_read_keys, args=(terminal, ending, on_keys, is_ours), name="keyboard", daemon=True
    )
    try:
        with _restored_on_signals(terminal, original, is_ours):
            _read_each_key(terminal, original)
            reader.start()
            yield True
    finally:
        _set(terminal, original)
        os.close(end)
        if reader.ident is not None:
            reader.join()
        os.close(ending)


def _read_keys(
    terminal: int, ending: int, on_keys: Callable[[bytes], None], is_ours: Callable[[int], bool]
) -> None:
    while True:
        ready, _, _ = select([terminal, ending], [], [])
        # reading from the background would stop the whole command (SIGTTIN)
        if ending in ready or (not is_ours(terminal) and os.isatty(terminal)):
            return
        typed = b""
        with suppress(OSError):
            typed = os.read(terminal, 1024)
        on_keys(typed)
        if not typed:
            return


def _read_each_key(terminal: int, original: list[Any]) -> None:
    """Switch off lines and echo; Ctrl-C and Ctrl-Z go on to be signals. Source: termios(3)."""
    wanted = [*original]
    wanted[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
    wanted[_CONTROL_CHARACTERS] = [*original[_CONTROL_CHARACTERS]]
    wanted[_CONTROL_CHARACTERS][termios.VMIN] = 1
    wanted[_CONTROL_CHARACTERS][termios.VTIME] = 0
    _set(terminal, wanted)


def _set(terminal: int, attributes: list[Any]) -> None:
    """Set at once: waiting for the output could last for ever while it is stopped (Ctrl-S)."""
    with suppress(termios.error):  # the terminal may have gone away
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)


@contextmanager
def _restored_on_signals(
    terminal: int, original: list[Any], is_ours: Callable[[int], bool]
) -> Iterator[None]:
    """Restore the terminal before a signal stops or ends this process; read keys again after it continues.

    A signal with another handler, or an ignored one (nohup), is left alone.
    """
    if current_thread() is not main_thread():
        yield
        return

    def restore(number: int, _frame: FrameType | None) -> None:
        _set(terminal, original)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, restore)  # reached after SIGCONT
        if is_ours(terminal):
            _read_each_key(terminal, original)

    numbers = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, restore)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
