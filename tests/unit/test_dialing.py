"""The addresses of a name race. Every server is on loopback; a dead address is one whose queue is full."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from device_auth.core.models import Seconds
from device_auth.world.bounded import bounded
from device_auth.world.dialing import Address, CallCancelled, CancelHandle, Dialer
from tests.ipv6 import needs_ipv6
from tests.threads import no_room_for_threads
from tests.waiting import LONG

V4, V6 = socket.AF_INET, socket.AF_INET6
LOOPBACK: dict[int, str] = {V4: "127.0.0.1", V6: "::1"}
PORT = 443


pytestmark = needs_ipv6


class Network:
    """Addresses that are made here, and the names they have."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.names: dict[int, list[Address] | OSError | threading.Event] = {V4: [], V6: []}
        self.was_asked = threading.Event()
        self._listening: dict[Address, socket.socket] = {}

    def good(self, family: int = V4) -> Address:
        return self._listen(family, backlog=8)

    def dead(self, family: int = V4) -> Address:
        """An address that swallows the first packet of every connection."""
        address = self._listen(family, backlog=0)
        filler = self._stack.enter_context(socket.socket(family))
        filler.connect(address.where)
        return address

    def refusing(self, family: int = V4) -> Address:
        # Bound and not listening: nobody else can listen there meanwhile.
        sock = self._stack.enter_context(socket.socket(family))
        sock.bind((LOOPBACK[family], 0))
        return Address(family, sock.getsockname())

    def without_route(self) -> Address:
        return Address(V4, ("255.255.255.255", PORT))

    def resolve(self, host: str, port: int, family: int) -> list[Address]:
        assert (host, port) == ("amazon.test", PORT)
        self.was_asked.set()
        answer = self.names[family]
        if isinstance(answer, threading.Event):
            answer.wait()
            return []
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _listen(self, family: int, backlog: int) -> Address:
        sock = self._stack.enter_context(socket.socket(family))
        sock.bind((LOOPBACK[family], 0))
        sock.listen(backlog)
        address = Address(family, sock.getsockname())
        self._listening[address] = sock
        return address

    def close(self, address: Address) -> None:
        self._listening[address].close()


