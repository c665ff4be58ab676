"""``authorize`` against the simulated Amazon, a browser's part played by a thread, over real TLS on loopback."""

import fcntl
import html
import io
import json
import logging
import os
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Final
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pyte
import pytest
import requests

from device_auth.cli.authorize import MOST_PASTES
from device_auth.core.models import Flow
from device_auth.prompts.picture import BLOCKS
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import Options, RegisteredClient
from device_auth.simulator.server import Running, serve
from device_auth.world.certificate import CERTIFICATE
from device_auth.world.store import FileStore
from tests.client_readers import read_alexapi, read_respeaker
from tests.code_views import photograph
from tests.command import Command, read_lines
from tests.ports import free_port
from tests.qr_decoders import read_with_zxing
from tests.simulated_speaker import strict
from tests.socket_world import ADMINISTRATOR, SocketWorld
from tests.terminal_session import CONTROL_C, session
from tests.waiting import LONG, given_time, wait_for
from tests.world import CLIENT_ID

pytestmark = pytest.mark.usefixtures("own_home")

SECRET: Final = "CANARY-secret"
FRESH: Final = ("--min-lifetime", "100000")
"""What makes ``token`` refresh, since no token lives so long."""

Browse = Callable[["Maker", str], None]


class Told(io.StringIO):
    """Standard output that starts the browser when it is told where to go."""

    def __init__(self, start: Callable[[str], None]) -> None:
        super().__init__()
        self._start = start
        self._address = ""

    def write(self, text: str) -> int:
        if '"event": "authorize"' in text:
            self._address = json.loads(text)["authorization_uri"]
        return super().write(text)

    def flush(self) -> None:
        """Start it once the line is whole."""
        address, self._address = self._address, ""
        if address:
            self._start(address)


