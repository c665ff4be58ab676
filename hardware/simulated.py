"""Every part simulated, and a clock that a test sets; they ship, for a speaker without hardware."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Final

from hardware.button import EDGES, GestureDetector
from hardware.clock import Alarm
from hardware.led import OUT, Glow, Off, Pattern, glow_at, in_white, is_over
from hardware.panel import OLED_WIDTH_PIXELS, Layout, Picture, Shown, largest_qr, lay_out
from hardware.voice import SpeakingTurns, Utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hardware.button import OnFailure, OnGesture
    from hardware.clock import AlarmClock

KEY_RELEASE_S: Final = 0.6
"""A key counts as released after so many seconds without a repeat: terminals report no release, and a key that is held
begins to repeat after half a second or less."""

TAP_S: Final = 0.3
"""The length of a tap."""

BETWEEN_PRESSES_S: Final = 0.3
"""The pause of a hand between two presses."""


@dataclass(frozen=True, slots=True)
class ShownPattern:
    """A pattern, and the moment at which it began."""

    pattern: Pattern
    since: float


class SimulatedLight:
    """A light that keeps every pattern that it was given, in ``shown``."""

    def __init__(self, clock: AlarmClock, *, brightness: float = 1.0, is_white: bool = False) -> None:
        self._clock = clock
        self._limit = brightness
        self._is_white = is_white
        self.shown: list[ShownPattern] = [ShownPattern(Off(), clock.now())]

    def show(self, pattern: Pattern) -> None:
        """Play a pattern from now; a pattern that is already playing continues."""
        now = self._clock.now()
        last = self.shown[-1]
        if pattern != last.pattern or is_over(pattern, round((now - last.since) * 1000)):
            self.shown.append(ShownPattern(pattern, now))

    def glow_at(self, at: float) -> Glow:
        """Return the glow at a moment."""
        current = next((shown for shown in reversed(self.shown) if shown.since <= at), None)
        if current is None:
            return OUT
        pattern = in_white(current.pattern) if self._is_white else current.pattern
        glow = glow_at(pattern, round((at - current.since) * 1000))
        return Glow(glow.brightness * self._limit, glow.colour)

    def close(self) -> None:
        """Go dark."""
        self.show(Off())


class SimulatedButton:
    """A button that a script, a test or a key presses."""

    def __init__(self, clock: AlarmClock) -> None:
        self._clock = clock
        self._lock = RLock()
        self._key_up = clock.alarm(self._release_key)
        self._script = clock.alarm(self._next_of_script)
        self._left: list[tuple[float, bool]] = []
        self._next_press_at = self._keys_until = float("-inf")
        self._is_pressed = False
        self._detector: GestureDetector | None = None

    def listen(self, on_gesture: OnGesture, on_failure: OnFailure) -> None:  # noqa: ARG002 - nothing can fail here
        """Start watching."""
        with self._lock:
            self._detector = GestureDetector(on_gesture, self._is_pressed, self._clock, EDGES)

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._left = []
            self._key_up.cancel()
            self._script.cancel()
            if self._detector is not None:
                self._detector.close()

    def press(self) -> None:
        """Press, without a release."""
        self._set(is_pressed=True, at=self._clock.now())

    def release(self) -> None:
        """Release."""
        self._set(is_pressed=False, at=self._clock.now())

    def play(self, script: Iterable[tuple[float, bool]]) -> float:
        """Press and release by a script, after the presses that are left: a hand makes one after another.

        Args:
            script: seconds from its start, each with whether the button is pressed from then on.

        Returns:
            The moment of its start.
        """
        with self._lock:
            start = max(self._clock.now(), self._next_press_at)
            self._left += [(start + after, is_pressed) for after, is_pressed in script]
            self._next_press_at = self._left[-1][0] + BETWEEN_PRESSES_S
            self._next_of_script()
            return start

    def hold(self, seconds: float) -> float:
        """Press and release after so many seconds, 0.2 for a tap; return the moment of the press, see ``play``."""
        return self.play([(0, True), (seconds, False)])

    def press_by_key(self) -> bool:
        """Press until the key that stands for the button has not repeated for ``KEY_RELEASE_S``.

        While a script presses, the key is a tap after it, and False is returned.
        """
        with self._lock:
            now = self._clock.now()
            is_repeated, self._keys_until = now < self._keys_until, now + KEY_RELEASE_S
            if now < self._next_press_at:
                if not is_repeated:
                    self.hold(TAP_S)
                return False
            self.press()
            self._key_up.set(self._keys_until)
            return True

    def _set(self, *, is_pressed: bool, at: float) -> None:
        """Take a level at the moment that was meant: an alarm may ring late."""
        with self._lock:
            self._is_pressed = is_pressed
            if self._detector is not None:
                self._detector.update(is_pressed, at)

    def _release_key(self) -> None:
        with self._lock:
            if self._keys_until <= self._clock.now():  # else it has repeated meanwhile
                self._set(is_pressed=False, at=self._keys_until)

    def _next_of_script(self) -> None:
        with self._lock:
            while self._left and self._left[0][0] <= self._clock.now():
                at, is_pressed = self._left.pop(0)
                self._set(is_pressed=is_pressed, at=at)
            if self._left:
                self._script.set(self._left[0][0])


class SimulatedPanel:
    """A panel like an OLED one; ``layout`` is its present frame, and ``frames`` counts them.

    Args:
        height: 64 or 32 pixels.
        watch: called with the picture of each frame, or None when the panel goes dark.
    """

    def __init__(
        self, *, height: int = 64, watch: Callable[[Picture | None, Shown], None] | None = None
    ) -> None:
        self._height = height
        self._watch = watch
        self.layout: Layout | None = None
        self.frames = 0

    @property
    def largest_qr(self) -> int:
        """Return the size of the largest QR code that fits, in modules a side; 0 if none fits."""
        return largest_qr(self._height)

    def show(self, picture: Picture) -> Shown:
        """Show a picture, and return which parts of it can be seen."""
        layout = lay_out(picture, OLED_WIDTH_PIXELS, self._height)
        if layout != self.layout:
            self._send(layout, picture)
        return layout.shown

    def clear(self) -> None:
        """Show nothing."""
        if self.layout is not None:
            self._send(None, None)

    def close(self) -> None:
        """Show nothing."""
        self.clear()

    def _send(self, layout: Layout | None, picture: Picture | None) -> None:
        self.layout = layout
        self.frames += 1
        if self._watch is not None:
            self._watch(picture, layout.shown if layout else Shown(text=False, qr=False))


class SimulatedVoice:
    """A voice without sound; ``spoken`` is every utterance so far.

    Args:
        seconds_a_character: its speed; with 0 it keeps no pauses either.
        listen: called with each utterance when it begins.
    """

    def __init__(
        self, *, seconds_a_character: float = 0.0, listen: Callable[[Utterance], None] | None = None
    ) -> None:
        self._pace = seconds_a_character
        self._listen = listen
        self._turns = SpeakingTurns()
        self.spoken: list[Utterance] = []

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Speak these in place of any others; return False if stopped or replaced before the end."""
        turn = self._turns.begin()
        for utterance in utterances:
            if not self._turns.lasts(turn):
                return False
            self.spoken.append(utterance)
            if self._listen is not None:
                self._listen(utterance)
            if self._pace and not self._turns.pause(turn, len(utterance.text) * self._pace + utterance.pause):
                return False
        return self._turns.lasts(turn)

    def stop(self) -> None:
        """Fall silent at once."""
        self._turns.end()

    def close(self) -> None:
        """Fall silent for good."""
        self._turns.close()


class SimulatedClock:
    """A clock that a test moves on; alarms ring on the way, in order, on the caller's thread."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._lock = RLock()
        self._due: dict[Alarm, float] = {}
        self.rung = 0

    def now(self) -> float:
        """Return the present moment in seconds."""
        return self._now

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """Return an alarm that is not yet set."""
        return Alarm(self, ring)

    def close(self) -> None:
        """Cancel every alarm."""
        with self._lock:
            self._due.clear()

    def pass_time(self, seconds: float) -> None:
        """Move on, and ring the alarms that fall due; ``rung`` counts them."""
        until = self._now + seconds
        while (alarm := self._next(until)) is not None:
            self.rung += 1
            alarm.ring()
        self._now = until

    def move(self, alarm: Alarm, at: float | None) -> None:
        """Set an alarm, or cancel it (None)."""
        with self._lock:
            self._due.pop(alarm, None)
            if at is not None:
                self._due[alarm] = at

    def _next(self, until: float) -> Alarm | None:
        with self._lock:
            alarm, at = min(self._due.items(), key=lambda due: due[1], default=(None, until))
            if alarm is None or at > until:
                return None
            del self._due[alarm]
            self._now = max(self._now, at)
            return alarm
