"""Which kind of speaker a verb speaks to; only that kind is imported."""

from typing import TYPE_CHECKING

from device_auth.assembly.doors import Doors
from device_auth.assembly.service import HURRY, FoundService, find_service, is_of_system, look_for_service
from device_auth.assembly.speaker import Speaker

if TYPE_CHECKING:
    from device_auth.core.public import SpeakerHealth, SpeakerStatus
    from device_auth.world.service_unit import ServiceReport


def open_speaker(doors: Doors) -> Speaker:
    """Return the speaker: through the service where one holds its link, else in this process.

    Raises:
        Busy: if a service runs that does not answer this user, or fails, or does not answer at all.
    """
    return _open(doors, find_service(doors))


def read_status(doors: Doors) -> "SpeakerStatus":
    """Return the state of the speaker, soon, whatever the service does.

    Raises:
        Busy: if a service runs that does not answer this user.
        StoreError: if there is no service, and the store cannot be read.
    """
    found = look_for_service(doors, HURRY)
    if found is None or isinstance(found, FoundService):
        return _open(doors, found).status()
    return _status_beside(doors, found)


def read_health(doors: Doors) -> "SpeakerHealth":
    """Return whether the speaker is linked and a fresh access token is there, soon, whatever the service does.

    Raises:
        Busy: if a service runs that does not answer this user.
        StoreError: if there is no service, and the store cannot be read.
    """
    found = look_for_service(doors, HURRY)
    if found is None or isinstance(found, FoundService):
        return _open(doors, found).health()
    from device_auth.core.public import SpeakerHealth

    return SpeakerHealth(f"service-{found.condition}", None, found.hint)


def _open(doors: Doors, service: FoundService | None) -> Speaker:
    if service is None:
        from device_auth.assembly.local import LocalSpeaker

        return LocalSpeaker(doors)
    from device_auth.assembly.remote import RemoteSpeaker

    return RemoteSpeaker(doors, service.socket, service.status)


def _status_beside(doors: Doors, report: "ServiceReport") -> "SpeakerStatus":
    """Return the state as the disk has it, where this process may read it, with why the service does not answer."""
    from device_auth import __version__
    from device_auth.assembly.local import LocalSpeaker
    from device_auth.core.errors import StoreError
    from device_auth.core.public import SpeakerStatus
    from device_auth.core.states import StateWord, Trouble
    from device_auth.core.values import replace

    if is_of_system(doors) or not report.is_of_system:
        try:
            status = LocalSpeaker(doors).status()
        except StoreError:
            pass  # the key may be the service's alone
        else:
            return replace(status, hint=report.hint, service=report.condition)
    return SpeakerStatus(
        state=StateWord.STARTING,
        trouble=Trouble.NONE,
        since=None,
        hint=report.hint,
        expires_at=None,
        account=None,
        dialect=None,
        version=__version__,
        name=doors.name,
        service=report.condition,
    )
