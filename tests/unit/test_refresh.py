from dataclasses import replace

import pytest

from device_auth.core.models import (
    NEVER,
    Answer,
    Link,
    Mark,
    ProofStanding,
    Refusal,
    Secret,
    SlowDown,
    TimePassed,
    TokenGrant,
)
from device_auth.core.policy import START_SPREAD, AnswerKind
from device_auth.core.refresh import (
    AskRefresh,
    Command,
    Event,
    Keeping,
    LinkSaved,
    LinkTold,
    RefreshAnswered,
    SaveFailed,
    SaveLink,
    Serve,
    TokenWanted,
    Withdraw,
    begin,
    is_refresh_near,
    next_moment,
    proof_of,
    step,
)
from device_auth.core.states import Trouble
from tests.values import (
    CANNOT_BE_SENT,
    DENIED,
    EXAMPLES,
    MISCONFIGURED,
    NO_ANSWER,
    PAIR_OVER,
    REVOKED,
    make_grant,
    make_held_link,
    make_pair,
    moment,
    seconds,
)

LINK = make_held_link(is_proved=True)
NEW_LINK = make_held_link()
GRANT = make_grant()
SAME_REFRESH_TOKEN = make_grant(refresh_token=None)
OUT = Keeping(LINK)
"""A refresh of a told and proved link is out."""
IN_HAND = Keeping(LINK, GRANT, ask_at=moment(2700))
"""Its token is in hand."""


def after(state: Keeping, *events: tuple[float, Event]) -> tuple[Keeping, tuple[Command, ...]]:
    """Return the state after the last event, and that event's commands."""
    commands: tuple[Command, ...] = ()
    for at, event in events:
        state, commands = step(state, event, moment(at))
    return state, commands


def heard(answer: Answer, draw: float = 0.5) -> RefreshAnswered:
    return RefreshAnswered(answer, draw)


def test_a_link_is_refreshed_as_soon_as_it_is_kept() -> None:
    state = begin(LINK, moment(7))

    assert next_moment(state) == moment(7)
    assert after(state, (7, TimePassed()))[1] == (AskRefresh(LINK),)


@pytest.mark.parametrize("grant", [None, make_grant(expires_in=7)], ids=["no token", "an expired one"])
@pytest.mark.parametrize(("draw", "at"), [(0.0, 7), (0.5, 7 + START_SPREAD / 2)])
def test_a_fleet_that_starts_together_spreads_its_first_refreshes(
    grant: TokenGrant | None, draw: float, at: float
) -> None:
    state = begin(LINK, moment(7), draw, grant)

    assert state == Keeping(LINK, ask_at=moment(at))


def test_a_token_still_in_hand_after_a_restart_is_refreshed_in_its_time() -> None:
    assert begin(LINK, moment(7), 0.0, GRANT) == replace(IN_HAND, ask_at=moment(2880))


def test_a_token_in_hand_that_is_overdue_is_refreshed_as_if_there_were_none() -> None:
    state = begin(LINK, moment(3500), 0.5, GRANT)

    assert (state.grant, state.ask_at) == (GRANT, moment(3500 + START_SPREAD / 2))


def test_a_token_of_which_only_the_rest_is_known_is_refreshed_well_before_its_end() -> None:
    rest = make_grant(issued_at=2000, expires_in=1600)

    assert begin(LINK, moment(2000), 0.0, rest).ask_at == moment(3000)


def test_a_marked_link_takes_up_no_token() -> None:
    marked = replace(LINK, mark=Mark.REVOKED)

    assert begin(marked, moment(7), 0.5, GRANT) == Keeping(marked, ask_at=NEVER)


@pytest.mark.parametrize("mark", Mark)
def test_a_marked_link_is_kept_but_not_used(mark: Mark) -> None:
    state = begin(replace(LINK, mark=mark), moment(7))

    assert next_moment(state) == NEVER
    assert after(state, (8, TimePassed())) == (state, ())
    assert after(state, (8, TokenWanted(seconds(60)))) == (state, ())


