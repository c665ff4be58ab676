"""Ways around a factory's lock by the verbs' own means, tried on what this process takes for its own machine.

Run in a mount namespace of its own: /var/lib and /run become empty folders in memory. Each way is one line of JSON with its
name, the exit codes, and what the talks had besides the refusal; nothing that was there may have changed.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from device_auth.cli.factory import SUB_VERBS
from device_auth.cli.main import main
from device_auth.core.models import Monotonic
from device_auth.world.clock import BootClock
from device_auth.world.factory_lock import LOCK, OPENED, LockPlaces, note_reset, write_lock
from tests.another_user import AS_ANOTHER
from tests.standard_input import lines_on_stdin
from tests.waiting import wait_for

STATE: Final = Path("/var/lib/device-auth")
RUNTIME: Final = Path("/run/device-auth")
ELSEWHERE: Final = Path("/run/elsewhere")

CLIENT: Final = f"amzn1.application-oa2-client.51{'0' * 29}5"
WRITE: Final = f"identity write --force --dsn KS0666 --product-id Other --client-id {CLIENT}".split()

AT_THE_STATION: Final = {"run", "database", "dsn", "export", "import", "report"}
ALWAYS_OPEN: Final = {"status"}

LINES: Final = {
    "identity": [WRITE, ["identity", "show"], ["identity", "erase", "--force"]],
    "wipe": [["wipe"], ["wipe", "--verify"]],
}
"""The command lines of the verbs that need more than their name."""

VERBS: Final = [
    line
    for name in SUB_VERBS
    if name not in AT_THE_STATION | ALWAYS_OPEN
    for line in LINES.get(name, [[name]])
]
"""The command lines that must be refused: of every verb on the unit but the one that looks."""

HEADER: Final = {
    "schema": 1,
    "run": "5b0c1e0e-7f0c-4b59-9d38-5b3a6ad1a7b0",
    "key": "ab" * 32,
    "tokens": [],
    "dsn": "KS0666",
}

NOW: Final = BootClock().now()


def own() -> LockPlaces:
    return LockPlaces(STATE, RUNTIME)


def lock() -> None:
    """Lock the unit, without the checks: they would search all of the machine that this runs on."""
    write_lock(own(), board="", dsn="KS0666", run="", at=BootClock().wall())


def copy_of_state(*, with_lock: bool) -> Path:
    folder = Path(mkdtemp(dir=ELSEWHERE))
    for path in STATE.iterdir():
        if with_lock or path.name != LOCK:
            shutil.copy(path, folder)
    return folder


def forge_note(runtime: Path = RUNTIME, *, at: float = NOW, state: Path = STATE, **members: object) -> Path:
    """Write a note as the service writes it, then change it."""
    runtime.mkdir(exist_ok=True)
    note_reset(LockPlaces(state, runtime), Monotonic(at))
    path = runtime / OPENED
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))
    return runtime


def with_copied_note() -> list[str]:
    """Give the note to a copy of the state, which it opens, and the machine's own folder beside it."""
    copy = copy_of_state(with_lock=True)
    runtime = forge_note(ELSEWHERE / "run", state=copy)
    shutil.copy(runtime / OPENED, RUNTIME)
    return [f"--state-dir={copy}", f"--runtime-dir={runtime}"]


def with_own_note_elsewhere() -> list[str]:
    """Have a true note, but in another runtime folder than the machine's."""
    return [f"--state-dir={STATE}", f"--runtime-dir={forge_note(ELSEWHERE / 'run')}"]


def through_a_link() -> list[str]:
    path = ELSEWHERE / "link"
    path.unlink(missing_ok=True)
    path.symlink_to(STATE)
    return [f"--state-dir={path}"]


def of_another_speaker() -> list[str]:
    """Use the folder of a speaker that has another identity and no lock."""
    folder = copy_of_state(with_lock=False)
    (folder / "identity.toml").write_text('dsn = "KS0777"\n')
    return [f"--state-dir={folder}"]


def nothing() -> list[str]:
    return []


def noted(**changes: Any) -> Callable[[], list[str]]:
    def prepare() -> list[str]:
        forge_note(**changes)
        return []

    return prepare


def after(*words: str) -> Callable[[], list[str]]:
    def prepare() -> list[str]:
        assert said(list(words))[0] in {0, 75}, words
        return []

    return prepare


WAYS: Final[dict[str, tuple[Callable[[], list[str]], dict[str, str]]]] = {
    "as it is": (nothing, {}),
    "another state folder": (lambda: [f"--state-dir={mkdtemp(dir=ELSEWHERE)}"], {}),
    "another runtime folder": (lambda: [f"--runtime-dir={mkdtemp(dir=ELSEWHERE)}"], {}),
    "simulated": (lambda: ["--simulate"], {}),
    "simulated by hand": (lambda: ["--simulate=manual"], {}),
    "other settings": (lambda: ["--config=/dev/null"], {}),
    "another state folder by the environment": (nothing, {"STATE_DIRECTORY": str(ELSEWHERE)}),
    "another runtime folder by the environment": (nothing, {"RUNTIME_DIRECTORY": str(ELSEWHERE)}),
    "another home": (nothing, {"HOME": str(ELSEWHERE), "XDG_STATE_HOME": str(ELSEWHERE), "XDG_RUNTIME_DIR": str(ELSEWHERE)}),
    "other settings by the environment": (nothing, {"DEVICE_AUTH_CONFIG": "/dev/null", "DEVICE_AUTH_DSN": "KS0666"}),
    "a station's header": (lambda: ["--talk"], {}),
    "a limit of time": (lambda: ["--timeout=60"], {}),
    "a copied state without its lock": (lambda: [f"--state-dir={copy_of_state(with_lock=False)}"], {}),
    "a copied state with a note": (with_copied_note, {}),
    "a note in another runtime folder": (with_own_note_elsewhere, {}),
    "the state folder through a link": (through_a_link, {}),
    "another speaker's state folder": (of_another_speaker, {}),
    "a note of another start": (noted(boot_id="0"), {}),
    "a note of another lock": (noted(lock="0"), {}),
    "a note that is too old": (noted(at=NOW - 601), {}),
    "a note of the future": (noted(at=NOW + 3600), {}),
    "after a wipe": (after("unlink", "--wipe"), {}),
    "after new settings": (after("config", "init", "--force", f"--config={ELSEWHERE}/config.toml"), {}),
    "after a simulated link is wiped": (after("unlink", "--wipe", "--simulate"), {}),
}  # fmt: skip

