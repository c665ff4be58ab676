import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError, KeyLost, NotSealed, StoreError
from device_auth.core.models import Link, Mark, Secret, UnixTime, hand_over
from device_auth.world.envelope import EnvelopeDamaged, KeyMissing, KeyProvider, Plain, write_envelope
from device_auth.world.keys import Keys, KeyTrouble
from device_auth.world.places import SIMULATED
from device_auth.world.sealing import SealingKey
from device_auth.world.store import DAMAGED, MOST_KEPT, NEWEST, PREVIOUS, FileStore
from tests.keys import key_of, keys_of, make_key
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

    after = (folder / NEWEST).stat()  # but for when it was read last
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


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


def test_proof_new_link_and_its_next_generation_wait_six_times_for_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(0o700)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    with FileStore(folder) as store:
        store.prove_writable()
        store.replace(ANNA_1)
        store.save(ANNA_2)

    assert len(synced) == 6


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

    with pytest.raises(EnvelopeDamaged, match=r"link\.json does not verify: it is not JSON"):
        FileStore(folder).read()

    assert contents(folder) == {NEWEST: b"rotten"}


@pytest.mark.parametrize("previous", [None, b"rotten too"], ids=["no generation before", "both damaged"])
def test_damage_with_nothing_to_fall_back_on_is_told_once_and_kept(
    folder: Path, store: FileStore, previous: bytes | None
) -> None:
    (folder / NEWEST).write_bytes(b"rotten")
    if previous is not None:
        (folder / PREVIOUS).write_bytes(previous)

    with pytest.raises(EnvelopeDamaged) as caught:
        store.read()

    assert caught.value.hint == "Link the speaker again: device-auth link"
    assert store.read() is None
    kept = {path.read_bytes() for path in folder.iterdir()}
    assert kept == {b"rotten"} | ({previous} if previous else set())


def test_a_damaged_link_never_gives_way_to_another_owners(folder: Path, store: FileStore) -> None:
    damaged = envelope(BERTA).replace(b"berta-1", b"berta-7")
    (folder / NEWEST).write_bytes(damaged)
    (folder / PREVIOUS).write_bytes(envelope(ANNA_1))

    with pytest.raises(EnvelopeDamaged, match="checksum"):
        store.read()

    assert store.read() is None
    assert contents(folder) == {
        f"{NEWEST}.damaged-1": envelope(ANNA_1),
        f"{NEWEST}.damaged-2": damaged,
    }


def test_a_handful_of_damaged_files_is_kept(folder: Path, store: FileStore) -> None:
    for number in range(MOST_KEPT + 2):
        (folder / NEWEST).write_bytes(b"rotten %d" % number)
        with pytest.raises(EnvelopeDamaged):
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
    assert "cannot set aside a damaged file" in caplog.text
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
        (newer(), "has version 3; this program reads versions up to 2", "newer device-auth"),
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

    with pytest.raises(EnvelopeDamaged, match="is not a file"):
        store.read()

    assert names(folder) == {f"{NEWEST}.damaged-1"}


