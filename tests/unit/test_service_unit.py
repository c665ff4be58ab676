"""What systemd knows of the service, in words: from what its own programs print."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from device_auth.world.service_unit import (
    NOT_STARTED,
    SOCKET_UNIT,
    UNIT,
    ServiceCondition,
    end_of,
    is_installed,
    read_properties,
    report_on,
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_every_exit_code_of_systemds_own_has_its_words() -> None:
    printed = subprocess.run(
        ["systemd-analyze", "exit-status", "--no-pager"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout
    known = {number: name for name, number in re.findall(r"^(\w+) +(\d+) +systemd$", printed, re.MULTILINE)}

    assert {number: each.name for number, each in NOT_STARTED.items()} == known


def test_the_words_end_no_sentence_and_the_next_steps_have_a_command() -> None:
    for each in NOT_STARTED.values():
        assert not each.sentence.endswith(".")
        assert re.search(r"journalctl|systemctl|systemd-sysusers", each.next_step), each


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"Result": "timeout", "ExecMainCode": "2", "ExecMainStatus": "15"}, "it was not ready in time"),
        ({"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9"}, "memory ran out"),
        (
            {"Result": "core-dump", "ExecMainCode": "3", "ExecMainStatus": "11"},
            "it crashed, ended by signal 11",
        ),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "99"}, "ended by signal 99"),
        ({"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"}, "exit status 3"),
        ({"Result": "start-limit-hit", "ExecMainStatus": "0"}, "it failed too often in a short time"),
        ({"Result": "something-new", "ExecMainStatus": "0"}, "something-new"),
        ({}, "unknown"),
    ],
)
def test_each_end_has_words(service: dict[str, str], words: str) -> None:
    assert end_of(service).sentence.startswith(words)


def test_a_failure_that_systemd_has_given_up_is_forgotten_before_the_next_start(tmp_path: Path) -> None:
    units = {
        UNIT: {"LoadState": "loaded", "ActiveState": "failed", "ExecMainCode": "1", "ExecMainStatus": "70"},
        SOCKET_UNIT: {"LoadState": "loaded", "ActiveState": "failed", "Result": "service-start-limit-hit"},
    }
    report = report_on(units, tmp_path)

    assert report is not None
    assert f"sudo systemctl reset-failed {SOCKET_UNIT} {UNIT}" in report.next_step


def test_a_service_that_runs_beside_a_failed_socket_is_said_to_be_out_of_reach(tmp_path: Path) -> None:
    units = {
        UNIT: {"LoadState": "loaded", "ActiveState": "active"},
        SOCKET_UNIT: {"LoadState": "loaded", "ActiveState": "failed", "Result": "new-result"},
    }
    report = report_on(units, tmp_path)

    assert report is not None
    assert report.sentence == "The service runs, but nothing can reach it. Its socket failed: new-result."


@pytest.mark.parametrize(
    ("stat", "words"),
    [
        ("7 (x) D 1", "waits for a disk or a device"),
        ("7 (x) S 1", "does not answer; it is process 7 (x)."),
        ("7 (x) T 1", "process 7 (x), which is stopped by a signal."),
        ("7", "does not answer."),
    ],
)
def test_the_state_of_the_process_is_told_where_it_is_a_reason(tmp_path: Path, stat: str, words: str) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/stat").write_text(stat)
    (tmp_path / "proc/7/comm").write_text("x\n")
    report = report_on({UNIT: {"LoadState": "loaded", "ActiveState": "active", "MainPID": "7"}}, tmp_path)

    assert report is not None
    assert report.condition is ServiceCondition.SILENT
    assert words in report.sentence


@pytest.mark.parametrize("text", ["", "\n\n", "odd", "=\n=\n\n=", "Id\n\nId"])
def test_what_cannot_be_read_is_no_unit(text: str) -> None:
    assert not read_properties(text).get(UNIT, {}).get("ActiveState")


def test_a_masked_unit_is_installed_and_a_machine_without_systemd_has_none(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system" / UNIT).symlink_to("/dev/null/nothing")
    assert not is_installed(tmp_path)

    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert is_installed(tmp_path)
