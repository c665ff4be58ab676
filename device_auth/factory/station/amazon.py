"""The simulated Amazon of a station, and the rig as the owner of the unit in each slot.

Each run has a simulated Amazon of its own behind one address (``device_auth.simulator.runs``): what one unit was given is
worth nothing for another. The rig approves only the code of the run's own DSN.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from device_auth.assembly.doors import without_simulator
from device_auth.core.models import Monotonic, Secret

try:
    from device_auth.simulator.models import Options
    from device_auth.simulator.runs import RunsServer, SimulatedRun
except ImportError as error:
    raise without_simulator(error) from error

AUTHORITY: Final = "amazon"
"""The folder with the certificate authority, in the station's; a station that was killed leaves it to the next start."""

_INTERVAL: Final = 1
"""Seconds between polls that units are told: its owner approves at once."""


class NotApproved(Exception):
    """The owner does not approve, or has nothing to end; the text says why."""


class SlotOwner:
    """The owner of one unit during one run.

    Args:
        run: its simulated Amazon.
        client_id: that the unit must use.
        dsn: that the unit must have.
    """

    def __init__(self, run: SimulatedRun, client_id: str, dsn: str) -> None:
        self._run = run
        self._client_id = client_id
        self._dsn = dsn

    @property
    def base_url(self) -> str:
        """Return the address for the unit."""
        return self._run.base_url

    @property
    def issued(self) -> tuple[Secret, ...]:
        """Return what the unit was given so far, and must not keep."""
        return tuple(self._run.issued)

    def approve(self, user_code: str) -> None:
        """Approve a code, as an owner does who has read it from the unit.

        Raises:
            NotApproved: if it is not a waiting code of this run, or was asked for by another unit.
        """
        amazon = self._run.amazon
        applicants = [pair.applicant for pair in amazon.pairs() if pair.user_code == user_code]
        if not applicants:
            raise NotApproved("the unit shows a code that was not issued in this run")
        found = applicants[-1]
        if found.dsn != self._dsn:
            raise NotApproved(f"the code was asked for by the DSN {(found.dsn or '')[:40]!a}")
        if found.client_id != self._client_id:
            raise NotApproved("the code was asked for with another client ID")
        if amazon.approve(user_code) != 1:
            raise NotApproved("the unit shows a code that does not wait any more")

    def revoke(self) -> None:
        """End the link at the account, as an owner does who removes the speaker.

        Raises:
            NotApproved: if there is none.
        """
        if not self._run.amazon.revoke("all"):
            raise NotApproved("the unit waits for the end of a link that there is not")

    def complaints(self) -> tuple[str, ...]:
        """Return what the referee complains of, a sentence each."""
        return tuple(f"{each.kind}: {each.sentence}" for each in self._run.amazon.referee.complaints())


class StationAmazon:
    """The simulated Amazon of a station, until it is stopped; a context manager.

    Args:
        folder: of the station, which is this process's alone.
        host: an address of this machine that the units reach.
        port: 0 for a free one.
        now: reads the clock.

    Raises:
        ConfigError: if it cannot listen there, or an extra package is missing.
    """

    def __init__(self, folder: Path, host: str, port: int, now: Callable[[], Monotonic]) -> None:
        # an authority of its own for each start: one that a unit kept by mistake is worth nothing
        self._folder = folder / AUTHORITY
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._server = RunsServer(host, port, self._folder, now)
            self.certificates = self._server.ca_file.read_text()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @contextmanager
    def owner(self, client_id: str, dsn: str) -> Iterator[SlotOwner]:
        """Serve one run meanwhile, and give its unit an owner."""
        options = Options(interval=_INTERVAL, rotates=True)
        with self._server.run(options) as run:
            yield SlotOwner(run, client_id, dsn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
