"""Each verb and option by both kinds of speaker: in this process, and through the service; listed differences only."""

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from device_auth.cli.quick_answers import print_quickly
from device_auth.core.states import STATES, StateWord
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import serve
from tests.command import Command
from tests.daemon_process import Household
from tests.simulated_speaker import strict

LOCAL: Final = "in this process"
REMOTE: Final = "through the service"

OTHER: Final = "amzn1.application-oa2-client." + "0123456789abcdef" * 2

OWN_SETTINGS: Final = "the service has its own settings, and cannot be asked for them"
ONE_HOLDER: Final = "the service holds the files and the lock"
NO_SENTENCE: Final = "the socket names the trouble, and not the provider's words"
NO_KEY: Final = "the socket gives message and hint as one sentence"


class Case(NamedTuple):
    """One command line, and where it starts from.

    Attributes:
        words: of the command; DIR is a folder of the case's own.
        state: of the speaker before.
        owner: what the owner does once there is a code.
        known: what may differ, by name, each with its reason.
    """

    words: str
    state: str
    owner: str = ""
    known: tuple[tuple[str, str], ...] = ()


def differs(reason: str, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, reason) for name in names)


UNUSED: Final = differs(OWN_SETTINGS, "stderr")

CASES: Final = (
    Case("status", "unlinked", known=differs("the disk does not know since when", "stdout")),
    Case("status --json", "unlinked", known=differs("the disk does not know since when", "stdout")),
    Case("status --check", "unlinked"),
    Case("status --check --json", "unlinked", known=differs("the disk does not know since when", "stdout")),
    Case("token", "unlinked"),
    Case("token --json", "unlinked"),
    Case("token --min-lifetime 300", "unlinked"),
    Case("unlink", "unlinked"),
    Case("unlink --json", "unlinked"),
    Case("unlink --wipe", "unlinked", known=differs(ONE_HOLDER, "code", "stdout", "stderr")),
    Case("link --import", "unlinked", known=differs(ONE_HOLDER, "code", "stderr")),
    Case("seal", "unlinked", known=differs(NO_KEY, "stderr")),
    Case("seal --json", "linked", known=differs(NO_KEY, "stderr")),
    Case("link --adopt", "unlinked"),
    Case("link --adopt --json", "unlinked"),
    Case("link --adopt --again", "unlinked"),
    Case("link --json", "unlinked", "denies", differs(NO_SENTENCE, "stderr")),
    Case("link", "unlinked", "denies"),
    Case("link", "unlinked", "interrupts"),
    Case("link --json", "unlinked", "interrupts"),
    Case("link --json --timeout 4 --qr-file DIR/code.svg", "unlinked"),
    Case("link --timeout 4 --no-qr", "unlinked"),
    Case("link --qr-file DIR/missing/code.svg", "unlinked"),
    Case("link --qr-file DIR/code.svg", "unlinked", "approves"),
    Case(f"link --client-id {OTHER}", "unlinked", "approves", UNUSED),
    Case("link --renewals 0", "unlinked", "approves", UNUSED),
    Case("link --client-secret-file DIR/secret", "unlinked", "approves", UNUSED),
    Case("link --no-qr", "unlinked", "approves"),
    Case("link --json --again", "unlinked", "approves"),
    Case("status", "linked"),
    Case("status --json", "linked"),
    Case("status --check", "linked"),
    Case("status --check --json", "linked"),
    Case(f"status --client-id {OTHER}", "linked"),
    Case("token", "linked"),
    Case("token --json", "linked"),
    Case("token --min-lifetime 100000", "linked"),
    Case("token --json --min-lifetime 100000", "linked"),
    Case(f"token --client-id {OTHER}", "linked", known=differs("a token that lasts asks nobody", "stderr")),
    Case("link", "linked"),
    Case("link --json", "linked"),
    Case("link --json --timeout 4", "linked"),
    Case("link --adopt", "linked"),
    Case("link --adopt --json", "linked"),
    *(
        Case(f"link {option} {value}", "linked", known=UNUSED)
        for option, value in {
            "--dialect": "rfc8628",
            "--client-id": OTHER,
            "--product-id": "attic",
            "--dsn": "A-0001",
            "--scope": "profile",
            "--locale": "de-DE",
            "--base-url": "https://example.com/auth/O2/",
            "--token-endpoint": "https://example.com/token",
            "--ca-file": "DIR/ca.pem",
            "--config": "DIR/config.toml",
            "--client-secret-file": "DIR/secret",
        }.items()
    ),
    Case("link --again --json", "linked", "denies", differs(NO_SENTENCE, "stderr")),
    Case("link --again --json", "linked", "interrupts"),
    Case("link --again --timeout 4 --json", "linked"),
    Case("link --again", "linked", "approves"),
    Case("unlink --json --wipe", "linked", known=differs(ONE_HOLDER, "code", "stdout", "stderr", "state")),
    Case("unlink --json", "linked"),
    Case("unlink", "linked"),
)


