"""What goes out, and what comes back of an answer and its body."""

import gzip
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests_mock
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth import __version__
from device_auth.core.models import Monotonic, Seconds, UnixTime, Unreachable, WireRequest, WireResponse
from device_auth.core.states import Trouble
from device_auth.world.transport import LONGEST_BODY, HttpTransport
from tests.scripted_server import Act, Peer, ScriptedServer, answers, in_turn, raw
from tests.transports import FORM, SECURE_URL, open_transport, post
from tests.waiting import LONG

ROOT = Path(__file__).parents[3]


def test_importing_the_transport_does_not_import_requests() -> None:
    program = """
import sys
import device_auth.world.transport
assert not {"requests", "urllib3", "http.client"} & set(sys.modules)
"""

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_request_goes_out_as_it_was_written(transport: HttpTransport) -> None:
    with ScriptedServer(answers()) as server:
        transport.send(post(server.url))

    head, body = server.requests[0].split(b"\r\n\r\n")
    assert head.decode().split("\r\n") == [
        "POST /token HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"User-Agent: device-auth/{__version__}",
        "Accept-Encoding: identity",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(FORM)}",
    ]
    assert body == FORM


def test_the_answer_comes_back_as_it_was_given(
    transport: HttpTransport, amazon: requests_mock.Mocker
) -> None:
    amazon.post(SECURE_URL, status_code=400, headers={"X-Request-ID": "7"}, content=b'{"error": "x"}')

    assert transport.send(post()) == WireResponse(
        url=SECURE_URL,
        status=400,
        headers={"x-request-id": "7"},
        body=b'{"error": "x"}',
        is_whole=True,
        sent_at=Monotonic(5),
        received_at=UnixTime(1_800_000_000),
    )


def test_a_header_that_comes_twice_is_joined(transport: HttpTransport) -> None:
    with ScriptedServer(answers([b"{}"], "Retry-After: 3", "RETRY-AFTER: 9")) as server:
        response = transport.send(post(server.url))

    assert isinstance(response, WireResponse)
    assert response.headers == {"content-length": "2", "retry-after": "3, 9"}


def test_a_question_without_a_body_has_none(transport: HttpTransport) -> None:
    with ScriptedServer(answers()) as server:
        transport.send(WireRequest("GET", server.url, {}))

    assert server.requests[0].startswith(b"GET /token HTTP/1.1\r\n")
    assert b"Content-Length" not in server.requests[0]


@pytest.mark.parametrize(
    "url", ["http://amazon.com/", "http://192.0.2.1/", "http://localhost.evil.test/", "ftp://x/"]
)
def test_plain_http_to_another_machine_is_refused(transport: HttpTransport, url: str) -> None:
    with pytest.raises(ValueError, match="https only"):
        transport.send(post(url))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_plain_http_within_this_machine_is_sent(
    transport: HttpTransport, amazon: requests_mock.Mocker, host: str
) -> None:
    amazon.post(f"http://{host}:8080/token", text="{}")

    assert isinstance(transport.send(post(f"http://{host}:8080/token")), WireResponse)


def test_an_address_without_a_host_is_told_as_such(transport: HttpTransport) -> None:
    answer = transport.send(post("https:///token"))

    assert isinstance(answer, Unreachable)
    assert "address" in answer.what


def test_a_body_of_just_the_greatest_length_is_whole(
    transport: HttpTransport, amazon: requests_mock.Mocker
) -> None:
    amazon.post(SECURE_URL, content=b"x" * LONGEST_BODY)

    response = transport.send(post())

    assert isinstance(response, WireResponse)
    assert (len(response.body), response.is_whole) == (LONGEST_BODY, True)


def test_a_longer_body_is_cut_and_not_whole(transport: HttpTransport, amazon: requests_mock.Mocker) -> None:
    amazon.post(SECURE_URL, content=b"x" * (LONGEST_BODY + 1))

    response = transport.send(post())

    assert isinstance(response, WireResponse)
    assert (len(response.body), response.is_whole) == (LONGEST_BODY, False)


