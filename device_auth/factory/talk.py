"""The talk of a unit and its station: one JSON object a line, written and read by the same definitions.

A unit is not believed: any bytes from it are read to events or to an ``Unreadable``, in bounded memory, and every text
comes out without controls, cut, and with the run's secrets masked. Of a newer unit, unknown events and members are ignored.
"""

import hmac
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from device_auth.core.errors import WrongUse
from device_auth.core.models import Secret

if TYPE_CHECKING:
    from uuid import UUID

SCHEMA: Final = 1

LONGEST_LINE: Final = 64 * 1024
"""Bytes of a line, without its end."""

LONGEST_TALK: Final = 1024 * 1024
"""Bytes of one step's talk."""

LONGEST_TEXT: Final = 2000
"""Characters of a text that a unit says; the rest is cut."""

MASK: Final = "…"

PART_FAILED: Final = 72
"""The exit code of a check that failed, unless it has another."""

KEY_LENGTH: Final = 32
"""Bytes of the key of a run."""

MOST_SECRETS: Final = 64

_LARGEST_NUMBER: Final = 2**63 - 1
"""What a database takes."""

_TOKEN: Final = re.compile(r"(?:At[a-z]{2}|Sim)\|[^\s\"'<>&;,\\]*")

_REST_OF_TOKEN: Final = re.compile(r"\A[^\s\"'<>&;,\\]{0,4096}")
"""At the start of a text that was cut there."""

_DEEPEST: Final = 16
"""Lists and objects inside one another."""

_A_WORD: Final = re.compile("[0-9A-Za-z_][0-9A-Za-z_.-]*")


class RunOutcome(StrEnum):
    """How a verb, a step or a run ended. Source: OpenHTF's record, ``outcome``."""

    PASS = "PASS"  # noqa: S105  no password
    FAIL = "FAIL"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    ABORTED = "ABORTED"


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASS = "PASS"  # noqa: S105  no password
    FAIL = "FAIL"
    ERROR = "ERROR"
    SKIP = "SKIP"


# ---------------------------------------------------------------------------------------------------------
# The events


class StartedEvent(NamedTuple):
    """The first line.

    Attributes:
        verb: its name, such as ``identity write``.
        dut_id: the DSN of the unit's identity; None if it has none that can be read.
        version: of the program on the unit.
        at: the unit's wall clock (RFC 3339), which may be wrong.
    """

    verb: str
    dut_id: str | None
    version: str
    at: str


class CheckEvent(NamedTuple):
    """A check has ended; ``detail`` is for people."""

    name: str
    outcome: CheckOutcome
    detail: str
    seconds: float


class MeasurementEvent(NamedTuple):
    """A value was measured."""

    name: str
    value: float | str | None
    unit: str


class UnitEvent(NamedTuple):
    """The unit's facts, which stand in the line beside ``event``; None for what could not be read."""

    facts: Mapping[str, object]


class IdentityEvent(NamedTuple):
    """The identity that is on the unit's disk."""

    dsn: str
    product_id: str | None
    client_id: str | None
    part_number: str | None
    revision: str | None
    batch: str | None


class StatusEvent(NamedTuple):
    """What ``factory status`` finds.

    Attributes:
        locked: the factory verbs are refused.
        opened_for: seconds for which a reset by hand has opened the lock; None if there is no lock, or it is shut.
        linked: an owner's link is there; None if that cannot be read.
        run: in which the unit was locked; None if it is not, or no station did it.
    """

    locked: bool
    opened_for: int | None
    linked: bool | None
    run: str | None = None


