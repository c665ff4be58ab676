"""What keeps a machine from building packages and booting: told before, so that no failure later is taken for it."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.packing import HERE

PROGRAMS: Final = {
    "id": "echo 0",
    "dpkg": "echo amd64",
    "df": "echo 9000000",
    "awk": "echo 9000000",
    "apt-get": "exit 0",
    "unshare": "exit 0",
    "qemu-system-x86_64": "for word; do case $word in file:*) echo BusyBox > ${word#file:} ;; esac; done",
}
"""What the programs say where packages can be built and booted."""
OURS: Final = {"tools": "exit 0", "tree": "echo /tree", "in-tree": "exit 0", "machine": "echo /machine"}
"""The same for what lies beside it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.freedesktop_os_release().get("VERSION_ID") != "12", reason="the lanes are for Debian 12"
    ),
]


def why_not(folder: Path, changed: dict[str, str]) -> str:
    """Ask on a machine whose programs are stand-ins."""
    for place, lines in (("programs", PROGRAMS), ("ours", OURS)):
        (folder / place).mkdir()
        for name in lines:
            program = folder / place / name
            program.write_text(f"#!/bin/sh\n{changed.get(name, lines[name])}\n")
            program.chmod(0o755)
    shutil.copy(HERE / "why-not", folder / "ours")
    told = subprocess.run(
        [folder / "ours" / "why-not"],
        env={**os.environ, "PATH": f"{folder}/programs:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert [path.name for path in (folder / "device-auth-deploy").glob("*")] == []
    return told.stdout


def test_nothing_is_told_of_a_machine_that_has_all(tmp_path: Path) -> None:
    assert why_not(tmp_path, {}) == ""


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("id", "echo 1000", "this is not root"),
        ("dpkg", "echo arm64", "this is not Debian 12 for amd64"),
        ("df", "echo 4000000", "less than 5 GB are free below "),
        ("awk", "echo 1000000", "less than 1.5 GB of memory are free"),
        ("unshare", "exit 32", "no file system can be mounted in layers below "),
        ("apt-get", "exit 100", "apt reaches no mirror"),
        ("tools", "echo a; echo E: gone >&2; exit 1", "qemu cannot be installed: E: gone"),
        ("tree", "echo E: gone >&2; echo >&2; exit 1", "a tree of Debian cannot be made: E: gone"),
        ("in-tree", "exit 32", "no command runs in a tree: "),
        ("machine", "exit 1", "a disk of Debian cannot be made: "),
        ("qemu-system-x86_64", "exit 1", "qemu starts no kernel, or not within a minute"),
    ],
)
def test_what_is_missing_is_told_in_one_line(tmp_path: Path, name: str, line: str, reason: str) -> None:
    told = why_not(tmp_path, {name: line})

    assert told.startswith(reason)
    assert told.count("\n") == 1
