import re

import pytest
import requests

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Applicant, IssuedPair, Options, PairState
from device_auth.simulator.page import WRONG_CODES, WrongCodes
from device_auth.simulator.server import serve
from tests.page_elements import Elements
from tests.simulated_speaker import CLIENT_ID, Clock, Speaker
from tests.waiting import LONG

SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


class Phone:
    """A browser without script."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.session = requests.Session()
        self.session.trust_env = False
        self.answer = requests.Response()

    def open(self, path: str) -> "Phone":
        self.answer = self.session.get(self.origin + path, timeout=LONG)
        return self

    def submit(self, **fields: str) -> "Phone":
        """Send the page's form as it stands, with some fields set."""
        page = Elements(self.answer.text)
        self.answer = self.session.post(
            f"{self.origin}{page.action}", data={**page.fields, **fields}, timeout=LONG
        )
        return self

    @property
    def words(self) -> str:
        return " ".join(Elements(self.answer.text).words.split())


@pytest.fixture
def phone(lwa: Speaker) -> Phone:
    phone = Phone(lwa.origin)
    phone.session.close()
    phone.session = lwa.session
    return phone


def given(amazon: Amazon, **about: str) -> IssuedPair:
    settings = {"product_id": "kitchen", "dsn": "K-0001"} | about
    applicant = Applicant(
        dialect=DialectName.LWA, client_id=CLIENT_ID, scopes=("alexa:all", "profile"), **settings
    )
    pair = amazon.issue_code_pair(applicant)
    assert isinstance(pair, IssuedPair)
    return pair


def state(amazon: Amazon) -> PairState:
    return amazon.pairs()[0].state


def test_an_owner_types_the_code_and_approves(amazon: Amazon, phone: Phone) -> None:
    code = given(amazon).user_code

    phone.open("/us/code").submit(code=f" {code[:3]}-{code[3:]} ".lower())

    assert "Approve this speaker?" in phone.words
    assert f"Code {code} Product kitchen Serial number K-0001" in phone.words
    assert "Use Alexa on this speaker See your name and e-mail address" in phone.words
    assert state(amazon) is PairState.WAITING
    assert "Approved" in phone.submit(decision="approve").words
    assert state(amazon) is PairState.APPROVED


def test_an_owner_declines(amazon: Amazon, phone: Phone) -> None:
    phone.open("/de/code").submit(code=given(amazon).user_code)

    assert "Declined" in phone.submit(decision="decline").words
    assert state(amazon) is PairState.DENIED


def test_a_code_in_the_address_is_filled_in_but_not_acted_upon(rfc: Speaker, phone: Phone) -> None:
    code = rfc.pair()["user_code"]

    for address in (f"/us/code?cbl-code={code}", f"/device?user_code={code}", f"/code?cbl-code={code}"):
        phone.open(address)

        assert ("input", code) in [
            (tag, each.get("value")) for tag, each in Elements(phone.answer.text).elements
        ]
        assert "a-speaker" not in phone.words
    assert "Client a-speaker" in phone.submit().words


def test_a_prefilled_code_can_be_mistyped_and_mended(amazon: Amazon, phone: Phone) -> None:
    code = given(amazon).user_code

    wrong = phone.open("/us/code").submit(code="WRONG")
    assert (wrong.answer.status_code, 'role="alert"' in wrong.answer.text) == (404, True)
    assert "not valid, or it has expired" in wrong.words
    assert "Approve this speaker?" in phone.submit(code=code).words


def test_an_answer_must_be_one_of_two(amazon: Amazon, phone: Phone) -> None:
    phone.open("/us/code").submit(code=given(amazon).user_code)

    assert phone.submit(decision="perhaps").answer.status_code == 400
    assert state(amazon) is PairState.WAITING


def test_an_answer_is_taken_once(amazon: Amazon, phone: Phone) -> None:
    asked = phone.open("/us/code").submit(code=given(amazon).user_code).answer
    phone.submit(decision="decline")
    phone.answer = asked

    assert phone.submit(decision="approve").answer.status_code == 404
    assert state(amazon) is PairState.DENIED


@pytest.mark.parametrize("path", ["/us/code", "/device", "/answer"])
def test_a_form_of_another_site_is_refused(amazon: Amazon, phone: Phone, path: str) -> None:
    code = given(amazon).user_code
    phone.open("/us/code")

    for token in ("", "guess", "é"):
        form = {"code": code, "decision": "approve", "form_token": token}
        answer = phone.session.post(phone.origin + path, data=form, timeout=LONG)

        assert answer.status_code == 403
    assert state(amazon) is PairState.WAITING


def test_the_form_token_belongs_to_one_browser(amazon: Amazon, phone: Phone) -> None:
    other = Phone(phone.origin)
    other.open("/us/code")
    token = re.search(r'name="form_token" value="([^"]+)"', other.answer.text)
    other.session.close()
    assert token

    assert (
        phone.open("/us/code").submit(code=given(amazon).user_code, form_token=token[1]).answer.status_code
        == 403
    )


