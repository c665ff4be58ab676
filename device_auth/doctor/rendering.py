"""Findings as text for people and as fields for programs; they are redacted before."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from device_auth.doctor.check_run import GROUPS, CheckResult, exit_code_of, verdict_of
from device_auth.doctor.findings import Verdict

INDENT: Final = 4

_ASCII: Final = {"→": "->", "…": "...", "–": "-", "’": "'"}

_WORDS: Final = {
    Verdict.OK: "ok",
    Verdict.WARN: "warning",
    Verdict.FAIL: "FAILED",
    Verdict.SKIPPED: "skipped",
}
_COLOURS: Final = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "31;1", Verdict.SKIPPED: "2"}


class TextStyle(NamedTuple):
    """The style of text.

    Attributes:
        columns: the width.
        encoding: of the output.
        has_colour: write colours.
        has_facts: write the findings' facts.
    """

    columns: int = 80
    encoding: str = "utf-8"
    has_colour: bool = False
    has_facts: bool = False

    def clean(self, text: str) -> str:
        """Return the text in letters of the encoding, without controls."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            for letter, instead in _ASCII.items():
                text = text.replace(letter, instead)
            text = text.encode("ascii", "replace").decode("ascii")
        return "".join(letter if letter.isprintable() else "?" for letter in text)


def as_text(examined: Sequence[CheckResult], style: TextStyle) -> list[str]:
    """Return lines for people: the findings by group, and a summary."""
    lines = []
    for letter, group in groupby(examined, key=lambda each: each.check.code[0]):
        lines.append(GROUPS[letter].title)
        for _, alike in groupby(group, key=_skipped_because):
            lines += _about(list(alike), style)
        lines.append("")
    return [*lines, *_wrap(_summary(examined), style, "", "")]


def as_fields(examined: Sequence[CheckResult], *, at: str, version: str) -> dict[str, object]:
    """Return the object that ``--json`` prints."""
    return {
        "verdict": verdict_of(examined),
        "exit_code": exit_code_of(examined),
        "at": at,
        "version": version,
        "findings": [
            {
                "code": each.check.code,
                "name": each.check.name,
                "verdict": each.finding.verdict,
                "sentence": each.finding.sentence,
                "next_step": each.finding.next_step,
                "exit_code": each.finding.exit_code,
                "facts": dict(each.finding.facts),
            }
            for each in examined
        ],
    }


def _skipped_because(each: CheckResult) -> str:
    """Return the key by which checks that were skipped for one reason are grouped."""
    finding = each.finding
    return finding.sentence if finding.verdict is Verdict.SKIPPED else each.check.code


def _about(alike: Sequence[CheckResult], style: TextStyle) -> Iterator[str]:
    """Return the lines of one finding, or of several that were skipped for one reason."""
    finding, indent = alike[0].finding, " " * INDENT
    word = f"{_WORDS[finding.verdict]:<7}"
    names = ", ".join(f"{each.check.code} {each.check.name}" for each in alike)
    first, *more = _wrap(f"{word} {names}", style, "  ", indent)
    shown = f"\x1b[{_COLOURS[finding.verdict]}m{word}\x1b[0m" if style.has_colour else word
    yield first.replace(word, shown, 1)
    yield from more
    yield from _wrap(finding.sentence, style, indent, indent)
    if finding.next_step:
        arrow = style.clean("→ ")
        yield from _wrap(finding.next_step, style, indent + arrow, indent + " " * len(arrow))
    if style.has_facts:
        for name, value in finding.facts:
            yield from _wrap(f"{name}: {value}", style, indent + "  ", indent + "    ")


def _summary(examined: Sequence[CheckResult]) -> str:
    count = {verdict: sum(each.finding.verdict is verdict for each in examined) for verdict in Verdict}
    text = f"{len(examined)} checks: {count[Verdict.FAIL]} failed, {count[Verdict.WARN]} with a warning, {count[Verdict.SKIPPED]} skipped."
    worst = verdict_of(examined)
    if worst is Verdict.OK:
        return f"{text} Nothing wrong was found."
    first = next(each.check for each in examined if each.finding.verdict is worst)
    return f"{text} Begin with {first.code} {first.name}."


def _wrap(text: str, style: TextStyle, first: str, rest: str) -> list[str]:
    # Commands and paths are not broken: people copy them.
    return textwrap.wrap(
        style.clean(text),
        max(style.columns - 1, 20),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
