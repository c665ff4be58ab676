"""One attempt at a link as a verb makes it: its start, its end on stdout, and its exit code."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.speaker import Audience, Ending, LinkResult, error_of, unexplained
from device_auth.cli.output import REASONS, JsonLines, print_line
from device_auth.core.errors import (
    CodePairExpired,
    ConfigError,
    DeviceAuthError,
    Interrupted,
    ProviderUnclear,
    ProviderUnreachable,
)
from device_auth.core.models import Refusal, Seconds
from device_auth.core.states import StateWord
from device_auth.core.values import dataclass
from device_auth.prompts.stderr import say, words_for
from device_auth.world.signals import interruptible

if TYPE_CHECKING:
    from device_auth.core.speaker import AnswerCounts

CHECK_THE_NETWORK: Final = (
    "Check the network and where the provider is (device-auth config show), then try again."
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a link.

    Attributes:
        args: the command line.
        doors: of this process.
        lines: for a program that reads along; None where people read stdout.
        command: starts it again.
    """

    args: argparse.Namespace
    doors: Doors
    lines: JsonLines | None
    command: str

    @property
    def is_read(self) -> bool:
        """Return whether people read stderr."""
        return self.lines is None or sys.stderr.isatty()

    @property
    def audience(self) -> Audience:
        """Return who follows it."""
        follow = None if self.lines is None else self.lines.tell
        return Audience(self.is_read, sys.stderr.isatty() and not self.doors.is_dumb, follow=follow)

    def refuse(self, reason: str, hint: str) -> None:
        """Report to a program that there is no link."""
        if self.lines is not None:
            self.lines.refused(reason, hint)

    def refused(self, refusal: Refusal) -> DeviceAuthError:
        """Report a refusal to a program, and return the error to exit with."""
        if refusal.trouble in REASONS:
            self.refuse(REASONS[refusal.trouble], refusal.hint)
        return error_of(refusal)

    def timed_out(self, counts: "AnswerCounts | None") -> DeviceAuthError:
        """Report to a program that time is up, and return the error that names what was in the way."""
        error = _time_out(counts, self.command)
        self.refuse("timed-out", error.hint)
        return error

    def interrupted(self) -> DeviceAuthError:
        """Report to a program that a person stopped it, and return the error."""
        hint = f"Start again: {self.command}"
        self.refuse("cancelled", hint)
        return Interrupted("interrupted: no new link was made", hint=hint)

    def hung_up(self) -> DeviceAuthError:
        """Report to a program that the terminal is gone, and return the error."""
        hint = "What has begun is kept. Go on with it: device-auth link"
        self.refuse("cancelled", hint)
        return Interrupted("the terminal is gone: no new link was made so far", hint=hint)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turn Ctrl-C, or a polite kill, into the error that the command ends with."""
        try:
            with interruptible():
                yield
        except KeyboardInterrupt:
            raise self.interrupted() from None

    def end(self, result: LinkResult, *, is_told: bool = False) -> int:
        """Report how it ended, and return the exit code.

        Args:
            result: how.
            is_told: a prompt has told people of a refusal already.

        Raises:
            DeviceAuthError: if there is no new link, unless people know.
        """
        match result.ending:
            case Ending.ALREADY_LINKED:
                if self.lines is None:
                    words = words_for(self.doors.settings.locale, sys.stderr)
                    already = "The speaker is linked already. To link it again, run:"
                    say(f"{words.states['linked'] if words else already} {self.command} --again")
                    if result.doubt:
                        say(result.doubt)
            case Ending.LINKED:
                pass
            case Ending.CANCELLED:
                raise self.interrupted()
            case Ending.HUNG_UP:
                raise self.hung_up()
            case Ending.TIMED_OUT:
                raise self.timed_out(result.answer_counts)
            case Ending.REFUSED:
                error = self.refused(result.refusal or unexplained())
                if is_told:
                    return error.exit_code
                raise error
        if self.lines is None:
            print_line(StateWord.LINKED)
        else:
            self.lines.linked(result.doubt)
        return 0


def run_attempt(args: argparse.Namespace, command: str, run: Callable[[Attempt], int]) -> int:
    """Run an attempt; a setting that cannot be used is reported to a program as well."""
    doors = open_doors(vars(args))
    lines = JsonLines(doors.clock.wall, doors.clock.now) if doors.is_json else None
    attempt = Attempt(args, doors, lines, command)
    try:
        return run(attempt)
    except ConfigError as error:
        attempt.refuse("misconfigured", error.hint)
        raise


def seconds(text: str) -> Seconds:
    """Read a number of seconds from the command line."""
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 0 < length < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return Seconds(length)


def _time_out(counts: "AnswerCounts | None", command: str) -> DeviceAuthError:
    if counts is None or counts.usable:
        return CodePairExpired("nobody approved within the time limit", hint=f"Try again: {command}")
    last = f": {counts.problem}" if counts.problem else ""
    if counts.unclear:
        return ProviderUnclear(
            f"only answers came that could not be understood{last}", hint=CHECK_THE_NETWORK
        )
    return ProviderUnreachable(
        f"the provider was not reached within the time asked for{last}", hint=CHECK_THE_NETWORK
    )
