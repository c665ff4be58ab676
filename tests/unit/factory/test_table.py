import fcntl
import io
import os
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from threading import Barrier, Thread

import pyte
import pytest
from rich.console import Console

from device_auth.core.errors import ConfigError
from device_auth.core.models import Monotonic
from device_auth.factory.station.table import SlotRow, SlotTable, draw
from tests.waiting import wait_for

NOW = Monotonic(1000)
QUIET = ("", True)


def slots(count: int) -> dict[str, SlotRow]:
    """Return slots of which each has been through something else."""
    rows = {}
    for place in range(count):
        dsn = f"G0A1B2C3{place:03}K"
        rows[f"slot-{place + 1:02}"] = (
            SlotRow("runs", "link-test", dsn, Monotonic(988)),
            SlotRow("FAIL", "selftest", dsn, Monotonic(0), 14.2, "the light did not light"),
            SlotRow("PASS", "", dsn, Monotonic(0), 61.0),
            SlotRow(),
        )[place % 4]
    return rows


def seen(rows: dict[str, SlotRow], columns: int, lines: int, message: tuple[str, bool] = QUIET) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, height=lines)
    console.print(draw("station-1", rows, message, (columns, lines), NOW), end="")
    return out.getvalue().split("\n")


def test_32_slots_are_readable_on_80_by_24() -> None:
    rows = slots(32)
    text = seen(rows, 80, 24)

    for name, row in rows.items():
        (line,) = (line for line in text if name in line)
        _, _, field = line.partition(name)
        words = field[:32].split()
        assert words[:1] == [row.status]
        assert not row.step or row.step in words
        assert not row.dsn or words[-1].endswith(row.dsn[-6:])
    assert text[0].split() == ["station-1", "idle", "8", "runs", "8", "PASS", "8", "FAIL", "8"]


def test_a_wide_terminal_also_has_the_reason() -> None:
    text = "\n".join(seen(slots(8), 120, 30))

    assert re.search(r"slot-02 FAIL    selftest   14s G0A1B2C3001K +the light did not light", text)
    assert re.search(r"slot-01 runs    link-test  12s G0A1B2C3000K", text)


@pytest.mark.parametrize("count", [1, 7, 32, 64])
def test_it_is_never_larger_than_the_terminal(count: int) -> None:
    for columns, lines in product([1, 9, 24, 40, 60, 80, 81, 119, 200], [4, 10, 24, 60]):
        text = seen(slots(count), columns, lines, ("slot-01: unreadable label", False))

        assert len(text) <= lines
        assert max(len(line) for line in text) <= columns


def test_where_not_all_fit_those_that_did_not_pass_come_first() -> None:
    text = "\n".join(seen(slots(64), 60, 20))

    assert text.count("FAIL ") == 1 + 16
    assert text.count("runs ") == 1 + 16
    assert "more slots, idle or passed, do not fit here" in text


def test_a_run_of_hours_is_told_in_minutes() -> None:
    row = SlotRow("runs", "lock", "G0A1B2C3", Monotonic(NOW - 3600))

    assert " 60m " in seen({"slot-01": row}, 80, 24)[1]


def test_what_went_wrong_is_seen_without_colours() -> None:
    picture = draw("station-1", slots(4), ("locked", False), (80, 24), NOW)

    marked = {
        picture.plain[span.start : span.end].strip() for span in picture.spans if "reverse" in str(span.style)
    }
    assert marked == {"FAIL", "!! locked"}


def test_what_comes_from_a_unit_moves_no_cursor() -> None:
    row = SlotRow(
        "ERROR", "self\x1b[2Jtest", "G0A1B2C3", None, 1.0, "\x07\r\n[bold]x[/bold]\x9b2J ＷＩＤＥ" * 9
    )
    text = seen({"slot-01": row}, 120, 24, ("\x1b]0;title\x07", False))

    assert [line for line in text if re.search("[\x00-\x1f\x7f-\x9f]", line)] == []
    assert "[bold]x[/bold]" in text[1]


