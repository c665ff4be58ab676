"""What is left of the link when its writer is killed, refused, or loses power, at every single system call."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Mark
from device_auth.world.store import DAMAGED, NEWEST, PREVIOUS, SEALED, FileStore
from tests.keys import key_of
from tests.power_cut import Moment, states_after_power_cut
from tests.store_driver import DONE, REFUSED, Driver, Outcome, Run, Step, store_under

pytestmark = [pytest.mark.strace, pytest.mark.slow]

KILLED = -9
CALL = re.compile(r"^(?!mmap)(\w+)\(", re.MULTILINE)
"""A call as strace writes it. Memory comes and goes as Python likes: that is none of the store's calls."""

TRACED = "%file,%desc"


ERRORS = {
    "openat": ["ENOSPC", "EROFS", "EIO"],
    "fchmod": ["EROFS", "EIO"],
    "write": ["ENOSPC", "EIO"],
    "fsync": ["ENOSPC", "EROFS", "EIO"],
    "close": ["ENOSPC", "EIO"],
    "linkat": ["ENOSPC", "EROFS", "EIO"],
    "renameat": ["ENOSPC", "EROFS", "EIO"],
    "unlinkat": ["EROFS", "EIO"],
}
"""What each call may answer, by its manual page; any other may answer EIO."""


@dataclass(frozen=True)
class Scene:
    """What was stored, and what is then asked of the store, each with the keys that can be had by then."""

    before: tuple[Step, ...]
    step: Step
    is_damaged: bool = False
    former_keys: tuple[str, ...] = ("plain",)
    keys: tuple[str, ...] = ("plain",)


KEYED = ("key-file", "plain")
KEYED_ON_THE_BOARD = ("rpi-fw-crypto", "plain")
ANY_KEY = ("plain", "key-file", "rpi-fw-crypto")
"""Opens what was ever sealed; plain is chosen, so a plain link is ours."""

ANNA_TWICE = (Step("replace"), Step("save", generation=2))
BERTA_UNPROVED = (
    Step("replace", "berta", replaced_owner="anna"),
    Step("save", "berta", 2, replaced_owner="anna"),
)

SCENES = {
    "first link": Scene((), Step("replace")),
    "first save": Scene((Step("replace"),), Step("save", generation=2)),
    "save": Scene(ANNA_TWICE, Step("save", generation=3)),
    "save over damage": Scene(ANNA_TWICE, Step("save", generation=3), is_damaged=True),
    "link again": Scene(ANNA_TWICE, Step("replace", "berta", replaced_owner="anna")),
    "link again over damage": Scene(ANNA_TWICE, Step("replace", "berta"), is_damaged=True),
    "leave the former owner behind": Scene(BERTA_UNPROVED, Step("save", "berta", 3)),
    "hand over": Scene(ANNA_TWICE, Step("hand over", generation=2)),
    "unlink": Scene(ANNA_TWICE, Step("erase")),
    "prove writable": Scene(ANNA_TWICE, Step("prove")),
    "seal": Scene(ANNA_TWICE, Step("seal"), keys=KEYED),
    "move to a better key": Scene(
        ANNA_TWICE, Step("move"), former_keys=KEYED, keys=(*KEYED_ON_THE_BOARD, *KEYED)
    ),
    "link again without the former key": Scene(ANNA_TWICE, Step("replace", "berta"), former_keys=KEYED),
}


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
    """A folder in which one scene is played again and again."""

    driver: Driver
    place: Path
    scene: Scene

    def __post_init__(self) -> None:
        self.log = self.place / "log"
        self.folder = self.place / "state"
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.scene.before:
            prepared = self.driver.run(Run(str(self.folder), self.scene.before, keys=self.scene.former_keys))
            assert prepared.ended == DONE, prepared
        else:
            self.folder.mkdir()
        if self.scene.is_damaged:
            (self.folder / NEWEST).write_bytes(b"\0" * 100)
        self.before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.old = self.store().read()
        same = {"erase": None, "prove": self.old, "move": self.old, "seal": self.old}
        self.new = same.get(self.scene.step.verb, self.scene.step.link())

    def store(self) -> FileStore:
        """Return a store that opens whatever was ever sealed."""
        return store_under(self.folder, ANY_KEY)

    def lay_out(self, disk: dict[str, bytes]) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in disk.items():
            (self.folder / name).write_bytes(content)

    def play(
        self,
        inject: str = "",
        *,
        traced: str = TRACED,
        only: Path | None = None,
        sabotage: str = "",
        step: Step | None = None,
    ) -> tuple[Outcome, str]:
        """Play the scene in what is laid out; give how it ended, and the calls (``only`` those on one file)."""
        options = ["-o", str(self.log), "-s", "70000", "-e", f"trace={traced}"]
        options += ["-e", inject] if inject else []
        options += ["-P", str(only)] if only else []
        steps = (step or self.scene.step,)
        outcome = self.driver.run(
            Run(str(self.folder), steps, strace=tuple(options), sabotage=sabotage, keys=self.scene.keys)
        )
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

    def points_of_the_store(self) -> list[tuple[str, int]]:
        """Return the same without the last two writes, by which the child reports."""
        points = self.points()
        writes = sum(name == "write" for name, _ in points)
        return [point for point in points if point not in {("write", writes - 1), ("write", writes)}]

    def leftovers(self) -> set[str]:
        names = {path.name for path in self.folder.iterdir()}
        return {name for name in names - {NEWEST, PREVIOUS} if not name.startswith((DAMAGED, SEALED))}


