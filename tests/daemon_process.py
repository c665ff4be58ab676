"""The daemon as its users have it: a process with a simulated board, pressed by lines, and a simulated Amazon."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from device_auth.client import Client, ClientError, Status
from device_auth.simulator.server import Running
from tests.command import ROOT, Command, bare_environment
from tests.ports import free_port
from tests.waiting import LONG, wait_for, written_so_far


@dataclass
class Living:
    """A daemon that runs."""

    process: "subprocess.Popen[str]"
    path: Path
    said: Path

    def __post_init__(self) -> None:
        self.client = Client(str(self.path))

    @property
    def told(self) -> str:
        """What it wrote for people: log, light and voice."""
        return written_so_far(self.said)

    def press(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def status(self) -> Status | None:
        """Ask how it stands; None while it does not answer."""
        try:
            return self.client.status()
        except ClientError:
            return None

    def wait_until(self, state: str, trouble: str = "none") -> Status:
        """Wait until it stands so."""
        seen: list[Status | None] = []

        def is_so() -> bool:
            seen.append(self.status())
            now = seen[-1]
            return now is not None and (now.state, now.trouble) == (state, trouble)

        wait_for(lambda: is_so() or self.process.poll() is not None)
        last = seen[-1]
        assert last is not None, self.told
        assert (last.state, last.trouble) == (state, trouble), self.told
        return last

    def wait_until_told(self, text: str) -> None:
        wait_for(lambda: text in self.told, f"{text!r} is not told")

    def user_code(self, trouble: str = "none") -> str:
        """Wait for a code, and give it."""
        code = self.wait_until("waiting", trouble).code
        assert code is not None
        return code.user_code

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it, and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(LONG)


HARDWARE: Final = '[hardware]\nboard = "simulated"\n[hardware.voice]\nkind = "command"\ncommand = {voice}\n'


@dataclass
class Household:
    """One speaker's folders and settings, and the provider it is to speak with."""

    folder: Path
    running: Running
    page_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.command = Command(self.folder, self.running)
        self.config = self.folder / "config.toml"
        self.spoken = self.folder / "spoken"
        self.write_settings()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def heard(self) -> str:
        """What the voice has said; the program that speaks may be late to make the file."""
        return written_so_far(self.spoken)

    def write_settings(self, more: str = "", *, page: str | None = None, hardware: str | None = None) -> None:
        """Write the settings file; the voice speaks into a file."""
        voice = json.dumps(["sh", "-c", f"cat >> {self.spoken}"])
        listen = f'[page]\nlisten = ["127.0.0.1:{self.page_port}"]\nhosts = ["localhost"]\n'
        parts = HARDWARE.format(voice=voice) if hardware is None else hardware
        self.config.write_text(more + (listen if page is None else page) + parts)

    @contextmanager
    def living(
        self, *words: str, provider: list[str] | None = None, waits: bool = True, **environ: str
    ) -> Iterator[Living]:
        """Run the daemon; it is gone when the context is left.

        Args:
            words: more arguments.
            provider: in place of the household's.
            waits: until it answers on its socket.
            environ: more variables.
        """
        said = self.folder / "said"
        given = self.command.provider if provider is None else provider
        places = [*self.command.places, "--config", str(self.config)]
        with (
            said.open("w") as file,
            subprocess.Popen(
                [sys.executable, "-m", "device_auth", "run", *given, *places, *words],
                cwd=ROOT,
                env={**bare_environment(), "HOME": str(self.folder), **environ},
                stdin=subprocess.PIPE,
                stderr=file,
                text=True,
            ) as process,
        ):
            living = Living(process, self.run / "api.sock", said)
            try:
                if waits:
                    wait_for(lambda: living.status() or process.poll() is not None, "it does not answer")
                yield living
            finally:
                living.client.close()
                process.kill()

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run another verb beside the daemon, and give what came of it."""
        return subprocess.run(
            [sys.executable, "-m", "device_auth", *words, *self.command.places],
            cwd=ROOT,
            env={**bare_environment(), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )

    def approve(self, living: Living, trouble: str = "none") -> None:
        """Let the owner approve the code that is told."""
        assert self.running.amazon.approve(living.user_code(trouble)) == 1

    def link(self, living: Living) -> None:
        """Press, approve, and wait until it is linked."""
        living.press("tap")
        self.approve(living)
        living.wait_until("linked")
        wait_for(lambda: self.token_files() == {"token.json", "access-token"}, "no token files")

    def token_files(self) -> set[str]:
        """Name the token files that are there."""
        return {name for name in ("token.json", "access-token") if (self.run / name).exists()}

    def secrets(self) -> set[str]:
        """Find every token that is left in any file of the speaker's."""
        paths = [path for top in (self.state, self.run) for path in top.rglob("*") if path.is_file()]
        return {path.name for path in paths if b"Sim|" in path.read_bytes()}
