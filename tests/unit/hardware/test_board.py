from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from errno import EIO
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hardware
from hardware.board import BUSES, Parts, board_names, open_parts, read_plan
from hardware.button import Gesture
from hardware.errors import BadSetting, HardwareError
from hardware.gpiod_lines import EdgeButton
from hardware.led import CYAN, RED, Blink, Breathe, Lights, Off, PlayedLight, Solid
from hardware.rpi_gpio import SampledButton
from hardware.simulated import SimulatedButton, SimulatedClock, SimulatedLight
from tests.oled_controllers import Bus, Ssd1306
from tests.stand_ins.fixtures import not_installed
from tests.wrong_hardware import LED, WRONG_TABLES

if TYPE_CHECKING:
    from hardware.settings import Settings


def opened(settings: Settings) -> tuple[Parts, SimulatedClock]:
    clock = SimulatedClock()
    return open_parts(read_plan(settings), clock), clock


def refused(settings: Settings) -> BadSetting:
    with pytest.raises(BadSetting) as error:
        read_plan(settings)
    return error.value


def test_the_default_board_has_no_parts() -> None:
    parts, _ = opened({})

    assert parts == Parts()


def test_every_board_is_in_the_list_and_can_be_planned() -> None:
    assert board_names() == (
        "aiy-voice-v1",
        "aiy-voice-v2",
        "generic-led",
        "generic-rgb",
        "hifiberry",
        "none",
        "pirate-audio",
        "raspiaudio",
        "respeaker-2mic",
        "respeaker-4mic",
        "simulated",
        "speaker-bonnet",
        "voice-bonnet",
    )
    for name in board_names():
        plan = read_plan({"board": name})
        assert (plan.board, bool(plan.title)) == (name, True)


@pytest.mark.parametrize("name", [name for name in board_names() if name not in ("none", "simulated")])
def test_every_pin_of_a_real_board_has_its_source_beside_it(name: str) -> None:
    folder = Path(str(hardware.__file__)).parent / "boards"
    lines = (folder / f"{name}.toml").read_text().splitlines()
    pins = [
        line
        for line in lines
        if line.split(" = ")[0] in ("pin", "red", "green", "blue", "data", "clock", "power", "bus")
    ]

    assert pins
    assert all("# " in line for line in pins)


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("name", board_names())
def test_every_board_opens_where_its_libraries_are(name: str) -> None:
    parts, _ = opened({"board": name})

    assert parts.problems == ()
    assert (parts.light is None) == (name in ("none", "aiy-voice-v2", "pirate-audio"))
    assert (parts.button is None) == (name == "none")

    parts.close()


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("gpio", ["gpiod", "rpi-gpio", "simulated"])
def test_the_ring_of_the_respeaker_4mic_has_its_supply_while_it_is_open(gpio: str) -> None:
    def supply() -> bool:
        if gpio == "gpiod":
            return bool(import_module("gpiod").bench.level(5))
        return bool(import_module("RPi.GPIO").bench.latches.get(5))

    parts, _ = opened({"board": "respeaker-4mic", "gpio": gpio, "button": "off"})
    assert parts.light is not None
    parts.light.show(Solid(RED))

    assert import_module("spidev").bench.sent[-1][4:-5] == bytes.fromhex("ff0000ff" * 12)
    assert supply() is (gpio != "simulated")

    parts.close()

    assert not supply()
    assert not import_module("spidev").bench.is_open


@pytest.mark.usefixtures("stand_ins")
def test_the_supply_is_let_go_where_the_bus_cannot_be_opened() -> None:
    import_module("spidev").bench.devices.clear()
    parts, _ = opened({"board": "respeaker-4mic", "gpio": "rpi-gpio", "button": "off"})

    assert [problem.part for problem in parts.problems] == ["light"]
    assert import_module("RPi.GPIO").bench.directions == {}


@pytest.mark.usefixtures("stand_ins")
def test_the_respeaker_shows_its_light_on_three_leds() -> None:
    parts, _ = opened({"board": "respeaker-2mic"})
    assert parts.light is not None
    parts.light.show(Solid(RED))

    assert import_module("spidev").bench.sent[-1] == bytes.fromhex("00000000" + "ff0000ff" * 3 + "0000000000")


