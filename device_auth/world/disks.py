"""The disk of a folder: its kind, and whether what is stored there outlasts a power cut.

People are promised "it stays linked" only where the state folder does; the doctor reports the same.

Source: proc(5), ``/proc/PID/mountinfo``; the kernel's "Overlay Filesystem" and "sysfs-block"; zram(4).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from device_auth.core.values import dataclass

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "rootfs", "devtmpfs"})

_OVERLAYS: Final = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})
"""Of these only ``overlay`` reports the folder that it writes to."""

_DISKS_IN_MEMORY: Final = ("zram", "ram")
"""The names of block devices in memory, before their numbers."""

NATIVE: Final = frozenset(
    {
        *("ext2", "ext3", "ext4", "btrfs", "xfs", "f2fs", "bcachefs", "zfs", "jfs", "nilfs2", "reiserfs"),
        *("ubifs", "jffs2", "tmpfs", "ramfs", "rootfs", "overlay"),
    }
)
"""Know owners, modes, second names, locks and folders that are synced: all that the store asks for."""

WITHOUT_MODES: Final = frozenset({"vfat", "exfat", "msdos", "ntfs", "ntfs3"})
OVER_THE_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})

KEEP_ON_CARD: Final = "Keep the state on the card: name a folder there with --state-dir."
_WITHOUT_OVERLAY: Final = (
    "If the overlay of raspi-config is on, switch it off, or keep the state on a partition of its own."
)


PERSISTENT: Final = Path("/persistent")

_UPDATERS: Final = (
    ("RAUC", "etc/rauc/system.conf", r"(?m)^\s*device\s*=\s*(/\S+)"),
    ("Mender", "etc/mender/mender.conf", r'"RootfsPart[AB]"\s*:\s*"(/[^"]+)"'),
)
"""Names, settings files, and how these name the device of a slot."""


@dataclass(frozen=True, slots=True)
class Mount:
    """The file system of a path.

    Attributes:
        number: names it among the others.
        parent: the number of the one that it is mounted on.
        device: its block device, as ``major:minor``; major is 0 where the kernel names none.
        folder: of the file system, that is mounted; ``/`` unless only a part of it is.
        point: where it is mounted.
        kind: such as ``ext4``.
        source: what is mounted, such as ``/dev/mmcblk0p2``.
        options: of the file system itself, not of this mount of it.
        line: of ``mountinfo``.
    """

    number: str
    parent: str
    device: str
    folder: str
    point: Path
    kind: str
    source: str
    options: tuple[str, ...]
    line: str

    @property
    def is_read_only(self) -> bool:
        """Return whether nothing can be written there, be it by this mount alone or by the file system."""
        return "ro" in {*self.options, *"".join(self.line.split()[5:6]).split(",")}

    @property
    def name(self) -> str:
        """Return what is mounted, and where, for a person."""
        return f"{self.source}, mounted on {self.point}"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why what is stored in a folder may not outlast a power cut.

    Attributes:
        sentence: names the folder and the reason.
        hint: for a person.
        is_certain: it is lost; else the kernel does not report where it lies.
    """

    sentence: str
    hint: str
    is_certain: bool


def mount_of(path: Path, root: Path = Path("/")) -> Mount | None:
    """Return the file system of a path, which need not exist; None if the kernel reports none.

    Args:
        path: symbolic links are followed.
        root: the root folder of the machine that reports.
    """
    try:
        whole = path.resolve()
    except (OSError, RuntimeError):
        # its links lead in a circle (RuntimeError before 3.13), or were swapped meanwhile
        whole = path.absolute()
    return _find(whole, _read_mounts(root))


