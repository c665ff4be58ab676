import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName, Flow, Link, Mark, Secret, UnixTime
from device_auth.world.envelope import EnvelopeDamaged, Plain, read_envelope, write_envelope
from device_auth.world.store import DAMAGED, NEWEST, PREVIOUS, FileStore
from tests.keys import keys_of
from tests.links import make_link
from tests.store_driver import CRASHED, DONE, REFUSED, Driver, Run, Step

texts = st.text(st.characters(codec="utf-8"), max_size=20)
filled = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
moments = st.floats(min_value=0, max_value=4e9).map(UnixTime)


def links(replaced: st.SearchStrategy[Link | None]) -> st.SearchStrategy[Link]:
    return st.builds(
        Link,
        link_id=filled,
        dialect=st.sampled_from(DialectName),
        flow=st.sampled_from(Flow),
        client_id=texts,
        scope=texts,
        token_endpoint=texts,
        revocation_endpoint=texts,
        refresh_token=filled.map(Secret),
        linked_at=moments,
        is_proved=st.booleans(),
        account=st.none() | texts,
        mark=st.none() | st.sampled_from(Mark),
        marked_at=st.none() | moments,
        replaces=replaced,
    )


NO_KEYS = keys_of(Plain()).named
any_link = links(st.none() | links(st.none()))
known_link = st.sampled_from([make_link(), make_link(generation=2), make_link("berta")])


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """An envelope in which some bytes were lost, changed or added."""
    content = bytearray(write_envelope(draw(known_link), Plain()))
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 40)))
    content[start:end] = draw(st.binary(max_size=40))
    return bytes(content)


@st.composite
def foreign(draw: st.DrawFn) -> bytes:
    """JSON with the members of an envelope, each of which may be anything."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts | st.sampled_from(["plain", "other"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    )
    envelope = json.loads(write_envelope(draw(known_link), Plain()))
    members = st.dictionaries(st.sampled_from([*envelope, "more"]), anything, max_size=3)
    return json.dumps(envelope | draw(members)).encode()


any_file = (
    st.none()
    | st.binary(max_size=200)
    | spoiled()
    | foreign()
    | known_link.map(lambda link: write_envelope(link, Plain()))
)


@settings(max_examples=50)
@given(any_link)
def test_any_link_comes_back_from_its_envelope_as_it_was(link: Link) -> None:
    assert read_envelope(write_envelope(link, Plain()), NO_KEYS)[0] == link


@given(st.binary() | spoiled() | foreign())
def test_any_bytes_give_a_link_or_say_why_not(content: bytes) -> None:
    answer = answer_to(content)

    assert isinstance(answer, Link | StoreError)
    assert "canary" not in str(answer)


@settings(max_examples=150)
@given(any_file, any_file)
def test_any_bytes_on_the_disk_give_an_answer_and_never_another_owners_link(
    newest: bytes | None, previous: bytes | None
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, content in ((NEWEST, newest), (PREVIOUS, previous)):
            if content is not None:
                (folder / name).write_bytes(content)

        unlocked = answer_of(FileStore(folder))
        untouched = contents(folder)
        with FileStore(folder) as store:
            locked = answer_of(store)
            again = answer_of(store)
            is_refused = is_not_for_us(locked)
            if is_refused:
                refused = answer_of_replacing(store)
                assert is_not_for_us(refused)
            else:
                store.replace(make_link("carla"))

        assert untouched == {
            name: found for name, found in ((NEWEST, newest), (PREVIOUS, previous)) if found is not None
        }
        assert repr(locked) == repr(unlocked)
        assert again == (None if isinstance(locked, EnvelopeDamaged) else locked) or is_refused
        assert (
            FileStore(folder).read() == make_link("carla")
            if not is_refused
            else contents(folder) == untouched
        )
        if newest is not None and isinstance(unlocked, Link):
            assert whose(newest) in {None, unlocked.link_id}
        # nothing that does not verify is ever lost
        if not is_refused and newest is not None and reads(newest) is None:
            assert newest in contents(folder).values()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def answer_of(store: FileStore) -> Link | StoreError | None:
    try:
        return store.read()
    except StoreError as error:
        return error


def answer_of_replacing(store: FileStore) -> StoreError | None:
    try:
        store.replace(make_link("carla"))
    except StoreError as error:
        return error
    return None


def is_not_for_us(answer: object) -> bool:
    return isinstance(answer, StoreError) and not isinstance(answer, EnvelopeDamaged)


def answer_to(content: bytes) -> Link | StoreError:
    try:
        return read_envelope(content, NO_KEYS)[0]
    except StoreError as error:
        return error


def reads(content: bytes) -> Link | None:
    answer = answer_to(content)
    return answer if isinstance(answer, Link) else None


def no_number(name: str) -> NoReturn:
    """Refuse ``Infinity`` and its kin, which RFC 8259 does not know."""
    raise ValueError(name)


def whose(content: bytes) -> str | None:
    """Return the link ID that stands in a file, by a reading of the test's own; what is no JSON says nothing."""
    try:
        link_id = json.loads(content, parse_constant=no_number)["link"]["link_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return link_id if isinstance(link_id, str) and link_id else None


# ---------------------------------------------------------------------------------------------------------
# Histories


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


steps = st.builds(
    Step,
    verb=st.sampled_from(["save", "save", "replace", "erase", "prove"]),
    owner=st.sampled_from(["anna", "berta"]),
    generation=st.integers(1, 3),
    replaced_owner=st.sampled_from(["", "carla"]),
)
histories = st.lists(st.tuples(steps, st.none() | st.integers(0, 14)), min_size=1, max_size=8)


@settings(max_examples=40)
@given(histories)
def test_any_history_cut_short_anywhere_leaves_the_link_before_or_the_one_after(
    driver: Driver, history: list[tuple[Step, int | None]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "state")
        present: Link | None = None
        for step, crash_at in history:
            outcome = driver.run(Run(str(folder), (step,), crash_at=crash_at))
            after = {"erase": None, "prove": present}.get(step.verb, step.link())
            found = FileStore(folder).read()

            if outcome.ended == DONE:
                assert found == after
            elif outcome.ended == REFUSED:
                assert found == present
                assert step.verb == "save"
                assert present is None or present.link_id != step.owner
            else:
                assert outcome.ended == CRASHED, outcome
                assert found in (present, after)
            present = found
            assert_no_former_owner_can_come_back(folder, present)


def assert_no_former_owner_can_come_back(folder: Path, present: Link | None) -> None:
    previous = reads((folder / PREVIOUS).read_bytes()) if (folder / PREVIOUS).exists() else None
    if previous is not None:
        assert present is not None
        assert owners(previous) <= owners(present)
        assert previous.link_id == present.link_id
    if present is not None:
        assert not any(path.name.startswith(DAMAGED) for path in folder.iterdir())


def owners(link: Link | None) -> set[str]:
    return set() if link is None else {link.link_id} | owners(link.replaces)
