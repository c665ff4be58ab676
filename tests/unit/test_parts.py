"""From settings to ways of telling: real parts as files and programs, and what is said of those that are missing."""

import os
import time
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from threading import enumerate as threads

import pytest

from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.main import read_arguments
from device_auth.cli.parts import _listen, local_minute, read_hardware, real_parts, simulated_parts
from device_auth.cli.simulated_speaker import DrawnSpeaker
from device_auth.cli.telling import OpenedParts, has_no_parts, parts_of
from device_auth.core.errors import ConfigError
from device_auth.core.models import UnixTime
from device_auth.prompts.light import TABLE, LightCue, LightPrompt
from device_auth.world.clock import BootClock
from hardware.button import Failed, Gesture, Told
from hardware.errors import PartBusy
from hardware.led import Off
from hardware.simulated import SimulatedButton, SimulatedClock, SimulatedLight
from tests.code_views import PROVING, REQUESTING
from tests.stand_ins.fixtures import stand_ins
from tests.stand_ins.kernel_leds import KernelLedFiles
from tests.values import moment

__all__ = ["stand_ins"]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DEVICE_AUTH_CONFIG", raising=False)


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


def kernel_led(folder: Path) -> str:
    KernelLedFiles(folder, "led0", time.monotonic)
    return f'[hardware.light]\nkind = "kernel"\nname = "led0"\ndirectory = "{folder}"\n'


# -- which parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hardware", [{}, {"board": "none"}])
def test_by_default_there_is_no_part_and_no_hardware_is_looked_for(
    hardware: dict[str, object], tmp_path: Path
) -> None:
    speaker = speaker_with(tmp_path, '[hardware]\nboard = "none"')
    with parts_of(speaker, is_read=True, is_on_a_terminal=True) as telling:
        assert telling.prompts == []

    assert has_no_parts(hardware)


@pytest.mark.parametrize("hardware", [{"board": "simulated"}, {"board": "none", "light": {}}, {"light": {}}])
def test_anything_said_of_the_hardware_is_looked_at(hardware: dict[str, object]) -> None:
    assert not has_no_parts(hardware)


def test_light_panel_and_voice_of_the_settings_become_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        kernel_led(tmp_path)
        + '[hardware.panel]\nkind = "simulated"\n'
        + '[hardware.voice]\nkind = "command"\ncommand = ["cat"]\nquiet_hours = "22:00-07:00"\n'
    )
    with real_parts(speaker_with(tmp_path, settings)) as telling:
        names = [prompt.name for prompt in telling.prompts]
        for prompt in telling.prompts:
            prompt.show(PROVING, moment(0))

    assert names == ["light", "panel", "voice"]
    assert telling.is_lively
    assert capsys.readouterr().err == ""


def test_a_panel_alone_is_not_waited_for_at_the_end(tmp_path: Path) -> None:
    with real_parts(speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\n')) as telling:
        assert not telling.is_lively


def test_the_parts_of_a_board_are_let_go_of_at_the_end(tmp_path: Path) -> None:
    with real_parts(speaker_with(tmp_path, '[hardware]\nboard = "simulated"\n')) as telling:
        assert [prompt.name for prompt in telling.prompts] == ["light"]

    assert all(thread.name != "parts-clock" for thread in threads())


def test_a_tap_tells_again_and_the_light_answers_a_hold() -> None:
    clock, taps, noticed = SimulatedClock(), list[str](), list[Gesture]()
    light, button = SimulatedLight(clock), SimulatedButton(clock)
    telling = OpenedParts(tapped=lambda: taps.append("tap"))
    _listen(button, telling, LightPrompt(light), BootClock(), noticed.append)
    for seconds in (0.2, 12):
        button.hold(seconds)
        clock.pass_time(20)

    assert taps == ["tap"]
    assert noticed == [Gesture.TAP, Gesture.HELD_5S, Gesture.HELD_10S, Gesture.HOLD_10S]
    assert [told.pattern for told in light.told] == [
        Off(),
        TABLE[LightCue.HELD_5S],
        TABLE[LightCue.HELD_10S],
        Off(),
    ]


def test_a_hold_without_a_light_does_nothing() -> None:
    clock, noticed = SimulatedClock(), list[Gesture]()
    button = SimulatedButton(clock)
    _listen(button, OpenedParts(), None, BootClock(), noticed.append)
    button.hold(6)
    clock.pass_time(7)

    assert noticed == [Gesture.HELD_5S, Gesture.HOLD_5S]


class Lost:
    """A button that somebody else has."""

    def listen(self, told: Told, failed: Failed) -> None:  # noqa: ARG002 - a Button's signature
        raise PartBusy("GPIO17 is in use", hint="See who has it: gpioinfo")

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_button_that_cannot_be_watched_is_told_and_missed(capsys: pytest.CaptureFixture[str]) -> None:
    _listen(Lost(), OpenedParts(), None, BootClock(), lambda _: None)

    assert capsys.readouterr().err == (
        "device-auth: the button does not work: GPIO17 is in use\n  See who has it: gpioinfo\n"
    )


def test_a_language_that_is_not_spoken_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = '[hardware.voice]\nkind = "simulated"\n'
    with real_parts(speaker_with(tmp_path, settings, "--locale", "ja-JP,en-US")):
        pass

    assert capsys.readouterr().err == "device-auth: the voice does not speak ja-JP; it speaks English\n"


def test_a_missing_part_is_told_with_what_to_do_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = kernel_led(tmp_path) + '[hardware.panel]\nkind = "console"\ndevice = "/dev/tty_not_there"\n'
    with real_parts(speaker_with(tmp_path, settings)) as telling:
        names = [prompt.name for prompt in telling.prompts]

    told = capsys.readouterr().err
    assert names == ["light"]
    assert "device-auth: the panel does not work: /dev/tty_not_there is not there\n  " in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"board": "simulatd"}, "hardware has no board 'simulatd'"),
        ({"patterns": 5}, "patterns cannot be 5"),
        ({"patterns": {"denid": "off"}}, "patterns has no setting 'denid'"),
        ({"voice": {"kind": "off", "quiet_hours": "late"}}, "quiet_hours cannot be 'late'"),
        ({"voice": {"kind": "loud"}}, "voice has no kind 'loud'"),
        ({"light": "on"}, "light cannot be 'on'"),
    ],
)
def test_a_bad_setting_is_an_error_of_the_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_hardware(settings)

    assert message in str(refused.value)
    assert refused.value.hint


