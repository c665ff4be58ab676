"""What the doctor finds on the way to the provider; each test breaks one thing and sees that one found."""

import errno
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.models import (
    DialectName,
    Provider,
    Seconds,
    Unreachable,
    WireResponse,
)
from device_auth.core.states import Trouble
from device_auth.doctor.credential_probe import CredentialProbe, provider_of
from device_auth.doctor.findings import Check, Finding, Verdict
from device_auth.doctor.network import THIS_MACHINE, Machine, checks, ipv4_addresses
from device_auth.doctor.provider_probe import make_probe
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from device_auth.world.clock import BootClock
from device_auth.world.dialing import Address, resolve
from device_auth.world.route import CERTIFI, SYSTEM, Authorities, Route, Trust
from device_auth.world.settings import read_settings
from device_auth.world.transport import HttpTransport, route_to
from tests.certificates import FAR_AHEAD, LONG_AGO, NOW, Authority
from tests.far_provider import (
    HOST,
    NO_ROUTES6,
    ROUTES,
    ROUTES6,
    URL,
    V4,
    V6,
    FakeMachine,
    FarProvider,
    ScriptedClock,
    addresses,
    broken,
    credential_probe,
    examined,
    served,
)
from tests.scripted_server import Act, Peer, ScriptedServer, answers, raw
from tests.simulated_speaker import strict
from tests.simulated_transport import SimulatedTransport
from tests.transports import deaf_server, over_tls, tunnel
from tests.values import make_response
from tests.waiting import LONG, given_time

ROOT = Path(__file__).parents[2]
REDIRECT_HOME = raw(f"HTTP/1.1 301 Moved\r\nLocation: https://{HOST}/\r\n\r\n".encode())
SIGN_IN = b"<html><body>Welcome to the hotel</body></html>"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def here(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "machine")


@contextmanager
def provider(
    authority: Authority, context: ssl.SSLContext | None = None, *, proxy: str = "", act: Act | None = None
) -> Iterator[FarProvider]:
    """A provider that answers by TLS, with a good certificate unless another is given."""
    far = FarProvider(authority.ca_file, proxy)
    with served(far, over_tls(context or authority.server_context(HOST), act or answers())):
        yield far


def look(far: FarProvider, machine: Machine, asked: CredentialProbe | None = None) -> dict[str, Finding]:
    return examined(checks(far.probe(), asked or credential_probe(), machine))


def one(found: dict[str, Finding], code: str, verdict: Verdict = Verdict.FAIL) -> Finding:
    """Return the finding that is the only one."""
    assert broken(found) == [code], found
    finding = found[code]
    assert finding.verdict is verdict
    assert finding.next_step
    return finding


def facts(finding: Finding) -> dict[str, str]:
    return dict(finding.facts)


# ---------------------------------------------------------------------------------------------------------
# All is well


def test_a_good_way_raises_no_alarm(authority: Authority, here: FakeMachine) -> None:
    with provider(authority) as far:
        found = look(far, here.machine)

    assert broken(found) == []
    assert list(found) == [f"N{number}" for number in range(1, 16)]
    assert facts(found["N7"]) == {"name": HOST, "addresses": V4}
    assert facts(found["N10"])["version"] in {"TLSv1.2", "TLSv1.3"}
    assert {name for name, _ in found["N15"].facts} == {"connect_ms", "tls_ms", "first_byte_ms"}


def test_plain_http_is_not_tried_while_tls_works(authority: Authority, here: FakeMachine) -> None:
    with provider(authority) as far:
        look(far, here.machine)

    assert set(far.dialled) == {(V4, 443)}


@pytest.mark.parametrize("is_secure", [True, False])
@pytest.mark.parametrize("dialect", DialectName)
def test_the_simulated_amazon_on_a_machine_without_network_raises_no_alarm(
    tmp_path: Path, is_secure: bool, dialect: DialectName
) -> None:
    amazon, clock = Amazon(strict(), clock=lambda: 0), BootClock()
    away = tmp_path / "away"
    nothing = Machine(away, list)
    with serve(amazon, tls=tmp_path if is_secure else None) as running:
        lwa = {"base_url": running.base_url}
        rfc8628 = {"dialect": "rfc8628", "issuer": running.issuer, "client_id": "speaker"}
        settings = read_settings(lwa if dialect is DialectName.LWA else rfc8628, None, {})
        asked = provider_of(settings, None)
        transport = HttpTransport(clock, authorities=Authorities(running.ca_file))
        probe = make_probe(asked, Authorities(running.ca_file), None, clock)
        found = examined(checks(probe, CredentialProbe(transport, asked), nothing))
        transport.close()

    assert broken(found) == []
    assert list(found) == [f"N{number}" for number in range(1, 16)]
    assert amazon.referee.complaints() == ()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://api.amazon.com/", "https://["])
