"""Opens a page in the owner's browser, and receives the one redirect that comes back.

The listener is on loopback and takes exactly one answer to our own request. Other connections (the guess of another
page, a port scanner, a handshake that never ends) get an error or are closed, and the listener waits on.
"""

import socket
import ssl
import subprocess  # noqa: TID251  starts a browser
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from errno import EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT
from hashlib import sha256
from html import escape
from http import HTTPStatus
from pathlib import Path
from threading import Lock, Thread
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Refusal, Seconds
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import HttpConnection, HttpError, HttpReply, HttpRequest, ReadLimits
from device_auth.http.listeners import listen
from device_auth.http.server import HttpServer
from device_auth.wire.authorization_code import Redirect, UnexpectedRedirect, read_redirect
from device_auth.world.clock import BootClock
from device_auth.world.explain import describe_process, explain
from device_auth.world.files import Folder
from device_auth.world.places import REDIRECT_PAGE, make_runtime_dir
from device_auth.world.settings import environment_for_others
from device_auth.world.store import FILE_MODE

LOOPBACK: Final = ("127.0.0.1", "::1")
"""A browser takes localhost for either; another program on the other one would catch the redirect."""

REQUEST_TIMEOUT: Final = Seconds(5)
"""Time for a handshake or a request. A browser sends its request at once."""

ADMISSION: Final = ConnectionLimits(places=16, share=16, waiting=16)
"""A browser opens a few connections, and sends its request on one at once. One more than 16, and the oldest of those
without a request is closed."""


# ---------------------------------------------------------------------------------------------------------
# The browser


def has_display(environ: Mapping[str, str]) -> bool:
    """Return whether a browser could open a window here."""
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


@contextmanager
def redirect_page(folder: Path | None, address: str) -> Iterator[Path | None]:
    """Write a page that leads to the address, for this user's eyes alone; it is removed at the end.

    Every local user can read the argument list of a process (proc(5)). With the address in it, which holds ``state``
    and the PKCE challenge, another user could link the speaker to an account of his own.

    Args:
        folder: the runtime folder; None if there is none.
        address: of the page.

    Yields:
        The file; None if it cannot be written.
    """
    if folder is None:
        yield None
        return
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0;url={escape(address)}"><title>device-auth</title></head>\n'
        f'<body><p><a href="{escape(address)}">On to the page where you approve</a></p></body></html>\n'
    )
    with ExitStack() as opened:
        page = None
        with suppress(OSError, StoreError):
            make_runtime_dir(folder)
            held = opened.enter_context(Folder.open(folder))
            held.replace(REDIRECT_PAGE, text.encode(), FILE_MODE)
            opened.callback(held.remove, REDIRECT_PAGE)
            page = folder.absolute() / REDIRECT_PAGE
        yield page


