import http.client
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from device_auth.core.errors import ConfigError
from device_auth.simulator import authority
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import Running, serve
from tests.simulated_speaker import Speaker
from tests.waiting import LONG


def strict(ca_file: Path) -> ssl.SSLContext:
    """Verify as strictly as Python 3.13 does by default."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def shake_hands(running: Running, ca_file: Path, name: str = "localhost") -> dict[str, object]:
    """Connect, and give the certificate that was shown."""
    address = ("127.0.0.1", int(running.origin.rpartition(":")[2]))
    with (
        socket.create_connection(address, timeout=LONG) as plain,
        strict(ca_file).wrap_socket(plain, server_hostname=name) as connection,
    ):
        assert connection.version() in {"TLSv1.2", "TLSv1.3"}
        return dict(connection.getpeercert() or {})


def test_a_speaker_that_trusts_the_authority_is_linked(amazon: Amazon, tmp_path: Path) -> None:
    with serve(amazon, tls=tmp_path) as running:
        assert running.ca_file == tmp_path / "ca.pem"
        assert running.origin.startswith("https://127.0.0.1:")
        speaker = Speaker(running)
        pair = speaker.pair()
        assert pair["verification_uri"] == f"{running.origin}/us/code"
        page = speaker.session.get(pair["verification_uri"], timeout=LONG, verify=speaker.verify)
        assert "Secure" in page.headers["Set-Cookie"]
        speaker.control("approve", user_code=pair["user_code"])
        assert speaker.poll(pair).status_code == 200
        speaker.close()
    assert amazon.referee.complaints() == ()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_certificate_holds_for_every_name_of_this_machine(
    amazon: Amazon, tmp_path: Path, name: str
) -> None:
    with serve(amazon, tls=tmp_path) as running:
        shake_hands(running, tmp_path / "ca.pem", name)


def test_the_certificate_holds_for_no_other_name(amazon: Amazon, tmp_path: Path) -> None:
    with (
        serve(amazon, tls=tmp_path) as running,
        pytest.raises(ssl.SSLCertVerificationError, match="mismatch"),
    ):
        shake_hands(running, tmp_path / "ca.pem", "api.amazon.com")


def test_a_speaker_that_does_not_trust_the_authority_turns_away(amazon: Amazon, tmp_path: Path) -> None:
    with serve(amazon, tls=tmp_path) as running:
        speaker = Speaker(running)
        speaker.verify = True
        with pytest.raises(requests.exceptions.SSLError, match="unable to get local issuer"):
            speaker.pair()
        speaker.close()


@pytest.mark.parametrize(
    ("validity", "reason"),
    [
        (authority.EXPIRED, "certificate has expired"),
        (authority.NOT_YET_VALID, "certificate is not yet valid"),
    ],
)
def test_a_bad_certificate_is_turned_away(
    amazon: Amazon, tmp_path: Path, validity: authority.Validity, reason: str
) -> None:
    bad = serve(amazon, tls=tmp_path, validity=validity)

    with bad as running, pytest.raises(ssl.SSLCertVerificationError, match=reason):
        shake_hands(running, tmp_path / "ca.pem")


def test_a_unit_without_a_clock_accepts_the_certificates(amazon: Amazon, tmp_path: Path) -> None:
    with serve(amazon, tls=tmp_path) as running:
        shown = shake_hands(running, tmp_path / "ca.pem")
    (ours,) = [each for each in strict(tmp_path / "ca.pem").get_ca_certs() if "Simulated Amazon" in str(each)]

    for certificate in (shown, ours):
        assert certificate["notBefore"] == "Jan  1 00:00:00 2000 GMT"
        assert certificate["notAfter"] == "Dec 31 23:59:59 2049 GMT"


def test_the_authority_stays_and_its_keys_are_private(amazon: Amazon, tmp_path: Path) -> None:
    serve(amazon, tls=tmp_path).stop()
    ca_file = (tmp_path / "ca.pem").read_bytes()

    with serve(amazon, tls=tmp_path) as running:
        shake_hands(running, tmp_path / "ca.pem")

    assert (tmp_path / "ca.pem").read_bytes() == ca_file
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"ca.pem": 0o644, "ca-key.pem": 0o600, "server.pem": 0o600}


def forge(folder: Path, name: str) -> Path:
    """Sign a certificate for another name with the authority's own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority_key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()).subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(authority.FOR_YEARS.since)
        .not_valid_after(authority.FOR_YEARS.until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    forged = folder / "forged.pem"
    forged.write_bytes(plain + certificate.public_bytes(pem))
    return forged


@pytest.mark.parametrize(
    ("name", "reason"), [("localhost", ""), ("api.amazon.com", "permitted subtree violation")]
)
def test_the_authority_vouches_for_this_machine_alone(
    amazon: Amazon, tmp_path: Path, name: str, reason: str
) -> None:
    serve(amazon, tls=tmp_path).stop()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(forge(tmp_path, name))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client_side = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)

    said = ""
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError as error:
            said = error.verify_message

    assert said == reason


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_folder_with_something_else_in_it_is_told(amazon: Amazon, tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content, encoding="utf-8")
    (tmp_path / "ca-key.pem").write_text(content, encoding="utf-8")

    with pytest.raises(ConfigError, match="cannot make certificates"):
        serve(amazon, tls=tmp_path)


def test_a_key_of_another_kind_is_not_ours(amazon: Amazon, tmp_path: Path) -> None:
    serve(amazon, tls=tmp_path).stop()
    key = rsa.generate_private_key(65537, 2048)
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ca-key.pem").write_bytes(plain)

    with pytest.raises(ConfigError, match="cannot make certificates"):
        serve(amazon, tls=tmp_path)


def test_a_client_that_never_shakes_hands_holds_nobody_up(amazon: Amazon, tmp_path: Path) -> None:
    with serve(amazon, tls=tmp_path) as running:
        address = ("127.0.0.1", int(running.origin.rpartition(":")[2]))
        with socket.create_connection(address, timeout=LONG):
            shake_hands(running, tmp_path / "ca.pem")


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(lost=True), Fault(hang=True)])
def test_faults_reach_through_tls(amazon: Amazon, tmp_path: Path, fault: Fault) -> None:
    amazon.script(Endpoint.CODE_PAIR, [fault])
    with serve(amazon, tls=tmp_path) as running:
        speaker = Speaker(running)
        with pytest.raises(requests.exceptions.RequestException):
            speaker.send(speaker.pair_url, speaker.pair_form(), patience=0.5)
        assert speaker.ask().status_code == 200
        speaker.close()


def test_an_answer_is_cut_through_tls(amazon: Amazon, tmp_path: Path) -> None:
    amazon.script(Endpoint.METADATA, [Fault(truncate=True)])
    with serve(amazon, tls=tmp_path) as running:
        port = int(running.origin.rpartition(":")[2])
        context = strict(tmp_path / "ca.pem")
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=LONG)
        connection.request("GET", "/.well-known/openid-configuration", headers={"Accept": "application/json"})
        with connection.getresponse() as answer, pytest.raises(http.client.IncompleteRead):
            answer.read()
        connection.close()


def test_servers_that_start_at_once_share_one_authority(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def make(_number: int) -> Path:
        start.wait(LONG)
        return authority.server_context(tmp_path / "shared")[1]

    with ThreadPoolExecutor(8) as pool:
        files = set(pool.map(make, range(8)))

    assert files == {tmp_path / "shared" / "ca.pem"}
    assert authority.server_context(tmp_path / "shared")[1].exists()
