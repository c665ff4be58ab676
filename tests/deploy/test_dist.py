"""What `make dist` builds, in parts: the zipapp, the list of what a package needs, the pins, the sums."""

import os
import re
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from deploy.build_dist import packages_needed, released_at, write_sums, write_zipapp
from device_auth import __version__
from hardware.board import board_names
from tests.command import ROOT, bare_environment

PINS: Final = re.findall(
    r"^(\S+)==(\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)+)",
    (ROOT / "deploy" / "constraints.txt").read_text(),
    re.MULTILINE,
)
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())

STATUS: Final = """\
Package: python3
Status: install ok installed
Architecture: all
Version: 3.13.5-1
Depends: python3.13 (>= 3.13.5-1~), libpython3-stdlib (= 3.13.5-1)

Package: python3.13
Architecture: amd64
Version: 3.13.5-2+deb13u2
Depends: libc6 (>= 2.38)

Package: libpython3-stdlib
Architecture: amd64
Version: 3.13.5-1

Package: libc6
Architecture: amd64
Version: 2.41-12

Package: python3-thing
Architecture: all
Version: 1:2.0
Pre-Depends: libc6
Depends: python3:any,
 libc6
Provides: python3.13-thing (= 2.0)

Package: unrelated
Architecture: all
Version: 1
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the modules as a wheel has them."""
    path = tmp_path_factory.mktemp("wheel") / f"device_auth-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for room in ("device_auth", "hardware"):
            for source in sorted((ROOT / room).rglob("*")):
                if source.is_file() and source.suffix != ".pyc":
                    packed.write(source, source.relative_to(ROOT))
        packed.writestr(f"device_auth-{__version__}.dist-info/METADATA", "")
    return path


def run_zipapp(app: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(app), *words],
        env={**bare_environment(), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_zipapp_can_be_run_by_everyone_and_keeps_exit_codes(wheel: Path, tmp_path: Path) -> None:
    app = write_zipapp(wheel, tmp_path)

    assert stat.S_IMODE(app.stat().st_mode) == 0o755
    assert app.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")
    assert run_zipapp(app, "--version").stdout == f"device-auth {__version__}\n"
    assert run_zipapp(app, "frobnicate").returncode == 2
    assert run_zipapp(app, "config", "show", "--config", str(tmp_path / "none.toml")).returncode == 78


@pytest.mark.slow  # a process for each board, of an archive that nothing is compiled for
def test_the_zipapp_finds_its_boards(wheel: Path, tmp_path: Path) -> None:
    app = write_zipapp(wheel, tmp_path)

    for board in board_names():
        settings = tmp_path / f"{board}.toml"
        settings.write_text(f'[hardware]\nboard = "{board}"\n')
        listed = run_zipapp(app, "hardware", "list", "--config", str(settings))
        assert listed.returncode == 0, listed.stderr  # 78 for a board that it does not know


def test_the_zipapp_is_the_same_under_another_umask(wheel: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    write_zipapp(wheel, first)
    before = os.umask(0o077)
    try:
        write_zipapp(wheel, second)
    finally:
        os.umask(before)

    [one], [other] = first.iterdir(), second.iterdir()
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_mode == other.stat().st_mode


def test_what_a_package_needs_is_followed_to_its_end() -> None:
    package = {"Depends": "python3 (>= 3.11), systemd | python3.13-thing"}

    needed = packages_needed(package, STATUS)

    assert {name: found["Version"] for name, found in needed.items()} == {
        "python3": "3.13.5-1",
        "python3.13": "3.13.5-2+deb13u2",
        "libpython3-stdlib": "3.13.5-1",
        "libc6": "2.41-12",
        "python3-thing": "1:2.0",
    }


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "one.whl").write_bytes(b"wheel")
    (tmp_path / "two.deb").write_bytes(b"package")
    write_sums(tmp_path)
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, check=False).returncode == 0

    (tmp_path / "two.deb").write_bytes(b"pAckage")

    found = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "two.deb: FAILED\n")


def test_the_date_of_a_release_is_that_of_the_changelog() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    told = subprocess.run(
        ["date", "--utc", f"--date=@{released_at()}", "+%d %b %Y %H:%M:%S"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() in changelog


def test_a_requests_that_cannot_be_loaded_without_a_file_of_authorities_is_not_asked_for() -> None:
    [wanted] = [each for each in PROJECT["project"]["dependencies"] if each.startswith("requests")]
    versions = Requirement(wanted).specifier

    assert not any(versions.contains(each) for each in ("2.32.0", "2.32.1", "2.32.2"))
    assert all(versions.contains(each) for each in ("2.28.1", "2.31.0", "2.32.3", "2.34.2"))


def test_an_installation_by_hand_takes_what_the_project_asks_for_pinned_and_with_hashes() -> None:
    asked = [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["gpiod"],
        *PROJECT["build-system"]["requires"],
    ]
    pinned = {name: version for name, version, _ in PINS}

    for requirement in map(Requirement, asked):
        assert requirement.name in pinned
        assert requirement.specifier.contains(pinned[requirement.name])
