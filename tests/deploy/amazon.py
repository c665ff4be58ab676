"""In the virtual machine: a simulated Amazon on port 8100 that keeps its grants over a boot; its owner approves after a second."""

import os
import signal
import time
from pathlib import Path

from device_auth.service.systemd import Notifier
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import serve


def main() -> None:
    """Serve until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in its threads, too
    amazon = Amazon(
        Options(interval=5, approve_after=1),
        clock=time.time,
        memory=Path(os.environ["MEMORY"]) / "memory.json",
    )
    running = serve(amazon, port=8100)
    Notifier(os.environ).ready()
    signal.sigwait({signal.SIGTERM})
    running.stop()


if __name__ == "__main__":
    main()
