"""The machine of one speaker: which of two links lives, as one pure value.

It composes ``linking`` and ``refresh`` and takes every decision between them: which link is in use, which is on
trial, which one comes back when an attempt is undone, whose access token is handed out, which answer is too late.
The store's results come back as events, so a whole history can be played to it without a disk.

At any moment there are at most two links: the one *in use*, which is refreshed and served, and the one *on trial*,
which is on the disk and not yet told. The store holds one link; a new one names the link that it ``replaces`` until
it is proved, so a power cut loses neither.
"""

from typing import Final, TypeGuard, assert_never

from device_auth.core import linking, refresh
from device_auth.core.models import (
    MARKS,
    NEVER,
    Answer,
    Flow,
    Link,
    Monotonic,
    PendingPair,
    Profile,
    ProofStanding,
    Provider,
    Refusal,
    Secret,
    TimePassed,
    TokenGrant,
    Unclear,
    Unreachable,
    View,
    later,
)
from device_auth.core.policy import CALL_BOUND, MOST_POLL_WAIT, PROFILE_BOUND
from device_auth.core.states import TROUBLES, StateWord, Trouble, phrase_of
from device_auth.core.values import dataclass, replace

ACCOUNT_SCOPES: Final = frozenset({"profile", "profile:user_id", "openid"})
"""With one of these the provider tells whose account it is. Source: LWA "Customer Profile"; OpenID Connect Core §5.4."""

# ---------------------------------------------------------------------------------------------------------
# Commands: what to do. Those of ``linking`` and ``refresh`` that need nothing added are passed on as they are.


@dataclass(frozen=True, slots=True)
class RequestRefresh:
    """Ask the provider for a new access token.

    Attributes:
        number: of the kept link.
    """

    number: int
    link: Link


@dataclass(frozen=True, slots=True)
class RequestProfile:
    """Ask the provider whose account a link belongs to.

    Attributes:
        number: of the kept link.
        access_token: of its last refresh.
    """

    number: int
    link: Link
    access_token: Secret


Question = linking.RequestCodePair | linking.PollToken | RequestRefresh | RequestProfile
"""A request to the provider."""


@dataclass(frozen=True, slots=True)
class DropCalls:
    """Wait for no answer any more, except to refreshes of the kept link with this number."""

    except_of: int | None


@dataclass(frozen=True, slots=True)
class StoreGrant:
    """Make a link of a new grant, and store it over every other; answered by ``GrantStored`` or ``StoreFailed``.

    Attributes:
        former: the link in force, which the new one names until it is proved.
    """

    refresh_token: Secret
    flow: Flow
    former: Link | None


@dataclass(frozen=True, slots=True)
class StoreLink:
    """Store the next generation of the stored link; answered by ``LinkStored`` or ``LinkNotStored``.

    Attributes:
        number: of the kept link that changed.
        link: as it shall lie on the disk; a mark is dated by the store.
    """

    number: int
    link: Link


@dataclass(frozen=True, slots=True)
class LookAtStore:
    """Read the store; answered by ``StoreSeen`` or ``StoreNotSeen``."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Store this link over every other, or none at all; answered by ``PutBackDone`` or ``PutBackFailed``."""

    link: Link | None


@dataclass(frozen=True, slots=True)
class UseProvider:
    """Ask this provider from now on: it issued the code pair of an earlier run."""

    provider: Provider


@dataclass(frozen=True, slots=True)
class ReportRefreshEnded:
    """Report to those who wait for a token that a refresh has ended, well or not.

    Attributes:
        next_at: when the next one is due; never if none is, or if one is out.
    """

    next_at: Monotonic = NEVER


Command = (
    linking.ProveStore
    | linking.KeepPending
    | linking.ForgetPending
    | Question
    | refresh.Serve
    | refresh.Withdraw
    | DropCalls
    | StoreGrant
    | StoreLink
    | LookAtStore
    | PutBack
    | UseProvider
    | ReportRefreshEnded
)


# ---------------------------------------------------------------------------------------------------------
# Events: what happened, beside those of ``linking``


@dataclass(frozen=True, slots=True)
class LinkRead:
    """The store was read before a start.

    Attributes:
        link: the stored link, or None.
        lost: why a stored link cannot be used, if its key is lost, or if it is plain beside a key.
    """

    link: Link | None
    lost: Refusal | None = None


