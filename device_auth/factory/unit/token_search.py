"""Search bytes for tokens: those of a run, and all that begins as a token of Amazon's or of the simulated one does.

A token is found as it is and in the forms in which programs write one: JSON, percent-encoded (also twice), HTML, UTF-16,
hexadecimal, and base64 of either alphabet, wherever in one of its groups the token begins. Files of gzip, bzip2 and xz are
opened. Not found is what was encrypted, what a line break cuts in two, and what was packed in any other way; a file whose
packing is known and cannot be opened is reported as not searched.
"""

import json
import os
import re
import stat
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from errno import EINVAL, ENXIO
from html import escape
from pathlib import Path
from typing import IO, Final, NamedTuple
from urllib.parse import quote

from device_auth.core.models import Secret

LEAST_FOLLOWING: Final = 4
"""Letters that follow the beginning of a token: the beginning alone stands in programs and their manuals."""

LEAST_DECODED: Final = 12
"""The same in base64, where a shorter text occurs by chance."""

SHORTEST: Final = 8
"""Bytes: a shorter text of a run is not searched for, as it occurs by chance."""

LONG: Final = 32
"""Bytes of a text whose beginning or end alone would be a secret too."""

PIECE: Final = 16

CHUNK: Final = 1 << 20

MOST_UNPACKED: Final = 256 * CHUNK
"""Bytes of a packed file that are searched; one with more is reported as not searched."""

_LEAST_OVERLAP: Final = 256
"""Bytes: more than a pattern spans."""

_BEGINNINGS: Final = (b"Atzr|", b"Atza|", b"Sim|")
"""Of Amazon's refresh and access tokens, and of all tokens of the simulated Amazon."""

_BAR: Final = rb"(?:\||%7[Cc]|%257[Cc]|\\u007[Cc]|&#124;|&#[xX]7[Cc];|&vert;)"
_LETTER: Final = rb"[A-Za-z0-9_\-+/=.~|%\\&#;]"
_DECODED: Final = re.compile(rb"[A-Za-z0-9_\-+/=.~|]{%d}" % LEAST_DECODED)

_BASE_64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_GROUP: Final = 3

_CLOSED: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
"""What packed a file that begins so, and the standard library does not open."""


class FoundToken(NamedTuple):
    """A place that holds a token, or could not be searched.

    Attributes:
        where: for a person; never what was found there.
        why_not: why it could not be searched; empty if a token was found.
    """

    where: str
    why_not: str = ""


