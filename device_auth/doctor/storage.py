"""The checks of the store: can it keep a link, is the stored link whole, and who can read it."""

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from device_auth.core.errors import NotSealed, StoreBusy, StoreDamaged, StoreError
from device_auth.core.models import Link
from device_auth.core.states import StateWord
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.world.disks import (
    KEEP_ON_CARD,
    NATIVE,
    OVER_THE_NETWORK,
    WITHOUT_MODES,
    doubt_about,
    find_slots,
    mount_of,
    open_swaps,
)
from device_auth.world.envelope import KeyMissing, Plain, read_envelope
from device_auth.world.explain import ANOTHER_DISK, store_error
from device_auth.world.fields import MAX_BYTES, Malformed, read_fields
from device_auth.world.files import Folder
from device_auth.world.keys import SYSTEMD_CREDENTIAL, Keys
from device_auth.world.settings import KEY_PROVIDERS, quoted
from device_auth.world.store import DAMAGED, NEWEST, PLAIN, PREVIOUS, SEAL_IT, FileStore, is_of_the_store

STORE: Final = 74

LEAST_SPACE: Final = 64 * 1024
"""Bytes that a save needs at the most: two files of up to 16 KiB, in blocks."""

LITTLE_SPACE: Final = 16 * 1024 * 1024

LEAST_FILES: Final = 4

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

Look = Callable[[DoctorContext], Finding]


def checks(context: DoctorContext) -> list[Check]:
    """Return the checks of the state folder."""
    after = ("S1",)
    return [
        Check("S1", "state-folder", partial(_explained, context, check_folder)),
        Check("S2", "state-files", partial(_if_allowed, context, check_files), after),
        Check("S3", "state-disk", partial(check_disk, context), after),
        Check("S4", "state-space", partial(_explained, context, check_space), after),
        Check("S5", "state-writable", partial(_if_allowed, context, check_writable), ("S1", "S4")),
        Check("S6", "link-key", partial(_if_allowed, context, check_key), after),
        Check(
            "S7",
            "link-file",
            partial(_if_allowed, context, check_generations),
            ("S1", "S6"),
        ),
        Check("S8", "swap", partial(check_swap, context)),
        Check("S9", "state-slot", partial(check_slot, context), after),
    ]


def check_folder(context: DoctorContext) -> Finding:
    """Check whether the state folder belongs to its user alone."""
    path, account = context.places.state_dir, context.account
    try:
        status = path.stat()
    except FileNotFoundError:
        return _without_folder(path)
    if not stat.S_ISDIR(status.st_mode):
        return fail(f"{path} is not a folder.", "Move it away, or name another with --state-dir.", STORE)
    mode = stat.S_IMODE(status.st_mode)
    facts = {"path": str(path), "mode": f"{mode:04o}", "owner": str(status.st_uid)}
    if status.st_uid != account.uid and context.makes(path, "StateDirectory"):
        return ok(f"systemd gives {path} to {account.name} when the service starts.", **facts)
    if status.st_uid != account.uid:
        return fail(
            f"{path} belongs to user {status.st_uid}, but {account.name} must write there.",
            f"sudo chown -R {account.name}: {quoted(path)}",
            STORE,
            **facts,
        )
    if mode & WRITABLE_BY_OTHERS or mode & stat.S_IRWXU != stat.S_IRWXU:
        return fail(
            f"{path} has mode {mode:04o}: "
            + ("others may write to it." if mode & WRITABLE_BY_OTHERS else "its owner may not use it."),
            _how_to_close(context, 0o700, path),
            STORE,
            **facts,
        )
    if mode & OTHERS:
        return warn(
            f"{path} has mode {mode:04o}: others may look into it.",
            _how_to_close(context, 0o700, path),
            **facts,
        )
    return ok(f"{path} belongs to {account.name} alone.", **facts)


def _how_to_close(context: DoctorContext, mode: int, path: Path) -> str:
    """Return how a path gets this mode: on a disk of another kind modes may be fixed when it is mounted."""
    mount = mount_of(path, context.root)
    is_native = mount is None or mount.kind in NATIVE
    return f"chmod {mode:o} {quoted(path)}" if is_native else ANOTHER_DISK


