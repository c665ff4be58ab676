"""Measures how long an owner waits from his approval until the speaker is linked, over real HTTP.

Run: python -m tests.bench.approval [--links N] [--near]. Each link is made by the loop that ships, with real files and a
simulated Amazon of its own, on a clock that skips the waits and counts what requests and the disk take for real; a
round trip of 0.1 to 0.4 s comes on top, half of it each way (``--near``: none). Owners approve 19 to 49 s after
they see the code, each at another moment, evenly spread.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from device_auth.core import linking
from device_auth.core.models import (
    FOREVER,
    NEVER,
    DialectName,
    Monotonic,
    Unreachable,
    WireRequest,
    WireResponse,
)
from device_auth.wire import lwa, rfc8628
from device_auth.world.route import Authorities
from device_auth.world.transport import HttpTransport
from tests.world import SkippingClock, is_over, open_loop, open_world

T = TypeVar("T")

SLOW_DOWN: Final = ({"times": 2}, {"slow_down": True})
"""The third poll is answered with ``slow_down``."""


@dataclass(frozen=True)
class Way:
    """A way of polling, and what the provider answers.

    Attributes:
        told: the interval that the provider tells, in seconds.
        faults: of the answers to polls.
    """

    name: str
    dialect: DialectName = DialectName.LWA
    told: int = 30
    is_as_told: bool = False
    faults: Sequence[Mapping[str, object]] = ()


WAYS: Final = (
    Way("LWA, every 5 s"),
    Way("LWA, slow_down at the third poll", faults=SLOW_DOWN),
    Way('LWA, poll_every = "told"', is_as_told=True),
    Way("RFC 8628, 5 s told", DialectName.RFC8628, told=5),
)


class HurryingClock(SkippingClock):
    """A clock on which requests and files take as long as they do, and waits take nothing."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__()

    @property
    def moment(self) -> float:
        return time.monotonic() + self.ahead

    @moment.setter
    def moment(self, moment: float) -> None:
        self.ahead = moment - time.monotonic()

    def take(self, inbox: SimpleQueue[T], until: Monotonic) -> T | None:
        try:
            return inbox.get(timeout=self.patience if self.is_asking() else 0)
        except Empty:
            assert until < NEVER, "the loop waits for nothing"
            self.skip(max(0.0, until - self.moment))
            return None

    def skip(self, length: float) -> None:
        """Let time pass at once."""
        self.ahead += length


class FarTransport(HttpTransport):
    """Carries requests to a provider that is as far away as Amazon is."""

    def __init__(self, clock: HurryingClock, *, authorities: Authorities, chance: random.Random) -> None:
        super().__init__(clock, authorities=authorities)
        self._skip = clock.skip
        self._chance = chance

    def send(self, request: WireRequest) -> WireResponse | Unreachable:
        one_way = self._chance.uniform(0.05, 0.2)
        self._skip(one_way)
        answer = super().send(request)
        self._skip(one_way)
        return answer


@dataclass(frozen=True)
class LinkMade:
    """A link that was made: seconds from approval to it, its polls, and the complaints of the referee."""

    waited: float
    polls: int
    complaints: list[str]


def link(way: Way, number: int, *, of: int, is_near: bool) -> LinkMade:
    """Make one link of so many."""
    chance, clock = random.Random(number), HurryingClock()  # noqa: S311  a bench, and the same each time
    approves_after = 19 + 30 * (number + chance.random()) / of
    rules = lwa.RULES if way.dialect is DialectName.LWA else rfc8628.RULES
    request = linking.LinkRequested(replace(rules, at_most=FOREVER) if way.is_as_told else rules)
    make_transport = HttpTransport if is_near else partial(FarTransport, chance=chance)
    with (
        tempfile.TemporaryDirectory() as name,
        open_world(
            Path(name), way.dialect, clock=clock, approve_after=approves_after, interval=way.told
        ) as world,
        open_loop(world.folder, clock, world.provider, world.tell, make_transport=make_transport) as loop,
    ):
        if way.faults:
            world.script("token-poll", *way.faults)
        loop.link(request)
        loop.run(lambda: is_over(loop))
        linked_at = clock.moment
        assert loop.state == linking.Linked(), loop.state
        (pair,) = world.amazon.pairs()
        return LinkMade(linked_at - pair.issued_at - approves_after, pair.polls, world.complaints())


def at_share(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--links", type=int, default=200, help="for each way of polling (default: 200)")
    parser.add_argument("--near", action="store_true", help="with no other round trip than loopback's")
    wishes = parser.parse_args()
    print(f"From approval to linked, in seconds; {wishes.links} links each\n")
    print(f"  {'':34}{'mean':>6}{'median':>8}{'p95':>7}{'polls a link':>14}{'complaints':>12}")
    complaints = []
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for way in WAYS:
            make = partial(link, way, of=wishes.links, is_near=wishes.near)
            links = pool.map(make, range(wishes.links), chunksize=1)
            waited = [each.waited for each in links]
            polls = sum(each.polls for each in links) / len(links)
            found = [complaint for each in links for complaint in each.complaints]
            complaints += found
            print(
                f"  {way.name:34}{sum(waited) / len(waited):6.2f}{at_share(waited, 0.5):8.2f}{at_share(waited, 0.95):7.2f}"
                f"{polls:14.1f}{len(found):12}",
                flush=True,
            )
    if complaints:
        raise SystemExit("\n".join(complaints))


if __name__ == "__main__":
    main()
