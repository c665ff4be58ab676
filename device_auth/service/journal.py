"""The service's log: one line for each event, to the journal with its fields, or to stderr.

A repeated line is written once a minute with a count of the ones left out, so that repeated requests cannot fill
the card. Log lines of libraries stay out, and of a bug only its type and place are logged: either might hold parts
of a response.

Source: systemd.exec(5) on $JOURNAL_STREAM; sd-daemon(3); systemd.journal-fields(7); systemd's "Native Journal
Protocol".
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from device_auth.core.errors import trace_of
from device_auth.core.models import Monotonic, Seconds, UnixTime, View, later
from device_auth.core.ports import Clock
from device_auth.core.public import write_json
from device_auth.core.states import Trouble, phrase_of
from device_auth.prompts.stderr import Stderr

log: Final = logging.getLogger(__name__)

JOURNAL: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "device-auth"

OURS: Final = ("device_auth", "hardware")
"""The packages whose lines are written."""

REPEATED_AFTER: Final = Seconds(60)
"""How often a repeated line is written."""

MOST_REMEMBERED: Final = 256
"""How many different lines are checked for repetition; beyond that the oldest is forgotten."""

MOST_TEXT: Final = 8192
"""Characters of a message; a datagram to the journal must fit its buffer."""

EARLIEST: Final = 0.0
LATEST: Final = 253402300799.0
"""Times are written as RFC 3339 between 1970 and 9999; a wall clock outside is clamped."""

PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Levels and their syslog(3) priorities; lower levels are 7, debug."""


class LogLine(NamedTuple):
    """One line of the log, with its fields.

    Attributes:
        priority: as syslog(3) counts.
        message: one line; of a bug, more.
        state: of the speaker, empty until it is known.
        trouble: of the speaker, empty until it is known.
        file: where in the program it was written.
    """

    at: UnixTime
    level: str
    priority: int
    message: str
    state: str
    trouble: str
    file: str
    number: int
    function: str


Write = Callable[[LogLine], None]


class _Repeated:
    """A line that may be repeated: when it was written, and how often it was left out since."""

    def __init__(self, line: LogLine, at: Monotonic) -> None:
        self.line = line
        self.at = at
        self.left_out = 0


