"""``device-auth config init``: a settings file that explains every setting, with those that a person or the options give."""

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.assembly.checked_settings import check_settings
from device_auth.assembly.settings_draft import cannot_write, prove_writable, rights_of_new
from device_auth.cli.output import print_json
from device_auth.cli.pasting import ask_hidden, ask_line, is_conversation
from device_auth.cli.settings_changes import Invocation
from device_auth.core.errors import ConfigError, Interrupted, SettingMissing, StoreError
from device_auth.core.models import DialectName
from device_auth.prompts.stderr import say
from device_auth.wire.pasted import trim
from device_auth.world.files import Folder
from device_auth.world.owners import as_owner
from device_auth.world.provider import (
    fault_of_answer,
    provider_problems,
    read_dsn_of_board,
    warnings_about,
)
from device_auth.world.service_unit import RELOAD, SWITCH_ON, UNIT, ask_systemd, is_installed
from device_auth.world.settings import (
    HARDWARE,
    KEY_OF,
    KEYS,
    LONGEST_SECRET,
    PAGE,
    gather_settings,
    option_of,
    read_settings,
    read_word,
    variable_of,
)
from device_auth.world.toml_lines import with_setting, write_plainly
from device_auth.world.unit import SERIAL_NUMBER
from hardware.board import NO_BOARD, board_names
from hardware.settings import Key

WIDTH: Final = 80
"""Columns of the comments in the file."""

WELCOME: Final = (
    "The settings of this speaker, question by question. Enter alone leaves a setting out; Ctrl-C ends this, and nothing is"
    " written.",
    "The IDs are in Amazon's developer console, https://developer.amazon.com. Amazon has closed AVS to many new products:"
    " where the console offers it to you no more, see it work with device-auth link --simulate, or name another provider"
    " with --dialect rfc8628.",
)

SETTINGS_ASKED: Final = {
    DialectName.LWA: ("client_id", "product_id", "dsn"),
    DialectName.RFC8628: ("client_id", "issuer", "client_secret"),
}
"""The settings without which there is no link, and a secret, which there may be."""

ABOUT_BOARD: Final = "The board of lights and buttons that this speaker has: "
ABOUT_PAGE: Final = (
    "The speaker's own page for phones near it, which shows the code after a press: on or off."
)


class SettingAnswer(NamedTuple):
    """A setting that somebody gave."""

    path: tuple[str, ...]
    value: object


def example_text() -> str:
    """Return a settings file that explains every setting and sets none."""
    head = (
        "# Settings of device-auth. Take the # away before a setting to make it count.\n"
        "# A variable of the environment is stronger than this file, an option than both.\n"
        "# After a change: device-auth config check\n"
    )
    tail = (
        "\n# The speaker's own page for phones near it, where the code is shown after a\n"
        "# press. It is on; this line switches it off. To say where it is served, write a\n"
        "# table [page] with listen and hosts instead.\n"
        '# page = "off"\n'
        "\n# The board of lights and buttons this speaker has: device-auth hardware list.\n"
        "# Every setting above must stay above this line.\n"
        f'[{HARDWARE}]\n# board = "none"\n'
        "\n# The library that drives the pins: gpiod, or rpi-gpio for the module RPi.GPIO.\n"
        '# gpio = "gpiod"\n'
        "\n# Patterns of the light in place of the usual ones, by state, trouble or notice:\n"
        '# "off", or a kind and a colour ("blue", "#0040ff"). Kinds: solid; blink with\n'
        "# on_ms, off_ms and perhaps count and pause_ms; breathe with brighter_ms and\n"
        "# darker_ms. Nothing faster than 2 Hz, and no trouble like another; to see them:\n"
        "# device-auth hardware test.\n"
        f"# [{HARDWARE}.patterns]\n"
        '# linked = { kind = "solid", colour = "#0040ff" }\n'
    )
    return head + "".join(_explained(key) for key in KEYS) + tail


