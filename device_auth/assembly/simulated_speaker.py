"""A simulated speaker: its light, voice and button, drawn on a terminal or written in lines.

The parts are the simulated ones of ``hardware``; this file shows them.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.prompts.light import describe
from device_auth.prompts.terminal_layout import TerminalStyle, columns_of
from hardware.button import Gesture
from hardware.clock import AlarmClock
from hardware.led import Glow, Off, Pattern, changes_at
from hardware.simulated import KEY_RELEASE_S, TAP_S, SimulatedButton, SimulatedLight, SimulatedVoice
from hardware.voice import Utterance, Voice

SECONDS_A_CHARACTER: Final = 0.05
"""A little faster than a voice speaks."""

LONGEST_FRAME: Final = Seconds(0.25)
"""The drawing is redrawn at least so often, because the voice continues and a key is released."""

SHORTEST_FRAME: Final = Seconds(0.1)
"""Ten frames a second are smooth enough, also over a slow connection."""

NOTE_SECONDS: Final = 4.0
"""How long the meaning of a gesture is shown."""

SPACE: Final = ord(" ")
ENTER: Final = frozenset(b"\r\n")
HOLDS: Final = {ord("5"): 5.2, ord("0"): 10.2}
"""Keys, and seconds of the holds that they stand for."""
HELP: Final = b"?"

HINT: Final = "space bar: its button"
HINT_IN_SERVICE: Final = "? lists the keys"

KEYS: Final = "Its button: space or enter taps, 5 and 0 hold it for 5 and 10 s. Ctrl-C ends."

MEANINGS: Final = {
    Gesture.TAP: "a tap: the code is told again",
    Gesture.HELD_5S: "let go to unlink",
    Gesture.HELD_10S: "let go to reset",
    Gesture.HOLD_5S: "in service it would unlink now, after a tap",
    Gesture.HOLD_10S: "in service it would reset now, after a tap",
    Gesture.STUCK: "taken to be stuck",
    Gesture.FREED: "no longer stuck",
}
"""The text for each gesture; a test checks that none is missing."""

MEANINGS_IN_SERVICE: Final = MEANINGS | {
    Gesture.TAP: "a tap",
    Gesture.HOLD_5S: "a tap now unlinks",
    Gesture.HOLD_10S: "a tap now resets",
}

HELD_FROM: Final = 1.0
"""Seconds from which a press is shown with its length."""

_LEAST_NAMED: Final = len(" voice ")
_LAMP_COLUMNS: Final = 5
_BRIGHTNESS: Final = " .oO@"
_CUBE: Final = (0, 95, 135, 175, 215, 255)
"""The levels of each channel in the 216 colours that terminals of 256 colours share. Source: xterm, 256colres."""

_UNLIT: Final = 236
"""The grey of a lamp that is off."""


LINES: Final = "Its button: write tap, or hold and a number of seconds, in a line of standard input."
UNREACHED: Final = (
    "Its button cannot be pressed: standard input is empty. In a terminal keys press it, from a pipe lines."
)


class ObservedVoice:
    """A voice with callbacks.

    Args:
        voice: speaks.
        begin: called with the words before they are spoken.
        end: called when they have been spoken, or interrupted.
    """

    def __init__(
        self, voice: Voice, begin: Callable[[Sequence[Utterance]], None], end: Callable[[], None]
    ) -> None:
        self._voice = voice
        self._begin = begin
        self._end = end

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Speak these and interrupt the words before; return False if stopped or interrupted."""
        self._begin(utterances)
        is_whole = self._voice.say(utterances)
        if is_whole:
            self._end()
        return is_whole

    def stop(self) -> None:
        """Stop at once."""
        self._voice.stop()
        self._end()

    def close(self) -> None:
        """Stop for good."""
        self._voice.close()


