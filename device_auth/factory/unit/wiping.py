"""Wipe a unit after its test, and search it for tokens wherever one may have come to lie.

The product's own wiping removes the files of ours, and keeps the identity and the lock. Then every place of this machine
is searched where a program that ran here can have left a token.
Not seen is what lies in blocks that no file has any more, in a swap partition, in files that a process has mapped and
closed, and in compressed parts of the journal that no entry leads to any more.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from device_auth.assembly.doors import Doors
from device_auth.assembly.local import LocalSpeaker
from device_auth.assembly.service import is_of_system
from device_auth.core.errors import StoreError
from device_auth.core.models import Seconds
from device_auth.factory.talk import CheckOutcome, Talk
from device_auth.factory.unit.gate import refuse_closed
from device_auth.factory.unit.leftovers import JOURNALS
from device_auth.factory.unit.token_search import FoundToken, TokenSearch
from device_auth.world.places import ROOT, Places, factory_dir
from device_auth.world.service_unit import service_stopped

LEFT: Final = 74
"""The exit code where something is left, or may be."""

JOURNALCTL: Final = "/usr/bin/journalctl"

JOURNALCTL_WITHIN: Final = Seconds(600)

PROC: Final = Path("/proc")
"""The folder of the kernel that knows the unit's processes."""

MOST_NAMED: Final = 5
"""Places that one check names."""

_PLACES: Final = {
    "logs": ("var/log", "run/log"),
    "homes": ("root", "home"),
    "temporary-files": ("tmp", "var/tmp", "var/crash", "var/lib/systemd/coredump"),
}
"""By the name of the check: folders below the root."""

_SWAP_FILES: Final = ("var/swap", "swapfile", "swap.img")
_DELETED: Final = " (deleted)"


def wipe_unit(talk: Talk, doors: Doors, root: Path | None, *, verifies: bool) -> None:
    """Erase what a test may have left, and report whether a token is left.

    Args:
        talk: of the verb.
        doors: of the unit.
        root: the root folder of the unit; None for a simulated unit that has none of its own.
        verifies: search the unit too.

    Raises:
        DeviceAuthError: if the service cannot be stopped or started, or another process holds the store.
    """
    began = doors.clock.now()
    with service_set_aside(doors):
        try:
            proof = LocalSpeaker(doors).unlink(is_wipe=True).proof
        except StoreError as error:
            outcome, detail = CheckOutcome.FAIL, str(error)
        else:
            outcome, detail = CheckOutcome.PASS, f"files removed: {proof['files_removed']}"
        talk.check("wipe", outcome, detail, doors.clock.now() - began, LEFT)
        if verifies:
            search_unit(talk, doors, root)


@contextmanager
def service_set_aside(doors: Doors) -> Iterator[None]:
    """Have the service of the system stopped meanwhile, if it keeps this unit: it holds the store and the parts.

    Raises:
        DeviceAuthError: if it cannot be stopped or started, or has meanwhile been linked, or reset.
    """
    if not is_of_system(doors):
        yield
        return
    with service_stopped(doors.machine):
        refuse_closed(doors)  # the verb has passed the gate, but the service ran on until now
        yield


def search_unit(talk: Talk, doors: Doors, root: Path | None) -> None:
    """Report for each kind of place whether it holds a token of the run, or any token.

    Args:
        talk: is told each check.
        doors: of the unit.
        root: the root folder of the unit; None for a simulated unit that has none of its own.
    """
    search = TokenSearch(() if talk.header is None else talk.header.tokens)
    for name, look in _looks(search, doors.places, root):
        report_search(talk, doors, search, f"left-{name}", look)


def report_search(talk: Talk, doors: Doors, search: TokenSearch, name: str, look: Callable[[], str]) -> None:
    """Search, and report what was found as one check.

    Args:
        talk: is told the check.
        doors: have the clock.
        search: takes note of what it finds.
        name: of the check.
        look: searches, and returns a note.
    """
    began = doors.clock.now()
    note = look()
    found, searched = search.take_found()
    outcome = CheckOutcome.FAIL if found else CheckOutcome.PASS
    detail = _in_words(found) if found else f"bytes searched: {searched}{note}"
    talk.check(name, outcome, detail, doors.clock.now() - began, LEFT)


