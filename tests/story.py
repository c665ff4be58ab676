"""The simulated speaker from unlinked to linked, as text: ``python -m tests.story`` writes the recording anew.

Of each scene it shows the screen from the first line that has changed.
"""

import sys
from itertools import zip_longest
from pathlib import Path
from threading import enumerate as threads
from typing import Final

from device_auth.assembly.simulated_speaker import DrawnSpeaker
from device_auth.core.models import View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.light import LightPrompt
from device_auth.prompts.voice import VoicePrompt
from device_auth.prompts.wording import read_wording
from hardware.simulated import SimulatedClock
from hardware.voice import QuietHours
from tests.code_views import EXPIRED, LINKED, PROVING, REQUESTING, SAVING, Window, code_pair, waiting
from tests.values import moment

RECORDING: Final = Path(__file__).parent.parent / "docs" / "simulated-speaker.txt"

SECOND: Final = code_pair("KJJPBH", prefilled="https://amazon.com/us/code?cbl-code=KJJPBH", expires_at=1220)
SCENES: Final = (
    (0, "It is not linked, and its button is pressed.", View(StateWord.UNLINKED, Trouble.NONE)),
    (3, "It asks for a code.", REQUESTING),
    (4, "It has one, and tells it.", waiting()),
    (545, "The last minute.", waiting()),
    (600, "Nobody used the code.", View(StateWord.UNLINKED, Trouble.EXPIRED, refusal=EXPIRED)),
    (620, "Another press, another code.", waiting(SECOND)),
    (650, "The owner approves.", SAVING),
    (650.2, "The link is tried out.", PROVING),
    (650.5, "Linked.", LINKED),
    (656, "And then it is dark, for years.", LINKED),
)
"""When, what happens, and what is told."""


def tell_story() -> str:
    """Play every scene on one terminal of 80 × 24 and give what stood on its screen."""
    clock = SimulatedClock()
    drawn = DrawnSpeaker(clock, pace=0)
    drawn.has_keys = True
    window = Window(80, 24, sidebar=drawn, colour=False)
    prompts = (
        LightPrompt(drawn.light),
        VoicePrompt(drawn.voice, read_wording("en"), quiet_hours=QuietHours(0, 0), local_minute=lambda: None),
    )
    frames, before = [], list[str]()
    for at, title, view in SCENES:
        clock.pass_time(at - clock.now())
        for prompt in prompts:
            prompt.show(view, moment(at))
        for thread in threads():
            if thread.name == "voice":
                thread.join()
        clock.pass_time(0.4)
        window.show(view, at + 0.4)
        now = window.text.split("\n")
        frames.append("\n".join((f"--- {title} ({at:.0f} s)", "", *news(before, now), "")))
        before = now
    return "\n".join(frames)


def news(before: list[str], now: list[str]) -> list[str]:
    """Return a screen from the first line that has changed."""
    same = next((place for place, pair in enumerate(zip_longest(before, now)) if pair[0] != pair[1]), 0)
    return now[same:]


if __name__ == "__main__":
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_text(tell_story(), encoding="utf-8")
    sys.exit(0)
