"""A console as a panel: sizes, character sets, what is written again, and a line that does not answer."""

import os
import pty
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.board import open_panel
from hardware.console import ConsolePanel, Screen, draw
from hardware.errors import PartBusy, PartMissing
from hardware.panel import Matrix, Picture
from hardware.plans import read_panel
from tests.bench.panel_decode import View, matrix, photograph, read_by_zxing
from tests.terminals import Terminal

LINK = "https://amazon.com/us/code?cbl-code=FUP8UN"
PICTURE = Picture("FUP8UN", matrix(LINK), "amazon.com/us/code", 583)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as terminal:
        yield terminal


def test_the_text_stands_beside_the_qr_code_where_the_screen_is_wide_enough(terminal: Terminal) -> None:
    panel = terminal.open()
    panel.show(PICTURE)
    terminal.listen()

    assert [terminal.row_text(row)[37:].strip() for row in range(1, 6)] == [
        "amazon.com/us/code",
        "",
        "FUP8UN",
        "",
        "9:43",
    ]
    assert not terminal.cursor_is_shown
    panel.close()
    terminal.listen()
    assert terminal.cursor_is_shown


def test_the_text_stands_below_the_qr_code_on_a_narrow_screen() -> None:
    with Terminal(columns=37, rows=30) as terminal:
        panel = terminal.open()

        assert panel.show(PICTURE).qr
        terminal.listen()
        assert [terminal.row_text(row) for row in range(21, 26)] == [
            "amazon.com/us/code",
            "",
            "FUP8UN",
            "",
            "9:43",
        ]
        panel.close()


def test_in_ascii_a_module_is_two_blanks_and_a_phone_still_reads_it() -> None:
    with Terminal(columns=132, rows=40) as terminal:
        panel = terminal.open(charset="auto")

        assert panel.show(PICTURE).qr
        image = terminal.picture(dots_across=2)
        assert terminal.heard.isascii()
        assert read_by_zxing(photograph(image, View("upright"), 1)) == [LINK]
        panel.close()


def test_a_serial_line_of_unknown_size_counts_as_80_by_24_in_ascii() -> None:
    with Terminal(columns=0, rows=0) as unknown:
        panel = unknown.open(charset="auto")
        shown = panel.show(PICTURE)
        panel.close()

    assert not shown.qr
    assert shown.text
    assert shown.reason == "the QR code and the text do not fit 80 × 24 characters"


def test_the_size_can_be_set_where_the_device_does_not_know_it() -> None:
    with Terminal(columns=0, rows=0) as unknown:
        unknown.columns, unknown.rows = 100, 50
        panel = unknown.open(columns=100, rows=50)

        assert panel.show(PICTURE).qr
        panel.close()


def test_only_the_row_of_the_countdown_is_written_again(terminal: Terminal) -> None:
    panel = terminal.open()
    panel.show(PICTURE)
    terminal.listen()
    panel.show(Picture(PICTURE.text, PICTURE.qr, PICTURE.caption, 582))
    heard = terminal.listen().decode()

    assert heard.startswith("\x1b[5;1H")
    assert heard.count("\x1b[K") == 1
    assert "9:42" in heard
    panel.close()


def test_rows_that_are_no_longer_there_are_wiped(terminal: Terminal) -> None:
    panel = terminal.open()
    panel.show(PICTURE)
    panel.show(Picture("FUP8UN"))
    terminal.listen()

    assert [terminal.row_text(row) for row in range(1, 25)] == ["FUP8UN"] + [""] * 23
    panel.close()


def test_a_linux_console_is_woken_and_told_to_take_utf8(terminal: Terminal) -> None:
    panel = ConsolePanel(os.dup(terminal.near), Screen(80, 24, is_utf8=True), wake="\x1b[13]\x1b%G")
    panel.show(PICTURE)

    assert terminal.listen().startswith(b"\x1b[13]\x1b%G")
    panel.close()


