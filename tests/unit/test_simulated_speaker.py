"""The simulated speaker: what one sees of its light, hears of its voice, and reads of its button."""

from threading import Thread

import pytest

from device_auth.assembly.simulated_speaker import (
    HINT,
    LONGEST_FRAME,
    MEANINGS,
    MEANINGS_IN_SERVICE,
    NOTE_SECONDS,
    SHORTEST_FRAME,
    DrawnSpeaker,
    PlainLight,
    colour_number,
    plain_voice,
)
from device_auth.prompts.terminal_layout import TerminalStyle
from hardware.button import Gesture
from hardware.led import CYAN, OUT, Blink, Breathe, Colour, Glow, Off, Solid
from hardware.simulated import KEY_RELEASE_S, SimulatedClock
from hardware.voice import Utterance
from tests.values import moment
from tests.waiting import LONG

PAPER = TerminalStyle(80, 24, "utf-8", colour=True)
PLAIN = TerminalStyle(80, 24, "ascii", colour=False)


class Bench:
    """A drawn speaker under a clock that stands still, its button listened to."""

    def __init__(self, *, pace: float = 0) -> None:
        self.clock = SimulatedClock()
        self.told: list[Gesture] = []
        self.drawn = DrawnSpeaker(self.clock, pace=pace)
        self.drawn.has_keys = True
        self.drawn.button.listen(self.hear, lambda _: None)

    def hear(self, gesture: Gesture) -> None:
        self.told.append(gesture)
        self.drawn.explain(gesture)

    def hold_key(self, seconds: float) -> None:
        """Keep the space bar down: a terminal repeats it."""
        for _ in range(round(seconds * 10)):
            self.drawn.press_by_keys(b" ")
            self.clock.pass_time(0.1)

    def lines(self, style: TerminalStyle = PLAIN) -> list[str]:
        return self.drawn.lines(style)


def say(*texts: str) -> list[Utterance]:
    return [Utterance(text, "en", 0) for text in texts]


# -- the light --------------------------------------------------------------------------------------------


def test_the_lamp_has_the_colour_of_the_moment() -> None:
    bench = Bench()
    bench.drawn.light.show(Blink(500, 500, CYAN))

    lit = bench.lines(PAPER)[0]
    bench.clock.pass_time(0.6)
    dark = bench.lines(PAPER)[0]

    assert lit.startswith(" light (\x1b[48;5;51m   \x1b[0m) cyan, blinking ")
    assert dark.startswith(" light (\x1b[48;5;236m   \x1b[0m) cyan, blinking ")


def test_without_colours_the_lamp_shows_how_bright_it_is() -> None:
    bench = Bench()
    bench.drawn.light.show(Breathe(1000, 1000))
    seen = []
    for _ in range(8):
        seen.append(bench.lines()[0][7:12])
        bench.clock.pass_time(0.25)

    assert seen == ["(   )", "(...)", "(ooo)", "(OOO)", "(@@@)", "(OOO)", "(ooo)", "(...)"]


@pytest.mark.parametrize(
    ("glow", "number"),
    [
        (OUT, 236),
        (Glow(1, Colour(255, 0, 0)), 196),
        (Glow(1, CYAN), 51),
        (Glow(0.5, Colour(255, 255, 255)), 16 + 36 * 2 + 6 * 2 + 2),
        (Glow(0.05, Colour(255, 100, 0)), 236),
    ],
)
def test_a_glow_becomes_the_nearest_of_the_terminals_colours(glow: Glow, number: int) -> None:
    assert colour_number(glow) == number


@pytest.mark.parametrize(
    ("pattern", "wait"),
    [
        (Off(), LONGEST_FRAME),
        (Solid(), LONGEST_FRAME),
        (Breathe(1000, 1000), SHORTEST_FRAME),
        (Blink(100, 2900), SHORTEST_FRAME),
        (Blink(200, 300), 0.2),
    ],
)
def test_the_next_picture_comes_when_the_light_changes_but_within_reason(
    pattern: Off | Solid | Breathe | Blink, wait: float
) -> None:
    bench = Bench()
    bench.drawn.light.show(pattern)

    assert bench.drawn.changes_at(moment(50)) == moment(50 + wait)


# -- the voice --------------------------------------------------------------------------------------------


def test_what_is_said_stands_beside_the_voice_and_is_closed_when_it_has_been_said() -> None:
    bench = Bench(pace=1)
    silent = bench.lines()[1]
    voice = Thread(target=bench.drawn.voice.say, args=(say("One", "two"),))
    voice.start()
    while "One" not in (speaking := bench.lines()[1]):
        pass
    bench.drawn.voice.stop()
    voice.join(LONG)

    assert (silent, speaking) == (" voice ", ' voice "One')
    assert bench.lines()[1] == ' voice "One"'


def test_a_new_saying_takes_the_place_of_the_one_before() -> None:
    bench = Bench()
    bench.drawn.voice.say(say("a"))
    bench.drawn.voice.say(say("b", "c"))

    assert bench.lines()[1] == ' voice "b c"'


