import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Mark, Secret, UnixTime, hand_over
from device_auth.world.envelope import Damaged, Plain, write_envelope
from device_auth.world.store import DAMAGED, MOST_KEPT, NEWEST, PREVIOUS, FileStore
from tests.keys import make_key
from tests.links import make_link

ANNA_1, ANNA_2, BERTA = make_link(), make_link(generation=2), make_link("berta")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(folder: Path) -> Iterator[FileStore]:
    with FileStore(folder) as store:
        yield store


@pytest.fixture
def anna_twice(store: FileStore) -> FileStore:
    """Hold two generations of one link."""
    store.replace(ANNA_1)
    store.save(ANNA_2)
    return store


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def envelope(link: Link) -> bytes:
    return write_envelope(link, Plain())


# ---------------------------------------------------------------------------------------------------------
# What lies in the folder


def test_reading_where_nothing_is_makes_nothing(folder: Path) -> None:
    assert FileStore(folder).read() is None
    assert not folder.exists()


def test_nobody_else_may_look_at_what_is_stored(folder: Path) -> None:
    umask = os.umask(0)
    try:
        with FileStore(folder) as store:
            store.replace(ANNA_1)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NEWEST).stat().st_mode) == 0o600


def test_a_umask_that_forbids_everything_does_not_lock_us_out(folder: Path) -> None:
    umask = os.umask(0o777)
    try:
        with FileStore(folder) as store:
            store.replace(ANNA_1)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NEWEST).stat().st_mode) == 0o600


def test_two_generations_are_kept_and_nothing_else(folder: Path, anna_twice: FileStore) -> None:
    anna_twice.save(make_link(generation=3))

    assert contents(folder) == {NEWEST: envelope(make_link(generation=3)), PREVIOUS: envelope(ANNA_2)}


def test_the_same_link_is_not_written_again(folder: Path, anna_twice: FileStore) -> None:
    before = (folder / NEWEST).stat()

    anna_twice.save(ANNA_2)

    assert (folder / NEWEST).stat() == before


def test_another_link_leaves_no_generation_of_the_former_one(folder: Path, anna_twice: FileStore) -> None:
    anna_twice.replace(BERTA)

    assert contents(folder) == {NEWEST: envelope(BERTA)}


def test_once_the_former_owner_is_left_behind_no_byte_of_theirs_stays(folder: Path, store: FileStore) -> None:
    store.replace(ANNA_1)
    store.replace(replace(BERTA, replaces=ANNA_1))
    store.save(replace(BERTA, replaces=ANNA_1, mark=Mark.MISCONFIGURED, marked_at=UnixTime(1.9e9)))

    store.save(replace(BERTA, is_proved=True))

    assert not any(b"anna" in content for content in contents(folder).values())


def test_a_link_that_was_handed_over_leaves_no_generation_that_could_be_used(
    folder: Path, anna_twice: FileStore
) -> None:
    handed_over = hand_over(ANNA_2, "json, /etc/client.json", UnixTime(1.9e9))

    anna_twice.save(handed_over)

    assert contents(folder) == {NEWEST: envelope(handed_over)}


def test_a_link_that_was_handed_over_leaves_no_token_in_what_was_set_aside(
    folder: Path, anna_twice: FileStore
) -> None:
    (folder / NEWEST).write_bytes(envelope(ANNA_2).replace(b"alexa:all", b"alexa:ill"))
    assert anna_twice.read() == ANNA_1
    assert DAMAGED + "1" in names(folder)

    anna_twice.save(hand_over(ANNA_1, "json", UnixTime(1.9e9)))

    assert names(folder) == {NEWEST}


def test_an_erased_store_leaves_an_empty_folder(folder: Path, anna_twice: FileStore) -> None:
    (folder / f"{NEWEST}.damaged-1").write_bytes(b"rotten")

    anna_twice.erase()

    assert names(folder) == set()


def test_a_proof_leaves_nothing_behind(folder: Path, store: FileStore) -> None:
    store.prove_writable()

    assert names(folder) == set()


def test_what_a_killed_writer_left_is_cleared_away(folder: Path) -> None:
    folder.mkdir(0o700)
    (folder / f"{NEWEST}.new").write_bytes(b"half a li")
    (folder / f"{PREVIOUS}.new").write_bytes(b"a second name")

    with FileStore(folder) as store:
        store.prove_writable()

    assert names(folder) == set()


