"""``config set``, ``get`` and ``edit`` on a machine of their own."""

import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError, DeviceAuthError, WrongUse
from device_auth.world.service_unit import RESTART
from tests.unit.test_config import CANARY, COMPLETE, run_config, settings_file

TEXT = "# mine\n" + COMPLETE + "renewals = 3 # not more\n\n[hardware]\nboard = 'none'\n"


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    """Let standard input hold this, and end."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    with pytest.MonkeyPatch.context() as patch, os.fdopen(reading) as stream:
        patch.setattr(sys, "stdin", stream)
        yield


def run(path: Path, *words: str, **environ: str) -> int:
    return run_config(path.parent, "--config", str(path), *words, euid=None, **environ)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return settings_file(tmp_path, TEXT)


def test_set_changes_one_value_and_keeps_the_rest_of_the_file(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, "set", "renewals", "5") == 0

    assert path.read_text() == TEXT.replace("renewals = 3 ", "renewals = 5 ")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"Changed {path}.\n"


def test_a_locale_without_words_of_its_own_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "set", "locale", "xx") == 0
    assert "Note: locale xx: there are no words for it, so the speaker speaks English." in " ".join(
        capsys.readouterr().err.split()
    )

    assert run(path, "set", "locale", "fr-CA") == 0
    assert "Note" not in capsys.readouterr().err


def test_set_for_programs_is_one_json_object(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--json", "set", "hardware.board", "generic-led") == 0

    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "changed": True,
        "key": "hardware.board",
        "value": "generic-led",
        "notes": [],
        "problems": [],
        "next": None,
    }


@pytest.mark.parametrize(
    ("name", "word", "why"),
    [
        ("dsn", "123456", "is a placeholder"),
        ("renewals", "many", "must be a whole number"),
        ("locale", "", "is empty"),
        ("base_url", "http://amazon.test/", "https"),
        ("hardware.board", "kitchen", "is not a known board"),
        ("page", "maybe", "page"),
        ("metrics", "perhaps", "true or false"),
    ],
)
def test_a_value_that_is_refused_changes_nothing(path: Path, name: str, word: str, why: str) -> None:
    before = path.stat()

    with pytest.raises(ConfigError, match="nothing was changed") as refused:
        run(path, "set", name, word)

    assert why in str(refused.value)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["renewal", "hardware..board", "hardware.", "dsn.x", "a\x1b[31m", "[hardware]"]
)
def test_a_name_that_is_no_settings_is_a_wrong_command(path: Path, name: str) -> None:
    for action in (("get", name), ("set", name, "1")):
        with pytest.raises(WrongUse, match="there is no setting") as refused:
            run(path, *action)
        assert str(refused.value).isprintable()
        assert refused.value.hint
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set",), "needs a KEY"),
        (("get",), "needs a KEY"),
        (("show", "dsn"), "KEY has no meaning for: config show"),
        (("get", "dsn", "5"), "VALUE has no meaning"),
        (("set", "dsn", "A1", "--locale", "de"), "--locale has no meaning"),
        (("edit", "--simulate", "auto"), "--simulate has no meaning"),
        (("check", "--force"), "--force has no meaning"),
    ],
)
def test_an_argument_without_a_meaning_is_refused(path: Path, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(WrongUse, match=why):
        run(path, *words)


@pytest.mark.parametrize(
    ("name", "word"), [("client_secret", CANARY), ("proxy", f"http://me:{CANARY}@proxy.test:1")]
)
def test_a_secret_is_not_taken_from_the_command_line(
    path: Path, name: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WrongUse) as refused:
        run(path, "set", name, word)

    assert CANARY not in str(refused.value) + refused.value.hint
    with standard_input(f"{word}\n".encode()):
        assert run(path, "--json", "set", name) == 0
    assert tomllib.loads(path.read_text())[name] == word
    assert run(path, "get", name) == 0
    told = capsys.readouterr()
    assert CANARY not in told.out + told.err


def test_a_secret_is_put_into_no_file_that_others_can_read(path: Path) -> None:
    path.chmod(0o644)

    with (
        standard_input(f"{CANARY}\n".encode()),
        pytest.raises(ConfigError, match="read by others") as refused,
    ):
        run(path, "set", "client_secret")

    assert f"chmod 600 {path}" in refused.value.hint
    assert path.read_text() == TEXT


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\xfa", b"x" * 2000])
def test_standard_input_without_a_value_changes_nothing(path: Path, content: bytes) -> None:
    with standard_input(content), pytest.raises(ConfigError, match="standard input holds no value for dsn"):
        run(path, "set", "dsn")

    assert path.read_text() == TEXT


def test_set_tells_what_the_identity_of_the_unit_overrides(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "identity.toml").write_text('dsn = "FACTORY_7"\n')

    run_config(tmp_path, "set", "dsn", "G0009", "--config", str(path), "--state-dir", str(state))

    told = " ".join(capsys.readouterr().err.split())
    assert f"dsn (file {path}) is not used: identity {state}/identity.toml comes first." in told
    assert 'dsn = "G0009"' in path.read_text()


def test_set_tells_what_the_environment_overrides(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(path, "set", "dsn", "G0009", DEVICE_AUTH_DSN="G0008")

    assert "Note: dsn is not used here: DEVICE_AUTH_DSN in the environment" in capsys.readouterr().err


def test_set_names_the_command_that_makes_the_service_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("run/systemd/system", "usr/lib/systemd/system", "etc/device-auth"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/device-auth.service").touch()
    path = settings_file(tmp_path / "etc/device-auth", TEXT)

    run_config(tmp_path, "set", "renewals", "4", XDG_STATE_HOME=str(tmp_path / "state"))
    run_config(tmp_path, "set", "locale", "de-DE", XDG_STATE_HOME=str(tmp_path / "state"))
    run_config(tmp_path, "set", "locale", "de-DE", XDG_STATE_HOME=str(tmp_path / "state"))

    reloads, restarts, nothing = capsys.readouterr().err.split(f" {path}.\n")[1:]
    assert "sudo systemctl reload device-auth" in reloads
    assert RESTART in restarts
    assert nothing == ""


def test_what_was_set_on_the_unit_is_changed_there(tmp_path: Path) -> None:
    state, system = tmp_path / "state", tmp_path / "etc/device-auth"
    state.mkdir()
    system.mkdir(parents=True)
    path = settings_file(system, TEXT)
    (state / "settings.toml").write_text("renewals = 7\n")

    run_config(tmp_path, "set", "renewals", "8", "--state-dir", str(state))

    assert (state / "settings.toml").read_text() == "renewals = 8\n"
    assert path.read_text() == TEXT


def test_unset_makes_a_setting_a_comment_and_says_what_still_sets_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, "unset", "renewals", DEVICE_AUTH_RENEWALS="4") == 0

    assert path.read_text() == TEXT.replace("renewals = 3", "# renewals = 3")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"Changed {path}.",
        "Note: renewals is still set: environment DEVICE_AUTH_RENEWALS",
    ]
    assert run(path, "unset", "renewals") == 0
    assert capsys.readouterr().err == f"Nothing was changed in {path}.\n"


def test_unset_takes_out_first_what_was_set_on_the_unit(tmp_path: Path) -> None:
    config = settings_file(tmp_path, TEXT)
    on_unit = tmp_path / "state/settings.toml"
    on_unit.parent.mkdir()
    on_unit.write_text("renewals = 7\n")
    words = ("--state-dir", str(on_unit.parent), "unset", "renewals")

    assert run_config(tmp_path, *words, euid=None, DEVICE_AUTH_CONFIG=str(config)) == 0
    assert (on_unit.read_text(), config.read_text()) == ("# renewals = 7\n", TEXT)
    assert run_config(tmp_path, *words, euid=None, DEVICE_AUTH_CONFIG=str(config)) == 0
    assert "# renewals = 3" in config.read_text()


def test_two_settings_that_belong_together_can_be_set_one_after_the_other(path: Path) -> None:
    run(path, "set", "dialect", "rfc8628")
    run(path, "set", "device_endpoint", "https://id.test/device")
    run(path, "set", "token_endpoint", "https://id.test/token")

    assert run(path, "check") == 0


def test_get_prints_the_value_in_force(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(path, "get", "dsn")
    run(path, "get", "dsn", "--dsn", "G0005", "--json")
    run(path, "get", "hardware")
    run(path, "get", "metrics")

    assert capsys.readouterr().out.splitlines() == [
        "G0001",
        json.dumps(
            {"key": "dsn", "value": "G0005", "origin": "option --dsn", "passed_over": [f"file {path}"]}
        ),
        '{ board = "none" }',
        "false",
    ]


def test_get_of_what_is_not_set_prints_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"hardware\.led is not set"):
        run(path, "get", "hardware.led")

    assert capsys.readouterr().out == ""


# -- edit


def editor(folder: Path, commands: str) -> str:
    """Return an editor that runs commands of a shell with the file as $1."""
    program = folder / "editor"
    program.write_text(f"#!/bin/sh\n{commands}\n")
    program.chmod(0o700)
    return str(program)


def test_edit_puts_in_place_what_the_editor_left(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away")
    program = editor(away, 'stat -c %a "$1" "${1%/*}" > "$2"; printenv >> "$2"; sed -i s/G0001/G0002/ "$3"')
    seen = away / "seen"
    path.chmod(0o640)

    run(path, "edit", VISUAL=f"sh {program} x '{seen}'", EDITOR="false", DEVICE_AUTH_CLIENT_SECRET=CANARY)

    assert path.read_text() == TEXT.replace("G0001", "G0002")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert CANARY not in seen.read_text()


@pytest.mark.parametrize(
    "commands",
    [
        "sed -i s/none/kitchen/ $1",
        "echo '[' >> $1",
        "printf '\\377' >> $1",
        "sed -i s/G0001/G0002/ $1; exit 1",
        "rm $1",
        "head -c 70000 /dev/zero | tr '\\0' '#' >> $1",
    ],
)
def test_an_edit_that_makes_the_settings_wrong_changes_nothing(
    path: Path, tmp_path_factory: pytest.TempPathFactory, commands: str
) -> None:
    before = path.stat()

    with pytest.raises(ConfigError):
        run(path, "edit", EDITOR=editor(tmp_path_factory.mktemp("away"), commands))

    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == TEXT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        ("kill -INT $$", "^nothing was changed$"),
        ("exit 130", "^nothing was changed$"),
        ("kill -TERM $$", "the editor .* was ended by the signal SIGTERM; nothing was changed"),
        ("exit 3", "the editor .* ended with status 3; nothing was changed"),
    ],
)
def test_an_editor_that_is_ended_is_told_of_in_words(
    path: Path, tmp_path_factory: pytest.TempPathFactory, commands: str, told: str
) -> None:
    with pytest.raises(DeviceAuthError, match=told) as ended:
        run(path, "edit", EDITOR=editor(tmp_path_factory.mktemp("away"), commands))

    assert ended.value.exit_code == (130 if told.startswith("^") else 78)
    assert path.read_text() == TEXT


def test_edit_mends_a_file_that_is_no_toml(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path.write_text(TEXT + "[page\n")

    assert run(path, "edit", EDITOR=editor(tmp_path_factory.mktemp("away"), "sed -i '/page/d' $1")) == 0

    assert path.read_text() == TEXT


def test_a_file_that_is_no_toml_is_not_left_so_by_an_edit(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path.write_text(TEXT + "[page\n")

    with pytest.raises(ConfigError, match="nothing was changed"):
        run(path, "edit", EDITOR=editor(tmp_path_factory.mktemp("away"), "sed -i s/G0001/G0002/ $1"))

    assert path.read_text() == TEXT + "[page\n"


def test_an_edit_takes_no_change_of_another_program_back(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = editor(tmp_path_factory.mktemp("away"), f"echo '# other' >> {path}; echo '# mine' >> $1")

    with pytest.raises(ConfigError, match="by another program"):
        run(path, "edit", EDITOR=program)

    assert path.read_text() == TEXT + "# other\n"


def test_edit_begins_a_file_with_every_setting_explained(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = editor(tmp_path_factory.mktemp("away"), "sed -i 's/^# dsn = .*/dsn = \"G7\"/' $1")

    run_config(tmp_path, "edit", EDITOR=program, XDG_CONFIG_HOME=str(tmp_path), euid=1000)

    assert tomllib.loads((tmp_path / "device-auth/config.toml").read_text())["dsn"] == "G7"


@pytest.mark.parametrize("named", ["/nowhere/editor", "'"])
def test_an_editor_that_cannot_be_run_is_told(path: Path, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run(path, "edit", EDITOR=named)

    assert "EDITOR" in refused.value.hint


@pytest.mark.parametrize("action", [("set", "dsn", "G0002"), ("edit",)])
def test_a_named_file_that_is_not_there_is_not_made(tmp_path: Path, action: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        run(tmp_path / "confg.toml", *action, EDITOR="true")

    assert list(tmp_path.iterdir()) == []
