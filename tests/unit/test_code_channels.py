from device_auth.core.states import Trouble
from device_auth.prompts.code_channels import CodeChannel, refuse_without_channel


def test_a_press_on_a_speaker_that_cannot_show_a_code_is_answered_with_misconfigured_and_what_to_do() -> None:
    refusal = refuse_without_channel(())

    assert refusal is not None
    assert refusal.trouble is Trouble.MISCONFIGURED
    assert "a light alone cannot" in refusal.message
    assert "device-auth link" in refusal.hint


def test_a_press_is_not_refused_where_one_channel_is_there() -> None:
    assert refuse_without_channel((CodeChannel.PAGE,)) is None
