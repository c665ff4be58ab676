"""What tests of the transport share: a clock that stands still, a transport that waits, a request, a server over TLS."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device_auth.core.models import Monotonic, Seconds, UnixTime, Unreachable, WireRequest, WireResponse
from device_auth.core.ports import Transport
from device_auth.world.route import Authorities
from device_auth.world.transport import HttpTransport
from tests.scripted_server import Act, Peer, ScriptedServer, in_turn
from tests.waiting import LONG

SECURE_URL = "https://amazon.test/token"
CANARY = "Atzr|canary"
FORM = b"grant_type=refresh_token&refresh_token=" + CANARY.encode()


class SimulatedClock:
    """A clock that stands still, and says when it was asked."""

    def __init__(self, *, is_set: bool = True) -> None:
        self.asked = threading.Event()
        self._is_set = is_set

    def now(self) -> Monotonic:
        self.asked.set()
        return Monotonic(5)

    def wall(self) -> UnixTime:
        return UnixTime(1_800_000_000)

    def looks_set(self) -> bool:
        return self._is_set


def post(url: str = SECURE_URL, **headers: str) -> WireRequest:
    return WireRequest("POST", url, {"Content-Type": "application/x-www-form-urlencoded", **headers}, FORM)


def over_tls(context: ssl.SSLContext, act: Act) -> Act:
    return in_turn(lambda peer: peer.start_tls(context), act)


class Sending:
    """A request under way on a thread of its own."""

    def __init__(self, transport: Transport, request: WireRequest) -> None:
        self._answers: list[WireResponse | Unreachable] = []
        self._thread = threading.Thread(
            target=lambda: self._answers.append(transport.send(request)), daemon=True
        )
        self._thread.start()

    def ends_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def answer(self) -> WireResponse | Unreachable:
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self._answers[0]


@contextmanager
def open_transport(clock: SimulatedClock | None = None, **options: Any) -> Iterator[HttpTransport]:
    # Time-outs far beyond every test's patience: what ends in time was ended by something else.
    if "ca_file" in options:
        options["authorities"] = Authorities(options.pop("ca_file"))
    patient = {"connect_timeout": Seconds(300), "read_timeout": Seconds(300)}
    opened = HttpTransport(clock or SimulatedClock(), **{**patient, **options})
    yield opened
    opened.close()


@contextmanager
def secure_server(context: ssl.SSLContext, act: Act) -> Iterator[ScriptedServer]:
    with ScriptedServer(over_tls(context, act)) as server:
        server.url = f"https://127.0.0.1:{server.port}/token"
        yield server


@contextmanager
def deaf_server() -> Iterator[ScriptedServer]:
    """A server whose queue is full, so that the next connection is not even begun."""
    with ScriptedServer(backlog=0) as server, socket.create_connection(("127.0.0.1", server.port)):
        yield server


def tunnel(act: Act) -> Act:
    """Accept CONNECT and be the server beyond."""
    return in_turn(Peer.read_request, lambda peer: peer.write(b"HTTP/1.1 200 Connected\r\n\r\n"), act)
