"""Plans: one value for each part that the settings want, checked once; nothing here opens a device.

The keys of each table stand here beside their reader, and the fields of a plan bear the names of its keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hardware.errors import BadSetting
from hardware.settings import Key, Settings, ValueType, read_table
from hardware.voice import QuietHours, parse_quiet_hours

if TYPE_CHECKING:
    from collections.abc import Mapping

Pin = int | str
"""A BCM number; with gpiod also the name of a line."""

_ODD: Final = (3, 5, 7, 11, 13, 15, 19, 21, 23, 27, 29, 31, 33, 35, 37)
_EVEN: Final = (8, 10, 12, 16, 18, 22, 24, 26, 28, 32, 36, 38, 40)

PINS: Final = range(54)
"""BCM numbers that a Raspberry Pi has; 0 to 27 are on the header."""

HEADER: Final[Mapping[int, int]] = {
    **dict(zip((2, 3, 4, 17, 27, 22, 10, 9, 11, 0, 5, 6, 13, 19, 26), _ODD, strict=True)),
    **dict(zip((14, 15, 18, 23, 24, 25, 8, 7, 1, 12, 16, 20, 21), _EVEN, strict=True)),
}
"""The place on the header of each BCM number there. Source: Raspberry Pi documentation, "GPIO and the 40-pin header"."""

GPIOD: Final = "gpiod"
"""The back end that also knows lines by their names."""

APLAY: Final = ("aplay", "-q", "-")
"""Plays a WAV file from its standard input."""

BAUD_RATES: Final = (9600, 19200, 38400, 57600, 115200)

KERNEL_LEDS: Final = Path("/sys/class/leds")

_ROLES: Final = ("pin", "red", "green", "blue", "data", "clock", "power")
_OLEDS: Final = ("ssd1306", "sh1106")
_LEVELS: Final = ("high", "low")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPart:
    """One part as the settings want it.

    Attributes:
        name: tells several parts of a sort apart, such as "light 2".
        kind: the ``kind`` of its table; "button" for a button.
        back_end: the library or program that drives it, as ``hardware list`` shows it.
        pins: its pins, each after its role.
    """

    name: str
    kind: str
    back_end: str
    pins: tuple[tuple[str, Pin], ...] = ()

    @property
    def sort(self) -> str:
        """Return light, button, panel or voice."""
        return self.name.partition(" ")[0]

    @property
    def pins_in_words(self) -> str:
        """Return each pin by its role, its BCM number or name, and its place on the header."""
        return ", ".join(
            f"{role} {name_pin(pin)}" + (f" (header {place})" if (place := header_place(pin)) else "")
            for role, pin in self.pins
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedPlan(PlannedPart):
    """An LED on one pin; ``active`` is the level that lights it."""

    active: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RgbPlan(PlannedPart):
    """An RGB LED on three pins; ``common`` is the leg that its three LEDs share."""

    common: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiLedsPlan(PlannedPart):
    """A chain of APA102 LEDs on /dev/spidevBUS.DEVICE; its one pin, if it has any, is high for their supply."""

    bus: int
    device: int
    leds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLedsPlan(PlannedPart):
    """A chain of APA102 LEDs on two pins."""

    leds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLedPlan(PlannedPart):
    """An LED that the kernel drives: the folder ``led`` in ``directory``."""

    led: str
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonPlan(PlannedPart):
    """A button; ``active`` is the level of its pin while it is pressed."""

    pull: str
    active: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OledPlan(PlannedPart):
    """An OLED panel on the bus /dev/i2c-BUS; ``height`` in pixels, ``rotate`` in degrees."""

    height: int
    bus: int
    address: int
    rotate: int
    contrast: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsolePlan(PlannedPart):
    """A console or a serial line; 0 leaves ``columns`` and ``rows`` to the device, and ``baud`` as the line is set."""

    device: Path
    charset: str
    columns: int
    rows: int
    baud: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPanelPlan(PlannedPart):
    """A simulated panel; ``height`` in pixels."""

    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicePlan(PlannedPart):
    """A voice of any kind; the kinds "off" and "simulated" have no more than this.

    Attributes:
        volume: 0 (nothing is heard) to 100; at 50 the synthesiser or the recording is as loud as it comes.
        quiet_hours: when nothing is said unasked; the caller of the voice keeps them.
    """

    volume: int
    quiet_hours: QuietHours


@dataclass(frozen=True, slots=True, kw_only=True)
class EspeakPlan(VoicePlan):
    """A synthesiser at ``speed`` words a minute, and the program that plays its sound."""

    player: tuple[str, ...]
    speed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPlan(VoicePlan):
    """A program that speaks the text on its standard input."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPlan(VoicePlan):
    """Recordings, LANGUAGE/NAME.wav in ``directory``, and the program that plays them."""

    player: tuple[str, ...]
    directory: Path


LampPlan = LedPlan | RgbPlan | SpiLedsPlan | PinLedsPlan
LightPlan = LampPlan | KernelLedPlan
PanelPlan = OledPlan | ConsolePlan | SimulatedPanelPlan

