"""Quiet hours, the settings of a voice, and whose turn it is to speak."""

from threading import Thread

import pytest

from hardware.board import open_voice
from hardware.errors import BadSetting, PartMissing
from hardware.plans import EspeakPlan, read_voice
from hardware.simulated import SimulatedVoice
from hardware.voice import (
    NoVoice,
    QuietHours,
    SpeakingTurns,
    Utterance,
    parse_quiet_hours,
)
from tests.waiting import LONG

HELLO = (Utterance("hello", "en"),)


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [
        ("22:00-07:00", [22 * 60, 23 * 60 + 59, 0, 6 * 60 + 59], [7 * 60, 12 * 60, 21 * 60 + 59]),
        ("13:00-14:30", [13 * 60, 14 * 60 + 29], [0, 12 * 60 + 59, 14 * 60 + 30]),
        ("00:00-00:01", [0], [1, 1439]),
        ("08:00-08:00", [], [0, 8 * 60, 1439]),
        ("", [], [0, 1439]),
    ],
)
def test_quiet_hours_cover_their_minutes_and_no_other(hours: str, quiet: list[int], loud: list[int]) -> None:
    read = parse_quiet_hours(hours)

    assert all(read.covers(minute) for minute in quiet)
    assert not any(read.covers(minute) for minute in loud)


@pytest.mark.parametrize(
    "hours", ["22-7", "24:00-07:00", "22:60-07:00", "22:00-24:00", "22:00 - 07:00", "٢٢:00-07:00"]
)
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(BadSetting, match="quiet_hours") as refused:
        read_voice({"kind": "off", "quiet_hours": hours})

    assert "22:00-07:00" in refused.value.hint


def test_settings_of_a_voice_are_read() -> None:
    read = read_voice(
        {
            "kind": "espeak",
            "volume": 80,
            "quiet_hours": "22:00-07:00",
            "player": ["aplay", "-D", "hw:1", "-"],
            "speed": 120,
        }
    )

    assert isinstance(read, EspeakPlan)
    assert (read.kind, read.volume, read.speed) == ("espeak", 80, 120)
    assert read.player == ("aplay", "-D", "hw:1", "-")
    assert read.quiet_hours == QuietHours(22 * 60, 7 * 60)


def test_a_voice_that_is_off_keeps_its_other_settings_and_says_nothing() -> None:
    voice = open_voice(read_voice({"kind": "off", "speed": 100, "directory": "/x", "command": ["x"]}))

    assert isinstance(voice, NoVoice)
    assert voice.say(HELLO) is False
    voice.stop()
    voice.close()


def test_the_simulated_voice_is_opened_by_its_kind() -> None:
    voice = open_voice(read_voice({"kind": "simulated"}))

    assert isinstance(voice, SimulatedVoice)
    assert voice.say(HELLO)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(PartMissing, match="no-such-player"):
        open_voice(read_voice({"kind": "recorded", "directory": "/", "player": ["no-such-player"]}))
    with pytest.raises(PartMissing, match="no-such-voice"):
        open_voice(read_voice({"kind": "command", "command": ["no-such-voice"]}))


def test_the_newest_turn_is_the_only_one() -> None:
    turns = SpeakingTurns()
    first = turns.begin()
    second = turns.begin()

    assert (turns.lasts(first), turns.lasts(second)) == (False, True)


def test_no_turn_begins_after_the_close() -> None:
    turns = SpeakingTurns()
    turns.close()

    assert not turns.lasts(turns.begin())


def test_a_pause_lasts_to_its_end_while_the_turn_lasts() -> None:
    turns = SpeakingTurns()

    assert turns.pause(turns.begin(), 0.001)


def test_a_pause_ends_with_its_turn() -> None:
    turns = SpeakingTurns()
    turn = turns.begin()
    lasted: list[bool] = []
    pausing = Thread(target=lambda: lasted.append(turns.pause(turn, 3600)))
    pausing.start()
    turns.end()
    pausing.join(LONG)

    assert lasted == [False]


def test_a_pause_of_a_turn_that_is_over_does_not_begin() -> None:
    turns = SpeakingTurns()
    turn = turns.begin()
    turns.end()

    assert not turns.pause(turn, 3600)
