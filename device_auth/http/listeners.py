"""Sockets that listen: at an address, on an interface, or at a path."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK
from typing import Final

from device_auth.core.errors import StoreBusy, StoreError
from device_auth.world.explain import STOP_SERVICE, store_error

log: Final = logging.getLogger(__name__)

BACKLOG: Final = 64
UNIX_BACKLOG: Final = 256
OWN_MODE: Final = 0o600
GROUP_MODE: Final = 0o660
"""Other users cannot even wait in the backlog."""


def listen(host: str, port: int, *, interface: str = "") -> socket.socket:
    """Listen on a TCP port.

    Args:
        host: an address; IPv6 takes no connections of IPv4. Ignored with ``interface``.
        port: 0 for any free one.
        interface: the name of a network interface, all of whose addresses are listened on.

    Raises:
        OSError: if the port is in use, or the address or interface is not there.
    """
    is_six = ":" in host or (bool(interface) and socket.has_dualstack_ipv6())
    listener = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not interface)
        if interface:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        listener.bind(("" if interface else host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class UnixListener:
    """A socket that listens at a path; one that an earlier service left there is replaced.

    Args:
        path: in a folder where no other user can create files.
        group: its members may connect too; None for the own user only, as where this process cannot give the
            socket to the group.
        taken: a socket of ours that listens there already, or None.

    Raises:
        StoreError: if the socket cannot be made, or the file there is not ours to remove.
    """

    def __init__(self, path: Path, group: int | None = None, taken: socket.socket | None = None) -> None:
        self._path = path
        self._group = group
        self.listener = taken or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if taken is None:
                _check_place(path)
                self._make(path.with_name(path.name + ".new"))
            self._inode = _inode_of(path)
        except BaseException:
            self.listener.close()
            raise

    def close(self) -> None:
        """Stop listening, and remove the socket unless another service has replaced it."""
        with suppress(OSError):
            if _inode_of(self._path) == self._inode:
                self._path.unlink()
        self.listener.close()

    def _make(self, beside: Path) -> None:
        """Make the socket under another name, so that no client sees it half made."""
        try:
            beside.unlink(missing_ok=True)
            self.listener.bind(str(beside))
            self._admit_group(beside)
            self.listener.listen(UNIX_BACKLOG)  # not before: until now every connection is refused
            beside.rename(self._path)
        except OSError as error:
            hint = "Check the owner of its folder, and the length of its path; another is chosen with --runtime-dir."
            raise store_error(f"cannot make the socket {self._path}", error, hint) from error

    def _admit_group(self, beside: Path) -> None:
        beside.chmod(OWN_MODE)
        if self._group is None:
            return
        try:
            os.chown(beside, -1, self._group)
        except OSError as error:  # a user who is not a member of the group, or a container without it
            log.info(
                "cannot give %s to group %d, so only this user may connect: %s",
                self._path,
                self._group,
                error.strerror,
            )
        else:
            beside.chmod(GROUP_MODE)


def _inode_of(path: Path) -> int | None:
    with suppress(OSError):
        return path.lstat().st_ino
    return None


def _check_place(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise store_error(f"cannot open {path}", error, "Check the owner of its folder.") from error
    if not S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise StoreError(f"{path} is not a socket of device-auth", hint="Find its owner, and remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is an answer too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            log.debug("%s: %s", path, error)
    raise StoreBusy(f"another service answers at {path}", hint=f"Stop it first: {STOP_SERVICE}")
