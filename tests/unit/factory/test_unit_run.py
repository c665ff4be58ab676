import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import DialectName, Seconds, Secret
from device_auth.factory.station.amazon import SlotOwner
from device_auth.factory.station.plan import DEFAULT_BUDGETS, Limit, PlannedStep, StationPlan
from device_auth.factory.station.records.databases import DatabaseAway
from device_auth.factory.station.records.ledger import NoDsnLeft
from device_auth.factory.station.rig import NoAnswer
from device_auth.factory.station.run_record import (
    DsnProblem,
    DsnRefused,
    DsnRule,
    Product,
    RunRecord,
    RunStart,
    UniqueValue,
)
from device_auth.factory.station.transport import KEPT_TALK, RunAborted, TalkTooLong, UnitSilent
from device_auth.factory.station.unit_run import RunDoors, UnitRun, board_of
from device_auth.factory.talk import (
    MOST_SECRETS,
    AskEvent,
    CheckEvent,
    CheckOutcome,
    CodeEvent,
    Header,
    IdentityEvent,
    MeasurementEvent,
    RunOutcome,
    StatusEvent,
    UnitEvent,
    WaitEvent,
)
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Applicant, IssuedPair, Options
from device_auth.simulator.referee import RuleName
from device_auth.simulator.runs import SimulatedRun
from device_auth.world.clock import BootClock
from tests.scripted_unit import Said, ScriptedUnit, gone, result

if TYPE_CHECKING:
    from device_auth.factory.station.run_record import RunRecords

CLIENT_ID = "amzn1.application-oa2-client.51000000000000000000000000000005"
DSN = "KS0001"
CANARY = "Sim|R|canary-of-the-run"


class Noted:
    """The part of the records that a run asks, in memory; any DSN may be refused."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.refusal: Exception | None = None
        self.twins: dict[str, str] = {}
        self.written: dict[str, str] = {}

    def take_dsn(self, run: RunStart, board: str, *, scanned: str = "") -> str:
        del run
        if self.refusal is not None:
            raise self.refusal
        self.noted.append(f"taken by {board}")
        return scanned or DSN

    def find_twin(self, run: RunStart, value: UniqueValue) -> str:
        del run
        return self.twins.get(value.text, "")

    def recognise_locked(self, dsn: str, locked_in: str, run: RunStart) -> str | None:
        del run
        self.noted.append(f"said to be locked {dsn} {locked_in}")
        return self.written.get(dsn)

    def mark_written(self, dsn: str, run: RunStart) -> None:
        del run
        self.noted.append(f"written {dsn}")

    def mark_locked(self, dsn: str, run: RunStart) -> None:
        del run
        self.noted.append(f"locked {dsn}")


class Line:
    """A station of one slot; what a test changes of it comes before ``run``."""

    def __init__(self, unit: ScriptedUnit) -> None:
        self.unit = unit
        self.records = Noted()
        self.amazon = Amazon(Options(interval=1), clock=lambda: 0.0)
        self.issued: list[Secret] = []
        self.answers: Callable[[AskEvent], str] = lambda _question: "yes"
        self.steps = tuple(PlannedStep(verb, budget) for verb, budget in DEFAULT_BUDGETS.items())
        self.is_golden = False
        self.told: list[str] = []
        self.pairs: list[str] = []
        self.has_parts = True
        self.image_digests: tuple[str, ...] = ()
        unit.ask_code = self.ask_code

    def ask_code(self, dsn: str | None, client_id: str = CLIENT_ID) -> str:
        """Ask the run's Amazon for a code, as the unit does."""
        applicant = Applicant(
            dialect=DialectName.LWA, client_id=client_id, scopes=("alexa:all",), product_id="K", dsn=dsn or ""
        )
        pair = self.amazon.issue_code_pair(applicant)
        assert isinstance(pair, IssuedPair)
        self.unit.said_at_link = partial(
            self.amazon.poll, DialectName.LWA, pair.device_code, user_code=pair.user_code
        )
        return pair.user_code

    def run(self, scanned: str = "") -> RunRecord:
        product = Product("kitchen", product_id="K", client_id=CLIENT_ID)
        start = RunStart(str(uuid4()), "s", "one", "", product, "", 0, 0, is_golden=self.is_golden)
        plan = StationPlan(
            station_id="s",
            folder=Path("unused"),
            database="",
            password_file=None,
            operator="",
            scanner=None,
            keys={},
            listen="",
            port=0,
            product=product,
            batch="7",
            dsn_rule=DsnRule("kitchen"),
            has_parts=self.has_parts,
            image_digests=self.image_digests,
            reach_within=Seconds(30),
            steps=self.steps,
            golden=None,
            slots=(),
        )
        run = SimulatedRun(self.amazon, "https://amazon/", self.issued)
        doors = RunDoors(
            records=cast("RunRecords", self.records),
            transport=self.unit,
            owner=lambda dsn: SlotOwner(run, CLIENT_ID, dsn),
            certificates="the CA",
            answer=lambda question, _dsn, _deadline: self.answers(question),
            read_code=lambda told, _deadline: told.user_code,
            now=BootClock().now,
            wall=BootClock().wall,
            tell=lambda step, dsn: self.told.append(f"{step} {dsn}".strip()),
        )
        return UnitRun(plan, start, doors, scanned).run()


