"""A Python program begins as root, loads the whole product, and goes on as a user without rights: to that user clone and interpreter may be closed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.command import stream_of

NOBODY: Final = 65534

LOAD: Final = (
    "import importlib, os, pkgutil, sys, device_auth, hardware\n"
    "import encodings.idna, encodings.utf_8_sig, unicodedata, urllib.request\n"
    "for package in (device_auth, hardware):\n"
    "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
    "        if not {'simulator', 'station', '__main__'} & {*found.name.split('.')}:\n"
    "            try: importlib.import_module(found.name)\n"
    "            except ImportError: pass  # a part's library is missing\n"
)

GO_ON: Final = f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"

AS_ANOTHER: Final = (
    f"{LOAD}groups = [int(gid) for gid in sys.argv.pop(1).split(',') if gid]\nos.setgroups(groups); {GO_ON}"
)
"""The beginning of the program; its first argument is the groups, as numbers with commas between."""

ASKED: Final = f"""{LOAD}
import json
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(asked["environment"])
        for number, name in enumerate(asked["streams"]):
            os.dup2(os.open(name, os.O_RDWR), number)
        os.setgroups(asked["groups"]); {GO_ON}
        sys.argv[1:] = asked["words"]
        exec(asked["program"])
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Loads once, and goes on as such a user in a child for each line that it reads: loading takes longer than most that is asked."""


@dataclass
class AnotherUser:
    """A process that runs programs as a user without rights."""

    process: "subprocess.Popen[str]"

    def run(
        self,
        program: str,
        words: Sequence[str],
        *,
        groups: Sequence[int] = (),
        environment: Mapping[str, str],
        typed: str = "",
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program of Python in a child, as a user of these groups."""
        with TemporaryDirectory() as made:
            streams = [Path(made, name) for name in ("in", "out", "err")]
            for stream in streams:
                stream.write_text(typed if stream.name == "in" else "")
            asked = {
                "program": program,
                "words": list(words),
                "groups": list(groups),
                "environment": dict(environment),
                "streams": [str(stream) for stream in streams],
            }
            given = stream_of(self.process.stdin)
            given.write(json.dumps(asked) + "\n")
            given.flush()
            ended = int(stream_of(self.process.stdout).readline())
            return subprocess.CompletedProcess(
                list(words), ended, *(each.read_text() for each in streams[1:])
            )


@contextmanager
def another_user(program: Path) -> Iterator[AnotherUser]:
    """Load the product of a folder as root, for whatever is asked of it as a user without rights."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED],
        cwd=program,
        env=dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield AnotherUser(process)
        stream_of(process.stdin).close()
