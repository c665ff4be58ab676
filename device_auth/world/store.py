"""The store: keeps the link so that no power cut can lose it, and none can bring a former owner back.

Two files: ``link.json``, the newest generation, and ``link.json.previous``, the one before, for the case that the
newest does not verify. Four rules hold at every moment, wherever a write is cut short:

1. ``link.json`` is only ever renamed into place, whole and synced: it is the old generation or the new one.
2. ``link.json.previous`` is always of the same link as ``link.json``, and holds nothing that the newest has dropped
   (a replaced owner's link, a grant that was handed over). So before the newest drops one of these, the previous
   generation is removed and the folder synced.
3. Changes that a killed process left unsynced are made durable before the next one; a proof that the folder can be written
   changes names beside alone, and makes all durable at its end.
4. When the key changes, the generation under the former key stays until the new one has been read back and opened;
   then it is removed, so that no weaker copy stays on the card.

Crash points of a re-link: before the previous generation is gone, both are the old link's; then the newest alone
is the old link; then, by one rename, the newest alone is the new link. Of an unlink: both, the newest alone, none.
Of a save: the newest is old or new; the previous one is the old or the one before it, all of the same link.
Of a change of keys: the newest is under the old key or the new one; the previous one is under the old one, or gone.

Where a key is set up, a plain link is not this speaker's: whoever can write to the folder may have made it, and it names the
endpoint that a client's secret would go to. It is set aside, and ``seal`` takes it back.

A process without the link's key does not touch it. The service receives every key, and so may call one lost: then
another link may be stored, and the sealed one is kept under another name.

The holder of the folder's lock is the only writer. Reading takes no lock and makes nothing.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from device_auth.core import unit as unit_rules
from device_auth.core.errors import (
    ConfigError,
    DeviceAuthError,
    KeyLost,
    NotSealed,
    StoreBusy,
    StoreDamaged,
    StoreError,
)
from device_auth.core.models import Link, Mark
from device_auth.core.values import dataclass
from device_auth.world.envelope import (
    EnvelopeDamaged,
    KeyMissing,
    KeyName,
    KeyProvider,
    Plain,
    read_envelope,
    write_envelope,
)
from device_auth.world.explain import STOP_SERVICE, describe_process, store_error
from device_auth.world.fields import MAX_BYTES
from device_auth.world.files import Folder, NotAFile, beside_of, make_folder
from device_auth.world.places import SIMULATED

if TYPE_CHECKING:
    from device_auth.core.unit import UnitMarks
    from device_auth.world.keys import Keys
    from device_auth.world.sealing import SealingKey

logger = logging.getLogger(__name__)

NEWEST: Final = "link.json"
PREVIOUS: Final = "link.json.previous"
DAMAGED: Final = "link.json.damaged-"
"""The name's beginning of a damaged file that was set aside."""

SEALED: Final = "link.json.sealed-"
"""The name's beginning of a kept link whose key was lost."""

PLAIN: Final = "link.json.plain-"
"""The name's beginning of a plain link that lay beside a key and was set aside; sealing takes it back."""

COPIED: Final = "link.json.copied-"
"""The name's beginning of another unit's link that a new link set aside."""

SEAL_IT: Final = (
    "If it is this speaker's own, which a key was set up for only now, seal it: device-auth seal. If not, link the speaker"
    " again: press the button, or run: device-auth link"
)

MOST_KEPT: Final = 5
"""Files of each kind that are kept; a further one replaces the last."""

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700

PROBE: Final = b" " * 12288
"""As long as the longest envelope: two links with LWA's longest refresh token (2048 bytes) and addresses, sealed."""

_BESIDE: Final = beside_of(NEWEST)
_BESIDE_PREVIOUS: Final = beside_of(PREVIOUS)


@dataclass(frozen=True, slots=True)
class _StoredRecord:
    """The content of one file: a link and its key, damage, or nothing; ``disk_error`` if the disk caused the damage."""

    link: Link | None = None
    key: KeyName = ("", "")
    damage: EnvelopeDamaged | None = None
    disk_error: OSError | None = None


