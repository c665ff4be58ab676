"""What the doctor shows of a speaker whose account has ended the link, on a terminal."""

import fcntl
import os
import re
import struct
import termios
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pyte

from device_auth.assembly.doors import open_doors
from device_auth.cli.doctor import examine_speaker
from device_auth.cli.main import read_arguments
from device_auth.core.models import Mark, UnixTime
from device_auth.core.values import replace
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from device_auth.world.store import FileStore
from tests.command import Command
from tests.pictures.recording import COLUMNS, ROWS
from tests.simulated_speaker import strict
from tests.unit.doctor.test_verb import KeptClock, make_machine

COMMAND: Final = "$ sudo device-auth doctor"
END: Final = b"\x07"
COUNT: Final = r"\d+ (FAILED|warnings?|skipped|ok)(, )?"


class SlippingClock(KeptClock):
    """The clock of a machine on which time is right, and nothing keeps it so."""

    def is_kept_right(self) -> bool:
        return False


def examine(folder: Path) -> pyte.Screen:
    """Let the doctor examine a speaker with one failure and one warning, on a terminal; no home of one's own is read."""
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        command = Command(folder, running)
        with on_a_terminal():
            assert command.link() == 0
        with FileStore(folder / "state") as store:
            link = store.read()
            assert link is not None
            store.save(replace(link, mark=Mark.REVOKED, marked_at=UnixTime(1.8e9)))
        speaker = open_doors(
            vars(read_arguments(["doctor", *command.provider, "--dsn", "K0001", *command.places]))
        )
        speaker.clock = SlippingClock()
        with on_a_terminal() as screen:
            assert examine_speaker(speaker, root=make_machine(folder)) == 77
    return screen


@contextmanager
def on_a_terminal() -> Iterator[pyte.Screen]:
    """Let this process write on a terminal; what it has written stands on the screen afterwards."""
    far, near = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"{COMMAND}\r\n".encode())
    with os.fdopen(near, "w", encoding="utf-8") as out, redirect_stdout(out), redirect_stderr(out):
        yield screen
        out.flush()
        os.write(near, END)
        heard = b""
        while not heard.endswith(END):
            heard += os.read(far, 65536)
        stream.feed(heard.removesuffix(END))
    os.close(far)


def words_of(screen: pyte.Screen) -> list[str]:
    """Return the lines of a screen without their counts."""
    return without_counts(screen.display)


def without_counts(lines: Iterable[str]) -> list[str]:
    """Return lines without counts, which depend on the machine: whether it has systemd, IPv6 and so on."""
    return [re.sub(COUNT, "", line).rstrip() for line in lines if line.strip()]
