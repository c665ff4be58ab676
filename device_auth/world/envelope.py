"""The envelope of a stored link: versioned, with a checksum.

Without a key, version 1::

    {"version": 1, "key_provider": "plain", "sha256": "…", "link": {…}}

``link`` holds every field of ``Link`` by its name, times in seconds since 1970 UTC; ``sha256`` is the checksum of
its canonical text, so that a damaged file is recognised. A link without a key is still written so, and older programs
can read it.

Sealed under a key, version 2::

    {"version": 2, "key_provider": "key-file", "key_fingerprint": "…", "link_id": "…", "nonce": "…", "sealed": "…",
     "sha256": "…"}

``sealed`` is ``link`` encrypted with AES-256-GCM, in base64; every other member but the checksum is authenticated with
it, as canonical text. ``link_id`` is readable without the key: the store never falls back on another owner's link.
``key_fingerprint`` identifies the key. ``sha256`` covers all other members: damage is told from a wrong key even
without any key.

An unknown member is ignored if the version is known. Only a link that was handed over has an empty
``refresh_token``. Earlier programs wrote no ``handed_over_to``, and later none of ``dsn``, ``board``,
``takes_secret``, ``account_id`` and ``secret_by_basic``; such a program reads a link with them, and drops them when it next writes it.
"""

import binascii
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from os import urandom
from typing import Final

from device_auth.core.errors import StoreDamaged, StoreError
from device_auth.core.models import DialectName, Flow, Link, Mark, Secret, UnixTime
from device_auth.world.fields import Fields, Malformed, as_fields, read_fields, write_fields
from device_auth.world.sealing import NONCE_LENGTH, SealingKey, SealNotOpened

PLAIN_VERSION: Final = 1
SEALED_VERSION: Final = 2
NEWEST_VERSION: Final = SEALED_VERSION


class EnvelopeDamaged(StoreDamaged):
    """The stored file does not verify.

    Args:
        message: why; no part of the content.
        link_id: the link ID that can still be read in it, or None.
    """

    def __init__(self, message: str, *, link_id: str | None = None) -> None:
        super().__init__(message, hint="Link the speaker again: device-auth link")
        self.link_id = link_id


