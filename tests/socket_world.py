"""A real status feed and a real socket, with a scripted loop behind and callers of any uid before."""

import http.client
import itertools
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import Link, Seconds, TokenGrant, View, later
from device_auth.core.ports import Clock
from device_auth.core.states import StateWord, Trouble
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import ReadLimits
from device_auth.service.api import ADMISSION, READ_LIMITS, TIMEOUTS, Api, ApiTimeouts
from device_auth.service.callers import Caller, Permissions, read_caller
from device_auth.service.status_feed import StatusFeed
from tests.links import StillClock, make_link
from tests.simulated_store import SimulatedTokenFiles
from tests.values import make_grant
from tests.waiting import LONG

READERS: Final = 7001
ADMINISTRATORS: Final = 7002
READER: Final = Caller(1000, frozenset({1000, READERS}))
ADMINISTRATOR: Final = Caller(1001, frozenset({1001, ADMINISTRATORS}))
STRANGER: Final = Caller(65534, frozenset({65534}))

_numbers = itertools.count()


def connect(path: Path, caller: Caller | None = None) -> socket.socket:
    """Connect as this caller; as who we are if None. The name of our end carries who it plays."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if caller is not None:
        gids = ",".join(map(str, caller.gids))
        connection.bind(f"\0{os.getpid()}.{next(_numbers)}:{caller.uid}:{gids}".encode())
    connection.connect(str(path))  # without a time-out, which would not wait for room in the backlog
    connection.settimeout(LONG)
    return connection


def identify(connection: socket.socket) -> Caller:
    """Believe the name of the other end, if it has one."""
    name = connection.getpeername()
    if not isinstance(name, bytes):
        return read_caller(connection)
    _, uid, gids = name.decode().split(":")
    return Caller(int(uid), frozenset(map(int, gids.split(","))))


@dataclass
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        return json.loads(self.body)


class Visitor(http.client.HTTPConnection):
    """A client on a connection of its own, kept open."""

    def __init__(self, path: Path, caller: Caller | None = None) -> None:
        super().__init__("localhost")
        self.sock = connect(path, caller)
        self.auto_open = 0

    def ask(self, target: str, method: str = "GET", body: object = None, **headers: str) -> Answered:
        self.begin(target, method, body, **headers)
        return self.finish()

    def begin(self, target: str, method: str = "GET", body: object = None, **headers: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent = {"Content-Type": "application/json", **sent}
        octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        self.request(method, target, octets, sent)

    def finish(self) -> Answered:
        response = self.getresponse()
        return Answered(response.status, dict(response.headers), response.read())


class Events:
    """A client that reads events."""

    def __init__(self, path: Path, caller: Caller | None = None) -> None:
        self.visitor = Visitor(path, caller)
        self.visitor.begin("/v1/events")
        self.response = self.visitor.getresponse()

    def next_block(self) -> dict[str, str]:
        """Read up to the next empty line."""
        block: dict[str, str] = {}
        while (line := self.response.readline().decode().rstrip("\n")) or not block:
            name, _, value = line.partition(":")
            block[name] = value.strip()
        return block

    def next_status(self) -> Any:
        return json.loads(self.next_block()["data"])

    def is_over(self) -> bool:
        return self.response.readline() == b""

    def close(self) -> None:
        self.response.close()
        self.visitor.close()


class ScriptedActions:
    """A loop that refreshes as the real one does, one at a time, and ends a refresh when the test says how.

    Attributes:
        asked: every call, in order.
        refreshes: how many refreshes were begun.
        sealed_under: what sealing comes to.
        refresh: what a refresh comes to; none ends by itself if None.
    """

    def __init__(self, feed: StatusFeed, clock: Clock) -> None:
        self.asked: list[str] = []
        self.refreshes = 0
        self.sealed_under: str | DeviceAuthError = "key-file"
        self.refresh: Callable[[], None] | None = None
        self._feed = feed
        self._clock = clock
        self._is_out = False
        self._heard = threading.Condition()

    def want_token(self, min_lifetime: Seconds) -> None:
        grant = self._feed.look().grant
        lasts = grant is not None and grant.expires_at >= later(self._clock.now(), min_lifetime)
        self._begin("want_token", is_needed=not lasts)

    def reject_token(self, access_token: str) -> None:
        grant = self._feed.look().grant
        is_current = grant is not None and grant.access_token.reveal() == access_token
        self._begin("reject_token", is_needed=is_current)

    def link(self, *, again: bool = False) -> None:
        self._hear("link again" if again else "link")

    def adopt(self) -> None:
        self._hear("adopt")

    def seal(self) -> str:
        self._hear("seal")
        if isinstance(self.sealed_under, DeviceAuthError):
            raise self.sealed_under
        return self.sealed_under

    def cancel(self) -> None:
        self._hear("cancel")

    def unlink(self) -> None:
        self._hear("unlink")

    def owner_left(self) -> None:
        self._hear("owner_left")

    def owner_is_back(self) -> None:
        self._hear("owner_is_back")

    def identify(self) -> None:
        self._hear("identify")

    def wait_until_asked(self, times: int) -> None:
        """Wait until there were so many calls."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.asked) >= times, LONG), self.asked

    def end_refresh(self, grant: TokenGrant | None = None) -> None:
        """Let the refresh that is out bring this, or nothing."""
        with self._heard:
            self._is_out = False
        if grant is not None:
            self._feed.publish(grant)
        self._feed.refresh_ended()

    def _begin(self, name: str, *, is_needed: bool) -> None:
        with self._heard:
            begins = is_needed and not self._is_out
            self._is_out = self._is_out or begins
            self.refreshes += begins
        self._hear(name)
        if begins and self.refresh is not None:
            self.refresh()

    def _hear(self, name: str) -> None:
        with self._heard:
            self.asked.append(name)
            self._heard.notify_all()


