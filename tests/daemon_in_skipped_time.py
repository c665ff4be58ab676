"""The daemon in this process, with real HTTP, real files and a clock that skips its waits: hours pass in no time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import Link, Refusal, TokenGrant, View
from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.service.daemon import Daemon, DaemonOptions
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient
from device_auth.service.status_feed import StatusFeed
from device_auth.world.keys import ONLY_PLAIN, Keys
from device_auth.world.pending import FilePending
from device_auth.world.route import Authorities
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from device_auth.world.transport import HttpTransport
from device_auth.world.wiping import Wiped, wipe
from hardware.button import Gesture
from tests.world import World


@dataclass
class Household:
    """A daemon, and what happened."""

    world: World
    loop: Loop
    feed: StatusFeed
    daemon: Daemon
    new_options: list[DaemonOptions | ConfigError]
    refusals: list[Refusal] = field(default_factory=list)
    revoked: list[Link] = field(default_factory=list)
    lived_at: list[float] = field(default_factory=list)

    @property
    def moments(self) -> list[OneTimeNotice]:
        """What was told once, in order."""
        return [view.notice for view in self.world.told if view.notice is not None]

    @property
    def last(self) -> View:
        """What is told now."""
        return self.world.told[-1]

    def at(self, second: float, deed: Callable[[], object]) -> None:
        """Have something happen at a second of the world."""
        self.world.clock.plan(second, deed)

    def press(self, second: float, *gestures: Gesture) -> None:
        """Have something done with the button."""
        for gesture in gestures or (Gesture.TAP,):
            self.at(second, lambda gesture=gesture: self.daemon.on_gesture(gesture))  # type: ignore[misc]  # bound here

    def approve(self, second: float) -> None:
        self.at(second, lambda: self.world.amazon.approve(self.world.amazon.pairs()[-1].user_code))

    def live(self, until: float, kept: TokenGrant | None = None) -> View:
        """Live until a second of the world, and give what is told then."""
        self.at(until, self.daemon.stop)
        self.daemon._open_store = lambda: kept
        self.daemon.run(lambda: None)
        return self.last

    def link(self) -> None:
        """Press, and let the owner approve, so that there is a link soon after second 40."""
        self.press(1)
        self.approve(20)


@contextmanager
def open_household(
    world: World,
    *,
    renewals: int = 2,
    keys: Callable[[], Keys] = lambda: ONLY_PLAIN,
    problem: ConfigError | StoreError | None = None,
) -> Iterator[Household]:
    """Make a daemon that has not begun to run; one at a time.

    Args:
        world: where it lives.
        renewals: how often an expired code is renewed.
        keys: whose keys can be had.
        problem: why its settings cannot be used.
    """
    transport = HttpTransport(world.clock, authorities=Authorities(world.running.ca_file))
    options = DaemonOptions(ProviderClient(transport, world.provider), problem, renewals)
    new_options: list[DaemonOptions | ConfigError] = []

    def read_options() -> DaemonOptions:
        match new_options.pop(0):
            case ConfigError() as error:
                raise error
            case found:
                return found

    def tell(view: View) -> None:
        feed.tell(view, loop.stored_link)
        world.tell(view)

    with FileStore(world.folder / "state", keys=keys, is_of_service=True) as store:
        feed = StatusFeed(world.clock, FileTokens(world.folder / "run", world.clock, keep_bare=True))
        loop = Loop(
            provider_client=options.provider_client,
            store=store,
            pending=FilePending(world.folder / "run", world.clock),
            tokens=feed,
            clock=world.clock,
            tell=tell,
            chance=lambda: 0.5,
            new_link_id=lambda: uuid4().hex,
            refresh_ended=feed.refresh_ended,
        )
        refusals: list[Refusal] = []
        revoked: list[Link] = []
        lived_at: list[float] = []
        wiped: list[Wiped] = []
        daemon = Daemon(
            loop=loop,
            clock=world.clock,
            options=options,
            read_options=read_options,
            refuse_code=lambda: next(iter(refusals), None),
            wipe=lambda: wiped.append(wipe(store, world.folder / "run")),
            revoke=revoked.append,
            report_alive=lambda: lived_at.append(world.passed),
            seal=store.seal,
        )
        world.clock.is_asking = lambda: loop.is_request_out
        yield Household(world, loop, feed, daemon, new_options, refusals, revoked, lived_at)
        transport.abandon()


IDLE = (StateWord.UNLINKED, Trouble.NONE)
