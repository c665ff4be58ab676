"""Every panel keeps the same promises; the OLED ones are looked at in their controllers' memory, and photographed."""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from luma.core.device import dummy
from luma.core.interface.serial import i2c
from luma.oled import device
from PIL import Image, ImageChops

from hardware.board import open_panel
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.oled import OledPanel, draw
from hardware.panel import Panel, Picture, Shown, lay_out
from hardware.plans import read_panel
from hardware.simulated import SimulatedPanel
from tests.bench.panel_decode import (
    VIEWS,
    View,
    links,
    matrix,
    panel_frame,
    photograph,
    read_by_zbar,
    read_by_zxing,
)
from tests.oled_controllers import Bus, Controller, Sh1106, Ssd1306
from tests.terminals import Terminal

LINK = "https://amazon.com/us/code?cbl-code=FUP8UN"
PICTURE = Picture("FUP8UN", matrix(LINK), "amazon.com/us/code", 583)

try:
    read_by_zbar(Image.new("L", (8, 8)))
    zbar_is_missing = False
except ImportError:
    zbar_is_missing = True
pytestmark = pytest.mark.filterwarnings(
    "ignore:Image.Image.getdata is deprecated:DeprecationWarning"
)  # called by luma
needs_zbar = pytest.mark.skipif(zbar_is_missing, reason="libzbar0 is not installed")


@dataclass
class Seen:
    """A panel, what a person sees on it, and how often it was drawn."""

    panel: Panel
    look: Callable[[], Image.Image]
    frames: Callable[[], int]


def oled(controller: Controller, kind: str, height: int = 64) -> Seen:
    opened = getattr(device, kind)(i2c(bus=controller), width=128, height=height)
    started = controller.frames
    return Seen(OledPanel(opened), lambda: controller.picture(height), lambda: controller.frames - started)


@pytest.fixture(params=["ssd1306", "sh1106", "luma dummy", "simulated", "console"])
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    match request.param:
        case "ssd1306":
            yield oled(Ssd1306(), "ssd1306")
        case "sh1106":
            yield oled(Sh1106(), "sh1106")
        case "luma dummy":
            display = CountingDummy()
            yield Seen(
                OledPanel(display), lambda: display.image or Image.new("1", (128, 64)), lambda: display.frames
            )
        case "simulated":
            panel = SimulatedPanel()
            yield Seen(panel, lambda: draw(panel.layout, 128, 64), lambda: panel.frames)
        case _:
            with Terminal() as terminal:
                console = terminal.open()
                yield Seen(console, terminal.picture, terminal.count_writes)
                with suppress(HardwareError, OSError):  # a test may have closed it
                    console.close()


class CountingDummy(dummy):  # type: ignore[misc] # luma has no types
    """Luma's own pseudo-device, which keeps the last image; the frames are counted on top."""

    def __init__(self) -> None:
        super().__init__(width=128, height=64, mode="1")
        self.frames = 0

    def display(self, image: Image.Image) -> None:
        self.frames += 1
        super().display(image)


def test_the_qr_code_that_is_shown_is_read_by_a_phone(seen: Seen) -> None:
    assert seen.panel.show(PICTURE) == Shown(text=True, qr=True)

    assert read_by_zxing(photograph(seen.look(), View("upright"), 1)) == [LINK]


def test_a_dark_panel_shows_nothing(seen: Seen) -> None:
    boxes = [seen.look().getbbox()]
    seen.panel.show(PICTURE)
    boxes.append(seen.look().getbbox())
    seen.panel.clear()
    boxes.append(seen.look().getbbox())

    assert [box is not None for box in boxes] == [False, True, False]


def test_the_same_picture_is_sent_once(seen: Seen) -> None:
    seen.panel.show(PICTURE)
    frames = seen.frames()
    seen.panel.show(PICTURE)

    assert frames == 1
    assert seen.frames() == 1


def test_the_countdown_changes_nothing_but_itself(seen: Seen) -> None:
    seen.panel.show(PICTURE)
    before = seen.look()
    seen.panel.show(Picture(PICTURE.text, PICTURE.qr, PICTURE.caption, 582))
    changed = ImageChops.logical_xor(before, seen.look()).getbbox()

    assert changed is not None
    left, top, right, bottom = changed
    assert right - left <= 8
    assert bottom - top <= 8


