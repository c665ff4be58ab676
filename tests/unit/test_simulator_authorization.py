import json
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from device_auth.core.models import DialectName, Flow
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.authorization import challenge_of, is_redirect_uri
from device_auth.simulator.models import (
    Applicant,
    AuthorizationRequest,
    CodeExchange,
    Credentials,
    IssuedPair,
    OAuthRefusal,
    Options,
    RegisteredClient,
    SentBack,
    Tokens,
)
from device_auth.simulator.referee import RuleName
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA, Clock, strict

OTHER_CLIENT: Final = CLIENT_ID[:-1] + "0"
SECRET: Final = "the-secret-of-the-desk"
RETURN_URL: Final = "https://localhost:9745/authresponse"
VERIFIER: Final = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""The pair of RFC 7636 appendix B."""

PLAIN: Final = {
    "client_id": CLIENT_ID,
    "scope": "alexa:all",
    "scope_data": SCOPE_DATA,
    "response_type": "code",
    "redirect_uri": RETURN_URL,
    "state": "s t&te",
}
PKCE: Final = PLAIN | {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["PKCE", "secret"])
def has_secret(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "secret")


@pytest.fixture
def options(*, has_secret: bool) -> Options:
    return strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)} if has_secret else {})


@pytest.fixture
def amazon(clock: Clock, options: Options) -> Amazon:
    return Amazon(options, clock=clock)


@pytest.fixture
def query(*, has_secret: bool) -> dict[str, str]:
    return PLAIN if has_secret else PKCE


def told(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def allowed(amazon: Amazon, query: dict[str, str]) -> CodeExchange:
    """Let the owner allow it; give the exchange that a good client then sends."""
    code = told(amazon.approve_authorization(query))["code"]
    client = amazon.options.clients.get(query["client_id"], RegisteredClient())
    return CodeExchange(
        code=code,
        credentials=Credentials(query["client_id"], client.secret),
        redirect_uri=query["redirect_uri"],
        verifier=VERIFIER if "code_challenge" in query else None,
    )


def kinds(amazon: Amazon) -> list[RuleName]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def error(answer: Tokens | OAuthRefusal) -> str:
    assert isinstance(answer, OAuthRefusal)
    return answer.error


def linked(amazon: Amazon, query: dict[str, str]) -> Tokens:
    tokens = amazon.exchange(allowed(amazon, query))
    assert isinstance(tokens, Tokens)
    return tokens


def refreshed(amazon: Amazon, tokens: Tokens, secret: str | None) -> Tokens | OAuthRefusal:
    return amazon.refresh(DialectName.LWA, tokens.refresh_token, CLIENT_ID, client_secret=secret)


# -- the way there and back


def test_an_owner_who_allows_sends_a_code_back_and_the_state_as_it_came(
    amazon: Amazon, query: dict[str, str]
) -> None:
    address = amazon.approve_authorization(query)

    assert address.startswith(f"{RETURN_URL}?code=Sim%7CC%7C")
    assert {name: value for name, value in told(address).items() if name != "code"} == {
        "scope": "alexa:all",
        "state": "s t&te",
    }
    assert kinds(amazon) == []


def test_an_owner_who_declines_sends_back_that_he_did(amazon: Amazon, query: dict[str, str]) -> None:
    answer = told(amazon.decline_authorization(query))

    assert (answer["error"], answer["state"]) == ("access_denied", "s t&te")
    assert "code" not in answer
    assert amazon.authorizations() == ()


def test_a_question_in_the_redirect_uri_is_kept(amazon: Amazon, query: dict[str, str]) -> None:
    query = query | {"redirect_uri": f"{RETURN_URL}?a=b"}

    assert amazon.decline_authorization(query).startswith(f"{RETURN_URL}?a=b&error=access_denied&")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": ""}, "invalid_request"),
        ({"scope": ""}, "invalid_request"),
        ({"scope": "alexa:some"}, "invalid_scope"),
        ({"scope_data": ""}, "invalid_request"),
        ({"scope_data": "{}"}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": "", "code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge": f"{CHALLENGE}=", "code_challenge_method": "S256"}, "invalid_request"),
    ],
)
@pytest.mark.parametrize("state", ["s t&te", ""])
def test_a_request_that_is_not_good_is_sent_back_with_its_error_and_its_state(
    amazon: Amazon, query: dict[str, str], change: dict[str, str], name: str, state: str
) -> None:
    answer = told(amazon.approve_authorization(query | change | {"state": state}))

    assert answer.pop("error_description")
    assert answer == {"error": name} | ({"state": state} if state else {})


def test_a_client_without_a_secret_must_use_pkce(clock: Clock) -> None:
    amazon = Amazon(strict(clients={OTHER_CLIENT: RegisteredClient(secret=SECRET)}), clock=clock)

    assert told(amazon.approve_authorization(PLAIN))["error"] == "invalid_request"
    assert "code" in told(amazon.approve_authorization(PKCE))
    assert "code" in told(amazon.approve_authorization(PLAIN | {"client_id": OTHER_CLIENT}))


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": ""},
        {"client_id": "amzn1.application-oa2-client.short"},
        {"client_id": OTHER_CLIENT},
        {"redirect_uri": ""},
        {"redirect_uri": f"{RETURN_URL}/"},
        {"redirect_uri": "https://localhost:9746/authresponse"},
        {"redirect_uri": "https://evil.example/authresponse"},
    ],
)
def test_a_stranger_is_told_on_the_page_and_never_sent_anywhere(
    clock: Clock, query: dict[str, str], change: dict[str, str]
) -> None:
    amazon = Amazon(
        strict(
            clients={CLIENT_ID: RegisteredClient(redirect_uris=frozenset({RETURN_URL}))}, takes_others=False
        ),
        clock=clock,
    )

    assert isinstance(amazon.read_authorization(list((query | change).items())), OAuthRefusal)
    with pytest.raises(ValueError, match=r"client|redirect_uri"):
        amazon.approve_authorization(query | change)


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_of_two_redirect_uris_or_clients_none_is_believed(amazon: Amazon, name: str) -> None:
    parameters = [*PKCE.items(), (name, PKCE[name])]

    assert isinstance(amazon.read_authorization(parameters), OAuthRefusal)


@pytest.mark.parametrize("name", ["scope", "state"])
def test_what_is_sent_twice_is_sent_back_as_an_error(amazon: Amazon, name: str) -> None:
    answer = amazon.read_authorization([*PKCE.items(), (name, PKCE[name])])

    assert isinstance(answer, SentBack)
    assert told(answer.address)["error"] == "invalid_request"
    assert ("state" in told(answer.address)) is (name != "state")


@pytest.mark.parametrize(
    ("address", "is_good"),
    [
        (RETURN_URL, True),
        ("https://desk.example", True),
        ("https://desk.example:8443/back?a=b", True),
        ("http://localhost:3000/authresponse", True),
        ("http://127.0.0.1/", True),
        ("http://[::1]:3000/", True),
        ("http://desk.example/", False),
        ("http://192.0.2.7/", False),
        ("http://localhost.evil.example/", False),
        ("https://desk.example/#there", False),
        ("https://user@desk.example/", False),
        ("https://desk.example; form-action *", False),
        ("https://desk.example;x/", False),
        ("https://desk.example\\@evil.example/", False),
        ("https://desk.example:port/", False),
        ("https://désk.example/", False),
        ("https://[::1%25eth0]/", False),
        ("https://[/", False),
        ("https:///there", False),
        ("javascript:alert(1)", False),
        ("alexa-desk://back", False),
        ("//desk.example/", False),
        ("", False),
        (f"https://desk.example/{'x' * 500}", False),
    ],
)
def test_a_browser_is_sent_to_https_or_to_its_own_machine(address: str, *, is_good: bool) -> None:
    assert is_redirect_uri(address, None) is is_good
    assert is_redirect_uri(address, frozenset({address})) is is_good
    assert not is_redirect_uri(address, frozenset())


# -- the exchange


def test_a_code_gives_tokens(amazon: Amazon, query: dict[str, str]) -> None:
    tokens = linked(amazon, query)

    (grant,) = amazon.grants()
    assert (tokens.access_token[:6], tokens.refresh_token[:6]) == ("Sim|A|", "Sim|R|")
    assert (tokens.expires_in, tokens.scopes) == (3600, ("alexa:all",))
    assert (grant.flow, grant.applicant.product_id, grant.applicant.dsn) == (
        Flow.AUTHORIZATION_CODE,
        "kitchen",
        "K-0001",
    )
    assert amazon.grant_of(tokens.access_token) == grant
    assert kinds(amazon) == []


def test_the_challenge_of_a_verifier_is_that_of_the_rfc() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE


def test_a_client_with_a_secret_may_use_pkce_beside_it(clock: Clock) -> None:
    amazon = Amazon(strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)}), clock=clock)
    asked = allowed(amazon, PKCE)

    assert error(amazon.exchange(replace(asked, verifier=None))) == "invalid_request"
    assert isinstance(amazon.exchange(asked), Tokens)
    assert kinds(amazon) == [RuleName.MISSING_PARAMETER]


@pytest.mark.parametrize(
    ("change", "name", "kind"),
    [
        ({"code": "Sim|C|never"}, "invalid_grant", None),
        ({"redirect_uri": f"{RETURN_URL}/"}, "invalid_grant", RuleName.OTHER_REDIRECT_URI),
        ({"verifier": VERIFIER[:-1] + "A"}, "invalid_grant", RuleName.WRONG_PARAMETER),
        ({"verifier": CHALLENGE}, "invalid_grant", RuleName.WRONG_PARAMETER),
        ({"verifier": None}, "invalid_request", RuleName.MISSING_PARAMETER),
    ],
)
def test_an_exchange_with_one_thing_wrong_gives_nothing_and_the_right_one_after_it_does(
    clock: Clock, change: dict[str, str], name: str, kind: RuleName | None
) -> None:
    amazon = Amazon(strict(), clock=clock)
    asked = allowed(amazon, PKCE)

    assert error(amazon.exchange(replace(asked, **change))) == name  # type: ignore[arg-type]  # texts or None
    assert kinds(amazon) == ([] if kind is None else [kind])
    assert isinstance(amazon.exchange(asked), Tokens)


def test_a_verifier_that_is_too_short_is_not_taken_even_with_its_own_challenge(clock: Clock) -> None:
    amazon = Amazon(strict(), clock=clock)
    asked = allowed(amazon, PKCE | {"code_challenge": challenge_of("short")})

    assert error(amazon.exchange(replace(asked, verifier="short"))) == "invalid_grant"


def test_a_verifier_without_a_challenge_is_refused(clock: Clock) -> None:
    amazon = Amazon(strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)}), clock=clock)
    asked = allowed(amazon, PLAIN)

    assert error(amazon.exchange(replace(asked, verifier=VERIFIER))) == "invalid_grant"
    assert kinds(amazon) == [RuleName.EXTRA_PARAMETER]


@pytest.mark.parametrize(
    ("secrets", "credentials", "name", "kind"),
    [
        ({CLIENT_ID: SECRET}, (CLIENT_ID, None), "invalid_client", RuleName.MISSING_PARAMETER),
        ({CLIENT_ID: SECRET}, (CLIENT_ID, "wrong"), "invalid_client", RuleName.WRONG_PARAMETER),
        ({CLIENT_ID: SECRET}, (CLIENT_ID, f"{SECRET}é"), "invalid_client", RuleName.WRONG_PARAMETER),
        ({}, (CLIENT_ID, SECRET), "unauthorized_client", RuleName.UNEXPECTED_SECRET),
        ({}, (OTHER_CLIENT, None), "invalid_grant", RuleName.WRONG_PARAMETER),
        ({}, ("short", None), "invalid_client", None),
        ({}, (CLIENT_ID[:-1] + "x", None), "invalid_client", None),
    ],
)
def test_a_client_that_is_not_who_it_says_gets_no_tokens(
    clock: Clock,
    secrets: dict[str, str],
    credentials: tuple[str, str | None],
    name: str,
    kind: RuleName | None,
) -> None:
    known = {each: RegisteredClient(secret=secrets.get(each)) for each in (CLIENT_ID, OTHER_CLIENT)}
    options = strict(clients=known, takes_others=False)
    amazon = Amazon(options, clock=clock)
    asked = allowed(amazon, PKCE)

    answer = amazon.exchange(replace(asked, credentials=Credentials(*credentials)))

    assert error(answer) == name
    assert kinds(amazon) == ([] if kind is None else [kind])
    assert isinstance(amazon.exchange(asked), Tokens)


def test_a_code_lives_for_five_minutes(amazon: Amazon, clock: Clock, query: dict[str, str]) -> None:
    early, late = allowed(amazon, query), allowed(amazon, query)
    clock.let_pass(299.9)
    assert isinstance(amazon.exchange(early), Tokens)
    clock.let_pass(0.1)

    assert error(amazon.exchange(late)) == "invalid_grant"


def test_how_long_a_code_lives_can_be_chosen(clock: Clock) -> None:
    amazon = Amazon(strict(authorization_code_lifetime=30), clock=clock)
    asked = allowed(amazon, PKCE)
    clock.let_pass(30)

    assert error(amazon.exchange(asked)) == "invalid_grant"


def test_a_code_that_is_used_twice_gives_nothing_and_takes_back_what_it_gave(
    amazon: Amazon, query: dict[str, str], *, has_secret: bool
) -> None:
    asked = allowed(amazon, query)
    tokens = amazon.exchange(asked)
    assert isinstance(tokens, Tokens)

    assert error(amazon.exchange(asked)) == "invalid_grant"
    assert amazon.grant_of(tokens.access_token) is None
    assert error(refreshed(amazon, tokens, SECRET if has_secret else None)) == "invalid_grant"


def test_another_client_cannot_take_back_what_a_code_gave(clock: Clock) -> None:
    amazon = Amazon(strict(), clock=clock)
    asked = allowed(amazon, PKCE)
    tokens = amazon.exchange(asked)
    assert isinstance(tokens, Tokens)

    assert error(amazon.exchange(replace(asked, credentials=Credentials(OTHER_CLIENT)))) == "invalid_grant"
    assert amazon.grant_of(tokens.access_token) is not None


def test_exchanging_again_is_reported_once_the_final_answer_is_out(clock: Clock) -> None:
    amazon = Amazon(strict(), clock=clock)
    asked = allowed(amazon, PKCE)
    amazon.exchange_arrived(asked.code)
    amazon.exchange_arrived(asked.code)
    assert kinds(amazon) == []

    amazon.exchange_answered(asked.code)
    amazon.exchange_arrived(asked.code)

    (complaint,) = amazon.referee.complaints()
    assert (complaint.kind, complaint.endpoint, complaint.client) == (
        RuleName.REPEATED_EXCHANGE,
        "exchange",
        "K-0001",
    )
    amazon.exchange_arrived("never")
    amazon.exchange_answered("never")
    assert len(kinds(amazon)) == 1


def test_only_so_many_codes_are_remembered(clock: Clock) -> None:
    amazon = Amazon(strict(most_remembered=1), clock=clock)
    first, second = allowed(amazon, PKCE), allowed(amazon, PKCE)

    assert error(amazon.exchange(first)) == "invalid_grant"
    assert isinstance(amazon.exchange(second), Tokens)


# -- the refresh


def test_a_refresh_needs_what_the_exchange_needed(
    amazon: Amazon, query: dict[str, str], *, has_secret: bool
) -> None:
    tokens = linked(amazon, query)

    assert isinstance(refreshed(amazon, tokens, SECRET if has_secret else None), Tokens)
    assert kinds(amazon) == []


@pytest.mark.parametrize(
    ("secret", "kind"), [(None, RuleName.MISSING_PARAMETER), ("wrong", RuleName.WRONG_PARAMETER)]
)
def test_a_refresh_without_the_secret_of_its_client_is_refused(
    clock: Clock, secret: str | None, kind: RuleName
) -> None:
    amazon = Amazon(strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)}), clock=clock)
    tokens = linked(amazon, PLAIN)

    assert error(refreshed(amazon, tokens, secret)) == "invalid_client"
    assert kinds(amazon) == [kind]
    assert isinstance(refreshed(amazon, tokens, SECRET), Tokens)


def test_a_client_without_a_secret_that_refreshes_with_one_is_the_wrong_kind_of_client(clock: Clock) -> None:
    amazon = Amazon(strict(), clock=clock)

    assert error(refreshed(amazon, linked(amazon, PKCE), SECRET)) == "unauthorized_client"
    assert kinds(amazon) == [RuleName.UNEXPECTED_SECRET]


def test_a_speaker_linked_by_code_refreshes_with_its_own_secret_or_with_none(
    amazon: Amazon, *, has_secret: bool
) -> None:
    applicant = Applicant(dialect=DialectName.LWA, client_id=CLIENT_ID, scopes=("profile",))
    pair = amazon.issue_code_pair(applicant)
    assert isinstance(pair, IssuedPair)
    amazon.approve(pair.user_code)
    tokens = amazon.poll(DialectName.LWA, pair.device_code, user_code=pair.user_code)
    assert isinstance(tokens, Tokens)

    assert isinstance(refreshed(amazon, tokens, None), Tokens)
    assert kinds(amazon) == []
    assert isinstance(refreshed(amazon, tokens, SECRET), Tokens)
    assert kinds(amazon) == ([] if has_secret else [RuleName.UNEXPECTED_SECRET])
    assert isinstance(refreshed(amazon, tokens, "wrong"), OAuthRefusal) is has_secret
    assert amazon.grants()[0].flow is Flow.DEVICE_CODE


def test_a_later_process_asks_for_the_secret_again(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    options = strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)})
    tokens = linked(Amazon(options, clock=clock, memory=memory), PLAIN)
    later = Amazon(options, clock=clock, memory=memory)

    assert error(refreshed(later, tokens, None)) == "invalid_client"
    assert isinstance(refreshed(later, tokens, SECRET), Tokens)
    assert SECRET not in memory.read_text()


def test_what_an_earlier_version_remembered_came_of_the_device_flow(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    tokens = linked(Amazon(strict(), clock=clock, memory=memory), PKCE)
    content = json.loads(memory.read_text())
    del content["grants"][0]["flow"]
    memory.write_text(json.dumps(content))
    later = Amazon(strict(), clock=clock, memory=memory)

    assert isinstance(refreshed(later, tokens, None), Tokens)
    assert later.grants()[0].flow is Flow.DEVICE_CODE


# -- the referee, and what is not shown


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"state": ""}, [RuleName.NO_STATE]),
        ({"code_challenge_method": "plain"}, [RuleName.PLAIN_CHALLENGE]),
        ({"code_challenge_method": ""}, [RuleName.PLAIN_CHALLENGE]),
        ({"scope": ""}, [RuleName.MISSING_PARAMETER]),
        ({"client_secret": SECRET}, [RuleName.EXTRA_PARAMETER]),
    ],
)
def test_the_referee_hears_what_is_wrong_with_an_authorization_request(
    clock: Clock, change: dict[str, str], expected: list[RuleName]
) -> None:
    amazon = Amazon(strict(), clock=clock)

    amazon.approve_authorization(PKCE | change)

    assert kinds(amazon) == expected
    assert {(each.endpoint, each.client) for each in amazon.referee.complaints()} == {("ap/oa", CLIENT_ID)}
    assert SECRET not in str(amazon.referee.complaints())


def test_a_secret_in_the_place_of_the_client_id_is_not_repeated(clock: Clock) -> None:
    amazon = Amazon(strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)}), clock=clock)

    assert amazon.name_of({"client_id": SECRET}) == ""
    assert amazon.name_of({"client_id": "Sim|C|abc"}) == ""
    assert amazon.name_of({"client_id": CLIENT_ID}) == CLIENT_ID


def test_nothing_secret_is_shown_when_printed(clock: Clock) -> None:
    amazon = Amazon(strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)}), clock=clock)
    asked = allowed(amazon, PKCE)
    request = amazon.read_authorization(list(PKCE.items()))
    assert isinstance(request, AuthorizationRequest)

    shown = f"{amazon.options} {asked} {request} {SentBack(amazon.allow(request))} {amazon.authorizations()}"

    assert [
        each for each in (SECRET, asked.code, VERIFIER, CHALLENGE, "Sim%7C", "s t&te") if each in shown
    ] == []
