"""A unit behind a serial line: its login prompt, its shell, and the lines of its verbs among whatever else is printed there.

The one idea: a serial line is a terminal that others write to as well. Each verb runs between two marks that no one else
prints, and between these only lines of the talk count: prompts, remarks and messages of the kernel are kept for the
record and skipped; a line that the kernel broke into is put together again.

Secrets reach a verb as input, so the terminal must not print them: its echo is off before the first one, and seen to be.
What a verb has not read is thrown away by a loop behind it, so that no shell takes it for a command.

Source: termios(3), stty(1), printk's prefix (Documentation/core-api/printk-basics.rst).
"""

import fcntl
import os
import re
import select
import shlex
import stat
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from device_auth.core.models import Monotonic, Seconds, Secret, later
from device_auth.factory.station.transport import (
    USER_NAME,
    Halt,
    ReachedUnit,
    StationFailure,
    TalkChannel,
    TalkTail,
    UnitFailure,
    UnitGone,
    UnitNotReached,
    UnitSilent,
    await_ready,
    is_talk,
    of_form,
)
from device_auth.factory.talk import LONGEST_LINE
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from hardware.settings import Key, ValueType

SPEEDS: Final = {
    9600: termios.B9600,
    57600: termios.B57600,
    115200: termios.B115200,
    230400: termios.B230400,
    460800: termios.B460800,
    921600: termios.B921600,
    1500000: termios.B1500000,
}
"""Of a serial line, in bits a second."""

KEYS: Final = (
    Key(
        "device",
        ValueType.PATH,
        "The station's end of the line; the name by its place in the rig does not change.",
        "/dev/serial/by-path/pci-0000:01:00.0-usb-0:1.2:1.0-port0",
        is_required=True,
    ),
    Key("speed", ValueType.WHOLE, "Bits a second; 8 bits, no parity, one stop bit.", 115200, 115200, tuple(SPEEDS)),
    Key("user", explanation="Who logs in where the unit asks.", example="root", default="root", parse=of_form(USER_NAME, "the name of a user")),
    Key(
        "password_file",
        ValueType.PATH,
        "A file with the password, closed to others; none where the unit asks for none.",
        "/etc/device-auth-station/unit-password",
        default=None,
    ),
    Key("command", ValueType.COMMAND, "The program on the unit.", ["sudo", "-n", "device-auth"], default=("device-auth",)),
)  # fmt: skip
"""The settings of a slot with ``transport = "serial"``."""

_QUIET: Final = Seconds(0.3)
"""After so long without a character a unit waits for one."""

_ANSWER_WITHIN: Final = Seconds(3)
"""How long a shell may take for an echo, or a verb to end after Ctrl-C; then the line is looked at again."""

_MOST_PASSWORDS: Final = 2
_MOST_PASSWORD: Final = 1024
_INTERRUPT, _QUIT = b"\x03", b"\x1c"

_SHELL: Final = "exec env TERM=dumb HISTFILE= PS1= PS2= /bin/sh -c"
_TERMINAL: Final = "stty -echo -icanon min 1 time 0 isig icrnl -ixon -ixoff; dmesg -n 1 2>/dev/null"
"""Lines of any length, nothing printed back, no flow control by characters; the kernel prints nothing but its last words."""

_KERNEL: Final = re.compile(rb"\[ *\d+\.\d{6}\](\[[^\]\n]*\])? ")
_BOOT: Final = re.compile(rb"(\[ *0\.000000\]|Starting kernel|U-Boot \d)")


_OUR_MARKS: Final = re.compile(rb"\r?\n?(begin|end|OK)-[0-9a-f]{32}( \d+)?(?=\r?\n|$)")


# ---------------------------------------------------------------------------------------------------------
# Lines


