"""Print how often two decoders read the QR code of a 128 × 64 panel, as a phone's camera would see it.

Run from the root of the repository: python -m tests.bench.panel_decode

The panel's frame is drawn by the code that ships, enlarged to camera pixels, set into the dark bezel that
surrounds a panel, then rotated, blurred and covered with noise. Each figure is the share of 24 pictures read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import qrcode
import zxingcpp
from PIL import Image, ImageChops, ImageFilter
from qrcode.constants import ERROR_CORRECT_L, ERROR_CORRECT_M

from hardware.oled import draw
from hardware.panel import Matrix, Picture, lay_out

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
PICTURES = 24
BEZEL = 24
"""Panel pixels of dark frame around the frame."""


def matrix(text: str, level: int = ERROR_CORRECT_L) -> Matrix:
    """Make the modules of a QR code, as the speaker does."""
    code = qrcode.QRCode(error_correction=level, border=0)
    code.add_data(text)
    code.make(fit=True)
    return tuple(tuple(bool(module) for module in row) for row in code.get_matrix())


@dataclass(frozen=True)
class View:
    """How the camera sees the panel: camera pixels a panel pixel, degrees, blur in panel pixels, noise in grey levels."""

    name: str
    zoom: int = 4
    degrees: float = 0
    blur: float = 0
    noise: int = 0


VIEWS = (
    View("upright"),
    View("upright, far (2 camera pixels a pixel)", zoom=2),
    View("rotated 10°", degrees=10),
    View("blurred 0.5 pixel", blur=0.5),
    View("blurred 1 pixel", blur=1),
    View("blurred 1.5 pixels", blur=1.5),
    View("noise ± 20", noise=20),
    View("noise ± 60", noise=60),
    View("far, noise ± 20", zoom=2, noise=20),
    View("rotated 10°, blurred 0.5, noise ± 20", degrees=10, blur=0.5, noise=20),
    View("rotated 10°, blurred 0.8, noise ± 20", degrees=10, blur=0.8, noise=20),
)


def photograph(frame: Image.Image, view: View, seed: int) -> Image.Image:
    """See a panel's frame as the camera does; the same seed gives the same noise."""
    seen = Image.new("L", (frame.width + 2 * BEZEL, frame.height + 2 * BEZEL), 16)
    seen.paste(frame.convert("L").point(lambda level: 24 + level * 200 // 255), (BEZEL, BEZEL))
    seen = seen.resize((seen.width * view.zoom, seen.height * view.zoom), Image.Resampling.NEAREST)
    if view.degrees:
        seen = seen.rotate(view.degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=16)
    if view.blur:
        seen = seen.filter(ImageFilter.GaussianBlur(view.blur * view.zoom))
    if view.noise:
        grain = Image.frombytes("L", seen.size, Random(seed).randbytes(seen.width * seen.height))  # noqa: S311 - grain of a photograph, no secret
        grain = grain.point(lambda level: level * 2 * view.noise // 255)
        seen = ImageChops.add(seen, grain, offset=-view.noise)
    return seen


def read_by_zxing(image: Image.Image) -> list[str]:
    """Return the texts that zxing-cpp reads."""
    return [found.text for found in zxingcpp.read_barcodes(image, try_invert=False)]


def read_by_zbar(image: Image.Image) -> list[str]:
    """Return the texts that zbar reads."""
    from pyzbar.pyzbar import ZBarSymbol, decode

    return [found.data.decode() for found in decode(image, symbols=[ZBarSymbol.QRCODE])]


def plain_frame(text: str, module: int, quiet: int) -> Image.Image:
    """Draw a QR code alone, for comparison: pixels a side of one module, pixels of lit ground above and below."""
    modules = matrix(text)
    height = len(modules) * module + 2 * quiet
    frame = Image.new("1", (128, height))
    frame.paste(1, (0, 0, (len(modules) + 8) * module, height))
    for y, row in enumerate(modules):
        for x, dark in enumerate(row):
            if dark:
                left, top = (4 + x) * module, quiet + y * module
                frame.paste(0, (left, top, left + module, top + module))
    return frame


def panel_frame(text: str, level: int = ERROR_CORRECT_L) -> Image.Image:
    """Draw the frame of a 128 × 64 panel by the code that ships."""
    layout = lay_out(Picture("FUP8UN", matrix(text, level), seconds_left=583), 128, 64)
    if layout.square is None:
        raise ValueError(layout.shown.reason)
    return draw(layout, 128, 64)


def links(seed: int = 7) -> Iterator[str]:
    """Return links as a provider builds them, each with another user code."""
    chance = Random(seed)  # noqa: S311 - pictures that are the same in every run, no secret
    for _ in range(PICTURES):
        yield "https://amazon.com/us/code?cbl-code=" + "".join(chance.choices(ALPHABET, k=6))


def rate(
    read: Callable[[Image.Image], list[str]], frames: list[tuple[str, Image.Image]], view: View
) -> float:
    """Return the share of frames that a decoder reads rightly from this view."""
    return sum(
        read(photograph(frame, view, seed)) == [text] for seed, (text, frame) in enumerate(frames)
    ) / len(frames)


def main() -> None:
    """Print the table."""
    shapes: dict[str, list[tuple[str, Image.Image]]] = {
        "128 × 64, link, level L (29 modules)": [(text, panel_frame(text)) for text in links()],
        "128 × 64, link, level M (29 modules)": [
            (text, panel_frame(text, ERROR_CORRECT_M)) for text in links()
        ],
        "128 × 64, code alone, level L (21)": [(text[-6:], panel_frame(text[-6:])) for text in links()],
        "compare: the link with 4 modules all round": [(text, plain_frame(text, 2, 8)) for text in links()],
        "compare: the link with no ground above": [(text, plain_frame(text, 2, 0)) for text in links()],
        "compare: 128 × 32, 1 pixel a module": [(text, plain_frame(text, 1, 1)) for text in links()],
    }
    for shape, frames in shapes.items():
        print(f"\n{shape:44}  zbar  zxing-cpp")
        for view in VIEWS:
            print(
                f"  {view.name:42} {rate(read_by_zbar, frames, view):5.0%} {rate(read_by_zxing, frames, view):10.0%}"
            )


if __name__ == "__main__":
    main()
