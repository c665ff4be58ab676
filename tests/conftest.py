"""The world of every test: it does not depend on who starts the tests, from where, or beside what."""

import gc
import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.phone import Phone

KEPT: Final = {
    *("PATH", "TMPDIR", "LD_LIBRARY_PATH", "CI"),
    *("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "HYPOTHESIS_NO_PLUGINS"),
    "DEVICE_AUTH_BENCHES",  # which light and button the contract tests of the hardware run against
}
"""The variables of the caller's environment that tests and their children see."""

MANY_FILES: Final = 16_384

KEPT_BEGINNINGS: Final = ("PYTEST_", "COV_", "COVERAGE_")

GIVEN: Final = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}

settings.register_profile(
    "device-auth",
    deadline=None,  # a busy machine is no fault of the code
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # a run of CI can be repeated; elsewhere each run draws anew
    print_blob=True,
)
settings.load_profile("device-auth")

# Thousands of tests are collected, in each worker, and all of them stay: looking through them for garbage again and again
# takes longer than the collection itself.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, the same way in each worker: those that wait, which lie together, fill up with those that compute."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: crc32(item.location[0].encode()))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)  # pytest's own terminal has read NO_COLOR and its like by then
def pytest_configure(config: pytest.Config) -> None:
    _reset_environment(config)
    _reset_signals()
    os.umask(0o022)  # a caller's 077 closes the folders of a test to the users that it plays
    _allow_many_files()


def _allow_many_files() -> None:
    """Raise the limit of open files: a crowd of clients has more than the usual 1,024 beside the ports that are kept free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(MANY_FILES, hard)), hard))


def _reset_environment(config: pytest.Config) -> None:
    kept = {
        name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_BEGINNINGS)
    }
    # Workers are children of the process that has made the home, and get it from there.
    home = os.environ["HOME"] if "PYTEST_XDIST_WORKER" in os.environ else _make_home(config)
    os.environ.clear()
    os.environ.update(kept, HOME=home, **GIVEN)


def _make_home(config: pytest.Config) -> str:
    home = tempfile.mkdtemp(prefix="device-auth-home-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    return home


def _reset_signals() -> None:
    """Listen to the signals that the caller ignores or blocks, as a job in the background or under nohup does."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # which Python itself ignores
        if signal.getsignal(number) is signal.SIG_IGN:
            # Still nothing to this process, so that it outlives its terminal; to its children the default.
            signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a home of its own: no other test's settings lie there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file with one authority."""
    from tests.certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority")).ca_file


@pytest.fixture
def few_authorities(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one authority be trusted: to read the hundreds of this machine takes longer than most tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Phone]":
    """Pick up a phone, once for all tests of this process: a browser is long in starting."""
    from tests.phone import open_phone

    with open_phone(tmp_path_factory.mktemp("phone")) as phone:
        yield phone


@pytest.fixture
def phone(browser: "Phone", tmp_path: Path) -> "Iterator[Phone]":
    """Give the test the phone as another has left it, but for the page and how pages are seen."""
    browser.wear("light", scripts=True)
    browser.shots = tmp_path
    yield browser
    browser.open("about:blank")


def pytest_runtest_teardown() -> None:
    # A verb that ran in this process and did not put this back would keep a later test from being interrupted.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
