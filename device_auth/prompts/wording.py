"""The words of the speaker in the owner's language: phrases are data, the spelling of a code is here.

A user code is spoken so that it cannot be misheard: character by character with pauses, twice, then each letter
with a spelling word and each digit called a digit, because O and 0, I and 1, B and 8 sound alike on a small speaker.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from re import findall, fullmatch, split, sub
from typing import Final

from device_auth.core.values import dataclass, replace
from hardware.voice import Utterance

LANGUAGES: Final = ("en", "de", "fr", "es", "it", "pt")
DEFAULT_LANGUAGE: Final = "en"

_AFTER_CHARACTER: Final = 0.7
"""Seconds: time to write one character."""
_AFTER_SPELLED: Final = 1.0
_AFTER_SENTENCE: Final = 0.5
_AFTER_CODE: Final = 1.5
_SPELL_UP_TO: Final = 2
"""A word of an address with no more letters is spelled: ``us`` and ``de`` are countries there, not words."""
_VOWELS: Final = frozenset("aeiouyAEIOUY")
"""A word without a vowel, such as ``www``, is spelled too."""


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """The language for a locale; ``is_known`` is False where it is only the default.

    ``voice`` is the tag for the voice: the locale itself where its language is known, to keep its region.
    """

    language: str
    voice: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class TroublePhrases:
    """The phrases of a trouble: what is wrong, and what to do."""

    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Wording:
    """One language: every phrase, the spelling, and the words of the panel and of the page."""

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
    """Read the wording for a locale, with the voice and the words of its region."""
    choice = choose_language(locale)
    region = choice.voice.rpartition("-")[2].upper()
    return replace(read_wording(choice.language, region), voice=choice.voice)


def read_wording(language: str, region: str = "") -> Wording:
    """Read the wording of one of ``LANGUAGES``, with the words of a region in place of the language's own."""
    text = (files("device_auth.prompts") / "phrases" / f"{language}.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    for name, phrases in table.pop("regions", {}).get(region, {}).items():
        table[name] |= phrases
    troubles = {name: TroublePhrases(**phrases) for name, phrases in table.pop("troubles").items()}
    return Wording(troubles=troubles, **table)


def state_words(wording: Wording, state: str) -> tuple[Utterance, ...]:
    """Return the words for a state."""
    return (Utterance(wording.states[state], wording.voice, name=f"state-{state}"),)


def notice_words(wording: Wording, notice: str) -> tuple[Utterance, ...]:
    """Return the words for an event, or for the next thing to do."""
    return (Utterance(wording.moments[notice], wording.voice, _AFTER_SENTENCE, f"moment-{notice}"),)


def linked_words(
    wording: Wording, account: str | None, *, is_new: bool, lasts: bool
) -> tuple[Utterance, ...]:
    """Return the words for "linked", with the name of the account if there is one; a recording leaves the name out."""
    words = notice_words(wording, "just-linked") if is_new else state_words(wording, "linked")
    if account:
        text = wording.moments["linked-to"].format(account=account)
        words = tuple(Utterance(text, each.language, each.pause, each.name) for each in words)
    return words if lasts else (*words, *notice_words(wording, "for-now"))


def trouble_words(wording: Wording, trouble: str) -> tuple[Utterance, ...]:
    """Return the words for a trouble, and for what to do."""
    phrases = wording.troubles[trouble]
    return (
        Utterance(phrases.sentence, wording.voice, _AFTER_SENTENCE, f"trouble-{trouble}"),
        Utterance(phrases.next_step, wording.voice, name=f"trouble-{trouble}-next"),
    )


def waiting_words(wording: Wording, user_code: str, address: str) -> tuple[Utterance, ...]:
    """Return the words for the address, and for the code to enter there."""
    return (
        *notice_words(wording, "open-address"),
        *address_words(wording, address),
        *notice_words(wording, "enter-code"),
        *code_words(wording, user_code),
    )


def code_words(wording: Wording, user_code: str) -> tuple[Utterance, ...]:
    """Return the words for a user code: character by character, once more, then with spelling words."""
    plain = _with_last_pause(tuple(_plain(wording, character) for character in user_code))
    spelled = _with_last_pause(tuple(_spelled(wording, character) for character in user_code))
    return (
        *plain,
        *notice_words(wording, "once-more"),
        *plain,
        *notice_words(wording, "spelled-out"),
        *spelled,
    )


def address_words(wording: Wording, address: str) -> tuple[Utterance, ...]:
    """Return the words for an address as people say it: signs by name, countries letter by letter, no scheme."""
    spoken = " ".join(_words_of_address(wording, sub(r"^https?://", "", address)))
    return (Utterance(spoken, wording.voice, _AFTER_CODE, "address"),)


def _words_of_address(wording: Wording, address: str) -> Iterator[str]:
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
    """Return the name of a character: its own, or the letter in upper case where it has none."""
    upper = character.upper()
    for names in (wording.letters, wording.digits, wording.symbols):
        if upper in names:
            return names[upper]
    return upper


def _recording(how: str, character: str) -> str:
    """Return the name of a character's recording; a sign is named by its number in Unicode, for file names."""
    upper = character.upper()
    return f"{how}-{upper if upper.isalnum() and upper.isascii() else f'u{ord(character):04x}'}"


def _with_last_pause(utterances: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    return (*utterances[:-1], *(replace(last, pause=_AFTER_CODE) for last in utterances[-1:]))
