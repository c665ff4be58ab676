"""Ports for tests that must name one before anybody listens on it, or listen on it twice."""

import socket
from errno import EADDRINUSE
from typing import Final

import pytest

_KEPT: Final[list[socket.socket]] = []


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6: Final = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 on loopback")
"""The mark of a test that listens at ::1."""


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
