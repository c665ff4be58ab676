"""What the benchmarks share: whole processes in turn, ratios of pairs, and how they are told.

Machines differ and are busy with other things, so a figure is a ratio between two that ran one after the other, and
what is told is the middle of many such pairs with its quartiles.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CLIENT_ID: Final = "amzn1.application-oa2-client.51" + "0" * 29 + "5"
SPEAKER: Final = ("--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001")
"""The options that make a speaker of it."""

_INSTALLED: Final = Path(sys.executable).with_name("device-auth")
PROGRAM: Final = [str(_INSTALLED)] if _INSTALLED.exists() else ["-m", "device_auth"]
"""The command as the interpreter is told it."""

ENVIRONMENT: Final = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("DEVICE_AUTH_", "XDG_", "STATE_", "PYTHON", "COVERAGE_"))
}
"""For children: bytecode is kept, and no setting of ours is in the way."""

MEMORY: Final = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  what a runtime folder is on a speaker
"""Where runtime folders are made; None for the usual temporary folder."""


@dataclass(frozen=True)
class Run:
    """What the kernel says of one whole process: CPU seconds, and MiB at the most."""

    cpu: float
    memory: float


def run(words: Sequence[str], output: Path | None = None) -> Run:
    """Run the interpreter on these words, from its start to its exit.

    Args:
        words: as they follow ``python``.
        output: where its standard error goes.
    """
    command = [sys.executable, *words]
    streams = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    if output is not None:
        streams.append((os.POSIX_SPAWN_OPEN, 2, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    pid = os.posix_spawn(command[0], command, ENVIRONMENT, file_actions=streams)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Run(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def run_in_turn(
    kinds: Mapping[str, Callable[[], Sequence[str]]], rounds: int, bound: float
) -> dict[str, list[Run]]:
    """Run each kind once for the caches, and then in turn.

    Args:
        kinds: what to run, by name.
        rounds: how often.
        bound: seconds after which no other round is begun.
    """
    until = time.monotonic() + bound
    runs: dict[str, list[Run]] = {name: [] for name in kinds}
    for words in kinds.values():
        run(words())
    for _ in range(rounds):
        for name, words in kinds.items():
            runs[name].append(run(words()))
        if time.monotonic() > until:
            break
    return runs


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the values a quarter, half and three quarters up."""
    ranked = sorted(values)
    return ranked[len(ranked) // 4], ranked[len(ranked) // 2], ranked[len(ranked) * 3 // 4]


def tell_ratio(what: str, ours: Sequence[float], peers: Sequence[float], budget: float | None = None) -> None:
    """Print how many times as much ours took, pair by pair."""
    low, middle, high = quartiles([mine / theirs for mine, theirs in zip(ours, peers, strict=True)])
    promised = "" if budget is None else f"   budget {budget:.2f}"
    print(f"  {what:38} {middle:5.2f}   quartiles {low:.2f} to {high:.2f}{promised}")


@contextmanager
def simulated_amazon(*options: str) -> Iterator["Amazon"]:
    """Run a simulated Amazon in a process of its own, which holds our speakers to the house rules."""
    strictly = ["--strict", "--allow", "poll-below-told"]
    command = [sys.executable, *PROGRAM, "simulator", "--json", "--port", "0", *strictly, *options]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Amazon(process, **json.loads(process.stdout.readline()))
        finally:
            process.terminate()


class Amazon:
    """A simulated Amazon that answers; its addresses as it announces them."""

    def __init__(
        self, process: "subprocess.Popen[str]", *, base_url: str, control: str, **others: object
    ) -> None:
        del others
        self.base_url = base_url
        self.control = control
        self._process = process

    def stop(self) -> tuple[float, float]:
        """Stop it, and give how many MiB it took at the most, and how many seconds of CPU."""
        self._process.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