_LIGHTS: Final[Mapping[str, type[LightPlan]]] = {
    "led": LedPlan,
    "rgb": RgbPlan,
    "apa102": SpiLedsPlan,
    "apa102-pins": PinLedsPlan,
    "kernel": KernelLedPlan,
}
_PANELS: Final[Mapping[str, type[PanelPlan]]] = {
    "ssd1306": OledPlan,
    "sh1106": OledPlan,
    "console": ConsolePlan,
    "simulated": SimulatedPanelPlan,
}
_VOICES: Final[Mapping[str, type[VoicePlan]]] = {
    "espeak": EspeakPlan,
    "command": CommandPlan,
    "recorded": RecordedPlan,
    "simulated": VoicePlan,
    "off": VoicePlan,
}


def bcm_number(pin: Pin) -> Pin:
    """Return the number of a pin that bears the kernel's name for a Pi's line, such as GPIO17; any other unchanged."""
    named = re.fullmatch(r"GPIO(\d+)", pin) if isinstance(pin, str) else None
    return int(named[1]) if named else pin


def name_pin(pin: Pin) -> str:
    """Return a pin by its BCM number, such as GPIO17, or the name of its line."""
    return f"GPIO{pin}" if isinstance(pin, int) else pin


def header_place(pin: Pin) -> int | None:
    """Return the place of a pin on the header, 1 to 40; None for one that is not there."""
    number = bcm_number(pin)
    return HEADER.get(number) if isinstance(number, int) else None


def parse_device(path: Path) -> Path:
    """Return the absolute path of a device.

    Raises:
        ValueError: if it is another path.
    """
    if not path.is_absolute() or len(path.parts) == 1:
        raise ValueError("must be an absolute path")
    return path


def _parse_led(name: str) -> str:
    if "/" in name or name in {".", ".."}:
        raise ValueError(
            "must be a name and no path", "Set directory to the folder, and name to the LED in it."
        )
    return name


def parse_pin(given: object) -> Pin:
    """Return a pin: a BCM number, or the name of a line.

    Raises:
        ValueError: if it is neither.
    """
    is_number = isinstance(given, int) and not isinstance(given, bool) and given in PINS
    if is_number or (isinstance(given, str) and given):
        return given  # type: ignore[return-value] # both were just looked at
    raise ValueError(
        "must be a pin",
        f'Use its BCM number, {PINS[0]} to {PINS[-1]}; with gpio = "{GPIOD}" also the name of a line.',
    )


def _kind(kinds: Mapping[str, object]) -> Key:
    return _choice("kind", "Which sort of part it is.", tuple(kinds))


def _pin(role: str, explanation: str, *only: str) -> Key:
    return Key(role, ValueType.ANY, explanation, example=17, only=only, parse=parse_pin, is_required=True)


def _whole(name: str, explanation: str, default: int, within: range, *only: str) -> Key:
    return Key(name, ValueType.WHOLE, explanation, example=default, default=default, within=within, only=only)


def _choice(
    name: str, explanation: str, choices: tuple[object, ...], *only: str, default: object = ""
) -> Key:
    kind = ValueType.TEXT if isinstance(choices[0], str) else ValueType.WHOLE
    return Key(
        name, kind, explanation, default=default, choices=choices, only=only, is_required=default == ""
    )


LIGHT_KEYS: Final = (
    _kind(_LIGHTS),
    _pin("pin", "The pin of the LED, by its BCM number.", "led"),
    _choice("active", 'The level that lights the LED: "low" where it hangs on 3.3 V.', _LEVELS, "led"),
    *(
        _pin(role, f"The pin of the {role} LED, by its BCM number.", "rgb")
        for role in ("red", "green", "blue")
    ),
    _choice("common", 'The shared leg: "cathode" on ground, "anode" on 3.3 V.', ("cathode", "anode"), "rgb"),
    *(
        _pin(role, f"The pin of the {role} line, by its BCM number.", "apa102-pins")
        for role in ("data", "clock")
    ),
    _whole("bus", "The X of /dev/spidevX.Y.", 0, range(10), "apa102"),
    _whole("device", "The Y of /dev/spidevX.Y.", 0, range(10), "apa102"),
    _whole("leds", "How many LEDs the chain has.", 1, range(1, 1025), "apa102", "apa102-pins"),
    _pin("power", "A pin that is high while the LEDs are used.", "apa102")._replace(is_required=False),
    Key(
        "name",
        only=("kernel",),
        is_required=True,
        parse=_parse_led,
        example="ACT",
        explanation="The LED's name in its directory.",
    ),
    Key(
        "directory",
        ValueType.PATH,
        only=("kernel",),
        default=KERNEL_LEDS,
        example=str(KERNEL_LEDS),
        explanation="Where the kernel lists its LEDs.",
    ),
)

BUTTON_KEYS: Final = (
    _pin("pin", "The pin of the button, by its BCM number."),
    _choice(
        "pull", 'The resistor of the chip that is used; "off" where the board has one.', ("up", "down", "off")
    ),
    _choice("active", "The level while the button is pressed.", _LEVELS),
)

