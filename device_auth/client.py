"""For other programs: the access token of this speaker and the state of its link, from the device-auth service.

    from device_auth.client import Client

    token = Client().token()
    headers = {"Authorization": f"Bearer {token.access_token}"}

Imports the standard library only, and nothing else of device-auth.
"""

import json
import os
import socket
import stat
import threading
import time  # noqa: TID251 - runs in other programs, and waits between its own attempts to connect
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self, TypeVar

SYSTEM_SOCKET: Final = "/run/device-auth/api.sock"

TIMEOUT: Final = 60.0
"""Seconds to wait for a response; the service takes up to 25 s when a token must be refreshed first."""

SILENCE: Final = 180.0
"""Seconds of silence after which an event stream is closed: three heartbeats."""

LONGEST_PAUSE: Final = 30.0
"""Most seconds between two attempts to connect."""

RETRY_AFTER: Final = 10.0
"""Seconds until the next request where the service names none."""

LONGEST_RETRY_AFTER: Final = 3600.0
"""Most seconds until the next request that a service may name."""

QUEUE_PAUSE: Final = 0.05
"""Seconds between two attempts to connect while the backlog of the socket is full."""

LONGEST_LINE: Final = 65536
"""Bytes of a line of a response, or of all its header fields."""

OK: Final = 200
ACCEPTED: Final = 202
BAD_REQUEST: Final = 400
INTERNAL_SERVER_ERROR: Final = 500
SERVICE_UNAVAILABLE: Final = 503

T = TypeVar("T")


class ClientError(Exception):
    """The service did not grant a request.

    Args:
        message: what happened, and what a person should do.
        problem: the last part of the problem's ``type``, such as ``not-linked``; empty without a response.
    """

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


class SpeakerUnlinked(ClientError):
    """The speaker is not linked to an account: its owner must link it."""


class Revoked(ClientError):
    """The account no longer allows this speaker: its owner must link it again."""


class Refused(ClientError):
    """This process has no permission, or the service does not understand the request."""


class TryLater(ClientError):
    """The service cannot grant the request now.

    Args:
        retry_after: seconds until the next attempt.
    """

    def __init__(self, message: str, problem: str = "", retry_after: float = RETRY_AFTER) -> None:
        super().__init__(message, problem)
        self.retry_after = retry_after


class Unavailable(ClientError):
    """The service does not run, or does not respond."""


class Token(NamedTuple):
    """An access token.

    Attributes:
        access_token: for the header ``Authorization: Bearer``; not shown by ``repr``.
        expires_at: in UTC.
        expires_in: seconds that were left when the service sent it.
    """

    access_token: str
    expires_at: datetime
    expires_in: int

    def __repr__(self) -> str:
        """Leave out the token."""
        return f"Token(expires_at={self.expires_at!r}, expires_in={self.expires_in!r})"


