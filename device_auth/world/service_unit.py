"""The system's service as systemd knows it: whether it is up, and if not, why, in words for a person; and its stop.

systemd is asked only where the service does not answer by itself, so that the usual path stays cheap.

Source: systemctl(1), ``show``; org.freedesktop.systemd1(5); systemd.exec(5), "Process Exit Codes"; sd_booted(3).
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.core.errors import StoreError
from device_auth.core.models import Seconds
from device_auth.world.explain import describe_process
from device_auth.world.signals import held_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from device_auth.world.programs import ProgramResult, Run

UNIT: Final = "device-auth.service"
SOCKET_UNIT: Final = "device-auth.socket"

SYSTEMCTL: Final = "usr/bin/systemctl"
"""Below the root folder: what root runs is not looked up on a path."""

BOOTED: Final = "run/systemd/system"

UNIT_FOLDERS: Final = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)

ANSWER_WITHIN: Final = Seconds(1)
"""How long systemd may take to answer where a person waits: a small board needs a tenth of that."""

SYSTEMCTL_WITHIN: Final = Seconds(120)
"""systemd itself gives a start 90 s."""

OWN_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""Of systemctl: a variable of the caller's could lead root's command to another bus."""

START_DUE: Final = Path("run/device-auth.start-due")
"""Is there while the service is stopped for something else: who finds it although nothing else goes on starts it again."""

PROPERTIES: Final = (
    *("Id", "LoadState", "UnitFileState", "ActiveState", "SubState", "Result"),
    *("ExecMainCode", "ExecMainStatus", "NRestarts", "MainPID", "Job"),
)

_STOPPED: Final = frozenset({"T", "t"})
_WAITS: Final = {
    "D": ", which waits for a disk or a device",
    **dict.fromkeys(_STOPPED, ", which is stopped by a signal"),
}
"""States of a process that say why it does not answer. Source: proc(5), ``/proc/PID/stat``."""

KILLED: Final = {"2", "3"}
"""Of ``ExecMainCode``: ended by a signal. Source: waitid(2), CLD_KILLED and CLD_DUMPED."""

BOTH: Final = f"{SOCKET_UNIT} {UNIT}"
START: Final = f"sudo systemctl start {BOTH}"
SWITCH_ON: Final = f"sudo systemctl enable --now {BOTH}"
RELOAD: Final = f"sudo systemctl reload {UNIT.removesuffix('.service')}"
RESTART: Final = f"sudo systemctl restart {BOTH}"
LOOK_AT_THE_LOG: Final = f"See why: journalctl -u {UNIT} -n 50"

_SYSUSERS: Final = f"Make what is missing: sudo systemd-sysusers; then: {RESTART}"
_FOLDER: Final = f"Is the disk full or read-only (df -h, mount)? Then: {RESTART}. {LOOK_AT_THE_LOG}"


class EndOfStart(NamedTuple):
    """What it means that systemd could not start the program, by the exit code that it reports in its place.

    Attributes:
        name: as systemd prints it.
        sentence: the end of one: why the start failed.
        next_step: for a person.
    """

    name: str
    sentence: str
    next_step: str = LOOK_AT_THE_LOG


