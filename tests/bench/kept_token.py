"""Compares ``device-auth token``, while the kept token is good, with the least that prints it, and with no work at all.

Run: python -m tests.bench.kept_token [--rounds N].
"""

import argparse
import tempfile
from pathlib import Path

from tests.bench.figures import (
    CLIENT_ID,
    MEMORY,
    PROGRAM,
    ROOT,
    run,
    run_in_turn,
    simulated_amazon,
    tell_ratio,
    tell_runs,
)

BOUND = 60.0
"""Seconds for all the rounds."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=MEMORY) as memory:
        places = ["--state-dir", disk, "--runtime-dir", memory]
        with simulated_amazon("--approve-after", "0", "--interval", "1") as amazon:
            speaker = ["--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"]
            run([*PROGRAM, "link", "--json", *speaker, "--base-url", amazon.base_url, *places])
        runs = run_in_turn(
            {
                "device-auth token": lambda: [*PROGRAM, "token", *places],
                "bare reading of the token file": lambda: [
                    str(ROOT / "tests" / "bench" / "bare_token.py"),
                    str(Path(memory) / "token.json"),
                ],
                "python -c pass": lambda: ["-c", "pass"],
            },
            rounds,
            BOUND,
        )
    print("token: whole process, the kept one is good")
    tell_runs(runs)
    ours, bare, nothing = runs.values()
    tell_ratio("ratio to the bare reading, wall", [one.wall for one in ours], [one.wall for one in bare])
    tell_ratio("ratio to python -c pass, wall", [one.wall for one in ours], [one.wall for one in nothing])


if __name__ == "__main__":
    main()
