import io
import re
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from device_auth.core.errors import ConfigError, DeviceAuthError
from device_auth.core.models import Monotonic
from device_auth.prompts.picture import (
    Matrix,
    PicturePrompt,
    ascii_blocks,
    check_picture,
    half_blocks,
    png,
    read_matrix,
    svg,
    write_picture,
)
from device_auth.world.files import OwnersFile
from tests.code_views import LINKED, Window, code_pair, photograph, waiting
from tests.qr_decoders import READERS, Reader

PREFILLED = "https://amazon.com/us/code?cbl-code="
LINKS = [
    f"{PREFILLED}AAYJHL",
    "https://amazon.com/code?cbl-code=BCDFG",
    "https://www.amazon.co.jp/a/code?cbl-code=AAYJHL",
    f"{PREFILLED}{'WDJB-MJHT' * 10}",
    f"https://example.org/{'device/' * 33}",
    f"https://example.org/{'aB3-' * 123}",
]
every_link = pytest.mark.parametrize("link", LINKS, ids=lambda link: f"{len(link)} characters")
every_short_link = pytest.mark.parametrize("link", LINKS[:4], ids=lambda link: f"{len(link)} characters")
every_reader = pytest.mark.parametrize("read", READERS)
NOW = Monotonic(0)


def test_the_links_reach_from_the_shortest_to_the_longest() -> None:
    assert len(LINKS[0]) == 42
    assert max(len(link) for link in LINKS) == 512


def test_the_matrix_has_a_light_border_of_four_modules() -> None:
    matrix = read_matrix(LINKS[0])

    border = [*matrix[:4], *matrix[-4:], *(row[:4] + row[-4:] for row in matrix)]
    assert not any(any(row) for row in border)
    assert matrix[4][4]


def test_our_link_is_37_columns_and_19_lines_of_half_blocks() -> None:
    lines = half_blocks(read_matrix(LINKS[0]), colour=False)

    assert len(lines) == 19
    assert {len(line) for line in lines} == {37}


def test_more_correction_takes_more_modules() -> None:
    sizes = [len(read_matrix(LINKS[3], level=level)) for level in ("L", "M", "Q", "H")]

    assert sizes == sorted(set(sizes))


def test_a_text_that_no_code_holds_is_told() -> None:
    with pytest.raises(DeviceAuthError, match="too long"):
        read_matrix("x" * 2332)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qrcode", None)

    with pytest.raises(ConfigError, match="qrcode"):
        read_matrix("x")


def _window_with(lines: list[str], columns: int) -> Window:
    window = Window(columns, len(lines) + 2)
    window.out.write("\n" + "\n".join(lines))
    window.look()
    return window


@every_reader
@every_short_link
@pytest.mark.parametrize("ground", [0, 255], ids=["dark terminal", "light terminal"])
def test_coloured_half_blocks_are_read_on_any_terminal(link: str, read: Reader, ground: int) -> None:
    matrix = read_matrix(link)

    window = _window_with(half_blocks(matrix, colour=True), len(matrix) + 2)

    assert read(photograph(window.screen, ink=255 - ground, ground=ground)) == [link]


@every_reader
@every_link
def test_half_blocks_without_colours_are_read_on_a_dark_terminal(link: str, read: Reader) -> None:
    matrix = read_matrix(link)

    window = _window_with(half_blocks(matrix, colour=False), len(matrix) + 2)

    assert read(photograph(window.screen)) == [link]


@every_reader
@every_short_link
def test_coloured_ascii_is_read_on_any_terminal(link: str, read: Reader) -> None:
    matrix = read_matrix(link)

    window = _window_with(ascii_blocks(matrix, colour=True), 2 * len(matrix) + 2)

    assert read(photograph(window.screen, ink=0, ground=255)) == [link]


