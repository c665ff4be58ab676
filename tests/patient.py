"""A speaker for the doctor: everything about it is well until a test breaks one thing."""

import json
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from threading import Thread
from typing import Final

from device_auth import __version__
from device_auth.assembly.hardware_parts import read_hardware
from device_auth.core.errors import ConfigError
from device_auth.doctor import board, link, runtime, service, storage
from device_auth.doctor.check_run import CheckResult, examine
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.findings import Check, Verdict
from device_auth.service.callers import Permissions
from device_auth.world.keys import ONLY_PLAIN, Keys
from device_auth.world.places import Places
from device_auth.world.programs import CannotRun, ProgramResult, Run
from device_auth.world.settings import SettingsFiles
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from tests.links import make_grant, make_link
from tests.socket_world import ADMINISTRATORS, SocketWorld
from tests.world import SkippingClock

ME: Final = pwd.getpwuid(os.geteuid()).pw_name

UNIT: Final = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "ExecMainStatus": "0",
    "NRestarts": "0",
    "WatchdogUSec": "3min",
    "User": ME,
    "SupplementaryGroups": "",
    "PrivateDevices": "no",
}

SOCKET_UNIT: Final = {
    "Id": "device-auth.socket",
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
}

DISKS: Final = "22 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw"
MEMORY: Final = "25 22 0:23 / {} rw,nosuid - tmpfs tmpfs rw,mode=755"


@dataclass
class Patient:
    """One speaker, kept by the system's service unless a test says otherwise."""

    folder: Path
    clock: SkippingClock = field(default_factory=SkippingClock)
    unit: dict[str, str] = field(default_factory=lambda: dict(UNIT))
    socket_unit: dict[str, str] = field(default_factory=lambda: dict(SOCKET_UNIT))
    said: dict[str, ProgramResult] = field(
        default_factory=lambda: {"ss": ProgramResult(0, ""), "journalctl": ProgramResult(0, "")}
    )
    groups: dict[str, int] = field(
        default_factory=lambda: {"device-auth-client": os.getegid(), "device-auth-admin": 802, "gpio": 803}
    )
    members: dict[str, frozenset[str]] = field(default_factory=dict)
    hardware: Mapping[str, object] = field(default_factory=dict)
    is_system: bool = True
    keys: Keys = ONLY_PLAIN
    run: Run | None = None

    def __post_init__(self) -> None:
        # Every check answers, so no time is skipped.
        self.clock.is_asking = lambda: True
        self.run_dir.mkdir(mode=0o755)
        self.root.mkdir()
        self.put("proc/self/mountinfo", f"{DISKS}\n{MEMORY.format(self.run_dir.resolve())}\n")
        self.store_link()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def put(self, name: str, text: str) -> Path:
        """Write a file below the root folder."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def store_link(self) -> None:
        with FileStore(self.state) as store:
            store.replace(make_link(generation=1))
            store.save(make_link(generation=2))

    def publish(self) -> None:
        FileTokens(self.run_dir, self.clock).publish(make_grant())

    def context(self) -> DoctorContext:
        places = Places(self.state, self.run_dir, SettingsFiles(), self.folder / "config.toml")
        return DoctorContext(
            places,
            self.clock,
            is_system=self.is_system,
            keys=self.keys,
            root=self.root,
            run=self.run or self._run,
            gid_of=self.groups.get,
            members_of=lambda name: self.members.get(name, frozenset()),
        )

    def checks(self) -> list[Check]:
        context = self.context()
        # Read now: the program's own files may be closed to the user that a test becomes.
        read_plan = cache(lambda: read_hardware(self.hardware)[0])
        with suppress(ConfigError):
            read_plan()
        return [
            *storage.checks(context),
            *runtime.checks(context),
            *link.checks(context, None),
            *board.checks(context, read_plan),
            *service.checks(context),
        ]

    def examine(self) -> dict[str, CheckResult]:
        return {each.check.code: each for each in examine(self.checks(), self.clock)}

    @contextmanager
    def served(self) -> Iterator[SocketWorld]:
        """Have a service answer on the socket: linked, with a token."""
        permissions = Permissions(os.getegid(), ADMINISTRATORS, os.geteuid())
        path = self.run_dir / "api.sock"
        with SocketWorld(path, clock=self.clock, permissions=permissions) as served:
            served.is_linked(served.issue())
            self.publish()
            yield served

    def _run(self, words: Sequence[str]) -> ProgramResult:
        if words[0] == "systemctl":
            units = (self.unit, self.socket_unit) if self.unit else ()
            told = ("".join(f"{name}={value}\n" for name, value in unit.items()) for unit in units)
            return ProgramResult(0, "\n".join(told))
        try:
            return self.said[words[0]]
        except KeyError:
            raise CannotRun(f"{words[0]}: no such file or directory") from None


def troubles(found: Mapping[str, CheckResult]) -> dict[str, Verdict]:
    """Return what failed or was warned of."""
    verdicts = {code: each.finding.verdict for code, each in found.items()}
    return {code: verdict for code, verdict in verdicts.items() if verdict in {Verdict.FAIL, Verdict.WARN}}


@contextmanager
def answering(patient: Patient, http: int = 200, **changes: object) -> Iterator[None]:
    """Have a service of another kind on the socket: one status, or one refusal, for every question."""
    told = {
        "state": "linked",
        "trouble": "none",
        "since": "2026-11-22T12:00:00Z",
        "hint": "",
        "expires_at": "2100-01-01T00:00:00Z",
        "account": None,
        "dialect": "lwa",
        "version": __version__,
        **changes,
    }
    body = json.dumps(told if http == HTTPStatus.OK else {"type": "urn:x:refused", "detail": "not for you"})

    class Answer(StreamRequestHandler):
        def handle(self) -> None:
            while (line := self.rfile.readline()) and line.strip():
                pass
            head = f"HTTP/1.1 {http} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.wfile.write((head + body).encode())

    path = patient.run_dir / "api.sock"
    with ThreadingUnixStreamServer(str(path), Answer) as server:
        path.chmod(0o660)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
