import tomllib

import pytest

from device_auth.cli.first_settings import example_text
from device_auth.world.toml_lines import (
    NotEditable,
    _proved,
    line_numbers,
    with_setting,
    without_setting,
    write_value,
)

BOARD = ("hardware", "board")

OF_A_PERSON = """\
# kitchen
client_id = "amzn1"   # from the console

[hardware]   # the hat
  board='generic-led'\t# for now
gpio = "rpi-gpio"
light = { kind = "led", pin = 27, active = "high" }  # ours

[hardware.patterns]
linked = "off"
"""


def test_a_value_is_exchanged_and_everything_else_stays() -> None:
    changed = with_setting(OF_A_PERSON, BOARD, "respeaker-2mic")

    assert changed == OF_A_PERSON.replace("'generic-led'", '"respeaker-2mic"')


def test_the_same_value_changes_nothing() -> None:
    assert with_setting(OF_A_PERSON, BOARD, "generic-led") == OF_A_PERSON


def test_a_new_setting_comes_behind_the_last_one_of_its_table() -> None:
    changed = with_setting(OF_A_PERSON, ("hardware", "chip"), "/dev/gpiochip4")

    assert changed == OF_A_PERSON.replace("ours\n", 'ours\nchip = "/dev/gpiochip4"\n')


def test_a_new_setting_comes_below_the_comment_that_explains_it() -> None:
    changed = with_setting(example_text(), BOARD, "generic-rgb")

    assert changed == example_text().replace(
        '# board = "none"\n', '# board = "none"\nboard = "generic-rgb"\n'
    )
    at_top = with_setting(example_text(), ("key_provider",), "rpi-fw-crypto")
    assert '# key_provider = "auto"\nkey_provider = "rpi-fw-crypto"\n' in at_top


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ("", BOARD, '[hardware]\nboard = "x"\n'),
        ("a = 1", BOARD, 'a = 1\n\n[hardware]\nboard = "x"\n'),
        ("", ("b",), 'b = "x"\n'),
        ("a = 1\n", ("b",), 'a = 1\nb = "x"\n'),
        ("# mine\n\n# the board\n[hardware]\n", ("b",), '# mine\n\nb = "x"\n# the board\n[hardware]\n'),
        ("[hardware]\r\na = 1\r\n", BOARD, '[hardware]\r\na = 1\r\nboard = "x"\r\n'),
        ("hardware.gpio = 1\nb = 2\n", BOARD, 'hardware.gpio = 1\nhardware.board = "x"\nb = 2\n'),
        ("hardware = { gpio = 1 } # y\n", BOARD, 'hardware = { gpio = 1, board = "x" } # y\n'),
        ('"hardware" . "board" = 1\n', BOARD, '"hardware" . "board" = "x"\n'),
        ("[hardware.panel]\na = 1\n", BOARD, '[hardware.panel]\na = 1\n\n[hardware]\nboard = "x"\n'),
        ('[hardware]\nboard = """a\n# b"""  # c\n', BOARD, '[hardware]\nboard = "x"  # c\n'),
        ("[hardware]\nboard = [1, # one\n 2]\n", BOARD, '[hardware]\nboard = "x"\n'),
        (
            'n = """\n[hardware]\nboard = 1\n"""\n',
            BOARD,
            'n = """\n[hardware]\nboard = 1\n"""\n\n[hardware]\nboard = "x"\n',
        ),
        (
            '[hardware]\npanel = "off"\n',
            ("hardware", "panel", "kind"),
            '[hardware]\npanel = { kind = "x" }\n',
        ),
        (
            "[hardware.panel]\nbus = 3\n",
            ("hardware", "panel", "kind"),
            '[hardware.panel]\nbus = 3\nkind = "x"\n',
        ),
    ],
)
def test_each_layout_of_a_person_is_kept(text: str, path: tuple[str, ...], expected: str) -> None:
    assert with_setting(text, path, "x") == expected


@pytest.mark.parametrize("text", ["a = ", "[hardware", 'a = "x', "a = 1\na = 2\n"])
def test_what_is_not_toml_is_refused(text: str) -> None:
    with pytest.raises(NotEditable, match="is not valid TOML"):
        with_setting(text, BOARD, "x")


@pytest.mark.parametrize("text", ["[[hardware]]\nboard = 1\n", "hardware = [{ board = 1 }]\n"])
def test_of_several_tables_none_is_changed(text: str) -> None:
    with pytest.raises(NotEditable, match=r"a layout in which hardware\.board cannot be changed"):
        with_setting(text, BOARD, "x")


@pytest.mark.parametrize("text", ["a = 1\nb = 1\n", "a = 2.0\n", "a = true\n", "a = ", "a = [2]\n"])
def test_a_text_that_means_something_else_than_was_asked_for_is_never_returned(text: str) -> None:
    with pytest.raises(NotEditable):
        _proved(text, {"a": 2}, ("a",))


def test_a_setting_that_is_taken_out_stays_as_a_comment() -> None:
    text = without_setting(OF_A_PERSON, ("hardware", "gpio"))

    assert text == OF_A_PERSON.replace('gpio = "rpi-gpio"', '# gpio = "rpi-gpio"')


def test_a_table_is_taken_out_with_all_that_stands_in_it() -> None:
    text = without_setting(
        "[hardware]\na = 1\n\n[hardware.panel]\n# mine\nbus = [\n3]\n[page]\n", ("hardware", "panel")
    )

    assert text == "[hardware]\na = 1\n\n# [hardware.panel]\n# mine\n# bus = [\n# 3]\n[page]\n"


def test_a_setting_is_taken_out_of_a_table_on_one_line() -> None:
    assert (
        without_setting("hardware = { a = 1, b = 2 }  # c\n", ("hardware", "a"))
        == "hardware = { b = 2 }  # c\n"
    )
    assert without_setting("a = 1\n", ("hardware", "panel")) == "a = 1\n"


@pytest.mark.parametrize(
    "value", ["", 'a"b\\c', "ü\x7f\n\t", True, 3, 0.5, ["a", 1], {"a b": {"c": "d"}, "e": []}]
)
def test_every_value_comes_back_as_it_was(value: object) -> None:
    assert tomllib.loads(f"x = {write_value(value)}") == {"x": value}


def test_a_setting_that_comes_back_takes_the_place_of_its_comment() -> None:
    without = without_setting(OF_A_PERSON, ("hardware", "gpio"))

    assert with_setting(without, ("hardware", "gpio"), "rpi-gpio") == OF_A_PERSON


def test_each_key_and_table_has_its_line() -> None:
    text = """\
# a station
[station]
id = "x"

[[slot]]
name = "a"
[[slot]]
# more
name = "b"
steps = [
    1,
]
out.of = 3
[[plan.steps]]
limits = { a = 3 }
"""

    assert line_numbers(text) == {
        ("station",): 2,
        ("station", "id"): 3,
        ("slot", 0): 5,
        ("slot", 0, "name"): 6,
        ("slot", 1): 7,
        ("slot", 1, "name"): 9,
        ("slot", 1, "steps"): 10,
        ("slot", 1, "out", "of"): 13,
        ("plan", "steps", 0): 14,
        ("plan", "steps", 0, "limits"): 15,
    }