class LineMender:
    """Finds the lines that count among all that a terminal prints, also where a message of the kernel broke into one.

    Args:
        counts: returns whether a whole line is one.
    """

    _MOST_MESSAGES: Final = 64

    def __init__(self, counts: Callable[[bytes], bool]) -> None:
        self._counts = counts
        self._torn: bytes | None = None
        self._messages = 0

    def feed(self, line: bytes) -> bytes | None:
        """Return the line that counts and is whole now, if there is one."""
        line = line.strip(b"\r")
        if self._counts(line):
            self._torn = None
            return line
        message = _KERNEL.search(line)
        if message is not None and message.start() == 0:
            self._messages += 1
            if self._messages > self._MOST_MESSAGES:
                self._torn = None
            return None
        begun = b"" if self._torn is None else self._torn
        self._torn = None
        if message is not None and len(begun) + message.start() <= LONGEST_LINE:
            self._torn, self._messages = begun + line[: message.start()].strip(b"\r"), 0
            return None
        return begun + line if begun and self._counts(begun + line) else None


class _SerialVerb(NamedTuple):
    """A verb that runs: its lines, what counts of them, and the marks around it."""

    lines: TalkChannel
    mender: LineMender
    mark: str


# ---------------------------------------------------------------------------------------------------------
# The transport


