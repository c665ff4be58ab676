"""The README's pictures show what the program shows now; ``make pictures`` takes them anew."""

import io
import re
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from device_auth.world.disks import doubt_about
from tests.command import ROOT
from tests.pictures import doctor, page
from tests.pictures.make import CAST, FOLDER, draw_doctor, draw_run
from tests.pictures.recording import UNTIL_SPOKEN, WORDS, Words, differences, read_cast, record, words_of

ANEW: Final = "the program says something else than its picture: make pictures"
MOST_BYTES: Final = 150_000
MOST_BYTES_OF_ALL: Final = 500_000


@pytest.fixture(scope="module")
def kept() -> Words:
    return words_of(read_cast(CAST.read_text("utf-8")))


def of_any_machine(words: Words, folder: Path) -> Words:
    """Leave out what depends on this machine: whether its disk lets a link outlive a power cut, and whether the page's port is free."""
    said = ("Linked.", 'voice "Done.') if doubt_about(folder) is not None else ()
    return Words(
        *(
            {line for line in lines if not line.startswith(said) and " is taken: " not in line}
            for lines in words
        )
    )


def test_the_recording_shows_what_one_sees_today(kept: Words, tmp_path: Path) -> None:
    now = words_of(record(tmp_path, UNTIL_SPOKEN))

    assert differences(of_any_machine(kept, tmp_path), of_any_machine(now, tmp_path)) == set(), ANEW


def test_another_word_is_not_what_the_recording_shows(kept: Words) -> None:
    changed = Words(*({line.replace("approve", "agree") for line in lines} for lines in kept))

    assert differences(kept, kept) == set()
    assert {"same code, then approve.", "same code, then agree."} <= differences(kept, changed)
    assert differences(kept, Words(kept.read | {"A new line."}, kept.seen)) == {"A new line."}


def test_the_recording_goes_from_the_command_to_the_link(kept: Words) -> None:
    cast = CAST.read_text("utf-8")

    assert "".join(each.text for each in read_cast(cast)).startswith(f"$ {' '.join(WORDS)}\r\n")
    assert {"light orange, breathing", "light cyan, steady", "light dark"} <= kept.read
    assert 'voice "Done. This speaker is now linked to your account."' in kept.read


def test_the_recording_is_drawn_as_it_is_kept() -> None:
    assert (FOLDER / "run.svg").read_text("utf-8") == draw_run(), ANEW


@pytest.mark.usefixtures("own_home")
def test_the_doctors_picture_shows_what_it_prints(tmp_path: Path) -> None:
    drawn = draw_doctor(tmp_path)
    counts = rf"{doctor.COUNT}|textLength=.\d+."

    assert re.sub(counts, "", (FOLDER / "doctor.svg").read_text("utf-8")) == re.sub(counts, "", drawn), ANEW


@pytest.mark.usefixtures("own_home")
def test_the_doctors_page_shows_the_same_example(tmp_path: Path) -> None:
    shown = (
        (ROOT / "docs" / "doctor.md")
        .read_text()
        .partition("<!-- example -->\n```text\n")[2]
        .partition("```")[0]
    )
    printed = doctor.words_of(doctor.examine(tmp_path))

    assert doctor.without_counts(shown.splitlines()) == [printed[0].replace("sudo ", ""), *printed[1:]]


@pytest.mark.parametrize("scheme", page.SCHEMES)
def test_the_picture_of_the_page_shows_what_is_served(scheme: str) -> None:
    picture = Image.open(io.BytesIO((FOLDER / f"page-{scheme}.png").read_bytes()))

    assert page.without_time(picture.info[page.WORDS]) == page.without_time(page.words_now()), ANEW
    assert picture.size == (page.SCALE * page.WIDTH, page.SCALE * page.HEIGHT)


def test_every_picture_is_small_and_is_shown() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))

    assert max(sizes.values()) < MOST_BYTES
    assert sum(sizes.values()) < MOST_BYTES_OF_ALL
    assert set(sizes) == {
        name for page in pages for name in re.findall(r"pictures/([\w.-]+)", page.read_text("utf-8"))
    }
