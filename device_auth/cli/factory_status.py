"""``device-auth factory status``: whether the unit is locked, its identity, and whether an owner's link is there."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.factory.talk import StatusEvent, Talk
from device_auth.factory.unit.identity import read_identity
from device_auth.prompts.stderr import say
from device_auth.world.store import has_any_link


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Tell the state of the unit."""
    return run_unit_verb(args, "status", _report)


def _report(talk: Talk, doors: Doors) -> None:
    is_linked = has_any_link(doors.places.state_dir)
    talk.say(StatusEvent(locked=False, opened_for=None, linked=is_linked))
    say(f"an owner's link: {'unknown' if is_linked is None else 'there' if is_linked else 'none'}")
    identity = read_identity(doors.places)
    if identity is None:
        say("identity: none")
    else:
        talk.say(identity)
        say(f"identity: DSN {identity.dsn}")
