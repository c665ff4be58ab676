from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from device_auth.core.models import DialectName, Flow, Link, Secret, WireRequest
from device_auth.service.provider_client import ProviderClient
from tests.simulated_transport import SimulatedTransport
from tests.values import CANARY, make_held_link, make_response

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