@dataclass
class Side:
    """One speaker."""

    name: str
    command: Command
    settings: Path
    streams: tuple[io.StringIO, ...] = ()

    @property
    def is_linked(self) -> bool:
        return self.run("status").stdout.startswith("state:       linked")

    def has_told(self, user_code: str) -> bool:
        return any(user_code in stream.getvalue() for stream in self.streams)

    def run(self, *words: str) -> "Outcome":
        stdout, stderr = self.streams = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as stdin:
            patch.setenv("DEVICE_AUTH_CONFIG", str(self.settings))
            patch.setattr(sys, "stdin", stdin)
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", stderr)
            code = self.command.run(*words)
        return Outcome(code, stdout.getvalue(), stderr.getvalue())

    def bring_to(self, state: str) -> None:
        if state == "unlinked":
            assert self.run("unlink").code == 0
        elif not self.is_linked:
            with owner_who("approves", self):
                assert self.run("link").code == 0


class Outcome(NamedTuple):
    code: int
    stdout: str
    stderr: str
    state: str = ""
    pictures: bool = False


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Two speakers of one Amazon; a service holds the link of the second."""
    with serve(Amazon(strict(interval=1), clock=time.monotonic)) as running:
        folder = tmp_path_factory.mktemp("remote")
        household = Household(folder, running)
        local = Command(tmp_path_factory.mktemp("local"), running)
        settings = local.folder / "settings.toml"
        settings.write_text(settings_of(local))
        with household.living():
            yield (
                Side(LOCAL, local, settings),
                Side(REMOTE, household.command, settings),
            )


def settings_of(command: Command) -> str:
    names = ("client_id", "product_id", "dsn", "base_url")
    values = [word for word in command.provider if not word.startswith("--")]
    return "".join(f'{name} = "{value}"\n' for name, value in zip(names, values, strict=True))


@contextmanager
def owner_who(does: str, side: Side) -> Iterator[None]:
    """Have an owner act on each new code, once it is told."""
    amazon = side.command.running.amazon
    known = {pair.user_code for pair in amazon.pairs()}
    acts: dict[str, Callable[[str], object]] = {
        "approves": amazon.approve,
        "denies": amazon.deny,
        "interrupts": lambda _: os.kill(os.getpid(), signal.SIGINT),
        "": lambda _: None,
    }
    is_over = threading.Event()

    def act() -> None:
        while not is_over.wait(0.01):
            for pair in amazon.pairs():
                if pair.user_code not in known and side.has_told(pair.user_code):
                    known.add(pair.user_code)
                    acts[does](pair.user_code)

    owner = threading.Thread(target=act)
    owner.start()
    try:
        yield
    finally:
        is_over.set()
        owner.join()


def outcome_of(side: Side, case: Case, folder: Path) -> Outcome:
    folder.mkdir()
    for name in ("secret", "ca.pem", "config.toml"):
        (folder / name).touch(mode=0o600)
    (folder / "secret").write_text("a-secret-of-ours")
    side.bring_to(case.state)
    before = folder.stat().st_mtime_ns

    with owner_who(case.owner, side):
        outcome = side.run(*case.words.replace("DIR", str(folder)).split())

    pictures = folder.stat().st_mtime_ns != before
    is_linked = side.is_linked
    return outcome._replace(state="linked" if is_linked else "unlinked", pictures=pictures)


def masked(text: str, side: Side, folder: Path) -> str:
    """Return a text without what differs from run to run."""
    codes = "|".join(re.escape(pair.user_code) for pair in side.command.running.amazon.pairs()) or "$^"
    for pattern, word in (
        (re.escape(str(folder)), "DIR"),
        (re.escape(str(side.command.folder)), "SPEAKER"),
        (codes, "CODE"),
        (r"Sim\|[^\s\"]+", "TOKEN"),
        (r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME"),
        (r'("expires_in": |live )\d+', r"\1N"),
    ):
        text = re.sub(pattern, word, text)
    return text


def first_line(text: str) -> str:
    """Return the first line that is told for sure: a terminal skips what is over before it is drawn."""
    skipped = {"", STATES[StateWord.REQUESTING].sentence}
    return next((line for line in text.splitlines() if line not in skipped), "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.state}:{case.words}:{case.owner}"[:70])
def test_a_verb_comes_to_the_same_both_ways(sides: tuple[Side, Side], tmp_path: Path, case: Case) -> None:
    seen: dict[str, dict[str, object]] = {}
    for number, side in enumerate(sides):
        folder = tmp_path / str(number)
        outcome = outcome_of(side, case, folder)
        seen[side.name] = {
            "code": outcome.code,
            "stdout": masked(outcome.stdout, side, folder),
            "stderr": first_line(masked(outcome.stderr, side, folder)),
            "state": outcome.state,
            "pictures": outcome.pictures,
        }

    one, other = seen.values()
    assert {name for name in one if one[name] != other[name]} == {name for name, _ in case.known}, seen


@pytest.mark.parametrize("state", ["unlinked", "linked"])
@pytest.mark.parametrize("verb", ["token", "status"])
def test_a_quick_answer_is_the_verbs(
    sides: tuple[Side, Side], capfd: pytest.CaptureFixture[str], verb: str, state: str
) -> None:
    _, side = sides
    side.bring_to(state)
    expected = side.run(verb)
    capfd.readouterr()

    is_printed = print_quickly(verb, str(side.command.folder / "run" / "api.sock"))

    assert is_printed == (expected.code == 0)
    assert capfd.readouterr().out == (expected.stdout if is_printed else "")
