"""One connection is kept open; nothing is sent twice and nothing remembered."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from device_auth.core.models import Unreachable, WireResponse
from device_auth.core.states import Trouble
from device_auth.world.transport import HttpTransport
from tests.command import ROOT
from tests.scripted_server import Peer, ScriptedServer, answers, in_turn
from tests.transports import Sending, post
from tests.waiting import LONG


def test_two_requests_go_over_one_connection(transport: HttpTransport) -> None:
    with ScriptedServer(answers([b"1", b"2"])) as server:
        first = transport.send(post(server.url))
        second = transport.send(post(server.url))

    assert [getattr(answer, "body", None) for answer in (first, second)] == [b"1", b"2"]
    assert server.connections == 1


def test_a_kept_connection_that_the_server_has_closed_is_made_anew(transport: HttpTransport) -> None:
    with ScriptedServer(answers([b"1"]), answers([b"2"])) as server:
        transport.send(post(server.url))
        server.wait_until_closed(0)
        second = transport.send(post(server.url))

    assert isinstance(second, WireResponse)
    assert second.body == b"2"
    assert len(server.requests) == 2


def test_a_request_that_met_the_end_of_a_kept_connection_is_not_sent_twice(transport: HttpTransport) -> None:
    dropping = in_turn(answers([b"1"]), Peer.read_request)
    with ScriptedServer(dropping, answers([b"2"])) as server:
        transport.send(post(server.url))
        second = transport.send(post(server.url))

    assert second == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the connection broke off")
    assert len(server.requests) == 2
    assert server.connections == 1


def test_after_close_the_next_request_makes_a_new_connection(transport: HttpTransport) -> None:
    transport.close()  # nothing is open yet, and that is no error
    with ScriptedServer(answers([b"1", b"2"])) as server:
        transport.send(post(server.url))
        transport.close()
        transport.send(post(server.url))

    assert server.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(transport: HttpTransport, status: int) -> None:
    with ScriptedServer(
        answers([b"moved", b"again"], "Location: /elsewhere", status=f"{status} Moved")
    ) as server:
        response = transport.send(post(server.url))

    assert isinstance(response, WireResponse)
    assert (response.status, response.headers["location"], response.body) == (status, "/elsewhere", b"moved")
    assert len(server.requests) == 1


def test_cookies_are_not_kept(transport: HttpTransport) -> None:
    with ScriptedServer(answers([b"1", b"2"], "Set-Cookie: tracked=yes")) as server:
        transport.send(post(server.url))
        transport.send(post(server.url))

    assert len(server.requests) == 2
    assert not any(b"Cookie" in request for request in server.requests)
    assert transport._idle is not None
    assert not list(transport._idle.cookies)


def test_cookies_are_not_kept_either_where_requests_is_loaded_by_a_request() -> None:
    code = f"""import sys; sys.path.insert(0, {str(ROOT)!r})
from device_auth.world.transport import HttpTransport
from tests.transports import SimulatedClock, post
transport = HttpTransport(SimulatedClock())
answers = [transport.send(post(sys.argv[1])) for _ in range(2)]
assert "requests" in sys.modules and "http.cookiejar" not in sys.modules
print([answer.body for answer in answers], len(transport._idle.cookies))
"""
    with ScriptedServer(answers([b"1", b"2"], "Set-Cookie: tracked=yes")) as server:
        ran = subprocess.run(
            [sys.executable, "-c", code, server.url],
            capture_output=True,
            text=True,
            check=True,
            timeout=LONG,
        )

    assert ran.stdout == "[b'1', b'2'] 0\n"
    assert len(server.requests) == 2
    assert not any(b"Cookie" in request for request in server.requests)


def test_what_netrc_has_for_the_host_is_not_sent(
    transport: HttpTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(answers()) as server:
        assert requests.utils.get_netrc_auth(server.url) == ("somebody", "secret")
        transport.send(post(server.url))

    assert b"Authorization" not in server.requests[0]


def test_of_two_sessions_in_use_at_once_one_is_kept(transport: HttpTransport) -> None:
    may_answer = threading.Event()

    def answer_late(peer: Peer) -> None:
        peer.read_request()
        peer.server.reached.set()
        assert may_answer.wait(LONG)
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        peer.hang()

    with ScriptedServer(answer_late, answers([b"1", b"2"])) as server:
        first = Sending(transport, post(server.url))
        assert server.reached.wait(LONG)
        transport.send(post(server.url))
        may_answer.set()

        assert isinstance(first.answer(), WireResponse)
        assert server.left.wait(LONG)  # its connection is closed
        assert isinstance(transport.send(post(server.url)), WireResponse)
    assert server.connections == 2
