"""One run of one unit: the way opened, who it is, the steps of the plan, each attempt judged, the record of all of it.

The one idea: whatever a unit does ends an attempt with an outcome and words, and every run ends with a record. Before the
first step and before the lock the station reads who the unit is, and each verb of it names its DSN: a unit that was
swapped, or came back as another, is told.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from device_auth.core.errors import DeviceAuthError, UnitLocked, trace_of
from device_auth.core.models import Monotonic, Seconds, Secret, UnixTime, later
from device_auth.factory.station.amazon import NotApproved, SlotOwner
from device_auth.factory.station.plan import Limit, PlannedStep, StationPlan
from device_auth.factory.station.run_record import (
    UNKNOWN_DUT,
    Attachment,
    DsnProblem,
    DsnRefused,
    Measurement,
    RunPhase,
    RunRecord,
    RunRecords,
    RunStart,
    UniqueValue,
)
from device_auth.factory.station.transport import (
    ReachedUnit,
    RunAborted,
    StationFailure,
    UnitFailure,
    UnitGone,
    UnitSilent,
    UnitTransport,
)
from device_auth.factory.talk import (
    KEY_LENGTH,
    MOST_SECRETS,
    AskEvent,
    CheckEvent,
    CheckOutcome,
    CodeEvent,
    Event,
    Header,
    IdentityEvent,
    Masks,
    MeasurementEvent,
    ResultEvent,
    RunOutcome,
    StartedEvent,
    StatusEvent,
    TalkReader,
    UnitEvent,
    Unreadable,
    WaitEvent,
    write_answer,
    write_header,
)
from hardware.errors import describe_end

FACTS_BUDGET: Final = Seconds(30)
"""Seconds in which a unit must have said who it is."""

GRACE: Final = Seconds(5)
"""Seconds that a verb may outlast its ``--timeout``, to say so; then the station ends it."""

BOARD_FACTS: Final = ("serial", "rpi_duid", "mmc_cid", "eth_mac", "wifi_mac")
"""The facts by which a board is known, the best first. Source: the names of rpi-sb-provisioner."""

_LONGEST_DETAILS: Final = 2000
"""Characters of a record's words."""

_LONGEST_REMARK: Final = 200
"""Characters of a unit's own last words among them."""

_EXITS: Final = {
    69: "the unit does not reach the simulated Amazon",
    70: "a bug of the unit's program",
    74: "the unit's store cannot be read or written",
    75: "an owner's link is on the unit, or its time was over",
    77: "the unit is locked",
    78: "another identity is on the unit, or its settings are wrong",
}
"""What a unit's exit code means where it names no check."""


class Answerer(Protocol):
    """Answers the questions of a unit, as the rig or a person sees it."""

    def __call__(self, question: AskEvent, dsn: str, deadline: Monotonic) -> str:
        """Return the answer to a question.

        Raises:
            UnitFailure: if there is none by the deadline.
        """
        ...


class CodeReader(Protocol):
    """Reads the code that a unit shows."""

    def __call__(self, told: CodeEvent, deadline: Monotonic) -> str:
        """Return the code, as a person would who looks at the unit.

        Raises:
            UnitFailure: if it shows none, or another one than it has told.
        """
        ...


class AttemptEnded(Exception):
    """The station ends an attempt.

    Args:
        outcome: of the attempt.
        words: why.
        is_final: whether another attempt could not change it.
    """

    def __init__(self, outcome: RunOutcome, words: str, *, is_final: bool = False) -> None:
        super().__init__(words)
        self.outcome = outcome
        self.is_final = is_final


@dataclass(slots=True)
class _Heard:
    """What one attempt of a step has said so far; ``twins`` are units that have said the same, by the measurement."""

    measurements: list[MeasurementEvent] = field(default_factory=list)
    twins: dict[str, str] = field(default_factory=dict)
    failed: list[CheckEvent] = field(default_factory=list)
    facts: Mapping[str, object] | None = None
    exit_code: int | None = None
    dsn: str = ""
    locked_in: str = ""


@dataclass(frozen=True, slots=True)
class RunDoors:
    """What a run needs of the station.

    Attributes:
        records: take the DSN, and what became of it.
        transport: the way to the unit.
        owner: has the simulated Amazon serve the unit of a DSN, until it is closed.
        certificates: of that, as PEM.
        answer: answers the unit's questions.
        read_code: reads the code that the unit shows.
        now: the clock of deadlines.
        wall: the clock of people.
        tell: is called with each step that begins, and the DSN as far as it is known.
    """

    records: RunRecords
    transport: UnitTransport
    owner: Callable[[str], SlotOwner]
    certificates: str
    answer: Answerer
    read_code: CodeReader
    now: Callable[[], Monotonic]
    wall: Callable[[], UnixTime]
    tell: Callable[[str, str], None]