@pytest.mark.parametrize(
    ("picture", "screen"),
    [
        (Picture("Ж"), Screen(80, 24, is_utf8=True)),
        (Picture("é"), Screen(80, 24, is_utf8=False)),
        (Picture("A\x1b[2J"), Screen(80, 24, is_utf8=True)),
        (Picture("FUP8UN"), Screen(2, 2, is_utf8=True)),
        (Picture("F", seconds_left=600), Screen(4, 24, is_utf8=True)),
    ],
)
def test_what_cannot_be_shown_whole_is_not_shown_and_the_reason_told(
    picture: Picture, screen: Screen
) -> None:
    drawing = draw(picture, screen)

    assert drawing.rows == ()
    assert not drawing.shown.text
    assert drawing.shown.reason


def test_a_caption_that_the_font_lacks_or_the_screen_has_no_room_for_is_left_out() -> None:
    assert draw(Picture("FUP8UN", None, "Адрес"), Screen(80, 24, is_utf8=True)).rows == ("FUP8UN",)
    assert draw(Picture("FUP8UN", None, "a/b"), Screen(80, 1, is_utf8=True)).rows == ("FUP8UN",)
    assert draw(Picture("FUP8UN", None, "Gerät"), Screen(80, 3, is_utf8=True)).rows == ("Gerät", "", "FUP8UN")


@given(
    side=st.integers(0, 3).map(lambda version: 21 + 4 * version),
    columns=st.integers(1, 140),
    rows=st.integers(1, 60),
    is_utf8=st.booleans(),
)
def test_nothing_is_ever_drawn_beyond_the_screen(
    side: int, columns: int, rows: int, *, is_utf8: bool
) -> None:
    modules: Matrix = ((True, False) * (side // 2) + (True,),) * side
    drawing = draw(
        Picture("FUP8UN", modules, "amazon.com/us/code", 583), Screen(columns, rows, is_utf8=is_utf8)
    )
    terminal = Terminal(columns, rows)
    for number, row in enumerate(drawing.rows, start=1):
        terminal.obey(f"\x1b[{number};1H{row}")

    assert drawing.shown.reason or drawing.shown.qr
    assert drawing.shown.text == bool(drawing.rows)


def test_the_baud_rate_is_set_when_asked_for(terminal: Terminal) -> None:
    terminal.open(baud=9600).close()

    assert termios.tcgetattr(terminal.near)[4:6] == [termios.B9600, termios.B9600]


def test_a_line_that_takes_no_text_is_busy(terminal: Terminal) -> None:
    panel = ConsolePanel(os.dup(terminal.near), Screen(80, 24, is_utf8=True), timeout=0.01)
    termios.tcflow(terminal.near, termios.TCOOFF)

    with pytest.raises(PartBusy, match="cannot write to the console") as busy:
        panel.show(PICTURE)

    assert "flow control" in busy.value.hint
    termios.tcflow(terminal.near, termios.TCOON)
    panel.show(PICTURE)
    assert terminal.listen().startswith(b"\x1b[?25l")
    panel.close()


def test_a_line_that_is_gone_is_busy_and_can_still_be_let_go() -> None:
    far, near = pty.openpty()
    panel = ConsolePanel(near, Screen(80, 24, is_utf8=True))
    panel.show(Picture("FUP8UN"))
    os.close(far)

    with pytest.raises(PartBusy, match="does not answer"):
        panel.show(Picture("B8O0I1"))
    with pytest.raises(PartBusy, match="does not answer"):
        panel.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(near)


@pytest.mark.parametrize(
    ("device", "said"),
    [("nothing", "there is no"), ("plain-file", "is not a terminal"), ("folder", "cannot use")],
)
def test_a_device_that_is_no_console_is_refused(tmp_path: Path, device: str, said: str) -> None:
    (tmp_path / "plain-file").touch()
    (tmp_path / "folder").mkdir()

    with pytest.raises((PartMissing, PartBusy), match=said) as refused:
        open_panel(read_panel({"kind": "console", "device": str(tmp_path / device)}))

    assert refused.value.hint


@pytest.mark.parametrize(("name", "group"), [("tty1", "tty"), ("ttyAMA0", "dialout")])
def test_a_console_that_this_user_may_not_open_names_the_group(tmp_path: Path, name: str, group: str) -> None:
    (tmp_path / name).touch(mode=0o000)
    if os.access(tmp_path / name, os.W_OK):
        pytest.skip("nothing is closed to root")

    with pytest.raises(PartMissing, match="no permission to open") as closed:
        open_panel(read_panel({"kind": "console", "device": str(tmp_path / name)}))

    assert f"-aG {group}" in closed.value.hint
