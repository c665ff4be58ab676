"""Connect to a name: its addresses race, so that one that swallows every packet costs a quarter of a second.

A and AAAA are asked for at once; the families alternate, IPv6 first; the next address starts when the one before has
failed or has been silent for 250 ms; the first that connects is used and the others are closed. The address that worked
is tried first the next time. Source: RFC 8305 ("Happy Eyeballs Version 2").
"""

import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from device_auth.core.models import Seconds
from device_auth.core.values import dataclass

ATTEMPT_DELAY: Final = Seconds(0.25)
"""Between the starts of two connection attempts. Source: RFC 8305 §5, "Connection Attempt Delay"."""

RESOLUTION_DELAY: Final = Seconds(0.05)
"""How long IPv4 addresses wait for IPv6 ones that are still being looked up. Source: RFC 8305 §3."""

NO_ROUTE: Final = frozenset(
    {
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
    }
)
"""Errors of connect(2) by which this machine has no route to an address."""

FAMILIES: Final = (socket.AF_INET6, socket.AF_INET)
"""In the order in which they are tried. Source: RFC 8305 §4."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address to connect to; ``where`` has the form that the family wants."""

    family: int
    where: Any

    @property
    def ip(self) -> str:
        """Return the IP address alone."""
        return str(self.where[0])

    def at_port(self, port: int) -> "Address":
        """Return another port of this machine."""
        return Address(self.family, (self.where[0], port, *self.where[2:]))


Resolve = Callable[[str, int, int], list[Address]]
"""Return the addresses of a host and port in one family; raises ``socket.gaierror``, or ``UnicodeError`` for an impossible name."""


class CallCancelled(Exception):
    """The request was cancelled before this socket came into use."""


class CancelHandle:
    """Shuts down the sockets of one request from another thread."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []

    def watch(self, in_use: socket.socket) -> socket.socket:
        """Watch a socket that has begun to connect.

        Returns:
            A duplicate, which ``unwatch`` takes: TLS takes the descriptor out of the object given here, and the number of
            a closed descriptor may be another's at once.

        Raises:
            CallCancelled: if the request has been cancelled.
        """
        with self._lock:
            if self.is_cancelled:
                raise CallCancelled
            duplicate = socket.socket(fileno=os.dup(in_use.fileno()))
            self._watched.append(duplicate)
            return duplicate

    def unwatch(self, duplicate: socket.socket) -> None:
        """Watch a socket no longer: the connection ends when its owner closes it."""
        with self._lock, suppress(ValueError):  # released meanwhile
            self._watched.remove(duplicate)
        duplicate.close()

    def cancel(self) -> None:
        """Shut the sockets down for good: a call that waits on one of them ends."""
        with self._lock:
            self.is_cancelled = True
            for watched in self._watched:
                with suppress(OSError):  # it may never have been connected
                    watched.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Watch no socket any longer; their owner closes them or keeps them open."""
        with self._lock:
            for watched in self._watched:
                watched.close()
            self._watched.clear()


