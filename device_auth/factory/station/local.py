"""The way to a simulated unit: the unit's real verbs as processes of this machine, with folders of their own.

Each run meets a new unit. Its folders stay until the next one comes into the slot, so that a person can look at them.
"""

import os
import select
import shutil
import signal
import subprocess  # noqa: TID251  a simulated unit's verbs are processes
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from device_auth.core.models import Monotonic
from device_auth.factory.station.transport import (
    LONGEST_WAIT,
    Halt,
    ReachedUnit,
    StationFailure,
    TalkChannel,
    TalkTail,
    UnitGone,
    UnitTransport,
)
from device_auth.world.explain import explain
from device_auth.world.settings import environment_for_others
from hardware.settings import Key, ValueType

KEYS: Final = (
    Key(
        "program",
        ValueType.COMMAND,
        explanation="What is started in place of this device-auth, with the verb's words behind its own.",
        example=["/usr/bin/device-auth"],
        default=None,
    ),
)

UNITS: Final = "units"
"""The folder with the simulated units, in the station's."""

SLOT_VARIABLE: Final = "DEVICE_AUTH_SLOT"
"""Names the slot to the program, so that a test's can behave differently in each."""


class LocalTransport:
    """A simulated unit; see ``UnitTransport``.

    Args:
        program: with its first arguments.
        folder: of the unit; what an earlier unit has left in it is removed.
        slot: that the unit is in.
        now: reads the clock of deadlines.
        halt: ends every wait.
    """

    def __init__(
        self, program: Sequence[str], folder: Path, slot: str, now: Callable[[], Monotonic], halt: Halt
    ) -> None:
        self._program = tuple(program)
        self._folder = folder
        self._slot = slot
        self._now = now
        self._halt = halt
        self._tail = TalkTail()
        self._verb: subprocess.Popen[bytes] | None = None
        self._channel: TalkChannel | None = None
        self._is_new = True
        self._board = f"simulated-{uuid4().hex}"

    @property
    def talk(self) -> bytes:
        """Return the end of what the unit has said; see ``UnitTransport``."""
        return self._tail.kept()

    def open(self, deadline: Monotonic) -> ReachedUnit:
        """Make the unit's folders; see ``UnitTransport``."""
        del deadline  # a disk has none
        try:
            if self._is_new:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._is_new = False
            for name in ("state", "run"):
                (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StationFailure(explain(f"cannot make the unit's folder {self._folder}", error)) from error
        return ReachedUnit(str(self._folder), board=self._board)

    def start(self, words: Sequence[str], deadline: Monotonic) -> None:
        """Start a verb; see ``UnitTransport``."""
        self.finish(deadline)
        places = (
            "--simulate",
            "--state-dir",
            str(self._folder / "state"),
            "--runtime-dir",
            str(self._folder / "run"),
        )
        try:
            verb = subprocess.Popen(  # noqa: S603  the station's own file names the program
                [*self._program, *words, *places],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env={**environment_for_others(), SLOT_VARIABLE: self._slot},
                start_new_session=True,  # Ctrl-C is for the station, which then ends the run by itself
                bufsize=0,
            )
        except OSError as error:
            raise StationFailure(explain(f"cannot start {self._program[0]}", error)) from error
        assert verb.stdin is not None  # noqa: S101  it was asked for
        assert verb.stdout is not None  # noqa: S101  it was asked for
        assert verb.stderr is not None  # noqa: S101  it was asked for
        self._verb = verb
        self._channel = TalkChannel(
            verb.stdout.fileno(),
            verb.stdin.fileno(),
            verb.stderr.fileno(),
            tail=self._tail,
            now=self._now,
            halt=self._halt,
        )

    def read_line(self, deadline: Monotonic) -> bytes | None:
        """Return the next line; see ``UnitTransport``."""
        if self._channel is None:
            raise UnitGone("no verb runs")
        return self._channel.read_line(deadline)

    def write_line(self, line: bytes, deadline: Monotonic) -> None:
        """Write a line; see ``UnitTransport``."""
        if self._channel is None:
            raise UnitGone("no verb runs")
        self._channel.write_line(line, deadline)

    def finish(self, deadline: Monotonic) -> int | None:
        """Wait for the verb's end; see ``UnitTransport``."""
        verb, channel = self._verb, self._channel
        if verb is None or channel is None:
            return None
        self._verb = self._channel = None
        self._await_end(verb.pid, deadline)
        # also what it has left behind, which would hold its pipes open; not reaped yet, so the number is still its own
        with suppress(ProcessLookupError):
            os.killpg(verb.pid, signal.SIGKILL)
        exit_code = verb.wait()
        channel.keep_remarks()
        for stream in (verb.stdin, verb.stdout, verb.stderr):
            if stream is not None:
                stream.close()
        return exit_code

    def _await_end(self, pid: int, deadline: Monotonic) -> None:
        """Wait until a process has ended, or the deadline or the halt is there."""
        process = os.pidfd_open(pid)
        try:
            watch = select.poll()
            for number in (process, self._halt.fileno()):
                watch.register(number, select.POLLIN)
            watch.poll(1000 * max(0.0, min(deadline - self._now(), LONGEST_WAIT)))
        finally:
            os.close(process)

    def close(self) -> None:
        """Kill what runs; see ``UnitTransport``."""
        self.finish(self._now())


def make_transport(
    settings: Mapping[str, Any], *, slot: str, folder: Path, now: Callable[[], Monotonic], halt: Halt
) -> UnitTransport:
    """Return the way to a new simulated unit; see ``TransportModule``."""
    program = settings.get("program", (sys.executable, "-m", "device_auth"))
    return LocalTransport(program, folder / UNITS / slot, slot, now, halt)
