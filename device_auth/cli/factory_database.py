"""``device-auth factory database``: the tables of the records, and which folder a station is."""

import argparse
from typing import Final

from device_auth.cli.output import print_line
from device_auth.cli.station_records import add_station, open_records
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
    from device_auth.factory.station.records import schema

    opened = open_records(args, is_prepared=args.action == ADOPT)
    if args.action == SQL:
        print_line(schema.write_sql(opened.engine.dialect.name).rstrip("\n"))
    elif args.action == UPGRADE:
        before = schema.revision_of(opened.engine)
        schema.migrate(opened.engine)
        say(f"the tables were those of {before}, and are those of {schema.NEWEST}")
    elif not opened.is_shared:
        raise WrongUse(
            "there is no database of all stations to adopt the station from", hint="Nothing was done."
        )
    else:
        burnt = opened.by_hand("another folder became the station").adopt()
        say(f"this folder can be the station {opened.plan.station_id}; burnt: {len(burnt)} DSNs")
        for number in burnt:
            print_line(number)
    return 0