def test_without_a_usable_address_the_network_alone_is_looked_at(here: FakeMachine, url: str) -> None:
    probe = make_probe(Provider(DialectName.RFC8628, "", "", issuer=url), Authorities(), None, BootClock())
    found = examined(checks(probe, credential_probe(), here.machine))

    assert probe is None
    assert [(code, found[code].verdict) for code in broken(found)] == [("N6", Verdict.SKIPPED)]


# ---------------------------------------------------------------------------------------------------------
# What the kernel tells


def local(machine: Machine) -> dict[str, Finding]:
    return examined(checks(None, None, machine)[:5])


@pytest.mark.parametrize(
    ("hard", "words"), [(0, "The Wi-Fi radio is switched off."), (1, "by a hardware switch")]
)
def test_a_radio_that_is_switched_off_is_found(here: FakeMachine, hard: int, words: str) -> None:
    here.interface("eth0", carrier="0")
    here.interface("wlan0", flags=0x1002, carrier="", parts="device wireless")
    here.radio(kind="bluetooth", soft=1)
    here.radio(soft=1, hard=hard)
    finding = one(local(here.machine), "N1")

    assert words in finding.sentence
    assert finding.exit_code == 69


def test_a_radio_that_is_off_does_not_matter_beside_a_cable(here: FakeMachine) -> None:
    here.radio(soft=1)

    assert broken(local(here.machine)) == []


def test_one_radio_of_two_that_is_on_will_do(here: FakeMachine) -> None:
    here.interface("eth0", carrier="0")
    here.interface("wlan0", parts="device phy80211")
    here.radio(soft=1)
    here.radio()

    assert broken(local(here.machine._replace(addresses=lambda: [("wlan0", "192.0.2.17")]))) == []


def test_a_machine_without_an_interface_is_found(here: FakeMachine) -> None:
    shutil.rmtree(here.interfaces / "eth0")

    assert "no network interface" in one(local(here.machine), "N2").sentence


def test_an_interface_that_is_switched_off_is_found(here: FakeMachine) -> None:
    here.interface("eth0", flags=0x1002, carrier="")
    finding = one(local(here.machine), "N2")

    assert "switched off" in finding.sentence
    assert "ip link set eth0 up" in finding.next_step


def test_a_cable_that_is_pulled_out_is_found(here: FakeMachine) -> None:
    here.interface("eth0", carrier="0")

    assert "No cable" in one(local(here.machine), "N2").sentence


def test_a_wifi_that_is_not_joined_is_found(here: FakeMachine) -> None:
    here.interface("eth0", carrier="0")
    here.interface("wlan0", carrier="0", parts="device wireless")
    finding = one(local(here.machine), "N2")

    assert "wlan0" in finding.sentence
    assert "password" in finding.next_step


def test_a_bridge_of_containers_is_no_way_out(here: FakeMachine) -> None:
    here.interface("eth0", carrier="0")
    here.interface("docker0", parts="")
    here.routes.write_text("\n".join(ROUTES.splitlines()[:1]))

    one(local(here.machine), "N2")


def test_a_modem_without_a_device_of_its_own_is_a_way_out(here: FakeMachine) -> None:
    here.interface("eth0", carrier="0")
    here.interface("ppp0", kind=512, parts="")
    here.routes.write_text(ROUTES.replace("eth0", "ppp0"))

    assert broken(local(here.without_addresses(("ppp0", "192.0.2.9")))) == []


@pytest.mark.parametrize(
    ("left", "words"),
    [([], "no address but one that it gave itself"), ([("eth0", "169.254.7.7")], "gave itself")],
)
def test_an_address_that_no_dhcp_gave_is_found(
    here: FakeMachine, left: list[tuple[str, str]], words: str
) -> None:
    finding = one(local(here.without_addresses(*left)), "N3")

    assert words in finding.sentence
    assert "fe80::7" in facts(finding)["addresses"]


def test_no_address_at_all_is_found(here: FakeMachine) -> None:
    here.addresses6.write_text("")

    assert one(local(here.without_addresses()), "N3").sentence.startswith("This machine has no address:")


def test_an_address_of_ipv6_alone_will_do(here: FakeMachine) -> None:
    here.addresses6.write_text(f"20010db8{'0' * 23}7 02 40 00 80     eth0\n")
    here.routes.write_text("")
    here.routes6.write_text(ROUTES6)
    found = local(here.without_addresses())

    assert broken(found) == []
    assert facts(found["N4"])["families"] == "IPv6"


