import pytest

from device_auth.core.models import Answer, Pending, PollRules, Seconds, SlowDown
from device_auth.core.policy import (
    REACTIONS,
    START_SPREAD,
    AnswerKind,
    Phase,
    Reaction,
    kind_of,
    poll_wait,
    react,
    refresh_moment,
    refresh_wait,
    request_wait,
    slower,
    start_wait,
)
from tests.values import (
    EXAMPLES,
    NO_ANSWER,
    TIMED_OUT,
    make_grant,
    make_pair,
    make_unclear,
    seconds,
)

LWA = PollRules(first_at_once=True, slow_down_doubles=True)
RFC8628 = PollRules(first_at_once=False, slow_down_doubles=False)


def test_there_is_a_reaction_for_every_kind_at_every_phase() -> None:
    assert set(REACTIONS) == set(AnswerKind)
    assert {len(row) for row in REACTIONS.values()} == {len(Phase)}


def test_there_is_an_answer_of_every_kind_to_try() -> None:
    assert set(EXAMPLES) == set(AnswerKind) - {AnswerKind.SUCCESS}


@pytest.mark.parametrize(("kind", "answer"), EXAMPLES.items())
def test_an_answer_is_known_by_its_kind(kind: AnswerKind, answer: Answer) -> None:
    assert kind_of(answer) is kind


@pytest.mark.parametrize("answer", [make_pair(), make_grant()], ids=["pair", "grant"])
def test_a_pair_and_a_grant_are_success(answer: Answer) -> None:
    assert kind_of(answer) is AnswerKind.SUCCESS


FINAL_AT = {
    Phase.REQUESTING: {AnswerKind.MISCONFIGURED},
    Phase.POLLING: {AnswerKind.PAIR_OVER, AnswerKind.REVOKED, AnswerKind.DENIED, AnswerKind.MISCONFIGURED},
    Phase.PROVING: {AnswerKind.MISCONFIGURED, AnswerKind.REVOKED},
    Phase.REFRESHING: {AnswerKind.REVOKED},
}
"""The principle, said the other way round: these end something and no others do."""


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_only_what_is_understood_and_final_ends_anything(kind: AnswerKind, phase: Phase) -> None:
    ends = react(EXAMPLES[kind], phase) in {
        Reaction.END,
        Reaction.END_PAIR,
        Reaction.REFUSE,
        Reaction.ASK_AGAIN,
    }

    # A request that cannot leave this machine is no answer: a person who waits for a code is told at once.
    never_left = kind is AnswerKind.CANNOT_BE_SENT and phase is Phase.REQUESTING
    assert ends == (kind in FINAL_AT[phase] or never_left)


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    [(1, 0, 0), (2, 0.5, 1.5), (3, 1, 3), (4, 2, 6), (5, 5, 15), (6, 15, 45), (7, 30, 90), (99, 30, 90)],
)
def test_a_request_is_repeated_after_longer_and_longer_waits(
    attempt: int, shortest: float, longest: float
) -> None:
    assert request_wait(attempt, 0.0, NO_ANSWER) == shortest
    assert request_wait(attempt, 1.0, NO_ANSWER) == longest


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"),
    [(1, 0, 0), (5, 5, 15), (7, 30, 90), (8, 60, 180), (9, 150, 300), (99, 150, 300)],
)
def test_a_refresh_is_repeated_after_at_most_300_seconds(
    attempt: int, shortest: float, longest: float
) -> None:
    assert refresh_wait(attempt, 0.0, NO_ANSWER) == shortest
    assert refresh_wait(attempt, 1.0, NO_ANSWER) == longest


@pytest.mark.parametrize(
    ("asked", "draw", "wait"),
    [(1000, 0.0, 1000), (1000, 0.5, 1050), (1000, 1.0, 1100), (3500, 1.0, 3600), (3600, 1.0, 3600)],
)
def test_retry_after_is_obeyed_where_it_is_longer_and_spread_upward(
    asked: float, draw: float, wait: float
) -> None:
    assert request_wait(7, draw, make_unclear(asked)) == pytest.approx(wait)
    assert refresh_wait(7, draw, make_unclear(asked)) == pytest.approx(wait)


def test_retry_after_never_makes_a_wait_shorter() -> None:
    assert request_wait(7, 0.5, make_unclear(1)) == seconds(60)


def test_slow_down_makes_even_the_first_repetition_wait() -> None:
    assert request_wait(1, 0.0, SlowDown()) == seconds(5)
    assert refresh_wait(1, 0.0, SlowDown()) == seconds(5)


def test_slow_down_with_retry_after_waits_as_long_as_told() -> None:
    assert request_wait(1, 0.0, SlowDown(seconds(77))) == seconds(77)


def test_first_refreshes_are_spread_over_a_few_seconds() -> None:
    assert start_wait(0.0) == seconds(0)
    assert start_wait(1.0) == START_SPREAD


@pytest.mark.parametrize(
    ("interval", "timeouts", "wait"),
    [(5, 0, 5), (5, 1, 10), (5, 2, 20), (5, 3, 40), (5, 4, 60), (5, 999, 60), (30, 1, 60), (90, 3, 90)],
)
def test_polls_that_time_out_double_the_wait_up_to_a_minute(
    interval: float, timeouts: int, wait: float
) -> None:
    assert poll_wait(seconds(interval), timeouts, TIMED_OUT) == wait


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (Pending(seconds(100)), 100),
        (SlowDown(seconds(100)), 100),
        (make_unclear(100), 100),
        (Pending(seconds(3)), 30),
        (make_unclear(3), 30),
        (Pending(), 30),
        (NO_ANSWER, 30),
    ],
)
def test_a_poll_waits_as_long_as_told_and_never_less_than_the_interval(answer: Answer, wait: float) -> None:
    assert poll_wait(seconds(30), 0, answer) == wait


@pytest.mark.parametrize(
    ("rules", "interval", "slowed"),
    [
        (LWA, 1, 6),
        (LWA, 5, 10),
        (LWA, 20, 40),
        (LWA, 30, 60),
        (LWA, 40, 60),
        (LWA, 60, 60),
        (LWA, 90, 90),
        (RFC8628, 1, 6),
        (RFC8628, 5, 10),
        (RFC8628, 58, 63),
        (RFC8628, 90, 95),
    ],
)
def test_slow_down_lengthens_the_interval_as_the_dialect_has_it(
    rules: PollRules, interval: float, slowed: float
) -> None:
    assert slower(rules, seconds(interval), seconds(interval)) == slowed


@pytest.mark.parametrize(
    ("lifetime", "latest", "earliest"),
    [(3600, 2880, 2520), (2400, 1800, 1560), (1000, 500, 400), (60, 30, 24), (100_000, 80_000, 70_000)],
)
def test_an_access_token_is_refreshed_well_before_its_end(
    lifetime: float, latest: float, earliest: float
) -> None:
    assert refresh_moment(Seconds(lifetime), 0.0) == pytest.approx(latest)
    assert refresh_moment(Seconds(lifetime), 1.0) == pytest.approx(earliest)
