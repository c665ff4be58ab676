"""``device-auth factory run``: a station at work, until its units are done or Ctrl-C."""

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.cli.output import print_json
from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Monotonic
from device_auth.factory.talk import AskEvent, RunOutcome
from device_auth.world.clock import BootClock
from device_auth.world.signals import ENDINGS, handled

if TYPE_CHECKING:
    from device_auth.factory.station.plan import SlotPlan, StationPlan
    from device_auth.factory.station.run_record import RunRecord
    from device_auth.factory.station.runner import RunsTally
    from device_auth.factory.station.table import SlotTable

INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("station", type=Path, metavar="STATION.toml", help="the station's file")
    parser.add_argument("--slots", type=_count, metavar="N", help="use the first N slots alone")
    parser.add_argument(
        "--units", type=_count, metavar="N", help="end after N units (default: one for each slot)"
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
    from device_auth.factory.station.runner import CountedUnits, ExpectedUnit, StationRunner
    from device_auth.factory.station.transport import Halt

    clock = BootClock()
    halt = Halt()
    with ExitStack() as stack:
        stack.callback(halt.close)
        records = plan.open_records()
        stack.callback(records.close)
        amazon = stack.enter_context(StationAmazon(plan.listen, plan.port, clock.now))
        watcher: _JsonWatcher | _TableWatcher
        if "json" in vars(args):
            watcher = _JsonWatcher()
        else:
            from device_auth.factory.station.table import SlotTable

            table = stack.enter_context(SlotTable(plan.station_id, [slot.name for slot in slots], sys.stdout))
            watcher = _TableWatcher(table, clock.now)
        runner = StationRunner(
            plan,
            slots,
            records=records,
            amazon=amazon,
            source=CountedUnits(args.units or len(slots), ExpectedUnit()),
            watcher=watcher,
            rig_of=lambda slot: rig_of(slot, _ask_nobody, clock.now),
            halt=halt,
            operator=lambda: args.operator or plan.operator,
        )
        stack.enter_context(handled(dict.fromkeys(ENDINGS, lambda _number, _frame: halt.set())))
        tally = runner.run()
        watcher.summary(tally)
    return tally, halt.is_set


class _JsonWatcher:
    """Prints each run's end as a JSON object on a line."""

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

    def __init__(self, table: "SlotTable", now: Callable[[], Monotonic]) -> None:
        self._table = table
        self._now = now
        self._since: dict[str, Monotonic] = {}

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


def _ask_nobody(slot: str, question: AskEvent, deadline: Monotonic) -> str:
    from device_auth.factory.station.rig import NoAnswer

    del slot, deadline
    raise NoAnswer(f"nobody is here to answer {question.name}")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 1_000_000):  # noqa: PLR2004  more is a slip
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