def test_two_names_of_one_file_as_a_killed_writer_leaves_them_are_no_obstacle(
    folder: Path, anna_twice: FileStore
) -> None:
    (folder / PREVIOUS).unlink()
    (folder / PREVIOUS).hardlink_to(folder / NEWEST)

    anna_twice.save(make_link(generation=3))

    assert contents(folder) == {NEWEST: envelope(make_link(generation=3)), PREVIOUS: envelope(ANNA_2)}


def test_a_link_too_large_to_be_read_again_is_not_written(folder: Path, anna_twice: FileStore) -> None:
    before = contents(folder)

    with pytest.raises(StoreError, match="too large"):
        anna_twice.save(replace(ANNA_1, refresh_token=Secret("x" * 70000)))

    assert contents(folder) == before


# ---------------------------------------------------------------------------------------------------------
# Damage


def test_a_damaged_link_gives_way_to_the_generation_before(folder: Path, anna_twice: FileStore) -> None:
    (folder / NEWEST).write_bytes(b"rotten")

    assert anna_twice.read() == ANNA_1
    assert contents(folder) == {NEWEST: envelope(ANNA_1), f"{NEWEST}.damaged-1": b"rotten"}


def test_a_missing_link_gives_way_to_the_generation_before(folder: Path, anna_twice: FileStore) -> None:
    (folder / NEWEST).unlink()

    assert anna_twice.read() == ANNA_1
    assert names(folder) == {NEWEST}


@pytest.mark.usefixtures("anna_twice")
def test_without_the_lock_damage_is_read_around_but_not_touched(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / NEWEST).write_bytes(b"rotten")
    before = contents(folder)

    assert FileStore(folder).read() == ANNA_1
    assert contents(folder) == before
    assert "the previous generation" in caplog.text
    assert "canary" not in caplog.text


def test_without_the_lock_nothing_is_set_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / NEWEST).write_bytes(b"rotten")

    with pytest.raises(Damaged, match=r"link\.json does not verify: it is not JSON"):
        FileStore(folder).read()

    assert contents(folder) == {NEWEST: b"rotten"}


@pytest.mark.parametrize("previous", [None, b"rotten too"], ids=["no generation before", "both damaged"])
def test_damage_with_nothing_to_fall_back_on_is_told_once_and_kept(
    folder: Path, store: FileStore, previous: bytes | None
) -> None:
    (folder / NEWEST).write_bytes(b"rotten")
    if previous is not None:
        (folder / PREVIOUS).write_bytes(previous)

    with pytest.raises(Damaged) as caught:
        store.read()

    assert caught.value.hint == "Link the speaker again: device-auth link"
    assert store.read() is None
    kept = {path.read_bytes() for path in folder.iterdir()}
    assert kept == {b"rotten"} | ({previous} if previous else set())


def test_a_damaged_link_never_gives_way_to_another_owners(folder: Path, store: FileStore) -> None:
    damaged = envelope(BERTA).replace(b"berta-1", b"berta-7")
    (folder / NEWEST).write_bytes(damaged)
    (folder / PREVIOUS).write_bytes(envelope(ANNA_1))

    with pytest.raises(Damaged, match="checksum"):
        store.read()

    assert store.read() is None
    assert contents(folder) == {
        f"{NEWEST}.damaged-1": envelope(ANNA_1),
        f"{NEWEST}.damaged-2": damaged,
    }


def test_a_handful_of_damaged_files_is_kept(folder: Path, store: FileStore) -> None:
    for number in range(MOST_KEPT + 2):
        (folder / NEWEST).write_bytes(b"rotten %d" % number)
        with pytest.raises(Damaged):
            store.read()

    kept = sorted(contents(folder).values())
    assert kept == [b"rotten 0", b"rotten 1", b"rotten 2", b"rotten 3", b"rotten 6"]


def test_damage_that_cannot_be_set_aside_is_read_around(
    folder: Path, anna_twice: FileStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST_KEPT):
        (folder / f"{NEWEST}.damaged-{number + 1}").mkdir()
    (folder / NEWEST).write_bytes(b"rotten")

    with caplog.at_level(logging.WARNING):
        found = anna_twice.read()

    assert found == ANNA_1
    assert "cannot set a damaged file" in caplog.text
    with pytest.raises(StoreError, match=r"cannot write .*link\.json"):
        anna_twice.save(ANNA_2)


def test_another_link_is_stored_over_damage_which_is_kept(folder: Path, store: FileStore) -> None:
    (folder / NEWEST).write_bytes(b"rotten")

    store.replace(BERTA)

    assert contents(folder) == {NEWEST: envelope(BERTA), f"{NEWEST}.damaged-1": b"rotten"}