NOT_STARTED: Final[Mapping[str, EndOfStart]] = {
    "200": EndOfStart("CHDIR", "its working folder cannot be entered", _FOLDER),
    "201": EndOfStart("NICE", "its priority cannot be set"),
    "202": EndOfStart("FDS", "its open files cannot be passed on"),
    "203": EndOfStart(
        "EXEC",
        "its program is missing or cannot be executed",
        f"See which it is: systemctl cat {UNIT}; install device-auth again; then: {RESTART}",
    ),
    "204": EndOfStart("MEMORY", "there is not enough memory"),
    "205": EndOfStart("LIMITS", "a limit of the unit cannot be set"),
    "206": EndOfStart("OOM_ADJUST", "its rank when memory runs out cannot be set"),
    "207": EndOfStart("SIGNAL_MASK", "its signals cannot be set"),
    "208": EndOfStart("STDIN", "its standard input cannot be opened"),
    "209": EndOfStart("STDOUT", "its standard output cannot be opened"),
    "210": EndOfStart("CHROOT", "its root folder cannot be entered"),
    "211": EndOfStart("IOPRIO", "its priority for disks cannot be set"),
    "212": EndOfStart("TIMERSLACK", "its timer slack cannot be set"),
    "213": EndOfStart("SECUREBITS", "its secure bits cannot be set"),
    "214": EndOfStart("SETSCHEDULER", "its scheduling cannot be set"),
    "215": EndOfStart("CPUAFFINITY", "its processors cannot be set"),
    "216": EndOfStart(
        "GROUP", "a group that the unit or a drop-in names does not exist, or cannot be taken", _SYSUSERS
    ),
    "217": EndOfStart("USER", "the user that the unit names does not exist", _SYSUSERS),
    "218": EndOfStart("CAPABILITIES", "its capabilities cannot be set"),
    "219": EndOfStart("CGROUP", "its control group cannot be made"),
    "220": EndOfStart("SETSID", "its session cannot be made"),
    "221": EndOfStart("CONFIRM", "its start was declined at the console"),
    "222": EndOfStart("STDERR", "its standard error cannot be opened"),
    "224": EndOfStart("PAM", "PAM refuses it"),
    "225": EndOfStart("NETWORK", "its network cannot be made"),
    "226": EndOfStart(
        "NAMESPACE",
        "its view of the file system cannot be made",
        "On a read-only root systemd before 254 needs the drop-in of a board, or read-only-root.conf"
        f" (deploy/systemd, /usr/share/device-auth/drop-ins). {LOOK_AT_THE_LOG}",
    ),
    "227": EndOfStart("NO_NEW_PRIVILEGES", "new privileges cannot be ruled out"),
    "228": EndOfStart("SECCOMP", "its filter of system calls cannot be set"),
    "229": EndOfStart("SELINUX_CONTEXT", "its SELinux context cannot be set"),
    "230": EndOfStart("PERSONALITY", "its execution domain cannot be set"),
    "231": EndOfStart("APPARMOR", "its AppArmor profile cannot be set"),
    "232": EndOfStart("ADDRESS_FAMILIES", "its address families cannot be restricted"),
    "233": EndOfStart("RUNTIME_DIRECTORY", "its runtime folder cannot be made", _FOLDER),
    "235": EndOfStart("CHOWN", "a file cannot be given to its user", _FOLDER),
    "236": EndOfStart("SMACK_PROCESS_LABEL", "its SMACK label cannot be set"),
    "237": EndOfStart("KEYRING", "its keyring cannot be made"),
    "238": EndOfStart("STATE_DIRECTORY", "its state folder cannot be made", _FOLDER),
    "239": EndOfStart("CACHE_DIRECTORY", "its cache folder cannot be made", _FOLDER),
    "240": EndOfStart("LOGS_DIRECTORY", "its log folder cannot be made", _FOLDER),
    "241": EndOfStart("CONFIGURATION_DIRECTORY", "its settings folder cannot be made", _FOLDER),
    "242": EndOfStart("NUMA_POLICY", "its memory policy cannot be set"),
    "243": EndOfStart(
        "CREDENTIALS",
        "a credential in /etc/credstore.encrypted cannot be opened",
        f"Bring its key back, or remove the credential (docs/encryption.md); then: {RESTART}",
    ),
    "244": EndOfStart("BPF", "its filter of the network cannot be set"),
    "255": EndOfStart("EXCEPTION", "an error of systemd's own"),
}
"""Source: systemd.exec(5); ``systemd-analyze exit-status``."""

ENDED: Final[Mapping[str, EndOfStart]] = {
    "2": EndOfStart("", "its command line is wrong", f"See it: systemctl cat {UNIT}. {LOOK_AT_THE_LOG}"),
    "70": EndOfStart("", "a bug in this program", f"Report it with: journalctl -u {UNIT} -n 50"),
    "74": EndOfStart(
        "", "the store cannot be used", f"Run: sudo device-auth doctor (S1 to S7); then: {RESTART}"
    ),
    "78": EndOfStart("", "a setting is wrong", f"Run: sudo device-auth config check; then: {RESTART}"),
}
"""By the exit code of this program."""

RESULTS: Final[Mapping[str, str]] = {
    "timeout": "it was not ready in time",
    "watchdog": "it hung, and the watchdog ended it",
    "oom-kill": "memory ran out, and the kernel ended it",
    "protocol": "it ended before it was ready",
    "resources": "systemd could not prepare its start",
    "start-limit-hit": "it failed too often in a short time",
    "core-dump": "it crashed",
}
"""By ``Result``, where the exit code does not tell."""

SOCKET_RESULTS: Final[Mapping[str, str]] = {
    "resources": "its address is taken, or cannot be made",
    "exit-code": "its user or its group does not exist",
    "service-start-limit-hit": "the service failed too often in a short time",
    "service-failed-permanent": "the service failed for good",
    "trigger-limit-hit": "the service was asked for too often while it failed",
}


