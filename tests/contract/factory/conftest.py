"""The same tests for both kinds of database; PostgreSQL's run in `make test-factory`."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.factory.record_world import RecordWorld
from tests.postgresql import WHY_NOT, Cluster, programs, running_cluster

NUMBERS: Final = count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if programs() is None:
        pytest.skip(WHY_NOT)
    with running_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.factory)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/all.sqlite"
    running: Cluster = request.getfixturevalue("cluster")
    return running.make_database(f"test_{next(NUMBERS)}")


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[RecordWorld]:
    world = RecordWorld(tmp_path, url)
    yield world
    assert world.database is not None
    world.database.dispose()
