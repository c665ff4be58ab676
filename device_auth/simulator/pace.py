"""The pace of polls: the interval that a client is held to, and when it is answered truly.

LWA tells 30 s, and answers its own clients truly, which poll every 5 s; RFC 8628 means what it tells.
Source: RFC 8628 §3.5; LWA "Retrieve a User Code"; AVS Device SDK, CBLAuthDelegate.cpp, and public logs of it.
"""

from dataclasses import replace
from typing import Final

from device_auth.core.models import DialectName
from device_auth.simulator.faults import Fault
from device_auth.simulator.models import IssuedPair
from device_auth.simulator.referee import Breach, RuleName

DEFAULT_INTERVAL: Final = 5
"""Seconds between polls if the response names none. Source: RFC 8628 §3.2."""

LWA_LEAST_INTERVAL: Final = 5
"""Seconds; polls of LWA's dialect that come closer are too early, whatever longer interval is told."""

_SLOW_DOWN_STEP: Final = 5
_SLOW_DOWN_CEILING: Final = 60
_TOLERANCE: Final = 0.001
"""Seconds forgiven: the server notes the end of a response before it sends the last byte."""

_WAY: Final = 0.25
"""Seconds of an answer's way that count towards LWA's least interval, which is told to nobody."""


def interval_sent(usual: int, fault: Fault) -> int:
    """Return the interval in the response with a code pair, which the referee enforces."""
    if "interval" in fault.change:
        changed = fault.change["interval"]
        return changed if isinstance(changed, int) and changed > 0 else DEFAULT_INTERVAL
    return usual if fault.interval is None else fault.interval


def judge_poll(pair: IssuedPair, now: float) -> Breach | None:
    """Return the rule that a poll breaks now, counted from the last response, whatever that was."""
    if pair.told_final is not None:
        return pair.told_final, "A code pair was polled again after its final answer."
    due = max(pair.not_before, pair.heard_at + _least_interval(pair))
    if now < due - _tolerance(pair):
        sentence = f"Polled {due - now:.3f} s too early; the interval is {_least_interval(pair)} s."
        return RuleName.POLLED_TOO_EARLY, sentence
    if now < pair.heard_at + pair.interval - _TOLERANCE and not pair.was_noted:
        sentence = f"Polled after {now - pair.heard_at:.3f} s; the told interval is {pair.interval} s."
        return RuleName.POLL_BELOW_TOLD, sentence
    return None


def is_due(pair: IssuedPair, now: float) -> bool:
    """Return whether a poll may be answered truly now, counted from the last true response.

    A client that never waits long enough is so linked in the end: no wait grows beyond a minute, or the told interval.
    """
    wait = min(_least_interval(pair), max(pair.interval, _SLOW_DOWN_CEILING))
    return now >= pair.answered_at + wait - _tolerance(pair)


def slowed(pair: IssuedPair) -> IssuedPair:
    """Lengthen the least interval of a code pair by five seconds; in LWA, up to a minute.

    Source: RFC 8628 §3.5. LWA gives no figure; Amazon's SDK doubles up to a minute, which is never less than this.
    """
    longer = _least_interval(pair) + _SLOW_DOWN_STEP
    if pair.applicant.dialect is DialectName.LWA:
        longer = min(longer, _SLOW_DOWN_CEILING)
    return replace(pair, slowed_to=longer)


def _least_interval(pair: IssuedPair) -> int:
    """Return the interval below which a poll is too early."""
    is_lwa = pair.applicant.dialect is DialectName.LWA
    return pair.slowed_to or (min(pair.interval, LWA_LEAST_INTERVAL) if is_lwa else pair.interval)


def _tolerance(pair: IssuedPair) -> float:
    is_told = pair.slowed_to > 0 or _least_interval(pair) == pair.interval
    return _TOLERANCE if is_told else _WAY
