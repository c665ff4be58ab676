"""``device-auth factory lock``: every check once more, then no verb of the factory until a reset by hand."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.factory.talk import Talk
from device_auth.factory.unit.lock import lock_unit
from device_auth.prompts.stderr import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Lock the unit."""
    return run_unit_verb(args, "lock", _lock, needs_root=True)


def _lock(talk: Talk, doors: Doors) -> None:
    if lock_unit(talk, doors):
        say("The unit is locked. A reset by hand opens it for ten minutes.")
    else:
        say("The unit is not locked: a check failed.")
