"""The speaker's page while a code waits, on a phone, as a PNG that carries its words."""

import io
import re
from pathlib import Path
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.page_bench import Bench
from tests.page_elements import Elements
from tests.phone import open_browser

WIDTH: Final = 390
HEIGHT: Final = 844
SCALE: Final = 2

SCHEMES: Final = ("light", "dark")
COLOURS: Final = 48
"""As many as make no visible difference."""

WORDS: Final = "Description"
"""The PNG's text with the words of the page. Source: PNG, 11.3.3."""


def words_of(page: str) -> str:
    """Return the words of a page's body, each space once."""
    body = re.search(r"<body>(.*?)<script>", page, re.DOTALL)
    assert body is not None
    return " ".join(Elements(body[1]).words.split())


def without_time(words: str) -> str:
    """Return words without the time that the code has left."""
    return re.sub(r"\b\d:\d\d\b", "M:SS", words)


def words_now() -> str:
    """Return the words of the page that is served now."""
    with Bench() as bench:
        bench.wait_for_approval()
        return words_of(bench.get())


def photograph(folder: Path) -> dict[str, bytes]:
    """Take a picture of the page in each colour scheme; without script, so that its time stands still."""
    taken = {}
    with Bench() as bench, open_browser(folder) as driver:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        for scheme in SCHEMES:
            feature = {"name": "prefers-color-scheme", "value": scheme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            bench.wait_for_approval()
            driver.get(bench.origin)
            words = words_of(driver.page_source)
            taken[scheme] = with_words(driver.get_screenshot_as_png(), words)
    return taken


def with_words(png: bytes, words: str) -> bytes:
    """Return a picture, smaller, with its words in it."""
    text = PngInfo()
    text.add_itxt(WORDS, words)
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(out, "PNG", optimize=True, pnginfo=text)
    return out.getvalue()
