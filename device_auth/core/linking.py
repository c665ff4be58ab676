"""The machine that links a speaker: from where linking stands, what happened and when, to what comes next.

Start reading at ``step``. A state holds only its own data; an event says what happened; a command says what the
world is to do. Command line, daemon and rig run this same machine. Nobody is told "linked" before
the disk knows, and only an answer that is understood and final ends a code pair.
"""

from typing import Final, assert_never

from device_auth.core.models import (
    FOREVER,
    NEVER,
    Answer,
    CodePair,
    Flow,
    Monotonic,
    PollRules,
    ProofStanding,
    Refusal,
    Seconds,
    Secret,
    TimePassed,
    TokenGrant,
    Unclear,
    Unreachable,
    later,
)
from device_auth.core.policy import PROFILE_BOUND, Phase, Reaction, poll_wait, react, request_wait, slower
from device_auth.core.states import StateWord, Trouble
from device_auth.core.values import dataclass, replace

TROUBLE_TOLD_FOR: Final = Seconds(600)
"""How long ``denied``, ``expired`` and what was in the way of a request given up are told before they clear by
themselves; what a person has to mend is told until then."""

PROOF_TIMEOUT: Final = Seconds(10)
"""How long "linked" is held back for a proof that cannot be had for a passing reason."""

SAVE_WAITS: Final = (Seconds(1), Seconds(2), Seconds(4))
"""Waits before saving again: a grant that is not on the disk yet is worth more than one try."""

QUICKEST_APPROVAL: Final = Seconds(15)
"""Hardly an owner approves sooner than this after leaving the speaker's page; measured in docs/fleet.md."""

LONGEST_WAY: Final = Seconds(0.25)
"""How much of the time that a poll is out counts towards an interval shorter than told; more would bring polls closer at
the provider than that interval, for the way of each is another."""


# ---------------------------------------------------------------------------------------------------------
# Events: what happened


@dataclass(frozen=True, slots=True)
class LinkRequested:
    """Someone asks for a link: a press, a local command, the rig.

    Attributes:
        rules: how the dialect wants to be polled.
        renewals: how many times an expired code is renewed by itself.
        present_until: until when someone is plainly there; after it no code is renewed.
        give_up_after: how long a code is asked for if none can be had, and again for each renewal.
        again: ask for a new pair although there is a link.
        postpones_within: how soon after the owner left a poll must be due to be postponed; 0: none is. Where ``rules``
            let a poll hurry, none is either.
        leaves_no_trace: a grant that is refused leaves the store as it was, even where there was no link.
    """

    rules: PollRules
    renewals: int = 0
    present_until: Monotonic = NEVER
    give_up_after: Seconds = FOREVER
    again: bool = False
    postpones_within: Seconds = QUICKEST_APPROVAL
    leaves_no_trace: bool = False

    @property
    def gives_way(self) -> bool:
        """Return whether the store is put back as it was if the new grant is refused."""
        return self.again or self.leaves_no_trace


@dataclass(frozen=True, slots=True)
class PairFound:
    """A code pair from before a restart still lives."""

    request: LinkRequested
    pair: CodePair
    interval: Seconds


@dataclass(frozen=True, slots=True)
class GrantFound:
    """A stored grant was found that has not been proved."""

    request: LinkRequested


@dataclass(frozen=True, slots=True)
class GrantSubmitted:
    """A grant came by another way than a code pair; it is saved and proved like any other.

    Attributes:
        refresh_token: all that is kept of it.
        flow: which way.
    """

    request: LinkRequested
    refresh_token: Secret
    flow: Flow


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person or a program cancelled linking."""


@dataclass(frozen=True, slots=True)
class OwnerLeft:
    """The owner left the speaker's page by its link, to approve; any device on the network can report so."""


@dataclass(frozen=True, slots=True)
class OwnerBack:
    """The speaker's page is visible again; any device on the network can report so."""


