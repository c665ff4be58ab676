"""What the speaker says in its languages: complete, and told so that no character is taken for another."""

import re
import shutil
import string
import subprocess
import tomllib
import unicodedata
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.wording import (
    DEFAULT_LANGUAGE,
    EXTRA_PACKAGE,
    LANGUAGES,
    PHRASES,
    VARIANTS,
    Wording,
    address_words,
    choose_language,
    code_words,
    linked_words,
    note_on_language,
    notice_words,
    read_wording,
    state_words,
    trouble_words,
    waiting_words,
    wording_for,
    written_phrase,
)
from hardware.voice import Utterance
from tests.command import ROOT

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
    "identify",
    "linked-to",
    "for-now",
    "checking-again",
    "just-unlinked",
    "confirm-unlink",
    "confirm-reset",
    "held-unlink",
    "held-reset",
    "just-reset",
    "cancelled",
    "test",
}
PAGE = {
    "title": set[str](),
    "press": set[str](),
    "what-for": set[str](),
    "which": set[str](),
    "identify": set[str](),
    "identified": set[str](),
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
    "other-language": set[str](),
}
"""Each phrase of the page, and the places in it that are filled in."""

SCRIPTS = {"ar": "ARABIC", "hi": "DEVANAGARI", "ja": "HIRAGANA|KATAKANA|CJK"}
"""Languages of another script: their words for a letter only sound like it, and no panel draws them."""
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
        "command": {"only-here", "still-listed", "remove-lwa", "remove-rfc8628"},
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


@pytest.fixture(params=[*LANGUAGES, *VARIANTS])
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
    for one, other in combinations(LANGUAGES, 2):  # a variant has most of its language's
        assert set(read_wording(one).states.values()).isdisjoint(read_wording(other).states.values())


@pytest.mark.parametrize("language", sorted({*LANGUAGES, *VARIANTS} - SCRIPTS.keys()))
def test_a_spelling_word_begins_with_its_letter(language: str) -> None:
    for letter, word in read_wording(language).words.items():
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
    assert wording.letters.get(pair[0], pair[0]) in letter.text
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
        ("en-GB", "en-GB", "en-GB"),
        ("en-IN", "en-GB", "en-IN"),
        ("en-CA", "en", "en-CA"),
        ("de_AT.UTF-8", "de", "de-AT"),
        ("FR", "fr", "fr-FR"),
        ("es-419", "es-419", "es-419"),
        ("es_MX.UTF-8", "es-419", "es-MX"),
        ("es-US", "es-419", "es-US"),
        ("es-ES", "es", "es-ES"),
        ("fr-CA", "fr-CA", "fr-CA"),
        ("fr-CH", "fr", "fr-CH"),
        ("ja-JP", "ja", "ja-JP"),
        ("hi", "hi", "hi-IN"),
        ("ar_EG", "ar", "ar-EG"),
        ("nl-BE", "nl", "nl-BE"),
        ("pt-PT", "pt-PT", "pt-PT"),
        ("pt-AO", "pt-PT", "pt-AO"),
        ("it_IT@euro", "it", "it-IT"),
        (" de-AT , en-US", "de", "de-AT"),
        ("pt", "pt", "pt-BR"),
    ],
)
def test_a_locale_chooses_the_language_and_keeps_its_region(locale: str, language: str, voice: str) -> None:
    choice = choose_language(locale)

    assert (choice.language, choice.voice, choice.is_known) == (language, voice, True)


@pytest.mark.parametrize("locale", ["", "C", "C.UTF-8", "sv-SE", "eng", "en-", "en -x"])
def test_any_other_locale_is_english_and_known_to_be_a_stand_in(locale: str) -> None:
    choice = choose_language(locale)

    assert (choice.language, choice.voice, choice.is_known) == ("en", "en-US", False)
    assert choice.missing == ""
    assert note_on_language(locale).endswith("there are no words for it, so the speaker speaks English.")


