import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from device_auth.core.models import (
    Answer,
    CodePair,
    Pending,
    Refusal,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    WireResponse,
)
from device_auth.core.states import Trouble
from device_auth.wire.addresses import is_loopback
from device_auth.wire.answers import (
    ASSUMED_LIFETIME,
    Fields,
    clean,
    conceal,
    poll_refusals,
    read_answer,
    read_code_pair,
    read_fields,
    read_grant,
    read_interval,
    read_page_uri,
    read_seconds,
    read_token,
    read_user_code,
    refresh_refusals,
    retry_after,
    write_form,
)
from tests.values import CANARY, make_response, moment, seconds

GRANT: Mapping[str, object] = {
    "access_token": "Atza|1",
    "refresh_token": "Atzr|1",
    "token_type": "bearer",
    "expires_in": 3600,
}
PAIR: Mapping[str, object] = {
    "user_code": "FUP8UN",
    "device_code": "9c1e7a3e-5f0c",
    "verification_uri": "https://amazon.com/us/code",
    "expires_in": 600,
    "interval": 30,
}
HTML = b"\n<!DOCTYPE html><html><body>Welcome to our hotel</body></html>"


def read_poll(response: WireResponse) -> Answer:
    """Read an answer as a plain poll's."""

    def read_success(answer: WireResponse, fields: Fields) -> TokenGrant | None:
        return read_grant(answer, fields, refresh_token_wanted=True, default_lifetime=ASSUMED_LIFETIME)

    return read_answer(response, read_success, poll_refusals(response))


def read_pair(fields: Mapping[str, object]) -> CodePair | None:
    return read_code_pair(make_response(), fields, lambda _uri, _code: None)


# -- which answers are understood


def test_a_grant_counts_from_before_its_request_left() -> None:
    grant = read_poll(make_response(GRANT, sent_at=100))

    assert isinstance(grant, TokenGrant)
    assert grant.expires_at == moment(3700)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 428])
def test_a_refusal_is_understood_at_the_statuses_that_servers_use(status: int) -> None:
    answer = read_poll(make_response({"error": "access_denied"}, status=status))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.DENIED


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 429, 500, 502, 503, 504, 511, 599, 600, 999])
@pytest.mark.parametrize("error", ["access_denied", "invalid_grant", "invalid_client", "expired_token"])
def test_a_server_in_distress_ends_nothing(status: int, error: str) -> None:
    assert isinstance(read_poll(make_response({"error": error}, status=status)), Unclear)


@pytest.mark.parametrize("status", [200, 400, 429, 500, 503])
@pytest.mark.parametrize(
    ("error", "kind"), [("authorization_pending", Pending), ("slow_down", SlowDown), ("SLOW_DOWN", SlowDown)]
)
def test_being_asked_to_wait_is_believed_even_of_a_server_in_distress(
    status: int, error: str, kind: type[Answer]
) -> None:
    answer = read_poll(make_response({"error": error}, status=status, headers={"retry-after": "9"}))

    assert answer == kind(retry_after=seconds(9))  # type: ignore[call-arg]  # both have it


@pytest.mark.parametrize(
    "fields", [{}, {"error": 5}, {"error": None}, {"error": ["access_denied"]}, {"message": "no"}]
)
@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_without_a_name_is_unclear(fields: object, status: int) -> None:
    assert isinstance(read_poll(make_response(fields, status=status)), Unclear)


@pytest.mark.parametrize(
    "error", ["ServerError", "servererror", "temporarily_unavailable", "", "invalid_token"]
)
def test_an_error_of_another_name_is_unclear(error: str) -> None:
    assert isinstance(read_poll(make_response({"error": error}, status=400)), Unclear)


def test_a_null_error_beside_tokens_is_none() -> None:
    assert isinstance(read_poll(make_response({**GRANT, "error": None})), TokenGrant)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"12",
        json.dumps(GRANT).encode()[:-1],
        b"\xff\xfe{}",
        b'{"error": "access_denied", "x": "\xff"}',
        b'{"a": ' * 20_000,
        b"[" * 60_000,
        b'{"expires_in": ' + b"9" * 5000 + b"}",
    ],
    ids=[
        "empty",
        "null",
        "list",
        "text",
        "number",
        "broken off",
        "UTF-16",
        "Latin-1",
        "deep",
        "deeper",
        "huge number",
    ],
)
def test_a_body_that_is_no_json_object_is_unclear(body: bytes) -> None:
    assert isinstance(read_poll(make_response(body=body)), Unclear)


