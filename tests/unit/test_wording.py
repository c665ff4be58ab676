"""What the speaker says in six languages: complete, and told so that no character is taken for another."""

import re
import shutil
import string
import subprocess
import unicodedata
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import pytest

from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.wording import (
    LANGUAGES,
    Wording,
    address_words,
    choose_language,
    code_words,
    notice_words,
    read_wording,
    state_words,
    trouble_words,
    waiting_words,
    wording_for,
)

STATES = {str(word) for word in StateWord}
TROUBLES = {str(trouble) for trouble in Trouble} - {Trouble.NONE}
MOMENTS = {
    "open-address",
    "enter-code",
    "once-more",
    "spelled-out",
    "code-again",
    "new-code",
    "just-linked",
    "linked-to",
    "for-now",
    "checking-again",
    "just-unlinked",
    "confirm-unlink",
    "confirm-reset",
    "just-reset",
    "cancelled",
    "press-remembered",
    "cannot-tell-code",
    "test",
}
PAGE = {
    "title": set[str](),
    "press": set[str](),
    "lead": set[str](),
    "compare": set[str](),
    "enter": set[str](),
    "valid": {"time"},
    "approve": {"host"},
    "withheld": set[str](),
    "come-back": set[str](),
    "second-phone": set[str](),
    "qr": set[str](),
    "by-hand": {"address"},
    "account": {"account"},
    "undo": set[str](),
    "may-close": set[str](),
    "lost": set[str](),
    "not-this-name": set[str](),
    "not-this-network": set[str](),
    "join-network": set[str](),
    "not-here": set[str](),
    "too-many": set[str](),
    "looks-again": set[str](),
    "not-answered": set[str](),
    "open-here": set[str](),
}
"""Each phrase of the page, and the places in it that are filled in."""

ALPHABET = string.ascii_uppercase + string.digits
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def gaps(wording: Wording) -> set[str]:
    """Name everything that a language has to say and does not, or says with nothing."""
    asked = {
        "states": STATES,
        "moments": MOMENTS,
        "troubles": TROUBLES,
        "short": STATES | TROUBLES | {"for-now"},
        "page": set(PAGE),
        "words": set(string.ascii_uppercase),
        "digits": set(string.digits),
        "symbols": set("./-_:?=&"),
        "spelling": {"letter", "digit"},
    }
    found = set()
    for table, names in asked.items():
        said = getattr(wording, table)
        found |= {f"{table}.{name}" for name in names ^ said.keys()}
        for name, phrase in said.items():
            texts = [phrase] if isinstance(phrase, str) else asdict(phrase).values()
            found |= {f"{table}.{name}" for text in texts if not text.strip()}
    return found


@pytest.fixture(params=LANGUAGES)
def wording(request: pytest.FixtureRequest) -> Wording:
    return read_wording(request.param)


def test_every_language_says_everything(wording: Wording) -> None:
    assert gaps(wording) == set()


@pytest.mark.parametrize(
    "table",
    ["states", "moments", "troubles", "short", "page", "words", "digits", "symbols", "spelling"],
)
def test_removed_phrases_and_spelling_words_are_found_missing(wording: Wording, table: str) -> None:
    first, *others = getattr(wording, table)
    left: Any = {key: value for key, value in getattr(wording, table).items() if key != first}

    assert gaps(replace(wording, **{table: left})) == {f"{table}.{first}"}
    left.clear()
    assert gaps(replace(wording, **{table: left})) == {f"{table}.{name}" for name in (first, *others)}


def test_a_phrase_of_the_page_has_the_places_that_are_filled_in(wording: Wording) -> None:
    for name, places in PAGE.items():
        found = {
            place for _, place, _, _ in string.Formatter().parse(wording.page[name]) if place is not None
        }

        assert (name, found) == (name, places)


def test_an_empty_next_step_is_found_missing(wording: Wording) -> None:
    troubles = {**wording.troubles, "denied": replace(wording.troubles["denied"], next_step=" ")}

    assert gaps(replace(wording, troubles=troubles)) == {"troubles.denied"}


def test_no_phrase_is_the_same_as_another(wording: Wording) -> None:
    phrases = [*wording.states.values(), *wording.moments.values()]
    phrases += [trouble.sentence for trouble in wording.troubles.values()]
    phrases += wording.page.values()

    assert len(set(phrases)) == len(phrases)


