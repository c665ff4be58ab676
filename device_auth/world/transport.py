"""HTTP: one request at a time, with every limit, cancelled from another thread when it takes too long.

A time-out counts from the last byte, so a server that sends a byte a second outlasts any. ``abandon`` bounds a request:
it shuts down the sockets in use, which ends every wait of the sending thread. requests takes long to import on a small
machine, so it is loaded at the first request, or before it while nothing else is to be done: ``load``.
"""

import errno
import gc
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Final, Never, Protocol

from device_auth.core.errors import ConfigError
from device_auth.core.models import Seconds, Unreachable, WireRequest, WireResponse
from device_auth.core.ports import Clock
from device_auth.core.states import Trouble
from device_auth.late_modules import LateModule
from device_auth.wire.addresses import Proxy, may_be_sent_to
from device_auth.world.dialing import NO_ROUTE, CallCancelled, CancelHandle, Dialer
from device_auth.world.route import Authorities, Route, find_proxy, loading

if TYPE_CHECKING:
    import ssl

    from requests import Response  # noqa: TID251  a type

    from device_auth.world.connections import CancellableSession

CONNECT_TIMEOUT: Final = Seconds(5)
"""Longest wait for a connection to one address, and for each step of its TLS handshake."""

READ_TIMEOUT: Final = Seconds(10)
"""Longest silence before and within an answer."""

LONGEST_BODY: Final = 64 * 1024
"""Bytes of a body, compressed or not. Two tokens of LWA's greatest length are 4 KiB."""

PIECE: Final = 8 * 1024
"""Bytes of a body read at a time."""

NOT_YET_VALID: Final = 9
EXPIRED: Final = 10
WRONG_NAME: Final = 62
"""OpenSSL's codes for a certificate's problem. Source: X509_STORE_CTX_get_error(3)."""

ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""Never requested, but some proxies compress nevertheless. Source: RFC 9110 §8.4.1."""

ANY_ZLIB_HEADER: Final = 32 + zlib.MAX_WBITS
"""Accepts the gzip and the zlib format. Source: zlib's inflateInit2."""

CANCELLED: Final = Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the request was cancelled")
"""The result of an abandoned ``send``."""


class _NoFile:
    """The file of authorities for requests, which goes without where it cannot import; 2.32.3 and 2.32.4 read the file at once."""

    def __fspath__(self) -> str:
        raise ImportError


class _NoCookies:
    """A jar for requests; the library's compiles three dozen patterns."""

    def __init__(self, _policy: object = None) -> None:
        pass

    def __iter__(self) -> Iterator[Never]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def add_cookie_header(self, _request: object) -> None:
        """Send none."""

    def extract_cookies(self, _response: object, _request: object) -> None:
        """Keep none."""


STAND_INS: Final[dict[str, dict[str, object] | None]] = {
    "bz2": None,
    "chardet": {"__version__": "5.0.0"},
    "charset_normalizer": {},
    "http.cookiejar": {"Cookie": _NoCookies, "CookieJar": _NoCookies, "CookiePolicy": _NoCookies},
    "http.cookies": {"Morsel": _NoCookies},
    "idna": {},
    "lzma": None,
    "requests.certs": {"where": _NoFile},
    "urllib3.http2": {"probe": None},
}
"""Members of what stands in for a module while requests is loaded; None: it cannot be imported.
No request uses the modules, and they take up to a third of the time: no answer is read as text, a name beyond ASCII loads idna
when it is met, whom to trust is ``Authorities``', no archive is read, and nobody asks for HTTP/2. Every requests from 2.28 on
takes that version of chardet. Another thread may import something meanwhile, and would keep what it got: so here stands only
what nobody but requests imports, or what the standard library can do without (bz2 and lzma)."""


def load() -> None:
    """Load what sends requests, all but what no request uses; once it is loaded, do nothing."""
    with loading:
        if "device_auth.world.connections" not in sys.modules:
            with _nothing_collected():
                _load_requests()
                import device_auth.world.connections  # noqa: F401  loaded here


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Look for no garbage in here, nor later among what is loaded here: that takes a twentieth of a link, and finds none."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if is_on:
            gc.enable()


def _load_requests() -> None:
    if "requests" in sys.modules:
        return
    absent = STAND_INS.keys() - sys.modules.keys()
    stand_ins = {name: _stand_in(name) for name in absent}
    sys.modules.update(stand_ins)  # type: ignore[arg-type]  # None: see above
    try:
        import requests  # noqa: F401, TID251  loaded here
    finally:
        for name, stand_in in stand_ins.items():
            if isinstance(stand_in, LateModule):
                stand_in.make_way()
            else:
                del sys.modules[name]


