"""Talk to systemd: readiness, status, watchdog, passed sockets. No package needed.

Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

FIRST_SOCKET: Final = 3
"""The number of the first passed descriptor. Source: sd_listen_fds(3)."""

MOST_STATUS: Final = 200


class Notifier:
    """Notifies the service manager; does nothing where there is none, and never fails.

    Args:
        environ: the environment this program was started with.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL of the abstract name space
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._sent = ""

    def ready(self) -> None:
        """Report that the service is up."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Report to the watchdog that the loop runs."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Report the state in a line, if it has changed."""
        line = " ".join(text.split())[:MOST_STATUS]
        if line != self._sent:
            self._sent = line
            self._send(f"STATUS={line}")

    def _send(self, line: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(line.encode(errors="replace"), self._address)


def sockets_given(environ: Mapping[str, str], pid: int) -> dict[str, list[socket.socket]]:
    """Return the sockets that the service manager passed to this process, by name.

    Args:
        environ: the environment; variables meant for another process are ignored.
        pid: of this process.

    Returns:
        Listening sockets by the name of their unit's ``FileDescriptorName=``, in their order.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    given: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else "unknown"
        descriptor = FIRST_SOCKET + index
        os.set_inheritable(descriptor, False)
        given.setdefault(name, []).append(socket.socket(fileno=descriptor))
    return given