@dataclass(frozen=True, slots=True)
class StoreAwaited:
    """The store cannot be read yet: another process holds its lock, or the disk refuses.

    Attributes:
        refusal: why, and what to do; told until the store is read.
    """

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Started:
    """The program has started; an attempt of an earlier run goes on.

    Attributes:
        request: what an attempt is like.
        provider: the one in the settings, if there is one.
        pending: the code pair that an earlier run left.
        is_service: keep the stored link and wait for a press; else request a code at once.
        token: the access token that an earlier run left.
        draw: chance in [0, 1), for the moment of the first refresh.
    """

    request: linking.LinkRequested
    provider: Provider | None = None
    pending: PendingPair | None = None
    is_service: bool = False
    token: TokenGrant | None = None
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class KeepLinked:
    """This stored link is to be refreshed now, and again in time."""

    link: Link


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A request was answered.

    Attributes:
        is_late: nobody waited for it any more.
        draw: chance in [0, 1), for the wait that may follow.
    """

    question: Question
    answer: Answer
    draw: float
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class CallTimedOut:
    """A request was out for ``CALL_BOUND``, and is waited for no longer."""

    question: Question
    draw: float


@dataclass(frozen=True, slots=True)
class GrantStored:
    """The new grant is on the disk, and read back."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkStored:
    """A changed link is on the disk."""

    number: int
    link: Link


@dataclass(frozen=True, slots=True)
class LinkNotStored:
    """A changed link could not be stored; it may be on the disk or not."""

    number: int
    link: Link


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """The store holds this link, or none that can be read."""

    link: Link | None


@dataclass(frozen=True, slots=True)
class StoreNotSeen:
    """The store could not be read."""


@dataclass(frozen=True, slots=True)
class PutBackDone:
    """The store holds this link again, or none."""

    link: Link | None


@dataclass(frozen=True, slots=True)
class PutBackFailed:
    """The store could not be put back as it was."""


@dataclass(frozen=True, slots=True)
class UnlinkRequested:
    """The store is about to be erased."""


@dataclass(frozen=True, slots=True)
class StoreErased:
    """No generation of any link is left."""


@dataclass(frozen=True, slots=True)
class EraseFailed:
    """The store could not be erased; it may be empty or not."""


@dataclass(frozen=True, slots=True)
class ProblemChanged:
    """The problem of the speaker itself has changed; None: there is none."""

    problem: Refusal | None


@dataclass(frozen=True, slots=True)
class RepeatRequested:
    """Someone wants to be told once more."""


_Attempt = (
    linking.LinkRequested
    | linking.GrantSubmitted
    | linking.Cancelled
    | linking.OwnerLeft
    | linking.OwnerBack
    | linking.StoreProved
    | linking.StoreFailed
)
"""Events that concern linking alone."""

Event = (
    _Attempt
    | TimePassed
    | refresh.TokenWanted
    | StoreAwaited
    | LinkRead
    | Started
    | KeepLinked
    | CallAnswered
    | CallTimedOut
    | GrantStored
    | LinkStored
    | LinkNotStored
    | StoreSeen
    | StoreNotSeen
    | PutBackDone
    | PutBackFailed
    | UnlinkRequested
    | StoreErased
    | EraseFailed
    | ProblemChanged
    | RepeatRequested
)


# ---------------------------------------------------------------------------------------------------------
# The state


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """The number of answers of each kind while linking, to name the cause of a time-out.

    Attributes:
        usable: answers in a documented form.
        unclear: answers in none.
        problem: what was wrong with the last one that was not usable, or with the way to it.
    """

    usable: int = 0
    unclear: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class KeptLink:
    """One link being kept.

    Attributes:
        number: unlike that of every other; answers to its refreshes bear it.
        has_asked_account: whether it was asked whose account it is; that is done once.
    """

    number: int
    keeping: refresh.Keeping
    has_asked_account: bool = False


@dataclass(frozen=True, slots=True)
class OwedWrite:
    """The disk may not hold what it should.

    Attributes:
        link: what it should hold where no link is in use; None: no link at all.
        look_at: when to look again.
    """

    link: Link | None
    look_at: Monotonic = NEVER


