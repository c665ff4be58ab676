"""A visit to the provider's door, step by step, so that it can be told which step fails.

A transport says whether a request came through; here name, connection, handshake and certificate are looked at one
by one, on the same road and with the same trust. Nothing secret is carried: one HEAD of the first page, for its date
and for the time it takes.
"""

import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from device_auth import __version__
from device_auth.core.models import Provider, Seconds, UnixTime
from device_auth.core.ports import Clock
from device_auth.doctor.trial import address_of
from device_auth.wire.answers import is_loopback
from device_auth.world.bounded import bounded, cancelled_after
from device_auth.world.connections import NO_WAY
from device_auth.world.provider import FAULTS
from device_auth.world.transport import Route, road_to, trusting

PATIENCE: Final = Seconds(4)
"""Longest that a connection, a handshake or an answer takes; lost packets may be sent again. A page that the network
itself puts in the way is near, and gets half of it."""

RESOLVER_PATIENCE: Final = Seconds(6)
"""Longest wait for a name: after 5 s the next DNS server is asked. Source: resolv.conf(5), ``timeout``."""

NOBODY_TO_VISIT: Final = (
    "There is no provider to visit: its address or the file of certificates cannot be used (C6, C7)."
)
"""Why something was skipped where ``set_out`` gave nothing, or could not be called."""

LONGEST_HEAD: Final = 16 * 1024

NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""Verify all of a certificate but its dates. Source: OpenSSL, ``X509_V_FLAG_NO_CHECK_TIME``."""

NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
_OF_DATES: Final = frozenset({NOT_YET_VALID, EXPIRED})
_OF_NAMES: Final = frozenset({62, 64})
"""What OpenSSL found in a certificate. Source: X509_STORE_CTX_get_error(3)."""


class Address(NamedTuple):
    """Where to connect to, as the resolver gives it."""

    family: int
    where: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """Return the IP address alone."""
        return str(self.where[0])

    def at_port(self, port: int) -> "Address":
        """Give another port of the same machine."""
        return Address(self.family, (self.where[0], port, *self.where[2:]))


Resolve = Callable[[str, int], list[Address]]
"""Finds the addresses of a name; raises ``socket.gaierror``."""

Dial = Callable[[Address, float], socket.socket]
"""Connects within so many seconds; raises ``OSError``."""


class Lookup(NamedTuple):
    """What came of looking a name up.

    Attributes:
        addresses: in the order to try them.
        number: if there are none, the resolver's for why (``EAI_*``), or None if it did not answer in time.
        took: so long.
    """

    addresses: Sequence[Address]
    number: int | None
    took: Seconds


class ProbeProblem(StrEnum):
    """What keeps a connection from coming about."""

    REFUSED = "refused"
    TIMED_OUT = "timed-out"
    NO_WAY = "no-way"
    OTHER = "failed"


class ConnectAttempt(NamedTuple):
    """A connection that was tried, and what was in its way."""

    address: Address
    obstacle: ProbeProblem | None


class HandshakeStep(StrEnum):
    """The step at which a greeting failed."""

    AUTHORITIES = "authorities"
    CONNECTION = "connection"
    PROXY = "proxy"
    TLS = "tls"
    ISSUER = "issuer"
    NAME = "name"
    DATE = "date"


class ResponseHead(NamedTuple):
    """The beginning of an answer over HTTP; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HandshakeResult(NamedTuple):
    """How a connection to the provider itself went, through the proxy if there is one.

    Attributes:
        fault: the step that failed, or None.
        reason: more about that.
        verify_code: OpenSSL's number where a certificate was not trusted.
        version: of TLS; empty on plain http, or if it did not come about.
        certificate: the server's own, as DER; empty if it showed none.
        connecting: time until connected.
        shaking_hands: time from there until TLS stood.
        first_byte: time from there until the server said something; None if it did not.
        date: by the server's own clock; None if it told none, or did not prove who it is.
        received_at: by this machine's clock, when that came.
    """

    fault: HandshakeStep | None = None
    reason: str = ""
    verify_code: int | None = None
    version: str = ""
    certificate: bytes = b""
    connecting: Seconds = Seconds(0)
    shaking_hands: Seconds = Seconds(0)
    first_byte: Seconds | None = None
    date: UnixTime | None = None
    received_at: UnixTime = UnixTime(0)


