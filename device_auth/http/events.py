"""Server-sent events: a snapshot is sent when it differs from the one before, and a comment where it does not.

Source: WHATWG HTML, "Server-sent events".
"""

from collections.abc import Callable, Generator
from typing import Final, Protocol, TypeVar

from device_auth.core.models import Seconds, later
from device_auth.core.ports import Clock


class Numbered(Protocol):
    """A snapshot; a newer one has a higher number."""

    @property
    def number(self) -> int:
        """Return the number."""
        ...


AT_ONCE: Final = Seconds(0)
S = TypeVar("S", bound=Numbered)
V = TypeVar("V")


def write_event(data: str, event_id: str, name: str = "") -> bytes:
    """Write one event; ``name`` is what the client listens for."""
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {event_id}", *(f"data: {line}" for line in data.split("\n"))]
    # half a surrogate pair can stand in the provider's JSON
    return "\n".join([*lines, "", ""]).encode(errors="replace")


def follow(
    wait: Callable[[int, Seconds], S],
    read: Callable[[S], V],
    write: Callable[[S, V], bytes],
    clock: Clock,
    *,
    every: Seconds,
    silence: Seconds = AT_ONCE,
    comment: bytes = b":\n\n",
) -> Generator[bytes, None, None]:
    """Yield an event for each change, for ever.

    Args:
        wait: returns the newest snapshot once its number is higher than the one given, or after the time given.
        read: returns what clients see of a snapshot.
        write: writes the event for a snapshot and what clients see of it.
        clock: for the silence.
        every: time between two looks at most; a look that finds nothing to send yields ``b""``.
        silence: time without an event or comment after which a comment is due.
        comment: shows that the connection still stands.
    """
    snapshot = wait(-1, AT_ONCE)
    seen, sent_at = read(snapshot), clock.now()
    yield write(snapshot, seen)
    while True:
        snapshot = wait(snapshot.number, every)
        before, seen = seen, read(snapshot)
        if seen != before:
            piece = write(snapshot, seen)
        else:
            piece = comment if clock.now() >= later(sent_at, silence) else b""
        if piece:
            sent_at = clock.now()
        yield piece
