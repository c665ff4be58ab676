"""A simulated unit that is broken as the name of its slot says; in all else it runs the real verbs.

The station starts it in place of ``device-auth``: ``broken_unit.py factory VERB …``.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

FAULTS: Final = ("hang", "reboot", "wrong-dsn", "dead-led", "read-only", "garbage", "leftover", "no-network")

REAL: Final = (sys.executable, "-m", "device_auth")


def run(words: list[str]) -> NoReturn:
    """Become the real verb."""
    os.execv(sys.executable, [*REAL, *words])  # noqa: S606  the real verb takes this process


def run_until_code(words: list[str]) -> "subprocess.Popen[bytes]":
    """Run the real verb, pass on what it says, and return at its code."""
    verb = subprocess.Popen([*REAL, *words], stdout=subprocess.PIPE)
    assert verb.stdout is not None
    for line in verb.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
        if json.loads(line)["event"] == "code":
            return verb
    sys.exit(verb.wait())


def with_value(words: list[str], option: str, value: str) -> list[str]:
    place = words.index(option) + 1
    return [*words[:place], value, *words[place + 1 :]]


def run_read_only(words: list[str], state_dir: str) -> NoReturn:
    """Become the real verb, on a state folder that cannot be written."""
    if os.geteuid() != 0:
        Path(state_dir).chmod(0o500)
        run(words)
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" "$0" && exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mount, state_dir, *REAL, *words])  # noqa: S606  in a mount namespace of its own


def leave_token(state_dir: str) -> None:
    """Leave what the station has said must not be left, in a file that a wipe keeps."""
    header = sys.stdin.buffer.readline()
    kept = json.loads(header)["tokens"][-1]
    (Path(state_dir) / "simulated" / "settings.toml").write_text(f"# remember: {kept}\n")
    # the real verb needs the header too
    reads, writes = os.pipe()
    os.write(writes, header)
    os.close(writes)
    os.dup2(reads, 0)


def run_unforgotten(words: list[str], verb: str, state_dir: str) -> NoReturn:
    """Become the real verb on a unit that stays in its slot; a lock kills the station before it can say so."""
    kept = Path(state_dir).parents[2] / "kept"
    for option, name in (("--state-dir", "state"), ("--runtime-dir", "run")):
        (kept / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        words = with_value(words, option, str(kept / name))
    if verb == "lock":
        locked = subprocess.run([*REAL, *words], stdout=subprocess.PIPE, check=True)
        assert b'"exit": 0' in locked.stdout
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    run(words)


def main() -> NoReturn:
    words = sys.argv[1:]
    verb = words[1]
    state_dir = words[words.index("--state-dir") + 1]
    match os.environ["DEVICE_AUTH_SLOT"].rstrip("-0123456789"), verb:
        case "hang", "link-test":
            hanging = run_until_code(words)
            hanging.send_signal(signal.SIGSTOP)
            signal.pause()
        case "reboot", "link-test":
            dying = run_until_code(words)
            dying.kill()
            os._exit(255)
        case "wrong-dsn", "identity":
            run(with_value(words, "--dsn", "OTHER001"))
        case "read-only", "identity":
            run_read_only(words, state_dir)
        case "garbage", "link-test":
            run_until_code(words).kill()
            sys.stdout.buffer.write(os.urandom(2000) + b"\n")
            sys.stdout.flush()
            os._exit(0)
        case "unforgotten", _:
            run_unforgotten(words, verb, state_dir)
        case "leftover", "wipe":
            leave_token(state_dir)
        case "no-network", "link-test":
            run(with_value(words, "--base-url", "https://127.0.0.1:9/auth/O2/"))
        case _:
            pass
    run(words)


if __name__ == "__main__":
    main()
