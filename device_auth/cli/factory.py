"""``device-auth factory``: the verbs of the line, on the unit and at the station.

Each sub-verb is a module of this room, imported only when its name stands on the command line.
"""

import argparse
import importlib
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError

STATION: Final = "device_auth.factory.station"
"""No Debian package has it."""


class SubVerb(NamedTuple):
    """What a sub-verb is for, and the module of this room that has it."""

    summary: str
    module: str


SUB_VERBS: Final = {
    "identity": SubVerb("write, show or erase what makes this unit the one of its label", "factory_identity"),
    "facts": SubVerb(
        "what the unit reads of itself: board, addresses, card, image, versions", "factory_facts"
    ),
    "lock": SubVerb(
        "every check once more; then no verb of the factory until a reset by hand", "factory_lock"
    ),
    "status": SubVerb(
        "whether the unit is locked, its identity, and whether an owner's link is there", "factory_status"
    ),
    "selftest": SubVerb(
        "identity, the doctor without a network, leftovers of a cloned image, every part", "factory_selftest"
    ),
    "link-test": SubVerb(
        "the whole life of a link, against a simulated Amazon, in folders of its own", "factory_link_test"
    ),
    "wipe": SubVerb(
        "erase what a test may have left; with --verify, prove that no token is left", "factory_wipe"
    ),
    "run": SubVerb("at the station: run units through the plan, and keep their records", "factory_run"),
    "database": SubVerb("upgrade | sql | adopt: the tables of the records", "factory_database"),
    "dsn": SubVerb("add | list | show | check | burn | rework: the serial numbers", "factory_dsn"),
    "export": SubVerb("hand the records on: JSON, JUnit XML, CSV", "factory_export"),
    "import": SubVerb("take over what rpi-sb-provisioner knows of each board", "factory_import"),
    "report": SubVerb("yield, retests, time of each step", "factory_report"),
}
"""Each sub-verb by its name; its module has ``add_arguments`` and ``run``, as a verb's has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments: the sub-verbs alone, which ``cli.main`` adds."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb, and return its exit code or raise ``DeviceAuthError``."""
    module = importlib.import_module(f"device_auth.cli.{SUB_VERBS[args.sub_verb].module}")
    try:
        return int(module.run(args))
    except ModuleNotFoundError as error:
        if error.name != STATION:
            raise
        raise ConfigError(
            "this installation is a speaker's: it has no station",
            hint="Install the program at the station, in a virtual environment of its own: docs/factory.md",
        ) from error
