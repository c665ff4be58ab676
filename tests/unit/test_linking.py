from dataclasses import replace
from typing import TypeVar

import pytest

from device_auth.core.linking import (
    PROOF_TIMEOUT,
    QUICKEST_APPROVAL,
    TROUBLE_TOLD_FOR,
    Answered,
    Cancelled,
    Command,
    DropCall,
    Event,
    ForgetPending,
    GrantFound,
    GrantSubmitted,
    KeepPending,
    Linked,
    LinkLost,
    LinkRequested,
    OwnerBack,
    OwnerLeft,
    PairFound,
    PollToken,
    ProofChanged,
    ProveGrant,
    ProveStore,
    Proving,
    RequestCodePair,
    Requesting,
    Saved,
    SaveGrant,
    Saving,
    State,
    StoreFailed,
    StoreProved,
    TellAgain,
    UndoSave,
    Unlinked,
    UseLink,
    Waiting,
    next_moment,
    step,
    word_of,
)
from device_auth.core.models import (
    FOREVER,
    NEVER,
    Answer,
    CodePair,
    Flow,
    Pending,
    PollRules,
    ProofStanding,
    Refusal,
    Secret,
    SlowDown,
    TimePassed,
)
from device_auth.core.policy import AnswerKind
from device_auth.core.states import StateWord, Trouble
from tests.values import (
    CANARY,
    CANNOT_BE_SENT,
    DENIED,
    EXAMPLES,
    MISCONFIGURED,
    NO_ANSWER,
    PAIR_OVER,
    REVOKED,
    TIMED_OUT,
    make_grant,
    make_pair,
    make_unclear,
    moment,
    seconds,
)

LWA = PollRules(first_at_once=True, slow_down_doubles=True)
RFC8628 = PollRules(first_at_once=False, slow_down_doubles=False)
PRESS = LinkRequested(LWA)
ASKED = Requesting(PRESS, is_proved=True)
"""The question for a pair is out, and a link could be saved."""
PAIR = make_pair()
GRANT = make_grant()
TOKEN = Secret(f"{CANARY}-refresh")
"""Its refresh token."""
BROUGHT = GrantSubmitted(PRESS, TOKEN, Flow.AUTHORIZATION_CODE)
DISK_FULL = StoreFailed("cannot write link.json", "Free some space.")

S = TypeVar("S", bound=State)


def after(state: State, *events: tuple[float, Event]) -> tuple[State, tuple[Command, ...]]:
    """Return the state after the last event, and that event's commands."""
    commands: tuple[Command, ...] = ()
    for at, event in events:
        state, commands = step(state, event, moment(at))
    return state, commands


def state_after(kind: type[S], state: State, *events: tuple[float, Event]) -> S:
    found, _ = after(state, *events)
    assert isinstance(found, kind)
    return found


def heard(answer: Answer, draw: float = 0.5) -> Answered:
    return Answered(answer, draw)


def waiting(request: LinkRequested = PRESS, *, poll_at: float | None = None) -> Waiting:
    """Return a state in which a poll is out, unless ``poll_at`` says when the next is due."""
    return Waiting(request, PAIR, PAIR.interval, None if poll_at is None else moment(poll_at))


# -- from a press to a link


def test_a_press_asks_for_a_code_and_proves_the_disk_meanwhile() -> None:
    state, commands = after(Unlinked(), (0, PRESS))

    assert state == Requesting(PRESS)
    assert commands == (RequestCodePair(), ProveStore())


@pytest.mark.parametrize("is_disk_first", [True, False])
def test_a_code_is_shown_once_it_is_there_and_the_disk_proved(*, is_disk_first: bool) -> None:
    first, second = (StoreProved(), heard(PAIR)) if is_disk_first else (heard(PAIR), StoreProved())

    asked, commands = after(Unlinked(), (0, PRESS), (1, first))

    assert isinstance(asked, Requesting)
    assert commands == ()
    shown, commands = after(asked, (2, second))
    assert isinstance(shown, Waiting)
    assert (shown.pair, shown.poll_at) == (PAIR, moment(2))
    assert commands == (KeepPending(PAIR, PAIR.interval),)


@pytest.mark.parametrize("earlier", [(), ((0, heard(PAIR)),)], ids=["asked", "answered"])
def test_a_disk_that_cannot_store_a_link_means_no_code(earlier: tuple[tuple[float, Event], ...]) -> None:
    state, commands = after(Unlinked(), (0, PRESS), *earlier, (0, DISK_FULL))

    assert isinstance(state, Unlinked)
    assert commands == (DropCall(),)
    assert state.trouble is Trouble.STORAGE
    assert state.refusal is not None
    assert state.refusal.hint == "Free some space."
    assert state.clears_at == NEVER


def test_a_code_pair_is_shown_and_kept_over_a_restart() -> None:
    state, commands = after(ASKED, (1, heard(PAIR)))

    assert isinstance(state, Waiting)
    assert state.pair == PAIR
    assert commands == (KeepPending(PAIR, PAIR.interval),)


