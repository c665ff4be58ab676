"""A scanner's events as the kernel gives them, through a pipe: what a label is, and what only looks like one."""

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.core.models import Seconds
from device_auth.factory.station.scanner import (
    LOST,
    US_KEYS,
    KeyReader,
    Scan,
    ScanKind,
    Scanner,
    ScannerGone,
    UnreadableLabel,
    read_layout,
    read_scan,
)

SHIFT, ENTER, A_WITH_DOTS = 42, 28, 86
SOON, LONG = Seconds(0.05), Seconds(60)
UINPUT = Path("/dev/uinput")


def event(kind: int, code: int, value: int) -> bytes:
    return struct.pack("llHHi", 1_795_305_600, 0, kind, code, value)


def stroke(code: int) -> bytes:
    return event(4, 4, code) + event(1, code, 1) + event(0, 0, 0) + event(1, code, 0) + event(0, 0, 0)


def strokes(text: str, layout: dict[int, str]) -> bytes:
    """Type a text as a scanner does: Shift for each character that wants it, and Enter at the end."""
    keys = {pair[place]: (code, place) for code, pair in reversed(layout.items()) for place in (1, 0)}
    typed = b""
    for character in text:
        code, is_shifted = keys[character]
        typed += event(1, SHIFT, 1) + stroke(code) + event(1, SHIFT, 0) if is_shifted else stroke(code)
    return typed + stroke(ENTER)


class Wedge:
    """A scanner whose device is a pipe."""

    def __init__(self, silence: Seconds | None = None) -> None:
        source, self.cable = os.pipe()
        self.opened = 0
        self.sources = [source]
        self.scanner = Scanner("wedge", self.open, KeyReader().read, silence=silence)

    def open(self) -> int:
        self.opened += 1
        return self.sources.pop()

    def scan(self, text: str) -> None:
        self.type(strokes(text, dict(US_KEYS)))

    def type(self, events: bytes) -> None:
        os.write(self.cable, events)


@pytest.fixture
def wedge() -> Iterator[Wedge]:
    made = Wedge()
    with made.scanner:
        yield made
    os.close(made.cable)


# ---------------------------------------------------------------------------------------------------------
# Labels


@pytest.mark.parametrize(
    ("line", "scan"),
    [
        ("G0A1B2C3", Scan(ScanKind.UNIT, "G0A1B2C3")),
        ("g0_a-B2", Scan(ScanKind.UNIT, "g0_a-B2")),
        ("G0A1B2C3;part=SPK-1;rev=B;batch=2026-48", Scan(ScanKind.UNIT, "G0A1B2C3")),
        ("G0A1B2C3;", Scan(ScanKind.UNIT, "G0A1B2C3")),
        ("A" * 32, Scan(ScanKind.UNIT, "A" * 32)),
        ("OP;anna.m", Scan(ScanKind.OPERATOR, "anna.m")),
        ("AT;slot-07", Scan(ScanKind.SLOT, "slot-07")),
    ],
)
def test_a_label_is_a_dsn_a_badge_or_a_slot(line: str, scan: Scan) -> None:
    assert read_scan(line) == scan


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ABC",
        "A" * 33,
        "G0A1 B2C3",
        " G0A1B2C3",
        "G0A1B2C3\x1b[2J",
        "G0A1B2C3;\x07",
        "G0Ä1B2C3",
        f"G0A1{LOST}2C3",
        f"G0A1B2C3{LOST}",
        f"G0A1B2C3;{LOST}",
        "G0A1B2C3;" + "x" * 300,
        "OP;",
        "OP;anna m",
        "OP",
        "AT;",
        ";G0A1B2C3",
        "--help",
        "https://example.org/G0A1B2C3",
        "4006381333931\x004006",
    ],
)
def test_what_is_none_of_them_is_unreadable(line: str) -> None:
    with pytest.raises(UnreadableLabel, match="unreadable label"):
        read_scan(line)


# ---------------------------------------------------------------------------------------------------------
# Keys


def test_each_character_of_a_label_comes_through_the_keyboard(wedge: Wedge) -> None:
    every = "".join(sorted({character for pair in US_KEYS.values() for character in pair} - set("\t\n")))
    assert len(every) == 95, "printable ASCII"
    wedge.scan(f"G0{every}")

    assert wedge.scanner.next_line(LONG) == f"G0{every}"


def test_labels_come_one_by_one_however_the_events_are_split(wedge: Wedge) -> None:
    events = strokes("G0A1B2C3", dict(US_KEYS)) + strokes("OP;anna", dict(US_KEYS))
    heard = []
    for place in range(0, len(events), 7):
        wedge.type(events[place : place + 7])
        heard.append(wedge.scanner.next_line(Seconds(0)))

    assert [line for line in heard if line] == ["G0A1B2C3", "OP;anna"]


def test_two_labels_in_one_read_are_two_lines(wedge: Wedge) -> None:
    wedge.scan("G0A1B2C3")
    wedge.scan("G0A1B2C4")

    assert [wedge.scanner.next_line(LONG) for _ in range(2)] == ["G0A1B2C3", "G0A1B2C4"]


def test_a_key_that_is_held_types_once(wedge: Wedge) -> None:
    a = 30
    wedge.type(event(1, a, 1) + event(1, a, 2) * 5 + event(1, a, 0) + stroke(ENTER))

    assert wedge.scanner.next_line(LONG) == "a"


def test_locks_and_controls_type_nothing(wedge: Wedge) -> None:
    wedge.type(stroke(58) + stroke(29) + strokes("abcd", dict(US_KEYS)))

    assert wedge.scanner.next_line(LONG) == "abcd"


