"""Where the owner's browser goes, and where it comes back to: a page opened, one redirect caught.

The listener sits on loopback and takes exactly one answer to our own question. Whatever else comes (another page's
guess, a port scanner, a handshake that never ends) is answered or dropped, and waited past.
"""

import os
import re
import socket
import ssl
import subprocess  # noqa: TID251  starts a browser, with nothing of this terminal in its hands
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from threading import Lock, Thread
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from device_auth.core.errors import ConfigError
from device_auth.core.models import Refusal
from device_auth.wire.authorization_code import Redirect, UnexpectedRedirect, read_redirect
from device_auth.world.explain import explain
from device_auth.world.settings import environment_for_others

LOOPBACK: Final = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
"""A browser takes localhost for either; whoever sat on the other one would catch what is ours."""

PATIENCE: Final = 5.0
"""Seconds. A browser that has something to say says it at once."""

MOST_CONNECTIONS: Final = 16
"""At once; one more, and the oldest is dropped. A browser opens a few, and sends its request on one at once."""

LONGEST_HEAD: Final = 8192
"""Bytes of a request's line and header fields."""

_REQUEST_LINE: Final = re.compile(r"(\S+) (/\S*) HTTP/1\.[01]")


# ---------------------------------------------------------------------------------------------------------
# The way there


def has_display(environ: Mapping[str, str]) -> bool:
    """Return whether a browser could open a window here."""
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_browser(address: str) -> None:
    """Open a page in whatever browser there is, and do not wait for it.

    In a process of its own that has neither our output nor the keyboard: browsers write on the one, and those for
    terminals would take the other. Nor has it a secret of our environment: what a browser is started with goes into
    each page's process, and into the reports of its crashes.
    """

    def start() -> None:
        nothing = subprocess.DEVNULL
        with suppress(OSError):
            subprocess.run(  # noqa: S603  our own interpreter and an address that we wrote
                [sys.executable, "-m", "webbrowser", address],
                stdin=nothing,
                stdout=nothing,
                stderr=nothing,
                env=environment_for_others(),
                start_new_session=True,
                check=False,
            )

    Thread(target=start, name="browser", daemon=True).start()


# ---------------------------------------------------------------------------------------------------------
# The way back


class ListenAddress(NamedTuple):
    """Where a redirect is caught."""

    port: int
    path: str
    is_secure: bool


def place_of(redirect_uri: str) -> ListenAddress | None:
    """Return the place that a redirect URI leads to; None if it is on no loopback address that can be listened on."""
    parts = urlsplit(redirect_uri)
    if parts.hostname not in {"localhost", *LOOPBACK}:
        return None
    is_secure = parts.scheme == "https"
    return ListenAddress(parts.port or (443 if is_secure else 80), parts.path or "/", is_secure)


