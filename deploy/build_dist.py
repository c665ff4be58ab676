"""Builds what a release consists of, byte for byte the same wherever and whenever: ``make dist``.

    .venv-dist/bin/python deploy/build_dist.py FOLDER [SUITE ...]

FOLDER gets wheel, sdist, zipapp, the Debian packages of each SUITE, for each of them what it consists of (CycloneDX 1.6),
and SHA256SUMS. The date of everything is that of debian/changelog. What cannot be built here is named at the end.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote

ROOT: Final = Path(__file__).resolve().parent.parent

SHEBANG: Final = b"#!/usr/bin/python3 -I\n"
"""Of the zipapp: the system's Python with the system's libraries, and nothing from the caller's folder or variables."""

Json = dict[str, Any]


def run(*command: str | Path, epoch: int | None = None) -> str:
    """Run a program in an environment that is the same everywhere, and return what it prints."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(("PYTHON", "LC_"))}
    environment |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = str(epoch)
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def released_at() -> int:
    """Return the moment of the release, as debian/changelog has it."""
    dates = re.findall(r"^ -- .*>  (.+)$", (ROOT / "debian" / "changelog").read_text("utf-8"), re.MULTILINE)
    return int(parsedate_to_datetime(dates[0]).timestamp())


# ---------------------------------------------------------------------------------------------------------
# Python's own forms


def copy_sources(to: Path) -> list[str]:
    """Copy what git tracks, as it stands here, with one mode for all and one for programs; return the names."""
    names = sorted(filter(None, run("git", "ls-files", "-z").split("\0")))
    for name in names:
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target, follow_symlinks=False)
        if not target.is_symlink():
            target.chmod(0o755 if os.access(ROOT / name, os.X_OK) else 0o644)
    return names


def build_wheel(sources: Path, out: Path, epoch: int) -> Path:
    """Build the wheel."""
    flags = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", out, sources, epoch=epoch)
    return next(out.glob("*.whl"))


def write_sdist(sources: Path, names: Sequence[str], wheel: Path, out: Path, epoch: int) -> None:
    """Write the sdist: every file that git tracks, and the wheel's metadata as PKG-INFO."""
    stem = "-".join(wheel.name.split("-")[:2])
    with zipfile.ZipFile(wheel) as packed:
        metadata = packed.read(f"{stem}.dist-info/METADATA")
    (sources / "PKG-INFO").write_bytes(metadata)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("PKG-INFO", *names):
            source = sources / name
            entry = tarfile.TarInfo(f"{stem}/{name}")
            entry.mtime = epoch
            if source.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(source.readlink())
                archive.addfile(entry)
                continue
            content = source.read_bytes()
            entry.size, entry.mode = len(content), source.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(content))
    (out / f"{stem}.tar.gz").write_bytes(gzip.compress(written.getvalue(), mtime=epoch))


def write_zipapp(wheel: Path, out: Path) -> Path:
    """Write the wheel's modules as one file that can be run; ``zipapp -m`` would lose the exit code."""
    name, version = wheel.name.split("-")[:2]
    path = out / f"{name.replace('_', '-')}-{version}.pyz"
    with zipfile.ZipFile(wheel) as packed:
        members = {
            entry: packed.read(entry) for entry in packed.infolist() if ".dist-info/" not in entry.filename
        }
    main = next(entry for entry in members if entry.filename == "device_auth/__main__.py")
    with path.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as app:
            app.writestr(zipfile.ZipInfo("__main__.py", main.date_time), members[main], zipfile.ZIP_DEFLATED)
            for entry, content in members.items():
                app.writestr(entry, content)
    path.chmod(0o755)
    return path


# ---------------------------------------------------------------------------------------------------------
# Debian's


def build_packages(suite: str, sources: Path, out: Path) -> list[Path]:
    """Build the packages of a suite, in a tree of that suite."""
    tree = run("tests/deploy/tree", suite, "build").strip()
    run("tests/deploy/in-tree", tree, sources, "deploy/build-deb", f"built-{suite}")
    found = sorted((sources / f"built-{suite}").glob("*.deb"))
    return [Path(shutil.copyfile(package, out / package.name)) for package in found]


def read_control(text: str) -> dict[str, str]:
    """Read one paragraph of a control file."""
    fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", value) for name, value in fields}


