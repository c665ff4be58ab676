"""Findings as people and programs read them: any width, any encoding, with colour or without."""

from typing import Final

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


TWO_FAILED: Final = [
    *EXAMINED[:2],
    found("N7", "no-name", fail("The name is not known.", "Set another DNS server.", 69)),
    *EXAMINED[2:],
]


def test_what_is_wrong_is_told_by_group_and_the_finding_to_begin_with_comes_last() -> None:
    assert as_text(TWO_FAILED, TextStyle()) == [
        "Store           1 warning, 1 ok",
        "  warning S4 state-space",
        "    The disk is nearly full: 9 KiB are left.",
        "    → Free some space (see: df -h).",
        "Network         1 FAILED",
        "Link            1 FAILED",
        "  FAILED  L1 linked",
        "    The account no longer allows this speaker.",
        "    → Link it: device-auth link",
        "Service         3 skipped",
        "",
        "7 checks: 2 FAILED, 1 warning, 3 skipped, 1 ok (-v lists them).",
        "Begin with:",
        "  FAILED  N7 no-name",
        "    The name is not known.",
        "    → Set another DNS server.",
    ]


def test_with_facts_every_finding_is_told_in_its_place_and_the_one_to_begin_with_once_more() -> None:
    lines = as_text(TWO_FAILED, TextStyle(has_facts=True))

    assert lines[:6] == [
        "Store",
        "  ok      S1 state-folder",
        "    The folder is ours.",
        "      path: /var/lib/device-auth",
        "      mode: 0700",
        "  warning S4 state-space",
    ]
    told = [
        "  FAILED  N7 no-name",
        "    The name is not known.",
        "    → Set another DNS server.",
    ]
    assert lines[lines.index(told[0]) :][:3] == told
    assert lines[-5:] == ["7 checks: 2 FAILED, 1 warning, 3 skipped, 1 ok.", "Begin with:", *told]


def test_what_only_another_user_may_look_at_is_told_once_with_how() -> None:
    refused = skipped("Permission denied; root may look there.", "sudo device-auth doctor")
    lines = as_text(
        [found("S2", "state-files", refused), EXAMINED[0], found("C1", "settings-unreadable", refused)],
        TextStyle(),
    )

    assert lines[-4:] == [
        "3 checks: 2 skipped, 1 ok (-v lists them).",
        "2 skipped: Permission denied; root may look there.",
        "  → sudo device-auth doctor",
        "Nothing wrong was found.",
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
        [found("C2", "client-id", warn("It is …cdef, “odd”.", "Look →"))],
        TextStyle(encoding=encoding, has_facts=True),
    )

    assert told[2] == "    It is ...cdef, ?odd?."
    assert told[3] == "    -> Look ->"
    assert "".join(told).isascii()


def test_controls_do_not_reach_the_terminal() -> None:
    told = as_text([found("S1", "state-folder", ok("It is \x1b[31mred\x07."))], TextStyle(has_facts=True))

    assert told[2] == "    It is ?[31mred?."


def test_colour_repeats_the_verdict_and_adds_no_width() -> None:
    style = TextStyle(has_facts=True)
    plain, coloured = as_text(EXAMINED, style), as_text(EXAMINED, style._replace(has_colour=True))

    assert coloured[1] == "  \x1b[32mok     \x1b[0m S1 state-folder"
    assert "\x1b[31;1mFAILED " in coloured[-3]
    assert [line for line in coloured if "\x1b" not in line] == [
        line for line, other in zip(plain, coloured, strict=True) if "\x1b" not in other
    ]


def test_where_nothing_failed_one_begins_with_the_first_warning() -> None:
    warned, well = as_text(EXAMINED[:2], TextStyle()), as_text(EXAMINED[:1], TextStyle())

    assert warned[-4:-2] == ["Begin with:", "  warning S4 state-space"]
    assert well[-2:] == ["1 checks: 1 ok (-v lists them).", "Nothing wrong was found."]


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
