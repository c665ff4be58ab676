import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault, read_fault
from device_auth.simulator.models import PairState
from device_auth.simulator.referee import RuleName
from device_auth.simulator.server import Running, serve
from tests.ipv6 import needs_ipv6
from tests.simulated_speaker import FORM, Clock, Speaker
from tests.waiting import LONG, wait_for


def kinds(amazon: Amazon) -> list[str]:
    return [complaint.kind for complaint in amazon.referee.complaints()]


def script(amazon: Amazon, endpoint: Endpoint, **fault: object) -> None:
    amazon.script(endpoint, [read_fault(fault)])


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        ({"status": 503}, 503, "text/plain", b""),
        ({"status": 500, "body": "oops"}, 500, "text/plain", b"oops"),
        (
            {"json": {"error": "access_denied"}, "status": 400},
            400,
            "application/json",
            b'{"error": "access_denied"}',
        ),
        ({"json": [[]]}, 200, "application/json", b"[[]]"),
        ({"base64": "/w=="}, 200, "application/json", b"\xff"),
    ],
)
def test_an_answer_is_scripted_whole(
    amazon: Amazon, speaker: Speaker, fault: dict[str, object], status: int, kind: str, body: bytes
) -> None:
    script(amazon, Endpoint.CODE_PAIR, **fault)

    answer = speaker.ask()

    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (status, kind, body)
    assert amazon.pairs() == ()
    assert speaker.ask().status_code == 200


def shape(rfc: Speaker, preset: str) -> None:
    """Give code pairs, polls and refreshes the shape of a preset for good."""
    for endpoint in (Endpoint.CODE_PAIR, Endpoint.TOKEN_POLL, Endpoint.REFRESH):
        rfc.control("faults", endpoint=endpoint, faults=[{"preset": preset, "times": None}])


def test_googles_shapes_are_a_preset(amazon: Amazon, clock: Clock, rfc: Speaker) -> None:
    shape(rfc, "google-device")
    pair, declined = rfc.pair(), rfc.pair()
    pending = rfc.poll(pair)
    hasty = rfc.poll(pair)
    clock.let_pass(60)
    amazon.deny(declined["user_code"])
    denied = rfc.poll(declined)
    amazon.approve("all")
    tokens = rfc.poll(pair)
    refreshed = rfc.refresh(tokens.json()["refresh_token"])

    assert pair["verification_url"] == f"{rfc.origin}/device"
    assert not pair.keys() & {"verification_uri", "verification_uri_complete"}
    told = [(each.status_code, each.json()["error"]) for each in (pending, hasty, denied)]
    assert told == [(428, "authorization_pending"), (403, "slow_down"), (403, "access_denied")]
    assert tokens.json()["token_type"] == refreshed.json()["token_type"] == "Bearer"
    assert "refresh_token" not in refreshed.json()
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]
    clock.let_pass(60)
    rfc.poll(declined)
    assert kinds(amazon)[1:] == [RuleName.REPEATED_FINAL_CODE]


def test_microsofts_former_shapes_are_a_preset(amazon: Amazon, clock: Clock, rfc: Speaker) -> None:
    shape(rfc, "microsoft-v1")
    pair, declined = rfc.pair(), rfc.pair()
    pending = rfc.poll(pair)
    clock.let_pass(60)
    amazon.deny(declined["user_code"])
    denied = rfc.poll(declined)
    amazon.approve("all")
    tokens = rfc.poll(pair).json()

    assert (pair["expires_in"], pair["interval"]) == ("600", "30")
    assert pair["verification_url"].endswith("/device")
    assert "web browser" in pair["message"]
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    assert "\r\n" in pending.json()["error_description"]
    assert (denied.status_code, denied.json()["error"]) == (400, "authorization_declined")
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", "3600")
    clock.let_pass(60)
    rfc.poll(declined)
    assert kinds(amazon) == [RuleName.REPEATED_FINAL_CODE]


