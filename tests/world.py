"""A world for the loop: real HTTP to the simulated Amazon on loopback, real files, and a clock that skips its waits.

The same clock is the referee's, so an early poll is seen although nothing waits for real.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import requests

from device_auth.core import linking
from device_auth.core.models import (
    NEVER,
    DialectName,
    Link,
    Monotonic,
    Provider,
    UnixTime,
    View,
)
from device_auth.core.ports import TokenFiles
from device_auth.core.states import StateWord, Trouble
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.authority import Validity
from device_auth.simulator.server import Running, serve
from device_auth.world.pending import FilePending
from device_auth.world.route import Authorities
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from device_auth.world.transport import HttpTransport
from tests.ports import free_port
from tests.simulated_speaker import strict
from tests.waiting import LONG

T = TypeVar("T")

CLIENT_ID: Final = "amzn1.application-oa2-client." + "0123456789abcdef" * 2
STARTED_AT: Final = UnixTime(1_800_000_000.0)


class SkippingClock:
    """Goes on only when someone waits: straight to the moment waited for, unless a request is out.

    Attributes:
        patience: real seconds to wait for a request's answer before time goes on without it.
        set_by: how far the wall clock alone was set forward.
    """

    def __init__(self) -> None:
        self.moment = 1000.0
        self.patience = LONG
        self.set_by = 0.0
        self.is_asking: Callable[[], bool] = lambda: False
        self.is_set = True
        self.planned: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> Monotonic:
        return Monotonic(self.moment)

    def wall(self) -> UnixTime:
        return UnixTime(STARTED_AT + self.moment + self.set_by)

    def looks_set(self) -> bool:
        return self.is_set

    def take(self, inbox: SimpleQueue[T], until: Monotonic) -> T | None:
        try:
            return inbox.get(timeout=self.patience if self.is_asking() else 0)
        except Empty:
            pass
        if self.planned and self.planned[0][0] <= until:
            at, deed = self.planned.pop(0)
            self.moment = max(self.moment, at)
            deed()
            return None
        assert until < NEVER, "the loop waits for nothing"
        self.moment = max(self.moment, until)
        return None

    def plan(self, at: float, deed: Callable[[], object]) -> None:
        """Have something happen at a moment, counted from the start of the world."""
        self.planned.append((1000.0 + at, deed))
        self.planned.sort(key=lambda planned: planned[0])


@dataclass
class World:
    """Everything around one speaker, and what it told."""

    folder: Path
    clock: SkippingClock
    running: Running
    provider: Provider
    tls: Path | None = None
    told: list[View] = field(default_factory=list)
    when: dict[StateWord, Callable[[], object]] = field(default_factory=dict)

    @property
    def amazon(self) -> Amazon:
        return self.running.amazon

    @property
    def passed(self) -> float:
        """Seconds since the start of the world."""
        return self.clock.moment - 1000.0

    @property
    def states(self) -> list[StateWord]:
        """The states that were told, each once in a row."""
        words = [view.state for view in self.told]
        return [word for before, word in zip([None, *words], words, strict=False) if word is not before]

    @property
    def troubles(self) -> list[Trouble]:
        """The troubles that were told, each once in a row."""
        words = [view.trouble for view in self.told]
        return [word for before, word in zip([None, *words], words, strict=False) if word is not before]

    @property
    def codes(self) -> list[str]:
        """The user codes that were told, each once in a row."""
        codes = [view.code_pair.user_code for view in self.told if view.code_pair is not None]
        return [code for before, code in zip([None, *codes], codes, strict=False) if code != before]

    def tell(self, view: View) -> None:
        """Take note of what is told, and do what was planned for when it is."""
        self.told.append(view)
        self.when.pop(view.state, lambda: None)()

    def restart(self, validity: Validity | None) -> None:
        """Stop the simulated Amazon, and start it again at the same place with another certificate, or not at all."""
        port = urlsplit(self.running.origin).port
        assert port is not None
        self.running.stop()
        if validity is not None:
            self.running = serve(self.amazon, port=port, tls=self.tls, validity=validity)

    def script(self, endpoint: str, *faults: Mapping[str, object]) -> None:
        """Script faults through the control API."""
        answer = requests.post(
            f"{self.running.control}faults", json={"endpoint": endpoint, "faults": faults}, timeout=LONG
        )
        assert answer.status_code == 200, answer.text

    def complaints(self) -> list[str]:
        """What the referee has seen."""
        return [f"{complaint.kind}: {complaint.sentence}" for complaint in self.amazon.referee.complaints()]

    def polls(self) -> int:
        """How many polls came for the newest pair."""
        return self.amazon.pairs()[-1].polls

    def store(self) -> FileStore:
        return FileStore(self.folder / "state")

    def stored(self) -> Link | None:
        return self.store().read()

    def token_files(self) -> FileTokens:
        return FileTokens(self.folder / "run", self.clock)

    @contextmanager
    def loop(self, *, chance: float = 0.5) -> Iterator[Loop]:
        """Make a loop that holds the store's lock."""
        with open_loop(
            self.folder, self.clock, self.provider, self.tell, ca_file=self.running.ca_file, chance=chance
        ) as loop:
            yield loop

    def request(self, loop: Loop, **wishes: object) -> linking.LinkRequested:
        """Make a request for a link in the provider's dialect."""
        del self
        conversation = loop._provider_client
        return replace(linking.LinkRequested(conversation.rules), **wishes)  # type: ignore[arg-type]  # checked by the class

    def refresh(self, *, until: float = 100_000) -> linking.State:
        """Refresh the stored link once, however long it takes, and give the state it ends in."""
        with self.loop() as loop:
            link = self.stored()
            assert link is not None
            loop.keep_linked(link)
            loop.run(
                lambda: loop.keeping is None or loop.keeping.grant is not None, Monotonic(1000.0 + until)
            )
            return loop.state

    def link(self, *, until: float = 100_000, **wishes: object) -> linking.State:
        """Link, and give the state it ends in, or stands in at that second."""
        with self.loop() as loop:
            loop.link(self.request(loop, **wishes))
            loop.run(lambda: is_over(loop), Monotonic(1000.0 + until))
            return loop.state


