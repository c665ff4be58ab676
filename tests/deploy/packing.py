"""What the lanes of this folder are given: trees of Debian, the clone, and its packages, changed and packed again."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from device_auth import __version__

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]

Change = Callable[[Path], None]
"""A change to the folder of an unpacked package; its scripts are below ``DEBIAN``."""


def tree(suite: str, kind: str, architecture: str = "amd64") -> str:
    """Return the folder of a suite's tree, made where there is none yet."""
    made = subprocess.run(
        [HERE / "tree", suite, kind, architecture], check=True, stdout=subprocess.PIPE, text=True
    )
    return made.stdout.strip()


def in_tree(
    suite: str, kind: str, folder: Path, *command: str, architecture: str = "amd64"
) -> subprocess.CompletedProcess[str]:
    """Run a command in a suite's tree, with a folder as /given; what it says is in ``stdout``."""
    return subprocess.run(
        [HERE / "in-tree", tree(suite, kind, architecture), folder, *command],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def clone_to(folder: Path, *, mask: int) -> None:
    """Put the clone as git knows it, with what is not committed yet, into a folder."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():  # the drop-ins are in the modules by one
            (folder / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, folder / name)
            (folder / name).chmod((0o777 if (ROOT / name).stat().st_mode & 0o100 else 0o666) & ~mask)


def repack(package: Path, to: Path, change: Change) -> None:
    """Write a package with a change in it into a folder."""
    to.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True)
        change(unpacked)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", unpacked, to],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def replaced(name: str, old: str, new: str) -> Change:
    """Return the change of a text in a file of a package.

    Raises:
        ValueError: when it is made, if the file has no such text: nothing would be changed.
    """

    def change(unpacked: Path) -> None:
        path = unpacked / name
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        path.write_text(text.replace(old, new))

    return change


def of_version(version: str) -> Change:
    """Return the change of a package, and of the program in it, to another version."""

    def change(unpacked: Path) -> None:
        control = unpacked / "DEBIAN" / "control"
        text = re.sub(r"^Version: [^~]*", f"Version: {version}", control.read_text(), flags=re.MULTILINE)
        control.write_text(re.sub(r"(device-auth\S* \(= )[^~]*", rf"\g<1>{version}", text))
        program = "usr/share/device-auth/device_auth/__init__.py"
        if (unpacked / program).exists():
            replaced(program, f'"{__version__}"', f'"{version}"')(unpacked)

    return change