def test_while_a_refresh_is_out_there_is_no_next_one() -> None:
    state, _ = after(begin(LINK, moment(7)), (7, TimePassed()))

    assert next_moment(state) == NEVER
    assert after(state, (8, TimePassed())) == (state, ())


def test_a_refresh_that_changes_nothing_is_served_and_not_stored() -> None:
    assert after(OUT, (1, heard(SAME_REFRESH_TOKEN)))[1] == (Serve(SAME_REFRESH_TOKEN),)


def test_an_answer_without_a_refresh_token_keeps_the_old_one() -> None:
    assert after(OUT, (1, heard(SAME_REFRESH_TOKEN)))[0].link == LINK


def test_the_same_refresh_token_sent_again_is_not_stored() -> None:
    again = make_grant(refresh_token="refresh")

    assert after(OUT, (1, heard(again)))[1] == (Serve(again),)


def test_a_changed_refresh_token_is_stored_before_anything_is_served() -> None:
    grant = make_grant(refresh_token="rotated")

    state, commands = after(OUT, (1, heard(grant)))

    assert state.link.refresh_token == grant.refresh_token
    assert commands == (SaveLink(state.link), Serve(grant))


def test_the_first_refresh_proves_the_link_and_lets_the_former_one_go() -> None:
    new = replace(NEW_LINK, replaces=LINK)

    state, commands = after(Keeping(new), (1, heard(GRANT)))

    assert state.link == replace(new, is_proved=True, replaces=None)
    assert commands == (SaveLink(state.link), Serve(GRANT))
    assert proof_of(state) is ProofStanding.HOLDS


def test_a_token_is_refreshed_before_its_end_counted_from_its_issue() -> None:
    state, _ = after(OUT, (20, heard(make_grant(issued_at=5), draw=0.0)))

    assert next_moment(state) == moment(5 + 2880)


def test_a_token_that_ends_unrefreshed_is_withdrawn() -> None:
    refreshing = replace(IN_HAND, ask_at=None)

    assert next_moment(refreshing) == moment(3600)
    assert after(refreshing, (3599, TimePassed())) == (refreshing, ())
    assert after(refreshing, (3600, TimePassed())) == (replace(refreshing, grant=None), (Withdraw(),))


def test_a_late_refresh_is_withdrawn_and_asked_for_at_once() -> None:
    assert after(IN_HAND, (9999, TimePassed()))[1] == (Withdraw(), AskRefresh(LINK))


# -- the policy, refreshing and proving

ENDED_OR_ALARMED = {AnswerKind.MISCONFIGURED, AnswerKind.REVOKED}


@pytest.mark.parametrize("kind", sorted(set(EXAMPLES) - ENDED_OR_ALARMED))
@pytest.mark.parametrize("link", [LINK, NEW_LINK], ids=["refreshing", "proving"])
def test_a_refresh_that_brings_nothing_final_is_repeated(link: Link, kind: AnswerKind) -> None:
    out = replace(OUT, link=link, grant=GRANT, attempt=4)

    state, commands = after(out, (100, heard(EXAMPLES[kind])))

    wait = 1234 * 1.05 if kind is AnswerKind.TOLD_TO_WAIT else 10
    assert state.ask_at == pytest.approx(100 + wait)
    assert (state.link, state.grant, state.attempt) == (link, GRANT, 5)
    assert commands == ()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (NO_ANSWER, Trouble.NO_NETWORK),
        (EXAMPLES[AnswerKind.CLOCK_NOT_SET], Trouble.CLOCK_NOT_SET),
        (EXAMPLES[AnswerKind.CAPTIVE_PORTAL], Trouble.CAPTIVE_PORTAL),
        (EXAMPLES[AnswerKind.UNCLEAR], Trouble.PROVIDER_UNAVAILABLE),
        (SlowDown(), Trouble.PROVIDER_UNAVAILABLE),
        (DENIED, Trouble.PROVIDER_UNAVAILABLE),
        (PAIR_OVER, Trouble.PROVIDER_UNAVAILABLE),
        (make_pair(), Trouble.PROVIDER_UNAVAILABLE),
        (REVOKED, Trouble.PROVIDER_UNAVAILABLE),
    ],
)
def test_what_is_in_the_way_is_told_until_a_refresh_brings_a_token(answer: Answer, trouble: Trouble) -> None:
    state, _ = after(OUT, (1, heard(answer)))

    assert state.trouble is trouble
    assert after(replace(state, ask_at=None), (99, heard(GRANT)))[0].trouble is Trouble.NONE