@pytest.fixture
def unit() -> ScriptedUnit:
    return ScriptedUnit()


@pytest.fixture
def line(unit: ScriptedUnit) -> Line:
    return Line(unit)


def ended(record: RunRecord) -> str:
    return f"{record.outcome} {record.outcome_details}"


def saying(*said: Said) -> Callable[[ScriptedUnit, Header, Mapping[str, str]], list[Said]]:
    """Return a verb that says just this."""
    return lambda _unit, _header, _options: [*said]


def test_a_good_unit_passes_every_step_and_is_locked(line: Line, unit: ScriptedUnit) -> None:
    record = line.run()

    assert ended(record) == "PASS "
    assert [phase.name for phase in record.phases] == [
        "reach", "identity", "selftest", "link-test", "wipe", "same-unit", "lock",
    ]  # fmt: skip
    assert (record.dut_id, record.board) == (DSN, unit.facts["serial"])
    assert record.unit == unit.facts
    assert line.records.noted == [f"taken by {unit.facts['serial']}", f"written {DSN}", f"locked {DSN}"]
    assert [phase.attachments for phase in record.phases] == [()] * 7
    assert line.told[:2] == ["reach", f"identity {DSN}"]


def test_the_unit_gets_its_words_as_options_and_its_secrets_by_its_input(
    line: Line, unit: ScriptedUnit
) -> None:
    line.issued.append(Secret(CANARY))
    line.run()

    assert unit.ran[1][:9] == (
        "factory", "identity", "write", "--dsn", DSN, "--product-id", "K", "--client-id", CLIENT_ID,
    )  # fmt: skip
    assert [words[1] for words in unit.ran] == [
        "facts", "identity", "selftest", "link-test", "wipe", "facts", "lock",
    ]  # fmt: skip
    assert {words[-3] for words in unit.ran} == {"--talk"}
    assert CANARY not in json.dumps(unit.ran)
    assert {header.key for header in unit.headers} == {unit.headers[0].key}
    assert unit.headers[3].ca == "the CA"
    assert unit.headers[4].tokens == (Secret(CANARY),)


def test_a_product_without_parts_and_the_files_of_its_image_are_told(line: Line, unit: ScriptedUnit) -> None:
    line.has_parts = False
    line.image_digests = ("a" * 64, "b" * 64)
    record = line.run()

    image = ("--image-digest", "a" * 64, "--image-digest", "b" * 64)
    assert ended(record) == "PASS "
    assert [words[2:-3] for words in unit.ran if words[1] in {"selftest", "lock"}] == [
        ("--no-parts", *image),
        image,
    ]


