"""The way from a slot to its unit: four verbs, each with a deadline, and the errors of units.

Open the way, start a verb of the unit's ``device-auth``, read and write its lines, close. A unit is not trusted: a line,
and all that one verb says, have a greatest length, and no call waits beyond its deadline. A ``Halt`` ends every wait at once.
"""

import json
import os
import re
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.talk import LONGEST_LINE, LONGEST_TALK

KEPT_TALK: Final = 64 * 1024
"""Bytes at the end of a unit's talk that are kept for its record."""

LONGEST_WAIT: Final = 60.0
"""Seconds of one wait: poll(2) does not count suspend, so the deadline is looked at in between."""


class UnitFailure(Exception):
    """What a unit, or the way to it, did wrong; the text is for people and holds no secret."""


class StationFailure(UnitFailure):
    """The station's own end of the way, or its rig, is in no order: that says nothing of the unit."""


class UnitNotReached(UnitFailure):
    """The way cannot be opened: no answer, no permission, another host key, no such line."""


class UnitGone(UnitFailure):
    """The way broke: the unit lost power, restarted, was unplugged, or its verb was killed."""


class UnitSilent(UnitFailure):
    """The deadline has passed."""


class TalkTooLong(UnitFailure):
    """A line, or all that one verb said, is longer than the limit."""


class RunAborted(UnitFailure):
    """The operator ended the run."""


class ReachedUnit(NamedTuple):
    """The way as it was found, for the record.

    Attributes:
        address: of the unit, as its transport has it: a host, a serial line, a folder.
        fingerprint: of its host key; empty where the way has none.
        board: what stays the same on the unit where its own facts do not tell: a simulated one shares its machine's.
    """

    address: str
    fingerprint: str = ""
    board: str = ""


class UnitTransport(Protocol):
    """The way to one unit; used by one thread."""

    @property
    def talk(self) -> bytes:
        """Return the end of what the unit has said since it was opened: ``KEPT_TALK`` bytes at most, not masked."""
        ...

    def open(self, deadline: Monotonic) -> ReachedUnit:
        """Open the way; after ``close`` anew, to the same unit.

        Raises:
            UnitFailure: if that fails or takes too long.
        """
        ...

    def start(self, words: Sequence[str], deadline: Monotonic) -> None:
        """Start a verb; the one before has finished.

        Args:
            words: what follows ``device-auth`` on the unit, such as ``("factory", "facts", "--json")``; none is secret.
            deadline: by which it has started.

        Raises:
            UnitFailure: if that fails or takes too long.
        """
        ...

    def read_line(self, deadline: Monotonic) -> bytes | None:
        """Return the next line of the verb's stdout without its end; None once it has ended.

        Raises:
            UnitFailure: if the unit is gone, is silent until the deadline, or says too much.
        """
        ...

    def write_line(self, line: bytes, deadline: Monotonic) -> None:
        """Write a line to the verb's stdin.

        Raises:
            UnitFailure: if the unit is gone or does not take it by the deadline.
        """
        ...

    def finish(self, deadline: Monotonic) -> int | None:
        """Wait for the verb's end, and kill it where it still runs at the deadline; does nothing without a verb.

        Returns:
            Its exit code, negative for a signal; None where the way does not tell.
        """
        ...

    def close(self) -> None:
        """Kill what runs, and give up the way; never raises. A second call does nothing."""
        ...


class Halt:
    """Ends every wait for a unit at once, from any thread or a signal's handler."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = False

    def set(self) -> None:
        """End the waits that there are, and those to come."""
        self.is_set = True
        os.eventfd_write(self._event, 1)

    def wait(self, within: Seconds) -> None:
        """Wait for it, no longer than so many seconds."""
        select.select([self._event], [], [], within)

    def fileno(self) -> int:
        """Return a descriptor that can be read from then on."""
        return self._event

    def close(self) -> None:
        """Close the descriptor, once nobody waits any more."""
        os.close(self._event)


class TalkTail:
    """Keeps the end of what a unit has said."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, content: bytes) -> None:
        """Keep more, and let go of what is too old."""
        self._kept += content
        if len(self._kept) > 2 * KEPT_TALK:
            del self._kept[:-KEPT_TALK]

    def kept(self) -> bytes:
        """Return the last bytes, ``KEPT_TALK`` at most."""
        return bytes(self._kept[-KEPT_TALK:])


