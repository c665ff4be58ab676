"""Voices: say a list of utterances, one call at a time, and fall silent at once when stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from re import fullmatch
from threading import Condition
from typing import Final, Protocol

_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Utterance:
    """One text to say, and the seconds of silence after it.

    ``name`` is the name of its recording; ``language`` is a BCP 47 tag such as ``en`` or ``pt-BR``; ``reading`` is the
    text as it sounds, where a simple voice misreads what people write. All but the tag may give a secret away letter by
    letter, so none is printed.
    """

    text: str = field(repr=False)
    language: str
    pause: float = 0.3
    name: str = field(default="", repr=False)
    reading: str = field(default="", repr=False)


class Voice(Protocol):
    """Speaks utterances. ``say`` blocks until the last sound, so it needs a thread of its own."""

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Speak these in place of any others; return False if stopped or replaced before the end."""
        ...

    def stop(self) -> None:
        """Fall silent at once."""
        ...

    def close(self) -> None:
        """Fall silent for good."""
        ...


class SpeakingTurns:
    """The turns of the calls that speak: a new one ends the one before at once."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._turn = 0
        self._is_closed = False

    def begin(self) -> int:
        """Begin a turn and return it; the one before ends."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
            return self._turn

    def end(self) -> None:
        """End the present turn."""
        self.begin()

    def close(self) -> None:
        """End the present turn, and let no other begin."""
        with self._changed:
            self._is_closed = True
        self.begin()

    def lasts(self, turn: int) -> bool:
        """Return whether a turn still lasts."""
        with self._changed:
            return self._lasts(turn)

    def pause(self, turn: int, seconds: float) -> bool:
        """Wait for so many seconds; return False, and at once, if the turn ends before."""
        with self._changed:
            return not self._changed.wait_for(lambda: not self._lasts(turn), seconds) and self._lasts(turn)

    def _lasts(self, turn: int) -> bool:
        return turn == self._turn and not self._is_closed


class NoVoice:
    """The voice of a speaker that is switched to silent."""

    def say(self, utterances: Sequence[Utterance]) -> bool:  # noqa: ARG002 - a Voice's signature
        """Speak nothing, and return False."""
        return False

    def stop(self) -> None:
        """Stay silent."""

    def close(self) -> None:
        """Stay silent."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the local day up to another, across midnight if ``until`` is earlier."""

    since: int
    until: int

    def covers(self, minute: int) -> bool:
        """Return whether they include a minute of the local day, 0 to 1439."""
        if self.since <= self.until:
            return self.since <= minute < self.until
        return minute >= self.since or minute < self.until


def parse_quiet_hours(given: object) -> QuietHours:
    """Parse hours written as ``22:00-07:00``; an empty text and equal ends are no quiet hours.

    Raises:
        ValueError: if it is anything else.
    """
    if given == "":
        return QuietHours(0, 0)
    found = fullmatch(r"([0-9]{2}):([0-5][0-9])-([0-9]{2}):([0-5][0-9])", str(given))
    if found:
        since, until = (int(found[hour]) * 60 + int(found[hour + 1]) for hour in (1, 3))
        if since < _DAY_MINUTES and until < _DAY_MINUTES:
            return QuietHours(since, until)
    raise ValueError("must be two times of the day")
