"""Measures every figure of README's table beside its peer in the same run, and prints the table.

Run: make bench, or make bench COMPARE=REVISION, which measures that revision's program beside this one's. A part alone:
python -m tests.bench.table --only PART. Each part is a process that finds the program in its working folder, and the
speaker's folders in the places of the system's. Programs start as the package starts them, but those named "from a venv".
Instructions are the same on a busy machine, where times mean nothing; they need valgrind, and are left out without it.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.client import Client, ClientError
from device_auth.world.store import FileStore
from tests.bench.figures import (
    CLIENT_ID,
    ENVIRONMENT,
    MEMORY,
    ROOT,
    SPEAKER,
    Amazon,
    quartiles,
    run,
    run_in_turn,
    simulated_amazon,
)
from tests.bench.observed_process import count_wake_ups, cpu_of, field_of, page_stream

SITE: Final = next(path for path in sys.path if path.endswith("site-packages"))
BARE_LINK: Final = str(ROOT / "tests" / "bench" / "bare_link.py")
BARE_SERVER: Final = (
    "import http.server as s; s.HTTPServer(('127.0.0.1', 0), s.BaseHTTPRequestHandler).serve_forever()"
)
BARE_REFRESH: Final = "import sys, requests; requests.post(sys.argv[1] + 'token', data={'grant_type': 'refresh_token'}, timeout=10)"
START: Final = "import sys; sys.path[:0] = [{here!r}]; sys.path += [{site!r}]; from device_auth.__main__ import main; sys.exit(main())"
LAUNCHER: Final = ("-c", START.format(here=str(ROOT), site=SITE))
PACKAGED: Final = ("-IS", *LAUNCHER)
LINKS_AT_ONCE: Final = ("--approve-after", "0", "--interval", "1")

IN_PLACE: Final = (
    "sh",
    "-c",
    'mount --bind "$1" /run && mount --bind "$2" /var/lib && shift 2 && exec "$@"',
    "sh",
)
NAMESPACES: Final = (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount"))
"""In which folders can be put into the places of the system's: by root, and by a user where the kernel lets users do so."""
RUNTIME: Final = Path("/run/device-auth")
STATE: Final = Path("/var/lib/device-auth")
PLACES: Final = ("--state-dir", str(STATE), "--runtime-dir", str(RUNTIME))

COLLECTED: Final = re.compile(r"Collected : (\d+)")
PATIENCE: Final = 60.0
AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
"""Of the system: about 140."""


class Figure(NamedTuple):
    """A row of the table: what was measured, beside what, the result, its budget, and the measures it comes from."""

    what: str
    peer: str
    result: str
    budget: str
    measured: str


class Effort(NamedTuple):
    """How long is measured: rounds of each pair, and seconds of rest."""

    rounds: int
    seconds: float


Part = Callable[[Effort, Path], Iterator[Figure]]
Words = Callable[[], Sequence[str]]


def ratio(ours: Sequence[float], peers: Sequence[float]) -> str:
    """Write how many times as much ours took, the middle of the pairs."""
    return f"{middle([mine / theirs for mine, theirs in zip(ours, peers, strict=True)]):.2f} ×"


def middle(values: Sequence[float]) -> float:
    return quartiles(values)[1]


class Speakers:
    """New speakers, each with its own folders below one."""

    def __init__(self, folder: Path, amazon: Amazon) -> None:
        self._folder = folder
        self._provider = ("--base-url", amazon.base_url)
        self._made = 0

    def link(self, start: Sequence[str] = PACKAGED, *options: str) -> list[str]:
        """Return the words that link a new one."""
        self._made += 1
        name = f"bench-{self._made}"
        places = ["--state-dir", str(self._folder / name), "--runtime-dir", f"/run/{name}"]
        return [*start, "link", "--json", *SPEAKER, *self._provider, *places, *options]

    def link_in_place(self, *options: str) -> None:
        """Link the one that the verbs find without an option."""
        run([*PACKAGED, "link", "--json", *SPEAKER, *self._provider, *options])