@dataclass(frozen=True, slots=True)
class SpeakerState:
    """The state of the machine of one speaker.

    Attributes:
        stage: where linking stands.
        stored: the link on the disk, as far as is known.
        overwritten: what was stored, or owed to the disk, before the last grant was stored.
        in_use: the link that is refreshed and served.
        on_trial: the new link, refreshed once before anyone is told.
        owed: what the disk should hold and may not.
        is_service: a stored link is kept without anyone asking for it.
        is_unlinking: the store may be erased, or not.
        next_number: for the next kept link.
        answers: what came while linking.
        problem: of the speaker itself, told where nothing else is.
        awaited: why the store cannot be read yet, so that nothing is known of a link.
        sequence: of the view; goes up each time people are to be told again.
        doubt: why what is stored may not outlast a power cut; empty if it does.
    """

    stage: linking.State = linking.Unlinked()
    stored: Link | None = None
    overwritten: Link | None = None
    in_use: KeptLink | None = None
    on_trial: KeptLink | None = None
    owed: OwedWrite | None = None
    is_service: bool = False
    is_unlinking: bool = False
    next_number: int = 1
    answers: AnswerCounts = AnswerCounts()
    problem: Refusal | None = None
    awaited: Refusal | None = None
    sequence: int = 0
    doubt: str = ""


Step = tuple[SpeakerState, tuple[Command, ...]]


def step(state: SpeakerState, event: Event, now: Monotonic) -> Step:
    """Take one step.

    Args:
        state: where the speaker stands.
        event: what happened. Any event may come in any state.
        now: when; never earlier than at the last step.

    Returns:
        Where the speaker stands now, and the commands to carry out in this order. The result of a command on the
        store is the next event, before the command after it is carried out.
    """
    match event:
        case TimePassed():
            return _pass_time(state, now)
        case refresh.TokenWanted():
            return _want_token(state, event, now)
        case StoreAwaited(refusal):
            return replace(state, awaited=refusal), ()
        case linking.LinkRequested() if state.awaited is not None:
            # there may be a link, and a new one could not be stored
            return replace(state, sequence=state.sequence + 1), ()
        case LinkRead():
            return _read(replace(state, awaited=None), event), ()
        case Started():
            return _start(state, event, now)
        case KeepLinked(link):
            return _begin_to_keep(
                replace(_read(state, LinkRead(link)), stage=linking.Linked()), link, now
            ), ()
        case CallAnswered():
            return _take_answer(state, event, now)
        case CallTimedOut():
            # RFC 8628 §3.5 wants longer waits between polls after a time-out
            bound = PROFILE_BOUND if isinstance(event.question, RequestProfile) else CALL_BOUND
            what = f"no answer within {bound:.0f} s"
            answer = Unreachable(Trouble.PROVIDER_UNAVAILABLE, what, timed_out=True)
            return _take_answer(state, CallAnswered(event.question, answer, event.draw), now)
        case GrantStored(link):
            return _link(replace(state, stored=link, is_unlinking=False), linking.Saved(), now)
        case LinkStored(number, link):
            return _keep(replace(state, stored=link), number, refresh.LinkSaved(), now)
        case LinkNotStored():
            return _note_failed_save(state, event, now)
        case StoreSeen(link) if state.is_unlinking:
            return _forget(state) if link is None else _stay_linked(state, link, now)
        case StoreSeen(link):
            return _see_store(state, link, now)
        case PutBackDone(link):
            return _settle(state, link, now), ()
        case StoreNotSeen() | PutBackFailed():
            # the disk holds a link that is not in use: it is corrected as soon as the disk can be written
            look_at = later(now, MOST_POLL_WAIT)
            owed = OwedWrite(state.stored) if state.owed is None else state.owed
            return replace(state, owed=replace(owed, look_at=look_at)), ()
        case UnlinkRequested():
            # a kill after the store is erased must leave no token behind
            state, commands = _link(state, linking.Cancelled(), now)
            return state, (*commands, refresh.Withdraw(), linking.ForgetPending())
        case StoreErased():
            return _forget(state)
        case EraseFailed():
            return replace(state, is_unlinking=True), (LookAtStore(),)
        case ProblemChanged(problem):
            return replace(state, problem=problem), ()
        case RepeatRequested():
            return replace(state, sequence=state.sequence + 1), ()
        case _:
            return _link(state, event, now)


def next_moment(state: SpeakerState) -> Monotonic:
    """Return the moment at which the machine needs ``TimePassed``, if no other event comes before."""
    moments = [refresh.next_moment(kept.keeping) for kept in _kept_links(state)]
    return min(
        linking.next_moment(state.stage), NEVER if state.owed is None else state.owed.look_at, *moments
    )


