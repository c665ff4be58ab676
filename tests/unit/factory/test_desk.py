import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import NEVER, Monotonic, Seconds
from device_auth.factory.station.desk import CountedUnits, ScanDesk, judge_proofs
from device_auth.factory.station.plan import GoldenUnits
from device_auth.factory.station.rig import NoAnswer
from device_auth.factory.station.run_record import DsnProblem
from device_auth.factory.station.runner import ExpectedUnit
from device_auth.factory.station.scanner import Scanner
from device_auth.factory.station.transport import Halt, RunAborted
from device_auth.factory.talk import AskEvent, RunOutcome
from device_auth.world.clock import BootClock
from tests.waiting import LONG, wait_for

if TYPE_CHECKING:
    from device_auth.factory.station.run_record import RunRecords

GOLDEN = GoldenUnits(frozenset({"GOOD1"}), frozenset({"BAD01"}), Seconds(8 * 3600))
LED = AskEvent("led", "Is it orange?", ("yes", "no"))


class Ledger:
    """The part of the records that a desk asks."""

    def __init__(self) -> None:
        self.problems: dict[str, DsnProblem] = {}
        self.outcomes: dict[str, RunOutcome] = {}
        self.look: Callable[[], object] = lambda: None

    def check_dsn(self, scanned: str) -> DsnProblem | None:
        self.look()
        return self.problems.get(scanned)

    def golden_outcomes(self, since_millis: int) -> Mapping[str, RunOutcome]:
        assert since_millis > 0
        return self.outcomes


class Desk:
    """A desk whose labels are written into a pipe, and slots that wait at it, each on a thread."""

    def __init__(self, *, golden: GoldenUnits | None = None, units: int | None = None) -> None:
        self.ledger = Ledger()
        self.halt = Halt()
        self.told: list[tuple[str, bool]] = []
        self.is_unread = False
        self._labels, self._label = os.pipe()
        self.scanner = Scanner.of_stdin(self._labels)
        self.desk = ScanDesk(
            self.scanner,
            ["one", "two"],
            records=cast("RunRecords", self.ledger),
            golden=golden,
            tell=self.tell,
            halt=self.halt,
            clock=BootClock(),
            units=units,
            operator="anna",
        )
        self._pool = ThreadPoolExecutor()
        self._reading = threading.Thread(target=self.desk.read_labels, daemon=True)
        self._reading.start()

    def tell(self, words: str, *, is_good: bool) -> None:
        if self.is_unread:
            raise BrokenPipeError
        self.told.append((words, is_good))

    def wait_in(self, slot: str) -> "Future[ExpectedUnit | None]":
        waiting = self._pool.submit(self.desk.next_unit, slot)
        wait_for(lambda: slot in self.desk._waiting or waiting.done())
        return waiting

    def ask(self, slot: str, question: AskEvent = LED, deadline: Monotonic = NEVER) -> "Future[str]":
        return self._pool.submit(self.desk.ask, slot, question, deadline)

    def scan(self, label: str) -> tuple[str, bool]:
        """Scan a label, and return what was told of it."""
        before = len(self.told)
        os.write(self._label, f"{label}\n".encode())
        wait_for(lambda: len(self.told) > before, f"nothing was told of {label}")
        return self.told[before]

    def say(self, line: str) -> None:
        os.write(self._label, f"{line}\n".encode())

    def end_labels(self) -> None:
        os.close(self._label)
        self._label = -1

    def close(self) -> None:
        self.desk.close()
        self._reading.join(LONG)
        self._pool.shutdown()
        self.scanner.close()
        for number in {self._labels, self._label} - {-1}:
            os.close(number)
        self.halt.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def proven_desk() -> Iterator[Desk]:
    desk = Desk(golden=GOLDEN)
    yield desk
    desk.close()


def test_a_label_brings_its_unit_to_a_free_slot(desk: Desk) -> None:
    one = desk.wait_in("one")

    assert desk.scan("KS0001") == ("KS0001 in one", True)
    assert one.result(LONG) == ExpectedUnit("KS0001")