class ServiceCondition(StrEnum):
    """What keeps the service from answering, in one word."""

    SILENT = "not-answering"
    STARTING = "starting"
    FAILING = "failing"
    FAILED = "failed"
    STOPPED = "stopped"
    MASKED = "masked"
    BROKEN = "broken"


DOWN: Final = frozenset(
    {ServiceCondition.FAILED, ServiceCondition.STOPPED, ServiceCondition.MASKED, ServiceCondition.BROKEN}
)


class ServiceReport(NamedTuple):
    """Why the service does not answer.

    Attributes:
        condition: in one word.
        sentence: for a person.
        next_step: for a person.
        is_coming: it may answer by itself before long.
        is_of_system: it is the system's service, and no other.
    """

    condition: ServiceCondition
    sentence: str
    next_step: str
    is_coming: bool = False
    is_of_system: bool = True

    @property
    def is_down(self) -> bool:
        """Return whether no process of it runs, nor will by itself: nothing else uses link and parts."""
        return self.condition in DOWN

    @property
    def has_failed(self) -> bool:
        """Return whether it is down against the wish of whoever set it up."""
        return self.condition in {ServiceCondition.FAILED, ServiceCondition.BROKEN}

    @property
    def hint(self) -> str:
        """Return both sentences."""
        return f"{self.sentence} {self.next_step}".strip()


Units = Mapping[str, Mapping[str, str]]
"""The properties of each unit, by its name."""


def is_installed(root: Path) -> bool:
    """Return whether systemd runs here and has the unit of the service; two or three looks at files."""
    return os.path.lexists(root / BOOTED) and any(
        os.path.lexists(root / folder / UNIT) for folder in UNIT_FOLDERS
    )


def ask_systemd(root: Path, within: Seconds = ANSWER_WITHIN) -> Units:
    """Return what systemd knows of the service and its socket; nothing if it does not answer in time."""
    from device_auth.world.programs import CannotRun, run_program

    def run(words: "Sequence[str]") -> "ProgramResult":
        return run_program([str(root / SYSTEMCTL), *words[1:]], within)

    try:
        return show(run)
    except CannotRun:
        return {}


def show(run: "Run", *more: str) -> Units:
    """Return the properties of both units.

    Args:
        run: runs ``systemctl``.
        more: further properties.

    Raises:
        CannotRun: if it is missing, or does not answer in time.
    """
    properties = ",".join((*PROPERTIES, *more))
    ran = run(["systemctl", "show", UNIT, SOCKET_UNIT, "--no-pager", f"--property={properties}"])
    return {} if ran.exit_code != 0 else read_properties(ran.output)


def read_properties(output: str) -> Units:
    """Read what ``systemctl show`` prints: a block of lines for each unit, with an empty line between."""
    units: dict[str, dict[str, str]] = {}
    for block in output.split("\n\n"):
        found: dict[str, str] = {}
        for name, is_one, value in (line.partition("=") for line in block.splitlines()):
            if is_one:
                # a list has a line for each value
                found[name] = f"{found[name]} {value}" if name in found else value
        if found:
            units[found.get("Id", UNIT)] = found
    return units


def report_on(units: Units, root: Path) -> ServiceReport | None:
    """Return why the service does not answer.

    Args:
        units: as systemd knows them.
        root: the root folder of the machine.

    Returns:
        None if the service is not one that should run: it is not installed, or not switched on.
    """
    service, socket = units.get(UNIT, {}), units.get(SOCKET_UNIT, {})
    loaded, active = service.get("LoadState", ""), service.get("ActiveState", "")
    if not service:
        return ServiceReport(
            ServiceCondition.SILENT,
            "The service does not answer, and systemd does not tell why.",
            f"Try it with sudo, or see: systemctl status {BOTH}",
        )
    if loaded == "not-found":
        return None
    if loaded == "masked":
        return ServiceReport(
            ServiceCondition.MASKED,
            "The service is masked: systemd is told never to start it.",
            f"sudo systemctl unmask {BOTH}; then: {START}",
        )
    if loaded != "loaded":
        return ServiceReport(
            ServiceCondition.BROKEN,
            f"systemd cannot use the unit of the service ({loaded}).",
            f"See why: systemctl status {UNIT}",
        )
    match active:
        case "activating" | "failed":
            return _of_start(service, socket)
        case "deactivating":
            return ServiceReport(ServiceCondition.STOPPED, "The service is being stopped.", START)
        case "inactive" if service.get("Job"):
            # its start waits for that of another unit, at each try of a service that fails too
            return _of_start(service, socket)
        case "inactive":
            return _of_stopped(service, socket)
        case _:
            return _of_running(service, socket, root)


