"""Which of two links lives: what is stored, in use, on trial, and put back."""

from dataclasses import replace
from typing import Final

import pytest

from device_auth.core import linking, speaker
from device_auth.core.linking import (
    Cancelled,
    ForgetPending,
    GrantSubmitted,
    Linked,
    LinkRequested,
    PollToken,
    ProveStore,
    Proving,
    RequestCodePair,
    Saving,
    StoreFailed,
    Unlinked,
    Waiting,
)
from device_auth.core.models import (
    Answer,
    CodePair,
    Flow,
    Link,
    Mark,
    Pending,
    PendingPair,
    PollRules,
    Profile,
    Provider,
    Secret,
    TimePassed,
    TokenGrant,
)
from device_auth.core.refresh import Serve, TokenWanted, Withdraw
from device_auth.core.speaker import (
    AnswerCounts,
    CallAnswered,
    CallTimedOut,
    DropCalls,
    EraseFailed,
    GrantStored,
    KeepLinked,
    LinkNotStored,
    LinkRead,
    LinkStored,
    LookAtStore,
    OwedWrite,
    ProblemChanged,
    PutBack,
    PutBackDone,
    PutBackFailed,
    RepeatRequested,
    ReportRefreshEnded,
    RequestProfile,
    RequestRefresh,
    SpeakerState,
    Started,
    StoreAwaited,
    StoreErased,
    StoreGrant,
    StoreLink,
    StoreNotSeen,
    StoreSeen,
    UnlinkRequested,
    UseProvider,
    next_moment,
    view_of,
)
from device_auth.core.states import STATES, StateWord, Trouble
from tests.values import (
    MISCONFIGURED,
    NO_ANSWER,
    REVOKED,
    make_grant,
    make_held_link,
    make_pair,
    make_provider,
    make_refusal,
    make_unclear,
    moment,
    seconds,
)

LWA: Final = PollRules(first_at_once=True, slow_down_doubles=True)
PRESS: Final = LinkRequested(LWA)
PROVIDER: Final = make_provider()
PAIR: Final = make_pair(interval=5)
OLD: Final = make_held_link(refresh_token="old", is_proved=True)
NEW: Final = replace(make_held_link(refresh_token="new"), link_id="link-2")
ROTATED: Final = make_held_link(refresh_token="rotated").refresh_token
TOKEN: Final = make_grant(access_token="left", refresh_token=None)
"""An access token of before a restart."""


class Bench:
    """A speaker whose store does as it is told, unless told otherwise.

    Attributes:
        done: the commands of the last event and of the store's results, in order.
        fails: the kinds of commands that the store does not carry out.
        disk: what lies on it.
    """

    def __init__(self, state: SpeakerState | None = None, *, disk: Link | None = None) -> None:
        self.state = SpeakerState() if state is None else state
        self.done: list[speaker.Command] = []
        self.fails: set[type[speaker.Command]] = set()
        self.disk = disk
        self.links = 1
        self.asked: list[speaker.Question] = []

    def feed(self, event: speaker.Event, at: float = 0) -> list[speaker.Command]:
        self.done = []
        self._step(event, at)
        return self.done

    def answer(self, answer: Answer, at: float = 0, *, is_late: bool = False) -> list[speaker.Command]:
        """Answer the newest question."""
        return self.feed(CallAnswered(self.question, answer, 0.5, is_late=is_late), at)

    @property
    def question(self) -> speaker.Question:
        return self.asked[-1]

    def refresh_of(self, number: int) -> RequestRefresh:
        """Return the newest refresh of a kept link."""
        return [it for it in self.asked if isinstance(it, RequestRefresh) and it.number == number][-1]

    def _step(self, event: speaker.Event, at: float) -> None:
        self.state, commands = speaker.step(self.state, event, moment(at))
        for command in commands:
            self.done.append(command)
            if isinstance(command, RequestCodePair | PollToken | RequestRefresh | RequestProfile):
                self.asked.append(command)
            result = self._use_disk(command)
            if result is not None:
                self._step(result, at)

    def _use_disk(self, command: speaker.Command) -> speaker.Event | None:
        works = type(command) not in self.fails
        match command:
            case ProveStore():
                return linking.StoreProved() if works else StoreFailed("full", "")
            case StoreGrant(refresh_token, flow, former) if works:
                self.links += 1
                link_id = f"link-{self.links}"
                self.disk = replace(
                    NEW, link_id=link_id, refresh_token=refresh_token, flow=flow, replaces=former
                )
                return GrantStored(self.disk)
            case StoreGrant():
                return StoreFailed("full", "")
            case StoreLink(number, link) if works:
                self.disk = link
                return LinkStored(number, link)
            case StoreLink(number, link):
                return LinkNotStored(number, link)
            case LookAtStore():
                return StoreSeen(self.disk) if works else StoreNotSeen()
            case PutBack(former) if works:
                self.disk = former
                return PutBackDone(former)
            case PutBack():
                return PutBackFailed()
            case _:
                return None


def resumed(link: Link | None = OLD, *, token: TokenGrant | None = None, at: float = 0) -> Bench:
    """Return a speaker that runs as a service, with a link on its disk."""
    bench = Bench(disk=link)
    bench.feed(LinkRead(link), at)
    bench.feed(Started(PRESS, PROVIDER, is_service=True, token=token), at)
    return bench


def kept(link: Link | None = OLD) -> Bench:
    """Return one that has refreshed its link, at 1 s."""
    bench = resumed(link)
    bench.feed(TimePassed(), 0)
    bench.answer(make_grant(access_token="old", refresh_token=None, issued_at=1), 1)
    return bench


def waiting(bench: Bench, at: float = 10) -> Bench:
    """Press, and have a code shown and polled for."""
    bench.feed(replace(PRESS, again=True), at)
    bench.answer(make_pair(sent_at=at, interval=5), at)
    bench.feed(TimePassed(), at)
    return bench


def proving(bench: Bench, at: float = 20) -> Bench:
    """Have a new link on trial beside the one in use."""
    waiting(bench, at - 10)
    bench.answer(make_grant(refresh_token="new", issued_at=at), at)
    return bench


