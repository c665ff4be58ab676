"""The voice: the words for each view, and when they are spoken.

A code is spoken at once and then every minute. A passing state is spoken only if it lasts; a speaker that is well is
silent. In the quiet hours the voice speaks only after a press or an approval.
"""

import logging
from threading import Thread
from typing import TYPE_CHECKING, Final

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.states import IDENTIFYING, OneTimeNotice, StateWord, Trouble
from device_auth.core.values import dataclass, replace
from device_auth.prompts.view_changes import has_just_linked, is_asked_for
from device_auth.prompts.wording import linked_words, notice_words, state_words, trouble_words, waiting_words
from hardware.errors import HardwareError, PartBusy

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import CodePair, View
    from device_auth.prompts.wording import Wording
    from hardware.voice import QuietHours, Utterance, Voice

CODE_EVERY: Final = Seconds(60)
"""From the beginning of one announcement of a code to that of the next."""

STILL_SPEAKING: Final = Seconds(10)
"""How long the next announcement of a code waits when the last one has not ended."""

PASSES_WITHIN: Final = Seconds(2)
"""How long a passing state lasts before it is announced."""

PRESENCE: Final = Seconds(120)
"""How long after a press, or an approval, a person counts as there."""

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
log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """Words to speak from a moment on; a repeated one waits until the last one has ended."""

    words: "tuple[Utterance, ...]"
    at: Monotonic
    is_repeated: bool = False