def _stand_in(name: str) -> ModuleType | None:
    members = STAND_INS[name]
    if members is None:
        return None
    if name.startswith("http."):  # of which a later requests may use more
        return LateModule(name, **members)
    made = ModuleType(name)
    vars(made).update(members)
    return made


class DatedClock(Clock, Protocol):
    """A clock that knows whether its date can be right."""

    def looks_set(self) -> bool:
        """Return whether the wall clock can be right."""
        ...


class HttpTransport:
    """Carries requests over one kept-open session.

    Without a proxy of the settings that of the environment is taken (``https_proxy``, ``no_proxy``); never for loopback. Redirects are not
    followed, cookies not kept, ``.netrc`` not read. TLS is always verified, and at least 1.2 by Python's default. Nothing is
    sent twice: only the caller knows whether repeating a failed request is safe.

    Args:
        clock: stamps the answers, and tells whether its own date may be the reason for an expired certificate.
        authorities: to trust; the default is ``Authorities()``.
        proxy: stronger than the environment's.
        connect_timeout: see ``CONNECT_TIMEOUT``.
        read_timeout: see ``READ_TIMEOUT``.
    """

    def __init__(
        self,
        clock: DatedClock,
        *,
        authorities: Authorities | None = None,
        proxy: Proxy | None = None,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
        read_timeout: Seconds = READ_TIMEOUT,
    ) -> None:
        self._clock = clock
        self._authorities = authorities or Authorities()
        self._proxy = proxy
        self._timeouts = (connect_timeout, read_timeout)
        self._dialer = Dialer()
        self._lock = threading.Lock()
        self._idle: CancellableSession | None = None
        self._in_use: set[CancelHandle] = set()

    def send(self, request: WireRequest) -> WireResponse | Unreachable:
        """Send and wait for the answer; blocks; never raises for anything the network does.

        Raises:
            ValueError: if the request would leave this machine unencrypted, which is a bug of the caller.
        """
        if not may_be_sent_to(request.url):
            raise ValueError("a request may leave this machine by https only")
        route = route_to(request.url, self._authorities, self._proxy)
        try:
            proxy, context = route.prove(request.url)
        except ConfigError as error:
            return Unreachable(Trouble.MISCONFIGURED, str(error), hint=error.hint)
        session = self._take_session(context)
        try:
            return self._exchange(session, request, proxy)
        finally:
            self._release_session(session)

    def abandon(self) -> None:
        """End a ``send`` under way, from another thread.

        A ``send`` that waits for the resolver ends only when the resolver does, and sends nothing.
        """
        # within the lock: a session whose request ends meanwhile would be kept, and its next request cancelled
        with self._lock:
            for handle in self._in_use:
                handle.cancel()
            self._in_use.clear()

    def close(self) -> None:
        """Close the kept-open session; the next ``send`` makes another."""
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None:
            idle.close()

    def _take_session(self, context: "ssl.SSLContext | None") -> "CancellableSession":
        load()
        from device_auth.world.connections import CancellableSession

        # removed, not shared: an abandoned send may still be running, and must not disturb the next one
        with self._lock:
            taken, self._idle = self._idle, None
        if taken is not None and taken.context is not context:  # other authorities are trusted now
            taken.close()
            taken = None
        session = taken or CancellableSession(self._dialer, context)
        with self._lock:
            self._in_use.add(session.handle)
        return session

    def _release_session(self, session: "CancellableSession") -> None:
        session.handle.release()
        with self._lock:
            self._in_use.discard(session.handle)
            is_kept = not session.handle.is_cancelled and self._idle is None
            if is_kept:
                self._idle = session
        if not is_kept:
            session.close()

    def _exchange(
        self, session: "CancellableSession", request: WireRequest, proxy: Proxy | None
    ) -> WireResponse | Unreachable:
        from http.client import HTTPException

        from urllib3.exceptions import HTTPError

        sent_at, handle = self._clock.now(), session.handle
        try:
            with session.carry(request, self._timeouts, proxy) as response:
                body, is_whole = _read_body(response)
        except (OSError, HTTPException, HTTPError, UnicodeError, CallCancelled) as error:
            return CANCELLED if handle.is_cancelled else _failure(error, self._clock)
        # after a cancel the end of the stream proves nothing; an answer that marks its own end may hold a grant
        if handle.is_cancelled and not (
            is_whole and (response.raw.chunked or response.raw.length_remaining == 0)
        ):
            return CANCELLED
        return WireResponse(
            url=request.url,
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            is_whole=is_whole,
            sent_at=sent_at,
            received_at=self._clock.wall(),
        )


