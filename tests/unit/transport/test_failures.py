"""What is told when no answer comes."""

import errno
import logging
from typing import Any

import pytest
import requests
import requests_mock
from urllib3.util.ssl_match_hostname import CertificateError

from device_auth.core.models import Seconds, Unreachable, WireResponse
from device_auth.core.states import Trouble
from device_auth.world.transport import HttpTransport
from tests.scripted_server import Act, Peer, ScriptedServer, answers, in_turn, raw
from tests.transports import (
    CANARY,
    SECURE_URL,
    deaf_server,
    open_transport,
    post,
)


@pytest.mark.parametrize(
    "octets",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"\x16\x03\x01\x02\x00",
    ],
    ids=["another protocol", "too many headers", "too long a header", "two lengths", "TLS"],
)
def test_what_is_not_http_is_told_as_such(transport: HttpTransport, octets: bytes) -> None:
    with ScriptedServer(raw(octets)) as server:
        answer = transport.send(post(server.url))

    assert answer == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the answer is not HTTP")


def test_a_refused_connection_is_told_as_such(transport: HttpTransport) -> None:
    with ScriptedServer() as server:
        pass

    assert transport.send(post(server.url)) == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the connection was refused"
    )


@pytest.mark.parametrize(
    "act",
    [Peer.reset, in_turn(Peer.read_request, Peer.reset), Peer.read_request],
    ids=["reset at once", "reset after the request", "closed without an answer"],
)
def test_a_connection_that_ends_before_the_answer_is_told_as_such(transport: HttpTransport, act: Act) -> None:
    with ScriptedServer(act) as server:
        answer = transport.send(post(server.url))

    assert answer == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the connection broke off")
    assert server.connections == 1


def test_an_answer_that_does_not_come_is_a_time_out() -> None:
    with ScriptedServer(Peer.hang) as server, open_transport(read_timeout=Seconds(0.1)) as transport:
        answer = transport.send(post(server.url))

    assert answer == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the answer did not come in time", timed_out=True
    )


def test_a_connection_that_does_not_come_about_is_no_network() -> None:
    with deaf_server() as server, open_transport(connect_timeout=Seconds(0.1)) as transport:
        answer = transport.send(post(server.url))

    assert answer == Unreachable(Trouble.NO_NETWORK, "no connection was made in time", timed_out=True)


def test_no_way_to_the_address_is_no_network(transport: HttpTransport) -> None:
    # Linux does not connect to a multicast address: ENETUNREACH, and nothing leaves the machine.
    assert transport.send(post("https://224.0.0.1/")) == Unreachable(
        Trouble.NO_NETWORK, "there is no route to the server"
    )


def wrong_name() -> requests.exceptions.SSLError:
    """What urllib3 1.26 finds after the handshake, where 2.x finds it in the handshake."""
    error = requests.exceptions.SSLError()
    error.__cause__ = CertificateError()
    return error


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (
            wrong_name(),
            Unreachable(
                Trouble.PROVIDER_UNAVAILABLE, "the certificate cannot be trusted (OpenSSL's code 62)"
            ),
        ),
        (requests.ConnectTimeout, Unreachable(Trouble.NO_NETWORK, "no connection was made in time", True)),
        (
            requests.ReadTimeout,
            Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the answer did not come in time", True),
        ),
        (OSError(errno.ENETDOWN, ""), Unreachable(Trouble.NO_NETWORK, "there is no route to the server")),
        (
            requests.exceptions.SSLError,
            Unreachable(Trouble.PROVIDER_UNAVAILABLE, "no secure connection could be made"),
        ),
        (
            requests.exceptions.ProxyError,
            Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the proxy does not pass the request on"),
        ),
    ],
)
def test_every_kind_of_failure_has_its_words(
    transport: HttpTransport, amazon: requests_mock.Mocker, raised: Any, expected: Unreachable
) -> None:
    amazon.post(SECURE_URL, exc=raised)

    assert transport.send(post()) == expected


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/" + CANARY, "https://224.0.0.1/" + CANARY])
def test_what_went_wrong_shows_nothing_of_the_request(transport: HttpTransport, url: str) -> None:
    assert CANARY not in repr(transport.send(post(url)))


def test_nothing_of_an_answer_that_cannot_be_parsed_is_logged(
    transport: HttpTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = f"HTTP/1.1 200 OK\r\nX: y\r\nno colon\r\n{CANARY}: {CANARY}\r\n\r\n{CANARY}".encode()
    with ScriptedServer(raw(broken)) as server:
        transport.send(post(server.url))

    assert CANARY not in caplog.text


@pytest.mark.usefixtures("names")
def test_a_name_that_does_not_resolve_is_no_network(transport: HttpTransport) -> None:
    assert transport.send(post()) == Unreachable(
        Trouble.NO_NETWORK, "the name of the server or proxy could not be resolved"
    )


def test_a_name_without_an_address_is_unreachable(
    transport: HttpTransport, names: dict[str, list[tuple[str, int]]]
) -> None:
    names["amazon.test"] = []

    assert isinstance(transport.send(post()), Unreachable)


def test_the_next_address_is_tried_when_one_refuses(
    transport: HttpTransport, names: dict[str, list[tuple[str, int]]]
) -> None:
    with ScriptedServer() as refusing:
        pass
    with ScriptedServer(answers()) as server:
        names["localhost"] = [("224.0.0.1", 0), ("127.0.0.1", refusing.port), ("127.0.0.1", server.port)]

        assert isinstance(transport.send(post("http://localhost/token")), WireResponse)


@pytest.mark.parametrize("turned", [False, True])
def test_an_address_that_was_really_tried_tells_more_than_one_without_a_way(
    transport: HttpTransport, names: dict[str, list[tuple[str, int]]], turned: bool
) -> None:
    with ScriptedServer() as refusing:
        pass
    addresses = [("224.0.0.1", 0), ("127.0.0.1", refusing.port)]
    names["localhost"] = addresses[::-1] if turned else addresses

    assert transport.send(post("http://localhost/token")) == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the connection was refused"
    )
