"""The verbs while the service runs: what they ask of it, when they end, and with which error."""

import argparse
import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from device_auth.assembly.doors import Doors
from device_auth.assembly.remote import RemoteSpeaker
from device_auth.assembly.speaker import Audience, LinkOptions
from device_auth.cli.attempt import Attempt
from device_auth.cli.main import main
from device_auth.cli.output import JsonLines
from device_auth.client import (
    Client,
    ClientError,
    Code,
    HandedOver,
    Refused,
    Revoked,
    SpeakerUnlinked,
    Status,
    Token,
    TryLater,
    Unavailable,
)
from device_auth.core.errors import (
    Busy,
    ClientRejected,
    CodePairExpired,
    DeviceAuthError,
    LinkingDenied,
    NotLinked,
    RefreshRejected,
    StoreError,
)
from device_auth.core.models import View
from device_auth.core.states import CHECKING, FOR_NOW, StateWord, Trouble
from device_auth.world.places import Places
from device_auth.world.settings import SettingsFiles
from device_auth.world.store import FileStore
from tests.links import make_link
from tests.socket_world import STRANGER, SocketWorld

CODE = Code("AAYJHL", "https://amazon.com/us/code", None, 600)


class ScriptedClient(Client):
    """Tells these states, one after another; notes what it was asked."""

    def __init__(self, *told: Status, refusal: ClientError | None = None) -> None:
        super().__init__("/nowhere")
        self.told = told
        self.refusal = refusal
        self.asked: list[str] = []

    def events(self) -> Generator[Status, None, None]:
        yield from self.told

    def status(self) -> Status:
        """Return the first state after what stood when it was asked."""
        stood = self.told[0]
        return next((told for told in self.told if told.since != stood.since), stood)

    def token(self, min_lifetime: int = 60) -> Token:
        if self.refusal is None:
            return Token(f"a token for {min_lifetime} s", datetime(2027, 1, 15, 9, tzinfo=UTC), 3600)
        raise self.refusal

    def unlink(self) -> None:
        self.asked.append("unlink")

    def link(self, *, again: bool = False, adopt: bool = False) -> None:
        self.asked.append("adopt" if adopt else "again" if again else "link")


def status(state: str, second: int = 0, trouble: str = "none", code: Code | None = None) -> Status:
    since = datetime(2027, 1, 15, 8, 0, second, tzinfo=UTC)
    return Status(state, trouble, since, "do this", None, None, "lwa", "1", code)


def doors_of(folder: Path) -> Doors:
    return Doors({"json": True}, Places(folder, folder, SettingsFiles(), folder / "new"))


def speaker_of(client: Client, folder: Path) -> RemoteSpeaker:
    return RemoteSpeaker(doors_of(folder), folder, connect=lambda _path, **_: client)


def follow(client: Client, folder: Path, *, again: bool) -> int:
    doors = doors_of(folder)
    lines = JsonLines(doors.clock.wall, doors.clock.now)
    attempt = Attempt(argparse.Namespace(), doors, lines, "device-auth link")
    speaker = speaker_of(client, folder)
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


def test_a_link_that_the_service_cannot_save_ends_with_the_stores_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(
        status("unlinked"), status("waiting", 2, code=CODE), status("unlinked", 9, trouble="storage")
    )

    with pytest.raises(StoreError):
        follow(client, tmp_path, again=False)
    assert events_of(capsys) == ["code", "trouble"]


@pytest.mark.parametrize(
    ("refusal", "state", "error"),
    [
        (Revoked("it was"), status("unlinked"), RefreshRejected),
        (SpeakerUnlinked("it is"), status("unlinked"), ClientRejected),
        (SpeakerUnlinked("it is"), status("unlinked")._replace(dialect=None), NotLinked),
        (
            SpeakerUnlinked("it is"),
            status("unlinked")._replace(handed_over=HandedOver("env", None)),
            NotLinked,
        ),
        (TryLater("not now"), status("linked", trouble="no-network"), NotLinked),
        (Refused("not you", "forbidden"), status("linked"), Busy),
        (Refused("not so", "bad-request"), status("linked"), StoreError),
        (Unavailable("gone"), status("linked"), StoreError),
    ],
)
def test_a_token_that_is_not_given_is_the_error_that_the_disk_would_give(
    tmp_path: Path, refusal: ClientError, state: Status, error: type[DeviceAuthError]
) -> None:
    speaker = speaker_of(ScriptedClient(state, refusal=refusal), tmp_path)

    with pytest.raises(error):
        speaker.token(60)


