"""One attempt at a link as a verb makes it: how it is run, cancelled, told and ended, whatever way the grant comes."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from device_auth.assembly.doors import Doors
from device_auth.cli.output import REASONS, JsonLines, error_of, print_line
from device_auth.core import linking
from device_auth.core.errors import (
    CodePairExpired,
    DeviceAuthError,
    Interrupted,
    ProviderUnclear,
    ProviderUnreachable,
    StoreDamaged,
)
from device_auth.core.models import NEVER, Link, Monotonic, Seconds, View
from device_auth.core.states import StateWord
from device_auth.prompts.fanout import PromptFanout
from device_auth.prompts.stderr import say
from device_auth.service.loop import AnswerCounts, Loop
from device_auth.world.signals import ENDINGS, handled, interruptible, woken_by_signals

if TYPE_CHECKING:
    from device_auth.core.ports import Prompt
    from device_auth.service.provider_client import ProviderClient
    from device_auth.simulator.amazon import Amazon

CLOSING_TIME = Seconds(0.5)
"""How long prompts may take to tell the last view before the command ends."""

CHECK_THE_WAY = "Check the network and where the provider is (device-auth config show), then try again."


def read_stored(speaker: Doors) -> Link | None:
    """Return the stored link; one that is damaged is told of, and linked anew."""
    try:
        return speaker.store.read()
    except StoreDamaged as damage:
        say(f"device-auth: {damage}")
        return None


def in_force(link: Link | None) -> Link | None:
    """Return the stored link if it is one that needs no other."""
    return link if link is not None and link.mark is None and link.is_proved else None


def tell_linked_already(speaker: Doors, link: Link, lines: JsonLines | None, again: str) -> int:
    """Tell that there is a link already, and what to run for another one; give the exit code."""
    for sentence in speaker.differences_from(link):
        say(f"device-auth: {sentence}")
    if lines is None:
        say(f"The speaker is linked already. To link it anew, run: {again}")
    return linked(lines)


@contextmanager
def ready_to_bring(speaker: Doors, link: Link | None) -> "Iterator[tuple[Amazon | None, ProviderClient]]":
    """Open all that a grant by another way needs, before anyone is asked for anything.

    Args:
        speaker: no service holds its link.
        link: the stored one.

    Yields:
        The simulated Amazon, if this is a simulation, and what speaks with the provider; the store's lock is held.

    Raises:
        DeviceAuthError: a setting, the key or the store is not as it must be.
    """
    with speaker.simulated_amazon(link) as amazon:
        conversation = speaker.open_conversation()
        speaker.keys.sealing()
        with speaker.store:
            speaker.store.prove_writable()
            yield amazon, conversation


def bring(
    speaker: Doors,
    conversation: "ProviderClient",
    brought: linking.GrantSubmitted,
    lines: JsonLines | None,
    start_again: str,
) -> int:
    """Save a grant that came by another way than a code pair, prove it and tell it; give the exit code.

    Args:
        speaker: with its store's lock held.
        conversation: speaks with the provider that gave the grant.
        brought: the grant.
        lines: for programs that read along.
        start_again: the command to begin once more with.

    Raises:
        DeviceAuthError: how it ended.
    """
    stored = None
    with suppress(StoreDamaged):  # whoever read it before the lock was taken has told
        stored = speaker.store.read()
    prompts: list[Prompt] = []
    if lines is None or sys.stderr.isatty():
        from device_auth.prompts import terminal

        prompts.append(terminal.open_terminal(sys.stderr, environ_no_color=speaker.is_colourless, qr=False))
    everyone = PromptFanout(prompts, speaker.clock, report=report)

    is_over = False

    def tell(view: View) -> None:
        nonlocal is_over
        # how it ended is told once, as the command's own error; that a former link stays is not what was asked for
        is_former = view.state is StateWord.LINKED and not is_new_link(loop, stored)
        is_over = is_over or is_former or view.trouble in REASONS
        if not is_over:
            everyone.tell(view)
        if lines is not None:
            lines.tell(view)

    loop = speaker.open_loop(conversation, tell)
    try:
        with cancelled_by_signals(loop):
            loop.link_with_grant(brought, stored)
            run_to_the_end(loop, NEVER)
    finally:
        everyone.close(CLOSING_TIME)
    is_new = is_new_link(loop, stored)
    return tell_end(loop, lines, start_again, in_time=True, is_told=False, is_new=is_new)


def run_to_the_end(loop: Loop, until: Monotonic) -> bool:
    """Run until linking has ended; say whether that was in time. What ran out of time is cancelled."""
    in_time = loop.run(lambda: isinstance(loop.state, linking.Unlinked | linking.Linked), until)
    if not in_time:
        loop.feed(linking.Cancelled())
    return in_time


def is_new_link(loop: Loop, former: Link | None) -> bool:
    """Return whether linking ended with another link than the former one."""
    link = loop.stored_link
    is_former = link is None or (former is not None and link.link_id == former.link_id)
    return isinstance(loop.state, linking.Linked) and not is_former


def tell_end(
    loop: Loop, lines: JsonLines | None, start_again: str, *, in_time: bool, is_told: bool, is_new: bool
) -> int:
    """Return how it ended, on stdout and by the exit code; prompts have told people already."""
    refusal = loop.state.refusal if isinstance(loop.state, linking.Unlinked | linking.Linked) else None
    if refusal is not None:
        if lines is not None and refusal.trouble in REASONS:
            lines.refused(REASONS[refusal.trouble], refusal.hint)
        error = error_of(refusal)
        if is_told:
            return error.exit_code
        raise error
    if is_new:
        return linked(lines)
    error = interrupted(start_again) if in_time else timed_out(loop.answer_counts, start_again)
    if lines is not None:
        lines.refused("cancelled" if in_time else "timed-out", error.hint)
    raise error


def interrupted(start_again: str) -> DeviceAuthError:
    """Say that a person stopped it."""
    return Interrupted("interrupted: no new link was made", hint=f"Start again: {start_again}")


def timed_out(heard: AnswerCounts, start_again: str) -> DeviceAuthError:
    """Name what kept it from being done in time."""
    if heard.usable:
        return CodePairExpired("nobody approved within the time asked for", hint=f"Try again: {start_again}")
    last = f": {heard.problem}" if heard.problem else ""
    if heard.unclear:
        return ProviderUnclear(f"only answers came that could not be understood{last}", hint=CHECK_THE_WAY)
    return ProviderUnreachable(
        f"the provider was not reached within the time asked for{last}", hint=CHECK_THE_WAY
    )


def linked(lines: JsonLines | None) -> int:
    """Tell that there is a link."""
    if lines is not None:
        lines.linked()
    else:
        print_line(StateWord.LINKED)
    return 0


def report(name: str, error: BaseException) -> None:
    """Tell that a prompt has failed."""
    say(f"device-auth: the {name} does not work: {type(error).__name__}")


@contextmanager
def told_if_interrupted(lines: JsonLines | None, start_again: str) -> Iterator[None]:
    """Turn Ctrl-C, or a polite kill, into the error that the command ends with, and tell it."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        error = interrupted(start_again)
        if lines is not None:
            lines.refused("cancelled", error.hint)
        raise error from None


@contextmanager
def cancelled_by_signals(loop: Loop) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and a polite kill cancel; a second one ends at once. Yields what tells whether one came."""
    is_cancelled = False

    def cancel(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        for number in ENDINGS:
            signal.signal(number, signal.default_int_handler)
        loop.post(linking.Cancelled())

    with handled(dict.fromkeys(ENDINGS, cancel)), woken_by_signals(lambda: loop.call_soon(lambda: None)):
        yield lambda: is_cancelled


def seconds(text: str) -> Seconds:
    """Read a number of seconds from the command line."""
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0 < length < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return Seconds(length)