class CodeEvent(NamedTuple):
    """A code that waits for its approval."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int


class WaitEvent(NamedTuple):
    """The unit waits for the station: ``for`` is ``approval`` or ``revocation``."""

    what: str


class AskEvent(NamedTuple):
    """The unit asks what a rig or a person sees; an answer is one of ``answers``, or any text if there are none."""

    name: str
    question: str
    answers: tuple[str, ...]


class ResultEvent(NamedTuple):
    """The last line, and the only one of its kind.

    Attributes:
        exit: the exit code of the verb.
        failed: the names of the checks that did not pass.
        mac: proves to the holder of the run's key who wrote this line; hexadecimal.
        is_proved: the reader holds the key and found it so. It is not in the line.
    """

    verb: str
    outcome: RunOutcome
    exit: int
    failed: tuple[str, ...]
    seconds: float
    mac: str | None = None
    is_proved: bool = False


class Unreadable(NamedTuple):
    """The talk of a unit broke the rules here, and is not read any further."""

    reason: str


Event = (
    StartedEvent
    | CheckEvent
    | MeasurementEvent
    | UnitEvent
    | IdentityEvent
    | StatusEvent
    | CodeEvent
    | WaitEvent
    | AskEvent
    | ResultEvent
)


def write_event(event: Event) -> str:
    """Return the line of an event, in ASCII, without its end."""
    return json.dumps(_fields_of(event))


def signed(result: ResultEvent, key: bytes) -> ResultEvent:
    """Return a result with its proof under the key of a run."""
    return result._replace(mac=_mac_of(_fields_of(result), key))


def _fields_of(event: Event) -> dict[str, object]:
    name = next(name for name, (kind, _) in _EVENTS.items() if isinstance(event, kind))
    fields = dict(event.facts) if isinstance(event, UnitEvent) else event._asdict()
    fields.pop("is_proved", None)
    if isinstance(event, WaitEvent):
        fields = {"for": event.what}
    return {"schema": SCHEMA, "event": name, **fields}


def _mac_of(fields: Mapping[str, object], key: bytes) -> str:
    """Return HMAC-SHA256 over the result's own JSON: without ``mac``, in order of the names, without spaces, in ASCII."""
    without = {name: value for name, value in fields.items() if name != "mac"}
    canonical = json.dumps(without, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, canonical.encode(), "sha256").hex()


# ---------------------------------------------------------------------------------------------------------
# Masking


class Masks:
    """Masks the secrets of a run wherever they stand, and all that has the form of a token.

    Args:
        secrets: known ones; texts too short to be one are left out.
    """

    _SHORTEST: Final = 8

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        texts = {text for secret in secrets if len(text := secret.reveal()) >= self._SHORTEST}
        # the longest first: one may contain another
        self._forms = sorted(
            {form for text in texts for form in (text, json.dumps(text)[1:-1])}, key=len, reverse=True
        )
        self._known = re.compile("|".join(map(re.escape, self._forms)) or r"(?!)")

    def mask(self, text: str) -> str:
        """Return a text that may be shown and kept."""
        return _TOKEN.sub(MASK, self._known.sub(MASK, text))

    def readable(self, raw: bytes, *, most: int = LONGEST_LINE) -> str:
        """Return the end of what a unit wrote, for a record: lines without controls, masked.

        Args:
            raw: any bytes; if they are as many as ``most``, what stood before them may have been let go of.
            most: characters of the result; the line that would be cut is left out.
        """
        text = raw.decode("utf-8", "replace")
        is_cut = len(raw) >= most
        if is_cut:
            text = text[self._length_of_rest(text) :]
        lines = [self.mask(_without_controls(line)) for line in re.split(r"[\r\n]+", text)]
        shown = "\n".join(lines)
        if is_cut:
            shown = _REST_OF_TOKEN.sub(MASK, shown)
        if len(shown) <= most:
            return shown
        return shown[-most:].partition("\n")[2]

    def _length_of_rest(self, text: str) -> int:
        """Return how much of a known secret stands at the start of a text: without its beginning it is not masked."""
        rests = (form[start:] for form in self._forms for start in range(len(form)))
        return max((len(rest) for rest in rests if text.startswith(rest)), default=0)


def _without_controls(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())


# ---------------------------------------------------------------------------------------------------------
# Reading


