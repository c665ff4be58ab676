"""``device-auth token``: print a valid access token; refresh it first if too little of it is left."""

import argparse
from typing import Final

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import open_speaker
from device_auth.cli.output import print_json, print_line
from device_auth.core.public import FRESH, token_fields
from device_auth.prompts.stderr import say
from device_auth.world.settings import add_secret_option

MOST_DIGITS: Final = 9
"""Of a number of seconds: a billion are enough."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--min-lifetime",
        type=_whole_seconds,
        default=FRESH,
        metavar="S",
        help=f"refresh if less than S seconds are left (default {FRESH})",
    )
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print an access token."""
    doors = open_doors(vars(args))
    token = open_speaker(doors).token(args.min_lifetime)
    if token.expires_in < args.min_lifetime:
        say(
            f"device-auth: the provider's tokens live {token.expires_in} s only, less than --min-lifetime asks for"
        )
    if doors.is_json:
        print_json(token_fields(token))
    else:
        print_line(token.access_token.reveal())
    return 0


def _whole_seconds(text: str) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return int(text)
