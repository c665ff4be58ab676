"""The facts of a unit: read of itself, None where they cannot be read, and never concluded from what is usual."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from device_auth import __version__
from device_auth.factory.unit.facts import read_facts

TREE: Final = "sys/firmware/devicetree/base"

ZERO_2_W: Final[dict[str, bytes]] = {
    f"{TREE}/model": b"Raspberry Pi Zero 2 W Rev 1.0\0",
    f"{TREE}/serial-number": b"00000000a1b2c3d4\0",
    f"{TREE}/system/linux,revision": bytes.fromhex("00902120"),
    f"{TREE}/aliases/wifi0": b"/soc/mmcnr@7e300000/wifi@1\0",
    f"{TREE}/soc/mmcnr@7e300000/wifi@1/local-mac-address": bytes.fromhex("d83add000001"),
    f"{TREE}/aliases/bluetooth": b"/soc/serial@7e201000/bluetooth\0",
    f"{TREE}/soc/serial@7e201000/bluetooth/local-bd-address": bytes.fromhex("020000dd3ad8"),
    f"{TREE}/chosen/bootloader/signed": bytes(4),
    f"{TREE}/chosen/rpi-duid": b"0000911043955412\0",
    f"{TREE}/chosen/bootloader/version": b"4c8b2b3d\0",
    f"{TREE}/chosen/bootloader/build-timestamp": bytes.fromhex("67ea0000"),
    "sys/block/mmcblk0/device/cid": b"150100414a5444345206c9e4baeeba00\n",
    "sys/block/mmcblk0/size": b"61069312\n",
    "sys/block/mmcblk0boot0/size": b"8192\n",
    "sys/class/net/lo/type": b"772\n",
    "etc/os-release": b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nIMAGE_ID=kitchen\nIMAGE_VERSION=7\n',
    "etc/rpi-issue": b"Raspberry Pi reference 2026-10-02\nGenerated using pi-gen\n",
    "proc/sys/kernel/osrelease": b"6.12.34+rpt-rpi-v8\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def add_interface(
    root: Path, name: str, address: str, assigned: str = "0", *, is_wireless: bool = False
) -> None:
    folder = root / "sys/class/net" / name
    (folder / "device").mkdir(parents=True)
    if is_wireless:
        (folder / "phy80211").mkdir()
    for file, text in {"type": "1", "address": address, "addr_assign_type": assigned}.items():
        (folder / file).write_text(f"{text}\n")


def add_two_interfaces(root: Path) -> None:
    for name in ("eth0", "eth1"):
        add_interface(root, name, "dc:a6:32:00:00:01")


def test_a_board_is_read_as_it_is(root: Path) -> None:
    put(root, ZERO_2_W)

    facts = read_facts(root)

    assert {name: facts.pop(name) for name in ("architecture", "python", "device_auth")}[
        "device_auth"
    ] == __version__
    assert facts == {
        "boardname": "Raspberry Pi Zero 2 W Rev 1.0",
        "serial": "00000000a1b2c3d4",
        "board_revision": "0x902120",
        "processor": "BCM2837",
        "memory": "512MB",
        "manufacturer": "Sony UK",
        "rpi_duid": "0000911043955412",
        "eth_mac": None,
        "wifi_mac": "d8:3a:dd:00:00:01",
        "bt_mac": "d8:3a:dd:00:00:02",
        "mmc_cid": "150100414a5444345206c9e4baeeba00",
        "mmc_size": 31267487744,
        "signed_boot_enabled": 0,
        "bootloader_version": "4c8b2b3d",
        "bootloader_built": 0x67EA0000,
        "image_id": "kitchen",
        "image_version": "7",
        "image_issue": "Raspberry Pi reference 2026-10-02",
        "os": "Debian GNU/Linux 13 (trixie)",
        "os_version": "13",
        "kernel": "6.12.34+rpt-rpi-v8",
    }  # fmt: skip


def test_of_a_machine_that_tells_nothing_nothing_is_said(root: Path) -> None:
    facts = read_facts(root)

    known = {name for name, value in facts.items() if value is not None}
    assert known == {"architecture", "python", "device_auth"}


def test_addresses_come_from_the_interfaces_where_the_device_tree_has_none(root: Path) -> None:
    add_interface(root, "end0", "DC:A6:32:00:00:01")
    add_interface(root, "wlan0", "dc:a6:32:00:00:02", is_wireless=True)
    put(root, {"sys/class/bluetooth/hci0/address": b"dc:a6:32:00:00:03\n"})

    facts = read_facts(root)

    macs = [facts[name] for name in ("eth_mac", "wifi_mac", "bt_mac")]
    assert macs == ["dc:a6:32:00:00:01", "dc:a6:32:00:00:02", "dc:a6:32:00:00:03"]


SPOILED: Final[dict[str, tuple[str, Callable[[Path], object]]]] = {
    "a serial number of zeros": ("serial", lambda root: put(root, {f"{TREE}/serial-number": b"0000\0"})),
    "a serial number that is no text": ("serial", lambda root: put(root, {f"{TREE}/serial-number": b"\xff"})),
    "a model with controls": ("boardname", lambda root: put(root, {f"{TREE}/model": b"\x1b[2J\0"})),
    "a revision of another length": (
        "board_revision",
        lambda root: put(root, {f"{TREE}/system/linux,revision": bytes(8)}),
    ),
    "an old revision": ("memory", lambda root: put(root, {f"{TREE}/system/linux,revision": bytes(3) + b"\x0e"})),
    "a revision of tomorrow": (
        "processor",
        lambda root: put(root, {f"{TREE}/system/linux,revision": bytes.fromhex("0090f120")}),
    ),
    "an address that was made up": ("eth_mac", lambda root: add_interface(root, "eth0", "02:00:00:00:00:01", "1")),
    "an address that was set": (
        "wifi_mac",
        lambda root: add_interface(root, "wlan0", "02:00:00:00:00:01", "3", is_wireless=True),
    ),
    "two interfaces": (
        "eth_mac",
        add_two_interfaces,
    ),
    "an address of zeros": ("eth_mac", lambda root: add_interface(root, "eth0", "00:00:00:00:00:00")),
    "an address of the whole network": ("eth_mac", lambda root: add_interface(root, "eth0", "ff:ff:ff:ff:ff:ff")),
    "an address of zeros in the tree": (
        "bt_mac",
        lambda root: put(root, {f"{TREE}/aliases/bluetooth": b"/b\0", f"{TREE}/b/local-bd-address": bytes(6)}),
    ),
    "an alias that leads out": ("wifi_mac", lambda root: put(root, {f"{TREE}/aliases/wifi0": b"/../../x\0"})),
    "two cards": (
        "mmc_cid",
        lambda root: put(root, {f"sys/block/mmcblk{number}/device/cid": b"15\n" for number in (0, 1)}),
    ),
    "a size that is none": ("mmc_size", lambda root: put(root, {"sys/block/mmcblk0/size": b"-1\n"})),
    "an image without a name": ("image_id", lambda root: put(root, {"etc/os-release": b"ID=debian\n"})),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_not_the_boards_own_is_unknown(root: Path, case: str) -> None:
    name, spoil = SPOILED[case]

    spoil(root)

    assert read_facts(root)[name] is None
