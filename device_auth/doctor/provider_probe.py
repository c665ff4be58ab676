"""One connection to the provider, step by step, so that the step that fails can be named.

A transport reports only whether a request succeeded. The probe takes the transport's route and trusts the same
authorities, and looks at name, connection, proxy, handshake and certificate one by one. It sends nothing secret: one
HEAD of the first page, for its date and the time it takes. ``http.client`` speaks HTTP, CONNECT included, as it does
below requests. It bounds neither the whole head nor the whole time: ``_HeadReader`` and ``cancelled_after`` do.
"""

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cached_property, partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BufferedReader
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from device_auth import __version__
from device_auth.core.errors import ConfigError
from device_auth.core.models import Monotonic, Provider, Seconds, UnixTime
from device_auth.core.ports import Clock
from device_auth.doctor.credential_probe import first_address
from device_auth.wire.addresses import Proxy, fault_of_address, is_loopback
from device_auth.world.bounded import bounded, cancelled_after
from device_auth.world.dialing import FAMILIES, NO_ROUTE, Address, Resolve, dial_first, resolve
from device_auth.world.route import Authorities, Route
from device_auth.world.settings import KEY_OF
from device_auth.world.transport import EXPIRED, NOT_YET_VALID, WRONG_NAME, route_to

STEP_TIMEOUT: Final = Seconds(4)
"""Longest that a connection, a handshake or a response takes; lost packets may be sent again. A sign-in page of the
network is near, and gets half of it."""

RESOLVER_TIMEOUT: Final = Seconds(6)
"""Longest wait for a name: after 5 s the resolver asks the next DNS server. Source: resolv.conf(5), ``timeout``."""

NO_ADDRESS: Final = (
    "There is no provider to connect to: its address or the file of certificates cannot be used (C6, C7)."
)
"""Why a check was skipped where there is no probe."""

USUAL_HOST: Final = urlsplit(str(KEY_OF["base_url"].default)).netloc
"""The one that nobody has to set, and so nobody mistypes."""

NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
"""The resolver's reasons by which a name has no address, at least in this family."""

MOST_ADDRESSES: Final = 16
"""Addresses of a name that are tried one by one."""

LONGEST_HEAD: Final = 16 * 1024
"""Bytes of a response before its body."""

BODY_START: Final = 4096
"""Bytes of a body that are searched for HTML."""

NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""Verify all of a certificate but its dates. Source: OpenSSL, ``X509_V_FLAG_NO_CHECK_TIME``."""

WRONG_IP_ADDRESS: Final = 64
"""OpenSSL's code for a certificate of another address. Source: X509_STORE_CTX_get_error(3)."""


Dial = Callable[[Sequence[Address], Seconds], socket.socket]
"""Connects to the first of the addresses that answers, within so many seconds each; raises ``OSError``."""


class Lookup(NamedTuple):
    """The result of a name lookup, each family by itself, as the transport asks.

    Attributes:
        addresses: IPv6 first.
        error_number: the resolver's reason if there are none (``EAI_*``), or None if it did not answer in time.
        duration: until the first family with an address was known, or else the last answer came.
        silent: the families for which no answer came in time.
    """

    addresses: Sequence[Address]
    error_number: int | None
    duration: Seconds
    silent: Sequence[int] = ()


class _FamilyAnswer(NamedTuple):
    """The resolver's answer for one family, and when it had come; see ``Lookup``."""

    addresses: Sequence[Address]
    error_number: int | None
    ended: Monotonic


class ProbeProblem(StrEnum):
    """The reason why there is no connection to an address."""

    REFUSED = "refused"
    TIMED_OUT = "timed-out"
    NO_WAY = "no-way"
    OTHER = "failed"


class ConnectAttempt(NamedTuple):
    """An address, and why there is no connection to it, or None."""

    address: Address
    problem: ProbeProblem | None


class HandshakeStep(StrEnum):
    """The step at which a handshake failed."""

    AUTHORITIES = "authorities"
    CONNECTION = "connection"
    PROXY = "proxy"
    TLS = "tls"
    ISSUER = "issuer"
    NAME = "name"
    DATE = "date"


