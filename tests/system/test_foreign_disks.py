"""A state folder on a disk of another kind: a share is used, and where a link is not safe nothing is stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.core.models import Link
from device_auth.world.store import FileStore
from tests.links import make_link
from tests.store_driver import DONE, REFUSED, Driver, Run, Step

ANNA_TWICE = (Step("prove"), Step("replace"), Step("save", generation=2))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def stored(folder: Path) -> tuple[Link | None, Link | None]:
    """Return the newest link, and that of the generation before it."""
    newest = FileStore(folder).read()
    (folder / "link.json").unlink()
    return newest, FileStore(folder).read()


def test_a_share_without_second_names_and_synced_folders_keeps_both_generations(
    driver: Driver, folder: Path
) -> None:
    ended = driver.run(Run(str(folder), ANNA_TWICE, sabotage="a share"))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}

    assert (ended.ended, ended.said) == (DONE, "")
    assert modes == {"link.json": "0o600", "link.json.previous": "0o600"}
    assert stored(folder) == (make_link(generation=2), make_link(generation=1))


def test_a_share_forgets_a_former_owner_as_a_card_does(driver: Driver, folder: Path) -> None:
    steps = (*ANNA_TWICE, Step("replace", "berta"), Step("save", "berta", 2))
    ended = driver.run(Run(str(folder), steps, sabotage="a share"))

    assert ended.ended == DONE
    assert stored(folder) == (make_link("berta", generation=2), make_link("berta", generation=1))


@pytest.mark.parametrize("place", range(12))
def test_a_share_that_loses_its_writer_keeps_a_whole_link(driver: Driver, folder: Path, place: int) -> None:
    before = driver.run(Run(str(folder), ANNA_TWICE, sabotage="a share"))
    driver.run(Run(str(folder), (Step("save", generation=3),), sabotage="a share", crash_at=place))

    assert before.ended == DONE
    assert FileStore(folder).read() in {make_link(generation=2), make_link(generation=3)}


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        ("FAT", "cannot write to {}: operation not permitted"),
        (
            "without modes",
            "cannot write to {}: its files do not keep the mode 0600, so others could use them",
        ),
        ("without locks", "cannot lock {}: no lock is to be had"),
    ],
)
def test_where_a_link_would_not_be_safe_nothing_is_stored(
    driver: Driver, folder: Path, disk: str, said: str
) -> None:
    proved = driver.run(Run(str(folder), (Step("prove"),), sabotage=disk))
    stored = driver.run(Run(str(folder), (Step("replace"), Step("save", generation=2)), sabotage=disk))

    assert proved.ended == stored.ended == REFUSED
    assert proved.said.startswith(said.format(folder))
    assert {path.name for path in folder.iterdir()} <= ({"link.json"} if disk == "FAT" else set())


def test_on_a_disk_without_modes_the_token_is_never_written(driver: Driver, folder: Path) -> None:
    driver.run(Run(str(folder), (Step("replace"),), sabotage="without modes"))

    assert list(folder.iterdir()) == []