def test_damage_is_erased(folder: Path, store: FileStore) -> None:
    (folder / NEWEST).write_bytes(b"rotten")

    store.erase()

    assert names(folder) == set()


# ---------------------------------------------------------------------------------------------------------
# What is not for us


def newer() -> bytes:
    return envelope(ANNA_1).replace(b'"version": 1', b'"version": 3')


def sealed_elsewhere() -> bytes:
    return write_envelope(ANNA_1, make_key("rpi-fw-crypto"))


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (newer(), "of version 3, and this program knows version 2", "newer device-auth"),
        (sealed_elsewhere(), "the key is held by the service", "Start the service"),
    ],
    ids=["newer", "sealed elsewhere"],
)
@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.read(),
        lambda store: store.save(ANNA_2),
        lambda store: store.replace(BERTA),
    ],
    ids=["read", "save", "replace"],
)
@pytest.mark.parametrize("name", [NEWEST, PREVIOUS])
def test_what_is_not_for_us_is_refused_and_not_touched(
    folder: Path,
    store: FileStore,
    content: bytes,
    message: str,
    hint: str,
    act: Callable[[FileStore], object],
    name: str,
) -> None:
    (folder / NEWEST).write_bytes(b"rotten")
    (folder / PREVIOUS).write_bytes(envelope(ANNA_1))
    (folder / name).write_bytes(content)
    before = contents(folder)

    with pytest.raises(StoreError, match=message) as caught:
        act(store)

    assert hint in caught.value.hint
    assert contents(folder) == before


# ---------------------------------------------------------------------------------------------------------
# What is not a file, and folders that are not safe


@pytest.mark.parametrize(
    "name", [NEWEST, f"{NEWEST}.new", PREVIOUS, f"{PREVIOUS}.new", f"{NEWEST}.damaged-1"]
)
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, folder: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    with FileStore(folder) as store:
        store.replace(ANNA_1)
        store.save(ANNA_2)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(elsewhere)
    with FileStore(folder) as store:
        store.prove_writable()
        store.save(make_link(generation=3))
        store.replace(BERTA)

    assert elsewhere.read_bytes() == b"precious"
    assert FileStore(folder).read() == BERTA


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir], ids=["pipe", "folder"])
def test_what_is_not_a_file_is_neither_waited_for_nor_taken_for_a_link(
    folder: Path, store: FileStore, make: Callable[[Path], None]
) -> None:
    make(folder / NEWEST)

    with pytest.raises(Damaged, match="is not a file"):
        store.read()

    assert names(folder) == {f"{NEWEST}.damaged-1"}


def test_a_socket_is_not_taken_for_a_link(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / NEWEST))

        with pytest.raises(Damaged, match="is not a file"):
            FileStore(tmp_path).read()


def test_a_folder_reached_over_a_symbolic_link_is_used(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "private").mkdir(0o700)
    folder.symlink_to(tmp_path / "private")

    with FileStore(folder) as store:
        store.replace(ANNA_1)

    assert names(tmp_path / "private") == {NEWEST}


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)

    with (
        pytest.raises(StoreError, match=r"others may write to it \(mode 0770\)") as caught,
        FileStore(folder),
    ):
        pass

    assert "chmod go-w" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, -1)

    with pytest.raises(StoreError, match=r"belongs to another user \(uid 65534\)"), FileStore(folder):
        pass


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"")

    with pytest.raises(StoreError, match="not a folder"), FileStore(tmp_path / "state"):
        pass
    with pytest.raises(StoreError, match="not a folder"):
        FileStore(tmp_path / "state").read()


# ---------------------------------------------------------------------------------------------------------
# The lock


@pytest.mark.usefixtures("store")
def test_a_second_writer_is_kept_out_and_told_who_is_in(folder: Path) -> None:
    with (
        pytest.raises(StoreError, match=rf"is in use by process {os.getpid()} \(") as caught,
        FileStore(folder),
    ):
        pass

    assert caught.value.exit_code == 74
    assert "Wait" in caught.value.hint


def test_the_lock_ends_with_the_context_and_leaves_no_file(folder: Path) -> None:
    with FileStore(folder):
        pass

    with FileStore(folder) as store:
        store.prove_writable()
    assert names(folder) == set()


def test_one_store_may_be_locked_again(folder: Path) -> None:
    store = FileStore(folder)
    with store:
        store.replace(ANNA_1)

    with store:
        store.save(ANNA_2)
    assert store.read() == ANNA_2