def test_a_refresh_that_cannot_leave_this_machine_keeps_the_link_and_says_what_to_mend() -> None:
    state, commands = after(replace(OUT, grant=GRANT), (100, heard(CANNOT_BE_SENT, draw=0.5)))

    assert (state.link, state.grant, state.link.mark) == (LINK, GRANT, None)
    assert (state.trouble, state.refusal) == (Trouble.MISCONFIGURED, CANNOT_BE_SENT.refusal)
    assert state.ask_at == moment(100)
    assert commands == ()

    mended, _ = after(replace(state, ask_at=None), (101, heard(GRANT)))
    assert (mended.trouble, mended.refusal) == (Trouble.NONE, None)


def test_a_proof_that_cannot_leave_this_machine_is_open() -> None:
    state, _ = after(Keeping(NEW_LINK), (1, heard(CANNOT_BE_SENT)))

    assert proof_of(state) is ProofStanding.OPEN


def test_slow_down_is_not_answered_by_asking_at_once() -> None:
    assert after(OUT, (100, heard(SlowDown(), draw=0.0)))[0].ask_at == moment(105)


def test_a_told_link_is_kept_though_its_client_is_not_accepted() -> None:
    state, commands = after(replace(OUT, grant=GRANT), (100, heard(MISCONFIGURED)))

    assert (state.link, state.grant) == (LINK, GRANT)
    assert (state.trouble, state.refusal) == (Trouble.MISCONFIGURED, MISCONFIGURED)
    assert state.ask_at == moment(100 + 3600)
    assert commands == ()


def test_a_link_told_before_its_proof_is_kept_though_its_client_is_not_accepted() -> None:
    state, commands = after(Keeping(NEW_LINK), (50, LinkTold()), (100, heard(MISCONFIGURED)))

    assert state.link == NEW_LINK
    assert proof_of(state) is ProofStanding.OPEN
    assert commands == ()


def test_being_told_outlasts_a_refresh() -> None:
    state, _ = after(Keeping(NEW_LINK), (50, LinkTold()), (100, heard(GRANT)))

    assert state.is_told


def test_a_new_link_whose_client_is_not_accepted_is_given_up() -> None:
    state, commands = after(Keeping(NEW_LINK), (1, heard(MISCONFIGURED)))

    assert state.link == replace(NEW_LINK, mark=Mark.MISCONFIGURED)
    assert (state.trouble, state.refusal) == (Trouble.MISCONFIGURED, MISCONFIGURED)
    assert commands == (SaveLink(state.link), Withdraw())
    assert proof_of(state) is ProofStanding.REFUSED
    assert next_moment(state) == NEVER


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 10), (0.999, 19.99)])
def test_one_invalid_grant_is_doubted_for_at_least_ten_seconds(draw: float, wait: float) -> None:
    state, commands = after(replace(OUT, grant=GRANT), (100, heard(REVOKED, draw)))

    assert state.ask_at == pytest.approx(100 + wait)
    assert (state.link, state.grant) == (LINK, GRANT)
    assert commands == ()


def test_invalid_grant_twice_marks_the_link_and_withdraws_its_token() -> None:
    state, commands = after(
        replace(OUT, grant=GRANT), (100, heard(REVOKED)), (115, TimePassed()), (116, heard(REVOKED))
    )

    assert state.link == replace(LINK, mark=Mark.REVOKED)
    assert (state.grant, state.trouble, state.refusal) == (None, Trouble.REVOKED, REVOKED)
    assert commands == (SaveLink(state.link), Withdraw())


