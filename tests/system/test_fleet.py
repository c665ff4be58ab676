"""A small fleet through a short and bad day, in virtual time: the bench's own invariants, so that it can be believed."""

from array import array
from dataclasses import replace
from typing import Final

import pytest

from device_auth.core.models import NEVER, Seconds, TokenGrant
from tests.bench.fleet import (
    HOUR,
    MOST_OF_A_PART,
    TOLD,
    Figures,
    Handed,
    Owners,
    Part,
    Plan,
    Provider,
    peaks,
    simulate,
)

BAD_DAY: Final = Plan(
    kept=180, presses=20, hours=6, presses_until=4 * HOUR, outage=(1.5 * HOUR, 2.5 * HOUR), cut_at=4 * HOUR
)


@pytest.mark.parametrize("says_when", [False, True], ids=["says nothing", "says when it ends"])
@pytest.mark.parametrize("is_jittered", [True, False], ids=["jitter", "none"])
@pytest.mark.parametrize("within", [0.0, 8.0, NEVER])
def test_no_link_is_lost_and_no_poll_comes_too_early(
    says_when: bool, is_jittered: bool, within: float
) -> None:
    plan = replace(BAD_DAY, says_when=says_when, is_jittered=is_jittered, postpones_within=Seconds(within))

    figures = simulate(plan)

    assert figures.lost == 0
    assert figures.early == 0
    assert figures.unlinked == 0
    assert len(figures.approvals) == 20
    assert min(figures.approvals) > 0


def test_everyone_has_a_token_again_after_outage_and_cut() -> None:
    for number in range(BAD_DAY.parts):
        part = Part(BAD_DAY, number)

        figures = part.run()

        assert len(part.keeping) == 100
        assert all(state is not None and state.grant is not None for state in part.keeping)
        assert figures.without == 0
        assert len(figures.after_outage) > 0
        assert len(figures.after_cut) == 10


def test_the_same_seed_gives_the_same_day_and_another_one_another() -> None:
    day, same, other = (simulate(replace(BAD_DAY, seed=seed)) for seed in (1, 1, 2))

    assert day.digest == same.digest
    assert day.digest != other.digest


@pytest.mark.slow  # it starts five processes
def test_the_day_is_the_same_in_any_number_of_processes() -> None:
    short = replace(
        BAD_DAY, kept=2 * MOST_OF_A_PART, hours=0.2, presses_until=600, outage=(60, 180), cut_at=300
    )

    alone, two, three = (simulate(short, jobs) for jobs in (1, 2, 3))

    assert short.parts == 3
    assert alone.digest == two.digest == three.digest


def test_a_cut_without_a_spread_brings_the_starts_together() -> None:
    together = simulate(replace(BAD_DAY, start_spread=0.0))
    spread = simulate(BAD_DAY)

    cut = BAD_DAY.cut_at
    assert together.requests[int(cut)] >= 18
    assert peaks(spread, cut, cut + HOUR)[1] < peaks(together, cut, cut + HOUR)[1]


def test_the_provider_notices_what_it_shall_notice() -> None:
    figures = Figures(array("L", bytes(8 * HOUR)))
    provider = Provider(replace(BAD_DAY, capacity=2.0, outage=(100, 200)), figures)
    handed = Handed(approved_at=40.0)

    answers = [provider.poll(handed, now, now + 1) for now in (0.0, 5.5, 41.0)]

    assert [isinstance(answer, TokenGrant) for answer in answers] == [False, False, True]
    assert figures.early == 1
    assert not isinstance(provider.refresh(100.0), TokenGrant)
    assert [isinstance(provider.refresh(200.5), TokenGrant) for _ in range(2)] == [True, False]
    assert sum(figures.requests) == 6


def test_owners_who_return_do_not_wait_longer() -> None:
    means = []
    for returning in (0.0, 1.0):
        plan = Plan(
            0,
            200,
            hours=2,
            presses_until=HOUR,
            outage=(0, 0),
            capacity=1000,
            owners=Owners((15,), returning),
            rules=TOLD,
        )
        values = simulate(plan).approvals
        means.append(sum(values) / len(values))

    assert means[1] < means[0]
