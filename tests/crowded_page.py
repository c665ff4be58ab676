"""The page, a neighbour with four addresses who takes all that he can get, and the owner, each with a card of its own.

Run as root: ``unshare --net --mount python -m tests.crowded_page``. It prints how many of the owner's loads came, and who
on the speaker itself read the code.
"""

import select
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final

from device_auth.service.page import PageSettings
from tests.page_bench import Bench, read_all
from tests.waiting import LONG

MAKE_NETWORK: Final = """
set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add br0 type bridge
ip address add 192.168.77.1/24 dev br0
ip link set br0 up
for name in greedy owner; do
    ip netns add $name
    ip link add $name type veth peer name card netns $name
    ip link set $name master br0
    ip link set $name up
    ip -n $name link set card up
done
for number in 11 12 13 14; do ip -n greedy address add 192.168.77.$number/24 dev card; done
ip -n owner address add 192.168.77.20/24 dev card
"""
SPEAKER: Final = ("192.168.77.1", 8080)
GREEDY: Final = [f"192.168.77.{number}" for number in range(11, 15)]
TRIES_OF_ONE: Final = 8
LOADS: Final = 12
HOST: Final = b"Host: 192.168.77.1\r\n\r\n"
EVENTS: Final = b"GET /events HTTP/1.1\r\n" + HOST


def be_greedy() -> None:
    """Hold as many event streams and silent connections as there are to be had, from each address, for ever."""
    held: dict[socket.socket, str] = {}
    take_all(held)
    print("he has taken what he can get", flush=True)
    while True:
        for connection in select.select(list(held), [], [], 0.01)[0]:
            with suppress(OSError):
                if connection.recv(65536):
                    continue
            connection.close()
            del held[connection]
        take_all(held)


def take_all(held: dict[socket.socket, str]) -> None:
    for source in GREEDY:
        while list(held.values()).count(source) < TRIES_OF_ONE:
            connection = socket.create_connection(SPEAKER, LONG, (source, 0))
            if len(held) % 2:
                connection.sendall(EVENTS)
            held[connection] = source


def own() -> None:
    """Open the page again and again, each time with its stream, and print how many times both came whole."""
    loads = 0
    for _ in range(LOADS):
        with suppress(OSError), socket.create_connection(SPEAKER, LONG) as stream:
            stream.sendall(EVENTS)
            loads += b" 200 " in stream.recv(65536) and b"FUP8UN" in load(SPEAKER[0])
    print(f"the owner's loads: {loads} of {LOADS}", flush=True)


def load(address: str, source: str = "") -> bytes:
    """Return what a visitor of the page reads."""
    with socket.create_connection((address, SPEAKER[1]), LONG, (source, 0)) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        return read_all(connection)


def speak() -> None:
    """Serve the page, and let both come."""
    subprocess.run(["sh", "-c", MAKE_NETWORK], check=True)
    with Bench(nearness=None, settings=PageSettings((f"0.0.0.0:{SPEAKER[1]}",))) as bench:
        bench.wait_for_approval()
        for address, source in (("127.0.0.1", ""), (SPEAKER[0], ""), (SPEAKER[0], SPEAKER[0])):
            reads = b"FUP8UN" in load(address, source)
            print(f"a program on the speaker that dials {address} reads the code: {reads}", flush=True)
        in_greedy, in_owner = (
            ["ip", "netns", "exec", name, sys.executable, "-m", "tests.crowded_page", name]
            for name in ("greedy", "owner")
        )
        with subprocess.Popen(in_greedy, stdout=subprocess.PIPE) as greedy:
            if greedy.stdout is not None:
                greedy.stdout.readline()
            subprocess.run(in_owner, check=True)
            greedy.kill()


if __name__ == "__main__":
    {"speaker": speak, "greedy": be_greedy, "owner": own}[(*sys.argv, "speaker")[1]]()
