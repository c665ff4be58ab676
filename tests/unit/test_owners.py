"""The user who may lead a path elsewhere."""

import os
from pathlib import Path

import pytest

from device_auth.core.errors import Busy, StoreError
from device_auth.world.owners import ROOT, Owner, as_owner, owner_of
from tests.end_at_fork import in_a_child

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

USER = 12345


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder of a user's, with a file of root's in it."""
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "roots").touch()
    os.chown(folder, USER, USER)
    return folder


@needs_root
def test_a_path_of_roots_alone_is_roots(tmp_path: Path) -> None:
    assert owner_of(tmp_path / "not" / "there") == Owner(ROOT, ROOT)


@needs_root
@pytest.mark.parametrize("name", ["roots", "not-there", "../users/roots"])
def test_whoever_owns_a_folder_on_the_way_may_lead_it_elsewhere(users: Path, name: str) -> None:
    assert owner_of(users / name) == Owner(USER, USER)


@needs_root
def test_a_link_of_roots_is_followed(users: Path, tmp_path: Path) -> None:
    (tmp_path / "absolute").symlink_to(users)
    (tmp_path / "relative").symlink_to("users/roots")

    assert owner_of(tmp_path / "absolute" / "new").uid == USER
    assert owner_of(tmp_path / "relative").uid == USER


@needs_root
def test_a_link_of_a_users_is_that_users_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    os.chown(tmp_path / "link", USER, USER, follow_symlinks=False)

    assert owner_of(tmp_path / "link" / "passwd").uid == USER


@needs_root
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")

    with pytest.raises(StoreError, match="too many symbolic links"):
        owner_of(tmp_path / "link")


@needs_root
def test_a_folder_in_which_everyone_may_rename_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(StoreError, match="anyone may put files into"):
        owner_of(tmp_path / "open" / "file")

    (tmp_path / "open").chmod(0o1777)
    assert owner_of(tmp_path / "open" / "file").uid == ROOT


def test_on_a_path_of_its_own_a_job_is_done_in_this_process(tmp_path: Path) -> None:
    def job(ask: object) -> list[object]:
        return [os.getpid(), ask("how")]  # type: ignore[operator]  # as a job does

    assert as_owner(tmp_path, job, lambda question: f"{question}?") == [os.getpid(), "how?"]


def test_on_a_path_of_its_own_an_error_is_the_jobs_own(tmp_path: Path) -> None:
    def job(_: object) -> None:
        raise Busy("at work", hint="wait")

    with pytest.raises(Busy, match="at work"):
        as_owner(tmp_path, job)


@needs_root
def test_a_path_that_is_open_already_and_gone_was_led_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="was just moved"):
        owner_of(tmp_path / "not-there", is_there=True)


@needs_root
def test_a_signal_that_meets_the_child_at_its_start_lets_it_do_nothing_of_the_parents(users: Path) -> None:
    assert in_a_child("_in_a_child", lambda: as_owner(users, lambda _: 1)) == "ChildBroke;"
