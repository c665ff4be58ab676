"""The system in words: from an error number to "cannot open X: permission denied" and what to do about it; processes."""

import errno
from contextlib import suppress
from pathlib import Path
from typing import Final

from device_auth.core.errors import StoreError

_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reports an error",
    errno.ENOTDIR: "a part of the path is not a folder",
}
"""Where the system's own words leave a person in the dark."""

_DISK_REASONS: Final = {
    errno.ENOLCK: "no lock is to be had",
    errno.ENOTSUP: "not supported",
    errno.ENOSYS: "not supported",
    errno.ESTALE: "the folder was removed or exchanged on its server",
    errno.ENODEV: "the disk is gone",
    errno.ENXIO: "the disk is gone",
    errno.ENOTCONN: "the program that serves the disk has ended",
    errno.ETIMEDOUT: "the server of the disk does not answer",
    errno.EHOSTDOWN: "the server of the disk does not answer",
    errno.EHOSTUNREACH: "the server of the disk does not answer",
    errno.ENOKEY: "the folder is encrypted and locked",
}
"""The reasons that mean something else where no disk is concerned."""

_CANNOT: Final = frozenset({errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK})
"""Answers of a file system to what it is not made for: FAT and exFAT have no modes and no second names, a share perhaps no
locks."""

_OF_THE_MOUNT: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EROFS})
"""Answers that are about all of a file system, of which a machine has several: it is named."""

STOP_SERVICE: Final = "sudo systemctl stop device-auth.socket device-auth.service"
"""Both units: the socket alone would start the service again."""

ANOTHER_DISK: Final = (
    "Keep the state on a disk that knows owners, modes, second names of files, and locks, such as ext4 on the card: name a"
    " folder there with --state-dir."
)
_MOUNT_AGAIN: Final = "Mount it again, then restart the service."
_ASK_THE_SERVER: Final = "Check the network and the server, then try again."

_HINTS: Final = {
    errno.ENOSPC: "Free some space (see: df -h, df -i) and try again.",
    errno.EDQUOT: "Free some space of this user's, or raise the quota.",
    errno.EROFS: "Make it writable (mount -o remount,rw /). A card that turns read-only by itself is failing: replace it.",
    errno.EIO: "Look at the kernel's log (dmesg); the card may be failing: replace it.",
    errno.EACCES: "Check the owner of the folder, or run as the user it belongs to.",
    errno.EPERM: "Check the owner of the files there, and whether they may be changed (lsattr).",
    errno.ENOTDIR: "Name another folder, or move that file away.",
    errno.ENOLCK: "Too many files are locked: restart the speaker.",
    errno.ENOTSUP: ANOTHER_DISK,
    errno.ENOSYS: ANOTHER_DISK,
    errno.ESTALE: _MOUNT_AGAIN,
    errno.ENODEV: "Put the disk back or check its cable, then restart the service.",
    errno.ENXIO: "Put the disk back or check its cable, then restart the service.",
    errno.ENOTCONN: _MOUNT_AGAIN,
    errno.ETIMEDOUT: _ASK_THE_SERVER,
    errno.EHOSTDOWN: _ASK_THE_SERVER,
    errno.EHOSTUNREACH: _ASK_THE_SERVER,
    errno.ENOKEY: "Unlock the folder (fscrypt unlock), then try again.",
}
_ANY_HINT: Final = "Check the folder, its owner and its mode: no one else may write to it (chmod go-w)."


def reason_of(error: Exception) -> str:
    """Return why the system refused, without the path: messages name it before.

    Args:
        error: an ``OSError``, or the ``ValueError`` of a path that cannot be one.
    """
    if not isinstance(error, OSError):
        return "not a valid path"
    if error.errno is None and "path too long" in str(error):
        return "the path is longer than the 107 bytes that a socket's may have"  # refused by Python itself
    known = _REASONS.get(error.errno or 0)
    return known or (error.strerror or "unknown error").lower()


def describe_process(process: Path) -> str:
    """Return number and name of a process; its user chose the name, so that comes without controls.

    Args:
        process: its folder in ``/proc``.
    """
    name = "gone by now"
    with suppress(OSError):
        text = (process / "comm").read_text("utf-8", "replace").rstrip("\n")
        name = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"process {process.name} ({name})"


def explain(action: str, error: Exception) -> str:
    """Return one line for a person: ``explain("cannot open X", error)`` is "cannot open X: permission denied"."""
    return f"{action}: {reason_of(error)}"


def store_error(action: str, error: OSError, hint: str = "", at: Path | None = None) -> StoreError:
    """Return the error of a file that cannot be read or written.

    Args:
        action: as for ``explain``.
        error: why; its attribute ``hint``, where it has one, stands in for ours.
        hint: stands in for both.
        at: the folder of the file; the error names its disk if that is of a kind that may be the cause.
    """
    number = error.errno or 0
    reason = _DISK_REASONS.get(number) or reason_of(error)
    own = getattr(error, "hint", "")
    if at is not None and number in {*_CANNOT, *_OF_THE_MOUNT}:
        kind, kind_hint = _of_the_disk(number, at)
        reason, own = reason + kind, own or kind_hint
    return StoreError(f"{action}: {reason}", hint=hint or own or _HINTS.get(number, _ANY_HINT))


def _of_the_disk(number: int, at: Path) -> tuple[str, str]:
    """Return the kind of a folder's disk as an addition to the reason, and a hint, where that kind matters."""
    from device_auth.world.disks import NATIVE, OVER_THE_NETWORK, mount_of

    mount = mount_of(at)
    if mount is None:
        return "", ""
    if number in _OF_THE_MOUNT:
        hint = _HINTS[number].replace("remount,rw /)", f"remount,rw {mount.point})")
        if number == errno.EIO and mount.kind in OVER_THE_NETWORK:
            hint = _ASK_THE_SERVER
        return f" ({mount.name})", hint
    return ("", "") if mount.kind in NATIVE else (f"; the disk is {mount.kind}", ANOTHER_DISK)