def test_languages_share_no_sentence() -> None:
    for one, other in combinations(LANGUAGES, 2):
        assert set(read_wording(one).states.values()).isdisjoint(read_wording(other).states.values())


def test_a_spelling_word_begins_with_its_letter(wording: Wording) -> None:
    for letter, word in wording.words.items():
        assert unicodedata.normalize("NFD", word)[0] == letter


def test_all_characters_of_a_code_are_told_apart_in_both_ways(wording: Wording) -> None:
    told = code_words(wording, ALPHABET)
    plain, spelled = told[: len(ALPHABET)], told[-len(ALPHABET) :]

    assert len({utterance.text.casefold() for utterance in plain}) == len(ALPHABET)
    assert len({utterance.text.casefold() for utterance in spelled}) == len(ALPHABET)


@pytest.mark.slow
@needs_espeak
def test_all_characters_of_a_code_sound_different_from_each_other(wording: Wording) -> None:
    names = [utterance.text for utterance in code_words(wording, ALPHABET)[: len(ALPHABET)]]
    sounds = {}
    for character, name in zip(ALPHABET, names, strict=True):
        command = ["espeak-ng", "-v", wording.voice, "-q", "-x", "--stdin"]
        sounds[character] = subprocess.run(
            command, input=name, capture_output=True, text=True, check=True
        ).stdout

    alike = [pair for pair in combinations(ALPHABET, 2) if sounds[pair[0]].strip() == sounds[pair[1]].strip()]
    assert alike == []


@pytest.mark.parametrize("pair", ["O0", "I1", "B8"])
def test_a_figure_is_called_a_figure_and_a_letter_has_its_word(wording: Wording, pair: str) -> None:
    letter, figure = code_words(wording, pair)[-2:]

    assert wording.words[pair[0]] in letter.text
    assert letter.text.startswith(wording.letters.get(pair[0], pair[0]))
    assert figure.text == wording.spelling["digit"].format(digit=wording.digits[pair[1]])


def test_a_code_is_told_twice_and_then_with_spelling_words() -> None:
    told = [utterance.text for utterance in code_words(read_wording("en"), "F8-u")]

    assert told == [
        *("F", "eight", "dash", "U"),
        "Once more.",
        *("F", "eight", "dash", "U"),
        "And now with a word for each letter.",
        *("F, as in Foxtrot", "the digit eight", "dash", "U, as in Uniform"),
    ]


def test_every_character_is_followed_by_time_to_write_it_down(wording: Wording) -> None:
    pauses = [utterance.pause for utterance in code_words(wording, "FUP8UN")]

    assert min(pauses) >= 0.5
    assert pauses[5] == pauses[-1] == max(pauses)


def test_a_character_that_no_table_knows_is_said_as_it_is(wording: Wording) -> None:
    assert code_words(wording, "Ж")[0].text == "Ж"


def test_an_empty_code_says_only_the_sentences_around_it(wording: Wording) -> None:
    assert code_words(wording, "") == (
        *notice_words(wording, "once-more"),
        *notice_words(wording, "spelled-out"),
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://amazon.com/us/code", "amazon dot com slash U S slash code"),
        ("https://www.amazon.de/a-1", "W W W dot amazon dot D E slash A dash one"),
        ("http://127.0.0.1:80/", "one two seven dot zero dot zero dot one colon eight zero slash"),
    ],
)
def test_an_address_is_said_as_people_say_it(address: str, said: str) -> None:
    assert address_words(read_wording("en"), address)[0].text == said


def test_waiting_says_first_where_to_go_and_then_the_code(wording: Wording) -> None:
    told = waiting_words(wording, "F8", "https://amazon.com/us/code")

    assert told[0] == notice_words(wording, "open-address")[0]
    assert told[1] == address_words(wording, "https://amazon.com/us/code")[0]
    assert told[2] == notice_words(wording, "enter-code")[0]
    assert told[3:] == code_words(wording, "F8")


def test_a_trouble_is_said_with_its_next_step(wording: Wording) -> None:
    sentence, next_step = trouble_words(wording, "no-network")

    assert (sentence.text, next_step.text) == (
        wording.troubles["no-network"].sentence,
        wording.troubles["no-network"].next_step,
    )