@pytest.mark.parametrize(("rules", "first_poll"), [(LWA, 1), (RFC8628, 31)], ids=["lwa", "rfc8628"])
def test_the_first_poll_goes_out_when_the_dialect_says(rules: PollRules, first_poll: float) -> None:
    state = state_after(Waiting, Requesting(LinkRequested(rules), is_proved=True), (1, heard(PAIR)))

    assert state.poll_at == moment(first_poll)
    assert next_moment(state) == moment(first_poll)


def test_while_a_poll_is_out_there_is_no_next_one() -> None:
    state, commands = after(waiting(poll_at=30), (30, TimePassed()))

    assert isinstance(state, Waiting)
    assert state.poll_at is None
    assert commands == (PollToken(PAIR),)
    assert next_moment(state) == NEVER


def test_nobody_polls_before_it_is_time() -> None:
    state = waiting(poll_at=30)

    assert after(state, (29.9, TimePassed())) == (state, ())


def test_the_next_poll_is_counted_from_the_end_of_the_last_answer() -> None:
    state = state_after(Waiting, waiting(), (47, heard(Pending())))

    assert state.poll_at == moment(47 + 30)


def test_a_grant_is_saved_at_once() -> None:
    state, commands = after(waiting(), (40, heard(GRANT)))

    assert state == Saving(PRESS, TOKEN)
    assert commands == (SaveGrant(TOKEN),)


def test_a_grant_that_comes_after_its_poll_was_given_up_is_saved_all_the_same() -> None:
    _, commands = after(waiting(), (40, heard(TIMED_OUT)), (41, heard(GRANT)))

    assert commands == (SaveGrant(TOKEN),)


def test_a_saved_grant_is_proved() -> None:
    state, commands = after(Saving(PRESS, TOKEN), (40, Saved()))

    assert state == Proving(PRESS, moment(40 + PROOF_TIMEOUT))
    assert commands == (ForgetPending(), ProveGrant())


def test_a_proved_link_is_told() -> None:
    proving = Proving(PRESS, moment(50))

    assert after(proving, (41, ProofChanged(ProofStanding.HOLDS, Trouble.NONE))) == (Linked(), (UseLink(),))


# -- the policy, asking for a pair

WAITED_OUT_WHEN_ASKING = set(EXAMPLES) - {AnswerKind.MISCONFIGURED, AnswerKind.CANNOT_BE_SENT}


@pytest.mark.parametrize("kind", sorted(WAITED_OUT_WHEN_ASKING))
def test_a_request_that_brings_nothing_final_is_repeated(kind: AnswerKind) -> None:
    asked_thrice = replace(ASKED, attempt=3)

    state = state_after(Requesting, asked_thrice, (100, heard(EXAMPLES[kind])))

    wait = {AnswerKind.TOLD_TO_WAIT: 1234 * 1.05, AnswerKind.SLOW_DOWN: 5 * 1.05}.get(kind, 4)
    assert state.ask_at == pytest.approx(100 + wait)
    assert state.attempt == 4
    assert after(state, (101 + wait, TimePassed()))[1] == (RequestCodePair(),)


def test_a_request_that_cannot_leave_this_machine_ends_with_what_to_mend() -> None:
    state, commands = after(ASKED, (5, heard(CANNOT_BE_SENT)))

    assert state == Unlinked(Trouble.MISCONFIGURED, CANNOT_BE_SENT.refusal)
    assert commands == ()


def test_a_client_that_is_not_accepted_ends_a_request() -> None:
    state, commands = after(ASKED, (5, heard(MISCONFIGURED)))

    assert state == Unlinked(Trouble.MISCONFIGURED, MISCONFIGURED, NEVER)
    assert commands == ()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (NO_ANSWER, Trouble.NO_NETWORK),
        (TIMED_OUT, Trouble.PROVIDER_UNAVAILABLE),
        (make_unclear(), Trouble.PROVIDER_UNAVAILABLE),
        (EXAMPLES[AnswerKind.CLOCK_NOT_SET], Trouble.CLOCK_NOT_SET),
        (EXAMPLES[AnswerKind.CAPTIVE_PORTAL], Trouble.CAPTIVE_PORTAL),
        (Pending(), Trouble.NONE),
        (SlowDown(), Trouble.NONE),
    ],
)
@pytest.mark.parametrize("asked", [ASKED, waiting()], ids=["requesting", "waiting"])
def test_what_is_in_the_way_is_told_meanwhile(asked: State, answer: Answer, trouble: Trouble) -> None:
    state, _ = after(asked, (1, heard(answer)))

    assert state.trouble is trouble


def test_an_answer_to_no_question_changes_nothing() -> None:
    state = Requesting(PRESS, ask_at=moment(60), attempt=7)

    assert after(state, (30, heard(MISCONFIGURED))) == (state, ())


@pytest.mark.parametrize("event", [StoreProved(), DISK_FULL], ids=["proved", "failed"])
def test_a_disk_that_nobody_asked_for_changes_nothing(event: Event) -> None:
    assert after(ASKED, (30, event)) == (ASKED, ())