def test_codes_cannot_be_guessed_in_bulk(amazon: Amazon, clock: Clock, phone: Phone) -> None:
    code = given(amazon).user_code
    phone.open("/us/code")
    for _ in range(WRONG_CODES):
        assert phone.submit(code="WRONG").answer.status_code == 404

    refused = phone.submit(code=code)
    assert refused.answer.status_code == 429
    assert "Too many wrong codes. Please wait 10 minutes." in refused.words
    clock.let_pass(599)
    assert "Please wait 1 minute." in phone.submit(code=code).words
    clock.let_pass(2)
    assert phone.submit(code=given(amazon).user_code).answer.status_code == 200


def test_wrong_codes_are_counted_for_a_thousand_addresses() -> None:
    wrong_codes = WrongCodes(Clock())
    for _ in range(WRONG_CODES):
        wrong_codes.add("first")
    assert wrong_codes.minutes_to_wait("first") == 10

    for number in range(1000):
        wrong_codes.add(f"{number}")

    assert wrong_codes.minutes_to_wait("first") == 0


@pytest.mark.parametrize("field", ["product_id", "dsn"])
def test_script_in_what_the_speaker_says_is_text(amazon: Amazon, phone: Phone, field: str) -> None:
    pair = given(amazon, **{field: SCRIPT})

    for page in (
        phone.open("/us/code").submit(code=pair.user_code).answer,
        phone.submit(decision="approve").answer,
    ):
        assert not [tag for tag, _ in Elements(page.text).elements if tag in {"script", "img"}]
        assert "<script>alert(1)" in Elements(page.text).words


def test_script_in_client_and_scope_is_text(rfc: Speaker, phone: Phone) -> None:
    rfc.client_id = SCRIPT.replace(" ", "/")
    form = {"client_id": rfc.client_id, "scope": SCRIPT}
    pair = rfc.send(rfc.pair_url, form).json()

    phone.open("/device").submit(code=pair["user_code"])

    assert "<script>alert(1)" in phone.words
    assert not [tag for tag, _ in Elements(phone.answer.text).elements if tag in {"script", "img"}]


@pytest.mark.parametrize(
    "address", ["/us/code?cbl-code=", "/device?user_code=", "/{}/code", "/{}/code?cbl-code="]
)
def test_script_in_the_address_is_text(phone: Phone, address: str) -> None:
    phone.open(address.format(SCRIPT) if "{}" in address else address + SCRIPT)

    elements = Elements(phone.answer.text).elements
    assert not [tag for tag, each in elements if tag in {"script", "img"} or "onerror" in each]


def test_script_in_a_typed_code_is_text(phone: Phone) -> None:
    phone.open("/us/code").submit(code=SCRIPT)

    elements = Elements(phone.answer.text).elements
    assert ("input", SCRIPT) in [(tag, each.get("value")) for tag, each in elements]
    assert not [tag for tag, _ in elements if tag in {"script", "img"}]


def test_every_page_is_closed_to_script_frames_caches_and_referrers(amazon: Amazon, phone: Phone) -> None:
    code = given(amazon).user_code
    answers = [
        phone.open("/us/code").answer,
        phone.submit(code="WRONG").answer,
        phone.submit(code=code).answer,
        phone.submit(decision="approve").answer,
    ]

    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert " style=" not in answer.text
    cookie = answers[0].headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_the_style_sheet_is_served(phone: Phone) -> None:
    sheet = next(
        each["href"]
        for tag, each in Elements(phone.open("/").answer.text).elements
        if each.get("rel") == "stylesheet"
    )

    answer = phone.session.get(f"{phone.origin}{sheet}", timeout=LONG)

    assert answer.headers["Content-Type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text


def test_reloading_a_result_starts_anew(phone: Phone) -> None:
    phone.open("/answer")

    assert phone.answer.url == f"{phone.origin}/us/code"
    assert "Link your speaker" in phone.words


def test_every_field_has_a_label_and_no_page_lists_codes(amazon: Amazon, phone: Phone) -> None:
    code = given(amazon).user_code

    phone.open("/us/code")

    elements = Elements(phone.answer.text).elements
    labelled = {each["for"] for tag, each in elements if tag == "label"}
    assert {
        each["id"] for tag, each in elements if tag == "input" and each.get("type") != "hidden"
    } == labelled
    assert code not in phone.answer.text


def test_a_pair_answered_meanwhile_is_told(clock: Clock) -> None:
    class Hasty(Amazon):
        """The other parent is quicker."""

        def approve(self, user_code: str) -> int:
            self.deny(user_code)
            return super().approve(user_code)

    amazon = Hasty(Options(), clock=clock)
    code = given(amazon).user_code
    with serve(amazon) as running:
        phone = Phone(running.origin)
        phone.open("/us/code").submit(code=code).submit(decision="approve")
        phone.session.close()

    assert phone.answer.status_code == 409
    assert "Too late" in phone.words


def test_a_phone_elsewhere_gets_the_address_that_it_can_reach(amazon: Amazon) -> None:
    with serve(amazon, verification_base="https://demo.example") as running:
        speaker = Speaker(running)

        assert speaker.pair()["verification_uri"] == "https://demo.example/us/code"
        assert running.verification_uri == "https://demo.example/us/code"
        headers = {"Host": "demo.example"}
        assert (
            speaker.session.get(f"{running.origin}/us/code", headers=headers, timeout=LONG).status_code == 200
        )
        assert (
            speaker.session.get(running.control + "state", headers=headers, timeout=LONG).status_code == 403
        )
        speaker.close()
