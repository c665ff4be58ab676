"""The verb ``hardware`` as a process: ended by signals, asked at a terminal, fed by a rig."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.terminal_session import read_to_the_end, session
from tests.waiting import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STAND_INS = ROOT / "tests" / "stand_ins" / "modules"
COMMAND = (sys.executable, "-m", "device_auth", "hardware", "test", "--part=light")
STEADY = "starting, just-linked, held-5s"
DIFFERENT = 9
"""The patterns that an LED of one colour shows."""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings with a kernel LED, whose files are plain files here; its first patterns take no time."""
    led = tmp_path / "leds" / "status"
    led.mkdir(parents=True)
    (led / "max_brightness").write_text("255\n")
    (led / "trigger").write_text("[none] timer pattern\n")
    path = tmp_path / "config.toml"
    light = f'light = {{kind = "kernel", name = "status", directory = "{led.parent}"}}'
    path.write_text(f'[hardware]\n{light}\npatterns.starting = {{kind = "solid", colour = "white"}}\n')
    return path


@pytest.fixture
def process(settings: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A test of that LED that waits for a rig's answers."""
    with subprocess.Popen(
        (*COMMAND, "--expect", "--json", "--seconds=0", f"--config={settings}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(STAND_INS)},
    ) as process:
        yield process
        process.kill()


def answer_until(process: subprocess.Popen[str], wanted: str) -> None:
    """Answer yes to every question before the wanted one."""
    assert process.stdin is not None
    assert process.stderr is not None
    while not process.stderr.readline().startswith(f"light, {wanted}:"):
        process.stdin.write("yes\n")
        process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_test_with_the_light_out(
    process: subprocess.Popen[str], settings: Path, number: signal.Signals
) -> None:
    brightness = settings.parent / "leds" / "status" / "brightness"
    answer_until(process, STEADY)
    assert brightness.read_text() == "255"

    process.send_signal(number)

    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert brightness.read_text() == "0"
    assert all(json.loads(line)["ok"] for line in out.splitlines())
    assert "Traceback" not in err


def test_a_rig_that_goes_away_ends_the_test(process: subprocess.Popen[str]) -> None:
    answer_until(process, "unlinked, linked")

    out, _ = process.communicate(timeout=LONG)

    assert process.returncode == 72
    assert [json.loads(line)["seen"] for line in out.splitlines()][1:] == ["no answer"]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 72)])
def test_a_person_at_a_terminal_is_asked_about_every_pattern(settings: Path, answer: str, code: int) -> None:
    ours, theirs = os.openpty()
    os.write(ours, f"{answer}\n".encode() * DIFFERENT)

    ended = subprocess.run(
        (*COMMAND, f"--config={settings}"),
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=LONG,
        check=False,
    )

    os.close(theirs)
    asked = read_to_the_end(ours)
    os.close(ours)
    assert ended.returncode == code
    assert asked.count("Is it so? [y/n]") == DIFFERENT
    assert [line.split()[0] for line in ended.stdout.splitlines() if not line.startswith(" ")] == [
        "ok" if answer == "y" else "WRONG"
    ] * DIFFERENT


def test_a_list_without_parts_names_the_boards_below_what_is_so(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.touch()
    with session(tmp_path) as terminal:
        terminal.run("hardware", "list", "--config", str(settings))
        terminal.wait_for("left with ")
        first, second, *_more = terminal.text[terminal.text.index("device-auth: ") :].splitlines()

    assert first == "device-auth: the board is 'none' and no part is set"
    assert second.startswith("  Switch a board on: ")
