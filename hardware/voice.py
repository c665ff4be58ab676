"""What a voice can do: say a list of utterances, one speaker at a time, and fall silent at once when told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from re import fullmatch
from threading import Condition
from typing import Final, Protocol

from hardware.errors import HardwareError
from hardware.settings import Settings, read_choice, read_text, read_whole, read_words, refuse_unknown

KINDS: Final = ("espeak", "command", "recorded", "simulated", "off")

_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing to say, and the seconds of silence after it.

    ``name`` is what a recording of it is called; ``language`` is a BCP 47 tag such as ``en`` or ``pt-BR``. Text
    and name may give a secret away letter by letter, so neither is printed.
    """

    text: str = field(repr=False)
    language: str
    pause: float = 0.3
    name: str = field(default="", repr=False)


class Voice(Protocol):
    """Says things. ``say`` blocks until the last sound; it is meant for a thread of its own."""

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Say these in place of what is being said; False when stopped, or talked over, before the end."""
        ...

    def stop(self) -> None:
        """Fall silent at once; nothing happens when nothing is being said."""
        ...

    def close(self) -> None:
        """Fall silent and say nothing ever after."""
        ...


class SpeakingTurn:
    """Who may speak: the newest speaker has the floor, the one before loses it at once."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._turn = 0
        self._is_closed = False

    def take(self) -> int:
        """Take the floor from whoever has it; the answer is the turn to show when asked."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
            return self._turn

    def clear(self) -> None:
        """Take the floor from whoever has it, for nobody."""
        self.take()

    def close(self) -> None:
        """Return the floor to nobody any more."""
        with self._changed:
            self._is_closed = True
        self.take()

    def has(self, turn: int) -> bool:
        """Whether this turn still lasts."""
        with self._changed:
            return self._lasts(turn)

    def pause(self, turn: int, seconds: float) -> bool:
        """Keep silent for so long; False, and at once, when the turn is over before."""
        with self._changed:
            return not self._changed.wait_for(lambda: not self._lasts(turn), seconds) and self._lasts(turn)

    def _lasts(self, turn: int) -> bool:
        return turn == self._turn and not self._is_closed


class NoVoice:
    """The voice of a speaker that is set to be silent."""

    def say(self, utterances: Sequence[Utterance]) -> bool:  # noqa: ARG002 - a Voice's signature
        """Say nothing, and say so."""
        return False

    def stop(self) -> None:
        """Stay silent."""

    def close(self) -> None:
        """Stay silent."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the local day up to another, across midnight where ``until`` is the earlier."""

    since: int
    until: int

    def covers(self, minute: int) -> bool:
        """Whether it is quiet at this minute of the local day, 0 to 1439."""
        if self.since <= self.until:
            return self.since <= minute < self.until
        return minute >= self.since or minute < self.until


def read_quiet_hours(text: str) -> QuietHours:
    """Read hours written as ``22:00-07:00``; the empty text is no quiet hours, and so are equal ends.

    Raises:
        HardwareError: the text is anything else.
    """
    if not text:
        return QuietHours(0, 0)
    found = fullmatch(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", text)
    if found:
        since, until = (int(found[hour]) * 60 + int(found[hour + 1]) for hour in (1, 3))
        if since < _DAY and until < _DAY:
            return QuietHours(since, until)
    raise HardwareError(
        f"voice: quiet_hours cannot be {text!r}", hint='Write it as quiet_hours = "22:00-07:00".'
    )


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """The settings of a voice, checked.

    Args:
        kind: one of ``KINDS``.
        volume: 0 (nothing is heard) to 100; 50 is what the synthesiser or the recording has by itself.
        quiet_hours: when nothing is said unasked; whoever asks the voice to speak keeps them.
        player: reads a WAV file from standard input and plays it.
        command: speaks the text on its standard input by itself; ``{language}`` and ``{volume}`` are filled in.
        directory: holds recordings as LANGUAGE/NAME.wav.
        speed: words a minute of the synthesiser.
    """

    kind: str
    volume: int
    quiet_hours: QuietHours
    player: tuple[str, ...]
    command: tuple[str, ...]
    directory: str
    speed: int


APLAY: Final = ("aplay", "-q", "-")
_ALWAYS: Final = ("kind", "volume", "quiet_hours")
_OF_KIND: Final = {
    "espeak": ("player", "speed"),
    "command": ("command",),
    "recorded": ("player", "directory"),
    "simulated": (),
    "off": ("player", "speed", "command", "directory"),
}


def read_voice_settings(settings: Settings) -> VoiceSettings:
    """Check the settings of a voice; a voice that is off may keep any, so that it is switched by one word.

    Raises:
        HardwareError: a setting is unknown, malformed or missing.
    """
    kind = read_choice("voice", settings, "kind", KINDS)
    refuse_unknown(f"voice of kind {kind}", settings, (*_ALWAYS, *_OF_KIND[kind]))
    quiet = settings.get("quiet_hours", "")
    return VoiceSettings(
        kind=kind,
        volume=read_whole("voice", settings, "volume", 50, range(101)),
        quiet_hours=read_quiet_hours(quiet if isinstance(quiet, str) else repr(quiet)),
        player=read_words("voice", settings, "player", APLAY),
        command=read_words("voice", settings, "command", ()) if kind == "command" else (),
        directory=read_text("voice", settings, "directory", "") if kind == "recorded" else "",
        speed=read_whole("voice", settings, "speed", 150, range(80, 301)),
    )


def open_voice(settings: Settings) -> Voice:
    """Open the voice that the settings name.

    Raises:
        PartMissing: a program or the directory of recordings is not there.
        HardwareError: a setting is unknown or malformed.
    """
    chosen = read_voice_settings(settings)
    if chosen.kind == "off":
        return NoVoice()
    if chosen.kind == "simulated":
        from hardware.simulated_tellers import SimulatedVoice

        return SimulatedVoice()
    from hardware.espeak import open_program_voice

    return open_program_voice(chosen)
