"""The gate before each verb on the unit: none passes a lock, and none touches an owner's link.

It looks at the machine's own folders, whatever options and environment say, and at those in use. Only a simulated unit of a
user who may not look into the machine's folder goes by its own alone: it has nothing of this machine.
"""

from device_auth.assembly.doors import Doors
from device_auth.core.errors import Busy, UnitLocked
from device_auth.factory.talk import StatusEvent
from device_auth.world.explain import STOP_SERVICE
from device_auth.world.factory_lock import (
    LOCK,
    LockPlaces,
    look_at_lock,
    machine_places,
    sync_lock,
)
from device_auth.world.fields import MAX_BYTES, Malformed, read_fields
from device_auth.world.files import read_plain
from device_auth.world.store import has_any_link


def refuse_closed(doors: Doors) -> None:
    """Raise unless the factory's verbs may run on this unit.

    Raises:
        UnitLocked: if it is locked, or if that cannot be known.
        Busy: if an owner's link is there.
    """
    looked_at = _places_of(doors)
    for each in looked_at:
        lock = look_at_lock(each, doors.clock.now())
        if lock.doubt:
            raise UnitLocked(
                f"whether this unit is locked is not known: {lock.doubt}", hint="Run it with sudo."
            )
        if lock.is_shut:
            sync_lock(each)
            raise UnitLocked(
                f"this unit is locked ({each.state_dir})",
                hint="Reset it by hand: hold the button for 10 s, and tap it once more. Then the factory's verbs run"
                " for ten minutes.",
            )
    for each in looked_at:
        if has_any_link(each.state_dir) is not False:
            raise Busy(
                f"an owner's link is on this unit ({each.state_dir})",
                hint=f"To unlink it, stop the service ({STOP_SERVICE}), run: sudo device-auth unlink --wipe, and start both again.",
            )


def look_at_gate(doors: Doors) -> StatusEvent:
    """Return what ``refuse_closed`` goes by, for a person and for a station."""
    looked_at, now = _places_of(doors), doors.clock.now()
    locks = {each: lock for each in looked_at if (lock := look_at_lock(each, now)).is_there}
    is_shut = any(lock.is_shut for lock in locks.values())
    opened = min((lock.opened_for for lock in locks.values() if lock.opened_for is not None), default=None)
    links = [has_any_link(each.state_dir) for each in looked_at]
    return StatusEvent(
        locked=is_shut,
        opened_for=None if is_shut else opened,
        linked=True if True in links else None if None in links else False,
        run=next((run for each in locks if (run := _run_of(each)) is not None), None),
    )


def _run_of(places: LockPlaces) -> str | None:
    """Return the run in which a station locked the unit; None if none did, or that cannot be read."""
    try:
        return read_fields(read_plain(places.state_dir / LOCK, MAX_BYTES + 1)[0]).text("run") or None
    except (OSError, ValueError, Malformed):
        return None


def _places_of(doors: Doors) -> list[LockPlaces]:
    own, in_use = (
        machine_places(doors.machine),
        LockPlaces(doors.places.state_dir, doors.places.runtime_dir),
    )
    return [in_use] if doors.is_simulated and _is_closed(own) else [own, in_use]


def _is_closed(places: LockPlaces) -> bool:
    """Return whether this process has no permission to look for a lock."""
    try:
        (places.state_dir / LOCK).lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
