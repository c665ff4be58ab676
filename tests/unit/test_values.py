"""Each trait is shown on the same classes made by the standard library, which stands for what is meant."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pytest

from device_auth.core import values
from hardware.voice import Utterance

T = TypeVar("T")
ROOT: Final = Path(__file__).parents[2]


@values.dataclass(frozen=True, slots=True)
class Ours:
    """A value of ours."""

    name: str
    secret: str = values.field(default="hidden", repr=False)
    count: int = 0

    @property
    def twice(self) -> int:
        return 2 * self.count


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    """The same, by the standard library."""

    name: str
    secret: str = dataclasses.field(default="hidden", repr=False)
    count: int = 0

    @property
    def twice(self) -> int:
        return 2 * self.count


@values.dataclass(frozen=True, slots=True, eq=False)
class Box(Generic[T]):
    """A value that is equal to itself alone."""

    inside: T


@values.dataclass(frozen=True, slots=True)
class Often(Generic[T]):
    """Another one, made often."""

    inside: T


@values.dataclass(frozen=True, slots=True)
class Nothing:
    """A value without fields."""


@values.dataclass(frozen=True, slots=True)
class MadeOften:
    """The same, made so often that it has functions of its own."""

    name: str
    secret: str = values.field(default="hidden", repr=False)
    count: int = 0

    @property
    def twice(self) -> int:
        return 2 * self.count


for _ in range(values._OFTEN):
    MadeOften("a")

both = pytest.mark.parametrize("kind", [Ours, Theirs, MadeOften])


@both
def test_fields_are_given_by_place_and_by_name(kind: Any) -> None:
    value = kind("a", "b", count=3)

    assert (value.name, value.secret, value.count, value.twice) == ("a", "b", 3, 6)


@both
def test_what_is_not_given_has_its_default(kind: Any) -> None:
    assert (kind("a").secret, kind("a").count) == ("hidden", 0)


@both
@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), ((1, 2, 3, 4), {}), (("a",), {"name": "b"}), (("a",), {"other": 1}), ((), {"other": 1})],
)
def test_what_is_missing_or_too_much_is_refused(
    kind: Any, given: tuple[object, ...], named: dict[str, object]
) -> None:
    with pytest.raises(TypeError):
        kind(*given, **named)


@both
@pytest.mark.parametrize("name", ["name", "other"])
def test_a_value_does_not_change(kind: Any, name: str) -> None:
    value = kind("a")

    with pytest.raises((AttributeError, TypeError)):
        setattr(value, name, "b")
    with pytest.raises((AttributeError, TypeError)):
        delattr(value, name)
    assert value == kind("a")


@both
def test_values_are_equal_by_kind_and_content(kind: Any) -> None:
    assert kind("a") == kind("a")
    assert hash(kind("a")) == hash(kind("a"))
    assert kind("a") != kind("b")
    assert kind("a", "other") != kind("a")
    assert kind("a") != ("a", "hidden", 0)


def test_a_value_is_not_equal_to_another_kind_with_the_same_content() -> None:
    theirs: object = Theirs("a")

    assert Ours("a") != theirs


def test_a_value_that_stands_for_itself_equals_no_other() -> None:
    box = Box(1)

    assert box == box  # noqa: PLR0124  identity is the point
    assert box != Box(1)


@both
def test_what_is_not_to_be_seen_is_not_printed(kind: Any) -> None:
    assert repr(kind("a", "canary")) == f"{kind.__name__}(name='a', count=0)"


@both
def test_a_value_is_taken_apart_by_match(kind: Any) -> None:
    match kind("a", "b"):
        case kind(name, secret):
            assert (name, secret) == ("a", "b")
        case _:
            pytest.fail("no match")


def test_only_a_class_that_is_made_often_gets_functions_of_its_own() -> None:
    for function in ("__init__", "__replace__"):
        often, ours, rare = (vars(kind)[function] for kind in (MadeOften, Ours, Box))

        assert often is not ours
        assert rare is ours


def test_a_class_with_a_type_parameter_may_be_made_often() -> None:
    boxes = [Often(number) for number in range(values._OFTEN + 1)]

    assert {type(box) for box in boxes} == {Often}
    assert (boxes[-1].inside, values.replace(boxes[-1], inside=0).inside) == (values._OFTEN, 0)


def test_a_value_without_fields_is_one_of_its_kind() -> None:
    for _ in range(values._OFTEN + 1):
        assert Nothing() == Nothing()
    assert repr(Nothing()) == "Nothing()"


@both
def test_a_value_holds_nothing_but_its_fields(kind: Any) -> None:
    assert not hasattr(kind("a"), "__dict__")


@pytest.mark.parametrize(
    ("kind", "replace"),
    [
        (Ours, values.replace),
        (Ours, dataclasses.replace),
        (Theirs, dataclasses.replace),
        (MadeOften, values.replace),
        (MadeOften, dataclasses.replace),
    ],
)
def test_a_changed_copy_leaves_the_value_as_it_is(kind: Any, replace: Callable[..., Any]) -> None:
    value = kind("a")

    assert replace(value, count=2) == kind("a", count=2)
    assert value == kind("a")


def test_a_value_of_the_standard_library_is_replaced_too() -> None:
    said = Utterance("a", "en-US", 0.5, "letter")

    assert values.replace(said, pause=1.5) == Utterance("a", "en-US", 1.5, "letter")


@pytest.mark.parametrize(("kind", "why"), [(Ours, "made of: name, secret, count"), (MadeOften, "'other'")])
def test_a_copy_with_a_field_that_is_none_is_refused(kind: Any, why: str) -> None:
    changes: dict[str, Any] = {"other": 1}

    with pytest.raises(TypeError, match=why):
        values.replace(kind("a"), **changes)


@pytest.mark.parametrize("deed", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", [Ours, MadeOften])
def test_a_copy_of_a_value_is_equal_to_it(deed: Callable[[object], object], kind: Any) -> None:
    assert deed(kind("a", "b", 1)) == kind("a", "b", 1)


@pytest.mark.parametrize("kind", [Ours, MadeOften])
def test_a_value_can_be_sent_to_another_process(kind: Any) -> None:
    sent = pickle.dumps(kind("a", "b", 1))

    assert pickle.loads(sent) == kind("a", "b", 1)  # noqa: S301  our own bytes


def test_the_tools_of_the_standard_library_take_our_values() -> None:
    ours, theirs = dataclasses.fields(Ours), dataclasses.fields(Theirs)

    assert [(it.name, it.default, it.repr) for it in ours] == [
        (it.name, it.default, it.repr) for it in theirs
    ]
    assert dataclasses.asdict(Ours("a")) == dataclasses.asdict(Theirs("a"))


def test_what_those_tools_read_is_made_once_for_a_class() -> None:
    assert dataclasses.fields(Ours)[0] is dataclasses.fields(Ours("a"))[0]
    assert [each.name for each in dataclasses.fields(Box)] == ["inside"]


def test_the_machine_loads_without_what_our_values_spare_it() -> None:
    script = (
        "import sys, device_auth.core.linking; print(sorted({'dataclasses', 'inspect'} & set(sys.modules)))"
    )

    # without site, where a measurement of coverage would load more
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
