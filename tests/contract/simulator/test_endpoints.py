import json

import pytest

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.referee import RULES, RuleName
from device_auth.simulator.server import serve
from tests.simulated_speaker import CLIENT_ID, FORM, SCOPE_DATA, URN, Clock, Speaker
from tests.waiting import LONG


def kinds(amazon: Amazon) -> list[str]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def linked(amazon: Amazon, speaker: Speaker) -> dict[str, str]:
    pair = speaker.pair()
    amazon.approve(pair["user_code"])
    tokens: dict[str, str] = speaker.poll(pair).json()
    return tokens


def test_a_speaker_is_linked_and_refreshes(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    pending = speaker.poll(pair)
    clock.let_pass(30)
    amazon.approve(pair["user_code"])

    tokens = speaker.poll(pair)

    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    assert tokens.status_code == 200
    assert tokens.json()["token_type"] == "bearer"
    assert tokens.json()["expires_in"] == 3600
    assert tokens.headers["Cache-Control"] == "no-store"
    assert speaker.refresh(tokens.json()["refresh_token"]).json()["access_token"].startswith("Sim|A|")
    assert kinds(amazon) == []


def test_lwa_gives_no_complete_address_and_no_scope(amazon: Amazon, lwa: Speaker) -> None:
    pair = lwa.pair()
    amazon.approve(pair["user_code"])

    assert sorted(pair) == ["device_code", "expires_in", "interval", "user_code", "verification_uri"]
    assert sorted(lwa.poll(pair).json()) == ["access_token", "expires_in", "refresh_token", "token_type"]


def test_rfc_8628_gives_a_complete_address_and_the_scope(amazon: Amazon, rfc: Speaker) -> None:
    pair = rfc.pair()
    amazon.approve(pair["user_code"])

    assert pair["verification_uri_complete"] == f"{rfc.origin}/device?user_code={pair['user_code']}"
    assert rfc.poll(pair).json()["scope"] == "listen"


@pytest.mark.parametrize(
    ("language", "country"),
    [
        ("en-US", "us"),
        ("de-DE", "de"),
        ("ja-JP, en", "jp"),
        ("fr", "us"),
        ("en-<b>", "us"),
        ("zh-Hans-CN", "us"),
    ],
)
def test_the_country_of_the_page_follows_the_language(lwa: Speaker, language: str, country: str) -> None:
    pair = lwa.ask(language=language).json()

    assert pair["verification_uri"] == f"{lwa.origin}/{country}/code"
    assert lwa.session.get(pair["verification_uri"], timeout=LONG).status_code == 200


def test_both_spellings_of_the_lwa_address_are_served(amazon: Amazon, lwa: Speaker) -> None:
    lwa.pair_url = lwa.pair_url.replace("O2", "o2")
    lwa.token_url = lwa.token_url.replace("O2", "o2")

    assert lwa.refresh(linked(amazon, lwa)["refresh_token"]).status_code == 200
    assert kinds(amazon) == []


@pytest.mark.parametrize(
    ("act", "lwa_error", "rfc_error"),
    [
        ("deny", "access_denied", "access_denied"),
        ("expire", "invalid_code_pair", "expired_token"),
    ],
)
def test_a_code_pair_ends_by_the_name_of_its_dialect(
    speaker: Speaker, act: str, lwa_error: str, rfc_error: str
) -> None:
    pair = speaker.pair()
    speaker.control(act, user_code=pair["user_code"])

    answer = speaker.poll(pair)

    assert (answer.status_code, answer.json()["error"]) == (400, lwa_error if speaker.is_lwa else rfc_error)


def test_polling_a_finished_code_again_is_reported(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    amazon.deny(pair["user_code"])
    speaker.poll(pair)
    clock.let_pass(60)

    speaker.poll(pair)

    rule = RuleName.REPEATED_DECLINED_CODE if speaker.is_lwa else RuleName.REPEATED_FINAL_CODE
    assert kinds(amazon) == [rule]


def test_amazons_own_clients_that_do_not_know_the_denial_are_only_noted(clock: Clock) -> None:
    mild = Amazon(Options(), clock=clock)
    with serve(mild) as running:
        speaker = Speaker(running)
        pair = speaker.pair()
        mild.deny("all")
        while speaker.poll(pair).json()["error"] == "access_denied" and clock.now < 1300:
            clock.let_pass(30)
        speaker.close()

    assert kinds(mild) == []
    assert {note.kind for note in mild.referee.notes()} == {RuleName.REPEATED_DECLINED_CODE}


def test_polling_too_early_is_answered_with_slow_down(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    speaker.poll(pair)
    clock.let_pass(4)

    answer = speaker.poll(pair)

    assert answer.json()["error"] == "slow_down"
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]
    assert amazon.pairs()[0].slowed_to == (10 if speaker.is_lwa else 35)


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"client_id": ""}, "invalid_request", RuleName.MISSING_PARAMETER),
        ({"client_id": "amzn1.application-oa2-client.x"}, "InvalidValue", None),
        ({"response_type": "code"}, "invalid_request", RuleName.WRONG_PARAMETER),
        ({"scope": "alexa:none"}, "invalid_scope", None),
        ({"scope_data": ""}, "invalid_request", RuleName.WRONG_PARAMETER),
        ({"scope_data": "{"}, "invalid_request", RuleName.WRONG_PARAMETER),
        (
            {"scope_data": SCOPE_DATA.replace("kitchen", "\\ud800")},
            "invalid_request",
            RuleName.WRONG_PARAMETER,
        ),
        ({"scope_data": "[" * 20_000}, "invalid_request", RuleName.WRONG_PARAMETER),
        ({"scope_data": SCOPE_DATA.replace("kitchen", "")}, "invalid_request", RuleName.WRONG_PARAMETER),
        (
            {"scope_data": SCOPE_DATA.replace("productID", "productId")},
            "invalid_request",
            RuleName.WRONG_PARAMETER,
        ),
        ({"scope": "profile", "scope_data": "7"}, "invalid_request", RuleName.WRONG_PARAMETER),
    ],
)
def test_a_wrong_request_for_a_code_pair_is_refused(
    amazon: Amazon, lwa: Speaker, change: dict[str, str], error: str, complaint: RuleName | None
) -> None:
    answer = lwa.send(lwa.pair_url, lwa.pair_form() | change, headers={"Accept-Language": "en-US"})

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert kinds(amazon) == ([complaint] if complaint else [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"productID"', '"more": 1, "productID"'),
        ('"deviceSerialNumber"', '"more": 1, "deviceSerialNumber"'),
        ('"alexa:all"', '"profile": {}, "alexa:all"'),
    ],
)
def test_more_members_of_scope_data_are_taken_and_noted(
    amazon: Amazon, lwa: Speaker, old: str, new: str
) -> None:
    form = lwa.pair_form() | {"scope_data": SCOPE_DATA.replace(old, new)}

    answer = lwa.send(lwa.pair_url, form, headers={"Accept-Language": "en-US"})

    assert answer.status_code == 200
    assert kinds(amazon) == [RuleName.EXTRA_PARAMETER]


