"""The checks of the system's service: is it installed, does it run, does it stay up, and which programs use it."""

import hashlib
import os
import re
from functools import partial
from pathlib import Path
from typing import Final

from device_auth import __version__
from device_auth.core.states import StateWord, Trouble, phrase_of
from device_auth.doctor.context import AS_ROOT, DoctorContext
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.doctor.link import EXIT_CODES, OF_THE_LINK
from device_auth.world.disks import mount_of
from device_auth.world.files import beside_of
from device_auth.world.programs import CannotRun
from device_auth.world.service_unit import (
    BOTH,
    LOOK_AT_THE_LOG,
    RESTART,
    SOCKET_UNIT,
    UNIT,
    ServiceCondition,
    report_on,
    silent_at,
    socket_failure,
)

DOWN: Final = 69
"""Source: sysexits(3), EX_UNAVAILABLE."""

RUNNING: Final = {"active", "reloading", "refreshing"}

WATCHDOG_OFF: Final = {"0", "infinity", ""}

READ_ONLY_ROOT: Final = "read-only-root.conf"

MD5SUMS: Final = "var/lib/dpkg/info/device-auth.md5sums"

MOST_NAMED: Final = 3
"""Changed files that are named in the sentence; the facts have them all."""

_PEER: Final = re.compile(r'users:\(\("([^"]*)",pid=(\d+)')


def checks(context: DoctorContext) -> list[Check]:
    """Return the checks of the service."""
    return [
        Check("D1", "unit", partial(check_unit, context)),
        Check("D2", "service-running", partial(check_running, context), after=("D1",)),
        Check("D3", "restarts", partial(check_restarts, context), after=("D2",)),
        Check("D4", "watchdog", partial(check_watchdog, context), after=("D1",)),
        Check("D5", "service-answers", partial(check_response, context)),
        Check("D6", "version", partial(check_version, context), after=("D5",)),
        Check("D7", "trouble", partial(check_trouble, context), after=("D5",)),
        Check("D8", "readers", partial(check_readers, context), after=("D5",)),
        Check("D9", "socket-unit", partial(check_socket_unit, context), after=("D1",)),
        Check("D10", "read-only-root", partial(check_root, context)),
        Check("D11", "package-files", partial(check_package, context)),
    ]


def check_unit(context: DoctorContext) -> Finding:
    """Check whether systemd knows the service, and starts it with the machine."""
    if not context.is_system:
        return skipped("The system's service does not keep this speaker.")
    unit = context.unit
    if not unit:
        return skipped("systemd does not answer here.")
    loaded, enabled = unit.get("LoadState", ""), unit.get("UnitFileState", "")
    facts = {"load_state": loaded, "unit_file_state": enabled, "drop_ins": unit.get("DropInPaths", "")}
    if loaded == "not-found":
        return skipped("The system's service is not installed; the commands link and token work without it.")
    if loaded != "loaded":
        return _of_report(context, **facts)
    if unit.get("NeedDaemonReload") == "yes":
        return warn(
            "The unit of the service, or a drop-in, was changed, and systemd has not read it since.",
            f"sudo systemctl daemon-reload; then: {RESTART}",
            **facts,
        )
    if not enabled.startswith("enabled"):
        return warn(
            "The service does not start with the speaker.",
            f"sudo systemctl enable {BOTH}",
            **facts,
        )
    return ok("The service is installed, and starts with the speaker.", **facts)


def check_running(context: DoctorContext) -> Finding:
    """Check whether the service runs."""
    unit = context.unit
    facts = {
        "active_state": unit.get("ActiveState", ""),
        "sub_state": unit.get("SubState", ""),
        "result": unit.get("Result", ""),
        "exit_status": unit.get("ExecMainStatus", ""),
    }
    if unit.get("ActiveState") in RUNNING:
        return ok("The service runs.", **facts)
    return _of_report(context, **facts)


def _of_report(context: DoctorContext, **facts: str) -> Finding:
    """Return the finding of a service that is not up."""
    report = report_on(context.units, context.root)
    if report is None:
        return fail("The service does not run.", f"sudo systemctl enable --now {BOTH}", DOWN, **facts)
    if report.condition is ServiceCondition.STARTING:
        return warn(report.sentence, report.next_step, **facts)
    return fail(report.sentence, report.next_step, DOWN, **facts)


