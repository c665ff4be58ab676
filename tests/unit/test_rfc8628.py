from base64 import b64decode
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from device_auth.core.models import (
    CodePair,
    DialectName,
    Pending,
    Provider,
    Refusal,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
)
from device_auth.core.states import Trouble
from device_auth.wire import rfc8628
from tests.values import CANARY, make_held_link, make_pair, make_provider, make_response, seconds

PROVIDER = make_provider(DialectName.RFC8628)
BARE = replace(PROVIDER, device_endpoint="", token_endpoint="", revocation_endpoint="")
PAIR = {
    "user_code": "WDJB-MJHT",
    "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
    "verification_uri": "https://id.example/device",
    "expires_in": 1800,
}
GRANT = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 3600}
METADATA = {
    "issuer": "https://id.example/tenant",
    "device_authorization_endpoint": "https://id.example/device",
    "token_endpoint": "https://id.example/token",
    "revocation_endpoint": "https://id.example/revoke",
}


def form_of(body: bytes) -> dict[str, list[str]]:
    return parse_qs(body.decode("ascii"), strict_parsing=True)


def test_a_code_pair_is_asked_for_with_client_id_and_scope() -> None:
    request = rfc8628.write_code_pair_request(PROVIDER)

    assert request.url == "https://id.example/device"
    assert form_of(request.body) == {"client_id": ["speaker"], "scope": ["openid offline_access"]}


def test_a_poll_sends_the_device_code_under_the_long_name_of_the_grant() -> None:
    request = rfc8628.write_poll(PROVIDER, make_pair())

    assert request.url == "https://id.example/token"
    assert form_of(request.body) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:device_code"],
        "device_code": [f"{CANARY}-device-1"],
        "client_id": ["speaker"],
    }


@pytest.mark.parametrize("secret", [None, Secret("s3")])
def test_a_refresh_goes_to_the_links_own_endpoint(secret: Secret | None) -> None:
    request = rfc8628.write_refresh(make_held_link(), secret)

    assert request.url == make_held_link().token_endpoint
    assert form_of(request.body) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [f"{CANARY}-refresh"],
        "client_id": ["client"],
        **({"client_secret": ["s3"]} if secret else {}),
    }


def test_a_link_is_revoked_where_its_provider_has_a_way() -> None:
    link = replace(make_held_link(), revocation_endpoint="https://id.example/revoke")

    request = rfc8628.write_revocation(link)

    assert request.url == "https://id.example/revoke"
    assert form_of(request.body) == {
        "token": [f"{CANARY}-refresh"],
        "token_type_hint": ["refresh_token"],
        "client_id": ["client"],
    }


def test_a_code_pair_is_polled_every_five_seconds_if_nothing_else_is_said() -> None:
    pair = rfc8628.read_code_pair_answer(make_response(PAIR))

    assert isinstance(pair, CodePair)
    assert pair.interval == seconds(5)


def test_nothing_is_filled_in_that_the_provider_has_not_given() -> None:
    pair = rfc8628.read_code_pair_answer(make_response(PAIR))

    assert isinstance(pair, CodePair)
    assert pair.prefilled_uri is None


