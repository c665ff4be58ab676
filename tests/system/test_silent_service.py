"""A service that is down, fails or hangs: each verb says so soon, and none acts as if no service ran."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Final

import pytest

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import open_speaker
from device_auth.assembly.service import (
    HURRY,
    PATIENCE,
    FoundService,
    find_service,
    is_served,
    look_for_service,
    refuse_beside_service,
)
from device_auth.cli import status
from device_auth.core.errors import DeviceAuthError, ServiceDown
from device_auth.core.models import Seconds
from device_auth.core.values import replace
from device_auth.service.callers import Caller, read_caller
from device_auth.world.keys import SYSTEMD_CREDENTIAL
from device_auth.world.service_unit import ANSWER_WITHIN
from device_auth.world.store import FileStore
from tests.command import started
from tests.keys import keys_of, make_key
from tests.links import make_link
from tests.silent_service import SERVICE, SOCKET, SilentMachine, listening, shown
from tests.socket_world import SocketWorld
from tests.waiting import LONG

GROUP: Final = {
    "ActiveState": "activating",
    "SubState": "auto-restart",
    "Result": "exit-code",
    "NRestarts": "3",
    "ExecMainCode": "1",
    "ExecMainStatus": "216",
}
FAILED: Final = {**GROUP, "ActiveState": "failed", "SubState": "failed"}
STOPPED: Final = {"ActiveState": "inactive", "SubState": "dead"}
SOCKET_STOPPED: Final = {"ActiveState": "inactive", "SubState": "dead"}
SOCKET_FAILED: Final = {
    "ActiveState": "failed",
    "SubState": "failed",
    "Result": "service-start-limit-hit",
}

SOON: Final = (Seconds(0.05), Seconds(0.05))


@pytest.fixture
def machine(tmp_path: Path) -> SilentMachine:
    machine = SilentMachine(tmp_path)
    machine.install()
    machine.systemd_tells({})
    return machine


def store_link(folder: Path) -> None:
    with FileStore(folder) as store:
        store.replace(replace(make_link(), is_proved=True))


def told_by(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


# -- status


def test_a_service_of_ones_own_that_is_slow_to_answer_is_not_called_silent(tmp_path: Path) -> None:
    def finds(folder: Path) -> bool:
        waits = iter([1.2])

        def identify(connection: socket.socket) -> Caller:
            Event().wait(next(waits, 0))  # as on a machine that is busy for a moment
            return read_caller(connection)

        (folder / "run").mkdir(parents=True)
        doors = open_doors({"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")})
        with SocketWorld(folder / "run" / "api.sock", identify=identify):
            return isinstance(look_for_service(doors, HURRY), FoundService)

    # on a machine that is busier still it is given up now and then
    assert any(finds(tmp_path / str(number)) for number in range(9))


@pytest.mark.parametrize("how", ["silent", "dripping", "full"])
def test_a_status_tells_of_a_service_that_hangs_whatever_its_socket_does(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    store_link(machine.doors().places.state_dir)
    with machine.listening(how):
        assert status.show(machine.doors(json=True)) == 0

    told = told_by(capsys)
    assert (told["state"], told["service"]) == ("linked", "not-answering")
    assert str(told["hint"]).startswith("The service runs, but does not answer.")


CONDITIONS: Final[Mapping[str, tuple[Mapping[str, str], Mapping[str, str], str, str]]] = {
    "a group is missing": (GROUP, {}, "failing", "216/GROUP, a group that the unit or a drop-in names"),
    "the program is missing": (
        {**GROUP, "ExecMainStatus": "203"},
        {},
        "failing",
        "203/EXEC, its program is missing",
    ),
    "it has failed": (FAILED, SOCKET_FAILED, "failed", "Its socket failed: the service failed too often"),
    "it is starting": ({"ActiveState": "activating", "SubState": "start"}, {}, "starting", "is starting"),
    "it starts again": (
        {"ActiveState": "activating", "SubState": "start", "NRestarts": "2"},
        {},
        "failing",
        "is starting again (restarts so far: 2)",
    ),
    "it is stopped": (STOPPED, SOCKET_STOPPED, "stopped", "The service is stopped."),
    "it is being stopped": ({"ActiveState": "deactivating"}, {}, "stopped", "The service is being stopped."),
    "its socket failed": (
        STOPPED,
        {**SOCKET_FAILED, "Result": "resources"},
        "failed",
        "its address is taken",
    ),
    "it is masked": ({**STOPPED, "LoadState": "masked"}, {}, "masked", "sudo systemctl unmask"),
    "its unit is wrong": ({**STOPPED, "LoadState": "bad-setting"}, {}, "broken", "(bad-setting)"),
}


@pytest.mark.parametrize("what", CONDITIONS)
@pytest.mark.parametrize("has_socket", [True, False])
def test_a_status_names_what_keeps_the_service_from_answering(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str], what: str, *, has_socket: bool
) -> None:
    service, socket_unit, word, words = CONDITIONS[what]
    machine.systemd_tells(service, socket_unit)
    if has_socket:
        with machine.listening():
            assert status.show(machine.doors(json=True)) == 0
    else:
        assert status.show(machine.doors(json=True)) == 0

    told = told_by(capsys)
    assert (told["state"], told["service"]) == ("unlinked", word)
    assert words in str(told["hint"])


def test_people_read_it_in_two_lines(machine: SilentMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.systemd_tells(FAILED, SOCKET_STOPPED)

    assert status.show(machine.doors()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "state:       unlinked: The speaker is not linked to an account.",
        "service:     failed",
    ]
    assert lines[2].startswith("next:        The service failed: 216/GROUP, a group")


def test_a_user_who_cannot_read_the_link_is_told_of_the_service_and_of_no_state(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.systemd_tells(FAILED, SOCKET_STOPPED)

    assert status.show(machine.doors(is_root=False)) == 75
    told = capsys.readouterr().out
    assert "state:" not in told
    assert "216/GROUP" in told

    assert status.show(machine.doors(is_root=False, json=True)) == 75
    assert told_by(capsys)["state"] == "starting"


def test_a_link_under_a_key_of_the_service_alone_has_no_state_either(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = keys_of(make_key(SYSTEMD_CREDENTIAL))
    with FileStore(machine.doors().places.state_dir, keys=lambda: keys) as store:
        store.replace(make_link())
    machine.systemd_tells(FAILED, SOCKET_STOPPED)

    assert status.show(machine.doors()) == 75
    assert "216/GROUP" in capsys.readouterr().out


def test_a_health_check_tells_it_too(machine: SilentMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.systemd_tells(GROUP)
    with machine.listening():
        assert status.check(machine.doors()) == 75
        line = capsys.readouterr().out
        assert line.startswith("unhealthy (service-failing): The service fails and is started again")

        assert status.check(machine.doors(json=True)) == 75
    told = told_by(capsys)
    assert (told["status"], told["reason"]) == ("unhealthy", "service-failing")
    assert "216/GROUP" in str(told["hint"])


def test_a_user_with_a_link_of_their_own_is_told_of_that(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.systemd_tells(FAILED)
    doors = machine.doors(is_root=False, json=True)
    store_link(doors.places.state_dir)
    with machine.listening():
        assert status.show(doors) == 0

    told = capsys.readouterr()
    assert "service" not in json.loads(told.out)
    assert "device-auth: The service failed: 216/GROUP" in told.err


@pytest.mark.parametrize("script", ["sleep 600", "exit 1", "exec no-such-program"])
def test_a_systemd_that_does_not_answer_either_keeps_nobody_waiting(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    machine.systemctl(script)
    with machine.listening():
        assert status.show(machine.doors(json=True)) == 0

    assert "systemd does not tell why" in str(told_by(capsys)["hint"])


def test_a_process_that_a_signal_stopped_is_named(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.put("proc/77/stat", "77 (a (odd) name) T 1 77 77 0")
    machine.systemd_tells({"MainPID": "77"})
    with machine.listening():
        status.show(machine.doors(json=True))

    assert "sudo kill -CONT 77" in str(told_by(capsys)["hint"])


def test_without_the_unit_or_without_systemd_nothing_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = SilentMachine(tmp_path)
    machine.systemctl("echo asked >&2; touch asked")

    assert status.show(machine.doors(json=True)) == 0
    assert "service" not in told_by(capsys)
    assert not (Path.cwd() / "asked").exists()


@pytest.mark.parametrize(
    ("service", "socket_unit"),
    [
        ({"LoadState": "not-found"}, {}),
        ({**STOPPED, "UnitFileState": "disabled"}, {**SOCKET_STOPPED, "UnitFileState": "disabled"}),
    ],
    ids=["not installed", "not switched on"],
)
def test_a_service_that_keeps_no_speaker_is_not_missed(
    machine: SilentMachine,
    capsys: pytest.CaptureFixture[str],
    service: Mapping[str, str],
    socket_unit: Mapping[str, str],
) -> None:
    machine.systemd_tells(service, socket_unit)

    assert status.show(machine.doors(is_root=False, json=True)) == 0
    assert "service" not in told_by(capsys)


def test_a_socket_that_nobody_listens_at_is_as_good_as_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = SilentMachine(tmp_path)
    with machine.listening():
        machine.socket.rename(tmp_path / "kept")
        machine.socket.touch()
    (tmp_path / "kept").rename(machine.socket)

    assert status.show(machine.doors(json=True)) == 0
    assert "service" not in told_by(capsys)


def test_a_daemon_of_ones_own_that_hangs_is_told_of_by_the_command_itself(tmp_path: Path) -> None:
    store_link(tmp_path / "state")
    places = ("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run"))
    with (
        listening(tmp_path / "run/api.sock", "dripping"),
        started("status", "--json", *places) as process,
    ):
        out, _ = process.communicate(timeout=LONG)

    told = json.loads(out)
    assert (process.returncode, told["state"], told["service"]) == (0, "linked", "not-answering")
    assert str(tmp_path / "run/api.sock") in told["hint"]


# -- the other verbs


@pytest.mark.parametrize(
    "what", [GROUP, {"ActiveState": "active", "MainPID": "77"}], ids=["fails", "stopped"]
)
@pytest.mark.parametrize("is_root", [True, False])
def test_a_verb_ends_with_the_same_sentence(
    machine: SilentMachine, what: Mapping[str, str], *, is_root: bool
) -> None:
    machine.put("proc/77/stat", "77 (device-auth) T 1 77 77 0")
    machine.systemd_tells(what)
    with (
        machine.listening(),
        pytest.raises(ServiceDown, match=r"216/GROUP|process 77 .*, which is stopped") as caught,
    ):
        open_speaker(machine.doors(is_root=is_root))

    assert caught.value.exit_code == 75
    assert caught.value.hint


def test_a_verb_waits_for_a_service_that_is_starting_but_not_for_ever(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.systemd_tells({"ActiveState": "activating", "SubState": "start"})
    with machine.listening(), pytest.raises(ServiceDown, match="is starting"):
        find_service(machine.doors(), SOON)

    assert "The service is starting. Waiting for it" in capsys.readouterr().err


def test_root_works_on_the_files_of_a_service_that_is_down_and_is_told_why_it_failed(
    machine: SilentMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.systemd_tells(STOPPED, SOCKET_STOPPED)
    assert find_service(machine.doors()) is None
    assert capsys.readouterr().err == ""

    machine.systemd_tells(FAILED, SOCKET_STOPPED)
    assert find_service(machine.doors()) is None
    assert "216/GROUP" in capsys.readouterr().err


def test_a_verb_that_needs_an_answer_gives_a_slow_systemd_the_time(machine: SilentMachine) -> None:
    # on a slow machine `unlink --wipe` was refused after both units had been stopped, as the advice says
    told = machine.put("told", shown({**SERVICE, **STOPPED}, {**SOCKET, **SOCKET_STOPPED}))
    machine.systemctl(f"sleep {2 * ANSWER_WITHIN}; cat {told}")

    assert find_service(machine.doors()) is None
    # nor was a self-test made, once it had stopped them itself
    assert not is_served(machine.doors(), PATIENCE)


@pytest.mark.parametrize("service", [STOPPED, FAILED, GROUP], ids=["stopped", "failed", "failing"])
def test_an_ordinary_user_without_a_link_gets_none_of_their_own_in_its_place(
    machine: SilentMachine, service: Mapping[str, str]
) -> None:
    machine.systemd_tells(service, SOCKET_STOPPED)

    with pytest.raises(ServiceDown):
        open_speaker(machine.doors(is_root=False))


def test_what_cannot_be_done_beside_a_service_says_how_to_stop_one_that_fails(machine: SilentMachine) -> None:
    machine.systemd_tells(GROUP)
    with machine.listening(), pytest.raises(DeviceAuthError) as caught:
        refuse_beside_service(machine.doors())

    assert "sudo systemctl stop device-auth.socket device-auth.service" in caught.value.hint


@pytest.mark.parametrize(("service", "holds"), [({}, True), (GROUP, True), (FAILED, False)])
def test_a_service_that_is_up_in_some_way_may_hold_the_parts(
    machine: SilentMachine, service: Mapping[str, str], *, holds: bool
) -> None:
    machine.systemd_tells(service)
    with machine.listening():
        assert is_served(machine.doors()) is holds


def test_systemd_is_asked_by_one_program_that_lies_where_nobody_but_root_puts_one(
    machine: SilentMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = machine.put("elsewhere/systemctl", "#!/bin/sh\nexit 0\n", 0o755)
    monkeypatch.setenv("PATH", f"{elsewhere.parent}:{os.environ['PATH']}")
    machine.systemd_tells(FAILED, SOCKET_STOPPED)

    assert status.show(machine.doors()) == 0
    assert "216/GROUP" in capsys.readouterr().out
