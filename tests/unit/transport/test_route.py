"""How requests would go, told without sending any; it is the route that they take."""

import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import WireResponse
from device_auth.wire.addresses import read_proxy
from device_auth.world.route import (
    BUNDLES,
    CERT_FILE,
    CERT_FOLDERS,
    CERTIFI,
    SYSTEM,
    Authorities,
    Trust,
    find_trust,
)
from device_auth.world.transport import route_to
from tests.certificates import Authority
from tests.scripted_server import ScriptedServer, answers
from tests.transports import SECURE_URL, open_transport, over_tls, post, tunnel

USUAL = ssl.get_default_verify_paths()


def test_without_a_setting_there_is_no_proxy() -> None:
    assert route_to(SECURE_URL, Authorities()).proxy is None


def test_the_route_is_the_one_that_a_request_takes(
    authority: Authority, through: Callable[[ScriptedServer], None]
) -> None:
    act = tunnel(over_tls(authority.server_context("amazon.test"), answers()))
    with ScriptedServer(act) as proxy, open_transport(ca_file=authority.ca_file) as transport:
        through(proxy)
        route = route_to(SECURE_URL, Authorities(authority.ca_file))

        assert str(route.proxy) == f"http://***@127.0.0.1:{proxy.port}"
        assert route.origin == "https_proxy"
        assert isinstance(transport.send(post()), WireResponse)

    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("variables", "url", "proxy", "origin"),
    [
        ({"https_proxy": "proxy.test:3128"}, SECURE_URL, "http://proxy.test:3128", "https_proxy"),
        ({"HTTPS_PROXY": "http://proxy.test"}, SECURE_URL, "http://proxy.test:80", "HTTPS_PROXY"),
        ({"http_proxy": "http://proxy.test"}, SECURE_URL, "None", ""),
        ({"ALL_PROXY": "http://proxy.test:1"}, SECURE_URL, "http://proxy.test:1", "ALL_PROXY"),
        ({"all_proxy": "http://proxy.test", "no_proxy": "amazon.test"}, SECURE_URL, "None", ""),
        ({"all_proxy": "http://proxy.test"}, "https://localhost/token", "None", ""),
    ],
)
def test_the_environment_names_the_proxy_as_requests_has_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str, origin: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    route = route_to(url, Authorities())

    assert (str(route.proxy), route.origin) == (proxy, origin)


def test_a_proxy_of_the_settings_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    monkeypatch.setenv("no_proxy", "*")
    ours = read_proxy("http://ours.test:3128")

    assert route_to(SECURE_URL, Authorities(), ours)[:2] == (ours, "proxy")
    assert route_to("https://127.0.0.1/token", Authorities(), ours).proxy is None


@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("http://", "names no host"),
        ("nonsense://127.0.0.1:1", "must begin with http://"),
        ("http://[::1", "is not a well-formed address"),
        ("socks5h://proxy.test:1080", "PySocks"),
    ],
)
def test_a_proxy_that_cannot_be_used_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)  # as where PySocks is not installed
    monkeypatch.setenv(name, proxy)
    problem = route_to(SECURE_URL, Authorities()).problem

    assert said in str(problem)
    assert name in str(problem)


# ---------------------------------------------------------------------------------------------------------
# Authorities


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_that_cannot_be_looked_at_is_taken_for_a_file(name: str) -> None:
    place = f"/{'x' * 300}"

    assert find_trust(None, {name: place}).file == place


def test_the_systems_authorities_are_trusted_or_where_it_has_none_those_of_certifi() -> None:
    has_store = Path(USUAL.openssl_cafile).exists() or any(Path(USUAL.openssl_capath).glob("*.0"))

    assert find_trust(None, {}).origin == (SYSTEM if has_store else CERTIFI)


@pytest.mark.parametrize("content", [None, ""])
def test_certifis_authorities_count_where_the_system_has_none(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "cert.pem"
    if content is not None:
        file.write_text(content)
    (tmp_path / "certs").mkdir()
    without = find_trust(None, {}, lambda: (str(file), str(tmp_path / "certs")))
    nowhere = find_trust(None, {}, lambda: (str(file), str(tmp_path / "nowhere")))

    assert without == nowhere
    assert without.origin == CERTIFI
    assert Path(without.file).stat().st_size > 0


def test_the_systems_file_and_folder_are_trusted_where_they_hold_any(
    tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "0123abcd.0").touch()
    file, folder = str(authority.ca_file), str(tmp_path)

    assert find_trust(None, {}, lambda: (file, "")) == Trust(SYSTEM, file, "")
    assert find_trust(None, {}, lambda: ("", folder)) == Trust(SYSTEM, "", folder)
    assert find_trust(None, {}, lambda: (file, folder)).place == f"{file}, {folder}"


def test_a_company_in_the_systems_store_is_trusted(authority: Authority, tmp_path: Path) -> None:
    """SSL_CERT_DIR is how OpenSSL is given another store of the same form as the system's."""
    (tmp_path / f"{_hash_of(authority.ca_file)}.0").symlink_to(authority.ca_file)
    with (
        ScriptedServer(over_tls(authority.server_context("127.0.0.1"), answers())) as server,
        open_transport(
            authorities=Authorities(environ={CERT_FOLDERS: f"{tmp_path}:{tmp_path}"})
        ) as transport,
    ):
        answer = transport.send(post(f"https://127.0.0.1:{server.port}/"))

    assert isinstance(answer, WireResponse)


def _hash_of(ca_file: Path) -> str:
    from subprocess import run

    words = ["openssl", "x509", "-hash", "-noout", "-in", str(ca_file)]
    return run(words, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("environ", "trust"),
    [
        ({BUNDLES[0]: "/a.pem", BUNDLES[1]: "/b.pem"}, Trust(BUNDLES[0], file="/a.pem")),
        ({BUNDLES[1]: "/b.pem", CERT_FILE: "/c.pem"}, Trust(BUNDLES[1], file="/b.pem")),
        ({BUNDLES[0]: "", CERT_FILE: "/c.pem"}, Trust(CERT_FILE, file="/c.pem")),
        ({CERT_FILE: "/c.pem", CERT_FOLDERS: "/d:/e"}, Trust(CERT_FILE, "/c.pem", "/d:/e")),
        ({CERT_FOLDERS: "/d:/e"}, Trust(CERT_FOLDERS, folder="/d:/e")),
        ({BUNDLES[0]: "/"}, Trust(BUNDLES[0], folder="/")),
    ],
)
def test_the_environment_names_the_authorities_unless_a_file_is_given(
    environ: dict[str, str], trust: Trust
) -> None:
    assert find_trust(None, environ) == trust
    assert find_trust(Path("/ours.pem"), environ) == Trust("ca_file", file="/ours.pem")


def test_a_certificate_must_be_of_the_authority_that_is_named(authority: Authority) -> None:
    context = Authorities(authority.ca_file).make_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no such file"), ("no certificate", "holds no certificates")]
)
def test_authorities_that_cannot_be_read_are_a_wrong_setting(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "ours.pem"
    if content:
        path.write_text(content)

    with pytest.raises(ConfigError, match=said):
        Authorities(path).context()
