"""Given up from another thread. All time-outs are far away, so nothing else ends these requests."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests_mock

from device_auth.core.models import WireResponse
from device_auth.world.dialing import CancelHandle
from device_auth.world.transport import CANCELLED, HttpTransport
from tests.certificates import Authority
from tests.scripted_server import Act, Peer, ScriptedServer, answers, in_turn, raw
from tests.transports import (
    SECURE_URL,
    Sending,
    SimulatedClock,
    deaf_server,
    open_transport,
    over_tls,
    post,
    secure_server,
    tunnel,
)
from tests.waiting import LONG, wait_for


def answered_once_then_silent(peer: Peer) -> None:
    peer.answer()
    peer.read_request()
    peer.hang()


PLACES: dict[str, Act] = {
    "before the headers": in_turn(Peer.read_request, Peer.hang),
    "in dripping headers": in_turn(raw(b"HTTP/1.1 200 OK\r\nX: "), Peer.drip),
    "in endless interim answers": in_turn(raw(b""), lambda peer: peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "in a body that hangs": in_turn(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nx"), Peer.hang),
    "in a dripping body": in_turn(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"), Peer.drip),
    "in a dripping chunk": in_turn(
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"), Peer.drip
    ),
}


def ends_when_abandoned(transport: HttpTransport, server: ScriptedServer, url: str) -> None:
    sending = Sending(transport, post(url))
    assert server.reached.wait(LONG)
    transport.abandon()

    assert sending.answer() == CANCELLED
    assert server.left.wait(LONG)


@pytest.mark.parametrize("act", PLACES.values(), ids=PLACES)
def test_an_abandoned_request_ends(transport: HttpTransport, act: Act) -> None:
    with ScriptedServer(act) as server:
        ends_when_abandoned(transport, server, server.url)


@pytest.mark.parametrize("act", PLACES.values(), ids=PLACES)
def test_an_abandoned_request_over_tls_ends(authority: Authority, act: Act) -> None:
    context = authority.server_context("127.0.0.1")
    with secure_server(context, act) as server, open_transport(ca_file=authority.ca_file) as transport:
        ends_when_abandoned(transport, server, server.url)


def test_an_abandoned_request_ends_in_the_handshake(transport: HttpTransport) -> None:
    with ScriptedServer(Peer.hang) as server:
        ends_when_abandoned(transport, server, f"https://127.0.0.1:{server.port}/token")


def test_an_abandoned_request_ends_in_a_connection_that_does_not_come_about(
    transport: HttpTransport, clock: SimulatedClock
) -> None:
    with deaf_server() as server:
        sending = Sending(transport, post(server.url))
        assert clock.asked.wait(LONG)
        until(lambda: is_connecting_to(server.port))
        transport.abandon()

        assert sending.answer() == CANCELLED


def is_connecting_to(port: int) -> bool:
    """Look for the state SYN_SENT. Source: proc_net_tcp in the kernel's documentation."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "02" for row in rows)


