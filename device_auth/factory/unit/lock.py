"""Locking the unit, the last step of the line: every check once more, then the lock.

What the unit has shown earlier in the run may have changed since. A check that fails leaves the unit unlocked.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from device_auth.assembly.doors import Doors
from device_auth.core.errors import ConfigError, StoreError
from device_auth.factory.talk import CheckOutcome, IdentityEvent, Talk
from device_auth.factory.unit.identity import problem_of_label, read_identity
from device_auth.factory.unit.selftest import ask_doctor, look_at_image
from device_auth.factory.unit.station_keys import remove_station_keys
from device_auth.factory.unit.wiping import search_unit
from device_auth.world.disks import doubt_about
from device_auth.world.factory_lock import LockPlaces, write_lock

UnitCheck = Callable[[Talk, Doors, Path | None], None]
"""Checks something on the unit, and writes the outcome of each check that it makes; is given the root folder of the unit, or
None for a simulated unit that has none of its own."""


def check_identity_and_label(talk: Talk, doors: Doors, _root: Path | None) -> None:
    """Check that the unit has an identity, and that of its label where the station has read one."""
    identity = read_identity(doors.places)
    label = None if talk.header is None else talk.header.dsn
    problem = problem_of_label(identity, set() if label is None else {label})
    outcome = CheckOutcome.FAIL if problem else CheckOutcome.PASS
    detail = problem or f"DSN {_dsn_of(identity)}"
    talk.check("identity", outcome, detail, exit_code=ConfigError.exit_code)


def check_what_lasts(talk: Talk, doors: Doors, root: Path | None) -> None:
    """Check that identity and lock outlast a power cut: a lock in memory would be gone with the first."""
    if root is None:
        return
    doubt = doubt_about(doors.places.state_dir, root)
    outcome = CheckOutcome.PASS if doubt is None else CheckOutcome.FAIL
    detail = "" if doubt is None else f"{doubt.sentence} {doubt.hint}"
    talk.check("state-lasts", outcome, detail, exit_code=StoreError.exit_code)


def final_checks(image: frozenset[str]) -> tuple[UnitCheck, ...]:
    """Return what a unit must pass once more before it is locked; parts need a rig that looks, and are not tested again.

    Args:
        image: SHA-256 of files of the image that no unit may have.
    """
    return (
        check_identity_and_label,
        check_what_lasts,
        ask_doctor,
        partial(look_at_image, image=image),
        search_unit,
        remove_station_keys,
    )


def lock_unit(talk: Talk, doors: Doors, root: Path | None, checks: Sequence[UnitCheck]) -> bool:
    """Make every check, and lock the unit if none fails.

    Args:
        talk: is told each check.
        doors: of the unit.
        root: of the unit; None for a simulated unit that has none of its own.
        checks: made in this order.

    Returns:
        Whether the unit is locked now.

    Raises:
        StoreError: if the lock cannot be written.
    """
    for check in checks:
        check(talk, doors, root)
    if talk.has_failed:
        return False
    write_lock(
        LockPlaces(doors.places.state_dir, doors.places.runtime_dir),
        board=doors.unit.board,
        dsn=_dsn_of(read_identity(doors.places)),
        run="" if talk.header is None else str(talk.header.run),
        at=doors.clock.wall(),
    )
    talk.check("lock", CheckOutcome.PASS, "the unit is locked")
    return True


def _dsn_of(identity: IdentityEvent | None) -> str:
    return "" if identity is None else identity.dsn
