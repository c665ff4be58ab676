"""The requests that every provider must refuse."""

from base64 import b64encode

import pytest

from device_auth.core.models import (
    DialectName,
    Link,
    Provider,
    Refusal,
    Seconds,
    Secret,
    Unclear,
    Unreachable,
    WireResponse,
)
from device_auth.core.values import replace
from device_auth.doctor.credential_probe import (
    CredentialProbe,
    ProbeAnswer,
    error_name,
    first_address,
    provider_of,
)
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from device_auth.world.settings import Settings, read_settings
from device_auth.world.transport import HttpTransport
from tests.scripted_server import Peer, ScriptedServer
from tests.simulated_speaker import strict
from tests.simulated_transport import SimulatedTransport
from tests.transports import SimulatedClock, open_transport
from tests.values import NO_ANSWER, make_held_link, make_provider, make_response, make_unclear
from tests.world import CLIENT_ID

LWA = make_provider()
RFC8628 = make_provider(DialectName.RFC8628)
BY_ISSUER = Provider(DialectName.RFC8628, "speaker", "", issuer="https://id.example/tenant")
METADATA = {
    "issuer": "https://id.example/tenant",
    "device_authorization_endpoint": "https://id.example/device",
    "token_endpoint": "https://id.example/token",
}


def settings(**options: object) -> Settings:
    return read_settings(options, None, {})


def bodies(transport: SimulatedTransport) -> list[bytes]:
    return [request.body for request in transport.sent]


@pytest.mark.parametrize(
    ("provider", "poll", "refresh"),
    [
        (
            LWA,
            b"grant_type=device_code&device_code=made-up-by-the-doctor&user_code=made-up-by-the-doctor",
            b"grant_type=refresh_token&refresh_token=made-up-by-the-doctor"
            b"&client_id=amzn1.application-oa2-client.0",
        ),
        (
            RFC8628,
            b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code"
            b"&device_code=made-up-by-the-doctor&client_id=speaker",
            b"grant_type=refresh_token&refresh_token=made-up-by-the-doctor&client_id=speaker",
        ),
    ],
)
def test_what_is_asked_after_was_never_given_to_anyone(
    provider: Provider, poll: bytes, refresh: bytes
) -> None:
    transport = SimulatedTransport([make_response({}), make_response({})])
    credential_probe = CredentialProbe(transport, provider)
    asked = credential_probe.poll, credential_probe.refresh

    assert all(isinstance(each, WireResponse) for each in asked)
    assert bodies(transport) == [poll, refresh]
    assert {request.url for request in transport.sent} == {provider.token_endpoint}


def test_each_question_is_asked_once() -> None:
    transport = SimulatedTransport([make_response({"error": "invalid_code_pair"}, status=400)])
    credential_probe = CredentialProbe(transport, LWA)

    assert credential_probe.poll is credential_probe.poll
    assert len(transport.sent) == 1


SECRET = Secret("canary-secret")


@pytest.mark.parametrize("by_basic", [True, False])
def test_a_confidential_client_s_secret_goes_as_its_provider_takes_it(*, by_basic: bool) -> None:
    transport = SimulatedTransport([make_response({}), make_response({})])
    provider = replace(RFC8628, secret_by_basic=by_basic)
    credential_probe = CredentialProbe(transport, provider, find_secret=lambda: SECRET)
    assert all(isinstance(it, WireResponse) for it in (credential_probe.poll, credential_probe.refresh))

    basic = "Basic " + b64encode(f"{RFC8628.client_id}:canary-secret".encode()).decode()
    for request in transport.sent:
        assert request.headers.get("Authorization") == (basic if by_basic else None)
        assert (b"client_secret=canary-secret" in request.body) is not by_basic


def test_metadata_that_name_basic_alone_are_followed() -> None:
    metadata = {**METADATA, "token_endpoint_auth_methods_supported": ["client_secret_basic"]}
    transport = SimulatedTransport([make_response(metadata), make_response({})])
    credential_probe = CredentialProbe(transport, BY_ISSUER, find_secret=lambda: SECRET)
    assert isinstance(credential_probe.poll, WireResponse)

    first, second = transport.sent
    assert "Authorization" not in first.headers
    assert second.headers["Authorization"].startswith("Basic ")


