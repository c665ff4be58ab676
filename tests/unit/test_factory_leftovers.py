import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from device_auth.factory.unit.leftovers import look_for_leftovers
from tests.unit_on_the_line import MACHINE, UnitOnTheLine

OTHER: Final = "ab" * 16
FIRST_BOOT: Final = 1_790_000_000

JOURNAL_FILE: Final = b"LPKSHHRH" + bytes(32)


@pytest.fixture
def unit(tmp_path: Path) -> UnitOnTheLine:
    """A unit of a clean image, after its first start."""
    unit = UnitOnTheLine(tmp_path).make()
    os.utime(unit.root / "etc/machine-id", (FIRST_BOOT, FIRST_BOOT))
    own(unit, "etc/ssh/ssh_host_ed25519_key", "the unit's")
    own(unit, "etc/ssh/ssh_host_ed25519_key.pub", "the unit's")
    own(unit, "var/lib/systemd/random-seed", "the unit's")
    own(unit, "var/lib/systemd/credential.secret", "the unit's")
    unit.write("etc/NetworkManager/system-connections/eth0.nmconnection", "[connection]\nid=wired\n")
    unit.write("etc/wpa_supplicant/wpa_supplicant.conf", "country=DE\n# psk=example\n")
    unit.write(f"var/log/journal/{MACHINE}/system.journal", JOURNAL_FILE + bytes.fromhex(MACHINE))
    unit.write(f"var/log/journal/{MACHINE}/user.journal", b"")
    return unit


def own(unit: UnitOnTheLine, name: str, content: str, seconds: float = 30) -> None:
    """Write a file so long after the first start."""
    os.utime(unit.write(name, content), (FIRST_BOOT + seconds, FIRST_BOOT + seconds))


def problems(unit: UnitOnTheLine, *image: str) -> dict[str, str]:
    digests = frozenset(sha256(content.encode()).hexdigest() for content in image)
    return {each.name: each.problem for each in look_for_leftovers(unit.root, digests) if each.problem}


def old(name: str) -> Callable[[UnitOnTheLine], object]:
    return lambda unit: own(unit, name, "the image's", -1)


def machine_id(text: str) -> Callable[[UnitOnTheLine], object]:
    return lambda unit: unit.write("etc/machine-id", text)


LEFTOVERS: Final[dict[str, tuple[str, Callable[[UnitOnTheLine], object]]]] = {
    "no machine ID": ("machine-id", lambda unit: (unit.root / "etc/machine-id").unlink()),
    "an empty machine ID": ("machine-id", machine_id("")),
    "one that the first start was to make": ("machine-id", machine_id("uninitialized\n")),
    "one that is none": ("machine-id", machine_id("0" * 32)),
    "another one for D-Bus": ("machine-id", lambda unit: unit.write("var/lib/dbus/machine-id", OTHER)),
    "an old host key": ("ssh-host-keys", old("etc/ssh/ssh_host_rsa_key")),
    "an old host key, public": ("ssh-host-keys", old("etc/ssh/ssh_host_rsa_key.pub")),
    "an old credential secret": ("credential-secret", old("var/lib/systemd/credential.secret")),
    "an old random seed": ("random-seed", old("var/lib/systemd/random-seed")),
    "an old seed on the boot partition": ("random-seed", old("boot/firmware/loader/random-seed")),
    "NetworkManager's old secret": ("network-secret", old("var/lib/NetworkManager/secret_key")),
    "a network of NetworkManager": (
        "wifi-passwords",
        lambda unit: unit.write(
            "etc/NetworkManager/system-connections/home.nmconnection", "[wifi-security]\npsk=swordfish\n"
        ),
    ),
    "a network of wpa_supplicant": (
        "wifi-passwords",
        lambda unit: unit.write(
            "etc/wpa_supplicant/wpa_supplicant.conf", 'network={\n\tssid="home"\n\tpsk="swordfish"\n}\n'
        ),
    ),
    "a network of netplan": (
        "wifi-passwords",
        lambda unit: unit.write(
            "etc/netplan/90-wifi.yaml",
            'network:\n  wifis:\n    wlan0:\n      access-points:\n        "home":\n          password: "swordfish"\n',
        ),
    ),
    "a network of iwd": (
        "wifi-passwords",
        lambda unit: unit.write("var/lib/iwd/home.psk", "[Security]\nPassphrase=swordfish\n"),
    ),
    "a network on the boot partition": (
        "wifi-passwords",
        lambda unit: unit.write("boot/firmware/network-config", "  password: swordfish\n"),
    ),
    "a network of ifupdown": (
        "wifi-passwords",
        lambda unit: unit.write(
            "etc/network/interfaces", "iface wlan0 inet dhcp\n  wpa-ssid home\n  wpa-psk swordfish\n"
        ),
    ),
    "a journal of another machine": (
        "journal",
        lambda unit: unit.write(f"var/log/journal/{OTHER}/system.journal", b""),
    ),
    "a journal file of another machine": (
        "journal",
        lambda unit: unit.write(
            f"var/log/journal/{MACHINE}/system@1.journal", JOURNAL_FILE + bytes.fromhex(OTHER)
        ),
    ),
}


