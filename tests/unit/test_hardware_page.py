"""docs/hardware.md and its pictures are those of the program as it is now."""

import re
import tomllib
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from device_auth.assembly.hardware_parts import read_hardware
from hardware.board import board_names, read_plan
from hardware.wiring import wires_of
from tests.pictures.hardware_page import FOLDER, MADE, PAGE, page, pictures
from tests.pictures.wiring import WIRED

TEXT: Final = PAGE.read_text("utf-8")
ANEW: Final = "the program says something else: python -m tests.pictures.hardware_page"


def test_the_page_has_the_boards_the_keys_and_the_patterns_that_there_are() -> None:
    assert [found for found in MADE if f"<!-- made: {found} -->" not in TEXT] == []
    assert page(TEXT) == TEXT, ANEW


def test_each_board_is_in_the_first_table_of_the_page() -> None:
    named = set(re.findall(r"^\|[^|]*\| `([a-z0-9-]+)` \|", TEXT.partition("## Boards")[0], re.MULTILINE))

    assert named == set(board_names()) - {"none", "simulated"}


def test_each_picture_is_drawn_from_the_boards_present_data() -> None:
    drawn = pictures()

    assert {path.name for path in FOLDER.iterdir()} == drawn.keys()
    assert [name for name, svg in drawn.items() if (FOLDER / name).read_text("utf-8") != svg] == [], ANEW
    assert set(re.findall(r"\(wiring/([^)]*)\)", TEXT)) == drawn.keys()


@pytest.mark.parametrize("name", WIRED)
def test_a_picture_shows_each_wire_and_stays_in_its_frame(name: str) -> None:
    svg = ET.fromstring((FOLDER / f"{name}.svg").read_text("utf-8"))  # noqa: S314  our own file
    shapes = [(each.tag.rpartition("}")[2], each.attrib, each.text or "") for each in svg.iter()]
    wires = wires_of(read_plan({"board": name}))
    bold = [
        text for tag, attributes, text in shapes if tag == "text" and "over" in attributes.get("class", "")
    ]
    high, wide = float(svg.attrib["height"]), float(svg.attrib["width"])

    assert sorted(bold) == sorted(wire.signal for wire in wires)
    assert sum("wire" in attributes.get("class", "") for _, attributes, _ in shapes) == len(wires)
    assert sum(text == "330 Ω" for *_, text in shapes) == sum("330 ohm" in wire.end for wire in wires)
    for _, attributes, _ in shapes:
        assert float(attributes.get("y", 0)) + float(attributes.get("height", 0)) <= high
        assert float(attributes.get("x", 0)) + float(attributes.get("width", 0)) <= wide


EXAMPLES: Final = re.findall(r"^```toml\n(\[hardware.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["patterns", "own-board"])
def test_each_example_of_settings_can_be_used(example: str) -> None:
    read_hardware(tomllib.loads(example)["hardware"])


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)", TEXT))))
def test_each_link_of_the_page_leads_somewhere(link: str) -> None:
    assert (PAGE.parent / Path(link)).exists()
