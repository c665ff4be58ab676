"""What only a real kernel can show; run inside the virtual machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_auth.assembly.doors import SIMULATED_CLIENT_ID
from tests.vm.benches import MadeLed, is_high, pull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.settings import Settings

ROOT = Path(__file__).parents[2]
LED, BUTTON = 27, 17
SECONDS = 5.0
LOOKS_A_SECOND = 20
GENERIC: Settings = {"board": "generic-led", "gpio": "gpiod"}

SETTINGS = f"""
client_id = "{SIMULATED_CLIENT_ID}"
product_id = "Speaker"
dsn = "G0001"
base_url = "http://127.0.0.1:8100/auth/O2/"
[hardware]
board = "generic-led"
gpio = "gpiod"
voice = {{kind = "simulated"}}
"""
"""A speaker with an LED and a button on lines, that asks a simulated Amazon."""

PARTS = """
import json, sys
from hardware.board import open_parts, read_plan
from hardware.clock import PartsClock
from hardware.led import Blink, Breathe, Off

parts = open_parts(read_plan(json.loads(sys.argv[1])), PartsClock())
assert not parts.problems, parts.problems
if parts.button:
    parts.button.listen(lambda gesture: print(gesture, flush=True), print)
if parts.light:
    parts.light.show({"dark": Off(), "blinking": Blink(500, 500), "breathing": Breathe(1000, 1000)}[sys.argv[2]])
print("ready", flush=True)
sys.stdin.read()
parts.close()
"""
"""A program with these parts and this pattern that only waits; it ends with its standard input."""


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without what belongs to the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DEVICE_AUTH_")}


@contextmanager
def parts_in_use(settings: Settings, pattern: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that has these parts."""
    command = (sys.executable, "-c", PARTS, json.dumps(settings), pattern)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.terminate()


