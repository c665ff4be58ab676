import json
from dataclasses import replace
from urllib.parse import parse_qs

import pytest

from device_auth.core.models import (
    CodePair,
    Pending,
    Refusal,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    WireRequest,
)
from device_auth.core.states import Trouble
from device_auth.wire import lwa
from tests.values import CANARY, make_held_link, make_pair, make_provider, make_response, moment, seconds

PROVIDER = make_provider()
PAIR = {
    "user_code": "FUP8UN",
    "device_code": "9c1e7a3e-5f0c-4a5b-9f57-0a4d6f6a2f11",
    "verification_uri": "https://amazon.com/us/code",
    "expires_in": 600,
    "interval": 30,
}
GRANT = {"access_token": "Atza|1", "refresh_token": "Atzr|1", "token_type": "bearer", "expires_in": 3600}


def form_of(request: WireRequest) -> dict[str, str]:
    fields = parse_qs(request.body.decode("ascii"), strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def test_a_code_pair_is_asked_for_as_amazon_documents_it() -> None:
    request = lwa.write_code_pair_request(PROVIDER)

    form = form_of(request)
    assert (request.method, request.url) == ("POST", "https://api.amazon.com/auth/O2/create/codepair")
    assert json.loads(form.pop("scope_data")) == {
        "alexa:all": {
            "productID": "speaker",
            "productInstanceAttributes": {"deviceSerialNumber": "G0A1"},
        }
    }
    assert form == {
        "response_type": "device_code",
        "client_id": "amzn1.application-oa2-client.0",
        "scope": "alexa:all",
    }


def test_the_locale_chooses_the_country_of_the_page() -> None:
    assert lwa.write_code_pair_request(PROVIDER).headers["Accept-Language"] == "de-DE"


@pytest.mark.parametrize(("scope", "is_sent"), [("profile alexa:all", True), ("profile", False)])
def test_product_and_dsn_are_sent_for_alexa_only(scope: str, is_sent: bool) -> None:
    form = form_of(lwa.write_code_pair_request(replace(PROVIDER, scope=scope)))

    assert ("scope_data" in form) == is_sent


def test_a_poll_sends_both_halves_of_the_pair_and_no_client_id() -> None:
    request = lwa.write_poll(PROVIDER, make_pair())

    assert request.url == "https://api.amazon.com/auth/O2/token"
    assert form_of(request) == {
        "grant_type": "device_code",
        "device_code": f"{CANARY}-device-1",
        "user_code": f"{CANARY}-user-1",
    }


def test_a_refresh_of_a_linked_speaker_sends_no_secret() -> None:
    request = lwa.write_refresh(make_held_link())

    assert request.url == make_held_link().token_endpoint
    assert form_of(request) == {
        "grant_type": "refresh_token",
        "refresh_token": f"{CANARY}-refresh",
        "client_id": "client",
    }


def test_a_refresh_sends_the_secret_of_a_client_that_has_one() -> None:
    assert form_of(lwa.write_refresh(make_held_link(), Secret("s3")))["client_secret"] == "s3"


def test_a_code_pair_is_read() -> None:
    assert lwa.read_code_pair_answer(make_response(PAIR, sent_at=10)) == CodePair(
        user_code="FUP8UN",
        device_code=Secret(PAIR["device_code"]),  # type: ignore[arg-type]  # a text
        verification_uri="https://amazon.com/us/code",
        prefilled_uri="https://amazon.com/us/code?cbl-code=FUP8UN",
        expires_in=seconds(600),
        expires_at=moment(610),
        interval=seconds(30),
    )


@pytest.mark.parametrize(
    ("uri", "code", "prefilled"),
    [
        ("https://amazon.com/code?a=b", "A B&C", "https://amazon.com/code?a=b&cbl-code=A%20B%26C"),
        ("https://amazon.com/code#top", "A/ü", "https://amazon.com/code?cbl-code=A%2F%C3%BC#top"),
        ("https://amazon.com/" + "x" * 480, "FUP8UN", None),
    ],
)
def test_the_code_is_filled_in_whatever_it_is(uri: str, code: str, prefilled: str | None) -> None:
    pair = lwa.read_code_pair_answer(make_response({**PAIR, "verification_uri": uri, "user_code": code}))

    assert isinstance(pair, CodePair)
    assert pair.verification_uri == uri
    assert pair.prefilled_uri == prefilled


def test_a_complete_uri_wins_over_a_filled_in_one() -> None:
    complete = "https://amazon.com/us/code/FUP8UN"

    pair = lwa.read_code_pair_answer(make_response({**PAIR, "verification_uri_complete": complete}))

    assert isinstance(pair, CodePair)
    assert pair.prefilled_uri == complete


@pytest.mark.parametrize(
    "error",
    [
        "invalid_request",
        "unauthorized_client",
        "InvalidValue",
        "invalid_scope",
        "invalid_client",
        "unsupported_grant_type",
    ],
)
def test_a_wrong_setting_ends_the_asking_for_a_pair(error: str) -> None:
    answer = lwa.read_code_pair_answer(make_response({"error": error}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED


@pytest.mark.parametrize("error", ["ServerError", "invalid_grant", "access_denied", "invalid_code_pair"])
def test_other_errors_do_not_end_the_asking_for_a_pair(error: str) -> None:
    assert isinstance(lwa.read_code_pair_answer(make_response({"error": error}, status=400)), Unclear)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        ("invalid_code_pair", Trouble.EXPIRED),
        ("expired_token", Trouble.EXPIRED),
        ("invalid_grant", Trouble.EXPIRED),
        ("access_denied", Trouble.DENIED),
        ("invalid_client", Trouble.MISCONFIGURED),
        ("unauthorized_client", Trouble.MISCONFIGURED),
        ("InvalidValue", Trouble.MISCONFIGURED),
        ("invalid_scope", Trouble.MISCONFIGURED),
        ("unsupported_grant_type", Trouble.MISCONFIGURED),
        ("invalid_request", Trouble.MISCONFIGURED),
    ],
)
def test_a_final_answer_to_a_poll_is_understood(error: str, trouble: Trouble) -> None:
    answer = lwa.read_poll_answer(make_response({"error": error}, status=400))

    assert isinstance(answer, Refusal)
    assert answer.trouble is trouble


def test_waiting_for_the_owner_comes_as_a_400() -> None:
    assert lwa.read_poll_answer(make_response({"error": "authorization_pending"}, status=400)) == Pending()
    assert lwa.read_poll_answer(make_response({"error": "slow_down"}, status=400)) == SlowDown()


def test_a_poll_brings_both_tokens() -> None:
    grant = lwa.read_poll_answer(make_response(GRANT))

    assert isinstance(grant, TokenGrant)
    assert grant.refresh_token == Secret("Atzr|1")


@pytest.mark.parametrize("missing", ["refresh_token", "access_token"])
def test_a_poll_that_brings_half_a_grant_is_unclear(missing: str) -> None:
    fields = {name: value for name, value in GRANT.items() if name != missing}

    assert isinstance(lwa.read_poll_answer(make_response(fields)), Unclear)


def test_a_refresh_may_bring_the_access_token_alone() -> None:
    fields = {name: value for name, value in GRANT.items() if name != "refresh_token"}

    grant = lwa.read_refresh_answer(make_response(fields), is_proof=False)

    assert isinstance(grant, TokenGrant)
    assert grant.refresh_token is None


def test_a_refresh_without_a_lifetime_is_taken_for_a_short_one() -> None:
    fields = {name: value for name, value in GRANT.items() if name != "expires_in"}

    grant = lwa.read_refresh_answer(make_response(fields), is_proof=False)

    assert isinstance(grant, TokenGrant)
    assert grant.expires_in == seconds(600)


def test_a_revoked_link_is_understood() -> None:
    answer = lwa.read_refresh_answer(make_response({"error": "invalid_grant"}, status=400), is_proof=False)

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.REVOKED


@pytest.mark.parametrize("is_proof", [True, False])
def test_only_the_first_refresh_shows_a_client_id_of_the_wrong_kind(is_proof: bool) -> None:
    answer = lwa.read_refresh_answer(
        make_response({"error": "invalid_request"}, status=400), is_proof=is_proof
    )

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert ("Other devices and platforms" in answer.hint) == is_proof


@pytest.mark.parametrize(
    "error", ["invalid_client", "InvalidValue", "unauthorized_client", "unsupported_grant_type"]
)
def test_a_client_that_may_not_refresh_is_misconfigured(error: str) -> None:
    answer = lwa.read_refresh_answer(make_response({"error": error}, status=401), is_proof=False)

    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.MISCONFIGURED


@pytest.mark.parametrize(
    "error", ["ServerError", "access_denied", "expired_token", "invalid_code_pair", "invalid_token"]
)
def test_other_errors_end_no_link(error: str) -> None:
    assert isinstance(
        lwa.read_refresh_answer(make_response({"error": error}, status=400), is_proof=True), Unclear
    )