def told(bench: Bench, at: float = 31) -> Bench:
    """Have a new link told although it is not proved."""
    proving(bench, at - 11)
    bench.answer(NO_ANSWER, at - 10)
    bench.feed(TimePassed(), at)
    return bench


def refused_twice(bench: Bench, at: float) -> list[speaker.Command]:
    """Have a refresh of the link in use refused, once more after its wait, and return what came of it."""
    assert bench.state.in_use is not None
    number = bench.state.in_use.number
    bench.feed(CallAnswered(bench.refresh_of(number), REVOKED, 0.5), at)
    bench.feed(TimePassed(), at + 20)
    return bench.feed(CallAnswered(bench.refresh_of(number), REVOKED, 0.5), at + 20)


def doubted(bench: Bench, at: float) -> int:
    """Have the link on trial refused once, which holds its telling back, and return its number."""
    assert bench.state.on_trial is not None
    number = bench.state.on_trial.number
    bench.feed(CallAnswered(bench.refresh_of(number), REVOKED, 0.5), at)
    return number


def in_use(bench: Bench) -> Link:
    assert bench.state.in_use is not None
    return bench.state.in_use.keeping.link


# -- starting


def test_a_service_keeps_the_stored_link_and_serves_the_token_of_before_the_restart() -> None:
    bench = resumed(token=TOKEN)

    assert bench.done == [Serve(TOKEN)]
    assert in_use(bench) == OLD
    assert bench.state.stage == Linked()
    assert next_moment(bench.state) > 2000


def test_a_token_that_ran_out_over_the_restart_is_withdrawn() -> None:
    assert resumed(token=TOKEN, at=3600).done == [Withdraw()]


def test_without_a_token_the_first_refresh_of_a_service_is_put_off_by_chance() -> None:
    bench = Bench()
    bench.feed(LinkRead(OLD))
    bench.feed(Started(PRESS, is_service=True, draw=0.5))

    assert next_moment(bench.state) == 2.5


def test_a_token_is_no_longer_laid_out_where_there_is_no_link() -> None:
    bench = resumed(None, token=TOKEN)

    assert bench.done == [Withdraw()]
    assert bench.state.stage == Unlinked()


@pytest.mark.parametrize(
    ("mark", "trouble"),
    [
        (Mark.REVOKED, Trouble.REVOKED),
        (Mark.MISCONFIGURED, Trouble.MISCONFIGURED),
        (Mark.HANDED_OVER, Trouble.NONE),
        (Mark.COPIED, Trouble.COPIED),
    ],
)
def test_a_marked_link_is_not_kept_and_its_trouble_is_told(mark: Mark, trouble: Trouble) -> None:
    bench = resumed(replace(OLD, mark=mark), token=TOKEN)

    assert bench.done == [Withdraw()]
    assert bench.state.in_use is None
    assert isinstance(bench.state.stage, Unlinked)
    assert bench.state.stage.trouble is trouble
    assert (bench.state.stage.refusal is None) == (trouble is Trouble.NONE)


@pytest.mark.parametrize(
    ("mark", "trouble"),
    [
        (Mark.REVOKED, Trouble.REVOKED),
        (Mark.COPIED, Trouble.COPIED),
        (Mark.HANDED_OVER, Trouble.NONE),
        (None, Trouble.NONE),
    ],
)
def test_a_link_that_is_not_used_is_told_again_when_the_end_of_an_attempt_is_told_no_more(
    mark: Mark | None, trouble: Trouble
) -> None:
    state = SpeakerState(stage=Unlinked(), stored=replace(OLD, mark=mark))

    assert view_of(state).trouble is trouble
    assert (
        view_of(replace(state, stage=Unlinked(Trouble.DENIED, make_refusal(Trouble.DENIED)))).trouble
        is Trouble.DENIED
    )


def test_a_link_whose_key_is_lost_is_told_as_revoked() -> None:
    bench = Bench()
    bench.feed(LinkRead(None, REVOKED))

    assert bench.state.stage == Unlinked(Trouble.REVOKED, REVOKED)


@pytest.mark.parametrize(
    ("former", "again"), [(None, False), (OLD, True), (replace(OLD, mark=Mark.REVOKED), False)]
)
def test_a_stored_grant_of_before_a_restart_is_proved_and_no_token_is_served(
    former: Link | None, *, again: bool
) -> None:
    link = replace(NEW, replaces=former)
    bench = resumed(link, token=TOKEN)

    assert bench.done == [Withdraw(), ForgetPending(), RequestRefresh(1, link)]
    assert bench.state.in_use is None
    assert isinstance(bench.state.stage, Proving)
    assert bench.state.stage.request.again is again


def test_a_verb_goes_on_with_a_stored_grant_and_leaves_the_tokens_alone() -> None:
    bench = Bench()
    bench.feed(LinkRead(NEW))

    assert bench.feed(Started(PRESS)) == [ForgetPending(), RequestRefresh(1, NEW)]


def test_a_verb_requests_a_code_where_nothing_goes_on() -> None:
    bench = Bench()
    bench.feed(LinkRead(None))

    assert bench.feed(Started(PRESS)) == [RequestCodePair(), ProveStore()]


def test_a_verb_requests_a_code_where_the_link_is_marked() -> None:
    bench = Bench()
    bench.feed(LinkRead(replace(OLD, mark=Mark.REVOKED)))

    assert bench.feed(Started(PRESS)) == [RequestCodePair(), ProveStore()]


def test_a_verb_is_told_that_there_is_a_link() -> None:
    bench = Bench()
    bench.feed(LinkRead(OLD))

    assert bench.feed(Started(PRESS)) == []
    assert (bench.state.stage, bench.state.sequence) == (Linked(), 1)


FOUND: Final = PendingPair(PAIR, seconds(10), PROVIDER)


