"""The packages, without a machine to boot: ``python -m tests.deploy.package``; needs root.

For each suite they are built twice in unlike surroundings, judged by lintian, their files are compared with the tables of
docs/package.md, and their life from install to purge is gone through in a tree where no systemd runs (chroot/life.sh).
With ``--sabotage``, packages with a fault of each kind go through that life too, and each must fail it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from tests.deploy.boot import SUITES, problems_of, read_script
from tests.deploy.packing import HERE, ROOT, Change, clone_to, in_tree, of_version, repack, replaced

LIFE: Final = HERE / "chroot" / "life.sh"
TABLE: Final = ROOT / "docs" / "package.md"
SIZE_LIMIT: Final = 400_000

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
UNLIKE: Final = (
    *("TZ=Pacific/Auckland", "HOME=/root/elsewhere", "LC_ALL=C", "LANG=de_DE", "USER=somebody"),
    *(f"LD_PRELOAD=/given/{FAKETIME.name}", "FAKETIME=+400d", "NO_FAKE_STAT=1"),
)
"""Surroundings of a build that must make no difference; another umask and the modes that it gives come with them."""


_ROW: Final = re.compile(r"^\| `(/[^`]+)` \| (.+) \|$", re.MULTILINE)
_ALONE: Final = re.compile(r"(\w+) alone")
"""How the table names the one suite that has a file."""


def build(suite: str, out: Path, *, is_unlike: bool = False) -> list[Path]:
    """Build the packages of a suite in its tree, into a folder; return their files.

    Args:
        suite: of Debian.
        out: the folder; made where there is none.
        is_unlike: whether in surroundings that must make no difference.
    """
    mask = 0o027 if is_unlike else 0o022
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        clone_to(source, mask=mask)
        if is_unlike:
            subprocess.run([HERE / "tools", "faketime"], check=True)
            shutil.copy(FAKETIME, source)
        command = f"umask {mask:03o} && date && exec deploy/build-deb built"
        built = in_tree(suite, "build", source, "env", *(UNLIKE if is_unlike else ()), "sh", "-c", command)
        if built.returncode:
            sys.exit(f"{built.stdout}\nthe packages cannot be built for {suite}")
        out.mkdir(parents=True, exist_ok=True)
        for path in (source / "built").iterdir():
            shutil.copy2(path, out)
    print(f"built for {suite} on {built.stdout.partition(chr(10))[0]}", flush=True)
    return sorted(out.glob("*.deb"))


def newer(unpacked: Path) -> None:
    """Make it a version whose links are of a form that this one does not know."""
    of_version("99.0.0")(unpacked)
    envelope = "usr/share/device-auth/device_auth/world/envelope.py"
    if not (unpacked / envelope).exists():
        return
    replaced(envelope, "PLAIN_VERSION: Final = 1", "PLAIN_VERSION: Final = 3")(unpacked)
    replaced(envelope, "NEWEST_VERSION: Final = SEALED_VERSION", "NEWEST_VERSION: Final = 3")(unpacked)
    replaced(envelope, "if version == PLAIN_VERSION", "if version in (1, PLAIN_VERSION)")(unpacked)


# ---------------------------------------------------------------------------------------------------------
# judged


def files_of(package: Path) -> list[str]:
    """Return the files and links of a package, where they lie in a merged /usr."""
    listed = subprocess.run(
        ["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True
    ).stdout
    names = [line.split(maxsplit=5)[5].split(" -> ")[0] for line in listed.splitlines() if line[0] != "d"]
    return sorted(re.sub(r"^\.(/lib/)?", lambda lib: "/usr/lib/" if lib[1] else "", name) for name in names)


def problems_of_table(suite: str, names: list[str], table: str) -> Iterator[str]:
    """Return in what a table of files, each row with a path or a pattern, and a suite's package differ."""
    rows = [
        row
        for row, reason in _ROW.findall(table)
        if (only := _ALONE.search(reason)) is None or only[1] == suite
    ]
    for name in names:
        matching = [row for row in rows if fnmatchcase(name, row)]
        if len(matching) != 1:
            yield f"{name} stands in {len(matching)} rows of the table"
    for row in rows:
        if not any(fnmatchcase(name, row) for name in names):
            yield f"no file is {row}"


def differences(packages: list[Path], again: list[Path]) -> Iterator[str]:
    """Return which packages two builds did not make byte for byte alike."""
    if [path.name for path in packages] != [path.name for path in again]:
        yield "two builds made different packages"
        return
    for package, other in zip(packages, again, strict=True):
        if package.read_bytes() != other.read_bytes():
            yield f"two builds differ: {package.name}"


def problems_of_packages(suite: str, packages: list[Path]) -> Iterator[str]:
    """Return what is wrong with packages."""
    tables = TABLE.read_text().split("\n## ")
    for package in packages:
        if (size := package.stat().st_size) > SIZE_LIMIT:
            yield f"{package.name} has {size} bytes, more than {SIZE_LIMIT}"
        table = next(table for table in tables if table.startswith(f"{package.name.partition('_')[0]}\n"))
        yield from problems_of_table(suite, files_of(package), table)
    out = packages[0].parent
    linted = in_tree(
        suite,
        "build",
        out,
        *("lintian", "--fail-on", "error,warning,info", "--display-info", "--allow-root"),
        *(path.name for path in out.glob("*.changes")),
    )
    if linted.returncode:
        yield f"lintian: {linted.stdout}"


