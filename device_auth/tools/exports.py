"""Exports: hand the link to another client, which keeps its own tokens.

A format makes a plan: it reads the client's files and returns the new content of each. Nothing is written before the
plan is complete, so a dry run is a plan that is not carried out. All plans are carried out in one way: write the new
files beside the old, durable; check that nobody uses the old; rename; sync; read back. Only then may the link be
marked here: a crash in between leaves it on both sides, never on neither, and a second run finds nothing to write and
marks it.

A change is masked when it is made: nothing that is printed holds a refresh token.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Final

from device_auth.core.errors import Busy, ConfigError, StoreError
from device_auth.core.models import Secret
from device_auth.tools import databases
from device_auth.world.explain import describe_process, store_error
from device_auth.world.files import Folder, NotAFile
from device_auth.world.store import FILE_MODE

MASK: Final = "***"
"""Stands for a refresh token, old or new."""

LARGEST_FILE: Final = 16 * 1024 * 1024
"""Limit in bytes of a client's file; the SDK's databases have some ten thousand."""

PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Unit:
    """The speaker by its settings; empty where one is not set.

    Attributes:
        client_secret: of the link's client; only for a format that writes it.
    """

    product_id: str
    dsn: str
    locale: str
    client_secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a file; tokens are masked.

    Attributes:
        place: the table, row or key.
        old: its value, or None.
        new: its new value, or None.
    """

    place: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of the client's as it was found.

    Attributes:
        path: absolute.
        content: None if there is no such file.
        owner: of the new file; None to leave it to this process's user.
        backup: the name for a copy of the old content.
        folder: device and inode number of the folder: its path may lead to another one later.
        note: a warning about its owner; may be empty.
    """

    path: Path
    content: bytes | None = field(repr=False)
    owner: tuple[int, int] | None
    backup: str
    folder: tuple[int, int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One file and its new content.

    Attributes:
        old: the file as it was found.
        content: the whole new content.
        changes: for people; empty if there are none.
        is_database: it is SQLite's, whose lock shows that it is in use.
    """

    old: FoundFile
    content: bytes = field(repr=False)
    changes: tuple[Change, ...]
    is_database: bool = False

    @property
    def is_needed(self) -> bool:
        """Return whether the file must be written."""
        return self.content != self.old.content

    @property
    def backup(self) -> Path | None:
        """Return the path of the copy of the old content, if one is made."""
        is_kept = self.is_needed and self.old.content
        return self.old.path.with_name(self.old.backup) if is_kept else None


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """All changes of an export.

    Attributes:
        files: in the order of their renames.
        warnings: of what is allowed but likely a mistake, a sentence each.
        next_step: for a person, with the client.
    """

    files: tuple[Rewrite, ...]
    warnings: tuple[str, ...]
    next_step: str

    def all_warnings(self) -> list[str]:
        """Return the warnings, with those about the files."""
        return [*self.warnings, *(file.old.note for file in self.files if file.old.note)]


def load_libraries() -> None:
    """Load what is otherwise loaded when it is first needed: a child may not be able to read our interpreter."""
    import codecs

    import_module("re")
    import_module("sqlite3")
    codecs.lookup("utf-8-sig")


# ---------------------------------------------------------------------------------------------------------
# Reading the client's files


