"""``link --import``: a refresh token that came by hand, against the simulated Amazon."""

import codecs
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from device_auth.core import linking
from device_auth.core.models import Flow, Mark, Secret
from device_auth.core.states import StateWord, Trouble
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import RegisteredClient
from device_auth.simulator.server import serve
from tests.command import Command, read_lines
from tests.links import make_link
from tests.simulated_speaker import strict
from tests.socket_world import ADMINISTRATOR, SocketWorld
from tests.terminal_session import session
from tests.waiting import LONG, wait_for
from tests.world import CLIENT_ID, World, is_over, open_world

pytestmark = pytest.mark.usefixtures("own_home")

SECRET = "CANARY-secret"


@dataclass
class TokenHolder:
    """The command, and a refresh token that another program was given."""

    command: Command
    monkeypatch: pytest.MonkeyPatch
    token: str = ""

    @property
    def amazon(self) -> Amazon:
        return self.command.running.amazon

    def take_token(self) -> None:
        """Link, and go off with the refresh token."""
        assert self.command.link() == 0
        self.token = self.stored()["refresh_token"]
        assert self.command.run("unlink") == 0

    def stored(self) -> dict[str, Any]:
        link: dict[str, Any] = json.loads((self.command.folder / "state" / "link.json").read_text())["link"]
        return link

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.command.folder / "state").glob("link*")}

    def bring(self, text: str | bytes, *words: str) -> int:
        """Put a text on standard input and import it."""
        ours, theirs = os.pipe()
        content = text if isinstance(text, bytes) else text.encode()
        writer = Thread(target=_write, daemon=True, args=(theirs, content))
        writer.start()
        with os.fdopen(ours) as stdin, self.monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", stdin)
            exit_code = self.command.link("--import", *words)
        writer.join()
        return exit_code


