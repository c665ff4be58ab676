"""The ways to a unit that is not of this machine: by a real sshd on loopback, and by a serial line with a real shell."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from device_auth.core.models import Monotonic, Seconds, later
from device_auth.factory.station.serial import SerialTransport
from device_auth.factory.station.ssh import SshTransport
from device_auth.factory.station.transport import (
    Halt,
    RunAborted,
    StationFailure,
    TalkTooLong,
    UnitFailure,
    UnitGone,
    UnitNotReached,
    UnitSilent,
    UnitTransport,
)
from device_auth.world.clock import BootClock
from tests.serial_units import SHELLS, SerialUnit
from tests.sshd import SSHD, Sshd, make_key
from tests.waiting import LONG, given_time, wait_for

# each starts an sshd or a shell of its own
pytestmark = pytest.mark.slow

NOW = BootClock().now
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")


def soon(seconds: float = 0.2) -> Monotonic:
    return later(NOW(), Seconds(seconds))


def long() -> Monotonic:
    return soon(LONG)


class Way(Protocol):
    """A unit and the transport to it."""

    halt: Halt

    @property
    def transport(self) -> UnitTransport: ...

    def pull(self) -> None:
        """Have the unit lose its power or its cable."""
        ...

    def close(self) -> None: ...


class SshWay:
    def __init__(self, folder: Path, **more: object) -> None:
        self.halt = Halt()
        self.identity = folder / "station_key"
        self.unit = Sshd(folder / "unit", make_key(self.identity))
        self.unit.start()
        self.transport = self.another(**more)

    def another(self, **more: object) -> SshTransport:
        return SshTransport("slot-07", self.unit.settings(self.identity, **more), NOW, self.halt)

    def pull(self) -> None:
        self.unit.stop()

    def close(self) -> None:
        self.transport.close()
        self.unit.stop()
        self.halt.close()


class SerialWay:
    def __init__(self, shell: str = "bash", **more: Any) -> None:
        self.halt = Halt()
        self.unit = SerialUnit(shell)
        self.transport = SerialTransport(self.unit.settings(**more), NOW, self.halt)

    def pull(self) -> None:
        self.unit.unplug()

    def close(self) -> None:
        self.transport.close()
        self.unit.close()
        self.halt.close()


@pytest.fixture(params=[pytest.param("ssh", marks=needs_sshd), "serial"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    made = SshWay(tmp_path) if request.param == "ssh" else SerialWay()
    try:
        made.transport.open(long())
        yield made
    finally:
        made.close()


def talk(**members: object) -> str:
    return json.dumps({"schema": 1, "event": "check", **members})


def said(transport: UnitTransport, script: str, *lines: bytes) -> tuple[list[dict[str, Any]], int | None]:
    """Run a script as the unit's verb, and return its talk and its exit code."""
    transport.start((script,), long())
    for line in lines:
        transport.write_line(line, long())
    heard = [json.loads(line) for line in rest_of(transport)]
    return heard, transport.finish(long())


def rest_of(transport: UnitTransport) -> list[bytes]:
    found = []
    while (line := transport.read_line(long())) is not None:
        found.append(line)
    return found


def printing(*texts: str) -> str:
    return "".join(f"printf '%s\\n' '{text}'; " for text in texts)


# ---------------------------------------------------------------------------------------------------------
# Verbs


def test_a_verb_says_its_lines_and_its_exit_code(way: Way) -> None:
    script = printing(talk(name="one"), talk(name="two")) + "exit 72"

    heard, exit_code = said(way.transport, script)
    assert [line["name"] for line in heard] == ["one", "two"]
    assert exit_code == 72


def test_verbs_follow_one_another(way: Way) -> None:
    assert [said(way.transport, printing(talk(name=str(n))))[0][0]["name"] for n in range(3)] == list("012")


def test_a_word_arrives_as_it_is(way: Way) -> None:
    word = "it's $HOME `id` ;& * 'quoted' #~"
    way.transport.start(("""printf '{"schema":1,"word":"%s"}\\n' "$0" """, word), long())

    line = way.transport.read_line(long())
    assert line is not None
    assert json.loads(line)["word"] == word


