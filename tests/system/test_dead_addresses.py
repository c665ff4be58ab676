"""A name with eight dead addresses and a good one, in a network of its own: every packet to the dead ones is swallowed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, bare_environment
from tests.world import CLIENT_ID

NAMESPACE = ["unshare", "--net", "--mount"]

MAKE_NETWORK = """
set -e
ip link set lo up
ip link add eth8 type veth peer name eth9
ip link set eth9 up
ip link set eth8 up
ip address add 192.0.2.1/24 dev eth8
ip address add 2001:db8::1/64 dev eth8 nodad
for number in 2 3 4 5; do
    ip neighbour add 192.0.2.$number lladdr 02:00:00:00:00:01 dev eth8 nud permanent
    ip neighbour add 2001:db8::$number lladdr 02:00:00:00:00:01 dev eth8 nud permanent
done
"""
"""Neighbours that nobody is: without the entries the kernel would find out, and say so after three seconds."""

HOSTS = "\n".join(
    [
        *(f"2001:db8::{number} localhost" for number in range(2, 6)),
        *(f"192.0.2.{number} localhost" for number in range(2, 6)),
        "127.0.0.1 localhost",
    ]
)

LINK = """
import subprocess, sys
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import serve
from device_auth.world.clock import BootClock
hosts, *words = sys.argv[1:]
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
with serve(Amazon(Options(approve_after=0, interval=1), clock=BootClock().now)) as running:
    base_url = running.base_url.replace("127.0.0.1", "localhost")
    sys.exit(subprocess.run([sys.executable, "-m", "device_auth", "link", "--base-url", base_url, *words]).returncode)
"""


def has_namespaces() -> bool:
    trying = [*NAMESPACE, "sh", "-c", MAKE_NETWORK]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(trying, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not has_namespaces(), reason="a network of its own is not allowed here")
def test_a_speaker_is_linked_by_the_one_address_that_answers(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS)
    words = ["--json", "--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"]
    places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]

    ended = subprocess.run(
        [
            *(*NAMESPACE, "sh", "-c", MAKE_NETWORK + 'exec "$@"', "sh"),
            *(sys.executable, "-c", LINK, str(tmp_path / "hosts"), *words, *places, "--timeout", "60"),
        ],
        cwd=ROOT,
        env=bare_environment(),
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == ["code", "linked"]
