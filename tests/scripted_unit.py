"""A unit at the end of a transport that a test scripts, verb by verb; it speaks the real talk."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, cast

from device_auth.core.models import Monotonic
from device_auth.factory.station.transport import ReachedUnit, TalkTail, UnitGone
from device_auth.factory.talk import (
    CodeEvent,
    Event,
    Header,
    IdentityEvent,
    MeasurementEvent,
    ResultEvent,
    RunOutcome,
    StartedEvent,
    UnitEvent,
    WaitEvent,
    read_header,
    signed,
    write_event,
)

FACTS: Final[Mapping[str, object]] = {"serial": "10000000abcdef01", "eth_mac": None}

Said = Event | bytes | Callable[[], object] | None
"""An event, a raw line, something that happens at this moment (and may raise), or the end: the verb was killed."""


class ScriptedUnit:
    """Every verb passes, unless ``verbs`` has another for its name.

    Attributes:
        verbs: makes what a verb says after ``started``, by its name (``identity``, ``link-test``).
        told: what the station wrote after the header.
        ran: the words of each verb.
        headers: of each verb.
        deadlines: of each line that was waited for.
    """

    def __init__(
        self, **verbs: Callable[["ScriptedUnit", Header, Mapping[str, str]], Iterable[Said]]
    ) -> None:
        self.verbs: dict[str, Any] = {name.replace("_", "-"): verb for name, verb in verbs.items()}
        self.facts = dict(FACTS)
        self.dsn: str | None = None
        self.told: list[dict[str, Any]] = []
        self.ran: list[tuple[str, ...]] = []
        self.headers: list[Header] = []
        self.deadlines: list[Monotonic] = []
        self.opened = 0
        self.exit_code: int | None = None
        self.fingerprint = ""
        self.remark = b""
        self.said_at_link: Callable[[], object] = lambda: None
        self.ask_code: Callable[[str | None], str] = "CODE-OF-{}".format
        self._tail = TalkTail()
        self._says: Iterator[bytes] = iter(())

    @property
    def talk(self) -> bytes:
        return self._tail.kept() + self.remark

    def open(self, _deadline: Monotonic) -> ReachedUnit:
        self.opened += 1
        return ReachedUnit("a script", self.fingerprint)

    def start(self, words: Sequence[str], _deadline: Monotonic) -> None:
        self.ran.append(tuple(words))
        self.exit_code = 0

    def write_line(self, line: bytes, _deadline: Monotonic) -> None:
        if json.loads(line).get("key"):
            self.headers.append(read_header(line))
            self._says = self._play(self.headers[-1])
        else:
            self.told.append(json.loads(line))

    def read_line(self, deadline: Monotonic) -> bytes | None:
        self.deadlines.append(deadline)
        line = next(self._says, None)
        self._tail.add(b"" if line is None else line + b"\n")
        return line

    def finish(self, _deadline: Monotonic) -> int | None:
        return self.exit_code

    def close(self) -> None:
        self._says = iter(())

    def _play(self, header: Header) -> Iterator[bytes]:
        words = self.ran[-1]
        name = words[1]
        options = dict(pairwise(words))
        yield write_event(StartedEvent(name, self.dsn, "1", "2026-11-30T00:00:00Z")).encode()
        says = self.verbs[name](self, header, options) if name in self.verbs else self.usual(name, options)
        has_result = False
        for said in says:
            if said is None:
                self.exit_code = -9
                return
            if isinstance(said, bytes):
                yield said
            elif callable(said):
                cast("Callable[[], object]", said)()
            else:
                has_result = has_result or isinstance(said, ResultEvent)
                yield self._line(said, header)
        if not has_result:
            yield self._line(result(name), header)

    def _line(self, said: Event, header: Header) -> bytes:
        if isinstance(said, ResultEvent):
            self.exit_code = said.exit if self.exit_code == 0 else self.exit_code
            said = said if said.mac else signed(said, header.key_bytes)
        return write_event(said).encode()

    def usual(self, name: str, options: Mapping[str, str]) -> Iterator[Said]:
        """Yield what a good unit says."""
        match name:
            case "facts":
                yield UnitEvent(dict(self.facts))
            case "identity":
                self.dsn = options["--dsn"]
                yield IdentityEvent(
                    self.dsn, options["--product-id"], options["--client-id"], None, None, None
                )
            case "link-test":
                yield CodeEvent(self.ask_code(self.dsn), "https://x/", None, 600, 1)
                self.said_at_link()
                yield MeasurementEvent("link_seconds", 1.5, "s")
                yield WaitEvent("revocation")
            case _:
                pass


def result(name: str, outcome: RunOutcome = RunOutcome.PASS, exit_code: int = 0, *failed: str) -> ResultEvent:
    return ResultEvent(name, outcome, exit_code, failed, 0.1)


def gone() -> None:
    raise UnitGone("the line is down")