@pytest.mark.parametrize("is_service", [True, False])
@pytest.mark.parametrize("link", [None, OLD])
def test_a_code_pair_of_before_a_restart_is_waited_for(link: Link | None, *, is_service: bool) -> None:
    bench = Bench()
    bench.feed(LinkRead(link))
    bench.feed(Started(PRESS, PROVIDER, FOUND, is_service=is_service))

    assert UseProvider(PROVIDER) in bench.done
    assert isinstance(bench.state.stage, Waiting)
    assert (bench.state.stage.pair, bench.state.stage.interval) == (PAIR, seconds(10))
    assert bench.state.stage.request.again is (link is not None)


@pytest.mark.parametrize(
    ("provider", "at"),
    [
        (PROVIDER, 600),
        (replace(PROVIDER, client_id="other"), 0),
        (replace(PROVIDER, device_endpoint="other"), 0),
    ],
)
def test_a_pair_that_ran_out_or_of_another_provider_is_discarded(provider: Provider, at: float) -> None:
    bench = Bench()

    assert bench.feed(Started(PRESS, provider, FOUND), at) == [
        ForgetPending(),
        RequestCodePair(),
        ProveStore(),
    ]


@pytest.mark.parametrize("field", ["device_endpoint", "token_endpoint", "revocation_endpoint"])
def test_an_endpoint_that_is_yet_to_be_discovered_is_no_other(field: str) -> None:
    known = replace(PROVIDER, revocation_endpoint="https://api.amazon.com/revoke")
    bench = Bench()
    wanted = replace(known, **{field: ""})  # type: ignore[arg-type]  # one of its texts
    bench.feed(Started(PRESS, wanted, replace(FOUND, provider=known)))

    assert bench.done == [UseProvider(known)]


def test_without_a_provider_in_the_settings_a_pair_is_left_alone() -> None:
    bench = Bench()

    assert bench.feed(Started(PRESS, None, FOUND, is_service=True)) == [Withdraw()]


def test_a_verb_that_wants_a_token_refreshes_at_once() -> None:
    bench = Bench()
    bench.feed(KeepLinked(OLD))

    assert bench.state.stored == OLD
    assert bench.feed(TimePassed()) == [RequestRefresh(1, OLD)]


# -- a new link


def test_a_first_link_is_stored_proved_told_and_served() -> None:
    bench = Bench()
    bench.feed(PRESS)
    bench.answer(PAIR)
    bench.feed(TimePassed())
    stored = bench.answer(make_grant(refresh_token="new"))
    bench.answer(grant := make_grant(access_token="first", refresh_token="rotated"), 1)

    assert stored[:2] == [Withdraw(), StoreGrant(NEW.refresh_token, Flow.DEVICE_CODE, None)]
    assert stored[2] == ForgetPending()
    assert isinstance(stored[3], RequestRefresh)
    assert isinstance(bench.done[0], StoreLink)
    assert bench.done[1:] == [Serve(grant), ReportRefreshEnded(moment(2700))]
    assert bench.disk is not None
    assert bench.disk.is_proved
    assert bench.disk.refresh_token == grant.refresh_token
    assert bench.state.stage == Linked()
    assert bench.state.on_trial is None


def test_the_old_link_is_served_until_the_new_one_is_proved_and_then_no_more() -> None:
    bench = proving(kept())
    during = bench.done
    bench.answer(grant := make_grant(access_token="first", refresh_token=None), 21)

    assert not any(isinstance(it, Serve | Withdraw) for it in during)
    assert isinstance(during[0], StoreGrant)
    assert during[0].former == OLD
    assert bench.done[0] == Withdraw(), "a kill after the save would leave the former owner's token"
    assert isinstance(bench.done[1], StoreLink)
    assert bench.done[2:] == [Serve(grant), ReportRefreshEnded(moment(2700))]
    assert bench.disk is not None
    assert bench.disk.replaces is None
    assert in_use(bench) == bench.disk


def test_an_unproved_link_that_is_told_takes_the_former_owners_token_away() -> None:
    bench = told(kept())

    assert bench.done[0] == Withdraw()
    assert bench.state.stage == Linked()
    assert in_use(bench).link_id == "link-2"
    assert bench.state.in_use is not None
    assert bench.state.in_use.keeping.is_told


def test_a_link_on_trial_is_neither_served_nor_withdrawn() -> None:
    bench = proving(kept())

    bench.answer(MISCONFIGURED, 21)

    assert not any(isinstance(it, Serve | Withdraw) for it in bench.done)


def test_where_the_former_link_is_marked_its_token_goes_before_the_new_grant_is_stored() -> None:
    bench = resumed(marked := replace(OLD, mark=Mark.REVOKED))
    proving(bench)

    assert bench.done[0] == Withdraw()
    assert isinstance(bench.done[1], StoreGrant)
    assert bench.done[1].former is None
    bench.feed(Cancelled(), 21)
    assert bench.disk == marked


def test_a_grant_that_came_by_another_way_replaces_the_link_in_use_as_it_is_now() -> None:
    bench = kept()
    bench.fails = {StoreLink}
    bench.feed(TokenWanted(seconds(4000)), 100)
    bench.answer(make_grant(access_token="other", refresh_token="rotated", issued_at=101), 101)
    bench.fails = set()
    bench.feed(GrantSubmitted(PRESS, Secret("brought"), Flow.AUTHORIZATION_CODE), 102)

    assert isinstance(bench.done[0], StoreGrant)
    assert bench.done[0].flow is Flow.AUTHORIZATION_CODE
    assert bench.done[0].former == in_use(bench)
    assert bench.done[0].former.refresh_token != OLD.refresh_token


# -- a new link that gives way


@pytest.mark.parametrize("ending", ["cancelled", "refused"])
def test_a_new_link_on_trial_that_is_over_leaves_the_former_as_it_was(ending: str) -> None:
    bench = proving(kept())
    before = bench.state.in_use
    if ending == "cancelled":
        bench.feed(Cancelled(), 22)
        assert bench.done[0] == DropCalls(1)
    else:
        bench.answer(MISCONFIGURED, 22)

    assert [it for it in bench.done if not isinstance(it, DropCalls)] == [LookAtStore(), PutBack(OLD)]
    assert bench.disk == bench.state.stored == OLD
    assert bench.state.in_use == before
    assert (bench.state.on_trial, bench.state.owed) == (None, None)
    assert isinstance(bench.state.stage, Linked)


