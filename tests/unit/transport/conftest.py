"""The world around the transport under test."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests_mock

from device_auth.world.transport import HttpTransport
from tests.certificates import Authority
from tests.scripted_server import ScriptedServer
from tests.transports import SimulatedClock, open_transport


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def transport(clock: SimulatedClock) -> Iterator[HttpTransport]:
    with open_transport(clock) as opened:
        yield opened


@pytest.fixture
def amazon() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedServer], None]:
    return lambda proxy: monkeypatch.setenv("https_proxy", f"http://user:word@127.0.0.1:{proxy.port}")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int]]]:
    """The addresses of names, in place of the resolver's; a name that is not there does not resolve."""
    table: dict[str, list[tuple[str, int]]] = {}

    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if host not in table and not host[0].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, at or port))
            for address, at in table.get(host, [(host, port)])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return table
