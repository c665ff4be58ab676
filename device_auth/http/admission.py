"""Limits on connections: how many at once and how many in a time, for all owners and for each.

A connection takes a place. No owner crowds out another. Where connections may wait for a place, an owner's share is what
he has before others have more: he gets more while places are free, and gives his idle ones back when another waits; where
too many wait, the newest connection of the owner with the most waiting ones is refused. Where they may not wait, the share
is all that he has, and the owner with the most places loses the oldest one. This module only counts: its caller holds a
lock, and closes the connections.
"""

from collections import Counter
from collections.abc import Hashable
from http import HTTPStatus
from typing import Final, Generic, NamedTuple, TypeVar

from device_auth.core.models import Monotonic, Seconds, later

REFUSALS_FOR_ONE: Final = 8
"""Refusals cost so much less than what they refuse: those of one owner do not use up the rate of all."""

CROWDED: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""The statuses of a refusal because there are too many connections of one owner, or of all owners."""

MOST_OWNERS: Final = 256
"""Owners whose rate is remembered."""


class ConnectionLimits(NamedTuple):
    """The limits on connections: how many at once, and how often.

    Attributes:
        places: connections served at once, event streams among them.
        share: of those, for one owner; where connections may wait, more while places are free.
        spare: of those, kept for owners who have none.
        waiting: connections that wait for a place; if 0, a connection that finds none is refused.
        streams: event streams at once.
        streams_share: of those, for one owner.
        streams_count: event streams count to their owner's ``share``.
        burst_share: connections that one owner may open at once ...
        every_share: ... and the time until it may open one more.
        burst: connections that all owners together may open at once; further ones are accepted later ...
        every: ... and the time until one more is accepted.
    """

    places: int
    share: int
    spare: int = 0
    waiting: int = 0
    streams: int = 0
    streams_share: int = 0
    streams_count: bool = True
    burst_share: int = 1
    every_share: Seconds = Seconds(0)
    burst: int = 1
    every: Seconds = Seconds(0)


class TokenBucket:
    """A number of tokens at once, and one more after each while.

    Args:
        burst: tokens at once.
        every: time until there is one more; 0 for no limit.
    """

    def __init__(self, burst: int, every: Seconds) -> None:
        self._slack = Seconds((burst - 1) * every)
        self._every = every
        self._used_until = Monotonic(float("-inf"))

    def due_in(self, now: Monotonic) -> Seconds:
        """Return the time until there is a token; 0 if there is one."""
        return Seconds(max(0.0, self._used_until - now - self._slack))

    def take(self, now: Monotonic) -> bool:
        """Take a token, and return whether there was one."""
        if not self._every:
            return True
        if self.due_in(now):
            return False
        self._used_until = later(max(self._used_until, now), self._every)
        return True

    def is_full(self, now: Monotonic) -> bool:
        """Return whether all tokens are there."""
        return self._used_until <= now


class Place:
    """A connection that has a place or waits for one.

    Args:
        owner: whose share it counts to.
        is_idle: no request is under way, so that it may be closed for another.
    """

    def __init__(self, owner: Hashable, *, is_idle: bool = False) -> None:
        self.owner = owner
        self.is_idle = is_idle
        self.is_streaming = False

    def is_gone(self) -> bool:
        """Return whether its client has left."""
        return False


P = TypeVar("P", bound=Place)


class ConnectionLimiter(Generic[P]):
    """Counts connections, and decides which of them may take a place.

    Args:
        limits: the limits that it enforces.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self.waiting: list[P] = []
        self.active: dict[P, None] = {}
        self.evicted: list[P] = []
        self._closing: set[P] = set()
        self.rate = TokenBucket(limits.burst, limits.every)
        self.refusals = TokenBucket(limits.burst, Seconds(limits.every / REFUSALS_FOR_ONE))
        self._shares: dict[Hashable, int] = {}
        self._buckets: dict[Hashable, TokenBucket] = {}

    def enter(self, new: P, now: Monotonic) -> HTTPStatus | None:
        """Let a connection wait for a place, or return the status with which it is refused."""
        bucket = self._bucket_of(new.owner, now)
        can_wait = self._limits.waiting > 0
        if bucket is None:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if not ((can_wait or self._has_share(new.owner)) and bucket.take(now)):
            return HTTPStatus.TOO_MANY_REQUESTS
        while not (can_wait or self._has_room(new.owner)):
            if not self._evict_for(new.owner, list(self.active)):
                return HTTPStatus.SERVICE_UNAVAILABLE
        self.waiting.append(new)
        return None

    def admit(self) -> list[P]:
        """Return the connections that get a place now: of owners within their share first, then by how long they waited."""
        admitted = []
        for may_exceed in (False, True):
            for place in tuple(self.waiting):
                if self._has_room(place.owner) and (may_exceed or self._has_share(place.owner)):
                    self.waiting.remove(place)
                    self.active[place] = None
                    self._shares[place.owner] = self._count(place.owner) + 1
                    admitted.append(place)
        return admitted

    def overflow(self) -> P | None:
        """Return a connection that must be refused because too many wait: the newest of the owner with most of them."""
        if len(self.waiting) <= self._limits.waiting:
            return None
        most = Counter(place.owner for place in self.waiting).most_common(1)[0][0]
        newest = [place for place in self.waiting if place.owner == most][-1]
        self.waiting.remove(newest)
        return newest

    def leave(self, place: P) -> None:
        """Free a place; that of an evicted connection is free already."""
        if place not in self.active:
            return
        del self.active[place]
        self._closing.discard(place)
        if not place.is_streaming or self._limits.streams_count:
            self._free_share(place)

    def may_stay(self, place: P) -> bool:
        """Return whether a connection may wait for another request; not while another waits for its place."""
        place.is_idle = not any(self._could_follow(place, other) for other in self._still_waiting())
        if not place.is_idle:
            self._closing.add(place)
        return place.is_idle

    def take_idle(self) -> list[P]:
        """Return idle connections to close because others wait for their places, as RFC 9112 §9.5 allows.

        Those of the owner with most places come first.
        """
        waiting, idle = self._still_waiting(), []
        idlers = [active for active in self.active if active.is_idle] if waiting else []
        for place in sorted(idlers, key=lambda idler: -self._count(idler.owner)):
            follower = next((other for other in waiting if self._could_follow(place, other)), None)
            if follower is not None:
                waiting.remove(follower)
                place.is_idle = False
                self._closing.add(place)
                idle.append(place)
        return idle

    def open_stream(self, place: P) -> bool:
        """Let a connection become an event stream, and return whether it may.

        A stream whose client has left ends soon, and takes no other client's place until then.
        """
        all_streams = [other for other in self.active if other.is_streaming]
        streams = [other for other in all_streams if not other.is_gone()]
        if place not in self.active or len(all_streams) >= 2 * self._limits.streams:
            return False
        if sum(other.owner == place.owner for other in streams) >= self._limits.streams_share:
            return False
        if len(streams) >= self._limits.streams and not self._evict_for(place.owner, streams):
            return False
        place.is_streaming = True
        if not self._limits.streams_count:
            self._free_share(place)
        return True

    def _still_waiting(self) -> list[P]:
        """Return the connections that wait, less one for each place that is about to be free."""
        return self.waiting[len(self._closing) :]

    def _has_room(self, owner: Hashable) -> bool:
        spare = self._limits.spare if owner in self._shares else 0
        return len(self.active) + spare < self._limits.places

    def _evict_for(self, owner: Hashable, places: list[P]) -> bool:
        """Take the oldest place, a stream if there is one, from the owner with most; return whether there is a greedier one.

        None is taken from an owner who would then have fewer.
        """
        counts = Counter(place.owner for place in places)
        most, count = counts.most_common(1)[0]
        if count < counts[owner] + 2:
            return False
        theirs = [place for place in places if place.owner == most]
        oldest = next((place for place in theirs if place.is_streaming), theirs[0])
        self.leave(oldest)
        self.evicted.append(oldest)
        return True

    def _count(self, owner: Hashable) -> int:
        return self._shares.get(owner, 0)

    def _has_share(self, owner: Hashable) -> bool:
        return self._count(owner) < self._limits.share

    def _free_share(self, place: P) -> None:
        self._shares[place.owner] -= 1
        if not self._shares[place.owner]:
            del self._shares[place.owner]

    def _could_follow(self, place: P, other: P) -> bool:
        """Return whether a place may be freed for another that waits; nobody gives one to an owner with as many."""
        return other.owner == place.owner or self._count(place.owner) > self._count(other.owner)

    def _bucket_of(self, owner: Hashable, now: Monotonic) -> TokenBucket | None:
        bucket = self._buckets.get(owner)
        if bucket is None:
            if len(self._buckets) >= MOST_OWNERS:
                self._buckets = {
                    each: bucket
                    for each, bucket in self._buckets.items()
                    if each in self._shares or not bucket.is_full(now)
                }
            if len(self._buckets) >= MOST_OWNERS:
                return None
            bucket = TokenBucket(self._limits.burst_share, self._limits.every_share)
            self._buckets[owner] = bucket
        return bucket
