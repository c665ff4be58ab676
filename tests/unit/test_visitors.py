"""Who is answered, by address and by name."""

import struct
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from device_auth.service.visitors import (
    Nearness,
    OwnAddress,
    addresses_of,
    is_our_host,
    is_own_request,
    names_loopback,
    names_of,
    nearness_of,
    owner_of,
    read_address,
    read_own_addresses,
)


def own_address(text: str) -> OwnAddress:
    """Read ``ADDRESS/PREFIX``."""
    return OwnAddress(ip_address(text.partition("/")[0]), ip_network(text, strict=False))


HOME = [own_address(text) for text in ("192.168.1.5/24", "192.168.1.6/24", "fd00:1::5/64", "fe80::5/64")]
NAMES = {"speaker", "speaker.local", "music.home"}


@pytest.mark.parametrize(
    ("visitor", "own"),
    [
        ("192.168.1.20", "192.168.1.5"),
        ("::ffff:192.168.1.20", "::ffff:192.168.1.5"),
        ("fd00:1::20", "fd00:1::5"),
        ("fe80::20%wlan0", "fe80::5%wlan0"),
    ],
)
def test_a_private_address_on_the_same_link_is_a_neighbour(visitor: str, own: str) -> None:
    assert nearness_of(read_address(visitor), read_address(own), HOME) is Nearness.NEIGHBOUR


@pytest.mark.parametrize(
    ("visitor", "own"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("192.168.1.5", "192.168.1.5"),
        ("192.168.1.6", "192.168.1.5"),  # of another interface
        ("::ffff:192.168.1.5", "::ffff:192.168.1.5"),
        ("fd00:1::5", "fd00:1::5"),
        ("fe80::5%wlan0", "fe80::5%wlan0"),
        ("192.168.1.9", "192.168.1.5"),  # of a tunnel
    ],
)
def test_an_address_of_this_machine_is_no_neighbour_but_itself(visitor: str, own: str) -> None:
    ours = [*HOME, OwnAddress(ip_address("192.168.1.9"), None)]

    assert nearness_of(read_address(visitor), read_address(own), ours) is Nearness.THIS_MACHINE


@pytest.mark.parametrize(
    ("hostname", "own", "port", "addresses"),
    [
        ("speaker", "192.168.1.5", 8080, ["http://speaker.local:8080/", "http://192.168.1.5:8080/"]),
        ("speaker.lan", "192.168.1.5", 80, ["http://speaker.local/", "http://192.168.1.5/"]),
        ("speaker", "fd00:1::5", 8080, ["http://speaker.local:8080/", "http://[fd00:1::5]:8080/"]),
        ("speaker", "fe80::5", 8080, ["http://speaker.local:8080/"]),  # a browser knows no zone
        ("speaker", "2001:4860::5", 8080, ["http://speaker.local:8080/"]),  # no neighbour is answered there
        ("speaker", "8.8.8.5", 8080, ["http://speaker.local:8080/"]),
        ("localhost", "192.168.1.5", 8080, ["http://192.168.1.5:8080/"]),
        ("", "127.0.0.1", 8080, ["http://127.0.0.1:8080/"]),
    ],
)
def test_the_page_is_named_where_a_phone_can_find_it(
    hostname: str, own: str, port: int, addresses: list[str]
) -> None:
    assert addresses_of(hostname, ip_address(own), port) == addresses


@pytest.mark.parametrize("names", [["localhost"], ["Localhost."], ["music.home", "127.0.0.1"], ["127.1.2.3"]])
def test_the_settings_may_name_this_machine(names: list[str]) -> None:
    assert names_loopback(names)


@pytest.mark.parametrize("names", [[], ["music.home"], ["192.168.1.5"], ["localhost.evil.example"]])
def test_other_names_are_those_of_the_network(names: list[str]) -> None:
    assert not names_loopback(names)


@pytest.mark.parametrize(("visitor", "own"), [("8.8.8.8", "192.168.1.5"), ("2a00::20", "fd00:1::5")])
def test_whoever_has_a_public_address_of_no_network_of_ours_is_far(visitor: str, own: str) -> None:
    assert nearness_of(read_address(visitor), read_address(own), HOME) is Nearness.FAR


@pytest.mark.parametrize(
    ("visitor", "own"),
    [
        ("192.168.2.20", "192.168.1.5"),  # private, but beyond a router
        ("10.0.0.20", "192.168.1.5"),
        ("fd00:2::20", "fd00:1::5"),
        ("192.168.1.20", "10.0.0.5"),  # came in on an address whose link is not known
        ("192.168.1.20", "127.0.0.1"),
        ("127.0.0.1", "192.168.1.5"),
        ("::1", "fe80::5"),
        ("192.168.1.20", "fd00:1::5"),
    ],
)
def test_whoever_is_not_on_the_link_is_no_neighbour(visitor: str, own: str) -> None:
    assert nearness_of(read_address(visitor), read_address(own), HOME) is Nearness.OTHER_NETWORK


