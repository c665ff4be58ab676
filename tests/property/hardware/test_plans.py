"""Whatever stands in the settings, it is read into a plan or refused as a setting; nothing else happens."""

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import event, given
from hypothesis import strategies as st

from hardware.board import HARDWARE_KEYS, BoardPlan, read_plan
from hardware.errors import BadSetting
from hardware.plans import BUTTON_KEYS, LIGHT_KEYS, PANEL_KEYS, VOICE_KEYS, parse_pin
from hardware.settings import Key
from hardware.voice import QuietHours

ODD: st.SearchStrategy[object] = (
    st.integers(-2, 70)
    | st.floats()
    | st.booleans()
    | st.text("a/0\0:-", max_size=4)
    | st.just(datetime(2026, 1, 1, tzinfo=UTC))
    | st.lists(st.sampled_from(["a", "", 1, "\0"]), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=1)
)


def values_of(key: Key) -> st.SearchStrategy[object]:
    """Return acceptable values of a key, and now and then another."""
    right = [*key.choices, *([key.within[0], key.within[-1]] if key.within else []), key.example]
    if key.parse is parse_pin:
        right = [*range(28)]
    usual = st.sampled_from([value for value in right if value != ""])
    return st.integers(0, 9).flatmap(lambda draw: ODD if draw == 9 else usual)


def tables(keys: tuple[Key, ...]) -> st.SearchStrategy[dict[str, object]]:
    """Return tables of each kind, with every required key and some of the others."""

    def of_kind(kind: str) -> st.SearchStrategy[dict[str, object]]:
        known = {key.name: key for key in keys if key.belongs_to(kind) and key.name != "kind"}
        wanted = {name: values_of(key) for name, key in known.items() if key.is_required}
        others = {name: values_of(key) for name, key in known.items() if not key.is_required}
        named = {} if kind == "button" else {"kind": st.just(kind)}
        return st.fixed_dictionaries({**named, **wanted}, optional=others)

    kinds = next((tuple(key.choices) for key in keys if key.name == "kind"), ("button",))
    return st.sampled_from(kinds).flatmap(of_kind)


PARTS = {"light": LIGHT_KEYS, "button": BUTTON_KEYS, "panel": PANEL_KEYS, "voice": VOICE_KEYS}
ONE_PART = st.sampled_from(list(PARTS)).flatmap(
    lambda sort: st.fixed_dictionaries({sort: tables(PARTS[sort])})
)
EVERYTHING = st.fixed_dictionaries(
    {},
    optional={
        **{key.name: values_of(key) for key in HARDWARE_KEYS if key.name not in PARTS},
        **{sort: tables(keys) | st.just("off") | ODD for sort, keys in PARTS.items()},
    },
)


def read(settings: dict[str, object]) -> BoardPlan | BadSetting:
    try:
        return read_plan(settings)
    except BadSetting as refused:
        return refused


@given(ONE_PART | EVERYTHING)
def test_settings_are_read_into_a_plan_or_refused_with_a_hint(settings: dict[str, object]) -> None:
    plan = read(settings)
    event("refused" if isinstance(plan, BadSetting) else "a plan")

    if isinstance(plan, BadSetting):
        assert plan.hint
        return
    for part in plan.parts:
        assert is_dataclass(part)
        for field in fields(part):
            value = getattr(part, field.name)
            assert isinstance(value, str | int | tuple | Path | QuietHours), field.name
            assert value != ""
