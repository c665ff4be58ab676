"""What every transport does: the real one over a socket on loopback, and the simulated one alike."""

import gc
from collections.abc import Iterator
from typing import Protocol

import pytest

from device_auth.core.models import Monotonic, UnixTime, Unreachable, WireRequest, WireResponse
from device_auth.core.ports import Transport
from device_auth.core.states import Trouble
from device_auth.world.transport import HttpTransport
from tests.scripted_server import Peer, ScriptedServer, answers
from tests.simulated_transport import SILENCE, SimulatedTransport
from tests.transports import Sending, SimulatedClock
from tests.waiting import LONG


class Provider(Protocol):
    """A transport together with whoever answers it."""

    url: str

    @property
    def transport(self) -> Transport:
        """Return what is under test."""

    def script(self, *bodies: bytes | None) -> None:
        """Return what is answered to the requests in turn; None is silence."""

    def asked(self) -> list[bytes]:
        """Return the bodies of the requests that came."""

    def wait_for_silence(self) -> None:
        """Wait until a request waits for an answer that does not come."""


class SimulatedProvider:
    """No network at all."""

    url = "https://amazon.test/token"

    def __init__(self) -> None:
        self.transport = SimulatedTransport()

    def script(self, *bodies: bytes | None) -> None:
        self.transport.script(*(SILENCE if body is None else self._answer(body) for body in bodies))

    def asked(self) -> list[bytes]:
        return [request.body for request in self.transport.sent]

    def wait_for_silence(self) -> None:
        assert self.transport.is_waiting.wait(LONG)

    def _answer(self, body: bytes) -> WireResponse:
        return WireResponse(
            self.url, 200, {}, body, is_whole=True, sent_at=Monotonic(5), received_at=UnixTime(0)
        )


class LoopbackProvider:
    """A server that answers over any connection."""

    def __init__(self) -> None:
        self.transport = HttpTransport(SimulatedClock())
        self.server = ScriptedServer(self._serve)
        self.url = self.server.url
        self._bodies: list[bytes | None] = []

    def script(self, *bodies: bytes | None) -> None:
        self._bodies.extend(bodies)

    def asked(self) -> list[bytes]:
        return [request.split(b"\r\n\r\n", 1)[1] for request in self.server.requests]

    def wait_for_silence(self) -> None:
        assert self.server.reached.wait(LONG)

    def _serve(self, peer: Peer) -> None:
        while peer.read_request():
            body = self._bodies.pop(0)
            if body is None:
                peer.hang()
                return
            peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture(params=["loopback", "simulated"])
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    if request.param == "simulated":
        yield SimulatedProvider()
        return
    real = LoopbackProvider()
    with real.server:
        yield real
        real.transport.close()


def ask(provider: Provider, body: bytes) -> WireRequest:
    return WireRequest("POST", provider.url, {"Accept": "application/json"}, body)


def body_of(answer: WireResponse | Unreachable) -> bytes | None:
    return answer.body if isinstance(answer, WireResponse) else None


def test_requests_are_carried_and_answered_in_turn(provider: Provider) -> None:
    provider.script(b"first", b"second")

    assert body_of(provider.transport.send(ask(provider, b"a"))) == b"first"
    assert body_of(provider.transport.send(ask(provider, b"b"))) == b"second"
    assert provider.asked() == [b"a", b"b"]


def test_what_is_kept_open_is_closed_when_nobody_holds_the_transport(
    recwarn: pytest.WarningsRecorder,
) -> None:
    with ScriptedServer(answers()) as server:
        transport = HttpTransport(SimulatedClock())
        assert isinstance(transport.send(WireRequest("GET", server.url, {})), WireResponse)
        del transport
        gc.collect()

    # by us, and not by the collector: with Debian bookworm's urllib3 it was the collector
    assert [str(each.message) for each in recwarn if each.category is ResourceWarning] == []


def test_an_answer_names_what_was_asked_and_counts_from_before_it_left(provider: Provider) -> None:
    provider.script(b"{}")

    answer = provider.transport.send(ask(provider, b"a"))

    assert isinstance(answer, WireResponse)
    assert (answer.url, answer.status, answer.is_whole, answer.sent_at) == (
        provider.url,
        200,
        True,
        Monotonic(5),
    )


def test_an_abandoned_request_is_unreachable_and_the_next_one_is_carried(provider: Provider) -> None:
    provider.script(None, b"next")
    abandoned = Sending(provider.transport, ask(provider, b"a"))
    provider.wait_for_silence()

    provider.transport.abandon()

    assert abandoned.answer() == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the request was cancelled")
    assert body_of(provider.transport.send(ask(provider, b"b"))) == b"next"
    assert provider.asked() == [b"a", b"b"]


def test_abandoning_when_nothing_is_under_way_does_no_harm(provider: Provider) -> None:
    provider.script(b"{}")

    provider.transport.abandon()

    assert body_of(provider.transport.send(ask(provider, b"a"))) == b"{}"
