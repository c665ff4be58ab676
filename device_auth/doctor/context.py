"""The context of the checks: the speaker and the machine that they examine, and the programs that they may run.

Nothing is changed. Other programs are run with fixed arguments, without a shell, and with limits on time and output.
"""

import grp
import os
import pwd
import signal
import subprocess  # noqa: TID251  the doctor runs systemctl, journalctl and ss, here alone
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
from device_auth.world.unit import ThisUnit

UNIT: Final = "device-auth.service"

SOCKET: Final = "api.sock"

PROGRAM_TIMEOUT: Final = Seconds(4)
"""How long another program, or the service, may take to answer."""

MOST_OUTPUT: Final = 256 * 1024
"""Bytes of another program's output that are read; the rest is left."""

MOST_READ: Final = 64 * 1024
"""Characters of a file of the machine that are read."""

UNIT_PROPERTIES: Final = (
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
    "ControlGroup",
)
"""Source: systemctl(1), ``show``; org.freedesktop.systemd1(5)."""


class CannotRun(Exception):
    """A program is missing, or did not end in time; the text has its name and the reason."""


class ProgramResult(NamedTuple):
    """The exit code and stdout of a program."""

    exit_code: int
    output: str


Run = Callable[[Sequence[str]], ProgramResult]


class UserAccount(NamedTuple):
    """A user and all groups."""

    name: str
    uid: int
    gids: frozenset[int]


class ServiceAnswer(NamedTuple):
    """The answer of the service on its socket.

    Attributes:
        is_running: a service answered, if only by a refusal.
        status: of the speaker, or None.
        problem: why there is no status.
    """

    is_running: bool
    status: Status | None
    problem: str = ""


def run_program(words: Sequence[str]) -> ProgramResult:
    """Run a program.

    Args:
        words: its name, looked up on the path, and its arguments.

    Raises:
        CannotRun: if it is missing, or did not end in time.
    """
    environ = {**environment_for_others(), "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        process = subprocess.Popen(  # noqa: S603  the arguments are the doctor's own
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

    with cancelled_after(PROGRAM_TIMEOUT, kill), process:
        assert process.stdout is not None  # noqa: S101  it was asked for
        output = process.stdout.read(MOST_OUTPUT)
        if len(output) == MOST_OUTPUT:
            _kill_all(process)
        exit_code = process.wait()
    if late:
        raise CannotRun(f"{words[0]}: no answer within {PROGRAM_TIMEOUT:g} s")
    return ProgramResult(exit_code, output.decode("utf-8", "replace"))


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program and its children, which might hold its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def gid_of(name: str) -> int | None:
    """Return the number of a group; None if there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def members_of(name: str) -> frozenset[str]:
    """Return the users who have been added to a group."""
    try:
        return frozenset(grp.getgrnam(name).gr_mem)
    except KeyError:
        return frozenset()


class DoctorContext:
    """The speaker that is examined, and the machine that it is on.

    Args:
        places: of the speaker.
        clock: for dates and ages.
        is_system: the system's service keeps this speaker.
        keys: the keys of the stored link that this process can reach.
        root: the root folder.
        run: runs a program.
        gid_of: returns the number of a group.
        members_of: returns the users who have been added to a group.
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
        members_of: Callable[[str], frozenset[str]] = members_of,
    ) -> None:
        self.places = places
        self.clock = clock
        self.is_system = is_system
        self.keys = keys
        self.root = root
        self.is_link_sealed = False
        self.run = run
        self.gid_of = gid_of
        self.members_of = members_of
        # Several checks ask at once; each question is asked once.
        self._unit_lock, self._daemon_lock = Lock(), Lock()

    @property
    def unit(self) -> Mapping[str, str]:
        """Return the unit's properties by systemd; empty without systemd, or if it does not keep this speaker."""
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
            *(f"--property={name}" for name in UNIT_PROPERTIES),
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
        """Return the answer of the service on the socket; it is asked once."""
        with self._daemon_lock:
            return self._daemon

    @cached_property
    def _daemon(self) -> ServiceAnswer:
        if not self.has_socket:
            return ServiceAnswer(is_running=False, status=None, problem="there is no socket")
        try:
            with Client(str(self.socket), PROGRAM_TIMEOUT) as client:
                return ServiceAnswer(is_running=True, status=client.status())
        except Refused as error:
            return ServiceAnswer(is_running=True, status=None, problem=str(error))
        except ClientError as error:
            return ServiceAnswer(is_running=False, status=None, problem=str(error))

    def read_link(self) -> Link | None:
        """Return the stored link; change nothing.

        Raises:
            StoreError: if it cannot be read.
        """
        store = FileStore(self.places.state_dir, keys=lambda: self.keys, unit=self.this_unit)
        link = store.read()
        self.is_link_sealed = store.is_sealed
        return link

    @property
    def this_unit(self) -> ThisUnit:
        """Return the unit that is examined."""
        return ThisUnit(self.places.config_file, self.places.state_dir, self.root)

    @property
    def has_socket(self) -> bool:
        """Return whether there is a file at the address of the service."""
        # Path.exists() raises if a folder may not be searched.
        return self.socket is not None and os.path.lexists(self.socket)

    @property
    def is_ours(self) -> bool:
        """Return whether this process may read the files of the speaker's user."""
        return os.geteuid() in {0, self.account.uid}

    def refusal(self) -> str:
        """Return that permission is denied, and which users have it."""
        users = "root" if self.account.uid == 0 else f"root and {self.account.name}"
        return f"Permission denied; {users} may look there: sudo device-auth doctor"

    def read(self, name: str) -> str:
        """Return the text of a file below the root folder, up to a limit; empty if it cannot be read."""
        try:
            with (self.root / name).open(errors="replace") as stream:
                return stream.read(MOST_READ)
        except OSError:
            return ""

    def line(self, name: str) -> str:
        """Return the first line of such a file."""
        return self.read(name).strip("\0 \n").partition("\n")[0]

    @property
    def socket(self) -> Path | None:
        """Return the address of the service."""
        runtime_dir = self.places.runtime_dir
        return None if runtime_dir is None else runtime_dir / SOCKET

    @cached_property
    def account(self) -> UserAccount:
        """Return the user whom the speaker belongs to: the service's, else the system's state folder's, else this process's."""
        name = self.unit.get("User") or ("root" if self.unit.get("LoadState") == "loaded" else "")
        uid = os.geteuid()
        if self.is_system:
            # A service outside systemd: advice must name the owner of its folder, not the user who runs this.
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