class Code(NamedTuple):
    """The code that the owner must enter.

    Attributes:
        verification_uri_complete: the page with the code filled in, if there is one.
        expires_in: seconds that were left when the service sent it.
        interval: seconds between two polls, as the provider demands; 0 if the service does not report it.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    interval: int = 0

    def __repr__(self) -> str:
        """Leave out the code."""
        return f"Code(verification_uri={self.verification_uri!r}, expires_in={self.expires_in!r}, interval={self.interval!r})"


class HandedOver(NamedTuple):
    """The client that the link was moved to, and when."""

    to: str | None
    at: datetime | None


class Status(NamedTuple):
    """The state of the speaker.

    Attributes:
        state: ``starting``, ``unlinked``, ``requesting``, ``waiting``, ``saving``, ``proving`` or ``linked``.
        trouble: ``none``, or the trouble in one word.
        since: when state or trouble last changed.
        hint: what a person should do next; may be empty.
        expires_at: of the code, or else of the access token.
        account: the name of the account, else its user ID; None if unknown.
        dialect: ``lwa`` or ``rfc8628``; None if there is no link.
        version: of the service.
        code: while waiting, for administrators only.
        handed_over: if another client has the link now.
        account_id: the user ID of the account; None if unknown.
        linked_at: when the link was made, so that another link has another moment; None if there is none.
        lasts: whether what is stored outlasts a power cut; if not, the hint of a linked speaker has the reason.
        is_checking: the provider has refused the link once, and is being asked again.
        name: what people call the speaker; empty if the service is older.
    """

    state: str
    trouble: str
    since: datetime
    hint: str
    expires_at: datetime | None
    account: str | None
    dialect: str | None
    version: str
    code: Code | None = None
    handed_over: HandedOver | None = None
    account_id: str | None = None
    linked_at: datetime | None = None
    lasts: bool = True
    is_checking: bool = False
    name: str = ""


class Health(NamedTuple):
    """Whether the speaker is linked and a fresh access token is there.

    Attributes:
        reason: why not, in one word; None if so.
        updated_at: when what this rests on last changed.
    """

    reason: str | None
    updated_at: datetime


class Client:
    """Sends requests to the service over one connection that stays open.

    Threads may share a client, and then wait for one another.

    Args:
        path: the socket; without one, the system's service is tried first, then the user's own.
        timeout: seconds to wait for a response.
        pause: waits for a number of seconds.
    """

    def __init__(
        self,
        path: str | None = None,
        timeout: float = TIMEOUT,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path = path
        self._timeout = timeout
        self._pause = pause
        self._lock = threading.Lock()
        self._connection: _UnixConnection | None = None
        self._event_socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the stream of events; the next request, or event, opens another."""
        with self._lock:
            self._drop()
            if self._event_socket is not None:
                with suppress(OSError):  # the stream has ended by itself
                    self._event_socket.shutdown(socket.SHUT_RDWR)

    def token(self, min_lifetime: int = 60) -> Token:
        """Return an access token.

        Args:
            min_lifetime: seconds that must be left; with less it is refreshed first.

        Raises:
            ClientError: if there is none; its class names the reason.
        """
        return _read(_as_token, self._ask("GET", f"/v1/token?min_lifetime={min_lifetime:d}"))

    def rejected(self, token: Token) -> Token:
        """Report that a token was rejected before its time, and return another.

        Raises:
            ClientError: if there is none; its class names the reason.
        """
        return _read(_as_token, self._ask("POST", "/v1/token/rejected", {"access_token": token.access_token}))

    def status(self) -> Status:
        """Return the state of the speaker.

        Raises:
            ClientError: if the service does not report it; its class names the reason.
        """
        return _read(_as_status, self._ask("GET", "/v1/status"))

    def health(self) -> Health:
        """Return whether the speaker is linked and a fresh access token is there.

        Raises:
            ClientError: if the service does not report it; its class names the reason.
        """
        return _read(_as_health, self._ask("GET", "/v1/health"))

    def link(self, *, again: bool = False, adopt: bool = False) -> None:
        """Start to link, or show the code again; events report the result. For administrators.

        Args:
            again: link even if the speaker is linked; the old link stays in use until the new one is proved.
            adopt: show no code; use the stored link of another unit as this speaker's own.

        Raises:
            ClientError: if the service refuses; its class names the reason.
        """
        wishes = {name: True for name, is_wanted in (("again", again), ("adopt", adopt)) if is_wanted}
        self._ask("POST", "/v1/link", wishes or None)

    def cancel(self) -> None:
        """End linking without a link. For administrators.

        Raises:
            ClientError: if the service refuses; its class names the reason.
        """
        self._ask("POST", "/v1/link/cancel")

    def seal(self) -> None:
        """Seal a plain link under the key that is set up for the service. For administrators.

        Raises:
            ClientError: if it is not sealed; its class and ``problem`` name the reason.
        """
        self._ask("POST", "/v1/seal")

    def unlink(self) -> None:
        """Forget the account. For administrators.

        Raises:
            ClientError: if the service refuses; its class names the reason.
        """
        self._ask("POST", "/v1/unlink")

    def events(self) -> Generator[Status, None, None]:
        """Yield the present state, then each new one; connect again for ever, after longer and longer pauses.

        Raises:
            Refused: if this process may not read events.
        """
        pause, last = 1.0, None
        while True:
            try:
                with closing(self._stream()) as stream:
                    for number, status in enumerate(stream):
                        pause = 1.0
                        # the first state of a connection may be known already
                        if number > 0 or status != last:
                            yield status
                        last = status
            except TryLater as error:
                pause = max(pause, error.retry_after)
            except Unavailable:
                pass
            self._pause(min(pause, LONGEST_PAUSE))
            pause *= 2

    def _ask(self, method: str, target: str, fields: Mapping[str, object] | None = None) -> object:
        body = None if fields is None else json.dumps(fields)
        headers = {} if fields is None else {"Content-Type": "application/json"}
        with self._lock:
            try:
                return self._send(method, target, body, headers)
            except _Stale:
                return self._send(method, target, body, headers)

    def _send(self, method: str, target: str, body: str | None, headers: dict[str, str]) -> object:
        kept = self._connection
        self._connection = kept or _UnixConnection(self._path, self._timeout)
        try:
            self._connection.request(method, target, body, headers)
            response = self._connection.read_head()
            answer = self._connection.read_body(response)
        except PermissionError as error:
            self._drop()
            raise _forbidden(error) from error
        except (_NotHttp, OSError) as error:
            self._drop()
            if kept is not None and not isinstance(error, TimeoutError):
                raise _Stale from error
            raise Unavailable(f"the service does not respond: {error}") from error
        return _check(response, answer)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _stream(self) -> Generator[Status, None, None]:
        """Yield the events of one connection until it ends."""
        connection = _UnixConnection(self._path, SILENCE)
        try:
            connection.request("GET", "/v1/events", None, {"Accept": "text/event-stream"})
            self._event_socket = connection.sock
            response = connection.read_head()
            if response.status != OK:
                _check(response, connection.read_body(response))
            while line := connection.reader.readline(LONGEST_LINE):
                name, _, value = line.decode(errors="replace").partition(":")
                if name == "data":
                    yield _read(_as_status, _parse(value.encode()))
        except PermissionError as error:
            raise _forbidden(error) from error
        except (_NotHttp, OSError) as error:
            raise Unavailable(f"the event stream ended: {error}") from error
        finally:
            connection.close()


