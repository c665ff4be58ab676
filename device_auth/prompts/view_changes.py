"""Changes between two views, and how long they are shown."""

from typing import TYPE_CHECKING, Final

from device_auth.core.models import Seconds
from device_auth.core.states import StateWord

if TYPE_CHECKING:
    from device_auth.core.models import View

JUST_LINKED_FOR: Final = Seconds(5)
"""How long a new link is shown before the speaker becomes dark and silent."""

LAST_MINUTE: Final = Seconds(60)
"""How long before its end a code is shown more urgently."""

_APPROVED: Final = {StateWord.SAVING, StateWord.PROVING}


def has_just_linked(before: "View | None", view: "View") -> bool:
    """Return whether a new link was made between two views; a cancelled attempt at another link makes none."""
    is_new = before is not None and before.state in _APPROVED
    return is_new and view.state is StateWord.LINKED and view.refusal is None


def is_asked_for(before: "View | None", view: "View") -> bool:
    """Return whether a person asked to be told a view again."""
    return before is not None and view.sequence != before.sequence
