import errno
import os
import stat
from pathlib import Path

import pytest

from device_auth.world.disks import NATIVE, mount_of
from device_auth.world.explain import ANOTHER_DISK, store_error
from device_auth.world.files import Folder, NotAFile, NotSafe, make_folder


@pytest.mark.parametrize(
    ("number", "reason", "hint"),
    [
        (errno.ENOSPC, "the disk is full", "Free some space"),
        (errno.EDQUOT, "the disk quota is used up", "raise the quota"),
        (errno.EROFS, "the disk is read-only", "remount"),
        (errno.EIO, "the disk reports an error", "replace it"),
        (errno.EACCES, "permission denied", "owner"),
        (errno.EPERM, "not permitted", "lsattr"),
        (errno.ENOLCK, "no lock is to be had", "restart"),
        (errno.ENOTSUP, "not supported", "such as ext4"),
        (errno.ENOSYS, "not supported", "such as ext4"),
        (errno.EINVAL, "invalid argument", "owner"),
        (errno.ESTALE, "removed or exchanged on its server", "Mount it again"),
        (errno.ENODEV, "the disk is gone", "cable"),
        (errno.ENXIO, "the disk is gone", "cable"),
        (errno.ENOTCONN, "the program that serves the disk has ended", "Mount it again"),
        (errno.ETIMEDOUT, "the server of the disk does not answer", "network"),
        (errno.EHOSTDOWN, "the server of the disk does not answer", "network"),
        (errno.ENOKEY, "encrypted and locked", "Unlock"),
        (errno.ENOTDIR, "not a folder", "another folder"),
        (errno.ELOOP, os.strerror(errno.ELOOP).lower(), "owner"),
    ],
)
def test_each_refusal_of_the_system_is_said_with_a_next_step(number: int, reason: str, hint: str) -> None:
    error = store_error("cannot write x", OSError(number, os.strerror(number)))

    assert str(error).startswith("cannot write x: ")
    assert reason in str(error)
    assert hint in error.hint
    assert error.exit_code == 74


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_the_file_system_is_named_where_all_of_it_is_concerned(number: int) -> None:
    error = store_error("cannot write x", OSError(number, os.strerror(number)), at=Path("/proc/self"))

    assert str(error).endswith(" (proc, mounted on /proc)")
    assert ("remount,rw /proc)" in error.hint) is (number == errno.EROFS)


@pytest.mark.parametrize(
    "number", [errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK], ids=errno.errorcode.get
)
def test_a_disk_that_cannot_do_it_is_named(number: int, tmp_path: Path) -> None:
    refusal = OSError(number, os.strerror(number))
    error = store_error("cannot write x", refusal, at=Path("/proc/self"))
    own = store_error(
        "cannot write x", NotSafe("others may write to it", tmp_path, "Close it."), at=Path("/proc")
    )

    assert str(error).endswith("; the disk is proc")
    assert error.hint == ANOTHER_DISK
    assert own.hint == "Close it."


def test_a_disk_that_can_do_it_is_not_named(tmp_path: Path) -> None:
    mount = mount_of(tmp_path)
    if mount is None or mount.kind not in NATIVE:
        pytest.skip("the tests' own folder is on another kind of disk")

    assert store_error("cannot write x", OSError(errno.EPERM, "no"), at=tmp_path).hint.endswith("(lsattr).")


def test_a_disk_that_turned_read_only_is_named_by_its_place() -> None:
    mount = mount_of(Path("/proc/self"))
    hint = store_error("cannot write x", OSError(errno.EROFS, ""), at=Path("/proc/self")).hint

    assert mount is None or f"mount -o remount,rw {mount.point})" in hint


def test_a_refusal_without_a_reason_is_said_as_such() -> None:
    assert str(store_error("cannot write x", OSError())) == "cannot write x: unknown error"


def test_a_folder_is_made_with_what_leads_to_it(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        make_folder(tmp_path / "a" / "b" / "c", 0o700)
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "a" / "b" / "c").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)

    make_folder(tmp_path, 0o700)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_dangling_link_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path / "nowhere")

    with pytest.raises(FileNotFoundError), Folder.open_to_write(tmp_path / "state", 0o700):
        pass

    assert not (tmp_path / "nowhere").exists()


def test_an_unsafe_folder_is_let_go_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    before = set(Path("/proc/self/fd").iterdir())

    with pytest.raises(NotSafe):
        Folder.open_to_write(tmp_path, 0o700)

    # a thread of an earlier test may close its own meanwhile
    assert not set(Path("/proc/self/fd").iterdir()) - before


def test_a_file_is_read_no_further_than_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    with Folder.open(tmp_path) as folder:
        found = folder.read("file", 4)

    assert found is not None
    assert found[0] == b"0123"


def test_a_replaced_file_has_exactly_the_mode_asked_for(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        with Folder.open(tmp_path) as folder:
            folder.replace("file", b"old", 0o640)
            folder.replace("file", b"new", 0o640)
    finally:
        os.umask(umask)

    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()

    with Folder.open(tmp_path) as folder, pytest.raises(IsADirectoryError):
        folder.replace("file", b"new", 0o640)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_symbolic_link_is_not_read_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")

    with Folder.open(tmp_path) as folder, pytest.raises(NotAFile):
        folder.read("link", 100)