def view_of(state: SpeakerState) -> View:
    """Return what people are told now: of linking first, then of keeping, then of the speaker itself."""
    if state.awaited is not None:
        why = state.awaited
        return View(StateWord.STARTING, why.trouble, why.hint, refusal=why, sequence=state.sequence)
    trouble, refusal = state.stage.trouble, getattr(state.stage, "refusal", None)
    if trouble is Trouble.NONE and state.in_use is not None:
        trouble, refusal = state.in_use.keeping.trouble, state.in_use.keeping.refusal
    if trouble is Trouble.NONE and isinstance(state.stage, linking.Unlinked) and state.stored is not None:
        # the end of an attempt is told for a while; the link that is kept and not used, for as long as it is
        trouble = Trouble.NONE if state.stored.mark is None else MARKS[state.stored.mark]
    if trouble is Trouble.NONE and state.problem is not None:
        trouble, refusal = state.problem.trouble, state.problem
    word = linking.word_of(state.stage)
    is_checking = trouble is Trouble.PROVIDER_UNAVAILABLE and any(
        kept.keeping.is_doubted for kept in _kept_links(state)
    )
    is_well = word is StateWord.LINKED and trouble is Trouble.NONE
    hint = state.doubt if is_well else phrase_of(word, trouble, is_checking=is_checking).next_step
    return View(
        state=word,
        trouble=trouble,
        hint=hint if refusal is None else refusal.hint,
        code_pair=state.stage.pair if isinstance(state.stage, linking.Waiting) else None,
        refusal=refusal,
        account=None if state.stored is None else state.stored.account,
        account_id=None if state.stored is None else state.stored.account_id,
        sequence=state.sequence,
        is_checking=is_checking,
        doubt=state.doubt,
    )


# ---------------------------------------------------------------------------------------------------------
# Starting


def _read(state: SpeakerState, event: LinkRead) -> SpeakerState:
    if event.lost is not None:
        unlinked = linking.Unlinked(event.lost.trouble, event.lost)
        return replace(state, stored=None, overwritten=None, stage=unlinked)
    state = replace(state, stored=event.link, overwritten=None)
    return replace(state, stage=linking.Linked()) if _is_in_force(event.link) else state


def _start(state: SpeakerState, event: Started, now: Monotonic) -> Step:
    """Go on with what a restart cut short: first with a stored grant, then with a code pair."""
    state, link = replace(state, is_service=event.is_service), state.stored
    commands: tuple[Command, ...] = ()
    if _is_in_force(link) and not link.is_proved:
        if event.is_service:
            commands = (refresh.Withdraw(),)
        request = replace(event.request, again=_is_in_force(link.replaces))
        state, more = _link(state, linking.GrantFound(request), now)
        return state, commands + more
    if event.is_service:
        state, commands = _take_up(state, event, now)
    pending = event.pending
    if pending is not None and event.provider is not None:
        if pending.pair.expires_at > now and _is_issued_by(event.provider, pending.provider):
            found = linking.PairFound(event.request, pending.pair, pending.interval)
            state, more = _link(state, found, now)
            return state, (*commands, UseProvider(pending.provider), *more)
        commands = (*commands, linking.ForgetPending())
    if not event.is_service:
        state, more = _link(state, event.request, now)
        return state, commands + more
    if link is not None and link.mark is not None:
        trouble = MARKS[link.mark]
        told = TROUBLES[trouble]
        refusal = None if trouble is Trouble.NONE else Refusal(trouble, "", told.sentence, told.next_step)
        state = replace(state, stage=linking.Unlinked(trouble, refusal))
    return state, commands


def _take_up(state: SpeakerState, event: Started, now: Monotonic) -> Step:
    """Keep the stored link if there is one in force, and serve the token of before a restart if it still lives."""
    if not _is_in_force(state.stored):
        return state, (refresh.Withdraw(),)
    state = _begin_to_keep(state, state.stored, now, event.draw, event.token)
    grant = None if state.in_use is None else state.in_use.keeping.grant
    return state, ((refresh.Withdraw() if grant is None else refresh.Serve(grant)),)


