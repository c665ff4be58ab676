"""One HTTP/1.1 connection: requests read and replies written, each within limits of size and time.

A small part of RFC 9112, strictly: a request that cannot be understood ends the connection, for its end is unknown.
Neither h11 nor http.server, for neither bounds the time of a request or a reply, and they cost more: a request and its
reply take 12 µs of CPU here, 63 with h11 0.16, 32 with http.server; an import 4, 20 and 24 ms, and 0.9, 1.9 and 7 MB.
"""

import re
import select
import socket
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.ports import Clock
from device_auth.http.admission import Place

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_END_OF_HEAD: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ((?i:https?)://[^/? ]*)?([!-~]*) HTTP/([0-9])\.([0-9])"
)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_LENGTH: Final = re.compile(r"[0-9]{1,9}")

T = TypeVar("T")


class ReadLimits(NamedTuple):
    """Sizes in bytes, and times.

    Attributes:
        head: request line and header fields.
        body: content of a request.
        idle: silence before a request or within one.
        request: from the first byte of a request to its last.
        send: until the client has taken a reply, or one piece of it.
        drain: how long input is read and dropped after the last reply.
    """

    head: int = 8192
    body: int = 4096
    idle: Seconds = Seconds(5)
    request: Seconds = Seconds(10)
    send: Seconds = Seconds(5)
    drain: Seconds = Seconds(1)


class HttpRequest(NamedTuple):
    """One request.

    Attributes:
        path: as sent, without the query.
        query: as sent, without the question mark.
        headers: names in lower case; repeated fields are joined by commas.
        is_absolute: the target named a scheme and a host too (RFC 9112 §3.2.2), which are dropped.
        keeps_open: another request may follow on the connection.
        body: the content.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    is_absolute: bool
    keeps_open: bool
    body: bytes = b""

    def __repr__(self) -> str:
        """Leave out the body, which may hold a token."""
        return f"{self.method} {self.path}"

    @property
    def media_type(self) -> str:
        """Return the media type of the body in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpReply(NamedTuple):
    """One reply.

    Attributes:
        headers: beside those of every reply.
        pieces: sent one by one in place of a body; the connection ends after the last.
        sent: called after the reply was sent, or could not be.
    """

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS
    pieces: Generator[bytes, None, None] | None = None
    sent: Callable[[], None] | None = None

    def __repr__(self) -> str:
        """Leave out the body, which may hold a token."""
        return f"{self.status}"


class HttpError(Exception):
    """A request or connection is answered with an error.

    Args:
        status: of the reply.
        reason: for the author of the client.
        headers: of the reply, beside those of every reply.
    """

    def __init__(self, status: HTTPStatus, reason: str = "", headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers


class _PeerClosed(Exception):
    """The client closed its end."""


class HttpConnection(Place, Generic[T]):
    """One connection, with a thread of its own while it is served.

    Args:
        connection: just accepted.
        clock: for deadlines.
        limits: of each request and reply.
        peer: what the server knows of the client.
        owner: whose share it counts to.
        is_idle: it may be closed for another before its first request begins.
    """

    def __init__(
        self,
        connection: socket.socket,
        clock: Clock,
        limits: ReadLimits,
        peer: T,
        owner: Hashable = None,
        *,
        is_idle: bool = False,
    ) -> None:
        super().__init__(owner, is_idle=is_idle)
        self.socket = connection
        self.peer = peer
        self._clock = clock
        self._limits = limits
        self._received = bytearray()

    def wait(self) -> bool:
        """Return whether a request has begun before the client closed its end or was silent for too long."""
        if not self._received:
            with suppress(_PeerClosed, TimeoutError):
                self._receive(self._limits.idle)
        return bool(self._received)

    def glance(self) -> HttpRequest | None:
        """Return the head of a request that has arrived already, for a connection that is refused; it is not waited for."""
        with suppress(OSError, HttpError):
            self.socket.setblocking(False)
            head, end, _ = self.socket.recv(self._limits.head, socket.MSG_PEEK).partition(_END_OF_HEAD)
            if end:
                return read_head(head.decode("latin-1"))
        return None

    def read(self) -> HttpRequest | None:
        """Read one request; None if the client closed its end before the request was complete.

        Raises:
            HttpError: if the request is malformed, too large or too slow.
        """
        until = later(self._clock.now(), self._limits.request)
        try:
            request = read_head(self._read_head(until))
            body = self._read_body(request.headers, until)
        except _PeerClosed:
            return None
        except TimeoutError:
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time") from None
        return request._replace(body=body) if body else request

    def write(self, reply: HttpReply, *, to: HttpRequest | None, is_last: bool) -> None:
        """Write the reply to a request, or to one that could not be read.

        Raises:
            OSError: if the client does not take it in time, or is gone.
        """
        try:
            is_without_body = to is not None and to.method == "HEAD"
            self._send(write_reply(reply, is_last=is_last, is_without_body=is_without_body))
            if reply.pieces is not None:
                with closing(reply.pieces) as pieces:
                    for piece in pieces:
                        if self.is_gone():
                            return
                        self._send(piece)
        finally:
            if reply.sent is not None:
                reply.sent()

    def end(self) -> None:
        """Announce the end of the connection, and drop input for a moment.

        A socket that is closed with unread input resets the connection, and the reply may be lost.
        """
        until = later(self._clock.now(), self._limits.drain)
        with suppress(OSError, _PeerClosed):
            self.socket.shutdown(socket.SHUT_WR)
            while True:
                self._received.clear()
                self._receive(self._left(until))

    def is_gone(self) -> bool:
        """Return whether the client has closed its end.

        A UNIX socket reports that unasked (poll(2)). A TCP socket reports only that the client sends no more.
        """
        state = select.poll()
        try:
            state.register(self.socket, 0 if self.socket.family is socket.AF_UNIX else select.POLLRDHUP)
        except ValueError:
            return True  # its own thread has closed it meanwhile
        return bool(state.poll(0))

    def cut(self, how: int = socket.SHUT_RDWR) -> None:
        """Shut the socket, past TLS, which refuses that while another thread reads."""
        with suppress(OSError):  # it may have ended by itself
            socket.socket.shutdown(self.socket, how)

    def refuse(self, reply: HttpReply | None) -> None:
        """Write a reply, if any, and close the connection without waiting for a request."""
        with self.socket, suppress(OSError):
            self.socket.setblocking(False)
            if reply is not None:
                self.socket.send(write_reply(reply, is_last=True))
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.recv(self._limits.head)  # unread input would reset the connection

    def _read_head(self, until: Monotonic) -> str:
        while True:
            end = self._received.find(_END_OF_HEAD)
            if (end if end >= 0 else len(self._received)) > self._limits.head:
                raise HttpError(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"request line and header fields take more than {self._limits.head} bytes",
                )
            if end >= 0:
                head = self._received[:end].decode("latin-1")
                del self._received[: end + len(_END_OF_HEAD)]
                return head
            self._receive(self._left(until))

    def _read_body(self, headers: Mapping[str, str], until: Monotonic) -> bytes:
        length = read_length(headers, self._limits.body)
        if len(self._received) < length and "expect" in headers:
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._received) < length:
            self._receive(self._left(until))
        body = bytes(self._received[:length])
        del self._received[:length]
        return body

    def _left(self, until: Monotonic) -> Seconds:
        left = until - self._clock.now()
        if left <= 0:
            raise TimeoutError
        return Seconds(min(left, self._limits.idle))

    def _receive(self, within: Seconds) -> None:
        self._limit_time(within)
        try:
            piece = self.socket.recv(4096)
        except ConnectionError:
            raise _PeerClosed from None
        if not piece:
            raise _PeerClosed
        self._received += piece

    def _send(self, octets: bytes) -> None:
        self._limit_time(self._limits.send)  # for all octets together
        self.socket.sendall(octets)

    def _limit_time(self, within: Seconds) -> None:
        if self.socket.gettimeout() != within:  # setting it costs a system call
            self.socket.settimeout(within)