def test_an_answer_is_heard_once_though_the_disk_is_not_proved() -> None:
    held = Requesting(PRESS, pair=PAIR)

    assert after(Requesting(PRESS), (30, heard(PAIR)), (31, heard(DENIED))) == (held, ())


def test_the_moment_to_ask_is_waited_for() -> None:
    state = Requesting(PRESS, ask_at=moment(60), attempt=7)

    assert next_moment(state) == moment(60)
    assert after(state, (59, TimePassed())) == (state, ())


def test_a_request_is_given_up_when_its_time_is_over() -> None:
    state = Requesting(PRESS, ask_at=moment(150), trouble=Trouble.NO_NETWORK, give_up_at=moment(120))

    given_up, commands = after(state, (120, TimePassed()))

    assert next_moment(state) == moment(120)
    assert given_up == Unlinked(Trouble.NO_NETWORK, None, moment(120 + TROUBLE_TOLD_FOR))
    assert commands == (DropCall(),)


def test_a_request_given_up_without_a_trouble_leaves_nothing_to_clear() -> None:
    assert after(Requesting(PRESS, give_up_at=moment(120)), (120, TimePassed()))[0] == Unlinked()


# -- the policy, polling

ENDED_BY = {
    AnswerKind.PAIR_OVER: Trouble.EXPIRED,
    AnswerKind.REVOKED: Trouble.EXPIRED,
    AnswerKind.DENIED: Trouble.DENIED,
    AnswerKind.MISCONFIGURED: Trouble.MISCONFIGURED,
}


@pytest.mark.parametrize(("kind", "trouble"), ENDED_BY.items())
def test_an_understood_final_answer_ends_the_pair(kind: AnswerKind, trouble: Trouble) -> None:
    refusal = EXAMPLES[kind]
    assert isinstance(refusal, Refusal)

    state, commands = after(waiting(), (100, heard(refusal)))

    assert isinstance(state, Unlinked)
    assert state.trouble is trouble
    assert state.refusal == replace(refusal, trouble=trouble)
    assert commands == (ForgetPending(),)


@pytest.mark.parametrize("kind", sorted(set(EXAMPLES) - set(ENDED_BY)))
def test_a_poll_that_brings_nothing_final_is_repeated_after_the_interval(kind: AnswerKind) -> None:
    state, commands = after(waiting(), (100, heard(EXAMPLES[kind])))

    wait = {AnswerKind.TOLD_TO_WAIT: 1234, AnswerKind.SLOW_DOWN: 60}.get(kind, 30)
    assert isinstance(state, Waiting)
    assert state.poll_at == moment(100 + wait)
    assert commands == ((KeepPending(PAIR, seconds(60)),) if kind is AnswerKind.SLOW_DOWN else ())


def test_a_slower_interval_stays_for_this_pair() -> None:
    state = state_after(Waiting, waiting(), (100, heard(SlowDown())), (160, TimePassed()))
    state = state_after(Waiting, state, (161, heard(Pending())))

    assert state.interval == seconds(60)
    assert state.poll_at == moment(221)


def test_polls_that_time_out_in_a_row_wait_longer_each_time() -> None:
    rules = waiting(LinkRequested(RFC8628))
    state = state_after(Waiting, replace(rules, interval=seconds(5)), (100, heard(TIMED_OUT)))
    assert state.poll_at == moment(110)

    state = state_after(Waiting, state, (110, TimePassed()), (130, heard(TIMED_OUT)))
    assert state.poll_at == moment(150)
    assert state.interval == seconds(5)


def test_any_answer_ends_a_row_of_time_outs() -> None:
    state = state_after(Waiting, waiting(), (100, heard(TIMED_OUT)), (160, TimePassed()))
    assert state.timeouts == 1

    assert state_after(Waiting, state, (161, heard(NO_ANSWER))).timeouts == 0


@pytest.mark.parametrize("answer", [Pending(), DENIED, PAIR_OVER, MISCONFIGURED, NO_ANSWER, PAIR])
def test_an_answer_to_no_poll_changes_nothing(answer: Answer) -> None:
    state = waiting(poll_at=60)

    assert after(state, (50, heard(answer))) == (state, ())


def test_a_pair_as_the_answer_to_a_poll_is_waited_out() -> None:
    assert state_after(Waiting, waiting(), (50, heard(PAIR))).poll_at == moment(80)


# -- the end of a pair


def test_a_pair_is_over_at_its_own_deadline_even_if_a_poll_is_due() -> None:
    state, commands = after(waiting(poll_at=600), (600, TimePassed()))

    assert isinstance(state, Unlinked)
    assert state.trouble is Trouble.EXPIRED
    assert commands == (ForgetPending(),)


def test_the_deadline_is_waited_for_if_it_comes_before_the_next_poll() -> None:
    assert next_moment(waiting(poll_at=620)) == moment(600)


