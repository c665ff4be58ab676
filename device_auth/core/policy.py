"""The reaction to each kind of answer in each phase: one complete table, and its waits.

The table is ``REACTIONS``; the manual shows it (docs/policy.md) and a test holds the two together. The
principle: only an answer that is understood *and* final ends anything; everything else is waited out.
"""

from enum import StrEnum
from typing import Final, assert_never

from device_auth.core.models import (
    Answer,
    CodePair,
    Pending,
    PollRules,
    Profile,
    Refusal,
    Seconds,
    SlowDown,
    TokenGrant,
    Unclear,
    Unreachable,
)
from device_auth.core.states import Trouble


class AnswerKind(StrEnum):
    """The kinds of answer, as far as the policy tells them apart."""

    SUCCESS = "understood success"
    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    PAIR_OVER = "the pair is over"
    DENIED = "access_denied"
    MISCONFIGURED = "the client is not accepted"
    REVOKED = "invalid_grant on a refresh"
    TOLD_TO_WAIT = "any status with Retry-After"
    UNCLEAR = "not understood"
    UNREACHABLE = "no answer"
    CLOCK_NOT_SET = "a certificate not valid at this date"
    CAPTIVE_PORTAL = "a sign-in page"
    CANNOT_BE_SENT = "no request can be sent as this machine is set up"


class Phase(StrEnum):
    """The request that was answered."""

    REQUESTING = "requesting a pair"
    POLLING = "polling"
    PROVING = "proving"
    REFRESHING = "refreshing"


class Reaction(StrEnum):
    """A machine's reaction."""

    SHOW_CODE = "show the code"
    SAVE = "save, then prove"
    KEEP = "save if anything changed, serve the token"
    WAIT = "wait the interval"
    SLOW_DOWN = "lengthen the interval, wait it"
    END_PAIR = "renew if someone is there, else over: expired"
    END = "over"
    ASK_AGAIN = "ask once more after 10 s; then over: mark the grant, keep it, do not use it"
    REFUSE = "over: mark the grant, keep it, do not use it"
    ALARM = "keep the link, say what is wrong, ask again after about an hour"
    OBEY = "wait as long as told, never less than usual"
    BACK_OFF = "wait longer each time"


_R: Final = Reaction
_WAITED_OUT: Final = (_R.BACK_OFF, _R.WAIT, _R.BACK_OFF, _R.BACK_OFF)

REACTIONS: Final[dict[AnswerKind, tuple[Reaction, Reaction, Reaction, Reaction]]] = {
    # in the order of Phase: requesting a pair, polling, proving, refreshing
    AnswerKind.SUCCESS: (_R.SHOW_CODE, _R.SAVE, _R.KEEP, _R.KEEP),
    AnswerKind.PENDING: _WAITED_OUT,
    AnswerKind.SLOW_DOWN: (_R.BACK_OFF, _R.SLOW_DOWN, _R.BACK_OFF, _R.BACK_OFF),
    AnswerKind.PAIR_OVER: (_R.BACK_OFF, _R.END_PAIR, _R.BACK_OFF, _R.BACK_OFF),
    AnswerKind.DENIED: (_R.BACK_OFF, _R.END, _R.BACK_OFF, _R.BACK_OFF),
    AnswerKind.MISCONFIGURED: (_R.END, _R.END, _R.REFUSE, _R.ALARM),
    AnswerKind.REVOKED: (_R.BACK_OFF, _R.END_PAIR, _R.ASK_AGAIN, _R.ASK_AGAIN),
    AnswerKind.TOLD_TO_WAIT: (_R.OBEY, _R.OBEY, _R.OBEY, _R.OBEY),
    AnswerKind.UNCLEAR: _WAITED_OUT,
    AnswerKind.UNREACHABLE: _WAITED_OUT,
    AnswerKind.CLOCK_NOT_SET: _WAITED_OUT,
    AnswerKind.CAPTIVE_PORTAL: _WAITED_OUT,
    AnswerKind.CANNOT_BE_SENT: (_R.END, _R.WAIT, _R.BACK_OFF, _R.BACK_OFF),
}
"""The policy. Cells that the wire never makes (a refusal where it has no meaning) are waited out."""

