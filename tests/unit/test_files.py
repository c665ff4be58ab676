import errno
import os
import stat
from pathlib import Path

import pytest

from device_auth.world.explain import store_error
from device_auth.world.files import Folder, NotAFile, NotSafe, make_folder


@pytest.mark.parametrize(
    ("number", "reason", "hint"),
    [
        (errno.ENOSPC, "the disk is full", "Free some space"),
        (errno.EDQUOT, "the disk quota is used up", "raise the quota"),
        (errno.EROFS, "the disk is read-only", "remount"),
        (errno.EIO, "the disk reports an error", "replace it"),
        (errno.EACCES, "permission denied", "owner"),
        (errno.EPERM, "not permitted", "hard links"),
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
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(NotSafe):
        Folder.open_to_write(tmp_path, 0o700)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


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
