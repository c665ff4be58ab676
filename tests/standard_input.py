"""What a verb in this process reads from its standard input, whose descriptor it reads itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lines_on_stdin(*lines: str) -> Iterator[None]:
    """Let standard input hold these lines, and end."""
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{line}\n" for line in lines).encode())
    os.close(writing)
    former = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(former, 0)
        os.close(former)