def test_a_socket_is_not_taken_for_a_link(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / NEWEST))

        with pytest.raises(EnvelopeDamaged, match="is not a file"):
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

    with (
        pytest.raises(StoreError, match=r"belongs to another user \(uid 65534\)") as caught,
        FileStore(folder),
    ):
        pass

    assert caught.value.hint.endswith(f"sudo -u '#65534' device-auth … --state-dir {folder}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_what_root_writes_for_the_owner_of_the_folder_is_the_owners(folder: Path) -> None:
    folder.mkdir(0o700)
    os.chown(folder, 65534, 65533)

    with FileStore(folder, for_owner=True) as store:
        store.prove_writable()
        store.replace(make_link())
        store.save(make_link(generation=2))

    assert FileStore(folder).read() == make_link(generation=2)
    assert {(found.stat().st_uid, found.stat().st_gid) for found in folder.iterdir()} == {(65534, 65533)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_not_even_for_its_owner_is_written_where_others_may_write(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, -1)
    folder.chmod(0o770)

    with pytest.raises(StoreError, match="others may write to it"), FileStore(folder, for_owner=True):
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

    assert caught.value.exit_code == 75
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


# ---------------------------------------------------------------------------------------------------------
# Keys


BEST, WORSE = make_key("systemd-credential"), make_key("key-file")


def under(folder: Path, *providers: KeyProvider, is_of_service: bool = False) -> FileStore:
    """Return a store of which the first provider seals."""
    keys = keys_of(*providers)
    return FileStore(folder, keys=lambda: keys, is_of_service=is_of_service)


def keys_in(folder: Path) -> dict[str, str]:
    """Return the key of each file."""
    return {path.name: key_of(path.read_bytes()) for path in folder.iterdir()}


def fill(folder: Path, *providers: KeyProvider) -> dict[str, bytes]:
    """Store two generations under the first of these."""
    with under(folder, *providers) as store:
        store.replace(ANNA_1)
        store.save(ANNA_2)
    return contents(folder)


PAIRS = [(BEST, WORSE), (BEST, Plain()), (WORSE, Plain())]
CHANGES = [*PAIRS, *((worse, better) for better, worse in PAIRS)]


@pytest.mark.parametrize(("after", "before"), CHANGES)
@pytest.mark.parametrize("act", ["save", "move", "replace"])
def test_what_is_written_is_under_the_first_key_and_nothing_stays_under_the_former(
    folder: Path, before: KeyProvider, after: KeyProvider, act: str
) -> None:
    fill(folder, before)

    with under(folder, after, before) as store:
        match act:
            case "save":
                store.save(make_link(generation=3))
            case "move" if before.name == "plain":
                assert store.seal() == after.name
            case "move":
                store.move_to_best_key()
            case _:
                store.replace(ANNA_2)

    assert keys_in(folder) == {NEWEST: after.name}
    assert under(folder, after).read() == (make_link(generation=3) if act == "save" else ANNA_2)


def test_a_link_without_a_key_is_sealed_and_that_is_said_quietly(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(folder, Plain())

    with caplog.at_level(logging.INFO), under(folder, BEST, Plain()) as store:
        store.seal()

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "the link was kept under plain, and is now kept under systemd-credential")
    ]


def test_a_link_that_is_laid_open_is_told_loudly(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(folder, BEST)

    with under(folder, Plain(), BEST) as store:
        store.move_to_best_key()

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "the link was kept under systemd-credential, and is now kept under plain")
    ]


def test_a_link_under_the_best_key_is_not_written_again(folder: Path) -> None:
    before = fill(folder, BEST)

    with under(folder, BEST, Plain()) as store:
        store.move_to_best_key()
        store.save(ANNA_2)

    assert contents(folder) == before


def test_what_a_kill_left_under_a_former_key_is_removed_at_the_next_start(folder: Path) -> None:
    fill(folder, BEST)
    (folder / PREVIOUS).write_bytes(envelope(ANNA_2))

    with under(folder, BEST, Plain()) as store:
        store.move_to_best_key()

    assert keys_in(folder) == {NEWEST: BEST.name}


@pytest.mark.parametrize("content", [None, b"rotten"], ids=["nothing", "damage"])
def test_nothing_is_moved_where_there_is_no_link(folder: Path, content: bytes | None) -> None:
    folder.mkdir(0o700)
    if content is not None:
        (folder / NEWEST).write_bytes(content)
    before = contents(folder)

    with under(folder, BEST, Plain()) as store:
        store.move_to_best_key()

    assert contents(folder) == before


class BadKey(SealingKey):
    """Seals what does not open again."""

    __slots__ = ()

    def seal(self, text: bytes, nonce: bytes, header: bytes) -> bytes:
        return super().seal(text, nonce, header + b"!")


@pytest.mark.parametrize(
    "act",
    [lambda store: store.save(make_link(generation=3)), lambda store: store.move_to_best_key()],
    ids=["save", "move"],
)
def test_the_former_generation_stays_until_the_new_one_has_been_opened(
    folder: Path, act: Callable[[FileStore], object]
) -> None:
    fill(folder, BEST)
    bad = BadKey("key-file", b"canary" * 9, "")

    with under(folder, bad, BEST) as store, pytest.raises(StoreError, match="does not read back"):
        act(store)

    assert under(folder, bad, BEST).read() == ANNA_2


def test_a_sealing_that_fails_leaves_the_plain_link_to_the_next_one(folder: Path) -> None:
    fill(folder, Plain())
    bad, good = (kind("key-file", b"canary" * 9, "") for kind in (BadKey, SealingKey))

    with under(folder, bad) as store, pytest.raises(StoreError, match="does not read back"):
        store.seal()

    with under(folder, good) as store:
        assert store.seal() == "key-file"
        assert store.read() == ANNA_2


