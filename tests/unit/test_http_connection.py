"""Requests, strictly read."""

import socket
from http import HTTPStatus

import pytest

from device_auth.core.models import Monotonic
from device_auth.http.connection import HttpConnection, HttpError, ReadLimits, read_head
from tests.links import StillClock


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v1/token?a=b", "/v1/token", "a=b"),
        ("http://localhost/v1/token", "/v1/token", ""),
        ("HTTP://localhost:80", "/", ""),
        ("http://localhost?x", "", "x"),
        ("*", "*", ""),
    ],
)
def test_a_target_may_name_the_host(target: str, path: str, query: str) -> None:
    request = read_head(f"GET {target} HTTP/1.1\r\nHost: localhost")

    assert (request.path, request.query) == (path, query)
    assert request.is_absolute == ("://" in target)


@pytest.mark.parametrize(
    ("version", "connection", "keeps_open"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: keep-alive\r\n", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: x , CLOSE\r\n", False),
        ("1.1", "Connection: x\r\nconnection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", False),
    ],
)
def test_a_connection_is_kept_unless_one_says_otherwise(
    version: str, connection: str, keeps_open: bool
) -> None:
    assert read_head(f"GET / HTTP/{version}\r\n{connection}Host: a").keeps_open is keeps_open


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET /ä HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / HTTP/1",
        "GET / http/1.1",
        "GET / HTTP/11.1",
    ],
)
def test_a_request_line_has_three_parts(line: str) -> None:
    with pytest.raises(HttpError, match="the request line"):
        read_head(f"{line}\r\nHost: a")


@pytest.mark.parametrize(
    "field", ["X", "X : y", " X: y", ": y", "X: a\0b", "X: a\rb", "X: a\nY: b", "X: a\x7f"]
)
def test_a_field_has_a_name_and_a_value_on_one_line(field: str) -> None:
    with pytest.raises(HttpError, match="a header field"):
        read_head(f"GET / HTTP/1.1\r\nHost: a\r\n{field}")


def test_a_field_keeps_its_value_without_the_space_around() -> None:
    headers = read_head("GET / HTTP/1.1\r\nHost:a\r\nX-Y:  b c\t \r\nx-y:\r\nx-y:d").headers

    assert headers == {"host": "a", "x-y": "b c, , d"}


class LeapingClock(StillClock):
    """A clock on which each look costs a while."""

    def now(self) -> Monotonic:
        self.monotonic += 6
        return super().now()


def test_a_request_is_over_at_its_bound_although_more_of_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"GET")
        http = HttpConnection(ours, LeapingClock(), ReadLimits(), None)
        assert http.wait()
        theirs.sendall(b" /")

        with pytest.raises(HttpError) as caught:
            http.read()

    assert caught.value.status is HTTPStatus.REQUEST_TIMEOUT


def test_a_connection_that_its_own_thread_has_closed_is_gone() -> None:
    near, far = socket.socketpair()
    with far:
        connection = HttpConnection(near, StillClock(), ReadLimits(), None, "owner")
        near.close()

        assert connection.is_gone()