def test_a_profile_scope_alone_needs_no_scope_data(amazon: Amazon, lwa: Speaker) -> None:
    form = {"response_type": "device_code", "client_id": CLIENT_ID, "scope": "profile"}

    answer = lwa.send(lwa.pair_url, form, headers={"Accept-Language": "en-US"})

    assert answer.status_code == 200
    assert kinds(amazon) == []


def test_an_unknown_rfc_8628_client_is_refused(rfc: Speaker) -> None:
    answer = rfc.send(rfc.pair_url, {"client_id": "two words"})

    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("grant_type", "error", "complaint"),
    [
        ("", "invalid_request", RuleName.MISSING_PARAMETER),
        ("password", "unsupported_grant_type", RuleName.WRONG_PARAMETER),
        (URN, "unsupported_grant_type", RuleName.WRONG_PARAMETER),
    ],
)
def test_an_unknown_grant_type_is_refused(
    amazon: Amazon, lwa: Speaker, grant_type: str, error: str, complaint: RuleName
) -> None:
    answer = lwa.send(lwa.token_url, lwa.poll_form(lwa.pair()) | {"grant_type": grant_type})

    assert answer.json()["error"] == error
    assert kinds(amazon) == [complaint]


def test_lwa_polls_name_no_client(amazon: Amazon, lwa: Speaker) -> None:
    lwa.send(lwa.token_url, lwa.poll_form(lwa.pair()) | {"client_id": CLIENT_ID})

    assert kinds(amazon) == [RuleName.EXTRA_PARAMETER]


