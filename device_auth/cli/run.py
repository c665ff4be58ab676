"""``device-auth run``: the service: button, prompts, refresh, token service."""

import argparse
import os
import stat
import sys

from device_auth.assembly.doors import open_doors
from device_auth.assembly.service_process import ServiceStreams, run_service
from device_auth.core.errors import WrongUse
from device_auth.prompts.stderr import Stderr
from device_auth.world.settings import add_secret_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        help="log to stderr in this form; without it, to the journal where stderr leads there, else as text",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page of a simulated speaker in a browser"
    )
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run until told to stop; a simulated speaker also until its terminal or its pipe ends."""
    doors = open_doors(vars(args))
    if args.open and not doors.is_simulated:
        raise WrongUse("--open is for a simulated speaker", hint="Try: device-auth run --simulate --open")
    is_piped = sys.stdin is not None and _is_pipe(os.fstat(sys.stdin.fileno()).st_mode)
    is_typed = doors.is_simulated and sys.stdin is not None and sys.stdin.isatty()
    streams = ServiceStreams(
        Stderr(),
        args.log_format,
        presses=sys.stdin if is_piped or (doors.is_simulated and not (is_typed and _is_anothers())) else None,
        is_ended_by_input=doors.is_simulated and (is_piped or is_typed),
    )
    if args.open:
        from device_auth.tools.authorize import open_browser

        streams = streams._replace(on_page=open_browser)
    run_service(doors, streams)
    return 0


def _is_anothers() -> bool:
    """Return whether the keyboard is another command's at this moment; to read it would stop this one."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp()
    except OSError:  # a terminal, but not the one that controls this process
        return False


def _is_pipe(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
