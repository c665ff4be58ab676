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

SEEN: Final = "0123456789abcdef"
"""The part of it that is the same however it is quoted."""

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

POLLS: Final = [lwa.read_poll_answer, rfc8628.read_poll_answer]

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
ODD_NUMBERS: st.SearchStrategy[Any] = st.sampled_from([0, -1, 2.5, 3600.0, 10**9, 10**30, True, False])
ODD_URIS: st.SearchStrategy[Any] = st.sampled_from(
    [
        "http://id.example/",
        "https://a@id.example/",
        "https:///",
        "javascript:x",
        "https://id.example/" + "x" * 500,
    ]
)
ODD_OF: Final = {"expires_in": ODD_NUMBERS, "interval": ODD_NUMBERS, "verification_uri": ODD_URIS}
FIELDS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({}, optional={name: st.one_of(good, ODD) for name, good in GOOD.items()}),
    st.fixed_dictionaries({name: good for name, good in GOOD.items() if name != "error"}),
    st.fixed_dictionaries(
        {name: good for name, good in GOOD.items() if not name.startswith(("error", "verification_uri_"))}
    ),
    st.fixed_dictionaries({"error": ERRORS, "error_description": GOOD["error_description"]}),
)


SUCCESS: Final = {
    name: good
    for name, good in GOOD.items()
    if name not in {"error", "error_description", "verification_uri_complete"}
}


@st.composite
def almost_good(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a provider sends, but perhaps one field is missing or odd."""
    fields = {name: draw(good) for name, good in SUCCESS.items()}
    if draw(st.integers(0, 3)):
        name = draw(st.sampled_from([*SUCCESS, *ODD_OF, *ODD_OF, *ODD_OF]))
        if draw(st.booleans()):
            del fields[name]
        else:
            fields[name] = draw(ODD_OF.get(name, ODD))
    return fields


ANY_FIELDS = st.one_of(almost_good(), FIELDS)
"""Also refusals."""


@st.composite
def odd_bodies(draw: st.DrawFn) -> bytes:
    """Draw a body that no provider should send."""
    text = json.dumps(draw(ANY_FIELDS))
    name = draw(st.sampled_from(sorted(GOOD)))
    pages = st.sampled_from([b"<!doctype html>", b"<HTML>", b" \n<html lang=en>", b"hello"])
    openings = st.sampled_from([b"[", b'{"a":', b'{"error":{"error":', b"\xef\xbb\xbf{"])
    bodies: st.SearchStrategy[bytes] = st.one_of(
        st.binary(max_size=200),
        st.builds(lambda opening, times: opening * times, openings, st.sampled_from([1, 50, 10_000])),
        pages.map(lambda page: page + CANARY.encode()),
        st.sampled_from([b"null", b"[]", b"5", b"true", b'"text"', b"NaN", b"{}"]),
        ODD.map(
            lambda odd: f'{text[:-1]}{"," if len(text) > 2 else ""}"{name}":{json.dumps(odd)}}}'.encode()
        ),
        st.integers(0, len(text)).map(lambda end: text[:end].encode()),
        st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]).map(text.encode),
        st.just(text.replace("3600", "9" * 5000).encode()),
    )
    return draw(bodies)


DATES = st.sampled_from(
    ["Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:00 GMT", "Sat, 21 Oct 2084 07:28:00 GMT"]
)
ODD_DATES = st.sampled_from(
    [
        "Wed, 21 Oct 9999 07:28:00 -9999",
        "Sun Nov  6 08:49:37 1994",
        "1 Jan 0001 00:00:00 -0000",
        "1 Jan 99999999999999999999 00:00:00",
        "Mon, 32 Foo",
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": st.one_of(
            DATES, ODD_DATES, st.integers().map(str), st.just("9" * 400), st.text(max_size=30)
        ),
        "date": st.one_of(DATES, ODD_DATES, st.text(max_size=30)),
        "location": st.one_of(st.sampled_from(["https://portal.hotel/", "//[", "/x"]), st.text(max_size=30)),
        "content-type": st.one_of(st.sampled_from(["text/html", "application/json"]), st.text(max_size=10)),
        "set-cookie": st.just(CANARY),
    },
)
STATUSES = st.sampled_from([200, 400, 200, 401, 404, 429, 500, 503, 302, 511])
STATUSES_OF = {
    "success": st.sampled_from([200, 200, 200, 201, 400, 500]),
    "other": STATUSES,
    "odd": st.one_of(STATUSES, st.integers(0, 999)),
}
BODIES_OF = {
    "success": almost_good().map(json.dumps).map(str.encode),
    "other": ANY_FIELDS.map(json.dumps).map(str.encode),
    "odd": odd_bodies(),
}


@st.composite
def responses(draw: st.DrawFn) -> WireResponse:
    """Draw an answer: half of them nearly a success, the others of anything."""
    kind = draw(st.sampled_from(["success", "success", "other", "odd"]))
    return WireResponse(
        url=draw(
            st.sampled_from(["https://api.amazon.com/auth/O2/token", "http://127.0.0.1:8/", "", "https://[/"])
        ),
        status=draw(STATUSES_OF[kind]),
        headers=draw(HEADERS),
        body=draw(BODIES_OF[kind]),
        is_whole=draw(st.integers(0, 5)) > 0,
        sent_at=moment(draw(st.integers(0, 10**9))),
        received_at=UnixTime(draw(st.sampled_from([0.0, 1_445_412_450.0, 1_700_000_000.5, 4e9]))),
    )


@settings(max_examples=400)
@given(responses())
def test_anything_at_all_is_an_answer(response: WireResponse) -> None:
    for read in READERS:
        answer = read(response)

        assert isinstance(answer, (*get_args(Answer), Provider))
        assert_sane(answer, response)
        if read in POLLS and isinstance(answer, TokenGrant):
            assert answer.refresh_token is not None, "a grant that could not be refreshed"
        assert SEEN not in repr((answer, response)), "a secret is seen"


def assert_sane(answer: Answer | Provider, response: WireResponse) -> None:
    """What is understood is of the form that the machine counts on."""
    understood_at = 200 <= response.status < 300 or (400 <= response.status < 500 and response.status != 429)
    match answer:
        case CodePair():
            assert 200 <= response.status < 300
            assert response.is_whole
            assert answer.interval >= 1
            assert answer.expires_in % 1 == 0
            assert answer.expires_at >= response.sent_at + 1
            assert 1 <= len(answer.user_code) <= 64
            for uri in (answer.verification_uri, answer.prefilled_uri or answer.verification_uri):
                assert len(uri) <= 512
                assert uri.startswith(("https://", "http://127.0.0.1"))
                assert "@" not in uri
                assert urlsplit(uri).hostname
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


@settings(max_examples=150)
@given(responses())
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


@settings(max_examples=200)
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
    assert SEEN not in request.url + repr(request)


@settings(max_examples=100)
@given(TEXTS.filter(bool), TEXTS.filter(bool))
def test_whatever_is_sent_arrives_unchanged(user_code: str, device_code: str) -> None:
    pair = replace(make_pair(), user_code=user_code, device_code=Secret(device_code))

    form = parse_qs(lwa.write_poll(make_provider(), pair).body.decode("ascii"), strict_parsing=True)

    assert form["user_code"] == [user_code]
    assert form["device_code"] == [device_code]


@settings(max_examples=100)
@given(st.text("AB12&#?+%/=-|ü ", min_size=1, max_size=64).filter(str.strip))
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
    if len(user_code) < 40:
        assert pair.prefilled_uri is not None
        assert parse_qs(urlsplit(pair.prefilled_uri).query)["cbl-code"] == [pair.user_code]
