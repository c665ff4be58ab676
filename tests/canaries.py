"""Canaries: known secrets, and the search for them wherever a whole process can leave one.

Everything that another program or user could come to see is gathered: what the process prints, its arguments and its
environment and those of all that it starts, looked at again and again while it runs, and every file it leaves. Then it
is searched for each secret, plain and in the forms that programs write things in.
"""

import json
import os
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from stat import S_IMODE, S_ISREG
from threading import Event, Lock, Thread
from types import TracebackType
from typing import IO, Final, NamedTuple, Self
from urllib.parse import quote, urlencode

from tests.command import ROOT, bare_environment
from tests.waiting import LONG, wait_for, written_so_far

NOTHING: Final[frozenset[str]] = frozenset()

LONG_SECRET: Final = 32
"""Bytes of a secret whose beginning or end alone would be one too."""

PIECE: Final = 16

NOT_FOR_OTHERS: Final = 0o077

HOLDERS: Final = {
    "state/link.json": {"refresh token", "imported token"},
    "state/link.json.previous": {"refresh token", "imported token"},
    "state/authorize.pem": {"listener's key"},
    "run/token.json": {"access token"},
    "run/access-token": {"access token"},
    "run/pending.json": {"device code"},
}
"""The files that are there to hold a secret, below a speaker's folder; while one is written its name ends in .new."""

FOR_THE_GROUP: Final = {"run/token.json", "run/access-token"}
"""Those that a group of readers may read; their mode is 0640."""


# ---------------------------------------------------------------------------------------------------------
# What is looked for


def forms_of(value: bytes) -> frozenset[bytes]:
    """Return a secret in the forms that programs write things in; of a long one also its beginning and its end."""
    text = value.decode("latin-1")
    plain = {
        text,
        quote(value),
        quote(value, safe=""),
        urlencode({"": value})[1:],
        json.dumps(text)[1:-1],
        escape(text),
        repr(text)[1:-1],
        repr(value)[2:-1],
        value.hex(),
        value.hex().upper(),
        value.hex(":"),
        value.hex(" "),
    }
    if len(value) >= LONG_SECRET:
        plain |= {text[:PIECE], text[-PIECE:]}
    return frozenset({form.encode("latin-1") for form in plain} | set(_in_base64(value)))


