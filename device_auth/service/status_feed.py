"""The status feed: the newest snapshot of what the loop knows, for the socket, the page and the token files.

The loop's thread writes; any number of other threads read, or wait for news. What they want done they ask of
the loop through ``Actions``: nothing here decides anything.
"""

import threading
from collections.abc import Iterator
from typing import Final, Protocol

from device_auth.core.models import Link, Seconds, TokenGrant, UnixTime, View, later
from device_auth.core.ports import Clock, TokenFiles
from device_auth.core.states import StateWord, Trouble
from device_auth.core.values import dataclass

CLOCK_WAS_SET: Final = Seconds(2)
"""A wall clock that has come to differ by more was set, or has crept so far."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What can be told at one moment.

    Attributes:
        number: goes up with each piece of news.
        view: what people are told.
        since: since when state and trouble are what they are; wall clock.
        grant: the access token in hand, or None.
        link: the stored link, or None.
        refreshes: how many refreshes have ended, well or not.
    """

    number: int
    view: View
    since: UnixTime
    grant: TokenGrant | None = None
    link: Link | None = None
    refreshes: int = 0


class Actions(Protocol):
    """What other threads may ask of the loop. None of these blocks or answers: the answer is news."""

    def want_token(self, min_lifetime: Seconds) -> None:
        """Refresh, unless the token in hand lives at least so long or a refresh is out or waited for."""
        ...

    def reject_token(self, access_token: str) -> None:
        """Refresh, because this token was rejected; nothing happens if it is not the current one, or too often."""
        ...

    def link(self, *, again: bool = False) -> None:
        """Begin to link, or tell the code again; someone is there.

        Args:
            again: although there is a link, which stays in use until a new one is proved.
        """
        ...

    def cancel(self) -> None:
        """End linking without a link."""
        ...

    def unlink(self) -> None:
        """Forget the account."""
        ...

    def owner_left(self) -> None:
        """The owner has left the page by its link, to approve."""
        ...

    def owner_is_back(self) -> None:
        """The page is seen again: perhaps the owner has approved."""
        ...


class StatusFeed:
    """Holds the newest news. Lays out tokens like a token file does, and writes those files as well.

    Args:
        clock: tells both times.
        files: the token files beside.
    """

    def __init__(self, clock: Clock, files: TokenFiles) -> None:
        self._clock = clock
        self._files = files
        self._offset = self._read_offset()
        self._changed = threading.Condition()
        self._news = Snapshot(0, View(StateWord.STARTING, Trouble.NONE), clock.wall())

    def look(self) -> Snapshot:
        """Return the newest news."""
        with self._changed:
            return self._news

    def wait(self, after: int, within: Seconds) -> Snapshot:
        """Wait for news with a higher number; give the newest there is when it comes, or when time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._news.number > after, within)
            return self._news

    def follow(self, every: Seconds) -> Iterator[Snapshot]:
        """Yield the newest snapshot, then again after each change and after ``every`` at the latest."""
        snapshot = self.look()
        while True:
            yield snapshot
            snapshot = self.wait(snapshot.number, every)

    def wait_for_token(self, actions: Actions, min_lifetime: Seconds, within: Seconds) -> Snapshot:
        """Wait until there is a token that lives long enough, a refresh has ended, or there is no link.

        Any number of threads that wait share one refresh.

        Returns:
            The news; whoever asked looks whether its token lasts.
        """
        first = self.look()
        if not self._lasts(first, min_lifetime) and first.link is not None and first.link.mark is None:
            actions.want_token(min_lifetime)
            with self._changed:
                self._changed.wait_for(lambda: self._is_settled(first, min_lifetime), within)
        return self.look()

    def tell(self, view: View, link: Link | None) -> None:
        """Lay out a new view."""
        with self._changed:
            news = self._news
            is_same = (view.state, view.trouble) == (news.view.state, news.view.trouble)
            since = news.since if is_same else self._clock.wall()
            self._put(Snapshot(news.number + 1, view, since, news.grant, link, news.refreshes))

    def refresh_ended(self) -> None:
        """Record that a refresh has ended, successful or not."""
        with self._changed:
            news = self._news
            self._put(
                Snapshot(news.number + 1, news.view, news.since, news.grant, news.link, news.refreshes + 1)
            )

    def publish(self, grant: TokenGrant) -> None:
        """Lay out a new access token, in memory and as files."""
        self._offset = self._read_offset()
        self._files.publish(grant)
        self._lay_out(grant)

    def withdraw(self) -> None:
        """Take the access token away, from memory and as files."""
        self._files.withdraw()
        self._lay_out(None)

    def mind_the_clock(self) -> None:
        """Write the token files anew if the wall clock was set since: they name the token's end as a time of day.

        A board without a battery starts years in the past, and is linked before it has heard what time it is.
        """
        grant, offset = self.look().grant, self._read_offset()
        if abs(offset - self._offset) > CLOCK_WAS_SET and grant is not None:
            self._offset = offset
            self._files.publish(grant)

    def _read_offset(self) -> float:
        return self._clock.wall() - self._clock.now()

    def _lay_out(self, grant: TokenGrant | None) -> None:
        with self._changed:
            news = self._news
            self._put(Snapshot(news.number + 1, news.view, news.since, grant, news.link, news.refreshes))

    def _put(self, news: Snapshot) -> None:
        self._news = news
        self._changed.notify_all()

    def _lasts(self, news: Snapshot, min_lifetime: Seconds) -> bool:
        return news.grant is not None and news.grant.expires_at >= later(self._clock.now(), min_lifetime)

    def _is_settled(self, first: Snapshot, min_lifetime: Seconds) -> bool:
        news = self._news
        is_given_up = news.link is None or news.link.mark is not None
        return self._lasts(news, min_lifetime) or news.refreshes > first.refreshes or is_given_up