def test_a_body_that_was_cut_is_unclear_even_if_it_reads_well() -> None:
    assert isinstance(read_poll(make_response(GRANT, is_whole=False)), Unclear)


def test_a_byte_order_mark_is_forgiven() -> None:
    assert read_fields(make_response(body=b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}


# -- what stands between us and the provider


@pytest.mark.parametrize(
    "response",
    [
        make_response(body=HTML),
        make_response(body=b"hello", headers={"content-type": "Text/HTML; charset=utf-8"}),
        make_response(body=b"<HTML>"),
        make_response(body=HTML, status=511),
        make_response(body=b"{}", status=511),
        make_response(body=HTML, status=302, headers={"location": "https://portal.hotel/"}),
        make_response(GRANT, status=307, headers={"location": "//portal.hotel/"}),
    ],
    ids=["page", "content type", "upper case", "511", "511 with JSON", "redirect", "redirect with JSON"],
)
def test_a_sign_in_page_is_told_from_a_bad_answer(response: WireResponse) -> None:
    answer = read_poll(response)

    assert isinstance(answer, Unclear)
    assert answer.trouble is Trouble.CAPTIVE_PORTAL


@pytest.mark.parametrize(
    "response",
    [
        make_response(body=HTML, status=502),
        make_response(body=HTML, status=404),
        make_response(GRANT, status=302, headers={"location": "https://API.amazon.com/elsewhere"}),
        make_response(GRANT, status=302, headers={"location": "/elsewhere"}),
        make_response(GRANT, status=302),
        make_response(GRANT, status=302, headers={"location": "https://[broken/"}),
        make_response(
            GRANT, status=302, headers={"location": "https://portal.hotel/"}, url="https://[broken/"
        ),
        make_response(GRANT, status=304),
    ],
    ids=["502", "404", "same host", "same place", "nowhere", "broken", "broken question", "304"],
)
def test_a_bad_answer_is_no_sign_in_page(response: WireResponse) -> None:
    answer = read_poll(response)

    assert isinstance(answer, Unclear)
    assert answer.trouble is Trouble.PROVIDER_UNAVAILABLE


# -- Retry-After

SENT = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}
"""The test answer's own clock, at 1,700,000,000."""


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 120 "}, 120),
        ({"retry-after": "3601"}, 3600),
        ({"retry-after": "9" * 500}, 3600),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", **SENT}, 60),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", "date": "gibberish"}, 60),
        ({"retry-after": "Wed, 15 Nov 2033 22:14:20 GMT", **SENT}, 3600),
        ({"retry-after": "Tue, 14 Nov 2000 22:14:20 GMT", **SENT}, 0),
        ({"retry-after": "Tuesday, 14-Nov-23 22:14:20 GMT", **SENT}, 60),
        ({"retry-after": "Tue Nov 14 22:14:20 2023", **SENT}, 60),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 -0000", **SENT}, 60),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 -0000", **SENT}, 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: dict[str, str], wait: float) -> None:
    assert retry_after(make_response(headers=headers)) == seconds(wait)


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Pacific/Honolulu")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
def test_a_date_without_a_zone_means_the_same_everywhere() -> None:
    assert retry_after(make_response(headers={"retry-after": "Tue Nov 14 22:14:20 2023"})) == seconds(60)


def test_retry_after_is_measured_by_the_providers_clock_where_it_tells() -> None:
    headers = {"retry-after": "Sat, 01 Jan 2000 00:00:10 GMT", "date": "Sat, 01 Jan 2000 00:00:00 GMT"}

    assert retry_after(make_response(headers=headers)) == seconds(10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "1.5",
        "soon",
        "٣",
        "²",
        "Xxx, 99 Abc 2023 99:99:99 GMT",
        "\x00",
        "0 0 0 0 0",
        "1 Jan 99999999999999999999 00:00:00",
    ],
)
def test_retry_after_of_another_form_is_none(text: str) -> None:
    assert retry_after(make_response(headers={"retry-after": text})) is None


