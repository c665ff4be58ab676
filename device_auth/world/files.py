"""Files in one folder that is held open: every name is looked up in it, and no symbolic link leads out of it.

The one idea: a reader sees the old file or the new one, whole. A file is written beside its place and renamed
over it; what must outlast a power cut is synced before the rename, and the folder after it. Modes do not depend
on the umask.

Source: rename(2), fsync(2) ("does not necessarily ensure that the entry in the directory … has also reached
disk"), open(2) on O_NOFOLLOW and O_EXCL.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from device_auth.core.errors import StoreError
from device_auth.world.owners import ROOT, Owner, groups_of, owner_of

RUNTIME_MODE: Final = 0o755
"""Of the runtime folder, in which other users find the socket and the token files, each with a mode of its own."""

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_ANY_MODE: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO

_NOT_SUPPORTED: Final = frozenset({errno.ENOTSUP, errno.ENOSYS})

logger: Final = logging.getLogger(__name__)


class NotAFile(OSError):
    """The name belongs to something else than a plain file: a symbolic link, a folder, a pipe."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EINVAL, "not a file", name)
        self.hint = "Move it away, then try again."


class NotSafe(OSError):
    """Another user could exchange files here, or has led root to what he may not touch; has the reason and a hint."""

    def __init__(self, reason: str, path: Path, hint: str = "") -> None:
        super().__init__(errno.EINVAL, reason, str(path))
        self.hint = hint