def test_a_poll_that_is_out_at_the_deadline_may_still_bring_the_grant() -> None:
    _, commands = after(waiting(), (600, TimePassed()), (601, heard(GRANT)))

    assert commands == (SaveGrant(TOKEN),)


def test_a_pair_that_ran_out_during_a_poll_is_over_after_its_answer() -> None:
    state = state_after(Waiting, waiting(), (600, TimePassed()), (605, heard(Pending())))

    assert next_moment(state) == moment(600)
    assert isinstance(after(state, (605, TimePassed()))[0], Unlinked)


@pytest.mark.parametrize("answer", [None, PAIR_OVER, REVOKED], ids=["deadline", "refused", "invalid_grant"])
def test_a_pair_that_is_over_is_renewed_while_someone_is_there(answer: Answer | None) -> None:
    request = LinkRequested(LWA, renewals=2, present_until=moment(700))
    end: Event = TimePassed() if answer is None else heard(answer)
    state = waiting(request, poll_at=630 if answer is None else None)

    renewed, commands = after(state, (600, end))

    assert renewed == Requesting(replace(request, renewals=1))
    assert commands == (ForgetPending(), RequestCodePair(), ProveStore())


@pytest.mark.parametrize(
    "request_",
    [
        LinkRequested(LWA, renewals=0),
        LinkRequested(LWA, renewals=2, present_until=moment(599)),
    ],
    ids=["none left", "nobody there"],
)
def test_a_pair_that_is_over_is_not_renewed_for_nobody(request_: LinkRequested) -> None:
    state = state_after(Unlinked, waiting(request_, poll_at=630), (600, TimePassed()))

    assert state.trouble is Trouble.EXPIRED


@pytest.mark.parametrize("answer", [DENIED, MISCONFIGURED])
def test_a_refusal_by_a_person_or_for_the_client_is_not_renewed(answer: Answer) -> None:
    state, _ = after(waiting(LinkRequested(LWA, renewals=2)), (10, heard(answer)))

    assert isinstance(state, Unlinked)


@pytest.mark.parametrize("answer", [DENIED, PAIR_OVER])
def test_denied_and_expired_clear_after_ten_minutes(answer: Answer) -> None:
    state = state_after(Unlinked, waiting(), (100, heard(answer)))

    assert next_moment(state) == moment(700)
    assert after(state, (699, TimePassed()))[0] == state
    assert after(state, (700, TimePassed()))[0] == Unlinked()


def test_a_press_clears_what_ended_the_last_attempt() -> None:
    state, _ = after(waiting(), (100, heard(DENIED)), (110, PRESS))

    assert state == Requesting(PRESS)


def test_each_code_is_asked_for_as_long_as_the_press_is_remembered() -> None:
    press = LinkRequested(LWA, renewals=1, give_up_after=seconds(120))

    first = state_after(Requesting, Unlinked(), (10, press))
    renewed = state_after(Requesting, waiting(press, poll_at=630), (600, TimePassed()))

    assert first.give_up_at == moment(130)
    assert renewed.give_up_at == moment(720)


def test_a_press_while_a_code_is_asked_for_lets_it_be_asked_for_longer() -> None:
    press = LinkRequested(LWA, give_up_after=seconds(120))

    state = state_after(Requesting, Unlinked(), (0, press), (100, press))

    assert state.give_up_at == moment(220)


# -- presses, cancels and losses on the way


@pytest.mark.parametrize("state", [Requesting(PRESS), waiting()], ids=["requesting", "waiting"])
def test_a_second_press_tells_again_and_shows_that_someone_is_there(state: Requesting | Waiting) -> None:
    press = LinkRequested(LWA, renewals=2, present_until=moment(900), give_up_after=seconds(700))
    first = replace(press, renewals=1, present_until=moment(300), give_up_after=seconds(120))

    pressed, commands = after(replace(state, request=first), (200, press))

    assert pressed == replace(state, request=press)
    assert commands == (TellAgain(),)


def test_a_second_press_takes_nothing_back() -> None:
    state, _ = after(
        waiting(LinkRequested(LWA, renewals=2)), (1, LinkRequested(LWA, present_until=moment(5)))
    )

    assert state == waiting(LinkRequested(LWA, renewals=2))


def test_a_press_when_linked_tells_again() -> None:
    assert after(Linked(Trouble.DENIED, DENIED, moment(600)), (1, PRESS)) == (Linked(), (TellAgain(),))


def test_another_link_is_asked_for_only_on_purpose() -> None:
    again = LinkRequested(LWA, again=True)

    assert after(Linked(), (1, again)) == (Requesting(again), (RequestCodePair(), ProveStore()))


def test_asking_again_without_a_link_is_asking() -> None:
    assert after(Unlinked(), (1, LinkRequested(LWA, again=True)))[0] == Requesting(PRESS)


CANCELLED: dict[str, tuple[State, tuple[Command, ...]]] = {
    "requesting": (Requesting(PRESS), (DropCall(),)),
    "waiting": (waiting(), (DropCall(), ForgetPending())),
    "between saves": (Saving(PRESS, TOKEN, save_at=moment(60)), (UndoSave(), ForgetPending())),
    "proving": (Proving(PRESS, moment(50)), (DropCall(), UndoSave())),
}


