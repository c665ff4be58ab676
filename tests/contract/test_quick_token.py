"""``device-auth token`` as programs ask each hour: the service's own answer, or the verb has the word."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from device_auth.cli import quick_token
from device_auth.client import SYSTEM_SOCKET
from device_auth.core.models import Secret, UnixTime
from device_auth.core.public import FRESH, AccessToken, token_fields, write_json
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from tests.command import ROOT, bare_environment
from tests.daemon_process import Household
from tests.silent_service import listening
from tests.simulated_speaker import strict
from tests.waiting import LONG

TOKEN: Final = "Sim|access"
BODY: Final = write_json(token_fields(AccessToken(Secret(TOKEN), UnixTime(2e9), 3600)))


def respond(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{body}\n".encode()


@pytest.fixture
def household(tmp_path: Path) -> Iterator[Household]:
    with serve(Amazon(strict(interval=1), clock=time.monotonic)) as running:
        yield Household(tmp_path, running)


class Service:
    """Answers one request with these bytes, and no more."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.path = folder / "service.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._answer, args=(answer,))
        self._thread.start()

    def _answer(self, answer: bytes) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


def ask(folder: Path, answer: bytes) -> bool:
    service = Service(folder, answer)
    try:
        return quick_token.print_quickly(str(service.path))
    finally:
        service.close()


def test_it_asks_what_the_verb_asks_and_where() -> None:
    assert SYSTEM_SOCKET == quick_token.SYSTEM_SOCKET
    assert quick_token.MIN_LIFETIME == FRESH


def test_the_services_own_answer_is_understood(
    household: Household, capfd: pytest.CaptureFixture[str]
) -> None:
    with household.living() as living:
        household.link(living)
        expected = living.client.token().access_token
        capfd.readouterr()

        assert quick_token.print_quickly(str(household.run / "api.sock"))

    assert capfd.readouterr().out == f"{expected}\n"


def test_nothing_is_printed_of_a_speaker_that_is_not_linked(
    household: Household, capfd: pytest.CaptureFixture[str]
) -> None:
    with household.living():
        assert not quick_token.print_quickly(str(household.run / "api.sock"))

    assert capfd.readouterr().out == ""


def test_an_answer_as_the_socket_writes_it_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, respond("200 OK", BODY))
    assert capfd.readouterr().out == f"{TOKEN}\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        respond("409 Conflict", BODY),
        respond("503 Service Unavailable", BODY),
        respond("200 OK", ""),
        respond("200 OK", BODY)[:-8],
        respond("200 OK", BODY.replace("3600", "59")),
        respond("200 OK", BODY.replace("3600", '"3600"')),
        respond("200 OK", BODY.replace("access_token", "refresh_token")),
        respond("200 OK", BODY.replace(TOKEN, "Sim\\u007caccess")),
        respond("200 OK", BODY.replace(TOKEN, "")),
        respond("200 OK", '{"access_token": "Sim|cut'),
        b"x" * (quick_token.MOST + 1),
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_any_other_answer_is_the_verbs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: bytes
) -> None:
    assert not ask(tmp_path, answer)
    assert capfd.readouterr().out == ""


def test_without_a_service_and_with_settings_in_the_environment_the_verb_is_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not quick_token.print_quickly(str(tmp_path / "none"))
    service = Service(tmp_path, respond("200 OK", BODY))
    monkeypatch.setenv("DEVICE_AUTH_DSN", "another")
    assert not quick_token.print_quickly(str(service.path))
    monkeypatch.delenv("DEVICE_AUTH_DSN")
    assert quick_token.print_quickly(str(service.path))
    service.close()
    assert capfd.readouterr().out == f"{TOKEN}\n"


WHOLE: Final = """
import sys
sys.path.insert(0, {root!r})
from device_auth.cli import quick_token
quick_token.print_quickly({path!r})
sys.stderr.write(" ".join(sorted(sys.modules)))
"""


def test_a_service_that_sends_a_byte_now_and_then_keeps_nobody_waiting(tmp_path: Path) -> None:
    with listening(tmp_path / "service.sock", "dripping"):
        assert not quick_token.print_quickly(str(tmp_path / "service.sock"))


def test_it_loads_next_to_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, respond("200 OK", BODY))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WHOLE.format(root=str(ROOT), path=str(service.path))],
        capture_output=True,
        text=True,
        env=bare_environment(),
        check=True,
        timeout=LONG,
    )
    service.close()

    assert ran.stdout == f"{TOKEN}\n"
    modules = set(ran.stderr.split())
    assert {name for name in modules if name.startswith("device_auth")} == {
        "device_auth",
        "device_auth.cli",
        "device_auth.cli.quick_token",
    }
    assert not modules & {"argparse", "enum", "json", "re", "socket", "typing"}


IN_PLACE: Final = """
set -e
mount -t tmpfs none /run
mkdir /run/device-auth
mount --bind "$1" /run/device-auth
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put a socket into the service's place")
@pytest.mark.parametrize("words", [["token"], ["token", "--json"]])
def test_the_command_asks_at_the_services_place(household: Household, words: list[str]) -> None:
    with household.living() as living:
        household.link(living)
        expected = living.client.token().access_token
        command = [str(Path(sys.executable).with_name("device-auth")), *words]
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-c", IN_PLACE, "sh", str(household.run), *command],
            capture_output=True,
            text=True,
            env=bare_environment(),
            check=False,
            timeout=LONG,
        )

    if "unshare" in ran.stderr or "mount" in ran.stderr:
        pytest.skip("this machine makes no mount namespace")
    assert expected in ran.stdout
    assert (ran.returncode, ran.stderr) == (0, "")
