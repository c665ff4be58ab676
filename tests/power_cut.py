"""A disk that loses power: from the system calls of a writer, every state that the disk may be in afterwards.

What fsync(2) promises is all that is taken for granted. Until a file is synced, its content may be what it was, or
nothing, or a part, or zeros of the right length, or what was written. Until the folder is synced, of the changes to
its names any subset may have reached the disk; each change is one (rename(2) is atomic), and they keep their order.
A file system with an ordered journal is kinder than that.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

Disk = Mapping[str, bytes]
"""What lies in the folder, by name."""

_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>\d+)$")
_OPEN = re.compile(r'^(?P<folder>\w+), "(?P<name>[^"]*)", (?P<flags>[A-Z_|]+)')
_WRITE = re.compile(r'^(?P<fd>\d+), (?P<text>".*"), \d+$')
_QUOTED = re.compile(r'"([^"]*)"')

ACKNOWLEDGED = b"+"


@dataclass(frozen=True)
class Change:
    """One change to the names in the folder: a name goes, a name comes to stand for a file."""

    gone: str | None
    comes: str | None = None
    file: int = -1

    def apply(self, names: dict[str, int]) -> None:
        if self.gone is not None:
            names.pop(self.gone, None)
        if self.comes is not None:
            names[self.comes] = self.file


@dataclass
class Content:
    """What a file holds: on the disk for certain, and as a reader sees it now."""

    durable: bytes
    live: bytes

    def may_be(self) -> set[bytes]:
        if self.durable == self.live:
            return {self.live}
        half = self.live[: len(self.live) // 2]
        return {self.durable, b"", half, bytes(len(self.live)), self.live}


@dataclass
class _Folder:
    durable: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)

    def live(self, changes: Sequence[Change]) -> dict[str, int]:
        names = dict(self.durable)
        for change in changes:
            change.apply(names)
        return names

    def add(self, content: Content) -> int:
        self.contents.append(content)
        return len(self.contents) - 1

    def sync(self) -> None:
        self.durable, self.changes = self.live(self.changes), []

    def may_be(self) -> Iterator[dict[str, bytes]]:
        for count in range(len(self.changes) + 1):
            for kept in combinations(self.changes, count):
                names = self.live(kept)
                files = sorted(set(names.values()))
                for contents in product(*(sorted(self.contents[file].may_be()) for file in files)):
                    held = dict(zip(files, contents, strict=True))
                    yield {name: held[file] for name, file in names.items()}


@dataclass(frozen=True)
class Moment:
    """A state the disk may be in when power is cut.

    Attributes:
        acknowledged: how many steps had returned by then.
    """

    acknowledged: int
    disk: tuple[tuple[str, bytes], ...]


def states_after_power_cut(before: Disk, logs: Sequence[str]) -> set[Moment]:
    """Return every state of the disk, power being cut before, between and after the calls.

    Args:
        before: what lay there, durable.
        logs: of strace, one a process, in order; acknowledgements of the last one are counted.
    """
    folder = _Folder()
    folder.durable = {name: folder.add(Content(content, content)) for name, content in before.items()}
    moments: set[Moment] = set()
    for log in logs:
        acknowledged = 0
        open_files: dict[str, int | None] = {}
        for line in ["", *log.splitlines()]:
            acknowledged += _replay(line, folder, open_files)
            moments |= {Moment(acknowledged, tuple(sorted(disk.items()))) for disk in folder.may_be()}
        moments = {
            Moment(0 if log is not logs[-1] else moment.acknowledged, moment.disk) for moment in moments
        }
    return moments


def _replay(line: str, folder: _Folder, open_files: dict[str, int | None]) -> int:
    """Carry out one call; give how many steps it acknowledges."""
    call = _CALL.match(line)
    if call is None:
        return 0
    arguments = call["arguments"]
    match call["name"]:
        case "openat":
            open_files[call["result"]] = _open(arguments, folder)
        case "close":
            open_files.pop(arguments, None)
        case "write":
            return _write(arguments, folder, open_files)
        case "fsync":
            file = open_files[arguments]
            if file is None:
                folder.sync()
            else:
                folder.contents[file].durable = folder.contents[file].live
        case "linkat" | "renameat":
            name, other = _QUOTED.findall(arguments)
            names = folder.live(folder.changes)
            is_link = call["name"] == "linkat"
            if is_link or names[name] != names.get(other):
                folder.changes.append(Change(None if is_link else name, other, names[name]))
        case "unlinkat":
            folder.changes.append(Change(_QUOTED.findall(arguments)[0]))
        case _:
            pass
    return 0


def _open(arguments: str, folder: _Folder) -> int | None:
    found = _OPEN.match(arguments)
    assert found is not None, arguments
    flags = found["flags"].split("|")
    if "O_DIRECTORY" in flags:
        return None
    file = folder.live(folder.changes).get(found["name"])
    if file is None:
        file = folder.add(Content(b"", b""))
        folder.changes.append(Change(None, found["name"], file))
    if "O_TRUNC" in flags:
        folder.contents[file].live = b""
    return file


def _write(arguments: str, folder: _Folder, open_files: dict[str, int | None]) -> int:
    found = _WRITE.match(arguments)
    assert found is not None, arguments
    text = ast.literal_eval("b" + found["text"])
    file = open_files.get(found["fd"])
    if file is None:
        return int(text == ACKNOWLEDGED)
    folder.contents[file].live += text
    return 0
