"""Connections that another thread can cut, in the form that requests' own machinery uses them.

A blocked call on a socket ends when the socket is shut down, whoever does it. So every socket is watched from the
moment it begins to connect: through a proxy's CONNECT, the TLS handshake, the headers and the body. This is the layer
of urllib3 (1.26 and 2.x) below requests; importing it takes long, so only transport.py does, and late.
"""

import errno
import http.client
import os
import select
import socket
import threading
from contextlib import suppress
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

NO_WAY: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)
"""What connect(2) says when this machine has no way to an address."""


class CallCancelled(Exception):
    """The line was cut before this socket came into use."""


class CancelHandle:
    """A hold on the sockets of one request."""

    def __init__(self) -> None:
        self.is_cut = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []

    def watch(self, in_use: socket.socket) -> None:
        """Take hold of a socket that has begun to connect.

        The hold is a duplicate: TLS takes the descriptor out of the object given here, and the number of a closed
        descriptor may be another's at once.
        """
        with self._lock:
            if self.is_cut:
                raise CallCancelled
            self._watched.append(socket.socket(fileno=os.dup(in_use.fileno())))

    def cut(self) -> None:
        """Shut the sockets down, for good: what waits on them ends."""
        with self._lock:
            self.is_cut = True
            for watched in self._watched:
                with suppress(OSError):  # it may never have been connected
                    watched.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Let go of the sockets; whether they stay open is for their owner to say."""
        with self._lock:
            for watched in self._watched:
                watched.close()
            self._watched.clear()


def watched_pools(line: CancelHandle) -> dict[str, type[HTTPConnectionPool]]:
    """Make urllib3's pools, by scheme, whose connections are all watched by ``line``."""

    class CancellableConnection(HTTPConnection):
        response_class = _WatchedResponse

        def _new_conn(self) -> socket.socket:
            try:
                return _dial(self.host.strip("[]"), self.port, self.timeout, line)
            except OSError as error:
                raise NewConnectionError(self, "no connection") from error

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is not None:  # kept open since the request before
                line.watch(self.sock)
            super().request(*args, **kwargs)

    class CancellableSecureConnection(CancellableConnection, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = CancellableConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = CancellableSecureConnection

    return {"http": Pool, "https": SecurePool}


def _dial(host: str, port: int, timeout: float | None, line: CancelHandle) -> socket.socket:
    """Connect to the first address that answers."""
    failure: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            _connect(sock, address, timeout, line)
        except OSError as error:
            sock.close()
            # A family that this machine does not speak tells nothing beside an address that was really tried.
            if failure is None or failure.errno in NO_WAY:
                failure = error
        except CallCancelled:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("the name has no address")


def _connect(sock: socket.socket, address: Any, timeout: float | None, line: CancelHandle) -> None:
    sock.setblocking(False)
    outcome = sock.connect_ex(address)
    # Watched only now: a shutdown before connect(2) would be forgotten by it.
    line.watch(sock)
    if outcome == errno.EINPROGRESS:
        connecting = select.poll()
        connecting.register(sock, select.POLLOUT)
        if not connecting.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        outcome = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if outcome:
        raise OSError(outcome, os.strerror(outcome))
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _WatchedResponse(http.client.HTTPResponse):
    def _read_next_chunk_size(self) -> int:
        # The library reads the size with int(), which takes a minus sign; a chunk of -1 would be read without end.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # not in the published types
        if size < 0:
            raise ValueError("a chunk of negative size")
        return size