def no_key() -> Keys:
    """Return the keys of a speaker whose key file is open to others."""
    lack = KeyTrouble("it is open to others", "Run: chmod 600 key", is_set_up=True, is_setting=True)
    return Keys("auto", {"key-file": lambda: lack})


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.prove_writable(),
        lambda store: store.save(make_link(generation=3)),
        lambda store: store.replace(BERTA),
        lambda store: store.move_to_best_key(),
    ],
    ids=["prove", "save", "replace", "move"],
)
def test_nothing_is_written_without_the_key_that_was_set_up(
    folder: Path, act: Callable[[FileStore], object]
) -> None:
    before = fill(folder, Plain())

    with (
        FileStore(folder, keys=no_key, is_of_service=True) as store,
        pytest.raises(StoreError, match="it is open to others") as caught,
    ):
        act(store)

    assert caught.value.hint == "Run: chmod 600 key"
    assert contents(folder) == before


def broken_settings() -> Keys:
    raise ConfigError("the settings cannot be read", hint="Correct them.")


def test_with_settings_that_cannot_be_read_what_is_plain_is_read_and_what_is_sealed_is_not(
    folder: Path,
) -> None:
    fill(folder, Plain())
    assert FileStore(folder, keys=broken_settings).read() == ANNA_2

    fill(folder, BEST, Plain())
    with pytest.raises(KeyMissing, match="the settings cannot be read"):
        FileStore(folder, keys=broken_settings).read()


AWAY: Mapping[str, tuple[KeyProvider, ...]] = {
    "gone": (Plain(),),
    "gone, and another is there": (WORSE, Plain()),
    "replaced by another": (make_key(BEST.name, "b"), Plain()),
}


@pytest.mark.parametrize("left", AWAY.values(), ids=AWAY)
def test_a_verb_without_the_key_changes_nothing_and_may_only_forget(
    folder: Path, left: tuple[KeyProvider, ...]
) -> None:
    before = fill(folder, BEST)

    with under(folder, *left) as store:
        for act in (
            store.read,
            lambda: store.save(make_link(generation=3)),
            lambda: store.replace(BERTA),
            store.move_to_best_key,
        ):
            with pytest.raises(KeyMissing, match=r"cannot use .*link\.json: ") as caught:
                act()
            assert caught.value.exit_code == 74
            assert "device-auth unlink" in caught.value.hint
        assert contents(folder) == before

        store.erase()
    assert names(folder) == set()


@pytest.mark.parametrize("left", AWAY.values(), ids=AWAY)
def test_the_service_calls_a_missing_key_lost_and_keeps_what_it_sealed(
    folder: Path, left: tuple[KeyProvider, ...]
) -> None:
    before = fill(folder, BEST)

    with under(folder, *left, is_of_service=True) as store:
        with pytest.raises(KeyLost, match=r"the link in .*link\.json cannot be opened: ") as caught:
            store.read()
        assert "Link the speaker again: press the button" in caught.value.hint
        with pytest.raises(KeyLost):
            store.move_to_best_key()
        with pytest.raises(KeyLost):
            store.save(make_link(generation=3))
        assert contents(folder) == before

        store.replace(BERTA)
        assert store.read() == BERTA
    kept = contents(folder)
    assert {name: kept[name] for name in kept if name != NEWEST} == {
        f"{NEWEST}.sealed-1": before[PREVIOUS],
        f"{NEWEST}.sealed-2": before[NEWEST],
    }
    assert keys_in(folder)[NEWEST] == left[0].name


def test_a_key_that_comes_back_before_another_link_is_made_opens_the_link(folder: Path) -> None:
    fill(folder, BEST)
    with under(folder, Plain(), is_of_service=True) as store, pytest.raises(KeyLost):
        store.read()

    with under(folder, BEST, Plain(), is_of_service=True) as store:
        assert store.read() == ANNA_2


def test_a_new_link_that_is_taken_back_leaves_the_sealed_one_in_its_place(folder: Path) -> None:
    before = fill(folder, BEST)

    with under(folder, Plain(), is_of_service=True) as store:
        store.replace(BERTA)
        store.take_back()

        with pytest.raises(KeyLost):
            store.read()
    assert sorted(contents(folder).values()) == sorted(before.values())
    assert under(folder, BEST).read() == ANNA_2


def test_a_link_that_is_taken_back_later_brings_no_sealed_one_back(folder: Path) -> None:
    fill(folder, BEST)

    with under(folder, Plain(), is_of_service=True) as store:
        store.replace(BERTA)
        store.replace(ANNA_1)
        store.take_back()

        assert store.read() is None


