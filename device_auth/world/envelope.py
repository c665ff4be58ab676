"""The envelope a link is stored in: versioned, and able to tell whether it is whole.

::

    {"version": 1, "key_provider": "plain", "sha256": "…", "link": {…}}

``link`` holds every field of ``Link`` by its name, times in seconds since 1970 UTC; ``sha256`` is the checksum of
its canonical text, so that a rotten sector is told from a grant. ``key_provider`` names who holds the key that
``link`` is sealed under. A member that is not known is passed over as long as the version is. Only a link that was
handed over has an empty ``refresh_token``; ``handed_over_to`` is missing where an earlier program wrote.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final, Protocol

from device_auth.core.errors import StoreDamaged, StoreError
from device_auth.core.models import DialectName, Flow, Link, Mark, Secret, UnixTime
from device_auth.world.fields import Fields, Malformed, as_fields, read_fields, write_fields

VERSION: Final = 1


class Damaged(StoreDamaged):
    """What lies there does not verify.

    Args:
        message: what is odd; no part of the content.
        link_id: what it still says of whose link it was, or None.
    """

    def __init__(self, message: str, *, link_id: str | None = None) -> None:
        super().__init__(message, hint="Link the speaker again: device-auth link")
        self.link_id = link_id


class KeyProvider(Protocol):
    """Seals what is written and opens what is read."""

    @property
    def name(self) -> str:
        """Give the word that stands in the envelope."""
        ...

    def seal(self, body: dict[str, object]) -> object:
        """Give what to write in place of the body, any JSON value."""
        ...

    def unseal(self, sealed: object) -> object:
        """Give the body back, or whatever else was sealed."""
        ...


class Plain:
    """No key: a key that lies beside its data is no protection."""

    name: Final = "plain"

    def seal(self, body: dict[str, object]) -> object:
        """Give the body as it is."""
        return body

    def unseal(self, sealed: object) -> object:
        """Give the body as it is."""
        return sealed


def write_envelope(link: Link, provider: KeyProvider) -> bytes:
    """Write a link as it goes to the disk."""
    sealed = provider.seal(_link_to_json(link))
    return write_fields(
        {"version": VERSION, "key_provider": provider.name, "sha256": _checksum(sealed), "link": sealed}
    )


def read_envelope(content: bytes, providers: Sequence[KeyProvider]) -> Link:
    """Read a link as it came from the disk; total: any bytes give a link or one of the errors.

    Args:
        content: all of the file, or at least one byte more than is accepted.
        providers: whose keys can be reached.

    Raises:
        Damaged: it does not verify.
        StoreError: it may be whole but is not for us: a newer version, or under a key that cannot be reached.
    """
    try:
        envelope = read_fields(content)
    except Malformed as error:
        raise Damaged(str(error)) from error
    try:
        return _open(envelope, providers)
    except (Malformed, RecursionError) as error:
        raise Damaged(str(error), link_id=_link_id_of(envelope)) from error


def _open(envelope: Fields, providers: Sequence[KeyProvider]) -> Link:
    version = envelope.number("version")
    if version > VERSION:
        raise StoreError(
            f"it is of version {version:.0f}, and this program knows version {VERSION}",
            hint="Install the newer device-auth again, or start anew: device-auth unlink --wipe",
        )
    if version != VERSION:
        raise Malformed("version is not known")
    name = envelope.text("key_provider")
    provider = next((one for one in providers if one.name == name), None)
    if provider is None:
        raise StoreError(
            "the key is held by the service",
            hint="Start the service (systemctl start device-auth) and try again.",
        )
    sealed = envelope.anything("link")
    if envelope.text("sha256") != _checksum(sealed):
        raise Malformed("the checksum does not fit")
    return _link_from_json(as_fields(provider.unseal(sealed), "link"))


def _link_id_of(envelope: Fields) -> str | None:
    try:
        return envelope.fields("link").filled_text("link_id")
    except Malformed:
        return None


def _checksum(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


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
    )