@pytest.mark.parametrize(
    "error", ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_request"]
)
def test_a_wrong_setting_ends_the_asking_for_a_pair(error: str) -> None:
    answer = rfc8628.read_code_pair_answer(make_response({"error": error}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED


def test_being_too_fast_for_a_pair_is_understood() -> None:
    answer = rfc8628.read_code_pair_answer(
        make_response({"error": "slow_down"}, status=429, headers={"retry-after": "60"})
    )

    assert answer == SlowDown(seconds(60))


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        ("expired_token", Trouble.EXPIRED),
        ("invalid_grant", Trouble.EXPIRED),
        ("access_denied", Trouble.DENIED),
        ("invalid_client", Trouble.MISCONFIGURED),
        ("unsupported_grant_type", Trouble.MISCONFIGURED),
    ],
)
def test_a_final_answer_to_a_poll_is_understood(error: str, trouble: Trouble) -> None:
    answer = rfc8628.read_poll_answer(make_response({"error": error}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is trouble


@pytest.mark.parametrize("error", ["invalid_code_pair", "InvalidValue", "ServerError"])
def test_amazons_own_names_mean_nothing_here(error: str) -> None:
    assert isinstance(rfc8628.read_poll_answer(make_response({"error": error}, status=400)), Unclear)


def test_waiting_for_the_owner_is_understood() -> None:
    assert (
        rfc8628.read_poll_answer(make_response({"error": "authorization_pending"}, status=400)) == Pending()
    )


def test_a_grant_that_could_not_be_refreshed_is_final_and_names_the_scope() -> None:
    fields = {name: value for name, value in GRANT.items() if name != "refresh_token"}

    answer = rfc8628.read_poll_answer(make_response(fields))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert "--scope" in answer.hint


@pytest.mark.parametrize("fields", [{}, {"refresh_token": "r"}, {**GRANT, "refresh_token": 5}])
def test_half_a_grant_is_unclear(fields: object) -> None:
    assert isinstance(rfc8628.read_poll_answer(make_response(fields)), Unclear)


@pytest.mark.parametrize("is_proof", [True, False])
def test_an_absent_lifetime_means_an_hour(is_proof: bool) -> None:
    fields = {name: value for name, value in GRANT.items() if name != "expires_in"}

    polled = rfc8628.read_poll_answer(make_response(fields))
    refreshed = rfc8628.read_refresh_answer(make_response(fields), is_proof=is_proof)

    assert isinstance(polled, TokenGrant)
    assert polled == refreshed
    assert polled.expires_in == seconds(3600)


@pytest.mark.parametrize("is_proof", [True, False])
def test_invalid_request_blames_no_kind_of_client_id_here(is_proof: bool) -> None:
    answer = rfc8628.read_refresh_answer(
        make_response({"error": "invalid_request"}, status=400), is_proof=is_proof
    )

    assert isinstance(answer, Refusal)
    assert "Other devices" not in answer.hint


# -- metadata


@pytest.mark.parametrize(
    ("issuer", "first", "second"),
    [
        (
            "https://id.example",
            "https://id.example/.well-known/oauth-authorization-server",
            "https://id.example/.well-known/openid-configuration",
        ),
        (
            "https://id.example/tenant/",
            "https://id.example/.well-known/oauth-authorization-server/tenant",
            "https://id.example/tenant/.well-known/openid-configuration",
        ),
    ],
)
def test_metadata_is_looked_for_where_both_standards_put_it(issuer: str, first: str, second: str) -> None:
    requests = rfc8628.write_metadata_requests(issuer)

    assert [request.url for request in requests] == [first, second]
    assert {request.method for request in requests} == {"GET"}
    assert {request.body for request in requests} == {b""}


@pytest.mark.parametrize("issuer", ["https://id.example/tenant", "https://id.example/tenant/"])
def test_metadata_names_the_endpoints(issuer: str) -> None:
    assert rfc8628.read_metadata(make_response({**METADATA, "issuer": issuer}), BARE) == PROVIDER


def test_a_provider_need_not_have_a_way_to_revoke() -> None:
    fields = {name: value for name, value in METADATA.items() if name != "revocation_endpoint"}

    found = rfc8628.read_metadata(make_response(fields), BARE)

    assert isinstance(found, Provider)
    assert found.revocation_endpoint == ""


@pytest.mark.parametrize(
    "fields",
    [
        {**METADATA, "issuer": "https://evil.example"},
        {**METADATA, "token_endpoint": "http://127.0.0.1:8/token"},
        {**METADATA, "device_authorization_endpoint": "http://localhost/device"},
        {**METADATA, "device_authorization_endpoint": None},
        {**METADATA, "token_endpoint": "http://id.example/token"},
    ],
    ids=[
        "another issuer",
        "token endpoint within this machine",
        "device endpoint within it",
        "no device flow",
        "plain http",
    ],
)
def test_metadata_that_cannot_be_used_names_the_issuer_setting(fields: object) -> None:
    found = rfc8628.read_metadata(make_response(fields), BARE)

    assert isinstance(found, Refusal)
    assert found.trouble is Trouble.MISCONFIGURED
    assert "--issuer" in found.hint


@pytest.mark.parametrize(
    ("fields", "status"),
    [(METADATA, 404), (METADATA, 500), ({}, 200), ({"issuer": 5}, 200), ({"issuer": None}, 200), ([], 200)],
)
def test_what_is_no_metadata_is_unclear(fields: object, status: int) -> None:
    assert isinstance(rfc8628.read_metadata(make_response(fields, status=status), BARE), Unclear)


@pytest.mark.parametrize(
    ("body", "status", "headers"),
    [(b"<html>", 200, {}), (b"{}", 302, {"location": "https://portal.hotel/"}), (b"{}", 511, {})],
)
def test_a_sign_in_page_in_place_of_metadata_is_told(
    body: bytes, status: int, headers: dict[str, str]
) -> None:
    found = rfc8628.read_metadata(make_response(body=body, status=status, headers=headers), BARE)

    assert isinstance(found, Unclear)
    assert found.trouble is Trouble.CAPTIVE_PORTAL


def test_a_secret_goes_into_the_form_or_into_the_header_as_the_provider_wants_it() -> None:
    request = rfc8628.write_code_pair_request(PROVIDER)
    secret = Secret("s3cr:t+/")

    in_form = rfc8628.add_secret(request, "the speaker", secret, by_basic=False)
    in_header = rfc8628.add_secret(request, "the speaker", secret, by_basic=True)

    assert in_form.body.endswith(b"&client_secret=s3cr%3At%2B%2F")
    assert "Authorization" not in in_form.headers
    assert in_header.body == request.body
    assert (
        b64decode(in_header.headers["Authorization"].removeprefix("Basic ")) == b"the+speaker:s3cr%3At%2B%2F"
    )
