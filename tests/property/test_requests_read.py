"""Whatever comes over the socket is read or refused, and what one reads the other wrote."""

import socket
import string
from contextlib import suppress
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from device_auth.http.connection import HttpConnection, HttpError, HttpRequest, ReadLimits, read_head
from device_auth.world.clock import BootClock
from tests.values import seconds

BOUNDS = ReadLimits(idle=seconds(5), drain=seconds(5))

names = st.text(string.ascii_letters + "-", min_size=1, max_size=8).filter(
    lambda name: name.lower() not in {"host", "connection", "content-length", "transfer-encoding", "expect"}
)
values = st.text(string.printable[:95], max_size=8).map(str.strip)


def read_all(octets: bytes, cuts: list[int]) -> list[HttpRequest | HttpError]:
    """Read until the end or the first mistake, whatever pieces it comes in."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps the pieces apart
    found: list[HttpRequest | HttpError] = []
    with ours, theirs:
        http = HttpConnection(ours, BootClock(), BOUNDS, None)
        places = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
        for start, end in pairwise(places):
            theirs.sendall(octets[start:end])
        theirs.shutdown(socket.SHUT_WR)
        try:
            while http.wait() and (request := http.read()) is not None:
                found.append(request)
        except HttpError as error:
            found.append(error)
    return found


@given(st.text(string.printable + "\0\x80\xff"))
def test_any_head_is_read_or_refused(head: str) -> None:
    with suppress(HttpError):
        request = read_head(head)

        assert request.method
        assert request.path or request.query
        assert all(name == name.lower() for name in request.headers)


@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=3))
def test_any_bytes_are_read_or_refused(octets: bytes, cuts: list[int]) -> None:
    read_all(octets, cuts)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "HEAD", "POST"]),
            st.text(string.ascii_letters + "/", max_size=8).map("/".__add__),
            st.none() | st.text(string.ascii_letters + "=&?", max_size=8),
            st.dictionaries(names.map(str.lower), values, max_size=3),
            st.binary(max_size=20),
        ),
        max_size=4,
    ),
    st.lists(st.integers(0, 1000), max_size=5),
)
def test_requests_are_read_as_they_were_written(
    written: list[tuple[str, str, str | None, dict[str, str], bytes]], cuts: list[int]
) -> None:
    octets = b""
    for method, path, query, headers, body in written:
        target = path if query is None else f"{path}?{query}"
        fields = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        octets += "\r\n".join([*lines, "", ""]).encode() + body

    read = [request for request in read_all(octets, cuts) if isinstance(request, HttpRequest)]

    assert [(request.method, request.path, request.query, request.body) for request in read] == [
        (method, path, query or "", body) for method, path, query, _, body in written
    ]
    for request, (_, _, _, headers, _) in zip(read, written, strict=True):
        assert headers.items() <= request.headers.items()
