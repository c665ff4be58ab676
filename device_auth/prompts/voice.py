"""The voice: what is said of each view, and when.

A code is told at once and then every minute. What passes by itself in a moment is told only if it does not;
what is well is not told at all. In the quiet hours only somebody who has just pressed, or approved, is spoken to.
"""

import logging
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Final

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.moments import has_just_linked
from device_auth.prompts.wording import tell_moment, tell_state, tell_trouble, tell_waiting
from hardware.errors import HardwareError, PartBusy

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import CodePair, View
    from device_auth.prompts.wording import Wording
    from hardware.voice import QuietHours, Utterance, Voice

TOLD_EVERY: Final = Seconds(60)
"""From the beginning of one telling of a code to that of the next."""

STILL_SPEAKING: Final = Seconds(10)
"""How long the next telling waits when the one before has not ended."""

PASSES_WITHIN: Final = Seconds(2)
"""How long a passing state lasts before it is worth a sentence."""

STAYS_FOR: Final = Seconds(120)
"""How long after a press, or an approval, somebody is taken to be there."""

_STOPS: Final = 50
_STOP_TAKES: Final = Seconds(0.02)

_PASSING_STATES: Final = {
    StateWord.STARTING,
    StateWord.REQUESTING,
    StateWord.SAVING,
    StateWord.PROVING,
}
_PASSING_TROUBLES: Final = {
    Trouble.NO_NETWORK,
    Trouble.CAPTIVE_PORTAL,
    Trouble.CLOCK_NOT_SET,
    Trouble.PROVIDER_UNAVAILABLE,
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saying:
    """What to say from a moment on; a repeated one waits until the one before has ended."""

    utterances: "tuple[Utterance, ...]"
    at: Monotonic
    is_repeated: bool = False


class VoicePrompt:
    """Tells aloud. Each saying has a thread of its own, so a new view is heard while one is being said.

    Args:
        voice: says things.
        wording: in which language.
        quiet_hours: when nobody is spoken to unasked.
        local_minute: gives the minute of the local day, 0 to 1439; None while the clock is not set.
    """

    name: Final = "voice"

    def __init__(
        self,
        voice: "Voice",
        wording: "Wording",
        *,
        quiet_hours: "QuietHours",
        local_minute: "Callable[[], int | None]",
    ) -> None:
        self._voice = voice
        self._wording = wording
        self._quiet_hours = quiet_hours
        self._local_minute = local_minute
        self._view: View | None = None
        self._told_pair: CodePair | None = None
        self._next: Saying | None = None
        self._somebody_until = Monotonic(0.0)
        self._thread: Thread | None = None
        self._failure: HardwareError | None = None

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Return what is new; give the moment at which there is something to say again.

        Raises:
            HardwareError: the voice failed since; it is tried again at the next view. A busy one is no failure.
        """
        failure, self._failure = self._failure, None
        before, self._view = self._view, view
        if view.state not in {StateWord.REQUESTING, StateWord.WAITING}:
            self._told_pair = None  # a later code does not take its place
        if _shows_somebody(before, view):
            self._somebody_until = later(now, STAYS_FOR)
        if _is_news(before, view):
            self._fall_silent()
            self._next = self._choose(before, view, now)
        if failure is not None:
            self._next = None
            raise failure
        if self._next is not None and now >= self._next.at:
            self._next = self._say(self._next, view, now)
        return None if self._next is None else self._next.at

    def close(self) -> None:
        """Fall silent."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        """Stop what is being said, also where its thread has not come to say it yet; a stuck voice is not waited for."""
        for _ in range(_STOPS):
            self._voice.stop()
            if self._thread is None or not self._thread.is_alive():
                return
            self._thread.join(_STOP_TAKES)

    def _choose(self, before: "View | None", view: "View", now: Monotonic) -> Saying | None:
        utterances = self._words_for(before, view)
        is_asked = before is not None and view.telling != before.telling
        waits = view.state in _PASSING_STATES and view.trouble is Trouble.NONE and not is_asked
        return Saying(utterances, later(now, PASSES_WITHIN) if waits else now) if utterances else None

    def _words_for(self, before: "View | None", view: "View") -> "tuple[Utterance, ...]":
        is_asked = before is not None and view.telling != before.telling
        if view.moment is not None:
            return tell_moment(self._wording, view.moment)
        if view.state is StateWord.WAITING and view.code_pair is not None:
            return self._code_words(view.code_pair, view)
        if before is not None and has_just_linked(before, view):
            return (*tell_moment(self._wording, "just-linked"), *self._trouble_words(view))
        if is_asked or _is_worth_telling(before, view):
            return self._trouble_words(view) or tell_state(self._wording, view.state)
        return ()

    def _code_words(self, pair: "CodePair", view: "View") -> "tuple[Utterance, ...]":
        former, self._told_pair = self._told_pair, pair
        moment = () if former is None else ("code-again" if former == pair else "new-code",)
        return (
            *(utterance for name in moment for utterance in tell_moment(self._wording, name)),
            *tell_waiting(self._wording, pair.user_code, pair.verification_uri),
            *self._trouble_words(view),
        )

    def _trouble_words(self, view: "View") -> "tuple[Utterance, ...]":
        return () if view.trouble is Trouble.NONE else tell_trouble(self._wording, view.trouble)

    def _say(self, saying: Saying, view: "View", now: Monotonic) -> Saying | None:
        """Say it, unless it must wait or be quiet; give what is to be said next if nothing happens."""
        if saying.is_repeated and self._thread is not None and self._thread.is_alive():
            return Saying(saying.utterances, later(now, STILL_SPEAKING), is_repeated=True)
        if not self._is_quiet(now):
            words = saying.utterances
            if saying.is_repeated and view.code_pair is not None:
                words = self._code_words(view.code_pair, view)
            self._thread = Thread(target=self._speak, args=(words,), name="voice", daemon=True)
            self._thread.start()
        if view.state is StateWord.WAITING:
            return Saying(saying.utterances, later(now, TOLD_EVERY), is_repeated=True)
        return None

    def _is_quiet(self, now: Monotonic) -> bool:
        minute = self._local_minute()
        return minute is not None and self._quiet_hours.covers(minute) and now >= self._somebody_until

    def _speak(self, words: "tuple[Utterance, ...]") -> None:
        try:
            self._voice.say(words)
        except PartBusy as error:
            _log.info("the voice: %s", error)
        except HardwareError as error:
            self._failure = error


def _is_news(before: "View | None", view: "View") -> bool:
    """Return whether a view is to be told in place of what is being said; while a code is told, a trouble waits."""
    if before is None or view.telling != before.telling:
        return True
    if view.state is StateWord.WAITING:
        return view.code_pair != before.code_pair or before.state is not view.state
    return (view.state, view.trouble) != (before.state, before.trouble)


def _shows_somebody(before: "View | None", view: "View") -> bool:
    """Return whether a view can only have come of a person: a press, a tap, an approval; a renewal comes by itself."""
    if before is not None and view.telling != before.telling:
        return True
    is_request = view.state is StateWord.REQUESTING and (
        before is None or before.state not in {StateWord.REQUESTING, StateWord.WAITING}
    )
    return is_request or has_just_linked(before, view)


def _is_worth_telling(before: "View | None", view: "View") -> bool:
    """Return whether somebody should be told without having asked."""
    if view.trouble is not Trouble.NONE:
        return view.state is not StateWord.LINKED or view.trouble not in _PASSING_TROUBLES
    if view.state is StateWord.UNLINKED:
        return before is None or before.state is StateWord.STARTING
    return view.state is not StateWord.LINKED