@pytest.mark.parametrize(
    "routes",
    [
        "",
        "\n".join(line for line in ROUTES.splitlines() if "010200C0" not in line),
        ROUTES.replace("0003", "0203"),
        ROUTES.replace("\t0003", "\t0002"),
    ],
)
def test_a_missing_route_is_found(here: FakeMachine, routes: str) -> None:
    here.routes.write_text(routes)

    assert "no default route" in one(local(here.machine), "N4").sentence


@pytest.mark.parametrize("text", ["", "search test\nnameserver\n", None])
def test_a_missing_dns_server_is_found(here: FakeMachine, text: str | None) -> None:
    if text is None:
        here.resolv_conf.unlink()
    else:
        here.resolv_conf.write_text(text)

    one(local(here.machine), "N5")


@pytest.mark.parametrize("missing", ["interfaces", "routes", "resolv_conf"])
def test_what_seems_to_be_missing_is_no_alarm_while_the_provider_is_reached(
    authority: Authority, here: FakeMachine, tmp_path: Path, missing: str
) -> None:
    path: Path = getattr(here, missing)
    path.rename(tmp_path / "away")
    with provider(authority) as far:
        found = look(far, here.machine)

    assert broken(found) == []
    assert any("though it looks otherwise" in finding.sentence for finding in found.values())


def test_what_is_missing_is_found_while_the_provider_is_not_reached(here: FakeMachine) -> None:
    here.routes.write_text("")

    one(look(FarProvider(), here.machine), "N4")


def test_the_kernel_of_this_machine_can_be_asked() -> None:
    found = local(THIS_MACHINE)

    assert ("lo", "127.0.0.1") in ipv4_addresses()
    assert set(found) <= {f"N{number}" for number in range(1, 6)}


IN_AN_EMPTY_NAMESPACE = """
import json, socket, subprocess, sys, threading
from pathlib import Path
from device_auth.core.models import DialectName, Provider, Seconds
from device_auth.doctor.network import checks
from device_auth.doctor.provider_probe import ProviderProbe
from device_auth.world.clock import BootClock
from device_auth.world.dialing import dial_first, resolve
from device_auth.world.route import Authorities, Route
from tests.far_provider import broken, examined, credential_probe

def tell(timeout=0.05):
    probe = ProviderProbe("https://amazon.test/", Route(None, "", Authorities()), BootClock(), resolve=resolve, dial=dial_first,
                  timeout=Seconds(timeout), resolver_timeout=Seconds(timeout))
    found = examined(checks(probe, credential_probe()))
    codes = broken(found)
    print(json.dumps([codes, found[codes[0]].sentence]), flush=True)

def run(*words):
    subprocess.run(words, check=True)

def say_no(dns):
    while True:
        asked, whence = dns.recvfrom(512)
        dns.sendto(asked[:2] + bytes([0x81, 0x83]) + asked[4:6] + bytes(6) + asked[12:], whence)

run("mount", "-t", "sysfs", "none", "/sys")
Path(sys.argv[1]).write_text("nameserver 192.0.2.53\\n")
run("mount", "--bind", sys.argv[1], "/etc/resolv.conf")
tell()
run("ip", "link", "add", "eth8", "type", "veth", "peer", "name", "eth9")
tell()
run("ip", "link", "set", "eth9", "up")
tell()
run("ip", "link", "set", "eth8", "up")
tell()
run("ip", "address", "add", "192.0.2.16/24", "dev", "eth9")
tell()
run("ip", "route", "add", "default", "dev", "eth9")
tell()
run("ip", "link", "set", "lo", "up")
Path(sys.argv[1]).write_text("nameserver 127.0.0.1\\n")
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 53))
threading.Thread(target=say_no, args=(dns,), daemon=True).start()
tell(30)
"""


