"""The slots of a station, each with a unit at a time, all at once; every run that is begun ends with a record.

A slot is a thread, for it waits for its unit nearly all the time. Measured with 32 slots that ran 8 verbs of 0.5 s each, on 2 cores at
load 25: threads 4.2 s, 0.14 s of CPU and 51 MiB; processes 88 s, 17 s and 1,454 MiB.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

from device_auth.core.errors import DeviceAuthError, StoreError
from device_auth.factory.station.amazon import StationAmazon
from device_auth.factory.station.plan import SlotPlan, StationPlan
from device_auth.factory.station.run_record import RunRecord, RunRecords
from device_auth.factory.station.transport import Halt
from device_auth.factory.station.unit_run import Answerer, CodeReader, RunDoors, UnitRun
from device_auth.factory.talk import RunOutcome
from device_auth.world.clock import BootClock

_LONGEST_JOIN: Final = 0.5
"""Seconds after which the main thread looks whether a signal came."""

PUSH_EVERY: Final = 5.0
"""Seconds between two pushes to the database of all stations."""


class ExpectedUnit(NamedTuple):
    """The unit that comes into a slot.

    Attributes:
        scanned: the DSN of its label; empty where there is none.
        is_golden: whether it is one by which the station proves itself.
    """

    scanned: str = ""
    is_golden: bool = False


class UnitSource(Protocol):
    """Brings units to slots."""

    def next_unit(self, slot: str) -> ExpectedUnit | None:
        """Wait for the next unit of a slot; None if there is none any more."""
        ...

    def close(self) -> None:
        """Bring no further unit; ends the waits for one."""
        ...


class SlotWatcher(Protocol):
    """Is told what becomes of the slots, from any thread."""

    def began(self, slot: str, step: str, dsn: str) -> None:
        """Show the step that a slot begins."""
        ...

    def ended(self, slot: str, record: RunRecord) -> None:
        """Show a run whose record is on the disk."""
        ...

    def unrecorded(self, slot: str, words: str) -> None:
        """Show a run that has no record, and must not pass."""
        ...


@dataclass(slots=True)
class RunsTally:
    """What became of the runs.

    Attributes:
        outcomes: of the runs that have a record.
        lost: the number of the runs without one.
        stopped: why there are no new runs; empty if there may be.
    """

    outcomes: Counter[RunOutcome]
    lost: int = 0
    stopped: str = ""


class StationRunner:
    """Runs the units of all slots.

    Args:
        plan: of the station.
        slots: those that run.
        records: of the station.
        amazon: its simulated Amazon.
        source: brings the units.
        watcher: is told of the slots.
        rig_of: returns who answers the questions of a slot, and who reads the codes.
        halt: ends every run.
        operator: returns who works at the station now.
    """

    def __init__(
        self,
        plan: StationPlan,
        slots: Sequence[SlotPlan],
        *,
        records: RunRecords,
        amazon: StationAmazon,
        source: UnitSource,
        watcher: SlotWatcher,
        rig_of: Callable[[SlotPlan], tuple[Answerer, CodeReader]],
        halt: Halt,
        operator: Callable[[], str],
    ) -> None:
        self._plan = plan
        self._slots = slots
        self._records = records
        self._amazon = amazon
        self._source = source
        self._watcher = watcher
        self._rig_of = rig_of
        self._halt = halt
        self._operator = operator
        self._clock = BootClock()
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self.tally = RunsTally(Counter())

    def run(self) -> RunsTally:
        """Run until no slot gets another unit, and return what became of the runs."""
        threads = [
            threading.Thread(target=self._serve_slot, args=(slot,), name=slot.name, daemon=True)
            for slot in self._slots
        ]
        pushing = threading.Thread(target=self._push_all_along, name="push", daemon=True)
        for thread in (*threads, pushing):
            thread.start()
        for thread in threads:
            while thread.is_alive():
                # bounded: the handler of a signal that another thread takes, or that comes just before the wait, runs after it
                thread.join(_LONGEST_JOIN)
        self._has_ended.set()
        pushing.join()
        return self.tally

    def _serve_slot(self, slot: SlotPlan) -> None:
        while not self._halt.is_set and not self.tally.stopped:
            try:
                unit = self._source.next_unit(slot.name)
                if unit is None:
                    return
                self._run_unit(slot, unit)
            except DeviceAuthError as error:
                self._stop(f"{error}. {error.hint}".rstrip())
            except Exception as bug:  # noqa: BLE001  the other slots go on
                self._stop(f"a bug of the station: {type(bug).__name__}")

    def _stop(self, words: str) -> None:
        """Begin no further run, at any slot."""
        with self._lock:
            self.tally.stopped = self.tally.stopped or words
        # a slot that waits for a label would never learn of it
        self._source.close()

    def _run_unit(self, slot: SlotPlan, unit: ExpectedUnit) -> None:
        """Run a unit, and show its outcome once the record is on the disk.

        Raises:
            DeviceAuthError: if no run can be begun; nothing was done to the unit.
        """
        answer, read_code = self._rig_of(slot)
        transport = slot.make_transport(self._plan.folder, self._clock.now, self._halt)
        start = self._records.begin(
            slot=slot.name,
            product=self._plan.product,
            batch=self._plan.batch,
            operator=self._operator(),
            is_golden=unit.is_golden,
        )
        with ExitStack() as stack:
            doors = RunDoors(
                records=self._records,
                transport=transport,
                owner=lambda dsn: stack.enter_context(self._amazon.owner(self._plan.product.client_id, dsn)),
                certificates=self._amazon.certificates,
                answer=answer,
                read_code=read_code,
                now=self._clock.now,
                wall=self._clock.wall,
                tell=lambda step, dsn: self._show(partial(self._watcher.began, slot.name, step, dsn)),
            )
            record = UnitRun(self._plan, start, doors, unit.scanned).run()
        try:
            self._records.save(record)
        except DeviceAuthError as error:
            with self._lock:
                self.tally.lost += 1
            self._show(partial(self._watcher.unrecorded, slot.name, str(error)))
            raise
        with self._lock:
            self.tally.outcomes[record.outcome] += 1
        self._show(partial(self._watcher.ended, slot.name, record))

    def _show(self, show: Callable[[], None]) -> None:
        """Show something of a slot. Where that fails, runs under way go on to their records, and none is begun."""
        try:
            show()
        except (OSError, StoreError):
            self._stop("nobody can read the output any more")

    def _push_all_along(self) -> None:
        """Push to the database of all stations now and then, and once more at the end."""
        while not self._has_ended.wait(PUSH_EVERY):
            self._records.push()
        self._records.push()