@pytest.mark.parametrize(("preset", "status"), [("portal", 200), ("502-html", 502)])
def test_what_stands_between_is_a_preset(amazon: Amazon, speaker: Speaker, preset: str, status: int) -> None:
    speaker.control("faults", endpoint="codepair", faults=[{"preset": preset}])

    between = speaker.ask()

    assert (between.status_code, between.headers["Content-Type"][:9]) == (status, "text/html")
    assert "<html>" in between.text
    assert speaker.ask().status_code == 200
    assert kinds(amazon) == []


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_endpoint_can_be_scripted(amazon: Amazon, rfc: Speaker, endpoint: Endpoint) -> None:
    pair = rfc.pair()
    script(amazon, endpoint, status=418)

    metadata = f"{rfc.origin}/.well-known/oauth-authorization-server"
    answers: dict[Endpoint, Callable[[], requests.Response]] = {
        Endpoint.CODE_PAIR: rfc.ask,
        Endpoint.TOKEN_POLL: lambda: rfc.poll(pair),
        Endpoint.EXCHANGE: lambda: rfc.send(
            f"{rfc.origin}/auth/o2/token", {"grant_type": "authorization_code"}
        ),
        Endpoint.REFRESH: lambda: rfc.refresh("x"),
        Endpoint.METADATA: lambda: rfc.session.get(
            metadata, headers={"Accept": "application/json"}, timeout=LONG
        ),
        Endpoint.REVOKE: lambda: rfc.send(f"{rfc.origin}/revoke", {"token": "x", "client_id": rfc.client_id}),
    }

    assert answers[endpoint]().status_code == 418
    assert answers[endpoint]().status_code != 418
    assert amazon.faults_waiting() == dict.fromkeys(Endpoint, 0)


