"""The visitors who may see the speaker's own page: its neighbours.

A neighbour has a private address on the link that the connection came in on. The names in a request are checked as
well, because a neighbour's browser runs pages of other sites. A visitor on this machine may be a program of another
user, who must not read the code.
"""

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RESOLVER: Final = Path("/etc/resolv.conf")
"""Names the domains of the network. Source: resolv.conf(5)."""

_LOCAL: Final = re.compile(r"([a-z0-9_-]+\.)+local")
"""No site can have such a name: it is looked up on the link only (RFC 6762 §3). Avahi adds -2 where one is taken."""

USUAL_PORT: Final = 80
"""Left out of an address. Source: RFC 9110 §4.2.1."""

MOST_OF_KERNEL: Final = 64 * 1024
"""Bytes of one answer of the kernel; it sends at most 32 KiB at once."""

_KERNEL_WITHIN: Final = 1.0
_HEAD: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR, _END, _NEW_ADDRESS, _GET_ADDRESSES, _NEW_NEIGHBOUR, _GET_NEIGHBOURS = 2, 3, 20, 22, 28, 30
_REQUEST_ALL: Final = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NDA_DST, _NDA_CARD = 1, 2
"""Source: Linux, ``netlink.h``, ``rtnetlink.h``, ``if_addr.h``, ``neighbour.h``."""


# ---------------------------------------------------------------------------------------------------------
# Who is a neighbour


def read_address(text: str) -> Address:
    """Read an address of a socket without its zone, and IPv4 within IPv6 as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Nearness(Enum):
    """Where a visitor is, by the addresses of both ends of the connection.

    A visitor of another network may be in the house; one who is far has a public address that lies in none of our networks.
    """

    FAR = auto()
    OTHER_NETWORK = auto()
    NEIGHBOUR = auto()
    THIS_MACHINE = auto()


class OwnAddress(NamedTuple):
    """An address of this machine, and the network it lies in; None behind a point-to-point link."""

    address: Address
    network: Network | None


def nearness_of(visitor: Address, own: Address, ours: Collection[OwnAddress]) -> Nearness:
    """Return where a visitor is: on this machine, or with a private address on the link that it came in on.

    Args:
        visitor: the other end of the connection.
        own: this end of it; loopback is answered on loopback only.
        ours: this machine's addresses, see :func:`read_own_addresses`.
    """
    if own.is_loopback or visitor.is_loopback:
        return Nearness.THIS_MACHINE if own.is_loopback and visitor.is_loopback else Nearness.OTHER_NETWORK
    networks = [network for _, network in ours if network is not None and own in network]
    # the narrowest is the link's own: a tunnel may add a route to half the addresses there are
    is_on_link = bool(networks) and visitor in max(networks, key=lambda network: network.prefixlen)
    is_private = visitor.is_private or visitor.is_link_local
    if not (is_on_link and is_private):
        return Nearness.OTHER_NETWORK if is_on_link or is_private else Nearness.FAR
    # a program here may dial from any address of this machine, of another interface too
    is_ours = any(visitor == address for address, _ in ours)
    return Nearness.THIS_MACHINE if is_ours else Nearness.NEIGHBOUR


def find_nearness(visitor: Address, own: Address) -> Nearness:
    """Return where a visitor is, by this machine's addresses of the moment."""
    return nearness_of(visitor, own, read_own_addresses())


def addresses_of(hostname: str, own: Address, port: int) -> list[str]:
    """Return where a phone in the speaker's network finds the page.

    Args:
        hostname: of this machine; none if the name leads nowhere.
        own: an address of this machine; left out where no neighbour can use it as it stands.
        port: of the page.
    """
    plain = hostname.partition(".")[0]
    hosts = [f"{plain}.local"] if plain not in {"", "localhost"} else []
    if own.version == 4 and own.is_private:  # noqa: PLR2004  IPv4
        hosts.append(str(own))
    elif own.is_private and not own.is_link_local:  # a browser knows no zone
        hosts.append(f"[{own}]")
    return [f"http://{host}/" if port == USUAL_PORT else f"http://{host}:{port}/" for host in hosts]


def read_own_addresses(ask: Callable[[int], bytes] | None = None) -> list[OwnAddress]:
    """Read this machine's addresses; routes through them, as a tunnel adds, make no neighbours.

    Args:
        ask: returns the kernel's messages of one kind.
    """
    ours: list[OwnAddress] = []
    for head, attributes in _read_messages((ask or _ask_kernel)(_GET_ADDRESSES), _NEW_ADDRESS, 8):
        # behind a point-to-point link IFA_ADDRESS is the other end, and nobody else is there
        own = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
        if own:
            is_shared = own == attributes.get(_IFA_ADDRESS)
            network = ipaddress.ip_network((own, head[1]), strict=False) if is_shared else None
            ours.append(OwnAddress(ipaddress.ip_address(own), network))
    return ours


