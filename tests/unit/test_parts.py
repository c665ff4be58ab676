"""From settings to prompts: real parts as files and programs, and the failures of those that are missing."""

import grp
import os
import time
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import enumerate as threads

import pytest

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.hardware_parts import (
    local_minute,
    open_drawn,
    open_hardware,
    open_in_lines,
    read_hardware,
    watch_button,
)
from device_auth.assembly.opened_parts import OpenedParts, PartsListener, SimulatedAs
from device_auth.assembly.parts import has_no_parts, open_parts
from device_auth.assembly.simulated_speaker import DrawnSpeaker
from device_auth.cli.main import read_arguments
from device_auth.core.errors import ConfigError
from device_auth.core.models import Refusal, UnixTime
from device_auth.core.states import Trouble
from device_auth.prompts.code_channels import CodeChannel
from device_auth.prompts.light import TABLE, LightCue, LightPrompt
from device_auth.world.clock import BootClock
from hardware.button import Gesture, OnFailure, OnGesture
from hardware.errors import PartBusy
from hardware.led import Off
from hardware.simulated import SimulatedButton, SimulatedClock, SimulatedLight
from tests.code_views import PROVING, REQUESTING
from tests.stand_ins.fixtures import stand_ins
from tests.stand_ins.kernel_leds import KernelLedFiles
from tests.values import moment
from tests.waiting import LONG

pytestmark = pytest.mark.usefixtures("own_home")

__all__ = ["stand_ins"]


