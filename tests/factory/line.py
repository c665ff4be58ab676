"""A station of simulated units, run as an operator runs it, and what its records say."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

CLIENT_ID: Final = "amzn1.application-oa2-client.51000000000000000000000000000005"

HERE: Final = Path(__file__).parent

STATION: Final = """\
[station]
id = "station-1"
folder = "station"

[product]
name = "kitchen"
product_id = "KITCHEN"
client_id = "{client_id}"
dsn = {{ prefix = "KS" }}

[plan]
steps = [
{steps}
]
"""

SLOT: Final = """
[[slot]]
name = "{name}"
transport = "local"
answers = {answers}
"""

STEPS: Final = ("identity", "selftest", "link-test", "wipe", "lock")


class EndedStation(NamedTuple):
    """A station that has ended.

    Attributes:
        exit_code: of the command.
        events: that it printed.
        errors: on standard error.
    """

    exit_code: int
    events: list[dict[str, Any]]
    errors: str


def write_station(
    folder: Path,
    slots: Iterable[str],
    *,
    budget: float = 120,
    steps: Sequence[str] = STEPS,
    is_broken: bool = True,
) -> Path:
    """Write a station's file with these slots, whose units are broken as their names say, unless none is."""
    words = "\n".join(f'    {{ verb = "{step}", budget = {budget} }},' for step in steps)
    program = f"program = {json.dumps([sys.executable, str(HERE / 'broken_unit.py')])}\n" if is_broken else ""
    rig = json.dumps([sys.executable, str(HERE / "dead_led_rig.py")])
    text = STATION.format(client_id=CLIENT_ID, steps=words) + "".join(
        SLOT.format(name=name, answers=rig if name == "dead-led" else '"yes"') + program for name in slots
    )
    path = folder / "station.toml"
    path.write_text(text)
    return path


def run_factory(*words: str | Path, timeout: float = 1200) -> EndedStation:
    """Run a verb of the factory to its end."""
    command = [sys.executable, "-m", "device_auth", "factory", *map(str, words), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    return EndedStation(ended.returncode, events, ended.stderr)


def add_dsns(station: Path, count: int) -> None:
    """Put free serial numbers into the ledger of a station that is alone."""
    ended = run_factory("dsn", "add", station, "--first", "1", "--count", str(count))
    assert ended.exit_code == 0, ended.errors


def ask_records(folder: Path, question: str) -> list[tuple[Any, ...]]:
    """Return the rows of an SQL question to the station's records."""
    with sqlite3.connect(f"file:{folder / 'station' / 'records.sqlite'}?mode=ro", uri=True) as records:
        return records.execute(question).fetchall()


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in words and int(entry.name) != os.getpid():
                found.append(words)
    return found
