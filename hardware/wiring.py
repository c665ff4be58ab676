"""The wires of a board: from the pins of the header to the legs of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hardware import plans
from hardware.board import BUSES, buses_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.board import BoardPlan
    from hardware.plans import Pin, PlannedPart

GROUND: Final = "ground"
_LOW_VOLTS: Final = "3.3 V"
_HIGH_VOLTS: Final = "5 V"

SUPPLIES: Final = {_LOW_VOLTS: (1, 17), _HIGH_VOLTS: (2, 4), GROUND: (6, 9, 14, 20, 25, 30, 34, 39)}
"""The places on the header without a number. Source: Raspberry Pi documentation, "GPIO and the 40-pin header"."""

RESISTOR: Final = "330 ohm, then "
"""Keeps an LED at 3.3 V far below the 16 mA that a pin gives at the most."""

_PULLED: Final = {
    "up": ", pull-up of the Pi",
    "down": ", pull-down of the Pi",
    "off": ", a resistor of its own",
}

_LEGS: Final = {
    "SDA": "SDA",
    "SCL": "SCL",
    "MOSI": "data in",
    "SCLK": "clock in",
    "data": "data in",
    "clock": "clock in",
    "TXD": "RX of the other end",
    "RXD": "TX of the other end",
}
"""Where the line of a bus ends, or the pin of a chain of LEDs."""


class Wire(NamedTuple):
    """One wire.

    Attributes:
        part: by its name.
        header: the place on the header; None for a line that is not there.
        signal: of the pin: its BCM number, such as GPIO17, the name of a line, or the supply.
        end: where it goes.
        is_fitted: the board has it, and nobody has to lay it.
    """

    part: str
    header: int | None
    signal: str
    end: str
    is_fitted: bool


def wires_of(plan: BoardPlan) -> list[Wire]:
    """Return the wires of each part of a plan; of a part that the board has itself, those of its signals."""
    wires: list[Wire] = []
    for part in (part for part in plan.parts if part.back_end != "simulated"):
        is_fitted = part.sort in plan.fitted
        own: list[Wire] = []
        for signal, end in _on_board(part) if is_fitted else _by_hand(part):
            if signal in SUPPLIES:
                place: int | None = _nearest(str(signal), own, {wire.header for wire in wires})
                name = str(signal)
            else:
                place, name = plans.header_place(signal), plans.name_pin(plans.bcm_number(signal))
            own.append(Wire(part.name, place, name, end, is_fitted))
        wires += own
    return wires


def _by_hand(part: PlannedPart) -> Iterator[tuple[Pin, str]]:
    match part:
        case plans.LedPlan():
            long, short = ("long", "short") if part.active == "high" else ("short", "long")
            yield part.pins[0][1], f"{RESISTOR}{long} leg of the LED"
            yield GROUND if part.active == "high" else _LOW_VOLTS, f"{short} leg"
        case plans.RgbPlan():
            yield from ((pin, f"{RESISTOR}{role} leg of the LED") for role, pin in part.pins)
            yield GROUND if part.common == "cathode" else _LOW_VOLTS, "common leg"
        case plans.ButtonPlan():
            yield part.pins[0][1], f"contact 1 of the button{_PULLED[part.pull]}"
            yield GROUND if part.active == "low" else _LOW_VOLTS, "contact 2"
        case _:
            signals = list(_signals(part))
            yield from signals
            if isinstance(part, plans.OledPlan):
                yield _LOW_VOLTS, "VCC"
            if isinstance(part, plans.SpiLedsPlan | plans.PinLedsPlan):
                yield _HIGH_VOLTS, "5 V"
            if signals:
                yield GROUND, "ground"


def _on_board(part: PlannedPart) -> Iterator[tuple[Pin, str]]:
    match part:
        case plans.LedPlan():
            yield part.pins[0][1], f"LED, lit if {part.active}"
        case plans.ButtonPlan():
            yield part.pins[0][1], f"button, {part.active} if pressed{_PULLED[part.pull]}"
        case _:
            yield from _signals(part)


def _signals(part: PlannedPart) -> Iterator[tuple[Pin, str]]:
    """Yield the lines of the part's bus that it uses, and the pins that it has by itself."""
    for bus in buses_of(part):
        yield from ((pin, _LEGS[line]) for pin, line in BUSES[bus].items() if line in _LEGS)
    yield from ((pin, _LEGS.get(role, role)) for role, pin in part.pins)


def _nearest(supply: str, wires: list[Wire], taken: set[int | None]) -> int:
    """Return the place of a supply that is nearest to the part's other wires, free if one is."""
    places = [place for place in SUPPLIES[supply] if place not in taken] or list(SUPPLIES[supply])
    others = [wire.header for wire in wires if wire.header is not None]
    return min(
        places, key=lambda place: (min((_distance(place, other) for other in others), default=0), place)
    )


def _distance(one: int, other: int) -> int:
    """Return the square of the distance of two pins of the header, which has two in a row."""
    return ((one - 1) // 2 - (other - 1) // 2) ** 2 + (one % 2 - other % 2) ** 2
