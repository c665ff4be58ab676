"""Text that a person copied: in an editor's encoding, with quotation marks around it, broken over lines.

Each function is total. A text with one plain meaning is understood; of any other it is reported what it is.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Final

from device_auth.core.models import Secret
from device_auth.wire.answers import read_token

ACCESS_TOKENS: Final = ("Atza|", "Sim|A|")
"""The beginnings of LWA's and of the simulated access tokens. Source: LWA "Access Tokens"."""

SIMULATED: Final = "Sim|"
"""The beginning of all that a simulated Amazon gives out."""

LARGEST_FILE: Final = 64 * 1024
"""Bytes of a file with a refresh token in it."""

LONGEST_TOKEN: Final = 4096
"""Characters. Source: LWA "Refresh Tokens" says 2048 at the most; others may take more."""

LEAST_WIDTH: Final = 40
"""Columns of a window that breaks a text; pieces shorter than that are words."""

AROUND: Final = {'"': '"', "'": "'", "`": "`", "<": ">", "“": "”", "„": "“", "‘": "’", "«": "»"}
"""Opening and closing marks that stand around a text and do not belong to it."""

PUNCTUATION: Final = ".,;:!()[]{}…"
"""Marks of a sentence that a copied word may bring along."""

INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060"
"""Byte order mark, zero-width spaces and joiners, which come along when a page is copied."""

_NAMED: Final = re.compile(r"[\"']?refresh_?token[\"']?\s*[:=]\s*(.*?),?", re.IGNORECASE | re.DOTALL)
_NAMES: Final = ("refresh_token", "refreshToken")


def read_text(content: bytes) -> str | None:
    """Return the text of a file in UTF-8 or UTF-16, with a byte order mark or without; None if it is not one."""
    codec = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        codec = "utf-16"
    elif len(content) > 1 and not any(content[1::2]):
        codec = "utf-16-le"
    elif len(content) > 1 and not any(content[::2]):
        codec = "utf-16-be"
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        return None
    return text if all(it.isprintable() or it.isspace() or it in INVISIBLE for it in text) else None


def trim(text: str) -> str:
    """Return a text without the blanks and the pairs of marks around it."""
    text = text.strip().strip(INVISIBLE).strip()
    while len(text) > 1 and AROUND.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text


def bare(word: str) -> str:
    """Return a word without the marks of the text that it stood in."""
    return word.strip("".join([*AROUND, *AROUND.values(), PUNCTUATION, INVISIBLE]))


def read_refresh_token(content: bytes) -> Secret:
    """Read a refresh token from a file or a paste.

    Raises:
        ValueError: if there is none, in words that complete "it ..."; no part of the text is in them.
    """
    if len(content) > LARGEST_FILE:
        raise ValueError("is too long")
    text = read_text(content)
    if text is None:
        raise ValueError("is not text")
    text = trim(text)
    if text.startswith(("{", "[")):
        text = _token_in_json(text)
    elif named := _NAMED.fullmatch(text):
        text = trim(named[1])
    if not text:
        raise ValueError("is empty")
    if any(beginning in text for beginning in ACCESS_TOKENS) or text.casefold().startswith("bearer "):
        raise ValueError("is an access token, which lives an hour and cannot be refreshed")
    pieces = text.split()
    if len(pieces) > 1 and not _is_broken(pieces):
        raise ValueError("has several words or lines")
    joined = "".join(pieces)
    if len(joined) > LONGEST_TOKEN:
        raise ValueError(f"has more than {LONGEST_TOKEN} characters")
    token = read_token(joined)
    if token is None:
        raise ValueError("has characters that are in no token")
    return token


def is_simulated(token: Secret) -> bool:
    """Return whether a simulated Amazon gave out a token."""
    return token.reveal().startswith(SIMULATED)


def _is_broken(pieces: list[str]) -> bool:
    """Return whether a window or an editor broke one token into these: all as wide, but for a shorter rest."""
    *full, rest = pieces
    is_even = len({len(it) for it in full}) == 1 and LEAST_WIDTH <= len(full[0]) > len(rest)
    return is_even and not any("|" in it for it in pieces[1:])  # which ends the beginning of another one


def _token_in_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # from None: the parser's error carries the whole text
        raise ValueError("begins like JSON and is none") from None
    found = set(_refresh_tokens(value))
    if len(found) > 1:
        raise ValueError("is JSON with several refresh tokens")
    if not found:
        raise ValueError("is JSON without a refresh token")
    return found.pop()


def _refresh_tokens(value: object) -> Iterator[str]:
    """Yield the refresh tokens anywhere in a JSON value."""
    held = [value]
    while held:
        match held.pop():
            case dict() as members:
                for name, member in members.items():
                    if name in _NAMES and isinstance(member, str) and member:
                        yield member
                    else:
                        held.append(member)
            case list() as members:
                held += members
            case _:
                pass
