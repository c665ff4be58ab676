"""A settings file that a program changes: the draft lies beside it, is checked as ``config check`` does, and takes its place."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from device_auth.assembly.checked_settings import CheckedSettings, check_settings
from device_auth.core.errors import ConfigError, SettingMissing
from device_auth.world.explain import explain
from device_auth.world.files import Folder, NotAFile, OwnersFile, beside_of, make_folder, read_plain
from device_auth.world.owners import belongs_to_another
from device_auth.world.places import Places
from device_auth.world.settings import ENVIRONMENT, LARGEST_FILE, SETTINGS, SettingsFiles, service_group
from device_auth.world.toml_lines import NotEditable

FILE_MODE: Final = 0o600
"""Of a settings file that we write: a secret may be put into it."""

GROUP_MODE: Final = 0o640
"""Of root's, where the group of the service's user can be given the right to read it."""

SET_ON_UNIT: Final = "# What was set on this unit; it comes before /etc/device-auth/config.toml.\n"
"""The text of the unit's own settings file, where there is none yet."""

MARK: Final = "\ufeff"
"""Some editors begin a file with it."""

_LINE: Final = re.compile(r", line \d+")

Change = Callable[[str], str]


class SettingsDraft(NamedTuple):
    """What a settings file will be.

    Attributes:
        path: of the file.
        is_changed: the draft differs from the file.
        checked: the settings as the draft has them.
        problems: that the file had before, and still has.
        put_in_place: exchanges the file for the draft, which is on the disk by then.
    """

    path: Path
    is_changed: bool
    checked: CheckedSettings
    problems: tuple[ConfigError, ...]
    put_in_place: Callable[[], None]


@contextmanager
def drafted(
    path: Path,
    change: Change,
    files: SettingsFiles,
    options: Mapping[str, object],
    environ: Mapping[str, str] = ENVIRONMENT,
    *,
    slot: Literal["config", "settings"] = "config",
    new_text: str = "",
    is_repair: bool = False,
) -> Iterator[SettingsDraft]:
    """Write the draft of a changed settings file beside it; it is gone afterwards unless it was put in place.

    Where the change changes nothing, nothing is written. Owner and mode stay; those of a new file are as ``config init``
    gives them. A link is followed, unless another user has made it for root.

    Args:
        path: of the file.
        change: returns the new text for the present one.
        files: that settings are read from.
        options: the command line's arguments by name.
        environ: the environment.
        slot: which of the files it is.
        new_text: the present text where there is no file.
        is_repair: the file itself may be one that is no TOML; the draft may not.

    Raises:
        ConfigError: if the file cannot be read or written, its layout does not allow the change, or the change would make a
            setting wrong that is not wrong now.
    """
    before = check_settings(options, files, environ)
    if before.is_unreadable and not (is_repair and before.settings.unread == (path,)):
        raise before.problems[0]
    path = real_path(path)
    is_new = not os.path.lexists(path)
    present = read_present(path, new_text)
    mark = MARK if present.startswith(MARK) else ""
    try:
        text = mark + change(present.removeprefix(mark))
    except NotEditable as error:
        raise ConfigError(
            f"{path} {error}", hint="Change it by hand: sudoedit, then device-auth config check."
        ) from error
    known = before.every_problem()
    if text == present:
        yield SettingsDraft(path, False, before, tuple(known), lambda: None)
        return
    beside = path.with_name(beside_of(path.name))
    with _written_beside(path, text.encode("utf-8", "surrogateescape"), is_new=is_new) as folder:
        after = check_settings(options, files._replace(**{slot: beside}), environ)
        kept = _judge([] if after.is_unreadable else known, after.every_problem(), path, beside)
        yield SettingsDraft(path, True, after, kept, lambda: _rename(folder, path))


@contextmanager
def drafted_where_it_counts(
    places: Places,
    change: Callable[[str, bool], str],
    options: Mapping[str, object],
    environ: Mapping[str, str] = ENVIRONMENT,
    *,
    new_text: str,
) -> Iterator[SettingsDraft]:
    """Draft a change in the unit's own settings file where there is one, for it wins; else in the settings file.

    Where the disk of that one is read-only, the unit gets a file of its own.

    Args:
        places: the files of the speaker.
        change: returns the new text for the present one; told whether it is that of the unit's own file.
        options: the command line's arguments by name.
        environ: the environment.
        new_text: of a settings file where there is none.

    Raises:
        ConfigError: as ``drafted`` does.
    """
    on_unit, config = places.state_dir / SETTINGS, places.files.config or places.new_config_file

    def draft(path: Path) -> SettingsDraft:
        is_on_unit = path == on_unit
        return opened.enter_context(
            drafted(
                path,
                lambda text: change(text, is_on_unit),
                places.files,
                options,
                environ,
                slot="settings" if is_on_unit else "config",
                new_text=SET_ON_UNIT if is_on_unit else new_text,
            )
        )

    with ExitStack() as opened:
        try:
            made = draft(places.files.settings or config)
        except ConfigError as error:
            if not is_read_only(error.__cause__) or places.files.settings is not None:
                raise
            made = draft(on_unit)
        yield made


