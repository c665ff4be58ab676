"""CONTRIBUTING claims only what is so: each claim that can be read is read here."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE: Final = (ROOT / "Makefile").read_text()
SETTINGS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())

FOR_NO_TEST: Final = {"help", "demo", "clean"}


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def names_in(column: int, *, of: str) -> set[str]:
    """Return what stands in backticks in one column of the table whose head begins so."""
    table = re.search(rf"^\| {of} .*\n\| ---.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    cells = [line.strip("|\n").split("|")[column] for line in table[1].splitlines()]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_table_of_targets_is_the_makefiles() -> None:
    assert names_in(0, of="Target") == {f"make {name}" for name in targets() - FOR_NO_TEST}


def test_make_help_lists_every_target() -> None:
    assert set(re.findall(r'@echo "make (\S+)', MAKEFILE)) == targets() - {"help"}


def test_the_table_of_tools_is_what_a_clean_machine_installs() -> None:
    installed = re.search(r"^packages=\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert installed is not None

    assert names_in(0, of="Tool") == set(installed[1].split())


def test_a_clean_machine_runs_the_lanes_that_are_named() -> None:
    named = re.search(r"^`\.ci/run` installs them and then runs (.*)\.$", TEXT, re.MULTILINE)
    assert named is not None

    assert re.findall(r"`(make [^`]+)`", named[1]) == re.findall(
        r"^ *part \w+ (?:timeout \d+ )?(make .*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE
    )


def test_the_floors_of_coverage_are_those_that_are_named() -> None:
    named = re.search(r"at least (\d+) % of all and (\d+) % of `core/` and `wire/`", TEXT)
    held = re.search(r"--include='device_auth/core/\*,device_auth/wire/\*' --fail-under=(\d+)", MAKEFILE)
    assert named is not None
    assert held is not None

    assert (int(named[1]), named[2]) == (SETTINGS["tool"]["coverage"]["report"]["fail_under"], held[1])


def test_the_floors_of_imports_are_those_that_are_held() -> None:
    named = re.search(r"^ {4}(cli ▶ .*)$", TEXT, re.MULTILINE)
    assert named is not None
    _start, *held = SETTINGS["tool"]["importlinter"]["contracts"][0]["layers"]

    assert [set(floor.split(" · ")) for floor in named[1].split(" ▶ ")] == [
        set(layer.strip("()").split(" | ")) for layer in held
    ]


def test_every_room_is_in_the_table() -> None:
    rooms = {path.parent.name for path in (ROOT / "device_auth").glob("*/__init__.py")}

    assert {name.rstrip("/") for name in names_in(0, of="Room")} == rooms | {"hardware"}


def test_every_file_that_is_named_is_there() -> None:
    named = {
        name for name in re.findall(r"`([\w./-]+)`", TEXT) if re.search(r"/.*\.\w+$", name) and name[0] != "."
    }

    assert named
    assert [
        name for name in named if not any((top / name).exists() for top in (ROOT, ROOT / "device_auth"))
    ] == []


def test_an_older_python_is_refused_at_once_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 9, 2)\nassert sys.argv[1] == '-c'\nexec(sys.argv[2])\n"
    )
    old.chmod(0o700)

    made = subprocess.run(
        ["make", "demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 2
    assert f"This needs Python 3.11 or newer, and {old} is 3.9." in made.stderr
    assert not (tmp_path / "venv").exists()
