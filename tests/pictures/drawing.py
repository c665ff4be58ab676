"""Draws what stands on a terminal as SVG: a screen, or a recording that CSS moves; in light and dark colours.

A reader whose system wants no motion, or whose program moves nothing, sees one screen of the recording.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar
from xml.sax.saxutils import escape

import pyte
from pyte.screens import Char

from tests.pictures.recording import Frame

WIDE: Final = 8
HIGH: Final = 16
HALF: Final = HIGH // 2
MARGIN: Final = 12

STYLE: Final = """\
svg{color-scheme:light dark}
text{font:13.3px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre}
.b{font-weight:700}.frame{fill:#fff;stroke:#d1d9e0}
.default{fill:#1f2328}.green{fill:#116329}.brown{fill:#7d4e00}.red{fill:#b3141d}
@media (prefers-color-scheme:dark){.frame{fill:#0d1117;stroke:#3d444d}
.default{fill:#e6edf3}.green{fill:#56d364}.brown{fill:#e3b341}.red{fill:#ff8f87}}
"""
"""The colours of a terminal have names where they are its own; of the 256 each has its number."""

_NAMED: Final = frozenset({"default", "green", "brown", "red"})
_GREYS: Final = {"black": "#000", "white": "#aaa", "brightwhite": "#fff"}

_BLOCKS: Final = {"█": ((0, 2),), "▀": ((0, 1),), "▄": ((1, 1),)}
"""Of each block that is lit: where it begins and how high it is, in halves of a line."""


Value = TypeVar("Value")


def draw_screen(screen: pyte.Screen, title: str) -> str:
    """Draw one screen; empty lines at its end are left out."""
    rows = [_draw_row(screen, number) for number in range(screen.lines)]
    while rows and not rows[-1]:
        rows.pop()
    body = "".join(
        f'<g transform="translate(0 {HIGH * number})">{row}</g>\n' for number, row in enumerate(rows) if row
    )
    return _around(body, STYLE, screen.columns, len(rows), title)


def draw_recording(frames: Iterator[Frame], still: str, title: str) -> str:
    """Draw a recording.

    Args:
        frames: its screens.
        still: a text of the screen that stands where nothing moves: the first one with it.
        title: for readers who hear it.
    """
    shown = defaultdict[tuple[int, str], list[list[float]]](list)
    at_rest, end, columns, lines = set[tuple[int, str]](), 0.0, 0, 0
    for at, until, screen in frames:
        rows = [(number, _draw_row(screen, number)) for number in range(screen.lines)]
        columns, lines, end = screen.columns, screen.lines, until
        for row in rows:
            intervals = shown[row]
            if intervals and intervals[-1][1] == at:
                intervals[-1][1] = until
            else:
                intervals.append([at, until])
        if not at_rest and still in "\n".join(screen.display):
            at_rest = set(rows)
    style = f"{STYLE}.r{{visibility:hidden;animation:{end:g}s step-end infinite}}.s{{visibility:visible}}\n"
    style += "@media (prefers-reduced-motion:reduce){.r{animation:none!important}}\n"
    definitions, keyframes, body = dict[str, str](), dict[str, str](), ""
    for row, intervals in shown.items():
        number, drawn = row
        if not drawn:
            continue
        name = definitions.setdefault(drawn, f"r{len(definitions)}")
        steps = _keyframes(intervals, end)
        moves = keyframes.setdefault(steps, f"k{len(keyframes)}")
        rest = " s" if row in at_rest else ""
        body += f'<use href="#{name}" y="{HIGH * number}" class="r{rest}" style="animation-name:{moves}"/>\n'
    style += "".join(f"@keyframes {name}{{{steps}}}\n" for steps, name in keyframes.items())
    defined = "".join(f'<g id="{name}">{drawn}</g>\n' for drawn, name in definitions.items())
    return _around(f"<defs>\n{defined}</defs>\n{body}", style, columns, lines, title)


def _keyframes(intervals: Sequence[Sequence[float]], end: float) -> str:
    steps = "" if intervals[0][0] == 0 else "0%{visibility:hidden}"
    for start, until in intervals:
        steps += f"{100 * start / end:.2f}%{{visibility:visible}}"
        if until < end:
            steps += f"{100 * until / end:.2f}%{{visibility:hidden}}"
    return steps + ("100%{visibility:visible}" if intervals[-1][1] >= end else "")


def _around(body: str, style: str, columns: int, rows: int, title: str) -> str:
    width, height = WIDE * columns + 2 * MARGIN, HIGH * rows + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n"
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" class="frame"/>\n'
        f'<g transform="translate({MARGIN} {MARGIN})">\n{body}</g>\n</svg>\n'
    )


def _draw_row(screen: pyte.Screen, number: int) -> str:
    """Draw one line: first the grounds and the blocks, then the text."""
    cells = [screen.buffer[number][column] for column in range(screen.columns)]
    return _draw_grounds(cells) + _draw_blocks(cells) + _draw_texts(cells)


def _draw_grounds(cells: Sequence[Char]) -> str:
    return "".join(
        f'<rect x="{WIDE * start}" width="{WIDE * length}" height="{HIGH}" {_fill(colour)} shape-rendering="crispEdges"/>'
        for colour, start, length in _runs([cell.bg for cell in cells])
        if colour != "default"
    )


def _draw_blocks(cells: Sequence[Char]) -> str:
    paths = defaultdict[str, str](str)
    for half in (0, 1):
        lit = [
            cell.fg if any(top <= half < top + high for top, high in _BLOCKS.get(cell.data, ())) else None
            for cell in cells
        ]
        for colour, start, length in _runs(lit):
            if colour is not None:
                paths[colour] += f"M{WIDE * start} {HALF * half}h{WIDE * length}v{HALF}h-{WIDE * length}z"
    return "".join(
        f'<path d="{path}"{_fill(colour)} shape-rendering="crispEdges"/>' for colour, path in paths.items()
    )


def _draw_texts(cells: Sequence[Char]) -> str:
    """Draw the text in pieces, each as wide as its cells whatever the font."""
    drawn = ""
    for (colour, is_bold), start, length in _runs([(cell.fg, cell.bold) for cell in cells]):
        text = "".join(" " if cell.data in _BLOCKS else cell.data for cell in cells[start : start + length])
        for piece in re.finditer(r"\S+( \S+)*", text):
            wide = WIDE * len(piece[0])
            style = _fill(colour, "b" if is_bold else "")
            drawn += f'<text x="{WIDE * (start + piece.start())}" y="13" textLength="{wide}"{style}>{escape(piece[0])}</text>'
    return drawn


def _fill(colour: str, *classes: str) -> str:
    """Return the attributes of a colour."""
    named = (colour if colour in _NAMED else "", *classes)
    told = f' class="{" ".join(filter(None, named))}"' if any(named) else ""
    return told if colour in _NAMED else f'{told} fill="{_GREYS.get(colour, f"#{colour}")}"'


def _runs(values: Sequence[Value]) -> Iterator[tuple[Value, int, int]]:
    """Yield each run of equal values: the value, where it begins, how long it is."""
    place = 0
    for value, group in groupby(values):
        length = len(list(group))
        yield value, place, length
        place += length
