"""All checks together: the page that explains them, the order they come in, and an end although each of them hangs."""

import os
import re
from pathlib import Path
from threading import Event

import pytest

from device_auth.assembly.doors import open_doors
from device_auth.cli.main import read_arguments
from device_auth.core.errors import ConfigError
from device_auth.core.states import TROUBLES, Trouble
from device_auth.core.values import replace
from device_auth.doctor.check_run import GROUPS, LIMIT, CheckResult, examine
from device_auth.doctor.examination import compose, open_context
from device_auth.doctor.findings import Check, Finding, Verdict, fail, ok
from device_auth.doctor.rendering import TextStyle, as_text
from tests.command import ROOT
from tests.patient import Patient
from tests.world import SkippingClock

PAGE = (ROOT / "docs/doctor.md").read_text()


@pytest.fixture
def checks(tmp_path: Path) -> list[Check]:
    words = [
        "doctor",
        "--simulate=auto",
        "--state-dir",
        str(tmp_path / "s"),
        "--runtime-dir",
        str(tmp_path / "r"),
    ]
    speaker = open_doors(vars(read_arguments(words)))
    return compose(speaker, open_context(speaker), speaker.settings, [], None, is_online=False)


def test_the_page_explains_every_check_and_no_other(checks: list[Check]) -> None:
    rows = re.findall(r"^\| ([A-Z]\d+) \| ([\w-]+) \| (.+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert [(code, name) for code, name, _, _ in rows] == [(check.code, check.name) for check in checks]


def test_no_code_and_no_name_is_given_twice(checks: list[Check]) -> None:
    assert len({check.code for check in checks}) == len({check.name for check in checks}) == len(checks)
    assert {check.code[0] for check in checks} == set(GROUPS)


def test_each_check_comes_after_checks_that_there_are(checks: list[Check]) -> None:
    known: set[str] = set()
    left = list(checks)
    while ready := [check for check in left if set(check.after) <= known]:
        known |= {check.code for check in ready}
        left = [check for check in left if check.code not in known]

    assert left == []


def test_every_check_that_hangs_is_given_up_within_the_time_there_is(checks: list[Check]) -> None:
    over, clock = Event(), SkippingClock()

    def hang() -> Finding:
        over.wait()
        return ok("at last")

    try:
        found = examine([replace(check, look=hang) for check in checks], clock)
    finally:
        over.set()

    assert clock.moment <= 1000 + LIMIT
    assert {each.finding.verdict for each in found} == {Verdict.FAIL, Verdict.SKIPPED}
    assert len(found) == len(checks)


def test_even_if_none_waits_for_another(checks: list[Check]) -> None:
    over, clock = Event(), SkippingClock()

    def hang() -> Finding:
        over.wait()
        return ok("at last")

    try:
        found = examine([replace(check, look=hang, after=(), limit=1000) for check in checks], clock)
    finally:
        over.set()

    assert clock.moment == 1000 + LIMIT
    assert {each.finding.verdict for each in found} == {Verdict.FAIL}


def test_the_page_shows_what_is_printed(checks: list[Check]) -> None:
    revoked = TROUBLES[Trouble.REVOKED]
    finding = fail(revoked.sentence, revoked.next_step, 77)
    shown = as_text([CheckResult(check, finding) for check in checks if check.code == "L1"], TextStyle())

    assert "\n".join(shown[-4:]) in PAGE


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_who_may_not_read_the_services_settings_is_not_told_that_they_are_wrong(
    tmp_path: Path,
) -> None:
    patient = Patient(tmp_path)
    speaker = open_doors(vars(read_arguments(["doctor", "--simulate=auto"])))
    denied, wrong = ConfigError("cannot read config.toml: permission denied"), ConfigError("dsn is odd")
    denied.__cause__ = PermissionError()
    os.seteuid(4711)
    try:
        found = compose(speaker, patient.context(), speaker.settings, [denied], None, is_online=False)
    finally:
        os.seteuid(0)
    looked = {check.code: check.look() for check in found if check.code[0] == "C" or check.code == "H1"}
    by_root = compose(speaker, patient.context(), speaker.settings, [denied, wrong], None, is_online=False)
    told = next(check for check in by_root if check.code == "C1").look()

    assert {each.verdict for each in looked.values()} == {Verdict.SKIPPED}
    assert looked["C1"].next_step == "sudo device-auth doctor"
    assert "permission denied" in told.sentence
