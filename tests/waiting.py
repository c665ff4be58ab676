"""How tests wait for what must come: until it comes, with one bound for what never will."""

import time
from collections.abc import Callable
from threading import Event
from typing import Final

LONG: Final = 300.0
"""Real seconds before a test gives up; a machine under twenty times its load does not need them."""


def wait_for(claim: Callable[[], object], what: str = "") -> None:
    """Wait until something is so."""
    give_up_at = time.monotonic() + LONG
    while not claim():
        assert time.monotonic() < give_up_at, what
        Event().wait(0.01)
