"""The exports to clients that send a client secret, read as ReSpeaker's client and AlexaPi read them."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import yaml

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Flow, Link, Secret
from device_auth.tools.exports import ExportPlan, Unit, carry_out
from device_auth.tools.exports_with_secret import plan_alexapi, plan_respeaker
from tests.client_readers import read_alexapi, read_respeaker
from tests.links import make_link

SECRET: Final = "canary-secret"
UNIT: Final = Unit("kitchen", "K-0001", "de-DE", Secret(SECRET))
WITHOUT: Final = Unit("kitchen", "K-0001", "de-DE")
LINK: Final = replace(
    make_link(),
    is_proved=True,
    flow=Flow.AUTHORIZATION_CODE,
    takes_secret=True,
    refresh_token=Secret('Atzr|canary"\\IwEB'),
)
SENT: Final = {
    "client_id": LINK.client_id,
    "client_secret": SECRET,
    "refresh_token": LINK.refresh_token.reveal(),
}

TEMPLATE: Final = """\
# Level of log output
logging: INFO
sound:
  input_device: ""  # leave empty
  refresh_token: not this one

# Amazon Alexa settings
alexa:
  Client_ID:
  Client_Secret:   # from the console

  Device_Type_ID:
# a comment at the margin
  Security_Profile_Description: My profile, the "first" one
  Security_Profile_ID:
  refresh_token:

triggers:
  platform: {enabled: true}
"""

Planner = Callable[[Link, Unit, Path], ExportPlan]


def changes(plan: ExportPlan) -> list[tuple[str, str | None, str | None]]:
    return [(change.place, change.old, change.new) for file in plan.files for change in file.changes]


@pytest.fixture
def respeaker(tmp_path: Path) -> Path:
    path = tmp_path / ".avs.json"
    path.touch(0o600)  # as an empty file, it is a new one
    return path


@pytest.fixture
def alexapi(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEMPLATE)
    path.chmod(0o600)
    return path


# -- ReSpeaker


def test_respeakers_client_goes_on_with_the_link(respeaker: Path) -> None:
    plan = plan_respeaker(LINK, UNIT, respeaker)
    carry_out(plan)

    assert read_respeaker(respeaker) == SENT
    assert respeaker.stat().st_mode & 0o777 == 0o600
    assert changes(plan) == [
        ("product_id", None, "kitchen"),
        ("client_id", None, LINK.client_id),
        ("client_secret", None, "***"),
        ("refresh_token", None, "***"),
    ]
    assert plan.warnings == ()
    assert "canary" not in repr(plan)


def test_what_respeakers_client_has_stays_but_for_its_old_access_token(respeaker: Path) -> None:
    config = {
        "product_id": "ReSpeaker-ü",
        "client_id": LINK.client_id,
        "client_secret": SECRET,
        "host_url": "avs-alexa-eu.amazon.com",
        "refresh_token": "Atzr|canary-old",
        "access_token": "Atza|canary-old",
        "expiry": "Mon Nov 30 02:00:00 2026",
        "api": "v20160207",
    }
    respeaker.write_text(json.dumps(config))

    plan = plan_respeaker(LINK, WITHOUT, respeaker)
    carry_out(plan)

    assert read_respeaker(respeaker) == SENT
    after = json.loads(respeaker.read_text())
    assert (after["host_url"], after["api"], after["product_id"]) == (
        "avs-alexa-eu.amazon.com",
        "v20160207",
        "ReSpeaker-ü",
    )
    assert changes(plan) == [
        ("refresh_token", "***", "***"),
        ("access_token", "***", None),
        ("expiry", "***", None),
    ]
    assert plan.warnings == (
        f"product_id in {respeaker} is ReSpeaker-ü, but this speaker was linked as kitchen.",
    )


@pytest.mark.parametrize("planner", [plan_respeaker, plan_alexapi])
def test_what_is_written_already_is_not_written_again(
    respeaker: Path, alexapi: Path, planner: Planner
) -> None:
    path = respeaker if planner is plan_respeaker else alexapi
    carry_out(planner(LINK, UNIT, path))
    before = path.read_bytes()

    plan = planner(LINK, UNIT, path)

    assert (changes(plan), plan.files[0].content) == ([], before)


def test_a_client_of_another_provider_gets_nothing(respeaker: Path) -> None:
    respeaker.write_text('{"host_url": "dueros-h2.baidu.com"}')

    with pytest.raises(ConfigError, match="is Baidu's"):
        plan_respeaker(LINK, UNIT, respeaker)


# -- AlexaPi


def test_alexapi_goes_on_with_the_link_and_all_other_lines_stay(alexapi: Path) -> None:
    plan = plan_alexapi(LINK, UNIT, alexapi)
    carry_out(plan)

    assert read_alexapi(alexapi) == SENT
    former, lines = TEMPLATE.splitlines(), alexapi.read_text().splitlines()
    assert len(lines) == len(former)
    changed = [line for line, old in zip(lines, former, strict=True) if line != old]
    assert [line.split(":")[0] for line in changed] == [
        "  Client_ID",
        "  Client_Secret",
        "  Device_Type_ID",
        "  refresh_token",
    ]
    assert yaml.safe_load(alexapi.read_text())["sound"]["refresh_token"] == "not this one"
    assert changes(plan) == [
        ("Device_Type_ID", None, "kitchen"),
        ("Client_ID", None, LINK.client_id),
        ("Client_Secret", None, "***"),
        ("refresh_token", None, "***"),
    ]


@pytest.mark.parametrize(
    "written",
    ["{}", '"{}"', "'{}'", "{}  # mine", '"{}"  # mine', "'{}' # mine", "{} \t"],
)
def test_values_of_alexapis_are_read_as_yaml_has_them(alexapi: Path, written: str) -> None:
    text = TEMPLATE.replace("Client_ID:", f"Client_ID: {written.format(LINK.client_id)}")
    alexapi.write_text(text.replace("Client_Secret:", f"Client_Secret: {written.format(SECRET)}"))

    plan = plan_alexapi(LINK, WITHOUT, alexapi)
    carry_out(plan)

    assert [place for place, _, _ in changes(plan)] == ["Device_Type_ID", "refresh_token"]
    assert read_alexapi(alexapi) == SENT


@pytest.mark.parametrize("blank", ["", " ~", " null", ' ""', " ''", " # none", '   "" # none'])
def test_a_blank_of_alexapis_is_filled(alexapi: Path, blank: str) -> None:
    alexapi.write_text(TEMPLATE.replace("Client_ID:", f"Client_ID:{blank}"))

    carry_out(plan_alexapi(LINK, UNIT, alexapi))

    assert read_alexapi(alexapi) == SENT


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_keys_that_alexapis_file_lacks_are_added(alexapi: Path, ending: str) -> None:
    alexapi.write_bytes(f"alexa:{ending}    Client_ID:{ending}x: 1{ending}".encode())

    carry_out(plan_alexapi(LINK, UNIT, alexapi))

    assert read_alexapi(alexapi) == SENT
    assert yaml.safe_load(alexapi.read_text())["x"] == 1
    assert alexapi.read_bytes().count(ending.encode()) == alexapi.read_bytes().count(b"\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"logging: INFO\n", "the line alexa: stands there 0 times"),
        (b"alexa: {Client_ID: x}\n", "the line alexa: stands there 0 times"),
        (b"alexa:\nalexa:\n", "the line alexa: stands there 2 times"),
        (b"alexa:\n  Client_ID:\n  Client_ID: x\n", "Client_ID stands there twice"),
        (b"alexa:\n  Client_ID:\n    x\n", "line 3"),
        (b"alexa:\n  <<: *base\n", "line 2"),
        (b"alexa:\n  - Client_ID\n", "line 2"),
        (b"alexa:\n\tClient_ID: x\n", "line 2"),
        (b"alexa:\n  Client_ID: |\n", "line 2"),
        (b"alexa:\n  Client_ID: [x]\n", "line 2"),
        (b'alexa:\n  Client_ID: "a\\x"\n', "line 2"),
        (b'alexa:\n  Client_ID: "a\n', "line 2"),
        (b"alexa:\n  Client_ID: &a x\n", "line 2"),
        (b"alexa: \xff\n", "it is not UTF-8"),
    ],
)
def test_a_section_in_another_form_is_refused(alexapi: Path, content: bytes, message: str) -> None:
    alexapi.write_bytes(content)

    with pytest.raises(ConfigError, match=message):
        plan_alexapi(LINK, UNIT, alexapi)


def test_alexapis_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        plan_alexapi(LINK, UNIT, tmp_path / "config.yaml")


@pytest.mark.skipif(os.geteuid() != 0, reason="the file is root's")
def test_a_file_of_roots_that_the_clients_user_reads_is_to_be_given_to_him_first(alexapi: Path) -> None:
    alexapi.chmod(0o644)

    with pytest.raises(StoreError, match="could not read the new file") as caught:
        plan_alexapi(LINK, UNIT, alexapi)

    assert f"sudo chown USER {alexapi} && sudo chmod 600 {alexapi}" in caught.value.hint


# -- both


def written(respeaker: Path, alexapi: Path, planner: Planner, **values: str) -> Path:
    """Write a client's file with some of its values; return it."""
    if planner is plan_respeaker:
        respeaker.write_text(json.dumps(values))
        return respeaker
    names = {"product_id": "Device_Type_ID", "client_id": "Client_ID", "client_secret": "Client_Secret"}
    lines = [f"  {names[name]}: {json.dumps(value)}" for name, value in values.items()]
    alexapi.write_text("\n".join(["alexa:", *lines, ""]))
    return alexapi


