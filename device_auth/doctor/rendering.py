"""Findings as text for people and as fields for programs; they are redacted before."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from device_auth.doctor.check_run import GROUPS, CheckResult, exit_code_of, verdict_of
from device_auth.doctor.findings import Finding, Verdict

INDENT: Final = 4

TITLE: Final = 16
"""Columns of a group's title where its findings are counted beside it."""

_ASCII: Final = {"→": "->", "…": "...", "–": "-", "’": "'"}

_WORDS: Final = {
    Verdict.OK: "ok",
    Verdict.WARN: "warning",
    Verdict.FAIL: "FAILED",
    Verdict.SKIPPED: "skipped",
}
_WRONG: Final = (Verdict.FAIL, Verdict.WARN)
_WORST_FIRST: Final = (*_WRONG, Verdict.SKIPPED, Verdict.OK)
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
    """Return lines for people: the findings by group, a count, and the finding to begin with.

    That one comes last, because a terminal shows the last lines. Without facts it stands nowhere else, and what is well or
    was skipped is only counted.
    """
    first = _first(examined)
    lines = []
    for letter, group in groupby(examined, key=lambda each: each.check.code[0]):
        of_group, title = list(group), GROUPS[letter].title
        if style.has_facts:
            told = of_group
        else:
            title = f"{title:<{TITLE}}{_count(of_group)}"
            told = [each for each in of_group if each.finding.verdict in _WRONG and each is not first]
        lines += _wrap(title, style, "", "  ")
        for _, alike in groupby(told, key=_skipped_because):
            lines += _about(list(alike), style)
        if style.has_facts:
            lines.append("")
    if not style.has_facts:
        lines.append("")
    more = "" if style.has_facts else " (-v lists them)"
    lines += _wrap(f"{len(examined)} checks: {_count(examined)}{more}.", style, "", "")
    for refused, count in Counter(each.finding for each in examined if _is_refused(each.finding)).items():
        lines += _wrap(f"{count} skipped: {refused.sentence}", style, "", "  ")
        lines += _step(refused, style, "  ")
    if first is None:
        return [*lines, "Nothing wrong was found."]
    return [*lines, "Begin with:", *_about([first], style._replace(has_facts=False))]


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
    yield from _step(finding, style, indent)
    if style.has_facts:
        for name, value in finding.facts:
            yield from _wrap(f"{name}: {value}", style, indent + "  ", indent + "    ")


def _step(finding: Finding, style: TextStyle, indent: str) -> list[str]:
    """Return the lines of the next step; none if there is none."""
    arrow = style.clean("→ ")
    return _wrap(finding.next_step, style, indent + arrow, indent + " " * len(arrow))


def _is_refused(finding: Finding) -> bool:
    """Return whether a check was skipped that could be made by another user."""
    return finding.verdict is Verdict.SKIPPED and bool(finding.next_step)


def _first(examined: Sequence[CheckResult]) -> CheckResult | None:
    """Return the finding to begin with: the first of the worst; None if nothing is wrong."""
    worst = verdict_of(examined)
    found = (each for each in examined if each.finding.verdict is worst)
    return None if worst is Verdict.OK else next(found)


def _count(examined: Sequence[CheckResult]) -> str:
    """Return how many findings there are of each verdict, the worst first."""
    count = Counter(each.finding.verdict for each in examined)
    words = {**_WORDS, Verdict.WARN: "warning" if count[Verdict.WARN] == 1 else "warnings"}
    return ", ".join(f"{count[verdict]} {words[verdict]}" for verdict in _WORST_FIRST if count[verdict])


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
