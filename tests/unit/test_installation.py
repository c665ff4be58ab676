"""What a person is told to type where a Python package is missing."""

import re
import shlex
import sys
import tomllib
from pathlib import Path
from struct import calcsize
from typing import Final

import pytest

from device_auth import __version__
from device_auth.assembly.doors import without_simulator
from device_auth.cli.main import main
from device_auth.core.errors import ConfigError
from device_auth.installation import (
    DEBIAN_NAMES,
    OF_STATION,
    PACKAGED,
    STATION,
    Installation,
    how_to_install,
    this_installation,
)
from tests.extras.run import DOCUMENT, RUNS, documented
from tests.unit.test_guards import ROOT, SOURCES

VENV: Final = Installation(
    modules="/opt/device-auth/lib/python3.11/site-packages",
    python="/opt/device-auth/bin/python3",
    version=(3, 11),
    is_environment=True,
    is_of_system=True,
    is_ours=True,
)
PACKAGE: Final = Installation(PACKAGED, "/usr/bin/python3", (3, 13), False, True, False)
ARCHIVE: Final = PACKAGE._replace(modules="/home/ann/device-auth.pyz")
PYENV: Final = VENV._replace(
    python="/home/ann/.pyenv/bin/python3.12", is_environment=False, is_of_system=False
)


@pytest.mark.parametrize(
    ("installation", "package", "told"),
    [
        (VENV, "gpiod", "Install it: /opt/device-auth/bin/python3 -m pip install gpiod"),
        (VENV, "rpi-lgpio", "Install it: /opt/device-auth/bin/python3 -m pip install rpi-lgpio"),
        (
            VENV._replace(is_ours=False),
            "flask",
            "Install it: sudo /opt/device-auth/bin/python3 -m pip install flask",
        ),
        (
            VENV,
            "spidev",
            "Install it: sudo apt install gcc python3-dev && /opt/device-auth/bin/python3 -m pip install spidev",
        ),
        (
            VENV._replace(is_32_bit=True),
            "gpiod",
            "Install it: sudo apt install gcc python3-dev && /opt/device-auth/bin/python3 -m pip install gpiod",
        ),
        (PACKAGE, "flask", "Install it: sudo apt install python3-flask"),
        (PACKAGE, "gpiod", "Install it: sudo apt install python3-libgpiod"),
        (ARCHIVE, "luma.oled", "Install it: sudo apt install python3-luma.oled"),
        (PACKAGE._replace(is_of_system=False), "spidev", "Install it: sudo apt install python3-spidev"),
        (PYENV, "PySocks", "Install it: /home/ann/.pyenv/bin/python3.12 -m pip install PySocks"),
    ],
)
def test_what_is_told_fits_the_installation(installation: Installation, package: str, told: str) -> None:
    assert installation.how_to_install(package) == told


@pytest.mark.parametrize("package", sorted(OF_STATION))
def test_a_station_installs_all_that_it_needs_in_an_environment_of_its_own(package: str) -> None:
    assert f"-m pip install {STATION}" in VENV.how_to_install(package)
    assert "virtual environment" in PACKAGE.how_to_install(package)


def test_a_station_needs_what_the_extra_has() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][
        "factory"
    ]

    others = [name for name in extra if not name.startswith("device-auth[")]
    assert sorted(re.split(r"[>=\[]", name)[0] for name in others) == sorted(OF_STATION)
    assert sorted(re.split(r"[>=\[]", name)[0] for name in shlex.split(STATION)) == sorted(OF_STATION)


def test_where_python_has_no_lgpio_raspberry_pi_os_has_it() -> None:
    told = VENV._replace(version=(3, 13)).how_to_install("rpi-lgpio")

    assert "sudo apt install python3-rpi-lgpio" in told
    assert "--system-site-packages" in told
    assert "pip install" not in told


def test_debian_12_has_no_gpiod_that_is_new_enough() -> None:
    told = PACKAGE._replace(version=(3, 11)).how_to_install("gpiod")

    assert "python3-libgpiod" not in told
    assert "python3-rpi-lgpio (on Raspberry Pi OS) or python3-rpi.gpio" in told


@pytest.mark.parametrize("package", [*DEBIAN_NAMES, "rpi-lgpio"])
@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
def test_the_package_never_says_pip(package: str, version: tuple[int, int]) -> None:
    assert "pip" not in PACKAGE._replace(version=version).how_to_install(package)


@pytest.mark.parametrize("package", [*DEBIAN_NAMES, "rpi-lgpio"])
@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
@pytest.mark.parametrize("installation", [PACKAGE, VENV])
def test_no_full_stop_is_copied_with_a_command(
    installation: Installation, version: tuple[int, int], package: str
) -> None:
    assert not installation._replace(version=version).how_to_install(package).endswith(".")


def test_a_package_that_is_not_whole_is_put_in_its_place_again() -> None:
    assert "apt install --reinstall python3-cryptography" in PACKAGE.how_to_install(
        "cryptography", again=True
    )
    assert "pip install --force-reinstall cryptography" in VENV.how_to_install("cryptography", again=True)


def test_this_one_is_the_virtual_environment_of_the_tests() -> None:
    found = this_installation()

    assert found.is_environment
    assert found.is_32_bit == (calcsize("P") == 4)
    assert Path(found.modules, "device_auth").is_dir()
    assert how_to_install("flask").endswith(f"{found.python} -m pip install flask")


def test_no_hint_names_a_package_of_our_name_which_could_be_somebody_elses() -> None:
    assert [str(path) for path in SOURCES if "install 'device-auth" in path.read_text()] == []


def test_one_function_knows_how_packages_are_installed() -> None:
    knows = [path.name for path in SOURCES if "pip install" in path.read_text()]

    assert knows == ["installation.py"]


def test_a_simulated_amazon_that_is_a_package_of_its_own_is_named_as_one() -> None:
    missing = ModuleNotFoundError("No module named 'device_auth.simulator'", name="device_auth.simulator")
    error = without_simulator(missing)

    assert error.exit_code == ConfigError.exit_code
    assert error.hint.endswith(f": sudo apt install ./device-auth-simulator_{__version__}*_all.deb")


def test_a_verb_that_is_a_package_of_its_own_is_named_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "device_auth.cli.factory", None)

    with pytest.raises(SystemExit) as ended:
        main(["factory", "status"])

    assert ended.value.code == ConfigError.exit_code
    assert f"sudo apt install ./device-auth-factory_{__version__}*_all.deb" in capsys.readouterr().err


def test_without_flask_the_simulated_amazon_names_flask() -> None:
    error = without_simulator(ModuleNotFoundError("No module named 'flask'", name="flask"))

    assert error.exit_code == ConfigError.exit_code
    assert "flask" in error.hint


def test_the_document_names_the_packages_that_the_program_names() -> None:
    table = re.findall(r"^\| [^|]+\| [^|]+\| `([^`]+)` \| `([^`]+)`", DOCUMENT.read_text(), re.MULTILINE)

    assert len(table) == 5
    for package, of_debian in table:
        if package in DEBIAN_NAMES:
            assert DEBIAN_NAMES[package] == of_debian
        else:
            assert of_debian in PACKAGE.how_to_install("rpi-lgpio")


def test_each_command_of_the_document_is_run_somewhere_and_names_extras_that_there_are() -> None:
    commands = documented()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"'\.\[([^]]+)\]'", "\n".join(line for lines in commands.values() for line in lines))

    assert commands.keys() == RUNS.keys()
    assert all(commands.values())
    assert {name for names in named for name in names.split(",")} <= extras.keys()
