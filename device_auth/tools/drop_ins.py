"""The drop-ins of the unit that ship with this program: which there are, and which of those in place are ours.

A file that this program puts in place ends with a line that tells so and seals the rest, so that one that a person has
changed since, or has written, is known as that person's, also after an upgrade that ships another text.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError
from device_auth.world.explain import explain
from device_auth.world.files import Folder, make_folder, read_plain

FOLDER: Final = Path("etc/systemd/system/device-auth.service.d")
"""Below the root folder."""

BOARDS, PANELS, KEYS, GPIO = SORTS = ("boards", "panels", "keys", "gpio")

NAMES: Final = {BOARDS: "board.conf", PANELS: "panel.conf", KEYS: "key.conf", GPIO: "gpio.conf"}
"""What a drop-in of a sort is named in its place: one of each."""

MARK: Final = b"# Put here by: device-auth hardware enable. SHA-256 of the lines above: "

LARGEST: Final = 16 * 1024
"""Bytes of a drop-in; more is no file of ours."""

MODE: Final = 0o644


class DropIn(NamedTuple):
    """What is to become of a file.

    Attributes:
        path: of the file.
        content: of the whole file; None if there is to be none.
        is_so: nothing is to be done.
        is_left: it is not ours, and stays.
    """

    path: Path
    content: bytes | None
    is_so: bool
    is_left: bool = False


def shipped(sort: str) -> dict[str, bytes]:
    """Return the drop-ins of a sort that ship, by name."""
    return {
        entry.name.removesuffix(".conf"): entry.read_bytes()
        for entry in _shipped_folder().joinpath(sort).iterdir()
        if entry.name.endswith(".conf")
    }


def _shipped_folder() -> Traversable:
    # in a clone each is a link to that of deploy/systemd; in a wheel, a zip and a package the file itself
    return files("device_auth.tools").joinpath("systemd")


def plan(wanted: Mapping[str, str | None], root: Path) -> list[DropIn]:
    """Compare what lies in place with what is wanted, and touch nothing.

    Args:
        wanted: for each sort the name of a drop-in; None if there is to be none. A name without a drop-in needs none.
        root: the root folder.

    Raises:
        ConfigError: if a file that a person has written lies in the place of one that is wanted, or one cannot be read.
    """
    ours = {content for sort in SORTS for content in shipped(sort).values()}
    planned = []
    for sort, name in wanted.items():
        path = root / FOLDER / NAMES[sort]
        content = None if name is None else shipped(sort).get(name)
        present = _read(path)
        bare = None if present is None else _unsealed(present)
        is_theirs = bare is not None and bare not in ours and bare == present
        if is_theirs and content is None:
            planned.append(DropIn(path, None, is_so=True, is_left=True))
            continue
        if is_theirs:
            raise ConfigError(
                f"{path} is not of this program, or was changed since: it is left alone, and nothing was changed",
                hint=f"If nobody needs it: sudo rm {path}. To keep its lines, move them to another name there, such as"
                " local.conf. Then try again.",
            )
        planned.append(DropIn(path, None if content is None else _sealed(content), content == bare))
    return planned


def is_copy(content: str, name: str) -> bool:
    """Return whether a file in place is a copy of a drop-in that ships, named as in deploy/systemd: boards/NAME.conf."""
    sort, _, file = name.partition("/")
    return _unsealed(content.encode()) == shipped(sort).get(file.removesuffix(".conf"))


def put_in_place(planned: list[DropIn]) -> None:
    """Write and remove what is planned; each file is whole at any moment, and all are durable on return.

    Raises:
        OSError: if the system refuses.
    """
    due = [each for each in planned if not each.is_so]
    if not due:
        return
    make_folder(due[0].path.parent, 0o755)
    with Folder.open(due[0].path.parent) as folder:
        for each in due:
            if each.content is None:
                folder.remove(each.path.name)
            else:
                folder.replace(each.path.name, each.content, MODE, is_durable=True)
        is_empty = not folder.names()
        folder.sync()
    if is_empty:
        with suppress(OSError):
            due[0].path.parent.rmdir()


def groups_in(planned: list[DropIn]) -> Iterator[str]:
    """Yield the groups that the service is put into; without one of them systemd does not start it."""
    for each in planned:
        for line in (each.content or b"").decode().splitlines():
            key, _, names = line.partition("=")
            if key.strip() == "SupplementaryGroups":
                yield from names.split()


def _sealed(content: bytes) -> bytes:
    return content + MARK + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _unsealed(content: bytes) -> bytes:
    """Return a file without our last line, if that is true; else all of it."""
    bare, mark, seal = content.rpartition(MARK)
    return bare if mark and seal == hashlib.sha256(bare).hexdigest().encode() + b"\n" else content


def _read(path: Path) -> bytes | None:
    try:
        return read_plain(path, LARGEST)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            explain(f"cannot read {path}", error), hint=getattr(error, "hint", "") or "Look at that file."
        ) from error