def test_on_a_real_kernel_the_network_is_found_broken_step_by_step(tmp_path: Path) -> None:
    words = ["unshare", "--net", "--mount", sys.executable, "-c", IN_AN_EMPTY_NAMESPACE]
    trying = [*words[:3], "sh", "-c", "mount -t sysfs none /sys && ip link add eth8 type veth peer name eth9"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(trying, check=False, capture_output=True, text=True).returncode
    ):
        pytest.skip("a network namespace of its own is not allowed here, or cannot have interfaces")
    ran = subprocess.run(
        [*words, str(tmp_path / "resolv.conf")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in ran.stdout.splitlines()]

    assert [codes for codes, _ in told] == [["N2"], ["N2"], ["N2"], ["N3"], ["N4"], ["N7"], ["N7"]]
    assert [sentence.partition(" but one")[0] for _, sentence in told] == [
        "This machine has no network interface.",
        "Every network interface is switched off (eth8 eth9).",
        "No cable is connected (eth8 eth9).",
        "This machine has no address",
        "There is no way out of the local network: no default route.",
        "No DNS server answers for amazon.test.",
        "The DNS server does not know the name amazon.test.",
    ]


# ---------------------------------------------------------------------------------------------------------
# On the road


def test_a_name_that_does_not_exist_is_found(here: FakeMachine) -> None:
    far = FarProvider()
    far.names = socket.EAI_NONAME
    finding = one(look(far, here.machine), "N7")

    assert "does not know the name amazon.test" in finding.sentence
    assert finding.exit_code == 69


USUAL: Final = "https://api.amazon.com/auth/o2/token"


@pytest.mark.parametrize("url", [USUAL, f"https://{HOST}/auth/o2/token"])
@pytest.mark.parametrize("code", ["N7", "N9", "N12", "N14"])
def test_only_an_address_that_was_set_is_to_be_checked_for_typing_errors(
    authority: Authority, here: FakeMachine, url: str, code: str
) -> None:
    asked = CredentialProbe(
        SimulatedTransport([make_response(body=b"oops", status=503)]),
        Provider(DialectName.LWA, "", "", token_endpoint=url),
    )
    host = "other.test" if code == "N12" else url.split("/")[2]
    with provider(authority, authority.server_context(host)) as far:
        far.url = url
        if code == "N7":
            far.names = socket.EAI_NONAME
        if code == "N9":
            far.ports.clear()
        finding = one(look(far, here.machine, asked), code)

    assert ("typing errors" in finding.next_step) is (url != USUAL)
    assert finding.next_step[0].isupper()


def test_a_name_that_cannot_be_one_is_found(here: FakeMachine) -> None:
    far = FarProvider()
    far.names = lambda: [address.ip for address in resolve("a" * 70, 443, socket.AF_UNSPEC)]

    assert "does not know the name" in one(look(far, here.machine), "N7").sentence


def test_a_dns_server_that_says_it_cannot_is_found(here: FakeMachine) -> None:
    far = FarProvider()
    far.names = socket.EAI_AGAIN

    assert "No DNS server answers" in one(look(far, here.machine), "N7").sentence


def test_a_resolver_that_hangs_is_not_waited_for(here: FakeMachine) -> None:
    released, far = threading.Event(), FarProvider()
    far.names = lambda: [V4] if released.wait(LONG) else []
    far.resolver_timeout = Seconds(0.05)
    found = look(far, here.machine)
    released.set()

    assert "No DNS server answers" in one(found, "N7").sentence


def test_a_dns_server_that_answers_late_is_told(authority: Authority, here: FakeMachine) -> None:
    far = FarProvider(authority.ca_file, clock=ScriptedClock(0, 2.5, 2.5, 3, 3, 3, 3, 3))
    with served(far, over_tls(authority.server_context(HOST), answers())):
        found = look(far, here.machine)

    assert "only after 2 s" in one(found, "N7", Verdict.WARN).sentence


@pytest.mark.parametrize("ip", ["0.0.0.0", "127.0.0.1", "::"])  # noqa: S104 - what filters answer
def test_a_dns_server_that_blocks_the_name_is_found(here: FakeMachine, ip: str) -> None:
    far = FarProvider()
    far.names = [ip]
    finding = one(look(far, here.machine), "N7")

    assert "blocks" in finding.sentence
    assert "Pi-hole" in finding.next_step


def test_a_name_with_addresses_of_ipv6_alone_is_found_where_there_is_no_way_by_ipv6(
    here: FakeMachine,
) -> None:
    far = FarProvider()
    far.names = [V6]

    assert "IPv6 addresses only" in one(look(far, here.machine), "N7").sentence


@pytest.mark.parametrize("routes6", [ROUTES6, NO_ROUTES6])
def test_a_name_with_addresses_of_ipv6_alone_is_no_alarm_where_there_is_a_way(
    authority: Authority, here: FakeMachine, routes6: str
) -> None:
    here.routes6.write_text(routes6)
    far = FarProvider(authority.ca_file)
    far.names = [V6]
    with served(far, over_tls(authority.server_context(HOST), answers()), at=(V6, 443)):
        assert broken(look(far, here.machine)) == []


def test_a_closed_port_is_found(here: FakeMachine) -> None:
    far = FarProvider()
    with ScriptedServer() as closed:
        far.ports[V4, 443] = closed.port
    finding = one(look(far, here.machine), "N9")

    assert "refuses the connection on port 443" in finding.sentence
    assert facts(finding) == {"by_IPv4": "refused"}


def test_a_port_that_does_not_answer_is_found(here: FakeMachine) -> None:
    far = FarProvider()
    far.timeout = Seconds(0.1)
    with deaf_server() as deaf:
        far.ports[V4, 443] = deaf.port
        finding = one(look(far, here.machine), "N9")

    assert "does not answer" in finding.sentence
    assert facts(finding) == {"by_IPv4": "timed-out", "dead": V4}


@pytest.mark.parametrize(
    ("number", "problem", "words"),
    [(errno.ENETUNREACH, "no-way", "cannot be reached"), (errno.EACCES, "failed", "cannot be connected to")],
)
def test_an_address_that_cannot_be_got_to_is_found(
    here: FakeMachine, number: int, problem: str, words: str
) -> None:
    far = FarProvider()
    far.problems[V4] = OSError(number, "made up")
    finding = one(look(far, here.machine), "N9")

    assert words in finding.sentence
    assert facts(finding) == {"by_IPv4": problem}


def test_dead_addresses_before_a_good_one_are_a_warning_that_names_them(
    authority: Authority, here: FakeMachine
) -> None:
    with provider(authority) as far:
        far.names = [V6, "2001:db8::2", V4, "192.0.2.2"]
        far.problems |= {V6: TimeoutError(), "2001:db8::2": TimeoutError()}
        finding = one(look(far, here.machine), "N9", Verdict.WARN)

    assert f"{V6}, 2001:db8::2 do not answer" in finding.sentence
    assert finding.next_step.startswith("Repair IPv6 in the router or turn it off;")
    assert facts(finding) == {
        "by_IPv6": "timed-out",
        "by_IPv4": "works",
        "dead": f"{V6} 2001:db8::2",
    }


def test_a_dead_address_of_a_family_that_works_is_for_the_provider_to_mend(
    authority: Authority, here: FakeMachine
) -> None:
    far = FarProvider(authority.ca_file)
    dead = [f"192.0.2.{number}" for number in range(2, 8)]
    far.names, far.problems = [*dead, V4], {ip: TimeoutError() for ip in dead}
    with served(far, over_tls(authority.server_context(HOST), answers())):
        finding = one(look(far, here.machine), "N9", Verdict.WARN)

    assert "192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5 and 2 more do not answer" in finding.sentence
    assert "the provider has to mend these" in finding.next_step


def test_the_doctor_connects_to_the_address_that_answers_though_it_is_the_last(
    authority: Authority, here: FakeMachine
) -> None:
    far = FarProvider(authority.ca_file)
    far.names = ["192.0.2.7", V4]
    with served(far, over_tls(authority.server_context(HOST), answers())):
        found = look(far, here.machine)

    assert broken(found) == []


def test_a_dns_server_that_drops_the_question_for_ipv6_is_a_warning(
    authority: Authority, here: FakeMachine
) -> None:
    over = threading.Event()

    def resolve_v4(_host: str, port: int, family: int) -> list[Address]:
        if family == socket.AF_INET6:
            over.wait(LONG)
            return []
        return addresses(port, V4)

    far = FarProvider(authority.ca_file)
    far.resolve = resolve_v4
    with served(far, over_tls(authority.server_context(HOST), answers())):

        def look_within(seconds: float) -> dict[str, Finding]:
            far.resolver_timeout = Seconds(seconds)
            return look(far, here.machine)

        found = given_time(look_within, lambda found: found["N7"].verdict is not Verdict.FAIL, 0.2)
        finding = one(found, "N7", Verdict.WARN)
    over.set()

    assert "does not answer for the IPv6 addresses" in finding.sentence


@pytest.mark.parametrize("other", [V6, "::"])
def test_one_family_that_is_refused_at_once_is_no_alarm(
    authority: Authority, here: FakeMachine, other: str
) -> None:
    with provider(authority) as far:
        far.names = [other, V4]
        found = look(far, here.machine)

    assert broken(found) == []
    assert facts(found["N9"]) == {"by_IPv6": "refused", "by_IPv4": "works"}


PORTALS = {
    "a page": raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + SIGN_IN),
    "a page of no type": raw(b"HTTP/1.1 200 OK\r\n\r\n" + SIGN_IN),
    "elsewhere": raw(b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/?to=amazon\r\n\r\n"),
    "nowhere": raw(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"),
    "by status": raw(b"HTTP/1.1 511 Network Authentication Required\r\n\r\n"),
}


@pytest.mark.parametrize("page", PORTALS.values(), ids=PORTALS)
def test_a_captive_portal_is_found(here: FakeMachine, page: Act) -> None:
    far = FarProvider()
    with served(far, page, at=(V4, 80)) as portal:
        finding = one(look(far, here.machine), "N8")

    assert "sign-in page" in finding.sentence
    line, *headers = portal.requests[0].decode().split("\r\n")
    assert line == "GET / HTTP/1.1"
    assert f"Host: {HOST}" in headers


def test_a_captive_portal_with_a_certificate_of_its_own_is_found(
    authority: Authority, here: FakeMachine, tmp_path: Path
) -> None:
    context = Authority(tmp_path, "Hotel").server_context("portal.test")
    with provider(authority, context) as far, served(far, PORTALS["a page"], at=(V4, 80)):
        one(look(far, here.machine), "N8")


@pytest.mark.parametrize(
    "answer",
    [
        REDIRECT_HOME,
        raw(b"HTTP/1.1 404 No\r\n\r\n"),
        raw(b"HTTP/1.1 302 Found\r\nLocation: http://portal.test/ and broken off"),
        raw(b"220 mail.test\r\n\r\n"),
        raw(b""),
    ],
)
def test_what_no_portal_says_on_plain_http_does_not_make_one(here: FakeMachine, answer: Act) -> None:
    far = FarProvider()
    with served(far, answer, at=(V4, 80)):
        one(look(far, here.machine), "N9")


def test_a_web_page_in_place_of_the_providers_answer_is_a_captive_portal(
    authority: Authority, here: FakeMachine
) -> None:
    page = make_response(body=SIGN_IN, headers={"content-type": "text/html"})
    with provider(authority) as far:
        assert "sign-in page" in one(look(far, here.machine, credential_probe(page)), "N14").sentence


# ---------------------------------------------------------------------------------------------------------
# Through a proxy


def test_a_proxy_is_gone_through_and_does_not_show_its_password(
    authority: Authority, here: FakeMachine
) -> None:
    far = FarProvider(authority.ca_file, "http://user:w%20rd@proxy.test:3128")
    act = tunnel(over_tls(authority.server_context(HOST), answers()))
    hello: Act = lambda peer: peer.hang()  # noqa: E731  the connection that is only tried
    with served(far, hello, act, at=(V4, 3128)) as proxy:
        found = look(far, here.machine)

    assert broken(found) == []
    assert facts(found["N6"]) == {"proxy": "http://***@proxy.test:3128", "origin": "https_proxy"}
    line, *headers = proxy.requests[0].removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line.startswith(b"CONNECT amazon.test:443 HTTP/1.")
    assert headers == [b"Host: amazon.test:443", b"Proxy-Authorization: Basic dXNlcjp3IHJk"]


def test_a_proxy_that_is_not_there_is_found(here: FakeMachine) -> None:
    far = FarProvider(proxy="http://user:word@proxy.test")
    finding = one(look(far, here.machine), "N6")

    assert finding.sentence == "The proxy http://***@proxy.test:80 refuses the connection."
    assert far.dialled == [(V4, 80)]
    assert "https_proxy" in finding.next_step


def test_a_proxy_without_an_address_is_found(here: FakeMachine) -> None:
    far = FarProvider(proxy="https://proxy.test")
    far.names = socket.EAI_NONAME

    assert "does not resolve" in one(look(far, here.machine), "N6").sentence


@pytest.mark.parametrize("proxy", ["http://", "http://[::1", "http://proxy.test:port"])
def test_a_proxy_that_is_none_is_found(
    here: FakeMachine, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    far = FarProvider()
    far.route = route_to(URL, Authorities())
    finding = one(look(far, here.machine), "N6")

    assert finding.exit_code == 78
    assert "HTTPS_PROXY" in finding.sentence
    assert "HTTPS_PROXY" in finding.next_step


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"HTTP/1.1 407 Who are you\r\n\r\n", "it answers 407"), (b"", "no answer from it")],
)
def test_a_proxy_that_says_no_is_found(
    authority: Authority, here: FakeMachine, answer: bytes, words: str
) -> None:
    far = FarProvider(authority.ca_file, "http://proxy.test:3128")
    with served(far, raw(answer), at=(V4, 3128)):
        assert words in one(look(far, here.machine), "N10").sentence


