"""``device-auth export``: what is printed, what is refused, what is left here, and what a crash leaves on either side."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from device_auth.cli.main import main
from device_auth.core.models import DialectName, Flow, Mark, Secret
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from device_auth.world.keys import SYSTEMD_CREDENTIAL
from device_auth.world.pending import FilePending
from device_auth.world.store import NEWEST, PREVIOUS, FileStore
from device_auth.world.token_files import FileTokens
from tests.client_readers import Sdk, read_alexapi, read_respeaker, start_1_25, start_1_26
from tests.command import ROOT, Command, bare_environment
from tests.export_world import CLIENT_ID, TOKEN, ExportWorld, make_database
from tests.keys import keys_of, make_key
from tests.links import StillClock, make_grant, make_link, make_pending
from tests.simulated_speaker import strict
from tests.socket_world import SocketWorld

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def world(tmp_path: Path) -> ExportWorld:
    world = ExportWorld(tmp_path)
    world.configure()
    world.link()
    return world


def is_ours(world: ExportWorld) -> bool:
    """Return whether this speaker can still refresh, and see that it holds no token if it cannot."""
    link = world.stored()
    assert link is not None
    if link.mark is Mark.HANDED_OVER:
        assert all(b"canary" not in path.read_bytes() for path in world.state.iterdir())
        return False
    assert link.refresh_token == Secret(TOKEN)
    return True


def is_the_clients(world: ExportWorld) -> bool:
    with suppress(AssertionError):
        return start_1_26(world.lwa, world.misc) == Sdk(TOKEN)
    return False


# -- a move


def test_a_move_leaves_the_link_with_the_client_alone(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.export_sdk() == 0

    told = capsys.readouterr()
    assert told.out == f"moved to {world.misc}, {world.lwa}\n"
    assert told.err.splitlines() == [
        "Start the client: it goes on with this link, and needs no code.",
        "To have the link here again, link again: device-auth link",
    ]
    assert not is_ours(world)
    assert start_1_25(world.lwa, world.misc) == Sdk(TOKEN)


def test_after_a_move_no_token_is_handed_out_here(world: ExportWorld) -> None:
    FileTokens(world.folder / "run", StillClock(), keep_bare=True).publish(make_grant())
    FilePending(world.folder / "run", StillClock()).keep(make_pending())

    world.export_sdk()

    assert list((world.folder / "run").iterdir()) == []
    assert {path.name for path in world.state.iterdir()} == {NEWEST}


def places(world: ExportWorld) -> list[str]:
    return ["--state-dir", str(world.state), "--runtime-dir", str(world.folder / "run")]


def test_after_a_move_status_tells_whose_the_link_is(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.export_sdk()
    stored = world.stored()
    assert stored is not None
    assert stored.marked_at is not None
    capsys.readouterr()

    assert main(["status", "--json", *places(world)]) == 0
    status = json.loads(capsys.readouterr().out)
    assert main(["status", *places(world)]) == 0
    lines = capsys.readouterr().out.splitlines()

    whom = f"avs-device-sdk, {world.config}"
    assert (status["state"], status["trouble"]) == ("unlinked", "none")
    assert status["handed_over"] == {"to": whom, "at": status["since"]}
    assert f"handed over: to {whom}, at {status['since']}" in lines


def test_a_status_of_an_earlier_program_says_less(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.link(mark=Mark.HANDED_OVER)

    assert main(["status", *places(world)]) == 0

    assert "handed over: to another client\n" in capsys.readouterr().out


def test_after_a_move_a_token_is_refused_with_the_reason(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.export_sdk()

    assert main(["token", *places(world)]) == 75

    assert f"handed over to another client (avs-device-sdk, {world.config})" in capsys.readouterr().err


def test_what_was_moved_is_not_exported_again(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.export_sdk()
    before = world.files()

    assert world.run("json", "--to", str(world.client / "link.json")) == 75

    assert "handed over to another client" in capsys.readouterr().err
    assert world.files() == before


def test_a_copy_leaves_the_link_here_and_warns(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    assert world.run("json", "--to", str(world.client / "link.json"), "--copy") == 0

    told = capsys.readouterr()
    assert told.out == f"copied to {world.client}/link.json\n"
    assert "Two programs that use one refresh token" in told.err
    assert is_ours(world)
    assert json.loads((world.client / "link.json").read_text())["refresh_token"] == TOKEN


@pytest.mark.parametrize("export_format", ["env", "json"])
def test_a_text_is_a_move_as_well(world: ExportWorld, export_format: str) -> None:
    assert world.run(export_format, "--to", str(world.client / "link")) == 0

    assert TOKEN in (world.client / "link").read_text()
    assert not is_ours(world)


def test_the_java_sample_is_a_move_as_well(world: ExportWorld) -> None:
    path = world.client / "config.json"
    path.write_text('{"locale": "en-US", "companionApp": {"localPort": 8443, "sslKeyStore": "/jetty"}}')

    assert world.run("avs-java-sample", "--to", str(path)) == 0

    assert json.loads(path.read_text())["companionApp"]["refreshToken"] == TOKEN
    assert not is_ours(world)


def test_the_old_file_that_is_kept_is_told(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    make_database(world.lwa, "CREATE TABLE alerts (id INT)")

    assert world.export_sdk() == 0

    kept = f"{world.lwa}.device-auth-backup-1"
    assert f"The old {world.lwa} is kept as {kept}" in capsys.readouterr().err.splitlines()
    assert Path(kept).exists()


def test_json_tells_all_of_it_in_one_object(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure(without=("lwaAuthorization", "miscDatabase"), cblAuthDelegate=world.delegate)

    assert world.export_sdk("--json", "--sdk", "1.7-1.24") == 0

    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "format": "avs-device-sdk",
        "to": str(world.config),
        "dry_run": False,
        "moved": True,
        "files": [
            {
                "file": str(world.cbl),
                "is_new": True,
                "backup": None,
                "changes": [{"place": "table refreshToken", "old": None, "new": "***"}],
            }
        ],
        "warnings": [],
        "next": "Start the client: it goes on with this link, and needs no code.",
    }
    assert told.err == ""


# -- a dry run


def test_a_dry_run_shows_what_would_change_and_changes_nothing(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    make_database(
        world.lwa,
        "CREATE TABLE userId (userId TEXT)",
        "INSERT INTO userId VALUES ('amzn1.account.BERTA')",
        "CREATE TABLE refreshToken (refreshToken TEXT)",
        "INSERT INTO refreshToken VALUES ('Atzr|berta')",
    )
    before = world.files()

    assert world.export_sdk("--dry-run") == 0

    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{world.misc}: a new file",
        "  table AuthorizationManager_authorizationState: nothing → authAdapterId = lwa-adapter; userId = (empty)",
        f"{world.lwa}: changes",
        "  table refreshToken: *** → ***",
        "  table userId: amzn1.account.BERTA → (empty)",
        f"  the old one is kept as {world.lwa}.device-auth-backup-1",
    ]
    assert told.err == "Nothing was changed.\n"
    assert world.files() == before
    assert is_ours(world)


def test_a_dry_run_tells_a_file_that_stays(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.export_sdk("--copy")
    capsys.readouterr()

    assert world.export_sdk("--dry-run") == 0

    assert f"{world.lwa}: stays as it is" in capsys.readouterr().out


def test_a_dry_run_needs_no_lock(world: ExportWorld) -> None:
    with FileStore(world.state):
        assert world.export_sdk("--dry-run") == 0


def test_warnings_are_told_to_people(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.configure(deviceInfo={"clientId": CLIENT_ID, "productId": "x", "deviceSerialNumber": "K-0001"})

    assert world.export_sdk("--dry-run") == 0

    assert "device-auth: deviceInfo.productId" in capsys.readouterr().err


# -- to standard output


def test_a_copy_may_go_to_another_program(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.run("json", "--to", "-", "--copy") == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["refresh_token"] == TOKEN
    assert TOKEN not in told.err
    assert is_ours(world)


def test_no_token_is_shown_on_a_terminal(world: ExportWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = pty.openpty()
    with os.fdopen(inner, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)

        assert world.run("env", "--to", "-", "--copy") == 2

        os.set_blocking(outer, False)
        with pytest.raises(BlockingIOError):
            os.read(outer, 1)
    os.close(outer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("json", "--to", "-"), "--to - needs --copy"),
        (("json", "--to", "-", "--copy", "--json"), "--to - needs --copy"),
        (("json", "--to", "-", "--copy", "--dry-run"), "--to - needs --copy"),
        (("avs-device-sdk", "--to", "-", "--copy"), "needs a file"),
        (("json", "--to", "x", "--sdk", "1.25"), "--sdk works with"),
        (("json", "--to", ""), "--to is empty"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    world: ExportWorld, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert world.run(*words) == 2

    assert message in capsys.readouterr().err
    assert is_ours(world)


@pytest.mark.parametrize(
    "words", [("json",), ("yaml", "--to", "x"), ("avs-device-sdk", "--to", "x", "--sdk", "2")]
)
def test_a_command_line_that_makes_no_sense_is_refused(world: ExportWorld, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        world.run(*words)


def run_installed(world: ExportWorld, *words: str | bytes, **variables: str) -> tuple[int, bytes, bytes]:
    """Run ``device-auth export`` in a process of its own, whose output takes UTF-8 and nothing else."""
    ran = subprocess.run(
        [sys.executable, "-m", "device_auth", "export", *words, *places(world)],
        cwd=ROOT,
        env={**bare_environment(), "PYTHONIOENCODING": "utf-8:strict", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize("words", [(), ("--json",), ("--dry-run",)])
def test_a_file_whose_name_is_no_text_is_written_and_told(world: ExportWorld, words: tuple[str, ...]) -> None:
    to = bytes(world.client) + b"/link-\xff.json"

    exit_code, out, err = run_installed(world, "json", "--to", to, *words)

    assert (exit_code, b"bug" in err) == (0, False)
    assert os.path.exists(to) is ("--dry-run" not in words)  # noqa: PTH110  a path of bytes
    if "--json" in words:
        assert json.loads(out)["files"][0]["file"] == f"{world.client}/link-?.json"
    else:
        assert b"link-\\udcff.json" in out


@pytest.mark.parametrize("export_format", ["json", "env"])
@pytest.mark.parametrize("option", ["--product-id", "--dsn"])
def test_a_name_that_is_no_text_is_refused_and_nothing_is_written(
    world: ExportWorld, export_format: str, option: str
) -> None:
    to = world.client / "link"

    exit_code, out, err = run_installed(world, export_format, "--to", str(to), option, b"kitchen-\xff")

    assert (exit_code, out) == (78, b"")
    assert f"({'option ' + option}) has bytes that are not UTF-8".encode() in err
    assert not to.exists()
    assert is_ours(world)


def test_an_output_that_takes_ascii_alone_is_told_all_the_same(world: ExportWorld) -> None:
    exit_code, out, _ = run_installed(
        world, "avs-device-sdk", "--to", str(world.config), "--dry-run", PYTHONIOENCODING="ascii"
    )

    assert exit_code == 0
    assert rb"table refreshToken: nothing \u2192 ***" in out


def test_what_another_program_reads_is_utf8_whatever_the_output_is(world: ExportWorld) -> None:
    _, out, _ = run_installed(
        world, "json", "--to", "-", "--copy", "--product-id", "Küche", PYTHONIOENCODING="ascii"
    )

    assert json.loads(out)["product_id"] == "Küche"


# -- what is not exported


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"is_proved": False}, 75, "not proved yet"),
        ({"mark": Mark.REVOKED}, 77, "no longer allows"),
        ({"mark": Mark.MISCONFIGURED}, 78, "does not accept the client"),
        ({"mark": Mark.HANDED_OVER, "refresh_token": Secret("")}, 75, "handed over to another client"),
        ({"dialect": DialectName.RFC8628}, 78, "Login with Amazon only"),
    ],
)
def test_a_link_that_would_be_of_no_use_there_stays(
    world: ExportWorld,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    code: int,
    message: str,
) -> None:
    link = world.link(**changes)

    assert world.export_sdk() == code

    assert message in capsys.readouterr().err
    assert world.stored() == link
    assert set(world.files()) == {world.config.name}


def test_a_speaker_without_a_link_has_nothing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = ExportWorld(tmp_path)
    world.configure()

    assert world.export_sdk() == 75

    assert "not linked" in capsys.readouterr().err


@pytest.mark.parametrize("takes_secret", [True, False])
def test_a_client_that_sends_no_secret_gets_no_link_that_needs_one(
    world: ExportWorld,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    takes_secret: bool,
) -> None:
    world.link(flow=Flow.AUTHORIZATION_CODE, takes_secret=takes_secret)
    if not takes_secret:  # an older link does not say so: the secret of the settings does
        monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", "canary-secret")

    assert world.export_sdk() == 78
    assert "takes a client secret" in capsys.readouterr().err

    for words in ((str(world.client / "link.json"),), ("-",)):
        assert world.run("json", "--copy", "--to", *words) == 0

        assert "The client must be given the client secret as well" in capsys.readouterr().err

    assert world.run("json", "--json", "--copy", "--to", str(world.client / "link.json")) == 0

    assert "client secret" in json.loads(capsys.readouterr().out)["warnings"][0]
    assert b"canary-secret" not in (world.client / "link.json").read_bytes()


@pytest.mark.parametrize("takes_secret", [True, False])
@pytest.mark.parametrize(
    ("export_format", "read"), [("respeaker", read_respeaker), ("alexapi", read_alexapi)]
)
def test_a_client_that_sends_a_secret_goes_on_with_a_link_that_needs_one(
    world: ExportWorld,
    capsys: pytest.CaptureFixture[str],
    export_format: str,
    read: Callable[[Path], dict[str, str]],
    *,
    takes_secret: bool,
) -> None:
    world.link(flow=Flow.AUTHORIZATION_CODE, takes_secret=takes_secret)
    secret, to = world.folder / "secret", world.client / "config"
    secret.write_text("canary-secret")
    secret.chmod(0o600)
    to.write_text('alexa:\n  Client_ID: ""\n' if export_format == "alexapi" else "{}")
    to.chmod(0o600)
    words = (export_format, "--to", str(to), "--client-secret-file", str(secret))
    before = to.read_bytes()

    assert world.run(*words, "--dry-run") == 0
    assert to.read_bytes() == before
    assert is_ours(world)
    assert world.run(*words, "--copy") == 0
    assert is_ours(world)
    assert world.run(*words) == 0

    assert read(to) == {"client_id": CLIENT_ID, "client_secret": "canary-secret", "refresh_token": TOKEN}
    assert not is_ours(world)
    assert to.with_name("config.device-auth-backup-1").read_bytes() == before
    told = capsys.readouterr()
    assert "canary" not in told.out + told.err


@pytest.mark.parametrize("export_format", ["respeaker", "alexapi"])
def test_a_client_that_sends_a_secret_gets_no_link_that_has_none(
    world: ExportWorld, capsys: pytest.CaptureFixture[str], export_format: str
) -> None:
    for link in ({}, {"flow": Flow.AUTHORIZATION_CODE}):
        world.link(**link)

        assert world.run(export_format, "--to", str(world.client / "new")) == 78

        assert "this link was made without one" in capsys.readouterr().err
        assert not (world.client / "new").exists()


def test_a_link_whose_key_the_service_alone_has_needs_it_here(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileStore(world.state, keys=lambda: keys_of(make_key(SYSTEMD_CREDENTIAL))) as store:
        store.replace(replace(make_link(), is_proved=True))

    assert world.export_sdk() == 74

    told = capsys.readouterr().err
    assert "the key is held by the service (systemd-credential: " in told
    assert "docs/export.md" in told
    assert "systemctl start" not in told


def test_a_link_of_another_provider_says_nothing_of_amazons(world: ExportWorld) -> None:
    world.link(dialect=DialectName.RFC8628)
    path = world.client / "link.json"

    assert main(["export", "json", "--to", str(path), *places(world), "--dialect", "rfc8628"]) == 0

    assert not {"product_id", "dsn"} & set(json.loads(path.read_text()))


def test_while_the_service_runs_it_is_to_be_stopped_first(
    world: ExportWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / "run").mkdir()
    with SocketWorld(world.folder / "run" / "api.sock"):
        assert world.export_sdk() == 75
        assert world.export_sdk("--dry-run") == 75

    assert "sudo systemctl stop device-auth.socket device-auth.service" in capsys.readouterr().err
    assert is_ours(world)


# -- crashes


class Crashed(BaseException):
    """Stands for the end of the process: nothing that comes after it reaches the disk."""


@dataclass
class Crash:
    """Ends whatever is under way at its nth call that changes a disk, and lets nothing pass after that."""

    at: int | None = None
    calls: list[str] = field(default_factory=list)

    def hear(self, event: str) -> None:
        if self.at is not None:
            if len(self.calls) >= self.at:
                raise Crashed
            self.calls.append(event)

    @contextmanager
    def before_call(self, number: int) -> Iterator[None]:
        self.at, self.calls = number, []
        try:
            yield
        finally:
            self.at = None


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Crash:
    crash = Crash()
    for name in ("write", "fsync", "rename", "unlink", "link", "fchmod", "open"):
        monkeypatch.setattr(os, name, _heard(crash, name, getattr(os, name)))
    return crash


def _heard(crash: Crash, name: str, call: Callable[..., object]) -> Callable[..., object]:
    def heard(*args: object, **kwargs: object) -> object:
        if name != "open" or (isinstance(args[1], int) and args[1] & (os.O_CREAT | os.O_WRONLY)):
            crash.hear(name)
        return call(*args, **kwargs)

    return heard


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder in memory where there is one: hundreds of syncs of a busy disk take their time."""
    shared = Path("/dev/shm")  # noqa: S108  the folder in it is made by mkdtemp
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_a_crash_at_any_call_leaves_the_link_with_one_side_at_least_and_a_second_try_moves_it(
    memory: Path, crash: Crash
) -> None:
    ways: set[tuple[bool, bool]] = set()
    code: int | None = None
    for number in count():
        folder = memory / str(number)
        folder.mkdir()
        world = ExportWorld(folder)
        world.configure()
        world.link()
        with FileStore(world.state) as store:
            store.save(replace(make_link(), is_proved=True, account="Anna"))
        make_database(world.lwa, "CREATE TABLE alerts (id INT)")
        with crash.before_call(number):
            try:
                code = world.export_sdk()
            except Crashed:
                code = None
        ours, theirs = is_ours(world), is_the_clients(world)
        assert ours or theirs, f"nobody has it after {crash.calls}"
        assert theirs or (world.state / PREVIOUS).exists(), "something of ours went before the client had it"
        ways.add((ours, theirs))
        if code is not None:
            break
        assert world.export_sdk() == (0 if ours else 75), crash.calls
        assert (is_ours(world), is_the_clients(world)) == (False, True)

    assert code == 0
    assert number > 20
    assert ways == {(True, False), (True, True), (False, True)}


