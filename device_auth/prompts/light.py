"""The light: a table of patterns by meaning, and the order of precedence of the meanings.

Rhythm carries the meaning and colour repeats it, so one table serves a single LED and one of three colours; what
breathes where a light can fade blinks in the same rhythm where it cannot.
"""

import logging
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Final, assert_never

from device_auth.core.models import NEVER, Monotonic, Seconds, later
from device_auth.core.states import IDENTIFYING, StateWord, Trouble
from device_auth.prompts.view_changes import JUST_LINKED_FOR, LAST_MINUTE, has_just_linked, is_asked_for
from hardware.button import Gesture
from hardware.errors import BadSetting, HardwareError, PartBusy
from hardware.led import (
    BLACK,
    CYAN,
    DIM_WHITE,
    MOST_BLINKS,
    ORANGE,
    PURPLE,
    RED,
    WHITE,
    YELLOW,
    Blink,
    Breathe,
    Colour,
    Off,
    Once,
    Pattern,
    Rhythm,
    Solid,
    Step,
    short_blinks,
    steps_of,
    without_fades,
)
from hardware.settings import Key, ValueType, nearest, read_table

if TYPE_CHECKING:
    from device_auth.core.models import CodePair, View
    from hardware.led import Light
    from hardware.settings import Settings

IDENTIFIES_FOR: Final = Seconds(5)
"""How long the light shows which speaker it is."""

TRY_AGAIN_AFTER: Final = Seconds(5)
"""A light that failed is tried again after so long."""

_log = logging.getLogger(__name__)


class LightCue(StrEnum):
    """The meanings of a light that are neither states nor troubles."""

    LAST_MINUTE = "last-minute"
    JUST_LINKED = "just-linked"
    HELD_5S = "held-5s"
    HELD_10S = "held-10s"
    IDENTIFY = "identify"


Meaning = StateWord | Trouble | LightCue
Table = Mapping[Meaning, Rhythm]

_BUSY: Final = Blink(250, 250, CYAN)
_PASSING: Final = short_blinks(2, 2000, PURPLE)
_ENDED: Final = short_blinks(3, 2000, RED)
_BROKEN: Final = short_blinks(5, 3000, RED)


def _pattern_of(meaning: Meaning) -> Rhythm:
    match meaning:
        case StateWord.STARTING:
            return Blink(100, 2900, DIM_WHITE)
        case StateWord.UNLINKED | StateWord.LINKED | Trouble.NONE:
            return Off()
        case StateWord.REQUESTING | StateWord.SAVING | StateWord.PROVING:
            return _BUSY
        case StateWord.WAITING:
            return Breathe(1000, 1000, ORANGE)
        case (
            Trouble.NO_NETWORK | Trouble.CAPTIVE_PORTAL | Trouble.CLOCK_NOT_SET | Trouble.PROVIDER_UNAVAILABLE
        ):
            return _PASSING
        case Trouble.DENIED | Trouble.EXPIRED:
            return _ENDED
        case Trouble.REVOKED | Trouble.COPIED:
            return short_blinks(4, 3000, YELLOW)
        case Trouble.MISCONFIGURED | Trouble.STORAGE | Trouble.HARDWARE:
            return _BROKEN
        case LightCue.LAST_MINUTE:
            return Blink(500, 500, ORANGE)
        case LightCue.JUST_LINKED:
            return Solid(CYAN)
        case LightCue.HELD_5S:
            return Solid(ORANGE)
        case LightCue.HELD_10S:
            return Blink(250, 250, RED)
        case LightCue.IDENTIFY:
            return Blink(750, 250, WHITE)
        case _:
            assert_never(meaning)


TABLE: Final[Table] = {
    meaning: _pattern_of(meaning)
    for meaning in (*StateWord, *Trouble, *LightCue)
    if meaning is not Trouble.NONE
}
"""The pattern of each meaning; ``Trouble.NONE`` has none, for the state is shown instead."""

COLOURS: Final[Mapping[str, Colour]] = {
    "white": WHITE,
    "dim-white": DIM_WHITE,
    "red": RED,
    "orange": ORANGE,
    "yellow": YELLOW,
    "green": Colour(0, 255, 0),
    "cyan": CYAN,
    "blue": Colour(0, 0, 255),
    "purple": PURPLE,
}

_HELD: Final = {Gesture.HELD_5S: LightCue.HELD_5S, Gesture.HELD_10S: LightCue.HELD_10S}


# ---------------------------------------------------------------------------------------------------------
# The pattern of a view, and its end


