"""The station's key on the unit: by it the line's station logs in, and no shipped unit may have it.

It is the last thing to go before the lock, when all else has passed: until then the station must be able to come back.
The connection that is open stays open without it. It goes before the lock and not after: a unit that lost its power between
the two is found at the line, which cannot reach it, while a locked one with the key would be taken for finished.
"""

from functools import partial
from pathlib import Path
from typing import Final

from device_auth.assembly.doors import Doors
from device_auth.core.errors import DeviceAuthError
from device_auth.factory.talk import CheckOutcome, Talk
from device_auth.factory.unit.wiping import LEFT
from device_auth.world.explain import explain, store_error
from device_auth.world.files import Folder
from device_auth.world.owners import Json, Question, as_owner

COMMENT: Final = b"device-auth-station"
"""With which the comment of the station's public key begins."""

_NAMES: Final = ("authorized_keys", "authorized_keys2")
_MOST_BYTES: Final = 1024 * 1024


def remove_station_keys(talk: Talk, _doors: Doors, root: Path | None) -> None:
    """Remove the station's key from every user's ``authorized_keys``, unless a check has failed before."""
    if root is None or talk.has_failed:
        return
    removed = 0
    try:
        for home in _homes(root):
            folder = home / ".ssh"
            removed += int(as_owner(folder, partial(_remove_below, folder)))
    except (DeviceAuthError, OSError) as error:
        reason = explain("cannot look for a key", error) if isinstance(error, OSError) else str(error)
        talk.check("left-station-key", CheckOutcome.FAIL, reason, exit_code=LEFT)
    else:
        detail = f"keys of the station removed: {removed}"
        talk.check("left-station-key", CheckOutcome.PASS, detail, exit_code=LEFT)


def _homes(root: Path) -> list[Path]:
    """Return the home folders of the unit's users, below its root."""
    try:
        accounts = (root / "etc/passwd").read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        accounts = []
    named = [fields[5] for account in accounts if len(fields := account.split(":")) > 5]  # noqa: PLR2004  passwd(5)
    found = [root / "root", *sorted((root / "home").glob("*")), *(root / home.lstrip("/") for home in named)]
    return list(dict.fromkeys(found))


def _remove_below(folder: Path, _ask: Question) -> Json:
    """Remove the station's keys from a folder with a user's keys, and return how many there were."""
    removed = 0
    try:
        with Folder.open(folder) as keys:
            for name in _NAMES:
                removed += _remove_from(keys, name)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise store_error(f"cannot look for the station's key in {folder}", error) from error
    return removed


def _remove_from(keys: Folder, name: str) -> int:
    found = keys.read(name, _MOST_BYTES)
    status = keys.status_of(name)
    if found is None or status is None:
        return 0
    lines = found[0].splitlines(keepends=True)
    left = [line for line in lines if not _is_stations(line)]
    if len(left) < len(lines):
        keys.replace(name, b"".join(left), status.st_mode & 0o777, is_durable=True)
    return len(lines) - len(left)


def _is_stations(line: bytes) -> bool:
    return any(word.startswith(COMMENT) for word in line.split())
