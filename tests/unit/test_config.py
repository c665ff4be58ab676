import grp
import json
import os
import stat
import tomllib
from argparse import ArgumentParser
from pathlib import Path

import pytest

from device_auth.assembly.hardware_parts import read_hardware
from device_auth.cli import config
from device_auth.cli.first_settings import example_text
from device_auth.core.errors import ConfigError, WrongUse
from device_auth.core.states import StateWord
from device_auth.world.settings import KEYS, add_provider_options, option_of, variable_of
from hardware.led import Colour, Solid
from tests.stand_ins.fixtures import importable, not_installed
from tests.wrong_hardware import WRONG_TABLES, as_toml

pytestmark = pytest.mark.usefixtures("few_authorities")

CANARY = "canary-2f7c1d"
CLIENT_ID = "amzn1.application-oa2-client.0123456789abcdefghijklmnopqrstuv"
COMPLETE = f'client_id = "{CLIENT_ID}"\nproduct_id = "Kitchen"\ndsn = "G0001"\n'


def run_config(root: Path, *words: str, euid: int | None = None, **environ: str) -> int:
    """Run the verb on a machine of its own, as the command line does."""
    parser = ArgumentParser()
    parser.add_argument("--json", action="store_true")
    for option in ("--config", "--state-dir", "--runtime-dir", "--simulate"):
        parser.add_argument(option)
    add_provider_options(parser)
    config.add_arguments(parser)
    everything = {"HOME": str(root / "home"), "XDG_STATE_HOME": "/state", **environ}
    return config.run(parser.parse_args(words), environ=everything, euid=euid, root=root)


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def uncommented(text: str) -> str:
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    return "\n".join(line for line in lines if " = " in line or line.startswith("["))


def test_the_example_explains_every_key_and_sets_none() -> None:
    text = example_text()

    assert tomllib.loads(text) == {"hardware": {}}
    for key in KEYS:
        assert f"# {key.name} = " in text
        assert variable_of(key) in text
        assert option_of(key) in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_example_is_toml_once_its_settings_are_taken_out_of_the_comments() -> None:
    found = tomllib.loads(uncommented(example_text()))

    assert {name: str(value) for name, value in found.items() if name not in {"hardware", "page"}} == {
        key.name: str(key.example) for key in KEYS
    }
    plan, patterns = read_hardware(found["hardware"])
    assert plan.board == "none"
    assert patterns[StateWord.LINKED] == Solid(Colour(0, 0x40, 0xFF))


def test_init_writes_the_example_for_its_owner_alone_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a" / "config.toml"

    assert run_config(tmp_path, "init", "--config", str(path)) == 0

    assert path.read_text() == example_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    told = capsys.readouterr()
    assert told.out == ""
    assert str(path) in told.err
    assert f"device-auth config set client_id VALUE --config {path}" in " ".join(told.err.split())


def test_init_writes_what_the_options_give_and_asks_nothing_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    given = ("--client-id", CLIENT_ID, "--product-id", "Kitchen", "--dsn", "G0001", "--locale", "de-DE")

    assert run_config(tmp_path, "--json", "--config", str(path), *given, "init") == 0

    assert tomllib.loads(path.read_text()) == {**tomllib.loads(COMPLETE), "locale": "de-DE", "hardware": {}}
    assert all(variable_of(key) in path.read_text() for key in KEYS)
    assert json.loads(capsys.readouterr().out) == {
        "file": str(path),
        "set": {**tomllib.loads(COMPLETE), "locale": "de-DE"},
        "notes": [],
        "problems": [],
        "next": f"device-auth link --config {path}",
    }


def test_init_tells_of_a_locale_without_words_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_config(tmp_path, "--config", str(tmp_path / "config.toml"), "--locale", "xx", "init") == 0

    told = " ".join(capsys.readouterr().err.split())
    assert "Note: locale xx: there are no words for it, so the speaker speaks English." in told


