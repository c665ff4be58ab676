"""``link`` with parts: told by them to the end, refused for a bad setting, and lean where there are none."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_auth.prompts.view_changes import JUST_LINKED_FOR
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running
from tests.command import Command, read_lines
from tests.simulated_speaker import strict
from tests.stand_ins.kernel_leds import KernelLedFiles

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def options() -> Options:
    return strict(interval=1, approve_after=0)


def write_settings(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def kernel_led(folder: Path) -> str:
    KernelLedFiles(folder, "led0", time.monotonic)
    return f'[hardware.light]\nkind = "kernel"\nname = "led0"\ndirectory = "{folder}"\n'


def test_link_tells_by_the_parts_and_waits_for_their_last_word(
    tmp_path: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    said = tmp_path / "said"
    voice = f'[hardware.voice]\nkind = "command"\ncommand = ["sh", "-c", "cat >> {said}"]\n'
    config = write_settings(tmp_path, kernel_led(tmp_path) + voice)
    begun = time.monotonic()

    assert Command(tmp_path, running).link("--config", str(config), "--json") == 0

    events = [line["event"] for line in read_lines(capsys.readouterr().out.splitlines())]
    assert time.monotonic() - begun >= JUST_LINKED_FOR
    assert events == ["code", "linked"]
    assert "Done. This speaker is now linked" in said.read_text()
    assert (tmp_path / "led0" / "brightness").read_text().strip() == "0"


def test_a_bad_setting_ends_link_with_78_before_a_code_is_asked_for(
    tmp_path: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_settings(tmp_path, '[hardware]\nboard = "generic-lid"\n')

    assert Command(tmp_path, running).link("--config", str(config), "--json") == 78

    told = capsys.readouterr()
    assert json.loads(told.out)["reason"] == "misconfigured"
    assert "Did you mean 'generic-led'?" in told.err
    assert len(running.amazon.pairs()) == 0


def test_link_imports_no_part_where_there_is_none(tmp_path: Path, running: Running) -> None:
    command = Command(tmp_path, running)
    script = (
        "import sys\nfrom device_auth.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "loaded = {name for name in sys.modules if name.split('.')[0] in ('hardware', 'dataclasses', 'inspect')}\n"
        "assert loaded <= {'hardware', 'hardware.errors', 'hardware.settings'}, loaded\n"
    )
    words = ["link", *command.provider, *command.places, "--json"]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
