"""The completions: they are what their writer makes today, name what ``--help`` names, and complete in real shells."""

import argparse
import re
import shlex
import shutil
from pathlib import Path
from typing import Final

import pytest

from deploy.completions.write_completions import NAMES, completions
from device_auth.cli.main import VERBS, make_parser
from tests.command import ROOT
from tests.terminal_session import session

FOLDER: Final = ROOT / "deploy" / "completions"

SHELLS: Final = {
    "bash": (
        ("bash", "--noprofile", "--norc", "-i"),
        "bind 'set bell-style none'; source deploy/completions/bash/device-auth",
    ),
    "zsh": (
        ("zsh", "-f", "-i"),
        "fpath=($PWD/deploy/completions/zsh $fpath); autoload -Uz compinit; compinit -u -d $HOME/dump",
    ),
    "fish": (
        ("fish", "--no-config", "-i"),
        "set -g fish_autosuggestion_enabled 0; function fish_prompt; echo -n 'ready> '; end;"
        " source deploy/completions/fish/device-auth.fish",
    ),
}
"""How each is started without its user's own settings, and told of our completions."""

CLEAR_THE_LINE: Final = "\x15"

TYPED: Final = {
    "device-auth stat": "device-auth status",
    "device-auth --simulate unl": "device-auth --simulate unlink",
    "device-auth link --client-sec": "device-auth link --client-secret-file",
    "device-auth link --dialect rf": "device-auth link --dialect rfc8628",
    "device-auth token --help-p": "device-auth token --help-provider",
    "device-auth config ch": "device-auth config check",
    "device-auth factory wipe --verif": "device-auth factory wipe --verify",
    "device-auth hardware enable respeaker-2": "device-auth hardware enable respeaker-2mic",
    "device-auth hardware enable --panel sh": "device-auth hardware enable --panel sh1106",
    "device-auth hardware enable --key rpi": "device-auth hardware enable --key rpi-fw-crypto",
    "device-auth export resp": "device-auth export respeaker",
    "device-auth doctor --report CHANGE": "device-auth doctor --report CHANGELOG.md",
}
"""What a person types before the tabulator, and what then stands there."""


def shown_options(verb: str) -> set[str]:
    """Return every option in the help of a verb, or of the command itself."""
    actions = make_parser()._actions
    if verb:
        verbs = next(action for action in actions if isinstance(action, argparse._SubParsersAction))
        actions = verbs.choices[verb]._actions
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    return {option for action in shown for option in action.option_strings}


def completed_options(shell: str, verb: str) -> set[str]:
    """Return every option that a file completes behind a verb, or before it."""
    text = (FOLDER / NAMES[shell]).read_text()
    name = f"_shtab_device_auth_{verb}" if verb else "_shtab_device_auth"
    if shell == "fish":
        pattern = r"^complete -c device-auth(?: -n '_shtab_device_auth_using ([^';]+)')? (-[ls] .*)$"
        lines = [
            line
            for verbs, line in re.findall(pattern, text, re.MULTILINE)
            if not verbs or verb in shlex.split(verbs)
        ]
        found = [
            word for line in lines for word in re.findall(r"(?:^|\s)-([ls] \S+)", line.partition(" -d ")[0])
        ]
        return {("--" if word[0] == "l" else "-") + word[2:] for word in found}
    listed = re.search(rf"^{name}_option(?:_string)?s=\((.*?)\)$", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    if shell == "bash":
        return set(listed[1].split())
    heads = [line.partition("[")[0] for line in listed[1].splitlines()]
    return {option for head in heads for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", head)}


def test_the_files_are_what_the_writer_makes_of_the_parser() -> None:
    assert {name: (FOLDER / name).read_text() for name in NAMES.values()} == completions(), (
        "run: .venv/bin/python deploy/completions/write_completions.py"
    )


@pytest.mark.parametrize("shell", NAMES)
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_what_is_completed_is_what_help_names(shell: str, verb: str) -> None:
    assert completed_options(shell, verb) == shown_options(verb)


@pytest.mark.parametrize("shell", NAMES)
def test_a_real_shell_completes(shell: str, tmp_path: Path) -> None:
    command, set_up = SHELLS[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{shell} is not installed")
    with session(tmp_path, shell=command) as terminal:
        terminal.type(f"{set_up}; clear; echo all' 'set\n")
        terminal.wait_for(lambda: "ready>" in terminal.text.partition("all set")[2])
        for typed, completed in TYPED.items():
            terminal.type(f"{CLEAR_THE_LINE}{typed}\t")
            terminal.wait_for(f"ready> {completed}")
