"""Prints which modules ``device-auth link --json`` loads beside those of the least that sends the same requests.

Run: python -m tests.bench.link_imports [--rounds N]. The least time of each import is told; the table compares both whole.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import (
    CLIENT_ID,
    MEMORY,
    PROGRAM,
    ROOT,
    SPEAKER,
    Amazon,
    run,
    simulated_amazon,
)

IMPORTED = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
OUR_ROOMS = ("device_auth", "hardware")


class Linking:
    """Both ways of linking, each time a new speaker."""

    def __init__(self, amazon: Amazon, disk: Path, memory: Path) -> None:
        self._amazon = amazon
        self._disk = disk
        self._memory = memory
        self._speakers = 0

    def ours(self) -> Sequence[str]:
        self._speakers += 1
        return [
            *(*PROGRAM, "link", "--json", *SPEAKER),
            *("--base-url", self._amazon.base_url, "--state-dir", str(self._disk / f"{self._speakers}")),
            *("--runtime-dir", str(self._memory / f"{self._speakers}")),
        ]

    def bare(self) -> Sequence[str]:
        return [str(ROOT / "tests" / "bench" / "bare_link.py"), self._amazon.base_url, CLIENT_ID]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as disk,
        tempfile.TemporaryDirectory(dir=MEMORY) as memory,
        simulated_amazon("--approve-after", "0", "--interval", "1") as amazon,
    ):
        tell_imports(Linking(amazon, Path(disk), Path(memory)), Path(disk) / "imports", rounds)


def tell_imports(linking: Linking, notes: Path, rounds: int) -> None:
    """Print what ours loads, and what of it the other does not."""
    ours: dict[str, int] = {}
    bare: dict[str, int] = {}
    for _ in range(rounds):
        for found, words in ((ours, linking.ours()), (bare, linking.bare())):
            run(["-X", "importtime", *words], notes)
            for took, name in IMPORTED.findall(notes.read_text()):
                found[name] = min(found.get(name, int(took)), int(took))
    extra = sorted(((took, name) for name, took in ours.items() if name not in bare), reverse=True)
    own = [took for took, name in extra if name.startswith(OUR_ROOMS)]
    print(
        f"where it goes: {len(ours)} modules in {sum(ours.values()) / 1e3:.0f} ms, of which beside the bare script's"
    )
    print(f"  our own: {len(own)} modules, {sum(own) / 1e3:.1f} ms;", end=" ")
    print(
        f"the library's: {len(extra) - len(own)}, {sum(took for took, _ in extra) / 1e3 - sum(own) / 1e3:.1f} ms"
    )
    for took, name in extra[:10]:
        print(f"  {took / 1e3:6.2f} ms  {name}")


if __name__ == "__main__":
    main()