def test_retry_after_counts_at_any_status_that_is_not_understood() -> None:
    for status in (200, 302, 400, 429, 500, 503, 511):
        answer = read_poll(make_response({}, status=status, headers={"retry-after": "7"}))

        assert isinstance(answer, Unclear)
        assert answer.retry_after == seconds(7)


# -- grants


@pytest.mark.parametrize("token_type", ["bearer", "Bearer", "BEARER"])
def test_the_token_type_is_compared_without_case(token_type: str) -> None:
    assert isinstance(read_poll(make_response({**GRANT, "token_type": token_type})), TokenGrant)


BAD_LIFETIMES = [
    0,
    -1,
    0.5,
    "",
    "0",
    "-5",
    "1e3",
    "0x9",
    " 60",
    "9" * 5000,
    None,
    True,
    float("nan"),
    float("inf"),
]
BAD_LIFETIMES += [[], 10**12, 2**31, 315_360_001, "315360001"]


@pytest.mark.parametrize("value", BAD_LIFETIMES)
def test_a_lifetime_that_is_none_never_costs_the_owner_his_grant(value: object) -> None:
    assert read_seconds(value) is None

    grant = read_poll(make_response({**GRANT, "expires_in": value}))

    assert isinstance(grant, TokenGrant)
    assert grant.expires_in == ASSUMED_LIFETIME
    assert grant.odd_fields == ("expires_in",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3599, 3599), ("3599", 3599), (3600.0, 3600), ("3600.0", 3600), (1.9, 1), ("07", 7)],
)
def test_a_lifetime_may_be_a_text_or_have_a_point(value: object, expected: int) -> None:
    assert read_seconds(value) == seconds(expected)
    assert read_interval({"interval": value}) == seconds(expected)


@pytest.mark.parametrize("value", ["", 5, None, [], "two\nlines", "naïve", "\ud800", "tab\t", True])
@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
def test_a_token_is_printable_ascii(field: str, value: object) -> None:
    assert read_token(value) is None
    assert isinstance(read_poll(make_response({**GRANT, field: value})), Unclear)


@pytest.mark.parametrize("field", ["access_token", "refresh_token"])
def test_a_grant_that_lacks_a_token_is_unclear(field: str) -> None:
    fields = {name: value for name, value in GRANT.items() if name != field}

    assert isinstance(read_poll(make_response(fields)), Unclear)


@pytest.mark.parametrize("token_type", ["mac", "", None, 5, ["bearer"]])
def test_a_token_of_another_type_is_a_grant_all_the_same(token_type: object) -> None:
    grant = read_poll(make_response({**GRANT, "token_type": token_type}))

    assert isinstance(grant, TokenGrant)
    assert grant.odd_fields == ("token_type",)


@pytest.mark.parametrize("field", ["expires_in", "token_type"])
def test_a_grant_may_lack_anything_but_its_tokens(field: str) -> None:
    grant = read_poll(make_response({name: value for name, value in GRANT.items() if name != field}))

    assert isinstance(grant, TokenGrant)
    assert grant.odd_fields == (field,)


def test_an_odd_error_beside_a_grant_does_not_throw_it_away() -> None:
    assert isinstance(read_poll(make_response({**GRANT, "error": ""})), TokenGrant)
    assert isinstance(read_poll(make_response({**GRANT, "error": "none"})), TokenGrant)
    assert isinstance(read_poll(make_response({**GRANT, "error": "access_denied"})), Refusal)


@pytest.mark.parametrize(
    ("value", "odd"), [(None, ()), ("", ()), (5, ("refresh_token",)), ([], ("refresh_token",))]
)
def test_a_refresh_without_a_new_refresh_token_is_one(value: object, odd: tuple[str, ...]) -> None:
    grant = read_grant(
        make_response(),
        {**GRANT, "refresh_token": value},
        refresh_token_wanted=False,
        default_lifetime=ASSUMED_LIFETIME,
    )

    assert grant is not None
    assert grant.refresh_token is None
    assert grant.odd_fields == odd


def test_an_absent_lifetime_has_the_default() -> None:
    fields = {name: value for name, value in GRANT.items() if name != "expires_in"}

    grant = read_grant(make_response(), fields, refresh_token_wanted=False, default_lifetime=seconds(3600))

    assert grant is not None
    assert grant.expires_in == seconds(3600)


# -- code pairs


