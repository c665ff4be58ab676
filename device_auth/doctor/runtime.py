"""The checks of the runtime folder: is it in memory, and may the right users reach tokens and the socket."""

import os
import stat
from functools import partial
from pathlib import Path
from typing import Final

from device_auth.doctor.context import SOCKET, DoctorContext
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.doctor.storage import WRITABLE_BY_OTHERS
from device_auth.service.callers import ADMINISTRATORS, READERS
from device_auth.world.disks import is_in_memory, mount_of
from device_auth.world.explain import explain
from device_auth.world.pending import PENDING
from device_auth.world.settings import quoted
from device_auth.world.token_files import BARE, TOKEN

RUNTIME: Final = 74

LEAST_SPACE: Final = 16 * 1024
"""Bytes: two token files, each twice while it is replaced, in blocks of 4 KiB."""

OPEN_TO_GROUP: Final = 0o660
"""The mode of the socket."""


def checks(context: DoctorContext) -> list[Check]:
    """Return the checks of the runtime folder."""
    after = ("R1",)
    return [
        Check("R1", "runtime-folder", partial(check_folder, context)),
        Check("R2", "runtime-memory", partial(check_memory, context), after),
        Check("R3", "token-files", partial(check_files, context), after),
        Check("R4", "socket-mode", partial(check_socket, context), after),
        Check("R5", "groups", partial(check_groups, context)),
    ]


def check_folder(context: DoctorContext) -> Finding:
    """Check whether the runtime folder belongs to its user, and programs can reach it."""
    path, account = context.places.runtime_dir, context.account
    if path is None:
        return warn(
            "There is no runtime folder, so there are no token files and there is no socket.",
            "Log in as this user (su leaves the former user's folder), or name one with --runtime-dir.",
        )
    try:
        status = path.stat()
    except FileNotFoundError:
        return skipped(f"There is no {path} yet; the service and the command token make it.")
    except OSError as error:
        if isinstance(error, PermissionError) and not context.is_ours:
            return context.refused()
        return fail(
            f"{explain(f'cannot open {path}', error)}.", "Run this with sudo, or as its owner.", RUNTIME
        )
    mode = stat.S_IMODE(status.st_mode)
    facts = {"path": str(path), "mode": f"{mode:04o}", "owner": str(status.st_uid)}
    if not stat.S_ISDIR(status.st_mode):
        return fail(f"{path} is not a folder.", f"Remove it: rm {quoted(path)}", RUNTIME, **facts)
    if status.st_uid != account.uid and status.st_uid == 0 and context.makes(path, "RuntimeDirectory"):
        return ok(f"systemd gives {path} to {account.name} when the service starts.", **facts)
    if status.st_uid != account.uid:
        return fail(
            f"{path} belongs to user {status.st_uid}, but {account.name} must write there.",
            f"sudo chown -R {account.name}: {quoted(path)}",
            RUNTIME,
            **facts,
        )
    if mode & WRITABLE_BY_OTHERS:
        return fail(
            f"Others can put files into {path} (mode {mode:04o}).",
            f"chmod go-w {quoted(path)}",
            RUNTIME,
            **facts,
        )
    if context.is_system and not mode & stat.S_IXOTH:
        return warn(
            f"Programs of other users cannot reach the socket: {path} has mode {mode:04o}.",
            f"sudo chmod 755 {quoted(path)}",
            **facts,
        )
    return ok(f"{path} belongs to {account.name}, and nobody else can put files there.", **facts)


def check_memory(context: DoctorContext) -> Finding:
    """Check whether the runtime folder is in memory, not on the card."""
    path = _folder(context)
    mount = mount_of(path, context.root)
    if mount is None:
        return skipped("The kernel does not report the kind of this disk.")
    if not is_in_memory(mount, context.root):
        return warn(
            f"{path} is on a disk ({mount.kind}): access tokens wear it out, and outlive a power cut on it.",
            "Name a folder in memory with --runtime-dir, below /run.",
            kind=mount.kind,
        )
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    # A tmpfs without a limit reports 0 of 0.
    if found.f_blocks and free < LEAST_SPACE:
        return fail(
            f"{path} is full: no access token can be written.",
            f"Free some space: df -h {quoted(path)}",
            RUNTIME,
            kind=mount.kind,
            free_bytes=str(free),
        )
    return ok(f"{path} is in memory.", kind=mount.kind)


def check_files(context: DoctorContext) -> Finding:
    """Check whether only the right users may read the tokens and the pending code."""
    path = _folder(context)
    for name, forbidden in (
        (TOKEN, stat.S_IRWXO),
        (BARE, stat.S_IRWXO),
        (PENDING, stat.S_IRWXG | stat.S_IRWXO),
    ):
        try:
            status = (path / name).lstat()
        except FileNotFoundError:
            continue
        except PermissionError:
            return context.refused()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & forbidden or status.st_uid != context.account.uid:
            return fail(
                f"{path / name} is not as the service writes it (mode {mode:04o}, user {status.st_uid}):"
                " other users may read it, or have made it.",
                f"Remove it; the service writes it again: rm {quoted(path / name)}",
                RUNTIME,
            )
    return ok("Other users may not read the token files.")


def check_socket(context: DoctorContext) -> Finding:
    """Check whether the right programs can reach the socket, and no others."""
    path = _folder(context) / SOCKET
    try:
        status = path.stat()
    except FileNotFoundError:
        return skipped("There is no socket: the service does not run.")
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode):
        return fail(
            f"{path} is not a socket, so the service cannot open its own.",
            f"Remove it: rm {quoted(path)}",
            RUNTIME,
        )
    restart = (
        "sudo systemctl restart device-auth.socket" if context.unit else "Start it again: device-auth run"
    )
    facts = {"mode": f"{mode:04o}", "group": str(status.st_gid)}
    if mode & stat.S_IRWXO:
        return warn(
            f"Any program can connect to {path} (mode {mode:04o}) and keep others waiting.", restart, **facts
        )
    is_of_group = mode & OPEN_TO_GROUP == OPEN_TO_GROUP and status.st_gid == context.gid_of(READERS)
    if context.is_system and context.gid_of(READERS) is not None and not is_of_group:
        return warn(
            f"The group {READERS} cannot reach {path}: it has mode {mode:04o} and group {status.st_gid}.",
            restart,
            **facts,
        )
    who = f"members of the group {READERS}" if is_of_group else "its own user"
    return ok(f"Only root and {who} can connect to the socket.", **facts)


def check_groups(context: DoctorContext) -> Finding:
    """Check whether the groups of the service's users exist, and administrators can reach the socket."""
    if not context.unit or context.unit.get("LoadState") == "not-found":
        return skipped("The system's service is not installed, so its groups are not needed.")
    missing = [name for name in (READERS, ADMINISTRATORS) if context.gid_of(name) is None]
    if missing:
        return fail(
            f"There is no group {' and no group '.join(missing)}: only root may use the service.",
            f"sudo groupadd --system {missing[0]}",
            RUNTIME,
        )
    outside = sorted(context.members_of(ADMINISTRATORS) - context.members_of(READERS))
    if outside:
        return warn(
            f"{', '.join(outside)} may link and unlink, but cannot reach the socket: not in the group {READERS}.",
            f"sudo usermod -aG {READERS} {outside[0]}",
        )
    return ok(f"The groups {READERS} and {ADMINISTRATORS} exist.")


def _folder(context: DoctorContext) -> Path:
    assert context.places.runtime_dir is not None  # noqa: S101  check_folder came before
    return context.places.runtime_dir
