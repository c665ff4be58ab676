"""After the Wi-Fi set-up the phone lands on the speaker's page: what comitup and wifi-connect are given for it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

import pytest

from tests.command import ROOT
from tests.phone import Phone, needs_a_browser
from tests.ports import free_port
from tests.waiting import LONG, wait_for

WIFI: Final = ROOT / "deploy" / "images" / "wifi"

CONNECTING: Final = """<!DOCTYPE html>
<html lang="en">
<head>
    <meta http-equiv="refresh" content="10;http://blank.org/"/>
    <title>Comitup</title>
</head>
<body>
<p>Connection to {{ ssid }} is being attempted.</p>
</body>
</html>
"""
"""What counts in comitup's page after the choice of a network. Source: comitup, ``comitup_web/templates/connect.html``."""

CHOICE: Final = """<!doctype html><html lang="en"><head><title>WiFi Connect</title></head><body><div id="root"></div>
<script>document.title = "sending"; fetch("/connect", { method: "POST", body: "{}" }).catch(() => {});</script></body></html>
"""
"""What counts in wifi-connect's page: it sends the choice by ``fetch``. Source: wifi-connect, ``ui/src/components/App.tsx``."""


@pytest.fixture
def portal(tmp_path: Path) -> Path:
    (tmp_path / "portal" / "js").mkdir(parents=True)
    (tmp_path / "portal" / "connect.html").write_text(CONNECTING)
    (tmp_path / "portal" / "index.html").write_text(CHOICE)
    return tmp_path / "portal"


def run(name: str, portal: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": "/usr/bin:/bin", "PORTAL": str(portal), "SCRIPT": str(WIFI / "hand-over.js"), **environ}
    return subprocess.run(
        [WIFI / name, *words], env=given, capture_output=True, text=True, check=False, timeout=LONG
    )


def test_a_hotspot_prepares_the_way_to_the_page_of_this_speaker(portal: Path) -> None:
    for _ in range(2):
        assert run("comitup-callback", portal, "HOTSPOT").returncode == 0

    page = (portal / "connect.html").read_text()
    assert page.count('<script src="js/hand-over.js" data-now></script></body>') == 1
    assert "blank.org" not in page
    name = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    assert f'"http://{name}.local:8080/"' in (portal / "js" / "hand-over.js").read_text()


def test_while_it_connects_nothing_is_to_be_done(portal: Path) -> None:
    done = run("comitup-callback", portal, "CONNECTING")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (portal / "connect.html").read_text() == CONNECTING


def test_once_it_is_connected_the_address_of_the_page_is_told(portal: Path) -> None:
    done = run("comitup-callback", portal, "CONNECTED", PAGE="http://kitchen.local:8080/")

    assert (done.returncode, done.stdout) == (0, "http://kitchen.local:8080/\n")


@pytest.mark.parametrize("words", [[], ["hotspot"], [""]])
def test_a_state_that_comitup_has_not_got_is_refused(portal: Path, words: list[str]) -> None:
    done = run("comitup-callback", portal, *words)

    assert done.returncode == 2
    assert "HOTSPOT|CONNECTING|CONNECTED" in done.stderr


def with_wifi_connect(portal: Path, folder: Path, page: str) -> Path:
    """Start the script with a program that does nothing in wifi-connect's place; return the portal that it is given."""
    program = folder / "bin" / "wifi-connect"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:/usr/bin:/bin"
    done = run(
        "wifi-connect-hand-over",
        portal,
        *("--portal-ssid", "Kitchen speaker"),
        PATH=path,
        RUNTIME_DIRECTORY=str(folder),
        PAGE=page,
    )
    found = re.fullmatch(r"--ui-directory (\S+) --portal-ssid Kitchen speaker\n", done.stdout)
    assert found is not None, done.stderr
    return Path(found[1])


def test_wifi_connect_gets_a_portal_of_its_own_and_its_options(portal: Path, tmp_path: Path) -> None:
    copy = with_wifi_connect(portal, tmp_path, "http://kitchen.local:8080/")

    assert '<head><script src="/js/hand-over.js"></script>' in (copy / "index.html").read_text()
    assert '"http://kitchen.local:8080/"' in (copy / "js" / "hand-over.js").read_text()
    assert (portal / "index.html").read_text() == CHOICE


# -- in a browser


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, takes every choice of a network, and says nothing."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["comitup", "wifi-connect"])
@needs_a_browser[0]
@needs_a_browser[1]
@pytest.mark.slow
def test_the_phone_waits_for_the_page_and_lands_on_it(
    portal: Path, tmp_path: Path, phone: Phone, name: str
) -> None:
    (tmp_path / "speaker").mkdir()
    (tmp_path / "speaker" / "index.html").write_text("<!doctype html><title>The speaker</title>")
    port = free_port()
    page = f"http://127.0.0.1:{port}/"
    if name == "comitup":
        assert run("comitup-callback", portal, "HOTSPOT", PAGE=page).returncode == 0
        shown, start = portal, "connect.html"
    else:
        shown, start = with_wifi_connect(portal, tmp_path, page), "index.html"
    with served(shown) as here:
        phone.open(f"http://127.0.0.1:{here}/{start}")
        # not there yet: the address stands on the page, to be read and tapped
        wait_for(lambda: phone.driver.execute_script("return document.querySelector('p a')?.href") == page)

        with served(tmp_path / "speaker", port):
            wait_for(lambda: phone.driver.title == "The speaker", "the phone does not land")
        assert phone.driver.current_url == page
