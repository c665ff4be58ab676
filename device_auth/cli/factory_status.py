"""``device-auth factory status``: whether the unit is locked, its identity, and whether an owner's link is there."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.factory.talk import StatusEvent, Talk
from device_auth.factory.unit.gate import look_at_gate
from device_auth.factory.unit.identity import read_identity
from device_auth.prompts.stderr import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Report the state of the unit."""
    return run_unit_verb(args, "status", _report, is_always_open=True)


def _report(talk: Talk, doors: Doors) -> None:
    status = look_at_gate(doors)
    talk.say(status)
    say(f"locked: {_lock_in_words(status)}")
    say(f"an owner's link: {'unknown' if status.linked is None else 'there' if status.linked else 'none'}")
    identity = read_identity(doors.places)
    if identity is None:
        say("identity: none")
    else:
        talk.say(identity)
        say(f"identity: DSN {identity.dsn}")


def _lock_in_words(status: StatusEvent) -> str:
    if status.locked:
        return "yes"
    return "no" if status.opened_for is None else f"open for {status.opened_for} s after a reset by hand"
