"""Settings in, parts out: nothing is guessed, and nothing takes the place of what was asked for.

``read_plan`` checks every setting before a pin is touched; ``open_parts`` opens what it can and lists what is missing,
so that a speaker without its light still answers its button.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from hardware.errors import BadSetting, HardwareError, PartBusy, PartMissing
from hardware.led import DigitalLamp, Light, Lights, PlayedLight
from hardware.settings import Settings, read_choice, read_text, read_whole, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hardware.button import Button
    from hardware.clock import AlarmClock
    from hardware.led import Lamp, Outputs
    from hardware.panel import Panel
    from hardware.voice import Voice

BOARDS: Final = Path(__file__).parent / "boards"

BACK_ENDS: Final = ("rpi-gpio", "gpiod", "simulated")

BUSES: Final[Mapping[str, Mapping[int, str]]] = {
    "i2c0": {0: "SDA", 1: "SCL"},
    "i2c1": {2: "SDA", 3: "SCL"},
    "serial": {14: "TXD", 15: "RXD"},
    "spi0": {7: "CE1", 8: "CE0", 9: "MISO", 10: "MOSI", 11: "SCLK"},
    "i2s": {18: "CLK", 19: "FS", 20: "DIN", 21: "DOUT"},
}
"""BCM numbers of the header's buses. Source: Raspberry Pi documentation, "GPIO and the 40-pin header"."""

PINS: Final = range(54)
"""BCM numbers that a Raspberry Pi has; 0 to 27 are on the header."""

_SETTINGS: Final = (
    "board",
    "gpio",
    "chip",
    "buses",
    "colours",
    "brightness",
    "light",
    "button",
    "panel",
    "voice",
)
_LIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "led": ("pin", "active"),
    "rgb": ("red", "green", "blue", "common"),
    "apa102": ("bus", "device", "leds"),
    "apa102-pins": ("data", "clock", "leds"),
    "kernel": ("name", "directory"),
}
_PIN_ROLES: Final = ("pin", "red", "green", "blue", "data", "clock")
_SERIAL_DEVICES: Final = re.compile(r"/dev/(ttyAMA|ttyS|serial)\d+")
_MOST_LEDS: Final = range(1, 1025)

Pin = int | str
"""A BCM number; with gpiod also the name of a line."""


Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One part as the settings want it: ``name`` tells several of a sort apart, ``pins`` says what each pin is for."""

    sort: str
    name: str
    kind: str
    back_end: str
    settings: Settings
    pins: tuple[tuple[str, Pin], ...] = ()


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """Everything the settings want, checked; nothing has been opened."""

    board: str
    gpio: str
    chip: str
    is_white: bool
    brightness: float
    parts: tuple[PlannedPart, ...]


@dataclass(frozen=True, slots=True)
class PartProblem:
    """A part that could not be opened, and why."""

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
        """Let go of every part; the first failure is raised after all have been closed."""
        failures = []
        for part in (self.button, self.light, self.panel, self.voice):
            try:
                if part is not None:
                    part.close()
            except HardwareError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def board_names() -> tuple[str, ...]:
    """Name the boards that are known."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))


def read_plan(settings: Settings) -> BoardPlan:
    """Check the settings, on top of those of the board they name.

    A table in the settings changes single entries of the board's, unless it names another ``kind``: then it stands alone.
    ``light`` may be a list of tables, which all show the same; "off" instead of a table leaves the part out.

    Raises:
        BadSetting: a name is unknown, a value malformed, a pin wanted twice or in use by a bus.
    """
    refuse_unknown("hardware", settings, _SETTINGS)
    board = read_choice("hardware", settings, "board", board_names(), "none")
    with (BOARDS / f"{board}.toml").open("rb") as file:
        wanted = _merge(tomllib.load(file), settings)
    gpio = read_choice("hardware", wanted, "gpio", BACK_ENDS, BACK_ENDS[0])
    if "chip" in wanted and gpio != "gpiod":
        raise BadSetting(
            f"chip has no meaning for gpio {gpio!r}", hint='Set gpio = "gpiod", or take chip away.'
        )
    parts = tuple(_plan_parts(wanted, gpio))
    _refuse_conflicts(parts, _read_buses(wanted))
    return BoardPlan(
        board=board,
        gpio=gpio,
        chip=read_text("hardware", wanted, "chip", "/dev/gpiochip0"),
        is_white=read_choice("hardware", wanted, "colours", ("full", "white"), "full") == "white",
        brightness=_read_brightness(wanted),
        parts=parts,
    )