def check_restarts(context: DoctorContext) -> Finding:
    """Check whether the service had to be started again since it was started."""
    restarts = context.unit.get("NRestarts", "0")
    if restarts not in {"0", ""}:
        return warn(f"The service failed and was started again, {restarts} times so far.", LOOK_AT_THE_LOG)
    return ok("The service has not failed since it was started.")


def check_watchdog(context: DoctorContext) -> Finding:
    """Check whether systemd would notice if the service hung."""
    watchdog = context.unit.get("WatchdogUSec", "")
    if watchdog in WATCHDOG_OFF:
        return warn(
            "If the service hangs, systemd does not restart it: its watchdog is off.",
            f"Set WatchdogSec=180 in a drop-in (systemctl edit {UNIT}), as in the delivered unit.",
        )
    return ok(f"The watchdog restarts a service that hangs for {watchdog}.", watchdog=watchdog)


def check_response(context: DoctorContext) -> Finding:
    """Check whether the service answers on its socket."""
    daemon = context.daemon
    if daemon.status is not None:
        return ok("The service answers on its socket.")
    if daemon.is_running:
        return skipped(f"The service refuses to answer this user: {daemon.problem}", AS_ROOT)
    if not context.has_socket:
        if context.unit.get("ActiveState") == "active":
            return fail(
                "The service runs but has no socket, so no program can get a token from it.",
                f"{LOOK_AT_THE_LOG}; then: {RESTART}",
                DOWN,
            )
        return skipped("No service runs for this speaker.")
    if context.unit:
        report = report_on(context.units, context.root)
    else:
        report = None if context.socket is None else silent_at(context.socket, context.root)
    if report is not None:
        return fail(report.sentence, report.next_step, DOWN, problem=daemon.problem)
    return fail(
        f"Nothing answers on {context.socket}: {daemon.problem}.",
        RESTART if context.is_system else "Start it again: device-auth run",
        DOWN,
    )


def check_version(context: DoctorContext) -> Finding:
    """Check whether the service is of the same version as this command."""
    status = context.daemon.status
    version = "" if status is None else status.version
    if version != __version__:
        return warn(
            f"The service is of version {version} and this command of version {__version__}.",
            f"Restart the service: sudo systemctl restart {UNIT}",
        )
    return ok(f"The service and this command are of version {__version__}.")


def check_trouble(context: DoctorContext) -> Finding:
    """Check whether the service reports a trouble; those of the link are L1's."""
    status = context.daemon.status
    words = {word.value for word in Trouble}
    if status is None or status.trouble not in words:
        return skipped("The service reports a trouble that this command does not know.")
    trouble = Trouble(status.trouble)
    if trouble is Trouble.NONE or trouble in OF_THE_LINK | {Trouble.COPIED}:
        return ok("The service reports no trouble but the link's, if any (L1).", trouble=trouble)
    phrase = phrase_of(StateWord.LINKED, trouble, is_checking=status.is_checking)
    return fail(
        f"The service reports trouble. {phrase.sentence}",
        status.hint or phrase.next_step,
        EXIT_CODES[trouble],
        trouble=trouble,
    )


def check_readers(context: DoctorContext) -> Finding:
    """Find the programs with a connection to the service. Source: ss(8), which shows others' processes to root alone."""
    try:
        lines = context.run(["ss", "--unix", "--processes", "--no-header"]).output.splitlines()
    except CannotRun as error:
        return skipped(f"Cannot list the programs that use the service: {error}.")
    # The service binds its socket under another name and renames it; the kernel keeps the first name.
    ours = {str(context.socket), beside_of(str(context.socket))}
    # type state received sent local-address local-inode peer-address peer-inode users
    rows = [(row[4], row[5], row[7], row[-1]) for row in map(str.split, lines) if row[7:]]
    peers = {peer for address, _, peer, _ in rows if address in ours}
    names = sorted(
        {
            f"{found[1]} ({found[2]})"
            for _, inode, _, users in rows
            if inode in peers and (found := _PEER.search(users)) and int(found[2]) != os.getpid()
        }
    )
    if not names:
        return ok("No program has a connection to the service now, as far as this user may see.")
    return ok(f"These programs are connected to the service: {', '.join(names)}.", readers=", ".join(names))


