"""Read a part's settings: every value is checked, and what is unknown is refused with the nearest known name."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from hardware.errors import BadSetting

Settings = Mapping[str, object]


def refuse_unknown(part: str, settings: Settings, known: Collection[str]) -> None:
    """Raise BadSetting for the first setting whose name is not in ``known``."""
    for key in settings:
        if key not in known:
            raise BadSetting(f"{part} has no setting {key!r}", hint=_nearest(key, known))


def read_choice(part: str, settings: Settings, key: str, choices: Collection[str], default: str = "") -> str:
    """Read one of ``choices``; with no default the setting must be there."""
    value = settings.get(key, default)
    if not isinstance(value, str) or value not in choices:
        raise BadSetting(f"{part} has no {key} {value!r}", hint=_nearest(str(value), choices))
    return value


def read_whole(part: str, settings: Settings, key: str, default: int, within: range) -> int:
    """Read a whole number that is one of ``within``."""
    value = settings.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value not in within:
        known = f"from {within[0]} to {within[-1]}" if within.step == 1 else " or ".join(map(str, within))
        raise BadSetting(f"{part}: {key} cannot be {value!r}", hint=f"Use a whole number: {known}.")
    return value


def read_text(part: str, settings: Settings, key: str, default: str) -> str:
    """Read a text that is not empty."""
    value = settings.get(key, default)
    if not isinstance(value, str) or not value:
        raise BadSetting(f"{part}: {key} must be a text", hint=f'Write it as {key} = "...".')
    return value


def read_words(part: str, settings: Settings, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Read a command: the program and its arguments, as a list of texts."""
    value = settings.get(key, default)
    if isinstance(value, list | tuple) and value:
        words = tuple(word for word in value if isinstance(word, str) and word)
        if len(words) == len(value):
            return words
    raise BadSetting(
        f"{part}: {key} must be a program and its arguments",
        hint=f'Write it as {key} = ["program", "argument"].',
    )


def _nearest(word: str, known: Collection[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."
