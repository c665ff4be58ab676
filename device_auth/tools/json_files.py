"""JSON files of other programs: read as a person wrote them, and refused where two readers could differ."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from device_auth.core.errors import ConfigError


class _DuplicateKey(ValueError):
    """A key stands twice in one object: which one counts is left to whoever reads it (RFC 8259 §4)."""


def read_object(content: bytes, path: Path, *, may_have_comments: bool = False) -> dict[str, object]:
    """Read a JSON object.

    Args:
        content: all of the file.
        path: for messages; they never repeat a value.
        may_have_comments: pass over ``//`` and ``/* */``, as the AVS Device SDK does.

    Raises:
        ConfigError: it is none, or has a key twice.
    """
    fault, hint = "", ""
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(
            _without_comments(text) if may_have_comments else text, object_pairs_hook=_each_once
        )
    except _DuplicateKey as error:
        fault, hint = f"has the key {str(error)!r} twice", "Remove one of the two."
    except json.JSONDecodeError as error:
        fault, hint = f"is not JSON: {error.msg}, line {error.lineno}", "Correct that line."
    except RecursionError:
        fault, hint = "is not JSON", "Look for brackets inside one another without end."
    except ValueError:
        fault, hint = "is not UTF-8", "Save it as UTF-8."
    else:
        if isinstance(found, dict):
            return found
        fault, hint = "is not a JSON object", "Check that it is the right file."
    # Raised out here: the parser's error carries the whole text, secrets included.
    raise ConfigError(f"{path} {fault}", hint=hint)


def write_object(members: Mapping[str, object]) -> bytes:
    """Write a JSON object for people and programs; its texts as they are, so that YAML reads the same."""
    return (json.dumps(members, indent=4, ensure_ascii=False) + "\n").encode()


def section(members: Mapping[str, object], name: str, path: Path) -> dict[str, object]:
    """Return an object within; an empty one if there is none.

    Raises:
        ConfigError: something else stands there.
    """
    found = members.get(name, {})
    if not isinstance(found, dict):
        _refuse(name, "an object", path)
    return found


def text(members: Mapping[str, object], name: str, path: Path, within: str = "") -> str:
    """Return a text; an empty one if there is none.

    Raises:
        ConfigError: something else stands there.
    """
    found = members.get(name, "")
    if not isinstance(found, str):
        _refuse(f"{within}{name}", "a text", path)
    return found


def _refuse(name: str, kind: str, path: Path) -> NoReturn:
    raise ConfigError(f"{name} in {path} is not {kind}", hint="Correct it in that file.")


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKey(next(name for name in names if names.count(name) > 1))
    return members


def _without_comments(text: str) -> str:
    """Put spaces in the place of comments, and keep the lines: messages name them."""
    import re

    pattern = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
    return pattern.sub(
        lambda found: found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0]), text
    )