class DrawnSpeaker:
    """A small speaker on a terminal, in two lines as ``prompts.terminal.Sidebar`` has them.

    Args:
        clock: the parts' own; the caller closes it.
        pace: seconds of the voice for a character; 0 for no time.
        in_service: a service answers the button, also to a hold.

    Attributes:
        has_keys: the keyboard is read, so that its keys may be promised.
    """

    rows: Final = 2

    def __init__(
        self, clock: AlarmClock, *, pace: float = SECONDS_A_CHARACTER, in_service: bool = False
    ) -> None:
        self._clock = clock
        self.has_keys = False
        self._hint = HINT_IN_SERVICE if in_service else HINT
        self._meanings = MEANINGS_IN_SERVICE if in_service else MEANINGS
        self._lock = Lock()
        self._spoken = ""
        self._is_speaking = False
        self._note = ""
        self._note_until = self._pressed_since = self._pressed_until = 0.0
        self.light = SimulatedLight(clock)
        self.button = SimulatedButton(clock)
        self.voice: Voice = ObservedVoice(
            SimulatedVoice(seconds_a_character=pace, listen=self._hear), self._begin, self._end
        )

    def press_by_keys(self, typed: bytes) -> None:
        """Press the button as ``KEYS`` says."""
        for key in typed:
            if key == SPACE:
                self._press_on_space()
            elif key in ENTER:
                self._note_for_a_while("pressed")
                self.button.hold(TAP_S)
            elif key in HOLDS:
                self._note_for_a_while(f"held for {HOLDS[key]:.0f} s")
                since = self.button.hold(HOLDS[key])
                with self._lock:
                    self._pressed_since, self._pressed_until = since, since + HOLDS[key]

    def _press_on_space(self) -> None:
        if not self.button.press_by_key():
            self._note_for_a_while("a tap follows")
            return
        now = self._clock.now()
        with self._lock:
            if now >= self._pressed_until:
                self._pressed_since, self._note = now, ""
            self._pressed_until = now + KEY_RELEASE_S

    def explain(self, gesture: Gesture) -> None:
        """Show for a while what a gesture means."""
        self._note_for_a_while(self._meanings[gesture])

    def _note_for_a_while(self, note: str) -> None:
        with self._lock:
            self._note = note
            self._note_until = self._clock.now() + NOTE_SECONDS

    def lines(self, style: TerminalStyle) -> list[str]:
        """Return the drawing at this moment."""
        now = self._clock.now()
        with self._lock:
            spoken, is_speaking, note = self._spoken, self._is_speaking, self._button_note(now)
        width = style.columns - 1
        lamp = _draw_lamp(self.light.glow_at(now), style)
        left = width - _LEAST_NAMED - _LAMP_COLUMNS
        text = _at_both_ends(f" {describe(self.light.shown[-1].pattern)}", note, left)
        return [f" light {lamp}{text}", f" voice {_quoted(spoken, is_speaking, style, width - _LEAST_NAMED)}"]

    def changes_at(self, now: Monotonic) -> Monotonic:
        """Return the moment of the next frame."""
        shown = self.light.shown[-1]
        elapsed_ms = round((self._clock.now() - shown.since) * 1000)
        change_ms = changes_at(shown.pattern, elapsed_ms)
        until = LONGEST_FRAME if change_ms is None else Seconds((change_ms - elapsed_ms) / 1000)
        return later(now, max(SHORTEST_FRAME, min(until, LONGEST_FRAME)))

    def _button_note(self, now: float) -> str:
        held = now - self._pressed_since
        if now < self._pressed_until and held >= HELD_FROM:
            meaning = f": {self._note}" if self._note in self._meanings.values() else ""
            return f"held {held:.0f} s{meaning}"
        if self._note and now < self._note_until:
            return self._note
        return self._hint if self.has_keys else ""

    def _begin(self, _utterances: Sequence[Utterance]) -> None:
        with self._lock:
            self._spoken, self._is_speaking = "", True

    def _hear(self, utterance: Utterance) -> None:
        with self._lock:
            self._spoken = f"{self._spoken} {utterance.text}".strip()

    def _end(self) -> None:
        with self._lock:
            self._is_speaking = False


def _at_both_ends(left: str, right: str, width: int) -> str:
    """Return a line with a text at each end; if the room is too small, the left one is cut."""
    room = max(0, width - len(right) - 1)
    return f"{left[:room]:<{room}} {right}"[:width]


def _draw_lamp(glow: Glow, style: TerminalStyle) -> str:
    if not style.colour:
        return f"({_BRIGHTNESS[round(glow.brightness * (len(_BRIGHTNESS) - 1))] * 3})"
    return f"(\x1b[48;5;{colour_number(glow)}m   \x1b[0m)"


def colour_number(glow: Glow) -> int:
    """Return the nearest of a terminal's 256 colours."""
    channels = (glow.colour.red, glow.colour.green, glow.colour.blue)
    red, green, blue = (_nearest_level(channel * glow.brightness) for channel in channels)
    return 16 + 36 * red + 6 * green + blue if red or green or blue else _UNLIT


def _nearest_level(channel: float) -> int:
    return min(range(len(_CUBE)), key=lambda level: abs(_CUBE[level] - channel))


def _quoted(spoken: str, is_speaking: bool, style: TerminalStyle, width: int) -> str:
    """Return the last spoken words, as many as there is room for."""
    if not spoken:
        return ""
    text, start, end = style.clean(spoken), '"', "" if is_speaking else '"'
    if columns_of(text) > width - len('""'):
        start, room = "...", max(1, width - len('..."'))
        text = text[-room:]
        while columns_of(text) > room:
            text = text[1:]
    return f"{start}{text}{end}"


class PlainLight:
    """A light that is written in words each time it changes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._pattern: Pattern = Off()

    def show(self, pattern: Pattern) -> None:
        """Write a new pattern."""
        if pattern != self._pattern:
            self._pattern = pattern
            self._write(f"light: {describe(pattern)}")

    def close(self) -> None:
        """Go dark."""
        self.show(Off())


def plain_voice(write: Callable[[str], None]) -> Voice:
    """Return a voice whose words are written as one line, at once."""

    def begin(utterances: Sequence[Utterance]) -> None:
        write(f'voice: "{" ".join(utterance.text for utterance in utterances)}"')

    return ObservedVoice(SimulatedVoice(), begin, lambda: None)