def read_plain(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Read a file, without waiting for a pipe's other end.

    Returns:
        At most ``limit`` bytes, and the status of the file that they were read from.

    Raises:
        OSError: as ``open_plain``.
        ValueError: if it cannot be a path.
    """
    with open_plain(path) as fd:
        return _read_all(fd, limit), os.fstat(fd)


@contextmanager
def open_plain(path: Path) -> Iterator[int]:
    """Open a file to read it, without waiting for a pipe's other end.

    Root does not read what another user has led him to, unless that user could read it himself.

    Raises:
        NotAFile: if something else than a plain file lies there.
        NotSafe: if root is led to a file that the user who may lead the path elsewhere could not read.
        OSError: if it cannot be opened.
        ValueError: if it cannot be a path.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFile(str(path))
        if os.geteuid() == ROOT:
            leader = _leader_of(path)
            if leader.uid not in {ROOT, status.st_uid} and not _may_read(leader, fd, status):
                raise NotSafe(
                    f"permission denied to the user who may lead root elsewhere (uid {leader.uid})",
                    path,
                    f"If it is the right file, run: sudo chown {leader.uid} FILE, or keep it in a folder of root's.",
                )
        yield fd
    finally:
        os.close(fd)


def _leader_of(path: Path) -> Owner:
    try:
        return owner_of(path, is_there=True)
    except StoreError as error:
        raise NotSafe(str(error), path, error.hint) from error


def _may_read(leader: Owner, fd: int, status: os.stat_result) -> bool:
    """Return whether everybody or this user's groups may read an open file, and the user may reach it."""
    folders = (folder.stat() for folder in Path(f"/proc/self/fd/{fd}").readlink().parents)
    is_of_group = status.st_mode & stat.S_IRGRP and status.st_gid in groups_of(leader)
    return bool(status.st_mode & stat.S_IROTH or is_of_group) and all(
        folder.st_mode & stat.S_IXOTH or folder.st_uid == leader.uid for folder in folders
    )


def make_folder(path: Path, mode: int) -> None:
    """Make a folder and its parents, so that they outlast a power cut.

    Args:
        path: a folder that exists already is left alone.
        mode: of the last folder alone, regardless of the umask; its parents follow the umask.

    Raises:
        OSError: if it cannot be made.
    """
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folder(path.parent, 0o755)
    with suppress(FileExistsError):
        path.mkdir(mode)
        path.chmod(mode)
    with Folder.open(path.parent) as parent:
        parent.sync()


class Folder:
    """A folder held open. Every method raises ``OSError`` if the system refuses.

    The path to it may contain symbolic links: systemd makes such links (``/var/lib/private``), and a user who may
    change that path may do anything here anyway. Below it, none is followed.

    Args:
        path: for messages.
        fd: the open folder; closed by ``close``.

    Attributes:
        is_synced: the disk has confirmed each change of names so far.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.is_synced = True
        self.owner: tuple[int, int] | None = None
        """User and group of new files; None for those of this process."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder that is there."""
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    @classmethod
    def open_for_leader(cls, path: Path) -> Self:
        """Open a folder that is there, to write in it what belongs to the user who may lead its path elsewhere.

        Raises:
            NotSafe: if root is led to a folder that is not that user's.
        """
        folder = cls.open(path)
        try:
            folder.owner = folder.check_leader()
        except OSError:
            folder.close()
            raise
        return folder

    def check_leader(self) -> tuple[int, int] | None:
        """Return the user and the group for whom root writes here; None if files are to be this process's own.

        Raises:
            NotSafe: if another user may lead root's path elsewhere, and the folder is not his.
        """
        if os.geteuid() != ROOT:
            return None
        leader, status = _leader_of(self.path), os.fstat(self.fd)
        if leader.uid not in {ROOT, status.st_uid}:
            raise NotSafe(
                f"permission denied to the user who may lead root elsewhere (uid {leader.uid})",
                self.path,
                "Name a folder that belongs to that user, or one that only root leads to.",
            )
        return None if leader.uid == ROOT else (status.st_uid, status.st_gid)

    def close(self) -> None:
        """Close it, which releases a lock held on it."""
        # Nothing is written through this descriptor, and it is closed even if close(2) reports an error.
        with suppress(OSError):
            os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def open_to_write(cls, path: Path, mode: int, *, for_owner: bool = False) -> Self:
        """Open a folder to write secrets in it, and make it first if there is none.

        The owners of its parents are not checked.

        Args:
            path: of the folder.
            mode: of a new folder.
            for_owner: see ``check_safe``.

        Raises:
            NotSafe: if others may write to it, or it belongs to another user.
            OSError: if it cannot be made or opened.
        """
        make_folder(path, mode)
        folder = cls.open(path)
        try:
            folder.check_safe(for_owner=for_owner)
        except OSError:
            folder.close()
            raise
        return folder

    def check_safe(self, *, for_owner: bool = False) -> None:
        """Raise NotSafe unless only this process's user or root may change the files here.

        Args:
            for_owner: whether root may write here for the user who owns the folder; see ``check_leader``.
        """
        status, me = os.fstat(self.fd), os.geteuid()
        if for_owner:
            self.check_leader()
        if status.st_uid not in {0, me} and not (for_owner and me == 0):
            raise NotSafe(
                f"it belongs to another user (uid {status.st_uid})",
                self.path,
                f"Run this as that user: sudo -u '#{status.st_uid}' device-auth … --state-dir {self.path}",
            )
        if status.st_mode & _WRITABLE_BY_OTHERS:
            raise NotSafe(f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})", self.path)

    def names(self) -> list[str]:
        """Return all names in the folder, sorted."""
        return sorted(os.listdir(self.fd))  # noqa: PTH208 - pathlib cannot list an open folder

    def status_of(self, name: str) -> os.stat_result | None:
        """Return the status of a name, be it a broken symbolic link; None if there is no such name."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        """Return whether the name exists, be it a broken symbolic link."""
        return self.status_of(name) is not None

    def owner_of(self, name: str) -> tuple[int, int]:
        """Return the user and the group that own this name, or the folder if there is no such name."""
        status = self.status_of(name) or os.fstat(self.fd)
        return status.st_uid, status.st_gid

    def read(self, name: str, limit: int) -> tuple[bytes, float] | None:
        """Read a file.

        Args:
            name: in this folder.
            limit: in bytes; the rest is left.

        Returns:
            The bytes and when they were last written (seconds since 1970), or None if there is no such file.

        Raises:
            NotAFile: if it is not a plain file; no link is followed, no pipe waited for.
        """
        # O_NONBLOCK: opening a pipe must not wait for its other end
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise NotAFile(name) from error
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise NotAFile(name)
            return _read_all(fd, limit), status.st_mtime
        finally:
            os.close(fd)

    def write_new(
        self,
        name: str,
        content: bytes,
        mode: int,
        *,
        is_durable: bool,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Write a new file; the name must be free.

        Args:
            name: in this folder.
            content: of the whole file.
            mode: exact, regardless of the umask.
            is_durable: whether the content must be on the disk on return.
            owner: user and group that own it from the start; None for those of the folder's ``owner``.
        """
        owner = owner or self.owner
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, mode & 0o600, dir_fd=self.fd)
        try:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            if os.fstat(fd).st_mode & _ANY_MODE & ~mode:
                # A share, or FAT behind FUSE, answers that it has changed the mode, and has not.
                raise NotSafe(
                    f"its files do not keep the mode {mode:04o}, so others could use them", self.path
                )
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            if is_durable:
                os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, name: str, content: bytes, mode: int, *, is_durable: bool = False) -> None:
        """Put a file in the place of another, whole at any moment.

        One writer at a time: a file under the name beside is removed as the remains of one that was killed.
        """
        beside = beside_of(name)
        self.remove(beside)
        try:
            self.write_new(beside, content, mode, is_durable=is_durable)
            self.rename(beside, name)
            if is_durable:
                self.sync()
        except OSError:
            with suppress(OSError):
                self.remove(beside)
            raise

    def replace_for_owner(self, name: str, content: bytes, mode: int) -> None:
        """Put a file in the place of another as ``replace`` does: durable, the property of the folder's owner, and read back.

        Raises:
            StoreError: if it does not read back as it was written.
        """
        if os.geteuid() == ROOT:
            status = os.fstat(self.fd)
            self.owner = status.st_uid, status.st_gid
        self.replace(name, content, mode, is_durable=True)
        found = self.read(name, len(content) + 1)
        if found is None or found[0] != content:
            raise StoreError(
                f"{self.path / name} does not read back as it was written",
                hint="The card may be failing: replace it.",
            )

    def link(self, name: str, other: str) -> None:
        """Make a second name for a file; it must be free. A share without second names gets a copy, which is as durable."""
        try:
            os.link(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            # EPERM is no such answer: so refuses FAT, whose renames a power cut may leave half done.
            if error.errno not in _NOT_SUPPORTED:
                raise
            self._copy(name, other)

    def _copy(self, name: str, other: str) -> None:
        status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        found = self.read(name, status.st_size)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        owner = (status.st_uid, status.st_gid)
        is_ours = owner == (os.geteuid(), os.getegid())
        mode = stat.S_IMODE(status.st_mode)
        self.write_new(other, found[0], mode, is_durable=True, owner=None if is_ours else owner)

    def rename(self, name: str, other: str) -> None:
        """Rename a file, replacing the one that has the name."""
        os.rename(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> bool:
        """Remove a name; return whether it existed."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make all changes of names durable.

        A share that syncs no folders is used all the same: its server has made each change when it answers, so that a
        power cut here undoes none. What a power cut of the server does is told.
        """
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in {errno.EINVAL, *_NOT_SUPPORTED}:
                raise
            self.is_synced = False
            logger.warning(
                "%s: its disk does not sync folders, so a power cut of its server may undo the last change",
                self.path,
            )


class OwnersFile:
    """One file that is written whole, for the user who may lead its path elsewhere.

    Root opens its folder, and writes there only what that user could; a link in the file's place is replaced, not
    followed. Nothing forks, so this works beside threads.

    Args:
        path: of the file.
        mode: of the file, exact.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path.absolute()
        self._mode = mode

    def prove(self) -> None:
        """Raise OSError unless it could be written now, in the place of a plain file or of none."""
        with Folder.open_for_leader(self.path.parent) as folder:
            status = folder.status_of(self.path.name)
            if status is not None and not stat.S_ISREG(status.st_mode):
                raise NotAFile(str(self.path))
            beside = beside_of(self.path.name)
            folder.remove(beside)
            folder.write_new(beside, b"", self._mode, is_durable=False)
            folder.remove(beside)

    def write(self, content: bytes) -> None:
        """Write it; raise OSError if that fails."""
        with Folder.open_for_leader(self.path.parent) as folder:
            folder.replace(self.path.name, content, self._mode)

    def remove(self) -> None:
        """Remove it, if it is there."""
        with Folder.open_for_leader(self.path.parent) as folder:
            folder.remove(self.path.name)


def beside_of(name: str) -> str:
    """Return the name under which a file is written before it takes its place."""
    return f"{name}.new"


def _read_all(fd: int, limit: int) -> bytes:
    pieces = []
    while limit > 0 and (piece := os.read(fd, limit)):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
