"""Which kind of speaker a verb speaks to; only that kind is imported."""

from device_auth.assembly.doors import Doors
from device_auth.assembly.service import find_service
from device_auth.assembly.speaker import Speaker


def open_speaker(doors: Doors) -> Speaker:
    """Return the speaker: through the service where one holds its link, else in this process.

    Raises:
        Busy: if a service runs that does not answer this user.
    """
    socket = find_service(doors)
    if socket is None:
        from device_auth.assembly.local import LocalSpeaker

        return LocalSpeaker(doors)
    from device_auth.assembly.remote import RemoteSpeaker

    return RemoteSpeaker(doors, socket)
