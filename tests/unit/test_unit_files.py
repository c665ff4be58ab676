"""The unit's own files in the state folder: its identity, and what was set on it; which value comes from where."""

import json
import os
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from device_auth.assembly.hardware_parts import read_hardware
from device_auth.cli import config
from device_auth.core.errors import ConfigError
from device_auth.world.places import read_places
from device_auth.world.settings import Settings, SettingsFiles, gather_settings, read_settings

CONFIG = 'client_id = "of-the-file"\nproduct_id = "of-the-file"\ndsn = "of-the-file"\nlocale = "de-DE"\n'
IDENTITY = 'dsn = "F-0001"\nproduct_id = "Kitchen"\nclient_id = "of-the-unit"\n'


class Unit:
    """The three files of one unit, each written when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "var/lib/device-auth"
        self.state.mkdir(parents=True)

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        folder = self.root / "etc/device-auth" if name == "config.toml" else self.state
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def files(self) -> SettingsFiles:
        return read_places({}, {}, 0, self.root).files

    def read(self, options: dict[str, object] | None = None, **environ: str) -> Settings:
        return read_settings(options or {}, self.files(), environ)

    def config(self, *words: str) -> int:
        parser = ArgumentParser()
        parser.add_argument("--json", action="store_true")
        config.add_arguments(parser)
        return config.run(parser.parse_args(words), environ={}, euid=0, root=self.root)


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def test_the_identity_is_stronger_than_what_was_set_on_the_unit_and_that_than_the_settings_file(
    unit: Unit,
) -> None:
    files = SettingsFiles(
        unit.write("identity.toml", 'dsn = "identity"\n'),
        unit.write("settings.toml", 'dsn = "settings"\nproduct_id = "settings"\n'),
        unit.write("config.toml", CONFIG),
    )

    settings = unit.read()

    assert (settings.dsn, settings.product_id, settings.client_id) == ("identity", "settings", "of-the-file")
    assert settings.origins["dsn"] == f"identity {files.identity}"
    assert settings.origins["product_id"] == f"settings {files.settings}"
    assert settings.origins["client_id"] == f"file {files.config}"
    assert settings.passed_over == {
        "dsn": (f"settings {files.settings}", f"file {files.config}"),
        "product_id": (f"file {files.config}",),
    }
    assert settings.files == files


def test_the_environment_and_an_option_are_stronger_than_the_identity(unit: Unit) -> None:
    unit.write("identity.toml", IDENTITY)

    settings = unit.read({"dsn": "option"}, DEVICE_AUTH_CLIENT_ID="variable", DEVICE_AUTH_DSN="variable")

    assert (settings.dsn, settings.client_id, settings.product_id) == ("option", "variable", "Kitchen")


def test_files_that_are_not_there_are_not_looked_for_again(unit: Unit) -> None:
    assert unit.files() == SettingsFiles()
    assert unit.read().passed_over == {}


def test_the_part_the_revision_and_the_batch_are_kept_beside_the_settings(unit: Unit) -> None:
    unit.write("identity.toml", IDENTITY + 'part = "SPK-2"\nrevision = "C"\nbatch = "2026-48"\n')

    assert unit.read().identity == {"part": "SPK-2", "revision": "C", "batch": "2026-48"}


BROKEN = {
    "no TOML": ('dsn = "F-0001\n', "is not valid TOML"),
    "cut off at the start": ("", "has no dsn, so it is not the identity of a unit"),
    "cut off between": ('client_id = "of-the-unit"\n', "has no dsn"),
    "wrong kind": ("dsn = 7\n", "dsn (identity"),
    "empty": ('dsn = ""\n', "is empty"),
    "marks": ("dsn = '\"F-0001\"'\n", "has quotation marks around it"),
    "a setting": (IDENTITY + 'locale = "de-DE"\n', "unknown setting 'locale'"),
    "a misspelt ID": ('dsn = "F-0001"\nclientid = "x"\n', "unknown setting 'clientid'"),
    "control characters": (IDENTITY + 'part = "\\u001b[2J"\n', "part (identity"),
    "too long": (IDENTITY + f'batch = "{"x" * 61}"\n', "batch (identity"),
    "too large": (" " * 70_000, "is too large"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_an_identity_that_cannot_be_read_is_told_and_no_weaker_file_gives_other_ids(
    unit: Unit, text: str, said: str
) -> None:
    path = unit.write("identity.toml", text)
    unit.write("settings.toml", 'product_id = "settings"\nlocale = "fr-FR"\n')
    unit.write("config.toml", CONFIG + '[hardware]\nboard = "simulated"\n')

    settings, (problem,) = gather_settings({}, unit.files(), {})

    assert said in str(problem)
    assert str(path) in str(problem)
    assert problem.hint
    assert (settings.client_id, settings.product_id, settings.dsn) == ("", "", "")
    assert settings.unread == (path,)
    # but the light must still be able to show it
    assert settings.hardware == {"board": "simulated"}
    assert settings.locale == "fr-FR"
    with pytest.raises(ConfigError):
        unit.read()


@pytest.mark.parametrize("name", ["identity.toml", "settings.toml"])
def test_a_file_of_the_unit_that_others_may_change_is_refused(unit: Unit, name: str) -> None:
    path = unit.write(name, 'dsn = "F-0001"\n', 0o666)

    with pytest.raises(ConfigError, match="any user can change") as refused:
        unit.read()

    assert refused.value.hint == f"Run: chmod o-w {path}"


def test_a_secret_that_was_set_on_the_unit_must_not_be_open_to_others(unit: Unit) -> None:
    unit.write("settings.toml", 'client_secret = "canary-2f7c1d"\n', 0o644)

    with pytest.raises(ConfigError, match="can be read by others") as refused:
        unit.read()

    assert "canary" not in str(refused.value)


def test_what_is_wrong_in_a_file_of_the_unit_is_to_be_corrected_there(unit: Unit) -> None:
    path = unit.write("settings.toml", "\nrenewals = true\n")

    with pytest.raises(ConfigError) as refused:
        unit.read()

    assert f"renewals (settings {path}, line 2)" in str(refused.value)
    assert refused.value.hint == f"Correct it in {path}, line 2."


def test_a_table_set_on_the_unit_changes_single_entries_of_the_settings_file(unit: Unit) -> None:
    unit.write(
        "config.toml",
        '[page]\nlisten = [":80"]\n[hardware]\nboard = "generic-led"\ngpio = "gpiod"\n'
        '[hardware.light]\nkind = "led"\npin = 5\nactive_low = true\n[hardware.voice]\nkind = "espeak"\nvolume = 20\n',
    )
    unit.write(
        "settings.toml",
        '[page]\nhosts = ["a"]\n[hardware]\ngpio = "rpi-gpio"\n'
        '[hardware.light]\npin = 6\n[hardware.voice]\nkind = "recorded"\n',
    )

    settings = unit.read()

    assert settings.page == {"listen": [":80"], "hosts": ["a"]}
    assert settings.hardware == {
        "board": "generic-led",
        "gpio": "rpi-gpio",
        "light": {"kind": "led", "pin": 6, "active_low": True},
        "voice": {"kind": "recorded"},
    }
    assert settings.origins["page"] == f"settings {unit.state}/settings.toml"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs for another user")
def test_root_runs_no_program_that_was_set_on_the_unit_but_one_of_its_own_settings_file(unit: Unit) -> None:
    path = unit.write("settings.toml", '[hardware]\nboard = "generic-led"\n')
    for each in (unit.state, path):
        os.chown(each, 12345, 12345)
    unit.write("config.toml", '[hardware.voice]\nkind = "command"\ncommand = ["/usr/bin/say"]\n')
    settings = unit.read()
    assert read_hardware(settings.hardware, settings.hardware_of)[0].voice is not None

    path.write_text('[hardware]\nboard = "generic-led"\n[hardware.voice]\nkind = "espeak"\nplayer = ["/x"]\n')
    settings = unit.read()

    with pytest.raises(ConfigError, match=r"voice.player names a program .* belongs to another") as refused:
        read_hardware(settings.hardware, settings.hardware_of)
    assert "move that line into the settings file" in refused.value.hint


# -- config show, config check


def test_show_names_all_three_files_and_which_of_them_gives_each_value(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.write("identity.toml", 'dsn = "F-0001"\nbatch = "2026-48"\n')
    unit.write(
        "settings.toml", 'locale = "fr-FR"\n[hardware]\nboard = "simulated"\n[hardware.light]\npin = 6\n'
    )
    unit.write("config.toml", CONFIG + '[hardware]\nboard = "none"\ngpio = "gpiod"\n')

    assert unit.config("show") == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["identity", f"{unit.state}/identity.toml"] in rows
    assert ["set", "on", "unit", f"{unit.state}/settings.toml"] in rows
    assert ["settings", "file", f"{unit.root}/etc/device-auth/config.toml"] in rows
    assert ["dsn", "identity", "over", "file", "F-0001"] in rows
    assert ["locale", "settings", "over", "file", "fr-FR"] in rows
    assert ["product_id", "file", "of-the-file"] in rows
    assert ["batch", "identity", "2026-48"] in rows
    assert ["hardware.board", "settings", "over", "file", "simulated"] in rows
    assert ["hardware.gpio", "file", "gpiod"] in rows

    assert unit.config("show", "--json") == 0

    shown = json.loads(capsys.readouterr().out)
    assert shown["identity_file"] == f"{unit.state}/identity.toml"
    assert shown["settings_file"] == f"{unit.state}/settings.toml"
    assert shown["settings"]["dsn"] == {
        "value": "F-0001",
        "origin": f"identity {unit.state}/identity.toml",
        "passed_over": [f"file {unit.root}/etc/device-auth/config.toml"],
    }
    assert shown["identity"] == {"batch": "2026-48"}


def test_check_notes_each_value_of_the_settings_file_that_does_not_count(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = unit.write("identity.toml", 'dsn = "F-0001"\nproduct_id = "of-the-file"\n')
    path = unit.write("config.toml", CONFIG)

    assert unit.config("check") == 0

    told = capsys.readouterr().err.replace("\n  ", " ")
    assert f"dsn (file {path}) is not used: identity {identity} comes first." in " ".join(told.split())
    assert "product_id (file" not in told


def test_check_finds_what_is_wrong_in_each_of_the_files(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.write("identity.toml", "dsn = 7\n")
    unit.write("settings.toml", "renewals = true\n")
    unit.write("config.toml", "colour = 3\n")

    assert unit.config("check", "--json") == 78

    problems = [each["message"] for each in json.loads(capsys.readouterr().out)["problems"]]
    assert [text.split(" ")[0] for text in problems] == ["dsn", "unknown", "renewals"]


# -- who may read them


@pytest.fixture
def open_unit() -> Iterator[Unit]:
    """Make a unit in a folder that every user may search, which pytest's are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Unit(Path(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_who_may_not_look_into_the_state_folder_is_told_and_given_no_other_ids(
    open_unit: Unit,
) -> None:
    open_unit.write("config.toml", CONFIG, 0o644)
    open_unit.state.chmod(0o700)
    os.seteuid(4711)
    try:
        files = open_unit.files()
        settings, problems = gather_settings({}, files, {})
    finally:
        os.seteuid(0)

    assert files.identity == open_unit.state / "identity.toml"
    assert "identity.toml: permission denied" in str(problems)
    assert settings.client_id == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_a_file_of_root_that_the_service_may_read_in_the_services_folder(open_unit: Unit) -> None:
    path = open_unit.write("identity.toml", IDENTITY, 0o640)
    os.chown(open_unit.state, 65534, 65534)
    open_unit.state.chmod(0o700)

    with pytest.raises(ConfigError, match="permission denied"):
        open_unit.read()

    os.chown(path, 0, 65534)
    assert open_unit.read().dsn == "F-0001"


def test_show_tells_a_user_that_the_services_own_files_are_not_counted(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    unit.write("identity.toml", IDENTITY)
    parser = ArgumentParser()
    config.add_arguments(parser)

    home = {"HOME": str(unit.root / "home")}
    assert config.run(parser.parse_args(["show"]), environ=home, euid=1000, root=unit.root) == 0

    told = " ".join(capsys.readouterr().err.split())
    assert f"in {unit.state}, are not counted here: sudo device-auth config show" in told
    assert unit.config("show") == 0
    assert capsys.readouterr().err == ""
