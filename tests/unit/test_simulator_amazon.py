import json
from pathlib import Path

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon, plain_code
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import (
    Applicant,
    Denial,
    IssuedPair,
    OAuthRefusal,
    Options,
    PairState,
    RegisteredClient,
    Tokens,
)
from device_auth.simulator.referee import RuleName
from tests.simulated_speaker import CLIENT_ID, Clock, strict

LWA, RFC = DialectName.LWA, DialectName.RFC8628
SPEAKER = Applicant(
    dialect=LWA, client_id=CLIENT_ID, scopes=("alexa:all",), product_id="kitchen", dsn="K-0001"
)
RFC_SPEAKER = Applicant(dialect=RFC, client_id="a-speaker", scopes=("listen",))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def amazon(clock: Clock) -> Amazon:
    return Amazon(strict(), clock=clock)


def given(amazon: Amazon, applicant: Applicant = SPEAKER, fault: Fault | None = None) -> IssuedPair:
    pair = amazon.issue_code_pair(applicant, fault or Fault())
    assert isinstance(pair, IssuedPair)
    return pair


def polled(amazon: Amazon, pair: IssuedPair, fault: Fault | None = None) -> Tokens | OAuthRefusal:
    return amazon.poll(
        pair.applicant.dialect,
        pair.device_code,
        user_code=pair.user_code,
        client_id=pair.applicant.client_id,
        fault=fault or Fault(),
    )


def linked(amazon: Amazon, applicant: Applicant = SPEAKER) -> Tokens:
    pair = given(amazon, applicant)
    return tokens_of(amazon, pair)


def tokens_of(amazon: Amazon, pair: IssuedPair) -> Tokens:
    amazon.approve(pair.user_code)
    tokens = polled(amazon, pair)
    assert isinstance(tokens, Tokens)
    return tokens


def kinds(amazon: Amazon) -> list[RuleName]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def test_an_lwa_code_pair_has_six_letters_and_a_long_device_code(amazon: Amazon) -> None:
    pair = given(amazon)

    assert len(pair.user_code) == 6
    assert set(pair.user_code) <= set("BCDFGHJKLMNPQRSTVWXZ")
    assert len(pair.device_code) >= 32
    assert (pair.expires_in, pair.interval) == (600, 30)


def test_an_rfc_8628_code_pair_has_two_groups_of_four(amazon: Amazon) -> None:
    pair = given(amazon, RFC_SPEAKER)

    assert [len(group) for group in pair.user_code.split("-")] == [4, 4]


def test_a_poll_is_pending_until_the_owner_approves(amazon: Amazon) -> None:
    pair = given(amazon)

    assert polled(amazon, pair) == OAuthRefusal("authorization_pending", "The owner has not answered yet.")
    assert amazon.approve(pair.user_code.lower()) == 1
    assert isinstance(polled(amazon, pair), Tokens)


@pytest.mark.parametrize(
    ("applicant", "error"), [(SPEAKER, "invalid_code_pair"), (RFC_SPEAKER, "invalid_grant")]
)
def test_a_code_pair_gives_tokens_once(amazon: Amazon, applicant: Applicant, error: str) -> None:
    pair = given(amazon, applicant)
    amazon.approve(pair.user_code)
    polled(amazon, pair)

    again = polled(amazon, pair)

    assert isinstance(again, OAuthRefusal)
    assert again.error in {error, "invalid_code_pair"}


@pytest.mark.parametrize(
    ("applicant", "error"), [(SPEAKER, "invalid_code_pair"), (RFC_SPEAKER, "expired_token")]
)
@pytest.mark.parametrize("is_approved", [False, True])
def test_a_code_pair_expires(
    amazon: Amazon, clock: Clock, applicant: Applicant, error: str, *, is_approved: bool
) -> None:
    pair = given(amazon, applicant)
    if is_approved:
        amazon.approve(pair.user_code)

    clock.let_pass(600)

    answer = polled(amazon, pair)
    assert isinstance(answer, OAuthRefusal)
    assert answer.error == error