def path_of(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


def test_the_clients_files_are_durable_before_anything_changes_here(
    world: ExportWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename, unlink = os.fsync, os.rename, os.unlink

    def note_sync(fd: int) -> None:
        order.append(f"sync {path_of(fd)}")
        fsync(fd)

    def note_rename(name: str, other: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        order.append(f"rename {path_of(dst_dir_fd)}/{other}")
        rename(name, other, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def note_unlink(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        order.append(f"remove {path_of(dir_fd)}/{name}")

    for name, noted in (("fsync", note_sync), ("rename", note_rename), ("unlink", note_unlink)):
        monkeypatch.setattr(os, name, noted)

    assert world.run("json", "--to", str(world.client / "link.json")) == 0

    first = order.index(f"sync {world.client}/link.json.device-auth-new")
    assert order[first + 1 : first + 3] == [f"rename {world.client}/link.json", f"sync {world.client}"]
    assert all(str(world.client) not in what for what in order[first + 3 :])
    assert all(not what.endswith((NEWEST, PREVIOUS)) for what in order[:first])
    assert order[-2:] == [f"rename {world.state}/{NEWEST}", f"sync {world.state}"]


def test_a_link_that_could_not_be_let_go_is_not_given_away(
    world: ExportWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE_AUTH_KEY_FILE", str(world.folder / "missing"))

    assert world.export_sdk() == 75

    assert "there is no key to seal the link under" in capsys.readouterr().err
    assert set(world.files()) == {world.config.name}
    assert is_ours(world)


def test_a_link_that_cannot_be_let_go_is_told_and_the_second_try_moves_it(
    world: ExportWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def refuse(name: str, other: str, **folders: int) -> None:
        if other == NEWEST:
            raise OSError(28, "No space left on device")
        rename(name, other, **folders)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        assert world.export_sdk() == 74

    assert "could not be removed from this speaker" in capsys.readouterr().err
    assert (is_ours(world), is_the_clients(world)) == (True, True)
    assert world.export_sdk() == 0
    assert not is_ours(world)


def test_no_token_is_in_anything_that_is_told(world: ExportWorld, capsys: pytest.CaptureFixture[str]) -> None:
    make_database(
        world.lwa,
        "CREATE TABLE refreshToken (refreshToken TEXT)",
        "INSERT INTO refreshToken VALUES ('Atzr|canary-of-berta')",
    )
    for words in (("--dry-run",), ("--dry-run", "--json"), ("--copy", "-v"), ("--json",)):
        assert world.export_sdk(*words) == 0

    told = capsys.readouterr()
    assert "canary" not in told.out + told.err


def test_after_a_move_the_speaker_is_linked_anew_without_more_ado(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        command = Command(tmp_path, running)
        assert command.link() == 0
        assert command.run("export", "json", "--to", str(tmp_path / "link.json")) == 0

        assert command.link() == 0
        assert command.run("token") == 0

    assert capsys.readouterr().out.splitlines()[:3] == ["linked", f"moved to {tmp_path}/link.json", "linked"]
