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

_HINTS: Final = {
    errno.ENOSPC: "Free some space (see: df -h, df -i) and try again.",
    errno.EDQUOT: "Free some space of this user's, or raise the quota.",
    errno.EROFS: "Make it writable (mount -o remount,rw /). A card that turns read-only by itself is failing: replace it.",
    errno.EIO: "Look at the kernel's log (dmesg); the card may be failing: replace it.",
    errno.EACCES: "Check the owner of the folder, or run as the user it belongs to.",
    errno.EPERM: "Check the owner and the kind of the disk: it must know modes and hard links.",
    errno.ENOTDIR: "Name another folder, or move that file away.",
}
_ANY_HINT: Final = "Check the folder, its owner and its mode: no one else may write to it (chmod go-w)."


def reason_of(error: Exception) -> str:
    """Return why the system refused, without the path: messages name it before.

    Args:
        error: an ``OSError``, or the ``ValueError`` of a path that cannot be one.
    """
    if not isinstance(error, OSError):
        return "not a valid path"
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


def store_error(action: str, error: OSError, hint: str = "") -> StoreError:
    """Return the error of a file that cannot be read or written.

    Args:
        action: as for ``explain``.
        error: why; its attribute ``hint``, where it has one, stands in for ours.
        hint: stands in for both.
    """
    own = getattr(error, "hint", "") or _HINTS.get(error.errno or 0, _ANY_HINT)
    return StoreError(explain(action, error), hint=hint or own)
