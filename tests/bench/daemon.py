"""Measures the daemon: from its start to a stored link served, its size and its wake-ups when idle, a token for a client.

Run: python -m tests.bench.daemon [--rounds N] [--seconds S] [--key-file]. With a key file the link is sealed. It speaks
with a simulated Amazon in a process of its own; its board has no parts, so every wake-up is its own. Wake-ups are counted
without an open page, with one, and with all streams there may be: in threads, and in the moments in which any of them woke.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.bench.figures import (
    ENVIRONMENT,
    MEMORY,
    PROGRAM,
    ROOT,
    SPEAKER,
    quartiles,
    run,
    simulated_amazon,
)
from tests.ports import free_port

CPU_BUDGET = 250
SIZE_BUDGET = 36
SEALED_SIZE_BUDGET = 45
FILE_BUDGET = 20
SOCKET_BUDGET = 200
PAGE_STREAMS = (0, 1, 16)
STREAMS_OF_ONE = 4
LOOKS_EVERY = 0.25
PATIENCE = 30


class Connection(http.client.HTTPConnection):
    """A connection to a UNIX socket, kept open."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Bare(BaseHTTPRequestHandler):
    """The least of the standard library that answers the same."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_args: object) -> None:
        """Answer nothing."""


class BareServer(HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)


@contextmanager
def daemon(places: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    words = [*PROGRAM, "run", *places]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def wait_for_token(path: Path) -> bytes:
    """Ask until a token is served, and give the answer."""
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        try:
            connection = Connection(str(path))
            connection.request("GET", "/v1/token")
            response = connection.getresponse()
            body = response.read()
            connection.close()
            if response.status == http.client.OK:
                return body
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit("failed: no token is served")


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process so far, finer than proc(5) has them. Source: clock_getcpuclockid(3), as libc does it."""
    return time.clock_gettime(~pid << 3 | 2)


def field_of(path: Path, name: str) -> int:
    """Return a number of a status file. Source: proc(5)."""
    lines = path.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def wake_ups(pid: int) -> dict[str, int]:
    """Count how often each thread has slept, and so been woken."""
    return {
        task.name: field_of(task / "status", "voluntary_ctxt_switches")
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def latencies(ask: "Connection", times: int) -> list[float]:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        ask.request("GET", "/v1/token")
        ask.getresponse().read()
        taken.append((time.perf_counter() - begun) * 1e6)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--key-file", action="store_true", help="seal the link under a key in a file")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as disk,
        tempfile.TemporaryDirectory(dir=MEMORY) as memory,
        simulated_amazon("--approve-after", "0", "--interval", "1") as amazon,
    ):
        config = Path(disk) / "config.toml"
        port = free_port()
        settings = f'[page]\nlisten = ["127.0.0.1:{port}"]\n'
        if given.key_file:
            key = Path(disk) / "key"
            key.touch(0o600)
            key.write_bytes(os.urandom(32))
            settings = f'key_file = "{key}"\n{settings}'
        config.write_text(settings)
        places = ["--state-dir", f"{disk}/state", "--runtime-dir", memory, "--config", str(config)]
        everything = [*places, *SPEAKER, "--base-url", amazon.base_url]
        run([*PROGRAM, "link", "--json", *everything])
        path = Path(memory) / "api.sock"
        print("daemon: start to a stored link served")
        tell_start(everything, path, given.rounds)
        with daemon(everything) as process:
            body = wait_for_token(path)
            time.sleep(1)  # what the start has begun comes to its end
            tell_idle(process.pid, port, given.seconds, is_sealed=given.key_file)
            tell_latency(path, Path(memory) / "token.json", body)


def tell_start(words: list[str], path: Path, rounds: int) -> None:
    kept, cpu = [], []
    for _ in range(rounds):
        with daemon(words) as process:
            begun = time.perf_counter()
            wait_for_token(path)
            kept.append((time.perf_counter() - begun) * 1e3)
            cpu.append(cpu_of(process.pid) * 1e3)
    for name, taken, promised in (
        ("wall, ms, with up to 5 s of chance", kept, ""),
        ("CPU, ms", cpu, f"   budget {CPU_BUDGET}"),
    ):
        low, middle, high = quartiles(taken)
        print(f"  {name:38} {middle:5.0f}   quartiles {low:.0f} to {high:.0f}{promised}")


def tell_idle(pid: int, port: int, seconds: float, *, is_sealed: bool) -> None:
    size = field_of(Path(f"/proc/{pid}/status"), "VmRSS") / 1024
    kept, budget = ("sealed under a key", SEALED_SIZE_BUDGET) if is_sealed else ("kept plain", SIZE_BUDGET)
    print(f"daemon: idle for {seconds:.0f} s, linked, the link {kept}")
    print(f"  {'resident, MiB':38} {size:5.1f}   budget {budget}")
    for streams in PAGE_STREAMS:
        with ExitStack() as opened:
            for number in range(streams):
                opened.enter_context(page_stream(port, f"127.0.0.{1 + number // STREAMS_OF_ONE}"))
            time.sleep(1)  # what their start has begun comes to its end
            cpu = cpu_of(pid)
            woken, moments = count_wake_ups(pid, seconds)
            name = f"wake-ups with {streams} open pages"
            print(f"  {name:38} {moments:5}   budget {max(1, round(seconds / 60))}: {woken} of threads")
            print(f"  {'CPU, ms':38} {(cpu_of(pid) - cpu) * 1e3:5.0f}")


def page_stream(port: int, source: str) -> socket.socket:
    """Open the event stream of a page."""
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
    stream.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    if b" 200 " not in stream.recv(65536):
        raise SystemExit("failed: no event stream is to be had")
    return stream


def count_wake_ups(pid: int, seconds: float) -> tuple[int, int]:
    """Return how often all threads have woken, and in how many moments."""
    first = last = wake_ups(pid)
    moments, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(LOOKS_EVERY)
        now = wake_ups(pid)
        moments, last = moments + (now != last), now
    return sum(count - first.get(task, 0) for task, count in last.items()), moments


def tell_latency(path: Path, file: Path, body: bytes, times: int = 2000) -> None:
    Bare.body = body
    bare_path = str(path.with_name("bare.sock"))
    with BareServer(bare_path, Bare, bind_and_activate=True) as server:  # type: ignore[arg-type]  # a path is its address
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        kinds = {"socket, kept open": str(path), "the same of a bare http.server": bare_path}
        taken: dict[str, list[float]] = {}
        for name, each in kinds.items():
            connection = Connection(each)
            latencies(connection, times // 10)
            taken[name] = latencies(connection, times)
            connection.close()
        server.shutdown()
    reads = []
    for _ in range(times):
        begun = time.perf_counter()
        json.loads(file.read_bytes())
        reads.append((time.perf_counter() - begun) * 1e6)
    print("daemon: a token for a client, µs")
    budgets = {"socket, kept open": f"   budget {SOCKET_BUDGET}", "file": f"   budget {FILE_BUDGET}"}
    taken["file"] = reads
    for name, every in taken.items():
        low, middle, high = quartiles(every)
        print(f"  {name:38} {middle:5.0f}   quartiles {low:.0f} to {high:.0f}{budgets.get(name, '')}")


if __name__ == "__main__":
    main()