def test_a_label_that_is_read_twice_at_once_is_taken_once(desk: Desk) -> None:
    one = desk.wait_in("one")
    desk.wait_in("two")

    def scan_again() -> None:
        # while the ledger is asked about it, the slot takes the unit of the label before
        desk.ledger.look = lambda: None
        desk.desk.take("KS0001")
        one.result(LONG)

    desk.ledger.look = scan_again
    desk.say("KS0001")
    wait_for(lambda: len(desk.told) == 2)

    assert desk.told == [("KS0001 in one", True), ("KS0001 is in a slot already", False)]


def test_a_ledger_that_cannot_be_read_stops_no_label(desk: Desk) -> None:
    one = desk.wait_in("one")

    def fail() -> None:
        raise StoreError("the disk reports an error", hint="Look at dmesg.")

    desk.ledger.look = fail
    assert desk.scan("KS0001") == ("the disk reports an error. Look at dmesg.", False)
    desk.ledger.look = lambda: None
    desk.scan("KS0001")

    assert one.result(LONG) == ExpectedUnit("KS0001")


def test_where_nobody_can_be_told_the_labels_are_over(desk: Desk) -> None:
    one = desk.wait_in("one")
    desk.is_unread = True
    desk.say("a label of nothing")

    assert one.result(LONG) is None


def test_the_label_of_a_slot_says_where_the_next_unit_goes(desk: Desk) -> None:
    desk.wait_in("one")
    two = desk.wait_in("two")
    desk.scan("AT;two")
    desk.scan("KS0001")

    assert two.result(LONG) == ExpectedUnit("KS0001")
    assert desk.scan("KS0002") == ("KS0002 in one", True)


def test_a_badge_says_who_works_here(desk: Desk) -> None:
    assert desk.desk.operator == "anna"
    desk.scan("OP;berta")
    assert desk.desk.operator == "berta"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("x", "unreadable"),
        ("AT;three", "there is no slot three"),
        ("LOCKED1", "LOCKED1 is already locked"),
        ("FOREIGN", "FOREIGN belongs to another product"),
        ("KS0009", "KS0009 cannot be taken: every slot is busy"),
    ],
)
def test_a_bad_label_is_told_at_once_and_starts_nothing(desk: Desk, label: str, words: str) -> None:
    desk.ledger.problems = {"LOCKED1": DsnProblem.LOCKED, "FOREIGN": DsnProblem.FOREIGN}

    told, is_good = desk.scan(label)

    assert words in told
    assert not is_good


def test_a_unit_is_in_one_slot_at_a_time(desk: Desk) -> None:
    one = desk.wait_in("one")
    desk.wait_in("two")
    desk.scan("KS0001")
    one.result(LONG)

    assert desk.scan("KS0001") == ("KS0001 is in a slot already", False)
    again = desk.wait_in("one")
    assert desk.scan("KS0001")[1]
    assert again.result(LONG) == ExpectedUnit("KS0001")


def test_a_slot_that_is_busy_takes_no_unit(desk: Desk) -> None:
    desk.wait_in("one")
    desk.scan("AT;two")

    assert desk.scan("KS0001") == ("KS0001 cannot be taken: two is busy", False)


def test_after_the_last_unit_the_slots_are_done() -> None:
    desk = Desk(units=1)
    one, two = desk.wait_in("one"), desk.wait_in("two")
    desk.scan("KS0001")

    assert {one.result(LONG), two.result(LONG)} == {ExpectedUnit("KS0001"), None}
    assert desk.wait_in("one").result(LONG) is None
    desk.close()


def test_after_the_last_label_the_slots_are_done(desk: Desk) -> None:
    one = desk.wait_in("one")
    desk.end_labels()

    assert one.result(LONG) is None


