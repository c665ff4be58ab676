"""Who is answered, by address and by name."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from device_auth.service.visitors import (
    is_neighbour,
    is_our_host,
    is_own_request,
    names_of,
    read_address,
    read_networks,
)

HOME = [ip_network("192.168.1.0/24"), ip_network("fd00:1::/64"), ip_network("fe80::/64")]
NAMES = {"speaker", "speaker.local", "music.home"}


@pytest.mark.parametrize(
    ("visitor", "own"),
    [
        ("192.168.1.20", "192.168.1.5"),
        ("::ffff:192.168.1.20", "::ffff:192.168.1.5"),
        ("192.168.1.5", "192.168.1.5"),
        ("fd00:1::20", "fd00:1::5"),
        ("fe80::20%wlan0", "fe80::5%wlan0"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_a_private_address_on_the_same_link_is_a_neighbour(visitor: str, own: str) -> None:
    assert is_neighbour(read_address(visitor), read_address(own), HOME)


@pytest.mark.parametrize(
    ("visitor", "own"),
    [
        ("192.168.2.20", "192.168.1.5"),  # private, but beyond a router
        ("10.0.0.20", "192.168.1.5"),
        ("8.8.8.8", "192.168.1.5"),
        ("fd00:2::20", "fd00:1::5"),
        ("2a00::20", "fd00:1::5"),
        ("192.168.1.20", "10.0.0.5"),  # came in on an address whose link is not known
        ("192.168.1.20", "127.0.0.1"),
        ("127.0.0.1", "192.168.1.5"),
        ("::1", "fe80::5"),
        ("192.168.1.20", "fd00:1::5"),
    ],
)
def test_whoever_is_not_on_the_link_is_no_neighbour(visitor: str, own: str) -> None:
    assert not is_neighbour(read_address(visitor), read_address(own), HOME)


@pytest.mark.parametrize(("network", "visitor", "own"), [("8.8.8.0/24", "8.8.8.8", "8.8.8.5")])
def test_a_public_address_is_no_neighbour_even_on_the_link(network: str, visitor: str, own: str) -> None:
    assert not is_neighbour(read_address(visitor), read_address(own), [ip_network(network)])


def test_a_tunnel_to_half_the_world_makes_no_neighbours_of_it() -> None:
    networks = [ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1"), *HOME]

    assert not is_neighbour(read_address("192.168.2.20"), read_address("192.168.1.5"), networks)
    assert is_neighbour(read_address("192.168.1.20"), read_address("192.168.1.5"), networks)


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
wlan0\t0002A8C0\t0101A8C0\t0003\t0\t0\t600\t00FFFFFF\t0\t0\t0
ppp0\t00000000\t00000000\t0001\t0\t0\t600\t00000000\t0\t0\t0
*\t0000000A\t00000000\t0201\t0\t0\t600\t000000FF\t0\t0\t0
eth0\t0000FEA9\t00000000\t0000\t0\t0\t600\t0000FFFF\t0\t0\t0
odd\tline
"""
"""A network of its own; behind a router, everything, refused, and down: none of these is on the link."""

ADDRESSES = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000001000000000000000000000005 03 40 00 00    wlan0
fe800000000000000000000000000005 03 40 20 80    wlan0
zz
"""


def test_the_kernel_tells_which_networks_lie_on_the_links(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTES)
    (tmp_path / "if_inet6").write_text(ADDRESSES)

    assert {str(network) for network in read_networks(tmp_path)} == {
        "192.168.1.0/24",
        "::1/128",
        "fd00:1::/64",
        "fe80::/64",
    }


def test_a_kernel_that_tells_nothing_leaves_no_neighbours(tmp_path: Path) -> None:
    assert read_networks(tmp_path) == []


def test_this_machine_can_be_read() -> None:
    assert all(network.prefixlen > 0 for network in read_networks())


@pytest.mark.parametrize(
    "host",
    [
        "speaker",
        "SPEAKER.local:8080",
        "speaker.local.",
        "music.home:8080",
        "192.168.1.5",
        "192.168.1.5:8080",
    ],
)
def test_a_name_or_the_address_of_the_speaker_is_its_own(host: str) -> None:
    assert is_our_host(host, ip_address("192.168.1.5"), NAMES)


@pytest.mark.parametrize("host", ["[fd00:1::5]", "[FD00:1:0::5]:8080"])
def test_an_address_of_ipv6_stands_in_brackets(host: str) -> None:
    assert is_our_host(host, ip_address("fd00:1::5"), NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "speaker.local.evil.example",
        "evil.example#speaker.local",
        "192.168.1.6",
        "speaker.local:80 80",
        "speaker.local:80٣",
        "192.168.1.5:http",
        "user@speaker.local",
        "[speaker.local]",
        "localhost",
    ],
)
def test_any_other_name_is_not(host: str) -> None:
    assert not is_our_host(host, ip_address("192.168.1.5"), NAMES)
    assert not is_our_host(host, ip_address("fd00:1::5"), NAMES)


def test_an_address_of_ipv6_without_brackets_is_not() -> None:
    assert not is_our_host("fd00:1::5", ip_address("fd00:1::5"), NAMES)


def test_a_speaker_is_called_by_its_host_name_its_name_in_mdns_and_those_of_the_settings() -> None:
    assert names_of("Speaker.lan", ["Music.Home"]) == {"speaker.lan", "speaker.local", "music.home"}


def fields(**given: str) -> dict[str, str]:
    return {"host": "speaker.local:8080"} | {name.lower().replace("_", "-"): it for name, it in given.items()}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Sec_Fetch_Site": "same-origin"},
        {"Origin": "http://speaker.local:8080"},
    ],
)
def test_the_page_itself_may_ask(given: dict[str, str]) -> None:
    assert is_own_request(fields(**given))


@pytest.mark.parametrize(
    "given",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://speaker.local:80"},
    ],
)
def test_a_page_of_another_site_may_not(given: dict[str, str]) -> None:
    assert not is_own_request(fields(**given))
