"""How requests would go, told without sending any; it is the route that they take."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from device_auth.core.models import WireResponse
from device_auth.world.transport import route_to, trusting
from tests.certificates import Authority
from tests.scripted_server import ScriptedServer, answers
from tests.transports import SECURE_URL, open_transport, over_tls, post, tunnel


def test_without_a_setting_there_is_no_proxy_and_the_usual_authorities_are_trusted() -> None:
    route = route_to(SECURE_URL)

    assert route.proxy == ""
    assert trusting(route.authorities).cert_store_stats()["x509_ca"] > 50


def test_the_road_is_the_one_that_a_request_takes(
    authority: Authority, through: Callable[[ScriptedServer], None]
) -> None:
    act = tunnel(over_tls(authority.server_context("amazon.test"), answers()))
    with ScriptedServer(act) as proxy, open_transport(ca_file=authority.ca_file) as transport:
        through(proxy)
        route = route_to(SECURE_URL, authority.ca_file)

        assert route == (f"http://user:word@127.0.0.1:{proxy.port}", str(authority.ca_file))
        assert isinstance(transport.send(post()), WireResponse)

    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({"https_proxy": "proxy.test:3128"}, SECURE_URL, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "http://proxy.test"}, SECURE_URL, "http://proxy.test"),
        ({"http_proxy": "http://proxy.test"}, SECURE_URL, ""),
        ({"all_proxy": "socks5h://proxy.test:1080"}, SECURE_URL, "socks5h://proxy.test:1080"),
        ({"all_proxy": "http://proxy.test", "no_proxy": "amazon.test"}, SECURE_URL, ""),
        ({"all_proxy": "http://proxy.test"}, "https://localhost/token", ""),
    ],
)
def test_the_environment_names_the_proxy_as_requests_has_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert route_to(url).proxy == proxy


def test_the_environment_names_the_authorities_unless_a_file_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))

    assert route_to(SECURE_URL).authorities == str(tmp_path)
    assert route_to(SECURE_URL, tmp_path / "ours.pem").authorities == str(tmp_path / "ours.pem")


def test_trust_is_in_names_too(authority: Authority) -> None:
    context = trusting(str(authority.ca_file))

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] == 1


def test_a_folder_of_authorities_is_taken(tmp_path: Path) -> None:
    assert trusting(str(tmp_path)).cert_store_stats()["x509_ca"] == 0  # they are read when one is looked for


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("no certificate", "certificate")])
def test_authorities_that_cannot_be_read_are_an_error(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "ours.pem"
    if content:
        path.write_text(content)

    with pytest.raises(OSError, match=said):
        trusting(str(path))
