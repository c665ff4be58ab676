"""Test the parts of a speaker one after another: open each, have it do its work, and ask whether that was right.

Whatever a part does, it does on a thread that is left behind when it hangs. Simulated parts live in simulated time, so
that they are tested in a moment, and say themselves what they show.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeVar

from device_auth.assembly.hardware_parts import draw_code
from device_auth.core.models import Seconds
from device_auth.prompts.light import Table, describe
from device_auth.prompts.stderr import say
from device_auth.prompts.wording import Wording, notice_words
from device_auth.tools.operators import NOT_AS_EXPECTED, NobodyAnswers, Operator
from device_auth.world.bounded import bounded
from hardware.board import BoardPlan, Parts, open_parts
from hardware.button import Button, Gesture
from hardware.clock import AlarmClock, PartsClock
from hardware.errors import HardwareError, PartBusy
from hardware.led import Breathe, Light, Rhythm, without_fades
from hardware.panel import Matrix, Panel, Picture
from hardware.plans import PlannedPart
from hardware.simulated import SimulatedButton, SimulatedClock, SimulatedLight, SimulatedPanel, SimulatedVoice
from hardware.voice import Voice

T = TypeVar("T")

LIMIT: Final = 30.0
"""Seconds after which a part that has not done what it was told hangs; a voice gives up on its programs after 20."""

PRESS_TIME: Final = 30.0
"""Seconds that there are to do something with the button."""

QR_TEXT: Final = "DEVICE-AUTH TEST"
"""What the test QR code says: few characters, and of those that make the smallest code there is."""

PANEL_TEXT: Final = "TEST"

GESTURES: Final = (
    (Gesture.TAP, 0.2, "Press the button and let go at once."),
    (Gesture.HOLD_5S, 5.5, "Press the button and hold it for five seconds, until you read here to let go."),
)
"""What is asked for, how many seconds a simulated press of it takes, and how a person is asked."""

_FRAME: Final = 0.05
_ONE_COLOUR: Final = ("led", "kernel")
_FADELESS: Final = ("led", "rgb", "apa102-pins")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one step of a test."""

    part: str
    step: str
    expected: str
    seen: str

    @property
    def is_ok(self) -> bool:
        """Return whether what was seen is what was expected."""
        return self.seen == self.expected


class Time(Protocol):
    """The time that a part lives in."""

    @property
    def clock(self) -> AlarmClock:
        """Return the part's clock."""
        ...

    def wait(self, inbox: SimpleQueue[T], seconds: float) -> T | None:
        """Wait so long for the next item; None when there is none."""
        ...

    def close(self) -> None:
        """Stop the clock."""
        ...


class RealTime:
    """The time of real parts."""

    def __init__(self) -> None:
        self._clock = PartsClock()

    @property
    def clock(self) -> AlarmClock:
        """Return the part's clock."""
        return self._clock

    def wait(self, inbox: SimpleQueue[T], seconds: float) -> T | None:
        """Wait so long for the next item; None when there is none."""
        try:
            return inbox.get(timeout=seconds)
        except Empty:
            return None

    def close(self) -> None:
        """Stop the clock."""
        self._clock.close()


class SimulatedTime:
    """The time of simulated parts: it passes as fast as it can be counted."""

    def __init__(self) -> None:
        self._clock = SimulatedClock()

    @property
    def clock(self) -> AlarmClock:
        """Return the part's clock."""
        return self._clock

    def wait(self, inbox: SimpleQueue[T], seconds: float) -> T | None:
        """Let time pass until there is an item, but no longer than this."""
        for _ in range(math.ceil(seconds / _FRAME)):
            if not inbox.empty():
                break
            self._clock.pass_time(_FRAME)
        return None if inbox.empty() else inbox.get()

    def close(self) -> None:
        """Stop the clock."""
        self._clock.close()


def time_for(part: PlannedPart) -> Time:
    """Return the time that a part lives in."""
    return SimulatedTime() if part.back_end == "simulated" else RealTime()


