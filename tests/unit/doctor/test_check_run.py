"""The examination in skipped time: order, problems, hangs and bugs."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event

import pytest

from device_auth.doctor.check_run import (
    LIMIT,
    CheckResult,
    examine,
    exit_code_of,
    in_order,
    verdict_of,
)
from device_auth.doctor.findings import Check, Finding, Verdict, fail, ok, skipped, warn
from tests.waiting import LONG
from tests.world import SkippingClock


class Hanging:
    """Looks for ever, until the test is over."""

    def __init__(self) -> None:
        self.began = Event()
        self.over = Event()
        self.ended = Event()

    def __call__(self) -> Finding:
        self.began.set()
        self.over.wait()
        self.ended.set()
        return ok("never heard")


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    look = Hanging()
    yield look
    look.over.set()
    assert look.ended.wait(LONG)


@pytest.fixture
def clock() -> SkippingClock:
    """Time goes on only where nobody is going to answer: by default everybody is."""
    clock = SkippingClock()
    clock.is_asking = lambda: True
    return clock


def finds(finding: Finding) -> Callable[[], Finding]:
    return lambda: finding


def verdicts(examined: list[CheckResult]) -> dict[str, Verdict]:
    return {each.check.code: each.finding.verdict for each in examined}


WELL = ok("it is well")
BROKEN = fail("it is broken", "mend it", 74)
ODD = warn("it is odd", "look at it")


def test_what_is_found_comes_in_the_order_of_the_checks(clock: SkippingClock) -> None:
    second_done = Event()

    def slow() -> Finding:
        assert second_done.wait(LONG)
        return WELL

    def quick() -> Finding:
        second_done.set()
        return ODD

    examined = examine([Check("S1", "slow", slow), Check("S2", "quick", quick)], clock)

    assert [(each.check.name, each.finding) for each in examined] == [("slow", WELL), ("quick", ODD)]


def test_a_check_comes_after_those_it_names_and_not_without_them(clock: SkippingClock) -> None:
    looked: list[str] = []

    def looks(code: str, finding: Finding) -> Callable[[], Finding]:
        def look() -> Finding:
            looked.append(code)
            return finding

        return look

    examined = examine(
        [
            Check("S1", "last", looks("S1", WELL), after=("S2",)),
            Check("S2", "second", looks("S2", ODD), after=("S3",)),
            Check("S3", "first", looks("S3", WELL)),
            Check("S4", "broken", looks("S4", BROKEN)),
            Check("S5", "senseless", looks("S5", WELL), after=("S3", "S4")),
            Check("S6", "as-senseless", looks("S6", WELL), after=("S5",)),
            Check("S7", "of-a-stranger", looks("S7", WELL), after=("Z9",)),
        ],
        clock,
    )

    assert verdicts(examined) == {
        "S1": Verdict.OK,
        "S2": Verdict.WARN,
        "S3": Verdict.OK,
        "S4": Verdict.FAIL,
        "S5": Verdict.SKIPPED,
        "S6": Verdict.SKIPPED,
        "S7": Verdict.OK,
    }
    assert examined[4].finding.sentence == "Not looked at because of S4 broken."
    assert examined[5].finding.sentence == "Not looked at because of S4 broken."
    assert [code for code in looked if code in {"S1", "S2", "S3"}] == ["S3", "S2", "S1"]
    assert not {"S5", "S6"} & set(looked)


def test_a_check_that_hangs_is_given_up_at_its_limit_and_the_others_are_told(
    clock: SkippingClock, hanging: Hanging
) -> None:
    answered = Event()

    def answers() -> Finding:
        answered.set()
        return WELL

    clock.is_asking = lambda: not answered.is_set()
    examined = examine(
        [
            Check("S1", "hangs", hanging, limit=7),
            Check("S2", "answers", answers),
            Check("S3", "waits", answers, ("S1",)),
        ],
        clock,
    )

    assert verdicts(examined) == {"S1": Verdict.FAIL, "S2": Verdict.OK, "S3": Verdict.SKIPPED}
    assert examined[0].finding.sentence == "It did not answer within 7 s."
    assert examined[0].finding.exit_code == 74
    assert clock.moment == 1007


def test_an_examination_is_over_in_its_time_though_the_last_of_a_slow_chain_hangs(
    clock: SkippingClock, hanging: Hanging
) -> None:
    def slow() -> Finding:
        clock.moment += 7
        return WELL

    clock.is_asking = lambda: not hanging.began.is_set()
    examined = examine(
        [
            Check("N1", "slow", slow),
            Check("N2", "slower", slow, ("N1",)),
            Check("N3", "hangs", hanging, ("N2",)),
        ],
        clock,
    )

    assert clock.moment == 1000 + LIMIT
    assert examined[2].finding.sentence == "It did not answer within 3 s."


def test_checks_for_which_no_time_is_left_are_not_begun(clock: SkippingClock) -> None:
    def slow() -> Finding:
        clock.moment += LIMIT
        return WELL

    examined = examine([Check("N1", "slow", slow), Check("N2", "next", slow, ("N1",))], clock)

    assert clock.moment == 1000 + LIMIT
    assert examined[1].finding == skipped("Not looked at: the other checks took all the time there is.")


def test_what_is_said_after_being_given_up_is_not_heard(clock: SkippingClock, hanging: Hanging) -> None:
    def outlasts() -> Finding:
        assert hanging.ended.wait(LONG)
        return WELL

    def let_go(_done: int, _of: int, under_way: Sequence[str]) -> None:
        if under_way == ["outlasts"]:
            hanging.over.set()

    clock.is_asking = hanging.over.is_set
    examined = examine(
        [Check("S1", "hangs", hanging, limit=2), Check("S2", "outlasts", outlasts)], clock, let_go
    )

    assert verdicts(examined) == {"S1": Verdict.FAIL, "S2": Verdict.OK}


def test_a_bug_in_a_check_is_a_finding_that_names_its_kind_and_place_and_nothing_of_its_text(
    clock: SkippingClock,
) -> None:
    def buggy() -> Finding:
        raise ValueError("Atza|canary")

    examined = examine([Check("S1", "buggy", buggy), Check("S2", "well", finds(WELL))], clock)

    finding = examined[0].finding
    assert (finding.verdict, finding.exit_code) == (Verdict.FAIL, 70)
    assert finding.sentence == "This check has a bug (ValueError)."
    assert "test_check_run:" in dict(finding.facts)["place"]
    assert "canary" not in repr(finding)
    assert examined[1].finding == WELL


def test_progress_tells_what_is_waited_for(clock: SkippingClock) -> None:
    told: list[tuple[int, int, tuple[str, ...]]] = []

    examine(
        [Check("S1", "one", finds(WELL)), Check("S2", "two", finds(WELL), ("S1",))],
        clock,
        lambda done, of, names: told.append((done, of, tuple(names))),
    )

    assert told == [(0, 2, ("one",)), (1, 2, ("two",)), (2, 2, ())]


def test_the_first_failure_gives_the_exit_code_then_a_warning(clock: SkippingClock) -> None:
    late = fail("later", "", 72)

    def code(*findings: Finding) -> int:
        return exit_code_of(
            examine([Check(f"S{number}", "x", finds(it)) for number, it in enumerate(findings)], clock)
        )

    assert code(WELL, skipped("no reason")) == 0
    assert code(WELL, ODD) == 1
    assert code(ODD, BROKEN, late) == 74
    assert code(late, BROKEN) == 72


def test_the_worst_verdict_is_that_of_all(clock: SkippingClock) -> None:
    def worst(*findings: Finding) -> Verdict:
        return verdict_of(examine([Check(f"S{n}", "x", finds(it)) for n, it in enumerate(findings)], clock))

    assert worst() is Verdict.OK
    assert worst(skipped("no reason")) is Verdict.OK
    assert worst(WELL, ODD) is Verdict.WARN
    assert worst(ODD, BROKEN, WELL) is Verdict.FAIL


def test_checks_are_shown_by_group_and_number() -> None:
    checks = [Check(code, "x", finds(WELL)) for code in ("D1", "N10", "N2", "S1", "T1")]

    assert [check.code for check in in_order(checks)] == ["S1", "T1", "N2", "N10", "D1"]
