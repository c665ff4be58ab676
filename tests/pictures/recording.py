"""A recording of the simulated speaker on a real terminal, as asciicast, and the words that it shows.

Source: docs.asciinema.org, asciicast v2.
"""

import codecs
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Final, NamedTuple

import pyte

from tests.terminal_session import program_on_a_terminal
from tests.waiting import LONG

COLUMNS: Final = 80
ROWS: Final = 24

WORDS: Final = ("device-auth", "run", "--simulate")

LEAST: Final = 1.0
"""Seconds that a line must stand to be one that everyone reads; a shorter one may be missed by a slow machine."""

AFTERWARDS: Final = 6.5
"""Seconds that are recorded from "Linked." on: the light goes dark within them."""

UNTIL_SPOKEN: Final = 4.0
"""Seconds from "Linked." within which the voice has said so, and its words have stood for a while."""


class Written(NamedTuple):
    """What was written at a moment, in seconds from the start."""

    at: float
    text: str


def record(folder: Path, afterwards: float = AFTERWARDS) -> list[Written]:
    """Run the simulated speaker on a terminal, press its button, and record until some seconds after it is linked."""
    places = {"STATE_DIRECTORY": str(folder / "state"), "RUNTIME_DIRECTORY": str(folder / "run")}
    run = f"import sys; sys.argv = {list(WORDS)}; from device_auth.__main__ import main; sys.exit(main())"
    decoder = codecs.getincrementaldecoder("utf-8")()
    written, heard, is_pressed, linked_at = list[Written](), "", False, None
    with program_on_a_terminal((sys.executable, "-c", run), folder, COLUMNS, ROWS, **places) as far:
        began = time.monotonic()
        while linked_at is None or time.monotonic() < linked_at + afterwards:
            assert time.monotonic() < began + LONG, f"waited in vain:\n{heard}"
            if not select([far], [], [], 0.05)[0]:
                continue
            text = decoder.decode(os.read(far, 65536))
            heard += text
            written.append(Written(time.monotonic() - began, text))
            # The voice has ended: the quote is closed.
            if not is_pressed and 'link it."' in heard:
                is_pressed = bool(os.write(far, b"\n"))
            if linked_at is None and "Linked." in heard:
                linked_at = time.monotonic()
        os.write(far, b"\x03")
        with suppress(OSError):  # it has ended
            while text := decoder.decode(os.read(far, 65536)):
                written.append(Written(time.monotonic() - began, text))
    return written


def with_its_command(written: list[Written]) -> list[Written]:
    """Return a recording that begins with the command, as a person types it."""
    typed = [Written(0.0, "$ ")]
    typed += [Written(0.6 + 0.06 * place, letter) for place, letter in enumerate(" ".join(WORDS))]
    start = typed[-1].at + 0.4
    return [*typed, Written(start, "\r\n"), *(Written(start + at, text) for at, text in written)]


def write_cast(written: list[Written]) -> str:
    """Return a recording as asciicast, to the tenth of a second."""
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": " ".join(WORDS)}
    lines = [json.dumps(head)]
    by_moment = dict[float, str]()
    for at, text in written:
        moment = round(at, 1)
        by_moment[moment] = by_moment.get(moment, "") + text
    lines += [json.dumps([at, "o", text], ensure_ascii=False) for at, text in by_moment.items()]
    return "\n".join(lines) + "\n"


def read_cast(text: str) -> list[Written]:
    """Read what ``write_cast`` has written."""
    head, *events = map(json.loads, text.splitlines())
    assert (head["version"], head["width"], head["height"]) == (2, COLUMNS, ROWS)
    return [Written(at, told) for at, kind, told in events if kind == "o"]


class Frame(NamedTuple):
    """A screen, and for how long it stood."""

    at: float
    until: float
    screen: pyte.Screen


def frames(written: list[Written]) -> Iterator[Frame]:
    """Yield each screen; it is the same object each time, changed since."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    for each, following in zip(written, [*written[1:], None], strict=True):
        stream.feed(each.text)
        yield Frame(each.at, each.at + AFTERWARDS if following is None else following.at, screen)


# ---------------------------------------------------------------------------------------------------------
# The words


_MASKS: Final = (
    (r"[█▀▄][█▀▄ ]*", " "),
    (r"\b[A-Z](?:  [A-Z]){5}\b", "X  X  X  X  X  X"),
    (r"(enter the code) [A-Z]{6}", r"\1 XXXXXX"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\d+:\d\d$", "M:SS"),
    # The lamp, and the note at the other end of its line.
    (r"^light \(...\) (.*?)  .*$", r"light \1"),
    # The voice is cut where there is no room: it is quoted whole, or it is not compared.
    (r"^voice(?! \"[^\"]*\"$).*", ""),
    (r"\^C", ""),
)
"""What is another one in each run, and what stands for it."""


def lines_of(screen: pyte.Screen) -> set[str]:
    """Return the lines of a screen without what changes from run to run."""
    lines = set[str]()
    for line in screen.display:
        told = line.strip()
        for varies, stands in _MASKS:
            told = re.sub(varies, stands, told).strip()
        lines.add(told)
    return {line for line in lines if line and not line.startswith("$")}


class Words(NamedTuple):
    """The lines of a recording: those that stood for a while, and all."""

    read: set[str]
    seen: set[str]


def words_of(written: list[Written]) -> Words:
    """Return the words of a recording."""
    stood, seen = dict[str, float](), set[str]()
    read = set[str]()
    for frame in frames(written):
        lines = lines_of(frame.screen)
        stood = {line: stood.get(line, 0.0) + frame.until - frame.at for line in lines}
        seen |= lines
        read |= {line for line in lines if stood[line] >= LEAST}
    return Words(read, seen)


def differences(one: Words, other: Words) -> set[str]:
    """Return the lines that everyone reads in one recording and that were never seen in the other."""
    return (one.read - other.seen) | (other.read - one.seen)
