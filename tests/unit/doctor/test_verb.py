"""The verb: what it prints and writes, for a speaker that is well, for one that is not, and for one full of canaries."""

import json
import logging
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import current_thread
from typing import Any, Final

import pytest

from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli import doctor
from device_auth.cli.doctor import examine_speaker
from device_auth.cli.main import read_arguments
from device_auth.core.errors import ClientRejected, StoreError
from device_auth.core.models import DialectName, Mark, Monotonic, Seconds, Secret, UnixTime, View, later
from device_auth.core.states import StateWord, Trouble
from device_auth.core.values import replace
from device_auth.doctor import examination
from device_auth.doctor.examination import open_context
from device_auth.doctor.findings import Verdict
from device_auth.doctor.link import check_refresh
from device_auth.doctor.redaction import Redaction
from device_auth.doctor.report import ReportFile, write_report
from device_auth.prompts.stderr import width_of
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import serve
from device_auth.world.clock import BootClock
from device_auth.world.pending import FilePending
from device_auth.world.places import read_places
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from tests.command import Command
from tests.far_provider import FakeMachine
from tests.links import make_grant, make_link, make_pending
from tests.patient import DISKS, MEMORY
from tests.scripted_server import ScriptedServer
from tests.simulated_speaker import strict
from tests.socket_world import SocketWorld
from tests.terminal_session import session

pytestmark = pytest.mark.usefixtures("own_home")

IPV6_ADDRESS: Final = f"20010db8{'0' * 23}7 02 40 00 80     eth0\n"


@pytest.fixture(scope="module")
def once_linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        command = Command(tmp_path_factory.mktemp("linked"), running)
        assert command.link() == 0
        yield command


@pytest.fixture
def linked(once_linked: Command, tmp_path: Path) -> Iterator[Command]:
    """A speaker that is linked, which a test may spoil."""
    for name in ("state", "run"):
        shutil.copytree(once_linked.folder / name, tmp_path / name)
    yield Command(tmp_path, once_linked.running)
    once_linked.running.amazon.clear_faults()


class KeptClock(BootClock):
    """The clock of a machine on which time is right, whatever this one's is."""

    def looks_set(self, not_before: UnixTime | None = None) -> bool:
        del not_before
        return True

    def is_kept_right(self) -> bool:
        return True

    def awake(self) -> Monotonic:
        return self.now()


def make_machine(folder: Path) -> Path:
    """Make the root folder of a machine that is well: a disk, the runtime folder in memory, a network."""
    root = folder / "machine"
    FakeMachine(root).addresses6.write_text(IPV6_ADDRESS)
    (root / "proc/self").mkdir()
    (root / "proc/self/mountinfo").write_text(f"{DISKS}\n{MEMORY.format((folder / 'run').resolve())}\n")
    return root