@dataclass(frozen=True, slots=True)
class StoreProved:
    """A link could be saved now."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The grant is on the disk, and read back."""


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store could not be written."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request for a code pair, or a poll, was answered.

    Attributes:
        draw: chance in [0, 1), for the wait that may follow.
    """

    answer: Answer
    draw: float


@dataclass(frozen=True, slots=True)
class ProofChanged:
    """The proof, which is the first refresh of a saved grant, has made progress.

    Attributes:
        may_ask_account: its scope lets us ask whose account it is.
    """

    standing: ProofStanding
    trouble: Trouble
    refusal: Refusal | None = None
    may_ask_account: bool = False


@dataclass(frozen=True, slots=True)
class AccountAnswered:
    """The request for the account's name has ended, with a name or without."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """There is no link any more: revoked (then with the refusal) or unlinked."""

    refusal: Refusal | None = None


Event = (
    LinkRequested
    | PairFound
    | GrantFound
    | GrantSubmitted
    | Cancelled
    | OwnerLeft
    | OwnerBack
    | TimePassed
    | StoreProved
    | Saved
    | StoreFailed
    | Answered
    | ProofChanged
    | AccountAnswered
    | LinkLost
)


# ---------------------------------------------------------------------------------------------------------
# Commands: what to do


@dataclass(frozen=True, slots=True)
class ProveStore:
    """Show that a link could be saved, before anyone is shown a code."""


@dataclass(frozen=True, slots=True)
class RequestCodePair:
    """Ask the provider for a code pair."""


@dataclass(frozen=True, slots=True)
class PollToken:
    """Ask the provider whether the owner has approved."""

    pair: CodePair


@dataclass(frozen=True, slots=True)
class DropCall:
    """Do not wait for the answer that is out there."""


@dataclass(frozen=True, slots=True)
class KeepPending:
    """Keep the code pair over a restart."""

    pair: CodePair
    interval: Seconds


@dataclass(frozen=True, slots=True)
class ForgetPending:
    """The code pair is over."""


@dataclass(frozen=True, slots=True)
class SaveGrant:
    """Store the grant; a former link stays in it until this one is proved."""

    refresh_token: Secret
    flow: Flow = Flow.DEVICE_CODE


@dataclass(frozen=True, slots=True)
class ProveGrant:
    """Refresh the stored grant once."""


@dataclass(frozen=True, slots=True)
class AskAccount:
    """Ask whose account the proved grant belongs to."""


@dataclass(frozen=True, slots=True)
class UseLink:
    """Refresh and serve the new link from now on: people are told of it."""


@dataclass(frozen=True, slots=True)
class UndoSave:
    """Put the store back as it was before the grant was saved."""


@dataclass(frozen=True, slots=True)
class TellAgain:
    """Tell people once more."""


Command = (
    ProveStore
    | RequestCodePair
    | PollToken
    | DropCall
    | KeepPending
    | ForgetPending
    | SaveGrant
    | ProveGrant
    | AskAccount
    | UseLink
    | UndoSave
    | TellAgain
)


# ---------------------------------------------------------------------------------------------------------
# States: where linking stands


@dataclass(frozen=True, slots=True)
class Unlinked:
    """There is no link, and none is being made.

    Attributes:
        trouble: why the last attempt ended, until ``clears_at``.
        refusal: why, in words.
    """

    trouble: Trouble = Trouble.NONE
    refusal: Refusal | None = None
    clears_at: Monotonic = NEVER