def _no_keys() -> "Keys":
    from device_auth.world.keys import ONLY_PLAIN

    return ONLY_PLAIN


class FileStore:
    """Keeps the link in a folder. As a context it holds the lock, and may then write.

    Args:
        directory: the state folder; made (0700) when the lock is taken.
        keys: returns the keys; called only to write, or to open a sealed link.
        is_of_service: whether a key that is not available is lost.
        for_owner: whether root may write for the user who owns the folder; then that user owns the files too.
        unit: this unit, which each link is compared with; None where units are not told apart.

    Attributes:
        is_sealed: whether the link that was last read or written is sealed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        keys: "Callable[[], Keys]" = _no_keys,
        is_of_service: bool = False,
        for_owner: bool = False,
        unit: "UnitMarks | None" = None,
    ) -> None:
        self.directory = directory
        self._unit = unit
        self._keys = keys
        self._is_of_service = is_of_service
        self._for_owner = for_owner
        self._owner: tuple[int, int] | None = None
        self._kept_aside: str | None = None
        self.is_sealed = False
        self._folder: Folder | None = None
        self._is_settled = False

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            StoreBusy: if another process holds it.
            StoreError: if the folder cannot be made, or is not safe to write to.
        """
        try:
            if self.directory.name == SIMULATED:
                # its parent is the real one, which may not exist yet
                make_folder(self.directory.parent, FOLDER_MODE)
            folder = Folder.open_to_write(self.directory, FOLDER_MODE, for_owner=self._for_owner)
        except OSError as error:
            raise store_error(f"cannot use {self.directory}", error, at=self.directory) from error
        try:
            # A disk without locks is not used: a second writer could bring back a link that was replaced.
            _lock(folder)
        except OSError as error:
            folder.close()
            raise store_error(f"cannot lock {self.directory}", error, at=self.directory) from error
        except BaseException:
            folder.close()
            raise
        self._folder = folder
        self._owner = _other_owner(folder) if self._for_owner else None
        self._is_settled = False
        return self

    @property
    def is_synced(self) -> bool:
        """Return whether the disk has confirmed each change of names since the lock was taken; a share may confirm none."""
        return self._folder is None or self._folder.is_synced

    @property
    def is_locked(self) -> bool:
        """Return whether this process holds the lock."""
        return self._folder is not None

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def read(self) -> Link | None:
        """Return the stored link, or None if there is none.

        If the newest generation does not verify, the previous one is returned, provided that it is of the same link.
        With the lock held, the damaged file is set aside and the previous generation takes its place; else no file is
        changed. A link that belongs to another unit bears the mark ``COPIED``.

        Raises:
            StoreError: if the file is damaged, of a newer version, or cannot be read.
            KeyMissing: if the link is sealed under a key that is not available.
            KeyLost: if that key is known to be nowhere else; another link may be stored.
            NotSealed: if it is plain and a key is set up; with the lock held it is set aside.
        """
        try:
            if self._folder is not None:
                record = self._take_only_sealed(self._folder, self._read_held(self._folder))
            else:
                with Folder.open(self.directory) as folder:
                    record = self._take_only_sealed(folder, self._find(folder, may_repair=False))
            self.is_sealed = record.link is not None and record.key[0] != Plain.name
            return self._judge(record.link)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(f"cannot read {self.directory / NEWEST}", error, at=self.directory) from error

    def prove_writable(self) -> None:
        """Prove that a link could be saved now, by all steps of a save beside the stored link.

        Raises:
            StoreError: if it could not.
        """
        with self._writing(f"cannot write to {self.directory}", is_proof=True) as folder:
            self._sealing_key()
            folder.write_new(_BESIDE, PROBE, FILE_MODE, is_durable=True, owner=self._owner)
            folder.link(_BESIDE, _BESIDE_PREVIOUS)
            folder.rename(_BESIDE_PREVIOUS, _BESIDE)
            folder.remove(_BESIDE_PREVIOUS)
            folder.remove(_BESIDE)
            folder.sync()

    def save(self, link: Link) -> None:
        """Store the next generation of the stored link; durable on return.

        Nothing is written if nothing changed.

        Raises:
            StoreError: if it cannot be written; the stored generation or the new one is then whole. Or if no
                generation of this link is stored.
        """
        with self._writing(f"cannot write {self.directory / NEWEST}") as folder:
            seen = self._find(folder, may_repair=True)
            present = seen.link
            if present is None or present.link_id != link.link_id:
                raise StoreError("no generation of this link is stored")
            if present == link:
                return
            key = self._sealing_key()
            drops_something = _drops_something(present, link)
            if link.mark is Mark.HANDED_OVER:
                _remove_others(folder)  # a damaged file that was set aside may hold the token as well
            elif drops_something:
                _remove_previous(folder)
            self._write(folder, link, key, keeps_present=not drops_something)
            if seen.key != _name_of(key):
                _log_change(seen.key, key)
                _remove_previous(folder)

    def fill_in_marks(self) -> None:
        """Write the marks of this unit into the stored link that has none yet; durable on return.

        A link that belongs to another unit stays as it is.

        Raises:
            StoreError: if it cannot be read or written.
        """
        link = self.read()
        if link is not None and link.mark is not Mark.COPIED and self._unit is not None:
            self.save(unit_rules.fill_in(link, self._unit))

    def adopt(self) -> bool:
        """Make another unit's link this unit's own; durable on return.

        Returns:
            Whether there was such a link.

        Raises:
            StoreError: if it cannot be read or written.
        """
        link = self.read()
        if link is None or link.mark is not Mark.COPIED or self._unit is None:
            return False
        self.save(unit_rules.adopt(link, self._unit))
        logger.warning("the link of another unit was adopted")
        return True

    def seal(self) -> str:
        """Seal a plain link under the key that is set up, be it set aside or not; durable on return.

        Returns:
            The name of the key that the link is sealed under; empty if there is no link.

        Raises:
            ConfigError: if no key is set up.
            StoreError: if it cannot be read or written; the link is then whole, plain or sealed.
        """
        with self._writing(f"cannot write {self.directory / NEWEST}") as folder:
            key = self._keys().sealing()
            if isinstance(key, Plain):
                raise ConfigError(
                    "no key is set up that this command can reach",
                    hint="See docs/encryption.md. A key that systemd hands to the service is the service's alone: start"
                    " it (systemctl start device-auth), and try again.",
                )
            found = self._find(folder, may_repair=True)
            aside = [] if found.link is not None else _names_of(folder, PLAIN)
            if aside:
                found = self._look(folder, aside[-1])
            if found.link is None:
                return ""
            if found.key[0] == Plain.name:
                self._write(folder, found.link, key, keeps_present=not aside)
                _log_change(found.key, key)
            _remove_previous(folder)
            for name in aside[-1:]:
                folder.remove(name)
            folder.sync()
            return key.name if found.key[0] == Plain.name else found.key[0]

    def move_to_best_key(self) -> None:
        """Move the stored link under the key that seals now, and remove generations under another; durable on return.

        Nothing is written if that is done already, if the newest generation is damaged (``read`` repairs it first), or if it
        is plain: ``seal`` does that.

        Raises:
            StoreError: if it cannot be written; the link is then whole under the former key or the new one.
        """
        newest, previous = self._look_at_both()
        if newest.link is None:
            return
        key = self._sealing_key()
        is_behind = newest.key != _name_of(key)
        if is_behind and newest.key[0] == Plain.name:
            return
        if not is_behind and previous.key in {newest.key, _StoredRecord().key}:
            return
        with self._writing(f"cannot write {self.directory / NEWEST}") as folder:
            if is_behind:
                self._write(folder, newest.link, key, keeps_present=True)
                _log_change(newest.key, key)
            _remove_previous(folder)

    def replace(self, link: Link) -> None:
        """Store a link in place of any other; durable on return.

        Another unit's link, and one whose key is lost, are kept under another name. If that link itself is stored
        again, it is as it was.

        Raises:
            StoreError: if it cannot be written; the former link or the new one is then whole. Or if the stored link
                is of a newer version.
        """
        if link.mark is Mark.COPIED:
            if self._kept_aside is not None:
                self.take_back()
            return
        self._kept_aside = None
        with self._writing(f"cannot write {self.directory / NEWEST}") as folder:
            key = self._sealing_key()
            former = _StoredRecord()
            try:
                former = self._find(folder, may_repair=True)
            except KeyLost:
                self._keep_sealed(folder)
                logger.warning(
                    "cannot open the former link, whose key is lost; the new link is stored under %s",
                    key.name,
                )
            except EnvelopeDamaged:
                pass
            if self._is_copied(former.link):
                self._keep(folder, NEWEST, COPIED)
                logger.warning("the link of another unit is kept as %s", self._kept_aside)
            _remove_previous(folder)
            self._write(folder, link, key, keeps_present=False)
            if former.link is not None and former.key != _name_of(key):
                _log_change(former.key, key)

    def take_back(self) -> None:
        """Remove every generation, but no file that was set aside; durable on return.

        If the link replaced one whose key is lost, or another unit's, that one takes its place again.

        Raises:
            StoreError: if one cannot be removed; the newest generation is removed last.
        """
        with self._writing(f"cannot remove {self.directory / NEWEST}") as folder:
            _remove_previous(folder)
            if self._kept_aside is not None:
                folder.rename(self._kept_aside, NEWEST)
                folder.sync()
            elif folder.remove(NEWEST):
                folder.sync()
            self._kept_aside = None

    def erase(self) -> None:
        """Remove every generation, damaged and sealed ones too, which needs no key; durable on return.

        Raises:
            StoreError: if one cannot be removed; the newest generation is removed last. Or if the stored link is of a
                newer version.
        """
        with self._writing(f"cannot remove {self.directory / NEWEST}") as folder:
            with suppress(StoreDamaged, KeyMissing):
                self._find(folder, may_repair=False)
            _remove_all(folder)

    def erase_everything(self) -> list[str]:
        """Remove every file that this store may ever have written; durable on return.

        Returns:
            The names of the removed files.

        Raises:
            StoreError: if one cannot be removed; the newest generation is removed last.
        """
        with self._writing(f"cannot remove {self.directory / NEWEST}") as folder:
            return _remove_all(folder)

    def links(self) -> list[Link]:
        """Return every link that can be opened, from any file of the store."""
        with Folder.open(self.directory) as folder:
            found = []
            for name in filter(is_of_the_store, folder.names()):
                with suppress(StoreError):
                    found.append(self._look(folder, name).link)
        return [link for link in found if link is not None]

    @contextmanager
    def _writing(self, what: str, *, is_proof: bool = False) -> Iterator[Folder]:
        folder = self._folder
        if folder is None:
            raise StoreError(f"{what}: the lock is not held")
        is_settled, self._is_settled = self._is_settled, False
        try:
            if not is_settled:
                _clear(folder)
                if not is_proof:
                    folder.sync()
            yield folder
        except OSError as error:
            with suppress(OSError):
                _clear(folder)
            raise store_error(what, error, at=self.directory) from error
        self._is_settled = True

    def _take_only_sealed(self, folder: Folder, record: _StoredRecord) -> _StoredRecord:
        """Return the record if it may be used: where a key is set up, a plain one is set aside.

        If the generation before it is sealed, that one is used.

        Raises:
            NotSealed: if there is none but a plain one.
        """
        is_plain = record.link is not None and record.key[0] == Plain.name
        aside = [] if record.link is not None else _names_of(folder, PLAIN)
        if not is_plain and not aside:
            return record
        problem = self._problem_of_plain()
        if problem is None:
            return record
        if is_plain and folder is self._folder and not problem.hint:
            if self._look(folder, PREVIOUS).key[0] == Plain.name:
                _remove_previous(folder)
            aside = [_keep_as(folder, NEWEST, PLAIN)]
            logger.warning("%s is plain although a key is set up: it was set aside as %s", NEWEST, aside[-1])
            sealed = self._read_held(folder)
            if sealed.link is not None:
                return sealed
        where = folder.path / (aside[-1] if aside else NEWEST)
        why = f"; {problem}" if problem.hint else ""
        raise NotSealed(
            f"the link in {where} is plain although a key is set up, so it is not used{why}",
            hint=problem.hint or SEAL_IT,
        )

    def _problem_of_plain(self) -> DeviceAuthError | None:
        """Return the problem with a plain link, with a hint if its key is not available; None if no key is set up.

        Without the lock the board is not asked: that starts a program, and the holder of the lock has asked it.
        """
        try:
            keys = self._keys()
        except ConfigError:
            return None  # settings that cannot be read are reported where they are needed
        try:
            is_set_up = keys.is_one_set_up if self._folder is None else not isinstance(keys.sealing(), Plain)
            return StoreError("a key is set up") if is_set_up else None
        except (ConfigError, StoreError) as problem:
            return problem

    def _read_held(self, folder: Folder) -> _StoredRecord:
        try:
            return self._find(folder, may_repair=True)
        except OSError as error:
            # a disk that cannot be written may still be read
            logger.warning("%s", store_error(f"cannot set aside a damaged file in {self.directory}", error))
            return self._find(folder, may_repair=False)

    def _look_at_both(self) -> tuple[_StoredRecord, _StoredRecord]:
        """Return both generations; a previous one that cannot be opened counts as none."""
        previous = _StoredRecord()
        try:
            with Folder.open(self.directory) as folder:
                newest = self._look(folder, NEWEST)
                with suppress(StoreError):
                    previous = self._look(folder, PREVIOUS)
        except OSError as error:
            raise store_error(f"cannot read {self.directory / NEWEST}", error, at=self.directory) from error
        return newest, previous

    def _find(self, folder: Folder, *, may_repair: bool) -> _StoredRecord:
        """Return the link in force, or nothing; after a repair it is the newest generation."""
        newest = self._look(folder, NEWEST)
        if newest.link is not None:
            return newest
        previous = self._look(folder, PREVIOUS)
        disk_error = previous.disk_error or newest.disk_error
        if disk_error is not None and previous.link is None:
            # it may be readable tomorrow: without a replacement it stays in its place
            raise disk_error
        is_former = _is_of_another_link(newest.damage, previous.link)
        if may_repair:
            # the former owner's first: a reader in between must see the damaged newest one, which is of another link
            if is_former or previous.damage is not None:
                _set_aside(folder, PREVIOUS)
            if newest.damage is not None:
                _set_aside(folder, NEWEST)
        if previous.link is not None and not is_former:
            logger.warning("cannot use %s; using the previous generation", self.directory / NEWEST)
            if may_repair:
                folder.rename(PREVIOUS, NEWEST)
                folder.sync()
            return previous
        damage = newest.damage or previous.damage
        if damage is not None:
            raise damage
        return _StoredRecord()

    def _look(self, folder: Folder, name: str) -> _StoredRecord:
        where = folder.path / name
        try:
            found = _read_twice(folder, name)
            return _StoredRecord() if found is None else _StoredRecord(*read_envelope(found[0], self._named))
        except EnvelopeDamaged as damage:
            return _StoredRecord(
                damage=EnvelopeDamaged(f"{where} does not verify: {damage}", link_id=damage.link_id)
            )
        except KeyMissing as error:
            if self._is_of_service:
                raise self._lost(where, error) from error
            raise KeyMissing(f"cannot use {where}: {error}", hint=error.hint, why=error.why) from error
        except StoreError as error:
            raise StoreError(f"cannot use {where}: {error}", hint=error.hint) from error
        except NotAFile:
            return _StoredRecord(damage=EnvelopeDamaged(f"{where} is not a file"))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return _StoredRecord(
                damage=EnvelopeDamaged(f"cannot read {where}: the disk reports an error"), disk_error=error
            )

    def _named(self, name: str) -> "SealingKey":
        try:
            return self._keys().named(name)
        except ConfigError as error:
            raise KeyMissing(str(error), hint=error.hint) from error

    def _sealing_key(self) -> KeyProvider:
        try:
            return self._keys().sealing()
        except ConfigError as error:
            raise StoreError(str(error), hint=error.hint) from error

    def _lost(self, where: Path, missing: KeyMissing) -> StoreDamaged:
        """Return the error of a lost key; if no other key could seal a new link, with the hint for that."""
        message = f"the link in {where} cannot be opened: {missing.why}"
        try:
            self._sealing_key()
        except StoreError as problem:
            return StoreDamaged(message, hint=problem.hint)
        return KeyLost(
            message,
            hint="Link the speaker again: press the button, or run: device-auth link. Until then the link is kept:"
            f" {missing.why}. Bring that key back, and run: systemctl restart device-auth",
        )

    def _keep_sealed(self, folder: Folder) -> None:
        """Make a second name for each generation that cannot be opened, before another takes its name."""
        for name in (PREVIOUS, NEWEST):
            try:
                if self._look(folder, name).damage is not None:
                    _set_aside(folder, name)
            except KeyLost:
                self._keep(folder, name, SEALED)
                logger.warning("%s cannot be opened and is kept as %s", folder.path / name, self._kept_aside)

    def _keep(self, folder: Folder, name: str, beginning: str) -> None:
        """Make a second name for a generation; an undoing brings it back."""
        kept = _free_name(folder, beginning)
        folder.remove(kept)
        folder.link(name, kept)
        folder.sync()
        self._kept_aside = kept

    def _judge(self, link: Link | None) -> Link | None:
        """Return the link, marked if it belongs to another unit."""
        if link is None or self._unit is None or not (link.board or link.dsn):
            return link
        return unit_rules.judge(link, self._unit)

    def _is_copied(self, link: Link | None) -> bool:
        judged = self._judge(link)
        return judged is not None and judged.mark is Mark.COPIED

    def _write(self, folder: Folder, link: Link, key: KeyProvider, *, keeps_present: bool) -> None:
        content = write_envelope(link, key)
        if len(content) > MAX_BYTES:
            raise StoreError(f"cannot write {self.directory / NEWEST}: the link is too large")
        folder.write_new(_BESIDE, content, FILE_MODE, is_durable=True, owner=self._owner)
        if keeps_present:
            folder.link(NEWEST, _BESIDE_PREVIOUS)
            folder.rename(_BESIDE_PREVIOUS, PREVIOUS)
            # rename(2) does nothing between two names of one file, and leaves both
            folder.remove(_BESIDE_PREVIOUS)
        folder.rename(_BESIDE, NEWEST)
        folder.sync()
        self.is_sealed = not isinstance(key, Plain)
        found = folder.read(NEWEST, MAX_BYTES + 1)
        is_as_written = found is not None and found[0] == content
        if is_as_written and not isinstance(key, Plain):
            is_as_written = self._look(folder, NEWEST).link == link
        if not is_as_written:
            raise StoreError(
                f"{self.directory / NEWEST} does not read back as it was written",
                hint="The card may be failing: replace it.",
            )