def test_expire_ends_a_code_pair_at_once(amazon: Amazon) -> None:
    pair = given(amazon)

    assert amazon.expire(pair.user_code) == 1
    assert polled(amazon, pair) == OAuthRefusal("invalid_code_pair", "The code pair is not valid.")


def test_a_declined_code_pair_is_told_so(amazon: Amazon) -> None:
    pair = given(amazon)

    assert amazon.deny(pair.user_code) == 1
    assert polled(amazon, pair) == OAuthRefusal("access_denied", "The owner has declined.")


@pytest.mark.parametrize(
    ("denial", "at_once", "at_the_end"),
    [
        (Denial.ACCESS_DENIED, "access_denied", "access_denied"),
        (Denial.INVALID_CODE_PAIR, "invalid_code_pair", "invalid_code_pair"),
        (Denial.SILENT, "authorization_pending", "invalid_code_pair"),
    ],
)
def test_lwas_answer_to_a_declined_code_can_be_chosen(
    clock: Clock, denial: Denial, at_once: str, at_the_end: str
) -> None:
    amazon = Amazon(strict(denial=denial), clock=clock)
    pair, other = given(amazon), given(amazon, RFC_SPEAKER)
    amazon.deny("all")

    errors = [sent(amazon, pair), sent(amazon, other)]
    clock.let_pass(600)
    errors += [sent(amazon, pair), sent(amazon, other)]

    assert errors == [at_once, "access_denied", at_the_end, "access_denied"]


def test_an_answered_code_pair_is_not_answered_again(amazon: Amazon) -> None:
    pair = given(amazon)
    amazon.deny(pair.user_code)

    assert amazon.approve(pair.user_code) == 0
    assert amazon.find(pair.user_code) is None


def test_all_that_wait_are_answered_together(amazon: Amazon) -> None:
    first, second, third = given(amazon), given(amazon), given(amazon)
    amazon.deny(third.user_code)

    assert amazon.approve("all") == 2
    assert [pair.state for pair in amazon.pairs()] == [
        PairState.APPROVED,
        PairState.APPROVED,
        PairState.DENIED,
    ]
    assert isinstance(polled(amazon, first), Tokens)
    assert isinstance(polled(amazon, second), Tokens)


def test_an_owner_who_approves_by_himself_takes_his_time(clock: Clock) -> None:
    amazon = Amazon(Options(approve_after=5), clock=clock)
    pair = given(amazon)

    clock.let_pass(4.9)
    assert isinstance(polled(amazon, pair), OAuthRefusal)
    clock.let_pass(0.1)
    assert isinstance(polled(amazon, pair), Tokens)


def test_a_person_may_type_the_code_in_any_way(amazon: Amazon) -> None:
    pair = given(amazon, RFC_SPEAKER)
    typed = f" {pair.user_code.replace('-', ' ').lower()}. "

    found = amazon.find(typed)

    assert found == pair
    assert plain_code("ab-c 1") == "ABC1"


def test_the_halves_of_a_code_pair_belong_together(amazon: Amazon) -> None:
    pair, other = given(amazon), given(amazon)

    answer = amazon.poll(LWA, pair.device_code, user_code=other.user_code)

    assert answer == OAuthRefusal("invalid_code_pair", "The code pair is not valid.")
    assert kinds(amazon) == [RuleName.WRONG_PARAMETER]


def test_an_rfc_8628_code_belongs_to_its_client(amazon: Amazon) -> None:
    pair = given(amazon, RFC_SPEAKER)

    answer = amazon.poll(RFC, pair.device_code, client_id="another")

    assert answer == OAuthRefusal("invalid_grant", "The device code is not valid.")


@pytest.mark.parametrize(("dialect", "error"), [(LWA, "invalid_code_pair"), (RFC, "invalid_grant")])
def test_a_code_that_was_never_given_is_not_valid(amazon: Amazon, dialect: DialectName, error: str) -> None:
    answer = amazon.poll(dialect, "never", user_code="NEVER", client_id="a-speaker")

    assert isinstance(answer, OAuthRefusal)
    assert answer.error == error
    assert amazon.poll_arrived("never")
    amazon.poll_answered("never", 0, is_final=True)
    amazon.slow_down("never")
    assert kinds(amazon) == []