def look_at(path: Path) -> FoundFile:
    """Read a file, and check that it may be written.

    Raises:
        ConfigError: if it is not a plain file, is too large, or its folder is missing.
        StoreError: if it cannot be read, or its owner could not read the new file.
    """
    path = path.absolute()
    try:
        with Folder.open(path.parent) as folder:
            return _look_in(folder, path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no folder {path.parent}", hint="Check the path, or make it.") from error
    except OSError as error:
        raise store_error(f"cannot read {path}", error) from error


def _look_in(folder: Folder, path: Path) -> FoundFile:
    _check_folder(folder)
    content = _read(folder, path)
    owner, user = folder.owner_of(path.name), os.geteuid()
    old = FoundFile(
        path, content, owner if user == 0 else None, _free_name(folder, path.name), _identity(folder)
    )
    if user in {0, owner[0]}:
        return old
    if content is None:
        note = f"{path} will belong to you, but its folder to another user (uid {owner[0]})."
        return replace(old, note=note)
    raise StoreError(
        f"{path} belongs to another user (uid {owner[0]}), who could not read the new file",
        hint="Run this as that user, or as root (sudo).",
    )


def read_config(path: Path) -> bytes:
    """Read a configuration of the client's.

    Raises:
        ConfigError: if it is missing, is not a plain file, or is too large.
        StoreError: if it cannot be read.
    """
    path = path.absolute()
    content = None
    try:
        with suppress(FileNotFoundError), Folder.open(path.parent) as folder:
            content = _read(folder, path)
    except OSError as error:
        raise store_error(f"cannot read {path}", error) from error
    if content is None:
        raise ConfigError(f"there is no file {path}", hint="Name the client's configuration with --to.")
    return content


def identities(plan: ExportPlan) -> Iterator[tuple[int, int, str]]:
    """Yield device and inode number of each file of a plan, and of those that SQLite keeps beside it, with its path."""
    for path in (file.old.path for file in plan.files if file.is_needed):
        for name in (path.name, *(f"{path.name}{ending}" for ending in databases.BESIDE)):
            with suppress(OSError):
                status = path.with_name(name).stat()
                yield status.st_dev, status.st_ino, str(path)


def check_unused(identities: Iterable[tuple[int, int, str]]) -> None:
    """Check that no process has one of these files open; only root sees the processes of other users.

    Raises:
        Busy: if one has; the text names it.
    """
    wanted = {(device, inode): path for device, inode, path in identities}
    if not wanted:
        return
    for process in PROC.glob("[0-9]*"):
        path = _open_in(process, wanted)
        if path is not None:
            raise Busy(f"{path} is open in {describe_process(process)}", hint=databases.STOP_CLIENT)


def _read(folder: Folder, path: Path) -> bytes | None:
    try:
        found = folder.read(path.name, LARGEST_FILE + 1)
    except NotAFile as error:
        raise ConfigError(
            f"{path} is not a plain file", hint="Name the file itself, not a link to it or a folder."
        ) from error
    if found is None:
        return None
    if len(found[0]) > LARGEST_FILE:
        raise ConfigError(f"{path} is too large", hint="Check that it is the right file.")
    return found[0]


def _check_folder(folder: Folder) -> None:
    if os.fstat(folder.fd).st_mode & stat.S_IWOTH:
        raise StoreError(
            f"anyone may put files into {folder.path}",
            hint=f"Use another folder, or run: chmod o-w {folder.path}",
        )


def _identity(folder: Folder) -> tuple[int, int]:
    status = os.fstat(folder.fd)
    return status.st_dev, status.st_ino


def _free_name(folder: Folder, name: str) -> str:
    number = 1
    while folder.has(f"{name}.device-auth-backup-{number}"):
        number += 1
    return f"{name}.device-auth-backup-{number}"


def _open_in(process: Path, wanted: dict[tuple[int, int], str]) -> str | None:
    with suppress(OSError):
        for opened in (process / "fd").iterdir():
            with suppress(OSError):
                status = opened.stat()
                path = wanted.get((status.st_dev, status.st_ino))
                if path is not None:
                    return path
    return None


# ---------------------------------------------------------------------------------------------------------
# Carrying out


def carry_out(plan: ExportPlan) -> None:
    """Carry out a plan; on return everything is durable and was read back.

    Raises:
        Busy: if the client works on a file, or has changed one since; then nothing is changed.
        StoreError: if a file cannot be written; then each file is the old or the new one, whole.
    """
    with ExitStack() as opened:
        files = [(_open_folder(opened, file.old), file) for file in plan.files]
        needed = [(folder, file) for folder, file in files if file.is_needed]
        try:
            for folder, file in needed:
                _write_beside(folder, file)
            for folder, file in needed:
                _check_unchanged(folder, file)
        except BaseException:
            for folder, file in needed:
                _remove_written(folder, file)
            raise
        for folder, file in needed:
            _rename(folder, file)
        for folder, file in files:
            _read_back(folder, file)


def _open_folder(opened: ExitStack, old: FoundFile) -> Folder:
    """Open the folder that was read, and check that it still is that one: root must not give away a file elsewhere."""
    try:
        folder = opened.enter_context(Folder.open(old.path.parent))
    except OSError as error:
        raise store_error(f"cannot write {old.path}", error) from error
    if _identity(folder) != old.folder:
        raise Busy(f"{folder.path} became another folder just now", hint=databases.STOP_CLIENT)
    return folder


def _write_beside(folder: Folder, file: Rewrite) -> None:
    """Write the new content beside the file, and a copy of the old."""
    old = file.old
    try:
        folder.remove(_beside(old))  # left by a process that was killed
        folder.write_new(_beside(old), file.content, FILE_MODE, is_durable=True, owner=old.owner)
        if old.content:
            folder.write_new(old.backup, old.content, FILE_MODE, is_durable=True, owner=old.owner)
            folder.sync()
    except OSError as error:
        raise store_error(f"cannot write {old.path}", error) from error


def _check_unchanged(folder: Folder, file: Rewrite) -> None:
    old = file.old
    if _look_again(folder, old) != (old.content, old.owner):
        raise Busy(f"{old.path} was changed just now", hint=databases.STOP_CLIENT)
    if file.is_database and old.content:
        databases.check_unlocked(old.path, old.content)


def _remove_written(folder: Folder, file: Rewrite) -> None:
    """Remove the files that were written beside; no file has been changed yet."""
    for name in (_beside(file.old), file.old.backup):
        with suppress(OSError):
            folder.remove(name)


def _rename(folder: Folder, file: Rewrite) -> None:
    try:
        folder.rename(_beside(file.old), file.old.path.name)
        folder.sync()
    except OSError as error:
        raise store_error(f"cannot write {file.old.path}", error) from error


def _read_back(folder: Folder, file: Rewrite) -> None:
    content, _ = _look_again(folder, file.old)
    if content != file.content:
        raise StoreError(
            f"{file.old.path} does not read back as it was written",
            hint="See whether the client is running; else the card may be failing: replace it.",
        )


def _look_again(folder: Folder, old: FoundFile) -> tuple[bytes | None, tuple[int, int] | None]:
    try:
        found = _look_in(folder, old.path)
    except OSError as error:
        raise store_error(f"cannot read {old.path}", error) from error
    return found.content, found.owner


def _beside(old: FoundFile) -> str:
    return f"{old.path.name}.device-auth-new"
