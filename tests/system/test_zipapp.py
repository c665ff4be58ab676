"""The whole program in one archive (PEP 441), as a wheel that is not unpacked would be: everything of ours is found there."""

import json
import shutil
import subprocess
import sys
import zipapp
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import requests

from hardware.board import board_names
from tests.command import ROOT, bare_environment, interrupt, read_lines, stream_of
from tests.waiting import LONG

MAIN: Final = "import sys\nfrom device_auth.__main__ import main\nsys.exit(main())\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zipapp")
    for name in ("device_auth", "hardware"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "source" / "__main__.py").write_text(MAIN)
    zipapp.create_archive(folder / "source", folder / "device-auth.pyz")
    shutil.rmtree(folder / "source")
    return folder / "device-auth.pyz"


@contextmanager
def started(archive: Path, folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    places = [f"--{name}-dir={folder / name}" for name in ("state", "runtime")]
    with subprocess.Popen(
        [sys.executable, "-I", archive, *words, *places, f"--config={folder / 'config.toml'}"],
        cwd=folder,
        env=bare_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(archive: Path, folder: Path, *words: str, settings: str = "") -> tuple[int, str, str]:
    (folder / "config.toml").write_text(settings)
    with started(archive, folder, *words) as process:
        out, err = process.communicate(timeout=LONG)
    assert "Traceback (" not in err
    return process.returncode, out, err


def test_every_board_is_found(archive: Path, tmp_path: Path) -> None:
    settings = '[hardware]\nboard = "generic-rgb"\n'
    code, out, _ = run(archive, tmp_path, "hardware", "list", "--json", settings=settings)
    _, _, hint = run(archive, tmp_path, "hardware", "list")

    assert (code, [row["part"] for row in json.loads(out)]) == (0, ["light", "button"])
    assert [name for name in board_names() if name != "none" and name not in hint] == []


def test_the_doctor_looks_at_the_archive_for_its_date(archive: Path, tmp_path: Path) -> None:
    _, out, _ = run(archive, tmp_path, "doctor", "--json")

    (found,) = [each for each in json.loads(out)["findings"] if each["code"] == "T1"]
    assert found["verdict"] == "ok"
    assert found["facts"]["own_files"] > "2026"


def test_exit_codes_are_kept(archive: Path, tmp_path: Path) -> None:
    assert run(archive, tmp_path, "token")[0] == 75
    assert run(archive, tmp_path, "link")[0] == 78


def test_a_simulated_speaker_links(archive: Path, tmp_path: Path) -> None:
    code, out, _ = run(archive, tmp_path, "link", "--simulate", "--json")

    assert code == 0
    assert json.loads(out.splitlines()[-1])["event"] == "linked"


def test_the_pages_of_the_simulated_amazon_are_found(archive: Path, tmp_path: Path) -> None:
    with started(archive, tmp_path, "simulator", "--port=0", "--json") as process:
        addresses = next(read_lines(stream_of(process.stdout)))
        origin = str(addresses["origin"])
        found = {
            path: requests.get(f"{origin}{path}", timeout=LONG)
            for path in ("/code", "/static/page.css", "/static/other.css", "/control/openapi.json")
        }
        code = interrupt(process)

    assert {path: answer.status_code for path, answer in found.items()} == {
        "/code": 200,
        "/static/page.css": 200,
        "/static/other.css": 404,
        "/control/openapi.json": 200,
    }
    assert "/static/page.css" in found["/code"].text
    assert found["/static/page.css"].headers["Content-Type"].startswith("text/css")
    assert code == 0
