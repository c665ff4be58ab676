"""A speaker without a speaker: its light, its voice and its button, drawn on a terminal or told in plain lines.

The parts are those that ship as simulated ones; here is only what it takes to see, hear and press them.
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
from hardware.simulated import KEY_RELEASE_S, SimulatedButton, SimulatedLight, SimulatedVoice
from hardware.voice import Utterance, Voice

PACE: Final = 0.05
"""Seconds a character: a little faster than a voice speaks."""

LONGEST_LOOK: Final = Seconds(0.25)
"""After so long the drawing is looked at again whatever the light does: the voice goes on, a key is let go."""

SHORTEST_LOOK: Final = Seconds(0.1)
"""Ten pictures a second are smooth enough, also over a slow connection."""

NOTICE_STAYS: Final = 4.0
"""Seconds."""

SPACE: Final = b" "

HINT: Final = "space bar: its button"

NOTICES: Final = {
    Gesture.TAP: "a tap: the code is told again",
    Gesture.HELD_5S: "let go to unlink",
    Gesture.HELD_10S: "let go to reset",
    Gesture.HOLD_5S: "in service it would unlink now, after a tap",
    Gesture.HOLD_10S: "in service it would reset now, after a tap",
    Gesture.STUCK: "taken to be stuck",
    Gesture.FREED: "no longer stuck",
}
"""What is said of each gesture; complete, which a test enforces."""

HELD_FROM: Final = 1.0
"""Seconds from which a press is shown with its length."""

_LEAST_NAMED: Final = len(" voice ")
_LAMP_COLUMNS: Final = 5
_BRIGHTNESS: Final = " .oO@"
_CUBE: Final = (0, 95, 135, 175, 215, 255)
"""The levels of each channel in the 216 colours that terminals of 256 colours share. Source: xterm, 256colres."""

_UNLIT: Final = 236
"""The grey of a lamp that is off."""


class ObservedVoice:
    """A voice that somebody listens to.

    Args:
        voice: the one that speaks.
        begin: told all that is about to be said.
        end: told when it has been said, or broken off.
    """

    def __init__(
        self, voice: Voice, begin: Callable[[Sequence[Utterance]], None], end: Callable[[], None]
    ) -> None:
        self._voice = voice
        self._begin = begin
        self._end = end

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Say these in place of what is being said; False when stopped, or talked over, before the end."""
        self._begin(utterances)
        is_whole = self._voice.say(utterances)
        if is_whole:
            self._end()
        return is_whole

    def stop(self) -> None:
        """Fall silent at once."""
        self._voice.stop()
        self._end()

    def close(self) -> None:
        """Fall silent and say nothing ever after."""
        self._voice.close()


class DrawnSpeaker:
    """A small speaker on a terminal, in two lines as ``prompts.terminal.Sidebar`` has them.

    Args:
        clock: the parts' own; the caller closes it.
        pace: seconds that the voice takes for a character; 0 for no time at all.
    """

    rows: Final = 2

    def __init__(self, clock: AlarmClock, *, pace: float = PACE) -> None:
        self._clock = clock
        self._lock = Lock()
        self._said = ""
        self._is_saying = False
        self._notice = ""
        self._notice_until = self._pressed_since = self._pressed_until = 0.0
        self.light = SimulatedLight(clock)
        self.button = SimulatedButton(clock)
        self.voice: Voice = ObservedVoice(
            SimulatedVoice(seconds_a_character=pace, listen=self._hear), self._begin, self._end
        )

    def strike(self, typed: bytes) -> None:
        """Take what was typed: the space bar is the button."""
        if SPACE not in typed:
            return
        now = self._clock.now()
        with self._lock:
            if now >= self._pressed_until:
                self._pressed_since, self._notice = now, ""
            self._pressed_until = now + KEY_RELEASE_S
        self.button.strike_key()

    def explain(self, gesture: Gesture) -> None:
        """Show for a while what a gesture means."""
        with self._lock:
            self._notice = NOTICES[gesture]
            self._notice_until = self._clock.now() + NOTICE_STAYS

    def lines(self, style: TerminalStyle) -> list[str]:
        """Draw it as it is now."""
        now = self._clock.now()
        with self._lock:
            said, is_saying, sidebar = self._said, self._is_saying, self._of_the_button(now)
        width = style.columns - 1
        lamp = _draw_lamp(self.light.glow_at(now), style)
        left = width - _LEAST_NAMED - _LAMP_COLUMNS
        text = _beside_each_other(f" {describe(self.light.shown[-1].pattern)}", sidebar, left)
        return [f" light {lamp}{text}", f" voice {_quoted(said, is_saying, style, width - _LEAST_NAMED)}"]

    def changes_at(self, now: Monotonic) -> Monotonic:
        """Return the moment of the next picture."""
        told = self.light.shown[-1]
        elapsed_ms = round((self._clock.now() - told.since) * 1000)
        change_ms = changes_at(told.pattern, elapsed_ms)
        until = LONGEST_LOOK if change_ms is None else Seconds((change_ms - elapsed_ms) / 1000)
        return later(now, max(SHORTEST_LOOK, min(until, LONGEST_LOOK)))

    def _of_the_button(self, now: float) -> str:
        held = now - self._pressed_since
        if now < self._pressed_until and held >= HELD_FROM:
            return f"held {held:.0f} s{self._notice and ': '}{self._notice}"
        return self._notice if self._notice and now < self._notice_until else HINT

    def _begin(self, _utterances: Sequence[Utterance]) -> None:
        with self._lock:
            self._said, self._is_saying = "", True

    def _hear(self, utterance: Utterance) -> None:
        with self._lock:
            self._said = f"{self._said} {utterance.text}".strip()

    def _end(self) -> None:
        with self._lock:
            self._is_saying = False


def _beside_each_other(left: str, right: str, width: int) -> str:
    """Put one text at each end of a line; where there is no room for both, the right one counts."""
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


def _quoted(said: str, is_saying: bool, style: TerminalStyle, width: int) -> str:
    """Return the end of what has been said so far, as much as there is room for."""
    if not said:
        return ""
    text, start, end = style.clean(said), '"', "" if is_saying else '"'
    if columns_of(text) > width - len('""'):
        start, room = "...", max(1, width - len('..."'))
        text = text[-room:]
        while columns_of(text) > room:
            text = text[1:]
    return f"{start}{text}{end}"


class PlainLight:
    """A light that is told in words, each time it changes."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._pattern: Pattern = Off()

    def show(self, pattern: Pattern) -> None:
        """Tell a pattern that is new."""
        if pattern != self._pattern:
            self._pattern = pattern
            self._tell(f"light: {describe(pattern)}")

    def close(self) -> None:
        """Go dark."""
        self.show(Off())


def plain_voice(tell: Callable[[str], None]) -> Voice:
    """Make a voice whose every speech is told as one line, at once."""

    def begin(utterances: Sequence[Utterance]) -> None:
        tell(f'voice: "{" ".join(utterance.text for utterance in utterances)}"')

    return ObservedVoice(SimulatedVoice(), begin, lambda: None)
