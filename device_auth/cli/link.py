"""``device-auth link``: ask for a code, show it, wait for approval, store the grant."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.opened_parts import PartsListener, SimulatedAs
from device_auth.assembly.parts import open_parts
from device_auth.cli.attempt import (
    CLOSING_TIME,
    cancelled_by_signals,
    in_force,
    is_new_link,
    read_stored,
    report,
    run_to_the_end,
    seconds,
    tell_end,
    tell_linked_already,
)
from device_auth.cli.output import JsonLines
from device_auth.cli.service import link as link_through
from device_auth.cli.service import reach_service
from device_auth.core import linking
from device_auth.core.errors import ConfigError
from device_auth.core.models import NEVER, Refusal, Seconds, View, later
from device_auth.core.ports import Prompt
from device_auth.prompts.fanout import PromptFanout
from device_auth.prompts.stderr import say_problem
from device_auth.prompts.view_changes import JUST_LINKED_FOR
from device_auth.world.settings import add_option, add_secret_option

if TYPE_CHECKING:
    from device_auth.prompts.terminal import Sidebar
    from hardware.button import Gesture

COMMAND = "device-auth link"

DRAWING_TIME = Seconds(0.5)
"""How long a program is kept waiting for the word of a code while its picture is being written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own."""
    parser.add_argument("--again", action="store_true", help="ask for a new code although there is a link")
    parser.add_argument(
        "--import",
        dest="is_import",
        action="store_true",
        help="ask for no code: read a refresh token, one line, from standard input",
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
    speaker = open_doors(vars(args))
    lines = JsonLines(speaker.clock.wall, speaker.clock.now) if speaker.is_json else None
    try:
        return _link(args, speaker, lines)
    except ConfigError as error:
        if lines is not None:
            lines.refused("misconfigured", error.hint)
        raise


def _link(args: argparse.Namespace, speaker: Doors, lines: JsonLines | None) -> int:
    if args.is_import:
        from device_auth.cli.importing import import_link

        return import_link(args, speaker, lines)
    service = reach_service(speaker)
    if service is not None:
        return link_through(args, speaker, service, lines)
    link = read_stored(speaker)
    former = in_force(link)
    if former is not None and not args.again:
        return tell_linked_already(speaker, former, lines, f"{COMMAND} --again")
    with ExitStack() as opened:
        opened.enter_context(speaker.simulated_amazon(link))
        conversation = speaker.open_conversation()
        speaker.keys.sealing()  # a key that cannot be had is told before a code is
        opened.enter_context(speaker.store)
        is_on_a_terminal = sys.stderr.isatty()
        is_read = not speaker.is_json or is_on_a_terminal

        def tell(view: View) -> None:
            fanout.tell(view)
            if args.qr_file is not None and view.code_pair is not None:
                fanout.wait(DRAWING_TIME)  # who reads of a code may open its picture at once
            if lines is not None:
                lines.tell(view)

        loop = speaker.open_loop(conversation, tell)
        request = linking.LinkRequested(conversation.rules, _renewals(speaker), again=args.again)

        def on_gesture(gesture: "Gesture") -> None:
            from hardware.button import Gesture  # loaded already where there is a button

            if gesture is Gesture.TAP:
                loop.post(request)

        parts = opened.enter_context(
            open_parts(
                speaker.settings,
                speaker.clock,
                PartsListener(on_gesture, _report_part),
                simulated_as=_simulated_as(speaker, is_read=is_read, is_on_a_terminal=is_on_a_terminal),
            )
        )
        prompts = _prompts(args, speaker, parts.sidebar, is_read=is_read)
        fanout = PromptFanout([*prompts, *parts.prompts], speaker.clock, report=report)
        opened.callback(fanout.close, CLOSING_TIME)
        with cancelled_by_signals(loop) as is_cancelled:
            loop.link(request)
            until = NEVER if args.timeout is None else later(speaker.clock.now(), args.timeout)
            in_time = run_to_the_end(loop, until)
            if in_time and parts.is_momentary:
                loop.run(is_cancelled, later(speaker.clock.now(), JUST_LINKED_FOR))
    is_new = is_new_link(loop, former)
    return tell_end(loop, lines, COMMAND, in_time=in_time, is_told=bool(prompts), is_new=is_new)


def _report_part(_part: str, trouble: Refusal) -> None:
    say_problem(trouble.message, trouble.hint)


def _simulated_as(speaker: Doors, *, is_read: bool, is_on_a_terminal: bool) -> SimulatedAs | None:
    if not speaker.is_simulated:
        return None
    if not is_read:
        return SimulatedAs.NOTHING
    return SimulatedAs.DRAWING if is_on_a_terminal else SimulatedAs.LINES


def _renewals(speaker: Doors) -> int:
    """Return how often an expired code is renewed: as asked for, else only where someone is plainly there."""
    settings = speaker.settings
    is_someone_there = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    return settings.renewals if is_someone_there or settings.is_given("renewals") else 0


def _prompts(
    args: argparse.Namespace, speaker: Doors, sidebar: "Sidebar | None", *, is_read: bool
) -> list[Prompt]:
    """Choose the ways of telling: with ``--json`` nothing is drawn unless someone is looking."""
    prompts: list[Prompt] = []
    if is_read:
        from device_auth.prompts import terminal

        prompts.append(
            terminal.open_terminal(
                sys.stderr, environ_no_color=speaker.is_colourless, qr=not args.no_qr, sidebar=sidebar
            )
        )
    if args.qr_file is not None:
        from device_auth.prompts import picture

        picture.check_picture_path(args.qr_file)
        prompts.append(picture.PicturePrompt(args.qr_file))
    return prompts