def run_systemctl(root: Path, *words: str) -> None:
    """Have systemd do something with the units.

    Raises:
        StoreError: if it fails.
    """
    if drive_systemctl(root)(["systemctl", *words]).exit_code != 0:
        report = report_on(ask_systemd(root), root)
        why, hint = ("", LOOK_AT_THE_LOG) if report is None else (f": {report.sentence}", report.next_step)
        raise StoreError(f"systemctl {' '.join(words)} failed{why}", hint=hint)


def drive_systemctl(root: Path) -> "Run":
    """Return what runs systemctl by its whole path, and waits as long as a start may take.

    It raises StoreError if it is missing, or does not end in time.
    """
    from device_auth.world.programs import CannotRun, run_program

    def run(words: "Sequence[str]") -> "ProgramResult":
        try:
            return run_program([str(root / SYSTEMCTL), *words[1:]], SYSTEMCTL_WITHIN, OWN_ENVIRONMENT)
        except CannotRun as error:
            raise StoreError(str(error), hint=LOOK_AT_THE_LOG) from error

    return run


@contextmanager
def service_stopped(root: Path) -> Iterator[None]:
    """Stop the service and its socket, if they are up, and start them again whatever happens meanwhile.

    Where the process is killed meanwhile, ``start_what_is_due`` of the next one starts them, or the next start of the
    machine does.

    Raises:
        StoreError: if systemd cannot stop or start them.
    """
    if not os.path.lexists(root / BOOTED):
        yield
        return
    units, due = show(drive_systemctl(root)), root / START_DUE
    was_up = {"active", "activating", "reloading"} & {unit.get("ActiveState") for unit in units.values()}
    if not was_up and not due.exists():
        yield
        return
    due.touch()
    try:
        run_systemctl(root, "stop", SOCKET_UNIT, UNIT)  # both: the socket would bring the service back
        yield
    finally:
        with held_back():
            start_what_is_due(root)


def start_what_is_due(root: Path) -> None:
    """Start the service and its socket, if somebody stopped them who was to start them again.

    Raises:
        StoreError: if systemd cannot start them.
    """
    due = root / START_DUE
    if due.exists():
        # started first, the service would bind the address itself, and systemd would refuse the socket
        run_systemctl(root, "start", SOCKET_UNIT)
        run_systemctl(root, "start", UNIT)
        due.unlink(missing_ok=True)


def silent_at(path: Path, root: Path) -> ServiceReport | None:
    """Return the report on a service of another kind that listens at a socket and does not answer; None if nobody listens."""
    process = _listener_at(path)
    if process is None:
        return None
    again = "end it, and start it again: device-auth run"
    silent = _silent(f"The service at {path} does not answer", process, root)
    if silent.is_coming:
        return silent._replace(next_step=again.capitalize(), is_of_system=False)
    return silent._replace(next_step=f"Let it go on: kill -CONT {process}; or {again}", is_of_system=False)


def end_of(service: Mapping[str, str]) -> EndOfStart:
    """Return how the last start of the service ended: words that follow a colon, and the next step."""
    result, status = service.get("Result", ""), service.get("ExecMainStatus", "")
    if result in RESULTS and result not in {"core-dump", "start-limit-hit"}:
        return EndOfStart("", RESULTS[result])
    if service.get("ExecMainCode") in KILLED:
        crashed = f"{RESULTS['core-dump']}, " if result == "core-dump" else ""
        return EndOfStart("", f"{crashed}ended by signal {_signal_of(status)}")
    if status in NOT_STARTED:
        known = NOT_STARTED[status]
        return known._replace(sentence=f"{status}/{known.name}, {known.sentence}")
    if status in ENDED:
        known = ENDED[status]
        return known._replace(sentence=f"exit status {status}, {known.sentence}")
    if status not in {"", "0"}:
        return EndOfStart("", f"exit status {status}")
    return EndOfStart("", RESULTS.get(result, result or "unknown"))


def socket_failure(socket: Mapping[str, str]) -> str:
    """Return why the socket failed, in words that follow a colon."""
    result = socket.get("Result", "")
    return SOCKET_RESULTS.get(result, result or "unknown")


