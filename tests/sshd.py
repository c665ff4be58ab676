"""Real sshds on loopback: each with a host key, a port and a configuration of its own, as the user who runs the tests."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.ports import free_port
from tests.waiting import wait_for

SSHD: Final = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
USER: Final = pwd.getpwuid(os.geteuid()).pw_name


def make_key(path: Path, comment: str = "") -> str:
    """Make a key pair, and return the public key."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True)
    return path.with_suffix(".pub").read_text().strip()


class Sshd:
    """The sshd of a unit.

    Args:
        folder: of its own.
        station_key: the public key that it lets in.
        authorized: where that stands; in its folder unless told.
    """

    def __init__(self, folder: Path, station_key: str, authorized: Path | None = None) -> None:
        assert SSHD is not None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # where it gives up root's rights; a system that runs sshd has it
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.more: list[str] = []
        self.authorized = authorized or folder / "authorized_keys"
        self.authorized.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.authorized.write_text(f"{station_key}\n")
        self.host_key = make_key(folder / "host_key")
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self, identity_file: Path, **more: object) -> dict[str, Any]:
        """Return the settings of a slot with this unit."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "identity_file": identity_file,
            "interface": "",
            "proxy_command": "",
            "host_key": "",
            "command": ("sh", "-c"),
            **more,
        }

    def start(self) -> None:
        """Start it, and wait until it listens."""
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.authorized}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "PrintMotd no",
            "MaxStartups 100",
            *self.more,
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(SSHD), "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._listens, f"sshd does not listen: see {self.folder}/log")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """Stop it with all that it serves, as a unit that loses power."""
        if self._process is None:
            return
        self.freeze()
        served = list(descendants_of(self._process.pid))
        for pid in [self._process.pid, *served]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop its processes without ending a connection, as a unit whose kernel hangs."""
        assert self._process is not None
        for pid in [self._process.pid, *descendants_of(self._process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def change_host_key(self) -> None:
        """Become another unit."""
        self.host_key = make_key(self.folder / "host_key")


def descendants_of(pid: int) -> Iterator[int]:
    """Yield the processes below a process, the youngest first."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    yield from reversed(found[1:])
