import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

import pytest

from device_auth.core.models import NEVER, Monotonic
from device_auth.factory.station.transport import (
    KEPT_TALK,
    Halt,
    RunAborted,
    TalkChannel,
    TalkTail,
    TalkTooLong,
    UnitGone,
    UnitSilent,
)
from device_auth.factory.talk import LONGEST_LINE, LONGEST_TALK
from device_auth.world.clock import BootClock

PAST = Monotonic(0)


class Wires:
    """The descriptors of a verb: what it says is written here, what it is told is read here."""

    def __init__(self) -> None:
        self.halt = Halt()
        self.tail = TalkTail()
        reads, self.says = os.pipe()
        self.hears, writes = os.pipe()
        remarks, self.remarks = os.pipe()
        self._open = {reads, self.says, self.hears, writes, remarks, self.remarks}
        self._reads = reads
        self._speakers: list[threading.Thread] = []
        self.channel = TalkChannel(
            reads, writes, remarks, tail=self.tail, now=BootClock().now, halt=self.halt
        )

    def say(self, content: bytes) -> None:
        self._speakers.append(threading.Thread(target=self._say, args=(content,), daemon=True))
        self._speakers[-1].start()

    def _say(self, content: bytes) -> None:
        with suppress(OSError):
            while content:
                content = content[os.write(self.says, content) :]

    def end(self, number: int) -> None:
        os.close(number)
        self._open.discard(number)

    def close(self) -> None:
        # a thread that still writes ends with its reader; later its descriptor would be the next test's
        self.end(self._reads)
        for speaker in self._speakers:
            speaker.join()
        for number in self._open:
            os.close(number)
        self.halt.close()


@pytest.fixture
def wires() -> Iterator[Wires]:
    wires = Wires()
    yield wires
    wires.close()


def test_lines_come_one_by_one_and_the_last_needs_no_end(wires: Wires) -> None:
    os.write(wires.says, b"one\r\n\ntwo")
    wires.end(wires.says)

    assert [wires.channel.read_line(NEVER) for _ in range(4)] == [b"one", b"", b"two", None]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_has_a_greatest_length(wires: Wires, end: bytes) -> None:
    wires.say(b"x" * (LONGEST_LINE + 1) + end)

    with pytest.raises(TalkTooLong):
        wires.channel.read_line(NEVER)


def test_a_line_of_the_greatest_length_is_read(wires: Wires) -> None:
    wires.say(b"x" * LONGEST_LINE + b"\n")

    assert wires.channel.read_line(NEVER) == b"x" * LONGEST_LINE


def test_a_verb_that_never_ends_its_talk_is_stopped(wires: Wires) -> None:
    wires.say((b"y" * 1023 + b"\n") * 2048)
    lines = iter(partial(wires.channel.read_line, NEVER), None)

    with pytest.raises(TalkTooLong):
        list(islice(lines, LONGEST_TALK // 1024 + 1))

    assert len(wires.tail.kept()) == KEPT_TALK


def test_nothing_waits_beyond_the_deadline(wires: Wires) -> None:
    with pytest.raises(UnitSilent):
        wires.channel.read_line(PAST)


def test_a_unit_that_takes_nothing_is_silent(wires: Wires) -> None:
    with pytest.raises(UnitSilent):
        wires.channel.write_line(b"x" * 1024 * 1024, PAST)


def test_a_unit_that_is_gone_is_told_from_a_silent_one(wires: Wires) -> None:
    wires.end(wires.hears)

    with pytest.raises(UnitGone):
        wires.channel.write_line(b"x", NEVER)


def test_a_halt_ends_the_wait_of_another_thread(wires: Wires) -> None:
    threading.Thread(target=wires.halt.set).start()

    with pytest.raises(RunAborted):
        wires.channel.read_line(NEVER)


def test_remarks_are_kept_and_are_no_lines(wires: Wires) -> None:
    os.write(wires.remarks, b"a remark\n")
    os.write(wires.says, b"a line\n")
    line = wires.channel.read_line(NEVER)
    os.write(wires.remarks, b"the last words")
    wires.channel.keep_remarks()

    assert line == b"a line"
    assert wires.tail.kept() == b"a remark\na line\nthe last words"
