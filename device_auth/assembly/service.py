"""Find the service of this speaker: while it runs, only the service uses the link and the parts.

Its socket is asked, for a bounded time, and systemd only where the socket does not answer: so a service that is down, fails
or hangs has a sentence that says so, and keeps nobody waiting.
"""

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.core.errors import Busy, ServiceDown
from device_auth.core.models import Seconds, later
from device_auth.core.values import dataclass
from device_auth.prompts.stderr import say
from device_auth.world.explain import STOP_SERVICE
from device_auth.world.places import NAME
from device_auth.world.store import NEWEST

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.client import Status
    from device_auth.world.service_unit import ServiceReport

SOCKET: Final = Path(f"run/{NAME}/api.sock")
"""Where the system's service listens, below the root folder."""

HURRY: Final = (Seconds(0.5), Seconds(1))
"""How long the service may take to answer where a person wants to know how it is: two seconds with the quick answer that was tried before.

systemd's answer comes between, and out of the second: a busy machine is not to be taken for a service that hangs.
"""

PATIENCE: Final = (Seconds(1), Seconds(2), Seconds(4), Seconds(8), Seconds(10))
"""How long it may take where it is needed: after each time systemd is asked whether to wait on."""

ASK_AS_MEMBER: Final = (
    "Use sudo, or join the group device-auth-client (for link and unlink: device-auth-admin as well):"
    " sudo usermod -aG device-auth-client USER, and log in again."
)

STOP_FIRST: Final = (
    f"Stop the service first: {STOP_SERVICE}; or end the device-auth run that was started by hand."
)


@dataclass(frozen=True, slots=True)
class FoundService:
    """The service that holds the link, and its first answer."""

    socket: Path
    status: "Status"


def find_service(doors: "Doors", patience: Sequence[Seconds] = PATIENCE) -> FoundService | None:
    """Return the service that holds the link; None if none does, or this user has a link of their own.

    With ``--runtime-dir`` only its own is looked for; with ``--state-dir`` alone, none: that is another speaker.
    Beside a service that is down, root works on its files: nothing else uses them.

    Raises:
        Busy: if one runs and does not answer this user, who has no link of their own: nothing true can be reported.
        ServiceDown: if it starts too slowly, fails or does not answer; for a user who cannot use its files, also if it is down.
    """
    found = look_for_service(doors, patience)
    if found is None or isinstance(found, FoundService):
        return found
    if not (found.is_down and is_of_system(doors)):
        raise ServiceDown(found.sentence, hint=found.next_step)
    if found.has_failed:
        say(f"device-auth: {found.hint}")
    return None


def look_for_service(doors: "Doors", patience: Sequence[Seconds]) -> "FoundService | ServiceReport | None":
    """Return the service, else why it does not answer; None if none keeps this speaker.

    Args:
        doors: of the speaker.
        patience: seconds to wait for an answer, and to wait on while one may come.

    Raises:
        Busy: if it does not answer this user, who has no link of their own.
    """
    try:
        found = _ask_service(doors, patience)
    except Busy as refused:
        if not _has_own_link(doors):
            raise
        say(f"device-auth: {refused}")
        return None
    if found is None or isinstance(found, FoundService):
        return found
    if found.is_of_system and not is_of_system(doors) and _has_own_link(doors):
        say(f"device-auth: {found.hint}")
        return None
    return found


def is_of_system(doors: "Doors") -> bool:
    """Return whether this process uses the files of the system's speaker."""
    return doors.places.state_dir == doors.machine / "var" / "lib" / NAME


def refuse_beside_service(doors: "Doors") -> None:
    """Refuse to do with the link, beside a service, what cannot be done through it.

    Raises:
        Busy: if a service holds the link of this speaker, or does not answer.
    """
    try:
        found = find_service(doors)
    except ServiceDown as down:
        raise ServiceDown(str(down), hint=f"{down.hint} {STOP_FIRST}") from down
    if found is not None:
        raise Busy("the service is using the link", hint=STOP_FIRST)


def is_served(doors: "Doors", patience: Sequence[Seconds] = HURRY) -> bool:
    """Return whether a service runs on this speaker, and holds its parts; one that refuses this user does so too.

    One of which nothing can be known in time counts as running: whoever needs the parts must be patient.
    """
    try:
        found = _ask_service(doors, patience)
    except Busy as refused:
        say(f"device-auth: {refused}")
        return True
    if found is None or isinstance(found, FoundService):
        return found is not None
    say(f"device-auth: {found.hint}")
    return not found.is_down


def _ask_service(doors: "Doors", patience: Sequence[Seconds]) -> "FoundService | ServiceReport | None":
    """Return the service as ``look_for_service`` does, whether this user has a link of their own or not.

    Raises:
        Busy: if it does not answer this user.
    """
    path = _socket_of(doors)
    if path is None:
        return _report_without_socket(doors, patience)
    from device_auth.client import Client, ClientError, Refused
    from device_auth.world.bounded import bounded

    report, ends_at = None, later(doors.clock.now(), Seconds(sum(patience)))
    for number, wanted in enumerate(patience):
        within = Seconds(min(wanted, max(0.1, ends_at - doors.clock.now())))
        client = Client(str(path), within)
        try:
            # A service that sends a byte now and then is as good as none: the whole answer must come in time.
            status = bounded(client.status, within)
        except Refused as error:
            client.close()
            raise Busy(f"permission denied by the service: {error}", hint=ASK_AS_MEMBER) from error
        except (ClientError, TimeoutError):
            if report is None or patience is not HURRY:
                report = _report_on(doors, path, patience)
            if report is None or not report.is_coming:
                return report
            if number == 0 and patience is not HURRY:
                say(f"device-auth: {report.sentence} Waiting for it, at most {sum(patience):.0f} s.")
        else:
            client.close()
            return FoundService(path, status)
    return report


def _report_without_socket(doors: "Doors", patience: Sequence[Seconds]) -> "ServiceReport | None":
    """Return why the system's service has no socket; None if it keeps no speaker, or not this one."""
    if doors.is_simulated or doors.options.keys() & {"runtime_dir", "state_dir"}:
        return None
    return _ask_systemd(doors, patience)


def _report_on(doors: "Doors", path: Path, patience: Sequence[Seconds]) -> "ServiceReport | None":
    """Return why nothing answers at a socket; None if nobody listens there, and no service should."""
    if path == doors.machine / SOCKET:
        report = _ask_systemd(doors, patience)
        if report is not None:
            return report
    from device_auth.world.service_unit import silent_at

    return silent_at(path, doors.machine)


def _ask_systemd(doors: "Doors", patience: Sequence[Seconds]) -> "ServiceReport | None":
    from device_auth.world.service_unit import ANSWER_WITHIN, ask_systemd, is_installed, report_on

    if not is_installed(doors.machine):
        return None
    # Whoever can wait for the service can wait for systemd on a slow machine: without its word nothing may be done.
    within = max((ANSWER_WITHIN, *patience[1:]))
    return report_on(ask_systemd(doors.machine, within), doors.machine)


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
        candidates = [(doors.machine / SOCKET).parent, own]
    for folder in candidates:
        if folder is not None and _is_socket(folder / SOCKET.name, doors.machine):
            return folder / SOCKET.name
    return None


def _is_socket(path: Path, root: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except PermissionError:
        return path == root / SOCKET  # in a closed folder: a service may run there
    except OSError:
        return False