_COLUMNS: Final = {phase: column for column, phase in enumerate(Phase)}

CALL_BOUND: Final = Seconds(20)
"""No request is waited for longer; requests' own time-outs do not bound a server that drips."""

PROFILE_BOUND: Final = Seconds(2)
"""How long "linked" is held back for the name of the account."""

REQUEST_WAITS: Final = (0, 1, 2, 4, 10, 30, 60)
"""Waits in seconds before asking for a pair again; the last repeats. Source: AVS Device SDK's retry table."""

REFRESH_WAITS: Final = (0, 1, 2, 4, 10, 30, 60, 120, 300)
"""Waits in seconds before refreshing again: for a link that lasts years, patience grows further."""

MOST_REFRESH_WAIT: Final = Seconds(300)

MOST_POLL_WAIT: Final = Seconds(60)
"""A dialect that doubles does so up to here, and so do polls that time out; the provider's own interval may be longer."""

SLOW_DOWN_STEP: Final = Seconds(5)
"""Added to the interval on each ``slow_down``. Source: RFC 8628 §3.5."""

ASK_AGAIN_AFTER: Final = Seconds(10)
"""Least time between two ``invalid_grant`` before a link is believed to be revoked."""

ALARM_WAIT: Final = Seconds(3600)
"""How long to leave a provider alone that rejects the client of a link already told."""

START_SPREAD: Final = Seconds(5)
"""A fleet that starts together after a power cut spreads its first refreshes over so long; docs/fleet.md has the figures."""

ASKED_WAIT_SPREAD: Final = 0.1
"""A wait that the provider asks for is lengthened by up to so much of itself, lest all who were told return as one."""

MOST_ASKED_WAIT: Final = Seconds(3600)
"""Spreading makes no wait longer than this."""

FRESH_FOR: Final = Seconds(30)
"""An access token younger than this is not refreshed even if it was rejected."""

REFRESH_DISTANCE: Final = Seconds(60)
"""No two refreshes are closer, whatever lifetime is wished for, unless the token between them was rejected or has ended."""

_REFUSALS: Final = {
    Trouble.EXPIRED: AnswerKind.PAIR_OVER,
    Trouble.DENIED: AnswerKind.DENIED,
    Trouble.MISCONFIGURED: AnswerKind.MISCONFIGURED,
    Trouble.REVOKED: AnswerKind.REVOKED,
}

_TROUBLES: Final = {
    Trouble.CLOCK_NOT_SET: AnswerKind.CLOCK_NOT_SET,
    Trouble.CAPTIVE_PORTAL: AnswerKind.CAPTIVE_PORTAL,
}


def kind_of(answer: Answer) -> AnswerKind:
    """Return which row of the table an answer belongs to."""
    match answer:
        case CodePair() | TokenGrant() | Profile():
            return AnswerKind.SUCCESS
        case Pending():
            return AnswerKind.PENDING
        case SlowDown():
            return AnswerKind.SLOW_DOWN
        case Refusal():
            return _REFUSALS[answer.trouble]
        case Unclear():
            if answer.trouble in _TROUBLES:
                return _TROUBLES[answer.trouble]
            return AnswerKind.UNCLEAR if answer.retry_after is None else AnswerKind.TOLD_TO_WAIT
        case Unreachable():
            if answer.trouble is Trouble.MISCONFIGURED:
                return AnswerKind.CANNOT_BE_SENT
            return _TROUBLES.get(answer.trouble, AnswerKind.UNREACHABLE)
        case _:
            assert_never(answer)


def react(answer: Answer, phase: Phase) -> Reaction:
    """Look an answer up in the table."""
    return REACTIONS[kind_of(answer)][_COLUMNS[phase]]


