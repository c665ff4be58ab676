"""``device-auth factory dsn``: the ledger of the serial numbers."""

import argparse
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.cli.output import print_json, print_line
from device_auth.cli.station_records import OpenedRecords, add_station, open_records
from device_auth.core.errors import WrongUse
from device_auth.core.models import UnixTime
from device_auth.core.public import rfc3339
from device_auth.prompts.stderr import say
from device_auth.world.explain import store_error
from device_auth.world.files import read_plain

if TYPE_CHECKING:
    from device_auth.factory.station.records.ledger import DsnRow
    from device_auth.factory.station.run_record import DsnRule

LONGEST_LIST: Final = 10_000_000
"""Bytes of a file of DSNs."""

MOST_AT_ONCE: Final = 1_000_000
"""DSNs that one command adds."""

LONGEST_DSN: Final = 32
"""Characters."""

COLUMNS: Final = ("dsn", "state", "station_id", "board", "run_uuid", "moves")
"""Of a line of ``list`` and ``show``; new ones are added at the end."""

EVENT_COLUMNS: Final = ("event", "board", "station_id", "operator", "run_uuid", "reason")
"""Of an event's line, behind its moment."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "action",
        choices=tuple(_ACTIONS),
        help="add: free numbers; list: numbers and their state; show: what became of one; check: whether one can be given; "
        "burn: never use one; rework: move one to another board, with a reason",
    )
    add_station(parser)
    parser.add_argument("dsn", nargs="?", metavar="DSN", help="for show, check, burn and rework")
    parser.add_argument(
        "--first", type=int, metavar="N", help="add: the first number, behind the product's prefix"
    )
    parser.add_argument("--count", type=int, metavar="N", help="add: how many")
    parser.add_argument("--digits", type=int, default=6, metavar="N", help="add: digits of each (default 6)")
    parser.add_argument("--from", dest="file", type=Path, metavar="FILE", help="add: a list, one DSN a line")
    parser.add_argument(
        "--block", type=int, default=100, metavar="N", help="add: numbers a station takes at once"
    )
    parser.add_argument("--state", action="append", metavar="STATE", help="list: only those; may be repeated")
    parser.add_argument("--reason", metavar="TEXT", help="burn, rework: why")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    with open_records(args) as opened:
        return _ACTIONS[args.action](args, opened)


def _add(args: argparse.Namespace, opened: OpenedRecords) -> int:
    from device_auth.factory.station.records import ledger
    from device_auth.factory.station.records.databases import writing

    rule = opened.plan.dsn_rule
    if not 1 <= args.block <= 1000:  # noqa: PLR2004  one statement names them all
        raise WrongUse("--block is not from 1 to 1000")
    numbers = _numbers_of_file(args.file) if args.file is not None else _numbers_of_row(args, rule)
    for number in numbers:
        problem = ledger.problem_of_form(number, rule)
        if problem is not None:
            raise WrongUse(
                f"{number[:40]!a} cannot be a DSN of this product ({problem})", hint="Nothing was added."
            )
    if len(set(numbers)) < len(numbers):
        raise WrongUse("a DSN stands twice in the list", hint="Nothing was added.")
    with writing(opened.engine) as connection:
        left = iter(numbers)
        while block := list(islice(left, args.block)):
            ledger.add_block(connection, rule.product, block)
    say(f"{len(numbers)} DSNs were added for the product {rule.product}")
    return 0


def _numbers_of_row(args: argparse.Namespace, rule: "DsnRule") -> list[str]:
    from device_auth.factory.check_digit import check_digit_of

    if args.first is None or args.count is None or not 1 <= args.count <= MOST_AT_ONCE or args.first < 0:
        raise WrongUse(
            f"add needs --first and --count (at most {MOST_AT_ONCE}), or --from FILE",
            hint="Nothing was added.",
        )
    if not 1 <= args.digits <= LONGEST_DSN:
        raise WrongUse(f"--digits is not from 1 to {LONGEST_DSN}", hint="Nothing was added.")
    bodies = [
        f"{rule.prefix}{number:0{args.digits}d}" for number in range(args.first, args.first + args.count)
    ]
    return [body + check_digit_of(body) for body in bodies] if rule.has_check_digit else bodies


def _numbers_of_file(path: Path) -> list[str]:
    try:
        content, _ = read_plain(path, LONGEST_LIST + 1)
        text = content.decode("ascii")
    except OSError as error:
        raise store_error(f"cannot read {path}", error) from error
    except ValueError as error:
        raise WrongUse(f"{path} is no list of DSNs: it is not ASCII", hint="Nothing was added.") from error
    if len(content) > LONGEST_LIST:
        raise WrongUse(f"{path} is longer than {LONGEST_LIST} bytes", hint="Nothing was added.")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _list(args: argparse.Namespace, opened: OpenedRecords) -> int:
    from sqlalchemy import select

    from device_auth.factory.station.records.databases import reading
    from device_auth.factory.station.records.tables import DSN_STATES, dsn

    unknown = set(args.state or ()) - set(DSN_STATES)
    if unknown:
        raise WrongUse(f"--state is none of {', '.join(DSN_STATES)}")
    wanted = select(dsn).where(dsn.c.product == opened.plan.dsn_rule.product).order_by(dsn.c.dsn)
    if args.state:
        wanted = wanted.where(dsn.c.state.in_(args.state))
    with reading(opened.engine) as connection:
        for row in connection.execute(wanted).mappings():
            _print_row(args, {name: row[name] for name in COLUMNS})
    return 0


def _print_row(args: argparse.Namespace, row: Mapping[str, object]) -> None:
    if "json" in args:
        print_json(dict(row))
    else:
        print_line("\t".join("-" if value in {None, ""} else str(value) for value in row.values()))


def _show(args: argparse.Namespace, opened: OpenedRecords) -> int:
    from sqlalchemy import select

    from device_auth.factory.station.records.databases import reading
    from device_auth.factory.station.records.tables import identity_event

    row = _find(args, opened)
    events = (
        select(identity_event)
        .where(identity_event.c.dsn == row.dsn)
        .order_by(identity_event.c.order_millis, identity_event.c.event_uuid)
    )
    _print_row(args, {name: getattr(row, name) for name in COLUMNS})
    with reading(opened.engine) as connection:
        for each in connection.execute(events).mappings():
            at = rfc3339(UnixTime(each["time_millis"] / 1000))
            _print_row(args, {"at": at, **{name: each[name] for name in EVENT_COLUMNS}})
    return 0


def _check(args: argparse.Namespace, opened: OpenedRecords) -> int:
    from device_auth.factory.station.records import ledger
    from device_auth.factory.station.records.databases import reading

    number, rule = _given(args), opened.plan.dsn_rule
    problem = ledger.problem_of_form(number, rule)
    if problem is None:
        with reading(opened.engine) as connection:
            row = ledger.find(connection, number)
        problem = ledger.problem_of(row, rule, station_id=opened.plan.station_id)
    if problem is None:
        say("it can be given to a unit")
        return 0
    raise ledger.refusal(number, problem)


def _burn(args: argparse.Namespace, opened: OpenedRecords) -> int:
    opened.by_hand(_reason(args)).burn(_given(args))
    say("burnt: it is never given")
    return 0


def _rework(args: argparse.Namespace, opened: OpenedRecords) -> int:
    board = opened.by_hand(_reason(args)).move(_given(args))
    say(f"the unit {board} is scrapped; the next unit whose label has this DSN is given it")
    return 0


def _find(args: argparse.Namespace, opened: OpenedRecords) -> "DsnRow":
    from device_auth.factory.station.records import ledger
    from device_auth.factory.station.records.databases import reading

    with reading(opened.engine) as connection:
        row = ledger.find(connection, _given(args))
    if row is None:
        raise WrongUse("that DSN is not in the ledger")
    return row


def _given(args: argparse.Namespace) -> str:
    if not args.dsn:
        raise WrongUse(f"{args.action} needs a DSN behind the station's file")
    return str(args.dsn)


def _reason(args: argparse.Namespace) -> str:
    if not (args.reason or "").strip():
        raise WrongUse(f"{args.action} needs a reason: --reason TEXT", hint="Nothing was changed.")
    return str(args.reason)


_ACTIONS: Final[Mapping[str, Callable[[argparse.Namespace, OpenedRecords], int]]] = {
    "add": _add,
    "list": _list,
    "show": _show,
    "check": _check,
    "burn": _burn,
    "rework": _rework,
}
