"""Places: where the state, the runtime files and the settings live on this machine.

State survives a reboot and may lie on the SD card; what lies in the runtime folder may not, so where there is no
folder of that kind there is none at all: never one below ``/tmp`` or in the state.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError, StoreError
from device_auth.world.explain import explain
from device_auth.world.settings import CONFIG_VARIABLE, ENVIRONMENT, quoted

NAME: Final = "device-auth"
"""What our folder is called wherever others have theirs."""

SIMULATED: Final = "simulated"
"""The folder in each place that keeps a simulated link away from the real one."""

RUNTIME_MODE: Final = 0o755
"""Everyone may reach the socket, which asks who calls; each file says for itself who may read it."""

ROOT: Final = Path("/")


class Places(NamedTuple):
    """Where things live.

    Attributes:
        state_dir: the stored link.
        runtime_dir: token files, the code pair in hand and the socket; None if there is no place for them.
        config_file: the settings file to read; None if there is none.
        new_config_file: where a settings file is written if none is named.
    """

    state_dir: Path
    runtime_dir: Path | None
    config_file: Path | None
    new_config_file: Path


def read_places(
    options: Mapping[str, object],
    environ: Mapping[str, str] = ENVIRONMENT,
    euid: int | None = None,
    root: Path = ROOT,
) -> Places:
    """Find out where things live; makes nothing.

    Args:
        options: the command line's arguments by name: ``state_dir``, ``runtime_dir``, ``config``, ``simulate``.
        environ: the environment.
        euid: who we are; the process's own if None.
        root: the root folder.

    Raises:
        ConfigError: there is no home folder to keep the state in, an option is empty, or the runtime folder would
            lie in the state folder.
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
            hint="Choose another with --runtime-dir: access tokens are not to touch the disk.",
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
        config_file=named or (found[0] if found else None),
        new_config_file=named or own_file,
    )


def make_runtime_dir(path: Path) -> None:
    """Make the runtime folder if it is not there, and see that nobody else can put files in it.

    Raises:
        StoreError: it cannot be made, or is not safe.
    """
    try:
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                folder.mkdir(RUNTIME_MODE, exist_ok=True)
                # whatever the umask takes away
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
    """Give our folder in the one that a variable of the XDG specification names, else in the usual one at home."""
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
    """Return whether this is a session's own runtime folder: 0700 and ours, as the XDG specification demands.

    That also keeps out another user's folder, inherited through ``su``.
    """
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return False
    is_private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == euid and is_private


def _is_there(path: Path) -> bool:
    """Return whether there is something to read, even if it is not for us: better an error than another file."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True
