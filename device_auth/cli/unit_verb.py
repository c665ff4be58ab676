"""The runner of the factory's verbs on a unit: each one's talk begins with ``started`` and ends with exactly one ``result``.

That holds for an error, a bug, Ctrl-C, SIGTERM, a terminal or a connection that is gone, and the end of ``--timeout``.
Only a killed process, or a reader that does not read, leaves the talk without its end.
"""

import argparse
import fcntl
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Final

from device_auth import __version__
from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.main import BUG, INTERRUPTED, OUTPUT_BROKE
from device_auth.cli.output import print_line
from device_auth.core.errors import Busy, ConfigError, DeviceAuthError, Interrupted, WrongUse
from device_auth.core.models import Seconds, later
from device_auth.core.public import rfc3339
from device_auth.factory.talk import (
    LONGEST_LINE,
    AskEvent,
    CheckOutcome,
    Header,
    RunOutcome,
    StartedEvent,
    Talk,
    read_answer,
    read_header,
)
from device_auth.factory.unit.gate import refuse_closed
from device_auth.factory.unit.identity import read_identity
from device_auth.world.clock import BootClock
from device_auth.world.factory_lock import LockPlaces, is_machines_own, machine_places
from device_auth.world.files import Folder
from device_auth.world.places import ROOT, factory_dir, make_runtime_dir
from device_auth.world.signals import HELD_BACK, handled, heeded, held_back

HEADER_WITHIN: Final = Seconds(30)
"""How long the station's header is waited for."""

_DIGEST_LENGTH: Final = 64

LONGEST_TIMEOUT: Final = 24 * 3600


def add_unit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every factory verb on the unit has."""
    parser.add_argument(
        "--timeout", type=_timeout, metavar="S", help="end with 75 after S seconds (default: no limit)"
    )
    parser.add_argument(
        "--talk",
        action="store_true",
        help="a station runs this: read the header of its run, and the answers to questions, from standard input",
    )


def add_root_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that gives a simulated unit a root folder of its own."""
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        help="with --simulate: the root folder of the simulated unit (default: it has none, and is not searched beyond its"
        " own folders)",
    )


