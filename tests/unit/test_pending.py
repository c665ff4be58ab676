import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_auth.core.models import Monotonic
from device_auth.world.pending import FilePending
from tests.links import StillClock, make_pending

PENDING = make_pending()


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("0b9c2c4e-first\n")
    return path


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def pending(runtime: Path, clock: StillClock, boot_id: Path) -> FilePending:
    return FilePending(runtime, clock, boot_id=boot_id)


def test_a_code_pair_comes_back_after_a_restart(
    pending: FilePending, runtime: Path, clock: StillClock, boot_id: Path
) -> None:
    pending.keep(PENDING)

    assert FilePending(runtime, clock, boot_id=boot_id).read() == PENDING


def test_the_real_boot_id_is_found(runtime: Path, clock: StillClock) -> None:
    pending = FilePending(runtime, clock)

    pending.keep(PENDING)

    assert pending.read() == PENDING


def test_nobody_else_may_look_at_the_code(pending: FilePending, runtime: Path) -> None:
    pending.keep(PENDING)

    assert stat.S_IMODE((runtime / "pending.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o755


def test_a_newer_pair_takes_the_place_of_the_last(pending: FilePending) -> None:
    newer = replace(PENDING, pair=replace(PENDING.pair, user_code="BEYHYS"))
    pending.keep(PENDING)

    pending.keep(newer)

    assert pending.read() == newer


def test_a_forgotten_pair_is_gone(pending: FilePending, runtime: Path) -> None:
    pending.keep(PENDING)

    pending.forget()

    assert pending.read() is None
    assert list(runtime.iterdir()) == []


def test_a_pair_of_another_boot_is_removed(pending: FilePending, runtime: Path, boot_id: Path) -> None:
    pending.keep(PENDING)
    boot_id.write_text("77aa1f20-second\n")

    assert pending.read() is None
    assert list(runtime.iterdir()) == []


def test_an_expired_pair_is_removed(pending: FilePending, runtime: Path, clock: StillClock) -> None:
    pending.keep(PENDING)
    clock.monotonic = 1600

    assert pending.read() is None
    assert list(runtime.iterdir()) == []


def test_a_pair_is_good_until_its_last_moment(pending: FilePending, clock: StillClock) -> None:
    pending.keep(PENDING)
    clock.monotonic = 1599.9

    assert pending.read() == PENDING


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ((), "boot_id", None),
        ((), "interval", 0),
        ((), "pair", []),
        (("pair",), "expires_at", 2000),
        (("pair",), "interval", -1),
        (("pair",), "device_code", ""),
        (("provider",), "dialect", "klingon"),
        (("provider",), "token_endpoint", None),
    ],
)
def test_a_pair_that_cannot_be_is_removed(
    pending: FilePending, runtime: Path, place: tuple[str, ...], name: str, value: object
) -> None:
    pending.keep(PENDING)
    members: dict[str, Any] = json.loads((runtime / "pending.json").read_bytes())
    part = members
    for step in place:
        part = part[step]
    part[name] = value
    (runtime / "pending.json").write_text(json.dumps(members))

    assert pending.read() is None
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"rotten", b"[" * 60000, b"\xff" * 70000])
def test_bytes_of_any_kind_are_no_pair(pending: FilePending, runtime: Path, content: bytes) -> None:
    runtime.mkdir()
    (runtime / "pending.json").write_bytes(content)

    assert pending.read() is None
    assert list(runtime.iterdir()) == []


def test_a_symbolic_link_is_no_pair_and_is_not_written_through(
    pending: FilePending, runtime: Path, tmp_path: Path
) -> None:
    runtime.mkdir(mode=0o755)
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (runtime / "pending.json").symlink_to(tmp_path / "elsewhere")
    (runtime / "pending.json.new").symlink_to(tmp_path / "elsewhere")

    assert pending.read() is None
    pending.keep(PENDING)

    assert pending.read() == PENDING
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_where_there_is_no_runtime_folder_nothing_is_kept(clock: StillClock, boot_id: Path) -> None:
    pending = FilePending(None, clock, boot_id=boot_id)

    pending.keep(PENDING)

    assert pending.read() is None
    pending.forget()


def test_before_anything_was_kept_there_is_nothing_and_nothing_is_made(
    pending: FilePending, runtime: Path
) -> None:
    assert pending.read() is None
    pending.forget()

    assert not runtime.exists()


def test_a_folder_that_others_may_write_to_is_not_used(
    pending: FilePending, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)

    pending.keep(PENDING)

    assert list(runtime.iterdir()) == []
    assert "others may write to it" in caplog.text


def test_a_folder_that_cannot_be_used_is_logged_without_a_secret(
    pending: FilePending, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.write_bytes(b"")

    pending.keep(PENDING)

    assert pending.read() is None
    pending.forget()
    assert len(caplog.records) == 3
    assert "canary" not in caplog.text
    assert "AAYJHL" not in caplog.text


def test_a_boot_without_an_id_keeps_nothing(
    runtime: Path, clock: StillClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pending = FilePending(runtime, clock, boot_id=tmp_path / "missing")

    pending.keep(PENDING)

    assert pending.read() is None
    assert "cannot keep" in caplog.text


def test_a_deadline_that_never_comes_is_not_kept(
    pending: FilePending, caplog: pytest.LogCaptureFixture
) -> None:
    pending.keep(replace(PENDING, pair=replace(PENDING.pair, expires_at=Monotonic(float("inf")))))

    assert pending.read() is None
    assert "cannot keep" in caplog.text
