"""Links clients that this project did not write with the simulated Amazon, in every way in which a link can go.

Run: make test-clients, or python -m tests.clients.matrix [CLIENT …]. Prints a table: for each client and story how the
client ended, seconds from the owner's decision to that end, and what the referee said (c: complaints, n: notes). Ends
with 1 if a client did not do as it should, or the referee complains of it. In real time, about two minutes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

import requests

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import Options, RegisteredClient
from device_auth.simulator.server import Running, serve

ROOT: Final = Path(__file__).parent.parent.parent
PYTHON: Final = ROOT / ".venv-clients" / "bin" / "python"
NODE: Final = ROOT / "tests" / "clients" / "node"
SECRET: Final = "a-secret-of-the-maker"
LWA_CLIENT: Final = "amzn1.application-oa2-client." + "0123456789abcdef" * 2
TOLD: Final = 30
"""Seconds that LWA's clients are told to wait between polls, as Amazon tells."""

RFC_TOLD: Final = 2
LIFETIME: Final = 12
"""Seconds that a code lives in the stories in which it is not approved."""

BOUND: Final = 90.0
"""Seconds after which a client that says nothing has failed."""


@dataclass(frozen=True)
class Client:
    """A client, and how it is played."""

    name: str
    words: tuple[str, ...]
    is_lwa: bool = False
    secret: str | None = None
    can_revoke: bool = True
    never: frozenset[str] = frozenset()
    """The stories that this client has no part in."""

    known: frozenset[str] = frozenset()
    """Complaints that its makers' own text explains."""


def python(name: str, *words: str) -> tuple[str, ...]:
    return (str(PYTHON), "-m", f"tests.clients.play_{name}", *words)


def node(version: int) -> tuple[str, ...]:
    return ("node", str(NODE / f"play_openid_client_{version}.mjs"))


ADDS_ONE: Final = frozenset({"polled-too-early"})
"""oidc-agent 4 waits 1 s more after each ``slow_down``, not 5, and is linked in the end all the same."""

CLIENTS: Final = (
    Client("AVS Device SDK, CBL delegate", python("amazon", "sdk"), is_lwa=True, can_revoke=False),
    Client(
        "AVS Device SDK 1.26, adapter",
        python("amazon", "adapter"),
        is_lwa=True,
        can_revoke=False,
    ),
    Client(
        "Java sample",
        python("amazon", "java"),
        is_lwa=True,
        can_revoke=False,
        never=frozenset({"slow"}),  # it does not poll
    ),
    Client(
        "VS Code toolkit",
        python("amazon", "toolkit"),
        is_lwa=True,
        can_revoke=False,
        never=frozenset({"slow"}),  # it polls once
    ),
    Client("Authlib", python("authlib")),
    Client("Authlib, basic", python("authlib"), secret=SECRET),
    Client("requests-oauthlib", python("requests_oauthlib")),
    Client("requests_oauth2client", python("requests_oauth2client")),
    Client("requests_oauth2client, post", python("requests_oauth2client"), secret=SECRET),
    Client("openid-client 5", node(5)),
    Client("openid-client 5, basic", node(5), secret=SECRET),
    Client("openid-client 6", node(6)),
    Client("openid-client 6, post", node(6), secret=SECRET),
    Client("oidc-agent", python("oidc_agent"), known=ADDS_ONE),
    Client("oidc-agent, secret", python("oidc_agent"), secret=SECRET, known=ADDS_ONE),
)


@dataclass
class Outcome:
    """How a story went; ``seconds`` from the owner's decision to the client's end."""

    word: str
    is_right: bool
    seconds: float | None = None
    complaints: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        took = "" if self.seconds is None else f" {self.seconds:.1f} s"
        mark = "" if self.is_right else "!"
        return f"{mark}{self.word}{took} {self.complaints.total()}c {self.notes.total()}n"


