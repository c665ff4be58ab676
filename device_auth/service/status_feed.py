"""The status feed: the newest snapshot of what the loop knows, for the socket, the page and the token files.

The loop's thread writes; any number of other threads read the newest snapshot or wait for the next one. They call
the loop through ``Actions``. Nothing here decides anything.
"""

import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final, Protocol

from device_auth.core import refresh
from device_auth.core.models import NEVER, Link, Monotonic, Seconds, TokenGrant, UnixTime, View
from device_auth.core.ports import Clock, TokenFiles
from device_auth.core.states import StateWord, Trouble
from device_auth.core.values import dataclass, replace

CLOCK_WAS_SET: Final = Seconds(2)
"""A wall clock whose difference to the other clock changes by more was set, or has drifted so far."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is known at one moment.

    Attributes:
        number: goes up with each snapshot.
        view: shown to people.
        since: when state or trouble last changed; wall clock.
        changed_at: when anything in it last changed.
        told_at: when the view was told.
        grant: the current access token, or None.
        link: the stored link, or None.
        refreshes: how many refreshes have ended, well or not.
        refresh_at: when the next one is due, as was known when the last one ended.
    """

    number: int
    view: View
    since: UnixTime
    changed_at: Monotonic
    grant: TokenGrant | None = None
    link: Link | None = None
    refreshes: int = 0
    refresh_at: Monotonic = NEVER
    told_at: Monotonic = NEVER


class Actions(Protocol):
    """Calls of other threads to the loop. None of them blocks or returns a result: the result is a later snapshot."""

    def want_token(self, min_lifetime: Seconds) -> None:
        """Refresh, unless the current token lives at least so long or a refresh is out or waited for."""
        ...

    def reject_token(self, access_token: str) -> None:
        """Refresh, because this token was rejected; nothing happens if it is not the current one, or too often."""
        ...

    def adopt(self) -> None:
        """Use the link of another unit as this speaker's own."""
        ...

    def seal(self) -> str:
        """Seal the stored link and wait for it; return the name of its key, or nothing if there is no link."""
        ...

    def link(self, *, again: bool = False) -> None:
        """Begin to link, or tell the code again.

        Args:
            again: make another link; the present link stays in use until the new one is proved.
        """
        ...

    def cancel(self) -> None:
        """Cancel linking."""
        ...

    def unlink(self) -> None:
        """Forget the account."""
        ...

    def owner_left(self) -> None:
        """Report that the owner left the page by its link, to approve."""
        ...

    def owner_is_back(self) -> None:
        """Report that the page is visible again: perhaps the owner has approved."""
        ...

    def identify(self) -> None:
        """Let a person know which speaker this is, unless that was just done."""
        ...


class StatusFeed:
    """Holds the newest snapshot. Publishes the access token in it and as token files.

    Args:
        clock: returns both times.
        files: the token files.
    """

    def __init__(self, clock: Clock, files: TokenFiles) -> None:
        self._clock = clock
        self._files = files
        self._offset = self._read_offset()
        self._changed = threading.Condition()
        self._followers: set[int] = set()
        self._newest = Snapshot(0, View(StateWord.STARTING, Trouble.NONE), clock.wall(), clock.now())

    def look(self) -> Snapshot:
        """Return the newest snapshot."""
        with self._changed:
            return self._newest

    def wait(self, after: int, within: Seconds) -> Snapshot:
        """Wait for a snapshot with a higher number; return the newest one, also when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest.number > after, within)
            return self._newest

    def follow(self, client: socket.socket) -> Iterator[Snapshot]:
        """Yield the newest snapshot, then again after each change and each heartbeat.

        Between them nothing runs. It ends as soon as the client has closed its end, or its connection is cut.
        """
        changed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        ready = select.poll()
        ready.register(changed, select.POLLIN)
        ready.register(client, select.POLLRDHUP)
        with self._changed:
            self._followers.add(changed)
        try:
            while True:
                yield self.look()
                if {number for number, _ in ready.poll()} - {changed}:
                    return
                os.eventfd_read(changed)
        finally:
            with self._changed:
                self._followers.remove(changed)
            os.close(changed)

    def beat(self) -> None:
        """Let every follower send a sign of life, in a moment when the loop is awake: no stream has a timer of its own.

        The loop beats once a minute, the longest wait it has. No shorter one is needed: neighbours and processes of this
        machine have no router between them that would forget a silent connection, a client that closes its end is
        noticed at once, and one that vanished when the beat is not acknowledged. A loop that hangs beats no more.
        """
        with self._changed:
            self._wake_followers()

    def wait_for_token(self, actions: Actions, min_lifetime: Seconds, within: Seconds) -> Snapshot:
        """Wait until there is a token that lives long enough, a refresh has ended, or there is no link.

        Any number of threads that wait share one refresh.

        Returns:
            The newest snapshot; its token may be too short, or None.
        """
        first = self.look()
        if not self._lasts(first, min_lifetime) and first.link is not None and first.link.mark is None:
            actions.want_token(min_lifetime)
            with self._changed:
                self._changed.wait_for(lambda: self._is_settled(first, min_lifetime), within)
        return self.look()

    def tell(self, view: View, link: Link | None) -> None:
        """Publish a new view."""
        with self._changed:
            snapshot = self._newest
            is_same = (view.state, view.trouble) == (snapshot.view.state, snapshot.view.trouble)
            since = snapshot.since if is_same else self._clock.wall()
            self._put(view=view, since=since, link=link, told_at=self._clock.now())

    def refresh_ended(self, next_at: Monotonic = NEVER) -> None:
        """Report that a refresh has ended, well or not, and when the next one is due."""
        with self._changed:
            self._put(refreshes=self._newest.refreshes + 1, refresh_at=next_at)

    def publish(self, grant: TokenGrant) -> None:
        """Publish a new access token, in memory and as files."""
        self._files.publish(grant)
        self._put_grant(grant)
        self.follow_clock_step()

    def withdraw(self) -> None:
        """Withdraw the access token, from memory and as files."""
        self._files.withdraw()
        self._put_grant(None)

    def follow_clock_step(self) -> None:
        """Correct each time of day that was given out if the wall clock was set since: in the token files and in ``since``.

        A board without a battery starts years in the past, and is linked before it has heard what time it is.
        """
        moved = Seconds(self._read_offset() - self._offset)
        if abs(moved) <= CLOCK_WAS_SET:
            return
        self._offset += moved
        snapshot = self.look()
        if snapshot.grant is not None:
            self._files.publish(snapshot.grant)
        with self._changed:
            self._put(since=UnixTime(snapshot.since + moved))

    def _read_offset(self) -> float:
        return self._clock.wall() - self._clock.now()

    def _put_grant(self, grant: TokenGrant | None) -> None:
        with self._changed:
            self._put(grant=grant)

    def _put(self, **changes: Any) -> None:
        number = self._newest.number + 1
        self._newest = replace(self._newest, number=number, changed_at=self._clock.now(), **changes)
        self._changed.notify_all()
        self._wake_followers()

    def _wake_followers(self) -> None:
        for follower in self._followers:
            os.eventfd_write(follower, 1)

    def _lasts(self, snapshot: Snapshot, min_lifetime: Seconds) -> bool:
        return snapshot.grant is not None and refresh.lasts(snapshot.grant, min_lifetime, self._clock.now())

    def _is_settled(self, first: Snapshot, min_lifetime: Seconds) -> bool:
        snapshot = self._newest
        is_given_up = snapshot.link is None or snapshot.link.mark is not None
        return self._lasts(snapshot, min_lifetime) or snapshot.refreshes > first.refreshes or is_given_up
