"""The lane `make test-dist`: what `make dist` builds is the same twice, complete, and runs on every Python there is.

It builds everything twice, which takes minutes, needs a package index, and root for the packages of Debian.
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from device_auth import __version__
from tests.command import ROOT, bare_environment

BUILDER: Final = ROOT / ".venv-dist" / "bin" / "python"
SUITES: Final = os.environ.get("SUITES", "").split() if os.geteuid() == 0 else []
"""Those whose packages are built and looked at; the Makefile names both."""

NUMBERS: Final = {"bookworm": 12, "trixie": 13}
WHEEL: Final = f"device_auth-{__version__}-py3-none-any.whl"
SDIST: Final = f"device_auth-{__version__}.tar.gz"
ZIPAPP: Final = f"device-auth-{__version__}.pyz"
PYTHONS: Final = ("python3.11", "python3.12", "python3.13", "python3.14")


def run(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )


def build(root: Path, out: Path, *before: str, **environ: str) -> None:
    ended = run(
        *before,
        BUILDER,
        root / "deploy" / "build_dist.py",
        out,
        *SUITES,
        env={**os.environ, **environ},
        cwd=root,
    )
    assert ended.returncode == 0, ended.stderr


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "dist"
    build(ROOT, out)
    return out


@pytest.fixture(scope="session", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    """Return a Python that is on the path and runs."""
    name = str(request.param)
    found = shutil.which(name)
    if found is None or run(found, "--version").returncode != 0:
        pytest.skip(f"{name} is not installed")
    return found


def test_a_build_elsewhere_at_another_time_by_another_user_is_equal(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "clone"
    shutil.copytree(ROOT / ".git", other / ".git")
    for name in run("git", "ls-files", cwd=ROOT).stdout.splitlines():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, other / name, follow_symlinks=False)
        if not (other / name).is_symlink():
            (other / name).chmod((ROOT / name).stat().st_mode & 0o700)
    later = ["faketime", "-f", "+40h"] if shutil.which("faketime") else []
    (tmp_path / "home").mkdir()

    build(
        other,
        tmp_path / "dist",
        *("sh", "-c", 'umask 077; exec "$@"', "sh", *later),
        TZ="Pacific/Kiritimati",
        HOME=str(tmp_path / "home"),
        LC_ALL="C",
        XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
    )

    first, second = files_of(built), files_of(tmp_path / "dist")
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_everything_is_there_and_counted(built: Path) -> None:
    names = re.findall(r"^Package: (.+)$", (ROOT / "debian" / "control").read_text(), re.MULTILINE)
    packages = [f"{name}_{__version__}~deb{NUMBERS[suite]}u1_all" for suite in SUITES for name in names]

    assert set(files_of(built)) == {
        *(WHEEL, SDIST, ZIPAPP, WHEEL.replace(".whl", ".cdx.json"), "SHA256SUMS"),
        *(f"{package}.{suffix}" for package in packages for suffix in ("deb", "cdx.json")),
    }
    checked = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=built)
    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == len(files_of(built)) - 1


def test_a_changed_byte_is_noticed(built: Path, tmp_path: Path) -> None:
    for name, content in files_of(built).items():
        (tmp_path / name).write_bytes(content)
    for name, content in files_of(built).items():
        if name == "SHA256SUMS":
            continue
        middle = len(content) // 2
        (tmp_path / name).write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])

        assert (
            run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=tmp_path).stdout == f"{name}: FAILED\n"
        )
        (tmp_path / name).write_bytes(content)


def test_what_each_consists_of_is_valid_and_complete(built: Path) -> None:
    judge = (
        "import sys, pathlib; from cyclonedx.validation.json import JsonStrictValidator;"
        " from cyclonedx.schema import SchemaVersion;"
        " print(*(JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(path).read_text()) for path in sys.argv[1:]))"
    )
    boms = sorted(built.glob("*.cdx.json"))

    judged = run(BUILDER, "-c", judge, *boms)

    assert judged.stdout.split() == ["None"] * len(boms), judged.stdout + judged.stderr
    for bom in boms:
        text = bom.read_text()
        names = {component["name"] for component in json.loads(text)["components"]}
        prefix = "" if bom.name.startswith("device_auth") else "python3-"
        assert {f"{prefix}{name}" for name in ("requests", "qrcode", "cryptography", "urllib3")} <= names
        assert not {"pip", "setuptools", "gpiod"} & names
        assert str(ROOT) not in text
        assert tempfile.gettempdir() not in text


def test_the_sdist_holds_what_is_tracked_and_builds_the_same_modules(built: Path, tmp_path: Path) -> None:
    tracked = run("git", "ls-files", cwd=ROOT).stdout.splitlines()
    with tarfile.open(built / SDIST) as archive:
        members = [member.name.partition("/")[2] for member in archive.getmembers()]
        archive.extractall(tmp_path, filter="data")
    assert sorted(members) == sorted([*tracked, "PKG-INFO"])

    flags = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    ended = run(BUILDER, "-m", "pip", "wheel", *flags, built / SDIST)

    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(built / WHEEL) as ours, zipfile.ZipFile(tmp_path / WHEEL) as theirs:
        assert {name: ours.read(name) for name in ours.namelist()} == {
            name: theirs.read(name) for name in theirs.namelist()
        }


@pytest.fixture(scope="session")
def environment(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a fresh environment with what an installation by hand takes, its hashes required."""
    folder = tmp_path_factory.mktemp("environment")
    run(python, "-m", "venv", folder)
    constraints = ROOT / "deploy" / "constraints.txt"
    ended = run(
        folder / "bin" / "pip", "install", "--quiet", "--require-hashes", "--requirement", constraints
    )
    assert ended.returncode == 0, ended.stderr
    yield folder
    shutil.rmtree(folder)


