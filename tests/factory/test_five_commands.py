"""Must show: a stranger gets from a fresh copy of this project to a locked unit by the five commands of docs/factory.md."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bench.figures import ENVIRONMENT

ROOT = Path(__file__).parents[2]


def five_commands() -> list[str]:
    text = (ROOT / "docs" / "factory.md").read_text()
    block = re.search(r"```sh\n# five commands\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def copy_project(folder: Path) -> None:
    """Copy what a clone would have: the files that git knows."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


@pytest.mark.factory
def test_five_commands_lead_from_an_empty_tree_to_a_locked_unit(tmp_path: Path) -> None:
    copy_project(tmp_path)
    commands = five_commands()

    assert len(commands) == 5
    told = ""
    for command in commands:
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        told += f"$ {command}\n{ended.stdout}"
        assert ended.returncode == 0, told
    assert "1 runs: 1 PASS" in told
    unit = tmp_path / "station" / "units" / "slot-01"
    assert (unit / "state" / "simulated" / "factory-lock.json").exists()
    refused = subprocess.run(
        [tmp_path / ".venv/bin/device-auth", "factory", "facts", "--simulate", "--state-dir", unit / "state"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    assert refused.returncode == 77
