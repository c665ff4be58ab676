"""Leftovers of a cloned image: what each unit must have of its own, and what no unit may bring along.

A unit that talks to a station has booted. So it has a machine ID of its own, on its disk or, where the root is read-only,
made at each start; and its secrets are not older than that first start. Where its clock was wrong then, times do not
tell: the digests of the image's own files do, if the station gives them.

Source: machine-id(5), "First Boot Semantics"; systemd-random-seed.service(8); systemd-creds(1); NetworkManager's
nm-settings-keyfile(5); wpa_supplicant.conf(5); netplan(5); iwd.network(5); the file format of the systemd journal.
"""

import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.world.disks import is_in_memory, mount_of

_MACHINE_ID: Final = "etc/machine-id"
_DBUS_MACHINE_ID: Final = "var/lib/dbus/machine-id"

_OWN_SECRETS: Final = {
    "ssh-host-keys": ("etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub"),
    "credential-secret": ("var/lib/systemd/credential.secret",),
    "random-seed": (
        "var/lib/systemd/random-seed",
        "var/lib/urandom/random-seed",
        *(f"{folder}/loader/random-seed" for folder in ("boot", "boot/efi", "boot/firmware", "efi")),
    ),
    "network-secret": ("var/lib/NetworkManager/secret_key",),
}
"""By the name of the check: files that a unit makes for itself."""

_WIFI_FILES: Final = (
    *(f"{folder}/NetworkManager/system-connections/*" for folder in ("etc", "run", "usr/lib")),
    *("etc/wpa_supplicant/*.conf", "boot/wpa_supplicant.conf", "boot/firmware/wpa_supplicant.conf"),
    *("etc/netplan/*.yaml", "run/netplan/*.yaml", "lib/netplan/*.yaml", "usr/lib/netplan/*.yaml"),
    *("boot/network-config", "boot/firmware/network-config", "var/lib/cloud/*/network-config*"),
    *("var/lib/cloud/instances/*/network-config*", "boot/custom.toml", "boot/firmware/custom.toml"),
    *("var/lib/iwd/*", "var/lib/connman/*/settings", "var/lib/connman/*.config"),
    *("etc/network/interfaces", "etc/network/interfaces.d/*", "etc/wpa_supplicant.conf"),
)
"""Where Raspberry Pi OS and Debian keep networks, on the root and on the boot partition."""