class UnitRun:
    """One run of the unit in a slot.

    Args:
        plan: of the station.
        start: the run, begun in the records.
        doors: what it needs of the station.
        scanned: the DSN of the unit's label; empty where there is none.
    """

    def __init__(self, plan: StationPlan, start: RunStart, doors: RunDoors, scanned: str = "") -> None:
        self._plan = plan
        self._start = start
        self._doors = doors
        self._scanned = scanned
        self._key = Secret(secrets.token_bytes(KEY_LENGTH).hex())
        self._reached = ReachedUnit("")
        self._facts: Mapping[str, object] = {}
        self._board = ""
        self._dsn = ""
        self._has_identity = False
        self._owner: SlotOwner | None = None
        self._phases: list[RunPhase] = []
        self._is_judged = True
        self._began = doors.now()

    def run(self) -> RunRecord:
        """Run every step of the plan that comes to its turn, and return the record; never raises."""
        try:
            outcome, details = self._run_steps()
        except Exception as bug:  # noqa: BLE001  outside of an attempt too
            outcome, details, self._is_judged = RunOutcome.ERROR, _words_of_bug(bug), False
        with suppress(Exception):  # what the run found is worth more than a descriptor
            self._doors.transport.close()
        return RunRecord(
            start=self._start,
            dut_id=self._dsn or self._scanned or UNKNOWN_DUT,
            board=self._board,
            end_time_millis=_millis(self._doors.wall()),
            seconds=self._doors.now() - self._began,
            outcome=outcome,
            outcome_details=details,
            host_key_fingerprint=self._reached.fingerprint,
            unit={
                name: value
                for name, value in self._facts.items()
                if value is None or isinstance(value, str | int | bool)
            },
            phases=tuple(self._phases),
            is_judged=self._is_judged,
        )

    # -----------------------------------------------------------------------------------------------------
    # The steps

    def _run_steps(self) -> tuple[RunOutcome, str]:
        """Return the outcome of the run, and why it ended before its last step."""
        reach = PlannedStep("reach", self._plan.reach_within)
        steps: list[tuple[PlannedStep, Callable[[PlannedStep, _Heard], None]]] = [(reach, self._reach)]
        for step in self._plan.steps:
            if step.verb == "lock":
                if self._start.is_golden:
                    continue  # it is to come again
                steps.append((PlannedStep("same-unit", FACTS_BUDGET), self._meet_again))
            steps.append((step, self._take_step))
        for step, take in steps:
            for attempt in range(1, step.attempts + 1):
                phase, is_final = self._attempt(step, attempt, take)
                self._phases.append(phase)
                is_passed = phase.outcome is RunOutcome.PASS
                if is_final or (not is_passed and attempt == step.attempts):
                    return phase.outcome, f"{phase.name}: {phase.details}"
                if is_passed:
                    break
        return RunOutcome.PASS, ""

    def _attempt(
        self, step: PlannedStep, attempt: int, take: Callable[[PlannedStep, _Heard], None]
    ) -> tuple[RunPhase, bool]:
        """Return how an attempt of a step ended, and whether that is final."""
        self._doors.tell(step.verb, self._dsn or self._scanned)
        began, wall, heard, is_final = self._doors.now(), self._doors.wall(), _Heard(), False
        outcome, details = RunOutcome.PASS, ""
        self._is_judged = True  # the last attempt decides
        try:
            if attempt > 1:
                self._reopen()
            take(step, heard)
        except AttemptEnded as end:
            outcome, details, is_final = end.outcome, str(end), end.is_final
        except RunAborted as end:
            outcome, details, is_final = RunOutcome.ABORTED, str(end), True
        except UnitSilent as end:
            outcome, details = RunOutcome.TIMEOUT, str(end)
        except UnitFailure as end:
            outcome, details = RunOutcome.ERROR, str(end)
            self._is_judged = not isinstance(end, StationFailure)
        except DeviceAuthError as error:  # of the station's own records
            outcome, details, is_final = RunOutcome.ERROR, f"{error}. {error.hint}", True
            self._is_judged = False
        except Exception as bug:  # noqa: BLE001  a bug of the station must not cost a record, or the line
            outcome, details, is_final = RunOutcome.ERROR, _words_of_bug(bug), True
            self._is_judged = False
        if outcome is not RunOutcome.PASS:
            # a verb that the station has given up is ended at once
            with suppress(UnitFailure):
                code = self._doors.transport.finish(self._doors.now())
                heard.exit_code = code if heard.exit_code is None else heard.exit_code
        measurements, breach = judge_measurements(heard.measurements, step, heard.twins)
        if outcome is RunOutcome.PASS and breach:
            outcome, details = RunOutcome.FAIL, breach
        masks = self._masks()
        is_told = outcome is not RunOutcome.PASS
        talk = masks.readable(self._doors.transport.talk) if is_told else ""
        return RunPhase(
            name=step.verb,
            outcome=outcome,
            start_time_millis=_millis(wall),
            end_time_millis=_millis(self._doors.wall()),
            seconds=self._doors.now() - began,
            attempt=attempt,
            exit_code=heard.exit_code,
            details=masks.mask(details)[:_LONGEST_DETAILS],
            measurements=measurements,
            attachments=(Attachment("talk.txt", talk.encode()),) if talk else (),
        ), is_final

    # -----------------------------------------------------------------------------------------------------
    # Who it is

    def _reach(self, step: PlannedStep, heard: _Heard) -> None:
        """Open the way, read who the unit is, and find its DSN."""
        self._reached = self._doors.transport.open(later(self._doors.now(), step.budget))
        try:
            self._facts = self._read_facts(heard)
        except AttemptEnded:
            if heard.exit_code == UnitLocked.exit_code and not self._start.is_golden:
                self._recognise_locked(heard)
            raise
        self._board = self._reached.board or board_of(self._facts)
        try:
            # a golden unit has its own, which is nobody else's and not of the ledger
            self._dsn = (
                self._scanned
                if self._start.is_golden
                else self._doors.records.take_dsn(self._start, self._board, scanned=self._scanned)
            )
        except DsnRefused as refused:
            if refused.problem is DsnProblem.UNCLEAR:
                raise  # nobody could say: the station's own trouble, as every other error of its records
            raise AttemptEnded(RunOutcome.FAIL, f"{refused}. {refused.hint}", is_final=True) from refused
        self._owner = self._doors.owner(self._dsn)

    def _recognise_locked(self, heard: _Heard) -> None:
        """End the run of a unit that has locked itself in an earlier one, and whose word of it was lost.

        Its proved ``factory status`` is its word, and names that run. Of another locked unit nothing is noted.
        """
        found = _Heard()
        self._talk(("factory", "status"), FACTS_BUDGET, found)
        if not found.locked_in or (self._scanned and self._scanned != found.dsn):
            return
        board = self._doors.records.recognise_locked(found.dsn, found.locked_in, self._start)
        if board is not None:
            self._dsn, self._board, heard.exit_code = found.dsn, board, found.exit_code
            raise AttemptEnded(
                RunOutcome.PASS,
                "the unit has locked itself in an earlier run, as its status says",
                is_final=True,
            )

    def _reopen(self) -> None:
        """Open the way anew, to the same unit."""
        transport = self._doors.transport
        transport.close()
        found = transport.open(later(self._doors.now(), self._plan.reach_within))
        if found.fingerprint != self._reached.fingerprint:
            raise AttemptEnded(
                RunOutcome.ERROR, "another unit answers: its host key is another", is_final=True
            )
        self._meet_again(PlannedStep("same-unit", FACTS_BUDGET), _Heard())

    def _meet_again(self, step: PlannedStep, heard: _Heard) -> None:
        """See that the unit is the one that the run began with."""
        del step
        facts = self._read_facts(heard)
        changed = [
            name
            for name in BOARD_FACTS
            if self._facts.get(name) is not None and facts.get(name) != self._facts[name]
        ]
        if changed:
            raise AttemptEnded(
                RunOutcome.ERROR, f"this is another unit now: {', '.join(changed)} changed", is_final=True
            )

    def _read_facts(self, heard: _Heard) -> Mapping[str, object]:
        self._talk(("factory", "facts"), FACTS_BUDGET, heard)
        if heard.facts is None:
            raise AttemptEnded(RunOutcome.ERROR, "the unit does not say who it is")
        return heard.facts

    # -----------------------------------------------------------------------------------------------------
    # A step

    def _take_step(self, step: PlannedStep, heard: _Heard) -> None:
        """Run a step of the plan on the unit."""
        self._talk(self._words_of(step.verb), step.budget, heard)
        records, owner = self._doors.records, self._owner
        if step.verb == "link-test" and owner is not None and (complaints := owner.complaints()):
            raise AttemptEnded(RunOutcome.FAIL, f"the simulated Amazon complains: {'; '.join(complaints)}")
        if self._start.is_golden:
            return
        if step.verb == "identity":
            records.mark_written(self._dsn, self._start)
        if step.verb == "lock":
            records.mark_locked(self._dsn, self._start)
        for each in heard.measurements:
            if step.limit_of(each.name).is_unique and isinstance(each.value, str):
                value = UniqueValue(self._dsn, self._board, each.name, each.value)
                heard.twins[each.name] = records.find_twin(self._start, value)

    def _words_of(self, verb: str) -> tuple[str, ...]:
        match verb:
            case "identity":
                product = self._plan.product
                optional = {
                    "--part-number": product.part_number,
                    "--revision": product.revision,
                    "--batch": self._plan.batch,
                }
                given = {
                    "--dsn": self._dsn,
                    "--product-id": product.product_id,
                    "--client-id": product.client_id,
                    **{name: value for name, value in optional.items() if value},
                }
                form = self._plan.dsn_rule
                flags = (*["--check-digit"] * form.has_check_digit, *["--hyphens"] * form.may_have_hyphens)
                words = (word for pair in given.items() for word in pair)
                return ("factory", "identity", "write", *words, *flags)
            case "link-test":
                assert self._owner is not None, "the way is open"  # noqa: S101  our own bug
                return ("factory", "link-test", "--base-url", self._owner.base_url)
            case "selftest":
                return ("factory", "selftest", *["--no-parts"] * (not self._plan.has_parts), *self._image())
            case "wipe":
                return ("factory", "wipe", "--verify")
            case "lock":
                return ("factory", "lock", *self._image())
            case _:
                return ("factory", verb)

    def _image(self) -> Iterator[str]:
        """Return the options that name what the image has, and no unit may have."""
        return (word for digest in self._plan.image_digests for word in ("--image-digest", digest))

    def _talk(self, words: tuple[str, ...], budget: Seconds, heard: _Heard) -> None:
        """Run a verb on the unit to its end.

        Raises:
            AttemptEnded: if it did not pass.
            UnitFailure: if the unit, or the way to it, failed.
        """
        transport, deadline = self._doors.transport, later(self._doors.now(), budget)
        last = later(deadline, GRACE)
        transport.start((*words, "--talk", "--timeout", f"{budget:g}"), deadline)
        header = Header(
            UUID(self._start.run_uuid),
            self._key,
            self._issued()[-MOST_SECRETS:],  # earlier ones are found by their form
            self._dsn or None,
            self._doors.certificates,
        )
        with suppress(UnitGone):  # it may have said why before it read
            transport.write_line(write_header(header).encode(), deadline)
        reader = TalkReader(self._masks(), header.key_bytes)
        while (line := transport.read_line(last)) is not None:
            for event in reader.feed(line + b"\n"):
                if isinstance(event, Unreadable):
                    raise AttemptEnded(RunOutcome.ERROR, f"the unit's talk cannot be read: {event.reason}")
                self._hear(event, heard, deadline)
        heard.exit_code = transport.finish(last)
        end = reader.end()
        if isinstance(end, Unreadable):
            raise UnitGone(f"the unit's talk cannot be read: {end.reason}{self._last_remark()}")
        outcome, why = judge_result(end, heard.exit_code, heard.failed)
        if outcome is not RunOutcome.PASS:
            raise AttemptEnded(outcome, why)

    def _last_remark(self) -> str:
        """Return the unit's last error, else its last line for people, behind a colon; nothing if it wrote none."""
        lines = self._masks().readable(self._doors.transport.talk).splitlines()
        remarks = [line for line in lines if line.strip() and not line.startswith("{")]
        remarks = [line for line in remarks if line.startswith("device-auth: ")] or remarks
        return f": {remarks[-1].strip()[:_LONGEST_REMARK]}" if remarks else ""

    def _hear(self, event: Event, heard: _Heard, deadline: Monotonic) -> None:
        match event:
            case StartedEvent(dut_id=found) if self._has_identity and found != self._dsn:
                raise AttemptEnded(
                    RunOutcome.ERROR, f"this is another unit now: its DSN is {found!a}", is_final=True
                )
            case IdentityEvent(dsn=found) if not self._dsn:
                heard.dsn = found
            case StatusEvent(locked=True, linked=False, run=str(run)):
                heard.locked_in = run
            case IdentityEvent(dsn=found) if found != self._dsn:
                raise AttemptEnded(
                    RunOutcome.FAIL, f"the unit has the DSN {found!a}, not {self._dsn}", is_final=True
                )
            case IdentityEvent():
                self._has_identity = True
            case UnitEvent(facts=facts):
                heard.facts = facts
            case MeasurementEvent():
                heard.measurements.append(event)
            case CheckEvent(outcome=CheckOutcome.FAIL | CheckOutcome.ERROR):
                heard.failed.append(event)
            case CodeEvent():
                code = self._doors.read_code(event, deadline)
                self._as_owner(lambda owner: owner.approve(code))
            case WaitEvent(what="revocation"):
                self._as_owner(lambda owner: owner.revoke())
            case AskEvent():
                answer = self._doors.answer(event, self._dsn, deadline)
                self._doors.transport.write_line(write_answer(event.name, answer).encode(), deadline)
            case _:
                pass

    def _as_owner(self, act: Callable[[SlotOwner], None]) -> None:
        assert self._owner is not None, "the way is open"  # noqa: S101  our own bug
        try:
            act(self._owner)
        except NotApproved as refused:
            raise AttemptEnded(RunOutcome.FAIL, str(refused)) from refused

    def _issued(self) -> tuple[Secret, ...]:
        return () if self._owner is None else self._owner.issued

    def _masks(self) -> Masks:
        return Masks((self._key, *self._issued()))


