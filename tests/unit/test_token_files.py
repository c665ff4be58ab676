import json
import os
import resource
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.models import Monotonic, Secret
from device_auth.world.token_files import FileTokens, PublishedToken
from tests.links import StillClock, make_grant

GRANT = make_grant()


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def tokens(runtime: Path, clock: StillClock) -> FileTokens:
    return FileTokens(runtime, clock)


def date(path: Path, moment: float) -> None:
    os.utime(path, (moment, moment))


def test_the_token_is_published_with_its_end_as_a_time_of_day(tokens: FileTokens, runtime: Path) -> None:
    tokens.publish(GRANT)

    assert json.loads((runtime / "token.json").read_bytes()) == {
        "access_token": "Atza|canary-access",
        "token_type": "bearer",
        "expires_at": "2027-01-15T09:00:00Z",
    }
    assert [path.name for path in runtime.iterdir()] == ["token.json"]


def test_the_group_may_read_the_token_and_others_may_not(runtime: Path, clock: StillClock) -> None:
    umask = os.umask(0o077)
    try:
        FileTokens(runtime, clock, keep_bare=True).publish(GRANT)
    finally:
        os.umask(umask)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in runtime.iterdir()}
    assert modes == {"token.json": 0o640, "access-token": 0o640}


def test_the_bare_token_is_kept_for_who_keeps_it_fresh(runtime: Path, clock: StillClock) -> None:
    FileTokens(runtime, clock, keep_bare=True).publish(GRANT)

    assert (runtime / "access-token").read_bytes() == b"Atza|canary-access"


def test_a_bare_token_that_nobody_keeps_fresh_is_removed(
    tokens: FileTokens, runtime: Path, clock: StillClock
) -> None:
    FileTokens(runtime, clock, keep_bare=True).publish(GRANT)

    tokens.publish(GRANT)

    assert [path.name for path in runtime.iterdir()] == ["token.json"]


def test_a_published_token_is_read_back(tokens: FileTokens, runtime: Path, clock: StillClock) -> None:
    tokens.publish(GRANT)
    date(runtime / "token.json", clock.unix)

    assert tokens.read() == PublishedToken(GRANT.access_token, clock.wall() + 3600)  # type: ignore[arg-type] # a sum is a float


def test_the_end_is_never_told_later_than_it_is(tokens: FileTokens, runtime: Path, clock: StillClock) -> None:
    clock.unix += 0.9
    tokens.publish(GRANT)
    date(runtime / "token.json", clock.unix)

    found = tokens.read()

    assert found is not None
    assert found.expires_at == 1.8e9 + 3600


def test_a_withdrawn_token_is_gone(runtime: Path, clock: StillClock) -> None:
    tokens = FileTokens(runtime, clock, keep_bare=True)
    tokens.publish(GRANT)
    (runtime / "token.json.new").write_bytes(b"left by one that was killed")

    tokens.withdraw()

    assert tokens.read() is None
    assert list(runtime.iterdir()) == []


def test_an_expired_token_is_not_given(tokens: FileTokens, runtime: Path, clock: StillClock) -> None:
    tokens.publish(GRANT)
    date(runtime / "token.json", clock.unix)
    clock.unix += 3600

    assert tokens.read() is None


def test_a_clock_earlier_than_the_file_is_not_believed(
    tokens: FileTokens, runtime: Path, clock: StillClock
) -> None:
    tokens.publish(GRANT)
    date(runtime / "token.json", clock.unix + 1)

    assert tokens.read() is None


def test_an_end_beyond_all_calendars_is_written_as_the_last_second(tokens: FileTokens, runtime: Path) -> None:
    tokens.publish(replace(GRANT, expires_at=Monotonic(1e18)))

    assert json.loads((runtime / "token.json").read_bytes())["expires_at"] == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rotten",
        b'{"access_token": "", "expires_at": "2027-01-15T09:00:00Z"}',
        b'{"access_token": "a", "expires_at": "tomorrow"}',
        b'{"access_token": "a", "expires_at": "2027-01-15T09:00:00"}',
        b'{"access_token": "a", "expires_at": 1800000000}',
    ],
)
def test_bytes_of_any_kind_are_no_token(
    tokens: FileTokens, runtime: Path, clock: StillClock, content: bytes
) -> None:
    runtime.mkdir()
    (runtime / "token.json").write_bytes(content)
    date(runtime / "token.json", clock.unix)

    assert tokens.read() is None


def test_where_there_is_no_runtime_folder_there_are_no_token_files(clock: StillClock) -> None:
    tokens = FileTokens(None, clock, keep_bare=True)

    tokens.publish(GRANT)

    assert tokens.read() is None
    tokens.withdraw()


def test_before_anything_was_published_there_is_nothing_and_nothing_is_made(
    tokens: FileTokens, runtime: Path
) -> None:
    assert tokens.read() is None
    tokens.withdraw()

    assert not runtime.exists()


def test_a_folder_that_holds_no_token_gives_none(tokens: FileTokens, runtime: Path) -> None:
    runtime.mkdir()

    assert tokens.read() is None


def test_a_folder_that_cannot_be_used_is_logged_without_the_token(
    tokens: FileTokens, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.write_bytes(b"")

    tokens.publish(GRANT)

    assert tokens.read() is None
    tokens.withdraw()
    assert len(caplog.records) == 2
    assert "canary" not in caplog.text


def test_a_full_disk_is_logged_and_leaves_no_half_token(
    tokens: FileTokens, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens.publish(GRANT)
    before = (runtime / "token.json").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (10, hard)
    )  # no file may grow beyond: write(2) is cut short, then fails
    try:
        tokens.publish(replace(GRANT, access_token=Secret("Atza|another")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [path.name for path in runtime.iterdir()] == ["token.json"]
    assert (runtime / "token.json").read_bytes() == before
    assert "cannot write token files to " in caplog.text


def test_a_token_that_was_read_shows_nothing_of_itself() -> None:
    assert "canary" not in repr(PublishedToken(Secret("canary"), StillClock().wall()))
