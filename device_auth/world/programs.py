"""Other programs, run with fixed arguments, without a shell, and with limits on time and output."""

import os
import signal
import subprocess  # noqa: TID251  systemctl, journalctl, ss and an editor are run here alone
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from device_auth.core.models import Seconds
from device_auth.world.bounded import cancelled_after
from device_auth.world.explain import explain
from device_auth.world.settings import environment_for_others
from hardware.errors import describe_end

PROGRAM_TIMEOUT: Final = Seconds(4)
"""How long another program may take to answer."""

MOST_OUTPUT: Final = 256 * 1024
"""Bytes of another program's output that are read; the rest is left."""


class CannotRun(Exception):
    """A program is missing, or did not end in time; the text has its name and the reason."""


class ProgramResult(NamedTuple):
    """The exit code and stdout of a program."""

    exit_code: int
    output: str


Run = Callable[[Sequence[str]], ProgramResult]


def run_program(
    words: Sequence[str], within: Seconds = PROGRAM_TIMEOUT, environ: Mapping[str, str] | None = None
) -> ProgramResult:
    """Run a program.

    Args:
        words: its name, looked up on the path unless it has a folder, and its arguments.
        within: how long it may take.
        environ: what it finds of the environment; None for this process's, without the secrets in it.

    Raises:
        CannotRun: if it is missing, or did not end in time.
    """
    with _started(words, within, environ) as (process, late):
        assert process.stdout is not None  # noqa: S101  it was asked for
        output = process.stdout.read(MOST_OUTPUT)
        if len(output) == MOST_OUTPUT:
            _kill_all(process)
        exit_code = process.wait()
    if late:
        raise CannotRun(f"{words[0]}: no answer within {within:g} s")
    return ProgramResult(exit_code, output.decode("utf-8", "replace"))


def run_in_terminal(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a program that a person works with, and return its exit code. Ctrl-C is for that program alone.

    Args:
        words: its name and its arguments.
        environ: what it finds of the environment.

    Raises:
        CannotRun: if it is missing.
    """
    from device_auth.world.signals import handled

    # a handler is reset in the program, which ignoring is not
    with handled(dict.fromkeys((signal.SIGINT, signal.SIGQUIT), lambda *_: None)):
        try:
            return subprocess.run(list(words), env=dict(environ), check=False).returncode  # noqa: S603  its user named it
        except OSError as error:
            raise CannotRun(explain(words[0], error)) from error


def stream_program(words: Sequence[str], within: Seconds) -> Iterator[bytes]:
    """Run a program, and return all of its output in pieces.

    Args:
        words: as for ``run_program``.
        within: how long it may take, with what is done between the pieces.

    Raises:
        CannotRun: if it is missing, failed, or did not end in time.
    """
    with _started(words, within) as (process, late):
        assert process.stdout is not None  # noqa: S101  it was asked for
        try:
            while piece := process.stdout.read(MOST_OUTPUT):
                yield piece
        except BaseException:
            _kill_all(process)
            raise
        exit_code = process.wait()
    if late:
        raise CannotRun(f"{words[0]}: no end within {within:g} s")
    if exit_code != 0:
        raise CannotRun(f"{words[0]} {describe_end(exit_code)}")


@contextmanager
def _started(
    words: Sequence[str], within: Seconds, environ: Mapping[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", list[bool]]]:
    """Start a program, and kill it when the time is up; the list beside it is then not empty any more."""
    given = environment_for_others() if environ is None else environ
    try:
        process = subprocess.Popen(  # noqa: S603  the arguments are this program's own
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**given, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""},
            start_new_session=True,
        )
    except OSError as error:
        raise CannotRun(explain(words[0], error)) from error
    late: list[bool] = []

    def kill() -> None:
        late.append(True)
        _kill_all(process)

    with cancelled_after(within, kill), process:
        yield process, late


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and its children, which might hold its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
