"""Signals, handled at once even when they come just before a wait.

Python runs a signal's handler between two of its own steps. For a signal just before a wait the handler would run up to
a minute late, because nothing ends the wait. So the wake-up descriptor wakes the loop.

Source: signal(7) and the documentation of ``signal.set_wakeup_fd``: a byte is written when the signal comes, not when
its handler runs.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Final

MOST_AT_ONCE: Final = 64

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a terminal that has been closed."""


@contextmanager
def handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object]]) -> Iterator[None]:
    """Install these handlers, and the former ones at the end."""
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def interruptible() -> AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does."""
    return handled(dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.default_int_handler))


@contextmanager
def woken_by_signals(wake: Callable[[], object]) -> Iterator[None]:
    """Let every signal that has a handler end the main thread's wait.

    Args:
        wake: puts an item into the main thread's inbox; called from another thread.
    """
    noted, note = os.pipe()
    os.set_blocking(note, False)

    def listen() -> None:
        with open(noted, "rb", buffering=0) as stream:  # noqa: PTH123  an open pipe has no path
            while stream.read(MOST_AT_ONCE):
                wake()

    threading.Thread(target=listen, name="signals", daemon=True).start()
    former = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.close(note)


@contextmanager
def cancelled_by_signals(
    cancel: Callable[[], object], wake: Callable[[], object]
) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM cancel; a second one ends the process at once.

    Args:
        cancel: called by the handler of the first signal.
        wake: as for ``woken_by_signals``.

    Yields:
        A function that returns whether a signal came.
    """
    is_cancelled = False

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        for number in ENDINGS:
            signal.signal(number, signal.default_int_handler)
        cancel()

    with handled(dict.fromkeys(ENDINGS, on_signal)), woken_by_signals(wake):
        yield lambda: is_cancelled
