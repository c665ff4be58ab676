"""Whose account it is, from the provider to everyone who is told, with a service, a page and a voice as they run."""

import json
from urllib.request import urlopen

import pytest

from tests.daemon_process import Household
from tests.waiting import LONG, wait_for

NAME, USER_ID = "Sim Ulated", "amzn1.account.SIMULATED00000001"


@pytest.mark.parametrize(
    ("scope", "account", "account_id", "said"),
    [
        ("alexa:all profile", NAME, USER_ID, f"linked to the account of {NAME}"),
        ("alexa:all profile:user_id", USER_ID, USER_ID, "linked to your account"),
        ("alexa:all", None, None, "linked to your account"),
    ],
    ids=["name", "user ID", "none"],
)
def test_the_account_is_told_to_everyone_as_far_as_the_scope_gives_it(
    household: Household, scope: str, account: str | None, account_id: str | None, said: str
) -> None:
    with household.living("--scope", scope) as living:
        household.link(living)
        wait_for(lambda: said in household.heard, "it is not said")
        with urlopen(f"http://127.0.0.1:{household.page_port}/", timeout=LONG) as response:
            page = response.read().decode()
        status = living.status()
        text = household.ask("status").stdout
        fields = json.loads(household.ask("status", "--json").stdout)
        config = ["--config", str(household.config)]
        findings = json.loads(household.ask("doctor", "--json", *config).stdout)["findings"]

    assert status is not None
    assert (status.account, status.account_id) == (account, account_id)
    assert (fields["account"], fields["account_id"]) == (account, account_id)
    assert ("account: " in text) is (account is not None)
    assert (f'Account: <strong dir="auto">{NAME}</strong>' in page) is (account == NAME)
    assert USER_ID not in page
    assert USER_ID not in household.heard
    (linked,) = (each["facts"] for each in findings if each["code"] == "L1")
    assert ("account" in linked) is ("account_id" in linked) is (account is not None)
    assert account is None or account not in str(findings)  # what the doctor prints may be sent on
    stored = json.loads((household.state / "link.json").read_bytes())["link"]
    assert (stored["account"], stored["account_id"]) == (account, account_id)
