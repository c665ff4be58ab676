"""``device-auth link``: ask for a code, show it, wait for approval, store the grant."""

import argparse
import sys
from pathlib import Path
from typing import Final

from device_auth.assembly.opening import open_speaker
from device_auth.assembly.speaker import LinkOptions
from device_auth.cli.attempt import Attempt, run_attempt, seconds
from device_auth.core.errors import WrongUse
from device_auth.core.values import replace
from device_auth.world.settings import add_option, add_secret_option

COMMAND: Final = "device-auth link"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("--again", action="store_true", help="ask for a new code although there is a link")
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="ask for no code: use the link of another speaker, whose card this was, as this one's own",
    )
    parser.add_argument(
        "--import",
        dest="is_import",
        action="store_true",
        help="ask for no code: read a refresh token from standard input",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="give up after S seconds (default: when the code expires)",
    )
    parser.add_argument("--no-qr", action="store_true", help="show no QR code")
    parser.add_argument(
        "--qr-file",
        type=Path,
        metavar="FILE",
        help="write the QR code to FILE, .svg or .png, while it is valid",
    )
    add_option(parser, "renewals")
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Link the speaker."""
    if args.adopt and (args.again or args.is_import):
        raise WrongUse("--adopt cannot be combined with --again or --import", hint="Use one of the three.")
    if args.adopt:
        return run_attempt(args, f"{COMMAND} --adopt", _adopt)
    if args.is_import:
        from device_auth.cli.importing import import_link

        return import_link(args)
    return run_attempt(args, COMMAND, _link)


def _adopt(attempt: Attempt) -> int:
    return attempt.end(open_speaker(attempt.doors).adopt())


def _link(attempt: Attempt) -> int:
    args = attempt.args
    is_someone_there = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    audience = replace(attempt.audience, has_qr=not args.no_qr, qr_file=args.qr_file)
    options = LinkOptions(args.again, args.timeout, is_someone_there)
    result = open_speaker(attempt.doors).link(options, audience)
    return attempt.end(result, is_told=audience.is_read)