@pytest.mark.parametrize("planner", [plan_respeaker, plan_alexapi])
@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        ({"client_id": "amzn1.application-oa2-client.other"}, UNIT, "is another client ID than the link's"),
        ({}, WITHOUT, "and the settings have none either"),
        ({"client_secret": " "}, WITHOUT, "and the settings have none either"),
        ({"client_secret": "canary-other"}, UNIT, "is another than that of the settings"),
        ({}, Unit("", "", "en-US", Secret(SECRET)), "has no (product_id|Device_Type_ID)"),
    ],
)
def test_what_the_client_could_not_use_is_refused(
    respeaker: Path, alexapi: Path, planner: Planner, values: dict[str, str], unit: Unit, message: str
) -> None:
    path = written(respeaker, alexapi, planner, **values)

    with pytest.raises(ConfigError, match=message) as caught:
        planner(LINK, unit, path)

    assert caught.value.hint
    assert "canary" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("planner", [plan_respeaker, plan_alexapi])
def test_another_endpoint_than_the_clients_own_is_told(
    respeaker: Path, alexapi: Path, planner: Planner
) -> None:
    link = replace(LINK, token_endpoint="http://127.0.0.1:8100/auth/O2/token")

    plan = planner(link, UNIT, written(respeaker, alexapi, planner))

    assert plan.warnings == (
        "The client sends its requests to https://api.amazon.com/auth/o2/token, but the link belongs to"
        " http://127.0.0.1:8100/auth/O2/token.",
    )
