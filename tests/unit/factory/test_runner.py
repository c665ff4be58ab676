import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.station.amazon import StationAmazon
from device_auth.factory.station.desk import CountedUnits
from device_auth.factory.station.plan import PlannedStep, SlotPlan, StationPlan
from device_auth.factory.station.run_record import DsnRule, Product, RunRecord, RunStart
from device_auth.factory.station.runner import ExpectedUnit, RunsTally, StationRunner
from device_auth.factory.station.transport import Halt, RunAborted, UnitTransport
from device_auth.factory.talk import RunOutcome
from device_auth.world.clock import BootClock
from device_auth.world.signals import handled
from tests.scripted_unit import ScriptedUnit
from tests.waiting import LONG, wait_for

if TYPE_CHECKING:
    from device_auth.factory.station.run_record import RunRecords

PRODUCT = Product("kitchen", product_id="K", client_id="c")


class Shelf:
    """Records in memory, on a disk that a test can fill."""

    def __init__(self) -> None:
        self.begun: list[RunStart] = []
        self.saved: list[RunRecord] = []
        self.may_begin = 1000
        self.may_save = 1000
        self.pushes = 0
        self._lock = threading.Lock()

    def begin(self, *, slot: str, product: Product, batch: str, operator: str, is_golden: bool) -> RunStart:
        with self._lock:
            if len(self.begun) == self.may_begin:
                raise StoreError("the disk is full", hint="Free some.")
            number = len(self.begun)
            uuid = f"00000000-0000-4000-8000-{number:012}"
            self.begun.append(RunStart(uuid, "s", slot, operator, product, batch, 0, number, is_golden))
            return self.begun[-1]

    def save(self, record: RunRecord) -> None:
        with self._lock:
            if len(self.saved) == self.may_save:
                raise StoreError("the disk is full")
            self.saved.append(record)

    def take_dsn(self, run: RunStart, board: str, *, scanned: str = "") -> str:
        return scanned or f"KS{run.order_millis:04}{board[:0]}"

    def mark_written(self, dsn: str, run: RunStart) -> None:
        assert dsn.startswith("KS")
        assert run in self.begun

    mark_locked = mark_written

    def push(self) -> int:
        self.pushes += 1
        return 0


@dataclass(frozen=True, slots=True)
class ScriptedSlot(SlotPlan):
    """A slot whose units a test makes."""

    make_unit: Callable[[], ScriptedUnit] = field(default=ScriptedUnit)

    def make_transport(self, folder: Path, now: Callable[[], Monotonic], halt: Halt) -> UnitTransport:
        del folder, now, halt
        return self.make_unit()