def open_parts(plan: BoardPlan, clock: AlarmClock) -> Parts:
    """Open the parts of a plan; what is missing or busy becomes a problem and the rest go on.

    Raises:
        BadSetting: the panel or the voice refuses a setting of its own.
    """
    problems: list[PartProblem] = []
    lights = _open_each(plan, "light", lambda wanted: _open_light(wanted, plan, clock), problems)
    buttons = _open_each(plan, "button", lambda wanted: _open_button(wanted, plan, clock), problems)
    panels = _open_each(plan, "panel", _open_panel, problems)
    voices = _open_each(plan, "voice", _open_voice, problems)
    return Parts(
        light=Lights(lights) if len(lights) > 1 else next(iter(lights), None),
        button=next(iter(buttons), None),
        panel=next(iter(panels), None),
        voice=next(iter(voices), None),
        problems=tuple(problems),
    )


def _merge(board: Settings, settings: Settings) -> dict[str, object]:
    merged = {**board, **settings}
    for sort in ("light", "button", "panel", "voice"):
        ours, theirs = board.get(sort), settings.get(sort)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            stands_alone = "kind" in theirs and theirs["kind"] != ours.get("kind")
            merged[sort] = theirs if stands_alone else {**ours, **theirs}
    return merged


def _plan_parts(wanted: Settings, gpio: str) -> Iterator[PlannedPart]:
    lights = _read_tables(wanted, "light")
    for number, table in enumerate(lights, start=1):
        yield _plan_light(table, "light" if len(lights) == 1 else f"light {number}", gpio)
    for table in _read_tables(wanted, "button", most=1):
        yield _plan_button(table, gpio)
    for sort in ("panel", "voice"):
        for table in _read_tables(wanted, sort, most=1):
            kind = read_text(sort, table, "kind", sort)
            yield PlannedPart(sort, sort, kind, kind, table)


def _plan_light(table: Settings, name: str, gpio: str) -> PlannedPart:
    kind = read_choice(name, table, "kind", _LIGHTS)
    refuse_unknown(f"{name} of kind {kind!r}", table, ("kind", *_LIGHTS[kind]))
    if kind == "kernel":
        read_text(name, table, "name", "")
        read_text(name, table, "directory", "/sys/class/leds")
        return PlannedPart("light", name, kind, "kernel", table)
    if kind == "apa102":
        for key in ("bus", "device"):
            read_whole(name, table, key, 0, range(10))
        read_whole(name, table, "leds", 1, _MOST_LEDS)
        return PlannedPart("light", name, kind, "spidev", table)
    if kind == "apa102-pins":
        read_whole(name, table, "leds", 1, _MOST_LEDS)
    elif kind == "led":
        read_choice(name, table, "active", ("high", "low"))
    else:
        read_choice(name, table, "common", ("cathode", "anode"))
    return PlannedPart("light", name, kind, gpio, table, _read_pins(name, table, _LIGHTS[kind], gpio))


def _plan_button(table: Settings, gpio: str) -> PlannedPart:
    refuse_unknown("button", table, ("pin", "pull", "active"))
    read_choice("button", table, "pull", ("up", "down", "off"))
    read_choice("button", table, "active", ("high", "low"))
    return PlannedPart("button", "button", "button", gpio, table, _read_pins("button", table, ("pin",), gpio))


def _read_tables(wanted: Settings, sort: str, most: int | None = None) -> list[Settings]:
    value = wanted.get(sort, "off")
    given = [] if value == "off" else value if isinstance(value, list) else [value]
    tables = [table for table in given if isinstance(table, Mapping)]
    if len(tables) < len(given) or (most is not None and len(tables) > most):
        raise BadSetting(
            f"{sort} cannot be {value!r}", hint=f'Write a table [hardware.{sort}], or {sort} = "off".'
        )
    return tables


def _read_pins(name: str, table: Settings, keys: Sequence[str], gpio: str) -> tuple[tuple[str, Pin], ...]:
    return tuple((key, _read_pin(name, table, key, gpio)) for key in keys if key in _PIN_ROLES)


def _read_pin(name: str, table: Settings, key: str, gpio: str) -> Pin:
    value = table.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value in PINS:
        return value
    if isinstance(value, str) and value and gpio == "gpiod":
        return value
    names = ", or the name of a line" if gpio == "gpiod" else '; names of lines are for gpio = "gpiod"'
    raise BadSetting(
        f"{name}: {key} cannot be {value!r}",
        hint=f"Use the BCM number of a pin, {PINS[0]} to {PINS[-1]}{names}.",
    )


def _read_brightness(wanted: Settings) -> float:
    value = wanted.get("brightness", 1.0)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    raise BadSetting(f"brightness cannot be {value!r}", hint="Use a number above 0, up to 1.")


def _read_buses(wanted: Settings) -> tuple[str, ...]:
    buses = wanted.get("buses", [])
    if not isinstance(buses, list):
        raise BadSetting(f"buses cannot be {buses!r}", hint='Write a list, such as ["i2c1", "spi0"].')
    return tuple(read_choice("hardware", {"buses": bus}, "buses", BUSES) for bus in buses)


