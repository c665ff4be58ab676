"""The speaker's own page: on a screenless speaker the owner's phone is the screen.

It tells what everyone in the room may know, to neighbours on the same network only, and it changes nothing: a
code needs a press at the speaker, and so does an unlink.
"""

import logging
import re
import select
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.core.errors import ConfigError
from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.ports import Clock
from device_auth.service.status_feed import Actions, StatusFeed
from device_auth.service.visitors import (
    Address,
    TokenBucket,
    VisitorLimiter,
    VisitorLimits,
    is_neighbour,
    is_our_host,
    is_own_request,
    names_of,
    read_address,
    read_networks,
)
from device_auth.world.explain import explain
from device_auth.world.settings import as_config_error
from hardware.settings import Key, ValueType, read_table

if TYPE_CHECKING:
    from device_auth.service.page_view import PageRenderer

log: Final = logging.getLogger(__name__)

MOST_HEAD: Final = 8 * 1024
"""Bytes of a request before its body."""

MOST_BODY: Final = 256
"""Bytes of a body; no action needs any."""

LOOK_EVERY: Final = Seconds(1)
"""How often a stream looks whether its visitor, or the page, has gone; only while someone watches."""

HEARTBEAT: Final = Seconds(15)
"""How long a stream may be silent."""

GONE_AFTER: Final = Seconds(30)
"""How long a visitor's machine may leave what is sent to it unanswered. Source: tcp(7), TCP_USER_TIMEOUT."""

CLOSE_WITHIN: Final = Seconds(3)
RECONNECT_AFTER: Final = Seconds(3)
BACKLOG: Final = 64
LONGEST_INTERFACE: Final = 15
"""Characters of the name of an interface. Source: IFNAMSIZ in <linux/if.h>."""

LARGEST_PORT: Final = 0xFFFF

_NOTHING: Final[Mapping[str, str]] = {"Content-Length": "0"}
_JSON: Final = "application/json"
_ACTION_METHODS: Final = ("POST",)
_METHODS: Final = {
    "/": ("GET", "HEAD"),
    "/events": ("GET",),
    "/left": _ACTION_METHODS,
    "/back": _ACTION_METHODS,
}


# ---------------------------------------------------------------------------------------------------------
# Settings


class PageSettings(NamedTuple):
    """The places and names under which the page is served.

    Attributes:
        listen: each ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` for IPv6, or ``INTERFACE:PORT``.
        hosts: names of the speaker beside its host name.
        locale: the language for visitors who prefer none of ours.
    """

    listen: tuple[str, ...] = ("0.0.0.0:8080",)
    hosts: tuple[str, ...] = ()
    locale: str = "en-US"


def _read_listen(texts: Sequence[str]) -> tuple[str, ...]:
    for text in texts:
        _split_place(text)
    return tuple(texts)


