"""A machine without room for another thread."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_room_for_threads() -> Iterator[None]:
    """Let every thread that is started here want more memory than there are addresses."""
    before = threading.stack_size(sys.maxsize & ~0xFFFF)
    try:
        yield
    finally:
        threading.stack_size(before)
