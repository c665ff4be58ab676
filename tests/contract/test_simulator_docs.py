"""docs/simulator.md against the code, and its two examples run as they stand, by people who know nothing else."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from device_auth.cli import simulator
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.app import LARGEST_REQUEST
from device_auth.simulator.control import DESCRIPTION, list_controls
from device_auth.simulator.faults import PRESETS, Endpoint
from device_auth.simulator.models import Options
from device_auth.simulator.referee import MOST_REMARKS, RULES, Referee
from device_auth.simulator.server import Running
from tests.ports import free_port
from tests.waiting import LONG

TEXT: Final = (Path(__file__).parent.parent.parent / "docs" / "simulator.md").read_text()
DESCRIBED: Final[dict[str, Any]] = json.loads(DESCRIPTION.read_text())


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    part = TEXT.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"\n((?:\|.*\n)+)", part)
    assert table is not None
    return [
        [cell.strip() for cell in re.split(r" \| ", line.strip("| \n"))] for line in table[1].splitlines()[2:]
    ]


def example(language: str, name: str) -> str:
    found = re.search(rf"```{language}\n# {re.escape(name)}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        place: Any = DESCRIBED
        for name in value["$ref"].split("/")[1:]:
            place = place[name]
        value = place
    return value


def members(body: dict[str, Any]) -> set[str]:
    schema = resolve(resolve(body)["content"]["application/json"]["schema"])
    return set(schema.get("properties", {}))


def test_each_control_is_there_with_its_body_and_answer() -> None:
    table = {cells[0].strip("`"): cells[1:] for cells in rows("## The control API")}

    assert table.keys() == {f"{each['method']} {each['path']}" for each in list_controls()}
    for request, (does, body, answer) in table.items():
        method, path = request.split()
        operation = DESCRIBED["paths"][path][method.lower()]
        wanted = members(operation["requestBody"]) if "requestBody" in operation else set()
        assert does == operation["summary"]
        assert set(re.findall(r"`(\w+)`", body)) == wanted
        assert set(re.findall(r"`(\w+)`", answer)) == members(operation["responses"]["200"])


@pytest.mark.parametrize(
    ("start", "path"),
    [
        ("- Each of `pairs` has", ("State", "properties", "pairs", "items")),
        ("- Each of `authorizations` has", ("State", "properties", "authorizations", "items")),
        ("- Each of `grants`, the links, has", ("State", "properties", "grants", "items")),
        ("- Each complaint or note has", ("Remark",)),
    ],
)
def test_each_member_of_an_answer_is_there(start: str, path: tuple[str, ...]) -> None:
    schema: Any = DESCRIBED["components"]["schemas"]
    for name in path:
        schema = schema[name]

    named = re.findall(r"`(\w+)`", TEXT.split(start, 1)[1].split("\n", 1)[0])
    assert named == list(schema["properties"])


def test_each_endpoint_is_there() -> None:
    named = {tuple(cells[0].strip("`").split()): cells[1] for cells in rows("## What clients find")}
    endpoints = {
        (method.upper(), path): operation["summary"]
        for path, operations in DESCRIBED["paths"].items()
        for method, operation in operations.items()
        if not path.startswith("/control") and "/o2/" not in path
    }

    assert named == endpoints


def test_each_key_of_a_fault_is_there() -> None:
    described = DESCRIBED["components"]["schemas"]["Fault"]["properties"]

    assert rows("### Faults") == [[f"`{key}`", each["description"]] for key, each in described.items()]


def test_each_endpoint_with_faults_and_each_number_is_there() -> None:
    named = TEXT.split("The endpoints are ", 1)[1].split(", of both dialects", 1)[0]
    assert re.findall(r"`([\w-]+)`", named) == list(Endpoint)
    assert f"at most {LARGEST_REQUEST:,} bytes" in TEXT
    assert f"It remembers the last {Options().most_remembered:,} code pairs" in TEXT
    assert f"the last {MOST_REMARKS:,};" in TEXT


def test_each_preset_is_there() -> None:
    assert [
        cells[0].strip("`")
        for cells in rows("A preset gives the responses the shape that another provider's have:")
    ] == [*PRESETS]


def test_each_rule_is_there_with_its_source() -> None:
    assert rows("## The referee") == [
        [f"`{name}`", "note" if rule.is_note else "complaint", rule.meaning, rule.source]
        for name, rule in RULES.items()
    ]


def test_each_option_is_there() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    simulator.add_arguments(parser)
    offered = {
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
    }

    named = set(re.findall(r"`(--[a-z-]+)", " ".join(cells[0] for cells in rows("## Start it"))))
    assert named == offered


def test_each_method_that_a_test_is_shown_is_there(simulated_amazon: Running) -> None:
    for cells in rows("## From pytest"):
        for name in re.findall(r"[`.]([a-z_]+)\(", cells[0]):
            assert callable(getattr(Amazon, name, None) or getattr(Referee, name, None)), name
    for name in re.findall(r"`(\w+)`", TEXT.split("is a `Running`:", 1)[1].split("\n\n", 1)[0]):
        assert hasattr(simulated_amazon, name), name


def test_the_example_of_pytest_passes(tmp_path: Path) -> None:
    script = example("python", "test_speaker.py")
    assert len(script.strip().splitlines()) <= 20
    (tmp_path / "test_speaker.py").write_text(script)

    not_theirs = ("cacheprovider", "hypothesispytest", "xdist", "pytest_cov")
    pytest_of_theirs = (sys.executable, "-m", "pytest", "-q", *(f"-pno:{name}" for name in not_theirs))
    done = run(*pytest_of_theirs, "test_speaker.py", folder=tmp_path)

    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_example_of_curl_links_a_speaker(tmp_path: Path) -> None:
    script = example("sh", "rig")
    assert len(script.strip().splitlines()) <= 15

    done = run("sh", "-ec", script.replace("8100", str(free_port())), folder=tmp_path)

    assert (done.stdout, done.stderr) == ('{"changed":1}\na token of type bearer\nno complaints\n', "")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in the environment of somebody who has installed the package."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": path, "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