def test_a_parameter_sent_twice_is_refused(amazon: Amazon, lwa: Speaker) -> None:
    answer = lwa.send(lwa.token_url, "grant_type=device_code&device_code=a&device_code=a&user_code=b")

    assert answer.json()["error"] == "invalid_request"
    assert kinds(amazon) == [RuleName.DUPLICATE_PARAMETER]


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"Content-Type": f"{FORM};charset=UTF-8"}, RuleName.CONTENT_TYPE_PARAMETER),
        ({"Accept": "*/*"}, RuleName.OTHER_ACCEPT),
        ({"Authorization": "Basic eDp5"}, RuleName.AUTHORIZATION_HEADER),
        ({"Accept-Language": None}, RuleName.NO_ACCEPT_LANGUAGE),
    ],
)
def test_wrong_headers_are_reported_but_answered(
    amazon: Amazon, lwa: Speaker, headers: dict[str, str | None], complaint: RuleName
) -> None:
    answer = lwa.send(lwa.pair_url, lwa.pair_form(), headers={"Accept-Language": "en-US", **headers})

    assert answer.status_code == 200
    assert kinds(amazon) == [complaint]
    assert amazon.referee.complaints()[0].client == CLIENT_ID


JSON = {"Content-Type": "application/json; charset=utf-8", "Accept": "*/*"}


def test_lwa_takes_json_for_every_request(clock: Clock) -> None:
    mild = Amazon(Options(), clock=clock)
    with serve(mild) as place:
        speaker = Speaker(place)

        def posted(url: str, **members: object) -> dict[str, str]:
            answer = speaker.send(url, json.dumps(members), headers=JSON)
            assert answer.status_code == 200, answer.text
            told: dict[str, str] = answer.json()
            return told

        form = speaker.pair_form() | {"scope_data": json.loads(SCOPE_DATA)}
        pair = posted(speaker.pair_url, **form)
        mild.approve("all")
        tokens = posted(speaker.token_url, **speaker.poll_form(pair))
        refresh = {"grant_type": "refresh_token", "client_id": CLIENT_ID}
        posted(speaker.token_url, **refresh, refresh_token=tokens["refresh_token"])
        speaker.close()

    assert mild.pairs()[0].applicant.dsn == "K-0001"
    assert kinds(mild) == []
    assert {note.kind for note in mild.referee.notes()} == {
        RuleName.JSON_BODY,
        RuleName.OTHER_ACCEPT,
        RuleName.NO_ACCEPT_LANGUAGE,
    }


def test_rfc_8628_takes_no_json(amazon: Amazon, rfc: Speaker) -> None:
    answer = rfc.send(rfc.pair_url, json.dumps(rfc.pair_form()), headers={"Content-Type": "application/json"})

    assert answer.json()["error"] == "invalid_request"
    assert kinds(amazon) == [RuleName.WRONG_CONTENT_TYPE]


