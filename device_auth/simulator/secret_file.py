"""The file of client secrets: on each line a client ID and its secret."""

import stat
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName
from device_auth.simulator.clients import is_client_id
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.settings import quoted

LARGEST_FILE: Final = 65_536
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_client_secrets(path: Path) -> dict[str, str]:
    """Read the secrets by client ID; empty lines, and those that begin with ``#``, are skipped.

    Raises:
        ConfigError: if the file cannot be read, others may read it, or a line is not a client ID and a secret. The
            message repeats no word of the file.
    """
    secrets: dict[str, str] = {}
    for number, line in enumerate(_read_private(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        client_id, _, secret = line.strip().partition(" ")
        secret = secret.strip()
        if not is_client_id(client_id, DialectName.LWA) or not secret or client_id in secrets:
            raise ConfigError(
                f"line {number} of {path} is not a new client ID and its secret",
                hint="Write on each line: the client ID (amzn1.application-oa2-client.…), a space, its secret.",
            )
        secrets[client_id] = secret
    return secrets


def _read_private(path: Path) -> str:
    try:
        raw, status = read_plain(path, LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(f"cannot read {path}", error), hint="Check the path and the owner of the file."
        ) from error
    if len(raw) > LARGEST_FILE:
        raise ConfigError(
            f"{path} is too large for a file of client secrets", hint="Name a file of at most 64 KiB."
        )
    if status.st_mode & _OPEN_TO_OTHERS:
        raise ConfigError(f"other users can read {path}", hint=f"Run: chmod 600 {quoted(path)}")
    return raw.decode("utf-8", "replace")
