"""The processes that connect to the socket, and their permissions. The kernel identifies the process at the other end.

Uid and groups are those of the process at the moment it connected.
"""

import grp
import logging
import os
import socket
import struct
from enum import IntEnum
from typing import Final, NamedTuple

log: Final = logging.getLogger(__name__)

READERS: Final = "device-auth-client"
"""The group of programs that may have tokens."""

ADMINISTRATORS: Final = "device-auth-admin"
"""The group of people who may link and unlink."""

SO_PEERGROUPS: Final = 59
"""The supplementary groups of the peer; not in Python's ``socket``. Source: Linux, asm-generic/socket.h (4.13)."""

LARGEST_OPTION: Final = 1024
"""Bytes that ``getsockopt`` can return in Python: 256 groups."""

_UCRED: Final = struct.Struct("3i")
_GID_SIZE: Final = 4


class Role(IntEnum):
    """The permissions of a caller; each role includes the lower ones."""

    UNPRIVILEGED = 0
    READER = 1
    ADMINISTRATOR = 2


class Caller(NamedTuple):
    """The process at the other end of a connection."""

    uid: int
    gids: frozenset[int]


class Permissions(NamedTuple):
    """The role of each user. Root and the user of the service may do everything.

    Attributes:
        readers: the group that may read; None if it does not exist.
        administrators: the group that may do everything; None if it does not exist.
        own_uid: the user of the service.
    """

    readers: int | None
    administrators: int | None
    own_uid: int

    def role_of(self, caller: Caller) -> Role:
        """Return what a caller may do."""
        if caller.uid in {0, self.own_uid} or self.administrators in caller.gids:
            return Role.ADMINISTRATOR
        return Role.READER if self.readers in caller.gids else Role.UNPRIVILEGED


def read_permissions(readers: str = READERS, administrators: str = ADMINISTRATORS) -> Permissions:
    """Read the groups of these names; one that does not exist has no members."""
    return Permissions(_gid_of(readers), _gid_of(administrators), os.geteuid())


def read_caller(connection: socket.socket) -> Caller:
    """Read from the kernel which process is at the other end.

    Raises:
        OSError: if the kernel does not know.

    Source: unix(7), SO_PEERCRED, which gives the primary group only.
    """
    _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Caller(uid, frozenset({gid, *_supplementary_gids(connection)}))


def _supplementary_gids(connection: socket.socket) -> tuple[int, ...]:
    size = LARGEST_OPTION // 16
    while size <= LARGEST_OPTION:
        try:
            packed = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
        except OSError:
            # ERANGE: there are more; groups that cannot be read give no rights
            size *= 4
        else:
            return struct.unpack(f"{len(packed) // _GID_SIZE}I", packed)
    log.warning("cannot read the groups of the connecting process; only its primary group counts")
    return ()


def _gid_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        log.info("group %s does not exist, so nobody has its permissions", name)
        return None
