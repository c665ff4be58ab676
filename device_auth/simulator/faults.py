"""Scripted faults: what the next answers of an endpoint are to be instead of, or on top of, the true one.

A fault with an answer of its own (``replaces``) leaves the simulated Amazon untouched: no code pair is
used up, no refresh token replaced. ``lost`` is the exception: the work is done, only its answer is lost.
"""

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Final, cast

OVERSIZE: Final = 70_000
"""Padding in bytes of an oversized answer: more than the 64 KiB that a client should read."""


class Endpoint(StrEnum):
    """The kinds of answers that can be scripted."""

    CODE_PAIR = "codepair"
    TOKEN_POLL = "token-poll"  # noqa: S105  # the name of an endpoint
    EXCHANGE = "exchange"
    REFRESH = "refresh"
    METADATA = "metadata"
    REVOKE = "revoke"


class FaultError(ValueError):
    """A scripted fault has an unknown key or a value of the wrong kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted answer; the default is no fault at all.

    Args:
        status: the status, alone or with a body.
        headers: added to the answer, whatever it is.
        body: text sent instead of the true answer.
        base64: bytes sent instead of the true answer.
        json: a JSON value sent instead of the true answer, as JSON text.
        delay: seconds before the answer.
        slow_down: answer ``slow_down`` and hold the code pair to the longer interval.
        reset: reset the connection instead of answering.
        hang: never answer.
        lost: do the work, then lose the answer by a reset.
        drip: bytes a second at which the answer, head included, is sent.
        truncate: announce a whole answer, send half and hang up.
        oversized: answer what looks like a success but is too long.
        redirect: where to; ``true`` leads to a place where the referee waits.
        html: answer with a captive portal's page.
        lifetime: seconds that this code pair or access token lives.
        rotation: whether this refresh gives a new refresh token.
        interval: seconds between polls of this code pair.
        change: fields of the true answer set to other values, or left out where ``null``.
        times: how many answers; ``null`` until the faults are deleted.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    base64: str | None = None
    json: str | None = None
    delay: float = 0
    slow_down: bool = False
    reset: bool = False
    hang: bool = False
    lost: bool = False
    drip: float = 0
    truncate: bool = False
    oversized: bool = False
    redirect: str | bool = False
    html: bool = False
    lifetime: int | None = None
    rotation: bool | None = None
    interval: int | None = None
    change: Mapping[str, object] = field(default_factory=dict)
    times: int | None = 1

    @property
    def replaces(self) -> bool:
        """Whether the true answer is neither worked out nor sent."""
        has_body = self.body is not None or self.base64 is not None or self.json is not None
        is_other = self.slow_down or self.reset or self.hang or self.truncate or self.oversized or self.html
        return self.status is not None or has_body or is_other or bool(self.redirect)

    def content(self) -> bytes | None:
        """Return the body that was scripted, if any was."""
        if self.json is not None:
            return self.json.encode()
        if self.base64 is not None:
            return base64.b64decode(self.base64)
        return None if self.body is None else self.body.encode()


NO_FAULT: Final = Fault()

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "status": (int,),
    "headers": (dict,),
    "body": (str,),
    "base64": (str,),
    "delay": (int, float),
    "slow_down": (bool,),
    "reset": (bool,),
    "hang": (bool,),
    "lost": (bool,),
    "drip": (int, float),
    "truncate": (bool,),
    "oversized": (bool,),
    "redirect": (bool, str),
    "html": (bool,),
    "lifetime": (int,),
    "rotation": (bool,),
    "interval": (int,),
    "change": (dict,),
    "times": (int, type(None)),
}


def read_fault(value: object) -> Fault:
    """Read a fault from its JSON form.

    Raises:
        FaultError: a key is not known, or a value is of the wrong kind.
    """
    if not isinstance(value, dict):
        raise FaultError("a fault must be an object")
    settings: dict[str, object] = {}
    for name, setting in value.items():
        if name == "json":
            settings[name] = json.dumps(setting)
            continue
        kinds = _KINDS.get(name)
        if kinds is None:
            known = ", ".join(each.name for each in fields(Fault))
            raise FaultError(f"a fault has no {name!r}; it can have {known}")
        if not isinstance(setting, kinds) or (isinstance(setting, bool) and bool not in kinds):
            raise FaultError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}")
        settings[name] = setting
    _check(settings)
    return Fault(**settings)  # type: ignore[arg-type]  # every value's kind was just checked


def _check(settings: Mapping[str, object]) -> None:
    """Refuse what could not be put on the wire."""
    headers = cast("Mapping[str, object]", settings.get("headers", {}))
    for name, value in headers.items():
        if not isinstance(value, str) or not name or any(ord(c) < ord(" ") for c in f"{name}{value}"):
            raise FaultError("headers must be names and texts without control characters")
    if not 200 <= cast("int", settings.get("status", 200)) <= 599:  # noqa: PLR2004  # final HTTP statuses
        raise FaultError("status must be from 200 to 599")
    for name in ("delay", "drip", "lifetime", "interval", "times"):
        number = settings.get(name)
        if number is not None and cast("float", number) < 0:
            raise FaultError(f"{name} must not be negative")
    try:
        base64.b64decode(cast("str", settings.get("base64", "")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError("base64 is not Base64") from error


class Script:
    """The faults that wait for their turn, an ordered queue for each endpoint. The owner guards it."""

    def __init__(self) -> None:
        self._queues: dict[Endpoint, deque[Fault]] = {endpoint: deque() for endpoint in Endpoint}

    def add(self, endpoint: Endpoint, faults: list[Fault]) -> None:
        """Put faults behind those that wait already."""
        self._queues[endpoint].extend(fault for fault in faults if fault.times != 0)

    def take(self, endpoint: Endpoint) -> Fault:
        """Return the fault for the answer that is due, ``NO_FAULT`` for none."""
        queue = self._queues[endpoint]
        if not queue:
            return NO_FAULT
        fault = queue.popleft()
        if fault.times is None:
            queue.appendleft(fault)
        elif fault.times > 1:
            queue.appendleft(replace(fault, times=fault.times - 1))
        return fault

    def clear(self) -> None:
        """Forget every fault."""
        for queue in self._queues.values():
            queue.clear()

    def waiting(self) -> dict[str, int]:
        """Count the faults that wait, by endpoint."""
        return {endpoint.value: len(queue) for endpoint, queue in self._queues.items()}