def _in_base64(value: bytes) -> Iterator[bytes]:
    """Return what base64 makes of it wherever in a text it begins; only the letters that it alone decides."""
    for offset in range(3):
        first, last = -(-8 * offset // 6), 8 * (offset + len(value)) // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(offset) + value)[first:last]


class Canaries:
    """The secrets that are known so far, by what they are."""

    def __init__(self, **known: str) -> None:
        self._lock = Lock()
        self._forms: dict[bytes, str] = {}
        for name, value in known.items():
            self.learn(name.replace("_", " "), value)

    def learn(self, name: str, value: str | bytes | None) -> None:
        """Take note of one; what was learnt before keeps its name."""
        if value:
            with self._lock:
                for form in forms_of(value.encode() if isinstance(value, str) else value):
                    self._forms.setdefault(form, name)

    @property
    def names(self) -> set[str]:
        """Name those that are known."""
        return set(self._forms.values())

    def found_in(self, octets: bytes) -> set[str]:
        """Name those that stand in a text, in whatever form."""
        with self._lock:
            return {name for form, name in self._forms.items() if form in octets}


# ---------------------------------------------------------------------------------------------------------
# Where it is looked for


class Sight(NamedTuple):
    """Something that others could see.

    Attributes:
        where: for a person.
        may: the secrets that belong there.
    """

    where: str
    octets: bytes = b""
    may: frozenset[str] = NOTHING


@dataclass
class Ran:
    """A process that ran, and what it said."""

    words: tuple[str, ...]
    exit_code: int
    out: str
    err: str


class Watch:
    """Looks at a process, at all that it starts and at the files it makes, again and again until it is left.

    Args:
        process: the one.
        folder: where its files are.
        holds: the secrets that it was given in its environment.
        tells: the secrets that may stand in arguments of what it starts: a browser is told where to go.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", folder: Path, holds: frozenset[str], tells: frozenset[str]
    ) -> None:
        self.sights: set[Sight] = set()
        self._process = process
        self._folder = folder
        self._holds = holds
        self._tells = tells
        self._known: dict[Path, tuple[int, ...]] = {}
        self._over = Event()
        self._thread = Thread(target=self._look_on, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(0.02):
            self._look_at_process(self._process.pid)
            self._look_at_open_files()
        self._look_at_open_files()

    def _look_at_process(self, number: int, parent: bytes = b"") -> None:
        with suppress(OSError):
            place = Path("/proc", str(number))
            arguments = (place / "cmdline").read_bytes()
            environment = (place / "environ").read_bytes()
            # A child that has not become its program yet is still its parent.
            is_itself = arguments != parent and arguments == (place / "cmdline").read_bytes()
            if is_itself and arguments:
                is_child = bool(parent)
                whose = "a child" if is_child else "the process"
                self.sights.add(
                    Sight(f"arguments of {whose}", arguments, self._tells if is_child else NOTHING)
                )
                may = NOTHING if is_child else self._holds
                self.sights.add(Sight(f"environment of {whose}", environment, may))
            for task in (place / "task").iterdir():
                for child in (task / "children").read_text().split():
                    self._look_at_process(int(child), arguments)

    def _look_at_open_files(self) -> None:
        """Look at the files that others may read, however short a while that is."""
        for path, name in files_below(self._folder):
            with suppress(OSError):
                status = path.lstat()
                mark = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)
                if self._known.get(path) != mark:
                    self._known[path] = mark
                    if S_ISREG(status.st_mode) and status.st_mode & NOT_FOR_OTHERS:
                        self.sights.add(_file(path, name, status.st_mode))


def files_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return each file with its name below a folder, whatever comes and goes meanwhile."""
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            yield path, str(path.relative_to(folder))


def _file(path: Path, name: str, mode: int) -> Sight:
    """Look into a file: others may read a secret only where a group is meant to."""
    holder = name.removesuffix(".new")
    may = frozenset(HOLDERS.get(holder, NOTHING))
    if mode & NOT_FOR_OTHERS and not (holder in FOR_THE_GROUP and S_IMODE(mode) == 0o640):
        may = NOTHING
    return Sight(f"{name} ({S_IMODE(mode):04o})", path.read_bytes(), may)


# ---------------------------------------------------------------------------------------------------------
# The bench


STAND_IN: Final = """\
#!/bin/sh
cat /proc/$$/cmdline > {records}/$$.arguments
cat /proc/$$/environ > {records}/$$.new
mv {records}/$$.new {records}/$$.environment
{more}"""


@dataclass
class Bench:
    """A place where whole processes run, and nothing that they show is missed.

    Attributes:
        folder: all that belongs to the test.
        canaries: what must not be seen.
        environment: what every process is given besides.
        sights: all that was seen.
        command: what is run.
    """

    folder: Path
    canaries: Canaries
    environment: dict[str, str] = field(default_factory=dict)
    sights: list[Sight] = field(default_factory=list)
    command: tuple[str, ...] = (sys.executable, "-m", "device_auth")

    def __post_init__(self) -> None:
        for folder in (self.speaker, self.given, self.records, self.programs):
            folder.mkdir()
        self.environment |= {"HOME": str(self.speaker), "PATH": f"{self.programs}:/usr/bin:/bin"}

    @property
    def speaker(self) -> Path:
        """Return the folder of the process's own files."""
        return self.folder / "speaker"

    @property
    def given(self) -> Path:
        """Return the folder of the files that the test gave it."""
        return self.folder / "given"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    @property
    def places(self) -> list[str]:
        return ["--state-dir", str(self.speaker / "state"), "--runtime-dir", str(self.speaker / "run")]

    def give(self, name: str, content: str, mode: int = 0o600) -> Path:
        """Write a file for the process to read."""
        path = self.given / name
        path.parent.mkdir(exist_ok=True)
        path.touch(mode)
        path.chmod(mode)
        path.write_text(content)
        return path

    def stand_in(self, name: str, more: str = "cat > /dev/null\n") -> Path:
        """Put a program on the path that records how it was started."""
        path = self.programs / name
        path.write_text(STAND_IN.format(records=self.records, more=more))
        path.chmod(0o755)
        return path

    @contextmanager
    def started(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        out: Path | None = None,
        holds: Iterable[str] = NOTHING,
        tells: Iterable[str] = NOTHING,
        prints: Iterable[str] = NOTHING,
    ) -> Iterator["Started"]:
        """Run the command under watch; what it showed is kept when it has ended.

        Args:
            words: its arguments.
            environment: what it is given besides the bench's.
            out: where its standard output goes, in place of a file of its own.
            holds: the secrets in its environment.
            tells: the secrets it may tell people, and the browser that it starts.
            prints: the secrets it may print on standard output: those that were asked for.
        """
        number = sum(path.suffix == ".out" for path in self.records.iterdir())
        said = self.records / f"{number}.out", self.records / f"{number}.err"
        surroundings = bare_environment() | self.environment | dict(environment or {})
        said[0].touch()
        with (out or said[0]).open("wb") as stdout, said[1].open("wb") as stderr:
            process = subprocess.Popen(
                [*self.command, *words],
                cwd=ROOT,
                env=surroundings,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                bufsize=0,
                umask=0,  # so that every mode is the program's own
            )
        ran = Ran(words, -1, "", "")
        with process, Watch(process, self.speaker, frozenset(holds), frozenset(tells)) as watch:
            try:
                yield Started(process, *said, ran, watch)
                if process.stdin is not None:
                    process.stdin.close()
                ran.exit_code = process.wait(LONG)
            finally:
                process.kill()
        ran.out, ran.err = (path.read_text() for path in said)
        self.sights += [Sight(f"{words[0]}: {where}", octets, may) for where, octets, may in watch.sights]
        self.sights += [
            Sight(f"{words[0]}: standard output", ran.out.encode(), frozenset({*tells, *prints})),
            Sight(f"{words[0]}: standard error", ran.err.encode(), frozenset(tells)),
        ]
        self.gather_records(frozenset(tells))

    def run(
        self,
        *words: str,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
        out: Path | None = None,
        holds: Iterable[str] = NOTHING,
        prints: Iterable[str] = NOTHING,
    ) -> Ran:
        """Run the command to its end."""
        with self.started(*words, environment=environment, out=out, holds=holds, prints=prints) as started:
            started.type(stdin)
        return started.ran

    def gather_records(self, tells: frozenset[str] = NOTHING) -> None:
        """Take up what the stand-ins have recorded; their arguments may hold what people are told."""
        for kind, may in (("arguments", tells), ("environment", NOTHING)):
            for path in self.records.glob(f"*.{kind}"):
                self.sights.append(Sight(f"{kind} of a program that was started", path.read_bytes(), may))
                path.unlink()

    def leaks(self) -> list[str]:
        """Name every secret that stands where it does not belong, and the place."""
        files = []
        for path, name in files_below(self.speaker):
            status = path.lstat()
            if S_ISREG(status.st_mode):
                files.append(_file(path, name, status.st_mode))
        return sorted(
            {
                f"{name} in {sight.where}"
                for sight in [*self.sights, *files]
                for name in self.canaries.found_in(sight.octets) - sight.may
            }
        )


@dataclass
class Started:
    """A process that runs."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    ran: Ran
    watch: Watch

    @property
    def told(self) -> str:
        return written_so_far(self.out) + written_so_far(self.err)

    @property
    def keyboard(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def type(self, text: str) -> None:
        """Put something on its standard input; that it does not wait for it is no fault."""
        with suppress(BrokenPipeError):
            self.keyboard.write(text.encode())
            self.keyboard.flush()

    def wait_until_told(self, text: str) -> None:
        """Wait until it says something, or has ended."""
        wait_for(lambda: text in self.told or self.process.poll() is not None, f"{text!r} is not told")
        assert text in self.told, self.told
