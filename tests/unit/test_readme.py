"""README and FAQ: one screen for each kind of person, links that lead somewhere, commands that the program takes, its own words."""

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from device_auth.cli.main import VERBS, read_arguments
from device_auth.core.states import Trouble
from device_auth.prompts.light import TABLE, describe
from device_auth.prompts.wording import read_wording
from tests.command import ROOT

README: Final = (ROOT / "README.md").read_text("utf-8")
FAQ: Final = (ROOT / "docs" / "faq.md").read_text("utf-8")
DOCTOR: Final = (ROOT / "docs" / "doctor.md").read_text("utf-8")

PEOPLE: Final = ("You own a speaker", "You sit at a desk", "You make speakers", "You repair speakers")
ROWS: Final = 24
COLUMNS: Final = 120

pages = pytest.mark.parametrize(
    ("text", "folder"), [(README, ROOT), (FAQ, ROOT / "docs")], ids=["readme", "faq"]
)


@pytest.mark.parametrize("heading", PEOPLE)
def test_each_kind_of_person_has_one_screen(heading: str) -> None:
    section = re.search(rf"^## {heading}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = [line for line in section[1].strip().splitlines() if not line.startswith("<")]

    assert len(lines) <= ROWS
    assert max(map(len, lines)) <= COLUMNS
    assert f"(#{anchor(heading)})" in README.partition("## ")[0]


@pages
def test_each_link_leads_somewhere(text: str, folder: Path) -> None:
    links = re.findall(r"\]\(((?!https?:)[^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)

    for target, _, part in (("".join(link)).partition("#") for link in links):
        path = folder / target if target else None
        assert path is None or path.exists(), target
        if part:
            assert part in anchors(
                text if path is None else (path / "README.md" if path.is_dir() else path).read_text()
            )


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def anchor(heading: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pages
def test_each_command_is_one_that_the_program_takes(text: str, folder: Path) -> None:
    del folder
    shown = re.findall(r"^\$ (.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]*device-auth [^`\n]+)`", text)
    typed = [words for command in shown if (words := words_after_the_program(command))]

    assert len(typed) > 10
    for words in typed:
        if len(words) == 1:  # a verb is spoken of
            assert words[0] in VERBS
        else:
            read_arguments(words)


def words_after_the_program(command: str) -> list[str]:
    """Return the arguments of device-auth in a line of a shell; none where it is not the program that is run."""
    words = shlex.split(command, comments=True)
    named = [at for at, word in enumerate(words) if word.endswith("device-auth") and words[at - 1] != "-u"]
    return words[named[0] + 1 :] if named and "--help" not in words else []


def rows_below(head: str) -> list[list[str]]:
    """Return the cells of the FAQ's table whose head begins so."""
    table = re.search(rf"^\| {head} \|.*\n\| ---.*\n((?:\|.*\n)+)", FAQ, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[1].splitlines()]


def test_the_faq_explains_each_light_that_there_is() -> None:
    explained = {
        meaning: light
        for light, means, *_ in rows_below("The light")
        for meaning in re.findall(r"`([^`]+)`", means)
    }

    assert explained == {str(meaning): describe(pattern) for meaning, pattern in TABLE.items()}


def test_the_faq_has_what_is_said_in_each_trouble() -> None:
    wording = read_wording("en")

    assert [row[:3] for row in rows_below("It says")] == [
        [wording.troubles[trouble].sentence, wording.short[trouble], f"`{trouble}`"]
        for trouble in Trouble
        if trouble is not Trouble.NONE
    ]


def test_the_faq_names_checks_of_the_doctor() -> None:
    checks = set(re.findall(r"^\| ([A-Z]\d+) \|", DOCTOR, re.MULTILINE))
    named = set(re.findall(r"\b[SRTNCLHD]\d+\b", FAQ))

    assert named
    assert named <= checks
