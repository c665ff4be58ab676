"""Must show: the same units through real sshds on loopback, one a slot with its own host key, and through serial lines."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.factory.broken_unit import FAULTS
from tests.factory.line import CLIENT_ID, HERE, STATION, STEPS, EndedStation, add_dsns, ask_records
from tests.factory.test_line import EXPECTED, check_line
from tests.serial_units import SerialUnit
from tests.sshd import SSHD, USER, Sshd, make_key
from tests.waiting import wait_for

SLOT: Final = """
[[slot]]
name = "{name}"
transport = "{transport}"
answers = {answers}
command = {command}
{settings}
"""

OVER_SSH: Final = {
    **EXPECTED,
    "reboot": "ERROR link-test: the verb was killed",
}
OVER_A_LINE: Final = {
    **EXPECTED,
    "garbage": "ERROR link-test: the unit's talk cannot be read: it ends without a result",
}


def write_far_station(folder: Path, settings: dict[str, str], transport: str, budget: float) -> Path:
    """Write a station's file with a slot for each of these settings."""
    steps = "\n".join(f'    {{ verb = "{step}", budget = {budget} }},' for step in STEPS)
    yes, no_light = ["sh", "-c", "echo yes"], [sys.executable, str(HERE / "dead_led_rig.py")]
    slots = [
        SLOT.format(
            name=name,
            transport=transport,
            answers=json.dumps(no_light if name == "dead-led" else yes),
            command=json.dumps([sys.executable, str(HERE / "far_unit.py"), str(folder / "units"), name]),
            settings=own,
        )
        for name, own in settings.items()
    ]
    path = folder / "station.toml"
    path.write_text(STATION.format(client_id=CLIENT_ID, steps=steps) + "".join(slots))
    return path


def end_units(folder: Path) -> None:
    """Kill what hangs on the units, as pulling their plugs does."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{folder}/units".encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_units(tmp_path)


def run_far_line(folder: Path, slots: list[str], way: str, budget: float) -> None:
    """Run the units of these slots, and check what became of each."""
    if way == "ssh" and SSHD is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    make_units, expected = WAYS[way]
    with ExitStack() as stack:
        station = write_far_station(folder, make_units(folder, slots, stack), way, budget)
        add_dsns(station, 100)
        ended = scan_and_run(station, slots)
        end_units(folder)
    check_line(folder, slots, ended, expected)


def has_answered(remarks: list[str], before: int, process: "subprocess.Popen[str]") -> bool:
    """Return whether the station has said that the next unit goes to a slot, and what became of that."""
    return len(remarks) >= before + 2 or process.poll() is not None


def scan_and_run(station: Path, slots: list[str]) -> EndedStation:
    """Run a station as an operator does who scans each slot, and the label of the unit in it."""
    command = [sys.executable, "-m", "device_auth", "factory", "run", str(station), "--json"]
    remarks: list[str] = []
    with subprocess.Popen(
        [*command, "--units", str(len(slots))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        hearing = threading.Thread(target=remarks.extend, args=(process.stderr,), daemon=True)
        hearing.start()
        for number, slot in enumerate(slots, start=1):
            dsn = f"KS{number:06}"
            while not any(f"{dsn} in {slot}" in remark for remark in remarks):
                before = len(remarks)
                process.stdin.write(f"AT;{slot}\n{dsn}\n")
                process.stdin.flush()
                wait_for(partial(has_answered, remarks, before, process))
                assert process.poll() is None, remarks
        # standard input stays open: an operator may still be asked
        out = process.stdout.read()
        exit_code = process.wait()
        hearing.join()
    return EndedStation(exit_code, [json.loads(line) for line in out.splitlines()], "".join(remarks))


def keys_of(folder: Path, name: str) -> Path:
    """Return the file by which a unit lets the station in."""
    return folder / "units" / name / "root/root/.ssh/authorized_keys"


def by_ssh(folder: Path, slots: list[str], stack: ExitStack) -> dict[str, str]:
    key = folder / "station_key"
    public = make_key(key, "device-auth-station")
    settings = {}
    for name in slots:
        unit = Sshd(folder / "sshd" / name, public, keys_of(folder, name))
        stack.callback(unit.stop)
        unit.start()
        settings[name] = f'host = "127.0.0.1"\nport = {unit.port}\nuser = "{USER}"\nidentity_file = "{key}"\n'
    return settings


def by_serial_line(folder: Path, slots: list[str], stack: ExitStack) -> dict[str, str]:
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text("open sesame\n")
    settings = {}
    for place, name in enumerate(slots):
        unit = SerialUnit(("login", "bash", "dash")[place % 3])
        stack.callback(unit.close)
        settings[name] = f'device = "{unit.device}"\npassword_file = "{password}"\n'
    return settings


WAYS: Final[dict[str, tuple[Callable[[Path, list[str], ExitStack], dict[str, str]], dict[str, str]]]] = {
    "ssh": (by_ssh, OVER_SSH),
    "serial": (by_serial_line, OVER_A_LINE),
}


def check_station_keys(folder: Path, slots: list[str]) -> None:
    """Assert that the station's key is on the units that failed alone: they may come back."""
    let_in = {slot for slot in slots if "device-auth-station" in keys_of(folder, slot).read_text()}
    assert let_in == {slot for slot in slots if slot in OVER_SSH}


@pytest.mark.factory
@pytest.mark.parametrize("way", WAYS)
def test_thirty_two_far_units_of_which_eight_are_broken(folder: Path, way: str) -> None:
    slots = [*FAULTS, *(f"good-{number:02}" for number in range(24))]

    run_far_line(folder, slots, way, budget=300)

    fingerprints = {found for (found,) in ask_records(folder, "select host_key_fingerprint from run")}
    assert len(fingerprints) == (32 if way == "ssh" else 1), "each unit has a host key of its own"
    if way == "ssh":
        check_station_keys(folder, slots)


@pytest.mark.factory
@pytest.mark.factory_quick
@pytest.mark.parametrize("way", WAYS)
def test_two_far_units_of_which_one_is_broken(folder: Path, way: str) -> None:
    slots = ["good-1", "leftover"]

    run_far_line(folder, slots, way, budget=120)

    if way == "ssh":
        check_station_keys(folder, slots)
