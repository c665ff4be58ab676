"""The checks of store, runtime folder, link and service: each thing broken alone, in a speaker that is well otherwise."""

import errno
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from device_auth.core.models import Mark, UnixTime, View
from device_auth.core.states import CHECKING, StateWord, Trouble
from device_auth.core.values import replace
from device_auth.doctor.check_run import causes_first, exit_code_of
from device_auth.doctor.findings import Finding, Verdict
from device_auth.doctor.runtime import check_files, check_folder
from device_auth.doctor.service import check_readers
from device_auth.world.keys import KEY_FILE, ONLY_PLAIN, SYSTEMD_CREDENTIAL, Keys, KeyTrouble
from device_auth.world.programs import ProgramResult, run_program
from device_auth.world.sealing import SealingKey
from device_auth.world.store import FileStore
from tests.command import ROOT
from tests.keys import keys_of, make_key
from tests.links import make_link
from tests.patient import DISKS, Patient, answering, troubles
from tests.silent_service import listening
from tests.socket_world import SocketWorld
from tests.waiting import LONG

FAIL, WARN = Verdict.FAIL, Verdict.WARN

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


@pytest.fixture
def served(patient: Patient) -> Iterator[SocketWorld]:
    with patient.served() as served:
        yield served


def change_envelope(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def lies_on(patient: Patient, kind: str) -> None:
    path = patient.root / "proc/self/mountinfo"
    path.write_text(f"{path.read_text()}31 22 0:9 / {patient.state.resolve()} rw - {kind} x rw\n")


def hand_over(patient: Patient, name: str) -> None:
    os.chown(patient.folder / name, 12345, -1)


def make_folder_in_place_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def set_one_aside(patient: Patient) -> None:
    (patient.state / "link.json.damaged-1").touch(0o600)


def swap_out(patient: Patient) -> None:
    patient.put("proc/swaps", "Filename Type Size Used Priority\n/var/swap file 102396 0 -2\n")


def seal_and_swap_out(patient: Patient) -> None:
    seal(patient, make_key())
    swap_out(patient)


def install_package(patient: Patient, content: str | None) -> None:
    """Bring a package of two files, of which one has this content now, or is gone."""
    patient.put("usr/bin/device-auth", "as it was")
    patient.put(
        "var/lib/dpkg/info/device-auth.md5sums",
        f"{md5('as it was')}  usr/bin/device-auth\n{md5('its text')}  usr/share/device-auth/a name\n",
    )
    if content is not None:
        patient.put("usr/share/device-auth/a name", content)


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def mount(patient: Patient, line: str) -> None:
    path = patient.root / "proc/self/mountinfo"
    path.write_text(f"{path.read_text()}{line}\n")


def rauc_slots(patient: Patient) -> None:
    """As in RAUC's documentation; the root of the patient is 179:2."""
    patient.put(
        "etc/rauc/system.conf",
        "[system]\ncompatible=Kitchen\nbootloader=uboot\n\n[slot.rootfs.0]\ndevice=/dev/disk/by-label/root-A\n"
        "type=ext4\nbootname=A\n\n[slot.rootfs.1]\ndevice=/dev/mmcblk0p3\ntype=ext4\nbootname=B\n",
    )
    link = patient.root / "dev/disk/by-label/root-A"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../mmcblk0p2")
    patient.put("sys/class/block/mmcblk0p2/dev", "179:2\n")
    patient.put("sys/class/block/mmcblk0p3/dev", "179:3\n")


def image_rota(patient: Patient, bind: str) -> None:
    """As rpi-image-gen's A/B image has it, with one more bind from the partition that the slots share."""
    mount(patient, "40 22 179:7 / /persistent rw - ext4 /dev/mmcblk0p7 rw")
    mount(patient, f"41 22 179:7 {bind} rw - ext4 /dev/mmcblk0p7 rw")
    mount(patient, f"42 41 0:23 / {patient.run_dir.resolve()} rw - tmpfs tmpfs rw")


def mender_slots(patient: Patient) -> None:
    patient.put(
        "etc/mender/mender.conf",
        json.dumps({"RootfsPartA": "/dev/mmcblk0p2", "RootfsPartB": "/dev/mmcblk0p3"}, indent=2),
    )
    patient.put("sys/class/block/mmcblk0p2/dev", "179:2\n")
    patient.put("sys/class/block/mmcblk0p3/dev", "179:3\n")


Break = Callable[[Patient], object]

BROKEN: dict[str, tuple[Break, str, Verdict, int]] = {
    "others may write to the state folder": (lambda it: it.state.chmod(0o770), "S1", FAIL, 74),
    "its owner may not use the state folder": (lambda it: it.state.chmod(0o400), "S1", FAIL, 74),
    "others may look into the state folder": (lambda it: it.state.chmod(0o755), "S1", WARN, 0),
    "the link is readable by others": (lambda it: (it.state / "link.json").chmod(0o644), "S2", FAIL, 74),
    "the former link is readable by its group": (
        lambda it: (it.state / "link.json.previous").chmod(0o640),
        "S2",
        FAIL,
        74,
    ),
    "the state is in memory": (lambda it: lies_on(it, "tmpfs"), "S3", FAIL, 74),
    "the state is on a disk without modes": (lambda it: lies_on(it, "vfat"), "S3", FAIL, 74),
    "the state is on an overlay": (lambda it: lies_on(it, "overlay"), "S3", WARN, 0),
    "the state is on another machine": (lambda it: lies_on(it, "nfs4"), "S3", WARN, 0),
    "the newest generation is damaged": (
        lambda it: (it.state / "link.json").write_bytes(b"\0" * 300),
        "S7",
        WARN,
        0,
    ),
    "the newest generation is gone": (lambda it: (it.state / "link.json").unlink(), "S7", WARN, 0),
    "the former generation is damaged": (
        lambda it: (it.state / "link.json.previous").write_text("{}"),
        "S7",
        WARN,
        0,
    ),
    "both generations are damaged": (
        lambda it: [path.write_text("{}") for path in it.state.iterdir()],
        "S7",
        FAIL,
        74,
    ),
    "damaged files were set aside": (
        set_one_aside,
        "S7",
        WARN,
        0,
    ),
    "a newer version wrote the link": (
        lambda it: change_envelope(it.state / "link.json", version=9),
        "S7",
        FAIL,
        74,
    ),
    "memory with the token of a sealed link is written to the card": (
        seal_and_swap_out,
        "S8",
        WARN,
        0,
    ),
    "others may write to the runtime folder": (lambda it: it.run_dir.chmod(0o777), "R1", FAIL, 74),
    "others cannot reach the runtime folder": (lambda it: it.run_dir.chmod(0o700), "R1", WARN, 0),
    "the runtime folder is on a disk": (
        lambda it: it.put("proc/self/mountinfo", DISKS),
        "R2",
        WARN,
        0,
    ),
    "everyone may read a token": (lambda it: (it.run_dir / "token.json").chmod(0o644), "R3", FAIL, 74),
    "the group cannot reach the socket": (lambda it: (it.run_dir / "api.sock").chmod(0o600), "R4", WARN, 0),
    "strangers can reach the socket": (lambda it: (it.run_dir / "api.sock").chmod(0o666), "R4", WARN, 0),
    "an administrator cannot reach the socket": (
        lambda it: it.members.update({"device-auth-admin": frozenset({"ann"})}),
        "R5",
        WARN,
        0,
    ),
    "the readers' group is missing": (lambda it: it.groups.pop("device-auth-client"), "R5", FAIL, 74),
    "the administrators' group is missing": (lambda it: it.groups.pop("device-auth-admin"), "R5", FAIL, 74),
    "the unit is masked": (lambda it: it.unit.update(LoadState="masked"), "D1", FAIL, 69),
    "the unit is not enabled": (lambda it: it.unit.update(UnitFileState="disabled"), "D1", WARN, 0),
    "the service is stopped": (lambda it: it.unit.update(ActiveState="inactive"), "D2", FAIL, 69),
    "the service failed": (
        lambda it: it.unit.update(ActiveState="failed", ExecMainStatus="78"),
        "D2",
        FAIL,
        69,
    ),
    "the service fails again and again": (
        lambda it: it.unit.update(ActiveState="activating", SubState="auto-restart", ExecMainStatus="70"),
        "D2",
        FAIL,
        69,
    ),
    "the service is starting": (
        lambda it: it.unit.update(ActiveState="activating", SubState="start"),
        "D2",
        WARN,
        0,
    ),
    "the service was started again": (lambda it: it.unit.update(NRestarts="3"), "D3", WARN, 0),
    "systemd has not read a changed unit": (
        lambda it: it.unit.update(NeedDaemonReload="yes"),
        "D1",
        WARN,
        0,
    ),
    "the socket failed": (
        lambda it: it.socket_unit.update(ActiveState="failed", Result="resources"),
        "D9",
        FAIL,
        69,
    ),
    "the socket is masked": (lambda it: it.socket_unit.update(LoadState="masked"), "D9", FAIL, 69),
    "the socket is stopped": (lambda it: it.socket_unit.update(ActiveState="inactive"), "D9", FAIL, 69),
    "the socket is not enabled": (lambda it: it.socket_unit.update(UnitFileState="disabled"), "D9", WARN, 0),
    "the socket is not installed": (lambda it: it.socket_unit.clear(), "D9", WARN, 0),
    "a file of the package was changed": (lambda it: install_package(it, "changed"), "D11", WARN, 0),
    "a file of the package is missing": (lambda it: install_package(it, None), "D11", WARN, 0),
    "the link is on a slot of RAUC": (rauc_slots, "S9", FAIL, 74),
    "the link is on a slot of Mender": (mender_slots, "S9", FAIL, 74),
    "the link is on a /var of the slot's own": (
        lambda it: image_rota(it, f"/slots/system_a/var {it.folder}"),
        "S9",
        FAIL,
        74,
    ),
    "the link is on the root of a slot": (lambda it: image_rota(it, "/home /home"), "S9", FAIL, 74),
    "the watchdog is off": (lambda it: it.unit.update(WatchdogUSec="infinity"), "D4", WARN, 0),
}


@pytest.mark.usefixtures("served")
def test_of_a_speaker_that_is_well_nothing_is_said_to_be_wrong(patient: Patient) -> None:
    found = patient.examine()

    assert troubles(found) == {}
    assert {code for code, each in found.items() if each.finding.verdict is Verdict.SKIPPED} == {
        *("L3", "H6", "H7", "H8", "H9", "D11")
    }


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_told_by_its_code_and_by_no_other(patient: Patient, what: str) -> None:
    break_it, code, verdict, exit_code = BROKEN[what]
    break_it(patient)
    found = patient.examine()

    assert troubles(found) == {code: verdict}
    finding = found[code].finding
    assert finding.exit_code == exit_code
    assert finding.sentence.endswith((".", ")"))
    assert finding.next_step


@as_root
@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("name", "code"), [("state", "S1"), ("state/link.json", "S2"), ("run", "R1"), ("run/token.json", "R3")]
)
def test_what_belongs_to_someone_else_is_told(patient: Patient, name: str, code: str) -> None:
    hand_over(patient, name)

    assert troubles(patient.examine()) == {code: FAIL}


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("name", "code"), [("link.json", "S2"), ("link.json.previous", "S2")])
def test_a_folder_in_place_of_a_file_is_told(patient: Patient, name: str, code: str) -> None:
    make_folder_in_place_of(patient.state / name)
    found = patient.examine()

    assert found[code].finding.verdict is FAIL
    assert found[code].finding.sentence.endswith("is not a plain file.")