def test_a_panel_is_cleared_once_and_shows_again(seen: Seen) -> None:
    frames = []
    for act in (lambda: seen.panel.show(PICTURE), seen.panel.clear, seen.panel.clear):
        act()
        frames.append(seen.frames())
    seen.panel.show(PICTURE)

    assert frames == [1, 2, 2]
    assert read_by_zxing(photograph(seen.look(), View("upright"), 1)) == [LINK]


def test_a_closed_panel_is_dark(seen: Seen) -> None:
    seen.panel.show(PICTURE)
    seen.panel.close()

    assert seen.look().getbbox() is None


def test_the_largest_qr_code_that_a_panel_promises_is_shown(seen: Seen) -> None:
    side = seen.panel.largest_qr
    largest = ((True,) * side,) * side
    larger = ((True,) * (side + 1),) * (side + 1)

    assert side >= 29
    assert seen.panel.show(Picture("FUP8UN", largest)).qr
    assert not seen.panel.show(Picture("FUP8UN", larger)).qr


@pytest.mark.parametrize("view", [view for view in VIEWS if view.blur < 0.8], ids=lambda view: view.name)
def test_a_phone_reads_the_qr_code_from_every_view(view: View) -> None:
    for seed, link in enumerate(list(links())[:4]):
        assert read_by_zxing(photograph(panel_frame(link), view, seed)) == [link]


@needs_zbar
@pytest.mark.parametrize(
    "view", [view for view in VIEWS if view.blur + view.noise / 40 <= 0.5], ids=lambda view: view.name
)
def test_an_old_decoder_reads_it_without_heavy_blur_or_noise(view: View) -> None:
    for seed, link in enumerate(list(links())[:4]):
        assert read_by_zbar(photograph(panel_frame(link), view, seed)) == [link]


@pytest.mark.parametrize("kind", ["ssd1306", "sh1106"])
def test_a_controller_of_32_rows_shows_the_code_alone(kind: str) -> None:
    seen = oled(Ssd1306() if kind == "ssd1306" else Sh1106(), kind, height=32)

    assert not seen.panel.show(PICTURE).qr
    assert seen.look().tobytes() == draw(lay_out(PICTURE, 128, 32), 128, 32).tobytes()


@pytest.mark.parametrize(
    ("error", "expected"),
    [(errno.EREMOTEIO, PartMissing), (errno.EIO, PartMissing), (errno.ETIMEDOUT, PartBusy)],
)
def test_a_panel_that_is_pulled_off_is_an_error_that_says_what_to_check(
    error: int, expected: type[HardwareError]
) -> None:
    controller = Ssd1306()
    seen = oled(controller, "ssd1306")
    controller.fails_with = error

    with pytest.raises(expected) as failed:
        seen.panel.show(PICTURE)

    assert "i2cdetect" in failed.value.hint


def test_after_a_failure_the_whole_frame_is_sent_again() -> None:
    controller = Ssd1306()
    seen = oled(controller, "ssd1306")
    controller.fails_with = errno.EIO
    with pytest.raises(PartMissing):
        seen.panel.show(PICTURE)
    controller.fails_with = None
    seen.panel.show(PICTURE)

    assert read_by_zxing(photograph(seen.look(), View("upright"), 1)) == [LINK]


@pytest.mark.parametrize("module", ["luma.core", "luma.oled", "smbus2"])
def test_a_library_that_is_not_installed_is_named_with_what_it_is_needed_for(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(PartMissing, match=rf"^the module luma\.oled .*({module}|not installed)") as missing:
        open_panel(read_panel({"kind": "ssd1306", "bus": 63}))

    assert missing.value.library == "luma.oled"


def test_a_panel_upside_down_shows_the_frame_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Ssd1306()
    bus = Bus(controller)
    monkeypatch.setattr("smbus2.SMBus", lambda _: bus)
    panel = open_panel(read_panel({"kind": "ssd1306", "rotate": 180, "contrast": 5}))
    panel.show(PICTURE)
    frame = draw(lay_out(PICTURE, 128, 64), 128, 64)

    assert controller.contrast == 5
    assert controller.picture().tobytes() == frame.rotate(180).tobytes()
    panel.close()
    assert bus.is_closed


def test_a_display_mode_that_the_library_refuses_is_an_error_of_ours() -> None:
    class Refusing:
        width, height, mode = 128, 64, "1"

        def display(self, image: Image.Image) -> None:
            device.ssd1306(i2c(bus=Ssd1306()), width=image.width, height=1)

        def cleanup(self) -> None:
            self.display(Image.new("1", (1, 1)))

    with pytest.raises(HardwareError, match="refused"):
        OledPanel(Refusing()).show(PICTURE)
