"""The pages on which a maker signs in and allows, without a socket."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from werkzeug.test import TestResponse

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.app import create_app
from device_auth.simulator.models import Options
from device_auth.simulator.referee import RuleName
from device_auth.simulator.sign_in import form_target
from tests.page_elements import Elements
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA, strict

RETURN_URL: Final = "https://localhost:9745/authresponse"
SCRIPT: Final = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
QUERY: Final = {
    "client_id": CLIENT_ID,
    "scope": "alexa:all profile",
    "scope_data": SCOPE_DATA,
    "response_type": "code",
    "redirect_uri": RETURN_URL,
    "state": "a-state",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    "code_challenge_method": "S256",
}


@pytest.fixture
def options() -> Options:
    return strict(redirect_uris=frozenset({RETURN_URL, "http://[::1]:3000/back"}))


class Browser:
    """A browser without script that shows one page at a time, and follows no redirect."""

    def __init__(self, amazon: Amazon) -> None:
        self.client = create_app(amazon, origin="http://127.0.0.1:1").test_client()

    def open(self, **changes: str) -> "Browser":
        return self.see(self.client.get("/ap/oa", query_string={**QUERY, **changes}))

    def see(self, answer: TestResponse) -> "Browser":
        self.answer = answer
        self.page = Elements(answer.text)
        self.words = " ".join(self.page.words.split())
        return self

    def submit(self, **fields: str) -> "Browser":
        """Send the page's form as it stands, with some fields set."""
        return self.see(self.client.post(self.page.action, data={**self.page.fields, **fields}))

    @property
    def sent_back(self) -> dict[str, list[str]]:
        """What is in the address that the browser is sent back to."""
        location = self.answer.headers["Location"]
        assert location.startswith(f"{RETURN_URL}?")
        return parse_qs(urlsplit(location).query)


@pytest.fixture
def browser(amazon: Amazon) -> Iterator[Browser]:
    browser = Browser(amazon)
    with browser.client:
        yield browser


def kinds(amazon: Amazon) -> list[RuleName]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def test_a_maker_signs_in_sees_who_asks_and_allows(amazon: Amazon, browser: Browser) -> None:
    browser.open()
    assert "simulated Amazon. Never type a real password" in browser.words
    assert "password" not in {each.get("type") for _, each in browser.page.elements}

    browser.submit(account="  Grace   Hopper ")
    assert "signed in as Grace Hopper" in browser.words
    assert "Product kitchen Serial number K-0001 Answer goes to localhost:9745" in browser.words
    assert "Use Alexa on this speaker See your name and e-mail address" in browser.words
    assert amazon.authorizations() == ()

    browser.submit(decision="allow")
    assert browser.answer.status_code == 303
    assert sorted(browser.sent_back) == ["code", "scope", "state"]
    assert browser.sent_back["state"] == ["a-state"]
    assert browser.sent_back["code"][0].startswith("Sim|C|")
    assert [each.request.redirect_uri for each in amazon.authorizations()] == [RETURN_URL]
    assert kinds(amazon) == []


def test_a_client_of_rfc_8628_has_the_same_pages(amazon: Amazon, browser: Browser) -> None:
    query = {name: QUERY[name] for name in QUERY if name != "scope_data"}
    query |= {"client_id": "a-tv", "scope": "openid offline_access"}
    browser.see(browser.client.get("/authorize", query_string=query))
    browser.submit(account="Grace")
    assert "Client a-tv Answer goes to localhost:9745" in browser.words
    assert "Tell your account from others Stay linked" in browser.words

    browser.submit(decision="allow")

    assert browser.sent_back["code"][0].startswith("Sim|C|")
    assert kinds(amazon) == []
    browser.see(browser.client.get("/authorize", query_string={**query, "scope": ""})).submit()
    assert "Answer goes to" in browser.words
    assert "It wants to" not in browser.words


def test_a_maker_who_cancels_sends_that_back(amazon: Amazon, browser: Browser) -> None:
    browser.open().submit().submit(decision="cancel")

    assert browser.answer.status_code == 303
    assert (browser.sent_back["error"], browser.sent_back["state"]) == (["access_denied"], ["a-state"])
    assert amazon.authorizations() == ()


def test_without_alexa_the_client_itself_is_named(browser: Browser) -> None:
    browser.open(scope="profile", scope_data="").submit()

    assert f"Client {CLIENT_ID}" in browser.words
    assert "Product" not in browser.words


