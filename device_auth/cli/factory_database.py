"""``device-auth factory database``: the tables of the records, and which folder a station is."""

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from device_auth.cli.output import print_line
from device_auth.cli.station_records import OpenedRecords, add_station, open_records
from device_auth.core.errors import WrongUse
from device_auth.prompts.stderr import say

UPGRADE: Final = "upgrade"
SQL: Final = "sql"
ADOPT: Final = "adopt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "action",
        choices=(UPGRADE, SQL, ADOPT),
        help="upgrade: bring the tables to this version's; sql: print the statements for an administrator; "
        "adopt: let this folder be the station, after another one was lost",
    )
    add_station(parser)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    with open_records(args, is_prepared=args.action == ADOPT) as opened:
        _ACTIONS[args.action](opened)
    return 0


def _upgrade(opened: OpenedRecords) -> None:
    from device_auth.factory.station.records import schema

    before = schema.revision_of(opened.engine)
    schema.migrate(opened.engine)
    say(f"the tables were those of {before}, and are those of {schema.NEWEST}")


def _print_sql(opened: OpenedRecords) -> None:
    from device_auth.factory.station.records import schema

    print_line(schema.write_sql(opened.engine.dialect.name).rstrip("\n"))


def _adopt(opened: OpenedRecords) -> None:
    if not opened.is_shared:
        raise WrongUse(
            "there is no database of all stations to adopt the station from", hint="Nothing was done."
        )
    burnt = opened.by_hand("another folder became the station").adopt()
    say(f"this folder can be the station {opened.plan.station_id}; burnt: {len(burnt)} DSNs")
    for number in burnt:
        print_line(number)


_ACTIONS: Final[Mapping[str, Callable[[OpenedRecords], None]]] = {
    UPGRADE: _upgrade,
    SQL: _print_sql,
    ADOPT: _adopt,
}