def within(seconds: float, action: Callable[[], T]) -> T:
    """Have a part do something.

    Raises:
        PartBusy: it has not done it in time. The thread that waits for it stays behind, as nothing can end it.
        HardwareError: it failed.
    """
    try:
        return bounded(action, Seconds(seconds), name="part")
    except TimeoutError:
        raise PartBusy(
            f"it hangs: it was not done within {seconds:g} s", hint="Check its wires, and who else has it."
        ) from None


class PartsTest:
    """Tests the parts of a plan, each opened alone.

    Args:
        plan: what the settings want.
        patterns: what the light shows for each state, trouble and moment.
        operator: looks at the parts; None where there are only buttons, which are heard, and simulated parts.
        wording: what the voice says.
        report: is told each result.
        seconds: how long each pattern of a light is shown; a person at a terminal sees it until the answer.
        limit: seconds after which a part hangs.
        time_for: gives the time that a part lives in.
    """

    def __init__(
        self,
        plan: BoardPlan,
        patterns: Table,
        operator: Operator | None,
        wording: Wording,
        report: Callable[[Result], None],
        *,
        seconds: float = 1.0,
        limit: float = LIMIT,
        time_for: Callable[[PlannedPart], Time] = time_for,
    ) -> None:
        self._plan = plan
        self._patterns = patterns
        self._operator = operator
        self._wording = wording
        self._report = report
        self._seconds = seconds
        self._limit = limit
        self._time_for = time_for

    def run(self, parts: Sequence[PlannedPart]) -> None:
        """Test these parts of the plan; when the answers end, so does the test.

        Raises:
            HardwareError: a part refuses its settings.
        """
        for part in parts:
            if not self._test(part):
                return

    def _test(self, part: PlannedPart) -> bool:
        """Test one part; False when nobody answers any more."""
        time = self._time_for(part)
        opened = Parts()
        try:
            opened = self._open(part, time)
            self._try_out(part, opened, time)
        except _StepFailed as failed:
            error = failed.error
            self._report(Result(part.name, failed.step, failed.expected, str(error) or "no answer"))
            if isinstance(error, HardwareError) and error.hint:
                say(f"  {error.hint}")
            return not isinstance(error, NobodyAnswers)
        finally:
            self._close(part, opened, time)
        return True

    def _open(self, part: PlannedPart, time: Time) -> Parts:
        alone = replace(self._plan, parts=(part,))
        try:
            opened = within(self._limit, lambda: open_parts(alone, time.clock))
        except PartBusy as hung:
            raise _StepFailed("open", "opened", hung) from hung
        for problem in opened.problems:
            raise _StepFailed("open", "opened", problem.error)
        return opened

    def _close(self, part: PlannedPart, opened: Parts, time: Time) -> None:
        def close() -> None:
            try:
                opened.close()
            finally:
                time.close()

        try:
            within(self._limit, close)
        except HardwareError as error:
            self._report(Result(part.name, "close", "closed", str(error)))

    def _try_out(self, part: PlannedPart, opened: Parts, time: Time) -> None:
        if opened.light is not None:
            self._try_light(part, opened.light, time)
        if opened.button is not None:
            self._try_button(part, opened.button, time)
        if opened.panel is not None:
            self._try_panel(part, opened.panel)
        if opened.voice is not None:
            self._try_voice(part, opened.voice)

    def _try_light(self, part: PlannedPart, light: Light, time: Time) -> None:
        for meaning, pattern in self._patterns.items():
            step, expected = str(meaning), in_words(pattern, part, is_white=self._plan.is_white)
            self._act(step, expected, partial(light.show, pattern))
            if self._operator is None or self._operator.is_rig:
                time.wait(SimpleQueue[None](), self._seconds)
            itself = None
            if isinstance(light, SimulatedLight):
                itself = expected if light.shown[-1].pattern == pattern else NOT_AS_EXPECTED
            self._look(part, step, expected, itself)

    def _try_button(self, part: PlannedPart, button: Button, time: Time) -> None:
        inbox: SimpleQueue[Gesture | HardwareError] = SimpleQueue()
        self._act("listen", "a press", partial(button.listen, inbox.put, inbox.put))
        for gesture, seconds, request in GESTURES:
            if isinstance(button, SimulatedButton):
                button.hold(seconds)
            else:
                say(f"{part.name}, {gesture}: {request}")
            while (seen := time.wait(inbox, PRESS_TIME)) in (Gesture.HELD_5S, Gesture.HELD_10S):
                if not isinstance(button, SimulatedButton):
                    say("Let go now.")
            if isinstance(seen, HardwareError):
                raise _StepFailed(gesture, gesture, seen)
            self._report(Result(part.name, gesture, gesture, seen or "nothing"))

    def _try_panel(self, part: PlannedPart, panel: Panel) -> None:
        code = draw_code(QR_TEXT, "L")
        has_room = panel.largest_qr >= len(code)
        step, expected = ("qr-code", QR_TEXT) if has_room else ("text", PANEL_TEXT)
        picture = Picture(PANEL_TEXT, code if has_room else None, caption="device-auth")
        shown = self._act(step, expected, lambda: panel.show(picture))
        if shown.reason:
            self._report(Result(part.name, step, expected, shown.reason))
            return
        itself = _read_panel(panel, code) if isinstance(panel, SimulatedPanel) else None
        self._look(part, step, expected, itself)

    def _try_voice(self, part: PlannedPart, voice: Voice) -> None:
        sentence = notice_words(self._wording, "test")
        expected = " ".join(utterance.text for utterance in sentence)
        self._act("sentence", expected, lambda: voice.say(sentence))
        itself = None
        if isinstance(voice, SimulatedVoice):
            itself = " ".join(utterance.text for utterance in voice.spoken)
        self._look(part, "sentence", expected, itself)

    def _act(self, step: str, expected: str, action: Callable[[], T]) -> T:
        """Have the part do something; one that fails is tried no further."""
        try:
            return within(self._limit, action)
        except HardwareError as error:
            raise _StepFailed(step, expected, error) from error

    def _look(self, part: PlannedPart, step: str, expected: str, itself: str | None) -> None:
        """Report what there was to see: by the operator, or by what a simulated part says itself."""
        if itself is not None and (self._operator is None or not self._operator.is_rig):
            seen = itself
        else:
            try:
                seen = self._ask(part.name, step, expected)
            except NobodyAnswers as error:
                raise _StepFailed(step, expected, error) from error
        self._report(Result(part.name, step, expected, seen))

    def _ask(self, part: str, step: str, expected: str) -> str:
        if self._operator is None:
            raise NobodyAnswers
        return self._operator.look(part, step, expected)