class _Stale(Exception):
    """The service has closed a connection that was kept open, as it may at any time."""


class _NotHttp(Exception):
    """A response is not HTTP, or is not whole."""


class _Response(NamedTuple):
    """The head of a response; the names of its fields are in lower case."""

    status: int
    fields: Mapping[str, str]


class _UnixConnection:
    """An HTTP/1.1 connection to a UNIX socket; ``http.client`` would load TLS and mail for it, 20 ms and 6 MiB."""

    sock: socket.socket
    reader: BinaryIO

    def __init__(self, path: str | None, timeout: float) -> None:
        self._timeout = timeout
        self._paths = _usual_paths() if path is None else [path]
        self._is_open = False

    def close(self) -> None:
        if self._is_open:
            self.reader.close()
            self.sock.close()
        self._is_open = False

    def request(self, method: str, target: str, body: str | None, headers: Mapping[str, str]) -> None:
        """Send a request; the connection is opened for the first one."""
        if not self._is_open:
            self._connect()
        content = (body or "").encode()
        fields = {"Host": "localhost", **headers}
        if body is not None or method == "POST":
            fields["Content-Length"] = str(len(content))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + content)

    def read_head(self) -> _Response:
        """Read status line and header fields.

        Raises:
            _NotHttp: if they are none.
            OSError: if the connection breaks off.
        """
        first = self._read_line()
        if not first:
            raise ConnectionResetError("the connection was closed without a response")
        version, _, rest = first.partition(" ")
        status = rest.partition(" ")[0]
        if not (version.startswith("HTTP/1.") and status.isdecimal()):
            raise _NotHttp("the response is not HTTP")
        fields, left = {}, LONGEST_LINE
        while line := self._read_line().rstrip("\r\n"):
            left -= len(line)
            name, colon, value = line.partition(":")
            if not colon or left < 0:
                raise _NotHttp("the response is not HTTP")
            fields[name.lower()] = value.strip()
        return _Response(int(status), fields)

    def read_body(self, response: _Response) -> bytes:
        """Read the body: of the length that is named, else up to the end of the connection.

        Raises:
            _NotHttp: if it is not whole.
            OSError: if the connection breaks off.
        """
        length = response.fields.get("content-length", "")
        if not length.isdecimal():
            body = self.reader.read()
            self.close()
            return body
        body = self.reader.read(int(length))
        if len(body) < int(length):
            raise _NotHttp("the response breaks off")
        if response.fields.get("connection", "").lower() == "close":
            self.close()
        return body

    def _read_line(self) -> str:
        return self.reader.readline(LONGEST_LINE).decode("latin-1")

    def _connect(self) -> None:
        failure: OSError = FileNotFoundError("the service has no socket")
        for path in self._paths:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self._timeout)
            try:
                self._queue(path)
            except OSError as error:
                # a service that refuses this user runs, though none of the other paths has one
                if not isinstance(failure, PermissionError):
                    failure = error
                if isinstance(error, PermissionError):
                    error.filename = error.filename or path
                self.sock.close()
            else:
                self.reader = self.sock.makefile("rb")
                self._is_open = True
                return
        raise failure

    def _queue(self, path: str) -> None:
        """Connect; try again while the backlog is full, for which a socket with a time-out does not wait."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                self.sock.connect(path)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise TimeoutError("too many connections wait for the service") from None
                time.sleep(QUEUE_PAUSE)
            else:
                return


def _usual_paths() -> list[str]:
    """Return the paths of sockets: the system's, then the user's by the XDG Base Directory Specification."""
    uid = os.geteuid()
    named = os.environ.get("XDG_RUNTIME_DIR", "")  # noqa: TID251 - the settings are of the service, not of its clients
    sessions = [named, f"/run/user/{uid}"]
    own = [f"{session}/device-auth/api.sock" for session in sessions if _is_ours_alone(session, uid)]
    return [SYSTEM_SOCKET, *dict.fromkeys(own)]


def _is_ours_alone(folder: str, uid: int) -> bool:
    """Return whether a folder is closed to other users, as the specification demands; ``su`` may leave another's."""
    with suppress(OSError, ValueError):
        found = os.stat(folder)  # noqa: PTH116 - pathlib is loaded for nothing else
        return folder.startswith("/") and found.st_uid == uid and stat.S_IMODE(found.st_mode) & 0o077 == 0
    return False


