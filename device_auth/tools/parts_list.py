"""The parts of a speaker as a list: what each is connected to, and whether it can be used."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.tools.single_part import close_single, open_single, time_for
from hardware.board import Parts
from hardware.errors import HardwareError, PartBusy

if TYPE_CHECKING:
    from hardware.board import BoardPlan
    from hardware.plans import PlannedPart

LIBRARIES: Final = {
    "rpi-gpio": ("rpi-lgpio", "RPi.GPIO"),
    "gpiod": ("gpiod",),
    "spidev": ("spidev",),
    "ssd1306": ("luma.oled",),
    "sh1106": ("luma.oled",),
}
"""The distribution packages that a back end may use."""


class PartRow(NamedTuple):
    """One part; ``state`` is free, busy, missing or off."""

    part: str
    kind: str
    back_end: str
    pins: dict[str, int | str]
    library: dict[str, str]
    state: str
    problem: str = ""
    hint: str = ""


def look_up(plan: "BoardPlan", part: "PlannedPart", served: PartBusy | None) -> PartRow:
    """Return the row of a part.

    Args:
        plan: of the board.
        part: one of its parts.
        served: why no part can be used now, if the service holds them.
    """
    found = {name: _version(name) for name in LIBRARIES.get(part.back_end, ())}
    library = {name: number for name, number in found.items() if number}
    state, error = _state(plan, part, served)
    row = PartRow(part.name, part.kind, part.back_end, dict(part.pins), library, state)
    return row if error is None else row._replace(problem=str(error), hint=error.hint)


def _state(
    plan: "BoardPlan", part: "PlannedPart", served: PartBusy | None
) -> tuple[str, HardwareError | None]:
    """Open a part for a moment, unless the service has it: only this shows whether it can be used."""
    if part.kind == "off":
        return "off", None
    if (
        served is not None
    ):  # a second light or voice would open beside that of the service, and leave it dark or silent
        return "busy", served
    time, opened = time_for(part), Parts()
    try:
        try:
            opened = open_single(plan, part, time)
        finally:
            close_single(opened, time)
    except HardwareError as error:
        return "busy" if isinstance(error, PartBusy) else "missing", error
    return "free", None


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