class VoicePrompt:
    """Tells aloud. Each announcement has a thread of its own, so a new view can interrupt it.

    Args:
        voice: speaks.
        wording: the language.
        quiet_hours: when the voice speaks only if asked.
        local_minute: returns the minute of the local day, 0 to 1439, or None while the clock is not set.
        speaker: returns what people call the speaker.
    """

    name: Final = "voice"

    def __init__(
        self,
        voice: "Voice",
        wording: "Wording",
        *,
        quiet_hours: "QuietHours",
        local_minute: "Callable[[], int | None]",
        speaker: "Callable[[], str]" = lambda: "",
    ) -> None:
        self._voice = voice
        self._wording = wording
        self._quiet_hours = quiet_hours
        self._local_minute = local_minute
        self._speaker = speaker
        self._view: View | None = None
        self._told_pair: CodePair | None = None
        self._next: Announcement | None = None
        self._present_until = Monotonic(0.0)
        self._thread: Thread | None = None
        self._failure: HardwareError | None = None

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Announce a change; return the moment of the next announcement.

        Raises:
            HardwareError: if the voice failed since the last view; it is tried again. A busy voice is not a failure.
        """
        failure, self._failure = self._failure, None
        before, self._view = self._view, view
        if view.state not in {StateWord.REQUESTING, StateWord.WAITING}:
            self._told_pair = None  # a later code does not replace it
        if _shows_presence(before, view):
            self._present_until = later(now, PRESENCE)
        if _interrupts(before, view):
            self._fall_silent()
            self._next = self._choose(before, view, now)
        if failure is not None:
            self._next = None
            raise failure
        if self._next is not None and now >= self._next.at:
            self._next = self._announce(self._next, view, now)
        return None if self._next is None else self._next.at

    def is_speaking(self) -> bool:
        """Return whether an announcement has not ended; from any thread."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Fall silent."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        """Stop the voice, even if its thread has not begun to speak; do not wait for a stuck voice."""
        for _ in range(_STOPS):
            self._voice.stop()
            if self._thread is None or not self.is_speaking():
                return
            self._thread.join(_STOP_TAKES)

    def _choose(self, before: "View | None", view: "View", now: Monotonic) -> Announcement | None:
        words = self._words_for(before, view)
        is_passing = view.state in _PASSING_STATES and view.trouble is Trouble.NONE
        waits = is_passing and not is_asked_for(before, view)
        return Announcement(words, later(now, PASSES_WITHIN) if waits else now) if words else None

    def _words_for(self, before: "View | None", view: "View") -> "tuple[Utterance, ...]":
        if view.notice is not None:
            return notice_words(self._wording, view.notice, name=self._speaker())
        if view.state is StateWord.WAITING and view.code_pair is not None:
            return self._code_words(view.code_pair, view)
        if before is not None and has_just_linked(before, view):
            return (*self._linked_words(view, is_new=True), *self._trouble_words(view))
        if is_asked_for(before, view) or _is_announced_unasked(before, view):
            is_linked = view.state is StateWord.LINKED
            return self._trouble_words(view) or (
                self._linked_words(view, is_new=False)
                if is_linked
                else state_words(self._wording, view.state)
            )
        return ()

    def _linked_words(self, view: "View", *, is_new: bool) -> "tuple[Utterance, ...]":
        return linked_words(self._wording, view.account_name, is_new=is_new, lasts=not view.doubt)

    def _code_words(self, pair: "CodePair", view: "View") -> "tuple[Utterance, ...]":
        former, self._told_pair = self._told_pair, pair
        notice = "new-code" if former != pair else "code-again"
        return (
            *(() if former is None else notice_words(self._wording, notice)),
            *waiting_words(self._wording, pair.user_code, pair.verification_uri),
            *self._trouble_words(view),
        )

    def _trouble_words(self, view: "View") -> "tuple[Utterance, ...]":
        if view.is_checking:
            return notice_words(self._wording, "checking-again")
        return () if view.trouble is Trouble.NONE else trouble_words(self._wording, view.trouble)

    def _announce(self, due: Announcement, view: "View", now: Monotonic) -> Announcement | None:
        """Start to speak, unless it must wait or be quiet; return the next announcement if nothing changes."""
        if due.is_repeated and self.is_speaking():
            return replace(due, at=later(now, STILL_SPEAKING))
        if not self._is_quiet(now):
            words = due.words
            if due.is_repeated and view.code_pair is not None:
                words = self._code_words(view.code_pair, view)
            self._thread = Thread(target=self._speak, args=(words,), name="voice", daemon=True)
            self._thread.start()
        if view.state is StateWord.WAITING:
            return Announcement(due.words, later(now, CODE_EVERY), is_repeated=True)
        return None

    def _is_quiet(self, now: Monotonic) -> bool:
        minute = self._local_minute()
        return minute is not None and self._quiet_hours.covers(minute) and now >= self._present_until

    def _speak(self, words: "tuple[Utterance, ...]") -> None:
        try:
            self._voice.say(words)
        except PartBusy as error:
            log.info("the voice: %s", error)
        except HardwareError as error:
            self._failure = error


def _interrupts(before: "View | None", view: "View") -> bool:
    """Return whether a view interrupts the announcement before it; a trouble does not interrupt a code."""
    if view.notice is OneTimeNotice.IDENTIFY_SILENTLY:
        return False
    if before is None or is_asked_for(before, view):
        return True
    if view.state is StateWord.WAITING:
        return view.code_pair != before.code_pair or before.state is not view.state
    return (view.state, view.trouble) != (before.state, before.trouble)


def _shows_presence(before: "View | None", view: "View") -> bool:
    """Return whether only a person can have caused a view: by a press or an approval. A renewal happens by itself."""
    if is_asked_for(before, view):
        return view.notice not in IDENTIFYING  # any visitor of the page may want to know it
    is_request = view.state is StateWord.REQUESTING and (
        before is None or before.state not in {StateWord.REQUESTING, StateWord.WAITING}
    )
    return is_request or has_just_linked(before, view)


def _is_announced_unasked(before: "View | None", view: "View") -> bool:
    """Return whether to announce a view that nobody asked for."""
    if view.trouble is not Trouble.NONE:
        return view.state is not StateWord.LINKED or view.trouble not in _PASSING_TROUBLES
    if view.state is StateWord.UNLINKED:
        return before is None or before.state is StateWord.STARTING
    return view.state is not StateWord.LINKED
