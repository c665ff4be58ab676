"""The operator who looks at the parts during a test: a person at the terminal, or a rig that writes its answers."""

import json
import sys
from typing import Final, Protocol, TextIO

from device_auth.prompts.stderr import say

NOT_AS_EXPECTED: Final = "something else"
"""What was seen, where only "no" is known."""

_YES: Final = ("y", "yes", "true", "ok")
_NO: Final = ("", "n", "no", "false")


class NobodyAnswers(Exception):
    """The answers ended before the questions."""


class Operator(Protocol):
    """Sees and hears the parts."""

    @property
    def is_rig(self) -> bool:
        """Return whether it answers for simulated parts too."""
        ...

    @property
    def needs_time(self) -> bool:
        """Return whether it needs the time of each step to look, before it answers."""
        ...

    def ask(self, part: str, step: str, expected: str) -> None:
        """Announce what there is to see or hear from now on."""
        ...

    def answer(self, part: str, step: str, expected: str) -> str:
        """Return what there was: ``expected``, or something else.

        Raises:
            NobodyAnswers: if the answers have ended.
        """
        ...


class PersonAtTerminal:
    """Answers yes or no; each pattern is shown until the answer."""

    is_rig: Final = False
    needs_time: Final = False

    def __init__(self, answers: TextIO, questions: TextIO) -> None:
        self._answers = answers
        self._questions = questions

    def ask(self, part: str, step: str, expected: str) -> None:
        """Write what is to be seen."""
        self._write(f"{part}, {step}: {expected}\n")

    def answer(self, part: str, step: str, expected: str) -> str:  # noqa: ARG002  an Operator's signature
        """Ask until the answer is yes or no."""
        while True:
            self._write("  Is it so? [y/n] ")
            answer = _read(self._answers).lower()
            if answer in _YES:
                return expected
            if answer and answer in _NO:
                return NOT_AS_EXPECTED

    def _write(self, text: str) -> None:
        self._questions.write(text)
        self._questions.flush()


class Rig:
    """Writes one answer a line, in the order of the questions.

    A line is a word or a JSON object. ``yes`` means as expected and ``no`` the opposite; any other text is what was seen,
    and is right if it is the expected text. An object has ``seen`` (such a text, or true or false) and may have
    ``part`` and ``step``, which then must be those of the question, to detect a rig that is out of step; where a step
    has several names, one of them is enough.
    """

    is_rig: Final = True
    needs_time: Final = True

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers

    def ask(self, part: str, step: str, expected: str) -> None:
        """Write what is shown from now on."""
        say(f"{part}, {step}: {expected}")

    def answer(self, part: str, step: str, expected: str) -> str:
        """Read what the rig saw."""
        return read_answer(_read(self._answers), part, step, expected)


def read_answer(line: str, part: str, step: str, expected: str) -> str:
    """Read a rig's answer to one question; see ``Rig``. Any line gives an answer."""
    seen = line
    if line.startswith("{"):
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            return f"not JSON: {_seen(line)}"
        meant_part, meant_step = str(answer.get("part", part)), str(answer.get("step", step))
        if meant_part != part or meant_step not in (step, *step.split(", ")):
            return f"the answer is for {_seen(meant_part)}, {_seen(meant_step)}"
        seen = str(answer.get("seen", "")).strip()
    if seen.casefold() in (*_YES, expected.casefold()):
        return expected
    return NOT_AS_EXPECTED if seen.casefold() in _NO else _seen(seen)


def _read(answers: TextIO) -> str:
    line = answers.readline()
    if not line:
        raise NobodyAnswers
    return line.strip()


def _seen(text: str) -> str:
    """Return a text as a terminal can show it."""
    return text if text.isprintable() else ascii(text)


def choose_operator(*, is_rig: bool) -> Operator | None:
    """Return the rig behind standard input, or the person at the terminal; None without either."""
    if sys.stdin is None:
        return None
    if is_rig:
        return Rig(sys.stdin)
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    return PersonAtTerminal(sys.stdin, sys.stderr) if is_terminal else None
