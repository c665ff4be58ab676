"""The context: real programs behind its one door, and who the speaker belongs to."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from device_auth.core.models import Seconds
from device_auth.core.values import replace
from device_auth.doctor.context import gid_of
from device_auth.doctor.findings import Verdict
from device_auth.world.programs import MOST_OUTPUT, CannotRun, run_program
from tests.patient import ME, Patient, troubles

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program on the path, before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    patient = Patient(tmp_path)
    patient.run = run_program
    return patient


def test_a_program_says_what_it_says(install: Install) -> None:
    install("say", 'echo "$1"; echo aside >&2; exit 3')

    assert run_program(["say", "some; words"]) == (3, "some; words\n")


def test_a_program_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(CannotRun, match="no-such-program: no such file"):
        run_program(["no-such-program"])


def test_a_program_that_says_too_much_is_cut_off(install: Install) -> None:
    install("babble", "exec yes")

    assert len(run_program(["babble"]).output) == MOST_OUTPUT


def test_a_program_that_hangs_is_ended_with_all_it_started(install: Install) -> None:
    install("hang", "sleep 600 & echo $!; wait")

    with pytest.raises(CannotRun, match="no answer"):
        run_program(["hang"], Seconds(0.05))


def test_what_systemctl_prints_is_what_is_told_of_the_unit(patient: Patient, install: Install) -> None:
    install("ss", "exit 0")
    install(
        "systemctl",
        'test "$1 $2" = "show device-auth.service" || exit 9\n'
        f"printf 'LoadState=loaded\\nUnitFileState=enabled\\nUser={ME}\\nDeviceAllow=char-alsa rw\\n'\n"
        "printf 'DeviceAllow=char-spi rw\\nActiveState=failed\\nExecMainStatus=74\\nWatchdogUSec=3min\\n'\n"
        "printf '\\nId=device-auth.socket\\nLoadState=loaded\\nUnitFileState=enabled\\nActiveState=active\\n'",
    )
    found = patient.examine()

    assert troubles(found) == {"D2": Verdict.FAIL}
    assert "S1 to S7" in found["D2"].finding.next_step
    assert patient.context().unit["DeviceAllow"] == "char-alsa rw char-spi rw"


@pytest.mark.parametrize("script", ["echo LoadState=loaded; exit 1", "exit 0"])
def test_a_systemctl_that_tells_nothing_is_as_good_as_none(
    patient: Patient, install: Install, script: str
) -> None:
    install("systemctl", script)

    assert patient.context().unit == {}


def test_without_systemctl_there_is_no_unit(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert patient.context().unit == {}
    assert patient.context().account.uid == os.geteuid()


def test_a_unit_that_names_no_user_runs_as_root(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.unit["User"] = ""

    assert patient.context().account.name == "root"


def test_a_user_of_the_unit_has_its_groups_and_those_of_the_unit(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.unit |= {"User": "nobody", "SupplementaryGroups": "gpio no-such-group"}

    account = patient.context().account
    assert account.name == "nobody"
    assert 803 in account.gids


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_service_that_systemd_does_not_keep_is_of_the_user_whose_folder_it_has(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.unit.clear()
    nobody = pwd.getpwnam("nobody")
    os.chown(patient.state, nobody.pw_uid, nobody.pw_gid)

    account = patient.context().account
    assert (account.name, account.uid) == ("nobody", nobody.pw_uid)
    assert nobody.pw_gid in account.gids


def test_a_user_that_nobody_knows_is_whoever_asks(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.unit["User"] = "no-such-user"

    assert patient.context().account.uid == os.geteuid()


def test_groups_are_looked_up_where_the_system_keeps_them() -> None:
    assert gid_of("root") == 0
    assert gid_of("no-such-group") is None


def test_without_a_runtime_folder_there_is_no_socket(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    context = patient.context()
    context.places = replace(context.places, runtime_dir=None)

    assert context.socket is None
    assert not context.daemon.is_running