# -- the store --------------------------------------------------------------------------------------------


def finding(patient: Patient, code: str) -> Finding:
    return patient.examine()[code].finding


def test_a_state_that_was_never_written_is_no_trouble(patient: Patient) -> None:
    for path in patient.state.iterdir():
        path.unlink()
    patient.state.rmdir()
    found = patient.examine()

    assert found["S1"].finding.verdict is Verdict.SKIPPED
    assert not {code for code in troubles(found) if code.startswith("S")}
    assert not patient.state.exists()


def test_a_file_in_place_of_the_state_folder_is_told(patient: Patient) -> None:
    patient.state.rename(patient.folder / "elsewhere")
    patient.state.write_text("")
    assert finding(patient, "S1").sentence.endswith("is not a folder.")


def test_a_loop_of_links_in_place_of_the_state_is_told(patient: Patient) -> None:
    patient.state.rename(patient.folder / "elsewhere")
    patient.state.symlink_to(patient.state)

    assert finding(patient, "S1").exit_code == 74


def test_a_share_that_syncs_no_folders_is_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def sync_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync_files)
    found = finding(patient, "S5")

    assert found.verdict is WARN
    assert "does not sync folders" in found.sentence


def test_that_the_service_holds_the_lock_is_well(patient: Patient) -> None:
    with FileStore(patient.state):
        found = finding(patient, "S5")

    assert found.verdict is Verdict.OK
    assert f"process {os.getpid()}" in found.sentence


