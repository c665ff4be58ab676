"""One HTTP/1.1 connection: requests read and replies written, each within bounds.

A small part of RFC 9112, and that part strictly: what is not understood ends the connection, for then nobody
knows where the next request begins.
"""

import re
import socket
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, NamedTuple

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.ports import Clock

_END_OF_HEAD: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_AUTHORITY: Final = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_LENGTH: Final = re.compile(r"[0-9]{1,9}")


class ReadLimits(NamedTuple):
    """How much, and how long.

    Attributes:
        head: bytes of request line and header fields.
        body: bytes of content.
        idle: silence, before a request or within one.
        request: from the first byte of a request to its last, however it drips.
        send: until a reply, or one piece of it, is taken.
        farewell: how long what still comes is thrown away after a reply that ends the connection.
    """

    head: int = 8192
    body: int = 4096
    idle: Seconds = Seconds(5)
    request: Seconds = Seconds(10)
    send: Seconds = Seconds(5)
    farewell: Seconds = Seconds(1)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request.

    Attributes:
        path: as it stands, without the query.
        query: as it stands, without the question mark.
        headers: names in lower case; repeated fields are joined by commas.
        keeps_open: another request may follow.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    keeps_open: bool


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One reply.

    Attributes:
        headers: besides those that every reply has.
        pieces: in place of a body: what is sent piece by piece until it ends, and the connection with it.
    """

    status: HTTPStatus
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Generator[bytes, None, None] | None = None


class MalformedRequest(Exception):
    """What came is no request that can be read.

    Args:
        status: how that is said in HTTP.
        why: for whoever wrote the client.
    """

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class _PeerClosed(Exception):
    """The other end was closed."""


class HttpConnection:
    """Reads requests from one connection and writes replies to it.

    Args:
        connection: just accepted.
        clock: for deadlines.
        bounds: how much, and how long.
    """

    def __init__(self, connection: socket.socket, clock: Clock, bounds: ReadLimits) -> None:
        self._connection = connection
        self._clock = clock
        self._bounds = bounds
        self._came = bytearray()

    def wait(self) -> bool:
        """Wait for a request to begin; say whether one did, before the other end was closed or silent too long."""
        if self._came:
            return True
        with suppress(_PeerClosed, TimeoutError):
            self._receive(self._bounds.idle)
        return bool(self._came)

    def read(self) -> HttpRequest | None:
        """Read one request; None if the other end was closed before all of it had come.

        Raises:
            Unreadable: it is malformed, too large, or too slow.
        """
        until = later(self._clock.now(), self._bounds.request)
        try:
            method, target, headers, keeps_open = read_head(self._read_head(until))
            body = self._read_body(headers, until)
        except _PeerClosed:
            return None
        except TimeoutError:
            raise MalformedRequest(HTTPStatus.REQUEST_TIMEOUT, "the request did not come in time") from None
        path, _, query = target.partition("?")
        return HttpRequest(method, path, query, headers, body, keeps_open)

    def write(self, reply: HttpReply, *, to: HttpRequest | None, is_last: bool) -> None:
        """Write a reply.

        Args:
            reply: what to write.
            to: what it replies to; None if that could not be read.
            is_last: say that the connection ends with it.

        Raises:
            OSError: it was not taken.
        """
        octets = octets_of(reply, is_last=is_last)
        if to is not None and to.method == "HEAD":
            octets = octets[: octets.index(_END_OF_HEAD) + len(_END_OF_HEAD)]
        self._send(octets)
        if reply.pieces is not None:
            with closing(reply.pieces) as pieces:
                for piece in pieces:
                    self._send(piece)

    def end(self) -> None:
        """Say that nothing more will be sent, and hear out for a moment what still comes.

        A socket that is closed with something unread in it breaks the other end's sending, and the reply may be lost.
        """
        until = later(self._clock.now(), self._bounds.farewell)
        with suppress(OSError, _PeerClosed):
            self._connection.shutdown(socket.SHUT_WR)
            while True:
                self._came.clear()
                self._receive(self._left(until))

    def _read_head(self, until: Monotonic) -> str:
        while True:
            while self._came.startswith(b"\r\n"):  # RFC 9112 §2.2: empty lines before a request
                del self._came[:2]
            end = self._came.find(_END_OF_HEAD)
            if (end if end >= 0 else len(self._came)) > self._bounds.head:
                raise MalformedRequest(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"request line and header fields take more than {self._bounds.head} bytes",
                )
            if end >= 0:
                head = self._came[:end].decode("latin-1")
                del self._came[: end + len(_END_OF_HEAD)]
                return head
            self._receive(self._left(until))

    def _read_body(self, headers: Mapping[str, str], until: Monotonic) -> bytes:
        length = _length_of_body(headers)
        if length > self._bounds.body:
            raise MalformedRequest(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body takes more than {self._bounds.body} bytes"
            )
        if len(self._came) < length and "expect" in headers:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._came) < length:
            self._receive(self._left(until))
        body = bytes(self._came[:length])
        del self._came[:length]
        return body

    def _left(self, until: Monotonic) -> Seconds:
        left = until - self._clock.now()
        if left <= 0:
            raise TimeoutError
        return Seconds(min(left, self._bounds.idle))

    def _receive(self, within: Seconds) -> None:
        self._connection.settimeout(within)
        try:
            piece = self._connection.recv(4096)
        except ConnectionError:
            raise _PeerClosed from None
        if not piece:
            raise _PeerClosed
        self._came += piece

    def _send(self, octets: bytes) -> None:
        # the bound holds for all of it together, however it is taken
        self._connection.settimeout(self._bounds.send)
        self._connection.sendall(octets)


def octets_of(reply: HttpReply, *, is_last: bool) -> bytes:
    """Write a reply as it goes over the line, without its pieces."""
    fields = {"Cache-Control": "no-store", **reply.headers}
    if reply.pieces is None:
        fields["Content-Length"] = str(len(reply.body))
    if is_last:
        fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {reply.status.value} {reply.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body


def read_head(head: str) -> tuple[str, str, dict[str, str], bool]:
    """Read request line and header fields; total: any text gives them, or ``MalformedRequest``.

    Returns:
        The method, the target from its path on, the header fields, and whether another request may follow.

    Source: RFC 9112 §2 to §5, §9.3; RFC 9110 §7.2.
    """
    first, *lines = head.split("\r\n")
    matched = _REQUEST_LINE.fullmatch(first)
    if matched is None:
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "the request line is malformed")
    method, target, major, minor = matched.groups()
    if major != "1":
        raise MalformedRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this is not HTTP/1.1")
    headers = _read_fields(lines)
    if minor != "0" and ("host" not in headers or "," in headers["host"]):
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "there must be one header field Host")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keeps_open = minor != "0" and "close" not in options
    # a target may name the host as well (RFC 9112 §3.2.2), and it is this one whatever its name
    return method, _AUTHORITY.sub("", target, count=1) or "/", headers, keeps_open


def _read_fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise MalformedRequest(HTTPStatus.BAD_REQUEST, "a header field is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length_of_body(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise MalformedRequest(HTTPStatus.LENGTH_REQUIRED, "a body must come with its Content-Length")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise MalformedRequest(HTTPStatus.EXPECTATION_FAILED, "only 100-continue may be expected")
    length = headers.get("content-length", "0")
    if _LENGTH.fullmatch(length) is None:
        raise MalformedRequest(HTTPStatus.BAD_REQUEST, "Content-Length is not a length")
    return int(length)