PANEL_KEYS: Final = (
    _kind(_PANELS),
    _choice("height", "How many pixels high it is.", (64, 32), *_OLEDS, "simulated", default=64),
    _whole("bus", "The X of /dev/i2c-X.", 1, range(64), *_OLEDS),
    _whole("address", "Its address on the bus; i2cdetect -y 1 shows it.", 0x3C, range(0x08, 0x78), *_OLEDS),
    _choice("rotate", "Degrees by which the picture is turned.", (0, 180), *_OLEDS, default=0),
    _whole("contrast", "How bright it is.", 0x7F, range(256), *_OLEDS),
    Key(
        "device",
        ValueType.PATH,
        only=("console",),
        default=Path("/dev/tty1"),
        parse=parse_device,
        example="/dev/tty1",
        explanation="The console or the serial line.",
    ),
    _choice(
        "charset",
        '"auto" means UTF-8 on a console, and ASCII on a serial line, whose other end is not known.',
        ("auto", "utf-8", "ascii"),
        "console",
        default="auto",
    ),
    _whole("columns", "Characters in a row; 0: as the device says, else 80.", 0, range(1000), "console"),
    _whole("rows", "Rows of the screen; 0: as the device says, else 24.", 0, range(1000), "console"),
    _choice(
        "baud", "Bits a second of a serial line; 0: as it is set.", (0, *BAUD_RATES), "console", default=0
    ),
)

VOICE_KEYS: Final = (
    _kind(_VOICES),
    _whole("volume", "How loud it is, from 0 to 100.", 50, range(101)),
    Key(
        "quiet_hours",
        ValueType.ANY,
        default=QuietHours(0, 0),
        parse=parse_quiet_hours,
        example="22:00-07:00",
        explanation="When it says nothing by itself, in local time.",
    ),
    Key(
        "player",
        ValueType.COMMAND,
        only=("espeak", "recorded"),
        default=APLAY,
        example=APLAY,
        explanation="A program that plays a WAV file from its standard input.",
    ),
    _whole("speed", "Words a minute.", 150, range(80, 301), "espeak"),
    Key(
        "command",
        ValueType.COMMAND,
        only=("command",),
        is_required=True,
        example=("festival", "--tts"),
        explanation="A program that speaks its standard input; {language} and {volume} are filled in.",
    ),
    Key(
        "directory",
        ValueType.PATH,
        only=("recorded",),
        is_required=True,
        example="/usr/share/speaker",
        explanation="The folder of recordings, LANGUAGE/NAME.wav.",
    ),
)


KEYS_OF_SORTS: Final = {
    "light": LIGHT_KEYS,
    "button": BUTTON_KEYS,
    "panel": PANEL_KEYS,
    "voice": VOICE_KEYS,
}
"""The keys of each sort of part."""


def read_light(name: str, table: Settings, gpio: str) -> LightPlan:
    """Read the table of a light; ``gpio`` is the back end for its pins."""
    found = read_table(name, LIGHT_KEYS, table)
    kind = found["kind"]
    if "name" in found:
        found["led"] = found.pop("name")
    pins = _take_pins(name, found, gpio)
    back_end = {"apa102": "spidev"}.get(kind) or (gpio if pins else kind)
    return _LIGHTS[kind](name=name, back_end=back_end, pins=pins, **found)


def read_button(table: Settings, gpio: str) -> ButtonPlan:
    """Read the table of the button; ``gpio`` is the back end for its pin."""
    found = read_table("button", BUTTON_KEYS, table)
    pins = _take_pins("button", found, gpio)
    return ButtonPlan(name="button", kind="button", back_end=gpio, pins=pins, **found)


def read_panel(table: Settings) -> PanelPlan:
    """Read the table of the panel."""
    found = read_table("panel", PANEL_KEYS, table)
    return _PANELS[found["kind"]](name="panel", back_end=found["kind"], **found)


def read_voice(table: Settings) -> VoicePlan:
    """Read the table of the voice; one that is off may keep the settings of any kind, so that a word switches it."""
    if table.get("kind") == "off":
        keys = [key._replace(only=(), is_required=False) for key in VOICE_KEYS]
        found = read_table("voice", keys, table)
        found = {name: found[name] for name in ("kind", "volume", "quiet_hours")}
    else:
        found = read_table("voice", VOICE_KEYS, table)
    return _VOICES[found["kind"]](name="voice", back_end=found["kind"], **found)


def _take_pins(name: str, found: dict[str, Any], gpio: str) -> tuple[tuple[str, Pin], ...]:
    pins = tuple((role, pin) for role in _ROLES if (pin := found.pop(role, "")) != "")
    for role, pin in pins:
        if isinstance(pin, str) and gpio != GPIOD:
            raise BadSetting(
                f'{name}: {role} ({pin!a}) is the name of a line, which gpio = "{gpio}" does not know',
                hint=f'Use the BCM number of the pin, {PINS[0]} to {PINS[-1]}, or set gpio = "{GPIOD}".',
            )
    return pins