def check_socket_unit(context: DoctorContext) -> Finding:
    """Check whether systemd listens for the service, so that programs can reach it whenever it starts."""
    socket, is_up = context.units.get(SOCKET_UNIT, {}), context.unit.get("ActiveState") in RUNNING
    loaded, active = socket.get("LoadState", "not-found"), socket.get("ActiveState", "")
    facts = {"load_state": loaded, "active_state": active, "result": socket.get("Result", "")}
    if loaded == "not-found":
        return warn(
            "The unit of the socket is not installed: programs are refused while the service starts.",
            f"Install {SOCKET_UNIT} beside {UNIT}; then: sudo systemctl daemon-reload; {RESTART}",
            **facts,
        )
    if loaded == "masked":
        return fail(
            "The socket is masked: systemd is told never to start it, and no program can ask the service.",
            f"sudo systemctl unmask {SOCKET_UNIT}; then: {RESTART}",
            DOWN,
            **facts,
        )
    if active == "failed":
        why = socket_failure(socket)
        return fail(
            f"The socket of the service failed: {why}.",
            f"See why: systemctl status {SOCKET_UNIT}; when that is mended: sudo systemctl reset-failed {BOTH};"
            f" {RESTART}",
            DOWN,
            **facts,
        )
    if active != "active":
        if not is_up:
            return skipped("The socket is stopped, as the service is (D2).")
        return fail(
            "The service runs, but its socket is stopped: no program can ask it.", RESTART, DOWN, **facts
        )
    if not socket.get("UnitFileState", "").startswith("enabled"):
        return warn(
            "The socket does not start with the speaker.", f"sudo systemctl enable {SOCKET_UNIT}", **facts
        )
    return ok("systemd listens for the service.", **facts)


def check_root(context: DoctorContext) -> Finding:
    """Check whether the service can start on a read-only root; nothing but the state must be writable."""
    mount = mount_of(Path("/"), context.root)
    if mount is None:
        return skipped("The kernel does not report how the root is mounted.")
    if not mount.is_read_only:
        return ok("The root is writable.", kind=mount.kind)
    is_up, drop_ins = context.unit.get("ActiveState") in RUNNING, context.unit.get("DropInPaths", "")
    if is_up or not context.unit or READ_ONLY_ROOT in drop_ins:
        return ok(
            "The root is read-only; the link and what is set on the speaker lie in the state folder.",
            kind=mount.kind,
        )
    return warn(
        "The root is read-only, and the service does not run: the systemd of Debian 12 cannot start it on such a root by"
        " the unit alone (226/NAMESPACE).",
        f"Put the drop-in {READ_ONLY_ROOT} (/usr/share/device-auth/drop-ins, deploy/systemd) into the image as"
        f" /etc/systemd/system/{UNIT}.d/{READ_ONLY_ROOT}",
        kind=mount.kind,
    )


def check_package(context: DoctorContext) -> Finding:
    """Check whether the files of the package are as it brought them. Source: deb-md5sums(5)."""
    lines = context.read(MD5SUMS, limit=None).splitlines()
    if not lines:
        return skipped("The program was not installed as a package.")
    entries = [(wanted, name) for wanted, _, name in (line.partition("  ") for line in lines) if name]
    changed = [
        f"/{name}"
        for wanted, name in entries
        if _md5_of(context.root / name) != wanted and not _is_left_out(context.root, name)
    ]
    if changed:
        return warn(
            f"{len(changed)} of the {len(entries)} files of the package are missing or not as it brought them:"
            f" {', '.join(changed[:MOST_NAMED])}{' …' if changed[MOST_NAMED:] else ''}.",
            "sudo apt install --reinstall device-auth; a card that changes files by itself is failing.",
            changed=", ".join(changed),
        )
    return ok(f"The {len(entries)} files of the package are as it brought them.")


def _is_left_out(root: Path, name: str) -> bool:
    """Return whether a file is one of those that small images have dpkg leave out. Source: dpkg(1), ``path-exclude``."""
    return name.startswith(("usr/share/doc/", "usr/share/man/")) and not (root / name).exists()


def _md5_of(path: Path) -> str:
    """Return the sum of a file as dpkg writes it; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    except OSError:
        return ""