def test_init_does_not_pass_over_a_secret(tmp_path: Path) -> None:
    path, secret = tmp_path / "config.toml", tmp_path / "secret"
    secret.write_text("a-secret-of-ours")
    secret.chmod(0o600)
    given = ("--dialect", "rfc8628", "--client-secret-file", str(secret))

    with pytest.raises(WrongUse, match=r"--client-secret-file has no meaning for: config init") as raised:
        run_config(tmp_path, "--config", str(path), *given, "init")

    assert raised.value.hint == "A secret comes after it: device-auth config set client_secret < FILE"
    assert not path.exists()


def test_init_for_programs_tells_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_config(tmp_path, "--json", "--config", str(tmp_path / "c.toml"), "--dsn", "G0001", "init", euid=1000)

    told = json.loads(capsys.readouterr().out)
    assert [problem["message"] for problem in told["problems"]] == [
        "client_id is not set",
        "product_id is not set",
    ]
    assert told["next"] == f"device-auth config set client_id VALUE --config {tmp_path}/c.toml"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--dsn", "123456"), "dsn (option --dsn) is a placeholder"),
        (("--locale", "english"), "locale (option --locale) must be a language"),
        (("--issuer", "https://id.test/"), "does not belong to the dialect lwa"),
    ],
)
def test_init_writes_no_file_with_a_wrong_setting(tmp_path: Path, given: tuple[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        run_config(tmp_path, "--config", str(tmp_path / "config.toml"), *given, "init")

    assert why in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "given", "command"),
    [
        ((), (), "sudo systemctl enable --now device-auth.socket device-auth.service"),
        (("/missing",), (), "device-auth link"),
        ((), ("--product-id", ""), "sudo device-auth config set product_id VALUE"),
    ],
)
def test_init_names_the_next_command_of_the_service(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: tuple[str, ...],
    given: tuple[str, ...],
    command: str,
) -> None:
    unit = tmp_path / "usr/lib/systemd/system/device-auth.service"
    unit.parent.mkdir(parents=True)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    if not files:
        unit.touch()
    ids = {"--client-id": CLIENT_ID, "--product-id": "Kitchen", "--dsn": "G0001"}
    for option in given[:1]:
        del ids[option]

    run_config(tmp_path, *(word for pair in ids.items() for word in pair), "init", euid=0)

    assert f"Next: {command}\n" in capsys.readouterr().err
    assert (tmp_path / "etc/device-auth/config.toml").exists()


def test_init_does_not_touch_a_file_that_is_there(tmp_path: Path) -> None:
    path = settings_file(tmp_path, COMPLETE)

    with pytest.raises(ConfigError, match="already") as caught:
        run_config(tmp_path, "init", "--config", str(path))

    assert "--force" in caught.value.hint
    assert "config set" in caught.value.hint
    assert path.read_text() == COMPLETE


def test_init_does_not_write_through_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to("elsewhere")

    with pytest.raises(ConfigError, match="already"):
        run_config(tmp_path, "init", "--config", str(tmp_path / "config.toml"))


def test_init_with_force_replaces_the_file_and_its_mode(tmp_path: Path) -> None:
    path = settings_file(tmp_path, COMPLETE)
    path.chmod(0o666)

    assert run_config(tmp_path, "init", "--config", str(path), "--force") == 0

    assert path.read_text() == example_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_service_may_read_what_root_has_init_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = grp.struct_group(("device-auth", "x", 997, []))
    monkeypatch.setattr(grp, "getgrnam", {"device-auth": given}.__getitem__)

    run_config(tmp_path, "init", "--config", str(tmp_path / "config.toml"))

    status = (tmp_path / "config.toml").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 997, 0o640)


