"""Settings in, parts out: nothing is guessed, and no part takes the place of one that was asked for.

``read_plan`` checks every setting before a pin is touched, so that ``open_parts`` can meet no wrong setting; it opens
the parts that it can and lists the others, so that a speaker without its light still answers its button.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from hardware import plans
from hardware.errors import BadSetting, HardwareError, call_each
from hardware.led import DigitalLamp, Light, Lights, PlayedLight
from hardware.settings import Key, Settings, ValueType, nearest, read_key, read_table
from hardware.voice import NoVoice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.resources.abc import Traversable

    from hardware.button import Button
    from hardware.clock import AlarmClock
    from hardware.led import Lamp, Outputs
    from hardware.panel import Panel
    from hardware.plans import Pin, PlannedPart
    from hardware.voice import Voice

BACK_ENDS: Final = (plans.GPIOD, "rpi-gpio", "simulated")
"""The first is used where none is set: between two edges it wakes nobody."""

BUSES: Final[Mapping[str, Mapping[int, str]]] = {
    "i2c0": {0: "SDA", 1: "SCL"},
    "i2c1": {2: "SDA", 3: "SCL"},
    "serial": {14: "TXD", 15: "RXD"},
    "spi0": {7: "CE1", 8: "CE0", 9: "MISO", 10: "MOSI", 11: "SCLK"},
    "i2s": {18: "CLK", 19: "FS", 20: "DIN", 21: "DOUT"},
}
"""BCM numbers of the header's buses. Source: Raspberry Pi documentation, "GPIO and the 40-pin header"."""

SORTS: Final = tuple(plans.KEYS_OF_SORTS)

_SERIAL_DEVICES: Final = re.compile(r"/dev/(ttyAMA|ttyS|serial)\d+")


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """Everything the settings want, checked; nothing has been opened.

    ``fitted`` are the sorts of parts that are on the board itself, so that nobody has to wire them.
    """

    board: str
    title: str
    fitted: frozenset[str]
    gpio: str
    chip: str
    is_white: bool
    brightness: float
    parts: tuple[PlannedPart, ...]

    @property
    def pin_library(self) -> str:
        """Return the library that drives the pins; empty if no part is on one."""
        return self.gpio if any(part.pins for part in self.parts) else ""

    @property
    def voice(self) -> plans.VoicePlan | None:
        """Return the plan of the voice, or None without one."""
        return next((part for part in self.parts if isinstance(part, plans.VoicePlan)), None)


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that could not be opened, and the reason."""

    part: str
    error: HardwareError


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that could be opened, and the problems with the rest."""

    light: Light | None = None
    button: Button | None = None
    panel: Panel | None = None
    voice: Voice | None = None
    problems: tuple[PartProblem, ...] = ()

    def close(self) -> None:
        """Close every part; then raise the first failure, if there was one."""
        parts = (self.button, self.light, self.panel, self.voice)
        call_each(part.close for part in parts if part is not None)


def board_names() -> tuple[str, ...]:
    """Return the names of the known boards."""
    names = [file.name for file in _boards().iterdir()]
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def _boards() -> Traversable:
    """Return the folder of the boards, which may lie in an archive."""
    return files("hardware") / "boards"


def _known_board(name: str) -> str:
    if name not in board_names():
        raise ValueError("is not a known board", nearest(name, board_names()))
    return name


