import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.models import Pending, Refusal, Secret, TokenGrant, Unclear, WireRequest
from device_auth.core.states import Trouble
from device_auth.wire.authorization_code import (
    MOST_CODE,
    MOST_REDIRECT,
    Redirect,
    UnexpectedRedirect,
    challenge_of,
    explain_refresh,
    make_state,
    make_verifier,
    read_exchange_answer,
    read_pasted,
    read_redirect,
    write_address,
    write_exchange,
)
from tests.values import CANARY, REVOKED, make_provider, make_refusal, make_response

ENDPOINT = "https://www.amazon.com/ap/oa"
REDIRECT_URI = "https://localhost:9745/authresponse"
STATE = "a-state-nobody-guesses"
CODE = Secret(f"{CANARY}-code")
TUTORIAL = replace(make_provider(), product_id="test_device", dsn="123")
"""The example values of the tutorial."""

VERIFIER_OF_THE_RFC = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
OCTETS_OF_THE_RFC = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79")
CHALLENGE_OF_THE_RFC = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""RFC 7636, appendix B."""


def address(verifier: Secret | None = None) -> str:
    return write_address(
        TUTORIAL, endpoint=ENDPOINT, redirect_uri=REDIRECT_URI, state=STATE, verifier=verifier
    )


def fields_of(text: str) -> dict[str, str]:
    fields = parse_qs(urlsplit(text).query, strict_parsing=True)
    assert all(len(values) == 1 for values in fields.values())
    return {name: values[0] for name, values in fields.items()}


def form_of(request: WireRequest) -> dict[str, str]:
    return fields_of(f"?{request.body.decode()}")


# -- PKCE


def test_verifier_and_challenge_are_those_of_the_rfc() -> None:
    assert make_verifier(OCTETS_OF_THE_RFC) == VERIFIER_OF_THE_RFC
    assert challenge_of(VERIFIER_OF_THE_RFC) == CHALLENGE_OF_THE_RFC


def test_a_state_can_stand_in_an_address_as_it_is() -> None:
    assert make_state(OCTETS_OF_THE_RFC) == VERIFIER_OF_THE_RFC.reveal()


@pytest.mark.parametrize("make", [make_verifier, make_state])
def test_what_is_made_of_too_little_chance_is_a_bug(make: Callable[[bytes], object]) -> None:
    with pytest.raises(AssertionError, match="chance"):
        make(bytes(31))


# -- the way there


def test_the_address_holds_what_the_tutorial_has_field_by_field() -> None:
    fields = fields_of(address())

    scope_data = json.loads(fields.pop("scope_data"))
    assert address().startswith(f"{ENDPOINT}?")
    assert scope_data == {
        "alexa:all": {"productID": "test_device", "productInstanceAttributes": {"deviceSerialNumber": "123"}}
    }
    assert fields == {
        "client_id": TUTORIAL.client_id,
        "scope": "alexa:all",
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "state": STATE,
    }


def test_the_address_of_a_client_without_a_secret_holds_the_challenge_and_not_the_verifier() -> None:
    text = address(VERIFIER_OF_THE_RFC)

    fields = fields_of(text)
    assert fields["code_challenge"] == CHALLENGE_OF_THE_RFC
    assert fields["code_challenge_method"] == "S256"
    assert VERIFIER_OF_THE_RFC.reveal() not in text


def test_the_address_has_no_character_that_a_shell_or_a_browser_could_take_for_something_else() -> None:
    provider = replace(TUTORIAL, scope="alexa:all profile", product_id="a b&c=ü", dsn='"+/#?')

    text = write_address(provider, endpoint=ENDPOINT, redirect_uri=REDIRECT_URI, state=STATE, verifier=None)

    attributes = json.loads(fields_of(text)["scope_data"])["alexa:all"]
    assert attributes["productID"] == "a b&c=ü"
    assert attributes["productInstanceAttributes"] == {"deviceSerialNumber": '"+/#?'}
    assert fields_of(text)["scope"] == "alexa:all profile"
    assert set(urlsplit(text).query) <= set(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%&=-._~"
    )


def test_the_address_says_nothing_of_the_product_where_alexa_is_not_asked_for() -> None:
    provider = replace(TUTORIAL, scope="profile")

    text = write_address(provider, endpoint=ENDPOINT, redirect_uri=REDIRECT_URI, state=STATE, verifier=None)

    assert "scope_data" not in fields_of(text)


# -- the way back


def test_a_redirect_with_our_state_brings_the_code() -> None:
    assert read_redirect(f"code={CANARY}-code&scope=alexa%3Aall&state={STATE}", STATE) == Redirect(CODE)


MISDIRECTED = {
    "nothing": ("", "which question"),
    "no state": ("code=abc", "which question"),
    "another state": ("code=abc&state=another", "another question"),
    "an empty state": ("code=abc&state=", "another question"),
    "no code": (f"state={STATE}", "no code"),
    "an empty code": (f"code=&state={STATE}", "no code"),
    "a code with a blank": (f"code=a%20b&state={STATE}", "no code"),
    "a code that cannot be printed": (f"code=a%00b&state={STATE}", "no code"),
    "a code outside ASCII": (f"code=%C3%BC&state={STATE}", "no code"),
    "a code that is too long": (f"code={'a' * (MOST_CODE + 1)}&state={STATE}", "no code"),
    "two codes": (f"code=a&code=b&state={STATE}", "twice"),
    "two states": (f"code=a&state={STATE}&state={STATE}", "twice"),
    "two of anything": (f"code=a&state={STATE}&x=1&x=2", "twice"),
    "too long": (f"code=a&state={STATE}&x={'a' * MOST_REDIRECT}", "too long"),
    "too many": ("&".join(f"x{number}=1" for number in range(40)), "too long"),
    "an error of another question": ("error=access_denied&state=another", "another question"),
    "an error without a state": ("error=access_denied", "which question"),
}


@pytest.mark.parametrize(("query", "why"), MISDIRECTED.values(), ids=MISDIRECTED)
def test_what_does_not_answer_our_question_is_not_taken(query: str, why: str) -> None:
    found = read_redirect(query, STATE)

    assert isinstance(found, UnexpectedRedirect)
    assert why in found.why


ERRORS = {
    "access_denied": (Trouble.DENIED, "declined"),
    "invalid_request": (Trouble.MISCONFIGURED, "redirect_uri"),
    "unauthorized_client": (Trouble.MISCONFIGURED, "the one of the security profile's Web Settings in the"),
    "invalid_scope": (Trouble.MISCONFIGURED, "scope"),
    "unsupported_response_type": (Trouble.MISCONFIGURED, "authorization_endpoint"),
    "server_error": (Trouble.EXPIRED, "Start again"),
    "temporarily_unavailable": (Trouble.EXPIRED, "Start again"),
    "Access_Denied": (Trouble.DENIED, "declined"),
    "something_new": (Trouble.MISCONFIGURED, "client_id"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_redirect_is_put_into_words_with_what_to_do(error: str) -> None:
    trouble, word = ERRORS[error]

    found = read_redirect(f"error={error}&error_description=why%0Aever&state={STATE}", STATE)

    assert isinstance(found, Refusal)
    assert (found.trouble, found.error) == (trouble, error)
    assert word in found.message + found.hint
    assert found.message.endswith(" (it says: why ever)")


ADDRESS = f"{REDIRECT_URI}?code={CANARY}-code&scope=alexa%3Aall&state={STATE}"
ERROR_PAGE = "This site can’t be reached\nlocalhost refused to connect.\nTry:\nChecking the connection\nERR_CONNECTION_REFUSED\n"


def pasted(text: str) -> Redirect | Refusal | UnexpectedRedirect:
    return read_pasted(text, STATE, REDIRECT_URI)


@pytest.mark.parametrize(
    "text",
    [
        f"  {ADDRESS}#top\n",
        f'"{ADDRESS}"',
        f"'{ADDRESS}'",
        f"“{ADDRESS}”",
        f"<{ADDRESS}>",
        f"({ADDRESS}).",
        f"{ADDRESS}.",
        f"{ADDRESS},\r\n",
        f"\ufeff{ADDRESS}\u200b",
        f"{ADDRESS[:40]}\n{ADDRESS[40:]}\n",
        f"{ADDRESS[:70]}\r\n   {ADDRESS[70:]}\r\n",
        f"{ADDRESS[:40]} {ADDRESS[40:]}",
        f"{ADDRESS}\n{ADDRESS}\n",
        f"{ADDRESS}\n{ERROR_PAGE}",
        f"{ERROR_PAGE}{ADDRESS}",
        f"It went to {ADDRESS}, and then: {ERROR_PAGE}",
        ADDRESS.partition("//")[2],
        ADDRESS.partition("?")[2],
        "?" + ADDRESS.partition("?")[2],
    ],
)
def test_the_address_may_be_pasted_with_what_sticks_to_it(text: str) -> None:
    assert pasted(text) == Redirect(CODE)


@pytest.mark.parametrize("text", [" {code}\n", '"{code}"', "code={code}", "code={code}&scope=alexa%3Aall."])
def test_the_code_alone_may_be_pasted_and_then_nothing_was_checked(text: str) -> None:
    code = f"{CANARY}-IdNAVhyhqirUelHGEHA"

    assert pasted(text.format(code=code)) == Redirect(Secret(code), is_checked=False)


def test_a_pasted_refusal_is_one() -> None:
    assert isinstance(pasted(f'"{REDIRECT_URI}?error=access_denied&state={STATE}"'), Refusal)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Nothing was pasted."),
        (" \n", "Nothing was pasted."),
        ('""', "Nothing was pasted."),
        (REDIRECT_URI, f"It holds no answer. Copy the address that begins with {REDIRECT_URI}"),
        ("two words", "It holds no answer."),
        ("ü", "It holds no answer."),
        ("yes", "It holds no answer."),
        ("localhost:9745/authresponse", "It holds no answer."),
        ("a" * (MOST_CODE + 1), "It holds no answer."),
        (ERROR_PAGE, "It holds no answer."),
        (f"{REDIRECT_URI}?code=abc&state=another", "It answers another question (state)"),
        (f"{REDIRECT_URI}?error=access_denied&state=another", "It answers another question (state)"),
        ("error=access_denied&state=another", "It answers another question (state)"),
        (f"{REDIRECT_URI}?code=abc", "It does not say which question it answers (state)."),
        ("error=access_denied", "It does not say which question it answers (state)."),
        ("scope=alexa%3Aall", "It does not say which question it answers (state)."),
        ("code=", "It does not say which question it answers (state)."),
        (f"{REDIRECT_URI}/?state={STATE}", "It brings no code."),
        (
            f"https://www.amazon.com/ap/oa?client_id=x&state={STATE}",
            "It is the address of another page: the right one",
        ),
        ("https://example.org/?code=abc&state=another", "It is the address of another page: the right one"),
        (f"code={CANARY}-code&code=x", "It is too long, or says something twice."),
        (f"?state={STATE}&code=abc def", "There are blanks in it, and it can be read in two ways."),
    ],
)
def test_of_a_wrong_paste_it_is_said_what_it_is(text: str, why: str) -> None:
    found = pasted(text)

    assert isinstance(found, UnexpectedRedirect)
    assert found.why.startswith(why)


@settings(max_examples=200)
@given(
    st.text(st.characters(codec=None), max_size=80)
    | st.text("?&=%+#;:/.codestaterro ", max_size=60)
    | st.builds(lambda text: f"?code={text}&state={STATE}", st.text(max_size=30))
)
def test_any_text_at_all_can_be_read_and_none_of_it_is_shown(text: str) -> None:
    for found in (read_redirect(text, STATE), read_pasted(text, STATE, REDIRECT_URI)):
        match found:
            case Redirect(code):
                assert 0 < len(code.reveal()) <= MOST_CODE
                assert repr(found).startswith("Redirect(code=Secret(), ")
            case UnexpectedRedirect(why):
                assert why.endswith(".")
            case Refusal():
                assert "error" in text


# -- the exchange


@pytest.mark.parametrize(
    ("secret", "verifier", "proof"),
    [
        (Secret(f"{CANARY}-secret"), None, {"client_secret": f"{CANARY}-secret"}),
        (None, VERIFIER_OF_THE_RFC, {"code_verifier": VERIFIER_OF_THE_RFC.reveal()}),
    ],
    ids=["secret", "verifier"],
)
def test_the_exchange_sends_the_secret_or_the_verifier(
    secret: Secret | None, verifier: Secret | None, proof: dict[str, str]
) -> None:
    request = write_exchange(
        TUTORIAL, CODE, redirect_uri=REDIRECT_URI, client_secret=secret, verifier=verifier
    )

    form = form_of(request)
    assert request.url == TUTORIAL.token_endpoint
    assert form == {
        "grant_type": "authorization_code",
        "code": f"{CANARY}-code",
        "client_id": TUTORIAL.client_id,
        "redirect_uri": REDIRECT_URI,
        **proof,
    }
    assert CANARY not in repr(request)


GRANTED = {"access_token": "a", "refresh_token": "r", "token_type": "bearer", "expires_in": 3600}


def test_an_exchange_brings_a_grant() -> None:
    answer = read_exchange_answer(make_response(GRANTED))

    assert isinstance(answer, TokenGrant)
    assert answer.refresh_token == Secret("r")


def test_a_grant_without_a_refresh_token_is_not_understood() -> None:
    fields = {name: value for name, value in GRANTED.items() if name != "refresh_token"}

    assert isinstance(read_exchange_answer(make_response(fields)), Unclear)


REFUSED_EXCHANGES = {
    "invalid_grant": (Trouble.EXPIRED, "too old"),
    "access_denied": (Trouble.DENIED, "declined"),
    "invalid_client": (Trouble.MISCONFIGURED, "client_secret"),
    "InvalidValue": (Trouble.MISCONFIGURED, "client_secret"),
    "unauthorized_client": (Trouble.MISCONFIGURED, "Web Settings"),
    "invalid_request": (Trouble.MISCONFIGURED, "redirect_uri"),
    "invalid_scope": (Trouble.MISCONFIGURED, "--scope"),
    "unsupported_grant_type": (Trouble.MISCONFIGURED, "base_url"),
}


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("error", REFUSED_EXCHANGES)
def test_each_refused_exchange_has_a_sentence_of_its_own_and_the_setting_to_look_at(
    error: str, status: int
) -> None:
    trouble, word = REFUSED_EXCHANGES[error]

    answer = read_exchange_answer(make_response({"error": error}, status=status))

    assert isinstance(answer, Refusal)
    assert (answer.trouble, answer.error) == (trouble, error)
    assert word in answer.message + answer.hint


def test_every_sentence_about_a_refused_exchange_is_another_one() -> None:
    answers = [
        read_exchange_answer(make_response({"error": error}, status=400)) for error in REFUSED_EXCHANGES
    ]

    sentences = {answer.message for answer in answers if isinstance(answer, Refusal)}
    assert len(sentences) == len(REFUSED_EXCHANGES) - 1  # InvalidValue is LWA's word for invalid_client


@pytest.mark.parametrize(
    ("status", "fields"), [(500, {"error": "invalid_grant"}), (503, None), (401, {"error": "odd"})]
)
def test_an_exchange_that_is_not_understood_is_tried_again(status: int, fields: object) -> None:
    assert isinstance(read_exchange_answer(make_response(fields, status=status)), Unclear)


# -- a refresh in this flow


@pytest.mark.parametrize(
    "error", ["invalid_client", "InvalidValue", "unauthorized_client", "invalid_request"]
)
def test_a_refresh_refused_for_the_clients_sake_names_the_secret_or_the_web_settings(error: str) -> None:
    answer = explain_refresh(make_refusal(Trouble.MISCONFIGURED, error))

    assert isinstance(answer, Refusal)
    assert (answer.trouble, answer.error) == (Trouble.MISCONFIGURED, error)
    assert "refresh" in answer.message
    assert "client_secret" in answer.hint or "Web Settings" in answer.hint


@pytest.mark.parametrize("answer", [REVOKED, Pending()], ids=["revoked", "pending"])
def test_any_other_answer_to_a_refresh_stands_as_it_is(answer: Refusal | Pending) -> None:
    assert explain_refresh(answer) is answer
