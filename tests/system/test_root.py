"""Root runs a verb on files of two other users, of whom one is hostile: root does nobody's errand."""

import json
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Flow, Mark, Secret
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import serve
from device_auth.world.files import OwnersFile
from device_auth.world.store import FileStore
from tests.client_readers import Sdk, read_respeaker, start_1_26
from tests.command import Command, started
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

    assert (exit_code, told.splitlines()[0]) == (0, f"moved to {world.misc}, {world.lwa}")
    stored = world.stored()
    assert stored is not None
    assert stored.mark is Mark.HANDED_OVER
    assert start_1_26(world.lwa, world.misc) == Sdk(TOKEN)
    assert {path.stat().st_uid for path in world.state.iterdir()} == {SERVICE}
    assert {path.stat().st_uid for path in world.client.iterdir()} == {CLIENT}


def test_the_clients_file_with_the_secret_stays_that_users(world: ExportWorld) -> None:
    give(world.state, 0)
    world.link(flow=Flow.AUTHORIZATION_CODE, takes_secret=True)
    give(world.state, SERVICE)
    secret, to = world.folder / "secret", world.client / ".avs.json"
    secret.write_text("client-secret")
    secret.chmod(0o600)
    words = ("--product-id", "kitchen", "--client-secret-file", str(secret))

    exit_code, told = as_root(world, "export", "respeaker", "--to", str(to), *words)

    assert (exit_code, told.splitlines()[0]) == (0, f"moved to {to}")
    assert (to.stat().st_uid, to.stat().st_mode & 0o777) == (CLIENT, 0o600)
    assert read_respeaker(to)["client_secret"] == "client-secret"


