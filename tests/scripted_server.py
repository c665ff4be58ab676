"""A server on loopback that does to each connection what the test says, byte by byte, and shows what only sockets show."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.waiting import LONG


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: "ScriptedServer", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.closed = threading.Event()
        self._hold = sock.dup()  # TLS takes the descriptor out of the first

    def read_request(self) -> bytes:
        """Read one request with its body; empty if the client went away instead."""
        request = b""
        while b"\r\n\r\n" not in request:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            request += piece
        head, body = request.split(b"\r\n\r\n", 1)
        length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        while len(body) < length:
            body += self.sock.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return self.server.requests[-1]

    def write(self, octets: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(octets)

    def answer(self, body: bytes = b"{}", *headers: str, status: str = "200 OK") -> None:
        """Read a request and give a well-formed answer."""
        if self.read_request():
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            self.write("\r\n".join(lines).encode("latin-1") + body)

    def reset(self) -> None:
        """Break off with a TCP reset."""
        self._hold.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def hang(self) -> None:
        """Report that the place is reached, and send nothing until the client goes away."""
        self.server.reached.set()
        while self.sock.recv(65536):
            pass
        self.server.left.set()

    def drip(self, octet: bytes = b"x") -> None:
        """Report that the place is reached, and send an octet now and then until the client goes away."""
        self.server.reached.set()
        with suppress(OSError):
            while not self.server.stopped.wait(0.02):
                self.write(octet)
        self.server.left.set()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands."""
        self.sock = context.wrap_socket(self.sock, server_side=True)

    def stop(self) -> None:
        """End whatever waits on this connection."""
        with suppress(OSError):
            self._hold.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self.sock.close()
        self._hold.close()
        self.closed.set()


Act = Callable[[Peer], object]
"""What to do with a connection; it is closed afterwards."""


class ScriptedServer:
    """Meets the first connection with the first act, and so on; the last act goes on for all the rest.

    Attributes:
        connections: how many there were.
        requests: each request as it came, head and body.
        reached: an act has come to the place where it hangs.
        left: the client has gone away from there.
        stopped: the test is over.
    """

    def __init__(self, *acts: Act, backlog: int = 16) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.reached = threading.Event()
        self.left = threading.Event()
        self.stopped = threading.Event()
        self._acts = list(acts)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/token"
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        if acts:
            self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for peer in self._peers:
            peer.stop()
        for thread in self._threads:
            thread.join(LONG)
        self._listening.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_until_closed(self, number: int) -> None:
        """Wait until the server has closed one of its connections."""
        assert self._peers[number].closed.wait(LONG)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer = Peer(self, self._listening.accept()[0])
                self._peers.append(peer)
                act = self._acts[min(self.connections, len(self._acts) - 1)]
                self.connections += 1
                self._start(self._meet, act, peer)

    def _meet(self, act: Act, peer: Peer) -> None:
        with suppress(OSError):
            act(peer)
        peer.close()


def in_turn(*acts: Act) -> Act:
    """Do one after the other on the same connection."""

    def all_of_them(peer: Peer) -> None:
        for act in acts:
            act(peer)

    return all_of_them


def answers(bodies: Iterable[bytes] = (b"{}",), *headers: str, status: str = "200 OK") -> Act:
    """Answer requests on one connection, kept open in between."""
    return in_turn(*(lambda peer, body=body: peer.answer(body, *headers, status=status) for body in bodies))


def raw(octets: bytes) -> Act:
    """Read a request and answer with these octets, whatever they are."""

    def act(peer: Peer) -> None:
        peer.read_request()
        peer.write(octets)

    return act