def doubt_about(path: Path, root: Path = Path("/")) -> Doubt | None:
    """Return why what is stored in a folder may not outlast a power cut; None if it does, as far as is known.

    Args:
        path: of the folder, which need not exist.
        root: the root folder of the machine that reports.
    """
    mount = mount_of(path, root)
    if mount is None:
        return None
    lasts = _outlasts_power_cut(mount, root)
    if lasts:
        return None
    hint = _WITHOUT_OVERLAY if mount.kind in _OVERLAYS else KEEP_ON_CARD
    if lasts is None:
        why = "is on an overlay: if that is in memory, the link is gone after the next power cut."
    else:
        why = "is in memory: the link is gone after the next power cut."
    return Doubt(f"{path} {why}", hint, is_certain=lasts is False)


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots that an updater exchanges: what lies on one is gone after an update.

    Attributes:
        updater: its name.
        remedy: where to keep what must stay; ``{path}`` stands for it.
        devices: of the slots, as ``major:minor``.
        folder: of the slots, on the device that they share: that device, and the beginning of the path there.
    """

    updater: str
    remedy: str
    devices: frozenset[str]
    folder: tuple[str, str] | None = None

    def holds(self, mount: Mount) -> bool:
        """Return whether a file system is on a slot."""
        if self.folder is not None and mount.device == self.folder[0]:
            return mount.folder.startswith(self.folder[1])
        return mount.device in self.devices


def find_slots(root: Path = Path("/")) -> Slots | None:
    """Return the slots of this system; None if no updater that is known here exchanges any.

    Source: the documentation of RAUC ("system.conf", sections ``slot.CLASS.N``), of Mender ("mender.conf",
    ``RootfsPartA``) and of rpi-image-gen ("image-rota": the root is a slot, ``/var`` is bound from
    ``/persistent/slots/SLOT/var``, and what ``slot-shared.d`` declares from ``/persistent/shared``).
    """
    system, persistent = mount_of(Path("/"), root), mount_of(PERSISTENT, root)
    if system is not None and persistent is not None and persistent.point == PERSISTENT:
        remedy = "Declare {path} in the image, in /etc/rpi-image-gen/slot-shared.d, as the package's file there does."
        own = f"{persistent.folder.rstrip('/')}/slots/"
        return Slots("rpi-image-gen", remedy, frozenset({system.device}), (persistent.device, own))
    for updater, name, pattern in _UPDATERS:
        try:
            text = (root / name).read_text(errors="replace")
        except OSError:
            continue
        found = (_number_of(device, root) for device in re.findall(pattern, text))
        devices = frozenset(number for number in found if number)
        if devices:
            return Slots(
                updater,
                "Bind {path} to a folder of the partition that the slots share (docs/doctor.md, S9).",
                devices,
            )
    return None


def _number_of(device: str, root: Path) -> str:
    """Return the number of a named block device, as ``major:minor``; empty if there is none."""
    return _read_line(_named_device(device, root) / "dev")


def is_in_memory(mount: Mount, root: Path = Path("/")) -> bool:
    """Return whether all that is written there is known to be in memory alone."""
    return _outlasts_power_cut(mount, root) is False


def open_swaps(root: Path = Path("/")) -> list[str]:
    """Return each place that memory is swapped out to and can be read from a disk later: neither in memory nor encrypted."""
    try:
        lines = (root / "proc/swaps").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []
    names = [_unescaped(line.split()[0]).removesuffix(" (deleted)") for line in lines if line.strip()]
    return [name for name in names if not _is_swap_closed(Path(name), root)]


def _is_swap_closed(path: Path, root: Path) -> bool:
    if not path.is_relative_to("/dev"):
        return _is_file_closed(path, root)
    device = _named_device(str(path), root)
    return device.is_dir() and _is_closed(device, root)


def _is_file_closed(path: Path, root: Path) -> bool:
    mount = mount_of(path, root)
    if mount is None:
        return False
    device = _device_of(mount, root)
    return is_in_memory(mount, root) or (device is not None and _is_closed(device, root))


def _is_closed(device: Path, root: Path) -> bool:
    """Return whether what is written to a block device cannot be read from a disk later."""
    device = _whole(device)
    if _is_memory(device):
        # zram may write what is rarely used to another device; "none" where it does not
        backing = _read_line(device / "backing_dev")
        return backing in {"", "none"} or _is_swap_closed(Path(backing), root)
    if _read_line(device / "dm/uuid").startswith("CRYPT-"):
        return True
    file = _backing_file(device)
    if file is not None:
        return _is_file_closed(file, root)
    below = list(device.glob("slaves/*"))
    return bool(below) and all(_is_closed(each, root) for each in below)


def _find(path: Path, mounts: list[Mount]) -> Mount | None:
    """Walk down a path as the kernel does: from each file system into the one that is mounted first on the way."""
    numbers = {mount.number for mount in mounts}
    found, below = None, [mount for mount in mounts if mount.parent not in numbers - {mount.number}]
    while on_the_way := [mount for mount in below if path.is_relative_to(mount.point)]:
        found = min(on_the_way, key=lambda mount: len(mount.point.parts))
        below = [mount for mount in mounts if mount.parent == found.number != mount.number]
    return found


def _read_mounts(root: Path) -> list[Mount]:
    try:
        text = (root / "proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return []
    return list(_mounts_in(text))


def _mounts_in(text: str) -> Iterator[Mount]:
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        try:
            number, parent, device, folder, point = left.split()[:5]
            kind, source, options = right.split(maxsplit=2)
        except ValueError:
            continue
        yield Mount(
            number,
            parent,
            device,
            _unescaped(folder),
            Path(_unescaped(point)),
            kind,
            _unescaped(source),
            tuple(map(_unescaped, options.split(","))),
            line,
        )


def _unescaped(text: str) -> str:
    r"""Return a name as it is: the kernel writes a space as ``\040``, and other separators likewise."""
    if "\\" not in text:
        return text
    return os.fsdecode(os.fsencode(text).decode("unicode_escape").encode("latin-1"))


def _outlasts_power_cut(mount: Mount, root: Path, above: frozenset[str] = frozenset()) -> bool | None:
    """Return whether files outlast a power cut there; None if that cannot be known.

    Args:
        mount: of the files.
        root: the root folder of the machine that reports.
        above: the numbers of the file systems whose content lies on this one.
    """
    if mount.kind in IN_MEMORY:
        return False
    if mount.kind not in _OVERLAYS:
        device = _device_of(mount, root)
        return device is None or not _is_in_memory(device, root, above)
    upper = next(
        (option.removeprefix("upperdir=") for option in mount.options if option.startswith("upperdir=")), ""
    )
    # The path is that of before the start, or of another container's: it may lead nowhere here, to the overlay itself,
    # or to something else.
    lies_on = mount_of(Path(upper), root) if upper and _is_upper(mount.point, upper, root) else None
    if lies_on is None or lies_on.number in above | {mount.number}:
        return None
    lasts = _outlasts_power_cut(lies_on, root, above | {mount.number})
    # A volatile overlay does not sync what is written to it.
    return None if lasts and "volatile" in mount.options else lasts


def _is_upper(point: Path, upper: str, root: Path) -> bool:
    """Return whether a path leads to what an overlay writes to: the overlay reports the size of that file system as its own."""
    try:
        one, other = (os.statvfs(root / str(path).lstrip("/")) for path in (point, upper))
    except OSError:
        return False
    return (one.f_frsize, one.f_blocks, one.f_files) == (other.f_frsize, other.f_blocks, other.f_files)


def _device_of(mount: Mount, root: Path) -> Path | None:
    """Return the folder of a file system's block device in sysfs; None if it has none."""
    devices = [root / "sys/dev/block" / mount.device]
    if mount.source.startswith("/dev/"):
        # btrfs has no number of its own, and names a device instead
        devices.append(_named_device(mount.source, root))
    return next((device for device in devices if device.is_dir()), None)


