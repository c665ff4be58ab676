"""APA102 LEDs ("DotStar"): over spidev (the extra ``apa102``), or over any two digital pins.

All LEDs of a chain show the same. Source of the frame: APA102 data sheet (Shenzhen Led Color Opto Electronic);
the zeros at the end are for the SK9822, a common copy that shows its data only after them.
"""

from __future__ import annotations

from contextlib import contextmanager
from errno import EBUSY
from typing import TYPE_CHECKING, Any, Final

from hardware.errors import PartBusy, PartMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hardware.led import Glow, Outputs

SPEED_HZ: Final = 1_000_000
"""Slow for the LEDs, fast for us: a frame of 3 LEDs takes 0.2 ms."""

_FULL: Final = 0b111_11111
"""Three ones begin a LED's data; the five bits of its own brightness stay at full, because it dims with a flicker."""


def frame(glow: Glow, leds: int) -> bytes:
    """Write what a chain of LEDs must be sent so that all of them show this."""
    colour = glow.colour
    blue, green, red = (
        round(glow.brightness * channel) for channel in (colour.blue, colour.green, colour.red)
    )
    clocks_to_the_last = bytes(-(-leds // 16))  # half a bit for every LED
    return bytes(4) + bytes([_FULL, blue, green, red]) * leds + bytes(4) + clocks_to_the_last


class SpiLeds:
    """A chain on the SPI bus.

    Args:
        bus: the X of /dev/spidevX.Y.
        device: the Y of it.
        leds: how many there are.

    Raises:
        PartMissing: spidev is not installed, the bus is not enabled, or it is closed to this user.
        PartBusy: somebody else has the bus.
    """

    fades: Final = True

    def __init__(self, bus: int, device: int, leds: int) -> None:
        self._path = f"/dev/spidev{bus}.{device}"
        self._leds = leds
        with self._named():
            self._spi = _library().SpiDev()
            self._spi.open(bus, device)
            self._spi.max_speed_hz = SPEED_HZ
            self._spi.mode = 0

    def glow(self, glow: Glow) -> None:
        """Show this on every LED."""
        with self._named():
            self._spi.writebytes(list(frame(glow, self._leds)))

    def close(self) -> None:
        """Let go of the bus."""
        self._spi.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise PartMissing(
                f"there is no {self._path}",
                hint="Enable SPI with dtparam=spi=on in /boot/firmware/config.txt and restart.",
            ) from error
        except PermissionError as error:
            raise PartMissing(
                f"{self._path} is closed to this user", hint="Join the group spi: usermod -aG spi USER."
            ) from error
        except OSError as error:
            if error.errno == EBUSY:
                raise PartBusy(f"{self._path} is in use", hint="Stop the program that has it.") from error
            raise PartMissing(
                f"{self._path} does not answer: {error.strerror}",
                hint="Check dtparam=spi=on and the bus number.",
            ) from error


class PinLeds:
    """A chain on two digital pins, data and clock, sent bit by bit.

    A fade would cost hundreds of pin changes twenty times a second, so breathing becomes blinking here.
    """

    fades: Final = False

    def __init__(self, outputs: Outputs, leds: int) -> None:
        self._outputs = outputs
        self._leds = leds

    def glow(self, glow: Glow) -> None:
        """Show this on every LED; the LEDs take a bit when the clock rises, so the data is set before."""
        for byte in frame(glow, self._leds):
            for place in range(7, -1, -1):
                bit = bool(byte >> place & 1)
                self._outputs.write((bit, False))
                self._outputs.write((bit, True))
        self._outputs.write((False, False))

    def close(self) -> None:
        """Let go of the pins."""
        self._outputs.close()


def _library() -> Any:
    try:
        import spidev
    except ImportError as error:
        raise PartMissing("spidev is not installed", hint="pip install 'device-auth[apa102]'") from error
    return spidev
