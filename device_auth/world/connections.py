"""Connections that another thread can cancel, in the form that requests' own machinery uses them.

A blocked call on a socket ends when the socket is shut down by whichever thread. So every socket is watched from the
moment it begins to connect: through a proxy's CONNECT, the TLS handshake, the headers and the body. This is the layer
of urllib3 (1.26 and 2.x) below requests; importing it takes long, so only transport.py does, and late.
"""

import http.client
import socket
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from device_auth.core.models import Seconds
from device_auth.world.dialing import CancelHandle, Dialer


def watched_pools(dialer: Dialer, handle: CancelHandle) -> dict[str, type[HTTPConnectionPool]]:
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

    class Pool(HTTPConnectionPool):
        ConnectionCls = CancellableConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = CancellableSecureConnection

    return {"http": Pool, "https": SecurePool}


class _WatchedResponse(http.client.HTTPResponse):
    def _read_next_chunk_size(self) -> int:
        # The library reads the size with int(), which takes a minus sign; a chunk of -1 would be read without end.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # not in the published types
        if size < 0:
            raise ValueError("a chunk of negative size")
        return size