IN_OTHER_PROCESSES: Final = {
    "a clock that was moved": ["unshare", "-fT", "--boottime", "-100", sys.executable, "-m", "device_auth", "factory", *WRITE],
    "another user": [
        *(sys.executable, "-c", f"{AS_ANOTHER}from device_auth.cli.main import main\nsys.exit(main())\n", "", "factory"),
        *("facts", "--state-dir=/run/elsewhere/nobody", "--runtime-dir=/run/elsewhere/nobodys"),
    ],
}  # fmt: skip

SIMULATED_BY_ANOTHER_USER: Final = [*IN_OTHER_PROCESSES["another user"], "--simulate"]
"""No way around: that user may not look into the machine's folder, and a simulated unit has nothing of it."""


def said(words: list[str]) -> tuple[int, list[dict[str, Any]]]:
    """Run the command in this process; return its exit code and the lines of its talk."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()), lines_on_stdin(json.dumps(HEADER)):
        code = main(words)
    lines = out.getvalue().splitlines()
    return code, [json.loads(line) for line in lines if line.startswith("{")]


def seen() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in STATE.iterdir() if path.is_file()}


def report(name: str, codes: list[int], others: list[str], *, is_as_it_was: bool) -> None:
    print(
        json.dumps({"way": name, "codes": codes, "others": others, "is_as_it_was": is_as_it_was}), flush=True
    )


def try_way(name: str) -> None:
    prepare, environ = WAYS[name]
    before = seen()
    words = prepare()
    former = dict(os.environ)
    os.environ.update(environ)
    ended = [said(["factory", *verb, *words]) for verb in VERBS]
    os.environ.clear()
    os.environ.update(former)
    others = [
        line["event"]
        for _, lines in ended
        for line in lines
        if line["event"] not in {"started", "result"} and line.get("outcome") != "ERROR"
    ]
    (RUNTIME / OPENED).unlink(missing_ok=True)
    report(name, sorted({code for code, _ in ended}), others, is_as_it_was=seen() == before)


def make_machine() -> None:
    """Give this process a machine of its own, with an identity and a lock."""
    for folder in (Path("/var/lib"), Path("/run")):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder)], check=True)
    for folder in (STATE, RUNTIME, ELSEWHERE):
        folder.mkdir(mode=0o755)
    STATE.chmod(0o700)
    assert said(["factory", *WRITE])[0] == 0
    lock()


def press_a_simulated_button() -> None:
    """Have the service of this machine reset by a button that a program presses."""
    config, log = ELSEWHERE / "config.toml", ELSEWHERE / "log"
    config.write_text('page = "off"\n[hardware]\nboard = "simulated"\n')
    words = [sys.executable, "-m", "device_auth", "run", f"--config={config}"]
    with (
        log.open("w") as file,
        subprocess.Popen(words, stdin=subprocess.PIPE, stderr=file, text=True) as service,
    ):
        assert service.stdin is not None
        for press, answer in (("hold 10.2", "the button: hold-10s"), ("tap", "the account is forgotten")):
            service.stdin.write(f"{press}\n")
            service.stdin.flush()
            wait_for(lambda answer=answer: answer in log.read_text(), log.read_text())  # type: ignore[misc]  # bound here
        wait_for(lambda: "wiped: " in log.read_text())
        codes = [said(["factory", "facts"])[0]]
        service.terminate()
    report("a simulated button", codes, [], is_as_it_was=not (RUNTIME / OPENED).exists())


def try_all() -> None:
    for name in WAYS:
        try_way(name)
    before = seen()
    for name, words in IN_OTHER_PROCESSES.items():
        forge_note(at=NOW - 650)
        ran = subprocess.run(words, check=False, capture_output=True, text=True)
        others = [] if '"exit": 77' in ran.stdout else [ran.stdout + ran.stderr]
        report(name, [ran.returncode], others, is_as_it_was=seen() == before)
    (RUNTIME / OPENED).unlink(missing_ok=True)
    ran = subprocess.run(SIMULATED_BY_ANOTHER_USER, check=False, capture_output=True, text=True)
    report("simulated by another user", [ran.returncode], [], is_as_it_was=seen() == before)
    note_reset(own(), BootClock().now())
    codes = [said(["factory", *verb])[0] for verb in (["identity", "show"], ["facts"])]
    lock()
    codes.append(said(["factory", "facts"])[0])
    report("by hand", codes, [], is_as_it_was=False)


if __name__ == "__main__":
    make_machine()
    press_a_simulated_button() if "--press" in sys.argv else try_all()
