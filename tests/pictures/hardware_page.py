"""Writes what docs/hardware.md has of the program itself: boards, keys and patterns; and the picture of each board's wires.

``python -m tests.pictures.hardware_page``, or ``make pictures``.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from device_auth.assembly.hardware_parts import NEVER_QUIET
from device_auth.prompts.light import COLOURS, PATTERN_KEYS, TABLE, describe
from hardware.board import HARDWARE_KEYS, board_names, read_plan
from hardware.led import Colour, Rhythm, in_white, steps_of, without_fades
from hardware.plans import KEYS_OF_SORTS, parse_pin
from hardware.settings import Key, ValueType, as_toml
from hardware.wiring import wires_of
from tests.command import ROOT
from tests.pictures.wiring import WIRED, draw_board

PAGE: Final = ROOT / "docs" / "hardware.md"
FOLDER: Final = ROOT / "docs" / "wiring"

_PART: Final = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pictures() -> dict[str, str]:
    """Return each picture by the name of its file."""
    return {f"{name}.svg": draw_board(name) for name in WIRED}


def page(text: str) -> str:
    """Return the page with what is made of the program as it is now."""
    return _PART.sub(lambda found: f"{found[1]}\n{MADE[found[2]]()}\n{found[3]}", text)


def _boards() -> str:
    return "\n".join(_board(name) for name in board_names() if name != "none")


def _board(name: str) -> str:
    plan = read_plan({"board": name})
    file = (ROOT / "hardware" / "boards" / f"{name}.toml").read_text("utf-8")
    lines = [f"### {name}: {plan.title}", ""]
    wires = wires_of(plan)
    if wires:
        lines += [
            f"![The wires of {name}, which the table below has in words](wiring/{name}.svg)",
            "",
        ]
        rows = (
            (wire.part, wire.header, wire.signal, f"{'on board: ' if wire.is_fitted else ''}{wire.end}")
            for wire in wires
        )
        lines += [*_table(("Part", "Header", "Pin", "Goes to"), rows), ""]
    return "\n".join(
        [
            *lines,
            f"<details><summary>hardware/boards/{name}.toml</summary>\n\n```toml\n{file}```\n\n</details>\n",
        ]
    )


def _keys() -> str:
    tables: Mapping[str, Iterable[Key]] = {
        "hardware": HARDWARE_KEYS,
        **{f"hardware.{sort}": keys for sort, keys in KEYS_OF_SORTS.items()},
        "hardware.patterns.MEANING": PATTERN_KEYS,
    }
    return "\n".join(
        "\n".join(
            [
                f"#### `[{name}]`",
                "",
                *_table(("Key", "Value", "If it is not set", "Use"), map(_key, keys)),
                "",
            ]
        )
        for name, keys in tables.items()
    )


def _key(key: Key) -> tuple[str, str, str, str]:
    kinds = f" (kind {', '.join(key.only)})" if key.only else ""
    return f"`{key.name}`", _value(key), _default(key), f"{key.explanation}{kinds}"


def _value(key: Key) -> str:
    if key.parse is parse_pin:
        return "a BCM number; with gpiod also the name of a line"
    if key.type is not ValueType.ANY:
        return key.requirement
    return f"text such as `{as_toml(key.example)}`" if key.example else 'a table, or `"off"`'


def _default(key: Key) -> str:
    default = key.default
    if key.is_required:
        return "must be set"
    if isinstance(default, Colour):
        default = next(name for name, colour in COLOURS.items() if colour == default)
    if default in ("", None, (), NEVER_QUIET):
        return "none"
    in_hex = f" ({default:#x})" if key.name == "address" else ""
    return f"`{as_toml(str(default) if isinstance(default, Path) else default)}`{in_hex}"


def _patterns() -> str:
    found: dict[Rhythm, list[str]] = {}
    for meaning, pattern in TABLE.items():
        found.setdefault(pattern, []).append(f"`{meaning}`")
    rows = (
        (
            " ".join(names),
            describe(pattern),
            describe(in_white(without_fades(pattern))).removeprefix("white, "),
            _lengths(pattern),
        )
        for pattern, names in found.items()
    )
    return "\n".join([*_table(("Shown for", "With colours", "On one LED", "Lit and dark, in ms"), rows), ""])


def _lengths(pattern: Rhythm) -> str:
    return ", ".join(str(step.lasts_ms) for step in steps_of(pattern) if step.lasts_ms) or "does not change"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"


MADE: Final[Mapping[str, Callable[[], str]]] = {"boards": _boards, "keys": _keys, "patterns": _patterns}


def main() -> int:
    """Write the page and the pictures; return the exit code."""
    for name, svg in pictures().items():
        (FOLDER / name).write_text(svg, "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
