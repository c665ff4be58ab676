"""The identity of the unit: the file in the state folder that the factory writes once, and that every wipe keeps.

It is written as the store writes: beside, synced, renamed, the folder synced, read back. So wherever a write is cut short,
the file is the old one or the new one, whole, and the next write makes it durable.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from device_auth.core.errors import ConfigError, WrongUse
from device_auth.factory.check_digit import ANY_DSN, has_check_digit
from device_auth.factory.talk import IdentityEvent
from device_auth.world.explain import store_error
from device_auth.world.files import Folder, beside_of, make_folder
from device_auth.world.places import SIMULATED, Places
from device_auth.world.settings import (
    IDENTITY,
    IDS,
    SettingsFiles,
    faults_of_identity,
    read_settings,
)

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600

HEAD: Final = "# The identity of this unit. It was written in the factory: device-auth factory identity\n"

_KEYS: Final = {
    **{name: name for name in IDS},
    "part": "part_number",
    "revision": "revision",
    "batch": "batch",
}
"""Each key of the file, with the attribute of the identity that it holds."""


class DsnForm(NamedTuple):
    """The form of a product's DSNs: letters, digits and underscores.

    Attributes:
        may_have_hyphens: Amazon's own installer refuses them.
        has_check_digit: the last character is one.
    """

    may_have_hyphens: bool = False
    has_check_digit: bool = False


def identity_file(state_dir: Path) -> Path:
    """Return the file that holds the identity, or would."""
    return state_dir / IDENTITY


def read_identity(places: Places) -> IdentityEvent | None:
    """Return the identity of the unit, or None if it has none.

    Raises:
        ConfigError: if the file cannot be read, or is not an identity.
    """
    path = identity_file(places.state_dir)
    # places were looked up when the process began
    if places.files.identity is None and not os.path.lexists(path):
        return None
    settings = read_settings({}, SettingsFiles(identity=path), {})
    given = {name: getattr(settings, name) for name in IDS} | dict(settings.identity)
    attributes: dict[str, Any] = {attribute: given.get(key) or None for key, attribute in _KEYS.items()}
    return IdentityEvent(**attributes)


def problem_of_label(identity: IdentityEvent | None, labels: set[str]) -> str:
    """Return why a unit is not the one that its label names; empty if it is, or if no label was read.

    Args:
        identity: of the unit.
        labels: each DSN that was read of its label.
    """
    if identity is None:
        return "this unit has no identity"
    if labels <= {identity.dsn}:
        return ""
    return f"the unit is {identity.dsn}, and its label says {', '.join(sorted(labels))}"


def check_identity(identity: IdentityEvent, form: DsnForm) -> None:
    """Raise WrongUse unless a unit can have this identity.

    Args:
        identity: to be written.
        form: of the product's DSNs.
    """
    from device_auth.world.provider import provider_problems

    dsn = identity.dsn
    if not ANY_DSN.fullmatch(dsn):
        raise WrongUse("--dsn is not 4 to 32 letters, digits and underscores", hint="Nothing was written.")
    if "-" in dsn and not form.may_have_hyphens:
        raise WrongUse(
            "--dsn has a hyphen, which Amazon's own installer refuses",
            hint="Nothing was written. If this product has them in its numbers: --hyphens",
        )
    if form.has_check_digit and not has_check_digit(dsn):
        raise WrongUse(
            f"--dsn {dsn} does not end with its check digit: a character is wrong, or two changed places",
            hint="Nothing was written. Read the label once more.",
        )
    table = _table_of(identity)
    for key, fault in faults_of_identity(table):
        option = f"--{_KEYS[key.name].replace('_', '-')}"
        raise WrongUse(f"{option} {fault}", hint="Nothing was written.")
    settings = read_settings({name: table[name] for name in IDS if name in table}, None, {})
    for problem in provider_problems(settings):
        raise WrongUse(str(problem), hint="Nothing was written.")


def write_identity(places: Places, identity: IdentityEvent, *, has_force: bool = False) -> bool:
    """Write the identity of the unit; durable on return.

    Args:
        places: of the unit.
        identity: checked already.
        has_force: to write over another one, or over a file that is none.

    Returns:
        Whether it was not there yet.

    Raises:
        ConfigError: if another one is there, or a file that cannot be read.
        StoreError: if it cannot be written; the file is then the old one or the new one, whole.
    """
    path = identity_file(places.state_dir)
    present = _read_present(places, has_force=has_force)
    if present is not None and present != identity and not has_force:
        raise ConfigError(
            f"another identity is there: DSN {present.dsn}" + _difference(present, identity),
            hint="If this unit is to have the new one: --force",
        )
    content = _text_of(identity).encode()
    try:
        if path.parent.name == SIMULATED:
            make_folder(path.parent.parent, FOLDER_MODE)  # the real one, which may not exist yet
        with Folder.open_to_write(path.parent, FOLDER_MODE, for_owner=True) as folder:
            folder.remove(beside_of(IDENTITY))  # of a writer that was killed
            if present != identity:
                folder.replace_for_owner(IDENTITY, content, FILE_MODE)
            else:
                folder.sync()  # the writer may have been killed before this
    except OSError as error:
        raise store_error(f"cannot write {path}", error, at=path.parent) from error
    return present != identity


def erase_identity(places: Places) -> bool:
    """Remove the identity of the unit; durable on return.

    Returns:
        Whether there was one.

    Raises:
        StoreError: if it cannot be removed.
    """
    path = identity_file(places.state_dir)
    try:
        with Folder.open(path.parent) as folder:
            folder.check_safe(for_owner=True)
            folder.remove(beside_of(IDENTITY))
            was_there = folder.remove(IDENTITY)
            folder.sync()
            return was_there
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise store_error(f"cannot remove {path}", error, at=path.parent) from error


def _read_present(places: Places, *, has_force: bool) -> IdentityEvent | None:
    try:
        return read_identity(places)
    except ConfigError as error:
        if has_force:
            return None
        raise ConfigError(str(error), hint=f"{error.hint} To write over it: --force") from error


def _difference(present: IdentityEvent, identity: IdentityEvent) -> str:
    """Return what differs besides the DSN."""
    names = [name for name in IdentityEvent._fields[1:] if getattr(present, name) != getattr(identity, name)]
    return f"; {', '.join(names)} differ" if present.dsn == identity.dsn else ""


def _table_of(identity: IdentityEvent) -> dict[str, str]:
    """Return the keys of the file with their values."""
    given = {key: getattr(identity, attribute) for key, attribute in _KEYS.items()}
    return {key: value for key, value in given.items() if value is not None}


def _text_of(identity: IdentityEvent) -> str:
    from device_auth.world.toml_lines import write_value

    return HEAD + "".join(f"{key} = {write_value(value)}\n" for key, value in _table_of(identity).items())