@pytest.mark.parametrize(("state", "undone"), CANCELLED.values(), ids=CANCELLED)
def test_a_cancel_works_at_once(state: State, undone: tuple[Command, ...]) -> None:
    assert after(state, (45, Cancelled())) == (Unlinked(), undone)


@pytest.mark.parametrize(("state", "undone"), CANCELLED.values(), ids=CANCELLED)
def test_a_cancel_leaves_a_former_link_in_force(
    state: Requesting | Waiting | Saving | Proving, undone: tuple[Command, ...]
) -> None:
    again = replace(state, request=LinkRequested(LWA, again=True))

    assert after(again, (45, Cancelled())) == (Linked(), undone)


def test_a_cancel_during_a_save_waits_for_the_disk_and_undoes_it() -> None:
    saving, commands = after(Saving(PRESS, TOKEN), (41, Cancelled()))
    assert isinstance(saving, Saving)
    assert commands == ()

    assert after(saving, (42, Saved())) == (Unlinked(), (UndoSave(), ForgetPending()))


def test_a_cancelled_save_that_fails_is_not_repeated() -> None:
    state, commands = after(Saving(PRESS, TOKEN), (41, Cancelled()), (42, DISK_FULL))

    assert isinstance(state, Unlinked)
    assert commands == (UndoSave(), ForgetPending())


@pytest.mark.parametrize("state", [Unlinked(), Linked()])
def test_there_is_nothing_to_cancel_at_rest(state: State) -> None:
    assert after(state, (1, Cancelled())) == (state, ())


def test_a_lost_link_is_told_with_its_refusal() -> None:
    assert after(Linked(), (1, LinkLost(REVOKED))) == (Unlinked(Trouble.REVOKED, REVOKED), ())


def test_an_unlinked_speaker_is_told_without_a_trouble() -> None:
    assert after(Linked(), (1, LinkLost())) == (Unlinked(), ())


@pytest.mark.parametrize(("state", "_undone"), CANCELLED.values(), ids=CANCELLED)
def test_a_former_link_that_is_lost_on_the_way_is_not_gone_back_to(
    state: Requesting | Waiting | Saving | Proving, _undone: object
) -> None:
    again = replace(state, request=LinkRequested(LWA, again=True))

    assert after(again, (44, LinkLost()))[0] == state
    assert isinstance(after(again, (44, LinkLost()), (45, Cancelled()))[0], Unlinked)


# -- while the owner is away from the page, to approve


def told_pair(request: LinkRequested = PRESS, *, poll_at: float) -> Waiting:
    """Return a state in which no poll of the pair has been postponed yet."""
    return replace(waiting(request, poll_at=poll_at), may_postpone=True)


def test_a_poll_due_soon_after_the_owner_left_is_postponed_by_one_interval() -> None:
    state, commands = after(told_pair(poll_at=60), (55, OwnerLeft()))

    assert commands == ()
    assert next_moment(state) == moment(90)
    assert after(state, (89, TimePassed())) == (state, ())
    assert after(state, (90, TimePassed()))[1] == (PollToken(PAIR),)


def test_an_owner_who_is_back_after_the_interval_is_polled_for_at_once() -> None:
    state, _ = after(told_pair(poll_at=60), (55, OwnerLeft()), (72, OwnerBack()))

    assert next_moment(state) == moment(72)
    assert after(state, (72, TimePassed()))[1] == (PollToken(PAIR),)


def test_an_owner_who_is_back_before_the_interval_is_over_is_polled_for_at_its_end() -> None:
    state, _ = after(told_pair(poll_at=60), (55, OwnerLeft()), (58, OwnerBack()))

    assert next_moment(state) == moment(60)


def test_a_poll_due_later_than_an_owner_needs_to_approve_is_not_postponed() -> None:
    state = told_pair(poll_at=60)

    assert after(state, (60 - QUICKEST_APPROVAL - 0.1, OwnerLeft())) == (state, ())


def test_one_poll_of_a_pair_is_postponed_and_no_more() -> None:
    state = state_after(
        Waiting, told_pair(poll_at=60), (55, OwnerLeft()), (90, TimePassed()), (91, heard(Pending()))
    )

    assert after(state, (120, OwnerLeft())) == (state, ())
    assert after(state, (120, OwnerBack())) == (state, ())
    assert state.poll_at == moment(121)


def test_an_owner_who_leaves_twice_postpones_once() -> None:
    state, _ = after(told_pair(poll_at=60), (55, OwnerLeft()))

    assert after(state, (85, OwnerLeft())) == (state, ())


def test_an_owner_who_comes_back_without_having_left_changes_nothing() -> None:
    state = told_pair(poll_at=60)

    assert after(state, (55, OwnerBack())) == (state, ())