def examine(command: Command, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    return on_a_good_machine(command, capsys, *command.provider, "--dsn", "K0001", *words)


def on_a_good_machine(
    command: Command, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    args = read_arguments(["doctor", "--json", *command.places, *words])
    speaker = open_doors(vars(args))
    speaker.clock = KeptClock()
    exit_code = examine_speaker(speaker, is_online=args.online, root=make_machine(command.folder))
    told = json.loads(capsys.readouterr().out)
    return exit_code, {each["code"]: each for each in told["findings"]}


def wrong(found: dict[str, Any]) -> dict[str, str]:
    return {code: each["verdict"] for code, each in found.items() if each["verdict"] in {"warn", "fail"}}


# -- what is found ----------------------------------------------------------------------------------------


def test_of_a_speaker_that_is_well_no_false_alarm_is_given(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, found = examine(linked, capsys)

    assert wrong(found) == {}
    assert exit_code == 0
    assert list(found) == [each for each in found if each[0] in "SRTNCLHD"]
    assert found["L3"]["verdict"] == "skipped"


def test_online_one_refresh_shows_that_the_link_holds(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (linked.folder / "run/token.json").read_bytes()
    exit_code, found = examine(linked, capsys, "--online")

    assert wrong(found) == {}
    assert found["L3"]["sentence"] == "The provider honours the link: it gave an access token for 60 minutes."
    assert exit_code == 0
    assert (linked.folder / "run/token.json").read_bytes() != before


def test_online_a_client_that_is_not_accepted_gives_its_own_exit_code(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Fault(status=400, json='{"error": "unauthorized_client"}', times=None)
    linked.running.amazon.script(Endpoint.REFRESH, [refused])
    exit_code, found = examine(linked, capsys, "--online")

    assert found["L3"]["exit_code"] == 78
    assert exit_code == 78


def test_a_link_that_is_marked_gives_its_own_exit_code(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileStore(linked.folder / "state") as store:
        link = store.read()
        assert link is not None
        store.save(replace(link, mark=Mark.REVOKED, marked_at=UnixTime(1.8e9)))
    exit_code, found = examine(linked, capsys, "--online")

    assert wrong(found) == {"L1": "fail"}
    assert found["L3"]["sentence"] == "Not looked at because of L1 linked."
    assert exit_code == 77


def test_a_link_that_is_said_to_be_revoked_is_told_and_left_as_it_is(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (linked.folder / "state/link.json").read_bytes()
    refused = Fault(status=400, json='{"error": "invalid_grant"}', times=None)
    linked.running.amazon.script(Endpoint.REFRESH, [refused])
    exit_code, found = examine(linked, capsys, "--online")

    assert found["L3"]["verdict"] == "fail"
    assert "said once" in found["L3"]["next_step"]
    assert exit_code == 77
    assert (linked.folder / "state/link.json").read_bytes() == before


def test_nothing_is_refreshed_that_could_not_be_kept(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (linked.folder / "state/link.json.new").mkdir()
    asked = len(linked.running.amazon.grants())
    token = (linked.folder / "run/token.json").read_bytes()
    exit_code, found = examine(linked, capsys, "--online")

    assert (exit_code, found["L3"]["exit_code"]) == (74, 74)
    assert len(linked.running.amazon.grants()) == asked
    assert (linked.folder / "run/token.json").read_bytes() == token


@pytest.mark.parametrize(
    ("outcome", "exit_code"),
    [
        ((0.0, Trouble.REVOKED, "link again"), 77),
        ((0.0, Trouble.NO_NETWORK, ""), 69),
        ((0.0, Trouble.NONE, ""), 69),
        ((3600.0, Trouble.NONE, ""), 0),
    ],
)
def test_what_came_of_a_refresh_gives_the_exit_code(
    outcome: tuple[float, Trouble, str], exit_code: int
) -> None:
    found = check_refresh(lambda: outcome)

    assert found.exit_code == exit_code
    assert (found.verdict is Verdict.OK) == (exit_code == 0)
    assert bool(found.next_step) == (exit_code != 0)


def test_why_nothing_can_be_refreshed_is_told() -> None:
    def refuse() -> tuple[float, Trouble, str]:
        raise ClientRejected("the client is not accepted", hint="Check it.")

    found = check_refresh(refuse)

    assert (found.exit_code, found.next_step) == (78, "Check it.")


def test_while_the_service_runs_it_is_asked_to_refresh(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with SocketWorld(linked.folder / "run/api.sock", clock=BootClock()) as served:
        served.actions.refresh = lambda: served.actions.end_refresh(served.issue("fresh"))
        served.is_linked(served.issue(age=1800))
        _, found = examine(linked, capsys, "--online")

        assert found["L3"]["verdict"] == "ok"
        assert served.actions.refreshes == 1


@pytest.mark.parametrize(("trouble", "exit_code"), [(Trouble.REVOKED, 77), (Trouble.NO_NETWORK, 69)])
def test_a_service_that_cannot_refresh_says_why(linked: Command, trouble: Trouble, exit_code: int) -> None:
    context = open_context(speaker_of(linked))
    with SocketWorld(linked.folder / "run/api.sock", clock=BootClock()) as served:

        def end_in_trouble() -> None:
            served.feed.tell(View(StateWord.LINKED, trouble), make_link())
            served.actions.end_refresh()

        served.actions.refresh = end_in_trouble
        served.is_linked()

        assert check_refresh(lambda: examination._refresh_by_service(context)).exit_code == exit_code


def test_a_service_that_goes_away_meanwhile_is_no_bug(linked: Command) -> None:
    context = open_context(speaker_of(linked))

    assert check_refresh(lambda: examination._refresh_by_service(context)).exit_code == 69


def test_a_store_that_cannot_be_read_does_not_keep_the_rest_from_being_told(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (linked.folder / "state").iterdir():
        path.write_text("{}")
    exit_code, found = examine(linked, capsys)

    assert exit_code == 74
    assert wrong(found) == {"S7": "fail"}


def test_settings_that_cannot_be_read_do_not_keep_the_rest_from_being_told(
    linked: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("client_id = ")
    exit_code, found = examine(linked, capsys, "--config", str(tmp_path / "config.toml"))

    assert wrong(found) == {"C1": "fail"}
    assert exit_code == 78


def test_a_file_of_certificates_that_holds_none_is_told_by_itself(
    linked: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, found = examine(linked, capsys, "--ca-file", "/dev/null")

    assert wrong(found) == {"C7": "fail"}
    assert exit_code == 78


# -- which speaker ----------------------------------------------------------------------------------------


def speaker_of(command: Command, *words: str) -> Doors:
    return open_doors(vars(read_arguments(["doctor", *command.places, *command.provider, *words])))


def bare_speaker(root: Path, *, euid: int = 1000) -> Doors:
    environ = {"HOME": str(root / "home")}
    return Doors({}, read_places({}, environ, euid, root))


def test_root_looks_at_the_systems_speaker(tmp_path: Path) -> None:
    assert open_context(bare_speaker(tmp_path, euid=0), root=tmp_path).is_system


def test_a_user_looks_at_the_systems_speaker_if_its_socket_is_there(tmp_path: Path) -> None:
    (tmp_path / "run/device-auth").mkdir(parents=True)
    (tmp_path / "run/device-auth/api.sock").touch()
    (tmp_path / "home/.local/state/device-auth").mkdir(parents=True)
    context = open_context(bare_speaker(tmp_path), root=tmp_path)

    assert context.is_system
    assert context.places.state_dir == tmp_path / "var/lib/device-auth"


@pytest.mark.parametrize("has_own", [True, False])
def test_a_user_looks_at_his_own_speaker_unless_only_the_system_has_one(
    tmp_path: Path, has_own: bool
) -> None:
    (tmp_path / "var/lib/device-auth").mkdir(parents=True)
    if has_own:
        (tmp_path / "home/.local/state/device-auth").mkdir(parents=True)

    assert open_context(bare_speaker(tmp_path), root=tmp_path).is_system is not has_own


def test_a_speaker_that_is_named_is_looked_at(linked: Command) -> None:
    context = open_context(speaker_of(linked))

    assert not context.is_system
    assert context.places.state_dir == linked.folder / "state"


def test_a_simulated_speaker_meets_its_own_amazon(
    once_linked: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exit_code, found = on_a_good_machine(Command(tmp_path, once_linked.running), capsys, "--simulate=auto")

    assert wrong(found) == {"L1": "warn"}
    assert exit_code == 1
    assert found["N14"]["verdict"] == found["H6"]["verdict"] == "ok"
    assert not (tmp_path / "state").exists()


# -- how it is told ---------------------------------------------------------------------------------------


def test_people_read_it_by_group_on_stdout(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    linked.run("doctor", *linked.provider)
    told = capsys.readouterr()

    assert told.out.startswith("Store           ")
    assert re.search(r"\nLink +1 skipped, 3 ok\n", told.out)
    assert "\x1b" not in told.out
    assert "mode: 0700" not in told.out
    assert told.err == ""


def test_verbose_tells_the_facts_too(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    linked.run("doctor", "-v", *linked.provider)

    told = capsys.readouterr().out
    assert told.startswith("Store\n  ok      S1 state-folder\n")
    assert "mode: 0700" in told


def test_what_is_logged_meanwhile_is_redacted_and_told_only_if_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    redaction = Redaction()
    redaction.learn("dsn", "canary")
    handler = logging.StreamHandler()
    lines: list[str] = []
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # seen here
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with doctor._redacted_log(redaction, is_verbose=False):
            logging.getLogger("x").warning("the %s", "canary")
        with doctor._redacted_log(redaction, is_verbose=True):
            logging.getLogger("x").warning("the %s", "canary")
        logging.getLogger("x").warning("another")
    finally:
        root.removeHandler(handler)

    assert lines == ["the <dsn-1>", "another"]
    assert "canary" not in capsys.readouterr().err


def test_on_a_terminal_it_is_drawn_to_its_width_and_says_what_it_waits_for(tmp_path: Path) -> None:
    places = f"--state-dir {tmp_path}/state --runtime-dir {tmp_path}/run"
    with session(tmp_path, columns=40, rows=400) as shell:
        shell.wait_for("ready>")
        shell.run("doctor", "-v", "--simulate", places)
        # not the words that were typed, and not on the screen: to read one of 400 rows takes long
        shell.wait_for(lambda: bool(re.search(r"left with \d", shell.heard)))
        lines = shell.text.splitlines()
        colours = {shell.screen.buffer[y][2].fg for y in range(len(lines))}

    assert "Store" in lines
    assert {"green", "brown"} <= colours
    assert not any(line.lstrip().startswith(("0 of", "1 of")) for line in lines)


def test_the_last_screen_has_the_first_failure_with_its_step(tmp_path: Path) -> None:
    with session(tmp_path) as shell:
        shell.wait_for("ready>")
        # many failures: of the network, of each setting, of the state folder
        (tmp_path / "state").write_text("no folder")
        shell.run("doctor", "--base-url", "http://127.0.0.1:9/", f"--state-dir {tmp_path}/state")
        shell.wait_for(lambda: bool(re.search(r"left with \d", shell.text)))
        screen = shell.text

    assert "Begin with:\n  FAILED  S1 state-folder\n" in screen
    # its path may be so long that the sentence goes on in a second line
    assert "is not a folder. → Move it away, or name another with --state-dir. " in " ".join(screen.split())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *(("doctor", name) for name in ("NO_COLOR=1", "CLICOLOR=0", "TERM=dumb", "TERM=")),
        *(("link", name) for name in ("NO_COLOR=1", "TERM=dumb")),
        # each of these a speaker and its Amazon on a terminal, for what the doctor reads by the same two lines
        *(pytest.param("link", name, marks=pytest.mark.slow) for name in ("CLICOLOR=0", "TERM=")),
    ],
)
def test_no_colour_where_none_is_wanted_and_no_escape_sequence_on_a_dumb_terminal(
    name: str, words: str, tmp_path: Path
) -> None:
    places = f"--state-dir {tmp_path}/state --runtime-dir {tmp_path}/run"
    with session(tmp_path, columns=100, rows=400) as shell:
        shell.wait_for("ready>")
        shell.type(
            f"{name} {sys.executable} -m device_auth {words} --simulate {places}; echo 'left' with $?\n"
        )
        shell.wait_for(lambda: bool(re.search(r"left with \d", shell.heard)))

    heard = shell.heard
    looks = set(re.findall(r"\x1b\[[0-9;]*m", heard))
    black_and_white = {"\x1b[37;97;40m", "\x1b[0m"} if words == "link" else set()
    if name.startswith("TERM"):
        assert "\x1b" not in heard
        assert "\r" not in heard.replace("\r\n", "")
    else:
        assert looks == black_and_white
    if words == "link":
        assert "Linked." in heard


def test_a_terminal_that_does_not_know_its_width_is_taken_for_a_usual_one() -> None:
    far, near = os.openpty()
    with os.fdopen(far), os.fdopen(near) as terminal:
        assert width_of(terminal) == 80
    with Path(os.devnull).open() as nothing:
        assert width_of(nothing) == 80


def test_progress_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    tell = doctor._progress(is_dumb=False)
    tell(1, 2, ["linked"])
    tell(2, 2, [])
    doctor._progress(is_dumb=True)(1, 2, ["nothing is shown of it"])

    told = capsys.readouterr().err
    assert "1 of 2: linked " in told
    assert told.endswith(f"\r{' ' * 79}\r")


class ShyClock(BootClock):
    """Fails whoever looks for what is private, and nobody else."""

    def wall(self) -> UnixTime:
        assert current_thread().name != "check S0"
        return super().wall()


def test_that_not_all_may_be_masked_is_said(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    speaker = speaker_of(linked)
    speaker.clock = ShyClock()
    capsys.readouterr()
    examine_speaker(speaker)

    assert "not all that is private could be found out" in capsys.readouterr().err


# -- the report -------------------------------------------------------------------------------------------


def report(command: Command, path: Path) -> int:
    return command.run("doctor", "--report", str(path), *command.provider)


def test_the_report_holds_everything_for_its_owner_alone(
    linked: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report(linked, tmp_path / "report")

    assert stat.S_IMODE((tmp_path / "report").stat().st_mode) == 0o600
    text = (tmp_path / "report").read_text()
    for part in ("Versions", "Settings", "User and groups", "Disks", "The last 100 lines"):
        assert f"== {part}" in text
    assert "  ok      S1 state-folder" in text
    assert "mode: 0700" in text
    assert f"base_url         {linked.running.base_url}  (option --base-url)" in text
    assert "client_id        …cdef  (option --client-id)" in text
    assert "dsn              <dsn-1>  (option --dsn)" in text
    assert "metrics          false  (default)" in text
    assert re.search(r"^hardware +not set$", text, re.MULTILINE)
    assert re.search(r"^page +not set$", text, re.MULTILINE)
    assert f"Wrote {tmp_path / 'report'}." in capsys.readouterr().err


def test_the_report_has_tables_as_a_settings_file_has_them(linked: Command, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[page]\nport = 8080\n[hardware]\nboard = "none"\n[hardware.led]\nkind = "mono"\nflip = true\n'
    )
    linked.run("doctor", "--config", str(config), "--report", str(tmp_path / "report"), *linked.provider)
    text = (tmp_path / "report").read_text()

    assert 'hardware         { board = "none", led = { kind = "mono", flip = true } }' in text
    assert "page             { port = 8080 }" in text


def test_a_report_takes_the_place_of_another(linked: Command, tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_text("x" * 100_000)
    path.chmod(0o644)
    report(linked, path)

    assert "x" * 100 not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_report_is_not_written_into_what_another_user_has_put_there(
    linked: Command, tmp_path: Path
) -> None:
    path, theirs = tmp_path / "report", tmp_path / "theirs"
    theirs.write_text("theirs")
    os.chown(theirs, 65534, -1)
    os.link(theirs, path)

    report(linked, path)

    assert theirs.read_text() == "theirs"
    assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to(path.parent / "elsewhere"),
        lambda path: path.mkdir(),
        os.mkfifo,
    ],
)
def test_a_report_is_written_into_nothing_but_a_plain_file(
    linked: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "report"
    make(path)
    capsys.readouterr()

    assert report(linked, path) == 74
    told = capsys.readouterr()
    assert told.out == ""
    assert "cannot write the report" in told.err
    assert not (tmp_path / "elsewhere").exists()


def test_a_device_is_no_plain_file(linked: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(linked, Path("/dev/full")) == 74
    assert "not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("exit 1", "The log cannot be read: journalctl ended with status 1."),
        ("exit 0", "It is empty, or this user may not read it: sudo device-auth doctor"),
        (
            "echo 2026-11-22T10:00:00+0000 here device-auth: hello",
            "2026-11-22T10:00:00+0000 <host-1> device-auth: hello",
        ),
        (None, "The log cannot be read: journalctl: no such file or directory."),
    ],
)
def test_the_report_ends_with_the_log_or_why_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, line: str
) -> None:
    (tmp_path / "bin").mkdir()
    if script is not None:
        (tmp_path / "bin/journalctl").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin/journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    speaker = Doors({}, read_places({}, {}, 0, tmp_path))
    text = write_report(open_context(speaker, root=tmp_path), speaker.settings, [], Redaction(), at="now")

    assert text.rstrip().endswith(line)
    assert "system unknown" in text
    assert "machine no Raspberry Pi" in text


def test_a_report_that_cannot_be_finished_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    file = ReportFile(tmp_path / "reports" / "report")
    (tmp_path / "reports").rmdir()

    with pytest.raises(StoreError, match="no such file or directory"):
        file.write("x")


# -- canaries ---------------------------------------------------------------------------------------------

CANARIES: Final = {
    "secret": "c4narysecret+99",
    "dsn": "CANARYDSN0001",
    "client": "c4naryclient0000000000000000",
    "refresh": "CanaryRefresh",
    "access": "CanaryAccess",
    "account": "Carla Canary",
    "host": "canaryhost",
    "serial": "10000000ca4a4999",
    "machine": "ca4a4ca4a4ca4a4ca4a4ca4a4ca4a499",
    "ssid": "Canary Nest",
    "psk": "canarypassword",
    "user code": "AAYJHL",
    "device code": "canary-device-code",
    "mac": "b8:27:eb:ca:4a:99",
    "ipv4": "93.184.216.99",
    "ipv6": "2606:2800:220:1:248:1893:25c8:9999",
    "email": "carla@canary.example",
    "log token": "CanaryLogged",
    "log host": "canarylogger",
}
"""What stands where, and must not be seen anywhere."""


@pytest.fixture
def nest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once_linked: Command) -> Doors:
    """The system's speaker, below a root folder of its own, with a canary in every place there is."""
    c, root = CANARIES, tmp_path
    for name, text in {
        "etc/hostname": f"{c['host']}\n",
        "etc/machine-id": f"{c['machine']}\n",
        "etc/os-release": f'PRETTY_NAME="Canary OS of {c["host"]}"\n',
        "proc/device-tree/model": f"Raspberry Pi of {c['email']}\0",
        "proc/device-tree/serial-number": f"{c['serial']}\0",
        "proc/cpuinfo": f"Serial\t\t: {c['serial']}\n",
        "proc/self/mountinfo": f"22 1 0:2 / / rw - nfs4 {c['ipv4']}:/export/{c['host']} rw,addr={c['ipv6']}\n",
        "etc/wpa_supplicant/wpa_supplicant.conf": f'network={{\n ssid="{c["ssid"]}"\n psk="{c["psk"]}"\n}}\n',
        "etc/device-auth/config.toml": f'client_secret = "{c["secret"]}"\ndsn = "{c["dsn"]}"\nproduct_id = "kitchen"\n'
        f'client_id = "amzn1.application-oa2-client.{c["client"]}"\nbase_url = "{once_linked.running.base_url}"\n'
        f'[hardware.voice]\nkind = "command"\ncommand = ["say", "{c["email"]}", "{c["mac"]}"]\n',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/device-auth/config.toml").chmod(0o600)
    programs = root / "bin"
    programs.mkdir()
    log = (
        f"2026-11-22T10:00:00+0000 {c['log host']} device-auth[7]: Atza|{c['log token']} via {c['ipv6']} {c['ssid']}\n"
        f"2026-11-22T10:00:01+0000 {c['log host']} device-auth[7]: {c['user code']} {c['mac']} {c['account']} {c['dsn']}\n"
        f"{c['refresh']} {c['access']} {c['device code']} {c['secret']} {c['serial']} {c['machine']} {c['host']}\n"
    )
    for name, script in {
        "journalctl": f"cat <<'END'\n{log}END",
        "systemctl": f"echo LoadState=loaded; echo UnitFileState=of-{c['host']}; echo WatchdogUSec={c['email']}",
        "ss": f"echo {c['mac']}",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    speaker = Doors({"verbose": 1}, read_places({}, {}, 0, root))
    link = replace(
        make_link(),
        client_id=f"amzn1.application-oa2-client.{c['client']}",
        refresh_token=Secret(c["refresh"]),
        account=c["account"],
        token_endpoint=f"{once_linked.running.base_url}token",
    )
    with FileStore(speaker.places.state_dir) as store:
        store.replace(link)
    (speaker.places.state_dir / "link.json.damaged-1").write_text(c["refresh"])
    now = speaker.clock.now()
    grant = replace(make_grant(c["access"]), expires_at=later(now, Seconds(3600)))
    FileTokens(speaker.places.runtime_dir, speaker.clock).publish(grant)
    pending = make_pending()
    pair = replace(pending.pair, expires_at=later(now, Seconds(600)))
    FilePending(speaker.places.runtime_dir, speaker.clock).keep(replace(pending, pair=pair))
    return speaker


@pytest.mark.parametrize("is_json", [True, False])
def test_no_canary_reaches_the_output_or_the_report(
    nest: Doors, capfd: pytest.CaptureFixture[str], tmp_path: Path, is_json: bool
) -> None:
    speaker = Doors({**nest.options, **({"json": True} if is_json else {})}, nest.places)
    examine_speaker(speaker, report=tmp_path / "report", root=tmp_path)
    told = capfd.readouterr()
    written = (tmp_path / "report").read_text()

    for name, canary in CANARIES.items():
        for text in (told.out, told.err, written):
            assert canary.lower() not in text.lower().replace(str(tmp_path).lower(), ""), name
    assert "…0000" in written
    assert "device-auth[7]: <token-" in written
    assert "client_secret    set (hidden)" in written


@pytest.mark.parametrize("is_named", [True, False])
def test_the_doctor_sends_a_client_secret_only_where_a_refresh_would(
    once_linked: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_named: bool
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('client_secret = "canary-secret"\n')
    config.chmod(0o600)
    with ScriptedServer(lambda peer: peer.answer(b'{"error": "invalid_client"}', status="401 No")) as server:
        link = replace(
            make_link(),
            dialect=DialectName.RFC8628,
            client_id="speaker",
            token_endpoint=server.url,
            takes_secret=True,
        )
        with FileStore(tmp_path / "state") as store:
            store.replace(link)
        named = link.token_endpoint if is_named else "https://id.example/token"
        words = ["--config", str(config), "--dialect", "rfc8628", "--client-id", "speaker"]
        words += ["--device-endpoint", server.url, "--token-endpoint", named]
        _, found = on_a_good_machine(Command(tmp_path, once_linked.running), capsys, *words)

    assert server.requests
    assert any(b"canary-secret" in request for request in server.requests) is is_named
    assert (found["C8"]["verdict"], found["C9"]["verdict"]) == (
        ("ok", "fail") if is_named else ("fail", "skipped")
    )
