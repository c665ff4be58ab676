"""The machine that keeps a link alive: when to refresh, and what on each answer.

It runs beside the linking machine, one for each link in use. A link that was told is never given up for
anything but ``invalid_grant``, twice; the current access token is served until it ends, whatever happens.
"""

from typing import assert_never

from device_auth.core.models import (
    NEVER,
    Answer,
    Link,
    Mark,
    Monotonic,
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
from device_auth.core.policy import (
    ALARM_WAIT,
    ASK_AGAIN_AFTER,
    CALL_BOUND,
    FRESH_FOR,
    MOST_POLL_WAIT,
    REFRESH_DISTANCE,
    Phase,
    Reaction,
    react,
    refresh_distance,
    refresh_moment,
    refresh_wait,
    start_wait,
)
from device_auth.core.states import Trouble
from device_auth.core.values import dataclass, replace

# ---------------------------------------------------------------------------------------------------------
# Events


@dataclass(frozen=True, slots=True)
class RefreshAnswered:
    """A refresh was answered.

    Attributes:
        draw: chance in [0, 1), for the moment of the next one.
    """

    answer: Answer
    draw: float


@dataclass(frozen=True, slots=True)
class TokenWanted:
    """Someone wants an access token.

    Attributes:
        min_lifetime: that lives at least so long.
        rejected: and that is not this one, which was rejected before its time.
    """

    min_lifetime: Seconds
    rejected: Secret | None = None


@dataclass(frozen=True, slots=True)
class LinkSaved:
    """The link with the result of the last refresh is on the disk."""


@dataclass(frozen=True, slots=True)
class SaveFailed:
    """The link with the result of the last refresh could not be stored; it may be on the disk or not."""


@dataclass(frozen=True, slots=True)
class LinkTold:
    """People have been told "linked": from now on only ``invalid_grant``, twice, ends this link."""


Event = RefreshAnswered | TimePassed | TokenWanted | LinkSaved | SaveFailed | LinkTold


# ---------------------------------------------------------------------------------------------------------
# Commands


@dataclass(frozen=True, slots=True)
class AskRefresh:
    """Refresh this link."""

    link: Link


@dataclass(frozen=True, slots=True)
class SaveLink:
    """Store the next generation of the link, before anything of it is used."""

    link: Link


@dataclass(frozen=True, slots=True)
class Serve:
    """Hand out this access token from now on."""

    grant: TokenGrant


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Hand out no access token any more."""


Command = AskRefresh | SaveLink | Serve | Withdraw


# ---------------------------------------------------------------------------------------------------------
# The state


@dataclass(frozen=True, slots=True)
class Keeping:
    """The state of the machine that keeps one link.

    Attributes:
        link: as it is, or shall be, on the disk.
        grant: the current access token.
        ask_at: when to refresh; None while a refresh is out; never once the link is given up.
        attempt: how many refreshes in a row brought nothing.
        short_lived: how many tokens in a row ended too soon (``refresh_distance``).
        is_doubted: ``invalid_grant`` came, and no success since.
        is_told: people count on this link although no refresh has proved it yet.
        save_at: when to store the link again after the disk failed; never if it is stored.
        trouble: what is in the way.
        refusal: how it ended, if it did, or why the provider rejects it.
    """

    link: Link
    grant: TokenGrant | None = None
    ask_at: Monotonic | None = None
    attempt: int = 0
    short_lived: int = 0
    is_doubted: bool = False
    is_told: bool = False
    save_at: Monotonic = NEVER
    trouble: Trouble = Trouble.NONE
    refusal: Refusal | None = None


Step = tuple[Keeping, tuple[Command, ...]]


def begin(link: Link, now: Monotonic, draw: float = 0.0, grant: TokenGrant | None = None) -> Keeping:
    """Begin to keep a link.

    Args:
        link: as it is on the disk; a marked one is never refreshed.
        now: when.
        draw: chance in [0, 1): how long the first refresh is put off, so that a fleet that starts together spreads
            out; 0: not at all, for a person or a proof that waits for it.
        grant: the access token that is still valid after a restart; it is served already. Its ``expires_in`` may be what
            is left of its life, if no more is known.
    """
    if link.mark is not None:
        return Keeping(link, ask_at=NEVER)
    soonest = later(now, start_wait(draw))
    if grant is None or now >= grant.expires_at:
        return Keeping(link, ask_at=soonest)
    return Keeping(link, grant, ask_at=max(soonest, _refresh_at(grant, draw)))


def step(state: Keeping, event: Event, now: Monotonic) -> Step:
    """Take one step; see ``linking.step``."""
    match event:
        case RefreshAnswered() if _is_awaited(state, event.answer):
            return _take_answer(state, event, now)
        case RefreshAnswered():
            return state, ()
        case TimePassed():
            return _pass_time(state, now)
        case TokenWanted():
            return _want(state, event, now)
        case LinkSaved():
            return replace(state, save_at=NEVER, trouble=_without_storage(state)), ()
        case SaveFailed():
            return replace(state, save_at=later(now, MOST_POLL_WAIT), trouble=Trouble.STORAGE), ()
        case LinkTold():
            return replace(state, is_told=True), ()
        case _:
            assert_never(event)


def next_moment(state: Keeping) -> Monotonic:
    """Return the moment at which the machine needs ``TimePassed``, if no other event comes before."""
    ends = NEVER if state.grant is None else state.grant.expires_at
    return min(NEVER if state.ask_at is None else state.ask_at, ends, state.save_at)


def proof_of(state: Keeping) -> ProofStanding:
    """Return whether the link is shown to hold."""
    if state.link.mark is not None:
        return ProofStanding.REFUSED
    if state.link.is_proved:
        return ProofStanding.HOLDS
    return ProofStanding.DOUBTED if state.is_doubted else ProofStanding.OPEN


def _pass_time(state: Keeping, now: Monotonic) -> Step:
    commands: tuple[Command, ...] = ()
    if state.grant is not None and now >= state.grant.expires_at:
        state, commands = replace(state, grant=None), (Withdraw(),)
    if now >= state.save_at:
        state, commands = replace(state, save_at=NEVER), (*commands, SaveLink(state.link))
    if state.ask_at is not None and now >= state.ask_at:
        return replace(state, ask_at=None), (*commands, AskRefresh(state.link))
    return state, commands


def _want(state: Keeping, event: TokenWanted, now: Monotonic) -> Step:
    """Refresh early if the current token is too short for someone, unless waits are on after a failure.

    Without a current token a refresh is out, or about to be: wishes do not bring a fleet's first refreshes together.
    """
    if (
        state.grant is None
        or _is_enough(state.grant, event, now)
        or now < _soonest(state.grant, state.short_lived, event)
        or state.attempt > 0
        or state.ask_at is None
        or state.link.mark is not None
    ):
        return state, ()
    return replace(state, ask_at=None), (AskRefresh(state.link),)


def _is_enough(grant: TokenGrant, event: TokenWanted, now: Monotonic) -> bool:
    return event.rejected != grant.access_token and lasts(grant, event.min_lifetime, now)


def _soonest(grant: TokenGrant, short_lived: int, event: TokenWanted) -> Monotonic:
    is_rejected = event.rejected == grant.access_token
    wait = FRESH_FOR if is_rejected else refresh_distance(grant.expires_in, short_lived)
    return later(_issue_of(grant), wait)


def age_of(grant: TokenGrant, now: Monotonic) -> Seconds:
    """Return the age of an access token."""
    return Seconds(grant.expires_in - (grant.expires_at - now))


def lasts(grant: TokenGrant, min_lifetime: Seconds, now: Monotonic) -> bool:
    """Return whether an access token lives long enough for someone.

    No more is granted than it had at its birth, less a minute: a longer wish would refresh again and again.
    """
    left = grant.expires_at - now
    return left > 0 and left >= min(min_lifetime, grant.expires_in - REFRESH_DISTANCE)


def is_refresh_near(state: Keeping, now: Monotonic) -> bool:
    """Return whether a refresh is out, or so near that those who want a token may wait for it."""
    if state.ask_at is None:
        return True
    is_starting = state.grant is None and state.attempt == 0
    return is_starting and state.ask_at <= later(now, CALL_BOUND)


def _is_awaited(state: Keeping, answer: Answer) -> bool:
    """Return whether a refresh is out. A grant counts even after that: its refresh token may be the only good one."""
    return state.ask_at is None or (isinstance(answer, TokenGrant) and state.link.mark is None)


def _take_answer(state: Keeping, event: RefreshAnswered, now: Monotonic) -> Step:
    match event.answer:
        case TokenGrant() as grant:
            return _keep(state, grant, event.draw)
        case Refusal() as refusal:
            return _take_refusal(state, refusal, event.draw, now)
        case answer:
            return _try_again(state, answer, event.draw, now)


def _take_refusal(state: Keeping, refusal: Refusal, draw: float, now: Monotonic) -> Step:
    attempt, trouble = state.attempt + 1, refusal.trouble
    match react(refusal, Phase.REFRESHING if state.link.is_proved or state.is_told else Phase.PROVING):
        case Reaction.REFUSE:
            return _give_up(state, refusal, Mark.MISCONFIGURED)
        case Reaction.ASK_AGAIN if state.is_doubted:
            return _give_up(state, refusal, Mark.REVOKED)
        case Reaction.ASK_AGAIN:
            ask_at = later(now, Seconds(ASK_AGAIN_AFTER * (1 + draw)))
            doubted = replace(state, ask_at=ask_at, attempt=attempt, is_doubted=True)
            return replace(doubted, trouble=Trouble.PROVIDER_UNAVAILABLE, refusal=None), ()
        case Reaction.ALARM:
            ask_at = later(now, Seconds(ALARM_WAIT * (0.5 + draw)))
            return replace(state, ask_at=ask_at, attempt=attempt, trouble=trouble, refusal=refusal), ()
        case _:
            return _try_again(state, refusal, draw, now)


def _try_again(state: Keeping, answer: Answer, draw: float, now: Monotonic) -> Step:
    attempt = state.attempt + 1
    ask_at = later(now, refresh_wait(attempt, draw, answer))
    refusal = answer.refusal if isinstance(answer, Unreachable) else None
    trouble = answer.trouble if isinstance(answer, Unclear | Unreachable) else Trouble.PROVIDER_UNAVAILABLE
    return replace(state, ask_at=ask_at, attempt=attempt, trouble=trouble, refusal=refusal), ()


def _keep(state: Keeping, grant: TokenGrant, draw: float) -> Step:
    """Store what changed, then serve. An answer without a refresh token keeps the old one (RFC 6749 §6)."""
    link = state.link
    refresh_token = grant.refresh_token or link.refresh_token
    is_rotated = grant.refresh_token is not None and grant.refresh_token != link.refresh_token
    is_changed = is_rotated or not link.is_proved or link.replaces is not None
    if is_changed:
        link = replace(link, refresh_token=refresh_token, is_proved=True, replaces=None)
    short_lived = state.short_lived + 1 if grant.expires_in < REFRESH_DISTANCE else 0
    soonest = later(_issue_of(grant), refresh_distance(grant.expires_in, short_lived))
    keeping = Keeping(
        link,
        grant,
        ask_at=max(soonest, _refresh_at(grant, draw)),
        short_lived=short_lived,
        is_told=state.is_told,
        save_at=state.save_at,
        trouble=Trouble.STORAGE if state.trouble is Trouble.STORAGE else Trouble.NONE,
    )
    return keeping, ((SaveLink(link), Serve(grant)) if is_changed else (Serve(grant),))


def _refresh_at(grant: TokenGrant, draw: float) -> Monotonic:
    return later(_issue_of(grant), refresh_moment(grant.expires_in, draw))


def _issue_of(grant: TokenGrant) -> Monotonic:
    return Monotonic(grant.expires_at - grant.expires_in)


def _give_up(state: Keeping, refusal: Refusal, mark: Mark) -> Step:
    """Mark the link: it is kept but not used. The store dates the mark."""
    link = replace(state.link, mark=mark)
    given_up = replace(state, link=link, grant=None, ask_at=NEVER, trouble=refusal.trouble, refusal=refusal)
    return given_up, (SaveLink(link), Withdraw())


def _without_storage(state: Keeping) -> Trouble:
    if state.trouble is not Trouble.STORAGE:
        return state.trouble
    return Trouble.NONE if state.refusal is None else state.refusal.trouble
