"""What is left of a unit's identity and lock when their writer is killed, refused, or loses power, at every system call."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from device_auth.core.models import Link, Monotonic, UnixTime
from device_auth.factory.talk import IdentityEvent
from device_auth.factory.unit.identity import erase_identity, read_identity, write_identity
from device_auth.world.factory_lock import LOCK, LockPlaces, look_at_lock, write_lock
from device_auth.world.store import FileStore
from device_auth.world.wiping import wipe
from tests.power_cut import states_after_power_cut
from tests.store_driver import DONE, REFUSED, Driver, Outcome, Run, Step, identity_of, places_of

pytestmark = [pytest.mark.strace, pytest.mark.slow]

KILLED: Final = -9
CALL: Final = re.compile(r"^(?!mmap)(\w+)\(", re.MULTILINE)
TRACED: Final = "%file,%desc"

ERRORS: Final = {
    "openat": ["ENOSPC", "EROFS", "EIO"],
    "write": ["ENOSPC", "EIO"],
    "fsync": ["ENOSPC", "EIO"],
    "renameat": ["ENOSPC", "EROFS", "EIO"],
    "unlinkat": ["EROFS", "EIO"],
}
"""What each call may answer; any other may answer EIO."""


@dataclass(frozen=True)
class Scene:
    """What was done on the unit before, and what is then being done when it is cut short."""

    before: tuple[Step, ...]
    step: Step


FIRST: Final = Step("write identity", "KS0001")

SCENES: Final = {
    "first identity": Scene((), FIRST),
    "the same again": Scene((FIRST,), FIRST),
    "another by force": Scene((FIRST,), Step("force identity", "KS0002")),
    "erase": Scene((FIRST,), Step("erase identity")),
    "lock": Scene((FIRST,), Step("lock", "KS0001")),
    "wipe": Scene((FIRST, Step("lock", "KS0001"), Step("replace"), Step("save", generation=2)), Step("wipe")),
    "lock again": Scene((FIRST, Step("lock", "KS0001")), Step("lock", "KS0002")),
}

State = tuple[IdentityEvent | None, str | None, Link | None]
"""The identity that is read, the DSN that the lock names, and the link that is read."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a folder in memory where there is one: hundreds of syncs of a busy disk take their time."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def driver(place: Path) -> Iterator[Driver]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    driver = Driver()
    trial = driver.run(
        Run(str(place / "trial"), (), strace=("-o", str(place / "log"), "-e", f"trace={TRACED}"))
    )
    if trial.ended != DONE:
        driver.close()
        pytest.skip("this machine lets no process trace another (kernel.yama.ptrace_scope)")
    yield driver
    driver.close()


@dataclass
class Bench:
    """A state folder in which one scene is played again and again."""

    driver: Driver
    place: Path
    scene: Scene

    def __post_init__(self) -> None:
        self.log = self.place / "log"
        self.folder = self.place / "state"
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self.driver.run(Run(str(self.folder), self.scene.before)).ended == DONE
        self.before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.old = self.state()
        assert self.driver.run(Run(str(self.folder), (self.scene.step,))).ended == DONE
        self.new = self.state()

    def state(self) -> State:
        lock = self.folder / LOCK
        dsn = json.loads(lock.read_text())["dsn"] if lock.exists() else None
        return read_identity(places_of(self.folder)), dsn, FileStore(self.folder).read()

    def lay_out(self, disk: dict[str, bytes]) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in disk.items():
            (self.folder / name).write_bytes(content)

    def play(self, inject: str = "", traced: str = TRACED) -> tuple[Outcome, str]:
        options = ["-o", str(self.log), "-s", "70000", "-e", f"trace={traced}"]
        options += ["-e", inject] if inject else []
        outcome = self.driver.run(Run(str(self.folder), (self.scene.step,), strace=tuple(options)))
        return outcome, self.log.read_text()

    def points(self) -> list[tuple[str, int]]:
        """Return every system call of the scene, as its name and which one of that name it is."""
        self.lay_out(self.before)
        _, log = self.play()
        counts: Counter[str] = Counter()
        points = []
        for name in CALL.findall(log):
            counts[name] += 1
            points.append((name, counts[name]))
        return points

    def repair(self) -> None:
        """Do it again, as the next run does."""
        match self.scene.step.verb:
            case "write identity" | "force identity" as verb:
                identity = identity_of(self.scene.step.owner)
                write_identity(places_of(self.folder), identity, has_force=verb == "force identity")
            case "erase identity":
                erase_identity(places_of(self.folder))
            case "wipe":
                with FileStore(self.folder) as store:
                    wipe(store, None)
            case _:
                dsn = self.scene.step.owner
                write_lock(LockPlaces(self.folder, None), board="", dsn=dsn, run="", at=UnixTime(1.9e9))


@pytest.fixture(params=list(SCENES.values()), ids=list(SCENES))
def bench(request: pytest.FixtureRequest, driver: Driver, place: Path) -> Bench:
    return Bench(driver, place, request.param)


def test_a_writer_killed_at_any_call_leaves_the_old_or_the_new_and_the_next_repairs(bench: Bench) -> None:
    points = bench.points()

    for name, number in points:
        bench.lay_out(bench.before)
        outcome, _ = bench.play(f"inject={name}:signal=KILL:when={number}", traced=name)
        assert outcome.ended == KILLED, (name, number, outcome)
        assert bench.state() in ([bench.new] if outcome.acknowledged else [bench.old, bench.new]), (
            name,
            number,
        )
        if bench.old[1] is not None:
            assert look_at_lock(LockPlaces(bench.folder, None), Monotonic(0)).is_shut
        bench.repair()
        assert bench.state() == bench.new, (name, number)
        assert [path.name for path in bench.folder.iterdir() if path.name.endswith(".new")] == [], (
            name,
            number,
        )

    print(f"killed at {len(points)} points")


def test_a_writer_refused_at_any_call_says_so_and_leaves_the_old_or_the_new(bench: Bench) -> None:
    points = bench.points()
    writes = sum(name == "write" for name, _ in points)
    # by the last two the child reports
    points = [point for point in points if point not in {("write", writes - 1), ("write", writes)}]

    for name, number in points:
        for error in ERRORS.get(name, ["EIO"]):
            bench.lay_out(bench.before)
            outcome, _ = bench.play(f"inject={name}:error={error}:when={number}", traced=name)
            assert outcome.ended in {DONE, REFUSED}, (name, number, error, outcome)
            found = bench.state()
            assert found in ([bench.new] if outcome.ended == DONE else [bench.old, bench.new]), (
                name,
                number,
                error,
            )


def test_no_power_cut_at_any_moment_halves_or_loses_what_was_written(bench: Bench) -> None:
    bench.lay_out(bench.before)
    outcome, log = bench.play()
    assert outcome.ended == DONE

    for moment in states_after_power_cut(bench.before, [log]):
        bench.lay_out(dict(moment.disk))
        assert bench.state() in ([bench.new] if moment.acknowledged else [bench.old, bench.new]), moment
