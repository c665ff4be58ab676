"""SSD1306 and SH1106 OLED panels on the I2C bus, through luma.oled (the extra ``panel``).

luma and Pillow are imported only when a panel is opened: they cost more than the rest of the speaker's program.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from hardware.errors import HardwareError, PartBusy, PartMissing, explain, explain_import
from hardware.panel import (
    CELL_PIXELS,
    OLED_WIDTH_PIXELS,
    Layout,
    Picture,
    Shown,
    TextRow,
    largest_qr,
    lay_out,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from hardware.plans import OledPlan

_NOT_THERE: Final = (
    "Enable I2C with dtparam=i2c_arm=on in /boot/firmware/config.txt, check the four wires, "
    "and look for the address with: i2cdetect -y 1"
)
_LIBRARY: Final = "luma.oled"
_QUARTER_TURNS: Final = {0: 0, 180: 2}
"""How luma counts the degrees of a rotation."""


class Canvas(Protocol):
    """The part of a luma device that is used here."""

    width: int
    height: int
    mode: str

    def display(self, image: Image) -> None:
        """Send one image."""
        ...

    def cleanup(self) -> None:
        """Go dark and release the bus."""
        ...


class OledPanel:
    """A panel that sends a frame to its device only if the frame has changed."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._last: Layout | None = None

    @property
    def largest_qr(self) -> int:
        """Return the size of the largest QR code that fits, in modules a side; 0 if none fits."""
        return largest_qr(self._canvas.height)

    def show(self, picture: Picture) -> Shown:
        """Show a picture, and return which parts of it can be seen."""
        layout = lay_out(picture, self._canvas.width, self._canvas.height)
        if layout != self._last:
            self._send(layout)
        return layout.shown

    def clear(self) -> None:
        """Show nothing."""
        if self._last is not None:
            self._send(None)

    def close(self) -> None:
        """Show nothing and release the bus."""
        self._last = None
        with _bus_errors():
            self._canvas.cleanup()

    def _send(self, layout: Layout | None) -> None:
        with _bus_errors():
            self._canvas.display(draw(layout, self._canvas.width, self._canvas.height, self._canvas.mode))
        self._last = layout


def open_oled(plan: OledPlan) -> OledPanel:
    """Open an OLED panel.

    Raises:
        HardwareError: if a library or the panel is missing, or it does not answer.
    """
    with _bus_errors():
        from luma.core.interface.serial import i2c
        from luma.oled import device

        opened: Any = getattr(device, plan.kind)(
            i2c(port=plan.bus, address=plan.address),
            width=OLED_WIDTH_PIXELS,
            height=plan.height,
            rotate=_QUARTER_TURNS[plan.rotate],
        )
        opened.contrast(plan.contrast)
        return OledPanel(opened)


def draw(layout: Layout | None, width: int, height: int, mode: str = "1") -> Image:
    """Draw a layout: dark modules on a lit ground, lit characters on the dark panel; nothing for None."""
    from PIL import Image, ImageDraw

    image = Image.new(mode, (width, height))
    if layout is None:
        return image
    pen = ImageDraw.Draw(image)
    if layout.square is not None:
        pen.rectangle(layout.square.ground, fill="white")
        for module in layout.square.dark():
            pen.rectangle(module, fill="black")
    for line in layout.lines:
        for pixel in _glyph_pixels(line):
            pen.rectangle(pixel, fill="white")
    return image


def _glyph_pixels(line: TextRow) -> Iterator[tuple[int, int, int, int]]:
    from luma.core.legacy.font import CP437_FONT

    scale = line.scale
    for place, character in enumerate(line.text):
        # A glyph is eight columns; the lowest bit of each is its top pixel.
        for x, bits in enumerate(CP437_FONT[ord(character)], start=place * CELL_PIXELS):
            for y in range(CELL_PIXELS):
                if bits >> y & 1:
                    left, top = line.x + x * scale, line.y + y * scale
                    yield left, top, left + scale - 1, top + scale - 1


@contextmanager
def _bus_errors() -> Iterator[None]:
    """Turn the errors of the library, the bus and the kernel into HardwareErrors."""
    try:
        from luma.core import error
    except ImportError as missing:
        raise PartMissing(explain_import(_LIBRARY, missing), library=_LIBRARY) from missing
    try:
        yield
    except ImportError as missing:
        raise PartMissing(explain_import(_LIBRARY, missing), library=_LIBRARY) from missing
    except error.DevicePermissionError as denied:
        hint = "Join the group i2c: sudo usermod -aG i2c USER, then log in again."
        raise PartMissing(f"no permission to open the panel: {explain(denied)}", hint=hint) from denied
    except error.DeviceNotFoundError as absent:
        raise PartMissing(f"cannot find the panel: {explain(absent)}", hint=_NOT_THERE) from absent
    except error.Error as refused:
        raise HardwareError(
            f"the library refused the panel: {explain(refused)}", hint="Check kind and height."
        ) from refused
    except OSError as failed:
        raise PartBusy(f"the panel does not answer: {explain(failed)}", hint=_NOT_THERE) from failed