def test_a_path_of_the_clients_into_a_folder_of_roots_leads_nowhere(
    world: ExportWorld, treasure: Path
) -> None:
    outside = treasure.with_name("lwaAuthorizationAdapter.db")
    world.configure(lwaAuthorization={"databaseFilePath": str(outside)})
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
    content = hot_journal(treasure, world.lwa.stat().st_size // PAGE)
    journal = world.lwa.with_name(f"{world.lwa.name}-journal")
    fresh = world.client / "fresh"

    def swap() -> None:
        fresh.write_bytes(content)
        for _ in range(HALF_A_TURN):
            fresh.stat()
        fresh.rename(journal)
        for _ in range(HALF_A_TURN):
            journal.stat()
        journal.unlink()

    with hostile(CLIENT, swap):
        for number in range(ROUNDS):
            give(world.state, 0)
            world.link(refresh_token=Secret(f"Atzr|canary-{number}"))
            give(world.state, SERVICE)
            export(world, "--copy")  # refused whenever a journal lies there, on a busy machine each time

    assert treasure.read_text() == "root's own"
    journal.unlink(missing_ok=True)
    assert export(world, "--copy")[0] == 0


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


# -- files that the command line names


@pytest.fixture
def here(world: ExportWorld) -> Path:
    """A folder of the client's, which he can swap for a link to another."""
    folder = world.client / "here"
    folder.mkdir()
    give(world.client, CLIENT)
    return folder


@contextmanager
def swapped(here: Path, treasure: Path) -> Iterator[None]:
    """Let its owner swap a folder for a link to one of root's, all the time; see that root changes nothing there."""
    aside = here.with_name("aside")

    def swap() -> None:
        here.rename(aside)
        here.symlink_to(treasure.parent)
        for _ in range(HALF_A_TURN):
            here.stat()
        here.unlink()
        aside.rename(here)
        for _ in range(HALF_A_TURN):
            here.stat()

    before = treasure.parent.stat().st_mtime_ns
    with hostile(CLIENT, swap):
        yield
    assert treasure.read_text() == "root's own"
    assert treasure.parent.stat().st_mtime_ns == before, "a name was made or removed"


@pytest.mark.slow
def test_a_folder_that_is_swapped_leads_no_settings_elsewhere(
    world: ExportWorld, here: Path, treasure: Path
) -> None:
    words = ("config", "init", "--force", "--config", str(here / "treasure"))
    with swapped(here, treasure):
        codes = {as_root(world, *words)[0] for _ in range(ROUNDS)}

    assert codes == {0, 78}


@pytest.mark.slow
def test_a_folder_that_is_swapped_leads_no_picture_elsewhere(here: Path, treasure: Path) -> None:
    treasure = treasure.rename(treasure.with_name("treasure.svg"))
    codes = []
    with (
        swapped(here, treasure),  # it forks, which must come before any thread
        serve(Amazon(Options(interval=1, approve_after=0), clock=time.monotonic)) as running,
    ):
        command = Command(treasure.parent.parent / "ours", running)
        for _ in range(ROUNDS):
            codes.append(command.link("--again", "--qr-file", str(here / "treasure.svg")))  # noqa: PERF401  each as it ends

    assert 0 in codes
    assert set(codes) <= {0, 78}


@pytest.mark.slow
def test_a_folder_that_is_swapped_leads_no_test_of_the_store_elsewhere(here: Path, treasure: Path) -> None:
    with swapped(here, treasure):
        for _ in range(ROUNDS * ROUNDS):
            with suppress(StoreError), FileStore(here, for_owner=True) as store:
                store.prove_writable()


def test_a_picture_belongs_to_the_owner_of_its_folder(here: Path) -> None:
    file = OwnersFile(here / "code.svg")
    file.prove()
    file.write(b"<svg/>")

    assert (file.path.stat().st_uid, file.path.stat().st_mode & 0o777) == (CLIENT, 0o600)
    file.remove()
    assert list(here.iterdir()) == []


SECRET_SETTINGS: Final = 'canary_name = "canary value"\n'

READERS: Final = ("--config", "--ca-file", "--client-secret-file")


@pytest.mark.parametrize("option", READERS)
def test_root_reads_nothing_that_the_owner_of_the_path_could_not(
    world: ExportWorld, treasure: Path, option: str
) -> None:
    treasure.write_text(SECRET_SETTINGS)
    treasure.chmod(0o600)
    link = world.client / "file"
    link.symlink_to(treasure)
    give(world.client, CLIENT)

    exit_code, told = as_root(world, "config", "check", option, str(link))

    assert exit_code == 78
    assert f"permission denied to the user who may lead root elsewhere (uid {CLIENT})" in told
    assert "canary" not in told


@pytest.mark.parametrize("option", READERS)
def test_root_waits_for_no_pipe(world: ExportWorld, option: str) -> None:
    pipe = world.client / "pipe"
    os.mkfifo(pipe)
    give(world.client, CLIENT)

    exit_code, told = as_root(world, "config", "check", option, str(pipe))

    assert (exit_code, "not a file" in told) == (78, True)


def test_an_identity_that_is_a_pipe_keeps_root_not_waiting(world: ExportWorld) -> None:
    give(world.state, 0)
    world.link(dsn="K-0001")  # which the identity is compared with
    os.mkfifo(world.state / "identity.toml")
    give(world.state, SERVICE)

    assert as_root(world, "status")[0] == 0


@pytest.mark.slow
def test_a_settings_file_that_is_swapped_shows_root_alone_nothing(world: ExportWorld, treasure: Path) -> None:
    treasure.write_text(SECRET_SETTINGS)
    treasure.chmod(0o600)
    config, fresh = world.client / "config.toml", world.client / "fresh"

    def swap() -> None:
        fresh.write_text('client_id = "client"\n')
        fresh.rename(config)
        for _ in range(HALF_A_TURN):
            config.stat()
        fresh.symlink_to(treasure)
        fresh.rename(config)
        for _ in range(HALF_A_TURN):
            config.lstat()

    codes = []
    with hostile(CLIENT, swap):
        for _ in range(ROUNDS):
            exit_code, told = as_root(world, "config", "show", "--config", str(config))
            codes.append(exit_code)
            assert "canary" not in told

    assert set(codes) == {0, 78}


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_root_reads_what_everybody_may(world: ExportWorld, treasure: Path, mode: int) -> None:
    treasure.write_text('client_id = "client"\n')
    treasure.chmod(0o644)
    treasure.parent.chmod(0o755 if mode == 0o644 else 0o700)
    config = world.client / "config.toml"
    config.symlink_to(treasure)
    give(world.client, CLIENT)

    exit_code, told = as_root(world, "config", "show", "--config", str(config))

    assert exit_code == (0 if mode == 0o644 else 78), told


def test_root_writes_into_no_light_that_another_users_settings_name(
    world: ExportWorld, treasure: Path
) -> None:
    light = world.client / "leds" / "ACT"
    light.mkdir(parents=True)
    (light / "max_brightness").write_text("1")
    (light / "trigger").write_text("none pattern")
    (light / "brightness").symlink_to(treasure)
    config = world.client / "config.toml"
    config.write_text(f'[hardware.light]\nkind = "kernel"\nname = "ACT"\ndirectory = "{light.parent}"\n')
    give(world.client, CLIENT)

    exit_code, told = as_root(world, "hardware", "test", "--expect", "--config", str(config))

    assert treasure.read_text() == "root's own"
    assert exit_code == 78
    assert "light.directory names a program or a file" in told


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
