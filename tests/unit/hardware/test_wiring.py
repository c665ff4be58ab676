from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hardware.board import BUSES, board_names, read_plan
from hardware.plans import HEADER, header_place
from hardware.wiring import SUPPLIES, wires_of

if TYPE_CHECKING:
    from hardware.settings import Settings


def wired(settings: Settings) -> list[tuple[int | None, str, str]]:
    return [(wire.header, wire.signal, wire.end) for wire in wires_of(read_plan(settings))]


def test_every_place_of_the_header_is_known_once() -> None:
    assert sorted(HEADER) == list(range(28))
    assert sorted([*HEADER.values(), *(place for places in SUPPLIES.values() for place in places)]) == list(
        range(1, 41)
    )


# A second list, each pair as two vendors have it: of the BCM numbers on one side of the header, one wrong would move the rest.
@pytest.mark.parametrize(
    ("number", "place"),
    [(5, 29), (6, 31), (12, 32), (17, 11), (18, 12), (21, 40), (23, 16), (25, 22), (27, 13)],
)
def test_a_bcm_number_has_its_place_on_the_header(number: int, place: int) -> None:
    assert header_place(number) == header_place(f"GPIO{number}") == place


@pytest.mark.parametrize("pin", [28, 53, "TALK", "GPIO28"])
def test_what_is_not_on_the_header_has_no_place_there(pin: int | str) -> None:
    assert header_place(pin) is None
    assert wired({"gpio": "gpiod", "button": {"pin": pin, "pull": "off", "active": "low"}}) == [
        (
            None,
            f"GPIO{pin}" if isinstance(pin, int) else pin,
            "contact 1 of the button, a resistor of its own",
        ),
        (6, "ground", "contact 2"),
    ]


def test_an_led_that_hangs_on_the_supply_is_wired_the_other_way_round() -> None:
    assert wired({"light": {"kind": "led", "pin": 27, "active": "low"}}) == [
        (13, "GPIO27", "330 ohm, then short leg of the LED"),
        (17, "3.3 V", "long leg"),
    ]


def test_the_shared_leg_goes_where_the_settings_say() -> None:
    assert wired({"board": "generic-rgb", "button": "off", "light": {"common": "anode"}})[-1] == (
        17,
        "3.3 V",
        "common leg",
    )


def test_a_button_on_the_supply_is_pulled_down() -> None:
    assert wired({"button": {"pin": 17, "pull": "down", "active": "high"}}) == [
        (11, "GPIO17", "contact 1 of the button, pull-down of the Pi"),
        (17, "3.3 V", "contact 2"),
    ]


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({"light": {"kind": "apa102", "leds": 3}}, [19, 23, 4, 6]),
        ({"light": {"kind": "apa102-pins", "leds": 3, "data": 5, "clock": 6}}, [29, 31, 4, 6]),
        ({"panel": {"kind": "ssd1306"}}, [3, 5, 1, 6]),
        ({"panel": {"kind": "console", "device": "/dev/ttyAMA0"}}, [8, 10, 6]),
        ({"panel": {"kind": "console"}}, []),
        ({"light": {"kind": "kernel", "name": "ACT"}}, []),
        ({"voice": {"kind": "espeak"}}, []),
    ],
)
def test_a_bus_goes_to_its_own_pins_and_the_nearest_supply(settings: Settings, places: list[int]) -> None:
    assert [place for place, _, _ in wired(settings)] == places


@pytest.mark.parametrize("name", board_names())
def test_no_two_wires_of_a_board_share_a_pin(name: str) -> None:
    places = [place for place, _, _ in wired({"board": name})]

    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", board_names())
def test_no_wire_of_a_board_is_on_a_bus_that_the_board_uses(name: str) -> None:
    plan = read_plan({"board": name})
    of_parts = {wire.signal for wire in wires_of(plan)}

    assert not of_parts & {f"GPIO{pin}" for pin in BUSES["i2s"]}


def test_what_the_board_has_itself_needs_no_resistor_and_no_supply() -> None:
    wires = wires_of(read_plan({"board": "respeaker-4mic"}))

    assert [(wire.part, wire.signal, wire.is_fitted) for wire in wires] == [
        ("light", "GPIO10", True),
        ("light", "GPIO11", True),
        ("light", "GPIO5", True),
        ("button", "GPIO12", False),
        ("button", "ground", False),
    ]