def test_damage_before_a_sealed_generation_is_set_aside_when_another_link_is_made(folder: Path) -> None:
    before = fill(folder, BEST)
    (folder / NEWEST).write_bytes(b"rotten")

    with under(folder, Plain(), is_of_service=True) as store:
        with pytest.raises(KeyLost):
            store.read()
        store.replace(BERTA)

    assert contents(folder) == {
        NEWEST: envelope(BERTA),
        f"{NEWEST}.damaged-1": b"rotten",
        f"{NEWEST}.sealed-1": before[PREVIOUS],
    }


def test_a_sealed_link_that_is_damaged_gives_way_to_the_generation_before(folder: Path) -> None:
    before = fill(folder, BEST)
    (folder / NEWEST).write_bytes(before[NEWEST].replace(b'"sealed": "', b'"sealed": "AAAA'))

    with under(folder, BEST, Plain()) as store:
        assert store.read() == ANNA_1


def test_a_sealed_link_that_is_damaged_never_gives_way_to_another_owners(folder: Path) -> None:
    with under(folder, BEST) as store:
        store.replace(BERTA)
    (folder / NEWEST).write_bytes((folder / NEWEST).read_bytes().replace(b'"sealed": "', b'"sealed": "AAAA'))
    (folder / PREVIOUS).write_bytes(write_envelope(ANNA_1, BEST))

    with under(folder, BEST, Plain()) as store:
        with pytest.raises(EnvelopeDamaged):
            store.read()
        assert store.read() is None


def test_a_handful_of_sealed_links_is_kept(folder: Path) -> None:
    for number in range(MOST_KEPT + 2):
        with under(folder, make_key(kind=str(number)), is_of_service=True) as store:
            store.replace(make_link(f"owner {number}"))

    kept = {path.name: json.loads(path.read_bytes())["link_id"] for path in folder.iterdir()}
    assert kept == {
        NEWEST: "owner 6",
        **{f"{NEWEST}.sealed-{number + 1}": f"owner {number}" for number in range(4)},
        f"{NEWEST}.sealed-5": "owner 5",
    }


def test_every_link_that_can_be_opened_is_found_whatever_it_is_called(folder: Path) -> None:
    fill(folder, BEST)
    (folder / NEWEST).rename(folder / f"{NEWEST}.sealed-1")
    (folder / f"{NEWEST}.damaged-1").write_bytes(b"rotten")
    (folder / NEWEST).write_bytes(write_envelope(BERTA, WORSE))

    assert under(folder, BEST).links() == [ANNA_1, ANNA_2]


def test_a_simulations_place_leaves_the_real_one_closed(tmp_path: Path) -> None:
    with FileStore(tmp_path / "state" / SIMULATED) as store:
        store.replace(make_link())

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


# ---------------------------------------------------------------------------------------------------------
# A plain link beside a key


def test_a_plain_link_beside_a_key_is_never_used_and_not_sealed_by_itself(folder: Path) -> None:
    before = fill(folder, Plain())

    with pytest.raises(NotSealed, match=r"link\.json is plain although a key is set up") as refused:
        under(folder, BEST).read()
    assert "device-auth seal" in refused.value.hint
    assert refused.value.exit_code == 75
    assert contents(folder) == before

    with under(folder, BEST) as store:
        store.move_to_best_key()
        assert contents(folder) == before
        for _ in range(2):
            with pytest.raises(NotSealed, match=r"link\.json\.plain-1 is plain although a key is set up"):
                store.read()
    assert contents(folder) == {"link.json.plain-1": before[NEWEST]}
    with pytest.raises(NotSealed, match=r"link.json.plain-1"):
        under(folder, BEST).read()


def test_sealing_takes_back_the_plain_link_that_was_set_aside_last(folder: Path) -> None:
    fill(folder, Plain())
    with under(folder, BEST) as store, pytest.raises(NotSealed):
        store.read()
    (folder / NEWEST).write_bytes(envelope(BERTA))
    with under(folder, BEST) as store:
        with pytest.raises(NotSealed, match="plain-2"):
            store.read()

        assert store.seal() == BEST.name

        assert store.read() == BERTA
        assert store.seal() == BEST.name
    assert names(folder) == {NEWEST, "link.json.plain-1"}
    assert under(folder, BEST).read() == BERTA


