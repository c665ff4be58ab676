"""The package: what needs no build of it."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

from device_auth import __version__
from device_auth.tools.drop_ins import FOLDER, NAMES
from device_auth.world.settings import IDENTITY
from tests.command import ROOT
from tests.deploy.boot import read_script
from tests.deploy.package import LIFE, SABOTAGES, differences, problems_of_table
from tests.deploy.packing import HERE
from tests.deploy.real_systemd import needs_systemd, run_beside_systemd

DEBIAN: Final = ROOT / "debian"
POSTRM: Final = (DEBIAN / "device-auth.postrm").read_text()
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TABLE: Final = """\
| File | Reason |
| --- | --- |
| `/usr/bin/device-auth` | the command |
| `/usr/share/device-auth/*` | the program |
| `/usr/lib/steps.conf` | trixie alone |
"""
FILES: Final = ["/usr/bin/device-auth", "/usr/share/device-auth/hardware/led.py"]


def test_the_package_has_the_version_of_the_program() -> None:
    assert (
        re.findall(r"^device-auth \((.+)\) ", (DEBIAN / "changelog").read_text(), re.MULTILINE)[0]
        == __version__
    )
    assert PROJECT["version"] == __version__


def test_the_package_needs_what_the_wheel_needs() -> None:
    control = (DEBIAN / "control").read_text()
    needed = dict(re.findall(r"python3-([a-z]+) \(>= ([\d.]+)\)", control.split("Recommends:")[0]))

    least = {
        wanted.partition(",")[0] for wanted in PROJECT["dependencies"]
    }  # Debian has none of those left out
    assert {f"{name}>={version}" for name, version in needed.items()} == least
    assert f"python3 ({PROJECT['requires-python'].replace('>=', '>= ')})" in control


def test_the_command_finds_the_folder_that_the_modules_are_put_into() -> None:
    folder = re.search(r"^export PYBUILD_INSTALL_DIR = (.+)$", (DEBIAN / "rules").read_text(), re.MULTILINE)

    assert folder is not None
    assert f'sys.path.insert(0, "{folder[1]}")' in (DEBIAN / "bin" / "device-auth").read_text()


def test_a_purge_takes_the_drop_ins_that_are_ours_and_keeps_the_identity() -> None:
    systemd = ROOT / "deploy" / "systemd"
    ours = re.search(r"^OURS := (.+)$", (systemd / "Makefile").read_text(), re.MULTILINE)
    put_by_hand = {
        path.name
        for path in systemd.glob("*.conf")
        if f"# Installed as /{FOLDER}/{path.name}\n" in path.read_text()
    }

    assert ours is not None
    assert {f"{name}.conf" for name in ours[1].split()} == {*NAMES.values(), *put_by_hand}
    assert "s/^OURS := //p" in (DEBIAN / "rules").read_text()
    assert POSTRM.count("#DROP_INS#") == 1
    assert POSTRM.count(IDENTITY) == POSTRM.count("factory-lock.json") >= 2


def test_the_settings_are_a_file_of_the_owner_and_not_of_the_package() -> None:
    assert "etc/device-auth" not in (DEBIAN / "device-auth.install").read_text()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize(
    "path",
    [
        *(
            DEBIAN / name
            for name in ("device-auth.preinst", "device-auth.postinst", "device-auth.postrm", "tests/link")
        ),
        *(
            ROOT / "deploy" / "build-deb",
            ROOT / "deploy" / "factory" / "post-flash.sh",
            HERE / "in-tree",
            HERE / "tree",
            LIFE,
        ),
    ],
    ids=lambda path: path.name,
)
def test_the_scripts_are_sound_shell(path: Path) -> None:
    found = subprocess.run(
        ["shellcheck", "--severity=warning", "--shell=bash" if path == LIFE else "--norc", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stdout) == (0, "")


@needs_systemd
def test_who_asks_during_an_upgrade_is_answered_by_the_new_version() -> None:
    assert run_beside_systemd("exchange").splitlines() == [
        "before: 1 by one",
        "in between: running dead",
        "after: 2 by one, units read again: 0",
        "left: ",
        "in between: running dead",
        "after: 3 by two, units read again: 1",
        "left: ",
    ]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.fault)
def test_each_fault_has_a_check_of_the_life_that_notices_it(sabotage: object) -> None:
    assert any(re.fullmatch(check, vars(sabotage)["noticed_by"]) for check in read_script(LIFE).checks)


def test_a_table_that_names_each_file_once_is_right() -> None:
    assert list(problems_of_table("bookworm", FILES, TABLE)) == []


@pytest.mark.parametrize(
    ("suite", "names", "problem"),
    [
        ("bookworm", [*FILES, "/usr/bin/other"], "/usr/bin/other stands in 0 rows of the table"),
        ("bookworm", FILES[:1], "no file is /usr/share/device-auth/*"),
        ("trixie", FILES, "no file is /usr/lib/steps.conf"),
    ],
)
def test_a_table_that_says_more_or_less_than_the_package_has_is_wrong(
    suite: str, names: list[str], problem: str
) -> None:
    assert list(problems_of_table(suite, names, TABLE)) == [problem]


def test_one_byte_is_a_difference_between_two_builds(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "a.deb", tmp_path / "second" / "a.deb"
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(b"the same bytes")
    assert list(differences([first], [second])) == []

    second.write_bytes(b"the same bytez")

    assert list(differences([first], [second])) == ["two builds differ: a.deb"]
    assert list(differences([first], [])) == ["two builds made different packages"]
