"""``device-auth factory lock``: every check once more, then no verb of the factory until a reset by hand."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import (
    add_image_option,
    add_root_option,
    add_unit_options,
    root_of,
    run_unit_verb,
)
from device_auth.factory.talk import Talk
from device_auth.prompts.stderr import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)
    add_root_option(parser)
    add_image_option(parser)


def run(args: argparse.Namespace) -> int:
    """Lock the unit."""

    def job(talk: Talk, doors: Doors) -> None:
        from device_auth.factory.unit.lock import final_checks, lock_unit

        if lock_unit(talk, doors, root_of(args), final_checks(frozenset(args.image_digests))):
            say("The unit is locked. A reset by hand opens it for ten minutes.")
        else:
            say("The unit is not locked: a check failed.")

    return run_unit_verb(args, "lock", job, needs_root=True)