def _is_issued_by(wanted: Provider, issuer: Provider) -> bool:
    """Return whether a code pair's provider is the one wanted; endpoints that are not known yet do not count."""
    filled = replace(
        wanted,
        device_endpoint=wanted.device_endpoint or issuer.device_endpoint,
        token_endpoint=wanted.token_endpoint or issuer.token_endpoint,
        revocation_endpoint=wanted.revocation_endpoint or issuer.revocation_endpoint,
        userinfo_endpoint=wanted.userinfo_endpoint or issuer.userinfo_endpoint,
        secret_by_basic=wanted.secret_by_basic or issuer.secret_by_basic,
    )
    return filled == issuer


# ---------------------------------------------------------------------------------------------------------
# Answers


def _take_answer(state: SpeakerState, event: CallAnswered, now: Monotonic) -> Step:
    """Take an answer. A late answer counts only if it holds a grant that is still wanted."""
    question, answer = event.question, event.answer
    is_grant = isinstance(answer, TokenGrant)
    if isinstance(question, RequestRefresh):
        if isinstance(answer, TokenGrant) and not _is_kept(state, question.number):
            return _take_former(state, question.link, answer)
        if event.is_late and not is_grant:
            return state, ()
        return _keep(state, question.number, refresh.RefreshAnswered(answer, event.draw), now)
    if isinstance(question, RequestProfile):
        return (state, ()) if event.is_late else _take_profile(state, question.number, answer, now)
    is_for_this_pair = (
        isinstance(question, linking.PollToken)
        and isinstance(state.stage, linking.Waiting)
        and state.stage.pair == question.pair
    )
    if event.is_late and not (is_grant and is_for_this_pair):
        return state, ()
    counted = replace(state, answers=_count(state.answers, answer))
    return _link(counted, linking.Answered(answer, event.draw), now)


def _take_profile(state: SpeakerState, number: int, answer: Answer, now: Monotonic) -> Step:
    """Keep whose account it is, if that is known now; "linked" waits for it no longer."""
    kept = next((kept for kept in _kept_links(state) if kept.number == number), None)
    if kept is None:
        return state, ()
    is_on_trial = kept is state.on_trial
    commands: tuple[Command, ...] = ()
    if isinstance(answer, Profile):
        link = replace(kept.keeping.link, account=answer.name or answer.user_id, account_id=answer.user_id)
        kept = replace(kept, keeping=replace(kept.keeping, link=link))
        state = replace(state, on_trial=kept) if is_on_trial else replace(state, in_use=kept)
        commands = _store_link(state, kept, link)
    if is_on_trial:
        state, more = _link(state, linking.AccountAnswered(), now)
        commands += more
    return state, commands


def _take_former(state: SpeakerState, link: Link, grant: TokenGrant) -> Step:
    """Store the refresh token of a replaced link that rotated while its successor was told: it may come back."""
    in_use = state.in_use
    former = None if in_use is None else in_use.keeping.link.replaces
    if in_use is None or former is None or not _is_same(former, link) or grant.refresh_token is None:
        return state, ()
    successor = replace(in_use.keeping.link, replaces=replace(former, refresh_token=grant.refresh_token))
    in_use = replace(in_use, keeping=replace(in_use.keeping, link=successor))
    return replace(state, in_use=in_use), _store_link(state, in_use, successor)


def _count(answers: AnswerCounts, answer: Answer) -> AnswerCounts:
    if isinstance(answer, Unclear):
        return replace(answers, unclear=answers.unclear + 1, problem=answer.what)
    if isinstance(answer, Unreachable):
        return replace(answers, problem=answer.what)
    return replace(answers, usable=answers.usable + 1)


def _want_token(state: SpeakerState, event: refresh.TokenWanted, now: Monotonic) -> Step:
    """Refresh early; where no refresh comes of it, that is reported at once to those who wait for one."""
    if state.in_use is None:
        return state, (_refresh_ended(state),)
    state, commands = _keep(state, state.in_use.number, event, now)
    assert state.in_use is not None, "a wish ends no link"  # noqa: S101  our own bug
    is_coming = refresh.is_refresh_near(state.in_use.keeping, now)
    return state, commands if is_coming else (*commands, _refresh_ended(state))


def _pass_time(state: SpeakerState, now: Monotonic) -> Step:
    state, commands = _link(state, TimePassed(), now)
    for kept in _kept_links(state):
        state, more = _keep(state, kept.number, TimePassed(), now)
        commands += more
    if state.owed is not None and now >= state.owed.look_at:
        commands = (*commands, LookAtStore())
    return state, commands


