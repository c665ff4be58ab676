"""The simulated speaker on a real terminal: seen, heard and pressed; and the terminal is given back on every way out."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from device_auth.world.disks import doubt_about
from tests.code_views import photograph
from tests.qr_decoders import READERS
from tests.terminal_session import CONTROL_C, CONTROL_Q, CONTROL_S, CONTROL_Z, Session, session
from tests.waiting import LONG


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
    terminal.wait_for("Time left: 9:5")

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
    assert READERS[0](photograph(terminal.screen))


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
