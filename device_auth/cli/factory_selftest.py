"""``device-auth factory selftest``: identity, the doctor without a network, leftovers of an image, every part."""

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_unit_options(parser)
    add_root_option(parser)
    add_image_option(parser)
    parser.add_argument("--no-parts", action="store_true", help="this product has no parts")


def run(args: argparse.Namespace) -> int:
    """Test the unit."""

    def job(talk: Talk, doors: Doors) -> None:
        from device_auth.factory.unit.selftest import SelfTestOptions, run_selftest

        label = getattr(args, "dsn", None)
        options = SelfTestOptions(
            root_of(args), label, frozenset(args.image_digests), has_parts=not args.no_parts
        )
        run_selftest(talk, doors, options)

    return run_unit_verb(args, "selftest", job, needs_root=True)