@contextmanager
def open_loop(
    folder: Path,
    clock: SkippingClock,
    provider: Provider,
    tell: Callable[[View], None],
    *,
    ca_file: Path | None = None,
    chance: float = 0.5,
    tokens: TokenFiles | None = None,
    make_store: Callable[[Path], FileStore] = FileStore,
    make_transport: Callable[..., HttpTransport] = HttpTransport,
) -> Iterator[Loop]:
    """Make a loop that holds the lock of the store below a folder, and speaks real HTTP."""
    transport = make_transport(clock, authorities=Authorities(ca_file))
    with make_store(folder / "state") as store:
        loop = Loop(
            provider_client=ProviderClient(transport, provider),
            store=store,
            pending=FilePending(folder / "run", clock),
            tokens=tokens or FileTokens(folder / "run", clock),
            clock=clock,
            tell=tell,
            chance=lambda: chance,
            new_link_id=lambda: uuid4().hex,
        )
        clock.is_asking = lambda: loop.is_request_out
        yield loop
        transport.abandon()


def is_over(loop: Loop) -> bool:
    """Return whether linking has come to an end, whichever."""
    return isinstance(loop.state, linking.Unlinked | linking.Linked)


@contextmanager
def open_world(
    folder: Path,
    dialect: DialectName = DialectName.LWA,
    *,
    tls: Path | None = None,
    clock: SkippingClock | None = None,
    **options: object,
) -> Iterator[World]:
    """Open a world; the simulated Amazon's options may be given."""
    clock = clock or SkippingClock()
    amazon = Amazon(strict(**options), clock=lambda: clock.moment)
    world = World(
        folder,
        clock,
        running := serve(amazon, port=free_port(), tls=tls),
        make_provider(running, dialect),
        tls,
    )
    try:
        yield world
    finally:
        world.running.stop()


def make_provider(running: Running, dialect: DialectName) -> Provider:
    """Describe the simulated Amazon as settings would."""
    if dialect is DialectName.LWA:
        return Provider(
            dialect=dialect,
            client_id=CLIENT_ID,
            scope="alexa:all",
            device_endpoint=f"{running.base_url}create/codepair",
            token_endpoint=f"{running.base_url}token",
            product_id="kitchen",
            dsn="K-0001",
        )
    return Provider(dialect=dialect, client_id="a-speaker", scope="offline_access", issuer=running.issuer)
