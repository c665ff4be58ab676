"""The factory's lock: a file that locks, and a reset by hand that opens it for ten minutes, here and now."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Monotonic, UnixTime
from device_auth.world.factory_lock import (
    LOCK,
    OPENED,
    LockPlaces,
    LockState,
    is_machines_own,
    look_at_lock,
    machine_places,
    note_reset,
    write_lock,
)

NOW: Final = Monotonic(5000.0)


@pytest.fixture
def places(tmp_path: Path) -> LockPlaces:
    made = LockPlaces(tmp_path / "state", tmp_path / "run")
    for folder in made:
        assert folder is not None
        folder.mkdir(mode=0o755)
    return made


def lock(places: LockPlaces) -> None:
    write_lock(places, board="b0a2", dsn="KS0001", run="", at=UnixTime(1.8e9))


def runtime_of(places: LockPlaces) -> Path:
    assert places.runtime_dir is not None
    return places.runtime_dir


def change_note(places: LockPlaces, **members: object) -> None:
    path = runtime_of(places) / OPENED
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_without_the_file_a_unit_is_not_locked_and_a_reset_notes_nothing(places: LockPlaces) -> None:
    assert look_at_lock(places, NOW) == LockState(is_there=False)
    assert not note_reset(places, NOW)
    assert list(runtime_of(places).iterdir()) == []


def test_a_lock_says_who_and_when_and_is_for_its_owner_alone(places: LockPlaces) -> None:
    lock(places)

    path = places.state_dir / LOCK
    written = json.loads(path.read_text())
    assert written.pop("lock")
    assert written == {
        "version": 1,
        "board": "b0a2",
        "dsn": "KS0001",
        "run": "",
        "locked_at": "2027-01-15T08:00:00Z",
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert look_at_lock(places, NOW).is_shut


OTHERWISE: Final[dict[str, Callable[[Path], object]]] = {
    "an empty file": Path.touch,
    "garbage": lambda path: path.write_bytes(b"\xff{"),
    "a folder": Path.mkdir,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("make", OTHERWISE.values(), ids=OTHERWISE)
def test_whatever_has_the_name_locks(places: LockPlaces, make: Callable[[Path], object]) -> None:
    make(places.state_dir / LOCK)

    assert look_at_lock(places, NOW).is_shut


def test_what_cannot_be_looked_at_counts_as_locked(tmp_path: Path) -> None:
    found = look_at_lock(LockPlaces(tmp_path / ("x" * 300), None), NOW)

    assert found.is_shut
    assert "file name too long" in found.doubt


@pytest.mark.parametrize(("passed", "left"), [(0, 600), (1.5, 598), (599.5, 0), (600, None), (-0.1, None)])
def test_a_reset_by_hand_opens_it_for_ten_minutes(
    places: LockPlaces, passed: float, left: int | None
) -> None:
    lock(places)

    assert note_reset(places, NOW)

    assert look_at_lock(places, Monotonic(NOW + passed)).opened_for == left


def test_a_damaged_lock_is_opened_too(places: LockPlaces) -> None:
    (places.state_dir / LOCK).write_bytes(b"\xff")

    assert note_reset(places, NOW)

    assert look_at_lock(places, NOW).opened_for == 600


def test_locking_again_shuts_it(places: LockPlaces) -> None:
    lock(places)
    note_reset(places, NOW)

    lock(places)

    assert look_at_lock(places, NOW).is_shut


def copy_state(places: LockPlaces) -> None:
    """Exchange the state folder for a copy of itself."""
    shutil.copytree(places.state_dir, places.state_dir.with_name("copy"))
    places.state_dir.rename(places.state_dir.with_name("former"))
    places.state_dir.with_name("copy").rename(places.state_dir)


def make_folder_of_note(places: LockPlaces) -> None:
    path = runtime_of(places) / OPENED
    path.unlink()
    path.mkdir()


NOTES: Final[dict[str, Callable[[LockPlaces], object]]] = {
    "of another start": lambda places: change_note(places, boot_id="0" * 8),
    "of another lock": lambda places: change_note(places, lock="0" * 64),
    "of a former state": copy_state,
    "of the future": lambda places: change_note(places, at=NOW + 1),
    "of the past": lambda places: change_note(places, at=NOW - 601),
    "without a time": lambda places: change_note(places, at=None),
    "with a time that is none": lambda places: change_note(places, at=True),
    "that is garbage": lambda places: (runtime_of(places) / OPENED).write_bytes(b"\xff"),
    "with NaN": lambda places: change_note(places, at=float("nan")),
    "too long": lambda places: change_note(places, more="x" * 70_000),
    "removed": lambda places: (runtime_of(places) / OPENED).unlink(),
    "that is a folder": make_folder_of_note,
}  # fmt: skip


@pytest.mark.parametrize("spoil", NOTES.values(), ids=NOTES)
def test_no_other_note_opens_it(places: LockPlaces, spoil: Callable[[LockPlaces], object]) -> None:
    lock(places)
    note_reset(places, NOW)
    assert not look_at_lock(places, NOW).is_shut

    spoil(places)

    assert look_at_lock(places, NOW).is_shut


def test_without_a_runtime_folder_nothing_opens_it(places: LockPlaces) -> None:
    lock(places)
    note_reset(places, NOW)

    assert look_at_lock(places._replace(runtime_dir=None), NOW).is_shut
    assert not note_reset(places._replace(runtime_dir=None), NOW)


def test_a_reset_that_cannot_be_noted_is_told(places: LockPlaces) -> None:
    lock(places)
    runtime_of(places).rmdir()
    runtime_of(places).touch()

    with pytest.raises(StoreError, match="cannot note the reset in"):
        note_reset(places, NOW)


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()

    with pytest.raises(StoreError, match=r"cannot write .*factory-lock\.json"):
        lock(LockPlaces(tmp_path / "state", None))


def test_the_machines_own_folders_are_known_by_whatever_path(tmp_path: Path) -> None:
    own = machine_places(tmp_path)
    for folder in own:
        assert folder is not None
        folder.mkdir(parents=True)
    lock(own)
    other = LockPlaces(tmp_path / "other", tmp_path / "other-run")
    for folder in other:
        assert folder is not None
        folder.mkdir()
    (tmp_path / "by another name").symlink_to(own.state_dir)

    assert not is_machines_own(other, tmp_path)
    assert is_machines_own(own, tmp_path)
    assert is_machines_own(other._replace(state_dir=tmp_path / "by another name"), tmp_path)
    assert is_machines_own(other._replace(runtime_dir=own.runtime_dir), tmp_path)
    (other.state_dir / LOCK).hardlink_to(own.state_dir / LOCK)
    assert is_machines_own(other, tmp_path)
