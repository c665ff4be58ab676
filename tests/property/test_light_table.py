"""No light that is told anything ever flashes faster than twice a second, whatever the settings say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_auth.core.states import Trouble
from device_auth.prompts.light import COLOURS, TABLE, Meaning, Table, read_patterns, rhythm_of
from hardware.errors import BadSetting
from hardware.led import Rhythm, glow_at, without_fades

MILLISECONDS = st.sampled_from([50, 100, 150, 200, 249, 250, 500, 1000]) | st.integers(1, 1200)
COLOURED = {"colour": st.sampled_from([*COLOURS])}
BLINKS = st.fixed_dictionaries(
    {"kind": st.just("blink"), "on_ms": MILLISECONDS, "off_ms": MILLISECONDS},
    optional={"count": st.integers(1, 9), "pause_ms": MILLISECONDS, **COLOURED},
)
BREATHS = st.fixed_dictionaries(
    {"kind": st.just("breathe"), "brighter_ms": MILLISECONDS, "darker_ms": MILLISECONDS}, optional=COLOURED
)
SOLIDS = st.fixed_dictionaries({"kind": st.just("solid")}, optional=COLOURED)
NAMES = st.sampled_from([str(meaning) for meaning in TABLE])
OVERRIDES: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    NAMES, st.just("off") | SOLIDS | BLINKS | BREATHS, min_size=1, max_size=3
)
NONSENSE: st.SearchStrategy[object] = st.none() | st.integers() | st.text(max_size=5)
ANYTHING: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    NAMES | st.text(max_size=5),
    NONSENSE | st.dictionaries(st.sampled_from(["kind", "on_ms", "colour"]), NONSENSE | MILLISECONDS),
    max_size=3,
)

TOLD_APART = [
    (trouble, other)
    for trouble, other in itertools.product(set(Trouble) - {Trouble.NONE}, TABLE)
    if rhythm_of(TABLE[trouble]) != rhythm_of(TABLE[other])
]


def accepted(overrides: dict[str, object]) -> Table:
    """Return the table of the settings if they are accepted, else our own."""
    try:
        return read_patterns(overrides)
    except BadSetting:
        return TABLE


def most_flashes_in_a_second(pattern: Rhythm) -> int:
    """Count how often it gets brighter within any second, sampled every 25 ms."""
    shown = [glow_at(pattern, at).brightness > 0.5 for at in range(0, 4000, 25)]
    rises = [at for at, (before, after) in enumerate(itertools.pairwise(shown)) if after and not before]
    return max((sum(start <= rise < start + 40 for rise in rises) for start in rises), default=0)


@pytest.mark.parametrize("meaning", TABLE)
def test_our_own_table_is_no_faster(meaning: Meaning) -> None:
    assert most_flashes_in_a_second(TABLE[meaning]) <= 2


@given(OVERRIDES)
def test_nothing_is_faster_than_two_flashes_a_second(overrides: dict[str, object]) -> None:
    for pattern in set(accepted(overrides).values()) - set(TABLE.values()):
        assert most_flashes_in_a_second(pattern) <= 2
        assert most_flashes_in_a_second(plain(pattern)) <= 2


@given(OVERRIDES)
def test_a_trouble_keeps_a_rhythm_that_nothing_else_has(overrides: dict[str, object]) -> None:
    rhythms = {meaning: rhythm_of(pattern) for meaning, pattern in accepted(overrides).items()}

    for trouble, other in TOLD_APART:
        assert rhythms[trouble] != rhythms[other]


@given(OVERRIDES | ANYTHING)
def test_settings_are_accepted_or_refused_and_never_crash(overrides: dict[str, object]) -> None:
    assert accepted(overrides).keys() == TABLE.keys()


def plain(pattern: Rhythm) -> Rhythm:
    """Return the pattern on a light that is only on or off."""
    shown = without_fades(pattern)
    assert isinstance(shown, Rhythm)
    return shown
