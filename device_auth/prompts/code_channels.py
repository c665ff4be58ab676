"""The channels by which a person can learn a code; a speaker without one must not request a code."""

from enum import StrEnum
from typing import TYPE_CHECKING

from device_auth.core.models import Refusal
from device_auth.core.states import Trouble

if TYPE_CHECKING:
    from collections.abc import Collection


class CodeChannel(StrEnum):
    """A channel by which a person can learn a code. A light is not one: it shows only that there is a code."""

    PAGE = "page"
    PANEL = "panel"
    VOICE = "voice"


def refuse_without_channel(channels: "Collection[CodeChannel]") -> Refusal | None:
    """Return the answer to a press on a speaker that cannot show a code, or None on one that can."""
    if channels:
        return None
    return Refusal(
        Trouble.MISCONFIGURED,
        "",
        "this speaker has no way to tell a code: a light alone cannot",
        "Configure a voice or a panel under [hardware], or link it from its command line: device-auth link",
    )