def test_a_proxy_that_cannot_be_looked_through_leaves_it_to_the_providers_answer(
    authority: Authority, here: FakeMachine
) -> None:
    far = FarProvider(authority.ca_file, "socks5h://proxy.test:1080")
    with served(far, Peer.hang, at=(V4, 1080)):
        found = look(far, here.machine)

    assert [(code, found[code].verdict) for code in broken(found)] == [("N15", Verdict.SKIPPED)]
    assert all("cannot use this kind of proxy" in found[f"N{number}"].sentence for number in range(10, 14))


def test_an_ipv6_host_is_named_to_a_proxy_in_brackets(authority: Authority, here: FakeMachine) -> None:
    far = FarProvider(authority.ca_file, "http://proxy.test:3128")
    far.url = "https://[2001:db8::5]/token"
    with served(far, raw(b"HTTP/1.1 403 No\r\n\r\n"), at=(V4, 3128)) as proxy:
        look(far, here.machine)

    assert any(asked.startswith(b"CONNECT [2001:db8::5]:443 HTTP/1.") for asked in proxy.requests)


# ---------------------------------------------------------------------------------------------------------
# At the door


def test_a_server_without_tls_is_found(authority: Authority, here: FakeMachine) -> None:
    far = FarProvider(authority.ca_file)
    with served(far, lambda peer: peer.write(b"220 mail.test ESMTP\r\n")):
        finding = one(look(far, here.machine), "N10")

    # OpenSSL's name for it differs from one version to the next
    assert facts(finding)["reason"] in {
        "wrong version number",
        "record layer failure",
        "packet length too long",
    }


