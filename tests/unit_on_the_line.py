"""A simulated unit on the line, with folders and a root of its own, and the talk of a verb run in this process."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from device_auth.assembly.doors import Doors, open_doors
from device_auth.core.models import Secret
from device_auth.factory.talk import AskEvent, Header, Talk
from tests.world import CLIENT_ID

KEY = "0f" * 32
MACHINE = "1f" * 16

TOKEN = "Sim|R|canary-0123456789abcdef"
OTHER_TOKEN = "a-canary-of-the-run-without-any-known-beginning"


@dataclass
class UnitOnTheLine:
    """One unit.

    Attributes:
        folder: of its own.
        answers: of the rig, by the name of the question; those that are not there are "yes".
        lines: what it said.
        asked: the names of its questions.
        held: what stays open until its end.
        rig: called with each line.
    """

    folder: Path
    answers: dict[str, str] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    held: ExitStack = field(default_factory=ExitStack)
    rig: Callable[[dict[str, Any]], object] = lambda _: None

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state(self) -> Path:
        return self.folder / "state/simulated"

    @property
    def runtime(self) -> Path:
        return self.folder / "run/simulated"

    @property
    def places(self) -> list[str]:
        """Return the options that name its folders."""
        return [
            *("--simulate=auto", "--state-dir", str(self.folder / "state")),
            *("--runtime-dir", str(self.folder / "run")),
        ]

    def make(self) -> "UnitOnTheLine":
        """Make the folders of a unit that has started once."""
        for folder in (self.state, self.runtime):
            folder.mkdir(parents=True, mode=0o755)
        self.write("etc/machine-id", MACHINE + "\n")
        return self

    def identify(self, dsn: str = "K-0001") -> None:
        """Write an identity."""
        ids = f'dsn = "{dsn}"\nproduct_id = "kitchen"\nclient_id = "{CLIENT_ID}"\n'
        (self.state / "identity.toml").write_text(ids)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def doors(self, **options: object) -> Doors:
        """Return its doors, opened anew."""
        folders = {"state_dir": str(self.folder / "state"), "runtime_dir": str(self.folder / "run")}
        return open_doors({"simulate": "auto", **folders, **options})

    def talk(self, verb: str, *tokens: str, dsn: str | None = None) -> Talk:
        """Return the talk of a verb with a station."""
        self.lines.clear()
        self.asked.clear()
        header = Header(UUID(int=1), Secret(KEY), tuple(map(Secret, tokens)), dsn)
        return Talk(verb, self._hear, self._answer, header)

    @property
    def checks(self) -> Mapping[str, str]:
        """Return the outcome of each check."""
        return {line["name"]: line["outcome"] for line in self.lines if line["event"] == "check"}

    @property
    def measured(self) -> Mapping[str, object]:
        """Return each value that was measured."""
        return {line["name"]: line["value"] for line in self.lines if line["event"] == "measurement"}

    @property
    def failed(self) -> list[str]:
        """Return the names of the checks that did not pass, in their order."""
        return [name for name, outcome in self.checks.items() if outcome in {"FAIL", "ERROR"}]

    def detail(self, name: str) -> str:
        """Return what a check said."""
        return next(str(line["detail"]) for line in self.lines if "detail" in line and line["name"] == name)

    def _hear(self, line: str) -> None:
        self.lines.append(json.loads(line))
        self.rig(self.lines[-1])

    def _answer(self, question: AskEvent) -> str:
        self.asked.append(question.name)
        return self.answers.get(question.name, "yes")
