"""Sessions of requests whose connections another thread can cancel.

A blocked call on a socket ends when the socket is shut down by whichever thread. So every socket is watched from the
moment it begins to connect: through a proxy's CONNECT, the TLS handshake, the headers and the body. The
connections are those of urllib3 (1.26 and 2.x) below requests. Importing both takes long, so only transport.py does, and
late.
"""

import http.client
import logging
import socket
import weakref
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

import requests  # noqa: TID251  the transport's library

# by name: where it is loaded again after a failure, the package has not got them as members
from requests import adapters, cookies, utils  # noqa: TID251  the transport's library
from urllib3 import disable_warnings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError, SystemTimeWarning

from device_auth import __version__
from device_auth.core.models import Seconds, WireRequest
from device_auth.wire.addresses import Proxy
from device_auth.world.dialing import CancelHandle, Dialer

if TYPE_CHECKING:
    import ssl


def proxy_of_environment(url: str) -> str:
    """Return the proxy that the environment names for an address, by requests' own rules; empty if none."""
    return utils.select_proxy(url, utils.get_environ_proxies(url)) or ""


class CancellableSession(requests.Session):
    """A session that sends without cookies, ``.netrc`` or redirects, and whose sockets ``handle`` can shut down.

    Args:
        dialer: makes its connections.
        context: of TLS; None where all requests stay on this machine and use plain http.
    """

    def __init__(self, dialer: Dialer, context: "ssl.SSLContext | None") -> None:
        super().__init__()
        self.handle = CancelHandle()
        self.context = context
        adapter = _CancellableAdapter(_cancellable_pools(dialer, self.handle), context)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.cookies = _CookiesNotKept()
        # our own results report urllib3's warnings; and it would log parts of an answer that it cannot parse
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        disable_warnings(SystemTimeWarning)

    def carry(
        self, request: WireRequest, timeouts: tuple[Seconds, Seconds], proxy: Proxy | None
    ) -> requests.Response:
        """Send a request and return the head of its response; the body is not read yet.

        Args:
            request: leaves as it is.
            timeouts: for a connection, and for silence after that.
            proxy: passes it on; None: it goes to the server itself.
        """
        headers = {
            "User-Agent": f"device-auth/{__version__}",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        # prepared without the session, which would add cookies and the credentials of .netrc
        prepared = requests.Request(request.method, request.url, headers=headers, data=request.body).prepare()
        proxies = {} if proxy is None else {"all": proxy.address.reveal()}
        return self.send(
            prepared,
            stream=True,
            timeout=timeouts,
            allow_redirects=False,
            proxies=proxies,
            verify=True,
        )

    def get_redirect_target(self, _response: requests.Response) -> None:
        """Return no target: requests would read a redirect's whole body, however long, to learn it."""


class _CookiesNotKept(cookies.RequestsCookieJar):
    def extract_cookies(self, *_: object) -> None:
        """Keep none."""


class _CancellableAdapter(adapters.HTTPAdapter):
    def __init__(self, pools: dict[str, type[HTTPConnectionPool]], context: "ssl.SSLContext | None") -> None:
        self._pools = {"http": pools["http"], "https": _with_context(pools["https"], context)}
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        if proxy.lower().startswith("socks"):
            # PySocks makes SOCKS connections, which cannot be cancelled: they end by their time-outs
            proxied = super().proxy_manager_for(proxy, **kwargs)
            pools = proxied.pool_classes_by_scheme
            if is_new:
                secure = _with_context(pools["https"], self._context)
                proxied.pool_classes_by_scheme = {**pools, "https": secure}
            return proxied
        proxied = super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)
        proxied.pool_classes_by_scheme = self._pools
        return proxied

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002  requests' signature
        """Demand a trusted certificate; the authorities are in the context, and would be read again for each pool."""
        if url.lower().startswith("https"):
            conn.cert_reqs = "CERT_REQUIRED"


def _with_context(pools: Any, context: "ssl.SSLContext | None") -> Any:
    """Make a class of pools whose connections all have one TLS context, whatever the library would make for them."""

    class PoolWithContext(pools):  # type: ignore[misc]  # urllib3's, or that for SOCKS
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.conn_kw["ssl_context"] = context
            self.ca_certs = self.ca_cert_dir = None

    return PoolWithContext


def _cancellable_pools(dialer: Dialer, handle: CancelHandle) -> dict[str, type[HTTPConnectionPool]]:
    """Make urllib3's pools, by scheme, whose connections are made by ``dialer`` and watched by ``handle``."""

    class CancellableConnection(HTTPConnection):
        response_class = _WatchedResponse

        def _new_conn(self) -> socket.socket:
            try:
                timeout = None if self.timeout is None else Seconds(self.timeout)
                return dialer.dial(self.host.strip("[]"), self.port, timeout, handle)
            except OSError as error:
                raise NewConnectionError(self, "no connection") from error

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is not None:  # kept open since the request before
                handle.watch(self.sock)
            super().request(*args, **kwargs)

    class CancellableSecureConnection(CancellableConnection, HTTPSConnection):
        pass

    class Pool(_ClosedWhenDropped, HTTPConnectionPool):
        ConnectionCls = CancellableConnection

    class SecurePool(_ClosedWhenDropped, HTTPSConnectionPool):
        ConnectionCls = CancellableSecureConnection

    return {"http": Pool, "https": SecurePool}


class _ClosedWhenDropped(HTTPConnectionPool):
    """Closes its connections when nothing holds it any more, as urllib3 does by itself from 1.26.16 on.

    Debian bookworm has 1.26.12: after new settings the former connections stayed open until the collector came.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # the kernel closes them at the end of the process
        weakref.finalize(self, _close_all, self.pool).atexit = False


def _close_all(connections: Any) -> None:
    with suppress(Empty):
        while True:
            connection = connections.get(block=False)
            if connection is not None:
                connection.close()


class _WatchedResponse(http.client.HTTPResponse):
    def _read_next_chunk_size(self) -> int:
        # The library reads the size with int(), which takes a minus sign; a chunk of -1 would be read without end.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # not in the published types
        if size < 0:
            raise ValueError("a chunk of negative size")
        return size
