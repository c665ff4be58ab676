"""Threads by name, and a system that has no room for another."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest


def threads_of(name: str) -> int:
    """Return how many threads have this name."""
    return sum(thread.name == name for thread in threading.enumerate())


@contextmanager
def no_room_for_threads() -> Iterator[None]:
    """Let every start of a thread fail as it does then; no size of a stack is too large on every machine."""

    def fail(_thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        yield