def test_responses_have_their_members_in_the_order_of_captured_ones(amazon: Amazon, lwa: Speaker) -> None:
    pair = lwa.ask()
    pending = lwa.poll(pair.json())
    amazon.approve("all")
    tokens = lwa.poll(pair.json())

    assert list(pair.json()) == ["user_code", "device_code", "interval", "verification_uri", "expires_in"]
    assert list(pending.json()) == ["error_description", "error"]
    assert list(tokens.json()) == ["access_token", "refresh_token", "token_type", "expires_in"]
    assert pair.text.startswith('{"user_code":"')


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_endpoints_take_post_alone(amazon: Amazon, speaker: Speaker, method: str) -> None:
    for url in (speaker.pair_url, speaker.token_url):
        answer = speaker.session.request(method, url, headers={"Accept": "application/json"}, timeout=LONG)

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert kinds(amazon) == [RuleName.WRONG_METHOD, RuleName.WRONG_METHOD]


def test_a_code_in_the_address_of_a_poll_is_reported(amazon: Amazon, speaker: Speaker) -> None:
    pair = speaker.pair()

    speaker.send(f"{speaker.token_url}?x={pair['device_code']}", speaker.poll_form(pair))

    assert kinds(amazon) == [RuleName.SECRET_IN_URL]
    (complaint,) = amazon.referee.complaints()
    assert pair["device_code"] not in repr(complaint)


def test_a_refresh_token_sent_elsewhere_is_reported(amazon: Amazon, lwa: Speaker, rfc: Speaker) -> None:
    token = linked(amazon, lwa)["refresh_token"]

    rfc.refresh(token)
    lwa.send(f"{lwa.origin}/nowhere", {"refresh_token": token})

    assert kinds(amazon) == [RuleName.REFRESH_TOKEN_ELSEWHERE, RuleName.REFRESH_TOKEN_ELSEWHERE]
    assert token not in repr(amazon.referee.complaints())


def test_no_sentence_holds_a_secret(amazon: Amazon, lwa: Speaker) -> None:
    tokens, pair = linked(amazon, lwa), lwa.pair()
    secrets = [*pair.values(), tokens["access_token"], tokens["refresh_token"]]

    lwa.send(lwa.token_url, {secret: secret for secret in map(str, secrets)} | {"grant_type": "device_code"})

    assert len(kinds(amazon)) > 3
    told = repr(amazon.referee.complaints())
    assert not [secret for secret in map(str, secrets) if secret in told and len(secret) > 5]


# Metadata, revocation, profile


def test_metadata_names_the_endpoints(amazon: Amazon, rfc: Speaker) -> None:
    for name in ("oauth-authorization-server", "openid-configuration"):
        url = f"{rfc.origin}/.well-known/{name}"
        told = rfc.session.get(url, headers={"Accept": "application/json"}, timeout=LONG).json()

        assert told["issuer"] == rfc.origin
        assert told["device_authorization_endpoint"] == rfc.pair_url
        assert told["token_endpoint"] == rfc.token_url
        assert told["revocation_endpoint"] == f"{rfc.origin}/revoke"
    assert kinds(amazon) == []


def test_a_revoked_token_is_worth_nothing(amazon: Amazon, rfc: Speaker) -> None:
    token = linked(amazon, rfc)["refresh_token"]

    answer = rfc.send(f"{rfc.origin}/revoke", {"token": token, "client_id": rfc.client_id})

    assert answer.status_code == 200
    assert rfc.refresh(token).json()["error"] == "invalid_grant"
    assert rfc.send(f"{rfc.origin}/revoke", {"token": token}).json()["error"] == "invalid_request"
    assert kinds(amazon) == [RuleName.MISSING_PARAMETER]


def test_an_lwa_token_is_not_for_the_revocation_endpoint(amazon: Amazon, lwa: Speaker) -> None:
    token = linked(amazon, lwa)["refresh_token"]

    lwa.send(f"{lwa.origin}/revoke", {"token": token, "client_id": CLIENT_ID})

    assert kinds(amazon) == [RuleName.REFRESH_TOKEN_ELSEWHERE]


