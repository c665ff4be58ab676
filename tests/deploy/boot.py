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
from pathlib import Path
from typing import Final

from tests.deploy.packing import HERE, ROOT, clone_to, in_tree, of_version, repack

GUEST: Final = HERE / "guest"
SUITES: Final = {"bookworm": "deb12", "trixie": "deb13"}
"""Each with the mark of its packages."""
LIMIT: Final = 580
"""Seconds that one boot may last, on a busy host too; a script may ask for more."""

_QEMU: Final = "qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem -smp 2 -m 768M -nodefaults -display none -no-reboot"
_ENDS_WITH_US: Final = "setpriv --pdeathsig KILL unshare --pid --fork --kill-child"
"""Whatever ends this program, be it SIGKILL, ends what is started by this, and all that it has started: no prefix hides a machine."""
_CHECK: Final = re.compile(r"^\s*(?:check|same) ([^\s#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A guest script, as its first lines describe it.

    Attributes:
        boots: words for the kernel's command line, one text a boot.
        suites: where it is run.
        limit: seconds that each boot may last.
        checks: a pattern for the name of each check in it; a shell variable in a name stands for anything.
    """

    name: str
    boots: tuple[str, ...]
    suites: tuple[str, ...]
    limit: int
    checks: tuple[str, ...]


def read_script(path: Path) -> Script:
    """Read what a guest script says of itself."""
    text = path.read_text()
    said = {word: re.findall(rf"^# {word}:(.*)$", text, re.MULTILINE) for word in ("boot", "suites", "limit")}
    names = dict.fromkeys(name.strip("\"'") for name in _CHECK.findall(text))
    return Script(
        name=path.stem,
        boots=tuple(boot.strip() for boot in said["boot"]) or ("rw",),
        suites=tuple(said["suites"][0].split()) if said["suites"] else tuple(SUITES),
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


def lay_out(given: Path, suite: str) -> None:
    """Put what the machine is given into a folder: the clone, the suite's package, and the same as an older version."""
    clone_to(given / "repository", mask=0o022)
    # The simulated Amazon is started at each boot: compiled here, by the suite's Python, it takes a tenth of the time.
    modules = [f"repository/{name}" for name in ("device_auth", "hardware")]
    compiled = in_tree(suite, "machine", given, "python3", "-m", "compileall", "-q", *modules)
    assert compiled.returncode == 0, compiled.stdout
    for name in ("debs", "older"):
        (given / name).mkdir()
    for built in (ROOT / "dist").glob(f"device-auth*~{SUITES[suite]}u*_all.deb"):
        shutil.copy2(built, given / "debs")
        repack(built, given / "older", of_version("0.0.9"))


def _make_disk(folder: Path, disk: Path) -> None:
    """Make a disk that holds a folder; a share over the network of the machine is far slower."""
    kilobytes = int(
        subprocess.run(["du", "-sk", folder], check=True, capture_output=True, text=True).stdout.split()[0]
    )
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(disk), f"{kilobytes * 5 // 4 + 32768}k"]
    subprocess.run(command, check=True, capture_output=True)


def boot(machine: Path, run: Path, *, words: str, limit: int, prefix: list[str]) -> str:
    """Boot the machine of a folder once, on the disk of a run; return what it reported."""
    (run / "report").unlink(missing_ok=True)
    command = [
        *_ENDS_WITH_US.split(),
        *prefix,
        *("timeout", "--kill-after=10", str(limit), *_QEMU.split()),
        *("-kernel", f"{machine}/vmlinuz", "-initrd", f"{machine}/initrd"),
        # beside busy cores the kernel's check of its timer sees no tick, and the kernel hangs there
        *("-append", f"console=ttyS0 loglevel=4 panic=-1 no_timer_check systemd.getty_auto=no {words}"),
        *("-drive", f"file={run}/disk,format=raw,if=virtio,cache=unsafe"),
        *("-drive", f"file={run}/second,format=raw,if=virtio,cache=unsafe"),
        *("-drive", f"file={run}/given.ext4,format=raw,if=virtio,readonly=on"),
        *("-device", "virtio-rng-pci"),
        *("-serial", f"file:{run}/console", "-serial", f"file:{run}/report"),
    ]
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    report = (
        (run / "report").read_text(errors="replace").replace("\r", "") if (run / "report").exists() else ""
    )
    if ended.returncode or "exit status: " not in report:
        console = (run / "console").read_text(errors="replace") if (run / "console").exists() else ""
        print(
            f"the machine ended with status {ended.returncode}; its console:",
            *console.splitlines()[-40:],
            sep="\n",
        )
    return report


def run_script(script: Script, suite: str, prefix: list[str]) -> list[str]:
    """Run a guest script in a fresh machine of a suite; return what is wrong."""
    machine = Path(
        subprocess.run(
            [HERE / "machine", suite], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()
    )
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        run.chmod(0o755)
        lay_out(run / "given", suite)
        if (more := HERE / "given" / script.name).exists():
            subprocess.run([more, suite, run / "given"], check=True)
        _make_disk(run / "given", run / "given.ext4")
        subprocess.run(["cp", "--sparse=always", machine / "root.ext4", run / "disk"], check=True)
        with (run / "second").open("wb") as second:
            second.truncate(512 << 20)
        for number, words in enumerate(script.boots, start=1):
            began = time.monotonic()
            told = f"{words} test.script={script.name} test.boot={number} test.suite={suite}"
            reports.append(boot(machine, run, words=told, limit=script.limit, prefix=prefix))
            print(f"--- {script.name}, {suite}, boot {number}: {time.monotonic() - began:.0f} s")
            print(reports[-1], flush=True)
    return problems_of(script, reports)


def main() -> int:
    """Run the scripts that are named, or all; 1 if any has not passed."""
    scripts = {path.stem: read_script(path) for path in sorted(GUEST.glob("*.sh")) if path.stem != "lib"}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", choices=[*scripts, []], help="default: all")
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated; default: all")
    parser.add_argument("--prefix", default="", help="what each virtual machine is started by, such as nice")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the disks of a run are removed

    wrong = 0
    for suite in chosen.suite or SUITES:
        for name in chosen.scripts or scripts:
            if suite not in scripts[name].suites:
                continue
            problems = run_script(scripts[name], suite, shlex.split(chosen.prefix))
            print(
                f"{'FAILED' if problems else 'passed'}: {name}, {suite}", *problems, sep="\n    ", flush=True
            )
            wrong += bool(problems)
    print("test-deploy:", f"{wrong} failed" if wrong else "all passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