class SerialTransport:
    """The way to a unit by a serial line; see ``UnitTransport``.

    Args:
        settings: of the slot, as ``KEYS`` are read.
        now: reads the clock of deadlines.
        halt: ends the waits.
    """

    def __init__(self, settings: Mapping[str, Any], now: Callable[[], Monotonic], halt: Halt) -> None:
        self._device: Path = settings["device"]
        self._speed = SPEEDS[settings.get("speed", 115200)]
        self._user = settings.get("user", "root")
        self._password_file: Path | None = settings.get("password_file")
        self._command: Sequence[str] = settings.get("command", ("device-auth",))
        self._now = now
        self._halt = halt
        self._tail = TalkTail()
        self._line: int | None = None
        self._verb: _SerialVerb | None = None
        self._exit: int | None = None
        self._given_up = ""

    @property
    def talk(self) -> bytes:
        """Return the end of what the unit has said, without our own marks; see ``UnitTransport``."""
        return _OUR_MARKS.sub(b"", self._tail.kept())

    def open(self, deadline: Monotonic) -> ReachedUnit:
        """Open the line, log in, and have a shell whose terminal prints nothing back; see ``UnitTransport``."""
        password = self._read_password()
        try:
            self._line = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(self._line, termios.TIOCEXCL)
            _set_raw(self._line, self._speed)
        except (OSError, termios.error) as error:
            reason = error if isinstance(error, OSError) else OSError(*error.args)
            raise StationFailure(explain(f"cannot open the serial line {self._device}", reason)) from error
        self._given_up = ""
        self._log_in(password, deadline)
        with suppress(UnitSilent):
            self._ask_shell(
                lambda ready: f"{_SHELL} {shlex.quote(f'{_TERMINAL}; {ready}; exec /bin/sh')}", deadline
            )
        if "O''K" in self._await_shell(deadline):
            raise UnitNotReached("the unit's terminal prints back what it is sent: no secret may go there")
        return ReachedUnit(str(self._device))

    def start(self, words: Sequence[str], deadline: Monotonic) -> None:
        """Start a verb between its marks; see ``UnitTransport``."""
        self.finish(deadline)
        if self._line is None:
            raise UnitGone("the serial line is not open")
        self._end_what_runs(deadline)
        mark = uuid4().hex
        lines = TalkChannel(self._line, self._line, None, tail=self._tail, now=self._now, halt=self._halt)
        marks = re.compile(rf"(begin-{mark}|end-{mark} \d{{1,3}})".encode())
        self._verb = _SerialVerb(
            lines, LineMender(lambda line: is_talk(line) or marks.fullmatch(line) is not None), mark
        )
        self._exit = None
        command = (
            rf" printf '\n%s\n' begin-{mark}; {shlex.join([*self._command, *words])};"
            rf" printf '\n%s %s\n' end-{mark} $?;"
            f' while IFS= read -r l && [ "$l" != over-{mark} ]; do :; done'
        )
        lines.write_line(command.encode(), deadline)
        # before this mark the shell still reads: it would take a secret for a command
        while self._next_line(deadline) != f"begin-{mark}".encode():
            pass

    def read_line(self, deadline: Monotonic) -> bytes | None:
        """Return the next line of the verb's talk; what else is printed is kept for the record; see ``UnitTransport``."""
        if self._verb is None:
            raise UnitGone("no verb runs")
        if self._exit is not None:
            return None
        line = self._next_line(deadline)
        if not is_talk(line):
            self._exit = int(line.rpartition(b" ")[2])
            return None
        return line

    def write_line(self, line: bytes, deadline: Monotonic) -> None:
        """Write a line to the verb; see ``UnitTransport``."""
        if self._verb is None:
            raise UnitGone("no verb runs")
        self._verb.lines.write_line(line, deadline)

    def finish(self, deadline: Monotonic) -> int | None:
        """Wait for the verb's end, and interrupt it at the deadline; see ``UnitTransport``."""
        verb = self._verb
        if verb is None:
            return None
        try:
            while self._exit is None:
                self.read_line(deadline)
        except UnitFailure:
            self._given_up = verb.mark
            self._send(_INTERRUPT)
        self._verb = None
        self._send(f"over-{verb.mark}\n".encode())
        return self._exit

    def close(self) -> None:
        """Interrupt what runs, log out, and close the line; see ``UnitTransport``."""
        if self._line is None:
            return
        self.finish(self._now())
        self._send((b"\x03\n" if self._given_up else b"") + b" stty sane; exit\n")
        with suppress(OSError, termios.error):
            fcntl.ioctl(self._line, termios.TIOCNXCL)
        os.close(self._line)
        self._line = None

    # -----------------------------------------------------------------------------------------------------

    def _next_line(self, deadline: Monotonic) -> bytes:
        """Return the next line that counts.

        Raises:
            UnitFailure: if there is none by the deadline, the unit restarts, or says too much.
        """
        assert self._verb is not None, "a verb runs"  # noqa: S101  our own bug
        while True:
            line = self._verb.lines.read_line(deadline)
            if line is None:
                raise UnitGone("the serial line is gone")
            if _BOOT.match(line):
                raise UnitGone("the unit has restarted")
            if (whole := self._verb.mender.feed(line)) is not None:
                return whole

    def _log_in(self, password: Secret | None, deadline: Monotonic) -> None:
        """Bring the unit to a shell.

        Raises:
            UnitNotReached: if it does not let us in.
            UnitSilent: if there is no shell by the deadline.
        """
        sent_passwords = 0
        has_sent_user = False
        # whatever a run before has left there ends
        self._send(_INTERRUPT + b"\n")
        while True:
            text = self._hear_until_quiet(deadline)
            asked = text.rpartition("\n")[2].rstrip().lower()
            if asked.endswith("login:"):
                self._send(self._user.encode() + b"\n")
                has_sent_user = True
            elif asked.endswith("password:") and not has_sent_user:
                # it takes something for a user that is none: let it ask again
                self._send(b"\n")
            elif asked.endswith("password:"):
                sent_passwords += 1
                if password is None or sent_passwords > _MOST_PASSWORDS:
                    reason = "asks for a password" if password is None else "does not take the password"
                    raise UnitNotReached(f"the unit {reason}")
                self._send(password.reveal().encode() + b"\n")
                has_sent_user = False
            else:
                with suppress(UnitSilent):
                    self._ask_shell(str, deadline)
                    return
                if self._now() >= deadline:
                    raise UnitSilent("no shell answers on the serial line")
                # a verb that was just about to begin has not noticed the first one
                self._send(_INTERRUPT + _QUIT + b"\n")

    def _await_shell(self, deadline: Monotonic) -> str:
        """Ask the shell until it answers, and return what it printed last: the kernel may break into an answer.

        Raises:
            UnitFailure: if it does not answer by the deadline.
        """
        while True:
            try:
                return self._ask_shell(str, deadline)
            except UnitSilent:
                if self._now() >= deadline:
                    raise

    def _ask_shell(self, command: Callable[[str], str], deadline: Monotonic) -> str:
        """Return what is printed until the shell answers.

        Args:
            command: makes the line for the shell of a command that prints the answer.
            deadline: not waited for beyond ``_ANSWER_WITHIN``.

        Raises:
            UnitSilent: if there is no answer.
            UnitGone: if the line is gone.
        """
        until = Monotonic(min(deadline, later(self._now(), _ANSWER_WITHIN)))
        mark = uuid4().hex
        # in pieces, so that what a terminal prints back is not taken for the answer
        echo = f"echo O''K-{mark}"
        self._send(f" {command(echo)}\n".encode())
        text = ""
        while f"OK-{mark}" not in text:
            text = (text + self._hear(until))[-LONGEST_LINE:]
        return text

    def _end_what_runs(self, deadline: Monotonic) -> None:
        """End a verb that was given up, and the loop behind it.

        Raises:
            UnitSilent: if it cannot be ended.
        """
        for key in (_INTERRUPT, _QUIT):
            if not self._given_up:
                return
            # the keys clear what the terminal holds, so the end of the loop is written again
            self._send(key + f"over-{self._given_up}\n".encode())
            with suppress(UnitSilent):
                self._ask_shell(str, deadline)
                self._given_up = ""
        if self._given_up:
            raise UnitSilent("the verb before does not end")

    def _hear_until_quiet(self, deadline: Monotonic) -> str:
        """Return what the unit prints until it stops for a moment."""
        text = ""
        until = Monotonic(min(deadline, later(self._now(), _ANSWER_WITHIN)))
        with suppress(UnitSilent):
            while self._now() < until:
                text = (text + self._hear(Monotonic(min(until, later(self._now(), _QUIET)))))[-LONGEST_LINE:]
        return text.replace("\r", "\n")

    def _hear(self, deadline: Monotonic) -> str:
        assert self._line is not None, "the line is open"  # noqa: S101  our own bug
        await_ready({self._line: select.POLLIN}, deadline, now=self._now, halt=self._halt)
        try:
            content = os.read(self._line, LONGEST_LINE)
        except BlockingIOError:
            return ""
        except OSError as error:
            raise UnitGone(f"the serial line is gone: {error.strerror}") from error
        if not content:
            raise UnitGone("the serial line is gone")
        self._tail.add(content)
        return content.decode("latin-1")

    def _send(self, content: bytes) -> None:
        """Write what is short enough for the line to take at once."""
        if self._line is not None:
            with suppress(OSError):
                os.write(self._line, content)

    def _read_password(self) -> Secret | None:
        if self._password_file is None:
            return None
        try:
            content, status = read_plain(self._password_file, _MOST_PASSWORD)
        except (OSError, ValueError) as error:
            raise StationFailure(explain(f"cannot read {self._password_file}", error)) from error
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StationFailure(f"{self._password_file} can be read by others: chmod 600")
        return Secret(content.decode("utf-8", "replace").rstrip("\r\n"))


def _set_raw(line: int, speed: int) -> None:
    """Set a line to 8 bits without parity, as they come, without flow control. Source: termios(3)."""
    _, _, _, _, _, _, characters = termios.tcgetattr(line)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL
    termios.tcsetattr(line, termios.TCSANOW, [0, 0, flags, 0, speed, speed, characters])
    termios.tcflush(line, termios.TCIOFLUSH)


def make_transport(
    settings: Mapping[str, Any], *, slot: str, folder: Path, now: Callable[[], Monotonic], halt: Halt
) -> SerialTransport:
    """Return the way to the unit that is in a slot now; see ``TransportModule``."""
    del slot, folder  # the line is all there is
    return SerialTransport(settings, now, halt)