@as_root
def test_root_sees_no_trouble_in_what_belongs_to_the_services_user(patient: Patient) -> None:
    user = pwd.getpwnam("nobody")
    patient.unit["User"] = user.pw_name
    for path in (patient.state, *patient.state.iterdir(), patient.run_dir):
        os.chown(path, user.pw_uid, user.pw_gid)

    assert troubles(patient.examine()).keys() & {"S1", "S2", "S5", "R1"} == set()
    assert {path.stat().st_uid for path in patient.state.iterdir()} == {user.pw_uid}


def test_leftovers_that_are_in_the_way_of_a_save_are_told(patient: Patient) -> None:
    (patient.state / "link.json.new").mkdir()
    found = patient.examine()

    assert troubles(found)["S2"] is FAIL
    assert found["S5"].finding.exit_code == 74


def test_whether_writing_works_is_tried_without_a_trace(patient: Patient) -> None:
    before = {path.name: path.read_bytes() for path in patient.state.iterdir()}
    patient.examine()

    assert {path.name: path.read_bytes() for path in patient.state.iterdir()} == before


def test_a_link_in_the_clear_is_said_to_be_so(patient: Patient) -> None:
    found = finding(patient, "S6")

    assert found.verdict is Verdict.OK
    assert "in plain text" in found.sentence
    assert dict(found.facts)["key_provider"] == "plain"


def test_why_a_link_in_the_clear_has_no_key_is_among_the_facts(patient: Patient) -> None:
    patient.keys = Keys("auto", {KEY_FILE: lambda: KeyTrouble("key_file is not set", "Set it.")})

    assert dict(finding(patient, "S6").facts)["without_key-file"] == "key_file is not set"


def test_a_link_under_a_key_that_this_command_cannot_reach_is_left_alone(patient: Patient) -> None:
    change_envelope(patient.state / "link.json", key_provider="credential")
    found = patient.examine()

    assert found["S6"].finding.verdict is found["S7"].finding.verdict is Verdict.SKIPPED
    assert "credential" in found["S6"].finding.sentence


def seal(patient: Patient, key: SealingKey) -> None:
    patient.keys = keys_of(key)
    with FileStore(patient.state, keys=lambda: patient.keys) as store:
        store.replace(make_link(generation=1))
        store.save(make_link(generation=2))


