"""What the doctor says of real file systems; run as root in a mount namespace of its own: ``unshare --mount``.

Prints one JSON object: for each disk the findings that are no good news, by code.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from device_auth.doctor import runtime, storage
from device_auth.doctor.check_run import examine
from device_auth.doctor.context import DoctorContext
from device_auth.world.clock import BootClock
from device_auth.world.disks import doubt_about
from device_auth.world.places import ROOT, Places
from device_auth.world.settings import SettingsFiles
from device_auth.world.store import FileStore
from tests.links import make_link
from tests.patient import DISKS


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def findings(
    state: Path, runtime_dir: Path | None = None, root: Path = ROOT
) -> dict[str, tuple[str, int, str]]:
    clock = BootClock()
    context = DoctorContext(
        Places(state, runtime_dir, SettingsFiles(), state), clock, is_system=False, root=root
    )
    checks = storage.checks(context) if runtime_dir is None else runtime.checks(context)
    return {
        each.check.code: (each.finding.verdict, each.finding.exit_code, each.finding.sentence)
        for each in examine(checks, clock)
    }


def mounted(path: Path, *words: str) -> bool:
    """Mount over a new folder; return whether this kernel and this machine's disk can do that."""
    path.mkdir()
    return subprocess.run(["mount", *words, str(path)], check=False, capture_output=True).returncode == 0


def doubts(folder: Path) -> dict[str, bool | None]:
    """Return for each way into memory, or onto the disk, whether what is stored there lasts; None where that is in doubt."""
    ways = {"folder of disk": folder / "disk", "folder of memory": folder / "memory" / "not" / "there"}
    for place in ("disk", "memory", "hidden"):
        source = folder / place
        source.mkdir()
        if place != "disk":
            mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(source))
        for name in ("bound", "upper", "work"):
            (source / name).mkdir()
        ways[f"link to {place}"] = link = folder / f"link-{place}"
        link.symlink_to(source)
        if mounted(bound := folder / f"bound-{place}", "--bind", f"{source}/bound"):
            ways[f"bound to {place}"] = bound
        options = f"lowerdir={folder}/disk,upperdir={source}/upper,workdir={source}/work"
        if mounted(overlay := folder / f"overlay-{place}", "-t", "overlay", "-o", options, "overlay"):
            ways[f"overlay in {place}"] = overlay
        image = source / "image"
        image.touch()
        os.truncate(image, 4 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=False, capture_output=True)
        if mounted(loop := folder / f"loop-{place}", "-o", "loop", str(image)):
            ways[f"file in {place}"] = loop
    mount("--bind", f"{folder}/disk", f"{folder}/hidden")
    found: dict[str, bool | None] = {}
    for name, path in ways.items():
        doubt = doubt_about(path)
        found[name] = True if doubt is None else False if doubt.is_certain else None
    return found


def without_modes(folder: Path) -> dict[str, tuple[str, int, str]]:
    """Return the findings on a disk that answers that it changes modes, and does not; none where bindfs is not installed."""
    below, above = folder / "modes", folder / "no modes"
    for path in (below, above):
        path.mkdir(mode=0o700)
    words = ["bindfs", "-o", "chmod-ignore,perms=0755", str(below), str(above)]
    if shutil.which(words[0]) is None or subprocess.run(words, check=False, capture_output=True).returncode:
        return {}
    found = findings(above)
    subprocess.run(["umount", str(above)], check=True)
    return found


def main(folder: Path) -> None:
    disks = {name: folder / name for name in ("memory", "full", "nodes", "read-only")}
    found_without_modes = without_modes(folder)
    for path in disks.values():
        path.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(disks["memory"]))
    mount("-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", str(disks["full"]))
    mount("-t", "tmpfs", "-o", "nr_inodes=5,mode=700", "tmpfs", str(disks["nodes"]))
    for path in disks.values():
        with FileStore(path) as store:
            store.replace(make_link())
    (disks["full"] / "rubbish").write_bytes(os.urandom(96 * 1024))
    (disks["nodes"] / "rubbish").touch()
    mount("--bind", str(disks["read-only"]), str(disks["read-only"]))
    mount("-o", "remount,bind,ro", str(disks["read-only"]))
    # What lies below the read-only folder may itself be memory: there the kernel's word is replaced.
    card = folder / "card"
    (card / "proc/self").mkdir(parents=True)
    (card / "proc/self/mountinfo").write_text(DISKS)
    found = {name: findings(path, root=card if name == "read-only" else ROOT) for name, path in disks.items()}
    (disks["full"] / "more").write_bytes(os.urandom(16 * 1024))
    found["full runtime"] = findings(disks["read-only"], disks["full"])
    found["without modes"] = found_without_modes
    found["unmakeable"] = findings(disks["read-only"] / "below" / "state")
    mount("-o", "remount,bind,rw", str(disks["read-only"]))
    (folder / "doubts").mkdir()
    print(json.dumps({"findings": found, "doubts": doubts(folder / "doubts")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