@dataclass
class Maker:
    """A maker: the command, a browser, and what both have said."""

    command: Command
    monkeypatch: pytest.MonkeyPatch
    redirect_uri: str = ""
    pages: list[requests.Response] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)
    out: str = ""
    opened: list[IO[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redirect_uri = f"https://localhost:{free_port()}/authresponse"

    @property
    def amazon(self) -> Amazon:
        return self.command.running.amazon

    @property
    def words(self) -> list[str]:
        return [
            *self.command.provider,
            *("--authorization-endpoint", self.command.running.authorization_url),
            *("--redirect-uri", self.redirect_uri),
        ]

    def authorize(self, *words: str, browse: Browse | None = None) -> int:
        """Run ``authorize`` in this process, with a browser that does so when it is told where to go."""
        browsers: list[Thread] = []

        def start(address: str) -> None:
            if browse is not None:
                browsers.append(Thread(target=browse, args=(self, address), daemon=True))
                browsers[-1].start()

        told = Told(start)
        with self.monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", told)
            exit_code = self.command.run("authorize", "--json", *self.words, *words)
        for browser in browsers:
            browser.join(LONG)
            assert not browser.is_alive()
        self.out = told.getvalue()
        self.events = list(read_lines(self.out.splitlines()))
        return exit_code

    @property
    def told(self) -> list[object]:
        return [event["event"] for event in self.events]

    def get(self, address: str) -> int:
        """Open an address as a browser whose user has gone on past the warning."""
        certificate = self.command.folder / "state" / CERTIFICATE
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(address, verify=str(certificate), timeout=LONG)
        self.pages.append(page)
        return page.status_code

    def stored(self) -> dict[str, object]:
        link: dict[str, object] = json.loads((self.command.folder / "state" / "link.json").read_text())[
            "link"
        ]
        return link

    def keyboard(self) -> IO[str]:
        """Return what standard input is written by."""
        ours, theirs = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
        self.monkeypatch.setattr(sys, "stdin", ours)
        self.opened += [ours, theirs]
        return theirs

    def type(self, text: str) -> None:
        """Put something on standard input, and nothing more after it."""
        with self.keyboard() as keyboard:
            keyboard.write(text)


def asked_by(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def approve(maker: Maker, address: str) -> None:
    maker.get(maker.amazon.approve_authorization(asked_by(address)))


def interrupt(_desk: Maker, _address: str) -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def options() -> Options:
    return strict()


@pytest.fixture
def maker(tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    maker = Maker(Command(tmp_path, running), monkeypatch)
    yield maker
    for stream in maker.opened:
        stream.close()


@pytest.fixture
def maker_with_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    options = strict(clients={CLIENT_ID: RegisteredClient(secret=SECRET)})
    with serve(Amazon(options, clock=time.monotonic)) as running:
        yield Maker(Command(tmp_path, running), monkeypatch)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_text(f"{SECRET}\n")
    return path


# -- from the address to the link


def test_a_browser_that_comes_back_links_the_speaker(maker: Maker) -> None:
    assert maker.authorize(browse=approve) == 0

    assert maker.told == ["authorize", "linked"]
    assert maker.events[0]["state"] == "waiting"
    assert [page.status_code for page in maker.pages] == [200]
    assert (maker.stored()["flow"], maker.stored()["is_proved"]) == (Flow.AUTHORIZATION_CODE, True)
    assert maker.amazon.referee.complaints() == ()


def test_a_client_without_a_secret_is_known_by_its_verifier_and_refreshes_without_one(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.authorize(browse=approve)

    assert "code_challenge" in asked_by(str(maker.events[0]["authorization_uri"]))
    assert maker.command.run("token", *FRESH) == 0
    assert capsys.readouterr().out.startswith("Sim|A|")
    assert maker.amazon.referee.complaints() == ()


def test_a_client_with_a_secret_sends_it_at_the_exchange_and_at_each_refresh(
    maker_with_secret: Maker, secret_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = maker_with_secret
    assert maker.authorize("--client-secret-file", str(secret_file), browse=approve) == 0

    assert "code_challenge" not in asked_by(str(maker.events[0]["authorization_uri"]))
    assert "Each refresh needs the client secret too." in capsys.readouterr().err
    given = (*FRESH, "--client-secret-file", str(secret_file))
    assert maker.command.run("token", *given) == 78
    assert (
        f"the client secret is not sent to {maker.command.running.base_url}token" in capsys.readouterr().err
    )
    assert maker.command.run("token", *given, "--base-url", maker.command.running.base_url) == 0
    assert maker.amazon.referee.complaints() == ()


def test_a_refresh_without_the_secret_that_is_needed_names_the_setting(
    maker_with_secret: Maker, secret_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker_with_secret.authorize("--client-secret-file", str(secret_file), browse=approve)

    assert maker_with_secret.command.run("token", *FRESH) == 78
    assert "client_secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("client", "before", "read"), [("respeaker", "{}", read_respeaker), ("alexapi", "alexa:\n", read_alexapi)]
)
def test_a_client_that_sends_the_secret_refreshes_the_link_that_was_moved_to_it(
    maker_with_secret: Maker,
    secret_file: Path,
    tmp_path: Path,
    client: str,
    before: str,
    read: Callable[[Path], dict[str, str]],
) -> None:
    maker, to, secret = maker_with_secret, tmp_path / "client", ("--client-secret-file", str(secret_file))
    maker.authorize(*secret, browse=approve)
    to.write_text(before)
    to.chmod(0o600)

    assert maker.command.run("export", client, "--to", str(to), "--product-id", "kitchen", *secret) == 0

    with requests.Session() as session:
        session.trust_env = False
        form = {"grant_type": "refresh_token", **read(to)}
        answer = session.post(f"{maker.command.running.base_url}token", data=form, timeout=LONG)
    assert answer.json()["access_token"].startswith("Sim|A|")
    assert maker.command.run("token") == 75


def test_people_are_told_the_address_the_warning_to_come_and_the_end(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.command.run("authorize", "--timeout", "0.01", *maker.words)

    told = capsys.readouterr()
    assert told.out == ""
    assert f"\n{maker.command.running.authorization_url}?client_id=" in told.err
    assert f"It comes back to {maker.redirect_uri}, and the browser will warn" in told.err
    assert "no certificate to trust" in told.err


def test_over_ssh_people_are_told_how_the_browser_finds_back(
    maker: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    port = urlsplit(maker.redirect_uri).port

    maker.command.run("authorize", "--timeout", "0.01", *maker.words)

    told = capsys.readouterr().err
    assert f"ssh -L {port}:localhost:{port} " in told
    assert "--paste" in told


def test_the_certificate_stays_for_the_next_time_and_goes_with_a_wipe(maker: Maker) -> None:
    certificate = maker.command.folder / "state" / CERTIFICATE
    maker.authorize("--timeout", "0.01")
    first = certificate.read_bytes()
    maker.authorize("--timeout", "0.01")

    assert certificate.read_bytes() == first
    assert maker.command.run("unlink") == 0
    assert certificate.exists()
    assert maker.command.run("unlink", "--wipe") == 0
    assert not certificate.exists()


def test_a_redirect_in_the_clear_is_caught_on_loopback(maker: Maker) -> None:
    maker.redirect_uri = maker.redirect_uri.replace("https", "http")

    assert maker.authorize(browse=approve) == 0
    assert not (maker.command.folder / "state" / CERTIFICATE).exists()


def test_a_link_is_left_alone_unless_another_is_asked_for(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.authorize(browse=approve)
    former = maker.stored()["link_id"]
    capsys.readouterr()

    assert maker.command.run("authorize", *maker.words) == 0
    assert "run: device-auth authorize --again\n" in capsys.readouterr().err
    assert maker.authorize("--again", browse=approve) == 0
    assert maker.stored()["link_id"] != former


# -- what is not the answer


def test_another_pages_guess_does_not_end_the_flow(maker: Maker) -> None:
    def browse(maker: Maker, address: str) -> None:
        for query in ("code=guessed&state=guessed", "code=guessed", "error=access_denied&state=guessed"):
            assert maker.get(f"{maker.redirect_uri}?{query}") == 400
        assert maker.get(f"{maker.redirect_uri}/elsewhere") == 404
        approve(maker, address)

    assert maker.authorize(browse=browse) == 0
    assert maker.told == ["authorize", "linked"]


def test_the_owner_who_declines_ends_it(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    def decline(maker: Maker, address: str) -> None:
        maker.get(maker.amazon.decline_authorization(asked_by(address)))

    assert maker.authorize(browse=decline) == 77
    assert maker.told == ["authorize", "refused"]
    assert maker.events[-1]["reason"] == "denied"
    assert "the owner declined" in capsys.readouterr().err
    assert "The owner declined" in maker.pages[-1].text


def test_a_scope_that_is_refused_names_the_setting(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert maker.authorize("--scope", "alexa:all unheard:of", browse=approve) == 78
    assert maker.events[-1]["reason"] == "misconfigured"
    assert "scope" in capsys.readouterr().err


def test_it_gives_up_in_time(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert maker.authorize("--timeout", "0.01") == 75
    assert (maker.told, maker.events[-1]["reason"]) == (["authorize", "refused"], "timed-out")
    assert "Allowed Return URLs" in capsys.readouterr().err


# -- before the owner is sent anywhere


def refused_at_once(maker: Maker, *words: str) -> int:
    exit_code = maker.authorize(*words)
    assert "authorize" not in maker.told
    return exit_code


def test_a_port_in_use_is_told_before_the_owner_is_sent_anywhere(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", urlsplit(maker.redirect_uri).port or 0)):
        assert refused_at_once(maker) == 78

    told = capsys.readouterr().err
    assert f"in use by process {os.getpid()} (" in told
    assert "--redirect-uri" in told
    assert maker.events[-1]["reason"] == "misconfigured"


def test_a_redirect_to_another_machine_can_only_be_pasted(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.redirect_uri = "https://speaker.example.org/back"

    assert refused_at_once(maker) == 78
    assert "--paste" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_told_before_the_owner_is_sent_anywhere(maker: Maker) -> None:
    (maker.command.folder / "state").write_text("no folder")

    assert refused_at_once(maker) == 74


def test_a_key_that_cannot_be_had_is_told_before_the_owner_is_sent_anywhere(maker: Maker) -> None:
    maker.monkeypatch.setenv("DEVICE_AUTH_KEY_FILE", "/nowhere/key")

    assert refused_at_once(maker) == 78


def test_the_other_dialect_has_no_such_flow_here(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--dialect", "rfc8628", "--client-id", "c", "--issuer", "https://id.example")

    assert maker.command.run("authorize", *words) == 78
    assert "Login with Amazon only" in capsys.readouterr().err


def test_while_the_service_holds_the_link_it_must_be_stopped_first(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    (maker.command.folder / "run").mkdir()
    with SocketWorld(maker.command.folder / "run" / "api.sock", identify=lambda _: ADMINISTRATOR):
        assert refused_at_once(maker) == 75

    assert "systemctl stop device-auth.socket device-auth.service" in capsys.readouterr().err


# -- interrupted


def hang(maker: Maker, endpoint: Endpoint) -> Browse:
    """Approve; and once the request that never ends has come, interrupt."""
    maker.amazon.script(endpoint, [Fault(hang=True)])

    def browse(maker: Maker, address: str) -> None:
        approve(maker, address)
        wait_for(lambda: not maker.amazon.faults_waiting().get(endpoint))
        interrupt(maker, address)

    return browse


def test_no_other_user_can_read_the_question_from_the_list_of_processes(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen, page = (tmp_path / name for name in ("browser", "seen", "page"))
    browser.write_text(
        f"#!/bin/sh\ncat /proc/[0-9]*/cmdline > {seen} 2> /dev/null\n"
        f'file=${{1#file://}}\n(stat -c %a "$file"; cat "$file") > {page}.new; mv {page}.new {page}\n'
    )
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setenv("DISPLAY", ":0")

    def browse(maker: Maker, address: str) -> None:
        wait_for(page.exists)
        approve(maker, address)

    assert maker.authorize(browse=browse) == 0

    address = str(maker.events[0]["authorization_uri"])
    asked = asked_by(address)
    arguments = seen.read_text(errors="replace")
    assert str(browser) in arguments
    assert [secret for secret in ("state", "code_challenge") if asked[secret] in arguments] == []
    mode, leading = page.read_text().split("\n", 1)
    assert mode == "600"
    assert address in html.unescape(leading)
    assert not list((tmp_path / "run").glob("*.html"))


def test_an_interrupt_while_the_browser_is_awaited_ends_it(maker: Maker) -> None:
    assert maker.authorize(browse=interrupt) == 130
    assert (maker.told, maker.events[-1]["reason"]) == (["authorize", "refused"], "cancelled")


@pytest.mark.parametrize("endpoint", [Endpoint.EXCHANGE, Endpoint.REFRESH])
def test_an_interrupt_ends_it_whatever_the_provider_does(maker: Maker, endpoint: Endpoint) -> None:
    assert maker.authorize(browse=hang(maker, endpoint)) == 130
    assert (maker.told, maker.events[-1]["reason"]) == (["authorize", "refused"], "cancelled")
    assert FileStore(maker.command.folder / "state").read() is None


# -- the exchange

REFUSED = {
    "invalid_grant": (75, "expired", "too old"),
    "invalid_client": (78, "misconfigured", "client_secret"),
    "unauthorized_client": (78, "misconfigured", "Web Settings"),
    "invalid_request": (78, "misconfigured", "redirect_uri"),
    "access_denied": (77, "denied", "declined"),
}


@pytest.mark.parametrize("error", REFUSED)
def test_a_refused_exchange_says_why_and_what_to_look_at(
    maker: Maker, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, reason, word = REFUSED[error]
    maker.amazon.script(Endpoint.EXCHANGE, [Fault(status=400, json=json.dumps({"error": error}))])

    assert maker.authorize(browse=approve) == exit_code
    assert maker.events[-1]["reason"] == reason
    assert word in capsys.readouterr().err


def test_an_exchange_that_fails_in_passing_is_tried_again(maker: Maker) -> None:
    maker.amazon.script(Endpoint.EXCHANGE, [Fault(status=503)])

    assert maker.authorize(browse=approve) == 0
    assert maker.told == ["authorize", "trouble", "trouble", "linked"]
    assert [event.get("trouble") for event in maker.events[1:3]] == ["provider-unavailable", "none"]


@pytest.mark.parametrize(
    ("fault", "exit_code"), [(Fault(status=503, times=None), 76), (Fault(reset=True, times=None), 69)]
)
def test_an_exchange_that_never_succeeds_ends_in_time(maker: Maker, fault: Fault, exit_code: int) -> None:
    maker.amazon.script(Endpoint.EXCHANGE, [fault])

    assert exit_code == given_time(
        lambda seconds: maker.authorize("--timeout", f"{seconds}", browse=approve),
        lambda _: "trouble" in maker.told,
    )
    assert maker.events[-1]["reason"] == "timed-out"


def test_a_proof_that_is_refused_keeps_the_grant_marked_as_after_a_code(maker: Maker) -> None:
    maker.amazon.script(Endpoint.REFRESH, [Fault(status=400, json=json.dumps({"error": "invalid_client"}))])

    assert maker.authorize(browse=approve) == 78
    assert maker.events[-1]["reason"] == "misconfigured"
    assert maker.stored()["mark"] == "misconfigured"


# -- pasted


def paste(maker: Maker, what: Callable[[str], str]) -> Browse:
    """Have the browser's part played by a person who copies the address that it ended on."""
    keyboard = maker.keyboard()

    def browse(maker: Maker, address: str) -> None:
        with keyboard as hand:
            hand.write(what(maker.amazon.approve_authorization(asked_by(address))))

    return browse


def test_the_whole_address_may_be_pasted(maker: Maker) -> None:
    maker.redirect_uri = "https://speaker.example.org/back"

    assert maker.authorize("--paste", browse=paste(maker, lambda address: f"{address}\n")) == 0
    assert maker.told == ["authorize", "linked"]


@pytest.mark.parametrize(
    "copy",
    [
        lambda address: f'"{address}"\n',
        lambda address: f"<{address}>\n",
        lambda address: f"{address[:60]}\n{address[60:]}\n",
        lambda address: f"{address}\nThis site can’t be reached\nlocalhost refused to connect.\n",
        lambda address: f"\ufeff{address}\r\n",
        lambda address: f"{address.partition('?')[2]}.\n",
    ],
    ids=[
        "quotation marks",
        "angle brackets",
        "broken",
        "the page around it",
        "a byte order mark",
        "the query",
    ],
)
def test_the_address_may_be_pasted_with_what_sticks_to_it(
    maker: Maker, copy: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert maker.authorize("--paste", browse=paste(maker, copy)) == 0
    assert maker.told == ["authorize", "linked"]
    assert "cannot check that it answers" not in capsys.readouterr().err


def test_the_code_alone_may_be_pasted_and_it_is_said_that_nothing_was_checked(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    def code_of(address: str) -> str:
        return parse_qs(urlsplit(address).query)["code"][0]

    keyboard = maker.keyboard()
    authorization_url = maker.command.running.authorization_url

    def browse() -> None:
        said: list[str] = []

        def said_so_far() -> str:
            said.append(capsys.readouterr().err)
            return "".join(said)

        wait_for(lambda: "paste it here" in said_so_far())
        asked = next(line for line in "".join(said).splitlines() if line.startswith(authorization_url))
        with keyboard as hand:
            hand.write(f"{code_of(maker.amazon.approve_authorization(asked_by(asked)))}\n")

    browser = Thread(target=browse, daemon=True)
    browser.start()
    assert maker.command.run("authorize", "--paste", *maker.words) == 0
    browser.join(LONG)
    told = capsys.readouterr()
    assert told.out == "linked\n"
    assert "cannot check that it answers this request" in told.err


@pytest.mark.parametrize(
    "slip",
    ["", "\n", "https://localhost:9745/authresponse\n", "https://x?code=a&state=another\n", "two words\n"],
    ids=["nothing", "an empty line", "no query", "another attempt", "words"],
)
def test_a_slip_that_nobody_can_mend_ends_it(
    maker: Maker, slip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    maker.type(slip)

    assert maker.authorize("--paste") == 75
    assert (maker.told, maker.events[-1]["reason"]) == (["authorize", "refused"], "cancelled")
    assert "device-auth authorize --paste" in capsys.readouterr().err


def test_nothing_pasted_in_time_ends_it(maker: Maker) -> None:
    maker.keyboard()

    assert maker.authorize("--paste", "--timeout", "0.05") == 75
    assert maker.events[-1]["reason"] == "timed-out"


# -- what must not be seen


def test_neither_code_nor_verifier_nor_secret_nor_token_is_seen_anywhere(
    maker_with_secret: Maker,
    secret_file: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    maker, seen = maker_with_secret, []

    def browse(maker: Maker, address: str) -> None:
        back = maker.amazon.approve_authorization(asked_by(address))
        seen.append(parse_qs(urlsplit(back).query)["code"][0])
        maker.get(back)

    with caplog.at_level(logging.DEBUG):
        maker.authorize("-v", "--client-secret-file", str(secret_file), browse=browse)

    told = capsys.readouterr()
    said = maker.out + told.out + told.err + caplog.text + "".join(page.text for page in maker.pages)
    secrets = [SECRET, *seen, str(maker.stored()["refresh_token"])]
    ours = [record for record in caplog.records if record.name.startswith("device_auth")]
    assert ours
    assert len(secrets) == 3
    assert not [secret for secret in secrets if secret in said]


# -- on a terminal


@pytest.fixture
def screen(maker: Maker) -> Iterator[Callable[[int, int], tuple[int, pyte.Screen]]]:
    """Return what makes standard input and standard error one terminal: our end of it, and what is seen."""
    with ExitStack() as opened:

        def open_screen(columns: int, rows: int) -> tuple[int, pyte.Screen]:
            ours, theirs = os.openpty()
            opened.callback(os.close, ours)
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            maker.monkeypatch.setattr(sys, "stdin", opened.enter_context(os.fdopen(theirs, "r")))
            stderr = opened.enter_context(os.fdopen(os.dup(theirs), "w", encoding="utf-8"))
            maker.monkeypatch.setattr(sys, "stderr", stderr)
            return ours, pyte.Screen(columns, rows)

        yield open_screen


Screens = Callable[[int, int], tuple[int, pyte.Screen]]


def look(ours: int, screen: pyte.Screen, until: str) -> str:
    """Bring to the screen what is written, until something can be read, and give all of it."""
    stream = pyte.ByteStream(screen)
    seen = b""
    while until not in " ".join(line.strip() for line in screen.display):
        piece = os.read(ours, 65536)
        seen += piece
        stream.feed(piece)
    return seen.decode(errors="ignore")  # the last piece may end within a character


def test_a_slip_on_a_terminal_may_be_mended(maker: Maker, screen: Screens) -> None:
    ours, seen = screen(100, 30)

    def browse(maker: Maker, address: str) -> None:
        look(ours, seen, "paste it here.")
        os.write(ours, b"https://localhost/authresponse\n")
        look(ours, seen, "Try again.")
        os.write(ours, f"{maker.amazon.approve_authorization(asked_by(address))}\n".encode())
        look(ours, seen, "Linked.")

    assert maker.authorize("--paste", browse=browse) == 0
    assert maker.told == ["authorize", "linked"]


def test_wrong_pastes_are_told_apart_and_spend_no_code(maker: Maker, screen: Screens) -> None:
    ours, seen = screen(100, 60)

    def browse(maker: Maker, address: str) -> None:
        back = maker.amazon.approve_authorization(asked_by(address))
        query = back.partition("?")[2]
        look(ours, seen, "paste it here.")
        for wrong, why in (
            (address, "It is the address of another page: the right one begins with"),
            (back.replace("state=", "state=x"), "It answers another question (state)"),
            (f"{maker.redirect_uri}?error=access_denied&state=x", "It answers another question (state)"),
            (maker.redirect_uri, "It holds no answer. Copy the address that begins with"),
            ("localhost refused to connect.", "It holds no answer. Copy the address that begins with"),
        ):
            seen.reset()
            os.write(ours, f"{wrong}\n".encode())
            look(ours, seen, "Try again.")
            assert why in " ".join(line.strip() for line in seen.display)
        # broken over lines, which a terminal hands over one by one
        os.write(ours, f"{maker.redirect_uri}?{query[:40]}\n{query[40:]}\n".encode())
        look(ours, seen, "Linked.")

    assert maker.authorize("--paste", "--no-qr", browse=browse) == 0
    assert maker.told == ["authorize", "linked"]
    assert maker.amazon.referee.complaints() == ()


def test_after_ten_wrong_pastes_nobody_is_asked_again(maker: Maker, screen: Screens) -> None:
    ours, seen = screen(100, 60)

    def browse(_maker: Maker, _address: str) -> None:
        look(ours, seen, "paste it here.")
        for number in range(MOST_PASTES):
            seen.reset()
            os.write(ours, b"two words\n")
            look(ours, seen, "Try again." if number < MOST_PASTES - 1 else "cannot read an answer")

    assert maker.authorize("--paste", "--no-qr", browse=browse) == 75
    assert (maker.told, maker.events[-1]["reason"]) == (["authorize", "refused"], "cancelled")


def test_the_qr_code_of_the_page_is_left_out_with_a_word_where_it_does_not_fit(
    maker: Maker, screen: Screens
) -> None:
    ours, seen = screen(80, 24)

    def browse(maker: Maker, address: str) -> None:
        look(ours, seen, "The QR code is left out: it needs")
        interrupt(maker, address)

    assert maker.authorize("--paste", browse=browse) == 130


def test_the_qr_code_of_the_page_is_drawn_where_it_fits(maker: Maker, screen: Screens) -> None:
    ours, seen = screen(160, 70)

    def browse(maker: Maker, address: str) -> None:
        stream = pyte.ByteStream(seen)
        while read_with_zxing(photograph(seen)) != [address]:
            stream.feed(os.read(ours, 65536))
        interrupt(maker, address)

    assert maker.authorize("--paste", browse=browse) == 130


def test_no_qr_code_is_drawn_where_none_is_wanted(maker: Maker, screen: Screens) -> None:
    ours, seen = screen(160, 70)

    def browse(maker: Maker, address: str) -> None:
        written = look(ours, seen, "paste it here.")
        os.write(ours, f"{maker.amazon.approve_authorization(asked_by(address))}\n".encode())
        written += look(ours, seen, "Linked.")
        drawn.append(BLOCKS[0] in written)

    drawn: list[bool] = []
    assert maker.authorize("--paste", "--no-qr", browse=browse) == 0
    assert drawn == [False]


# -- simulated


def test_a_simulated_owner_comes_back_by_himself_and_what_came_of_it_can_be_imported(
    maker: Maker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert maker.command.run("authorize", "--simulate", "--redirect-uri", maker.redirect_uri) == 0
    link = FileStore(maker.command.folder / "state" / "simulated").read()
    assert link is not None
    maker.type(link.refresh_token.reveal())

    assert maker.command.run("link", "--import", "--simulate", "--again", "--json") == 0

    heard = capsys.readouterr()
    assert heard.err.startswith("A simulation: Amazon is simulated in this process, and so is its owner")
    told = heard.out.splitlines()
    assert told[0] == "linked"
    assert json.loads(told[1])["event"] == "linked"
    assert link.flow is Flow.AUTHORIZATION_CODE


def test_a_person_at_a_terminal_sees_the_time_left_and_can_click_on_the_address(tmp_path: Path) -> None:
    words = ("--simulate=manual", "--no-browser", "--state-dir", str(tmp_path / "state"))
    with session(tmp_path) as terminal:
        terminal.type("export TERM_PROGRAM=WezTerm\n")
        terminal.run("authorize", *words, "--runtime-dir", str(tmp_path / "run"))
        terminal.wait_for("Waiting for your approval. Time left: 9:")
        terminal.type(CONTROL_C)
        terminal.wait_for("left with 130")
        assert "Time left" not in terminal.text

        assert "\x1b]8;;http://127.0.0.1:" in terminal.heard
        assert "/ap/oa?" in terminal.heard