def wake_ups(process: subprocess.Popen[str]) -> int:
    """Count how often any thread of a process has begun to wait so far: it was woken each time but the last."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/status")
    texts = [task.read_text() for task in tasks]
    return sum(int(text.split("voluntary_ctxt_switches:")[1].split()[0]) for text in texts)


def wake_ups_a_second(settings: Settings, pattern: str) -> float:
    with parts_in_use(settings, pattern) as process:
        time.sleep(1)
        before = wake_ups(process)
        time.sleep(SECONDS)
        return (wake_ups(process) - before) / SECONDS


@pytest.mark.parametrize(
    ("name", "settings", "pattern", "least", "most"),
    [
        ("gpiod: button, LED dark", GENERIC, "dark", 0, 0),
        ("gpiod: button, LED blinking 500/500", GENERIC, "blinking", 2, 2.5),
        ("rpi-lgpio: button, LED dark", {"board": "generic-led", "gpio": "rpi-gpio"}, "dark", 20, 80),
        ("rpi-lgpio: LED dark", {"board": "generic-led", "gpio": "rpi-gpio", "button": "off"}, "dark", 0, 60),
        ("kernel LED: dark", {}, "dark", 0, 0),
        ("kernel LED: breathing", {}, "breathing", 0, 0),
    ],
)
def test_waiting_wakes_no_more_often_than_it_must(
    name: str,
    settings: Settings,
    pattern: str,
    least: float,
    most: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = MadeLed(255)
    figure = wake_ups_a_second(settings or {"light": {"kind": "kernel", "name": made.name}}, pattern)

    with capsys.disabled():
        print(f"\nwake-ups a second: {figure:5.1f}  {name}")
    assert least <= figure <= most


def test_a_kernel_led_goes_on_blinking_when_its_program_is_killed() -> None:
    made = MadeLed(1)
    with parts_in_use({"light": {"kind": "kernel", "name": made.name}}, "blinking") as process:
        process.kill()
        process.wait()
        seen = []
        for _ in range(8):
            time.sleep(0.25)
            seen.append(made.brightness())

    assert {0, 1} == set(seen)


def test_a_press_is_heard_through_bouncing_contacts() -> None:
    with parts_in_use(GENERIC, "dark") as process:
        for is_high_now in (False, True, False, True, False):
            pull(BUTTON, up=is_high_now)
            time.sleep(0.003)
        time.sleep(0.2)
        for is_high_now in (True, False, True, False, True):
            pull(BUTTON, up=is_high_now)
            time.sleep(0.003)
        time.sleep(0.3)
        told, _ = process.communicate()

    assert told == "tap\n"


@pytest.mark.parametrize(("gpio", "library"), [("rpi-gpio", "rpi-lgpio"), ("gpiod", "gpiod")])
def test_list_tells_the_library_and_who_else_has_a_line(
    gpio: str, library: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "config.toml").write_text(f'[hardware]\nboard = "generic-led"\ngpio = "{gpio}"\n')
    command = (
        sys.executable,
        "-m",
        "device_auth",
        "hardware",
        "list",
        "--json",
        f"--config={tmp_path}/config.toml",
    )
    with parts_in_use({"board": "generic-led", "gpio": "gpiod", "button": "off"}, "dark"):
        listed = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )

    light, button = json.loads(listed.stdout)
    assert (light["state"], button["state"]) == ("busy", "free")
    assert list(light["library"]) == [library]


@pytest.mark.parametrize("gpio", ["rpi-gpio", "gpiod"])
def test_a_rig_tests_light_and_button(gpio: str, tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "config.toml").write_text(f'[hardware]\nboard = "generic-led"\ngpio = "{gpio}"\n')
    command = (sys.executable, "-m", "device_auth", "hardware", "test", "--expect", "--json")
    with subprocess.Popen(
        (*command, f"--config={tmp_path}/config.toml"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        asked = 0
        while (line := process.stderr.readline()).startswith("light, "):
            process.stdin.write(_look(line.rstrip().partition(": ")[2]) + "\n")
            process.stdin.flush()
            asked += 1
        for seconds in (0.3, 5.5):
            line = line or process.stderr.readline()
            assert line.startswith("button, ")
            line = ""
            time.sleep(0.5)
            _press(seconds)
        out, _ = process.communicate()

    results = [json.loads(line) for line in out.splitlines()]
    assert [result for result in results if not result["ok"]] == []
    assert asked == 10
    assert len(results) == asked + 2
    assert process.returncode == 0


def _look(expected: str) -> str:
    """Look whether the LED is dark, steady or changing; how it changes is for the contract tests to see."""
    levels = set(_levels(4))
    seen = "changing" if len(levels) > 1 else "steady" if True in levels else "dark"
    wanted = expected if expected in ("dark", "steady") else "changing"
    return "yes" if seen == wanted else seen


def _levels(seconds: float) -> Iterator[bool]:
    for _ in range(round(seconds * LOOKS_A_SECOND)):
        yield is_high(LED)
        time.sleep(1 / LOOKS_A_SECOND)


def _press(seconds: float) -> None:
    pull(BUTTON, up=False)
    time.sleep(seconds)
    pull(BUTTON, up=True)


@contextmanager
def running(*words: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run our command, and end it politely."""
    with subprocess.Popen(
        (sys.executable, "-m", "device_auth", *words),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_press_links_a_running_speaker_and_the_led_tells(
    tmp_path: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(SETTINGS)
    places = [f"--{name}-dir={tmp_path / name}" for name in ("state", "runtime")]
    options = (f"--config={tmp_path}/config.toml", *places)
    with (
        running(
            "simulator", "--approve-after=5", "--interval=2", "--port=8100", environment=environment
        ) as amazon,
        running("run", *options, environment=environment) as speaker,
    ):
        assert amazon.stdout is not None
        amazon.stdout.readline()
        while not (tmp_path / "runtime" / "api.sock").exists():
            time.sleep(0.1)
        before = set(_levels(2))
        _press(0.3)
        levels = list(_levels(20))
        idle = _wake_ups_a_minute(speaker, minutes=10)
        status = _told("status", *options, environment=environment)

    lengths = [(level, len(list(run)) / LOOKS_A_SECOND) for level, run in groupby(levels)]
    with capsys.disabled():
        print(f"\nwake-ups a minute: {idle:4.1f}  daemon, linked, gpiod: button, LED dark")
    assert before == {False}
    assert (status["state"], status["trouble"]) == ("linked", "none")
    assert sum(level and 0.9 < length < 1.3 for level, length in lengths) >= 2, (
        lengths
    )  # it waits for the owner
    assert any(level and 4.5 < length < 5.7 for level, length in lengths), lengths  # and is linked
    assert not levels[-1]
    assert idle <= 1.5


def _wake_ups_a_minute(process: subprocess.Popen[str], *, minutes: int) -> float:
    before = wake_ups(process)
    time.sleep(60 * minutes)
    return (wake_ups(process) - before) / minutes


def _told(*words: str, environment: dict[str, str]) -> dict[str, object]:
    command = (sys.executable, "-m", "device_auth", *words, "--json")
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    answer: dict[str, object] = json.loads(told.stdout)
    return answer