class Screen:
    """What was shown, in order."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.is_unread = False
        self.steps: list[tuple[str, str]] = []
        self.ends: list[tuple[str, RunOutcome]] = []
        self.unrecorded_slots: list[str] = []

    def began(self, slot: str, step: str, dsn: str) -> None:
        del dsn
        self.steps.append((slot, step))
        if self.is_unread:
            raise BrokenPipeError

    def ended(self, slot: str, record: RunRecord) -> None:
        assert record in self._shelf.saved, "an outcome is shown before its record is saved"
        self.ends.append((slot, record.outcome))
        if self.is_unread:
            raise BrokenPipeError

    def unrecorded(self, slot: str, words: str) -> None:
        assert words
        self.unrecorded_slots.append(slot)


class OneLabel:
    """A label for one of two slots once both have asked; the other waits until no label is taken any more."""

    def __init__(self) -> None:
        self._given = threading.Lock()
        self._both = threading.Barrier(2)
        self._closed = threading.Event()
        self.was_closed = False

    def next_unit(self, slot: str) -> ExpectedUnit | None:
        del slot
        self._both.wait(LONG)
        if self._given.acquire(blocking=False):
            return ExpectedUnit("KS0001")
        self.was_closed = self._closed.wait(LONG)
        return None

    def close(self) -> None:
        self._closed.set()


class Station:
    """A runner with everything around it; what a test changes comes before ``run``."""

    def __init__(self, amazon: StationAmazon) -> None:
        self.amazon = amazon
        self.shelf = Shelf()
        self.screen = Screen(self.shelf)
        self.halt = Halt()
        self.source: OneLabel | None = None
        self.steps: tuple[PlannedStep, ...] = (PlannedStep("selftest", Seconds(9)),)

    def run(self, *makers: Callable[[], ScriptedUnit], units: int | None = None) -> RunsTally:
        slots = [
            ScriptedSlot(f"slot-{number}", "", {}, "yes", None, make) for number, make in enumerate(makers)
        ]
        plan = StationPlan(
            station_id="s",
            folder=Path("unused"),
            database="",
            password_file=None,
            operator="",
            scanner=None,
            keys={},
            listen="",
            port=0,
            product=PRODUCT,
            batch="7",
            dsn_rule=DsnRule("kitchen"),
            has_parts=True,
            image_digests=(),
            reach_within=Seconds(9),
            steps=self.steps,
            golden=None,
            slots=tuple(slots),
        )
        runner = StationRunner(
            plan,
            slots,
            records=cast("RunRecords", self.shelf),
            amazon=self.amazon,
            source=self.source or CountedUnits(len(slots) if units is None else units, "anna"),
            watcher=self.screen,
            rig_of=lambda _slot: (
                lambda _question, _dsn, _deadline: "yes",
                lambda told, _deadline: told.user_code,
            ),
            halt=self.halt,
            operator=lambda: "anna",
        )
        return runner.run()


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationAmazon]:
    with StationAmazon(tmp_path_factory.mktemp("station"), "127.0.0.1", 0, BootClock().now) as amazon:
        yield amazon


@pytest.fixture
def station(amazon: StationAmazon) -> Iterator[Station]:
    station = Station(amazon)
    yield station
    station.halt.close()


def test_every_slot_has_its_units_and_every_run_its_record(station: Station) -> None:
    tally = station.run(*[ScriptedUnit] * 4, units=12)

    assert tally.outcomes == {RunOutcome.PASS: 12}
    assert (tally.lost, tally.stopped) == (0, "")
    assert len(station.screen.ends) == len(station.shelf.saved) == 12
    assert {start.operator for start in station.shelf.begun} == {"anna"}
    assert station.shelf.pushes == 1


def test_a_slot_that_can_begin_no_run_ends_the_wait_of_the_others(station: Station) -> None:
    station.source = OneLabel()
    station.shelf.may_begin = 0

    tally = station.run(ScriptedUnit, ScriptedUnit)

    assert tally.stopped == "the disk is full. Free some."
    assert station.source.was_closed


def main_thread_waits() -> bool:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return frame.f_code.co_name in {"join", "_wait_for_tstate_lock"}


def test_a_signal_that_the_thread_of_a_slot_takes_is_heeded(station: Station) -> None:
    def take_signal(_unit: object, _header: object, _options: object) -> NoReturn:
        wait_for(main_thread_waits)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        wait_for(lambda: station.halt.is_set)
        raise RunAborted("the operator ended the run")

    def taking() -> ScriptedUnit:
        unit = ScriptedUnit()
        unit.verbs["selftest"] = take_signal
        return unit

    with handled({signal.SIGUSR1: lambda _number, _frame: station.halt.set()}):
        tally = station.run(taking)

    assert tally.outcomes == {RunOutcome.ABORTED: 1}


def test_a_broken_unit_stops_no_other(station: Station) -> None:
    def break_beside_another(_unit: object, _header: object, _options: object) -> NoReturn:
        wait_for(
            lambda: ("slot-1", RunOutcome.PASS) in station.screen.ends
        )  # or this one is through with all units first
        raise ZeroDivisionError

    def bug() -> ScriptedUnit:
        unit = ScriptedUnit()
        unit.verbs["selftest"] = break_beside_another
        return unit

    tally = station.run(bug, ScriptedUnit, units=8)

    assert tally.outcomes[RunOutcome.ERROR] + tally.outcomes[RunOutcome.PASS] == 8
    assert tally.outcomes[RunOutcome.ERROR] >= 1


def test_a_run_without_a_record_does_not_pass_and_ends_the_line(station: Station) -> None:
    station.shelf.may_save = 0
    tally = station.run(ScriptedUnit, units=5)

    assert (tally.lost, tally.stopped) == (1, "the disk is full.")
    assert station.screen.ends == []
    assert station.screen.unrecorded_slots == ["slot-0"]


def test_a_full_disk_begins_no_run(station: Station) -> None:
    station.shelf.may_begin = 2
    tally = station.run(ScriptedUnit, units=5)

    assert tally.outcomes == {RunOutcome.PASS: 2}
    assert (tally.lost, tally.stopped) == (0, "the disk is full. Free some.")


def test_a_bug_of_the_station_begins_no_run_and_is_told(station: Station) -> None:
    def bug() -> ScriptedUnit:
        raise ZeroDivisionError

    tally = station.run(bug, units=2)

    assert tally.stopped == "a bug of the station: ZeroDivisionError"
    assert station.shelf.begun == []


def test_ctrl_c_ends_every_run_with_a_record(station: Station) -> None:
    def waiting() -> ScriptedUnit:
        unit = ScriptedUnit()

        def wait() -> None:
            wait_for(lambda: station.halt.is_set)
            raise RunAborted("the operator ended the run")

        unit.verbs["selftest"] = lambda _unit, _header, _options: [wait]
        return unit

    def press() -> None:
        wait_for(lambda: sum(step == "selftest" for _, step in station.screen.steps) == 3)
        station.halt.set()

    pressing = threading.Thread(target=press)
    pressing.start()
    tally = station.run(*[waiting] * 3, units=9)
    pressing.join()

    assert tally.outcomes == {RunOutcome.ABORTED: 3}
    assert [record.outcome_details for record in station.shelf.saved] == [
        "selftest: the operator ended the run"
    ] * 3


def test_a_reader_that_is_gone_costs_no_record_and_no_outcome(station: Station) -> None:
    station.screen.is_unread = True
    tally = station.run(ScriptedUnit, units=3)

    assert tally.stopped == "nobody can read the output any more"
    assert [record.outcome for record in station.shelf.saved] == [RunOutcome.PASS]


def test_each_run_has_an_amazon_of_its_own_until_it_has_ended(station: Station) -> None:
    addresses: list[str] = []

    def unit() -> ScriptedUnit:
        made = ScriptedUnit()
        made.verbs["link-test"] = lambda _unit, _header, options: [
            lambda: addresses.append(options["--base-url"])
        ]
        return made

    station.steps = (PlannedStep("link-test", Seconds(9)),)
    station.run(unit, units=2)

    assert len(set(addresses)) == 2
    assert station.amazon._server._apps == {}


def test_a_counted_unit_has_no_label() -> None:
    assert CountedUnits(1, "").next_unit("one") == ExpectedUnit("")
