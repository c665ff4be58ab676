"""Run each command that docs/hardware.md names in a Debian tree from nothing, and see the library answer: `make test-extras`.

Also run what the program itself says where a library is missing. Needs root on Debian 12, and a network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.deploy.packing import tree

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs" / "hardware.md"
SIMULATOR: Final = ROOT / "docs" / "simulator.md"
PROGRAM: Final = "/opt/device-auth/bin/device-auth"
IN_VENV: Final = "/opt/device-auth/lib"
BY_APT: Final = "/usr/lib/python3/dist-packages"
SUITES: Final = ("bookworm", "trixie")
LIMIT: Final = 3600
"""Seconds for one run, on a busy host too: a compiler is installed, or an emulated processor compiles Python."""

_SECTION: Final = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_CONSOLE: Final = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Run(NamedTuple):
    """Where the commands of a section are run, and what then answers.

    Attributes:
        part: of the board, whose row is looked at.
        package: that provides its module.
        place: the beginning of the module's path.
        suites: where that is so.
        architectures: where that is so.
        gpio: the setting.
        fails_in: the suites where the document says that it cannot be had.
        compiled: what pip is to take as source, as it must where there is no wheel.
    """

    part: str
    package: str
    place: str
    suites: tuple[str, ...] = SUITES
    architectures: tuple[str, ...] = ("amd64",)
    gpio: str = "gpiod"
    fails_in: tuple[str, ...] = ()
    compiled: str = ""


RUNS: Final = {
    "gpiod by pip": Run("button", "gpiod", IN_VENV, architectures=("amd64", "arm64")),
    "gpiod by pip, 32 bits": Run("button", "gpiod", IN_VENV, compiled="gpiod"),
    "gpiod by apt": Run("button", "gpiod", BY_APT, ("trixie",), ("amd64", "arm64"), fails_in=("bookworm",)),
    "rpi-lgpio by pip": Run(
        "button", "rpi-lgpio", IN_VENV, ("bookworm",), ("amd64", "arm64"), "rpi-gpio", fails_in=("trixie",)
    ),
    "rpi-lgpio by apt": Run(
        "button", "rpi-lgpio", BY_APT, (), ("amd64", "arm64"), "rpi-gpio", fails_in=SUITES
    ),
    "RPi.GPIO by apt": Run("button", "RPi.GPIO", BY_APT, architectures=("arm64",), gpio="rpi-gpio"),
    "RPi.GPIO by pip": Run("button", "RPi.GPIO", IN_VENV, gpio="rpi-gpio"),
    "spidev by pip": Run("light", "spidev", IN_VENV),
    "spidev by apt": Run("light", "spidev", BY_APT),
    "luma.oled by pip": Run("panel", "luma.oled", IN_VENV),
    "luma.oled by apt": Run("panel", "luma.oled", BY_APT),
}
"""By section of the document. For arm64 only what differs there is run: nothing is compiled by an emulated processor."""

HINTS: Final = {"button": "gpiod", "light": "spidev", "panel": "luma.oled"}
"""The parts for which the program's own words are run, and the package that then answers."""

PREPARE: Final = """
rm -f /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt
cp resolv.conf /etc/resolv.conf
mkdir -p /etc/ssl/certs lists archives/partial
cp ca-certificates.crt /etc/ssl/certs/
printf '[global]\\ncert = /etc/ssl/certs/ca-certificates.crt\\ncache-dir = /given/pip\\n' > /etc/pip.conf
printf 'APT::Get::Assume-Yes "true";\\nAPT::Sandbox::User "root";\\nAPT::Install-Recommends "false";\\n' > /etc/apt/apt.conf.d/90given
printf 'Dir::State::lists "/given/lists";\\nDir::Cache::archives "/given/archives";\\nBinary::apt::APT::Keep-Downloaded-Packages "true";\\n' >> /etc/apt/apt.conf.d/90given
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
[ -e lists/lock ] || apt-get update -qq
dpkg --purge python3-libgpiod > /dev/null 2>&1
cp -r clone /root/clone
cd /root/clone
"""


def documented() -> dict[str, list[str]]:
    """Return the commands of each section of the document that has some."""
    found = {}
    for title, text in _SECTION.findall(DOCUMENT.read_text()):
        lines = "".join(_CONSOLE.findall(text)).splitlines()
        if lines:
            found[title] = [line.removeprefix("$ ") for line in lines]
    return found


