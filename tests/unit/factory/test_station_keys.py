import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from device_auth.factory.talk import CheckOutcome
from device_auth.factory.unit.station_keys import remove_station_keys
from tests.unit_on_the_line import UnitOnTheLine

USER = 12345
"""A user whom the machine does not know by name."""

STATION = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA device-auth-station\n"
WITH_OPTIONS = 'restrict,command="echo \\"hi\\"" ssh-rsa AAAAB3Nz device-auth-station@rig-2\n'
OWNER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB anna@laptop\n# a comment\n"


@pytest.fixture
def unit(tmp_path: Path) -> UnitOnTheLine:
    return UnitOnTheLine(tmp_path).make()


def remove(unit: UnitOnTheLine, *, has_failed: bool = False) -> dict[str, str]:
    talk = unit.talk("lock")
    if has_failed:
        talk.check("left-state", CheckOutcome.FAIL, "a token", exit_code=74)
    remove_station_keys(talk, unit.doors(), unit.root)
    return dict(unit.checks)


def test_the_stations_key_is_removed_from_every_user_and_others_stay(unit: UnitOnTheLine) -> None:
    root = unit.write("root/.ssh/authorized_keys", OWNER + STATION)
    root.chmod(0o600)
    home = unit.write("home/pi/.ssh/authorized_keys", WITH_OPTIONS + OWNER + STATION)
    second = unit.write("home/pi/.ssh/authorized_keys2", STATION)
    far = unit.write("srv/rig/.ssh/authorized_keys", STATION.rstrip("\n"))
    unit.write("etc/passwd", "root:x:0:0::/root:/bin/bash\nrig:x:1001:1001::/srv/rig:/bin/sh\nbroken\n")

    assert remove(unit) == {"left-station-key": "PASS"}
    assert unit.detail("left-station-key") == "keys of the station removed: 5"
    assert root.read_text() == home.read_text() == OWNER
    assert second.read_text() == far.read_text() == ""
    assert root.stat().st_mode & 0o777 == 0o600


def test_the_second_time_there_is_nothing_to_remove(unit: UnitOnTheLine) -> None:
    unit.write("root/.ssh/authorized_keys", STATION)
    remove(unit)

    assert remove(unit) == {"left-station-key": "PASS"}
    assert unit.detail("left-station-key").endswith(": 0")


def test_a_unit_that_failed_lets_the_station_come_back(unit: UnitOnTheLine) -> None:
    keys = unit.write("root/.ssh/authorized_keys", STATION)

    assert remove(unit, has_failed=True) == {"left-state": "FAIL"}
    assert keys.read_text() == STATION


def test_a_file_that_cannot_be_looked_at_is_a_failure(unit: UnitOnTheLine) -> None:
    keys = unit.write("root/.ssh/authorized_keys", "")
    keys.unlink()
    keys.symlink_to("/etc/passwd")

    assert remove(unit) == {"left-station-key": "FAIL"}
    assert "not a file" in unit.detail("left-station-key")


@pytest.fixture
def users_unit() -> Iterator[UnitOnTheLine]:
    """A unit whose folders another user can enter."""
    folder = Path(mkdtemp(prefix="device-auth-"))
    folder.chmod(0o755)
    yield UnitOnTheLine(folder).make()
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_users_file_stays_the_users_and_leads_root_nowhere(users_unit: UnitOnTheLine) -> None:
    keys = users_unit.write("home/pi/.ssh/authorized_keys", STATION + OWNER)
    secret = users_unit.write("root/other", STATION)
    secret.chmod(0o600)
    (keys.parent / "authorized_keys2").symlink_to(secret)
    for path in (keys.parent, keys):
        os.chown(path, USER, USER)

    assert remove(users_unit) == {"left-station-key": "FAIL"}
    assert "not a file" in users_unit.detail("left-station-key")
    (keys.parent / "authorized_keys2").unlink()
    assert remove(users_unit) == {"left-station-key": "PASS"}
    assert keys.read_text() == OWNER
    assert keys.stat().st_uid == USER
    assert secret.read_text() == STATION


def test_a_simulated_unit_without_a_root_has_no_keys(unit: UnitOnTheLine) -> None:
    remove_station_keys(unit.talk("lock"), unit.doors(), None)

    assert unit.checks == {}
