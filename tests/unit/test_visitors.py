"""Who is answered, by address, by name and by how often."""

from email.message import Message
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from device_auth.core.models import Monotonic, Seconds
from device_auth.service.visitors import (
    MOST_KNOWN,
    TokenBucket,
    VisitorLimiter,
    VisitorLimits,
    is_neighbour,
    is_our_host,
    is_own_request,
    names_of,
    read_address,
    read_networks,
)

HOME = [ip_network("192.168.1.0/24"), ip_network("fd00:1::/64"), ip_network("fe80::/64")]
NAMES = {"speaker", "speaker.local", "music.home"}


def at(seconds: float) -> Monotonic:
    return Monotonic(seconds)


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


def fields(**given: str) -> Message:
    message = Message()
    message["Host"] = "speaker.local:8080"
    for name, value in given.items():
        message[name.replace("_", "-")] = value
    return message


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


def test_an_allowance_gives_a_burst_and_then_one_after_each_while() -> None:
    allowance = TokenBucket(3, Seconds(2))

    assert [allowance.take(at(0)) for _ in range(4)] == [True, True, True, False]
    assert allowance.due_in(at(0)) == pytest.approx(2)
    assert not allowance.take(at(1.9))
    assert allowance.take(at(2))
    assert not allowance.take(at(2))
    assert not allowance.is_whole(at(7.9))
    assert [allowance.take(at(8)) for _ in range(4)] == [True, True, True, False]


def test_one_visitor_who_hammers_is_held_back_and_another_is_not() -> None:
    door = VisitorLimiter(VisitorLimits(burst_each=2, every_each=Seconds(1)))

    for _ in range(2):
        assert door.enter("hammer", at(0)) is None
        door.leave("hammer")

    assert door.enter("hammer", at(0)) is HTTPStatus.TOO_MANY_REQUESTS
    assert door.enter("neighbour", at(0)) is None
    assert door.enter("hammer", at(1)) is None


def test_one_visitor_has_so_many_connections_at_a_time() -> None:
    door = VisitorLimiter(VisitorLimits(connections_each=2))

    assert [door.enter("one", at(0)) for _ in range(3)] == [None, None, HTTPStatus.TOO_MANY_REQUESTS]
    door.leave("one")
    assert door.enter("one", at(0)) is None


def test_all_visitors_together_have_so_many_connections_at_a_time() -> None:
    door = VisitorLimiter(VisitorLimits(connections=2))

    assert door.enter("one", at(0)) is None
    assert door.enter("two", at(0)) is None
    assert door.enter("three", at(0)) is HTTPStatus.SERVICE_UNAVAILABLE
    door.leave("one")
    assert door.enter("three", at(0)) is None


def test_streams_are_few_for_one_and_for_all() -> None:
    door = VisitorLimiter(VisitorLimits(streams=3, streams_each=2))
    door.enter("one", at(0))
    door.enter("two", at(0))

    assert [door.open_stream("one") for _ in range(3)] == [True, True, False]
    assert [door.open_stream("two") for _ in range(2)] == [True, False]
    door.close_stream("one")
    assert door.open_stream("two")


def test_a_crowd_of_made_up_addresses_is_forgotten_and_meanwhile_kept_out() -> None:
    door = VisitorLimiter(VisitorLimits(burst_each=1, every_each=Seconds(10)))
    for number in range(MOST_KNOWN):
        assert door.enter(f"fe80::{number:x}", at(0)) is None
        door.leave(f"fe80::{number:x}")

    assert door.enter("one more", at(0)) is HTTPStatus.SERVICE_UNAVAILABLE
    assert door.enter("one more", at(10)) is None


def test_whoever_is_inside_is_not_forgotten() -> None:
    door = VisitorLimiter(VisitorLimits(connections=MOST_KNOWN + 1))
    for number in range(MOST_KNOWN):
        door.enter(f"fe80::{number:x}", at(0))

    assert door.enter("one more", at(1e6)) is HTTPStatus.SERVICE_UNAVAILABLE
