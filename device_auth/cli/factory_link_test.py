"""``device-auth factory link-test``: the whole life of a link, against a simulated Amazon, in folders of its own."""

import argparse
import os

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.factory.talk import Talk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Test the unit's link."""

    def job(talk: Talk, doors: Doors) -> None:
        from device_auth.factory.unit.link_test import LinkTest, run_link_test

        is_root = os.geteuid() == 0 and not doors.is_simulated
        run_link_test(talk, LinkTest(doors, root_becomes_stranger=is_root))

    return run_unit_verb(args, "link-test", job, needs_root=True)