class Proxy(NamedTuple):
    """A proxy of the environment.

    Attributes:
        user: name and password, if it wants them.
        shown: its address without them.
    """

    scheme: str
    host: str
    port: int
    user: str
    shown: str


class ProviderProbe:
    """Each step is taken once, when somebody first asks for it.

    Args:
        url: whom to visit; well-formed, see ``set_out``.
        road: how a transport's requests would go there.
        clock: measures, and says when a date came.
        resolve: finds addresses.
        dial: connects.
        patience: see ``PATIENCE``.
        resolver_patience: see ``RESOLVER_PATIENCE``.
    """

    def __init__(
        self,
        url: str,
        road: Route,
        clock: Clock,
        *,
        resolve: Resolve,
        dial: Dial,
        patience: Seconds = PATIENCE,
        resolver_patience: Seconds = RESOLVER_PATIENCE,
    ) -> None:
        parts = urlsplit(url)
        self.is_secure = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.is_secure else 80)
        self.is_here = is_loopback(self.host)
        self.authorities = road.authorities
        self.proxy = _read_proxy(road.proxy) if road.proxy else None
        self.is_proxy_odd = bool(road.proxy) and self.proxy is None
        self._netloc = parts.netloc
        self._clock = clock
        self._resolve = resolve
        self._dial = dial
        self._patience = patience
        self._resolver_patience = resolver_patience

    @property
    def is_hidden(self) -> bool:
        """Return whether the provider is behind a proxy that only the transport can use; an HTTP one is used here too."""
        return self.proxy is not None and self.proxy.scheme != "http"

    @property
    def next_host(self) -> str:
        """Name the machine that is spoken with first: the proxy's, if there is one."""
        return self.proxy.host if self.proxy else self.host

    @property
    def next_port(self) -> int:
        """Give that machine's port."""
        return self.proxy.port if self.proxy else self.port

    @cached_property
    def lookup(self) -> Lookup:
        """Look the next machine's name up."""
        started = self._clock.now()
        addresses: Sequence[Address] = ()
        number: int | None = socket.EAI_NONAME
        try:
            addresses = bounded(
                lambda: self._resolve(self.next_host, self.next_port), self._resolver_patience
            )
        except TimeoutError:
            number = None
        except socket.gaierror as error:
            number = error.errno
        except UnicodeError:  # no name at all, by the rules of names
            pass
        return Lookup(addresses, number, Seconds(self._clock.now() - started))

    @cached_property
    def attempts(self) -> list[ConnectAttempt]:
        """Try to connect to the first address of each family, all at once; in the resolver's order."""
        firsts: dict[int, Address] = {}
        for address in self.lookup.addresses:
            firsts.setdefault(address.family, address)
        with ThreadPoolExecutor(max_workers=max(len(firsts), 1)) as pool:
            return list(pool.map(self._try, firsts.values()))

    @cached_property
    def greeting(self) -> HandshakeResult:
        """Connect and shake hands, as a transport would; on distrust look closer at what was shown."""
        if self.is_hidden:
            return HandshakeResult(HandshakeStep.PROXY, "of a kind that cannot be looked through")
        reached = [attempt.address for attempt in self.attempts if attempt.obstacle is None]
        return self._greet(reached[0]) if reached else HandshakeResult(HandshakeStep.CONNECTION)

    @cached_property
    def plain_answer(self) -> ResponseHead | None:
        """Ask for the host's first page on the port of plain http; None if nothing there speaks HTTP.

        Only for a name that has addresses.
        """
        at, patience = self.lookup.addresses[0].at_port(80), Seconds(self._patience / 2)
        with suppress(OSError, ValueError), self._dial(at, patience) as sock, _shutting_down(sock, patience):
            return _ask(sock, "GET", self.host)
        return None

    def _try(self, address: Address) -> ConnectAttempt:
        try:
            self._dial(address, self._patience).close()
        except TimeoutError:
            return ConnectAttempt(address, ProbeProblem.TIMED_OUT)
        except ConnectionRefusedError:
            return ConnectAttempt(address, ProbeProblem.REFUSED)
        except OSError as error:
            return ConnectAttempt(
                address, ProbeProblem.NO_WAY if error.errno in NO_WAY else ProbeProblem.OTHER
            )
        return ConnectAttempt(address, None)

    def _greet(self, address: Address) -> HandshakeResult:
        if not self.is_secure:
            return self._meet(address, None)
        try:
            context = trusting(self.authorities)
        except OSError as error:
            return HandshakeResult(HandshakeStep.AUTHORITIES, str(error))
        found = self._meet(address, context)
        if found.verify_code is None:
            return found
        return self._look_closer(address, context, found)

    def _look_closer(
        self, address: Address, context: ssl.SSLContext, found: HandshakeResult
    ) -> HandshakeResult:
        """See what was not trusted. A date counts only where nothing but the certificate's own dates was wrong."""
        if found.fault is HandshakeStep.DATE:
            context.verify_flags |= NO_CHECK_TIME
            closer = self._meet(address, context)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            closer = self._meet(address, context)._replace(date=None)
        return found._replace(
            version=closer.version,
            certificate=closer.certificate,
            date=closer.date,
            received_at=closer.received_at,
        )

    def _meet(self, address: Address, context: ssl.SSLContext | None) -> HandshakeResult:
        """Connect, shake hands with a context or go without TLS, and ask for the first page."""
        try:
            started = self._clock.now()
            sock = self._dial(address, self._patience)
        except OSError as error:
            return HandshakeResult(HandshakeStep.CONNECTION, _words(error))
        try:
            if self.proxy:
                refused = self._ask_for_tunnel(sock)
                if refused:
                    return HandshakeResult(HandshakeStep.PROXY, refused)
            connected = self._clock.now()
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=self.host)
            shaken = self._clock.now()
            spoken = HandshakeResult(
                connecting=Seconds(connected - started), shaking_hands=Seconds(shaken - connected)
            )
            if isinstance(sock, ssl.SSLSocket):
                shown = sock.getpeercert(binary_form=True) or b""
                spoken = spoken._replace(version=sock.version() or "", certificate=shown)
            return self._ask_date(sock, spoken)
        except ssl.SSLCertVerificationError as error:
            return HandshakeResult(_distrust(error.verify_code), error.verify_message, error.verify_code)
        except OSError as error:
            return HandshakeResult(HandshakeStep.TLS, _words(error))
        finally:
            sock.close()

    def _ask_date(self, sock: socket.socket, spoken: HandshakeResult) -> HandshakeResult:
        """Ask for the first page; no answer, or none in HTTP, is not this step's business."""
        asked = self._clock.now()
        try:
            with _shutting_down(sock, self._patience):
                head = _ask(sock, "HEAD", self._netloc)
        except (OSError, ValueError):
            return spoken
        answered = self._clock.now()
        return spoken._replace(
            first_byte=Seconds(answered - asked), date=_date(head), received_at=self._clock.wall()
        )

    def _ask_for_tunnel(self, sock: socket.socket) -> str:
        """Have the proxy connect us; say how it refused, or nothing. Source: RFC 9110 §9.3.6."""
        assert self.proxy is not None, "asked only where there is one"  # noqa: S101  our own bug
        beyond = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {beyond} HTTP/1.1", f"Host: {beyond}"]
        if self.proxy.user:
            # as requests encodes it
            lines.append(
                f"Proxy-Authorization: Basic {b64encode(self.proxy.user.encode('latin-1')).decode()}"
            )
        try:
            with _shutting_down(sock, self._patience):
                sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
                head = _read_head(sock)
        except (OSError, ValueError):
            return "no answer from it"
        return "" if 200 <= head.status < 300 else f"it answers {head.status}"  # noqa: PLR2004  RFC 9110 §15.3