def _read_hosts(texts: Sequence[str]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[A-Za-z0-9._-]{1,253}", text) for text in texts):
        raise ValueError("must be host names")
    return tuple(texts)


KEYS: Final = (
    Key(
        "listen",
        ValueType.WORDS,
        explanation="Where the page is served: each an address or an interface, and a port.",
        example=["0.0.0.0:8080", "[::]:8080", "wlan0:8080"],
        default=PageSettings().listen,
        parse=_read_listen,
    ),
    Key(
        "hosts",
        ValueType.WORDS,
        explanation="Names of the speaker beside its host name.",
        example=["speaker.example"],
        default=(),
        parse=_read_hosts,
    ),
)


def read_page_settings(given: object, locale: str = "en-US") -> PageSettings | None:
    """Read the value of ``page`` in the settings file; None for a page that is switched off.

    Args:
        given: ``"off"``, the table, or None if the file has neither.
        locale: the speaker's own.

    Raises:
        ConfigError: if it is neither, or one of its keys is unknown or holds an unacceptable value.
    """
    if given == "off":
        return None
    with as_config_error():
        return PageSettings(**read_table("page", KEYS, {} if given is None else given), locale=locale)


def _split_place(text: str) -> tuple[str, int]:
    """Split a place of ``listen`` into an address or the name of an interface, and a port.

    Raises:
        ValueError: if it is none.
    """
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if is_bracketed else host
    is_fit = not re.search(r"[\s/\[\]]", plain) and (":" in plain) == is_bracketed
    if is_fit and not is_bracketed and not re.fullmatch(r"[\d.]+", plain):
        is_fit = 0 < len(plain) <= LONGEST_INTERFACE
    elif is_fit:
        is_fit = _is_address(plain)
    if not is_fit or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > LARGEST_PORT:
        raise ValueError("must be places to listen: an address or an interface, and a port")
    return plain, int(port)


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(read_address(text))
    return False


def open_listener(text: str) -> socket.socket:
    """Open a socket that listens at one of the places of ``PageSettings.listen``.

    Raises:
        OSError: it cannot be had.
    """
    host, port = _split_place(text)
    is_interface = not _is_address(host)
    is_six = ":" in host or (is_interface and socket.has_dualstack_ipv6())
    listener = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_interface)
        if is_interface:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, host.encode())
        listener.bind(("" if is_interface else host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


# ---------------------------------------------------------------------------------------------------------
# One request and its answer


class PageRequest(BaseHTTPRequestHandler):
    """One request, read from its head; it answers nothing by itself.

    Args:
        head: everything up to the empty line.
    """

    def __init__(self, head: bytes) -> None:
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        self.fault: HTTPStatus | None = None
        if not self.parse_request() and self.fault is None:
            self.fault = HTTPStatus.BAD_REQUEST

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002  whatever is said of it
        """Note what is wrong with the request."""
        self.fault = HTTPStatus(code)

    @property
    def place(self) -> str:
        """Return the path without what is asked of it."""
        return self.path.partition("?")[0]

    @property
    def length(self) -> int | None:
        """Return how long the body is; None if that cannot be told."""
        lengths = self.headers.get_all("Content-Length", ["0"])
        is_plain = len(lengths) == 1 and re.fullmatch(r"\d{1,9}", lengths[0], re.ASCII)
        return int(lengths[0]) if is_plain and "Transfer-Encoding" not in self.headers else None


@dataclass(frozen=True, slots=True)
class PageReply:
    """One answer; without a body unless it is the page itself."""

    status: HTTPStatus
    fields: Mapping[str, str]
    body: bytes = b""

    def write(self, policy: str) -> bytes:
        """Write it for the wire, with the content security policy."""
        fields = {**_ALWAYS, "Content-Security-Policy": policy, **self.fields}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n{head}\r\n".encode("ascii") + self.body


_ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "close",
}
_NOTHING_MAY_LOAD: Final = "default-src 'none'"
_TOO_OFTEN: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def refuse(status: HTTPStatus, **fields: str) -> PageReply:
    """Write a refusal, which has no content."""
    retry = {"Retry-After": "5"} if status in _TOO_OFTEN else {}
    return PageReply(status, {**_NOTHING, **retry, **fields})


def find_fault(request: PageRequest, own: Address, names: set[str]) -> PageReply | None:
    """Return why a request is refused, or None if it is not.

    Args:
        request: with any fields at all.
        own: this end of the connection.
        names: what the speaker is called.
    """
    if request.fault is not None:
        return refuse(request.fault)
    hosts = request.headers.get_all("Host", [])
    is_old = request.request_version == request.default_request_version
    if is_old or len(hosts) != 1 or not request.path.startswith("/"):
        return refuse(HTTPStatus.BAD_REQUEST)
    if not is_our_host(hosts[0], own, names):
        return refuse(HTTPStatus.MISDIRECTED_REQUEST)
    methods = _METHODS.get(request.place)
    if methods is None:
        return refuse(HTTPStatus.NOT_FOUND)
    if request.command not in methods:
        return refuse(HTTPStatus.METHOD_NOT_ALLOWED, Allow=", ".join(methods))
    if request.place != "/" and not is_own_request(request.headers):
        return refuse(HTTPStatus.FORBIDDEN)
    if methods is _ACTION_METHODS and request.headers.get_content_type() != _JSON:
        return refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if request.length is None:
        return refuse(HTTPStatus.BAD_REQUEST)
    if request.length > MOST_BODY:
        return refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return None


# ---------------------------------------------------------------------------------------------------------
# Serving


@dataclass(frozen=True, slots=True, eq=False)
class _PageConnection:
    """One connection, and who is at its two ends."""

    connection: socket.socket
    visitor: str
    own: Address


class Page:
    """Serves the page until it is closed.

    Args:
        desk: where the news lies.
        actions: told when the owner leaves to approve, and comes back.
        clock: tells both times.
        settings: where to listen, and under which names.
        sockets: listening sockets that are there already; then ``settings.listen`` is not looked at.
        limits: how much is served.
        welcomes: says whether a visitor (first) may be answered at an address of ours (second).
    """

    def __init__(
        self,
        desk: StatusFeed,
        actions: Actions,
        clock: Clock,
        *,
        settings: PageSettings,
        sockets: Sequence[socket.socket] = (),
        limits: VisitorLimits = VisitorLimits(),  # noqa: B008  it cannot change
        welcomes: Callable[[Address, Address], bool] = lambda visitor, own: is_neighbour(
            visitor, own, read_networks()
        ),
    ) -> None:
        self._desk = desk
        self._actions = actions
        self._clock = clock
        self._settings = settings
        self._listeners = list(sockets)
        self._limits = limits
        self._door = VisitorLimiter(limits)
        self._pace = TokenBucket(limits.burst, limits.every)
        self._welcomes = welcomes
        self._bell, self._rung = socket.socketpair()
        self._is_closing = False
        self._visits: dict[_PageConnection, threading.Thread] = {}
        self._lock = threading.Lock()
        self._porter = threading.Thread(target=self._receive_all, name="page", daemon=True)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return where it listens."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    def start(self) -> None:
        """Begin to serve; a place where it cannot listen is left out and logged.

        Raises:
            ConfigError: it cannot listen anywhere.
        """
        for text in () if self._listeners else self._settings.listen:
            try:
                self._listeners.append(open_listener(text))
            except OSError as error:
                log.warning("%s", explain(f"cannot serve the page at {text}", error))
        if not self._listeners:
            raise ConfigError(
                "the page cannot be served anywhere",
                hint='Look at listen in [page] of the settings file, or switch it off: page = "off"',
            )
        self._porter.start()

    def close(self, within: Seconds = CLOSE_WITHIN) -> None:
        """Stop serving and break off what is under way; wait for the threads at most ``within`` altogether."""
        until = later(self._clock.now(), within)
        self._is_closing = True
        self._bell.close()
        if self._porter.ident is not None:
            self._porter.join(within)
        self._rung.close()
        for listener in self._listeners:
            listener.close()
        with self._lock:
            visits = dict(self._visits)
        for visit in visits:
            with suppress(OSError):
                visit.connection.shutdown(socket.SHUT_RDWR)
        for thread in visits.values():
            thread.join(max(0.0, until - self._clock.now()))

    # -- at the door

    def _receive_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in self._listeners:
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ, listener)
            selector.register(self._rung, selectors.EVENT_READ)
            while not self._is_closing:
                for key, _ in selector.select():
                    if key.data is not None:
                        self._keep_pace()
                        self._receive(key.data)

    def _keep_pace(self) -> None:
        """Leave the next visitor waiting in the kernel while there were too many, or until it is over."""
        while not self._pace.take(self._clock.now()) and not self._is_closing:
            select.select([self._rung], [], [], self._pace.due_in(self._clock.now()))

    def _receive(self, listener: socket.socket) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return  # gone again, or no descriptor is left: the pace keeps this from spinning
        visitor, own = read_address(peer[0]), read_address(connection.getsockname()[0])
        status: HTTPStatus | None = HTTPStatus.FORBIDDEN
        if self._welcomes(visitor, own):
            status = self._door.enter(str(visitor), self._clock.now())
        if status is not None:
            _turn_away(connection, status)
            return
        visit = _PageConnection(connection, str(visitor), own)
        thread = threading.Thread(target=self._attend, args=(visit,), name="page visit", daemon=True)
        with self._lock:
            self._visits[visit] = thread
        thread.start()

    # -- one visit

    def _attend(self, visit: _PageConnection) -> None:
        try:
            with visit.connection, suppress(OSError):  # whoever hangs up or dawdles gets no more
                self._converse(visit)
        finally:
            self._door.leave(visit.visitor)
            with self._lock:
                del self._visits[visit]

    def _converse(self, visit: _PageConnection) -> None:
        request = self._read(visit.connection)
        visit.connection.settimeout(self._limits.visit)
        if isinstance(request, HTTPStatus):
            self._send(visit, refuse(request))
            return
        names = names_of(socket.gethostname(), self._settings.hosts)
        fault = find_fault(request, visit.own, names)
        if fault is not None:
            self._send(visit, fault)
        elif request.place == "/events":
            self._attend_stream(visit, request)
        else:
            self._send(visit, self._answer(request))

    def _read(self, connection: socket.socket) -> PageRequest | HTTPStatus:
        """Read a request, its body too, within the time and the space it may take."""
        until = later(self._clock.now(), self._limits.visit)
        received = b""
        while b"\r\n\r\n" not in received and len(received) <= MOST_HEAD:
            received += self._read_some(connection, until)
        head, _, body = received.partition(b"\r\n\r\n")
        if len(head) > MOST_HEAD:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        request = PageRequest(head + b"\r\n\r\n")
        wanted = 0 if request.fault is not None or request.length is None else request.length
        while len(body) < wanted <= MOST_BODY:
            body += self._read_some(connection, until)
        return request

    def _read_some(self, connection: socket.socket, until: Monotonic) -> bytes:
        """Read what is there.

        Raises:
            OSError: nothing came in time, or nothing will.
        """
        connection.settimeout(max(0.001, until - self._clock.now()))
        some = connection.recv(MOST_HEAD)
        if not some:
            raise ConnectionAbortedError
        return some

    def _send(self, visit: _PageConnection, answer: PageReply) -> None:
        visit.connection.sendall(answer.write(self._painter.policy))

    def _answer(self, request: PageRequest) -> PageReply:
        match request.place:
            case "/left":
                self._actions.owner_left()
            case "/back":
                self._actions.owner_is_back()
            case _:
                return self._draw(request)
        return PageReply(HTTPStatus.NO_CONTENT, {})

    def _draw(self, request: PageRequest) -> PageReply:
        language = self._language_of(request)
        body = self._painter.page(self._painter.see(self._desk.look()), language)
        fields = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Language": language,
            "Content-Length": str(len(body)),
            "Vary": "Accept-Language",
        }
        return PageReply(HTTPStatus.OK, fields, b"" if request.command == "HEAD" else body)

    def _language_of(self, request: PageRequest) -> str:
        return self._painter.language_for(request.headers.get("Accept-Language", ""))

    @cached_property
    def _painter(self) -> "PageRenderer":
        from device_auth.service.page_view import PageRenderer

        return PageRenderer(self._clock, self._settings.locale)

    # -- events

    def _attend_stream(self, visit: _PageConnection, request: PageRequest) -> None:
        if not self._door.open_stream(visit.visitor):
            self._send(visit, refuse(HTTPStatus.SERVICE_UNAVAILABLE))
            return
        try:
            self._send(visit, PageReply(HTTPStatus.OK, {"Content-Type": "text/event-stream"}))
            self._stream(visit.connection, self._language_of(request))
        finally:
            self._door.close_stream(visit.visitor)

    def _stream(self, connection: socket.socket, language: str) -> None:
        """Tell a visitor what changes, until he or the page has gone."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * GONE_AFTER))
        connection.sendall(f"retry: {int(1000 * RECONNECT_AFTER)}\n\n".encode())
        told, said_at, number = None, self._clock.now(), -1
        while not self._is_closing and not _has_gone(connection):
            news = self._desk.wait(number, LOOK_EVERY)
            number, now, sight = news.number, self._clock.now(), self._painter.see(news)
            if sight != told:
                message = self._painter.event(sight, language)
            elif now - said_at >= HEARTBEAT:
                message = b": still here\n\n"
            else:
                continue
            told, said_at = sight, now
            connection.sendall(message)


def _has_gone(connection: socket.socket) -> bool:
    bound = connection.gettimeout()
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(bound)


def _turn_away(connection: socket.socket, status: HTTPStatus) -> None:
    """Answer a visitor who is not let in, without a thread and without waiting for what he wants."""
    with connection, suppress(OSError):
        connection.setblocking(False)
        connection.send(refuse(status).write(_NOTHING_MAY_LOAD))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(MOST_HEAD)