@pytest.mark.parametrize(("poll_at", "postponed"), [(539, 569), (540, 540), (560, 560)])
def test_a_poll_is_postponed_only_if_another_still_fits_in_after_it(poll_at: float, postponed: float) -> None:
    state, _ = after(told_pair(poll_at=poll_at), (poll_at - 1, OwnerLeft()))

    assert next_moment(state) == moment(postponed)


@pytest.mark.parametrize("event", [OwnerLeft(), OwnerBack()], ids=["left", "back"])
def test_while_a_poll_is_out_the_owner_may_come_and_go(event: Event) -> None:
    state = replace(waiting(), may_postpone=True)

    assert after(state, (55, event)) == (state, ())


@pytest.mark.parametrize(("within", "may"), [(0, False), (8, True)])
def test_nothing_is_postponed_where_it_is_not_wished(within: float, may: bool) -> None:
    asked = replace(ASKED, request=LinkRequested(LWA, postpones_within=seconds(within)))

    assert state_after(Waiting, asked, (1, heard(PAIR))).may_postpone == may


def test_nothing_is_postponed_after_a_restart_for_it_may_have_been_before() -> None:
    state, _ = after(Unlinked(), (30, PairFound(PRESS, PAIR, seconds(30))))

    assert after(state, (59, OwnerLeft())) == (state, ())


# -- how often Amazon is asked


QUICK = PollRules(first_at_once=True, slow_down_doubles=True, at_most=seconds(5), hurries_after=seconds(5))


def polled(
    rules: PollRules = QUICK,
    *,
    answer: Answer | None = None,
    pair: CodePair = PAIR,
    sent_at: float = 10,
    at: float = 10,
) -> Waiting:
    """Return a state in which a poll for a pair has just been answered."""
    state = replace(ASKED, request=LinkRequested(rules))
    return state_after(
        Waiting, state, (sent_at, heard(pair)), (sent_at, TimePassed()), (at, heard(answer or Pending()))
    )


def test_amazon_is_polled_every_five_seconds_from_the_first_poll_on_though_thirty_are_told() -> None:
    state = replace(ASKED, request=LinkRequested(QUICK))
    told, commands = after(state, (1, heard(PAIR)))

    assert commands == (KeepPending(PAIR, seconds(5)),)
    assert next_moment(told) == moment(1)
    assert next_moment(polled(at=10)) == moment(15)


@pytest.mark.parametrize(("answered_at", "due"), [(10.2, 15), (10.25, 15), (11, 15.75), (25, 29.75)])
def test_five_seconds_count_from_the_poll_less_what_its_answer_took_over_a_quarter_second(
    answered_at: float, due: float
) -> None:
    assert next_moment(polled(sent_at=10, at=answered_at)) == moment(due)


@pytest.mark.parametrize("rules", [replace(RFC8628, first_at_once=True), replace(QUICK, at_most=FOREVER)])
def test_a_told_interval_counts_from_the_answer(rules: PollRules) -> None:
    assert next_moment(polled(rules, sent_at=10, at=10.4)) == moment(40.4)


def test_an_interval_that_is_told_as_five_seconds_counts_from_the_answer() -> None:
    state = polled(pair=replace(PAIR, interval=seconds(5)), sent_at=10, at=10.4)

    assert next_moment(state) == moment(15.4)


@pytest.mark.parametrize(("answer", "due"), [(SlowDown(), 40.4), (Pending(seconds(20)), 30.4)])
def test_a_wait_that_was_asked_for_counts_from_the_answer(answer: Answer, due: float) -> None:
    assert next_moment(polled(answer=answer, sent_at=10, at=10.4)) == moment(due)


def test_an_owner_who_is_back_is_polled_for_five_seconds_after_the_last_poll_went_out() -> None:
    rules = replace(QUICK, at_most=seconds(20))

    state, _ = after(polled(rules, sent_at=10, at=10.2), (12, OwnerBack()))

    assert next_moment(state) == moment(15)


def test_after_slow_down_amazon_is_never_polled_sooner_than_told() -> None:
    slowed = polled(answer=SlowDown(), at=10)
    asked = state_after(Waiting, slowed, (40, TimePassed()), (41, heard(SlowDown())))

    assert (slowed.interval, next_moment(slowed)) == (seconds(30), moment(40))
    assert (asked.interval, next_moment(asked)) == (seconds(60), moment(101))


@pytest.mark.parametrize(("at", "due"), [(12, 15), (17, 17)])
@pytest.mark.parametrize("event", [OwnerBack(), PRESS], ids=["back", "tap"])
def test_an_owner_who_is_back_or_taps_is_polled_for_five_seconds_after_the_last_poll(
    event: Event, at: float, due: float
) -> None:
    state, _ = after(polled(replace(QUICK, at_most=FOREVER), at=10), (at, event))

    assert next_moment(state) == moment(due)


@pytest.mark.parametrize("answer", [SlowDown(), Pending(seconds(50)), TIMED_OUT])
@pytest.mark.parametrize("event", [OwnerBack(), PRESS], ids=["back", "tap"])
def test_nobody_shortens_a_wait_that_was_asked_for(event: Event, answer: Answer) -> None:
    state = polled(replace(QUICK, at_most=FOREVER), answer=answer)

    assert next_moment(after(state, (11, event))[0]) == next_moment(state)


