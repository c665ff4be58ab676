"""Whatever the draw and whatever was said: when a link is refreshed first, and when again."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from device_auth.core import refresh
from device_auth.core.models import Answer, Seconds, SlowDown, TokenGrant, Unclear
from device_auth.core.policy import refresh_wait, request_wait
from device_auth.core.states import Trouble
from tests.values import make_grant, make_held_link, moment

LINK: Final = make_held_link(is_proved=True)
SLACK: Final = 1e-6

DRAWS = st.floats(0, 1, exclude_max=True)
GRANTS = st.none() | st.builds(
    lambda issued_at, expires_in: make_grant(issued_at=issued_at, expires_in=expires_in),
    st.floats(0, 5000),
    st.floats(1, 100_000),
)


@given(st.floats(5000, 9000), DRAWS, GRANTS)
def test_a_start_refreshes_within_seconds_or_before_the_token_ends(
    now: float, draw: float, grant: TokenGrant | None
) -> None:
    state = refresh.begin(LINK, moment(now), draw, grant)

    soon = now + 5
    assert state.ask_at is not None
    assert now <= state.ask_at <= max(soon, 0 if state.grant is None else state.grant.expires_at)
    assert (state.grant is None) == (grant is None or grant.expires_at <= now)
    assert refresh.next_moment(state) <= max(soon, 0 if grant is None else grant.expires_at)


@given(st.floats(0, 3600), st.integers(1, 20), DRAWS, st.sampled_from(["unclear", "slow_down"]))
def test_a_wait_that_is_asked_for_is_obeyed_and_little_longer(
    asked: float, attempt: int, draw: float, kind: str
) -> None:
    told: Answer = (
        SlowDown(Seconds(asked))
        if kind == "slow_down"
        else Unclear(Trouble.PROVIDER_UNAVAILABLE, "odd", Seconds(asked))
    )
    usual = Unclear(Trouble.PROVIDER_UNAVAILABLE, "odd")

    for wait in (request_wait, refresh_wait):
        waited = wait(attempt, draw, told)
        assert waited >= asked, "not obeyed"
        assert waited <= 3600, "longer than an hour"
        assert waited <= max(5.5, 1.1 * asked, wait(attempt, draw, usual)) + SLACK, "spread too far"
