"""The exchange of an authorization code as it stands on the wire."""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.app import create_app
from device_auth.simulator.authorization import challenge_of
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import Options, RegisteredClient
from device_auth.simulator.referee import RuleName
from tests.simulated_speaker import CLIENT_ID, FORM, SCOPE_DATA, Clock, Speaker, strict

SECRET: Final = "a+secret: 100% of the desk's"
RETURN_URL: Final = "https://localhost:9745/authresponse"
QUERY: Final = {
    "client_id": CLIENT_ID,
    "scope": "alexa:all",
    "scope_data": SCOPE_DATA,
    "response_type": "code",
    "redirect_uri": RETURN_URL,
    "state": "a-state",
}
TOKEN: Final = "/auth/o2/token"  # an address


@pytest.fixture
def options() -> Options:
    return strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)})


@pytest.fixture
def client(amazon: Amazon) -> FlaskClient:
    return create_app(amazon, origin="http://127.0.0.1:1").test_client()


def send(
    client: FlaskClient, form: Mapping[str, str], *, path: str = TOKEN, basic: str | None = None
) -> TestResponse:
    headers = {"Accept": "application/json", "Content-Type": FORM}
    if basic is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"
    return client.post(path, data=dict(form), headers=headers)


def exchange_form(amazon: Amazon) -> dict[str, str]:
    code = parse_qs(urlsplit(amazon.approve_authorization(QUERY)).query)["code"][0]
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": RETURN_URL}


def refresh_form(client: FlaskClient, amazon: Amazon) -> dict[str, str]:
    tokens = send(client, exchange_form(amazon) | BY_FORM).json
    assert tokens is not None
    return {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}


def kinds(amazon: Amazon) -> list[RuleName]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


BY_FORM: Final = {"client_id": CLIENT_ID, "client_secret": SECRET}
BY_HEADER: Final = f"{quote_plus(CLIENT_ID)}:{quote_plus(SECRET)}"


@pytest.mark.parametrize("path", ["/auth/o2/token", "/auth/O2/token"])
@pytest.mark.parametrize(("more", "basic"), [(BY_FORM, None), ({}, BY_HEADER)])
def test_a_secret_is_sent_in_the_form_or_in_the_header(
    client: FlaskClient, amazon: Amazon, path: str, more: dict[str, str], basic: str | None
) -> None:
    exchange = send(client, exchange_form(amazon) | more, path=path, basic=basic)
    refresh = send(client, refresh_form(client, amazon) | more, path=path, basic=basic)

    assert exchange.json is not None
    assert sorted(exchange.json) == ["access_token", "expires_in", "refresh_token", "token_type"]
    assert exchange.headers["Cache-Control"] == "no-store"
    assert (exchange.status_code, refresh.status_code) == (200, 200)
    assert kinds(amazon) == []


@pytest.mark.parametrize(
    ("more", "basic", "status", "name"),
    [
        ({"client_id": CLIENT_ID, "client_secret": "wrong"}, None, 400, "invalid_client"),
        ({"client_id": CLIENT_ID}, None, 400, "invalid_client"),
        ({}, f"{CLIENT_ID}:wrong", 401, "invalid_client"),
        ({}, CLIENT_ID, 401, "invalid_client"),
        ({"client_secret": SECRET}, BY_HEADER, 400, "invalid_request"),
        ({"client_id": CLIENT_ID[:-1] + "0"}, BY_HEADER, 400, "invalid_request"),
        ({}, None, 400, "invalid_request"),
    ],
)
@pytest.mark.parametrize("endpoint", [Endpoint.EXCHANGE, Endpoint.REFRESH])
def test_a_client_that_does_not_prove_itself_is_refused(
    client: FlaskClient,
    amazon: Amazon,
    endpoint: Endpoint,
    more: dict[str, str],
    basic: str | None,
    status: int,
    name: str,
) -> None:
    form = exchange_form(amazon) if endpoint is Endpoint.EXCHANGE else refresh_form(client, amazon)

    answer = send(client, form | more, basic=basic)

    assert answer.json is not None
    assert answer.status_code == status
    assert answer.json["error"] == name
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)
    assert SECRET not in str(amazon.referee.complaints())


@pytest.mark.parametrize("header", ["Bearer abc", "Basic é", "Basic ====", "Basic 6Q==", "Basic"])
def test_a_header_that_is_no_basic_authentication_is_refused(
    client: FlaskClient, amazon: Amazon, header: str
) -> None:
    headers = {"Accept": "application/json", "Content-Type": FORM, "Authorization": header}

    answer = client.post(TOKEN, data=exchange_form(amazon), headers=headers)

    assert (answer.status_code, answer.json and answer.json["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"redirect_uri": ""}, RuleName.MISSING_PARAMETER),
        ({"code": ""}, RuleName.MISSING_PARAMETER),
        ({"state": "a-state"}, RuleName.EXTRA_PARAMETER),
    ],
)
def test_the_referee_reads_the_exchange(
    client: FlaskClient, amazon: Amazon, change: dict[str, str], kind: RuleName
) -> None:
    answer = send(client, exchange_form(amazon) | BY_FORM | change)

    assert answer.status_code == (400 if kind is RuleName.MISSING_PARAMETER else 200)
    assert kinds(amazon) == [kind]