def test_a_secret_reaches_the_verb_and_no_record(way: Way) -> None:
    secret = "5eCr3t" * 700
    header = json.dumps({"schema": 1, "key": secret}).encode()
    script = 'read -r line; printf \'{"schema":1,"length":%s}\\n\' "${#line}"'

    heard, _ = said(way.transport, script, header)
    assert heard[0]["length"] == len(header)
    assert secret[:30].encode() not in way.transport.talk


def test_a_secret_that_comes_too_late_is_no_command_and_in_no_record(way: Way) -> None:
    way.transport.start(("exit 77",), long())
    rest_of(way.transport)
    with suppress(UnitGone):
        way.transport.write_line(b'{"schema":1,"key":"5eCr3t"}', long())
    way.transport.finish(long())

    assert said(way.transport, printing(talk(name="next")))[0][0]["name"] == "next"
    assert b"5eCr3t" not in way.transport.talk


def test_a_line_of_the_greatest_length_arrives(way: Way) -> None:
    script = """head -c 60000 /dev/zero | tr '\\0' x | { printf '{"schema":1,"x":"'; cat; printf '"}\\n'; }"""

    heard, _ = said(way.transport, script)
    assert len(heard[0]["x"]) == 60_000


def test_a_line_without_an_end_is_stopped(way: Way) -> None:
    way.transport.start(("tr '\\0' x < /dev/zero",), long())

    with pytest.raises(TalkTooLong):
        way.transport.read_line(long())


def test_a_verb_that_says_too_much_is_stopped(way: Way) -> None:
    way.transport.start(("yes not-a-line-of-ours",), long())

    with pytest.raises(TalkTooLong):
        rest_of(way.transport)


def test_a_silent_verb_is_left_at_its_deadline_and_the_next_one_runs(way: Way) -> None:
    way.transport.start(("sleep 1000",), long())
    with pytest.raises(UnitSilent):
        way.transport.read_line(soon())
    assert way.transport.finish(soon(0)) is None

    assert said(way.transport, printing(talk(name="next")))[0][0]["name"] == "next"


def test_the_operator_ends_a_wait_at_once(way: Way) -> None:
    way.transport.start(("sleep 1000",), long())
    threading.Timer(0.05, way.halt.set).start()

    with pytest.raises(RunAborted):
        way.transport.read_line(long())
    way.transport.close()


def test_a_unit_that_loses_its_power_is_gone(way: Way) -> None:
    way.transport.start((printing(talk(name="one")) + "sleep 1000",), long())
    assert way.transport.read_line(long()) is not None
    way.pull()

    with pytest.raises(UnitGone):
        rest_of(way.transport)
    assert way.transport.finish(soon(0)) is None
    with pytest.raises(UnitFailure):
        said(way.transport, "true")


def test_it_can_be_opened_again(way: Way) -> None:
    found = way.transport.open
    way.transport.start(("sleep 1000",), long())
    way.transport.close()
    way.transport.close()

    assert found(long()).address
    assert said(way.transport, printing(talk(name="again")))[0][0]["name"] == "again"


def test_remarks_are_in_the_record_and_are_no_lines(way: Way) -> None:
    heard, _ = said(way.transport, "echo a remark >&2; " + printing(talk(name="one")))

    assert [line["name"] for line in heard] == ["one"]
    assert b"a remark" in way.transport.talk


# ---------------------------------------------------------------------------------------------------------
# SSH


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[SshWay]:
    if SSHD is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    made = SshWay(tmp_path)
    yield made
    made.close()


def reach_in_vain(ssh: SshWay, seconds: float) -> UnitFailure:
    """Reach for a unit that cannot be reached; where ssh itself is slow to begin, with more time."""

    def reach(seconds: float) -> UnitFailure:
        with pytest.raises(UnitFailure) as failed:
            ssh.transport.open(soon(seconds))
        return failed.value

    return given_time(reach, lambda failed: str(failed) != "no answer", seconds)