def _write(end: int, octets: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(end, "wb") as stream:  # a command may end without reading
        stream.write(octets)


@pytest.fixture
def holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[TokenHolder]:
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        holder = TokenHolder(Command(tmp_path, running), monkeypatch)
        holder.take_token()
        capsys.readouterr()
        yield holder


def told_by(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return list(read_lines(capsys.readouterr().out.splitlines()))


@pytest.mark.parametrize("end", ["\n", "", "\r\n", "\n\n"])
def test_a_token_on_standard_input_links_the_speaker(
    holder: TokenHolder, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = len(holder.amazon.pairs())

    assert holder.bring(f"{holder.token}{end}") == 0

    told = capsys.readouterr()
    assert told.out == "linked\n"
    assert holder.token not in told.err
    assert len(holder.amazon.pairs()) == asked
    assert (holder.stored()["flow"], holder.stored()["is_proved"]) == (Flow.DEVICE_CODE, True)
    assert holder.command.run("token") == 0
    assert holder.amazon.referee.complaints() == ()


def test_a_program_is_told_in_one_line(holder: TokenHolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert holder.bring(holder.token, "--json") == 0
    assert [event["event"] for event in told_by(capsys)] == ["linked"]


@pytest.mark.parametrize(
    "copy",
    [
        lambda token: codecs.BOM_UTF8 + f"{token}\r\n".encode(),
        lambda token: codecs.BOM_UTF16_LE + f"{token}\r\n".encode("utf-16-le"),
        lambda token: f'"{token}"\n'.encode(),
        lambda token: json.dumps({"token_type": "bearer", "refresh_token": token}, indent=2).encode(),
    ],
    ids=["a byte order mark", "UTF-16", "quotation marks", "JSON"],
)
def test_a_token_is_understood_in_the_form_that_people_have_it_in(
    holder: TokenHolder, copy: Callable[[str], bytes]
) -> None:
    assert holder.bring(copy(holder.token)) == 0
    assert holder.stored()["refresh_token"] == holder.token


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("two words\n", "has several words or lines"),
        ("one\nand another\n", "has several words or lines"),
        ("ü\n", "has characters that are in no token"),
        ("a\0b\n", "is not text"),
        ("a" * 5000, "has more than 4096 characters"),
        ("a" * 70_000, "is too long"),
        ("Atza|IwEBICJ\n", "is an access token"),
        ('{"access_token": "Sim|A|1"}', "is JSON without a refresh token"),
    ],
)
def test_what_is_no_token_is_refused_without_showing_or_sending_it(
    holder: TokenHolder, text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.amazon.script(Endpoint.REFRESH, [Fault(status=503)])

    assert holder.bring(text, "--json") == 78

    told = capsys.readouterr()
    assert [event["event"] for event in read_lines(told.out.splitlines())] == ["refused"]
    assert f"standard input holds no refresh token: it {why}" in " ".join(told.err.split())
    assert "device-auth link --import < FILE" in told.err
    assert not text.strip() or text.strip() not in told.err
    assert holder.files() == {}
    assert holder.amazon.faults_waiting()[Endpoint.REFRESH] == 1


def test_a_simulated_token_is_not_sent_to_a_real_provider(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*holder.command.provider, "--base-url", "https://amazon.invalid/auth/O2/"]
    holder.monkeypatch.setattr(Command, "provider", words)

    assert holder.bring(holder.token) == 78
    assert "one of a simulated Amazon, and the provider is a real one" in capsys.readouterr().err
    assert holder.files() == {}


def test_a_link_is_left_alone_unless_another_is_asked_for(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.bring(holder.token)
    before = holder.files()
    capsys.readouterr()

    assert holder.bring(holder.token) == 0
    assert "run: device-auth link --import --again\n" in capsys.readouterr().err
    assert holder.files() == before
    assert holder.bring(holder.token, "--again") == 0
    assert holder.files()["link.json"] != before["link.json"]


def test_a_key_that_cannot_be_had_is_told_before_anything_is_saved(
    holder: TokenHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE_AUTH_KEY_FILE", "/nowhere/key")

    assert holder.bring(holder.token) == 78
    assert holder.files() == {}


@pytest.mark.parametrize("is_linked", [True, False])
def test_a_token_whose_client_is_refused_leaves_everything_as_it_was(
    holder: TokenHolder, is_linked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_linked:
        holder.bring(holder.token)
    former = holder.stored() if is_linked else None
    fault = Fault(status=400, json=json.dumps({"error": "invalid_client"}))
    holder.amazon.script(Endpoint.REFRESH, [fault])
    capsys.readouterr()

    assert holder.bring(holder.token, "--again", "--json") == 78

    assert [event["event"] for event in told_by(capsys)] == ["refused"]
    assert (holder.stored() if is_linked else holder.files() or None) == former


def test_a_refusal_is_told_once_and_not_contradicted_by_the_link_that_stays(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.bring(holder.token)
    holder.amazon.script(Endpoint.REFRESH, [Fault(status=400, json=json.dumps({"error": "invalid_client"}))])
    capsys.readouterr()

    assert holder.bring(holder.token, "--again") == 78

    told = capsys.readouterr().err
    assert "Linked." not in told
    assert told.count("device-auth: ") == 1


def test_an_interrupt_of_the_proof_is_not_contradicted_by_the_link_that_stays(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.bring(holder.token)
    holder.amazon.script(Endpoint.REFRESH, [Fault(hang=True)])
    capsys.readouterr()

    def interrupt() -> None:
        wait_for(lambda: not holder.amazon.faults_waiting().get(Endpoint.REFRESH))
        os.kill(os.getpid(), signal.SIGINT)

    hand = Thread(target=interrupt, daemon=True)
    hand.start()
    assert holder.bring(holder.token, "--again") == 130
    hand.join()

    told = capsys.readouterr().err
    assert "Linked." not in told
    assert "no new link was made" in told


def test_a_token_whose_terminal_is_gone_before_its_proof_is_kept_and_proved_by_the_next_link(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.amazon.script(Endpoint.REFRESH, [Fault(hang=True)])
    asked = len(holder.amazon.pairs())

    def hang_up() -> None:
        wait_for(lambda: not holder.amazon.faults_waiting()[Endpoint.REFRESH])
        os.kill(os.getpid(), signal.SIGHUP)

    hand = Thread(target=hang_up, daemon=True)
    hand.start()
    assert holder.bring(holder.token) == 130
    hand.join()

    assert "Go on with it: device-auth link" in capsys.readouterr().err
    assert (holder.stored()["refresh_token"], holder.stored()["is_proved"]) == (holder.token, False)
    assert holder.command.link() == 0
    assert holder.stored()["is_proved"]
    assert len(holder.amazon.pairs()) == asked


def test_while_the_service_holds_the_link_it_must_be_stopped_first(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with SocketWorld(holder.command.folder / "run" / "api.sock", identify=lambda _: ADMINISTRATOR):
        assert holder.bring(holder.token) == 75

    assert "systemctl stop device-auth.socket device-auth.service" in capsys.readouterr().err


def test_a_token_of_a_client_with_a_secret_is_refreshed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", SECRET)
    options = strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)})
    with serve(Amazon(options, clock=time.monotonic)) as running:
        holder = TokenHolder(Command(tmp_path, running), monkeypatch)
        words = ("--paste", "--authorization-endpoint", running.authorization_url)
        _authorize(holder, *words, capsys=capsys)
        token = holder.stored()["refresh_token"]
        assert holder.command.run("unlink") == 0
        monkeypatch.delenv("DEVICE_AUTH_CLIENT_SECRET")
        capsys.readouterr()

        assert holder.bring(token) == 78
        assert "each refresh needs that secret: set client_secret" in capsys.readouterr().err

        monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", SECRET)
        assert holder.bring(token) == 0

        assert holder.stored()["flow"] == Flow.AUTHORIZATION_CODE
        assert [complaint.sentence for complaint in running.amazon.referee.complaints()] == [
            "The parameter client_secret is missing."
        ]


def _authorize(holder: TokenHolder, *words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Link by ``authorize --paste``, as a person does who reads and copies."""
    ours, theirs = os.pipe()

    def copy() -> None:
        said: list[str] = []

        def said_so_far() -> str:
            said.append(capsys.readouterr().err)
            return "".join(said)

        wait_for(lambda: "paste it here" in said_so_far())
        address = next(line for line in "".join(said).splitlines() if line.startswith("http"))
        asked = dict(parse_qsl(urlsplit(address).query))
        _write(theirs, f"{holder.amazon.approve_authorization(asked)}\n".encode())

    person = Thread(target=copy, daemon=True)
    person.start()
    with os.fdopen(ours) as stdin, holder.monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        assert holder.command.run("authorize", *holder.command.provider, *words) == 0
    person.join(LONG)


def test_an_interrupt_while_the_token_is_awaited_ends_it(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = os.pipe()
    impatient = Thread(target=_interrupt_once_locked, daemon=True, args=(holder.command.folder / "state",))
    with os.fdopen(ours) as stdin, os.fdopen(theirs, "w"), holder.monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        impatient.start()
        assert holder.command.link("--import", "--json") == 130
    impatient.join(LONG)

    assert [event["reason"] for event in told_by(capsys)] == ["cancelled"]


def _interrupt_once_locked(folder: Path) -> None:
    wait_for(lambda: f":{folder.stat().st_ino} " in Path("/proc/locks").read_text())
    os.kill(os.getpid(), signal.SIGINT)


def test_an_issuer_is_asked_for_its_endpoints_first(holder: TokenHolder, tmp_path: Path) -> None:
    words = ["--dialect", "rfc8628", "--client-id", "a-speaker", "--issuer", holder.command.running.issuer]
    holder.monkeypatch.setattr(Command, "provider", words)
    holder.command = replace(holder.command, folder=tmp_path / "other")
    assert holder.command.link() == 0
    token = holder.stored()["refresh_token"]
    holder.command = replace(holder.command, folder=tmp_path / "third")

    assert holder.bring(token) == 0
    assert holder.stored()["token_endpoint"] == f"{holder.command.running.issuer}/token"


def test_an_issuer_that_names_no_endpoints_is_no_way(holder: TokenHolder) -> None:
    words = ["--dialect", "rfc8628", "--client-id", "a-speaker", "--issuer", "http://127.0.0.1:9/"]
    holder.monkeypatch.setattr(Command, "provider", words)

    assert holder.bring(holder.token) == 69
    assert holder.files() == {}


def test_a_token_that_is_typed_is_not_shown(holder: TokenHolder, tmp_path: Path) -> None:
    with session(tmp_path, columns=200) as shell:
        shell.run("link --import", *holder.command.places, *holder.command.provider)
        shell.wait_for("Paste the refresh token")
        shell.type(f"{holder.token}\n")
        shell.wait_for("left with 0")

        assert holder.token[:20] not in shell.text
        assert shell.is_as_a_shell_wants_it
    assert holder.stored()["refresh_token"] == holder.token


def test_a_token_that_a_window_broke_over_lines_is_pasted_whole(holder: TokenHolder, tmp_path: Path) -> None:
    width = len(holder.token) * 2 // 3
    broken = f"{holder.token[:width]}\n{holder.token[width:]}"
    with session(tmp_path, columns=200) as shell:
        shell.run("link --import", *holder.command.places, *holder.command.provider)
        shell.wait_for("Paste the refresh token")
        shell.type(f"{broken}\n")
        shell.wait_for("left with 0")

        assert not any(line[:20] in shell.text for line in broken.splitlines())
    assert holder.stored()["refresh_token"] == holder.token


# -- in skipped time


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, approve_after=0) as world:
        yield world


def bring(world: World, token: Secret) -> linking.State:
    """Bring a refresh token to a loop, and give the state it ends in."""
    with world.loop() as loop:
        request = world.request(loop, leaves_no_trace=True)
        loop.link_with_grant(linking.GrantSubmitted(request, token, Flow.DEVICE_CODE), world.stored())
        loop.run(lambda: is_over(loop))
        return loop.state


def test_a_token_that_was_revoked_leaves_the_store_empty_as_it_was(world: World) -> None:
    state = bring(world, Secret("Atzr|of-nobody"))

    assert isinstance(state, linking.Unlinked)
    assert state.trouble is Trouble.REVOKED
    assert world.stored() is None
    assert world.passed >= 10


@pytest.mark.parametrize("mark", [None, Mark.REVOKED, Mark.HANDED_OVER])
def test_a_token_that_was_revoked_leaves_the_former_link_as_it_was(world: World, mark: Mark | None) -> None:
    former = replace(make_link(), mark=mark, marked_at=None if mark is None else world.clock.wall())
    with world.store() as store:
        store.replace(former)

    state = bring(world, Secret("Atzr|of-nobody"))

    assert isinstance(state, linking.Linked if mark is None else linking.Unlinked)
    assert world.stored() == former


def test_a_damaged_link_is_told_once_and_linked_anew(
    holder: TokenHolder, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.take_token()
    (holder.command.folder / "state" / "link.json").write_text("damaged")
    capsys.readouterr()

    assert holder.bring(holder.token) == 0

    assert capsys.readouterr().err.count("does not verify: ") == 1
    assert holder.stored()["refresh_token"] == holder.token


def test_a_token_that_cannot_be_proved_in_passing_is_told_after_ten_seconds(world: World) -> None:
    world.link()
    link = world.stored()
    assert link is not None
    world.script("refresh", {"status": 503, "times": None})
    began = world.passed

    state = bring(world, link.refresh_token)

    stored = world.stored()
    assert state == linking.Linked()
    assert 10 <= world.passed - began < 60
    assert stored is not None
    assert not stored.is_proved
    assert stored.link_id != link.link_id
    assert StateWord.PROVING in world.states