def test_other_trouble_in_between_does_not_take_the_doubt_away() -> None:
    state, _ = after(OUT, (100, heard(REVOKED)), (115, TimePassed()), (116, heard(NO_ANSWER)))

    assert state.is_doubted
    assert after(state, (120, TimePassed()), (121, heard(REVOKED)))[0].link.mark is Mark.REVOKED


def test_a_token_in_between_takes_the_doubt_away() -> None:
    state, _ = after(OUT, (100, heard(REVOKED)), (115, TimePassed()), (116, heard(GRANT)))

    assert not state.is_doubted


def test_a_second_invalid_grant_that_nobody_asked_for_changes_nothing() -> None:
    state, _ = after(OUT, (100, heard(REVOKED)))

    assert after(state, (101, heard(REVOKED))) == (state, ())


def test_a_late_grant_is_stored_for_its_refresh_token() -> None:
    grant = make_grant(refresh_token="rotated")

    state, commands = after(replace(OUT, ask_at=moment(130)), (101, heard(grant)))

    assert commands == (SaveLink(state.link), Serve(grant))


def test_a_late_grant_does_not_bring_a_marked_link_back() -> None:
    state = begin(replace(LINK, mark=Mark.REVOKED), moment(0))

    assert after(state, (1, heard(GRANT))) == (state, ())


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        (Keeping(NEW_LINK), ProofStanding.OPEN),
        (Keeping(NEW_LINK, is_doubted=True), ProofStanding.DOUBTED),
        (Keeping(LINK), ProofStanding.HOLDS),
        (Keeping(replace(NEW_LINK, mark=Mark.REVOKED)), ProofStanding.REFUSED),
        (Keeping(replace(LINK, mark=Mark.REVOKED)), ProofStanding.REFUSED),
    ],
)
def test_how_the_proof_stands(state: Keeping, standing: ProofStanding) -> None:
    assert proof_of(state) is standing


# -- wishes for a token


@pytest.mark.parametrize(
    ("at", "min_lifetime", "refreshes"),
    [
        (100, 60, False),
        (100, 3500, False),
        (100, 3501, True),
        (60, 99_999, False),
        (61, 99_999, True),
        (3600, 0, True),
    ],
    ids=["long enough", "just", "too short", "as fresh as can be", "a fresher one to be had", "ended"],
)
def test_a_token_too_short_for_someone_is_refreshed_early(
    at: float, min_lifetime: float, refreshes: bool
) -> None:
    state, commands = after(replace(IN_HAND, ask_at=moment(9999)), (at, TokenWanted(seconds(min_lifetime))))

    assert commands == ((AskRefresh(LINK),) if refreshes else ())
    assert (state.ask_at is None) == refreshes


@pytest.mark.parametrize(
    ("at", "short_lived", "refreshes"),
    [(9, 1, False), (10, 1, True), (19, 2, False), (20, 2, True), (59, 9, False), (60, 9, True)],
)
def test_a_token_of_a_few_seconds_is_refreshed_at_its_end_and_after_longer_and_longer_waits(
    at: float, short_lived: int, refreshes: bool
) -> None:
    short: TokenGrant = make_grant(expires_in=10)
    state = Keeping(LINK, short, ask_at=moment(999), short_lived=short_lived)

    assert after(state, (at, TokenWanted(seconds(5))))[1] == ((AskRefresh(LINK),) if refreshes else ())


