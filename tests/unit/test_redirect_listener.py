import http.client
import os
import re
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import Refusal, Seconds, Secret, UnixTime
from device_auth.core.states import Trouble
from device_auth.http.connection import ReadLimits
from device_auth.tools.authorize import (
    ADMISSION,
    ListenAddress,
    RedirectListener,
    has_display,
    holder_of,
    open_browser,
    read_listen_address,
    redirect_page,
)
from device_auth.wire.authorization_code import Redirect
from device_auth.world.certificate import CERTIFICATE, server_context
from tests.certificates import NOW
from tests.ipv6 import needs_ipv6
from tests.ports import free_port
from tests.waiting import LONG, wait_for

STATE = "our-state"
GOOD = f"/authresponse?code=CANARY-code&state={STATE}"


class ListenerBench:
    """A listener, and browsers that come to it."""

    def __init__(self, folder: Path, *, is_secure: bool) -> None:
        self.came: SimpleQueue[Redirect | Refusal] = SimpleQueue()
        self.place = ListenAddress(free_port(), "/authresponse", is_secure)
        context = server_context(folder, UnixTime(NOW.timestamp())) if is_secure else None
        self.trust = ssl.create_default_context(cafile=folder / CERTIFICATE) if is_secure else None
        # a time-out far beyond the tests': what ends in time was ended by something else
        self.listener = RedirectListener(self.place, STATE, context, self.came.put, timeout=Seconds(300))

    def get(self, target: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
        """Ask as a browser does; give the status and the page."""
        connection = (
            http.client.HTTPSConnection(host, self.place.port, context=self.trust, timeout=LONG)
            if self.trust
            else http.client.HTTPConnection(host, self.place.port, timeout=LONG)
        )
        with closing(connection):
            connection.request(method, target)
            answer = connection.getresponse()
            self.headers = dict(answer.headers)
            return answer.status, answer.read().decode()

    def plug_in(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.place.port), timeout=LONG)

    def answer(self) -> Redirect | Refusal:
        return self.came.get(timeout=LONG)

    def is_waiting(self) -> bool:
        try:
            self.came.get_nowait()
        except Empty:
            return True
        return False


@pytest.fixture(params=["https", "http"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ListenerBench]:
    bench = ListenerBench(tmp_path, is_secure=request.param == "https")
    with bench.listener:
        yield bench


@pytest.fixture
def secure_bench(tmp_path: Path) -> Iterator[ListenerBench]:
    bench = ListenerBench(tmp_path, is_secure=True)
    with bench.listener:
        yield bench


def test_a_browser_brings_the_code_and_is_told_that_it_may_go(bench: ListenerBench) -> None:
    status, page = bench.get(GOOD)

    assert bench.answer() == Redirect(Secret("CANARY-code"))
    assert status == 200
    assert "You may close this page." in page
    assert "CANARY" not in page


@needs_ipv6
def test_the_browser_is_met_on_either_loopback_address(secure_bench: ListenerBench) -> None:
    status, _ = secure_bench.get(GOOD, host="::1")

    assert status == 200
    assert isinstance(secure_bench.answer(), Redirect)


def test_the_page_loads_nothing_runs_nothing_and_is_kept_nowhere(secure_bench: ListenerBench) -> None:
    _, page = secure_bench.get(GOOD)

    policy = secure_bench.headers["Content-Security-Policy"]
    assert policy.startswith(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    )
    assert secure_bench.headers["Cache-Control"] == "no-store"
    assert secure_bench.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"src=|href=|<script|url\(", page)


STRANGERS = {
    "another path": ("/favicon.ico", "GET", 404),
    "the path with more behind it": (GOOD.replace("?", "/?"), "GET", 404),
    "another state": (GOOD.replace(STATE, "another"), "GET", 400),
    "no state": ("/authresponse?code=abc", "GET", 400),
    "nothing": ("/authresponse", "GET", 400),
    "an error of another state": ("/authresponse?error=access_denied&state=another", "GET", 400),
    "a form": (GOOD, "POST", 405),
    "a look at the head": (GOOD, "HEAD", 405),
}


@pytest.mark.parametrize(("target", "method", "expected"), STRANGERS.values(), ids=STRANGERS)
def test_whatever_is_not_the_answer_is_told_so_and_waited_past(
    bench: ListenerBench, target: str, method: str, expected: int
) -> None:
    status, page = bench.get(target, method)

    assert status == expected
    assert "abc" not in page
    assert bench.is_waiting()
    assert bench.get(GOOD)[0] == 200
    assert isinstance(bench.answer(), Redirect)


def test_exactly_one_redirect_is_taken(bench: ListenerBench) -> None:
    first, _ = bench.get(GOOD)
    second, page = bench.get(GOOD.replace("CANARY", "another"))

    assert (first, second) == (200, 409)
    assert "already" in page
    assert bench.answer() == Redirect(Secret("CANARY-code"))
    assert bench.is_waiting()


