"""Blocking calls that end in time.

A call that another thread can end (by shutting a socket down, or killing a program) stays on its thread:
``cancelled_after``. One that nothing can end (a resolver, a part, a terminal) runs on a daemon thread, which is left
behind when the time is up: ``bounded``. The exit of the program waits for neither.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from device_auth.core.models import Seconds

T = TypeVar("T")

_NAME: Final = "bounded call"


def bounded(call: Callable[[], T], within: Seconds, *, name: str = _NAME) -> T:
    """Run a call on a daemon thread and return its result, or raise what it raised.

    Args:
        call: may block for ever.
        within: how long to wait for it.
        name: of the thread.

    Raises:
        TimeoutError: if the call has not ended within the time.
    """
    outcome: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # noqa: BLE001  raised again where the result is waited for
            outcome.put((None, error))

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        ended = outcome.get(timeout=within)
    except Empty:
        raise TimeoutError from None
    if ended[1] is not None:
        raise ended[1]
    return ended[0]


@contextmanager
def cancelled_after(within: Seconds, cancel: Callable[[], object]) -> Iterator[None]:
    """Bound what the calling thread does meanwhile.

    Args:
        within: how long it may take.
        cancel: called from another thread when the time is up, and after as long again until it is over; ends what is
            under way, which may be nothing yet.
    """
    is_over = threading.Event()

    def cancel_until_over() -> None:
        while not is_over.wait(within):
            cancel()

    threading.Thread(target=cancel_until_over, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