def test_a_tap_polls_for_no_owner_where_the_told_interval_is_strict() -> None:
    state = polled(RFC8628)

    assert next_moment(after(state, (11, PRESS))[0]) == next_moment(state)


def test_no_poll_of_amazon_is_postponed() -> None:
    state = polled()

    assert after(state, (11, OwnerLeft())) == (state, ())


def test_after_a_restart_the_interval_in_use_is_waited_for() -> None:
    state = state_after(Waiting, Unlinked(), (30, PairFound(LinkRequested(QUICK), PAIR, seconds(5))))

    assert next_moment(state) == moment(35)


def test_a_set_interval_is_kept_even_if_a_shorter_one_is_told() -> None:
    state = replace(ASKED, request=LinkRequested(replace(QUICK, at_least=seconds(60), at_most=seconds(60))))

    assert state_after(Waiting, state, (1, heard(PAIR))).interval == seconds(60)


# -- saving


def test_a_failed_save_is_repeated_three_times() -> None:
    state: State = Saving(PRESS, TOKEN)
    for failed_at, again_at in [(0, 1), (1, 3), (3, 7)]:
        saving = state_after(Saving, state, (failed_at, DISK_FULL))
        assert saving.trouble is Trouble.STORAGE
        assert next_moment(saving) == moment(again_at)
        assert after(saving, (again_at - 0.1, TimePassed())) == (saving, ())
        state, commands = after(saving, (again_at, TimePassed()))
        assert commands == (SaveGrant(TOKEN),)
        assert next_moment(state) == NEVER

    state, commands = after(state, (7, DISK_FULL))

    assert isinstance(state, Unlinked)
    assert state.trouble is Trouble.STORAGE
    assert commands == (UndoSave(), ForgetPending())


# -- proving


@pytest.mark.parametrize("trouble", [Trouble.NO_NETWORK, Trouble.PROVIDER_UNAVAILABLE])
def test_a_proof_that_cannot_be_had_for_now_does_not_hold_linked_back(trouble: Trouble) -> None:
    proving = Proving(PRESS, moment(50))

    state = state_after(Proving, proving, (42, ProofChanged(ProofStanding.OPEN, trouble)))

    assert state.trouble is trouble
    assert next_moment(state) == moment(50)
    assert after(state, (49, TimePassed())) == (state, ())
    assert after(state, (50, TimePassed())) == (Linked(), (UseLink(),))


def test_a_doubted_proof_holds_linked_back_until_it_is_settled() -> None:
    doubted = ProofChanged(ProofStanding.DOUBTED, Trouble.PROVIDER_UNAVAILABLE)
    state = state_after(Proving, Proving(PRESS, moment(50)), (42, doubted))

    assert next_moment(state) == NEVER
    assert after(state, (9999, TimePassed())) == (state, ())
    assert after(state, (9999, ProofChanged(ProofStanding.HOLDS, Trouble.NONE)))[0] == Linked()


@pytest.mark.parametrize("refusal", [REVOKED, MISCONFIGURED], ids=["revoked", "misconfigured"])
def test_a_refused_proof_means_no_link(refusal: Refusal) -> None:
    refused = ProofChanged(ProofStanding.REFUSED, refusal.trouble, refusal)

    state, commands = after(Proving(PRESS, moment(50)), (42, refused))

    assert state == Unlinked(refusal.trouble, refusal, NEVER)
    assert commands == ()


def test_a_refused_proof_of_another_link_brings_the_former_one_back() -> None:
    proving = Proving(LinkRequested(LWA, again=True), moment(50))

    state, commands = after(proving, (42, ProofChanged(ProofStanding.REFUSED, Trouble.REVOKED, REVOKED)))

    assert isinstance(state, Linked)
    assert state.trouble is Trouble.REVOKED
    assert commands == (UndoSave(),)


# -- after a restart


def test_a_pair_of_before_a_restart_is_polled_after_one_whole_interval() -> None:
    state, commands = after(Unlinked(), (100, PairFound(PRESS, PAIR, seconds(60))))

    assert state == Waiting(PRESS, PAIR, seconds(60), moment(160))
    assert commands == ()


def test_a_found_pair_is_never_polled_sooner_than_its_own_interval() -> None:
    state = state_after(Waiting, Unlinked(), (100, PairFound(PRESS, PAIR, seconds(1))))

    assert state.interval == seconds(30)


def test_a_pair_found_beside_a_link_leaves_that_in_force() -> None:
    found = PairFound(PRESS, PAIR, seconds(30))

    assert after(Linked(), (100, found), (101, Cancelled()))[0] == Linked()


def test_a_grant_of_before_a_restart_is_proved() -> None:
    state, commands = after(Unlinked(), (100, GrantFound(PRESS)))

    assert state == Proving(PRESS, moment(110))
    assert commands == (ForgetPending(), ProveGrant())


