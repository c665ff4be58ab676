"""N: the connection from this machine to the provider, from the network interface to the first response.

Each check depends on those before it: with the cable out, no finding says that a name does not resolve. If the
provider is on this machine, as a simulated one is, the network in between is not checked.
"""

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError, ProviderUnclear, ProviderUnreachable
from device_auth.core.models import Refusal, Seconds, Unclear, Unreachable
from device_auth.core.states import TROUBLES, Trouble
from device_auth.doctor.credential_probe import CredentialProbe, error_name
from device_auth.doctor.findings import Check, Finding, Verdict, fail, ok, skipped, warn
from device_auth.doctor.provider_probe import (
    NO_ADDRESS,
    NO_SUCH_NAME,
    ConnectAttempt,
    HandshakeResult,
    HandshakeStep,
    PlainResponse,
    ProbeProblem,
    ProviderProbe,
)
from device_auth.wire.addresses import Proxy
from device_auth.wire.answers import read_odd_answer
from device_auth.world.places import ROOT
from device_auth.world.route import REINSTALL, Trust
from device_auth.world.transport import EXPIRED

AGAIN: Final = "then run device-auth doctor again."

SLOW_STEP: Final = Seconds(2)
"""A slower step is warned of: requests come close to their time-outs."""

UP: Final = 0x1
"""Flags of an interface. Source: netdevice(7), ``IFF_UP``."""

LOOPBACK: Final = 772
"""Type of an interface. Source: Linux ``if_arp.h``, ``ARPHRD_LOOPBACK``."""

ROUTE_UP: Final = 0x1
ROUTE_REJECTS: Final = 0x200
"""Flags of a route. Source: Linux ``uapi/linux/route.h``."""

FAMILY_NAMES: Final = {int(socket.AF_INET6): "IPv6", int(socket.AF_INET): "IPv4"}

INTERFACES: Final = "sys/class/net"
RADIOS: Final = "sys/class/rfkill"
ADDRESSES6: Final = "proc/net/if_inet6"
ROUTES: Final = "proc/net/route"
ROUTES6: Final = "proc/net/ipv6_route"
RESOLV_CONF: Final = "etc/resolv.conf"
"""Where a machine describes its network, below the root folder."""


def ipv4_addresses() -> list[tuple[str, str]]:
    """List the IPv4 addresses of this machine, each with its interface. Source: netdevice(7), ``SIOCGIFCONF``."""
    size = struct.calcsize("16sLLHBBB0L")  # of struct ifreq
    room = array.array("B", bytes(size * 128))
    where, _ = room.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("iP", len(room), where)
        filled, _ = struct.unpack("iP", fcntl.ioctl(sock, 0x8912, asked))
    raw = room.tobytes()[:filled]
    entries = [raw[at : at + size] for at in range(0, filled, size)]
    return [(each[:16].split(b"\0")[0].decode(), socket.inet_ntoa(each[20:24])) for each in entries]