def open_browser(address: str) -> None:
    """Open an address, without any secret, in a browser, and do not wait for it.

    The browser runs in a process of its own without our output, the keyboard and our secrets: browsers write to the
    terminal, those for terminals read from it, and their environment goes into reports of crashes.
    """

    def start() -> None:
        nothing = subprocess.DEVNULL
        with suppress(OSError):
            subprocess.run(  # noqa: S603  our own interpreter
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
# The redirect


class ListenAddress(NamedTuple):
    """The port and path of a redirect URI on this machine."""

    port: int
    path: str
    is_secure: bool


def read_listen_address(redirect_uri: str) -> ListenAddress | None:
    """Read a redirect URI; None if it leads to no loopback address on which we can listen."""
    parts = urlsplit(redirect_uri)
    if parts.hostname not in {"localhost", *LOOPBACK}:
        return None
    is_secure = parts.scheme == "https"
    return ListenAddress(parts.port or (443 if is_secure else 80), parts.path or "/", is_secure)


class RedirectListener:
    """Waits on loopback for the browser; as a context it listens.

    Args:
        address: where to listen.
        state: ours; see ``read_redirect``.
        context: for TLS; None for plain HTTP.
        deliver: called with the one answer, on another thread, once the browser has its page.
        timeout: time that a handshake or a request may take.
    """

    def __init__(
        self,
        address: ListenAddress,
        state: str,
        context: ssl.SSLContext | None,
        deliver: Callable[[Redirect | Refusal], None],
        *,
        timeout: Seconds = REQUEST_TIMEOUT,
    ) -> None:
        self._address = address
        self._state = state
        self._context = context
        self._deliver = deliver
        self._lock = Lock()
        self._is_answered = False
        self._listening: list[socket.socket] = []
        self._limits = ReadLimits(idle=timeout, request=timeout, send=timeout)
        self._clock = BootClock()
        self._server: HttpServer[None] = HttpServer(
            "redirect",
            self._clock,
            identify=self._identify,
            answer=self._answer,
            refuse=lambda error, _accepted, _request: _refuse(error),
            admission=ADMISSION,
        )

    def __enter__(self) -> Self:
        """Listen on every loopback address there is.

        Raises:
            ConfigError: if the port is in use, or permission for it is denied.
        """
        try:
            for host in LOOPBACK:
                try:
                    self._listening.append(listen(host, self._address.port))
                except OSError as error:
                    if error.errno not in {EADDRNOTAVAIL, EAFNOSUPPORT}:
                        raise
        except OSError as error:
            self.__exit__()
            raise _explain(error, self._address.port) from error
        self._server.start(self._listening)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close(REQUEST_TIMEOUT)
        for listening in self._listening:
            listening.close()

    def _identify(self, connection: socket.socket, _address: object) -> HttpConnection[None]:
        if self._context is not None:
            # the handshake comes with the first read, on the connection's own thread
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return HttpConnection(connection, self._clock, self._limits, None, is_idle=True)

    def _answer(self, _: HttpConnection[None], request: HttpRequest) -> HttpReply:
        if request.path != self._address.path:
            return _page(HTTPStatus.NOT_FOUND, "Nothing is here", "The way back leads elsewhere.")
        if request.method != "GET":
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, "Not understood", "A browser comes back with GET.")
        answer = read_redirect(request.query, self._state)
        if isinstance(answer, UnexpectedRedirect):
            text = f"{answer.why}\nGo back to the page that the command opened; it still waits for its own answer."
            return _page(HTTPStatus.BAD_REQUEST, "This is not the answer that is waited for", text)
        with self._lock:
            is_late, self._is_answered = self._is_answered, True
        if is_late:
            text = "Look at the command to see how it went.\nYou may close this page."
            return _page(HTTPStatus.CONFLICT, "An answer has come already", text)
        title = "Thank you: the answer has arrived"
        text = "The command where you began goes on by itself, and tells how it ends."
        if isinstance(answer, Refusal):
            title = "The account was not linked"
            text = f"{answer.message[0].upper()}{answer.message[1:]}.\n{answer.hint}"
        text += "\nYou may close this page."
        return _page(HTTPStatus.OK, title, text, sent=lambda: self._deliver(answer))


def _refuse(error: HttpError) -> HttpReply | None:
    if error.status is HTTPStatus.REQUEST_TIMEOUT:
        return None
    if error.status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return _page(error.status, "The command made a mistake", "Look at the command to see how it goes on.")
    return _page(HTTPStatus.BAD_REQUEST, "Not understood", "This is no request that can be read.")


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
    """Return the process that listens on a port, if the kernel shows it. Source: proc(5), ``/proc/net/tcp``."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                _, here, _, state, *_, inode = line.split()[:10]
                if state == "0A" and int(here.rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{inode}]")
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if any(_read_link(file) in sockets for file in (process / "fd").iterdir()):
                return describe_process(process)
    return "another process"


def _read_link(file: Path) -> str:
    with suppress(FileNotFoundError):  # closed meanwhile, as the listing of our own is
        return str(file.readlink())
    return ""


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
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _page(status: HTTPStatus, title: str, text: str, *, sent: Callable[[], None] | None = None) -> HttpReply:
    """Write a page that loads nothing, runs nothing and is not cached, with a paragraph for each line of text."""
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
    body = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>device-auth</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{paragraphs}</main></body></html>\n"
    ).encode()
    return HttpReply(status, body, _HEADERS, sent=sent)
