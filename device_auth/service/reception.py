"""Takes connections in: each has a thread of its own, and nobody takes the places of the others.

Whoever comes when there is no place waits; nobody is sent away for a crowd of others. Only where the waiting room
itself overflows, whoever has the most in it gets no more in. When nobody is there, nothing runs.
"""

import logging
import os
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISSOCK
from typing import Final, NamedTuple

from device_auth.core.errors import StoreBusy, StoreError
from device_auth.service.callers import Caller

log: Final = logging.getLogger(__name__)

BACKLOG: Final = 256
SOCKET_MODE: Final = 0o666
"""Anyone may connect; who it is decides what they get."""

BREATH: Final = 1000
"""Milliseconds until it is tried again when the system can give no more connections."""


class ConnectionLimits(NamedTuple):
    """How many at once.

    Attributes:
        places: connections attended to.
        share: of those, how many for one user.
        waiting: connections that wait for a place, besides the backlog of the socket.
    """

    places: int = 64
    share: int = 8
    waiting: int = 256


@dataclass(eq=False)
class AcceptedConnection:
    """One connection.

    Attributes:
        connection: the socket.
        caller: who is at the other end.
        party: whose share it counts to; None once it counts to nobody's.
        is_idle: no request is under way, and one was answered before.
    """

    connection: socket.socket
    caller: Caller
    party: Hashable
    is_idle: bool = False


class ConnectionLimiter:
    """Accepts connections and has each attended to.

    Args:
        listener: listens already; closed by whoever made it.
        attend: speaks with one connection until it ends; on a thread of its own.
        identify: asks who is at the other end; may raise OSError.
        party_of: says to whose share a caller counts.
        full: what one is told that not even the waiting room has room for.
        room: how many at once.
    """

    def __init__(
        self,
        listener: socket.socket,
        attend: Callable[[AcceptedConnection], None],
        *,
        identify: Callable[[socket.socket], Caller],
        party_of: Callable[[Caller], Hashable],
        full: bytes,
        room: ConnectionLimits,
    ) -> None:
        self._listener = listener
        self._attend = attend
        self._identify = identify
        self._party_of = party_of
        self._full = full
        self._room = room
        self._lock = threading.Lock()
        self._is_closing = False
        self._waiting: list[AcceptedConnection] = []
        self._seated: dict[AcceptedConnection, None] = {}
        self._shares: Counter[Hashable] = Counter()
        self._bell, self._rope = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="api", daemon=True)

    def start(self) -> None:
        """Begin to take connections in."""
        self._listener.setblocking(False)  # a connection may be gone again before it is accepted
        self._thread.start()

    def close(self) -> None:
        """Take nobody in any more, and cut every connection."""
        with self._lock:
            self._is_closing = True
            for visit in self._waiting:
                visit.connection.close()
            for visit in self._seated:
                _shut(visit.connection, socket.SHUT_RDWR)
            self._waiting.clear()
        self._rope.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._bell.close()

    def may_stay(self, visit: AcceptedConnection) -> bool:
        """Return whether a connection may be kept for another request; not while somebody waits for such a place."""
        with self._lock:
            visit.is_idle = not any(self._could_follow(visit, other) for other in self._waiting)
            return visit.is_idle

    def set_apart(self, visit: AcceptedConnection) -> None:
        """Count a connection to nobody's share any more: it stays for long, and is counted elsewhere."""
        with self._lock:
            self._give_back_share(visit)
            self._seat()

    def _accept(self) -> None:
        closing, door = select.poll(), select.poll()
        closing.register(self._bell, select.POLLIN)
        door.register(self._bell, select.POLLIN)
        door.register(self._listener, select.POLLIN)
        while True:
            door.poll()
            if self._is_closing:
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:
                log.warning("no connection can be taken: %s", error)
                closing.poll(BREATH)
                continue
            try:
                caller = self._identify(connection)
            except OSError as error:
                log.warning("a caller cannot be told: %s", error)
                connection.close()
                continue
            self._let_in(AcceptedConnection(connection, caller, self._party_of(caller)))

    def _let_in(self, visit: AcceptedConnection) -> None:
        with self._lock:
            if self._is_closing:
                visit.connection.close()
                return
            self._waiting.append(visit)
            self._seat()
            too_many = self._newest_of_the_most() if len(self._waiting) > self._room.waiting else None
            self._ask_idle_ones_to_leave()
        if too_many is not None:
            too_many.connection.setblocking(False)
            with suppress(OSError):
                too_many.connection.send(self._full)
            too_many.connection.close()

    def _seat(self) -> None:
        """Give places to those who waited longest, as far as there are places and their shares allow."""
        for visit in tuple(self._waiting):
            if self._is_closing or len(self._seated) >= self._room.places:
                return
            if self._shares[visit.party] < self._room.share:
                self._waiting.remove(visit)
                self._seated[visit] = None
                self._shares[visit.party] += 1
                self._begin(visit)

    def _begin(self, visit: AcceptedConnection) -> None:
        try:
            threading.Thread(target=self._attend_to, args=(visit,), name="api-visit", daemon=True).start()
        except RuntimeError as error:
            log.warning("a connection cannot be attended to: %s", error)
            visit.connection.close()
            self._give_back(visit)

    def _attend_to(self, visit: AcceptedConnection) -> None:
        try:
            with visit.connection, suppress(OSError):  # whoever is gone is gone
                self._attend(visit)
        finally:
            with self._lock:
                self._give_back(visit)
                self._seat()

    def _give_back(self, visit: AcceptedConnection) -> None:
        del self._seated[visit]
        self._give_back_share(visit)

    def _give_back_share(self, visit: AcceptedConnection) -> None:
        if visit.party is not None:
            self._shares -= Counter({visit.party: 1})  # which also forgets a party with no share left
            visit.party = None

    def _newest_of_the_most(self) -> AcceptedConnection:
        most = Counter(visit.party for visit in self._waiting).most_common(1)[0][0]
        newest = [visit for visit in self._waiting if visit.party == most][-1]
        self._waiting.remove(newest)
        return newest

    def _ask_idle_ones_to_leave(self) -> None:
        """Close idle connections whose places others wait for, as HTTP allows at any time (RFC 9112 §9.5).

        Only the way in is shut: a request that is there already is still answered.
        """
        waiting = list(self._waiting)
        for visit in [seated for seated in self._seated if seated.is_idle]:
            follower = next((other for other in waiting if self._could_follow(visit, other)), None)
            if follower is not None:
                waiting.remove(follower)
                visit.is_idle = False
                _shut(visit.connection, socket.SHUT_RD)

    def _could_follow(self, visit: AcceptedConnection, other: AcceptedConnection) -> bool:
        if self._shares[other.party] >= self._room.share:
            return other.party == visit.party
        return len(self._seated) >= self._room.places


