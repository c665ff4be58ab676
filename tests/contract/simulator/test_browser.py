from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import PairState
from tests.phone import Phone, needs_a_browser, open_phone
from tests.simulated_speaker import Speaker

pytestmark = needs_a_browser


@pytest.fixture(params=["light", "dark"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Phone]:
    with open_phone(tmp_path) as phone:
        phone.wear(request.param, scripts=False)
        yield phone


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
