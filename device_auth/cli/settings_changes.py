"""``device-auth config set``, ``unset`` and ``edit``: change a settings file; what is wrong is refused, and the file stays as it is."""

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from device_auth.assembly.checked_settings import check_settings
from device_auth.assembly.settings_draft import (
    MARK,
    SET_ON_UNIT,
    SettingsDraft,
    drafted,
    drafted_where_it_counts,
    is_read_only,
    prove_writable,
    read_present,
    real_path,
)
from device_auth.cli.output import print_json
from device_auth.cli.pasting import ask_hidden, ask_line, is_conversation, is_typed, read_paste
from device_auth.core.errors import ConfigError, Interrupted, WrongUse
from device_auth.prompts.stderr import say, say_problem
from device_auth.wire.pasted import read_text, trim
from device_auth.world.files import beside_of
from device_auth.world.owners import ROOT as ROOT_ID
from device_auth.world.owners import as_owner
from device_auth.world.places import Places, read_places
from device_auth.world.service_unit import RELOAD, RESTART, is_installed
from device_auth.world.settings import (
    AT_START,
    DEFAULT,
    HIDDEN,
    KEY_OF,
    LARGEST_FILE,
    LONGEST_SECRET,
    SETTINGS,
    TABLES,
    environment_for_others,
    holds_secret,
    path_of,
    read_word,
)
from device_auth.world.toml_lines import NotEditable, read_toml, value_at, with_setting, without_setting
from device_auth.world.toml_lines import Path as SettingPath
from hardware.errors import describe_end, was_interrupted

EDITORS: Final = ("sensible-editor", "editor", "nano", "vi")
"""Those that are looked for where ``VISUAL`` and ``EDITOR`` name none. Source: environ(7); Debian Policy 11.4."""


REMARK: Final = "#! "
"""Begins a line that tells a person in his editor what another program changed; it is taken out again."""


class ChangedMeanwhile(ConfigError):
    """The file is not the one that a person began to edit."""


class Invocation(NamedTuple):
    """What a change of the settings depends on.

    Attributes:
        options: the command line's arguments by name.
        root: the root folder.
    """

    options: Mapping[str, object]
    places: Places
    environ: Mapping[str, str]
    root: Path

    @property
    def is_json(self) -> bool:
        """Return whether a program reads stdout."""
        return bool(self.options.get("json"))

    def command_for_service(self, path: Path, changed: set[str]) -> str:
        """Return the command after which the service uses what was changed in a file; empty if it is not the service's."""
        places = read_places({}, {}, ROOT_ID, self.root)
        read_by_service = (places.files.config or places.new_config_file, places.state_dir / SETTINGS)
        if path not in map(real_path, read_by_service) or not is_installed(self.root):
            return ""
        return RESTART if changed & {*AT_START} else RELOAD


def set_value(args: Namespace, call: Invocation, new_text: str) -> int:
    """Change one setting, and return the exit code.

    Raises:
        WrongUse: if there is no such setting, or a secret stands on the command line.
        ConfigError: if it cannot have that value, or the file cannot be changed; nothing was.
    """
    path = path_of(args.key)
    value = _read_value(path, args.value)

    def change(text: str, _is_on_unit: bool = False) -> str:
        return with_setting(text, path, value)

    places, options, environ = call.places, call.options, call.environ
    named = places.new_config_file if options.get("config") else None
    drafting = (
        drafted_where_it_counts(places, change, options, environ, new_text=new_text)
        if named is None
        else drafted(named, change, places.files, options, environ, new_text=new_text)
    )
    with drafting as draft:
        draft.put_in_place()
    shown = HIDDEN if holds_secret(path[0], value) else value
    return _report(call, draft, {path[0]}, _notes_about(draft, path, value), key=args.key, value=shown)


def unset(args: Namespace, call: Invocation) -> int:
    """Make one setting a comment in the strongest file that has it, and return the exit code.

    Raises:
        WrongUse: if there is no such setting.
        ConfigError: if the file cannot be changed, or a setting would be wrong without it; nothing was changed.
    """
    path, files, options = path_of(args.key), call.places.files, call.options
    config, on_unit = files.config or call.places.new_config_file, files.settings
    is_on_unit = on_unit is not None and not options.get("config") and _holds(on_unit, path)
    with drafted(
        on_unit if on_unit is not None and is_on_unit else config,
        lambda text: without_setting(text, path),
        files,
        options,
        call.environ,
        slot="settings" if is_on_unit else "config",
    ) as draft:
        draft.put_in_place()
    origin = draft.checked.settings.origins.get(path[0], DEFAULT)
    notes = [f"{path[0]} is still set: {origin}"] if len(path) == 1 and origin != DEFAULT else []
    return _report(call, draft, {path[0]}, notes, key=args.key, value=None)