@pytest.mark.usefixtures("served")
def test_a_link_under_a_key_at_hand_is_whole_and_what_that_protects_from_is_said(patient: Patient) -> None:
    seal(patient, make_key())
    found = patient.examine()

    assert troubles(found) == {}
    assert found["S6"].finding.sentence == (
        "The link is sealed under the key of key-file. Protects nothing: it is known."
    )
    assert found["S7"].finding.sentence == "The stored link is whole, and so is the one before it."


def test_swap_beside_a_link_in_plain_text_is_only_mentioned(patient: Patient) -> None:
    swap_out(patient)
    found = finding(patient, "S8")

    assert found.verdict is Verdict.OK
    assert "Memory is swapped out to /var/swap" in found.sentence


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("limit", "is_told"), [("0\n", False), ("max\n", True)])
def test_a_service_that_is_never_swapped_out_is_well(patient: Patient, limit: str, is_told: bool) -> None:
    seal(patient, make_key())
    swap_out(patient)
    patient.unit["ControlGroup"] = "/system.slice/device-auth.service"
    patient.put("sys/fs/cgroup/system.slice/device-auth.service/memory.swap.max", limit)

    assert troubles(patient.examine()) == ({"S8": WARN} if is_told else {})


@pytest.mark.usefixtures("served")
def test_a_link_under_a_key_of_the_service_alone_is_no_trouble(patient: Patient) -> None:
    seal(patient, make_key(SYSTEMD_CREDENTIAL))
    patient.keys = keys_without(SYSTEMD_CREDENTIAL)
    found = patient.examine()

    assert troubles(found) == {}
    assert found["S6"].finding.verdict is found["S7"].finding.verdict is Verdict.SKIPPED


@pytest.mark.usefixtures("served")
def test_a_key_that_was_set_up_and_is_gone_is_told(patient: Patient) -> None:
    seal(patient, make_key(KEY_FILE))
    patient.keys = keys_without(KEY_FILE)
    found = patient.examine()

    assert troubles(found) == {"S6": FAIL}
    assert (found["S6"].finding.exit_code, found["S6"].finding.next_step) == (74, "Bring it back.")


@pytest.mark.parametrize("is_exchanged", [True, False])
def test_a_key_that_does_not_open_the_link_is_told_before_the_account_is_blamed(
    patient: Patient, is_exchanged: bool
) -> None:
    seal(patient, make_key(KEY_FILE))
    lack = KeyTrouble("key_file is not set", "Set it.")
    patient.keys = (
        keys_of(make_key(KEY_FILE, "b")) if is_exchanged else Keys("auto", {KEY_FILE: lambda: lack})
    )
    found = patient.examine()["S6"].finding

    assert (found.verdict, found.exit_code) == (FAIL, 74)
    assert "is sealed under another key" in found.sentence or lack.message in found.sentence


@pytest.mark.usefixtures("served")
def test_a_key_that_the_service_alone_can_reach_is_no_trouble(patient: Patient) -> None:
    seal(patient, make_key(KEY_FILE))
    patient.keys = Keys("auto", {KEY_FILE: lambda: KeyTrouble("key_file is not set", "Set it.")})

    assert troubles(patient.examine()) == {}


@pytest.mark.usefixtures("served")
def test_a_former_generation_under_another_key_is_no_damage(patient: Patient) -> None:
    seal(patient, make_key())
    sealed = (patient.state / "link.json").read_bytes()
    patient.keys = ONLY_PLAIN
    shutil.rmtree(patient.state)
    patient.store_link()
    (patient.state / "link.json.previous").write_bytes(sealed)
    found = patient.examine()

    assert troubles(found) == {}
    assert found["S7"].finding.verdict is Verdict.SKIPPED


def keys_without(name: str) -> Keys:
    """Return keys of which the one that was chosen cannot be had."""
    return Keys(name, {name: lambda: KeyTrouble("it is not there", "Bring it back.", is_set_up=True)})


def test_no_link_is_no_damage(patient: Patient) -> None:
    for path in patient.state.iterdir():
        path.unlink()
    found = patient.examine()

    assert troubles(found).keys() <= {"L1", "D5"}
    assert found["S7"].finding.sentence == "No link is stored, and nothing damaged either."
    assert found["S6"].finding.verdict is Verdict.OK


def test_a_kernel_that_says_nothing_of_its_disks_is_no_trouble(patient: Patient) -> None:
    (patient.root / "proc/self/mountinfo").unlink()
    found = patient.examine()

    assert found["S3"].finding.verdict is found["R2"].finding.verdict is Verdict.SKIPPED


def test_names_with_spaces_and_odd_lines_of_disks_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    patient = Patient(folder)
    escaped = str(patient.state.resolve()).replace(" ", r"\040")
    patient.put("proc/self/mountinfo", f"{DISKS}\nodd\n31 22 0:9 / {escaped} rw - tmpfs x rw\n")

    assert finding(patient, "S3").verdict is FAIL


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is found on real disks, in a mount namespace of its own."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    folder = tmp_path_factory.mktemp("disks")
    ran = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", "tests.mounted_disks", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture(scope="module")
def disks(seen: dict[str, Any]) -> dict[str, dict[str, list[object]]]:
    found: dict[str, dict[str, list[object]]] = seen["findings"]
    return found