class TalkReader:
    """Reads the talk of one step.

    Args:
        masks: of the run.
        key: of the run, to see whether a result is this unit's; None to prove nothing.
    """

    def __init__(self, masks: Masks, key: bytes | None = None) -> None:
        self._masks = masks
        self._key = key
        self._unread = bytearray()
        self._length = 0
        self._result: ResultEvent | None = None
        self._fault: Unreadable | None = None

    @property
    def result(self) -> ResultEvent | None:
        """Return the result, if it has come."""
        return self._result

    def feed(self, piece: bytes) -> list[Event | Unreadable]:
        """Return what the next bytes say, in their order; after an ``Unreadable`` there is nothing more."""
        told: list[Event | Unreadable] = []
        if self._fault is not None:
            return told
        self._unread += piece[: LONGEST_TALK - self._length]
        self._length += len(piece)
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            event = self._read(line)
            told += [] if event is None else [event]
            if isinstance(event, Unreadable):
                return told
        if len(self._unread) > LONGEST_LINE:
            told.append(self._fail(f"a line is longer than {LONGEST_LINE} bytes"))
        elif self._length > LONGEST_TALK:
            told.append(self._fail(f"it is longer than {LONGEST_TALK} bytes"))
        return told

    def end(self) -> ResultEvent | Unreadable:
        """Return the result, at the end of the talk."""
        if self._fault is None and self._unread.strip():
            self._fail("it ends within a line")
        if self._fault is None and self._result is None:
            self._fail("it ends without a result")
        return self._fault or cast("ResultEvent", self._result)

    def _fail(self, reason: str) -> Unreadable:
        self._fault = Unreadable(reason)
        self._unread = bytearray()
        return self._fault

    def _read(self, line: bytes | bytearray) -> Event | Unreadable | None:
        if len(line) > LONGEST_LINE:
            return self._fail(f"a line is longer than {LONGEST_LINE} bytes")
        if not line.strip():
            return None
        if self._result is not None:
            return self._fail("a line follows the result")
        try:
            event = _read_line(line, self._masks, self._key)
        except (ValueError, RecursionError) as error:
            return self._fail(str(error) if isinstance(error, _LineRefused) else "a line is not JSON")
        if isinstance(event, ResultEvent):
            self._result = event
        return event


class _LineRefused(ValueError):
    """Names the fault of a line, in words of our own: the line's are not repeated."""


def _read_line(line: bytes | bytearray, masks: Masks, key: bytes | None) -> Event | None:
    fields = _read_object(line)
    if fields.get("schema") != SCHEMA:
        raise _LineRefused(f"a line is not of schema {SCHEMA}: update the older of unit and station")
    name = fields.get("event")
    if not isinstance(name, str):
        raise _LineRefused("a line names no event")
    if name not in _EVENTS:
        return None
    kind, readers = _EVENTS[name]
    if kind is UnitEvent:
        facts = {member: value for member, value in fields.items() if member not in {"schema", "event"}}
        return UnitEvent(_cleaned(facts, masks))
    values = []
    for member, read in readers.items():
        try:
            values.append(read(_cleaned(fields.get(member), masks)))
        except ValueError as error:
            raise _LineRefused(f"the event {name} has no valid {member}") from error
    event = cast("Event", kind(*values))
    if isinstance(event, ResultEvent) and key is not None:
        mac = event.mac or ""
        return event._replace(is_proved=hmac.compare_digest(mac.encode(), _mac_of(fields, key).encode()))
    return event


def _read_object(line: bytes | bytearray) -> dict[str, Any]:
    """Read a JSON object in strict UTF-8, without numbers that a database does not take."""
    value = json.loads(
        line.decode("utf-8"), parse_constant=_refuse_number, parse_float=_read_float, parse_int=_read_int
    )
    if not isinstance(value, dict):
        raise _LineRefused("a line is not a JSON object")
    return value


def _refuse_number(text: str) -> float:
    raise _LineRefused(f"a line has the number {text}")


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _LineRefused("a line has a number that is too large")
    return value


def _read_int(text: str) -> int:
    if len(text) > len(str(-_LARGEST_NUMBER)) or abs(int(text)) > _LARGEST_NUMBER:
        raise _LineRefused("a line has a number that is too large")
    return int(text)


def _cleaned(value: Any, masks: Masks, depth: int = 0) -> Any:
    """Return a value whose texts may be shown and kept."""
    if depth > _DEEPEST:
        raise _LineRefused(f"a line has more than {_DEEPEST} lists and objects inside one another")
    if isinstance(value, str):
        return masks.mask(_without_controls(value))[:LONGEST_TEXT]
    if isinstance(value, list):
        return [_cleaned(each, masks, depth + 1) for each in value]
    if isinstance(value, dict):
        return {_cleaned(name, masks): _cleaned(held, masks, depth + 1) for name, held in value.items()}
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004  a unit's fault, not ours
    return value


