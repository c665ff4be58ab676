"""Measures a link, and refreshes after it, where the provider's name has eight dead addresses before the good one.

Run as root: python -m tests.bench.dead_addresses. A network of its own swallows every packet to the dead addresses,
four of each family. Each refresh has a connection of its own, as it has after 40 minutes of rest; the first one of a
process races the addresses, the second goes to the one that answered.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from device_auth.core.models import TokenGrant
from device_auth.service.provider_client import ProviderClient
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import serve
from device_auth.world.clock import BootClock
from device_auth.world.store import FileStore
from device_auth.world.transport import HttpTransport
from tests.bench.figures import CLIENT_ID, PROGRAM, ROOT, quartiles
from tests.dead_network import DEAD, MAKE_NETWORK, NAMESPACE, has_namespaces


def measure(folder: Path, rounds: int) -> None:
    """Measure in the network of this process, in which ``localhost`` has the dead addresses."""
    subprocess.run(["mount", "--bind", folder / "hosts", "/etc/hosts"], check=True)
    clock = BootClock()
    links, refreshes = [], []
    with serve(Amazon(Options(approve_after=0, interval=5), clock=clock.now)) as running:
        base_url = running.base_url.replace("127.0.0.1", "localhost")
        for number in range(rounds):
            state = folder / str(number)
            words = ["link", "--json", "--client-id", CLIENT_ID, "--product-id", "Bench", "--dsn", "B1"]
            words += ["--base-url", base_url, "--state-dir", str(state), "--runtime-dir", str(folder / "run")]
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, *PROGRAM, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
            )
            links.append(time.perf_counter() - begun)
            refreshes.append(refresh_thrice(state))
    print(f"  link, start to exit        {quartiles(links)[1]:6.2f} s, at most {max(links):.2f} s")
    for name, each in zip(("first", "second", "third"), zip(*refreshes, strict=True), strict=True):
        print(
            f"  {name} refresh of a process {' ' * (6 - len(name))} {quartiles(each)[1]:5.3f} s, at most {max(each):.3f} s"
        )


def refresh_thrice(state: Path) -> list[float]:
    link = FileStore(state).read()
    assert link is not None
    transport = HttpTransport(BootClock())
    client = ProviderClient(transport)
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        answer = client.refresh(link)
        took.append(time.perf_counter() - begun)
        assert isinstance(answer, TokenGrant), answer
        transport.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="(default: 10)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    wishes = parser.parse_args()
    if wishes.folder is not None:
        measure(wishes.folder, wishes.rounds)
        return
    if not has_namespaces():
        raise SystemExit("a network of its own is not allowed here")
    print(f"{len(DEAD)} dead addresses of both families, and the good one last", flush=True)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "hosts").write_text("".join(f"{ip} localhost\n" for ip in [*DEAD, "127.0.0.1"]))
        inside = [
            sys.executable,
            "-m",
            "tests.bench.dead_addresses",
            "--folder",
            name,
            "--rounds",
            str(wishes.rounds),
        ]
        shell = ["sh", "-c", MAKE_NETWORK + 'exec "$@"', "sh"]
        environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        subprocess.run([*NAMESPACE, *shell, *inside], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
