"""The schema of settings: what each key of a table may hold, and one way to read, refuse and explain it.

Each table's keys stand beside their reader; ``read_table`` returns values that need no second look.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from hardware.errors import BadSetting

Settings = Mapping[str, object]


class ValueType(StrEnum):
    """A kind of value, in the words of a message."""

    TEXT = "text in quotation marks"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    WORDS = "a list of texts"
    COMMAND = "a program and its arguments as a list of texts"
    PATH = "a path in quotation marks"
    TABLE = "a table"
    ANY = "a value"


_CLASSES: Final[Mapping[ValueType, type | tuple[type, ...]]] = {
    ValueType.TEXT: str,
    ValueType.WHOLE: int,
    ValueType.NUMBER: (int, float),
    ValueType.FLAG: bool,
    ValueType.WORDS: (list, tuple),
    ValueType.COMMAND: (list, tuple),
    ValueType.PATH: str,
    ValueType.TABLE: Mapping,
    ValueType.ANY: object,
}

SELECTOR: Final = "kind"
"""The key that decides which other keys of its table have a meaning."""


class Key(NamedTuple):
    """One setting: the only place that knows it.

    Attributes:
        explanation: its purpose and where to get it, for a person.
        example: a value to show; refused as a value where ``is_own``.
        default: its value where the table does not have it, already as ``parse`` would return it.
        choices: the only values it may have.
        within: the only whole numbers it may have.
        only: the values of the table's ``kind`` (at the top: of ``dialect``) that it belongs to; empty for all.
        parse: turns a value of the right type into the one that the program uses. Raises ValueError with words that
            complete "NAME ...", such as "must be above 0", and may add a hint as a second argument.
        is_required: whether a table without it is refused.
        is_own: whether each user has his own value, so that the example is refused.
        is_secret: whether it is never shown.
        has_option: whether the command line may have an option for it; asked of the keys at the top only.
    """

    name: str
    type: ValueType = ValueType.TEXT
    explanation: str = ""
    example: Any = ""
    default: Any = ""
    choices: Collection[Any] = ()
    within: range | None = None
    only: Collection[str] = ()
    parse: Callable[[Any], Any] | None = None
    is_required: bool = False
    is_own: bool = False
    is_secret: bool = False
    has_option: bool = True

    @property
    def requirement(self) -> str:
        """Return the words for the values it may have."""
        if self.choices:
            return " or ".join(str(choice) for choice in self.choices)
        return f"{self.type} from {self.within[0]} to {self.within[-1]}" if self.within else str(self.type)

    @property
    def example_line(self) -> str:
        """Return the line of a settings file that sets it to its example."""
        return f"{self.name} = {as_toml(self.example)}"

    def belongs_to(self, kind: str) -> bool:
        """Return whether it has a meaning where the table is of a kind."""
        return not self.only or kind in self.only

    def read(self, given: object) -> Any:
        """Return a value as the program uses it.

        Raises:
            ValueError: if the key may not hold it; the words complete "NAME ..." and do not show the value.
        """
        is_flag = isinstance(given, bool) and self.type is not ValueType.ANY
        if not isinstance(given, _CLASSES[self.type]) or is_flag is not (self.type is ValueType.FLAG):
            raise ValueError(f"must be {self.requirement}, not {name_type(given)}")
        words = given if isinstance(given, list | tuple) else (given,)
        if any(isinstance(word, str) and "\0" in word for word in words):
            raise ValueError("must not have a NUL character in it", "Remove the character \\u0000.")
        if any(isinstance(word, str) and not _is_utf8(word) for word in words):
            raise ValueError("has bytes that are not UTF-8", "Write it in UTF-8.")
        if (self.choices and given not in self.choices) or (self.within and given not in self.within):
            raise ValueError(f"must be {self.requirement}")
        if given == "" and self.type in {ValueType.TEXT, ValueType.PATH}:
            raise ValueError("is empty: set it or leave it out")
        value: object = given
        if isinstance(given, list | tuple) and self.type in {ValueType.WORDS, ValueType.COMMAND}:
            value = tuple(given)
            is_empty = self.type is ValueType.COMMAND and not given
            if is_empty or not all(isinstance(word, str) and word for word in given):
                raise ValueError(f"must be {self.requirement}")
        elif self.type is ValueType.PATH:
            value = Path(str(given))
        return value if self.parse is None else self.parse(value)

    def hint_for(self, given: object) -> str:
        """Return what to write in place of a value that was refused."""
        if self.choices:
            return nearest(str(given), [str(choice) for choice in self.choices])
        return f"For example: {self.example_line}" if self.example != "" else ""


def read_table(part: str, keys: Iterable[Key], table: object) -> dict[str, Any]:
    """Read a table: every value checked, every key there, with its default where the table does not have it.

    Where ``keys`` have a ``kind``, those that do not belong to the one given are unknown, and not returned.

    Args:
        part: what the table describes, as messages name it.
        keys: all that the table may hold.
        table: the table as it stands in the settings.

    Raises:
        BadSetting: if it is not a table, or one of its keys is unknown, missing, or holds an unacceptable value.
    """
    if not isinstance(table, Mapping):
        raise BadSetting(
            f"{part} must be a table, not {name_type(table)}",
            hint=f"Write its settings below a line [{part}].",
        )
    known = {key.name: key for key in keys}
    if SELECTOR in known:
        kind = read_key(part, known[SELECTOR], table)
        known = {name: key for name, key in known.items() if key.belongs_to(kind)}
        part = f"{part} of kind {kind}"
    for name in table:
        if name not in known:
            raise BadSetting(f"{part} has no setting {name!a}", hint=nearest(str(name), known))
    return {name: read_key(part, key, table) for name, key in known.items()}


def read_key(part: str, key: Key, table: Settings) -> Any:
    """Read one key of a table.

    Raises:
        BadSetting: if it is missing, or its value is not acceptable.
    """
    if key.name not in table:
        if key.is_required:
            raise BadSetting(f"{part}: {key.name} is missing", hint=key.hint_for(""))
        return key.default
    given = table[key.name]
    try:
        return key.read(given)
    except ValueError as error:
        fault, hint = (*error.args, "")[:2]
        shown = "" if key.is_secret else f" ({given!a})"
        raise BadSetting(f"{part}: {key.name}{shown} {fault}", hint=hint or key.hint_for(given)) from error


def _is_utf8(text: str) -> bool:
    """Return whether a text can be written: bytes of the command line or the environment may not be text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown name: the known one that is most like it, or all of them."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower().replace("-", "_"), known, n=1) or get_close_matches(
        name, known, n=1
    )
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."


def name_type(given: object) -> str:
    """Return the words for the type of a value, as TOML has it."""
    if isinstance(given, Mapping):
        return "a table"
    kinds: Mapping[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
    }
    return kinds.get(type(given), "a date or a time")


def as_toml(value: object) -> str:
    """Return a value as a settings file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(as_toml(each) for each in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
