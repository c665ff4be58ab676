"""Server-sent events: a snapshot is sent when it differs from the one before, and else a comment.

Source: WHATWG HTML, "Server-sent events".
"""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

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
    comment: bytes = b":\n\n",
) -> Generator[bytes, None, None]:
    """Yield an event for each change, and a comment for a snapshot that changes nothing.

    Args:
        snapshots: the newest one again and again.
        read: returns the part of a snapshot that clients see.
        write: writes the event for a snapshot and that part of it.
        comment: shows that the connection still stands.
    """
    last = None
    for snapshot in snapshots:
        seen = read(snapshot)
        yield comment if seen == last else write(snapshot, seen)
        last = seen