def _without_folder(path: Path) -> Finding:
    above = next(folder for folder in path.parents if folder.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return skipped(f"There is no {path} yet; it is made when the speaker is linked.")
    return fail(
        f"There is no {path}, and it cannot be made: no permission to write to {above}.",
        "Run this with sudo, or name another folder with --state-dir.",
        STORE,
    )


def check_files(context: DoctorContext) -> Finding:
    """Check whether only their owner may read the link's files."""
    with Folder.open(context.places.state_dir) as folder:
        names = [name for name in folder.names() if is_of_the_store(name)]
        owner = os.fstat(folder.fd).st_uid
    if owner != context.account.uid and context.makes(context.places.state_dir, "StateDirectory"):
        return ok(f"systemd gives the link's files to {context.account.name} when the service starts.")
    for name in names:
        path = context.places.state_dir / name
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            return fail(
                f"{path} is not a plain file.", "Move it away, then link again: device-auth link", STORE
            )
        if status.st_uid != context.account.uid:
            return fail(
                f"{path} belongs to user {status.st_uid}, not to {context.account.name}.",
                f"sudo chown {context.account.name}: {quoted(path)}",
                STORE,
            )
        if mode & OTHERS:
            return fail(
                f"Others may read the link: {path} has mode {mode:04o}.",
                _how_to_close(context, 0o600, path),
                STORE,
            )
    if not names:
        return ok("No link is stored.")
    return ok(f"Only {context.account.name} may read the link's files ({len(names)}).")


def check_disk(context: DoctorContext) -> Finding:
    """Check whether the disk survives a power cut, and knows modes."""
    path = context.places.state_dir
    mount = mount_of(path, context.root)
    if mount is None:
        return skipped("The kernel does not report the kind of this disk.")
    facts = {"kind": mount.kind, "mounted_at": str(mount.point)}
    doubt = doubt_about(path, context.root)
    if doubt is not None and doubt.is_certain:
        return fail(doubt.sentence, doubt.hint, STORE, **facts)
    if doubt is not None:
        return warn(doubt.sentence, doubt.hint, **facts)
    if mount.kind in WITHOUT_MODES:
        return fail(
            f"{path} is on {mount.kind}, which cannot keep files from being read by others.",
            ANOTHER_DISK,
            STORE,
            **facts,
        )
    if mount.kind in OVER_THE_NETWORK:
        return warn(
            f"{path} is on another machine ({mount.kind}): without the network there is no link.",
            KEEP_ON_CARD,
            **facts,
        )
    return ok(f"{path} is on {mount.kind}, which keeps it.", **facts)


def check_space(context: DoctorContext) -> Finding:
    """Check whether there is room for another generation."""
    path = context.places.state_dir
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    # Some file systems add inodes as they need them, and report 0 of 0.
    names = found.f_favail if found.f_files else LEAST_FILES
    facts = {"free_bytes": str(free), "free_inodes": str(found.f_favail)}
    mount = mount_of(path, context.root)
    disk = f"The disk of {path}" + ("" if mount is None else f" ({mount.name})")
    if free < LEAST_SPACE or names < LEAST_FILES:
        what = "full" if free < LEAST_SPACE else "out of room for more files"
        return fail(
            f"{disk} is {what}.",
            "Free some space (see: df -h, df -i), then try again.",
            STORE,
            **facts,
        )
    if free < LITTLE_SPACE:
        return warn(
            f"{disk} is nearly full: {free // 1024} KiB are left.",
            "Free some space (see: df -h).",
            **facts,
        )
    return ok(f"There is room: {free // 1024 // 1024} MiB are free.", **facts)


def check_writable(context: DoctorContext) -> Finding:
    """Check whether a link could be saved now, by all the steps of a save in another file."""
    try:
        with FileStore(context.places.state_dir, for_owner=True) as store:
            store.prove_writable()
            is_synced = store.is_synced
    except StoreBusy as error:
        return ok(f"{error}; the process that holds the lock has tested it.")
    except StoreError as error:
        return _failed(error)
    if not is_synced:
        return warn(
            "A link can be saved, but the disk does not sync folders: a power cut of its server may undo the last change.",
            KEEP_ON_CARD,
        )
    return ok("A link can be saved.")


def check_key(context: DoctorContext) -> Finding:
    """Check the key that seals the link, and describe its protection."""
    for problem in context.keys.problems:
        if problem.name == SYSTEMD_CREDENTIAL and context.unit.get("LoadState") == "loaded":
            continue  # systemd gives it to the service alone
        return fail(f"The key of {problem.name} is not available: {problem.message}.", problem.hint, STORE)
    with Folder.open(context.places.state_dir) as folder:
        found = folder.read(NEWEST, MAX_BYTES + 1)
        is_aside = any(name.startswith(PLAIN) for name in folder.names())
    if found is None and is_aside:
        return fail("A plain link was set aside, because a key is set up.", SEAL_IT, NotSealed.exit_code)
    if found is None:
        return ok("No link is stored, so there is nothing to protect.", key_provider="none")
    try:
        name = read_fields(found[0]).text("key_provider")
    except Malformed:
        return ok("The stored link does not name its key.", key_provider="unknown")
    if name == Plain.name and context.keys.is_one_set_up:
        return fail(
            "The link is plain although a key is set up: it is not used.", SEAL_IT, NotSealed.exit_code
        )
    if name == Plain.name:
        why = {f"without_{lacking}": message for lacking, message in context.keys.reasons.items()}
        return ok(
            "The link is stored in plain text: anyone who has the card can read it.", key_provider=name, **why
        )
    try:
        key, newest = context.keys.named(name), _read_envelope(found[0], context.keys)
    except KeyMissing as missing:
        return _without_key(context, name, missing)
    if isinstance(newest, KeyMissing):
        return _without_key(context, name, newest)
    return ok(f"The link is sealed under the key of {name}. {key.protects}", key_provider=name)


def _without_key(context: DoctorContext, name: str, missing: KeyMissing) -> Finding:
    """Return the finding of a key that this command has not: no fault if the service has it, or may have it."""
    status = context.daemon.status
    is_linked = status is not None and status.state == StateWord.LINKED
    if is_linked or name == SYSTEMD_CREDENTIAL or name not in KEY_PROVIDERS:
        return skipped(f"The link is sealed under the key of {name}, which this command cannot reach.")
    return fail(
        f"The link is sealed under the key of {name} and cannot be opened: {missing.why}.",
        "Bring that key back, and restart the service: until then the link is kept. If it is gone for good, link"
        " again: device-auth link",
        STORE,
    )


def check_generations(context: DoctorContext) -> Finding:
    """Check whether the stored link is whole, and the one before it."""
    with Folder.open(context.places.state_dir) as folder:
        newest, previous = (_read(folder, name, context.keys) for name in (NEWEST, PREVIOUS))
        aside = [name for name in folder.names() if name.startswith(DAMAGED)]
    facts = {"newest": _in_a_word(newest), "previous": _in_a_word(previous), "set_aside": str(len(aside))}
    for found in (newest, previous):
        if isinstance(found, KeyMissing):
            return skipped("A stored generation is sealed under a key that this command cannot reach.")
        if isinstance(found, StoreError) and not isinstance(found, StoreDamaged):
            return fail(f"The stored link cannot be read: {found}.", found.hint, STORE, **facts)
    card = "The card may be failing: make a copy of what matters, and replace it."
    if isinstance(newest, StoreDamaged) or (newest is None and previous is not None):
        if isinstance(previous, Link):
            return warn(
                "The stored link is damaged; the generation before it is whole and is used.", card, **facts
            )
        return fail("The stored link is damaged.", f"Link again: device-auth link. {card}", STORE, **facts)
    if isinstance(previous, StoreDamaged):
        return warn(
            "The generation before the stored link is damaged; the link itself is whole.", card, **facts
        )
    if aside:
        return warn(
            f"{len(aside)} damaged files were set aside in {context.places.state_dir}.", card, **facts
        )
    if newest is None:
        return ok("No link is stored, and nothing damaged either.", **facts)
    return ok("The stored link is whole" + (", and so is the one before it." if previous else "."), **facts)


def check_swap(context: DoctorContext) -> Finding:
    """Check whether memory, which holds the refresh token, may be written to the card as it is."""
    swaps = open_swaps(context.root)
    if not swaps:
        return ok("No memory is written to the card as it is.")
    group = context.unit.get("ControlGroup", "").lstrip("/")
    if group and context.line(f"sys/fs/cgroup/{group}/memory.swap.max") == "0":
        return ok("The memory of the service, which holds the refresh token, is not swapped out.")
    names = ", ".join(swaps)
    if _is_link_plain(context):
        return ok(
            f"Memory is swapped out to {names}: the refresh token may come to lie there in plain text, as it does in the"
            " stored link.",
            swap=names,
        )
    return warn(
        f"Memory is swapped out to {names}: the refresh token may come to lie there in plain text, and stay.",
        "Use zram alone in its place, or switch it off: sudo swapoff -a, and disable what makes it (dphys-swapfile,"
        " rpi-swap, a line of /etc/fstab).",
        swap=names,
    )


def check_slot(context: DoctorContext) -> Finding:
    """Check whether the link outlasts an update that exchanges one half of the card for the other (A/B)."""
    path = context.places.state_dir
    slots = find_slots(context.root)
    if slots is None:
        return ok("No update exchanges the disk of the link, as far as is known: this system has no slots.")
    mount = mount_of(path, context.root)
    if mount is None:
        return skipped("The kernel does not report the kind of this disk.")
    facts = {"updater": slots.updater, "mounted_at": str(mount.point)}
    if slots.holds(mount):
        return fail(
            f"{path} is on a slot of {slots.updater}: after the next update the speaker has to be linked again.",
            slots.remedy.format(path=quoted(path)),
            STORE,
            **facts,
        )
    return ok(f"{path} is shared by the slots of {slots.updater}.", **facts)


def _is_link_plain(context: DoctorContext) -> bool:
    """Return whether the stored link is known to be in plain text, or there is none and no key for one."""
    if not context.is_ours:
        return False
    try:
        with Folder.open(context.places.state_dir) as folder:
            found = folder.read(NEWEST, MAX_BYTES + 1)
        name = Plain.name if found is None else read_fields(found[0]).text("key_provider")
    except FileNotFoundError:
        name = Plain.name
    except (OSError, StoreError, Malformed):
        return False
    return name == Plain.name and not context.keys.is_one_set_up


def _read(folder: Folder, name: str, keys: Keys) -> Link | StoreError | None:
    try:
        found = folder.read(name, MAX_BYTES + 1)
    except OSError as error:
        return StoreDamaged(str(store_error(f"cannot read {name}", error)))
    except StoreError as error:
        return error
    return None if found is None else _read_envelope(found[0], keys)


def _read_envelope(content: bytes, keys: Keys) -> Link | StoreError:
    try:
        return read_envelope(content, keys.named)[0]
    except StoreError as error:
        return error


def _in_a_word(found: Link | StoreError | None) -> str:
    if isinstance(found, Link):
        return "whole"
    return "none" if found is None else "damaged" if isinstance(found, StoreDamaged) else "not for us"


def _if_allowed(context: DoctorContext, look: Look) -> Finding:
    """Run a check if this process has permission; else return a finding that names the users who have it."""
    return _explained(context, look) if context.is_ours else context.refused()


def _explained(context: DoctorContext, look: Look) -> Finding:
    """Run a check; an error of the system becomes a finding."""
    try:
        return look(context)
    except OSError as error:
        if isinstance(error, PermissionError) and not context.is_ours:
            return context.refused()
        return _failed(store_error(f"{context.places.state_dir} cannot be examined", error))


def _failed(error: StoreError) -> Finding:
    sentence = str(error)
    return fail(f"{sentence[0].upper()}{sentence[1:]}.", error.hint, STORE)
