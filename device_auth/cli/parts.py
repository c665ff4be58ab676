"""From settings to the ways of telling that hang on pins, wires and sound cards; or to those of a simulated speaker."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal

from device_auth.cli.keyboard import keys_of
from device_auth.cli.simulated_speaker import DrawnSpeaker, PlainLight, plain_voice
from device_auth.cli.telling import OpenedParts
from device_auth.core.errors import ConfigError
from device_auth.prompts.light import LightPrompt, Table, read_table
from device_auth.prompts.panel import PanelPrompt
from device_auth.prompts.picture import QUIET_ZONE, read_matrix
from device_auth.prompts.stderr import say
from device_auth.prompts.voice import VoicePrompt
from device_auth.prompts.ways import CodeChannel, ways_to_tell
from device_auth.prompts.wording import choose_language, wording_for
from device_auth.world.provider import first_locale
from device_auth.world.settings import folder_for_lgpio
from hardware.board import BoardPlan, Parts, open_parts, read_plan
from hardware.button import Gesture
from hardware.clock import PartsClock
from hardware.errors import HardwareError
from hardware.settings import Settings
from hardware.simulated import SimulatedButton, SimulatedLight
from hardware.voice import QuietHours, read_voice_settings

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.core.ports import Prompt
    from device_auth.world.clock import BootClock
    from hardware.button import Button
    from hardware.panel import Matrix
    from hardware.voice import Voice

PATTERNS: Final = "patterns"
"""The table in ``[hardware]`` that is ours: what the light shows for each state and trouble."""

NEVER_QUIET: Final = QuietHours(0, 0)

SHORT_PRESS: Final = 0.3
"""Seconds of a simulated tap."""

HELD: Final = {Gesture.HELD_5S, Gesture.HELD_10S}


def read_hardware(hardware: Settings) -> tuple[BoardPlan, Table]:
    """Check the table ``[hardware]`` of the settings: the parts, and what the light shows.

    Raises:
        ConfigError: a setting in it cannot be used.
    """
    patterns = hardware.get(PATTERNS, {})
    with as_settings():
        if not isinstance(patterns, Mapping):
            raise ConfigError(
                f"{PATTERNS} cannot be {patterns!r}", hint=f"Write a table [hardware.{PATTERNS}]."
            )
        plan = read_plan({key: value for key, value in hardware.items() if key != PATTERNS})
        _quiet_hours_of(plan)
        return plan, read_table(patterns)


def room_for(plan: BoardPlan) -> AbstractContextManager[None]:
    """Make the room that the parts' libraries need beside the pins, for as long as the parts are open."""
    return folder_for_lgpio() if any(part.back_end == "rpi-gpio" for part in plan.parts) else nullcontext()


@contextmanager
def real_parts(speaker: "Doors", presses: Iterable[str] | None = None) -> Iterator[OpenedParts]:
    """Open the parts that the settings name; one that is missing is told of, and the others go on.

    Args:
        speaker: whose settings.
        presses: lines that press the button, if it is a simulated one; see ``simulated_parts``. A simulated light
            is then told in lines as well.

    Raises:
        ConfigError: a setting cannot be used.
    """
    plan, table = read_hardware(speaker.settings.hardware)
    telling = OpenedParts()
    with ExitStack() as opened:
        opened.enter_context(room_for(plan))
        clock = PartsClock()
        opened.callback(clock.close)
        with as_settings():
            parts = open_parts(plan, clock)
        opened.callback(_close, parts)
        for problem in parts.problems:
            _say_problem(problem.part, problem.error)
            telling.problems.append((problem.part, str(problem.error), problem.error.hint))
        telling.ways = ways_to_tell(panel=parts.panel, voice=parts.voice, volume=_volume_of(plan))
        if presses is not None and isinstance(parts.light, SimulatedLight):
            parts = replace(parts, light=PlainLight(say))
        telling.prompts = _prompts_of(parts, plan, table, speaker)
        telling.is_lively = parts.light is not None or parts.voice is not None
        if parts.button is not None:
            _listen(parts.button, telling, _light_of(telling), speaker.clock, lambda _: None)
        if presses is not None and isinstance(parts.button, SimulatedButton):
            _press_by_lines(presses, parts.button)
        yield telling


@contextmanager
def simulated_parts(
    speaker: "Doors", *, is_drawn: bool, presses: Iterable[str] | None = None
) -> Iterator[OpenedParts]:
    """Make a simulated speaker: drawn where people look at a terminal, else told in plain lines.

    Args:
        speaker: which one.
        is_drawn: people look at a terminal; the space bar is the button.
        presses: otherwise, lines that press the button: ``tap``, or ``hold`` and for how many seconds.
    """
    if not is_drawn:
        light = LightPrompt(PlainLight(say))
        voice = _voice_prompt(plain_voice(say), NEVER_QUIET, speaker)
        telling = OpenedParts([light, voice], ways=(CodeChannel.VOICE,))
        with ExitStack() as opened:
            if presses is not None:
                clock = PartsClock()
                opened.callback(clock.close)
                button = SimulatedButton(clock)
                _listen(button, telling, light, speaker.clock, lambda _: None)
                opened.callback(button.close)
                _press_by_lines(presses, button)
            yield telling
        return
    with ExitStack() as opened:
        clock = PartsClock()
        opened.callback(clock.close)
        drawn = DrawnSpeaker(clock)
        opened.callback(drawn.voice.close)
        light = LightPrompt(drawn.light)
        voice = _voice_prompt(drawn.voice, NEVER_QUIET, speaker)
        telling = OpenedParts([light, voice], aside=drawn, is_lively=True, ways=(CodeChannel.VOICE,))
        _listen(drawn.button, telling, light, speaker.clock, drawn.notice)
        opened.callback(drawn.button.close)
        if sys.stdin is not None and sys.stdin.isatty():
            opened.enter_context(keys_of(sys.stdin.fileno(), drawn.strike))
        yield telling