def test_a_code_pair_counts_from_before_its_request_left() -> None:
    pair = read_code_pair(make_response(sent_at=50), PAIR, lambda _uri, _code: None)

    assert pair is not None
    assert pair.expires_at == moment(650)
    assert pair.prefilled_uri is None


@pytest.mark.parametrize("value", [None, 0, 0.0, "0"])
def test_an_absent_interval_is_five_seconds(value: object) -> None:
    assert read_interval({"interval": value}) == seconds(5)


@pytest.mark.parametrize("value", [-1, "five", "", False, True, [], 10**12])
def test_an_interval_of_another_form_is_unclear(value: object) -> None:
    assert read_interval({"interval": value}) is None
    assert read_pair({**PAIR, "interval": value}) is None


@pytest.mark.parametrize("field", ["user_code", "device_code", "verification_uri", "expires_in"])
def test_a_code_pair_that_lacks_a_part_is_unclear(field: str) -> None:
    assert read_pair({name: value for name, value in PAIR.items() if name != field}) is None


@pytest.mark.parametrize("code", ["A", "FUP8UN", "WDJB-MJHT", "123 456", "çöde", "אבג 123", "x" * 64])
def test_a_user_code_may_be_anything_printable(code: str) -> None:
    assert read_user_code(code) == code


@pytest.mark.parametrize(
    "code",
    [
        *("", " ", "x" * 65, "A\nB", "A\x1b[2J", "A\u202eB", "\ud800", 5, None, ["A"]),
        *("\u3164" * 6, "AB\u3164C", "\u115f\u1160", "\u2800", "\uffa0"),
        *("A" + "\u0301" * 63, "A\u20dd", "אבגABC", "abcعرب"),
    ],
)
def test_a_user_code_holds_nothing_that_could_trick_a_terminal(code: object) -> None:
    assert read_user_code(code) is None


@pytest.mark.parametrize(
    "uri",
    [
        "https://amazon.com/us/code",
        "HTTPS://id.example:8443/device?a=b#c",
        "http://127.0.0.1:8080/code",
        "http://localhost/code",
        "http://[::1]/code",
        "https://id.example/" + "x" * 493,
    ],
)
def test_people_are_sent_to_https_or_to_this_machine(uri: str) -> None:
    assert read_page_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        None,
        5,
        "",
        "/device",
        "id.example/device",
        "http://id.example/device",
        "http://127.0.0.1.id.example/",
        "http://127.999.1.1/",
        "http://127.1/",
        "http://localhost.id.example/",
        "https://user@id.example/",
        "https://user:secret@id.example/",
        "https://@id.example/",
        "https:///device",
        "https://id.example:port/",
        "https://[broken/",
        "https://id.example/a b",
        "https://id.example/\n",
        'https://id.example/"onload',
        "https://id.example/\\@evil",
        "https://id.exämple/",
        "javascript:alert(1)",
        "ftp://id.example/",
        "file:///etc/passwd",
        "https://id.example/" + "x" * 494,
    ],
)
def test_people_are_sent_nowhere_else(uri: object) -> None:
    assert read_page_uri(uri) is None
    assert read_pair({**PAIR, "verification_uri": uri}) is None


def test_a_complete_uri_is_taken_as_it_is_given() -> None:
    pair = read_pair({**PAIR, "verification_uri_complete": "https://amazon.com/device?user_code=A"})

    assert pair is not None
    assert pair.prefilled_uri == "https://amazon.com/device?user_code=A"


@pytest.mark.parametrize("host", ["id.example", "amazon.com.id.example", "eu.amazon.com", "127.0.0.1"])
def test_a_complete_uri_of_another_host_is_not_used(host: str) -> None:
    pair = read_pair({**PAIR, "verification_uri_complete": f"https://{host}/device?user_code=A"})

    assert pair is not None
    assert pair.prefilled_uri is None


def test_a_provider_may_say_verification_url() -> None:
    fields = {name: value for name, value in PAIR.items() if name != "verification_uri"}

    pair = read_pair({**fields, "verification_url": "https://www.google.com/device"})

    assert pair is not None
    assert pair.verification_uri == "https://www.google.com/device"