def _holds(file: Path, path: SettingPath) -> bool:
    try:
        return value_at(read_toml(read_present(file, "")), path) is not None
    except NotEditable:
        return False


def edit(call: Invocation, new_text: str) -> int:
    """Have a person edit the settings file, check what came of it, and return the exit code.

    Raises:
        ConfigError: if there is no editor, or what came of it is wrong; the file is as it was.
    """
    path, new_text = _file_to_edit(call, new_text)
    original = text = read_present(path, new_text)
    on_unit = call.places.files.settings
    if on_unit is not None and on_unit != path and not call.is_json:
        say(
            f"This is {path}. What was set on this unit comes first: {on_unit}, which config set and unset change."
        )
    while True:
        text = as_owner(path, partial(_edited, text, call.environ))
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(REMARK))
        try:
            return _put_in_place(call, path, new_text, original, text)
        except ConfigError as error:
            if not is_conversation():
                raise
            say_problem(str(error), error.hint)
            if ask_line("Edit it again? [Y/n] ").lower().startswith("n"):
                return error.exit_code
            if isinstance(error, ChangedMeanwhile):
                former, original = original, read_present(path, new_text)
                text = _remarks(former, original) + text


def _remarks(former: str, present: str) -> str:
    """Return what another program changed, as lines that a person reads above his own text."""
    from difflib import unified_diff

    changed = unified_diff(former.splitlines(), present.splitlines(), lineterm="", n=0)
    told = [line for line in changed if not line.startswith(("---", "+++", "@@"))]
    lines = [
        "Changed meanwhile (- as it was, + as it is); take over what you want, for your text replaces it:"
    ]
    return "".join(f"{REMARK}{line}\n" for line in lines + told)


def _file_to_edit(call: Invocation, new_text: str) -> tuple[Path, str]:
    """Return the settings file, or the unit's own where that one's disk is read-only, and its text if it is new."""
    path = call.places.files.config or call.places.new_config_file
    if call.places.files.config is not None and not os.path.lexists(path):
        raise check_settings(call.options, call.places.files, call.environ).problems[0]
    try:
        as_owner(path, lambda _: prove_writable(path))
    except ConfigError as error:
        if not is_read_only(error.__cause__):
            raise
        on_unit = call.places.state_dir / SETTINGS
        prove_writable(on_unit)
        return on_unit, SET_ON_UNIT
    return path, new_text


def _put_in_place(call: Invocation, path: Path, new_text: str, original: str, text: str) -> int:
    def change(present: str) -> str:
        if present != original.removeprefix(MARK):
            raise ChangedMeanwhile(
                f"{path} was changed by another program meanwhile; nothing was changed here",
                hint="Edit it again: your text is kept, with what was changed above it.",
            )
        return text.removeprefix(MARK)

    options, files, environ = call.options, call.places.files, call.environ
    before = check_settings(options, files, environ).settings
    slot: Literal["config", "settings"] = "settings" if path == call.places.state_dir / SETTINGS else "config"
    with drafted(
        path, change, files, options, environ, slot=slot, new_text=new_text, is_repair=True
    ) as draft:
        draft.put_in_place()
    after = draft.checked.settings
    changed = {name for name in AT_START if getattr(before, name) != getattr(after, name)}
    return _report(call, draft, changed, _warnings(draft))


# ---------------------------------------------------------------------------------------------------------
# The value


def _read_value(path: SettingPath, word: str | None) -> object:
    """Return the value that a word of the command line, an answer, or standard input gives a setting."""
    key = KEY_OF.get(path[0])
    is_secret = key is not None and key.is_secret
    if word is None:
        word = _read_word_elsewhere(".".join(path), is_secret=is_secret or path[0] == "proxy")
    elif is_secret or holds_secret(path[0], word):
        raise WrongUse(
            f"{path[0]} is a secret, and every process can read the command line",
            hint=f"Leave the value out: device-auth config set {path[0]} asks for it, or reads standard input.",
        )
    return _as_toml(word) if key is None else read_word(key, word)


