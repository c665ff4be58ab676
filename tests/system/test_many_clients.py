"""Two hundred clients across an expiry: the real socket, the real loop, and one refresh."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_auth.core.models import Seconds
from device_auth.service.api import Api
from device_auth.service.callers import Caller, Permissions
from tests.daemon_in_skipped_time import Household, open_household
from tests.socket_world import ADMINISTRATORS, READERS, Visitor, identify
from tests.waiting import LONG
from tests.world import open_world

CLIENTS = 200
AT_ONCE = 72
"""So many connections are read at once; the others wait."""


class Crowd:
    """Clients of as many users, each with a thread of its own; and the loop behind the socket, which counts wishes."""

    def __init__(self, household: Household, path: Path) -> None:
        self.household = household
        self.path = path
        self.wishes = threading.Semaphore(0)
        self.answers: list[object] = []
        self.threads: list[threading.Thread] = []

    def want_token(self, min_lifetime: Seconds) -> None:
        self.household.daemon.want_token(min_lifetime)
        self.wishes.release()

    def __getattr__(self, name: str) -> object:
        return getattr(self.household.daemon, name)

    def come(self, min_lifetime: int) -> None:
        """Let all of them ask, and wait until as many wait as can."""
        self.threads = [
            threading.Thread(target=self._ask, args=(2000 + number, min_lifetime))
            for number in range(CLIENTS)
        ]
        for thread in self.threads:
            thread.start()
        for _ in range(AT_ONCE):
            assert self.wishes.acquire(timeout=LONG)

    def leave(self) -> None:
        """Wait until each has its answer."""
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()

    def _ask(self, uid: int, min_lifetime: int) -> None:
        visitor = Visitor(self.path, Caller(uid, frozenset({READERS})))
        try:
            answered = visitor.ask(f"/v1/token?min_lifetime={min_lifetime}", Connection="close")
            self.answers.append(answered.fields.get("access_token") or answered.fields["status"])
        finally:
            visitor.close()


TRY_AGAIN = 503


@contextmanager
def crowd_before(household: Household, folder: Path) -> Iterator[Crowd]:
    path = folder / "api.sock"
    crowd = Crowd(household, path)
    permissions = Permissions(READERS, ADMINISTRATORS, os.geteuid())
    api = Api(
        household.feed,
        crowd,  # type: ignore[arg-type]  # the rest is the daemon's
        household.world.clock,
        listener=path,
        permissions=permissions,
        identify=identify,
    )
    api.start()
    try:
        yield crowd
    finally:
        api.close()


@pytest.mark.parametrize("is_away", [False, True])
def test_two_hundred_clients_across_an_expiry_cause_one_refresh(tmp_path: Path, *, is_away: bool) -> None:
    with (
        open_world(tmp_path) as world,
        open_household(world) as household,
        crowd_before(household, tmp_path) as crowd,
    ):
        household.link()
        if is_away:  # the token runs out while the provider is away, and the crowd comes as it is back
            household.at(100, lambda: world.script("refresh", {"status": 503, "times": None}))
            household.at(4000, world.amazon.clear_faults)
        come_at = 4001 if is_away else 2000
        household.at(come_at, lambda: crowd.come(60 if is_away else 3590))
        household.at(come_at + (400 if is_away else 1), crowd.leave)
        household.live(come_at + 500)

        proof, shared = 1, 1
        assert [grant.refreshes for grant in world.amazon.grants()] == [proof + shared]
        assert len(crowd.answers) == CLIENTS
        # while a refresh is waited for after a failure, whoever asks is told at once to try again
        assert len(set(crowd.answers) - ({TRY_AGAIN} if is_away else set())) <= 1
        assert is_away or TRY_AGAIN not in crowd.answers
