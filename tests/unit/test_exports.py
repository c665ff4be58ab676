"""Carrying out an export: whose the files are, what is kept beside, and who has them open."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import Busy, ConfigError, DeviceAuthError, StoreError
from device_auth.tools.databases import check_unlocked
from device_auth.tools.exports import (
    LARGEST_FILE,
    ExportPlan,
    Unit,
    carry_out,
    check_unused,
    identities,
    look_at,
)
from device_auth.tools.exports_sdk import plan as plan_sdk
from device_auth.tools.exports_text import plan_json
from tests.export_world import TOKEN, ExportWorld, make_database
from tests.links import make_link

UNIT = Unit("kitchen", "K-0001", "en-US")
LINK = replace(make_link(), is_proved=True)
NOBODY = 65534

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def world(tmp_path: Path) -> ExportWorld:
    world = ExportWorld(tmp_path)
    world.configure()
    return world


def plan(world: ExportWorld) -> ExportPlan:
    return plan_sdk(LINK, UNIT, world.config)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def held_open(path: Path, *statements: str) -> Iterator[int]:
    """Have another process hold a file open; with statements, as a database."""
    script = (
        "import sqlite3, sys\n"
        "path, *statements = sys.argv[1:]\n"
        "held = sqlite3.connect(path, isolation_level=None) if statements else open(path)\n"
        "for statement in statements: held.execute(statement).fetchall()\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield process.pid
        finally:
            process.communicate()


# -- what is written


def test_what_is_written_is_for_its_owner_alone(world: ExportWorld) -> None:
    former = os.umask(0)
    try:
        world.lwa.touch(0o644)

        carry_out(plan(world))
    finally:
        os.umask(former)

    assert {mode_of(path) for path in (world.lwa, world.misc)} == {0o600}


def test_each_export_keeps_what_was_there_before_beside(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    world.lwa.chmod(0o644)
    first = world.lwa.read_bytes()
    carry_out(plan(world))
    second = world.lwa.read_bytes()

    carry_out(plan_sdk(replace(LINK, account="amzn1.account.ANNA"), UNIT, world.config))

    backups = {path.name: path.read_bytes() for path in world.client.glob("lwa*backup*")}
    assert backups == {
        f"{world.lwa.name}.device-auth-backup-1": first,
        f"{world.lwa.name}.device-auth-backup-2": second,
    }
    assert {mode_of(world.client / name) for name in backups} == {0o600}


def test_nothing_is_left_beside(world: ExportWorld) -> None:
    (world.client / f"{world.lwa.name}.device-auth-new").write_bytes(b"of one that was killed")

    carry_out(plan(world))

    assert set(world.files()) == {world.config.name, world.lwa.name, world.misc.name}


def test_a_relative_path_is_where_the_command_was_given(
    world: ExportWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.client)

    made = plan_json(LINK, UNIT, Path("link.json"))

    assert made.files[0].old.path == world.client / "link.json"


def open_the_way_to(folder: Path) -> None:
    """Let other users look into a folder, and get to it."""
    for each in (folder, *folder.parents):
        mode = stat.S_IMODE(each.stat().st_mode)
        if not mode & stat.S_IXOTH:
            each.chmod(mode | 0o055)


@is_root
def test_the_new_file_belongs_to_whom_the_old_one_belonged(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    os.chown(world.lwa, NOBODY, NOBODY)

    carry_out(plan(world))

    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in world.client.glob("lwa*")}
    assert owners == {
        world.lwa.name: (NOBODY, NOBODY),
        f"{world.lwa.name}.device-auth-backup-1": (NOBODY, NOBODY),
    }


@is_root
def test_a_first_file_belongs_to_whom_its_folder_belongs(world: ExportWorld) -> None:
    os.chown(world.client, NOBODY, NOBODY)

    carry_out(plan(world))

    assert world.lwa.stat().st_uid == NOBODY


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@is_root
def test_a_file_that_its_owner_could_not_read_any_more_is_not_written(tmp_path: Path) -> None:
    open_the_way_to(tmp_path)
    path = tmp_path / "link.json"
    path.write_text("{}")
    path.chmod(0o644)

    with another_user(), pytest.raises(StoreError, match="belongs to another user") as caught:
        plan_json(LINK, UNIT, path)

    assert "sudo" in caught.value.hint


@is_root
def test_whose_a_first_file_in_anothers_folder_will_be_is_told(tmp_path: Path) -> None:
    open_the_way_to(tmp_path)

    with another_user():
        made = plan_json(LINK, UNIT, tmp_path / "link.json")

    assert made.all_warnings() == [
        f"{tmp_path}/link.json will belong to you, but its folder to another user (uid 0)."
    ]


@is_root
def test_a_folder_that_may_not_be_written_is_told_and_nothing_changes(world: ExportWorld) -> None:
    open_the_way_to(world.client)
    world.config.chmod(0o644)
    made = plan(world)
    before = world.files()

    with another_user(), pytest.raises(StoreError, match="permission denied"):
        carry_out(made)

    assert world.files() == before


# -- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.symlink_to("elsewhere"), "not a plain file"),
        (Path.mkdir, "not a plain file"),
        (os.mkfifo, "not a plain file"),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), LARGEST_FILE + 1), "too large"),
        (lambda path: path.parent.chmod(0o777), "anyone may put files"),
        (lambda path: path.parent.rmdir(), "there is no folder"),
    ],
)
def test_what_is_no_place_for_a_secret_is_refused(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "client" / "link.json"
    path.parent.mkdir()
    make(path)

    with pytest.raises(DeviceAuthError, match=message):
        look_at(path)


def test_a_path_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="not a folder"):
        look_at(tmp_path / "file" / "link.json")


def test_the_clients_configuration_must_be_a_file_that_is_there(world: ExportWorld) -> None:
    world.config.rename(world.client / "real")
    with pytest.raises(ConfigError, match="there is no file"):
        plan(world)
    world.config.symlink_to("real")
    with pytest.raises(ConfigError, match="not a plain file"):
        plan(world)
    with pytest.raises(StoreError, match="cannot read"):
        plan_sdk(LINK, UNIT, world.client / "real" / "config.json")


# -- who has it open


def test_a_file_that_another_process_has_open_is_left_alone(world: ExportWorld) -> None:
    path = world.client / "link.json"
    path.write_bytes(b"")
    made = plan_json(LINK, UNIT, path)

    with held_open(path) as pid, pytest.raises(Busy, match=rf"{path} is open in process {pid} \(python"):
        check_unused(identities(made))
    check_unused(identities(made))


def test_a_database_that_another_process_has_open_is_left_alone(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    made = plan(world)

    with held_open(world.lwa, "SELECT 1") as pid, pytest.raises(Busy, match=f"open in process {pid}"):
        check_unused(identities(made))


def test_what_sqlite_keeps_beside_counts_as_the_database(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    made = plan(world)
    beside = world.lwa.with_name(f"{world.lwa.name}-wal")
    beside.touch()

    with held_open(beside), pytest.raises(Busy, match=str(world.lwa)):
        check_unused(identities(made))


def test_a_client_that_comes_to_use_its_database_meanwhile_is_left_alone(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    made = plan(world)
    before = world.files()

    with held_open(world.lwa, "BEGIN IMMEDIATE"), pytest.raises(Busy, match="locked"):
        carry_out(made)

    assert set(world.files()) - {f"{world.lwa.name}-journal"} == set(before)
    assert world.lwa.read_bytes() == before[world.lwa.name]


def test_what_a_client_wrote_meanwhile_is_not_overwritten(world: ExportWorld) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    made = plan(world)
    make_database(world.lwa, "INSERT INTO alerts VALUES (7)")
    before = world.files()

    with pytest.raises(Busy, match="changed just now"):
        carry_out(made)

    assert world.files() == before


def test_a_file_that_came_or_changed_meanwhile_is_not_overwritten(world: ExportWorld) -> None:
    path = world.client / "link.json"
    made = plan_json(LINK, UNIT, path)
    path.write_text("{}")

    with pytest.raises(Busy, match="changed just now"):
        carry_out(made)

    assert path.read_text() == "{}"


def test_a_folder_that_is_exchanged_meanwhile_is_left_alone(world: ExportWorld) -> None:
    made = plan(world)
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    world.client.rename(world.folder / "former")
    world.client.symlink_to(elsewhere)

    with pytest.raises(Busy, match="became another folder just now"):
        carry_out(made)

    assert list(elsewhere.iterdir()) == []


@is_root
def test_a_file_that_came_to_belong_to_another_user_meanwhile_is_not_overwritten(world: ExportWorld) -> None:
    path = world.client / "link.json"
    carry_out(plan_json(LINK, UNIT, path))
    made = plan_json(make_link(generation=2), UNIT, path)
    os.chown(path, NOBODY, NOBODY)

    with pytest.raises(Busy, match="changed just now"):
        carry_out(made)


def test_a_database_that_cannot_be_locked_is_told(world: ExportWorld) -> None:
    world.lwa.mkdir()

    with pytest.raises(StoreError, match="cannot lock"):
        check_unlocked(world.lwa, b"")


def test_a_disk_that_gives_back_something_else_is_found_out(
    world: ExportWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.client / "link.json"
    made = plan_json(LINK, UNIT, path)
    rename = os.rename

    def rename_and_rot(name: str, other: str, **folders: int) -> None:
        rename(name, other, **folders)
        path.write_bytes(b"\0" * 100)

    monkeypatch.setattr(os, "rename", rename_and_rot)

    with pytest.raises(StoreError, match="does not read back"):
        carry_out(made)


def test_a_folder_that_is_gone_meanwhile_is_told(world: ExportWorld) -> None:
    made = plan_json(LINK, UNIT, world.client / "link.json")
    world.client.rename(world.folder / "moved")

    with pytest.raises(StoreError, match="cannot write"):
        carry_out(made)


def test_a_rename_that_is_refused_is_told(world: ExportWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan_json(LINK, UNIT, world.client / "link.json")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)

    with pytest.raises(StoreError, match="read-only"):
        carry_out(made)


FULL = """
set -e
mount -t tmpfs -o size=64k,mode=700 none "$1/client"
cp "$1"/kept/* "$1/client"
dd if=/dev/zero of="$1/client/filler" bs=1k count=100 2> /dev/null || true
before=$(cd "$1/client" && sha256sum *)
code=0
shift
"$@" || code=$?
cd "$FOLDER/client"
test "$before" = "$(sha256sum *)" || exit 99
exit $code
"""


def test_a_full_disk_is_told_and_both_sides_are_as_they_were(world: ExportWorld) -> None:
    link = world.link()
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")
    world.client.rename(world.folder / "kept")
    world.client.mkdir()
    command = [sys.executable, "-m", "device_auth", "export", "avs-device-sdk", "--to", str(world.config)]
    places = ["--state-dir", str(world.state), "--runtime-dir", str(world.folder / "run")]

    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", str(world.folder), *command, *places],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "FOLDER": str(world.folder)},
    )

    if "unshare" in ran.stderr or "mount" in ran.stderr:
        pytest.skip("this machine lets us mount nothing")
    assert ran.returncode == 74, ran.stderr
    assert "the disk is full" in ran.stderr
    assert TOKEN not in ran.stderr
    assert world.stored() == link
