from base64 import b64decode
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from device_auth.core.models import (
    DialectName,
    Flow,
    Link,
    Profile,
    Provider,
    Refusal,
    Seconds,
    Secret,
    TokenGrant,
    Unclear,
    Unreachable,
    WireRequest,
)
from device_auth.core.states import Trouble
from device_auth.service.provider_client import ProviderClient
from tests.simulated_transport import SimulatedTransport
from tests.values import CANARY, NO_ANSWER, make_held_link, make_pair, make_provider, make_response

BY_CODE_PAIR = make_held_link(is_proved=True)
BY_AUTHORIZATION_CODE = replace(BY_CODE_PAIR, flow=Flow.AUTHORIZATION_CODE)
SECRET = Secret(f"{CANARY}-secret")
REFRESHED = make_response({"access_token": "a", "token_type": "bearer", "expires_in": 3600})


def form_of(request: WireRequest) -> dict[str, list[str]]:
    return parse_qs(request.body.decode(), strict_parsing=True)


def refreshed(link: Link, secret: Secret | None = SECRET, secret_of: str = "") -> dict[str, list[str]]:
    """Refresh a link, and give the form that was sent."""
    transport = SimulatedTransport([REFRESHED])
    ProviderClient(transport, None, secret, secret_of).refresh(link)
    return form_of(transport.sent[0])


@pytest.mark.parametrize("dialect", DialectName)
@pytest.mark.parametrize("secret_of", ["", "client"])
def test_a_link_by_an_authorization_code_is_refreshed_with_the_client_secret(
    dialect: DialectName, secret_of: str
) -> None:
    form = refreshed(replace(BY_AUTHORIZATION_CODE, dialect=dialect), secret_of=secret_of)

    assert form["client_secret"] == [f"{CANARY}-secret"]


@pytest.mark.parametrize("dialect", DialectName)
def test_a_link_by_a_code_pair_is_refreshed_without_the_secret_that_is_set(dialect: DialectName) -> None:
    assert "client_secret" not in refreshed(replace(BY_CODE_PAIR, dialect=dialect))


def test_the_secret_of_another_client_is_not_sent() -> None:
    assert "client_secret" not in refreshed(BY_AUTHORIZATION_CODE, secret_of="another-client")


def test_a_client_without_a_secret_refreshes_without_one() -> None:
    assert "client_secret" not in refreshed(BY_AUTHORIZATION_CODE, secret=None)


# -- whose account it is


TOKEN = Secret(f"{CANARY}-access")
BY_RFC = replace(BY_CODE_PAIR, dialect=DialectName.RFC8628, token_endpoint="https://id.example/token")
ISSUER = replace(make_provider(DialectName.RFC8628), userinfo_endpoint="https://info.example/me")


def test_amazon_is_asked_at_the_origin_of_the_links_token_endpoint() -> None:
    transport = SimulatedTransport(
        [make_response({"user_id": "amzn1.account.A", "name": " An\u202ena ", "email": "x@y.z"})]
    )

    profile = ProviderClient(transport).request_profile(BY_CODE_PAIR, TOKEN)

    assert profile == Profile("amzn1.account.A", "An na")
    assert transport.sent[0].method == "GET"
    assert transport.sent[0].url == "https://api.amazon.com/user/profile"
    assert transport.sent[0].headers["Authorization"] == f"Bearer {CANARY}-access"
    assert CANARY not in repr(transport.sent[0])


def test_the_issuer_of_the_settings_is_asked_at_its_own_address() -> None:
    transport = SimulatedTransport([make_response({"sub": "7", "name": "a" * 100, "email": "x@y.z"})])

    profile = ProviderClient(transport, ISSUER).request_profile(BY_RFC, TOKEN)

    assert profile == Profile("7", "a" * 64)
    assert transport.sent[0].url == "https://info.example/me"


@pytest.mark.parametrize(
    ("provider", "link"),
    [
        (None, BY_RFC),
        (replace(ISSUER, userinfo_endpoint=""), BY_RFC),
        (ISSUER, replace(BY_RFC, token_endpoint="https://other.example/token")),
    ],
)
def test_an_access_token_goes_to_no_provider_but_its_own(provider: Provider | None, link: Link) -> None:
    transport = SimulatedTransport([])

    assert isinstance(ProviderClient(transport, provider).request_profile(link, TOKEN), Unclear)
    assert transport.sent == []


def test_metadata_are_read_for_the_address_that_tells_the_account() -> None:
    metadata = {
        "issuer": ISSUER.issuer,
        "device_authorization_endpoint": "https://id.example/device",
        "token_endpoint": "https://id.example/token",
        "userinfo_endpoint": "https://info.example/me",
    }
    transport = SimulatedTransport([make_response(metadata), NO_ANSWER])
    unread = replace(ISSUER, device_endpoint="", token_endpoint="", userinfo_endpoint="")

    assert ProviderClient(transport, unread).request_profile(BY_RFC, TOKEN) == NO_ANSWER
    assert transport.sent[1].url == "https://info.example/me"


@pytest.mark.parametrize("dialect", DialectName)
@pytest.mark.parametrize(
    ("status", "fields"),
    [(401, {"user_id": "7", "sub": "7"}), (200, {}), (200, {"user_id": " \u3164", "sub": 7}), (200, [])],
)
def test_a_response_that_names_no_account_is_unclear(
    dialect: DialectName, status: int, fields: object
) -> None:
    transport = SimulatedTransport([make_response(fields, status=status)])
    link = BY_CODE_PAIR if dialect is DialectName.LWA else BY_RFC

    assert isinstance(ProviderClient(transport, ISSUER).request_profile(link, TOKEN), Unclear)


