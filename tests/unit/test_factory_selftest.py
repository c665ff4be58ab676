import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5, sha256
from pathlib import Path
from threading import Event, Thread

import pytest

from device_auth.assembly.doors import Doors
from device_auth.core.errors import Busy, Interrupted, StoreError
from device_auth.core.values import replace
from device_auth.factory.talk import AskEvent, Talk
from device_auth.factory.unit.selftest import (
    SelfTestOptions,
    _report_untested,
    _TalkOperator,
    ask_doctor,
    run_selftest,
)
from device_auth.factory.unit.wiping import service_set_aside
from device_auth.world.places import read_places
from device_auth.world.service_unit import START_DUE, service_stopped, start_what_is_due
from device_auth.world.signals import interruptible
from hardware.board import read_plan
from tests.enabling_world import OFF, ON, EnablingWorld
from tests.unit_on_the_line import UnitOnTheLine


@pytest.fixture
def unit(tmp_path: Path) -> UnitOnTheLine:
    unit = UnitOnTheLine(tmp_path).make()
    unit.identify()
    return unit


def exit_code_of(unit: UnitOnTheLine, *, dsn: str | None = "K-0001", **options: object) -> int:
    """Run the self-test with a station, and return the exit code that its result has."""
    talk = unit.talk("selftest", dsn=dsn)
    run_selftest(talk, unit.doors(), SelfTestOptions(**{"root": None, **options}))  # type: ignore[arg-type]  # its own
    return talk.result(1).exit


def test_a_good_unit_passes_and_every_part_is_asked_about(unit: UnitOnTheLine) -> None:
    assert exit_code_of(unit, root=unit.root) == 0

    assert unit.failed == []
    parts = {name.split("-")[1] for name in unit.checks if name.startswith("part-")}
    assert parts == {"light", "button", "panel", "voice"}
    # a button reports itself
    assert {name.split("-")[1] for name in unit.asked} == {"light", "panel", "voice"}
    assert set(unit.asked) <= set(unit.checks)
    assert {name[7] for name in unit.checks if name.startswith("doctor-")} == set("SRTCHD")
    assert unit.checks["image-machine-id"] == unit.checks["image-tokens"] == "PASS"
    digest = sha256((unit.root / "etc/machine-id").read_bytes()).hexdigest()
    assert {"image-machine-id": digest}.items() <= unit.measured.items()


def test_a_part_that_the_rig_does_not_see_fails_alone(unit: UnitOnTheLine) -> None:
    unit.answers["part-light-waiting"] = "no"
    unit.answers["part-panel-qr-code"] = "DEVICE-AUTH TEST"

    assert exit_code_of(unit) == 72

    assert unit.failed == ["part-light-waiting"]
    assert "seen: something else" in unit.detail("part-light-waiting")


@pytest.mark.parametrize(
    ("label", "option", "says"),
    [
        ("K-0002", None, "its label says K-0002"),
        ("K-0001", "K-0002", "its label says"),
        (None, None, "was not given"),
    ],
)
def test_a_unit_that_is_not_its_labels_fails(
    unit: UnitOnTheLine, label: str | None, option: str | None, says: str
) -> None:
    assert exit_code_of(unit, dsn=label, label=option) == 78

    assert unit.failed == ["dsn"]
    assert says in unit.detail("dsn")


def test_a_unit_without_an_identity_fails(unit: UnitOnTheLine) -> None:
    (unit.state / "identity.toml").unlink()

    exit_code_of(unit)

    assert "dsn" in unit.failed
    assert unit.detail("dsn") == "this unit has no identity"


def test_an_identity_that_cannot_be_read_is_told(unit: UnitOnTheLine) -> None:
    (unit.state / "identity.toml").write_text("dsn = [")

    exit_code_of(unit)

    assert unit.checks["dsn"] == "FAIL"
    assert "part-voice-sentence" in unit.checks


