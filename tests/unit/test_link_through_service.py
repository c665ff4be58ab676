"""``link`` while the service runs: what it asks of it, when it ends, and with what."""

import argparse
import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from device_auth.assembly.doors import Doors
from device_auth.assembly.remote import RemoteSpeaker
from device_auth.assembly.speaker import LinkOptions
from device_auth.cli.attempt import Attempt
from device_auth.cli.main import main
from device_auth.cli.output import JsonLines
from device_auth.client import Client, Code, Status
from device_auth.core.errors import ClientRejected, CodePairExpired, LinkingDenied
from device_auth.world.places import Places
from device_auth.world.store import FileStore
from tests.links import make_link
from tests.socket_world import STRANGER, SocketWorld

CODE = Code("AAYJHL", "https://amazon.com/us/code", None, 600)


class ScriptedClient(Client):
    """Tells these states, one after another; notes what it was asked."""

    def __init__(self, *told: Status) -> None:
        super().__init__("/nowhere")
        self.told = told
        self.asked: list[str] = []

    def events(self) -> Generator[Status, None, None]:
        yield from self.told

    def status(self) -> Status:
        """Return the first state after what stood when it was asked."""
        stood = self.told[0]
        return next((told for told in self.told if told.since != stood.since), stood)

    def link(self, *, again: bool = False) -> None:
        self.asked.append("again" if again else "link")


def status(state: str, second: int = 0, trouble: str = "none", code: Code | None = None) -> Status:
    since = datetime(2027, 1, 15, 8, 0, second, tzinfo=UTC)
    return Status(state, trouble, since, "do this", None, None, "lwa", "1", code)


def follow(client: Client, folder: Path, *, again: bool) -> int:
    doors = Doors({"json": True}, Places(folder, folder, None, folder / "new"))
    lines = JsonLines(doors.clock.wall, doors.clock.now)
    attempt = Attempt(argparse.Namespace(), doors, lines, "device-auth link")
    speaker = RemoteSpeaker(doors, folder, lambda _path, **_: client)
    options = LinkOptions(again, None, is_someone_there=False)
    return attempt.end(speaker.link(options, attempt.audience))


def events_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]


def test_a_linked_speaker_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = ScriptedClient(status("linked"))

    assert follow(client, tmp_path, again=False) == 0
    assert (client.asked, events_of(capsys)) == ([], ["linked"])


def test_another_link_is_followed_from_linked_to_linked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(
        status("linked"),
        status("linked"),
        status("requesting", 1),
        status("waiting", 2, code=CODE),
        status("proving", 30),
        status("linked", 31),
        status("unlinked", 32),
    )

    assert follow(client, tmp_path, again=True) == 0
    assert (client.asked, events_of(capsys)) == (["again"], ["code", "linked"])


def test_a_refused_other_link_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(
        status("linked"), status("waiting", 2, code=CODE), status("linked", 9, trouble="denied")
    )

    with pytest.raises(LinkingDenied):
        follow(client, tmp_path, again=True)
    assert events_of(capsys) == ["code", "refused"]


def test_another_link_that_no_code_could_be_had_for_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(
        status("linked"), status("requesting", 1), status("linked", 9, trouble="no-network")
    )

    with pytest.raises(CodePairExpired, match="without a link"):
        follow(client, tmp_path, again=True)
    assert events_of(capsys) == ["refused"]


def test_an_unlinked_speaker_is_linked_the_usual_way_although_again_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(status("unlinked"), status("waiting", 2, code=CODE), status("linked", 31))

    assert follow(client, tmp_path, again=True) == 0
    assert events_of(capsys) == ["code", "linked"]


def test_a_code_that_is_told_already_is_told_here_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = status("waiting", 2, code=CODE)

    assert follow(ScriptedClient(waiting, waiting, status("linked", 31)), tmp_path, again=True) == 0
    assert events_of(capsys) == ["code", "linked"]


def test_a_service_that_does_not_begin_is_asked_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(status("unlinked", trouble="misconfigured"))

    with pytest.raises(ClientRejected, match="setting"):
        follow(client, tmp_path, again=False)

    assert client.asked == ["link"]
    assert events_of(capsys) == ["refused"]


@pytest.mark.parametrize("verb", ["status", "token", "link", "unlink"])
def test_whom_the_service_does_not_answer_is_told_nothing_untrue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = [verb, "--state-dir", str(tmp_path / "mine"), "--runtime-dir", str(tmp_path)]
    with SocketWorld(tmp_path / "api.sock", identify=lambda _: STRANGER):
        assert main(words) == 75

    told = capsys.readouterr()
    assert told.out == ""
    assert "join the group device-auth-client" in told.err


def test_who_has_a_link_of_his_own_is_told_of_it_beside_a_service_of_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileStore(tmp_path / "mine") as store:
        store.replace(make_link())
    words = ["status", "--state-dir", str(tmp_path / "mine"), "--runtime-dir", str(tmp_path)]
    with SocketWorld(tmp_path / "api.sock", identify=lambda _: STRANGER):
        assert main(words) == 0

    told = capsys.readouterr()
    assert told.out.startswith("state:       proving")
    assert "permission denied by the service" in told.err
