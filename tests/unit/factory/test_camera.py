import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from device_auth.core.errors import ConfigError
from device_auth.factory.station.camera import MOST_BYTES, NoPicture, SeenCode, read_code, read_seen
from device_auth.prompts.picture import png, read_matrix
from tests.bench.panel_decode import View, panel_frame, photograph

LINK = "https://amazon.com/us/code?cbl-code=AAYJHL"
SEEN = SeenCode(LINK, "AAYJHL")
VIEWS = (
    View("upright"),
    View("rotated 7°", degrees=7),
    View("upside down and skew", degrees=187),
    View("noise ± 20", noise=20),
    View("rotated 10°, blurred 0.5, noise ± 20", degrees=10, blur=0.5, noise=20),
)


def drawn(text: str, scale: int = 8) -> Image.Image:
    return Image.open(io.BytesIO(png(read_matrix(text), scale))).convert("L")


@pytest.fixture
def see(tmp_path: Path) -> Callable[[Image.Image], SeenCode | None]:
    def save_and_read(picture: Image.Image) -> SeenCode | None:
        picture.save(tmp_path / "slot-07.png")
        return read_code(tmp_path / "slot-07.png")

    return save_and_read


See = Callable[[Image.Image], SeenCode | None]


@pytest.mark.parametrize("scale", [1, 2, 3, 8, 30])
def test_the_picture_that_the_speaker_writes_is_read_at_any_size(see: See, scale: int) -> None:
    assert see(drawn(LINK, scale)) == SEEN


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_camera_reads_the_panel(see: See, view: View) -> None:
    assert see(photograph(panel_frame(LINK), view, seed=1)) == SEEN


def test_the_panels_own_frame_is_read(see: See) -> None:
    assert see(panel_frame(LINK)) == SEEN


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1"])
def test_a_picture_may_have_colours(see: See, mode: str) -> None:
    assert see(drawn(LINK).convert(mode)) == SEEN


@pytest.mark.parametrize("kind", ["JPEG", "PPM", "BMP"])
def test_a_picture_may_be_of_these_kinds(tmp_path: Path, kind: str) -> None:
    drawn(LINK).save(tmp_path / "code", kind)

    assert read_code(tmp_path / "code") == SEEN


# ---------------------------------------------------------------------------------------------------------
# What a code may say


def test_the_code_of_another_provider_is_read() -> None:
    address = "https://example.org/device?user_code=WDJB-MJHT"

    assert read_seen(address) == SeenCode(address, "WDJB-MJHT")


def test_an_address_without_the_code_is_read() -> None:
    assert read_seen("https://example.org/device") == SeenCode("https://example.org/device", None)


@pytest.mark.parametrize(
    "query",
    [
        "cbl-code=A&cbl-code=B",
        "cbl-code=A&user_code=B",
        "cbl-code=",
        "cbl-code=A%0AB",
        "cbl-code=" + "A" * 65,
    ],
)
def test_a_doubtful_user_code_is_none(query: str) -> None:
    assert read_seen(f"https://example.org/device?{query}") == SeenCode(
        f"https://example.org/device?{query}", None
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G0A1B2C3",
        "http://example.org/device",
        "https://user:secret@example.org/",
        "javascript:alert(1)",
        "https://example.org/\x1b[2J",
        "https://example.org/" + "a" * 500,
        "https://example.org/?" + "&".join(f"a{n}=1" for n in range(40)),
        "WIFI:S:net;P:secret;;",
    ],
)
def test_what_no_speaker_shows_is_no_code(see: See, text: str) -> None:
    assert read_seen(text) is None
    assert text == "" or see(drawn(text)) is None


# ---------------------------------------------------------------------------------------------------------
# Pictures without a code


def test_a_dark_picture_has_no_code(see: See) -> None:
    assert see(Image.new("L", (640, 480), 12)) is None


def test_two_speakers_in_one_picture_are_no_code(see: See) -> None:
    one, other = drawn(LINK), drawn(LINK.replace("AAYJHL", "BBYJHL"))
    both = Image.new("L", (one.width + other.width, one.height), 255)
    both.paste(one, (0, 0))
    both.paste(other, (one.width, 0))

    assert see(both) is None


def test_the_same_code_twice_is_one(see: See) -> None:
    one = drawn(LINK)
    both = Image.new("L", (2 * one.width, one.height), 255)
    both.paste(one, (0, 0))
    both.paste(one, (one.width, 0))

    assert see(both) == SEEN


def test_a_picture_that_the_camera_is_still_writing_has_no_code_yet(tmp_path: Path) -> None:
    drawn(LINK).save(tmp_path / "code.jpg", "JPEG", quality=95)
    whole = (tmp_path / "code.jpg").read_bytes()

    (tmp_path / "code.jpg").write_bytes(b"")
    assert read_code(tmp_path / "code.jpg") is None
    (tmp_path / "code.jpg").write_bytes(whole[: len(whole) // 3])
    assert read_code(tmp_path / "code.jpg") is None


@pytest.mark.parametrize(
    "content", [b"GIF89a" + bytes(40), b"<svg/>", b"\x89PNG\r\n\x1a\n" + bytes(40), bytes(4096)]
)
def test_what_is_no_picture_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "code").write_bytes(content)

    with pytest.raises(NoPicture, match="is not a picture"):
        read_code(tmp_path / "code")


@pytest.mark.parametrize("side", [5_100, 10_000, 20_000])
def test_a_picture_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, side: int
) -> None:
    bomb = bytearray(png(read_matrix(LINK), 1))
    # only the size of the header is read: what follows does not matter
    bomb[16:24] = side.to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(bomb)

    with pytest.raises(NoPicture, match="more than 25000000 pixels"):
        read_code(tmp_path / "bomb.png")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "code.png").open("wb") as file:
        file.truncate(MOST_BYTES + 1)

    with pytest.raises(NoPicture, match="more than"):
        read_code(tmp_path / "code.png")


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoPicture, match="no such file"):
        read_code(tmp_path / "code.png")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(LINK).save(tmp_path / "code.png")
    monkeypatch.setitem(sys.modules, "zxingcpp", None)

    with pytest.raises(ConfigError, match="zxing-cpp is missing"):
        read_code(tmp_path / "code.png")