@pytest.mark.parametrize(
    "change",
    [{"client_id": "short"}, {"redirect_uri": "https://evil.example/"}, {"redirect_uri": f"{RETURN_URL}/"}],
)
def test_a_stranger_is_told_on_the_page_and_sent_nowhere(browser: Browser, change: dict[str, str]) -> None:
    browser.open(**change)

    assert browser.answer.status_code == 400
    assert "Location" not in browser.answer.headers
    assert "You were not sent back" in browser.words
    assert "evil" not in browser.answer.text


def test_another_error_is_sent_back(browser: Browser) -> None:
    browser.open(scope="alexa:some")

    assert browser.answer.status_code == 303
    assert browser.sent_back["error"] == ["invalid_scope"]


def test_the_referee_reads_the_address(amazon: Amazon, browser: Browser) -> None:
    browser.open(state="", client_secret="x")

    assert kinds(amazon) == [
        RuleName.SECRET_IN_URL,
        RuleName.EXTRA_PARAMETER,
        RuleName.NO_STATE,
    ]
    assert "client_secret" not in browser.answer.text


def test_a_name_is_needed_and_so_is_one_of_two_answers(amazon: Amazon, browser: Browser) -> None:
    browser.open().submit(account=" ")
    assert (browser.answer.status_code, 'role="alert"' in browser.answer.text) == (400, True)

    browser.submit(account="x" * 100)
    assert f"as {'x' * 64} ." in browser.words

    browser.submit(decision="perhaps")
    assert (browser.answer.status_code, 'role="alert"' in browser.answer.text) == (400, True)
    assert amazon.authorizations() == ()
    assert "code" in browser.submit(decision="allow").sent_back


@pytest.mark.parametrize("token", ["", "guess", "é"])
@pytest.mark.parametrize("path", ["/ap/signin", "/ap/consent"])
def test_a_form_of_another_site_is_refused(amazon: Amazon, browser: Browser, path: str, token: str) -> None:
    browser.open()
    form = QUERY | {"account": "Mallory", "decision": "allow", "form_token": token}

    browser.see(browser.client.post(path, data=form))

    assert browser.answer.status_code == 403
    assert "open for too long" in browser.words
    assert amazon.authorizations() == ()
    assert "Allow this speaker?" in browser.submit().words


def test_the_form_token_belongs_to_one_browser(amazon: Amazon, browser: Browser) -> None:
    other = Browser(amazon).open()

    browser.open().submit(form_token=other.page.fields["form_token"])

    assert browser.answer.status_code == 403


def test_a_form_is_believed_no_more_than_an_address(amazon: Amazon, browser: Browser) -> None:
    browser.open().submit().submit(decision="allow", redirect_uri="https://evil.example/")

    assert browser.answer.status_code == 400
    assert "Location" not in browser.answer.headers
    assert amazon.authorizations() == ()


def test_what_is_carried_on_is_what_was_read(browser: Browser) -> None:
    fields = browser.open().page.fields

    browser.see(browser.client.post("/ap/signin?state=another", data=fields))

    assert browser.page.fields["state"] == "a-state"


@pytest.mark.parametrize("path", ["/ap/signin", "/ap/consent"])
def test_reloading_a_later_step_says_to_start_again(browser: Browser, path: str) -> None:
    browser.see(browser.client.get(path))

    assert browser.answer.status_code == 400
    assert "start again" in browser.words


def test_script_in_what_a_client_says_is_text(browser: Browser) -> None:
    data = SCOPE_DATA.replace("kitchen", SCRIPT.replace('"', '\\"')).replace("K-0001", "<b>")
    signing = browser.open(scope_data=data, state=SCRIPT).page
    asking = browser.submit(account=SCRIPT).page

    assert signing.fields["state"] == asking.fields["state"] == SCRIPT
    assert asking.words.count("<script>alert(1)") == 2
    for page in (signing, asking):
        assert not [tag for tag, each in page.elements if tag in {"script", "img", "b"} or "onerror" in each]


def test_only_the_last_form_may_lead_to_the_client(browser: Browser) -> None:
    policies = [
        browser.open().answer.headers["Content-Security-Policy"],
        browser.submit().answer.headers["Content-Security-Policy"],
    ]

    assert "form-action 'self';" in policies[0]
    assert "form-action 'self' https://localhost:9745;" in policies[1]
    for policy in policies:
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
    for name, value in (("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store")):
        assert browser.answer.headers[name] == value


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("https://desk.example/back?a=b", "https://desk.example"),
        ("http://localhost:3000/", "http://localhost:3000"),
        ("http://[::1]:3000/back", "http:"),
    ],
)
def test_a_form_may_lead_to_the_origin_of_the_client(address: str, target: str) -> None:
    assert form_target(address) == target