def test_a_code_of_the_other_dialect_is_not_valid(amazon: Amazon) -> None:
    pair = given(amazon)

    assert isinstance(amazon.poll(RFC, pair.device_code, client_id=CLIENT_ID), OAuthRefusal)


@pytest.mark.parametrize(
    ("applicant", "error"),
    [
        (
            Applicant(dialect=LWA, client_id="amzn1.application-oa2-client.short", scopes=("alexa:all",)),
            "InvalidValue",
        ),
        (Applicant(dialect=LWA, client_id=CLIENT_ID.upper(), scopes=("alexa:all",)), "InvalidValue"),
        (Applicant(dialect=LWA, client_id=CLIENT_ID[:-1] + "A", scopes=("alexa:all",)), "InvalidValue"),
        (Applicant(dialect=LWA, client_id=CLIENT_ID[:-1] + "é", scopes=("alexa:all",)), "InvalidValue"),
        (Applicant(dialect=LWA, client_id=CLIENT_ID, scopes=("alexa:some",)), "invalid_scope"),
        (Applicant(dialect=RFC, client_id="two words"), "invalid_client"),
        (Applicant(dialect=RFC, client_id=""), "invalid_client"),
        (Applicant(dialect=RFC, client_id="x" * 101), "invalid_client"),
    ],
)
def test_a_client_that_asks_wrongly_gets_no_code(amazon: Amazon, applicant: Applicant, error: str) -> None:
    answer = amazon.issue_code_pair(applicant)

    assert isinstance(answer, OAuthRefusal)
    assert answer.error == error


@pytest.mark.parametrize(("applicant", "error"), [(SPEAKER, "InvalidValue"), (RFC_SPEAKER, "invalid_client")])
def test_only_known_clients_get_a_code(clock: Clock, applicant: Applicant, error: str) -> None:
    known = Amazon(
        Options(clients={applicant.client_id: RegisteredClient()}, takes_others=False), clock=clock
    )
    strange = Amazon(Options(clients={"another": RegisteredClient()}, takes_others=False), clock=clock)
    elsewhere = RegisteredClient(dialects=frozenset(DialectName) - {applicant.dialect})
    unfit = Amazon(Options(clients={applicant.client_id: elsewhere}), clock=clock)

    answers = [each.issue_code_pair(applicant) for each in (known, strange, unfit)]

    assert isinstance(answers[0], IssuedPair)
    refusals = [answer.error for answer in answers[1:] if isinstance(answer, OAuthRefusal)]
    assert refusals == [error, "unauthorized_client"]


def test_a_client_that_is_not_known_can_refresh_nothing(clock: Clock) -> None:
    amazon = Amazon(Options(clients={CLIENT_ID: RegisteredClient()}, takes_others=False), clock=clock)
    tokens = linked(amazon)

    refused = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID[:-1] + "x")

    assert refused == OAuthRefusal("invalid_client", "Client authentication failed")
    assert isinstance(amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID), Tokens)


def test_only_accepted_scopes_get_a_code(clock: Clock) -> None:
    amazon = Amazon(Options(scopes=frozenset({"listen"})), clock=clock)

    assert isinstance(amazon.issue_code_pair(SPEAKER), OAuthRefusal)
    assert isinstance(amazon.issue_code_pair(RFC_SPEAKER), IssuedPair)


# Intervals


def test_the_interval_counts_from_the_end_of_the_last_answer(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    assert amazon.poll_arrived(pair.device_code)
    clock.let_pass(8)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False)

    clock.let_pass(30)

    assert amazon.poll_arrived(pair.device_code)
    assert kinds(amazon) == []


def test_a_poll_before_the_interval_has_passed_is_reported(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    clock.let_pass(8)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False)

    clock.let_pass(4.5)

    assert not amazon.poll_arrived(pair.device_code)
    (complaint,) = amazon.referee.complaints()
    assert complaint.kind is RuleName.POLLED_TOO_EARLY
    assert complaint.sentence == "Polled 0.500 s too early; the interval is 5 s."
    assert complaint.client == "K-0001"
    assert complaint.at == clock.now


