"""The runner of the unit's verbs: each talk ends with exactly one result, and the exit code is the result's."""

import argparse
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import add_unit_options, run_unit_verb
from device_auth.core.errors import Busy, DeviceAuthError, Interrupted, StoreError, UnitLocked
from device_auth.factory.talk import CheckOutcome, Talk
from device_auth.world.factory_lock import LOCK
from tests.waiting import LONG


class Unit:
    """A unit with folders of its own, whose verbs run in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def run(
        self,
        job: Callable[[Talk, Doors], None],
        *words: str,
        needs_root: bool = True,
        is_always_open: bool = False,
    ) -> int:
        parser = argparse.ArgumentParser()
        for name in ("--state-dir", "--runtime-dir"):
            parser.add_argument(name)
        add_unit_options(parser)
        args = parser.parse_args(
            ["--state-dir", f"{self.folder}/state", "--runtime-dir", f"{self.folder}/run", *words]
        )
        return run_unit_verb(args, "test", job, needs_root=needs_root, is_always_open=is_always_open)

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]


@pytest.fixture
def unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Unit:
    return Unit(tmp_path, capsys)


def raising(error: BaseException) -> Callable[[Talk, Doors], None]:
    def job(_talk: Talk, _doors: Doors) -> None:
        raise error

    return job


def nothing(_talk: Talk, _doors: Doors) -> None:
    pass


def ask(talk: Talk, _doors: Doors) -> None:
    talk.ask("light", "Is it on?")


@pytest.mark.parametrize(
    ("checks", "outcome", "exit_code", "failed"),
    [
        ([], "PASS", 0, []),
        ([("a", "PASS", 72), ("b", "SKIP", 72)], "PASS", 0, []),
        ([("a", "PASS", 72), ("b", "FAIL", 74), ("c", "FAIL", 72)], "FAIL", 74, ["b", "c"]),
        ([("a", "FAIL", 72), ("b", "ERROR", 69), ("c", "FAIL", 72)], "ERROR", 72, ["a", "b", "c"]),
    ],
)
def test_the_checks_make_the_result(
    unit: Unit, checks: list[tuple[str, str, int]], outcome: str, exit_code: int, failed: list[str]
) -> None:
    def job(talk: Talk, _doors: Doors) -> None:
        for name, how, code in checks:
            talk.check(name, CheckOutcome(how), exit_code=code)

    assert unit.run(job) == exit_code

    first, *between, last = unit.said()
    assert (first["event"], first["verb"], first["dut_id"]) == ("started", "test", None)
    assert [each["event"] for each in between] == ["check"] * len(checks)
    assert last["event"] == "result"
    assert (last["outcome"], last["exit"], last["failed"]) == (outcome, exit_code, failed)


@pytest.mark.parametrize(
    ("error", "outcome", "exit_code", "detail"),
    [
        (StoreError("the disk is full", hint="Buy one."), "ERROR", 74, "the disk is full Buy one."),
        (Busy("later"), "ERROR", 75, "later"),
        (Interrupted("nobody answered"), "ABORTED", 130, "nobody answered"),
        (ZeroDivisionError("a secret"), "ERROR", 70, None),
        (RecursionError(), "ERROR", 70, None),
        (KeyboardInterrupt(), "ABORTED", 130, None),
        (SystemExit(3), "ERROR", 3, None),
        (GeneratorExit(), "ERROR", 70, None),
    ],
)
def test_an_error_ends_with_its_result_and_goes_on(
    unit: Unit, error: BaseException, outcome: str, exit_code: int, detail: str | None
) -> None:
    with pytest.raises(type(error)):
        unit.run(raising(error))

    _, *between, last = unit.said()
    assert (last["event"], last["outcome"], last["exit"]) == ("result", outcome, exit_code)
    assert [each["detail"] for each in between] == ([] if detail is None else [detail])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_aborts_and_a_second_one_does_not_disturb_what_is_put_away(
    unit: Unit, number: signal.Signals
) -> None:
    put_away = []

    def job(_talk: Talk, _doors: Doors) -> None:
        try:
            os.kill(os.getpid(), number)
            Event().wait(LONG)
        finally:
            os.kill(os.getpid(), number)
            put_away.append(True)

    with pytest.raises(KeyboardInterrupt):
        unit.run(job)

    assert put_away == [True]
    assert [each["event"] for each in unit.said()] == ["started", "result"]


def test_a_job_that_does_not_end_is_ended_even_if_it_catches_every_error(unit: Unit) -> None:
    def job(_talk: Talk, _doors: Doors) -> None:
        while True:
            with suppress(Exception):
                Event().wait(LONG)

    with pytest.raises(Busy, match=r"factory test did not end within 0\.05 s"):
        unit.run(job, "--timeout", "0.05")

    last = unit.said()[-1]
    assert (last["outcome"], last["exit"]) == ("TIMEOUT", 75)


def test_nothing_is_written_after_the_result(unit: Unit) -> None:
    kept: list[Talk] = []

    unit.run(lambda talk, _: kept.append(talk))
    kept[0].measure("late", 1, "s")

    assert [each["event"] for each in unit.said()] == ["started", "result"]


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "x", "86401"])
def test_a_time_limit_that_is_none_is_refused(unit: Unit, given: str) -> None:
    with pytest.raises(SystemExit) as refused:
        unit.run(nothing, f"--timeout={given}")

    assert refused.value.code == 2


def test_without_a_terminal_no_person_is_asked(unit: Unit) -> None:
    with pytest.raises(DeviceAuthError, match="cannot ask a person") as refused:
        unit.run(ask)

    assert refused.value.exit_code == 78
    assert [each["event"] for each in unit.said()] == ["started", "ask", "check", "result"]


def test_two_verbs_do_not_run_at_once(unit: Unit) -> None:
    def job(_talk: Talk, _doors: Doors) -> None:
        with pytest.raises(Busy, match="another verb of the factory runs"):
            unit.run(nothing)
        assert unit.run(nothing, needs_root=False) == 0

    assert unit.run(job) == 0
    assert unit.run(nothing) == 0


def test_a_locked_unit_refuses_every_verb_but_the_one_that_looks(unit: Unit) -> None:
    (unit.folder / "state").mkdir()
    (unit.folder / "state" / LOCK).touch()

    with pytest.raises(UnitLocked, match="this unit is locked"):
        unit.run(raising(AssertionError("it ran")))
    assert unit.said()[-1]["exit"] == 77

    assert unit.run(nothing, is_always_open=True) == 0


@pytest.mark.parametrize(
    "name", ["link.json", "link.json.previous", "link.json.copied-1", "link.json.plain-2"]
)
def test_an_owners_link_refuses_every_verb_but_the_one_that_looks(unit: Unit, name: str) -> None:
    (unit.folder / "state").mkdir()
    (unit.folder / "state" / name).touch()

    with pytest.raises(Busy, match="an owner's link is on this unit") as refused:
        unit.run(raising(AssertionError("it ran")))

    assert "unlink --wipe" in refused.value.hint
    assert unit.said()[-1]["exit"] == 75
    assert unit.run(nothing, is_always_open=True) == 0
