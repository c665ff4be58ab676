import pytest

from device_auth.core.identifying import ALOUD_AFTER_PRESS, IDENTIFY_EVERY, identification
from device_auth.core.models import Monotonic
from device_auth.core.states import OneTimeNotice, StateWord

ALOUD, SILENTLY = OneTimeNotice.IDENTIFY, OneTimeNotice.IDENTIFY_SILENTLY


@pytest.mark.parametrize(
    ("last", "pressed", "state", "notice"),
    [
        (None, None, StateWord.UNLINKED, SILENTLY),
        (1000 - IDENTIFY_EVERY, None, StateWord.LINKED, SILENTLY),
        (1000.1 - IDENTIFY_EVERY, 1000.0, StateWord.LINKED, None),
        (None, 1000.1 - ALOUD_AFTER_PRESS, StateWord.LINKED, ALOUD),
        (None, 1000 - ALOUD_AFTER_PRESS, StateWord.LINKED, SILENTLY),
        (None, 1000.0, StateWord.WAITING, SILENTLY),
    ],
)
def test_a_speaker_is_known_by_its_light_and_after_a_press_by_its_voice_too(
    last: float | None, pressed: float | None, state: StateWord, notice: OneTimeNotice | None
) -> None:
    found = identification(
        Monotonic(1000.0),
        last=None if last is None else Monotonic(last),
        pressed=None if pressed is None else Monotonic(pressed),
        state=state,
    )

    assert found is notice
