"""Prompts over parts: those of the settings, on pins, wires and sound cards, or those of a simulated speaker."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal

from device_auth.assembly.keyboard import keys_of
from device_auth.assembly.opened_parts import OpenedParts, PartsListener, never_speaks
from device_auth.assembly.simulated_speaker import HELP, KEYS, DrawnSpeaker, PlainLight, plain_voice
from device_auth.core.errors import ConfigError
from device_auth.core.models import Refusal
from device_auth.core.states import Trouble
from device_auth.installation import how_to_install
from device_auth.prompts.code_channels import CodeChannel
from device_auth.prompts.light import LightPrompt, Table, read_patterns
from device_auth.prompts.panel import PanelPrompt
from device_auth.prompts.picture import QUIET_ZONE, read_matrix
from device_auth.prompts.stderr import say
from device_auth.prompts.voice import VoicePrompt
from device_auth.prompts.wording import EXTRA_PACKAGE, choose_language, wording_for
from device_auth.world.owners import belongs_to_another, owner_of
from device_auth.world.provider import first_locale
from device_auth.world.settings import HARDWARE, SETTINGS, as_config_error, folder_for_lgpio, giving_to_root
from hardware.board import BoardPlan, Parts, named_paths, open_parts, read_plan
from hardware.button import Gesture
from hardware.clock import PartsClock
from hardware.errors import HardwareError
from hardware.settings import Settings as HardwareSettings
from hardware.simulated import TAP_S, SimulatedButton, SimulatedLight
from hardware.voice import NoVoice, QuietHours

if TYPE_CHECKING:
    from device_auth.core.ports import Prompt
    from device_auth.world.clock import BootClock
    from device_auth.world.settings import Settings
    from hardware.button import Button
    from hardware.panel import Matrix
    from hardware.voice import Voice

log: Final = logging.getLogger(__name__)

PATTERNS: Final = "patterns"
"""The table in ``[hardware]`` with the patterns of the light, one for each state and trouble."""

NEVER_QUIET: Final = QuietHours(0, 0)

END_OF_INPUT: Final = b"\x04"
"""Ctrl-D, which is a key like any other where keys are read one by one."""

HELD: Final = {Gesture.HELD_5S, Gesture.HELD_10S}


def read_hardware(
    hardware: HardwareSettings, table_of: Mapping[Path, HardwareSettings] = {}
) -> tuple[BoardPlan, Table]:
    """Read the table ``[hardware]`` of the settings: the parts, and the patterns of the light.

    Args:
        hardware: the table.
        table_of: the files that it was read from, and what each has of it.

    Raises:
        ConfigError: if a setting in it cannot be used, or names a program or a file that another user would have root use.
    """
    patterns = hardware.get(PATTERNS, {})
    with as_config_error(HARDWARE):
        if not isinstance(patterns, Mapping):
            raise ConfigError(
                f"{PATTERNS} cannot be {patterns!r}", hint=f"Write a table [hardware.{PATTERNS}]."
            )
        plan = read_plan({key: value for key, value in hardware.items() if key != PATTERNS})
        for file, table in table_of.items():
            _refuse_paths_of_another(table, file)
        return plan, read_patterns(patterns)


def _refuse_paths_of_another(hardware: HardwareSettings, file: Path) -> None:
    named = next(named_paths(hardware), None)
    if named is None or not belongs_to_another(file):
        return
    give = f"run: {giving_to_root(file)} (and the folders to it, if they are not root's)"
    if file.name == SETTINGS:  # which lies in a folder of the service's user, and so is his whoever owns it
        give = "move that line into the settings file"
    raise ConfigError(
        f"[{HARDWARE}] {named} names a program or a file, which root would use, and {file} belongs to another user"
        f" (uid {owner_of(file).uid})",
        hint=f"Read that file. If it is right, {give}. Or run this as that user.",
    )


def library_folder(plan: BoardPlan) -> AbstractContextManager[None]:
    """Provide the folder that a library of the pins writes to, for as long as the parts are open."""
    return folder_for_lgpio() if plan.pin_library == "rpi-gpio" else nullcontext()


@contextmanager
def open_hardware(
    settings: "Settings",
    clock: "BootClock",
    listener: PartsListener,
    presses: Iterable[str] | None = None,
    name: Callable[[], str] = lambda: "",
) -> Iterator[OpenedParts]:
    """Open the parts that the settings name; see ``parts.open_parts``.

    Where ``presses`` are given, a simulated light is written in lines.

    Raises:
        ConfigError: if a setting cannot be used.
    """
    plan, table = read_hardware(settings.hardware, settings.hardware_of)
    with ExitStack() as opened:
        opened.enter_context(library_folder(plan))
        parts_clock = opened.enter_context(_clock_of_parts())
        parts = open_parts(plan, parts_clock)
        opened.callback(_close, parts)
        for problem in parts.problems:
            listener.on_failure(problem.part, _trouble_with(problem.part, problem.error))
        if presses is not None and isinstance(parts.light, SimulatedLight):
            parts = replace(parts, light=PlainLight(say))
        light = None if parts.light is None else LightPrompt(parts.light, table=table)
        if parts.button is not None:
            watch_button(parts.button, light, clock, listener)
            if presses is not None and isinstance(parts.button, SimulatedButton):
                _press_by_lines(presses, parts.button, listener)
        prompts: list[Prompt] = [] if light is None else [light]
        channels: list[CodeChannel] = []
        is_speaking = never_speaks
        if parts.panel is not None:
            wording = wording_for(settings.locale)
            prompts.append(PanelPrompt(parts.panel, wording, draw_code=draw_code))
            channels.append(CodeChannel.PANEL)
        if parts.voice is not None and plan.voice is not None:
            voice = _voice_prompt(parts.voice, plan.voice.quiet_hours, settings.locale, clock, name)
            prompts.append(voice)
            is_speaking = voice.is_speaking
            if plan.voice.volume > 0 and not isinstance(parts.voice, NoVoice):
                channels.append(CodeChannel.VOICE)
        is_momentary = parts.light is not None or parts.voice is not None
        yield OpenedParts(
            tuple(prompts),
            tuple(channels),
            is_momentary=is_momentary,
            is_speaking=is_speaking,
            has_real_button=not isinstance(parts.button, SimulatedButton | None),
            has_light=light is not None,
        )


@contextmanager
def open_in_lines(
    locale: str,
    clock: "BootClock",
    listener: PartsListener,
    presses: Iterable[str] | None = None,
    name: Callable[[], str] = lambda: "",
) -> Iterator[OpenedParts]:
    """Make a simulated speaker that is written in lines; see ``parts.open_parts``."""
    light = LightPrompt(PlainLight(say))
    voice = _voice_prompt(plain_voice(say), NEVER_QUIET, locale, clock, name)
    with ExitStack() as opened:
        if presses is not None:
            button = SimulatedButton(opened.enter_context(_clock_of_parts()))
            watch_button(button, light, clock, listener)
            opened.callback(button.close)
            _press_by_lines(presses, button, listener)
        yield OpenedParts((light, voice), (CodeChannel.VOICE,), is_speaking=voice.is_speaking, has_light=True)


@contextmanager
def open_drawn(
    locale: str,
    clock: "BootClock",
    listener: PartsListener,
    presses: Iterable[str] | None = None,
    name: Callable[[], str] = lambda: "",
) -> Iterator[OpenedParts]:
    """Make a simulated speaker that is drawn on the terminal; keys are its button, or lines where they come by a pipe."""
    on_end = listener.on_end
    with ExitStack() as opened:
        drawn = DrawnSpeaker(opened.enter_context(_clock_of_parts()), in_service=presses is not None)
        opened.callback(drawn.voice.close)
        light = LightPrompt(drawn.light)
        voice = _voice_prompt(drawn.voice, NEVER_QUIET, locale, clock, name)

        def on_gesture(gesture: Gesture) -> None:
            drawn.explain(gesture)
            listener.on_gesture(gesture)

        def on_keys(typed: bytes) -> None:
            if on_end is not None and (not typed or END_OF_INPUT in typed):
                on_end()
            if HELP in typed:
                say(KEYS)
            drawn.press_by_keys(typed)

        watch_button(drawn.button, light, clock, PartsListener(on_gesture, listener.on_failure))
        opened.callback(drawn.button.close)
        if sys.stdin is not None and sys.stdin.isatty():
            drawn.has_keys = opened.enter_context(keys_of(sys.stdin.fileno(), on_keys))
        elif presses is not None:
            _press_by_lines(presses, drawn.button, listener)
        yield OpenedParts(
            (light, voice),
            (CodeChannel.VOICE,),
            sidebar=drawn,
            is_momentary=True,
            is_speaking=voice.is_speaking,
            has_light=True,
        )


def watch_button(
    button: "Button", light: LightPrompt | None, clock: "BootClock", listener: PartsListener
) -> None:
    """Start watching a button; the light answers a hold while it lasts."""

    def on_gesture(gesture: Gesture) -> None:
        listener.on_gesture(gesture)
        if light is not None and gesture is not Gesture.TAP:
            light.hold(gesture if gesture in HELD else None, clock.now())

    def on_failure(error: HardwareError) -> None:
        listener.on_failure("button", _trouble_with("button", error))

    try:
        button.listen(on_gesture, on_failure)
    except HardwareError as error:
        on_failure(error)


def _press_by_lines(lines: Iterable[str], button: SimulatedButton, listener: PartsListener) -> None:
    """Start a thread that presses a simulated button for each line."""

    def press(line: str) -> None:
        match line.split():
            case ["tap"]:
                button.hold(TAP_S)
            case ["hold", seconds] if seconds.replace(".", "", 1).isdecimal():
                button.hold(float(seconds))
            case _:
                log.warning("%r is not a press: write tap, or hold and a number of seconds", line.strip())

    def read() -> None:
        with suppress(OSError):  # the terminal is gone
            for line in lines:
                press(line)
        if listener.on_end is not None:
            listener.on_end()

    Thread(target=read, name="presses", daemon=True).start()


def _voice_prompt(
    voice: "Voice", quiet_hours: QuietHours, locale: str, clock: "BootClock", name: Callable[[], str]
) -> VoicePrompt:
    locale = first_locale(locale)
    choice = choose_language(locale)
    if choice.missing or not choice.is_known:
        missing = f": install {EXTRA_PACKAGE}" if choice.missing else ""
        log.warning("the voice does not speak %s%s; it speaks %s", locale, missing, choice.language)
    return VoicePrompt(
        voice,
        wording_for(locale),
        quiet_hours=quiet_hours,
        local_minute=lambda: local_minute(clock),
        speaker=name,
    )


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


def hint_of(error: HardwareError) -> str:
    """Return what a person should do about a part that failed; what is to be installed comes first."""
    if not error.library:
        return error.hint
    install = how_to_install(error.library)
    return f"{install}; {error.hint[0].lower()}{error.hint[1:]}" if error.hint else install


def _trouble_with(part: str, error: HardwareError) -> Refusal:
    return Refusal(Trouble.HARDWARE, "", f"the {part} does not work: {error}", hint_of(error))


@contextmanager
def _clock_of_parts() -> Iterator[PartsClock]:
    clock = PartsClock()
    try:
        yield clock
    finally:
        clock.close()


def _close(parts: Parts) -> None:
    with suppress(HardwareError):  # the command is ending, and nothing depends on the parts any more
        parts.close()
