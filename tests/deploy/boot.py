"""Debian booted in a virtual machine, with scripts run there as root: ``python -m tests.deploy.boot``; needs root.

Each file of ``tests/deploy/guest`` is one script with a machine of its own; tests/deploy/README.md says how one is written.
A script has passed when each of its boots ended with exit status 0, each check that stands in it was seen to pass,
and none failed: what is missing is a failure.
"""

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

from tests.deploy.packing import HERE, ROOT, Change, clone_to, in_tree, of_version, repack

GUEST: Final = HERE / "guest"
SUITES: Final = {"bookworm": "deb12", "trixie": "deb13"}
"""Each with the mark of its packages."""
LIMIT: Final = 580
"""Seconds that one boot may last, on a busy host too; a script may ask for more."""

_QEMU: Final = "-accel tcg,thread=multi -nodefaults -display none -no-reboot"
_WORDS: Final = "loglevel=4 panic=-1 systemd.getty_auto=no"
_ENDS_WITH_US: Final = "setpriv --pdeathsig KILL unshare --pid --fork --kill-child"
"""Whatever ends this program, be it SIGKILL, ends what is started by this, and all that it has started: no prefix hides a machine."""
_CHECK: Final = re.compile(r"^\s*(?:check|same) ([^\s#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    """A kind of virtual machine.

    Attributes:
        architecture: of Debian.
        qemu: its command; in braces: the folder of a run.
        words: for its kernel.
        report: the device of the second serial port.
    """

    architecture: str
    qemu: str
    words: str
    report: str


_VIRTIO: Final = " ".join(
    f"-drive file={{run}}/{name},format=raw,if=virtio,cache=unsafe"
    for name in ("root.ext4", "second", "given.ext4")
)
MACHINES: Final = {
    "pc": Machine(
        architecture="amd64",
        qemu=f"qemu-system-x86_64 -cpu Nehalem -smp 2 -m 768M {_VIRTIO} -device virtio-rng-pci"
        " -chardev null,id=parallel -device isa-parallel,chardev=parallel"
        " -serial file:{run}/console -serial file:{run}/report",
        # Beside busy cores the kernel's check of its timer sees no tick, and the kernel hangs there.
        words="console=ttyS0 no_timer_check",
        report="/dev/ttyS1",
    ),
    "virt": Machine(
        architecture="arm64",
        qemu=f"qemu-system-aarch64 -M virt -cpu cortex-a53 -smp 2 -m 768M {_VIRTIO} -device virtio-rng-pci"
        " -device virtio-keyboard-pci -serial file:{run}/console"
        " -chardev file,id=report,path={run}/report -device pci-serial,chardev=report",
        words="console=ttyAMA0",
        report="/dev/ttyS0",
    ),
}


MOST_PANICS: Final = 3
"""Boots in a row that may end so: emulated processors can lose a race with a kernel that writes to its own code as it starts."""

_PANIC: Final = "Kernel panic - not syncing"


@dataclass(frozen=True)
class Script:
    """A guest script, as its first lines describe it.

    Attributes:
        boots: words for the kernel's command line, one text a boot.
        suites: where it is run.
        machines: the kinds of machine where it is run.
        limit: seconds that each boot may last.
        checks: a pattern for the name of each check in it; a shell variable in a name stands for anything.
    """

    name: str
    boots: tuple[str, ...]
    suites: tuple[str, ...]
    machines: tuple[str, ...]
    limit: int
    checks: tuple[str, ...]


def read_script(path: Path) -> Script:
    """Read what a guest script says of itself."""
    text = path.read_text()
    said = {
        word: re.findall(rf"^# {word}:(.*)$", text, re.MULTILINE)
        for word in ("boot", "suites", "machines", "limit")
    }
    names = dict.fromkeys(name.strip("\"'") for name in _CHECK.findall(text))
    return Script(
        name=path.stem,
        boots=tuple(boot.strip() for boot in said["boot"]) or ("rw",),
        suites=tuple(said["suites"][0].split()) if said["suites"] else tuple(SUITES),
        machines=tuple(said["machines"][0].split()) if said["machines"] else ("pc",),
        limit=int(said["limit"][0]) if said["limit"] else LIMIT,
        checks=tuple(re.sub(r"\\\$(?:\\\{\w+\\\}|\w+)", ".+", re.escape(name)) for name in names),
    )


def problems_of(script: Script, reports: list[str]) -> list[str]:
    """Return what is wrong with a script's reports, one report a boot; nothing if it has passed."""
    problems = [line for report in reports for line in report.splitlines() if line.startswith("FAILED ")]
    for number, report in enumerate(reports, start=1):
        status = re.search(r"^exit status: (\d+)$", report, re.MULTILINE)
        if status is None:
            problems.append(f"boot {number} gave no exit status")
        elif status[1] != "0":
            problems.append(f"boot {number} ended with exit status {status[1]}")
    passed = re.findall(r"^ok (\S+)$", "\n".join(reports), re.MULTILINE)
    missing = [check for check in script.checks if not any(re.fullmatch(check, name) for name in passed)]
    problems += [f"no line says: ok {check}" for check in missing]
    if not passed:
        problems.append("nothing was checked")
    return problems


def lay_out(given: Path, suite: str, architecture: str, change: Change | None = None) -> None:
    """Put what the machine is given into a folder: the clone, the suite's package, changed or not, and the same as an older version."""
    clone_to(given / "repository", mask=0o022)
    # The simulated Amazon is started at each boot: compiled here, by the suite's Python, it takes a tenth of the time.
    modules = [f"repository/{name}" for name in ("device_auth", "hardware")]
    command = ("python3", "-m", "compileall", "-q", *modules)
    compiled = in_tree(suite, "machine", given, *command, architecture=architecture)
    assert compiled.returncode == 0, compiled.stdout
    for name in ("debs", "older"):
        (given / name).mkdir()
    for built in (ROOT / "dist").glob(f"device-auth*~{SUITES[suite]}u*_all.deb"):
        if change is None:
            shutil.copy2(built, given / "debs")
        else:
            repack(built, given / "debs", change)
        repack(given / "debs" / built.name, given / "older", of_version("0.0.9"))


def _make_disk(folder: Path, disk: Path) -> None:
    """Make a disk that holds a folder; a share over the network of the machine is far slower."""
    kilobytes = int(
        subprocess.run(["du", "-sk", folder], check=True, capture_output=True, text=True).stdout.split()[0]
    )
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(disk), f"{kilobytes * 5 // 4 + 32768}k"]
    subprocess.run(command, check=True, capture_output=True)