@pytest.mark.parametrize("name", ["client_secret", "code_verifier", "code"])
def test_a_secret_in_the_address_of_the_exchange_is_reported(
    client: FlaskClient, amazon: Amazon, name: str
) -> None:
    send(client, exchange_form(amazon) | BY_FORM, path=f"{TOKEN}?{name}=x")

    assert kinds(amazon) == [RuleName.SECRET_IN_URL]


RFC_QUERY: Final = {
    "client_id": "a-tv",
    "scope": "openid profile",
    "response_type": "code",
    "redirect_uri": "http://localhost:4242/",
    "state": "a-state",
    "nonce": "a-nonce",
}
PKCE: Final = {"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256"}


@pytest.mark.parametrize(
    ("known", "query", "more", "basic"),
    [
        ({}, PKCE, {"client_id": "a-tv", "code_verifier": "v" * 43}, None),
        ({}, {}, {"client_id": "a-tv", "client_secret": "any"}, None),
        ({"a-tv": RegisteredClient()}, PKCE, {"client_id": "a-tv", "code_verifier": "v" * 43}, None),
        ({"a-tv": RegisteredClient(secret=SECRET)}, {}, {}, f"a-tv:{quote_plus(SECRET)}"),
    ],
)
def test_the_rfc_side_gives_and_exchanges_codes_too(
    clock: Clock,
    known: dict[str, RegisteredClient],
    query: dict[str, str],
    more: dict[str, str],
    basic: str | None,
) -> None:
    amazon = Amazon(strict(clients=known), clock=clock)
    client = create_app(amazon, origin="http://127.0.0.1:1").test_client()
    asked = f"http://127.0.0.1:1/authorize?{urlencode(RFC_QUERY | query)}"
    address = client.post("/control/authorization/allow", json={"address": asked}).json
    assert address is not None
    told = parse_qs(urlsplit(address["address"]).query)
    form = {
        "grant_type": "authorization_code",
        "code": told["code"][0],
        "redirect_uri": RFC_QUERY["redirect_uri"],
    }

    tokens = send(client, form | more, path="/token", basic=basic).json
    assert tokens is not None
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    account = client.get("/userinfo", headers=bearer).json
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    credentials = {name: value for name, value in more.items() if name != "code_verifier"}
    refreshed = send(client, again | credentials, path="/token", basic=basic)

    assert told["state"] == ["a-state"]
    assert account is not None
    assert sorted(account) == ["name", "sub"]
    assert refreshed.status_code == 200
    assert kinds(amazon) == []


def test_a_public_client_of_the_rfc_side_needs_a_code_challenge(clock: Clock) -> None:
    amazon = Amazon(strict(clients={"a-tv": RegisteredClient()}), clock=clock)

    address = amazon.approve_authorization(RFC_QUERY, DialectName.RFC8628)

    assert parse_qs(urlsplit(address).query)["error"] == ["invalid_request"]


def test_a_code_is_exchanged_in_its_own_dialect_alone(client: FlaskClient, amazon: Amazon) -> None:
    form = exchange_form(amazon) | BY_FORM

    assert send(client, form, path="/token").status_code == 400
    assert send(client, form).status_code == 200


def test_the_exchange_can_be_scripted(client: FlaskClient, amazon: Amazon) -> None:
    amazon.script(Endpoint.EXCHANGE, [Fault(status=503), Fault(lifetime=60, change={"refresh_token": None})])
    form = exchange_form(amazon) | BY_FORM

    assert send(client, form).status_code == 503
    tokens = send(client, form).json
    assert tokens is not None
    assert (sorted(tokens), tokens["expires_in"]) == (["access_token", "expires_in", "token_type"], 60)
    assert kinds(amazon) == []


def test_an_exchange_that_is_repeated_is_reported_unless_its_answer_was_lost(
    amazon: Amazon, lwa: Speaker
) -> None:
    amazon.script(Endpoint.EXCHANGE, [Fault(lost=True)])
    lost, told = exchange_form(amazon) | BY_FORM, exchange_form(amazon) | BY_FORM
    with pytest.raises(requests.ConnectionError):
        lwa.send(lwa.token_url, lost)

    assert lwa.send(lwa.token_url, lost).status_code == 400
    assert kinds(amazon) == []
    assert [lwa.send(lwa.token_url, told).status_code for _ in range(2)] == [200, 400]
    assert kinds(amazon) == [RuleName.REPEATED_EXCHANGE]