def test_a_public_address_is_no_neighbour_even_on_the_link() -> None:
    ours = [own_address("8.8.8.5/24")]

    assert nearness_of(ip_address("8.8.8.8"), ip_address("8.8.8.5"), ours) is Nearness.OTHER_NETWORK


def test_a_tunnel_to_half_the_world_makes_no_neighbours_of_it() -> None:
    ours = [own_address("0.0.0.1/1"), own_address("128.0.0.1/1"), *HOME]
    own = ip_address("192.168.1.5")

    assert nearness_of(ip_address("192.168.2.20"), own, ours) is Nearness.OTHER_NETWORK
    assert nearness_of(ip_address("192.168.1.20"), own, ours) is Nearness.NEIGHBOUR


def message(kind: int, head: bytes, **attributes: bytes) -> bytes:
    """Write a message of the kernel; attributes by number."""
    content = head
    for name, value in attributes.items():
        content += struct.pack("=HH", 4 + len(value), int(name[1:])) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(content), kind, 2, 0, 0) + content


def address(text: str, prefix: int, peer: str = "") -> bytes:
    own, other = ip_address(text).packed, ip_address(peer or text).packed
    head = bytes([2 if len(own) == 4 else 10, prefix, 0, 0, 2, 0, 0, 0])
    return message(20, head, n1=other, n2=own) if len(own) == 4 else message(20, head, n1=own)


def neighbour(text: str, card: str, interface: int = 2) -> bytes:
    head = struct.pack("=BBHiHBB", 2, 0, 0, interface, 2, 0, 1)
    return message(28, head, n1=ip_address(text).packed, n2=bytes.fromhex(card))


END = message(3, bytes(4))


def test_the_networks_are_those_of_our_own_addresses_and_not_what_a_tunnel_routes() -> None:
    told = address("192.168.1.5", 24) + address("fd00:1::5", 64) + address("10.8.0.2", 32, "10.8.0.1")
    told += address("10.9.0.2", 32)

    assert {
        str(address): network and str(network)
        for address, network in read_own_addresses(lambda _: told + END)
    } == {
        "192.168.1.5": "192.168.1.0/24",
        "fd00:1::5": "fd00:1::/64",
        "10.8.0.2": None,
        "10.9.0.2": "10.9.0.2/32",
    }


def test_a_point_to_point_tunnel_to_half_the_world_makes_no_neighbours() -> None:
    ours = read_own_addresses(lambda _: address("10.8.0.2", 32, "10.8.0.1"))
    own = ip_address("10.8.0.2")

    assert nearness_of(ip_address("10.0.0.7"), own, ours) is Nearness.OTHER_NETWORK
    assert nearness_of(ip_address("10.8.0.1"), own, ours) is Nearness.OTHER_NETWORK


@pytest.mark.parametrize("told", [b"", END, b"\0" * 99, message(20, bytes(8)), b"\x10"])
def test_a_kernel_that_tells_nothing_leaves_no_neighbours(told: bytes) -> None:
    assert read_own_addresses(lambda _: told) == []


def test_all_addresses_of_one_card_have_one_share() -> None:
    told = neighbour("192.168.1.7", "02fc00000005") + neighbour("192.168.1.8", "02fc00000005")
    told += neighbour("192.168.1.9", "02fc00000006") + END

    owners = [owner_of(ip_address(f"192.168.1.{host}"), lambda _: told) for host in (7, 8, 9, 10)]

    assert owners[0] == owners[1]
    assert len(set(owners)) == 3
    assert owners[3] == "192.168.1.10"


def test_without_a_card_a_visitor_by_ipv6_counts_by_the_64() -> None:
    owners = {owner_of(ip_address(text), lambda _: b"") for text in ("fd00:1::7", "fd00:1::8", "fd00:2::7")}

    assert owners == {"fd00:1::/64", "fd00:2::/64"}


def test_this_machine_can_be_read() -> None:
    assert own_address("127.0.0.1/8") in read_own_addresses()
    assert owner_of(ip_address("127.0.0.1")) == "127.0.0.1"


@pytest.mark.parametrize(
    "host",
    [
        "speaker",
        "SPEAKER.local:8080",
        "speaker.local.",
        "speaker-2.local",
        "SPEAKER-3.local:8080",
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


def test_a_speaker_is_called_by_its_host_name_and_those_of_the_settings(tmp_path: Path) -> None:
    names = names_of("Speaker.lan", ["Music.Home"], tmp_path / "none")

    assert names == {"speaker.lan", "speaker", "music.home"}


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


def test_the_host_has_a_name_in_each_domain_of_the_network(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("# made by hand\nsearch lan Fritz.Box.\ndomain home\nnameserver 192.168.1.1\n\n")

    names = names_of("Speaker.example", (), resolver)

    assert names == {"speaker", "speaker.example", "speaker.lan", "speaker.fritz.box", "speaker.home"}