class Tree:
    """A Debian tree; each run begins with it as it was made."""

    def __init__(self, suite: str, architecture: str) -> None:
        self.suite = suite
        self._path = tree(suite, "machine", architecture)
        self._given = Path(tempfile.mkdtemp(prefix=f"extras-{suite}-{architecture}-"))
        for name in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
            (self._given / Path(name).name).write_bytes(Path(name).read_bytes())
        clone = self._given / "clone"
        clone.mkdir()
        names = ("device_auth", "hardware", "README.md", "pyproject.toml")
        subprocess.run(["cp", "-r", *(ROOT / name for name in names), clone], check=True)

    def list_parts(self, commands: list[str], gpio: str) -> tuple[int, str, list[dict[str, object]]]:
        """Run commands, and return the exit code, what was told, and the list of the parts after them."""
        settings = f'[hardware]\nboard = "respeaker-2mic"\ngpio = "{gpio}"\npanel = {{kind = "ssd1306"}}\n'
        (self._given / "config.toml").write_text(settings)
        listing = f"{PROGRAM} --config /given/config.toml hardware list --json > /given/listed"
        code, told = self.run([*commands, listing])
        return code, told, json.loads((self._given / "listed").read_text()) if code == 0 else []

    def run(self, commands: list[str]) -> tuple[int, str]:
        """Run commands in the clone, and return the exit code and what was told."""
        (self._given / "script").write_text("\n".join(["set -e", PREPARE, *commands, ""]))
        ran = subprocess.run(
            [
                "timeout",
                str(LIMIT),
                ROOT / "tests/deploy/in-tree",
                self._path,
                self._given,
                "bash",
                "/given/script",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout

    def close(self) -> None:
        """Remove what was given to the runs."""
        subprocess.run(["rm", "-rf", self._given], check=True)


def judge(name: str, run: Run, suite: str, ended: tuple[int, str, list[dict[str, object]]]) -> str:
    """Return what is wrong with the result of a run; empty if nothing is."""
    code, told, rows = ended
    row = next((row for row in rows if row["part"] == run.part), {})
    path, problem = str(row.get("module", "")), str(row.get("problem", ""))
    is_used = path.startswith(run.place) and "cannot be loaded" not in problem and "version 1" not in problem
    if suite in run.fails_in:
        return f"{name} works, and the document says that it does not" if code == 0 and is_used else ""
    if code != 0:
        return f"ended with {code}:\n{told[-1500:]}"
    versions = row.get("library")
    if (
        not isinstance(versions, dict)
        or list(versions) != [run.package]
        or not all(versions.values())
        or not is_used
    ):
        return f"another library answers: {row}"
    return ""


def command_of(hint: str) -> str:
    """Return the command in the program's own words about a missing library."""
    return hint.removeprefix("Install it: ").partition("; or ")[0]


def main() -> int:
    """Run everything for the suites and the architectures that the command line names; without any, all for amd64."""
    sections, wrong, done = documented(), list[str](), 0
    if sections.keys() != RUNS.keys():
        sys.exit(
            f"the sections of {DOCUMENT.name} are not those that are run: {sections.keys() ^ RUNS.keys()}"
        )
    suites = [word for word in sys.argv[1:] if word in SUITES]
    for architecture in [word for word in sys.argv[1:] if word not in SUITES] or ["amd64"]:
        for suite in suites or SUITES:
            made = Tree(suite, architecture)
            try:
                for name, run in RUNS.items():
                    if architecture in run.architectures and suite in (*run.suites, *run.fails_in):
                        commands = sections[name]
                        if run.compiled:
                            commands = [f"echo no-binary = {run.compiled} >> /etc/pip.conf", *commands]
                        ended = made.list_parts(commands, run.gpio)
                        problem = judge(name, run, suite, ended)
                        wrong += _told(f"{suite} {architecture}: {name}", problem)
                        done += 1
                if architecture == "amd64":
                    wrong += _told(f"{suite} {architecture}: what the program says", _hints(made))
                    wrong += _told(f"{suite} {architecture}: {SIMULATOR.name}", _simulation(made))
                    done += 2
            finally:
                made.close()
    print(f"{done} runs, {len(wrong)} of them wrong")
    return 1 if wrong or not done else 0


def _hints(tree: Tree) -> str:
    plain = ["sudo python3 -m venv /opt/device-auth", "sudo /opt/device-auth/bin/pip install ."]
    code, told, rows = tree.list_parts(plain, "gpiod")
    if code != 0:
        return told[-1500:]
    hints = {str(row["part"]): command_of(str(row["hint"])) for row in rows}
    for hint in hints.values():
        print(f"    {hint}")
    commands = [hint.replace("sudo apt install", "sudo apt install -y") for hint in hints.values()]
    code, told, rows = tree.list_parts([*plain, *commands], "gpiod")
    if code != 0:
        return f"ended with {code}:\n{told[-1500:]}"
    found = {row["part"]: row["library"] for row in rows}
    wanted = {part: {package} for part, package in HINTS.items()}
    return "" if {part: set(library) for part, library in found.items()} == wanted else f"{found}"  # type: ignore[call-overload]  # JSON


def _simulation(tree: Tree) -> str:
    """Install what the document of the simulated Amazon says, and link a simulated speaker."""
    lines = "".join(_CONSOLE.findall(SIMULATOR.read_text())).splitlines()
    start = lines.index("$ device-auth simulator")
    install = [line.removeprefix("$ ") for line in lines[:start]]
    code, told = tree.run([*install, "device-auth link --simulate --json"])
    return "" if code == 0 and '"event": "linked"' in told else f"ended with {code}:\n{told[-1500:]}"


def _told(name: str, problem: str) -> list[str]:
    print(f"{'WRONG' if problem else 'ok':<5}  {name}{': ' if problem else ''}{problem}", flush=True)
    return [name] if problem else []


if __name__ == "__main__":
    sys.exit(main())