def is_of_the_store(name: str) -> bool:
    """Return whether the store writes files of this name in the state folder."""
    return name in {NEWEST, PREVIOUS, _BESIDE, _BESIDE_PREVIOUS} or name.startswith(
        (DAMAGED, SEALED, PLAIN, COPIED)
    )


def has_any_link(directory: Path) -> bool | None:
    """Return whether a state folder holds a link, be it in use, damaged or set aside; None if it cannot be read."""
    try:
        return any(is_of_the_store(path.name) for path in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None


def _lock(folder: Folder) -> None:
    try:
        fcntl.flock(folder.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreBusy(
            f"{folder.path} is in use{_name_holder(folder)}",
            hint=f"Wait until that process has ended, or stop it (the service: {STOP_SERVICE}).",
        ) from error


def _name_holder(folder: Folder) -> str:
    """Return the process that holds the lock, if the kernel names it. Source: proc(5), ``/proc/locks``."""
    status = os.fstat(folder.fd)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            match line.split():
                case [_, "FLOCK", _, _, pid, held, *_] if held == place:
                    return f" by {describe_process(Path('/proc', pid))}"
    return " by another process"


def _other_owner(folder: Folder) -> tuple[int, int] | None:
    """Return the owner of a folder if that is another user: the files in it get the same owner."""
    status = os.fstat(folder.fd)
    return None if status.st_uid in {0, os.geteuid()} else (status.st_uid, status.st_gid)


def _name_of(key: KeyProvider) -> KeyName:
    return key.name, key.fingerprint


def _log_change(former: KeyName, key: KeyProvider) -> None:
    """Log a change of the key of the link: a warning if the link is no longer sealed."""
    level = logging.WARNING if isinstance(key, Plain) else logging.INFO
    logger.log(level, "the link was kept under %s, and is now kept under %s", former[0], key.name)


def _drops_something(present: Link, link: Link) -> bool:
    """Return whether the next generation drops something that a fallback must not bring back."""
    drops_former_owner = present.replaces is not None and link.replaces is None
    is_handed_over = link.mark is Mark.HANDED_OVER and present.mark is not Mark.HANDED_OVER
    return drops_former_owner or is_handed_over


def _is_of_another_link(damage: EnvelopeDamaged | None, previous: Link | None) -> bool:
    return previous is not None and damage is not None and damage.link_id not in {None, previous.link_id}


def _read_twice(folder: Folder, name: str) -> tuple[bytes, float] | None:
    """Read a file, and once more if the disk reports an error."""
    try:
        return folder.read(name, MAX_BYTES + 1)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return folder.read(name, MAX_BYTES + 1)


def _set_aside(folder: Folder, name: str) -> None:
    aside = _keep_as(folder, name, DAMAGED)
    logger.warning("%s does not verify and was set aside as %s", folder.path / name, aside)


def _keep_as(folder: Folder, name: str, beginning: str) -> str:
    """Rename a file to a free name with this beginning; return that name."""
    kept = _free_name(folder, beginning)
    folder.rename(name, kept)
    folder.sync()
    return kept


def _names_of(folder: Folder, beginning: str) -> list[str]:
    """Return the files that were set aside under names with this beginning, the last one last."""
    return sorted(name for name in folder.names() if name.startswith(beginning))


def _free_name(folder: Folder, beginning: str) -> str:
    """Return a free name to set a file aside, or the last one if none is free."""
    numbers = range(1, MOST_KEPT + 1)
    free = (number for number in numbers if not folder.has(f"{beginning}{number}"))
    return f"{beginning}{next(free, MOST_KEPT)}"


def _remove_previous(folder: Folder) -> None:
    if folder.remove(PREVIOUS):
        folder.sync()


def _clear(folder: Folder) -> None:
    """Remove the files beside that a killed writer left."""
    folder.remove(_BESIDE)
    folder.remove(_BESIDE_PREVIOUS)


def _remove_others(folder: Folder) -> list[str]:
    """Remove all but the newest generation."""
    others = [name for name in folder.names() if is_of_the_store(name) and name != NEWEST]
    removed = [name for name in others if folder.remove(name)]
    if removed:
        folder.sync()
    return removed


def _remove_all(folder: Folder) -> list[str]:
    removed = _remove_others(folder)
    if folder.remove(NEWEST):
        removed.append(NEWEST)
        folder.sync()
    return removed
