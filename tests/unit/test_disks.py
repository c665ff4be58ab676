"""Where a folder lies, and whether a power cut empties it: by what the kernel reports of mounts and of block devices."""

from pathlib import Path
from typing import Final

import pytest

from device_auth.world.disks import doubt_about, mount_of, open_swaps

CARD: Final = "22 1 179:2 / / rw,noatime - ext4 /dev/mmcblk0p2 rw"


class Machine:
    """The files of a machine by which its kernel reports disks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def mounts(self, *lines: str) -> None:
        path = self.root / "proc/self/mountinfo"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    def device(self, number: str, name: str, *, on: str = "", file: str = "", part_of: str = "") -> None:
        """Add a block device: one that lies on another, one whose content is a file, or a partition."""
        folder = self.root / "sys/devices" / part_of / name
        folder.mkdir(parents=True)
        if part_of:
            (folder / "partition").write_text("1\n")
        for place in (self.root / "sys/dev/block" / number, self.root / "sys/class/block" / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(folder)
        if on:
            (folder / "slaves").mkdir()
            (folder / "slaves" / on).symlink_to(self.root / "sys/devices" / on)
        if file:
            (folder / "loop").mkdir()
            (folder / "loop/backing_file").write_text(f"{file}\n")

    def file(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def folder(self, name: str) -> None:
        (self.root / name.lstrip("/")).mkdir(parents=True)

    def lasts(self, path: str) -> bool | None:
        """Return whether what is stored there outlasts a power cut; None if that is in doubt."""
        doubt = doubt_about(Path(path), self.root)
        if doubt is None:
            return True
        assert doubt.sentence.startswith(f"{path} is ")
        assert doubt.sentence.endswith(".")
        assert doubt.hint.endswith(".")
        return False if doubt.is_certain else None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path.resolve())


def test_a_card_keeps_what_is_stored(machine: Machine) -> None:
    machine.mounts(CARD)
    machine.device("179:2", "mmcblk0p2", part_of="mmcblk0")

    assert machine.lasts("/var/lib/device-auth") is True


def test_a_kernel_that_reports_nothing_is_no_reason_for_a_doubt(machine: Machine) -> None:
    assert mount_of(Path("/var/lib"), machine.root) is None
    assert machine.lasts("/var/lib") is True


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "rootfs", "devtmpfs"])
def test_a_file_system_in_memory_keeps_nothing(machine: Machine, kind: str) -> None:
    machine.mounts(CARD, f"31 22 0:9 / /var rw - {kind} none rw")

    assert machine.lasts("/var/lib/device-auth") is False
    assert machine.lasts("/srv") is True


@pytest.mark.parametrize(
    "lines",
    [
        ("31 22 0:9 / /var rw - tmpfs none rw", "32 31 179:3 / /var/lib rw - ext4 /dev/mmcblk0p3 rw"),
        ("32 31 179:3 / /var/lib rw - ext4 /dev/mmcblk0p3 rw", "31 22 0:9 / /var rw - tmpfs none rw"),
        ("31 22 0:9 / /var/lib rw - tmpfs none rw", "32 31 179:3 / /var/lib rw - ext4 /dev/mmcblk0p3 rw"),
        ("31 22 0:9 / /var/lib rw - tmpfs none rw", "32 22 179:3 / /var rw - ext4 /dev/mmcblk0p3 rw"),
    ],
    ids=["below it", "in another order", "over it", "over what is above it"],
)
def test_the_disk_that_is_mounted_over_memory_counts(machine: Machine, lines: tuple[str, ...]) -> None:
    machine.mounts(CARD, *lines)

    assert machine.lasts("/var/lib/device-auth") is True


def test_links_that_lead_in_a_circle_lie_where_they_are(machine: Machine, tmp_path: Path) -> None:
    machine.mounts(CARD)
    circle = tmp_path / "circle"
    circle.symlink_to(circle)

    assert mount_of(circle / "state", machine.root) is not None


def test_names_are_read_as_they_are(machine: Machine) -> None:
    machine.mounts(
        CARD, "odd", "31 22 0:9 / /a\\040b\\134c/ü rw - tmpfs none rw", "32 22 0:9 / /short - tmpfs x"
    )

    assert machine.lasts("/a b\\c/ü/state") is False
    assert machine.lasts("/short") is True


# -- overlays


def overlay(upper: str, *more: str) -> str:
    options = ",".join(("rw", "lowerdir=/ro", f"upperdir={upper}" if upper else "xino=off", *more))
    return f"22 1 0:20 / / rw - overlay overlayroot {options}"


def test_the_overlay_of_raspberry_pi_os_keeps_nothing(machine: Machine) -> None:
    machine.mounts(
        overlay("/media/root-rw/overlay", "workdir=/media/root-rw/overlay-workdir/_"),
        "23 22 179:2 / /media/root-ro ro - ext4 /dev/mmcblk0p2 ro",
        "24 22 0:19 / /media/root-rw rw - tmpfs tmpfs-root rw",
    )
    machine.folder("/media/root-rw/overlay")

    assert machine.lasts("/var/lib/device-auth") is False
    assert mount_of(Path("/media/root-ro/x"), machine.root) is not None
    assert machine.lasts("/media/root-ro/x") is True


def test_an_overlay_that_writes_to_a_card_keeps_what_is_stored(machine: Machine) -> None:
    machine.mounts(
        overlay("/data/a,b/upper".replace(",", "\\054")), "24 22 179:3 / /data rw - ext4 /dev/mmcblk0p3 rw"
    )
    machine.folder("/data/a,b/upper")

    assert machine.lasts("/var/lib/device-auth") is True


@pytest.mark.parametrize(
    "line",
    [
        overlay("/upper/data"),
        overlay("/there"),
        overlay(""),
        overlay("/data", "volatile"),
        "22 1 0:20 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0",
        "22 1 0:20 / / rw - aufs none rw,si=3",
    ],
    ids=["of before the start", "below itself", "read-only", "that syncs nothing", "of a container", "aufs"],
)
def test_an_overlay_whose_folder_is_not_to_be_seen_is_in_doubt(machine: Machine, line: str) -> None:
    machine.mounts(line, "24 22 179:3 / /data rw - ext4 /dev/mmcblk0p3 rw")
    machine.folder("/there")
    machine.folder("/data")

    assert machine.lasts("/var/lib/device-auth") is None


def test_two_overlays_on_each_other_are_in_doubt(machine: Machine) -> None:
    machine.mounts(overlay("/b/u"), "23 22 0:21 / /b rw - overlay o rw,upperdir=/a")
    machine.folder("/b/u")
    machine.folder("/a")

    assert machine.lasts("/var") is None


# -- block devices


def test_a_disk_in_memory_keeps_nothing(machine: Machine) -> None:
    machine.mounts(
        CARD, "31 22 254:0 / /var rw - ext4 /dev/zram0 rw", "32 22 1:0 / /srv rw - ext4 /dev/ram0 rw"
    )
    machine.device("254:0", "zram0")
    machine.device("1:0", "ram0")

    assert machine.lasts("/var/lib") is False
    assert machine.lasts("/srv") is False


def test_a_sealed_disk_is_where_its_content_is(machine: Machine) -> None:
    machine.mounts(
        CARD,
        "31 22 253:0 / /var rw - ext4 /dev/mapper/a rw",
        "32 22 253:1 / /srv rw - ext4 /dev/mapper/b rw",
    )
    machine.device("254:0", "zram0")
    machine.device("179:2", "mmcblk0")
    machine.device("253:0", "dm-0", on="zram0")
    machine.device("253:1", "dm-1", on="mmcblk0")

    assert machine.lasts("/var/lib") is False
    assert machine.lasts("/srv") is True


def test_a_disk_in_a_file_is_where_the_file_is(machine: Machine) -> None:
    machine.mounts(
        CARD,
        "30 22 0:9 / /run rw - tmpfs none rw",
        "31 22 7:0 / /var rw - ext4 /dev/loop0 rw",
        "32 22 259:0 / /srv rw - ext4 /dev/loop1p1 rw",
        "33 22 7:2 / /opt rw - ext4 /dev/loop2 rw",
    )
    machine.device("7:0", "loop0", file="/run/disk")
    machine.device("7:1", "loop1", file="/run/disk (deleted)")
    machine.device("259:0", "loop1p1", part_of="loop1")
    machine.device("7:2", "loop2", file="/home/disk")

    assert [machine.lasts(path) for path in ("/var/lib", "/srv", "/opt")] == [False, False, True]


def test_a_disk_in_a_file_on_itself_is_no_endless_loop(machine: Machine) -> None:
    machine.mounts("22 1 7:0 / / rw - ext4 /dev/loop0 rw")
    machine.device("7:0", "loop0", file="/disk")

    assert machine.lasts("/var/lib") is True


@pytest.mark.parametrize(("name", "lasts"), [("zram0", False), ("mmcblk0p2", True), ("gone", True)])
def test_a_file_system_without_a_number_of_its_own_is_looked_up_by_name(
    machine: Machine, name: str, lasts: bool
) -> None:
    machine.mounts(f"22 1 0:26 /@ / rw - btrfs /dev/{name} rw,subvol=/@")
    machine.device("254:0", "zram0")
    machine.device("179:2", "mmcblk0p2")

    assert machine.lasts("/var/lib") is lasts


def test_another_machines_disk_keeps_what_is_stored(machine: Machine) -> None:
    machine.mounts(CARD, "31 22 0:50 / /home rw - nfs4 server:/home rw,addr=192.0.2.1")

    assert machine.lasts("/home/pi") is True


# -- what memory is swapped out to


def swap(machine: Machine, *names: str) -> list[str]:
    lines = ["Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"]
    lines += [f"{name} {'partition' if name.startswith('/dev/') else 'file'} 102396 0 -2" for name in names]
    (machine.root / "proc/swaps").write_text("".join(f"{line}\n" for line in lines))
    return open_swaps(machine.root)


@pytest.fixture
def swapping(machine: Machine) -> Machine:
    machine.mounts(
        CARD,
        "31 22 253:1 / /home rw - ext4 /dev/mapper/home rw",
        "32 22 0:9 / /run rw - tmpfs x rw",
        "33 22 0:6 / /dev rw - devtmpfs x rw",
    )
    machine.device("179:2", "mmcblk0p2", part_of="mmcblk0")
    machine.device("179:3", "mmcblk0p3", part_of="mmcblk0")
    for number, name, uuid in (
        ("253:0", "dm-0", "CRYPT-PLAIN-swap"),
        ("253:1", "dm-1", "CRYPT-LUKS2-1-home"),
    ):
        machine.device(number, name, on="mmcblk0")
        machine.file(f"sys/devices/{name}/dm/uuid", uuid)
    machine.device("253:2", "dm-2", on="dm-0")
    machine.device("253:3", "dm-3", on="mmcblk0")
    machine.file("sys/devices/dm-3/dm/uuid", "LVM-1")
    machine.device("254:0", "zram0")
    machine.device("254:1", "zram1")
    machine.file("sys/devices/zram1/backing_dev", "none")
    machine.device("254:2", "zram2")
    machine.file("sys/devices/zram2/backing_dev", "/dev/loop0")
    machine.device("7:0", "loop0", file="/var/swap")
    machine.device("7:1", "loop1", file="/home/swap")
    machine.device("7:2", "loop2", file="/run/swap")
    machine.folder("dev/mapper")
    (machine.root / "dev/mapper/swap").symlink_to("../dm-0")
    return machine


@pytest.mark.parametrize(
    "name",
    [
        *("/dev/zram0", "/dev/zram1", "/dev/dm-0", "/dev/mapper/swap", "/dev/dm-2", "/home/swap"),
        *("/dev/loop1", "/dev/loop2"),
    ],
)
def test_swap_in_memory_or_under_a_key_is_closed(swapping: Machine, name: str) -> None:
    assert swap(swapping, name) == []


@pytest.mark.parametrize(
    "name",
    [
        *("/var/swap", "/var/zram0", "/a b/swap"),
        *("/dev/mmcblk0p3", "/dev/dm-3", "/dev/zram2", "/dev/loop0", "/dev/sda7"),
    ],
)
def test_swap_on_the_card_is_open(swapping: Machine, name: str) -> None:
    assert swap(swapping, "/dev/zram0", name.replace(" ", "\\040")) == [name]


def test_a_swap_file_that_was_removed_is_open_all_the_same(swapping: Machine) -> None:
    assert swap(swapping, "/var/swap\\040(deleted)") == ["/var/swap"]


def test_without_swap_nothing_is_open(machine: Machine) -> None:
    assert open_swaps(machine.root) == []
    machine.mounts()
    assert swap(machine) == []
    assert swap(machine, "/swap") == ["/swap"]
