"""Locking a unit: every check once more, and no lock where one fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from device_auth.assembly.doors import Doors
from device_auth.factory.talk import CheckOutcome, IdentityEvent, Talk
from device_auth.factory.unit.identity import write_identity
from device_auth.factory.unit.lock import UnitCheck, check_what_lasts, lock_unit
from device_auth.world.factory_lock import LOCK
from device_auth.world.places import read_places

CARD = "22 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw"
MEMORY = "23 22 0:30 / {state} rw - tmpfs tmpfs rw"


class Unit:
    """A unit below a root of its own, and what its verb said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.doors = Doors({}, read_places({}, {}, 0, root))
        self.doors.machine = root
        self.said: list[dict[str, Any]] = []
        self.talk = Talk("lock", lambda line: self.said.append(json.loads(line)), lambda _: "")

    def mounts(self, *lines: str) -> None:
        path = self.root / "proc/self/mountinfo"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    @property
    def is_locked(self) -> bool:
        return (self.doors.places.state_dir / LOCK).exists()


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    made = Unit(tmp_path)
    write_identity(made.doors.places, IdentityEvent("KS0001", "Kitchen", "client", None, None, None))
    return made


def passing(talk: Talk, _doors: Doors, _root: Path | None) -> None:
    talk.check("a", CheckOutcome.PASS)


def failing(talk: Talk, _doors: Doors, _root: Path | None) -> None:
    talk.check("b", CheckOutcome.FAIL)


@pytest.mark.parametrize(
    ("checks", "is_locked", "names"),
    [
        ([passing], True, ["a", "lock"]),
        ([passing, failing, passing], False, ["a", "b", "a"]),
    ],
)
def test_one_check_that_fails_leaves_the_unit_unlocked(
    unit: Unit, checks: list[UnitCheck], is_locked: bool, names: list[str]
) -> None:
    assert lock_unit(unit.talk, unit.doors, None, checks) == is_locked

    assert unit.is_locked == is_locked
    assert [each["name"] for each in unit.said] == names


@pytest.mark.parametrize(("is_in_memory", "is_locked"), [(False, True), (True, False)])
def test_a_unit_whose_state_is_in_memory_is_not_locked(
    unit: Unit, is_in_memory: bool, is_locked: bool
) -> None:
    state = unit.doors.places.state_dir
    unit.mounts(CARD, *([MEMORY.format(state=state)] if is_in_memory else []))

    assert lock_unit(unit.talk, unit.doors, unit.root, [check_what_lasts]) == is_locked

    assert unit.is_locked == is_locked
    assert ("in memory" in unit.said[0]["detail"]) == is_in_memory
