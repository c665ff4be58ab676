"""A link in memory: whoever is told of it is told that it may not outlast a power cut, and why."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.request import urlopen

import pytest

from device_auth.cli.main import main
from device_auth.prompts.wording import read_wording
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running, serve
from device_auth.world.disks import doubt_about, mount_of
from tests.command import Command, read_lines
from tests.daemon_process import Household
from tests.waiting import wait_for

MEMORY: Final = Path("/dev/shm")  # noqa: S108  it is looked at only if it is memory
PROMISE: Final = "It stays linked, also when the speaker is unplugged."
FOR_NOW: Final = read_wording("en").moments["for-now"]


@pytest.fixture
def memory() -> Iterator[Path]:
    mount = mount_of(MEMORY)
    if mount is None or mount.kind != "tmpfs":
        pytest.skip("there is no folder in memory here")
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def options() -> Options:
    return Options(interval=1, approve_after=0)


def test_a_link_in_memory_is_not_promised_to_stay(
    memory: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(memory, running)
    why = f"{memory}/state is in memory: the link is gone after the next power cut."

    assert command.link() == 0
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("Linked.") == 1
    assert f"Linked. {why} Keep the state on the card" in told
    assert PROMISE not in told

    assert command.run("status") == 0
    told = capsys.readouterr().out
    assert (
        "linked: The speaker is linked to an account; after a power cut it may have to be linked again."
        in told
    )
    assert why in told

    assert command.run("status", "--json") == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["lasts"], fields["hint"].startswith(why)) == (False, True)

    assert command.link() == 0
    assert why in " ".join(capsys.readouterr().err.split())

    assert command.link("--json", "--again") == 0
    *_, linked = read_lines(capsys.readouterr().out.splitlines())
    assert (linked["event"], linked["lasts"], str(linked["hint"]).startswith(why)) == ("linked", False, True)


def test_a_link_on_a_disk_is_promised_to_stay(
    tmp_path: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    if doubt_about(tmp_path) is not None:
        pytest.skip("the tests' own folder may not outlast a power cut")
    command = Command(tmp_path, running)

    assert command.link("--json") == 0
    *_, linked = read_lines(capsys.readouterr().out.splitlines())
    assert (linked["lasts"], linked["hint"]) == (True, "")

    assert command.link("--again") == 0
    assert PROMISE in capsys.readouterr().err

    assert command.run("status", "--json") == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["lasts"], fields["hint"]) == (True, "")


def test_a_simulated_speaker_in_memory_promises_nothing_either(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--state-dir", str(memory / "state"), "--runtime-dir", str(memory / "run")]

    assert main(["link", "--simulate", *places]) == 0
    told = " ".join(capsys.readouterr().err.split())

    assert f"{memory}/state/simulated is in memory" in told
    assert FOR_NOW in told
    assert PROMISE not in told


def test_a_service_whose_link_is_in_memory_tells_so_in_every_way(memory: Path) -> None:
    with serve(Amazon(Options(interval=1), clock=time.monotonic)) as running:
        household = Household(memory, running)
        with household.living() as living:
            household.link(living)
            status = living.wait_until("linked")
            wait_for(lambda: FOR_NOW in household.heard, "the voice does not say it")
            with urlopen(f"http://127.0.0.1:{household.page_port}/") as page:
                seen = page.read().decode()
            asked = household.ask("link", "--json")
            read = household.ask("status")

    assert f"{memory}/state is in memory" in living.told
    assert not status.lasts
    assert f"{memory}/state is in memory" in status.hint
    assert FOR_NOW in seen
    assert json.loads(asked.stdout)["lasts"] is False
    assert "after a power cut it may have to be linked again" in read.stdout
