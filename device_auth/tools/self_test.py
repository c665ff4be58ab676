"""Test the parts of a speaker one after another: open each, let it work, and compare the result with what is expected.

Each action of a part runs on a thread that is left behind when it hangs. Simulated parts run in simulated time, and
report themselves what they show.
"""

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeVar

from device_auth.assembly.hardware_parts import draw_code, hint_of
from device_auth.prompts.light import LightCue, Table, describe
from device_auth.prompts.stderr import say
from device_auth.prompts.wording import Wording, notice_words
from device_auth.tools.operators import NOT_AS_EXPECTED, NobodyAnswers, Operator
from device_auth.tools.single_part import PART_LIMIT, PartTime, close_single, open_single, time_for, within
from hardware.board import BoardPlan, Parts
from hardware.button import Button, Gesture
from hardware.errors import HardwareError
from hardware.led import Breathe, Light, Pattern, Rhythm, in_white, period_ms, without_fades
from hardware.panel import Matrix, Panel, Picture
from hardware.plans import PlannedPart
from hardware.simulated import SimulatedButton, SimulatedLight, SimulatedPanel, SimulatedVoice
from hardware.voice import Voice

T = TypeVar("T")

PRESS_TIME: Final = 30.0
"""Seconds for each gesture."""

QR_TEXT: Final = "DEVICE-AUTH TEST"
"""The text of the test QR code: few characters, and only those that make the smallest code."""

PANEL_TEXT: Final = "TEST"

GESTURES: Final = (
    (Gesture.TAP, 0.2, "Press the button and let go at once."),
    (Gesture.HOLD_5S, 5.5, "Press the button and hold it for five seconds, until you read here to let go."),
)
"""The gesture, the seconds of a simulated press of it, and the request to a person."""

_ONE_COLOUR: Final = ("led", "kernel")
_FADELESS: Final = ("led", "rgb", "apa102-pins")


class StepResult(NamedTuple):
    """The result of one step of a test."""

    part: str
    step: str
    expected: str
    seen: str

    @property
    def is_ok(self) -> bool:
        """Return whether the result is as expected."""
        return self.seen == self.expected


class PartsTest:
    """Tests the parts of a plan, each opened alone.

    Args:
        plan: of the board.
        patterns: of the light for each state, trouble and event.
        operator: looks at the parts; None where there are only buttons, which report themselves, and simulated parts.
        wording: of the voice.
        report: called with each result.
        seconds: how long each pattern of a light is shown, where that is more than one period of it; a person at a
            terminal sees it until the answer.
        limit: seconds after which a part hangs.
        time_for: returns the time of a part.
        request: asks for a press of a button, which is listened to already; has the part, the gesture and a sentence.
    """

    def __init__(
        self,
        plan: BoardPlan,
        patterns: Table,
        operator: Operator | None,
        wording: Wording,
        report: Callable[[StepResult], None],
        *,
        seconds: float = 1.0,
        limit: float = PART_LIMIT,
        time_for: Callable[[PlannedPart], PartTime] = time_for,
        request: Callable[[str, Gesture, str], object] = lambda part, gesture, text: say(
            f"{part}, {gesture}: {text}"
        ),
    ) -> None:
        self._plan = plan
        self._patterns = patterns
        self._operator = operator
        self._wording = wording
        self._report = report
        self._seconds = seconds
        self._limit = limit
        self._time_for = time_for
        self._request = request

    def run(self, parts: Sequence[PlannedPart]) -> None:
        """Test these parts of the plan; stop when the answers end."""
        for part in parts:
            if not self._test(part):
                return

    def _test(self, part: PlannedPart) -> bool:
        """Test one part; return False if the answers have ended."""
        time = self._time_for(part)
        opened = Parts()
        if part.pins and part.back_end != "simulated":
            say(f"{part.name}: {part.pins_in_words}")
        try:
            opened = self._open(part, time)
            self._try_out(part, opened, time)
        except _StepFailed as failed:
            error = failed.error
            self._report(StepResult(part.name, failed.step, failed.expected, str(error) or "no answer"))
            if isinstance(error, HardwareError) and (hint := hint_of(error)):
                say(f"  {hint}")
            return not isinstance(error, NobodyAnswers)
        finally:
            self._close(part, opened, time)
        return True

    def _open(self, part: PlannedPart, time: PartTime) -> Parts:
        try:
            return open_single(self._plan, part, time, self._limit)
        except HardwareError as error:
            raise _StepFailed("open", "opened", error) from error

    def _close(self, part: PlannedPart, opened: Parts, time: PartTime) -> None:
        try:
            close_single(opened, time, self._limit)
        except HardwareError as error:
            self._report(StepResult(part.name, "close", "closed", str(error)))

    def _try_out(self, part: PlannedPart, opened: Parts, time: PartTime) -> None:
        if opened.light is not None:
            self._try_light(part, opened.light, time)
        if opened.button is not None:
            self._try_button(part, opened.button, time)
        if opened.panel is not None:
            self._try_panel(part, opened.panel)
        if opened.voice is not None:
            self._try_voice(part, opened.voice)

    def _try_light(self, part: PlannedPart, light: Light, time: PartTime) -> None:
        for step, pattern in different_patterns(self._patterns, part, is_white=self._plan.is_white).items():
            expected = in_words(pattern, part, is_white=self._plan.is_white)
            self._act(step, expected, partial(light.show, pattern))
            reported = None
            if isinstance(light, SimulatedLight):
                reported = expected if light.shown[-1].pattern == pattern else NOT_AS_EXPECTED
            seconds = max(self._seconds, period_ms(pattern) / 1000)
            self._look(part, step, expected, reported, partial(time.wait, SimpleQueue[None](), seconds))

    def _try_button(self, part: PlannedPart, button: Button, time: PartTime) -> None:
        inbox: SimpleQueue[Gesture | HardwareError] = SimpleQueue()
        self._act("listen", "a press", partial(button.listen, inbox.put, inbox.put))
        for gesture, seconds, request in GESTURES:
            if isinstance(button, SimulatedButton):
                button.hold(seconds)
            else:
                self._request(part.name, gesture, request)
            while (seen := time.wait(inbox, PRESS_TIME)) in (Gesture.HELD_5S, Gesture.HELD_10S):
                if not isinstance(button, SimulatedButton):
                    say("Let go now.")
            if isinstance(seen, HardwareError):
                raise _StepFailed(gesture, gesture, seen)
            self._report(StepResult(part.name, gesture, gesture, seen or "nothing"))

    def _try_panel(self, part: PlannedPart, panel: Panel) -> None:
        code = draw_code(QR_TEXT, "L")
        has_room = panel.largest_qr >= len(code)
        step, expected = ("qr-code", QR_TEXT) if has_room else ("text", PANEL_TEXT)
        picture = Picture(PANEL_TEXT, code if has_room else None, caption="device-auth")
        shown = self._act(step, expected, lambda: panel.show(picture))
        if shown.reason:
            self._report(StepResult(part.name, step, expected, shown.reason))
            return
        reported = _read_panel(panel, code) if isinstance(panel, SimulatedPanel) else None
        self._look(part, step, expected, reported)

    def _try_voice(self, part: PlannedPart, voice: Voice) -> None:
        sentence = notice_words(self._wording, "test")
        expected = " ".join(utterance.text for utterance in sentence)
        self._act("sentence", expected, lambda: voice.say(sentence))
        reported = None
        if isinstance(voice, SimulatedVoice):
            reported = " ".join(utterance.text for utterance in voice.spoken)
        self._look(part, "sentence", expected, reported)

    def _act(self, step: str, expected: str, action: Callable[[], T]) -> T:
        """Run an action of the part; after a failure the other steps are not run."""
        try:
            return within(self._limit, action)
        except HardwareError as error:
            raise _StepFailed(step, expected, error) from error

    def _look(
        self,
        part: PlannedPart,
        step: str,
        expected: str,
        reported: str | None,
        wait: Callable[[], object] = lambda: None,
    ) -> None:
        """Report what the operator saw, a rig until ``wait`` was over, or what a simulated part reports."""
        if reported is not None and (self._operator is None or not self._operator.is_rig):
            seen = reported
        else:
            try:
                seen = self._ask(part.name, step, expected, wait)
            except NobodyAnswers as error:
                raise _StepFailed(step, expected, error) from error
        self._report(StepResult(part.name, step, expected, seen))

    def _ask(self, part: str, step: str, expected: str, wait: Callable[[], object]) -> str:
        if self._operator is None:
            raise NobodyAnswers
        self._operator.ask(part, step, expected)
        if self._operator.needs_time:  # others look until there is an answer
            wait()
        return self._operator.answer(part, step, expected)