@pytest.mark.parametrize("dialect", DialectName)
def test_no_answer_about_the_account_is_none(dialect: DialectName) -> None:
    link = BY_CODE_PAIR if dialect is DialectName.LWA else BY_RFC

    assert ProviderClient(SimulatedTransport([NO_ANSWER]), ISSUER).request_profile(link, TOKEN) == NO_ANSWER


# -- a confidential client of RFC 8628


def test_the_secret_of_a_link_made_with_one_goes_where_its_provider_takes_it() -> None:
    form = refreshed(replace(BY_RFC, takes_secret=True))
    transport = SimulatedTransport([REFRESHED])
    link = replace(BY_RFC, takes_secret=True, secret_by_basic=True, client_id="a:b")
    ProviderClient(transport, None, Secret("s+1/2")).refresh(link)

    assert form["client_secret"] == [f"{CANARY}-secret"]
    assert b64decode(transport.sent[0].headers["Authorization"].removeprefix("Basic ")) == b"a%3Ab:s%2B1%2F2"
    assert "client_secret" not in form_of(transport.sent[0])


def test_a_link_that_needs_a_secret_which_is_not_set_names_it() -> None:
    response = make_response({"error": "invalid_client"}, status=401)
    answer = ProviderClient(SimulatedTransport([response])).refresh(replace(BY_RFC, takes_secret=True))

    assert isinstance(answer, Refusal)
    assert answer.message == "the provider refuses to refresh the link: it wants a client secret"
    assert "client_secret" in answer.hint
    assert "client_id" not in answer.hint


def test_a_public_client_that_is_not_accepted_is_told_to_check_its_id() -> None:
    response = make_response({"error": "invalid_client"}, status=401)
    answer = ProviderClient(SimulatedTransport([response]), ISSUER).request_code_pair()

    assert isinstance(answer, Refusal)
    assert "client_id" in answer.hint


def test_amazons_code_based_linking_sends_no_secret() -> None:
    transport = SimulatedTransport([NO_ANSWER, NO_ANSWER])
    client = ProviderClient(transport, make_provider(), SECRET)
    client.request_code_pair()
    client.poll(make_pair())

    assert not any("client_secret" in form_of(request) for request in transport.sent)
    assert not client.takes_secret(Flow.DEVICE_CODE)
    assert client.takes_secret(Flow.AUTHORIZATION_CODE)


def test_no_secret_of_another_client_is_sent_for_a_code() -> None:
    transport = SimulatedTransport([NO_ANSWER])
    ProviderClient(transport, ISSUER, SECRET, secret_of="another").request_code_pair()

    assert "client_secret" not in form_of(transport.sent[0])


@pytest.mark.parametrize(("poll_every", "interval"), [("", 5), ("told", 30), (20, 20), (60, 60)])
def test_amazon_is_polled_as_the_settings_have_it(poll_every: int | str, interval: float) -> None:
    rules = ProviderClient(SimulatedTransport(), make_provider(), poll_every=poll_every).rules

    assert rules.interval(Seconds(30)) == Seconds(interval)


def test_other_providers_are_polled_as_they_tell() -> None:
    rules = ProviderClient(SimulatedTransport(), ISSUER, poll_every=60).rules

    assert rules.interval(Seconds(7)) == Seconds(7)
    assert rules.hurries_after is None


# -- where a client secret may go


def asked_for(link: Link, provider: Provider | None, *, is_trusted: bool, responses: list[object]) -> object:
    transport = SimulatedTransport(responses)  # type: ignore[arg-type]  # answers of this test
    client = ProviderClient(transport, provider, SECRET, is_trusted=lambda _: is_trusted)
    answer = client.refresh(link)
    assert all(SECRET.reveal() not in request.body.decode() for request in transport.sent[:-1])
    return answer


def test_a_secret_is_not_sent_to_an_endpoint_that_only_a_plain_link_names() -> None:
    answer = asked_for(BY_AUTHORIZATION_CODE, None, is_trusted=False, responses=[])

    assert isinstance(answer, Unreachable)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert "https://api.amazon.com/auth/O2/token" in answer.what
    assert "base_url, issuer or token_endpoint" in answer.hint
    assert not ProviderClient(SimulatedTransport([]), None, SECRET, is_trusted=lambda _: False).revoke(
        replace(BY_AUTHORIZATION_CODE, revocation_endpoint="https://api.amazon.com/revoke")
    )


def test_a_secret_goes_to_the_endpoint_of_the_provider_in_the_settings() -> None:
    provider = make_provider()

    answer = asked_for(BY_AUTHORIZATION_CODE, provider, is_trusted=False, responses=[REFRESHED])
    assert isinstance(answer, TokenGrant)

    elsewhere = replace(BY_AUTHORIZATION_CODE, token_endpoint="https://elsewhere.example/token")
    answer = asked_for(elsewhere, provider, is_trusted=False, responses=[])
    assert isinstance(answer, Unreachable)


def test_a_link_that_needs_no_secret_is_refreshed_wherever_it_is_from() -> None:
    assert isinstance(asked_for(BY_CODE_PAIR, None, is_trusted=False, responses=[REFRESHED]), TokenGrant)
