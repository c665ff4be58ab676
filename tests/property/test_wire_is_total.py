"""Any bytes at any status with any headers are an answer; and no request says too much."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, get_args
from urllib.parse import parse_qs, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.models import (
    Answer,
    CodePair,
    DialectName,
    Provider,
    Refusal,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    UnixTime,
    WireRequest,
    WireResponse,
)
from device_auth.core.models import Pending as PendingAnswer
from device_auth.core.states import Trouble
from device_auth.wire import lwa, rfc8628
from device_auth.wire.answers import retry_after
from tests.values import make_held_link, make_pair, make_provider, moment

CANARY: Final = "Canary|0123456789abcdef0123456789"
"""Long enough for a token, and not like a word."""

PROVIDER: Final = replace(make_provider(DialectName.RFC8628), device_endpoint="", token_endpoint="")


def read_metadata(response: WireResponse) -> Answer | Provider:
    return rfc8628.read_metadata(response, PROVIDER)


READERS: Final[list[Callable[[WireResponse], Answer | Provider]]] = [
    lwa.read_code_pair_answer,
    lwa.read_poll_answer,
    partial(lwa.read_refresh_answer, is_proof=True),
    partial(lwa.read_refresh_answer, is_proof=False),
    rfc8628.read_code_pair_answer,
    rfc8628.read_poll_answer,
    partial(rfc8628.read_refresh_answer, is_proof=True),
    partial(rfc8628.read_refresh_answer, is_proof=False),
    read_metadata,
]

ERRORS = st.sampled_from(
    [
        "authorization_pending",
        "slow_down",
        "access_denied",
        "expired_token",
        "invalid_code_pair",
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "InvalidValue",
        "invalid_scope",
        "invalid_request",
        "unsupported_grant_type",
        "ServerError",
        "INVALID_GRANT",
        "Slow_Down",
    ]
)
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 5, 3600, 10**30, -(10**30), float("nan"), float("inf"), -0.0, 1.5, "3600"]),
    st.text(st.characters(), max_size=20),
    st.sampled_from(
        ["", "\ud800", "a\x00b", "\x1b[2J", "https://id.example/x", "http://[", "https://a@b/", "bearer"]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
GOOD: Final[dict[str, st.SearchStrategy[Any]]] = {
    "access_token": st.just(f"{CANARY}-access"),
    "refresh_token": st.just(f"{CANARY}-refresh"),
    "token_type": st.sampled_from(["bearer", "Bearer"]),
    "expires_in": st.integers(1, 10**6),
    "user_code": st.just(f"{CANARY}-user"),
    "device_code": st.just(f"{CANARY}-device"),
    "verification_uri": st.sampled_from(["https://amazon.com/us/code", "http://127.0.0.1:8/code?x=y#z"]),
    "verification_uri_complete": st.just(f"https://amazon.com/us/code?cbl-code={CANARY.replace('|', '%7C')}"),
    "interval": st.integers(0, 120),
    "error": ERRORS,
    "error_description": st.just(f"the token {CANARY}-described is bad"),
    "issuer": st.just(PROVIDER.issuer),
    "device_authorization_endpoint": st.just("https://id.example/device"),
    "token_endpoint": st.just("https://id.example/token"),
}
FIELDS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({}, optional={name: st.one_of(good, ODD) for name, good in GOOD.items()}),
    st.fixed_dictionaries({name: good for name, good in GOOD.items() if name != "error"}),
    st.fixed_dictionaries(
        {name: good for name, good in GOOD.items() if not name.startswith(("error", "verification_uri_"))}
    ),
    st.fixed_dictionaries({"error": ERRORS, "error_description": GOOD["error_description"]}),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draw a body: of anything, of JSON, of what providers send, of each slightly broken."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        opening = draw(st.sampled_from([b"[", b'{"a":', b'{"error":{"error":', b"\xef\xbb\xbf{"]))
        return opening * draw(st.sampled_from([1, 50, 10_000]))
    if kind == 2:
        page = draw(st.sampled_from([b"<!doctype html>", b"<HTML>", b" \n<html lang=en>", b"hello"]))
        return page + CANARY.encode()
    text = json.dumps(draw(FIELDS))
    if kind == 3:
        name = draw(st.sampled_from(sorted(GOOD)))
        text = f'{text[:-1]}{"," if len(text) > 2 else ""}"{name}":{json.dumps(draw(ODD))}}}'
    body = text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])))
    if kind == 4:
        return body[: draw(st.integers(0, len(body)))]
    if kind == 5:
        return body.replace(b"3600", b"9" * 5000)
    return body


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.one_of(
            st.text(max_size=30),
            st.integers().map(str),
            st.sampled_from(
                [
                    "9" * 400,
                    "Wed, 21 Oct 2015 07:28:00 GMT",
                    "Wed, 21 Oct 9999 07:28:00 -9999",
                    "Sun Nov  6 08:49:37 1994",
                    "1 Jan 0001 00:00:00 -0000",
                    "1 Jan 99999999999999999999 00:00:00",
                    "Mon, 32 Foo",
                ]
            ),
        ),
        "date": st.one_of(st.text(max_size=30), st.just("Wed, 21 Oct 2015 07:27:00 GMT")),
        "location": st.one_of(st.text(max_size=30), st.sampled_from(["https://portal.hotel/", "//[", "/x"])),
        "content-type": st.one_of(st.text(max_size=10), st.sampled_from(["text/html", "application/json"])),
        "set-cookie": st.just(CANARY),
    },
)
RESPONSES = st.builds(
    WireResponse,
    url=st.sampled_from(["https://api.amazon.com/auth/O2/token", "http://127.0.0.1:8/", "", "https://[/"]),
    status=st.one_of(
        st.sampled_from([200, 200, 400, 400, 401, 403, 429, 500, 302, 511]), st.integers(0, 999)
    ),
    headers=HEADERS,
    body=bodies(),
    is_whole=st.sampled_from([True, True, True, True, False]),
    sent_at=st.floats(0, 1e9).map(moment),
    received_at=st.floats(0, 4e9).map(UnixTime),
)


@settings(max_examples=400, deadline=None)
@given(RESPONSES)
def test_anything_at_all_is_an_answer(response: WireResponse) -> None:
    for read in READERS:
        answer = read(response)

        assert isinstance(answer, (*get_args(Answer), Provider))
        assert_sane(answer, response)
        assert CANARY not in repr((answer, response)), "a secret is seen"


def assert_sane(answer: Answer | Provider, response: WireResponse) -> None:
    """What is understood is of the form that the machine counts on."""
    understood_at = 200 <= response.status < 300 or (400 <= response.status < 500 and response.status != 429)
    match answer:
        case CodePair():
            assert 200 <= response.status < 300
            assert response.is_whole
            assert answer.interval >= 1
            assert answer.expires_at >= response.sent_at + 1
            assert 1 <= len(answer.user_code) <= 64
            for uri in (answer.verification_uri, answer.prefilled_uri or answer.verification_uri):
                assert len(uri) <= 512
                assert uri.startswith(("https://", "http://127.0.0.1"))
        case TokenGrant():
            assert 200 <= response.status < 300
            assert response.is_whole
            assert answer.expires_at >= response.sent_at + 1
            assert answer.access_token.reveal()
        case Refusal():
            assert understood_at, "a server in distress is believed"
            assert response.is_whole
            assert answer.trouble in {
                Trouble.DENIED,
                Trouble.EXPIRED,
                Trouble.MISCONFIGURED,
                Trouble.REVOKED,
            }
            assert answer.message
            assert answer.hint
            assert (answer.message + answer.hint).isprintable()
            assert len(answer.message) < 400
        case Unclear():
            assert answer.trouble in {Trouble.PROVIDER_UNAVAILABLE, Trouble.CAPTIVE_PORTAL}
            assert answer.retry_after == retry_after(response)
        case PendingAnswer() | SlowDown():
            assert not 300 <= response.status < 400
            assert answer.retry_after == retry_after(response)
        case Provider():
            assert response.status == 200
            assert answer.token_endpoint
            assert answer.device_endpoint
        case _:
            raise AssertionError(answer)


@settings(max_examples=150, deadline=None)
@given(RESPONSES)
def test_a_poll_never_brings_a_grant_that_could_not_be_refreshed(response: WireResponse) -> None:
    for read in (lwa.read_poll_answer, rfc8628.read_poll_answer):
        answer = read(response)

        assert not isinstance(answer, TokenGrant) or answer.refresh_token is not None


@settings(max_examples=150, deadline=None)
@given(RESPONSES)
def test_a_provider_is_never_left_alone_for_more_than_an_hour(response: WireResponse) -> None:
    wait = retry_after(response)

    assert wait is None or 0 <= wait <= 3600


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@st.composite
def requests(draw: st.DrawFn) -> tuple[WireRequest, set[str]]:
    """Draw any request of either dialect, with the names that its form may hold."""
    name = draw(st.sampled_from(DialectName))
    provider = replace(
        make_provider(name), client_id=draw(TEXTS), scope=draw(TEXTS), product_id=draw(TEXTS), dsn=draw(TEXTS)
    )
    pair = replace(
        make_pair(), user_code=f"{CANARY}{draw(TEXTS)}", device_code=Secret(f"{CANARY}{draw(TEXTS)}")
    )
    link = replace(
        make_held_link(),
        refresh_token=Secret(f"{CANARY}{draw(TEXTS)}"),
        client_id=draw(TEXTS),
        revocation_endpoint="https://id.example/revoke",
    )
    secret = draw(st.sampled_from([None, Secret(CANARY)]))
    client = {"client_id", "scope"}
    refresh = {"grant_type", "refresh_token", "client_id"} | ({"client_secret"} if secret else set())
    if name is DialectName.LWA:
        return draw(
            st.sampled_from(
                [
                    (lwa.write_code_pair_request(provider), client | {"response_type", "scope_data"}),
                    (lwa.write_poll(provider, pair), {"grant_type", "device_code", "user_code"}),
                    (lwa.write_refresh(link, secret), refresh),
                ]
            )
        )
    return draw(
        st.sampled_from(
            [
                (rfc8628.write_code_pair_request(provider), client),
                (rfc8628.write_poll(provider, pair), {"grant_type", "device_code", "client_id"}),
                (rfc8628.write_refresh(link, secret), refresh),
                (rfc8628.write_revocation(link), {"token", "token_type_hint", "client_id"}),
            ]
        )
    )


@settings(max_examples=200, deadline=None)
@given(requests())
def test_a_request_says_what_it_must_in_its_body_and_nowhere_else(
    drawn: tuple[WireRequest, set[str]],
) -> None:
    request, names = drawn

    form = parse_qs(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(request.body))
    assert set(form) <= names
    assert all(len(values) == 1 and values[0] for values in form.values())
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept"] == "application/json"
    assert set(request.headers) <= {"Content-Type", "Accept", "Accept-Language"}
    assert urlsplit(request.url).query == ""
    assert CANARY not in request.url + repr(request)


@settings(max_examples=100, deadline=None)
@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_whatever_is_sent_arrives_unchanged(user_code: str, device_code: str) -> None:
    pair = replace(make_pair(), user_code=user_code, device_code=Secret(device_code))

    form = parse_qs(lwa.write_poll(make_provider(), pair).body.decode("ascii"), strict_parsing=True)

    assert form["user_code"] == [user_code]
    assert form["device_code"] == [device_code]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=64))
def test_a_code_that_is_filled_in_is_the_code_that_is_told(user_code: str) -> None:
    fields = {
        "user_code": user_code,
        "device_code": "d",
        "verification_uri": "https://amazon.com/code?a=b",
        "expires_in": 600,
    }
    response = WireResponse(
        "https://api.amazon.com/", 200, {}, json.dumps(fields).encode(), True, moment(0), UnixTime(0.0)
    )

    pair = lwa.read_code_pair_answer(response)

    assert isinstance(pair, CodePair)
    if pair.prefilled_uri is not None:
        assert parse_qs(urlsplit(pair.prefilled_uri).query)["cbl-code"] == [pair.user_code]