class JournalLog(logging.Handler):
    """Writes what is logged, with the state the speaker is in.

    Args:
        write: writes a line.
        clock: returns both times.
    """

    def __init__(self, write: Write, clock: Clock) -> None:
        super().__init__()
        self._write = write
        self._clock = clock
        self._told = ("", "", False)
        self._seen: dict[str, _Repeated] = {}

    def tell(self, view: View) -> None:
        """Log the state and the trouble if their sentence has changed."""
        told = (view.state.value, view.trouble.value, view.is_checking)
        if told == self._told:
            return
        self._told = told
        sentence = phrase_of(view.state, view.trouble, is_checking=view.is_checking).sentence
        if view.trouble is Trouble.NONE:
            log.info("%s: %s", view.state, sentence)
        else:
            log.warning("%s, %s: %s", view.state, view.trouble, sentence)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless it is of a library, or was written less than a minute ago."""
        if record.name.partition(".")[0] not in OURS:
            return
        now = self._clock.now()
        self._forget(lambda repeated: now >= later(repeated.at, REPEATED_AFTER))
        line = self._line_of(record)
        repeated = self._seen.get(line.message)
        if repeated is not None:
            repeated.left_out += 1
            return
        while len(self._seen) >= MOST_REMEMBERED:
            self._write_left_out(self._seen.pop(next(iter(self._seen))))
        self._seen[line.message] = _Repeated(line, now)
        self._write(line)

    def close(self) -> None:
        """Write how many repeated lines were left out, and end."""
        self.acquire()
        try:
            self._forget(lambda _repeated: True)
        finally:
            self.release()
        super().close()

    def _forget(self, is_over: Callable[[_Repeated], bool]) -> None:
        for message, repeated in list(self._seen.items()):
            if is_over(repeated):
                del self._seen[message]
                self._write_left_out(repeated)

    def _write_left_out(self, repeated: _Repeated) -> None:
        if repeated.left_out:
            message = f"{repeated.line.message} ({repeated.left_out} more within a minute)"
            self._write(repeated.line._replace(message=message, at=self._clock.wall()))

    def _line_of(self, record: logging.LogRecord) -> LogLine:
        state, trouble, _ = self._told
        return LogLine(
            at=self._clock.wall(),
            level=record.levelname.lower(),
            priority=next((number for level, number in PRIORITIES if record.levelno >= level), 7),
            message=_text_of(record)[:MOST_TEXT],
            state=state,
            trouble=trouble,
            file=record.pathname,
            number=record.lineno,
            function=record.funcName or "",
        )


@contextmanager
def open_log(
    environ: Mapping[str, str],
    clock: Clock,
    *,
    stderr: TextIO | Stderr,
    form: str | None = None,
    is_verbose: bool = False,
    is_quiet: bool = False,
    journal: Path = JOURNAL,
) -> Iterator[JournalLog]:
    """Log to the journal if stderr leads there, else to stderr; restore the former handlers at the end.

    Args:
        environ: the environment this program was started with.
        clock: returns both times.
        stderr: where lines go that do not go to the journal.
        form: ``json`` or ``text`` on stderr, even where there is a journal.
        is_verbose: log debug lines as well.
        is_quiet: log warnings alone: people are told the rest in another way.
        journal: where the journal's socket is.
    """
    opened = JournalLog(_choose(environ, stderr, form, journal), clock)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [opened]
    root.setLevel(logging.DEBUG if is_verbose else logging.WARNING if is_quiet else logging.INFO)
    try:
        yield opened
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        opened.close()


def _choose(environ: Mapping[str, str], stderr: TextIO | Stderr, form: str | None, journal: Path) -> Write:
    if form == "json":
        return lambda line: _put(stderr, _as_json(line))
    is_read_by_journal = _leads_to_journal(stderr, environ.get("JOURNAL_STREAM", ""))

    def write_text(line: LogLine) -> None:
        prefix = f"<{line.priority}>" if is_read_by_journal else f"{IDENTIFIER}: "
        _put(stderr, "\n".join(prefix + part for part in line.message.splitlines()))

    if form is None and is_read_by_journal and _answers(journal):
        return lambda line: _send(journal, line, otherwise=write_text)
    return write_text


def _leads_to_journal(stderr: TextIO | Stderr, named: str) -> bool:
    """Return whether stderr is the very stream that the service manager connected to the journal."""
    try:
        found = os.fstat(stderr.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def _answers(journal: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(journal))
    except OSError:
        return False
    return True


def _send(journal: Path, line: LogLine, *, otherwise: Write) -> None:
    """Send a line with its fields, without waiting: a stuck journal must not block the service."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(_as_fields(line), str(journal))
    except BlockingIOError:
        return
    except OSError:
        otherwise(line)


def _as_fields(line: LogLine) -> bytes:
    fields = {
        "MESSAGE": line.message,
        "PRIORITY": str(line.priority),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "DEVICE_AUTH_STATE": line.state,
        "DEVICE_AUTH_TROUBLE": line.trouble,
        "CODE_FILE": line.file,
        "CODE_LINE": str(line.number),
        "CODE_FUNC": line.function,
    }
    return b"".join(_as_field(name, value) for name, value in fields.items() if value)


def _as_field(name: str, value: str) -> bytes:
    octets = value.encode("utf-8", "replace")
    if b"\n" in octets:
        return name.encode() + b"\n" + len(octets).to_bytes(8, "little") + octets + b"\n"
    return name.encode() + b"=" + octets + b"\n"


def _as_json(line: LogLine) -> str:
    at = datetime.fromtimestamp(min(max(line.at, EARLIEST), LATEST), UTC)
    fields = {
        "at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        "level": line.level,
        "message": line.message,
        "state": line.state or None,
        "trouble": line.trouble or None,
        "code": f"{line.file}:{line.number}",
    }
    return write_json(fields)


def _put(stream: TextIO | Stderr, text: str) -> None:
    # a log that cannot be written must not end the service
    with suppress(OSError, ValueError):
        stream.write(f"{text}\n")
        stream.flush()


def _text_of(record: logging.LogRecord) -> str:
    """Return the message in a line; of a bug its type and place, but not its text, which might hold a secret."""
    text = " ".join(record.getMessage().split())
    if record.exc_info is None or record.exc_info[1] is None:
        return text
    error = record.exc_info[1]
    codes = [(at.tb_frame.f_code, at.tb_lineno) for at in trace_of(error)]
    places = [f"  {code.co_filename}:{number} in {code.co_name}" for code, number in codes]
    return "\n".join((f"{text}: {type(error).__name__}", *places))
