from dataclasses import replace

import pytest

from device_auth.simulator import referee
from device_auth.simulator.referee import (
    Complaint,
    ComplaintKind,
    ObservedRequest,
    Referee,
    Rule,
    carries_refresh_token,
    judge,
    leaks,
)
from tests.simulated_speaker import FORM, Clock

RULE = Rule(required=frozenset({"a", "b"}), optional=frozenset({"c"}), needs_language=True)
GOOD = ObservedRequest(
    method="POST",
    path="/token",
    query="",
    headers={"accept": "application/json", "content-type": FORM, "accept-language": "de-DE"},
    body=b"a=1&b=2&c=3",
)


def kinds(seen: ObservedRequest, rule: Rule = RULE) -> list[ComplaintKind]:
    return [kind for kind, _ in judge(seen, rule)]


def with_header(name: str, value: str | None) -> ObservedRequest:
    headers = {**GOOD.headers, name: value or ""}
    if value is None:
        del headers[name]
    return replace(GOOD, headers=headers)


def test_a_good_request_is_not_complained_about() -> None:
    assert kinds(GOOD) == []
    assert kinds(replace(GOOD, body=b"b=2&a=1")) == []


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (replace(GOOD, method="PUT"), ComplaintKind.WRONG_METHOD),
        (replace(GOOD, method="GET"), ComplaintKind.WRONG_METHOD),
        (with_header("accept", None), ComplaintKind.WRONG_ACCEPT),
        (with_header("accept", "*/*"), ComplaintKind.WRONG_ACCEPT),
        (with_header("authorization", "Basic eDp5"), ComplaintKind.AUTHORIZATION_HEADER),
        (with_header("accept-language", None), ComplaintKind.NO_ACCEPT_LANGUAGE),
        (with_header("content-type", f"{FORM}; charset=utf-8"), ComplaintKind.WRONG_CONTENT_TYPE),
        (with_header("content-type", "application/json"), ComplaintKind.WRONG_CONTENT_TYPE),
        (replace(GOOD, body=b"a=1"), ComplaintKind.MISSING_PARAMETER),
        (replace(GOOD, body=b"a=1&b="), ComplaintKind.MISSING_PARAMETER),
        (replace(GOOD, body=b"a=1&b=2&d=3"), ComplaintKind.EXTRA_PARAMETER),
        (replace(GOOD, body=b"a=1&b=2&a=1"), ComplaintKind.DUPLICATE_PARAMETER),
    ],
)
def test_what_breaks_the_rule_is_told_once(seen: ObservedRequest, kind: ComplaintKind) -> None:
    assert kinds(seen) == [kind]


def test_basic_authentication_may_stand_for_the_client_id_where_it_is_known() -> None:
    rule = Rule(required=frozenset({"a", "client_id"}), takes_basic=True)
    seen = replace(GOOD, body=b"a=1")

    assert kinds(seen, rule) == [ComplaintKind.MISSING_PARAMETER]
    seen = replace(seen, headers={**seen.headers, "authorization": "Basic eDp5"})
    assert kinds(seen, rule) == []
    assert kinds(replace(seen, body=b"a=1&client_id=x"), rule) == []


def test_a_get_is_not_asked_for_a_form() -> None:
    seen = ObservedRequest(method="GET", path="/", query="", headers={"accept": "application/json"}, body=b"")

    assert kinds(seen, Rule(method="GET")) == []


def test_a_complaint_repeats_only_well_known_names() -> None:
    seen = replace(GOOD, body=b"a=1&b=2&client_id=3&abc123=4")

    sentences = [sentence for _, sentence in judge(seen, RULE)]

    assert sentences == [
        "A parameter of an unknown name does not belong here.",
        "The parameter client_id does not belong here.",
    ]


@pytest.mark.parametrize(
    ("path", "query", "is_page"),
    [
        ("/token", "device_code=x", False),
        ("/token", "Refresh_Token=x", False),
        ("/token", "user_code=ABC", False),
        ("/token", "a=Sim%7CA%7Cx", False),
        ("/token", "a=Sim%7CC%7Cx", False),
        ("/token", "code=x", False),
        ("/ap/oa", "client_secret=x", True),
        ("/ap/oa", "code_verifier=x", True),
        ("/x/Sim%7CR%7Cx", "", True),
        ("/us/code", "cbl-code=the-device-code", True),
        ("/us/code", "device_code=", True),
    ],
)
def test_a_secret_in_an_address_is_told(path: str, query: str, *, is_page: bool) -> None:
    seen = replace(GOOD, path=path, query=query)

    found = list(leaks(seen, lambda text: text == "the-device-code", is_page=is_page))

    assert [kind for kind, _ in found] == [ComplaintKind.SECRET_IN_URL]


@pytest.mark.parametrize(
    ("path", "query", "is_page"),
    [("/token", "", False), ("/us/code", "cbl-code=ABC", True), ("/device", "user_code=A", True)],
)
def test_the_page_may_carry_the_user_code(path: str, query: str, *, is_page: bool) -> None:
    assert list(leaks(replace(GOOD, path=path, query=query), lambda _: False, is_page=is_page)) == []


def test_a_refresh_token_is_seen_in_body_and_headers() -> None:
    assert carries_refresh_token(replace(GOOD, body=b"x=Sim%7CR%7Cabc"))
    assert carries_refresh_token(replace(GOOD, body=b'{"x": "Sim|R|abc"}'))
    assert carries_refresh_token(with_header("authorization", "Bearer Sim|R|abc"))
    assert not carries_refresh_token(replace(GOOD, body=b"x=Sim%7CA%7Cabc"))


def test_the_referee_remembers_until_reset() -> None:
    clock = Clock()
    judging = Referee(clock)

    judging.complain(ComplaintKind.WRONG_METHOD, "So.", endpoint="refresh", client="K-0001")

    assert judging.complaints() == (
        Complaint(ComplaintKind.WRONG_METHOD, "So.", "refresh", "K-0001", clock.now),
    )
    judging.reset()
    assert judging.complaints() == ()


def test_the_referee_counts_all_complaints_and_keeps_the_last_ten_thousand() -> None:
    judging = Referee(Clock())

    for number in range(referee.MOST_COMPLAINTS + 1):
        judging.complain(ComplaintKind.WRONG_METHOD, f"Number {number}.", endpoint="refresh")

    assert judging.counts() == {"wrong-method": 10_001}
    assert len(judging.complaints()) == 10_000
    assert judging.complaints()[-1].sentence == "Number 10000."
    judging.reset()
    assert judging.counts() == {}
