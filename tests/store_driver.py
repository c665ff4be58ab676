"""Carries out one history of a store in a child that may be traced, killed, or robbed of its syncs.

A small process that forks a child for each request, so that hundreds of runs cost seconds: the child has all it
needs in memory, stops itself, is attached to by strace where asked, and goes on. Requests and answers are JSON
lines. Needs strace(1) for tracing; children allow any process to trace them (prctl(2), PR_SET_PTRACER).
"""

import ctypes
import errno
import fcntl
import json
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn

import cryptography

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Link, UnixTime, hand_over
from device_auth.factory.talk import IdentityEvent
from device_auth.factory.unit.identity import erase_identity, write_identity
from device_auth.world import provider, toml_lines  # noqa: F401  a child may not load anything any more
from device_auth.world.envelope import Plain
from device_auth.world.factory_lock import LockPlaces, write_lock
from device_auth.world.fields import MAX_BYTES
from device_auth.world.places import Places
from device_auth.world.settings import SettingsFiles
from device_auth.world.store import NEWEST, PREVIOUS, FileStore
from device_auth.world.wiping import wipe
from tests.keys import keys_of, make_key
from tests.links import make_link

PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = -1

DONE, REFUSED, BROKEN, CRASHED = 0, 3, 4, 5
"""How a child ends by itself: all done; a ``StoreError`` or a ``ConfigError``; any other exception; cut short by ``crash_at``."""


@dataclass(frozen=True)
class Step:
    """One thing to ask of a store.

    ``save``, ``replace``, ``erase``, ``read``, ``hand over``, ``move`` it to the best key, ``seal`` it, or ``prove`` that it is
    writable. Or of the factory, beside the store: ``write identity``, ``force identity``, ``erase identity``, ``lock``, and ``wipe``; the owner is the DSN.
    """

    verb: str
    owner: str = "anna"
    generation: int = 1
    replaced_owner: str = ""

    def link(self) -> Link:
        replaces = make_link(self.replaced_owner) if self.replaced_owner else None
        if self.verb == "hand over":
            return hand_over(
                make_link(self.owner, self.generation), "json, /etc/client.json", UnixTime(1.9e9)
            )
        return make_link(self.owner, self.generation, replaces=replaces)


@dataclass(frozen=True)
class Run:
    """What a child is to do.

    Attributes:
        folder: the state folder.
        steps: in order, all under one lock.
        strace: options of strace besides ``-p``, or None to run untraced.
        sabotage: which promise the system breaks, see ``SABOTAGES``; empty for none.
        keys: the providers whose keys can be had; the first seals, and what another sealed is lost.
        crash_at: the place, counted in calls that name a file, before which the child ends at once.
    """

    folder: str
    steps: tuple[Step, ...]
    strace: tuple[str, ...] | None = None
    sabotage: str = ""
    crash_at: int | None = None
    keys: tuple[str, ...] = (Plain.name,)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ended: one of the codes above, or minus the signal.
        acknowledged: how many steps had returned by then.
        said: the message of the error, if there was one.
    """

    ended: int
    acknowledged: int
    said: str


def main() -> None:
    """Serve requests from standard input until it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    logging.disable()  # a line of log would be a system call of its own
    make_key().seal(b"", bytes(12), b"")  # loads what seals, as loading is made of system calls too
    "".encode("utf-8-sig")  # the encoding of an identity
    make_key().fingerprint  # noqa: B018  the same
    for line in sys.stdin:
        request = json.loads(line)
        steps = tuple(Step(**step) for step in request.pop("steps"))
        keys = tuple(request.pop("keys"))
        outcome = carry_out(Run(**request, steps=steps, keys=keys), libc)
        sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
        sys.stdout.flush()


def carry_out(run: Run, libc: ctypes.CDLL) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if run.strace is not None:
            libc.prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        be_the_child(run, writing)
    os.close(writing)
    tracer = None if run.strace is None else attach(child, run.strace)
    _, status = os.waitpid(child, 0)
    if tracer is not None:
        tracer.communicate()
    with os.fdopen(reading, "rb") as file:
        acknowledged, _, said = file.read().partition(b"!")
    return Outcome(os.waitstatus_to_exitcode(status), len(acknowledged), said.decode())


