"""The speaker's own page: on a speaker without a screen, the owner's phone is the screen.

It shows what everyone in the room may know, to neighbours on the local network only, and changes nothing: a code needs
a press at the speaker, and so does an unlink.
"""

import logging
import re
import socket
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from device_auth.core.errors import ConfigError
from device_auth.core.models import Seconds
from device_auth.core.ports import Clock
from device_auth.http.admission import CROWDED, ConnectionLimits
from device_auth.http.connection import (
    NO_HEADERS,
    HttpConnection,
    HttpError,
    HttpReply,
    HttpRequest,
    ReadLimits,
)
from device_auth.http.events import stream
from device_auth.http.listeners import listen
from device_auth.http.server import HttpServer
from device_auth.service.status_feed import Actions, StatusFeed
from device_auth.service.visitors import (
    Address,
    Nearness,
    addresses_of,
    find_nearness,
    is_our_host,
    is_own_request,
    names_loopback,
    names_of,
    owner_of,
    read_address,
)
from device_auth.world.explain import explain
from device_auth.world.settings import PAGE, as_config_error
from hardware.settings import Key, ValueType, read_table

if TYPE_CHECKING:
    from device_auth.service.page_view import PageRenderer

log: Final = logging.getLogger(__name__)

READ_LIMITS: Final = ReadLimits(body=256, request=Seconds(5))
ADMISSION: Final = ConnectionLimits(
    places=32,
    share=8,
    spare=2,
    streams=16,
    streams_share=4,
    burst_share=40,
    every_share=Seconds(0.5),
    burst=80,
    every=Seconds(0.04),
)

GONE_AFTER: Final = Seconds(30)
"""How long a visitor's machine may leave a heartbeat unacknowledged. Source: tcp(7), TCP_USER_TIMEOUT."""

CLOSE_WITHIN: Final = Seconds(3)
RECONNECT_AFTER: Final = Seconds(3)
STRANGERS: Final = "strangers"
"""All visitors from other networks have one share of the places together."""

LONGEST_INTERFACE: Final = 15
"""Characters of the name of an interface. Source: IFNAMSIZ in <linux/if.h>."""

LARGEST_PORT: Final = 0xFFFF


class VisitorOrigin(NamedTuple):
    """Where a visitor comes from.

    Attributes:
        own: the address of ours that the connection came in on.
    """

    own: Address
    nearness: Nearness

    @property
    def is_stranger(self) -> bool:
        """Return whether the visitor is in no network of the speaker's."""
        return self.nearness in {Nearness.FAR, Nearness.OTHER_NETWORK}


Visitor = HttpConnection[VisitorOrigin]

