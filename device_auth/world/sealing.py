"""Sealing: AES-256-GCM under keys that are derived for one purpose each.

The key itself is only an input of HKDF (RFC 5869): its fingerprint says nothing about the key that seals. Each sealed
text has a random nonce of 96 bits. Under one key two of 2**32 such texts share one with a chance
of 2**-32 at the most (NIST SP 800-38D, 8.3); a speaker that wrote once a second would take 136 years for that, and one
writes a few times a day.

``cryptography`` is loaded at the first use: a speaker without a key never pays for it.
"""

from importlib import import_module
from typing import Final

NONCE_LENGTH: Final = 12
"""Bytes. Source: NIST SP 800-38D, 5.2.1.1."""

_KEY_LENGTH: Final = 32
_FINGERPRINT_LENGTH: Final = 8

_SALT: Final = b"device-auth"
"""Fixed: the input is random already, and no other program derives the same keys (RFC 5869, 3.1)."""

_TO_SEAL: Final = b"device-auth link v2"
_TO_NAME: Final = b"device-auth key fingerprint v2"


def can_seal() -> bool:
    """Load the library; return whether that succeeds."""
    try:
        import_module("cryptography.hazmat.primitives.ciphers.aead")
        import_module("cryptography.hazmat.primitives.kdf.hkdf")
    except ImportError:
        return False
    return True


class SealNotOpened(Exception):
    """The text was sealed under another key or with another header, or was changed since."""


class SealingKey:
    """A key that seals and opens; its repr does not show it.

    Args:
        name: its holder; one of ``settings.KEY_PROVIDERS``.
        material: random bytes, at least 32.
        protects: for people, what it protects against and what not.
    """

    __slots__ = ("_material", "name", "protects")

    def __init__(self, name: str, material: bytes, protects: str) -> None:
        self.name = name
        self.protects = protects
        self._material = material

    @property
    def fingerprint(self) -> str:
        """Return a name for this key that reveals nothing of it."""
        return self._derive(_TO_NAME, _FINGERPRINT_LENGTH).hex()

    def seal(self, text: bytes, nonce: bytes, header: bytes) -> bytes:
        """Seal a text.

        Args:
            text: encrypted.
            nonce: never used before under this key.
            header: authenticated, not encrypted.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derive(_TO_SEAL, _KEY_LENGTH)).encrypt(nonce, text, header)

    def open(self, sealed: bytes, nonce: bytes, header: bytes) -> bytes:
        """Return the text of a sealed one.

        Raises:
            SealNotOpened: if it cannot be authenticated.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._derive(_TO_SEAL, _KEY_LENGTH)).decrypt(nonce, sealed, header)
        except (InvalidTag, ValueError) as error:
            raise SealNotOpened from error

    def _derive(self, purpose: bytes, length: int) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length, _SALT, purpose).derive(self._material)