def resolve(host: str, port: int, family: int) -> list[Address]:
    """Ask the system's resolver; see ``Resolve``."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [Address(int(kind), where) for kind, _, _, _, where in found]


class Dialer:
    """Connects, and remembers which address of a name worked.

    Args:
        resolve: looks a name up.
        attempt_delay: see ``ATTEMPT_DELAY``; a cancel may take so long to be heard.
    """

    def __init__(self, resolve: Resolve = resolve, attempt_delay: Seconds = ATTEMPT_DELAY) -> None:
        self._resolve = resolve
        self._attempt_delay = attempt_delay
        self._worked: dict[tuple[str, int], Address] = {}

    def dial(self, host: str, port: int, timeout: Seconds | None, handle: CancelHandle) -> socket.socket:
        """Connect to the first address that answers; blocks.

        Args:
            host: a name, or an address without brackets.
            port: of TCP.
            timeout: how long the last address may be silent, and later the connection; None: without a limit.
            handle: cancels it, which is heard within 250 ms.

        Returns:
            The connected socket, watched by ``handle``.

        Raises:
            CallCancelled: if ``handle`` was cancelled.
            OSError: if the name has no address (``socket.gaierror``) or no address was reached; of several reasons the
                first of an address to which there is a route.
            UnicodeError: if the name cannot be one.
        """
        with _looking_up(self._resolve, host, port) as lookups:
            race = _Race(lookups, self._worked.get((host, port)), handle, self._attempt_delay)
            try:
                address, sock = race.run(timeout)
            finally:
                race.close_the_rest()
        self._worked[host, port] = address
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def dial_first(addresses: Sequence[Address], timeout: Seconds) -> socket.socket:
    """Connect to the first of known addresses that answers; see ``Dialer.dial``.

    Raises:
        OSError: if none was reached.
    """

    def known(_host: str, _port: int, family: int) -> list[Address]:
        return [address for address in addresses if address.family == family]

    handle = CancelHandle()
    try:
        return Dialer(known).dial("", 0, timeout, handle)
    finally:
        handle.release()


class _Lookups:
    """The look-ups of one name, one a family. ``bell`` becomes readable at each answer."""

    def __init__(self, bell: int) -> None:
        self.bell = bell
        self.answers: SimpleQueue[tuple[int, list[Address] | OSError | UnicodeError]] = SimpleQueue()
        self.outstanding = set(FAMILIES)

    def take(self) -> Iterator[list[Address] | OSError | UnicodeError]:
        """Yield the answers that have come."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.bell)
        with suppress(Empty):
            while True:
                family, answer = self.answers.get_nowait()
                self.outstanding.discard(family)
                yield answer


@contextmanager
def _looking_up(resolve: Resolve, host: str, port: int) -> Iterator[_Lookups]:
    """Look the name up in both families at once, each on a thread: a resolver cannot be interrupted."""
    bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        lookups = _Lookups(bell)
        for family in FAMILIES:
            # The thread may outlive the race; so it rings by a descriptor of its own.
            own_bell = os.dup(bell)
            arguments = (lookups, own_bell, resolve, host, port, family)
            try:
                threading.Thread(target=_look_up, args=arguments, daemon=True).start()
            except RuntimeError as error:  # no memory for a thread: this passes, as a busy resolver does
                os.close(own_bell)
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        yield lookups
    finally:
        os.close(bell)


def _look_up(lookups: _Lookups, bell: int, resolve: Resolve, host: str, port: int, family: int) -> None:
    answer: list[Address] | OSError | UnicodeError
    try:
        answer = resolve(host, port, family)
    except (OSError, UnicodeError) as error:
        answer = error
    lookups.answers.put((family, answer))
    os.eventfd_write(bell, 1)
    os.close(bell)