@dataclass
class SocketWorld:
    """The API on a socket of its own; use it in a ``with`` block."""

    path: Path
    clock: Any = field(default_factory=StillClock)
    limits: ReadLimits = READ_LIMITS
    admission: ConnectionLimits = ADMISSION
    timeouts: ApiTimeouts = TIMEOUTS
    permissions: Permissions = field(
        default_factory=lambda: Permissions(READERS, ADMINISTRATORS, os.geteuid())
    )
    identify: Callable[[socket.socket], Caller] = identify
    listener: socket.socket | None = None

    def __enter__(self) -> "SocketWorld":
        self.feed = StatusFeed(self.clock, SimulatedTokenFiles())
        self.actions = ScriptedActions(self.feed, self.clock)
        self.visitors: list[Visitor | Events | socket.socket] = []
        self.api = Api(
            self.feed,
            self.actions,
            self.clock,
            listener=self.listener or self.path,
            permissions=self.permissions,
            identify=self.identify,
            name=lambda: "Kitchen",
            limits=self.limits,
            admission=self.admission,
            timeouts=self.timeouts,
        )
        self.api.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.api.close()
        self.feed.refresh_ended()  # wakes who waits for news
        for visitor in self.visitors:
            visitor.close()
        for thread in threading.enumerate():
            if thread.name == "api connection":
                thread.join(LONG)
                assert not thread.is_alive()

    def visit(self, caller: Caller | None = None) -> Visitor:
        """Connect, and stay until the end."""
        visitor = Visitor(self.path, caller)
        self.visitors.append(visitor)
        return visitor

    def follow(self, caller: Caller | None = None) -> Events:
        """Connect and read events."""
        events = Events(self.path, caller)
        self.visitors.append(events)
        return events

    def plug_in(self, caller: Caller | None = None) -> socket.socket:
        """Connect, and say nothing."""
        connection = connect(self.path, caller)
        self.visitors.append(connection)
        return connection

    def ask(
        self,
        target: str,
        method: str = "GET",
        body: object = None,
        caller: Caller | None = None,
        **headers: str,
    ) -> Answered:
        """Ask one thing on a connection of its own."""
        visitor = Visitor(self.path, caller)
        try:
            return visitor.ask(target, method, body, Connection="close", **headers)
        finally:
            visitor.close()

    def is_linked(self, grant: TokenGrant | None = None, link: Link | None = None) -> None:
        """Let the speaker be linked."""
        self.feed.tell(View(StateWord.LINKED, Trouble.NONE), link or make_link())
        if grant is not None:
            self.feed.publish(grant)

    def issue(self, token: str = "access", *, age: float = 0, lifetime: float = 3600) -> TokenGrant:
        """Make a grant that is so old."""
        return make_grant(access_token=token, issued_at=self.clock.now() - age, expires_in=lifetime)