@pytest.mark.parametrize("text", ["word " * 40, "Übermütige Würfel " * 20])
@pytest.mark.parametrize("columns", [40, 80])
def test_of_a_long_saying_the_end_is_shown(text: str, columns: int) -> None:
    drawn = DrawnSpeaker(SimulatedClock(), pace=0)
    drawn.voice.say(say(text.strip()))

    line = drawn.lines(TerminalStyle(columns, 24, "utf-8", colour=False))[1]

    assert len(line) <= columns - 1
    assert line.startswith(" voice ...")
    assert line.removesuffix('"').endswith(text.strip()[-10:])


def test_what_the_terminal_cannot_carry_is_not_sent() -> None:
    bench = Bench()
    bench.drawn.voice.say(say("\x1b[2JÜ"))

    assert bench.lines()[1] == ' voice " [2J\\xdc"'


# -- the button -------------------------------------------------------------------------------------------


def test_the_space_bar_is_said_to_be_the_button() -> None:
    assert Bench().lines()[0].endswith(HINT)


def test_a_tap_is_noticed_for_a_while() -> None:
    bench = Bench()
    bench.drawn.press_by_keys(b" ")
    bench.clock.pass_time(KEY_RELEASE_S + 0.1)
    noticed = bench.lines()[0]
    bench.clock.pass_time(NOTE_SECONDS)

    assert bench.told == [Gesture.TAP]
    assert noticed.endswith(MEANINGS[Gesture.TAP])
    assert bench.lines()[0].endswith(HINT)


def test_a_hold_shows_its_length_and_what_letting_go_would_do() -> None:
    bench = Bench()
    ends = []
    for _ in range(3):
        bench.hold_key(4)
        ends.append(bench.lines()[0].split("  ")[-1].strip())
    bench.clock.pass_time(KEY_RELEASE_S + 0.1)

    assert ends == ["held 4 s", "held 8 s: let go to unlink", "held 12 s: let go to reset"]
    assert bench.told == [Gesture.HELD_5S, Gesture.HELD_10S, Gesture.HOLD_10S]
    assert bench.lines()[0].endswith(MEANINGS[Gesture.HOLD_10S])


def test_a_hold_by_one_key_shows_its_length_too() -> None:
    bench = Bench()
    bench.drawn.press_by_keys(b"0")
    ends = []
    for _ in range(3):
        bench.clock.pass_time(3)
        ends.append(bench.lines()[0].split("  ")[-1].strip())

    assert ends == ["held 3 s", "held 6 s: let go to unlink", "held 9 s: let go to unlink"]


def test_a_new_press_forgets_what_the_one_before_meant() -> None:
    bench = Bench()
    bench.drawn.press_by_keys(b" ")
    bench.clock.pass_time(1)
    bench.hold_key(2)

    assert bench.lines()[0].endswith("held 2 s")


def test_any_other_key_is_no_press() -> None:
    bench = Bench()
    bench.drawn.press_by_keys(b"q4?\x1b[A")
    bench.clock.pass_time(5)

    assert bench.told == []


@pytest.mark.parametrize(
    ("keys", "note", "gestures"),
    [
        (b"\n", "pressed", [Gesture.TAP]),
        (b"\r", "pressed", [Gesture.TAP]),
        (b"5", "held for 5 s", [Gesture.HELD_5S, Gesture.HOLD_5S]),
        (b"0", "held for 10 s", [Gesture.HELD_5S, Gesture.HELD_10S, Gesture.HOLD_10S]),
        (b"5 ", "a tap follows", [Gesture.HELD_5S, Gesture.HOLD_5S, Gesture.TAP]),
    ],
)
def test_keys_press_and_hold_and_are_noticed_at_once(keys: bytes, note: str, gestures: list[Gesture]) -> None:
    bench = Bench()
    bench.drawn.press_by_keys(keys)
    noticed = bench.lines()[0]
    bench.clock.pass_time(12)

    assert noticed.endswith(note)
    assert bench.told == gestures


@pytest.mark.parametrize("gesture", Gesture)
def test_every_gesture_is_explained(gesture: Gesture) -> None:
    assert MEANINGS[gesture]
    assert MEANINGS_IN_SERVICE[gesture]


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
@pytest.mark.parametrize("gesture", Gesture)
def test_no_line_is_wider_than_the_terminal(gesture: Gesture, columns: int) -> None:
    bench = Bench()
    bench.drawn.light.show(Blink(250, 250, CYAN, 5, 3000))
    bench.drawn.explain(gesture)
    bench.drawn.voice.say(say("something long enough to fill the line of any terminal that is not very wide"))

    assert all(len(line) < columns for line in bench.lines(TerminalStyle(columns, 24, "ascii", colour=False)))


# -- in plain lines ---------------------------------------------------------------------------------------


def test_a_plain_light_tells_each_change_once() -> None:
    told: list[str] = []
    light = PlainLight(told.append)
    for pattern in (Off(), Solid(CYAN), Solid(CYAN), Breathe(1000, 1000)):
        light.show(pattern)
    light.close()

    assert told == ["light: cyan, steady", "light: white, breathing", "light: dark"]


def test_a_plain_voice_tells_each_speech_as_one_line() -> None:
    told: list[str] = []

    assert plain_voice(told.append).say(say("Enter this code.", "F", "U"))
    assert told == ['voice: "Enter this code. F U"']
