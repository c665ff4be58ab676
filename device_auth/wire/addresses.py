"""Addresses: the form of one that a request or a person may be sent to, and of a proxy's."""

import ipaddress
import re
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

from device_auth.core.models import Secret
from device_auth.core.values import dataclass

LONGEST_ADDRESS: Final = 512
"""Characters."""

PROXY_PORTS: Final = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
"""The schemes of proxies, each with its usual port."""

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def fault_of_address(text: str, *, is_for_people: bool = False, may_have_query: bool = True) -> str:
    """Return what is wrong with an address, in words that complete "NAME ...", or nothing.

    It must be https (http reaches this machine only), name a host, and hold neither user name nor password.

    Args:
        text: from outside.
        is_for_people: whether a person opens it, not this program: then any host will do, and a fragment.
        may_have_query: false where a path is appended, and for an issuer (RFC 8414 §2).
    """
    if not text.isascii() or not text.isprintable() or set(' "<>\\^`{|}') & set(text):
        return "has characters that do not belong in an address"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a well-formed address"
    if "@" in parts.netloc:
        return "must not hold a user name or a password"
    if "#" in text and not is_for_people:
        return "must not have a fragment (#)"
    if parts.scheme not in {"https", "http"}:
        return "must begin with https://"
    if not host or (not is_for_people and (port == 0 or not _is_host(host))):
        return "names no host that could be reached"
    if parts.scheme == "http" and not is_loopback(host):
        return "must begin with https:// (plain http only reaches this machine itself)"
    if "?" in text and not may_have_query:
        return "must not have a query (?)"
    return f"is longer than {LONGEST_ADDRESS} characters" if len(text) > LONGEST_ADDRESS else ""


def is_loopback(host: str) -> bool:
    """Return whether a host name can only mean this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # ::ffff:127.0.0.1 reaches 127.0.0.1; the library says so from Python 3.13 on only.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def stays_here(url: str) -> bool:
    """Return whether a request to an address stays on this machine."""
    return is_loopback(urlsplit(url).hostname or "")


def may_be_sent_to(url: str) -> bool:
    """Return whether a request may leave for an address: by https, or by http within this machine."""
    scheme = urlsplit(url).scheme
    return scheme == "https" or (scheme == "http" and stays_here(url))


def _is_host(host: str) -> bool:
    # resolvers read 127.1 and 0x7f000001 as addresses too, so a name that ends in a number must be a whole address
    last = host.rpartition(".")[2]
    if ":" in host or last.isdigit() or last.startswith("0x"):
        with suppress(ValueError):
            ipaddress.ip_address(host)
            return "%" not in host
        return False
    return re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?", host) is not None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; as a text, its address with user and password masked.

    Attributes:
        scheme: one of ``PROXY_PORTS``.
        address: as it was given, with user and password.
        user: name and password, with a colon between; empty if the address has none.
    """

    scheme: str
    host: str
    port: int
    address: Secret
    user: Secret

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{'***@' if self.user.reveal() else ''}{host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        """Return whether it speaks SOCKS, not HTTP."""
        return self.scheme.startswith("socks")


def read_proxy(text: str) -> Proxy:
    """Read the address of a proxy.

    Raises:
        ValueError: if it is not one; the words complete "NAME ..." and do not show it.
    """
    if not text.isprintable() or " " in text:
        raise ValueError("has characters that do not belong in an address")
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PROXY_PORTS:
        raise ValueError(f"must begin with {' or '.join(f'{name}://' for name in PROXY_PORTS)}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        # the rules of names, as the resolver applies them
        is_name = bool(host.encode("idna"))
    except ValueError:  # a UnicodeError is one
        raise ValueError("is not a well-formed address") from None
    if not is_name or port == 0:
        raise ValueError("names no host that could be reached")
    user = ":".join(unquote(each) for each in (parts.username, parts.password) if each is not None)
    return Proxy(scheme, host, port or PROXY_PORTS[scheme], Secret(text), Secret(user))
