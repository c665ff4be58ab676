"""A machine to switch hardware on in: a root folder with a systemctl that only takes notes, and a service that answers."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from device_auth.cli import hardware
from device_auth.cli.main import read_arguments
from device_auth.core.errors import DeviceAuthError
from device_auth.tools import drop_ins
from device_auth.tools.switching import RESTART_DUE
from tests.socket_world import SocketWorld

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

SYSTEMCTL: Final = """\
#!/bin/sh
root=${0%/usr/bin/systemctl}
echo "$@" >> "$root/asked"
env >> "$root/environment"
case $1 in
show) cat "$root/state" ;;
esac
case "$*" in
"$(cat "$root/fails" 2>/dev/null)") echo "Job for it failed." >&2; exit 1 ;;
esac
"""

ON: Final = "Id=device-auth.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"
OFF: Final = "Id=device-auth.service\nLoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n"
ABSENT: Final = "Id=device-auth.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"

FAILED: Final = ON.replace("=active", "=failed") + "Result=exit-code\nExecMainCode=1\nExecMainStatus=216\n"

RESTARTED: Final = [
    "daemon-reload",
    "show",
    "stop device-auth.socket device-auth.service",
    "start device-auth.socket",
    "start device-auth.service",
]


@dataclass
class EnablingWorld:
    """The machine."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    err: str = ""

    def __post_init__(self) -> None:
        self.folder = self.root / drop_ins.FOLDER
        self.settings = self.root / "etc/device-auth/config.toml"
        self.settings.parent.mkdir(parents=True)
        (self.root / "run/device-auth").mkdir(parents=True)

    def boot(self, state: str = ON) -> None:
        """Let systemd run here."""
        (self.root / "run/systemd/system").mkdir(parents=True)
        systemctl = self.root / "usr/bin/systemctl"
        systemctl.parent.mkdir(parents=True)
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        (self.root / "state").write_text(state)

    def write_settings(self, text: str) -> None:
        self.settings.write_text(text)
        self.settings.chmod(0o600)

    @contextmanager
    def served(self) -> Iterator[SocketWorld]:
        """Let a service answer here."""
        with SocketWorld(self.root / "run/device-auth/api.sock") as world:
            yield world

    def run(self, *words: str, euid: int = 0) -> int:
        """Run the verb as the command line does; return the exit code."""
        try:
            args = read_arguments(["hardware", *words])
            code = hardware.run(args, environ={}, euid=euid, root=self.root)
        except SystemExit as error:
            code = int(error.code or 0)
        except DeviceAuthError as error:
            code = error.exit_code
            print(f"{error}\n{error.hint}")
        told = self.capsys.readouterr()
        self.out, self.err = told.out, told.err
        return code

    def results(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run it for a program."""
        code = self.run(*words, "--json")
        fields: dict[str, Any] = json.loads(self.out)
        return code, fields

    def asked(self) -> list[str]:
        """Return what systemctl was asked since the last look."""
        path = self.root / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        lines = [line.split()[0] if line.startswith("show ") else line for line in lines]
        path.unlink(missing_ok=True)
        return lines

    def in_place(self) -> dict[str, str]:
        """Return the drop-ins that lie in place, without our last line."""
        found = (
            {path.name: path.read_text() for path in self.folder.glob("*")} if self.folder.exists() else {}
        )
        return {name: text.partition("# Put here by")[0] for name, text in found.items()}

    @property
    def is_restart_due(self) -> bool:
        return (self.root / RESTART_DUE).exists()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file with its number, which a new file in its place does not have."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and path.name not in {"asked", "environment"}
    }


def shipped(sort: str, name: str) -> str:
    """Return a drop-in of the clone."""
    clone = Path(__file__).parent.parent / "deploy" / "systemd"
    return (clone / sort / f"{name}.conf").read_text()


IS_ROOT: Final = os.geteuid() == 0
