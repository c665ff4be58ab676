import argparse
import grp
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from grp import struct_group
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Secret
from device_auth.world.settings import (
    DEEPEST,
    KEYS,
    LARGEST_FILE,
    PROVIDER_OPTIONS,
    Settings,
    SettingsFiles,
    add_option,
    add_provider_options,
    environment_for_others,
    gather_settings,
    option_of,
    read_settings,
    variable_of,
)
from hardware.settings import ValueType, as_toml

CANARY = "canary-2f7c1d"


def settings_file(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def files(config: Path | None) -> SettingsFiles:
    return SettingsFiles(config=config)


def read_file(folder: Path, text: str | bytes, mode: int = 0o600) -> Settings:
    return read_settings({}, files(settings_file(folder, text, mode)), {})


def read_environment(**environ: str) -> Settings:
    return read_settings({}, None, environ)


def refused(
    options: Mapping[str, object], path: Path | None = None, environ: Mapping[str, str] | None = None
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_settings(options, files(path), environ or {})
    assert caught.value.exit_code == 78
    assert caught.value.hint
    return caught.value


def refused_file(folder: Path, text: str | bytes, mode: int = 0o600) -> ConfigError:
    return refused({}, settings_file(folder, text, mode))


def test_nothing_given_means_the_defaults() -> None:
    settings = read_settings({}, None, {})

    assert settings.dialect is DialectName.LWA
    assert settings.scope == "alexa:all"
    assert settings.locale == "en-US"
    assert settings.base_url == "https://api.amazon.com/auth/O2/"
    assert settings.renewals == 2
    assert settings.client_id == ""
    assert settings.client_secret is None
    assert settings.hardware == {}
    assert set(settings.origins.values()) == {"default"}


def test_an_option_beats_the_environment_the_environment_the_file_the_file_the_default(
    tmp_path: Path,
) -> None:
    path = settings_file(tmp_path, 'client_id = "file"\nproduct_id = "file"\ndsn = "file"\n')
    environ = {"DEVICE_AUTH_CLIENT_ID": "variable", "DEVICE_AUTH_PRODUCT_ID": "variable"}

    settings = read_settings({"client_id": "option", "verb": "link", "dsn": None}, files(path), environ)

    assert (settings.client_id, settings.product_id, settings.dsn) == ("option", "variable", "file")
    assert settings.origins["client_id"] == "option --client-id"
    assert settings.origins["product_id"] == "environment DEVICE_AUTH_PRODUCT_ID"
    assert settings.origins["dsn"] == f"file {path}"
    assert settings.origins["locale"] == "default"
    assert settings.is_given("dsn")
    assert not settings.is_given("locale")


def test_every_key_is_a_field_of_the_settings() -> None:
    assert Settings.__match_args__ == (
        *(key.name for key in KEYS),
        "hardware",
        "page",
        "origins",
        "passed_over",
        "identity",
        "files",
        "unread",
        "hardware_of",
        "platform_variables",
    )


def test_every_key_can_be_set_in_the_file_to_its_example(tmp_path: Path) -> None:
    for key in KEYS:
        if key.is_secret:
            continue

        settings = read_file(tmp_path, f"{key.name} = {as_toml(key.example)}\n")

        given = getattr(settings, key.name)
        assert (str(given) if key.name == "proxy" else given) == key.example


def test_every_key_can_be_set_in_the_environment() -> None:
    for key in KEYS:
        settings = read_environment(
            **{
                variable_of(key): CANARY
                if key.is_secret
                else str(key.example).lower()
                if key.type is ValueType.FLAG
                else str(key.example)
            }
        )

        assert settings.origins[key.name] == f"environment {variable_of(key)}"


def test_the_scope_is_empty_by_default_for_rfc8628() -> None:
    assert read_environment(DEVICE_AUTH_DIALECT="rfc8628").scope == ""
    assert read_environment(DEVICE_AUTH_DIALECT="rfc8628", DEVICE_AUTH_SCOPE="openid").scope == "openid"


def test_an_empty_variable_counts_as_none_but_an_empty_option_is_refused() -> None:
    assert read_environment(DEVICE_AUTH_CLIENT_ID="").origins["client_id"] == "default"
    assert "is empty" in str(refused({"client_id": ""}))


def test_an_empty_text_in_the_file_is_refused_with_its_line(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, '# a\n\nclient_id = ""\n')

    assert str(problem) == f"client_id (file {tmp_path}/config.toml, line 3) is empty: set it or leave it out"
    assert "--client-id" in problem.hint
    assert "DEVICE_AUTH_CLIENT_ID" in problem.hint


@pytest.mark.parametrize("text", ["0", "2", "100"])
def test_renewals_may_be_a_number_in_the_file_and_digits_in_the_environment(
    tmp_path: Path, text: str
) -> None:
    assert read_file(tmp_path, f"renewals = {text}\n").renewals == int(text)
    assert read_environment(DEVICE_AUTH_RENEWALS=text).renewals == int(text)
    assert read_settings({"renewals": int(text)}, None, {}).renewals == int(text)


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("60", 60), ('"told"', "told"), ('"30"', 30)])
def test_the_polls_of_amazon_are_told_or_so_many_seconds_apart(
    tmp_path: Path, text: str, value: str | int
) -> None:
    assert read_file(tmp_path, f"poll_every = {text}\n").poll_every == value
    assert read_environment(DEVICE_AUTH_POLL_EVERY=text.strip('"')).poll_every == value


