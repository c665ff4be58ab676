"""The checks of the parts: settings, library, devices, rights, and each part opened for a moment."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from device_auth.assembly.hardware_parts import read_hardware
from device_auth.doctor import board
from device_auth.doctor.board import may_use
from device_auth.doctor.context import UserAccount
from device_auth.doctor.findings import Finding, Verdict
from device_auth.installation import how_to_install
from hardware.board import SORTS
from tests.enabling_world import shipped
from tests.patient import Patient, troubles
from tests.stand_ins.fixtures import importable, not_installed, stand_ins
from tests.wrong_hardware import WRONG_TABLES

__all__ = ["stand_ins"]

FAIL = Verdict.FAIL

RGB = {"board": "generic-rgb", "gpio": "rpi-gpio"}
ON_GPIOD = {"board": "generic-rgb"}
EVERYTHING = {
    "board": "respeaker-2mic",
    "panel": {"kind": "ssd1306"},
    "voice": {"kind": "espeak"},
}
DEVICES = ("dev/gpiochip0", "dev/spidev0.1", "dev/i2c-1", "dev/snd/pcmC0D0p")


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """A speaker without a service, so that its parts may be touched, on a Pi with every device."""
    patient = Patient(tmp_path)
    patient.unit.update(ActiveState="inactive")
    for name in DEVICES:
        patient.put(name, "")
    patient.put("proc/sys/kernel/osrelease", "6.6.31+rpt-rpi-v8\n")
    patient.put("proc/device-tree/model", "Raspberry Pi Zero 2 W Rev 1.0\0")
    patient.hardware = {"board": "simulated", "panel": {"kind": "simulated"}, "voice": {"kind": "simulated"}}
    return patient


def of_parts(patient: Patient) -> dict[str, Verdict]:
    return {code: verdict for code, verdict in troubles(patient.examine()).items() if code.startswith("H")}


def finding(patient: Patient, code: str) -> Finding:
    return patient.examine()[code].finding


def test_parts_that_are_well_are_all_tried_and_named(patient: Patient) -> None:
    found = patient.examine()

    verdicts = {code: each.finding.verdict for code, each in found.items() if code.startswith("H")}
    assert verdicts == dict.fromkeys([f"H{number}" for number in range(1, 12)], Verdict.OK)
    assert found["H1"].finding.sentence == (
        "The board is simulated: light (rgb) on red GPIO22 (header 15), green GPIO23 (header 16), blue GPIO24"
        " (header 18); button on pin GPIO17 (header 11); panel (simulated); voice (simulated)."
    )


def test_a_speaker_without_parts_has_none_to_look_at(patient: Patient) -> None:
    patient.hardware = {}
    found = patient.examine()

    assert found["H1"].finding.verdict is Verdict.OK
    assert {found[code].finding.verdict for code in ("H6", "H7", "H8", "H9")} == {Verdict.SKIPPED}


def test_settings_that_cannot_be_used_are_told_and_nothing_else_is_tried(patient: Patient) -> None:
    patient.hardware = {"board": "generic-rgb", "button": {"pin": 22}}
    found = patient.examine()

    assert of_parts(patient) == {"H1": FAIL}
    assert found["H1"].finding.exit_code == 78
    assert "GPIO22" in found["H1"].finding.sentence


@pytest.mark.usefixtures("stand_ins")
def test_a_real_board_that_is_well_is_no_trouble(patient: Patient) -> None:
    patient.hardware = RGB

    assert of_parts(patient) == {}
    assert dict(finding(patient, "H2").facts)["provider"] == "rpi-lgpio"


@pytest.mark.usefixtures("stand_ins")
def test_a_real_board_on_gpiod_is_no_trouble_and_the_module_is_named(patient: Patient) -> None:
    patient.hardware = ON_GPIOD

    assert of_parts(patient) == {}
    assert dict(finding(patient, "H2").facts)["module"].endswith("gpiod/__init__.py")


BROKEN: dict[str, tuple[Mapping[str, object], Callable[[Patient], object], str]] = {
    "no GPIO chip": (RGB, lambda it: (it.root / "dev/gpiochip0").unlink(), "H3"),
    "no chip of that name": ({**ON_GPIOD, "chip": "/dev/gpiochip7"}, lambda _: None, "H3"),
    "SPI is off": (EVERYTHING, lambda it: (it.root / "dev/spidev0.1").unlink(), "H3"),
    "I2C is off": (EVERYTHING, lambda it: (it.root / "dev/i2c-1").unlink(), "H3"),
    "no sound card": (EVERYTHING, lambda it: (it.root / "dev/snd/pcmC0D0p").unlink(), "H3"),
    "no console": ({"panel": {"kind": "console", "device": "/dev/tty9"}}, lambda _: None, "H3"),
    "a group of the unit does not exist": (
        RGB,
        lambda it: it.unit.update(SupplementaryGroups="gpio no-such-group"),
        "H4",
    ),
    "the drop-in opens another class of devices": (
        RGB,
        lambda it: it.unit.update(DevicePolicy="closed", DeviceAllow="char-alsa rw"),
        "H5",
    ),
    "the LEDs of the kernel are closed": (
        {"light": {"kind": "kernel", "name": "led0"}},
        lambda it: it.unit.update(ProtectKernelTunables="yes", ReadWritePaths=""),
        "H5",
    ),
    "devices are hidden": (RGB, lambda it: it.unit.update(PrivateDevices="yes"), "H5"),
}


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("what", BROKEN)
def test_what_a_part_lacks_is_told_by_its_code_and_by_no_other(patient: Patient, what: str) -> None:
    patient.hardware, break_it, code = BROKEN[what]
    break_it(patient)
    found = patient.examine()

    assert {each: it for each, it in troubles(found).items() if each.startswith("H")} == {code: FAIL}
    assert found[code].finding.exit_code == 72
    assert found[code].finding.next_step


@pytest.mark.usefixtures("stand_ins")
def test_every_device_that_is_missing_is_told_at_once(patient: Patient) -> None:
    patient.hardware = EVERYTHING
    for name in DEVICES:
        (patient.root / name).unlink()

    assert finding(patient, "H3").sentence == (
        "There is no /dev/spidev0.1, which the light needs."
        " Nor is there /dev/gpiochip0, /dev/i2c-1, /dev/snd/pcm*p."
    )


@pytest.mark.parametrize(("modes", "expected"), [(0o600, FAIL), (0o660, FAIL), (0o666, None)])
def test_devices_that_are_closed_to_the_services_user_are_told(
    patient: Patient, modes: int, expected: Verdict | None
) -> None:
    for name in DEVICES:
        (patient.root / name).chmod(modes)
    patient.unit["User"] = "nobody"
    patient.hardware = RGB
    with importable("modules"):
        found = patient.examine()

    assert found["H4"].finding.verdict is (expected or Verdict.OK)
    if expected:
        assert "sudo usermod -aG gpio nobody" in found["H4"].finding.next_step


def test_a_group_of_the_unit_opens_a_device(patient: Patient) -> None:
    device = patient.root / "dev/gpiochip0"
    device.chmod(0o660)
    gid = device.stat().st_gid

    assert may_use(UserAccount("someone", 4711, frozenset({gid})), device)
    assert not may_use(UserAccount("someone", 4711, frozenset({gid + 1})), device)
    assert not may_use(UserAccount("someone", 4711, frozenset({gid})), device / "nowhere")


def test_the_owner_of_a_device_may_use_it_and_root_any(patient: Patient) -> None:
    device = patient.root / "dev/gpiochip0"
    device.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(device, 4711, 4711)

    assert may_use(UserAccount("owner", device.stat().st_uid, frozenset()), device)
    assert may_use(UserAccount("root", 0, frozenset()), device)


@pytest.mark.parametrize(
    ("kernel", "model", "expected"),
    [
        ("6.1.21-v8+", "Raspberry Pi 3 Model B", Verdict.OK),
        ("6.6.31+rpt-rpi-v8", "Raspberry Pi 3 Model B", FAIL),
        ("6.1.21-v8+", "Raspberry Pi 5 Model B Rev 1.0", FAIL),
        ("6.12.0", "", FAIL),
        ("odd", "", Verdict.OK),
    ],
)
def test_the_original_rpi_gpio_is_told_where_it_does_not_work(
    patient: Patient, kernel: str, model: str, expected: Verdict
) -> None:
    patient.hardware = RGB
    patient.put("proc/sys/kernel/osrelease", kernel)
    patient.put("proc/device-tree/model", model)
    with importable("original"):
        found = finding(patient, "H2")

    assert found.verdict is expected
    assert (expected is FAIL) == ("remove RPi.GPIO and take rpi-lgpio" in found.next_step)
    assert (expected is FAIL) == ('gpio = "gpiod"' in found.next_step)


def test_a_machine_that_does_not_say_what_it_is_is_taken_for_an_old_one(patient: Patient) -> None:
    patient.hardware = RGB
    (patient.root / "proc/sys/kernel/osrelease").unlink()
    (patient.root / "proc/device-tree/model").unlink()
    with importable("original"):
        assert finding(patient, "H2").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("hardware", "library", "other"), [(RGB, "rpi-lgpio", "gpiod"), (ON_GPIOD, "gpiod", "rpi-gpio")]
)
def test_a_library_that_is_not_installed_is_told_with_both_ways(
    patient: Patient, hardware: dict[str, object], library: str, other: str
) -> None:
    patient.hardware = hardware
    with not_installed():
        found = finding(patient, "H2")
        assert of_parts(patient) == {"H2": FAIL}

    assert how_to_install(library) in found.next_step
    assert f'gpio = "{other}"' in found.next_step


def test_the_gpiod_of_debian_12_is_told(patient: Patient) -> None:
    patient.hardware = ON_GPIOD
    with importable("gpiod_1"):
        found = finding(patient, "H2")

    assert (found.verdict, found.exit_code) == (FAIL, 72)
    assert "is version 1, as in Debian 12" in found.sentence


@pytest.mark.parametrize(
    ("sort", "hardware", "code"),
    [
        ("light", {"light": {"kind": "kernel", "name": "led9"}}, "H6"),
        ("voice", {"voice": {"kind": "command", "command": ["no-such-program"]}}, "H9"),
    ],
)
def test_a_part_that_cannot_be_opened_is_told_with_its_own_words(
    patient: Patient, sort: str, hardware: dict[str, object], code: str
) -> None:
    patient.hardware = hardware
    found = patient.examine()

    assert troubles(found)[code] is FAIL
    assert found[code].finding.sentence.startswith(f"The {sort} cannot be used: ")
    assert found[code].finding.exit_code == 72


@pytest.mark.parametrize("wrong", WRONG_TABLES)
def test_every_wrong_setting_of_a_part_is_told_as_a_setting(wrong: str) -> None:
    found = board.check_board(lambda: read_hardware(WRONG_TABLES[wrong])[0])

    assert (found.verdict, found.exit_code) == (FAIL, 78)
    assert wrong in found.sentence + found.next_step


def test_parts_that_the_service_holds_are_not_touched(patient: Patient) -> None:
    with patient.served():
        found = patient.examine()

    assert {found[code].finding.verdict for code in ("H6", "H7", "H8", "H9")} == {Verdict.SKIPPED}
    assert "the service is using the light" in found["H6"].finding.sentence


def test_no_device_is_needed_by_a_kernel_led(patient: Patient) -> None:
    patient.hardware = {"light": {"kind": "kernel", "name": "led0"}}
    for name in DEVICES:
        (patient.root / name).unlink()

    assert finding(patient, "H3").verdict is Verdict.OK


def test_every_sort_of_part_has_a_check(patient: Patient) -> None:
    assert [check.name for check in patient.checks() if check.name in SORTS] == list(SORTS)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_parts_of_another_user_are_not_tried(patient: Patient) -> None:
    light = next(check for check in patient.checks() if check.name == "light")
    os.seteuid(4711)
    try:
        found = light.look()
    finally:
        os.seteuid(0)

    assert found.verdict is Verdict.SKIPPED
    assert "Permission denied" in found.sentence


@pytest.mark.usefixtures("stand_ins")
def test_a_service_that_sees_devices_is_well(patient: Patient) -> None:
    patient.hardware = RGB
    patient.unit["DeviceAllow"] = "char-gpiochip rw"

    assert dict(finding(patient, "H5").facts) == {"allowed": "char-gpiochip rw"}


ALLOWED: Final = "char-gpiochip rw char-spi rw char-alsa rw char-i2c rw"


@pytest.mark.usefixtures("stand_ins")
def test_the_classes_of_the_delivered_drop_ins_open_what_each_part_needs(patient: Patient) -> None:
    patient.hardware = EVERYTHING
    patient.unit |= {"DevicePolicy": "closed", "DeviceAllow": ALLOWED}
    assert finding(patient, "H5").verdict is Verdict.OK

    for each in ("char-gpiochip", "char-spi", "char-alsa", "char-i2c"):
        patient.unit["DeviceAllow"] = ALLOWED.replace(each, "char-mem")
        assert finding(patient, "H5").verdict is FAIL, each


def test_every_delivered_drop_in_is_one_that_the_doctor_names(patient: Patient) -> None:
    patient.hardware = EVERYTHING
    patient.unit["PrivateDevices"] = "yes"

    assert "put boards/respeaker-2mic.conf of deploy/systemd into" in finding(patient, "H5").next_step


@pytest.mark.usefixtures("stand_ins")
def test_a_drop_in_of_another_board_or_without_a_part_is_told(patient: Patient) -> None:
    drop_in = "/etc/systemd/system/device-auth.service.d/board.conf"
    patient.hardware = RGB
    patient.put(drop_in.lstrip("/"), shipped("boards", "generic-rgb"))
    patient.unit["DropInPaths"] = drop_in
    assert finding(patient, "H10").verdict is Verdict.OK

    patient.put(drop_in.lstrip("/"), "DeviceAllow=char-spi rw\n")
    found = finding(patient, "H10")
    assert found.verdict is Verdict.WARN
    assert "boards/generic-rgb.conf" in found.sentence

    patient.hardware = {}
    assert "no part that is set needs them" in finding(patient, "H10").sentence


def test_of_a_speaker_that_systemd_does_not_start_no_drop_in_is_looked_for(patient: Patient) -> None:
    patient.unit["LoadState"] = "not-found"

    assert finding(patient, "H10").verdict is Verdict.SKIPPED
    assert finding(patient, "H5").verdict is Verdict.OK


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".dockerenv", "docker"),
        ("run/.containerenv", "podman"),
        ("run/systemd/container", "lxc"),
        ("run/host/container-manager", "systemd-nspawn"),
    ],
)
def test_a_container_is_told_and_what_it_hides(patient: Patient, name: str, kind: str) -> None:
    patient.hardware = {**RGB, "gpio": "rpi-gpio"}
    assert finding(patient, "H11").sentence == "This runs in no container."

    patient.put(name, f"{kind}\n")
    assert kind in finding(patient, "H11").sentence
    assert finding(patient, "H11").verdict is Verdict.OK

    (patient.root / "proc/device-tree/model").unlink()
    found = finding(patient, "H11")
    assert found.verdict is Verdict.WARN
    assert 'gpio = "gpiod"' in found.next_step
