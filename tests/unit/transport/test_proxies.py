"""Proxies of the environment."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_auth.core.models import Unreachable, WireResponse
from device_auth.core.states import Trouble
from device_auth.wire.addresses import read_proxy
from device_auth.world.transport import HttpTransport
from tests.certificates import Authority
from tests.scripted_server import Act, ScriptedServer, answers, in_turn, raw
from tests.transports import open_transport, over_tls, post, secure_server, tunnel


def test_a_proxy_of_the_environment_is_used(
    authority: Authority, through: Callable[[ScriptedServer], None]
) -> None:
    act = tunnel(over_tls(authority.server_context("amazon.test"), answers([b"1", b"2"])))
    with ScriptedServer(act) as proxy, open_transport(ca_file=authority.ca_file) as transport:
        through(proxy)
        response = transport.send(post())

    assert isinstance(response, WireResponse)
    assert proxy.requests[0].startswith(b"CONNECT amazon.test:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.requests[0]
    assert proxy.requests[1].startswith(b"POST /token HTTP/1.1")
    assert b"Proxy" not in proxy.requests[1]


def test_a_host_that_no_proxy_names_is_spoken_with_directly(
    authority: Authority,
    through: Callable[[ScriptedServer], None],
    names: dict[str, list[tuple[str, int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = authority.server_context("amazon.test")
    with (
        ScriptedServer(answers()) as proxy,
        secure_server(context, answers()) as server,
        open_transport(ca_file=authority.ca_file) as transport,
    ):
        through(proxy)
        monkeypatch.setenv("no_proxy", "amazon.test")
        names["amazon.test"] = [("127.0.0.1", server.port)]

        assert isinstance(transport.send(post()), WireResponse)

    assert proxy.connections == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_never_goes_through_a_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    plain, context = answers(), authority.server_context("127.0.0.1")
    with (
        ScriptedServer(answers()) as proxy,
        ScriptedServer(plain if scheme == "http" else over_tls(context, plain)) as server,
        open_transport(ca_file=authority.ca_file) as transport,
    ):
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")

        assert isinstance(transport.send(post(f"{scheme}://127.0.0.1:{server.port}/token")), WireResponse)

    assert proxy.connections == 0


def test_a_proxy_that_wants_a_password_is_for_a_person_to_mend(
    transport: HttpTransport, through: Callable[[ScriptedServer], None]
) -> None:
    with ScriptedServer(raw(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")) as proxy:
        through(proxy)
        answer = transport.send(post())

    assert isinstance(answer, Unreachable)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert "setting proxy" in answer.hint


def test_a_proxy_of_the_settings_is_used(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    act = tunnel(over_tls(authority.server_context("amazon.test"), answers()))
    with ScriptedServer(act) as proxy:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        ours = read_proxy(f"http://user:word@127.0.0.1:{proxy.port}")
        with open_transport(ca_file=authority.ca_file, proxy=ours) as transport:
            assert isinstance(transport.send(post()), WireResponse)

    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.requests[0]


def test_a_proxy_that_speaks_tls_is_trusted_by_the_same_authorities(authority: Authority) -> None:
    act = over_tls(authority.server_context("127.0.0.1"), answers())
    with ScriptedServer(act) as proxy:
        ours = read_proxy(f"https://127.0.0.1:{proxy.port}")
        with open_transport(ca_file=authority.ca_file, proxy=ours) as transport:
            transport.send(post())

    assert proxy.requests[0].startswith(b"CONNECT amazon.test:443")


def socks(act: Act) -> Act:
    """Be a SOCKS proxy and the server beyond. Source: RFC 1928."""
    return in_turn(
        lambda peer: peer.sock.recv(3),
        lambda peer: peer.write(b"\x05\x00"),
        lambda peer: peer.sock.recv(262),
        lambda peer: peer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
        act,
    )


def test_a_proxy_that_speaks_socks_is_gone_through_with_the_same_authorities(
    authority: Authority, tmp_path: Path
) -> None:
    pytest.importorskip("socks")
    stranger = Authority(tmp_path, "A stranger")
    known, unknown = (
        socks(over_tls(issuer.server_context("amazon.test"), answers())) for issuer in (authority, stranger)
    )
    with ScriptedServer(known, unknown) as proxy:
        ours = read_proxy(f"socks5h://127.0.0.1:{proxy.port}")
        with open_transport(ca_file=authority.ca_file, proxy=ours) as transport:
            assert isinstance(transport.send(post()), WireResponse)
            transport.close()
            answer = transport.send(post())

    assert isinstance(answer, Unreachable)
    assert answer.what.startswith("the certificate cannot be trusted")


def test_a_proxy_that_says_no_is_told_as_such(
    transport: HttpTransport, through: Callable[[ScriptedServer], None]
) -> None:
    with ScriptedServer(raw(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        through(proxy)
        answer = transport.send(post())

    assert answer == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the proxy does not pass the request on")


def test_a_proxy_that_is_not_there_is_told_as_such(
    transport: HttpTransport, through: Callable[[ScriptedServer], None]
) -> None:
    with ScriptedServer() as proxy:
        pass
    through(proxy)

    assert transport.send(post()) == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the proxy does not pass the request on"
    )


@pytest.mark.parametrize(
    "proxy",
    [
        "http://",
        "socks5h://127.0.0.1:1",
        "http://[::1",
        "nonsense://127.0.0.1:1",
        f"http://{'a' * 70}:1",
        "http://a..b",
    ],
)
def test_a_proxy_that_cannot_be_used_is_for_a_person_to_mend(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)  # as where PySocks is not installed
    monkeypatch.setenv("https_proxy", proxy)
    answer = transport.send(post())

    assert isinstance(answer, Unreachable)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert answer.hint
