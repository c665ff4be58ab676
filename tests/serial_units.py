"""Units at the end of a serial line: a real shell or login on a pseudo-terminal, and a cable that can be noisy.

The station opens one pseudo-terminal, the unit's shell runs on another, and a thread carries the bytes between them.
"""

import os
import select
import signal
import subprocess
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.sshd import descendants_of
from tests.waiting import wait_for

LOGIN: Final = r"""
trap : INT
while :; do
    stty echo
    printf '\r\nDebian GNU/Linux 13 unit ttyS0\r\n\r\nunit login: '
    read -r user || continue
    printf 'Password: '
    stty -echo
    read -r password
    stty echo
    printf '\n'
    if [ "$user $password" = "root open sesame" ]; then
        printf 'Linux unit 6.12.0\nLast login: Mon Nov 30\n'
        trap - INT
        exec bash --noprofile --norc -i
    else
        printf 'Login incorrect\n'
    fi
done
"""

GETTY: Final = """
while [ -e "$0" ]; do setsid --ctty --wait "$@" <"$0" >"$0" 2>&1; done
"""
"""Starts a shell on a line, and another one when that has ended, as init does with a getty."""

SHELLS: Final = {
    "bash": ("bash", "--noprofile", "--norc", "-i"),
    "dash": ("dash", "-i"),
    "login": ("sh", "-c", LOGIN),
}

Noise = Callable[[bytes], bytes]


class SerialUnit:
    """A unit on a serial line.

    Args:
        shell: one of ``SHELLS``.
        noise: makes of what the unit sends what arrives at the station.
    """

    def __init__(self, shell: str = "bash", noise: Noise = bytes) -> None:
        self._station_far, self._station_near = os.openpty()
        self._unit_far, self._unit_near = os.openpty()
        # as a line is without a station: nothing is made of the bytes, nothing is printed back
        tty.setraw(self._station_near)
        self.device = Path(os.ttyname(self._station_near))
        self.noise = noise
        self.carried = b""
        self.sent = b""
        self._shell = subprocess.Popen(
            ["sh", "-c", GETTY, os.ttyname(self._unit_near), *SHELLS[shell]],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TERM": "vt220", "PS1": "root@unit:~# "},
            process_group=0,  # a session of its own would take the line as its own terminal
        )
        for number in (self._station_far, self._unit_far):
            os.set_blocking(number, False)
        self._end, self._ending = os.pipe()
        self._cable = threading.Thread(target=self._carry, daemon=True)
        self._cable.start()
        wait_for(lambda: self.carried.endswith((b"# ", b"login: ")), "the unit does not start")

    def settings(self, **more: object) -> dict[str, Any]:
        """Return the settings of a slot with this unit."""
        return {"device": self.device, "command": ("sh", "-c"), **more}

    def say(self, content: bytes) -> None:
        """Print something as the unit's kernel does."""
        os.write(self._station_far, content)

    def unplug(self) -> None:
        """Pull the cable out of the station: its end is gone."""
        self._stop_carrying()
        for number in (self._station_far, self._station_near):
            os.close(number)
        self._station_far = self._station_near = -1

    def close(self) -> None:
        """End the unit and all that it runs."""
        self._stop_carrying()
        # the parent first: it would start another shell
        for pid in [self._shell.pid, *descendants_of(self._shell.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._shell.wait()
        for number in (
            self._station_far,
            self._station_near,
            self._unit_far,
            self._unit_near,
            self._end,
        ):
            if number >= 0:
                os.close(number)

    def _stop_carrying(self) -> None:
        if self._ending >= 0:
            os.close(self._ending)
            self._ending = -1
            self._cable.join()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._end, self._station_far, self._unit_far], [], [])
            if self._end in ready:
                return
            for reads, writes in ((self._station_far, self._unit_far), (self._unit_far, self._station_far)):
                if reads not in ready:
                    continue
                try:
                    content = os.read(reads, 65536)
                except OSError:
                    # the shell has ended, and the next one has not begun
                    select.select([self._end], [], [], 0.02)
                    continue
                if reads == self._unit_far:
                    content = self.noise(content)
                    self.carried += content
                else:
                    self.sent += content
                while content:
                    stopped, _, _ = select.select([self._end], [writes], [])
                    if stopped:
                        return
                    content = content[os.write(writes, content) :]
