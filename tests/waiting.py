"""How tests wait for what must come: until it comes, with one bound for what never will."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Final, TypeVar

T = TypeVar("T")

LONG: Final = 300.0
"""Real seconds before a test gives up; a machine under twenty times its load does not need them."""


def wait_for(claim: Callable[[], object], what: str = "") -> None:
    """Wait until something is so: looked at every hundredth of a second at first, later less often, as looking costs."""
    began = time.monotonic()
    while not claim():
        waited = time.monotonic() - began
        assert waited < LONG, what
        Event().wait(min(max(0.01, waited / 10), 0.1))


def written_so_far(path: Path) -> str:
    """Return what others have written to a file, nothing before they make it; it may end within a character."""
    return path.read_bytes().decode(errors="ignore") if path.exists() else ""


def given_time(run: Callable[[float], T], has_begun: Callable[[T], object], seconds: float = 0.5) -> T:
    """Return what came of something that ends after a time of its own, but not before it began.

    Where the machine was too slow for the beginning, it is done again with four times as long.

    Args:
        run: does it, within the seconds given.
        has_begun: says of what came of it whether it began.
        seconds: to give at first.
    """
    while not has_begun(ended := run(seconds)):
        assert seconds < LONG, ended
        seconds *= 4
    return ended


def is_once_within(seconds: float, run: Callable[[], float]) -> bool:
    """Return whether something takes less at one of a few times: a busy machine delays it now and then, a wait always.

    Args:
        seconds: less than the wait that it must do without.
        run: does it, and returns the seconds that it took.
    """
    return any(run() < seconds for _ in range(9))
