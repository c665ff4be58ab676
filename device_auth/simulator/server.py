"""The simulated Amazon on a loopback socket: it answers requests, and breaks responses as scripted.

HTTP/1.1 with connections kept open, a thread for each, nothing logged. A request is read whole before the application
sees it, and a response is made whole before its first byte is sent: so a connection can stay open, and a fault can
truncate, drip or lose a response at any byte.
"""

import io
import os
import resource
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import unquote_to_bytes

from werkzeug.wrappers import Response

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Seconds
from device_auth.simulator.amazon import AUTHORIZATION_PAGES, Amazon
from device_auth.simulator.app import DELIVERY, LARGEST_REQUEST, Delivery, create_app
from device_auth.wire.addresses import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from device_auth.simulator.authority import Validity

_BACKLOG: Final = 2_048
_MANY_FILES: Final = 16_384
_HANDSHAKE_TIMEOUT: Final = Seconds(10)
_IDLE_TIMEOUT: Final = Seconds(125)
"""Seconds that a silent connection is kept: longer than two of the longest intervals."""


class Running:
    """A simulated Amazon that answers until it is stopped; a context manager.

    Args:
        amazon: its state and decisions; tests script it directly.
        server: the open socket and its threads.
        verification_base: another origin for verification URIs.
        ca_file: the authority that clients must trust; None for plain http.
    """

    def __init__(
        self, amazon: Amazon, server: "SimulatorServer", verification_base: str | None, ca_file: Path | None
    ) -> None:
        self.amazon = amazon
        self.origin = server.origin
        self.issuer = server.origin
        self.base_url = f"{server.origin}/auth/O2/"
        self.verification_uri = f"{verification_base or server.origin}/us/code"
        self.authorization_url = f"{server.origin}/{AUTHORIZATION_PAGES[DialectName.LWA]}"
        self.control = f"{server.origin}/control/"
        self.ca_file = ca_file
        self._server = server

    def announcement(self) -> dict[str, str | None]:
        """Return the addresses as members of a JSON object."""
        return {
            "origin": self.origin,
            "base_url": self.base_url,
            "issuer": self.issuer,
            "verification_uri": self.verification_uri,
            "authorization_url": self.authorization_url,
            "control": self.control,
            "ca_file": None if self.ca_file is None else str(self.ca_file),
        }

    def connections(self) -> int:
        """Return the number of open connections."""
        return self._server.connections()

    def stop(self) -> None:
        """Stop listening, close all connections, and wait for the threads; a second call does nothing."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    amazon: Amazon,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Path | None = None,
    validity: "Validity | None" = None,
    verification_base: str | None = None,
    wait: Callable[[float], object] | None = None,
) -> Running:
    """Start a simulated Amazon on this machine.

    Args:
        amazon: its state and decisions.
        host: a loopback address, or ``localhost``.
        port: 0 for a free one.
        tls: the folder of its certificate authority; None for plain http.
        validity: of the server's certificate, for tests of bad ones.
        verification_base: another origin for verification URIs.
        wait: waits the seconds of a delay or a drip; the default ends early when the server stops.

    Raises:
        ConfigError: if the address is not loopback or is in use, or no certificate can be made.
    """
    if not is_loopback(host):
        raise ConfigError(f"{host} is not a loopback address", hint="Use 127.0.0.1, ::1 or localhost.")
    context, ca_file = None, None
    if tls is not None:
        from device_auth.simulator import authority

        context, ca_file = authority.server_context(tls, validity or authority.FOR_YEARS)
    try:
        server = SimulatorServer(host, port, context, amazon.clock)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host} port {port}", hint="Choose another port.") from error
    server.wait = wait or server.stopping.wait
    server.start(create_app(amazon, origin=server.origin, verification_base=verification_base))
    return Running(amazon, server, verification_base, ca_file)


def run_simulator(
    amazon: Amazon,
    *,
    announce: Callable[[dict[str, str | None]], object],
    wait: Callable[[], object],
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Path | None = None,
) -> None:
    """Run a simulated Amazon until a wait is over.

    Args:
        amazon: its state and decisions.
        announce: called with the addresses once clients can connect.
        wait: returns when it shall stop, for instance on a signal.
        host: a loopback address.
        port: 0 for a free one.
        tls: the folder of its certificate authority; None for plain http.

    Raises:
        ConfigError: if it cannot start.
    """
    _allow_many_connections()
    with serve(amazon, host=host, port=port, tls=tls) as running:
        announce(running.announcement())
        wait()


def _allow_many_connections() -> None:
    """Raise the limit of open files: the usual 1,024 is not enough for 1,000 speakers."""
    present, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(present, min(_MANY_FILES, most)), most))


class SimulatorServer(socketserver.ThreadingTCPServer):
    """The listening socket, with a thread and a socket for each client."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, now: Callable[[], float]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.now = now
        self.stopping = threading.Event()
        self.wait: Callable[[float], object] = self.stopping.wait
        self.app: WSGIApplication | None = None
        self._tls = tls
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._accepting = threading.Thread(target=self._accept, name="simulated Amazon", daemon=True)
        super().__init__((host, port), _ClientConnection)
        shown = f"[{host}]" if ":" in host else host
        self.scheme = "http" if tls is None else "https"
        self.origin = f"{self.scheme}://{shown}:{self.server_address[1]}"

    def start(self, app: "WSGIApplication") -> None:
        """Start to answer clients by an application."""
        self.app = app
        self._accepting.start()

    def _accept(self) -> None:
        """Start a thread for each client, until the listening socket is shut down."""
        while not self.stopping.is_set():
            self.handle_request()

    def process_request_thread(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        """Serve one client until either side closes; errors of the network are ignored."""
        connection = cast("socket.socket", request)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        thread = threading.current_thread()
        with self._lock:
            self._open[thread] = connection
        try:
            if self.stopping.is_set():
                return
            if isinstance(connection, ssl.SSLSocket):
                connection.settimeout(_HANDSHAKE_TIMEOUT)
                connection.do_handshake()
            self.finish_request(connection, cast("Any", client_address))
        except OSError:
            pass
        finally:
            with self._lock:
                del self._open[thread]
            connection.close()

    def connections(self) -> int:
        """Return the number of open connections."""
        with self._lock:
            return len(self._open)

    def stop(self) -> None:
        """Stop listening, close all connections, and wait for the threads; a second call does nothing."""
        if not self.stopping.is_set():
            self.stopping.set()
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
            self._accepting.join()
            self.server_close()
            self._hang_up()

    def _hang_up(self) -> None:
        """Close every connection and wait for its thread."""
        with self._lock:
            connections = dict(self._open)
        for connection in connections.values():
            with suppress(OSError):
                # Not SSLSocket.shutdown: that takes the TLS state away under the thread that is reading.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in connections:
            thread.join(1.0)


class _ClientConnection(BaseHTTPRequestHandler):
    """One client's connection: one request after another."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT
    disable_nagle_algorithm = True
    server: SimulatorServer

    def _exchange(self) -> None:
        body = self._read_body()
        if body is None:
            return
        delivery = Delivery()
        app = cast("WSGIApplication", self.server.app)
        try:
            response = Response.from_app(app, self._environ(body, delivery), buffered=True)
        except Exception:
            self.send_error(500)
            raise  # the thread ends with the error, which is shown on standard error or fails a test
        self._send(response, delivery)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _exchange  # noqa: N815  # http.server's names

    def _read_body(self) -> bytes | None:
        """Read the whole body; None if the client was refused or has closed."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            self.send_error(411)
            return None
        if int(length) > LARGEST_REQUEST:
            self.send_error(413)
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _environ(self, body: bytes, delivery: Delivery) -> dict[str, Any]:
        """Return the WSGI environment of a request. Source: PEP 3333."""
        path, _, query = self.path.partition("?")
        if "://" in path:  # the absolute form, as sent to proxies
            path = "/" + path.partition("://")[2].partition("/")[2]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": str(self.server.server_address[0]),
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": self.server.scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            DELIVERY: delivery,
        }
        for name, value in self.headers.items():
            key = name.upper().replace("-", "_")
            if key == "CONTENT_TYPE":
                environ[key] = value
            elif key != "CONTENT_LENGTH" and "_" not in name:
                key = f"HTTP_{key}"
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ

    def _send(self, response: Response, delivery: Delivery) -> None:
        """Send a response as its fault says."""
        fault = delivery.fault
        if fault.delay:
            self.server.wait(fault.delay)
        if fault.hang:
            self._hang()
        elif fault.reset or fault.lost:
            self._reset()
        elif fault.delay and (self.server.stopping.is_set() or self._has_closed()):
            self.close_connection = True
        else:
            self.close_connection = self.close_connection or fault.truncate
            whole = self._whole(response)
            if fault.truncate:
                whole = whole[: len(whole) - len(response.get_data()) // 2 - 1]
            self._write(whole, 1 / fault.drip if fault.drip else 0.0, delivery)

    def _whole(self, response: Response) -> bytes:
        body = response.get_data()
        if self.command != "HEAD":
            response.headers["Content-Length"] = str(len(body))
        response.headers["Date"] = formatdate(usegmt=True)
        response.headers["Connection"] = "close" if self.close_connection else "keep-alive"
        lines = [f"HTTP/1.1 {response.status}", *(f"{name}: {value}" for name, value in response.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body

    def _write(self, whole: bytes, pause: float, delivery: Delivery) -> None:
        """Write all bytes, slowly with a pause; call ``on_end`` before the last byte, so that no client is faster."""
        if pause:
            for byte in whole[:-1]:
                self.server.wait(pause)
                if self.server.stopping.is_set():
                    self.close_connection = True
                    return
                self.connection.sendall(bytes([byte]))
            self.server.wait(pause)
            whole = whole[-1:]
        for call in delivery.on_end:
            call(self.server.now())
        self.connection.sendall(whole)

    def _hang(self) -> None:
        """Send nothing until the client closes or the server stops."""
        self.close_connection = True
        while not self.server.stopping.wait(0.1) and not self._has_closed():
            pass

    def _reset(self) -> None:
        """Answer with a TCP reset. Source: socket(7), SO_LINGER."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def _has_closed(self) -> bool:
        """Return whether the client has closed, below TLS too. Source: poll(2), POLLRDHUP."""
        watch = select.poll()
        watch.register(self.connection, select.POLLRDHUP)
        return bool(watch.poll(0))

    def version_string(self) -> str:
        """Return the server's name without versions."""
        return "simulated-amazon"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """Log nothing: addresses hold codes."""
