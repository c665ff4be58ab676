"""The words of the speaker in the owner's language: phrases are data, the spelling of a code is here.

A user code is spoken so that it cannot be misheard: character by character with pauses, twice, then each letter
with a spelling word and each digit called a digit, because O and 0, I and 1, B and 8 sound alike on a small speaker.
"""

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from re import escape, findall, fullmatch, search, split, sub
from typing import TYPE_CHECKING, Any, Final

from device_auth.core.states import IDENTIFYING, OneTimeNotice, Phrase, StateWord, Trouble, phrase_of
from device_auth.core.values import dataclass, replace
from hardware.voice import Utterance

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

LANGUAGES: Final = ("en", "de", "fr", "es", "it", "pt", "nl", "ja", "hi", "ar")
DEFAULT_LANGUAGE: Final = "en"

VARIANTS: Final = {
    "en-GB": "AU GB IE IN NZ ZA",
    "es-419": "419 AR BO CL CO CR CU DO EC GT HN MX NI PA PE PR PY SV US UY VE",
    "fr-CA": "CA",
    "pt-PT": "AO CV GW MO MZ PT ST TL",
}
"""Tables of the words that some countries have in place of their language's, and the countries. Source: CLDR, parentLocales."""

PHRASES: Final = files("device_auth.prompts") / "phrases"
EXTRA_PACKAGE: Final = "device-auth-l10n"
"""Debian's package of the tables that the program's own package leaves out."""

_AFTER_CHARACTER: Final = 0.7
"""Seconds: time to write one character."""
_AFTER_SPELLED: Final = 1.0
_AFTER_SENTENCE: Final = 0.5
_AFTER_WORDS: Final = 0.3
_AFTER_CODE: Final = 1.5
_SPELL_UP_TO: Final = 2
"""A word of an address with no more letters is spelled: ``us`` and ``de`` are countries there, not words."""
_VOWELS: Final = frozenset("aeiouyAEIOUY")
"""A word without a vowel, such as ``www``, is spelled too."""


@dataclass(frozen=True, slots=True)
class LanguageChoice:
    """The language for a locale.

    Attributes:
        language: of ``LANGUAGES``, or of ``VARIANTS``.
        voice: the tag for the voice: the locale itself where its language is known, to keep its region.
        is_known: False where the language is only the default.
        missing: the language that the locale asks for, of ours too, if its table is not installed.
    """

    language: str
    voice: str
    is_known: bool
    missing: str = ""


@dataclass(frozen=True, slots=True)
class TroublePhrases:
    """The phrases of a trouble: what is wrong, and what to do."""

    sentence: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Wording:
    """One language: every phrase, the spelling, and the words of the panel, of the page and of the command line.

    Attributes:
        readings: how to write a word for a simple voice that misreads the word that people read.
        direction: of writing, ``ltr`` or ``rtl``.
    """

    voice: str
    states: Mapping[str, str]
    moments: Mapping[str, str]
    troubles: Mapping[str, TroublePhrases]
    short: Mapping[str, str]
    page: Mapping[str, str]
    command: Mapping[str, str]
    spelling: Mapping[str, str]
    words: Mapping[str, str]
    letters: Mapping[str, str]
    digits: Mapping[str, str]
    symbols: Mapping[str, str]
    readings: Mapping[str, str]
    direction: str = "ltr"


def choose_language(locale: str, phrases: "Traversable" = PHRASES) -> LanguageChoice:
    """Choose the language for a locale such as ``en-US``, ``de_DE.UTF-8`` or ``fr``; English for any other.

    Args:
        locale: need not be one; of several, separated by commas, the first counts.
        phrases: the folder of the tables that are installed.
    """
    language, missing = find_language(locale, phrases)
    tag = _tag_of(locale)
    voice = tag if language and "-" in tag else read_wording(language or DEFAULT_LANGUAGE).voice
    return LanguageChoice(language or DEFAULT_LANGUAGE, voice, is_known=bool(language), missing=missing)


def note_on_language(locale: str, phrases: "Traversable" = PHRASES) -> str:
    """Return which language is spoken in place of a locale's own, and why; nothing if that one is."""
    choice = choose_language(locale, phrases)
    if choice.is_known and not choice.missing:
        return ""
    why = f"its words are not installed ({EXTRA_PACKAGE})" if choice.missing else "there are no words for it"
    return f"locale {_tag_of(locale)}: {why}, so the speaker speaks {choice.language if choice.is_known else 'English'}."


def find_language(locale: str, phrases: "Traversable" = PHRASES) -> tuple[str, str]:
    """Find the language of a locale, of the first one where there are several.

    Returns:
        It, or its nearest that is installed, or nothing; and the one that is ours and is not installed, or nothing.
    """
    tag = _tag_of(locale)
    language, _, rest = tag.partition("-")
    language, region = language.lower(), rest.rpartition("-")[2].upper()
    if language not in LANGUAGES or not fullmatch(r"[A-Za-z]+(-[A-Za-z0-9]{2,8})*", tag):
        return "", ""
    ours = [name for name, regions in VARIANTS.items() if name[:2] == language and region in regions.split()]
    missing = ""
    for name in (*ours, language):
        if (phrases / f"{name}.toml").is_file():
            return name, missing
        missing = missing or name
    return "", missing


def _tag_of(locale: str) -> str:
    return split(r"[.@,]", locale)[0].strip().replace("_", "-")


