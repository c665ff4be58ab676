"""Compares how long a token takes: from the file, from the socket kept open, and from a bare server beside.

Run: python -m tests.bench.socket_api. All are done in turn, each server in a process of its own, and the middle of many
is told. The client is the same few lines for both servers; what our own typed client adds is told besides. Then as many
clients of one user as there are places keep a connection each, and ask at once: what is told is how many answers come.
"""

import http.server
import json
import multiprocessing
import os
import socket
import socketserver
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path

from device_auth.client import Client
from device_auth.core.models import Monotonic, Seconds, Secret, TokenGrant, View
from device_auth.core.states import StateWord, Trouble
from device_auth.service.api import Api
from device_auth.service.callers import read_permissions
from device_auth.service.status_feed import StatusFeed
from device_auth.world.clock import BootClock
from device_auth.world.token_files import FileTokens
from tests.bench.figures import quartiles
from tests.links import make_link
from tests.socket_world import ScriptedActions

ROUNDS = 5000
WARM_UP = 200
CROWD = 64
CROWD_ROUNDS = 40
CROWD_PAIRS = 15
CROWD_BUDGET = 0.5
FILE_BUDGET = 20e-6
SOCKET_BUDGET = 1.0

TOKEN = "Atza|" + "x" * 360
REQUEST = b"GET /v1/token?min_lifetime=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"


class BareAnswer(http.server.BaseHTTPRequestHandler):
    """Answers with a token of the same length, and looks at nothing."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    body = json.dumps({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}).encode()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_args: object) -> None:
        pass


class BareServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve_bare(folder: Path, ready: Connection) -> None:
    with BareServer(str(folder / "bare.sock"), BareAnswer) as server:
        ready.send(None)
        server.serve_forever()


def serve_ours(folder: Path, ready: Connection) -> None:
    clock = BootClock()
    feed = StatusFeed(clock, FileTokens(folder, clock, keep_bare=True))
    lifetime = Seconds(3600)
    feed.publish(TokenGrant(Secret(TOKEN), None, lifetime, Monotonic(clock.now() + lifetime)))
    feed.tell(View(StateWord.LINKED, Trouble.NONE), make_link())
    actions = ScriptedActions(feed, clock)
    with closing(
        Api(feed, actions, clock, listener=folder / "api.sock", permissions=read_permissions())
    ) as api:
        api.start()
        ready.send(None)
        ready.recv()


def read_file(path: str) -> bytes:
    """Do as a lean client does: three system calls, where Python's own file takes eight."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def ask(connection: socket.socket) -> None:
    """Do as a lean client does: send, read to the end of the body, parse it."""
    connection.sendall(REQUEST)
    octets = connection.recv(65536)
    while (end := octets.find(b"\r\n\r\n")) < 0 or not octets.rstrip().endswith(b"}"):
        octets += connection.recv(65536)
    assert json.loads(octets[end:])["access_token"] == TOKEN


def ask_anew(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        ask(connection)


class Crowd:
    """Clients that keep a connection each and ask at once; one whose connection was closed opens another."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connections = [self._connect() for _ in range(CROWD)]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def ask_all(self) -> None:
        for number, connection in enumerate(self._connections):
            try:
                connection.sendall(REQUEST)
            except OSError:
                self._ask_again(number)
        for number in range(CROWD):
            while not self._read(self._connections[number]):
                self._ask_again(number)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        return connection

    def _ask_again(self, number: int) -> None:
        self._connections[number].close()
        self._connections[number] = self._connect()
        self._connections[number].sendall(REQUEST)

    def _read(self, connection: socket.socket) -> bool:
        octets = b""
        try:
            while not octets.rstrip().endswith(b"}"):
                some = connection.recv(65536)
                if not some:
                    return False
                octets += some
        except OSError:
            return False
        return TOKEN.encode() in octets


def time_of(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def compare(folder: Path) -> tuple[dict[str, list[float]], list[float]]:
    """Return every time of each way, in seconds, and how many times the bare server's rate ours has with a crowd."""
    with ExitStack() as stack:
        connections = {}
        for serve, name in ((serve_ours, "api.sock"), (serve_bare, "bare.sock")):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(target=serve, args=(folder, theirs))
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            ours.recv()
            connections[name] = stack.enter_context(socket.socket(socket.AF_UNIX))
            connections[name].connect(str(folder / name))
        client = stack.enter_context(Client(str(folder / "api.sock")))
        ways: dict[str, Callable[[], object]] = {
            "token.json": lambda: json.loads((folder / "token.json").read_bytes())["access_token"],
            "socket": lambda: ask(connections["api.sock"]),
            "bare server": lambda: ask(connections["bare.sock"]),
            "anew": lambda: ask_anew(str(folder / "api.sock")),
            "bare, anew": lambda: ask_anew(str(folder / "bare.sock")),
            "typed client": client.token,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + WARM_UP):
            for name, act in ways.items():
                taken = time_of(act)
                if number >= WARM_UP:
                    times[name].append(taken)
        # in a row, as its budget was set: in turn with the others, what those left of the caches was measured
        path = str(folder / "access-token")
        times["file"] = [time_of(lambda: read_file(path)) for _ in range(ROUNDS)]
        return times, compare_crowds(folder)


def compare_crowds(folder: Path) -> list[float]:
    """Return how many times the bare server's rate ours has, pair by pair."""
    ratios = []
    for _ in range(CROWD_PAIRS):
        taken = []
        for name in ("api.sock", "bare.sock"):
            with closing(Crowd(str(folder / name))) as crowd:
                crowd.ask_all()
                begun = time.perf_counter()
                for _ in range(CROWD_ROUNDS):
                    crowd.ask_all()
                taken.append(time.perf_counter() - begun)
        ratios.append(taken[1] / taken[0])
    return ratios


def main() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        times, ratios = compare(Path(folder))
    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        print(
            f"{name:<13}{middle[name] * 1e6:7.1f} us p50 {statistics.quantiles(found, n=100)[98] * 1e6:8.1f} us p99"
        )
    print(f"file: {middle['file'] / FILE_BUDGET:.2f} of its budget of {FILE_BUDGET * 1e6:.0f} us")
    print(
        f"socket: {middle['socket'] / middle['bare server']:.2f} of a bare server, a new connection"
        f" {middle['anew'] / middle['bare, anew']:.2f}, budget {SOCKET_BUDGET}"
    )
    low, middle_ratio, high = quartiles(ratios)
    print(
        f"{CROWD} kept open by one user: {middle_ratio:.2f} of a bare server's rate, quartiles {low:.2f} to {high:.2f},"
        f" budget {CROWD_BUDGET}"
    )


if __name__ == "__main__":
    main()