def test_a_refusal_does_not_mark_the_link_that_gives_way() -> None:
    bench = proving(kept())
    bench.answer(MISCONFIGURED, 22)

    assert not any(isinstance(it, StoreLink) for it in bench.done)


def test_a_first_link_that_is_refused_is_marked_and_not_used() -> None:
    bench = proving(resumed(None))
    bench.answer(MISCONFIGURED, 22)

    assert bench.disk is not None
    assert bench.disk.mark is Mark.MISCONFIGURED
    assert bench.state.in_use is bench.state.on_trial is None
    assert isinstance(bench.state.stage, Unlinked)


def test_a_first_link_that_is_cancelled_is_taken_back() -> None:
    bench = proving(resumed(None))
    bench.feed(Cancelled(), 22)

    assert bench.done == [DropCalls(None), Withdraw(), LookAtStore(), PutBack(None)]
    assert bench.disk is None


def test_after_a_restart_the_former_link_comes_back_from_the_new_one_and_is_kept() -> None:
    bench = resumed(replace(NEW, replaces=OLD))
    bench.feed(Cancelled(), 5)

    assert bench.disk == OLD
    assert in_use(bench) == OLD
    assert bench.feed(TimePassed(), 5) == [RequestRefresh(2, OLD)]


def test_a_verb_does_not_begin_to_keep_the_former_link() -> None:
    bench = Bench(disk=replace(NEW, replaces=OLD))
    bench.feed(LinkRead(bench.disk))
    bench.feed(Started(PRESS))
    bench.feed(Cancelled())

    assert bench.disk == OLD
    assert bench.state.in_use is None


def test_a_token_of_a_link_that_is_undone_after_a_kill_is_gone_before_the_former_link_is_back() -> None:
    bench = Bench(disk=replace(NEW, replaces=OLD))
    bench.feed(LinkRead(bench.disk))
    bench.feed(Started(PRESS))
    bench.feed(Cancelled())

    assert bench.done == [DropCalls(None), Withdraw(), LookAtStore(), PutBack(OLD)]


def test_a_former_link_that_is_marked_comes_back_marked_and_is_not_kept() -> None:
    bench = proving(resumed(marked := replace(OLD, mark=Mark.REVOKED)))
    bench.feed(Cancelled(), 22)

    assert bench.disk == marked
    assert bench.state.in_use is None


def test_a_save_that_came_about_although_it_failed_is_undone() -> None:
    bench = waiting(kept())
    bench.fails = {StoreGrant}
    bench.answer(make_grant(refresh_token="new"), 20)
    bench.disk = replace(NEW, replaces=OLD)
    bench.feed(Cancelled(), 20.5)

    assert bench.done == [LookAtStore(), PutBack(OLD), ForgetPending()]
    assert bench.disk == OLD


def test_a_save_that_failed_writes_nothing_more() -> None:
    bench = waiting(kept())
    bench.fails = {StoreGrant}
    bench.answer(make_grant(refresh_token="new"), 20)
    bench.feed(Cancelled(), 20.5)

    assert bench.done == [LookAtStore(), ForgetPending()]
    assert bench.state.owed is None


def test_a_save_that_failed_leaves_an_unproved_link_with_its_own_former() -> None:
    unproved = replace(NEW, replaces=OLD)
    bench = Bench(disk=unproved)
    bench.feed(LinkRead(unproved))
    bench.fails = {StoreGrant}
    bench.feed(GrantSubmitted(PRESS, Secret("brought"), Flow.DEVICE_CODE))
    bench.feed(Cancelled())

    assert bench.done == [Withdraw(), LookAtStore(), ForgetPending()]
    assert bench.disk == bench.state.stored == unproved


def test_a_first_save_that_failed_leaves_nothing_behind() -> None:
    bench = waiting(resumed(None))
    bench.fails = {StoreGrant}
    bench.answer(make_grant(refresh_token="new"), 20)
    bench.disk = NEW
    bench.feed(Cancelled(), 20.5)

    assert bench.disk is None


def test_the_former_link_is_put_back_with_the_refresh_token_it_has_now() -> None:
    bench = proving(kept())
    bench.fails = {StoreLink}
    bench.feed(TokenWanted(seconds(4000)), 100)
    bench.answer(make_grant(refresh_token="rotated", issued_at=101), 101)
    bench.fails = set()
    bench.feed(Cancelled(), 102)

    assert bench.disk == in_use(bench)
    assert bench.disk.refresh_token == ROTATED


@pytest.mark.parametrize("kind", [LookAtStore, PutBack])
def test_what_cannot_be_put_back_is_put_back_as_soon_as_the_disk_allows(kind: type[speaker.Command]) -> None:
    bench = proving(kept())
    bench.fails = {kind}
    bench.feed(Cancelled(), 22)
    due = next_moment(bench.state)
    bench.fails = set()
    bench.feed(TimePassed(), 82)

    assert due == moment(82)
    assert bench.disk == bench.state.stored == OLD
    assert bench.state.owed is None


def test_a_new_grant_settles_what_is_owed_to_the_disk() -> None:
    bench = proving(kept())
    bench.fails = {PutBack}
    bench.feed(Cancelled(), 22)
    bench.fails = set()
    proving(bench, 40)

    assert bench.state.owed is None
    assert bench.state.stored == bench.disk


def test_a_look_at_the_store_that_nobody_asked_for_changes_nothing() -> None:
    bench = kept()

    assert bench.feed(StoreSeen(None), 2) == []
    assert bench.state.stored == OLD


# -- a link that is told before it is proved


def test_a_told_link_that_is_refused_gives_way_to_the_former_at_once_and_unmarked() -> None:
    bench = told(kept())
    done = refused_twice(bench, 40)

    assert done == [Withdraw(), LookAtStore(), PutBack(OLD), ReportRefreshEnded(moment(60))]
    assert in_use(bench) == bench.disk == OLD
    assert isinstance(bench.state.stage, Linked)
    assert (bench.state.stage.trouble, bench.state.stage.clears_at) == (Trouble.REVOKED, moment(660))
    assert bench.feed(TimePassed(), 60)[0] == RequestRefresh(3, OLD)


