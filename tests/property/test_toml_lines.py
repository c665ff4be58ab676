"""A settings file that a person wrote, and a program changes: nothing else is lost."""

import tomllib
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from device_auth.world.toml_lines import with_setting, without_setting, write_value

NAMES = st.sampled_from(["board", "gpio", "a b", "ü", "k_1", "light"])
TABLES = ("", "hardware", "hardware.panel", "page")
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(
    TEXTS, st.integers(-9, 9), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(NAMES, SCALARS, max_size=2))
COMMENTS = st.sampled_from(["", "# x = 1", "#board = 2", "# [hardware]", '# "', "# it's"])
ENDS = st.sampled_from(["", " # c", "\t# '"])


def name_of(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else f'"{key}"'


@st.composite
def files(draw: st.DrawFn) -> str:
    """Lines as a person writes them: comments, keys, tables, in any order that TOML allows."""
    lines: list[str] = []
    for table in (TABLES[0], *draw(st.permutations(TABLES[1:]))):
        if table and draw(st.booleans()):
            continue
        lines += draw(st.lists(COMMENTS, max_size=2))
        lines += [f"[{table}]" + draw(ENDS)] if table else []
        for key in draw(st.lists(NAMES, unique=True, max_size=4)):
            lines += draw(st.lists(COMMENTS, max_size=1))
            lines.append(f"{name_of(key)} = {write_value(draw(VALUES))}{draw(ENDS)}")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["", "\n"]))


def is_kept(before: str, after: str, lost: int) -> bool:
    """Return whether all lines but some are still there, in their order, around one place."""
    # not splitlines: a text may hold other ends of lines
    old, new = (text.replace("\r", "").rstrip("\n").split("\n") for text in (before, after))
    alike = [
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*lines, strict=False)))
        for lines in ((old, new), (old[::-1], new[::-1]))
    ]
    return sum(alike) >= len(old) - lost


@given(files(), st.sampled_from([(), ("hardware",), ("page",), ("hardware", "panel")]), NAMES, VALUES)
def test_one_setting_is_changed_and_at_most_its_line(
    text: str, table: tuple[str, ...], key: str, value: object
) -> None:
    changed = with_setting(text, (*table, key), value)

    held: object = tomllib.loads(changed)
    for name in (*table, key):
        assert isinstance(held, dict)
        held = held[name]
    assert held == value
    assert is_kept(text, changed, lost=1)
    assert with_setting(changed, (*table, key), value) == changed


@given(files(), st.sampled_from([("board",), ("hardware", "gpio"), ("hardware", "panel"), ("page",)]))
def test_a_setting_that_is_taken_out_can_still_be_read_by_a_person(text: str, path: tuple[str, ...]) -> None:
    changed = without_setting(text, path)

    held: object = tomllib.loads(changed)
    for name in path:
        held = held.get(name) if isinstance(held, dict) else None
    assert held is None
    assert changed.replace("# ", "") == text.replace("# ", "")