@pytest.mark.usefixtures("stand_ins")
def test_settings_change_single_entries_of_the_boards_table() -> None:
    plan = read_plan({"board": "generic-led", "gpio": "rpi-gpio", "light": {"pin": 4, "active": "low"}})
    parts = open_parts(plan, SimulatedClock())

    assert plan.parts[0].pins == (("pin", 4),)
    assert isinstance(parts.light, PlayedLight)
    assert import_module("RPi.GPIO").bench.latches == {4: 1}


def test_a_table_of_another_kind_stands_alone() -> None:
    plan = read_plan({"board": "generic-led", "light": {"kind": "kernel", "name": "ACT"}})

    assert (plan.parts[0].kind, plan.parts[0].back_end, plan.parts[0].pins) == ("kernel", "kernel", ())


@pytest.mark.parametrize("name", [name for name in board_names() if name not in ("none", "simulated")])
def test_a_board_whose_back_end_is_not_set_means_gpiod(name: str) -> None:
    plan = read_plan({"board": name})

    assert plan.pin_library == "gpiod"
    assert {part.back_end for part in plan.parts if part.pins} <= {"gpiod", "spidev"}


def test_a_part_stays_the_boards_own_unless_the_settings_name_another_kind() -> None:
    fitted = [
        sorted(read_plan({"board": "aiy-voice-v1", **own}).fitted)
        for own in (
            {"light": {"active": "low"}},
            {"light": "off"},
            {"light": {"kind": "kernel", "name": "ACT"}},
        )
    ]

    assert fitted == [["button", "light"], ["button"], ["button"]]


def test_off_leaves_a_part_out() -> None:
    plan = read_plan({"board": "generic-led", "light": "off"})

    assert [part.name for part in plan.parts] == ["button"]


@pytest.mark.usefixtures("stand_ins")
def test_several_lights_show_the_same() -> None:
    rgb = {"kind": "rgb", "red": 22, "green": 23, "blue": 24, "common": "anode"}
    parts, _ = opened({"gpio": "rpi-gpio", "light": [LED, rgb]})
    assert isinstance(parts.light, Lights)
    parts.light.show(Solid(CYAN))

    assert import_module("RPi.GPIO").bench.latches == {27: 1, 22: 1, 23: 0, 24: 0}


@pytest.mark.usefixtures("stand_ins")
def test_the_back_end_is_a_setting() -> None:
    rpi, _ = opened({"board": "generic-led", "gpio": "rpi-gpio"})
    gpiod, _ = opened(
        {"board": "generic-led", "gpio": "gpiod", "chip": "/dev/gpiochip0", "button": {"pin": "GPIO4"}}
    )
    simulated, _ = opened({"board": "generic-led", "gpio": "simulated"})

    assert isinstance(rpi.button, SampledButton)
    assert isinstance(gpiod.button, EdgeButton)
    assert isinstance(simulated.button, SimulatedButton)
    assert isinstance(simulated.light, SimulatedLight)
    gpiod.close()


def test_the_simulated_board_works_from_press_to_light() -> None:
    parts, clock = opened({"board": "simulated", "colours": "white", "brightness": 0.5})
    told: list[Gesture] = []
    assert isinstance(parts.button, SimulatedButton)
    assert isinstance(parts.light, SimulatedLight)
    parts.button.listen(told.append, lambda _: None)
    parts.button.hold(0.2)
    clock.pass_time(1)
    parts.light.show(Blink(500, 500, RED))
    glow = parts.light.glow_at(1.2)

    assert told == [Gesture.TAP]
    assert (glow.brightness, glow.colour.blue) == (0.5, 255)


@pytest.mark.usefixtures("stand_ins")
def test_breathing_on_digital_pins_changes_only_with_its_rhythm() -> None:
    parts, clock = opened({"board": "generic-rgb", "gpio": "rpi-gpio", "button": "off"})
    assert parts.light is not None
    parts.light.show(Breathe(1000, 1000, CYAN))
    import_module("RPi.GPIO").bench.written.clear()
    clock.pass_time(4)

    assert import_module("RPi.GPIO").bench.written == [(0, 0, 0), (0, 1, 1), (0, 0, 0), (0, 1, 1)]