def test_a_unit_is_told_no_more_tokens_than_it_takes(line: Line, unit: ScriptedUnit) -> None:
    line.issued += [Secret(f"{CANARY}-{number}") for number in range(MOST_SECRETS + 9)]

    assert line.run().outcome is RunOutcome.PASS
    assert unit.headers[-1].tokens == tuple(line.issued[-MOST_SECRETS:])


def test_the_rig_is_the_owner_of_the_unit(line: Line, unit: ScriptedUnit) -> None:
    def link_test(unit: ScriptedUnit, header: Header, options: Mapping[str, str]) -> Iterator[Said]:
        del header, options
        yield CodeEvent(line.ask_code(unit.dsn), "https://x/", None, 600, 1)
        unit.said_at_link()
        yield WaitEvent("revocation")

    unit.verbs["link-test"] = link_test

    assert line.run().outcome is RunOutcome.PASS
    assert [grant.is_revoked for grant in line.amazon.grants()] == [True]


def test_a_code_of_another_unit_is_not_approved(line: Line, unit: ScriptedUnit) -> None:
    unit.ask_code = lambda _dsn: line.ask_code("KS9999")

    assert ended(line.run()) == "FAIL link-test: the code was asked for by the DSN 'KS9999'"


def test_a_code_for_another_client_is_not_approved(line: Line, unit: ScriptedUnit) -> None:
    other = CLIENT_ID.replace("5", "6")
    unit.ask_code = lambda dsn: line.ask_code(dsn, other)

    assert ended(line.run()) == "FAIL link-test: the code was asked for with another client ID"


def test_a_code_of_another_run_is_not_approved(line: Line, unit: ScriptedUnit) -> None:
    unit.ask_code = lambda _dsn: "ABCDEF"

    assert ended(line.run()) == "FAIL link-test: the unit shows a code that was not issued in this run"


def test_a_complaint_of_the_referee_fails_the_unit(line: Line) -> None:
    line.amazon.referee.report(RuleName.SECRET_IN_URL, "A token stood in an address.", endpoint="x")

    assert ended(line.run()) == (
        "FAIL link-test: the simulated Amazon complains: secret-in-url: A token stood in an address."
    )


def test_a_failed_check_fails_the_unit_with_its_words(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(
        CheckEvent("led", CheckOutcome.FAIL, "the rig sees no light", 1.0),
        CheckEvent("button", CheckOutcome.PASS, "", 1.0),
        result("selftest", RunOutcome.FAIL, 72, "led"),
    )

    record = line.run()

    assert ended(record) == "FAIL selftest: led: the rig sees no light"
    assert record.phases[-1].exit_code == 72
    assert b"the rig sees no light" in record.phases[-1].attachments[0].content


def test_a_question_is_answered_by_the_rig(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(AskEvent("led", "Is it orange?", ("yes", "no")))
    line.answers = lambda question: "yes" if question.name == "led" else "no"

    assert line.run().outcome is RunOutcome.PASS
    assert unit.told == [{"schema": 1, "answer": "led", "is": "yes"}]


@pytest.mark.parametrize(
    ("said", "outcome", "words"),
    [
        ([gone], RunOutcome.ERROR, "the line is down"),
        ([b"%$#!"], RunOutcome.ERROR, "cannot be read: a line is not JSON"),
        ([b'{"schema": 2, "event": "x"}'], RunOutcome.ERROR, "not of schema 1"),
        ([result("selftest")._replace(mac="0" * 64)], RunOutcome.ERROR, "not proved"),
        ([result("selftest", exit_code=72)], RunOutcome.ERROR, "exit code 72"),
        ([result("selftest", RunOutcome.ERROR, 77)], RunOutcome.ERROR, "the unit is locked"),
        ([result("selftest", RunOutcome.TIMEOUT, 75)], RunOutcome.TIMEOUT, "its time was over"),
        ([result("selftest", RunOutcome.ABORTED, 130)], RunOutcome.ERROR, "exit code 130"),
    ],
)
def test_whatever_a_unit_does_ends_as_a_record(
    line: Line, unit: ScriptedUnit, said: list[Said], outcome: RunOutcome, words: str
) -> None:
    unit.verbs["selftest"] = saying(*said)

    record = line.run()

    assert record.outcome is outcome
    assert words in record.outcome_details
    assert record.outcome_details.startswith("selftest: ")
    assert record.phases[-1].attachments[0].name == "talk.txt"


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (UnitSilent("no answer"), RunOutcome.TIMEOUT),
        (TalkTooLong("too much"), RunOutcome.ERROR),
        (RunAborted("the operator ended the run"), RunOutcome.ABORTED),
    ],
)
def test_a_failure_of_the_way_ends_as_a_record(
    line: Line, unit: ScriptedUnit, failure: Exception, outcome: RunOutcome
) -> None:
    def fail() -> None:
        raise failure

    unit.verbs["wipe"] = saying(fail)

    assert ended(line.run()) == f"{outcome} wipe: {failure}"


