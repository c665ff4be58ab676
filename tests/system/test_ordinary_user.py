"""The verbs of an ordinary user beside a service that does not answer this user: none acts as if no service ran."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.another_user import NOBODY, AnotherUser, another_user
from tests.command import ROOT, bare_environment
from tests.socket_world import READERS, SocketWorld

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

CLIENT: Final = (
    "--client-id=amzn1.application-oa2-client.0123456789abcdef0123456789abcdef",
    "--product-id=kitchen",
    "--dsn=K-0001",
)

VERBS: Final = (
    "status",
    "status --json",
    "token",
    "token --json",
    "link",
    "link --json",
    "link --again",
    "link --import",
    "unlink",
    "unlink --wipe",
    "authorize --paste",
    "export json --to moved.json",
    "hardware test",
)


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """Return a copy of the program that every user can read: the checkout may lie below a folder closed to others."""
    with tempfile.TemporaryDirectory() as made:
        for package in ("device_auth", "hardware"):
            shutil.copytree(ROOT / package, Path(made, package), ignore=shutil.ignore_patterns("__pycache__"))
        for path in (Path(made), *Path(made).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield Path(made)


@pytest.fixture(scope="module")
def user(program: Path) -> Iterator[AnotherUser]:
    with another_user(program) as user:
        yield user


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "run").mkdir(mode=0o755)
        (folder / "state").mkdir()
        os.chown(folder / "state", NOBODY, NOBODY)
        (folder / "config.toml").write_text('[hardware]\nboard = "simulated"\n')
        yield folder


@pytest.fixture
def served(folder: Path) -> Iterator[SocketWorld]:
    with SocketWorld(folder / "run" / "api.sock") as served:
        served.is_linked(served.issue())
        yield served


def run(user: AnotherUser, folder: Path, words: str, *groups: int) -> "subprocess.CompletedProcess[str]":
    """Run the command as a user of these groups."""
    places = ("--state-dir", str(folder / "state"), "--runtime-dir", str(folder / "run"))
    config = ("--config", str(folder / "config.toml"))
    return user.run(
        "from device_auth.cli.main import main; sys.exit(main())",
        [*words.split(), *places, *config, *(CLIENT if words.startswith("link") else ())],
        groups=groups,
        environment={**bare_environment(), "HOME": str(folder)},
        typed="Atzr|pasted\n",
    )


@pytest.mark.parametrize("words", VERBS)
def test_a_user_outside_the_group_is_told_which_to_join(
    user: AnotherUser, folder: Path, served: SocketWorld, words: str
) -> None:
    done = run(user, folder, words)

    assert done.returncode == 75, done.stderr
    assert "device-auth-client" in done.stderr or "the service is using the parts" in done.stderr
    assert list((folder / "state").iterdir()) == []
    assert served.actions.asked == []


@pytest.mark.parametrize(("words", "code"), [("status", 0), ("token", 0), ("link", 0), ("unlink", 75)])
def test_a_member_may_read_and_is_told_which_group_may_act(
    user: AnotherUser, folder: Path, served: SocketWorld, words: str, code: int
) -> None:
    done = run(user, folder, words, READERS)

    assert done.returncode == code, done.stderr
    assert (code == 0) is ("device-auth-admin" not in done.stderr)
    assert served.actions.asked == []


@pytest.mark.usefixtures("served")
def test_a_user_outside_the_group_reads_of_the_doctor_why(user: AnotherUser, folder: Path) -> None:
    done = run(user, folder, "doctor")

    assert "refuses to answer this user" in done.stdout
    assert "device-auth-client" in done.stdout


def test_a_program_outside_the_group_is_refused_and_the_service_never_called_missing(
    user: AnotherUser, served: SocketWorld
) -> None:
    act = (
        "from device_auth.client import Client, Refused\n"
        "for ask in (Client(sys.argv[1]).status, lambda: next(Client(sys.argv[1]).events())):\n"
        "    try: ask()\n"
        "    except Refused as error: print(error.problem, error)\n"
    )
    done = user.run(act, [str(served.path)], environment=bare_environment())

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 2
    assert all(line.startswith("forbidden ") and "device-auth-client" in line for line in lines)