def _forbidden(error: PermissionError) -> Refused:
    return Refused(
        f"only root and members of the group device-auth-client may connect to {error.filename}", "forbidden"
    )


def _check(response: _Response, body: bytes) -> object:
    """Return the content of a response.

    Raises:
        ClientError: if it is a problem.
    """
    media_type = response.fields.get("content-type", "").partition(";")[0].strip()
    is_no_problem = media_type == "application/json"
    if response.status == OK or (
        response.status == SERVICE_UNAVAILABLE and is_no_problem  # the health of an unhealthy speaker
    ):
        return _parse(body)
    if response.status == ACCEPTED:
        return None
    try:
        fields = json.loads(body)
        problem, message = _text(fields["type"]).rpartition(":")[2], _text(fields["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        problem, message = "", f"the service responded with status {response.status}"
    match response.status:
        case 409 if problem != "no-key":
            raise SpeakerUnlinked(message, problem)
        case 410:
            raise Revoked(message, problem)
        case 503:
            after = response.fields.get("retry-after", "")
            wait = min(float(after), LONGEST_RETRY_AFTER) if after.isdecimal() else RETRY_AFTER
            raise TryLater(message, problem, wait)
        case status if BAD_REQUEST <= status < INTERNAL_SERVER_ERROR:
            raise Refused(message, problem)
        case _:
            raise Unavailable(message, problem)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        # from None: the parser's error contains the whole text with the token
        raise Unavailable("the response of the service is not JSON") from None


def _read(form: Callable[[Any], T], fields: object) -> T:
    try:
        return form(fields)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise Unavailable("the response of the service is malformed") from None


def _text(value: Any) -> str:
    """Return a text without control characters: programs show it to people, perhaps on root's terminal.

    Raises:
        TypeError: if it is not one.
    """
    if not isinstance(value, str):
        raise TypeError
    return "".join(character if character.isprintable() else " " for character in value)


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _token(value: Any) -> str:
    """Return a token, which must be fit for a header."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise TypeError
    return value


def _as_token(fields: Any) -> Token:
    return Token(
        access_token=_token(fields["access_token"]),
        expires_at=datetime.fromisoformat(fields["expires_at"]),
        expires_in=int(fields["expires_in"]),
    )


def _as_status(fields: Any) -> Status:
    code, handed_over = fields.get("code"), fields.get("handed_over")
    return Status(
        state=_text(fields["state"]),
        trouble=_text(fields["trouble"]),
        since=datetime.fromisoformat(fields["since"]),
        hint=_text(fields["hint"]),
        expires_at=_as_time(fields["expires_at"]),
        account=_optional_text(fields["account"]),
        dialect=_optional_text(fields["dialect"]),
        version=_text(fields["version"]),
        code=None if code is None else _as_code(code),
        handed_over=None
        if handed_over is None
        else HandedOver(_optional_text(handed_over["to"]), _as_time(handed_over["at"])),
        account_id=_optional_text(fields.get("account_id")),
        linked_at=_as_time(fields.get("linked_at")),
        lasts=fields.get("lasts") is not False,
        is_checking=fields.get("is_checking") is True,
        name=_optional_text(fields.get("name")) or "",
    )


def _as_health(fields: Any) -> Health:
    reason = _optional_text(fields["reason"])
    if fields["status"] != ("healthy" if reason is None else "unhealthy"):
        raise ValueError
    return Health(reason, datetime.fromisoformat(fields["updated_at"]))


def _as_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _as_code(fields: Any) -> Code:
    return Code(
        user_code=_text(fields["user_code"]),
        verification_uri=_text(fields["verification_uri"]),
        verification_uri_complete=_optional_text(fields["verification_uri_complete"]),
        expires_in=int(fields["expires_in"]),
        interval=int(fields.get("interval", 0)),
    )
