"""Compares how long a token takes: from the file, from the socket kept open, and from a bare server beside.

Run: python -m tests.bench.socket_api. All are done in turn, each server in a process of its own, and the middle of many
is told. The client is the same few lines for both servers; what our own typed client adds is told besides.
"""

import http.server
import json
import multiprocessing
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
from tests.links import make_link
from tests.socket_world import ScriptedActions

ROUNDS = 5000
WARM_UP = 200
FILE_BUDGET = 20e-6
SOCKET_BUDGET = 200e-6

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


def ask(connection: socket.socket) -> None:
    """Do as a lean client does: send, read to the end of the body, parse it."""
    connection.sendall(REQUEST)
    octets = connection.recv(65536)
    while (end := octets.find(b"\r\n\r\n")) < 0 or not octets.rstrip().endswith(b"}"):
        octets += connection.recv(65536)
    assert json.loads(octets[end:])["access_token"] == TOKEN


def time_of(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def compare(folder: Path) -> dict[str, list[float]]:
    """Return every time of each way, in seconds."""
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
            "file": (folder / "access-token").read_bytes,
            "token.json": lambda: json.loads((folder / "token.json").read_bytes())["access_token"],
            "socket": lambda: ask(connections["api.sock"]),
            "bare server": lambda: ask(connections["bare.sock"]),
            "typed client": client.token,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + WARM_UP):
            for name, act in ways.items():
                taken = time_of(act)
                if number >= WARM_UP:
                    times[name].append(taken)
    return times


def main() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        times = compare(Path(folder))
    middle = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        print(
            f"{name:<13}{middle[name] * 1e6:7.1f} us p50 {statistics.quantiles(found, n=100)[98] * 1e6:8.1f} us p99"
        )
    print(f"file: {middle['file'] / FILE_BUDGET:.2f} of its budget of {FILE_BUDGET * 1e6:.0f} us")
    print(
        f"socket: {middle['socket'] / SOCKET_BUDGET:.2f} of its budget of {SOCKET_BUDGET * 1e6:.0f} us,"
        f" {middle['socket'] / middle['bare server']:.2f} of a bare server"
    )


if __name__ == "__main__":
    main()