def test_an_answer_s_way_counts_towards_amazon_s_own_five_seconds_and_not_towards_a_told_interval(
    amazon: Amazon, clock: Clock
) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False)
    clock.let_pass(4.8)
    assert amazon.poll_arrived(pair.device_code)

    amazon.slow_down(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False)
    clock.let_pass(9.8)
    assert not amazon.poll_arrived(pair.device_code)


def test_a_poll_while_the_last_one_is_unanswered_is_too_early(amazon: Amazon) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)

    assert not amazon.poll_arrived(pair.device_code)


def test_a_late_end_of_an_older_answer_changes_nothing(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    clock.let_pass(30)
    amazon.poll_arrived(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now - 20, is_final=False)

    clock.let_pass(4)

    assert not amazon.poll_arrived(pair.device_code)


def test_amazon_answers_a_poll_after_five_seconds_though_it_tells_thirty(
    amazon: Amazon, clock: Clock
) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    clock.let_pass(5)

    assert amazon.poll_arrived(pair.device_code)
    assert amazon.referee.complaints() == ()


@pytest.mark.parametrize(
    ("applicant", "interval", "longer"),
    [
        (SPEAKER, 30, 10),
        (SPEAKER, 1, 6),
        (RFC_SPEAKER, 30, 35),
        (RFC_SPEAKER, 90, 95),
    ],
)
def test_slow_down_lengthens_the_interval(
    clock: Clock, applicant: Applicant, interval: int, longer: int
) -> None:
    amazon = Amazon(Options(interval=interval), clock=clock)
    pair = given(amazon, applicant)

    amazon.slow_down(pair.device_code)

    assert amazon.pairs()[0].slowed_to == longer


def sent(amazon: Amazon, pair: IssuedPair) -> str:
    """Poll as a client does whose response arrives at once; return the error, or nothing with tokens."""
    is_due = amazon.poll_arrived(pair.device_code)
    answer = amazon.poll(
        pair.applicant.dialect,
        pair.device_code,
        user_code=pair.user_code,
        client_id=pair.applicant.client_id,
        is_due=is_due,
    )
    amazon.poll_answered(pair.device_code, amazon.clock(), is_final=False, is_due=is_due)
    return answer.error if isinstance(answer, OAuthRefusal) else ""


def seconds_to_link(amazon: Amazon, clock: Clock, pair: IssuedPair, every: float) -> float:
    """Poll at an even pace until there are tokens."""
    began_at = clock.now
    while sent(amazon, pair):
        clock.let_pass(every)
    return clock.now - began_at


@pytest.mark.parametrize(("applicant", "longer"), [(SPEAKER, 10), (RFC_SPEAKER, 35)])
def test_only_a_poll_that_is_told_slow_down_lengthens_the_interval(
    amazon: Amazon, clock: Clock, applicant: Applicant, longer: int
) -> None:
    pair = given(amazon, applicant)
    sent(amazon, pair)
    clock.let_pass(1)

    assert sent(amazon, pair) == "slow_down"
    assert amazon.pairs()[0].slowed_to == longer
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


@pytest.mark.parametrize("told", [1, 5, 30])
def test_amazons_own_client_is_linked_at_its_first_poll_after_the_approval(clock: Clock, told: int) -> None:
    amazon = Amazon(Options(interval=told, approve_after=17), clock=clock)
    pair = given(amazon)

    assert seconds_to_link(amazon, clock, pair, every=5) == 20
    assert kinds(amazon) == []
    assert [note.kind for note in amazon.referee.notes()] == [RuleName.POLL_BELOW_TOLD] * (told > 5)


def test_a_poll_below_the_told_interval_is_noted_once_a_code_pair(amazon: Amazon, clock: Clock) -> None:
    pair, other = given(amazon), given(amazon)
    for _ in range(3):
        sent(amazon, pair)
        sent(amazon, other)
        clock.let_pass(5)

    first, _ = amazon.referee.notes()
    assert first.sentence == "Polled after 5.000 s; the told interval is 30 s."
    assert first.client == "K-0001"
    assert kinds(amazon) == []


def test_an_approved_code_of_lwa_is_never_told_slow_down(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    amazon.slow_down(pair.device_code)
    sent(amazon, pair)
    amazon.approve(pair.user_code)
    clock.let_pass(1)

    assert sent(amazon, pair) == ""
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


@pytest.mark.parametrize("applicant", [SPEAKER, RFC_SPEAKER])
@pytest.mark.parametrize("every", [0.5, 1, 3])
def test_an_impatient_client_is_linked_in_the_end(clock: Clock, applicant: Applicant, every: float) -> None:
    amazon = Amazon(Options(interval=5, approve_after=90), clock=clock)
    pair = given(amazon, applicant)

    took = seconds_to_link(amazon, clock, pair, every)

    assert 90 <= took <= 90 + 60
    assert set(kinds(amazon)) == {RuleName.POLLED_TOO_EARLY}


def test_an_approved_code_of_rfc_8628_is_told_slow_down_when_polled_too_early(
    amazon: Amazon, clock: Clock
) -> None:
    pair = given(amazon, RFC_SPEAKER)
    sent(amazon, pair)
    amazon.approve(pair.user_code)
    clock.let_pass(1)

    assert sent(amazon, pair) == "slow_down"
    clock.let_pass(35)
    assert sent(amazon, pair) == ""


@pytest.mark.parametrize("applicant", [SPEAKER, RFC_SPEAKER])
def test_an_ended_code_is_told_so_however_early_it_is_polled(amazon: Amazon, applicant: Applicant) -> None:
    pair = given(amazon, applicant)
    sent(amazon, pair)
    amazon.deny(pair.user_code)

    assert sent(amazon, pair) == "access_denied"


def test_slow_down_asks_lwas_clients_for_a_minute_at_the_most(amazon: Amazon) -> None:
    pair, other = given(amazon), given(amazon, RFC_SPEAKER)
    for _ in range(20):
        amazon.slow_down(pair.device_code)
        amazon.slow_down(other.device_code)

    assert [each.slowed_to for each in amazon.pairs()] == [60, 130]


def test_a_poll_before_retry_after_is_reported_and_answered(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False, retry_after=100)

    clock.let_pass(99)

    assert amazon.poll_arrived(pair.device_code)
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


def test_a_client_is_held_to_an_hour_of_retry_after(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon, fault=Fault(lifetime=100_000))
    amazon.poll_arrived(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now, is_final=False, retry_after=86_400)

    clock.let_pass(3_600)

    assert amazon.poll_arrived(pair.device_code)
    assert kinds(amazon) == []


def test_a_client_is_named_by_nothing_secret(amazon: Amazon) -> None:
    pair, tokens = given(amazon), linked(amazon)

    assert amazon.name_of({"device_code": pair.device_code}) == "K-0001"
    assert amazon.name_of({"client_id": "a-speaker"}) == "a-speaker"
    for secret in (pair.device_code, tokens.refresh_token, "Sim|A|x", "x" * 101, ""):
        assert amazon.name_of({"client_id": secret}) == ""


def test_a_code_that_was_answered_for_good_must_not_be_polled_again(amazon: Amazon, clock: Clock) -> None:
    pair = given(amazon)
    amazon.poll_arrived(pair.device_code)
    amazon.poll_answered(pair.device_code, clock.now, is_final=True)
    clock.let_pass(100)

    amazon.poll_arrived(pair.device_code)

    assert kinds(amazon) == [RuleName.REPEATED_FINAL_CODE]


@pytest.mark.parametrize(
    ("change", "interval"),
    [({"interval": None}, 5), ({"interval": 7}, 7), ({"interval": "soon"}, 5), ({"interval": 0}, 5)],
)
def test_a_client_is_held_to_the_interval_that_it_was_told(
    amazon: Amazon, change: dict[str, object], interval: int
) -> None:
    pair = given(amazon, fault=Fault(change=change))

    assert pair.interval == interval


def test_a_fault_sets_lifetime_and_interval_of_one_code_pair(amazon: Amazon) -> None:
    pair = given(amazon, fault=Fault(lifetime=20, interval=2))

    assert (pair.expires_in, pair.interval) == (20, 2)
    assert given(amazon).expires_in == 600


# Tokens


def test_tokens_cannot_be_taken_for_real_ones(amazon: Amazon) -> None:
    tokens = linked(amazon)

    assert tokens.access_token.startswith("Sim|A|")
    assert tokens.refresh_token.startswith("Sim|R|")
    assert 350 <= len(tokens.access_token) <= 2048
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)


def test_a_refresh_gives_a_new_access_token_and_keeps_the_refresh_token(amazon: Amazon) -> None:
    tokens = linked(amazon)

    again = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)

    assert isinstance(again, Tokens)
    assert again.access_token != tokens.access_token
    assert again.refresh_token == tokens.refresh_token
    assert amazon.grants()[0].refreshes == 1


