"""Ports for tests that must name one before anybody listens on it, or listen on it twice."""

import socket
from errno import EADDRINUSE
from typing import Final

_KEPT: Final[list[socket.socket]] = []


def free_port() -> int:
    """Find a port that is free on 127.0.0.1 and ::1, and keep it until this process ends.

    It stays bound without listening, so the kernel gives it to nobody who asks for any port, and to no outgoing
    connection; a server that names it may listen on it, as often as it likes.
    """
    while True:
        first = socket.socket()
        first.bind(("127.0.0.1", 0))
        port: int = first.getsockname()[1]
        second = socket.socket(socket.AF_INET6)
        try:
            second.bind(("::1", port))
        except OSError as error:  # of a machine without IPv6, too
            if error.errno == EADDRINUSE:
                first.close()
                second.close()
                continue
        for kept in (first, second):
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _KEPT.append(kept)
        return port