def meaning_of(
    view: "View",
    now: Monotonic,
    *,
    held: Gesture | None = None,
    is_just_linked: bool = False,
    is_identifying: bool = False,
) -> Meaning:
    """Return the first of: a hold, a new link, which speaker it is, a code that waits, a trouble, the state.

    Args:
        view: the state and the trouble to show.
        now: decides on the last minute of a code.
        held: the last gesture of the button; only that of a hold counts.
        is_just_linked: whether the link is new.
        is_identifying: whether a person wants to know which speaker this is.
    """
    if held in _HELD:
        return _HELD[held]
    if is_just_linked:
        return LightCue.JUST_LINKED
    if is_identifying:
        return LightCue.IDENTIFY
    if view.state is StateWord.WAITING:
        return StateWord.WAITING if now < _last_minute_of(view.code_pair) else LightCue.LAST_MINUTE
    return view.state if view.trouble is Trouble.NONE else view.trouble


def pattern_for(
    view: "View",
    now: Monotonic,
    *,
    held: Gesture | None = None,
    is_just_linked: bool = False,
    is_identifying: bool = False,
    table: Table = TABLE,
) -> Rhythm:
    """Return the pattern of a view; the arguments are those of ``meaning_of``."""
    return table[
        meaning_of(view, now, held=held, is_just_linked=is_just_linked, is_identifying=is_identifying)
    ]


def _last_minute_of(pair: "CodePair | None") -> Monotonic:
    return NEVER if pair is None else Monotonic(pair.expires_at - LAST_MINUTE)