class Handle(CancelHandle):
    """Remembers which connections were begun, in order, and which are still open."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[socket.socket] = []
        self.ended: list[socket.socket] = []
        self.watched = threading.Event()

    def watch(self, in_use: socket.socket) -> socket.socket:
        duplicate = super().watch(in_use)
        self.begun.append(duplicate)
        self.watched.set()
        return duplicate

    def unwatch(self, duplicate: socket.socket) -> None:
        super().unwatch(duplicate)
        self.ended.append(duplicate)


class Dialling:
    """A connection that is being made, on a thread of its own."""

    def __init__(self, dialer: Dialer, handle: CancelHandle) -> None:
        self._outcome: list[str] = []
        self._thread = threading.Thread(target=self._dial, args=(dialer, handle), daemon=True)
        self._thread.start()

    def was_cancelled(self) -> bool:
        self._thread.join(LONG)
        return self._outcome == ["cancelled"]

    def _dial(self, dialer: Dialer, handle: CancelHandle) -> None:
        try:
            dialer.dial("amazon.test", PORT, None, handle).close()
        except CallCancelled:
            self._outcome.append("cancelled")


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        made = Network(stack)
        yield made
        for answer in made.names.values():
            if isinstance(answer, threading.Event):
                answer.set()


@pytest.fixture
def dialer(network: Network) -> Dialer:
    return Dialer(network.resolve)


@pytest.fixture
def handle() -> Iterator[Handle]:
    made = Handle()
    yield made
    made.release()


def reached(dialer: Dialer, handle: CancelHandle) -> Address:
    with dialer.dial("amazon.test", PORT, Seconds(LONG), handle) as sock:
        return Address(sock.family, sock.getpeername())


@pytest.mark.parametrize("good_family", [V4, V6])
@pytest.mark.parametrize("dead_family", [V4, V6])
def test_a_good_address_is_reached_behind_eight_dead_ones(
    network: Network, dialer: Dialer, handle: Handle, good_family: int, dead_family: int
) -> None:
    dead = [network.dead(dead_family) for _ in range(8)]
    good = network.good(good_family)
    network.names.update(
        {dead_family: dead, good_family: [good]}
        if good_family != dead_family
        else {good_family: [*dead, good]}
    )

    assert reached(dialer, handle) == good


def test_the_families_alternate_and_ipv6_begins(network: Network, dialer: Dialer, handle: Handle) -> None:
    good = network.good(V6)
    network.names[V6] = [network.refusing(V6), good]
    network.names[V4] = [network.refusing(), network.dead(), network.dead()]

    assert reached(dialer, handle) == good
    assert [duplicate.family for duplicate in handle.ended] == [V6, V4][: len(handle.ended)]


def test_the_address_that_worked_is_the_only_one_tried_the_next_time(
    network: Network, dialer: Dialer, handle: Handle
) -> None:
    good = network.good()
    network.names[V6] = [network.dead(V6) for _ in range(3)]
    network.names[V4] = [network.dead(), good]
    reached(dialer, handle)
    before = len(handle.begun)

    assert reached(dialer, handle) == good
    assert len(handle.begun) == before + 1


def test_the_address_that_worked_waits_for_no_attempt_that_began_before_its_family_was_known(
    network: Network, handle: Handle
) -> None:
    def resolve(host: str, port: int, family: int) -> list[Address]:
        if family == V4 and network.names[V6]:
            assert handle.watched.wait(LONG)
        return network.resolve(host, port, family)

    dialer = Dialer(resolve, attempt_delay=Seconds(1e6))
    network.names[V4] = [good := network.good()]
    reached(dialer, handle)
    handle.watched.clear()
    network.names[V6] = [network.dead(V6), network.dead(V6)]

    # the kernel gives a silent address up after two minutes: that would be an end of the attempt before it
    assert bounded(partial(reached, dialer, handle), Seconds(60)) == good
    assert len(handle.begun) == 3


def test_an_address_that_worked_and_is_the_names_no_longer_is_not_tried(
    network: Network, dialer: Dialer, handle: Handle
) -> None:
    network.names[V4] = [network.good()]
    reached(dialer, handle)
    network.names[V4] = [later := network.good()]

    assert reached(dialer, handle) == later


def test_an_address_that_worked_and_has_died_gives_way(
    network: Network, dialer: Dialer, handle: Handle
) -> None:
    former, next_one = network.good(), network.good()
    network.names[V4] = [former]
    reached(dialer, handle)
    network.close(former)
    network.names[V4] = [former, next_one]

    assert reached(dialer, handle) == next_one


@pytest.mark.parametrize("silent_family", [V4, V6])
def test_a_resolver_that_drops_one_kind_of_question_costs_nothing(
    network: Network, dialer: Dialer, handle: Handle, silent_family: int
) -> None:
    network.names[silent_family] = threading.Event()
    spoken = V4 if silent_family == V6 else V6
    good = network.good(spoken)
    network.names[spoken] = [good]

    assert reached(dialer, handle) == good


@pytest.mark.parametrize("family", [V4, V6])
def test_a_name_of_one_family_is_reached(
    network: Network, dialer: Dialer, handle: Handle, family: int
) -> None:
    network.names[V4] = network.names[V6] = socket.gaierror(socket.EAI_NONAME, "no such name")
    good = network.good(family)
    network.names[family] = [good]

    assert reached(dialer, handle) == good


def test_a_family_without_a_route_is_passed_over(network: Network, dialer: Dialer, handle: Handle) -> None:
    good = network.good(V4)
    network.names[V6] = [Address(V6, ("2001:db8::1", PORT, 0, 0))]
    network.names[V4] = [network.without_route(), good]

    assert reached(dialer, handle) == good


def test_the_losers_are_closed(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V6] = [network.dead(V6)]
    network.names[V4] = [network.dead(), network.good()]

    with dialer.dial("amazon.test", PORT, Seconds(LONG), handle):
        assert len(handle.begun) - len(handle.ended) == 1
        assert all(duplicate.fileno() == -1 for duplicate in handle.ended)


def test_the_socket_has_the_time_out_that_was_given(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = [network.good()]

    with dialer.dial("amazon.test", PORT, Seconds(7), handle) as sock:
        assert sock.gettimeout() == 7


def test_dead_addresses_alone_time_out(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = [network.dead(), network.dead()]

    with pytest.raises(TimeoutError):
        dialer.dial("amazon.test", PORT, Seconds(0.3), handle)


def test_a_refusal_says_more_than_a_missing_route(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = [network.without_route(), network.refusing()]

    with pytest.raises(ConnectionRefusedError):
        reached(dialer, handle)


def test_without_any_route_that_is_the_reason(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = [network.without_route()]

    with pytest.raises(OSError, match=r"unreachable|denied") as raised:
        reached(dialer, handle)

    assert raised.value.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}


@pytest.mark.parametrize("family", [V4, V6])
def test_a_resolver_that_fails_is_told_before_a_name_that_is_none(
    network: Network, dialer: Dialer, handle: Handle, family: int
) -> None:
    network.names[V4] = network.names[V6] = socket.gaierror(socket.EAI_NONAME, "no such name")
    network.names[family] = socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(socket.gaierror, match="try again"):
        reached(dialer, handle)


def test_a_name_without_addresses_is_an_error(dialer: Dialer, handle: Handle) -> None:
    with pytest.raises(OSError, match="no address"):
        reached(dialer, handle)


def test_without_room_for_a_thread_it_is_an_error_that_passes(dialer: Dialer, handle: Handle) -> None:
    before = set(Path("/proc/self/fd").iterdir())

    with no_room_for_threads(), pytest.raises(BlockingIOError):
        reached(dialer, handle)

    # a thread of an earlier test may close its own meanwhile
    assert not set(Path("/proc/self/fd").iterdir()) - before


def test_an_impossible_name_is_an_error() -> None:
    with pytest.raises(UnicodeError):
        Dialer().dial("a" * 64 + ".test", PORT, Seconds(LONG), CancelHandle())


def test_it_ends_when_it_is_cancelled_in_a_look_up(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = network.names[V6] = threading.Event()
    dialling = Dialling(dialer, handle)
    assert network.was_asked.wait(LONG)
    handle.cancel()

    assert dialling.was_cancelled()


def test_it_ends_when_it_is_cancelled_in_a_connection(
    network: Network, dialer: Dialer, handle: Handle
) -> None:
    network.names[V4] = [network.dead()]
    dialling = Dialling(dialer, handle)
    assert handle.watched.wait(LONG)
    handle.cancel()

    assert dialling.was_cancelled()


def test_nothing_begins_once_it_is_cancelled(network: Network, dialer: Dialer, handle: Handle) -> None:
    network.names[V4] = [network.good()]
    handle.cancel()

    with pytest.raises(CallCancelled):
        reached(dialer, handle)

    assert handle.begun == []
