"""``device-auth token`` and ``status`` as programs ask all day: the service's own answer, or the verb has the word."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from device_auth.cli import quick_answers
from device_auth.cli.main import main
from device_auth.cli.quick_answers import print_quickly
from device_auth.client import SYSTEM_SOCKET
from device_auth.core.models import Secret, UnixTime
from device_auth.core.public import FRESH, AccessToken, rfc3339, token_fields, write_json
from device_auth.core.values import replace
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import Running, serve
from device_auth.world.envelope import Plain, write_envelope
from device_auth.world.service_unit import UNIT_FOLDERS
from device_auth.world.store import FileStore
from tests.command import ROOT, Command, bare_environment
from tests.daemon_process import Household
from tests.silent_service import listening
from tests.simulated_speaker import strict
from tests.waiting import LONG, wait_for

TEXT: Final = "text/plain; charset=utf-8"
OWN_SETTINGS: Final = (
    ("home/.config/device-auth/config.toml", "home/.local/state/device-auth/settings.toml")
    if os.geteuid()
    else ("var/lib/device-auth/settings.toml",)
)
"""Settings beside the system's."""
STATUS: Final = "state:       unlinked: The speaker is not linked.\nnext:        Press.\n"

TOKEN: Final = "Sim|access"
BODY: Final = write_json(token_fields(AccessToken(Secret(TOKEN), UnixTime(2e9), 3600)))


@pytest.fixture(autouse=True)
def _in_a_usual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def respond(status: str, body: str, media_type: str = "application/json", more: int = 0) -> bytes:
    """Write an answer; its length is that of the body, and as many bytes more."""
    fields = f"Content-Type: {media_type}\r\nContent-Length: {len(body.encode()) + more}"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}".encode()


@pytest.fixture
def household(tmp_path: Path) -> Iterator[Household]:
    with serve(Amazon(strict(interval=1), clock=time.monotonic)) as running:
        yield Household(tmp_path, running)


class Service:
    """Answers one request with these bytes, and no more."""

    def __init__(self, folder: Path, answer: bytes) -> None:
        self.path = folder / "service.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._answer, args=(answer,))
        self._thread.start()

    def _answer(self, answer: bytes) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


def ask(folder: Path, answer: bytes, verb: str = "token") -> bool:
    service = Service(folder, answer)
    try:
        return print_quickly(verb, str(service.path))
    finally:
        service.close()


def test_it_asks_what_the_verb_asks_and_where() -> None:
    assert SYSTEM_SOCKET == quick_answers.SYSTEM_SOCKET
    assert quick_answers.MIN_LIFETIME == FRESH
    assert quick_answers._UNITS == UNIT_FOLDERS


def test_the_services_own_answer_is_understood(
    household: Household, capfd: pytest.CaptureFixture[str]
) -> None:
    with household.living() as living:
        household.link(living)
        expected = living.client.token().access_token
        capfd.readouterr()

        assert print_quickly("token", str(household.run / "api.sock"))

    assert capfd.readouterr().out == f"{expected}\n"


def test_nothing_is_printed_of_a_speaker_that_is_not_linked(
    household: Household, capfd: pytest.CaptureFixture[str]
) -> None:
    with household.living():
        assert not print_quickly("token", str(household.run / "api.sock"))

    assert capfd.readouterr().out == ""


def test_an_answer_as_the_socket_writes_it_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, respond("200 OK", BODY))
    assert capfd.readouterr().out == f"{TOKEN}\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        respond("409 Conflict", BODY),
        respond("503 Service Unavailable", BODY),
        respond("200 OK", ""),
        respond("200 OK", BODY)[:-8],
        respond("200 OK", BODY, more=1),
        respond("200 OK", BODY, "text/plain"),
        respond("200 OK", BODY.replace("3600", "59")),
        respond("200 OK", BODY.replace("3600", '"3600"')),
        respond("200 OK", BODY.replace("access_token", "refresh_token")),
        respond("200 OK", BODY.replace(TOKEN, "Sim\\u007caccess")),
        respond("200 OK", BODY.replace(TOKEN, "")),
        respond("200 OK", '{"expires_in": 3600}, "access_token": "Sim|cut'),
        b"x" * (quick_answers.MOST + 1),
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_any_other_answer_is_the_verbs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: bytes
) -> None:
    assert not ask(tmp_path, answer)
    assert capfd.readouterr().out == ""