def _refuse_conflicts(parts: Sequence[PlannedPart], buses: Sequence[str]) -> None:
    users: dict[Pin, str] = {}
    used = dict.fromkeys((*buses, *(bus for part in parts for bus in _buses_of(part))))
    claims: list[tuple[Pin, str]] = [
        (pin, f"{bus} ({role})") for bus in used for pin, role in BUSES[bus].items()
    ]
    claims += [(_bcm(pin), f"{part.name} ({role})") for part in parts for role, pin in part.pins]
    for pin, user in claims:
        if pin in users:
            shown = f"GPIO{pin}" if isinstance(pin, int) else pin
            raise BadSetting(
                f"{shown} is wanted by {users[pin]} and by {user}",
                hint="Give one of them another pin (BCM numbers).",
            )
        users[pin] = user


def _buses_of(part: PlannedPart) -> tuple[str, ...]:
    """Name the buses that a part hangs on, of those whose pins are known."""
    if part.kind in ("ssd1306", "sh1106"):
        bus = f"i2c{part.settings.get('bus', 1)}"
    elif part.kind == "apa102":
        bus = f"spi{part.settings.get('bus', 0)}"
    elif part.kind == "console" and _SERIAL_DEVICES.fullmatch(str(part.settings.get("device", ""))):
        bus = "serial"
    else:
        return ()
    return (bus,) if bus in BUSES else ()


def _bcm(pin: Pin) -> Pin:
    """Take the kernel's name of a Pi's line, such as GPIO17, for its number."""
    named = re.fullmatch(r"GPIO(\d+)", pin) if isinstance(pin, str) else None
    return int(named[1]) if named else pin


def _open_each(
    plan: BoardPlan, sort: str, opener: Callable[[PlannedPart], Part], problems: list[PartProblem]
) -> list[Part]:
    opened = []
    for wanted in plan.parts:
        if wanted.sort == sort:
            try:
                opened.append(opener(wanted))
            except (PartMissing, PartBusy) as error:
                problems.append(PartProblem(wanted.name, error))
    return opened


def _open_light(wanted: PlannedPart, plan: BoardPlan, clock: AlarmClock) -> Light:
    if wanted.back_end == "simulated":
        from hardware.simulated import SimulatedLight

        return SimulatedLight(clock, brightness=plan.brightness, is_white=plan.is_white)
    if wanted.kind == "kernel":
        from hardware.kernel_led import KernelLed

        root = Path(read_text(wanted.name, wanted.settings, "directory", "/sys/class/leds"))
        name = read_text(wanted.name, wanted.settings, "name", "")
        return KernelLed(name, clock, root=root, brightness=plan.brightness)
    lamp = _open_lamp(wanted, plan)
    try:
        return PlayedLight(lamp, clock, brightness=plan.brightness, is_white=plan.is_white)
    except HardwareError:
        lamp.close()
        raise


def _open_lamp(wanted: PlannedPart, plan: BoardPlan) -> Lamp:
    settings = wanted.settings
    if wanted.kind == "apa102":
        from hardware.apa102 import SpiLeds

        bus, device = (read_whole(wanted.name, settings, key, 0, range(10)) for key in ("bus", "device"))
        return SpiLeds(bus, device, read_whole(wanted.name, settings, "leds", 1, _MOST_LEDS))
    is_active_low = settings.get("active") == "low" or settings.get("common") == "anode"
    outputs = _open_outputs([pin for _, pin in wanted.pins], plan, is_active_low=is_active_low)
    if wanted.kind == "apa102-pins":
        from hardware.apa102 import PinLeds

        return PinLeds(outputs, read_whole(wanted.name, settings, "leds", 1, _MOST_LEDS))
    return DigitalLamp(outputs, is_rgb=wanted.kind == "rgb")


def _open_outputs(pins: Sequence[Pin], plan: BoardPlan, *, is_active_low: bool) -> Outputs:
    if plan.gpio == "gpiod":
        from hardware.gpiod_lines import LineOutputs

        return LineOutputs(pins, is_active_low=is_active_low, chip=plan.chip)
    from hardware.rpi_gpio import PinOutputs

    return PinOutputs([int(pin) for pin in pins], is_active_low=is_active_low)


def _open_button(wanted: PlannedPart, plan: BoardPlan, clock: AlarmClock) -> Button:
    pull, is_active_low = str(wanted.settings["pull"]), wanted.settings["active"] == "low"
    pin = wanted.pins[0][1]
    if wanted.back_end == "simulated":
        from hardware.simulated import SimulatedButton

        return SimulatedButton(clock)
    if wanted.back_end == "gpiod":
        from hardware.gpiod_lines import EdgeButton

        return EdgeButton(pin, pull=pull, is_active_low=is_active_low, chip=plan.chip, clock=clock)
    from hardware.rpi_gpio import SampledButton

    return SampledButton(int(pin), pull=pull, is_active_low=is_active_low, clock=clock)


def _open_panel(wanted: PlannedPart) -> Panel:
    from hardware.panel import open_panel

    return open_panel(wanted.settings)


def _open_voice(wanted: PlannedPart) -> Voice:
    from hardware.voice import open_voice

    return open_voice(wanted.settings)
