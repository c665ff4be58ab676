"""Which ways of telling can tell a code: without one nobody may be kept waiting for it."""

from enum import StrEnum
from typing import TYPE_CHECKING

from device_auth.core.models import Refusal
from device_auth.core.states import Trouble
from hardware.voice import NoVoice

if TYPE_CHECKING:
    from hardware.panel import Panel
    from hardware.voice import Voice


class CodeChannel(StrEnum):
    """A way by which a person can learn a code. A light is none: it tells that there is one."""

    COMMAND_LINE = "command line"
    PAGE = "page"
    PANEL = "panel"
    VOICE = "voice"


def ways_to_tell(
    *,
    is_command_line: bool = False,
    has_page: bool = False,
    panel: "Panel | None" = None,
    voice: "Voice | None" = None,
    volume: int = 50,
) -> tuple[CodeChannel, ...]:
    """Name the ways that can tell a code.

    Args:
        is_command_line: a person, or a program, reads along; that always counts.
        has_page: the speaker's own web page can be reached.
        panel: the one that was opened.
        voice: the one that was opened; one that is off, or at volume 0, is none.
        volume: how loud the voice is set.
    """
    is_heard = voice is not None and not isinstance(voice, NoVoice) and volume > 0
    can = {
        CodeChannel.COMMAND_LINE: is_command_line,
        CodeChannel.PAGE: has_page,
        CodeChannel.PANEL: panel is not None,
        CodeChannel.VOICE: is_heard,
    }
    return tuple(way for way, is_there in can.items() if is_there)


def refuse_if_mute(ways: tuple[CodeChannel, ...]) -> Refusal | None:
    """Return the answer to a press on a speaker that could not tell a code, or None on one that can."""
    if ways:
        return None
    return Refusal(
        Trouble.MISCONFIGURED,
        "",
        "this speaker has no way to tell a code: a light alone cannot",
        "Give it a voice or a panel under [hardware], or link it from its command line: device-auth link",
    )