# ---------------------------------------------------------------------------------------------------------
# Judging


def judge_result(
    result: ResultEvent, exit_code: int | None, failed: list[CheckEvent]
) -> tuple[RunOutcome, str]:
    """Return the outcome of a verb by its own words, and why it is not PASS.

    A result that is not proved under the run's key, or that its exit code contradicts, is none.
    """
    if not result.is_proved:
        return RunOutcome.ERROR, "the result is not proved under the key of this run"
    if exit_code is not None and exit_code != result.exit:
        return RunOutcome.ERROR, f"the verb {describe_end(exit_code)}, and its result says {result.exit}"
    if result.outcome is RunOutcome.PASS:
        return (RunOutcome.PASS, "") if result.exit == 0 else (RunOutcome.ERROR, f"exit code {result.exit}")
    words = "; ".join(f"{check.name}: {check.detail}" if check.detail else check.name for check in failed)
    # nobody at the station ended it: somebody, or something, at the unit did
    outcome = RunOutcome.ERROR if result.outcome is RunOutcome.ABORTED else result.outcome
    return outcome, words or _EXITS.get(result.exit, f"exit code {result.exit}")


def judge_measurements(
    measured: list[MeasurementEvent], step: PlannedStep, twins: Mapping[str, str]
) -> tuple[tuple[Measurement, ...], str]:
    """Return measurements with their limits, and which of these are broken, in words; of the same name the last counts.

    Args:
        measured: in the attempt.
        step: with the limits.
        twins: the DSN of another unit that has said the same, by the name of the measurement.
    """
    judged, breaches = [], []
    latest = {each.name: each for each in measured}
    for name, each in latest.items():
        limit = step.limit_of(name)
        breach = _breach_of(each, limit, twins.get(name, ""))
        breaches += [breach] if breach else []
        judged.append(
            Measurement(
                name,
                each.value,
                each.unit,
                RunOutcome.FAIL if breach else RunOutcome.PASS,
                limit.minimum,
                limit.maximum,
            )
        )
    breaches += [f"{name} was not measured" for name in step.limits if name not in latest]
    return tuple(judged), "; ".join(breaches)