def attach(child: int, options: tuple[str, ...]) -> subprocess.Popen[str]:
    os.waitpid(child, os.WUNTRACED)
    tracer = subprocess.Popen(
        ["strace", "-p", str(child), *options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert tracer.stderr is not None
    if "attached" not in tracer.stderr.readline():
        os.kill(child, signal.SIGKILL)
    os.kill(child, signal.SIGCONT)
    return tracer


def be_the_child(run: Run, report: int) -> NoReturn:
    code, said = BROKEN, ""
    try:
        SABOTAGES[run.sabotage]()
        if run.crash_at is not None:
            crash_before_call(run.crash_at)
        with store_under(Path(run.folder), run.keys) as store:
            for step in run.steps:
                take(step, store)
                os.write(report, b"+")
        code = DONE
    except (StoreError, ConfigError) as error:
        code, said = REFUSED, str(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        said = repr(error)
    finally:
        os.write(report, b"!" + said.encode())
        os._exit(code)


def store_under(folder: Path, names: tuple[str, ...]) -> FileStore:
    """Return a store whose keys are these providers', the same each time."""
    keys = keys_of(*(Plain() if name == Plain.name else make_key(name) for name in names))
    return FileStore(folder, keys=lambda: keys, is_of_service=True)


def take(step: Step, store: FileStore) -> None:
    match step.verb:
        case "save" | "hand over":
            store.save(step.link())
        case "replace":
            store.replace(step.link())
        case "erase":
            store.erase()
        case "read":
            store.read()
        case "move":
            store.move_to_best_key()
        case "seal":
            store.seal()
        case "prove":
            store.prove_writable()
        case "write identity" | "force identity":
            has_force = step.verb == "force identity"
            write_identity(places_of(store.directory), identity_of(step.owner), has_force=has_force)
        case "erase identity":
            erase_identity(places_of(store.directory))
        case "wipe":
            wipe(store, None)
        case "lock":
            write_lock(
                LockPlaces(store.directory, None), board="b0a2", dsn=step.owner, run="", at=UnixTime(1.9e9)
            )
        case _:
            raise ValueError(step.verb)


def places_of(folder: Path) -> Places:
    """Return the places of a unit with this state folder."""
    return Places(folder, None, SettingsFiles(), folder / "config.toml")


def identity_of(dsn: str) -> IdentityEvent:
    """Return an identity with this DSN."""
    return IdentityEvent(dsn, "Kitchen", f"amzn1.application-oa2-client.51{'0' * 29}5", None, None, "2026-48")


def crash_before_call(number: int) -> None:
    """End this process at its nth call that opens, links, renames or removes a file, before it happens."""
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event in {"open", "os.link", "os.rename", "os.remove"}:
            if count == number:
                os._exit(CRASHED)
            count += 1

    sys.addaudithook(hook)


def sync_none(is_kind: Callable[[int], bool]) -> None:
    """Let the syncs of one kind of file do nothing."""
    fsync = os.fsync

    def sync_others(fd: int) -> None:
        if not is_kind(os.fstat(fd).st_mode):
            fsync(fd)

    os.fsync = sync_others  # type: ignore[assignment] # it takes what the store gives it


def write_in_place() -> None:
    """Let a rename over the newest generation write into it instead, and sync it."""
    rename = os.rename

    def rename_in_place(name: str, other: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if other != NEWEST:
            rename(name, other, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            return
        source = os.open(name, os.O_RDONLY, dir_fd=src_dir_fd)
        target = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=dst_dir_fd)
        os.write(target, os.read(source, MAX_BYTES))
        os.fsync(target)
        os.close(target)
        os.close(source)
        os.unlink(name, dir_fd=src_dir_fd)

    os.rename = rename_in_place  # type: ignore[assignment] # it takes what the store gives it


def remove_previous_last() -> None:
    """Let the removal of the previous generation come after the change of the newest."""
    rename, unlink = os.rename, os.unlink
    waiting: list[int] = []

    def unlink_later(name: str, *, dir_fd: int) -> None:
        if name == PREVIOUS:
            os.stat(name, dir_fd=dir_fd)
            waiting.append(dir_fd)
            return
        unlink(name, dir_fd=dir_fd)
        if name == NEWEST:
            unlink_waiting()

    def rename_first(name: str, other: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(name, other, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if other == NEWEST:
            unlink_waiting()

    def unlink_waiting() -> None:
        while waiting:
            unlink(PREVIOUS, dir_fd=waiting.pop())

    os.unlink = unlink_later  # type: ignore[assignment] # it takes what the store gives it
    os.rename = rename_first  # type: ignore[assignment] # the same


def be_a_share() -> None:
    """Know no second names, and sync no folders, as a share of another machine's may."""
    fsync = os.fsync

    def refuse_link(name: str, *_: object, **__: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), name)

    def sync_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(fd)

    os.link = refuse_link  # type: ignore[assignment] # it takes what the store gives it
    os.fsync = sync_files  # type: ignore[assignment] # it takes what the store gives it


def be_fat() -> None:
    """Know no second names, as FAT answers it."""

    def refuse_link(name: str, *_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name)

    os.link = refuse_link  # type: ignore[assignment] # it takes what the store gives it


def know_no_modes() -> None:
    """Answer that a mode is changed, and leave the one that the disk was mounted with."""
    fchmod = os.fchmod

    def keep_mode(fd: int, _: int) -> None:
        fchmod(fd, 0o755)

    os.fchmod = keep_mode  # type: ignore[assignment] # it takes what the store gives it


def know_no_locks() -> None:
    """Refuse every lock."""

    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = refuse  # type: ignore[assignment] # it takes what the store gives it


SABOTAGES: Final[dict[str, Callable[[], None]]] = {
    "": lambda: None,
    "files are not synced": lambda: sync_none(stat.S_ISREG),
    "folders are not synced": lambda: sync_none(stat.S_ISDIR),
    "the newest is written in place": write_in_place,
    "the previous one goes last": remove_previous_last,
    "a share": be_a_share,
    "FAT": be_fat,
    "without modes": know_no_modes,
    "without locks": know_no_locks,
}


class Driver:
    """The test's end of the pipe to a driver of its own."""

    def __init__(self) -> None:
        root = str(Path(__file__).parent.parent)
        packages = str(Path(cryptography.__file__).parent.parent)
        start = (
            f"import sys; sys.path += [{root!r}, {packages!r}]; from tests.store_driver import main; main()"
        )
        # Without site and environment: nothing but the store is in the child.
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-I", "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, run: Run) -> Outcome:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(run)) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()
