"""Who may see the speaker's own page, and how often: its neighbours, for as long as they behave.

A neighbour has a private address on the very link that the connection came in on. The names in a request are
looked at as well, because a neighbour's browser runs pages of other sites.
"""

import ipaddress
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.models import Monotonic, Seconds, later

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROC_NET: Final = Path("/proc/net")
"""Where the kernel tells its routes and addresses. Source: proc_pid_net(5), if_inet6 and route."""

MOST_KNOWN: Final = 256
"""Visitors remembered at a time."""

_ROUTE_IS_UP: Final = 0x1
_ROUTE_HAS_GATEWAY_OR_REJECTS: Final = 0x202


# ---------------------------------------------------------------------------------------------------------
# Who is a neighbour


def read_address(text: str) -> Address:
    """Read an address as the socket gives it: without its zone, and IPv4 within IPv6 as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_neighbour(visitor: Address, own: Address, networks: Collection[Network]) -> bool:
    """Return whether a visitor is on the link that the connection came in on, with an address of no wider reach.

    Args:
        visitor: the other end of the connection.
        own: this end of it; loopback is answered on loopback only.
        networks: what lies on this machine's links, see :func:`read_networks`.
    """
    if own.is_loopback or visitor.is_loopback:
        return own.is_loopback and visitor.is_loopback
    if not (visitor.is_private or visitor.is_link_local):
        return False
    ours = [network for network in networks if own in network]
    # the narrowest is the link's own; a tunnel may have laid half the world beside it
    return bool(ours) and visitor in max(ours, key=lambda network: network.prefixlen)


def read_networks(proc_net: Path = PROC_NET) -> list[Network]:
    """Read which networks lie on this machine's links; what cannot be read is none."""
    networks: list[Network] = []
    for name, read in (("route", _read_route), ("if_inet6", _read_own_address)):
        with suppress(OSError):
            for line in (proc_net / name).read_text(encoding="ascii").splitlines():
                # the heading, and whatever else is no such line
                with suppress(ValueError, IndexError):
                    networks += read(line.split())
    return networks


def _read_route(fields: list[str]) -> Iterator[Network]:
    destination, gateway, flags, mask = (int(fields[place], 16) for place in (1, 2, 3, 7))
    is_on_link = flags & _ROUTE_IS_UP and not flags & _ROUTE_HAS_GATEWAY_OR_REJECTS and not gateway
    if is_on_link and mask:
        # the kernel prints them in the byte order of the machine, which is little-endian wherever this runs
        texts = [ipaddress.IPv4Address(number.to_bytes(4, "little")) for number in (destination, mask)]
        yield ipaddress.IPv4Network((str(texts[0]), str(texts[1])))


def _read_own_address(fields: list[str]) -> Iterator[Network]:
    yield ipaddress.IPv6Network((bytes.fromhex(fields[0]), int(fields[2], 16)), strict=False)


# ---------------------------------------------------------------------------------------------------------
# What the request says of itself


def is_our_host(host: str, own: Address, names: Collection[str]) -> bool:
    """Return whether a request means this speaker and not a name that another site has pointed at it.

    Args:
        host: the field ``Host``.
        own: this end of the connection: its literal is always ours.
        names: what this speaker is called, in small letters.
    """
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name.removesuffix(".").lower() in names:
        return True
    is_literal = name.startswith("[") and name.endswith("]") if own.version == 6 else True  # noqa: PLR2004  IPv6
    with suppress(ValueError):
        return is_literal and ipaddress.ip_address(name.strip("[]")) == own
    return False


def names_of(hostname: str, more: Collection[str]) -> set[str]:
    """Return every name of the speaker, in small letters: its host name, the one in mDNS, and those of the settings."""
    hostname = hostname.lower()
    return {hostname, f"{hostname.partition('.')[0]}.local", *(name.lower() for name in more)} - {""}


def is_own_request(fields: Message) -> bool:
    """Return whether a request does not come from a page of another site.

    Browsers send ``Sec-Fetch-Site`` to trustworthy origins only, which a speaker without a certificate is not; to
    the others they still send ``Origin`` with whatever crosses sites. Source: Fetch Metadata §2.3; Fetch §3.2.
    """
    site, origin = fields.get("Sec-Fetch-Site"), fields.get("Origin")
    return site in {None, "same-origin"} and origin in {None, f"http://{fields.get('Host')}"}


