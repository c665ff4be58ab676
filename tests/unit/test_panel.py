"""What goes where on a panel of pixels, and which plan opens one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.board import open_panel
from hardware.errors import PartMissing
from hardware.panel import (
    CELL_PIXELS,
    LEAST_QUIET_PIXELS,
    MODULE_PIXELS,
    Layout,
    Matrix,
    Picture,
    Shown,
    count_down,
    largest_qr,
    lay_out,
    split_rows,
)
from hardware.plans import read_panel
from hardware.simulated import SimulatedPanel


def modules(side: int) -> Matrix:
    return ((True,) * side,) * side


def rows_of(layout: Layout) -> list[tuple[int, str]]:
    return [(line.scale, line.text) for line in layout.lines]


def test_the_code_stands_beside_the_qr_code_with_the_countdown_below() -> None:
    layout = lay_out(Picture("FUP8UN", modules(29), "amazon.com/us/code", 583), 128, 64)

    assert layout.shown == Shown(text=True, qr=True)
    assert rows_of(layout) == [(2, "FUP"), (2, "8UN"), (1, "9:43")]
    assert layout.square is not None
    assert layout.square.ground == (0, 0, 73, 63)
    assert min(line.x for line in layout.lines) > layout.square.ground[2]


def test_a_smaller_qr_code_gets_its_full_quiet_zone() -> None:
    square = lay_out(Picture("FUP8UN", modules(21)), 128, 64).square

    assert square is not None
    assert square.ground == (0, 11 - 8, 42 + 16 - 1, 11 + 42 + 8 - 1)


def test_dark_modules_are_two_pixels_a_side_where_the_matrix_is_dark() -> None:
    matrix = tuple(tuple((row, column) in {(0, 0), (1, 20)} for column in range(21)) for row in range(21))
    square = lay_out(Picture("FUP8UN", matrix), 128, 64).square

    assert square is not None
    assert list(square.dark()) == [(8, 11, 9, 12), (8 + 40, 13, 8 + 41, 14)]


@pytest.mark.parametrize(("height", "side"), [(64, 33), (32, 21)])
def test_a_qr_code_that_does_not_fit_is_left_out_and_the_reason_told(height: int, side: int) -> None:
    layout = lay_out(Picture("FUP8UN", modules(side), seconds_left=583), 128, height)

    assert layout.square is None
    assert layout.shown == Shown(
        text=True, qr=False, reason=f"a QR code of {side} modules does not fit {height} pixels"
    )
    assert "".join(text for scale, text in rows_of(layout) if scale > 1) == "FUP8UN"


def test_a_text_too_long_to_stand_beside_the_qr_code_is_shown_without_it() -> None:
    layout = lay_out(Picture("X" * 60, modules(29)), 128, 64)

    assert layout.shown == Shown(text=True, qr=False, reason="the text does not fit beside the QR code")


@pytest.mark.parametrize("text", ["X" * 129, "Ж", "A\x07B", "é"])
def test_a_text_that_cannot_be_shown_shows_nothing_and_says_so(text: str) -> None:
    layout = lay_out(Picture(text, modules(21)), 128, 64)

    assert (layout.lines, layout.square) == ((), None)
    assert not layout.shown.text
    assert layout.shown.reason


def test_a_panel_of_32_pixels_shows_the_code_alone_and_large() -> None:
    assert rows_of(lay_out(Picture("FUP8UN", None, "amazon.com/us/code", 583), 128, 32)) == [
        (2, "FUP8UN"),
        (1, "9:43"),
    ]


def test_the_address_stands_above_where_there_is_room_for_all_of_it() -> None:
    layout = lay_out(Picture("FUP8UN", None, "amazon.com/us/code", 583), 128, 64)

    assert rows_of(layout) == [(1, "amazon.com/us/"), (1, "code"), (2, "FUP8UN"), (1, "9:43")]


def test_an_address_that_the_font_does_not_have_is_left_out() -> None:
    assert rows_of(lay_out(Picture("FUP8UN", None, "münchen.example"), 128, 64)) == [(3, "FUP"), (3, "8UN")]


def test_a_code_that_fills_the_panel_leaves_the_countdown_out() -> None:
    assert rows_of(lay_out(Picture("X" * 64, None, "", 583), 128, 32)) == [(1, "X" * 16)] * 4


@given(
    text=st.text("ABC8-/ ", min_size=1, max_size=64).filter(str.strip),
    caption=st.text("abc./ ü", max_size=40),
    side=st.none() | st.integers(0, 8).map(lambda version: 21 + 4 * version),
    seconds=st.none() | st.integers(-5, 100_000),
    height=st.sampled_from([32, 64]),
)
def test_nothing_ever_lies_outside_the_panel_or_on_something_else(
    text: str, caption: str, side: int | None, seconds: int | None, height: int
) -> None:
    layout = lay_out(Picture(text, modules(side) if side else None, caption, seconds), 128, height)

    boxes = [
        (
            line.x,
            line.y,
            line.x + CELL_PIXELS * line.scale * len(line.text),
            line.y + CELL_PIXELS * line.scale,
        )
        for line in layout.lines
    ]
    if layout.square:
        left, top, right, bottom = layout.square.ground
        boxes.append((left, top, right + 1, bottom + 1))
        assert all(
            left < x and right >= x2 and y - top >= LEAST_QUIET_PIXELS for x, y, x2, _ in layout.square.dark()
        )
    assert all(
        left >= 0 and top >= 0 and right <= 128 and bottom <= height for left, top, right, bottom in boxes
    )
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    assert layout.shown.text == bool(layout.lines)
    assert layout.shown.qr == bool(layout.square)
    assert layout.shown.reason or (layout.shown.text and (layout.shown.qr or not side))


@given(st.text("AB1-/ ", min_size=1, max_size=64), st.integers(1, 20))
def test_rows_hold_every_character_but_blanks_and_are_never_too_long(text: str, columns: int) -> None:
    rows = split_rows(text, columns)

    assert all(0 < len(row) <= columns for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("FUP8UN", 6, ("FUP8UN",)),
        ("FUP8UN", 5, ("FUP", "8UN")),
        ("WDJB-MJHT", 6, ("WDJB-", "MJHT")),
        ("WDJB-MJHT", 9, ("WDJB-MJHT",)),
        ("AB CD EF", 5, ("AB CD", "EF")),
        ("ABCDEFG", 3, ("ABC", "DEF", "G")),
        ("", 3, ()),
    ],
)
def test_a_text_is_broken_where_people_would_break_it(text: str, columns: int, rows: tuple[str, ...]) -> None:
    assert split_rows(text, columns) == rows


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (-1, "0:00"), (0, "0:00"), (59, "0:59"), (600, "10:00"), (6000, "100:00")],
)
def test_the_countdown_is_minutes_and_seconds(seconds: int | None, shown: str) -> None:
    assert count_down(seconds) == shown


@pytest.mark.parametrize(("height", "side"), [(64, 29), (48, 21), (47, 0), (32, 0)])
def test_the_largest_qr_code_leaves_the_least_ground(height: int, side: int) -> None:
    assert largest_qr(height) == side
    assert side * MODULE_PIXELS + 2 * LEAST_QUIET_PIXELS <= height


def test_a_panel_is_opened_by_its_kind() -> None:
    panel = open_panel(read_panel({"kind": "simulated", "height": 32}))

    assert isinstance(panel, SimulatedPanel)
    assert panel.show(Picture("FUP8UN", modules(21))).reason.endswith("32 pixels")


def test_real_panels_are_opened_by_their_kind_and_say_what_is_missing() -> None:
    with pytest.raises(PartMissing, match="cannot find the panel") as missing:
        open_panel(read_panel({"kind": "sh1106", "bus": 63}))
    with pytest.raises(PartMissing, match="there is no /dev/no-such-console"):
        open_panel(read_panel({"kind": "console", "device": "/dev/no-such-console"}))

    assert "i2c_arm=on" in missing.value.hint


def test_neither_text_nor_qr_code_is_printed() -> None:
    picture = Picture("FUP8UN", modules(21))

    assert "FUP" not in repr(picture) + repr(lay_out(picture, 128, 64))
    assert "True, True" not in repr(picture) + repr(lay_out(picture, 128, 64))


def test_a_word_is_drawn_smaller_rather_than_broken_and_a_code_the_other_way() -> None:
    code, word = (lay_out(Picture("LINKED", is_prose=is_prose), 128, 64) for is_prose in (False, True))

    assert [(line.text, line.scale) for line in code.lines] == [("LIN", 3), ("KED", 3)]
    assert [(line.text, line.scale) for line in word.lines] == [("LINKED", 2)]
