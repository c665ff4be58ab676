"""Exports: what it takes to hand the link to a client that keeps its own tokens, whatever that client is.

A format *plans*: it reads what the client has, and gives for each file the bytes that shall stand there. Nothing is
written before the whole plan stands, so a dry run is a plan that is not carried out. To *carry out* is one way for
all: write everything beside, durable; see that nobody has come to use it; rename; sync; read back. Only after that
may the link be marked here: a crash in between leaves it on both sides, never on neither, and the same command once
more finds nothing left to write and marks it.

What a change shows is masked when it is made: no refresh token is in anything that is printed.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from device_auth.core.errors import Busy, ConfigError, StoreError
from device_auth.tools import databases
from device_auth.world.explain import store_error
from device_auth.world.files import Folder, NotAFile
from device_auth.world.store import FILE_MODE

MASK: Final = "***"
"""Stands for a refresh token, an old one or a new one."""

LARGEST_FILE: Final = 16 * 1024 * 1024
"""Bytes of a client's file; the SDK's databases have some ten thousand."""

PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Unit:
    """What the settings say of this speaker; empty where nothing is said."""

    product_id: str
    dsn: str
    locale: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that becomes another; tokens are masked.

    Attributes:
        place: which table, row or key of the file.
        old: what stands there; None for nothing.
        new: what shall; None for nothing.
    """

    place: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of the client's as it was found.

    Attributes:
        path: the whole path.
        content: None if there is no such file.
        owner: to give the new file to; None if we may give it to nobody, or need not.
        backup: the name under which the old content would be kept.
        folder: which folder it was, by device and number: its path may lead to another one by now.
        note: what to know of its owner; may be empty.
    """

    path: Path
    content: bytes | None = field(repr=False)
    owner: tuple[int, int] | None
    backup: str
    folder: tuple[int, int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One file: what stands there, and what shall.

    Attributes:
        content: all that shall stand there.
        changes: the difference, for people; empty if there is none.
        is_database: SQLite's, whose own lock shows that it is in use.
    """

    seen: FoundFile
    content: bytes = field(repr=False)
    changes: tuple[Change, ...]
    is_database: bool = False

    @property
    def is_needed(self) -> bool:
        """Return whether anything has to be written."""
        return self.content != self.seen.content

    @property
    def backup(self) -> Path | None:
        """Return where the old content is kept, if there is any that goes."""
        is_kept = self.is_needed and self.seen.content
        return self.seen.path.with_name(self.seen.backup) if is_kept else None


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """All that an export changes.

    Attributes:
        files: in the order in which they take their places.
        warnings: what is allowed but likely not meant, a sentence each.
        next_step: what to do with the client afterwards.
    """

    files: tuple[Rewrite, ...]
    warnings: tuple[str, ...]
    next_step: str

    def all_warnings(self) -> list[str]:
        """Return the warnings, and what to know of each file."""
        return [*self.warnings, *(file.seen.note for file in self.files if file.seen.note)]


# ---------------------------------------------------------------------------------------------------------
# Reading what the client has


def look_at(path: Path) -> FoundFile:
    """Look at a file that may be written, and see that it may.

    Raises:
        ConfigError: it is no plain file, is too large, or there is no folder for it.
        StoreError: it may not be read, or its owner could not read what we would write.
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
    seen = FoundFile(
        path, content, owner if user == 0 else None, _free_name(folder, path.name), _identity(folder)
    )
    if user in {0, owner[0]}:
        return seen
    if content is None:
        note = f"{path} will belong to you, but its folder to another user (uid {owner[0]})."
        return replace(seen, note=note)
    raise StoreError(
        f"{path} belongs to another user (uid {owner[0]}), who could not read what you write",
        hint="Run this as that user, or as root (sudo).",
    )


def read_config(path: Path) -> bytes:
    """Read a configuration of the client's, which must be there.

    Raises:
        ConfigError: it is not, or is no plain file, or is too large.
        StoreError: it may not be read.
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