class PlainResponse(NamedTuple):
    """The response to plain http on port 80.

    Attributes:
        status: of HTTP.
        redirects_to: the host of the redirect; empty if there is none, "?" if its address is malformed.
        is_html: it is a web page.
    """

    status: int
    redirects_to: str
    is_html: bool


class HandshakeResult(NamedTuple):
    """The result of a connection to the provider itself, through the proxy if there is one.

    Attributes:
        failed_step: or None.
        reason: why it failed.
        verify_code: OpenSSL's code where a certificate was not trusted.
        version: of TLS; empty on plain http, or without a handshake.
        certificate: the server's own, as DER; empty if it sent none.
        connect_time: until connected.
        tls_time: from there until the TLS handshake was complete.
        first_byte_time: from there until the head of the response; None without one.
        date: by the server's clock; None if it sent none, or did not prove its identity.
        received_at: by this machine's clock, when that came.
        hint: what to do where the authorities cannot be read.
    """

    failed_step: HandshakeStep | None = None
    reason: str = ""
    verify_code: int | None = None
    version: str = ""
    certificate: bytes = b""
    connect_time: Seconds = Seconds(0)
    tls_time: Seconds = Seconds(0)
    first_byte_time: Seconds | None = None
    date: UnixTime | None = None
    received_at: UnixTime = UnixTime(0)
    hint: str = ""