class TalkChannel:
    """The lines of one verb over descriptors, within the limits; the transports share it.

    Args:
        reads: the verb's stdout; made non-blocking, not closed.
        writes: its stdin; may be ``reads``.
        remarks: its stderr, which is kept and counted but returned to nobody; None where it has none of its own.
        tail: keeps all that is read.
        now: reads the clock of deadlines.
        halt: ends the waits.
    """

    def __init__(
        self,
        reads: int,
        writes: int,
        remarks: int | None,
        *,
        tail: TalkTail,
        now: Callable[[], Monotonic],
        halt: Halt,
    ) -> None:
        self._reads = reads
        self._writes = writes
        self._remarks = remarks
        self._tail = tail
        self._now = now
        self._halt = halt
        self._left = bytearray()
        self._scanned = 0
        self._said = 0
        self._is_over = False
        for number in {reads, writes, remarks} - {None}:
            os.set_blocking(number or 0, False)

    def read_line(self, deadline: Monotonic) -> bytes | None:
        """Return the next line without its end, also the unended last one; None at the end.

        Raises:
            UnitFailure: if there is none by the deadline, the line breaks with an error, or a limit is exceeded.
        """
        while True:
            end = self._left.find(b"\n", self._scanned)
            if end > LONGEST_LINE or (end < 0 and len(self._left) > LONGEST_LINE):
                raise TalkTooLong(f"a line is longer than {LONGEST_LINE} bytes")
            if end >= 0:
                line = bytes(self._left[:end]).removesuffix(b"\r")
                del self._left[: end + 1]
                self._scanned = 0
                return line
            self._scanned = len(self._left)
            if self._is_over:
                line = bytes(self._left)
                self._left.clear()
                self._scanned = 0
                return line or None
            self._read_more(deadline)

    def keep_remarks(self) -> None:
        """Keep what is left of the remarks, without waiting: the verb has ended."""
        while self._remarks is not None:
            try:
                content = os.read(self._remarks, LONGEST_LINE)
            except OSError:
                return
            self._said += len(content)
            if not content or self._said > LONGEST_TALK:
                return
            self._tail.add(content)

    def write_line(self, line: bytes, deadline: Monotonic) -> None:
        """Write a line and its end.

        Raises:
            UnitFailure: if it is not taken by the deadline, or there is no reader.
        """
        left = memoryview(line + b"\n")
        while left:
            await_ready({self._writes: select.POLLOUT}, deadline, now=self._now, halt=self._halt)
            try:
                left = left[os.write(self._writes, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise UnitGone(f"cannot write to the unit: {error.strerror}") from error

    def _read_more(self, deadline: Monotonic) -> None:
        wanted = {self._reads: select.POLLIN}
        if self._remarks is not None:
            wanted[self._remarks] = select.POLLIN
        ready = await_ready(wanted, deadline, now=self._now, halt=self._halt)
        # the remarks first: once stdout has ended nobody reads them
        for number in sorted(ready, key=lambda each: each == self._reads):
            try:
                content = os.read(number, LONGEST_LINE)
            except BlockingIOError:
                continue
            except OSError as error:
                raise UnitGone(f"cannot read from the unit: {error.strerror}") from error
            self._tail.add(content)
            self._said += len(content)
            if number == self._reads:
                self._left += content
                self._is_over = not content
            elif not content:
                self._remarks = None
            if self._said > LONGEST_TALK:
                raise TalkTooLong(f"the verb said more than {LONGEST_TALK} bytes")


def await_ready(
    wanted: Mapping[int, int], deadline: Monotonic, *, now: Callable[[], Monotonic], halt: Halt
) -> set[int]:
    """Wait until a descriptor is ready, and return those that are.

    Args:
        wanted: the events of poll(2) for each descriptor.
        deadline: of the wait.
        now: reads the clock of deadlines.
        halt: ends the wait.

    Raises:
        RunAborted: if the halt comes first.
        UnitSilent: if the deadline does.
    """
    watch = select.poll()
    watch.register(halt.fileno(), select.POLLIN)
    for number, events in wanted.items():
        watch.register(number, events)
    while True:
        left = deadline - now()
        ready = {number for number, _ in watch.poll(1000 * max(0.0, min(left, LONGEST_WAIT)))}
        if halt.fileno() in ready:
            raise RunAborted("the operator ended the run")
        if ready:
            return ready
        if left <= 0:
            raise UnitSilent("no answer in the time that the step has")


def is_talk(line: bytes) -> bool:
    """Return whether a line is one of the talk, of whatever schema."""
    if not line.startswith(b"{"):
        return False
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and "schema" in fields


USER_NAME: Final = r"[a-z_][0-9a-z_-]*"
"""The form of a user's name on a unit."""


def of_form(pattern: str, words: str) -> Callable[[str], str]:
    """Return the reader of a setting that must have a form.

    Args:
        pattern: of the whole text.
        words: for it, which complete "must be ...".
    """

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return read
