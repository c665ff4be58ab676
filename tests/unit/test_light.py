"""The light: which pattern tells what, what comes first, and what a setting may put in its place."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest

from device_auth.core.models import View
from device_auth.core.states import IDENTIFYING, OneTimeNotice, StateWord, Trouble
from device_auth.prompts.light import (
    TABLE,
    TRY_AGAIN_AFTER,
    LightCue,
    LightPrompt,
    Meaning,
    Table,
    describe,
    meaning_of,
    pattern_for,
    read_patterns,
    rhythm_of,
)
from device_auth.prompts.view_changes import JUST_LINKED_FOR
from hardware.button import Gesture
from hardware.errors import BadSetting, HardwareError, PartBusy, PartMissing
from hardware.led import CYAN, ORANGE, Blink, Breathe, Colour, Off, Once, Pattern, Solid, short_blinks
from tests.code_views import EXPIRED, LINKED, PROVING, REQUESTING, SAVING, waiting
from tests.values import moment

UNLINKED = View(StateWord.UNLINKED, Trouble.NONE)
ALIKE: list[set[Meaning]] = [
    {StateWord.UNLINKED, StateWord.LINKED},
    {StateWord.REQUESTING, StateWord.SAVING, StateWord.PROVING, LightCue.HELD_10S},
    {Trouble.NO_NETWORK, Trouble.CAPTIVE_PORTAL, Trouble.CLOCK_NOT_SET, Trouble.PROVIDER_UNAVAILABLE},
    {Trouble.DENIED, Trouble.EXPIRED},
    {Trouble.REVOKED, Trouble.COPIED},
    {Trouble.MISCONFIGURED, Trouble.STORAGE, Trouble.HARDWARE},
    {LightCue.JUST_LINKED, LightCue.HELD_5S},
]
"""Those that the rhythm does not tell apart: whoever sees them does the same, or is just pressing."""


class Lamp:
    """A light that notes what it is asked for, and fails as it is told."""

    def __init__(self) -> None:
        self.shown: list[Pattern] = []
        self.failure: HardwareError | None = None

    def show(self, pattern: Pattern) -> None:
        if self.failure is not None:
            raise self.failure
        self.shown.append(pattern)

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def missing(table: Mapping[Meaning, object]) -> set[Meaning]:
    """Name what has no pattern."""
    return {*StateWord, *Trouble, *LightCue} - {Trouble.NONE} - set(table)


# -- the table --------------------------------------------------------------------------------------------


def test_every_state_and_every_trouble_has_a_pattern() -> None:
    assert missing(TABLE) == set()


@pytest.mark.parametrize("meaning", TABLE)
def test_one_removed_pattern_is_found_missing(meaning: Meaning) -> None:
    assert missing({other: pattern for other, pattern in TABLE.items() if other != meaning}) == {meaning}


def test_no_two_meanings_share_a_rhythm_but_those_meant_to() -> None:
    alike = {
        frozenset((one, other))
        for one, other in combinations(TABLE, 2)
        if rhythm_of(TABLE[one]) == rhythm_of(TABLE[other])
    }

    assert alike == {frozenset(pair) for group in ALIKE for pair in combinations(group, 2)}


def test_what_shares_a_rhythm_among_states_and_troubles_shares_its_colour() -> None:
    told: list[Meaning] = [meaning for meaning in TABLE if not isinstance(meaning, LightCue)]
    for one, other in combinations(told, 2):
        assert (rhythm_of(TABLE[one]) == rhythm_of(TABLE[other])) == (TABLE[one] == TABLE[other])


def test_a_well_speaker_is_dark() -> None:
    assert pattern_for(LINKED, moment(0)) == pattern_for(UNLINKED, moment(0)) == Off()


# -- what comes first -------------------------------------------------------------------------------------


def test_a_hold_comes_before_a_new_link_before_which_speaker_it_is_before_a_code_before_a_trouble_before_the_state() -> (
    None
):
    view = waiting(trouble=Trouble.NO_NETWORK)

    assert (
        meaning_of(view, moment(0), held=Gesture.HELD_5S, is_just_linked=True, is_identifying=True),
        meaning_of(view, moment(0), is_just_linked=True, is_identifying=True),
        meaning_of(view, moment(0), is_identifying=True),
        meaning_of(view, moment(0)),
        meaning_of(View(StateWord.REQUESTING, Trouble.NO_NETWORK), moment(0)),
        meaning_of(REQUESTING, moment(0)),
    ) == (
        LightCue.HELD_5S,
        LightCue.JUST_LINKED,
        LightCue.IDENTIFY,
        StateWord.WAITING,
        Trouble.NO_NETWORK,
        StateWord.REQUESTING,
    )


@pytest.mark.parametrize(
    ("now", "expected"), [(539.9, Breathe(1000, 1000, ORANGE)), (540, Blink(500, 500, ORANGE))]
)
def test_the_last_minute_of_a_code_is_more_urgent(now: float, expected: Pattern) -> None:
    assert pattern_for(waiting(), moment(now)) == expected


@pytest.mark.parametrize("gesture", [gesture for gesture in Gesture if not gesture.startswith("held")])
def test_only_the_levels_of_a_hold_are_shown_as_one(gesture: Gesture) -> None:
    assert meaning_of(REQUESTING, moment(0), held=gesture) is StateWord.REQUESTING


# -- the prompt -------------------------------------------------------------------------------------------


def test_a_view_is_shown_anew_when_the_last_minute_begins() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)

    assert prompt.show(waiting(), moment(0)) == moment(540)
    assert prompt.show(waiting(), moment(540)) is None
    assert lamp.shown == [TABLE[StateWord.WAITING], TABLE[LightCue.LAST_MINUTE]]


@pytest.mark.parametrize("before", [SAVING, PROVING])
def test_a_new_link_is_lit_for_five_seconds_and_then_dark(before: View) -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(before, moment(10))

    until = prompt.show(LINKED, moment(11))

    assert until == 11 + JUST_LINKED_FOR == 16
    assert prompt.show(LINKED, moment(16)) is None
    assert lamp.shown[1:] == [Solid(CYAN), Off()]


def test_a_link_that_was_there_before_is_dark_at_once() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(View(StateWord.STARTING, Trouble.NONE), moment(0))

    assert prompt.show(LINKED, moment(1)) is None
    assert lamp.shown[-1] == Off()


def test_a_link_kept_after_another_was_refused_is_no_new_one() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(PROVING, moment(0))
    prompt.show(View(StateWord.LINKED, Trouble.EXPIRED, refusal=EXPIRED), moment(1))

    assert lamp.shown[-1] == TABLE[Trouble.EXPIRED]


def test_a_new_request_ends_the_light_of_a_new_link() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    for view in (PROVING, LINKED, REQUESTING, LINKED):
        prompt.show(view, moment(1))

    assert lamp.shown[-2:] == [TABLE[StateWord.REQUESTING], Off()]


@pytest.mark.parametrize("notice", sorted(IDENTIFYING))
def test_a_light_shows_for_five_seconds_which_speaker_it_is_each_time_it_is_asked(
    notice: OneTimeNotice,
) -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(UNLINKED, moment(0))

    for number in (1, 2):
        asked = replace(UNLINKED, notice=notice, sequence=number)
        assert prompt.show(asked, moment(10 * number)) == moment(10 * number + 5)
        assert prompt.show(asked, moment(10 * number + 5)) is None

    assert lamp.shown[1:] == [TABLE[LightCue.IDENTIFY], Off()] * 2


def test_a_hold_is_shown_until_it_is_let_go() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(REQUESTING, moment(0))

    for held in (Gesture.HELD_5S, Gesture.HELD_10S, None):
        prompt.hold(held, moment(1))

    assert lamp.shown[1:] == [TABLE[LightCue.HELD_5S], TABLE[LightCue.HELD_10S], TABLE[StateWord.REQUESTING]]


def test_a_hold_before_the_first_view_is_shown_too() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.hold(Gesture.HELD_5S, moment(0))
    prompt.hold(None, moment(1))

    assert lamp.shown == [TABLE[LightCue.HELD_5S], Off()]


def test_a_busy_light_is_tried_again_and_a_missing_one_is_reported() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    lamp.failure = PartBusy("somebody has it")

    assert prompt.show(REQUESTING, moment(0)) == moment(TRY_AGAIN_AFTER)

    lamp.failure = PartMissing("gone")
    with pytest.raises(PartMissing):
        prompt.show(REQUESTING, moment(5))


def test_a_hold_never_fails_the_button() -> None:
    lamp = Lamp()
    lamp.failure = PartMissing("gone")

    LightPrompt(lamp).hold(Gesture.HELD_5S, moment(0))

    assert lamp.shown == []


def test_a_closed_prompt_leaves_the_light_dark() -> None:
    lamp = Lamp()
    prompt = LightPrompt(lamp)
    prompt.show(REQUESTING, moment(0))
    prompt.close()

    assert lamp.shown[-1] == Off()


# -- another table ----------------------------------------------------------------------------------------


def read(**patterns: object) -> Table:
    return read_patterns({name.replace("_", "-"): pattern for name, pattern in patterns.items()})


def test_no_settings_leave_the_table_as_it_is() -> None:
    assert read() == TABLE


def test_a_setting_takes_the_place_of_one_pattern() -> None:
    table = read(
        linked={"kind": "solid", "colour": "green"},
        waiting={"kind": "blink", "on_ms": 800, "off_ms": 800, "colour": "#0A0b0C"},
        starting={"kind": "breathe", "brighter_ms": 2000, "darker_ms": 1500},
        expired={"kind": "blink", "on_ms": 250, "off_ms": 250, "count": 3, "pause_ms": 4000, "colour": "red"},
        last_minute="off",
        just_linked={"kind": "off"},
    )

    changed = {meaning: pattern for meaning, pattern in table.items() if pattern != TABLE[meaning]}
    assert changed == {
        StateWord.LINKED: Solid(Colour(0, 255, 0)),
        StateWord.WAITING: Blink(800, 800, Colour(10, 11, 12)),
        StateWord.STARTING: Breathe(2000, 1500),
        Trouble.EXPIRED: short_blinks(3, 4000, Colour(255, 0, 0)),
        LightCue.LAST_MINUTE: Off(),
        LightCue.JUST_LINKED: Off(),
    }


def test_the_prompt_shows_the_table_it_is_given() -> None:
    lamp = Lamp()
    LightPrompt(lamp, table=read(linked={"kind": "solid"})).show(LINKED, moment(0))

    assert lamp.shown == [Solid()]


@pytest.mark.parametrize(
    ("patterns", "message", "hint"),
    [
        ({"waitng": "off"}, "patterns has no setting 'waitng'", "Did you mean 'waiting'?"),
        ({"none": "off"}, "patterns has no setting 'none'", "Known: "),
        ({"linked": "on"}, "the pattern of linked ('on') must be a table", 'Write it as "off"'),
        (
            {"linked": {"kind": "blnk"}},
            "the pattern of linked: kind ('blnk') must be",
            "Did you mean 'blink'?",
        ),
        (
            {"linked": {"kind": "solid", "on_ms": 5}},
            "of kind solid has no setting 'on_ms'",
            "Known: colour, kind.",
        ),
        (
            {"linked": {"kind": "solid", "colour": "cian"}},
            "colour ('cian') is not a known colour",
            "Did you mean 'cyan'?",
        ),
        ({"linked": {"kind": "solid", "colour": "#000000"}}, "is black", "Use another colour"),
        ({"linked": {"kind": "blink", "on_ms": 500}}, "off_ms is missing", "off_ms = 500"),
        (
            {"linked": {"kind": "blink", "on_ms": 200, "off_ms": 200}},
            "of linked: the pattern would flash every 400 ms",
            "Leave 500 ms",
        ),
        ({"denied": "off"}, "denied would have the same rhythm as unlinked", "another colour alone"),
        (
            {"linked": {"kind": "blink", "on_ms": 250, "off_ms": 250, "count": 3, "pause_ms": 2100}},
            "linked would have the same rhythm as denied",
            "another colour alone",
        ),
        (
            {"storage": {"kind": "blink", "on_ms": 500, "off_ms": 500, "count": 3, "pause_ms": 500}},
            "storage would have the same rhythm as last-minute",
            "another colour alone",
        ),
    ],
)
def test_a_pattern_that_would_mislead_is_refused(
    patterns: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(BadSetting) as refused:
        read_patterns(patterns)

    assert message in str(refused.value)
    assert hint in refused.value.hint


# -- in words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (Off(), "dark"),
        (TABLE[StateWord.WAITING], "orange, breathing"),
        (TABLE[StateWord.REQUESTING], "cyan, blinking quickly"),
        (TABLE[LightCue.LAST_MINUTE], "orange, blinking"),
        (TABLE[StateWord.STARTING], "dim white, flashing now and then"),
        (TABLE[Trouble.REVOKED], "yellow, 4 short blinks and a pause"),
        (Once(Solid(Colour(1, 2, 255)), 5000), "#0102ff, steady, once"),
    ],
)
def test_a_pattern_is_described_as_people_see_it(pattern: Pattern, words: str) -> None:
    assert describe(pattern) == words
