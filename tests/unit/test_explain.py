import errno
import os
import socket
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


def test_a_socket_whose_path_is_too_long_is_told_so(tmp_path: Path) -> None:
    # Python refuses it itself, and gives no number: it was told as "unknown error"
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(OSError, match="too long") as refused:
        listener.bind(str(tmp_path / ("x" * 108)))

    assert explain("cannot make it", refused.value) == (
        "cannot make it: the path is longer than the 107 bytes that a socket's may have"
    )


def test_a_hint_that_is_given_stands_in_for_ours() -> None:
    assert store_error("cannot open X", OSError(), "Try another.").hint == "Try another."
