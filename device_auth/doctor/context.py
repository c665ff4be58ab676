"""The context: where the doctor looks, whom it is about, and the one door through which it runs other programs.

Everything is looked at and nothing is changed. Whatever is asked of another program is asked once, with fixed words,
no shell, a bound on its time and on how much it may say.
"""

import grp
import os
import pwd
import signal
import subprocess  # noqa: TID251  the doctor asks systemctl, journalctl and ss; the only door of it that does
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from device_auth.client import Client, ClientError, Refused, Status
from device_auth.core.models import Link, Seconds
from device_auth.core.ports import WaitingClock
from device_auth.world.bounded import cancelled_after
from device_auth.world.explain import explain
from device_auth.world.keys import ONLY_PLAIN, Keys
from device_auth.world.places import ROOT, Places
from device_auth.world.settings import environment_for_others
from device_auth.world.store import FileStore

UNIT: Final = "device-auth.service"

SOCKET: Final = "api.sock"

PATIENCE: Final = Seconds(4)
"""How long another program, or the service, may take to answer."""

MOST_OUTPUT: Final = 256 * 1024
"""Bytes of another program's output that are read; the rest is left."""

ASKED_OF_THE_UNIT: Final = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainStatus",
    "NRestarts",
    "WatchdogUSec",
    "User",
    "SupplementaryGroups",
    "PrivateDevices",
    "DevicePolicy",
    "DeviceAllow",
)
"""Source: systemctl(1), ``show``; org.freedesktop.systemd1(5)."""


class CannotRun(Exception):
    """A program is not there, or did not end; says which and why."""


class ProgramResult(NamedTuple):
    """What a program said on stdout, and how it ended."""

    exit_code: int
    output: str


Run = Callable[[Sequence[str]], ProgramResult]


class UserAccount(NamedTuple):
    """A user as the kernel sees one."""

    name: str
    uid: int
    gids: frozenset[int]


class ServiceAnswer(NamedTuple):
    """What was heard of the service on its socket.

    Attributes:
        is_running: something of ours answered, if only to say no.
        status: what it tells of the speaker; None if it told nothing.
        problem: why it told nothing.
    """

    is_running: bool
    status: Status | None
    problem: str = ""


