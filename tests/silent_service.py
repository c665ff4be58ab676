"""A machine with a service that does not answer, and a systemd that tells why: files below a root folder of a test's own."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

from device_auth.assembly.doors import Doors
from device_auth.world.places import Places, read_places
from device_auth.world.settings import SettingsFiles

SERVICE: Final = {
    "MainPID": "0",
    "Result": "success",
    "NRestarts": "0",
    "ExecMainCode": "0",
    "ExecMainStatus": "0",
    "Id": "device-auth.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
}
"""As ``systemctl show`` prints it, in its order."""

SOCKET: Final = {
    "Result": "success",
    "Id": "device-auth.socket",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
}


def shown(service: Mapping[str, str], socket_unit: Mapping[str, str] = SOCKET) -> str:
    """Return what ``systemctl show`` prints of both."""
    return "\n".join(
        "".join(f"{name}={value}\n" for name, value in unit.items()) for unit in (service, socket_unit)
    )


@dataclass
class SilentMachine:
    """The machine."""

    root: Path

    @property
    def socket(self) -> Path:
        return self.root / "run/device-auth/api.sock"

    def put(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def install(self) -> None:
        """Install the unit, on a machine that systemd has started."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.put("usr/lib/systemd/system/device-auth.service", "")
        self.put("usr/lib/systemd/system/device-auth.socket", "")
        self.put("answer", "")

    def systemd_tells(self, service: Mapping[str, str], socket_unit: Mapping[str, str] = SOCKET) -> None:
        told = self.put("told", shown({**SERVICE, **service}, {**SOCKET, **socket_unit}))
        self.systemctl(f"cat {told}")

    def systemctl(self, script: str) -> None:
        self.put("usr/bin/systemctl", f'#!/bin/sh\ntest "$1" = show || exit 9\n{script}\n', 0o755)

    def doors(self, *, is_root: bool = True, **options: object) -> Doors:
        """Return the doors of a command that root runs here, or an ordinary user."""
        places = read_places({}, {}, 0, self.root)
        if not is_root:
            own = self.root / "home"
            places = Places(own / "state", own / "run", SettingsFiles(), own / "config.toml")
        doors = Doors(options, places)
        doors.machine = self.root
        return doors

    @contextmanager
    def listening(self, how: str = "silent") -> Iterator[None]:
        """Listen as a service that takes connections and does not answer; ``how`` says what it does in place of that."""
        with listening(self.socket, how):
            yield


@contextmanager
def listening(path: Path, how: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    over = Event()
    taken: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(0 if how == "full" else 64)
        if how == "full":
            taken = _fill(path)

        def drip() -> None:
            listener.settimeout(0.02)
            while not over.is_set():
                with suppress(OSError):
                    taken.append(listener.accept()[0])
                for each in taken:
                    with suppress(OSError):
                        each.send(b"H")

        dripping = Thread(target=drip)
        if how == "dripping":
            dripping.start()
        try:
            yield
        finally:
            over.set()
            if how == "dripping":
                dripping.join()
            for each in taken:
                each.close()
    path.unlink()


def _fill(path: Path) -> list[socket.socket]:
    """Connect until the backlog is full."""
    taken: list[socket.socket] = []
    while True:
        each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        each.setblocking(False)
        try:
            each.connect(str(path))
        except BlockingIOError:
            each.close()
            return taken
        taken.append(each)
