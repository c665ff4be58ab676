"""The context of the checks: the speaker and the machine that they examine, and the programs that they may run.

Nothing is changed.
"""

import grp
import os
import pwd
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from device_auth.client import Client, ClientError, Refused, Status
from device_auth.core.models import Link, Seconds
from device_auth.core.ports import WaitingClock
from device_auth.doctor.findings import Finding, skipped
from device_auth.world.keys import ONLY_PLAIN, Keys
from device_auth.world.places import ROOT, Places
from device_auth.world.programs import CannotRun, Run, run_program
from device_auth.world.service_unit import UNIT, Units, show
from device_auth.world.store import FileStore
from device_auth.world.unit import ThisUnit

SOCKET: Final = "api.sock"

ANSWER_TIMEOUT: Final = Seconds(4)
"""How long the service may take to answer."""

AS_ROOT: Final = "sudo device-auth doctor"

MOST_READ: Final = 64 * 1024
"""Characters of a file of the machine that are read."""

MORE_PROPERTIES: Final = (
    *(
        "WatchdogUSec",
        "User",
        "Group",
        "SupplementaryGroups",
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
    ),
    *("ProtectKernelTunables", "ReadWritePaths"),
    *("ControlGroup", "StateDirectory", "RuntimeDirectory", "DropInPaths", "NeedDaemonReload"),
)
"""Source: systemctl(1), ``show``; org.freedesktop.systemd1(5)."""


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


def is_closed(folder: Path) -> bool:
    """Return whether this process may not look into a folder that is there."""
    try:
        folder.stat()
    except PermissionError:
        return True  # a folder above it may not be searched
    except OSError:
        return False
    return not os.access(folder, os.X_OK)


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
        return self.units.get(UNIT, {})

    @property
    def units(self) -> Units:
        """Return the properties of the service and of its socket, by name; empty as ``unit``."""
        with self._unit_lock:
            return self._units

    @cached_property
    def _units(self) -> Units:
        if not self.is_system:
            return {}
        try:
            return show(self.run, *MORE_PROPERTIES)
        except CannotRun:
            return {}

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
            with Client(str(self.socket), ANSWER_TIMEOUT) as client:
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
        return ThisUnit(self.places.files, self.root)

    def makes(self, path: Path, kind: str) -> bool:
        """Return whether systemd gives a folder to the service's user when the service starts, and it has not started.

        Args:
            path: of the folder.
            kind: the property that names it: ``StateDirectory`` or ``RuntimeDirectory``.
        """
        return path.name in self.unit.get(kind, "").split() and self.unit.get("ActiveState") != "active"

    @property
    def has_socket(self) -> bool:
        """Return whether there is a file at the address of the service."""
        # Path.exists() raises if a folder may not be searched.
        return self.socket is not None and os.path.lexists(self.socket)

    @property
    def is_ours(self) -> bool:
        """Return whether this process may read the files of the speaker's user."""
        return os.geteuid() in {0, self.account.uid}

    @property
    def is_closed(self) -> bool:
        """Return whether what the state folder has is hidden from this process."""
        return is_closed(self.places.state_dir)

    def refused(self) -> Finding:
        """Return the finding of a check that this user may not make, with the users who may."""
        users = "root" if self.account.uid == 0 else f"root and {self.account.name}"
        return skipped(f"Permission denied; {users} may look there.", AS_ROOT)

    def read(self, name: str, limit: int | None = MOST_READ) -> str:
        """Return the text of a file below the root folder, up to a limit if there is one; empty if it cannot be read."""
        try:
            with (self.root / name).open(errors="replace") as stream:
                return stream.read(limit)
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
        # Group= takes the place of the user's own group.
        first = self.gid_of(self.unit.get("Group", ""))
        own = found.pw_gid if first is None else first
        gids = {*os.getgrouplist(found.pw_name, own), *(gid for gid in more if gid is not None)}
        return UserAccount(found.pw_name, found.pw_uid, frozenset(gids))