def test_a_told_link_that_is_refused_does_not_end_an_attempt_at_another() -> None:
    bench = waiting(told(kept()), 35)
    refused_twice(bench, 40)

    assert isinstance(bench.state.stage, Waiting)
    assert in_use(bench) == bench.disk == OLD


def test_a_told_link_that_is_refused_gives_way_in_the_link_on_trial_as_well() -> None:
    bench = proving(told(kept()), 45)
    doubted(bench, 46)
    refused_twice(bench, 47)

    assert in_use(bench) == OLD
    assert bench.disk is not None
    assert (bench.disk.link_id, bench.disk.replaces) == ("link-3", OLD)


def test_a_proved_link_that_could_not_be_saved_does_not_give_way_to_the_former() -> None:
    bench = proving(kept())
    bench.fails = {StoreLink}
    bench.answer(make_grant(refresh_token=None, issued_at=21), 21)
    bench.feed(TokenWanted(seconds(4000)), 82)
    refused_twice(bench, 83)

    assert isinstance(bench.state.stage, Unlinked)
    assert bench.state.in_use is None


def test_a_refresh_token_that_rotates_while_its_successor_is_told_is_not_lost() -> None:
    bench = kept()
    bench.feed(TokenWanted(seconds(4000)), 100)
    asked = bench.question
    told(bench, 131)
    bench.feed(CallAnswered(asked, make_grant(refresh_token="rotated", issued_at=131), 0.5), 132)

    assert bench.disk is not None
    assert bench.disk.replaces == replace(OLD, refresh_token=ROTATED)
    assert in_use(bench).replaces == bench.disk.replaces
    assert not any(isinstance(it, Serve | Withdraw) for it in bench.done)
    assert bench.feed(CallAnswered(asked, make_grant(refresh_token=None), 0.5), 133) == []
    stranger = RequestRefresh(77, replace(OLD, link_id="link-0"))
    assert bench.feed(CallAnswered(stranger, make_grant(refresh_token="other"), 0.5), 134) == []


def test_a_refusal_of_a_link_that_is_replaced_is_not_taken_for_its_successors() -> None:
    bench = kept()
    bench.feed(TokenWanted(seconds(4000)), 100)
    asked = bench.question
    told(bench, 131)
    before = bench.state

    assert bench.feed(CallAnswered(asked, REVOKED, 0.5), 132) == []
    assert bench.state == before


# -- the link in use, beside one on trial


def test_a_link_in_use_that_rotates_is_stored_in_the_one_on_trial() -> None:
    bench = proving(kept())
    bench.feed(TokenWanted(seconds(4000)), 100)
    bench.answer(make_grant(refresh_token="rotated", issued_at=101), 101)

    assert bench.disk is not None
    assert (bench.disk.link_id, bench.disk.replaces) == ("link-2", in_use(bench))
    assert Withdraw() not in bench.done


def test_a_link_in_use_that_is_lost_does_not_come_back_when_its_successor_is_refused() -> None:
    bench = proving(kept(), 90)
    number = doubted(bench, 91)
    bench.feed(TokenWanted(seconds(4000)), 100)
    refused_twice(bench, 101)
    trial, left = bench.state.stage, bench.disk
    bench.feed(CallAnswered(bench.refresh_of(number), REVOKED, 0.5), 122)

    assert isinstance(trial, Proving)
    assert not trial.request.again
    assert left is not None
    assert left.replaces is None
    assert isinstance(bench.state.stage, Unlinked)
    assert bench.disk is not None
    assert (bench.disk.link_id, bench.disk.mark, bench.disk.replaces) == ("link-2", Mark.REVOKED, None)


def test_a_link_in_use_that_is_lost_comes_back_marked_when_its_successor_leaves_no_trace() -> None:
    bench = kept()
    submitted = GrantSubmitted(replace(PRESS, leaves_no_trace=True), Secret("brought"), Flow.DEVICE_CODE)
    bench.feed(submitted, 90)
    number = doubted(bench, 91)
    bench.feed(TokenWanted(seconds(4000)), 100)
    refused_twice(bench, 101)
    bench.feed(CallAnswered(bench.refresh_of(number), REVOKED, 0.5), 122)

    assert bench.disk == replace(OLD, mark=Mark.REVOKED)
    assert bench.state.in_use is None


def test_a_link_that_is_lost_while_another_could_not_be_taken_back_is_stored_marked() -> None:
    bench = proving(kept())
    bench.fails = {PutBack}
    bench.feed(Cancelled(), 22)
    bench.feed(TokenWanted(seconds(4000)), 100)
    refused_twice(bench, 101)
    bench.fails = set()
    bench.feed(TimePassed(), 200)

    assert bench.disk == replace(OLD, mark=Mark.REVOKED)
    assert bench.state.in_use is None


def test_a_revoked_link_is_marked_and_let_go() -> None:
    bench = kept()
    bench.feed(TokenWanted(seconds(4000)), 100)
    done = refused_twice(bench, 101)

    assert done == [StoreLink(1, replace(OLD, mark=Mark.REVOKED)), Withdraw(), ReportRefreshEnded()]
    assert isinstance(bench.state.stage, Unlinked)
    assert bench.state.stage.refusal == REVOKED
    assert bench.state.in_use is None


def test_a_mark_that_could_not_be_saved_is_saved_later() -> None:
    bench = kept()
    bench.fails = {StoreLink}
    bench.feed(TokenWanted(seconds(4000)), 100)
    refused_twice(bench, 101)
    marked = replace(OLD, mark=Mark.REVOKED)

    assert bench.state.stored == marked
    assert bench.state.owed == OwedWrite(marked, moment(181))
    bench.feed(TimePassed(), 181)
    assert bench.disk == marked


def test_a_save_that_failed_for_a_link_that_is_gone_is_forgotten() -> None:
    bench = kept()
    before = bench.state

    assert bench.feed(LinkNotStored(77, NEW), 2) == []
    assert bench.state == before


