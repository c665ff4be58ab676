"""Server-sent events: a snapshot is sent when it differs from the one before, and a comment where it does not.

Source: WHATWG HTML, "Server-sent events".
"""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from device_auth.core.models import Seconds, later
from device_auth.core.ports import Clock

S = TypeVar("S")
V = TypeVar("V")


def write_event(data: str, event_id: str, name: str = "") -> bytes:
    """Write one event; ``name`` is what the client listens for."""
    lines = [f"event: {name}"] if name else []
    lines += [f"id: {event_id}", *(f"data: {line}" for line in data.split("\n"))]
    # half a surrogate pair can stand in the provider's JSON
    return "\n".join([*lines, "", ""]).encode(errors="replace")


def stream(
    snapshots: Iterable[S],
    read: Callable[[S], V],
    write: Callable[[S, V], bytes],
    clock: Clock,
    *,
    silence: Seconds,
    comment: bytes = b":\n\n",
) -> Generator[bytes, None, None]:
    """Yield an event for each change, and ``b""`` for a snapshot after which nothing is due.

    Args:
        snapshots: the newest one again and again.
        read: returns the part of a snapshot that clients see.
        write: writes the event for a snapshot and that part of it.
        clock: for the silence.
        silence: time without an event or comment after which a comment is due.
        comment: shows that the connection still stands.
    """
    last, sent_at = None, clock.now()
    for snapshot in snapshots:
        seen = read(snapshot)
        if seen != last:
            piece = write(snapshot, seen)
        else:
            piece = comment if clock.now() >= later(sent_at, silence) else b""
        if piece:
            last, sent_at = seen, clock.now()
        yield piece
