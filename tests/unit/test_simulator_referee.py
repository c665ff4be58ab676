from dataclasses import replace

import pytest

from device_auth.core.models import DialectName
from device_auth.simulator import referee
from device_auth.simulator.referee import (
    AUTHORIZATIONS,
    RULES,
    ObservedRequest,
    Referee,
    Remark,
    RequestForm,
    RuleName,
    carries_refresh_token,
    judge,
    judge_authorization,
    leaks,
)
from tests.simulated_speaker import FORM, Clock

FORM_WANTED = RequestForm(required=frozenset({"a", "b"}), optional=frozenset({"c"}), needs_language=True)
GOOD = ObservedRequest(
    method="POST",
    path="/token",
    query="",
    headers={"accept": "application/json", "content-type": FORM, "accept-language": "de-DE"},
    body=b"a=1&b=2&c=3",
)


def kinds(seen: ObservedRequest, wanted: RequestForm = FORM_WANTED) -> list[RuleName]:
    return [kind for kind, _ in judge(seen, seen.form(), wanted)]


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
        (replace(GOOD, method="PUT"), RuleName.WRONG_METHOD),
        (replace(GOOD, method="GET"), RuleName.WRONG_METHOD),
        (with_header("accept", None), RuleName.OTHER_ACCEPT),
        (with_header("accept", "*/*"), RuleName.OTHER_ACCEPT),
        (with_header("authorization", "Basic eDp5"), RuleName.AUTHORIZATION_HEADER),
        (with_header("accept-language", None), RuleName.NO_ACCEPT_LANGUAGE),
        (with_header("content-type", f"{FORM}; charset=utf-8"), RuleName.CONTENT_TYPE_PARAMETER),
        (with_header("content-type", "application/json"), RuleName.WRONG_CONTENT_TYPE),
        (with_header("content-type", None), RuleName.WRONG_CONTENT_TYPE),
        (replace(GOOD, body=b"a=1"), RuleName.MISSING_PARAMETER),
        (replace(GOOD, body=b"a=1&b="), RuleName.MISSING_PARAMETER),
        (replace(GOOD, body=b"a=1&b=2&d=3"), RuleName.EXTRA_PARAMETER),
        (replace(GOOD, body=b"a=1&b=2&a=1"), RuleName.DUPLICATE_PARAMETER),
    ],
)
def test_what_breaks_the_rule_is_told_once(seen: ObservedRequest, kind: RuleName) -> None:
    assert kinds(seen) == [kind]


def test_basic_authentication_may_stand_for_the_client_id_where_it_is_known() -> None:
    wanted = RequestForm(required=frozenset({"a", "client_id"}), takes_basic=True)
    seen = replace(GOOD, body=b"a=1")

    assert kinds(seen, wanted) == [RuleName.MISSING_PARAMETER]
    seen = replace(seen, headers={**seen.headers, "authorization": "Basic eDp5"})
    assert kinds(seen, wanted) == []
    assert kinds(replace(seen, body=b"a=1&client_id=x"), wanted) == []


def test_a_get_is_not_asked_for_a_form() -> None:
    seen = ObservedRequest(method="GET", path="/", query="", headers={"accept": "application/json"}, body=b"")

    assert kinds(seen, RequestForm(method="GET")) == []


def test_a_complaint_repeats_only_well_known_names() -> None:
    seen = replace(GOOD, body=b"a=1&b=2&client_id=3&abc123=4")

    sentences = [sentence for _, sentence in judge(seen, seen.form(), FORM_WANTED)]

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

    assert [kind for kind, _ in found] == [RuleName.SECRET_IN_URL]


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


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        (b'{"a": "1", "b": {"c": [2]}, "n": 3, "no": null}', [("a", "1"), ("b", '{"c": [2]}'), ("n", "3")]),
        (b'{"a": ""}', []),
        (b"[1]", []),
        (b"{", []),
        (b"[" * 20_000, []),
        (b"a=1", []),
    ],
)
def test_the_members_of_a_json_body_are_read_like_a_form(body: bytes, parameters: list[object]) -> None:
    seen = replace(with_header("content-type", "application/json; charset=utf-8"), body=body)

    assert seen.form() == parameters


def test_json_is_noted_where_it_is_taken() -> None:
    wanted = replace(FORM_WANTED, takes_json=True)
    seen = replace(with_header("content-type", "application/json"), body=b'{"a": "1", "b": "2"}')

    assert kinds(seen, wanted) == [RuleName.JSON_BODY]
    assert kinds(replace(seen, body=b"{}"), wanted).count(RuleName.MISSING_PARAMETER) == 2


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"state": "s", "code_challenge": "c", "code_challenge_method": "S256"}, []),
        ({"code_challenge": "c", "code_challenge_method": "S256"}, [RuleName.NO_STATE]),
        ({"state": "s"}, []),
        ({}, [RuleName.OPEN_TO_FORGERY]),
    ],
)
def test_only_an_authorization_request_without_any_protection_is_open_to_forgery(
    more: dict[str, str], found: list[RuleName]
) -> None:
    needed = dict.fromkeys(AUTHORIZATIONS[DialectName.LWA].required, "x")

    assert [kind for kind, _ in judge_authorization(list((needed | more).items()), DialectName.LWA)] == found


def test_every_rule_has_a_meaning_and_a_source() -> None:
    assert set(RULES) == set(RuleName)
    assert all(rule.meaning.endswith((".", ").")) and rule.source for rule in RULES.values())


def test_a_note_is_no_complaint_unless_the_referee_is_strict() -> None:
    mild = Referee(Clock())
    hard = Referee(Clock(), is_strict=True, allowed={RuleName.POLL_BELOW_TOLD})
    for judging in (mild, hard):
        for kind in (RuleName.OTHER_ACCEPT, RuleName.POLL_BELOW_TOLD, RuleName.WRONG_METHOD):
            judging.report(kind, "So.", endpoint="refresh")

    assert [remark.kind for remark in mild.complaints()] == [RuleName.WRONG_METHOD]
    assert [remark.kind for remark in mild.notes()] == [RuleName.OTHER_ACCEPT, RuleName.POLL_BELOW_TOLD]
    assert [remark.kind for remark in hard.complaints()] == [RuleName.OTHER_ACCEPT, RuleName.WRONG_METHOD]
    assert [remark.kind for remark in hard.notes()] == [RuleName.POLL_BELOW_TOLD]
    mild.reset()
    assert mild.notes() == ()


def test_the_referee_remembers_until_reset() -> None:
    clock = Clock()
    judging = Referee(clock)

    judging.report(RuleName.WRONG_METHOD, "So.", endpoint="refresh", client="K-0001")

    assert judging.complaints() == (Remark(RuleName.WRONG_METHOD, "So.", "refresh", "K-0001", clock.now),)
    judging.reset()
    assert judging.complaints() == ()


def test_the_referee_counts_all_complaints_and_keeps_the_last_ten_thousand() -> None:
    judging = Referee(Clock())

    for number in range(referee.MOST_REMARKS + 1):
        judging.report(RuleName.WRONG_METHOD, f"Number {number}.", endpoint="refresh")

    assert judging.counts() == {"wrong-method": 10_001}
    assert len(judging.complaints()) == 10_000
    assert judging.complaints()[-1].sentence == "Number 10000."
    judging.reset()
    assert judging.counts() == {}
