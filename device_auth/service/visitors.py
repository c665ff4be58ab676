"""The visitors who may see the speaker's own page: its neighbours.

A neighbour has a private address on the link that the connection came in on. The names in a request are checked as
well, because a neighbour's browser runs pages of other sites.
"""

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PROC_NET: Final = Path("/proc/net")
"""Lists routes and addresses. Source: proc_pid_net(5), if_inet6 and route."""

_ROUTE_IS_UP: Final = 0x1
_ROUTE_HAS_GATEWAY_OR_REJECTS: Final = 0x202


# ---------------------------------------------------------------------------------------------------------
# Who is a neighbour


def read_address(text: str) -> Address:
    """Read an address of a socket without its zone, and IPv4 within IPv6 as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_neighbour(visitor: Address, own: Address, networks: Collection[Network]) -> bool:
    """Return whether a visitor is on the link that the connection came in on, with an address of no wider reach.

    Args:
        visitor: the other end of the connection.
        own: this end of it; loopback is answered on loopback only.
        networks: on this machine's links, see :func:`read_networks`.
    """
    if own.is_loopback or visitor.is_loopback:
        return own.is_loopback and visitor.is_loopback
    if not (visitor.is_private or visitor.is_link_local):
        return False
    ours = [network for network in networks if own in network]
    # the narrowest is the link's own: a tunnel may add a route to half the addresses there are
    return bool(ours) and visitor in max(ours, key=lambda network: network.prefixlen)


def read_networks(proc_net: Path = PROC_NET) -> list[Network]:
    """Read the networks on this machine's links; a line that cannot be read is none."""
    networks: list[Network] = []
    for name, read in (("route", _read_route), ("if_inet6", _read_own_address)):
        with suppress(OSError):
            for line in (proc_net / name).read_text(encoding="ascii").splitlines():
                # the heading, for one
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
    if name.removesuffix(".").lower() in names:
        return True
    is_literal = name.startswith("[") and name.endswith("]") if own.version == 6 else True  # noqa: PLR2004  IPv6
    with suppress(ValueError):
        return is_literal and ipaddress.ip_address(name.strip("[]")) == own
    return False


def names_of(hostname: str, more: Collection[str]) -> set[str]:
    """Return every name of the speaker in lower case: host name, name in mDNS, and those of the settings."""
    hostname = hostname.lower()
    return {hostname, f"{hostname.partition('.')[0]}.local", *(name.lower() for name in more)} - {""}


def is_own_request(fields: Mapping[str, str]) -> bool:
    """Return whether a request comes from no page of another site.

    Browsers send ``Sec-Fetch-Site`` to trustworthy origins only, and a speaker without a certificate is none; to
    other origins they still send ``Origin`` with requests that cross sites. Source: Fetch Metadata §2.3; Fetch §3.2.
    """
    site, origin = fields.get("sec-fetch-site"), fields.get("origin")
    return site in {None, "same-origin"} and origin in {None, f"http://{fields.get('host')}"}
