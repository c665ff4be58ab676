"""Writes the manual pages: from the parser of the command line, the schema of the settings, and the prose beside it.

    SOURCE_DATE_EPOCH=… python3 deploy/man/write_pages.py FOLDER

The package build calls it, with the standard library alone. It never looks at formatted help, which each Python lays
out in its own way: every Python writes the same bytes.
"""

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from device_auth import __version__  # noqa: E402  that of this clone, not of what is installed
from device_auth.cli.examples import EXAMPLES  # noqa: E402
from device_auth.cli.main import EXIT_CODES, VERBS, help_of_provider, make_parser  # noqa: E402
from device_auth.core.states import StateWord, Trouble, phrase_of  # noqa: E402
from device_auth.prompts.light import PATTERN_KEYS, TABLE  # noqa: E402
from device_auth.service.page import KEYS as PAGE_KEYS  # noqa: E402
from device_auth.world.service_unit import UNIT, report_on  # noqa: E402
from device_auth.world.settings import KEYS, option_of, variable_of  # noqa: E402
from hardware.board import HARDWARE_KEYS  # noqa: E402
from hardware.led import Blink  # noqa: E402
from hardware.plans import KEYS_OF_SORTS  # noqa: E402
from hardware.settings import Key, ValueType, as_toml  # noqa: E402

PROGRAM: Final = "device-auth"

PROSE: Final[dict[str, Any]] = tomllib.loads((HERE / "prose.toml").read_text("utf-8"))
"""What the program does not know of itself: descriptions, files, variables, references."""

SERVICE: Final[dict[str, Any]] = tomllib.loads((HERE / "service.toml").read_text("utf-8"))
"""The page of the service: its sections, and the table of what goes wrong at a start."""

SPECIAL: Final = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "^": r"\(ha",
    "~": r"\(ti",
    "`": r"\(ga",
    '"': r"\(dq",
}
"""Characters that roff reads as something else, or prints as others than a shell takes."""

MARKED: Final = re.compile(r"`([^`]+)`|([a-z][a-z.-]+)\((\d)\)")
"""Words of the machine in backticks, and references to other pages."""


# ---------------------------------------------------------------------------------------------------------
# roff


def literal(text: str) -> str:
    """Return a text that is printed letter by letter."""
    return "".join(SPECIAL.get(character, character) for character in text)


def bold(text: str) -> str:
    """Return a text as it is typed."""
    return rf"\fB{literal(text)}\fR"


def italic(text: str) -> str:
    """Return a text that stands for another."""
    return rf"\fI{literal(text)}\fR"


def prose(text: str) -> str:
    """Return a paragraph: what stands in backticks, and the name of a page, is bold."""
    parts, end = [], 0
    for found in MARKED.finditer(text):
        parts += [literal(text[end : found.start()]), bold(found[1] or found[2])]
        parts += [f"({found[3]})"] if found[3] else []
        end = found.end()
    line = re.sub(r"\s+", " ", "".join([*parts, literal(text[end:])])).strip()
    return rf"\&{line}" if line.startswith(".") else line


def paragraphs(text: str) -> Iterator[str]:
    """Yield each paragraph of a text; empty lines part them."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        yield from [".PP", prose(paragraph)] if number else [prose(paragraph)]


def item(tag: str, *sentences: str) -> Iterator[str]:
    """Yield one entry of a list: its tag, then its explanation."""
    yield from (".TP", tag, prose(" ".join(filter(None, sentences))))


def whole_page(name: str, section: int, summary: str, body: Iterable[str]) -> str:
    """Return a page. Its date is that of the release, which the build gives."""
    date = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).date()
    title = f'.TH {literal(name.upper())} {section} {date} "{PROGRAM} {__version__}" "{PROGRAM} manual"'
    # the first line asks for tbl; no word of the machine is broken at the end of a line
    head = ("'\\\" t", title, ".nh", ".ad l", ".SH NAME", f"{literal(name)} \\- {literal(summary)}")
    return "\n".join((*head, *body, ""))


# ---------------------------------------------------------------------------------------------------------
# Section 1: the command and its verbs


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield the page of the command and that of each verb: the name of its file, and its text."""
    parser = make_parser()
    yield f"{PROGRAM}.1", whole_page(PROGRAM, 1, PROSE["summary"], command_body(parser))
    common = [*options_in(parser), *options_in(help_of_provider(PROGRAM))]
    for verb, its_parser in verbs_of(parser).items():
        name = f"{PROGRAM}-{verb}"
        yield f"{name}.1", whole_page(name, 1, VERBS[verb], verb_body(verb, its_parser, common))


def groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Yield the title of each group of arguments, and those of them that are shown."""
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if shown:
            yield group.title or "", shown


def options_in(parser: argparse.ArgumentParser) -> list[str]:
    """Return every spelling of the options that a help text lists."""
    return [option for _, shown in groups(parser) for each in shown for option in each.option_strings]


def verbs_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parser of each verb."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def command_body(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of the command's page."""
    yield from (
        ".SH SYNOPSIS",
        f"{bold(PROGRAM)} [{italic('OPTION')}]... {italic('VERB')} [{italic('ARGUMENT')}]...",
    )
    yield from (".SH DESCRIPTION", *paragraphs(PROSE["description"]), ".SH VERBS")
    for verb, summary in VERBS.items():
        yield from item(f"{bold(f'{PROGRAM}-{verb}')}(1)", summary)
    yield from (".SH OPTIONS", *paragraphs(PROSE["options"]))
    for title, actions in groups(parser):
        options = [action for action in actions if action.option_strings]
        yield from [f".SS {literal(title.capitalize())}"] if options else []
        for action in options:
            yield from described(action)
    for _, actions in groups(help_of_provider(PROGRAM)):
        for action in actions:
            yield from described(action)
    yield ".SH ENVIRONMENT"
    for name, meaning in PROSE["environment"].items():
        yield from item(bold(name), meaning)
    yield ".SH FILES"
    for path, meaning in PROSE["files"].items():
        yield from item(italic(path), meaning)
    yield from endings("", [*(f"{PROGRAM}-{verb}(1)" for verb in VERBS), *PROSE["see_also"]])


def verb_body(verb: str, parser: argparse.ArgumentParser, common: list[str]) -> Iterator[str]:
    """Yield the lines of a verb's page; what every verb has is explained on the command's."""
    about = PROSE["verbs"][verb]
    sub_verbs = verbs_of(parser)
    yield ".SH SYNOPSIS"
    lines = [(f"{PROGRAM} {verb} {name}", each) for name, each in sub_verbs.items()]
    for number, (words, its_parser) in enumerate(lines or [(f"{PROGRAM} {verb}", parser)]):
        used = map(use_of, own_of(its_parser, common))
        yield from [".br"] if number else []
        yield " ".join((bold(words), *used, f"[{italic('OPTION')}]..."))
    yield from (".SH DESCRIPTION", *paragraphs(about["description"]))
    own = own_of(parser, common)
    yield from [".SH OPTIONS"] if own else []
    for action in own:
        yield from described(action)
    for name, its_parser in sub_verbs.items():
        yield f".SH {literal(f'{verb} {name}'.upper())}"
        yield prose(f"{its_parser.description}")
        for action in own_of(its_parser, common):
            yield from described(action)
    shared = ", ".join(f"`{option}`" for option in options_in(parser) if option in common)
    yield from (
        ".SH COMMON OPTIONS",
        prose(
            f"Every verb accepts these and those of the provider, which {PROGRAM}(1) explains, as it does files and"
            f" environment: {shared}."
        ),
    )
    yield from endings(verb, [f"{PROGRAM}(1)", *about["see_also"]])


def own_of(parser: argparse.ArgumentParser, common: list[str]) -> list[argparse.Action]:
    """Return the arguments that a verb alone has; its sub-verbs are no argument."""
    shown = [
        action for _, group in groups(parser) for action in group if not {*common} & {*action.option_strings}
    ]
    return [action for action in shown if not isinstance(action, argparse._SubParsersAction)]


