from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import PairState
from device_auth.simulator.server import Running
from tests.phone import Phone, needs_a_browser
from tests.scripted_server import ScriptedServer, answers
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA, Speaker

pytestmark = [*needs_a_browser, pytest.mark.slow]


@pytest.fixture(params=["light", "dark"])
def phone(request: pytest.FixtureRequest, phone: Phone) -> Phone:
    phone.wear(request.param, scripts=False)
    return phone


def test_an_owner_approves_on_the_phone(amazon: Amazon, lwa: Speaker, phone: Phone) -> None:
    pair = lwa.pair()
    phone.open(pair["verification_uri"])
    phone.look("1-enter")
    phone.element("#code").send_keys("abc 123")
    phone.press("button", ".error")
    phone.look("2-wrong")

    phone.open(f"{pair['verification_uri']}?cbl-code={pair['user_code']}")
    phone.look("3-prefilled")
    phone.press("button", "[value=approve]")
    phone.look("4-ask")
    assert pair["user_code"] in phone.element("dl").text
    phone.press("button[value=approve]", ".result")
    phone.look("5-approved")

    assert amazon.pairs()[0].state is PairState.APPROVED
    assert "Approved" in phone.element("main").text
    assert amazon.referee.complaints() == ()


def test_an_owner_declines_on_the_phone(amazon: Amazon, rfc: Speaker, phone: Phone) -> None:
    pair = rfc.pair()
    phone.open(pair["verification_uri_complete"])
    phone.press("button", "[value=approve]")
    phone.look("6-ask")
    phone.press("button[value=decline]", ".result")
    phone.look("7-declined")

    assert amazon.pairs()[0].state is PairState.DENIED
    assert rfc.poll(pair).json()["error"] == "access_denied"


def test_a_maker_signs_in_and_is_led_back_to_the_program_that_asked(
    amazon: Amazon, running: Running, phone: Phone
) -> None:
    page = b"<title>Back</title><p id=back>You may close this page."
    with ScriptedServer(answers([page] * 9, "Content-Type: text/html")) as program:
        query = {
            "client_id": CLIENT_ID,
            "scope": "alexa:all profile:user_id profile",
            "scope_data": SCOPE_DATA,
            "response_type": "code",
            "redirect_uri": f"http://localhost:{program.port}/authresponse",
            "state": "a-state",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
        }
        came_back = []
        for decision, scripts in (("allow", False), ("cancel", True)):
            phone.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
            phone.open(f"{running.authorization_url}?{urlencode(query)}")
            phone.look(f"8-sign-in-{decision}")
            phone.element("#account").send_keys(" the Maker")
            phone.press("button", "[value=allow]")
            phone.look(f"9-consent-{decision}")
            assert "Sim Ulated the Maker" in phone.element("main").text
            phone.press(f"button[value={decision}]", "#back")
            came_back.append(parse_qs(urlsplit(phone.driver.current_url).query))

    assert [sorted(each) for each in came_back] == [
        ["code", "scope", "state"],
        ["error", "error_description", "state"],
    ]
    assert len(amazon.authorizations()) == 1
    assert amazon.referee.complaints() == ()