def test_the_fingerprint_of_the_unit_is_found(ssh: SshWay) -> None:
    told = subprocess.run(
        ["ssh-keygen", "-l", "-f", ssh.unit.folder / "host_key.pub"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert ssh.transport.open(long()).fingerprint == told.split()[1]
    assert told.split()[1].startswith("SHA256:")


def test_a_pinned_unit_is_reached(ssh: SshWay) -> None:
    transport = ssh.another(host_key=ssh.unit.host_key)

    assert transport.open(long()).fingerprint.startswith("SHA256:")
    transport.close()


def test_another_unit_than_the_pinned_one_is_refused(ssh: SshWay, tmp_path: Path) -> None:
    transport = ssh.another(host_key=make_key(tmp_path / "other"))

    with pytest.raises(UnitNotReached, match="another unit is in the slot"):
        transport.open(long())
    transport.close()


def test_a_unit_that_is_swapped_during_a_run_is_refused(ssh: SshWay) -> None:
    ssh.transport.open(long())
    ssh.unit.stop()
    ssh.unit.change_host_key()
    ssh.unit.start()

    with pytest.raises(UnitGone):
        said(ssh.transport, "true")
    ssh.transport.close()
    with pytest.raises(UnitNotReached, match="another unit is in the slot"):
        ssh.transport.open(long())


def test_the_next_unit_of_the_slot_has_another_key(ssh: SshWay) -> None:
    first = ssh.transport.open(long())
    ssh.transport.close()
    ssh.unit.stop()
    ssh.unit.change_host_key()
    ssh.unit.start()
    transport = ssh.another()
    second = transport.open(long())
    transport.close()

    assert first.fingerprint != second.fingerprint


def test_a_unit_that_restarts_is_the_same_unit(ssh: SshWay) -> None:
    first = ssh.transport.open(long())
    ssh.unit.stop()
    ssh.unit.start()
    ssh.transport.close()

    assert ssh.transport.open(long()) == first


def test_a_unit_that_is_still_starting_is_waited_for(ssh: SshWay) -> None:
    ssh.unit.stop()
    threading.Timer(0.3, ssh.unit.start).start()

    assert ssh.transport.open(long()).fingerprint


def test_no_unit_is_told_at_the_deadline(ssh: SshWay) -> None:
    ssh.unit.stop()

    failed = reach_in_vain(ssh, 0.8)

    assert isinstance(failed, UnitNotReached)
    assert "refused" in str(failed)


def test_a_station_whose_key_is_not_on_the_unit_is_told_at_once(ssh: SshWay) -> None:
    ssh.unit.authorized.write_text("")

    with pytest.raises(UnitNotReached, match="Permission denied"):
        ssh.transport.open(long())


def test_a_shell_that_hangs_is_told_at_the_deadline(ssh: SshWay) -> None:
    ssh.unit.stop()
    ssh.unit.more = ["ForceCommand sleep 1000"]
    ssh.unit.start()

    failed = reach_in_vain(ssh, 3)

    assert isinstance(failed, UnitSilent)
    assert "shell of the unit does not answer" in str(failed)


def test_a_banner_and_a_talkative_shell_are_no_lines(ssh: SshWay) -> None:
    ssh.unit.stop()
    (ssh.unit.folder / "banner").write_text("Authorised use only\n")
    ssh.unit.more = [
        f"Banner {ssh.unit.folder}/banner",
        """ForceCommand echo "Welcome to Debian"; printf '\\033[2J'; exec sh -c "$SSH_ORIGINAL_COMMAND" """,
    ]
    ssh.unit.start()
    ssh.transport.open(long())

    assert said(ssh.transport, printing(talk(name="one")))[0][0]["name"] == "one"


def test_a_unit_whose_kernel_hangs_is_noticed(ssh: SshWay) -> None:
    ssh.transport.open(long())
    ssh.transport.start(("sleep 1000",), long())
    ssh.unit.freeze()

    # no deadline of a verb is needed for it: the connection itself is asked whether it is alive
    with pytest.raises(UnitGone, match="the connection is lost"):
        ssh.transport.read_line(long())


def test_a_verb_makes_no_connection_of_its_own(ssh: SshWay) -> None:
    ssh.transport.open(long())
    # the way into the connection is gone, and the unit would still let another in
    ssh.transport._socket.unlink()
    ssh.transport.start(("echo", '{"schema":1}'), long())

    with pytest.raises(UnitGone):
        ssh.transport.read_line(long())


def test_an_interface_and_a_command_may_be_the_way(ssh: SshWay) -> None:
    by_interface = ssh.another(interface="lo")
    by_interface.open(long())
    assert said(by_interface, printing(talk(name="lo")))[0][0]["name"] == "lo"
    by_interface.close()

    relay = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{ssh.unit.port}; cat <&3 & exec cat >&3'"
    by_command = ssh.another(host="unit.invalid", proxy_command=relay)
    by_command.open(long())
    assert said(by_command, printing(talk(name="relay")))[0][0]["name"] == "relay"
    by_command.close()


def test_nothing_of_the_stations_user_is_used_and_no_agent_goes_along(
    ssh: SshWay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    ssh.transport.open(long())

    script = """printf '{"schema":1,"agent":"%s"}\\n' "${SSH_AUTH_SOCK:-none}" """
    assert said(ssh.transport, script)[0][0]["agent"] == "none"
    (process,) = [each for each in (ssh.transport._connection,) if each is not None]
    words = Path(f"/proc/{process.ssh.pid}/cmdline").read_text().split("\0")
    assert "StrictHostKeyChecking=accept-new" in words
    assert not [word for word in words if word.lower().endswith("checking=no")]


def test_nothing_is_left_of_a_run(ssh: SshWay) -> None:
    ssh.transport.open(long())
    folder, connection = ssh.transport._folder, ssh.transport._connection
    assert folder is not None
    assert connection is not None
    assert folder.stat().st_mode & 0o077 == 0
    ssh.transport.close()

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(connection.ssh.pid, 0)


def test_the_connection_ends_with_the_station(ssh: SshWay) -> None:
    ssh.transport.open(long())
    connection = ssh.transport._connection
    assert connection is not None
    assert connection.ssh.stdin is not None
    # as the kernel does when the station is killed
    connection.ssh.stdin.close()

    connection.ssh.wait()


# ---------------------------------------------------------------------------------------------------------
# Serial lines


@pytest.fixture
def serial() -> "Iterator[Serial]":
    made: list[SerialWay] = []

    def make(*arguments: Any, **settings: Any) -> SerialWay:
        made.append(SerialWay(*arguments, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


Serial = Callable[..., SerialWay]


@pytest.mark.parametrize("shell", [name for name in SHELLS if name != "login"])
def test_each_shell_is_spoken_to(serial: Serial, shell: str) -> None:
    way = serial(shell)
    way.transport.open(long())

    assert said(way.transport, printing(talk(name="one")) + "exit 3") == ([json.loads(talk(name="one"))], 3)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("open sesame\n")
    path.chmod(0o600)
    return path


def test_a_unit_that_asks_is_logged_in_to_and_out_of(serial: Serial, password_file: Path) -> None:
    way = serial("login", password_file=password_file)
    for _ in range(2):
        way.transport.open(long())
        assert said(way.transport, printing(talk(name="one")))[0][0]["name"] == "one"
        way.transport.close()
        wait_for(lambda: way.unit.carried.rstrip().endswith(b"login:"))

    assert b"open sesame" not in way.transport.talk
    assert way.unit.carried.count(b"Last login") == 2


def test_a_wrong_password_is_told(serial: Serial, password_file: Path) -> None:
    password_file.write_text("open says me\n")
    way = serial("login", password_file=password_file)

    with pytest.raises(UnitNotReached, match="does not take the password"):
        way.transport.open(long())
    assert b"open says me" not in way.transport.talk


def test_a_missing_password_is_told(serial: Serial) -> None:
    with pytest.raises(UnitNotReached, match="asks for a password"):
        serial("login").transport.open(long())


def test_a_password_that_others_can_read_is_refused(serial: Serial, password_file: Path) -> None:
    password_file.chmod(0o644)

    with pytest.raises(StationFailure, match="can be read by others"):
        serial("login", password_file=password_file).transport.open(long())


def test_messages_of_the_kernel_break_no_line(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    count = 0

    def noisy(content: bytes) -> bytes:
        nonlocal count
        count += 1
        place = (count * 37) % (len(content) + 1)
        message = b"[   %d.123456] usb 1-1: new {high} speed device\r\n" % count
        return content[:place] + message + content[place:]

    way.unit.noise = noisy
    for place in range(10):
        script = "".join(f"{printing(talk(name=f'check-{place}-{n}'))} sleep 0.01; " for n in range(5))
        heard, exit_code = said(way.transport, script + "exit 72")
        assert [line["name"] for line in heard] == [f"check-{place}-{n}" for n in range(5)]
        assert exit_code == 72
    assert count > 10


def test_a_line_may_come_in_any_pieces(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    script = (
        "for c in '{\"sch' 'ema\":' '1,\"na' 'me\":\"x\"' '}'; do printf %s \"$c\"; sleep 0.02; done; echo"
    )

    assert said(way.transport, script)[0] == [{"schema": 1, "name": "x"}]


def test_control_characters_stop_nothing(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    header = b'{"a":"\x11\x13\x11"}'

    heard, _ = said(way.transport, 'read -r l; printf \'{"schema":1,"length":%s}\\n\' "${#l}"', header)
    assert heard[0]["length"] == len(header)


def test_a_unit_that_restarts_is_told(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    way.transport.start(("sleep 1000",), long())
    way.unit.say(b"\r\n[    0.000000] Booting Linux on physical CPU 0x0\r\n")

    with pytest.raises(UnitGone, match="restarted"):
        way.transport.read_line(long())


def test_an_end_with_a_number_that_cannot_be_is_none(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    way.transport.start(("sleep 1000",), long())
    verb = way.transport._verb
    assert verb is not None
    way.unit.say(f"end-{verb.mark} {'9' * 5000}\r\n{talk(name='next')}\r\n".encode())

    assert way.transport.read_line(long()) == talk(name="next").encode()


def test_a_verb_that_does_not_heed_ctrl_c_is_ended(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    way.transport.start(("trap '' INT; " + printing(talk(name="one")) + "while :; do sleep 1; done",), long())
    assert way.transport.read_line(long()) is not None
    way.transport.finish(soon(0))

    assert said(way.transport, printing(talk(name="next")))[0][0]["name"] == "next"


def test_what_an_earlier_station_left_is_ended(serial: Serial) -> None:
    way = serial()
    way.transport.open(long())
    way.transport.start(("sleep 1000",), long())
    # that station was killed; the next one finds its verb
    assert way.transport._line is not None
    os.close(way.transport._line)
    way.transport = SerialTransport(way.unit.settings(), NOW, way.halt)
    way.transport.open(long())

    assert said(way.transport, printing(talk(name="next")))[0][0]["name"] == "next"


def test_a_line_that_prints_everything_back_gets_no_secret(serial: Serial) -> None:
    way = serial()
    sent = 0

    def loop_back(content: bytes) -> bytes:
        nonlocal sent
        back, sent = way.unit.sent[sent:], len(way.unit.sent)
        return back.replace(b"\n", b"\r\n") + content

    way.unit.noise = loop_back
    with pytest.raises(UnitNotReached, match="prints back"):
        way.transport.open(long())


def test_a_dead_line_is_told_at_the_deadline(serial: Serial) -> None:
    way = serial()
    way.unit.noise = lambda content: b""  # noqa: ARG005  nothing arrives

    with pytest.raises(UnitSilent, match="no shell answers"):
        way.transport.open(soon(1))


def test_what_is_no_serial_line_is_told(serial: Serial, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for device in ("/dev/null", tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(StationFailure, match="cannot open the serial line"):
            serial(device=Path(device)).transport.open(long())