def _read_word_elsewhere(name: str, *, is_secret: bool) -> str:
    if is_typed() and not is_secret:
        return ask_line(f"{name}: ")
    longest = LONGEST_SECRET + 1
    content = ask_hidden(f"{name} (not shown): ", longest) if is_typed() else read_paste(longest)
    text = read_text(content)
    if text is None or len(content) == longest or not trim(text):
        raise ConfigError(
            f"standard input holds no value for {name}: it is empty, too long, or not text",
            hint=f"Enter the value alone: device-auth config set {name} < FILE",
        )
    return trim(text)


def _as_toml(word: str) -> object:
    """Return a value of TOML as such; any other word is a text."""
    try:
        table = read_toml(f"value = {word}")
    except NotEditable:
        return word
    return table["value"] if table.keys() == {"value"} else word


# ---------------------------------------------------------------------------------------------------------
# The editor


def _edited(text: str, environ: Mapping[str, str], _ask: object) -> str:
    """Return what a person makes of a text in his editor."""
    from tempfile import TemporaryDirectory

    from device_auth.world.explain import explain
    from device_auth.world.programs import CannotRun, run_in_terminal

    words = _editor(environ)
    try:
        with TemporaryDirectory(prefix="device-auth-") as folder:
            path = Path(folder, "config.toml")
            path.write_bytes(text.encode("utf-8", "surrogateescape"))
            ended_with = run_in_terminal([*words, str(path)], environment_for_others(environ))
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
    except CannotRun as error:
        raise ConfigError(
            f"cannot run the editor: {error}", hint="Name another: EDITOR=nano device-auth config edit"
        ) from error
    except OSError as error:
        raise ConfigError(
            explain("cannot edit a copy of the settings", error), hint="Check the disk."
        ) from error
    if was_interrupted(ended_with):
        raise Interrupted("nothing was changed", hint="Start again: device-auth config edit")
    if ended_with != 0:
        raise ConfigError(
            f"the editor {words[0]} {describe_end(ended_with)}; nothing was changed", hint="Try again."
        )
    return content.decode("utf-8", "surrogateescape")


def _editor(environ: Mapping[str, str]) -> list[str]:
    from shutil import which

    named = environ.get("VISUAL") or environ.get("EDITOR") or ""
    try:
        words = shlex.split(named) or [*filter(which, EDITORS)][:1]
    except ValueError:
        words = []
    if not words:
        raise ConfigError(
            "there is no editor" if not named else "cannot read the name of the editor in EDITOR or VISUAL",
            hint="Name one: EDITOR=nano device-auth config edit. Or change one setting: device-auth config set KEY VALUE",
        )
    return words


# ---------------------------------------------------------------------------------------------------------
# The report


def _warnings(draft: SettingsDraft) -> list[str]:
    beside = str(draft.path.with_name(beside_of(draft.path.name)))
    return [warning.replace(beside, str(draft.path)) for warning in draft.checked.warnings()]


def _notes_about(draft: SettingsDraft, path: SettingPath, value: object) -> list[str]:
    """Return a sentence for each reason why a value is not used, or likely refused."""
    settings, name = draft.checked.settings, path[0]
    notes = [warning for warning in _warnings(draft) if warning.startswith(f"{name} ")]
    origin = settings.origins.get(name, "")
    if name in settings.passed_over and origin.startswith("environment "):
        notes.append(f"{name} is not used here: {origin.partition(' ')[2]} in the environment comes first.")
    in_force = {"hardware": settings.hardware, "page": settings.page}.get(name)
    if name in TABLES and value_at({name: in_force}, path) != value:
        notes.append(f"{'.'.join(path)} is not used: another settings file comes first.")
    return notes


def _report(
    call: Invocation, draft: SettingsDraft, changed: set[str], notes: list[str], **about: object
) -> int:
    command = call.command_for_service(draft.path, changed) if draft.is_changed else ""
    if call.is_json:
        problems = [{"message": str(problem), "hint": problem.hint} for problem in draft.problems]
        print_json(
            {
                "file": str(draft.path),
                "changed": draft.is_changed,
                **about,
                "notes": notes,
                "problems": problems,
                "next": command or None,
            }
        )
        return 0
    say(f"Changed {draft.path}." if draft.is_changed else f"Nothing was changed in {draft.path}.")
    for note in notes:
        say(f"Note: {note}")
    if draft.problems:
        more = f", and {len(draft.problems) - 1} more" if len(draft.problems) > 1 else ""
        say(f"Still wrong: {draft.problems[0]}{more}. See all: device-auth config check")
    if command:
        say(f"For the service that runs: {command}")
    return 0
