import errno
import os
from pathlib import Path

import pytest

from device_auth.world.explain import describe_process, explain, store_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "cannot open X: permission denied"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "cannot open X: no such file or directory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "cannot open X: the disk is full"),
        (OSError(), "cannot open X: unknown error"),
        (ValueError("embedded null byte"), "cannot open X: not a valid path"),
    ],
)
def test_an_error_is_told_after_its_action(error: Exception, said: str) -> None:
    assert explain("cannot open X", error) == said


@pytest.mark.parametrize(("name", "shown"), [("Küche".encode(), "Küche"), (b"\xff\x1b[2J", "�?[2J")])
def test_a_process_is_named_without_controls(tmp_path: Path, name: bytes, shown: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "comm").write_bytes(name + b"\n")

    assert describe_process(tmp_path / "7") == f"process 7 ({shown})"
    assert describe_process(tmp_path / "8") == "process 8 (gone by now)"


def test_a_hint_that_is_given_stands_in_for_ours() -> None:
    assert store_error("cannot open X", OSError(), "Try another.").hint == "Try another."
