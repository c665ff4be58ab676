"""Places: the folders of the state and the runtime files, and the files of settings.

State survives a reboot and may lie on the SD card; runtime files may not. So where there is no memory-backed folder of
this user's there is no runtime folder: never one below ``/tmp`` or in the state folder.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.values import dataclass
from device_auth.world.explain import explain
from device_auth.world.settings import (
    CONFIG_VARIABLE,
    ENVIRONMENT,
    IDENTITY,
    SETTINGS,
    SettingsFiles,
    quoted,
)

NAME: Final = "device-auth"
"""The name of our folder in each place."""

SIMULATED: Final = "simulated"
"""The folder in each place that keeps a simulated link away from the real one."""

RUNTIME_MODE: Final = 0o755
"""Everyone may reach the socket, which checks its callers; each file has a mode of its own."""

REDIRECT_PAGE: Final = "authorize.html"
"""The file in the runtime folder that leads the browser of ``authorize`` on."""

METRICS: Final = "metrics.prom"
"""The file in the runtime folder with the service's figures, where the settings ask for it."""

ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class Places:
    """The folders and the files of settings.

    Attributes:
        state_dir: of the stored link.
        runtime_dir: of the token files, the current code pair and the socket; None if there is none.
        files: the settings to read.
        new_config_file: the settings file to write.
    """

    state_dir: Path
    runtime_dir: Path | None
    files: SettingsFiles
    new_config_file: Path


def read_places(
    options: Mapping[str, object],
    environ: Mapping[str, str] = ENVIRONMENT,
    euid: int | None = None,
    root: Path = ROOT,
) -> Places:
    """Return the places, without making any.

    Args:
        options: the command line's arguments by name: ``state_dir``, ``runtime_dir``, ``config``, ``simulate``.
        environ: the environment.
        euid: the user ID; that of the process if None.
        root: the root folder.

    Raises:
        ConfigError: if there is no home folder for the state, an option is empty, or the runtime folder lies in the
            state folder.
    """
    if euid is None:
        euid = os.geteuid()
    state_dir = _state_dir(options, environ, euid, root)
    runtime_dir = _runtime_dir(options, environ, euid, root)
    if options.get("simulate"):
        state_dir /= SIMULATED
        runtime_dir = runtime_dir and runtime_dir / SIMULATED
    if runtime_dir is not None and runtime_dir.is_relative_to(state_dir):
        raise ConfigError(
            f"the runtime folder {runtime_dir} lies in the state folder",
            hint="Choose another with --runtime-dir: access tokens must not touch the disk.",
        )
    system_file = root / "etc" / NAME / "config.toml"
    named = _path(options, "config") or (
        Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None
    )
    own_file = None if euid == 0 else _below_home(environ, euid, "XDG_CONFIG_HOME", ".config")
    own_file = own_file / "config.toml" if own_file else system_file
    found = [path for path in (system_file, own_file) if _is_there(path)]
    return Places(
        state_dir=state_dir,
        runtime_dir=runtime_dir,
        files=SettingsFiles(
            _if_there(state_dir / IDENTITY),
            _if_there(state_dir / SETTINGS),
            named or (found[0] if found else None),
        ),
        new_config_file=named or own_file,
    )


def factory_dir(runtime_dir: Path) -> Path:
    """Return the folder of the factory's profiles, beside the runtime folder and on the same disk."""
    return runtime_dir.with_name(f"{runtime_dir.name}-factory")


def make_runtime_dir(path: Path) -> None:
    """Make the runtime folder if there is none, and check that nobody else can put files in it.

    Raises:
        StoreError: if it cannot be made, or is not safe.
    """
    try:
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                folder.mkdir(RUNTIME_MODE, exist_ok=True)
                # mkdir follows the umask
                folder.chmod(RUNTIME_MODE)
        found = path.stat()
    except (OSError, ValueError) as error:
        raise StoreError(
            explain(f"cannot make the runtime folder {path}", error),
            hint="Choose another with --runtime-dir.",
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path} is not a folder", hint="Remove it, or choose another with --runtime-dir.")
    # root may use a service's folder, as it may use anything
    if os.geteuid() not in {found.st_uid, 0} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(
            f"others can put files into the runtime folder {path}",
            hint=f"Remove it if it is not yours; else run: chmod go-w {quoted(path)}",
        )


def _state_dir(options: Mapping[str, object], environ: Mapping[str, str], euid: int, root: Path) -> Path:
    given = _path(options, "state_dir") or _first(environ, "STATE_DIRECTORY")
    if given:
        return given
    if euid == 0:
        return root / "var" / "lib" / NAME
    state_dir = _below_home(environ, euid, "XDG_STATE_HOME", ".local/state")
    if state_dir is None:
        raise ConfigError(
            f"user {euid} has no home folder to keep a link in", hint="Name a folder with --state-dir."
        )
    return state_dir


def _runtime_dir(
    options: Mapping[str, object], environ: Mapping[str, str], euid: int, root: Path
) -> Path | None:
    given = _path(options, "runtime_dir") or _first(environ, "RUNTIME_DIRECTORY")
    if given:
        return given
    if euid == 0:
        return root / "run" / NAME
    for session in (_absolute(environ, "XDG_RUNTIME_DIR"), root / "run" / "user" / str(euid)):
        if session is None or any(session.is_relative_to(root / disk) for disk in ("tmp", "var/tmp")):
            continue
        if _is_ours_alone(session, euid):
            return session / NAME
    return None


def _path(options: Mapping[str, object], name: str) -> Path | None:
    given = options.get(name)
    if given is None:
        return None
    if not str(given):
        raise ConfigError(
            f"--{name.replace('_', '-')} is empty", hint="Name a path, or leave the option out."
        )
    return Path(str(given))


def _first(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the first of the paths in a variable: systemd separates several by colons (systemd.exec(5))."""
    first = environ.get(name, "").partition(":")[0]
    return Path(first) if first else None


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    # the XDG Base Directory Specification has relative paths ignored
    path = Path(environ.get(name, ""))
    return path if path.is_absolute() else None


def _below_home(environ: Mapping[str, str], euid: int, variable: str, usual: str) -> Path | None:
    """Return our folder in the one that an XDG variable names, else in the usual one at home."""
    named = _absolute(environ, variable)
    if named:
        return named / NAME
    home = _absolute(environ, "HOME")
    if home is None:
        import pwd

        try:
            home = Path(pwd.getpwuid(euid).pw_dir)
        except (KeyError, OverflowError):
            return None
    return home / usual / NAME


def _is_ours_alone(folder: Path, euid: int) -> bool:
    """Return whether this user alone can write to a session's runtime folder, as the XDG specification demands.

    A folder of another user, inherited through ``su``, is not one.
    """
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return False
    is_private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == euid and is_private


def _if_there(path: Path) -> Path | None:
    return path if _is_there(path) else None


def _is_there(path: Path) -> bool:
    """Return whether a file exists, even one that cannot be read: an error is better than another file."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True