def _breach_of(measured: MeasurementEvent, limit: Limit, twin: str) -> str:
    value = measured.value
    if limit.is_unique and not isinstance(value, str):
        return f"{measured.name} is no text"
    if twin:
        return f"{measured.name} is the same as that of the unit {twin}: one is a clone of the other"
    if limit.minimum is None and limit.maximum is None:
        return ""
    if not isinstance(value, int | float):
        return f"{measured.name} is no number"
    if limit.minimum is not None and value < limit.minimum:
        return f"{measured.name} is {value:g}, less than {limit.minimum:g}"
    if limit.maximum is not None and value > limit.maximum:
        return f"{measured.name} is {value:g}, more than {limit.maximum:g}"
    return ""


def board_of(facts: Mapping[str, object]) -> str:
    """Return what stays the same on a unit's board; empty if its facts have nothing of that."""
    found = (facts.get(name) for name in BOARD_FACTS)
    return next((f"{each}" for each in found if isinstance(each, str) and each.strip("0:")), "")


def _millis(moment: UnixTime) -> int:
    return round(moment * 1000)


def _words_of_bug(bug: Exception) -> str:
    """Return where a bug struck, without the error's own text: it might hold a secret."""
    at = trace_of(bug)[-1]
    place = f"{at.tb_frame.f_code.co_qualname} line {at.tb_lineno}"
    return f"a bug of the station: {type(bug).__name__} in {place}"
