import sys
from dataclasses import replace

import pytest
import wcwidth

from device_auth.core.models import CodePair
from device_auth.prompts.stderr import shows_links
from device_auth.prompts.terminal_layout import TerminalStyle, lay_out, wrap
from device_auth.prompts.wording import LANGUAGES, VARIANTS, read_wording
from tests.code_views import PLAIN_URI, code_pair


def _sheet(
    pair: CodePair | None = None,
    *,
    columns: int = 80,
    rows: int = 24,
    encoding: str = "utf-8",
    qr: bool = True,
    renewed: bool = False,
) -> str:
    style = TerminalStyle(columns, rows, encoding, colour=False)
    return "\n".join(lay_out(pair or code_pair(), style, qr=qr, renewed=renewed))


def _has_picture(sheet: str) -> bool:
    return "█████████████" in sheet or "##########" in sheet


def test_the_usual_screen_takes_picture_and_text_side_by_side() -> None:
    sheet = _sheet()

    assert _has_picture(sheet)
    assert len(sheet.split("\n")) == 21
    assert any("███" in line and PLAIN_URI in line for line in sheet.split("\n"))


def test_a_tall_and_narrow_window_takes_the_text_below_the_picture() -> None:
    sheet = _sheet(columns=40, rows=40)

    assert _has_picture(sheet)
    assert sheet.index("████") < sheet.index(PLAIN_URI)
    assert "▀▀▀▀▀" in sheet.split(PLAIN_URI)[1]


def test_a_lower_one_takes_the_text_close_together() -> None:
    sheet = _sheet(columns=40, rows=30)

    assert _has_picture(sheet)
    assert len(sheet.split("\n")) < 30


@pytest.mark.parametrize(("columns", "rows"), [(36, 60), (40, 24), (80, 19)])
def test_where_the_picture_does_not_fit_the_sheet_says_why(columns: int, rows: int) -> None:
    sheet = _sheet(columns=columns, rows=rows)

    assert not _has_picture(sheet)
    assert "The QR code is left out: it needs 37 columns and 19 rows" in " ".join(sheet.split())
    assert "On your phone or computer, open" in " ".join(sheet.split())


def test_the_smallest_window_ends_with_the_code_and_what_to_do() -> None:
    sheet = _sheet(columns=30, rows=10)

    last = " ".join(" ".join(sheet.split("\n")[-6:]).split())
    assert PLAIN_URI in last
    assert "AAYJHL" in last
    assert last.endswith("then approve.")


def test_without_a_picture_asked_for_nothing_is_said_of_one() -> None:
    sheet = _sheet(qr=False)

    assert not _has_picture(sheet)
    assert "QR" not in sheet
    assert "Scan" not in sheet
    assert "AAYJHL" in sheet


def test_a_missing_library_costs_the_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qrcode", None)

    sheet = _sheet()

    assert "There is no QR code: the Python package qrcode is missing." in sheet
    assert PLAIN_URI in sheet


def test_an_address_that_no_picture_holds_is_told_by_text() -> None:
    sheet = _sheet(code_pair(prefilled="https://example.org/" + "é" * 1200))

    assert "There is no QR code: the address is too long for a QR code." in sheet


def test_without_a_prefilled_link_the_code_is_entered_either_way() -> None:
    assert "Either way, enter" in _sheet(code_pair(prefilled=None))
    assert "and enter the code" in _sheet()
    assert "and enter the code" in _sheet(code_pair(prefilled=None), qr=False)


def test_a_renewed_code_says_that_the_old_one_is_over() -> None:
    assert "the old one no longer works" in " ".join(_sheet(renewed=True, columns=120).split())
    assert "the old one" not in _sheet()


def test_an_ascii_terminal_gets_ascii_alone() -> None:
    sheet = _sheet(columns=120, rows=60, encoding="ascii")

    assert sheet.isascii()
    assert _has_picture(sheet)
    assert "A  A  Y  J  H  L" in sheet


def test_a_code_that_the_terminal_cannot_carry_is_escaped_and_not_changed_in_silence() -> None:
    sheet = _sheet(code_pair("É1"), encoding="ascii")

    assert r"\xc91" in sheet


