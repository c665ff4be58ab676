"""Writes the completions of bash, zsh and fish: from the parser of the command line, by shtab.

    .venv/bin/python deploy/completions/write_completions.py

What it writes is committed: the shtab of Debian knows no fish and writes other bytes, so no package build runs it. A
test makes the files anew and compares.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shtab

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from device_auth.cli.main import make_parser  # noqa: E402  that of this clone, not of what is installed

NAMES: Final = {"bash": "bash/device-auth", "zsh": "zsh/_device-auth", "fish": "fish/device-auth.fish"}
"""The file of each shell, named as the shell looks for it."""

PLACES: Final = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
"""What completes the value of an option that stands for a place."""


def completions() -> dict[str, str]:
    """Return the text of each file."""
    parser = make_parser()
    for action in every_action(parser):
        fit_for_completion(action)
    texts = {name: shtab.complete(parser, shell) for shell, name in NAMES.items()}
    return {**texts, NAMES["fish"]: each_option_once(texts[NAMES["fish"]])}


def every_action(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield each argument of the command and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from every_action(verb)


def fit_for_completion(action: argparse.Action) -> None:
    """Change an argument to what shtab makes the best of."""
    if action.help not in {None, argparse.SUPPRESS}:
        # the first sentence: every verb has every option of the provider, and a line of the terminal is short
        action.help = re.split(r"\.(?: |$)|; ", str(action.help), maxsplit=1)[0]
    if action.choices and not action.option_strings:
        action.help = None  # it explains each of the words, and would stand beside all of them
    if isinstance(action.metavar, str) and action.metavar in PLACES:
        action.complete = PLACES[action.metavar]  # type: ignore[attr-defined]  # so shtab is told
    if action.option_strings and action.nargs == argparse.OPTIONAL:
        # shtab would take the verb behind a bare --simulate for its value
        action.nargs, action.choices = 0, None


def each_option_once(fish: str) -> str:
    """Return a script for fish in which an option has one line with its verbs, where shtab writes a line for each verb.

    At each completion fish reads each line; one for each verb also takes 2 kB in the package.
    """
    line = re.compile(
        r"^complete -c device-auth -n '?_shtab_device_auth_using(?: ([a-z][a-z -]*))?'? (-[ls] .*)\n",
        re.MULTILINE,
    )
    verbs_of: dict[str, list[str]] = {}
    for verb, option in line.findall(fish):
        verbs_of.setdefault(option, []).append(f'"{verb}"' if " " in verb or not verb else verb)
    every = max(map(len, verbs_of.values()))
    lines = [
        "complete -c device-auth"
        + (f" -n '_shtab_device_auth_using {' '.join(verbs)}'" if len(verbs) < every else "")
        + f" {option}\n"
        for option, verbs in verbs_of.items()
    ]
    # Its condition takes one verb, of one word or two, without quotes.
    fish = re.sub(
        r"'_shtab_device_auth_using ?([a-z -]*); and ",
        r"""'_shtab_device_auth_using "\1"; and """,
        line.sub("", fish),
    )
    condition = (
        'test "$_shtab_device_auth_cmdpath" = "$argv"',
        'contains -- "$_shtab_device_auth_cmdpath" $argv',
    )
    return fish.replace(*condition) + "".join(lines)


if __name__ == "__main__":
    for name, text in completions().items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text, "utf-8")
