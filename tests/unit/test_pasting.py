"""A paste on standard input, whatever has become of it."""

import os
import sys
from pathlib import Path

import pytest

from device_auth.cli.pasting import read_paste


def test_what_came_at_once_is_one_paste_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"first\nsecond\n")
    with open(reading) as stdin, open(writing, "w"):  # noqa: PTH123  a pipe has no path
        monkeypatch.setattr(sys, "stdin", stdin)

        assert [read_paste(8), read_paste(100)] == [b"first\nse", b"cond\n"]


def test_a_last_line_without_an_end_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"first\nsecond")
    os.close(writing)
    with open(reading) as stdin:  # noqa: PTH123  a pipe has no path
        monkeypatch.setattr(sys, "stdin", stdin)

        assert [read_paste(100), read_paste(100)] == [b"first\nsecond", b""]


def test_a_standard_input_that_was_closed_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:
        pass
    monkeypatch.setattr(sys, "stdin", stdin)

    assert read_paste(100) == b""


def test_without_a_standard_input_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert read_paste(100) == b""