def route_to(url: str, authorities: Authorities, proxy: Proxy | None = None) -> Route:
    """Return the route of a transport's requests, without sending any.

    Args:
        url: of the requests.
        authorities: as for ``HttpTransport``.
        proxy: as for ``HttpTransport``.
    """
    load()
    from device_auth.world.connections import proxy_of_environment

    try:
        return Route(*find_proxy(url, proxy, proxy_of_environment), authorities)
    except ConfigError as error:
        return Route(None, "", authorities, error)


# ---------------------------------------------------------------------------------------------------------
# The result


def _read_body(response: "Response") -> tuple[bytes, bool]:
    """Read a body up to the greatest length, and return whether it is whole."""
    from http.client import HTTPException

    from urllib3.exceptions import HTTPError, ReadTimeoutError

    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", *ENCODINGS}:
        return b"", False
    unpacker = zlib.decompressobj(ANY_ZLIB_HEADER) if encoding in ENCODINGS else None
    body, taken = bytearray(), 0
    try:
        while piece := response.raw.read(PIECE, decode_content=False):
            taken += len(piece)
            body += unpacker.decompress(piece, LONGEST_BODY + 1 - len(body)) if unpacker else piece
            if max(taken, len(body)) > LONGEST_BODY:
                return bytes(body[:LONGEST_BODY]), False
    except ReadTimeoutError:
        raise
    except (OSError, HTTPException, HTTPError, zlib.error):
        return bytes(body), False
    is_unpacked = unpacker is None or (unpacker.eof and not unpacker.unused_data)
    # the only sign of a body that was cut short in older urllib3
    return bytes(body), is_unpacked and response.raw.length_remaining in {None, 0}


def _failure(error: BaseException, clock: DatedClock) -> Unreachable:
    """Return a failed exchange in our words, by the classes of its errors: their texts may hold addresses."""
    import socket
    import ssl
    from http.client import HTTPException

    from requests import exceptions  # noqa: TID251  imported late
    from urllib3.exceptions import LocationValueError
    from urllib3.util.ssl_match_hostname import CertificateError

    causes = list(_causes(error))

    def is_among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrust(cause.verify_code, clock)
        if isinstance(cause, CertificateError):
            return _distrust(WRONG_NAME, clock)
    if is_among(UnicodeError, exceptions.InvalidURL, exceptions.InvalidSchema, LocationValueError):
        hint = "Correct the provider's address: device-auth config show"
        return Unreachable(Trouble.MISCONFIGURED, "the address of the server cannot be one", hint=hint)
    if is_among(socket.gaierror):
        return Unreachable(Trouble.NO_NETWORK, "the name of the server or proxy could not be resolved")
    if numbers & NO_ROUTE:
        return Unreachable(Trouble.NO_NETWORK, "there is no route to the server")
    if errno.ETIMEDOUT in numbers or is_among(exceptions.ConnectTimeout):
        return Unreachable(Trouble.NO_NETWORK, "no connection was made in time", timed_out=True)
    if is_among(TimeoutError, exceptions.Timeout):
        return Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the answer did not come in time", timed_out=True)
    if is_among(exceptions.ProxyError):
        what = "the proxy does not pass the request on"
        if any("failed: 407" in str(cause) for cause in causes):
            hint = "Set them in the setting proxy: http://NAME:PASSWORD@HOST:PORT"
            return Unreachable(Trouble.MISCONFIGURED, "the proxy wants a name and a password", hint=hint)
    elif is_among(ssl.SSLError, exceptions.SSLError):
        what = "no secure connection could be made"
    elif is_among(ConnectionRefusedError):
        what = "the connection was refused"
    elif is_among(ConnectionError):
        what = "the connection broke off"
    elif is_among(HTTPException, exceptions.InvalidHeader):
        what = "the answer is not HTTP"
    else:
        what = "the request could not be sent"
    return Unreachable(Trouble.PROVIDER_UNAVAILABLE, what)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _distrust(found: int, clock: DatedClock) -> Unreachable:
    if found == NOT_YET_VALID:
        return Unreachable(Trouble.CLOCK_NOT_SET, "by this clock the certificate is not valid yet")
    if found == EXPIRED and not clock.looks_set():
        return Unreachable(
            Trouble.CLOCK_NOT_SET, "by this clock, which looks unset, the certificate has expired"
        )
    if found == EXPIRED:
        return Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the certificate has expired")
    return Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, f"the certificate cannot be trusted (OpenSSL's code {found})"
    )