@pytest.mark.parametrize("text", ["4", "61", "true", "5.5", '"soon"', "[5]", '"-5"'])
def test_polls_of_amazon_come_neither_too_fast_nor_too_seldom(tmp_path: Path, text: str) -> None:
    assert "poll_every" in str(refused_file(tmp_path, f"poll_every = {text}\n"))


@pytest.mark.parametrize("text", ["-1", "101", "true", "1.5", "[2]", "1979-05-27", "0xffff"])
def test_renewals_must_be_a_whole_number_in_range(tmp_path: Path, text: str) -> None:
    assert "renewals" in str(refused_file(tmp_path, f"renewals = {text}\n"))


@pytest.mark.parametrize("text", ["-1", "101", "two", "1_0", " 1", "²", "٣", "9" * 5000])
def test_renewals_must_be_plain_digits_in_the_environment(text: str) -> None:
    assert "renewals" in str(refused({}, environ={"DEVICE_AUTH_RENEWALS": text}))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", "a number"),
        ("true", "true or false"),
        ("['a']", "a list"),
        ("{a = 1}", "a table"),
        ("12:00:00", "a date or a time"),
    ],
)
def test_a_text_of_another_kind_is_refused_by_name(tmp_path: Path, value: str, kind: str) -> None:
    assert str(refused_file(tmp_path, f"dsn = {value}\n")).endswith(
        f"must be text in quotation marks, not {kind}"
    )


def test_bytes_that_are_no_text_are_refused_wherever_they_come_from() -> None:
    problem = "has bytes that are not UTF-8"

    assert str(refused({"dsn": "K\udcff"})) == f"dsn (option --dsn) {problem}"
    with pytest.raises(ConfigError, match=problem):
        read_environment(DEVICE_AUTH_PRODUCT_ID="K\udcff")


def test_a_nul_is_refused_in_words(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, r'dsn = "K\u0000"')

    assert str(problem).endswith(", line 1) must not have a NUL character in it")


def test_an_unknown_dialect_is_refused_with_those_there_are() -> None:
    problem = refused({"dialect": "oauth"})

    assert str(problem) == "dialect (option --dialect) must be lwa or rfc8628"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("clientId", "client_id"),
        ("product-id", "product_id"),
        ("renewal", "renewals"),
        ("hardwear", "hardware"),
    ],
)
def test_an_unknown_setting_names_file_line_and_the_nearest_known_one(
    tmp_path: Path, written: str, meant: str
) -> None:
    problem = refused_file(tmp_path, f'# settings\n{written} = "x"\n')

    assert str(problem) == f"unknown setting '{written}' in {tmp_path}/config.toml, line 2"
    assert problem.hint == f"Did you mean {meant!r}?"


def test_an_unknown_setting_that_resembles_none_is_told_all_there_are(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, "[[zzzz]]\n")

    assert "line 1" in str(problem)
    assert all(key.name in problem.hint for key in KEYS)


def test_an_unknown_name_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    told = str(refused_file(tmp_path, '"\\u001b[31m' + "x" * 1000 + '" = 1\n'))

    assert "\x1b" not in told
    assert len(told) < 200 + len(str(tmp_path))


