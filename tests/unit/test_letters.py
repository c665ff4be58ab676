from itertools import combinations

from device_auth.prompts.letters import POINTS, draw_letters


def test_every_letter_is_five_points_by_seven() -> None:
    assert "".join(sorted(POINTS)) == "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert {len(lines) for lines in POINTS.values()} == {7}
    assert {len(line) for lines in POINTS.values() for line in lines} == {5}


def test_no_two_letters_are_taken_for_each_other() -> None:
    for one, other in combinations(POINTS, 2):
        differing = [
            a != b
            for ours, theirs in zip(POINTS[one], POINTS[other], strict=True)
            for a, b in zip(ours, theirs, strict=True)
        ]
        assert sum(differing) >= 2, (one, other)


def test_letters_are_drawn_with_half_blocks() -> None:
    assert draw_letters("L1", 11) == [
        "█      ▄█",
        "█       █",
        "█       █",
        "▀▀▀▀▀  ▀▀▀",
    ]


def test_six_letters_take_35_columns() -> None:
    assert draw_letters("AAYJHL", 35) is not None
    assert draw_letters("AAYJHL", 34) is None


def test_a_long_code_is_broken_behind_its_hyphen_only() -> None:
    whole, broken = draw_letters("WDJB-MJHT", 53), draw_letters("WDJB-MJHT", 52)

    assert whole is not None
    assert broken is not None
    assert len(whole) == 4
    assert broken == [*(draw_letters("WDJB-", 29) or []), *(draw_letters("MJHT", 29) or [])]
    assert draw_letters("WDJBMJHT", 40) is None


def test_a_code_with_other_characters_has_no_large_form() -> None:
    assert draw_letters("aayjhl", 100) is None
    assert draw_letters("AÄ", 100) is None
