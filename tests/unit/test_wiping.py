import json
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Secret, UnixTime
from device_auth.world.certificate import CERTIFICATE, server_context
from device_auth.world.pending import FilePending
from device_auth.world.store import NEWEST, FileStore
from device_auth.world.token_files import FileTokens
from device_auth.world.wiping import Wiped, wipe
from tests.keys import keys_of, make_key
from tests.links import StillClock, make_grant, make_link, make_pending


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


def fill(state: Path, runtime: Path) -> None:
    """Leave all that a long life can leave: two links, generations, damage, a code pair, token files."""
    with FileStore(state) as store:
        store.replace(make_link("carla"))
        damaged = (state / NEWEST).read_bytes().replace(b"alexa:all", b"alexa:ill")
        (state / NEWEST).write_bytes(damaged)
        with pytest.raises(StoreError):
            store.read()
        store.replace(make_link())
        store.replace(replace(make_link("berta"), replaces=make_link()))
        store.save(replace(make_link("berta", 2), replaces=make_link()))
    (state / f"{NEWEST}.new").write_bytes(b'{"refresh_token": "Atzr|canary-broken-of')
    FilePending(runtime, StillClock()).keep(make_pending())
    FileTokens(runtime, StillClock(), keep_bare=True).publish(make_grant())


def seal(state: Path, runtime: Path) -> bytes:
    """Leave a sealed link, and give what is sealed."""
    keys = keys_of(make_key())
    with FileStore(state, keys=lambda: keys) as store:
        store.replace(make_link(replaces=make_link("berta")))
    runtime.mkdir()
    sealed = json.loads((state / NEWEST).read_bytes())["sealed"]
    assert isinstance(sealed, str)
    return sealed.encode()


def wipe_now(state: Path, runtime: Path | None, *also: Secret) -> Wiped:
    with FileStore(state) as store:
        return wipe(store, runtime, also=also)


def test_a_wipe_takes_the_certificate_for_browsers_with_it(state: Path) -> None:
    with FileStore(state):
        server_context(state, UnixTime(1.8e9))

    assert wipe_now(state, None).removed == (state / CERTIFICATE,)
    assert list(state.iterdir()) == []


def test_a_wipe_keeps_what_is_the_units_own_and_says_so(state: Path, runtime: Path) -> None:
    fill(state, runtime)
    own = ("identity.toml", "settings.toml", "factory-lock.json")
    for name in own:
        (state / name).write_text('dsn = "F-0001"\n')
        (state / f"{name}.new").write_text("of a writer that was killed")

    wiped = wipe_now(state, runtime)

    assert wiped.kept == tuple(state / name for name in own)
    assert sorted(state.iterdir()) == sorted(wiped.kept)


def test_a_wipe_leaves_nothing_of_ours_and_says_what_it_removed(state: Path, runtime: Path) -> None:
    fill(state, runtime)

    wiped = wipe_now(state, runtime)

    assert list(state.iterdir()) == []
    assert list(runtime.iterdir()) == []
    assert {path.name for path in wiped.removed} == {
        "link.json",
        "link.json.previous",
        "link.json.damaged-1",
        "pending.json",
        "token.json",
        "access-token",
    }
    assert wiped.unread == ()
    assert wiped.scanned == 0
    # two of berta, one of anna, one of carla in a damaged file, a fragment, a device code, an access token
    assert wiped.secrets == 7


@pytest.mark.parametrize(
    "secret",
    [
        "canary-berta-1",
        "canary-berta-2",
        "canary-anna-1",
        "canary-carla-1",
        "canary-broken-of",
        "canary-device-code",
        "canary-access",
    ],
)
@pytest.mark.parametrize("place", ["state", "run/deeper"])
def test_a_copy_of_any_old_secret_anywhere_is_found_and_its_file_named(
    tmp_path: Path, state: Path, runtime: Path, secret: str, place: str
) -> None:
    fill(state, runtime)
    (tmp_path / place).mkdir(exist_ok=True)
    copy = tmp_path / place / "notes.txt"
    prefix = "" if "device" in secret else "Atza|" if "access" in secret else "Atzr|"
    copy.write_text(f"do not forget {prefix}{secret}!")

    with pytest.raises(StoreError, match="old tokens are left in") as caught:
        wipe_now(state, runtime)

    assert str(copy) in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_secret_is_found_as_json_writes_it_and_across_any_border(state: Path, runtime: Path) -> None:
    secret = 'quo"te/\\ünd\n'
    with FileStore(state) as store:
        store.replace(replace(make_link(), refresh_token=Secret(secret)))
    (state / "plain").write_bytes(b"x" * ((1 << 20) - 3) + secret.encode())
    (state / "ascii").write_text(json.dumps([secret]))
    (state / "utf-8").write_text(json.dumps([secret], ensure_ascii=False))

    with pytest.raises(StoreError) as caught:
        wipe_now(state, runtime)

    assert all(name in str(caught.value) for name in ("plain", "ascii", "utf-8"))


