import copy
import dataclasses
import pickle
from collections.abc import Callable

import pytest

from device_auth.core import ports
from device_auth.core.models import NEVER, Secret, View, WireRequest, later
from device_auth.core.states import StateWord, Trouble
from tests.values import CANARY, make_grant, make_held_link, make_pair, make_response, moment, seconds


def test_later_adds_a_length_to_a_moment() -> None:
    assert later(moment(10), seconds(5)) == moment(15)


def test_never_stays_never() -> None:
    assert later(NEVER, seconds(5)) == NEVER


def test_a_secret_gives_itself_away_only_when_asked() -> None:
    assert Secret("open sesame").reveal() == "open sesame"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "%s".__mod__, ascii])
def test_a_secret_prints_as_nothing(show: Callable[[object], str]) -> None:
    assert CANARY not in show(Secret(CANARY))


def test_secrets_with_the_same_text_are_equal() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))


def test_secrets_with_other_texts_differ() -> None:
    assert Secret("a") != Secret("b")


def test_a_secret_is_not_its_text() -> None:
    assert Secret("a") != "a"


def test_secrets_of_any_characters_can_be_compared() -> None:
    assert Secret("\ud800é") != Secret("é")


@pytest.mark.parametrize("deed", [pickle.dumps, copy.deepcopy, copy.copy])
def test_a_secret_is_not_copied_out(deed: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        deed(Secret("a"))


@pytest.mark.parametrize(
    "value",
    [
        make_pair(),
        make_grant(),
        make_held_link(),
        dataclasses.replace(make_held_link(), replaces=make_held_link()),
        WireRequest("POST", "https://id.example/token", {}, CANARY.encode()),
        make_response({"access_token": CANARY}, headers={"set-cookie": CANARY}),
        View(StateWord.WAITING, Trouble.NONE, code_pair=make_pair()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_secret_is_seen_in_a_value(value: object) -> None:
    assert CANARY not in repr(value)


def test_the_doors_promise_and_do_nothing() -> None:
    doors = [
        value
        for value in vars(ports).values()
        if isinstance(value, type) and value.__module__ == ports.__name__
    ]

    assert doors
    assert all(getattr(door, "_is_protocol", False) for door in doors)