class Machine(NamedTuple):
    """The files in which the kernel and the resolver describe a machine's network.

    Attributes:
        root: the root folder.
        addresses: lists interfaces and their IPv4 addresses.
    """

    root: Path = ROOT
    addresses: Callable[[], Sequence[tuple[str, str]]] = ipv4_addresses

    def read(self, name: str | Path) -> str:
        """Return the text of a file; empty if it cannot be read."""
        try:
            return (self.root / name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""

    def folders(self, name: str) -> list[Path]:
        """Return the entries of a folder; none if it cannot be read."""
        try:
            return sorted((self.root / name).iterdir())
        except OSError:
            return []


THIS_MACHINE: Final = Machine()


def checks(
    probe: ProviderProbe | None, credential_probe: CredentialProbe | None, machine: Machine = THIS_MACHINE
) -> list[Check]:
    """Return the checks of the connection to the provider.

    Args:
        probe: of the provider; None without a usable address.
        credential_probe: asks the provider, or None.
        machine: describes the network of this machine.
    """

    def on_the_way(look: Callable[[Machine], Finding]) -> Callable[[], Finding]:
        return lambda: _unless_reached(probe, lambda: look(machine))

    def there(look: Callable[[ProviderProbe], Finding]) -> Callable[[], Finding]:
        return lambda: look(probe) if probe else skipped(NO_ADDRESS)

    step = HandshakeStep
    no_tls = _handshake("A secure connection can be made.", step.PROXY, step.CONNECTION, step.TLS)
    issuer = _handshake("A trusted authority issued the certificate.", step.AUTHORITIES, step.ISSUER)
    name = _handshake("The certificate has the provider's name.", step.NAME)
    date = _handshake("The certificate is valid by the clock of this machine.", step.DATE)
    return [
        Check("N1", "wifi-blocked", on_the_way(_radio)),
        Check("N2", "no-carrier", on_the_way(_carrier), after=("N1",)),
        Check("N3", "no-address", on_the_way(_address), after=("N2",)),
        Check("N4", "no-route", on_the_way(_route), after=("N3",)),
        Check("N5", "no-resolver", on_the_way(_resolver), after=("N4",)),
        Check("N6", "no-proxy", there(_proxy), after=("N5",)),
        Check("N7", "no-name", there(lambda probe: _name(probe, machine)), after=("N6",)),
        Check("N8", "captive-portal", there(_portal), after=("N7",)),
        Check("N9", "no-connection", there(_connection), after=("N8",)),
        Check("N10", "no-tls", there(no_tls), after=("N9",)),
        Check("N11", "certificate-issuer", there(issuer), after=("N10",)),
        Check("N12", "certificate-name", there(name), after=("N11",)),
        Check("N13", "certificate-date", there(date), after=("N12",)),
        Check(
            "N14", "provider-answer", there(lambda probe: _answer(probe, credential_probe)), after=("N13",)
        ),
        Check("N15", "slow", there(_speed), after=("N13",)),
    ]


def _unreachable(sentence: str, next_step: str, **facts: str) -> Finding:
    return fail(sentence, f"{next_step}; {AGAIN}", ProviderUnreachable.exit_code, **facts)


# ---------------------------------------------------------------------------------------------------------
# The machine


def _unless_reached(probe: ProviderProbe | None, look: Callable[[], Finding]) -> Finding:
    """Run a check; its failure does not count if the provider is reached: not every kind of network is known here."""
    if probe and probe.is_local:
        return ok("The provider is on this machine.")
    found = look()
    if found.verdict is not Verdict.OK and probe and probe.is_reached:
        return ok(f"The provider is reached, though it looks otherwise: {found.sentence}")
    return found


class _Interface(NamedTuple):
    name: str
    is_up: bool
    carries: bool
    is_wireless: bool
    is_real: bool


def _interfaces(machine: Machine) -> list[_Interface]:
    """List the interfaces that may lead out: those with hardware, and those of a default route."""
    found = []
    routed = {name for _, name in _default_routes(machine)}
    for folder in machine.folders(INTERFACES):
        if machine.read(folder / "type") in {"", str(LOOPBACK)}:
            continue
        is_up = bool(int(machine.read(folder / "flags") or "0", 16) & UP)
        found.append(
            _Interface(
                folder.name,
                is_up,
                carries=machine.read(folder / "carrier") == "1",
                is_wireless=(folder / "wireless").exists() or (folder / "phy80211").exists(),
                is_real=(folder / "device").exists() or folder.name in routed,
            )
        )
    return [each for each in found if each.is_real] or found


def _default_routes(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield family and interface of each default route. Source: proc(5), ``/proc/net/route``; Linux ``net/ipv6/route.c``."""
    for line in machine.read(ROUTES).splitlines()[1:]:
        name, destination, _, flags, _, _, _, mask, *_ = line.split()
        if int(destination, 16) == int(mask, 16) == 0 and _is_usable(flags):
            yield "IPv4", name
    for line in machine.read(ROUTES6).splitlines():
        destination, length, *_, flags, name = line.split()
        if int(destination, 16) == int(length, 16) == 0 and _is_usable(flags) and name != "lo":
            yield "IPv6", name


def _is_usable(flags: str) -> bool:
    return int(flags, 16) & (ROUTE_UP | ROUTE_REJECTS) == ROUTE_UP


def _all_addresses(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield interface and address of all that are not loopback's."""
    yield from ((name, text) for name, text in machine.addresses() if not text.startswith("127."))
    for line in machine.read(ADDRESSES6).splitlines():
        packed, _, _, _, _, name = line.split()
        if name != "lo":
            yield name, str(ipaddress.IPv6Address(int(packed, 16)))


def _radio(machine: Machine) -> Finding:
    radios = [folder for folder in machine.folders(RADIOS) if machine.read(folder / "type") == "wlan"]
    blocked = [
        folder for folder in radios if "1" in {machine.read(folder / "soft"), machine.read(folder / "hard")}
    ]
    if any(each.carries for each in _interfaces(machine)) or len(blocked) < max(len(radios), 1):
        return ok("No radio that is needed is switched off.")
    if any(machine.read(folder / "hard") == "1" for folder in blocked):
        return _unreachable("The Wi-Fi radio is switched off by a hardware switch.", "Turn that switch on")
    return _unreachable(
        "The Wi-Fi radio is switched off.",
        "Set the Wi-Fi country (sudo raspi-config, Localisation Options), which switches it on, or run"
        " sudo rfkill unblock wifi",
    )


def _carrier(machine: Machine) -> Finding:
    interfaces = _interfaces(machine)
    carrying = [each.name for each in interfaces if each.carries]
    if carrying:
        return ok("A network interface is connected.", interfaces=" ".join(carrying))
    names = " ".join(each.name for each in interfaces)
    if not interfaces:
        return _unreachable(
            "This machine has no network interface.",
            "Check that the network adapter is plugged in and its driver loaded (dmesg)",
        )
    if not any(each.is_up for each in interfaces):
        first = interfaces[0].name
        return _unreachable(
            f"Every network interface is switched off ({names}).",
            f"Switch one on: sudo ip link set {first} up, or in the network's settings (sudo nmtui)",
            interfaces=names,
        )
    wireless = [each.name for each in interfaces if each.is_wireless]
    if not wireless:
        return _unreachable(
            f"No cable is connected ({names}).",
            "Plug the network cable in at both ends, and look whether the lamps at its socket light up",
            interfaces=names,
        )
    return _unreachable(
        f"No network is joined: neither by Wi-Fi ({' '.join(wireless)}) nor by cable.",
        "Check the name and the password of the Wi-Fi (sudo nmtui), and that it reaches to here, or plug in a cable",
        interfaces=names,
    )


def _address(machine: Machine) -> Finding:
    carrying = {each.name for each in _interfaces(machine) if each.carries}
    carrying |= {name for _, name in _default_routes(machine)}
    # A bridge has the address, and the interface below it the carrier.
    found = [(name, text) for name, text in _all_addresses(machine) if _carries(machine, name, carrying)]
    good = [text for _, text in found if not ipaddress.ip_address(text).is_link_local]
    if good:
        return ok("This machine has an address in the network.", addresses=" ".join(good))
    given_itself = [text for _, text in found]
    return _unreachable(
        "This machine has no address but one that it gave itself: the network's DHCP does not answer."
        if given_itself
        else "This machine has no address: the network's DHCP does not answer.",
        "Restart the router, and check that its DHCP is on and that the Wi-Fi is not one for guests with"
        " approval, or set an address by hand (sudo nmtui)",
        addresses=" ".join(given_itself),
    )


def _carries(machine: Machine, name: str, carrying: set[str]) -> bool:
    return name in carrying or machine.read(f"{INTERFACES}/{name.partition(':')[0]}/carrier") == "1"


def _route(machine: Machine) -> Finding:
    routes = list(_default_routes(machine))
    if not routes:
        return _unreachable(
            "There is no way out of the local network: no default route.",
            "Check that the router is on and is set as gateway (ip route; sudo nmtui)",
        )
    families = sorted({family for family, _ in routes})
    return ok(
        "There is a way out of the local network.",
        families=" ".join(families),
        interfaces=" ".join(sorted({name for _, name in routes})),
    )


def _resolver(machine: Machine) -> Finding:
    lines = [line.split() for line in machine.read(RESOLV_CONF).splitlines()]
    servers = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    if servers:
        return ok("A DNS server is set.", servers=" ".join(servers))
    return _unreachable(
        f"No DNS server is set in /{RESOLV_CONF}.",
        "Restart the network (sudo systemctl restart NetworkManager), so that DHCP sets it again, or set one by"
        " hand (sudo nmtui)",
    )


# ---------------------------------------------------------------------------------------------------------
# Route, name and connection


_PROBLEMS: Final = {
    ProbeProblem.REFUSED: "refuses the connection",
    ProbeProblem.TIMED_OUT: "does not answer",
    ProbeProblem.NO_WAY: "cannot be reached",
    ProbeProblem.OTHER: "cannot be connected to",
}


def _proxy(probe: ProviderProbe) -> Finding:
    problem = probe.route.problem
    if problem is not None:
        return fail(f"{_capital(problem)}.", problem.hint, ConfigError.exit_code)
    if probe.proxy is None:
        return ok("No proxy is set for the provider.")
    if not probe.lookup.addresses:
        return _proxy_fails(probe, probe.proxy, "cannot be found: its name does not resolve")
    if not probe.is_reached:
        return _proxy_fails(probe, probe.proxy, _problems(probe.attempts))
    return ok("Requests go through a proxy.", proxy=str(probe.proxy), origin=probe.route.origin)


def _proxy_fails(probe: ProviderProbe, proxy: Proxy, problem: str) -> Finding:
    return _unreachable(
        f"The proxy {proxy} {problem}.",
        f"Check its address ({probe.route.origin}), and that it runs",
        proxy=str(proxy),
        origin=probe.route.origin,
    )


def _capital(problem: object) -> str:
    text = str(problem)
    # not the name of a setting
    return f"The {text[4:]}" if text.startswith("the ") else text


def _name(probe: ProviderProbe, machine: Machine) -> Finding:
    if probe.proxy:
        return ok("The proxy looks up the provider's name.")
    found = probe.lookup
    if not found.addresses:
        return _no_name(probe, found.error_number)
    ips = sorted({address.ip for address in found.addresses})
    facts = {"name": probe.host, "addresses": " ".join(ips)}
    if not probe.is_local and all(_is_nowhere(ip) for ip in ips):
        return _unreachable(
            f"The DNS server blocks {probe.host}: it gives {' '.join(ips)}.",
            f"Allow {probe.host} in the DNS filter (such as Pi-hole) or the router, or set another DNS server",
            **facts,
        )
    has_only_v6 = all(address.family == socket.AF_INET6 for address in found.addresses)
    if has_only_v6 and not ("IPv6" in dict(_default_routes(machine)) or probe.is_reached):
        return _unreachable(
            f"{probe.host} has IPv6 addresses only, and this network has no way out by IPv6.",
            "Turn IPv6 on in the router, or ask the network's owner for DNS64",
            **facts,
        )
    if found.silent:
        families = " and ".join(sorted(FAMILY_NAMES[family] for family in found.silent))
        return warn(
            f"The DNS server does not answer for the {families} addresses of {probe.host}; the others are used.",
            f"Restart the router, or set another DNS server (/{RESOLV_CONF}); {AGAIN}",
            **facts,
        )
    if found.duration > SLOW_STEP:
        return warn(
            f"The name {probe.host} is found only after {found.duration:.0f} s: a DNS server does not answer.",
            f"Take that server out of the router's settings, or set another (/{RESOLV_CONF}); {AGAIN}",
            **facts,
        )
    return ok(f"The name {probe.host} is found.", **facts)


def _if_right(next_step: str, probe: ProviderProbe) -> str:
    """Return a step that helps if the address of the provider is right; one that may be mistyped is to be checked first."""
    if probe.is_usual:
        return next_step[0].upper() + next_step[1:]
    return f"Check the address of the provider for typing errors; if it is right, {next_step}"


def _no_name(probe: ProviderProbe, number: int | None) -> Finding:
    name = probe.host
    if number in NO_SUCH_NAME:
        return _unreachable(
            f"The DNS server does not know the name {name}.",
            _if_right(f"set another DNS server (/{RESOLV_CONF}): this one holds the name back", probe),
            name=name,
            answer="no such name",
        )
    return _unreachable(
        f"No DNS server answers for {name}.",
        f"Check that the router is connected to the internet, and the DNS server in /{RESOLV_CONF}",
        name=name,
        answer="none",
    )


def _is_nowhere(ip: str) -> bool:
    address = ipaddress.ip_address(ip.partition("%")[0])
    return address.is_loopback or address.is_unspecified


_AS_BEHIND_A_PORTAL: Final = frozenset(
    {HandshakeStep.CONNECTION, HandshakeStep.TLS, HandshakeStep.ISSUER, HandshakeStep.NAME}
)


def _portal(probe: ProviderProbe) -> Finding:
    """Check for the network's sign-in page: plain http shows it, and TLS fails."""
    if probe.handshake.failed_step in _AS_BEHIND_A_PORTAL and not (probe.proxy or probe.is_local):
        plain = probe.plain_response
        if plain and _is_sign_in_page(plain, probe.host):
            return _portal_found(status=str(plain.status), location=plain.redirects_to)
    return ok("No sign-in page of the network is in the way.")


def _portal_found(**facts: str) -> Finding:
    portal = TROUBLES[Trouble.CAPTIVE_PORTAL]
    return _unreachable(portal.sentence, portal.next_step.rstrip("."), **facts)


def _is_sign_in_page(plain: PlainResponse, host: str) -> bool:
    if plain.status in range(300, 400):
        return plain.redirects_to not in {"", host}
    is_page = plain.status == HTTPStatus.OK and plain.is_html
    return is_page or plain.status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED


def _connection(probe: ProviderProbe) -> Finding:
    if probe.proxy:
        return ok("The proxy connects to the provider.")
    tried = probe.attempts
    # One that refuses, or to which there is no route, is left for the next at once.
    dead = [each for each in tried if each.problem is ProbeProblem.TIMED_OUT]
    facts = {f"by_{_family(each)}": each.problem or "works" for each in sorted(tried, key=_works)}
    if dead:
        facts["dead"] = " ".join(each.address.ip for each in dead)
    if not probe.is_reached:
        return _unreachable(
            f"{probe.host} {_problems(tried)} on port {probe.port}.",
            _if_right(
                f"check that the firewall of the router lets port {probe.port} out, and with a phone in the same network"
                " that there is internet at all",
                probe,
            ),
            **facts,
        )
    if not dead:
        return ok(f"{probe.host} takes connections on port {probe.port}.", **facts)
    return warn(
        f"{probe.host} takes connections on port {probe.port}, but not at each of its addresses:"
        f" {_listed([each.address.ip for each in dead])} {'does' if len(dead) == 1 else 'do'} not answer."
        " A new connection may take a moment longer.",
        f"{_cure(tried, dead)}; {AGAIN}",
        **facts,
    )


MOST_LISTED: Final = 4
"""Addresses that a sentence names; the facts have all."""


def _works(attempt: ConnectAttempt) -> bool:
    return attempt.problem is None


def _listed(ips: Sequence[str]) -> str:
    more = len(ips) - MOST_LISTED
    return ", ".join(ips[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _cure(tried: list[ConnectAttempt], dead: list[ConnectAttempt]) -> str:
    working = {_family(each) for each in tried if each.problem is None}
    broken = sorted({_family(each) for each in dead} - working)
    if broken:
        return f"Repair {' and '.join(broken)} in the router or turn it off"
    return "The speaker takes the other addresses, and the provider has to mend these; if it lasts, restart the router"


def _family(attempt: ConnectAttempt) -> str:
    return FAMILY_NAMES[attempt.address.family]


def _problems(tried: list[ConnectAttempt]) -> str:
    """Return the most telling problem: a refusal shows that the machine is there."""
    met = {each.problem for each in tried}
    return next(words for problem, words in _PROBLEMS.items() if problem in met)


# ---------------------------------------------------------------------------------------------------------
# TLS and the provider's response


def _handshake(sentence: str, *steps: HandshakeStep) -> Callable[[ProviderProbe], Finding]:
    """Return a check that fails if one of these steps failed."""

    def look(probe: ProviderProbe) -> Finding:
        if not probe.is_secure:
            return ok("The provider is on this machine and uses plain http.")
        if probe.is_hidden:
            return ok("The doctor cannot use this kind of proxy; see N14.")
        if probe.handshake.failed_step in steps:
            return _failed_handshake(probe)
        return ok(sentence, **({"version": probe.handshake.version} if HandshakeStep.TLS in steps else {}))

    return look


def _failed_handshake(probe: ProviderProbe) -> Finding:
    handshake, host = probe.handshake, probe.host
    match handshake.failed_step:
        case HandshakeStep.AUTHORITIES:
            return fail(f"{_capital(handshake.reason)}.", handshake.hint, ConfigError.exit_code)
        case HandshakeStep.PROXY:
            sentence = f"The proxy does not connect to {host}: {handshake.reason}."
            next_step = (
                f"Check its user and password ({probe.route.origin}), and that the proxy lets"
                f" {host} port {probe.port} through"
            )
        case HandshakeStep.ISSUER:
            sentence = f"The certificate of the server is not trusted: {handshake.reason}."
            next_step = (
                "See who issued it: a company, a school or a security program opens the connection on its way;"
                " exempt the provider's address there, use another network, or trust its authority: put it into the"
                f" system's store, or name it with ca_file. {_cure_of_trust(probe.route.authorities.trust)}"
            )
        case HandshakeStep.NAME:
            sentence = f"The certificate is for another name than {host}."
            next_step = _if_right(
                "use another network or DNS server: another server answers in its place", probe
            )
        case HandshakeStep.DATE if handshake.verify_code == EXPIRED:
            sentence = "By the clock of this machine a certificate of the server has expired."
            next_step = (
                "If the clock is wrong, set it: sudo timedatectl set-ntp true. If it is right, only the provider can"
                " mend this"
            )
        case HandshakeStep.DATE:
            sentence = "By the clock of this machine a certificate of the server is not valid yet: the clock is slow."
            next_step = "Set the clock: sudo timedatectl set-ntp true"
        case _:
            sentence = f"No secure connection to {host}: {handshake.reason or 'no connection'}."
            next_step = _if_right(
                "check that nothing in the network opens TLS connections (a filter, a firewall), and that the provider"
                " speaks TLS 1.2 or newer",
                probe,
            )
    facts = {"reason": handshake.reason} if handshake.verify_code is None else _shown(handshake)
    return _unreachable(sentence, next_step, **facts)


def _cure_of_trust(trust: Trust) -> str:
    """Return what to do where the authority is one that everybody knows."""
    match trust.origin:
        case "system":
            return f"If it is a known authority: {REINSTALL}"
        case "certifi":
            return "If it is a known authority: install the system's store: sudo apt install ca-certificates"
        case origin:
            return f"If it is a known authority: {origin} does not name it ({trust.place})"


def _shown(handshake: HandshakeResult) -> dict[str, str]:
    """Return the certificate's fields as facts, as far as it can be read."""
    from cryptography import x509

    facts = {"reason": handshake.reason}
    try:
        certificate = x509.load_der_x509_certificate(handshake.certificate)
        return facts | {
            "subject": certificate.subject.rfc4514_string(),
            "issuer": certificate.issuer.rfc4514_string(),
            "valid_from": _day(certificate, "not_valid_before"),
            "valid_until": _day(certificate, "not_valid_after"),
        }
    except ValueError:
        return facts


def _day(certificate: object, name: str) -> str:
    # cryptography 42 added a name with the time zone, and deprecated the other
    moment: datetime
    moment = getattr(certificate, f"{name}_utc", None) or getattr(certificate, name).replace(tzinfo=UTC)
    return moment.isoformat()


def _answer(probe: ProviderProbe, credential_probe: CredentialProbe | None) -> Finding:
    if credential_probe is None:
        return skipped("The provider was not asked.")
    answer = credential_probe.poll
    name = error_name(answer)
    if name:
        return ok("The provider answers, and refuses a code that was never issued.", answer=name)
    if isinstance(answer, Unreachable):
        next_step = TROUBLES[answer.trouble].next_step
        return fail(f"The provider is not reached: {answer.what}.", next_step, ProviderUnreachable.exit_code)
    if isinstance(answer, Refusal):
        return fail(f"{answer.message}.".capitalize(), answer.hint, ConfigError.exit_code)
    odd = answer if isinstance(answer, Unclear) else read_odd_answer(answer)
    if odd.trouble is Trouble.CAPTIVE_PORTAL:
        return _portal_found(answer=odd.what)
    return fail(
        f"The provider answers, but not as documented: {odd.what}.",
        f"{_if_right('wait, for only the provider can mend this', probe)}; {AGAIN}",
        ProviderUnclear.exit_code,
    )


def _speed(probe: ProviderProbe) -> Finding:
    handshake = probe.handshake
    if handshake.failed_step is not None:
        return skipped("There was no connection to measure.")
    steps = {"connect": handshake.connect_time, "tls": handshake.tls_time}
    if handshake.first_byte_time is not None:
        steps["first_byte"] = handshake.first_byte_time
    facts = {f"{name}_ms": str(round(took * 1000)) for name, took in steps.items()}
    if max(steps.values()) <= SLOW_STEP:
        return ok("The provider answers fast enough.", **facts)
    return warn(
        "The connection to the provider is slow: requests may time out.",
        "Move the speaker nearer to the Wi-Fi, or stop what fills the connection (downloads, backups);"
        f" {AGAIN}",
        **facts,
    )
