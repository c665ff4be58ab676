"""The speaker's page on a bench: a feed to publish snapshots on, actions that are noted, a clock that can be set on."""

import http.client
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from device_auth.core.models import (
    CodePair,
    Link,
    Monotonic,
    Seconds,
    Secret,
    TokenGrant,
    UnixTime,
    View,
    later,
)
from device_auth.core.ports import Clock as AnyClock
from device_auth.core.states import StateWord, Trouble
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import ReadLimits
from device_auth.service.page import ADMISSION, READ_LIMITS, Page, PageSettings
from device_auth.service.status_feed import Snapshot, StatusFeed
from device_auth.service.visitors import Nearness, find_nearness
from device_auth.world.clock import BootClock
from tests.links import make_link
from tests.waiting import LONG

ADDRESS: Final = "https://amazon.com/us/code"
PREFILLED: Final = f"{ADDRESS}?cbl-code=FUP8UN"
PRESS: Final = "Press the button on the speaker"


class Clock(BootClock):
    """The machine's clock, which a test may set on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> Monotonic:
        return later(super().now(), Seconds(self.ahead))

    def wall(self) -> UnixTime:
        return UnixTime(super().wall() + self.ahead)


class NoFiles:
    """Token files that nobody reads."""

    def publish(self, grant: TokenGrant) -> None:
        """Publish nothing."""

    def withdraw(self) -> None:
        """Withdraw nothing."""


class NotedActions:
    """Notes what the page asks of the loop."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[str] = SimpleQueue()

    def next(self) -> str:
        return self.asked.get(timeout=LONG)

    def owner_left(self) -> None:
        self.asked.put("left")

    def owner_is_back(self) -> None:
        self.asked.put("back")

    def identify(self) -> None:
        self.asked.put("identify")

    def link(self, *, again: bool = False) -> None:
        self.asked.put("link again" if again else "link")

    def adopt(self) -> None:
        self.asked.put("adopt")

    def seal(self) -> str:
        self.asked.put("seal")
        return ""

    def cancel(self) -> None:
        self.asked.put("cancel")

    def unlink(self) -> None:
        self.asked.put("unlink")

    def want_token(self, min_lifetime: Seconds) -> None:
        self.asked.put(f"want {min_lifetime}")

    def reject_token(self, access_token: str) -> None:
        self.asked.put(f"reject {len(access_token)}")


def make_pair(
    clock: AnyClock,
    *,
    user_code: str = "FUP8UN",
    address: str = ADDRESS,
    prefilled: str | None = PREFILLED,
    lives: float = 580.5,
) -> CodePair:
    return CodePair(
        user_code=user_code,
        device_code=Secret("canary-device-code"),
        verification_uri=address,
        prefilled_uri=prefilled,
        expires_in=Seconds(600),
        expires_at=later(clock.now(), Seconds(lives)),
        interval=Seconds(30),
    )


class Bench:
    """A page that serves on loopback while the bench is open.

    Args:
        nearness: where every visitor is taken to be; None to leave that to the page.
    """

    def __init__(
        self,
        *,
        admission: ConnectionLimits = ADMISSION,
        limits: ReadLimits = READ_LIMITS,
        settings: PageSettings | None = None,
        nearness: Nearness | None = Nearness.NEIGHBOUR,
    ) -> None:
        self.clock = Clock()
        self.actions = NotedActions()
        self.feed = StatusFeed(self.clock, NoFiles())
        self.page = Page(
            self.feed,
            self.actions,
            self.clock,
            settings=settings or PageSettings(listen=("127.0.0.1:0",)),
            admission=admission,
            limits=limits,
            name=lambda: "Kitchen",
            has_light=lambda: True,
            nearness=find_nearness if nearness is None else lambda _visitor, _own: nearness,
        )

    def __enter__(self) -> Self:
        self.page.start()
        self.show(StateWord.UNLINKED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.page.close()

    @property
    def port(self) -> int:
        return self.page.addresses[0][1]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def show(
        self,
        state: StateWord,
        trouble: Trouble = Trouble.NONE,
        *,
        pair: CodePair | None = None,
        account: str | None = None,
        link: Link | None = None,
    ) -> None:
        self.feed.tell(View(state, trouble, code_pair=pair, account=account), link)

    def wait_for_approval(self) -> CodePair:
        pair = make_pair(self.clock)
        self.show(StateWord.WAITING, pair=pair)
        return pair

    def link(self, ago: float = 0, account: str | None = None) -> None:
        link = replace(make_link(), linked_at=UnixTime(self.clock.wall() - ago))
        self.show(StateWord.LINKED, link=link, account=account)

    def news(self) -> Snapshot:
        return self.feed.look()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), LONG, (source, 0))

    def ask(
        self, method: str, path: str, fields: Mapping[str, str] | None = None, body: str | None = None
    ) -> "Heard":
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG)
        try:
            connection.request(method, path, body, dict(fields or {}))
            response = connection.getresponse()
            return Heard(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, language: str = "en") -> str:
        return self.ask("GET", "/", {"Accept-Language": language}).body.decode()

    def send_raw(self, sent: bytes) -> bytes:
        """Send anything at all, and read until the page hangs up."""
        with self.connect() as connection:
            connection.sendall(sent)
            return read_all(connection)

    def soon(self, is_so: Callable[[], bool]) -> bool:
        """Ask again and again until it is so; give up after a while."""
        until = later(BootClock.now(self.clock), Seconds(LONG))
        while not is_so():
            if BootClock.now(self.clock) > until:
                return False
        return True

    def events(self, address: str = "127.0.0.1") -> "Stream":
        return Stream(socket.create_connection((address, self.port), LONG))


class Heard:
    """An answer."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body


class Stream:
    """A stream of events, and a visitor who reads it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        address, port = connection.getpeername()[:2]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._file = connection.makefile("rb")
        self.head = self._block()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_args: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._connection.close()

    def next(self) -> str:
        """Return the next event or comment, as it came."""
        return self._block()

    def is_over(self) -> bool:
        return self._file.readline() == b""

    def _block(self) -> str:
        lines = []
        while line := self._file.readline().rstrip(b"\r\n"):
            lines.append(line.decode())
        return "\n".join(lines)


def read_all(connection: socket.socket) -> bytes:
    """Read until the other end hangs up, politely or not."""
    received = b""
    try:
        while some := connection.recv(65536):
            received += some
    except ConnectionResetError:
        pass
    return received
