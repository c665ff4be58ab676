"""A line of standard input, whatever has become of it."""

import os
import sys
from pathlib import Path

import pytest

from device_auth.cli.pasting import read_line


def test_a_line_is_read_with_its_end_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"first\nsecond\n")
    with open(reading) as stdin, open(writing, "w"):  # noqa: PTH123  a pipe has no path
        monkeypatch.setattr(sys, "stdin", stdin)

        assert [read_line(100), read_line(3), read_line(100)] == ["first\n", "sec", "ond\n"]


def test_a_standard_input_that_was_closed_holds_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as stdin:
        pass
    monkeypatch.setattr(sys, "stdin", stdin)

    assert read_line(100) == ""


def test_without_a_standard_input_there_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert read_line(100) == ""