@pytest.mark.parametrize("name", ["access_denied", "authorization_declined"])
def test_an_owner_who_declines_is_understood(name: str) -> None:
    answer = read_poll(make_response({"error": name}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.DENIED


def test_a_complete_uri_that_nobody_should_follow_makes_the_pair_unclear() -> None:
    assert read_pair({**PAIR, "verification_uri_complete": "http://id.example/"}) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "id.example", "128.0.0.1", "127.0.0.1.example", "127.0.0.256", "127.1", "::2"]
)
def test_other_machines_are_not_taken_for_this_one(host: str) -> None:
    assert not is_loopback(host)


# -- what is told of a refusal


@pytest.mark.parametrize("error", ["invalid_grant", "INVALID_GRANT", "Invalid_Grant"])
def test_error_names_are_compared_without_case(error: str) -> None:
    answer = read_answer(
        make_response({"error": error}, status=400),
        lambda _answer, _fields: None,
        refresh_refusals(make_response()),
    )

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.REVOKED
    assert answer.error == error


@pytest.mark.parametrize(
    ("error", "setting"),
    [
        ("invalid_client", "--client-id"),
        ("unauthorized_client", "--client-id"),
        ("invalid_scope", "--scope"),
        ("unsupported_grant_type", "--dialect"),
        ("invalid_request", "client_id"),
    ],
)
def test_a_refusal_of_the_client_names_the_setting_to_look_at(error: str, setting: str) -> None:
    answer = read_poll(make_response({"error": error}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert setting in answer.hint


def test_what_the_provider_says_of_it_is_told() -> None:
    answer = read_poll(
        make_response({"error": "invalid_client", "error_description": "Unknown client."}, status=401)
    )

    assert isinstance(answer, Refusal)
    assert answer.message.endswith("(it says: Unknown client.)")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain words", "plain words"),
        ("  two\nlines\t\x1b[31mred\x00 ", "two lines [31mred"),
        ("a\u202eb \ud800c", "a b c"),
        ("the token Atzr|IQEBLzAtAhRPpMJxdwVz2Nn6f2y is bad", "the token … is bad"),
        ("the code 5f0c2e3c-7f3a-4a5b-9f57-0a4d6f6a2f11 is used", "the code … is used"),
        ("word " * 100, ("word " * 40).strip()),
        (None, ""),
        (5, ""),
        ({"a": 1}, ""),
    ],
)
def test_what_the_provider_says_is_cleaned_before_it_is_shown(said: Any, shown: str) -> None:  # anything
    assert clean(said) == shown


def test_a_token_that_a_description_repeats_across_the_cut_is_not_shown() -> None:
    assert CANARY not in clean("x " * 97 + CANARY + "|" + "1" * 60)


SHORT = "Atzr|Canary 20"


@pytest.mark.parametrize(
    "said",
    [
        f"The token {SHORT} is bad.",
        f"Bad:{SHORT}",
        "It is Atzr%7CCanary%2020.",
        "It is Atzr%7CCanary+20.",
        "it begins Atzr|Can",
        "it ends anary 20",
    ],
)
def test_what_repeats_a_short_secret_or_a_piece_of_it_is_left_out(said: str) -> None:
    answer = read_poll(make_response({"error": "access_denied", "error_description": said}, status=400))

    assert conceal(answer, None, Secret(SHORT)) == read_poll(
        make_response({"error": "access_denied"}, status=400)
    )


@pytest.mark.parametrize("secret", [SHORT, "T"], ids=["short", "a single letter"])
def test_what_repeats_no_secret_is_told(secret: str) -> None:
    said = {"error": "access_denied", "error_description": "no refresh_token of ours"}
    answer = read_poll(make_response(said, status=400))

    assert conceal(answer, Secret(secret)) == answer


def test_an_answer_that_is_no_refusal_repeats_nothing() -> None:
    answer = read_poll(make_response({"error": "authorization_pending"}, status=400))

    assert conceal(answer, Secret(SHORT)) == answer


# -- requests


def test_a_form_is_written_bare_and_without_what_is_empty() -> None:
    request = write_form("https://id.example/token", {"a": "1 & ü|", "b": ""})

    assert request.method == "POST"
    assert request.headers == {
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert request.body == b"a=1+%26+%C3%BC%7C"


def test_what_a_refusal_tells_is_cleaned() -> None:
    said = f"\x1b[2Jthe code {CANARY}-0123456789-0123456789 is bad"

    answer = read_poll(make_response({"error": "access_denied", "error_description": said}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.message.isprintable()
    assert CANARY not in answer.message