def endings(verb: str, see_also: Iterable[str]) -> Iterator[str]:
    """Yield the sections that every page of section 1 ends with."""
    yield ".SH EXIT STATUS"
    for code, meaning in re.findall(r"^  (\d+) +(.+(?:\n {7}.+)*)$", EXIT_CODES, re.MULTILINE):
        yield from item(bold(code), meaning)
    yield ".SH EXAMPLES"
    for command, meaning in EXAMPLES[verb].items():
        yield from item(bold(command), meaning)
    yield from (".SH SEE ALSO", prose(", ".join(see_also)))


def described(action: argparse.Action) -> Iterator[str]:
    """Yield the entry of an argument; where its help explains each of its words in turn, one for each."""
    words = [str(word) for word in action.choices or ()]
    _, *parts = (
        re.split(rf"(?:^|; )({'|'.join(map(re.escape, words))}): ", help_of(action)) if words else [""]
    )
    if words and parts[::2] == words:
        for word, meaning in zip(words, parts[1::2], strict=True):
            yield from item(bold(word), meaning)
    else:
        unnamed = [word for word in words if literal(word) not in tag_of(action) + literal(help_of(action))]
        listed = ", ".join(f"`{word}`" for word in words)
        yield from item(tag_of(action), help_of(action), f"(one of {listed})" if unnamed else "")


def help_of(action: argparse.Action) -> str:
    """Return the help of an argument, with its figures filled in as argparse does it."""
    return (action.help or "") % vars(action)


def value_of(action: argparse.Action) -> str:
    """Return what stands for the value of an argument; nothing where it takes none."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str) and "|" not in action.metavar:
        is_left_out = action.nargs == argparse.OPTIONAL and action.option_strings
        return f"[{italic(action.metavar)}]" if is_left_out else italic(action.metavar)
    if action.choices:
        return "|".join(bold(str(choice)) for choice in action.choices)
    return italic(action.dest.upper())


def tag_of(action: argparse.Action) -> str:
    """Return an argument as its entry begins: every spelling, and what stands for its value."""
    return " ".join(filter(None, (", ".join(map(bold, action.option_strings)), value_of(action))))


def use_of(action: argparse.Action) -> str:
    """Return an argument as the synopsis has it, in one piece."""
    used = r"\ ".join(filter(None, (*map(bold, action.option_strings[-1:]), value_of(action))))
    return used if action.required else f"[{used}]"


# ---------------------------------------------------------------------------------------------------------
# Section 5: the settings file


def settings_page() -> str:
    """Return the page of the settings file."""
    about = PROSE["settings"]
    return whole_page(f"{PROGRAM}.toml", 5, about["summary"], settings_body(about))


def settings_body(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of that page."""
    yield from (".SH DESCRIPTION", *paragraphs(about["description"]))
    tables: dict[str, Iterable[Key]] = {
        "": KEYS,
        "page": PAGE_KEYS,
        "hardware": HARDWARE_KEYS,
        **{f"hardware.{sort}": keys for sort, keys in KEYS_OF_SORTS.items()},
        "hardware.patterns.MEANING": PATTERN_KEYS,
    }
    for table, keys in tables.items():
        yield ".SH SETTINGS" if not table else f".SH THE TABLE [{literal(table)}]"
        yield from paragraphs(about["tables"][table or "top"].replace("MEANINGS", ", ".join(map(str, TABLE))))
        for key in keys:
            yield from setting(key, is_at_top=not table)
    yield ".SH FILES"
    for path, meaning in about["files"].items():
        yield from item(italic(path), meaning)
    yield from (".SH EXAMPLES", *paragraphs(about["example"]), ".PP", ".nf")
    yield from map(literal, about["example_file"].splitlines())
    yield from (".fi", ".SH SEE ALSO", prose(", ".join(about["see_also"])))


