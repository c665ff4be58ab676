import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from device_auth.core.errors import StoreError
from device_auth.core.models import UnixTime
from device_auth.world.certificate import CERTIFICATE, server_context
from tests.certificates import NOW

TODAY = UnixTime(NOW.timestamp())
DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    server_context(tmp_path, TODAY)
    return tmp_path


def certificate_in(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())


def test_it_is_a_leaf_that_speaks_for_this_machine_alone(folder: Path) -> None:
    extensions = certificate_in(folder).extensions

    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "127.0.0.1", "::1"]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]


def test_its_owner_alone_may_read_it(folder: Path) -> None:
    assert stat.S_IMODE((folder / CERTIFICATE).stat().st_mode) == 0o600


def test_it_stays_the_same_until_it_is_about_to_end(folder: Path) -> None:
    first = certificate_in(folder)

    server_context(folder, UnixTime(TODAY + 300 * DAY))
    later = certificate_in(folder)
    server_context(folder, UnixTime(TODAY + 340 * DAY))

    assert later == first
    assert certificate_in(folder) != first


def test_one_of_the_future_is_made_anew(folder: Path) -> None:
    first = certificate_in(folder)

    server_context(folder, UnixTime(TODAY - 30 * DAY))

    assert certificate_in(folder) != first


@pytest.mark.parametrize("keeps", [0, 400, 800], ids=["nothing", "half a certificate", "no key"])
def test_one_that_is_damaged_is_made_anew(folder: Path, keeps: int) -> None:
    first = certificate_in(folder)
    (folder / CERTIFICATE).write_bytes((folder / CERTIFICATE).read_bytes()[:keeps])

    server_context(folder, TODAY)

    assert certificate_in(folder) != first


def test_what_cannot_be_written_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / f"{CERTIFICATE}.new").mkdir()

    with pytest.raises(StoreError, match=CERTIFICATE):
        server_context(tmp_path, TODAY)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def test_it_serves_tls_that_is_up_to_date(folder: Path, ends: tuple[socket.socket, socket.socket]) -> None:
    context = server_context(folder, TODAY)
    server = Thread(target=lambda: context.wrap_socket(ends[0], server_side=True).close())
    server.start()
    client = ssl.create_default_context(cafile=folder / CERTIFICATE)

    with client.wrap_socket(ends[1], server_hostname="localhost") as secured:
        version = secured.version()
    server.join()

    assert version == "TLSv1.3"
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