def test_a_status_is_printed_as_it_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(tmp_path, respond("200 OK", STATUS, TEXT), "status")
    assert capfd.readouterr().out == STATUS


@pytest.mark.parametrize(
    "answer",
    [
        respond("200 OK", "{}\n"),
        respond("403 Forbidden", STATUS, TEXT),
        respond("200 OK", STATUS, TEXT, more=1),
        respond("200 OK", "state: Küche\n", TEXT),
        respond("200 OK", "", TEXT),
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_any_other_status_is_the_verbs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: bytes
) -> None:
    assert not ask(tmp_path, answer, "status")
    assert capfd.readouterr().out == ""


class Kept:
    """A token that ``link`` has kept on a machine without a service, below a root folder of its own."""

    def __init__(self, root: Path, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._missing = str(root / "none")
        session, home = root / "run" / "user" / str(os.geteuid()), root / "home"
        is_root = os.geteuid() == 0
        self.state = root / "var/lib/device-auth" if is_root else home / ".local/state/device-auth"
        self.run = root / "run/device-auth" if is_root else session / "device-auth"
        self.settings = root / "etc/device-auth" if is_root else home / ".config/device-auth"
        session.mkdir(parents=True, mode=0o700)
        monkeypatch.setenv("HOME", str(home))
        self.places = ["--state-dir", str(self.state), "--runtime-dir", str(self.run)]
        assert main(["link", *Command(root, running).provider, *self.places]) == 0
        wait_for(self.touched_later)
        self.lie_on("../../devices/platform/mmc/mmcblk0/mmcblk0p2")

    @property
    def token(self) -> str:
        return str(json.loads((self.run / "token.json").read_text())["access_token"])

    def prints(self, verb: str = "token") -> bool:
        return print_quickly(verb, self._missing, f"{self.root}/")

    def lie_on(self, device: str) -> None:
        """Have the state folder on this device, as sysfs names it."""
        number = self.state.stat().st_dev
        link = self.root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(device)

    def make(self, path: Path, text: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def change(self, path: Path, old: str, new: str) -> None:
        """Change a file, so that its token seems kept after that."""
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        wait_for(self.touched_later)

    def touched_later(self) -> bool:
        """Touch the token once the clock of files has gone on."""
        token = self.run / "token.json"
        token.touch()
        changed = [
            path for path in (self.state / "link.json", self.settings / "config.toml") if path.exists()
        ]
        return token.stat().st_mtime_ns > max(path.stat().st_ctime_ns for path in changed)


@pytest.fixture(scope="module")
def quick_running() -> Iterator[Running]:
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        yield running


@pytest.fixture
def kept(tmp_path: Path, quick_running: Running, monkeypatch: pytest.MonkeyPatch) -> Kept:
    return Kept(tmp_path, quick_running, monkeypatch)


def test_a_kept_token_is_printed_where_there_is_no_service(
    kept: Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()

    assert kept.prints()
    assert capfd.readouterr().out == f"{kept.token}\n"


def end_token(kept: Kept) -> None:
    kept.change(kept.run / "token.json", ends_of(kept), rfc3339(UnixTime(time.time() - 1)))


def name_account(kept: Kept) -> None:
    """Name the account, as the provider's profile does; what stands in the file is not verified here."""
    path = kept.state / "link.json"
    link = FileStore(kept.state).read()
    assert link is not None
    path.write_bytes(write_envelope(replace(link, account="Ann, B.", account_id="amzn1.account.A"), Plain()))
    wait_for(kept.touched_later)


@pytest.mark.parametrize(
    "change",
    [lambda _: None, end_token, name_account, lambda kept: os.utime(kept.run / "token.json", (2e9, 2e9))],
    ids=["linked", "a token that has ended", "an account with a name", "a clock that is set back"],
)
def test_a_status_is_that_of_the_verb_where_there_is_no_service(
    kept: Kept, capfd: pytest.CaptureFixture[str], change: Callable[[Kept], object]
) -> None:
    change(kept)
    capfd.readouterr()
    assert main(["status", *kept.places]) == 0
    expected = capfd.readouterr().out

    assert kept.prints("status")
    assert capfd.readouterr().out == expected


@pytest.mark.parametrize(
    ("settings", "is_quick"),
    [
        ('board = "name"\n', True),
        ('name = "Kitchen"\n', False),
        ('  "name" = "Kitchen"\n', False),
        ('\ufeffname = "Kitchen"\n', False),
        ('"n\\u0061me" = "Kitchen"\n', False),
    ],
)
def test_a_name_is_the_verbs_to_read(kept: Kept, settings: str, is_quick: bool) -> None:
    kept.make(kept.settings / "config.toml", settings)
    wait_for(kept.touched_later)

    assert kept.prints("status") is is_quick


def install_service(kept: Kept) -> None:
    kept.make(kept.root / "lib/systemd/system/device-auth.service")
    (kept.root / "run/systemd/system").mkdir(parents=True)


CHANGES: Final[dict[str, Callable[[Kept], object]]] = {
    "an own service": lambda kept: kept.make(kept.run / "api.sock"),
    "a service that is down": install_service,
    "another link": lambda kept: (kept.state / "link.json").touch(),
    "an identity": lambda kept: kept.make(kept.state / "identity.toml", 'dsn = "another"\n'),
    "settings": lambda kept: kept.make(kept.settings / "config.toml"),
    "no link": lambda kept: (kept.state / "link.json").unlink(),
    "a marked link": lambda kept: kept.change(kept.state / "link.json", '"mark": null', '"mark": "revoked"'),
    "a sealed link": lambda kept: kept.change(kept.state / "link.json", '"plain"', '"key-file"'),
    "a token that ends": lambda kept: kept.change(kept.run / "token.json", ends_of(kept), soon()),
    "no token": lambda kept: (kept.run / "token.json").unlink(),
    "a clock that is set back": lambda kept: os.utime(kept.run / "token.json", (2e9, 2e9)),
    "a token with an escape": lambda kept: kept.change(kept.run / "token.json", "Sim|", "Sim\\u007c"),
}


def ends_of(kept: Kept) -> str:
    return str(json.loads((kept.run / "token.json").read_text())["expires_at"])


def soon() -> str:
    return rfc3339(UnixTime(time.time() + quick_answers.MIN_LIFETIME - 1))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_kept_token_is_the_verbs_where_anything_else_is_so(
    kept: Kept, capfd: pytest.CaptureFixture[str], change: Callable[[Kept], object]
) -> None:
    change(kept)
    capfd.readouterr()

    assert not kept.prints()
    assert capfd.readouterr().out == ""


NO_STATUS: Final[dict[str, Callable[[Kept], object]]] = {
    **{
        name: change
        for name, change in CHANGES.items()
        if name not in {"a token that ends", "a clock that is set back"}
    },
    "a code": lambda kept: kept.make(kept.run / "pending.json"),
    "a link in memory": lambda kept: kept.lie_on("../../devices/virtual/block/zram0"),
    "a link that is not proved": lambda kept: kept.change(
        kept.state / "link.json", '"is_proved": true', '"is_proved": false'
    ),
    "a link without a date": lambda kept: kept.change(
        kept.state / "link.json", '"linked_at": ', '"linked_at": x'
    ),
    "an account beyond ASCII": lambda kept: kept.change(
        kept.state / "link.json", '"account": null', '"account": "K\\u00fc"'
    ),
}
del NO_STATUS["a token with an escape"]


@pytest.mark.parametrize("change", NO_STATUS.values(), ids=NO_STATUS)
def test_a_status_is_the_verbs_where_anything_else_is_so(
    kept: Kept, capfd: pytest.CaptureFixture[str], change: Callable[[Kept], object]
) -> None:
    change(kept)
    capfd.readouterr()

    assert not kept.prints("status")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", ["STATE_DIRECTORY", "RUNTIME_DIRECTORY"])
def test_another_place_is_the_verbs(kept: Kept, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, str(kept.root))

    assert not kept.prints()


def test_a_status_is_the_verbs_where_settings_are_in_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(tmp_path, respond("200 OK", STATUS, TEXT))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert not print_quickly("status", str(service.path), f"{tmp_path}/")
    assert not print_quickly("token", str(service.path))  # it had no request yet
    service.close()


def test_without_a_service_and_with_settings_in_the_environment_the_verb_is_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not print_quickly("token", str(tmp_path / "none"))
    service = Service(tmp_path, respond("200 OK", BODY))
    monkeypatch.setenv("DEVICE_AUTH_DSN", "another")
    assert not print_quickly("token", str(service.path))
    monkeypatch.delenv("DEVICE_AUTH_DSN")
    assert print_quickly("token", str(service.path))
    service.close()
    assert capfd.readouterr().out == f"{TOKEN}\n"


WHOLE: Final = """
import sys
sys.path.insert(0, {root!r})
from device_auth.cli import quick_answers
from device_auth.cli.quick_answers import print_quickly
print_quickly("token", {path!r})
sys.stderr.write(" ".join(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    ("text", "is_quick"),
    [
        ('locale = "en-GB"\n', True),
        ('# locale = "de-DE"\nclient_id = "locale"\n', True),
        ("", True),
        ('client_id = "x"\n  locale= "de-DE"\n', False),
        ("'locale' = 'ja-JP'\n", False),
    ],
)
@pytest.mark.parametrize("name", ["etc/device-auth/config.toml", *OWN_SETTINGS])
def test_a_status_in_another_language_is_the_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, is_quick: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    service = Service(tmp_path, respond("200 OK", STATUS, TEXT))

    assert print_quickly("status", str(service.path), f"{tmp_path}/") is is_quick

    if not is_quick:
        assert not print_quickly("token", str(service.path))  # it had no request yet
    service.close()


def test_a_status_is_the_verbs_where_settings_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/device-auth/config.toml").mkdir(parents=True)

    assert not print_quickly("status", str(tmp_path / "none"), f"{tmp_path}/")


def test_a_service_that_sends_a_byte_now_and_then_keeps_nobody_waiting(tmp_path: Path) -> None:
    with listening(tmp_path / "service.sock", "dripping"):
        assert not print_quickly("token", str(tmp_path / "service.sock"))


def test_it_loads_next_to_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path, respond("200 OK", BODY))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WHOLE.format(root=str(ROOT), path=str(service.path))],
        capture_output=True,
        text=True,
        env=bare_environment(),
        check=True,
        timeout=LONG,
    )
    service.close()

    assert ran.stdout == f"{TOKEN}\n"
    modules = set(ran.stderr.split())
    assert {name for name in modules if name.startswith("device_auth")} == {
        "device_auth",
        "device_auth.cli",
        "device_auth.cli.quick_answers",
    }
    assert not modules & {"argparse", "enum", "json", "re", "socket", "typing"}


IN_PLACE: Final = """
set -e
mount -t tmpfs none /run
mkdir /run/device-auth
mount --bind "$1" /run/device-auth
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put a socket into the service's place")
@pytest.mark.parametrize("words", [["token"], ["token", "--json"], ["status"]])
def test_the_command_asks_at_the_services_place(household: Household, words: list[str]) -> None:
    with household.living() as living:
        household.link(living)
        expected = living.client.token().access_token if "token" in words else "linked"
        command = [str(Path(sys.executable).with_name("device-auth")), *words]
        ran = subprocess.run(
            ["unshare", "--mount", "sh", "-c", IN_PLACE, "sh", str(household.run), *command],
            capture_output=True,
            text=True,
            env=bare_environment(),
            check=False,
            timeout=LONG,
        )

    if "unshare" in ran.stderr or "mount" in ran.stderr:
        pytest.skip("this machine makes no mount namespace")
    assert expected in ran.stdout
    assert (ran.returncode, ran.stderr) == (0, "")
