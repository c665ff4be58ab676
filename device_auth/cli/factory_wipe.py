"""``device-auth factory wipe``: erase what a test may have left on the unit, and prove that no token is left."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_root_option, add_unit_options, root_of, run_unit_verb
from device_auth.factory.talk import Talk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)
    add_root_option(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="search the unit for tokens too: its files, their names, the journal, swap files, deleted files still open",
    )


def run(args: argparse.Namespace) -> int:
    """Wipe the unit."""

    def job(talk: Talk, doors: Doors) -> None:
        from device_auth.factory.unit.wiping import wipe_unit

        wipe_unit(talk, doors, root_of(args), verifies=args.verify)

    return run_unit_verb(args, "wipe", job, needs_root=True)