def until(claim: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if claim():
            return
    pytest.fail("it did not come about")


@pytest.mark.parametrize(
    "act",
    [Peer.hang, in_turn(Peer.read_request, Peer.hang), tunnel(Peer.hang)],
    ids=["before CONNECT is read", "before CONNECT is answered", "in the handshake beyond"],
)
def test_an_abandoned_request_ends_in_the_proxy(
    transport: HttpTransport, through: Callable[[ScriptedServer], None], act: Act
) -> None:
    with ScriptedServer(act) as proxy:
        through(proxy)
        ends_when_abandoned(transport, proxy, SECURE_URL)


def test_an_abandoned_request_ends_beyond_the_proxy(
    authority: Authority, through: Callable[[ScriptedServer], None]
) -> None:
    act = tunnel(over_tls(authority.server_context("amazon.test"), PLACES["in dripping headers"]))
    with ScriptedServer(act) as proxy, open_transport(ca_file=authority.ca_file) as transport:
        through(proxy)
        ends_when_abandoned(transport, proxy, SECURE_URL)


def test_an_abandoned_request_ends_on_a_kept_connection(transport: HttpTransport) -> None:
    with ScriptedServer(answered_once_then_silent) as server:
        transport.send(post(server.url))
        ends_when_abandoned(transport, server, server.url)

    assert server.connections == 1


def test_the_next_request_goes_out_while_the_abandoned_one_still_waits_for_the_resolver(
    transport: HttpTransport, names: dict[str, list[tuple[str, int]]]
) -> None:
    asked, resolved = threading.Event(), threading.Event()

    class SlowTable(list[tuple[str, int]]):
        def __iter__(self) -> Iterator[tuple[str, int]]:
            asked.set()
            assert resolved.wait(LONG)
            return super().__iter__()

    with ScriptedServer(Peer.hang) as slow, ScriptedServer(answers()) as server:
        names["localhost"] = SlowTable([("127.0.0.1", slow.port)])
        abandoned = Sending(transport, post("http://localhost/token"))
        assert asked.wait(LONG)
        transport.abandon()

        assert isinstance(transport.send(post(server.url)), WireResponse)

        resolved.set()
        assert abandoned.answer() == CANCELLED
        assert slow.requests == []


def test_after_an_abandoned_request_the_next_one_has_a_connection_of_its_own(
    transport: HttpTransport,
) -> None:
    with ScriptedServer(answered_once_then_silent, answers([b"3", b"4"])) as server:
        transport.send(post(server.url))
        ends_when_abandoned(transport, server, server.url)

        third = transport.send(post(server.url))
        fourth = transport.send(post(server.url))

    assert [getattr(answer, "body", None) for answer in (third, fourth)] == [b"3", b"4"]
    assert server.connections == 2


def test_abandoning_when_nothing_is_under_way_leaves_the_kept_connection(transport: HttpTransport) -> None:
    with ScriptedServer(answers([b"1", b"2"])) as server:
        transport.abandon()
        transport.send(post(server.url))
        transport.abandon()
        transport.send(post(server.url))

    assert server.connections == 1


def test_two_requests_at_once_do_not_share_a_session(transport: HttpTransport) -> None:
    with ScriptedServer(answered_once_then_silent, answers([b"3", b"4", b"5"])) as server:
        transport.send(post(server.url))
        hanging = Sending(transport, post(server.url))
        assert server.reached.wait(LONG)

        third = transport.send(post(server.url))
        transport.abandon()

        assert hanging.answer() == CANCELLED
        assert isinstance(third, WireResponse)
        assert third.body == b"3"
        assert isinstance(transport.send(post(server.url)), WireResponse)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("headers", "is_given"),
    [({"Content-Length": "2"}, True), ({"Transfer-Encoding": "chunked"}, True), ({}, False)],
    ids=["a length", "chunks", "nothing but the end of the stream"],
)
def test_an_answer_that_had_come_when_it_was_abandoned_is_given_if_it_shows_its_own_end(
    transport: HttpTransport, amazon: requests_mock.Mocker, headers: dict[str, str], is_given: bool
) -> None:
    def answer_and_abandon(*_: object) -> bytes:
        transport.abandon()
        return b"{}"

    amazon.post(SECURE_URL, content=answer_and_abandon, headers=headers)

    assert isinstance(transport.send(post()), WireResponse) is is_given


class Slow(CancelHandle):
    """Of another request: another one has the time to end while this is cancelled."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def __hash__(self) -> int:
        return 0  # the first of a set, mostly

    def cancel(self) -> None:
        self._meanwhile()


def test_a_session_that_is_kept_has_not_been_abandoned(transport: HttpTransport) -> None:
    goes_on = threading.Event()

    def answer_late(peer: Peer) -> None:
        goes_on.wait(LONG)
        peer.answer()

    with ScriptedServer(answer_late, answers([b"{}"])) as server:
        ending = Sending(transport, post(server.url))

        def end() -> None:
            goes_on.set()
            ending.ends_within(0.3)  # where it waits for the abandoning, it does not end

        wait_for(lambda: transport._in_use)
        transport._in_use.add(Slow(end))
        transport.abandon()
        ending.answer()

        assert isinstance(transport.send(post(server.url)), WireResponse)