def real_path(path: Path) -> Path:
    """Return the path that a link leads to; the path itself where another user could lead root to any file."""
    return path if belongs_to_another(path) else Path(os.path.realpath(path))


def prove_writable(path: Path) -> None:
    """Raise ConfigError unless a settings file could be written now; its folder is made."""
    path = real_path(path)
    try:
        make_folder(path.parent, 0o755)
        OwnersFile(path).prove()
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error


def is_read_only(error: object) -> bool:
    """Return whether an error is that of a read-only disk."""
    return isinstance(error, OSError) and error.errno == errno.EROFS


def rights_of_new(folder: Folder) -> tuple[tuple[int, int] | None, int]:
    """Return the owner and the mode of a new settings file; of root's, the group of the service's user may read it.

    Args:
        folder: that it is put into.
    """
    group = service_group() if os.geteuid() == 0 else None
    if group is None:
        return folder.owner, FILE_MODE
    return folder.owner or (0, group), GROUP_MODE


def cannot_write(path: Path, error: Exception) -> ConfigError:
    """Return the error of a settings file that cannot be written."""
    first = "Run this as its owner (sudo)" if isinstance(error, PermissionError) else "Check its folder"
    return ConfigError(
        explain(f"cannot write {path}", error),
        hint=getattr(error, "hint", "") or f"{first}, or name another with --config.",
    )


def read_present(path: Path, new_text: str) -> str:
    """Return the text of a settings file, or that of a new one.

    Raises:
        ConfigError: if it cannot be read, or is too large to be one.
    """
    if not os.path.lexists(path):
        return new_text
    try:
        raw = read_plain(path, LARGEST_FILE + 1)[0]
    except (OSError, ValueError) as error:
        raise ConfigError(explain(f"cannot read {path}", error), hint="Check the path.") from error
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path} is too large for a settings file", hint="Check that it is the right file.")
    return raw.decode("utf-8", "surrogateescape")


@contextmanager
def _written_beside(path: Path, content: bytes, *, is_new: bool) -> Iterator[Folder]:
    """Write the draft, durable; it is removed at the end, if it still has that name."""
    beside = beside_of(path.name)
    try:
        if is_new:
            make_folder(path.parent, 0o755)
        opened = Folder.open_for_leader(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    with opened as folder:
        try:
            owner, mode = rights_of_new(folder) if is_new else _rights_of(folder, path.name)
            folder.remove(beside)
            folder.write_new(beside, content, mode, is_durable=True, owner=owner)
        except OSError as error:
            with suppress(OSError):
                folder.remove(beside)
            raise cannot_write(path, error) from error
        try:
            yield folder
        finally:
            with suppress(OSError):
                folder.remove(beside)


def _rights_of(folder: Folder, name: str) -> tuple[tuple[int, int] | None, int]:
    status = folder.status_of(name)
    if status is None:
        return rights_of_new(folder)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile(name)
    owner = (status.st_uid, status.st_gid)
    if folder.owner is not None and status.st_uid != folder.owner[0]:
        owner = folder.owner  # root writes in another user's folder for that user
    return owner if os.geteuid() == 0 else None, stat.S_IMODE(status.st_mode)


def _rename(folder: Folder, path: Path) -> None:
    try:
        folder.rename(beside_of(path.name), path.name)
        folder.sync()
    except OSError as error:
        raise cannot_write(path, error) from error


def _judge(
    known: list[ConfigError], found: list[ConfigError], path: Path, beside: Path
) -> tuple[ConfigError, ...]:
    """Return the problems that the file had before, and what is not set; raise the first new one."""

    def named(text: str) -> str:
        return text.replace(str(beside), str(path))

    before = {_LINE.sub("", str(problem)) for problem in known}
    for problem in found:
        is_missing = isinstance(problem, SettingMissing)  # one is set after the other
        if not is_missing and _LINE.sub("", named(str(problem))) not in before:
            raise ConfigError(f"nothing was changed: {named(str(problem))}", hint=named(problem.hint))
    return tuple(ConfigError(named(str(problem)), hint=named(problem.hint)) for problem in found)