class TokenSearch:
    """Searches places for tokens.

    Args:
        tokens: of the run; each of any form.

    Attributes:
        found: the places with a token, and those that could not be searched.
        searched: the number of bytes that were searched.
    """

    def __init__(self, tokens: Iterable[Secret] = ()) -> None:
        texts = {text for token in tokens if len(text := token.reveal().encode()) >= SHORTEST}
        self._forms = sorted({form for text in texts for form in forms_of(text)})
        self._patterns = [re.compile(each) for beginning in _BEGINNINGS for each in _patterns_of(beginning)]
        self._in_base64 = [
            _Base64Pattern(beginning, offset) for beginning in _BEGINNINGS for offset in range(_GROUP)
        ]
        self._overlap = max([_LEAST_OVERLAP, *map(len, self._forms)])
        self.found: list[FoundToken] = []
        self.searched = 0

    def is_in(self, octets: bytes) -> bool:
        """Return whether a token stands there."""
        return (
            any(form in octets for form in self._forms)
            or any(pattern.search(octets) for pattern in self._patterns)
            or any(pattern.is_in(octets) for pattern in self._in_base64)
        )

    def files_below(self, top: Path) -> None:
        """Search every file below a folder, or the one file that the path names, and all their names."""
        try:
            mode = top.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._not_searched(str(top), error)
            return
        if not stat.S_ISDIR(mode):
            self._file(top, mode, top.parent)
            return
        try:
            for path, kind in _walk(top, lambda error: self._not_searched(_folder_of(error, top), error)):
                self._file(path, kind, top)
        except RecursionError:
            self.found.append(FoundToken(str(top), "its folders are too deep"))

    def stream(self, where: str, pieces: Iterable[bytes]) -> None:
        """Search what comes in pieces, such as another program's output."""
        if self._is_in_pieces(pieces):
            self.found.append(FoundToken(where))

    def take_found(self) -> tuple[list[FoundToken], int]:
        """Return what was found since the last time, and the number of bytes that were searched."""
        taken = self.found, self.searched
        self.found, self.searched = [], 0
        return taken

    def named(self, where: str, name: str, path: Path) -> None:
        """Search a file by another path than its own, and its own name.

        Args:
            where: for a person, if its name may be told.
            name: its own.
            path: leads to it.
        """
        if self.is_in(os.fsencode(name)):
            where = "the name of a file"
            self.found.append(FoundToken(where))
        self._open(where, path)

    def _open(self, where: str, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            return
        except OSError as error:
            self._not_searched(where, error)
            return
        with os.fdopen(fd, "rb", buffering=0) as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                self._content(where, file)

    def _file(self, path: Path, mode: int, top: Path) -> None:
        """Search a file's name and its content, or where a symbolic link leads."""
        where = str(path)
        if self.is_in(os.fsencode(path)):
            where = f"a name below {top}"
            self.found.append(FoundToken(where))
        if stat.S_ISLNK(mode):
            with suppress(OSError):
                self.stream(where, [os.fsencode(path.readlink())])
        elif stat.S_ISREG(mode):
            self._open(where, path)

    def _content(self, where: str, file: IO[bytes]) -> None:
        try:
            beginning = os.pread(file.fileno(), 8, 0)
            is_found = self._is_in_pieces(_pieces_of(file.fileno()))
            if not is_found:
                is_found = self._is_in_packed(where, file, beginning)
        except OSError as error:
            self._not_searched(where, error)
            return
        if is_found:
            self.found.append(FoundToken(where))

    def _is_in_packed(self, where: str, file: IO[bytes], beginning: bytes) -> bool:
        """Return whether a token stands in what a packed file holds."""
        closed = next((name for start, name in _CLOSED.items() if beginning.startswith(start)), None)
        if closed is not None:
            self.found.append(FoundToken(where, f"it is packed by {closed}, which cannot be opened here"))
            return False
        unpack = _unpacker_of(beginning)
        if unpack is None:
            return False
        file.seek(0)
        try:
            with unpack(file) as unpacked:
                return self._is_in_pieces(_bounded(unpacked))
        except Exception as error:
            if not isinstance(error, (EOFError, ValueError, OSError, *_packing_errors())):
                raise
            self.found.append(FoundToken(where, "it is packed, and cannot be opened to its end"))
            return False

    def _is_in_pieces(self, pieces: Iterable[bytes]) -> bool:
        tail, is_found = b"", False
        for piece in pieces:
            self.searched += len(piece)
            whole = tail + piece
            is_found = is_found or self.is_in(whole)
            tail = whole[-self._overlap :]
        return is_found

    def _not_searched(self, where: str, error: OSError) -> None:
        self.found.append(FoundToken(where, error.strerror or type(error).__name__))


def forms_of(token: bytes) -> set[bytes]:
    """Return the forms in which programs write a token; of a long one also its beginning and its end."""
    text = token.decode("utf-8", "surrogateescape")
    percent = quote(token, safe="")
    texts = {
        text,
        percent,
        re.sub("%..", lambda found: found[0].lower(), percent),
        quote(token),
        quote(percent, safe=""),
        escape(text),
        *(json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)),
        json.dumps(text)[1:-1].replace("/", "\\/"),
        token.hex(),
        token.hex().upper(),
    }
    if len(token) >= LONG:
        texts |= {text[:PIECE], text[-PIECE:]}
    forms = {form.encode("utf-8", "surrogateescape") for form in texts}
    forms |= {text.encode(order, "surrogatepass") for order in ("utf-16-le", "utf-16-be")}
    for offset in range(_GROUP):
        # of the letters that the token shares with what stands beside it nothing is known
        first, last = -(-8 * offset // 6), 8 * (offset + len(token)) // 6
        forms |= {encode(bytes(offset) + token)[first:last] for encode in (b64encode, urlsafe_b64encode)}
    return forms


def _patterns_of(beginning: bytes) -> Iterator[bytes]:
    """Return the patterns of a token's beginning; each begins with fixed letters, as only then it is found quickly."""
    name, more = beginning[:-1], LEAST_FOLLOWING
    yield name + _BAR + rb"(?!Atz|Sim)" + _LETTER + rb"{%d}" % more  # a list of beginnings is no token
    # of either byte order: one NUL stands between two letters in both
    yield rb"\0".join(bytes([letter]) for letter in name) + rb"\0\|(?:\0" + _LETTER + rb"){%d}" % more
    for digits in {name.hex().encode(), name.hex().upper().encode()}:
        yield digits + rb"7[cC](?:[2-7][0-9a-fA-F]){%d}" % (2 * more)


class _Base64Pattern:
    """A token in base64, which begins ``offset`` bytes after the start of a group."""

    def __init__(self, beginning: bytes, offset: int) -> None:
        known = "?" * 8 * offset + "".join(f"{octet:08b}" for octet in beginning)
        known += "?" * (-len(known) % 6)
        groups = [known[start : start + 6] for start in range(0, len(known), 6)]
        # a search for fixed letters is quick: the one that is known in part stands before them
        self._first = next(index for index, bits in enumerate(groups) if "?" not in bits)
        self._offset = offset
        self._beginning = beginning
        letters = b"".join(_letters_of(bits) for bits in groups[self._first :])
        self._pattern = re.compile(letters + rb"[A-Za-z0-9+/_\-]{%d}" % (LEAST_DECODED * 4 // 3 + 4))

    def is_in(self, octets: bytes) -> bool:
        """Return whether what looks like one is a token when it is decoded."""
        for match in self._pattern.finditer(octets):
            start = match.start() - self._first
            letters = octets[max(0, start) : match.end()].replace(b"-", b"+").replace(b"_", b"/")
            # what stands before the token may be cut off, or be no base64
            letters = b"A" * self._offset + letters[-(match.end() - start - self._offset) :]
            decoded = b64decode(letters[: len(letters) // 4 * 4])[self._offset :]
            if decoded.startswith(self._beginning) and _DECODED.match(decoded[len(self._beginning) :]):
                return True
        return False


def _letters_of(bits: str) -> bytes:
    """Return the pattern of one letter of base64, of whose bits some may be unknown, in either alphabet."""
    fitting = re.compile(bits.replace("?", "."))
    letters = bytes(letter for value, letter in enumerate(_BASE_64) if fitting.fullmatch(f"{value:06b}"))
    if len(letters) == 1 and letters.isalnum():
        return letters
    return b"[" + letters.replace(b"+", rb"+\-").replace(b"/", b"/_") + b"]"


def _walk(top: Path, refused: Callable[[OSError], object]) -> Iterator[tuple[Path, int]]:
    """Return every file and folder below a folder with its mode; what cannot be looked at is passed to ``refused``."""
    try:
        names = sorted(os.listdir(top))  # noqa: PTH208  of a Path it would make one object a file twice
    except FileNotFoundError:
        return
    except OSError as error:
        refused(error)
        return
    for name in names:
        path = top / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            refused(error)
            continue
        yield path, mode
        if stat.S_ISDIR(mode):
            yield from _walk(path, refused)


def _folder_of(error: OSError, top: Path) -> str:
    return os.fsdecode(error.filename) if error.filename else str(top)


def _pieces_of(fd: int) -> Iterator[bytes]:
    """Read a file from its start; its holes are left out."""
    at = 0
    while True:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == ENXIO:
                return  # nothing but a hole is left
            if error.errno != EINVAL:
                raise
            data = at
        if data > at:
            yield b"\0"  # what stands on either side of a hole is no text together
        piece = os.pread(fd, CHUNK, data)
        if not piece:
            return
        at = data + len(piece)
        yield piece


def _unpacker_of(beginning: bytes) -> "Callable[[IO[bytes]], IO[bytes]] | None":
    if beginning.startswith(b"\x1f\x8b"):
        from gzip import GzipFile

        return lambda file: GzipFile(fileobj=file)  # type: ignore[return-value]  # it is one in all but name
    if beginning.startswith(b"BZh"):
        from bz2 import BZ2File

        return BZ2File
    if beginning.startswith(b"\xfd7zXZ\0"):
        from lzma import LZMAFile

        return LZMAFile
    return None


def _packing_errors() -> tuple[type[Exception], ...]:
    from lzma import LZMAError
    from zlib import error

    return LZMAError, error


def _bounded(unpacked: IO[bytes]) -> Iterator[bytes]:
    """Read what a packed file holds.

    Raises:
        ValueError: if it is too much.
    """
    length = 0
    while piece := unpacked.read(CHUNK):
        length += len(piece)
        if length > MOST_UNPACKED:
            raise ValueError
        yield piece