# ---------------------------------------------------------------------------------------------------------
# How often


class VisitorLimits(NamedTuple):
    """How much is served.

    Attributes:
        connections: at a time, streams of events among them.
        connections_each: of one visitor.
        streams: of events at a time.
        streams_each: of one visitor.
        burst_each: connections that a visitor may open at once ...
        every_each: ... and how long until there may be one more.
        burst: the same for all visitors together: beyond it the next is accepted later.
        every: the same.
        visit: how long a request may take to come in, and as long again for its answer to go out.
    """

    connections: int = 32
    connections_each: int = 8
    streams: int = 16
    streams_each: int = 4
    burst_each: int = 40
    every_each: Seconds = Seconds(0.5)
    burst: int = 80
    every: Seconds = Seconds(0.04)
    visit: Seconds = Seconds(5)


class TokenBucket:
    """So many at once, and one more after each while.

    Args:
        burst: how many at once.
        every: how long until there may be one more.
    """

    def __init__(self, burst: int, every: Seconds) -> None:
        self._slack = Seconds((burst - 1) * every)
        self._every = every
        self._used_until = Monotonic(float("-inf"))

    def due_in(self, now: Monotonic) -> Seconds:
        """Return how long until there may be one more; 0 for now."""
        return Seconds(max(0.0, self._used_until - now - self._slack))

    def take(self, now: Monotonic) -> bool:
        """Take one, if there may be one now."""
        if self.due_in(now):
            return False
        self._used_until = later(max(self._used_until, now), self._every)
        return True

    def is_whole(self, now: Monotonic) -> bool:
        """Return whether as many may be taken as ever."""
        return self._used_until <= now


@dataclass(slots=True)
class _VisitorState:
    """One visitor as the door knows it."""

    allowance: TokenBucket
    connections: int = 0
    streams: int = 0


@dataclass(slots=True)
class VisitorLimiter:
    """Lets visitors in, a few at a time; from any thread.

    Attributes:
        limits: how few.
    """

    limits: VisitorLimits = field(default_factory=VisitorLimits)
    _guests: dict[str, _VisitorState] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, visitor: str, now: Monotonic) -> HTTPStatus | None:
        """Let a visitor in, or say why not."""
        with self._lock:
            guest = self._guests.get(visitor) or self._meet(visitor, now)
            if guest is None or self._count(lambda each: each.connections) >= self.limits.connections:
                return HTTPStatus.SERVICE_UNAVAILABLE
            if guest.connections >= self.limits.connections_each or not guest.allowance.take(now):
                return HTTPStatus.TOO_MANY_REQUESTS
            guest.connections += 1
            return None

    def leave(self, visitor: str) -> None:
        """See a visitor out whom :meth:`enter` has let in."""
        with self._lock:
            self._guests[visitor].connections -= 1

    def open_stream(self, visitor: str) -> bool:
        """Let a visitor who is in stay for events, if there is room."""
        with self._lock:
            guest = self._guests[visitor]
            is_room = self._count(lambda each: each.streams) < self.limits.streams
            if not is_room or guest.streams >= self.limits.streams_each:
                return False
            guest.streams += 1
            return True

    def close_stream(self, visitor: str) -> None:
        """Take note that a stream has ended."""
        with self._lock:
            self._guests[visitor].streams -= 1

    def _meet(self, visitor: str, now: Monotonic) -> _VisitorState | None:
        if len(self._guests) >= MOST_KNOWN:
            self._guests = {
                name: guest
                for name, guest in self._guests.items()
                if guest.connections or not guest.allowance.is_whole(now)
            }
        if len(self._guests) >= MOST_KNOWN:
            return None
        guest = TokenBucket(self.limits.burst_each, self.limits.every_each)
        return self._guests.setdefault(visitor, _VisitorState(guest))

    def _count(self, of: "Callable[[_VisitorState], int]") -> int:
        return sum(map(of, self._guests.values()))
