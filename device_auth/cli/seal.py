"""``device-auth seal``: seal a plain link under the key that is set up."""

import argparse

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import open_speaker
from device_auth.cli.output import print_json, print_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments: none."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Seal the link."""
    doors = open_doors(vars(args))
    open_speaker(doors).seal()
    if doors.is_json:
        print_json({"sealed": True})
    else:
        print_line("sealed")
    return 0