def test_who_gets_no_token_is_told_when_to_try_again(tmp_path: Path) -> None:
    client = ScriptedClient(status("linked", trouble="no-network"), refusal=TryLater("no", retry_after=42.1))

    with pytest.raises(NotLinked) as caught:
        speaker_of(client, tmp_path).token(60)
    assert caught.value.hint == "The link is kept. Try again in 43 s."


def test_a_refusal_that_is_checked_is_told_by_status_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "--state-dir", str(tmp_path / "mine"), "--runtime-dir", str(tmp_path)]
    with SocketWorld(tmp_path / "api.sock") as world:
        checked = View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE, "Wait a moment.", is_checking=True)
        world.feed.tell(checked, make_link())
        assert main(words) == 0
        assert main([*words, "--json"]) == 0

    text, _, line = capsys.readouterr().out.rstrip().rpartition("\n")
    assert f"linked: {CHECKING.sentence}\n" in text
    assert json.loads(line)["is_checking"] is True


def test_an_attempt_whose_link_is_refused_once_tells_that_it_is_checked(tmp_path: Path) -> None:
    proving = status("proving", 2, trouble="provider-unavailable")._replace(is_checking=True)
    client = ScriptedClient(status("unlinked"), status("requesting", 1), proving, status("linked", 3))
    told: list[View] = []
    audience = Audience(is_read=False, is_on_a_terminal=False, follow=told.append)

    speaker_of(client, tmp_path).link(
        LinkOptions(again=False, timeout=None, is_someone_there=False), audience
    )

    assert [view.state for view in told if view.is_checking] == [StateWord.PROVING]


def test_an_unlink_that_the_service_cannot_store_is_an_error(tmp_path: Path) -> None:
    speaker = speaker_of(ScriptedClient(status("linked", trouble="storage")), tmp_path)

    with pytest.raises(StoreError):
        speaker.unlink(is_wipe=False)


@pytest.mark.parametrize(("dialect", "is_revoked"), [("lwa", False), ("rfc8628", None), (None, False)])
def test_an_unlink_knows_whether_the_provider_is_told_later(
    tmp_path: Path, dialect: str | None, is_revoked: bool | None
) -> None:
    client = ScriptedClient(status("unlinked")._replace(dialect=dialect))

    result = speaker_of(client, tmp_path).unlink(is_wipe=False)

    assert (client.asked, result.dialect, result.is_revoked) == (["unlink"], dialect, is_revoked)


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


@pytest.mark.parametrize(
    ("told", "doubt"),
    [
        (status("linked"), ""),
        (status("linked")._replace(lasts=False), "do this"),
        (status("linked", trouble="no-network")._replace(lasts=False), FOR_NOW.next_step),
        (status("linked")._replace(hint="", lasts=False), FOR_NOW.next_step),
    ],
)
def test_what_the_service_doubts_is_told_of_its_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: Status, doubt: str
) -> None:
    assert follow(ScriptedClient(told), tmp_path, again=False) == 0
    printed = json.loads(capsys.readouterr().out)

    assert (printed["event"], printed["lasts"], printed["hint"]) == ("linked", not doubt, doubt)


def test_a_new_link_of_the_service_is_told_with_its_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked = status("linked", 3)._replace(lasts=False, hint="It is in memory.")
    client = ScriptedClient(status("unlinked"), status("waiting", 1, code=CODE), status("proving", 2), linked)

    assert follow(client, tmp_path, again=False) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in printed] == ["code", "linked"]
    assert (printed[-1]["lasts"], printed[-1]["hint"]) == (False, "It is in memory.")


def test_an_adopted_link_of_the_service_is_told_with_its_doubt(tmp_path: Path) -> None:
    linked = status("linked", 3)._replace(lasts=False, hint="It is in memory.")

    class Adopting(ScriptedClient):
        def status(self) -> Status:
            return self.told[len(self.asked)]

    client = Adopting(status("unlinked", trouble="copied"), linked)

    assert speaker_of(client, tmp_path).adopt().doubt == "It is in memory."
