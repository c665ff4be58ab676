"""The checks of the system's service: is it installed, does it run, does it stay up, and which programs use it."""

import os
import re
from functools import partial
from typing import Final

from device_auth import __version__
from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.states import StateWord, Trouble, phrase_of
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.doctor.link import EXIT_CODES, OF_THE_LINK
from device_auth.world.files import beside_of
from device_auth.world.programs import CannotRun
from device_auth.world.service_unit import UNIT

DOWN: Final = 69
"""Source: sysexits(3), EX_UNAVAILABLE."""

WATCHDOG_OFF: Final = {"0", "infinity", ""}

LOOK_AT_THE_LOG: Final = f"See why: journalctl -u {UNIT} -n 50"

NEXT_STEPS: Final = {
    str(ConfigError.exit_code): "A setting is wrong: device-auth config check",
    str(StoreError.exit_code): "The store cannot be used: see the checks S1 to S7, then "
    f"sudo systemctl restart {UNIT}",
}
"""For a service that ended with this exit code."""

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
    ]


def check_unit(context: DoctorContext) -> Finding:
    """Check whether systemd knows the service, and starts it with the machine."""
    if not context.is_system:
        return skipped("The system's service does not keep this speaker.")
    unit = context.unit
    if not unit:
        return skipped("systemd does not answer here.")
    loaded, enabled = unit.get("LoadState", ""), unit.get("UnitFileState", "")
    facts = {"load_state": loaded, "unit_file_state": enabled}
    if loaded == "not-found":
        return skipped("The system's service is not installed; the commands link and token work without it.")
    if loaded != "loaded":
        return fail(
            f"systemd cannot use the unit of the service: it is {loaded}.",
            f"See why: systemctl status {UNIT}; if it is masked: sudo systemctl unmask {UNIT}",
            DOWN,
            **facts,
        )
    if not enabled.startswith("enabled"):
        return warn(
            "The service does not start with the speaker.",
            f"sudo systemctl enable {UNIT}",
            **facts,
        )
    return ok("The service is installed, and starts with the speaker.", **facts)


def check_running(context: DoctorContext) -> Finding:
    """Check whether the service runs."""
    unit = context.unit
    active, sub = unit.get("ActiveState", ""), unit.get("SubState", "")
    result, status = unit.get("Result", ""), unit.get("ExecMainStatus", "")
    facts = {"active_state": active, "sub_state": sub, "result": result, "exit_status": status}
    if active == "active":
        return ok("The service runs.", **facts)
    if sub == "auto-restart" or active == "failed":
        again = " and is started again and again" if sub == "auto-restart" else ""
        return fail(
            f"The service failed ({result}, exit status {status}){again}.",
            NEXT_STEPS.get(status, LOOK_AT_THE_LOG),
            DOWN,
            **facts,
        )
    if active == "activating":
        return warn("The service is starting.", "Wait a moment, then try again.", **facts)
    return fail("The service does not run.", f"sudo systemctl start {UNIT}", DOWN, **facts)


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
        return skipped(f"The service refuses to answer this user: {daemon.problem}")
    if not context.has_socket:
        if context.unit.get("ActiveState") == "active":
            return fail(
                "The service runs but has no socket, so no program can get a token from it.",
                f"{LOOK_AT_THE_LOG}; then: sudo systemctl restart {UNIT}",
                DOWN,
            )
        return skipped("No service runs for this speaker.")
    return fail(
        f"Nothing answers on {context.socket}: {daemon.problem}.",
        f"sudo systemctl restart {UNIT}" if context.is_system else "Start it again: device-auth run",
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
