"""Modules that are loaded at their first use are, to whoever imports them, the modules themselves."""

import subprocess
import sys

import pytest

from device_auth.__main__ import LATE
from tests.command import ROOT
from tests.waiting import LONG

MEMBERS = {
    "calendar": "timegm",
    "mimetypes": "guess_type",
    "selectors": "PollSelector",
    "stringprep": "in_table_a1",
    "traceback": "format_exc",
}


def run(code: str) -> None:
    late = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from device_auth.late_modules import load_late\n"
    subprocess.run([sys.executable, "-I", "-S", "-c", late + code], check=True, timeout=LONG)


@pytest.mark.parametrize("name", LATE)
def test_a_module_is_loaded_at_its_first_use(name: str) -> None:
    run(f"""
load_late({name!r})
import {name} as kept
assert sys.modules[{name!r}] is kept and kept.__spec__ is None, "not loaded yet"
used = kept.{MEMBERS[name]}
import {name}
assert {name}.__spec__ is not None and {name} is not kept
assert used is {name}.{MEMBERS[name]}
assert not hasattr({name}, "__path__"), "a package, as zipfile from Python 3.12 on: none of its modules could be imported first"
""")


def test_a_name_is_taken_of_it_as_of_any_module() -> None:
    run("""
load_late("traceback")
from traceback import format_exc
import traceback
assert format_exc is traceback.format_exc
try:
    from traceback import no_such_name
except ImportError:
    sys.exit()
sys.exit("found")
""")


def test_a_module_that_is_loaded_stays() -> None:
    run("""
import traceback as kept
load_late("traceback")
assert sys.modules["traceback"] is kept
""")


def test_threads_that_use_it_first_at_once_all_find_it_whole() -> None:
    run("""
import threading
sys.setswitchinterval(1e-6)
load_late("traceback")
import traceback as kept
found, ready = [], threading.Barrier(8)
def use():
    ready.wait()
    found.append(kept.TracebackException)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import traceback
assert found == [traceback.TracebackException] * 8, found
""")


def test_a_bug_is_reported_where_no_file_can_be_opened_any_more_to_load_what_reports_it() -> None:
    run("""
load_late("traceback")
import contextlib, io, logging, resource
from device_auth.cli.main import _say_bug
from device_auth.service.journal import _text_of
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    sys.intern(1)
except TypeError as bug:
    record = logging.LogRecord("device_auth", 40, "", 0, "a request broke", (), (TypeError, bug, bug.__traceback__))
    logged = _text_of(record).splitlines()
    with contextlib.redirect_stderr(io.StringIO()) as told:
        _say_bug(bug)
assert logged == ["a request broke: TypeError", "  <string>:9 in <module>"], logged
assert told.getvalue().splitlines()[:2] == ["device-auth: a bug in this program: TypeError", logged[1]]
""")
