"""Untrusted JSON objects: each read returns the requested type, or raises ``Malformed``.

Messages name the field, never its value, which may be a secret.
"""

import json
import math
from enum import StrEnum
from typing import Final, NoReturn, TypeVar

MAX_BYTES: Final = 65536
"""A longer file is not ours; a refresh token has at most 2048 bytes."""

_Word = TypeVar("_Word", bound=StrEnum)


class Malformed(Exception):
    """A field is missing or has the wrong form; the message names it."""


class Fields:
    """One JSON object.

    Args:
        members: from the parser, of any type.
    """

    def __init__(self, members: dict[str, object]) -> None:
        self._members = members

    def has(self, name: str) -> bool:
        """Return whether there is such a member; an earlier program did not write every one."""
        return name in self._members

    def but(self, *names: str) -> dict[str, object]:
        """Return all members except these."""
        return {name: value for name, value in self._members.items() if name not in names}

    def anything(self, name: str) -> object:
        """Return a member of any type that must be there."""
        if name not in self._members:
            raise Malformed(f"{name} is missing")
        return self._members[name]

    def fields(self, name: str) -> "Fields":
        """Return a member that is an object."""
        return as_fields(self.anything(name), name)

    def optional_fields(self, name: str) -> "Fields | None":
        """Return a member that is an object, or null."""
        return None if self.anything(name) is None else self.fields(name)

    def text(self, name: str) -> str:
        """Return a member that is a text which UTF-8 can carry."""
        value = self.anything(name)
        if not isinstance(value, str) or not _is_encodable(value):
            raise Malformed(f"{name} is not a text")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a member that is a text, or null."""
        return None if self.anything(name) is None else self.text(name)

    def filled_text(self, name: str) -> str:
        """Return a member that is a text and not empty."""
        value = self.text(name)
        if not value:
            raise Malformed(f"{name} is empty")
        return value

    def number(self, name: str) -> float:
        """Return a member that is a finite number."""
        value = self.anything(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Malformed(f"{name} is not a number")
        try:
            number = float(value)
        except OverflowError as error:
            raise Malformed(f"{name} is too large") from error
        if not math.isfinite(number):
            raise Malformed(f"{name} is too large")
        return number

    def optional_number(self, name: str) -> float | None:
        """Return a member that is a finite number, or null."""
        return None if self.anything(name) is None else self.number(name)

    def truth(self, name: str) -> bool:
        """Return a member that is true or false."""
        value = self.anything(name)
        if not isinstance(value, bool):
            raise Malformed(f"{name} is neither true nor false")
        return value

    def word(self, name: str, words: type[_Word]) -> _Word:
        """Return a member that is one of a closed set of words."""
        try:
            return words(self.text(name))
        except ValueError:
            raise Malformed(f"{name} has an unknown value") from None

    def optional_word(self, name: str, words: type[_Word]) -> _Word | None:
        """Return a member that is one of a closed set of words, or null."""
        return None if self.anything(name) is None else self.word(name, words)


def as_fields(value: object, name: str) -> Fields:
    """Return a JSON value as an object; raise Malformed if it is not one."""
    if not isinstance(value, dict):
        raise Malformed(f"{name} is not an object")
    return Fields(value)


def read_fields(content: bytes) -> Fields:
    """Read a JSON object in UTF-8; total: any bytes give fields or ``Malformed``."""
    if len(content) > MAX_BYTES:
        raise Malformed("it is too large")
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        # from None: the parser's error carries the whole text, secrets included
        raise Malformed("it is not JSON") from None
    return as_fields(value, "it")


def write_fields(members: dict[str, object]) -> bytes:
    """Write a JSON object, in one line."""
    return (json.dumps(members, allow_nan=False) + "\n").encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
