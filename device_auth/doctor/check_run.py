"""The run of the checks: each on a thread of its own, in the order of their dependencies, within a limit of time.

A check that does not end is given up: its thread is left behind, and nothing waits for it, not even the end of the
process. A bug in a check becomes its finding.
"""

from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from queue import SimpleQueue
from threading import Thread
from typing import Final, NamedTuple

from device_auth.core.errors import trace_of
from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.ports import WaitingClock
from device_auth.doctor.findings import HEALTHY, Check, Finding, Verdict, fail, skipped

LIMIT: Final = Seconds(17)
"""Longest run of all checks; with the start of the program, people wait no longer than 20 s."""

BUG: Final = 70
WARNED: Final = 1


class Group(NamedTuple):
    """The checks whose codes begin with one letter.

    Attributes:
        title: for people.
        exit_code: of a check that does not end.
    """

    title: str
    exit_code: int


GROUPS: Final = {
    "S": Group("Store", 74),
    "R": Group("Runtime folder", 74),
    "T": Group("Time", 69),
    "N": Group("Network", 69),
    "C": Group("Client", 78),
    "L": Group("Link", 75),
    "H": Group("Hardware", 72),
    "D": Group("Service", 69),
}
"""In the order in which findings are shown: possible causes come before their effects."""

SERVICE: Final = "D"

CAUSES: Final = frozenset({"D1", "D2", "D5", "D9"})
"""The checks of which each finds that the service is down, or does not answer."""

Progress = Callable[[int, int, Sequence[str]], None]
"""Takes the number of checks that have ended, of all checks, and the names of those that run."""


class CheckResult(NamedTuple):
    """A check and its finding."""

    check: Check
    finding: Finding


def examine(
    checks: Sequence[Check],
    clock: WaitingClock,
    progress: Progress = lambda _done, _of, _under_way: None,
) -> list[CheckResult]:
    """Run every check as soon as the checks that it depends on have ended.

    Args:
        checks: in the order of the result.
        clock: measures and waits.
        progress: called after each step.
    """
    return _CheckRun(checks, clock, progress).run()


def in_order(checks: Sequence[Check]) -> list[Check]:
    """Sort checks by group, then by number."""
    letters = list(GROUPS)
    return sorted(checks, key=lambda check: (letters.index(check.code[0]), int(check.code[1:])))


def causes_first(examined: Sequence[CheckResult]) -> list[CheckResult]:
    """Sort findings: where the service is down, that is a cause of others, and comes before them."""
    is_down = any(each.check.code in CAUSES and each.finding.verdict is Verdict.FAIL for each in examined)
    return sorted(examined, key=lambda each: is_down and each.check.code[0] != SERVICE)


def exit_code_of(examined: Sequence[CheckResult]) -> int:
    """Return the exit code of the first failure, else of a warning, else 0."""
    failed = [each.finding.exit_code for each in examined if each.finding.verdict is Verdict.FAIL]
    return failed[0] if failed else WARNED if verdict_of(examined) is Verdict.WARN else HEALTHY


def verdict_of(examined: Sequence[CheckResult]) -> Verdict:
    """Return the worst verdict; skipped counts as ok."""
    found = {each.finding.verdict for each in examined}
    return next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdict in found), Verdict.OK)


class _RunningCheck(NamedTuple):
    check: Check
    since: Monotonic
    until: Monotonic


class _CheckRun:
    def __init__(self, checks: Sequence[Check], clock: WaitingClock, progress: Progress) -> None:
        self._checks = {check.code: check for check in checks}
        self._clock = clock
        self._progress = progress
        self._order = TopologicalSorter(
            {
                code: [each for each in check.after if each in self._checks]
                for code, check in self._checks.items()
            }
        )
        self._running: dict[str, _RunningCheck] = {}
        self._found: dict[str, Finding] = {}
        self._because_of: dict[str, str] = {}
        # The result of a check that was given up must not be taken for another's: each comes with its code.
        self._inbox: SimpleQueue[tuple[str, Finding]] = SimpleQueue()

    def run(self) -> list[CheckResult]:
        ends_at = later(self._clock.now(), LIMIT)
        self._order.prepare()
        self._start_ready(ends_at)
        while self._running:
            names = [one.check.name for one in self._running.values()]
            self._progress(len(self._found), len(self._checks), names)
            result = self._clock.take(self._inbox, min(one.until for one in self._running.values()))
            if result is None:
                self._give_up_late_ones()
            elif result[0] in self._running:
                self._end(*result)
            self._start_ready(ends_at)
        self._progress(len(self._checks), len(self._checks), ())
        return [CheckResult(check, self._found[code]) for code, check in self._checks.items()]

    def _start_ready(self, ends_at: Monotonic) -> None:
        """Start every check whose predecessors have ended; a skipped check ends at once, and the checks that depend on it follow."""
        while ready := self._order.get_ready():
            for code in ready:
                self._start(self._checks[code], ends_at)

    def _start(self, check: Check, ends_at: Monotonic) -> None:
        blocking = next((code for code in check.after if self._is_blocking(code)), None)
        now = self._clock.now()
        if blocking is not None:
            # A check that was skipped because of a skipped one names the failure at the root, which a person should mend.
            self._because_of[check.code] = root = self._because_of.get(blocking, blocking)
            self._end(check.code, skipped(f"Not looked at because of {root} {self._checks[root].name}."))
        elif now >= ends_at:
            self._end(check.code, skipped("Not looked at: the other checks took all the time there is."))
        else:
            until = min(later(now, Seconds(check.limit)), ends_at)
            self._running[check.code] = _RunningCheck(check, now, until)
            Thread(target=self._look, args=(check,), name=f"check {check.code}", daemon=True).start()

    def _end(self, code: str, finding: Finding) -> None:
        self._running.pop(code, None)
        self._found[code] = finding
        self._order.done(code)

    def _is_blocking(self, code: str) -> bool:
        finding = self._found.get(code)
        return finding is not None and finding.verdict in {Verdict.FAIL, Verdict.SKIPPED}

    def _look(self, check: Check) -> None:
        try:
            finding = check.look()
        except Exception as error:  # noqa: BLE001  a bug in one check must not keep the others from a person
            finding = _bug(error)
        self._inbox.put((check.code, finding))

    def _give_up_late_ones(self) -> None:
        now = self._clock.now()
        for code, late in list(self._running.items()):
            if now >= late.until:
                self._end(code, _no_answer(code, Seconds(now - late.since)))


def _bug(error: Exception) -> Finding:
    """Return the finding of a check with a bug, without the error's text: it might hold a secret."""
    at = trace_of(error)[-1]
    return fail(
        f"This check has a bug ({type(error).__name__}).",
        "Please report it with the file that --report writes.",
        BUG,
        place=f"{at.tb_frame.f_globals.get('__name__', '')}:{at.tb_lineno}",
    )


def _no_answer(code: str, waited: Seconds) -> Finding:
    return fail(
        f"It did not answer within {waited:.0f} s.",
        "Restart the speaker and try again; if it hangs again, look at the kernel's log: dmesg",
        GROUPS[code[0]].exit_code,
    )
