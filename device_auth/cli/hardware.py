"""``device-auth hardware``: list the parts of the speaker and their wires, test them, switch a board on or off."""

import argparse
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Final

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.hardware_parts import library_folder, read_hardware
from device_auth.assembly.service import PATIENCE, STOP_FIRST, is_served
from device_auth.cli import enabling
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import Busy, ConfigError
from device_auth.prompts.light import Table
from device_auth.prompts.stderr import say, say_problem
from device_auth.prompts.wording import wording_for
from device_auth.tools.operators import Operator, choose_operator
from device_auth.tools.parts_list import MODULES, PartRow, look_up
from device_auth.tools.self_test import PartsTest, StepResult
from device_auth.world.places import ROOT
from device_auth.world.settings import ENVIRONMENT
from device_auth.world.signals import interruptible
from hardware.board import NO_BOARD, BoardPlan, board_names
from hardware.errors import HardwareError, PartBusy
from hardware.plans import PlannedPart
from hardware.wiring import Wire, wires_of

_WIDTHS: Final = (8, 11, 10, 14, 17, 7)
"""Columns of the table, in the order of ``PartRow``: 77 with two between each, for terminals of 80 columns."""

_WIRE_WIDTHS: Final = (8, 6, 8, 52)
"""The same, in the order of ``Wire``."""

_COLUMNS: Final = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "hardware_action",
        metavar="list|test|wiring|enable|disable",
        choices=("list", "test", "wiring", "enable", "disable"),
        help="list: every part, its pins and whether it can be used; test: let each part show what it can; wiring: where"
        " each wire of a BOARD goes, or of this speaker's own; enable: put"
        " a board's drop-in and settings in place, test the parts, and start the service with them; disable: take them back",
    )
    enabling.add_arguments(parser)
    parser.add_argument("--part", metavar="NAME", help="only this part, by its name in the list")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="test: how long a light shows each pattern at the least (default: 1); one whole period in any case, and for a"
        " person until the answer",
    )
    parser.add_argument(
        "--expect",
        action="store_true",
        help="test: read the answers from standard input instead of asking a person: one a line, in the order of the"
        ' questions: yes, no or the text that was seen, or {"part": "light", "step": "waiting", "seen": "yes"}',
    )


def run(
    args: argparse.Namespace,
    *,
    environ: Mapping[str, str] = ENVIRONMENT,
    euid: int | None = None,
    root: Path = ROOT,
) -> int:
    """Run the verb, and return the exit code.

    Raises:
        WrongUse: if the arguments do not go together.
        ConfigError: if the settings are wrong, or there is nothing to test or nobody to ask.
        Busy: if the service holds the parts to test.
    """
    enabling.refuse_misplaced(args)
    if args.hardware_action in {"enable", "disable"}:

        def test_parts(doors: Doors, report: Callable[[StepResult], None]) -> None:
            plan, patterns = read_hardware(doors.settings.hardware, doors.settings.hardware_of)
            printer = None if doors.is_json else _ResultPrinter(is_json=False)

            def told(result: StepResult) -> None:
                report(result)
                if printer is not None:
                    printer.print(result)

            with library_folder(plan):
                _test(args, doors, plan, patterns, _choose(plan, args.part), told)

        return enabling.run(args, test_parts, environ=environ, euid=euid, root=root)
    if args.board is not None:  # of wiring: the settings of this speaker have no say in it
        plan, _ = read_hardware({"board": args.board})
        return _show_wiring(plan, _choose(plan, args.part), is_json="json" in args)
    doors = open_doors(vars(args))
    plan, patterns = read_hardware(doors.settings.hardware, doors.settings.hardware_of)
    parts = _choose(plan, args.part)
    if args.hardware_action == "wiring":
        return _show_wiring(plan, parts, is_json=doors.is_json)
    with library_folder(plan):
        if args.hardware_action == "list":
            return _list(plan, parts, is_json=doors.is_json, is_served=is_served(doors))
        if is_served(doors, PATIENCE):
            raise Busy("the service is using the parts", hint=STOP_FIRST)
        report = _ResultPrinter(is_json=doors.is_json)
        _test(args, doors, plan, patterns, parts, report.print)
        return 0 if report.is_ok else HardwareError.exit_code


def _choose(plan: BoardPlan, name: str | None) -> tuple[PlannedPart, ...]:
    chosen = tuple(part for part in plan.parts if name in (None, part.name, part.sort))
    if name is not None and not chosen:
        known = ", ".join(part.name for part in plan.parts) or "none"
        raise ConfigError(f"this speaker has no part {name!r}", hint=f"Its parts: {known}.")
    return chosen


# ---------------------------------------------------------------------------------------------------------
# list


def _list(plan: BoardPlan, parts: Sequence[PlannedPart], *, is_json: bool, is_served: bool) -> int:
    served = PartBusy("the service is using the parts", hint=STOP_FIRST) if is_served else None
    rows = [look_up(plan, part, served) for part in parts]
    if is_json:
        print_json([row._asdict() for row in rows])
    elif rows:
        _print_cells("part", "kind", "back end", "pins (header)", "library", "state")
        for row in rows:
            _print_row(row)
    if not plan.parts:
        say_problem(_nothing(plan), _how_to_choose())
    return 0