class OwnListener:
    """A listening socket that we make ourselves, in place of one that an earlier service left behind.

    Args:
        path: where; its folder is there, and nobody else can put files in it.

    Raises:
        StoreError: it cannot be made, or what lies there is not ours to remove.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _check_place(path)
            self._made = self._make(path.with_name(path.name + ".new"))
        except BaseException:
            self.listener.close()
            raise

    def close(self) -> None:
        """Listen no more; remove the socket, unless it is another's by now."""
        with suppress(OSError):
            if self._path.lstat().st_ino == self._made:
                self._path.unlink()
        self.listener.close()

    def _make(self, beside: Path) -> int:
        """Make it beside, so that it is never seen half made; give its inode."""
        try:
            beside.unlink(missing_ok=True)
            self.listener.bind(str(beside))
            self.listener.listen(BACKLOG)
            beside.chmod(SOCKET_MODE)
            beside.rename(self._path)
            return self._path.lstat().st_ino
        except OSError as error:
            raise StoreError(
                f"cannot make the socket {self._path}: {error}",
                hint="Check who owns its folder, and how long its path is.",
            ) from error


def _check_place(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot look at {path}: {error}", hint="Check who owns its folder.") from error
    if not S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise StoreError(f"{path} is not a socket of ours", hint="Find out whose it is, and remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)  # a full backlog is an answer too
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            log.debug("%s: %s", path, error)
    raise StoreBusy(f"another service answers at {path}", hint="Stop it first: systemctl stop device-auth")


def _shut(connection: socket.socket, how: int) -> None:
    with suppress(OSError):  # it may have ended by itself
        connection.shutdown(how)