def test_an_older_tls_is_found(authority: Authority, here: FakeMachine) -> None:
    context = authority.server_context(HOST)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with provider(authority, context) as far:
        assert "TLS 1.2" in one(look(far, here.machine), "N10").next_step


def drip_a_long_record(peer: Peer) -> None:
    peer.write(b"\x16\x03\x03\x40\x00")
    peer.drip()


def test_an_answer_that_drips_after_the_handshake_is_no_fault_of_the_handshake(
    authority: Authority, here: FakeMachine
) -> None:
    with provider(authority, act=Peer.drip) as far:

        def look_within(seconds: float) -> dict[str, Finding]:
            far.timeout = Seconds(seconds)
            return look(far, here.machine)

        found = given_time(look_within, lambda found: found["N10"].verdict is Verdict.OK)

    assert broken(found) == []
    assert "first_byte_ms" not in facts(found["N15"])


@pytest.mark.parametrize("act", [Peer.hang, drip_a_long_record])
def test_a_handshake_that_does_not_end_is_found(authority: Authority, here: FakeMachine, act: Act) -> None:
    far = FarProvider(authority.ca_file)
    with served(far, act):

        def look_within(seconds: float) -> dict[str, Finding]:
            far.timeout = Seconds(seconds)
            return look(far, here.machine)

        found = given_time(look_within, lambda found: "N10" in found, 0.2)
        assert "no answer in time" in one(found, "N10").sentence