def test_what_the_doctor_finds_fails_by_its_code(unit: UnitOnTheLine) -> None:
    (unit.state / "link.json").write_text("{}")

    assert exit_code_of(unit) == 74

    assert unit.failed == ["doctor-S2-state-files", "doctor-S7-link-file"]


def test_a_leftover_and_a_token_in_the_image_fail_by_their_names(unit: UnitOnTheLine) -> None:
    unit.write("var/lib/iwd/home.psk", "[Security]\nPassphrase=swordfish\n")
    unit.write("root/notes", "Atzr|IwEBIcanarycanary")

    assert exit_code_of(unit, root=unit.root) == 74

    assert unit.failed == ["image-wifi-passwords", "image-tokens"]


def test_a_simulated_unit_without_a_root_skips_the_image(unit: UnitOnTheLine) -> None:
    exit_code_of(unit)

    assert unit.checks["image"] == "SKIP"


def test_parts_where_the_product_has_none_fail(unit: UnitOnTheLine) -> None:
    assert exit_code_of(unit, has_parts=False) == 72

    assert unit.failed == ["parts"]


@pytest.mark.parametrize(("has_parts", "outcome"), [(True, "FAIL"), (False, "SKIP")])
def test_no_parts_where_the_product_has_some_fail(unit: UnitOnTheLine, has_parts: bool, outcome: str) -> None:
    doors = unit.doors()
    doors.__dict__["settings"] = replace(doors.settings, hardware={"board": "none"})

    run_selftest(unit.talk("selftest", dsn="K-0001"), doors, SelfTestOptions(None, has_parts=has_parts))

    assert unit.checks["parts"] == outcome


def test_a_board_that_cannot_be_read_is_not_tested_and_fails(unit: UnitOnTheLine) -> None:
    doors = unit.doors()
    doors.__dict__["settings"] = replace(doors.settings, hardware={"board": "unheard-of"})

    run_selftest(unit.talk("selftest", dsn="K-0001"), doors, SelfTestOptions(None))

    assert unit.checks["parts"] == "FAIL"


