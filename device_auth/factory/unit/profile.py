"""The factory profile: folders of their own for one link-test, apart from an owner's, which end with it.

A second process of this program, the reaper, removes them: as soon as the verb has ended, in whatever way, and at the
latest after 15 minutes, when it ends the verb first. Should that process be gone too, the next factory verb removes
what nobody uses any more; and the runtime folder's place, in memory, is empty after each start of the machine.
"""

import fcntl
import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from device_auth.core.errors import StoreError
from device_auth.core.models import Seconds
from device_auth.world.explain import explain
from device_auth.world.places import factory_dir, make_runtime_dir
from device_auth.world.signals import blocked

LIFE: Final = Seconds(15 * 60)
"""How long a profile may last."""

STRANGER: Final = 65533
"""A user and a group that no account has: a profile is used with their rights. Source: Debian Policy, 9.2.2."""

_BEGINNING: Final = "link-test-"


@contextmanager
def factory_profile(runtime_dir: Path, life: Seconds = LIFE) -> Iterator[Path]:
    """Have a new, empty folder meanwhile.

    Args:
        runtime_dir: of the unit.
        life: after so long this process is ended, and the folder removed.

    Raises:
        StoreError: if it cannot be made, or removed.
    """
    top = factory_dir(runtime_dir)
    try:
        folder, lock = _make(top)
    except OSError as error:
        raise StoreError(explain(f"cannot make a folder in {top}", error), hint="Run it as root.") from error
    reaper, ending = _start_reaper(folder, life)
    try:
        yield folder
    finally:
        os.close(ending)
        os.waitpid(reaper, 0)
        os.close(lock)
    if folder.exists():
        raise StoreError(f"cannot remove {folder}", hint=f"Remove it: rm -r {folder}")


def remove_leftover_profiles(runtime_dir: Path) -> None:
    """Remove every profile that no process uses any more; what cannot be removed is left for the next time."""
    with suppress(OSError), _locked(factory_dir(runtime_dir)) as top:
        # by the open folder alone: another user may put a link in the place of its name
        if os.fstat(top).st_uid != os.geteuid():
            return
        for name in os.listdir(top):  # noqa: PTH208  a Path would be looked up anew
            with suppress(OSError):
                lock = _lock(name, fcntl.LOCK_EX | fcntl.LOCK_NB, top)
                shutil.rmtree(name, ignore_errors=True, dir_fd=top)
                os.close(lock)


def become_stranger(folder: Path) -> None:
    """Make a profile the property of a user who has nothing else, and become that user for good: an owner's files are closed to it.

    Raises:
        StoreError: if this machine does not let root do so.
    """
    try:
        os.chown(folder, STRANGER, STRANGER)
        os.setgroups([])
        os.setresgid(STRANGER, STRANGER, STRANGER)
        os.setresuid(STRANGER, STRANGER, STRANGER)
    except OSError as error:
        raise StoreError(
            explain(f"cannot become user {STRANGER}", error), hint="Run it outside of the container."
        ) from error


def _make(top: Path) -> tuple[Path, int]:
    """Make a folder, and lock it before anybody can take it for a leftover."""
    make_runtime_dir(top)
    with _locked(top):
        folder = Path(mkdtemp(prefix=_BEGINNING, dir=top))
        return folder, _lock(folder, fcntl.LOCK_EX)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    lock = _lock(folder, fcntl.LOCK_EX)
    try:
        yield lock
    finally:
        os.close(lock)


def _lock(folder: Path | str, how: int, below: int | None = None) -> int:
    """Lock a folder until the returned descriptor is closed; a relative one is ``below`` an open folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=below)
    try:
        fcntl.flock(fd, how)
    except OSError:
        os.close(fd)
        raise
    return fd


def _start_reaper(folder: Path, life: Seconds) -> tuple[int, int]:
    """Start the process that removes a folder; return its number, and the file whose end lets it begin."""
    reading, ending = os.pipe()
    this = os.getpid()
    with blocked():  # in the reaper for good: no handler of the verb's runs there
        reaper = os.fork()
        if reaper == 0:
            try:
                os.setsid()  # or the end of a terminal would end it too
                _close_all_but(reading)
                _reap(reading, folder, life, this)
            finally:
                os._exit(0)
    os.close(reading)
    return reaper, ending


def _reap(reading: int, folder: Path, life: Seconds, of: int) -> None:
    """Wait for the end of the verb, and remove its folder."""
    if not select.select([reading], [], [], life)[0] and os.getppid() == of:
        os.kill(of, signal.SIGKILL)
        select.select([reading], [], [], life)
    shutil.rmtree(folder, ignore_errors=True)


def _close_all_but(kept: int) -> None:
    """Close what the verb has open: its reader must not wait for this process, and its end must be seen here."""
    os.closerange(0, kept)
    os.closerange(kept + 1, 1 << 16)
