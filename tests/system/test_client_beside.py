"""The example of a client beside the service: its units, and its life from the first link to the last."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.command import ROOT, bare_environment
from tests.daemon_process import Household
from tests.waiting import LONG, wait_for

EXAMPLE: Final = ROOT / "deploy" / "systemd" / "client"
WHILE_LINKED: Final = EXAMPLE / "while-linked"
CLIENT: Final = EXAMPLE / "avs-client"


@contextmanager
def beside(
    household: Household, *program: str, before: tuple[str, ...] = ()
) -> Iterator["subprocess.Popen[str]"]:
    """Run a program while the household's speaker is linked; ``before`` are the interpreter's own words."""
    session = household.folder / "session"
    session.mkdir(0o700, exist_ok=True)
    if not (session / "device-auth").is_symlink():
        (session / "device-auth").symlink_to(household.run)
    environ = {**bare_environment(), "XDG_RUNTIME_DIR": str(session), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, *before, str(WHILE_LINKED), *program], stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


NAMED: Final = ("sh", "-c", "echo $$; exec tail -f /dev/null")
"""A program that says which process it is, and goes on."""


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_client_goes_on_over_a_restart_of_the_service_and_ends_at_the_unlink(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        with beside(household, *NAMED) as process:
            pid = int(line(process))
            assert living.end() == 0
            with household.living() as again:
                again.wait_until("linked")
                assert lives(pid)
                again.client.unlink()

                assert process.wait(LONG) == 0
            assert not lives(pid)


def test_a_client_ends_when_the_speaker_has_another_link_and_not_before(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        linked_at = living.client.status().linked_at
        assert linked_at is not None
        with beside(household, *NAMED) as process:
            pid = int(line(process))
            # moments are told to the second
            wait_for(lambda: time.time() >= linked_at.timestamp() + 1)
            living.client.link(again=True)
            code = living.wait_until("waiting").code
            assert code is not None
            assert lives(pid)
            household.running.amazon.approve(code.user_code)

            assert process.wait(LONG) == 0
        assert living.client.status().linked_at != linked_at


LATE: Final = """
import pathlib, runpy, subprocess, sys, time
class Late(subprocess.Popen):
    def __init__(self, *args):
        super().__init__(*args)
        while not gate.exists():
            time.sleep(0.01)
subprocess.Popen, gate = Late, pathlib.Path(sys.argv.pop(1))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script that comes to itself late, once it has started a program."""


def test_a_client_ends_though_the_other_link_was_made_before_anybody_looked(household: Household) -> None:
    gate = household.folder / "gate"
    with household.living() as living:
        household.link(living)
        linked_at = living.client.status().linked_at
        assert linked_at is not None
        with beside(household, *NAMED, before=("-c", LATE, str(gate))) as process:
            pid = int(line(process))
            wait_for(lambda: time.time() >= linked_at.timestamp() + 1)
            living.client.link(again=True)
            household.approve(living)
            wait_for(lambda: living.wait_until("linked").linked_at != linked_at)
            gate.touch()

            assert process.wait(LONG) == 0
        assert not lives(pid)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_a_client_that_ends_by_itself_is_answered_for(household: Household, script: str, code: int) -> None:
    with household.living() as living:
        household.link(living)
        with beside(household, "sh", "-c", script) as process:
            assert process.wait(LONG) == code


def test_a_client_is_ended_with_what_runs_it(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        with beside(household, *NAMED) as process:
            pid = int(line(process))
            process.send_signal(signal.SIGTERM)
            assert process.wait(LONG) == 0
        assert not lives(pid)


INTERRUPTED: Final = """
import runpy, signal, sys
install, at, count = signal.signal, int(sys.argv.pop(1)), 0
def interrupted(number, then):
    global count
    before, count = install(number, then), count + 1
    if count == at:
        signal.raise_signal(signal.SIGTERM)
    return before
signal.signal = interrupted
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, and sends it SIGTERM when it has installed its nth handler."""


@pytest.mark.parametrize("at", [3, 4])
def test_a_client_that_has_just_started_is_ended_too(at: int) -> None:
    words = [sys.executable, "-c", INTERRUPTED, str(at), str(WHILE_LINKED), *NAMED]
    environ = {**bare_environment(), "PYTHONPATH": str(ROOT)}

    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.wait(LONG) == 0
        named = line(process)  # nothing if it was ended before it could say so
        is_left = bool(named) and lives(int(named))
        if is_left:
            os.kill(int(named), signal.SIGKILL)
    assert not is_left


def test_the_example_has_a_token(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        with beside(household, sys.executable, str(CLIENT)) as process:
            assert line(process).startswith("a token until ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_pair(tmp_path: Path) -> None:
    for name in ("avs-client.path", "avs-client.service"):
        unit = (EXAMPLE / name).read_text().replace("/usr/local/lib/avs-client", str(EXAMPLE))
        (tmp_path / name).write_text(unit)
    (tmp_path / "device-auth.service").write_text("[Service]\nExecStart=/bin/true\n")

    judged = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )

    assert (judged.returncode, judged.stderr) == (0, "")