def test_an_unknown_variable_of_ours_names_the_nearest_known_one() -> None:
    problem = refused({}, environ={"DEVICE_AUTH_CLIENTID": CANARY})

    assert str(problem) == "unknown setting 'DEVICE_AUTH_CLIENTID' in the environment"
    assert problem.hint == "Did you mean 'DEVICE_AUTH_CLIENT_ID'?"


@pytest.mark.parametrize(
    "name",
    [
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "PORT_53_UDP_PROTO",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "NAME",
        "ENV_PATH",
    ],
)
def test_what_a_container_platform_puts_beside_ours_stops_nothing(name: str) -> None:
    read = read_environment(**{f"DEVICE_AUTH_{name}": "tcp://192.0.2.1:80"})

    assert read.platform_variables == (f"DEVICE_AUTH_{name}",)


@pytest.mark.parametrize("name", ["PORTS", "SERVICE", "PORT_80", "NAMES"])
def test_what_only_resembles_it_is_refused(name: str) -> None:
    assert str(refused({}, environ={f"DEVICE_AUTH_{name}": "1"})).startswith("unknown setting")


def test_other_variables_and_the_one_that_names_the_file_are_left_alone() -> None:
    assert read_environment(DEVICE_AUTH_CONFIG="/x", DEVICE="y", PATH="/bin").client_id == ""


def test_the_hardware_table_is_kept_as_it_stands(tmp_path: Path) -> None:
    settings = read_file(tmp_path, '[hardware]\nboard = "simulated"\nled = { pin = 17 }\n')

    assert settings.hardware == {"board": "simulated", "led": {"pin": 17}}


def test_hardware_must_be_a_table(tmp_path: Path) -> None:
    assert "hardware" in str(refused_file(tmp_path, 'hardware = "none"\n'))


def test_a_setting_that_slipped_into_the_hardware_table_is_told(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, '[hardware]\nclient_id = "x"\n')

    assert "client_id" in str(problem)
    assert "line 2 stands in the table [hardware]" in str(problem)


def test_all_problems_are_gathered_and_the_rest_still_counts(tmp_path: Path) -> None:
    path = settings_file(tmp_path, 'clientid = "x"\ndsn = 5\nlocale = "de-DE"\n')

    settings, problems = gather_settings(
        {"scope": ""}, files(path), {"DEVICE_AUTH_X": "y", "DEVICE_AUTH_RENEWALS": "many"}
    )

    assert len(problems) == 5
    assert settings.locale == "de-DE"
    assert settings.renewals == 2


def test_a_weaker_value_of_the_wrong_kind_is_told_though_a_stronger_one_counts(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "dsn = 5\n")

    assert "dsn" in str(refused({"dsn": "X1"}, path))


@pytest.mark.parametrize(
    "text", ["client_id = x\n", 'client_id = "a"\nclient_id = "b"\n', "\x00", "a = 'b' c"]
)
def test_malformed_toml_names_file_line_and_column(tmp_path: Path, text: str) -> None:
    told = str(refused_file(tmp_path, text))

    assert told.startswith(f"{tmp_path}/config.toml is not valid TOML: ")
    assert "line" in told
    assert "column" in told


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, b'client_secret = "' + CANARY.encode() + b'"\n\ndsn = "\xff"\n')

    assert str(problem) == f"{tmp_path}/config.toml is not UTF-8 (line 3)"
    assert problem.__context__ is None


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert read_file(tmp_path, b'\xef\xbb\xbfdsn = "X1"\n').dsn == "X1"


def test_a_named_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    problem = refused({}, tmp_path / "none.toml")

    assert str(problem) == f"cannot read {tmp_path}/none.toml: no such file or directory"
    assert "config init" in problem.hint


def test_a_folder_is_not_a_settings_file(tmp_path: Path) -> None:
    assert "not a file" in str(refused({}, tmp_path))


def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "not a file" in str(refused({}, tmp_path / "pipe"))


