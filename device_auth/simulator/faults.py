"""Scripted faults: the next responses of an endpoint, in place of the true one or changes to it.

A fault with a response of its own (``replaces``) leaves the simulated Amazon's state untouched: no code pair is used,
no refresh token replaced. With ``lost`` the state changes, and only the response is lost.
"""

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, cast

OVERSIZE: Final = 70_000
"""Padding in bytes of an oversized response: more than the 64 KiB that a client should read."""


LARGEST_NUMBER: Final = 31_536_000
"""Seconds, bytes a second or responses: a year, which every clock can count."""

SLOWEST_DRIP: Final = 0.001
"""Bytes a second."""


class Endpoint(StrEnum):
    """The endpoints whose responses can be scripted."""

    CODE_PAIR = "codepair"
    TOKEN_POLL = "token-poll"
    EXCHANGE = "exchange"
    REFRESH = "refresh"
    METADATA = "metadata"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The form in which another provider sends a true response.

    Args:
        renamed: members by the name that they get.
        dropped: members that are left out, by endpoint.
        changed: members with other values, where the response has them.
        texts: numbers that are sent as texts.
        added: members that a success has besides, by endpoint.
        errors: names of errors that are others there.
        descriptions: of errors, by their name there.
        statuses: of errors that are not 400, by their name there.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[Endpoint, frozenset[str]] = field(default_factory=dict)
    changed: Mapping[str, object] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()
    added: Mapping[Endpoint, Mapping[str, object]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)


GOOGLE_DEVICE: Final = Shape(
    renamed={"verification_uri": "verification_url"},
    dropped={
        Endpoint.CODE_PAIR: frozenset({"verification_uri_complete"}),
        Endpoint.REFRESH: frozenset({"refresh_token"}),
    },
    changed={"token_type": "Bearer"},
    statuses={"authorization_pending": 428, "slow_down": 403, "access_denied": 403, "invalid_client": 401},
)
"""Source: Google "OAuth 2.0 for TV and Limited-Input Device Applications"."""

MICROSOFT_V1: Final = Shape(
    renamed={"verification_uri": "verification_url"},
    dropped={Endpoint.CODE_PAIR: frozenset({"verification_uri_complete"})},
    changed={"token_type": "Bearer"},
    texts=frozenset({"expires_in", "interval"}),
    added={
        Endpoint.CODE_PAIR: {"message": "To sign in, use a web browser to open the page and enter the code."}
    },
    errors={"access_denied": "authorization_declined"},
    descriptions={
        "authorization_pending": "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending.\r\n"
        "Trace ID: 00000000-0000-0000-0000-000000000000\r\nTimestamp: 2000-01-01 00:00:00Z",
    },
)
"""Source: responses of ``/common/oauth2/devicecode`` and ``/common/oauth2/token``, as ADAL reads them."""

_GATEWAY: Final = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)

PRESETS: Final[Mapping[str, Mapping[str, object]]] = {
    "google-device": {"shape": GOOGLE_DEVICE},
    "microsoft-v1": {"shape": MICROSOFT_V1},
    "portal": {"html": True},
    "502-html": {"status": 502, "body": _GATEWAY, "headers": {"Content-Type": "text/html"}},
}
"""The settings of each preset; those that stand beside it in a fault are stronger."""


