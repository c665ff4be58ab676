"""Links a thousand simulated speakers at once with one simulated Amazon, which must have nothing to complain of.

Run: python -m tests.bench.speakers [--speakers N] [--interval S]. Every speaker is the machine that ships, with its own
loop, connection and folders, over real HTTP and in real time; a process for each core holds some of them. Once all
show a code, the owners approve all at the same moment. Ends with 1 if a speaker is not linked or the referee complains.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from device_auth.core import linking
from device_auth.core.models import DialectName, Provider, Seconds, View, later
from device_auth.core.states import StateWord
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient
from device_auth.world.clock import BootClock
from device_auth.world.pending import FilePending
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from device_auth.world.transport import HttpTransport
from tests.bench.figures import CLIENT_ID, MEMORY, Amazon, simulated_amazon

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.sharedctypes import Synchronized

BOUND = 180.0
"""Seconds; a speaker that is not linked by then never will be."""


@dataclass(frozen=True)
class Crowd:
    """The speakers of one process.

    Attributes:
        numbers: which they are.
        folder: where each has its folders.
    """

    numbers: range
    folder: Path
    base_url: str


def live(crowd: Crowd, showing: "Synchronized[int]", linked: "Queue[float | None]") -> None:
    """Link every speaker of a crowd, each on a thread of its own.

    Args:
        crowd: who.
        showing: counts the codes that are shown.
        linked: takes the moment at which each was linked, or None if it was not.
    """
    _allow_many_files()
    # Each thread that waits for the interpreter wakes so often: with hundreds, that would be most of the work.
    sys.setswitchinterval(0.1)

    def shows() -> None:
        with showing.get_lock():
            showing.value += 1

    def link(number: int) -> None:
        linked.put(link_one(crowd, number, shows))

    threads = [threading.Thread(target=link, args=(number,)) for number in crowd.numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def link_one(crowd: Crowd, number: int, shows: Callable[[], None]) -> float | None:
    """Link one speaker; give the moment at which it was told so."""
    clock = BootClock()
    place = crowd.folder / str(number)
    provider = Provider(
        dialect=DialectName.LWA,
        client_id=CLIENT_ID,
        scope="alexa:all",
        device_endpoint=f"{crowd.base_url}create/codepair",
        token_endpoint=f"{crowd.base_url}token",
        product_id="kitchen",
        dsn=f"K-{number:04}",
    )
    codes: set[str] = set()

    def tell(view: View) -> None:
        if view.state is StateWord.WAITING and view.code_pair is not None and not codes:
            codes.add(view.code_pair.user_code)
            shows()

    conversation = ProviderClient(HttpTransport(clock), provider)
    with FileStore(place / "state") as store:
        loop = Loop(
            provider_client=conversation,
            store=store,
            pending=FilePending(place / "run", clock),
            tokens=FileTokens(place / "run", clock),
            clock=clock,
            tell=tell,
            chance=lambda: number % 100 / 100,
            new_link_id=lambda: f"link-{number}",
        )
        loop.link(linking.LinkRequested(conversation.rules))
        loop.run(
            lambda: isinstance(loop.state, linking.Linked | linking.Unlinked),
            later(clock.now(), Seconds(BOUND)),
        )
    return time.monotonic() if isinstance(loop.state, linking.Linked) else None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--speakers", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=5, help="seconds between a speaker's polls")
    parser.add_argument("--folder", type=Path, default=MEMORY, help="where their folders are made")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=args.folder) as folder,
        simulated_amazon("--interval", str(args.interval)) as amazon,
    ):
        began_at = time.monotonic()
        approved_at, ends = _link_all(args.speakers, Path(folder), amazon)
        took = time.monotonic() - began_at
        state = _ask(amazon.control + "state")
        complaints = _ask(amazon.control + "referee")["complaints"]
        memory, cpu = amazon.stop()
    linked = [end for end in ends if end is not None]
    requests = sum(1 + pair["polls"] for pair in state["pairs"])
    requests += sum(grant["refreshes"] for grant in state["grants"])
    print(f"speakers: {args.speakers} at once, an interval of {args.interval} s, one simulated Amazon")
    print(f"  linked {len(linked)}   complaints {len(complaints)}   {requests} requests in {took:.1f} s")
    a_request = cpu / requests * 1e3
    print(
        f"  the simulated Amazon: at most {memory:.0f} MiB; {a_request:.2f} ms of CPU a request, its start included"
    )
    if linked:
        waits = sorted(end - approved_at for end in linked)
        middle, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        print(f"  approval to linked: p50 {middle:.2f} s, p99 {late:.2f} s (the interval is waited for)")
    return 0 if len(linked) == args.speakers and not complaints else 1


def _link_all(speakers: int, folder: Path, amazon: Amazon) -> tuple[float, list[float | None]]:
    """Link them all; give when their owners approved, and when each was linked."""
    context = multiprocessing.get_context("spawn")
    showing = context.Value("i", 0)
    linked: Queue[float | None] = context.Queue()
    share = -(-speakers // (os.cpu_count() or 1))
    crowds = [
        Crowd(range(first, min(first + share, speakers)), folder, amazon.base_url)
        for first in range(0, speakers, share)
    ]
    processes = [context.Process(target=live, args=(crowd, showing, linked), daemon=True) for crowd in crowds]
    for process in processes:
        process.start()
    until = time.monotonic() + BOUND
    while showing.value < speakers and time.monotonic() < until:
        time.sleep(0.01)
    approved_at = time.monotonic()
    _ask(amazon.control + "approve", {"user_code": "all"})
    ends: list[float | None] = []
    with suppress(Empty):
        while len(ends) < speakers:
            ends.append(linked.get(timeout=max(0.0, until - time.monotonic())))
    for process in processes:
        process.join(5)
        process.kill()
    return approved_at, ends


def _ask(url: str, fields: dict[str, str] | None = None) -> Any:
    """Ask the control API; with fields, tell it."""
    body = None if fields is None else json.dumps(fields).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  the address is our own
    with urlopen(request, timeout=30) as answer:  # noqa: S310  the same
        return json.load(answer)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each speaker has a folder, a connection and a hold on it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