def test_a_changed_link_that_could_not_be_saved_is_saved_later() -> None:
    bench = kept()
    bench.fails = {StoreLink}
    bench.feed(TokenWanted(seconds(4000)), 100)
    bench.answer(make_grant(refresh_token="rotated", issued_at=101), 101)
    told_of = view_of(bench.state)
    bench.fails = set()
    bench.feed(TimePassed(), 161)

    assert told_of.trouble is Trouble.STORAGE
    assert bench.disk == in_use(bench) == bench.state.stored
    assert view_of(bench.state).trouble is Trouble.NONE


# -- answers


def test_a_request_out_for_its_whole_time_counts_as_a_time_out() -> None:
    bench = waiting(resumed(None))
    bench.feed(CallTimedOut(bench.question, 0.5), 30)

    assert isinstance(bench.state.stage, Waiting)
    assert bench.state.stage.timeouts == 1
    assert bench.state.stage.poll_at == moment(40)
    assert bench.state.answers == AnswerCounts(1, 0, "no answer within 20 s")


def test_a_late_grant_of_the_pair_in_hand_is_stored() -> None:
    bench = waiting(resumed(None))
    bench.feed(CallTimedOut(bench.question, 0.5), 30)

    assert isinstance(bench.answer(make_grant(), 31, is_late=True)[1], StoreGrant)


@pytest.mark.parametrize("answer", [Pending(), make_refusal(Trouble.DENIED)])
def test_any_other_late_answer_is_not_heard(answer: Answer) -> None:
    bench = waiting(resumed(None))
    bench.feed(CallTimedOut(bench.question, 0.5), 30)
    before = bench.state

    assert bench.answer(answer, 31, is_late=True) == []
    assert bench.state == before


def test_a_late_grant_of_another_pair_is_not_heard() -> None:
    bench = waiting(resumed(None))
    before = bench.state
    other = PollToken(make_pair(name="other"))

    assert bench.feed(CallAnswered(other, make_grant(), 0.5, is_late=True), 31) == []
    assert bench.state == before


def test_a_late_pair_is_not_heard() -> None:
    bench = resumed(None)
    bench.feed(PRESS)
    bench.feed(CallTimedOut(bench.question, 0.5), 20)
    before = bench.state

    assert bench.answer(PAIR, 21, is_late=True) == []
    assert bench.state == before


def test_a_late_refresh_counts_only_if_it_brings_a_token() -> None:
    bench = resumed()
    bench.feed(TimePassed())
    bench.feed(CallTimedOut(bench.question, 0.5), 20)
    bench.feed(TimePassed(), 20)
    before = bench.state

    assert bench.answer(REVOKED, 21, is_late=True) == []
    assert bench.state == before
    assert bench.answer(grant := make_grant(refresh_token=None), 22, is_late=True)[0] == Serve(grant)


@pytest.mark.parametrize("answer", [make_grant(), REVOKED])
def test_an_answer_after_an_unlink_is_not_used(answer: Answer) -> None:
    bench = resumed()
    bench.feed(TimePassed())
    bench.feed(UnlinkRequested(), 1)
    bench.feed(StoreErased(), 1)

    assert bench.answer(answer, 2, is_late=True) == []
    assert bench.answer(answer, 2) == []
    assert bench.state.in_use is None


def test_answers_are_counted_while_linking() -> None:
    bench = resumed(None)
    bench.feed(PRESS)
    for answer in (make_unclear(), NO_ANSWER, PAIR):
        bench.answer(answer)
        bench.feed(TimePassed(), 100)

    assert bench.state.answers == AnswerCounts(usable=1, unclear=1, problem="refused")


# -- a token is wanted


@pytest.mark.parametrize(
    ("bench", "expected"),
    [
        (resumed(None), [ReportRefreshEnded()]),
        (resumed(), []),
    ],
)
def test_whoever_wants_a_token_that_no_refresh_will_bring_hears_it_at_once(
    bench: Bench, expected: list[speaker.Command]
) -> None:
    assert bench.feed(TokenWanted(seconds(60))) == expected


def test_a_refresh_that_is_out_is_waited_for() -> None:
    bench = kept()

    assert bench.feed(TokenWanted(seconds(4000)), 100) == [RequestRefresh(1, OLD)]
    assert bench.feed(TokenWanted(seconds(4000)), 100) == []


def test_waits_after_a_failure_are_not_cut_short_and_their_end_is_reported() -> None:
    bench = resumed()
    bench.feed(TimePassed())
    reported = bench.answer(make_unclear(120))

    assert bench.feed(TokenWanted(seconds(60)), 1) == reported == [ReportRefreshEnded(moment(126))]


# -- a cancel


def test_a_cancel_drops_only_what_was_asked_for_the_new_link() -> None:
    bench = waiting(kept())
    before = bench.state.in_use
    bench.feed(Cancelled(), 21)

    assert bench.done == [DropCalls(1), ForgetPending()]
    assert bench.state.in_use == before
    assert bench.state.stage == Linked()


# -- unlink


def test_an_unlink_forgets_all_and_keeps_what_is_not_of_the_link() -> None:
    bench = waiting(kept())
    bench.feed(RepeatRequested())
    bench.feed(ProblemChanged(MISCONFIGURED))
    requested = bench.feed(UnlinkRequested(), 21)
    numbers = bench.state.next_number

    assert requested == [DropCalls(1), ForgetPending(), Withdraw(), ForgetPending()]
    assert bench.feed(StoreErased(), 21) == [DropCalls(None)]
    assert bench.state == SpeakerState(
        is_service=True,
        next_number=numbers,
        answers=AnswerCounts(usable=1),
        problem=MISCONFIGURED,
        sequence=1,
    )


def test_a_link_that_could_not_be_erased_stays_in_use() -> None:
    bench = kept()
    bench.feed(UnlinkRequested(), 21)
    assert bench.state.in_use is not None
    assert (grant := bench.state.in_use.keeping.grant) is not None

    assert bench.feed(EraseFailed(), 21) == [LookAtStore(), Serve(grant)]
    assert bench.state.stage == Linked()
    assert not bench.state.is_unlinking