def _named_device(name: str, root: Path) -> Path:
    """Return the folder that a block device such as ``/dev/mapper/swap`` has in sysfs, if it is one."""
    return root / "sys/class/block" / (root / name.lstrip("/")).resolve().name


def _is_in_memory(device: Path, root: Path, above: frozenset[str]) -> bool:
    """Return whether a block device keeps its content in memory, or on another one that does."""
    device = _whole(device)
    if _is_memory(device):
        return True
    file = _backing_file(device)
    if file is None:
        return any(_is_in_memory(below, root, above) for below in device.glob("slaves/*"))
    mount = mount_of(file, root)
    if mount is None or mount.number in above:
        return False
    return _outlasts_power_cut(mount, root, above | {mount.number}) is False


def _whole(device: Path) -> Path:
    """Return the folder of the device that a partition is of."""
    device = device.resolve()
    return device.parent if (device / "partition").is_file() else device


def _is_memory(device: Path) -> bool:
    return device.name.rstrip("0123456789") in _DISKS_IN_MEMORY


def _backing_file(device: Path) -> Path | None:
    """Return the file that a loop device has its content in; None for any other device."""
    name = _read_line(device / "loop/backing_file").removesuffix(" (deleted)")
    return Path(name) if name else None


def _read_line(path: Path) -> str:
    """Return the first line of a file of the kernel's; empty if it cannot be read."""
    try:
        return path.read_text(errors="surrogateescape").partition("\n")[0]
    except OSError:
        return ""