def test_what_is_missing_is_listed_and_the_rest_go_on() -> None:
    with not_installed():
        parts, _ = opened({"board": "respeaker-2mic", "panel": {"kind": "simulated"}})

    assert [(problem.part, str(problem.error)) for problem in parts.problems] == [
        ("light", "the module spidev is not installed"),
        ("button", "the module gpiod is not installed"),
    ]
    assert parts.panel is not None


def test_one_of_two_lights_that_is_missing_is_named_by_its_number() -> None:
    with not_installed():
        parts, _ = opened(
            {"board": "none", "gpio": "simulated", "light": [LED, {"kind": "apa102", "leds": 3}]}
        )

    assert isinstance(parts.light, SimulatedLight)
    assert [problem.part for problem in parts.problems] == ["light 2"]


@pytest.mark.usefixtures("stand_ins")
def test_a_light_that_fails_at_its_first_write_is_let_go() -> None:
    bench = import_module("spidev").bench
    bench.fails_to_write = EIO
    parts, _ = opened({"light": {"kind": "apa102", "bus": 0, "device": 0, "leds": 3}})

    assert parts.light is None
    assert [problem.part for problem in parts.problems] == ["light"]
    assert not bench.is_open


def test_a_kernel_led_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    parts, _ = opened({"light": {"kind": "kernel", "name": "status", "directory": str(tmp_path)}})

    assert "no kernel LED 'status'" in str(parts.problems[0].error)


def test_panel_and_voice_get_their_tables() -> None:
    parts, _ = opened({"panel": {"kind": "simulated"}, "voice": {"kind": "simulated"}})

    assert parts.panel is not None
    assert parts.voice is not None

    parts.close()


@pytest.mark.usefixtures("stand_ins")
def test_every_part_is_closed_though_one_fails() -> None:
    parts, _ = opened({"board": "generic-led", "gpio": "rpi-gpio"})
    gpio: Any = import_module("RPi.GPIO")
    assert parts.light is not None
    parts.light.show(Solid(RED))
    gpio.bench.broken.add(27)
    with pytest.raises(HardwareError, match="GPIO27"):
        parts.close()

    assert gpio.bench.directions == {}


@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_every_wrong_setting_is_found_before_a_part_is_opened(wrong: str) -> None:
    error = refused(WRONG_TABLES[wrong])

    assert wrong in str(error) or wrong in error.hint
    assert error.exit_code == 78


