"""Findings as people and programs read them: any width, any encoding, with colour or without."""

import pytest

from device_auth.doctor.check_run import CheckResult
from device_auth.doctor.findings import Check, Finding, Verdict, fail, ok, skipped, warn
from device_auth.doctor.rendering import TextStyle, as_fields, as_text


def never() -> Finding:
    raise AssertionError("nothing is looked at here")


def found(code: str, name: str, finding: Finding) -> CheckResult:
    return CheckResult(Check(code, name, never), finding)


EXAMINED = [
    found("S1", "state-folder", ok("The folder is ours.", path="/var/lib/device-auth", mode="0700")),
    found(
        "S4", "state-space", warn("The disk is nearly full: 9 KiB are left.", "Free some space (see: df -h).")
    ),
    found(
        "L1", "linked", fail("The account no longer allows this speaker.", "Link it: device-auth link", 77)
    ),
    found("D1", "unit", skipped("systemd does not answer here.")),
    found("D2", "service-running", skipped("Not looked at because of D1 unit.")),
    found("D3", "restarts", skipped("Not looked at because of D1 unit.")),
]


def test_findings_are_told_by_group_with_what_to_do_next() -> None:
    assert as_text(EXAMINED, TextStyle()) == [
        "Store",
        "  ok      S1 state-folder",
        "    The folder is ours.",
        "  warning S4 state-space",
        "    The disk is nearly full: 9 KiB are left.",
        "    → Free some space (see: df -h).",
        "",
        "Link",
        "  FAILED  L1 linked",
        "    The account no longer allows this speaker.",
        "    → Link it: device-auth link",
        "",
        "Service",
        "  skipped D1 unit",
        "    systemd does not answer here.",
        "  skipped D2 service-running, D3 restarts",
        "    Not looked at because of D1 unit.",
        "",
        "6 checks: 1 failed, 1 with a warning, 3 skipped. Begin with L1 linked.",
    ]


@pytest.mark.parametrize("columns", [20, 40, 41, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    lines = as_text(EXAMINED, TextStyle(columns=columns, has_facts=True))

    longest_word = max(len(word) for line in lines for word in line.split())
    assert all(len(line) < max(columns, longest_word + 9) for line in lines)


def test_facts_are_told_to_those_who_want_them() -> None:
    lines = as_text(EXAMINED, TextStyle(has_facts=True))

    assert lines[3:5] == ["      path: /var/lib/device-auth", "      mode: 0700"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
def test_a_serial_line_gets_letters_that_it_can_carry(encoding: str) -> None:
    told = as_text(
        [found("C2", "client-id", warn("It is …cdef, “odd”.", "Look →"))], TextStyle(encoding=encoding)
    )

    assert told[2] == "    It is ...cdef, ?odd?."
    assert told[3] == "    -> Look ->"
    assert "".join(told).isascii()


def test_controls_do_not_reach_the_terminal() -> None:
    told = as_text([found("S1", "state-folder", ok("It is \x1b[31mred\x07."))], TextStyle())

    assert told[2] == "    It is ?[31mred?."


def test_colour_repeats_the_verdict_and_adds_no_width() -> None:
    plain, coloured = as_text(EXAMINED, TextStyle()), as_text(EXAMINED, TextStyle(has_colour=True))

    assert coloured[1] == "  \x1b[32mok     \x1b[0m S1 state-folder"
    assert "\x1b[31;1mFAILED " in coloured[8]
    assert [line for line in coloured if "\x1b" not in line] == [
        line for line, other in zip(plain, coloured, strict=True) if "\x1b" not in other
    ]


def test_the_summary_says_where_to_begin() -> None:
    def summary(*examined: CheckResult) -> str:
        return as_text(examined, TextStyle())[-1]

    assert (
        summary(*EXAMINED[:2])
        == "2 checks: 0 failed, 1 with a warning, 0 skipped. Begin with S4 state-space."
    )
    assert summary(EXAMINED[0]).endswith("0 skipped. Nothing wrong was found.")


def test_programs_get_every_finding_whole() -> None:
    fields = as_fields(EXAMINED, at="2026-11-23T00:00:00Z", version="1.2")

    assert {name: fields[name] for name in ("verdict", "exit_code", "at", "version")} == {
        "verdict": Verdict.FAIL,
        "exit_code": 77,
        "at": "2026-11-23T00:00:00Z",
        "version": "1.2",
    }
    findings = fields["findings"]
    assert isinstance(findings, list)
    assert findings[0] == {
        "code": "S1",
        "name": "state-folder",
        "verdict": "ok",
        "sentence": "The folder is ours.",
        "next_step": "",
        "exit_code": 0,
        "facts": {"path": "/var/lib/device-auth", "mode": "0700"},
    }
    assert [each["code"] for each in findings] == ["S1", "S4", "L1", "D1", "D2", "D3"]