class Played:
    """A running player."""

    def __init__(self, client: Client, running: Running, folder: Path) -> None:
        self.client = client
        self.running = running
        wish = {
            "issuer": running.issuer,
            "authorization_url": running.authorization_url,
            "client_id": LWA_CLIENT if client.is_lwa else "a-speaker",
            "client_secret": client.secret,
            "scope": "alexa:all" if client.is_lwa else "openid offline_access",
            "ca_file": str(running.ca_file),
            "folder": str(folder),
        }
        self.process = subprocess.Popen(
            [*client.words, json.dumps(wish)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(folder),
                "NODE_EXTRA_CA_CERTS": str(running.ca_file),
                "REQUESTS_CA_BUNDLE": str(running.ca_file),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
        self.timer = threading.Timer(BOUND, self.process.kill)
        self.timer.start()

    def say(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, str]:
        """Return the next event; ``silent`` if the player has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            return {"event": "silent", "why": self.process.stderr.read()[-300:]}
        event: dict[str, str] = json.loads(line)
        return event

    def control(self, what: str, **members: str) -> dict[str, str]:
        """Ask the control API as the owner does; one that refuses is an ``OSError``."""
        answer = requests.post(
            self.running.control + what, json=members, verify=str(self.running.ca_file), timeout=30
        )
        answer.raise_for_status()
        told: dict[str, str] = answer.json()
        return told

    def close(self) -> None:
        self.timer.cancel()
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def decide(played: Played, code: str, act: str) -> None:
    """Be the owner."""
    if code.startswith("https://"):
        word = "allow" if act == "approve" else "cancel"
        played.say(played.control(f"authorization/{word}", address=code)["address"])
    else:
        played.control(act, user_code=code)


def link(played: Played, act: str = "approve", *, after: float = 1.0) -> tuple[dict[str, str], float]:
    """Have the client link; give its last event, and the seconds from the owner's decision to that."""
    played.say("link")
    event = played.hear()
    if event["event"] != "code":
        return event | {"event": "no-code"}, 0
    time.sleep(after)
    decided_at = time.monotonic()
    decide(played, event["code"], act)
    return played.hear(), time.monotonic() - decided_at


def approve(played: Played) -> Outcome:
    event, seconds = link(played)
    return Outcome(event["event"], event["event"] == "linked", seconds, sentences=[event.get("why", "")])


def deny(played: Played) -> Outcome:
    event, seconds = link(played, "deny")
    why = event.get("why", "")
    return Outcome(event["event"], event["event"] == "refused", seconds, sentences=[why])


def expire(played: Played) -> Outcome:
    """Answer nothing; of the Java sample, too late."""
    played.say("link")
    event = played.hear()
    began_at = time.monotonic()
    if event.get("code", "").startswith("https://"):
        address = played.control("authorization/allow", address=event["code"])["address"]
        time.sleep(LIFETIME + 0.5)
        played.say(address)
    event = played.hear() if event["event"] == "code" else event | {"event": "no-code"}
    is_right = event["event"] == "refused"
    return Outcome(event["event"], is_right, time.monotonic() - began_at, sentences=[event.get("why", "")])


def slow(played: Played) -> Outcome:
    played.running.amazon.script(Endpoint.TOKEN_POLL, [Fault(slow_down=True)])
    return approve(played)


def refresh(played: Played) -> Outcome:
    event, _ = link(played)
    for _ in range(2):
        if event["event"] in {"linked", "refreshed"}:
            played.say("refresh")
            event = played.hear()
    grants = played.running.amazon.grants()
    is_right = event["event"] == "refreshed" and bool(grants) and grants[0].refreshes >= 2
    return Outcome(event["event"], is_right, sentences=[event.get("why", "")])


def revoke(played: Played) -> Outcome:
    """End the link from the client's side, or at the account if the client cannot; then a refresh must fail."""
    event, _ = link(played)
    if event["event"] != "linked":
        return Outcome(event["event"], is_right=False, sentences=[event.get("why", "")])
    word = "revoked"
    if played.client.can_revoke:
        played.say("revoke")
        word = played.hear()["event"]
    else:
        played.running.amazon.revoke("all")
    is_over = all(grant.is_revoked for grant in played.running.amazon.grants())
    played.say("refresh")
    event = played.hear()
    is_right = word == "revoked" and is_over and event["event"] == "refused"
    return Outcome(f"{word}, {event['event']}", is_right, sentences=[event.get("why", "")])


STORIES: Final[Mapping[str, tuple[Callable[[Played], Outcome], Mapping[str, object]]]] = {
    "approve": (approve, {}),
    "deny": (deny, {"code_lifetime": LIFETIME}),
    "expire": (expire, {"code_lifetime": LIFETIME, "authorization_code_lifetime": LIFETIME}),
    "slow": (slow, {}),
    "refresh": (refresh, {}),
    "rotate": (refresh, {"rotates": True}),
    "revoke": (revoke, {}),
}


@contextmanager
def amazon_for(client: Client, authority: Path, more: Mapping[str, object]) -> Iterator[Running]:
    """Serve a simulated Amazon that knows the client's secret."""
    options = Options(
        interval=TOLD if client.is_lwa else RFC_TOLD,
        clients={"a-speaker": RegisteredClient(secret=client.secret)},
    )
    amazon = Amazon(replace(options, **more), clock=time.monotonic)  # type: ignore[arg-type]  # checked by the class
    with serve(amazon, tls=authority) as running:
        yield running


def tell(client: Client, story: str, folder: Path, authority: Path) -> Outcome:
    """Play one story."""
    run, more = STORIES[story]
    folder.mkdir(mode=0o700)
    with amazon_for(client, authority, more) as running:
        played = Played(client, running, folder)
        try:
            outcome = run(played)
        except OSError as error:
            outcome = Outcome("broken", is_right=False, sentences=[str(error)])
        finally:
            played.close()
        referee = running.amazon.referee
        outcome.complaints.update(each.kind.value for each in referee.complaints())
        outcome.is_right = outcome.is_right and outcome.complaints.keys() <= client.known
        outcome.sentences += [f"{each.kind}: {each.sentence}" for each in referee.complaints()]
        outcome.notes.update(each.kind.value for each in referee.notes())
    return outcome


def print_table(outcomes: Mapping[tuple[str, str], Outcome], out: IO[str]) -> None:
    """Print what happened, and then the kinds of remarks by client."""
    names = list(dict.fromkeys(name for name, _ in outcomes))
    width = max(map(len, names))
    cells = {key: str(outcome) for key, outcome in outcomes.items()}
    widths = {
        story: max([len(story), *(len(cells.get((name, story), "")) for name in names)]) for story in STORIES
    }
    print(" " * width, *(story.ljust(widths[story]) for story in STORIES), sep="  ", file=out)
    for name in names:
        row = (cells.get((name, story), "-").ljust(widths[story]) for story in STORIES)
        print(name.ljust(width), *row, sep="  ", file=out)
    print(file=out)
    for name in names:
        mine = [outcome for (each, _), outcome in outcomes.items() if each == name]
        for word, counts in (
            ("complaints", sum((outcome.complaints for outcome in mine), Counter())),
            ("notes", sum((outcome.notes for outcome in mine), Counter())),
        ):
            if counts:
                told = ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
                print(f"{name}: {word}: {told}", file=out)
    for (name, story), outcome in outcomes.items():
        if not outcome.is_right:
            print(f"{name}, {story}: {' | '.join(dict.fromkeys(filter(None, outcome.sentences)))}", file=out)


def is_missing(client: Client) -> bool:
    """Return whether this machine has not what plays the client."""
    if client.words[0] == "node":
        return shutil.which("node") is None or not (NODE / "node_modules").exists()
    return not PYTHON.exists() or ("oidc" in client.name and shutil.which("oidc-agent") is None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "clients", nargs="*", metavar="CLIENT", help="only these, by the beginning of their names"
    )
    parser.add_argument("--story", action="append", choices=STORIES)
    args = parser.parse_args()
    wanted = [each for each in CLIENTS if not args.clients or each.name.startswith(tuple(args.clients))]
    missing = [each.name for each in wanted if is_missing(each)]
    outcomes: dict[tuple[str, str], Outcome] = {}
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(8) as pool:
        folder = Path(place)
        playing = {
            (client.name, story): pool.submit(tell, client, story, folder / f"{index}-{story}", folder / "ca")
            for index, client in enumerate(wanted)
            for story in args.story or STORIES
            if not is_missing(client) and story not in client.never
        }
        outcomes = {key: each.result() for key, each in playing.items()}
    if outcomes:
        print_table(outcomes, sys.stdout)
    for name in missing:
        print(f"{name}: not installed")
    return 0 if all(each.is_right for each in outcomes.values()) and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