def test_a_link_that_was_erased_although_that_failed_is_forgotten() -> None:
    bench = kept()
    bench.feed(UnlinkRequested(), 21)
    bench.disk = None

    assert bench.feed(EraseFailed(), 21) == [LookAtStore(), DropCalls(None)]
    assert bench.state.in_use is None
    assert bench.state.stage == Unlinked()


def test_while_nobody_knows_whether_it_was_erased_no_token_is_served() -> None:
    bench = kept()
    bench.feed(UnlinkRequested(), 21)
    bench.fails = {LookAtStore}
    bench.feed(EraseFailed(), 21)
    bench.feed(TokenWanted(seconds(4000)), 50)
    unsure = bench.answer(grant := make_grant(refresh_token=None, issued_at=51), 51)
    bench.fails = set()
    settled = bench.feed(TimePassed(), 81)

    assert Serve(grant) not in unsure
    assert settled == [LookAtStore(), Serve(grant)]
    assert bench.state.owed is None


def test_a_marked_link_that_could_not_be_erased_is_not_erased_later() -> None:
    bench = resumed(marked := replace(OLD, mark=Mark.REVOKED))
    bench.feed(UnlinkRequested(), 21)
    bench.fails = {LookAtStore}
    bench.feed(EraseFailed(), 21)
    bench.fails = set()

    assert bench.feed(TimePassed(), 81) == [LookAtStore()]
    assert bench.disk == bench.state.stored == marked


def test_a_new_link_ends_the_doubt_whether_the_former_was_erased() -> None:
    bench = kept()
    bench.feed(UnlinkRequested(), 21)
    bench.fails = {LookAtStore}
    bench.feed(EraseFailed(), 21)
    proving(bench, 40)

    assert not bench.state.is_unlinking


def test_an_unlink_ends_an_attempt_first() -> None:
    bench = proving(kept())
    bench.feed(UnlinkRequested(), 21)

    assert bench.disk == OLD
    assert bench.state.stage == Linked()


# -- what people are told


def test_of_linking_people_are_told_first_then_of_keeping_then_of_the_speaker() -> None:
    problem = make_refusal(Trouble.HARDWARE)
    bench = resumed(replace(OLD, account="Kim"))
    bench.feed(ProblemChanged(problem))
    of_speaker = view_of(bench.state)
    bench.feed(TimePassed())
    bench.answer(make_unclear(trouble=Trouble.CAPTIVE_PORTAL))
    of_keeping = view_of(bench.state)
    bench.feed(replace(PRESS, again=True), 100)
    bench.answer(NO_ANSWER, 100)
    of_linking = view_of(bench.state)

    assert (of_speaker.state, of_speaker.trouble, of_speaker.refusal) == (
        StateWord.LINKED,
        Trouble.HARDWARE,
        problem,
    )
    assert (of_speaker.hint, of_speaker.account) == (problem.hint, "Kim")
    assert (of_keeping.state, of_keeping.trouble, of_keeping.refusal) == (
        StateWord.LINKED,
        Trouble.CAPTIVE_PORTAL,
        None,
    )
    assert of_keeping.hint
    assert (of_linking.state, of_linking.trouble) == (StateWord.REQUESTING, Trouble.NO_NETWORK)


def test_a_code_is_told_while_it_is_waited_for() -> None:
    bench = waiting(resumed(None))
    view = view_of(bench.state)

    assert isinstance(view.code_pair, CodePair)
    assert (view.account, view.sequence) == (None, 0)


def test_a_press_tells_the_code_once_more() -> None:
    bench = waiting(resumed(None))
    bench.feed(PRESS, 12)

    assert view_of(bench.state).sequence == 1
    assert isinstance(bench.state.stage, Waiting)


def test_nothing_is_due_where_nothing_goes_on() -> None:
    assert next_moment(SpeakerState()) == float("inf")


def test_a_save_that_is_slow_is_told_as_saving() -> None:
    state, commands = speaker.step(
        waiting(resumed(None)).state,
        CallAnswered(PollToken(make_pair(sent_at=10, interval=5)), make_grant(), 0.5),
        moment(20),
    )

    assert isinstance(state.stage, Saving)
    assert isinstance(commands[-1], StoreGrant)


# -- whose account it is


WITH_PROFILE: Final = replace(NEW, scope="alexa:all profile")
ANNA: Final = Profile("amzn1.account.ANNA", "Anna")


def stage_of(bench: Bench) -> type:
    return type(bench.state.stage)


def proved(link: Link = WITH_PROFILE, *, is_service: bool = False) -> Bench:
    """Have a stored grant of before a restart proved, at 1 s."""
    bench = Bench(disk=link)
    bench.feed(LinkRead(link))
    bench.feed(Started(PRESS, PROVIDER, is_service=is_service))
    bench.answer(make_grant(access_token="proof", refresh_token=None, issued_at=1), 1)
    return bench


@pytest.mark.parametrize("scope", ["profile", "alexa:all profile:user_id", "openid offline_access"])
def test_the_account_is_asked_for_after_the_proof_and_told_with_the_link(scope: str) -> None:
    bench = proved(replace(WITH_PROFILE, scope=scope))
    question = bench.question

    assert isinstance(question, RequestProfile)
    assert question.access_token == make_grant(access_token="proof").access_token
    assert stage_of(bench) is Proving
    bench.answer(ANNA, 2)

    assert stage_of(bench) is Linked
    assert bench.disk is not None
    assert (bench.disk.account, bench.disk.account_id) == ("Anna", "amzn1.account.ANNA")
    view = view_of(bench.state)
    assert (view.account, view.account_name, view.account_id) == ("Anna", "Anna", "amzn1.account.ANNA")


def test_an_account_without_a_name_is_its_user_id_which_no_prompt_tells() -> None:
    bench = proved()
    bench.answer(Profile("amzn1.account.ANNA"), 2)

    view = view_of(bench.state)
    assert (view.account, view.account_name) == ("amzn1.account.ANNA", None)


def test_no_account_is_asked_for_where_the_scope_gives_none() -> None:
    bench = proved(NEW)

    assert isinstance(bench.question, RequestRefresh)
    assert stage_of(bench) is Linked


