"""How a speaker lets a person know it among others: by its light at most once in a while, by its voice after a press alone."""

from typing import Final

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.states import OneTimeNotice, StateWord

IDENTIFY_EVERY: Final = Seconds(10)
"""A page that anyone near may open must not keep a speaker busy."""

ALOUD_AFTER_PRESS: Final = Seconds(600)
"""So long after a press its person is near: nobody else makes a speaker talk."""


def identification(
    now: Monotonic, *, last: Monotonic | None, pressed: Monotonic | None, state: StateWord
) -> OneTimeNotice | None:
    """Return how to answer the wish to know this speaker; None if it was answered a moment ago.

    Args:
        now: this moment.
        last: when it was answered last; None if never.
        pressed: when the button was pressed last; None if never.
        state: a code that is being told is not interrupted.
    """
    if last is not None and now < later(last, IDENTIFY_EVERY):
        return None
    is_near = pressed is not None and now < later(pressed, ALOUD_AFTER_PRESS)
    if is_near and state is not StateWord.WAITING:
        return OneTimeNotice.IDENTIFY
    return OneTimeNotice.IDENTIFY_SILENTLY
