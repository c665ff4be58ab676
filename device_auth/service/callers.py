"""Who calls, and what they may: the kernel says who holds the other end of a UNIX socket, and nobody can pretend.

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

LARGEST_ANSWER: Final = 1024
"""Bytes that Python asks of getsockopt at most: 256 groups."""

_UCRED: Final = struct.Struct("3i")
_GID_SIZE: Final = 4


class Role(IntEnum):
    """What a caller may; each may also what the ones below it may."""

    UNPRIVILEGED = 0
    READER = 1
    ADMINISTRATOR = 2


class Caller(NamedTuple):
    """Who holds the other end of a connection."""

    uid: int
    gids: frozenset[int]


class Gate(NamedTuple):
    """Who may do what. Root and the user that the service runs as may do everything.

    Attributes:
        readers: the group that may read; None if there is no such group.
        administrators: the group that may do everything; likewise.
        own_uid: the user that the service runs as.
    """

    readers: int | None
    administrators: int | None
    own_uid: int = os.geteuid()

    def role_of(self, caller: Caller) -> Role:
        """Return what a caller may."""
        if caller.uid in {0, self.own_uid} or self.administrators in caller.gids:
            return Role.ADMINISTRATOR
        return Role.READER if self.readers in caller.gids else Role.UNPRIVILEGED


def open_gate(readers: str = READERS, administrators: str = ADMINISTRATORS) -> Gate:
    """Make the gate for the groups of these names; one that does not exist has no members."""
    return Gate(_gid_of(readers), _gid_of(administrators))


def read_caller(connection: socket.socket) -> Caller:
    """Ask the kernel who holds the other end.

    Raises:
        OSError: it does not say.

    Source: unix(7), SO_PEERCRED, which gives the primary group only.
    """
    _, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Caller(uid, frozenset({gid, *_supplementary_gids(connection)}))


def _supplementary_gids(connection: socket.socket) -> tuple[int, ...]:
    size = LARGEST_ANSWER // 16
    while size <= LARGEST_ANSWER:
        try:
            packed = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, size)
        except OSError:
            # ERANGE: there are more. What cannot be read gives no rights.
            size *= 4
        else:
            return struct.unpack(f"{len(packed) // _GID_SIZE}I", packed)
    log.warning("the groups of a caller cannot be read; only its primary group counts")
    return ()


def _gid_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        log.info("there is no group %s", name)
        return None
