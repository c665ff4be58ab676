"""The parts of a speaker as a list: what each is connected to, which library drives it, and whether it can be used."""

import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.assembly.hardware_parts import hint_of
from device_auth.core.errors import ConfigError
from device_auth.tools.single_part import close_single, open_single, time_for
from hardware.board import Parts
from hardware.errors import HardwareError, PartBusy
from hardware.gpiod_lines import load_library
from hardware.plans import GPIOD, header_place

if TYPE_CHECKING:
    from hardware.board import BoardPlan
    from hardware.plans import PlannedPart

RPI_GPIO: Final = "rpi-gpio"

MODULES: Final = {
    RPI_GPIO: "RPi.GPIO",
    GPIOD: "gpiod",
    "spidev": "spidev",
    "ssd1306": "luma.oled",
    "sh1106": "luma.oled",
}
"""The module that a back end imports. Its package on PyPI bears the same name, but for RPi.GPIO of rpi-lgpio."""

_USES_LGPIO: Final = re.compile(r"^\s*(?:import|from) lgpio\b", re.MULTILINE)


class PartLibrary(NamedTuple):
    """The module that answers to a name, its package with the version (empty if not known), and its file."""

    module: str
    package: str
    version: str
    path: str


class PartRow(NamedTuple):
    """One part.

    Attributes:
        part: its name.
        kind: of its table.
        back_end: what drives it.
        pins: by role.
        header: the place of each on the header, where it is there.
        library: the package that provides the module of the back end, and its version; empty if there is none.
        module: the file of that module.
        state: free, busy, missing or off.
        problem: why it cannot be used.
        hint: what to do.
    """

    part: str
    kind: str
    back_end: str
    pins: dict[str, int | str]
    header: dict[str, int | None]
    library: dict[str, str]
    module: str
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
    found = library_of(part.back_end)
    library, module = ({}, "") if found is None else ({found.package: found.version}, found.path)
    state, error = _state(plan, part, served)
    places = {role: header_place(pin) for role, pin in part.pins}
    row = PartRow(part.name, part.kind, part.back_end, dict(part.pins), places, library, module, state)
    return row if error is None else row._replace(problem=str(error), hint=hint_of(error))


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


def library_of(back_end: str) -> PartLibrary | None:
    """Return what provides the module of a back end, without its import: that would open pins. None without any."""
    module, spec = MODULES.get(back_end), None
    with suppress(ImportError, ValueError):
        spec = None if module is None else find_spec(module)
    if module is None or spec is None or spec.origin is None:
        return None
    package = module
    if module == MODULES[RPI_GPIO]:
        with suppress(OSError, UnicodeDecodeError):  # a compiled module is not text
            if _USES_LGPIO.search(Path(spec.origin).read_text()):
                package = "rpi-lgpio"
    try:
        return PartLibrary(module, package, version(package), spec.origin)
    except PackageNotFoundError:
        return PartLibrary(module, package, "", spec.origin)


def choose_back_end(present: object) -> tuple[str, bool]:
    """Return the back end of the pins that is to be used, and whether that is the original RPi.GPIO.

    The one that is set stays, if it is installed; else the first of gpiod, rpi-lgpio, RPi.GPIO that is.

    Raises:
        ConfigError: if there is none.
    """
    there, hint = [], ""
    try:
        load_library()
        there.append(GPIOD)
    except HardwareError as error:
        hint = hint_of(error)
    library = library_of(RPI_GPIO)
    if library is not None:
        there.append(RPI_GPIO)
    if not there:
        raise ConfigError("no library is installed that drives the pins; nothing was changed", hint=hint)
    chosen = str(present) if present in there else there[0]
    return chosen, chosen == RPI_GPIO and library is not None and library.package == "RPi.GPIO"
