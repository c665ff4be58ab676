"""The runner of the unit's verbs: each talk ends with exactly one result, and the exit code is the result's."""

import argparse
import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, Final
from uuid import UUID

import pytest

from device_auth.assembly.doors import Doors
from device_auth.cli.unit_verb import _alone, add_unit_options, run_unit_verb
from device_auth.core.errors import Busy, DeviceAuthError, Interrupted, StoreError, UnitLocked, WrongUse
from device_auth.core.models import Secret
from device_auth.factory.talk import CheckOutcome, Header, Masks, Talk, TalkReader, write_answer, write_header
from device_auth.world.factory_lock import LOCK
from device_auth.world.places import read_places
from tests.standard_input import lines_on_stdin
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

    def output(self) -> str:
        return self._capsys.readouterr().out

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output().splitlines()]


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
        (StoreError("the disk is full", hint="Buy one."), "ERROR", 74, "the disk is full. Buy one."),
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


KEY: Final = bytes(range(32))
HEADER: Final = Header(UUID(int=7), Secret(KEY.hex()), (Secret("a token of this run"),), "KS0001")


def test_a_station_proves_the_result_by_the_key_of_its_run(unit: Unit) -> None:
    def job(talk: Talk, _doors: Doors) -> None:
        assert talk.header == HEADER
        talk.check("left", CheckOutcome.FAIL, "found: a token of this run", exit_code=74)

    with lines_on_stdin(write_header(HEADER)):
        assert unit.run(job, "--talk") == 74

    said = unit.output()
    reader = TalkReader(Masks(), KEY)
    reader.feed(said.encode())
    assert reader.result is not None
    assert (reader.result.exit, reader.result.is_proved) == (74, True)
    assert "a token of this run" not in said
    assert KEY.hex() not in said


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["[]"],
        [write_header(HEADER).replace('"schema": 1', '"schema": 2')],
        [write_header(HEADER).replace(KEY.hex(), "00")],
        ["x" * 70_000],
        ["[" * 60_000],
    ],
)
def test_a_header_that_is_none_is_wrong_use_and_shows_nothing_of_it(unit: Unit, lines: list[str]) -> None:
    with lines_on_stdin(*(line[:60_000] for line in lines)), pytest.raises(WrongUse) as refused:
        unit.run(raising(AssertionError("it ran")), "--talk")

    assert KEY.hex() not in str(refused.value)
    last = unit.said()[-1]
    assert (last["event"], last["outcome"], last["exit"], last["mac"]) == ("result", "ERROR", 2, None)


def test_a_closed_standard_input_is_told(unit: Unit) -> None:
    former = os.dup(0)
    os.close(0)
    try:
        with pytest.raises(WrongUse, match="no header of a run came on standard input"):
            unit.run(nothing, "--talk")
    finally:
        os.dup2(former, 0)
        os.close(former)


def test_the_station_answers_each_question_by_its_name(unit: Unit) -> None:
    answers: list[str] = []

    def job(talk: Talk, _doors: Doors) -> None:
        answers.extend(talk.ask(name, "What is it?", ()) for name in ("light", "panel"))

    with lines_on_stdin(
        write_header(HEADER), write_answer("light", "green"), write_answer("panel", "KS\x1b0001")
    ):
        assert unit.run(job, "--talk") == 0

    assert answers == ["green", "KS0001"]
    assert [each["name"] for each in unit.said() if each["event"] == "ask"] == ["light", "panel"]


@pytest.mark.parametrize(
    ("line", "error", "outcome"),
    [
        (write_answer("panel", "yes"), WrongUse, "ERROR"),
        ("yes", WrongUse, "ERROR"),
        (None, Interrupted, "ABORTED"),
    ],
)
def test_an_answer_that_is_none_ends_the_verb(
    unit: Unit, line: str | None, error: type[DeviceAuthError], outcome: str
) -> None:
    with lines_on_stdin(write_header(HEADER), *([] if line is None else [line])), pytest.raises(error):
        unit.run(ask, "--talk")

    assert unit.said()[-1]["outcome"] == outcome


def test_two_verbs_do_not_run_at_once(unit: Unit) -> None:
    def job(_talk: Talk, _doors: Doors) -> None:
        with pytest.raises(Busy, match="another verb of the factory runs"):
            unit.run(nothing)
        assert unit.run(nothing, needs_root=False) == 0

    assert unit.run(job) == 0
    assert unit.run(nothing) == 0


@pytest.mark.parametrize("first", ["run/device-auth", "elsewhere"])
def test_two_verbs_do_not_run_at_once_on_the_machines_unit_whatever_runtime_folder_they_are_given(
    tmp_path: Path, first: str
) -> None:
    def doors(runtime: str) -> Doors:
        options = {"state_dir": f"{tmp_path}/var/lib/device-auth", "runtime_dir": f"{tmp_path}/{runtime}"}
        opened = Doors(options, read_places(options, {}, 0, tmp_path))
        opened.machine = tmp_path
        return opened

    with (
        _alone(doors(first), "lock"),
        pytest.raises(Busy, match="another verb of the factory runs"),
        _alone(doors("another"), "identity write"),
    ):
        pass

    with _alone(doors("another"), "identity write"):
        pass


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

    assert re.findall(r"sudo [\w .-]*", refused.value.hint) == [
        "sudo systemctl stop device-auth.socket device-auth.service",
        "sudo device-auth unlink --wipe",
    ]
    assert unit.said()[-1]["exit"] == 75
    assert unit.run(nothing, is_always_open=True) == 0
