"""A unit behind SSH: the system's OpenSSH, one connection a run, a channel of it for each verb.

The one idea: the first connection of a run learns the unit's host key, and nothing else is believed until its end. All
gadgets of a line have one address, so a key belongs to a slot and a run (``HostKeyAlias`` and a known_hosts file of the
run's own), or is pinned where the flash station read it. Nothing of the station's user is used: no configuration, no
agent, no other key.

The connection is held by a ``cat`` on the unit that returns what it is sent: so the station knows that the unit's shell
works, and the connection ends with the station, even if that is killed.

Source: ssh(1), ssh_config(5), OpenSSH 9.2.
"""

import base64
import hashlib
import os
import select
import shlex
import shutil
import subprocess  # noqa: TID251  ssh is run here alone
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

from device_auth.core.models import Monotonic
from device_auth.factory.station.transport import (
    USER_NAME,
    Halt,
    ReachedUnit,
    RunAborted,
    StationFailure,
    TalkChannel,
    TalkTail,
    TalkTooLong,
    UnitGone,
    UnitNotReached,
    UnitSilent,
    await_ready,
    is_talk,
    of_form,
)
from device_auth.world.settings import environment_for_others
from hardware.settings import Key, ValueType

CONNECTION_LOST: Final = 255
"""The exit code of ssh itself. Source: ssh(1). No verb of ours has it."""

MOST_REMARKS: Final = 1000
"""Characters of what ssh says that are told."""

_ATTEMPT_S: Final = 10
"""Seconds of one attempt to connect: a unit that is just starting answers a later one."""

_PAUSE_S: Final = 0.5
_ALIVE_EVERY_S: Final = 3
_ALIVE_COUNT: Final = 3
"""So many unanswered questions, one every so many seconds, and the unit is gone."""

_NO_CONNECTION_OF_ITS_OWN: Final = ("ControlMaster=no", "ProxyCommand=false")
"""Without the second ssh connects by itself where it is not let in by the connection that there is: a verb would begin on
whatever is plugged in now, or wait for a unit whose kernel hangs."""

_FINAL: Final = (
    "Host key verification failed",
    "Permission denied",
    "Too many authentication failures",
    "Bad configuration",
)
"""What another attempt would not change. A name that cannot be resolved and an interface that is not there may be those of a
unit that is still starting."""


# ---------------------------------------------------------------------------------------------------------
# Settings


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line")
    return text


KEYS: Final = (
    Key(
        "host",
        explanation="Name or address of the unit; a link-local one names its interface, fe80::1%enx0050b6.",
        example="10.12.194.1",
        is_required=True,
        parse=of_form(r"[0-9A-Za-z][0-9A-Za-z.:%_-]*", "a host name or an address"),
    ),
    Key(
        "user",
        explanation="The user on the unit.",
        example="root",
        default="root",
        parse=of_form(USER_NAME, "the name of a user"),
    ),
    Key("port", ValueType.WHOLE, "The port of its sshd.", 22, default=22, within=range(1, 65536)),
    Key(
        "identity_file",
        ValueType.PATH,
        "The station's private key; its own, with no passphrase, readable by the station's user alone.",
        "/etc/device-auth-station/id_ed25519",
        is_required=True,
    ),
    Key(
        "interface",
        explanation="The network interface of the slot: needed where all units have one address.",
        example="enx0050b6123456",
        default="",
        parse=of_form(r"[0-9A-Za-z_.-]{1,15}", "the name of a network interface"),
    ),
    Key(
        "proxy_command",
        explanation="A command that connects standard input and output with the unit's sshd, as ssh_config(5) has it.",
        example="nc -X 5 -x rig:1080 %h %p",
        default="",
        parse=_one_line,
    ),
    Key(
        "host_key",
        explanation="The unit's public host key where it is known beforehand; else the first one of a run is believed.",
        example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI…",
        default="",
        parse=of_form(
            r"[a-z0-9@.-]+ [0-9A-Za-z+/]+=*( .*)?",
            "the type and the key, as in /etc/ssh/ssh_host_ed25519_key.pub",
        ),
    ),
    Key(
        "command",
        ValueType.COMMAND,
        "The program on the unit.",
        ["sudo", "-n", "device-auth"],
        default=("device-auth",),
    ),
)
"""The settings of a slot with ``transport = "ssh"``."""


# ---------------------------------------------------------------------------------------------------------
# The connection


class _SshChannel(NamedTuple):
    """A process of ssh, and the lines of what it runs on the unit."""

    ssh: "subprocess.Popen[bytes]"
    lines: TalkChannel


