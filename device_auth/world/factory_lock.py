"""The factory's lock: a file in the state folder, which no verb and no purge removes.

While it is there the factory's verbs are refused, but for ten minutes after a reset by hand. The service notes that reset in
the runtime folder by the clock that no one sets, together with the start of the machine and the very file that locked it: so
the note of another start, of another unit or of a copied folder opens nothing. What cannot be read counts as locked.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import StoreError
from device_auth.core.models import Monotonic, Seconds, UnixTime
from device_auth.core.public import rfc3339
from device_auth.world.explain import explain, store_error
from device_auth.world.fields import MAX_BYTES, Malformed, read_fields, write_fields
from device_auth.world.files import RUNTIME_MODE, Folder, read_plain
from device_auth.world.pending import BOOT_ID, read_boot_id
from device_auth.world.places import NAME

LOCK: Final = "factory-lock.json"
"""The file in the state folder."""

OPENED: Final = "factory-opened.json"
"""The file in the runtime folder that notes a reset by hand."""

OPEN_FOR: Final = Seconds(600)
"""How long a reset by hand opens the lock."""

_OFFSETS: Final = Path("/proc/self/timens_offsets")
"""How far this process's clocks were moved for it alone. Source: time_namespaces(7)."""

FOLDER_MODE: Final = 0o700
LOCK_MODE: Final = 0o600
OPENED_MODE: Final = 0o644


class LockPlaces(NamedTuple):
    """The two folders of one unit; ``runtime_dir`` is None where there is none, and then nothing opens the lock."""

    state_dir: Path
    runtime_dir: Path | None


class LockState(NamedTuple):
    """What is known of the lock.

    Attributes:
        is_there: the unit was locked.
        opened_for: seconds for which a reset by hand has opened it; None if none has.
        doubt: why it is not known whether the unit is locked, which counts as locked; empty if it is known.
    """

    is_there: bool
    opened_for: int | None = None
    doubt: str = ""

    @property
    def is_shut(self) -> bool:
        """Return whether the factory's verbs are refused."""
        return self.is_there and self.opened_for is None


def machine_places(root: Path) -> LockPlaces:
    """Return the folders of the machine's own service, below its root folder."""
    return LockPlaces(root / "var" / "lib" / NAME, root / "run" / NAME)


def is_machines_own(places: LockPlaces, root: Path) -> bool:
    """Return whether anything here is the machine's own, by whatever path: the folders, or the lock itself."""
    own = machine_places(root)
    pairs = (
        (places.state_dir, own.state_dir),
        (places.runtime_dir, own.runtime_dir),
        (places.state_dir / LOCK, own.state_dir / LOCK),
    )
    return any(_is_same(one, other) for one, other in pairs)


def look_at_lock(places: LockPlaces, now: Monotonic, boot_id: Path = BOOT_ID) -> LockState:
    """Return what is known of the lock; nothing is raised.

    Args:
        places: of the unit.
        now: by the clock that counts suspend and that nobody sets.
        boot_id: the kernel's file with this start's ID.
    """
    try:
        (places.state_dir / LOCK).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return LockState(is_there=False)
    except (OSError, ValueError) as error:
        return LockState(is_there=True, doubt=explain(f"cannot look at {places.state_dir / LOCK}", error))
    return LockState(is_there=True, opened_for=_opened_for(places, now, boot_id))


def write_lock(places: LockPlaces, *, board: str, dsn: str, run: str, at: UnixTime) -> None:
    """Lock the unit, also if it is locked already; durable on return. What had opened a former lock opens this one no more.

    Args:
        places: of the unit.
        board: the mark of the board.
        dsn: of the identity.
        run: in which it was locked; empty without a station.
        at: wall time, for people.

    Raises:
        StoreError: if it cannot be written; it is then there, whole, or not.
    """
    path = places.state_dir / LOCK
    content = write_fields(
        {
            "version": 1,
            "lock": os.urandom(16).hex(),
            "board": board,
            "dsn": dsn,
            "run": run,
            "locked_at": rfc3339(at),
        }
    )
    try:
        with Folder.open_to_write(places.state_dir, FOLDER_MODE, for_owner=True) as folder:
            folder.replace_for_owner(LOCK, content, LOCK_MODE)
    except OSError as error:
        raise store_error(f"cannot write {path}", error, at=places.state_dir) from error


def sync_lock(places: LockPlaces) -> None:
    """Make a lock durable whose writer was killed before it could, as far as this process may."""
    with suppress(OSError), Folder.open(places.state_dir) as folder:
        folder.sync()


def note_reset(places: LockPlaces, now: Monotonic, boot_id: Path = BOOT_ID) -> bool:
    """Note a reset by hand, if there is a lock.

    Args:
        places: of the unit; its wipe is done.
        now: as ``look_at_lock``.
        boot_id: as ``look_at_lock``.

    Returns:
        Whether the lock is open now.

    Raises:
        StoreError: if it cannot be noted.
    """
    if places.runtime_dir is None or not os.path.lexists(places.state_dir / LOCK):
        return False
    try:
        content = write_fields(
            {"boot_id": read_boot_id(boot_id), "at": float(now), "lock": _name_of_lock(places)}
        )
        with Folder.open_to_write(places.runtime_dir, RUNTIME_MODE) as folder:
            folder.replace(OPENED, content, OPENED_MODE)
    except (OSError, ValueError) as error:
        raise StoreError(explain(f"cannot note the reset in {places.runtime_dir}", error)) from error
    return True


def _is_same(one: Path | None, other: Path | None) -> bool:
    try:
        return one is not None and other is not None and one.samefile(other)
    except (OSError, ValueError):
        return one == other


def _opened_for(places: LockPlaces, now: Monotonic, boot_id: Path) -> int | None:
    if places.runtime_dir is None:
        return None
    try:
        fields = read_fields(read_plain(places.runtime_dir / OPENED, MAX_BYTES + 1)[0])
        passed = now - fields.number("at")
        is_of_this = fields.text("boot_id") == read_boot_id(boot_id)
        is_of_this = is_of_this and fields.text("lock") == _name_of_lock(places)
        if is_of_this and 0 <= passed < OPEN_FOR and not _is_clock_moved():
            return int(OPEN_FOR - passed)
    except (OSError, ValueError, Malformed):
        pass
    return None


def _name_of_lock(places: LockPlaces) -> str:
    """Return what only this file has: its content, and its place on its disk, which no copy has."""
    import hashlib

    path = places.state_dir / LOCK
    with Folder.open(places.state_dir) as folder:
        found, status = folder.read(LOCK, MAX_BYTES), folder.status_of(LOCK)
    if found is None or status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    place = f"{status.st_dev}:{status.st_ino}:".encode()
    return hashlib.sha256(place + found[0]).hexdigest()


def _is_clock_moved() -> bool:
    """Return whether the clock that nobody sets is another one for this process than for the service."""
    try:
        lines = _OFFSETS.read_text("ascii").splitlines()
    except FileNotFoundError:
        return False
    return any(set(line.split()[1:]) != {"0"} for line in lines)