# ---------------------------------------------------------------------------------------------------------
# Linking, and what it says of links


def _link(state: SpeakerState, event: linking.Event, now: Monotonic) -> Step:
    """Step the linking machine. A trial that ends otherwise than by being put to use is over."""
    stepped, said = linking.step(state.stage, event, now)
    state = replace(state, stage=stepped)
    commands: tuple[Command, ...] = ()
    for command in said:
        state, more = _carry_on(state, command, now)
        commands += more
    if not isinstance(stepped, linking.Proving):
        state = replace(state, on_trial=None)
    return state, commands


def _carry_on(state: SpeakerState, command: linking.Command, now: Monotonic) -> Step:
    match command:
        case linking.DropCall():
            # a cancel does not concern the link in use
            return state, (DropCalls(None if state.in_use is None else state.in_use.number),)
        case linking.SaveGrant(refresh_token, flow):
            return _store_grant(state, refresh_token, flow)
        case linking.ProveGrant():
            assert state.stored is not None, "a grant is proved after it is stored"  # noqa: S101  our own bug
            number, keeping = state.next_number, refresh.begin(state.stored, now)
            state = replace(state, on_trial=KeptLink(number, keeping), next_number=number + 1)
            return _keep(state, number, TimePassed(), now)
        case linking.AskAccount():
            assert state.on_trial is not None, "an account is asked for after its proof"  # noqa: S101  our own bug
            asking, question = _ask_account(state.on_trial)
            return replace(state, on_trial=asking), question
        case linking.UseLink():
            return _put_to_use(state, now)
        case linking.UndoSave():
            # without a link in use, a published token belongs to the link that is undone
            withdraw = () if state.in_use is not None else (refresh.Withdraw(),)
            return replace(state, owed=OwedWrite(_former(state))), (*withdraw, LookAtStore())
        case linking.TellAgain():
            return replace(state, sequence=state.sequence + 1), ()
        case (
            linking.ProveStore()
            | linking.RequestCodePair()
            | linking.PollToken()
            | linking.KeepPending()
            | linking.ForgetPending()
        ):
            return state, (command,)
        case _:
            assert_never(command)


def _store_grant(state: SpeakerState, refresh_token: Secret, flow: Flow) -> Step:
    """Store a new grant. It, or its undoing, settles what the disk is owed."""
    # a write that is owed never comes now, so what it was to bring counts as stored
    overwritten = state.stored if state.owed is None else _wanted(state, state.owed)
    former = overwritten if state.in_use is None else state.in_use.keeping.link
    former = former if _is_in_force(former) else None
    command = StoreGrant(refresh_token, flow, former)
    # without a link in use, a published token belongs to a former owner
    withdraw = () if former is not None else (refresh.Withdraw(),)
    # after an erasing that failed the store may be empty, until this is stored
    return replace(state, overwritten=overwritten, owed=None), (*withdraw, command)


def _put_to_use(state: SpeakerState, now: Monotonic) -> Step:
    """Serve the new link in place of the former one: it is told now."""
    kept = state.on_trial
    assert kept is not None, "a link is put to use after its trial"  # noqa: S101  our own bug
    keeping, _ = refresh.step(kept.keeping, refresh.LinkTold(), now)
    former = None if state.in_use is None else state.in_use.keeping.link
    if former is not None and _is_same(former, keeping.link.replaces):
        # its refresh token may have rotated during the trial, and it comes back if the new link is refused
        keeping = replace(keeping, link=replace(keeping.link, replaces=former))
    state = replace(state, in_use=replace(kept, keeping=keeping), on_trial=None)
    # without a token of its own, the published token belongs to the former link
    return state, (refresh.Withdraw() if keeping.grant is None else refresh.Serve(keeping.grant),)


def _former(state: SpeakerState) -> Link | None:
    """Return the link that was there before the save."""
    if state.stored is None or _is_same(state.stored, state.overwritten):
        return state.stored
    replaced = state.stored.replaces
    # the mark of a link that was given up may not be on the disk yet
    return state.overwritten if replaced is None or _is_same(replaced, state.overwritten) else replaced


def _see_store(state: SpeakerState, found: Link | None, now: Monotonic) -> Step:
    """Compare what the store holds with what it should: after a failed save, either link may be on the disk."""
    if state.owed is None:
        return state, ()
    wanted = _wanted(state, state.owed)
    if found == wanted:
        return _settle(state, found, now), ()
    return replace(state, stored=found), (PutBack(wanted),)


