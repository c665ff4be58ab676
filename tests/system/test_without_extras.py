"""Every verb where no extra package is installed, or one of them is not: what is missing is named, and nothing is a bug.

The packages are hidden from a process of its own. ``make test-bare`` runs the same tests in a virtual environment that
has none of them, and names its command in ``DEVICE_AUTH_BARE``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest

from device_auth.cli.main import BUG, VERBS
from tests.command import ROOT, bare_environment
from tests.waiting import LONG, wait_for

BARE: Final = os.environ.get("DEVICE_AUTH_BARE")
"""The command of an environment without extras; None to hide them from this one."""

EXTRAS: Final = {
    "simulator": ("flask", "werkzeug"),
    "gpiod": ("gpiod",),
    "rpi-gpio": ("RPi", "lgpio"),
    "apa102": ("spidev",),
    "panel": ("luma", "PIL", "smbus2"),
    "factory": ("sqlalchemy", "alembic", "psycopg", "rich", "zxingcpp"),
}
"""The modules of each extra."""

EVERY: Final = frozenset(module for modules in EXTRAS.values() for module in modules)

WITHOUT: Final = """
import sys

class Hide:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
from device_auth.cli.main import main
sys.exit(main())
"""

BOARD: Final = """
client_id = "amzn1.application-oa2-client.510000000000000000000000000000005"
product_id = "Speaker"
dsn = "G0001"
base_url = "http://127.0.0.1:9/auth/O2/"
page = "off"
[hardware]
board = "respeaker-2mic"
panel = {kind = "ssd1306", bus = 63}
"""
"""A speaker whose parts need three libraries, and whose provider is not there."""

ENDS: Final = {
    "link": 78,
    "run": 78,
    "status": 0,
    "token": 75,
    "unlink": 0,
    "authorize": 78,
    "export --to nowhere.json json": 75,
    "doctor": 78,
    "seal": 78,
    "config show": 0,
    "config check": 0,
    "hardware list": 0,
    "hardware test --seconds=0": 0,
    "simulator --port=0": 78,
    "factory status": 0,
}
"""The exit code of each verb with ``--simulate`` where Flask is not installed."""

NEED_FLASK: Final = {"link", "run", "authorize", "doctor", "simulator"}

OWN_ENDS: Final = {
    "link --json --timeout=1": 69,
    "status": 0,
    "token": 75,
    "unlink": 0,
    "authorize --paste": 75,
    "export --to nowhere.json json": 75,
    "doctor": None,
    "seal": 78,
    "config show": 0,
    "config check": 0,
    "hardware list": 0,
    "hardware test --expect --seconds=0": 72,
    "factory status": 0,
}
"""The exit code of each verb on a speaker of its own, whose provider is not reached; None where the machine decides."""


class Speaker:
    """A folder with settings and places, and the command that runs there without some modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(BOARD)

    def write(self, settings: str) -> None:
        (self.folder / "config.toml").write_text(settings)

    def command(self, hidden: Collection[str], *words: str) -> list[str]:
        program = [sys.executable, "-c", WITHOUT.format(hidden=set(hidden))] if BARE is None else [BARE]
        return [*program, *words]

    def places(self) -> list[str]:
        places = {"state-dir": "state", "runtime-dir": "run", "config": "config.toml"}
        return [f"--{option}={self.folder / name}" for option, name in places.items()]

    def run(self, hidden: Collection[str], *words: str) -> "subprocess.CompletedProcess[str]":
        ran = subprocess.run(
            self.command(hidden, *words, *self.places()),
            cwd=ROOT if BARE is None else self.folder,
            env=bare_environment(),
            input="",
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        for sign in ("Traceback (", "bug in this program", "device-auth["):
            assert sign not in ran.stderr
        return ran


@pytest.fixture
def speaker(tmp_path: Path) -> Speaker:
    return Speaker(tmp_path)


@pytest.mark.parametrize("words", ENDS)
def test_a_simulation_says_that_it_needs_flask_where_it_needs_it(speaker: Speaker, words: str) -> None:
    ran = speaker.run(EXTRAS["simulator"], *words.split(), "--simulate")

    assert ran.returncode == ENDS[words], ran.stderr
    assert ("pip install flask" in ran.stderr) == (words.split(maxsplit=1)[0] in NEED_FLASK)


@pytest.mark.parametrize("words", OWN_ENDS)
def test_a_verb_does_its_work_without_any_extra(speaker: Speaker, words: str) -> None:
    ran = speaker.run(EVERY, *words.split())

    assert ran.returncode != BUG
    assert OWN_ENDS[words] in (None, ran.returncode), ran.stderr


@pytest.mark.parametrize(
    ("extra", "part", "back_end", "package"),
    [
        ("apa102", "light", "gpiod", "spidev"),
        ("gpiod", "button", "gpiod", "gpiod"),
        ("rpi-gpio", "button", "rpi-gpio", "rpi-lgpio"),
        ("panel", "panel", "gpiod", "luma.oled"),
    ],
)
def test_a_part_without_its_library_says_what_to_install(
    speaker: Speaker, extra: str, part: str, back_end: str, package: str
) -> None:
    speaker.write(f'{BOARD}gpio = "{back_end}"\n')
    listed = json.loads(speaker.run(EXTRAS[extra], "hardware", "list", "--json").stdout)
    tested = speaker.run(EXTRAS[extra], "hardware", "test", "--expect", f"--part={part}")

    (row,) = [row for row in listed if row["part"] == part]
    assert (row["state"], row["library"]) == ("missing", {})
    assert tested.returncode == 72
    for hint in (row["hint"], " ".join(tested.stderr.split())):
        # from Python 3.13 on there is no lgpio for pip
        assert f"pip install {package}" in hint or f"apt install python3-{package}" in hint


def test_the_doctor_says_what_to_install(speaker: Speaker) -> None:
    found = json.loads(speaker.run(EVERY, "doctor", "--json").stdout)

    (library,) = [check for check in found["findings"] if check["code"] == "H2"]
    assert library["verdict"] == "fail"
    assert "pip install gpiod" in library["next_step"]


def test_the_service_runs_without_its_parts_and_says_what_to_install(speaker: Speaker) -> None:
    statuses: list[dict[str, str]] = []

    def is_told() -> bool:
        statuses.append(json.loads(speaker.run(EVERY, "status", "--json").stdout))
        return statuses[-1]["trouble"] == "hardware"  # told after the state

    with subprocess.Popen(
        speaker.command(EVERY, "run", *speaker.places()),
        cwd=ROOT if BARE is None else speaker.folder,
        env=bare_environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        try:
            wait_for((speaker.folder / "run" / "api.sock").exists)
            wait_for(is_told)
        finally:
            service.terminate()
        _, log = service.communicate(timeout=LONG)

    assert statuses[-1]["state"] == "unlinked"
    assert "pip install" in statuses[-1]["hint"]
    assert service.returncode == 0
    assert [
        package for package in ("gpiod", "spidev", "luma.oled") if f"pip install {package}" not in log
    ] == []
    assert "Traceback (" not in log


def test_each_verb_is_looked_at() -> None:
    assert {words.split()[0] for words in ENDS} == set(VERBS)
    assert {words.split()[0] for words in OWN_ENDS} == set(VERBS) - {"run", "simulator"}


@pytest.mark.parametrize(
    ("words", "package"),
    [
        *(("run", package) for package in EXTRAS["factory"][:3]),
        *((words, "sqlalchemy") for words in ("report", "export", "dsn list", "database upgrade", "import")),
    ],
)
def test_a_station_names_the_package_that_its_records_need(
    speaker: Speaker, words: str, package: str
) -> None:
    station = speaker.folder / "station.toml"
    station.write_text(
        '[station]\nid = "s1"\nfolder = "records"\n'
        '[product]\nname = "speaker"\nproduct_id = "SPEAKER"\n'
        'client_id = "amzn1.application-oa2-client.51000000000000000000000000000005"\n'
        '[[slot]]\nname = "slot"\ntransport = "local"\n'
    )
    more = [str(speaker.folder)] if words == "import" else []

    ran = speaker.run([package], "factory", *words.split(), str(station), *more)

    assert ran.returncode == 78
    assert (package if BARE is None else "the Python package") in ran.stderr
    assert "pip install" in ran.stderr
    assert not (speaker.folder / "records").exists()