def test_every_recording_has_a_name_of_its_own_that_a_file_can_have(wording: Wording) -> None:
    told = [utterance for state in STATES for utterance in state_words(wording, state)]
    told += [utterance for moment in MOMENTS for utterance in notice_words(wording, moment)]
    told += [utterance for trouble in TROUBLES for utterance in trouble_words(wording, trouble)]
    told += set(code_words(wording, ALPHABET + "-/.")) - set(told)
    told += address_words(wording, "https://amazon.com/us/code")
    by_name = {utterance.name: utterance.text for utterance in told}

    assert all(name.replace("-", "").isalnum() and name.isascii() for name in by_name)
    assert {by_name[utterance.name] == utterance.text for utterance in told} == {True}


@pytest.mark.parametrize(
    ("locale", "language", "voice"),
    [
        ("en-US", "en", "en-US"),
        ("en-GB", "en", "en-GB"),
        ("de_AT.UTF-8", "de", "de-AT"),
        ("FR", "fr", "fr-FR"),
        ("es-419", "es", "es-419"),
        ("it_IT@euro", "it", "it-IT"),
        ("pt", "pt", "pt-BR"),
    ],
)
def test_a_locale_chooses_the_language_and_keeps_its_region(locale: str, language: str, voice: str) -> None:
    choice = choose_language(locale)

    assert (choice.language, choice.voice, choice.is_known) == (language, voice, True)


@pytest.mark.parametrize("locale", ["", "C", "C.UTF-8", "ja-JP", "eng", "en-", "en -x"])
def test_any_other_locale_is_english_and_known_to_be_a_stand_in(locale: str) -> None:
    choice = choose_language(locale)

    assert (choice.language, choice.voice, choice.is_known) == ("en", "en-US", False)


@pytest.mark.parametrize(
    ("locale", "six"), [("pt-BR", "meia"), ("pt_BR.UTF-8", "meia"), ("pt", "meia"), ("pt-PT", "seis")]
)
def test_a_country_may_have_words_of_its_own(locale: str, six: str) -> None:
    wording = wording_for(locale)

    assert (wording.digits["6"], wording.digits["7"]) == (six, "sete")


def every_phrase(wording: Wording) -> str:
    tables = (wording.states, wording.moments, wording.short, wording.page)
    told = [phrase for table in tables for phrase in table.values()]
    told += [text for trouble in wording.troubles.values() for text in asdict(trouble).values()]
    return "\n".join(told)


@pytest.mark.parametrize(
    ("language", "others"),
    [
        ("de", r"du|dein\w*|dir|dich|kopple\w*|Handy"),
        ("es", r"tú|tu|tus|te|ti|vosotros|enlace|permiso|parlante|móvil"),
        ("fr", r"tu|ton|ta|tes|toi|liens?|entrez|entrez-y|haut-parleur"),
        ("it", r"Lei|voi|vostr\w+|legam\w+|cellulare"),
        ("pt", r"tu|teu|tua|telefone|telemóvel|ecrã|palavra-passe|ligação|carregue"),
    ],
)
def test_each_language_has_one_form_of_address_and_one_word_for_a_thing(language: str, others: str) -> None:
    # as CONTRIBUTING has them
    assert re.findall(rf"(?i)(?<!\w)(?:{others})(?!\w)", every_phrase(read_wording(language))) == []


def test_what_is_to_be_done_is_no_state() -> None:
    orders = {"de": "stellen", "es": "iniciar", "fr": "régler", "it": "impostare", "pt": "entrar"}
    found = {
        language: [text for text in read_wording(language).short.values() if text.endswith(order)]
        for language, order in orders.items()
    }

    assert not any(found.values())


def test_what_is_said_carries_the_region_of_the_locale() -> None:
    assert {utterance.language for utterance in code_words(wording_for("es-MX"), "F8")} == {"es-MX"}


def test_neither_a_code_nor_its_recordings_are_printed(wording: Wording) -> None:
    assert "FUP" not in "".join(map(repr, code_words(wording, "F")))
    assert "Foxtrot" not in repr(code_words(read_wording("en"), "F"))
    assert "spelled-F" not in repr(code_words(wording, "F"))
