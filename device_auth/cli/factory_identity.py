"""``device-auth factory identity``: write, show or erase the identity of the unit."""

import argparse

from device_auth.assembly.doors import Doors
from device_auth.assembly.service import is_of_system
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.core.errors import ConfigError, WrongUse
from device_auth.factory.talk import CheckOutcome, IdentityEvent, Talk
from device_auth.factory.unit.identity import (
    DsnForm,
    check_identity,
    erase_identity,
    identity_file,
    read_identity,
    write_identity,
)
from device_auth.prompts.stderr import say
from device_auth.world.service_unit import RELOAD
from device_auth.world.settings import IDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "identity_action",
        metavar="write|show|erase",
        choices=("write", "show", "erase"),
        help="write: with --dsn, --product-id and --client-id, the same again does nothing, and another one is refused;"
        " show: print it; erase: remove it, with --force",
    )
    parser.add_argument("--part-number", metavar="TEXT", help="write: of the product")
    parser.add_argument("--revision", metavar="TEXT", help="write: of the product")
    parser.add_argument("--batch", metavar="TEXT", help="write: in which the unit was made")
    parser.add_argument(
        "--hyphens",
        action="store_true",
        help="write: the DSNs of this product may have hyphens, which Amazon's own installer refuses",
    )
    parser.add_argument(
        "--check-digit",
        action="store_true",
        help="write: the last character of this product's DSNs is a check digit (ISO/IEC 7064 MOD 37,36)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write: over another identity; erase: without it nothing is erased",
    )
    add_unit_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""

    def job(talk: Talk, doors: Doors) -> None:
        match args.identity_action:
            case "write":
                _write(args, talk, doors)
            case "erase":
                _erase(args, talk, doors)
            case _:
                _show(talk, doors)

    is_change = args.identity_action != "show"
    return run_unit_verb(args, f"identity {args.identity_action}", job, needs_root=is_change)


def _write(args: argparse.Namespace, talk: Talk, doors: Doors) -> None:
    missing = [f"--{name.replace('_', '-')}" for name in IDS if not getattr(args, name, None)]
    if missing:
        raise WrongUse(f"{', '.join(missing)} must be given", hint="Nothing was written.")
    identity = IdentityEvent(
        dsn=args.dsn,
        product_id=args.product_id,
        client_id=args.client_id,
        part_number=args.part_number or None,
        revision=args.revision or None,
        batch=args.batch or None,
    )
    check_identity(identity, DsnForm(args.hyphens, args.check_digit))
    is_new = write_identity(doors.places, identity, has_force=args.force)
    talk.say(identity)
    path = identity_file(doors.places.state_dir)
    talk.check("identity", CheckOutcome.PASS, "written" if is_new else "it was there already")
    say(f"Wrote {path}." if is_new else f"It was there already: {path}.")
    _tell_service(doors, is_changed=is_new)


def _show(talk: Talk, doors: Doors) -> None:
    identity = read_identity(doors.places)
    if identity is None:
        raise ConfigError(
            "this unit has no identity", hint="Write it: device-auth factory identity write --dsn DSN …"
        )
    talk.say(identity)
    for name, value in identity._asdict().items():
        if value is not None:
            say(f"{name.replace('_', ' ')}: {value}")


def _erase(args: argparse.Namespace, talk: Talk, doors: Doors) -> None:
    if not args.force:
        raise WrongUse("the identity is erased with --force only", hint="Nothing was erased.")
    was_there = erase_identity(doors.places)
    path = identity_file(doors.places.state_dir)
    talk.check("identity", CheckOutcome.PASS, "erased" if was_there else "there was none")
    say(f"Erased {path}." if was_there else f"There was none: {path}.")
    _tell_service(doors, is_changed=was_there)


def _tell_service(doors: Doors, *, is_changed: bool) -> None:
    """Tell how a service that runs gets to know the identity."""
    if is_changed and is_of_system(doors):
        say(f"A service that runs uses it from now on after: {RELOAD}")