@pytest.fixture(params=list(SCENES.values()), ids=list(SCENES))
def bench(request: pytest.FixtureRequest, driver: Driver, place: Path) -> Bench:
    return Bench(driver, place, request.param)


def test_a_writer_killed_at_any_call_leaves_the_old_link_or_the_new_one(bench: Bench) -> None:
    points = bench.points()

    for name, number in points:
        bench.lay_out(bench.before)
        outcome, _ = bench.play(f"inject={name}:signal=KILL:when={number}", traced=name)
        assert outcome.ended == KILLED, (name, number, outcome)
        allowed = [bench.new] if outcome.acknowledged else [bench.old, bench.new]
        assert bench.store().read() in allowed, (name, number)
        with bench.store() as store:
            store.prove_writable()
            assert store.read() in allowed, (name, number)
        assert bench.leftovers() == set(), (name, number)

    print(f"killed at {len(points)} points")


def test_a_writer_refused_at_any_call_says_so_and_leaves_the_old_link_or_the_new_one(bench: Bench) -> None:
    points = [
        (*point, error) for point in bench.points_of_the_store() for error in ERRORS.get(point[0], ["EIO"])
    ]

    for name, number, error in points:
        bench.lay_out(bench.before)
        outcome, _ = bench.play(f"inject={name}:error={error}:when={number}", traced=name)
        assert outcome.ended in {DONE, REFUSED}, (name, number, error, outcome)
        assert "canary" not in outcome.said
        found = bench.store().read()
        allowed = [bench.new] if outcome.ended == DONE else [bench.old, bench.new]
        assert found in allowed, (name, number, error)
        assert bench.leftovers() == set() or name == "unlinkat", (name, number, error)

    print(f"refused at {len(points)} points")


def test_a_newest_generation_that_the_disk_never_gives_again_makes_way(driver: Driver, place: Path) -> None:
    bench = Bench(driver, place, Scene(ANNA_TWICE, Step("read")))

    outcome, _ = bench.play("inject=read:error=EIO", traced="read", only=bench.folder / NEWEST)

    assert outcome.ended == DONE
    left = {path.name: path.read_bytes() for path in bench.folder.iterdir()}
    assert left == {NEWEST: bench.before[PREVIOUS], f"{DAMAGED}1": bench.before[NEWEST]}


def test_a_newest_generation_that_the_disk_fails_to_give_once_is_read_again(
    driver: Driver, place: Path
) -> None:
    bench = Bench(driver, place, Scene(ANNA_TWICE, Step("read")))

    outcome, log = bench.play("inject=read:error=EIO:when=1", traced="read", only=bench.folder / NEWEST)

    assert outcome.ended == DONE
    assert "INJECTED" in log
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir()} == bench.before


@pytest.mark.parametrize("name", [NEWEST, PREVIOUS])
def test_what_the_disk_does_not_give_stays_where_it_is_if_nothing_can_replace_it(
    driver: Driver, place: Path, name: str
) -> None:
    bench = Bench(driver, place, Scene(ANNA_TWICE[:1] if name == NEWEST else ANNA_TWICE, Step("read")))
    if name == PREVIOUS:
        (bench.folder / NEWEST).write_bytes(b"rotten")
    before = {path.name: path.read_bytes() for path in bench.folder.iterdir()}

    outcome, _ = bench.play("inject=read:error=EIO", traced="read", only=bench.folder / name)

    assert outcome.ended == REFUSED
    assert "the disk reports an error" in outcome.said
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir()} == before


def test_no_power_cut_at_any_moment_loses_the_link_or_revives_a_former_owner(bench: Bench) -> None:
    bench.lay_out(bench.before)
    outcome, log = bench.play()
    assert outcome.ended == DONE

    moments = states_after_power_cut(bench.before, [log])

    print(f"{len(moments)} states of the disk")
    assert len(moments) > 2
    assert [moment for moment in moments if fault_in(bench, moment)] == []


