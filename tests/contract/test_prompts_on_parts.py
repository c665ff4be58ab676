"""The prompts on the parts that ship as simulated ones, and on real ones where this machine has them."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import enumerate as threads

import pytest

from device_auth.assembly.hardware_parts import draw_code
from device_auth.core.models import View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.light import TABLE, LightCue, LightPrompt
from device_auth.prompts.panel import PanelPrompt
from device_auth.prompts.voice import VoicePrompt
from device_auth.prompts.wording import read_wording
from hardware.espeak import EspeakVoice
from hardware.kernel_led import KernelLed
from hardware.led import Glow, Light, glow_at
from hardware.panel import Panel
from hardware.simulated import SimulatedClock, SimulatedLight, SimulatedPanel, SimulatedVoice
from hardware.voice import QuietHours, Voice
from tests.code_views import LINKED, PROVING, waiting
from tests.stand_ins.kernel_leds import KernelLedFiles
from tests.terminals import Terminal
from tests.values import moment

VIEWS = [
    *(View(word, Trouble.NONE) for word in StateWord if word is not StateWord.WAITING),
    *(View(StateWord.UNLINKED, trouble) for trouble in Trouble if trouble is not Trouble.NONE),
    waiting(),
    PROVING,
    LINKED,
]


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture(params=["simulated", "kernel"])
def light(request: pytest.FixtureRequest, clock: SimulatedClock, tmp_path: Path) -> Light:
    if request.param == "simulated":
        return SimulatedLight(clock)
    KernelLedFiles(tmp_path, "led0", clock.now)
    return KernelLed("led0", clock, root=tmp_path)


def test_every_view_can_be_shown_on_every_light(light: Light) -> None:
    prompt = LightPrompt(light)
    for at, view in enumerate(VIEWS):
        prompt.show(view, moment(at))
    prompt.close()


def test_a_simulated_light_glows_as_the_table_says(clock: SimulatedClock) -> None:
    light = SimulatedLight(clock)
    prompt = LightPrompt(light)
    prompt.show(waiting(), moment(0))
    clock.pass_time(0.5)
    breathing = light.glow_at(0.5)
    prompt.show(waiting(), moment(540))
    urgent = light.glow_at(0.5)

    assert breathing == glow_at(TABLE[StateWord.WAITING], 500)
    assert urgent == glow_at(TABLE[LightCue.LAST_MINUTE], 0) == Glow(1, breathing.colour)


@pytest.fixture(params=["oled 64", "oled 32", "console"])
def panel(request: pytest.FixtureRequest) -> Iterator[Panel]:
    if request.param == "console":
        with Terminal() as terminal:
            yield terminal.open()
        return
    yield SimulatedPanel(height=int(request.param.split()[1]))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_view_can_be_shown_on_every_panel(
    panel: Panel, language: str, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = PanelPrompt(panel, read_wording(language), draw_code=draw_code)
    for at, view in enumerate(VIEWS):
        prompt.show(view, moment(at))
    prompt.close()

    assert all("does not fit" in message for message in caplog.messages)


def test_the_qr_code_of_our_link_is_shown_on_a_small_panel_at_level_m(
    caplog: pytest.LogCaptureFixture,
) -> None:
    panel = SimulatedPanel(height=64)
    prompt = PanelPrompt(panel, read_wording("en"), draw_code=draw_code)
    prompt.show(waiting(), moment(0))

    assert caplog.messages == []
    assert panel.layout is not None
    assert panel.layout.square is not None
    assert panel.layout.square.modules == draw_code("https://amazon.com/us/code?cbl-code=AAYJHL", "M")


@pytest.fixture(params=["simulated", "espeak"])
def voice(request: pytest.FixtureRequest) -> Iterator[Voice]:
    if request.param == "simulated":
        yield SimulatedVoice()
        return
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    spoken = EspeakVoice(player=["cat"])
    yield spoken
    spoken.close()


def test_every_view_can_be_said_by_every_voice(voice: Voice) -> None:
    prompt = VoicePrompt(voice, read_wording("en"), quiet_hours=QuietHours(0, 0), local_minute=lambda: None)
    for at, view in enumerate(VIEWS):
        prompt.show(view, moment(10 * at))
    prompt.close()
    prompt.show(LINKED, moment(1000))

    assert all(thread.name != "voice" for thread in threads())
