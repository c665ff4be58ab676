"""The JSON that other programs read: one form everywhere."""

import json
from typing import Any

import pytest

from device_auth.core.models import Mark, Secret, UnixTime
from device_auth.core.public import (
    AccessToken,
    HandOver,
    SpeakerHealth,
    SpeakerStatus,
    hand_over_of,
    health_fields,
    health_of,
    rfc3339,
    status_fields,
    status_text,
    token_fields,
    write_json,
)
from device_auth.core.states import FOR_NOW, STATES, TROUBLES, StateWord, Trouble
from device_auth.core.values import replace
from tests.links import make_link

UNLINKED = SpeakerStatus(
    StateWord.UNLINKED, Trouble.NONE, None, "press", UnixTime(1.8e9), "Anna", "lwa", "1.0", "Kitchen"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Küche", "Küche"),
        ("\U0001f50a", "\U0001f50a"),
        ("/run/\udcff", "/run/?"),
        ("\ud83d", "?"),
        (r"\ud83d", r"\ud83d"),
    ],
)
def test_json_has_no_half_of_a_surrogate_pair(text: str, shown: str) -> None:
    written = write_json({"hint": [text]})

    assert written.isascii()
    assert json.loads(written) == {"hint": [shown]}


def test_a_status_is_thirteen_fields() -> None:
    assert status_fields(UNLINKED) == {
        "state": "unlinked",
        "trouble": "none",
        "name": "Kitchen",
        "since": None,
        "hint": "press",
        "expires_at": "2027-01-15T08:00:00Z",
        "account": "Anna",
        "account_id": None,
        "linked_at": None,
        "dialect": "lwa",
        "version": "1.0",
        "lasts": True,
        "is_checking": False,
    }


@pytest.mark.parametrize(
    ("state", "trouble", "mark", "has_fresh_token", "reason"),
    [
        ("linked", "none", None, True, None),
        ("linked", "no-network", None, True, None),  # the token lasts
        ("waiting", "none", None, True, None),  # for another link
        ("linked", "none", None, False, "no-fresh-token"),
        ("proving", "none", None, False, "no-fresh-token"),
        ("linked", "no-network", None, False, "no-network"),
        ("unlinked", "revoked", Mark.REVOKED, True, "revoked"),
        ("unlinked", "none", Mark.MISCONFIGURED, False, "misconfigured"),
        ("unlinked", "none", Mark.HANDED_OVER, True, "handed-over"),
        ("requesting", "none", Mark.COPIED, False, "copied"),
    ],
)
def test_a_speaker_with_a_link_is_healthy_while_a_fresh_token_is_there(
    state: str, trouble: str, mark: Mark | None, reason: str | None, *, has_fresh_token: bool
) -> None:
    link = replace(make_link(), mark=mark)

    health = health_of(StateWord(state), Trouble(trouble), link, None, has_fresh_token=has_fresh_token)

    assert health.reason == reason


@pytest.mark.parametrize(
    ("state", "trouble", "reason"),
    [("starting", "none", "starting"), ("unlinked", "none", "unlinked"), ("unlinked", "denied", "denied")],
)
def test_a_speaker_without_a_link_is_unhealthy(state: str, trouble: str, reason: str) -> None:
    for has_fresh_token in (False, True):
        health = health_of(StateWord(state), Trouble(trouble), None, None, has_fresh_token=has_fresh_token)
        assert health.reason == reason


def test_a_health_is_three_fields() -> None:
    at = UnixTime(1.8e9)

    assert health_fields(SpeakerHealth(None, at)) == {
        "status": "healthy",
        "reason": None,
        "updated_at": "2027-01-15T08:00:00Z",
    }
    assert health_fields(SpeakerHealth("revoked", None)) == {
        "status": "unhealthy",
        "reason": "revoked",
        "updated_at": None,
    }


def test_a_status_says_that_a_refusal_is_checked() -> None:
    assert status_fields(replace(UNLINKED, is_checking=True))["is_checking"] is True


def test_a_status_after_an_export_names_the_other_client() -> None:
    status = replace(UNLINKED, handed_over=HandOver("env, /x", UnixTime(1.8e9)))

    assert status_fields(status)["handed_over"] == {"to": "env, /x", "at": "2027-01-15T08:00:00Z"}


def test_only_a_link_that_was_handed_over_has_gone_somewhere() -> None:
    link = replace(make_link(), mark=Mark.HANDED_OVER, handed_over_to="env, /x", marked_at=UnixTime(1.8e9))

    assert hand_over_of(link) == HandOver("env, /x", UnixTime(1.8e9))
    assert hand_over_of(make_link()) is None
    assert hand_over_of(None) is None


def test_a_token_is_four_fields() -> None:
    assert token_fields(AccessToken(Secret("Atza|x"), UnixTime(1.8e9), 3600)) == {
        "access_token": "Atza|x",
        "token_type": "bearer",
        "expires_at": "2027-01-15T08:00:00Z",
        "expires_in": 3600,
    }


@pytest.mark.parametrize(
    ("moment", "text"), [(1.8e9 + 0.9, "2027-01-15T08:00:00Z"), (1e15, "9999-12-31T23:59:59Z")]
)
def test_a_moment_is_written_in_utc_to_the_second_before(moment: float, text: str) -> None:
    assert rfc3339(UnixTime(moment)) == text


def text_of(**changes: Any) -> list[str]:
    return status_text(status_fields(replace(UNLINKED, **changes))).splitlines()


def test_a_status_for_people_has_a_row_for_what_is_known() -> None:
    assert text_of(account_id="amzn1.account.A") == [
        f"state:       unlinked: {STATES[StateWord.UNLINKED].sentence}",
        "next:        press",
        "name:        Kitchen",
        "account:     Anna",
        "user ID:     amzn1.account.A",
        "token until: 2027-01-15T08:00:00Z",
        "dialect:     lwa",
    ]


def test_a_status_for_people_names_the_trouble_and_the_end_of_the_code() -> None:
    rows = text_of(state=StateWord.WAITING, trouble=Trouble.NO_NETWORK)

    assert rows[:2] == [
        f"state:       waiting: {TROUBLES[Trouble.NO_NETWORK].sentence}",
        "trouble:     no-network",
    ]
    assert "code until:  2027-01-15T08:00:00Z" in rows


def test_a_status_for_people_says_of_a_link_that_it_may_not_last() -> None:
    assert text_of(state=StateWord.LINKED, lasts=False)[0] == f"state:       linked: {FOR_NOW.sentence}"


def test_a_status_for_people_has_no_state_that_a_silent_service_keeps() -> None:
    assert text_of(state=StateWord.STARTING, service="hung")[0] == "service:     hung"


@pytest.mark.parametrize(
    ("handed_over", "row"),
    [
        (HandOver("avs", UnixTime(1.8e9)), "handed over: to avs, at 2027-01-15T08:00:00Z"),
        (HandOver(None, None), "handed over: to another client"),
    ],
)
def test_a_status_for_people_names_the_client_that_has_the_link(handed_over: HandOver, row: str) -> None:
    assert row in text_of(handed_over=handed_over)
