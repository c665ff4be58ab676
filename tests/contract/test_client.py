"""The typed client, against the real socket and against services that break off or talk nonsense."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from device_auth.client import (
    Client,
    ClientError,
    Code,
    HandedOver,
    Health,
    Refused,
    Revoked,
    SpeakerUnlinked,
    Status,
    TryLater,
    Unavailable,
)
from device_auth.core.models import Mark, UnixTime, View, hand_over
from device_auth.core.states import StateWord, Trouble
from device_auth.http.connection import ReadLimits
from device_auth.service.api import ADMISSION
from device_auth.service.callers import Caller
from tests.links import make_link
from tests.socket_world import READER, STRANGER, SocketWorld
from tests.values import make_pair, seconds
from tests.waiting import LONG

TOKEN: Final = b'{"access_token": "CANARY", "token_type": "bearer", "expires_at": "2027-01-15T09:00:00Z", "expires_in": 3600}'
STATUS: Final = (
    b'{"state": "%s", "trouble": "none", "since": "2027-01-15T08:00:00Z", "hint": "", "expires_at": null,'
    b' "account": null, "dialect": null, "version": "1", "of tomorrow": 1}'
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SocketWorld]:
    with SocketWorld(tmp_path / "api.sock") as world:
        yield world


@pytest.fixture
def client(world: SocketWorld) -> Iterator[Client]:
    with Client(str(world.path)) as client:
        yield client


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def stream(*states: bytes) -> bytes:
    events = b"".join(b"event: status\ndata: " + STATUS % state + b"\n\n:\n\n" for state in states)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + events


class Script:
    """A service that gives each connection its answers, one a request, and then closes it."""

    def __init__(self, path: Path, *connections: list[bytes]) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self._connections = connections
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Script":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LONG)
        self._listener.close()
        self.path.unlink()

    def _serve(self) -> None:
        with suppress(OSError):
            for answers in self._connections:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(LONG)
                    for answer in answers:
                        self.requests.append(connection.recv(65536))
                        connection.sendall(answer)
            self._listener.shutdown(socket.SHUT_RDWR)


# -- what it asks


def test_a_token_is_given_with_its_end(world: SocketWorld, client: Client) -> None:
    world.is_linked(world.issue("one"))

    token = client.token()

    assert token.access_token == "CANARY-one"
    assert token.expires_at == datetime(2027, 1, 15, 9, tzinfo=UTC)
    assert token.expires_in == 3600


def test_a_token_shows_nothing_of_itself(world: SocketWorld, client: Client) -> None:
    world.is_linked(world.issue("one"))

    assert "CANARY" not in repr(client.token())


def test_a_token_with_too_little_left_is_refreshed_first(world: SocketWorld, client: Client) -> None:
    world.is_linked(world.issue("old", age=3000))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    assert client.token(min_lifetime=1000).access_token == "CANARY-new"


def test_a_rejected_token_is_replaced(world: SocketWorld, client: Client) -> None:
    world.is_linked(world.issue("old", age=3000))
    world.actions.refresh = lambda: world.actions.end_refresh(world.issue("new"))

    assert client.rejected(client.token()).access_token == "CANARY-new"


def test_health_is_typed_whether_well_or_not(world: SocketWorld, client: Client) -> None:
    at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    world.is_linked()

    assert client.health() == Health("no-fresh-token", at)
    world.feed.publish(world.issue())
    assert client.health() == Health(None, at)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"status": "healthy", "reason": "revoked", "updated_at": "2027-01-15T08:00:00Z"}',
        b'{"status": "unhealthy", "reason": null, "updated_at": "2027-01-15T08:00:00Z"}',
        b'{"status": "unhealthy", "reason": "revoked", "updated_at": null}',
    ],
)
def test_a_health_of_another_form_is_no_health(tmp_path: Path, body: bytes) -> None:
    odd = http(body, "503 Service Unavailable", "Content-Type: application/json")
    with (
        Script(tmp_path / "api.sock", [odd]) as script,
        Client(str(script.path)) as client,
        pytest.raises(Unavailable),
    ):
        client.health()


def test_status_is_typed(world: SocketWorld, client: Client) -> None:
    pair = make_pair(sent_at=world.clock.now())
    world.feed.tell(View(StateWord.WAITING, Trouble.NO_NETWORK, hint="Wait.", code_pair=pair), None)

    status = client.status()

    assert status == Status(
        state="waiting",
        trouble="no-network",
        since=datetime(2027, 1, 15, 8, tzinfo=UTC),
        hint="Wait.",
        expires_at=datetime(2027, 1, 15, 8, 10, tzinfo=UTC),
        account=None,
        dialect=None,
        version=status.version,
        code=Code(pair.user_code, pair.verification_uri, pair.prefilled_uri, 600, 30),
        name="Kitchen",
    )
    assert "CANARY" not in repr(status)


def test_status_tells_that_a_refusal_is_checked(world: SocketWorld, client: Client) -> None:
    world.feed.tell(View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE, is_checking=True), make_link())
    assert client.status().is_checking

    world.feed.tell(View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE), make_link())
    assert not client.status().is_checking


def test_status_tells_of_a_link_that_was_handed_over(world: SocketWorld, client: Client) -> None:
    link = hand_over(make_link(), "json, /etc/client.json", UnixTime(1.8e9))
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), link)

    at = datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert client.status().handed_over == HandedOver("json, /etc/client.json", at)


def test_status_of_an_earlier_service_says_less_of_a_link_that_was_handed_over(
    world: SocketWorld, client: Client
) -> None:
    link = replace(make_link(), mark=Mark.HANDED_OVER)
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), link)

    assert client.status().handed_over == HandedOver(None, None)


@pytest.mark.parametrize("name", ["link", "cancel", "unlink"])
def test_an_administrator_may_act(world: SocketWorld, client: Client, name: str) -> None:
    getattr(client, name)()

    assert world.actions.asked == [name]


def test_an_administrator_may_ask_for_another_link(world: SocketWorld, client: Client) -> None:
    client.link(again=True)
    client.link(adopt=True)
    client.seal()

    assert world.actions.asked == ["link again", "adopt", "seal"]


def test_a_connection_is_kept_open(tmp_path: Path) -> None:
    answers = [http(TOKEN), http(b"", "202 Accepted"), http(TOKEN)]
    with Script(tmp_path / "api.sock", answers) as script, Client(str(script.path)) as client:
        client.token(5)
        client.link()
        client.token()

        assert [request.split()[1] for request in script.requests] == [
            b"/v1/token?min_lifetime=5",
            b"/v1/link",
            b"/v1/token?min_lifetime=60",
        ]


def test_a_connection_that_ends_with_its_answer_is_opened_anew(tmp_path: Path) -> None:
    without_length = b"HTTP/1.1 200 OK\r\n\r\n" + TOKEN
    connections = [http(TOKEN, "200 OK", "Connection: close")], [without_length], [http(TOKEN)]
    with Script(tmp_path / "api.sock", *connections) as script, Client(str(script.path)) as client:
        for _ in connections:
            assert client.token().access_token == "CANARY"

        assert len(script.requests) == 3


def test_threads_may_share_a_client(world: SocketWorld, client: Client) -> None:
    world.is_linked(world.issue("one"))
    tokens = []
    threads = [threading.Thread(target=lambda: tokens.append(client.token())) for _ in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)

    assert [token.access_token for token in tokens] == ["CANARY-one"] * 20


def test_more_clients_than_places_are_all_served(tmp_path: Path) -> None:
    with SocketWorld(
        tmp_path / "api.sock", admission=ADMISSION._replace(share=2), limits=ReadLimits(idle=seconds(LONG))
    ) as world:
        world.is_linked(world.issue("one"))
        clients = [Client(str(world.path)) for _ in range(10)]

        tokens = [client.token().access_token for _ in range(3) for client in clients]

        assert tokens == ["CANARY-one"] * 30
        for client in clients:
            client.close()


# -- what it raises


def test_an_unlinked_speaker_raises_not_linked(world: SocketWorld, client: Client) -> None:
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), None)

    with pytest.raises(SpeakerUnlinked, match="device-auth link") as caught:
        client.token()

    assert caught.value.problem == "not-linked"


def test_a_revoked_link_raises_revoked(world: SocketWorld, client: Client) -> None:
    world.feed.tell(View(StateWord.UNLINKED, Trouble.REVOKED), replace(make_link(), mark=Mark.REVOKED))

    with pytest.raises(Revoked):
        client.token()


def test_where_no_token_is_to_be_had_it_says_when_to_try_again(world: SocketWorld, client: Client) -> None:
    world.is_linked()
    world.actions.refresh = world.actions.end_refresh

    with pytest.raises(TryLater) as caught:
        client.token()

    assert caught.value.retry_after == 10


def test_what_it_may_not_is_refused(tmp_path: Path) -> None:
    def strange(connection: socket.socket) -> Caller:
        return STRANGER if connection.fileno() >= 0 else READER

    with SocketWorld(tmp_path / "api.sock", identify=strange) as world, Client(str(world.path)) as client:
        with pytest.raises(Refused):
            client.unlink()
        with closing(client.events()) as events, pytest.raises(Refused):
            next(events)


def test_a_lifetime_that_makes_no_sense_is_refused(client: Client) -> None:
    with pytest.raises(Refused):
        client.token(-1)


def test_a_service_that_does_not_run_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Client(str(tmp_path / "api.sock")).status()


def test_an_answer_that_does_not_come_is_not_waited_for_forever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()

        with pytest.raises(Unavailable, match="timed out"):
            Client(str(tmp_path / "api.sock"), timeout=0.05).status()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http(b"CANARY"), Unavailable),
        (http(b"[]"), Unavailable),
        (http(b'{"access_token": "CANARY"}'), Unavailable),
        (http(TOKEN.replace(b"2027", b"CANARY")), Unavailable),
        (http(b"{}", "500 Oops"), Unavailable),
        (http(b"<html>", "503 Oops"), TryLater),
        (http(b"[]", "503 Oops", "Retry-After: soon"), TryLater),
        (http(b"", "302 Found"), Unavailable),
        (http(b"", "418 I am a teapot"), Refused),
        (http(b"[" * 100_000), Unavailable),
        (http(b"[" * 100_000, "409 Conflict"), SpeakerUnlinked),
        (http(TOKEN.replace(b"3600", b"Infinity")), Unavailable),
        (
            http(
                b'{"access_token": "CANARY\\r\\nX: y", "expires_at": "2027-01-01T00:00:00Z", "expires_in": 1}'
            ),
            Unavailable,
        ),
        (http(b'{"type": 7, "detail": []}', "503 Oops"), TryLater),
        (b"nonsense\r\n\r\n", Unavailable),
        (b"HTTP/1.1 two\r\n\r\n", Unavailable),
        (b"HTTP/1.1 200 OK\r\nno field\r\n\r\n", Unavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"y" * 60_000) * 2 + b"\r\n{}", Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Unavailable),
        (b"", Unavailable),
    ],
)
def test_nonsense_is_an_error_that_shows_no_secret(
    tmp_path: Path, answer: bytes, error: type[ClientError]
) -> None:
    with Script(tmp_path / "api.sock", [answer]) as script, Client(str(script.path)) as client:
        with pytest.raises(error) as caught:
            client.token()

        assert "CANARY" not in str(caught.value)
        assert caught.value.problem == ""


def test_a_queue_that_is_full_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)

        with pytest.raises(Unavailable, match="too many connections wait"):
            Client(path, timeout=0.01).status()

        def accept_both() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        accepting = threading.Timer(0.1, accept_both)
        accepting.start()
        with pytest.raises(Unavailable, match=r"reset|closed|pipe"):  # by us: it has come out of the queue
            Client(path, timeout=LONG).status()
        accepting.join(LONG)


# -- reconnecting


def test_a_connection_that_was_closed_meanwhile_is_opened_anew(tmp_path: Path) -> None:
    with (
        Script(tmp_path / "api.sock", [http(TOKEN)], [http(TOKEN)]) as script,
        Client(str(script.path)) as client,
    ):
        client.token()
        client.token()

        assert len(script.requests) == 2


def test_a_service_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    with Client(str(tmp_path / "api.sock")) as client:
        for name in ("one", "two"):
            with SocketWorld(tmp_path / "api.sock") as world:
                world.is_linked(world.issue(name))
                assert client.token().access_token == f"CANARY-{name}"


def test_an_attempt_is_repeated_once_only(tmp_path: Path) -> None:
    connections = [http(TOKEN)], [b""], [http(TOKEN)]
    with Script(tmp_path / "api.sock", *connections) as script, Client(str(script.path)) as client:
        client.token()
        with pytest.raises(Unavailable):
            client.token()
        assert client.token().access_token == "CANARY"


class Pauses:
    """Waits for nothing, and gives up after so many."""

    def __init__(self, most: int) -> None:
        self.lengths: list[float] = []
        self._most = most

    def __call__(self, length: float) -> None:
        if len(self.lengths) == self._most:
            raise StopIteration
        self.lengths.append(length)


def states(events: Generator[Status, None, None]) -> list[str]:
    found: list[str] = []
    with suppress(RuntimeError):  # what StopIteration becomes in a generator
        found.extend(status.state for status in events)
    return found


def test_events_begin_with_the_present_state_and_go_on(world: SocketWorld, client: Client) -> None:
    with closing(client.events()) as events:
        first = next(events)
        world.is_linked()
        second = next(events)

    assert (first.state, second.state) == ("starting", "linked")


def test_events_are_followed_over_a_restart_and_none_is_told_twice(tmp_path: Path) -> None:
    path, pauses = tmp_path / "api.sock", Pauses(3)
    with Script(path, [stream(b"starting", b"unlinked")], [b""], [stream(b"unlinked", b"linked")]):
        told = states(Client(str(path), pause=pauses).events())

    assert told == ["starting", "unlinked", "linked"]
    assert pauses.lengths == [1, 2, 1]


def test_the_pauses_between_attempts_grow_to_half_a_minute(tmp_path: Path) -> None:
    pauses = Pauses(7)

    assert states(Client(str(tmp_path / "api.sock"), pause=pauses).events()) == []
    assert pauses.lengths == [1, 2, 4, 8, 16, 30, 30]


def test_events_come_back_when_they_were_asked_to(tmp_path: Path) -> None:
    pauses = Pauses(2)
    busy = http(b"{}", "503 Service Unavailable", "Retry-After: 7")
    with Script(tmp_path / "api.sock", [busy], [stream(b"linked")]) as script:
        assert states(Client(str(script.path), pause=pauses).events()) == ["linked"]

    assert pauses.lengths == [7, 1]


def test_events_that_are_nonsense_are_asked_for_anew(tmp_path: Path) -> None:
    pauses = Pauses(2)
    nonsense = stream(b"linked").replace(b'"state"', b'"fate"')
    with Script(tmp_path / "api.sock", [nonsense], [stream(b"linked")]) as script:
        assert states(Client(str(script.path), pause=pauses).events()) == ["linked"]


def test_a_stream_that_is_left_ends_its_connection(world: SocketWorld, client: Client) -> None:
    for _ in range(20):
        with closing(client.events()) as events:
            assert next(events).state == "starting"
        world.feed.refresh_ended()


# -- where it looks


def run_client(act: str, **environment: str) -> str:
    source = f"from device_auth import client as c; print({act})"
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=os.environ | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    return done.stdout.strip()


def test_the_systems_service_comes_before_the_users_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    found = run_client("c._usual_paths()[:2]", XDG_RUNTIME_DIR=str(tmp_path))

    assert found == str(["/run/device-auth/api.sock", f"{tmp_path}/device-auth/api.sock"])


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_session_that_others_may_enter_is_not_looked_into(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)

    assert str(tmp_path) not in run_client("c._usual_paths()", XDG_RUNTIME_DIR=str(tmp_path))


@pytest.mark.parametrize("named", ["", "relative", "/does/not/exist"])
def test_a_session_that_is_none_is_not_looked_into(named: str) -> None:
    assert run_client("'/run/device-auth/api.sock' in c._usual_paths()", XDG_RUNTIME_DIR=named) == "True"


def test_the_users_own_service_is_found_where_the_system_has_none(tmp_path: Path) -> None:
    if Path("/run/device-auth/api.sock").exists():
        pytest.skip("this machine runs the service")
    tmp_path.chmod(0o700)
    (tmp_path / "device-auth").mkdir()
    with SocketWorld(tmp_path / "device-auth" / "api.sock") as world:
        world.is_linked(world.issue("own"))

        assert run_client("c.Client().token().access_token", XDG_RUNTIME_DIR=str(tmp_path)) == "CANARY-own"


def test_it_brings_nothing_else_of_ours_along() -> None:
    act = "sorted(name for name in __import__('sys').modules if name.startswith('device_auth'))"

    assert run_client(act) == str(["device_auth", "device_auth.client"])


LINKED: Final = {
    "state": "linked",
    "trouble": "none",
    "since": "2027-01-01T00:00:00Z",
    "hint": "Wait.\x1b]0;owned\x07\x9b31m\u202e\ud800",
    "expires_at": None,
    "account": "Ann\x1b[2J",
    "dialect": "lwa",
    "version": "1",
}


def test_what_a_service_says_moves_no_cursor(tmp_path: Path) -> None:
    answer = http(json.dumps(LINKED).encode())
    with Script(tmp_path / "api.sock", [answer]) as script, Client(str(script.path)) as client:
        status = client.status()

    assert (status.hint, status.account) == ("Wait. ]0;owned  31m  ", "Ann [2J")


@pytest.mark.parametrize(
    "odd",
    [
        [],
        "linked",
        7,
        None,
        *(
            {**LINKED, name: value}
            for name, value in (
                ("hint", []),
                ("since", 7),
                ("code", 7),
                ("code", {}),
                ("handed_over", 7),
                ("state", None),
                ("expires_at", {}),
            )
        ),
    ],
)
def test_an_odd_status_is_an_error_of_the_client(tmp_path: Path, odd: object) -> None:
    answer = http(json.dumps(odd).encode())
    with (
        Script(tmp_path / "api.sock", [answer]) as script,
        Client(str(script.path)) as client,
        pytest.raises(Unavailable),
    ):
        client.status()
