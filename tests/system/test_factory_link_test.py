"""The link-test of a unit against a simulated Amazon: what it checks, and that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest

from device_auth.core.errors import ConfigError, WrongUse
from device_auth.core.models import Seconds
from device_auth.factory.unit.link_test import LinkTest, run_link_test
from device_auth.factory.unit.profile import STRANGER, factory_profile, remove_leftover_profiles
from device_auth.simulator.amazon import EVERY_CODE, Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import Running, serve
from device_auth.world.places import factory_dir
from device_auth.world.store import NEWEST, FileStore
from tests.canaries import Bench, Canaries
from tests.command import ROOT
from tests.links import make_link
from tests.simulated_speaker import strict
from tests.system.test_canaries import Witness
from tests.unit_on_the_line import KEY, UnitOnTheLine
from tests.waiting import wait_for
from tests.world import CLIENT_ID

PARTS: Final = ["link", "refresh", "rotated-refresh", "revocation", "unlink", "profile-removed"]


@pytest.fixture
def unit(tmp_path: Path) -> UnitOnTheLine:
    unit = UnitOnTheLine(tmp_path).make()
    unit.identify()
    return unit


@contextmanager
def amazon_of(**options: object) -> Iterator[Running]:
    with serve(Amazon(strict(**options), clock=time.monotonic)) as running:
        yield running


def approves(unit: UnitOnTheLine, amazon: Amazon, *, revokes: bool = True) -> None:
    """Be the rig."""

    def hear(line: dict[str, Any]) -> None:
        if line.get("for") == "approval":
            amazon.approve(EVERY_CODE)
        elif line.get("for") == "revocation" and revokes:
            amazon.revoke(EVERY_CODE)

    unit.rig = hear


def exit_code_of(unit: UnitOnTheLine, running: Running, **options: object) -> int:
    """Run the test in this process, and return the exit code that its result has."""
    talk = unit.talk("link-test")
    doors = unit.doors(base_url=running.base_url, **options)
    run_link_test(talk, LinkTest(doors, root_becomes_stranger=False))
    return talk.result(1).exit


# ---------------------------------------------------------------------------------------------------------
# The whole life


@pytest.mark.slow
def test_a_whole_process_links_refreshes_notices_and_leaves_nothing_behind(tmp_path: Path) -> None:
    canaries = Canaries(key=KEY)
    bench = Bench(tmp_path, canaries)
    amazon = Witness(strict(rotates=True), canaries)
    state = bench.speaker / "state/simulated"
    state.mkdir(parents=True)
    identity = f'dsn = "K-0001"\nproduct_id = "kitchen"\nclient_id = "{CLIENT_ID}"\n'
    (state / "identity.toml").write_text(identity)

    with serve(amazon, tls=bench.given) as running:
        assert running.ca_file is not None
        words = ["factory", "link-test", "--talk", "--simulate=auto", "--base-url", running.base_url]
        header = {"schema": 1, "run": "0" * 32, "key": KEY, "ca": running.ca_file.read_text()}
        with bench.started(*words, *bench.places) as started:
            started.type(json.dumps(header) + "\n")
            started.wait_until_told('"for": "approval"')
            amazon.approve(EVERY_CODE)
            started.wait_until_told('"for": "revocation"')
            amazon.revoke(EVERY_CODE)
            started.wait_until_told('"result"')

    lines = [json.loads(line) for line in started.ran.out.splitlines()]
    assert [line["name"] for line in lines if line.get("outcome") == "PASS" and "name" in line] == PARTS
    assert lines[-1]["outcome"] == "PASS"
    measured = {line["name"]: line["value"] for line in lines if line["event"] == "measurement"}
    assert set(measured) == {"code-seconds", *(f"{name}-seconds" for name in PARTS[:-1])}
    assert measured["revocation-seconds"] > 10  # a link is believed to be revoked when that was said twice
    assert started.ran.exit_code == 0
    # while it ran, the token file was in the profile, which is closed to others
    assert [leak for leak in bench.leaks() if "/link-test-" not in leak] == []
    assert [path.name for path in state.iterdir()] == ["identity.toml"]
    assert list(factory_dir(bench.speaker / "run/simulated").iterdir()) == []
    assert list(amazon.referee.complaints()) == []
    assert len(canaries.names) >= 4


# ---------------------------------------------------------------------------------------------------------
# What fails


def test_a_code_that_is_declined_fails_as_denied(unit: UnitOnTheLine) -> None:
    with amazon_of() as running:
        unit.rig = lambda line: running.amazon.deny(EVERY_CODE) if line.get("for") == "approval" else None

        assert exit_code_of(unit, running) == 77

    assert unit.failed == ["link"]
    assert list(unit.checks) == ["link", "profile-removed"]


def test_a_provider_that_gives_no_new_refresh_token_is_no_test_of_its_keeping(unit: UnitOnTheLine) -> None:
    with amazon_of() as running:
        approves(unit, running.amazon)

        assert exit_code_of(unit, running) == 69

    assert unit.failed == ["rotated-refresh"]
    assert "--rotate" in unit.detail("rotated-refresh")


def test_another_end_of_the_link_is_no_revocation(unit: UnitOnTheLine) -> None:
    with amazon_of(rotates=True) as running:

        def hear(line: dict[str, Any]) -> None:
            if line.get("for") == "approval":
                running.amazon.approve(EVERY_CODE)
            elif line.get("for") == "revocation":
                fault = Fault(status=401, body='{"error": "invalid_client"}')
                running.amazon.script(Endpoint.REFRESH, [fault] * 3)

        unit.rig = hear

        assert exit_code_of(unit, running) == 78

    assert unit.failed == ["revocation"]


def test_a_refresh_that_is_refused_fails_by_its_name(unit: UnitOnTheLine) -> None:
    with amazon_of(rotates=True) as running:

        def hear(line: dict[str, Any]) -> None:
            if line.get("for") == "approval":
                running.amazon.approve(EVERY_CODE)
            elif line.get("name") == "link":
                fault = Fault(status=401, body='{"error": "invalid_client"}')
                running.amazon.script(Endpoint.REFRESH, [fault] * 3)

        unit.rig = hear

        assert exit_code_of(unit, running) == 78

    assert unit.failed == ["refresh"]


def test_the_real_provider_is_not_for_a_test(unit: UnitOnTheLine) -> None:
    with pytest.raises(WrongUse, match="no simulated Amazon is named"):
        run_link_test(unit.talk("link-test"), LinkTest(unit.doors(), root_becomes_stranger=False))


def test_certificates_that_cannot_be_read_are_named(unit: UnitOnTheLine) -> None:
    doors = unit.doors(base_url="https://127.0.0.1:1/", ca_file=str(unit.folder / "none.pem"))

    with pytest.raises(ConfigError, match=r"none\.pem"):
        run_link_test(unit.talk("link-test"), LinkTest(doors, root_becomes_stranger=False))


def test_an_owners_link_is_neither_read_nor_touched(unit: UnitOnTheLine) -> None:
    with FileStore(unit.state) as store:
        store.replace(make_link())
    before = {path.name: (path.read_bytes(), path.stat().st_atime_ns) for path in unit.state.iterdir()}

    with amazon_of() as running:
        unit.rig = lambda line: running.amazon.deny(EVERY_CODE) if line.get("for") == "approval" else None
        exit_code_of(unit, running)

    link = unit.state / NEWEST
    assert (link.stat().st_atime_ns, link.read_bytes()) == before[NEWEST][::-1]
    assert {path.name for path in unit.state.iterdir()} == set(before)


# ---------------------------------------------------------------------------------------------------------
# The profile


def profiles(unit: UnitOnTheLine) -> list[Path]:
    top = factory_dir(unit.runtime)
    return list(top.iterdir()) if top.exists() else []


@contextmanager
def begun(unit: UnitOnTheLine, running: Running) -> Iterator["subprocess.Popen[str]"]:
    """Have a link-test that waits for its approval."""
    words = [sys.executable, "-m", "device_auth", "factory", "link-test", "--base-url", running.base_url]
    with subprocess.Popen(
        [*words, *unit.places],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert any('"for": "approval"' in line for line in process.stdout)
            yield process
        finally:
            process.kill()


def test_a_killed_link_test_leaves_no_folder(unit: UnitOnTheLine) -> None:
    with amazon_of() as running, begun(unit, running) as process:
        assert len(profiles(unit)) == 1

        process.kill()
        process.wait()

        wait_for(lambda: profiles(unit) == [], "the profile is left")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_leaves_none_either_and_says_how_it_ended(
    unit: UnitOnTheLine, number: signal.Signals
) -> None:
    with amazon_of() as running, begun(unit, running) as process:
        process.send_signal(number)
        assert process.stdout is not None
        last = process.stdout.read().splitlines()[-1]

        assert process.wait() == 130
        assert json.loads(last)["outcome"] == "ABORTED"
        assert profiles(unit) == []


def test_an_end_that_meets_the_reaper_at_its_start_makes_no_second_result(unit: UnitOnTheLine) -> None:
    words = [*("factory", "link-test", "--base-url=http://127.0.0.1:9/", "--timeout=0.5"), *unit.places]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.end_at_fork", "_start_reaper", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    events = [json.loads(line)["event"] for line in ran.stdout.splitlines()]
    assert (ran.returncode, events.count("result"), events[-1]) == (75, 1, "result")
    assert list(factory_dir(unit.runtime).iterdir()) == []


def test_what_was_killed_with_its_reaper_is_removed_by_the_next_verb(unit: UnitOnTheLine) -> None:
    with amazon_of() as running, begun(unit, running) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for number in (*map(int, children), process.pid):
            os.kill(number, signal.SIGKILL)
        process.wait()
    assert len(profiles(unit)) == 1

    words = [sys.executable, "-m", "device_auth", "factory", "status", *unit.places]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert profiles(unit) == []


def test_a_leftover_is_removed_from_no_other_folder_that_is_put_in_the_place(tmp_path: Path) -> None:
    top, others = factory_dir(tmp_path / "run"), tmp_path / "others"
    (top / "link-test-a").mkdir(parents=True)
    (others / "link-test-b").mkdir(parents=True)
    child = os.fork()
    if child == 0:

        def exchange(event: str, _: object) -> None:
            if event in {"os.listdir", "os.scandir"} and not top.is_symlink():
                top.rename(tmp_path / "moved")
                top.symlink_to(others)

        sys.addaudithook(exchange)
        remove_leftover_profiles(tmp_path / "run")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    assert top.is_symlink()
    assert (others / "link-test-b").exists()
    assert not (tmp_path / "moved/link-test-a").exists()


def test_a_profile_in_use_is_no_leftover(unit: UnitOnTheLine) -> None:
    with factory_profile(unit.runtime) as folder:
        remove_leftover_profiles(unit.runtime)

        assert folder.exists()
    assert not folder.exists()


def test_after_its_time_the_verb_is_ended_and_the_folder_removed(unit: UnitOnTheLine) -> None:
    child = os.fork()
    if child == 0:
        try:
            with factory_profile(unit.runtime, Seconds(0.1)):
                time.sleep(3600)  # hangs
        finally:
            os._exit(0)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    wait_for(lambda: profiles(unit) == [], "the profile is left")


AS_STRANGER: Final = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.system.test_factory_link_test import UnitOnTheLine, LinkTest, run_link_test, amazon_of, EVERY_CODE, Endpoint, Fault
unit = UnitOnTheLine(Path({folder!r})).make()
unit.identify()
unit.state.chmod(0o700)
seen = []
def hear(line):
    if line.get("for") == "approval":
        seen.append(os.getresuid())
        try:
            os.listdir(unit.state)
        except PermissionError:
            seen.append("closed")
        running.amazon.approve(EVERY_CODE)
    elif line.get("for") == "revocation":
        running.amazon.script(Endpoint.REFRESH, [Fault(status=401, body='{{"error": "invalid_client"}}')] * 3)
unit.rig = hear
with amazon_of(rotates=True) as running:
    doors = unit.doors(base_url=running.base_url)
    run_link_test(unit.talk("link-test"), LinkTest(doors, root_becomes_stranger=True))
print(seen, unit.failed)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_on_a_machine_an_owners_files_are_closed_to_it(tmp_path: Path) -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        script = AS_STRANGER.format(root=str(ROOT), folder=folder)

        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
        )

        assert ran.stdout.strip() == str([(STRANGER,) * 3, "closed"]) + " ['revocation']"
        assert list(factory_dir(Path(folder) / "run/simulated").iterdir()) == []