def test_wide_characters_are_spaced_and_broken_within_the_width() -> None:
    sheet = _sheet(code_pair("漢字" * 20), columns=30, rows=50, qr=False)

    assert "漢  字" in sheet
    assert all(wcwidth.wcswidth(line) <= 30 for line in sheet.split("\n"))


def test_a_long_address_is_broken_behind_a_mark() -> None:
    sheet = _sheet(code_pair(uri="https://login.example.org/common/oauth2/device"), columns=40, qr=False)

    assert "   https://login.example.org/common/\n   oauth2/device\n" in sheet


@pytest.mark.parametrize("trick", ["A\x1b[2JB", "A\nB", "A\u202eB", "A\x07B", "A\x9bB", "A\ud800B"])
def test_what_a_provider_sends_cannot_steer_the_terminal(trick: str) -> None:
    style = TerminalStyle(80, 24, "utf-8", colour=False)

    lines = lay_out(code_pair(trick, uri=f"https://e.org/{trick}"), style, qr=False, renewed=False)

    assert all(character.isprintable() for line in lines for character in line)


def test_no_line_is_styled_where_there_are_no_colours() -> None:
    coloured = TerminalStyle(80, 24, "utf-8", colour=True)

    assert coloured.wrap("x", sgr="1") == ["\x1b[1mx\x1b[0m"]
    assert TerminalStyle(80, 24, "utf-8", colour=False).wrap("x", sgr="1") == ["x"]


def test_words_are_kept_whole_where_they_fit() -> None:
    assert wrap("one two three", 7) == ["one two", "three"]
    assert wrap("", 7) == []


def test_a_width_of_nothing_still_ends() -> None:
    assert wrap("ab é", 0) == ["a", "b", "é"]


@pytest.mark.parametrize("renewed", [False, True])
@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("language", [*LANGUAGES, *VARIANTS])
def test_the_steps_fit_in_every_language(language: str, columns: int, renewed: bool) -> None:
    words = read_wording(language)
    style = TerminalStyle(columns, 24, "utf-8", colour=False)
    lines = lay_out(code_pair(), style, qr=False, renewed=renewed, words=words)

    assert len(lines) < 24
    assert max(map(wcwidth.wcswidth, lines)) <= columns
    assert "".join(lines).replace(" ", "").count("AAYJHL") >= 2
    assert PLAIN_URI in "".join(lines).replace(" ", "")
    told = "".join("".join(lines).split())
    for sentence in (words.moments["new-code"] if renewed else words.page["lead"], words.page["compare"]):
        assert "".join(sentence.split()) in told


@pytest.mark.parametrize(
    ("environ", "has_links"),
    [
        ({"TERM": "xterm-256color", "VTE_VERSION": "7001"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4900"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "x"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "220401"}, True),
        ({"TERM": "linux"}, False),
        ({}, False),
    ],
)
def test_links_are_for_terminals_known_to_have_them(environ: dict[str, str], has_links: bool) -> None:
    assert shows_links(environ) == has_links


def test_a_click_on_the_address_opens_it_with_the_code_filled_in() -> None:
    plain, linking = (TerminalStyle(80, 24, "utf-8", colour=False, has_links=it) for it in (False, True))
    pair = replace(code_pair(), prefilled_uri=f"{PLAIN_URI}?cbl-code=AAYJHL")

    shown = lay_out(pair, linking, qr=True, renewed=False)

    link = f"\x1b]8;;{PLAIN_URI}?cbl-code=AAYJHL\x1b\\   {PLAIN_URI}\x1b]8;;\x1b\\"
    assert "\n".join(shown).count(link) == 1
    assert [line.replace(link, f"   {PLAIN_URI}") for line in shown] == lay_out(
        pair, plain, qr=True, renewed=False
    )


def test_an_address_that_could_end_the_link_early_makes_none() -> None:
    style = TerminalStyle(80, 24, "utf-8", colour=False, has_links=True)

    assert style.linked(["it"], "https://a.test/\x1b\\") == style.linked(["it"], "https://a.test/é") == ["it"]
