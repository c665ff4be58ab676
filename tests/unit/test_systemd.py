import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from device_auth.service.systemd import Notifier, sockets_given
from tests.command import ROOT

LISTENER = """
import os, socket
from device_auth.service.systemd import sockets_given
given = sockets_given(dict(os.environ, LISTEN_PID=str(os.getpid())), os.getpid())
for name, sockets in given.items():
    for listener in sockets:
        print(name, listener.family.name, listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        print(os.get_inheritable(listener.fileno()))
"""


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    return manager


def heard(manager: socket.socket) -> list[str]:
    lines = []
    while True:
        try:
            lines.append(manager.recv(4096).decode())
        except BlockingIOError:
            manager.close()
            return lines


def test_the_manager_hears_how_it_goes_and_each_status_once(tmp_path: Path, manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})

    notifier.ready()
    notifier.status("linked:\nall is well")
    notifier.status("linked: all is well")
    notifier.alive()
    notifier.stopping()

    assert heard(manager) == ["READY=1", "STATUS=linked: all is well", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0device-auth-test-{os.getpid()}")

        Notifier({"NOTIFY_SOCKET": f"@device-auth-test-{os.getpid()}"}).ready()

        assert manager.recv(100) == b"READY=1"


def test_a_status_that_names_a_path_of_odd_bytes_is_sent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))

        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).status("cannot write /run/\udcff")

        assert manager.recv(4096) == b"STATUS=cannot write /run/?"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_manager_nothing_is_said_and_nothing_fails(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)

    notifier.ready()
    notifier.status("x" * 10_000)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "many", "LISTEN_PID": "7"},
    ],
)
def test_sockets_meant_for_others_are_left_alone(environ: dict[str, str]) -> None:
    assert sockets_given(environ, 7) == {}


def test_sockets_are_taken_by_their_names(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as api, socket.socket() as page:
        api.bind(str(tmp_path / "api.sock"))
        page.bind(("127.0.0.1", 0))
        for listener in (api, page):
            listener.listen()
        script = f"{sys.executable} -c '{LISTENER}' 3<&{api.fileno()} 4<&{page.fileno()}"
        told = subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:"},
            pass_fds=[api.fileno(), page.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )

    assert told.stdout.split("\n")[:4] == ["api AF_UNIX 1", "False", "unknown AF_INET 1", "False"]


def test_a_manager_hears_that_a_fresh_process_takes_over(tmp_path: Path, manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()

    assert heard(manager) == ["RELOADING=1"]


ANEW = """
import json, os, socket, sys
from device_auth.service.systemd import is_anew, sockets_given, start_anew
before, pid = dict(os.environ), os.getpid()
if is_anew(before, pid):
    given = sockets_given(before, pid)
    print(json.dumps({name: [one.getsockname()[1] for one in sockets] for name, sockets in given.items()}))
    print(sorted(int(number) for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")))
    print(sys.argv, os.get_inheritable(given["page"][0].fileno()), os.environ.get("LISTEN_FDS"))
else:
    other = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(other, True)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    print(json.dumps([[one.getsockname()[1] for one in sockets], [one.fileno() for one in sockets]]), flush=True)
    start_anew({"page": sockets, "none": []}, {**before, "LISTEN_FDS": "1", "LISTEN_PID": str(pid)})
"""


def test_a_fresh_process_has_the_same_arguments_and_sockets_and_nothing_else_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ANEW, "run", "--verbose"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )

    before, sockets, opened, rest = done.stdout.splitlines()
    ports, numbers = json.loads(before)
    assert json.loads(sockets) == {"page": ports}
    assert json.loads(opened) == [0, 1, 2, *numbers]
    assert rest == "['-c', 'run', '--verbose'] False None"
