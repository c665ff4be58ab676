from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote_plus

import pytest
import requests

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options, PairState, RegisteredClient
from device_auth.simulator.referee import RuleName
from device_auth.simulator.server import Running, serve
from tests.simulated_speaker import CLIENT_ID, Clock, Speaker, strict
from tests.waiting import LONG

SECRET: Final = "a secret+with/odd:characters"
KNOWN: Final = {
    "a-tv": RegisteredClient(secret=SECRET),
    "a-speaker": RegisteredClient(),
    "an-lwa-thing": RegisteredClient(dialects=frozenset({DialectName.LWA})),
    CLIENT_ID: RegisteredClient(),
}


def basic(client_id: str, secret: str) -> str:
    """Return an Authorization header. Source: RFC 6749 §2.3.1: both are encoded as in a form."""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


class Confidential:
    """A client of RFC 8628 that has a secret, and sends it in one of two ways.

    Attributes:
        header: whether the credentials stand in the header.
    """

    def __init__(self, running: Running, *, header: bool) -> None:
        self.speaker = Speaker(running, DialectName.RFC8628)
        self.client_id = "a-tv"
        self.secret = SECRET
        self.header = header

    def send(self, path: str, **form: str) -> requests.Response:
        url = f"{self.speaker.origin}{path}"
        if self.header:
            return self.speaker.send(url, form, headers={"Authorization": basic(self.client_id, self.secret)})
        credentials = {"client_id": self.client_id}
        credentials |= {"client_secret": self.secret} if self.secret else {}
        return self.speaker.send(url, form | credentials)

    def requests(self, amazon: Amazon) -> dict[str, Callable[[], requests.Response]]:
        """Return every request that an authenticated client makes, with true codes and tokens."""
        pair = self.send("/device_authorization", scope="openid").json()
        other = self.send("/device_authorization", scope="openid").json()
        amazon.approve("all")
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        tokens = self.send("/token", grant_type=grant, device_code=pair["device_code"]).json()
        token = tokens["refresh_token"]
        return {
            "code pair": lambda: self.send("/device_authorization"),
            "poll": lambda: self.send("/token", grant_type=grant, device_code=other["device_code"]),
            "refresh": lambda: self.send("/token", grant_type="refresh_token", refresh_token=token),
            "revoke": lambda: self.send("/revoke", token=token, token_type_hint="refresh_token"),
        }


@pytest.fixture
def options() -> Options:
    return strict(clients=KNOWN, takes_others=False)


@pytest.fixture(params=["header", "form"])
def tv(request: pytest.FixtureRequest, running: Running) -> Iterator[Confidential]:
    client = Confidential(running, header=request.param == "header")
    yield client
    client.speaker.close()


def kinds(amazon: Amazon) -> list[str]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def test_a_confidential_client_is_linked_refreshed_and_revoked(amazon: Amazon, tv: Confidential) -> None:
    for send in tv.requests(amazon).values():
        assert send().status_code == 200

    assert amazon.grants()[0].is_revoked
    assert kinds(amazon) == []


@pytest.mark.parametrize(
    ("secret", "kind"), [("wrong", RuleName.WRONG_PARAMETER), ("", RuleName.MISSING_PARAMETER)]
)
def test_a_wrong_secret_or_none_is_unauthorized_everywhere(
    amazon: Amazon, tv: Confidential, secret: str, kind: RuleName
) -> None:
    sends = tv.requests(amazon)
    tv.secret = secret

    for name, send in sends.items():
        refused = send()
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client"), name
        assert refused.headers.get("WWW-Authenticate") == (
            'Basic realm="simulated Amazon"' if tv.header else None
        )
    assert kinds(amazon) == [kind] * 4
    assert {complaint.client for complaint in amazon.referee.complaints()} == {"a-tv"}
    assert not any(grant.is_revoked for grant in amazon.grants())
    assert [pair.state for pair in amazon.pairs()] == [PairState.USED, PairState.APPROVED]