class _StepFailed(Exception):
    """A step came to no answer, so that the steps after it are not tried."""

    def __init__(self, step: str, expected: str, error: HardwareError | NobodyAnswers) -> None:
        super().__init__()
        self.step = step
        self.expected = expected
        self.error = error


def _read_panel(panel: SimulatedPanel, code: Matrix) -> str:
    """Read a simulated panel as a phone or a person would."""
    if panel.layout is None:
        return NOT_AS_EXPECTED
    if panel.layout.square is not None:
        return QR_TEXT if panel.layout.square.modules == code else NOT_AS_EXPECTED
    return PANEL_TEXT if any(line.text == PANEL_TEXT for line in panel.layout.lines) else NOT_AS_EXPECTED


def in_words(pattern: Rhythm, part: PlannedPart, *, is_white: bool) -> str:
    """Return what a pattern looks like on this light: one of one colour shows no other, and not every one can fade."""
    shown = without_fades(pattern) if part.kind in _FADELESS and part.back_end != "simulated" else pattern
    assert isinstance(shown, Rhythm), "only Once is none"  # noqa: S101  our own bug
    colour, _, rhythm = describe(shown).rpartition(", ")
    if part.kind == "kernel" and isinstance(shown, Breathe):
        rhythm += ", or blinking if it cannot"
    if not colour or part.kind in _ONE_COLOUR:
        return rhythm
    return f"white, {rhythm}" if is_white else f"{colour}, {rhythm}"
