"""Redaction: masks all that may identify a person, a speaker or a network, or give access to one.

Two ways. By value: each known private value (the serial number, the host's name, every secret) is masked wherever it
stands. By form: text that looks like a token, a hardware address, a public IP address and so on is masked though it
was not known. Within one run a value always has one mask, so that a reader sees which lines are about one thing.

Private and loopback IP addresses stay: they help to find the fault, and do not show the place.
"""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import quote

from device_auth.core.models import Secret
from device_auth.core.values import replace
from device_auth.doctor.findings import Finding

KINDS: Final = (
    "account",
    "dsn",
    "email",
    "host",
    "ip",
    "mac",
    "secret",
    "serial",
    "ssid",
    "token",
    "user_code",
)
"""The kinds of mask, ``<dsn-1>`` and so on; the value of a fact with one of these names is masked everywhere."""

CLIENT_ID: Final = "client_id"
"""The kind whose last four characters stay, so that a person can tell clients apart."""

SHOWN: Final = 4

LONG: Final = 6
"""From this length on, a secret is masked within words too, and a value before text that is known by its form."""

OWN_WORDS: Final = frozenset(
    [
        "button",
        "client",
        "device",
        "amazon",
        "alexa",
        "light",
        "link",
        "linux",
        "network",
        "panel",
        "pi",
        "player",
        "radio",
        "raspberry",
        "root",
        "service",
        "socket",
        "speaker",
        "system",
        "token",
        "unit",
        "user",
        "voice",
    ]
)
"""Words of our texts that are also names of machines: masked only where they can mean nothing else."""

READABLE: Final = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)
"""Networks whose addresses do not show where a speaker is. Source: RFC 1918, 6598, 6890, 4193, 4291."""

_HEX_PAIRS: Final = r"[0-9A-Fa-f]{2}"
_BEGINS: Final = r"(?<![^\W_])"
_ENDS: Final = r"(?![^\W_])"
"""No letter or digit before or after; an underscore joins two words, and either may be private."""

_VALUE: Final = r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'<>&;,]+)"
"""A value after its name, quoted or not."""

_MAC: Final = re.compile(
    rf"{_BEGINS}(?:{_HEX_PAIRS}(?::{_HEX_PAIRS}){{5}}|{_HEX_PAIRS}(?:-{_HEX_PAIRS}){{5}}"
    rf"|[0-9A-Fa-f]{{4}}(?:\.[0-9A-Fa-f]{{4}}){{2}}){_ENDS}"
)
_MAC_IN_A_NAME: Final = re.compile(rf"(?<=\b(?:en|ib|sl|wl|ww)x)[0-9a-f]{{12}}{_ENDS}")
"""Network cards on USB are named so. Source: systemd.net-naming-scheme(7), ``ID_NET_NAME_MAC``."""

_IPV6: Final = re.compile(
    rf"(?<!:)(?:{_BEGINS}|(?=:))(?=[0-9A-Fa-f]*:[0-9A-Fa-f.]*:)[0-9A-Fa-f:][0-9A-Fa-f:.]*[0-9A-Fa-f:]"
)
_SEPARATOR: Final = re.compile(r"([:.])")

MOST_PIECES: Final = 21
"""Of an IPv6 address at its separators, those included: six groups, ``::`` and an IPv4 address."""

_IPV4: Final = re.compile(r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\d)")
_HYPHENED: Final = re.compile(r"(?<!\d)(?<!\d-)\d{1,3}(?:-\d{1,3}){3,}(?!\d)")
"""An IPv4 address in the host names that providers give to customers."""

_TOKEN: Final = re.compile(rf"{_BEGINS}(?:At[a-z]{{2}}|Sim)(?:\||%7[Cc])[^\s\"'<>&;,]*")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)(\s+)([\w.~+/|=-]{8,})")
_NAMED: Final = re.compile(
    r"(?i)((?:access_token|refresh_token|client_secret|device_code|id_token|code_verifier|username|passwd|password"
    r"|passphrase|psk)"
    rf"[\"']?\s*[=:]\s*){_VALUE}"
)
_CODE: Final = re.compile(rf"(?i)((?:user[_-]code|cbl-code)[\"']?\s*[=:]\s*){_VALUE}")
_SSID: Final = re.compile(rf"(?i)\b(e?ssid[\"']?\s*[=:]\s*){_VALUE}")
_LOGIN: Final = re.compile(r"(?<=://)([^/\s@]+)(?=@)")
_EMAIL: Final = re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+")
_LWA_CLIENT_ID: Final = re.compile(r"\bamzn1\.application-oa2-client\.(\w+)")
_ACCOUNT: Final = re.compile(r"\bamzn1\.account\.\w+")

_MASK: Final = re.compile(r"(<[a-z-]+-\d+>)")

_EUI64_MARK: Final = 0xFFFE
"""In the middle of an address made from a hardware address. Source: RFC 4291, appendix A."""