def run_program(words: Sequence[str]) -> ProgramResult:
    """Run a program and give what it says.

    Args:
        words: its name, looked up on the path, and its arguments.

    Raises:
        CannotRun: it is not there, or did not end in time.
    """
    environ = {**environment_for_others(), "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        process = subprocess.Popen(  # noqa: S603  the words are the doctor's own
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        raise CannotRun(explain(words[0], error)) from error
    late: list[bool] = []

    def kill() -> None:
        late.append(True)
        _kill_all(process)

    with cancelled_after(PATIENCE, kill), process:
        assert process.stdout is not None  # noqa: S101  it was asked for
        output = process.stdout.read(MOST_OUTPUT)
        if len(output) == MOST_OUTPUT:
            _kill_all(process)
        exit_code = process.wait()
    if late:
        raise CannotRun(f"{words[0]}: no answer within {PATIENCE:g} s")
    return ProgramResult(exit_code, output.decode("utf-8", "replace"))


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """End a program and all that it started, which might hold its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def gid_of(name: str) -> int | None:
    """Return the number of a group; None if there is none of this name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


class DoctorContext:
    """Where the doctor looks.

    Args:
        places: of the speaker that is examined.
        clock: for dates and ages.
        is_system: it is the one that the system's service keeps.
        keys: those that the stored link may be under, as far as this process can reach them.
        root: the root folder.
        run: runs a program.
        gid_of: gives the number of a group.
    """

    def __init__(
        self,
        places: Places,
        clock: WaitingClock,
        *,
        is_system: bool,
        keys: Keys = ONLY_PLAIN,
        root: Path = ROOT,
        run: Run = run_program,
        gid_of: Callable[[str], int | None] = gid_of,
    ) -> None:
        self.places = places
        self.clock = clock
        self.is_system = is_system
        self.keys = keys
        self.root = root
        self.run = run
        self.gid_of = gid_of
        # Several checks ask at once; the answer is the same for all.
        self._unit_lock, self._daemon_lock = Lock(), Lock()

    @property
    def unit(self) -> Mapping[str, str]:
        """Return what systemd says of the service; nothing where there is no systemd, or the speaker is not its."""
        with self._unit_lock:
            return self._unit

    @cached_property
    def _unit(self) -> Mapping[str, str]:
        if not self.is_system:
            return {}
        words = [
            "systemctl",
            "show",
            UNIT,
            "--no-pager",
            *(f"--property={name}" for name in ASKED_OF_THE_UNIT),
        ]
        try:
            ran = self.run(words)
        except CannotRun:
            return {}
        pairs = (line.partition("=") for line in ran.output.splitlines() if "=" in line)
        found: dict[str, str] = {}
        for name, _, value in pairs:
            found[name] = f"{found[name]} {value}" if name in found else value
        return found if ran.exit_code == 0 else {}

    @property
    def daemon(self) -> ServiceAnswer:
        """Return what the service on the socket says; asked once."""
        with self._daemon_lock:
            return self._daemon

    @cached_property
    def _daemon(self) -> ServiceAnswer:
        if not self.has_socket:
            return ServiceAnswer(is_running=False, status=None, problem="there is no socket")
        try:
            with Client(str(self.socket), PATIENCE) as client:
                return ServiceAnswer(is_running=True, status=client.status())
        except Refused as error:
            return ServiceAnswer(is_running=True, status=None, problem=str(error))
        except ClientError as error:
            return ServiceAnswer(is_running=False, status=None, problem=str(error))

    def read_link(self) -> Link | None:
        """Return the stored link; changes nothing.

        Raises:
            StoreError: as ``FileStore.read``.
        """
        return FileStore(self.places.state_dir, keys=lambda: self.keys).read()

    @property
    def has_socket(self) -> bool:
        """Return whether something lies where the service would listen."""
        # not by the path's own exists(), which raises where a folder may not be searched
        return self.socket is not None and os.path.lexists(self.socket)

    @property
    def is_ours(self) -> bool:
        """Return whether this process may look at what belongs to the speaker's user."""
        return os.geteuid() in {0, self.account.uid}

    def refusal(self) -> str:
        """Return who may look instead."""
        return f"Only root and {self.account.name} may look there: sudo device-auth doctor"

    @property
    def socket(self) -> Path | None:
        """Return where the service listens."""
        runtime_dir = self.places.runtime_dir
        return None if runtime_dir is None else runtime_dir / SOCKET

    @cached_property
    def account(self) -> UserAccount:
        """Return whom the speaker belongs to: the service's user, else the system's folder's, else whoever asks."""
        name = self.unit.get("User") or ("root" if self.unit.get("LoadState") == "loaded" else "")
        uid = os.geteuid()
        if self.is_system:
            # a service that systemd does not keep; not to be told to give its folder to whoever asks
            with suppress(OSError):
                uid = self.places.state_dir.stat().st_uid
        try:
            found = pwd.getpwnam(name) if name else pwd.getpwuid(uid)
        except KeyError:
            return UserAccount(name or str(uid), uid, frozenset({os.getegid(), *os.getgroups()}))
        if not name and uid == os.geteuid():
            return UserAccount(found.pw_name, found.pw_uid, frozenset({os.getegid(), *os.getgroups()}))
        more = (self.gid_of(group) for group in self.unit.get("SupplementaryGroups", "").split())
        gids = {*os.getgrouplist(found.pw_name, found.pw_gid), *(gid for gid in more if gid is not None)}
        return UserAccount(found.pw_name, found.pw_uid, frozenset(gids))