def check_unused(plan: ExportPlan) -> None:
    """See that no process has one of the files open that are to be written.

    Processes of other users are seen by root alone.

    Raises:
        Busy: one has; says which.
    """
    wanted = dict(_identities(file.seen.path for file in plan.files if file.is_needed))
    if not wanted:
        return
    for process in PROC.glob("[0-9]*"):
        path = _open_in(process, wanted)
        if path is not None:
            name = "gone by now"
            with suppress(OSError):
                name = (process / "comm").read_text().strip()
            raise Busy(f"{path} is open in process {process.name} ({name})", hint=databases.STOP_CLIENT)


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


def _identities(paths: Iterable[Path]) -> Iterator[tuple[tuple[int, int], Path]]:
    """Give device and number of each file, and of those that SQLite keeps beside it."""
    for path in paths:
        for name in (path.name, *(f"{path.name}{ending}" for ending in databases.BESIDE)):
            with suppress(OSError):
                status = path.with_name(name).stat()
                yield (status.st_dev, status.st_ino), path


def _open_in(process: Path, wanted: dict[tuple[int, int], Path]) -> Path | None:
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
    """Write all that the plan says; durable and read back on return.

    Raises:
        Busy: the client is at work, or has been since the plan was made; nothing is changed then.
        StoreError: something cannot be written; each file is then the old one or the new one, whole.
    """
    with ExitStack() as opened:
        files = [(_open_folder(opened, file.seen), file) for file in plan.files]
        needed = [(folder, file) for folder, file in files if file.is_needed]
        try:
            for folder, file in needed:
                _write_beside(folder, file)
            for folder, file in needed:
                _check_unchanged(folder, file)
        except BaseException:
            for folder, file in needed:
                _take_back(folder, file)
            raise
        for folder, file in needed:
            _put_in_place(folder, file)
        for folder, file in files:
            _read_back(folder, file)


def _open_folder(opened: ExitStack, seen: FoundFile) -> Folder:
    """Open the folder that was looked at; as root a file is given to its owner, and must not come to lie elsewhere."""
    try:
        folder = opened.enter_context(Folder.open(seen.path.parent))
    except OSError as error:
        raise store_error(f"cannot write {seen.path}", error) from error
    if _identity(folder) != seen.folder:
        raise Busy(f"{folder.path} became another folder just now", hint=databases.STOP_CLIENT)
    return folder


def _write_beside(folder: Folder, file: Rewrite) -> None:
    """Write the new content beside, and keep the old under a name of its own."""
    seen = file.seen
    try:
        folder.remove(_beside(seen))  # of one that was killed
        folder.write_new(_beside(seen), file.content, FILE_MODE, is_durable=True, owner=seen.owner)
        if seen.content:
            folder.write_new(seen.backup, seen.content, FILE_MODE, is_durable=True, owner=seen.owner)
            folder.sync()
    except OSError as error:
        raise store_error(f"cannot write {seen.path}", error) from error


def _check_unchanged(folder: Folder, file: Rewrite) -> None:
    seen = file.seen
    if _look_again(folder, seen) != (seen.content, seen.owner):
        raise Busy(f"{seen.path} was changed just now", hint=databases.STOP_CLIENT)
    if file.is_database and seen.content:
        databases.check_unlocked(seen.path, seen.content)


def _take_back(folder: Folder, file: Rewrite) -> None:
    """Remove what was written beside; no file has been changed yet."""
    for name in (_beside(file.seen), file.seen.backup):
        with suppress(OSError):
            folder.remove(name)


def _put_in_place(folder: Folder, file: Rewrite) -> None:
    try:
        folder.rename(_beside(file.seen), file.seen.path.name)
        folder.sync()
    except OSError as error:
        raise store_error(f"cannot write {file.seen.path}", error) from error


def _read_back(folder: Folder, file: Rewrite) -> None:
    content, _ = _look_again(folder, file.seen)
    if content != file.content:
        raise StoreError(
            f"{file.seen.path} does not read back as it was written",
            hint="See whether the client is running; else the card may be failing: replace it.",
        )


def _look_again(folder: Folder, seen: FoundFile) -> tuple[bytes | None, tuple[int, int] | None]:
    try:
        found = _look_in(folder, seen.path)
    except OSError as error:
        raise store_error(f"cannot read {seen.path}", error) from error
    return found.content, found.owner


def _beside(seen: FoundFile) -> str:
    return f"{seen.path.name}.device-auth-new"
