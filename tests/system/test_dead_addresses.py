"""A name with dead addresses and a good one, in a network of its own: every packet to the dead ones is swallowed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, bare_environment
from tests.dead_network import DEAD, MAKE_NETWORK, NAMESPACE, has_namespaces
from tests.world import CLIENT_ID

NO_ROUTE_BY_IPV6 = "ip -6 address flush dev eth8; "
NO_ROUTE_BY_IPV4 = "ip -4 address flush dev eth8; "
NO_IPV6 = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; "

NETWORKS = {
    "8 dead of 9": ("", [*DEAD, "127.0.0.1"]),
    "8 dead of 9, the good one by IPv6": ("", [*DEAD, "::1"]),
    "IPv4 only": (NO_IPV6, ["127.0.0.1"]),
    "IPv4 only, the name has both": (NO_IPV6, ["fd00:8::2", "127.0.0.1"]),
    "IPv6 only": (NO_ROUTE_BY_IPV4, ["::1"]),
    "no route by IPv6": (NO_ROUTE_BY_IPV6, ["fd00:9::2", "127.0.0.1"]),
    "no route by IPv4": (NO_ROUTE_BY_IPV4, ["10.9.9.2", "::1"]),
}
"""What is done to the network, and the addresses of the provider's name; the last answers."""

QUICK = ("8 dead of 9", "IPv6 only")
"""The networks of ``make test``: each is three processes in namespaces, and half a second of a core."""

LINK = """
import subprocess, sys
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from device_auth.world.clock import BootClock
from tests.simulated_speaker import strict
hosts, host, *words = sys.argv[1:]
doctor = words[:words.index("--timeout")]
subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)

with serve(Amazon(strict(approve_after=0, interval=1), clock=BootClock().now), host=host) as running:
    base_url = running.base_url.replace("127.0.0.1", "localhost").replace("[::1]", "localhost")
    start = [sys.executable, "-m", "device_auth"]
    linked = subprocess.run([*start, "link", "--base-url", base_url, *words]).returncode
    subprocess.run([*start, "doctor", "--base-url", base_url, *doctor])
    sys.exit(linked)
"""


@pytest.mark.skipif(not has_namespaces(), reason="a network of its own is not allowed here")
@pytest.mark.parametrize(
    ("made", "ips"),
    [
        pytest.param(*network, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, network in NETWORKS.items()
    ],
)
def test_a_speaker_is_linked_by_the_one_address_that_answers_and_the_doctor_names_the_dead(
    tmp_path: Path, made: str, ips: list[str]
) -> None:
    (tmp_path / "hosts").write_text("".join(f"{ip} localhost\n" for ip in ips))
    words = ["--json", "--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"]
    places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]

    ended = subprocess.run(
        [
            *(*NAMESPACE, "sh", "-c", MAKE_NETWORK + made + 'exec "$@"', "sh"),
            *(
                sys.executable,
                "-c",
                LINK,
                str(tmp_path / "hosts"),
                ips[-1],
                *words,
                *places,
                "--timeout",
                "60",
            ),
        ],
        cwd=ROOT,
        env=bare_environment(),
        check=False,
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    *events, examined = (json.loads(line) for line in ended.stdout.splitlines())
    assert [event["event"] for event in events] == ["code", "linked"]
    network = {each["code"]: each for each in examined["findings"] if each["code"].startswith("N")}
    is_dead = set(DEAD) <= set(ips)
    assert network["N9"]["verdict"] == ("warn" if is_dead else "ok"), network["N9"]
    assert set(network["N9"].get("facts", {}).get("dead", "").split()) == (set(DEAD) if is_dead else set())
    assert {code for code, each in network.items() if each["verdict"] != "ok"} <= {"N9"}
