"""``device-auth factory run``: a station at work, until its units are done or Ctrl-C."""

import argparse
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from device_auth.cli.output import print_json
from device_auth.cli.station_records import add_station
from device_auth.core.errors import ConfigError, StoreError
from device_auth.factory.talk import RunOutcome
from device_auth.prompts.stderr import say
from device_auth.world.clock import BootClock
from device_auth.world.signals import ENDINGS, handled

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import Monotonic
    from device_auth.factory.station.desk import CountedUnits, ScanDesk
    from device_auth.factory.station.plan import SlotPlan, StationPlan
    from device_auth.factory.station.run_record import RunRecord, RunRecords
    from device_auth.factory.station.runner import RunsTally
    from device_auth.factory.station.table import SlotTable
    from device_auth.factory.station.transport import Halt

INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_station(parser)
    parser.add_argument("--slots", type=_count, metavar="N", help="use the first N slots alone")
    parser.add_argument(
        "--units",
        type=_count,
        metavar="N",
        help="end after N units (default: one for each slot if all are simulated, else as labels are scanned)",
    )
    parser.add_argument(
        "--operator", metavar="ID", help="who works here (default: that of the station's file)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the station; 0 only if every run has a record."""
    from device_auth.factory.station.plan import read_plan

    plan = read_plan(args.station)
    slots = plan.slots[: args.slots] if args.slots else plan.slots
    if args.slots and args.slots > len(plan.slots):
        raise ConfigError(
            f"{args.station} has {len(plan.slots)} slots, not {args.slots}",
            hint="Add a [[slot]], or its count.",
        )
    tally, was_interrupted = _run_station(plan, slots, args)
    if tally.stopped:
        raise StoreError(f"no further run: {tally.stopped}")
    return INTERRUPTED if was_interrupted else 0


def _run_station(
    plan: "StationPlan", slots: "tuple[SlotPlan, ...]", args: argparse.Namespace
) -> "tuple[RunsTally, bool]":
    """Run the station, and return what became of its runs, and whether somebody ended it."""
    from device_auth.factory.station.amazon import StationAmazon
    from device_auth.factory.station.rig import rig_of
    from device_auth.factory.station.runner import StationRunner
    from device_auth.factory.station.transport import Halt

    clock, halt = BootClock(), Halt()
    with ExitStack() as stack:
        stack.callback(halt.close)
        records = plan.open_records()
        stack.callback(records.close)
        amazon = stack.enter_context(StationAmazon(plan.folder, plan.listen, plan.port, clock.now))
        watcher = _open_watcher(plan, slots, stack, is_json="json" in vars(args))
        desk = _open_desk(plan, slots, args, records, watcher, halt, stack)
        watcher.name_operator(lambda: desk.operator)
        runner = StationRunner(
            plan,
            slots,
            records=records,
            amazon=amazon,
            source=desk,
            watcher=watcher,
            rig_of=lambda slot: rig_of(slot, desk.ask, clock.now, halt),
            halt=halt,
            operator=lambda: desk.operator,
        )
        stack.enter_context(handled(dict.fromkeys(ENDINGS, lambda _number, _frame: halt.set())))
        tally = runner.run()
        watcher.summary(tally)
    return tally, halt.is_set


def _open_watcher(
    plan: "StationPlan", slots: "tuple[SlotPlan, ...]", stack: ExitStack, *, is_json: bool
) -> "_JsonWatcher | _TableWatcher":
    if is_json:
        return _JsonWatcher()
    from device_auth.factory.station.table import SlotTable

    names = [slot.name for slot in slots]
    return _TableWatcher(stack.enter_context(SlotTable(plan.station_id, names, sys.stdout)))


def _open_desk(
    plan: "StationPlan",
    slots: "tuple[SlotPlan, ...]",
    args: argparse.Namespace,
    records: "RunRecords",
    watcher: "_JsonWatcher | _TableWatcher",
    halt: "Halt",
    stack: ExitStack,
) -> "CountedUnits | ScanDesk":
    """Return what brings the units: a count where all are simulated and there is no scanner, else the labels."""
    from device_auth.factory.station.desk import CountedUnits, ScanDesk
    from device_auth.factory.station.scanner import Scanner

    operator = args.operator or plan.operator
    if plan.scanner is None and plan.golden is None and all(slot.transport == "local" for slot in slots):
        return CountedUnits(args.units or len(slots), operator)
    scanner = stack.enter_context(
        Scanner.of_stdin() if plan.scanner is None else Scanner.of_device(plan.scanner, plan.keys)
    )
    desk = ScanDesk(
        scanner,
        [slot.name for slot in slots],
        records=records,
        golden=plan.golden,
        tell=watcher.tell,
        halt=halt,
        clock=BootClock(),
        units=args.units,
        operator=operator,
    )
    reading = threading.Thread(target=desk.read_labels, name="labels", daemon=True)
    reading.start()
    stack.callback(reading.join)
    stack.callback(desk.close)
    return desk


class _JsonWatcher:
    """Prints each run's end as a JSON object on a line."""

    def tell(self, words: str, *, is_good: bool) -> None:
        """Tell the operator on standard error."""
        say(words if is_good else f"\a{words}")

    def name_operator(self, operator: "Callable[[], str]") -> None:
        """Print nothing: the operator is in the record."""

    def began(self, slot: str, step: str, dsn: str) -> None:
        """Print nothing: steps are in the record."""

    def ended(self, slot: str, record: "RunRecord") -> None:
        """Print a run."""
        print_json(
            {
                "event": "run",
                "run_uuid": record.start.run_uuid,
                "slot": slot,
                "dut_id": record.dut_id,
                "outcome": record.outcome,
                "outcome_details": record.outcome_details,
                "seconds": round(record.seconds, 3),
            }
        )

    def unrecorded(self, slot: str, words: str) -> None:
        """Print that a run has no record."""
        print_json({"event": "unrecorded", "slot": slot, "hint": words})

    def summary(self, tally: "RunsTally") -> None:
        """Print what became of all runs."""
        print_json(
            {
                "event": "summary",
                "runs": sum(tally.outcomes.values()),
                "outcomes": {outcome.value: tally.outcomes[outcome] for outcome in RunOutcome},
                "unrecorded": tally.lost,
            }
        )


class _TableWatcher:
    """Shows each slot in a table."""

    def __init__(self, table: "SlotTable") -> None:
        self._table = table
        self._now = BootClock().now
        self._since: dict[str, Monotonic] = {}
        self.tell = table.tell

    def name_operator(self, operator: "Callable[[], str]") -> None:
        """Show who works at the station, whoever that is from now on."""
        self._table.operator = operator

    def began(self, slot: str, step: str, dsn: str) -> None:
        """Show a step."""
        from device_auth.factory.station.table import RUNS, SlotRow

        if step == "reach":
            self._since[slot] = self._now()
        self._table.show(slot, SlotRow(RUNS, step, dsn, self._since.get(slot)))

    def ended(self, slot: str, record: "RunRecord") -> None:
        """Show the outcome."""
        from device_auth.factory.station.table import SlotRow

        last = record.phases[-1].name if record.phases and record.outcome is not RunOutcome.PASS else ""
        self._table.show(
            slot,
            SlotRow(
                record.outcome.value,
                last,
                record.dut_id,
                seconds=record.seconds,
                detail=record.outcome_details.removeprefix(f"{last}: "),
            ),
        )

    def unrecorded(self, slot: str, words: str) -> None:
        """Show that there is no record."""
        from device_auth.factory.station.table import SlotRow

        self._table.show(slot, SlotRow(RunOutcome.ERROR.value, "record", detail=f"no record: {words}"))

    def summary(self, tally: "RunsTally") -> None:
        """Tell what became of all runs."""
        counts = ", ".join(f"{tally.outcomes[each]} {each}" for each in RunOutcome if tally.outcomes[each])
        lost = f", {tally.lost} without a record" if tally.lost else ""
        is_good = not tally.lost and not tally.stopped
        self._table.tell(f"{sum(tally.outcomes.values())} runs: {counts or 'none'}{lost}", is_good=is_good)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 1_000_000):  # noqa: PLR2004  more is a slip
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