@dataclass(frozen=True, slots=True)
class Requesting:
    """A code pair is wanted; meanwhile the store is proved, for an owner waits for the slower of the two.

    Attributes:
        ask_at: when to ask; None while the question is out, and once it is answered.
        attempt: how many questions in a row brought nothing.
        give_up_at: until when to ask.
        is_proved: a link could be saved; no code is shown before.
        pair: came before the store was proved.
    """

    request: LinkRequested
    ask_at: Monotonic | None = None
    attempt: int = 0
    trouble: Trouble = Trouble.NONE
    give_up_at: Monotonic = NEVER
    is_proved: bool = False
    pair: CodePair | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A code pair is told, and the owner awaited.

    Attributes:
        interval: the one in use.
        poll_at: when to poll; None while a poll is out: then there is no next one.
        timeouts: how many polls in a row have timed out.
        postponed_from: when the next poll would have been due had it not been postponed; never if it is not.
        may_postpone: no poll of this pair has been postponed yet, and one may be.
        hurries_from: from when on an owner who is back is polled for.
        polled_at: when the last poll went out.
    """

    request: LinkRequested
    pair: CodePair
    interval: Seconds
    poll_at: Monotonic | None
    timeouts: int = 0
    trouble: Trouble = Trouble.NONE
    postponed_from: Monotonic = NEVER
    may_postpone: bool = False
    hurries_from: Monotonic = NEVER
    polled_at: Monotonic = NEVER


@dataclass(frozen=True, slots=True)
class Saving:
    """The owner approved; the grant is on its way to the disk.

    Attributes:
        save_at: when to try again; None while a save is under way.
        attempt: how many saves failed.
        is_cancelled: the link is not wanted after all: it is undone as soon as the disk answers.
    """

    request: LinkRequested
    refresh_token: Secret
    flow: Flow = Flow.DEVICE_CODE
    save_at: Monotonic | None = None
    attempt: int = 0
    is_cancelled: bool = False
    trouble: Trouble = Trouble.NONE


@dataclass(frozen=True, slots=True)
class Proving:
    """The grant is on the disk, and is refreshed once before anyone is told.

    Attributes:
        tell_at: when "linked" is told even without a proof, or once proved without the name of the account; never
            while the proof is in doubt.
    """

    request: LinkRequested
    tell_at: Monotonic
    trouble: Trouble = Trouble.NONE


@dataclass(frozen=True, slots=True)
class Linked:
    """There is a link; how an attempt at another one ended is told until ``clears_at``."""

    trouble: Trouble = Trouble.NONE
    refusal: Refusal | None = None
    clears_at: Monotonic = NEVER


State = Unlinked | Requesting | Waiting | Saving | Proving | Linked

Step = tuple[State, tuple[Command, ...]]


def step(state: State, event: Event, now: Monotonic) -> Step:
    """Take one step.

    Args:
        state: where linking stands.
        event: what happened. Any event may come in any state; those without a meaning change nothing.
        now: when; never earlier than at the last step.

    Returns:
        Where linking stands now, and what the world shall do, in this order.
    """
    match state:
        case Unlinked() | Linked():
            return _resting(state, event, now)
        case Requesting():
            return _requesting(state, event, now)
        case Waiting():
            return _waiting(state, event, now)
        case Saving():
            return _saving(state, event, now)
        case Proving():
            return _proving(state, event, now)
        case _:
            assert_never(state)


def next_moment(state: State) -> Monotonic:
    """Return the moment at which the machine needs ``TimePassed``, if no other event comes before."""
    match state:
        case Unlinked() | Linked():
            return state.clears_at
        case Requesting():
            return min(state.give_up_at, NEVER if state.ask_at is None else state.ask_at)
        case Waiting():
            return NEVER if state.poll_at is None else min(state.poll_at, state.pair.expires_at)
        case Saving():
            return NEVER if state.save_at is None else state.save_at
        case Proving():
            return state.tell_at
        case _:
            assert_never(state)


def word_of(state: State) -> StateWord:
    """Name a state in the word that people and programs are told."""
    match state:
        case Unlinked():
            return StateWord.UNLINKED
        case Requesting():
            return StateWord.REQUESTING
        case Waiting():
            return StateWord.WAITING
        case Saving():
            return StateWord.SAVING
        case Proving():
            return StateWord.PROVING
        case Linked():
            return StateWord.LINKED
        case _:
            assert_never(state)


def _resting(state: Unlinked | Linked, event: Event, now: Monotonic) -> Step:
    is_linked = isinstance(state, Linked)
    match event:
        case LinkRequested() if is_linked and not event.again:
            return Linked(), (TellAgain(),)
        case LinkRequested():
            return _request(replace(event, again=is_linked), now), (RequestCodePair(), ProveStore())
        case PairFound():
            request = replace(event.request, again=is_linked)
            interval = max(event.interval, request.rules.interval(event.pair.interval))
            return Waiting(request, event.pair, interval, later(now, interval)), ()
        case GrantFound():
            return Proving(event.request, later(now, PROOF_TIMEOUT)), (ForgetPending(), ProveGrant())
        case GrantSubmitted():
            request = replace(event.request, again=is_linked)
            save = SaveGrant(event.refresh_token, event.flow)
            return Saving(request, event.refresh_token, event.flow), (save,)
        case TimePassed() if now >= state.clears_at:
            return type(state)(), ()
        case LinkLost():
            return Unlinked(_trouble(event.refusal), event.refusal), ()
        case (
            TimePassed()
            | Cancelled()
            | OwnerLeft()
            | OwnerBack()
            | StoreProved()
            | Saved()
            | StoreFailed()
            | Answered()
            | ProofChanged()
            | AccountAnswered()
        ):
            return state, ()
        case _:
            assert_never(event)


def _request(request: LinkRequested, now: Monotonic) -> Requesting:
    return Requesting(request, give_up_at=later(now, request.give_up_after))


def _requesting(state: Requesting, event: Event, now: Monotonic) -> Step:
    match event:
        case StoreProved() if state.pair is not None:
            return _show(state.request, state.pair, now)
        case StoreProved():
            return replace(state, is_proved=True), ()
        case StoreFailed() if not state.is_proved:
            return _rest(state.request, _storage(event), now), (DropCall(),)
        case TimePassed() if now >= state.give_up_at:
            return _give_up(state, now), (DropCall(),)
        case TimePassed() if state.ask_at is not None and now >= state.ask_at:
            return replace(state, ask_at=None), (RequestCodePair(),)
        case Answered() if state.ask_at is None and state.pair is None:
            return _take_request_answer(state, event, now)
        case LinkRequested():
            give_up_at = max(state.give_up_at, later(now, event.give_up_after))
            request = _still_wanted(state.request, event)
            return replace(state, request=request, give_up_at=give_up_at), (TellAgain(),)
        case Cancelled():
            return _rest(state.request, None, now), (DropCall(),)
        case LinkLost():
            return replace(state, request=replace(state.request, again=False)), ()
        case (
            TimePassed()
            | OwnerLeft()
            | OwnerBack()
            | Answered()
            | PairFound()
            | GrantFound()
            | GrantSubmitted()
            | StoreFailed()
            | Saved()
            | ProofChanged()
            | AccountAnswered()
        ):
            return state, ()
        case _:
            assert_never(event)


def _give_up(state: Requesting, now: Monotonic) -> State:
    """Tell for a while why no code came; nobody checks any more whether that has passed."""
    clears_at = NEVER if state.trouble is Trouble.NONE else later(now, TROUBLE_TOLD_FOR)
    return replace(_rest(state.request, None, now), trouble=state.trouble, clears_at=clears_at)


def _take_request_answer(state: Requesting, event: Answered, now: Monotonic) -> Step:
    answer = event.answer
    match answer:
        case CodePair() if state.is_proved:
            return _show(state.request, answer, now)
        case CodePair():
            return replace(state, pair=answer), ()
        case Refusal() if react(answer, Phase.REQUESTING) is Reaction.END:
            return _rest(state.request, answer, now), ()
        case Unreachable(refusal=Refusal() as refusal):
            return _rest(state.request, refusal, now), ()
        case _:
            attempt = state.attempt + 1
            wait = request_wait(attempt, event.draw, answer)
            return replace(state, ask_at=later(now, wait), attempt=attempt, trouble=_trouble(answer)), ()


def _show(request: LinkRequested, pair: CodePair, now: Monotonic) -> Step:
    rules = request.rules
    interval = rules.interval(pair.interval)
    first = now if rules.first_at_once else later(now, interval)
    may_postpone = request.postpones_within > 0 and rules.hurries_after is None
    waiting = Waiting(request, pair, interval, first, may_postpone=may_postpone)
    return waiting, (KeepPending(pair, interval),)


def _waiting(state: Waiting, event: Event, now: Monotonic) -> Step:
    match event:
        case TimePassed() if state.poll_at is not None and now >= state.pair.expires_at:
            return _end_pair(state, _ran_out(), now)
        case TimePassed() if state.poll_at is not None and now >= state.poll_at:
            polling = replace(state, poll_at=None, postponed_from=NEVER, polled_at=now)
            return polling, (PollToken(state.pair),)
        case Answered() if state.poll_at is None or isinstance(event.answer, TokenGrant):
            return _take_poll_answer(state, event.answer, now)
        case OwnerLeft() if state.poll_at is not None and state.may_postpone:
            return _postpone(state, state.poll_at, now), ()
        case OwnerBack():
            return _hurry(state, now), ()
        case LinkRequested():
            hurried = _hurry(state, now)
            return replace(hurried, request=_still_wanted(state.request, event)), (TellAgain(),)
        case Cancelled():
            return _rest(state.request, None, now), (DropCall(), ForgetPending())
        case LinkLost():
            return replace(state, request=replace(state.request, again=False)), ()
        case (
            TimePassed()
            | OwnerLeft()
            | Answered()
            | PairFound()
            | GrantFound()
            | GrantSubmitted()
            | StoreProved()
            | Saved()
            | StoreFailed()
            | ProofChanged()
            | AccountAnswered()
        ):
            return state, ()
        case _:
            assert_never(event)


def _hurry(state: Waiting, now: Monotonic) -> Waiting:
    """Poll soon for an owner who is back, or taps."""
    if state.poll_at is None:
        return state
    soonest = min(state.postponed_from, state.hurries_from)
    return replace(state, poll_at=min(state.poll_at, max(now, soonest)))


def _postpone(state: Waiting, poll_at: Monotonic, now: Monotonic) -> State:
    """Keep back a poll that would come too early for the owner's approval, until he is back from it.

    By one interval at most, once a pair, and only if another poll still fits in after it: so a link is never
    missed for it, whoever says that the owner has left.
    """
    postponed = later(poll_at, state.interval)
    is_last = later(postponed, state.interval) >= state.pair.expires_at
    if is_last or poll_at - now > state.request.postpones_within:
        return state
    return replace(state, poll_at=postponed, postponed_from=poll_at, may_postpone=False)


def _take_poll_answer(state: Waiting, answer: Answer, now: Monotonic) -> Step:
    match answer:
        case TokenGrant(refresh_token=Secret() as refresh_token):
            return Saving(state.request, refresh_token), (SaveGrant(refresh_token),)
        case Refusal():
            if react(answer, Phase.POLLING) is Reaction.END_PAIR:
                return _end_pair(state, answer, now)
            return _rest(state.request, answer, now), (ForgetPending(),)
        case _:
            return _poll_later(state, answer, now)


def _poll_later(state: Waiting, answer: Answer, now: Monotonic) -> Step:
    is_slower = react(answer, Phase.POLLING) is Reaction.SLOW_DOWN
    rules, told = state.request.rules, state.pair.interval
    interval = slower(rules, state.interval, told) if is_slower else state.interval
    timeouts = state.timeouts + 1 if isinstance(answer, Unreachable) and answer.timed_out else 0
    wait, hurries_after = poll_wait(interval, timeouts, answer), rules.hurries_after
    # after slow_down the interval stands, and so does a wait that was asked for
    is_held_back = interval > rules.interval(told) or wait > interval
    # a told interval counts from the answer; a shorter one is our own, and counts from the poll
    since = now if is_held_back or interval >= told else max(state.polled_at, Monotonic(now - LONGEST_WAY))
    waiting = replace(
        state,
        interval=interval,
        poll_at=later(since, wait),
        hurries_from=NEVER if hurries_after is None or is_held_back else later(since, hurries_after),
        timeouts=timeouts,
        trouble=_trouble(answer),
    )
    return waiting, ((KeepPending(state.pair, interval),) if is_slower else ())


def _end_pair(state: Waiting, refusal: Refusal, now: Monotonic) -> Step:
    """Renew while someone is there; the disk may have filled up since the last code, so it is proved again."""
    request = state.request
    if request.renewals > 0 and now <= request.present_until:
        renewed = replace(request, renewals=request.renewals - 1)
        return _request(renewed, now), (ForgetPending(), RequestCodePair(), ProveStore())
    return _rest(request, replace(refusal, trouble=Trouble.EXPIRED), now), (ForgetPending(),)


def _saving(state: Saving, event: Event, now: Monotonic) -> Step:
    match event:
        case Saved() if state.is_cancelled:
            return _rest(state.request, None, now), (UndoSave(), ForgetPending())
        case Saved():
            return Proving(state.request, later(now, PROOF_TIMEOUT)), (ForgetPending(), ProveGrant())
        case StoreFailed() if state.attempt < len(SAVE_WAITS) and not state.is_cancelled:
            save_at = later(now, SAVE_WAITS[state.attempt])
            return replace(state, save_at=save_at, attempt=state.attempt + 1, trouble=Trouble.STORAGE), ()
        case StoreFailed():  # where only the read-back failed, the next start would find the grant
            return _rest(state.request, _storage(event), now), (UndoSave(), ForgetPending())
        case TimePassed() if state.save_at is not None and now >= state.save_at:
            return replace(state, save_at=None), (SaveGrant(state.refresh_token, state.flow),)
        case Cancelled() if state.save_at is not None:
            return _rest(state.request, None, now), (UndoSave(), ForgetPending())
        case Cancelled():
            return replace(state, is_cancelled=True), ()
        case LinkLost():
            return replace(state, request=replace(state.request, again=False)), ()
        case (
            TimePassed()
            | OwnerLeft()
            | OwnerBack()
            | LinkRequested()
            | PairFound()
            | GrantFound()
            | GrantSubmitted()
            | StoreProved()
            | Answered()
            | ProofChanged()
            | AccountAnswered()
        ):
            return state, ()
        case _:
            assert_never(event)


def _proving(state: Proving, event: Event, now: Monotonic) -> Step:
    match event:
        case ProofChanged():
            return _take_proof(state, event, now)
        case TimePassed() if now >= state.tell_at:
            return Linked(), (UseLink(),)
        case AccountAnswered():
            return Linked(), (UseLink(),)
        case Cancelled():
            return _rest(state.request, None, now), (DropCall(), UndoSave())
        case LinkLost():
            return replace(state, request=replace(state.request, again=False)), ()
        case (
            TimePassed()
            | OwnerLeft()
            | OwnerBack()
            | LinkRequested()
            | PairFound()
            | GrantFound()
            | GrantSubmitted()
            | StoreProved()
            | Saved()
            | StoreFailed()
            | Answered()
        ):
            return state, ()
        case _:
            assert_never(event)


def _take_proof(state: Proving, event: ProofChanged, now: Monotonic) -> Step:
    match event.standing:
        case ProofStanding.HOLDS if event.may_ask_account:
            return replace(state, tell_at=later(now, PROFILE_BOUND), trouble=Trouble.NONE), (AskAccount(),)
        case ProofStanding.HOLDS:
            return Linked(), (UseLink(),)
        case ProofStanding.OPEN:
            return replace(state, trouble=event.trouble), ()
        case ProofStanding.DOUBTED:
            return replace(state, trouble=event.trouble, tell_at=NEVER), ()
        case ProofStanding.REFUSED:
            undo = (UndoSave(),) if state.request.gives_way else ()
            return _rest(state.request, event.refusal, now), undo
        case _:
            assert_never(event.standing)


def _still_wanted(request: LinkRequested, press: LinkRequested) -> LinkRequested:
    """Take over from a second press that someone is there, for longer than the first one said."""
    return replace(
        request,
        renewals=max(request.renewals, press.renewals),
        present_until=max(request.present_until, press.present_until),
        give_up_after=max(request.give_up_after, press.give_up_after),
    )


def _rest(request: LinkRequested, refusal: Refusal | None, now: Monotonic) -> Unlinked | Linked:
    """Return the state after an attempt that brought no new link: a former link is still in force."""
    trouble = _trouble(refusal)
    clears = trouble in {Trouble.DENIED, Trouble.EXPIRED}
    clears_at = later(now, TROUBLE_TOLD_FOR) if clears else NEVER
    return (Linked if request.again else Unlinked)(trouble, refusal, clears_at)


def _trouble(answer: Answer | None) -> Trouble:
    return answer.trouble if isinstance(answer, Refusal | Unclear | Unreachable) else Trouble.NONE


def _storage(event: StoreFailed) -> Refusal:
    return Refusal(Trouble.STORAGE, "", event.message, event.hint)


def _ran_out() -> Refusal:
    return Refusal(
        Trouble.EXPIRED, "", "the code ran out before it was used", "Ask for a new code: device-auth link"
    )
