"""What a start loads: each module costs every start, and a slow speaker starts often."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from device_auth.__main__ import LATE
from device_auth.client import Client, ClientError
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import Running, serve
from tests.command import ROOT, Command, bare_environment
from tests.scripted_server import ScriptedServer, answers
from tests.simulated_speaker import strict
from tests.waiting import LONG, wait_for

NETWORK: Final = {"requests", "http.client", "ssl"}

HEAVY: Final = {
    *("inspect", "dataclasses", "typing_extensions", "asyncio", "multiprocessing", "ctypes", "difflib"),
    *("requests", "urllib3", "cryptography", "qrcode", "flask", "sqlalchemy"),
    *(
        "http.client",
        "http.server",
        "email",
        "ssl",
        "tomllib",
        "subprocess",
        "tempfile",
        "shutil",
        "sqlite3",
    ),
}
"""Modules that cost more than a few of ours together, ours to load only where they are needed."""

STARTED: Final = """
import json, sys
from pathlib import Path

def note():
    loaded = [name for name, module in sys.modules.items() if getattr(module, "__spec__", None)]
    Path({notes!r}).write_text(json.dumps(sorted(loaded)))

class NoteBefore:
    def find_spec(self, name, path, target=None):
        if name in {before!r} and name not in noted:
            noted.update({before!r})
            note()

import atexit
noted = set()
if {before!r}:
    sys.meta_path.insert(0, NoteBefore())
else:
    atexit.register(note)
from device_auth.__main__ import main
sys.exit(main())
"""
"""Runs the command, and notes which modules are loaded at its end, or before it loads the first of some."""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        yield running


@pytest.fixture
def command(tmp_path: Path, running: Running) -> Command:
    return Command(tmp_path, running)


def start(command: Command, *words: str, before: set[str] | None = None) -> "subprocess.Popen[str]":
    code = STARTED.format(notes=str(command.folder / "notes"), before=before or set())
    return subprocess.Popen(
        [sys.executable, "-c", code, *words, *command.places],
        cwd=ROOT,
        env=bare_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loaded(command: Command, *words: str, before: set[str] | None = None) -> set[str]:
    with start(command, *words, before=before) as process:
        process.communicate(timeout=LONG)
    assert process.returncode == 0
    return noted(command)


def noted(command: Command) -> set[str]:
    return set(json.loads((command.folder / "notes").read_text()))


FOR_EVERYONE: Final = {"hardware.errors", "hardware.settings", "hardware.button"}

OF_THE_START: Final = {"device_auth.__main__", "device_auth.late_modules"}

AT_REST: Final = {"assembly", "cli", "core", "hardware", "prompts", "world"}


def heavy(modules: set[str]) -> set[str]:
    """Return those of the modules that are loaded where they are needed, or at their first use."""
    return modules & (HEAVY | {*LATE})


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith(("device_auth.", "hardware"))}


def rooms(modules: set[str]) -> set[str]:
    """Return the folders that modules are from; of the hardware, words and settings are for everyone."""
    assert {name for name in modules if name.startswith("hardware.")} <= FOR_EVERYONE
    found = ours(modules) - OF_THE_START
    return {name.split(".")[1] if name.startswith("device_auth.") else "hardware" for name in found}


def is_up(command: Command) -> bool:
    with Client(str(command.folder / "run" / "api.sock")) as client:
        try:
            return client.status().state != "starting"
        except ClientError:
            return False


@pytest.fixture(autouse=True)
def _without_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what counts coverage in children out of them: it loads modules of its own."""
    for name in [name for name in os.environ if name.startswith("COV")]:
        monkeypatch.delenv(name)


def test_a_status_reads_the_disk_and_loads_nothing_else(command: Command) -> None:
    modules = loaded(command, "status")

    assert heavy(modules) == set()
    assert rooms(modules) == AT_REST
    assert not ours(modules) & {
        "device_auth.client",
        "device_auth.assembly.parts",
        "device_auth.prompts.fanout",
        "device_auth.world.signals",
    }


def test_a_token_that_is_kept_is_printed_without_what_refreshes_one(command: Command) -> None:
    loaded(command, "link", *command.provider)

    modules = loaded(command, "token")

    assert heavy(modules) == set()
    assert rooms(modules) == AT_REST


def test_a_link_loads_no_network_before_its_first_request_and_no_part_without_a_board(
    command: Command,
) -> None:
    modules = loaded(command, "link", *command.provider, before=NETWORK)

    assert not heavy(modules)
    assert rooms(modules) == AT_REST | {"service", "wire"}
    assert {name for name in ours(modules) if name.startswith("device_auth.service.")} == {
        "device_auth.service.calls",
        "device_auth.service.loop",
        "device_auth.service.provider_client",
    }


def test_a_link_loads_nothing_of_requests_that_it_does_not_use(command: Command) -> None:
    modules = loaded(command, "link", "--json", *command.provider)

    assert "requests" in modules
    assert not modules & {"charset_normalizer", "chardet", "idna", "certifi", "importlib.metadata"}
    assert not modules & {"bz2", "lzma", "http.cookiejar", "http.cookies", *LATE}


def test_a_later_requests_may_want_more_of_the_modules_for_cookies(tmp_path: Path) -> None:
    (tmp_path / "requests.py").write_text(
        "from http import cookiejar\n"
        "from http.cookies import SimpleCookie\n"
        "print(issubclass(cookiejar.LWPCookieJar, cookiejar.FileCookieJar), SimpleCookie('a=1')['a'].value)\n"
    )

    assert printed_by_loading(tmp_path) == "True 1\n"