def new_text() -> str:
    """Return the example with the library of the pins that is installed here, if one is."""
    from device_auth.tools.parts_list import choose_back_end

    try:
        back_end, _ = choose_back_end(None)
    except ConfigError:
        return example_text()
    return with_setting(example_text(), (HARDWARE, "gpio"), back_end)


def _explained(key: Key) -> str:
    default = f"Default: {write_plainly(key.default)}." if key.default not in {"", None} else ""
    belongs = f"Only for the dialect {' or '.join(key.only)}." if key.only else ""
    story = " ".join(part for part in (key.explanation, belongs, default) if part)
    comment = textwrap.fill(story, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    ways = ", ".join(way for way in (variable_of(key), option_of(key)) if way)
    return f"\n{comment}\n# ({ways})\n# {key.example_line}\n"


# ---------------------------------------------------------------------------------------------------------
# The verb


def init(call: Invocation, *, has_force: bool, is_root: bool) -> int:
    """Ask for the settings where a person can answer, write the file, and return the exit code.

    Args:
        call: its options give settings, too.
        has_force: write over a file that is there.
        is_root: whose settings are the service's.

    Raises:
        ConfigError: if an option has a value that it cannot have, or the file cannot be written.
        Interrupted: if the person ends it; then nothing was written.
    """
    path = call.places.new_config_file
    answers = [*_answers_in(call.options)]
    try:
        if is_conversation() and not call.is_json:
            as_owner(path, lambda _: _prove(path, has_force=has_force))
            answers += _ask(call, {answer.path[0] for answer in answers})
        text = new_text()
        for answer in answers:
            text = with_setting(text, answer.path, answer.value)
        as_owner(path, lambda _: _write_new(path, text.encode(), has_force=has_force))
    except StoreError as error:  # of the path, before anything was looked at
        raise ConfigError(f"cannot write {path}: {error}", hint=error.hint) from error
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted("nothing was written", hint="Start again: device-auth config init") from error
    _report(call, answers, is_root=is_root)
    return 0


def _report(call: Invocation, answers: list[SettingAnswer], *, is_root: bool) -> None:
    path = call.places.new_config_file
    files = call.places.files._replace(config=path)
    checked = check_settings({}, files, call.environ)
    problems = [*checked.problems, *checked.provider_problems]
    command = _next_command(call, problems, answers, is_root=is_root)
    # an answer was warned of when it was given
    given = {option for option, value in call.options.items() if value}
    notes = [note for note in checked.warnings() if note.partition(" ")[0] in given]
    if call.is_json:
        print_json(
            {
                "file": str(path),
                "set": {".".join(answer.path): answer.value for answer in answers},
                "notes": notes,
                "problems": [{"message": str(problem), "hint": problem.hint} for problem in problems],
                "next": command,
            }
        )
        return
    say(f"Wrote {path}.")
    for problem in problems:
        say(f"Still open: {problem}.")
    for note in notes:
        say(f"Note: {note}")
    if call.places.files.config not in {None, path}:
        say(
            f"But {call.places.files.config} is read first; name the new one with --config, or change that one."
        )
    say(f"Next: {command}")


def _next_command(
    call: Invocation, problems: list[ConfigError], answers: list[SettingAnswer], *, is_root: bool
) -> str:
    sudo = "sudo " if is_root else ""
    named = f" --config {call.options['config']}" if call.options.get("config") else ""
    if problems and isinstance(problems[0], SettingMissing):
        return f"{sudo}device-auth config set {str(problems[0]).partition(' ')[0]} VALUE{named}"
    if problems:
        return f"{sudo}device-auth config check{named}"
    if not (is_root and is_installed(call.root)):
        return f"device-auth link{named}"
    board = next((str(answer.value) for answer in answers if answer.path[0] == HARDWARE), NO_BOARD)
    if board not in {NO_BOARD, "simulated"}:
        return f"sudo device-auth hardware enable {board}"
    is_running = ask_systemd(call.root).get(UNIT, {}).get("ActiveState") == "active"
    return RELOAD if is_running else SWITCH_ON


def _prove(path: Path, *, has_force: bool) -> None:
    _refuse_existing(path, has_force=has_force)
    prove_writable(path)


def _refuse_existing(path: Path, *, has_force: bool) -> None:
    if not has_force and os.path.lexists(path):
        raise ConfigError(
            f"there is a settings file already: {path}",
            hint="Change it: device-auth config set KEY VALUE, or device-auth config edit. Write another with --config,"
            " or write over it with --force.",
        )


def _write_new(path: Path, content: bytes, *, has_force: bool) -> None:
    """Write the file."""
    _refuse_existing(path, has_force=has_force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Folder.open_for_leader(path.parent) as folder:
            folder.owner, mode = rights_of_new(folder)
            folder.replace(path.name, content, mode, is_durable=True)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


# ---------------------------------------------------------------------------------------------------------
# The options and the questions


def _answers_in(options: Mapping[str, object]) -> Iterator[SettingAnswer]:
    """Yield the settings that options give.

    Raises:
        ConfigError: if one cannot have its value.
    """
    given = {key.name: options[key.name] for key in KEYS if options.get(key.name) is not None}
    settings, problems = gather_settings(given, None, {})
    for problem in [*problems, *provider_problems(settings)]:
        if not isinstance(problem, SettingMissing):
            raise problem
    for name, value in given.items():
        yield SettingAnswer((name,), read_word(KEY_OF[name], value))


def _ask(call: Invocation, given: set[str]) -> Iterator[SettingAnswer]:
    """Ask for what is not given, and yield each answer."""
    for text in WELCOME:
        say(text)
    dialect = DialectName(str(call.options.get("dialect", DialectName.LWA)))
    settings, _ = gather_settings({}, call.places.files._replace(config=None), {})
    for name in SETTINGS_ASKED[dialect]:
        if settings.is_given(name) and name not in given:
            say(f"\n{name}: {settings.origins[name].replace(' ', ', ', 1)}")
        elif name not in given and (answer := _ask_key(KEY_OF[name], dialect, call.root)):
            yield SettingAnswer((name,), answer)
    names = [name for name in board_names() if name != "simulated"]
    board = _ask_word("board", f"{ABOUT_BOARD}{', '.join(names)}.", names, NO_BOARD)
    if board != NO_BOARD:
        yield SettingAnswer((HARDWARE, "board"), board)
    if _ask_word(PAGE, ABOUT_PAGE, ["on", "off"], "on") == "off":
        yield SettingAnswer((PAGE,), "off")


def _ask_key(key: Key, dialect: DialectName, root: Path) -> str:
    """Return the answer to the question for a setting; empty if it is left out."""
    _explain(key.explanation)
    usual = read_dsn_of_board(root / SERIAL_NUMBER.relative_to("/")) if key.name == "dsn" else ""
    kept = ""
    while True:
        if key.is_secret:
            content = ask_hidden(f"{key.name} (not shown): ", LONGEST_SECRET)
            answer = trim(content.decode("utf-8", "surrogateescape"))
        else:
            shown = f" [{kept or usual}]" if kept or usual else ""
            answer = ask_line(f"{key.name}{shown}: ") or kept
        if not answer and not usual and not key.is_secret:
            say(f"{key.name} is left out; there is no link until it is set.")
        if not answer or (kept and answer == kept):
            return answer
        if fault := fault_of_answer(key, answer, dialect):
            say(f"{key.name} {fault}.")
            kept = ""
            continue
        doubts = (
            []
            if key.is_secret
            else warnings_about(read_settings({"dialect": dialect, key.name: answer}, None, {}))
        )
        if not doubts:
            return answer
        for doubt in doubts:
            say(f"Note: {doubt}")
        say("Enter keeps it.")
        kept = answer


def _ask_word(name: str, explanation: str, words: list[str], usual: str) -> str:
    """Return one of several words; Enter alone is the usual one."""
    _explain(explanation)
    while True:
        answer = ask_line(f"{name} [{usual}]: ").lower() or usual
        if answer in words:
            return answer
        say(f"{name} must be one of: {', '.join(words)}.")


def _explain(text: str) -> None:
    say("")
    say(text, indent="  ")
