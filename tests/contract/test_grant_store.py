"""The store of files and the simulated one keep the same promises."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Mark, UnixTime
from device_auth.core.ports import GrantStore
from device_auth.world.store import FileStore
from tests.links import make_link
from tests.simulated_store import SimulatedStore


class LockedStore(GrantStore, AbstractContextManager["LockedStore"], Protocol):
    """A store that is written to with its lock held."""


@pytest.fixture(params=["file", "simulated"])
def unlocked(request: pytest.FixtureRequest, tmp_path: Path) -> LockedStore:
    return FileStore(tmp_path / "state") if request.param == "file" else SimulatedStore()


@pytest.fixture
def store(unlocked: LockedStore) -> Iterator[GrantStore]:
    with unlocked:
        yield unlocked


def test_a_new_store_holds_nothing(unlocked: LockedStore) -> None:
    assert unlocked.read() is None


def test_a_link_comes_back_as_it_was_stored(store: GrantStore) -> None:
    link = replace(
        make_link(replaces=make_link("berta")),
        account="anna@example.com",
        mark=Mark.REVOKED,
        marked_at=UnixTime(1.9e9),
    )

    store.replace(link)

    assert store.read() == link


def test_the_next_generation_takes_the_place_of_the_last(store: GrantStore) -> None:
    store.replace(make_link())

    store.save(make_link(generation=2))

    assert store.read() == make_link(generation=2)


def test_saving_the_same_again_is_no_error(store: GrantStore) -> None:
    store.replace(make_link())

    store.save(make_link())

    assert store.read() == make_link()


@pytest.mark.parametrize("stored", [None, make_link("berta")], ids=["nothing", "another link"])
def test_a_generation_of_a_link_that_is_not_stored_is_refused(store: GrantStore, stored: object) -> None:
    if stored is not None:
        store.replace(make_link("berta"))

    with pytest.raises(StoreError, match="no generation of this link"):
        store.save(make_link())


def test_another_link_takes_the_place_of_every_generation(store: GrantStore) -> None:
    store.replace(make_link())
    store.save(make_link(generation=2))

    store.replace(make_link("berta"))

    assert store.read() == make_link("berta")


def test_an_erased_store_holds_nothing(store: GrantStore) -> None:
    store.replace(make_link())
    store.save(make_link(generation=2))

    store.erase()

    assert store.read() is None


def test_a_link_that_is_taken_back_leaves_none(store: GrantStore) -> None:
    store.replace(make_link())
    store.save(make_link(generation=2))

    store.take_back()
    store.take_back()

    assert store.read() is None


def test_erasing_nothing_is_no_error(store: GrantStore) -> None:
    store.erase()

    assert store.read() is None


def test_a_store_that_works_is_proved_writable_and_left_as_it_was(store: GrantStore) -> None:
    store.replace(make_link())

    store.prove_writable()

    assert store.read() == make_link()


def test_what_was_stored_is_read_without_the_lock(unlocked: LockedStore) -> None:
    with unlocked:
        unlocked.replace(make_link())

    assert unlocked.read() == make_link()


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.prove_writable(),
        lambda store: store.save(make_link(generation=2)),
        lambda store: store.replace(make_link("berta")),
        lambda store: store.take_back(),
        lambda store: store.erase(),
    ],
    ids=["prove", "save", "replace", "take back", "erase"],
)
def test_nothing_is_written_without_the_lock(
    unlocked: LockedStore, write: Callable[[GrantStore], None]
) -> None:
    with unlocked:
        unlocked.replace(make_link())

    with pytest.raises(StoreError, match="lock is not held"):
        write(unlocked)

    assert unlocked.read() == make_link()