@pytest.mark.parametrize("answer", [NO_ANSWER, make_unclear()])
def test_an_account_that_stays_unknown_is_never_fatal(answer: Answer) -> None:
    bench = proved()
    bench.answer(answer, 2)

    assert stage_of(bench) is Linked
    assert view_of(bench.state).trouble is Trouble.NONE
    assert in_use(bench).account is None


def test_linked_waits_two_seconds_for_the_account() -> None:
    bench = proved()
    assert next_moment(bench.state) == moment(3)

    bench.feed(TimePassed(), 3)

    assert stage_of(bench) is Linked


def test_a_request_for_the_account_that_times_out_is_over() -> None:
    bench = proved()
    bench.feed(CallTimedOut(bench.question, 0.5), 3)

    assert stage_of(bench) is Linked


def test_an_account_that_comes_too_late_is_not_kept() -> None:
    bench = proved()
    bench.feed(TimePassed(), 3)
    bench.answer(ANNA, 4, is_late=True)

    assert in_use(bench).account is None


def test_an_account_of_a_link_told_before_its_proof_is_kept() -> None:
    bench = Bench(disk=WITH_PROFILE)
    bench.feed(LinkRead(WITH_PROFILE))
    bench.feed(Started(PRESS, PROVIDER))
    bench.answer(NO_ANSWER, 1)
    bench.feed(TimePassed(), 11)
    bench.answer(make_grant(refresh_token=None, issued_at=12), 12)
    bench.answer(ANNA, 13)

    assert in_use(bench).account == "Anna"


def test_a_service_asks_once_for_the_account_of_a_link_of_an_earlier_version() -> None:
    bench = kept(replace(WITH_PROFILE, is_proved=True))
    asked = bench.question
    bench.answer(NO_ANSWER, 2)
    bench.feed(TimePassed(), 3600)
    bench.answer(make_grant(refresh_token=None, issued_at=3600), 3600)

    assert isinstance(asked, RequestProfile)
    assert isinstance(bench.question, RequestRefresh)


def test_an_account_that_is_known_is_not_asked_for() -> None:
    bench = kept(replace(WITH_PROFILE, is_proved=True, account="Anna", account_id="amzn1.account.ANNA"))

    assert isinstance(bench.question, RequestRefresh)


def test_the_account_of_a_link_that_is_kept_no_more_is_not_stored() -> None:
    bench = kept(replace(WITH_PROFILE, is_proved=True))
    bench.feed(UnlinkRequested(), 2)
    bench.feed(StoreErased(), 2)

    assert bench.answer(ANNA, 3) == []


def test_the_account_of_a_link_that_is_replaced_is_not_taken_for_its_successors() -> None:
    bench = kept(replace(WITH_PROFILE, is_proved=True))
    asked = bench.question
    told(bench, 131)
    before = bench.state

    assert isinstance(asked, RequestProfile)
    assert bench.feed(CallAnswered(asked, ANNA, 0.5), 132) == []
    assert bench.state == before


# -- a single refusal


def test_a_single_refusal_of_a_refresh_is_told_as_being_checked() -> None:
    bench = kept()
    bench.feed(TimePassed(), 3000)
    bench.answer(REVOKED, 3001)
    view = view_of(bench.state)

    assert (view.trouble, view.is_checking) == (Trouble.PROVIDER_UNAVAILABLE, True)
    assert view.hint == "Wait a moment."
    bench.feed(TimePassed(), 3020)
    bench.answer(REVOKED, 3021)
    assert (view_of(bench.state).trouble, view_of(bench.state).is_checking) == (Trouble.REVOKED, False)


# -- a store that a power cut empties

DOUBT = "/run/x is in memory. Keep the state on the card."


@pytest.mark.parametrize("doubt", ["", DOUBT])
def test_a_linked_speaker_tells_why_its_link_may_not_last_where_all_else_is_well(doubt: str) -> None:
    bench = Bench(SpeakerState(doubt=doubt))
    bench.feed(speaker.LinkRead(OLD))
    view = view_of(bench.state)

    assert (view.state, view.trouble) == (StateWord.LINKED, Trouble.NONE)
    assert (view.doubt, view.hint) == (doubt, doubt)


def test_a_trouble_and_the_next_step_of_another_state_are_told_before_a_doubt() -> None:
    bench = Bench(SpeakerState(doubt=DOUBT))
    unlinked = view_of(bench.state)
    bench.feed(speaker.LinkRead(OLD))
    bench.feed(ProblemChanged(MISCONFIGURED))
    troubled = view_of(bench.state)

    assert (unlinked.doubt, unlinked.hint) == (DOUBT, STATES[StateWord.UNLINKED].next_step)
    assert (troubled.doubt, troubled.hint) == (DOUBT, MISCONFIGURED.hint)


def test_a_doubt_outlives_the_link() -> None:
    bench = Bench(SpeakerState(doubt=DOUBT))
    bench.feed(speaker.LinkRead(OLD))
    bench.feed(StoreErased())
    bench.feed(speaker.LinkRead(OLD))

    assert view_of(bench.state).doubt == DOUBT


# -- before the store can be read


def test_a_store_that_cannot_be_read_yet_is_told_and_no_code_is_requested() -> None:
    bench = Bench()
    held = make_refusal(Trouble.STORAGE)
    bench.feed(StoreAwaited(held))
    bench.feed(ProblemChanged(MISCONFIGURED))
    before = view_of(bench.state)
    commands = bench.feed(PRESS)

    assert (before.state, before.trouble, before.hint) == (StateWord.STARTING, Trouble.STORAGE, held.hint)
    assert before.refusal == held
    assert commands == []
    assert view_of(bench.state) == replace(before, sequence=before.sequence + 1)


def test_once_it_is_read_the_stored_link_is_told() -> None:
    bench = Bench()
    bench.feed(StoreAwaited(make_refusal(Trouble.STORAGE)))
    bench.feed(LinkRead(make_held_link()))

    assert view_of(bench.state).state is StateWord.LINKED
    assert view_of(bench.state).trouble is Trouble.NONE