_PASSWORD: Final = re.compile(
    rb"""^[\s"']*(?:psk|sae[-_]password|password|passphrase|presharedkey|pre-?shared-?key|wep[-_]key\d?|leap-password
    |private[-_]key[-_]passw(?:or)?d|wpa-psk|wpa-passphrase)["']?[ \t]*[=:\s][ \t]*[^\s#]""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)

_LARGEST_FILE: Final = 1 << 20

JOURNALS: Final = ("var/log/journal", "run/log/journal")
"""Folders below the root that hold the journal."""

_JOURNAL_START: Final = b"LPKSHHRH"
_JOURNAL_MACHINE: Final = slice(40, 56)
"""Where the header of a journal file has the machine ID. Source: systemd's JOURNAL_FILE_FORMAT.md, ``struct Header``."""


class Leftover(NamedTuple):
    """What was found of one kind.

    Attributes:
        name: of the check.
        problem: what is left, for a person; empty if nothing is.
        detail: what was found otherwise.
        digest: SHA-256 of what must differ from every other unit's; empty if there is none.
    """

    name: str
    problem: str
    detail: str = ""
    digest: str = ""


def look_for_leftovers(root: Path, image: frozenset[str] = frozenset()) -> Iterator[Leftover]:
    """Return what was found of each kind, in the order of the checks.

    Args:
        root: the root folder of the unit.
        image: SHA-256 of files of the image, in hexadecimal, that no unit may have.
    """
    yield _machine_id(root, image)
    first_boot = _first_boot(root)
    for name, patterns in _OWN_SECRETS.items():
        yield _own_secrets(name, _files_at(root, patterns), first_boot, image)
    yield _wifi(root)
    yield _journal(root)


def _machine_id(root: Path, image: frozenset[str]) -> Leftover:
    path, name = root / _MACHINE_ID, "machine-id"
    try:
        content = _read(path)
    except FileNotFoundError:
        return Leftover(name, f"there is no {path}: the first start of this unit has made none")
    except OSError as error:
        return Leftover(name, _cannot_read(path, error))
    text = content.decode("ascii", "replace").strip()
    if text in {"", "uninitialized"}:
        return Leftover(name, f"{path} is not filled in: the first start of this unit has made none")
    if not re.fullmatch("[0-9a-f]{32}", text) or not text.strip("0"):
        return Leftover(name, f"{path} holds no machine ID")
    digest = sha256(content).hexdigest()
    if digest in image:
        return Leftover(name, f"{path} is the image's")
    other = _dbus_problem(root, text)
    if other:
        return Leftover(name, other)
    return Leftover(name, "", "made anew at each start" if _is_transient(root) else "its own", digest)


def _dbus_problem(root: Path, text: str) -> str:
    path = root / _DBUS_MACHINE_ID
    try:
        if path.is_symlink() or _read(path).decode("ascii", "replace").strip() == text:
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return _cannot_read(path, error)
    return f"{path} holds another machine ID"


def _is_transient(root: Path) -> bool:
    mount = mount_of(root / _MACHINE_ID, root)
    return mount is not None and is_in_memory(mount, root)


def _first_boot(root: Path) -> float | None:
    """Return when this unit first started by its own clock: then its machine ID was written. None if it is on no disk."""
    try:
        return None if _is_transient(root) else (root / _MACHINE_ID).stat().st_mtime
    except OSError:
        return None


def _own_secrets(name: str, paths: list[Path], first_boot: float | None, image: frozenset[str]) -> Leftover:
    digest = ""
    for path in paths:
        try:
            content, made_at = _read(path), path.stat().st_mtime
        except FileNotFoundError:
            continue
        except OSError as error:
            return Leftover(name, _cannot_read(path, error))
        found = sha256(content).hexdigest()
        if found in image:
            return Leftover(name, f"{path} is the image's")
        if path.suffix == ".pub":
            digest = digest or found
        if first_boot is not None and made_at < first_boot:
            return Leftover(name, f"{path} is older than the first start of this unit")
        if first_boot is None and not image:
            return Leftover(
                name,
                f"nothing tells whether {path} is the image's: the machine ID is on no disk, and no digest of the image"
                " was given (--image-digest)",
            )
    return Leftover(name, "", f"its own: {len(paths)}" if paths else "none", digest)


def _wifi(root: Path) -> Leftover:
    name = "wifi-passwords"
    paths = _files_at(root, _WIFI_FILES)
    for path in paths:
        try:
            content = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return Leftover(name, _cannot_read(path, error))
        if _PASSWORD.search(content):
            return Leftover(name, f"{path} holds a password")
    return Leftover(name, "", f"searched files: {len(paths)}")


def _journal(root: Path) -> Leftover:
    name = "journal"
    try:
        own = _read(root / _MACHINE_ID).decode("ascii", "replace").strip()
    except OSError:
        own = ""
    count = 0
    for top in JOURNALS:
        for folder in _entries(root / top):
            # systemd names a namespace's behind the ID
            if folder.is_dir() and folder.name.partition(".")[0] != own:
                return Leftover(name, f"{folder} is of another machine")
            for path in _entries(folder) if folder.is_dir() else [folder]:
                count += 1
                try:
                    beginning = _read(path, 256)
                except OSError as error:
                    return Leftover(name, _cannot_read(path, error))
                machine = beginning[_JOURNAL_MACHINE].hex()
                if beginning.startswith(_JOURNAL_START) and machine.strip("0") and machine != own:
                    return Leftover(name, f"{path} is of another machine")
    return Leftover(name, "", f"files: {count}")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _files_at(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the plain files that patterns lead to; symbolic links are followed, as the system follows them."""
    return sorted({path for pattern in patterns for path in root.glob(pattern) if _is_file(path)})


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _read(path: Path, most: int = _LARGEST_FILE) -> bytes:
    with path.open("rb") as file:
        return file.read(most)


def _cannot_read(path: Path, error: OSError) -> str:
    return f"cannot read {path}: {error.strerror}"