def test_files_of_others_are_searched_and_left(state: Path, runtime: Path) -> None:
    fill(state, runtime)
    (state / "notes.txt").write_bytes(b"nothing to see")
    (runtime / "link").symlink_to("/etc/hostname")

    wiped = wipe_now(state, runtime)

    assert wiped.scanned == len(b"nothing to see")
    assert [path.name for path in state.iterdir()] == ["notes.txt"]


def test_a_secret_in_memory_is_looked_for_too(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "notes.txt").write_bytes(b"Atza|canary-in-memory")

    with pytest.raises(StoreError, match=r"notes\.txt"):
        wipe_now(state, None, Secret("Atza|canary-in-memory"))


@pytest.mark.parametrize("content", [b"rotten", b'{"refresh_token": "short', b'{"refresh_token": ""}'])
def test_a_file_whose_secret_could_not_be_read_is_told(state: Path, content: bytes) -> None:
    state.mkdir(mode=0o700)
    (state / NEWEST).write_bytes(content)

    wiped = wipe_now(state, None)

    assert wiped.unread == (state / NEWEST,)
    assert wiped.removed == (state / NEWEST,)


def test_a_secret_with_a_broken_escape_is_looked_for_as_it_stands(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / NEWEST).write_bytes(b'{"refresh_token": "canary\\xcanary"}')
    (state / "notes.txt").write_bytes(b"canary\\xcanary")

    with pytest.raises(StoreError, match=r"notes\.txt"):
        wipe_now(state, None)


def test_a_wipe_knows_whether_the_disk_held_a_token_in_plain_text(state: Path, runtime: Path) -> None:
    seal(state, runtime)
    assert not wipe_now(state, runtime).was_plain

    with FileStore(state) as store:
        store.replace(make_link())
    assert wipe_now(state, runtime).was_plain


def test_a_link_of_a_newer_version_or_another_key_is_wiped_all_the_same(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / NEWEST).write_bytes(b'{"version": 2}')

    wipe_now(state, None)

    assert list(state.iterdir()) == []


def test_what_is_not_a_file_is_removed_without_being_read(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / NEWEST).symlink_to("/etc/hostname")

    assert wipe_now(state, None).removed == (state / NEWEST,)


def test_a_wipe_of_nothing_is_no_error(state: Path, runtime: Path) -> None:
    assert wipe_now(state, runtime) == Wiped((), 0, 0, ())


def test_what_cannot_be_removed_is_said(state: Path, runtime: Path) -> None:
    (runtime / "token.json").mkdir(parents=True)

    with pytest.raises(StoreError, match=r"cannot wipe token\.json"):
        wipe_now(state, runtime)


def test_a_sealed_link_is_wiped_without_its_key_and_no_copy_of_it_may_be_left(
    state: Path, runtime: Path
) -> None:
    sealed = seal(state, runtime)
    (runtime / "copy").write_bytes(b"so: " + sealed)

    with pytest.raises(StoreError, match="old tokens are left in") as caught:
        wipe_now(state, runtime)

    assert str(runtime / "copy") in str(caught.value)
    assert list(state.iterdir()) == []
    (runtime / "copy").unlink()
    assert wipe_now(state, runtime).unread == ()


def test_a_wipe_without_the_key_says_what_it_removed_and_looked_for(state: Path, runtime: Path) -> None:
    seal(state, runtime)

    wiped = wipe_now(state, runtime)

    assert ([path.name for path in wiped.removed], wiped.secrets, wiped.unread) == ([NEWEST], 1, ())


@pytest.mark.parametrize("token", ["Atzr|canary-anna-1", "Atzr|canary-berta-1"])
def test_a_wipe_with_the_key_looks_for_the_tokens_that_were_sealed(
    state: Path, runtime: Path, token: str
) -> None:
    seal(state, runtime)
    (runtime / "copy").write_text(token)
    keys = keys_of(make_key())

    with (
        FileStore(state, keys=lambda: keys) as store,
        pytest.raises(StoreError, match="old tokens are left in"),
    ):
        wipe(store, runtime)
