"""Change single settings in a TOML text; its comments and its layout stay.

The one idea: the text is cut into statements, of which one is exchanged, added, or made a comment, and ``tomllib`` judges the
result. It must mean what the former text meant, with this change and no other. A layout that is not understood here is
refused, and never written wrong.

Source: TOML 1.0.0, https://toml.io/en/v1.0.0.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, NamedTuple

Path = tuple[str, ...]
"""A key with the tables around it, the outermost first."""

_TOKEN: Final = re.compile(
    r"""
    \"\"\"(?:\\.|[^\\])*?"{3,5} | '''.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*'   # texts
    | \#[^\n]* | [\[\]{}=\n] | .
    """,
    re.VERBOSE | re.DOTALL,
)

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")

_ARRAY: Final = "[]"
"""Stands in a path for an element of an array of tables, of which there are several."""


class NotEditable(ValueError):
    """The text has a layout in which this setting cannot be changed line by line."""


class _Statement(NamedTuple):
    """A logical line of the text.

    Attributes:
        text: with the end of its last line.
        path: of its key, or of the table that it begins; empty for a comment or a blank line.
        table: that it stands in.
        value: the place of its value in the text; None if it has none.
    """

    text: str
    path: Path
    table: Path
    value: slice | None


def read_toml(text: str) -> dict[str, Any]:
    """Return the table that a text means.

    Raises:
        NotEditable: if it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotEditable(f"is not valid TOML: {error}") from error


def value_at(table: object, path: Path) -> Any:
    """Return what stands at a path; None if nothing does."""
    for name in path:
        table = table.get(name) if isinstance(table, Mapping) else None
    return table


def with_setting(text: str, path: Path, value: object) -> str:
    """Return the text with one setting changed or added.

    Args:
        text: of the whole file.
        path: of the setting; the tables around it are made if they are not there.
        value: a text, a number, true or false, a list or a table of these.

    Raises:
        NotEditable: if the text is not TOML, or the setting cannot be changed in its layout.
    """
    before = read_toml(text)
    if value_at(before, path) == value and type(value_at(before, path)) is type(value):
        return text
    if any(isinstance(value_at(before, path[:length]), list) for length in range(1, len(path))):
        raise _refusal(path)  # of several tables, none is meant more than another
    statements = _cut(text)
    changed = _exchange(statements, before, path, value) or _insert(statements, text, path, value)
    return _proved(changed, _with(before, path, value), path)


def without_setting(text: str, path: Path) -> str:
    """Return the text with one setting, or a whole table, made a comment.

    Raises:
        NotEditable: if the text is not TOML, or the setting cannot be taken out of its layout.
    """
    before = read_toml(text)
    if value_at(before, path) is None:
        return text
    expected = _without(before, path)
    statements = _cut(text)
    if not any(statement.path[: len(path)] == path for statement in statements):
        outer = _inline(statements, path)
        if outer is None:
            raise _refusal(path)
        changed = _exchange(statements, before, outer.path, value_at(expected, outer.path))
        return _proved(changed, expected, path)
    lines = [
        re.sub(r"(?m)^(?=.)", "# ", statement.text) if statement.path[: len(path)] == path else statement.text
        for statement in statements
    ]
    return _proved("".join(lines), expected, path)


def write_value(value: object) -> str:
    """Return a value as TOML has it, on one line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            # JSON's texts are TOML's but for one control character. Source: TOML 1.0.0, "String".
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case Mapping():
            return f"{{ {', '.join(f'{_key(name)} = {write_value(each)}' for name, each in value.items())} }}"
        case list() | tuple():
            return f"[{', '.join(map(write_value, value))}]"
        case _:
            return str(value)


def write_plainly(value: object) -> str:
    """Return a value as TOML has it, a text without its marks."""
    return str(value) if isinstance(value, str | PurePath) else write_value(value)


def line_numbers(text: str) -> dict[tuple[str | int, ...], int]:
    """Return the line at which each key and each table of a TOML text begins, counted from 1.

    Keys are paths; an element of an array of tables is the number of its ``[[…]]``, from 0. What stands inside a value has
    no line of its own.

    Raises:
        NotEditable: if a line is not understood.
    """
    found: dict[tuple[str | int, ...], int] = {}
    elements: dict[Path, int] = {}
    line = 1
    for statement in _cut(text):
        if statement.path and statement.value is None and statement.path[-1] == _ARRAY:
            elements[statement.path] = elements.get(statement.path, -1) + 1
        place = tuple(
            elements.get(statement.path[: depth + 1], 0) if name == _ARRAY else name
            for depth, name in enumerate(statement.path)
        )
        if place:
            found.setdefault(place, line)
        line += statement.text.count("\n")
    return found


# ---------------------------------------------------------------------------------------------------------
# The text in statements


def _cut(text: str) -> list[_Statement]:
    table: Path = ()
    statements = []
    for piece in _pieces(text):
        statement = _read_statement(piece, table)
        statements.append(statement)
        table = statement.table
    return statements


def _pieces(text: str) -> Iterator[str]:
    """Yield each logical line: one with a bracket or a text that is open goes on in the next."""
    start, depth = 0, 0
    for token in _TOKEN.finditer(text):
        depth += token[0] in {"[", "{"}
        depth -= token[0] in {"]", "}"}
        if token[0] == "\n" and depth == 0:
            yield text[start : token.end()]
            start = token.end()
    if start < len(text):
        yield text[start:]


def _read_statement(piece: str, table: Path) -> _Statement:
    begin, end = None, len(piece)
    depth = 0
    for token in _TOKEN.finditer(piece):
        if token[0] == "=" and depth == 0 and begin is None:
            begin = token.end()
        if token[0][0] == "#" and depth == 0:
            end = token.start()
            break
        depth += token[0] in {"[", "{"}
        depth -= token[0] in {"]", "}"}
    head = piece[:end].strip()
    if not head:
        return _Statement(piece, (), table, None)
    if head.startswith("["):
        inside = _path_in(read_toml(head))
        return _Statement(piece, inside, inside, None)
    if begin is None:
        raise NotEditable("has a line without a value")
    key = _path_in(read_toml(f"{piece[: begin - 1]} = 0"))
    value = piece[begin:end]
    start = begin + len(value) - len(value.lstrip())
    return _Statement(piece, (*table, *key), table, slice(start, begin + len(value.rstrip())))


def _path_in(nested: object) -> Path:
    """Return the one path that is in a table of tables."""
    path: list[str] = []
    while isinstance(nested, dict | list) and nested:
        if isinstance(nested, list):
            nested = nested[0]
            path.append(_ARRAY)
        else:
            name, nested = next(iter(nested.items()))
            path.append(name)
    return tuple(path)


# ---------------------------------------------------------------------------------------------------------
# The change


def _exchange(statements: Sequence[_Statement], before: Mapping[str, Any], path: Path, value: object) -> str:
    """Return the text with the value exchanged where the setting, or a table around it, is written as a value; else nothing."""
    outer = _inline(statements, path)
    if outer is None or outer.value is None:
        return ""
    changed = value_at(_with(before, path, value), outer.path)
    return "".join(
        _put(statement, write_value(changed)) if statement is outer else statement.text
        for statement in statements
    )


def _inline(statements: Sequence[_Statement], path: Path) -> _Statement | None:
    """Return the statement that writes a setting, or a table around it, as a value."""
    around = {path[:length] for length in range(1, len(path) + 1)}
    return next((each for each in statements if each.value is not None and each.path in around), None)


def _put(statement: _Statement, value: str) -> str:
    place = statement.value
    assert place is not None, "only settings are changed"  # noqa: S101  our own bug
    return statement.text[: place.start] + value + statement.text[place.stop :]


def _insert(statements: Sequence[_Statement], text: str, path: Path, value: object) -> str:
    """Return the text with a new line: below the comment that explains the setting, else behind the last one of its table."""
    end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    parent = path[:-1]
    lines = [
        statement.text if statement.text.endswith("\n") else statement.text + end for statement in statements
    ]
    place, table = _place_for(statements, path)
    if place is None:
        gap = end if lines and lines[-1].strip() else ""
        head = f"[{'.'.join(map(_key, parent))}]{end}" if parent else ""
        return "".join(lines) + (gap + head if head else "") + _line(path[-1:], value, end)
    line = _line(path[len(table) :], value, end)
    if place > 0 and _bare(lines[place - 1]) == line.strip():
        lines[place - 1] = line  # it was made a comment before
    else:
        lines.insert(place, line)
    return "".join(lines)


def _place_for(statements: Sequence[_Statement], path: Path) -> tuple[int | None, Path]:
    """Return the index of a new line, and the table that it comes to stand in; no index where that has to be made."""
    parent = path[:-1]
    example = re.compile(rf"{re.escape(path[-1])}\s*=")
    inside = [index for index, each in enumerate(statements) if each.table == parent]
    comments = [index for index in inside if example.match(_bare(statements[index].text))]
    if comments:
        return comments[-1] + 1, parent
    written = [index for index in inside if statements[index].path]
    if written:
        return written[-1] + 1, parent
    if not parent:
        is_head = (index for index, each in enumerate(statements) if each.path)
        first = next(is_head, len(statements))
        while first > 0 and statements[first - 1].text.lstrip().startswith("#"):
            first -= 1  # a comment above a table belongs to it
        return first, parent
    # a table that keys with dots have made cannot be begun by a line of its own
    dotted = [
        index
        for index, each in enumerate(statements)
        if each.value is not None and each.path[: len(parent)] == parent and len(each.table) < len(parent)
    ]
    return (dotted[-1] + 1, statements[dotted[-1]].table) if dotted else (None, parent)


def _bare(line: str) -> str:
    """Return a comment without its mark; nothing for any other line."""
    return line.strip().removeprefix("#").strip() if line.lstrip().startswith("#") else ""


def _line(path: Path, value: object, end: str) -> str:
    return f"{'.'.join(map(_key, path))} = {write_value(value)}{end}"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else write_value(name)


# ---------------------------------------------------------------------------------------------------------
# The meaning


def _with(table: Mapping[str, Any], path: Path, value: object) -> dict[str, Any]:
    if not path:
        raise ValueError("there is no setting without a name")
    inner = table.get(path[0])
    held = inner if isinstance(inner, Mapping) else {}
    return {**table, path[0]: value if len(path) == 1 else _with(held, path[1:], value)}


def _without(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if len(path) == 1:
        return {name: value for name, value in table.items() if name != path[0]}
    return {**table, path[0]: _without(table[path[0]], path[1:])}


def _meaning(value: object) -> str:
    """Return the same text for tables that mean the same: an empty table may be gone with its last setting."""
    if not isinstance(value, Mapping):
        return repr(value)  # which tells 1 from 1.0 and from true
    inner = {name: _meaning(value[name]) for name in sorted(value)}
    return repr({name: each for name, each in inner.items() if each != "{}"})


def _proved(text: str, expected: Mapping[str, Any], path: Path) -> str:
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path) from error
    if _meaning(found) != _meaning(expected):
        raise _refusal(path)
    return text


def _refusal(path: Path) -> NotEditable:
    return NotEditable(f"has a layout in which {'.'.join(path)} cannot be changed by a program")
