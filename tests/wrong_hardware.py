"""Tables ``[hardware]`` that nobody's speaker can use: one of each way to be wrong, by what its message must name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardware.settings import Settings

OLED: Settings = {"kind": "ssd1306"}
CONSOLE: Settings = {"kind": "console"}
ESPEAK: Settings = {"kind": "espeak"}
LED: Settings = {"kind": "led", "pin": 27, "active": "high"}

WRONG_TABLES: dict[str, Settings] = {
    "'bord'": {"bord": "none"},
    "'hieght'": {"panel": {**OLED, "hieght": 32}},
    "'ssd1305'": {"panel": {"kind": "ssd1305"}},
    "kind is missing": {"panel": {}},
    "height (50)": {"panel": {**OLED, "height": 50}},
    "height (True)": {"panel": {**OLED, "height": True}},
    "height ('32')": {"panel": {"kind": "simulated", "height": "32"}},
    "'width'": {"panel": {"kind": "simulated", "width": 3}},
    "address (120)": {"panel": {**OLED, "address": 0x78}},
    "rotate (90)": {"panel": {**OLED, "rotate": 90}},
    "contrast (256)": {"panel": {"kind": "sh1106", "contrast": 256}},
    "bus (-1)": {"panel": {**OLED, "bus": -1}},
    "baud (42)": {"panel": {**CONSOLE, "baud": 42}},
    "charset ('ansi')": {"panel": {**CONSOLE, "charset": "ansi"}},
    "columns (1.5)": {"panel": {**CONSOLE, "columns": 1.5}},
    "device ('')": {"panel": {**CONSOLE, "device": ""}},
    "device ('tty1')": {"panel": {**CONSOLE, "device": "tty1"}},
    "device ('/')": {"panel": {**CONSOLE, "device": "/"}},
    r"device ('/dev/tty\x00')": {"panel": {**CONSOLE, "device": "/dev/tty\0"}},
    "'espaek'": {"voice": {"kind": "espaek"}},
    "'volme'": {"voice": {**ESPEAK, "volme": 3}},
    "volume (101)": {"voice": {**ESPEAK, "volume": 101}},
    "volume ('loud')": {"voice": {"kind": "off", "volume": "loud"}},
    "quiet_hours ('night')": {"voice": {**ESPEAK, "quiet_hours": "night"}},
    "quiet_hours (22)": {"voice": {"kind": "simulated", "quiet_hours": 22}},
    "speed (0)": {"voice": {**ESPEAK, "speed": 0}},
    "player ('aplay')": {"voice": {**ESPEAK, "player": "aplay"}},
    "player (['aplay', 1])": {"voice": {**ESPEAK, "player": ["aplay", 1]}},
    r"player (['aplay', 'a\x00'])": {"voice": {**ESPEAK, "player": ["aplay", "a\0"]}},
    "player ([])": {"voice": {"kind": "recorded", "directory": "/", "player": []}},
    "command is missing": {"voice": {"kind": "command"}},
    "directory is missing": {"voice": {"kind": "recorded"}},
    "'directory'": {"voice": {**ESPEAK, "directory": "/x"}},
    "'pine'": {"light": {**LED, "pine": 4}},
    "pin (54)": {"light": {**LED, "pin": 54}},
    "active is missing": {"light": {"kind": "led", "pin": 27}},
    "leds (0)": {"light": {"kind": "apa102-pins", "data": 5, "clock": 6, "leds": 0}},
    "name is missing": {"light": {"kind": "kernel"}},
    "pull ('upp')": {"board": "generic-led", "button": {"pull": "upp"}},
    "'pul'": {"board": "generic-led", "button": {"pul": "up"}},
}


def as_toml(hardware: Settings) -> str:
    """Return the table as a settings file has it; JSON writes texts, numbers and lists as TOML does."""
    rows = [
        f"{key} = {{{', '.join(f'{name} = {json.dumps(inner)}' for name, inner in value.items())}}}"
        if isinstance(value, Mapping)
        else f"{key} = {json.dumps(value)}"
        for key, value in hardware.items()
    ]
    return "\n".join(["[hardware]", *rows, ""])
