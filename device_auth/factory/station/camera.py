"""The picture of a speaker's code, as a camera sees it: what its QR code says.

The one idea: the rig reads the code as the owner's phone will. A picture is untrusted; it is bounded before it is
decoded, and of its text only an address that this project would show to a person is believed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from device_auth.core.errors import ConfigError, DeviceAuthError
from device_auth.installation import how_to_install
from device_auth.wire.answers import read_page_uri, read_user_code
from device_auth.world.explain import explain
from device_auth.world.files import read_plain

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_PIXELS: Final = 25_000_000
"""A camera with more is set to less: decoding takes longer than it helps."""

_FORMATS: Final = ("PNG", "JPEG", "PPM", "BMP")
_CODE_PARAMETERS: Final = ("cbl-code", "user_code")
"""The name of the user code in a prefilled address: of Amazon; of others (RFC 8628 §3.3.1)."""

_LEAST_SIDE: Final = 600
"""Pixels to which a small picture is enlarged: a panel's own file has two pixels a module, too few for a decoder."""


class SeenCode(NamedTuple):
    """What the QR code says.

    Attributes:
        address: the verification URI, as it stands in the code.
        user_code: the half of the code pair that a person enters, where the address has it.
    """

    address: str
    user_code: str | None


class NoPicture(DeviceAuthError):
    """There is no picture that can be decoded."""

    exit_code = 72


def read_code(path: Path) -> SeenCode | None:
    """Read the code of a picture in a file.

    Returns:
        None while no code that a speaker would show is to be seen: a camera writes one picture after the other.

    Raises:
        ConfigError: if a package for it is missing.
        NoPicture: if the file is missing, too large or no picture.
    """
    try:
        content, _ = read_plain(path, MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise NoPicture(
            explain(f"cannot read the picture {path}", error), hint="Check the camera of this slot."
        ) from error
    if len(content) > MOST_BYTES:
        raise NoPicture(
            f"the picture {path} has more than {MOST_BYTES} bytes", hint="Set the camera to less."
        )
    codes = {seen for text in _decode(content, path) if (seen := read_seen(text)) is not None}
    # two speakers in one picture: the rig cannot know which of them is in the slot
    return codes.pop() if len(codes) == 1 else None


def read_seen(text: str) -> SeenCode | None:
    """Read the text of a QR code; None if it is no address that a person would be sent to."""
    address = read_page_uri(text)
    if address is None:
        return None
    try:
        parameters = parse_qs(urlsplit(address).query, max_num_fields=16)
    except ValueError:
        return None
    given = [value for name in _CODE_PARAMETERS for value in parameters.get(name, ())]
    return SeenCode(address, read_user_code(given[0]) if len(given) == 1 else None)


def _decode(content: bytes, path: Path) -> list[str]:
    """Return the texts of all QR codes in a picture."""
    try:
        import zxingcpp
    except ImportError as error:
        raise _missing("zxing-cpp") from error
    picture = _open(content, path)
    if picture is None:
        return []
    qr_codes = zxingcpp.barcode_formats_from_str("QRCode")
    found = zxingcpp.read_barcodes(picture, qr_codes)
    if not found and min(picture.size) < _LEAST_SIDE:
        times = -(-_LEAST_SIDE // min(picture.size))
        # a panel's own file has no quiet zone of its own either: it is the frame's
        framed = _frame(picture.resize((picture.width * times, picture.height * times)))
        found = zxingcpp.read_barcodes(framed, qr_codes)
    return [code.text for code in found if code.valid]


def _open(content: bytes, path: Path) -> "Image | None":
    """Return a picture in grey; None if its end is missing: the camera is still writing."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise _missing("pillow") from error
    from io import BytesIO

    too_large = NoPicture(
        f"the picture {path} has more than {MOST_PIXELS} pixels", hint="Set the camera to less."
    )
    try:
        picture = Image.open(BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        if not content:
            return None
        raise NoPicture(
            f"{path} is not a picture ({', '.join(_FORMATS)})", hint="Check the camera of this slot."
        ) from error
    if picture.width * picture.height > MOST_PIXELS:
        raise too_large
    try:
        return picture.convert("L")
    except (OSError, ValueError, SyntaxError):
        return None


def _frame(picture: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.expand(picture, border=min(picture.size) // 8, fill=255)


def _missing(package: str) -> ConfigError:
    return ConfigError(f"the Python package {package} is missing", hint=f"{how_to_install(package)}.")