def test_a_path_no_system_takes_is_told(tmp_path: Path) -> None:
    assert "cannot read" in str(refused({}, Path("a\0b")))
    assert "too long" in str(refused({}, tmp_path / ("x" * 5000)))


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so it gives that up for a moment."""
    euid = os.geteuid()
    if euid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(euid)


def test_a_file_that_is_not_ours_to_read_is_told(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "", mode=0o000)

    with as_nobody():
        problem = refused({}, path)

    assert "permission denied" in str(problem)
    assert "sudo" in problem.hint


def test_a_file_up_to_the_largest_size_is_read_and_a_byte_more_is_refused(tmp_path: Path) -> None:
    lines = ("#" * 63 + "\n") * (LARGEST_FILE // 64)

    assert read_file(tmp_path, lines).client_id == ""
    assert "too large" in str(refused_file(tmp_path, lines + "#"))


def test_a_line_that_would_keep_the_reader_busy_for_minutes_is_refused(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, "\n" + "a." * 30000 + "a = 1")

    assert str(problem) == f"{tmp_path}/config.toml has more than 1024 characters in line 2"
    assert read_file(tmp_path, "#" * 1024).client_id == ""


@pytest.mark.parametrize("table", ["hardware", "hardware.led", "else"])
def test_a_client_secret_inside_a_table_is_refused_before_anyone_can_see_it(
    tmp_path: Path, table: str
) -> None:
    problem = refused_file(tmp_path, f'[{table}]\nclient_secret = "{CANARY}"\n')

    assert str(problem) == f"{tmp_path}/config.toml has client_secret inside a table"
    assert "settings come first" in problem.hint


def test_a_file_that_anyone_may_change_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, "", mode=0o646)

    assert str(problem).startswith("any user can change ")
    assert problem.hint == f"Run: chmod o-w {tmp_path}/config.toml"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_with_the_client_secret_that_others_can_read_is_refused_with_the_command_to_run(
    tmp_path: Path, mode: int
) -> None:
    (tmp_path / "a b").mkdir()
    problem = refused_file(tmp_path / "a b", f'client_secret = "{CANARY}"\n', mode)

    assert problem.hint == f"Run: chmod 600 '{tmp_path}/a b/config.toml'"
    assert CANARY not in str(problem)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "is_read"),
    [
        (0, 997, 0o640, True),
        (0, 997, 0o600, True),
        (0, 997, 0o644, False),
        (0, 997, 0o660, False),
        (0, 0, 0o640, False),
        (65534, 997, 0o640, False),
    ],
)
def test_the_service_reads_settings_with_a_secret_that_are_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, *, is_read: bool
) -> None:
    given = struct_group(("device-auth", "x", 997, []))
    monkeypatch.setattr(grp, "getgrnam", {"device-auth": given}.__getitem__)
    path = settings_file(tmp_path, f'client_secret = "{CANARY}"\n')
    os.chown(path, owner, group)
    path.chmod(mode)

    if is_read:
        assert read_settings({}, files(path), {}).client_secret == Secret(CANARY)
        return
    problem = refused({}, path)
    shown = f"Run: chown root:device-auth {path} && chmod 640 {path}"
    assert problem.hint == (shown if owner == 0 else f"Run: chmod 600 {path}")


def test_a_file_without_a_secret_may_be_read_by_all(tmp_path: Path) -> None:
    assert read_file(tmp_path, 'dsn = "X1"\n', mode=0o644).dsn == "X1"


PROXY = f"http://me:{CANARY}@proxy.test:3128"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644])
def test_a_file_with_a_proxys_password_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a b").mkdir()
    problem = refused_file(tmp_path / "a b", f'proxy = "{PROXY}"\n', mode)

    assert str(problem) == f"{tmp_path}/a b/config.toml holds the password of proxy and can be read by others"
    assert problem.hint.startswith("Run: chmod 600 ")


def test_a_proxy_without_a_password_may_be_read_by_others(tmp_path: Path) -> None:
    path = settings_file(tmp_path, 'proxy = "http://proxy.test:3128"\n')
    path.chmod(0o644)

    assert str(read_settings({}, files(path), {}).proxy) == "http://proxy.test:3128"


def test_a_proxys_password_inside_a_table_is_refused_before_anyone_can_see_it(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, f'[hardware]\nproxy = "{PROXY}"\n')

    assert str(problem) == f"{tmp_path}/config.toml has proxy inside a table"


def test_a_proxys_password_is_kept_out_of_sight(tmp_path: Path) -> None:
    settings = read_file(tmp_path, f'proxy = "{PROXY}"\n')

    assert str(settings.proxy) == "http://***@proxy.test:3128"
    assert CANARY not in repr(settings)
    assert environment_for_others({"DEVICE_AUTH_PROXY": PROXY, "LANG": "C"}) == {"LANG": "C"}


def test_a_proxy_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(
        ConfigError, match=r"^proxy \(environment DEVICE_AUTH_PROXY\) is not a well-formed"
    ) as caught:
        read_environment(DEVICE_AUTH_PROXY=f"{PROXY}x")

    assert CANARY not in f"{caught.value} {caught.value.hint}"


def test_the_client_secret_is_kept_out_of_sight(tmp_path: Path) -> None:
    settings = read_file(tmp_path, f'client_secret = "{CANARY}"\n')

    assert settings.client_secret == Secret(CANARY)
    assert CANARY not in repr(settings)


def test_the_client_secret_is_never_an_option() -> None:
    assert read_settings({"client_secret": CANARY}, None, {}).client_secret is None
    assert "client_secret" not in PROVIDER_OPTIONS


@pytest.mark.parametrize(
    "secret", ["EXAMPLE_SECRET", f" {CANARY}", f"{CANARY}\t", f"{CANARY}ü", f"{CANARY}\udc80"]
)
def test_a_malformed_client_secret_is_refused_without_showing_it(secret: str) -> None:
    problem = refused({}, environ={"DEVICE_AUTH_CLIENT_SECRET": secret})

    assert str(problem).startswith("client_secret (environment DEVICE_AUTH_CLIENT_SECRET) ")
    assert secret not in str(problem) + problem.hint


def secret_file(folder: Path, content: bytes = CANARY.encode(), mode: int = 0o600) -> Path:
    path = folder / "a secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def credentials(folder: Path, content: bytes = CANARY.encode()) -> dict[str, str]:
    """Return the environment of a unit to which systemd has handed the client secret."""
    (folder / "device-auth.client-secret").write_bytes(content)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


@pytest.mark.parametrize(
    "content",
    [
        CANARY.encode(),
        f"{CANARY}\n".encode(),
        f"{CANARY}\r\n\r\n".encode(),
        f"\ufeff{CANARY}\n".encode(),
        f"{CANARY}\r\n".encode("utf-16"),
    ],
)
def test_a_file_named_by_an_option_holds_the_client_secret(tmp_path: Path, content: bytes) -> None:
    path = secret_file(tmp_path, content)

    settings = read_settings({"client_secret_file": str(path)}, None, {})

    assert settings.client_secret == Secret(CANARY)
    assert settings.origins["client_secret"] == "option --client-secret-file"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f'"{CANARY}"\n', "has quotation marks around it, which do not belong to it"),
        (f"{CANARY}\0", "is not text: "),
        (
            f"{CANARY}\n{CANARY}",
            "is a placeholder, or has spaces around it or characters that no client secret has",
        ),
    ],
)
def test_a_file_that_holds_no_client_secret_is_refused_without_showing_it(
    tmp_path: Path, content: str, why: str
) -> None:
    path = secret_file(tmp_path, content.encode())

    problem = refused({"client_secret_file": str(path)})

    assert str(problem).startswith(f"client_secret (option --client-secret-file) {why}")
    assert CANARY not in str(problem) + problem.hint


MARKED = [
    "client_id",
    "product_id",
    "dsn",
    "scope",
    "locale",
    "base_url",
    "key_file",
    "client_secret",
    "proxy",
]


@pytest.mark.parametrize("name", MARKED)
@pytest.mark.parametrize("marks", ['""', "''", "“”"])
def test_quotation_marks_that_reached_a_value_are_named(name: str, marks: str) -> None:
    variable = f"DEVICE_AUTH_{name.upper()}"

    problem = refused({}, environ={variable: marks[0] + CANARY + marks[1]})

    assert (
        str(problem)
        == f"{name} (environment {variable}) has quotation marks around it, which do not belong to it"
    )


def test_quotation_marks_inside_those_of_the_file_are_named_with_their_line(tmp_path: Path) -> None:
    problem = refused_file(tmp_path, f"\nclient_secret = '\"{CANARY}\"'\n")

    assert str(problem).endswith(
        "config.toml, line 2) has quotation marks around it, which do not belong to it"
    )


def test_a_credential_of_the_unit_is_the_client_secret(tmp_path: Path) -> None:
    settings = read_settings({}, None, credentials(tmp_path, f"{CANARY}\n".encode()))

    assert settings.client_secret == Secret(CANARY)
    assert settings.origins["client_secret"] == "credential device-auth.client-secret"


def test_a_unit_without_that_credential_has_no_client_secret(tmp_path: Path) -> None:
    assert read_environment(CREDENTIALS_DIRECTORY=str(tmp_path)).client_secret is None


def test_of_the_places_of_the_client_secret_the_strongest_counts(tmp_path: Path) -> None:
    environ = credentials(tmp_path, b"of-systemd")
    in_file = settings_file(tmp_path, 'client_secret = "of-the-file"\n')
    in_both = environ | {"DEVICE_AUTH_CLIENT_SECRET": "of-the-environment"}
    option = {"client_secret_file": str(secret_file(tmp_path, b"of-the-option"))}

    assert read_settings({}, None, environ).client_secret == Secret("of-systemd")
    assert read_settings({}, files(in_file), environ).client_secret == Secret("of-the-file")
    assert read_settings({}, files(in_file), in_both).client_secret == Secret("of-the-environment")
    assert read_settings(option, files(in_file), in_both).client_secret == Secret("of-the-option")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_with_the_client_secret_that_others_can_read_is_refused_wherever_it_is(
    tmp_path: Path, mode: int
) -> None:
    problem = refused({"client_secret_file": str(secret_file(tmp_path, mode=mode))})

    assert str(problem) == f"{tmp_path}/a secret holds client_secret and can be read by others"
    assert problem.hint == f"Run: chmod 600 '{tmp_path}/a secret'"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", f"{CANARY}\n{CANARY}\n".encode(), f"{CANARY}\xff".encode("latin-1"), CANARY.encode() * 90],
    ids=["nothing", "an empty line", "two lines", "outside ASCII", "too long"],
)
def test_a_file_without_a_client_secret_in_it_is_refused_without_showing_it(
    tmp_path: Path, content: bytes
) -> None:
    told = [
        refused({"client_secret_file": str(secret_file(tmp_path, content))}),
        refused({}, environ=credentials(tmp_path, content)),
    ]

    assert str(told[0]).startswith("client_secret (option --client-secret-file) ")
    assert str(told[1]).startswith("client_secret (credential device-auth.client-secret) ")
    assert all(CANARY not in f"{problem}{problem.hint}{problem.__context__!r}" for problem in told)


def test_a_client_secret_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    nowhere = refused({"client_secret_file": str(tmp_path / "nowhere")})
    pipe = refused({"client_secret_file": str(tmp_path / "pipe")})

    assert f"cannot be read: {tmp_path}/nowhere: no such file" in str(nowhere)
    assert str(pipe).endswith(f"cannot be read: {tmp_path}/pipe: not a file")
    assert "--client-secret-file" in nowhere.hint


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    text = "a = " + "[\n" * (LARGEST_FILE // 2 - 10)

    assert "as TOML" in str(refused_file(tmp_path, text))


def test_a_number_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    assert "beyond 64 bits" in str(refused_file(tmp_path, "[hardware]\na = " + "9" * 1000))
    assert "beyond 64 bits" in str(refused_file(tmp_path, "[hardware]\na = [0x1" + "0" * 16 + "]"))


def test_tables_inside_one_another_have_an_end(tmp_path: Path) -> None:
    deep = ".".join(["a"] * (DEEPEST - 1))

    assert read_file(tmp_path, f"[hardware.{deep}]\n").hardware != {}
    assert "inside one another" in str(refused_file(tmp_path, f"[hardware.{deep}.a]\n"))


def test_options_appear_only_if_given_and_every_provider_setting_has_one() -> None:
    parser = argparse.ArgumentParser()
    add_provider_options(parser.add_argument_group("provider"))
    for name in ("renewals", "authorization_endpoint", "redirect_uri"):
        add_option(parser, name)

    assert vars(parser.parse_args([])) == {}
    for key in KEYS:
        if not key.has_option:
            assert option_of(key) == ""
        elif not key.is_secret:
            assert vars(parser.parse_args([option_of(key), str(key.example)])) == {key.name: key.example}
    assert set(PROVIDER_OPTIONS) == {key.name for key in KEYS if key.has_option} - {
        "renewals",
        "client_secret",
        "authorization_endpoint",
        "redirect_uri",
    }


def test_a_program_that_we_start_is_given_everything_but_our_secret() -> None:
    ours = {"PATH": "/bin", "DEVICE_AUTH_DSN": "K-1", "DEVICE_AUTH_CLIENT_SECRET": "CANARY"}

    assert environment_for_others(ours) == {"PATH": "/bin", "DEVICE_AUTH_DSN": "K-1"}