def _looks(search: TokenSearch, places: Places, root: Path | None) -> Iterator[tuple[str, Callable[[], str]]]:
    """Return each check's name, and what makes it and returns a note."""
    state, runtime = places.state_dir, places.runtime_dir
    of_runtime = [] if runtime is None else [runtime]
    yield "state", partial(_folders, search, [state])
    # a profile that could not be removed is there too
    yield "runtime", partial(_folders, search, [*of_runtime, *map(factory_dir, of_runtime)])
    is_machine = root == ROOT  # of a simulated unit the kernel knows too much
    yield "deleted-files", partial(_deleted, search, PROC, None if is_machine else [state, *of_runtime])
    if root is not None:
        for name, below in _PLACES.items():
            yield name, partial(_folders, search, [root / folder for folder in below])
        yield "journal", partial(_journal, search, root)
        yield "swap", partial(_swap, search, root)


def _in_words(found: list[FoundToken]) -> str:
    places = [each.where if not each.why_not else f"{each.where} ({each.why_not})" for each in found]
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    what = "a token is in" if any(not each.why_not for each in found) else "cannot search"
    return f"{what} {', '.join(places[:MOST_NAMED])}{more}"


def _folders(search: TokenSearch, folders: list[Path]) -> str:
    for folder in folders:
        search.files_below(folder)
    return ""


def _deleted(search: TokenSearch, proc: Path, folders: list[Path] | None) -> str:
    """Search files that have no name any more, while a process has them open; those of any folder, if none is given."""
    count = 0
    try:
        processes = os.listdir(proc)  # noqa: PTH208  hundreds of names, none of which need be a Path
    except OSError as error:
        search.found.append(FoundToken(str(proc), error.strerror or type(error).__name__))
        return ""
    for process in processes:
        if process.isdecimal():
            for number in _names(proc / process / "fd"):
                path = proc / process / "fd" / number
                with suppress(OSError):  # closed meanwhile
                    target = os.readlink(path)  # noqa: PTH115  of a Path it would cut off what ends in a slash
                    if not target.endswith(_DELETED) or not stat.S_ISREG(path.stat().st_mode):
                        continue  # opened, a terminal would fail, or become this process's own
                    name = target.removesuffix(_DELETED)
                    if folders is None or any(Path(name).is_relative_to(folder) for folder in folders):
                        count += 1
                        search.named(f"{name}, deleted, open in process {process}", name, path)
    return f"; files: {count}"


def _journal(search: TokenSearch, root: Path) -> str:
    """Search what the journal has, as its own program reads it: parts may be compressed there."""
    from device_auth.world.programs import CannotRun, stream_program

    files = sorted(path for top in JOURNALS for path in (root / top).rglob("*.journal*"))
    for path in files:
        words = [JOURNALCTL, f"--file={path}", "--output=export", "--all", "--quiet"]
        try:
            if path.stat().st_size > 0:
                search.stream(str(path), stream_program(words, JOURNALCTL_WITHIN))
        except CannotRun as error:
            search.found.append(FoundToken(f"compressed parts of {path}", str(error)))
        except OSError as error:  # it was rotated meanwhile: its content has another name now
            search.found.append(FoundToken(str(path), error.strerror or type(error).__name__))
    return f"; files: {len(files)}"


def _swap(search: TokenSearch, root: Path) -> str:
    """Search swap files, in use or not; a partition is named, but not searched."""
    files, partitions = [root / name for name in _SWAP_FILES], []
    with suppress(OSError):
        for line in (root / "proc/swaps").read_text(errors="surrogateescape").splitlines()[1:]:
            name, kind = line.split()[:2]
            name = name.replace("\\040", " ")
            if kind == "file":
                files.append(root / name.lstrip("/"))
            elif not name.startswith("/dev/zram"):  # in memory
                partitions.append(name)
    for path in dict.fromkeys(files):
        search.files_below(path)
    return f"; not searched: {', '.join(partitions)}" if partitions else ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  thousands of names, none of which need be a Path
    except OSError:
        return []
