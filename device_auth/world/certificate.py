"""The self-signed certificate for the redirect that a browser on this machine follows after approval.

It names this machine alone, and nobody is to trust it: the browser warns, and its user goes on. It is kept, so that a
browser which remembers the exception warns once.

Source: RFC 5280 §4.2.1, the extensions of a server's certificate.
"""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.core.errors import ConfigError
from device_auth.core.models import UnixTime
from device_auth.world.explain import store_error
from device_auth.world.files import Folder

if TYPE_CHECKING:
    import ssl

    from cryptography.x509 import Certificate

CERTIFICATE: Final = "authorize.pem"
"""The certificate and its key, in the state folder."""

_MODE: Final = 0o600
_LARGEST: Final = 16 * 1024
_DAY: Final = timedelta(days=1)
_VALID_FOR: Final = 365 * _DAY
_MADE_ANEW_BEFORE: Final = 30 * _DAY
"""One that ends sooner is replaced."""

_ADDRESSES: Final = ("127.0.0.1", "::1")


def server_context(directory: Path, wall: UnixTime) -> "ssl.SSLContext":
    """Return a TLS context for a server, with the kept certificate or a new one.

    Args:
        directory: the state folder, with its lock held.
        wall: the wall clock.

    Raises:
        StoreError: if the certificate cannot be written.
        ConfigError: if cryptography is not installed.
    """
    now = datetime.fromtimestamp(wall, UTC)
    try:
        with Folder.open(directory) as folder:
            found = folder.read(CERTIFICATE, _LARGEST)
            context = None if found is None else _read(directory, found[0], now)
            if context is None:
                content = _make(now)
                folder.replace(CERTIFICATE, content, _MODE)
                context = _read(directory, content, now)
    except ImportError as error:
        from device_auth.installation import how_to_install

        hint = how_to_install("cryptography")
        raise ConfigError("the Python package cryptography is missing", hint=hint) from error
    except OSError as error:
        raise store_error(f"cannot write {directory / CERTIFICATE}", error) from error
    assert context is not None, "a new certificate is valid"  # noqa: S101  our own bug
    return context


def _read(directory: Path, content: bytes, now: datetime) -> "ssl.SSLContext | None":
    """Load a certificate; None if it is damaged, not valid yet, or about to expire."""
    import ssl

    from cryptography import x509

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        since, until = _dates(x509.load_pem_x509_certificate(content))
        context.load_cert_chain(directory / CERTIFICATE, password="")
    except (ValueError, ssl.SSLError):
        return None
    return context if since <= now < until - _MADE_ANEW_BEFORE else None


def _dates(certificate: "Certificate") -> tuple[datetime, datetime]:
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    # before cryptography 42
    return certificate.not_valid_before.replace(tzinfo=UTC), certificate.not_valid_after.replace(tzinfo=UTC)


def _make(now: datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(each)) for each in _ADDRESSES)]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