@pytest.mark.parametrize(
    ("lifetime", "waits"),
    [
        (1, [1, 2, 4, 8, 16, 32, 60, 60]),
        (20, [20, 40, 60, 60]),
        (59, [59, 60, 60]),
        (60, [60, 60]),
        (61, [60, 60]),
    ],
)
def test_tokens_that_end_within_a_minute_are_refreshed_at_their_end_then_ever_more_rarely_down_to_once_a_minute(
    lifetime: float, waits: list[float]
) -> None:
    state, at, found = IN_HAND, 0.0, []
    for _ in waits:
        state, _ = after(
            replace(state, ask_at=None), (at, heard(make_grant(issued_at=at, expires_in=lifetime)))
        )
        assert state.ask_at is not None
        found.append(state.ask_at - at)
        at = state.ask_at

    assert found == waits
    assert after(replace(state, ask_at=None), (at, heard(make_grant(issued_at=at))))[0].short_lived == 0


@pytest.mark.parametrize(("at", "refreshes"), [(29, False), (30, True)])
def test_a_rejected_token_is_refreshed_early_though_it_would_last(at: float, refreshes: bool) -> None:
    wish = TokenWanted(seconds(0), GRANT.access_token)

    assert after(IN_HAND, (at, wish))[1] == ((AskRefresh(LINK),) if refreshes else ())


def test_a_rejected_token_that_is_not_in_hand_any_more_is_no_reason_to_refresh() -> None:
    assert after(IN_HAND, (100, TokenWanted(seconds(0), Secret("another"))))[1] == ()


@pytest.mark.parametrize(("at", "is_near"), [(0, False), (280, True)])
def test_those_who_want_a_token_wait_only_for_a_refresh_that_is_near(at: float, is_near: bool) -> None:
    assert is_refresh_near(Keeping(LINK, ask_at=moment(300)), moment(at)) == is_near


def test_a_wish_does_not_bring_the_first_refresh_forward() -> None:
    begun = begin(LINK, moment(7), draw=0.5)

    assert after(begun, (8, TokenWanted(seconds(60)))) == (begun, ())


def test_many_wishes_share_one_refresh() -> None:
    wish = TokenWanted(seconds(3501))

    assert after(IN_HAND, (100, wish))[1] == (AskRefresh(LINK),)
    assert after(IN_HAND, (100, wish), (100, wish), (101, wish))[1] == ()


def test_wishes_do_not_shorten_the_waits_after_a_failure() -> None:
    failed = replace(IN_HAND, ask_at=moment(3300), attempt=1)

    assert after(failed, (3290, TokenWanted(seconds(999)))) == (failed, ())


# -- the disk


def test_a_link_that_cannot_be_stored_is_stored_a_minute_later() -> None:
    failed, _ = after(IN_HAND, (100, SaveFailed()))
    assert failed.trouble is Trouble.STORAGE
    assert next_moment(failed) == moment(160)

    _, commands = after(failed, (159, TimePassed()), (160, TimePassed()))

    assert commands == (SaveLink(LINK),)


def test_a_link_that_is_stored_at_last_is_well() -> None:
    assert after(IN_HAND, (100, SaveFailed()), (160, TimePassed()), (160, LinkSaved())) == (IN_HAND, ())


def test_a_refresh_meanwhile_does_not_hide_that_the_disk_fails() -> None:
    failed, _ = after(IN_HAND, (100, SaveFailed()))

    state, commands = after(replace(failed, ask_at=None), (110, heard(SAME_REFRESH_TOKEN)))

    assert (state.trouble, state.save_at) == (Trouble.STORAGE, moment(160))
    assert commands == (Serve(SAME_REFRESH_TOKEN),)


def test_a_disk_that_recovers_leaves_the_other_trouble_told() -> None:
    offline = replace(IN_HAND, trouble=Trouble.NO_NETWORK)

    assert after(offline, (1, LinkSaved()))[0].trouble is Trouble.NO_NETWORK


@pytest.mark.parametrize("refusal", [REVOKED, MISCONFIGURED], ids=["revoked", "misconfigured"])
def test_a_disk_that_recovers_brings_out_why_the_link_is_not_used(refusal: Refusal) -> None:
    given_up = replace(IN_HAND, trouble=refusal.trouble, refusal=refusal)

    state, _ = after(given_up, (100, SaveFailed()), (160, TimePassed()), (160, LinkSaved()))

    assert state.trouble is refusal.trouble