def check_command(*command: str | Path, home: Path) -> None:
    """Check the version, two exit codes and the boards of a device-auth."""
    environ = {**bare_environment(), "HOME": str(home)}
    settings = home / "config.toml"
    settings.write_text('[hardware]\nboard = "generic-led"\n')

    told = run(*command, "--version", env=environ)
    assert (told.returncode, told.stdout) == (0, f"device-auth {__version__}\n"), told.stderr
    assert run(*command, "frobnicate", env=environ).returncode == 2
    assert run(*command, "token", "--config", settings, env=environ).returncode == 75
    assert run(*command, "config", "check", "--config", settings, env=environ).returncode == 78
    assert "light" in run(*command, "hardware", "list", "--config", settings, env=environ).stdout


@pytest.mark.parametrize("artefact", [WHEEL, SDIST])
def test_an_artefact_installs_and_runs(environment: Path, built: Path, artefact: str, tmp_path: Path) -> None:
    pip = environment / "bin" / "pip"
    run(pip, "uninstall", "--yes", "--quiet", "device-auth")
    ended = run(pip, "install", "--quiet", "--no-deps", "--no-build-isolation", built / artefact)
    assert ended.returncode == 0, ended.stderr

    check_command(environment / "bin" / "device-auth", home=tmp_path)
    check_command(environment / "bin" / "python", "-m", "device_auth", home=tmp_path)


def test_the_zipapp_runs(environment: Path, built: Path, tmp_path: Path) -> None:
    run(environment / "bin" / "pip", "uninstall", "--yes", "--quiet", "device-auth")

    check_command(environment / "bin" / "python", "-I", built / ZIPAPP, home=tmp_path)


@pytest.mark.parametrize("suite", SUITES)
def test_the_zipapp_links_with_the_libraries_of_debian(built: Path, suite: str, tmp_path: Path) -> None:
    tree = run(ROOT / "tests" / "deploy" / "tree", suite, "machine").stdout.strip()

    shutil.copy(built / ZIPAPP, tmp_path)
    ended = run(
        ROOT / "tests/deploy/in-tree",
        tree,
        tmp_path,
        f"./{ZIPAPP}",
        "link",
        "--simulate",
        "--json",
        "--no-qr",
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["event"] == "linked"
