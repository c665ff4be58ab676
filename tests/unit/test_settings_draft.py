import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from device_auth.assembly.settings_draft import SettingsDraft, drafted
from device_auth.core.errors import ConfigError
from device_auth.world.settings import SETTINGS, SettingsFiles
from device_auth.world.toml_lines import with_setting
from tests.unit.test_config import COMPLETE

pytestmark = pytest.mark.usefixtures("few_authorities")

OLD = COMPLETE + '\n[hardware]\nboard = "none"  # for now\n'


def set_board(text: str, board: str = "simulated") -> str:
    return with_setting(text, ("hardware", "board"), board)


def change(path: Path, *, new_text: str = "", board: str = "simulated") -> SettingsDraft:
    """Change the board, and put the draft in place."""
    files = SettingsFiles(config=path if path.exists() else None)
    with drafted(path, lambda text: set_board(text, board), files, {}, {}, new_text=new_text) as draft:
        draft.put_in_place()
    return draft


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(OLD)
    path.chmod(0o600)
    return path


def test_a_change_keeps_the_text_the_owner_and_the_mode(path: Path) -> None:
    path.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(path, 0, 65534)
    before = path.stat()

    draft = change(path)

    assert path.read_text() == OLD.replace('"none"', '"simulated"')
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert draft.is_changed
    assert draft.checked.settings.hardware == {"board": "simulated"}
    assert draft.problems == ()
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_lies_there_until_the_draft_is_put_in_place(path: Path) -> None:
    with drafted(path, set_board, SettingsFiles(config=path), {}, {}) as draft:
        assert draft.is_changed
        assert path.read_text() == OLD

    assert path.read_text() == OLD
    assert list(path.parent.iterdir()) == [path]


def test_what_is_so_already_is_not_written(path: Path) -> None:
    before = path.stat()

    assert not change(path, board="none").is_changed

    after = path.stat()  # but for when it was read last
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_change_that_makes_a_setting_wrong_changes_nothing(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing was changed: .*board \('kitchen'\)") as refused:
        change(path, board="kitchen")

    assert path.read_text() == OLD
    assert list(path.parent.iterdir()) == [path]
    assert ".new" not in str(refused.value) + refused.value.hint


def test_what_was_wrong_before_does_not_stop_another_change(path: Path) -> None:
    path.write_text("[hardware]\n")

    draft = change(path)

    assert path.read_text() == '[hardware]\nboard = "simulated"\n'
    assert any("client_id" in str(problem) for problem in draft.problems)


def test_what_was_wrong_before_hides_no_new_problem(path: Path) -> None:
    path.write_text("# nothing set\n[hardware]\n")

    with pytest.raises(ConfigError, match="kitchen"):
        change(path, board="kitchen")

    assert path.read_text() == "# nothing set\n[hardware]\n"


@pytest.mark.parametrize("text", ["[hardware", "x = 1\n" * 70_000, "a = '\udc80'"])
def test_a_file_that_cannot_be_read_as_settings_is_left_alone(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = path.read_bytes()

    with pytest.raises(ConfigError):
        change(path)

    assert path.read_bytes() == before


def test_a_layout_that_cannot_be_changed_by_a_program_is_told(path: Path) -> None:
    path.write_text(COMPLETE + "[[hardware]]\nboard = 1\n")

    with pytest.raises(ConfigError, match=r"hardware\.board cannot be changed by a program") as refused:
        change(path)

    assert "by hand" in refused.value.hint


def test_a_new_file_begins_with_the_text_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"

    change(path, new_text="# explained\n")

    assert path.read_text() == '# explained\n\n[hardware]\nboard = "simulated"\n'
    assert stat.S_IMODE(path.stat().st_mode) in {0o600, 0o640}


def test_what_is_set_on_the_unit_counts_before_the_settings_file(path: Path, tmp_path: Path) -> None:
    own = tmp_path / "state" / SETTINGS

    files = SettingsFiles(config=path)

    with drafted(own, set_board, files, {}, {}, slot="settings", new_text="# set here\n") as draft:
        draft.put_in_place()

    assert own.read_text() == '# set here\n\n[hardware]\nboard = "simulated"\n'
    assert path.read_text() == OLD
    assert draft.checked.settings.hardware == {"board": "simulated"}


def test_a_link_is_followed_and_stays(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "etc.toml"
    link.symlink_to(path.name)

    change(link)

    assert link.is_symlink()
    assert 'board = "simulated"' in path.read_text()


def test_the_remains_of_a_killed_run_are_written_over(path: Path) -> None:
    path.with_name("config.toml.new").write_text("[hardw")

    change(path)

    assert 'board = "simulated"' in path.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_the_mark_that_some_editors_begin_a_file_with_stays(path: Path) -> None:
    path.write_text("\ufeff" + OLD)

    change(path)

    assert path.read_text() == "\ufeff" + OLD.replace('"none"', '"simulated"')


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    folder = Path(mkdtemp(prefix="device-auth-draft-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")
def test_another_user_leads_root_to_no_file_of_roots(place: Path) -> None:
    treasure = place / "treasure.toml"
    treasure.write_text(OLD)
    treasure.chmod(0o644)  # that user may read it
    home = place / "home"
    home.mkdir(0o755)
    (home / "config.toml").symlink_to(treasure)
    os.chown(home, 65534, 65534)

    with pytest.raises(ConfigError):
        change(home / "config.toml")

    assert treasure.read_text() == OLD
    assert [entry.name for entry in home.iterdir()] == ["config.toml"]
