"""Draws how a board is wired, from what the program knows of it: the header, the parts, and a line for each wire."""

import tomllib
from itertools import groupby
from operator import attrgetter
from statistics import fmean
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from hardware.board import BUSES, board_names, read_plan
from hardware.plans import HEADER
from hardware.wiring import GROUND, RESISTOR, SUPPLIES, Wire, wires_of
from tests.command import ROOT

WIRED: Final = [name for name in board_names() if wires_of(read_plan({"board": name}))]
"""The boards that have a wire to show."""

ROW: Final = 24
TOP: Final = 84
LEFT: Final = 104
"""The middle of the pins with odd numbers; those with even ones are a row's height further right."""

BOXES: Final = 400
WIDTH: Final = 760
HEIGHT: Final = TOP + 20 * ROW + 28

NOTE: Final = "The 40-pin header; pin 1 is at the end where the memory card is."

_COLOURS: Final = ("a", "b", "c", "d")

STYLE: Final = """\
svg{color-scheme:light dark}
text{font:12px ui-sans-serif,system-ui,"DejaVu Sans",Arial,sans-serif;fill:#1f2328}
.t{font-size:16px;font-weight:700}.h{font-weight:700}.m{fill:#59636e}.r{text-anchor:end}.n{font-size:10px;text-anchor:middle}
.frame{fill:#fff;stroke:#d1d9e0}.strip{fill:#f0f2f4;stroke:#818b98}.box{fill:#f6f8fa;stroke:#818b98}
.pin{fill:#fff;stroke:#818b98}.bus{fill:#d1d9e0;stroke:#818b98}.on{fill:#fff;stroke-width:2.5}
.wire{fill:none;stroke-width:2.5}.fit{stroke-dasharray:5 4}.res{fill:#fff;stroke-width:2}
.over{paint-order:stroke;stroke:#fff;stroke-width:5px;stroke-linejoin:round}
.a{stroke:#0a58ca}.b{stroke:#1a7f37}.c{stroke:#8250df}.d{stroke:#0b7285}.g{stroke:#57606a}.v{stroke:#bc4c00}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}
.frame{fill:#0d1117;stroke:#3d444d}.strip{fill:#1c2128;stroke:#656c76}.box{fill:#151b23;stroke:#656c76}
.pin{fill:#0d1117;stroke:#656c76}.bus{fill:#3d444d;stroke:#656c76}.on,.res{fill:#0d1117}.over{stroke:#0d1117}
.a{stroke:#6cb0ff}.b{stroke:#56d364}.c{stroke:#c297ff}.d{stroke:#56d4dd}.g{stroke:#b1bac4}.v{stroke:#ffa657}}
"""


class Box(NamedTuple):
    """A part with its terminals: the wires that end there, from above."""

    part: str
    wires: list[Wire]
    top: float

    @property
    def height(self) -> int:
        """Return its height in pixels."""
        return ROW * len(self.wires) + 32


def draw_board(name: str) -> str:
    """Draw one board."""
    plan = read_plan({"board": name})
    wires = wires_of(plan)
    table = tomllib.loads((ROOT / "hardware" / "boards" / f"{name}.toml").read_text("utf-8"))
    buses: list[str] = table.get("buses", [])
    used = {HEADER[pin]: f"{bus} {role}" for bus in buses for pin, role in BUSES[bus].items()}
    title = f"{name}: {plan.title}"
    pins, names = _header(wires, used)
    body = [
        f'<text x="16" y="28" class="t">{escape(title)}</text>',
        f'<text x="16" y="48" class="m">{NOTE}</text>',
        f'<text x="16" y="66" class="m">{escape(_note(buses, wires))}</text>',
        *pins,
    ]
    coloured = dict(zip((wire for wire in wires if wire.signal not in SUPPLIES), _COLOURS * 9, strict=False))
    for box in _boxes(wires):
        body += _part(box, coloured)
    body += names
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' role="img">\n<title>{escape(title)}</title>\n<desc>{escape(_spoken(wires))}</desc>\n'
        f"<style>\n{STYLE}</style>\n"
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8" class="frame"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _note(buses: list[str], wires: list[Wire]) -> str:
    dashed = ["Dashed: on the board, nothing to wire."] if any(wire.is_fitted for wire in wires) else []
    grey = [f"Grey: used by the board ({', '.join(buses)})."] if buses else []
    return " ".join(dashed + grey)


def _spoken(wires: list[Wire]) -> str:
    return "; ".join(
        f"{wire.part}: {wire.signal}, pin {wire.header} of the header, to {wire.end}" for wire in wires
    )