_JSON: Final = "application/json"
_ACTION_METHODS: Final = ("POST",)
_METHODS: Final = {
    "/": ("GET", "HEAD"),
    "/events": ("GET",),
    "/left": _ACTION_METHODS,
    "/back": _ACTION_METHODS,
    "/identify": _ACTION_METHODS,
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
        explanation="Names of the speaker beside its host name; localhost: programs on it may read the code.",
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
    with as_config_error(PAGE):
        return PageSettings(**read_table("page", KEYS, {} if given is None else given), locale=locale)


def _split_place(text: str) -> tuple[str, int]:
    """Split a place of ``listen`` into an address or the name of an interface, and a port.

    Raises:
        ValueError: if it is not one.
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
    """Open a socket that listens at one of the addresses of ``PageSettings.listen``.

    Raises:
        OSError: if the port is in use, or the address or interface is not there.
    """
    host, port = _split_place(text)
    return listen(host, port) if _is_address(host) else listen("", port, interface=host)


# ---------------------------------------------------------------------------------------------------------
# One request and its reply

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def check_request(request: HttpRequest, own: Address, names: Collection[str]) -> None:
    """Check that a request may be answered.

    Args:
        request: with any fields at all.
        own: the address of ours that it came in on.
        names: what the speaker is called.

    Raises:
        HttpError: if it may not.
    """
    if request.is_absolute or not request.path.startswith("/") or "host" not in request.headers:
        raise HttpError(HTTPStatus.BAD_REQUEST)
    if not is_our_host(request.headers["host"], own, names):
        raise HttpError(HTTPStatus.MISDIRECTED_REQUEST)
    methods = _METHODS.get(request.path)
    if methods is None:
        raise HttpError(HTTPStatus.NOT_FOUND)
    if request.method not in methods:
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(methods)})
    if request.path != "/" and not is_own_request(request.headers):
        raise HttpError(HTTPStatus.FORBIDDEN)
    if methods is _ACTION_METHODS and request.media_type != _JSON:
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def _languages_in(request: HttpRequest) -> str:
    return request.headers.get("accept-language", "")


def _language_fields(language: str) -> dict[str, str]:
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Language": language,
        "Vary": "Accept-Language",
    }


# ---------------------------------------------------------------------------------------------------------
# Serving


class Page:
    """Serves the page until it is closed.

    Args:
        feed: what the loop knows.
        actions: called when the owner leaves to approve, comes back, or asks which speaker this is.
        clock: for both times.
        settings: where to listen, and the names of the speaker.
        sockets: sockets that listen already; then ``settings.listen`` is not used.
        limits: of each request and reply.
        admission: how many visitors at once, and how often.
        nearness: returns where a visitor (first) is who came in on an address of ours (second).
        name: returns what people call the speaker.
        has_light: returns whether it has a light, which can show which speaker it is.
    """

    def __init__(
        self,
        feed: StatusFeed,
        actions: Actions,
        clock: Clock,
        *,
        settings: PageSettings,
        sockets: Sequence[socket.socket] = (),
        limits: ReadLimits = READ_LIMITS,
        admission: ConnectionLimits = ADMISSION,
        nearness: Callable[[Address, Address], Nearness] = find_nearness,
        name: Callable[[], str] = lambda: "",
        has_light: Callable[[], bool] = lambda: False,
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._settings = settings
        self._limits = limits
        self.listeners = list(sockets)
        self._nearness_of = nearness
        self._shows_code_here = names_loopback(settings.hosts)
        self._name = name
        self._has_light = has_light
        self._actions = {
            "/left": actions.owner_left,
            "/back": actions.owner_is_back,
            "/identify": actions.identify,
        }
        self.server = HttpServer(
            "page",
            clock,
            identify=self._identify,
            answer=self._answer,
            refuse=self._refuse,
            admission=admission,
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return where it listens."""
        return [listener.getsockname()[:2] for listener in self.listeners]

    @property
    def shows_codes(self) -> bool:
        """Return whether a visitor can see a code at one of these addresses."""
        return self._shows_code_here or self._is_on_network

    @property
    def _is_on_network(self) -> bool:
        return not all(read_address(host).is_loopback for host, _ in self.addresses)

    def start(self) -> None:
        """Start to serve, also after ``server.hold``; an address where it cannot listen is left out and logged.

        Raises:
            ConfigError: if it cannot listen anywhere.
        """
        for text in () if self.listeners else self._settings.listen:
            try:
                self.listeners.append(open_listener(text))
            except OSError as error:
                log.warning("%s", explain(f"cannot serve the page at {text}", error))
        if not self.listeners:
            raise ConfigError(
                "cannot serve the page at any address in listen",
                hint='Look at listen in [page] of the settings file, or switch it off: page = "off"',
            )
        if not self.shows_codes:
            log.warning(
                "the page is on loopback only and shows no code, for any program here could read it there:"
                ' hosts = ["localhost"] under [page] shows it'
            )
        self.server.start(self.listeners)

    def close(self, within: Seconds = CLOSE_WITHIN) -> None:
        """Stop serving and cut every connection; wait for their threads at most ``within`` altogether."""
        self.server.close(within)
        for listener in self.listeners:
            listener.close()

    def _identify(self, connection: socket.socket, peer: Any) -> Visitor:
        address, own = read_address(peer[0]), read_address(connection.getsockname()[0])
        origin = VisitorOrigin(own, self._nearness_of(address, own))
        owner = STRANGERS if origin.is_stranger else owner_of(address)
        return HttpConnection(connection, self._clock, self._limits, origin, owner)

    def _answer(self, accepted: Visitor, request: HttpRequest) -> HttpReply:
        if accepted.peer.is_stranger:
            raise HttpError(HTTPStatus.FORBIDDEN)
        names = names_of(socket.gethostname(), self._settings.hosts)
        check_request(request, accepted.peer.own, names)
        if request.path == "/events":
            return self._open_events(accepted, request)
        act = self._actions.get(request.path)
        if act is not None:
            act()
            return self._reply(HTTPStatus.NO_CONTENT)
        language = self._language_of(request)
        model = self._renderer.model(self._feed.look(), sees_code=self._sees_code(accepted))
        body = self._renderer.page(
            model, language, _languages_in(request), name=self._name(), has_light=self._has_light()
        )
        return self._reply(HTTPStatus.OK, body, _language_fields(language))

    def _open_events(self, accepted: Visitor, request: HttpRequest) -> HttpReply:
        if not self.server.open_stream(accepted):
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE)
        accepted.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * GONE_AFTER))
        pieces = self._follow(accepted, self._language_of(request))
        return self._reply(HTTPStatus.OK, fields={"Content-Type": "text/event-stream"})._replace(
            pieces=pieces
        )

    def _follow(self, accepted: Visitor, language: str) -> Generator[bytes, None, None]:
        sees_code = self._sees_code(accepted)
        yield f"retry: {int(1000 * RECONNECT_AFTER)}\n\n".encode()
        yield from stream(
            self._feed.follow(accepted.socket),
            lambda snapshot: self._renderer.model(snapshot, sees_code=sees_code),
            lambda _, model: self._renderer.event(model, language),
            comment=b": still here\n\n",
        )

    def _reply(
        self, status: HTTPStatus, body: bytes = b"", fields: Mapping[str, str] = NO_HEADERS
    ) -> HttpReply:
        policy = {"Content-Security-Policy": self._renderer.policy}
        return HttpReply(status, body, {**_HEADERS, **policy, **fields})

    def _refuse(self, error: HttpError, visitor: Visitor, request: HttpRequest | None) -> HttpReply | None:
        """Write a refusal: a small page that repeats nothing of the request; None for a visitor who is too slow."""
        if error.status is HTTPStatus.REQUEST_TIMEOUT:
            return None
        # 411 says that a body would be welcome with its length; no action here needs one
        status = HTTPStatus.BAD_REQUEST if error.status is HTTPStatus.LENGTH_REQUIRED else error.status
        language = self._language_of(request or visitor.glance())
        policy = {"Content-Security-Policy": self._renderer.refusal_policy}
        retry = {"Retry-After": "5"} if status in CROWDED else {}
        headers = {**_HEADERS, **policy, **_language_fields(language), **retry, **error.headers}
        addresses = self._addresses_for(visitor)
        body = self._renderer.refusal(status, addresses, language, is_stranger=visitor.peer.is_stranger)
        return HttpReply(status, body, headers)

    def _addresses_for(self, visitor: Visitor) -> list[str]:
        """Return where the visitor finds the page; one who is far away learns nothing of the speaker's network."""
        if visitor.peer.nearness is Nearness.FAR:
            return []
        hostname = socket.gethostname() if self._is_on_network else ""
        return addresses_of(hostname, visitor.peer.own, visitor.socket.getsockname()[1])

    def _sees_code(self, accepted: Visitor) -> bool:
        """Return whether a visitor may read the code; a program on this machine may be that of another user."""
        return accepted.peer.nearness is Nearness.NEIGHBOUR or self._shows_code_here

    def _language_of(self, request: HttpRequest | None) -> str:
        return self._renderer.language_for("" if request is None else _languages_in(request))

    @cached_property
    def _renderer(self) -> "PageRenderer":
        from device_auth.service.page_view import PageRenderer

        return PageRenderer(self._clock, self._settings.locale)