def test_a_key_that_the_layout_lacks_makes_the_label_unreadable(wedge: Wedge) -> None:
    wedge.type(stroke(30) + stroke(A_WITH_DOTS) + strokes("bcdef", dict(US_KEYS)))

    line = wedge.scanner.next_line(LONG)
    assert line == f"a{LOST}bcdef"
    with pytest.raises(UnreadableLabel):
        read_scan(line)


def test_events_that_the_kernel_dropped_make_the_label_unreadable(wedge: Wedge) -> None:
    wedge.type(event(1, SHIFT, 1) + stroke(30) + event(0, 3, 0) + strokes("bcdef", dict(US_KEYS)))

    assert wedge.scanner.next_line(LONG) == f"A{LOST}bcdef"


def test_a_station_may_have_keys_of_another_country() -> None:
    german = read_layout({"21": "zZ", "44": "yY", "53": "-_", "51": ",;", "13": "´"})

    typed = KeyReader(german).read(strokes("ZY-_;´", {**US_KEYS, **german}))
    assert typed == "ZY-_;´\n"


@pytest.mark.parametrize(
    "keys",
    [{"x": "a"}, {"0": "a"}, {"99999": "a"}, {"²": "a"}, {"30": ""}, {"30": "abc"}, {"30": 7}, {"30": "\n"}],
)
def test_a_wrong_key_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="key"):
        read_layout(keys)


# ---------------------------------------------------------------------------------------------------------
# Lines


def test_without_a_scan_the_wait_ends(wedge: Wedge) -> None:
    assert wedge.scanner.next_line(SOON) is None


def test_a_label_without_its_enter_is_unreadable_and_not_a_shorter_number() -> None:
    wedge = Wedge(silence=SOON)
    wedge.type(strokes("G0A1B2C3", dict(US_KEYS)).removesuffix(stroke(ENTER)))

    with wedge.scanner:
        assert wedge.scanner.next_line(LONG) == f"G0A1B2C3{LOST}"
        wedge.scan("G0A1B2C4")
        assert wedge.scanner.next_line(LONG) == "G0A1B2C4"


def test_an_endless_label_is_unreadable_and_takes_no_memory(wedge: Wedge) -> None:
    for _ in range(100):
        wedge.type(stroke(30) * 10)
        assert wedge.scanner.next_line(Seconds(0)) is None
        assert len(wedge.scanner._typed) < 300
    wedge.scan("G0A1B2C3")
    wedge.scan("G0A1B2C4")

    line = wedge.scanner.next_line(LONG)
    assert line is not None
    with pytest.raises(UnreadableLabel):
        read_scan(line)
    assert wedge.scanner.next_line(LONG) == "G0A1B2C4"


def test_a_scanner_that_was_unplugged_is_read_again(tmp_path: Path) -> None:
    def missing() -> int:
        return os.open(tmp_path / "event7", os.O_RDONLY)

    with Scanner("event7", missing, KeyReader().read) as scanner:
        with pytest.raises(ScannerGone, match="event7: no such file") as gone:
            scanner.next_line(SOON)
        (tmp_path / "event7").write_bytes(strokes("G0A1B2C3", dict(US_KEYS)))

        assert "Plug it in" in gone.value.hint
        assert scanner.next_line(LONG) == "G0A1B2C3"


def test_what_is_no_keyboard_is_refused() -> None:
    with Scanner.of_device(Path("/dev/null")) as scanner, pytest.raises(ScannerGone, match="/dev/null"):
        scanner.next_line(SOON)


def test_standard_input_is_read_by_lines_until_its_end(tmp_path: Path) -> None:
    typed = tmp_path / "typed"
    typed.write_bytes(b"\nG0A1B2C3\r\n\r\nG0\xffA1B2\nOP;anna")

    with typed.open("rb") as source, Scanner.of_stdin(source.fileno()) as scanner:
        lines = [scanner.next_line(LONG) for _ in range(4)]
        assert lines == ["G0A1B2C3", f"G0{LOST}A1B2", "OP;anna", None]
        assert scanner.is_ended


@pytest.mark.skipif(
    not os.access(UINPUT, os.W_OK), reason="this kernel has no uinput: a pipe stands in for it"
)
def test_a_keyboard_of_the_kernel_is_grabbed_and_read() -> None:
    set_event_bit, set_key_bit, create, destroy, name_of = 0x40045564, 0x40045565, 0x5501, 0x5502, 0x8040552C
    with UINPUT.open("wb", buffering=0) as made:
        fcntl.ioctl(made, set_event_bit, 1)
        for code in (*US_KEYS, SHIFT):
            fcntl.ioctl(made, set_key_bit, code)
        made.write(struct.pack("80sHHHHi", b"wedge", 3, 1, 1, 1, 0) + bytes(4 * 64 * 4))
        fcntl.ioctl(made, create)
        try:
            named = fcntl.ioctl(made, name_of, bytes(64)).rstrip(b"\0").decode()
            (event_folder,) = Path("/sys/devices/virtual/input", named).glob("event*")
            device = Path("/dev/input", event_folder.name)
            with Scanner.of_device(device) as scanner, Scanner.of_device(device) as second:
                assert scanner.next_line(SOON) is None
                with pytest.raises(ScannerGone, match="busy"):
                    second.next_line(SOON)
                made.write(strokes("G0a1-B2_c3", dict(US_KEYS)))
                assert scanner.next_line(LONG) == "G0a1-B2_c3"
        finally:
            fcntl.ioctl(made, destroy)