class SshTransport:
    """The way to a unit by SSH.

    Args:
        slot: its name, under which the host key is known.
        settings: of the slot, as ``KEYS`` are read.
        now: reads the clock of deadlines.
        halt: ends the waits.
    """

    def __init__(
        self, slot: str, settings: Mapping[str, Any], now: Callable[[], Monotonic], halt: Halt
    ) -> None:
        self._slot = slot
        self._settings = settings
        self._now = now
        self._halt = halt
        self._tail = TalkTail()
        self._remarks = TalkTail()
        self._folder: Path | None = None
        self._known = _pinned(slot, settings["host_key"])
        self._connection: _SshChannel | None = None
        self._verb: _SshChannel | None = None
        self._has_begun = False

    @property
    def talk(self) -> bytes:
        """Return the end of what the unit has said."""
        return self._tail.kept()

    def open(self, deadline: Monotonic) -> ReachedUnit:
        """Connect, as often as it takes: a unit that was just plugged in is still starting.

        Raises:
            UnitNotReached: if there is no connection by the deadline, or there will be none.
            UnitSilent: if the unit's shell does not answer.
        """
        # a short path, as a socket's has a limit
        self._folder = Path(tempfile.mkdtemp(prefix="factory-"))
        self._known_hosts.write_text(self._known)
        self._connect(deadline)
        address = f"{self._settings['user']}@{self._settings['host']}:{self._settings['port']}"
        # what is opened again must be the same unit
        self._known = self._known_hosts.read_text()
        return ReachedUnit(address, fingerprint_of(self._known))

    def start(self, words: Sequence[str], deadline: Monotonic) -> None:
        """Start a verb on a channel of its own.

        Raises:
            UnitGone: if the connection is lost.
        """
        self.finish(deadline)
        if self._connection is None or self._connection.ssh.poll() is not None:
            raise self._lost()
        self._verb = self._run_ssh(
            [*self._settings["command"], *words], self._tail, *_NO_CONNECTION_OF_ITS_OWN
        )
        self._has_begun = False

    def read_line(self, deadline: Monotonic) -> bytes | None:
        """Return the next line of the verb.

        Raises:
            UnitFailure: if the connection is lost, the unit is silent, or says too much.
        """
        if self._verb is None:
            raise UnitGone("no verb runs")
        while (line := self._verb.lines.read_line(deadline)) is not None:
            # what a shell prints of its own accord comes before the first line
            begun = line if self._has_begun else line[max(0, line.find(b"{")) :]
            self._has_begun = self._has_begun or is_talk(begun)
            if self._has_begun:
                return begun
        if self._exit_code(self._verb.ssh, deadline) == CONNECTION_LOST:
            self._verb.lines.keep_remarks()
            raise self._lost()
        return None

    def write_line(self, line: bytes, deadline: Monotonic) -> None:
        """Write a line to the verb.

        Raises:
            UnitFailure: if the verb does not take it.
        """
        if self._verb is None:
            raise UnitGone("no verb runs")
        self._verb.lines.write_line(line, deadline)

    def finish(self, deadline: Monotonic) -> int | None:
        """Wait for the verb's end; at the deadline let go of it: what the unit still runs ends by its own ``--timeout``.

        Returns:
            Its exit code; None if the connection was lost, or it did not end.
        """
        if self._verb is None:
            return None
        verb, self._verb = self._verb, None
        try:
            code = self._exit_code(verb.ssh, deadline)
            verb.lines.keep_remarks()
        except (UnitSilent, RunAborted):
            return None
        finally:
            self._give_up(verb)
        return None if code == CONNECTION_LOST else code

    def close(self) -> None:
        """End the connection, and remove what the run knew of the unit."""
        for each in (self._verb, self._connection):
            if each is not None:
                self._give_up(each)
        self._verb = self._connection = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    # -----------------------------------------------------------------------------------------------------

    def _connect(self, deadline: Monotonic) -> None:
        while True:
            connection = self._run_ssh(["exec", "cat"], self._remarks, "ControlMaster=yes")
            try:
                self._hear_own_words(connection, deadline)
            except (UnitGone, UnitSilent) as error:
                connection.ssh.kill()
                is_silent = connection.ssh.wait() != CONNECTION_LOST and isinstance(error, UnitSilent)
                connection.lines.keep_remarks()
                self._give_up(connection)
                if is_silent and self._socket.exists():
                    raise UnitSilent("connected, but the shell of the unit does not answer") from error
                self._socket.unlink(missing_ok=True)
                remark = self._last_remark()
                if isinstance(error, UnitSilent) or any(words in remark for words in _FINAL):
                    raise UnitNotReached(_explain(remark)) from error
            except (RunAborted, TalkTooLong):
                self._give_up(connection)
                raise
            else:
                self._connection = connection
                return
            self._pause(deadline)

    def _hear_own_words(self, connection: _SshChannel, deadline: Monotonic) -> None:
        """Wait until the unit returns a line of ours; what its shell says before it is kept, and no line of a verb."""
        ours = uuid4().hex.encode()
        connection.lines.write_line(ours, deadline)
        while True:
            line = connection.lines.read_line(deadline)
            if line is None:
                raise UnitGone("no connection")
            if line.endswith(ours):
                return

    def _run_ssh(self, words: Sequence[str], tail: TalkTail, *options: str) -> _SshChannel:
        assert self._folder is not None, "open comes first"  # noqa: S101  our own bug
        target = f"{self._settings['user']}@{self._settings['host']}"
        try:
            ssh = subprocess.Popen(  # noqa: S603  arguments of the station's settings and our own
                ["ssh", *self._options(*options), "--", target, shlex.join(words)],  # noqa: S607  the system's own
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**environment_for_others(), "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise StationFailure(f"cannot run ssh: {error.strerror}") from error
        assert ssh.stdin is not None  # noqa: S101  asked for
        assert ssh.stdout is not None  # noqa: S101  asked for
        assert ssh.stderr is not None  # noqa: S101  asked for
        channel = TalkChannel(
            ssh.stdout.fileno(),
            ssh.stdin.fileno(),
            ssh.stderr.fileno(),
            tail=tail,
            now=self._now,
            halt=self._halt,
        )
        return _SshChannel(ssh, channel)

    def _options(self, *more: str) -> list[str]:
        settings = self._settings
        # ssh takes the first value that it is given
        options = [
            *more,
            "BatchMode=yes",
            "PreferredAuthentications=publickey",
            f"IdentityFile={settings['identity_file']}",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            f"HostKeyAlias={self._slot}",
            f"UserKnownHostsFile={self._known_hosts}",
            "GlobalKnownHostsFile=none",
            f"StrictHostKeyChecking={'yes' if self._known else 'accept-new'}",
            "CheckHostIP=no",
            "HashKnownHosts=no",
            "UpdateHostKeys=no",
            "VerifyHostKeyDNS=no",
            f"Port={settings['port']}",
            f"ConnectTimeout={_ATTEMPT_S}",
            f"ServerAliveInterval={_ALIVE_EVERY_S}",
            f"ServerAliveCountMax={_ALIVE_COUNT}",
            f"ControlPath={self._socket}",
            "EscapeChar=none",
            "RequestTTY=no",
            "LogLevel=ERROR",
        ]
        if settings["interface"]:
            options.append(f"BindInterface={settings['interface']}")
        if settings["proxy_command"]:
            options.append(f"ProxyCommand={settings['proxy_command']}")
        return ["-F", "none", *(word for option in options for word in ("-o", option))]

    def _exit_code(self, ssh: "subprocess.Popen[bytes]", deadline: Monotonic) -> int:
        """Wait for the end of a process.

        Raises:
            UnitFailure: if it does not end by the deadline, or the operator ends the run.
        """
        if ssh.returncode is not None:
            return ssh.returncode
        ended = os.pidfd_open(ssh.pid)
        try:
            await_ready({ended: select.POLLIN}, deadline, now=self._now, halt=self._halt)
        finally:
            os.close(ended)
        return ssh.wait()

    def _pause(self, deadline: Monotonic) -> None:
        with suppress(UnitSilent):
            await_ready({}, Monotonic(min(deadline, self._now() + _PAUSE_S)), now=self._now, halt=self._halt)

    def _give_up(self, connection: _SshChannel) -> None:
        with suppress(OSError):
            connection.ssh.kill()
        connection.ssh.wait()
        for stream in (connection.ssh.stdin, connection.ssh.stdout, connection.ssh.stderr):
            if stream is not None:
                stream.close()

    def _lost(self) -> UnitGone:
        """Return the error of a verb that ended without an exit code."""
        if self._connection is not None and self._connection.ssh.poll() is None:
            return UnitGone("the verb was killed")
        if self._connection is not None:
            self._connection.lines.keep_remarks()
        return UnitGone(f"the connection is lost: {_explain(self._last_remark())}")

    def _last_remark(self) -> str:
        """Return the last words of the ssh that holds the connection."""
        lines = self._remarks.kept()[-MOST_REMARKS:].decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if " " in line.strip()), "")

    @property
    def _known_hosts(self) -> Path:
        assert self._folder is not None, "open comes first"  # noqa: S101  our own bug
        return self._folder / "known_hosts"

    @property
    def _socket(self) -> Path:
        assert self._folder is not None, "open comes first"  # noqa: S101  our own bug
        return self._folder / "ssh"


def _pinned(slot: str, host_key: str) -> str:
    """Return the known_hosts file of a slot whose unit is known; of another it is empty."""
    return " ".join([slot, *host_key.split()[:2]]) + "\n" if host_key else ""


def fingerprint_of(known_hosts: str) -> str:
    """Return the fingerprint of the one key of a known_hosts file, as ``ssh-keygen -l`` has it; empty if there is none."""
    fields = known_hosts.split()
    if len(fields) < 3:  # noqa: PLR2004  names, type, key
        return ""
    try:
        key = base64.b64decode(fields[2], validate=True)
    except ValueError:
        return ""
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


def _explain(remark: str) -> str:
    if "Host key verification failed" in remark:
        return "another host key: another unit is in the slot, or it was flashed anew"
    return "".join(letter for letter in remark if letter.isprintable()) or "no answer"


def make_transport(
    settings: Mapping[str, Any], *, slot: str, folder: Path, now: Callable[[], Monotonic], halt: Halt
) -> SshTransport:
    """Return the way to the unit that is in a slot now; see ``TransportModule``."""
    del folder  # nothing is kept
    return SshTransport(slot, settings, now, halt)