def wording_for(locale: str) -> Wording:
    """Read the wording for a locale, with the voice of its region."""
    choice = choose_language(locale)
    return replace(read_wording(choice.language), voice=choice.voice)


def read_wording(language: str) -> Wording:
    """Read the wording of one of ``LANGUAGES`` or ``VARIANTS``.

    A variant has only what differs; a language that no panel can draw has English on it.
    """
    table = _read_table(language[:2])
    if language not in LANGUAGES:
        _lay_over(table, _read_table(language))
    if "short" not in table:
        table["short"] = _read_table(DEFAULT_LANGUAGE)["short"]
    troubles = {name: TroublePhrases(**phrases) for name, phrases in table.pop("troubles").items()}
    return Wording(troubles=troubles, **{"readings": {}, **table})


def _read_table(language: str) -> dict[str, Any]:
    return tomllib.loads((PHRASES / f"{language}.toml").read_text(encoding="utf-8"))


def _lay_over(table: dict[str, Any], own: Mapping[str, Any]) -> None:
    for name, value in own.items():
        if isinstance(value, Mapping):
            _lay_over(table[name], value)
        else:
            table[name] = value


def _utter(wording: Wording, text: str, pause: float, name: str) -> Utterance:
    longest_first = "|".join(map(escape, sorted(wording.readings, key=len, reverse=True)))
    reading = longest_first and sub(longest_first, lambda found: wording.readings[found[0]], text)
    return Utterance(text, wording.voice, pause, name, reading)


def written_phrase(
    wording: Wording,
    state: StateWord,
    trouble: Trouble,
    hint: str = "",
    *,
    is_checking: bool = False,
    lasts: bool = True,
) -> Phrase:
    """Return the words for both at the command line, as ``core.states.phrase_of`` does in English.

    A command that English names stays beside the next step; a hint that is not the usual one stays as it is.
    """
    usual = phrase_of(state, trouble, is_checking=is_checking).next_step
    next_step = ""
    if is_checking:
        sentence = wording.moments["checking-again"]
    elif trouble is not Trouble.NONE:
        sentence, next_step = wording.troubles[trouble].sentence, wording.troubles[trouble].next_step
    else:
        sentence = wording.states[state]
        if state is StateWord.LINKED and not lasts:
            sentence = f"{sentence} {wording.moments['for-now']}"
    if hint not in {"", usual}:
        return Phrase(sentence, hint)
    command = search(r"(?:device-auth|timedatectl) [a-z -]*[a-z]", usual)
    steps = (next_step, command[0] if command else "")
    return Phrase(sentence, " · ".join(filter(None, steps)))


def state_words(wording: Wording, state: str) -> tuple[Utterance, ...]:
    """Return the words for a state."""
    return (_utter(wording, wording.states[state], _AFTER_WORDS, f"state-{state}"),)


def notice_words(wording: Wording, notice: str, *, name: str = "") -> tuple[Utterance, ...]:
    """Return the words for an event, or for the next thing to do, with the speaker's name where it belongs."""
    text = notice_text(wording, notice, name)
    return (_utter(wording, text, _AFTER_SENTENCE, f"moment-{notice}"),)


def notice_text(wording: Wording, notice: str, name: str) -> str:
    """Return the sentence for a notice; the two that identify a speaker differ in who tells them alone."""
    text = wording.moments[OneTimeNotice.IDENTIFY if notice in IDENTIFYING else notice]
    return text.replace("{name}", name)


def linked_words(
    wording: Wording, account: str | None, *, is_new: bool, lasts: bool
) -> tuple[Utterance, ...]:
    """Return the words for "linked", with the name of the account if there is one; a recording leaves the name out."""
    words = notice_words(wording, "just-linked") if is_new else state_words(wording, "linked")
    if account:
        text = wording.moments["linked-to"].format(account=account)
        words = tuple(_utter(wording, text, each.pause, each.name) for each in words)
    return words if lasts else (*words, *notice_words(wording, "for-now"))


def trouble_words(wording: Wording, trouble: str) -> tuple[Utterance, ...]:
    """Return the words for a trouble, and for what to do."""
    phrases = wording.troubles[trouble]
    return (
        _utter(wording, phrases.sentence, _AFTER_SENTENCE, f"trouble-{trouble}"),
        _utter(wording, phrases.next_step, _AFTER_WORDS, f"trouble-{trouble}-next"),
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
    return (_utter(wording, spoken, _AFTER_CODE, "address"),)


def _words_of_address(wording: Wording, address: str) -> Iterator[str]:
    for part in findall(r"[^\W\d_]+|.", address):
        if len(part) > _SPELL_UP_TO and _VOWELS & set(part):
            yield part
        else:
            yield from (_name_of(wording, character) for character in part)


def _plain(wording: Wording, character: str) -> Utterance:
    return _utter(wording, _name_of(wording, character), _AFTER_CHARACTER, _recording("plain", character))


def _spelled(wording: Wording, character: str) -> Utterance:
    name = _name_of(wording, character)
    if word := wording.words.get(character.upper()):
        name = wording.spelling["letter"].format(letter=name, word=word)
    elif character in wording.digits:
        name = wording.spelling["digit"].format(digit=name)
    return _utter(wording, name, _AFTER_SPELLED, _recording("spelled", character))


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
