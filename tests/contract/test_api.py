"""What the socket answers, asked over a real one, with a real feed behind."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from device_auth import __version__
from device_auth.core.errors import ConfigError, DeviceAuthError, StoreError
from device_auth.core.models import NEVER, Mark, Monotonic, UnixTime, View, hand_over
from device_auth.core.states import STATES, StateWord, Trouble
from device_auth.http.server import MOST_IDLE
from device_auth.service.api import ApiTimeouts
from tests.links import make_link
from tests.socket_world import ADMINISTRATOR, READER, STRANGER, Answered, SocketWorld
from tests.threads import threads_of
from tests.values import make_pair, seconds
from tests.waiting import wait_for


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SocketWorld]:
    with SocketWorld(tmp_path / "api.sock") as world:
        yield world


def problem(answer: Answered) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    fields = answer.fields
    assert fields["status"] == answer.status
    assert fields["title"]
    assert fields["detail"]
    return answer.status, fields["type"].removeprefix("urn:device-auth:")


# -- status


def test_status_tells_state_trouble_and_what_next(world: SocketWorld) -> None:
    world.feed.tell(View(StateWord.UNLINKED, Trouble.DENIED, hint="Press the button."), None)

    assert world.ask("/v1/status", caller=READER).fields == {
        "state": "unlinked",
        "trouble": "denied",
        "name": "Kitchen",
        "since": "2027-01-15T08:00:00Z",
        "hint": "Press the button.",
        "expires_at": None,
        "account": None,
        "account_id": None,
        "linked_at": None,
        "dialect": None,
        "version": __version__,
        "lasts": True,
        "is_checking": False,
    }


def test_status_tells_that_a_link_may_not_outlast_a_power_cut(world: SocketWorld) -> None:
    doubt = "/run/x is in memory."
    world.feed.tell(View(StateWord.LINKED, Trouble.NONE, hint=doubt, doubt=doubt), make_link())
    fields = world.ask("/v1/status", caller=READER).fields

    assert (fields["lasts"], fields["hint"]) == (False, doubt)


def test_status_tells_when_the_token_in_hand_ends(world: SocketWorld) -> None:
    world.is_linked(world.issue(lifetime=3600))

    status = world.ask("/v1/status").fields

    assert (status["state"], status["dialect"]) == ("linked", "lwa")
    assert status["expires_at"] == "2027-01-15T09:00:00Z"


def test_status_tells_whose_account_it_is(world: SocketWorld) -> None:
    told = View(StateWord.LINKED, Trouble.NONE, account="Anna", account_id="amzn1.account.ANNA")
    world.feed.tell(told, make_link())

    status = world.ask("/v1/status").fields
    assert (status["account"], status["account_id"]) == ("Anna", "amzn1.account.ANNA")


def test_status_tells_that_the_link_was_handed_over(world: SocketWorld) -> None:
    link = hand_over(make_link(), "json, /etc/client.json", UnixTime(1.8e9))
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), link)

    assert world.ask("/v1/status").fields["handed_over"] == {
        "to": "json, /etc/client.json",
        "at": "2027-01-15T08:00:00Z",
    }


def test_who_asks_for_a_token_hears_whom_the_link_was_handed_to(world: SocketWorld) -> None:
    link = hand_over(make_link(), "json, /etc/client.json", UnixTime(1.8e9))
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), link)

    answer = world.ask("/v1/token")

    assert problem(answer) == (409, "not-linked")
    assert "json, /etc/client.json" in answer.fields["detail"]


def test_only_administrators_see_the_code(world: SocketWorld) -> None:
    pair = make_pair(sent_at=world.clock.now(), expires_in=600)
    world.feed.tell(View(StateWord.WAITING, Trouble.NONE, code_pair=pair), None)
    world.clock.monotonic += 100.5

    seen = world.ask("/v1/status", caller=ADMINISTRATOR).fields
    unseen = world.ask("/v1/status", caller=READER)

    assert seen["code"] == {
        "user_code": pair.user_code,
        "verification_uri": pair.verification_uri,
        "verification_uri_complete": pair.prefilled_uri,
        "expires_in": 499,
        "interval": 30,
    }
    assert seen["expires_at"] == unseen.fields["expires_at"] == "2027-01-15T08:08:19Z"
    assert pair.user_code.encode() not in unseen.body


def test_a_token_that_outlives_the_calendar_still_has_a_date(world: SocketWorld) -> None:
    world.is_linked(world.issue(lifetime=1e12))

    assert world.ask("/v1/status").fields["expires_at"] == "9999-12-31T23:59:59Z"


# -- health


def test_a_linked_speaker_with_a_fresh_token_is_healthy(world: SocketWorld) -> None:
    world.is_linked(world.issue(lifetime=3600))
    world.clock.monotonic += 100
    world.clock.unix += 100

    answer = world.ask("/v1/health", caller=READER)

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.fields == {"status": "healthy", "reason": None, "updated_at": "2027-01-15T08:00:00Z"}
    assert world.actions.asked == []


def test_a_speaker_is_unhealthy_as_soon_as_its_token_ends_and_healthy_with_the_next(
    world: SocketWorld,
) -> None:
    """Nothing is published when a token ends, and the trouble is told of before a late recovery."""
    world.is_linked(world.issue(lifetime=3600))
    world.feed.tell(View(StateWord.LINKED, Trouble.NO_NETWORK), make_link())
    seen = [world.ask("/v1/health")]
    world.clock.monotonic += 3541
    seen.append(world.ask("/v1/health"))
    world.feed.publish(world.issue("late"))
    seen.append(world.ask("/v1/health"))

    assert [(answer.status, answer.fields["reason"]) for answer in seen] == [
        (200, None),
        (503, "no-network"),
        (200, None),
    ]


def test_a_speaker_that_is_not_linked_is_unhealthy(world: SocketWorld) -> None:
    starting = world.ask("/v1/health")
    world.feed.tell(View(StateWord.UNLINKED, Trouble.REVOKED), replace(make_link(), mark=Mark.REVOKED))
    revoked = world.ask("/v1/health")

    assert (starting.status, starting.fields["reason"]) == (503, "starting")
    assert (revoked.status, revoked.fields["reason"]) == (503, "revoked")


def test_the_date_of_the_health_is_right_after_the_clock_was_set(world: SocketWorld) -> None:
    world.is_linked(world.issue())
    world.clock.unix += 1e7

    assert world.ask("/v1/health").fields["updated_at"] == "2027-05-11T01:46:40Z"


# -- tokens


def test_a_token_in_hand_is_given_at_once(world: SocketWorld) -> None:
    world.is_linked(world.issue("one", age=600, lifetime=3600))

    answer = world.ask("/v1/token", caller=READER)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.fields == {
        "access_token": "CANARY-one",
        "token_type": "bearer",
        "expires_at": "2027-01-15T08:50:00Z",
        "expires_in": 3000,
    }
    assert world.actions.asked == []


def test_the_refresh_token_is_in_no_answer(world: SocketWorld) -> None:
    world.is_linked(world.issue("one"))

    answers = [
        world.ask("/v1/status"),
        world.ask("/v1/token"),
        world.ask("/v1/token/rejected", "POST", {"access_token": "x"}),
    ]

    assert not any(b"refresh" in answer.body or b"Atzr" in answer.body for answer in answers)


@pytest.mark.parametrize(("target", "needed"), [("/v1/token", 60), ("/v1/token?min_lifetime=1800", 1800)])
def test_a_token_that_ends_too_soon_is_refreshed_first(world: SocketWorld, target: str, needed: int) -> None:
    world.is_linked(world.issue("old", age=3600 - needed + 1))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    answer = world.ask(target)

    assert answer.fields["access_token"] == "CANARY-new"
    assert world.actions.asked == ["want_token"]


def test_more_lifetime_than_tokens_have_causes_one_refresh(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=61))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    answers = [world.ask("/v1/token?min_lifetime=999999999") for _ in range(3)]

    assert {answer.fields["access_token"] for answer in answers} == {"CANARY-new"}
    assert world.actions.refreshes == 1


def test_a_token_that_has_ended_is_not_given_however_young(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=20, lifetime=20))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new", lifetime=20))

    assert world.ask("/v1/token").fields["access_token"] == "CANARY-new"


def test_where_a_refresh_brings_nothing_the_caller_is_told_when_to_ask_again(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=3590))
    world.feed.tell(View(StateWord.LINKED, Trouble.NO_NETWORK), make_link())
    world.actions.refresh = world.actions.end_refresh

    answer = world.ask("/v1/token")

    assert problem(answer) == (503, "no-fresh-token")
    assert answer.headers["Retry-After"] == "10"
    assert "no way to the network" in answer.fields["detail"]


@pytest.mark.parametrize(
    ("due_in", "after"), [(0.2, "1"), (42.1, "43"), (299, "299"), (3600, "300"), (-1, "10"), (NEVER, "10")]
)
def test_the_caller_is_told_to_ask_again_when_the_next_refresh_is_due(
    world: SocketWorld, due_in: float, after: str
) -> None:
    world.is_linked()
    world.actions.refresh = lambda: world.feed.refresh_ended(Monotonic(world.clock.now() + due_in))

    answer = world.ask("/v1/token")

    assert problem(answer) == (503, "no-fresh-token")
    assert answer.headers["Retry-After"] == after


def test_a_token_with_less_left_is_given_to_who_asks_for_less(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=3590))

    assert world.ask("/v1/token?min_lifetime=0").fields["expires_in"] == 10


def test_a_refresh_that_does_not_end_is_not_waited_for_forever(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", timeouts=ApiTimeouts(token=seconds(0.05))) as world:
        world.is_linked()

        assert problem(world.ask("/v1/token")) == (503, "no-fresh-token")


def test_an_unlinked_speaker_has_no_token(world: SocketWorld) -> None:
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), None)

    answer = world.ask("/v1/token")

    assert problem(answer) == (409, "not-linked")
    assert STATES[StateWord.UNLINKED].next_step in answer.fields["detail"]


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        (Mark.REVOKED, (410, "revoked")),
        (Mark.MISCONFIGURED, (409, "not-linked")),
        (Mark.HANDED_OVER, (409, "not-linked")),
        (Mark.COPIED, (409, "not-linked")),
    ],
)
def test_a_marked_link_has_no_token(world: SocketWorld, mark: Mark, expected: tuple[int, str]) -> None:
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), replace(make_link(), mark=mark))

    assert problem(world.ask("/v1/token")) == expected
    assert world.actions.asked == []


def test_a_link_that_is_revoked_while_its_refresh_is_waited_for_says_so(world: SocketWorld) -> None:
    world.is_linked()
    revoked = replace(make_link(), mark=Mark.REVOKED)
    world.actions.refresh = lambda: world.feed.tell(View(StateWord.UNLINKED, Trouble.REVOKED), revoked)

    assert problem(world.ask("/v1/token")) == (410, "revoked")


def test_while_the_service_starts_nobody_is_told_that_there_is_no_link(world: SocketWorld) -> None:
    answer = world.ask("/v1/token")

    assert problem(answer) == (503, "busy")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("query", ["min_lifetime=x", "min_lifetime=-1", "min_lifetime=", "min_lifetime=1e3"])
def test_a_lifetime_is_a_whole_number_of_seconds(world: SocketWorld, query: str) -> None:
    assert problem(world.ask(f"/v1/token?{query}")) == (400, "bad-request")


@pytest.mark.parametrize(
    "query", ["min_lifetme=60", "min_lifetime=1&min_lifetime=2", "x", "&".join(f"a{n}=1" for n in range(9))]
)
def test_a_query_that_is_not_understood_is_refused(world: SocketWorld, query: str) -> None:
    assert problem(world.ask(f"/v1/token?{query}")) == (400, "bad-request")


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/v1/status"), ("GET", "/v1/events"), ("POST", "/v1/unlink")]
)
def test_what_takes_no_query_refuses_one(world: SocketWorld, method: str, target: str) -> None:
    assert problem(world.ask(f"{target}?wipe=1", method)) == (400, "bad-request")
    assert world.actions.asked == []


@pytest.mark.parametrize("callers", [[READER], [READER._replace(uid=1000 + n) for n in range(30)]])
def test_200_clients_across_an_expiry_cause_one_refresh(world: SocketWorld, callers: list[object]) -> None:
    world.is_linked(world.issue("old", age=3600))
    visitors = [world.visit(callers[n % len(callers)]) for n in range(200)]  # type: ignore[arg-type]  # a list of callers
    for visitor in visitors:
        visitor.begin("/v1/token")
    world.actions.wait_until_asked(min(8 * len(callers), 64))

    world.actions.end_refresh(world.issue("new"))

    assert {visitor.finish().fields["access_token"] for visitor in visitors} == {"CANARY-new"}
    assert world.actions.refreshes == 1


# -- rejected tokens


def reject(world: SocketWorld, token: str = "CANARY-old") -> Answered:
    return world.ask("/v1/token/rejected", "POST", {"access_token": token}, caller=READER)


def test_a_rejected_token_is_replaced(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=600))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    assert reject(world).fields["access_token"] == "CANARY-new"
    assert world.actions.asked == ["reject_token"]


def test_rejecting_a_token_of_before_gives_the_one_of_now(world: SocketWorld) -> None:
    world.is_linked(world.issue("new", age=600))

    assert reject(world).fields["access_token"] == "CANARY-new"
    assert world.actions.asked == []


def test_rejecting_a_token_while_there_is_none_waits_for_one(world: SocketWorld) -> None:
    world.is_linked()
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    assert reject(world).fields["access_token"] == "CANARY-new"


@pytest.mark.parametrize(("age", "after"), [(2, 28), (29, 10)])
def test_a_token_fresh_from_a_refresh_is_neither_refreshed_nor_given_again(
    world: SocketWorld, age: float, after: int
) -> None:
    world.is_linked(world.issue("old", age=age))

    answer = reject(world)

    assert problem(answer) == (503, "no-fresh-token")
    assert answer.headers["Retry-After"] == str(after)
    assert world.actions.asked == []


def test_who_rejects_the_same_token_shares_one_forced_refresh(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=600))
    visitors = [world.visit(READER._replace(uid=uid)) for uid in range(2000, 2020)]
    for visitor in visitors:
        visitor.begin("/v1/token/rejected", "POST", {"access_token": "CANARY-old"})
    world.actions.wait_until_asked(1)

    world.actions.end_refresh(world.issue("new"))

    assert {visitor.finish().fields["access_token"] for visitor in visitors} == {"CANARY-new"}
    assert world.actions.asked == ["reject_token"]


def test_a_refresh_is_forced_at_most_every_30_seconds(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=600))
    world.actions.refresh = world.actions.end_refresh

    first = reject(world)
    world.clock.monotonic += 5
    second = reject(world)
    world.clock.monotonic += 25
    third = reject(world)

    assert {problem(answer) for answer in (first, second, third)} == {(503, "no-fresh-token")}
    assert [answer.headers["Retry-After"] for answer in (first, second)] == ["30", "25"]
    assert world.actions.asked == ["reject_token", "reject_token"]


def test_a_forced_refresh_that_does_not_end_is_not_waited_for_forever(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", timeouts=ApiTimeouts(token=seconds(0.05))) as world:
        world.is_linked(world.issue("old", age=600))

        assert problem(reject(world)) == (503, "no-fresh-token")


def test_news_of_another_kind_does_not_end_the_wait_for_a_forced_refresh(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=600))
    visitor = world.visit(READER)
    visitor.begin("/v1/token/rejected", "POST", {"access_token": "CANARY-old"})
    world.actions.wait_until_asked(1)

    world.feed.tell(View(StateWord.LINKED, Trouble.NONE, sequence=1), make_link())
    world.actions.end_refresh(world.issue("new"))

    assert visitor.finish().fields["access_token"] == "CANARY-new"


def test_a_link_that_turns_out_revoked_by_a_rejected_token_says_so(world: SocketWorld) -> None:
    world.is_linked(world.issue("old", age=600))

    def refuse() -> None:
        world.feed.tell(View(StateWord.UNLINKED, Trouble.REVOKED), replace(make_link(), mark=Mark.REVOKED))
        world.feed.withdraw()

    world.actions.refresh = refuse

    assert problem(reject(world)) == (410, "revoked")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"access_token": 1}',
        b'"CANARY"',
        b"[" * 4000,
        b"\xff\xfe",
        b'{"access_token": null}',
    ],
)
def test_a_body_of_another_form_is_refused_and_not_repeated(world: SocketWorld, body: bytes) -> None:
    answer = world.ask("/v1/token/rejected", "POST", body)

    assert problem(answer) == (400, "bad-request")
    assert b"CANARY" not in answer.body


def test_a_body_of_another_type_is_refused(world: SocketWorld) -> None:
    answer = world.ask(
        "/v1/token/rejected", "POST", b"access_token=x", Content_Type="application/x-www-form-urlencoded"
    )

    assert problem(answer) == (415, "unsupported-media-type")


def test_a_content_type_may_name_its_character_set(world: SocketWorld) -> None:
    world.is_linked(world.issue("new"))

    answer = world.ask(
        "/v1/token/rejected", "POST", b'{"access_token": "x"}', Content_Type="Application/JSON; charset=utf-8"
    )

    assert answer.status == 200


# -- actions


@pytest.mark.parametrize(
    ("target", "called"), [("/v1/link", "link"), ("/v1/link/cancel", "cancel"), ("/v1/unlink", "unlink")]
)
def test_administrators_may_act(world: SocketWorld, target: str, called: str) -> None:
    answer = world.ask(target, "POST", caller=ADMINISTRATOR)

    assert (answer.status, answer.body) == (202, b"")
    assert world.actions.asked == [called]


@pytest.mark.parametrize("target", ["/v1/link", "/v1/link/cancel", "/v1/unlink"])
def test_readers_may_not_act(world: SocketWorld, target: str) -> None:
    assert problem(world.ask(target, "POST", caller=READER)) == (403, "forbidden")
    assert world.actions.asked == []


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/status"),
        ("GET", "/v1/token"),
        ("GET", "/v1/events"),
        ("POST", "/v1/link"),
        ("GET", "/nowhere"),
    ],
)
def test_strangers_may_nothing(world: SocketWorld, method: str, target: str) -> None:
    world.is_linked(world.issue())

    assert problem(world.ask(target, method, caller=STRANGER)) == (403, "forbidden")
    assert world.actions.asked == []


def test_a_mistake_of_ours_costs_one_answer_only(
    world: SocketWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    world.is_linked()
    world.actions.refresh = fail
    visitor = world.visit()

    assert problem(visitor.ask("/v1/token")) == (500, "internal")
    assert visitor.ask("/v1/status").status == 200
    assert "ZeroDivisionError" in caplog.text


# -- events


def test_the_first_event_is_the_present_state(world: SocketWorld) -> None:
    world.is_linked()

    events = world.follow(READER)

    assert events.response.headers["Content-Type"] == "text/event-stream"
    block = events.next_block()
    assert block["event"] == "status"
    assert '"state": "linked"' in block["data"]


def test_events_tell_each_change(world: SocketWorld) -> None:
    events = world.follow(READER)
    assert events.next_status()["state"] == "starting"

    world.is_linked()
    assert events.next_status()["state"] == "linked"

    world.feed.publish(world.issue())
    assert events.next_status()["expires_at"] is not None


def test_what_changes_nothing_to_be_told_is_a_heartbeat(world: SocketWorld) -> None:
    events = world.follow(READER)
    events.next_block()

    world.feed.refresh_ended()

    assert events.next_block() == {"": ""}


def test_each_beat_of_the_loop_is_a_sign_of_life(world: SocketWorld) -> None:
    events = world.follow(READER)
    events.next_block()

    for _ in range(3):
        world.feed.beat()
        assert events.next_block() == {"": ""}


def test_only_administrators_are_told_the_code(world: SocketWorld) -> None:
    pair = make_pair(sent_at=world.clock.now())
    world.feed.tell(View(StateWord.WAITING, Trouble.NONE, code_pair=pair), None)

    assert world.follow(ADMINISTRATOR).next_status()["code"]["user_code"] == pair.user_code
    assert "code" not in world.follow(READER).next_status()


def test_the_ninth_stream_is_asked_to_come_back(world: SocketWorld) -> None:
    for uid in range(8):
        world.follow(READER._replace(uid=3000 + uid)).next_block()

    answer = world.ask("/v1/events")

    assert problem(answer) == (503, "busy")
    assert answer.headers["Retry-After"] == "1"


def test_a_stream_that_its_client_has_left_makes_way_at_once(world: SocketWorld) -> None:
    streams = [world.follow(READER) for _ in range(8)]
    streams[3].close()

    assert world.follow(READER).next_status()["state"] == "starting"


def test_streams_that_are_left_again_and_again_do_not_pile_up(world: SocketWorld) -> None:
    for _ in range(16):
        events = world.follow(READER)
        events.next_block()
        events.close()

    wait_for(lambda: threads_of("api connection") <= MOST_IDLE)


def test_a_user_with_many_streams_loses_the_oldest_to_another_user(world: SocketWorld) -> None:
    greedy = [world.follow(READER) for _ in range(8)]
    for events in greedy:
        events.next_block()

    assert world.follow(ADMINISTRATOR).next_status()["state"] == "starting"
    assert greedy[0].is_over()


def test_streams_do_not_count_to_the_share_of_their_user(world: SocketWorld) -> None:
    for _ in range(8):
        world.follow(READER).next_block()

    assert world.ask("/v1/status", caller=READER).status == 200


def test_a_stream_ends_when_the_service_does(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock") as world:
        events = world.follow(READER)
        events.next_block()

        world.api.close()

        assert events.is_over()


# -- HTTP


@pytest.mark.parametrize("target", ["/", "/v1", "/v1/status/", "/v2/status", "/v1/%73tatus", "/v1/status#x"])
def test_there_is_nothing_elsewhere(world: SocketWorld, target: str) -> None:
    assert problem(world.ask(target)) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("POST", "/v1/token", "GET, HEAD"),
        ("GET", "/v1/link", "POST"),
        ("HEAD", "/v1/link", "POST"),
        ("BREW", "/v1/status", "GET, HEAD"),
    ],
)
def test_another_method_is_told_the_right_ones(
    world: SocketWorld, method: str, target: str, allowed: str
) -> None:
    answer = world.ask(target, method)

    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("target", ["/v1/status", "/v1/token", "/v1/nowhere"])
def test_head_is_get_without_the_body(world: SocketWorld, target: str) -> None:
    world.is_linked(world.issue())
    visitor = world.visit()

    full, bare = visitor.ask(target), visitor.ask(target, "HEAD")

    assert (bare.status, bare.headers, bare.body) == (full.status, full.headers, b"")
    assert visitor.ask("/v1/status").status == 200


def test_the_head_of_the_events_is_no_stream(world: SocketWorld) -> None:
    answer = world.ask("/v1/events", "HEAD")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


def test_a_connection_serves_many_requests(world: SocketWorld) -> None:
    visitor = world.visit()

    assert [visitor.ask("/v1/status").status for _ in range(20)] == [200] * 20


def test_a_moment_on_the_clock_is_told_in_utc(world: SocketWorld) -> None:
    world.is_linked(replace(world.issue(), expires_at=Monotonic(world.clock.now() + 0.9)))

    told = world.ask("/v1/status").fields["expires_at"]

    assert datetime.fromisoformat(told).timestamp() == 1.8e9


# -- sealing


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("", (409, "not-linked")),
        (ConfigError("no key is set up", hint="Set one up."), (409, "no-key")),
        (StoreError("the disk is full", hint="Free some space."), (507, "storage")),
    ],
)
def test_a_sealing_that_fails_says_why(
    world: SocketWorld, outcome: str | DeviceAuthError, expected: tuple[int, str]
) -> None:
    world.actions.sealed_under = outcome
    answer = world.ask("/v1/seal", "POST", caller=ADMINISTRATOR)

    assert problem(answer) == expected
    assert str(outcome) in answer.fields["detail"]


def test_an_administrator_may_have_the_link_sealed_and_a_reader_may_not(world: SocketWorld) -> None:
    assert world.ask("/v1/seal", "POST", caller=ADMINISTRATOR).status == 202
    assert problem(world.ask("/v1/seal", "POST", caller=READER)) == (403, "forbidden")
    assert world.actions.asked == ["seal"]


# -- another link


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (None, "link"),
        (b"", "link"),
        ({}, "link"),
        ({"again": False}, "link"),
        ({"again": True}, "link again"),
        ({"adopt": True}, "adopt"),
        ({"adopt": False}, "link"),
        ({"again": True, "adopt": False}, "link again"),
    ],
)
def test_a_link_is_asked_for_again_only_where_the_body_says_so(
    world: SocketWorld, body: object, asked: str
) -> None:
    answer = world.ask("/v1/link", "POST", body, caller=ADMINISTRATOR)

    assert (answer.status, world.actions.asked) == (202, [asked])


@pytest.mark.parametrize(
    "body",
    [b"{", [], {"again": 1}, {"again": "yes"}, {"agian": True}, {"adopt": 1}, {"again": True, "adopt": True}],
)
def test_a_body_that_is_not_understood_links_nothing(world: SocketWorld, body: object) -> None:
    answer = world.ask("/v1/link", "POST", body, caller=ADMINISTRATOR)

    assert (problem(answer), world.actions.asked) == ((400, "bad-request"), [])
