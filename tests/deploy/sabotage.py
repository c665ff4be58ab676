"""The lane that boots Debian, with packages that were spoiled on purpose: each must fail there, at the check that is for it.

Run: ``python -m tests.deploy.sabotage``; needs root. What a tree without systemd can show is seen by
``python -m tests.deploy.package --sabotage``.
"""

import argparse
import dataclasses
import shlex
import signal
import sys
from pathlib import Path
from typing import Final

from tests.deploy.boot import GUEST, MACHINES, SUITES, read_script, run_script
from tests.deploy.package import Sabotage
from tests.deploy.packing import Change, replaced


def in_unit(old: str, new: str) -> Change:
    """Return the change of a text in the service's unit, wherever the suite has it."""

    def change(unpacked: Path) -> None:
        name = "usr/lib/systemd/system/device-auth.service"
        replaced(name if (unpacked / name).exists() else name.removeprefix("usr/"), old, new)(unpacked)

    return change


def baked_state(unpacked: Path) -> None:
    """Install a link, as an image has it that was linked before it was copied."""
    state = unpacked / "var/lib/device-auth"
    state.mkdir(parents=True)
    (state / "link.json").write_text("{}")


FAULTS: Final = {
    "life": (
        Sabotage(
            "a unit without Requires",
            in_unit("Requires=device-auth.socket\nAfter=device-auth.socket\n", ""),
            "installed-socket-is-systemds",
        ),
        Sabotage(
            "network-online.target",
            in_unit("[Unit]\n", "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"),
            "installed-no-network-target",
        ),
        Sabotage(
            "a missing group",
            replaced("usr/lib/sysusers.d/device-auth.conf", "g spi -\n", ""),
            "board-starts",
        ),
    ),
    "slots": (Sabotage("a baked state folder", baked_state, "state-is-empty-in-the-image"),),
}
"""By the guest script whose first boot notices them; none hides another."""


def unnoticed(name: str, suite: str, prefix: list[str]) -> list[Sabotage]:
    """Run a script's first boot with a package that has its faults; return those that it has not noticed."""
    script = read_script(GUEST / f"{name}.sh")
    script = dataclasses.replace(script, boots=script.boots[:1])

    def spoil(unpacked: Path) -> None:
        if (unpacked / "usr/bin/device-auth").exists():  # the simulator's package is left as it is
            for sabotage in FAULTS[name]:
                sabotage.change(unpacked)

    problems = run_script(script, suite, MACHINES["pc"], prefix, spoil)
    return [
        sabotage
        for sabotage in FAULTS[name]
        if not any(problem.startswith(f"FAILED {sabotage.noticed_by}:") for problem in problems)
    ]


def main() -> int:
    """Boot with every fault; 1 if any was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated; default: all")
    parser.add_argument("--prefix", default="", help="what each virtual machine is started by, such as nice")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    missed = 0
    for suite in chosen.suite or SUITES:
        for name, sabotages in FAULTS.items():
            not_seen = unnoticed(name, suite, shlex.split(chosen.prefix))
            for sabotage in sabotages:
                became = "NOT NOTICED" if sabotage in not_seen else "noticed"
                print(f"{became} by {sabotage.noticed_by}, {suite}: {sabotage.fault}", flush=True)
            missed += len(not_seen)
    print("test-deploy, sabotage:", f"{missed} not noticed" if missed else "each was noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