def test_a_server_that_is_gone_when_it_is_wanted_is_found(authority: Authority, here: FakeMachine) -> None:
    far = FarProvider(authority.ca_file)
    with served(far, Peer.hang):
        probe = far.probe()
        assert probe.attempts[0].problem is None
        far.ports.clear()
        finding = one(examined(checks(probe, credential_probe(), here.machine)), "N10")

    assert "broke off" in finding.sentence


def test_an_authority_that_nobody_knows_is_found(
    authority: Authority, here: FakeMachine, tmp_path: Path
) -> None:
    with provider(authority, Authority(tmp_path, "Acme Inspection").server_context(HOST)) as far:
        finding = one(look(far, here.machine), "N11")

    assert facts(finding)["issuer"] == "CN=Acme Inspection"
    assert facts(finding)["subject"] == f"CN={HOST}"
    assert "ca_file does not name it" in finding.next_step
    assert "ca-certificates" not in finding.next_step


@pytest.mark.parametrize(
    ("origin", "words"), [(SYSTEM, "--reinstall ca-certificates"), (CERTIFI, "apt install ca-certificates")]
)
def test_the_systems_store_is_to_be_mended_only_where_it_would_be_trusted(
    authority: Authority, here: FakeMachine, tmp_path: Path, origin: str, words: str
) -> None:
    class Usual(Authorities):
        @property
        def trust(self) -> Trust:
            return Trust(origin, file=str(authority.ca_file))

    with provider(authority, Authority(tmp_path, "Acme Inspection").server_context(HOST)) as far:
        far.route = Route(None, "", Usual())
        finding = one(look(far, here.machine), "N11")

    assert words in finding.next_step
    assert "name it with ca_file" in finding.next_step


def test_authorities_that_cannot_be_read_are_found(authority: Authority, here: FakeMachine) -> None:
    far = FarProvider("/nowhere/ca.pem")
    with served(far, over_tls(authority.server_context(HOST), answers())):
        finding = one(look(far, here.machine), "N11")

    assert finding.exit_code == 78
    assert "/nowhere/ca.pem" in finding.sentence


