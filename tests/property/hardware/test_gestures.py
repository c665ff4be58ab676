from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.button import EDGES, SAMPLED, Gesture, at_power_up, next_update_at, update

BOUNCE_MS = 20
PERIOD_MS = 50
END_MS = 200

Edges = list[tuple[int, bool]]


@dataclass(frozen=True)
class Case:
    """What the contacts did, in ms, and what it means."""

    edges: Edges
    meaning: list[Gesture]


def meaning_of(length_ms: int, shortest_tap_ms: int) -> list[Gesture]:
    told = [Gesture.HELD_5S, Gesture.HELD_10S, Gesture.STUCK]
    if length_ms > 30_000:
        return [*told, Gesture.FREED]
    if length_ms > 10_000:
        return [*told[:2], Gesture.HOLD_10S]
    if length_ms > 5_000:
        return [*told[:1], Gesture.HOLD_5S]
    return [Gesture.TAP] if shortest_tap_ms <= length_ms <= 1_500 else []


def chatter(at_ms: int, level: bool, bounces: list[int]) -> Edges:
    """A change of level whose contacts bounce, at any moments within 20 ms, in any order."""
    moments = sorted(at_ms + bounce for bounce in bounces)
    moments = moments[: len(moments) // 2 * 2]
    return [
        (at_ms, level),
        *(
            (moment, place % 2 == 1) if level else (moment, place % 2 == 0)
            for place, moment in enumerate(moments)
        ),
    ]


@st.composite
def presses(
    draw: st.DrawFn, lengths: st.SearchStrategy[int], shortest_tap_ms: int, least_gap_ms: int
) -> Case:
    bounces = st.lists(st.integers(1, BOUNCE_MS), max_size=8)
    now_ms, edges, meaning = 0, [], []
    for length_ms in draw(st.lists(lengths, min_size=1, max_size=4)):
        now_ms += draw(st.integers(least_gap_ms, 3 * least_gap_ms))
        edges += chatter(now_ms, level=True, bounces=draw(bounces))
        now_ms += length_ms
        edges += chatter(now_ms, level=False, bounces=draw(bounces))
        meaning += meaning_of(length_ms, shortest_tap_ms)
    return Case(edges, meaning)


def between(*ranges: tuple[int, int]) -> st.SearchStrategy[int]:
    return st.one_of(*(st.integers(least, most) | st.sampled_from([least, most]) for least, most in ranges))


# Every range ends where samples still tell: one period and one bounce beside each threshold.
EXACT = between((21, 48), (52, 1_499), (1_501, 4_999), (5_001, 9_999), (10_001, 29_999), (30_001, 40_000))
COARSE = between((120, 1_500), (1_640, 4_920), (5_070, 9_920), (10_070, 29_920), (30_070, 40_000))


def read_edges(edges: Edges, extra_asks: list[int]) -> list[Gesture]:
    told: list[Gesture] = []
    state = at_power_up(level=False, at=0.0)
    todo = sorted(
        [*((at, level) for at, level in edges), *((at, None) for at in extra_asks)],
        key=lambda event: event[0],
    )
    for at_ms, level in [*todo, (edges[-1][0] + END_MS, None)]:
        while (due := next_update_at(state)) is not None and due < at_ms / 1000:
            state, gestures = update(state, state.raw, due, EDGES)
            told += gestures
        state, gestures = update(state, state.raw if level is None else level, at_ms / 1000, EDGES)
        told += gestures
    return told


def read_samples(edges: Edges, phase_ms: int, lateness: list[int]) -> list[Gesture]:
    told: list[Gesture] = []
    state = at_power_up(level=False, at=0.0)
    now_ms, sample, left, level = phase_ms, 0, list(edges), False
    while now_ms <= edges[-1][0] + 4 * PERIOD_MS:
        while left and left[0][0] <= now_ms:
            level = left.pop(0)[1]
        state, gestures = update(state, level, now_ms / 1000, SAMPLED)
        told += gestures
        now_ms += PERIOD_MS + (lateness[sample % len(lateness)] if lateness else 0)
        sample += 1
    return told


@given(presses(EXACT, 50, 60), st.lists(st.integers(0, 50_000), max_size=10))
def test_every_press_read_by_its_edges_means_what_its_length_says(case: Case, extra_asks: list[int]) -> None:
    assert read_edges(case.edges, extra_asks) == case.meaning


@settings(max_examples=50)  # each is minutes of samples
@given(presses(COARSE, 120, 200), st.integers(0, PERIOD_MS - 1))
def test_every_press_read_by_samples_means_what_its_length_says(case: Case, phase_ms: int) -> None:
    assert read_samples(case.edges, phase_ms, []) == case.meaning


def test_a_tap_of_1500_ms_whose_last_sample_falls_into_the_bounce_is_a_tap() -> None:
    edges = [(100, True), (1_600, False), (1_600, True), (1_601, False)]

    assert read_samples(edges, 0, []) == [Gesture.TAP]


@settings(max_examples=40)  # each is minutes of samples
@given(
    presses(between((200, 1_380), (1_800, 4_800), (5_300, 9_800), (10_300, 29_800)), 200, 300),
    st.integers(0, 49),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_samples_that_come_late_still_tell_gestures_apart(
    case: Case, phase_ms: int, lateness: list[int]
) -> None:
    assert read_samples(case.edges, phase_ms, lateness) == case.meaning


@given(st.lists(st.tuples(st.floats(0, 60), st.booleans()), max_size=40), st.booleans())
def test_any_levels_at_any_moments_tell_each_threshold_once_and_in_order(
    readings: list[tuple[float, bool]], first: bool
) -> None:
    order = [Gesture.HELD_5S, Gesture.HELD_10S, Gesture.STUCK]
    ends = {Gesture.HOLD_5S: 1, Gesture.HOLD_10S: 2, Gesture.FREED: 3}
    state, reached = at_power_up(first, 0.0), 0
    for at, level in readings:
        state, gestures = update(state, level, at)
        for gesture in gestures:
            if gesture in order:
                assert state.is_ignored or order.index(gesture) == reached
                reached = order.index(gesture) + 1
            elif gesture in ends:
                assert ends[gesture] == reached
                reached = 0
            else:
                assert reached == 0