def stream_for_ever(head: bytes, piece: bytes) -> Act:
    def act(peer: Peer) -> None:
        peer.read_request()
        peer.write(head)
        try:
            while True:
                peer.write(piece)
        finally:
            peer.server.left.set()

    return act


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 8192),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", b"x" * 8192),
        # Valid deflate data that unpacks to nothing, for ever: stored blocks of no length.
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x78\x9c", b"\0\0\0\xff\xff" * 1000),
    ],
    ids=["plain", "chunked", "redirect", "packed"],
)
def test_a_body_without_end_is_left_and_its_connection_closed(
    transport: HttpTransport, head: bytes, piece: bytes
) -> None:
    with ScriptedServer(stream_for_ever(head, piece)) as server:
        response = transport.send(post(server.url))

        assert server.left.wait(LONG)

    assert isinstance(response, WireResponse)
    assert not response.is_whole
    assert len(response.body) <= LONGEST_BODY


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello", b""),
    ],
    ids=["too short", "cut chunk", "no chunk", "negative chunk", "endless chunk"],
)
def test_a_body_that_breaks_off_is_not_whole(transport: HttpTransport, octets: bytes, body: bytes) -> None:
    with ScriptedServer(raw(octets)) as server:
        response = transport.send(post(server.url))

    assert isinstance(response, WireResponse)
    assert (response.body, response.is_whole) == (body, False)


def test_a_connection_reset_in_the_body_leaves_what_came(transport: HttpTransport) -> None:
    def act(peer: Peer) -> None:
        peer.read_request()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        peer.reset()

    with ScriptedServer(act) as server:
        response = transport.send(post(server.url))

    assert isinstance(response, WireResponse | Unreachable)
    assert not getattr(response, "is_whole", False)


def test_a_body_that_stops_coming_is_a_time_out() -> None:
    stall = in_turn(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"), Peer.hang)
    with ScriptedServer(stall) as server, open_transport(read_timeout=Seconds(0.1)) as transport:
        answer = transport.send(post(server.url))

    assert answer == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the answer did not come in time", timed_out=True
    )


@pytest.mark.parametrize(
    ("packing", "pack"), [("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_packed_body_is_unpacked(
    transport: HttpTransport, amazon: requests_mock.Mocker, packing: str, pack: Callable[[bytes], bytes]
) -> None:
    amazon.post(SECURE_URL, content=pack(b'{"a": 1}'), headers={"Content-Encoding": packing})

    response = transport.send(post())

    assert isinstance(response, WireResponse)
    assert (response.body, response.is_whole) == (b'{"a": 1}', True)


@pytest.mark.parametrize(
    ("packing", "content"),
    [
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0)[:-3]),
        ("gzip", gzip.compress(b'{"a": 1}', mtime=0) + b"more"),
        ("gzip", b"not packed at all"),
        ("br", b"x"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_not_whole(
    transport: HttpTransport, amazon: requests_mock.Mocker, packing: str, content: bytes
) -> None:
    amazon.post(SECURE_URL, content=content, headers={"Content-Encoding": packing})

    response = transport.send(post())

    assert isinstance(response, WireResponse)
    assert not response.is_whole


def test_a_packed_bomb_is_not_unpacked_beyond_the_greatest_length(
    transport: HttpTransport, amazon: requests_mock.Mocker
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < LONGEST_BODY
    amazon.post(SECURE_URL, content=bomb, headers={"Content-Encoding": "gzip"})
    transport.send(post())  # all is imported now

    def peak() -> int:
        tracemalloc.start()
        try:
            response = transport.send(post())
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert isinstance(response, WireResponse)
        assert (len(response.body), response.is_whole) == (LONGEST_BODY, False)
        return most

    # a thread of an earlier test may take some now and then, a bomb would each time
    assert any(peak() < 2_000_000 for _ in range(9))


@pytest.fixture(scope="module")
def kept() -> Iterator[HttpTransport]:
    """A transport that one request after another is sent by: with the first it reads all authorities."""
    with open_transport() as transport:
        yield transport


@settings(max_examples=60)
@given(octets=st.binary(max_size=200), packing=st.sampled_from(["identity", "gzip", "deflate", "", "br"]))
def test_any_octets_in_a_body_give_an_answer(kept: HttpTransport, octets: bytes, packing: str) -> None:
    with requests_mock.Mocker() as amazon:
        amazon.post(SECURE_URL, content=octets, headers={"Content-Encoding": packing})

        assert isinstance(kept.send(post()), WireResponse)