def _at(place: int) -> tuple[int, int]:
    return LEFT + (0 if place % 2 else ROW), TOP + (place - 1) // 2 * ROW + ROW // 2


def _name_of(place: int) -> str:
    number = {other: number for number, other in HEADER.items()}.get(place)
    if number is not None:
        return f"GPIO{number}"
    return next(name for name, places in SUPPLIES.items() if place in places)


def _header(wires: list[Wire], used: dict[int, str]) -> tuple[list[str], list[str]]:
    """Draw the pins, and the names that are to lie over the wires."""
    names = []
    wired = {wire.header for wire in wires}
    drawn = [
        f'<rect x="{LEFT - 14}" y="{TOP - 4}" width="{ROW + 28}" height="{20 * ROW + 8}" rx="4" class="strip"/>'
    ]
    for place in range(1, 41):
        x, y = _at(place)
        kind = "bus" if place in used else "pin"
        drawn.append(f'<circle cx="{x}" cy="{y}" r="9" class="{kind}"/>')
        drawn.append(f'<text x="{x}" y="{y + 4}" class="n">{place}</text>')
        tone = "h over" if place in wired else "m"
        side = f'x="{LEFT - 20}" class="{tone} r"' if place % 2 else f'x="{LEFT + ROW + 20}" class="{tone}"'
        names.append(f'<text {side} y="{y + 4}">{_name_of(place)}</text>')
    return drawn, names


def _boxes(wires: list[Wire]) -> list[Box]:
    """Place each part beside its pins, and those that would overlap further down; what is left over goes up again."""
    parts = [list(own) for _, own in groupby(wires, key=attrgetter("part"))]
    parts = [sorted((wire for wire in own if wire.header), key=attrgetter("header")) for own in parts]
    boxes: list[Box] = []
    for own in sorted(parts, key=_middle):
        box = Box(own[0].part, own, 0)
        wanted = _middle(own) - box.height / 2
        lowest = boxes[-1].top + boxes[-1].height + 16 if boxes else TOP - 4
        boxes.append(box._replace(top=max(lowest, wanted)))
    spill = max(0, boxes[-1].top + boxes[-1].height - (HEIGHT - 16))
    return [box._replace(top=round(max(TOP - 4, box.top - spill))) for box in boxes]


def _middle(wires: list[Wire]) -> float:
    return fmean(_at(wire.header or 1)[1] for wire in wires)


def _part(box: Box, coloured: dict[Wire, str]) -> list[str]:
    is_fitted = box.wires[0].is_fitted
    dashed = " fit" if is_fitted else ""
    drawn = [
        f'<rect x="{BOXES}" y="{box.top}" width="{WIDTH - BOXES - 16}" height="{box.height}" rx="6"'
        f' class="box{dashed}"/>',
        f'<text x="{BOXES + 12}" y="{box.top + 20}" class="h">{escape(box.part)}'
        f"{', on the board' if is_fitted else ''}</text>",
    ]
    for row, wire in enumerate(box.wires):
        drawn += _wire(
            wire, coloured.get(wire, "g" if wire.signal == GROUND else "v"), box.top + 38 + ROW * row
        )
    return drawn


def _wire(wire: Wire, colour: str, end: float) -> list[str]:
    """Draw a wire: from a pin with an odd number between two rows of pins to the right, then to its terminal."""
    assert wire.header is not None
    x, y = _at(wire.header)
    start = f"M{x} {y}"
    if wire.header % 2:
        y -= ROW // 2
        start += f"L{x + ROW // 2} {y}"
    out, goal = LEFT + ROW + 78, BOXES
    has_resistor = wire.end.startswith(RESISTOR)
    words = wire.end.removeprefix(RESISTOR)
    dashed = " fit" if wire.is_fitted else ""
    drawn = [
        f'<path d="{start}L{out} {y}C{out + 50} {y} {goal - 120} {end} {goal - 70} {end}L{goal} {end}"'
        f' class="wire {colour}{dashed}"/>',
        f'<circle cx="{x}" cy="{_at(wire.header)[1]}" r="9" class="on {colour}"/>',
        f'<text x="{x}" y="{_at(wire.header)[1] + 4}" class="n">{wire.header}</text>',
        f'<circle cx="{goal}" cy="{end}" r="4" class="on {colour}"/>',
        f'<text x="{goal + 12}" y="{end + 4}">{escape(words)}</text>',
    ]
    if has_resistor:
        drawn += [
            f'<rect x="{goal - 62}" y="{end - 9}" width="46" height="18" class="res {colour}"/>',
            f'<text x="{goal - 39}" y="{end + 4}" class="n">330 Ω</text>',
        ]
    return drawn
