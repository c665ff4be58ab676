"""The gate before each verb on the unit: none passes a lock, and none touches an owner's link.

It looks at the machine's own folders, whatever options and environment say, and at those in use.
"""

from pathlib import Path

from device_auth.core.errors import Busy, UnitLocked
from device_auth.core.models import Monotonic
from device_auth.factory.talk import StatusEvent
from device_auth.world.explain import STOP_SERVICE
from device_auth.world.factory_lock import LockPlaces, LockState, look_at_lock, machine_places, sync_lock
from device_auth.world.places import Places
from device_auth.world.store import has_any_link


def refuse_closed(places: Places, now: Monotonic, root: Path) -> None:
    """Raise unless the factory's verbs may run on this unit.

    Args:
        places: in use.
        now: by the clock that counts suspend and that nobody sets.
        root: of the machine's file system.

    Raises:
        UnitLocked: if it is locked, or if that cannot be known.
        Busy: if an owner's link is there.
    """
    both = _both(places, root)
    for each in both:
        lock = look_at_lock(each, now)
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
    for each in both:
        if has_any_link(each.state_dir) is not False:
            raise Busy(
                f"an owner's link is on this unit ({each.state_dir})",
                hint=f"To unlink it, stop the service ({STOP_SERVICE}), run: sudo device-auth unlink --wipe, and start both again.",
            )


def look_at_gate(places: Places, now: Monotonic, root: Path) -> StatusEvent:
    """Return what ``refuse_closed`` goes by, for a person and for a station."""
    both = _both(places, root)
    locks: list[LockState] = [lock for each in both if (lock := look_at_lock(each, now)).is_there]
    is_shut = any(lock.is_shut for lock in locks)
    opened = min((lock.opened_for for lock in locks if lock.opened_for is not None), default=None)
    links = [has_any_link(each.state_dir) for each in both]
    return StatusEvent(
        locked=is_shut,
        opened_for=None if is_shut else opened,
        linked=True if True in links else None if None in links else False,
    )


def _both(places: Places, root: Path) -> tuple[LockPlaces, LockPlaces]:
    return machine_places(root), LockPlaces(places.state_dir, places.runtime_dir)
