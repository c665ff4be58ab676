"""Talk to systemd: readiness, status, watchdog, passed sockets; and pass them on to a fresh start. No package needed.

Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3), execve(2).
"""

import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from typing import Final, NoReturn

FIRST_SOCKET: Final = 3
"""The number of the first passed descriptor. Source: sd_listen_fds(3)."""

MOST_STATUS: Final = 200

OF_MANAGER: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

KEPT: Final = "_DEVICE_AUTH_SOCKETS"
"""Names the process and its sockets by number, where it took the place of another; those of the manager are among them."""

STDERR: Final = 2

Sockets = dict[str, list[socket.socket]]
"""Listening sockets by name."""


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

    def reloading(self) -> None:
        """Report that the service is not up for a moment, until it is ready again."""
        self._send("RELOADING=1")

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


def sockets_given(environ: Mapping[str, str], pid: int) -> Sockets:
    """Return the sockets that the service manager, or the process before a fresh start, passed to this process.

    Args:
        environ: the environment; variables meant for another process are ignored.
        pid: of this process.

    Returns:
        Listening sockets by the name of their unit's ``FileDescriptorName=``, in their order; after a fresh start also
        those that the process before it had made, by the names that it gave them.
    """
    if is_anew(environ, pid):
        kept = environ[KEPT].split()[1:]
        return {name: _open(numbers) for name, _, numbers in (entry.partition("=") for entry in kept)}
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    given: Sockets = {}
    for index in range(int(count)):
        name = names[index] if index < len(names) and names[index] else "unknown"
        given.setdefault(name, []).extend(_open(str(FIRST_SOCKET + index)))
    return given


def is_anew(environ: Mapping[str, str], pid: int) -> bool:
    """Return whether this process took the place of another one of this program."""
    return environ.get(KEPT, "").partition(" ")[0] == str(pid)


def start_anew(sockets: Sockets, environ: Mapping[str, str]) -> NoReturn:
    """Put a fresh process of this program, with the same arguments, in the place of this one; it has the same number.

    Nothing that this process had in its memory is left.

    Args:
        sockets: go on in the fresh process, where ``sockets_given`` returns them.
        environ: the environment.

    Raises:
        OSError: if the system refuses; nothing has changed then.
    """
    kept = {name: [listener.fileno() for listener in listeners] for name, listeners in sockets.items()}
    entries = [f"{name}={','.join(map(str, numbers))}" for name, numbers in kept.items() if numbers]
    environ = {name: value for name, value in environ.items() if name not in OF_MANAGER}
    stays = {number for numbers in kept.values() for number in numbers}
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  names are all that is wanted
        with contextlib.suppress(OSError):  # the folder itself is closed by now
            if number > STDERR:
                os.set_inheritable(number, number in stays)
    try:
        os.execve(  # noqa: S606  ourselves
            sys.executable or "",
            [sys.executable, *sys.orig_argv[1:]],
            {**environ, KEPT: " ".join([str(os.getpid()), *entries])},
        )
    finally:
        for number in stays:
            os.set_inheritable(number, False)


def _open(numbers: str) -> list[socket.socket]:
    """Return the sockets of these descriptors, which no child inherits."""
    opened = [socket.socket(fileno=int(number)) for number in numbers.split(",")]
    for each in opened:
        each.set_inheritable(False)
    return opened