@pytest.mark.parametrize(
    ("client_id", "status", "error"),
    [
        ("a-stranger", 401, "invalid_client"),
        ("an-lwa-thing", 400, "unauthorized_client"),
        ("a-speaker", 401, "invalid_client"),
    ],
)
def test_a_client_that_is_not_known_so_is_refused(
    amazon: Amazon, tv: Confidential, client_id: str, status: int, error: str
) -> None:
    tv.client_id = client_id

    refused = tv.send("/device_authorization")

    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert kinds(amazon) == [RuleName.UNEXPECTED_SECRET] * (client_id == "a-speaker")


def test_a_public_client_needs_no_secret(amazon: Amazon, running: Running) -> None:
    speaker = Speaker(running, DialectName.RFC8628)

    pair = speaker.pair()
    amazon.approve("all")

    assert speaker.poll(pair).status_code == 200
    empty = speaker.send(speaker.pair_url, {}, headers={"Authorization": basic("a-speaker", "")})
    assert empty.status_code == 200
    assert kinds(amazon) == []
    speaker.close()


def test_a_mistyped_client_id_of_lwa_is_refused_as_captured(amazon: Amazon, lwa: Speaker) -> None:
    lwa.client_id = CLIENT_ID[:-1] + "x"

    refused = lwa.ask()

    assert (refused.status_code, refused.text) == (
        400,
        '{"error_description":"The request has an invalid parameter : client_id","error":"InvalidValue"}',
    )
    assert lwa.refresh("Sim|R|x").json()["error"] == "invalid_client"
    assert kinds(amazon) == []


@pytest.mark.parametrize(
    ("header", "form", "status", "error"),
    [
        ("Bearer x", {"client_id": "a-tv"}, 401, "invalid_client"),
        ("Basic !", {"client_id": "a-tv"}, 401, "invalid_client"),
        (basic("a-tv", SECRET), {"client_secret": SECRET}, 400, "invalid_request"),
        (basic("a-tv", SECRET), {"client_id": "a-speaker"}, 400, "invalid_request"),
    ],
)
def test_credentials_that_are_no_credentials_or_come_twice_are_refused(
    amazon: Amazon, rfc: Speaker, header: str, form: dict[str, str], status: int, error: str
) -> None:
    refused = rfc.send(rfc.pair_url, form, headers={"Authorization": header})

    assert (refused.status_code, refused.json()["error"]) == (status, error)
    assert kinds(amazon) == [RuleName.DUPLICATE_PARAMETER] * (status == 400)


def test_without_a_list_every_client_of_rfc_8628_has_the_secret_that_it_sends(clock: Clock) -> None:
    open_to_all = Amazon(strict(), clock=clock)
    with serve(open_to_all) as running:
        for header in (True, False):
            client = Confidential(running, header=header)
            for send in client.requests(open_to_all).values():
                assert send().status_code == 200
            client.speaker.close()

    assert kinds(open_to_all) == []


def test_metadata_tells_generic_clients_what_they_need(rfc: Speaker) -> None:
    told = rfc.session.get(f"{rfc.origin}/.well-known/openid-configuration", timeout=LONG).json()

    assert told["issuer"] == rfc.origin
    assert told["scopes_supported"] == ["offline_access", "openid", "profile"]
    methods = ["none", "client_secret_basic", "client_secret_post"]
    assert told["token_endpoint_auth_methods_supported"] == methods
    assert told["revocation_endpoint_auth_methods_supported"] == methods
    assert told["authorization_endpoint"] == f"{rfc.origin}/authorize"
    assert told["response_types_supported"] == ["code"]
    assert told["userinfo_endpoint"] == f"{rfc.origin}/userinfo"


def test_only_the_scopes_that_are_served_are_given_and_openid_alone_names_the_account(clock: Clock) -> None:
    amazon = Amazon(strict(scopes=frozenset({"listen"})), clock=clock)
    with serve(amazon) as running:
        speaker = Speaker(running, DialectName.RFC8628)
        refused = speaker.send(speaker.pair_url, speaker.pair_form() | {"scope": "openid"})
        pair = speaker.pair()
        amazon.approve("all")
        token = speaker.poll(pair).json()["access_token"]
        account = speaker.session.get(
            f"{speaker.origin}/userinfo", headers={"Authorization": f"Bearer {token}"}, timeout=LONG
        )
        speaker.close()

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    assert (account.status_code, account.json()["error"]) == (403, "insufficient_scope")