class Redaction:
    """Masks texts, and remembers the masks."""

    def __init__(self) -> None:
        self._masks: dict[tuple[str, str], str] = {}
        self._known: dict[str, tuple[str, str]] = {}

    def learn(self, kind: str, value: str) -> None:
        """Mask a value from now on; an empty one is ignored.

        Args:
            kind: one of ``KINDS``, or ``CLIENT_ID``.
            value: as it may appear.
        """
        value = value.strip()
        if value and not _is_mask(value):
            forms = {value, quote(value, safe="")}
            if kind == "host":
                forms.add(value.lower())
            for form in forms:
                self._known.setdefault(form, (kind, value))

    def learn_secret(self, secret: Secret | None) -> None:
        """Mask a secret from now on."""
        if secret is not None:
            self.learn("secret", secret.reveal())

    def learn_facts(self, findings: Iterable[Finding]) -> None:
        """Mask the values of the findings' private facts from now on."""
        for finding in findings:
            for name, value in finding.facts:
                if name in KINDS or name == CLIENT_ID:
                    self.learn(name, value)

    def finding(self, finding: Finding) -> Finding:
        """Return a finding that may be shown."""
        facts = tuple(
            (name, self.mask(name, value) if name in KINDS else self.text(value))
            for name, value in finding.facts
        )
        return replace(
            finding, sentence=self.text(finding.sentence), next_step=self.text(finding.next_step), facts=facts
        )

    def text(self, text: str) -> str:
        """Return a text that may be shown."""
        # The longest first: one value may contain another. Short ones last, and not within a mask: a serial number
        # of "1234" would split an address, whose form is then not recognised.
        known = sorted(self._known, key=len, reverse=True)
        for value in known:
            if len(value) >= LONG:
                text = self._pattern(value).sub(self._mask_known, text)
        for pattern, mask in self._forms():
            text = pattern.sub(mask, text)
        for value in known:
            if len(value) < LONG:
                pieces = _MASK.split(text)
                pieces[::2] = [self._pattern(value).sub(self._mask_known, piece) for piece in pieces[::2]]
                text = "".join(pieces)
        return text

    def mask(self, kind: str, value: str) -> str:
        """Return the mask of a value; an empty value and a mask stay as they are."""
        if not value or _is_mask(value):
            return value
        if kind == CLIENT_ID and len(value) > SHOWN:
            return f"…{value[-SHOWN:]}"
        mask = self._masks.get((kind, value))
        if mask is None:
            number = 1 + sum(known == kind for known, _ in self._masks)
            mask = self._masks[(kind, value)] = f"<{kind.replace('_', '-')}-{number}>"
        return mask

    def _forms(self) -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]:
        return (
            (_TOKEN, lambda found: self.mask("token", found[0])),
            (_NAMED, lambda found: found[1] + self.mask("secret", found[2].strip("\"'"))),
            (_BEARER, lambda found: found[1] + found[2] + self.mask("token", found[3])),
            (_CODE, lambda found: found[1] + self.mask("user_code", found[2].strip("\"'"))),
            (_SSID, lambda found: found[1] + self.mask("ssid", found[2].strip("\"'"))),
            (_LOGIN, lambda found: self.mask("secret", found[1])),
            (_EMAIL, lambda found: self.mask("email", found[0])),
            (_LWA_CLIENT_ID, lambda found: self.mask(CLIENT_ID, found[0])),
            (_ACCOUNT, lambda found: self.mask("account", found[0])),
            (_MAC, lambda found: self.mask("mac", re.sub(r"[^0-9a-f]", "", found[0].lower()))),
            (_MAC_IN_A_NAME, lambda found: self.mask("mac", found[0])),
            (_IPV6, self._mask_address),
            (_IPV4, lambda found: self._mask_four(found[0], found[0])),
            (_HYPHENED, lambda found: self._mask_four(found[0], ".".join(found[0].split("-")[-4:]))),
        )

    def _mask_known(self, found: re.Match[str]) -> str:
        return self.mask(*self._known[found[0]])

    def _pattern(self, value: str) -> re.Pattern[str]:
        """Return the pattern of a value: a secret anywhere, others as whole words."""
        kind = self._known[value][0]
        if kind == "host" and value in OWN_WORDS:
            return re.compile(rf"(?<=[@/]){re.escape(value)}(?!\w)|(?<!\w){re.escape(value)}(?=\.\w)")
        is_anywhere = kind in {"secret", "token"} and len(value) >= LONG
        before = "" if is_anywhere or not re.match(r"\w", value) else r"(?<!\w)"
        after = "" if is_anywhere or not re.search(r"\w$", value) else r"(?!\w)"
        if len(value) < LONG and value.isdecimal():  # nor a part of an address, a port or a version
            before, after = rf"{before}(?<!\d[.:])(?<!\bport )", rf"{after}(?![.:]\d)"
        return re.compile(before + re.escape(value) + after)

    def _mask_address(self, found: re.Match[str]) -> str:
        """Mask each IPv6 address in these letters, colons, dots and digits, the longest from the left on."""
        pieces, shown, start = _SEPARATOR.split(found[0]), [], 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + MOST_PIECES), start, -1):
                written = "".join(pieces[start:end])
                try:
                    shown.append(self._mask_ip(IPv6Address(written), written))
                except ValueError:
                    continue
                start = end
                break
            else:
                shown.append(pieces[start])
                start += 1
        return "".join(shown)

    def _mask_four(self, written: str, address: str) -> str:
        try:
            return self._mask_ip(ip_address(address), written)
        except ValueError:
            return written

    def _mask_ip(self, address: IPv4Address | IPv6Address, written: str) -> str:
        four = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        if _is_readable(four or address):
            return written
        return self.mask("ip", str(four or address))


def _is_readable(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (int(address) >> 24) & 0xFFFF == _EUI64_MARK:
        return False
    return any(address in network for network in READABLE)


def _is_mask(value: str) -> bool:
    """Return whether this is a mask."""
    return re.fullmatch(r"<[a-z-]+-\d+>|….{4}", value) is not None