def set_out(provider: Provider, ca_file: Path | None, clock: Clock) -> ProviderProbe | None:
    """Make ready to visit a provider over the network of this machine; None if its address is none.

    Args:
        provider: from ``trial.whom_to_ask``.
        ca_file: the only authorities to trust, or None.
        clock: measures.
    """
    url = address_of(provider)
    if not url or FAULTS["token_endpoint"](url):
        return None
    return ProviderProbe(url, road_to(url, ca_file), clock, resolve=resolve, dial=dial)


def resolve(host: str, port: int) -> list[Address]:
    """Find addresses as a transport does."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, where) for family, _, _, _, where in found]


def dial(address: Address, within: float) -> socket.socket:
    """Connect; each silence after that may last as long too."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(within)
        sock.connect(address.where)
    except OSError:
        sock.close()
        raise
    return sock


# ---------------------------------------------------------------------------------------------------------
# A little HTTP


def _ask(sock: socket.socket, method: str, host: str) -> ResponseHead:
    lines = (
        f"{method} / HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: device-auth/{__version__}",
        "Connection: close",
        "",
        "",
    )
    sock.sendall("\r\n".join(lines).encode("ascii"))
    return _read_head(sock)


def _read_head(sock: socket.socket) -> ResponseHead:
    """Read the head of an answer, and of the body what came along.

    Raises:
        ValueError: it is not HTTP, or broke off.
    """
    came = b""
    while b"\r\n\r\n" not in came and len(came) < LONGEST_HEAD:
        piece = sock.recv(4096)
        if not piece:
            raise ValueError("it broke off")
        came += piece
    head, _, body = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/"):  # noqa: PLR2004  version and status, RFC 9112 §4
        raise ValueError("no HTTP")
    fields = (line.partition(":") for line in lines)
    return ResponseHead(int(words[1]), {name.lower(): value.strip() for name, _, value in fields}, body)


