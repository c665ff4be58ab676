import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest
import requests

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import Running, run_simulator, serve
from tests.simulated_speaker import Clock, Speaker, strict
from tests.waiting import LONG


def test_the_addresses_are_announced(running: Running) -> None:
    origin = running.origin

    assert running.announcement() == {
        "origin": origin,
        "base_url": f"{origin}/auth/O2/",
        "issuer": origin,
        "verification_uri": f"{origin}/us/code",
        "authorization_url": f"{origin}/ap/oa",
        "control": f"{origin}/control/",
        "ca_file": None,
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "example.com", "", "::"])  # noqa: S104  # refused, that is the point
def test_only_loopback_is_listened_on(amazon: Amazon, host: str) -> None:
    with pytest.raises(ConfigError, match="not a loopback address"):
        serve(amazon, host=host)


def test_a_port_that_is_taken_is_told(amazon: Amazon, running: Running) -> None:
    port = int(running.origin.rpartition(":")[2])

    for taken in (port, 65_536):
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {taken}"):
            serve(amazon, port=taken)


def test_an_internal_error_is_answered_with_500_and_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: Queue[threading.ExceptHookArgs] = Queue()
    monkeypatch.setattr(threading, "excepthook", shown.put)

    def clock() -> float:
        raise RuntimeError("no time")

    with serve(Amazon(strict(), clock=clock)) as running:
        answer = requests.get(f"{running.control}state", timeout=LONG)
        error = shown.get(timeout=LONG)

    assert (answer.status_code, answer.headers["Connection"]) == (500, "close")
    assert "no time" not in answer.text
    assert error.exc_type is RuntimeError


def test_stopping_twice_is_no_error_and_frees_the_port(amazon: Amazon, running: Running) -> None:
    port = int(running.origin.rpartition(":")[2])
    before = set(threading.enumerate())

    running.stop()
    running.stop()

    assert "simulated Amazon" in {thread.name for thread in before - set(threading.enumerate())}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    serve(amazon, port=port).stop()


def test_stopping_hangs_up_on_idle_clients(running: Running) -> None:
    port = int(running.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=LONG) as idle:
        idle.sendall(b"GET /device HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle.recv(10)

        running.stop()

        while idle.recv(65_536):
            pass
        assert running.connections() == 0


@pytest.fixture
def few_files() -> Iterator[None]:
    """Allow fewer files than all tests have, and than the command raises the limit to."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8_192, before[0]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_the_command_runs_until_it_is_told_to_stop(amazon: Amazon) -> None:
    stop, told = threading.Event(), list[dict[str, str | None]]()

    def tell(addresses: dict[str, str | None]) -> None:
        told.append(addresses)
        port = int(str(addresses["origin"]).rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        stop.set()

    run_simulator(amazon, announce=tell, wait=stop.wait)

    assert len(told) == 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(16_384, hard)


def test_two_hundred_speakers_at_once_are_linked_without_a_complaint(clock: Clock) -> None:
    amazon = Amazon(strict(), clock=clock)

    def let_the_interval_pass() -> None:
        clock.let_pass(30)
        amazon.approve("all")

    all_have_polled = threading.Barrier(200, action=let_the_interval_pass)

    with serve(amazon) as running:

        def link(number: int) -> str:
            speaker = Speaker(running, list(DialectName)[number % 2])
            pair = speaker.pair()
            assert speaker.poll(pair).json()["error"] == "authorization_pending"
            all_have_polled.wait(LONG)
            tokens = speaker.poll(pair).json()
            again = speaker.refresh(tokens["refresh_token"]).json()
            speaker.close()
            return str(again["access_token"])

        with ThreadPoolExecutor(200) as speakers:
            access_tokens = set(speakers.map(link, range(200)))

    assert len(access_tokens) == 200
    assert amazon.referee.complaints() == ()
    assert [pair.polls for pair in amazon.pairs()] == [2] * 200