def _wanted(state: SpeakerState, owed: OwedWrite) -> Link | None:
    """Return what the disk should hold: of the link in use, the refresh token may have rotated unsaved."""
    return owed.link if state.in_use is None else state.in_use.keeping.link


def _settle(state: SpeakerState, link: Link | None, now: Monotonic) -> SpeakerState:
    """Keep the link that is back on the disk, if the restart that cut its successor short had let it go."""
    state = replace(state, stored=link, owed=None)
    is_let_go = state.is_service and state.in_use is None
    return _begin_to_keep(state, link, now) if is_let_go and _is_in_force(link) else state


def _forget(state: SpeakerState) -> Step:
    """Start again without a link; every answer to an earlier request is ignored."""
    forgotten = SpeakerState(
        is_service=state.is_service,
        next_number=state.next_number,
        answers=state.answers,
        problem=state.problem,
        sequence=state.sequence,
        doubt=state.doubt,
    )
    return forgotten, (DropCalls(None),)


def _stay_linked(state: SpeakerState, found: Link, now: Monotonic) -> Step:
    """Serve on: the disk holds a link still, and the next start would find it."""
    grant = None if state.in_use is None else state.in_use.keeping.grant
    state, commands = _see_store(replace(state, is_unlinking=False), found, now)
    return state, commands if grant is None else (refresh.Serve(grant), *commands)


# ---------------------------------------------------------------------------------------------------------
# Keeping, and what it says of links


def _begin_to_keep(
    state: SpeakerState, link: Link, now: Monotonic, draw: float = 0.0, grant: TokenGrant | None = None
) -> SpeakerState:
    kept = KeptLink(state.next_number, refresh.begin(link, now, draw, grant))
    return replace(state, in_use=kept, next_number=state.next_number + 1)


def _keep(state: SpeakerState, number: int, event: refresh.Event, now: Monotonic) -> Step:
    """Step the refreshing machine of a kept link, if it is still kept."""
    kept = next((kept for kept in _kept_links(state) if kept.number == number), None)
    if kept is None:
        return state, ()
    was_proved = kept.keeping.link.is_proved
    keeping, said = refresh.step(kept.keeping, event, now)
    kept, is_on_trial = replace(kept, keeping=keeping), kept is state.on_trial
    state = replace(state, on_trial=kept) if is_on_trial else replace(state, in_use=kept)
    commands: tuple[Command, ...] = ()
    for command in said:
        match command:
            case refresh.AskRefresh(link):
                commands = (*commands, RequestRefresh(number, link))
            case refresh.SaveLink(link):
                commands += _store_link(state, kept, link)
            case refresh.Serve() | refresh.Withdraw():
                # no token is served for a link that people were not told of, or that may be erased
                is_held_back = is_on_trial or state.is_unlinking
                commands = commands if is_held_back else (*commands, command)
            case _:
                assert_never(command)
    if isinstance(event, refresh.RefreshAnswered):
        is_first = not was_proved and keeping.link.is_proved
        state, more = _judge(state, kept, now, is_first=is_first)
        commands += more
    return state, commands


def _store_link(state: SpeakerState, kept: KeptLink, link: Link) -> tuple[Command, ...]:
    """Store a changed link, or write it into the link on trial that replaces it."""
    if link.mark is not None and _gives_way(state, kept):
        return ()  # undone at once: a kill must not find the former link marked over
    stored = state.stored
    if stored is not None and not _is_same(stored, link):
        link = replace(stored, replaces=None if link.mark is not None else link)
    is_final = stored is not None and stored.replaces is not None and link.replaces is None
    # a kill after the save must not leave a former owner's token to be found
    return (*((refresh.Withdraw(),) if is_final else ()), StoreLink(kept.number, link))


def _gives_way(state: SpeakerState, kept: KeptLink) -> bool:
    """Return whether a link that is refused now gives way to what was there before it."""
    if kept is state.on_trial:
        return isinstance(state.stage, linking.Proving) and state.stage.request.gives_way
    return kept.keeping.link.replaces is not None


def _may_ask_account(kept: KeptLink) -> bool:
    """Return whether to ask whose account it is: once, after a refresh, where the scope gives an answer."""
    link, grant = kept.keeping.link, kept.keeping.grant
    is_given = not ACCOUNT_SCOPES.isdisjoint(link.scope.split())
    return is_given and grant is not None and link.account_id is None and not kept.has_asked_account