class FaultError(ValueError):
    """A scripted fault has an unknown key or a value of the wrong kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted response; the default is not a fault.

    Args:
        status: the status, alone or with a body.
        headers: added to the response.
        body: text sent instead of the true response.
        base64: bytes sent instead of the true response.
        json: a JSON value sent instead of the true response, as JSON text.
        delay: seconds before the response.
        slow_down: answer ``slow_down`` and lengthen the interval of the code pair.
        reset: reset the connection instead of answering.
        hang: never answer.
        lost: change the state, then reset the connection.
        drip: bytes a second at which the response, head included, is sent.
        truncate: announce a whole response, send half and close.
        oversized: answer with a success that is too long.
        redirect: an address; ``true`` leads to a path where the referee sees who follows.
        html: answer with a captive portal's page.
        lifetime: seconds that this code pair or access token lives.
        rotation: whether this refresh gives a new refresh token.
        interval: seconds between polls of this code pair.
        change: members of the true response with other values, left out where ``null``.
        shape: the form of the true response; in JSON, ``preset`` names one.
        times: number of responses; ``null`` until the faults are deleted.
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
    shape: Shape | None = None
    times: int | None = 1

    @property
    def replaces(self) -> bool:
        """Return whether the true response is neither made nor sent."""
        has_body = self.body is not None or self.base64 is not None or self.json is not None
        is_other = self.slow_down or self.reset or self.hang or self.truncate or self.oversized or self.html
        return self.status is not None or has_body or is_other or bool(self.redirect)

    def content(self) -> bytes | None:
        """Return the scripted body, if any."""
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
    "preset": (str,),
    "times": (int, type(None)),
}


FAULT_KEYS: Final = (*_KINDS, "json")
"""The keys of a fault in its JSON form."""


def read_fault(value: object) -> Fault:
    """Read a fault from its JSON form.

    Raises:
        FaultError: if a key is unknown, or a value is of the wrong kind.
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
            raise FaultError(f"a fault has no {name!r}; it can have {', '.join(FAULT_KEYS)}")
        if not isinstance(setting, kinds) or (isinstance(setting, bool) and bool not in kinds):
            raise FaultError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}")
        settings[name] = setting
    preset = settings.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise FaultError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    _check(settings)
    return Fault(**{**PRESETS.get(str(preset), {}), **settings})  # type: ignore[arg-type]  # every value's kind was just checked


def _check(settings: Mapping[str, object]) -> None:
    """Raise if a fault could not be sent.

    Raises:
        FaultError: if a value is out of its range.
    """
    headers = cast("Mapping[str, object]", settings.get("headers", {}))
    if not all(
        isinstance(value, str) and name and _is_line(f"{name}{value}") for name, value in headers.items()
    ):
        raise FaultError("headers must be names and texts without control characters")
    redirect = settings.get("redirect", "")
    if isinstance(redirect, str) and not _is_line(redirect):
        raise FaultError("redirect must be without control characters")
    if not _is_encodable(cast("str", settings.get("body", ""))):
        raise FaultError("body must be a text that can be sent as UTF-8")
    if not 200 <= cast("int", settings.get("status", 200)) <= 599:  # noqa: PLR2004  # final HTTP statuses
        raise FaultError("status must be from 200 to 599")
    for name in ("delay", "drip", "lifetime", "interval", "times"):
        number = cast("float | None", settings.get(name))
        if number is not None and not 0 <= number <= LARGEST_NUMBER:
            raise FaultError(f"{name} must be from 0 to {LARGEST_NUMBER}")
    if 0 < cast("float", settings.get("drip", 0)) < SLOWEST_DRIP:
        raise FaultError(f"drip must be 0, or at least {SLOWEST_DRIP}")
    try:
        base64.b64decode(cast("str", settings.get("base64", "")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError("base64 is not Base64") from error


def _is_line(text: str) -> bool:
    return all(character >= " " for character in text) and _is_encodable(text)


def _is_encodable(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, which JSON can carry and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


class Script:
    """The waiting faults, a queue for each endpoint; the caller holds a lock."""

    def __init__(self) -> None:
        self._queues: dict[Endpoint, deque[Fault]] = {endpoint: deque() for endpoint in Endpoint}

    def add(self, endpoint: Endpoint, faults: list[Fault]) -> None:
        """Append faults to a queue."""
        self._queues[endpoint].extend(fault for fault in faults if fault.times != 0)

    def take(self, endpoint: Endpoint) -> Fault:
        """Return the fault for the next response, or ``NO_FAULT``."""
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
        """Return the number of waiting faults by endpoint."""
        return {endpoint.value: len(queue) for endpoint, queue in self._queues.items()}
