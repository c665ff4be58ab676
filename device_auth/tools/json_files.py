"""JSON files of other programs; one that two readers could read differently is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from device_auth.core.errors import ConfigError


class _DuplicateKey(ValueError):
    """A key stands twice in one object; readers differ in which one counts (RFC 8259 §4)."""


def read_object(content: bytes, path: Path, *, may_have_comments: bool = False) -> dict[str, object]:
    """Read a JSON object.

    Args:
        content: the whole file.
        path: for messages, which never repeat a value.
        may_have_comments: skip ``//`` and ``/* */``, as the AVS Device SDK does.

    Raises:
        ConfigError: if it is not one, has a key twice, or half a surrogate pair.
    """
    problem, hint = "", ""
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(
            _without_comments(text) if may_have_comments else text, object_pairs_hook=_each_once
        )
    except _DuplicateKey as error:
        problem, hint = f"has the key {str(error)!r} twice", "Remove one of the two."
    except json.JSONDecodeError as error:
        problem, hint = f"is not JSON: {error.msg}, line {error.lineno}", "Correct that line."
    except UnicodeDecodeError:
        problem, hint = "is not UTF-8", "Save it as UTF-8."
    except (ValueError, RecursionError):
        problem, hint = "is not JSON", "Look for brackets that are nested too deeply, or a number too long."
    else:
        problem, hint = _fault_of(found)
        if not problem and isinstance(found, dict):
            return found
    # Raised outside the handlers: the parser's error holds the whole text, secrets included.
    raise ConfigError(f"{path} {problem}", hint=hint)


def write_object(members: Mapping[str, object]) -> bytes:
    """Write a JSON object for people and programs, without escapes, so that it is also YAML."""
    return (json.dumps(members, indent=4, ensure_ascii=False) + "\n").encode()


def section(members: Mapping[str, object], name: str, path: Path) -> dict[str, object]:
    """Return a member that is an object; an empty one if there is none.

    Raises:
        ConfigError: if it is not an object.
    """
    found = members.get(name, {})
    if not isinstance(found, dict):
        _refuse(name, "an object", path)
    return found


def text(members: Mapping[str, object], name: str, path: Path, within: str = "") -> str:
    """Return a member that is a text; an empty one if there is none.

    Args:
        members: of the file.
        name: of the member.
        path: of the file, for messages.
        within: the object in the file that has the member; empty for the file's own.

    Raises:
        ConfigError: if it is not a text, or the object is not one.
    """
    holder = section(members, within, path) if within else members
    found = holder.get(name, "")
    if not isinstance(found, str):
        _refuse(f"{within}.{name}" if within else name, "a text", path)
    return found


def _fault_of(found: object) -> tuple[str, str]:
    """Return why a value of the parser cannot be used, and what to do; empty texts if it can."""
    if not isinstance(found, dict):
        return "is not a JSON object", "Check that it is the right file."
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # RFC 8259 §8.2: readers differ in what they make of it
        return "has half a surrogate pair in a text", "Look for \\ud8 to \\udf and correct that text."
    return "", ""


def _refuse(name: str, kind: str, path: Path) -> NoReturn:
    raise ConfigError(f"{name} in {path} is not {kind}", hint="Correct it in that file.")


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKey(next(name for name in names if names.count(name) > 1))
    return members


def _without_comments(text: str) -> str:
    """Replace comments by spaces; lines stay, as messages name them."""
    import re

    pattern = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return pattern.sub(
        lambda found: found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0]), text
    )