@pytest.mark.parametrize(
    ("scope", "status", "fields"),
    [
        ("alexa:all", 403, ["error", "error_description"]),
        ("alexa:all profile:user_id", 200, ["user_id"]),
        ("alexa:all profile", 200, ["email", "name", "user_id"]),
    ],
)
def test_the_profile_is_told_as_far_as_the_scope_goes(
    amazon: Amazon, lwa: Speaker, scope: str, status: int, fields: list[str]
) -> None:
    form = lwa.pair_form() | {"scope": scope}
    pair = lwa.send(lwa.pair_url, form, headers={"Accept-Language": "en-US"}).json()
    amazon.approve(pair["user_code"])
    token = lwa.poll(pair).json()["access_token"]

    for headers in ({"Authorization": f"bearer {token}"}, {"x-amz-access-token": token}):
        answer = lwa.session.get(f"{lwa.origin}/user/profile", headers=headers, timeout=LONG)

        assert (answer.status_code, sorted(answer.json())) == (status, fields)


def token_of(amazon: Amazon, lwa: Speaker, scope: str) -> str:
    form = lwa.pair_form() | {"scope": scope}
    pair = lwa.send(lwa.pair_url, form, headers={"Accept-Language": "en-US"}).json()
    amazon.approve(pair["user_code"])
    return str(lwa.poll(pair).json()["access_token"])


def test_the_profile_takes_its_token_by_query_as_amazons_sdk_sends_it(amazon: Amazon, lwa: Speaker) -> None:
    token = token_of(amazon, lwa, "alexa:all profile:user_id")

    answer = lwa.session.get(f"{lwa.origin}/user/profile", params={"access_token": token}, timeout=LONG)

    assert list(answer.json()) == ["user_id"]
    assert kinds(amazon) == [RuleName.TOKEN_BY_QUERY]
    assert RULES[RuleName.TOKEN_BY_QUERY].is_note


@pytest.mark.parametrize("spelling", ["O2", "o2"])
def test_tokeninfo_names_the_client_of_a_token(
    amazon: Amazon, clock: Clock, lwa: Speaker, spelling: str
) -> None:
    url = f"{lwa.origin}/auth/{spelling}/tokeninfo"
    plain, named = token_of(amazon, lwa, "alexa:all"), token_of(amazon, lwa, "alexa:all profile")
    clock.let_pass(600)

    told = [lwa.session.get(url, params={"access_token": token}, timeout=LONG) for token in (plain, named)]

    assert [(each.json()["aud"], each.json()["exp"]) for each in told] == [(CLIENT_ID, 3000)] * 2
    assert ["user_id" in each.json() for each in told] == [False, True]
    assert kinds(amazon) == []
    clock.let_pass(3000)
    gone = lwa.session.get(url, params={"access_token": plain}, timeout=LONG)
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_token")


@pytest.mark.parametrize("path", ["/userinfo", "/auth/o2/token", "/us/code"])
def test_a_token_by_query_is_a_leak_elsewhere(amazon: Amazon, lwa: Speaker, path: str) -> None:
    lwa.session.get(f"{lwa.origin}{path}", params={"access_token": "x"}, timeout=LONG)

    assert RuleName.SECRET_IN_URL in kinds(amazon)


def test_the_profile_wants_a_token(lwa: Speaker) -> None:
    answer = lwa.session.get(f"{lwa.origin}/user/profile", timeout=LONG)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_a_host_that_is_not_ours_is_refused(lwa: Speaker) -> None:
    for host in ("evil.example", "[", ""):
        answer = lwa.session.get(f"{lwa.origin}/us/code", headers={"Host": host}, timeout=LONG)

        assert answer.status_code in {400, 421}


@pytest.mark.parametrize("form", ["refresh_token", "device_code", "code"])
def test_half_of_a_surrogate_pair_in_a_json_body_is_only_another_wrong_value(lwa: Speaker, form: str) -> None:
    grants = {"refresh_token": "refresh_token", "device_code": "device_code", "code": "authorization_code"}
    members = {
        "grant_type": grants[form],
        "client_id": CLIENT_ID,
        "user_code": "ABCDEF",
        "redirect_uri": "https://example.com",
        form: "\ud800",
    }

    answer = lwa.session.post(lwa.token_url, json=members, timeout=LONG)

    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_grant", "invalid_code_pair"}
