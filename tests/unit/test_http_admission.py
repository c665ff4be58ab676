"""Who may take a place: by owner and by how often."""

from http import HTTPStatus

import pytest

from device_auth.core.models import Monotonic, Seconds
from device_auth.http.admission import MOST_OWNERS, ConnectionLimiter, ConnectionLimits, Place, TokenBucket

MANY = ConnectionLimits(places=1000, share=1000)


class Counted:
    """Connections of a few owners."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limiter: ConnectionLimiter[Place] = ConnectionLimiter(limits)
        self.places: dict[str, list[Place]] = {}

    def enter(self, owner: str, now: Monotonic) -> HTTPStatus | None:
        place = Place(owner)
        status = self.limiter.enter(place, now)
        assert self.limiter.admit() == ([] if status else [place])
        if status is None:
            self.places.setdefault(owner, []).append(place)
        return status

    def leave(self, owner: str) -> None:
        self.limiter.leave(self.places[owner].pop(0))

    def open_stream(self, owner: str) -> bool:
        return self.limiter.open_stream(next(place for place in self.places[owner] if not place.is_streaming))


def at(seconds: float) -> Monotonic:
    return Monotonic(seconds)


def test_a_bucket_gives_a_burst_and_then_one_after_each_while() -> None:
    bucket = TokenBucket(3, Seconds(2))

    assert [bucket.take(at(0)) for _ in range(4)] == [True, True, True, False]
    assert bucket.due_in(at(0)) == pytest.approx(2)
    assert not bucket.take(at(1.9))
    assert bucket.take(at(2))
    assert not bucket.take(at(2))
    assert not bucket.is_full(at(7.9))
    assert [bucket.take(at(8)) for _ in range(4)] == [True, True, True, False]


def test_one_visitor_who_hammers_is_held_back_and_another_is_not() -> None:
    counted = Counted(MANY._replace(burst_share=2, every_share=Seconds(1)))

    for _ in range(2):
        assert counted.enter("hammer", at(0)) is None
        counted.leave("hammer")

    assert counted.enter("hammer", at(0)) is HTTPStatus.TOO_MANY_REQUESTS
    assert counted.enter("neighbour", at(0)) is None
    assert counted.enter("hammer", at(1)) is None


def test_one_visitor_has_so_many_connections_at_a_time() -> None:
    counted = Counted(MANY._replace(share=2))

    assert [counted.enter("one", at(0)) for _ in range(3)] == [None, None, HTTPStatus.TOO_MANY_REQUESTS]
    counted.leave("one")
    assert counted.enter("one", at(0)) is None


def test_where_all_places_are_taken_the_greediest_loses_the_oldest() -> None:
    counted = Counted(MANY._replace(places=4, streams=1, streams_share=1))
    for owner in ("two", "one", "one", "one"):
        counted.enter(owner, at(0))
    assert counted.open_stream("one")

    assert counted.enter("three", at(0)) is None
    assert counted.enter("two", at(0)) is HTTPStatus.SERVICE_UNAVAILABLE
    assert counted.limiter.evicted == [counted.places["one"][0]]
    counted.leave("one")
    assert len(counted.limiter.active) == 4


def test_places_are_kept_for_owners_who_have_none() -> None:
    counted = Counted(MANY._replace(places=4, spare=2))

    assert [counted.enter("one", at(0)) for _ in range(3)] == [None, None, HTTPStatus.SERVICE_UNAVAILABLE]
    assert counted.enter("two", at(0)) is None
    assert counted.enter("three", at(0)) is None
    assert counted.enter("four", at(0)) is None
    assert counted.limiter.evicted == [counted.places["one"][0]]


def test_an_owner_without_a_stream_gets_that_of_the_greediest() -> None:
    counted = Counted(MANY._replace(streams=3, streams_share=3))
    for owner in ("one", "one", "one", "two", "two"):
        counted.enter(owner, at(0))
    for _ in range(3):
        counted.open_stream("one")

    assert counted.open_stream("two")
    assert counted.limiter.evicted == [counted.places["one"][0]]
    assert not counted.open_stream("two")
    assert not counted.limiter.open_stream(counted.places["one"][0])


def test_streams_are_few_for_one_and_for_all() -> None:
    counted = Counted(MANY._replace(streams=3, streams_share=2))
    for owner in ("one", "two") * 3:
        counted.enter(owner, at(0))

    assert [counted.open_stream("one") for _ in range(3)] == [True, True, False]
    assert [counted.open_stream("two") for _ in range(2)] == [True, False]
    counted.leave("one")
    assert counted.open_stream("two")


def test_a_crowd_of_made_up_addresses_is_forgotten_and_meanwhile_kept_out() -> None:
    counted = Counted(MANY._replace(burst_share=1, every_share=Seconds(10)))
    for number in range(MOST_OWNERS):
        assert counted.enter(f"fe80::{number:x}", at(0)) is None
        counted.leave(f"fe80::{number:x}")

    assert counted.enter("one more", at(0)) is HTTPStatus.SERVICE_UNAVAILABLE
    assert counted.enter("one more", at(10)) is None


def test_whoever_is_inside_is_not_forgotten() -> None:
    counted = Counted(MANY)
    for number in range(MOST_OWNERS):
        counted.enter(f"fe80::{number:x}", at(0))

    assert counted.enter("one more", at(1e6)) is HTTPStatus.SERVICE_UNAVAILABLE


def crowd(limiter: ConnectionLimiter[Place], *owners: str) -> list[Place]:
    """Let one connection of each owner come, in order."""
    places = [Place(owner) for owner in owners]
    for place in places:
        assert limiter.enter(place, at(0)) is None
        limiter.admit()
    return places


def test_where_too_many_wait_the_newest_of_the_biggest_crowd_is_refused() -> None:
    limiter: ConnectionLimiter[Place] = ConnectionLimiter(ConnectionLimits(places=1, share=1, waiting=3))
    _, first, other, second = crowd(limiter, "one", "crowd", "other", "crowd")

    assert limiter.overflow() is None
    late = crowd(limiter, "other")[0]
    assert limiter.overflow() is second
    assert limiter.waiting == [first, other, late]


def test_where_connections_may_wait_an_owner_has_more_than_his_share_while_places_are_free() -> None:
    limiter: ConnectionLimiter[Place] = ConnectionLimiter(ConnectionLimits(places=9, share=1, waiting=9))

    idle = crowd(limiter, *["one"] * 9)

    assert list(limiter.active) == idle
    assert all(limiter.may_stay(place) for place in idle)
    assert limiter.take_idle() == []


@pytest.mark.parametrize(
    ("inside", "comes", "leaves"),
    [
        (["one", "one", "two"], "three", "one"),  # the greediest
        (["two", "one", "one"], "three", "one"),
        (["one", "one", "two"], "two", "one"),
        (["one", "one", "two"], "one", "one"),  # his own
        (["one", "two", "three"], "four", "one"),
        (["one", "two", "three"], "two", "two"),  # nobody gives one to an owner with as many
        (["one", "one", "two"], None, None),
    ],
)
def test_a_connection_that_waits_gets_the_place_of_an_idle_one(
    inside: list[str], comes: str | None, leaves: str | None
) -> None:
    limiter: ConnectionLimiter[Place] = ConnectionLimiter(ConnectionLimits(places=3, share=1, waiting=9))
    idle = crowd(limiter, *inside)
    assert all(limiter.may_stay(place) for place in idle)

    crowd(limiter, *([] if comes is None else [comes]))

    assert [place.owner for place in limiter.take_idle()] == ([] if leaves is None else [leaves])
    assert limiter.take_idle() == []


def test_of_two_that_wait_the_one_within_his_share_comes_first() -> None:
    limiter: ConnectionLimiter[Place] = ConnectionLimiter(ConnectionLimits(places=3, share=1, waiting=9))
    first, *_ = crowd(limiter, "one", "one", "one")
    _, other = crowd(limiter, "one", "two")

    assert not limiter.may_stay(first)
    limiter.leave(first)
    assert limiter.admit() == [other]


def test_an_event_stream_may_leave_its_share_to_other_connections() -> None:
    limits = ConnectionLimits(places=4, share=1, waiting=9, streams=2, streams_share=2, streams_count=False)
    limiter: ConnectionLimiter[Place] = ConnectionLimiter(limits)
    stream, leaving, *_ = crowd(limiter, "one", "two", "two", "two")
    _, waiting = crowd(limiter, "two", "one")

    assert limiter.open_stream(stream)
    limiter.leave(leaving)
    assert limiter.admit() == [waiting]
