"""Root runs a verb on files of two other users, of whom one is hostile: root does nobody's errand."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from device_auth.core.models import Mark, Secret
from tests.client_readers import Sdk, start_1_26
from tests.command import started
from tests.export_world import TOKEN, ExportWorld
from tests.waiting import LONG

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SERVICE: Final = 65534
CLIENT: Final = 12345
"""A user whom the machine does not know by name."""

ROUNDS: Final = 50

HALF_A_TURN: Final = 1000
"""Looks at a file, some milliseconds: the journal is there half the time, so each order of events occurs."""

JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
SECTOR: Final = 512
PAGE: Final = 4096
LOCK_PAGE: Final = 0x40000000 // PAGE + 1


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    folder = Path(mkdtemp(prefix="device-auth-root-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def world(place: Path) -> ExportWorld:
    world = ExportWorld(place)
    world.configure()
    world.link()
    give(world.state, SERVICE)
    give(world.client, CLIENT)
    return world


@pytest.fixture
def treasure(place: Path) -> Path:
    """A file that root alone may write, in a folder of root's."""
    path = place / "roots" / "treasure"
    path.parent.mkdir(0o755)
    path.write_text("root's own")
    return path


def give(top: Path, uid: int) -> None:
    for path in (top, *top.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def as_root(world: ExportWorld, *words: str) -> tuple[int, str]:
    """Run a verb as root; return its exit code and what it wrote."""
    places = ("--state-dir", str(world.state), "--runtime-dir", str(world.folder / "run"))
    with started(*words, *places) as process:
        out, err = process.communicate(timeout=LONG)
    return process.returncode, out + err


def export(world: ExportWorld, *words: str) -> tuple[int, str]:
    named = ("--product-id", "kitchen", "--dsn", "K-0001")
    return as_root(world, "export", "avs-device-sdk", "--to", str(world.config), *named, *words)


def test_each_users_files_stay_that_users(world: ExportWorld) -> None:
    exit_code, told = export(world)

    assert (exit_code, told.splitlines()[0]) == (0, f"moved to {world.misc}, {world.lwa}, {world.cbl}")
    stored = world.stored()
    assert stored is not None
    assert stored.mark is Mark.HANDED_OVER
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN)
    assert {path.stat().st_uid for path in world.state.iterdir()} == {SERVICE}
    assert {path.stat().st_uid for path in world.client.iterdir()} == {CLIENT}


def test_a_path_of_the_clients_into_a_folder_of_roots_leads_nowhere(
    world: ExportWorld, treasure: Path
) -> None:
    outside = treasure.with_name("cblAuthDelegate.db")
    world.configure(cblAuthDelegate={"databaseFilePath": str(outside)})
    give(world.client, CLIENT)

    exit_code, told = export(world)

    assert exit_code == 74
    assert "permission denied" in told.lower()
    assert not outside.exists()
    stored = world.stored()
    assert stored is not None
    assert stored.mark is None


def test_a_configuration_of_roots_leads_to_the_databases_of_the_client(world: ExportWorld) -> None:
    config = world.folder / "etc" / "AlexaClientSDKConfig.json"
    config.parent.mkdir()
    shutil.copy(world.config, config)

    assert as_root(world, "export", "avs-device-sdk", "--to", str(config))[0] == 0
    assert {path.stat().st_uid for path in world.client.iterdir()} == {CLIENT}


def hot_journal(victim: Path, pages: int) -> bytes:
    """Return a journal whose rollback ends with the removal of another file. Source: SQLite "File Format" §3."""
    name = bytes(victim)
    header = JOURNAL_MAGIC + struct.pack(">IIIII", 0, 0, pages, SECTOR, PAGE)
    checksum = sum(name) & 0xFFFFFFFF
    record = struct.pack(">I", LOCK_PAGE) + name + struct.pack(">II", len(name), checksum) + JOURNAL_MAGIC
    return header.ljust(SECTOR, b"\0") + record


@contextmanager
def hostile(uid: int, act: Callable[[], None]) -> Iterator[None]:
    """Let another user act as fast as he can meanwhile."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            while True:
                with suppress(OSError):
                    act()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.slow
def test_a_journal_that_appears_meanwhile_removes_no_file_of_roots(
    world: ExportWorld, treasure: Path
) -> None:
    assert export(world, "--copy")[0] == 0
    content = hot_journal(treasure, world.cbl.stat().st_size // PAGE)
    journal = world.cbl.with_name("cblAuthDelegate.db-journal")
    fresh = world.client / "fresh"

    def swap() -> None:
        fresh.write_bytes(content)
        for _ in range(HALF_A_TURN):
            fresh.stat()
        fresh.rename(journal)
        for _ in range(HALF_A_TURN):
            journal.stat()
        journal.unlink()

    refused = 0
    with hostile(CLIENT, swap):
        for number in range(ROUNDS):
            give(world.state, 0)
            world.link(refresh_token=Secret(f"Atzr|canary-{number}"))
            give(world.state, SERVICE)
            refused += export(world, "--copy")[0] != 0

    assert treasure.read_text() == "root's own"
    assert refused < ROUNDS


@pytest.mark.slow
def test_a_folder_that_is_swapped_for_a_link_leads_root_nowhere(world: ExportWorld, treasure: Path) -> None:
    before = sorted(os.listdir(treasure.parent))  # noqa: PTH208  the names alone
    (world.client / "here").mkdir()
    give(world.client, CLIENT)
    to, aside = world.client / "here" / "link.json", world.client / "aside"

    def swap() -> None:
        to.parent.rename(aside)
        to.parent.symlink_to(treasure.parent)
        to.parent.unlink()
        aside.rename(to.parent)

    with hostile(CLIENT, swap):
        for _ in range(ROUNDS):
            as_root(world, "export", "json", "--copy", "--to", str(to))

    assert sorted(os.listdir(treasure.parent)) == before  # noqa: PTH208
    assert treasure.read_text() == "root's own"


def test_the_report_is_written_with_the_rights_of_its_folders_owner(
    world: ExportWorld, treasure: Path
) -> None:
    (world.client / "reports").symlink_to(treasure.parent)
    give(world.client, CLIENT)
    outside = world.client / "reports" / "report.txt"

    exit_code, told = as_root(world, "doctor", "--report", str(outside))

    assert (exit_code, outside.exists()) == (74, False)
    assert "permission denied" in told.lower()


def test_the_report_belongs_to_the_owner_of_its_folder(world: ExportWorld) -> None:
    report = world.client / "report.txt"

    as_root(world, "doctor", "--report", str(report))

    assert report.stat().st_uid == CLIENT
    assert "device-auth" in report.read_text()


@pytest.mark.parametrize("words", [(), ("--wipe",)])
def test_root_unlinks_the_services_link_while_the_service_stands_still(
    world: ExportWorld, words: tuple[str, ...]
) -> None:
    exit_code, told = as_root(world, "unlink", "--json", *words)

    assert exit_code == 0, told
    assert json.loads(told.splitlines()[0])["state"] == "unlinked"
    assert world.stored() is None
    assert {path.stat().st_uid for path in world.state.iterdir()} <= {SERVICE}