def test_a_certificate_for_another_name_is_found(authority: Authority, here: FakeMachine) -> None:
    with provider(authority, authority.server_context("other.test")) as far:
        finding = one(look(far, here.machine), "N12")

    assert facts(finding)["subject"] == "CN=other.test"


@pytest.mark.parametrize(
    ("starts", "ends", "words"),
    [
        (LONG_AGO, NOW - timedelta(days=7), "has expired"),
        (NOW + timedelta(days=7), FAR_AHEAD, "is not valid yet: the clock is slow"),
    ],
)
def test_a_certificate_out_of_its_time_is_found(
    authority: Authority, here: FakeMachine, starts: datetime, ends: datetime, words: str
) -> None:
    with provider(authority, authority.server_context(HOST, starts=starts, ends=ends)) as far:
        finding = one(look(far, here.machine), "N13")

    assert words in finding.sentence
    assert "timedatectl" in finding.next_step
    assert facts(finding)["valid_from"] == starts.replace(microsecond=0).isoformat()
    assert facts(finding)["valid_until"] == ends.replace(microsecond=0).isoformat()


def test_a_certificate_that_the_server_shows_no_second_time_is_told_without(
    authority: Authority, here: FakeMachine, tmp_path: Path
) -> None:
    far = FarProvider(authority.ca_file)
    stranger = over_tls(Authority(tmp_path, "Stranger").server_context(HOST), answers())
    with served(far, Peer.read_request, stranger, Peer.close):
        finding = one(look(far, here.machine), "N11")

    assert "issuer" not in facts(finding)


def test_a_server_that_says_nothing_after_the_handshake_is_no_fault_of_the_handshake(
    authority: Authority, here: FakeMachine
) -> None:
    with provider(authority, act=Peer.read_request) as far:
        found = look(far, here.machine)

    assert broken(found) == []
    assert "first_byte_ms" not in facts(found["N15"])


@pytest.mark.parametrize(
    ("heard", "exit_code", "words"),
    [
        (make_response(body=b"oops", status=503), 76, "status 503"),
        (make_response({"error": "invalid_code_pair"}, status=500), 76, "status 500"),
        (make_response({"access_token": "Sim|x"}), 76, "not as documented"),
        (Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the connection broke off"), 69, "broke off"),
    ],
)
def test_an_answer_that_is_no_refusal_is_found(
    authority: Authority, here: FakeMachine, heard: WireResponse | Unreachable, exit_code: int, words: str
) -> None:
    asked = CredentialProbe(
        SimulatedTransport([heard]), Provider(DialectName.LWA, "", "", token_endpoint=URL)
    )
    with provider(authority) as far:
        finding = one(look(far, here.machine, asked), "N14")

    assert finding.exit_code == exit_code
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("metadata", "exit_code"),
    [(make_response({"issuer": "https://other.test"}), 78), (make_response({}, status=404), 76)],
)
def test_an_issuer_without_the_metadata_of_a_device_flow_is_found(
    authority: Authority, here: FakeMachine, metadata: WireResponse, exit_code: int
) -> None:
    issuer = Provider(DialectName.RFC8628, "", "", issuer=f"https://{HOST}")
    with provider(authority) as far:
        found = look(far, here.machine, CredentialProbe(SimulatedTransport([metadata] * 2), issuer))

    assert one(found, "N14").exit_code == exit_code


def test_a_provider_that_may_not_be_asked_is_not(authority: Authority, here: FakeMachine) -> None:
    with provider(authority) as far:
        found = examined(checks(far.probe(), None, here.machine))

    assert [(code, found[code].verdict) for code in broken(found)] == [("N14", Verdict.SKIPPED)]


def test_a_slow_line_is_told(authority: Authority, here: FakeMachine) -> None:
    # found at once, connected after three seconds, and then again at once
    far = FarProvider(authority.ca_file, clock=ScriptedClock(0, 0, 0, 0, 3, 3, 3, 3))
    with served(far, over_tls(authority.server_context(HOST), answers())):
        finding = one(look(far, here.machine), "N15", Verdict.WARN)

    assert facts(finding) == {"connect_ms": "3000", "tls_ms": "0", "first_byte_ms": "0"}


def test_every_code_and_name_is_its_own() -> None:
    all_of_them: list[Check] = checks(None, None)

    assert len({check.code for check in all_of_them}) == len({check.name for check in all_of_them}) == 15
    assert all(set(check.after) <= {other.code for other in all_of_them} for check in all_of_them)