def test_a_table_that_is_not_installed_is_named_and_the_nearest_is_taken(tmp_path: Path) -> None:
    for language in ("en", "pt"):
        shutil.copy(str(PHRASES / f"{language}.toml"), tmp_path)
    japan, portugal, brazil = (choose_language(locale, tmp_path) for locale in ("ja-JP", "pt-PT", "pt-BR"))

    assert (japan.language, japan.voice, japan.is_known, japan.missing) == ("en", "en-US", False, "ja")
    assert (portugal.language, portugal.is_known, portugal.missing) == ("pt", True, "pt-PT")
    assert (brazil.language, brazil.missing) == ("pt", "")
    assert [note_on_language(locale, tmp_path) for locale in ("ja-JP", "pt-PT", "pt-BR")] == [
        "locale ja-JP: its words are not installed (device-auth-l10n), so the speaker speaks English.",
        "locale pt-PT: its words are not installed (device-auth-l10n), so the speaker speaks pt.",
        "",
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_only_what_differs_from_its_language(variant: str) -> None:
    own = tomllib.loads((PHRASES / f"{variant}.toml").read_text(encoding="utf-8"))
    language = tomllib.loads((PHRASES / f"{variant[:2]}.toml").read_text(encoding="utf-8"))

    assert set(leaves(own)) <= set(leaves(language))
    assert [name for name, phrase in leaves(own).items() if leaves(language)[name] == phrase] == []


def test_a_phrase_that_leads_to_something_ends_with_the_colon_of_its_language(wording: Wording) -> None:
    leading = (wording.page["enter"], wording.page["open-here"], wording.command["only-here"])

    assert len({re.search(r"\s?[:：]$", phrase)[0] for phrase in leading}) == 1  # type: ignore[index]


def test_a_country_has_one_variant_at_most() -> None:
    countries = [f"{name[:2]}-{region}" for name, regions in VARIANTS.items() for region in regions.split()]

    assert len(set(countries)) == len(countries)
    assert {name[:2] for name in VARIANTS} <= set(LANGUAGES)


def test_every_table_that_ships_is_one_of_these() -> None:
    shipped = {path.name.removesuffix(".toml") for path in PHRASES.iterdir() if path.name.endswith(".toml")}

    assert shipped == {*LANGUAGES, *VARIANTS}


def test_the_package_of_the_languages_has_each_but_english() -> None:
    packed = (ROOT / "debian" / f"{EXTRA_PACKAGE}.install").read_text("utf-8").split()

    assert {Path(path).stem for path in packed} == {
        name for name in (*LANGUAGES, *VARIANTS) if name[:2] != DEFAULT_LANGUAGE
    }


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_language_keeps_to_its_script(language: str) -> None:
    wording = read_wording(language)
    texts = [*wording.words.values(), *wording.digits.values(), *wording.symbols.values()]
    texts += re.sub(r"\{\w+\}|QR", "", every_phrase(replace(wording, short={}))).splitlines()
    strange = {
        character
        for character in "".join(texts)
        if character.isalpha() and not re.match(SCRIPTS[language], unicodedata.name(character))
    }

    assert strange == set()
    assert read_wording(language).short == read_wording(DEFAULT_LANGUAGE).short


def test_only_arabic_is_written_from_right_to_left(wording: Wording) -> None:
    assert wording.direction == ("rtl" if wording.voice.startswith("ar") else "ltr")


def test_what_a_japanese_voice_speaks_is_in_kana_and_its_particles_as_they_sound() -> None:
    # espeak-ng says "Chinese letter" for each kanji, and "ha" for the particle
    wording = read_wording("ja")
    told = "\n".join(utterance.reading for utterance in every_utterance(wording))

    assert re.findall(r"[\u3400-\u9fff]", told) == []
    assert re.findall(r".{4}は[、わ]|(?:スピーカー|には|では|ばあい|コード)は", told) == []


def test_an_arabic_voice_is_given_the_vowels_that_people_do_not_write() -> None:
    (told,) = state_words(read_wording("ar"), "linked")

    assert told.text == "مكبر الصوت هذا مرتبط بحسابك."
    assert told.reading == "مُكَبِّر الصَوْت هاذا مُرْتَبِط بِحِسابِك."


@pytest.mark.parametrize("language", ["ar", "ja"])
def test_every_reading_is_of_a_word_that_is_said(language: str) -> None:
    wording = read_wording(language)
    said = "\n".join(utterance.text for utterance in every_utterance(wording))

    assert [word for word in wording.readings if word not in said] == []


@pytest.mark.parametrize(
    ("locale", "six"), [("pt-BR", "meia"), ("pt_BR.UTF-8", "meia"), ("pt", "meia"), ("pt-PT", "seis")]
)
def test_a_country_may_have_words_of_its_own(locale: str, six: str) -> None:
    wording = wording_for(locale)

    assert (wording.digits["6"], wording.digits["7"]) == (six, "sete")


@pytest.mark.parametrize(
    ("state", "trouble", "hint", "sentence", "next_step"),
    [
        ("unlinked", "none", "", "mit keinem Konto verknüpft.", "device-auth link"),
        ("waiting", "none", "", "zustimmen.", ""),
        ("unlinked", "expired", "", "abgelaufen.", "Drücken Sie die Taste für einen neuen Code."),
        (
            "linked",
            "misconfigured",
            "Run: device-auth config check",
            "eingerichtet.",
            "zu prüfen. · device-auth config check",
        ),
        ("unlinked", "copied", "", "anderen Lautsprecher.", "zu verknüpfen. · device-auth link"),
        ("linked", "clock-not-set", "", "gestellt.", "· timedatectl set-ntp true"),
        (
            "linked",
            "no-network",
            "The proxy does not answer.",
            "Ich habe kein Netz.",
            "The proxy does not answer.",
        ),
    ],
)
def test_at_the_command_line_commands_and_unusual_hints_stay(
    state: str, trouble: str, hint: str, sentence: str, next_step: str
) -> None:
    phrase = written_phrase(read_wording("de"), StateWord(state), Trouble(trouble), hint)

    assert sentence in phrase.sentence
    assert phrase.next_step.endswith(next_step)
    assert bool(phrase.next_step) == bool(next_step)


def test_at_the_command_line_a_doubt_and_a_check_are_told_in_every_language(wording: Wording) -> None:
    linked, well = StateWord.LINKED, Trouble.NONE
    doubtful = written_phrase(wording, linked, well, "/run/x is in memory.", lasts=False)
    checking = written_phrase(wording, linked, Trouble.PROVIDER_UNAVAILABLE, is_checking=True)

    assert doubtful == (f"{wording.states['linked']} {wording.moments['for-now']}", "/run/x is in memory.")
    assert checking == (wording.moments["checking-again"], "")


def leaves(table: dict[str, Any], path: str = "") -> dict[str, str]:
    """Return each phrase of a table with its place, but not whom it speaks with."""
    found: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{name}.")
        elif name != "voice":
            found[path + name] = value
    return found


def every_utterance(wording: Wording) -> list[Utterance]:
    told = [utterance for state in STATES for utterance in state_words(wording, state)]
    told += [utterance for moment in MOMENTS for utterance in notice_words(wording, moment)]
    told += [utterance for trouble in TROUBLES for utterance in trouble_words(wording, trouble)]
    told += code_words(wording, f"{ALPHABET}-_.")
    told += address_words(wording, "https://amazon.com/us/code?cbl-code=A&b:c")
    return [*told, *linked_words(wording, "Ann", is_new=True, lasts=False)]


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