def _word(value: object) -> str:
    """Return the name of a question: a program of the rig gets it as an argument, which must never be an option."""
    if not _A_WORD.fullmatch(_text(value)):
        raise ValueError
    return _text(value)


def _question(value: object) -> str:
    """Return a question, which is an argument too."""
    if _text(value).startswith("-"):
        raise ValueError
    return _text(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004  a unit's fault, not ours
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError  # noqa: TRY004  a unit's fault, not ours
    return value


def _number(value: object) -> float:
    return value if isinstance(value, float) else _whole(value)


def _measured(value: object) -> float | str | None:
    return value if isinstance(value, str) else _perhaps(_number)(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004  a unit's fault, not ours
    return tuple(map(_text, value))


T = TypeVar("T")


def _perhaps(read: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda value: None if value is None else read(value)


_EVENTS: Final[Mapping[str, tuple[type[Any], Mapping[str, Callable[[Any], object]]]]] = {
    "started": (
        StartedEvent,
        {"verb": _text, "dut_id": _perhaps(_text), "version": _text, "at": _text},
    ),
    "check": (
        CheckEvent,
        {"name": _text, "outcome": CheckOutcome, "detail": _text, "seconds": _number},
    ),
    "measurement": (MeasurementEvent, {"name": _text, "value": _measured, "unit": _text}),
    "unit": (UnitEvent, {}),
    "identity": (
        IdentityEvent,
        {"dsn": _text, **dict.fromkeys(IdentityEvent._fields[1:], _perhaps(_text))},
    ),
    "status": (
        StatusEvent,
        {"locked": _flag, "opened_for": _perhaps(_whole), "linked": _perhaps(_flag), "run": _perhaps(_text)},
    ),
    "code": (
        CodeEvent,
        {
            "user_code": _text,
            "verification_uri": _text,
            "verification_uri_complete": _perhaps(_text),
            "expires_in": _whole,
            "interval": _whole,
        },
    ),
    "wait": (WaitEvent, {"for": _text}),
    "ask": (AskEvent, {"name": _word, "question": _question, "answers": _texts}),
    "result": (
        ResultEvent,
        {
            "verb": _text,
            "outcome": RunOutcome,
            "exit": _whole,
            "failed": _texts,
            "seconds": _number,
            "mac": _perhaps(_text),
        },
    ),
}
"""Each event by its name in the line: its kind, and its members with what reads them, in the order of its attributes."""


# ---------------------------------------------------------------------------------------------------------
# What the station says


class Header(NamedTuple):
    """The first line that a station writes: what a verb may need, and no argument or variable must hold.

    Attributes:
        run: of which this step is one.
        key: of this run alone.
        tokens: texts that must not be left on the unit.
        dsn: that the unit's label bears; None if the station has read none.
        ca: the certificates, as PEM, by which the unit knows the station's simulated Amazon; None if there is none.
    """

    run: "UUID"
    key: Secret
    tokens: tuple[Secret, ...] = ()
    dsn: str | None = None
    ca: str | None = None

    @property
    def key_bytes(self) -> bytes:
        """Return the key itself."""
        return bytes.fromhex(self.key.reveal())


def write_header(header: Header) -> str:
    """Return the line of a header, without its end."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "run": str(header.run),
            "key": header.key.reveal(),
            "tokens": [token.reveal() for token in header.tokens],
            "dsn": header.dsn,
            "ca": header.ca,
        }
    )


def read_header(line: bytes) -> Header:
    """Read a station's header.

    Raises:
        WrongUse: if it is none; the message shows nothing of it.
    """
    from uuid import UUID

    try:
        fields = _read_object(line)
        if fields.get("schema") != SCHEMA:
            raise _LineRefused(f"it is not of schema {SCHEMA}: update the older of unit and station")
        key, tokens = _text(fields.get("key")), _texts(fields.get("tokens", []))
        if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_LENGTH}}}", key) or len(tokens) > MOST_SECRETS:
            raise _LineRefused(f"its key is not {KEY_LENGTH} bytes in hexadecimal, or it has too many tokens")
        dsn, ca = (_perhaps(_text)(fields.get(member)) for member in ("dsn", "ca"))
        return Header(UUID(_text(fields.get("run"))), Secret(key), tuple(map(Secret, tokens)), dsn, ca)
    except (ValueError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, _LineRefused)
            else "it is not JSON with schema, run, key and tokens"
        )
        # without the cause, whose text may hold the line
        raise WrongUse(f"cannot read the run's header on standard input: {reason}") from None


def write_answer(name: str, answer: str) -> str:
    """Return the line with the answer to a question, without its end."""
    return json.dumps({"schema": SCHEMA, "answer": name, "is": answer})


def read_answer(line: bytes, name: str) -> str:
    """Read the answer to a question.

    Raises:
        WrongUse: if it is no answer, or one to another question.
    """
    try:
        fields = _read_object(line)
        is_ours = fields.get("schema") == SCHEMA and fields.get("answer") == name
        answer = _without_controls(_text(fields.get("is")))[:LONGEST_TEXT] if is_ours else None
    except (ValueError, RecursionError):
        answer = None
    if answer is None:
        raise WrongUse(f"the station's line is no answer to {name}")
    return answer


# ---------------------------------------------------------------------------------------------------------
# What the unit says


class Talk:
    """Writes the lines of one verb on the unit, and keeps what its result will say.

    Safe for threads. Nothing is written after the result.

    Args:
        verb: its name.
        write: writes a line whole; may raise.
        answer: returns the answer to a question.
        header: the station's; None where a person runs the verb.
    """

    def __init__(
        self,
        verb: str,
        write: Callable[[str], None],
        answer: Callable[[AskEvent], str],
        header: Header | None = None,
    ) -> None:
        self.verb = verb
        self.header = header
        self._write = write
        self._answer = answer
        self._masks = Masks(() if header is None else (header.key, *header.tokens))
        self._lock = Lock()
        self._has_ended = False
        self._failed: list[str] = []
        self._worst = RunOutcome.PASS
        self._exit = 0

    @property
    def has_failed(self) -> bool:
        """Return whether a check has not passed."""
        return bool(self._failed)

    def say(self, event: Event) -> None:
        """Write a line.

        Raises:
            BrokenPipeError: if the station has gone.
            StoreError: if the line cannot be written, as on a full disk.
        """
        with self._lock:
            if not self._has_ended:
                self._has_ended = isinstance(event, ResultEvent)
                self._write(write_event(event))

    def check(
        self,
        name: str,
        outcome: CheckOutcome,
        detail: str = "",
        seconds: float = 0,
        exit_code: int = PART_FAILED,
    ) -> None:
        """Write how a check ended.

        Args:
            name: of the check; the result lists it if it failed.
            outcome: the result is FAIL after the first FAIL, ERROR after the first ERROR.
            detail: for people.
            seconds: that it took.
            exit_code: of the verb, if this is the first that does not pass.
        """
        if outcome in {CheckOutcome.FAIL, CheckOutcome.ERROR}:
            self._failed.append(name)
            self._exit = self._exit or exit_code
            self._worst = RunOutcome.ERROR if RunOutcome.ERROR in {self._worst, outcome} else RunOutcome.FAIL
        self.say(CheckEvent(name, outcome, self._masks.mask(detail), round(seconds, 3)))

    def measure(self, name: str, value: float | str | None, unit: str) -> None:
        """Write a measured value."""
        self.say(MeasurementEvent(name, value, unit))

    def ask(self, name: str, question: str, answers: tuple[str, ...] = ("yes", "no")) -> str:
        """Ask the rig, or the person at the terminal, and return the answer.

        Raises:
            Interrupted: if nobody is there to answer any more.
            ConfigError: if there is neither a station nor a terminal.
            WrongUse: if the station's line is no answer to this question.
        """
        event = AskEvent(name, question, answers)
        self.say(event)
        return self._answer(event)

    def result(self, seconds: float, broken: tuple[RunOutcome, int] | None = None) -> ResultEvent:
        """Return the result, proved under the run's key where there is one.

        Args:
            seconds: that the verb took.
            broken: how it ended and with what exit code, if it was not by itself.
        """
        outcome, code = broken or (self._worst, self._exit)
        result = ResultEvent(self.verb, outcome, code, tuple(self._failed), round(seconds, 3))
        return result if self.header is None else signed(result, self.header.key_bytes)
