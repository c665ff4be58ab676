from pathlib import Path
from typing import Any

import pytest

from hardware.errors import BadSetting
from hardware.settings import Key, ValueType, as_toml, nearest, read_table


def _half(given: float) -> float:
    if given > 1:
        raise ValueError("must be at most 1")
    return given / 2


KEYS = (
    Key("kind", choices=("loud", "quiet"), is_required=True),
    Key("level", ValueType.WHOLE, default=5, example=3, within=range(1, 10)),
    Key("rate", ValueType.WHOLE, default=9600, choices=(9600, 115200)),
    Key("share", ValueType.NUMBER, default=0.5, parse=_half),
    Key("is_on", ValueType.FLAG, default=False, only=("loud",)),
    Key("player", ValueType.COMMAND, default=("aplay",), example=("aplay", "-q")),
    Key("hosts", ValueType.WORDS, default=()),
    Key("folder", ValueType.PATH, default=None),
    Key("secret", default=None, choices=("x",), is_secret=True),
)


def read(table: object) -> dict[str, Any]:
    return read_table("siren", KEYS, table)


def refusal(table: object) -> BadSetting:
    with pytest.raises(BadSetting) as refused:
        read(table)
    return refused.value


def test_a_key_that_a_table_leaves_out_has_its_default() -> None:
    assert read({"kind": "loud"}) == {
        "kind": "loud",
        "level": 5,
        "rate": 9600,
        "share": 0.5,
        "is_on": False,
        "player": ("aplay",),
        "hosts": (),
        "folder": None,
        "secret": None,
    }


def test_values_come_as_the_program_uses_them() -> None:
    table = {"kind": "quiet", "level": 9, "share": 1, "player": ["a", "b"], "hosts": [], "folder": "/x"}

    assert read(table) == {
        "kind": "quiet",
        "level": 9,
        "rate": 9600,
        "share": 0.5,
        "player": ("a", "b"),
        "hosts": (),
        "folder": Path("/x"),
        "secret": None,
    }


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({}, "siren: kind is missing", "Known: loud, quiet."),
        ({"kind": "lod"}, "siren: kind ('lod') must be loud or quiet", "Did you mean 'loud'?"),
        (
            {"kind": ["loud"]},
            "siren: kind (['loud']) must be loud or quiet, not a list",
            "Did you mean 'loud'?",
        ),
        (
            {"kind": "loud", "Level-": 1},
            "siren of kind loud has no setting 'Level-'",
            "Did you mean 'level'?",
        ),
        ({"kind": "quiet", "is_on": True}, "siren of kind quiet has no setting 'is_on'", "Known: "),
        (
            {"kind": "loud", "level": 10},
            "level (10) must be a whole number from 1 to 9",
            "For example: level = 3",
        ),
        ({"kind": "loud", "level": True}, "must be a whole number from 1 to 9, not true or false", ""),
        ({"kind": "loud", "level": "3"}, "must be a whole number from 1 to 9, not text", ""),
        ({"kind": "loud", "rate": 300}, "rate (300) must be 9600 or 115200", "Known: 115200, 9600."),
        ({"kind": "loud", "share": 1.5}, "share (1.5) must be at most 1", ""),
        ({"kind": "loud", "is_on": 1}, "is_on (1) must be true or false, not a number", ""),
        ({"kind": "loud", "player": []}, "must be a program and its arguments", 'player = ["aplay", "-q"]'),
        ({"kind": "loud", "hosts": [""]}, "hosts (['']) must be a list of texts", ""),
        ({"kind": "loud", "folder": ""}, "folder ('') is empty", ""),
        ({"kind": "loud", "hosts": ["k\udcff"]}, "has bytes that are not UTF-8", "Write it in UTF-8."),
        ({"kind": "loud", "secret": "hush"}, "secret must be x", ""),
        ("off", "siren must be a table, not text", "below a line [siren]"),
    ],
)
def test_a_refusal_names_the_key_and_says_what_it_may_hold(given: object, message: str, hint: str) -> None:
    problem = refusal(given)

    assert message in str(problem)
    assert hint in problem.hint


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in str(refusal({"kind": "loud", "secret": "hush"}))


def test_a_name_is_found_in_spite_of_case_and_hyphen() -> None:
    assert nearest("CLIENT-IDD", ["client_id", "scope"]) == "Did you mean 'client_id'?"
    assert (
        nearest("DEVICE_AUTH_CLINT_ID", ["DEVICE_AUTH_CLIENT_ID"]) == "Did you mean 'DEVICE_AUTH_CLIENT_ID'?"
    )


def test_an_example_is_toml() -> None:
    assert as_toml(["a", 1, True, 0.5]) == '["a", 1, true, 0.5]'
