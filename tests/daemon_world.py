"""A daemon in skipped time: the simulated Amazon over real HTTP, real files, a real socket, a button pressed by the test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from device_auth.client import Client
from device_auth.core.models import Refusal, View
from device_auth.service.api import Api
from device_auth.service.callers import Permissions
from device_auth.service.daemon import Daemon, DaemonOptions
from device_auth.service.journal import JournalLog, open_log
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient
from device_auth.service.status_feed import StatusFeed
from device_auth.world.token_files import FileTokens
from device_auth.world.transport import HttpTransport
from tests.world import World, open_loop

OURS: Final = Permissions(os.getgid(), os.getgid(), os.geteuid())


@dataclass
class Speaker:
    """One daemon and what belongs to it."""

    world: World
    daemon: Daemon
    loop: Loop
    feed: StatusFeed
    client: Client
    written: StringIO

    @property
    def log(self) -> list[str]:
        """What was logged, a line each."""
        return self.written.getvalue().splitlines()

    @property
    def token(self) -> str | None:
        """The access token in memory."""
        grant = self.feed.look().grant
        return None if grant is None else grant.access_token.reveal()

    def run(self, *, until: float) -> None:
        """Run it, once, up to that second of the world."""
        self.world.clock.plan(until, self.daemon.stop)
        self.daemon.run(lambda: None)


@contextmanager
def open_speaker(
    world: World, *, run_dir: Path | None = None, form: str = "text", problem: Refusal | None = None
) -> Iterator[Speaker]:
    """Open a daemon on a world.

    Args:
        world: where it lives.
        run_dir: where token files go; the world's own runtime folder if None.
        form: what its log is like.
        problem: why it cannot tell a code, if so.
    """
    folder = world.folder / "run" if run_dir is None else run_dir
    feed = StatusFeed(world.clock, FileTokens(folder, world.clock, keep_bare=True))
    written = StringIO()
    with open_log({}, world.clock, stderr=written, form=form, is_verbose=True) as log:

        def tell(view: View) -> None:
            _tell(world, log, feed, view, loop)

        with open_loop(
            world.folder, world.clock, world.provider, tell, ca_file=world.running.ca_file, tokens=feed
        ) as loop:
            loop._refresh_ended = feed.refresh_ended
            daemon = make_daemon(world, loop, feed, problem)
            path = world.folder / "api.sock"
            api = Api(feed, daemon, world.clock, listener=path, permissions=OURS)
            api.start()
            try:
                with Client(str(path)) as client:
                    yield Speaker(world, daemon, loop, feed, client, written)
            finally:
                api.close()
                feed.refresh_ended()  # wakes who waits for news


def make_daemon(world: World, loop: Loop, feed: StatusFeed, problem: Refusal | None) -> Daemon:
    """Make a daemon that begins to run when told to."""
    options = DaemonOptions(ProviderClient(HttpTransport(world.clock), world.provider), None, 2)
    return Daemon(
        loop=loop,
        clock=world.clock,
        options=options,
        read_options=lambda: options,
        refuse_code=lambda: problem,
        wipe=lambda: None,
        seal=lambda: "",
        revoke=lambda _link: None,
        report_alive=feed.follow_clock_step,
    )


def _tell(world: World, log: JournalLog, feed: StatusFeed, view: View, loop: Loop) -> None:
    log.tell(view)
    feed.tell(view, loop.stored_link)
    world.tell(view)
