"""The marks of this unit: of its board, and the DSN that lies on its disk.

The mark of the board is a keyed hash, which no other program makes of the same number: so the stored file reveals
neither the serial number nor the machine ID. Source: sd_id128_get_machine_app_specific(3), machine-id(5).
"""

import hmac
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError
from device_auth.world.settings import SettingsFiles, read_settings

ROOT: Final = Path("/")

SERIAL_NUMBER: Final = Path("/sys/firmware/devicetree/base/serial-number")
"""The file with a Raspberry Pi's serial number and a NUL."""

_LONGEST_NUMBER: Final = 384

_APPLICATION: Final = bytes.fromhex("5d0b6f3f0a8c4c0e9b0a4a3c6f1e7d28")
"""Fixed: the key of the hash, this program's own."""

_MACHINE_ID: Final = "etc/machine-id"

CONTAINER_SIGNS: Final = {
    "run/systemd/container": "",
    "run/host/container-manager": "",
    "run/.containerenv": "podman",
    ".dockerenv": "docker",
}
"""Files of containers, each with the kind it is a sign of; empty where the file itself names the kind.

Source: systemd's container interface; podman-run(1); Docker's ``.dockerenv``.
"""

_LONGEST_KIND: Final = 64

_ON_NO_DISK: Final = {"tmpfs", "ramfs", "overlay", "squashfs", "rootfs"}
"""File systems whose machine ID is gone at the next start, or is every unit's."""

_MARK_LENGTH: Final = 16


class ThisUnit:
    """This unit, read when it is first asked for.

    Args:
        files: the settings of this unit, its identity among them.
        root: of the machine's file system.
    """

    def __init__(self, files: SettingsFiles, root: Path = ROOT) -> None:
        self._files = files
        self._root = root

    @cached_property
    def board(self) -> str:
        """Return the mark of the board; empty if it has neither a serial number nor a machine ID of its own."""
        number = read_serial_number(self._root / SERIAL_NUMBER.relative_to("/"))
        number = number if number.strip("0") else _read_machine_id(self._root)
        return hmac.digest(_APPLICATION, number.encode(), "sha256")[:_MARK_LENGTH].hex() if number else ""

    @cached_property
    def dsn(self) -> str:
        """Return the DSN that the files give, never that of an option or a variable; empty if one cannot be read."""
        with suppress(ConfigError):
            return read_settings({}, self._files, {}).dsn
        return ""


class UnknownUnit:
    """A unit that is not identified, as a simulated speaker: its links bear no mark."""

    board: Final = ""
    dsn: Final = ""


def read_serial_number(path: Path = SERIAL_NUMBER) -> str:
    """Read the board's own serial number; empty if there is none."""
    with suppress(OSError, ValueError), path.open("rb") as stream:
        return stream.read(_LONGEST_NUMBER).decode("ascii").strip("\0 \n")
    return ""


def container_kind(root: Path = ROOT) -> str:
    """Return the kind of the container that this runs in: empty if there is no sign of one, ``unknown`` if it has no name."""
    sign = next((sign for sign in CONTAINER_SIGNS if (root / sign).exists()), None)
    if sign is None:
        return ""
    kind = CONTAINER_SIGNS[sign]
    with suppress(OSError), (root / sign).open("rb") as stream:
        kind = kind or stream.read(_LONGEST_KIND).decode("ascii", "replace").partition("\n")[0].strip()
    return kind or "unknown"


def _read_machine_id(root: Path) -> str:
    """Return the machine ID if it lies on this machine's own disk, else nothing."""
    if container_kind(root):
        return ""
    with suppress(OSError, ValueError):
        path = (root / _MACHINE_ID).resolve(strict=True)
        text = path.read_bytes()[:64].decode("ascii").strip()
        if re.fullmatch("[0-9a-f]{32}", text) and _file_system_of(root, path) not in _ON_NO_DISK:
            return text
    return ""


def _file_system_of(root: Path, path: Path) -> str:
    """Return the kind of the file system that a file lies on; of a file that systemd mounts over it, that one's.

    Source: proc_pid_mountinfo(5).
    """
    found, kind = -1, "rootfs"
    inside = Path("/", path.relative_to(root.resolve()))
    for line in (root / "proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
        if inside.is_relative_to(point) and len(point.parts) >= found:
            found, kind = len(point.parts), rest.split(" ")[0]
    return kind
