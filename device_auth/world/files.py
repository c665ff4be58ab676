"""Files in one folder that is held open: every name is looked up in it, and no symbolic link leads out of it.

The one idea: a reader sees the old file or the new one, whole. A file is written beside its place and renamed
over it; what must outlast a power cut is synced before the rename, and the folder after it. Modes do not depend
on the umask.

Source: rename(2), fsync(2) ("does not necessarily ensure that the entry in the directory … has also reached
disk"), open(2) on O_NOFOLLOW and O_EXCL.
"""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

RUNTIME_MODE: Final = 0o755
"""Of the runtime folder: others look for the socket and the token files in it, each with a mode of its own."""

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class NotAFile(OSError):
    """Under this name lies something else than a file: a symbolic link, a folder, a pipe."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.EINVAL, "not a file", name)


class NotSafe(OSError):
    """What is written in this folder could be exchanged under our hands; says why, and what to do."""

    def __init__(self, reason: str, path: Path, hint: str = "") -> None:
        super().__init__(errno.EINVAL, reason, str(path))
        self.hint = hint


def read_plain(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Read a file, without waiting for a pipe's other end.

    Returns:
        At most ``limit`` bytes, and the status of the file that they were read from.

    Raises:
        NotAFile: if something else lies there.
        OSError: if it cannot be read.
        ValueError: if it cannot be a path.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFile(str(path))
        return _read_all(fd, limit), status
    finally:
        os.close(fd)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder that is not there yet, with what leads to it, so that it outlasts a power cut.

    Args:
        path: where; one that is there stays as it is.
        mode: of the last folder alone, whatever the umask; what leads to it follows the umask.

    Raises:
        OSError: it cannot be made.
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
    """A folder held open. Every method raises ``OSError`` where the system refuses.

    The path to it may lead over symbolic links: systemd makes such links (``/var/lib/private``), and whoever
    may change that path may do anything here anyway. Below it, none is followed.

    Args:
        path: where it was opened, for messages.
        fd: the open folder; closed by ``close``.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder that is there."""
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """Let go of it, and of a lock held on it."""
        # Nothing is written through this descriptor, and whatever close(2) says it is gone.
        with suppress(OSError):
            os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def open_to_write(cls, path: Path, mode: int, *, for_owner: bool = False) -> Self:
        """Open a folder to write secrets in it; make it first if need be.

        Who may change the folders that lead to it is not looked at.

        Args:
            path: where.
            mode: of a folder that is made now.
            for_owner: see ``check_safe``.

        Raises:
            NotSafe: others may write to it, or it belongs to another user.
            OSError: it cannot be made or opened.
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
        """Raise ``NotSafe`` unless this process or root alone may change what lies here.

        Args:
            for_owner: root may write here for the user that the folder belongs to, whose it all is anyway.
        """
        status, me = os.fstat(self.fd), os.geteuid()
        if status.st_uid not in {0, me} and not (for_owner and me == 0):
            raise NotSafe(
                f"it belongs to another user (uid {status.st_uid})",
                self.path,
                f"Run this as that user: sudo -u '#{status.st_uid}' device-auth … --state-dir {self.path}",
            )
        if status.st_mode & _WRITABLE_BY_OTHERS:
            raise NotSafe(f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o})", self.path)

    def names(self) -> list[str]:
        """Return the names of all that lies here, sorted."""
        return sorted(os.listdir(self.fd))  # noqa: PTH208 - pathlib cannot list an open folder

    def has(self, name: str) -> bool:
        """Return whether anything lies under this name, a broken symbolic link included."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def owner_of(self, name: str) -> tuple[int, int]:
        """Return the user and the group that what lies under this name belongs to, or the folder if nothing does."""
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            status = os.fstat(self.fd)
        return status.st_uid, status.st_gid

    def read(self, name: str, limit: int) -> tuple[bytes, float] | None:
        """Read a file.

        Args:
            name: in this folder.
            limit: how many bytes at most.

        Returns:
            The bytes and when they were last written (seconds since 1970), or None if there is no such file.

        Raises:
            NotAFile: something else lies there; it is neither followed nor waited for.
        """
        # O_NONBLOCK: opening a pipe must not wait for its other end.
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
        """Write a file that must not be there yet.

        Args:
            name: in this folder.
            content: all of it.
            mode: exactly, whatever the umask.
            is_durable: whether the content must be on the disk on return.
            owner: user and group that get it before anything is in it; None leaves it to whoever writes.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, mode & 0o600, dir_fd=self.fd)
        try:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
            if is_durable:
                os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, name: str, content: bytes, mode: int, *, is_durable: bool = False) -> None:
        """Put a file in the place of another, whole at any moment.

        One writer at a time: what lies under the name beside is taken for the remains of one that was killed.
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

    def link(self, name: str, other: str) -> None:
        """Return a file a second name, which must not be there yet."""
        os.link(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def rename(self, name: str, other: str) -> None:
        """Return a file another name, in place of what has it now."""
        os.rename(name, other, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> bool:
        """Remove a name; tell whether it was there."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make every change of names so far durable."""
        os.fsync(self.fd)


def beside_of(name: str) -> str:
    """Return the name under which a file is written before it takes its place."""
    return f"{name}.new"


def _read_all(fd: int, limit: int) -> bytes:
    pieces = []
    while limit > 0 and (piece := os.read(fd, limit)):
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)