def write_settings(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def speaker_with(folder: Path, hardware: str, *words: str) -> Doors:
    config = write_settings(folder, hardware)
    return open_doors(
        vars(
            read_arguments(
                [
                    *("link", "--config", str(config), "--state-dir", str(folder / "state")),
                    *("--runtime-dir", str(folder / "run"), *words),
                ]
            )
        )
    )


class Heard:
    """Listens to parts, and keeps what it hears."""

    def __init__(self) -> None:
        self.gestures: SimpleQueue[Gesture] = SimpleQueue()
        self.failures: list[tuple[str, Refusal]] = []
        self.listener = PartsListener(
            self.gestures.put, lambda part, trouble: self.failures.append((part, trouble))
        )


@pytest.fixture
def heard() -> Heard:
    return Heard()


def hardware_of(speaker: Doors, heard: Heard) -> AbstractContextManager[OpenedParts]:
    return open_hardware(speaker.settings, speaker.clock, heard.listener)


def opened(
    speaker: Doors, heard: Heard, simulated_as: SimulatedAs | None = None
) -> AbstractContextManager[OpenedParts]:
    return open_parts(speaker.settings, speaker.clock, heard.listener, simulated_as=simulated_as)


def kernel_led(folder: Path) -> str:
    KernelLedFiles(folder, "led0", time.monotonic)
    return f'[hardware.light]\nkind = "kernel"\nname = "led0"\ndirectory = "{folder}"\n'


# -- which parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hardware", [{}, {"board": "none"}])
def test_by_default_there_is_no_part_and_no_hardware_is_looked_for(
    hardware: dict[str, object], tmp_path: Path, heard: Heard
) -> None:
    with opened(speaker_with(tmp_path, '[hardware]\nboard = "none"'), heard) as parts:
        assert parts == OpenedParts()

    assert has_no_parts(hardware)


@pytest.mark.parametrize("hardware", [{"board": "simulated"}, {"board": "none", "light": {}}, {"light": {}}])
def test_anything_said_of_the_hardware_is_looked_at(hardware: dict[str, object]) -> None:
    assert not has_no_parts(hardware)


def test_light_panel_and_voice_of_the_settings_become_prompts(tmp_path: Path, heard: Heard) -> None:
    settings = (
        kernel_led(tmp_path)
        + '[hardware.panel]\nkind = "simulated"\n'
        + '[hardware.voice]\nkind = "command"\ncommand = ["cat"]\nquiet_hours = "22:00-07:00"\n'
    )
    with hardware_of(speaker_with(tmp_path, settings), heard) as parts:
        names = [prompt.name for prompt in parts.prompts]
        for prompt in parts.prompts:
            prompt.show(PROVING, moment(0))

    assert names == ["light", "panel", "voice"]
    assert parts.code_channels == (CodeChannel.PANEL, CodeChannel.VOICE)
    assert parts.is_momentary
    assert heard.failures == []


@pytest.mark.parametrize("voice", ['kind = "simulated"\nvolume = 0', 'kind = "off"'])
def test_neither_a_light_nor_a_silent_voice_can_tell_a_code(tmp_path: Path, heard: Heard, voice: str) -> None:
    settings = f"{kernel_led(tmp_path)}[hardware.voice]\n{voice}\n"
    with hardware_of(speaker_with(tmp_path, settings), heard) as parts:
        assert parts.code_channels == ()


def test_a_panel_alone_is_not_waited_for_at_the_end(tmp_path: Path, heard: Heard) -> None:
    speaker = speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\n')
    with hardware_of(speaker, heard) as parts:
        assert not parts.is_momentary


def test_the_parts_of_a_board_are_released_at_the_end(tmp_path: Path, heard: Heard) -> None:
    with hardware_of(speaker_with(tmp_path, '[hardware]\nboard = "simulated"\n'), heard) as parts:
        assert [prompt.name for prompt in parts.prompts] == ["light"]

    assert all(thread.name != "parts-clock" for thread in threads())


def heard_in(heard: Heard) -> list[Gesture]:
    return [heard.gestures.get() for _ in range(heard.gestures.qsize())]


def test_every_gesture_is_heard_and_the_light_answers_a_hold(heard: Heard) -> None:
    clock = SimulatedClock()
    light, button = SimulatedLight(clock), SimulatedButton(clock)
    watch_button(button, LightPrompt(light), BootClock(), heard.listener)
    for seconds in (0.2, 12):
        button.hold(seconds)
        clock.pass_time(20)

    assert heard_in(heard) == [Gesture.TAP, Gesture.HELD_5S, Gesture.HELD_10S, Gesture.HOLD_10S]
    assert [shown.pattern for shown in light.shown] == [
        Off(),
        TABLE[LightCue.HELD_5S],
        TABLE[LightCue.HELD_10S],
        Off(),
    ]


def test_a_hold_is_heard_without_a_light(heard: Heard) -> None:
    clock = SimulatedClock()
    button = SimulatedButton(clock)
    watch_button(button, None, BootClock(), heard.listener)
    button.hold(6)
    clock.pass_time(7)

    assert heard_in(heard) == [Gesture.HELD_5S, Gesture.HOLD_5S]


class Lost:
    """A button that another program has."""

    def listen(self, on_gesture: OnGesture, on_failure: OnFailure) -> None:  # noqa: ARG002 - a Button's signature
        raise PartBusy("GPIO17 is in use", hint="See who has it: gpioinfo")

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_button_that_cannot_be_watched_is_a_failure(heard: Heard) -> None:
    watch_button(Lost(), None, BootClock(), heard.listener)

    assert heard.failures == [
        (
            "button",
            Refusal(
                Trouble.HARDWARE,
                "",
                "the button does not work: GPIO17 is in use",
                "See who has it: gpioinfo",
            ),
        )
    ]


def test_a_language_that_is_not_spoken_is_logged(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    settings = '[hardware.voice]\nkind = "simulated"\n'
    with hardware_of(speaker_with(tmp_path, settings, "--locale", "sv-SE,en-US"), heard):
        pass

    assert caplog.messages == ["the voice does not speak sv-SE; it speaks en"]


def test_a_missing_part_is_a_failure_with_what_to_do_and_the_others_go_on(
    tmp_path: Path, heard: Heard
) -> None:
    settings = kernel_led(tmp_path) + '[hardware.panel]\nkind = "console"\ndevice = "/dev/tty_not_there"\n'
    with hardware_of(speaker_with(tmp_path, settings), heard) as parts:
        names = [prompt.name for prompt in parts.prompts]

    assert names == ["light"]
    [(part, trouble)] = heard.failures
    assert (part, trouble.trouble) == ("panel", Trouble.HARDWARE)
    assert trouble.message.startswith("the panel does not work: ")
    assert "/dev/tty_not_there" in trouble.message
    assert trouble.hint


def test_lines_press_a_simulated_button_and_any_other_is_logged(
    tmp_path: Path, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    speaker = speaker_with(tmp_path, '[hardware]\nboard = "simulated"\n')
    lines = ["tap twice\n", "tap\n"]
    with open_hardware(speaker.settings, speaker.clock, heard.listener, lines):
        assert heard.gestures.get(timeout=LONG) is Gesture.TAP

    assert caplog.messages == ["'tap twice' is not a press: write tap, or hold and a number of seconds"]


@pytest.mark.parametrize(
    ("hardware", "is_real"),
    [
        ('board = "simulated"', False),
        ('gpio = "rpi-gpio"\nbutton = {pin = 17, pull = "up", active = "low"}', True),
        ('voice = {kind = "simulated"}', False),
    ],
)
@pytest.mark.usefixtures("stand_ins")
def test_a_real_button_is_told_from_a_simulated_one_and_from_none(
    tmp_path: Path, heard: Heard, hardware: str, is_real: bool
) -> None:
    with hardware_of(speaker_with(tmp_path, f"[hardware]\n{hardware}\n"), heard) as parts:
        assert parts.has_real_button == is_real


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"board": "simulatd"}, "board ('simulatd') is not a known board"),
        ({"patterns": 5}, "patterns cannot be 5"),
        ({"patterns": {"denid": "off"}}, "patterns has no setting 'denid'"),
        ({"voice": {"kind": "off", "quiet_hours": "late"}}, "quiet_hours ('late') must be"),
        ({"voice": {"kind": "loud"}}, "kind ('loud') must be"),
        ({"light": "on"}, "light ('on') must be a table"),
    ],
)
def test_a_bad_setting_is_an_error_of_the_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_hardware(settings)

    assert message in str(refused.value)
    assert str(refused.value).count("hardware") <= 1
    assert refused.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs for another user")
