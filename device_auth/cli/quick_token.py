"""``device-auth token`` with no other word, as programs ask every hour: the service's answer, without the rest of the program.

Where anything is unusual it prints nothing, and the verb asks again and reports what is so. It imports only the socket's
own C module and ``os``: on a small board the other modules of the verb cost fifty times what the question does.
"""

import os

SYSTEM_SOCKET = "/run/device-auth/api.sock"
MIN_LIFETIME = 60
"""In seconds, as the verb asks for without the option."""

PATIENCE = 2.0
"""In seconds. A refresh may take longer; then the verb waits for it."""

MOST = 65536
"""In bytes; an answer has less than two thousand."""

PIECES = 16
BETWEEN = 0.2
"""An answer comes in one or two pieces at once: a service that sends a byte now and then is as good as silent."""

_REQUEST = (
    f"GET /v1/token?min_lifetime={MIN_LIFETIME} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
)


def print_quickly(path: str = SYSTEM_SOCKET) -> bool:
    """Print the access token of the service.

    Args:
        path: the service's socket.

    Returns:
        Whether it was printed. If not, the reason is the verb's to find: no service, no permission, not linked, a
        token that lasts less than a minute, an output that cannot be written.
    """
    # an option of the environment may name another place, or call for a remark
    if any(name.startswith("DEVICE_AUTH_") for name in os.environ):  # noqa: TID251  world.settings is too dear here
        return False
    try:
        token = _token_in(_ask(path))
        return bool(token) and os.write(1, token + b"\n") == len(token) + 1
    except OSError:
        return False


def _ask(path: str) -> bytes:
    # `socket` itself builds its enumerations at import, which costs as much as the interpreter's own start
    from _socket import AF_UNIX, SOCK_STREAM, socket

    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.send(_REQUEST.encode())
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


def _token_in(answer: bytes) -> bytes:
    """Return the access token of an answer as our service writes it; nothing if it is not one, or does not last."""
    head, _, body = answer.partition(b"\r\n\r\n")
    token = _member(body, b'"access_token": "', b'"')
    expires_in = _member(body, b'"expires_in": ', b"}")
    is_whole = head.startswith(b"HTTP/1.1 200 ") and body.rstrip().endswith(b"}") and b"\\" not in body
    lasts = expires_in.isdigit() and int(expires_in) >= MIN_LIFETIME
    return token if is_whole and lasts else b""


def _member(body: bytes, before: bytes, after: bytes) -> bytes:
    _, _, rest = body.partition(before)
    value, end, _ = rest.partition(after)
    return value if end else b""