def _date(head: ResponseHead) -> UnixTime | None:
    """Read when an answer left, counting how long it lay in a cache. Source: RFC 9110 §6.6.1, RFC 9111 §5.1."""
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        age = head.headers.get("age", "0")
        sent = parsedate_to_datetime(head.headers.get("date", "")).timestamp()
        return UnixTime(sent + (int(age) if age.isascii() and age.isdigit() else 0))
    return None


# ---------------------------------------------------------------------------------------------------------
# The rest


def _shutting_down(sock: socket.socket, within: Seconds) -> AbstractContextManager[None]:
    """Shut a socket down when the time is up, however slowly bytes come: a time-out counts from the last byte."""

    def shut_down() -> None:
        with suppress(OSError):
            # not SSLSocket.shutdown, which takes the TLS state away under the thread that reads
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    return cancelled_after(within, shut_down)


def _distrust(found: int) -> HandshakeStep:
    if found in _OF_DATES:
        return HandshakeStep.DATE
    return HandshakeStep.NAME if found in _OF_NAMES else HandshakeStep.ISSUER


def _words(error: OSError) -> str:
    """Say an error without what might stand in its text: OpenSSL's name for it, or the system's words."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "the connection was closed").lower().replace("_", " ")
    return "no answer in time" if isinstance(error, TimeoutError) else "the connection broke off"


def _read_proxy(text: str) -> Proxy | None:
    """Take a proxy's address apart; None if that is not possible."""
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if not parts.hostname:
        return None
    user = ":".join(unquote(each) for each in (parts.username, parts.password) if each is not None)
    hidden = "***@" if "@" in parts.netloc else ""
    shown = f"{parts.scheme}://{hidden}{parts.netloc.rpartition('@')[2]}"
    return Proxy(parts.scheme, parts.hostname, port, user, shown)