def test_a_rig_is_asked_to_press_a_real_button(
    unit: UnitOnTheLine, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = unit.talk("selftest")

    _TalkOperator(talk).request("button", "tap", "Press it.")
    _TalkOperator(Talk("selftest", lambda _: None, lambda _: "")).request("button", "tap", "Press it.")

    assert unit.asked == ["part-button-tap"]
    assert "button, tap: Press it." in capsys.readouterr().err


def test_a_rig_that_goes_away_ends_it(unit: UnitOnTheLine) -> None:
    def hang_up(question: AskEvent) -> str:
        raise Interrupted(question.name)

    talk = Talk("selftest", lambda _: None, hang_up, unit.talk("selftest").header)

    with pytest.raises(Interrupted):
        run_selftest(talk, unit.doors(), SelfTestOptions(None))


@pytest.mark.parametrize(("content", "outcome"), [("as shipped", "PASS"), ("otherwise", "FAIL")])
def test_a_file_of_the_package_that_is_not_as_shipped_fails_a_unit_that_is_new(
    tmp_path: Path, content: str, outcome: str
) -> None:
    unit = UnitOnTheLine(tmp_path).make()
    shipped = md5(b"as shipped", usedforsecurity=False).hexdigest()
    sums = "".join(f"{shipped}  {name}\n" for name in ("usr/x", "usr/share/doc/device-auth/left-out"))
    unit.write("var/lib/dpkg/info/device-auth.md5sums", sums)
    unit.write("usr/x", content)
    doors = unit.doors()
    doors.machine = unit.root

    ask_doctor(unit.talk("selftest"), doors)

    assert [line["outcome"] for line in unit.lines if "D11" in line.get("name", "")] == [outcome]


def test_a_part_without_a_result_has_failed(unit: UnitOnTheLine) -> None:
    parts = read_plan({"board": "simulated"}).parts

    _report_untested(unit.talk("selftest"), parts, {"light"})

    assert unit.failed == ["part-button-test"]


# ---------------------------------------------------------------------------------------------------------
# The service


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> EnablingWorld:
    return EnablingWorld(tmp_path / "machine", capsys)


def asked(machine: EnablingWorld) -> list[str]:
    """Return what systemctl was told to do."""
    lines = (machine.root / "asked").read_text().splitlines() if (machine.root / "asked").exists() else []
    return [line for line in lines if not line.startswith("show")]


STOPPED = "stop device-auth.socket device-auth.service"
STARTED = ["start device-auth.socket", "start device-auth.service"]


def test_the_service_is_stopped_meanwhile_and_started_whatever_happens(machine: EnablingWorld) -> None:
    machine.boot(ON)

    def interrupt() -> None:
        with service_stopped(machine.root):
            assert asked(machine) == [STOPPED]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()

    assert asked(machine) == [STOPPED, *STARTED]
    assert not (machine.root / START_DUE).exists()


def test_a_service_that_is_down_stays_down(machine: EnablingWorld) -> None:
    machine.boot(OFF)

    with service_stopped(machine.root):
        pass

    assert asked(machine) == []


def test_without_systemd_nothing_is_stopped(machine: EnablingWorld) -> None:
    with service_stopped(machine.root):
        pass

    assert asked(machine) == []


def test_what_a_killed_verb_has_stopped_the_next_one_starts(machine: EnablingWorld) -> None:
    machine.boot(ON)
    child = os.fork()
    if child == 0:
        with service_stopped(machine.root):
            os._exit(9)
    os.waitpid(child, 0)
    assert (machine.root / START_DUE).exists()
    (machine.root / "state").write_text(OFF)

    with service_stopped(machine.root):
        pass

    assert asked(machine) == [STOPPED, STOPPED, *STARTED]
    start_what_is_due(machine.root)
    assert asked(machine)[4:] == []


def test_an_end_that_comes_while_it_is_started_again_does_not_cut_that_short(machine: EnablingWorld) -> None:
    machine.boot(ON)
    during_systemctl(machine, "start device-auth.socket", "kill -TERM $PPID")

    with another_thread(), pytest.raises(KeyboardInterrupt), interruptible(), service_stopped(machine.root):
        pass

    assert asked(machine) == [STOPPED, *STARTED]
    assert not (machine.root / START_DUE).exists()


def test_a_link_that_the_service_made_until_its_stop_is_an_owners(machine: EnablingWorld) -> None:
    machine.boot(ON)
    doors = Doors({}, read_places({}, {}, 0, machine.root))
    doors.machine = machine.root
    state = doors.places.state_dir
    state.mkdir(parents=True)
    during_systemctl(machine, STOPPED, f"touch '{state}/link.json'")

    with pytest.raises(Busy, match="an owner's link is on this unit"), service_set_aside(doors):
        raise AssertionError("it ran")

    assert asked(machine) == [STOPPED, *STARTED]


@contextmanager
def another_thread() -> Iterator[None]:
    """Have one that takes the signals which the main thread blocks."""
    end = Event()
    thread = Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def during_systemctl(machine: EnablingWorld, words: str, command: str) -> None:
    """Have something happen while systemctl does something."""
    program = machine.root / "usr/bin/systemctl"
    first, rest = program.read_text().split("\n", 1)
    program.write_text(f'{first}\n[ "$*" != "{words}" ] || {command}\n{rest}')


def test_a_service_that_does_not_start_again_is_an_error_that_names_it(machine: EnablingWorld) -> None:
    machine.boot(ON)
    (machine.root / "fails").write_text("start device-auth.service")

    with (
        pytest.raises(StoreError, match=r"systemctl start device-auth\.service failed"),
        service_stopped(machine.root),
    ):
        pass

    assert (machine.root / START_DUE).exists()
