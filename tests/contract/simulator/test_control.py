from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.authorization import challenge_of
from device_auth.simulator.control import host_name
from device_auth.simulator.models import Applicant, AuthorizationRequest, CodeExchange, Credentials
from device_auth.simulator.referee import RULES, RuleName
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA, Clock, Speaker
from tests.waiting import LONG


def state_of(speaker: Speaker) -> dict[str, Any]:
    told: dict[str, Any] = speaker.session.get(f"{speaker.control_url}state", timeout=LONG).json()
    return told


def test_the_state_shows_pairs_grants_and_faults(amazon: Amazon, lwa: Speaker) -> None:
    pair, other = lwa.pair(), lwa.pair()
    lwa.control("approve", user_code=pair["user_code"])
    lwa.poll(pair)
    lwa.control("faults", endpoint="refresh", faults=[{"status": 503}])

    told = lwa.session.get(lwa.control_url + "state", timeout=LONG).json()

    assert [each["state"] for each in told["pairs"]] == ["used", "waiting"]
    assert told["pairs"][1] == {
        "user_code": other["user_code"],
        "state": "waiting",
        "dialect": "lwa",
        "client_id": CLIENT_ID,
        "scope": "alexa:all",
        "product_id": "kitchen",
        "dsn": "K-0001",
        "interval": 30,
        "expires_in": 600,
        "polls": 0,
    }
    assert told["grants"][0]["dsn"] == "K-0001"
    assert told["faults"]["refresh"] == 1
    assert told["forgotten"] == {}
    assert pair["device_code"] not in str(told)
    assert amazon.referee.complaints() == ()


@pytest.mark.parametrize(
    ("act", "state"), [("approve", "approved"), ("deny", "denied"), ("expire", "expired")]
)
def test_every_code_is_answered_at_once(lwa: Speaker, act: str, state: str) -> None:
    lwa.pair()
    lwa.pair()

    assert lwa.control(act, user_code="all").json() == {"changed": 2}
    assert lwa.control(act, user_code="all").json() == {"changed": 0}
    told = lwa.session.get(lwa.control_url + "state", timeout=LONG).json()
    assert [each["state"] for each in told["pairs"]] == [state, state]


def test_a_grant_is_revoked(lwa: Speaker) -> None:
    pair = lwa.pair()
    lwa.control("approve", user_code=pair["user_code"])
    token = lwa.poll(pair).json()["refresh_token"]

    assert lwa.control("revoke", user_code=pair["user_code"]).json() == {"changed": 1}
    assert lwa.refresh(token).json()["error"] == "invalid_grant"


def test_a_rig_signs_in_and_allows_or_cancels_without_a_browser(amazon: Amazon, lwa: Speaker) -> None:
    query = {
        "client_id": CLIENT_ID,
        "scope": "alexa:all",
        "scope_data": SCOPE_DATA,
        "response_type": "code",
        "redirect_uri": "https://localhost:9745/authresponse",
        "state": "a-state",
        "code_challenge": challenge_of("v" * 43),
        "code_challenge_method": "S256",
    }
    asked = f"https://www.amazon.com/ap/oa?{urlencode(query)}"

    allowed = lwa.control("authorization/allow", address=asked).json()["address"]
    cancelled = lwa.control("authorization/cancel", address=asked).json()["address"]

    assert allowed.startswith("https://localhost:9745/authresponse?code=Sim")
    assert cancelled.startswith("https://localhost:9745/authresponse?error=access_denied")
    waiting = state_of(lwa)["authorizations"]
    assert waiting == [
        {
            "state": "approved",
            "client_id": CLIENT_ID,
            "scope": "alexa:all",
            "product_id": "kitchen",
            "dsn": "K-0001",
            "redirect_uri": "https://localhost:9745/authresponse",
            "expires_in": 300,
        }
    ]
    assert amazon.referee.complaints() == ()


def test_an_authorization_is_approved_then_used_or_expired(
    amazon: Amazon, clock: Clock, lwa: Speaker
) -> None:
    applicant = Applicant(dialect=DialectName.LWA, client_id=CLIENT_ID)
    back = "https://localhost/"
    request = AuthorizationRequest(applicant=applicant, redirect_uri=back, challenge=challenge_of("v" * 43))
    code, _ = (parse_qs(urlsplit(amazon.allow(request)).query)["code"][0] for _ in range(2))
    credentials = Credentials(CLIENT_ID)

    amazon.exchange(CodeExchange(code=code, credentials=credentials, redirect_uri=back, verifier="v" * 43))
    clock.let_pass(300)

    assert [each["state"] for each in state_of(lwa)["authorizations"]] == ["used", "expired"]
    assert [each["flow"] for each in state_of(lwa)["grants"]] == ["authorization_code"]
    assert code not in str(state_of(lwa))


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "address must be that of an authorization request"),
        ({"address": 7}, "address must be that of an authorization request"),
        ({"address": "https://["}, "the browser would not be sent back: "),
        ({"address": "https://localhost/"}, "the browser would not be sent back: Unknown client_id"),
    ],
)
@pytest.mark.parametrize("act", ["allow", "cancel"])
def test_an_address_that_asks_for_nothing_is_told(
    lwa: Speaker, act: str, asked: dict[str, object], complaint: str
) -> None:
    answer = lwa.control(f"authorization/{act}", **asked)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(complaint)


