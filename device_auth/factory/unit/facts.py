"""Facts of the unit, as it reads them of itself: ``unit.json``, with the names of rpi-sb-provisioner's database.

What cannot be read is None, and nothing is concluded from what is usual. A hardware address that was set or made up by a
program is not the board's, and where there are two cards or two interfaces none of them is.

Source: the kernel's "Device tree" of Raspberry Pi (``/sys/firmware/devicetree/base``), raspberrypi.com "New-style revision
codes" and "Common bootloader properties /chosen/bootloader"; sysfs-class-net, ``addr_assign_type``; os-release(5).
"""

import os
import re
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from device_auth import __version__
from device_auth.world.unit import SERIAL_NUMBER, read_serial_number

_TREE: Final = Path("sys/firmware/devicetree/base")
_INTERFACES: Final = Path("sys/class/net")
_BLOCKS: Final = Path("sys/block")

_LARGEST: Final = 4096
"""Bytes that are read of a file."""

_SECTOR: Final = 512
"""Source: sysfs-block, ``size`` is in sectors of 512 bytes whatever the disk's are."""

_NEW_STYLE: Final = 1 << 23
_MEMORY: Final = ("256MB", "512MB", "1GB", "2GB", "4GB", "8GB", "16GB")
_MANUFACTURERS: Final = ("Sony UK", "Egoman", "Embest", "Sony Japan", "Embest", "Stadium")
_PROCESSORS: Final = ("BCM2835", "BCM2836", "BCM2837", "BCM2711", "BCM2712")

_ETHERNET: Final = "1"
"""Source: ``linux/if_arp.h``, ``ARPHRD_ETHER``."""

_PERMANENT: Final = "0"
"""Of an address: it is the interface's own. Source: ``linux/netdevice.h``, ``NET_ADDR_PERM``."""

_CARD: Final = re.compile(r"mmcblk\d+")
_MAC_LENGTH: Final = 6

Fact = str | int | None


class _Revision(NamedTuple):
    """What a revision code says."""

    memory: str | None = None
    manufacturer: str | None = None
    processor: str | None = None


def read_facts(root: Path) -> dict[str, Fact]:
    """Return the facts of the unit.

    Args:
        root: of its file system.
    """
    code = _number(root / _TREE / "system/linux,revision")
    revision = _read_revision(code)
    card = _card(root)
    system = _os_release(root)
    signed = _number(root / _TREE / "chosen/bootloader/signed")
    serial = read_serial_number(root / SERIAL_NUMBER.relative_to("/"))
    return {
        "boardname": _text(root / _TREE / "model"),
        "serial": serial if serial.strip("0") and serial.isprintable() else None,
        "board_revision": None if code is None else f"0x{code:x}",
        "processor": revision.processor,
        "memory": revision.memory,
        "manufacturer": revision.manufacturer,
        "rpi_duid": _text(root / _TREE / "chosen/rpi-duid"),
        "eth_mac": _mac_of_tree(root, "ethernet0", "local-mac-address") or _mac_of_interface(root, is_wireless=False),
        "wifi_mac": _mac_of_tree(root, "wifi0", "local-mac-address") or _mac_of_interface(root, is_wireless=True),
        "bt_mac": _mac_of_tree(root, "bluetooth", "local-bd-address", is_reversed=True)
        or _mac(_text(root / "sys/class/bluetooth/hci0/address")),
        "mmc_cid": None if card is None else _text(card / "device/cid"),
        "mmc_size": None if card is None else _size(card),
        "signed_boot_enabled": None if signed is None else int(bool(signed)),
        "bootloader_version": _text(root / _TREE / "chosen/bootloader/version"),
        "bootloader_built": _number(root / _TREE / "chosen/bootloader/build-timestamp"),
        "image_id": system.get("IMAGE_ID"),
        "image_version": system.get("IMAGE_VERSION"),
        "image_issue": (_text(root / "etc/rpi-issue") or "").partition("\n")[0] or None,
        "os": system.get("PRETTY_NAME"),
        "os_version": system.get("VERSION_ID"),
        "kernel": _text(root / "proc/sys/kernel/osrelease"),
        "architecture": os.uname().machine,
        "python": ".".join(map(str, sys.version_info[:3])),
        "device_auth": __version__,
    }  # fmt: skip


def _read(path: Path) -> bytes | None:
    with suppress(OSError, ValueError), path.open("rb") as file:
        return file.read(_LARGEST)
    return None


def _text(path: Path) -> str | None:
    """Return the text of a file without its end; None if there is none, or it is not text."""
    content = _read(path)
    if content is None:
        return None
    with suppress(UnicodeDecodeError):
        text = content.decode().strip("\0 \n")
        return text if text and text.replace("\n", "").isprintable() else None
    return None


def _number(path: Path) -> int | None:
    """Return a property of the device tree that is one number."""
    content = _read(path)
    return (
        None if content is None or len(content) != struct.calcsize(">I") else struct.unpack(">I", content)[0]
    )


def _read_revision(code: int | None) -> _Revision:
    if code is None or not code & _NEW_STYLE:
        return _Revision()
    return _Revision(
        memory=_named(_MEMORY, code >> 20 & 0b111),
        manufacturer=_named(_MANUFACTURERS, code >> 16 & 0b1111),
        processor=_named(_PROCESSORS, code >> 12 & 0b1111),
    )


def _named(names: tuple[str, ...], number: int) -> str | None:
    return names[number] if number < len(names) else None


def _mac_of_tree(root: Path, alias: str, name: str, *, is_reversed: bool = False) -> str | None:
    """Return the address that the firmware has written into the device tree, for the node that an alias names."""
    node = _text(root / _TREE / "aliases" / alias)
    if node is None or not node.startswith("/") or ".." in node:
        return None
    content = _read(root / _TREE / node.lstrip("/") / name)
    if content is None or len(content) != _MAC_LENGTH:
        return None
    # a Bluetooth address stands there with its last byte first
    return _mac((content[::-1] if is_reversed else content).hex(":"))


def _mac_of_interface(root: Path, *, is_wireless: bool) -> str | None:
    """Return the address of the only interface of that kind; None if there are several, or it is not the interface's own."""
    found = []
    for path in _entries(root / _INTERFACES):
        is_part = (path / "device").exists() and _text(path / "type") == _ETHERNET
        if is_part and (path / "phy80211").exists() == is_wireless:
            found.append(path)
    if len(found) != 1 or _text(found[0] / "addr_assign_type") != _PERMANENT:
        return None
    return _mac(_text(found[0] / "address"))


def _mac(text: str | None) -> str | None:
    """Return a hardware address that is one board's own."""
    text = (text or "").lower()
    if not re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", text) or len(set(text) - {":"}) == 1:
        return None
    return text


def _card(root: Path) -> Path | None:
    """Return the only card or eMMC."""
    found = [path for path in _entries(root / _BLOCKS) if _CARD.fullmatch(path.name)]
    return found[0] if len(found) == 1 else None


def _size(card: Path) -> int | None:
    """Return the size of a card in bytes."""
    text = _text(card / "size") or ""
    return int(text) * _SECTOR if re.fullmatch("[0-9]{1,15}", text) else None


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _os_release(root: Path) -> dict[str, str]:
    for name in ("etc/os-release", "usr/lib/os-release"):
        content = _read(root / name)
        if content is not None:
            pairs = re.findall(
                r"^([A-Z_]+)=[\"']?(.+?)[\"']?$", content.decode(errors="replace"), re.MULTILINE
            )
            return {key: value for key, value in pairs if value.isprintable()}
    return {}