def test_a_halt_ends_the_wait_of_a_slot(desk: Desk) -> None:
    one = desk.wait_in("one")
    desk.halt.set()

    assert one.result(LONG) is None


# Questions


def test_questions_are_answered_one_by_one(desk: Desk) -> None:
    first = desk.ask("one")
    wait_for(lambda: desk.told)
    second = desk.ask("two", AskEvent("colour", "Which?", ("blue", "orange")))
    wait_for(lambda: len(desk.desk._asked) == 2)
    desk.say("YES")
    assert first.result(LONG) == "yes"
    wait_for(lambda: len(desk.told) == 2)
    desk.say("blue")

    assert second.result(LONG) == "blue"
    assert [words for words, _ in desk.told] == ["one: Is it orange? [yes/no]", "two: Which? [blue/orange]"]


def test_a_label_is_a_label_while_a_question_waits(desk: Desk) -> None:
    one = desk.wait_in("one")
    asked = desk.ask("two")
    wait_for(lambda: desk.told)

    desk.scan("KS0001")
    assert one.result(LONG) == ExpectedUnit("KS0001")
    desk.say("no")
    assert asked.result(LONG) == "no"


def test_a_question_has_a_deadline(desk: Desk) -> None:
    with pytest.raises(NoAnswer, match="nobody has answered led"):
        desk.ask("one", deadline=Monotonic(0)).result(LONG)


def test_a_question_ends_with_the_labels(desk: Desk) -> None:
    asked = desk.ask("one")
    desk.end_labels()

    with pytest.raises(NoAnswer):
        asked.result(LONG)


def test_a_halt_ends_a_question(desk: Desk) -> None:
    asked = desk.ask("one")
    desk.halt.set()

    with pytest.raises(RunAborted):
        asked.result(LONG)


# Golden units


def test_a_station_without_its_proof_runs_nothing_else(proven_desk: Desk) -> None:
    one, two = proven_desk.wait_in("one"), proven_desk.wait_in("two")
    told, is_good = proven_desk.scan("KS0001")
    assert "no good golden unit has passed yet (GOOD1)" in told
    assert not is_good

    proven_desk.scan("GOOD1")
    proven_desk.scan("BAD01")
    assert one.result(LONG) == ExpectedUnit("GOOD1", is_golden=True)
    assert two.result(LONG) == ExpectedUnit("BAD01", is_golden=True)

    proven_desk.ledger.outcomes = {"GOOD1": RunOutcome.PASS, "BAD01": RunOutcome.FAIL}
    proven_desk.wait_in("one")
    assert proven_desk.scan("KS0001")[1]


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({"GOOD1": RunOutcome.PASS, "BAD01": RunOutcome.FAIL}, ""),
        ({"GOOD1": RunOutcome.PASS}, "no bad golden unit has failed"),
        ({"BAD01": RunOutcome.FAIL}, "no good golden unit has passed"),
        ({"GOOD1": RunOutcome.ERROR, "BAD01": RunOutcome.FAIL}, "GOOD1 had the wrong outcome"),
        ({"GOOD1": RunOutcome.PASS, "BAD01": RunOutcome.PASS}, "BAD01 had the wrong outcome"),
        ({"GOOD1": RunOutcome.PASS, "BAD01": RunOutcome.ERROR}, "no bad golden unit has failed"),
    ],
)
def test_a_station_is_proven_by_a_good_and_a_bad_unit(outcomes: Mapping[str, RunOutcome], words: str) -> None:
    found = judge_proofs(GOLDEN, outcomes)

    assert words in found
    assert bool(words) is bool(found)


# Simulated units


def test_simulated_units_are_counted_and_asked_nothing() -> None:
    units = CountedUnits(2, "anna")

    assert [units.next_unit("one"), units.next_unit("two"), units.next_unit("one")] == [
        ExpectedUnit(),
        ExpectedUnit(),
        None,
    ]
    with pytest.raises(NoAnswer):
        units.ask("one", LED, NEVER)
