"""``device-auth link``: ask for a code, show it, wait for approval, store the grant."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from device_auth.cli.output import REASONS, JsonLines, error_of, print_line, say
from device_auth.cli.service import link as link_through
from device_auth.cli.service import reach_service
from device_auth.cli.speaker import Speaker, open_speaker
from device_auth.cli.telling import parts_of
from device_auth.core import linking
from device_auth.core.errors import (
    CodePairExpired,
    ConfigError,
    DeviceAuthError,
    Interrupted,
    ProviderUnclear,
    ProviderUnreachable,
    StoreDamaged,
)
from device_auth.core.models import NEVER, Link, Monotonic, Seconds, View, later
from device_auth.core.ports import Prompt
from device_auth.core.states import StateWord
from device_auth.prompts.everyone import Everyone
from device_auth.prompts.moments import JUST_LINKED_FOR
from device_auth.service.loop import Loop
from device_auth.world.settings import add_option

if TYPE_CHECKING:
    from device_auth.prompts.terminal import Aside

DRAWING_TIME = Seconds(0.5)
"""How long a program is kept waiting for the word of a code while its picture is being written."""

CLOSING_TIME = Seconds(0.5)
"""How long prompts may take to tell the last view before the command ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own."""
    parser.add_argument("--again", action="store_true", help="ask for a new code although there is a link")
    parser.add_argument(
        "--timeout",
        type=_seconds,
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


def run(args: argparse.Namespace) -> int:
    """Link the speaker."""
    speaker = open_speaker(args)
    lines = JsonLines(speaker.clock.wall, speaker.clock.now) if speaker.is_json else None
    try:
        return _link(args, speaker, lines)
    except ConfigError as error:
        if lines is not None:
            lines.refused("misconfigured", error.hint)
        raise


def _link(args: argparse.Namespace, speaker: Speaker, lines: JsonLines | None) -> int:
    service = reach_service(speaker)
    if service is not None:
        return link_through(args, speaker, service, lines)
    link = _read(speaker)
    former_id = link.link_id if link is not None and link.mark is None and link.is_proved else None
    if former_id is not None and link is not None and not args.again:
        for sentence in speaker.differences_from(link):
            say(f"device-auth: {sentence}")
        if lines is None:
            say("The speaker is linked already. To link it anew, run: device-auth link --again")
        return _linked(lines)
    with ExitStack() as opened:
        opened.enter_context(speaker.simulated_amazon(link))
        conversation = speaker.open_conversation()
        speaker.keys.sealing()  # a key that cannot be had is told before a code is
        opened.enter_context(speaker.store)
        is_on_a_terminal = sys.stderr.isatty()
        is_read = not speaker.is_json or is_on_a_terminal
        parts = parts_of(speaker, is_read=is_read, is_on_a_terminal=is_on_a_terminal)
        telling = opened.enter_context(parts)
        prompts = _prompts(args, speaker, telling.aside, is_read=is_read)
        everyone = Everyone([*prompts, *telling.prompts], speaker.clock, report=_report)
        opened.callback(everyone.close, CLOSING_TIME)

        def tell(view: View) -> None:
            everyone.tell(view)
            if args.qr_file is not None and view.code_pair is not None:
                everyone.wait(DRAWING_TIME)  # who reads of a code may open its picture at once
            if lines is not None:
                lines.tell(view)

        loop = speaker.open_loop(conversation, tell)
        request = linking.LinkRequested(conversation.rules, _renewals(speaker), again=args.again)
        telling.tapped = lambda: loop.post(request)
        with _cancelled_by_signals(loop) as is_cancelled:
            loop.start(request)
            until = NEVER if args.timeout is None else later(speaker.clock.now(), args.timeout)
            in_time = _run_to_the_end(loop, until)
            if in_time and telling.is_lively:
                loop.run(is_cancelled, later(speaker.clock.now(), JUST_LINKED_FOR))
    is_new = (
        isinstance(loop.state, linking.Linked) and loop.link is not None and loop.link.link_id != former_id
    )
    return _tell_end(loop, lines, in_time=in_time, is_told=bool(prompts), is_new=is_new)


def _read(speaker: Speaker) -> Link | None:
    """Give the stored link; one that is damaged is told of, and linked anew."""
    try:
        return speaker.store.read()
    except StoreDamaged as damage:
        say(f"device-auth: {damage}")
        return None


def _run_to_the_end(loop: Loop, until: Monotonic) -> bool:
    """Run until linking has ended; say whether that was in time. What ran out of time is cancelled."""
    in_time = loop.run(lambda: isinstance(loop.state, linking.Unlinked | linking.Linked), until)
    if not in_time:
        loop.feed(linking.Cancelled())
    return in_time


def _tell_end(loop: Loop, lines: JsonLines | None, *, in_time: bool, is_told: bool, is_new: bool) -> int:
    """Tell how it ended, on stdout and by the exit code; prompts have told people already."""
    refusal = loop.state.refusal if isinstance(loop.state, linking.Unlinked | linking.Linked) else None
    if refusal is not None:
        if lines is not None and refusal.trouble in REASONS:
            lines.refused(REASONS[refusal.trouble], refusal.hint)
        error = error_of(refusal)
        if is_told:
            return error.exit_code
        raise error
    if is_new:
        return _linked(lines)
    error = _interrupted() if in_time else _timed_out(loop)
    if lines is not None:
        lines.refused("cancelled" if in_time else "timed-out", error.hint)
    raise error


def _interrupted() -> DeviceAuthError:
    return Interrupted("interrupted: no new link was made", hint="Start again: device-auth link")


def _timed_out(loop: Loop) -> DeviceAuthError:
    """Name what kept it from being done in time."""
    if loop.heard.usable:
        return CodePairExpired(
            "nobody approved within the time asked for", hint="Try again: device-auth link"
        )
    hint = "Check the network and where the provider is (device-auth config show), then try again."
    last = f": {loop.heard.problem}" if loop.heard.problem else ""
    if loop.heard.unclear:
        return ProviderUnclear(f"only answers came that could not be understood{last}", hint=hint)
    return ProviderUnreachable(f"the provider was not reached within the time asked for{last}", hint=hint)


def _linked(lines: JsonLines | None) -> int:
    if lines is not None:
        lines.linked()
    else:
        print_line(StateWord.LINKED)
    return 0


def _renewals(speaker: Speaker) -> int:
    """Say how often an expired code is renewed: as asked for, else only where someone is plainly there."""
    settings = speaker.settings
    is_someone_there = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    return settings.renewals if is_someone_there or settings.is_given("renewals") else 0


def _prompts(
    args: argparse.Namespace, speaker: Speaker, aside: "Aside | None", *, is_read: bool
) -> list[Prompt]:
    """Choose the ways of telling: with ``--json`` nothing is drawn unless someone is looking."""
    prompts: list[Prompt] = []
    if is_read:
        from device_auth.prompts import terminal  # noqa: PLC0415  only where there is a code to show

        prompts.append(
            terminal.open_terminal(
                sys.stderr, environ_no_color=speaker.is_colourless, qr=not args.no_qr, aside=aside
            )
        )
    if args.qr_file is not None:
        from device_auth.prompts import picture  # noqa: PLC0415  the same

        picture.check_picture_path(args.qr_file)
        prompts.append(picture.PicturePrompt(args.qr_file))
    return prompts


def _report(name: str, error: BaseException) -> None:
    say(f"device-auth: the {name} does not work: {type(error).__name__}")


@contextmanager
def _cancelled_by_signals(loop: Loop) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a polite kill cancel; a second one ends at once. Yields what tells whether one came."""
    is_cancelled = False

    def cancel(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        for number in former:
            signal.signal(number, signal.default_int_handler)
        loop.post(linking.Cancelled())

    former = {
        number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield lambda: is_cancelled
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _seconds(text: str) -> Seconds:
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0 < length < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return Seconds(length)