def test_a_unit_of_a_clean_image_has_none(unit: UnitOnTheLine) -> None:
    assert problems(unit) == {}


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_each_leftover_is_found_by_its_check(unit: UnitOnTheLine, leftover: str) -> None:
    name, plant = LEFTOVERS[leftover]
    plant(unit)
    if name == "machine-id" and (unit.root / "etc/machine-id").exists():
        os.utime(unit.root / "etc/machine-id", (FIRST_BOOT, FIRST_BOOT))

    found = problems(unit)

    assert name in found
    # without a machine ID of its own, no journal is its own either
    assert set(found) - {"journal"} <= {name} or leftover == "no machine ID"
    assert "swordfish" not in str(found)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("ssh-host-keys", "etc/ssh/ssh_host_ed25519_key"),
        ("credential-secret", "var/lib/systemd/credential.secret"),
        ("random-seed", "var/lib/systemd/random-seed"),
    ],
)
def test_what_equals_the_images_is_the_images_however_new_it_is(
    unit: UnitOnTheLine, name: str, path: str
) -> None:
    own(unit, path, "the image's", 60)

    assert problems(unit) == {}
    assert problems(unit, "the image's") == {name: f"{unit.root / path} is the image's"}


def test_a_machine_id_of_the_image_is_told_by_its_digest(unit: UnitOnTheLine) -> None:
    assert set(problems(unit, MACHINE + "\n")) == {"machine-id"}


TRANSIENT: Final = (
    "1 0 179:2 / / rw - ext4 /dev/root rw\n2 1 0:20 /machine-id {etc}/machine-id ro - tmpfs tmpfs ro\n"
)


def test_on_a_read_only_root_a_machine_id_of_this_start_is_right_and_times_tell_nothing(
    unit: UnitOnTheLine,
) -> None:
    unit.write("proc/self/mountinfo", TRANSIENT.format(etc=unit.root / "etc"))

    untold = problems(unit)

    assert set(untold) == {"ssh-host-keys", "credential-secret", "random-seed"}
    assert "nothing tells whether" in untold["random-seed"]
    assert problems(unit, "the image's") == {}


def test_a_link_to_the_machine_id_is_no_other_one(unit: UnitOnTheLine) -> None:
    (unit.root / "var/lib/dbus").mkdir(parents=True)
    (unit.root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")

    assert problems(unit) == {}


def test_an_unreadable_place_is_no_clean_place(unit: UnitOnTheLine) -> None:
    (unit.root / "etc/machine-id").unlink()
    (unit.root / "etc/machine-id").mkdir()

    assert problems(unit)["machine-id"].startswith("cannot read ")