def add_image_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that tells what the image has, and no unit may have."""
    parser.add_argument(
        "--image-digest",
        dest="image_digests",
        type=_digest,
        action="append",
        default=[],
        metavar="SHA256",
        help="of a file of the image that no unit may have: machine ID, SSH host key, credential secret, random seed;"
        " may be given several times",
    )


def root_of(args: argparse.Namespace) -> Path | None:
    """Return the root folder of the unit; None for a simulated unit that has none of its own.

    Raises:
        WrongUse: if a real unit is given another.
    """
    root: Path | None = args.root
    if "simulate" in vars(args):
        return root
    if root is not None:
        raise WrongUse("--root is for a simulated unit", hint="Use it together with --simulate.")
    return ROOT


def run_unit_verb(
    args: argparse.Namespace,
    name: str,
    job: Callable[[Talk, Doors], None],
    *,
    needs_root: bool = False,
    is_always_open: bool = False,
) -> int:
    """Run a verb on the unit, with its talk on standard output.

    Args:
        args: the command line, with ``add_unit_options``.
        name: of the verb.
        job: does the work, and writes its checks.
        needs_root: it changes or stops something: on the unit itself only root may, and one verb at a time.
        is_always_open: it runs on a locked unit, and beside an owner's link.

    Returns:
        The exit code, which the result names too.

    Raises:
        DeviceAuthError: if the job raised one, the unit is locked, or the time was over; the result has been written.
        BaseException: if the job raised another.
    """
    clock = BootClock()
    began = clock.now()
    station = _Station()
    broken: tuple[RunOutcome, int] | None = None
    talk = Talk(name, _print_whole, _ask_person)
    endings = _Endings()
    with handled(dict.fromkeys(heeded(*HELD_BACK), endings.on_signal)):
        try:
            with endings.end_this(args.timeout):
                if args.talk:
                    talk = Talk(name, _print_whole, station.answer, station.read_header())
                doors = open_doors(vars(args))
                talk.say(StartedEvent(name, _dsn_of(doors), __version__, rfc3339(clock.wall())))
                gate = None if is_always_open else partial(refuse_closed, doors)
                _remove_leftover_profiles(doors)
                with _entered(doors, name, gate, is_alone=needs_root):
                    job(talk, doors)
        except _TimeOver:
            late = Busy(f"factory {name} did not end within {args.timeout:g} s", hint="Run it again.")
            broken = RunOutcome.TIMEOUT, late.exit_code
            raise late from None
        except BaseException as error:
            broken = _how_it_ended(error)
            if isinstance(error, DeviceAuthError):
                talk.check(name, CheckOutcome.ERROR, f"{error}. {error.hint}" if error.hint else str(error))
            raise
        finally:
            result = talk.result(clock.now() - began, broken)
            talk.say(result)
    return result.exit


@contextmanager
def _entered(doors: Doors, name: str, gate: Callable[[], None] | None, *, is_alone: bool) -> Iterator[None]:
    """Pass the gate, and for a verb that runs alone once more then: another one may have locked the unit meanwhile."""
    if gate is not None:
        gate()
    with _alone(doors, name) if is_alone else nullcontext():
        if gate is not None and is_alone:
            gate()
        yield


@contextmanager
def _alone(doors: Doors, name: str) -> Iterator[None]:
    """Keep other verbs of the factory off this unit; a killed one does not.

    The machine's own unit is kept by the machine's runtime folder, whatever other folder is in use: two of them would not
    keep two verbs off each other.

    Raises:
        WrongUse: if only root may run it.
        Busy: if another verb runs.
        StoreError: if there is no runtime folder to be had.
    """
    if os.geteuid() != 0 and not doors.options.keys() & {"state_dir", "simulate"}:
        raise WrongUse(f"factory {name} is for root alone", hint="Run it with sudo.")
    own = machine_places(doors.machine)
    in_use = LockPlaces(doors.places.state_dir, doors.places.runtime_dir)
    folder = own.runtime_dir if is_machines_own(in_use, doors.machine) else in_use.runtime_dir
    if folder is None:
        yield
        return
    make_runtime_dir(folder)
    with Folder.open(folder) as held:
        try:
            fcntl.flock(held.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                "another verb of the factory runs on this unit", hint="Wait until it has ended."
            ) from error
        yield


def _remove_leftover_profiles(doors: Doors) -> None:
    """Remove what a link-test that was killed with its reaper has left."""
    runtime_dir = doors.places.runtime_dir
    if runtime_dir is None:
        return
    with suppress(OSError):
        if not os.listdir(factory_dir(runtime_dir)):  # noqa: PTH208  no Path is wanted of it
            return
        from device_auth.factory.unit.profile import remove_leftover_profiles

        remove_leftover_profiles(runtime_dir)


def _dsn_of(doors: Doors) -> str | None:
    try:
        identity = read_identity(doors.places)
    except ConfigError:
        return None
    return None if identity is None else identity.dsn


def _how_it_ended(error: BaseException) -> tuple[RunOutcome, int]:
    """Return the outcome of a verb that an error ended, and the exit code that ``cli.main`` gives it."""
    match error:
        case KeyboardInterrupt():
            return RunOutcome.ABORTED, INTERRUPTED
        case Interrupted():
            return RunOutcome.ABORTED, Interrupted.exit_code
        case DeviceAuthError():
            return RunOutcome.ERROR, error.exit_code
        case SystemExit(code=int(code)):
            return RunOutcome.ERROR, code
        case BrokenPipeError():
            return RunOutcome.ABORTED, OUTPUT_BROKE
        case _:
            return RunOutcome.ERROR, BUG


# ---------------------------------------------------------------------------------------------------------
# The end


class _TimeOver(BaseException):
    """The time of ``--timeout`` is over; no ``except Exception`` of a job may catch it."""


class _Endings:
    """Lets the first signal, or the end of the time, end the work; further ones do not disturb what follows it."""

    def __init__(self) -> None:
        self._is_open = False

    @contextmanager
    def end_this(self, timeout: float | None) -> Iterator[None]:
        """End what is done in here; no signal raises after it."""
        self._is_open = True
        signal.setitimer(signal.ITIMER_REAL, timeout or 0)
        try:
            yield
        finally:
            self._is_open = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def on_signal(self, number: int, _frame: object) -> None:
        """End the work, if it is not over: the handler of every signal that this process heeds."""
        if self._is_open:
            self._is_open = False
            raise _TimeOver if number == signal.SIGALRM else KeyboardInterrupt


def _print_whole(line: str) -> None:
    with held_back():
        print_line(line)


# ---------------------------------------------------------------------------------------------------------
# The station, or a person


class _Station:
    """The lines that a station writes to standard input, read from its descriptor: no other buffer holds any back."""

    def __init__(self) -> None:
        self._unread = b""

    def read_header(self) -> Header:
        """Return the header of the run.

        Raises:
            WrongUse: if there is none, or none comes in time.
        """
        line = self._read_line(HEADER_WITHIN)
        if line is None:
            raise WrongUse(
                f"no header of a run came on standard input within {HEADER_WITHIN:.0f} s",
                hint="Without a station, leave --talk out.",
            )
        return read_header(line)

    def answer(self, question: AskEvent) -> str:
        """Return the station's answer to a question."""
        line = self._read_line(None)
        if line is None:
            raise _nobody_answers(question)
        return read_answer(line, question.name)

    def _read_line(self, within: Seconds | None) -> bytes | None:
        """Return the next line; None if standard input ends first, or the time."""
        clock = BootClock()
        until = None if within is None else later(clock.now(), within)
        while b"\n" not in self._unread:
            if len(self._unread) > LONGEST_LINE:
                raise WrongUse(f"a line on standard input is longer than {LONGEST_LINE} bytes")
            left = None if until is None else max(0, until - clock.now())
            try:
                piece = os.read(0, LONGEST_LINE) if select.select([0], [], [], left)[0] else b""
            except OSError:  # it was closed before this process began
                piece = b""
            if not piece:
                return None
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _ask_person(question: AskEvent) -> str:
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            "cannot ask a person: standard input is not a terminal",
            hint="Run it in a terminal, or let a station answer: --talk",
        )
    known = [answer.casefold() for answer in question.answers]
    while True:
        sys.stderr.write(f"{question.question} [{'/'.join(question.answers) or 'text'}] ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise _nobody_answers(question)
        answer = line.strip()
        if not known:
            return answer
        meant = [number for number, each in enumerate(known) if answer and each.startswith(answer.casefold())]
        if len(meant) == 1:
            return question.answers[meant[0]]


def _nobody_answers(question: AskEvent) -> Interrupted:
    return Interrupted(f"nobody answered the question {question.name}: standard input was closed")


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to {LONGEST_TIMEOUT}")
    return seconds


def _digest(text: str) -> str:
    if len(text) != _DIGEST_LENGTH or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a digest has 64 hexadecimal digits: sha256sum FILE")
    return text.lower()
