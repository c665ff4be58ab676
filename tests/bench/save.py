"""Compares a save with the bare sequence that any durable save needs: write, fsync, rename, fsync.

Run: python -m tests.bench.save [folder]. Both are done in turn in one folder, and the middle of many is told.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from device_auth.world.envelope import Plain, write_envelope
from device_auth.world.store import FileStore
from tests.links import make_link

ROUNDS = 400
BUDGET = 1.5


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


def compare(place: Path) -> tuple[float, float]:
    """Give the middle time of a save, and of the bare sequence, in seconds."""
    bare_place = place / "bare"
    bare_place.mkdir()
    folder = os.open(bare_place, os.O_RDONLY)
    saves, bares = [], []
    with FileStore(place / "state") as store:
        store.replace(make_link())
        for generation in range(2, ROUNDS):
            link = make_link(generation=generation)
            content = write_envelope(link, Plain())
            saves.append(time_of(partial(store.save, link)))
            bares.append(time_of(partial(save_bare, folder, content)))
    os.close(folder)
    return statistics.median(saves), statistics.median(bares)


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        save, bare = compare(Path(folder))
    print(f"save {save * 1e3:.3f} ms, bare {bare * 1e3:.3f} ms, ratio {save / bare:.2f} (budget {BUDGET})")


if __name__ == "__main__":
    main()
