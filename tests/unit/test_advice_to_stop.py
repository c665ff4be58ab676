"""Advice to stop the service names both units: one that is stopped alone comes back with the next program that asks it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from device_auth.world.explain import STOP_SERVICE
from tests.unit.test_guards import ROOT, SOURCES, module_of, parsed_modules

STOPS: Final = re.compile(
    r"systemctl\s+(?:--\S+\s+)*(?:stop|disable|mask)\b[^.;:`\n]*(?:\.(?:service|socket)[^.;:`\n]*)*"
)

UNITS: Final = ("device-auth.socket", "device-auth.service")

PAGES: Final = sorted(
    path
    for place in ("docs", "deploy", "debian", ".")
    for path in (ROOT / place).glob("*.md" if place == "." else "**/*")
    if path.is_file() and path.name != "CHANGELOG.md" and path.suffix != ".preinst"
)
"""Not what dpkg does itself: at an upgrade it keeps the socket, where programs wait."""


def texts_of(path: Path) -> Iterator[str]:
    """Yield the texts that a file has for people: of a program, its strings, joined as Python joins them."""
    if path.suffix != ".py":
        text = path.read_text(errors="replace")
        # a command in the text may be broken over two lines
        yield re.sub(r"(?<!`)`[^`\n]+\n[^`\n]+`(?!`)", lambda found: found[0].replace("\n", " "), text)
        return
    for node in ast.walk(
        parsed_modules()[module_of(path)] if path in SOURCES else ast.parse(path.read_text())
    ):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def advice_in(path: Path) -> list[str]:
    """Return each command of ours that stops the service or its socket, in a file; another unit of ours is none of them."""
    return [
        found[0]
        for text in texts_of(path)
        for found in STOPS.finditer(text)
        if re.search(r"device-auth(?!-)", found[0])
    ]


def test_every_advice_to_stop_the_service_names_both_units() -> None:
    found = {path: advice_in(path) for path in (*SOURCES, *PAGES)}

    assert [
        (path, words)
        for path, each in found.items()
        for words in each
        if not all(unit in words for unit in UNITS)
    ] == []
    assert sum(map(len, found.values())) >= 4  # so the pattern finds what it is for


@pytest.mark.parametrize(
    "words",
    ["stop it: systemctl stop device-auth", "run `sudo systemctl disable --now device-auth.service`."],
)
def test_advice_that_names_one_is_noticed(tmp_path: Path, words: str) -> None:
    (tmp_path / "page.md").write_text(words)

    assert not all(unit in advice_in(tmp_path / "page.md")[0] for unit in UNITS)


def test_the_advice_of_the_program_is_noticed_as_whole(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"First: {STOP_SERVICE}; then go on.")

    assert advice_in(tmp_path / "page.md") == [STOP_SERVICE.removeprefix("sudo ")]
