"""Clients that mean no good, or know no better: the socket lives and serves the others."""

import errno
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.errors import StoreBusy, StoreError
from device_auth.core.models import View
from device_auth.core.states import StateWord, Trouble
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import ReadLimits
from device_auth.http.listeners import UnixListener
from device_auth.http.server import MOST_IDLE
from device_auth.service.api import ADMISSION, Api
from device_auth.service.callers import Caller, Permissions, read_caller
from device_auth.world.clock import BootClock
from tests.socket_world import READER, READERS, STRANGER, SocketWorld, identify
from tests.threads import no_room_for_threads, threads_of
from tests.values import seconds
from tests.waiting import LONG, given_time, wait_for

STATUS: Final = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHORT: Final = ReadLimits(idle=seconds(LONG), request=seconds(0.2), send=seconds(0.05), drain=seconds(0.05))
"""Silence is short in one test alone: in the others it would be the test that is too slow to begin."""
OTHER: Final = READER._replace(uid=1234)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SocketWorld]:
    with SocketWorld(tmp_path / "api.sock") as world:
        yield world


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[SocketWorld]:
    with SocketWorld(tmp_path / "api.sock", limits=SHORT, clock=BootClock()) as world:
        yield world


def read_to_the_end(connection: socket.socket) -> bytes:
    octets = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            octets += piece
    return octets


def is_served(world: SocketWorld, caller: Caller = OTHER) -> bool:
    return world.ask("/v1/status", caller=caller).status == 200


def has_answer(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


# -- what is sent


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (bytes(range(256)) * 4 + b"\r\n\r\n", 400),
        (b"GET /v1/status\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /v1/status HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST /v1/link HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /v1/link HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /v1/link HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/link HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n" + b"x" * 4097, 413),
        (b"POST /v1/link HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET /v1/status HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 8192 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 2**18 + b"\r\n", 431),
    ],
)
def test_what_cannot_be_read_is_told_so_and_ends_the_connection(
    world: SocketWorld, octets: bytes, status: int
) -> None:
    connection = world.plug_in(READER)

    connection.sendall(octets)
    answer = read_to_the_end(connection)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nContent-Type: application/problem+json\r\n" in answer
    assert world.actions.asked == []
    assert is_served(world)


def test_half_a_request_is_not_waited_for_forever(hasty: SocketWorld) -> None:
    connection = hasty.plug_in(READER)

    connection.sendall(STATUS[:-10])

    assert read_to_the_end(connection).startswith(b"HTTP/1.1 408 ")


def test_a_request_that_drips_is_cut_off_at_its_bound(tmp_path: Path) -> None:
    def drip(within: float) -> tuple[int, bytes]:
        limits = SHORT._replace(request=seconds(within))
        with SocketWorld(tmp_path / "api.sock", limits=limits, clock=BootClock()) as world:
            connection = world.plug_in(READER)
            is_over = threading.Event()
            drips = 0
            with suppress(BrokenPipeError):
                while not has_answer(connection) and not is_over.wait(0.01):
                    connection.sendall(b"x")
                    drips += 1
            return drips, read_to_the_end(connection)

    _, answer = given_time(drip, lambda dripped: dripped[0] > 5, SHORT.request)

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_silence_ends_a_connection_without_a_word(tmp_path: Path) -> None:
    limits = SHORT._replace(idle=seconds(0.05))
    with SocketWorld(tmp_path / "api.sock", limits=limits, clock=BootClock()) as world:
        assert read_to_the_end(world.plug_in(READER)) == b""


def test_a_body_that_does_not_come_is_not_waited_for_forever(hasty: SocketWorld) -> None:
    connection = hasty.plug_in(READER)

    connection.sendall(b"POST /v1/token/rejected HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")

    assert read_to_the_end(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent", [b"", STATUS[:20], STATUS.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nhalf")]
)
def test_who_dies_in_the_middle_leaves_nothing_behind(tmp_path: Path, sent: bytes) -> None:
    with SocketWorld(tmp_path / "api.sock", admission=ADMISSION._replace(places=1)) as world:
        connection = world.plug_in(READER)
        connection.sendall(sent)
        connection.close()

        assert is_served(world)


