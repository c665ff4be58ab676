"""One simulated unit through the verbs of the line, as a station runs them: each result is proved, and nothing of the rig stays."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from device_auth.cli.main import main
from device_auth.core.models import Secret
from device_auth.factory.talk import (
    Event,
    Header,
    IdentityEvent,
    Masks,
    ResultEvent,
    StartedEvent,
    StatusEvent,
    TalkReader,
    UnitEvent,
    Unreadable,
    write_header,
)
from tests.standard_input import lines_on_stdin

KEY: Final = os.urandom(32)
TOKEN: Final = "Sim|canary|0123456789"
HEADER: Final = Header(UUID(int=13), Secret(KEY.hex()), (Secret(TOKEN),), "KS0001")
CLIENT: Final = f"amzn1.application-oa2-client.51{'0' * 29}5"
WRITE: Final = ("identity", "write", "--dsn=KS0001", "--product-id=Kitchen", f"--client-id={CLIENT}")


class Unit:
    """A simulated unit, and all that its verbs wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""

    def run(self, *words: str) -> tuple[list[Event | Unreadable], ResultEvent]:
        """Run a verb as a station does; return what it said before its result, and that."""
        places = (f"--state-dir={self.folder}/state", f"--runtime-dir={self.folder}/run", "--simulate")
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), lines_on_stdin(write_header(HEADER)):
            code = main(["factory", *words, *places, "--talk"])
        self.said += out.getvalue() + err.getvalue()
        reader = TalkReader(Masks(), KEY)
        events = reader.feed(out.getvalue().encode())
        result = reader.end()
        assert isinstance(result, ResultEvent), result
        assert result.exit == code
        assert result.is_proved
        return events[:-1], result


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    return Unit(tmp_path)


def test_a_unit_gets_its_identity_is_wiped_and_locked_and_then_only_looked_at(unit: Unit) -> None:
    (started, identity, _), first = unit.run(*WRITE)
    _, again = unit.run(*WRITE)
    _, other = unit.run(*WRITE, "--batch=7")
    facts, _ = unit.run("facts")
    _, wiped = unit.run("wipe", "--verify")
    _, locked = unit.run("lock")
    refused = {unit.run(*words)[1].exit for words in (WRITE, ("facts",), ("wipe", "--verify"), ("lock",))}
    status, looked = unit.run("status")

    assert isinstance(started, StartedEvent)
    assert started.dut_id is None
    assert identity == IdentityEvent("KS0001", "Kitchen", CLIENT, None, None, None)
    assert [first.exit, again.exit, other.exit, wiped.exit, locked.exit] == [0, 0, 78, 0, 0]
    assert any(isinstance(event, UnitEvent) for event in facts)
    assert refused == {77}
    assert looked.exit == 0
    assert StatusEvent(locked=True, opened_for=None, linked=False, run=str(HEADER.run)) in status
    assert identity in status


def test_a_unit_of_another_label_or_with_a_token_is_not_locked(unit: Unit) -> None:
    unit.run(*WRITE[:2], "--dsn=KS0002", *WRITE[3:])
    _, of_another = unit.run("lock")
    unit.run(*WRITE, "--force")
    leftover = unit.folder / "run/simulated/leftover"
    leftover.write_text(json.dumps({"token": TOKEN}))
    _, with_token = unit.run("lock")
    leftover.unlink()

    assert (of_another.exit, of_another.failed) == (78, ("identity",))
    assert with_token.exit == 74
    assert unit.run("lock")[1].exit == 0


def test_nothing_of_the_rig_stays_on_the_unit(unit: Unit) -> None:
    for words in (
        WRITE,
        ("identity", "show"),
        ("facts",),
        ("status",),
        ("wipe", "--verify"),
        ("lock",),
        ("facts",),
    ):
        unit.run(*words)

    files = {path: path.read_bytes() for path in unit.folder.rglob("*") if path.is_file()}
    assert {path.name for path in files} == {"identity.toml", "factory-lock.json"}
    for canary in (KEY.hex(), TOKEN):
        assert canary not in unit.said
        assert [path for path, content in files.items() if canary.encode() in content] == []
