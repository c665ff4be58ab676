"""APA102 LEDs ("DotStar"): over spidev (the extra ``apa102``), or over any two digital pins.

All LEDs of a chain show one glow. Source of the frame: APA102 data sheet (Shenzhen Led Color Opto Electronic);
the zeros at the end are for the SK9822, a common copy that shows its data only after them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from hardware.errors import Hints, PartMissing, device_errors, explain_import

if TYPE_CHECKING:
    from hardware.led import Glow, Outputs

SPEED_HZ: Final = 1_000_000
"""Slow for the LEDs, fast enough for us: a frame of 3 LEDs takes 0.2 ms."""

_FULL: Final = 0b111_11111
"""Three ones begin the data of an LED; the five bits of its own brightness stay full, because it dims with a flicker."""


_HINTS: Final = Hints(
    missing="Enable SPI with dtparam=spi=on in /boot/firmware/config.txt and restart.",
    denied="Join the group spi: sudo usermod -aG spi USER, then log in again.",
    failed="Check dtparam=spi=on and the bus number.",
)


def frame(glow: Glow, leds: int) -> bytes:
    """Return the bytes that make all LEDs of a chain show a glow."""
    colour = glow.colour
    blue, green, red = (
        round(glow.brightness * channel) for channel in (colour.blue, colour.green, colour.red)
    )
    clocks_to_the_last = bytes(-(-leds // 16))  # each LED delays the clock by half a bit
    return bytes(4) + bytes([_FULL, blue, green, red]) * leds + bytes(4) + clocks_to_the_last


class SpiLeds:
    """A chain on the SPI bus.

    Args:
        bus: the X of /dev/spidevX.Y.
        device: the Y of /dev/spidevX.Y.
        leds: their number.
        power: switches their supply on; None where they always have it. Released here also if the bus cannot be opened.

    Raises:
        PartMissing: if spidev is not installed, the bus is not enabled, or permission is denied.
        PartBusy: if another program uses the bus.
    """

    fades: Final = True

    def __init__(self, bus: int, device: int, leds: int, power: Outputs | None = None) -> None:
        self._path = f"/dev/spidev{bus}.{device}"
        self._leds = leds
        with ExitStack() as opened:
            if power is not None:
                opened.callback(power.close)
                power.write((True,))
            with device_errors(self._path, _HINTS):
                self._spi = _library().SpiDev()
                self._spi.open(bus, device)
                self._spi.max_speed_hz = SPEED_HZ
                self._spi.mode = 0
            self._power = opened.pop_all()

    def glow(self, glow: Glow) -> None:
        """Show a glow on every LED."""
        with device_errors(self._path, _HINTS):
            self._spi.writebytes(list(frame(glow, self._leds)))

    def close(self) -> None:
        """Release the bus, and switch the supply off."""
        with self._power:
            self._spi.close()


class PinLeds:
    """A chain on two digital pins, data and clock, sent bit by bit.

    A fade would cost hundreds of pin changes twenty times a second, so breathing becomes blinking here.
    """

    fades: Final = False

    def __init__(self, outputs: Outputs, leds: int) -> None:
        self._outputs = outputs
        self._leds = leds

    def glow(self, glow: Glow) -> None:
        """Show a glow on every LED; the LEDs read a bit when the clock rises, so the data is set before."""
        for byte in frame(glow, self._leds):
            for place in range(7, -1, -1):
                bit = bool(byte >> place & 1)
                self._outputs.write((bit, False))
                self._outputs.write((bit, True))
        self._outputs.write((False, False))

    def close(self) -> None:
        """Release the pins."""
        self._outputs.close()


def _library() -> Any:
    try:
        import spidev
    except ImportError as error:
        raise PartMissing(explain_import("spidev", error), library="spidev") from error
    return spidev