def request_wait(attempt: int, draw: float, answer: Answer) -> Seconds:
    """Return how long to wait before asking for a pair again.

    Args:
        attempt: how many times it has failed in a row, from 1.
        draw: chance in [0, 1): spreads the wait by half of itself both ways.
        answer: the last one; a longer wait it asks for is obeyed, spread by up to a tenth, upward only.
    """
    return _spread(REQUEST_WAITS, attempt, draw, answer)


def refresh_wait(attempt: int, draw: float, answer: Answer) -> Seconds:
    """Return how long to wait before refreshing again, at most 300 s unless told to; as ``request_wait``."""
    return _spread(REFRESH_WAITS, attempt, draw, answer, most=MOST_REFRESH_WAIT)


def poll_wait(interval: Seconds, timeouts: int, answer: Answer) -> Seconds:
    """Return how long to wait before the next poll, never less than the interval.

    Args:
        interval: the present one of the pair.
        timeouts: how many polls in a row have timed out; each doubles the wait, up to 60 s.
        answer: the last one; a longer wait it asks for is obeyed.
    """
    doubled = min(interval * 2 ** min(timeouts, 16), MOST_POLL_WAIT)
    return Seconds(max(interval, doubled, asked_wait(answer)))


def slower(rules: PollRules, interval: Seconds, told: Seconds) -> Seconds:
    """Lengthen the interval after ``slow_down``; it is never lowered, and never less than told from then on."""
    if not rules.slow_down_doubles:
        return Seconds(interval + SLOW_DOWN_STEP)
    longer = max(interval * 2, interval + SLOW_DOWN_STEP)
    return Seconds(max(interval, told, min(longer, MOST_POLL_WAIT)))


def asked_wait(answer: Answer) -> Seconds:
    """Return how long the answer itself asks us to wait, ``slow_down`` at least 5 s; 0 if it does not."""
    match answer:
        case SlowDown():
            return max(SLOW_DOWN_STEP, answer.retry_after or Seconds(0))
        case Pending() | Unclear():
            return answer.retry_after or Seconds(0)
        case CodePair() | TokenGrant() | Profile() | Refusal() | Unreachable():
            return Seconds(0)
        case _:
            assert_never(answer)


def start_wait(draw: float) -> Seconds:
    """Return how long to wait before the first refresh after a start without a current token."""
    return Seconds(START_SPREAD * draw)


def refresh_moment(lifetime: Seconds, draw: float) -> Seconds:
    """Return how long after its issue an access token is to be refreshed.

    Ten minutes before its end (half its life, if that is shorter), never later than 80 % of its life, and
    up to a tenth of its life earlier by chance, so that a fleet that started together spreads out.

    Source: AVS Device SDK, ``accessTokenRefreshHeadStart``.
    """
    head_start = min(600.0, lifetime / 2)
    return Seconds(min(lifetime - head_start, 0.8 * lifetime) - 0.1 * lifetime * draw)


def refresh_distance(lifetime: Seconds, short_lived: int) -> Seconds:
    """Return how long after the issue of an access token the next refresh is due at the earliest.

    A token that ends sooner than ``REFRESH_DISTANCE`` is refreshed at its end; each further one in a row doubles the
    distance, up to that: each refresh may write to the card.

    Args:
        lifetime: of the token.
        short_lived: how many tokens in a row, this one among them, end so soon.
    """
    return Seconds(min(lifetime * 2 ** min(max(short_lived - 1, 0), 16), REFRESH_DISTANCE))


def _spread(
    waits: tuple[int, ...], attempt: int, draw: float, answer: Answer, most: float = float("inf")
) -> Seconds:
    usual = waits[min(attempt, len(waits)) - 1] * (0.5 + draw)
    asked = asked_wait(answer)
    spread = min(asked * (1 + ASKED_WAIT_SPREAD * draw), MOST_ASKED_WAIT)
    return Seconds(max(min(usual, most), asked, spread))
