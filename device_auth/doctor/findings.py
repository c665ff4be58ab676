"""Checks, each with a stable code, and their findings."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from device_auth.core.values import dataclass

HEALTHY: Final = 0
"""The exit code of a finding that is not a failure."""

USUAL_LIMIT: Final = 10.0
"""Seconds after which a check is given up."""


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one check.

    Attributes:
        verdict: the result.
        sentence: the state of affairs, or why the check was skipped; one sentence that may also be spoken.
        next_step: for a person; may be empty.
        exit_code: of the failure's kind (sysexits(3), as in ``core.errors``); ``HEALTHY`` unless it failed.
        facts: more for the report, by name; never a secret.
    """

    verdict: Verdict
    sentence: str
    next_step: str = ""
    exit_code: int = HEALTHY
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        code: a letter for the group and a number, such as ``N1``; never given to another check.
        name: of its failure, such as ``no-route``; as stable as the code.
        look: returns the finding; blocks for a few seconds at the most. ``check_run`` catches its errors and ends a hang.
        after: the codes of checks without which it makes no sense: it is skipped if one failed or was skipped.
        limit: seconds after which it is given up.
    """

    code: str
    name: str
    look: Callable[[], Finding]
    after: tuple[str, ...] = ()
    limit: float = USUAL_LIMIT


def ok(sentence: str, **facts: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(Verdict.OK, sentence, facts=tuple(facts.items()))


def warn(sentence: str, next_step: str, **facts: str) -> Finding:
    """Return a finding of something that works but needs attention."""
    return Finding(Verdict.WARN, sentence, next_step, facts=tuple(facts.items()))


def fail(sentence: str, next_step: str, exit_code: int, **facts: str) -> Finding:
    """Return a finding of a failure; see ``Finding``."""
    return Finding(Verdict.FAIL, sentence, next_step, exit_code, tuple(facts.items()))


def skipped(because: str, next_step: str = "") -> Finding:
    """Return the finding of a check that was not made; the next step is what would make it."""
    return Finding(Verdict.SKIPPED, because, next_step)