def test_a_new_folder_is_durable_before_anything_is_written_in_it(driver: Driver, tmp_path: Path) -> None:
    folder, log = tmp_path / "a" / "state", tmp_path / "log"

    driver.run(Run(str(folder), (Step("replace"),), strace=("-o", str(log), "-e", f"trace={TRACED}", "-y")))

    calls = log.read_text()
    first_write = calls.index("O_CREAT")
    for made in (folder, folder.parent):
        synced = re.search(rf"mkdir\(\"{made}\".*?fsync\(\d+<{made.parent}>\)", calls, re.DOTALL)
        assert synced is not None
        assert synced.end() < first_write


@pytest.mark.parametrize("next_step", [Step("save", generation=3), Step("replace", "berta"), Step("erase")])
def test_what_a_killed_writer_left_undone_is_durable_before_the_next_builds_upon_it(
    driver: Driver, place: Path, next_step: Step
) -> None:
    bench = Bench(driver, place, Scene(ANNA_TWICE, Step("erase")))
    for scene in (SCENES["save"], SCENES["unlink"], SCENES["link again"]):
        bench.scene = scene
        changing = [point for point in bench.points() if point[0] in {"renameat", "unlinkat", "fsync"}]
        for name, number in changing:
            bench.lay_out(bench.before)
            _, first_log = bench.play(f"inject={name}:signal=KILL:when={number}")
            left = FileStore(bench.folder).read()
            outcome, second_log = bench.play(step=next_step)
            if outcome.ended == REFUSED:
                continue
            last = FileStore(bench.folder).read()
            moments = states_after_power_cut(bench.before, [first_log, second_log])
            acknowledged = [moment for moment in moments if moment.acknowledged]
            assert acknowledged
            for moment in acknowledged:
                bench.lay_out(dict(moment.disk))
                assert FileStore(bench.folder).read() == last, (name, number, left)


@pytest.mark.parametrize(
    ("sabotage", "scene"),
    [
        ("files are not synced", "save"),
        ("files are not synced", "first link"),
        ("folders are not synced", "save"),
        ("folders are not synced", "link again"),
        ("folders are not synced", "unlink"),
        ("the newest is written in place", "save"),
        ("the previous one goes last", "link again"),
        ("the previous one goes last", "unlink"),
        ("the previous one goes last", "leave the former owner behind"),
        ("the previous one goes last", "hand over"),
    ],
)
def test_a_writer_without_one_of_these_precautions_is_found_out(
    driver: Driver, place: Path, sabotage: str, scene: str
) -> None:
    bench = Bench(driver, place, SCENES[scene])
    bench.lay_out(bench.before)
    outcome, log = bench.play(sabotage=sabotage)
    assert outcome.ended == DONE, outcome

    faults = [
        fault for moment in states_after_power_cut(bench.before, [log]) if (fault := fault_in(bench, moment))
    ]

    assert faults != []


def fault_in(bench: Bench, moment: Moment) -> str:
    """Return what is wrong with the store after a power cut, if anything is."""
    bench.lay_out(dict(moment.disk))
    store = bench.store()
    allowed = [bench.new] if moment.acknowledged else [bench.old, bench.new]
    try:
        found = store.read()
    except StoreError as error:
        return str(error)
    if found not in allowed:
        return (
            "neither the old link nor the new one"
            if not moment.acknowledged
            else "an acknowledged step is lost"
        )
    if moment.acknowledged and is_laid_open(bench, dict(moment.disk)):
        return "what lies under the former key stays"
    if bench.scene.keys == ("plain",) != bench.scene.former_keys and is_sealed_one_lost(bench, moment):
        return "what is sealed under the lost key is gone"
    if not (bench.folder / NEWEST).exists():
        return ""
    if found is not None and found.mark is Mark.HANDED_OVER and "canary" in str(moment.disk):
        return "a token that was handed over is still there"
    (bench.folder / NEWEST).write_bytes(b"rotten")
    try:
        fallback = store.read()
    except StoreError:
        return ""
    is_same = fallback is None or (found is not None and fallback.link_id == found.link_id)
    return "" if is_same and owners(fallback) <= owners(found) else "a former owner can come back"


def is_laid_open(bench: Bench, disk: dict[str, bytes]) -> bool:
    """Return whether anything lies under another key than the one that seals, where that can be had."""
    return bench.scene.keys != ("plain",) and any(
        key_of(content) != bench.scene.keys[0] for content in disk.values()
    )


def is_sealed_one_lost(bench: Bench, moment: Moment) -> bool:
    return not set(bench.before.values()) <= set(dict(moment.disk).values())


def owners(link: Link | None) -> set[str]:
    return set() if link is None else {link.link_id} | owners(link.replaces)
