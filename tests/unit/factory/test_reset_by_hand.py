"""Which reset opens the factory's lock: one by a hand on a real button, or on a speaker that is not the machine's own."""

from pathlib import Path

import pytest

from device_auth.assembly.doors import Doors
from device_auth.assembly.service_process import _open_lock
from device_auth.world.factory_lock import LOCK, LockPlaces, look_at_lock, machine_places
from device_auth.world.places import read_places


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for folder in machine_places(tmp_path):
        assert folder is not None
        folder.mkdir(parents=True)
    (tmp_path / "var/lib/device-auth" / LOCK).write_text("of the factory")
    return tmp_path


def speaker_on(machine: Path, **options: object) -> Doors:
    doors = Doors(options, read_places(options, {}, 0, machine))
    doors.machine = machine
    return doors


def is_open(doors: Doors) -> bool:
    places = LockPlaces(doors.places.state_dir, doors.places.runtime_dir)
    return not look_at_lock(places, doors.clock.now()).is_shut


def test_a_hand_opens_the_machines_own_lock(machine: Path) -> None:
    doors = speaker_on(machine)

    _open_lock(doors, is_by_hand=True)

    assert is_open(doors)


def test_a_simulated_button_opens_none_of_the_machines_own(machine: Path) -> None:
    other = machine / "other"
    other.mkdir()
    (other / LOCK).hardlink_to(machine / "var/lib/device-auth" / LOCK)
    runtime = machine / "run/device-auth"

    for options in ({}, {"state_dir": other, "runtime_dir": runtime}, {"state_dir": other}):
        _open_lock(speaker_on(machine, **options), is_by_hand=False)

    assert list(runtime.iterdir()) == []
    assert not is_open(speaker_on(machine))


def test_a_simulated_unit_with_folders_of_its_own_has_a_lock_of_its_own(machine: Path) -> None:
    state, runtime = machine / "unit-7", machine / "run-7"
    state.mkdir()
    (state / LOCK).touch()
    doors = speaker_on(machine, state_dir=state, runtime_dir=runtime)

    _open_lock(doors, is_by_hand=False)

    assert is_open(doors)
    assert not is_open(speaker_on(machine))


def test_a_reset_that_cannot_be_noted_is_logged(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    (machine / "run/device-auth").rmdir()
    (machine / "run/device-auth").touch()
    doors = speaker_on(machine)

    _open_lock(doors, is_by_hand=True)

    assert "cannot note the reset in" in caplog.text
    assert not is_open(doors)