# ---------------------------------------------------------------------------------------------------------
# lived through


@dataclass(frozen=True)
class Sabotage:
    """A fault in a package, and the check of its life that must notice it."""

    fault: str
    change: Change
    noticed_by: str


def settings_as_conffile(unpacked: Path) -> None:
    """Install the settings as a file of the package's own."""
    (unpacked / "etc/device-auth/config.toml").write_text("# ours\n")
    with (unpacked / "DEBIAN" / "conffiles").open("a") as listed:
        listed.write("/etc/device-auth/config.toml\n")


def hardware_for_everybody(unpacked: Path) -> None:
    """Put a module where every program of the machine finds it."""
    shutil.copytree(
        unpacked / "usr/share/device-auth/hardware", unpacked / "usr/lib/python3/dist-packages/hardware"
    )


SABOTAGES: Final = (
    Sabotage(
        "a file outside its place",
        replaced("DEBIAN/postinst", "set -e\n", "set -e\ntouch /var/lib/somewhere\n"),
        "nothing-left",
    ),
    Sabotage(
        "a purge that leaves the token",
        replaced("DEBIAN/postrm", 'if [ -d "$state" ]', "if false"),
        "purged-but-identity",
    ),
    Sabotage(
        "a purge that overwrites nothing",
        replaced("DEBIAN/postrm", "shred --force --remove=unlink", "rm"),
        "overwritten",
    ),
    Sabotage(
        "a purge that overwrites what a name in the service's folder leads to",
        replaced("DEBIAN/postrm", '--reuid="$(stat --format=%u .)"', "--reuid=0"),
        "file-of-root-is-not-overwritten",
    ),
    Sabotage(
        "a purge that leaves what root stored there",
        replaced("DEBIAN/postrm", '--reuid="$(stat --format=%u .)"', "--reuid=device-auth"),
        "overwritten-of-root",
    ),
    Sabotage(
        "a purge that takes the unit's identity",
        replaced("DEBIAN/postrm", "identity.toml", "no.toml"),
        "purged-but-identity",
    ),
    Sabotage(
        "a purge that leaves a drop-in",
        replaced("DEBIAN/postrm", 'drop_ins="board panel ', 'drop_ins="board '),
        "drop-in-of-others",
    ),
    Sabotage(
        "a removal that takes the link",
        replaced("DEBIAN/postrm", '"$1" = purge', '"$1" = remove'),
        "link-after-remove",
    ),
    Sabotage("the settings as a conffile", settings_as_conffile, "install"),
    Sabotage(
        "a missing group",
        replaced("usr/lib/sysusers.d/device-auth.conf", "m device-auth device-auth-client\n", ""),
        "service-user",
    ),
    Sabotage(
        "a command open to the caller's environment",
        replaced("usr/bin/device-auth", "python3 -IS", "python3"),
        "nothing-strange-ran",
    ),
    Sabotage("a module among everybody's", hardware_for_everybody, "private-hardware"),
)


@contextmanager
def given_to_life(packages: list[Path], change: Change | None = None) -> Iterator[Path]:
    """Lay out what the script of the packages' life is given."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder)
        given.chmod(0o755)
        (given / "now").mkdir()
        for package in packages:
            if change is not None and package.name.startswith("device-auth_"):
                repack(package, given / "now", change)
            else:
                shutil.copy(package, given / "now")
        for package in [*(given / "now").iterdir()]:
            repack(package, given / "older", of_version("0.0.1"))
            repack(package, given / "newer", newer)
        for path in (LIFE, HERE / "guest" / "lib.sh", ROOT / "debian" / "tests" / "link"):
            shutil.copy(path, given)
        yield given


def live(suite: str, packages: list[Path], change: Change | None = None) -> tuple[str, list[str]]:
    """Go through the packages' life; return the report, and what is wrong."""
    with given_to_life(packages, change) as given:
        lived = in_tree(suite, "machine", given, "bash", LIFE.name)
    report = f"{lived.stdout}\nexit status: {lived.returncode}\n"
    return report, problems_of(read_script(LIFE), [report])


def main() -> int:
    """Build, judge and live through the package of each suite; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the packages go")
    parser.add_argument("--sabotage", action="store_true", help="see each fault noticed")
    chosen = parser.parse_args()

    wrong = 0
    for suite in chosen.suite or SUITES:
        out: Path = chosen.out / suite
        shutil.rmtree(out, ignore_errors=True)
        packages = build(suite, out)
        with tempfile.TemporaryDirectory() as elsewhere:
            problems = [*differences(packages, build(suite, Path(elsewhere), is_unlike=True))]
        problems += problems_of_packages(suite, packages)
        report, in_life = live(suite, packages)
        print(report)
        problems += in_life
        for sabotage in SABOTAGES if chosen.sabotage else ():
            report, noticed = live(suite, packages, sabotage.change)
            if not any(problem.startswith(f"FAILED {sabotage.noticed_by}:") for problem in noticed):
                print(report)
                problems.append(f"not noticed by {sabotage.noticed_by}: {sabotage.fault}")
            else:
                print(f"noticed: {sabotage.fault}", flush=True)
        print(
            f"{'FAILED' if problems else 'passed'}: the packages of {suite}",
            *problems,
            sep="\n    ",
            flush=True,
        )
        wrong += bool(problems)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
