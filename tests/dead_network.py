"""A network of its own with addresses that swallow every packet, so that a connection to one is never answered."""

import shutil
import subprocess
from typing import Final

NAMESPACE: Final = ["unshare", "--net", "--mount"]

MAKE_NETWORK: Final = """
set -e
ip link set lo up
ip link add eth8 type veth peer name eth9
ip link set eth9 up
ip link set eth8 up
ip address add 10.8.8.1/24 dev eth8
ip address add fd00:8::1/64 dev eth8 nodad
for number in 2 3 4 5; do
    ip neighbour add 10.8.8.$number lladdr 02:00:00:00:00:01 dev eth8 nud permanent
    ip neighbour add fd00:8::$number lladdr 02:00:00:00:00:01 dev eth8 nud permanent
done
"""
"""Neighbours that nobody is: without the entries the kernel would find out, and say so after three seconds."""

DEAD: Final = [
    *(f"fd00:8::{number}" for number in range(2, 6)),
    *(f"10.8.8.{number}" for number in range(2, 6)),
]


def has_namespaces() -> bool:
    """Return whether such a network can be made here."""
    trying = [*NAMESPACE, "sh", "-c", MAKE_NETWORK]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(trying, check=False, capture_output=True).returncode == 0
    )