class KeyMissing(StoreError):
    """The stored link is whole, but its key is not available to this process.

    Args:
        message: for a person; another process may have the key.
        hint: the next step for that person.
        why: the reason for a process that should have every key; the message if None.
    """

    def __init__(self, message: str, *, hint: str, why: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.why = message if why is None else why


class Plain:
    """No key: a key that lies beside its data does not protect it."""

    name: Final = "plain"
    protects: Final = (
        "Protects the link from other users of this speaker only: anyone who has its card can read the link."
    )
    fingerprint: Final = ""


KeyProvider = SealingKey | Plain
"""The key that a link is sealed under, or none."""

KeyName = tuple[str, str]
"""A key's provider and its fingerprint, which is empty for none."""


def write_envelope(link: Link, key: KeyProvider) -> bytes:
    """Return a link in the form of the file."""
    body = _link_to_json(link)
    if isinstance(key, Plain):
        return write_fields(
            {"version": PLAIN_VERSION, "key_provider": key.name, "sha256": _checksum(body), "link": body}
        )
    nonce = urandom(NONCE_LENGTH)
    header: dict[str, object] = {
        "version": SEALED_VERSION,
        "key_provider": key.name,
        "key_fingerprint": key.fingerprint,
        "link_id": link.link_id,
        "nonce": nonce.hex(),
    }
    sealed = key.seal(_canonical(body), nonce, _canonical(header))
    members = {**header, "sealed": binascii.b2a_base64(sealed, newline=False).decode()}
    return write_fields({**members, "sha256": _checksum(members)})


def read_envelope(content: bytes, named: Callable[[str], SealingKey]) -> tuple[Link, KeyName]:
    """Read a link from the bytes of the file; total: any bytes give a link or one of the errors.

    Args:
        content: the whole file, or at least one byte more than is accepted.
        named: returns the key of a provider, or raises ``KeyMissing``; called for a sealed link only.

    Returns:
        The link and the key it was sealed under.

    Raises:
        EnvelopeDamaged: if it does not verify.
        KeyMissing: if it is sealed under a key that is not available.
        StoreError: if it is of a newer version.
    """
    try:
        envelope = read_fields(content)
    except Malformed as error:
        raise EnvelopeDamaged(str(error)) from error
    try:
        return _open(envelope, named), _key_of(envelope)
    except (Malformed, RecursionError) as error:
        raise EnvelopeDamaged(str(error), link_id=_link_id_of(envelope)) from error


def _open(envelope: Fields, named: Callable[[str], SealingKey]) -> Link:
    version = envelope.number("version")
    if version > NEWEST_VERSION:
        raise StoreError(
            f"the file has version {version:.0f}; this program reads versions up to {NEWEST_VERSION}",
            hint="Install the newer device-auth again, or start over: device-auth unlink --wipe",
        )
    if version == PLAIN_VERSION:
        return _link_from_json(_read_plain(envelope))
    if version == SEALED_VERSION:
        return _link_from_json(_unseal(envelope, named))
    raise Malformed("version is not known")


def _read_plain(envelope: Fields) -> Fields:
    if envelope.text("key_provider") != Plain.name:
        raise Malformed("key_provider is not known")
    body = envelope.anything("link")
    if envelope.text("sha256") != _checksum(body):
        raise Malformed("the checksum does not match")
    return as_fields(body, "link")


def _unseal(envelope: Fields, named: Callable[[str], SealingKey]) -> Fields:
    if envelope.text("sha256") != _checksum(envelope.but("sha256")):
        raise Malformed("the checksum does not match")
    name = envelope.text("key_provider")
    key = named(name)
    if envelope.text("key_fingerprint") != key.fingerprint:
        raise KeyMissing(
            f"the link is sealed under another key than the present one of {name}",
            hint="Restore the former key. If it is gone for good: device-auth unlink, then device-auth link",
        )
    try:
        nonce = bytes.fromhex(envelope.text("nonce"))
        sealed = binascii.a2b_base64(envelope.text("sealed"), strict_mode=True)
        return read_fields(key.open(sealed, nonce, _canonical(envelope.but("sealed", "sha256"))))
    except (SealNotOpened, ValueError) as error:
        raise Malformed("the key does not decrypt the link") from error


def _key_of(envelope: Fields) -> KeyName:
    is_sealed = envelope.number("version") == SEALED_VERSION
    return envelope.text("key_provider"), envelope.text("key_fingerprint") if is_sealed else ""


def _link_id_of(envelope: Fields) -> str | None:
    with suppress(Malformed):
        return envelope.fields("link").filled_text("link_id")
    with suppress(Malformed):
        return envelope.filled_text("link_id")
    return None


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _checksum(value: object) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _link_to_json(link: Link) -> dict[str, object]:
    return {
        "link_id": link.link_id,
        "dialect": link.dialect,
        "flow": link.flow,
        "client_id": link.client_id,
        "scope": link.scope,
        "token_endpoint": link.token_endpoint,
        "revocation_endpoint": link.revocation_endpoint,
        "refresh_token": link.refresh_token.reveal(),
        "linked_at": link.linked_at,
        "is_proved": link.is_proved,
        "account": link.account,
        "mark": link.mark,
        "marked_at": link.marked_at,
        "replaces": None if link.replaces is None else _link_to_json(link.replaces),
        "handed_over_to": link.handed_over_to,
        "dsn": link.dsn,
        "board": link.board,
        "takes_secret": link.takes_secret,
        "account_id": link.account_id,
        "secret_by_basic": link.secret_by_basic,
    }


def _link_from_json(fields: Fields) -> Link:
    mark = fields.optional_word("mark", Mark)
    marked_at = fields.optional_number("marked_at")
    read_token = fields.text if mark is Mark.HANDED_OVER else fields.filled_text
    replaces = fields.optional_fields("replaces")
    return Link(
        link_id=fields.filled_text("link_id"),
        dialect=fields.word("dialect", DialectName),
        flow=fields.word("flow", Flow),
        client_id=fields.text("client_id"),
        scope=fields.text("scope"),
        token_endpoint=fields.text("token_endpoint"),
        revocation_endpoint=fields.text("revocation_endpoint"),
        refresh_token=Secret(read_token("refresh_token")),
        linked_at=UnixTime(fields.number("linked_at")),
        is_proved=fields.truth("is_proved"),
        account=fields.optional_text("account"),
        mark=mark,
        marked_at=None if marked_at is None else UnixTime(marked_at),
        replaces=None if replaces is None else _link_from_json(replaces),
        handed_over_to=fields.optional_text("handed_over_to") if fields.has("handed_over_to") else None,
        dsn=fields.text("dsn") if fields.has("dsn") else "",
        board=fields.text("board") if fields.has("board") else "",
        takes_secret=fields.has("takes_secret") and fields.truth("takes_secret"),
        account_id=fields.optional_text("account_id") if fields.has("account_id") else None,
        secret_by_basic=fields.has("secret_by_basic") and fields.truth("secret_by_basic"),
    )