@contextmanager
def service(*words: str, is_pressed: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service of the speaker in its place; lines may press its button."""
    command = [sys.executable, *PACKAGED, "run", *PLACES, *SPEAKER, *words]
    end = subprocess.PIPE if is_pressed else subprocess.DEVNULL
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=end, stderr=end) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_until(is_so: Callable[[], bool], look_every: float = 0.005) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            raise SystemExit("failed: waited in vain")
        time.sleep(look_every)


# ---------------------------------------------------------------------------------------------------------
# Whole processes


def instructions(_effort: Effort, folder: Path) -> Iterator[Figure]:
    """Count the instructions of a second run, in millions."""
    if shutil.which("valgrind") is None:
        print("instructions are not counted: there is no valgrind", file=sys.stderr)
        return
    with simulated_amazon(*LINKS_AT_ONCE) as amazon:
        speakers = Speakers(folder, amazon)
        nothing, bare = count(lambda: ["-c", "pass"]), count(lambda: [BARE_LINK, amazon.base_url, CLIENT_ID])

        def figure(what: str, words: Words, least: float, peer: str, budget: str) -> Figure:
            counted = count(words)
            return Figure(
                f"{what}: instructions",
                peer,
                f"{counted / least:.2f} ×",
                budget,
                f"{counted:.0f} M of {least:.0f} M",
            )

        yield figure("`link --json`", speakers.link, bare, "bare `requests`", "1.00")
        yield figure(
            "`link --json` from a venv", lambda: speakers.link(LAUNCHER), bare, "bare `requests`", "1.03"
        )
        speakers.link_in_place()
        time.sleep(0.1)
        for verb in ("token", "status"):
            yield figure(f"`{verb}` without the service", asking(verb), nothing, "`python3 -c pass`", "1.30")
        with service():
            wait_until((RUNTIME / "access-token").exists)
            for verb in ("token", "status"):
                yield figure(
                    f"`{verb}` beside the service", asking(verb), nothing, "`python3 -c pass`", "1.30"
                )


def asking(verb: str) -> Words:
    return lambda: [*PACKAGED, verb]


def count(words: Words) -> float:
    environment = {**ENVIRONMENT, "PYTHONHASHSEED": "0"}
    subprocess.run([sys.executable, *words()], env=environment, check=True, capture_output=True)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, *words()]
    told = subprocess.run(valgrind, env=environment, check=True, capture_output=True, text=True).stderr
    found = COLLECTED.search(told)
    assert found is not None
    return int(found[1]) / 1e6


def processes(effort: Effort, folder: Path) -> Iterator[Figure]:
    """Run whole processes in turn: CPU, memory, and the time to the code."""
    with simulated_amazon(*LINKS_AT_ONCE) as amazon:
        speakers = Speakers(folder, amazon)
        bare = [BARE_LINK, amazon.base_url, CLIENT_ID]
        kinds: dict[str, Words] = {"link": speakers.link, "bare": lambda: bare}
        runs = run_in_turn(kinds, effort.rounds, PATIENCE)
        for what, unit, scale, budget in (("cpu", "ms of CPU", 1e3, "1.05"), ("memory", "MiB", 1, "1.10")):
            ours, peers = ([getattr(run, what) * scale for run in runs[name]] for name in kinds)
            measured = f"{middle(ours):.0f} of {middle(peers):.0f} {unit}"
            name = "CPU" if what == "cpu" else "memory"
            yield Figure(f"`link --json`: {name}", "bare `requests`", ratio(ours, peers), budget, measured)
        yield from to_code(kinds, folder, effort.rounds)
        speakers.link_in_place()
        yield from small_verbs("without the service", effort.rounds)
        with service():
            wait_until((RUNTIME / "access-token").exists)
            yield from small_verbs("beside the service", effort.rounds)


def to_code(kinds: Mapping[str, Words], disk: Path, rounds: int) -> Iterator[Figure]:
    """Measure from the start to the code: CPU, and time, in which the disk is waited for while the code is requested."""
    shown: dict[str, list[FirstLine]] = {name: [] for name in kinds}
    proofs = []
    for number in range(rounds):
        for name, words in kinds.items():
            shown[name].append(to_first_line(words()))
        proofs.append(time_of_proof(disk / f"proof-{number}"))
    alone = f"; the disk alone {middle(proofs):.0f} ms"
    for what, name, note in (("cpu", ": CPU", ""), ("wall", "", alone)):
        ours, peers = ([getattr(line, what) for line in shown[kind]] for kind in ("link", "bare"))
        measured = f"{middle(ours):.0f} of {middle(peers):.0f} ms{note}"
        yield Figure(f"start → code shown{name}", "bare `requests`", ratio(ours, peers), "1.10", measured)


def time_of_proof(place: Path) -> float:
    """Return the milliseconds in which a new folder of state is made on the disk and proved."""
    begun = time.perf_counter()
    with FileStore(place) as store:
        store.prove_writable()
    return (time.perf_counter() - begun) * 1e3


def small_verbs(how: str, rounds: int) -> Iterator[Figure]:
    kinds = {verb: asking(verb) for verb in ("token", "status")}
    runs = run_in_turn({**kinds, "nothing": lambda: ["-c", "pass"]}, rounds, PATIENCE)
    cpu = {name: [run.cpu * 1e3 for run in each] for name, each in runs.items()}
    for verb in kinds:
        measured = f"{middle(cpu[verb]):.1f} of {middle(cpu['nothing']):.1f} ms"
        yield Figure(
            f"`{verb}` {how}: CPU", "`python3 -c pass`", ratio(cpu[verb], cpu["nothing"]), "1.30", measured
        )


def authorities(effort: Effort, folder: Path) -> Iterator[Figure]:
    """Link over TLS, where a file names as many authorities as a system trusts."""
    if not AUTHORITIES.exists():
        print(f"nothing is measured over TLS: there is no {AUTHORITIES}", file=sys.stderr)
        return
    with simulated_amazon(*LINKS_AT_ONCE, "--tls", str(folder / "tls")) as amazon:
        trusted = folder / "trusted.pem"
        trusted.write_bytes(AUTHORITIES.read_bytes() + (folder / "tls" / "ca.pem").read_bytes())
        speakers = Speakers(folder, amazon)
        runs = run_in_turn(
            {
                "ours": lambda: speakers.link(PACKAGED, "--ca-file", str(trusted)),
                "bare": lambda: [BARE_LINK, amazon.base_url, CLIENT_ID, str(trusted)],
            },
            effort.rounds,
            PATIENCE,
        )
        ours, bare = ([run.cpu * 1e3 for run in runs[name]] for name in ("ours", "bare"))
        measured = f"{middle(ours):.0f} of {middle(bare):.0f} ms"
        yield Figure(
            "`link` over TLS, `--ca-file`: CPU", "bare `requests`", ratio(ours, bare), "1.15", measured
        )


class FirstLine(NamedTuple):
    """From a program's start to its first line: milliseconds, and those of CPU."""

    wall: float
    cpu: float


def to_first_line(words: Sequence[str]) -> FirstLine:
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shown = FirstLine((time.perf_counter() - begun) * 1e3, cpu_of(process.pid) * 1e3)
        process.stdout.read()
    return shown


# ---------------------------------------------------------------------------------------------------------
# The service


def daemon(effort: Effort, folder: Path) -> Iterator[Figure]:
    """Measure its start, its size, its rest, and the first press."""
    from tests.ports import free_port

    port = free_port()
    config, key = folder / "config.toml", folder / "key"
    with simulated_amazon(*LINKS_AT_ONCE) as amazon:
        speakers = Speakers(folder, amazon)
        speakers.link_in_place()
        token = RUNTIME / "access-token"
        taken, bares = [], []
        for _ in range(max(1, effort.rounds // 4)):
            (RUNTIME / "token.json").unlink(missing_ok=True)
            with service() as process:
                wait_until(token.exists)
                taken.append(cpu_of(process.pid) * 1e3)
            bares.append(run(["-c", BARE_REFRESH, amazon.base_url]).cpu * 1e3)
        measured = f"{middle(taken):.0f} of {middle(bares):.0f} ms"
        what, peer = "service: start → link served, with a refresh: CPU", "bare `requests`, one request"
        # design: 120 ms where the peer takes 100
        yield Figure(what, peer, ratio(taken, bares), "1.20", measured)
        config.write_text(f'[page]\nlisten = ["127.0.0.1:{port}"]\n')
        (RUNTIME / "token.json").unlink(missing_ok=True)
        with service() as process, bare_server() as bare:
            wait_until(token.exists)
            time.sleep(1)  # what the start has begun comes to its end
            ours, theirs = size_of(process.pid), size_of(bare.pid)
            yield Figure(
                "service: resident after a refresh",
                "bare `http.server`",
                f"{ours:.1f} MiB",
                "30 MiB",
                f"of {theirs:.1f} MiB",
            )
        with service("--config", str(config)) as process:
            wait_until(token.exists)
            time.sleep(1)
            for pages in (0, 1, 16):
                with ExitStack() as opened:
                    for number in range(pages):
                        opened.enter_context(page_stream(port, f"127.0.0.{1 + number // 4}"))
                    time.sleep(1)
                    woken = count_wake_ups(process.pid, effort.seconds)
                result = f"{woken * 60 / effort.seconds:.0f} a minute"
                yield Figure(
                    f"service: wake-ups, {pages} pages open", "–", result, budget_of_pages(pages), ""
                )
        key.touch(0o600)
        key.write_bytes(os.urandom(32))
        config.write_text(f'key_file = "{key}"\n')
        shutil.rmtree(STATE)
        speakers.link_in_place("--config", str(config))
        (RUNTIME / "token.json").unlink(missing_ok=True)
        with service("--config", str(config)) as process:
            wait_until(token.exists)
            time.sleep(1)
            yield Figure("service: the same, sealed", "–", f"{size_of(process.pid):.1f} MiB", "38 MiB", "")
    yield from presses(effort, folder)


def size_of(pid: int) -> float:
    """Return the resident MiB of a process."""
    return field_of(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def budget_of_pages(pages: int) -> str:
    return f"{1 + pages}: the heartbeat" if pages else "1"


@contextmanager
def bare_server() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BARE_SERVER]) as process:
        time.sleep(1)
        try:
            yield process
        finally:
            process.terminate()


PARTS_SIMULATED: Final = """\
[hardware]
board = "simulated"
[hardware.panel]
kind = "simulated"
"""
TAP: Final = 0.1
"""Seconds for which a finger holds the button down."""


def presses(effort: Effort, folder: Path) -> Iterator[Figure]:
    """Tap the button of a service that has just started, and once more: from its release to the light of the code."""
    config = folder / "parts.toml"
    config.write_text(PARTS_SIMULATED)
    first: list[float] = []
    later: list[float] = []
    answered: list[float] = []
    with simulated_amazon("--interval", "5") as amazon:
        for _ in range(max(2, effort.rounds // 4)):
            shutil.rmtree(STATE, ignore_errors=True)
            with (
                service("--config", str(config), "--base-url", amazon.base_url, is_pressed=True) as process,
                Client(str(RUNTIME / "api.sock")) as client,
            ):
                wait_until(lambda: state_of(client) == "unlinked")
                time.sleep(min(3.0, effort.seconds))  # what the start has begun comes to its end
                for times in (first, later):
                    light, code = tap(process)
                    answered.append(light)
                    times.append(code)
                    client.cancel()
                    wait_until(lambda: state_of(client) == "unlinked")
                    time.sleep(min(1.0, effort.seconds))
    measured = f"{middle(first):.0f} of {middle(later):.0f} ms"
    yield Figure(
        "first tap after boot, its release → code", "the second tap", ratio(first, later), "1.00", measured
    )
    yield Figure("a tap's release → the light answers", "–", f"{middle(answered):.0f} ms", "100 ms", "")


def tap(process: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Tap; return the milliseconds from the release to the light's first answer, and to that of a code."""
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(f"hold {TAP}\n".encode())
    process.stdin.flush()
    released = time.perf_counter() + TAP
    moments = []
    for said in (b"light: cyan", b"light: orange"):
        while said not in (line := process.stderr.readline()):
            if not line:
                raise SystemExit("failed: the service has ended")
        moments.append((time.perf_counter() - released) * 1e3)
    return moments[0], moments[1]


def state_of(client: Client) -> str:
    with contextlib.suppress(ClientError):
        return client.status().state
    return ""


def socket_api(effort: Effort, _folder: Path) -> Iterator[Figure]:
    """Ask for tokens: by file, and by socket beside a bare server."""
    from tests.bench import socket_api as bench

    bench.ROUNDS, bench.CROWD_PAIRS = 100 * effort.rounds, max(1, effort.rounds // 3)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        times, crowds = bench.compare(Path(name))
    us = {name: middle(found) * 1e6 for name, found in times.items()}
    yield Figure("a token: the file read", "–", f"{us['file']:.0f} µs", "20 µs", "")
    for what, ours, theirs in (
        ("a token: socket kept open", "socket", "bare server"),
        ("a token: a new connection", "anew", "bare, anew"),
    ):
        measured = f"{us[ours]:.0f} of {us[theirs]:.0f} µs"
        yield Figure(what, "bare `http.server`", f"{us[ours] / us[theirs]:.2f} ×", "1.00", measured)
    yield Figure(
        "64 kept-open clients of one user: answers",
        "bare `http.server`",
        f"{middle(crowds):.2f} ×",
        "≥ 0.50",
        "",
    )


# ---------------------------------------------------------------------------------------------------------
# The disk and the core


def save(effort: Effort, folder: Path) -> Iterator[Figure]:
    """Save a link beside the bare sequence."""
    from tests.bench.save import measure

    saves, bares = measure(folder, 10 * effort.rounds)
    low, _, high = quartiles([mine / theirs for mine, theirs in zip(saves, bares, strict=True)])
    measured = f"{middle(saves) * 1e3:.2f} of {middle(bares) * 1e3:.2f} ms; half of the pairs {low:.2f} to {high:.2f}"
    yield Figure(
        "save: grant → durable", "write, fsync, rename, fsync", ratio(saves, bares), "1.40", measured
    )


def fleet(effort: Effort, _folder: Path) -> Iterator[Figure]:
    """Step the core of a small fleet for a day."""
    from tests.bench.fleet import day, run_part

    best = 0.0
    for _ in range(max(1, effort.rounds // 6)):
        found = run_part(day(200 * effort.rounds, 1), 0)
        best = max(best, found.steps / found.worked)
    yield Figure("fleet: core steps a CPU second", "–", f"{best / 1e3:.0f} k", "≥ 220 k", "")


PARTS: Final[dict[str, Part]] = {
    "instructions": instructions,
    "processes": processes,
    "authorities": authorities,
    "socket": socket_api,
    "daemon": daemon,
    "save": save,
    "fleet": fleet,
}
OF_PLACES: Final = {"instructions", "processes", "authorities", "daemon"}
"""These have verbs find a speaker where it is without an option."""

NOW: Final = "Now"


# ---------------------------------------------------------------------------------------------------------
# The table


def find_namespace() -> tuple[str, ...] | None:
    """Return what makes a namespace in which folders can be put into the system's places; None if nothing here does."""
    if shutil.which("unshare") is None:
        return None
    for namespace in NAMESPACES:
        with tempfile.TemporaryDirectory() as folder:
            trying = [*namespace, *IN_PLACE, folder, folder, "true"]
            if subprocess.run(trying, check=False, capture_output=True).returncode == 0:
                return namespace
    return None


@contextmanager
def checkouts(revision: str | None) -> Iterator[dict[str, Path]]:
    """Yield this checkout and, beside it, the program of the revision with the benches of this one."""
    if revision is None:
        yield {NOW: ROOT}
        return
    git = ["git", "-C", str(ROOT)]
    naming = [*git, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    if subprocess.run(naming, check=False, capture_output=True).returncode != 0:
        raise SystemExit(f"{revision} is no commit in {ROOT}; in a shallow clone: git fetch --unshallow")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            shutil.rmtree(tree / "tests")
            (tree / "tests").symlink_to(ROOT / "tests")
            yield {revision: tree, NOW: ROOT}
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


def measure(part: str, tree: Path, effort: Effort, namespace: Sequence[str] | None) -> list[Figure]:
    """Measure a part in a process of its own, which has folders of its own where the speaker's are."""
    words = [sys.executable, "-m", "tests.bench.table", "--part", part, "--effort", json.dumps(effort)]
    with tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory(dir=MEMORY) as memory:
        for folder in (disk, memory):
            Path(folder).chmod(0o755)
        if part in OF_PLACES:
            assert namespace is not None, "such a part was left out"
            words = [*namespace, *IN_PLACE, memory, disk, *words]
        environment = {**ENVIRONMENT, "TMPDIR": "/var/lib" if part in OF_PLACES else disk}
        done = subprocess.run(
            words, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
    if done.returncode:
        if tree == ROOT:
            raise SystemExit(f"failed: {part}")
        print(f"{part}: cannot be measured with that revision's program", file=sys.stderr)
        return []
    return [Figure(*json.loads(line)) for line in done.stdout.splitlines()]


def print_table(parts: Sequence[str], trees: Mapping[str, Path], effort: Effort) -> None:
    """Print the rows of these parts as soon as they are known, and how long each part took."""
    namespace = find_namespace()
    left_out = [part for part in parts if part in OF_PLACES and namespace is None]
    if left_out:
        print(
            f"left out: {', '.join(left_out)}: only root, or a user who may make namespaces, can put folders into the places"
            " of the system's",
            file=sys.stderr,
        )
    names = ["What", "Beside", "Budget", *trees, "Measured"]
    print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names), flush=True)
    took = []
    for part in parts:
        if part in left_out:
            continue
        begun, worked = time.monotonic(), cpu_of_children()
        *older, figures = [measure(part, tree, effort, namespace) for tree in trees.values()]
        results = [{figure.what: figure.result for figure in each} for each in older]
        for figure in figures:
            columns = [each.get(figure.what, "–") for each in results]
            row = [figure.what, figure.peer, figure.budget, *columns, figure.result, figure.measured]
            print("| " + " | ".join(row) + " |", flush=True)
        took.append(f"{part} {time.monotonic() - begun:.0f} s ({cpu_of_children() - worked:.0f} of CPU)")
    print(f"took: {', '.join(took)}", file=sys.stderr)


def cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compare", metavar="REVISION", help="measure that revision's program, too")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="run each part once: the figures mean nothing")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--effort", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        with tempfile.TemporaryDirectory() as folder:
            for figure in PARTS[given.part](Effort(*json.loads(given.effort)), Path(folder)):
                print(json.dumps(figure), flush=True)
        return
    with checkouts(given.compare) as trees:
        print_table(given.only, trees, Effort(1, 0.1) if given.quick else Effort(20, 10.0))


if __name__ == "__main__":
    main()
