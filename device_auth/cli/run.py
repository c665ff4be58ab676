"""``device-auth run``: the service: button, prompts, refresh, token service."""

import argparse
import os
import stat
import sys
from collections.abc import Iterable

from device_auth.assembly.doors import open_doors
from device_auth.assembly.service_process import run_service
from device_auth.world.settings import add_secret_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        help="log to stderr in this form; without it, to the journal where stderr leads there, else as text",
    )
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until told to stop."""
    doors = open_doors(vars(args))
    presses = sys.stdin if doors.is_simulated else _piped_lines()
    run_service(doors, log_to=sys.stderr, log_format=args.log_format, presses=presses)
    return 0


def _piped_lines() -> Iterable[str] | None:
    """Return the lines of a program that presses a simulated button, or None without such a program."""
    is_piped = sys.stdin is not None and stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    return sys.stdin if is_piped else None