def test_amazon_s_poll_takes_no_secret_and_the_refresh_of_the_other_flow_does() -> None:
    transport = SimulatedTransport([make_response({}), make_response({})])
    credential_probe = CredentialProbe(transport, LWA, find_secret=lambda: SECRET)
    assert all(isinstance(it, WireResponse) for it in (credential_probe.poll, credential_probe.refresh))

    poll, refresh = bodies(transport)
    assert b"canary" not in poll
    assert refresh.endswith(b"&client_secret=canary-secret")


def test_an_issuer_is_asked_for_its_endpoints_once() -> None:
    answers = [make_response(METADATA), make_response({}), make_response({})]
    transport = SimulatedTransport(answers)
    credential_probe = CredentialProbe(transport, BY_ISSUER)

    assert credential_probe.poll is answers[1]
    assert credential_probe.refresh is answers[2]
    assert [request.url for request in transport.sent] == [
        "https://id.example/.well-known/oauth-authorization-server/tenant",
        "https://id.example/token",
        "https://id.example/token",
    ]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([NO_ANSWER], Unreachable),
        ([make_response({}, status=404)] * 2, Unclear),
        ([make_response({**METADATA, "issuer": "https://other.example"})], Refusal),
    ],
)
def test_without_endpoints_nothing_is_asked_of_them(
    answers: list[WireResponse], kind: type[ProbeAnswer]
) -> None:
    transport = SimulatedTransport(answers)
    credential_probe = CredentialProbe(transport, BY_ISSUER)

    assert isinstance(credential_probe.poll, kind)
    assert isinstance(credential_probe.refresh, kind)
    assert len(transport.sent) == len(answers)


def test_an_answer_that_drips_is_not_waited_for() -> None:
    def drip(peer: Peer) -> None:
        peer.read_request()
        peer.drip()

    with ScriptedServer(drip) as server, open_transport() as transport:
        provider = Provider(DialectName.LWA, "", "", token_endpoint=server.url)

        assert isinstance(CredentialProbe(transport, provider, Seconds(0.1)).poll, Unreachable)


@pytest.mark.parametrize("dialect", DialectName)
def test_the_simulated_amazon_refuses_and_has_nothing_to_complain_of(dialect: DialectName) -> None:
    amazon = Amazon(strict(), clock=lambda: 0)
    with serve(amazon) as running:
        endpoint = running.base_url + "token" if dialect is DialectName.LWA else ""
        provider = Provider(dialect, CLIENT_ID, "", token_endpoint=endpoint, issuer=running.issuer)
        transport = HttpTransport(SimulatedClock())
        credential_probe = CredentialProbe(transport, provider)
        names = error_name(credential_probe.poll), error_name(credential_probe.refresh)
        transport.close()

    expected = "invalid_code_pair" if dialect is DialectName.LWA else "invalid_grant"
    assert names == (expected, "invalid_grant")
    assert amazon.referee.complaints() == ()


@pytest.mark.parametrize(
    ("heard", "name"),
    [
        (make_response({"error": "invalid_code_pair"}, status=400), "invalid_code_pair"),
        (make_response({"error": "SomethingNew"}, status=401), "SomethingNew"),
        (make_response({"error": "invalid_grant"}, status=503), ""),
        (make_response({"error": "invalid_grant"}, status=302), ""),
        (make_response({"error": 5}, status=400), ""),
        (make_response({}, status=400), ""),
        (make_response(body=b"<html>", status=400), ""),
        (NO_ANSWER, ""),
        (make_unclear(), ""),
    ],
)
def test_a_refusal_is_known_by_its_error_name(heard: ProbeAnswer, name: str) -> None:
    assert error_name(heard) == name


@pytest.mark.parametrize(
    ("given", "link", "address"),
    [
        (settings(), None, "https://api.amazon.com/auth/O2/token"),
        (settings(base_url="https://x.test/o2"), None, "https://x.test/o2/token"),
        (settings(base_url="https://x.test/o2"), make_held_link(), "https://api.amazon.com/auth/O2/token"),
        (settings(dialect="rfc8628"), None, ""),
        (settings(dialect="rfc8628", issuer="https://x.test"), None, "https://x.test"),
        (
            settings(
                dialect="rfc8628", token_endpoint="https://x.test/t", device_endpoint="https://x.test/d"
            ),
            None,
            "https://x.test/t",
        ),
    ],
)
def test_the_link_says_whom_to_ask_and_else_the_settings(
    given: Settings, link: Link | None, address: str
) -> None:
    assert first_address(provider_of(given, link)) == address
