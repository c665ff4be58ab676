"""A disk that takes a link and cannot read it back: what was told to have failed is not there at the next start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.core import linking
from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Seconds
from device_auth.core.states import StateWord, Trouble
from device_auth.world.store import FileStore
from tests.world import World, is_over, open_loop, open_world


class Forgetful(FileStore):
    """Saves the new link, and cannot read it back; any other is saved as ever."""

    former = ""

    def replace(self, link: Link) -> None:
        super().replace(link)
        if link.link_id != self.former:
            raise StoreError("cannot read link.json: Input/output error")


class Crowded(Forgetful):
    """Has no room for the new link."""

    def replace(self, link: Link) -> None:
        if link.link_id != self.former:
            raise StoreError("cannot write link.json: No space left on device")
        super().replace(link)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, approve_after=40, rotates=True) as world:
        yield world


def link_on(world: World, kind: type[Forgetful], former: str = "") -> linking.State:
    def make_store(folder: Path) -> FileStore:
        store = kind(folder)
        store.former = former
        return store

    with open_loop(world.folder, world.clock, world.provider, world.tell, make_store=make_store) as loop:
        loop.resume(world.request(loop))
        loop.feed(world.request(loop, again=bool(former)))
        world.when[StateWord.SAVING] = lambda: world.clock.plan(
            world.passed + 2, lambda: loop.want_token(Seconds(3590))
        )
        loop.run(lambda: is_over(loop) and loop.state.trouble is Trouble.STORAGE)
        return loop.state


def test_a_first_link_that_could_not_be_read_back_is_gone(world: World) -> None:
    assert isinstance(link_on(world, Forgetful), linking.Unlinked)

    assert world.stored() is None
    assert StateWord.LINKED not in world.states


@pytest.mark.parametrize("store", [Forgetful, Crowded])
def test_a_second_one_that_could_not_be_saved_leaves_the_first(world: World, store: type[Forgetful]) -> None:
    world.link()
    first = world.stored()
    assert first is not None

    assert isinstance(link_on(world, store, first.link_id), linking.Linked)

    left = world.stored()
    assert left is not None
    assert left.link_id == first.link_id
    assert (world.folder / "state" / "link.json.previous").exists() == (store is Crowded)
    assert isinstance(world.refresh(), linking.Linked)
    assert world.complaints() == []
