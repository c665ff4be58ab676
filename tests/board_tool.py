"""A stand-in for rpi-fw-crypto, the tool of the Raspberry Pi's firmware: a script, as odd as a test wants it."""

import hashlib
import hmac
from pathlib import Path

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
