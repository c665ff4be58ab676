"""The keyboard as a button: each key is heard, and the terminal is left as it was found."""

import os
import termios
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from threading import enumerate as threads

import pytest

from device_auth.assembly.keyboard import is_in_front, keys_of
from tests.waiting import LONG


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """Return both ends of a terminal: the person's and the program's."""
    far, near = os.openpty()
    yield far, near
    os.close(far)
    os.close(near)


def ours(_terminal: int) -> bool:
    return True


def is_hearing() -> bool:
    return any(thread.name == "keyboard" for thread in threads())


def test_each_key_is_heard_at_once_and_not_shown(ends: tuple[int, int]) -> None:
    far, near = ends
    heard: SimpleQueue[bytes] = SimpleQueue()
    with keys_of(near, heard.put, ours) as is_heard:
        flags = termios.tcgetattr(near)[3]
        os.write(far, b" ")

        assert is_heard
        assert heard.get(timeout=LONG) == b" "
        assert not flags & (termios.ICANON | termios.ECHO)
        assert flags & termios.ISIG


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_terminal_is_given_back_however_it_ends(
    ends: tuple[int, int], error: type[BaseException] | None
) -> None:
    _, near = ends
    found = termios.tcgetattr(near)

    def leave() -> None:
        with keys_of(near, lambda _: None, ours):
            if error is not None:
                raise error

    if error is None:
        leave()
    else:
        with pytest.raises(error):
            leave()

    assert termios.tcgetattr(near) == found
    assert not is_hearing()


def test_a_terminal_whose_output_is_held_is_given_back_all_the_same(ends: tuple[int, int]) -> None:
    far, near = ends
    found = termios.tcgetattr(near)
    with keys_of(near, lambda _: None, ours):
        os.write(near, b"text that nobody reads")
        termios.tcflow(near, termios.TCOOFF)
    termios.tcflow(near, termios.TCOON)

    assert termios.tcgetattr(near) == found
    assert os.read(far, 100)


def test_what_is_no_terminal_is_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, keys_of(file.fileno(), lambda _: None) as is_heard:
        assert not is_heard
        assert not is_hearing()


def test_a_terminal_of_another_session_is_left_alone(ends: tuple[int, int]) -> None:
    assert not is_in_front(ends[1])


def test_a_terminal_that_was_handed_on_is_not_read_any_more(ends: tuple[int, int]) -> None:
    far, near = ends
    answers = iter([True, False])
    heard: SimpleQueue[bytes] = SimpleQueue()
    with keys_of(near, heard.put, lambda _: next(answers)):
        os.write(far, b"secret")
        for thread in threads():
            if thread.name == "keyboard":
                thread.join(LONG)

        assert heard.empty()
        assert not is_hearing()


def test_a_terminal_that_goes_away_ends_the_hearing() -> None:
    far, near = os.openpty()
    with keys_of(near, lambda _: None, ours):
        os.close(far)
        for thread in threads():
            if thread.name == "keyboard":
                thread.join(LONG)

        assert not is_hearing()
    os.close(near)


def test_beside_the_main_thread_keys_are_heard_too(ends: tuple[int, int]) -> None:
    far, near = ends
    heard: SimpleQueue[bytes] = SimpleQueue()

    def hear_one() -> None:
        with keys_of(near, heard.put, ours):
            os.write(far, b"x")
            heard.put(heard.get(timeout=LONG))

    beside = Thread(target=hear_one)
    beside.start()
    beside.join(LONG)

    assert heard.get_nowait() == b"x"
