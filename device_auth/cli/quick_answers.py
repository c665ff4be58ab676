"""``device-auth token`` and ``status`` with no other word, as programs ask all day: answered without the rest of the program.

Where anything is unusual nothing is printed, and the verb asks again and reports what is so. This imports only the socket's
own C module and what the interpreter has loaded: on a small board the other modules of the verb cost fifty times as much.
"""

import os
import time  # noqa: TID251  world.clock is too dear here

SYSTEM_SOCKET = "/run/device-auth/api.sock"
MIN_LIFETIME = 60
"""In seconds, as the verb asks for without the option."""

PATIENCE = {"token": 2.0, "status": 0.5}
"""In seconds. A refresh may take longer; then the verb waits for it."""

MOST = 65536
"""In bytes; an answer has less than two thousand."""

PIECES = 16
BETWEEN = 0.2
"""An answer comes in one or two pieces at once: a service that sends a byte now and then is as good as silent."""

_REQUESTS = {
    "token": f"GET /v1/token?min_lifetime={MIN_LIFETIME} HTTP/1.1\r\nAccept: application/json",
    "status": "GET /v1/status HTTP/1.1\r\nAccept: text/plain",
}
_END_OF_REQUEST = "\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_UNITS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_PLAIN = b'{"version": 1, "key_provider": "plain", '
_PRIVATE = 0o700


def print_quickly(verb: str, path: str = SYSTEM_SOCKET, root: str = "/") -> bool:
    """Print what the verb would print.

    Args:
        verb: ``token`` or ``status``.
        path: the service's socket.
        root: the root folder.

    Returns:
        Whether it was printed. If not, the reason is the verb's to find: no permission, not linked, a token that lasts
        less than a minute, an output that cannot be written.
    """
    # a variable may name another place, or call for a remark
    if any(name.startswith("DEVICE_AUTH_") for name in os.environ):  # noqa: TID251  world.settings is too dear here
        return False
    try:
        text = _text_for(verb, path, root)
        return bool(text) and os.write(1, text + b"\n") == len(text) + 1
    except (OSError, ValueError, OverflowError):  # the last two of a moment that is none
        return False


def _text_for(verb: str, path: str, root: str) -> bytes:
    folders = _folders(root)
    settings = _settings(folders) if verb == "status" else []
    is_read_in_english = all(value.strip(b" '\"")[:2] == b"en" for value in _values(settings, b"locale"))
    if verb == "status" and not (folders and is_read_in_english):
        return b""
    try:
        answer = _ask(verb, path)
    except FileNotFoundError:
        return _kept(verb, root, folders, is_named=bool(_values(settings, b"name")))
    return _text_in(answer) if verb == "status" else _token_in(answer)


def _settings(folders: tuple[str, ...]) -> list[bytes]:
    """Return the lines of all settings that the verb may read, but no comments.

    Raises:
        OSError: if a file cannot be read.
    """
    lines = []
    for folder, name in zip(folders, ("settings.toml", "config.toml", "config.toml"), strict=False):
        try:
            text, _ = _read(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        lines += [line for line in text.split(b"\n") if not line.lstrip().startswith(b"#")]
    return lines


def _values(settings: list[bytes], key: bytes) -> list[bytes]:
    """Return what stands behind each key that may be this one, of any table; one with an escape may be any."""
    parts = [line.partition(b"=") for line in settings]
    return [value for name, _, value in parts if key in name or b"\\" in name]


def _ask(verb: str, path: str) -> bytes:
    # `socket` itself builds its enumerations at import, which costs as much as the interpreter's own start
    from _socket import AF_UNIX, SOCK_STREAM, socket

    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE[verb])
        connection.connect(path)
        connection.send((_REQUESTS[verb] + _END_OF_REQUEST).encode())
        answer = b""
        for _ in range(PIECES):
            more = connection.recv(MOST)
            if not more or len(answer) >= MOST:
                return answer
            answer += more
            connection.settimeout(BETWEEN)
        return b""
    finally:
        connection.close()


def _body_of(answer: bytes, media_type: bytes) -> bytes:
    """Return the body of a whole answer of this type as our service writes it, else nothing."""
    head, _, body = answer.partition(b"\r\n\r\n")
    is_of_type = b"\r\nContent-Type: " + media_type + b"\r\n" in head + b"\r\n"
    is_whole = b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    return body if head.startswith(b"HTTP/1.1 200 ") and is_of_type and is_whole else b""


def _text_in(answer: bytes) -> bytes:
    """Return the text of an answer; nothing if it is not one that any output can carry."""
    text = _body_of(answer, b"text/plain; charset=utf-8").rstrip(b"\n")
    return text if text.isascii() else b""


def _token_in(answer: bytes) -> bytes:
    """Return the access token of an answer; nothing if it is not one, or does not last."""
    body = _body_of(answer, b"application/json")
    expires_in = _member(body, b'"expires_in": ', b"}")
    lasts = expires_in.isdigit() and int(expires_in) >= MIN_LIFETIME
    return _token_of(body) if lasts else b""