def test_who_dies_before_the_answer_leaves_nothing_behind(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", admission=ADMISSION._replace(places=1)) as world:
        world.is_linked()
        visitor = world.visit(READER)
        visitor.begin("/v1/token")
        world.actions.wait_until_asked(1)
        visitor.close()

        world.actions.end_refresh(world.issue())

        assert is_served(world)


def test_who_never_reads_is_cut_off(hasty: SocketWorld) -> None:
    connection = hasty.plug_in(READER)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(STATUS * 100_000)

    assert is_served(hasty)


def test_a_stream_that_is_never_read_is_cut_off(hasty: SocketWorld) -> None:
    connection = hasty.plug_in(READER)
    connection.sendall(STATUS.replace(b"status", b"events"))
    state = select.poll()
    state.register(connection, 0)

    for number in range(100_000):
        hasty.feed.tell(View(StateWord.UNLINKED, Trouble.NONE, hint="x" * 4096, sequence=number), None)
        if state.poll(1):
            break

    assert state.poll(0)
    assert is_served(hasty)


def test_requests_that_come_together_are_answered_in_turn(world: SocketWorld) -> None:
    connection = world.plug_in(READER)

    connection.sendall(
        b"\r\n" + STATUS + STATUS.replace(b"status", b"nowhere") + STATUS[:-2] + b"Connection: close\r\n\r\n"
    )
    answer = read_to_the_end(connection)

    assert [answer.count(b"HTTP/1.1 %d " % status) for status in (200, 404)] == [2, 1]


def test_a_client_of_http_1_0_is_answered_once(world: SocketWorld) -> None:
    connection = world.plug_in(READER)

    connection.sendall(b"GET http://localhost/v1/status HTTP/1.0\r\n\r\n")

    assert read_to_the_end(connection).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_whether_to_go_on_is_told_so(world: SocketWorld) -> None:
    connection = world.plug_in(READER)
    head = b"POST /v1/token/rejected HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"

    connection.sendall(head)
    went_on = connection.recv(len(b"HTTP/1.1 100 Continue\r\n\r\n"))
    connection.sendall(b"{}")

    assert went_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert read_to_the_end(connection).startswith(b"HTTP/1.1 415 ")


def test_a_body_that_is_there_already_needs_no_word_to_go_on(world: SocketWorld) -> None:
    connection = world.plug_in(READER)

    connection.sendall(
        b"POST /v1/link HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}"
    )

    assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


# -- how many come


def test_one_user_has_what_nobody_else_wants_and_keeps_nobody_waiting(world: SocketWorld) -> None:
    world.is_linked()
    visitors = [world.visit(READER) for _ in range(68)]
    for visitor in visitors:
        visitor.begin("/v1/token")
    world.actions.wait_until_asked(64)

    assert is_served(world)
    assert len(world.actions.asked) == 64
    world.actions.end_refresh(world.issue("new"))
    assert {visitor.finish().status for visitor in visitors} == {200}


def test_where_every_place_is_taken_whoever_comes_waits(world: SocketWorld) -> None:
    world.is_linked()
    visitors = [world.visit(READER._replace(uid=2000 + n % 10)) for n in range(70)]
    for visitor in visitors:
        visitor.begin("/v1/token")
    world.actions.wait_until_asked(64)
    late = world.visit(READER._replace(uid=2000))
    late.begin("/v1/status")

    assert len(world.actions.asked) == 64
    assert is_served(world, OTHER)  # who has none
    world.actions.end_refresh(world.issue("new"))
    assert {visitor.finish().status for visitor in visitors} == {200}
    assert late.finish().status == 200


@pytest.mark.parametrize(
    ("admission", "comes"),
    [
        (ADMISSION._replace(places=1, spare=0), READER),
        (ADMISSION._replace(places=1, spare=0), READER._replace(uid=7)),
    ],
    ids=["his own", "of another"],
)
def test_who_waits_gets_the_place_of_an_idle_connection(
    tmp_path: Path, admission: ConnectionLimits, comes: Caller
) -> None:
    limits = ReadLimits(idle=seconds(2 * LONG))
    with SocketWorld(tmp_path / "api.sock", limits=limits, admission=admission) as world:
        idle = world.visit(READER)
        assert idle.ask("/v1/status").status == 200

        assert is_served(world, comes)
        assert idle.sock.recv(1) == b""


def test_an_idle_connection_for_which_nobody_waits_stays(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", admission=ADMISSION._replace(places=3, spare=1)) as world:
        world.is_linked()
        idle, busy, late = world.visit(OTHER), world.visit(READER), world.visit(READER)
        assert idle.ask("/v1/status").status == 200
        busy.begin("/v1/token")
        world.actions.wait_until_asked(1)
        late.begin("/v1/status")

        assert is_served(world, READER._replace(uid=7))  # so the late one is known to wait
        assert idle.ask("/v1/status").status == 200


def test_nobody_keeps_a_connection_for_which_another_waits(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", admission=ADMISSION._replace(places=2, spare=1)) as world:
        world.is_linked()
        first, second = world.visit(READER), world.visit(READER)
        first.begin("/v1/token")
        world.actions.wait_until_asked(1)
        second.begin("/v1/status")
        assert is_served(world)  # so the second is known to wait
        world.actions.end_refresh(world.issue())

        assert first.finish().headers["Connection"] == "close"
        assert "Connection" not in second.finish().headers


def test_where_the_waiting_room_is_full_too_the_biggest_crowd_is_turned_away(tmp_path: Path) -> None:
    with SocketWorld(
        tmp_path / "api.sock", admission=ADMISSION._replace(places=2, share=1, spare=0, waiting=3)
    ) as world:
        world.is_linked()
        crowd = [world.visit(READER) for _ in range(4)]
        for visitor in crowd[:2]:
            visitor.begin("/v1/token")
        world.actions.wait_until_asked(2)
        others = [world.visit(OTHER), world.visit(OTHER)]

        turned_away = read_to_the_end(crowd[3].sock)

        assert turned_away.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in turned_away
        for visitor in (crowd[2], *others):
            visitor.begin("/v1/token")
        world.actions.end_refresh(world.issue())
        assert {visitor.finish().status for visitor in [*crowd[:3], *others]} == {200}


@pytest.mark.parametrize("caller", [STRANGER, READER])
def test_a_thousand_silent_connections_keep_nobody_else_out(world: SocketWorld, caller: Caller) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        for _ in range(1000):
            world.plug_in(caller)

        assert is_served(world)
    finally:
        for visitor in world.visitors:
            visitor.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_visits_leave_nothing_behind(world: SocketWorld) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a name that is gone again is no error here

    for number in range(1000):
        connection = world.plug_in(READER)
        if number % 2:
            connection.sendall(STATUS)
        connection.close()
    world.visitors.clear()

    assert is_served(world)
    wait_for(lambda: threads_of("api connection") <= MOST_IDLE)
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208 - likewise


def test_a_uid_that_is_nobody_pretends_in_vain(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock", permissions=Permissions(None, None, os.geteuid())) as world:
        assert world.ask("/v1/status", caller=READER).status == 403


@needs_root
@pytest.mark.parametrize(
    ("groups", "status"),
    [([], 0), ([7001], 200), (list(range(7001, 7257)), 200), (list(range(7001, 7258)), 403)],
)
def test_the_kernel_says_who_another_process_is(groups: list[int], status: int) -> None:
    act = (
        "import os, socket, sys\n"
        "os.setgroups([int(gid) for gid in sys.argv[2:]]); os.setgid(65534); os.setuid(65534)\n"
        "connection = socket.socket(socket.AF_UNIX)\n"
        "try: connection.connect(sys.argv[1])\n"
        "except PermissionError: sys.exit(print(0))\n"
        f"connection.sendall({STATUS!r}); print(connection.recv(100).split()[1].decode())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with SocketWorld(Path(folder) / "api.sock", identify=read_caller) as world:
            command = [sys.executable, "-c", act, str(world.path), *map(str, groups)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONG)

    assert int(done.stdout) == status


# -- what the system does


class Exhausted(socket.socket):
    """A listener that once finds no descriptor left, and once that the caller has gone."""

    failures: list[int]

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            raise OSError(self.failures.pop(), "as scripted")
        return super().accept()


def test_a_system_without_descriptors_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Exhausted(socket.AF_UNIX) as listener:
        listener.failures = [errno.EMFILE, errno.ECONNABORTED, errno.EAGAIN]
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        with SocketWorld(tmp_path / "api.sock", listener=listener) as world:
            assert is_served(world)

    assert "cannot accept a connection" in caplog.text


def test_who_cannot_be_told_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(connection: socket.socket) -> Caller:
        raise OSError(errno.ENOPROTOOPT, f"as scripted for {connection.family}")

    with SocketWorld(tmp_path / "api.sock", identify=fail) as world:
        assert read_to_the_end(world.plug_in()) == b""

    assert "cannot identify the connecting process" in caplog.text


def test_without_room_for_another_thread_one_connection_is_lost_only(world: SocketWorld) -> None:
    with no_room_for_threads():
        lost = read_to_the_end(world.plug_in(READER))

    assert lost == b""
    assert is_served(world, READER)


# -- where it listens


@needs_root
def test_only_the_group_may_connect(world: SocketWorld) -> None:
    found = world.path.stat()

    assert (found.st_mode & 0o777, found.st_gid) == (0o660, READERS)
    assert [path.name for path in world.path.parent.iterdir()] == ["api.sock"]


def test_without_a_group_only_its_own_user_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    listener = UnixListener(path)

    assert path.stat().st_mode & 0o777 == 0o600
    listener.close()


@needs_root
def test_a_group_that_the_socket_cannot_be_given_to_may_not_connect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = Path("api.sock")
    monkeypatch.chdir(tmp_path)  # the folders above are closed to others
    tmp_path.chmod(0o777)
    os.seteuid(65534)
    try:
        listener = UnixListener(path, READERS)
        mode = path.stat().st_mode & 0o777
        listener.close()
    finally:
        os.seteuid(0)

    assert mode == 0o600


def test_the_socket_goes_with_the_service(tmp_path: Path) -> None:
    with SocketWorld(tmp_path / "api.sock"):
        pass

    assert not (tmp_path / "api.sock").exists()


def test_a_socket_that_another_has_put_there_since_stays(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with SocketWorld(path):
        path.rename(tmp_path / "old.sock")
        path.touch()

    assert path.exists()


def test_a_socket_that_was_given_stays(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for _ in range(2):
            with SocketWorld(path, listener=listener) as world:
                assert is_served(world)

    assert path.exists()


def test_a_socket_that_a_killed_service_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    for name in ("api.sock", "api.sock.new"):
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(tmp_path / name))
            left_behind.listen()

    with SocketWorld(path) as world:
        assert is_served(world)


@pytest.mark.parametrize("backlog", [0, 5])
def test_a_socket_on_which_another_service_answers_is_left_alone(tmp_path: Path, backlog: int) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as guest:
        other.bind(str(path))
        other.listen(backlog)
        guest.connect(str(path))

        with pytest.raises(StoreBusy):
            UnixListener(path)

    assert path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "api.sock").write_text("mine")

    with pytest.raises(StoreError, match="not a socket of device-auth"):
        UnixListener(tmp_path / "api.sock")

    assert (tmp_path / "api.sock").read_text() == "mine"


@needs_root
def test_a_socket_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    os.chown(path, 65534, 65534)

    with pytest.raises(StoreError, match="not a socket of device-auth"):
        UnixListener(path)

    assert path.exists()


@pytest.mark.parametrize("name", ["missing/api.sock", "x" * 120, "x" * 300])
def test_where_no_socket_can_be_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="cannot"):
        UnixListener(tmp_path / name)


def test_an_api_that_never_started_can_be_closed(world: SocketWorld) -> None:
    path = world.path.with_name("other.sock")
    other = Api(world.feed, world.actions, world.clock, listener=path, permissions=world.permissions)

    other.close()

    assert not path.exists()


def test_who_comes_while_the_service_ends_is_cut_off(tmp_path: Path) -> None:
    ending: list[threading.Thread] = []

    def end(connection: socket.socket) -> Caller:
        ending.append(threading.Thread(target=speaker.api.close))
        ending[0].start()
        while not speaker.api.server.is_closing:
            ending[0].join(0.001)
        return identify(connection)

    with SocketWorld(tmp_path / "api.sock", identify=end) as speaker:
        assert read_to_the_end(speaker.plug_in(READER)) == b""
        ending[0].join(LONG)
