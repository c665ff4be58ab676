"""``device-auth factory import``: take over what rpi-sb-provisioner knows of each board."""

import argparse
from pathlib import Path

from device_auth.cli.station_records import add_station, open_records
from device_auth.prompts.stderr import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_station(parser)
    parser.add_argument(
        "provisioned",
        type=Path,
        metavar="PATH",
        help="rpi-sb-provisioner's database, or the folder that the hook of deploy/factory writes to",
    )


def run(args: argparse.Namespace) -> int:
    """Import the boards; the same again changes nothing."""
    with open_records(args) as opened:
        from device_auth.factory.station.records.databases import writing
        from device_auth.factory.station.records.provisioned import read_provisioned
        from device_auth.factory.station.records.units import keep_provisioned

        found = read_provisioned(args.provisioned)
        with writing(opened.engine) as connection:
            keep_provisioned(connection, found.rows)
    left_out = f"; {found.left_out} entries without a serial number were left out" if found.left_out else ""
    say(f"{len(found.rows)} boards are known{left_out}")
    return 0