def _known_buses(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in BUSES:
            raise ValueError("must name buses of the header", nearest(name, BUSES))
    return names


def _share(number: float) -> float:
    if not 0 < number <= 1:
        raise ValueError("must be above 0, and 1 at the most")
    return float(number)


NO_BOARD: Final = "none"
"""The board of a speaker without parts."""

_BOARD: Final = Key(
    "board",
    default=NO_BOARD,
    parse=_known_board,
    example="generic-led",
    explanation="The board of parts; its table stands in hardware/boards.",
)

HARDWARE_KEYS: Final = (
    _BOARD,
    Key("gpio", default=BACK_ENDS[0], choices=BACK_ENDS, explanation="The library that drives the pins."),
    Key(
        "chip",
        ValueType.PATH,
        default=Path("/dev/gpiochip0"),
        parse=plans.parse_device,
        example="/dev/gpiochip0",
        explanation="The chip of the pins, for gpiod alone.",
    ),
    Key(
        "buses",
        ValueType.WORDS,
        default=(),
        parse=_known_buses,
        example=("i2c1", "spi0"),
        explanation="Buses of the header that something else uses; no part may have their pins.",
    ),
    Key(
        "colours",
        default="full",
        choices=("full", "white"),
        explanation='"white" shows every pattern without its colour.',
    ),
    Key(
        "brightness",
        ValueType.NUMBER,
        default=1.0,
        parse=_share,
        example=0.5,
        explanation="The most that a light shows, above 0 and up to 1.",
    ),
    *(
        Key(sort, ValueType.ANY, default="off", explanation=f'The table of the {sort}, or "off".')
        for sort in SORTS
    ),
)
"""The table ``[hardware]``. The tables in it have keys of their own, in ``hardware.plans``."""


def read_plan(settings: Settings) -> BoardPlan:
    """Read the settings, on top of those of the board that they name; after this none of them can be wrong.

    A table in the settings changes single entries of the board's, unless it names another ``kind``: then it stands
    alone. ``light`` may be a list of tables, which all show the same; "off" instead of a table leaves the part out.

    Raises:
        BadSetting: if a name is unknown, a value is not acceptable, or a pin has two uses.
    """
    board = read_key("hardware", _BOARD, settings)
    table = tomllib.loads((_boards() / f"{board}.toml").read_text(encoding="utf-8"))
    title, fitted = table.pop("title"), table.pop("fitted", ())
    merged = _merge(table, settings)
    wanted = read_table("hardware", HARDWARE_KEYS, merged)
    gpio = wanted["gpio"]
    if "chip" in merged and gpio != plans.GPIOD:
        raise BadSetting(
            f'chip has no meaning for gpio = "{gpio}"', hint=f'Set gpio = "{plans.GPIOD}", or remove chip.'
        )
    parts = tuple(_plan_parts(wanted, gpio))
    _refuse_conflicts(parts, wanted["buses"])
    return BoardPlan(
        board=board,
        title=title,
        fitted=frozenset(sort for sort in fitted if _is_of_board(merged[sort], table[sort])),
        gpio=gpio,
        chip=str(wanted["chip"]),
        is_white=wanted["colours"] == "white",
        brightness=wanted["brightness"],
        parts=parts,
    )


def named_paths(settings: Settings) -> Iterator[str]:
    """Yield each entry of a table ``[hardware]`` that names a program to run, or a file or folder to use.

    The usual ones do not count. The table must be one that ``read_plan`` accepts.
    """
    tables = [("", HARDWARE_KEYS, settings)]
    for sort, keys in plans.KEYS_OF_SORTS.items():
        tables += [(f"{sort}.", keys, table) for table in _tables({sort: "off", **settings}, sort)]
    for prefix, keys, table in tables:
        for key in keys:
            if key.type in {ValueType.COMMAND, ValueType.PATH} and key.name in table:
                given = table[key.name]
                if (tuple(given) if isinstance(given, list) else given) not in (
                    key.default,
                    str(key.default),
                ):
                    yield f"{prefix}{key.name}"


def open_parts(plan: BoardPlan, clock: AlarmClock) -> Parts:
    """Open the parts of a plan; one that cannot be opened becomes a problem, and the others are opened."""
    problems: list[PartProblem] = []

    lights: list[Light] = []
    button, panel, voice = None, None, None
    for wanted in plan.parts:
        try:
            if isinstance(wanted, plans.LightPlan):
                lights.append(_open_light(wanted, plan, clock))
            elif isinstance(wanted, plans.ButtonPlan):
                button = _open_button(wanted, plan, clock)
            elif isinstance(wanted, plans.PanelPlan):
                panel = open_panel(wanted)
            elif isinstance(wanted, plans.VoicePlan):
                voice = open_voice(wanted)
        except HardwareError as error:
            problems.append(PartProblem(wanted.name, error))
    light = Lights(lights) if len(lights) > 1 else next(iter(lights), None)
    return Parts(light, button, panel, voice, tuple(problems))


def _merge(board: Settings, settings: Settings) -> dict[str, object]:
    merged = {**board, **settings}
    for sort in SORTS:
        ours, theirs = board.get(sort), settings.get(sort)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            stands_alone = "kind" in theirs and theirs["kind"] != ours.get("kind")
            merged[sort] = theirs if stands_alone else {**ours, **theirs}
    return merged


def _is_of_board(merged: object, table: Settings) -> bool:
    """Return whether a part is still the board's own, though the settings may change single entries."""
    return isinstance(merged, Mapping) and merged.get("kind") == table.get("kind")


def _plan_parts(wanted: Settings, gpio: str) -> Iterator[PlannedPart]:
    lights = _tables(wanted, "light")
    for number, table in enumerate(lights, start=1):
        yield plans.read_light("light" if len(lights) == 1 else f"light {number}", table, gpio)
    for table in _tables(wanted, "button", most=1):
        yield plans.read_button(table, gpio)
    for table in _tables(wanted, "panel", most=1):
        yield plans.read_panel(table)
    for table in _tables(wanted, "voice", most=1):
        yield plans.read_voice(table)


def _tables(wanted: Settings, sort: str, most: int | None = None) -> list[Settings]:
    value = wanted[sort]
    given = [] if value == "off" else value if isinstance(value, list) else [value]
    tables = [table for table in given if isinstance(table, Mapping)]
    if len(tables) < len(given) or (most is not None and len(tables) > most):
        raise BadSetting(
            f"{sort} ({value!a}) must be a table", hint=f'Write a table [hardware.{sort}], or {sort} = "off".'
        )
    return tables


def _refuse_conflicts(parts: Sequence[PlannedPart], buses: Sequence[str]) -> None:
    users: dict[Pin, str] = {}
    used = dict.fromkeys((*buses, *(bus for part in parts for bus in buses_of(part))))
    claims: list[tuple[Pin, str]] = [
        (pin, f"{bus} ({role})") for bus in used for pin, role in BUSES[bus].items()
    ]
    claims += [(plans.bcm_number(pin), f"{part.name} ({role})") for part in parts for role, pin in part.pins]
    for pin, user in claims:
        if pin in users:
            raise BadSetting(
                f"both {users[pin]} and {user} use {plans.name_pin(pin)}",
                hint="Set another pin for one of them (BCM numbers).",
            )
        users[pin] = user


def buses_of(part: PlannedPart) -> tuple[str, ...]:
    """Return the bus of the header that a part uses, if the pins of that bus are known."""
    match part:
        case plans.OledPlan():
            bus = f"i2c{part.bus}"
        case plans.SpiLedsPlan():
            bus = f"spi{part.bus}"
        case plans.ConsolePlan() if _SERIAL_DEVICES.fullmatch(str(part.device)):
            bus = "serial"
        case _:
            return ()
    return (bus,) if bus in BUSES else ()


def _open_light(wanted: plans.LightPlan, plan: BoardPlan, clock: AlarmClock) -> Light:
    if wanted.back_end == "simulated":
        from hardware.simulated import SimulatedLight

        return SimulatedLight(clock, brightness=plan.brightness, is_white=plan.is_white)
    if isinstance(wanted, plans.KernelLedPlan):
        from hardware.kernel_led import KernelLed

        return KernelLed(wanted.led, clock, root=wanted.directory, brightness=plan.brightness)
    lamp = _open_lamp(wanted, plan)
    try:
        return PlayedLight(lamp, clock, brightness=plan.brightness, is_white=plan.is_white)
    except HardwareError:
        lamp.close()
        raise


def _open_lamp(wanted: plans.LampPlan, plan: BoardPlan) -> Lamp:
    match wanted:
        case plans.SpiLedsPlan():
            from hardware.apa102 import SpiLeds

            has_power = wanted.pins and plan.gpio != "simulated"
            power = _open_outputs(wanted, plan, is_active_low=False) if has_power else None
            return SpiLeds(wanted.bus, wanted.device, wanted.leds, power)
        case plans.PinLedsPlan():
            from hardware.apa102 import PinLeds

            return PinLeds(_open_outputs(wanted, plan, is_active_low=False), wanted.leds)
        case plans.LedPlan():
            outputs = _open_outputs(wanted, plan, is_active_low=wanted.active == "low")
        case plans.RgbPlan():
            outputs = _open_outputs(wanted, plan, is_active_low=wanted.common == "anode")
        case _:
            assert_never(wanted)
    return DigitalLamp(outputs, is_rgb=isinstance(wanted, plans.RgbPlan))


def _open_outputs(wanted: plans.LampPlan, plan: BoardPlan, *, is_active_low: bool) -> Outputs:
    pins = [pin for _, pin in wanted.pins]
    if plan.gpio == plans.GPIOD:
        from hardware.gpiod_lines import LineOutputs

        return LineOutputs(pins, is_active_low=is_active_low, chip=plan.chip)
    from hardware.rpi_gpio import PinOutputs

    return PinOutputs([int(pin) for pin in pins], is_active_low=is_active_low)


def _open_button(wanted: plans.ButtonPlan, plan: BoardPlan, clock: AlarmClock) -> Button:
    pull, is_active_low = wanted.pull, wanted.active == "low"
    pin = wanted.pins[0][1]
    if wanted.back_end == "simulated":
        from hardware.simulated import SimulatedButton

        return SimulatedButton(clock)
    if wanted.back_end == plans.GPIOD:
        from hardware.gpiod_lines import EdgeButton

        return EdgeButton(pin, pull=pull, is_active_low=is_active_low, chip=plan.chip, clock=clock)
    from hardware.rpi_gpio import SampledButton

    return SampledButton(int(pin), pull=pull, is_active_low=is_active_low, clock=clock)


def open_panel(wanted: plans.PanelPlan) -> Panel:
    """Open a panel.

    Raises:
        HardwareError: if that fails.
    """
    match wanted:
        case plans.ConsolePlan():
            from hardware.console import open_console

            return open_console(wanted)
        case plans.OledPlan():
            from hardware.oled import open_oled

            return open_oled(wanted)
        case plans.SimulatedPanelPlan():
            from hardware.simulated import SimulatedPanel

            return SimulatedPanel(height=wanted.height)
        case _:
            assert_never(wanted)


def open_voice(wanted: plans.VoicePlan) -> Voice:
    """Open a voice.

    Raises:
        PartMissing: if a program or the folder of recordings is missing.
    """
    match wanted:
        case plans.EspeakPlan() | plans.CommandPlan() | plans.RecordedPlan():
            from hardware.espeak import open_program_voice

            return open_program_voice(wanted)
        case plans.VoicePlan(kind="off"):
            return NoVoice()
        case _:
            from hardware.simulated import SimulatedVoice

            return SimulatedVoice()