class _Race:
    """The connection attempts to the addresses of one name."""

    def __init__(
        self, lookups: _Lookups, favourite: Address | None, handle: CancelHandle, attempt_delay: Seconds
    ) -> None:
        self._attempt_delay = attempt_delay
        self._lookups = lookups
        self._favourite = favourite
        self._handle = handle
        self._first: list[Address] = []
        self._waiting: dict[int, deque[Address]] = {family: deque() for family in FAMILIES}
        self._turn = deque(FAMILIES)
        self._running: dict[int, tuple[Address, socket.socket, socket.socket]] = {}
        self._poll = select.poll()
        self._is_due = True
        self._silence = 0.0
        self._awaited: int | None = socket.AF_INET6 if favourite is None else favourite.family
        self._failure: OSError | UnicodeError | None = None
        self._lookup_failure: OSError | UnicodeError | None = None

    def run(self, timeout: Seconds | None) -> tuple[Address, socket.socket]:
        """Wait for the first connection; see ``Dialer.dial``."""
        self._poll.register(self._lookups.bell, select.POLLIN)
        connected = None
        while connected is None:
            self._collect()
            if self._is_due and self._has_addresses and not self._is_held_back:
                self._is_due, self._silence = not self._start(self._next()), 0.0
            elif self._has_addresses or self._running or self._lookups.outstanding:
                connected = self._wait()
                self._refuse_silence(timeout)
            else:
                raise self._failure or self._lookup_failure or OSError("the name has no address")
        return connected

    def _wait(self) -> tuple[Address, socket.socket] | None:
        """Wait until an attempt ends, a look-up is answered, or the next attempt is due; return a connection.

        Raises:
            CallCancelled: if the request was cancelled.
        """
        delay = RESOLUTION_DELAY if self._has_addresses and self._is_held_back else self._attempt_delay
        ready = self._poll.poll(delay * 1000)
        if self._handle.is_cancelled:
            raise CallCancelled
        if not ready:
            self._silence += delay
            self._is_due = True
            self._awaited = None if self._has_addresses else self._awaited
        for descriptor, _ in ready:
            if descriptor in self._running:
                connected = self._end(descriptor)
                if connected is not None:
                    return connected
                self._is_due = True
        return None

    def _refuse_silence(self, timeout: Seconds | None) -> None:
        """Raise the reason if the last address has been silent for too long."""
        is_last = bool(self._running) and not self._has_addresses
        if timeout is not None and is_last and self._silence >= timeout:
            self._note(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))
            raise self._failure or AssertionError

    @property
    def _has_addresses(self) -> bool:
        return bool(self._first) or any(self._waiting.values())

    @property
    def _is_held_back(self) -> bool:
        """Return whether addresses wait for those of the other family: that of the one that worked before, else IPv6."""
        return self._awaited in self._lookups.outstanding and not self._first

    def close_the_rest(self) -> None:
        """Close every attempt that has not connected."""
        for _, sock, duplicate in self._running.values():
            self._handle.unwatch(duplicate)
            sock.close()

    def _collect(self) -> None:
        for answer in self._lookups.take():
            if isinstance(answer, list):
                for address in answer:
                    queue = self._first if address == self._favourite else self._waiting[address.family]
                    queue.append(address)
                self._is_due = self._is_due or bool(
                    self._first
                )  # it waits for no attempt that began before it
            elif self._lookup_failure is None or getattr(answer, "errno", None) == socket.EAI_AGAIN:
                # A family without an address is not a failure; one that could not be looked up says more.
                self._lookup_failure = answer

    def _next(self) -> Address:
        if self._first:
            return self._first.pop()
        if not self._waiting[self._turn[0]]:
            self._turn.rotate()
        address = self._waiting[self._turn[0]].popleft()
        self._turn.rotate()
        return address

    def _start(self, address: Address) -> bool:
        """Start to connect; return whether it has not failed at once."""
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:  # a family that this kernel does not have
            self._note(error)
            return False
        sock.setblocking(False)
        outcome = sock.connect_ex(address.where)
        if outcome not in (0, errno.EINPROGRESS):
            sock.close()
            self._note(OSError(outcome, os.strerror(outcome)))
            return False
        try:
            # Watched only now: a shutdown before connect(2) would be forgotten by it.
            duplicate = self._handle.watch(sock)
        except CallCancelled:
            sock.close()
            raise
        self._running[sock.fileno()] = address, sock, duplicate
        self._poll.register(sock, select.POLLOUT)
        return True

    def _end(self, descriptor: int) -> tuple[Address, socket.socket] | None:
        """End an attempt: return it if it has connected, else note why not and close it."""
        address, sock, duplicate = self._running.pop(descriptor)
        self._poll.unregister(descriptor)
        outcome = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if outcome == 0:
            return address, sock
        self._handle.unwatch(duplicate)
        sock.close()
        self._note(OSError(outcome, os.strerror(outcome)))
        return None

    def _note(self, failure: OSError) -> None:
        # An address without a route says nothing beside one that was really tried.
        if self._failure is None or getattr(self._failure, "errno", None) in NO_ROUTE:
            self._failure = failure
