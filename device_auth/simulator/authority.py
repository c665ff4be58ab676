"""The simulated Amazon's own certificate authority, for TLS on loopback or on one address of this machine.

Certificates are valid from 2000 to the end of 2049, so that a unit without a clock accepts them. The authority may
sign for this machine alone (name constraints), so that trusting it by accident does no harm.
"""

import fcntl
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device_auth.core.errors import ConfigError
from device_auth.world.files import Folder


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate is valid."""

    since: datetime
    until: datetime


FOR_YEARS: Final = Validity(datetime(2000, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
"""Up to the last day that UTCTime can express. Source: RFC 5280 §4.1.2.5."""

EXPIRED: Final = Validity(datetime(2000, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC))
NOT_YET_VALID: Final = Validity(datetime(2049, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))

_NAME: Final = x509.DNSName("localhost")
_ADDRESSES: Final = ("127.0.0.1", "::1")
_NETWORKS: Final = ("127.0.0.0/8", "::1/128")


def server_context(
    folder: Path, validity: Validity = FOR_YEARS, address: IPv4Address | IPv6Address | None = None
) -> tuple[ssl.SSLContext, Path]:
    """Make the server's TLS context, with a new certificate by the authority in a folder.

    Any number of servers may share the folder; each waits for the one before it.

    Args:
        folder: of the authority, which is made on first use.
        validity: of the server's certificate, for tests of bad ones.
        address: one that clients reach this machine by, beside loopback; the folder's authority was made with it.

    Returns:
        The context, and the file for the clients' ``--ca-file``.

    Raises:
        ConfigError: if the folder cannot be written or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Folder.open(folder) as held:
            fcntl.flock(held.fd, fcntl.LOCK_EX)
            context = _load(folder, validity, address)
    except (OSError, ValueError, TypeError) as error:
        hint = "Name a folder of your own that holds nothing else, or delete ca.pem and ca-key.pem in it."
        raise ConfigError(f"cannot make certificates in {folder}", hint=hint) from error
    return context, folder / "ca.pem"


def _load(folder: Path, validity: Validity, address: IPv4Address | IPv6Address | None) -> ssl.SSLContext:
    """Make the context; the caller holds the folder's lock."""
    beside = () if address is None else (str(address),)
    authority, authority_key = _authority(folder, beside)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_server(key.public_key(), authority, authority_key, validity, beside)
    chain = folder / "server.pem"
    _write(chain, _key_bytes(key) + certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain)
    return context


def _authority(folder: Path, beside: tuple[str, ...]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Read the authority from its folder, or make it."""
    certificate_file, key_file = folder / "ca.pem", folder / "ca-key.pem"
    if certificate_file.exists() and key_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(key_file)
        return x509.load_pem_x509_certificate(certificate_file.read_bytes()), key
    new_key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_authority(new_key, beside)
    _write(key_file, _key_bytes(new_key), mode=0o600)
    _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate, new_key


def _sign_authority(key: ec.EllipticCurvePrivateKey, beside: tuple[str, ...]) -> x509.Certificate:
    name = _name("Simulated Amazon, for tests on this machine only")
    inside = [_NAME, *(x509.IPAddress(ip_network(each)) for each in (*_NETWORKS, *beside))]
    public_key = key.public_key()
    return (
        _begin(name, name, public_key, FOR_YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=inside, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _sign_server(
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    validity: Validity,
    beside: tuple[str, ...],
) -> x509.Certificate:
    names = [_NAME, *(x509.IPAddress(ip_address(each)) for each in (*_ADDRESSES, *beside))]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _begin(_name("localhost"), authority.subject, public_key, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.since)
        .not_valid_after(validity.until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    """Return the uses of a key; Python's strict verification needs it. Source: RFC 5280 §4.2.1.3."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    with Folder.open(path.parent) as folder:
        folder.replace(path.name, content, mode)