class ProviderProbe:
    """Takes each step once, when its result is first asked for.

    Args:
        url: of the provider; well-formed, see ``make_probe``.
        route: of a transport's requests to it.
        clock: measures durations, and dates responses.
        resolve: finds addresses.
        dial: connects.
        timeout: see ``STEP_TIMEOUT``.
        resolver_timeout: see ``RESOLVER_TIMEOUT``.
    """

    def __init__(
        self,
        url: str,
        route: Route,
        clock: Clock,
        *,
        resolve: Resolve,
        dial: Dial,
        timeout: Seconds = STEP_TIMEOUT,
        resolver_timeout: Seconds = RESOLVER_TIMEOUT,
    ) -> None:
        parts = urlsplit(url)
        self.is_secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.is_secure else 80)
        self.is_local = is_loopback(self.host)
        self.is_usual = parts.netloc == USUAL_HOST
        self.route = route
        self.proxy = route.proxy
        self._netloc = parts.netloc
        self._clock = clock
        self._resolve = resolve
        self._dial = dial
        self._timeout = timeout
        self._resolver_timeout = resolver_timeout

    @property
    def is_hidden(self) -> bool:
        """Return whether only the transport can use the proxy in front of the provider: the probe uses HTTP proxies alone."""
        return self.proxy is not None and self.proxy.scheme != "http"

    @cached_property
    def lookup(self) -> Lookup:
        """Look up the name of the next machine: the proxy's, if there is one."""
        started = self._clock.now()
        with ThreadPoolExecutor(max_workers=len(FAMILIES)) as pool:
            answers = list(pool.map(self._look_up, FAMILIES))
        ended = [answer.ended for answer in answers if answer.addresses]
        numbers = [answer.error_number for answer in answers]
        # A family without an address is not a failure; one that could not be looked up says more.
        telling = [number for number in numbers if number not in NO_SUCH_NAME]
        return Lookup(
            [address for answer in answers for address in answer.addresses],
            (telling or numbers)[0],
            Seconds(min(ended, default=max(answer.ended for answer in answers)) - started),
            [family for family, number in zip(FAMILIES, numbers, strict=True) if number is None],
        )

    @cached_property
    def attempts(self) -> list[ConnectAttempt]:
        """Connect to every address by itself, all at once: so each is known, and none is waited for after another."""
        addresses = self.lookup.addresses[:MOST_ADDRESSES]
        with ThreadPoolExecutor(max_workers=max(len(addresses), 1)) as pool:
            return list(pool.map(self._try, addresses))

    @property
    def is_reached(self) -> bool:
        """Return whether a transport finds an address that takes connections."""
        return any(attempt.problem is None for attempt in self.attempts)

    @cached_property
    def handshake(self) -> HandshakeResult:
        """Connect and shake hands as a transport would; look closer at a certificate that is not trusted."""
        if self.is_hidden:
            return HandshakeResult(HandshakeStep.PROXY, "the doctor can use HTTP proxies only")
        if not self.is_reached:
            return HandshakeResult(HandshakeStep.CONNECTION)
        if not self.is_secure:
            return self._shake_hands(None)
        try:
            # one of its own: a closer look changes it
            context = self.route.authorities.make_context()
            context.check_hostname = True
        except ConfigError as error:
            return HandshakeResult(HandshakeStep.AUTHORITIES, str(error), hint=error.hint)
        found = self._shake_hands(context)
        return found if found.verify_code is None else self._look_closer(context, found)

    @cached_property
    def plain_response(self) -> PlainResponse | None:
        """Request the host's first page by plain http; None if no HTTP server answers. Needs an address."""
        timeout = Seconds(self._timeout / 2)
        at = [address.at_port(80) for address in self.lookup.addresses]
        with (
            suppress(OSError, HTTPException, ValueError),
            self._dial(at, timeout) as sock,
            cancelled_after(timeout, partial(_shut_down, sock)),
            _request(_Connection(self.host, 80, sock), "GET", self.host) as response,
        ):
            body = response.read1(BODY_START) if response.status == HTTPStatus.OK else b""
            is_html = "html" in response.getheader("Content-Type", "") or b"<html" in body.lower()
            return PlainResponse(response.status, _host_of(response.getheader("Location", "")), is_html)
        return None

    def _look_up(self, family: int) -> _FamilyAnswer:
        host, port = (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)
        addresses: Sequence[Address] = ()
        number: int | None = socket.EAI_NONAME
        try:
            addresses = bounded(partial(self._resolve, host, port, family), self._resolver_timeout)
        except TimeoutError:
            number = None
        except socket.gaierror as error:
            number = error.errno
        except UnicodeError:  # the rules of names allow no such name
            pass
        return _FamilyAnswer(addresses, number, self._clock.now())

    def _try(self, address: Address) -> ConnectAttempt:
        try:
            self._dial([address], self._timeout).close()
        except TimeoutError:
            return ConnectAttempt(address, ProbeProblem.TIMED_OUT)
        except ConnectionRefusedError:
            return ConnectAttempt(address, ProbeProblem.REFUSED)
        except OSError as error:
            return ConnectAttempt(
                address, ProbeProblem.NO_WAY if error.errno in NO_ROUTE else ProbeProblem.OTHER
            )
        return ConnectAttempt(address, None)

    def _look_closer(self, context: ssl.SSLContext, found: HandshakeResult) -> HandshakeResult:
        """Find out what was not trusted. A date counts only if nothing but the certificate's own dates was wrong."""
        if found.failed_step is HandshakeStep.DATE:
            context.verify_flags |= NO_CHECK_TIME
            closer = self._shake_hands(context)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            closer = self._shake_hands(context)._replace(date=None)
        return found._replace(
            version=closer.version,
            certificate=closer.certificate,
            date=closer.date,
            received_at=closer.received_at,
        )

    def _shake_hands(self, context: ssl.SSLContext | None) -> HandshakeResult:
        """Connect as a transport does, shake hands (without a context there is no TLS), and request the first page."""
        started = self._clock.now()
        try:
            sock = self._dial(self.lookup.addresses, self._timeout)
        except OSError as error:
            return HandshakeResult(HandshakeStep.CONNECTION, _reason(error))
        with closing(sock), closing(_Connection(self.host, self.port, sock)) as connection:
            if self.proxy:
                connection.set_tunnel(*self._tunnel(self.proxy))
            try:
                with cancelled_after(self._timeout, partial(_shut_down, sock)):
                    connection.connect()
            except (OSError, HTTPException, ValueError) as error:
                return HandshakeResult(HandshakeStep.PROXY, _proxy_reason(error))
            connected = self._clock.now()
            result = HandshakeResult(connect_time=Seconds(connected - started))
            if context is not None:
                try:
                    tls = context.wrap_socket(connection.sock, server_hostname=self.host)
                except ssl.SSLCertVerificationError as error:
                    return HandshakeResult(
                        _distrust(error.verify_code), error.verify_message, error.verify_code
                    )
                except OSError as error:
                    return HandshakeResult(HandshakeStep.TLS, _reason(error))
                connection.sock = tls
                certificate = tls.getpeercert(binary_form=True) or b""
                result = result._replace(version=tls.version() or "", certificate=certificate)
            result = result._replace(tls_time=Seconds(self._clock.now() - connected))
            return self._request_date(connection, result)

    def _tunnel(self, proxy: Proxy) -> tuple[str, int, dict[str, str]]:
        """Return what CONNECT asks of the proxy. Source: RFC 9110 §9.3.6."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        headers = {"Host": f"{host}:{self.port}"}
        if user := proxy.user.reveal():
            # in the encoding that requests uses
            credentials = b64encode(user.encode("latin-1", "replace")).decode()
            headers["Proxy-Authorization"] = f"Basic {credentials}"
        return host, self.port, headers

    def _request_date(self, connection: HTTPConnection, result: HandshakeResult) -> HandshakeResult:
        """Request the first page; a missing or malformed response is not a failure of the handshake."""
        asked = self._clock.now()
        try:
            with (
                cancelled_after(self._timeout, partial(_shut_down, connection.sock)),
                _request(connection, "HEAD", self._netloc) as response,
            ):
                headers = response.headers
        except (OSError, HTTPException, ValueError):
            return result
        return result._replace(
            first_byte_time=Seconds(self._clock.now() - asked),
            date=_date(headers),
            received_at=self._clock.wall(),
        )


def make_probe(
    provider: Provider, authorities: Authorities, proxy: Proxy | None, clock: Clock
) -> ProviderProbe | None:
    """Return a probe of a provider over the network of this machine; None if its address is malformed.

    Args:
        provider: from ``credential_probe.provider_of``.
        authorities: to trust.
        proxy: of the settings, or None.
        clock: measures.
    """
    url = first_address(provider)
    if not url or fault_of_address(url):
        return None
    return ProviderProbe(url, route_to(url, authorities, proxy), clock, resolve=resolve, dial=dial_first)


# ---------------------------------------------------------------------------------------------------------
# HTTP


class _HeadReader(BufferedReader):
    """Reads the lines of a head, which must be short and whole: http.client takes one that breaks off for complete."""

    _left = LONGEST_HEAD

    def readline(self, _size: int | None = -1, /) -> bytes:
        line = super().readline(self._left)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise HTTPException("the response head is incomplete or too long")
        return line


class _BoundedResponse(HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _HeadReader(self.fp.detach())


class _Connection(HTTPConnection):
    """A connection over a socket that is connected already."""

    response_class = _BoundedResponse

    def __init__(self, host: str, port: int, sock: socket.socket) -> None:
        super().__init__(host, port)
        self._create_connection = lambda *_args: sock  # which ``connect`` calls


def _request(connection: HTTPConnection, method: str, host: str) -> HTTPResponse:
    """Request the first page.

    Raises:
        OSError: if the connection fails.
        HTTPException: if the response is not HTTP, too long or incomplete.
    """
    headers = {"Host": host, "User-Agent": f"device-auth/{__version__}", "Connection": "close"}
    connection.request(method, "/", headers=headers)
    return connection.getresponse()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        # not SSLSocket.shutdown, which takes the TLS state away under the thread that reads
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _date(headers: Message) -> UnixTime | None:
    """Return the time at which the server sent a response: its Date plus its Age in caches. Source: RFC 9110 §6.6.1, RFC 9111 §5.1."""
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        age = headers.get("Age", "0")
        sent = parsedate_to_datetime(headers.get("Date", "")).timestamp()
        return UnixTime(sent + (int(age) if age.isascii() and age.isdigit() else 0))
    return None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "?"


def _distrust(verify_code: int) -> HandshakeStep:
    if verify_code in {NOT_YET_VALID, EXPIRED}:
        return HandshakeStep.DATE
    return HandshakeStep.NAME if verify_code in {WRONG_NAME, WRONG_IP_ADDRESS} else HandshakeStep.ISSUER


def _reason(error: OSError) -> str:
    """Return the reason without the text of the error, which may hold an address: OpenSSL's name for it, or ours."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the connection was closed").lower().replace("_", " ")
    return "no answer in time" if isinstance(error, TimeoutError) else "the connection broke off"


def _proxy_reason(error: Exception) -> str:
    """Return why the proxy does not connect; http.client has the status in its text alone."""
    refused = re.match(r"Tunnel connection failed: (\d+)", str(error))
    return f"it answers {refused[1]}" if refused else "no answer from it"