def _of_start(service: Mapping[str, str], socket: Mapping[str, str]) -> ServiceReport:
    """Return the report of a service that starts, or could not."""
    end, times = end_of(service), service.get("NRestarts", "0") or "0"
    if service.get("ActiveState") == "failed":
        again = f"sudo systemctl reset-failed {BOTH}; then: {START}"
        step = (
            f"{end.next_step}. When that is mended: {again}"
            if _is_limited(service, socket)
            else end.next_step
        )
        return ServiceReport(
            ServiceCondition.FAILED, f"The service failed: {end.sentence}.{_beside(socket)}", step
        )
    if service.get("SubState", "").startswith("auto-restart"):
        again = (
            "failed, and is about to be started again"
            if times == "0"
            else f"fails and is started again and again (restarts so far: {times})"
        )
        return ServiceReport(ServiceCondition.FAILING, f"The service {again}: {end.sentence}.", end.next_step)
    if times != "0":
        return ServiceReport(
            ServiceCondition.FAILING,
            f"The service failed, and is starting again (restarts so far: {times}).",
            LOOK_AT_THE_LOG,
            is_coming=True,
        )
    return ServiceReport(
        ServiceCondition.STARTING,
        "The service is starting.",
        "Wait a moment, then try again.",
        is_coming=True,
    )


def _of_stopped(service: Mapping[str, str], socket: Mapping[str, str]) -> ServiceReport | None:
    if socket.get("ActiveState") == "failed":
        return ServiceReport(
            ServiceCondition.FAILED,
            f"The service is stopped.{_beside(socket)}",
            _start_again(service, socket),
        )
    is_on = any(unit.get("UnitFileState", "").startswith("enabled") for unit in (service, socket))
    if not is_on and socket.get("ActiveState") != "active":
        return None
    return ServiceReport(ServiceCondition.STOPPED, "The service is stopped.", f"Start it: {START}")


def _of_running(service: Mapping[str, str], socket: Mapping[str, str], root: Path) -> ServiceReport:
    if socket.get("ActiveState") == "failed":
        return ServiceReport(
            ServiceCondition.SILENT, f"The service runs, but nothing can reach it.{_beside(socket)}", RESTART
        )
    process = service.get("MainPID", "0")
    silent = _silent("The service runs, but does not answer", process, root)
    if silent.is_coming:
        return silent._replace(next_step=f"If that lasts: {RESTART}. {LOOK_AT_THE_LOG}")
    return silent._replace(next_step=f"Let it go on: sudo kill -CONT {process}; or start it again: {RESTART}")


def _silent(sentence: str, process: str, root: Path) -> ServiceReport:
    """Return the report on a service that hangs, without a next step: it names the process, and why it waits.

    An answer may still come, unless a signal stopped the process.
    """
    state = _process_state(process, root)
    if state:
        sentence += f"; it is {describe_process(root / 'proc' / process)}{_WAITS.get(state, '')}"
    return ServiceReport(ServiceCondition.SILENT, f"{sentence}.", "", is_coming=state not in _STOPPED)


def _listener_at(path: Path) -> str | None:
    """Return the number of the process that listens at a socket, empty if unknown; None if nobody listens.

    Source: unix(7), SO_PEERCRED.
    """
    import socket
    import struct

    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError:  # more wait there than may
            return ""
    return str(struct.unpack("3i", found)[0])


def _beside(socket: Mapping[str, str]) -> str:
    """Return a sentence about a socket that failed."""
    if socket.get("ActiveState") != "failed":
        return ""
    return f" Its socket failed: {socket_failure(socket)}."


def _is_limited(service: Mapping[str, str], socket: Mapping[str, str]) -> bool:
    """Return whether systemd refuses to start one of them until it is told to forget the failures."""
    return any(unit.get("Result", "").endswith("limit-hit") for unit in (service, socket))


def _start_again(service: Mapping[str, str], socket: Mapping[str, str]) -> str:
    return f"sudo systemctl reset-failed {BOTH}; then: {START}" if _is_limited(service, socket) else RESTART


def _signal_of(number: str) -> str:
    with suppress(ValueError):
        return f"{number} ({signal.Signals(int(number)).name})"
    return number


def _process_state(number: str, root: Path) -> str:
    """Return the letter of a process's state; empty if it is not known. Source: proc(5), ``/proc/PID/stat``."""
    if not number.isdecimal() or number == "0":
        return ""
    with suppress(OSError):
        # the name may hold spaces and brackets
        state = (root / "proc" / number / "stat").read_text(errors="replace").rpartition(") ")[2][:1]
        return state if state.isalpha() else ""
    return ""