def test_a_replaced_refresh_token_works_until_its_successor_has_arrived(clock: Clock) -> None:
    amazon = Amazon(Options(rotates=True), clock=clock)
    tokens = linked(amazon)
    lost = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)
    arrived = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)
    assert isinstance(lost, Tokens)
    assert isinstance(arrived, Tokens)
    assert arrived.replaces is not None

    amazon.refresh_answered(arrived.replaces)

    refused = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)
    assert refused == OAuthRefusal("invalid_grant", "The refresh token has been replaced.")
    assert kinds(amazon) == [RuleName.OLD_REFRESH_TOKEN]
    assert isinstance(amazon.refresh(LWA, arrived.refresh_token, CLIENT_ID), Tokens)


def test_a_fault_rotates_one_refresh(amazon: Amazon) -> None:
    tokens = linked(amazon)

    rotated = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID, Fault(rotation=True, lifetime=60))

    assert isinstance(rotated, Tokens)
    assert rotated.refresh_token != tokens.refresh_token
    assert rotated.expires_in == 60


def test_a_revoked_grant_is_refused(amazon: Amazon) -> None:
    pair = given(amazon)
    amazon.approve(pair.user_code)
    tokens = polled(amazon, pair)
    assert isinstance(tokens, Tokens)

    assert amazon.revoke(pair.user_code) == 1
    assert amazon.revoke("all") == 0
    assert isinstance(amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID), OAuthRefusal)
    assert amazon.grant_of(tokens.access_token) is None


