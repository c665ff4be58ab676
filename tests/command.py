"""The installed command as its users run it: in a process of its own, or in this one where that shows the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pytest

from device_auth.cli.main import main
from device_auth.simulator.server import Running
from tests.waiting import LONG
from tests.world import CLIENT_ID

ROOT: Final = Path(__file__).parent.parent


@dataclass
class Command:
    """One speaker's folders, and the provider it is to speak with."""

    folder: Path
    running: Running

    @property
    def places(self) -> list[str]:
        return ["--state-dir", str(self.folder / "state"), "--runtime-dir", str(self.folder / "run")]

    @property
    def provider(self) -> list[str]:
        trust = ["--ca-file", str(self.running.ca_file)] if self.running.ca_file else []
        return [
            *("--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"),
            *("--base-url", self.running.base_url),
            *trust,
        ]

    def run(self, *words: str) -> int:
        """Run it in this process."""
        return main([*words, *self.places])

    def link(self, *words: str) -> int:
        """Run ``link`` in this process."""
        return self.run("link", *self.provider, *words)

    @contextmanager
    def started(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """Start it in a process of its own, which is gone when the test is."""
        with started(*words, *self.places) as process:
            yield process


@contextmanager
def started(*words: str, terminal: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Start the command in a process of its own, which is gone when the test is.

    Args:
        words: its arguments.
        terminal: where it is started from, with stdout caught all the same; None for nowhere.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "device_auth", *words],
        cwd=ROOT,
        env=bare_environment(),
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def bare_environment() -> dict[str, str]:
    """Return this process's environment without settings of ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DEVICE_AUTH_", "XDG_", "STATE_"))
    }


def read_event(process: "subprocess.Popen[str]", event: str) -> dict[str, object]:
    """Read JSON lines up to the first event of that name."""
    for fields in read_lines(stream_of(process.stdout)):
        if fields.get("event") == event:
            return fields
    pytest.fail(f"no {event}: {stream_of(process.stderr).read()}")


def read_lines(stream: Sequence[str] | IO[str]) -> Iterator[dict[str, object]]:
    """Read JSON lines."""
    for line in stream:
        fields = json.loads(line)
        assert isinstance(fields, dict)
        yield fields


def stream_of(stream: IO[str] | None) -> IO[str]:
    """Return a stream that is surely there."""
    assert stream is not None
    return stream


def interrupt(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> int:
    """Send a signal, and give the exit code."""
    process.send_signal(number)
    return process.wait(LONG)
