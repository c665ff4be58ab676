"""What the doctor asks and what it finds: a check with a stable code, and one finding for each."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from device_auth.core.values import dataclass

HEALTHY: Final = 0
"""The exit code of a finding that is no failure."""

USUAL_LIMIT: Final = 10.0
"""Seconds after which a check is given up."""


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        verdict: how it came out.
        sentence: what is so, or why it was skipped; one sentence that may also be spoken.
        next_step: what a person should do; empty where there is nothing to do.
        exit_code: of the failure's kind (sysexits(3), as in ``core.errors``); ``HEALTHY`` unless it failed.
        facts: more for the report, by name; values are text, and never a secret.
    """

    verdict: Verdict
    sentence: str
    next_step: str = ""
    exit_code: int = HEALTHY
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One question.

    Attributes:
        code: a letter for the group and a number, such as ``N1``; never given to another check.
        name: what its failure is called, such as ``no-route``; as stable as the code.
        look: finds out; blocks for a few seconds at the most; a bug or a hang in it is the examination's to catch.
        after: the codes of checks that must not have failed or been skipped for this one to make sense.
        limit: seconds after which it is given up.
    """

    code: str
    name: str
    look: Callable[[], Finding]
    after: tuple[str, ...] = ()
    limit: float = USUAL_LIMIT


def ok(sentence: str, **facts: str) -> Finding:
    """Say that all is well."""
    return Finding(Verdict.OK, sentence, facts=tuple(facts.items()))


def warn(sentence: str, next_step: str, **facts: str) -> Finding:
    """Return what works but should be looked at."""
    return Finding(Verdict.WARN, sentence, next_step, facts=tuple(facts.items()))


def fail(sentence: str, next_step: str, exit_code: int, **facts: str) -> Finding:
    """Return what is broken.

    Args:
        sentence: what is so.
        next_step: what to do.
        exit_code: of the failure's kind.
        facts: more for the report.
    """
    return Finding(Verdict.FAIL, sentence, next_step, exit_code, tuple(facts.items()))


def skipped(because: str) -> Finding:
    """Return why the question has no answer here."""
    return Finding(Verdict.SKIPPED, because)
