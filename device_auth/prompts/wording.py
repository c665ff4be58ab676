"""What the speaker says, in the owner's language: phrases are data, how a code is told is decided here.

A user code is told so that it cannot be misheard: character by character with pauses, twice, then each letter
with a spelling word and each figure called a figure, for O and 0, I and 1, B and 8 sound alike on a small speaker.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from re import findall, fullmatch, split, sub
from typing import Final

from hardware.voice import Utterance

LANGUAGES: Final = ("en", "de", "fr", "es", "it", "pt")
DEFAULT_LANGUAGE: Final = "en"

_AFTER_CHARACTER: Final = 0.7
"""Seconds: time to write one character down."""
_AFTER_SPELLED: Final = 1.0
_AFTER_SENTENCE: Final = 0.5
_AFTER_CODE: Final = 1.5
_SPELL_UP_TO: Final = 2
"""Letters of a word in an address that are spelled: ``us`` and ``de`` are countries there, not words."""
_VOWELS: Final = frozenset("aeiouyAEIOUY")
"""A word without any, such as ``www``, is spelled too."""


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """The language that a locale gets, and whether it is its own: where not, say so in the log.

    ``voice`` is the tag for the voice: the locale itself where its language is known, so that it keeps its region.
    """

    language: str
    voice: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class TroublePhrases:
    """What is wrong, and what to do about it."""

    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Wording:
    """One language: every phrase, how to tell characters apart, and the words of the panel and of the page."""

    voice: str
    states: Mapping[str, str]
    moments: Mapping[str, str]
    troubles: Mapping[str, TroublePhrases]
    short: Mapping[str, str]
    page: Mapping[str, str]
    spelling: Mapping[str, str]
    words: Mapping[str, str]
    letters: Mapping[str, str]
    digits: Mapping[str, str]
    symbols: Mapping[str, str]


def choose_language(locale: str) -> LanguageChoice:
    """Choose the language for a locale such as ``en-US``, ``de_DE.UTF-8`` or ``fr``; English for any other."""
    tag = split(r"[.@]", locale)[0].replace("_", "-")
    language = tag.partition("-")[0].lower()
    if language not in LANGUAGES or not fullmatch(r"[A-Za-z]+(-[A-Za-z0-9]{2,8})*", tag):
        return LanguageChoice(DEFAULT_LANGUAGE, read_wording(DEFAULT_LANGUAGE).voice, is_known=False)
    return LanguageChoice(language, tag if "-" in tag else read_wording(language).voice, is_known=True)


def wording_for(locale: str) -> Wording:
    """Read the wording for a locale, to be spoken by a voice of its region."""
    choice = choose_language(locale)
    return replace(read_wording(choice.language), voice=choice.voice)


def read_wording(language: str) -> Wording:
    """Read one of ``LANGUAGES`` from the data that ships."""
    text = (files("device_auth.prompts") / "phrases" / f"{language}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    troubles = {name: TroublePhrases(**phrases) for name, phrases in table.pop("troubles").items()}
    return Wording(troubles=troubles, **table)


def tell_state(wording: Wording, state: str) -> tuple[Utterance, ...]:
    """Return what state the speaker is in."""
    return (Utterance(wording.states[state], wording.voice, name=f"state-{state}"),)


def tell_moment(wording: Wording, moment: str) -> tuple[Utterance, ...]:
    """Return what has just happened, or what is to be done now."""
    return (Utterance(wording.moments[moment], wording.voice, _AFTER_SENTENCE, f"moment-{moment}"),)


def tell_trouble(wording: Wording, trouble: str) -> tuple[Utterance, ...]:
    """Return what is wrong, and what to do about it."""
    phrases = wording.troubles[trouble]
    return (
        Utterance(phrases.sentence, wording.voice, _AFTER_SENTENCE, f"trouble-{trouble}"),
        Utterance(phrases.next_step, wording.voice, name=f"trouble-{trouble}-next"),
    )


def tell_waiting(wording: Wording, user_code: str, address: str) -> tuple[Utterance, ...]:
    """Return where to go and which code to enter there."""
    return (
        *tell_moment(wording, "open-address"),
        *tell_address(wording, address),
        *tell_moment(wording, "enter-code"),
        *tell_code(wording, user_code),
    )


def tell_code(wording: Wording, user_code: str) -> tuple[Utterance, ...]:
    """Say a user code: character by character, once more, then with spelling words."""
    plain = _with_last_pause(tuple(_plain(wording, character) for character in user_code))
    spelled = _with_last_pause(tuple(_spelled(wording, character) for character in user_code))
    return (
        *plain,
        *tell_moment(wording, "once-more"),
        *plain,
        *tell_moment(wording, "spelled-out"),
        *spelled,
    )


def tell_address(wording: Wording, address: str) -> tuple[Utterance, ...]:
    """Say an address as people do: words as words, signs by name, countries letter by letter, no scheme."""
    said = " ".join(_address_words(wording, sub(r"^https?://", "", address)))
    return (Utterance(said, wording.voice, _AFTER_CODE, "address"),)


def _address_words(wording: Wording, address: str) -> Iterator[str]:
    for part in findall(r"[^\W\d_]+|.", address):
        if len(part) > _SPELL_UP_TO and _VOWELS & set(part):
            yield part
        else:
            yield from (_name_of(wording, character) for character in part)


def _plain(wording: Wording, character: str) -> Utterance:
    return Utterance(
        _name_of(wording, character), wording.voice, _AFTER_CHARACTER, _recording("plain", character)
    )


def _spelled(wording: Wording, character: str) -> Utterance:
    name = _name_of(wording, character)
    if word := wording.words.get(character.upper()):
        name = wording.spelling["letter"].format(letter=name, word=word)
    elif character in wording.digits:
        name = wording.spelling["digit"].format(digit=name)
    return Utterance(name, wording.voice, _AFTER_SPELLED, _recording("spelled", character))


def _name_of(wording: Wording, character: str) -> str:
    """Return what a character is called: a letter mostly by itself, in upper case; one of another script as it is."""
    upper = character.upper()
    for names in (wording.letters, wording.digits, wording.symbols):
        if upper in names:
            return names[upper]
    return upper


def _recording(how: str, character: str) -> str:
    """Name the recording of a character; a sign, which no file name should hold, by its number in Unicode."""
    upper = character.upper()
    return f"{how}-{upper if upper.isalnum() and upper.isascii() else f'u{ord(character):04x}'}"


def _with_last_pause(utterances: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    return (*utterances[:-1], *(replace(last, pause=_AFTER_CODE) for last in utterances[-1:]))
