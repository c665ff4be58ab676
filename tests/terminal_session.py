"""A shell on a terminal of its own, typed to and looked at as a person would."""

import codecs
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from select import select
from typing import Final

import pyte

from tests.command import ROOT, bare_environment
from tests.waiting import LONG

CONTROL_C: Final = "\x03"
CONTROL_S: Final = "\x13"
CONTROL_Q: Final = "\x11"
CONTROL_Z: Final = "\x1a"

_TAKE_THE_TERMINAL: Final = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Session:
    """What stands on the screen, what was heard for it, and what is typed."""

    def __init__(self, far: int, screen: pyte.Screen) -> None:
        self._far = far
        # what is read may end within a character
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stream = pyte.Stream(screen)
        self.screen = screen
        self.heard = ""
        self._read: tuple[tuple[int, ...], str] = ((), "")

    @property
    def text(self) -> str:
        now = (len(self.heard), self.screen.lines, self.screen.columns)
        if self._read[0] != now:  # to read a screen takes long: only when there is something new
            self._read = (now, "\n".join(line.rstrip() for line in self.screen.display).rstrip())
        return self._read[1]

    def type(self, text: str) -> None:
        os.write(self._far, text.encode())

    def look(self, seconds: float = 0.05) -> None:
        """Bring to the screen what comes within a time."""
        while select([self._far], [], [], seconds)[0]:
            try:
                heard = self._decoder.decode(os.read(self._far, 65536))
            except OSError:
                return
            self.heard += heard
            self._stream.feed(heard)
            seconds = 0

    def wait_for(self, claim: Callable[[], bool] | str) -> None:
        """Look until something is so, or until a text can be read."""
        give_up_at = time.monotonic() + LONG
        while not (claim in self.text if isinstance(claim, str) else claim()):
            assert time.monotonic() < give_up_at, f"waited in vain for {claim!r}:\n{self.text}"
            self.look()

    def run(self, *words: str) -> None:
        """Have the shell run device-auth."""
        self.type(f"clear; {sys.executable} -m device_auth {' '.join(words)}; echo 'left' with $?\n")

    def hang_up(self) -> None:
        """Close the window, as a connection does that is lost."""
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._far)
        os.close(nothing)

    @property
    def is_as_a_shell_wants_it(self) -> bool:
        """Return whether whole lines are read, and seen while they are typed."""
        flags = termios.tcgetattr(self._far)[3]
        return bool(flags & termios.ICANON) and bool(flags & termios.ECHO)


def read_to_the_end(far: int) -> str:
    """Read what was written to a terminal that nobody has open any more: the kernel hands it over in pieces."""
    heard = b""
    with contextlib.suppress(OSError):
        while True:
            heard += os.read(far, 65536)
    return heard.decode()


@contextlib.contextmanager
def session(
    home: Path, columns: int = 80, rows: int = 24, shell: Sequence[str] = ("sh", "-im")
) -> Iterator[Session]:
    """Start a shell without a memory for how terminals are to be: what a command breaks stays broken."""
    with program_on_a_terminal(shell, home, columns, rows) as far:
        yield Session(far, pyte.Screen(columns, rows))


@contextlib.contextmanager
def program_on_a_terminal(
    words: Sequence[str], home: Path, columns: int, rows: int, **variables: str
) -> Iterator[int]:
    """Start a program on a terminal of its own, and yield the other end of it; the program is killed at the end."""
    far, near = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {
        **bare_environment(),
        "PS1": "ready> ",
        "TERM": "xterm-256color",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **variables,
    }
    running = subprocess.Popen(
        [sys.executable, "-c", _TAKE_THE_TERMINAL, *words],
        stdin=near,
        stdout=near,
        stderr=near,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    os.close(near)
    try:
        yield far
    finally:
        with contextlib.suppress(OSError):  # it has ended, or the terminal is gone
            if group := os.tcgetpgrp(far):  # 0 for none; to kill that group would kill the tests
                os.killpg(group, signal.SIGKILL)
        running.kill()
        running.wait()
        os.close(far)