def test_a_real_disk_that_keeps_no_modes_is_told(disks: dict[str, dict[str, list[object]]]) -> None:
    found = disks["without modes"]
    if not found:
        pytest.skip("bindfs is not installed, or cannot mount here")

    assert (found["S1"][0], found["S5"][:2]) == ("warn", ["fail", 74])
    assert "do not keep the mode 0600, so others could use them; the disk is fuse" in str(found["S5"][2])


@pytest.mark.parametrize("way", ["folder of", "link to", "bound to", "overlay in", "file in"])
def test_a_real_disk_lasts_and_memory_does_not_whatever_leads_there(seen: dict[str, Any], way: str) -> None:
    found: dict[str, bool | None] = seen["doubts"]
    disk = found["folder of disk"]
    if f"{way} memory" not in found:
        pytest.skip("this cannot be mounted here")

    assert found[f"{way} memory"] is False
    assert found.get(f"{way} disk", disk) is disk


def test_an_overlay_whose_memory_is_hidden_is_in_doubt(seen: dict[str, Any]) -> None:
    found: dict[str, bool | None] = seen["doubts"]
    if "overlay in hidden" not in found:
        pytest.skip("this cannot be mounted here")

    assert found["overlay in hidden"] is None


@pytest.mark.parametrize(
    ("disk", "troubled"),
    [
        ("memory", {"S3": "fail", "S4": "warn"}),
        ("full", {"S3": "fail", "S4": "fail"}),
        ("nodes", {"S3": "fail", "S4": "fail"}),
        ("read-only", {"S5": "fail"}),
        ("unmakeable", {"S1": "fail"}),
        ("full runtime", {"R2": "fail"}),
    ],
)
def test_real_disks_are_told_by_what_ails_them(
    disks: dict[str, dict[str, list[object]]], disk: str, troubled: dict[str, str]
) -> None:
    found = disks[disk]

    assert {code: each[0] for code, each in found.items() if each[0] in {"fail", "warn"}} == troubled
    assert {each[1] for each in found.values() if each[0] == "fail"} == {74}


