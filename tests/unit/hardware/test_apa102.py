from __future__ import annotations

from errno import EACCES, EBUSY, EIO, ENOENT
from importlib import import_module
from typing import Any

import pytest

from hardware.apa102 import SpiLeds, frame
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.led import ORANGE, OUT, Colour, Glow
from tests.stand_ins.fixtures import not_installed


@pytest.fixture
def bus(stand_ins: None) -> Any:  # noqa: ARG001 - the stand-ins are to be there
    return import_module("spidev").bench


def test_a_frame_is_start_then_every_led_in_blue_green_red_then_clocks_to_the_last() -> None:
    sent = frame(Glow(1.0, Colour(1, 2, 3)), 3)

    assert sent == bytes.fromhex("00000000 ff030201 ff030201 ff030201 00000000 00")


def test_brightness_scales_the_channels() -> None:
    assert frame(Glow(0.5, ORANGE), 1)[4:8] == bytes([0xFF, 0, 50, 128])
    assert frame(OUT, 1)[4:8] == bytes([0xFF, 0, 0, 0])


@pytest.mark.parametrize(("leds", "least"), [(1, 1), (16, 1), (17, 2), (144, 9)])
def test_a_longer_chain_gets_half_a_clock_more_for_every_led(leds: int, least: int) -> None:
    assert len(frame(OUT, leds)) == 4 + 4 * leds + 4 + least


def test_the_bus_is_opened_slowly_and_closed(bus: Any) -> None:
    leds = SpiLeds(0, 1, 3)

    assert (leds._spi.max_speed_hz, leds._spi.mode) == (1_000_000, 0)

    leds.close()

    assert not bus.is_open


def test_a_bus_that_is_not_enabled_says_how_to_enable_it(bus: Any) -> None:
    bus.devices.clear()
    with pytest.raises(PartMissing, match=r"/dev/spidev0\.1") as missing:
        SpiLeds(0, 1, 3)

    assert "dtparam=spi=on" in missing.value.hint


@pytest.mark.parametrize(
    ("errno", "kind", "hint"),
    [
        (EACCES, PartMissing, "group spi"),
        (ENOENT, PartMissing, "dtparam=spi=on"),
        (EBUSY, PartBusy, "Stop the program"),
        (EIO, PartMissing, "bus number"),
    ],
)
def test_a_bus_that_refuses_says_what_to_do(
    bus: Any, errno: int, kind: type[HardwareError], hint: str
) -> None:
    bus.fails_to_open = errno
    with pytest.raises(kind) as refused:
        SpiLeds(0, 1, 3)

    assert hint in refused.value.hint


def test_a_bus_that_fails_while_writing_is_reported(bus: Any) -> None:
    leds = SpiLeds(0, 1, 3)
    bus.fails_to_write = EIO
    with pytest.raises(HardwareError, match="cannot use"):
        leds.glow(OUT)


def test_without_spidev_the_library_is_named() -> None:
    with not_installed(), pytest.raises(PartMissing, match="spidev is not installed") as missing:
        SpiLeds(0, 1, 3)

    assert missing.value.library == "spidev"
