"""The exports to text files, read by a shell, by systemd, by JSON and YAML, and as Amazon's Java sample reads."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Link, Secret
from device_auth.tools.exports import ExportPlan, Unit, carry_out
from device_auth.tools.exports_text import plan_env, plan_java_sample, plan_json, write_env, write_json
from tests.client_readers import read_env_as_sh, read_env_as_systemd, read_java_sample
from tests.links import make_link

UNIT = Unit("kitchen", "K-0001", "de-DE")
LINK = replace(make_link(), is_proved=True, refresh_token=Secret('Atzr|canary$HOME`id`"#;& =~*'))
OTHERS_LINK = replace(LINK, dialect=DialectName.RFC8628, scope="", client_id="a speaker: ä")

MEMBERS = {
    "client_id": LINK.client_id,
    "product_id": "kitchen",
    "dsn": "K-0001",
    "scope": "alexa:all",
    "token_endpoint": "https://api.amazon.com/auth/O2/token",
    "refresh_token": LINK.refresh_token.reveal(),
    "dialect": "lwa",
    "flow": "device_code",
}
VARIABLES = {f"LINK_{name.upper()}": value for name, value in MEMBERS.items()}

Planner = Callable[[Link, Unit, Path], ExportPlan]


def changes(plan: ExportPlan) -> list[tuple[str, str | None, str | None]]:
    return [(change.place, change.old, change.new) for file in plan.files for change in file.changes]


# -- env and json


def test_the_variables_are_read_alike_by_a_shell_and_by_systemd(tmp_path: Path) -> None:
    path = tmp_path / "link.env"

    carry_out(plan_env(LINK, UNIT, path))

    assert read_env_as_sh(path) == VARIABLES
    assert read_env_as_systemd(path) == VARIABLES


@pytest.mark.parametrize("token", ["it's", "a\\b", "a\nb", "a\x1bb", "a\u2028b"])
def test_a_value_that_would_not_be_read_alike_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="refresh_token has characters") as caught:
        write_env(replace(LINK, refresh_token=Secret(token)), UNIT)

    assert token not in str(caught.value)


def test_the_object_is_read_alike_as_json_and_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "link.json"

    carry_out(plan_json(LINK, UNIT, path))

    assert json.loads(path.read_text()) == MEMBERS
    assert yaml.safe_load(path.read_text()) == MEMBERS


def test_what_nobody_has_said_is_left_out() -> None:
    members = json.loads(write_json(OTHERS_LINK, Unit("", "", "")))

    assert set(members) == {"client_id", "token_endpoint", "refresh_token", "dialect", "flow"}
    assert yaml.safe_load(write_json(OTHERS_LINK, Unit("", "", ""))) == members


@pytest.mark.parametrize("planner", [plan_env, plan_json])
def test_a_new_file_is_shown_without_the_token(tmp_path: Path, planner: Planner) -> None:
    plan = planner(LINK, UNIT, tmp_path / "link")

    assert changes(plan) == [
        (name, None, "***" if name == "refresh_token" else value) for name, value in MEMBERS.items()
    ]
    assert "canary" not in repr(plan)


@pytest.mark.parametrize("planner", [plan_env, plan_json])
def test_a_file_of_an_earlier_export_is_replaced_and_kept_beside(tmp_path: Path, planner: Planner) -> None:
    path = tmp_path / "link"
    carry_out(planner(replace(LINK, refresh_token=Secret("Atzr|old")), Unit("", "K-0000", ""), path))
    before = path.read_bytes()

    plan = planner(LINK, UNIT, path)
    carry_out(plan)

    assert sorted(changes(plan)) == [
        ("dsn", "K-0000", "K-0001"),
        ("product_id", None, "kitchen"),
        ("refresh_token", "***", "***"),
    ]
    assert (tmp_path / "link.device-auth-backup-1").read_bytes() == before


@pytest.mark.parametrize("planner", [plan_env, plan_json])
def test_the_same_is_not_written_again(tmp_path: Path, planner: Planner) -> None:
    path = tmp_path / "link"
    carry_out(planner(LINK, UNIT, path))
    written = (path.stat().st_ino, path.stat().st_mtime_ns)

    plan = planner(LINK, UNIT, path)
    carry_out(plan)

    assert changes(plan) == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == written


@pytest.mark.parametrize(
    ("planner", "content"),
    [
        (plan_env, b"127.0.0.1 localhost\n"),
        (plan_env, b"LINK_CLIENT_ID='a'\n"),
        (plan_env, b"LINK_REFRESH_TOKEN='a'\nPATH='/bin'\n"),
        (plan_env, b"\xff\xfe"),
        (plan_json, b'{"scripts": {}}'),
        (plan_json, b'{"refresh_token": "a", "client_secret": "b"}'),
        (plan_json, b"127.0.0.1 localhost\n"),
        (plan_json, b"{}\n/* {} */"),
    ],
)
def test_a_file_that_is_something_else_is_not_touched(
    tmp_path: Path, planner: Planner, content: bytes
) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(content)

    with pytest.raises(ConfigError):
        planner(LINK, UNIT, path)

    assert path.read_bytes() == content


# -- the Java sample

SAMPLE = {
    "productId": "my_device",
    "dsn": "123456",
    "provisioningMethod": "companionService",
    "locale": "en-GB",
    "wakeWordAgentEnabled": True,
    "companionApp": {
        "localPort": 8443,
        "sslKeyStore": "/certs/jetty.pkcs12",
        "sslKeyStorePassphrase": "",
        "lwaUrl": "https://api.amazon.com",
    },
    "companionService": {"serviceUrl": "https://localhost:3000", "sessionId": "ä"},
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def write_sample(path: Path, **members: Any) -> None:
    config = {**SAMPLE, **members}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def test_the_java_sample_goes_on_with_the_link(sample: Path) -> None:
    write_sample(sample)

    plan = plan_java_sample(LINK, Unit("my_device", "123456", "en-GB"), sample)
    carry_out(plan)

    assert read_java_sample(sample) == {
        "address": LINK.token_endpoint,
        "client_id": LINK.client_id,
        "refresh_token": LINK.refresh_token.reveal(),
    }
    assert changes(plan) == [
        ("provisioningMethod", "companionService", "companionApp"),
        ("companionApp.clientId", None, LINK.client_id),
        ("companionApp.refreshToken", None, "***"),
    ]
    assert plan.warnings == ()


def test_all_else_in_the_samples_settings_stays(sample: Path) -> None:
    write_sample(sample)

    carry_out(plan_java_sample(LINK, UNIT, sample))

    config = json.loads(sample.read_text())
    assert config.pop("provisioningMethod") == "companionApp"
    assert config.pop("companionApp").items() >= SAMPLE["companionApp"].items()  # type: ignore[attr-defined]  # a dict
    assert config == {
        name: value for name, value in SAMPLE.items() if name not in {"provisioningMethod", "companionApp"}
    }


def test_what_is_blank_in_the_samples_settings_is_filled(sample: Path) -> None:
    write_sample(sample, productId=" ", dsn=None, locale=None, companionApp=None)

    plan = plan_java_sample(LINK, UNIT, sample)
    carry_out(plan)

    config = json.loads(sample.read_text())
    assert (config["productId"], config["dsn"], config["locale"]) == ("kitchen", "K-0001", "de-DE")
    assert config["companionApp"]["lwaUrl"] == "https://api.amazon.com"
    assert [warning.partition("Add: ")[2] for warning in plan.warnings] == [
        '"localPort": 8443',
        '"sslKeyStore": "/…/jetty.pkcs12"',
    ]


def test_a_former_link_of_the_samples_gives_way(sample: Path) -> None:
    companion = {**SAMPLE["companionApp"], "clientId": "other", "refreshToken": "Atzr|old"}  # type: ignore[dict-item]  # a dict
    write_sample(sample, companionApp=companion, provisioningMethod="companionApp")

    plan = plan_java_sample(LINK, UNIT, sample)
    carry_out(plan)

    assert changes(plan) == [
        ("companionApp.clientId", "other", LINK.client_id),
        ("companionApp.refreshToken", "***", "***"),
    ]
    assert read_java_sample(sample)["client_id"] == LINK.client_id
    assert changes(plan_java_sample(LINK, UNIT, sample)) == []


def test_what_the_sample_calls_itself_otherwise_is_told_and_left(sample: Path) -> None:
    companion = {**SAMPLE["companionApp"], "lwaUrl": "https://id.example"}  # type: ignore[dict-item]  # a dict
    write_sample(sample, locale="fr-FR", companionApp=companion)

    plan = plan_java_sample(LINK, UNIT, sample)

    assert plan.warnings == (
        f"productId in {sample} is my_device, but this speaker was linked as kitchen.",
        f"dsn in {sample} is 123456, but this speaker was linked as K-0001.",
        f"locale in {sample} is fr-FR; the sample takes en-US, en-GB, de-DE only.",
        "The client sends its requests to https://id.example/auth/O2/token, but the link belongs to"
        " https://api.amazon.com/auth/O2/token.",
    )


def test_what_nobody_has_said_is_asked_for(sample: Path) -> None:
    write_sample(sample, productId=None)

    with pytest.raises(ConfigError, match="has no productId") as caught:
        plan_java_sample(LINK, Unit("", "", "en-US"), sample)

    assert caught.value.hint == 'Add to it: "productId": "…"'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"productId": "a" /* mine */}', "is not JSON"),
        ('{"dsn": "a", "dsn": "b"}', "'dsn' twice"),
        ('{"companionApp": []}', "companionApp in .* is not an object"),
        ('{"productId": 7}', "productId in .* is not a text"),
        ('{"productId": "\\udcff"}', "half a surrogate pair"),
    ],
)
def test_settings_that_the_sample_could_not_read_are_refused(
    sample: Path, content: str, message: str
) -> None:
    sample.write_text(content)

    with pytest.raises(ConfigError, match=message):
        plan_java_sample(LINK, UNIT, sample)


def test_the_samples_settings_must_be_there(sample: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        plan_java_sample(LINK, UNIT, sample)
