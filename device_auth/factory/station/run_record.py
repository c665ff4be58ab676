"""A run of one unit at a station, as a value, and the door to the station's records.

The one idea: a run is begun on the disk before anything is done to the unit, and its record is on the disk before the
slot shows its outcome. Names are OpenHTF's where it has one (``dut_id``, ``station_id``, ``start_time_millis``,
``outcome``, ``phases``).

A length of time is taken from a clock that no one sets; wall time stands beside it, for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from device_auth.core.errors import DeviceAuthError
from device_auth.factory.talk import RunOutcome

UNKNOWN_DUT: Final = "UNKNOWN_DUT"
"""The ``dut_id`` of a run whose unit never said or got a DSN, as OpenHTF has it."""

LARGEST_ATTACHMENT: Final = 64 * 1024
"""Bytes: the most of one attachment that is kept; of more, the last ones."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value, with the limits that it was judged by.

    Attributes:
        unit: of the value, such as ``s``; empty if it has none.
    """

    name: str
    value: float | str | bool | None
    unit: str = ""
    outcome: RunOutcome = RunOutcome.PASS
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a phase leaves beside its measurements, such as the last of the unit's talk. No secret is in it."""

    name: str
    content: bytes
    mimetype: str = "text/plain"


@dataclass(frozen=True, slots=True)
class RunPhase:
    """One attempt of one step of the plan.

    Attributes:
        attempt: counts the attempts of this step in this run, from 1.
        seconds: how long it took; no step of the wall clock is in it.
        exit_code: of the unit's verb; None if it ended without one.
        details: why it ended so, in words.
    """

    name: str
    outcome: RunOutcome
    start_time_millis: int
    end_time_millis: int
    seconds: float
    attempt: int = 1
    exit_code: int | None = None
    details: str = ""
    measurements: tuple[Measurement, ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """What is made: two revisions of one part are two products. The batch belongs to the run."""

    name: str
    part_number: str = ""
    revision: str = ""
    product_id: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class DsnRule:
    """What a DSN of a product looks like.

    Attributes:
        product: its name in the ledger.
        prefix: with which each one begins.
        has_check_digit: whether the last character is one.
        may_have_hyphens: Amazon's own installer refuses them.
    """

    product: str
    prefix: str = ""
    has_check_digit: bool = False
    may_have_hyphens: bool = False


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run that is begun: on the station's disk, without an outcome yet.

    Attributes:
        run_uuid: stands for this run in every database.
        start_time_millis: wall time.
        order_millis: wall time that never goes back at one station; runs are ordered by it.
        is_golden: whether the unit is one of the station's proofs; it does not count for the yield.
    """

    run_uuid: str
    station_id: str
    slot: str
    operator: str
    product: Product
    batch: str
    start_time_millis: int
    order_millis: int
    is_golden: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run that has ended.

    Attributes:
        dut_id: the unit's DSN, or ``UNKNOWN_DUT``.
        board: what stays the same on the unit's board, such as its serial number; empty if nothing was read.
        seconds: how long it took; no step of the wall clock is in it.
        outcome_details: why it ended so, in words.
        host_key_fingerprint: of the unit's SSH host key; empty where the transport has none.
        unit: what the unit read of itself (unit.json); None for what it could not read.
        is_judged: whether it says anything of the unit; False if the station's own trouble ended it. Of an aborted one
            it does not matter.
    """

    start: RunStart
    dut_id: str
    board: str
    end_time_millis: int
    seconds: float
    outcome: RunOutcome
    outcome_details: str = ""
    host_key_fingerprint: str = ""
    unit: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    phases: tuple[RunPhase, ...] = ()
    is_judged: bool = True


class UniqueValue(NamedTuple):
    """What a unit has measured of itself, and no other unit may have.

    Attributes:
        dsn: of the unit.
        board: of the unit; empty if nothing was read.
        name: of the measurement.
        text: its value.
    """

    dsn: str
    board: str
    name: str
    text: str


class DsnProblem(StrEnum):
    """Why a scanned DSN is not taken."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    DOUBLE = "double"
    LOCKED = "locked"
    BURNT = "burnt"
    UNCLEAR = "unclear"
    """The database that knows could not be asked."""


class DsnRefused(DeviceAuthError):
    """A DSN cannot be given to this unit."""

    exit_code = 78

    def __init__(self, problem: DsnProblem, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


class RunRecords(Protocol):
    """The records of one station. Every method may be called from any thread."""

    def begin(
        self, *, slot: str, product: Product, batch: str = "", operator: str = "", is_golden: bool = False
    ) -> RunStart:
        """Begin a run: it is on the disk before this returns.

        A run that is begun and never saved, because the station lost its power, gets the outcome ABORTED at the next start.

        Raises:
            StoreError: if the disk cannot take another run.
        """
        ...

    def save(self, record: RunRecord) -> None:
        """Save the record of a run; it is on the disk before this returns. The same record again changes nothing.

        Raises:
            StoreError: if it is not on the disk; the slot must not show PASS.
        """
        ...

    def take_dsn(self, run: RunStart, board: str, *, scanned: str = "") -> str:
        """Return the DSN for a unit: the one that it was given before, the scanned one, or the next free one.

        Args:
            run: the run that asks.
            board: what stays the same on this board, such as its serial number; empty if it has nothing, and then its
                number is burnt unless it is marked as written in this run.
            scanned: the DSN of the label; empty where there is none.

        Raises:
            DsnRefused: if the scanned one cannot be taken, or the unit has another one.
            NoDsnLeft: if there is no free one.
            StoreError: if the station's disk refuses.
        """
        ...

    def find_twin(self, run: RunStart, value: UniqueValue) -> str:
        """Return the DSN of another unit with the same value; empty if none is known.

        Units under way count, and of each other unit what it said last; golden units and other runs of this unit do not.
        Where the database of all stations is away, only this station's own records are searched.

        Raises:
            StoreError: if the station's disk refuses.
        """
        ...

    def golden_outcomes(self, since_millis: int) -> Mapping[str, RunOutcome]:
        """Return the last outcome of each golden unit whose run began at this station since then, by its DSN."""
        ...

    def check_dsn(self, scanned: str) -> DsnProblem | None:
        """Return why a scanned DSN could not be taken now; None if it could be. Takes less than 0.2 s."""
        ...

    def mark_written(self, dsn: str, run: RunStart) -> None:
        """Note that a unit has its DSN."""
        ...

    def mark_locked(self, dsn: str, run: RunStart) -> None:
        """Note that a unit has its DSN for good."""
        ...

    def recognise_locked(self, dsn: str, locked_in: str, run: RunStart) -> str | None:
        """Note that a unit is locked which says so itself: the result of its lock was lost.

        Args:
            dsn: of the unit.
            locked_in: the run in which it was locked.
            run: in which it says so.

        Returns:
            The unit's board, as the ledger has it; None if the DSN is not written, or was asked for by another run since: the
            lock is then another one's, or an older one. Nothing is noted then.
        """
        ...

    def mark_burnt(self, dsn: str, run: RunStart, reason: str) -> None:
        """Note that a DSN is never to be used (again)."""
        ...

    def push(self) -> int:
        """Push what is not there yet to the database; return how many changes still wait.

        It may take seconds, so a thread of its own calls it, now and then and at the end. It never raises because the
        database is away or refuses: the records stay here, a warning is logged, and the next call tries again.
        """
        ...

    def close(self) -> None:
        """Release the station's folder. Nothing is lost without it."""
        ...
