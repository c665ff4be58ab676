"""Wiping: remove every file of ours, and prove that no byte of an old token is left in the two folders.

What belongs to the unit stays: its identity, what was set on it, and the factory's lock.

The proof covers readable files: none in the state and runtime folders holds a token that was found there before.
Nothing is overwritten first: a card writes every block to a new place and keeps the old one until it needs it, so only
encryption at rest, or destroying the card, reaches the old blocks.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from device_auth.core.errors import StoreError
from device_auth.core.models import Link, Secret
from device_auth.core.values import dataclass
from device_auth.world.certificate import CERTIFICATE
from device_auth.world.explain import store_error
from device_auth.world.factory_lock import LOCK
from device_auth.world.files import Folder, NotAFile, beside_of
from device_auth.world.pending import PENDING
from device_auth.world.places import METRICS, REDIRECT_PAGE
from device_auth.world.settings import UNIT_FILES
from device_auth.world.store import FileStore, is_of_the_store
from device_auth.world.token_files import BARE, TOKEN

_RUNTIME_FILES: Final = (
    *(beside_of(name) for name in (PENDING, TOKEN, BARE, REDIRECT_PAGE, METRICS)),
    PENDING,
    TOKEN,
    BARE,
    REDIRECT_PAGE,
    METRICS,
)

_KEPT: Final = (*UNIT_FILES, LOCK)
"""The unit's own: its identity, what was set on it, and the factory's lock."""

_STATE_FILES: Final = (beside_of(CERTIFICATE), CERTIFICATE, *map(beside_of, _KEPT))
"""Files of ours in the state folder that are not the store's; of the unit's own, what a killed writer left."""

_SECRET: Final = re.compile(
    rb'"(?:refresh_token|access_token|device_code|sealed)"\s*:\s*"((?:[^"\\]|\\.)*)("?)', re.DOTALL
)
"""A secret in JSON, even if the file around it is damaged or cut short. A sealed link counts as one: no copy may be left
for a person who finds its key."""

_PLAIN: Final = re.compile(rb'"refresh_token"\s*:\s*"[^"]')

_LEAST_FRAGMENT: Final = 8
"""Bytes: a shorter piece of a token occurs by chance."""

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Wiped:
    """The result of a wipe.

    Attributes:
        removed: the removed files.
        secrets: the number of tokens and codes that were searched for.
        scanned: the number of bytes that were searched in the remaining files.
        unread: removed files in which no secret could be read first, so none of theirs was searched for.
        kept: the unit's own files, which stayed.
        was_plain: whether a removed file held a refresh token in plain text, which the blocks of the disk keep.
    """

    removed: tuple[Path, ...]
    secrets: int
    scanned: int
    unread: tuple[Path, ...]
    kept: tuple[Path, ...] = ()
    was_plain: bool = False


def wipe(store: FileStore, runtime: Path | None, *, also: Iterable[Secret] = ()) -> Wiped:
    """Remove all files of ours, and prove it.

    Args:
        store: with its lock held.
        runtime: the runtime folder, if there is one.
        also: further secrets to search for, such as an access token in memory.

    Raises:
        StoreError: if a file cannot be removed, or one still holds an old secret; the message names it.
    """
    secrets = {secret.reveal().encode() for secret in also}
    folders = [store.directory]
    if runtime is not None and runtime.is_dir():
        folders.append(runtime)
    try:
        secrets |= {token for link in store.links() for token in _tokens_of(link)}
        unread = _learn_secrets(folders, secrets)
        was_plain = _holds_plain_token(store.directory)
        removed = [store.directory / name for name in store.erase_everything()]
        removed += _remove_files(store.directory, _STATE_FILES)
        for folder in folders[1:]:
            removed += _remove_files(folder, _RUNTIME_FILES)
        scanned, holding = _search(folders, secrets)
    except OSError as error:
        what = error.filename or store.directory
        raise store_error(f"cannot wipe {what}", error, at=store.directory) from error
    if holding:
        raise StoreError(
            f"old tokens are left in {', '.join(str(path) for path in holding)}",
            hint="Find out which program made these files, remove them, and wipe again.",
        )
    kept = tuple(path for name in _KEPT if os.path.lexists(path := store.directory / name))
    return Wiped(tuple(removed), len(secrets), scanned, tuple(unread), kept, was_plain)


def _tokens_of(link: Link | None) -> set[bytes]:
    return set() if link is None else {link.refresh_token.reveal().encode()} | _tokens_of(link.replaces)


def _learn_secrets(folders: list[Path], secrets: set[bytes]) -> list[Path]:
    """Add every secret in files of ours; return the files in which none could be read."""
    unread = []
    for path in folders:
        with Folder.open(path) as folder:
            for name in folder.names():
                if is_of_the_store(name) or name in _RUNTIME_FILES:
                    found = _secrets_of(folder, name)
                    secrets |= found
                    unread += [] if found else [path / name]
    return unread


def _holds_plain_token(path: Path) -> bool:
    with Folder.open(path) as folder:
        for name in filter(is_of_the_store, folder.names()):
            with suppress(NotAFile):
                found = folder.read(name, _CHUNK)
                if found is not None and _PLAIN.search(found[0]):
                    return True
    return False


def _secrets_of(folder: Folder, name: str) -> set[bytes]:
    try:
        found = folder.read(name, _CHUNK)
    except NotAFile:
        return set()
    content = found[0] if found is not None else b""
    if name in {BARE, beside_of(BARE)}:
        return {content} - {b""}
    return {
        _decode(literal)
        for literal, end in _SECRET.findall(content)
        if len(literal) >= _LEAST_FRAGMENT or (literal and end)
    }


def _decode(literal: bytes) -> bytes:
    """Return the text of a JSON literal, or the literal itself if it is cut short."""
    try:
        text = json.loads(b'"' + literal + b'"', strict=False)
        return str(text).encode()
    except ValueError:
        return literal


def _forms(secret: bytes) -> set[bytes]:
    """Return the secret as it is and as JSON writes it."""
    text = secret.decode(errors="surrogateescape")
    escaped = {json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return {secret} | {form.encode(errors="surrogateescape") for form in escaped}


def _remove_files(path: Path, names: tuple[str, ...]) -> list[Path]:
    with Folder.open(path) as folder:
        return [path / name for name in names if folder.remove(name)]


def _search(folders: list[Path], secrets: set[bytes]) -> tuple[int, list[Path]]:
    """Search every file below the folders; return the number of bytes and the files that hold a secret."""
    forms = {form for secret in secrets for form in _forms(secret)}
    scanned = 0
    holding = []
    for path in sorted({path for folder in folders for path in _files_below(folder)}):
        length, is_holding = _search_file(path, forms)
        scanned += length
        if is_holding:
            holding.append(path)
    return scanned, holding


def _files_below(top: Path) -> Iterator[Path]:
    for entry in sorted(top.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _files_below(entry)
        elif stat.S_ISREG(mode):
            yield entry


def _search_file(path: Path, forms: set[bytes]) -> tuple[int, bool]:
    overlap = max((len(form) for form in forms), default=1) - 1
    length, is_holding, tail = 0, False, b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            length += len(chunk)
            piece = tail + chunk
            is_holding = is_holding or any(form in piece for form in forms)
            tail = piece[-overlap:] if overlap else b""
    return length, is_holding