def test_a_refresh_token_belongs_to_its_client_and_dialect(amazon: Amazon) -> None:
    tokens = linked(amazon)

    assert isinstance(amazon.refresh(LWA, tokens.refresh_token, "another"), OAuthRefusal)
    assert isinstance(amazon.refresh(RFC, tokens.refresh_token, CLIENT_ID), OAuthRefusal)
    assert isinstance(amazon.refresh(LWA, "Sim|R|unknown", CLIENT_ID), OAuthRefusal)
    assert kinds(amazon) == [RuleName.REFRESH_TOKEN_ELSEWHERE, RuleName.UNKNOWN_REFRESH_TOKEN]


def test_either_token_revokes_the_grant_of_its_own_client(amazon: Amazon) -> None:
    first, second = linked(amazon, RFC_SPEAKER), linked(amazon, RFC_SPEAKER)

    amazon.revoke_token(first.refresh_token, "another")
    amazon.revoke_token("Sim|R|unknown", "a-speaker")
    assert [grant.is_revoked for grant in amazon.grants()] == [False, False]
    amazon.revoke_token(first.refresh_token, "a-speaker")
    amazon.revoke_token(second.access_token, "a-speaker")
    assert [grant.is_revoked for grant in amazon.grants()] == [True, True]


def test_an_access_token_names_its_grant_until_it_expires(amazon: Amazon, clock: Clock) -> None:
    tokens = linked(amazon)

    assert amazon.grant_of(tokens.access_token) == amazon.grants()[0]
    clock.let_pass(3600)
    assert amazon.grant_of(tokens.access_token) is None


# Seed, memory, bounds


