"""``config init`` and ``edit`` as a person meets them: questions, answers, and keys that end them."""

import os
import stat
import tomllib
from pathlib import Path

import pytest

from tests.terminal_session import CONTROL_C, Session, session
from tests.unit.test_config import CLIENT_ID

CONTROL_D = "\x04"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def begin(terminal: Session, path: Path, *words: str) -> None:
    terminal.run("config", "init", "--config", str(path), *words)


def answer(terminal: Session, question: str, text: str) -> None:
    terminal.wait_for(lambda: terminal.text.rpartition("\n")[2].startswith(question))
    terminal.type(f"{text}\n")


def test_a_person_is_asked_for_what_matters_and_told_the_next_command(path: Path) -> None:
    with session(path.parent) as terminal:
        begin(terminal, path)
        terminal.wait_for("closed AVS to many new products")
        answer(terminal, "client_id:", "")
        terminal.wait_for("client_id is left out; there is no link until it is set.")
        answer(terminal, "product_id:", "my kitchen")
        answer(terminal, "product_id:", "  “Kitchen” ")
        terminal.wait_for("has spaces")
        answer(terminal, "dsn:", "1234")
        terminal.wait_for("dsn is a placeholder.")
        answer(terminal, "dsn:", "K-7")
        terminal.wait_for("it will likely")
        answer(terminal, "dsn [K-7]:", "")
        answer(terminal, "board [none]:", "generic")
        answer(terminal, "board [none]:", "generic-led")
        answer(terminal, "page [on]:", "OFF")
        terminal.wait_for("left with 0")
        told = " ".join(terminal.text.split())

    assert tomllib.loads(path.read_text()) == {
        "product_id": "Kitchen",
        "dsn": "K-7",
        "page": "off",
        "hardware": {"board": "generic-led"},
    }
    assert stat.S_IMODE(path.stat().st_mode) in {0o600, 0o640}
    assert "Still open: client_id is not set." in told
    # the terminal breaks a long path
    assert f"device-auth config set client_id VALUE --config {path}".replace(" ", "") in told.replace(" ", "")


def test_options_are_not_asked_for_and_a_narrow_terminal_has_room(path: Path) -> None:
    with session(path.parent, columns=30, rows=15) as terminal:
        terminal.type("export TERM=dumb NO_COLOR=1\n")
        begin(terminal, path, "--client-id", CLIENT_ID, "--product-id", "Kitchen", "--dsn", "G1")
        answer(terminal, "board [none]:", "")
        answer(terminal, "page [on]:", "")
        terminal.wait_for("left with 0")
        assert "Next: device-auth link" in " ".join(terminal.text.split())
        # escape sequences are the shell's own: clear
        assert "\x1b" not in terminal.heard.partition("The settings")[2]

    assert tomllib.loads(path.read_text())["product_id"] == "Kitchen"


@pytest.mark.parametrize("end", [CONTROL_C, CONTROL_D])
def test_a_person_who_ends_it_has_written_nothing(path: Path, end: str) -> None:
    with session(path.parent) as terminal:
        begin(terminal, path)
        answer(terminal, "client_id:", CLIENT_ID)
        terminal.wait_for("product_id:")
        terminal.type(end)
        terminal.wait_for("left with 130")
        assert "device-auth: nothing was written" in terminal.text
        assert terminal.is_as_a_shell_wants_it

    assert not path.exists()


def test_bytes_that_are_not_text_are_asked_for_again(path: Path) -> None:
    with session(path.parent) as terminal:
        begin(terminal, path)
        terminal.wait_for("client_id:")
        os.write(terminal._far, b"\xff\xfe\n")
        terminal.wait_for("client_id has bytes that are not UTF-8.")
        terminal.type(CONTROL_C)
        terminal.wait_for("left with 130")


def test_an_edit_beside_another_program_is_not_lost_and_both_can_be_had(path: Path, tmp_path: Path) -> None:
    path.write_text("renewals = 3\n")
    path.chmod(0o600)
    seen, editor = tmp_path / "seen", tmp_path / "editor"
    editor.write_text(
        f'#!/bin/sh\ncp "$1" {seen}\n'
        f'if grep -q mine "$1"; then echo \'dsn = "K-7"\' >> "$1"; exit; fi\n'
        f"echo '# mine' >> \"$1\"; echo 'dsn = \"K-7\"' >> {path}\n"
    )
    editor.chmod(0o700)
    with session(path.parent) as terminal:
        terminal.type(f"export EDITOR={editor}\n")
        terminal.run("config", "edit", "--config", str(path))
        terminal.wait_for("Edit it again? [Y/n]")
        assert "your text is kept" in " ".join(terminal.text.split())
        terminal.type("\n")
        terminal.wait_for("left with 0")

    remark, added, *mine = seen.read_text().splitlines()
    assert (remark.startswith("#! Changed meanwhile"), added) == (True, '#! +dsn = "K-7"')
    assert mine == ["renewals = 3", "# mine"]
    assert path.read_text() == 'renewals = 3\n# mine\ndsn = "K-7"\n'


def test_what_an_edit_made_wrong_can_be_edited_again_or_left(path: Path) -> None:
    path.write_text("renewals = 3\n")
    path.chmod(0o600)
    with session(path.parent) as terminal:
        terminal.type("export EDITOR='sed -i s/3/many/'\n")
        terminal.run("config", "edit", "--config", str(path))
        terminal.wait_for("Edit it again? [Y/n]")
        assert "is not valid TOML" in " ".join(terminal.text.split())
        terminal.type("n\n")
        terminal.wait_for("left with 78")

    assert path.read_text() == "renewals = 3\n"
