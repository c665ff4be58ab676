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
from typing import Any, Final

MOST_AT_ONCE: Final = 64

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a terminal that is gone: closed, or its connection lost."""

HELD_BACK: Final = (*ENDINGS, signal.SIGALRM)
"""Those, and the end of a time."""


@contextmanager
def blocked() -> Iterator[None]:
    """Block these signals in this thread, and in a child that is forked in here."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back what the handlers of these signals do until after what is done in here.

    Blocked in the main thread alone, a signal would be taken by another one, and its handler run in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler runs in another thread
        return
    came: list[int] = []
    noted = [number for number in HELD_BACK if callable(signal.getsignal(number))]
    with blocked():
        try:
            with handled(dict.fromkeys(noted, lambda number, _: came.append(number))):
                yield
        finally:
            for number in came:
                signal.raise_signal(number)


@contextmanager
def handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object]]) -> Iterator[None]:
    """Install these handlers, and the former ones at the end."""
    former: dict[signal.Signals, Any] = {}
    try:
        for number, handler in handlers.items():
            former[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class ServiceSignals:
    """Hears the signals of a service from its first moment on: one that comes before anybody can answer is kept.

    Attributes:
        is_stopping: whether SIGTERM or Ctrl-C has come.
    """

    def __init__(self) -> None:
        self.is_stopping = False
        self._reloads = False
        self._answers: tuple[Callable[[], object], Callable[[], object]] | None = None

    def answer_by(self, stop: Callable[[], object], reload: Callable[[], object]) -> None:
        """Call these from now on, and at once for what has come already.

        Args:
            stop: answers SIGTERM and Ctrl-C.
            reload: answers SIGHUP.
        """
        self._answers = stop, reload
        if self.is_stopping:
            stop()
        if self._reloads:
            reload()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear them; also those that a program which this one took the place of has left."""
        with handled({signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._reload}):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
            yield

    @contextmanager
    def left_to_successor(self) -> Iterator[None]:
        """Leave every signal to the program that takes the place of this one, which hears it when it can.

        Those that came before are noted when this returns. The mask outlasts execve(2), handlers do not: without it a
        SIGHUP in the gap would end the service.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        # for the other threads, which do not block them; the successor reads the settings anyway
        wanted = {
            signal.SIGTERM: signal.SIG_DFL,
            signal.SIGINT: signal.SIG_DFL,
            signal.SIGHUP: signal.SIG_IGN,
        }
        former = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True
        if self._answers is not None:
            self._answers[0]()

    def _reload(self, _signal: int, _frame: FrameType | None) -> None:
        self._reloads = self._answers is None
        if self._answers is not None:
            self._answers[1]()


def interruptible() -> AbstractContextManager[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does."""
    return handled(dict.fromkeys(heeded(signal.SIGTERM, signal.SIGHUP), signal.default_int_handler))


def heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Return those signals that this process was not started to ignore, as by nohup."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


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


class EndingSignals:
    """The signals that came to end an attempt.

    Attributes:
        is_cancelled: a person, or the system, ended it.
        has_hung_up: the terminal is gone, which nobody wished: what has begun is kept.
    """

    is_cancelled = False
    has_hung_up = False


@contextmanager
def cancelled_by_signals(cancel: Callable[[], object], wake: Callable[[], object]) -> Iterator[EndingSignals]:
    """Let Ctrl-C and SIGTERM cancel, and note SIGHUP; a second signal ends the process at once.

    Args:
        cancel: called by the handler of the first signal, unless that is SIGHUP.
        wake: as for ``woken_by_signals``.

    Yields:
        Which signals came.
    """
    came = EndingSignals()
    numbers = heeded(*ENDINGS)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for ending in numbers:
            signal.signal(ending, signal.default_int_handler)
        if number == signal.SIGHUP:
            came.has_hung_up = True
        else:
            came.is_cancelled = True
            cancel()

    with handled(dict.fromkeys(numbers, on_signal)), woken_by_signals(wake):
        yield came