class LightPrompt:
    """Tells a person by a light.

    Args:
        light: plays patterns by itself.
        table: the pattern of each meaning.
    """

    name: Final = "light"

    def __init__(self, light: "Light", *, table: Table = TABLE) -> None:
        self._light = light
        self._table = table
        self._lock = Lock()
        self._view: View | None = None
        self._held: Gesture | None = None
        self._linked_until = Monotonic(0.0)
        self._identifies_until = Monotonic(0.0)

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Show a view, and return the moment at which its pattern changes by itself, or None."""
        with self._lock:
            if has_just_linked(self._view, view):
                self._linked_until = later(now, JUST_LINKED_FOR)
            elif view.state is not StateWord.LINKED:
                self._linked_until = Monotonic(0.0)
            if view.notice in IDENTIFYING and is_asked_for(self._view, view):
                self._identifies_until = later(now, IDENTIFIES_FOR)
            self._view = view
            try:
                self._draw(now)
            except PartBusy as error:
                _log.info("the light: %s", error)
                return later(now, TRY_AGAIN_AFTER)
            return self._changes_at(view, now)

    def hold(self, held: Gesture | None, now: Monotonic) -> None:
        """Show a level that the held button has passed, or no longer one (None); from any thread."""
        with self._lock:
            self._held = held
            try:
                self._draw(now)
            except HardwareError as error:
                _log.info("the light: %s", error)

    def close(self) -> None:
        """Go dark."""
        with self._lock:
            self._light.show(Off())

    def _draw(self, now: Monotonic) -> None:
        if self._view is None:
            pattern = self._table[_HELD[self._held]] if self._held in _HELD else Off()
        else:
            pattern = pattern_for(
                self._view,
                now,
                held=self._held,
                is_just_linked=now < self._linked_until,
                is_identifying=now < self._identifies_until,
                table=self._table,
            )
        self._light.show(pattern)

    def _changes_at(self, view: "View", now: Monotonic) -> Monotonic | None:
        moments = (self._linked_until, self._identifies_until, _last_minute_of(view.code_pair))
        return min((moment for moment in moments if now < moment < NEVER), default=None)


# ---------------------------------------------------------------------------------------------------------
# Patterns in the settings


def _parse_colour(text: str) -> Colour:
    found = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    colour = Colour(*(int(part, 16) for part in found.groups())) if found else COLOURS.get(text)
    if colour is None:
        raise ValueError("is not a known colour", nearest(text, COLOURS))
    if colour == BLACK:
        raise ValueError("is black, which nobody can see", 'Use another colour, or write "off".')
    return colour


def _length(name: str, explanation: str, kind: str) -> Key:
    within = range(1, 60_001)
    return Key(name, ValueType.WHOLE, explanation, 500, within=within, only=(kind,), is_required=True)


PATTERN_KEYS: Final = (
    Key(
        "kind", choices=("off", "solid", "blink", "breathe"), is_required=True, explanation="How it changes."
    ),
    Key(
        "colour",
        only=("solid", "blink", "breathe"),
        default=WHITE,
        parse=_parse_colour,
        example="#0040ff",
        explanation="A name or #rrggbb.",
    ),
    _length("on_ms", "How long a blink is lit, in milliseconds.", "blink"),
    _length("off_ms", "How long it is dark after a blink, in milliseconds.", "blink"),
    Key(
        "count",
        ValueType.WHOLE,
        only=("blink",),
        default=1,
        within=range(1, MOST_BLINKS + 1),
        example=3,
        explanation="How many blinks make a group.",
    ),
    _length(
        "pause_ms", "How long it is dark after a group, in milliseconds; off_ms without it.", "blink"
    )._replace(is_required=False, default=None),
    _length("brighter_ms", "How long it gets brighter, in milliseconds.", "breathe"),
    _length("darker_ms", "How long it gets darker, in milliseconds.", "breathe"),
)
"""The keys of one pattern; ``hardware.led`` explains them."""

_KINDS: Final[Mapping[str, Callable[..., Rhythm]]] = {
    "off": Off,
    "solid": Solid,
    "blink": Blink,
    "breathe": Breathe,
}


def read_patterns(settings: "Settings") -> Table:
    """Read the patterns that replace some of ``TABLE``: each named for a state, a trouble or a cue.

    A pattern is ``"off"`` or a table of ``PATTERN_KEYS``.

    Raises:
        BadSetting: if a name is unknown, a pattern is not acceptable or faster than 2 Hz, or a trouble would look
            like a meaning from which ``TABLE`` tells it apart.
    """
    keys = [Key(str(meaning), ValueType.ANY, default=None) for meaning in TABLE]
    found = read_table("patterns", keys, settings)
    given = {
        meaning: _read_pattern(meaning, found[meaning]) for meaning in TABLE if found[meaning] is not None
    }
    table = {**TABLE, **given}
    for meaning in given:
        _refuse_mistakable(meaning, table)
    return table


def _read_pattern(name: str, pattern: object) -> Rhythm:
    if pattern == "off":
        return Off()
    part = f"the pattern of {name}"
    if not isinstance(pattern, Mapping):
        raise BadSetting(
            f"{part} ({pattern!a}) must be a table",
            hint='Write it as "off" or as { kind = "blink", on_ms = 500, off_ms = 500, colour = "green" }.',
        )
    found = read_table(part, PATTERN_KEYS, pattern)
    try:
        return _KINDS[found.pop("kind")](**found)
    except BadSetting as error:
        raise BadSetting(f"{part}: {error}", hint=error.hint) from error


def _refuse_mistakable(meaning: Meaning, table: Table) -> None:
    """Refuse a rhythm that hides a trouble: one shared with a meaning from which ``TABLE`` tells it apart."""
    for other in table:
        is_hidden = isinstance(meaning, Trouble) or isinstance(other, Trouble)
        if is_hidden and _look_alike(meaning, other, table) and not _look_alike(meaning, other, TABLE):
            raise BadSetting(
                f"{meaning} would have the same rhythm as {other}",
                hint="Choose another rhythm; another colour alone does not tell them apart for everyone.",
            )


def _look_alike(one: Meaning, other: Meaning, table: Table) -> bool:
    ours, theirs = rhythm_of(table[one]), rhythm_of(table[other])
    return len(ours) == len(theirs) and all(
        mine.brightness == yours.brightness and is_as_long(mine.lasts_ms, yours.lasts_ms)
        for mine, yours in zip(ours, theirs, strict=True)
    )


def is_as_long(one_ms: int, other_ms: int) -> bool:
    """Return whether people cannot tell two lengths apart: neither is a quarter longer."""
    return 4 * max(one_ms, other_ms) < 5 * min(one_ms, other_ms) or one_ms == other_ms


def rhythm_of(pattern: Rhythm) -> tuple[Step, ...]:
    """Return the shortest cycle of a pattern on a light of one colour that is only on or off."""
    plain = without_fades(pattern)
    assert isinstance(plain, Rhythm), "only Once is not one"  # noqa: S101  our own bug
    steps = steps_of(plain)
    cycles = (steps[:length] for length in range(1, len(steps) + 1) if len(steps) % length == 0)
    return next(cycle for cycle in cycles if cycle * (len(steps) // len(cycle)) == steps)


# ---------------------------------------------------------------------------------------------------------
# Patterns in words


def describe(pattern: Pattern) -> str:
    """Return a pattern in words: ``orange, breathing``."""
    match pattern:
        case Off():
            return "dark"
        case Once():
            return f"{describe(pattern.rhythm)}, once"
        case Solid():
            rhythm = "steady"
        case Breathe():
            rhythm = "breathing"
        case Blink(count=1):
            rhythm = "flashing now and then" if pattern.last_off_ms > _SELDOM_MS else _pace(pattern)
        case Blink(count=count):
            rhythm = f"{count} short blinks and a pause"
        case _:
            assert_never(pattern)
    return f"{_name(pattern.colour)}, {rhythm}"


_SELDOM_MS: Final = 2000
_QUICK_MS: Final = 600


def _pace(pattern: Blink) -> str:
    return "blinking quickly" if pattern.on_ms + pattern.last_off_ms <= _QUICK_MS else "blinking"


def _name(colour: Colour) -> str:
    names = {known: name.replace("-", " ") for name, known in COLOURS.items()}
    return names.get(colour, f"#{colour.red:02x}{colour.green:02x}{colour.blue:02x}")
