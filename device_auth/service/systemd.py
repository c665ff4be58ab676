"""What a service says to systemd, and what it is given: readiness, status, watchdog, sockets. No package needed.

Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

FIRST_SOCKET: Final = 3
"""The number of the first descriptor that is handed over. Source: sd_listen_fds(3)."""

MOST_STATUS: Final = 200


class Notifier:
    """Tells the service manager how it goes; says nothing where there is none, and never fails.

    Args:
        environ: the environment this program was started with.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL of the abstract name space
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._told = ""

    def ready(self) -> None:
        """Report that the service is ready."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Show the watchdog that the loop lives."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Tell the state in a line, if it is another one than before."""
        line = " ".join(text.split())[:MOST_STATUS]
        if line != self._told:
            self._told = line
            self._tell(f"STATUS={line}")

    def _tell(self, line: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(line.encode(), self._address)


def sockets_given(environ: Mapping[str, str], pid: int) -> dict[str, list[socket.socket]]:
    """Take the sockets that the service manager listens on for us, by name.

    Args:
        environ: the environment; variables meant for another process are left alone.
        pid: who we are.

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
