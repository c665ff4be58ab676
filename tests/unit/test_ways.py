import pytest

from device_auth.core.states import Trouble
from device_auth.prompts.ways import CodeChannel, refuse_if_mute, ways_to_tell
from hardware.simulated_tellers import SimulatedPanel, SimulatedVoice
from hardware.voice import NoVoice


def test_page_voice_panel_and_command_line_can_tell_a_code() -> None:
    ways = ways_to_tell(is_command_line=True, has_page=True, panel=SimulatedPanel(), voice=SimulatedVoice())

    assert ways == tuple(CodeChannel)


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        (ways_to_tell(), ()),
        (ways_to_tell(is_command_line=True), (CodeChannel.COMMAND_LINE,)),
        (ways_to_tell(has_page=True), (CodeChannel.PAGE,)),
        (ways_to_tell(panel=SimulatedPanel(height=32)), (CodeChannel.PANEL,)),
        (ways_to_tell(voice=SimulatedVoice()), (CodeChannel.VOICE,)),
        (ways_to_tell(voice=SimulatedVoice(), volume=0), ()),
        (ways_to_tell(voice=NoVoice()), ()),
    ],
)
def test_each_way_counts_by_itself_and_a_silent_voice_does_not(
    ways: tuple[CodeChannel, ...], expected: tuple[CodeChannel, ...]
) -> None:
    assert ways == expected


def test_a_press_on_a_mute_speaker_is_answered_with_misconfigured_and_what_to_do() -> None:
    refusal = refuse_if_mute(())

    assert refusal is not None
    assert refusal.trouble is Trouble.MISCONFIGURED
    assert "a light alone cannot" in refusal.message
    assert "device-auth link" in refusal.hint


def test_a_press_is_not_refused_where_one_way_is_there() -> None:
    assert refuse_if_mute((CodeChannel.PAGE,)) is None