def test_the_same_seed_and_the_same_requests_give_the_same_codes_and_tokens(clock: Clock) -> None:
    first, second, other = (Amazon(Options(seed=seed), clock=clock) for seed in ("a", "a", "b"))

    assert given(first) == given(second)
    assert linked(first) == linked(second)
    assert given(first).user_code != given(other).user_code


def test_a_later_process_refreshes_what_an_earlier_one_gave(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    earlier = Amazon(Options(seed="a", rotates=True), clock=clock, memory=memory)
    tokens = linked(earlier)
    rotated = earlier.refresh(LWA, tokens.refresh_token, CLIENT_ID)
    assert isinstance(rotated, Tokens)
    assert rotated.replaces is not None
    earlier.refresh_answered(rotated.replaces)

    later = Amazon(Options(seed="a"), clock=clock, memory=memory)

    assert isinstance(later.refresh(LWA, rotated.refresh_token, CLIENT_ID), Tokens)
    assert isinstance(later.refresh(LWA, tokens.refresh_token, CLIENT_ID), OAuthRefusal)
    assert later.grants()[0].applicant == SPEAKER
    assert given(later).device_code not in {pair.device_code for pair in earlier.pairs()}


def test_the_memory_holds_no_byte_of_a_token(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    amazon = Amazon(Options(), clock=clock, memory=memory)
    tokens = linked(amazon)

    text = memory.read_text(encoding="utf-8")

    assert tokens.access_token[6:40] not in text
    assert tokens.refresh_token[6:40] not in text
    assert "Sim|" not in text
    assert memory.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [memory]


def test_a_revoked_grant_stays_revoked_in_a_later_process(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    amazon = Amazon(Options(), clock=clock, memory=memory)
    tokens = linked(amazon)
    amazon.revoke("all")

    later = Amazon(Options(), clock=clock, memory=memory)

    assert isinstance(later.refresh(LWA, tokens.refresh_token, CLIENT_ID), OAuthRefusal)


def test_no_code_at_all_revokes_nothing(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    linked(Amazon(Options(), clock=clock, memory=memory))
    later = Amazon(Options(), clock=clock, memory=memory)

    assert later.revoke("") == later.revoke("- -") == 0
    assert later.revoke("all") == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "grants": [{"scopes": 1, "grant_id": 1}]}',
    ],
)
def test_a_damaged_memory_is_told_and_left_alone(clock: Clock, tmp_path: Path, content: str) -> None:
    memory = tmp_path / "amazon.json"
    memory.write_text(content, encoding="utf-8")

    with pytest.raises(StoreError, match=r"cannot read .*amazon\.json"):
        Amazon(Options(), clock=clock, memory=memory)
    assert memory.read_text(encoding="utf-8") == content


def test_a_token_of_an_unknown_grant_is_not_remembered(clock: Clock, tmp_path: Path) -> None:
    memory = tmp_path / "amazon.json"
    tokens = linked(Amazon(Options(), clock=clock, memory=memory))
    content = json.loads(memory.read_text(encoding="utf-8"))
    content["grants"] = []
    memory.write_text(json.dumps(content), encoding="utf-8")

    later = Amazon(Options(), clock=clock, memory=memory)

    assert isinstance(later.refresh(LWA, tokens.refresh_token, CLIENT_ID), OAuthRefusal)


def test_a_memory_that_cannot_be_written_is_told(clock: Clock, tmp_path: Path) -> None:
    amazon = Amazon(Options(), clock=clock, memory=tmp_path / "missing" / "amazon.json")

    with pytest.raises(StoreError, match="cannot write"):
        linked(amazon)


def test_the_oldest_codes_and_tokens_make_room_for_new_ones(clock: Clock) -> None:
    amazon = Amazon(Options(most_remembered=2), clock=clock)
    first = given(amazon)
    given(amazon)
    tokens = linked(amazon)
    newer = amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)
    amazon.refresh(LWA, tokens.refresh_token, CLIENT_ID)

    assert isinstance(newer, Tokens)
    assert amazon.grant_of(newer.access_token) is not None
    assert len(amazon.pairs()) == 2
    assert amazon.find(first.user_code) is None
    assert not amazon.is_device_code(first.device_code)
    assert amazon.grant_of(tokens.access_token) is None


