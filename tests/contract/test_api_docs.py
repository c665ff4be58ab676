"""The examples of docs/api.md, run as they stand, against the socket as it is."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from device_auth.client import Client, Status, Token
from device_auth.core.models import UnixTime, View
from device_auth.core.states import StateWord, Trouble
from device_auth.service import api
from device_auth.world.token_files import FileTokens
from tests.command import ROOT
from tests.links import StillClock, make_grant, make_link
from tests.socket_world import SocketWorld
from tests.waiting import LONG

TEXT: Final = (ROOT / "docs" / "api.md").read_text()
SCRIPTS: Final = dict(re.findall(r"```sh\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_inotifywait = pytest.mark.skipif(
    shutil.which("inotifywait") is None, reason="inotifywait is not installed"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SocketWorld]:
    with SocketWorld(tmp_path / "api.sock") as world:
        world.is_linked(world.issue("one"))
        yield world


def run(world: SocketWorld, name: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPTS[name].replace("/run/device-auth/api.sock", str(world.path))
    return subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=LONG, check=False)


def read_until(script: str, start: str, nudge: Callable[[], None]) -> str:
    """Run a script until it prints a line that begins so; nudge it until then."""
    found = threading.Event()

    def keep_nudging() -> None:
        while not found.wait(0.05):
            nudge()

    nudging = threading.Thread(target=keep_nudging)
    with subprocess.Popen(
        ["sh", "-ec", script], stdout=subprocess.PIPE, text=True, process_group=0
    ) as running:
        nudging.start()
        try:
            return next(line for line in running.stdout or () if line.startswith(start))
        finally:
            found.set()
            nudging.join(LONG)
            os.killpg(running.pid, signal.SIGTERM)


@needs_curl
def test_the_example_of_the_status_prints_it(world: SocketWorld) -> None:
    assert json.loads(run(world, "status").stdout)["state"] == "linked"


@needs_curl
def test_the_example_of_the_health_prints_it_and_fails_where_it_is_bad(world: SocketWorld) -> None:
    healthy = run(world, "health")
    world.feed.withdraw()
    unhealthy = run(world, "health")

    assert (healthy.returncode, json.loads(healthy.stdout)["status"]) == (0, "healthy")
    assert (unhealthy.returncode, json.loads(unhealthy.stdout)["reason"]) == (22, "no-fresh-token")


@needs_curl
def test_the_example_of_the_token_prints_it_or_fails(world: SocketWorld) -> None:
    done = run(world, "token")
    world.feed.tell(View(StateWord.UNLINKED, Trouble.NONE), None)
    world.feed.withdraw()
    failed = run(world, "token")

    assert (done.returncode, json.loads(done.stdout)["access_token"]) == (0, "CANARY-one")
    assert (failed.returncode, json.loads(failed.stdout)["type"]) == (22, "urn:device-auth:not-linked")


@needs_curl
def test_the_example_of_a_rejected_token_prints_another(world: SocketWorld) -> None:
    assert json.loads(run(world, "rejected").stdout)["access_token"] == "CANARY-one"


@needs_curl
def test_the_example_of_linking_begins_to_link(world: SocketWorld) -> None:
    assert run(world, "link").returncode == 0
    assert world.actions.asked == ["link"]


@needs_curl
def test_the_example_of_the_events_prints_the_present_state(world: SocketWorld) -> None:
    script = SCRIPTS["events"].replace("/run/device-auth/api.sock", str(world.path))

    line = read_until(script, "data:", world.feed.refresh_ended)

    assert json.loads(line.removeprefix("data:"))["state"] == "linked"


@needs_inotifywait
def test_the_example_of_watching_the_file_tells_of_each_token(tmp_path: Path) -> None:
    files = FileTokens(tmp_path, StillClock(), keep_bare=True)
    script = SCRIPTS["on-new-token"].replace("/run/device-auth", str(tmp_path))

    assert read_until(script, "there is", lambda: files.publish(make_grant()))


def test_the_example_in_python_prints_when_the_token_ends(world: SocketWorld) -> None:
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    script = found[1].replace("Client()", f"Client({str(world.path)!r})")

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG, check=True
    )

    assert done.stdout == "2027-01-15 09:00:00+00:00\n"


def test_the_example_that_follows_by_itself_sees_another_link_that_was_made_before_it_followed(
    world: SocketWorld,
) -> None:
    # it took the first status for the link that it had begun with
    class Late(Client):
        def events(self) -> Generator[Status, None, None]:
            world.is_linked(link=replace(make_link(), linked_at=UnixTime(1.9e9)))
            yield from islice(super().events(), 1)

    (script,) = re.findall(r"```python\nfrom device_auth.client import Client\n([^`]*events[^`]*)```", TEXT)
    with Late(str(world.path)) as late:
        found: dict[str, Any] = {"Client": lambda: late}
        exec(script, found)  # noqa: S102  our own text

    assert found["linked_at"].timestamp() == 1.8e9
    assert found["status"].linked_at.timestamp() == 1.9e9


@needs_curl
def test_the_loop_for_events_prints_each_state_as_json(world: SocketWorld) -> None:
    script = SCRIPTS["follow"].replace("/run/device-auth/api.sock", str(world.path))

    line = read_until(script, "{", world.feed.refresh_ended)

    assert json.loads(line)["state"] == "linked"


def test_the_client_is_one_file_that_any_program_can_take_along(world: SocketWorld, tmp_path: Path) -> None:
    [(copied, script)] = re.findall(r"\$ cp (\S+) ./\S+\n\$ python3 -c '(.+)'", TEXT)
    shutil.copy(copied.replace("/usr/share/device-auth", str(ROOT)), tmp_path / "device_auth_client.py")

    done = subprocess.run(
        [sys.executable, "-S", "-c", script.replace("Client()", f"Client({str(world.path)!r})")],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
        cwd=tmp_path,
    )

    assert done.stdout == "linked\n"


@pytest.mark.parametrize("of", [Token, Status])
def test_the_tables_of_the_client_name_each_field_there_is(of: type[Token | Status]) -> None:
    table = TEXT[TEXT.index(f"| `{of.__name__}` |") :].partition("\n\n")[0]

    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE)[1:] == list(of._fields)


def test_the_table_of_errors_names_each_type_there_is() -> None:
    table = TEXT[TEXT.index("| Type |") : TEXT.index("### Limits")]
    named = set(re.findall(r"`([a-z-]+)`", " ".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE))))

    assert named == api.PROBLEMS.keys()


def test_the_table_of_requests_names_each_one_there_is(world: SocketWorld) -> None:
    named = set(re.findall(r"^\| `([A-Z]+) (/v1/[a-z/]+)", TEXT, re.MULTILINE))

    assert named == {(method, path) for path, methods in world.api._routes.items() for method in methods}