def owner_of(visitor: Address, ask: Callable[[int], bytes] | None = None) -> str:
    """Return to whose share a visitor counts: the network card, else the address, of IPv6 its /64.

    A neighbour may have any number of addresses; the kernel knows the card of each that it has sent something to.
    """
    for head, attributes in _read_messages((ask or _ask_kernel)(_GET_NEIGHBOURS), _NEW_NEIGHBOUR, 12):
        if attributes.get(_NDA_DST) == visitor.packed and (card := attributes.get(_NDA_CARD)):
            return f"card {card.hex(':')} {head[4:8].hex()}"
    return str(visitor) if visitor.version == 4 else str(ipaddress.ip_network((visitor, 64), strict=False))  # noqa: PLR2004  IPv4


def _ask_kernel(kind: int) -> bytes:
    """Return the kernel's messages of one kind; none if it does not answer. Source: netlink(7), rtnetlink(7)."""
    answer = b""
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as kernel:
        kernel.settimeout(_KERNEL_WITHIN)
        kernel.send(_HEAD.pack(_HEAD.size + 12, kind, _REQUEST_ALL, 0, 0) + bytes(12))
        kinds: set[int] = set()
        while not kinds & {_END, _ERROR}:
            some = kernel.recv(MOST_OF_KERNEL)
            kinds |= {kind for kind, _ in _split(some, _HEAD)}
            answer += some
    return answer


def _split(records: bytes, head: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each record: messages and their attributes are framed alike.

    Args:
        records: one after the other, each begun at a multiple of 4 bytes.
        head: of each; its first two fields are the length, head included, and the kind.
    """
    while len(records) >= head.size:
        length, kind, *_ = head.unpack_from(records)
        if length < head.size:
            return
        yield kind, records[head.size : length]
        records = records[(length + 3) & ~3 :]


def _read_messages(messages: bytes, kind: int, size: int) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Yield the fixed part, of so many bytes, and the attributes of each message of a kind."""
    for found, content in _split(messages, _HEAD):
        if found == kind:
            yield content[:size], dict(_split(content[size:], _ATTRIBUTE))


# ---------------------------------------------------------------------------------------------------------
# Which requests are meant for us


def is_our_host(host: str, own: Address, names: Collection[str]) -> bool:
    """Return whether a request names this speaker, and not a site that points its own name at it (DNS rebinding).

    Args:
        host: the field ``Host``.
        own: this end of the connection; its literal is always ours.
        names: of this speaker, in lower case.
    """
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    plain = name.removesuffix(".").lower()
    if plain in names or _LOCAL.fullmatch(plain):
        return True
    is_literal = name.startswith("[") and name.endswith("]") if own.version == 6 else True  # noqa: PLR2004  IPv6
    with suppress(ValueError):
        return is_literal and ipaddress.ip_address(name.strip("[]")) == own
    return False


def names_of(hostname: str, more: Collection[str], resolver: Path = RESOLVER) -> set[str]:
    """Return every name of the speaker in lower case: host name, also in each domain of the network, and the settings'."""
    hostname = hostname.lower()
    plain = hostname.partition(".")[0]
    domains: list[str] = []
    with suppress(OSError, ValueError):
        for line in resolver.read_text(encoding="ascii").splitlines():
            word, *rest = line.lower().split() or [""]
            domains += rest if word in {"search", "domain"} else []
    in_domains = {f"{plain}.{domain.strip('.')}" for domain in domains if domain.strip(".") and plain}
    return {hostname, plain, *in_domains, *(name.lower() for name in more)} - {""}


def names_loopback(names: Collection[str]) -> bool:
    """Return whether one of these names is that of this machine for its own programs."""
    for name in names:
        if name.removesuffix(".").lower() == "localhost":
            return True
        with suppress(ValueError):
            if read_address(name).is_loopback:
                return True
    return False


def is_own_request(fields: Mapping[str, str]) -> bool:
    """Return whether a request comes from no page of another site.

    Browsers send ``Sec-Fetch-Site`` to trustworthy origins only, and a speaker without a certificate is not one; to
    other origins they still send ``Origin`` with requests that cross sites. Source: Fetch Metadata §2.3; Fetch §3.2.
    """
    site, origin = fields.get("sec-fetch-site"), fields.get("origin")
    return site in {None, "same-origin"} and origin in {None, f"http://{fields.get('host')}"}