def _ask_account(kept: KeptLink) -> tuple[KeptLink, tuple[Command, ...]]:
    grant = kept.keeping.grant
    assert grant is not None, "an account is asked for with an access token"  # noqa: S101  our own bug
    question = RequestProfile(kept.number, kept.keeping.link, grant.access_token)
    return replace(kept, has_asked_account=True), (question,)


def _judge(state: SpeakerState, kept: KeptLink, now: Monotonic, *, is_first: bool) -> Step:
    """Take the progress of the proof, or the loss of the link in use.

    Args:
        state: where the speaker stands.
        kept: the link.
        now: when.
        is_first: whether this refresh was the first to succeed.
    """
    keeping = kept.keeping
    standing = refresh.proof_of(keeping)
    may_ask = (state.is_service or is_first) and _may_ask_account(kept)
    commands: tuple[Command, ...] = ()
    if kept is state.on_trial:
        changed = linking.ProofChanged(standing, keeping.trouble, keeping.refusal, may_ask)
        state, commands = _link(state, changed, now)
        is_in_use = state.in_use is not None and state.in_use.number == kept.number
        return state, (*commands, _refresh_ended(state)) if is_in_use else commands
    if may_ask:
        asking, commands = _ask_account(kept)
        state = replace(state, in_use=asking)
    if standing is ProofStanding.REFUSED:
        state, commands = _give_up(replace(state, in_use=None), keeping, now)
    return state, (*commands, _refresh_ended(state))


def _refresh_ended(state: SpeakerState) -> ReportRefreshEnded:
    ask_at = None if state.in_use is None else state.in_use.keeping.ask_at
    return ReportRefreshEnded(NEVER if ask_at is None else ask_at)


def _give_up(state: SpeakerState, lost: refresh.Keeping, now: Monotonic) -> Step:
    """Let the link in use go. One that was told and never proved gives way to the link that it replaced."""
    former, stored = lost.link.replaces, state.stored
    is_on_disk = _is_same(stored, lost.link)
    if _is_same(state.overwritten, lost.link):
        # an undoing brings it back marked, or what it gives way to
        state = replace(state, overwritten=lost.link if former is None else former)
    if former is None:
        if not is_on_disk and state.on_trial is not None:
            # the link on trial has nothing to give way to any more
            trial = replace(state.on_trial.keeping, link=replace(state.on_trial.keeping.link, replaces=None))
            state = replace(state, on_trial=replace(state.on_trial, keeping=trial))
        if state.owed is not None:
            state = replace(state, owed=replace(state.owed, link=lost.link))
        return _link(state, linking.LinkLost(lost.refusal), now)
    state = _begin_to_keep(state, former, now)
    if isinstance(state.stage, linking.Linked | linking.Unlinked):
        told_until = later(now, linking.TROUBLE_TOLD_FOR)
        state = replace(state, stage=linking.Linked(lost.trouble, lost.refusal, told_until))
    if is_on_disk or stored is None or state.owed is not None:
        return replace(state, owed=OwedWrite(former)), (LookAtStore(),)
    # another new link, on trial, names the one that is lost
    return state, (StoreLink(state.next_number - 1, replace(stored, replaces=former)),)


def _note_failed_save(state: SpeakerState, event: LinkNotStored, now: Monotonic) -> Step:
    """Save again in time: by the link's own machine, or, once it is given up, so that its mark is not lost."""
    if _is_kept(state, event.number):
        return _keep(state, event.number, refresh.SaveFailed(), now)
    if event.link.mark is None:
        return state, ()
    look_at = later(now, MOST_POLL_WAIT)
    return replace(state, stored=event.link, owed=OwedWrite(event.link, look_at)), ()


# ---------------------------------------------------------------------------------------------------------


def _kept_links(state: SpeakerState) -> list[KeptLink]:
    return [kept for kept in (state.in_use, state.on_trial) if kept is not None]


def _is_kept(state: SpeakerState, number: int) -> bool:
    return any(kept.number == number for kept in _kept_links(state))


def _is_in_force(link: Link | None) -> TypeGuard[Link]:
    return link is not None and link.mark is None


def _is_same(one: Link | None, other: Link | None) -> bool:
    """Return whether both are generations of one link, or none is there."""
    return (one and one.link_id) == (other and other.link_id)