# ---------------------------------------------------------------------------------------------------------
# Where there is no terminal


def test_without_a_terminal_each_change_is_a_line() -> None:
    out = io.StringIO()
    with SlotTable("station-1", ["slot-01"], out) as table:
        table.show("slot-01", SlotRow("runs", "selftest", "G0A1B2C3", Monotonic(0)))
        table.show("slot-01", SlotRow("runs", "selftest", "G0A1B2C3", Monotonic(0)))
        table.show("slot-01", SlotRow("FAIL", "selftest", "G0A1B2C3", Monotonic(0), 14.2, "no\nlight"))
        table.tell("unreadable label: scan it again", is_good=False)
        table.tell("operator anna", is_good=True)

    assert [line[9:] for line in out.getvalue().splitlines()] == [
        "slot-01 runs G0A1B2C3 selftest",
        "slot-01 FAIL G0A1B2C3 selftest 14.2 s no?light",
        "\aunreadable label: scan it again",
        "operator anna",
    ]
    assert re.fullmatch(r"\d\d:\d\d:\d\d ", out.getvalue()[:9])


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    names = [f"slot-{place:02}" for place in range(32)]
    at_once = Barrier(len(names))
    with (tmp_path / "log").open("w") as out, SlotTable("station-1", names, out) as table:

        def work(name: str) -> None:
            at_once.wait()
            for count in range(20):
                table.show(name, SlotRow("runs", f"step-{count}", name * 3))

        threads = [Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 32 * 20
    assert all(re.fullmatch(r"\S{8} (slot-\d\d) runs \1\1\1 step-\d+", line) for line in lines)


# ---------------------------------------------------------------------------------------------------------
# On a terminal


class Screen:
    """A terminal of 80 × 24, and an emulator that shows what is written to it."""

    def __init__(self) -> None:
        self.far, near = os.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.out = os.fdopen(near, "w")
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.heard = b""
        os.set_blocking(self.far, False)

    def text(self) -> str:
        try:
            while heard := os.read(self.far, 65536):
                self.heard += heard
                self.stream.feed(heard)
        except BlockingIOError:
            pass
        return "\n".join(line.rstrip() for line in self.screen.display)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    made = Screen()
    try:
        yield made
    finally:
        made.out.close()
        os.close(made.far)


def test_a_terminal_shows_the_table_and_afterwards_what_became_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = slots(32)
    with terminal(monkeypatch) as window:
        with SlotTable("station-1", list(rows), window.out) as table:
            table.operator = lambda: "anna"
            for name, row in rows.items():
                table.show(name, row)
            wait_for(lambda: "slot-30 FAIL    selftest" in window.text())
            lines = window.text().splitlines()
            assert lines[0].startswith("station-1  operator anna  idle 8  runs 8  PASS 8  FAIL 8")
            assert sum(line.count("slot-") for line in lines) == 32
            table.tell("32 runs: 8 PASS", is_good=True)

        assert b"\x1b[?1049l" in (window.text() and window.heard), "the screen of before is back"
        assert "slot-30 FAIL G0A1B2C3029K selftest 14.2 s the light did not light" in window.text()
        assert window.text().rstrip().endswith("\n32 runs: 8 PASS")


def test_a_bad_label_is_told_at_once_by_colour_beep_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as window, SlotTable("station-1", ["slot-01"], window.out) as table:
        window.text()
        window.heard = b""

        table.tell("G0A1B2C3 is locked already", is_good=False)
        assert "!! G0A1B2C3 is locked already" in window.text()
        assert window.heard.endswith(b"\a")
        assert window.screen.buffer[3][0].reverse
        assert window.screen.buffer[3][0].fg == "red"


def test_on_a_terminal_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    with terminal(monkeypatch) as window, pytest.raises(ConfigError, match="rich is missing"):
        SlotTable("station-1", ["slot-01"], window.out)
