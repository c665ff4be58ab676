"""Whose a link is: decided by the mark of the board, and without one on either side by the DSN."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.models import Mark
from device_auth.core.unit import adopt, claim_new, fill_in, is_copied, judge
from device_auth.world.settings import SettingsFiles
from device_auth.world.unit import CONTAINER_SIGNS, ThisUnit, UnknownUnit
from tests.links import make_link


@dataclass
class Marks:
    """A unit of the test's own."""

    board: str = ""
    dsn: str = ""


@pytest.mark.parametrize(
    ("stored", "unit", "expected"),
    [
        (Marks("one", "A"), Marks("one", "A"), False),
        (Marks("one", "A"), Marks("two", "A"), True),
        (Marks("one", "A"), Marks("one", "B"), False),
        (Marks("one", "A"), Marks("", "A"), False),
        (Marks("one", "A"), Marks("", "B"), True),
        (Marks("", "A"), Marks("two", "B"), True),
        (Marks("", "A"), Marks("two", ""), False),
        (Marks("", ""), Marks("two", "B"), False),
        (Marks("one", ""), Marks("", "B"), False),
    ],
)
def test_the_mark_decides_and_without_one_on_either_side_the_dsn(
    stored: Marks, unit: Marks, *, expected: bool
) -> None:
    link = replace(make_link(), board=stored.board, dsn=stored.dsn)

    assert is_copied(link, unit) is expected
    assert judge(link, unit).mark is (Mark.COPIED if expected else None)


def test_a_copied_link_that_is_not_used_for_another_reason_keeps_that_reason() -> None:
    link = replace(make_link(), board="one", mark=Mark.REVOKED)

    assert judge(link, Marks("two")) == link


def test_marks_that_are_missing_are_filled_in_and_others_stay() -> None:
    link = replace(make_link(replaces=make_link("berta")), dsn="A")

    filled = fill_in(link, Marks("one", "B"))

    assert (filled.board, filled.dsn) == ("one", "A")
    assert filled.replaces == replace(make_link("berta"), board="one", dsn="B")


@pytest.mark.parametrize(
    ("given", "unit", "expected"),
    [
        ("GIVEN", Marks("one", "A"), "GIVEN"),
        ("GIVEN", Marks("", "A"), "A"),
        ("GIVEN", Marks(), "GIVEN"),
        ("", Marks("one", "A"), "A"),
    ],
)
def test_a_new_link_is_never_a_copy_on_the_unit_that_made_it(given: str, unit: Marks, expected: str) -> None:
    link = claim_new(replace(make_link(), dsn=given), unit)

    assert (link.board, link.dsn) == (unit.board, expected)
    assert not is_copied(link, unit)


def test_an_adopted_link_is_this_units() -> None:
    former = replace(make_link("berta"), board="two")
    link = replace(make_link(replaces=former), board="two", dsn="B", mark=Mark.COPIED)

    adopted = adopt(link, Marks("one", "A"))

    assert (adopted.mark, adopted.board, adopted.dsn) == (None, "one", "A")
    assert adopted.replaces is not None
    assert adopted.replaces.board == "one"
    assert adopt(replace(link, mark=Mark.REVOKED), Marks("one")).mark is Mark.REVOKED


# -- the marks of this machine

ID: Final = "0123456789abcdef0123456789abcdef"
DISK: Final = "22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "proc/self/mountinfo", DISK + "\n")
    return tmp_path


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def unit_of(root: Path, config: Path | None = None) -> ThisUnit:
    identity = root / "state/identity.toml"
    return ThisUnit(SettingsFiles(identity if identity.exists() else None, config=config), root)


def test_the_mark_of_a_board_differs_from_boards_and_shows_nothing_of_the_number(root: Path) -> None:
    put(root, "sys/firmware/devicetree/base/serial-number", "10000000abcdef01\0")
    one = unit_of(root).board
    put(root, "sys/firmware/devicetree/base/serial-number", "10000000abcdef02\0")
    other = unit_of(root).board

    assert len(one) == 32
    assert one != other
    assert "abcdef01" not in one


def test_the_serial_number_counts_more_than_the_machine_id(root: Path) -> None:
    put(root, "sys/firmware/devicetree/base/serial-number", "10000000abcdef01\0")
    alone = unit_of(root).board
    put(root, "etc/machine-id", ID + "\n")

    assert unit_of(root).board == alone


def test_without_a_serial_number_the_machine_id_on_the_disk_is_the_mark(root: Path) -> None:
    put(root, "sys/firmware/devicetree/base/serial-number", "0000000000000000\0")
    put(root, "etc/machine-id", ID + "\n")

    assert len(unit_of(root).board) == 32
    assert ID not in unit_of(root).board


@pytest.mark.parametrize("text", ["", "uninitialized\n", ID[:-1], ID.upper(), "ä" * 32])
def test_a_machine_id_that_is_none_is_no_mark(root: Path, text: str) -> None:
    put(root, "etc/machine-id", text)

    assert unit_of(root).board == ""


@pytest.mark.parametrize(
    "mount",
    [
        "40 22 0:24 /machine-id /etc/machine-id ro,nosuid shared:9 - tmpfs tmpfs rw,size=1k",
        "40 22 0:24 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/b",
        "40 22 0:24 / /etc rw - ramfs none rw",
    ],
)
def test_a_machine_id_that_is_gone_at_the_next_start_is_no_mark(root: Path, mount: str) -> None:
    put(root, "etc/machine-id", ID + "\n")
    put(root, "proc/self/mountinfo", f"{DISK}\n{mount}\n")

    assert unit_of(root).board == ""


def test_a_mount_elsewhere_does_not_matter(root: Path) -> None:
    put(root, "etc/machine-id", ID + "\n")
    put(root, "proc/self/mountinfo", f"{DISK}\n40 22 0:24 / /etc/machine\\040room rw - tmpfs none rw\n")

    assert unit_of(root).board != ""


@pytest.mark.parametrize("sign", CONTAINER_SIGNS)
def test_a_containers_machine_id_is_no_mark(root: Path, sign: str) -> None:
    put(root, "etc/machine-id", ID + "\n")
    put(root, sign, "")

    assert unit_of(root).board == ""


def test_where_nothing_can_be_read_there_is_no_mark(tmp_path: Path) -> None:
    put(tmp_path, "etc/machine-id", ID + "\n")

    assert unit_of(tmp_path).board == ""
    assert UnknownUnit().board == UnknownUnit().dsn == ""


def test_the_dsn_is_that_of_the_settings_file_and_first_that_of_the_identity(root: Path) -> None:
    config = put(root, "config.toml", 'dsn = "K-0001"\n')
    assert unit_of(root, config).dsn == "K-0001"
    assert unit_of(root).dsn == ""

    put(root, "state/identity.toml", 'dsn = "F-0001"\npart = "P1"\n')
    assert unit_of(root, config).dsn == "F-0001"


@pytest.mark.parametrize("text", ["dsn = 7\n", "dsn = \n", "part = 'P1'\n", " " * 70_000])
def test_an_identity_that_cannot_be_read_leaves_the_unit_without_a_dsn_and_gives_it_no_other(
    root: Path, text: str
) -> None:
    config = put(root, "config.toml", 'dsn = "K-0001"\n')
    put(root, "state/identity.toml", text)

    assert unit_of(root, config).dsn == ""


def test_settings_that_cannot_be_read_name_no_dsn(root: Path) -> None:
    assert unit_of(root, root / "none.toml").dsn == ""