def boot(machine: Machine, made: Path, run: Path, *, words: str, limit: int, prefix: list[str]) -> str:
    """Boot a machine once with what was made for it, on the disks of a run; return what it reported."""
    (run / "report").unlink(missing_ok=True)
    command = [
        *_ENDS_WITH_US.split(),
        *prefix,
        *("timeout", "--kill-after=10", str(limit)),
        *machine.qemu.format(run=run).split(),
        *_QEMU.split(),
        *("-kernel", f"{made}/vmlinuz", "-initrd", f"{made}/initrd"),
        *("-append", f"{machine.words} {_WORDS} test.report={machine.report} {words}"),
    ]
    boots = 0
    while True:
        boots += 1
        ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
        report, console = _text_of(run / "report"), _text_of(run / "console")
        if report or _PANIC not in console or boots == MOST_PANICS:
            break
        print("the kernel panicked before anything of ours ran; booted once more", flush=True)
    if ended.returncode or "exit status: " not in report:
        print(
            f"the machine ended with status {ended.returncode}; its console:",
            *console.splitlines()[-40:],
            sep="\n",
        )
    return report


def _text_of(path: Path) -> str:
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""


def run_script(
    script: Script, suite: str, machine: Machine, prefix: list[str], change: Change | None = None
) -> list[str]:
    """Run a guest script in a fresh machine of a suite, with the package as it is or changed; return what is wrong."""
    made = Path(
        subprocess.run(
            [HERE / "machine", suite, machine.architecture], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
    )
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        run.chmod(0o755)
        lay_out(run / "given", suite, machine.architecture, change)
        if (more := HERE / "given" / script.name).exists():
            subprocess.run([more, suite, machine.architecture, run / "given"], check=True)
        _make_disk(run / "given", run / "given.ext4")
        subprocess.run(["cp", "--sparse=always", made / "root.ext4", run], check=True)
        # Not made in the machine: trixie has no mkfs.ext4 unless somebody wants it.
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", run / "second", "512M"], check=True, capture_output=True
        )
        for number, words in enumerate(script.boots, start=1):
            began = time.monotonic()
            told = f"{words} test.script={script.name} test.boot={number} test.suite={suite}"
            reports.append(boot(machine, made, run, words=told, limit=script.limit, prefix=prefix))
            print(f"--- {script.name}, {suite}, boot {number}: {time.monotonic() - began:.0f} s")
            print(reports[-1], flush=True)
    return problems_of(script, reports)


def main() -> int:
    """Run the scripts that are named, or all; 1 if any has not passed."""
    scripts = {path.stem: read_script(path) for path in sorted(GUEST.glob("*.sh")) if path.stem != "lib"}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", choices=[*scripts, []], help="default: all")
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated; default: all")
    parser.add_argument("--arch", default="amd64", choices=("amd64", "arm64"))
    parser.add_argument("--prefix", default="", help="what each virtual machine is started by, such as nice")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the disks of a run are removed

    wrong = 0
    for suite, name in product(chosen.suite or SUITES, chosen.scripts or scripts):
        for kind in scripts[name].machines:
            if suite not in scripts[name].suites or MACHINES[kind].architecture != chosen.arch:
                continue
            problems = run_script(scripts[name], suite, MACHINES[kind], shlex.split(chosen.prefix))
            told = f"{'FAILED' if problems else 'passed'}: {name}, {suite}, {kind}"
            print(told, *problems, sep="\n    ", flush=True)
            wrong += bool(problems)
    print("test-deploy:", f"{wrong} failed" if wrong else "all passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