@every_reader
@pytest.mark.parametrize("link", LINKS[:3])
def test_ascii_without_colours_is_read_from_further_away(link: str, read: Reader) -> None:
    matrix = read_matrix(link)

    window = _window_with(ascii_blocks(matrix, colour=False), 2 * len(matrix) + 2)

    seen = photograph(window.screen).filter(ImageFilter.GaussianBlur(6))
    assert read(seen.resize((seen.width // 4, seen.height // 4))) == [link]


def test_ascii_is_ascii() -> None:
    lines = ascii_blocks(read_matrix(LINKS[0]), colour=False)

    assert set("".join(lines)) == {" ", "#"}


@every_reader
@every_link
def test_the_png_is_read(link: str, read: Reader) -> None:
    with Image.open(io.BytesIO(png(read_matrix(link)))) as picture:
        picture.load()

    assert picture.mode == "1"
    assert read(picture.convert("L")) == [link]


@pytest.mark.parametrize("scale", [1, 3, 8])
def test_each_module_is_a_square_of_the_png(scale: int) -> None:
    matrix = read_matrix(LINKS[0])

    with Image.open(io.BytesIO(png(matrix, scale))) as picture:
        corners = tuple(
            tuple(picture.getpixel((x * scale, y * scale)) == 0 for x in range(len(matrix)))
            for y in range(len(matrix))
        )

    assert picture.size == (len(matrix) * scale, len(matrix) * scale)
    assert corners == matrix


def _drawn_from_svg(text: str) -> Image.Image:
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', text)
    ground = re.search(r'<rect width="(\d+)" height="(\d+)" fill="#fff"/>', text)
    assert size is not None
    assert ground is not None
    assert size.groups() == ground.groups()
    picture = Image.new("L", (4 * int(size[1]), 4 * int(size[2])), 255)
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", text):
        assert length == back
        picture.paste(0, (4 * int(x), 4 * int(y), 4 * (int(x) + int(length)), 4 * int(y) + 4))
    return picture


@every_reader
@every_link
def test_the_svg_is_read(link: str, read: Reader) -> None:
    assert read(_drawn_from_svg(svg(read_matrix(link)))) == [link]


@every_reader
def test_the_svg_is_read_as_another_program_draws_it(read: Reader, tmp_path: Path) -> None:
    converter = shutil.which("rsvg-convert")
    if converter is None:
        pytest.skip("rsvg-convert is not installed: apt-get install librsvg2-bin")
    write_picture(OwnersFile(tmp_path / "code.svg"), LINKS[-2])

    drawn = subprocess.run([converter, tmp_path / "code.svg"], capture_output=True, check=True).stdout

    with Image.open(io.BytesIO(drawn)) as picture:
        assert picture.width == 8 * len(read_matrix(LINKS[-2]))
        assert read(picture.convert("L")) == [LINKS[-2]]


# -- the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code.svg", "code.png", "CODE.PNG"])
def test_a_picture_is_for_its_owner_alone_and_nothing_lies_beside_it(tmp_path: Path, name: str) -> None:
    write_picture(OwnersFile(tmp_path / name), LINKS[0])

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_the_suffix_chooses_the_form(tmp_path: Path) -> None:
    write_picture(OwnersFile(tmp_path / "code.svg"), LINKS[0])
    write_picture(OwnersFile(tmp_path / "code.png"), LINKS[0])

    assert (tmp_path / "code.svg").read_text().startswith("<svg ")
    assert (tmp_path / "code.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_takes_the_place_of_a_link_and_not_of_what_it_points_to(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / "code.svg").symlink_to(target)

    write_picture(OwnersFile(tmp_path / "code.svg"), LINKS[0])

    assert target.read_text() == "kept"
    assert not (tmp_path / "code.svg").is_symlink()


def test_another_suffix_is_refused_naming_both_that_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"code\.jpg") as refused:
        check_picture(OwnersFile(tmp_path / "code.jpg"))

    assert ".svg" in refused.value.hint
    assert ".png" in refused.value.hint


def test_a_folder_that_is_not_there_is_refused_before_a_code_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        check_picture(OwnersFile(tmp_path / "nowhere" / "code.svg"))


def test_a_place_that_cannot_be_looked_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="File name too long"):
        check_picture(OwnersFile(tmp_path / f"{'x' * 300}.svg"))


def test_a_folder_in_the_file_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "code.svg").mkdir()

    with pytest.raises(ConfigError, match="it is a folder"):
        check_picture(OwnersFile(tmp_path / "code.svg"))
    with pytest.raises(ConfigError, match="Is a directory"):
        write_picture(OwnersFile(tmp_path / "code.svg"), LINKS[0])
    assert [path.name for path in tmp_path.iterdir()] == ["code.svg"]


def test_checking_leaves_nothing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "code.png").write_text("as it was")

    check_picture(OwnersFile(tmp_path / "code.png"))

    assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"]


def test_a_disk_that_takes_no_more_is_told_and_left_clean(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(ConfigError, match="cannot write the QR code"):
            write_picture(OwnersFile(tmp_path / "code.svg"), LINKS[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


# -- the prompt -------------------------------------------------------------------------------------------


@every_reader
def test_the_picture_is_there_while_there_is_a_code_and_gone_after(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "code.png"
    prompt = PicturePrompt(OwnersFile(path))

    prompt.show(waiting(), NOW)
    with Image.open(path) as picture:
        assert read(picture.convert("L")) == [LINKS[0]]
    prompt.show(LINKED, NOW)

    assert not path.exists()


def test_without_a_prefilled_link_the_picture_holds_the_plain_address(tmp_path: Path) -> None:
    prompt = PicturePrompt(OwnersFile(tmp_path / "code.svg"))

    prompt.show(waiting(code_pair(prefilled=None)), NOW)

    expected: Matrix = read_matrix("https://amazon.com/us/code")
    assert (tmp_path / "code.svg").read_text() == svg(expected)


def test_the_same_code_is_written_once_and_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "code.svg"
    prompt = PicturePrompt(OwnersFile(path))
    prompt.show(waiting(), NOW)
    first = path.stat().st_ino
    prompt.show(waiting(sequence=1), NOW)
    again = path.stat().st_ino

    prompt.show(waiting(code_pair("BBBBBB", prefilled=f"{PREFILLED}BBBBBB")), NOW)

    assert again == first
    assert path.read_text() == svg(read_matrix(f"{PREFILLED}BBBBBB"))


def test_closing_removes_the_picture_and_a_file_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "code.svg"
    path.write_text("not ours")
    PicturePrompt(OwnersFile(path)).close()
    assert path.read_text() == "not ours"
    prompt = PicturePrompt(OwnersFile(path))

    prompt.show(waiting(), NOW)
    prompt.close()
    prompt.close()

    assert not path.exists()


def test_the_library_is_not_loaded_before_something_is_drawn() -> None:
    program = (
        "import sys, device_auth.prompts.terminal, device_auth.prompts.picture, device_auth.prompts.fanout;"
        "print([name for name in ('qrcode', 'PIL', 'tempfile', 'requests') if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert loaded == "[]\n"