def test_an_error_redirect_is_put_into_words_on_the_page_too(bench: ListenerBench) -> None:
    status, page = bench.get(f"/authresponse?error=access_denied&error_description=%3Cb%3E&state={STATE}")

    answer = bench.answer()
    assert isinstance(answer, Refusal)
    assert answer.trouble is Trouble.DENIED
    assert status == 200
    assert "The owner declined (it says: &lt;b&gt;)." in page


GARBAGE = {
    "nothing at all": b"",
    "no HTTP": b"\0\1\2\3\r\n\r\n",
    "half a request": b"GET /authresponse?code=",
    "another version": b"GET /authresponse HTTP/2\r\n\r\n",
    "64 KiB of header": b"GET / HTTP/1.1\r\nX: " + b"a" * 65_536,
    "a request in the clear": b"GET /authresponse?code=abc HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("octets", GARBAGE.values(), ids=GARBAGE)
def test_garbage_and_silence_do_not_keep_the_browser_out(bench: ListenerBench, octets: bytes) -> None:
    with bench.plug_in() as silent, bench.plug_in() as broken:
        silent.sendall(octets[:1])
        broken.sendall(octets)

        assert bench.get(GOOD)[0] == 200

    assert isinstance(bench.answer(), Redirect)


def test_the_oldest_of_too_many_silent_connections_makes_room(bench: ListenerBench) -> None:
    with ExitStack() as plugged:
        silent = [plugged.enter_context(bench.plug_in()) for _ in range(ADMISSION.places)]

        assert bench.get(GOOD)[0] == 200

        while silent[0].recv(64):  # TLS may give its reason first
            pass
    assert isinstance(bench.answer(), Redirect)


def test_a_head_that_is_too_long_is_answered(tmp_path: Path) -> None:
    bench = ListenerBench(tmp_path, is_secure=False)
    with bench.listener, bench.plug_in() as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * (ReadLimits().head - 18))

        assert browser.recv(12) == b"HTTP/1.1 400"


def test_nothing_listens_any_more_once_it_is_over(bench: ListenerBench) -> None:
    bench.listener.__exit__()

    with pytest.raises(ConnectionError):
        bench.plug_in()


@pytest.mark.parametrize(
    ("host", "family"),
    [("127.0.0.1", socket.AF_INET), pytest.param("::1", socket.AF_INET6, marks=needs_ipv6)],
)
def test_a_port_in_use_on_either_address_is_told_with_who_uses_it(
    tmp_path: Path, host: str, family: socket.AddressFamily
) -> None:
    bench = ListenerBench(tmp_path, is_secure=False)
    with socket.create_server((host, bench.place.port), family=family):
        with pytest.raises(ConfigError) as caught:
            bench.listener.__enter__()

        assert f"port {bench.place.port}, where the browser comes back to, is in use by process" in str(
            caught.value
        )
        assert f"process {os.getpid()} (" in str(caught.value)
        assert "--redirect-uri" in caught.value.hint
        assert "--paste" in caught.value.hint


def test_a_port_whose_holder_the_kernel_does_not_tell_is_in_use_all_the_same(tmp_path: Path) -> None:
    assert holder_of(9745, proc=tmp_path) == "another process"


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("https://localhost:9745/authresponse", ListenAddress(9745, "/authresponse", is_secure=True)),
        ("http://127.0.0.1:3000/authresponse", ListenAddress(3000, "/authresponse", is_secure=False)),
        ("https://[::1]", ListenAddress(443, "/", is_secure=True)),
        ("http://localhost/", ListenAddress(80, "/", is_secure=False)),
        ("https://speaker.example.org/back", None),
        ("https://127.0.0.2/back", None),
    ],
)
def test_only_this_machines_own_addresses_can_be_listened_on(uri: str, place: ListenAddress | None) -> None:
    assert read_listen_address(uri) == place


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"DISPLAY": ""}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
    ],
)
def test_a_window_needs_a_display(environ: dict[str, str], expected: bool) -> None:
    assert has_display(environ) == (expected or sys.platform == "darwin")


def test_the_browser_is_given_the_page_and_neither_our_output_nor_our_keyboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(
        f'#!/bin/sh\n(echo "$1"; readlink /proc/self/fd/0) > {seen}.new; mv {seen}.new {seen}\n'
    )
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")

    page = tmp_path / "a page.html"
    open_browser(page.as_uri())

    wait_for(seen.exists)
    assert seen.read_text() == f"{page.as_uri()}\n/dev/null\n"


def test_the_page_that_leads_on_is_for_its_user_alone_and_is_gone_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    with redirect_page(folder, 'https://www.amazon.com/ap/oa?a=1&b="<script>') as page:
        assert page is not None
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert (
            'content="0;url=https://www.amazon.com/ap/oa?a=1&amp;b=&quot;&lt;script&gt;"' in page.read_text()
        )

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_without_a_place_for_the_page_no_browser_is_opened(tmp_path: Path, *, is_there: bool) -> None:
    (tmp_path / "file").touch()

    with redirect_page(tmp_path / "file" if is_there else None, "https://www.amazon.com/ap/oa") as page:
        assert page is None