def test_a_scripted_answer_uses_up_no_code_pair(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    amazon.approve(pair["user_code"])
    script(amazon, Endpoint.TOKEN_POLL, status=502, html=True)

    busy = speaker.poll(pair)
    clock.let_pass(30)

    assert (busy.status_code, busy.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert amazon.pairs()[0].state is PairState.APPROVED
    assert speaker.poll(pair).status_code == 200
    assert kinds(amazon) == []


def test_slow_down_holds_the_speaker_to_the_longer_interval(
    amazon: Amazon, clock: Clock, speaker: Speaker
) -> None:
    pair = speaker.pair()
    script(amazon, Endpoint.TOKEN_POLL, slow_down=True)
    assert speaker.poll(pair).json()["error"] == "slow_down"
    longer = 10 if speaker.is_lwa else 35

    clock.let_pass(longer)
    in_time = speaker.poll(pair).json()["error"]
    clock.let_pass(longer - 1)
    early = speaker.poll(pair).json()["error"]

    assert (in_time, early) == ("authorization_pending", "slow_down")
    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


def test_retry_after_is_watched(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    script(amazon, Endpoint.TOKEN_POLL, status=429, headers={"Retry-After": "120"})
    assert speaker.poll(pair).headers["Retry-After"] == "120"
    clock.let_pass(100)

    speaker.poll(pair)

    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


@pytest.mark.parametrize(
    ("fault", "is_final"),
    [
        ({"status": 400, "json": {"error": "ACCESS_DENIED"}}, True),
        ({"status": 400, "json": {"error": "invalid_grant"}, "headers": {"Retry-After": "1"}}, False),
        ({"status": 500, "json": {"error": "access_denied"}}, False),
        ({"status": 400, "json": {"error": 7}}, False),
        ({"status": 400, "json": [1]}, False),
        ({"status": 400, "body": "[" * 5000}, False),
        ({"status": 200, "json": {"access_token": "x"}}, False),
        ({"status": 400, "json": {"error": "access_denied"}, "truncate": True}, False),
    ],
)
def test_only_an_understood_final_answer_forbids_another_poll(
    amazon: Amazon, clock: Clock, lwa: Speaker, fault: dict[str, object], *, is_final: bool
) -> None:
    pair = lwa.pair()
    script(amazon, Endpoint.TOKEN_POLL, **fault)
    try:
        lwa.poll(pair)
    except requests.exceptions.ChunkedEncodingError:  # truncated
        assert not is_final
    clock.let_pass(60)

    lwa.poll(pair)

    assert kinds(amazon) == ([RuleName.REPEATED_DECLINED_CODE] if is_final else [])


def test_a_reset_connection_answers_nothing(amazon: Amazon, clock: Clock, speaker: Speaker) -> None:
    pair = speaker.pair()
    amazon.approve(pair["user_code"])
    script(amazon, Endpoint.TOKEN_POLL, reset=True)

    with pytest.raises(requests.exceptions.ConnectionError, match="reset by peer"):
        speaker.poll(pair)

    clock.let_pass(30)
    assert speaker.poll(pair).status_code == 200
    assert kinds(amazon) == []


def test_a_lost_answer_has_done_its_work(amazon: Amazon, clock: Clock, lwa: Speaker) -> None:
    pair = lwa.pair()
    amazon.approve(pair["user_code"])
    script(amazon, Endpoint.TOKEN_POLL, lost=True)

    with pytest.raises(requests.exceptions.ConnectionError):
        lwa.poll(pair)

    assert amazon.pairs()[0].state is PairState.USED
    clock.let_pass(30)
    assert lwa.poll(pair).json()["error"] == "invalid_code_pair"
    assert kinds(amazon) == []


def test_a_refresh_token_whose_successor_was_lost_still_works(amazon: Amazon, speaker: Speaker) -> None:
    pair = speaker.pair()
    amazon.approve(pair["user_code"])
    token = speaker.poll(pair).json()["refresh_token"]
    script(amazon, Endpoint.REFRESH, rotation=True, lost=True)
    with pytest.raises(requests.exceptions.ConnectionError):
        speaker.refresh(token)
    script(amazon, Endpoint.REFRESH, rotation=True)

    arrived = speaker.refresh(token).json()["refresh_token"]

    assert arrived != token
    assert kinds(amazon) == []
    assert speaker.refresh(token).json()["error"] == "invalid_grant"
    assert kinds(amazon) == [RuleName.OLD_REFRESH_TOKEN]
    assert speaker.refresh(arrived).status_code == 200


def test_a_truncated_answer_announces_more_than_it_sends(
    amazon: Amazon, running: Running, lwa: Speaker
) -> None:
    connection = open_poll(running, lwa.pair(), read_fault({"truncate": True}))

    with connection.getresponse() as answer, pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()

    connection.close()
    assert cut.value.partial.startswith(b'{"access_token"')
    assert amazon.pairs()[0].state is PairState.WAITING


def test_an_oversized_answer_looks_like_success(amazon: Amazon, speaker: Speaker) -> None:
    asks: dict[Endpoint, Callable[[], requests.Response]] = {
        Endpoint.CODE_PAIR: speaker.ask,
        Endpoint.REFRESH: lambda: speaker.refresh("x"),
    }
    for endpoint, ask in asks.items():
        script(amazon, endpoint, oversized=True)

        answer = ask()

        assert answer.status_code == 200
        assert len(answer.content) > 65_536
        assert answer.json()["expires_in"] > 0


def test_who_follows_a_redirect_is_reported(amazon: Amazon, lwa: Speaker) -> None:
    script(amazon, Endpoint.CODE_PAIR, redirect=True)
    script(amazon, Endpoint.CODE_PAIR, redirect="https://example.com/login", status=307)

    first, second = lwa.ask(), lwa.ask()

    assert (first.status_code, second.status_code) == (302, 307)
    assert second.headers["Location"] == "https://example.com/login"
    assert kinds(amazon) == []
    lwa.session.get(first.headers["Location"], timeout=LONG)
    assert kinds(amazon) == [RuleName.FOLLOWED_REDIRECT]


def test_fields_of_the_true_answer_can_be_changed_or_left_out(amazon: Amazon, rfc: Speaker) -> None:
    script(amazon, Endpoint.CODE_PAIR, change={"interval": None, "expires_in": "600"})
    script(amazon, Endpoint.TOKEN_POLL, change={"refresh_token": None}, lifetime=60)
    script(amazon, Endpoint.METADATA, change={"revocation_endpoint": None})

    pair = rfc.pair()
    amazon.approve(pair["user_code"])
    tokens = rfc.poll(pair).json()
    url = f"{rfc.origin}/.well-known/openid-configuration"
    metadata = rfc.session.get(url, headers={"Accept": "application/json"}, timeout=LONG).json()

    assert "interval" not in pair
    assert pair["expires_in"] == "600"
    assert amazon.pairs()[0].interval == 5
    assert "refresh_token" not in tokens
    assert tokens["expires_in"] == 60
    assert "revocation_endpoint" not in metadata


# On the wire: time

Waits = list[float]


@pytest.fixture
def waits() -> Waits:
    return []


@pytest.fixture
def slow_running(amazon: Amazon, clock: Clock, waits: Waits) -> Iterator[Running]:
    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.let_pass(seconds)

    with serve(amazon, wait=wait) as running:
        yield running


@pytest.fixture
def slow(slow_running: Running) -> Iterator[Speaker]:
    speaker = Speaker(slow_running)
    yield speaker
    speaker.close()


def test_a_delayed_answer_ends_late_and_the_interval_counts_from_there(
    amazon: Amazon, clock: Clock, slow: Speaker, waits: Waits
) -> None:
    pair = slow.pair()
    script(amazon, Endpoint.TOKEN_POLL, delay=8)
    slow.poll(pair)
    assert waits == [8]

    clock.let_pass(4)
    slow.poll(pair)

    assert kinds(amazon) == [RuleName.POLLED_TOO_EARLY]


def test_a_dripping_answer_comes_whole_a_byte_at_a_time(
    amazon: Amazon, clock: Clock, slow: Speaker, waits: Waits
) -> None:
    pair = slow.pair()
    script(amazon, Endpoint.TOKEN_POLL, drip=4)
    begin = clock.now

    answer = slow.poll(pair)

    assert answer.json()["error"] == "authorization_pending"
    assert set(waits) == {0.25}
    assert clock.now - begin == len(waits) / 4 > 60
    clock.let_pass(30)
    assert slow.poll(pair).json()["error"] == "authorization_pending"
    assert kinds(amazon) == []


def open_poll(running: Running, pair: dict[str, str], fault: Fault) -> http.client.HTTPConnection:
    running.amazon.script(Endpoint.TOKEN_POLL, [fault])
    connection = http.client.HTTPConnection("127.0.0.1", int(running.origin.rpartition(":")[2]), timeout=LONG)
    form = {"grant_type": "device_code", "device_code": pair["device_code"], "user_code": pair["user_code"]}
    headers = {"Accept": "application/json", "Content-Type": FORM}
    connection.request("POST", "/auth/O2/token", urlencode(form), headers)
    return connection


def test_an_answer_that_nobody_waited_for_did_not_end(amazon: Amazon, clock: Clock) -> None:
    gave_up, has_passed = threading.Event(), threading.Event()

    def wait(seconds: float) -> None:
        gave_up.wait(LONG)
        clock.let_pass(seconds)
        has_passed.set()

    with serve(amazon, wait=wait) as running:
        speaker = Speaker(running)
        pair = speaker.pair()
        open_poll(running, pair, Fault(delay=60)).close()
        gave_up.set()
        assert has_passed.wait(LONG)
        wait_for(lambda: running.connections() == 1)

        speaker.poll(pair)
        speaker.close()

    assert kinds(amazon) == []


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(delay=3600), Fault(drip=0.001)])
def test_the_server_stops_while_faults_last(
    amazon: Amazon, running: Running, lwa: Speaker, fault: Fault
) -> None:
    connection = open_poll(running, lwa.pair(), fault)
    wait_for(lambda: amazon.pairs()[0].polls == 1)

    running.stop()

    with pytest.raises(OSError, match=r"Remote end closed|reset"):
        connection.getresponse()
    connection.close()


def test_a_hanging_answer_ends_when_the_client_gives_up(running: Running, lwa: Speaker) -> None:
    connection = open_poll(running, lwa.pair(), Fault(hang=True))
    assert connection.sock is not None
    connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.getresponse()

    connection.close()

    wait_for(lambda: running.connections() == 1)  # the speaker's own, kept open


# The server itself


def test_a_connection_is_kept_open(running: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(running.origin.rpartition(":")[2]), timeout=LONG)
    sockets = set[Any]()
    for _ in range(3):
        connection.request("GET", "/control/state")
        answer = connection.getresponse()
        assert json.load(answer)["pairs"] == []
        sockets.add(connection.sock)
    connection.close()

    assert len(sockets) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", b" 413 "),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b" 411 "),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b" 411 "),
        (b"BREW /token HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 501 "),
        (b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b" 404 "),
        (b"GET http://localhost/device HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b" 200 "),
        (
            b"GET /device HTTP/1.1\r\nHost: localhost\r\nA: 1\r\nA: 2\r\nA_B: 3\r\nConnection: close\r\n\r\n",
            b" 200 ",
        ),
        (b"HEAD /device HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b" 200 "),
        (b"GET //nowhere HTTP/1.0\r\n\r\n", b" 404 "),
        (b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nshort", b""),
        (b"\x00\r\n\r\n", b" 400 "),
    ],
)
def test_odd_requests_are_answered_and_hung_up_on(running: Running, sent: bytes, status: bytes) -> None:
    with socket.create_connection(
        ("127.0.0.1", int(running.origin.rpartition(":")[2])), timeout=LONG
    ) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert status in received.partition(b"\r\n")[0] + b" "
    assert b"Werkzeug" not in received
    assert b"Python" not in received


def test_nothing_is_logged(
    lwa: Speaker, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lwa.session.get(f"{lwa.origin}/us/code?cbl-code=SECRET", timeout=LONG)
    lwa.session.get(f"{lwa.origin}/nowhere?device_code=SECRET", timeout=LONG)

    captured = capfd.readouterr()
    assert "SECRET" not in captured.out + captured.err
    assert not [
        record for record in caplog.records if record.name.startswith(("werkzeug", "device_auth", "flask"))
    ]


@needs_ipv6
def test_an_ipv6_address_is_served(amazon: Amazon) -> None:
    with serve(amazon, host="::1") as running:
        speaker = Speaker(running, DialectName.LWA)

        assert running.origin.startswith("http://[::1]:")
        assert speaker.ask().status_code == 200
        speaker.close()
    assert kinds(amazon) == []