@pytest.mark.parametrize(
    ("hardware", "refused"),
    [
        ({"voice": {"kind": "command", "command": ["/home/anna/say"]}}, "voice.command"),
        ({"voice": {"kind": "espeak", "player": ["/home/anna/play"]}}, "voice.player"),
        ({"voice": {"kind": "recorded", "directory": "/home/anna"}}, "voice.directory"),
        ({"panel": {"kind": "console", "device": "/dev/watchdog"}}, "panel.device"),
        ({"light": {"kind": "kernel", "name": "ACT", "directory": "/home/anna"}}, "light.directory"),
        (
            {"light": [{"kind": "kernel", "name": "a"}, {"kind": "kernel", "name": "b", "directory": "/x"}]},
            "light.directory",
        ),
        ({"gpio": "gpiod", "chip": "/dev/watchdog"}, "chip"),
        ({"voice": {"kind": "espeak", "player": ["aplay", "-q", "-"]}}, ""),
        ({"voice": {"kind": "off"}, "panel": {"kind": "console", "device": "/dev/tty1"}}, ""),
        ({"light": {"kind": "kernel", "name": "ACT"}, "button": "off"}, ""),
    ],
)
def test_root_uses_no_program_and_no_file_that_another_users_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hardware: dict[str, object], refused: str
) -> None:
    given = grp.struct_group(("device-auth", "x", 997, []))
    monkeypatch.setattr(grp, "getgrnam", {"device-auth": given}.__getitem__)
    file = tmp_path / "config.toml"
    file.touch()
    read_hardware(hardware, {file: hardware})

    os.chown(file, 12345, 12345)

    with pytest.raises(ConfigError, match="belongs to another user") if refused else nullcontext() as raised:
        read_hardware(hardware, {file: hardware})
    assert refused in str(raised and raised.value)
    if raised is not None:
        # the service, whose file it was, must still read it
        assert f"chown root:device-auth {file} && chmod 640 {file}" in raised.value.hint


def test_a_panel_setting_that_only_the_panel_knows_is_one_too(tmp_path: Path, heard: Heard) -> None:
    speaker = speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\nheight = 48\n')

    with pytest.raises(ConfigError, match=r"height \(48\)"), hardware_of(speaker, heard):
        pass


