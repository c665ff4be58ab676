"""``device-auth factory facts``: what the unit reads of itself."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.factory.talk import Talk, UnitEvent
from device_auth.factory.unit.facts import read_facts
from device_auth.prompts.stderr import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Report the facts."""
    return run_unit_verb(args, "facts", _report)


def _report(talk: Talk, doors: Doors) -> None:
    facts = read_facts(doors.machine)
    talk.say(UnitEvent(facts))
    for name, value in facts.items():
        say(f"{name}: {'unknown' if value is None else value}")