def _press_by_lines(lines: Iterable[str], button: SimulatedButton) -> None:
    """Let lines press a simulated button, as they come."""

    def read() -> None:
        for line in lines:
            match line.split():
                case ["tap"]:
                    button.hold(SHORT_PRESS)
                case ["hold", seconds] if seconds.replace(".", "", 1).isdecimal():
                    button.hold(float(seconds))
                case _:
                    _say(f"{line.strip()!r} is no press: write tap, or hold and the seconds")

    Thread(target=read, name="presses", daemon=True).start()


def _prompts_of(parts: Parts, plan: BoardPlan, table: Table, speaker: "Doors") -> "list[Prompt]":
    prompts: list[Prompt] = []
    if parts.light is not None:
        prompts.append(LightPrompt(parts.light, table=table))
    if parts.panel is not None:
        wording = wording_for(_locale(speaker))
        prompts.append(
            PanelPrompt(parts.panel, wording, draw_code=draw_code, note=lambda why: _say(f"the panel: {why}"))
        )
    if parts.voice is not None:
        prompts.append(_voice_prompt(parts.voice, _quiet_hours_of(plan), speaker))
    return prompts


def _voice_prompt(voice: "Voice", quiet_hours: QuietHours, speaker: "Doors") -> VoicePrompt:
    locale = _locale(speaker)
    if not choose_language(locale).is_known:
        _say(f"the voice does not speak {locale}; it speaks English")
    return VoicePrompt(
        voice,
        wording_for(locale),
        quiet_hours=quiet_hours,
        local_minute=lambda: local_minute(speaker.clock),
    )


def _listen(
    button: "Button",
    telling: OpenedParts,
    light: LightPrompt | None,
    clock: "BootClock",
    notice: Callable[[Gesture], None],
) -> None:
    """Let a tap tell the code again, and the light answer a hold; what a hold does is the daemon's business."""

    def told(gesture: Gesture) -> None:
        notice(gesture)
        telling.heard(gesture)
        if gesture is Gesture.TAP:
            telling.tapped()
        elif light is not None:
            light.hold(gesture if gesture in HELD else None, clock.now())

    def failed(error: HardwareError) -> None:
        _say_problem("button", error)
        telling.failed("button", str(error), error.hint)

    try:
        button.listen(told, failed)
    except HardwareError as error:
        _say_problem("button", error)
        telling.problems.append(("button", str(error), error.hint))


def _light_of(telling: OpenedParts) -> LightPrompt | None:
    return next((prompt for prompt in telling.prompts if isinstance(prompt, LightPrompt)), None)


def _volume_of(plan: BoardPlan) -> int:
    voices = (part for part in plan.parts if part.sort == "voice")
    return next((read_voice_settings(part.settings).volume for part in voices), 0)


def _quiet_hours_of(plan: BoardPlan) -> QuietHours:
    voices = (part for part in plan.parts if part.sort == "voice")
    return next((read_voice_settings(part.settings).quiet_hours for part in voices), NEVER_QUIET)


def _locale(speaker: "Doors") -> str:
    return first_locale(speaker.settings.locale)


def draw_code(text: str, level: Literal["L", "M"]) -> "Matrix":
    """Return the QR code of a text without its quiet zone: a panel makes its own."""
    inner = slice(QUIET_ZONE, -QUIET_ZONE)
    return tuple(row[inner] for row in read_matrix(text, level=level)[inner])


def local_minute(clock: "BootClock") -> int | None:
    """Return the minute of the local day, or None while the clock is not set."""
    if not clock.looks_set():
        return None
    here = datetime.fromtimestamp(clock.wall(), UTC).astimezone()
    return here.hour * 60 + here.minute


def _close(parts: Parts) -> None:
    with suppress(HardwareError):  # there is nobody left whom it would concern
        parts.close()


@contextmanager
def as_settings() -> Iterator[None]:
    """Take what the parts refuse for what it is: a setting that cannot be used."""
    try:
        yield
    except HardwareError as error:
        raise ConfigError(f"[hardware] {error}", hint=error.hint) from error


def _say_problem(part: str, error: HardwareError) -> None:
    _say(f"the {part} does not work: {error}")
    if error.hint:
        say(f"  {error.hint}")


def _say(text: str) -> None:
    say(f"device-auth: {text}")