def size_of(amazon: Amazon) -> int:
    return len(amazon._refresh_tokens) + len(amazon._access_tokens) + len(amazon._grants)


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("step", [0, 60])
def test_any_number_of_refreshes_needs_no_more_room_than_a_few(
    clock: Clock, step: float, *, rotates: bool
) -> None:
    amazon = Amazon(Options(most_remembered=10, token_lifetime=300, rotates=rotates), clock=clock)
    token, sizes = linked(amazon).refresh_token, []
    for _ in range(100):
        clock.let_pass(step)
        tokens = amazon.refresh(LWA, token, CLIENT_ID)
        assert isinstance(tokens, Tokens)
        if tokens.replaces is not None:
            amazon.refresh_answered(tokens.replaces)
        token = tokens.refresh_token
        sizes.append(size_of(amazon))

    assert sizes[-1] == max(sizes) == sizes[20]
    assert isinstance(amazon.refresh(LWA, token, CLIENT_ID), Tokens)
    assert kinds(amazon) == []


def test_a_replaced_refresh_token_is_known_as_such_for_a_while(clock: Clock, tmp_path: Path) -> None:
    options, memory = Options(most_remembered=2, rotates=True), tmp_path / "amazon.json"
    amazon = Amazon(options, clock=clock, memory=memory)
    used = [linked(amazon).refresh_token]
    for _ in range(3):
        tokens = amazon.refresh(LWA, used[-1], CLIENT_ID)
        assert isinstance(tokens, Tokens)
        amazon.refresh_answered(tokens.replaces or "")
        amazon.refresh_answered(tokens.replaces or "")
        used.append(tokens.refresh_token)
    later = Amazon(options, clock=clock, memory=memory)

    answers = [later.refresh(LWA, token, CLIENT_ID) for token in used]

    unknown = OAuthRefusal("invalid_grant", "The refresh token is not known.")
    replaced = OAuthRefusal("invalid_grant", "The refresh token has been replaced.")
    assert answers[:-1] == [unknown, replaced, replaced]
    assert isinstance(answers[-1], Tokens)
    assert amazon.forgotten()["refresh_tokens"] == 1


def test_of_too_many_links_the_oldest_ended_one_is_forgotten_first(clock: Clock) -> None:
    amazon = Amazon(Options(most_remembered=3), clock=clock)
    links = [given(amazon) for _ in range(3)]
    first, second, third = (tokens_of(amazon, pair) for pair in links)
    amazon.revoke(links[1].user_code)

    newer = [linked(amazon) for _ in range(2)]

    held = [amazon.refresh(LWA, each.refresh_token, CLIENT_ID) for each in (first, second, third, *newer)]
    assert [isinstance(each, Tokens) for each in held] == [False, False, True, True, True]
    assert amazon.grant_of(first.access_token) is None
    assert [grant.grant_id for grant in amazon.grants()] == [3, 4, 5]
    assert amazon.forgotten() == {"pairs": 2, "grants": 2, "access_tokens": 5}


def test_faults_take_their_turn_and_can_be_forgotten(amazon: Amazon) -> None:
    busy, slow, never = Fault(status=503, times=2), Fault(slow_down=True), Fault(times=0)
    amazon.script(Endpoint.REFRESH, [busy, slow, never])

    assert [amazon.take_fault(Endpoint.REFRESH).status for _ in range(2)] == [503, 503]
    assert amazon.take_fault(Endpoint.TOKEN_POLL) == Fault()
    assert amazon.take_fault(Endpoint.REFRESH) == slow
    assert amazon.faults_waiting()["refresh"] == 0
    amazon.script(Endpoint.REFRESH, [Fault(status=500, times=None)])
    assert [amazon.take_fault(Endpoint.REFRESH).status for _ in range(3)] == [500, 500, 500]
    amazon.clear_faults()
    assert amazon.take_fault(Endpoint.REFRESH) == Fault()