def _kept(verb: str, root: str, folders: tuple[str, ...], *, is_named: bool) -> bytes:
    """Return the text by what a verb has kept, where no service should run and nothing has changed since.

    The verb that kept the token had found the link whole, in use and this unit's own, by the settings of that moment.

    Raises:
        OSError: if a file cannot be read.
    """
    runtime = _runtime(root)
    if not (folders and runtime) or os.path.lexists(f"{runtime}/api.sock"):
        return b""
    state, *settings = folders
    link, _ = _read(f"{state}/link.json")
    kept, status = _read(f"{runtime}/token.json")
    decisive = [f"{state}/{name}" for name in ("", "link.json", "identity.toml", "settings.toml")]
    decisive += [f"{folder}/{name}" for folder in settings for name in ("", "config.toml")]
    is_settled = all(_changed_at(path) < status.st_mtime_ns for path in decisive)
    if not (is_settled and link.startswith(_PLAIN) and _member(link, b'"mark": ', b",") == b"null"):
        return b""
    ends = _member(kept, b'"expires_at": "', b'"')
    left = MIN_LIFETIME if verb == "token" else 0
    lasts = status.st_mtime <= time.time() and _date(time.time() + left) < ends
    if verb == "token":
        return _token_of(kept) if lasts else b""
    is_sure = _outlasts_power_cut(state, root) and not os.path.lexists(f"{runtime}/pending.json")
    return _status_of(link, ends if lasts else b"") if is_sure and not is_named else b""


def _outlasts_power_cut(folder: str, root: str) -> bool:
    """Return whether a folder lies on a device that is no file's and no memory's."""
    device = os.stat(folder).st_dev  # noqa: PTH116  pathlib is too dear here
    number = f"{os.major(device)}:{os.minor(device)}"
    return "/virtual/" not in os.readlink(f"{root}sys/dev/block/{number}")  # noqa: PTH115  likewise


def _status_of(link: bytes, ends: bytes) -> bytes:
    """Return the status of a link in use; nothing where it is not proved, or has a text that JSON writes in another way."""
    if (
        b"\\" in link
        or not link.isascii()
        or b'"is_proved": true' not in link
        or b'"replaces": null' not in link
    ):
        return b""
    account, user = (_member(link, b'"%s": "' % name, b'"') for name in (b"account", b"account_id"))
    rows = {
        b"state": b"linked: The speaker is linked to an account.",
        b"since": _date(float(_member(link, b'"linked_at": ', b","))),
        b"name": os.uname().nodename.encode("ascii"),
        b"account": account,
        b"user ID": user if user != account else b"",
        b"token until": ends,
        b"dialect": _member(link, b'"dialect": "', b'"'),
    }
    return b"\n".join(b"%-13b%b" % (name + b":", value) for name, value in rows.items() if value)


def _date(moment: float) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)).encode()


def _folders(root: str) -> tuple[str, ...]:
    """Return the folders of state and settings that the verb takes in a usual environment, else nothing."""
    uid, environ = os.geteuid(), os.environ  # noqa: TID251  world.settings is too dear here
    system, home = f"{root}etc/device-auth", environ.get("HOME", "")
    if "STATE_DIRECTORY" in environ:
        return ()
    if uid == 0:
        return f"{root}var/lib/device-auth", system
    if environ.keys() & {"XDG_STATE_HOME", "XDG_CONFIG_HOME"} or not home.startswith("/"):
        return ()
    return f"{home}/.local/state/device-auth", f"{home}/.config/device-auth", system


def _runtime(root: str) -> str:
    """Return the folder of runtime files that the verb takes in a usual environment; nothing where a service should run."""
    uid, environ = os.geteuid(), os.environ  # noqa: TID251  world.settings is too dear here
    is_installed = os.path.lexists(f"{root}run/systemd/system") and any(
        os.path.lexists(f"{root}{folder}/device-auth.service") for folder in _UNITS
    )
    if is_installed or "RUNTIME_DIRECTORY" in environ:
        return ""
    if uid == 0:
        return f"{root}run/device-auth"
    session = f"{root}run/user/{uid}"
    found = os.stat(session)  # noqa: PTH116  pathlib is too dear here
    is_ours = found.st_uid == uid and found.st_mode & 0o777 == _PRIVATE
    return f"{session}/device-auth" if is_ours and environ.get("XDG_RUNTIME_DIR", session) == session else ""


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116  pathlib is too dear here
    except FileNotFoundError:
        return 0  # its folder changed when it went


def _read(path: str) -> tuple[bytes, os.stat_result]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(number, MOST), os.fstat(number)
    finally:
        os.close(number)


def _token_of(body: bytes) -> bytes:
    return b"" if b"\\" in body else _member(body, b'"access_token": "', b'"')


def _member(body: bytes, before: bytes, after: bytes) -> bytes:
    _, _, rest = body.partition(before)
    value, end, _ = rest.partition(after)
    return value if end else b""
