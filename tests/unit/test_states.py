import pytest

from device_auth.core.states import CHECKING, FOR_NOW, STATES, TROUBLES, Phrase, StateWord, Trouble


def is_a_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith(".") and len(text) > 10


def test_every_state_has_something_to_say() -> None:
    assert set(STATES) == set(StateWord)


def test_every_trouble_has_something_to_say() -> None:
    assert set(TROUBLES) == set(Trouble)


@pytest.mark.parametrize("phrase", [*STATES.values(), *TROUBLES.values(), CHECKING, FOR_NOW])
def test_what_is_said_is_one_sentence(phrase: Phrase) -> None:
    assert is_a_sentence(phrase.sentence)


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble is not Trouble.NONE])
def test_every_trouble_has_a_next_step(trouble: Trouble) -> None:
    assert len(TROUBLES[trouble].next_step) > 10


def test_no_trouble_needs_no_next_step() -> None:
    assert TROUBLES[Trouble.NONE].next_step == ""


def test_no_two_troubles_sound_alike() -> None:
    assert len({phrase.sentence for phrase in TROUBLES.values()}) == len(Trouble)


@pytest.mark.parametrize("word", [*StateWord, *Trouble])
def test_words_are_lower_case_and_hyphenated(word: str) -> None:
    assert word.replace("-", "").isalpha()
    assert word == word.lower()
