"""The operator's desk: labels come in, units go to slots, questions are asked and answered, refusals are told at once.

A label says which unit the operator puts into a slot; the run begins with it. A question of a unit is answered by a label or
a typed line too, one question at a time.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.station.plan import GoldenUnits
from device_auth.factory.station.rig import NoAnswer
from device_auth.factory.station.run_record import DsnProblem, RunRecords
from device_auth.factory.station.runner import ExpectedUnit
from device_auth.factory.station.scanner import ScanKind, Scanner, ScannerGone, UnreadableLabel, read_scan
from device_auth.factory.station.transport import Halt, RunAborted
from device_auth.factory.talk import AskEvent, RunOutcome
from device_auth.world.clock import BootClock

_LOOK_EVERY: Final = Seconds(0.2)
"""Seconds after which a halt is noticed where no label comes."""

_AGAIN_AFTER: Final = 2.0
"""Seconds after which a lost scanner is opened again."""


class TellOperator(Protocol):
    """Tells the operator something at once."""

    def __call__(self, words: str, *, is_good: bool) -> None:
        """Tell words, and whether they are good."""
        ...


PROBLEMS: Final = {
    DsnProblem.MALFORMED: "is no DSN of this product",
    DsnProblem.UNKNOWN: "is not in the ledger",
    DsnProblem.FOREIGN: "belongs to another product or station",
    DsnProblem.DOUBLE: "was given to another unit",
    DsnProblem.LOCKED: "is already locked",
    DsnProblem.BURNT: "is burnt",
    DsnProblem.UNCLEAR: "is not known here, and the database does not answer",
}


class CountedUnits:
    """So many simulated units, each for the slot that is free first, and nobody to be asked; see ``UnitSource``.

    Args:
        units: how many.
        operator: who works here.
    """

    def __init__(self, units: int, operator: str) -> None:
        self.operator = operator
        self._left = units
        self._lock = threading.Lock()

    def next_unit(self, slot: str) -> ExpectedUnit | None:
        """Return the next unit; see ``UnitSource``."""
        del slot  # any will do
        with self._lock:
            if self._left == 0:
                return None
            self._left -= 1
            return ExpectedUnit()

    def close(self) -> None:
        """Bring no further unit; see ``UnitSource``."""
        with self._lock:
            self._left = 0

    def ask(self, slot: str, question: AskEvent, deadline: Monotonic) -> str:
        """Refuse to answer: no labels come, and so nobody is there."""
        del slot, deadline
        raise NoAnswer(f"nobody is here to answer {question.name}")


class ScanDesk:
    """Brings units to slots as their labels are scanned, and questions to the operator; see ``UnitSource``.

    Args:
        scanner: of the labels.
        slots: the names of those that run.
        records: know each DSN.
        golden: the units that prove the station; None if it needs no proof.
        tell: tells the operator.
        halt: ends every wait.
        clock: of deadlines and shifts.
        units: how many runs there may be; None for as many as labels come.
        operator: who works here at first.
    """

    def __init__(
        self,
        scanner: Scanner,
        slots: Iterable[str],
        *,
        records: RunRecords,
        golden: GoldenUnits | None,
        tell: TellOperator,
        halt: Halt,
        clock: BootClock,
        units: int | None = None,
        operator: str = "",
    ) -> None:
        self.operator = operator
        self._scanner = scanner
        self._slots = tuple(slots)
        self._records = records
        self._golden = golden
        self._tell = tell
        self._halt = halt
        self._clock = clock
        self._left = units
        self._change = threading.Condition()
        self._waiting: dict[str, ExpectedUnit | None] = {}
        self._running: dict[str, str] = {}
        self._chosen = ""
        self._asked: deque[tuple[str, AskEvent]] = deque()
        self._answers: dict[int, str] = {}
        self._has_all_lines = False

    # -----------------------------------------------------------------------------------------------------
    # For the slots

    def next_unit(self, slot: str) -> ExpectedUnit | None:
        """Wait for the label of the next unit in a slot; see ``UnitSource``."""
        with self._change:
            self._running.pop(slot, None)
            self._waiting[slot] = None
            while (unit := self._waiting[slot]) is None:
                if self._halt.is_set or self._left == 0 or self._has_all_lines:
                    del self._waiting[slot]
                    return None
                self._change.wait(_LOOK_EVERY)
            del self._waiting[slot]
            self._running[slot] = unit.scanned
            return unit

    def ask(self, slot: str, question: AskEvent, deadline: Monotonic) -> str:
        """Ask the operator a question of the unit in a slot, and return the answer.

        Raises:
            UnitFailure: if none comes by the deadline, or no label can come any more.
        """
        asked = (slot, question)
        with self._change:
            self._asked.append(asked)
            if self._asked[0] is asked:
                self._put_question()
            try:
                while id(asked) not in self._answers:
                    if self._halt.is_set:
                        raise RunAborted("the operator ended the run")
                    if self._has_all_lines:
                        raise NoAnswer(f"nobody is here to answer {question.name}")
                    if self._clock.now() >= deadline:
                        raise NoAnswer(f"nobody has answered {question.name} in time")
                    self._change.wait(_LOOK_EVERY)
                return self._answers[id(asked)]
            finally:
                self._answers.pop(id(asked), None)
                was_first = self._asked[0] is asked
                self._asked.remove(asked)
                if was_first:
                    self._put_question()

    def _put_question(self) -> None:
        """Tell the first question; the caller holds the lock."""
        if self._asked:
            slot, question = self._asked[0]
            self._tell(f"{slot}: {question.question} [{'/'.join(question.answers) or 'text'}]", is_good=True)

    # -----------------------------------------------------------------------------------------------------
    # For the scanner

    def read_labels(self) -> None:
        """Read labels until ``close``, their end, or until nobody can be told of them."""
        try:
            self._read_labels()
        except OSError:
            # the runner notices too, and says so
            return
        finally:
            # slots that wait for a label that nobody reads would wait for ever
            self.close()

    def _read_labels(self) -> None:
        is_lost = False
        while not self._has_all_lines:
            try:
                line = self._scanner.next_line(_LOOK_EVERY)
            except ScannerGone as error:
                if not is_lost:
                    self._tell(f"{error}. {error.hint}", is_good=False)
                is_lost = True
                with self._change:
                    self._change.wait(_AGAIN_AFTER)
                continue
            is_lost = False
            if line is not None:
                try:
                    self.take(line)
                except DeviceAuthError as error:  # the records cannot be asked just now
                    self._tell(f"{error}. {error.hint}", is_good=False)
            elif self._scanner.is_ended:
                self.close()

    def close(self) -> None:
        """Take no further label: slots without a unit are done, questions stay without an answer."""
        with self._change:
            self._has_all_lines = True
            self._change.notify_all()

    def take(self, line: str) -> None:
        """Do what a label, or a typed line, says; refuse it in words."""
        if self._answer(line):
            return
        try:
            scan = read_scan(line)
        except UnreadableLabel as error:
            self._tell(str(error), is_good=False)
            return
        match scan.kind:
            case ScanKind.OPERATOR:
                self.operator = scan.text
                self._tell(f"operator {scan.text}", is_good=True)
            case ScanKind.SLOT if scan.text in self._slots:
                self._chosen = scan.text
                self._tell(f"the next unit goes to {scan.text}", is_good=True)
            case ScanKind.SLOT:
                self._tell(f"there is no slot {scan.text}", is_good=False)
            case ScanKind.UNIT:
                refusal = self._place(scan.text)
                if refusal:
                    self._tell(f"{scan.text} {refusal}", is_good=False)

    def _answer(self, line: str) -> bool:
        """Take a line as the answer to the first question, if it can be one."""
        with self._change:
            if not self._asked or id(self._asked[0]) in self._answers:
                return False
            asked = self._asked[0]
            known = {answer.casefold(): answer for answer in asked[1].answers}
            said = known.get(line.strip().casefold(), "" if known else line.strip())
            if said:
                self._answers[id(asked)] = said
                self._change.notify_all()
            return bool(said)

    def _place(self, dsn: str) -> str:
        """Send a unit to a slot; return why not, in words after its DSN."""
        with self._change:
            if dsn in self._running.values():
                return "is in a slot already"
        is_golden = self._golden is not None and dsn in self._golden.good | self._golden.bad
        if not is_golden:
            problem = self._records.check_dsn(dsn)
            if problem is not None:
                return PROBLEMS[problem]
            unproven = self.unproven()
            if unproven:
                return unproven
        with self._change:
            free = [slot for slot in self._slots if slot in self._waiting and self._waiting[slot] is None]
            slot = self._chosen or (free[0] if free else "")
            placed = {unit.scanned for unit in self._waiting.values() if unit is not None}
            if dsn in placed or dsn in self._running.values():
                return "is in a slot already"
            if slot not in free:
                return f"cannot be taken: {slot or 'every slot'} is busy"
            if self._left is not None:
                if self._left == 0:
                    return "is one too many: the run ends with what is in the slots"
                self._left -= 1
            self._chosen = ""
            self._waiting[slot] = ExpectedUnit(dsn, is_golden)
            self._change.notify_all()
        self._tell(f"{dsn} in {slot}", is_good=True)
        return ""

    def unproven(self) -> str:
        """Return why a unit that is no proof may not run yet; empty if it may."""
        if self._golden is None:
            return ""
        since = round((self._clock.wall() - self._golden.shift) * 1000)
        outcomes = self._records.golden_outcomes(since)
        return judge_proofs(self._golden, outcomes)


def judge_proofs(golden: GoldenUnits, outcomes: Mapping[str, RunOutcome]) -> str:
    """Return what a station lacks before it may run other units; empty if nothing.

    Args:
        golden: the units that prove it.
        outcomes: the last one of each in this shift.
    """
    wrong = [dsn for dsn in golden.good if outcomes.get(dsn, RunOutcome.PASS) is not RunOutcome.PASS]
    wrong += [dsn for dsn in golden.bad if outcomes.get(dsn) is RunOutcome.PASS]
    if wrong:
        return f"must wait: the golden unit {min(wrong)} had the wrong outcome; mend the station and run it again"
    if not any(outcomes.get(dsn) is RunOutcome.PASS for dsn in golden.good):
        return f"must wait: this shift no good golden unit has passed yet ({', '.join(sorted(golden.good))})"
    if not any(outcomes.get(dsn) is RunOutcome.FAIL for dsn in golden.bad):
        return f"must wait: this shift no bad golden unit has failed yet ({', '.join(sorted(golden.bad))})"
    return ""