@pytest.mark.parametrize("name", ["file/config.toml", "a\0b/config.toml", "x" * 300])
def test_init_tells_when_it_cannot_write(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot write"):
        run_config(tmp_path, "init", "--config", str(tmp_path / name))


def test_init_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(ConfigError, match="cannot write"):
        run_config(tmp_path, "init", "--config", str(tmp_path / "folder"), "--force")

    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_init_tells_when_another_file_would_be_read_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = tmp_path / "etc/device-auth/config.toml"
    system.parent.mkdir(parents=True)
    system.touch()

    run_config(tmp_path, "init", euid=1000, XDG_CONFIG_HOME=str(tmp_path / "own"))

    assert (tmp_path / "own/device-auth/config.toml").read_text() == example_text()
    told = capsys.readouterr().err.replace("\n  ", " ")
    assert f"But {system} is read first" in told


@pytest.mark.parametrize(
    ("stand_ins", "written"),
    [
        (("modules",), 'gpio = "gpiod"'),
        (("gpiod_1", "original"), 'gpio = "rpi-gpio"'),
        ((), '# gpio = "gpiod"'),
    ],
)
def test_init_writes_down_which_library_of_the_pins_there_is(
    tmp_path: Path, stand_ins: tuple[str, ...], written: str
) -> None:
    with importable(*stand_ins) if stand_ins else not_installed():
        run_config(tmp_path, "init", "--config", str(tmp_path / "config.toml"))
    text = (tmp_path / "config.toml").read_text()

    assert written in text.splitlines()
    assert tomllib.loads(text).get("hardware", {}) == tomllib.loads(written)


def test_show_gives_every_value_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings_file(tmp_path, COMPLETE + '[hardware]\nboard = "simulated"\n')

    assert (
        run_config(tmp_path, "show", "--config", str(path), "--locale", "de-DE", DEVICE_AUTH_DSN="G0002") == 0
    )

    told = capsys.readouterr()
    assert told.err == ""
    rows = [line.split() for line in told.out.splitlines()]
    assert ["locale", "--locale", "de-DE"] in rows
    assert ["dsn", "DEVICE_AUTH_DSN", "over", "file", "G0002"] in rows
    assert ["product_id", "file", "Kitchen"] in rows
    assert ["renewals", "default", "2"] in rows
    assert ["issuer", "default", "not", "set"] in rows
    assert ["hardware.board", "file", "simulated"] in rows
    assert ["settings", "file", str(path)] in rows
    assert [CLIENT_ID] in rows


def test_show_fits_80_columns_and_cuts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scope = " ".join(f"scope-number-{number}" for number in range(20))

    run_config(tmp_path, "show", "--scope", scope, "--state-dir", "/state", "--runtime-dir", "/run/x")

    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert scope in "".join(line.removeprefix("    ") for line in lines)


def test_show_keeps_the_secret_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings_file(tmp_path, f'client_secret = "{CANARY}"\n')

    run_config(tmp_path, "show", "--config", str(path))
    run_config(tmp_path, "show", "--config", str(path), "--json")

    told = capsys.readouterr()
    assert told.out.count("set (hidden)") == 2
    assert CANARY not in told.out + told.err


def test_show_masks_the_user_and_the_password_of_a_proxy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings_file(tmp_path, f'proxy = "http://{CANARY}:{CANARY}@proxy.test:3128"\n')

    run_config(tmp_path, "show", "--config", str(path))
    run_config(tmp_path, "show", "--config", str(path), "--json")

    told = capsys.readouterr()
    assert told.out.count("http://***@proxy.test:3128") == 4  # as a setting, and in force
    assert CANARY not in told.out + told.err


def test_show_tells_whose_authorities_are_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_config(tmp_path, "show", "--json", SSL_CERT_FILE="/company.pem")
    run_config(tmp_path, "show", "--json", "--ca-file", "/ours.pem", SSL_CERT_FILE="/company.pem")
    run_config(tmp_path, "show", SSL_CERT_FILE="/company.pem")

    variable, option, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(variable)["authorities"] == {
        "origin": "SSL_CERT_FILE",
        "file": "/company.pem",
        "folder": "",
    }
    assert json.loads(option)["authorities"]["origin"] == "ca_file"
    assert ["authorities", "SSL_CERT_FILE:", "/company.pem"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("name", "value"), [("HTTPS_PROXY", "gopher://proxy.test"), ("CURL_CA_BUNDLE", "/nowhere/ca.pem")]
)
def test_check_finds_what_keeps_every_request_from_leaving(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    path = settings_file(tmp_path, COMPLETE)

    assert run_config(tmp_path, "check", "--config", str(path)) == 78
    assert name in capsys.readouterr().err


def test_show_for_programs_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings_file(
        tmp_path, COMPLETE + "[hardware]\na = inf\nb = 1979-05-27\nc = [nan, 1.5, true, { d = 'x' }]\n"
    )

    run_config(tmp_path, "show", "--config", str(path), "--json", "--runtime-dir", "/run/x")

    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown["config_file"] == str(path)
    assert shown["runtime_dir"] == "/run/x"
    assert shown["settings"]["dsn"] == {"value": "G0001", "origin": f"file {path}", "passed_over": []}
    assert shown["settings"]["issuer"] == {"value": None, "origin": "default", "passed_over": []}
    assert shown["settings"]["renewals"] == {"value": 2, "origin": "default", "passed_over": []}
    assert set(shown["settings"]) == {key.name for key in KEYS}
    assert shown["hardware"] == {"a": "inf", "b": "1979-05-27", "c": ["nan", 1.5, True, {"d": "x"}]}


def test_show_names_the_dsn_in_force_and_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "sys/firmware/devicetree/base/serial-number"
    board.parent.mkdir(parents=True)
    board.write_bytes(b"10000000a1b2c3d4\0")
    run_config(tmp_path, "show", "--json")
    run_config(tmp_path, "show")
    run_config(tmp_path, "show", "--dsn=G0001")
    run_config(tmp_path, "show", "--dialect=rfc8628")

    as_json, of_board, given, other = capsys.readouterr().out.split("\nidentity  ")
    assert json.loads(as_json)["settings"]["dsn"]["value"] == "10000000a1b2c3d4"
    assert json.loads(as_json)["settings"]["dsn"]["origin"] == "board"
    assert dsn_of(of_board) == ["board", "10000000a1b2c3d4"]
    assert dsn_of(given) == ["--dsn", "G0001"]
    assert dsn_of(other) == ["default", "not", "set"]


def test_show_takes_no_serial_number_that_is_not_a_real_one_for_the_dsn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "sys/firmware/devicetree/base/serial-number"
    board.parent.mkdir(parents=True)
    board.write_bytes(b"0000000000000000\0")
    run_config(tmp_path, "show")

    assert dsn_of(capsys.readouterr().out) == ["default", "not", "set"]


def dsn_of(shown: str) -> list[str]:
    (row,) = [line.split()[1:] for line in shown.splitlines() if line.startswith("dsn ")]
    return row


def test_show_without_a_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_config(tmp_path, "show", "--json")
    run_config(tmp_path, "show")

    as_json, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(as_json)["config_file"] is None
    assert [line.split()[-1] for line in lines[:3]] == ["none"] * 3
    assert lines[2].split() == ["settings", "file", "none"]


def test_show_does_not_let_a_value_play_with_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_config(tmp_path, "show", DEVICE_AUTH_DSN="\x1b[31m")

    assert r"'\x1b[31m'" in capsys.readouterr().out


PROXY_VARIABLES = tuple(
    name
    for lower in ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
    for name in (lower, lower.upper())
)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        (
            {"HTTPS_PROXY": f"http://me:{CANARY}@proxy.test:3128"},
            ("HTTPS_PROXY", "http://***@proxy.test:3128"),
        ),
        ({"ALL_PROXY": "proxy.test:3128"}, ("ALL_PROXY", "http://proxy.test:3128")),
        (
            {"https_proxy": f"ftp://me:{CANARY}@x"},
            ("https_proxy", "the proxy of the variable https_proxy must"),
        ),
        (
            {"HTTPS_PROXY": f"http://me:{CANARY}@x:1", "no_proxy": "amazon.com"},
            ("no_proxy", "none for api.amazon.com"),
        ),
        (
            {"HTTPS_PROXY": "http://x:1", "DEVICE_AUTH_PROXY": f"http://me:{CANARY}@own.test:1"},
            ("proxy", "http://***@own.test:1"),
        ),
        ({"HTTP_PROXY": "http://x:1"}, None),
        ({}, None),
    ],
)
def test_show_names_the_proxy_in_force_and_where_it_comes_from(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    shown: tuple[str, str] | None,
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    run_config(tmp_path, "show", euid=None, **variables)
    run_config(tmp_path, "show", "--json", euid=None, **variables)

    told = capsys.readouterr().out
    found = json.loads(told.splitlines()[-1])["proxy"]
    assert CANARY not in told
    if shown is None:
        assert found is None
        return
    assert found["origin"] == shown[0]
    assert found["address"].startswith(shown[1])
    assert f"proxy           {shown[0]}: {shown[1]}" in told


def test_a_provider_on_this_machine_needs_no_proxy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://x:1")

    run_config(
        tmp_path,
        "show",
        "--json",
        HTTPS_PROXY="http://x:1",
        DEVICE_AUTH_BASE_URL="https://127.0.0.1/auth/O2/",
    )

    assert json.loads(capsys.readouterr().out)["proxy"] is None


def test_show_refuses_settings_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown setting"):
        run_config(tmp_path, "show", DEVICE_AUTH_NONSENSE="1")


def test_check_is_content_with_complete_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings_file(tmp_path, COMPLETE)

    assert run_config(tmp_path, "check", "--config", str(path)) == 0

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "The settings are complete.\n"


def test_check_goes_through_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings_file(
        tmp_path, 'clientid = "x"\nproduct_id = "INSERT_ID"\nissuer = "x"\nca_file = "/nowhere"\nlocale = 5\n'
    )

    assert run_config(tmp_path, "check", "--config", str(path), "--dsn", "123456", DEVICE_AUTH_X=CANARY) == 78

    told = capsys.readouterr().err
    wrong = [line.split(" ")[1] for line in told.splitlines() if line.startswith("Wrong: ")]
    assert wrong == ["unknown", "unknown", "locale", "client_id", "product_id", "dsn", "ca_file"]
    assert "Note: issuer" in told
    assert "Did you mean 'client_id'?" in told
    assert "complete" not in told
    assert CANARY not in told


@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_check_finds_every_wrong_setting_of_a_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    path = settings_file(tmp_path, COMPLETE + as_toml(WRONG_TABLES[wrong]))

    assert run_config(tmp_path, "check", "--json", "--config", str(path)) == 78

    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert wrong in problem["message"] + problem["hint"]


def test_check_for_programs_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_config(tmp_path, "check", "--json", "--client-id", "me", "--product-id", "P", "--dsn", "<dsn>")
        == 78
    )

    shown = json.loads(capsys.readouterr().out)
    assert [problem["message"] for problem in shown["problems"]] == ["dsn (option --dsn) is a placeholder"]
    assert "DEVICE_AUTH_DSN" in shown["problems"][0]["hint"]
    assert len(shown["warnings"]) == 2


def test_check_tells_of_a_file_that_cannot_be_read_and_of_nothing_that_follows_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings_file(tmp_path, "client_id = ")

    assert run_config(tmp_path, "check", "--config", str(path)) == 78

    told = capsys.readouterr().err
    assert told.count("Wrong:") == 1
    assert "is not valid TOML" in " ".join(told.split())


def test_check_looks_at_the_key_file_and_leaves_to_the_service_what_is_the_services(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_bytes(CANARY.encode() * 9)
    key.chmod(0o644)
    path = settings_file(tmp_path, f'{COMPLETE}\nkey_file = "{key}"\nkey_provider = "systemd-credential"\n')

    assert run_config(tmp_path, "check", "--config", str(path)) == 78
    told = " ".join(capsys.readouterr().err.split())  # a long path goes into a line of its own
    assert "(mode 0644)" in told
    assert f"chmod 600 {key}" in told
    assert CANARY not in told
    key.chmod(0o600)
    assert run_config(tmp_path, "check", "--config", str(path)) == 0
