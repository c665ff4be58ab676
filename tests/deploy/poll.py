"""In the virtual machine: ask the service for its status until SIGTERM; print how long the longest answer took, and how each became.

Ends with 1 where a program was refused, or left without an answer.
"""

import signal
import socket
import sys
import time

REQUEST = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ask() -> str:
    """Return the status code, or how it failed."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect("/run/device-auth/api.sock")
            connection.sendall(REQUEST)
            answer = connection.recv(65536)
    except OSError as error:
        return type(error).__name__
    return answer.split(b" ", 2)[1].decode() if answer else "closed"


def main() -> None:
    """Poll five times a second."""
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    answered, gap, counts = time.monotonic(), 0.0, dict[str, int]()
    while not over:
        became = ask()
        counts[became] = counts.get(became, 0) + 1
        now = time.monotonic()
        if became == "200":
            gap, answered = max(gap, now - answered), now
        time.sleep(0.2)
    print(f"gap of answers: {gap:.1f} s;", *(f"{count} x {name}" for name, count in counts.items()))
    sys.exit(0 if set(counts) == {"200"} else 1)


if __name__ == "__main__":
    main()