@pytest.fixture
def open_patient() -> Iterator[Patient]:
    """A speaker in a folder that other users can reach."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Patient(Path(folder))


@as_root
def test_what_another_user_may_not_see_is_left_to_those_who_may(open_patient: Patient) -> None:
    looks = {each.code: each.look for each in open_patient.checks()}
    os.seteuid(4711)
    try:
        found = {code: look() for code, look in looks.items()}
    finally:
        os.seteuid(0)

    refused = {code for code, each in found.items() if each.next_step == "sudo device-auth doctor"}
    assert refused == {"S2", "S5", "S6", "S7", "L1", "L4"}
    assert {found[code].verdict for code in ("S1", "S3", "S4", "R1", "R3")} == {Verdict.OK}


@as_root
def test_what_cannot_even_be_reached_is_left_to_those_who_may(patient: Patient) -> None:
    looks = {each.code: each.look for each in patient.checks()}
    os.seteuid(4711)
    try:
        found = [looks[code]() for code in ("S1", "S4", "R1")]
    finally:
        os.seteuid(0)

    assert {each.verdict for each in found} == {Verdict.SKIPPED}


@pytest.mark.parametrize("slots", [rauc_slots, mender_slots])
def test_a_link_that_the_slots_share_is_well(patient: Patient, slots: Callable[[Patient], None]) -> None:
    slots(patient)
    mount(patient, f"41 22 179:4 /device-auth {patient.state.resolve()} rw - ext4 /dev/mmcblk0p4 rw")

    found = finding(patient, "S9")
    assert found.verdict is Verdict.OK
    assert "is shared by the slots of" in found.sentence


def test_a_link_that_is_declared_as_shared_is_well(patient: Patient) -> None:
    image_rota(patient, f"/shared/var/lib/device-auth {patient.state.resolve()}")

    assert finding(patient, "S9").sentence.endswith("is shared by the slots of rpi-image-gen.")


def test_settings_of_an_updater_without_a_device_that_is_there_name_no_slot(patient: Patient) -> None:
    patient.put("etc/rauc/system.conf", "[slot.rootfs.0]\ndevice=/dev/no-such\n")

    assert finding(patient, "S9").sentence.endswith("this system has no slots.")


# -- the runtime folder -----------------------------------------------------------------------------------


def test_a_runtime_folder_that_is_not_there_yet_is_no_trouble(patient: Patient) -> None:
    patient.run_dir.rmdir()
    found = patient.examine()

    assert {found[code].finding.verdict for code in ("R1", "R2", "R3", "R4")} == {Verdict.SKIPPED}


def test_a_runtime_folder_that_is_a_file_is_told(patient: Patient) -> None:
    patient.run_dir.rmdir()
    patient.run_dir.touch(0o755)

    assert finding(patient, "R1").sentence.endswith("is not a folder.")


def test_a_runtime_folder_that_cannot_be_looked_at_is_told(patient: Patient) -> None:
    patient.run_dir.rmdir()
    patient.run_dir.symlink_to(patient.run_dir)

    assert finding(patient, "R1").exit_code == 74


def test_without_a_place_for_a_runtime_folder_there_are_no_token_files(patient: Patient) -> None:
    context = patient.context()
    context.places = replace(context.places, runtime_dir=None)

    assert check_folder(context).verdict is WARN


@as_root
def test_token_files_that_may_not_be_looked_at_are_no_trouble(open_patient: Patient) -> None:
    open_patient.publish()
    open_patient.run_dir.chmod(0o700)
    os.seteuid(4711)
    try:
        assert check_files(open_patient.context()).verdict is Verdict.SKIPPED
    finally:
        os.seteuid(0)


def test_a_file_in_place_of_the_socket_is_told(patient: Patient) -> None:
    (patient.run_dir / "api.sock").touch()

    assert troubles(patient.examine()) == {"R4": FAIL, "D5": FAIL}


@pytest.mark.parametrize(
    ("is_system", "command"), [(True, "sudo systemctl restart"), (False, "device-auth run")]
)
def test_a_service_that_does_not_answer_is_started_again_as_it_was(
    patient: Patient, is_system: bool, command: str
) -> None:
    patient.is_system = is_system
    (patient.run_dir / "api.sock").touch()

    assert command in finding(patient, "D5").next_step


def test_without_a_service_nobody_needs_its_groups(patient: Patient) -> None:
    patient.groups.clear()
    patient.unit["LoadState"] = "not-found"

    assert finding(patient, "R5").verdict is Verdict.SKIPPED


# -- the link ---------------------------------------------------------------------------------------------


def tell(served: SocketWorld, state: StateWord, trouble: Trouble, hint: str = "") -> None:
    served.feed.tell(View(state, trouble, hint), make_link())


@pytest.mark.parametrize(
    ("trouble", "verdict", "exit_code"),
    [
        (Trouble.REVOKED, FAIL, 77),
        (Trouble.MISCONFIGURED, FAIL, 78),
        (Trouble.DENIED, WARN, 0),
        (Trouble.EXPIRED, WARN, 0),
    ],
)
def test_what_the_service_tells_of_the_link_is_told(
    patient: Patient, served: SocketWorld, trouble: Trouble, verdict: Verdict, exit_code: int
) -> None:
    tell(served, StateWord.UNLINKED, trouble, "do this")
    found = patient.examine()

    assert troubles(found) == {"L1": verdict}
    assert (found["L1"].finding.exit_code, found["L1"].finding.next_step) == (exit_code, "do this")


def test_a_copied_link_that_the_service_tells_of_is_told(patient: Patient, served: SocketWorld) -> None:
    tell(served, StateWord.UNLINKED, Trouble.COPIED, "do this")
    found = patient.examine()

    assert troubles(found) == {"L1": WARN, "L4": FAIL}
    assert found["L4"].finding.exit_code == 75


def test_a_copied_link_is_found_without_a_service(patient: Patient) -> None:
    assert finding(patient, "L4").sentence.startswith("The link bears no mark of a unit yet")

    patient.put("sys/firmware/devicetree/base/serial-number", "10000000abcdef01\0")
    with FileStore(patient.state, unit=patient.context().this_unit) as store:
        store.fill_in_marks()
    assert finding(patient, "L4").sentence == "The link was made on this speaker."

    patient.put("sys/firmware/devicetree/base/serial-number", "10000000abcdef02\0")
    found = finding(patient, "L4")
    assert (found.verdict, found.exit_code) == (FAIL, 75)
    assert "device-auth link --adopt" in found.next_step
    assert finding(patient, "L1").verdict is WARN


def test_a_speaker_without_a_link_is_a_warning(patient: Patient, served: SocketWorld) -> None:
    tell(served, StateWord.UNLINKED, Trouble.NONE)

    assert troubles(patient.examine()) == {"L1": WARN}


@pytest.mark.parametrize(
    ("mark", "expected"), [(Mark.REVOKED, FAIL), (Mark.MISCONFIGURED, FAIL), (Mark.HANDED_OVER, Verdict.OK)]
)
def test_without_a_service_the_stored_link_tells(patient: Patient, mark: Mark, expected: Verdict) -> None:
    with FileStore(patient.state) as store:
        store.replace(replace(make_link(), mark=mark, marked_at=UnixTime(1.8e9)))

    assert finding(patient, "L1").verdict is expected


def test_the_age_of_a_link_is_told(patient: Patient) -> None:
    assert finding(patient, "L1").sentence == "The speaker is linked to an account since today."

    patient.clock.set_by = 86_400.0
    assert finding(patient, "L1").sentence == "The speaker is linked to an account for 1 day."

    patient.clock.set_by = 10 * 86_400.0
    assert finding(patient, "L1").sentence == "The speaker is linked to an account for 10 days."


def test_a_damaged_store_tells_nothing_of_the_link(patient: Patient) -> None:
    for path in patient.state.iterdir():
        path.write_text("")

    assert finding(patient, "L1").verdict is Verdict.SKIPPED


def test_a_service_without_a_token_is_told(patient: Patient, served: SocketWorld) -> None:
    served.feed.withdraw()
    found = patient.examine()

    assert troubles(found) == {"L2": FAIL}
    assert found["L2"].finding.exit_code == 75


def test_no_token_is_promised_of_a_speaker_that_is_not_linked(patient: Patient) -> None:
    for path in patient.state.iterdir():
        path.unlink()

    assert finding(patient, "L2").verdict is Verdict.SKIPPED


def test_the_token_that_is_kept_is_told_with_its_time(patient: Patient) -> None:
    assert finding(patient, "L2").sentence.startswith("No access token is stored")

    patient.publish()
    found = finding(patient, "L2")
    assert found.sentence == "The access token is good for another 60 minutes."
    assert dict(found.facts)["seconds_left"] == "3600"
    assert "seconds_since_refresh" in dict(found.facts)


def test_no_token_is_missed_where_there_is_no_link(patient: Patient, served: SocketWorld) -> None:
    tell(served, StateWord.UNLINKED, Trouble.NONE)

    assert finding(patient, "L2").verdict is Verdict.SKIPPED


# -- the service ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "exit_code"),
    [(Trouble.NO_NETWORK, 69), (Trouble.CLOCK_NOT_SET, 69), (Trouble.STORAGE, 74), (Trouble.HARDWARE, 72)],
)
def test_what_troubles_the_service_is_told(
    patient: Patient, served: SocketWorld, trouble: Trouble, exit_code: int
) -> None:
    tell(served, StateWord.LINKED, trouble)
    found = patient.examine()

    assert troubles(found) == {"D7": FAIL}
    assert found["D7"].finding.exit_code == exit_code


def test_whose_account_it_is_is_told_as_the_service_knows_it(patient: Patient, served: SocketWorld) -> None:
    tell(served, StateWord.LINKED, Trouble.NONE)
    assert not dict(finding(patient, "L1").facts).keys() & {"account", "account_id"}

    view = View(StateWord.LINKED, Trouble.NONE, account="Anna", account_id="amzn1.account.ANNA")
    served.feed.tell(view, make_link())
    facts = dict(finding(patient, "L1").facts)
    assert (facts["account"], facts["account_id"]) == ("Anna", "amzn1.account.ANNA")


def test_a_refusal_that_is_checked_is_told_as_such(patient: Patient, served: SocketWorld) -> None:
    served.feed.tell(
        View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE, "Wait a moment.", is_checking=True), make_link()
    )

    assert CHECKING.sentence in finding(patient, "D7").sentence


@as_root
@pytest.mark.parametrize(
    ("kind", "name", "code"), [("StateDirectory", "state", "S1"), ("RuntimeDirectory", "run", "R1")]
)
def test_what_systemd_gives_to_the_service_at_its_start_is_no_trouble_before(
    open_patient: Patient, kind: str, name: str, code: str
) -> None:
    open_patient.unit |= {"User": "nobody", "ActiveState": "failed", kind: name}
    found = open_patient.examine()

    assert found[code].finding.verdict is Verdict.OK
    assert "when the service starts" in found[code].finding.sentence
    assert code.replace("1", "2") not in troubles(found)

    open_patient.unit["ActiveState"] = "active"
    assert troubles(open_patient.examine())[code] is FAIL


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (
            {"ExecMainCode": "1", "ExecMainStatus": "216"},
            "216/GROUP, a group that the unit or a drop-in names",
        ),
        ({"ExecMainCode": "1", "ExecMainStatus": "226"}, "226/NAMESPACE, its view of the file system"),
        ({"ExecMainCode": "1", "ExecMainStatus": "78"}, "exit status 78, a setting is wrong"),
        ({"ExecMainCode": "2", "ExecMainStatus": "9", "Result": "signal"}, "ended by signal 9 (SIGKILL)"),
        ({"ExecMainCode": "3", "ExecMainStatus": "6", "Result": "watchdog"}, "the watchdog ended it"),
    ],
)
def test_why_the_service_failed_is_told_in_words(patient: Patient, unit: dict[str, str], words: str) -> None:
    patient.unit |= {"ActiveState": "failed", "Result": "exit-code", **unit}
    found = finding(patient, "D2")

    assert words in found.sentence
    assert found.next_step


def test_a_process_that_a_signal_stopped_is_named(patient: Patient) -> None:
    patient.put("proc/77/stat", "77 (device-auth) T 1 77 77 0")
    patient.put("proc/77/comm", "device-auth\n")
    patient.unit["MainPID"] = "77"
    (patient.run_dir / "api.sock").touch()
    found = finding(patient, "D5")

    assert "process 77 (device-auth), which is stopped by a signal" in found.sentence
    assert "sudo kill -CONT 77" in found.next_step


@pytest.mark.parametrize(
    ("state", "sentence", "next_step"),
    [
        ("S", "does not answer; it is process {} (own-service).", "End it, and start it again"),
        (
            "T",
            "does not answer; it is process {} (own-service), which is stopped by a signal.",
            "kill -CONT {}",
        ),
    ],
)
def test_without_systemd_the_process_that_listens_is_named(
    patient: Patient, state: str, sentence: str, next_step: str
) -> None:
    pid = os.getpid()
    patient.unit.clear()
    patient.put(f"proc/{pid}/stat", f"{pid} (own-service) {state} 1 1 1 0")
    patient.put(f"proc/{pid}/comm", "own-service\n")
    with listening(patient.run_dir / "api.sock", "silent"):
        found = finding(patient, "D5")

    assert sentence.format(pid) in found.sentence
    assert next_step.format(pid) in found.next_step


def test_a_read_only_root_is_a_reason_why_the_service_does_not_start(patient: Patient) -> None:
    text = (patient.root / "proc/self/mountinfo").read_text()
    (patient.root / "proc/self/mountinfo").write_text(text.replace("rw,noatime", "ro,noatime"))
    assert finding(patient, "D10").verdict is Verdict.OK

    patient.unit["ActiveState"] = "failed"
    assert finding(patient, "D10").verdict is WARN

    patient.unit["DropInPaths"] = "/etc/systemd/system/device-auth.service.d/read-only-root.conf"
    assert finding(patient, "D10").verdict is Verdict.OK


def test_the_files_of_a_package_as_it_brought_them_are_well(patient: Patient) -> None:
    install_package(patient, "its text")

    assert finding(patient, "D11").sentence == "The 2 files of the package are as it brought them."


def test_a_socket_that_is_stopped_with_the_service_is_no_trouble_of_its_own(patient: Patient) -> None:
    patient.unit["ActiveState"] = patient.socket_unit["ActiveState"] = "inactive"

    assert troubles(patient.examine()) == {"D2": FAIL}


def test_a_service_that_is_down_comes_before_what_follows_from_that(patient: Patient) -> None:
    (patient.state / "link.json").chmod(0o644)
    with patient.served():
        found = causes_first(list(patient.examine().values()))
    assert found[0].check.code == "S1"

    patient.unit["ActiveState"] = "failed"
    found = causes_first(list(patient.examine().values()))
    assert [each.check.code for each in found][:4] == ["D1", "D2", "D3", "D4"]
    assert exit_code_of(found) == 69


def test_without_systemd_nothing_is_said_of_a_unit(patient: Patient) -> None:
    patient.unit.clear()

    assert finding(patient, "D1").sentence == "systemd does not answer here."


def test_a_unit_that_is_not_installed_is_no_trouble(patient: Patient) -> None:
    patient.unit["LoadState"] = "not-found"

    assert finding(patient, "D1").verdict is Verdict.SKIPPED


def test_of_a_users_own_speaker_no_unit_is_looked_for(patient: Patient) -> None:
    patient.is_system = False
    found = patient.examine()

    assert found["D1"].finding.verdict is found["D5"].finding.verdict is Verdict.SKIPPED
    assert troubles(found) == {}


def test_a_service_without_a_socket_is_told(patient: Patient) -> None:
    assert troubles(patient.examine()) == {"D5": FAIL}


def test_a_service_of_another_version_is_told(patient: Patient) -> None:
    with answering(patient, version="0.0.9"):
        found = patient.examine()

    assert troubles(found) == {"D6": WARN}
    assert "0.0.9" in found["D6"].finding.sentence


def test_words_of_a_newer_service_are_no_bug(patient: Patient) -> None:
    with answering(patient, state="dreaming", trouble="nightmare"):
        found = patient.examine()

    assert found["L1"].finding.verdict is found["D7"].finding.verdict is Verdict.SKIPPED


def test_a_service_that_does_not_answer_this_user_is_no_trouble(patient: Patient) -> None:
    with answering(patient, http=403):
        found = patient.examine()

    assert found["D5"].finding.verdict is Verdict.SKIPPED
    assert "not for you" in found["D5"].finding.sentence


def test_a_link_that_was_handed_over_is_said_to_be_so(patient: Patient) -> None:
    with answering(patient, state="unlinked", handed_over={"to": "AVS SDK", "at": None}):
        found = patient.examine()

    assert (
        found["L1"].finding.sentence == "The link was handed over to AVS SDK; this program does not use it."
    )


@pytest.mark.usefixtures("served")
def test_the_programs_that_are_connected_are_named(patient: Patient) -> None:
    socket = patient.run_dir / "api.sock"
    patient.said["ss"] = ProgramResult(
        0,
        f'u_str ESTAB 0 0 {socket} 101 * 102 users:(("device-auth",pid=7,fd=5))\n'
        'u_str ESTAB 0 0 * 102 * 101 users:(("avs-client",pid=8,fd=3))\n'
        'u_str ESTAB 0 0 * 202 * 201 users:(("stranger",pid=9,fd=3))\n'
        f"u_str ESTAB 0 0 {socket} 103 * 104\n"
        "u_str ESTAB 0 0 * 104 * 103\n"
        "odd\n",
    )
    assert finding(patient, "D8").sentence == "These programs are connected to the service: avs-client (8)."

    del patient.said["ss"]
    assert finding(patient, "D8").verdict is Verdict.SKIPPED


@pytest.mark.skipif(shutil.which("ss") is None, reason="asks ss")
@pytest.mark.usefixtures("served")
def test_a_program_that_is_really_connected_is_found_by_its_number(patient: Patient) -> None:
    patient.run = run_program
    socket = patient.run_dir / "api.sock"
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(socket)!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        client.stdout.readline()
        found = check_readers(patient.context())
        client.kill()

    assert f"({client.pid})" in dict(found.facts)["readers"]
