"""The simulated speaker on a real terminal: seen, heard and pressed; and the terminal is given back on every way out."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from device_auth.world.disks import doubt_about
from tests.code_views import photograph
from tests.command import ROOT, bare_environment
from tests.qr_decoders import READERS
from tests.terminal_session import CONTROL_C, CONTROL_Q, CONTROL_S, CONTROL_Z, Session, session
from tests.waiting import LONG, wait_for


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Session]:
    with session(tmp_path) as opened:
        opened.wait_for("ready>")
        yield opened


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]


def last_lines(terminal: Session, number: int) -> list[str]:
    return terminal.text.split("\n")[-number:]


def approve(terminal: Session) -> None:
    """Approve the code on the screen, as the owner would by the link in its picture."""
    terminal.wait_for(lambda: bool(READERS[0](photograph(terminal.screen))))
    [address] = READERS[0](photograph(terminal.screen))
    link = urlsplit(address)
    [user_code] = parse_qs(link.query)["cbl-code"]
    asked = {"user_code": user_code}
    assert requests.post(f"http://{link.netloc}/control/approve", json=asked, timeout=LONG).status_code == 200


def test_code_light_voice_button_and_time_left_stand_on_one_screen(
    terminal: Session, places: list[str]
) -> None:
    terminal.run("link", "--simulate=manual", *places)
    terminal.wait_for("Time left: 9:")

    terminal.wait_for('voice "To link this speaker')
    light, voice, waiting = last_lines(terminal, 3)
    assert light.startswith(" light (   ) orange, breathing")
    assert light.endswith("space bar: its button")
    assert voice.startswith(' voice "To link this speaker')
    assert waiting.startswith("Waiting for your approval.")
    [address] = READERS[0](photograph(terminal.screen))
    assert "/us/code?cbl-code=" in address


def test_the_lamp_breathes(terminal: Session, places: list[str]) -> None:
    terminal.run("link", "--simulate=manual", *places)
    terminal.wait_for("orange, breathing")
    row = next(row for row, line in enumerate(terminal.screen.display) if " light (" in line)

    seen = set[str]()

    def has_shown_four_colours() -> bool:
        seen.add(terminal.screen.buffer[row][9].bg)
        return len(seen) >= 4

    terminal.wait_for(has_shown_four_colours)


def test_a_tap_of_the_space_bar_tells_the_code_again(terminal: Session, places: list[str]) -> None:
    terminal.run("link", "--simulate=manual", *places)
    terminal.wait_for("Time left")
    terminal.type(" ")

    terminal.wait_for("a tap: the code is told again")
    terminal.wait_for('voice "Here is the code again.')
    terminal.wait_for(lambda: bool(READERS[0](photograph(terminal.screen))))


def test_a_tap_once_another_link_was_made_asks_for_no_third_code(
    terminal: Session, places: list[str]
) -> None:
    terminal.run("link", "--simulate", "--json", *places)
    terminal.wait_for("left with 0")
    terminal.type("clear; echo all' 'clear\n")
    terminal.wait_for("all clear")
    terminal.run("link", "--simulate", "--again", *places)
    terminal.wait_for("cyan, steady")
    terminal.type(" ")

    terminal.wait_for('voice "This speaker is linked to your account."')
    terminal.wait_for("left with 0")


def test_the_owner_approves_and_the_lamp_is_lit(terminal: Session, places: list[str], tmp_path: Path) -> None:
    told = '"Done. This speaker is now linked to your account."'
    terminal.run("link", "--simulate", *places)
    terminal.wait_for("cyan, steady")
    terminal.wait_for(f"voice {told}" if doubt_about(tmp_path) is None else "link this speaker again.")
    terminal.type(CONTROL_C)
    terminal.wait_for("left with 0")

    assert "Linked." in terminal.text
    assert terminal.is_as_a_shell_wants_it


SLOW_VOICE = (
    "import sys; from device_auth.assembly.simulated_speaker import DrawnSpeaker;"
    " DrawnSpeaker.__init__.__kwdefaults__['pace'] = 0.2;"
    " from device_auth.cli.main import main; sys.exit(main())"
)


@pytest.mark.slow
def test_the_last_words_are_not_cut_short(terminal: Session, places: list[str], tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW_VOICE)
    words = " ".join(["PYTHONPATH=.", sys.executable, str(script), "link", "--simulate", *places])
    terminal.type(f"clear; {words}; echo 'left' with $?\n")
    terminal.wait_for("left with 0")

    assert 'voice "Done. This speaker is now linked to your account."' in terminal.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(
    terminal: Session, places: list[str], number: signal.Signals
) -> None:
    terminal.run("link", "--simulate=manual", *places)
    terminal.wait_for("Time left")
    held = terminal.is_as_a_shell_wants_it
    if number is signal.SIGINT:
        terminal.type(CONTROL_C)
    else:
        os.killpg(os.tcgetpgrp(terminal._far), number)
    terminal.wait_for(lambda: terminal.is_as_a_shell_wants_it)

    assert not held
    terminal.wait_for("left with 130")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_nobody_else_hears_gives_the_terminal_back_too(
    terminal: Session, number: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nfrom device_auth.assembly.keyboard import keys_of\n"
        "with keys_of(0, print):\n"
        "    print('hears', flush=True)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
    )
    terminal.type(f"clear; PYTHONPATH=. {sys.executable} {script}; echo 'left' with $?\n")
    terminal.wait_for(f"left with {128 + number}")

    assert "hears" in terminal.text
    assert terminal.is_as_a_shell_wants_it


def test_a_stopped_speaker_leaves_the_terminal_to_the_shell_and_goes_on_where_it_was(
    terminal: Session, places: list[str]
) -> None:
    terminal.run("link", "--simulate=manual", *places)
    terminal.wait_for("Time left")
    terminal.type(CONTROL_Z)
    terminal.wait_for(lambda: terminal.is_as_a_shell_wants_it)
    terminal.type("fg\n")
    terminal.wait_for(lambda: not terminal.is_as_a_shell_wants_it)
    terminal.type(" ")

    terminal.wait_for("a tap: the code is told again")
    terminal.type(CONTROL_C)
    terminal.wait_for(lambda: terminal.is_as_a_shell_wants_it)


def test_a_speaker_in_the_background_leaves_the_keyboard_alone(terminal: Session, places: list[str]) -> None:
    terminal.type("stty -tostop; ")
    terminal.run("link", "--simulate=manual", *places, "&", "wait")
    approve(terminal)

    terminal.wait_for("cyan, steady")
    assert terminal.is_as_a_shell_wants_it
    terminal.type(CONTROL_C)
    terminal.type("clear; kill %1; wait %1; echo ended with $?\n")
    terminal.wait_for("ended with 0")


@pytest.mark.slow
def test_a_terminal_that_takes_no_text_for_ever_does_not_keep_the_speaker_from_being_linked(
    terminal: Session, places: list[str], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    terminal.run("link", "--simulate=manual", *places, ">", str(told))
    terminal.wait_for("Time left")
    terminal.type(CONTROL_S)
    approve(terminal)

    terminal.wait_for(lambda: told.exists() and told.read_text() == "linked\n")
    assert "Linked" not in terminal.text
    terminal.type(CONTROL_Q)
    terminal.wait_for("left with 0")
    assert terminal.is_as_a_shell_wants_it


# -- the service ------------------------------------------------------------------------------------------


def test_a_newcomer_is_told_what_this_is_and_what_the_keys_do(terminal: Session, places: list[str]) -> None:
    terminal.run("run", "--simulate", *places)
    terminal.wait_for("? lists the keys")
    assert "A simulation: Amazon is simulated in this process, and so is its owner" in terminal.text
    assert "Its button: space or enter taps, 5 and 0 hold it" in terminal.text
    assert re.search(r"^The speaker's page: http://127\.0\.0\.1:\d+/$", terminal.text, re.MULTILINE)

    terminal.type("\n")
    terminal.wait_for("Linked. ")
    # both are gone when the owner has approved, which he does within seconds
    assert "Waiting for your approval. Time left: " in terminal.heard
    assert "1. Open this here" in terminal.heard
    terminal.type("?")
    terminal.wait_for(lambda: [line[:11] for line in terminal.text.splitlines()[-3:-2]] == ["Its button:"])
    assert terminal.text.count("Its button:") == 1
    assert "light" in terminal.text
    terminal.type("\x04")
    terminal.wait_for("left with 0")
    assert terminal.is_as_a_shell_wants_it


def test_lines_press_the_button_of_a_speaker_that_is_drawn_until_the_pipe_ends(
    terminal: Session, places: list[str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "end")
    words = " ".join([sys.executable, "-m", "device_auth", "run", "--simulate", *places])
    terminal.type(f"clear; (echo tap; cat {tmp_path}/end) | {words}; echo 'left' with $?\n")
    terminal.wait_for("enter the code")
    assert "write tap, or hold and a number of seconds" in terminal.heard
    assert "space" not in terminal.heard.partition("A simulation")[2]
    assert "? lists the keys" not in terminal.text
    (tmp_path / "end").write_text("")

    terminal.wait_for("left with 0")


def test_where_the_keyboard_is_another_commands_no_keys_are_promised(
    terminal: Session, places: list[str]
) -> None:
    words = " ".join([sys.executable, "-m", "device_auth", "run", "--simulate", *places])
    terminal.type(f"clear; {words} &\n")
    terminal.wait_for("link it.")
    assert "Its button" not in terminal.text
    assert "? lists the keys" not in terminal.text
    terminal.type("kill %1; wait; echo 'left' them\n")

    terminal.wait_for("left them")


@pytest.mark.slow
def test_a_hold_and_a_tap_at_once_unlink(terminal: Session, places: list[str]) -> None:
    terminal.run("run", "--simulate", *places)
    terminal.wait_for("? lists the keys")
    terminal.type("\n")
    terminal.wait_for("Linked. ")
    terminal.type("5 ")

    terminal.wait_for("To unlink this speaker, press the button once within ten seconds.")
    terminal.wait_for("This speaker is no longer linked.")
    terminal.type(CONTROL_C)
    terminal.wait_for("left with 0")


def start(places: list[str], words: tuple[str, ...] = (), **streams: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "device_auth", "run", "--simulate", *places, *words]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=bare_environment(), **streams
    )


def test_the_service_ends_with_the_pipe_that_presses_its_button(places: list[str]) -> None:
    running = start(places, stdin=subprocess.PIPE)
    _, told = running.communicate("tap\n", timeout=LONG)

    assert running.returncode == 0
    assert "A simulation: Amazon is simulated in this process" in told


def test_the_service_ends_with_its_terminal(places: list[str]) -> None:
    far, near = os.openpty()
    running = start(places, stdin=near)
    os.close(near)
    assert running.stderr is not None
    while "The speaker's page" not in running.stderr.readline():
        pass
    os.close(far)

    running.communicate(timeout=LONG)
    assert running.returncode == 0


def test_nothing_on_standard_input_does_not_end_the_service(places: list[str]) -> None:
    running = start(places, stdin=subprocess.DEVNULL)
    assert running.stderr is not None
    lines = [running.stderr.readline() for _ in range(4)]
    status = [sys.executable, "-m", "device_auth", "status", "--simulate", *places]
    subprocess.run(status, cwd=ROOT, env=bare_environment(), check=True, capture_output=True)

    assert running.poll() is None, lines
    assert "Its button cannot be pressed: standard input is empty." in "".join(lines)
    running.terminate()
    running.communicate(timeout=LONG)
    assert running.returncode == 0


def test_the_page_of_a_simulated_speaker_is_opened_if_asked_for(places: list[str], tmp_path: Path) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.new; mv {seen}.new {seen}\n')
    browser.chmod(0o700)
    command = [sys.executable, "-m", "device_auth", "run", "--simulate", "--open", *places]
    environment = {**bare_environment(), "BROWSER": f"{browser} %s"}
    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
    )
    wait_for(seen.exists)
    running.terminate()

    assert running.wait(LONG) == 0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", seen.read_text())