def needed(package: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield each dependency of a package: the names of its alternatives."""
    for field in ("Pre-Depends", "Depends"):
        for dependency in filter(None, package.get(field, "").split(",")):
            yield [re.split(r"[ :(]", name.strip())[0] for name in dependency.split("|")]


def packages_needed(package: Mapping[str, str], status: str) -> dict[str, dict[str, str]]:
    """Return the packages that a package needs, those that they need, and so on, as they are installed.

    Args:
        package: its control file.
        status: dpkg's, of a system where all of it is installed.
    """
    installed = {found["Package"]: found for found in map(read_control, status.split("\n\n")) if found}
    provided = {
        name: found
        for found in installed.values()
        for [name] in needed({"Depends": found.get("Provides", "")})
    }
    closure: dict[str, dict[str, str]] = {}
    waiting = [package]
    while waiting:
        for alternatives in needed(waiting.pop()):
            found = next(
                table[name] for name in alternatives for table in (installed, provided) if name in table
            )
            if found["Package"] not in closure:
                closure[found["Package"]] = found
                waiting.append(found)
    return closure


# ---------------------------------------------------------------------------------------------------------
# What they consist of


def write_boms_of_packages(packages: Sequence[Path], suite: str, epoch: int) -> None:
    """Write what each package of a suite needs, in the versions of that suite."""
    machine = Path(run("tests/deploy/tree", suite, "machine").strip())
    status = (machine / "var" / "lib" / "dpkg" / "status").read_text("utf-8")
    release = dict(
        re.findall(r'^(\w+)="?(.*?)"?$', (machine / "etc" / "os-release").read_text(), re.MULTILINE)
    )
    controls = [run("dpkg-deb", "--field", package) for package in packages]
    for package, control in zip(packages, controls, strict=True):
        own = read_control(control)
        closure = packages_needed(own, "\n\n".join([status, *controls]))
        bom = as_bom(own, closure, release, epoch)
        package.with_suffix(".cdx.json").write_text(json.dumps(bom, indent=2) + "\n", "utf-8")


def as_bom(
    own: Mapping[str, str], closure: Mapping[str, Mapping[str, str]], release: Mapping[str, str], epoch: int
) -> Json:
    """Return what a Debian package consists of as CycloneDX has it."""
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat(),
            "component": as_component(own, release) | {"type": "application"},
        },
        "components": [as_component(closure[name], release) for name in sorted(closure)],
    }


def as_component(package: Mapping[str, str], release: Mapping[str, str]) -> Json:
    """Return a Debian package as CycloneDX has it."""
    name, version = package["Package"], package["Version"]
    purl = (
        f"pkg:deb/debian/{quote(name)}@{quote(version, safe=':~')}"
        f"?arch={package['Architecture']}&distro=debian-{release['VERSION_ID']}"
    )
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def write_bom_of_wheel(wheel: Path) -> None:
    """Write what the wheel needs, in the versions of constraints.txt."""
    with TemporaryDirectory() as scratch:
        pins, python = Path(scratch, "pins.txt"), Path(scratch, "environment", "bin", "python")
        constraints = (ROOT / "deploy" / "constraints.txt").read_text()
        pins.write_text(
            "".join(f"{pin}\n" for pin in re.findall(r"^\S+==[^\s;]+", constraints, re.MULTILINE))
        )
        run(sys.executable, "-m", "venv", "--without-pip", python.parent.parent)
        install = ("install", "--quiet", "--disable-pip-version-check", "--find-links", wheel.parent)
        # by name, not by path: else the folder of the wheel would stand in what is written
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            *install,
            "--constraint",
            pins,
            wheel.name.split("-")[0],
        )
        written = wheel.with_suffix(".cdx.json")
        form = ("--spec-version", "1.6", "--of", "JSON", "--output-reproducible", "--output-file", written)
        program = Path(sys.executable).parent / "cyclonedx-py"
        run(program, "environment", *form, "--pyproject", ROOT / "pyproject.toml", python)


# ---------------------------------------------------------------------------------------------------------


def write_sums(out: Path) -> None:
    """Write SHA256SUMS, for ``sha256sum --check``."""
    files = sorted(path for path in out.iterdir() if path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(sums))


def main(out: Path, suites: Sequence[str]) -> None:
    """Build everything; ``out`` must not be there, or be empty."""
    os.umask(0o022)
    out.mkdir(parents=True, exist_ok=True)
    epoch = released_at()
    with TemporaryDirectory() as scratch:
        sources = Path(scratch, "device-auth")
        names = copy_sources(sources)
        wheel = build_wheel(sources, out, epoch)
        write_sdist(sources, names, wheel, out, epoch)
        buildable = suites if os.geteuid() == 0 else ()
        packages = {suite: build_packages(suite, sources, out) for suite in buildable}
    write_zipapp(wheel, out)
    write_bom_of_wheel(wheel)
    for suite, built in packages.items():
        write_boms_of_packages(built, suite, epoch)
    write_sums(out)
    for suite in suites:
        if suite not in packages:
            sys.stderr.write(f"left out: the packages of {suite}, as only root can build in a tree of it\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