def test_a_plain_link_that_took_the_place_of_a_sealed_one_leaves_it_in_use(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(folder, BEST)
    sealed = contents(folder)
    (folder / NEWEST).write_bytes(envelope(BERTA))

    with under(folder, BEST) as store:
        assert store.read() == ANNA_1

    assert contents(folder) == {NEWEST: sealed[PREVIOUS], "link.json.plain-1": envelope(BERTA)}
    assert "is plain although a key is set up" in caplog.text


def test_a_plain_link_beside_a_key_that_cannot_be_had_stays_in_its_place_and_the_key_comes_first(
    folder: Path,
) -> None:
    before = fill(folder, Plain())

    with FileStore(folder, keys=no_key) as store, pytest.raises(NotSealed) as refused:
        store.read()

    assert refused.value.hint == "Run: chmod 600 key"
    assert contents(folder) == before


def test_where_no_key_is_set_up_nothing_is_sealed_and_a_plain_link_is_used(folder: Path) -> None:
    fill(folder, Plain())

    with under(folder, Plain()) as store:
        with pytest.raises(ConfigError, match="no key is set up"):
            store.seal()
        assert store.read() == ANNA_2


def test_settings_that_cannot_be_read_do_not_keep_a_plain_link_from_being_read(folder: Path) -> None:
    fill(folder, Plain())

    with FileStore(folder, keys=broken_settings) as store:
        assert store.read() == ANNA_2


def test_there_is_nothing_to_seal_where_nothing_is(folder: Path) -> None:
    with under(folder, BEST) as store:
        assert store.seal() == ""


def test_a_new_link_and_an_erasure_end_what_is_told_of_a_plain_one(folder: Path) -> None:
    fill(folder, Plain())
    with under(folder, BEST) as store:
        with pytest.raises(NotSealed):
            store.read()
        store.replace(BERTA)
        assert store.read() == BERTA
        store.erase()
        assert store.read() is None
    assert names(folder) == set()


# ---------------------------------------------------------------------------------------------------------
# Another unit's link


class OtherUnit:
    board = "two"
    dsn = ""


COPIED_LINK = replace(ANNA_2, board="one")


@pytest.fixture
def copy(folder: Path) -> Iterator[FileStore]:
    """Hold a link that was made on another board."""
    with FileStore(folder) as store:
        store.replace(ANNA_1)
        store.save(COPIED_LINK)
    with FileStore(folder, unit=OtherUnit()) as store:
        yield store


def test_another_units_link_is_read_with_its_mark_and_not_written_with_it(
    copy: FileStore, folder: Path
) -> None:
    before = contents(folder)

    assert copy.read() == replace(COPIED_LINK, mark=Mark.COPIED)

    copy.fill_in_marks()
    copy.move_to_best_key()
    assert contents(folder) == before


def test_a_new_link_keeps_another_units_under_another_name(copy: FileStore, folder: Path) -> None:
    kept = contents(folder)[NEWEST]

    copy.replace(replace(BERTA, board="two"))

    assert names(folder) == {NEWEST, "link.json.copied-1"}
    assert contents(folder)["link.json.copied-1"] == kept
    assert copy.read() == replace(BERTA, board="two")


@pytest.mark.parametrize("undo", ["take back", "store again"])
def test_a_new_link_that_is_undone_leaves_another_units_in_its_place(
    copy: FileStore, folder: Path, undo: str
) -> None:
    kept, former = contents(folder)[NEWEST], copy.read()
    assert former is not None
    copy.replace(replace(BERTA, board="two"))

    if undo == "take back":
        copy.take_back()
    else:
        copy.replace(former)

    assert contents(folder) == {NEWEST: kept}


def test_another_units_link_that_is_stored_again_where_it_lies_stays_as_it_is(
    copy: FileStore, folder: Path
) -> None:
    before, former = contents(folder), copy.read()
    assert former is not None

    copy.replace(former)

    assert contents(folder) == before


def test_an_adopted_link_is_this_units_and_there_is_no_other(copy: FileStore) -> None:
    assert copy.adopt()

    assert copy.read() == replace(ANNA_2, board="two")
    assert not copy.adopt()


def test_where_units_are_not_told_apart_no_link_is_another_units(store: FileStore) -> None:
    store.replace(COPIED_LINK)
    store.fill_in_marks()

    assert store.read() == COPIED_LINK
    assert not store.adopt()


def test_an_erasure_takes_what_was_set_aside_as_another_units(copy: FileStore, folder: Path) -> None:
    copy.replace(replace(BERTA, board="two"))

    copy.erase()

    assert names(folder) == set()
