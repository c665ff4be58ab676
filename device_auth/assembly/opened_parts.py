"""The parts in use, as one record; importing it imports nothing of the hardware."""

from enum import StrEnum
from typing import TYPE_CHECKING

from device_auth.core.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import Refusal
    from device_auth.core.ports import Prompt
    from device_auth.prompts.code_channels import CodeChannel
    from device_auth.prompts.terminal import Sidebar
    from hardware.button import Gesture


@dataclass(frozen=True, slots=True)
class PartsListener:
    """The callbacks of the parts, which are called on threads of theirs and must not block.

    Attributes:
        on_gesture: called with each gesture of the button.
        on_failure: called with a part's name and its trouble, when it cannot be opened and when it fails later.
        on_end: called when what presses a simulated button has ended: keys, or lines; None if it may.
    """

    on_gesture: "Callable[[Gesture], None]"
    on_failure: "Callable[[str, Refusal], None]"
    on_end: "Callable[[], None] | None" = None


class SimulatedAs(StrEnum):
    """The way in which the parts of a simulated speaker are shown."""

    DRAWING = "drawing"
    """On a terminal; the space bar is the button."""
    LINES = "lines"
    NOTHING = "nothing"


def never_speaks() -> bool:
    """Return False: there is no voice that speaks."""
    return False


@dataclass(frozen=True, slots=True)
class OpenedParts:
    """The parts in use.

    Attributes:
        prompts: tell a person by them.
        code_channels: by which a person can learn a code.
        sidebar: the drawing of a simulated speaker; None of a real one.
        is_momentary: they tell only while the command runs, so the last view is shown for a while.
        is_speaking: returns whether the voice has not ended yet.
        has_real_button: a hand presses the button, and no program.
        has_light: there is a light.
    """

    prompts: "tuple[Prompt, ...]" = ()
    code_channels: "tuple[CodeChannel, ...]" = ()
    sidebar: "Sidebar | None" = None
    is_momentary: bool = False
    is_speaking: "Callable[[], bool]" = never_speaks
    has_real_button: bool = False
    has_light: bool = False
