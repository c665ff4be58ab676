"""Find the service of this speaker: while it runs, only the service uses the link and the parts."""

import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.core.errors import Busy
from device_auth.prompts.stderr import say
from device_auth.world.store import NEWEST

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors

SYSTEM_SOCKET: Final = Path("/run/device-auth/api.sock")
"""Where the system's service listens."""

ASK_AS_MEMBER: Final = (
    "Use sudo, or join the group device-auth-client (for link and unlink: device-auth-admin as well):"
    " sudo usermod -aG device-auth-client USER, and log in again."
)

STOP_FIRST: Final = (
    "Stop the service first: sudo systemctl stop device-auth.service device-auth.socket; or end the device-auth run that"
    " was started by hand."
)


def find_service(doors: "Doors") -> Path | None:
    """Return the socket of the service that holds the link; None if none runs, or this user has a link of their own.

    With ``--runtime-dir`` only its own is looked for; with ``--state-dir`` alone, none: that is another speaker.

    Raises:
        Busy: if one runs and does not answer this user, who has no link of their own: nothing true can be reported.
    """
    socket, refusal = _look_for_service(doors)
    if refusal and not _has_own_link(doors):
        raise Busy(refusal, hint=ASK_AS_MEMBER)
    if refusal:
        say(f"device-auth: {refusal}")
    return socket


def refuse_beside_service(doors: "Doors") -> None:
    """Refuse to do with the link, beside a service, what cannot be done through it.

    Raises:
        Busy: if a service holds the link of this speaker, or does not answer this user.
    """
    if find_service(doors) is not None:
        raise Busy("the service is using the link", hint=STOP_FIRST)


def is_served(doors: "Doors") -> bool:
    """Return whether a service runs on this speaker, and holds its parts; one that refuses this user does so too."""
    socket, refusal = _look_for_service(doors)
    if refusal:
        say(f"device-auth: {refusal}")
    return socket is not None or bool(refusal)


def _look_for_service(doors: "Doors") -> tuple[Path | None, str]:
    """Return the socket of the service, if it answers, and otherwise why it refuses, if it does."""
    path = _socket_of(doors)
    if path is None:
        return None, ""
    from device_auth.client import Client, ClientError, Refused

    try:
        with Client(str(path)) as client:
            client.status()
    except Refused as error:
        return None, f"permission denied by the service: {error}"
    except ClientError:
        return None, ""
    return path, ""


def _has_own_link(doors: "Doors") -> bool:
    with suppress(OSError):
        return (doors.places.state_dir / NEWEST).exists()
    return False


def _socket_of(doors: "Doors") -> Path | None:
    if doors.is_simulated:
        return None
    own = doors.places.runtime_dir
    if "runtime_dir" in doors.options:
        candidates = [own]
    elif "state_dir" in doors.options:
        candidates = []
    else:
        candidates = [SYSTEM_SOCKET.parent, own]
    for folder in candidates:
        if folder is not None and _is_socket(folder / SYSTEM_SOCKET.name):
            return folder / SYSTEM_SOCKET.name
    return None


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except PermissionError:
        return path == SYSTEM_SOCKET  # in a closed folder: a service may run there
    except OSError:
        return False