def test_a_panel_setting_that_only_the_panel_knows_is_one_too(tmp_path: Path) -> None:
    speaker = speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\nheight = 48\n')

    with pytest.raises(ConfigError, match="height cannot be 48"), real_parts(speaker):
        pass


def test_patterns_of_the_settings_are_shown() -> None:
    _, table = read_hardware({"patterns": {"linked": {"kind": "solid"}}})

    assert table != TABLE


# -- the simulated speaker --------------------------------------------------------------------------------


def test_a_drawn_speaker_tells_again_at_a_tap_and_shows_a_hold(tmp_path: Path) -> None:
    tapped: SimpleQueue[str] = SimpleQueue()
    with simulated_parts(speaker_with(tmp_path, "", "--simulate=auto"), is_drawn=True) as telling:
        drawn = telling.aside
        assert isinstance(drawn, DrawnSpeaker)
        telling.tapped = lambda: tapped.put("tap")
        drawn.strike(b" ")

        assert tapped.get(timeout=5) == "tap"
        assert [prompt.name for prompt in telling.prompts] == ["light", "voice"]


def test_without_a_terminal_light_and_voice_are_told_in_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with simulated_parts(
        speaker_with(tmp_path, "", "--simulate=auto", "--locale", "de-DE"), is_drawn=False
    ) as told:
        for prompt in told.prompts:
            prompt.show(REQUESTING, moment(0))
            prompt.show(REQUESTING, moment(2))
            prompt.close()
    for thread in threads():
        assert thread.name != "voice"

    assert capsys.readouterr().err.splitlines() == [
        "light: cyan, blinking quickly",
        "light: dark",
        'voice: "Ich frage nach einem Code. Einen Moment."',
    ]


def test_nothing_is_drawn_of_a_simulation_that_nobody_reads(tmp_path: Path) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto", "--json")
    with parts_of(speaker, is_read=False, is_on_a_terminal=False) as telling:
        assert telling.prompts == []


def test_a_simulated_speaker_that_is_read_tells(tmp_path: Path) -> None:
    speaker = speaker_with(tmp_path, "", "--simulate=auto")
    with parts_of(speaker, is_read=True, is_on_a_terminal=False) as telling:
        assert [prompt.name for prompt in telling.prompts] == ["light", "voice"]
        assert telling.aside is None


def test_parts_of_the_settings_are_opened(tmp_path: Path) -> None:
    speaker = speaker_with(tmp_path, '[hardware.panel]\nkind = "simulated"\n')
    with parts_of(speaker, is_read=False, is_on_a_terminal=False) as telling:
        assert [prompt.name for prompt in telling.prompts] == ["panel"]


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


# -- what lies about --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stand_ins")
def test_lgpio_leaves_its_pipe_in_a_folder_that_goes_with_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LG_WD", raising=False)
    with real_parts(speaker_with(tmp_path, '[hardware]\nboard = "generic-led"\n')) as telling:
        folder = Path(import_module("lgpio").PIPE_IN)
        was_there = folder.is_dir() and folder != Path()

    assert (telling.problems, was_there, folder.exists()) == ([], True, False)
    assert "LG_WD" not in os.environ


@pytest.mark.usefixtures("stand_ins")
def test_lgpio_keeps_the_folder_that_it_has_been_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LG_WD", str(tmp_path))
    with real_parts(speaker_with(tmp_path, '[hardware]\nboard = "generic-led"\n')):
        pipe_in = import_module("lgpio").PIPE_IN

    assert pipe_in == str(tmp_path)
    assert os.environ["LG_WD"] == str(tmp_path)
