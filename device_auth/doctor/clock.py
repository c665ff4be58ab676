"""T: the clocks. Certificates are judged by the wall clock, deadlines by the clock that counts from boot.

A Raspberry Pi has no battery clock. A server's date is used to find a wrong clock, never to set one: where the
certificate's own dates are wrong, a server with an old certificate could send any date.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from device_auth.core.errors import ProviderUnreachable
from device_auth.core.models import Monotonic, Seconds, UnixTime
from device_auth.core.ports import Clock
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.doctor.provider_probe import NO_ADDRESS, HandshakeStep, ProviderProbe

TOLD_FROM: Final = Seconds(120)
"""A wall clock that is this far off is warned of; a server's may be a little off too."""

WRONG_FROM: Final = Seconds(3600)
"""A wall clock this far off may hold a new certificate for not yet valid."""

SAME: Final = Seconds(5)
"""Two clocks, read one after the other, may differ by this."""

SET_IT: Final = (
    "Let the network set the clock: sudo timedatectl set-ntp true, and let UDP port 123 out of the network;"
    " then run device-auth doctor again."
)

UPTIME: Final = Path("/proc/uptime")
OWN_FILE: Final = next(path for path in (Path(__file__), *Path(__file__).parents) if path.exists())
"""This file, or the archive that it lies in."""


class DoctorsClock(Clock, Protocol):
    """A clock that can judge itself."""

    def looks_set(self, not_before: UnixTime) -> bool:
        """Return whether the wall clock can be right, given a moment in the past."""
        ...

    def awake(self) -> Monotonic:
        """Return the time since boot without suspend."""
        ...

    def is_kept_right(self) -> bool | None:
        """Return whether some program keeps the wall clock right; None if unknown."""
        ...


def checks(
    probe: ProviderProbe | None, clock: DoctorsClock, *, own_file: Path = OWN_FILE, uptime: Path = UPTIME
) -> list[Check]:
    """Return the checks of the clocks.

    Args:
        probe: of the provider, whose date is compared, or None.
        clock: the machine's.
        own_file: a file of this program, which is older than now.
        uptime: the file with the kernel's uptime.
    """

    def compare() -> Finding:
        return _against_provider(probe) if probe else skipped(NO_ADDRESS)

    return [
        Check("T1", "clock-unset", lambda: _against_own_files(clock, own_file)),
        Check("T2", "clock-wrong", compare, after=("T1", "N10")),
        Check("T3", "clock-not-kept", lambda: _keeping(clock)),
        Check("T4", "boot-clock", lambda: _boot(clock, uptime)),
    ]


def _against_own_files(clock: DoctorsClock, own_file: Path) -> Finding:
    written_at = UnixTime(own_file.stat().st_mtime)
    wall = clock.wall()
    facts = {"clock": _shown(wall), "own_files": _shown(written_at)}
    if clock.looks_set(written_at):
        return ok("The clock shows a date that can be right.", **facts)
    if wall < written_at:
        sentence = (
            f"The clock is not set: it shows {_shown(wall)}, which is before this program was installed."
        )
    else:
        sentence = f"The clock shows a date that cannot be right: {_shown(wall)}."
    return fail(sentence, SET_IT, ProviderUnreachable.exit_code, **facts)


def _against_provider(probe: ProviderProbe) -> Finding:
    handshake = probe.handshake
    if handshake.date is None:
        return skipped("The provider sent no date, or did not prove its identity.")
    off = handshake.received_at - handshake.date
    facts = {"off_by_seconds": str(round(off)), "provider_says": _shown(handshake.date)}
    if handshake.failed_step is HandshakeStep.DATE:
        facts["trust"] = "the certificate's dates were not checked; do not set the clock by this"
    if abs(off) < TOLD_FROM:
        return ok("The clock agrees with the provider's.", **facts)
    sentence = f"The clock is {_length(abs(off))} {'fast' if off > 0 else 'slow'} against the provider's."
    if abs(off) < WRONG_FROM:
        return warn(sentence, SET_IT, **facts)
    return fail(sentence, SET_IT, ProviderUnreachable.exit_code, **facts)


def _keeping(clock: DoctorsClock) -> Finding:
    is_kept = clock.is_kept_right()
    if is_kept is None:
        return skipped("The kernel does not report whether the clock is kept right.")
    if is_kept:
        return ok("The clock is kept right by the network's time.")
    return warn("The clock is not kept right by the network's time, or not yet.", SET_IT)


def _boot(clock: DoctorsClock, uptime: Path) -> Finding:
    """Compare the clocks that start at boot: none may be ahead of the one that also counts suspend."""
    awake = clock.awake()
    try:
        runs_since = float(uptime.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        runs_since = 0.0
    now = clock.now()
    facts = {"since_boot": str(round(now)), "awake": str(round(awake)), "uptime": str(round(runs_since))}
    if max(awake, runs_since) <= now + SAME:
        return ok("The clock for deadlines agrees with the kernel's other clocks.", **facts)
    return warn(
        "The clock for deadlines is behind the kernel's other clocks: codes and tokens may be used after they have expired.",
        "Restart the machine; if that does not help, update its kernel, or run device-auth outside the container.",
        **facts,
    )


def _shown(moment: UnixTime) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{moment:.0f} s after 1970"


def _length(seconds: float) -> str:
    for name, unit in (("days", 86_400), ("hours", 3600)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 60:.0f} minutes"