class _StepFailed(Exception):
    """A step failed, so the steps after it are not run."""

    def __init__(self, step: str, expected: str, error: HardwareError | NobodyAnswers) -> None:
        super().__init__()
        self.step = step
        self.expected = expected
        self.error = error


def _read_panel(panel: SimulatedPanel, code: Matrix) -> str:
    """Return what a phone or a person reads on a simulated panel."""
    if panel.layout is None:
        return NOT_AS_EXPECTED
    if panel.layout.square is not None:
        return QR_TEXT if panel.layout.square.modules == code else NOT_AS_EXPECTED
    return PANEL_TEXT if any(line.text == PANEL_TEXT for line in panel.layout.lines) else NOT_AS_EXPECTED


def different_patterns(patterns: Table, part: PlannedPart, *, is_white: bool) -> dict[str, Rhythm]:
    """Return each pattern that looks different on this light once, by the names of all that it means."""
    found: dict[Pattern, tuple[Rhythm, list[str]]] = {}
    for meaning, pattern in patterns.items():
        if meaning is LightCue.IDENTIFY:
            continue  # of which speaker it is nobody need be asked here, and a rig counts the questions
        looks = without_fades(pattern) if _cannot_fade(part) else pattern
        if is_white or part.kind in _ONE_COLOUR:
            looks = in_white(looks)
        found.setdefault(looks, (pattern, []))[1].append(str(meaning))
    return {", ".join(names): pattern for pattern, names in found.values()}


def _cannot_fade(part: PlannedPart) -> bool:
    return part.kind in _FADELESS and part.back_end != "simulated"


def in_words(pattern: Rhythm, part: PlannedPart, *, is_white: bool) -> str:
    """Return the words for a pattern on this light, which may have one colour, or be unable to fade."""
    shown = without_fades(pattern) if _cannot_fade(part) else pattern
    assert isinstance(shown, Rhythm), "only Once is not one"  # noqa: S101  our own bug
    colour, _, rhythm = describe(shown).rpartition(", ")
    if part.kind == "kernel" and isinstance(shown, Breathe):
        rhythm += ", or blinking if it cannot"
    if not colour or part.kind in _ONE_COLOUR:
        return rhythm
    return f"white, {rhythm}" if is_white else f"{colour}, {rhythm}"
