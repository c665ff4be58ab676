"""Compares a save with the bare sequence that any durable save needs: write, fsync, rename, fsync.

Run: python -m tests.bench.save [--rounds N] [--folder DIR]. What is measured is a save as each refresh makes one that
brings a new refresh token: the present generation is kept as the previous one, the new one is read back. Both are done
in turn in one folder, so the ratio is that disk's: beside the same two syncs ours takes an eighth of a millisecond of CPU, which is
nothing where a sync takes ten and half as much again where both take a third of one.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from device_auth.world.envelope import Plain, write_envelope
from device_auth.world.store import FileStore
from tests.bench.figures import quartiles, tell_ratio
from tests.links import make_link

BUDGET = 1.4
BOUND = 60.0
"""Seconds after which no other round is begun: a slow card takes a quarter of a second for each."""


def save_bare(folder: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    file = os.open("bare.new", flags, 0o600, dir_fd=folder)
    os.write(file, content)
    os.fsync(file)
    os.close(file)
    os.rename("bare.new", "bare", src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def time_of(act: Callable[[], None]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def measure(place: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return how many seconds each save took, and each bare sequence after it."""
    bare_place = place / "bare"
    bare_place.mkdir()
    folder = os.open(bare_place, os.O_RDONLY)
    saves, bares = [], []
    until = time.perf_counter() + BOUND
    with FileStore(place / "state") as store:
        store.replace(make_link())
        for generation in range(2, 2 + rounds):
            link = make_link(generation=generation)
            content = write_envelope(link, Plain())
            saves.append(time_of(partial(store.save, link)))
            bares.append(time_of(partial(save_bare, folder, content)))
            if time.perf_counter() > until:
                break
    os.close(folder)
    return saves, bares


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument(
        "--folder", type=Path, help="on which disk; the default is the usual temporary folder"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        saves, bares = measure(Path(folder), args.rounds)
    save, bare = quartiles(saves)[1], quartiles(bares)[1]
    print("save: grant in hand to durable on the disk")
    print(
        f"  save {save * 1e3:.2f} ms   write, fsync, rename, fsync {bare * 1e3:.2f} ms   ({len(saves)} in turn)"
    )
    tell_ratio("ratio", saves, bares, BUDGET)


if __name__ == "__main__":
    main()
