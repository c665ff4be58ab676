"""Which parts a speaker has: those of its settings, simulated ones, or none.

Nothing of the hardware is imported where there are none.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from device_auth.assembly.opened_parts import OpenedParts, PartsListener, SimulatedAs

if TYPE_CHECKING:
    from device_auth.world.clock import BootClock
    from device_auth.world.settings import Settings


def open_parts(
    settings: "Settings",
    clock: "BootClock",
    listener: PartsListener,
    *,
    simulated_as: SimulatedAs | None = None,
    presses: Iterable[str] | None = None,
    name: Callable[[], str] = lambda: "",
) -> AbstractContextManager[OpenedParts]:
    """Open the parts of a speaker for as long as the context lasts.

    Args:
        settings: name the parts, and the language.
        clock: the speaker's.
        listener: hears the button, and of each part that does not work; the other parts go on.
        simulated_as: how a simulated speaker is shown; None for a real one.
        presses: lines that press a simulated button: ``tap``, or ``hold`` and a number of seconds.
        name: returns what people call the speaker.

    Raises:
        ConfigError: if a setting of the parts cannot be used.
    """
    if simulated_as is SimulatedAs.NOTHING or (simulated_as is None and has_no_parts(settings.hardware)):
        return nullcontext(OpenedParts())
    from device_auth.assembly import hardware_parts

    if simulated_as is None:
        return hardware_parts.open_hardware(settings, clock, listener, presses, name)
    if simulated_as is SimulatedAs.LINES:
        return hardware_parts.open_in_lines(settings.locale, clock, listener, presses, name)
    return hardware_parts.open_drawn(settings.locale, clock, listener, presses, name)


def has_no_parts(hardware: Mapping[str, object]) -> bool:
    """Return whether the settings name no part at all, which is the default."""
    return hardware in ({}, {"board": "none"})
