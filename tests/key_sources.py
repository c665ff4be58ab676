"""A place where keys lie, or do not: a credential, a file, and a stand-in for the tool of the Raspberry Pi's firmware."""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from device_auth.core.models import Seconds
from device_auth.world.keys import Keys, find_keys
from device_auth.world.settings import KEY_PROVIDERS, read_settings

ASKED = "hmac --in /dev/stdin --key-id 1"
"""What it is asked. Source: raspberrypi/utils, rpifwcrypto/README.md."""


def write_tool(folder: Path, script: str) -> Path:
    """Put a tool of this script into a folder for programs, and give the folder."""
    folder.mkdir(exist_ok=True)
    tool = folder / "rpi-fw-crypto"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return folder


def write_board(folder: Path, kind: str = "a") -> Path:
    """Put a tool there that answers as a board with a key of this kind does: with a code that is always the same."""
    code = hmac.digest(kind.encode(), b"device-auth key v1", hashlib.sha256)
    octal = "".join(f"\\{byte:03o}" for byte in code)
    return write_tool(
        folder,
        f'[ "$*" = "{ASKED}" ] || exit 1\n[ "$(cat "$3")" = "device-auth key v1" ] || exit 2\nprintf "{octal}"',
    )


MATERIAL = b"canary: thirty-two bytes or more of it"
SEALING = KEY_PROVIDERS[:-1]


class KeySources:
    """A place where keys lie, or do not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"PATH": str(folder / "bin")}
        self.settings: dict[str, str] = {}
        self.euid: int | None = None
        self.timeout = Seconds(20)

    @property
    def keys(self) -> Keys:
        """Look anew."""
        given = {f"DEVICE_AUTH_{name.upper()}": value for name, value in self.settings.items()}
        settings = read_settings({}, None, given)
        return find_keys(settings, self.environ, euid=self.euid, timeout=self.timeout)

    def give_credential(self, content: bytes = MATERIAL) -> Path:
        path = self.folder / "credentials" / "device-auth.key"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.environ["CREDENTIALS_DIRECTORY"] = str(path.parent)
        return path

    def give_board(self, kind: str = "a") -> None:
        write_board(self.folder / "bin", kind)

    def give_tool(self, script: str) -> None:
        write_tool(self.folder / "bin", script)

    def give_file(self, content: bytes = MATERIAL, mode: int = 0o600) -> Path:
        path = self.folder / "a key"
        path.write_bytes(content)
        path.chmod(mode)
        self.settings["key_file"] = str(path)
        return path

    def give(self, name: str) -> None:
        match name:
            case "systemd-credential":
                self.give_credential()
            case "rpi-fw-crypto":
                self.give_board()
            case _:
                self.give_file()

    def take(self, name: str) -> None:
        """Take a key away, and with it what says that there is one."""
        match name:
            case "systemd-credential":
                del self.environ["CREDENTIALS_DIRECTORY"]
            case "rpi-fw-crypto":
                (self.folder / "bin" / "rpi-fw-crypto").unlink()
            case _:
                del self.settings["key_file"]

    def exchange(self, name: str) -> None:
        """Put another key in the place of one."""
        match name:
            case "systemd-credential":
                self.give_credential(MATERIAL + b"?")
            case "rpi-fw-crypto":
                self.give_board("b")
            case _:
                self.give_file(MATERIAL + b"!")

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables of a process that is to find the keys, its usual programs among them."""
        given = {f"DEVICE_AUTH_{name.upper()}": value for name, value in self.settings.items()}
        return self.environ | given | {"PATH": f"{self.environ['PATH']}:/usr/bin:/bin"}


def names(keys: Keys) -> list[str]:
    return [key.name for key in keys.providers]