@pytest.mark.parametrize("end", ["", "raise ImportError"])
def test_nothing_is_collected_while_requests_is_loaded(tmp_path: Path, end: str) -> None:
    (tmp_path / "requests.py").write_text(f"import gc; print(gc.isenabled(), end=' ')\n{end}\n")

    assert printed_by_loading(tmp_path, "import gc; print(gc.isenabled())") == "False True\n"


def printed_by_loading(folder: Path, then: str = "") -> str:
    """Load a library in place of requests, which ours cannot use, and return what it prints."""
    code = f"""import contextlib, sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]
from device_auth.world.transport import load
with contextlib.suppress(ImportError, AttributeError):
    load()
{then}"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=LONG
    )
    return ran.stdout


@pytest.mark.parametrize("name", ["importlib.resources.readers", "_strptime"])
def test_what_another_thread_imports_while_requests_is_loaded_is_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / "requests.py").write_text(
        "import importlib, threading\n"
        f"thread = threading.Thread(target=importlib.import_module, args=({name!r},))\n"
        "thread.start()\n"
        "thread.join()\n"
        "raise ImportError\n"
    )
    then = f"""import calendar, zipfile
kept = sys.modules[{name!r}]
assert getattr(kept, "calendar", calendar) is calendar and getattr(kept, "zipfile", zipfile) is zipfile
print("whole")
"""

    assert printed_by_loading(tmp_path, then) == "whole\n"


def test_a_verb_looks_for_no_translation_of_argparse() -> None:
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ["token", "--state-dir", "/nowhere"]
from device_auth.__main__ import main
assert main() == 75
assert not {{"gettext", "locale"}} & sys.modules.keys()
import gettext
assert gettext.translation
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=LONG)


def test_requests_reads_no_authorities_while_it_is_loaded() -> None:
    code = f"""import os, sys; sys.path.insert(0, {str(ROOT)!r})
from device_auth.world.transport import load
load()
from requests import adapters, certs, utils
assert getattr(adapters, "_preloaded_ssl_context", None) is None
assert os.path.exists(certs.where()), "not what another program would be given"
try:
    os.stat(utils.DEFAULT_CA_BUNDLE_PATH)
except ImportError:
    print("none")
"""
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=LONG
    )

    assert ran.stdout == "none\n"


def test_the_client_for_other_programs_loads_neither_network_nor_anything_heavy() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import device_auth.client; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=LONG
    )

    modules = set(ran.stdout.split())
    assert not modules & HEAVY
    assert ours(modules) == {"device_auth.client"}
    assert not modules & {"pathlib", "logging", "argparse"}


def test_a_service_is_up_before_it_loads_the_network_and_no_part_without_a_board(command: Command) -> None:
    notes = command.folder / "notes"
    with start(command, "run", *command.provider, before=NETWORK) as process:
        wait_for(lambda: (notes.exists() and is_up(command)) or process.poll() is not None)
        process.terminate()
        assert process.wait(LONG) == 0

    modules = noted(command)
    assert not heavy(modules)
    assert rooms(modules) == AT_REST | {"http", "service", "wire"}


def test_a_service_without_a_link_has_loaded_what_sends_before_a_press_comes_and_not_what_draws(
    command: Command,
) -> None:
    notes = command.folder / "notes"
    with start(command, "run", *command.provider, before={"device_auth.world.connections"}) as process:
        wait_for(lambda: notes.exists() or process.poll() is not None)
        process.terminate()
        assert process.wait(LONG) == 0

    assert "requests" in noted(command)
    assert not noted(command) & {"qrcode", "png", "PIL"}  # several MiB


@pytest.mark.parametrize(
    "name", ["requests.adapters", "requests.sessions", "urllib3.connection", "device_auth.world.connections"]
)
def test_what_could_not_be_loaded_once_is_loaded_later(name: str) -> None:
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
from device_auth.world.transport import HttpTransport, load
from tests.transports import SimulatedClock, post
class Full:
    def find_spec(self, name, *_):
        if name == {name!r}:
            sys.meta_path.remove(self)
            raise OSError("too many open files")
sys.meta_path.insert(0, Full())
try:
    load()
except OSError as error:
    print(error)
print(HttpTransport(SimulatedClock()).send(post(sys.argv[1])).body)
"""
    with ScriptedServer(answers([b"1"])) as server:
        ran = subprocess.run(
            [sys.executable, "-c", code, server.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "too many open files\nb'1'\n", "")


def test_a_process_ends_after_the_authorities_that_are_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    code = f"""import pathlib, subprocess, sys, threading; sys.path.insert(0, {str(ROOT)!r})
from device_auth.world.route import Authorities
from urllib3.util import ssl_
class Context:
    def load_verify_locations(self, *_):
        begun.set()
        threading.main_thread().join()
        subprocess.run([sys.executable, "-c", ""])
        print("loaded", flush=True)
ssl_.create_urllib3_context, begun = Context, threading.Event()
authorities = Authorities(pathlib.Path({str(tmp_path / "ca.pem")!r}))
threading.Thread(target=authorities.make_context, daemon=True).start()
begun.wait()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LONG
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "loaded\n", "")


def test_a_process_ends_after_what_is_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "requests.py").write_text(
        "import subprocess, sys, threading\n"
        "threading.main_thread().join()\n"
        "subprocess.run([sys.executable, '-c', ''])\n"
        "print('loaded', flush=True)\n"
    )
    code = f"""import sys, threading; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
from contextlib import suppress
from device_auth.world.transport import load
def load_what_is_no_library():
    with suppress(Exception): load()
threading.Thread(target=load_what_is_no_library, daemon=True).start()
while "requests" not in sys.modules: pass
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=LONG
    )

    assert (ran.returncode, ran.stdout) == (0, "loaded\n")