def setting(key: Key, *, is_at_top: bool) -> Iterator[str]:
    """Yield the entry of a setting."""
    selector = "dialect" if is_at_top else "kind"
    values = ", ".join(f"`{as_toml(choice)}`" for choice in key.choices)
    kind_of_value = "" if values or key.type is ValueType.ANY else f" = {italic(key.type)}"
    example = (
        "" if key.choices or key.example in ("", key.default) else f"For example: `{as_toml(key.example)}`."
    )
    default = str(key.default) if isinstance(key.default, Path) else key.default
    ways = [f"`{way}`" for way in (variable_of(key), option_of(key)) if way] if is_at_top else []
    yield from item(
        bold(key.name) + kind_of_value,
        key.explanation,
        f"One of {values}." if values else "",
        f"{key.within[0]} to {key.within[-1]}." if key.within else "",
        f"Only for {selector} {' or '.join(f'`{name}`' for name in key.only)}." if key.only else "",
        "Must be set." if key.is_required else "",
        f"Default: `{as_toml(default)}`." if is_shown(default) else "",
        example,
        f"Also {' and '.join(ways)}." if ways else "",
    )


def is_shown(default: object) -> bool:
    """Return whether a default says something to a person."""
    return isinstance(default, str | int | float | tuple) and default not in ("", ())


# ---------------------------------------------------------------------------------------------------------
# Section 8: the service


def service_page() -> str:
    """Return the page of the service."""
    return whole_page(f"{PROGRAM}.service", 8, SERVICE["summary"], service_body())


def service_body() -> Iterator[str]:
    """Yield the lines of that page."""
    for section in SERVICE["sections"]:
        yield f".SH {literal(section['head'])}"
        yield from paragraphs(section["text"]) if "text" in section else ()
        for tag, meaning in section.get("items", {}).items():
            yield from item(bold(tag), meaning)
        yield from start_table() if "has_starts" in section else ()
    yield from (".SH SEE ALSO", prose(", ".join(SERVICE["see_also"])))


def start_table() -> Iterator[str]:
    """Yield the table of starts."""
    yield from (
        ".PP",
        ".na",  # a column is as narrow as a word, and troff tells of each line that it cannot adjust
        ".TS",
        "tab(@);",
        "lb lb lb lb",
        "lw(16) lw(9) lw(8) lw(29).",
        "Cause@Unit@Light@Status",
        "_",
    )
    for start in SERVICE["starts"]:
        yield "@".join(f"T{{\n{prose(cell)}\nT}}" for cell in (start["cause"], *seen_at(start)))
    yield from (".TE", ".ad")


def seen_at(start: Mapping[str, str]) -> tuple[str, str, str]:
    """Return what becomes of the unit at a start, and what the light and ``status`` show."""
    if "exit" in start:
        code = start["exit"].partition("/")[0]
        return f"{start['unit']}: {code}", "dark", sentence_of_down(start["unit"], code)
    trouble = Trouble(start.get("trouble", Trouble.NONE))
    state = StateWord(start.get("state", StateWord.UNLINKED))
    light = TABLE[state if trouble is Trouble.NONE else trouble]
    words = f"{light.count} blinks" if isinstance(light, Blink) else "dark"
    words = start.get("light", words)  # it has no light then
    return "active", words, phrase_of(state, trouble).sentence


def sentence_of_down(unit: str, code: str) -> str:
    """Return what ``status`` says of a service that does not come up."""
    active = "failed" if unit == "failed" else "activating"
    known = {"LoadState": "loaded", "ActiveState": active, "SubState": "auto-restart", "NRestarts": "N"}
    units = {UNIT: {**known, "Result": "exit-code", "ExecMainStatus": code}}
    report = report_on(units, Path("/"))
    return report.sentence if report is not None else ""


# ---------------------------------------------------------------------------------------------------------


def all_pages() -> dict[str, str]:
    """Return every page by the name of its file."""
    settings, service = settings_page(), service_page()
    return {**dict(command_pages()), f"{PROGRAM}.toml.5": settings, f"{PROGRAM}.service.8": service}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in all_pages().items():
        (folder / name).write_text(text, "utf-8")
