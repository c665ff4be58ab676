"""The doors: Protocols for all that the loop needs of the world, real or simulated."""

from queue import SimpleQueue
from typing import Protocol, TypeVar

from device_auth.core.models import (
    Link,
    Monotonic,
    PendingPair,
    TokenGrant,
    UnixTime,
    Unreachable,
    View,
    WireRequest,
    WireResponse,
)

T = TypeVar("T")


class Transport(Protocol):
    """Carries one request at a time."""

    def send(self, request: WireRequest) -> WireResponse | Unreachable:
        """Send and wait for the answer; blocks; never raises for anything the network does."""
        ...

    def abandon(self) -> None:
        """From another thread: close what is open, so that a ``send`` under way ends soon, or its result is dropped."""
        ...


class Clock(Protocol):
    """Returns both times."""

    def now(self) -> Monotonic:
        """Return the moment for deadlines: counts suspend, ignores steps of the wall clock."""
        ...

    def wall(self) -> UnixTime:
        """Return the wall clock, for people and for the disk."""
        ...


class WaitingClock(Clock, Protocol):
    """Returns both times, and waits."""

    def take(self, inbox: SimpleQueue[T], until: Monotonic) -> T | None:
        """Wait for the next item of the inbox, or until that moment: then None."""
        ...


class GrantStore(Protocol):
    """Keeps the link so that no power cut can lose it. Every method may raise ``StoreError``."""

    def read(self) -> Link | None:
        """Return the stored link, marked or not, or None if there is none."""
        ...

    def prove_writable(self) -> None:
        """Prove that a link could be saved now, before anyone is shown a code."""
        ...

    def save(self, link: Link) -> None:
        """Store the next generation of the link that is there (same ``link_id``); durable on return."""
        ...

    def replace(self, link: Link) -> None:
        """Store a link over every generation of another, or over nothing; durable on return."""
        ...

    def adopt(self) -> bool:
        """Make another unit's link this unit's own; return whether there was such a link."""
        ...

    def take_back(self) -> None:
        """Remove every generation, as if there had never been a link; durable on return."""
        ...

    def erase(self) -> None:
        """Remove all that was ever stored, also what was set aside; durable on return; nothing to remove is not an error."""
        ...


class PendingStore(Protocol):
    """Keeps the current code pair over a restart, within one boot. Never raises: losing it costs a code only."""

    def keep(self, pending: PendingPair) -> None:
        """Keep a code pair in place of any other."""
        ...

    def read(self) -> PendingPair | None:
        """Return the code pair, or None if there is none or any part of it does not fit this boot."""
        ...

    def forget(self) -> None:
        """Remove the code pair."""
        ...


class TokenFiles(Protocol):
    """Hands the access token to programs that read a file. Never raises: the socket and memory still serve."""

    def publish(self, grant: TokenGrant) -> None:
        """Replace the token files by this grant's access token."""
        ...

    def withdraw(self) -> None:
        """Remove the token files."""
        ...


class Prompt(Protocol):
    """One way of telling a person. May block or fail: each runs on a thread of its own."""

    @property
    def name(self) -> str:
        """Return the word that log lines call it by."""
        ...

    def show(self, view: View, now: Monotonic) -> Monotonic | None:
        """Show a view; return when to show it again (a countdown), or None."""
        ...

    def close(self) -> None:
        """Leave the place as it was found."""
        ...