def test_a_verb_that_ends_without_a_result_is_gone(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(None)

    record = line.run()

    assert ended(record) == "ERROR selftest: the unit's talk cannot be read: it ends without a result"
    assert record.phases[-1].exit_code == -9


def test_the_last_words_of_a_unit_are_told(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(b'{"schema": 1, "event": "x"}', None)
    unit.remark = b"device-auth: Sim|A|x is wrong\n  To list every option: device-auth factory --help\n"

    assert ended(line.run()).endswith("it ends without a result: device-auth: … is wrong")


def test_a_bug_of_the_station_costs_no_record(line: Line, unit: ScriptedUnit) -> None:
    def bug() -> None:
        raise ZeroDivisionError(CANARY)

    unit.verbs["wipe"] = saying(bug)

    record = line.run()

    assert record.outcome is RunOutcome.ERROR
    assert record.outcome_details.startswith("wipe: a bug of the station: ZeroDivisionError in ")
    assert record.phases[-1].attachments[0].name == "talk.txt"
    assert CANARY not in record.outcome_details


# Who it is


def test_a_way_that_cannot_be_given_up_costs_no_record(line: Line, unit: ScriptedUnit) -> None:
    def close() -> None:
        raise OSError(24, "too many open files")

    unit.close = close  # type: ignore[method-assign]  # a bug of its transport

    assert ended(line.run()) == "PASS "


def test_a_unit_with_another_dsn_fails_for_good(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["identity"] = saying(IdentityEvent("KS9999", None, None, None, None, None))
    line.steps = (PlannedStep("identity", Seconds(9), attempts=3),)

    record = line.run()

    assert ended(record) == f"FAIL identity: the unit has the DSN 'KS9999', not {DSN}"
    assert len(record.phases) == 2
    assert f"written {DSN}" not in line.records.noted


def test_a_unit_that_was_swapped_is_told_by_its_dsn(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = lambda unit, _header, _options: [lambda: setattr(unit, "dsn", "KS9999")]

    assert ended(line.run()) == "ERROR link-test: this is another unit now: its DSN is 'KS9999'"


def test_a_unit_that_was_swapped_is_told_by_its_facts(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["wipe"] = lambda unit, _header, _options: [lambda: unit.facts.update(serial="1")]

    assert ended(line.run()) == "ERROR same-unit: this is another unit now: serial changed"


def test_a_unit_that_does_not_say_who_it_is_gets_no_dsn(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["facts"] = saying()

    assert ended(line.run()) == "ERROR reach: the unit does not say who it is"
    assert line.records.noted == []


def test_a_label_that_cannot_be_given_fails_the_unit(line: Line) -> None:
    refused = DsnRefused(DsnProblem.LOCKED, "the DSN is locked in another unit", hint="Take it off the line.")
    line.records.refusal = refused

    record = line.run("KS7")

    assert ended(record) == "FAIL reach: the DSN is locked in another unit. Take it off the line."
    assert (record.dut_id, record.is_judged) == ("KS7", True)


@pytest.mark.parametrize(
    "trouble",
    [
        NoDsnLeft("no free DSN is left"),
        DatabaseAway("the database does not answer"),
        DsnRefused(DsnProblem.UNCLEAR, "the database does not answer"),
        ConfigError("another folder is the station"),
        StoreError("the disk is full"),
        ValueError("a bug"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_trouble_of_the_stations_own_making_never_fails_a_unit(line: Line, trouble: Exception) -> None:
    line.records.refusal = trouble

    record = line.run("KS7")

    assert (record.outcome, record.is_judged) == (RunOutcome.ERROR, False)


def test_a_rig_that_gives_no_answer_never_fails_a_unit(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(AskEvent("led", "Is it lit?", ("yes", "no")))

    def answer(question: AskEvent) -> str:
        raise NoAnswer(f"nobody has answered {question.name}")

    line.answers = answer
    record = line.run()

    assert (ended(record), record.is_judged) == ("ERROR selftest: nobody has answered led", False)


def test_the_last_attempt_says_whether_the_unit_is_judged(line: Line, unit: ScriptedUnit) -> None:
    said = iter([[AskEvent("led", "Is it lit?", ("yes", "no"))], [gone]])
    unit.verbs["selftest"] = lambda _unit, _header, _options: next(said)

    def answer(question: AskEvent) -> str:
        raise NoAnswer(f"nobody has answered {question.name}")

    line.answers, line.steps = answer, (PlannedStep("selftest", Seconds(30), attempts=2),)
    record = line.run()

    assert [phase.outcome for phase in record.phases[1:]] == [RunOutcome.ERROR, RunOutcome.ERROR]
    assert record.is_judged


def lock(
    unit: ScriptedUnit,
    dsn: str = DSN,
    *,
    mac: str | None = None,
    linked: bool = False,
    run: str | None = "run-1",
) -> None:
    """Have the unit be locked, and say so in its status."""
    unit.dsn = dsn
    unit.verbs["facts"] = saying(result("facts", RunOutcome.FAIL, 77, "facts"))
    status = StatusEvent(locked=True, opened_for=None, linked=linked, run=run)
    unit.verbs["status"] = saying(
        status, IdentityEvent(dsn, "K", CLIENT_ID, None, None, None), result("status")._replace(mac=mac)
    )


@pytest.mark.parametrize("scanned", ["", DSN])
def test_a_unit_whose_word_of_its_lock_was_lost_says_it_again(
    line: Line, unit: ScriptedUnit, scanned: str
) -> None:
    lock(unit)
    line.records.written[DSN] = "b1"

    record = line.run(scanned)

    assert ended(record) == "PASS reach: the unit has locked itself in an earlier run, as its status says"
    assert (record.dut_id, record.board, record.is_judged) == (DSN, "b1", True)
    assert line.records.noted == [f"said to be locked {DSN} run-1"]
    assert [words[1] for words in unit.ran] == ["facts", "status"]


def test_a_locked_unit_that_the_ledger_does_not_have_as_written_fails(line: Line, unit: ScriptedUnit) -> None:
    lock(unit)

    assert ended(line.run()) == "FAIL reach: the unit is locked"


@pytest.mark.parametrize(
    ("said", "scanned"),
    [({"mac": "0" * 64}, ""), ({"linked": True}, ""), ({"run": None}, ""), ({"dsn": "KS0002"}, DSN)],
)
def test_a_lock_is_believed_only_if_it_is_proved_and_of_the_label(
    line: Line, unit: ScriptedUnit, said: dict[str, Any], scanned: str
) -> None:
    lock(unit, **said)
    line.records.written = {DSN: "b1", "KS0002": "b2"}

    assert line.run(scanned).outcome in {RunOutcome.FAIL, RunOutcome.ERROR}
    assert line.records.noted == []


def test_a_golden_unit_keeps_its_dsn_and_is_not_locked(line: Line, unit: ScriptedUnit) -> None:
    line.is_golden = True

    record = line.run("GOLD01")

    assert record.outcome is RunOutcome.PASS
    assert line.records.noted == []
    assert "lock" not in [phase.name for phase in record.phases]
    assert unit.dsn == "GOLD01"


@pytest.mark.parametrize(
    ("facts", "board"),
    [
        ({"serial": "10", "eth_mac": "x"}, "10"),
        ({"serial": "0000000000000000", "eth_mac": "dc:a6:32:00:00:01"}, "dc:a6:32:00:00:01"),
        ({"serial": None, "mmc_cid": 7}, ""),
        ({"eth_mac": "00:00:00:00:00:00"}, ""),
    ],
)
def test_a_board_is_known_by_the_best_fact_it_has(facts: Mapping[str, object], board: str) -> None:
    assert board_of(facts) == board


# Attempts and limits


def test_a_step_is_repeated_only_where_the_plan_says_so(line: Line, unit: ScriptedUnit) -> None:
    outcomes = iter([(gone,), (), ()])
    unit.verbs["selftest"] = lambda _unit, _header, _options: list(next(outcomes))
    line.steps = tuple(PlannedStep(step.verb, step.budget, attempts=2) for step in line.steps)

    record = line.run()

    assert record.outcome is RunOutcome.PASS
    assert [(phase.attempt, phase.outcome) for phase in record.phases if phase.name == "selftest"] == [
        (1, RunOutcome.ERROR),
        (2, RunOutcome.PASS),
    ]
    assert unit.opened == 2


def test_a_repeated_step_meets_the_same_unit(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = lambda unit, _header, _options: [lambda: unit.facts.update(serial="1"), gone]
    line.steps = tuple(PlannedStep(step.verb, step.budget, attempts=3) for step in line.steps)

    record = line.run()

    assert ended(record) == "ERROR selftest: this is another unit now: serial changed"
    assert [phase.attempt for phase in record.phases if phase.name == "selftest"] == [1, 2]


def test_another_host_key_is_another_unit(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = lambda unit, _header, _options: [
        lambda: setattr(unit, "fingerprint", "SHA256:other"),
        gone,
    ]
    line.steps = tuple(PlannedStep(step.verb, step.budget, attempts=2) for step in line.steps)

    assert ended(line.run()) == "ERROR selftest: another unit answers: its host key is another"


def test_an_aborted_run_is_not_repeated(line: Line, unit: ScriptedUnit) -> None:
    def abort() -> None:
        raise RunAborted("the operator ended the run")

    unit.verbs["selftest"] = saying(abort)
    line.steps = tuple(PlannedStep(step.verb, step.budget, attempts=3) for step in line.steps)

    assert [phase.name for phase in line.run().phases] == ["reach", "identity", "selftest"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(None, 2.0), ""),
        (Limit(None, 1.0), "link_seconds is 1.5, more than 1"),
        (Limit(2, None), "link_seconds is 1.5, less than 2"),
    ],
)
def test_a_measurement_is_judged_by_its_limits(line: Line, limit: Limit, words: str) -> None:
    line.steps = (
        PlannedStep("identity", Seconds(9)),
        PlannedStep("link-test", Seconds(9), limits={"link_seconds": limit}),
    )

    def link_test(unit: ScriptedUnit, header: Header, options: Mapping[str, str]) -> list[Said]:
        del unit, header, options
        return [MeasurementEvent("link_seconds", 1.5, "s")]

    line.unit.verbs["link-test"] = link_test
    record = line.run()

    assert ended(record) == (f"FAIL link-test: {words}" if words else "PASS ")
    (measured,) = record.phases[-1].measurements
    assert (measured.value, measured.minimum, measured.maximum) == (1.5, limit.minimum, limit.maximum)


@pytest.mark.parametrize(
    ("said", "words"),
    [([], "link_seconds was not measured"), ([MeasurementEvent("link_seconds", None, "s")], "no number")],
)
def test_what_was_not_measured_is_not_within_limits(line: Line, said: list[Said], words: str) -> None:
    line.steps = (PlannedStep("link-test", Seconds(9), limits={"link_seconds": Limit(0, 1)}),)
    line.unit.verbs["link-test"] = saying(*said)

    assert words in ended(line.run())


SELFTEST = PlannedStep("selftest", Seconds(9))


@pytest.mark.parametrize("name", ["image-machine-id", "image-ssh-host-keys"])
def test_a_clone_of_another_unit_fails_and_that_one_is_named(line: Line, name: str) -> None:
    line.steps = (SELFTEST,)
    line.unit.verbs["selftest"] = saying(MeasurementEvent(name, "ab" * 32, "SHA-256"))
    line.records.twins = {"ab" * 32: "KS0007"}

    record = line.run()

    assert ended(record) == (
        f"FAIL selftest: {name} is the same as that of the unit KS0007: one is a clone of the other"
    )
    assert [each.outcome for each in record.phases[-1].measurements] == [RunOutcome.FAIL]


@pytest.mark.parametrize(
    ("limits", "value", "words"),
    [
        ({"image-machine-id": Limit()}, "ab", ""),
        ({}, "cd", ""),
        ({"own": Limit(is_unique=True)}, "ab", "own was not measured"),
        ({"image-machine-id": Limit(is_unique=True)}, None, "image-machine-id is no text"),
    ],
)
def test_the_plan_says_what_no_two_units_share(
    line: Line, limits: Mapping[str, Limit], value: str | None, words: str
) -> None:
    line.steps = (PlannedStep("selftest", Seconds(9), limits=limits),)
    line.unit.verbs["selftest"] = saying(MeasurementEvent("image-machine-id", value, ""))
    line.records.twins = {"ab": ""} if "own" in limits else {"ab": "KS0007"}

    assert ended(line.run()) == (f"FAIL selftest: {words}" if words else "PASS ")


def test_a_golden_unit_may_be_anothers_clone(line: Line) -> None:
    line.steps, line.is_golden = (SELFTEST,), True
    line.unit.verbs["selftest"] = saying(MeasurementEvent("image-machine-id", "ab", "SHA-256"))
    line.records.twins = {"ab": "KS0007"}

    assert ended(line.run("KSGOOD1")) == "PASS "


# Secrets


def test_no_secret_of_the_run_is_in_its_record(line: Line, unit: ScriptedUnit) -> None:
    line.issued.append(Secret("0123456789abcdef"))
    unit.verbs["selftest"] = lambda _unit, header, _options: [
        CheckEvent("log", CheckOutcome.FAIL, f"found {CANARY} 0123456789abcdef {header.key.reveal()}", 0),
        MeasurementEvent("text", f"0123456789abcdef {CANARY}", ""),
        UnitEvent({"serial": CANARY}),
        f"0123456789abcdef {header.key.reveal()} {CANARY}".encode(),
    ]

    record = repr(line.run()) + repr(line.told)

    for secret in (CANARY, "0123456789abcdef", unit.headers[0].key.reveal()):
        assert secret not in record


def test_only_the_end_of_a_long_talk_is_kept(line: Line, unit: ScriptedUnit) -> None:
    unit.verbs["selftest"] = saying(*[f'{{"schema": 1, "event": "{"x" * 60_000}"}}'.encode()] * 5, gone)

    (talk,) = line.run().phases[-1].attachments

    assert len(talk.content) <= KEPT_TALK


def test_a_deadline_is_no_later_than_the_budget_and_a_grace(line: Line, unit: ScriptedUnit) -> None:
    line.steps = (PlannedStep("selftest", Seconds(7)),)
    began = BootClock().now()
    line.run()

    assert unit.ran[-1][-2:] == ("--timeout", "7")
    assert max(unit.deadlines) - began >= 12
