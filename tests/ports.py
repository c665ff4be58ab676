"""Ports for tests that must name one before anybody listens on it."""

import secrets
import socket
from contextlib import suppress
from errno import EADDRINUSE


def free_port() -> int:
    """Find a port that is free on 127.0.0.1 and ::1, below those that outgoing connections take for themselves."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            try:
                socket.create_server(("::1", port), family=socket.AF_INET6).close()
            except OSError as error:
                if error.errno == EADDRINUSE:
                    continue
            return port
