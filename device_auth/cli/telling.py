"""The parts a verb tells by, if there are any: nothing of the hardware is imported where there are none."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.core.ports import Prompt
    from device_auth.prompts.terminal import Sidebar
    from device_auth.prompts.ways import CodeChannel
    from hardware.button import Gesture


@dataclass
class OpenedParts:
    """The parts in use.

    Attributes:
        prompts: what they tell by.
        aside: what is drawn of a simulated speaker; None of a real one.
        is_lively: a last word is worth a moment, for it is seen or heard only while the command runs.
        tapped: called for each tap of the button, on a thread of the button's; whoever listens puts it here.
        heard: called for everything done with the button; likewise.
        failed: called with the part's name, what happened and what to do, when a part fails later; likewise.
        problems: the same of the parts that could not be opened.
        ways: by which a person can learn a code.
    """

    prompts: "list[Prompt]" = field(default_factory=list)
    aside: "Sidebar | None" = None
    is_lively: bool = False
    tapped: Callable[[], None] = lambda: None
    heard: "Callable[[Gesture], None]" = lambda _gesture: None
    failed: Callable[[str, str, str], None] = lambda _part, _message, _hint: None
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    ways: "tuple[CodeChannel, ...]" = ()


def parts_of(
    speaker: "Doors", *, is_read: bool, is_on_a_terminal: bool, presses: Iterable[str] | None = None
) -> AbstractContextManager[OpenedParts]:
    """Open the parts of a speaker for as long as the context lasts.

    Args:
        speaker: whose settings name them; a simulated speaker has simulated ones.
        is_read: people read what is written; if not, nothing is drawn or told of a simulated speaker.
        is_on_a_terminal: they read it on a terminal.
        presses: lines that press a simulated button, if there is one.

    Raises:
        ConfigError: a setting of theirs cannot be used.
    """
    if speaker.is_simulated and is_read:
        from device_auth.cli.parts import simulated_parts

        return simulated_parts(speaker, is_drawn=is_on_a_terminal)
    if speaker.is_simulated or has_no_parts(speaker.settings.hardware):
        return nullcontext(OpenedParts())
    from device_auth.cli.parts import real_parts

    return real_parts(speaker, presses)


def has_no_parts(hardware: Mapping[str, object]) -> bool:
    """Return whether the settings name no part at all, which is the default."""
    return hardware in ({}, {"board": "none"})