def test_an_unknown_code_is_told(lwa: Speaker) -> None:
    for act in ("approve", "deny", "expire", "revoke"):
        assert lwa.control(act, user_code="WRONG").status_code == 404


@pytest.mark.parametrize(
    ("what", "asked", "complaint"),
    [
        ("approve", {}, 'user_code must be a text, or "all"'),
        ("approve", {"user_code": 7}, "user_code must be a text"),
        ("faults", {"endpoint": "refresh"}, "faults must be a list"),
        (
            "faults",
            {"endpoint": "pair", "faults": []},
            "endpoint must be one of codepair, token-poll, exchange, refresh",
        ),
        ("faults", {"endpoint": "refresh", "faults": [{"stauts": 1}]}, "a fault has no 'stauts'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    lwa: Speaker, what: str, asked: dict[str, object], complaint: str
) -> None:
    answer = lwa.control(what, **asked)

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


def test_faults_are_scripted_and_forgotten(lwa: Speaker) -> None:
    lwa.control("faults", endpoint="codepair", faults=[{"status": 503}, {"status": 504, "times": None}])

    assert [lwa.ask().status_code for _ in range(3)] == [503, 504, 504]
    assert lwa.session.delete(lwa.control_url + "faults", timeout=LONG).json()["waiting"]["codepair"] == 0
    assert lwa.ask().status_code == 200


def test_the_referee_is_read_and_reset(lwa: Speaker) -> None:
    lwa.send(lwa.pair_url, lwa.pair_form())

    told = lwa.session.get(lwa.control_url + "referee", timeout=LONG).json()

    assert told["counts"] == {"no-accept-language": 1}
    (complaint,) = told["complaints"]
    assert complaint == {
        "kind": "no-accept-language",
        "sentence": "The request for a code pair has no Accept-Language.",
        "endpoint": "codepair",
        "client": CLIENT_ID,
        "at": 1000.0,
        "source": RULES[RuleName.NO_ACCEPT_LANGUAGE].source,
    }
    assert told["notes"] == []
    assert lwa.control("referee/reset").json() == {"complaints": [], "notes": [], "counts": {}}
    assert lwa.session.get(lwa.control_url + "referee", timeout=LONG).json() == {
        "complaints": [],
        "notes": [],
        "counts": {},
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
def test_other_sites_are_refused(lwa: Speaker, headers: dict[str, str]) -> None:
    lwa.pair()

    got = lwa.session.get(lwa.control_url + "state", headers=headers, timeout=LONG)
    posted = lwa.session.post(
        lwa.control_url + "approve", json={"user_code": "all"}, headers=headers, timeout=LONG
    )

    assert {got.status_code, posted.status_code} <= {403, 421}
    assert "user_code" not in got.text
    assert lwa.session.get(lwa.control_url + "state", timeout=LONG).json()["pairs"][0]["state"] == "waiting"


def test_a_page_of_the_simulated_amazon_may_ask(lwa: Speaker) -> None:
    headers = {"Origin": lwa.origin, "Sec-Fetch-Site": "same-origin"}

    assert lwa.session.get(lwa.control_url + "state", headers=headers, timeout=LONG).status_code == 200


def test_only_json_objects_are_taken(lwa: Speaker) -> None:
    url = lwa.control_url + "approve"

    assert lwa.session.post(url, data={"user_code": "all"}, timeout=LONG).status_code == 415
    assert lwa.session.post(url, json=["all"], timeout=LONG).status_code == 400
    assert lwa.session.get(url, timeout=LONG).status_code == 405


def test_only_this_machine_is_answered(amazon: Amazon) -> None:
    from device_auth.simulator.app import create_app

    client = create_app(amazon, origin="http://127.0.0.1:1").test_client()

    for address, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("", 403)):
        got = client.get("/control/state", environ_overrides={"REMOTE_ADDR": address})
        assert got.status_code == status


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("EVIL.example", "evil.example"),
        ("[", ""),
        ("", ""),
    ],
)
def test_the_name_is_taken_out_of_any_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize("body", ["[" * 20_000, '{"a":' * 10_000])
def test_a_body_that_is_nested_without_end_is_refused(lwa: Speaker, body: str) -> None:
    answer = lwa.session.post(
        f"{lwa.control_url}approve", data=body, headers={"Content-Type": "application/json"}, timeout=LONG
    )

    assert (answer.status_code, answer.json()) == (400, {"error": "the body must be a JSON object"})
