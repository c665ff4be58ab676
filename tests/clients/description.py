"""Has schemathesis make up requests from the simulated Amazon's description, and judge the responses by it.

Run: make test-clients, or python -m tests.clients.description. Faults are scripted in a run of their own: after them, a
response is not what the description says, on purpose.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.control import DESCRIPTION
from device_auth.simulator.models import Options
from device_auth.simulator.server import serve
from tests.clients.matrix import PYTHON

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
RUNS: Final = (("--exclude-path", "/control/faults"), ("--include-path", "/control/faults"))


def main() -> int:
    statuses = []
    for words in RUNS:
        with serve(Amazon(Options(), clock=time.monotonic)) as running:
            command: list[str | Path] = [
                *(PYTHON.with_name("schemathesis"), "--config-file", CONFIG, "run", str(DESCRIPTION)),
                *("--url", running.origin, "--max-examples", "30", "--no-color", *words),
            ]
            statuses.append(subprocess.run(command, check=False).returncode)
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