def test_a_panel_that_its_library_refuses_is_a_problem_and_the_rest_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smbus2.SMBus", lambda _: Bus(Ssd1306()))
    plan = read_plan({"panel": {"kind": "ssd1306"}, "voice": {"kind": "simulated"}})
    panel = replace(plan.parts[0], height=33)  # type: ignore[call-arg] # an OledPlan

    parts = open_parts(replace(plan, parts=(panel, *plan.parts[1:])), SimulatedClock())

    assert [problem.part for problem in parts.problems] == ["panel"]
    assert parts.voice is not None


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"board": "respeaker-2mics"}, "board ('respeaker-2mics') is not a known board", "'respeaker-2mic'"),
        ({"gpio": "rpigpio"}, "gpio ('rpigpio') must be", "'rpi-gpio'"),
        ({"gpio": "rpi-gpio", "chip": "/dev/gpiochip0"}, "chip has no meaning", "gpiod"),
        ({"gpio": "gpiod", "chip": "gpiochip0"}, "chip ('gpiochip0') must be", "/dev/"),
        ({"colours": "whit"}, "colours ('whit') must be", "'white'"),
        ({"buses": "i2c1"}, "buses ('i2c1') must be a list", '["i2c1"'),
        ({"buses": ["i2c"]}, "buses (['i2c']) must name", "'i2c1'"),
        ({"brightness": 0}, "brightness (0) must be above 0", "0.5"),
        ({"brightness": True}, "brightness (True) must be a number", "0.5"),
        ({"light": 3}, "light (3) must be a table", "[hardware.light]"),
        ({"button": [{}, {}]}, "button ([{}, {}]) must be a table", "[hardware.button]"),
        ({"voice": "on"}, "voice ('on') must be a table", '"off"'),
        ({"light": {"kind": "leds"}}, "kind ('leds') must be", "'led'"),
        ({"light": {**LED, "pin": True}}, "pin (True) must be a pin", "BCM"),
        (
            {"gpio": "rpi-gpio", "light": {**LED, "pin": "GPIO4"}},
            "pin ('GPIO4') is the name of a line",
            "gpiod",
        ),
        ({"gpio": "gpiod", "light": {**LED, "pin": ""}}, "pin ('') must be a pin", "name of a line"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_what_would_be_right(
    settings: Settings, message: str, hint: str
) -> None:
    error = refused(settings)

    assert message in str(error)
    assert hint in error.hint
    assert error.exit_code == 78


@pytest.mark.parametrize(
    ("settings", "pin", "users"),
    [
        ({"board": "generic-led", "light": {"pin": 17}}, "GPIO17", ("light (pin)", "button (pin)")),
        ({"board": "respeaker-2mic", "button": {"pin": 10}}, "GPIO10", ("spi0 (MOSI)", "button (pin)")),
        ({"board": "voice-bonnet", "button": {"pin": 2}}, "GPIO2", ("i2c1 (SDA)", "button (pin)")),
        ({"board": "voice-bonnet", "light": {"clock": 5}}, "GPIO5", ("light (data)", "light (clock)")),
        ({"board": "respeaker-4mic", "button": {"pin": 5}}, "GPIO5", ("light (power)", "button (pin)")),
        ({"light": [LED, LED]}, "GPIO27", ("light 1 (pin)", "light 2 (pin)")),
        (
            {"board": "generic-led", "light": {"pin": 3}, "panel": {"kind": "ssd1306"}},
            "GPIO3",
            ("i2c1 (SCL)", "light (pin)"),
        ),
        (
            {"light": {**LED, "pin": 1}, "panel": {"kind": "sh1106", "bus": 0}},
            "GPIO1",
            ("i2c0 (SCL)", "light (pin)"),
        ),
        (
            {"light": {**LED, "pin": 14}, "panel": {"kind": "console", "device": "/dev/ttyAMA0"}},
            "GPIO14",
            ("serial (TXD)", "light (pin)"),
        ),
        (
            {"board": "generic-led", "gpio": "gpiod", "light": {"pin": "GPIO17"}},
            "GPIO17",
            ("light (pin)", "button (pin)"),
        ),
        (
            {"gpio": "gpiod", "light": [{**LED, "pin": "STATUS"}] * 2},
            "STATUS",
            ("light 1 (pin)", "light 2 (pin)"),
        ),
    ],
)
def test_a_pin_that_two_want_is_refused_with_both_named(
    settings: Settings, pin: str, users: tuple[str, str]
) -> None:
    error = refused(settings)

    assert str(error) == f"both {users[0]} and {users[1]} use {pin}"


@pytest.mark.parametrize(
    "panel",
    [{"kind": "console", "device": "/dev/tty1"}, {"kind": "ssd1306", "bus": 22}, {"kind": "simulated"}],
)
def test_a_panel_that_uses_no_pin_of_the_header_is_in_nobodys_way(panel: Settings) -> None:
    pins = [pin for bus in BUSES.values() for pin in bus]

    for pin in pins:
        assert read_plan({"light": {**LED, "pin": pin}, "panel": panel}).parts


def test_a_light_without_a_pattern_is_dark() -> None:
    parts, _ = opened({"board": "simulated"})

    assert isinstance(parts.light, SimulatedLight)
    assert parts.light.shown[0].pattern == Off()


def test_no_library_is_imported_before_a_part_needs_it() -> None:
    modules = "board, plans, led, button, clock, rpi_gpio, gpiod_lines, kernel_led, apa102, simulated"
    outsiders = "{'RPi', 'lgpio', 'gpiod', 'spidev', 'luma', 'PIL', 'subprocess', 'device_auth'}"
    program = f"import sys\nfrom hardware import {modules}\nprint({outsiders} & set(sys.modules))"

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "set()"
