"""Makes the pictures of README and docs anew: ``make pictures``.

What a picture is made of is kept where it still says what the program says, so that pictures change when words do.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.command import ROOT
from tests.pictures import doctor, hardware_page, page
from tests.pictures.drawing import draw_recording, draw_screen
from tests.pictures.recording import (
    differences,
    frames,
    read_cast,
    record,
    with_its_command,
    words_of,
    write_cast,
)

FOLDER: Final = ROOT / "docs" / "pictures"
CAST: Final = FOLDER / "run.cast"


def draw_run() -> str:
    """Draw the recording that is kept."""
    return draw_recording(
        frames(read_cast(CAST.read_text("utf-8"))), "Time left", "A simulated speaker is linked"
    )


def draw_doctor(folder: Path) -> str:
    """Draw what the doctor shows now."""
    return draw_screen(doctor.examine(folder), "The doctor finds that the account has ended the link")


def main() -> int:
    """Make all of them; return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    hardware_page.main()
    with TemporaryDirectory() as folder:
        places = {name: Path(folder) / name for name in ("speaker", "doctor", "phone")}
        for place in places.values():
            place.mkdir()
        now = record(places["speaker"])
        if not CAST.exists() or differences(words_of(read_cast(CAST.read_text("utf-8"))), words_of(now)):
            CAST.write_text(write_cast(with_its_command(now)), "utf-8")
        (FOLDER / "run.svg").write_text(draw_run(), "utf-8")
        (FOLDER / "doctor.svg").write_text(draw_doctor(places["doctor"]), "utf-8")
        for scheme, png in page.photograph(places["phone"]).items():
            (FOLDER / f"page-{scheme}.png").write_bytes(png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
