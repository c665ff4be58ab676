"""A card that was copied: the copy uses nothing, says so everywhere, and the first speaker goes on."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.local import LocalSpeaker
from device_auth.assembly.speaker import Ending
from device_auth.cli.main import read_arguments
from device_auth.core.errors import NotLinked
from device_auth.core.models import Link
from device_auth.core.states import StateWord, Trouble
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running, serve
from device_auth.world.store import FileStore
from device_auth.world.unit import SERIAL_NUMBER
from tests.command import Command
from tests.daemon_process import Household
from tests.simulated_speaker import strict

OTHER: Final = "0" * 32


@pytest.fixture
def options() -> Options:
    return strict(interval=1, approve_after=0, rotates=True)


@pytest.fixture
def household(tmp_path: Path) -> Iterator[Household]:
    with serve(Amazon(strict(interval=1), clock=time.monotonic)) as running:
        household = Household(tmp_path, running)
        household.write_settings('dsn = "K-0001"\n')
        yield household


class Board:
    """A speaker with a serial number of its own, and the card in it."""

    def __init__(self, folder: Path, running: Running, serial: str = "") -> None:
        self.command = Command(folder, running)
        self.machine = folder / "machine"
        number = self.machine / SERIAL_NUMBER.relative_to("/")
        number.parent.mkdir(parents=True)
        number.write_text(serial + "\0")

    @property
    def state(self) -> Path:
        return self.command.folder / "state"

    @property
    def speaker(self) -> LocalSpeaker:
        return LocalSpeaker(self.doors())

    def doors(self, *words: str) -> Doors:
        doors = open_doors(
            vars(read_arguments(["status", *self.command.places, *self.command.provider, *words]))
        )
        doors.machine = self.machine
        return doors

    def copy_card(self, folder: Path, serial: str) -> "Board":
        board = Board(folder, self.command.running, serial)
        shutil.copytree(self.state, board.state)
        return board


@pytest.fixture
def first(tmp_path: Path, running: Running) -> Board:
    """A speaker that was linked by an earlier program, which wrote no mark, and served a token since."""
    board = Board(tmp_path / "first", running, "10000000abcdef01")
    assert board.command.link() == 0
    with FileStore(board.state) as store:
        store.save(replace(stored(board), board="", dsn=""))
    (board.command.folder / "run" / "token.json").unlink()
    assert board.speaker.token(60).expires_in > 0
    return board


def stored(board: Board) -> Link:
    link = FileStore(board.state).read()
    assert link is not None
    return link


def test_a_first_token_marks_the_link_and_a_copy_of_the_card_is_not_used(
    first: Board, tmp_path: Path, running: Running
) -> None:
    assert len(stored(first).board) == 32
    copy = first.copy_card(tmp_path / "copy", "10000000abcdef02")
    before = (copy.state / "link.json").read_bytes()

    with pytest.raises(NotLinked, match="copied from another speaker") as refused:
        copy.speaker.token(60)

    assert "device-auth link --adopt" in refused.value.hint
    status = copy.speaker.status()
    assert (status.state, status.trouble) == (StateWord.UNLINKED, Trouble.COPIED)
    assert (copy.state / "link.json").read_bytes() == before
    assert first.speaker.token(3600).expires_in > 0
    assert first.speaker.status().trouble is Trouble.NONE
    assert [complaint.sentence for complaint in running.amazon.referee.complaints()] == []


def test_a_copy_that_is_forgotten_is_not_revoked(first: Board, tmp_path: Path) -> None:
    copy = first.copy_card(tmp_path / "copy", "10000000abcdef02")

    assert copy.speaker.unlink(is_wipe=False).is_revoked is False
    assert list(copy.state.iterdir()) == []
    assert first.speaker.token(3600).expires_in > 0


def test_a_card_that_moved_for_good_is_adopted(first: Board, tmp_path: Path) -> None:
    copy = first.copy_card(tmp_path / "copy", "10000000abcdef02")

    assert copy.speaker.adopt().ending is Ending.LINKED

    assert copy.speaker.token(3600).expires_in > 0
    assert copy.speaker.adopt().ending is Ending.ALREADY_LINKED
    assert stored(copy).board not in {"", stored(first).board}


def test_there_is_nothing_to_adopt_where_nothing_is(tmp_path: Path, running: Running) -> None:
    with pytest.raises(NotLinked, match="no link of another speaker is stored here"):
        Board(tmp_path, running, "10000000abcdef02").speaker.adopt()


# -- the verbs; the link's mark and its DSN are another's, whichever of the two this machine goes by


@pytest.fixture
def copied(tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path, running)
    assert command.link() == 0
    (tmp_path / "run" / "token.json").unlink()
    become_copied(tmp_path / "state")
    (tmp_path / "config.toml").write_text('dsn = "K-0001"\n')
    monkeypatch.setenv("DEVICE_AUTH_CONFIG", str(tmp_path / "config.toml"))
    return command


def become_copied(state: Path) -> None:
    with FileStore(state) as store:
        link = store.read()
        assert link is not None
        store.save(replace(link, board=OTHER, dsn="B-0001"))


def test_every_verb_tells_of_the_copy_and_changes_nothing(
    copied: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copied.folder / "state" / "link.json").read_bytes()

    assert copied.run("status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["trouble"]) == ("unlinked", "copied")
    assert copied.run("token") == 75
    assert "copied from another speaker" in capsys.readouterr().err
    assert copied.run("export", "json", "--to", "-", "--copy") == 75
    assert "Atzr" not in capsys.readouterr().out
    assert copied.run("link", "--adopt", "--again") == 2
    assert (copied.folder / "state" / "link.json").read_bytes() == before


def test_a_new_link_sets_the_copy_aside_and_a_wipe_erases_that_too(copied: Command) -> None:
    before = (copied.folder / "state" / "link.json").read_bytes()

    assert copied.link() == 0

    assert (copied.folder / "state" / "link.json.copied-1").read_bytes() == before
    assert copied.run("token") == 0
    assert copied.run("unlink", "--wipe") == 0
    assert list((copied.folder / "state").iterdir()) == []


def test_a_command_adopts_the_copy(copied: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert copied.run("link", "--adopt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["event"] == "linked"

    assert copied.run("token") == 0


# -- the service


def test_a_service_tells_of_the_copy_and_an_administrator_adopts_it(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        living.end()
    become_copied(household.state)

    with household.living() as living:
        assert "device-auth link --adopt" in living.wait_until("unlinked", "copied").hint
        assert household.ask("token").returncode == 75
        assert "copied from another speaker" in household.ask("token").stderr
        assert household.token_files() == set()

        assert household.ask("link", "--adopt").returncode == 0
        living.wait_until("linked")
        assert household.ask("token").returncode == 0
        assert household.ask("link", "--adopt").returncode == 0


def test_a_service_without_a_copy_has_nothing_to_adopt(household: Household) -> None:
    with household.living() as living:
        living.wait_until("unlinked")
        asked = household.ask("link", "--adopt")

    assert asked.returncode == 75
    assert "no link of another speaker" in asked.stderr