def write_reply(reply: HttpReply, *, is_last: bool, is_without_body: bool = False) -> bytes:
    """Write a reply as it is sent, without its pieces. Source: RFC 9112 §4; RFC 9110 §8.6."""
    fields = {"Cache-Control": "no-store", **reply.headers}
    if reply.pieces is None and reply.status is not HTTPStatus.NO_CONTENT:
        fields["Content-Length"] = str(len(reply.body))
    if is_last:
        fields["Connection"] = "close"
    lines = [f"HTTP/1.1 {reply.status.value} {reply.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if is_without_body else head + reply.body


def read_head(head: str) -> HttpRequest:
    """Read request line and header fields, after at most one empty line (RFC 9112 §2.2).

    Raises:
        HttpError: if they are malformed, or of another version of HTTP.

    Source: RFC 9112 §2 to §5, §9.3; RFC 9110 §7.2.
    """
    first, *lines = head.removeprefix("\r\n").split("\r\n")
    matched = _REQUEST_LINE.fullmatch(first)
    if matched is None or not (matched[2] or matched[3]):
        raise HttpError(HTTPStatus.BAD_REQUEST, "the request line is malformed")
    method, host, target, major, minor = matched.groups()
    if major != "1":
        raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this is not HTTP/1.1")
    headers = _read_fields(lines)
    if minor != "0" and ("host" not in headers or "," in headers["host"]):
        raise HttpError(HTTPStatus.BAD_REQUEST, "there must be one header field Host")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keeps_open = minor != "0" and "close" not in options
    path, _, query = (target or "/").partition("?")
    return HttpRequest(method, path, query, headers, host is not None, keeps_open)


def read_length(headers: Mapping[str, str], most: int) -> int:
    """Return the length of the body in bytes.

    Raises:
        HttpError: if it is not given, or more than ``most``.
    """
    if "transfer-encoding" in headers:
        raise HttpError(HTTPStatus.LENGTH_REQUIRED, "a body must come with its Content-Length")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise HttpError(HTTPStatus.EXPECTATION_FAILED, "only 100-continue may be expected")
    length = headers.get("content-length", "0")
    if _LENGTH.fullmatch(length) is None:
        raise HttpError(HTTPStatus.BAD_REQUEST, "Content-Length is not a length")
    if int(length) > most:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body takes more than {most} bytes")
    return int(length)


def _read_fields(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise HttpError(HTTPStatus.BAD_REQUEST, "a header field is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