def _print_row(row: PartRow) -> None:
    pins = ", ".join(
        f"{role} {pin}" + (f" ({place})" if (place := row.header[role]) else "")
        for role, pin in row.pins.items()
    )
    library = ", ".join(f"{name} {number}".rstrip() for name, number in row.library.items())
    _print_cells(row.part, row.kind, row.back_end, pins, library, row.state)
    if row.module:
        print_line(f"    {MODULES[row.back_end]}: {row.module}")
    for text in (row.problem, row.hint):
        for line in textwrap.wrap(text, _COLUMNS - 4, break_on_hyphens=False):
            print_line(f"    {line}")


def _print_cells(*cells: str, widths: Sequence[int] = _WIDTHS) -> None:
    """Print one row in columns; a text that is too long for its column continues below."""
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for line in zip_longest(*columns, fillvalue=""):
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print_line("  ".join(padded).rstrip())


# ---------------------------------------------------------------------------------------------------------
# wiring


def _show_wiring(plan: BoardPlan, parts: Sequence[PlannedPart], *, is_json: bool) -> int:
    wires = wires_of(replace(plan, parts=tuple(parts)))
    if is_json:
        print_json({"board": plan.board, "title": plan.title, "wires": [wire._asdict() for wire in wires]})
        return 0
    if not wires:
        say(f"device-auth: {_nothing(plan) if not plan.parts else 'no part has a wire on the header'}")
        return 0
    print_line(f"{plan.board}: {plan.title}\n")
    _print_cells("part", "header", "pin", "goes to", widths=_WIRE_WIDTHS)
    for wire in wires:
        end = f"on board: {wire.end}" if wire.is_fitted else wire.end
        _print_cells(wire.part, str(wire.header or ""), wire.signal, end, widths=_WIRE_WIDTHS)
    print_line("")
    for line in draw_header(wires):
        print_line(line)
    return 0


def draw_header(wires: Sequence[Wire]) -> Iterator[str]:
    """Yield the rows of the header from its end near the card to the last wire; the pins of wires are marked.

    One row stands for each run of rows without a wire, or a tall one would not fit a screen of 24 beside the table.
    """
    used = {wire.header: f"{wire.part} {wire.signal}" for wire in wires if wire.header}
    marks = {place: "#" if place in used else "." for place in range(1, 41)}
    is_left_out = False
    for left in range(1, max(used, default=0) + 1, 2):
        right = left + 1
        if left > 1 and not {left, right} & used.keys():
            if not is_left_out:
                yield f"{'':>27} :  :"
            is_left_out = True
            continue
        is_left_out = False
        row = f"{used.get(left, ''):>24} {left:>2} {marks[left]}  {marks[right]} {right:<2} {used.get(right, '')}"
        yield row.rstrip()


# ---------------------------------------------------------------------------------------------------------
# test


def _test(
    args: argparse.Namespace,
    doors: Doors,
    plan: BoardPlan,
    patterns: Table,
    parts: Sequence[PlannedPart],
    report: Callable[[StepResult], None],
) -> None:
    parts = tuple(part for part in parts if part.kind != "off")
    if not parts:
        raise ConfigError(f"there is nothing to test: {_nothing(plan)}", hint=_how_to_choose())
    operator = _choose_operator(parts, is_rig=args.expect)
    wording = wording_for(doors.settings.locale)
    with interruptible():  # the parts are released
        PartsTest(plan, patterns, operator, wording, report, seconds=args.seconds).run(parts)


def _choose_operator(parts: Sequence[PlannedPart], *, is_rig: bool) -> Operator | None:
    """Return the operator; buttons and simulated parts need none."""
    operator = choose_operator(is_rig=is_rig)
    if operator is None and any(part.sort != "button" and part.back_end != "simulated" for part in parts):
        raise ConfigError(
            "cannot ask a person: standard input is not a terminal",
            hint="Run it in a terminal, or give the answers on standard input with --expect.",
        )
    return operator


class _ResultPrinter:
    """Prints the results, and records whether all were good."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self.is_ok = True

    def print(self, result: StepResult) -> None:
        """Print one result."""
        self.is_ok = self.is_ok and result.is_ok
        if self._is_json:
            print_json({**result._asdict(), "ok": result.is_ok})
            return
        text = f"{'ok' if result.is_ok else 'WRONG':<5}  {result.part:<7}  {result.step}: {result.expected}"
        if not result.is_ok:
            text += f"; but: {result.seen}"
        for line in textwrap.wrap(text, _COLUMNS, subsequent_indent=" " * 16, break_on_hyphens=False):
            print_line(line)


def _nothing(plan: BoardPlan) -> str:
    return f"the board is {plan.board!r} and no part is set"


def _how_to_choose() -> str:
    boards = ", ".join(name for name in board_names() if name != NO_BOARD)
    return (
        "Switch a board on: sudo device-auth hardware enable BOARD; or set it in the settings file, below [hardware]:"
        f' board = "NAME". Known: {boards}.'
    )


def _seconds(text: str) -> float:
    if not text.isdecimal() or len(text) > 4:  # noqa: PLR2004  hours are enough
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)
