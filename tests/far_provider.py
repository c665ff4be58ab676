"""A provider far away, for the doctor: its names and addresses are made up, its servers are on loopback."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from device_auth.core.models import DialectName, Monotonic, Provider, Seconds, WireResponse
from device_auth.core.ports import Clock
from device_auth.doctor import network
from device_auth.doctor.credential_probe import CredentialProbe
from device_auth.doctor.findings import Check, Finding, Verdict
from device_auth.doctor.network import Machine
from device_auth.doctor.provider_probe import ProviderProbe
from device_auth.wire.addresses import read_proxy
from device_auth.world.clock import BootClock
from device_auth.world.dialing import Address, Resolve, dial_first
from device_auth.world.route import Authorities, Route
from tests.scripted_server import Act, ScriptedServer
from tests.simulated_transport import SimulatedTransport
from tests.values import make_response

HOST: Final = "amazon.test"
URL: Final = f"https://{HOST}/auth/O2/token"
V4: Final = "192.0.2.1"
V6: Final = "2001:db8::1"
"""Addresses for documentation. Source: RFC 5737, RFC 3849."""

REFUSED: Final = make_response({"error": "invalid_code_pair"}, status=400)
"""What a provider says to a made-up code."""


def addresses(port: int, *ips: str) -> list[Address]:
    return [
        Address(socket.AF_INET6, (ip, port, 0, 0)) if ":" in ip else Address(socket.AF_INET, (ip, port))
        for ip in ips
    ]


class FarProvider:
    """Maps addresses to loopback ports; what is not there refuses.

    Attributes:
        names: what the resolver gives, or the number of its complaint; a function is called.
        ports: loopback ports by the IP address and port that they stand for.
        problems: what happens instead, by IP address.
        dialled: where a connection was wanted.
    """

    def __init__(self, ca_file: Path | str = "", proxy: str = "", clock: Clock | None = None) -> None:
        self.names: Sequence[str] | int | Callable[[], Sequence[str]] = (V4,)
        self.ports: dict[tuple[str, int], int] = {}
        self.problems: dict[str, OSError] = {}
        self.dialled: list[tuple[str, int]] = []
        self.timeout = Seconds(30)
        self.resolver_timeout = Seconds(30)
        self.resolve: Resolve = self._resolve
        self.url = URL
        given = read_proxy(proxy) if proxy else None
        origin = "https_proxy" if proxy else ""
        self.route = Route(given, origin, Authorities(Path(ca_file) if ca_file else None))
        self._clock = clock or BootClock()

    def probe(self) -> ProviderProbe:
        return ProviderProbe(
            self.url,
            self.route,
            self._clock,
            resolve=self.resolve,
            dial=self._dial,
            timeout=self.timeout,
            resolver_timeout=self.resolver_timeout,
        )

    def _resolve(self, _host: str, port: int, family: int) -> list[Address]:
        found = self.names() if callable(self.names) else self.names
        if isinstance(found, int):
            raise socket.gaierror(found, "made up")
        return [address for address in addresses(port, *found) if address.family == family]

    def _dial(self, wanted: Sequence[Address], within: Seconds) -> socket.socket:
        problem: OSError = ConnectionRefusedError()
        for address in wanted:
            at = address.ip, int(address.where[1])
            self.dialled.append(at)
            problem = self.problems.get(address.ip, problem)
            if address.ip not in self.problems and at in self.ports:
                return dial_first([Address(socket.AF_INET, ("127.0.0.1", self.ports[at]))], within)
        raise problem


class ScriptedClock(BootClock):
    """A clock on which each reading is the next of the script."""

    def __init__(self, *readings: float) -> None:
        self._readings = iter(readings)

    def now(self) -> Monotonic:
        return Monotonic(next(self._readings))


@contextmanager
def served(far: FarProvider, *acts: Act, at: tuple[str, int] = (V4, 443)) -> Iterator[ScriptedServer]:
    with ScriptedServer(*acts) as server:
        far.ports[at] = server.port
        yield server


def credential_probe(*answers: WireResponse, url: str = URL) -> CredentialProbe:
    provider = Provider(DialectName.LWA, "", "", token_endpoint=url)
    return CredentialProbe(SimulatedTransport(answers or [REFUSED]), provider)


def examined(checks: Sequence[Check]) -> dict[str, Finding]:
    """Look in order; what comes after something that failed is left out."""
    found: dict[str, Finding] = {}
    for check in checks:
        before = [found.get(code) for code in check.after if any(code == each.code for each in checks)]
        if all(each and each.verdict not in {Verdict.FAIL, Verdict.SKIPPED} for each in before):
            found[check.code] = check.look()
    return found


def broken(found: dict[str, Finding]) -> list[str]:
    return [code for code, finding in found.items() if finding.verdict is not Verdict.OK]


ROUTES: Final = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
"""
NO_ROUTES6: Final = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
ROUTES6: Final = (
    f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 00000400 00000003 00000000 00000003     eth0\n" + NO_ROUTES6
)


class FakeMachine:
    """The files by which a kernel tells of its network: one cable, connected, with an address and a router."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder, lambda: [("lo", "127.0.0.1"), ("eth0", "192.0.2.16")])
        self.interfaces, self.radios = folder / network.INTERFACES, folder / network.RADIOS
        self.routes, self.routes6 = folder / network.ROUTES, folder / network.ROUTES6
        self.addresses6, self.resolv_conf = folder / network.ADDRESSES6, folder / network.RESOLV_CONF
        self.routes.parent.mkdir(parents=True)
        self.resolv_conf.parent.mkdir(parents=True)
        self.routes.write_text(ROUTES)
        self.routes6.write_text(NO_ROUTES6)
        self.addresses6.write_text(
            f"{'0' * 31}1 01 80 10 80       lo\nfe80{'0' * 27}7 02 40 20 80     eth0\n"
        )
        self.resolv_conf.write_text("# by the network\nsearch test\nnameserver 192.0.2.53\n")
        self.interface("lo", kind=772)
        self.interface("eth0")

    def interface(
        self, name: str, *, kind: int = 1, flags: int = 0x1003, carrier: str = "1", parts: str = "device"
    ) -> None:
        folder = self.interfaces / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "flags").write_text(f"{flags:#x}\n")
        (folder / "carrier").write_text(carrier)
        for part in parts.split():
            (folder / part).mkdir(exist_ok=True)

    def radio(self, *, kind: str = "wlan", soft: int = 0, hard: int = 0) -> None:
        folder = self.radios / f"rfkill{len(list(self.radios.glob('*')))}"
        folder.mkdir(parents=True)
        for name, value in (("type", kind), ("soft", soft), ("hard", hard)):
            (folder / name).write_text(f"{value}\n")

    def without_addresses(self, *left: tuple[str, str]) -> Machine:
        return self.machine._replace(addresses=lambda: [("lo", "127.0.0.1"), *left])
