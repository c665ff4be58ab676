"""Two QR decoders that have nothing in common, so that a code read by both is a code."""

from collections.abc import Callable
from typing import Final

import pytest
import zxingcpp
from PIL import Image


def read_with_zxing(picture: Image.Image) -> list[str]:
    # reversed codes are not looked for: many decoders do not, and ours must not need it
    found = zxingcpp.read_barcodes(picture, zxingcpp.barcode_formats_from_str("QRCode"), try_invert=False)
    return [code.text for code in found]


def read_with_zbar(picture: Image.Image) -> list[str]:
    try:
        from pyzbar import pyzbar
    except ImportError:
        pytest.skip("zbar is not installed: apt-get install libzbar0")
    return [found.data.decode() for found in pyzbar.decode(picture, [pyzbar.ZBarSymbol.QRCODE])]


Reader = Callable[[Image.Image], list[str]]

READERS: Final[list[Reader]] = [read_with_zxing, read_with_zbar]