# -- a grant that came by another way


def test_a_grant_that_is_brought_is_saved_proved_and_told_as_after_a_poll() -> None:
    save = SaveGrant(TOKEN, Flow.AUTHORIZATION_CODE)
    holds = ProofChanged(ProofStanding.HOLDS, Trouble.NONE)

    saving, saved = after(Unlinked(), (0, BROUGHT))
    proving, proved = after(saving, (1, Saved()))

    assert saving == Saving(PRESS, TOKEN, Flow.AUTHORIZATION_CODE)
    assert saved == (save,)
    assert proving == Proving(PRESS, moment(11))
    assert proved == (ForgetPending(), ProveGrant())
    assert after(proving, (2, holds)) == (Linked(), (UseLink(),))


def test_a_grant_that_is_brought_is_saved_again_as_what_it_is_while_the_disk_is_full() -> None:
    _, commands = after(Unlinked(), (0, BROUGHT), (0, DISK_FULL), (1, TimePassed()))

    assert commands == (SaveGrant(TOKEN, Flow.AUTHORIZATION_CODE),)


def test_a_grant_brought_beside_a_link_leaves_that_in_force_until_it_is_proved() -> None:
    refused = ProofChanged(ProofStanding.REFUSED, Trouble.REVOKED, REVOKED)

    state, commands = after(Linked(), (0, BROUGHT), (1, Saved()), (2, refused))

    assert state == Linked(Trouble.REVOKED, REVOKED)
    assert commands == (UndoSave(),)


@pytest.mark.parametrize("leaves_no_trace", [True, False])
def test_a_grant_that_is_refused_without_a_link_is_undone_only_if_it_is_to_leave_no_trace(
    leaves_no_trace: bool,
) -> None:
    request = replace(PRESS, leaves_no_trace=leaves_no_trace)
    refused = ProofChanged(ProofStanding.REFUSED, Trouble.REVOKED, REVOKED)

    state, commands = after(Unlinked(), (0, replace(BROUGHT, request=request)), (1, Saved()), (2, refused))

    assert state == Unlinked(Trouble.REVOKED, REVOKED)
    assert commands == ((UndoSave(),) if leaves_no_trace else ())


def test_a_grant_without_a_refresh_token_is_no_grant_to_a_poll() -> None:
    state = state_after(Waiting, waiting(), (40, heard(make_grant(refresh_token=None))))

    assert state.poll_at == moment(70)


# -- what has no meaning

STATES: list[State] = [
    Unlinked(),
    Requesting(PRESS),
    waiting(poll_at=30),
    Saving(PRESS, TOKEN),
    Proving(PRESS, moment(50)),
    Linked(),
]
HEARD_IN: dict[type[Event], set[type[State]]] = {
    StoreProved: {Requesting},
    Saved: {Saving},
    StoreFailed: {Requesting, Saving},
    ProofChanged: {Proving},
    PairFound: {Unlinked, Linked},
    GrantFound: {Unlinked, Linked},
    GrantSubmitted: {Unlinked, Linked},
    LinkRequested: {Unlinked, Requesting, Waiting, Linked},
}
EVENTS: list[Event] = [
    StoreProved(),
    Saved(),
    DISK_FULL,
    ProofChanged(ProofStanding.HOLDS, Trouble.NONE),
    PairFound(PRESS, PAIR, seconds(30)),
    GrantFound(PRESS),
    BROUGHT,
    PRESS,
]


@pytest.mark.parametrize("state", STATES, ids=word_of)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_without_a_meaning_changes_nothing(state: State, event: Event) -> None:
    stays = after(state, (10, event)) == (state, ())

    assert stays == (type(state) not in HEARD_IN[type(event)])


@pytest.mark.parametrize("state", [s for s in STATES if not isinstance(s, Waiting)], ids=word_of)
@pytest.mark.parametrize("event", [OwnerLeft(), OwnerBack()], ids=["left", "back"])
def test_where_no_owner_is_awaited_he_may_come_and_go(state: State, event: Event) -> None:
    assert after(state, (10, event)) == (state, ())


@pytest.mark.parametrize("state", [Unlinked(), Saving(PRESS, TOKEN), Proving(PRESS, moment(50)), Linked()])
@pytest.mark.parametrize("answer", [Pending(), GRANT, PAIR, DENIED], ids=lambda answer: type(answer).__name__)
def test_a_late_answer_changes_nothing(state: State, answer: Answer) -> None:
    assert after(state, (10, heard(answer))) == (state, ())


@pytest.mark.parametrize("state", STATES, ids=word_of)
def test_time_that_passes_too_early_changes_nothing(state: State) -> None:
    assert after(state, (10, TimePassed())) == (state, ())


def test_every_state_has_its_word() -> None:
    assert [word_of(state) for state in STATES] == [
        StateWord.UNLINKED,
        StateWord.REQUESTING,
        StateWord.WAITING,
        StateWord.SAVING,
        StateWord.PROVING,
        StateWord.LINKED,
    ]
