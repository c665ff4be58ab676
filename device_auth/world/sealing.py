"""Sealing: AES-256-GCM under keys that are derived for one purpose each.

A key as it was found is only ever put into HKDF (RFC 5869): what seals cannot be told from what names the key. Each
sealed text takes a nonce of its own, 96 bits by chance. Under one key two of 2**32 such texts share one with a chance
of 2**-32 at the most (NIST SP 800-38D, 8.3); a speaker that wrote once a second would take 136 years to get there,
and one writes a few times a day.

``cryptography`` is loaded when something is sealed or opened: a speaker without a key never pays for it.
"""

from typing import Final

NONCE_LENGTH: Final = 12
"""Bytes. Source: NIST SP 800-38D, 5.2.1.1."""

_KEY_LENGTH: Final = 32
_FINGERPRINT_LENGTH: Final = 8

_SALT: Final = b"device-auth"
"""Fixed: what goes in is random already, and no other program shall arrive at our keys (RFC 5869, 3.1)."""

_TO_SEAL: Final = b"device-auth link v2"
_TO_NAME: Final = b"device-auth key fingerprint v2"


def can_seal() -> bool:
    """Return whether the library is there and can be loaded; loads it."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: F401  see the top
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: F401  see the top
    except ImportError:
        return False
    return True


class SealNotOpened(Exception):
    """It was sealed under another key or with another header, or it was changed since."""


class SealingKey:
    """A key that seals and opens. Nothing prints what it is made of.

    Args:
        name: who holds it; one of ``settings.KEY_PROVIDERS``.
        material: random bytes, 32 at least.
        protects: what it protects against and what not, in a sentence for people.
    """

    __slots__ = ("_material", "name", "protects")

    def __init__(self, name: str, material: bytes, protects: str) -> None:
        self.name = name
        self.protects = protects
        self._material = material

    @property
    def fingerprint(self) -> str:
        """Tell this key from another one; says nothing about what is in it."""
        return self._derive(_TO_NAME, _FINGERPRINT_LENGTH).hex()

    def seal(self, text: bytes, nonce: bytes, header: bytes) -> bytes:
        """Seal a text.

        Args:
            text: what nobody else shall read.
            nonce: never used before under this key.
            header: what anybody may read and nobody change.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derive(_TO_SEAL, _KEY_LENGTH)).encrypt(nonce, text, header)

    def open(self, sealed: bytes, nonce: bytes, header: bytes) -> bytes:
        """Return the text back.

        Raises:
            DoesNotOpen: not a byte of it can be trusted.
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