def test_patterns_of_the_settings_are_shown() -> None:
    _, table = read_hardware({"patterns": {"linked": {"kind": "solid"}}})

    assert table != TABLE


# -- the simulated speaker --------------------------------------------------------------------------------


def test_the_space_bar_is_the_button_of_a_drawn_speaker(tmp_path: Path, heard: Heard) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto")
    with open_drawn(speaker.settings.locale, speaker.clock, heard.listener) as parts:
        assert isinstance(parts.sidebar, DrawnSpeaker)
        parts.sidebar.press_by_keys(b" ")

        assert heard.gestures.get(timeout=LONG) is Gesture.TAP
        assert [prompt.name for prompt in parts.prompts] == ["light", "voice"]


def test_without_a_terminal_light_and_voice_are_written_in_lines(
    tmp_path: Path, heard: Heard, capsys: pytest.CaptureFixture[str]
) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto", "--locale", "de-DE")
    with open_in_lines(speaker.settings.locale, speaker.clock, heard.listener) as parts:
        for prompt in parts.prompts:
            prompt.show(REQUESTING, moment(0))
            prompt.show(REQUESTING, moment(2))
            prompt.close()
    for thread in threads():
        assert thread.name != "voice"

    assert capsys.readouterr().err.splitlines() == [
        "light: cyan, blinking quickly",
        "light: dark",
        'voice: "Ich fordere einen Code an. Einen Moment."',
    ]


def test_nothing_is_shown_of_a_simulation_that_nobody_reads(tmp_path: Path, heard: Heard) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto", "--json")
    with opened(speaker, heard, SimulatedAs.NOTHING) as parts:
        assert parts == OpenedParts()


def test_a_simulated_speaker_that_is_read_tells_a_code(tmp_path: Path, heard: Heard) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto")
    with opened(speaker, heard, SimulatedAs.LINES) as parts:
        assert [prompt.name for prompt in parts.prompts] == ["light", "voice"]
        assert parts.code_channels == (CodeChannel.VOICE,)
        assert parts.sidebar is None


def test_parts_of_the_settings_are_opened(tmp_path: Path, heard: Heard) -> None:
    with opened(speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\n'), heard) as parts:
        assert [prompt.name for prompt in parts.prompts] == ["panel"]


# -- the clock --------------------------------------------------------------------------------------------


class SetClock(BootClock):
    """A clock that shows what it is told."""

    def __init__(self, wall: float, *, is_set: bool) -> None:
        self._wall = UnixTime(wall)
        self._is_set = is_set

    def wall(self) -> UnixTime:
        return self._wall

    def looks_set(self, not_before: UnixTime = UnixTime(0)) -> bool:  # noqa: B008 - a NewType is no call
        return self._is_set and self._wall >= not_before


def test_the_minute_is_the_local_days_and_none_while_the_clock_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "XXX-01:30")
    time.tzset()
    try:
        assert local_minute(SetClock(60 * 60, is_set=True)) == 2 * 60 + 30
        assert local_minute(SetClock(60 * 60, is_set=False)) is None
    finally:
        monkeypatch.undo()
        time.tzset()


LGPIO = '[hardware]\nboard = "generic-led"\ngpio = "rpi-gpio"\n'


# -- what lies about --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stand_ins")
def test_lgpio_leaves_its_pipe_in_a_folder_that_goes_with_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    monkeypatch.delenv("LG_WD", raising=False)
    with hardware_of(speaker_with(tmp_path, LGPIO), heard):
        folder = Path(import_module("lgpio").PIPE_IN)
        was_there = folder.is_dir() and folder != Path()

    assert (heard.failures, was_there, folder.exists()) == ([], True, False)
    assert "LG_WD" not in os.environ


@pytest.mark.usefixtures("stand_ins")
def test_lgpio_keeps_the_folder_that_it_has_been_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    monkeypatch.setenv("LG_WD", str(tmp_path))
    with hardware_of(speaker_with(tmp_path, LGPIO), heard):
        pipe_in = import_module("lgpio").PIPE_IN

    assert pipe_in == str(tmp_path)
    assert os.environ["LG_WD"] == str(tmp_path)
