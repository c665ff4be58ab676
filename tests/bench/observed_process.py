"""Looks at a running process from outside: its CPU time, its size, how often it has woken."""

import socket
import time
from pathlib import Path
from typing import Final

PATIENCE: Final = 30


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


def page_stream(port: int, source: str) -> socket.socket:
    """Open the event stream of a page."""
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
    stream.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    if b" 200 " not in stream.recv(65536):
        raise SystemExit("failed: no event stream is to be had")
    return stream


def count_wake_ups(pid: int, seconds: float) -> int:
    """Return how often all threads have woken meanwhile."""
    first = wake_ups(pid)
    time.sleep(seconds)
    return sum(count - first.get(task, 0) for task, count in wake_ups(pid).items())