class RedirectListener:
    """Waits on loopback for the browser; as a context it listens.

    Args:
        place: where.
        state: ours; see ``read_redirect``.
        context: for TLS; None for plain HTTP.
        deliver: told the one answer, on a thread of the listener's, once the browser has its page.
        patience: seconds of silence in a handshake or a request before a connection is dropped.
    """

    def __init__(
        self,
        place: ListenAddress,
        state: str,
        context: ssl.SSLContext | None,
        deliver: Callable[[Redirect | Refusal], None],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._place = place
        self._state = state
        self._context = context
        self._deliver = deliver
        self._patience = patience
        self._lock = Lock()
        self._is_answered = False
        self._listening: list[socket.socket] = []
        self._acceptors: list[Thread] = []
        self._connections: dict[socket.socket, Thread] = {}
        self._is_stopped = False

    def __enter__(self) -> Self:
        """Listen on every loopback address there is.

        Raises:
            ConfigError: the port is in use, or not for us.
        """
        try:
            for address, family in LOOPBACK.items():
                try:
                    self._listening.append(_listen(address, family, self._place.port))
                except OSError as error:
                    if error.errno not in {EADDRNOTAVAIL, EAFNOSUPPORT}:
                        raise
        except OSError as error:
            self._stop()
            raise _explain(error, self._place.port) from error
        for listening in self._listening:
            self._acceptors.append(
                Thread(target=self._accept, args=(listening,), name="redirects", daemon=True)
            )
            self._acceptors[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        self._is_stopped = True
        for listening in self._listening:
            _break_off(listening)
            listening.close()
        for thread in self._acceptors:
            thread.join()
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            _break_off(connection)
            thread.join(PATIENCE)

    def _accept(self, listening: socket.socket) -> None:
        while not self._is_stopped:
            with suppress(OSError, ValueError):
                self._admit(listening.accept()[0])

    def _admit(self, connection: socket.socket) -> None:
        connection.settimeout(self._patience)
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        thread = Thread(target=self._meet, args=(connection,), name="redirect", daemon=True)
        with self._lock:
            if len(self._connections) == MOST_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                _break_off(oldest)
            self._connections[connection] = thread
            thread.start()

    def _meet(self, connection: socket.socket) -> None:
        # a socket that is broken off in the middle of TLS says so by ValueError
        with suppress(OSError, ValueError), connection:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            status, title, text, answer = self._judge(_read_head(connection))
            try:
                connection.sendall(_page(status, title, text))
            finally:
                if answer is not None:
                    self._deliver(answer)
        with self._lock:
            self._connections.pop(connection, None)

    def _judge(self, head: str | None) -> tuple[HTTPStatus, str, str, Redirect | Refusal | None]:
        """Return what the browser is shown, and what the answer is if this is it."""
        asked = None if head is None else _REQUEST_LINE.fullmatch(head.partition("\r\n")[0])
        if asked is None:
            return HTTPStatus.BAD_REQUEST, "Not understood", "This is no request that can be read.", None
        method, target = asked.groups()
        path, _, query = target.partition("?")
        if path != self._place.path:
            return HTTPStatus.NOT_FOUND, "Nothing is here", "The way back leads elsewhere.", None
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, "Not understood", "A browser comes back with GET.", None
        answer = read_redirect(query, self._state)
        if isinstance(answer, UnexpectedRedirect):
            text = f"{answer.why}\nGo back to the page that the command opened; it still waits for its own answer."
            return HTTPStatus.BAD_REQUEST, "This is not the answer that is waited for", text, None
        with self._lock:
            is_late, self._is_answered = self._is_answered, True
        if is_late:
            text = "Look at the command to see how it went.\nYou may close this page."
            return HTTPStatus.CONFLICT, "An answer has come already", text, None
        if isinstance(answer, Refusal):
            message = answer.message[0].upper() + answer.message[1:]
            text = f"{message}.\n{answer.hint}\nYou may close this page."
            return HTTPStatus.OK, "The account was not linked", text, answer
        text = (
            "The command where you began goes on by itself, and tells how it ends.\nYou may close this page."
        )
        return HTTPStatus.OK, "Thank you: the answer has arrived", text, answer


def _listen(address: str, family: socket.AddressFamily, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _break_off(end: socket.socket) -> None:
    """End whatever waits on a socket. Past TLS, which would not have it while another thread reads."""
    with suppress(OSError):
        socket.socket.shutdown(end, socket.SHUT_RDWR)


def _read_head(connection: socket.socket) -> str | None:
    """Read a request's line and header fields; None if they do not end in time and room."""
    came = b""
    while b"\r\n\r\n" not in came:
        piece = connection.recv(LONGEST_HEAD)
        came += piece
        if not piece or len(came) > LONGEST_HEAD:
            return None
    return came.decode("latin-1")


def _explain(error: OSError, port: int) -> ConfigError:
    if error.errno == EADDRINUSE:
        why = f"port {port}, where the browser comes back to, is in use by {holder_of(port)}"
    else:
        why = explain(f"cannot listen on port {port}, where the browser comes back to", error)
    return ConfigError(
        why,
        hint="Stop what is there, use --paste, or choose another port with --redirect-uri: that address must then stand"
        " among the Allowed Return URLs of the security profile.",
    )


def holder_of(port: int, proc: Path = Path("/proc")) -> str:
    """Return which process listens on a port, as far as the kernel tells us. Source: proc(5), ``/proc/net/tcp``."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                _, here, _, state, *_, inode = line.split()[:10]
                if state == "0A" and int(here.rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{inode}]")
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if any(os.readlink(file) in sockets for file in (process / "fd").iterdir()):  # noqa: PTH115  a text, no path
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "another process"


# ---------------------------------------------------------------------------------------------------------
# The page

_STYLE: Final = (
    "body{font:1.1rem/1.5 sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem;color:#222;background:#fff}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#222}}"
)
_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    f" style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


def _page(status: HTTPStatus, title: str, text: str) -> bytes:
    """Write a whole answer: a page that loads nothing, runs nothing and is kept nowhere; a paragraph a line."""
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
    body = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>device-auth</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>{paragraphs}</body></html>\n"
    ).encode()
    fields = {**_HEADERS, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
