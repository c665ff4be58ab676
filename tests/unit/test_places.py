import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError, StoreError
from device_auth.world.places import Places, make_runtime_dir, read_places
from device_auth.world.settings import SettingsFiles

SOMEONE = os.geteuid() or 1000


def session_dir(path: Path, mode: int = 0o700) -> Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    os.chown(path, SOMEONE, -1)
    return path


def settings_file(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_root(root: Path, *, options: dict[str, object] | None = None, **environ: str) -> Places:
    return read_places(options or {}, environ, 0, root)


def as_someone(root: Path, *, options: dict[str, object] | None = None, **environ: str) -> Places:
    return read_places(options or {}, {"HOME": "/home/pi", **environ}, SOMEONE, root)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything, so it gives that up for a moment."""
    euid = os.geteuid()
    if euid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(euid)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_root_uses_the_places_of_the_system(tmp_path: Path) -> None:
    assert as_root(tmp_path) == Places(
        state_dir=tmp_path / "var/lib/device-auth",
        runtime_dir=tmp_path / "run/device-auth",
        files=SettingsFiles(),
        new_config_file=tmp_path / "etc/device-auth/config.toml",
    )


def test_others_use_the_places_at_home_and_of_their_session(tmp_path: Path) -> None:
    session = session_dir(tmp_path / f"run/user/{SOMEONE}")

    assert as_someone(tmp_path) == Places(
        state_dir=Path("/home/pi/.local/state/device-auth"),
        runtime_dir=session / "device-auth",
        files=SettingsFiles(),
        new_config_file=Path("/home/pi/.config/device-auth/config.toml"),
    )


def test_the_variables_of_xdg_name_other_places(tmp_path: Path) -> None:
    session_dir(tmp_path / f"run/user/{SOMEONE}")
    session = session_dir(tmp_path / "session")

    places = as_someone(
        tmp_path, XDG_STATE_HOME="/data/state", XDG_CONFIG_HOME="/data/config", XDG_RUNTIME_DIR=str(session)
    )

    assert places.state_dir == Path("/data/state/device-auth")
    assert places.new_config_file == Path("/data/config/device-auth/config.toml")
    assert places.runtime_dir == session / "device-auth"


def test_relative_paths_in_the_variables_of_xdg_are_passed_over(tmp_path: Path) -> None:
    places = as_someone(tmp_path, XDG_STATE_HOME="state", XDG_RUNTIME_DIR="run", XDG_CONFIG_HOME="config")

    assert places == as_someone(tmp_path)


def test_systemd_names_places_before_anything_else_but_options(tmp_path: Path) -> None:
    state, runtime = "/var/lib/private/a:/var/lib/b", "/run/a:/run/b"

    for places in (
        as_root(tmp_path, STATE_DIRECTORY=state, RUNTIME_DIRECTORY=runtime),
        as_someone(tmp_path, STATE_DIRECTORY=state, RUNTIME_DIRECTORY=runtime),
    ):
        assert places.state_dir == Path("/var/lib/private/a")
        assert places.runtime_dir == Path("/run/a")


def test_options_name_places_before_anything_else(tmp_path: Path) -> None:
    options: dict[str, object] = {"state_dir": "/a/state", "runtime_dir": "run", "config": "c.toml"}

    places = as_root(
        tmp_path,
        options=options,
        STATE_DIRECTORY="/s",
        RUNTIME_DIRECTORY="/r",
        DEVICE_AUTH_CONFIG="/d.toml",
    )

    assert places == Places(
        Path("/a/state"), Path("run"), SettingsFiles(config=Path("c.toml")), Path("c.toml")
    )


@pytest.mark.parametrize("name", ["state_dir", "runtime_dir", "config"])
def test_an_empty_option_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is empty"):
        as_root(tmp_path, options={name: ""})


def test_a_simulated_link_lives_below_each_place(tmp_path: Path) -> None:
    for options in ({}, {"state_dir": "/a/state", "runtime_dir": "/a/run"}):
        usual = as_root(tmp_path, options=dict(options))
        simulated = as_root(tmp_path, options={**options, "simulate": "auto"})

        assert simulated.state_dir == usual.state_dir / "simulated"
        assert usual.runtime_dir is not None
        assert simulated.runtime_dir == usual.runtime_dir / "simulated"


def test_a_simulated_link_has_no_runtime_folder_where_a_real_one_has_none(tmp_path: Path) -> None:
    assert as_someone(tmp_path, options={"simulate": "manual"}).runtime_dir is None


def test_without_a_session_there_is_no_runtime_folder(tmp_path: Path) -> None:
    assert as_someone(tmp_path).runtime_dir is None


@pytest.mark.parametrize("place", ["tmp/session", "var/tmp/session", "tmp"])
def test_a_session_folder_on_the_disk_is_not_used(tmp_path: Path, place: str) -> None:
    session = session_dir(tmp_path / place)

    assert as_someone(tmp_path, XDG_RUNTIME_DIR=str(session)).runtime_dir is None


def test_a_session_folder_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    session = session_dir(tmp_path / "session", mode=0o777)

    assert as_someone(tmp_path, XDG_RUNTIME_DIR=str(session)).runtime_dir is None


def test_a_session_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    session = session_dir(tmp_path / "session")

    places = read_places({}, {"HOME": "/home/pi", "XDG_RUNTIME_DIR": str(session)}, SOMEONE + 1, tmp_path)

    assert places.runtime_dir is None


@pytest.mark.parametrize("runtime_dir", ["/data", "/data/run"])
def test_the_runtime_folder_is_never_in_the_state(tmp_path: Path, runtime_dir: str) -> None:
    with pytest.raises(ConfigError, match="lies in the state folder"):
        as_root(tmp_path, options={"state_dir": "/data", "runtime_dir": runtime_dir})


def test_a_user_without_a_home_has_no_place_for_a_link(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home folder"):
        read_places({}, {}, 2**31 - 7, tmp_path)


def test_a_user_without_a_home_can_name_places(tmp_path: Path) -> None:
    places = read_places({"state_dir": "/data"}, {"HOME": ""}, 2**31 - 7, tmp_path)

    assert places.state_dir == Path("/data")
    assert places.new_config_file == tmp_path / "etc/device-auth/config.toml"


def test_a_bare_environment_finds_home_in_the_user_database(tmp_path: Path) -> None:
    places = read_places({"state_dir": "/data"}, {}, os.geteuid() or 1, tmp_path)

    assert places.new_config_file.parts[-3:] == (".config", "device-auth", "config.toml")


def test_the_settings_file_of_the_system_comes_before_ones_own(tmp_path: Path) -> None:
    own = settings_file(tmp_path / "home/device-auth/config.toml")
    home = str(tmp_path / "home")
    assert as_someone(tmp_path, XDG_CONFIG_HOME=home).files.config == own

    system = settings_file(tmp_path / "etc/device-auth/config.toml")

    assert as_someone(tmp_path, XDG_CONFIG_HOME=home).files.config == system
    assert as_someone(tmp_path, XDG_CONFIG_HOME=home).new_config_file == own
    assert as_root(tmp_path).files.config == system


def test_a_settings_file_may_be_named_in_the_environment_colons_and_all(tmp_path: Path) -> None:
    settings_file(tmp_path / "etc/device-auth/config.toml")

    places = as_root(tmp_path, DEVICE_AUTH_CONFIG="/a:b.toml")

    assert places.files.config == places.new_config_file == Path("/a:b.toml")


def test_a_settings_file_behind_a_broken_link_still_counts_as_there(tmp_path: Path) -> None:
    path = tmp_path / "etc/device-auth/config.toml"
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")

    assert as_root(tmp_path).files.config == path


def test_a_settings_file_that_cannot_be_looked_at_counts_as_there(tmp_path: Path) -> None:
    name = "x" * 300

    assert as_someone(tmp_path, XDG_CONFIG_HOME=f"/{name}").files.config == Path(
        f"/{name}/device-auth/config.toml"
    )


def test_the_own_places_of_this_process_can_be_read() -> None:
    assert read_places({"state_dir": "/data"}).state_dir == Path("/data")


def test_the_runtime_folder_is_made_so_that_all_may_enter_and_only_we_may_write(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"

    for mask in (0o077, 0o000):
        with umask(mask):
            make_runtime_dir(path)

    assert mode_of(path) == 0o755
    assert mode_of(path.parent) == 0o755


def test_a_runtime_folder_that_is_there_stays_as_narrow_as_it_is(tmp_path: Path) -> None:
    path = session_dir(tmp_path / "run")

    make_runtime_dir(path)

    assert mode_of(path) == 0o700


def test_a_runtime_folder_behind_a_symbolic_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    (tmp_path / "run").symlink_to("private")

    make_runtime_dir(tmp_path / "run")

    assert (tmp_path / "run").is_symlink()


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_runtime_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = session_dir(tmp_path / "a run", mode)

    with pytest.raises(StoreError, match="others can put files into") as caught:
        make_runtime_dir(path)

    assert caught.value.hint.endswith(f"chmod go-w '{path}'")


def test_a_runtime_folder_of_someone_else_is_refused_to_all_but_root() -> None:
    with as_nobody(), pytest.raises(StoreError, match="others can put files into"):
        make_runtime_dir(Path("/usr"))


def test_a_runtime_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match="is not a folder"):
        make_runtime_dir(tmp_path / "file")
    for name in ("file/run", "x" * 300, "a\0b"):
        with pytest.raises(StoreError, match="cannot make the runtime folder"):
            make_runtime_dir(tmp_path / name)
